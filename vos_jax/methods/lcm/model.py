"""LCM: Learning Position and Target Consistency for Memory-based VOS.

L. Hu, P. Zhang, B. Zhang, P. Pan, Y. Xu, R. Jin, CVPR 2021. STM whose query value is
reshaped before it is decoded: by where the objects of the frame before are likely to
be (PGM), and by what each object was when it was first seen (ORM). STM's own read is
called global retrieval (GRM).

| sec. | eq. | what | where |
|---|---|---|---|
| 3.1, 3.2 | | encoders, keys, values | `STM.make_query`, `STM.make_entry` |
| 3.2 | 1, 2 | GRM | `LCM.read`, which is STM's |
| 3.3 | 3, 4 | PGM: keys of places | `blocks.PositionGuidance`; `ops.position_code` |
| 3.3 | 5 | responses | `ops.position_map.response` |
| 3.3 | 6 | output | `ops.position_map.position_map`; `LCM.own_value` |
| 3.4 | 7-10 | ORM: relations, enhanced values | `ops.object_relation` |
| 3.4 | 11 | output | `blocks.ObjectRelation` |
| 3.4 | | merge, decoder, objects | `LCM.own_value`; `STM.segment` |
| 3.5 | | training | `training.clip_loss` |

No program was published. What the paper leaves open is STM's: the encoders, dot
products divided by the root of their length, the memory's frames; and what both modules
make of the value is added.
"""

from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float

from vos_jax.methods import stm, torch_names
from vos_jax.methods.base import setting
from vos_jax.methods.entry import Entry
from vos_jax.methods.lcm.blocks import REDUCTION, ObjectRelation, PositionGuidance
from vos_jax.methods.stm import STM, STMConfig
from vos_jax.nn.decoder import Skips
from vos_jax.nn.encoders import KeyValue
from vos_jax.nn.layers import Conv
from vos_jax.nn.resnet import Features, ResNetConfig
from vos_jax.ops import memory_bank
from vos_jax.ops.memory_bank import Bank, Moment
from vos_jax.ops.object_relation import CellSet, cell_set, foreground_cells
from vos_jax.ops.padding import STRIDE, grid_size
from vos_jax.ops.platform import by_platform
from vos_jax.ops.resample import block_mean


@dataclass(frozen=True, kw_only=True)
class LCMConfig(STMConfig):
    """Hyper-parameters of LCM, with those of `STMConfig`; by default as published.

    Attributes:
      local_dim: Channels of the local keys (Key-L); a multiple of 4.
      position_k: Memory cells that count in a cell of the position map.
      position_normalize: Places are shares of the grid, so that crops and frames have
        one range; else numbers of cells.
      pgm_scale: Dot products of places are divided by the root of their length, which
        the paper does not show.
      use_grm: Whether the memory is read; else zeros are decoded (the paper's table 4,
        as the others).
      use_pgm: Whether the position map counts.
      use_orm: Whether values are related to the objects; else they are the query's own.
    """

    local_dim: int = 128
    position_k: int = setting(8)
    position_normalize: bool = True
    pgm_scale: bool = True
    use_grm: bool = setting(True)
    use_pgm: bool = True
    use_orm: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.local_dim < 4 or self.local_dim % 4:
            raise ValueError(
                f"local_dim={self.local_dim}: use a multiple of 4, for sine and cosine"
                " of rows and columns"
            )
        if self.use_orm and self.value_dim < REDUCTION:
            raise ValueError(
                f"value_dim={self.value_dim}: use at least {REDUCTION}, of which the"
                " ORM's hidden layer has one"
            )
        if self.position_k < 1:
            raise ValueError(f"position_k={self.position_k}: use at least 1")
        if not (self.use_grm or self.use_pgm or self.use_orm):
            raise ValueError(
                "use_grm=False, use_pgm=False, use_orm=False: nothing of the memory is"
                " used; keep one of them"
            )


class Place(NamedTuple):
    """What is remembered of the previous frame for the PGM.

    Attributes:
      key: Local keys.
      coverage: Mean of the object's soft mask over each cell, float32.
    """

    key: Float[Array, "*b h w Cl"]
    coverage: Float[Array, "*b h w"]


class Memory(NamedTuple):
    """What is remembered.

    Attributes:
      bank: `KeyValue` entries `[N, O, h, w, C]`, as STM's.
      previous: `Place` in one slot; None without PGM.
      first: `CellSet` of each object in its first frame, in one slot; None without ORM.
    """

    bank: Bank
    previous: Bank | None
    first: Bank | None


class Query(NamedTuple):
    """STM's query with the local keys; None without PGM."""

    key: Float[Array, "h w Ck"]
    value: Float[Array, "h w Cv"]
    skips: Skips
    local: Float[Array, "h w Cl"] | None


