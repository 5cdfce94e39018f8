"""STM: Video Object Segmentation Using Space-Time Memory Networks.

S. W. Oh, J.-Y. Lee, N. Xu, S. J. Kim, ICCV 2019.

| sec. | eq. | what | where |
|---|---|---|---|
| 3.1 | | keys and values | `STM.make_query`, `STM.make_entry`; `nn.encoders` |
| 3.2 | 1, 2 | memory read | `STM.read`, `join_values`; `ops.read.space_time_read` |
| 3.3 | | decoder | `STM.decode`; `nn.decoder` |
| 3.4 | | several objects | `merge_objects`; `ops.soft_aggregation` |
| 3.5 | | training | `training.clip_loss` |
| 3.6 | | frames in the memory | `STMConfig.policy`; `ops.memory_bank.Policy` |

Where paper and released program differ this is the program: scores are divided by
sqrt(Ck), the retrieved value comes before the query's own, the memory encoder also sees
the map of the other objects, and the masks are estimated by enlarging two logits from
1/4 of the padded frame.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from vos_jax.methods import torch_names
from vos_jax.methods.base import Encoded, Method, ReadConfig, Segmentation, setting
from vos_jax.methods.entry import Entry
from vos_jax.nn.decoder import Decoder, SkipBranches, Skips
from vos_jax.nn.encoders import KeyValue, KeyValueHead, MaskedEncoder
from vos_jax.nn.layers import normalize_image
from vos_jax.nn.numerics import Numerics
from vos_jax.nn.resnet import Features, ResNet, ResNetConfig
from vos_jax.ops import memory_bank
from vos_jax.ops.memory_bank import Bank, Moment, Policy, Sampling
from vos_jax.ops.padding import crop, grid_size, pad
from vos_jax.ops.read import space_time_read
from vos_jax.ops.resample import upsample
from vos_jax.ops.soft_aggregation import soft_aggregate


@dataclass(frozen=True, kw_only=True)
class STMConfig(ReadConfig):
    """Hyper-parameters of STM, with those of `ReadConfig`; by default as published.

    Attributes:
      backbone: Of both encoders, which share no weights.
      key_dim: Ck.
      value_dim: Cv.
      decoder_dim: Width of the decoder.
      mem_every: Keep every N-th frame beside the first and the previous one; None keeps
        none, and the memory is two frames for ever.
      mem_capacity: At most this many slots, the oldest kept frame giving way; None
        lets the memory grow with the video, as published.
      memory_sampling: What is in the memory beside every N-th frame: "first+prev", or
        one of the two, "first" or "prev" (table 5), with `mem_every=None`.
    """

    backbone: ResNetConfig = ResNetConfig()
    key_dim: int = 128
    value_dim: int = 512
    decoder_dim: int = 256
    mem_every: int | None = setting(5)
    mem_capacity: int | None = setting(None)
    memory_sampling: Sampling = setting("first+prev", later=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        memory_bank.check_sampling(self.memory_sampling, self.mem_every)
        if self.mem_capacity is not None and self.mem_capacity < memory_bank.KEPT:
            raise ValueError(
                f"mem_capacity={self.mem_capacity} leaves no room for the first and"
                f" the previous frame; use at least {memory_bank.KEPT}, or None"
            )
        _ = self.policy

    @property
    def policy(self) -> Policy:
        """Which frames are remembered (sec. 3.6)."""
        return Policy(
            every=self.mem_every,
            first=self.memory_sampling != "prev",
            previous=self.memory_sampling != "first",
        )


class Memory(NamedTuple):
    """A bank of `KeyValue` entries `[N, O, h, w, C]`."""

    bank: Bank


class Query(NamedTuple):
    """A frame as seen by the read (key, value) and by the decoder (skips)."""

    key: Float[Array, "h w Ck"]
    value: Float[Array, "h w Cv"]
    skips: Skips


class STM(Method):
    """Space-time memory network.

    A variant overrides what its paper changes. Its memory and its query are tuples of
    its own with the fields of `Memory` and `Query` and more, hence `Any`.
    """

    config: STMConfig = STMConfig()

    def setup(self) -> None:
        """Both encoders, their heads, and the decoder."""
        config, numerics = self.config, self.config.numerics
        self.query_encoder = ResNet(config.backbone, numerics=numerics)
        self.memory_encoder = MaskedEncoder(config.backbone, numerics)
        self.query_head = KeyValueHead(config.key_dim, config.value_dim, numerics)
        self.memory_head = KeyValueHead(config.key_dim, config.value_dim, numerics)
        self.setup_decoder()

    def setup_decoder(self) -> None:
        """What `make_query` and `decode` need of it."""
        self.skip_branches = SkipBranches(self.config.decoder_dim, self.config.numerics)
        self.decoder: Any = Decoder(self.config.decoder_dim, self.config.numerics)

    @property
    def undivided(self) -> str | None:
        """Nothing: its bank is divided."""
        return None

    def slots(self, frames: int) -> int:
        """First, previous and every N-th frame, up to the capacity (sec. 3.6)."""
        needed = self.config.policy.slots(frames)
        return min(needed, self.config.mem_capacity or needed)

    def due(self, memory: Any, moment: Moment) -> bool | Bool[Array, ""]:
        """Every frame is the previous one once."""
        return self.config.policy.due(moment)

    def init_memory(self, height: int, width: int, objects: int, slots: int) -> Any:
        """An empty bank."""
        entry = self.empty_entry(objects, *grid_size(height, width))
        return Memory(memory_bank.empty(entry, slots, self.mesh))

    def empty_entry(self, objects: int, rows: int, columns: int) -> Any:
        """Zeros in the shapes of what `make_entry` makes."""
        config = self.config
        grid, dims = (objects, rows, columns), (config.key_dim, config.value_dim)
        return empty_key_value(grid, dims, config.numerics)

    def encode(self, frame: Float[Array, "H W 3"]) -> Encoded:
        """The query encoder, and what depends on the frame alone behind it."""
        features = self.query_encoder(normalize_image(pad(frame)[None]))
        return Encoded(self.make_query(features), keep=())

    def make_query(self, features: Features) -> Any:
        """Key and value (sec. 3.1), and the decoder's skip branches."""
        key, value = self.query_head(features.res4)
        skips = self.skip_branches(features.res3, features.res2)
        return Query(key[0], value[0], skips)

    def segment(
        self,
        memory: Any,
        query: Any,
        frame: Float[Array, "H W 3"],
        active: Bool[Array, " O"],
        inputs: Any = None,
    ) -> Segmentation:
        """Reads the memory, decodes and merges the objects (secs. 3.2 to 3.4)."""
        own = self.own_value(memory, query)
        retrieved = self.read(memory, query, active)
        decoded = self.decode(retrieved, own, query, inputs)
        logits = merge_objects(decoded, frame, active)
        return Segmentation(logits, self.leave_trace(memory, retrieved))

    def read(self, memory: Any, query: Any, active: Bool[Array, " O"]) -> Any:
        """Retrieves each object's value at every query cell, `[O, h, w, Cv]`.

        Sec. 3.2, the sum of eq. 1 with the weights of eq. 2. What a variant of STM with
        another read overrides.
        """
        config, bank = self.config, memory.bank
        return space_time_read(
            query.key,
            bank.entries.key,
            bank.entries.value,
            bank.filled,
            top_k=config.top_k,
            **config.bank_options,
        )

    def own_value(self, memory: Any, query: Any) -> Float[Array, "*b h w Cv"]:
        """What is decoded beside the retrieved value: the query's own, for all objects.

        Where a variant has one for each object: `[O, h, w, Cv]`.
        """
        return query.value

    def decode(
        self,
        retrieved: Any,
        own: Float[Array, "*b h w Cv"],
        query: Any,
        inputs: Any = None,
    ) -> Float[Array, "O H4 W4 2"]:
        """Two logits (background, object) of each object at stride 4 (sec. 3.3).

        Args:
          retrieved: What `read` returns.
          own: What `own_value` returns.
          query: Of the frame.
          inputs: As `segment` gets them.
        """
        return self.decoder(join_values(retrieved, own), query.skips)

    def leave_trace(self, memory: Any, retrieved: Any) -> Any:
        """The memory after a read; the same."""
        return memory

    def memorize(
        self,
        memory: Any,
        frame: Float[Array, "H W 3"],
        keep: tuple[()],
        probs: Float[Array, "O+1 H W"],
        moment: Moment,
    ) -> Any:
        """Encodes the frame once for every object, with its soft mask (sec. 3.1)."""
        masks = pad(probs[1:, ..., None])[..., 0]
        features = self.memory_encoder(normalize_image(pad(frame)[None]), masks)
        entry = self.make_entry(features)
        memory = memory._replace(bank=self.write(memory.bank, entry, moment))
        return self.memorize_more(memory, entry, features, masks, moment)

    def make_entry(self, features: Features) -> Any:
        """Key and value of each object, an entry of the bank."""
        return self.memory_head(features.res4)

    def write(self, bank: Bank, entry: Any, moment: Moment) -> Bank:
        """The bank with the frame's entry in it (sec. 3.6).

        What a variant of STM with another rule of forgetting overrides.
        """
        return memory_bank.write(
            *(bank, self.config.policy, entry, moment),
            most=self.most_filled,
            mesh=self.config.mesh,
        )

    def memorize_more(
        self,
        memory: Any,
        entry: Any,
        features: Features,
        masks: Float[Array, "O Hp Wp"],
        moment: Moment,
    ) -> Any:
        """Puts into the memory what is kept beside the bank; nothing.

        Args:
          memory: With the frame in its bank.
          entry: What `make_entry` made of the frame.
          features: Of the memory encoder.
          masks: Soft masks of the objects, padded.
          moment: Of the frame.
        """
        return memory


