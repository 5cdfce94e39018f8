"""YouTube-VOS: which categories count as seen in training."""

from collections.abc import Collection
from pathlib import Path

from vos_jax.errors import InputError, warn
from vos_jax.evaluation.datasets import Sequence
from vos_jax.media.dataset_lists import read_meta


def seen_categories(
    sequences: tuple[Sequence, ...],
    root: Path,
    split: str,
    seen: Collection[str] | None,
) -> Collection[str] | None:
    """Finds the seen categories, and checks that each object has a category.

    Args:
      sequences: Of the split.
      root: The data set's folder.
      split: By its name.
      seen: Those that a person named; by default those of `<root>/train/meta.json`.

    Returns:
      None if all are seen, as those of the split "train" are by default.

    Raises:
      InputError: There is nothing to tell them by, or no object is of a named one.
    """
    if seen is None and split == "train":
        return None
    if seen is None:
        meta_file = root / "train" / "meta.json"
        if not meta_file.is_file():
            raise InputError(
                f"{meta_file} does not exist: it tells seen from unseen categories; "
                "name the seen ones instead (--seen)"
            )
        seen = _read_categories(meta_file)
    else:
        _check_seen(sequences, seen)
    for sequence in sequences:
        if unknown := sorted(set(sequence.objects) - set(sequence.categories)):
            raise InputError(
                f"{root / split / 'meta.json'} gives object {unknown[0]} of video "
                f"{sequence.name} no category, so seen and unseen cannot be told apart"
            )
    return seen


def _check_seen(sequences: tuple[Sequence, ...], seen: Collection[str]) -> None:
    """Checks that seen categories which a person named are ones of the objects."""
    known = {name for each in sequences for name in each.categories.values()}
    strange = sorted(set(seen) - known)
    if not known & set(seen):
        raise InputError(
            f"no object here is of a category named as seen: {', '.join(strange)}; "
            f"those here: {', '.join(sorted(known)) or 'none'}"
        )
    if strange:
        warn(
            f"no object here is of these categories named as seen: "
            f"{', '.join(strange)}; check their spelling, as objects of a category "
            "not named are unseen"
        )


def _read_categories(meta_file: Path) -> frozenset[str]:
    """Reads the names of all categories in a `meta.json`."""
    videos = read_meta(meta_file).values()
    listed = (each.category for objects in videos for each in objects.values())
    return frozenset(category for category in listed if category is not None)
