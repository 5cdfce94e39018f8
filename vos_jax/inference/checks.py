"""What frames, masks, labels and ids may be: every check of a caller's arrays."""

from collections.abc import Collection, Sequence
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from vos_jax.errors import InputError
from vos_jax.types import IGNORE, MAX_OBJECTS

_SMALLEST = 16


def as_frame(frame: ArrayLike, size: tuple[int, ...] | None = None) -> Array:
    """A frame as an array; `size` is that of the frames before.

    Raises:
      InputError: It is none, or of another size.
    """
    frame = frame if isinstance(frame, jax.Array) else jnp.asarray(frame)
    check_frame(frame, "frame", size)
    return frame


def check_frame(
    frame: np.ndarray | Array, name: str, size: tuple[int, ...] | None = None
) -> None:
    """Checks the frame that errors call `name`; `size` is that of those before.

    Raises:
      InputError: Its shape, dtype or size is wrong.
    """
    if frame.ndim != 3 or frame.shape[-1] != 3:
        raise InputError(
            f"{name}: shape {frame.shape} given, [height, width, 3] needed"
        )
    if frame.dtype != np.uint8 and not jnp.issubdtype(frame.dtype, jnp.floating):
        raise InputError(f"{name}: dtype {frame.dtype} given, uint8 or float needed")
    if size is not None and frame.shape[:2] != size:
        raise InputError(
            f"{name}: its size is {_text(frame.shape)}, that of the frames before"
            f" {_text(size)}; all frames of a video must have one size"
        )


def check_latest(frame: np.ndarray, latest: np.ndarray) -> None:
    """Checks that a frame is the one that a state is at, both in [0, 1].

    Raises:
      InputError: It is another one.
    """
    if not np.array_equal(frame, latest):
        raise InputError(
            "frame: not the latest frame of the state; step on it first, then add masks"
        )


def as_labels(labels: ArrayLike, size: tuple[int, ...]) -> np.ndarray:
    """A label map for frames of a size.

    Raises:
      InputError: It is none, or of another size.
    """
    labels = np.asarray(labels)
    if labels.ndim != 2:
        raise InputError(f"labels: shape {labels.shape} given, [H, W] needed")
    _check_fit(labels, "labels", size)
    return labels


def _check_fit(array: np.ndarray | Array, name: str, size: tuple[int, ...]) -> None:
    if array.shape[-2:] != size:
        raise InputError(
            f"{name}: their size is {_text(array.shape[-2:])}, the frame's"
            f" {_text(size)}; give both at one size"
        )


def as_probs(
    masks: ArrayLike,
    ids: Sequence[int] | None,
    size: tuple[int, ...],
    known: Collection[int] | None = None,
) -> tuple[Float[Array, "O+1 H W"], Sequence[int]]:
    """Masks as probabilities with background first, and their ids.

    Args:
      masks: `[O, H, W]`, or a label map `[H, W]`.
      ids: Of the masks, or the labels to use.
      size: Height and width of the frame.
      known: Objects that are there already: more need ids, and these may be said to be
        gone by an empty mask.

    Raises:
      InputError: Shapes or values are wrong, a mask is empty, ids are missing, wrong or
        too many.
    """
    traced = is_traced(masks)
    # Even arrays that are known become unknown by operations inside of a trace.
    masks = cast(Array, masks) if traced else np.asarray(masks)
    if masks.ndim not in (2, 3):
        raise InputError(
            f"masks: shape {masks.shape} given, [O, H, W] or [H, W] needed"
        )
    _check_fit(masks, "masks", size)
    if masks.ndim == 2:
        if ids is None and traced:
            raise InputError("masks: a traced label map needs ids=...")
        if ids is None:
            ids = objects_in(np.asarray(masks))
        numbers = np.array([0, *ids]).reshape(-1, 1, 1)
        given = masks[None] == numbers
    else:
        if ids is None and known is not None:
            raise InputError("ids: needed with masks of shape [O, H, W]")
        ids = list(range(1, len(masks) + 1)) if ids is None else ids
        if len(ids) != len(masks):
            raise InputError(f"ids: {len(ids)} given for {len(masks)} masks")
        xp: Any = jnp if traced else np
        background = xp.clip(1 - masks.astype(np.float32).sum(0, keepdims=True), 0, 1)
        given = xp.concatenate([background, masks.astype(np.float32)])
    _check_ids(ids)
    if not traced:
        _check_masks(np.asarray(given[1:]), ids, known or ())
    return jnp.asarray(given, jnp.float32), ids


def objects_in(labels: np.ndarray) -> list[int]:
    """Ids of the objects in label maps."""
    return [int(x) for x in np.unique(labels) if x not in (0, IGNORE)]


def _check_ids(ids: Sequence[int]) -> None:
    if not ids:
        raise InputError(
            f"masks: no object in them; label at least one pixel 1..{MAX_OBJECTS}"
        )
    if len(ids) > MAX_OBJECTS:
        raise InputError(
            f"masks: {len(ids)} objects, at most {MAX_OBJECTS} are possible"
        )
    if len(set(ids)) < len(ids) or not all(0 < id <= MAX_OBJECTS for id in ids):
        raise InputError(
            f"ids: {_list(ids)}; they must differ and lie in 1..{MAX_OBJECTS}"
        )


def _check_masks(
    masks: Float[np.ndarray, "O H W"], ids: Sequence[int], known: Collection[int]
) -> None:
    low, high = masks.min(initial=0), masks.max(initial=0)
    if not 0 <= low <= high <= 1:
        raise InputError(f"masks: values from {low:g} to {high:g}; use 0..1")
    empty = [id for id, mask in zip(ids, masks, strict=True) if not mask.any()]
    if missing := [id for id in empty if id not in known]:
        raise InputError(f"masks: no pixel of object {_list(missing)}")


def check_slots(objects: int, ids: Sequence[int]) -> None:
    """Checks that so many object slots are possible and enough for the first objects.

    Raises:
      InputError: They are not.
    """
    if objects < len(ids):
        raise InputError(f"objects={objects} is less than the {len(ids)} masks given")
    if objects > MAX_OBJECTS:
        raise InputError(f"objects={objects}: at most {MAX_OBJECTS} are possible")


def check_is_there(id: int, ids: np.ndarray) -> None:
    """Checks that one of the object slots, whose `ids` are given, holds the object.

    Raises:
      InputError: None does.
    """
    there = [x for x in ids.tolist() if x]
    if id not in there:
        raise InputError(f"id {id}: no such object; the state has {_list(there)}")


def check_working_size(size: int | None) -> None:
    """Checks the shorter side to compute at.

    Raises:
      InputError: It is too small.
    """
    if size is not None and size < _SMALLEST:
        raise InputError(f"size={size}: use at least {_SMALLEST} pixels")


def no_start() -> InputError:
    """The error of a first frame that comes without a mask."""
    return InputError("the first frame needs a mask; give its labels")


def is_traced(tree: Any) -> bool:
    """Whether values are not known yet, as inside of `jax.jit`: not to be checked."""
    return any(isinstance(x, jax.core.Tracer) for x in jax.tree.leaves(tree))


def _list(ids: Sequence[int]) -> str:
    return ", ".join(map(str, ids))


def _text(size: Sequence[int]) -> str:
    return f"{size[1]}x{size[0]}"
