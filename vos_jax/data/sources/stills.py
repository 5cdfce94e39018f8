"""Data sets of still images with masks: videos of one frame.

Where a set was released in one layout and is passed on in another, the first one that
fits is read. `bundle` is the one in which training programs pass all of them on: the
image `name.jpg` and the mask `name.png` in one folder.
"""

from collections.abc import Collection, Iterator, Sequence
from os import walk
from os.path import normpath
from pathlib import Path
from typing import NamedTuple

from vos_jax.data.source import Video
from vos_jax.data.sources.files import FileSource, VideoFiles, check_root
from vos_jax.data.sources.labels import READERS, read_ids
from vos_jax.data.sources.matlab import read_instances
from vos_jax.errors import InputError
from vos_jax.media.dataset_lists import read_names
from vos_jax.media.listing import (
    IMAGE_SUFFIXES,
    LABEL_SUFFIXES,
    files_by_stem,
    is_leftover,
)

_PHOTOGRAPHS = frozenset({".jpg", ".jpeg"})
_MATLAB = frozenset({".mat"})
_DUTS = {"train": "DUTS-TR", "test": "DUTS-TE"}


class Layout(NamedTuple):
    """Where the pairs of a data set lie; folders are relative to its root.

    Attributes:
      images: Folder of the images.
      masks: Folder of the masks; where it is that of the images, those are JPEG files.
      image_ending: What the stem of an image has after the name of the pair.
      mask_ending: The same for a mask.
      deep: Whether pairs also lie in folders below.
    """

    images: str
    masks: str
    image_ending: str = ""
    mask_ending: str = ""
    deep: bool = False

    def __str__(self) -> str:
        image = f"{self.images}/*{self.image_ending}.jpg"
        return f"{image} with {self.masks}/*{self.mask_ending}.png"


_BUNDLE = Layout(".", ".")


def open_pairs(
    root: str | Path,
    *,
    images: str = ".",
    masks: str = ".",
    kind: str = "grey",
    image_ending: str = "",
    mask_ending: str = "",
    deep: bool = False,
) -> FileSource:
    """Opens any folder of images and masks of the same names.

    Args:
      root: The data set's folder.
      images: Folder of the images below it.
      masks: Folder of the masks, PNG files.
      kind: How masks are stored: "grey" (128 to 255 is the one object), "one" (all but
        0 is the one object) or "ids" (pixel values are ids, 255 means ignore).
      image_ending: End of an image's stem that is not part of the name.
      mask_ending: The same for masks.
      deep: Also look into the folders below.

    Raises:
      InputError: There is no pair, or an image has no mask.
    """
    layout = Layout(images, masks, image_ending, mask_ending, deep)
    return _open(root, (layout,), kind)


def open_ecssd(root: str | Path) -> FileSource:
    """Opens ECSSD (Shi et al., TPAMI 2016): 1000 images."""
    return _open(root, (Layout("images", "ground_truth_mask"), _BUNDLE))


def open_duts(root: str | Path, *, split: str = "train") -> FileSource:
    """Opens DUTS (Wang et al., CVPR 2017): 10553 images, or 5019 of the split "test".

    The root holds `DUTS-TR`, `DUTS-TE`, or is the one that is asked for.
    """
    if split not in _DUTS:
        raise InputError(f"split={split!r} is none of DUTS; use one of {list(_DUTS)}")
    name = _DUTS[split]
    layouts = [
        Layout(f"{name}/{name}-Image", f"{name}/{name}-Mask"),
        Layout(f"{name}-Image", f"{name}-Mask"),
        Layout(name, name),
        _BUNDLE,
    ]
    return _open(root, layouts)


def open_msra10k(root: str | Path) -> FileSource:
    """Opens MSRA10K (Cheng et al., TPAMI 2015): 10000 images."""
    inner = ("MSRA10K_Imgs_GT/Imgs", "Imgs")
    return _open(root, (*(Layout(each, each) for each in inner), _BUNDLE))