def empty_key_value(
    grid: tuple[int, int, int], dims: tuple[int, int], numerics: Numerics
) -> KeyValue:
    """Zeros on a grid (objects, rows, columns), of so many channels."""
    dtype = numerics.compute_dtype
    return KeyValue(*(jnp.zeros((*grid, channels), dtype) for channels in dims))


def join_values(
    retrieved: Float[Array, "O h w Cv"], own: Float[Array, "*b h w Cv"]
) -> Float[Array, "O h w 2*Cv"]:
    """What the decoder gets of each object: `y = [retrieved, own]`.

    Eq. 1, whose order is the other one.
    """
    own = jnp.broadcast_to(own, retrieved.shape)
    return jnp.concatenate([retrieved.astype(own.dtype), own], axis=-1)


def merge_objects(
    logits: Float[Array, "O h4 w4 2"],
    frame: Float[Array, "H W 3"],
    active: Bool[Array, " O"],
) -> Float[Array, "O+1 H W"]:
    """Logits of all objects at the frame's size, from two of each at stride 4.

    Soft aggregation (sec. 3.4) of `p = sigmoid(logit_object - logit_background)`.
    """
    logits = logits.astype(jnp.float32)
    # Enlarging is linear and a softmax of two is a sigmoid of their difference:
    # enlarge one channel, not two.
    difference = upsample(logits[..., 1:] - logits[..., :1], 4)
    height, width, _ = frame.shape
    probs = jax.nn.sigmoid(crop(difference, height, width)[..., 0])
    return soft_aggregate(probs, active)