class LCM(STM):
    """STM with position and target consistency."""

    config: LCMConfig = LCMConfig()

    def setup(self) -> None:
        """STM's parts; local keys and the two modules."""
        super().setup()
        config, numerics = self.config, self.config.numerics
        from_zero = config.backbone.zero_init
        if config.use_pgm:
            # From zero, places alone speak at first. Keys of encoders that have nothing
            # in common would send all cells to one place, and hardly learn otherwise.
            local = partial(
                Conv, config.local_dim, numerics=numerics, zero_init=from_zero
            )
            self.query_local, self.memory_local = local(), local()
            self.position_guidance = PositionGuidance(
                config.position_k,
                config.position_normalize,
                config.pgm_scale,
                config.read,
                numerics,
            )
        if config.use_orm:
            self.object_relation = ObjectRelation(
                zero_init=from_zero, numerics=numerics
            )

    def init_memory(self, height: int, width: int, objects: int, slots: int) -> Memory:
        """Empty banks."""
        config, grid = self.config, (objects, *grid_size(height, width))
        place = Place(
            jnp.zeros((*grid, config.local_dim), config.numerics.compute_dtype),
            jnp.zeros(grid),
        )
        channels = (objects, config.value_dim)
        first = CellSet(
            jnp.zeros((*channels, config.value_dim)),
            jnp.zeros(channels),
            jnp.zeros(channels),
        )
        return Memory(
            super().init_memory(height, width, objects, slots).bank,
            memory_bank.single(place) if config.use_pgm else None,
            memory_bank.single(first) if config.use_orm else None,
        )

    def make_query(self, features: Features) -> Query:
        """STM's, and local keys (Key-L, sec. 3.3)."""
        key, value, skips = super().make_query(features)
        local = self.query_local(features.res4)[0] if self.config.use_pgm else None
        return Query(key, value, skips, local)

    def read(
        self, memory: Memory, query: Query, active: Bool[Array, " O"]
    ) -> Float[Array, "O h w Cv"]:
        """STM's, here called GRM (sec. 3.2, eqs. 1 and 2)."""
        if self.config.use_grm:
            return super().read(memory, query, active)
        return jnp.zeros((memory.bank.time.shape[1], *query.value.shape))

    def own_value(self, memory: Memory, query: Query) -> Float[Array, "O h w Cv"]:
        """The ORM's value, and the PGM's: the map times the query's own (eq. 6)."""
        own = self.relate(memory, query)
        if not self.config.use_pgm:
            return own
        likely = self.position_map(memory, query).astype(own.dtype)
        return own + likely[..., None] * query.value[None]

    def position_map(self, memory: Memory, query: Query) -> Float[Array, "O h w"]:
        """Where each object is likely to be, after the frame before (PGM, sec. 3.3)."""
        assert memory.previous is not None
        assert query.local is not None
        key, coverage = memory.previous.entries
        return self.position_guidance(query.local, key[0], coverage[0])

    def relate(self, memory: Memory, query: Query) -> Float[Array, "O h w Cv"]:
        """The query's value as the objects' first frames see it (ORM, sec. 3.4)."""
        if memory.first is None:
            return jnp.broadcast_to(
                query.value, (memory.bank.time.shape[1], *query.value.shape)
            )
        first = CellSet(*(x[0] for x in memory.first.entries))
        return self.object_relation(first, query.value)

    def memorize_more(
        self,
        memory: Memory,
        entry: KeyValue,
        features: Features,
        masks: Float[Array, "O Hp Wp"],
        moment: Moment,
    ) -> Memory:
        """The previous frame for the PGM, and first frames for the ORM."""
        coverage = block_mean(masks, STRIDE)
        previous, first = memory.previous, memory.first
        if previous is not None:
            place = Place(self.memory_local(features.res4), coverage)
            previous = memory_bank.overwrite(
                previous, 0, place, moment.active, moment.time
            )
        if first is not None:
            first = self._memorize_first(first, entry.value, coverage, moment)
        return memory._replace(previous=previous, first=first)

    def _memorize_first(
        self,
        first: Bank,
        value: Float[Array, "O h w Cv"],
        coverage: Float[Array, "O h w"],
        moment: Moment,
    ) -> Bank:
        """The cells of objects that are seen for the first time; as a rule none are.

        On accelerators they are found in every frame: that takes less than to ask.
        """
        is_first = moment.first & moment.active

        def memorize(first: Bank) -> Bank:
            chosen = foreground_cells(coverage)
            entry = cell_set(value, chosen, self.config.precision)
            return memory_bank.overwrite(first, 0, entry, is_first, moment.time)

        def ask(first: Bank) -> Bank:
            return lax.cond(is_first.any(), memorize, lambda first: first, first)

        return by_platform(self.config.platform, ask, memorize, first)


def torch_table(config: LCMConfig) -> torch_names.Table:
    """Where each parameter stands in a checkpoint with STM's names and LCM's own."""
    table = stm.torch_table(config)
    if config.use_pgm:
        for side, torch_side in (("query", "Q"), ("memory", "M")):
            table |= torch_names.conv((f"{side}_local",), f"KeyL_{torch_side}")
        table |= torch_names.conv(("position_guidance", "project"), "PGM.fn")
    if config.use_orm:
        table |= torch_names.conv(("object_relation",), "ORM.g")
        for layer, name in (("squeeze", "fc1"), ("open", "fc2")):
            table |= torch_names.dense(("object_relation", layer), f"ORM.{name}")
    return table


_ENTRY = Entry(
    LCM,
    LCMConfig(),
    torch_table,
    stm.STM_IGNORED,
    parts={
        "use_pgm": {True: ("query_local", "memory_local", "position_guidance")},
        "use_orm": {True: ("object_relation",)},
    },
    extends="stm",
)

ENTRIES = {
    "lcm": _ENTRY,
    "lcm-tiny": _ENTRY._replace(
        config=LCMConfig(
            backbone=ResNetConfig(depth=18, width=32, zero_init=True),
            key_dim=64,
            local_dim=64,
            value_dim=128,
            decoder_dim=48,
        ),
        extends="stm-tiny",
    ),
}
"""By name."""