def open_hrsod(root: str | Path, *, split: str = "train") -> FileSource:
    """Opens HRSOD (Zeng et al., ICCV 2019): 1610 images, or 400 of the split "test"."""
    if split not in ("train", "test"):
        raise InputError(f"split={split!r} is none of HRSOD; use 'train' or 'test'")
    official = Layout(f"HRSOD_{split}", f"HRSOD_{split}_mask")
    return _open(root, (official, _BUNDLE))


def open_fss1000(root: str | Path) -> FileSource:
    """Opens FSS-1000 (Li et al., CVPR 2020): folders of 10 images for 1000 classes."""
    layouts = (
        Layout("fewshot_data", "fewshot_data", deep=True),
        Layout(".", ".", deep=True),
    )
    return _open(root, layouts)


def open_big(root: str | Path) -> FileSource:
    """Opens BIG (Cheng et al., CVPR 2020): 150 images of up to 5000 x 3600 pixels."""
    return _open(root, (Layout(".", ".", "_im", "_gt", deep=True), _BUNDLE))


def open_pascal_s(root: str | Path) -> FileSource:
    """Opens PASCAL-S (Li et al., CVPR 2014): 850 images with graded masks.

    A pixel is the share of raters who found its segment salient; half of them make it
    part of the object.
    """
    official = Layout("datasets/imgs/pascal", "datasets/masks/pascal")
    return _open(root, (official, _BUNDLE))


def open_pascal_voc(
    root: str | Path, *, split: str = "trainval", masks: str = "SegmentationObject"
) -> FileSource:
    """Opens the objects of PASCAL VOC 2012 (Everingham et al., IJCV 2010).

    The borders between objects are void and stay 255, to be ignored.

    Args:
      root: The folder that holds `JPEGImages`, `SegmentationObject` and
        `ImageSets/Segmentation`: `VOCdevkit/VOC2012` of the release.
      split: Name of the list.
      masks: Folder of the masks; "SegmentationObjectAug" is what those of SBD are
        called where they were converted to PNG and put beside VOC's own.

    Raises:
      InputError: The list is missing, or names an image without image or mask.
    """
    root = check_root(root)
    file = root / "ImageSets" / "Segmentation" / f"{split}.txt"
    files = _listed(file, root / "JPEGImages", root / masks, LABEL_SUFFIXES)
    return FileSource(
        videos=tuple(Video(name, 1) for name in files),
        files=tuple(files.values()),
        read_mask=read_ids,
        still=True,
    )


def open_sbd(
    root: str | Path, *, split: str = "trainval", leave_out: str | None = None
) -> FileSource:
    """Opens the objects of SBD (Hariharan et al., ICCV 2011): 11355 images of VOC 2011.

    2237 of them have masks in PASCAL VOC 2012, too. Published code that trains on
    both takes such an image once, with VOC's mask (DEXTR, CVPR 2018; PANet, ICCV 2019).

    Args:
      root: The folder that holds `img`, `inst`, `train.txt` and `val.txt`, or one that
        has it below as in the release: `benchmark_RELEASE/dataset`.
      split: "trainval" for all, or the name of a list. SBD's "train" has images that
        VOC validates with.
      leave_out: A list of images not to open; its path from the root, such as
        "../VOC2012/ImageSets/Segmentation/trainval.txt".

    Raises:
      InputError: A folder or list is missing, a list names an image without image or
        mask, or none is left.
    """
    root = check_root(root)
    folders = (root / each for each in ("dataset", "benchmark_RELEASE/dataset"))
    folder = next((each for each in folders if each.is_dir()), root)
    files: dict[str, VideoFiles] = {}
    for name in ("train", "val") if split == "trainval" else (split,):
        file = folder / f"{name}.txt"
        files |= _listed(file, folder / "img", folder / "inst", _MATLAB)
    if leave_out is not None:
        # Up and down along the names: the root may be a link to somewhere else.
        there = Path(normpath(root / leave_out))
        for name in read_names(there):
            files.pop(name, None)
        if not files:
            raise InputError(f"{there} leaves no image of {folder}; name another list")
    return FileSource(
        videos=tuple(Video(name, 1) for name in files),
        files=tuple(files.values()),
        read_mask=read_instances,
        still=True,
    )


