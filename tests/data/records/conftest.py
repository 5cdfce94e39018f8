"""Replicas of data sets, prepared as records once for all tests."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.data.sources.layouts import (
    label_pixels,
    write_frame,
    write_grey,
    write_text,
)
from vos_jax.data.records.prepare import prepare
from vos_jax.data.synthetic import generate_frames


def write_clip(root: Path, folder: str, name: str, stems: list[str], seed: int) -> None:
    """A generated video, whose frames differ, in the layout of DAVIS."""
    clip = generate_frames(seed, range(len(stems)), (48, 64), 2, 0.5)
    for stem, frame, labels in zip(stems, clip.frames, clip.labels, strict=True):
        image = root / "JPEGImages" / folder / name / f"{stem}.jpg"
        write_picture(image, frame)
        write_ids(root / "Annotations" / folder / name / f"{stem}.png", labels)


def write_picture(path: Path, frame: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(frame).save(path, quality=95)


def write_ids(path: Path, labels: np.ndarray) -> None:
    """Not the bytes that the project would write itself: another palette."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(labels)
    image.putpalette(bytes(range(255, -1, -1)) * 3)
    image.save(path, compress_level=1)


@pytest.fixture(scope="session")
def davis(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """DAVIS 2017: two videos to train with, not in the order of their names."""
    root = tmp_path_factory.mktemp("davis")
    stems = [f"{i:05d}" for i in range(5)]
    for seed, name in enumerate(("dogs", "sheep", "bikes")):
        write_clip(root, "480p", name, stems, seed)
    write_text(root / "ImageSets" / "2017" / "train.txt", "dogs\nbikes\n")
    write_text(root / "ImageSets" / "2017" / "val.txt", "sheep\n")
    return root


@pytest.fixture(scope="session")
def youtube_vos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """YouTube-VOS: object 2 comes later, and one frame has no annotation."""
    root = tmp_path_factory.mktemp("youtube")
    stems = [f"{i:05d}" for i in range(0, 25, 5)]
    for seed, name in enumerate(("0a", "0b")):
        write_clip(root / "train", "", name, stems, seed)
    write_frame(root / "train" / "JPEGImages" / "0b" / "00001.jpg")
    objects = {"1": {"frames": stems}, "2": {"frames": stems[1:]}}
    videos = {name: {"objects": objects} for name in ("0a", "0b")}
    write_text(root / "train" / "meta.json", json.dumps({"videos": videos}))
    return root


@pytest.fixture(scope="session")
def coco(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """COCO: an outline and a crowd of run lengths in one image."""
    root = tmp_path_factory.mktemp("coco")
    write_frame(root / "train2017" / "1.jpg", 3)
    crowd = {"size": [24, 32], "counts": [24 * 30, 48]}
    content = {
        "images": [{"id": 1, "file_name": "1.jpg", "height": 24, "width": 32}],
        "annotations": [
            {"image_id": 1, "segmentation": [[2, 2, 20, 2, 20, 20, 2, 20]]},
            {"image_id": 1, "iscrowd": 1, "segmentation": crowd},
        ],
    }
    write_text(root / "annotations/instances_train2017.json", json.dumps(content))
    return root


@pytest.fixture(scope="session")
def ecssd(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """ECSSD: grey masks, one with soft edges."""
    root = tmp_path_factory.mktemp("ecssd")
    for number in range(2):
        write_frame(root / "images" / f"{number}.jpg", number)
        mask = label_pixels(255, 200, 100)
        write_grey(root / "ground_truth_mask" / f"{number}.png", mask)
    return root


@pytest.fixture(scope="session")
def records(
    tmp_path_factory: pytest.TempPathFactory,
    davis: Path,
    youtube_vos: Path,
    coco: Path,
    ecssd: Path,
) -> Path:
    """All of them, prepared."""
    out = tmp_path_factory.mktemp("records")
    prepare("davis2017", davis, out)
    prepare("youtube-vos", youtube_vos, out)
    prepare("coco", coco, out)
    prepare("ecssd", ecssd, out)
    return out
