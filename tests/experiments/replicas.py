"""Every data set that an experiment trains on, in small and in its official layout."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path

from tests.data.sources.layouts import (
    label_pixels,
    write_frame,
    write_grey,
    write_matlab,
    write_palette,
    write_text,
    write_video,
)
from vos_jax.training.experiment import DataConfig

LENGTH = 4


def write_replica(root: Path, config: DataConfig) -> None:
    """Writes a data set below `root`; nothing for one that needs no folder."""
    if config.folder is not None:
        WRITERS[config.source](root / config.folder)


def _davis2016(folder: Path) -> None:
    _davis(folder, "2016")


def _davis2017(folder: Path) -> None:
    _davis(folder, "2017")


def _davis(folder: Path, year: str) -> None:
    for split in ("train", "val"):
        names = [f"{split}-dogs", f"{split}-sheep"]
        for name in names:
            stems = [f"{i:05d}" for i in range(LENGTH)]
            write_video(
                folder, name, stems, lambda _: label_pixels(1, 2), folder="480p"
            )
        write_text(folder / "ImageSets" / year / f"{split}.txt", "\n".join(names))


def _youtube_vos(folder: Path) -> None:
    stems = [f"{5 * i:05d}" for i in range(LENGTH)]
    write_video(folder / "train", "0a", stems, lambda _: label_pixels(1, 2))
    objects = {id_: {"category": "owl", "frames": stems} for id_ in ("1", "2")}
    described = {"videos": {"0a": {"objects": objects}}}
    write_text(folder / "train" / "meta.json", json.dumps(described))


def _ecssd(folder: Path) -> None:
    write_frame(folder / "images" / "0001.jpg")
    write_grey(folder / "ground_truth_mask" / "0001.png", label_pixels(255))


def _msra10k(folder: Path) -> None:
    images = folder / "MSRA10K_Imgs_GT" / "Imgs"
    write_frame(images / "100.jpg")
    write_grey(images / "100.png", label_pixels(255))


def _pascal_voc(folder: Path) -> None:
    names = ["2007_000032", "2008_000003"]
    for name in names:
        write_frame(folder / "JPEGImages" / f"{name}.jpg")
        write_palette(folder / "SegmentationObject" / f"{name}.png", label_pixels(1, 2))
    write_text(folder / "ImageSets" / "Segmentation" / "trainval.txt", "\n".join(names))


def _sbd(folder: Path) -> None:
    """The first image is also one of PASCAL VOC."""
    inside = folder / "benchmark_RELEASE" / "dataset"
    for split, names in (
        ("train", ["2008_000003", "2008_000008"]),
        ("val", ["2009_1"]),
    ):
        for name in names:
            write_frame(inside / "img" / f"{name}.jpg")
            write_matlab(inside / "inst" / f"{name}.mat", label_pixels(1, 2))
        write_text(inside / f"{split}.txt", "\n".join(names))


def _coco(folder: Path) -> None:
    path = write_frame(folder / "train2017" / "000000000009.jpg")
    image = {"id": 9, "file_name": path.name, "height": 24, "width": 32}
    outline = [4, 4, 12, 4, 12, 12, 4, 12]
    annotation = {"image_id": 9, "iscrowd": 0, "segmentation": [outline]}
    content = {"images": [image], "annotations": [annotation]}
    path = folder / "annotations" / "instances_train2017.json"
    write_text(path, json.dumps(content))


def _bl30k(folder: Path) -> None:
    stems = [f"{i:05d}" for i in range(LENGTH)]
    write_video(folder, "0", stems, lambda _: label_pixels(1, 2))


def _duts(folder: Path) -> None:
    for name in ("DUTS-TR", "DUTS-TE"):
        write_frame(folder / name / f"{name}-Image" / "1.jpg")
        write_grey(folder / name / f"{name}-Mask" / "1.png", label_pixels(255))


def _fss1000(folder: Path) -> None:
    write_frame(folder / "fewshot_data" / "owl" / "1.jpg")
    write_grey(folder / "fewshot_data" / "owl" / "1.png", label_pixels(255))


def _big(folder: Path) -> None:
    write_frame(folder / "test" / "1_im.jpg")
    write_grey(folder / "test" / "1_gt.png", label_pixels(255))


def _hrsod(folder: Path) -> None:
    write_frame(folder / "HRSOD_train" / "1.jpg")
    write_grey(folder / "HRSOD_train_mask" / "1.png", label_pixels(255))


def _pascal_s(folder: Path) -> None:
    write_frame(folder / "datasets" / "imgs" / "pascal" / "1.jpg")
    write_grey(folder / "datasets" / "masks" / "pascal" / "1.png", label_pixels(255))


def _pairs(folder: Path) -> None:
    """As `stm/tiny_pretrain` asks for them, and `hmmn/pretrain`."""
    write_frame(folder / "JPEGImages" / "1.jpg")
    write_palette(folder / "Annotations" / "1.png", label_pixels(1, 2))
    write_frame(folder / "1.jpg")
    write_grey(folder / "1.png", label_pixels(255))


WRITERS: Mapping[str, Callable[[Path], None]] = {
    "davis2016": _davis2016,
    "davis2017": _davis2017,
    "youtube-vos": _youtube_vos,
    "ecssd": _ecssd,
    "duts": _duts,
    "fss1000": _fss1000,
    "big": _big,
    "hrsod": _hrsod,
    "bl30k": _bl30k,
    "msra10k": _msra10k,
    "pascal-s": _pascal_s,
    "pascal-voc": _pascal_voc,
    "sbd": _sbd,
    "coco": _coco,
    "pairs": _pairs,
}
