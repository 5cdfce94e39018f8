"""COCO instances (Lin et al., ECCV 2014): still images of many objects.

The masks are outlines and run lengths in one JSON file. They are kept as compact
arrays (some 0.5 GB for the 118000 images of train2017) and drawn when they are read.
"""

from collections import defaultdict
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import numpy as np

from vos_jax.data.source import FrameName, Labelled, Video
from vos_jax.data.sources.files import check_root, read_frame, size_text
from vos_jax.errors import InputError
from vos_jax.media.dataset_lists import read_json
from vos_jax.types import IGNORE

# Three points; with fewer there is no area.
_LEAST_NUMBERS = 6
_FARTHEST = 1e6


class Instance(NamedTuple):
    """An object, or a crowd of them under one mask.

    Attributes:
      crowd: Whether it is a crowd.
      mask: Outlines, each `[x, y, x, y, ...]` in pixels, or run lengths as COCO has
        them: `{"size": [H, W], "counts": list or compressed text}`.
    """

    crowd: bool
    mask: list[np.ndarray] | dict[str, Any]


class CocoImage(NamedTuple):
    """An image: its file, (height, width), and what is in it."""

    file: str
    size: tuple[int, int]
    instances: tuple[Instance, ...]


@dataclass(frozen=True, kw_only=True)
class CocoSource:
    """Still images whose masks are drawn from a JSON file.

    Attributes:
      videos: One for each image, of one frame.
      images: In the same order.
      folder: Where the files are.
      annotations: The JSON file.
    """

    videos: tuple[Video, ...]
    images: tuple[CocoImage, ...]
    folder: Path
    annotations: Path

    def frame_name(self, video: int, time: int) -> FrameName:
        """Names an image as its file, without extension."""
        return FrameName(
            None, str(PurePosixPath(self.images[video].file).with_suffix(""))
        )

    def read(self, video: int, times: Sequence[int]) -> Labelled:
        """Reads an image and its labels, once for each of `times`, which are all 0.

        Ids go from the largest object, 1, to the smallest, which lie on top. Crowds are
        255 where no object is.

        Raises:
          InputError: The image is missing, damaged or of another size than the JSON
            file says, or a mask cannot be drawn.
        """
        image = self.images[video]
        path = self.folder / image.file
        frame = read_frame(path)
        if frame.shape[:2] != image.size:
            height, width = image.size
            raise InputError(
                f"{path} is {size_text(frame)} but {self.annotations} says "
                f"{width}x{height}; use the images that belong to it"
            )
        try:
            labels = _draw(image)
        except (IndexError, TypeError, ValueError, RuntimeError) as error:
            raise InputError(
                f"{self.annotations}: a mask of {image.file} is damaged ({error}); "
                "copy it again"
            ) from error
        return Labelled(np.stack([frame] * len(times)), np.stack([labels] * len(times)))


def open_coco(root: str | Path, *, split: str = "train2017") -> CocoSource:
    """Opens the images that show an object which is no crowd.

    Args:
      root: Holds `annotations/instances_<split>.json` and the images in `<split>` or
        `images/<split>`.
      split: Such as "train2017".

    Raises:
      InputError: The JSON file or the folder is missing, the file is malformed, or
        pycocotools is not installed.
    """
    _mask_tools()
    root = check_root(root)
    file = root / "annotations" / f"instances_{split}.json"
    content = read_json(file, _compact)
    folders = [root / split, root / "images" / split]
    folder = next((path for path in folders if path.is_dir()), None)
    if folder is None:
        raise InputError(f"image folder {folders[0]} does not exist; extract it there")
    images = _read_images(file, content)
    return CocoSource(
        videos=tuple(Video(image.file, 1) for image in images),
        images=images,
        folder=folder,
        annotations=file,
    )


def _compact(entry: dict[str, Any]) -> dict[str, Any]:
    """Makes an annotation small while the file is parsed, which takes GBs otherwise."""
    if "segmentation" not in entry:
        return entry
    kept = ("image_id", "iscrowd", "segmentation")
    entry = {key: entry[key] for key in kept if key in entry}
    if isinstance(entry["segmentation"], list):
        # What is malformed is left for the errors that can say where.
        with suppress(TypeError, ValueError):
            entry["segmentation"] = [
                np.array(outline, np.float64) for outline in entry["segmentation"]
            ]
    return entry


