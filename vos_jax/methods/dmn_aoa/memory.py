"""What DMN-AOA (Liang et al., ICCV 2021) remembers of a video."""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from vos_jax.data.proposals import COUNT
from vos_jax.methods.dmn_aoa.blocks import Levels
from vos_jax.methods.dmn_aoa.config import DMNAOAConfig
from vos_jax.methods.dmn_aoa.references import Reference, empty_reference, for_each
from vos_jax.ops import memory_bank
from vos_jax.ops.memory_bank import KEPT, PREVIOUS, Bank, Moment, Sampling
from vos_jax.ops.padding import grid_size, padding


class Keep(NamedTuple):
    """What is kept of a frame until it is memorised.

    Attributes:
      levels: Its base features.
      boxes: Of the objects, in pixels without padding, where they are better known than
        from the masks: in pre-training. None to take the masks'.
      shows: With `boxes`: objects that the frame shows.
    """

    levels: Levels
    boxes: Float[Array, "O 4"] | None = None
    shows: Bool[Array, " O"] | None = None


class Slot(NamedTuple):
    """What the memory has of a frame.

    Attributes:
      key: Matched with the query's.
      value: What is read.
      shows: Whether the frame shows the object; else it is read only where no other is.
    """

    key: Float[Array, "*b s s Ck"]
    value: Float[Array, "*b s s Cv"]
    shows: Bool[Array, "*b"]


class Track(NamedTuple):
    """Where and when an object is.

    Attributes:
      box: Its last one, in pixels of the padded frame.
      began: Index of its first frame.
    """

    box: Float[Array, "*b 4"]
    began: Int[Array, "*b"]


class Memory(NamedTuple):
    """What is remembered.

    A first frame is kept for each object and not for each group of objects that share
    it: there may be as many groups as objects, and the memory has to have that room.

    Attributes:
      time: Index of the latest frame.
      track: `Track` of each object, in one slot.
      bank: `Slot` entries `[N, O, ...]`; None without DMN.
      template: Features of each object in its first frame, in one slot; None with DMN.
      first: `Reference` of each object's first frame, in one slot. Without
        `late_objects` one `Reference` for all. None without RefineNet.
      previous: `Reference` of the latest frame; None without RefineNet.
      labels: Objects' pixels in the latest frame; None where overlaps do not count.
      coarse: Coarse masks of the frame that was segmented; None unless `keep_coarse`.
      similarity: Of objects and proposals, likewise; None without matcher.
      weights: Of proposals for objects, likewise.
    """

    time: Int[Array, ""]
    track: Bank
    bank: Bank | None
    template: Bank | None
    first: Bank | Reference | None
    previous: Reference | None
    labels: Bool[Array, "O H W"] | None
    coarse: Float[Array, "O H W"] | None
    similarity: Float[Array, "O P"] | None
    weights: Float[Array, "O P"] | None

    def looking_at(self, boxes: Float[Array, "O 4"]) -> "Memory":
        """As if these had been the objects' last boxes, in the padded frame."""
        entries = self.track.entries._replace(box=boxes[None])
        return self._replace(track=self.track._replace(entries=entries))


def empty_memory(
    config: DMNAOAConfig, height: int, width: int, objects: int, slots: int
) -> Memory:
    """Nothing yet, for frames of a size and so many objects and slots."""
    dtype, (rows, columns) = config.numerics.compute_dtype, grid_size(height, width)
    side, channels = config.object_size, config.object_dim
    bank = template = previous = None
    first: Bank | Reference | None = None
    if config.use_dmn:
        grid = (objects, *((rows, columns) if config.frame_memory else (side, side)))
        slot = Slot(
            jnp.zeros((*grid, config.key_dim), dtype),
            jnp.zeros((*grid, channels), dtype),
            jnp.zeros(objects, bool),
        )
        bank = memory_bank.empty(slot, slots)
    else:
        features = jnp.zeros((objects, side, side, channels), dtype)
        template = memory_bank.single(features)
    if config.use_refinenet:
        dims = config.level_dims, config.refine_dim
        previous = empty_reference(rows, columns, objects, *dims, dtype)
        first = previous
        if config.late_objects:
            first = memory_bank.single(for_each(previous, objects))
    matched = config.keep_coarse and config.use_matcher
    pairs = jnp.zeros((objects, max(COUNT, objects + 1))) if matched else None
    overlaps = config.use_matcher and config.iou_weight > 0
    track = Track(jnp.zeros((objects, 4)), jnp.zeros(objects, jnp.int32))
    return Memory(
        time=jnp.int32(-1),
        track=memory_bank.single(track),
        bank=bank,
        template=template,
        first=first,
        previous=previous,
        labels=jnp.zeros((objects, height, width), bool) if overlaps else None,
        coarse=jnp.zeros((objects, height, width)) if config.keep_coarse else None,
        similarity=pairs,
        weights=pairs,
    )


def corner_of(height: int, width: int) -> Float[Array, " 4"]:
    """What to add to boxes of a frame for those of the padded one."""
    top, left = padding(height)[0], padding(width)[0]
    return jnp.array([left, top, left, top], jnp.float32)


def follow(
    track: Bank,
    boxes: Float[Array, "O 4"],
    shows: Bool[Array, " O"],
    size: tuple[int, int],
    moment: Moment,
) -> Bank:
    """Where objects are in the latest frame: the last box of what it does not show.

    Args:
      track: `Track`, in one slot.
      boxes: In the latest frame.
      shows: Objects that the frame shows.
      size: Height and width of the frame.
      moment: Of the frame.
    """
    height, width = size
    corner = corner_of(height, width)
    everywhere = corner + jnp.array([0, 0, width, height], jnp.float32)
    known = (track.filled[0] & ~moment.first)[:, None]
    last = jnp.where(known, track.entries.box[0], everywhere[None])
    entry = Track(
        jnp.where(shows[:, None], boxes + corner[None], last),
        jnp.where(moment.first, moment.time, track.entries.began[0]),
    )
    return memory_bank.overwrite(track, 0, entry, moment.active, moment.time)


def readable(
    bank: Bank, sampling: Sampling, time: Int[Array, ""]
) -> Bool[Array, "N O"]:
    """Slots that are read: of the frames that `memory_sampling` says.

    Those that do not show an object are left out, unless there are no others.

    Args:
      bank: Of `Slot`s.
      sampling: As configured.
      time: Index of the latest frame.
    """
    slot, chosen = jnp.arange(bank.capacity)[:, None], bank.filled
    if sampling == "first":
        chosen &= slot != PREVIOUS
    if sampling == "prev":
        chosen &= (bank.time == time) | (slot >= KEPT)
    showing = chosen & bank.entries.shows
    return jnp.where(showing.any(0, keepdims=True), showing, chosen)
