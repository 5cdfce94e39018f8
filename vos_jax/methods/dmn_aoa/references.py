"""The frames that RefineNet of DMN-AOA (ICCV 2021) looks at beside the current one.

They are laid out as the current frame is, in the manner of sec. 3.3: secs. 3.1, 3.4.
What all objects share is computed once. The first convolution of a block is linear in
what it is given, and of that the objects have only their masks for themselves.
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from vos_jax.methods.dmn_aoa.blocks import STRIDES, Kernels, Levels
from vos_jax.nn.layers import convolve
from vos_jax.nn.numerics import Numerics
from vos_jax.ops import memory_bank
from vos_jax.ops.memory_bank import Bank
from vos_jax.ops.patches import cosine_correspondence, move_patches
from vos_jax.ops.platform import Platform, by_platform
from vos_jax.ops.resample import block_mean


class Reference(NamedTuple):
    """A frame that RefineNet looks at.

    Attributes:
      levels: Of the frame.
      place: Its projection, by which it is aligned.
      mask: Of the objects, means over cells of stride 4, float32.
    """

    levels: Levels
    place: Float[Array, "*b h w D"]
    mask: Float[Array, "O H4 W4"]


def empty_reference(
    rows: int, columns: int, objects: int, dims: tuple[int, ...], place: int, dtype: Any
) -> Reference:
    """Zeros, for a frame of so many cells of stride 16.

    Args:
      rows: Of cells.
      columns: Of cells.
      objects: Masks.
      dims: Channels of the levels.
      place: Channels of the projection.
      dtype: Of levels and projection.
    """
    levels = [
        jnp.zeros((rows * side, columns * side, channels), dtype)
        for side, channels in zip(_SIDES, dims, strict=True)
    ]
    side = _SIDES[0]
    return Reference(
        Levels(*levels),
        jnp.zeros((rows, columns, place), dtype),
        jnp.zeros((objects, side * rows, side * columns)),
    )


_SIDES = tuple(STRIDES[-1] // stride for stride in STRIDES)
"""Cells of each level along a cell of stride 16."""


class Alignment(NamedTuple):
    """How references are aligned with a frame.

    Attributes:
      place: The frame's projection.
      alpha: Sharpens the correspondence.
      move_masks: Masks are moved, too.
      numerics: Of products and convolutions.
    """

    place: Float[Array, "h w D"]
    alpha: float
    move_masks: bool
    numerics: Numerics

    def levels(self, reference: Reference) -> tuple[Float[Array, "i j"], Levels]:
        """Levels of a reference as the frame is laid out, and by which S.

        `S_ij = softmax_j(alpha cos(frame_i, reference_j))` (sec. 3.3, eqs. 2 and 3).
        One S of the cells at stride 16 moves whole patches of each level: that of the
        cells at stride 4 would have 256 times the entries.
        """
        precision = self.numerics.precision
        s = cosine_correspondence(
            self.place, reference.place, self.alpha, precision=precision
        )
        moved = [
            move_patches(level, s, side, precision=precision)
            for level, side in zip(reference.levels, _SIDES, strict=True)
        ]
        return s, Levels(*moved)

    def masks(
        self, mask: Float[Array, "O H4 W4"], s: Float[Array, "i j"]
    ) -> Float[Array, "O H4 W4"]:
        """Masks of a reference likewise, unless they stay."""
        if not self.move_masks:
            return mask
        precision = self.numerics.precision
        channels = jnp.moveaxis(mask, 0, -1)
        moved = move_patches(channels, s, _SIDES[0], precision=precision)
        return jnp.moveaxis(moved, -1, 0)


def keep_first(
    kept: Bank | Reference,
    reference: Reference,
    is_first: Bool[Array, " O"],
    time: Int[Array, ""],
    platform: Platform | None,
) -> Bank | Reference:
    """Keeps a frame for the objects that begin in it; as a rule there are none.

    A bank has a slot for each object and not for each group of them that share a frame:
    there may be as many groups as objects, and so much room has to be there.
    """

    def keep(kept: Any) -> Any:
        if isinstance(kept, Reference):
            return reference
        return memory_bank.overwrite(
            kept, 0, for_each(reference, is_first.shape[0]), is_first, time
        )

    def ask(kept: Any) -> Any:
        return lax.cond(is_first.any(), keep, lambda kept: kept, kept)

    def choose(kept: Any) -> Any:
        if isinstance(kept, Bank):
            return keep(kept)
        begins = is_first.any()
        return jax.tree.map(partial(jnp.where, begins), keep(kept), kept)

    return by_platform(platform, ask, choose, kept)


def for_each(reference: Reference, objects: int) -> Reference:
    """The same frame for each object, `[O, ...]`."""
    of_each = jax.tree.map(
        lambda x: jnp.broadcast_to(x, (objects, *x.shape)), reference
    )
    return of_each._replace(mask=reference.mask)


class _Seen(NamedTuple):
    """What a first frame is to the current one: where its cells are, and `FirstConvs`.

    Attributes:
      s: Of its alignment.
      sums: Of first convolutions over all but masks, at strides 4, 8 and 16.
    """

    s: Float[Array, "i j"]
    sums: tuple[Float[Array, "1 H W F"], ...]


class FirstConvs(NamedTuple):
    """The first convolutions of RefineNet's blocks, at strides 4, 8 and 16.

    Attributes:
      kernels: Their parts.
      alignment: Of references with the current frame.
    """

    kernels: tuple[Kernels, ...]
    alignment: Alignment

    def __call__(
        self,
        levels: Levels,
        coarse: Float[Array, "O H4 W4"],
        previous: Reference,
        first: Bank | Reference,
        active: Bool[Array, " O"],
    ) -> tuple[Float[Array, "O H W F"], ...]:
        """Their sums over the levels and masks of all three frames.

        Args:
          levels: Of the current frame.
          coarse: Its masks.
          previous: The frame before.
          first: The first frame; or of each object, in one slot.
          active: Objects that there are.
        """
        s, moved = self.alignment.levels(previous)
        shared = self._share(levels, moved)
        previous_mask = self.alignment.masks(previous.mask, s)

        def look(first: Reference) -> _Seen:
            s, moved = self.alignment.levels(first)
            return _Seen(s, self._add_first(shared, moved))

        def finish(sums: tuple[Array, ...], mask: Array) -> tuple[Array, ...]:
            return self._add_masks(sums, (coarse, mask, previous_mask))

        if isinstance(first, Reference):
            seen = look(first)
            return finish(seen.sums, self.alignment.masks(first.mask, seen.s))
        of_each = jax.tree.map(lambda x: x[0], first.entries)
        time, main = first.time[0], jnp.argmax(active)

        def look_of(slot: Int[Array, ""]) -> _Seen:
            def take(x: Array) -> Array:
                return lax.dynamic_index_in_dim(x, slot, keepdims=False)

            levels = Levels(*map(take, of_each.levels))
            return look(Reference(levels, take(of_each.place), of_each.mask))

        seen = look_of(main)

        def together() -> tuple[Array, ...]:
            return finish(seen.sums, self.alignment.masks(of_each.mask, seen.s))

        def apart() -> tuple[Array, ...]:
            def look_again(before: tuple[Array, _Seen], slot: Array) -> Any:
                known = ~active[slot] | (time[slot] == before[0])
                latest, seen = lax.cond(
                    known, lambda: before, lambda: (time[slot], look_of(slot))
                )
                own = lax.dynamic_slice_in_dim(of_each.mask, slot, 1)
                own = self.alignment.masks(own, seen.s)[0]
                return (latest, seen), (tuple(x[0] for x in seen.sums), own)

            slots = jnp.arange(active.shape[0])
            return finish(*lax.scan(look_again, (time[main], seen), slots)[1])

        def each() -> tuple[Array, ...]:
            def look_at(slot: Array) -> Any:
                seen = look_of(slot)
                own = lax.dynamic_slice_in_dim(of_each.mask, slot, 1)
                own = self.alignment.masks(own, seen.s)[0]
                return tuple(x[0] for x in seen.sums), own

            return finish(*lax.map(look_at, jnp.arange(active.shape[0])))

        def ask() -> tuple[Array, ...]:
            return lax.cond((active & (time != time[main])).any(), apart, together)

        if active.shape[0] == 1:
            return together()
        # As a rule all objects have one first frame, which is looked at once. A single
        # branch asks: so a video without late objects does nothing for them. With them
        # one object after the other has its own frame looked at, unless it is that of
        # the one before. Mapped over videos both branches are computed; a frame is
        # about a sixth of what RefineNet then does for an object. On accelerators each
        # object has its own looked at: that takes less than to ask.
        return by_platform(self.alignment.numerics.platform, ask, each)

    def _share(self, levels: Levels, moved: Levels) -> tuple[Array, ...]:
        """The current and the previous frame's levels."""
        sums = []
        for here, before, kernel in zip(levels, moved, self.kernels, strict=True):
            both = jnp.concatenate([here, before], axis=-1)[None]
            bias = kernel.bias.astype(both.dtype)[None, None, None]
            sums.append(convolve(both, kernel.frame, self.alignment.numerics) + bias)
        return tuple(sums)

    def _add_first(self, sums: tuple[Array, ...], moved: Levels) -> tuple[Array, ...]:
        """The first frame's levels."""
        numerics = self.alignment.numerics
        return tuple(
            x + convolve(level[None], kernel.first, numerics)
            for x, level, kernel in zip(sums, moved, self.kernels, strict=True)
        )

    def _add_masks(
        self, sums: tuple[Array, ...], masks: tuple[Array, ...]
    ) -> tuple[Array, ...]:
        """Masks of each object: coarse, of the first and of the previous frame.

        They reach the strides of the levels by area.
        """
        numerics, mask = self.alignment.numerics, jnp.stack(masks, axis=1)
        added = []
        for x, kernel, stride in zip(sums, self.kernels, STRIDES, strict=True):
            own = jnp.moveaxis(block_mean(mask, stride // STRIDES[0]), 1, -1)
            added.append(x + convolve(own, kernel.masks, numerics))
        return tuple(added)
