"""What DMN-AOA takes with every frame after the first: `vos_jax.types.Proposals`."""

from functools import partial
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from vos_jax.data.proposals import COUNT, REGIONS, open_proposals, select
from vos_jax.errors import InputError
from vos_jax.methods.inputs import InputKind, Size
from vos_jax.types import Proposals

# Of the examples' sides: shares of the frame's.
_SIDES = (0.15, 0.3, 0.6)


class TrainingInputs(NamedTuple):
    """Proposals, and where objects were, for a network that cannot tell yet.

    Attributes:
      proposals: Of the frame; None for a network that takes none.
      query_boxes: Of the objects in the frame before, in place of those of what was
        found there; in pixels of the frame without padding.
    """

    proposals: Proposals | None
    query_boxes: Float[Array, "O 4"]


def check_proposals(proposals: Any, size: Size) -> None:
    """Checks types and shapes of the proposals of one frame `[H, W]`.

    Raises:
      InputError: They are none, or do not fit a frame of that size.
    """
    if isinstance(proposals, TrainingInputs):
        proposals = proposals.proposals
    if not isinstance(proposals, Proposals):
        raise InputError(
            f"inputs are {type(proposals).__name__}; give vos_jax.Proposals(boxes,"
            " masks, scores, valid)"
        )
    shapes = {name: tuple(np.shape(x)) for name, x in proposals._asdict().items()}
    count = shapes["valid"][0] if shapes["valid"] else 0
    expected = Proposals((count, 4), (count, *size), (count,), (count,))
    if shapes != expected._asdict() or not count:
        given = ", ".join(f"{name} {list(shape)}" for name, shape in shapes.items())
        height, width = size
        raise InputError(
            f"proposals have {given}; for this frame give boxes [N, 4], masks"
            f" [N, {height}, {width}], scores [N] and valid [N]"
        )
    for name in ("boxes", "scores"):
        _check_type(proposals, name, "float32", jnp.number)
    for name in ("masks", "valid"):
        _check_type(proposals, name, "bool", jnp.bool_)


def _check_type(proposals: Proposals, name: str, wanted: str, kind: Any) -> None:
    found = getattr(getattr(proposals, name), "dtype", None)
    if found is None or not jnp.issubdtype(found, kind):
        given = type(getattr(proposals, name)).__name__ if found is None else found
        raise InputError(f"proposals have {name} of {given}; give {wanted}")


def mirror_proposals(proposals: Proposals) -> Proposals:
    """The proposals of the frame flipped left to right."""
    width = proposals.masks.shape[-1]
    x0, y0, x1, y1 = (proposals.boxes[..., side] for side in range(4))
    return proposals._replace(
        boxes=jnp.stack([width - x1, y0, width - x0, y1], axis=-1),
        masks=proposals.masks[..., ::-1],
    )


def example_proposals(size: Size) -> Proposals:
    """As many rectangles as there are slots, all over a frame of that size."""
    height, width = size
    masks = np.zeros((COUNT, height, width), np.bool_)
    places = np.random.default_rng(0).random((COUNT, 2))
    for number, (y, x) in enumerate(places):
        share = _SIDES[number % len(_SIDES)]
        top, left = int(y * (1 - share) * height), int(x * (1 - share) * width)
        rows, columns = (max(1, int(share * side)) for side in size)
        masks[number, top : top + rows, left : left + columns] = True
    # None is suppressed: for benchmarks, all slots have something to do.
    return select(masks, np.linspace(1, 0.1, COUNT), size, iou=1)


def proposals_kind(*, nms_first: bool = False) -> InputKind:
    """Proposals as inputs.

    Args:
      nms_first: As for `vos_jax.data.proposals.open_proposals`.
    """
    return InputKind(
        name="proposals",
        open=partial(open_proposals, nms_first=nms_first),
        advice=(
            "name a file of COCO results with --proposals, or 'regions' for the region"
            " proposer, which needs no file"
        ),
        check=check_proposals,
        mirror=mirror_proposals,
        example=example_proposals,
        of_frames=REGIONS,
    )


PROPOSALS = proposals_kind()
"""As the paper takes them: the best thirty, then what overlaps is left out."""
