"""RDE-VOS: Recurrent Dynamic Embedding for Video Object Segmentation.

M. Li, L. Hu, Z. Xiong, B. Zhang, P. Pan, D. Liu, CVPR 2022. STCN with a memory of
constant size: the first frame, the latest one that was remembered, and an embedding of
all of them that SAM carries on. Where paper and released program differ this is the
program; the first frame counts twice there.

    section   equation  what                      here
    3.2       2, 3      encoders, read, decoder   `STCN`
    3.3       4         recurrent embedding       `RDE.write`
    3.3       4 to 6    SAM                       `RDE.aggregate`; `ops.aggregation`
    3.3, 4.2            what is read, how often   `RDEConfig`, `RDE.copies`
    3.3       7 to 10   losses                    `rde.objective`
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int

from vos_jax.errors import warn
from vos_jax.methods import torch_names
from vos_jax.methods.base import setting
from vos_jax.methods.entry import Entry
from vos_jax.methods.rde.blocks import Aggregation
from vos_jax.methods.stcn import model as stcn
from vos_jax.methods.stcn.model import STCN, Memory, STCNConfig
from vos_jax.nn.encoders import KeyValue
from vos_jax.nn.resnet import ResNetConfig
from vos_jax.ops.memory_bank import Moment, overwrite

LATEST, FIRST, RECURRENT = 0, 1, 2
"""Slots of the latest remembered frame, of the first one, and of what SAM carries."""

_SLOTS = 3


@dataclass(frozen=True, kw_only=True)
class RDEConfig(STCNConfig):
    """Hyper-parameters of RDE-VOS; the defaults are the published network.

    Which embeddings are read, and how often each counts, are the strategies of the
    paper's table 5. `mem_capacity` is not used: three slots are enough for ever.

    Attributes:
      mem_every: theta, frames from one update of the recurrent embedding to the next;
        at least 1.
      first: How often the first frame counts beside others, 0 to 2.
      latest: How often the latest remembered frame counts: not at all (False or 0),
        once (True or 1) or twice (2).
      recurrent: Whether the recurrent embedding is kept and read.
    """

    mem_every: int = setting(3)
    top_k: int | None = setting(40)
    first: int = setting(2)
    latest: bool | int = setting(True)
    recurrent: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.first not in (0, 1, 2):
            raise ValueError(f"first={self.first}: use 0, 1 or 2")
        if not isinstance(self.latest, int) or self.latest not in (0, 1, 2):
            raise ValueError(f"latest={self.latest!r}: use 0, 1 or 2, True or False")
        if not (self.first or self.latest or self.recurrent):
            raise ValueError("first=0, latest=False, recurrent=False: nothing is read")
        if self.mem_capacity is not None:
            warn(
                f"mem_capacity={self.mem_capacity} changes nothing: RDE-VOS keeps three"
                " frames however long the video is; leave it out"
            )


class RDE(STCN):
    """STCN with a recurrent dynamic embedding."""

    config: RDEConfig = RDEConfig()

    def setup(self) -> None:
        """STCN's parts, and SAM for keys and for values."""
        super().setup()
        if self.config.recurrent:
            self.key_aggregation = Aggregation(self.config.numerics)
            self.value_aggregation = Aggregation(self.config.numerics)

    @property
    def undivided(self) -> str | None:
        """There is nothing to divide."""
        return "it keeps three frames, however long the video is"

    def slots(self, frames: int) -> int:
        """The same for any video."""
        return _SLOTS

    def copies(self, time: Int[Array, " N"]) -> Int[Array, " N"]:
        """How often each slot counts, before the first update and after it.

        Before it the recurrent embedding is that of the first frame, and the latest
        frame is the first one.
        """
        config = self.config
        updated = time[LATEST] >= 0
        begun = time[FIRST] >= 0
        alone = max(1, (config.first > 0) + config.recurrent)
        counts = jnp.array([config.latest, config.first, config.recurrent], jnp.int32)
        before = jnp.array([0, alone, 0], jnp.int32)
        return jnp.where(updated, counts, before) * begun

    def aggregate(self, recurrent: KeyValue, new: KeyValue) -> KeyValue:
        """`SAM([recurrent, new])` (sec. 3.3, eqs. 4 to 6), `[O, h, w, C]`.

        Keys and values have a SAM each.
        """
        return KeyValue(
            self.key_aggregation(recurrent.key, new.key),
            self.value_aggregation(recurrent.value, new.value),
        )

    def write(self, memory: Memory, entry: KeyValue, moment: Moment) -> Memory:
        """The first frame of an object, or an update of its embeddings.

        `R = SAM([R, new])`, where R begins as the first frame's (sec. 3.3, eq. 4).
        """
        bank = memory.bank
        first = moment.first & moment.active
        later = ~moment.first & moment.active
        bank = overwrite(bank, FIRST, entry, first, moment.time)
        latest = jnp.where(first, -1, bank.time[LATEST])
        bank = bank._replace(time=bank.time.at[LATEST].set(latest))
        if self.config.recurrent:
            begun = bank.time[LATEST] >= 0
            recurrent = jax.tree.map(
                lambda x: _choose(begun, x[RECURRENT], x[FIRST]), bank.entries
            )
            following = self.aggregate(recurrent, entry)
            bank = overwrite(bank, RECURRENT, following, later, moment.time)
        bank = overwrite(bank, LATEST, entry, later, moment.time)
        return memory._replace(bank=bank)


def _choose(which: Array, x: Array, y: Array) -> Array:
    """`x` for the objects of `which`, else `y`."""
    return jnp.where(which.reshape(-1, *[1] * (x.ndim - 1)), x, y)


def torch_table(config: RDEConfig) -> torch_names.Table:
    """Where each parameter stands in the released checkpoint."""
    table = stcn.torch_table(config)
    if not config.recurrent:
        return table
    for side in ("key", "value"):
        path, source = (f"{side}_aggregation",), f"mem_compress.{side}_encoder"
        related = f"{source}.non_local"
        for name, end in (
            ("theta", "theta"),
            ("phi", "phi.0"),
            ("g", "g.0"),
            ("out", "W"),
        ):
            table |= torch_names.conv((*path, "extract", name), f"{related}.{end}")
        context = f"{source}.conv1"
        for rate, number in ((0, 1), (2, 2), (4, 3), (6, 4)):
            table |= torch_names.kernel(
                (*path, "enhance", f"rate{rate}"),
                f"{context}.aspp{number}.atrous_conv",
            )
        table |= torch_names.kernel((*path, "enhance", "merge"), f"{context}.conv1")
        squeeze = f"mem_compress.compress_{side}"
        table |= torch_names.conv((*path, "squeeze"), squeeze)
    return table


_ENTRY = Entry(
    RDE,
    RDEConfig(),
    torch_table,
    ("*.num_batches_tracked",),
    parts={"recurrent": {True: ("key_aggregation", "value_aggregation")}},
)

ENTRIES = {
    "rde": _ENTRY,
    "rde-tiny": _ENTRY._replace(
        config=RDEConfig(
            backbone=ResNetConfig(depth=18, width=32, zero_init=True),
            value_backbone=ResNetConfig(depth=18, width=16, zero_init=True),
            key_dim=32,
            value_dim=64,
            decoder_dims=(64, 48, 32),
        )
    ),
}
"""By name."""