def _listed(
    file: Path, images: Path, masks: Path, suffixes: Collection[str]
) -> dict[str, VideoFiles]:
    """Finds the image and the mask of every name in a list.

    Raises:
      InputError: The list or a folder is missing, or a name lacks a file.
    """
    names = read_names(file)
    frames = files_by_stem(images, _PHOTOGRAPHS)
    labels = files_by_stem(masks, suffixes)
    for name in names:
        for folder, there in ((images, frames), (masks, labels)):
            if name not in there:
                raise InputError(
                    f"{folder} lacks {name}, which {file} lists; extract it again"
                )
    return {
        name: VideoFiles(images, masks, (frames[name],), (labels[name],))
        for name in names
    }


def _open(
    root: str | Path, layouts: Sequence[Layout], kind: str = "grey"
) -> FileSource:
    """Opens the first layout that has images.

    Raises:
      InputError: None has, or an image has no mask.
    """
    root = check_root(root)
    if kind not in READERS:
        raise InputError(f"kind={kind!r} is unknown; use one of {list(READERS)}")
    for layout in layouts:
        if images := _images(root, layout):
            # As text: a seed draws images by their places, which are to stay.
            names = sorted(images)
            return FileSource(
                videos=tuple(Video(name, 1) for name in names),
                files=_pair(root, layout, {name: images[name] for name in names}),
                read_mask=READERS[kind],
                still=True,
            )
    wanted = ", or ".join(str(layout) for layout in layouts)
    raise InputError(f"{root} holds no {wanted}; check the path")


def _images(root: Path, layout: Layout) -> dict[str, Path]:
    """Lists images by the name of their pair."""
    alike = (layout.images, layout.image_ending) == (layout.masks, layout.mask_ending)
    suffixes = _PHOTOGRAPHS if alike else IMAGE_SUFFIXES
    images: dict[str, Path] = {}
    for name, path in _walk(root / layout.images, layout.image_ending, layout.deep):
        if path.suffix.lower() in suffixes:
            if name in images:
                raise InputError(f"{images[name]} and {path} share a mask; remove one")
            images[name] = path
    return images


def _pair(
    root: Path, layout: Layout, images: dict[str, Path]
) -> tuple[VideoFiles, ...]:
    folder = root / layout.masks
    masks = {
        name: path
        for name, path in _walk(folder, layout.mask_ending, layout.deep)
        if path.suffix.lower() in LABEL_SUFFIXES
    }
    for name, path in images.items():
        if name not in masks:
            wanted = folder / f"{name}{layout.mask_ending}.png"
            raise InputError(f"mask {wanted} of {path} is missing; extract it again")
    return tuple(
        VideoFiles(path.parent, masks[name].parent, (path.name,), (masks[name].name,))
        for name, path in images.items()
    )


def _walk(folder: Path, ending: str, deep: bool) -> Iterator[tuple[str, Path]]:
    """Yields the files whose stem has that ending, and their paths without it."""
    for parent, folders, files in walk(folder):
        prefix = Path(parent).relative_to(folder).as_posix()
        prefix = "" if prefix == "." else f"{prefix}/"
        for file in sorted(files):
            stem = file[: file.rfind(".")]
            if not is_leftover(file) and stem.endswith(ending):
                yield prefix + stem.removesuffix(ending), Path(parent, file)
        below = sorted(folders) if deep else []
        folders[:] = [name for name in below if not is_leftover(name)]
