"""Readers of the official folder layouts: DAVIS 2016, DAVIS 2017, YouTube-VOS.

A reader lists files and checks that they are there; it decodes none. Inference and
scoring read the same records.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from vos_jax.errors import InputError
from vos_jax.media.dataset_lists import davis_resolution, davis_videos, read_meta
from vos_jax.media.listing import (
    IMAGE_SUFFIXES,
    LABEL_SUFFIXES,
    files_by_stem,
    list_names,
    sort_names,
)
from vos_jax.media.masks import read_labels
from vos_jax.types import IGNORE

DATASETS = ("davis2016", "davis2017", "youtube-vos")
"""Names of the data sets that are read."""


@dataclass(frozen=True, kw_only=True)
class Sequence:
    """One video of a data set.

    Attributes:
      dataset: One of `DATASETS`.
      name: The sequence's folder.
      frames: The images in the natural order of their stems, which is that of time.
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
        480p, or the only one there is. YouTube-VOS has none.
      sequences: Only these, in the order of the split.
      images: Whether the frames are needed; scoring does without them.

    Raises:
      InputError: A list, folder, frame or annotation is missing, or a resolution is
        named where there is none.
    """
    if dataset not in DATASETS:
        raise InputError(f"unknown data set {dataset!r}; use one of {list(DATASETS)}")
    root = Path(root)
    if not root.is_dir():
        raise InputError(f"data set folder {root} does not exist; check the path")
    if dataset == "youtube-vos":
        if resolution is not None:
            raise InputError(
                f"youtube-vos has one resolution; leave resolution {resolution} out"
            )
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
        if not (labels % IGNORE).any():
            raise no_object_error(path, labels)
        return {stem: labels}
    newcomers: dict[str, list[int]] = {}
    for label, stem in object_starts(sequence).items():
        newcomers.setdefault(stem, []).append(label)
    given = {}
    for stem in sort_names(newcomers):
        labels = read_labels(sequence.annotations[stem])
        given[stem] = np.where(np.isin(labels, newcomers[stem]), labels, np.uint8(0))
    return given


def no_object_error(path: Path, labels: np.ndarray) -> InputError:
    """What to say of a first annotation that shows no object."""
    hint = ""
    if (labels == IGNORE).any():
        hint = "; 255 means void here: masks of 0 and 255 are those of davis2016"
    return InputError(f"{path} shows no object, which the first annotation must{hint}")


def _read_davis(
    dataset: str,
    root: Path,
    split: str,
    resolution: str | None,
    sequences: Collection[str] | None,
    images: bool,
) -> tuple[Sequence, ...]:
    resolution = davis_resolution(root, resolution)
    names = davis_videos(root, dataset.removeprefix("davis"), split, resolution)
    records = []
    for name in _select(names, sequences, root / "ImageSets"):
        frames = _files(root / "JPEGImages" / resolution / name, IMAGE_SUFFIXES, images)
        masks = root / "Annotations" / resolution / name
        annotations = _files(masks, LABEL_SUFFIXES, True)
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
    videos = read_meta(meta_file)
    records = []
    for name in _select(list(videos), sequences, meta_file):
        objects = {label: each.stems for label, each in videos[name].items()}
        frames = _files(folder / "JPEGImages" / name, IMAGE_SUFFIXES, images)
        annotations = _files(folder / "Annotations" / name, LABEL_SUFFIXES, True)
        outputs = tuple(sort_names(set().union(*objects.values())))
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
                categories={
                    label: each.category
                    for label, each in videos[name].items()
                    if each.category is not None
                },
            )
        )
    return tuple(records)


def _select(
    names: list[str], wanted: Collection[str] | None, source: Path
) -> list[str]:
    """Keeps the wanted names, all of which must be there, in the order of the list."""
    if wanted is None:
        return names
    if unknown := sorted(set(wanted) - set(names)):
        raise InputError(f"{source} does not list sequence {unknown[0]}")
    return [name for name in names if name in wanted]


def _files(folder: Path, suffixes: Collection[str], required: bool) -> dict[str, Path]:
    """Lists a folder's files of a kind by stem, in natural order."""
    if not required and not (folder.is_dir() and list_names(folder, suffixes)):
        return {}
    if not folder.is_dir():
        raise InputError(f"sequence folder {folder} does not exist")
    names = files_by_stem(folder, suffixes)
    return {stem: folder / name for stem, name in names.items()}


def _check_annotated(
    name: str,
    frames: Mapping[str, Path],
    annotations: Mapping[str, Path],
    needed: tuple[str, ...],
) -> None:
    """Checks that needed annotations exist and, where frames do, belong to frames."""
    folder = next(iter(annotations.values())).parent
    if missing := [stem for stem in needed if stem not in annotations]:
        raise InputError(
            f"annotation {folder / missing[0]}.png is missing: it gives the objects of "
            f"sequence {name}"
        )
    if frames and (lonely := [stem for stem in annotations if stem not in frames]):
        raise InputError(
            f"sequence {name} has no frame {lonely[0]} for {annotations[lonely[0]]}"
        )


def _count(items: list[str], word: str) -> str:
    plural = "" if len(items) == 1 else "s"
    return f"{len(items)} {word}{plural} ({items[0]}{', ...' if plural else ''})"