def _read_images(file: Path, content: dict[str, Any]) -> tuple[CocoImage, ...]:
    instances: dict[Any, list[Instance]] = defaultdict(list)
    place: Any = "annotations"
    try:
        for index, entry in enumerate(content["annotations"]):
            place = f"annotation {index}"
            instances[entry["image_id"]] += _read_instance(entry)
        place, images, ids, names = "images", [], set(), set()
        for index, entry in enumerate(content["images"]):
            place = f"image {index}"
            name, size = _file_name(entry), (int(entry["height"]), int(entry["width"]))
            if entry["id"] in ids or name in names:
                raise ValueError(f"a second entry of {name} or its id")
            ids.add(entry["id"])
            names.add(name)
            found = tuple(instances.get(entry["id"], ()))
            if not all(instance.crowd for instance in found):
                images.append(CocoImage(name, size, found))
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        reason = f"no {error}" if isinstance(error, KeyError) else error
        raise InputError(
            f"{file}: {place} is malformed ({reason}); copy the file again"
        ) from error
    if unknown := sorted(map(str, instances.keys() - ids)):
        raise InputError(
            f"{file}: annotations belong to image {unknown[0]}, which is not listed; "
            "copy it again"
        )
    if not images:
        raise InputError(f"{file} lists no object; use the file of instances")
    return tuple(images)


def _read_instance(entry: dict[str, Any]) -> list[Instance]:
    """Reads an annotation; none where its outlines have no area."""
    crowd, mask = bool(entry.get("iscrowd", 0)), entry["segmentation"]
    if isinstance(mask, dict):
        return [Instance(crowd, {"size": mask["size"], "counts": mask["counts"]})]
    outlines = [np.asarray(outline, np.float64) for outline in mask]
    for outline in outlines:
        # Also false for a NaN.
        near = outline.size == 0 or np.abs(outline).max() < _FARTHEST
        if outline.ndim != 1 or outline.size % 2 or not near:
            raise ValueError("its segmentation is no list of outlines")
    outlines = [outline for outline in outlines if outline.size >= _LEAST_NUMBERS]
    return [Instance(crowd, outlines)] if outlines else []


def _file_name(entry: dict[str, Any]) -> str:
    name = entry["file_name"]
    path = PurePosixPath(name)
    if not name or path.is_absolute() or ".." in path.parts:
        raise ValueError(f"file_name {name!r} is no file of the folder")
    return name


def _draw(image: CocoImage) -> np.ndarray:
    """Draws the labels `uint8 [H, W]` of an image.

    Of more than 254 objects the smallest are 255, to be ignored.
    """
    tools = _mask_tools()
    labels = np.zeros(image.size, np.uint8)
    objects = []
    for instance in image.instances:
        mask = tools.decode(_run_lengths(tools, instance, image.size)) > 0
        if instance.crowd:
            labels[mask] = IGNORE
        else:
            objects.append(mask)
    objects.sort(key=np.count_nonzero, reverse=True)
    for index, mask in enumerate(objects):
        labels[mask] = min(index + 1, IGNORE)
    return labels


def _run_lengths(
    tools: Any, instance: Instance, size: tuple[int, int]
) -> dict[str, Any]:
    mask, (height, width) = instance.mask, size
    if isinstance(mask, list):
        return tools.merge(tools.frPyObjects(mask, height, width))
    if list(mask["size"]) != [height, width]:
        raise ValueError(f"run lengths of a mask of {mask['size']}")
    if not mask["counts"]:
        # The decoder would leave its memory as it found it.
        raise ValueError("no run lengths")
    if isinstance(mask["counts"], str):
        return mask
    # The decoder believes them, and writes beyond its memory where they are too long.
    if min(mask["counts"]) < 0 or sum(mask["counts"]) != height * width:
        raise ValueError("run lengths that do not fill the image")
    return tools.frPyObjects(mask, height, width)


def _mask_tools() -> Any:
    try:
        from pycocotools import mask
    except ImportError as error:
        raise InputError(
            "COCO masks need the package pycocotools; install it with "
            "`pip install pycocotools`"
        ) from error
    return mask
