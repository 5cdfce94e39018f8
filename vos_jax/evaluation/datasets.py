"""Readers of the official folder layouts: DAVIS 2016, DAVIS 2017, YouTube-VOS.

A reader lists files and checks that they are there; it decodes none. Inference and
scoring read the same records.
"""

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from vos_jax.errors import InputError
from vos_jax.media.masks import read_labels

DATASETS = ("davis2016", "davis2017", "youtube-vos")
_IMAGES = frozenset({".jpg", ".jpeg", ".png"})


@dataclass(frozen=True, kw_only=True)
class Sequence:
    """One video of a data set.

    Attributes:
      dataset: One of `DATASETS`.
      name: The sequence's folder.
      frames: The images in order of their stems.
      annotations: The annotation of each annotated stem, in order.
      outputs: The stems whose masks a result must hold, in order.
      objects: YouTube-VOS: the stems listed for each object id, in order; the first is
        where its mask is given. Empty for DAVIS, whose objects are those of the first
        annotation.
      categories: YouTube-VOS: the category of each id, where `meta.json` gives one.
    """

    dataset: str
    name: str
    frames: tuple[Path, ...]
    annotations: Mapping[str, Path]
    outputs: tuple[str, ...]
    objects: Mapping[int, tuple[str, ...]] = field(default_factory=dict)
    categories: Mapping[int, str] = field(default_factory=dict)


def read_dataset(
    dataset: str,
    root: str | Path,
    split: str,
    *,
    resolution: str | None = None,
    sequences: Collection[str] | None = None,
    images: bool = True,
) -> tuple[Sequence, ...]:
    """Lists the sequences of a split and checks that their files exist.

    Args:
      dataset: One of `DATASETS`.
      root: The data set's folder: of DAVIS the one that holds `ImageSets`, of
        YouTube-VOS the one that holds `<split>/meta.json`.
      split: Such as "val" or "valid".
      resolution: DAVIS: the folder below `JPEGImages` and `Annotations`; by default
        480p, or the only one there is.
      sequences: Only these, in the order of the split.
      images: Whether the frames are needed; scoring does without them.

    Raises:
      InputError: A list, folder, frame or annotation is missing.
    """
    if dataset not in DATASETS:
        raise InputError(f"unknown data set {dataset!r}; use one of {list(DATASETS)}")
    root = Path(root)
    if not root.is_dir():
        raise InputError(f"data set folder {root} does not exist; check the path")
    if dataset == "youtube-vos":
        return _read_youtube_vos(root, split, sequences, images)
    return _read_davis(dataset, root, split, resolution, sequences, images)


def object_starts(sequence: Sequence) -> dict[int, str]:
    """Finds the frame that gives each object of a YouTube-VOS sequence.

    Some objects are listed a few frames before their first pixel, so this is the first
    of their annotated frames that shows the id, which takes decoding it.

    Raises:
      InputError: No annotation shows an object.
    """
    shown: dict[str, set[int]] = {}
    starts = {}
    for label, stems in sequence.objects.items():
        for stem in stems:
            if stem not in sequence.annotations:
                continue
            if stem not in shown:
                labels = read_labels(sequence.annotations[stem])
                shown[stem] = set(np.flatnonzero(np.bincount(labels.ravel())).tolist())
            if label in shown[stem]:
                starts[label] = stem
                break
        else:
            raise InputError(
                f"{sequence.annotations[stems[0]]} does not show object {label}, nor "
                "does a later annotation; extract the data set again"
            )
    return starts


def given_labels(sequence: Sequence) -> dict[str, np.ndarray]:
    """Reads the masks that inference starts from, uint8 `[H, W]` for each stem.

    Of a frame only the objects that start there are kept: in YouTube-VOS, 0 in a later
    annotation means "not annotated" and not "background". DAVIS 2016 masks become one
    object, 1; in the others 255 stays and means "ignore".

    Raises:
      InputError: An annotation cannot be read or does not show its objects.
    """
    if sequence.dataset != "youtube-vos":
        stem, path = next(iter(sequence.annotations.items()))
        labels = read_labels(path)
        if sequence.dataset == "davis2016":
            labels = (labels != 0).astype(np.uint8)
        if not (labels % 255).any():
            raise InputError(f"{path} shows no object; the first annotation must")
        return {stem: labels}
    newcomers: dict[str, list[int]] = {}
    for label, stem in object_starts(sequence).items():
        newcomers.setdefault(stem, []).append(label)
    given = {}
    for stem in sorted(newcomers):
        labels = read_labels(sequence.annotations[stem])
        given[stem] = np.where(np.isin(labels, newcomers[stem]), labels, np.uint8(0))
    return given


def _read_davis(
    dataset: str,
    root: Path,
    split: str,
    resolution: str | None,
    sequences: Collection[str] | None,
    images: bool,
) -> tuple[Sequence, ...]:
    resolution = _resolution(root, resolution)
    year = dataset.removeprefix("davis")
    list_file = root / "ImageSets" / year / f"{split}.txt"
    names = _select(_read_list(list_file), sequences, list_file)
    records = []
    for name in names:
        frames = _files(root / "JPEGImages" / resolution / name, _IMAGES, images)
        annotations = _files(root / "Annotations" / resolution / name, {".png"}, True)
        _check_annotated(name, frames, annotations, tuple(frames or annotations)[:1])
        records.append(
            Sequence(
                dataset=dataset,
                name=name,
                frames=tuple(frames.values()),
                annotations=annotations,
                outputs=tuple(frames or annotations),
            )
        )
    return tuple(records)


