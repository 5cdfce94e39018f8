"""HMMN: Hierarchical Memory Matching Network for Video Object Segmentation.

H. Seong, S. W. Oh, J.-Y. Lee, S. Lee, S. Lee, E. Kim, ICCV 2021. STM whose read is
guided by where every memory cell has moved, frame by frame, and which then reads at
strides 8 and 4, too, at the cells that the guided read prefers.

| sec. | eq. | what | where |
|---|---|---|---|
| 3 | | encoders, decoder | `HMMN.make_query`, `HMMN.decode`; `blocks` |
| 3.1 | 1 | scores at stride 16 | `ops.read.space_time_read` |
| 3.1 | 2 | times kernels | `ops.guidance.kernel_guided_read` |
| 3.1 | 3 | retrieved value | `HMMN.read_coarse` |
| 3.1 | | tracks, centres and sizes of kernels | `HMMN.guide`; `ops.guidance` |
| 3.2 | | top-k guided reads | `HMMN.candidates`, `HMMN.read_fine`; `ops.guided_read` |
| 3.2 | | residual, dropout | `blocks.FineConvs`, `HMMN.decode`; `objective` |
| 4.1 | | training, settings | `objective`; `HMMNConfig` |

Where paper and released program differ this is the program: dot products are divided by
the root of their length, kernels of older frames are one hop ahead of their cells, and
grow by 1.5 from frame to frame of the memory.
"""

import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from vos_jax.methods import stm, torch_names
from vos_jax.methods.entry import Entry
from vos_jax.methods.hmmn import blocks
from vos_jax.methods.hmmn.config import HMMNConfig
from vos_jax.methods.stm import STM, empty_key_value, join_values
from vos_jax.nn.decoder import Skips
from vos_jax.nn.resnet import Features, ResNetConfig
from vos_jax.ops import memory_bank
from vos_jax.ops.divided import by_slot
from vos_jax.ops.guidance import (
    Kernel,
    follow,
    global_match,
    kernel_guided_read,
    local_match,
)
from vos_jax.ops.guided_read import (
    Cells,
    all_cells,
    best_cells,
    guided_read,
    random_cells,
    strided_cells,
)
from vos_jax.ops.memory_bank import FIRST, KEPT, Bank, Moment
from vos_jax.ops.padding import grid_size


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


