"""LCM: Learning Position and Target Consistency for Memory-based VOS.

L. Hu, P. Zhang, B. Zhang, P. Pan, Y. Xu, R. Jin, CVPR 2021. STM whose query value is
reshaped before it is decoded: by where the objects of the frame before are likely to
be (PGM), and by what each object was when it was first seen (ORM). STM's own read is
called global retrieval (GRM). No program was published. What the paper leaves open is
STM's: the encoders, dot products divided by the root of their length, the memory's
frames; and what both modules make of the value is added.
"""

from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float

from vos_jax.methods import stm, torch_names
from vos_jax.methods.base import Encoded, Segmentation, setting
from vos_jax.methods.entry import Entry
from vos_jax.methods.lcm.blocks import REDUCTION, ObjectRelation, PositionGuidance
from vos_jax.methods.stm import STRIDE, SpaceTimeMethod, STMConfig
from vos_jax.nn.decoder import Decoder, SkipBranches, Skips
from vos_jax.nn.layers import Conv, normalize_image
from vos_jax.nn.resnet import ResNetConfig
from vos_jax.ops import memory_bank
from vos_jax.ops.memory_bank import Bank, Moment
from vos_jax.ops.object_relation import CellSet, cell_set, foreground_cells
from vos_jax.ops.padding import pad
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
    """A frame as seen by the reads (keys, value) and by the decoder (skips).

    `local` is None without PGM.
    """

    key: Float[Array, "h w Ck"]
    local: Float[Array, "h w Cl"] | None
    value: Float[Array, "h w Cv"]
    skips: Skips


class LCM(SpaceTimeMethod):
    """STM with position and target consistency."""

    config: LCMConfig = LCMConfig()

    def setup(self) -> None:
        """STM's parts; local keys and the two modules."""
        super().setup()
        config, numerics = self.config, self.config.numerics
        self.skip_branches = SkipBranches(config.decoder_dim, numerics)
        self.decoder = Decoder(config.decoder_dim, numerics)
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
        config = self.config
        grid = (objects, -(-height // STRIDE), -(-width // STRIDE))
        place = Place(
            jnp.zeros((*grid, config.local_dim), config.numerics.compute_dtype),
            jnp.zeros(grid),
        )
        channels = (objects, config.value_dim)
        cells = CellSet(
            jnp.zeros((*channels, config.value_dim)),
            jnp.zeros(channels),
            jnp.zeros(channels),
        )
        return Memory(
            stm.empty_bank(config, height, width, objects, slots),
            memory_bank.single(place) if config.use_pgm else None,
            memory_bank.single(cells) if config.use_orm else None,
        )

    def encode(self, frame: Float[Array, "H W 3"]) -> Encoded:
        """Query encoder, both keys and value, and the decoder's skip branches."""
        features = self.query_encoder(normalize_image(pad(frame)[None]))
        key, value = self.query_head(features.res4)
        local = self.query_local(features.res4)[0] if self.config.use_pgm else None
        skips = self.skip_branches(features.res3, features.res2)
        return Encoded(Query(key[0], local, value[0], skips), keep=())

    def read(
        self, memory: Memory, query: Query, active: Bool[Array, " O"]
    ) -> Float[Array, "O h w Cv"]:
        """Retrieves each object's value at every query cell (GRM, sec. 3.2)."""
        if not self.config.use_grm:
            return jnp.zeros((memory.bank.time.shape[1], *query.value.shape))
        return stm.read_bank(self.config, memory.bank, query.key)

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
        cells = CellSet(*(x[0] for x in memory.first.entries))
        return self.object_relation(cells, query.value)

    def own_value(self, memory: Memory, query: Query) -> Float[Array, "O h w Cv"]:
        """What is decoded beside what was retrieved: both modules' values, added."""
        own = self.relate(memory, query)
        if not self.config.use_pgm:
            return own
        likely = self.position_map(memory, query).astype(own.dtype)
        return own + likely[..., None] * query.value[None]

    def segment(
        self,
        memory: Memory,
        query: Query,
        frame: Float[Array, "H W 3"],
        active: Bool[Array, " O"],
        inputs: None = None,
    ) -> Segmentation:
        """Reads the memory, reshapes the value, decodes and merges the objects."""
        own = self.own_value(memory, query)
        retrieved = self.read(memory, query, active).astype(own.dtype)
        logits = self.decoder(jnp.concatenate([retrieved, own], axis=-1), query.skips)
        return Segmentation(stm.merged(logits, frame, active), memory)

    def memorize(
        self,
        memory: Memory,
        frame: Float[Array, "H W 3"],
        keep: tuple[()],
        probs: Float[Array, "O+1 H W"],
        moment: Moment,
    ) -> Memory:
        """Encodes the frame for every object; the modules' memories follow."""
        features, masks = self.encode_memory(frame, probs)
        entry = self.memory_head(features.res4)
        bank = memory_bank.write(memory.bank, self.config.policy, entry, moment)
        coverage = block_mean(masks, STRIDE)
        previous, first = memory.previous, memory.first
        if previous is not None:
            place = Place(self.memory_local(features.res4), coverage)
            previous = memory_bank.overwrite(
                previous, 0, place, moment.active, moment.time
            )
        if first is not None:
            first = self._remember_first(first, entry.value, coverage, moment)
        return Memory(bank, previous, first)

    def _remember_first(
        self,
        first: Bank,
        value: Float[Array, "O h w Cv"],
        coverage: Float[Array, "O h w"],
        moment: Moment,
    ) -> Bank:
        """The cells of objects that are seen for the first time; as a rule none are."""
        is_first = moment.first & moment.active

        def remember(first: Bank) -> Bank:
            cells = cell_set(value, foreground_cells(coverage), self.config.precision)
            return memory_bank.overwrite(first, 0, cells, is_first, moment.time)

        return lax.cond(is_first.any(), remember, lambda first: first, first)


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
