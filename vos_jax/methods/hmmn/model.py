"""HMMN: Hierarchical Memory Matching Network for Video Object Segmentation.

H. Seong, S. W. Oh, J.-Y. Lee, S. Lee, S. Lee, E. Kim, ICCV 2021. STM whose read is
guided by where every memory cell has moved, frame by frame, and which then reads at
strides 8 and 4, too, at the cells that the guided read prefers. Where paper and
released program differ this is the program: dot products are divided by the root of
their length, kernels of older frames are one hop ahead of their cells, and grow by 1.5
from frame to frame of the memory.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from vos_jax.methods import stm, torch_names
from vos_jax.methods.base import Encoded, Segmentation, setting
from vos_jax.methods.entry import Entry
from vos_jax.methods.hmmn import blocks
from vos_jax.methods.stm import STRIDE, SpaceTimeMethod, STMConfig
from vos_jax.nn.decoder import Skips
from vos_jax.nn.encoders import KeyValue
from vos_jax.nn.layers import normalize_image
from vos_jax.nn.resnet import ResNetConfig
from vos_jax.ops import memory_bank
from vos_jax.ops.guidance import Kernel, global_match, kernel_guided_read, local_match
from vos_jax.ops.guided_read import (
    Cells,
    all_cells,
    best_cells,
    guided_read,
    random_cells,
    strided_cells,
)
from vos_jax.ops.memory_bank import FIRST, KEPT, Bank, Moment, Policy
from vos_jax.ops.padding import pad

Centre = Literal["released", "paper", "global"]
Selection = Literal["best", "random", "strided", "all"]

_FINE = Policy(every=None)


@dataclass(frozen=True, kw_only=True)
class HMMNConfig(STMConfig):
    """Hyper-parameters of HMMN, with those of `STMConfig`; by default as published.

    Attributes:
      top_k: Must be None: the coarse read takes all cells.
      fine_stages: Where fine memories are read: 3 is stride 8, 2 is stride 4.
      fine_key_dims: D at strides 8 and 4.
      fine_value_dims: Dv at strides 8 and 4.
      fine_kept: Fine memories of the kept frames, too, and not only of the first and
        the previous one (the paper's table 6).
      k: Coarse cells whose fine cells are read at stride 8; at stride 4 a quarter of
        them.
      selection: Which cells these are: the best, or as in the paper's ablation.
      kernel_guided: Whether the coarse read is guided. The paper trains without.
      kernel_centre: Where a memory cell's kernel is: at the end of its track ("paper");
        there, but with the last hop taken twice unless the cell is the previous frame's
        ("released"); at its best match in the whole frame ("global", as KMN).
      window: Side of the window of a hop, in coarse cells; odd.
      sigma: Of the newest frame's kernels, in coarse cells.
      sigma_step: How much larger it is from each frame of the memory to the one before
        it. The paper says 0.5; the program adds half of `sigma`.
    """

    fine_stages: tuple[int, ...] = (3, 2)
    fine_key_dims: tuple[int, int] = (128, 64)
    fine_value_dims: tuple[int, int] = (256, 128)
    fine_kept: bool = setting(False)
    k: int = setting(32)
    selection: Selection = setting("best")
    kernel_guided: bool = setting(True)
    kernel_centre: Centre = setting("released")
    window: int = setting(7)
    sigma: float = setting(3.0)
    sigma_step: float = setting(1.5)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.top_k is not None:
            raise ValueError(f"top_k={self.top_k}: HMMN reads all cells; use None")
        if self.fine_stages not in ((3, 2), (3,), (2,), ()):
            raise ValueError(
                f"fine_stages={self.fine_stages!r}: use (3, 2), (3,), (2,) or ()"
            )
        if self.k < 4:
            raise ValueError(f"k={self.k}: use at least 4, a quarter is for stride 4")
        for field, known in (("selection", Selection), ("kernel_centre", Centre)):
            if getattr(self, field) not in get_args(known):
                raise ValueError(
                    f"{field}={getattr(self, field)!r}: use one of"
                    f" {list(get_args(known))}"
                )
        if self.window < 1 or self.window % 2 == 0:
            raise ValueError(f"window={self.window}: use an odd number of cells")
        if not 0.01 <= self.sigma < math.inf:
            raise ValueError(f"sigma={self.sigma}: use at least 0.01 cells")
        for field in ("fine_key_dims", "fine_value_dims"):
            dims = getattr(self, field)
            pair = isinstance(dims, tuple) and len(dims) == 2
            if not (pair and all(type(x) is int and x > 0 for x in dims)):
                raise ValueError(
                    f"{field}={dims!r}: use two whole numbers, of strides 8 and 4"
                )
        if not 0 <= self.sigma_step < math.inf:
            raise ValueError(f"sigma_step={self.sigma_step}: use at least 0")

    @property
    def fine(self) -> tuple[blocks.FineStage, ...]:
        """The fine stages and their channels."""
        dims = zip((3, 2), self.fine_key_dims, self.fine_value_dims, strict=True)
        return tuple(
            blocks.FineStage(*stage) for stage in dims if stage[0] in self.fine_stages
        )

    @property
    def fine_policy(self) -> Policy:
        """Which frames are remembered at the fine stages."""
        return self.policy if self.fine_kept else _FINE


class Slot(NamedTuple):
    """What is remembered of a frame at stride 16.

    Attributes:
      key: Matched with the query's.
      value: What is read.
      track: Where each cell is in the latest frame that was segmented, as a number of
        a cell, row by row.
    """

    key: Float[Array, "*b h w Ck"]
    value: Float[Array, "*b h w Cv"]
    track: Int[Array, "*b h w"]


class Memory(NamedTuple):
    """What is remembered.

    Attributes:
      bank: `Slot` entries `[N, O, ...]`.
      fine: `KeyValue` by stage; two slots, or those of `bank`. None without stages.
    """

    bank: Bank
    fine: Bank | None


class Query(NamedTuple):
    """A frame as seen by the reads (key, value, fine keys) and the decoder (skips)."""

    key: Float[Array, "h w Ck"]
    value: Float[Array, "h w Cv"]
    fine_keys: dict[int, Float[Array, "hs ws D"]]
    skips: Skips


class Read(NamedTuple):
    """What was read of a memory.

    Attributes:
      coarse: At stride 16.
      fine: At the fine stages.
      track: As in `Slot`, now ending in the frame that was read for.
    """

    coarse: Float[Array, "O h w Cv"]
    fine: dict[int, Float[Array, "O hs ws Dv"]]
    track: Int[Array, "N O h w"]


Shares = Mapping[int, Float[Array, " O"]]
"""By fine stage, what each object's read there counts: 1, or 0 where it is dropped."""


class HMMN(SpaceTimeMethod):
    """Hierarchical memory matching network."""

    config: HMMNConfig = HMMNConfig()

    def setup(self) -> None:
        """Both encoders, their heads at three strides, and the decoder."""
        super().setup()
        config, numerics = self.config, self.config.numerics
        self.query_fine_heads = blocks.FineKeys(config.fine, numerics)
        self.memory_fine_heads = blocks.FineHeads(config.fine, numerics)
        self.skip_convs = blocks.SkipConvs(config.decoder_dim, numerics)
        self.fine_convs = blocks.FineConvs(config.fine, config.decoder_dim, numerics)
        self.decoder = blocks.Decoder(config.decoder_dim, numerics)

    def init_memory(self, height: int, width: int, objects: int, slots: int) -> Memory:
        """Empty banks."""
        config = self.config
        rows, columns = -(-height // STRIDE), -(-width // STRIDE)
        dtype = config.numerics.compute_dtype

        def grid(channels: int, factor: int = 1) -> Array:
            return jnp.zeros(
                (objects, factor * rows, factor * columns, channels), dtype
            )

        track = jnp.zeros((objects, rows, columns), jnp.int32)
        entry = Slot(grid(config.key_dim), grid(config.value_dim), track)
        fine = {
            stage.stage: KeyValue(
                grid(stage.key_dim, stage.factor), grid(stage.value_dim, stage.factor)
            )
            for stage in config.fine
        }
        return Memory(
            memory_bank.empty(entry, slots),
            memory_bank.empty(fine, slots if config.fine_kept else KEPT)
            if fine
            else None,
        )

    def encode(self, frame: Float[Array, "H W 3"]) -> Encoded:
        """Query encoder, keys at three strides, value, and the decoder's skips."""
        features = self.query_encoder(normalize_image(pad(frame)[None]))
        key, value = self.query_head(features.res4)
        fine_keys = jax.tree.map(lambda x: x[0], self.query_fine_heads(features))
        skips = self.skip_convs(features.res3, features.res2)
        return Encoded(Query(key[0], value[0], fine_keys, skips), keep=())

    def read(self, memory: Memory, query: Query, active: Bool[Array, " O"]) -> Read:
        """Follows the memory's cells and reads them and fine ones (secs. 3.2, 3.3).

        Fine cells of an object without entries are read as zeros.
        """
        track, kernel = self.guide(memory, query)
        coarse = self.read_coarse(memory, query, kernel)
        return Read(coarse, self.read_fine(memory, query, kernel), track)

    def read_coarse(
        self, memory: Memory, query: Query, kernel: Kernel | None
    ) -> Float[Array, "O h w Cv"]:
        """Reads the memory at stride 16, near where kernels are (sec. 3.2)."""
        bank, config = memory.bank, self.config
        return kernel_guided_read(
            query.key,
            bank.entries.key,
            bank.entries.value,
            bank.filled,
            kernel,
            implementation=config.read,
            precision=config.precision,
        )

    def guide(
        self, memory: Memory, query: Query
    ) -> tuple[Int[Array, "N O h w"], Kernel | None]:
        """Moves tracks on into the query's frame, and centres kernels there (sec. 3.2).

        The newest frame of an object is the one before the query's.
        """
        config, bank = self.config, memory.bank
        key, track = bank.entries.key, bank.entries.track
        if not config.kernel_guided:
            return track, None
        later = (bank.time[None] > bank.time[:, None]).sum(1)
        sigma = config.sigma + config.sigma_step * later.astype(jnp.float32)
        if config.kernel_centre == "global":
            match = partial(
                global_match, query_key=query.key, precision=config.precision
            )
            return track, Kernel(lax.map(partial(lax.map, match), key), sigma)
        newest = _newest(bank)
        match = partial(
            local_match,
            query_key=query.key,
            window=config.window,
            precision=config.precision,
        )
        hop = jax.vmap(match)(key[newest, jnp.arange(len(newest))])
        track = _follow(track, hop)
        centre = track
        if config.kernel_centre == "released":
            is_newest = jnp.arange(len(track))[:, None] == newest[None]
            centre = jnp.where(is_newest[..., None, None], track, _follow(track, hop))
        return track, Kernel(centre, sigma)

    def read_fine(
        self, memory: Memory, query: Query, kernel: Kernel | None
    ) -> dict[int, Float[Array, "O hs ws Dv"]]:
        """Reads the fine memories at the candidates of every query cell (sec. 3.3)."""
        if memory.fine is None:
            return {}
        cells = self.candidates(memory, query, kernel)
        return {
            stage: self.read_stage(stage, memory, query, cells)
            for stage in memory.fine.entries
        }

    def read_stage(
        self, stage: int, memory: Memory, query: Query, cells: Mapping[int, Cells]
    ) -> Float[Array, "O hs ws Dv"]:
        """Reads the fine memory of one stage at given candidates."""
        assert memory.fine is not None
        entry = memory.fine.entries[stage]
        return guided_read(
            query.fine_keys[stage],
            entry.key,
            entry.value,
            cells[stage],
            implementation=self.config.read,
            precision=self.config.precision,
        )

    def candidates(
        self, memory: Memory, query: Query, kernel: Kernel | None
    ) -> dict[int, Cells]:
        """Coarse cells of the slots of `memory.fine`, for each fine stage."""
        config, fine = self.config, memory.fine
        assert fine is not None
        height, width, _ = query.key.shape
        counts = {s.stage: 4 * config.k // s.factor**2 for s in config.fine}
        if config.selection == "best":
            key, kernel = self._coarse_of_fine(memory, kernel)
            best = best_cells(
                query.key, key, fine.filled, kernel, config.k, config.precision
            )
            return {stage: best.first(count) for stage, count in counts.items()}
        if config.selection == "all":
            return dict.fromkeys(counts, all_cells(fine.filled, height, width))
        choose: Callable[..., Cells] = strided_cells
        if config.selection == "random":
            # Others in every frame, the same whenever the video is run.
            seed = jax.random.fold_in(jax.random.key(0), fine.time.max())
            choose = partial(random_cells, seed)
        return {
            stage: choose(fine.filled, height, width, count)
            for stage, count in counts.items()
        }

    def _coarse_of_fine(
        self, memory: Memory, kernel: Kernel | None
    ) -> tuple[Float[Array, "S O h w Ck"], Kernel | None]:
        """Coarse keys and kernels of the frames that have fine entries."""
        key = memory.bank.entries.key
        if self.config.fine_kept:
            return key, kernel
        # The order of slots is that of any bank: previous frame, first frame. Of the
        # object's first step both are one, and the fine bank has only the second.
        newest = _newest(memory.bank)
        slots = jnp.stack([newest, jnp.full_like(newest, FIRST)])
        at = (slots, jnp.arange(len(newest))[None])
        return key[at], jax.tree.map(lambda x: x[at], kernel)

    def segment(
        self,
        memory: Memory,
        query: Query,
        frame: Float[Array, "H W 3"],
        active: Bool[Array, " O"],
        inputs: Shares | None = None,
    ) -> Segmentation:
        """Reads the memory, decodes and merges the objects.

        `inputs` are for training, which drops whole reads of fine stages (sec. 3.3).
        """
        coarse, fine, track = self.read(memory, query, active)
        logits = self.decode(coarse, fine, query, frame, active, inputs)
        entries = memory.bank.entries._replace(track=track)
        memory = memory._replace(bank=memory.bank._replace(entries=entries))
        return Segmentation(logits, memory)

    def decode(
        self,
        coarse: Float[Array, "O h w Cv"],
        fine: Mapping[int, Float[Array, "O hs ws Dv"]],
        query: Query,
        frame: Float[Array, "H W 3"],
        active: Bool[Array, " O"],
        inputs: Shares | None = None,
    ) -> Float[Array, "O+1 H W"]:
        """Logits of background and objects from what was read of each object."""
        own = jnp.broadcast_to(query.value, coarse.shape)
        read = jnp.concatenate([coarse.astype(own.dtype), own], axis=-1)
        joined = self.fine_convs(fine)
        if inputs is not None:
            shares = {s: inputs[s].astype(x.dtype) for s, x in joined.items()}
            joined = {s: x * shares[s][:, None, None, None] for s, x in joined.items()}
        return stm.merged(self.decoder(read, joined, query.skips), frame, active)

    def memorize(
        self,
        memory: Memory,
        frame: Float[Array, "H W 3"],
        keep: tuple[()],
        probs: Float[Array, "O+1 H W"],
        moment: Moment,
    ) -> Memory:
        """Encodes the frame once for every object, with its soft mask; tracks begin."""
        features, _ = self.encode_memory(frame, probs)
        key, value = self.memory_head(features.res4)
        cells = jnp.arange(math.prod(key.shape[1:3]), dtype=jnp.int32)
        track = jnp.broadcast_to(cells.reshape(1, *key.shape[1:3]), key.shape[:3])
        entry, config = Slot(key, value, track), self.config
        bank = memory_bank.write(memory.bank, config.policy, entry, moment)
        fine = memory.fine
        if fine is not None:
            fine = memory_bank.write(
                fine, config.fine_policy, self.memory_fine_heads(features), moment
            )
        return Memory(bank, fine)


def _newest(bank: Bank) -> Int[Array, " O"]:
    """Slot of each object's newest frame."""
    return jnp.argmax(bank.time, axis=0)


def _follow(
    track: Int[Array, "N O h w"], hop: Int[Array, "O h w"]
) -> Int[Array, "N O h w"]:
    """Tracks with one hop more, which goes from each cell of a frame to the next."""
    flat, hop = track.reshape(*track.shape[:2], -1), hop.reshape(1, len(hop), -1)
    return jnp.take_along_axis(hop, flat, axis=-1).reshape(track.shape)


def torch_table(config: HMMNConfig) -> torch_names.Table:
    """Where each parameter stands in the released checkpoint."""
    table = {
        path: source
        for path, source in stm.torch_table(config).items()
        if path[1] != "skip_branches"
    }
    for stage in (3, 2):
        source = f"Decoder.RF{stage}"
        table |= torch_names.conv(("skip_convs", f"res{stage}"), f"{source}.convFS")
        table |= torch_names.res_block(("decoder", f"join{stage}"), f"{source}.ResFS")
    for stage in config.fine_stages:
        name = f"res{stage}"
        source = f"Decoder.RF{stage}.convMemory"
        table |= torch_names.kernel(("fine_convs", name), source)
        query, memory = f"KV_Q_r{stage}", f"KV_M_r{stage}"
        table |= torch_names.conv(("query_fine_heads", name), f"{query}.Key")
        head = ("memory_fine_heads", name)
        table |= torch_names.conv((*head, "key"), f"{memory}.Key")
        table |= torch_names.conv((*head, "value"), f"{memory}.Value")
    return table


_ENTRY = Entry(
    HMMN,
    HMMNConfig(),
    torch_table,
    stm.STM_IGNORED,
    parts={
        "fine_stages": {
            stage: tuple(
                f"{part}/res{stage}"
                for part in ("query_fine_heads", "memory_fine_heads", "fine_convs")
            )
            for stage in (3, 2)
        }
    },
)

ENTRIES = {
    "hmmn": _ENTRY,
    "hmmn-tiny": _ENTRY._replace(
        config=HMMNConfig(
            backbone=ResNetConfig(depth=18, width=32, zero_init=True),
            key_dim=64,
            value_dim=128,
            fine_key_dims=(32, 16),
            fine_value_dims=(48, 24),
            decoder_dim=48,
        )
    ),
}
"""By name."""