def _read_youtube_vos(
    root: Path, split: str, sequences: Collection[str] | None, images: bool
) -> tuple[Sequence, ...]:
    folder = root / split
    meta_file = folder / "meta.json"
    videos = _read_meta(meta_file)
    records = []
    for name in _select(sorted(videos), sequences, meta_file):
        objects, categories = _read_objects(meta_file, name, videos[name])
        frames = _files(folder / "JPEGImages" / name, _IMAGES, images)
        annotations = _files(folder / "Annotations" / name, {".png"}, True)
        outputs = tuple(sorted(set().union(*objects.values())))
        starts = tuple(stems[0] for stems in objects.values())
        _check_annotated(name, frames, annotations, starts)
        if frames and (missing := [stem for stem in outputs if stem not in frames]):
            raise InputError(
                f"{folder / 'JPEGImages' / name} lacks {_count(missing, 'frame')} that "
                f"{meta_file} lists; extract the data set again"
            )
        records.append(
            Sequence(
                dataset="youtube-vos",
                name=name,
                frames=tuple(frames.values()),
                annotations=annotations,
                outputs=outputs,
                objects=objects,
                categories=categories,
            )
        )
    return tuple(records)


def read_categories(meta_file: Path) -> frozenset[str]:
    """Reads the names of all categories in a YouTube-VOS `meta.json`.

    Raises:
      InputError: The file is missing or is none.
    """
    videos = _read_meta(meta_file).items()
    categories = (_read_objects(meta_file, name, video)[1] for name, video in videos)
    return frozenset().union(*(each.values() for each in categories))


def _read_meta(path: Path) -> dict[str, Any]:
    try:
        videos = json.loads(path.read_text(encoding="utf-8"))["videos"]
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror})") from error
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path} is no YouTube-VOS list of videos") from error
    if not isinstance(videos, dict) or not videos:
        raise InputError(f"{path} lists no video")
    return videos


def _read_objects(
    meta_file: Path, name: str, video: Any
) -> tuple[dict[int, tuple[str, ...]], dict[int, str]]:
    """Reads the stems and the category of each object of a video, by id."""
    objects, categories = {}, {}
    try:
        for label, entry in video["objects"].items():
            stems = tuple(sorted(set(entry["frames"])))
            if not 1 <= int(label) <= 254 or not stems:
                raise ValueError
            objects[int(label)] = stems
            if "category" in entry:
                categories[int(label)] = str(entry["category"])
        if not objects or not all(map(_is_file_name, set().union(*objects.values()))):
            raise ValueError
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"{meta_file}: video {name} needs objects with ids 1 to 254 and frames each"
        ) from error
    return dict(sorted(objects.items())), categories


def _resolution(root: Path, resolution: str | None) -> str:
    folder = root / "Annotations"
    found = sorted(path.name for path in folder.glob("*") if path.is_dir())
    if resolution is None and "480p" in found:
        return "480p"
    if resolution is None and len(found) == 1:
        return found[0]
    if resolution not in found:
        wanted = "one resolution" if resolution is None else f"folder {resolution}"
        raise InputError(
            f"{folder} must hold {wanted} and holds {found or 'no folder'}; "
            "check the root and the resolution"
        )
    return resolution


def _read_list(path: Path) -> list[str]:
    try:
        names = path.read_text(encoding="utf-8").split()
    except (OSError, UnicodeDecodeError) as error:
        there = sorted(other.stem for other in path.parent.glob("*.txt"))
        raise InputError(
            f"list of sequences {path} cannot be read; splits there: {there}"
        ) from error
    if not names or len(set(names)) < len(names):
        raise InputError(f"{path} is empty or names a sequence twice")
    return names


def _select(
    names: list[str], wanted: Collection[str] | None, source: Path
) -> list[str]:
    """Keeps the wanted names, all of which must be there, in the order of the list."""
    if bad := [name for name in names if not _is_file_name(name)]:
        raise InputError(f"{source}: {bad[0]!r} is no folder name")
    if wanted is None:
        return names
    if unknown := sorted(set(wanted) - set(names)):
        raise InputError(f"{source} does not list sequence {unknown[0]}")
    return [name for name in names if name in wanted]


def _is_file_name(name: str) -> bool:
    """Whether a name from a list stays within its folder when it becomes a path."""
    return name not in {"", ".", ".."} and not {"/", "\\"} & set(name)


def _files(folder: Path, suffixes: Collection[str], required: bool) -> dict[str, Path]:
    """Lists a folder's files of a kind by stem, sorted by stem."""
    if not folder.is_dir():
        if not required:
            return {}
        raise InputError(f"sequence folder {folder} does not exist")
    paths = [
        path
        for path in folder.iterdir()
        if path.suffix.lower() in suffixes and not path.name.startswith(".")
    ]
    if required and not paths:
        raise InputError(f"sequence folder {folder} holds no {sorted(suffixes)} file")
    return {path.stem: path for path in sorted(paths, key=lambda path: path.stem)}


def _check_annotated(
    name: str,
    frames: Mapping[str, Path],
    annotations: Mapping[str, Path],
    needed: tuple[str, ...],
) -> None:
    """Checks that needed annotations exist and, where frames do, belong to frames."""
    folder = next(iter(annotations.values())).parent
    if missing := sorted(set(needed) - set(annotations)):
        raise InputError(
            f"annotation {folder / missing[0]}.png is missing: it gives the objects of "
            f"sequence {name}"
        )
    if frames and (lonely := sorted(set(annotations) - set(frames))):
        raise InputError(
            f"sequence {name} has no frame {lonely[0]} for {annotations[lonely[0]]}"
        )


def _count(items: list[str], word: str) -> str:
    plural = "" if len(items) == 1 else "s"
    return f"{len(items)} {word}{plural} ({items[0]}{', ...' if plural else ''})"