def torch_table(config: STMConfig) -> torch_names.Table:
    """Where each parameter stands in the released checkpoint."""
    table: torch_names.Table = {}
    stages = {2: "res2", 3: "res3", 4: "res4"}
    for side, torch_side in (("query", "Q"), ("memory", "M")):
        encoder, source = f"{side}_encoder", f"Encoder_{torch_side}"
        table |= torch_names.trunk((encoder, "trunk"), source, config.backbone, stages)
        table |= torch_names.norm((encoder, "stem", "norm"), f"{source}.bn1")
        head = f"KV_{torch_side}_r4"
        table |= torch_names.conv((f"{side}_head", "key"), f"{head}.Key")
        table |= torch_names.conv((f"{side}_head", "value"), f"{head}.Value")
    table |= torch_names.kernel(("query_encoder", "stem", "conv"), "Encoder_Q.conv1")
    stem = ("memory_encoder", "stem")
    table |= torch_names.kernel((*stem, "image"), "Encoder_M.conv1")
    masks = ("Encoder_M.conv1_m", "Encoder_M.conv1_o")
    table |= torch_names.kernel((*stem, "masks"), *masks)
    table |= torch_names.conv(("decoder", "compress", "conv"), "Decoder.convFM")
    table |= torch_names.res_block(("decoder", "compress", "res"), "Decoder.ResMM")
    for stage in (3, 2):
        skip, source = ("skip_branches", f"res{stage}"), f"Decoder.RF{stage}"
        table |= torch_names.conv((*skip, "conv"), f"{source}.convFS")
        table |= torch_names.res_block((*skip, "res"), f"{source}.ResFS")
        table |= torch_names.res_block(("decoder", f"merge{stage}"), f"{source}.ResMM")
    table |= torch_names.conv(("decoder", "predict"), "Decoder.pred2")
    return table


STM_IGNORED = ("*.num_batches_tracked", "Encoder_?.mean", "Encoder_?.std")
"""What a published checkpoint has beside parameters."""

_ENTRY = Entry(STM, STMConfig(), torch_table, STM_IGNORED)

ENTRIES = {
    "stm": _ENTRY,
    "stm-tiny": _ENTRY._replace(
        config=STMConfig(
            backbone=ResNetConfig(depth=18, width=32, zero_init=True),
            key_dim=64,
            value_dim=128,
            decoder_dim=48,
        )
    ),
}
"""By name."""
