"""STM: Video Object Segmentation Using Space-Time Memory Networks.

S. W. Oh, J.-Y. Lee, N. Xu, S. J. Kim, ICCV 2019. Where paper and released program
differ this is the program: scores are divided by sqrt(Ck), the retrieved value comes
before the query's own, the memory encoder also sees the map of the other objects, and
the masks are estimated by enlarging two logits from 1/4 of the padded frame.
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
from vos_jax.nn.resnet import Features, ResNet, ResNetConfig
from vos_jax.ops import memory_bank
from vos_jax.ops.memory_bank import Bank, Moment, Policy
from vos_jax.ops.padding import crop, pad
from vos_jax.ops.read import space_time_read
from vos_jax.ops.resample import upsample
from vos_jax.ops.soft_aggregation import soft_aggregate

STRIDE = 16
"""Pixels of a cell of the memory."""


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
    """

    backbone: ResNetConfig = ResNetConfig()
    key_dim: int = 128
    value_dim: int = 512
    decoder_dim: int = 256
    mem_every: int | None = setting(5)
    mem_capacity: int | None = setting(None)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.mem_capacity is not None and self.mem_capacity < memory_bank.KEPT:
            raise ValueError(
                f"mem_capacity={self.mem_capacity} leaves no room for the first and"
                f" the previous frame; use at least {memory_bank.KEPT}, or None"
            )
        _ = self.policy

    @property
    def policy(self) -> Policy:
        """Which frames are remembered."""
        return Policy(every=self.mem_every)


class Memory(NamedTuple):
    """A bank of `KeyValue` entries `[N, O, h, w, C]`."""

    bank: Bank


class Query(NamedTuple):
    """A frame as seen by the read (key, value) and by the decoder (skips)."""

    key: Float[Array, "h w Ck"]
    value: Float[Array, "h w Cv"]
    skips: Skips


class SpaceTimeMethod(Method):
    """What STM and the methods that grew from it have in common."""

    config: STMConfig = STMConfig()

    def setup(self) -> None:
        """Both encoders and their heads."""
        config, numerics = self.config, self.config.numerics
        self.query_encoder = ResNet(config.backbone, numerics=numerics)
        self.memory_encoder = MaskedEncoder(config.backbone, numerics)
        self.query_head = KeyValueHead(config.key_dim, config.value_dim, numerics)
        self.memory_head = KeyValueHead(config.key_dim, config.value_dim, numerics)

    def slots(self, frames: int) -> int:
        """First, previous and every N-th frame, up to the capacity."""
        needed = self.config.policy.slots(frames)
        return min(needed, self.config.mem_capacity or needed)

    def due(self, memory: Any, moment: Moment) -> bool | Bool[Array, ""]:
        """Every frame is the previous one once."""
        return self.config.policy.due(moment)

    def encode_memory(
        self, frame: Float[Array, "H W 3"], probs: Float[Array, "O+1 H W"]
    ) -> tuple[Features, Float[Array, "O Hp Wp"]]:
        """A frame as seen with each object's soft mask, and these masks, padded."""
        masks = pad(probs[1:, ..., None])[..., 0]
        return self.memory_encoder(normalize_image(pad(frame)[None]), masks), masks


class STM(SpaceTimeMethod):
    """Space-time memory network."""

    def setup(self) -> None:
        """Encoders, heads and the decoder."""
        super().setup()
        self.skip_branches = SkipBranches(self.config.decoder_dim, self.config.numerics)
        self.decoder = Decoder(self.config.decoder_dim, self.config.numerics)

    def init_memory(self, height: int, width: int, objects: int, slots: int) -> Memory:
        """An empty bank."""
        return Memory(empty_bank(self.config, height, width, objects, slots))

    def encode(self, frame: Float[Array, "H W 3"]) -> Encoded:
        """Query encoder, key and value, and the decoder's skip branches."""
        features = self.query_encoder(normalize_image(pad(frame)[None]))
        key, value = self.query_head(features.res4)
        skips = self.skip_branches(features.res3, features.res2)
        return Encoded(Query(key[0], value[0], skips), keep=())

    def read(
        self, memory: Memory, query: Query, active: Bool[Array, " O"]
    ) -> Float[Array, "O h w Cv"]:
        """Retrieves each object's value at every query cell (eqs. 1-2).

        What a variant of STM with another read overrides.
        """
        return read_bank(self.config, memory.bank, query.key)

    def segment(
        self,
        memory: Memory,
        query: Query,
        frame: Float[Array, "H W 3"],
        active: Bool[Array, " O"],
        inputs: None = None,
    ) -> Segmentation:
        """Reads the memory, decodes and merges the objects (secs. 3.2-3.3)."""
        retrieved = self.read(memory, query, active)
        own = jnp.broadcast_to(query.value, retrieved.shape)
        read = jnp.concatenate([retrieved.astype(own.dtype), own], axis=-1)
        logits = self.decoder(read, query.skips)
        return Segmentation(merged(logits, frame, active), memory)

    def memorize(
        self,
        memory: Memory,
        frame: Float[Array, "H W 3"],
        keep: tuple[()],
        probs: Float[Array, "O+1 H W"],
        moment: Moment,
    ) -> Memory:
        """Encodes the frame once for every object, with its soft mask (sec. 3.1)."""
        features, _ = self.encode_memory(frame, probs)
        entry = self.memory_head(features.res4)
        bank = memory_bank.write(memory.bank, self.config.policy, entry, moment)
        return Memory(bank)


def empty_bank(
    config: STMConfig, height: int, width: int, objects: int, slots: int
) -> Bank:
    """A bank of keys and values at stride 16 for frames of `height` x `width`."""
    grid = (objects, -(-height // STRIDE), -(-width // STRIDE))
    dtype = config.numerics.compute_dtype
    entry = KeyValue(
        jnp.zeros((*grid, config.key_dim), dtype),
        jnp.zeros((*grid, config.value_dim), dtype),
    )
    return memory_bank.empty(entry, slots)


def read_bank(
    config: STMConfig, bank: Bank, query_key: Float[Array, "h w Ck"]
) -> Float[Array, "O h w Cv"]:
    """Retrieves each object's value at every query cell (eqs. 1-2)."""
    return space_time_read(
        query_key,
        bank.entries.key,
        bank.entries.value,
        bank.filled,
        top_k=config.top_k,
        implementation=config.read,
        precision=config.precision,
    )


def merged(
    logits: Float[Array, "O h4 w4 2"],
    frame: Float[Array, "H W 3"],
    active: Bool[Array, " O"],
) -> Float[Array, "O+1 H W"]:
    """Logits of all objects at the frame's size, from two of each at stride 4."""
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
