"""Object proposals, what DMN-AOA takes with every frame (ICCV 2021, sec. 3.1)."""

from pathlib import Path
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from vos_jax.errors import InputError
from vos_jax.methods.inputs import InputKind, InputReader, Size
from vos_jax.types import Proposals

COUNT = 30
"""Proposals of a frame, at most (sec. 4.1)."""

_SHAPES = {"boxes": (4,), "masks": None, "scores": (), "valid": ()}
"""What follows the axis of proposals; masks have the frame's size."""


class TrainingInputs(NamedTuple):
    """Proposals, and where to look for the objects.

    Attributes:
      proposals: Of the frame; None for a network that takes none.
      query_boxes: Of the objects in the frame before, in place of those of what was
        found there; in pixels of the frame without padding.
    """

    proposals: Proposals | None
    query_boxes: Float[Array, "O 4"]


def _open(path: Path) -> InputReader:
    # Files of proposals need libraries that nothing else does.
    from vos_jax.data.proposals.reader import open_proposals

    reader: InputReader = open_proposals(path)
    return reader


def _check(inputs: Any, size: Size) -> None:
    """Raises `InputError` unless these are proposals of a frame of a size."""
    if isinstance(inputs, TrainingInputs):
        inputs = inputs.proposals
    if not isinstance(inputs, Proposals):
        raise InputError(
            f"inputs: {type(inputs).__name__} is no vos_jax.Proposals; make one of"
            " boxes, masks, scores and valid"
        )
    count = np.shape(inputs.masks)[:1]
    for name, rest in _SHAPES.items():
        found = np.shape(getattr(inputs, name))
        expected = (*count, *(size if rest is None else rest))
        if not count or found != expected:
            raise InputError(
                f"inputs: proposals' {name} {list(found)} do not fit a frame of"
                f" {size[0]} x {size[1]}; use boxes [N, 4], masks [N, H, W], scores"
                " [N] and valid [N]"
            )
    if not count[0]:
        raise InputError(
            "inputs: proposals of length 0; use at least one, which need not be valid"
        )
    for name in ("masks", "valid"):
        if (found := jnp.result_type(getattr(inputs, name))) != jnp.bool_:
            raise InputError(f"inputs: proposals' {name} are {found}; use bool")


def _mirror(inputs: Proposals) -> Proposals:
    """Proposals of the frame flipped left to right."""
    boxes, masks = inputs.boxes, inputs.masks
    width = masks.shape[-1]
    left, right = width - boxes[..., 2:3], width - boxes[..., 0:1]
    flipped = jnp.concatenate([left, boxes[..., 1:2], right, boxes[..., 3:4]], axis=-1)
    return inputs._replace(boxes=flipped, masks=masks[..., ::-1])


def _example(size: Size) -> Proposals:
    """Ellipses in rows and columns over the frame, which overlap."""
    height, width = size
    rows, columns = 5, 6
    number = np.arange(COUNT)
    y = (number // columns + 0.5) / rows * height
    x = (number % columns + 0.5) / columns * width
    radius_y, radius_x = 0.75 * height / rows, 0.75 * width / columns
    in_y = (np.arange(height) + 0.5 - y[:, None]) / radius_y
    in_x = (np.arange(width) + 0.5 - x[:, None]) / radius_x
    masks = in_y[:, :, None] ** 2 + in_x[:, None] ** 2 < 1
    # At least a pixel, in the smallest frames.
    masks[number, y.astype(int), x.astype(int)] = True
    across, down = masks.any(1), masks.any(2)
    edges = (
        across.argmax(1),
        down.argmax(1),
        width - across[:, ::-1].argmax(1),
        height - down[:, ::-1].argmax(1),
    )
    return Proposals(
        np.stack(edges, 1).astype(np.float32),
        masks,
        np.linspace(1, 0.5, COUNT, dtype=np.float32),
        np.ones(COUNT, bool),
    )


PROPOSALS = InputKind(
    name="object proposals",
    open=_open,
    advice="give --proposals FILE or FOLDER of COCO results, or --proposals regions",
    check=_check,
    mirror=_mirror,
    example=_example,
)
"""The inputs of a network that matches proposals."""