class HMMN(STM):
    """Hierarchical memory matching network."""

    config: HMMNConfig = HMMNConfig()

    def setup(self) -> None:
        """STM's parts, and heads at the fine stages."""
        super().setup()
        config, numerics = self.config, self.config.numerics
        self.query_fine_heads = blocks.FineKeys(config.fine, numerics)
        self.memory_fine_heads = blocks.FineHeads(config.fine, numerics)

    def setup_decoder(self) -> None:
        """A decoder that takes what was read at the fine stages."""
        config, numerics = self.config, self.config.numerics
        self.skip_convs = blocks.SkipConvs(config.decoder_dim, numerics)
        self.fine_convs = blocks.FineConvs(config.fine, config.decoder_dim, numerics)
        self.decoder = blocks.Decoder(config.decoder_dim, numerics)

    def init_memory(self, height: int, width: int, objects: int, slots: int) -> Memory:
        """Empty banks."""
        config, (rows, columns) = self.config, grid_size(height, width)
        bank = super().init_memory(height, width, objects, slots).bank
        fine = {
            stage.stage: empty_key_value(
                (objects, stage.factor * rows, stage.factor * columns),
                (stage.key_dim, stage.value_dim),
                config.numerics,
            )
            for stage in config.fine
        }
        if not fine:
            return Memory(bank, None)
        capacity = slots if config.fine_kept else KEPT
        return Memory(bank, memory_bank.empty(fine, capacity))

    def empty_entry(self, objects: int, rows: int, columns: int) -> Slot:
        """Zeros in the shapes of what `make_entry` makes."""
        key, value = super().empty_entry(objects, rows, columns)
        return Slot(key, value, jnp.zeros((objects, rows, columns), jnp.int32))

    def make_query(self, features: Features) -> Query:
        """Keys at three strides, value, and the decoder's skips."""
        key, value = self.query_head(features.res4)
        fine_keys = jax.tree.map(lambda x: x[0], self.query_fine_heads(features))
        skips = self.skip_convs(features.res3, features.res2)
        return Query(key[0], value[0], fine_keys, skips)

    def read(self, memory: Memory, query: Query, active: Bool[Array, " O"]) -> Read:
        """Follows the memory's cells and reads them and fine ones (secs. 3.1, 3.2).

        Fine cells of an object without entries are read as zeros.
        """
        track, kernel = self.guide(memory, query)
        coarse = self.read_coarse(memory, query, kernel)
        return Read(coarse, self.read_fine(memory, query, kernel), track)

    def read_coarse(
        self, memory: Memory, query: Query, kernel: Kernel | None
    ) -> Float[Array, "O h w Cv"]:
        """Reads the memory at stride 16, near where kernels are (sec. 3.1, eq. 3)."""
        bank, config = memory.bank, self.config
        return kernel_guided_read(
            query.key,
            bank.entries.key,
            bank.entries.value,
            bank.filled,
            kernel,
            **config.bank_options,
        )

    def guide(
        self, memory: Memory, query: Query
    ) -> tuple[Int[Array, "N O h w"], Kernel | None]:
        """Moves tracks on into the query's frame, and centres kernels there (sec. 3.1).

        A hop n takes a cell of the frame before, each object's newest, to its best
        match near by. A track that ended in cell a ends in n(a), the kernel's centre;
        in the released program n(n(a)), but in the newest slot. With d slots that are
        later: `sigma_d = sigma + d * sigma_step`.
        """
        config, bank = self.config, memory.bank
        key, track = bank.entries.key, bank.entries.track
        if not config.kernel_guided:
            return track, None
        later = (bank.time[None] > bank.time[:, None]).sum(1)
        sigma = config.sigma + config.sigma_step * later.astype(jnp.float32)
        search: Callable[..., Array] = global_match
        if config.kernel_centre != "global" and config.window is not None:
            search = partial(local_match, window=config.window)
        match = partial(search, query_key=query.key, precision=config.precision)
        if config.kernel_centre == "global":
            centre = by_slot(self.mesh, partial(lax.map, partial(lax.map, match)), key)
            return track, Kernel(centre, sigma)
        newest = _newest_slot(bank)
        hop = jax.vmap(match)(memory_bank.take(key, newest, self.mesh))
        track = follow(track, hop, self.mesh)
        centre = track
        if config.kernel_centre == "released":
            is_newest = jnp.arange(track.shape[0])[:, None] == newest[None]
            beyond = follow(track, hop, self.mesh)
            centre = jnp.where(is_newest[..., None, None], track, beyond)
        return track, Kernel(centre, sigma)

    def read_fine(
        self, memory: Memory, query: Query, kernel: Kernel | None
    ) -> dict[int, Float[Array, "O hs ws Dv"]]:
        """Reads the fine memories at the candidates of every query cell (sec. 3.2)."""
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
            **self.config.read_options,
        )

    def candidates(
        self, memory: Memory, query: Query, kernel: Kernel | None
    ) -> dict[int, Cells]:
        """Coarse cells of the slots of `memory.fine`, for each fine stage (sec. 3.2).

        The k best at stride 8, and the k/4 best of them at stride 4.
        """
        config, fine = self.config, memory.fine
        assert fine is not None
        height, width, _ = query.key.shape
        counts = {s.stage: 4 * config.k // s.factor**2 for s in config.fine}
        if config.selection == "best":
            key, kernel = self._coarse_of_fine(memory, kernel)
            given = query.key, key, fine.filled, kernel, config.k
            best = best_cells(*given, config.precision, config.platform)
            return {stage: best.first(count) for stage, count in counts.items()}
        if config.selection == "all":
            return dict.fromkeys(counts, all_cells(fine.filled, height, width))
        if config.selection == "random":
            # Others in every frame, the same whenever the video is run.
            seed = jax.random.fold_in(jax.random.key(0), fine.time.max())
            drawn = random_cells(seed, fine.filled, height, width, config.k)
            return {stage: drawn.first(count) for stage, count in counts.items()}
        return {
            stage: strided_cells(fine.filled, height, width, math.isqrt(count // 2))
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
        newest = _newest_slot(memory.bank)
        slots = jnp.stack([newest, jnp.full_like(newest, FIRST)])
        return memory_bank.take((key, kernel), slots, self.mesh)

    def decode(
        self,
        retrieved: Read,
        own: Float[Array, "*b h w Cv"],
        query: Query,
        inputs: Shares | None = None,
    ) -> Float[Array, "O H4 W4 2"]:
        """STM's, with fine reads added to the skips (sec. 3.2).

        `inputs` are for training, which drops whole reads of fine stages.
        """
        read = join_values(retrieved.coarse, own)
        joined = self.fine_convs(retrieved.fine)
        if inputs is not None:
            shares = {s: inputs[s].astype(x.dtype) for s, x in joined.items()}
            joined = {s: x * shares[s][:, None, None, None] for s, x in joined.items()}
        return self.decoder(read, joined, query.skips)

    def leave_trace(self, memory: Memory, retrieved: Read) -> Memory:
        """Tracks now end in the frame that was read for (sec. 3.1)."""
        entries = memory.bank.entries._replace(track=retrieved.track)
        return memory._replace(bank=memory.bank._replace(entries=entries))

    def make_entry(self, features: Features) -> Slot:
        """Key and value of each object, and tracks that begin in their own cells."""
        key, value = self.memory_head(features.res4)
        places = jnp.arange(math.prod(key.shape[1:3]), dtype=jnp.int32)
        track = jnp.broadcast_to(places.reshape(1, *key.shape[1:3]), key.shape[:3])
        return Slot(key, value, track)

    def memorize_more(
        self,
        memory: Memory,
        entry: Slot,
        features: Features,
        masks: Float[Array, "O Hp Wp"],
        moment: Moment,
    ) -> Memory:
        """Keys and values at the fine stages."""
        if memory.fine is None:
            return memory
        fine, policy = self.memory_fine_heads(features), self.config.fine_policy
        return memory._replace(
            fine=memory_bank.write(memory.fine, policy, fine, moment)
        )


def _newest_slot(bank: Bank) -> Int[Array, " O"]:
    """Slot of each object's newest frame."""
    return jnp.argmax(bank.time, axis=0)


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
    aliases={
        "skip_branches/res3/conv": "skip_convs/res3",
        "skip_branches/res3/res": "decoder/join3",
        "skip_branches/res2/conv": "skip_convs/res2",
        "skip_branches/res2/res": "decoder/join2",
    },
    additions=("fine_convs",),
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
