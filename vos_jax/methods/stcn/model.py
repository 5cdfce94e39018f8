"""STCN: Rethinking Space-Time Networks with Improved Memory Coverage.

H. K. Cheng, Y.-W. Tai, C.-K. Tang, NeurIPS 2021. Keys come from the image alone, so one
affinity serves all objects; similarity is the negative squared distance; the value of a
frame is made from its mask and from the key encoder's features. Where paper and
released program differ this is the program. Numbers are those of RDE-VOS (CVPR 2022),
which describes the network again.

    section  equation  what                    here
    3.2                key and value encoder   `STCN.encode`, `STCN.encode_value`
    3.2      2         similarity              `l2_similarity` of `ops.l2_read`
    3.2      3         readout                 `STCN.read`, `STCN.read_entries`
    3.2                decoder                 `STCN.decode`, `STCN.segment`
    program            frames in the memory    `STCN.due`, `STCN.write`
"""

from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from vos_jax.methods import torch_names
from vos_jax.methods.base import Encoded, Method, ReadConfig, Segmentation, setting
from vos_jax.methods.entry import Entry
from vos_jax.methods.stcn import blocks
from vos_jax.nn.decoder import Skips
from vos_jax.nn.encoders import KeyValue
from vos_jax.nn.layers import Conv, normalize_image
from vos_jax.nn.resnet import ResNet, ResNetConfig
from vos_jax.ops import memory_bank
from vos_jax.ops.l2_read import l2_read
from vos_jax.ops.memory_bank import Bank, Moment, Policy
from vos_jax.ops.padding import STRIDE, crop, grid_size, pad, padding
from vos_jax.ops.platform import by_platform
from vos_jax.ops.resample import upsample
from vos_jax.ops.soft_aggregation import soft_aggregate


@dataclass(frozen=True, kw_only=True)
class STCNConfig(ReadConfig):
    """Hyper-parameters of STCN, with those of `ReadConfig`; by default as published.

    Attributes:
      backbone: Of the key encoder.
      value_backbone: Of the value encoder.
      key_dim: Ck.
      value_dim: Cv, also of the query's own features.
      decoder_dims: Channels of the decoder at strides 16, 8 and 4.
      others: The value encoder sees the other objects' masks; not in stage 0.
      mem_every: Frames from one that is remembered to the next.
      mem_capacity: At most this many slots, the oldest giving way; None lets the memory
        grow with the video, as published.
    """

    backbone: ResNetConfig = ResNetConfig()
    value_backbone: ResNetConfig = ResNetConfig(depth=18)
    key_dim: int = 64
    value_dim: int = 512
    decoder_dims: tuple[int, int, int] = (512, 256, 256)
    others: bool = True
    mem_every: int = setting(5)
    mem_capacity: int | None = setting(None)
    top_k: int | None = setting(20)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.mem_every < 1:
            raise ValueError(f"mem_every={self.mem_every}: use at least 1")
        if self.mem_capacity is not None and self.mem_capacity < memory_bank.KEPT:
            raise ValueError(
                f"mem_capacity={self.mem_capacity}: use at least {memory_bank.KEPT},"
                " or None"
            )


class Memory(NamedTuple):
    """What is remembered.

    Attributes:
      bank: `KeyValue` entries `[N, O, h, w, C]`. Objects that appeared at the same time
        have the same keys.
      masks: Soft masks of the latest frame, with the padding, in which the network
        finds objects, too.
    """

    bank: Bank
    masks: Float[Array, "O Hp Wp"]


class Query(NamedTuple):
    """A frame as seen by the read (key) and by the decoder (thin, skips)."""

    key: Float[Array, "h w Ck"]
    thin: Float[Array, "h w Cv"]
    skips: Skips


class Kept(NamedTuple):
    """What the value encoder wants of a frame once its masks are known."""

    key: Float[Array, "h w Ck"]
    features: Float[Array, "h w C"]


class STCN(Method):
    """Space-time correspondence network."""

    config: STCNConfig = STCNConfig()

    def setup(self) -> None:
        """Key encoder, value encoder, decoder."""
        config, numerics = self.config, self.config.numerics
        self.key_encoder = ResNet(config.backbone, numerics=numerics)
        self.key_head = Conv(config.key_dim, numerics=numerics)
        self.thin_head = Conv(config.value_dim, numerics=numerics)
        self.value_encoder = blocks.ValueEncoder(
            config.value_backbone, config.value_dim, config.others, numerics
        )
        self.skip_convs = blocks.SkipConvs(config.decoder_dims, numerics)
        self.decoder = blocks.Decoder(config.decoder_dims, numerics)

    @property
    def keeps_inactive(self) -> bool:
        """Banks are written for active objects alone."""
        return True

    def init_memory(self, height: int, width: int, objects: int, slots: int) -> Memory:
        """An empty memory."""
        rows, columns = grid_size(height, width)
        grid, dtype = (objects, rows, columns), self.config.numerics.compute_dtype
        entry = KeyValue(
            jnp.zeros((*grid, self.config.key_dim), dtype),
            jnp.zeros((*grid, self.config.value_dim), dtype),
        )
        bank = memory_bank.empty(entry, slots, self.mesh)
        masks = jnp.zeros((objects, rows * STRIDE, columns * STRIDE))
        return Memory(bank, masks)

    @property
    def undivided(self) -> str | None:
        """Nothing: its bank is divided."""
        return None

    def slots(self, frames: int) -> int:
        """First and every N-th frame, up to the capacity."""
        needed = memory_bank.KEPT + max(frames - 1, 0) // self.config.mem_every
        return min(needed, self.config.mem_capacity or needed)

    def due(self, memory: Memory, moment: Moment) -> Bool[Array, ""]:
        """Frames with given masks, and N frames after the latest that is remembered."""
        passed = moment.time - memory.bank.time.max()
        return moment.first.any() | moment.keep | (passed >= self.config.mem_every)

    def encode(self, frame: Float[Array, "H W 3"]) -> Encoded:
        """Key, the query's own features, and the decoder's skip branches."""
        features = self.key_encoder(pad(normalize_image(frame))[None])
        key, thin = self.key_head(features.res4), self.thin_head(features.res4)
        skips = self.skip_convs(features.res3, features.res2)
        return Encoded(Query(key[0], thin[0], skips), Kept(key[0], features.res4[0]))

    def copies(self, time: Int[Array, " N"]) -> Int[Array, " N"]:
        """How often each slot of an object counts in the read."""
        return (time >= 0).astype(jnp.int32)

    def read(
        self, memory: Memory, query: Query, active: Bool[Array, " O"]
    ) -> Float[Array, "O h w Cv"]:
        """Reads every object's value; with one affinity if their memories agree.

        On accelerators every object has its own: that takes less than to ask.
        """
        key, value = memory.bank.entries
        time = memory.bank.time
        leader = jnp.argmax(active)
        agree = ((time == time[:, leader][:, None]) | ~active[None]).all()

        def together(which: Array, value: Array) -> Array:
            own_key, own_time = (
                lax.dynamic_index_in_dim(x, which, 1, keepdims=False)
                for x in (key, time)
            )
            return self.read_entries(
                query,
                KeyValue(own_key, value),
                self.copies(own_time),
                top_k=self.config.top_k,
            )

        def apart() -> Array:
            def one(which: Array) -> Array:
                return together(which, lax.dynamic_slice_in_dim(value, which, 1, 1))[0]

            return lax.map(one, jnp.arange(active.shape[0]))

        def ask() -> Array:
            return lax.cond(agree, lambda: together(leader, value), apart)

        def each() -> Array:
            copies = jax.vmap(self.copies, 1, 1)(time)
            top_k = self.config.top_k
            return self.read_entries(query, KeyValue(key, value), copies, top_k=top_k)

        if active.shape[0] == 1:
            return together(leader, value)
        return by_platform(self.config.platform, ask, each)

    def read_entries(
        self, query: Query, entries: KeyValue, copies: Array, *, top_k: int | None
    ) -> Float[Array, "O h w Cv"]:
        """Reads slots whose keys all objects share, in videos and in training.

        `softmax_m((2 <m, q> - <m, m>) / sqrt(Ck)) v`, cells m of all slots (eqs. 2, 3).

        Args:
          query: The frame.
          entries: Keys `[N, h, w, Ck]` and values `[N, O, h, w, Cv]`; or keys of each
            object, `[N, O, h, w, Ck]`.
          copies: How often each slot counts, `[N]`; or of each object, `[N, O]`.
          top_k: Read only the k best cells; None reads all.
        """
        return l2_read(
            query.key,
            *entries,
            copies,
            top_k=top_k,
            **self.config.bank_options,
        )

    def decode(
        self, read: Float[Array, "O h w Cv"], query: Query
    ) -> Float[Array, "O Hp Wp"]:
        """Each object's probability, with the padding."""
        thin = query.thin[None]
        logits = self.decoder(read.astype(thin.dtype), thin, query.skips)
        return jax.nn.sigmoid(upsample(logits.astype(jnp.float32), 4)[..., 0])

    def segment(
        self,
        memory: Memory,
        query: Query,
        frame: Float[Array, "H W 3"],
        active: Bool[Array, " O"],
        inputs: None = None,
    ) -> Segmentation:
        """Reads the memory, decodes and merges the objects."""
        probs = self.decode(self.read(memory, query, active), query)
        logits = soft_aggregate(probs, active)
        memory = memory._replace(masks=jax.nn.softmax(logits, axis=0)[1:])
        height, width, _ = frame.shape
        return Segmentation(crop(logits[..., None], height, width)[..., 0], memory)

    def encode_value(
        self,
        frame: Float[Array, "H W 3"],
        kept: Kept,
        masks: Float[Array, "O Hp Wp"],
    ) -> KeyValue:
        """The entries of a frame, `[O, h, w, C]`, from masks with the padding."""
        image = pad(normalize_image(frame))[None]
        value = self.value_encoder(image, masks, kept.features[None])
        key = jnp.broadcast_to(kept.key, (masks.shape[0], *kept.key.shape))
        return KeyValue(key, value)

    def memorize(
        self,
        memory: Memory,
        frame: Float[Array, "H W 3"],
        keep: Kept,
        probs: Float[Array, "O+1 H W"],
        moment: Moment,
    ) -> Memory:
        """Encodes the frame with each object's soft mask and writes it."""
        masks = _masks_with_padding(memory.masks, probs, moment)
        entry = self.encode_value(frame, keep, masks)
        return self.write(memory._replace(masks=masks), entry, moment)

    def write(self, memory: Memory, entry: KeyValue, moment: Moment) -> Memory:
        """Keeps the entry; what RDE-VOS does otherwise."""
        policy = Policy(every=None, previous=False)
        moment = moment._replace(keep=jnp.bool_(True))
        bank = memory_bank.write(
            *(memory.bank, policy, entry, moment),
            most=self.most_filled,
            mesh=self.mesh,
        )
        return memory._replace(bank=bank)


def _masks_with_padding(
    before: Float[Array, "O Hp Wp"],
    probs: Float[Array, "O+1 H W"],
    moment: Moment,
) -> Float[Array, "O Hp Wp"]:
    """The frame's masks with what was found in the padding.

    Where masks were given all are aggregated, once more for those that were not given.
    """
    _, height, width = probs.shape
    top, left = padding(height)[0], padding(width)[0]
    # A new object may have the slot of one that was removed.
    before = jnp.where(moment.first[:, None, None], 0, before)
    masks = before.at[:, top : top + height, left : left + width].set(probs[1:])
    masks = jnp.where(moment.active[:, None, None], masks, 0)
    merged = jax.nn.softmax(soft_aggregate(masks, moment.active), axis=0)[1:]
    return jnp.where(moment.first.any() | moment.keep, merged, masks)


def torch_table(config: STCNConfig) -> torch_names.Table:
    """Where each parameter stands in the released checkpoint."""
    key, value = "key_encoder", "value_encoder"
    stages = {2: "res2", 3: "layer2", 4: "layer3"}
    table = torch_names.trunk((key, "trunk"), key, config.backbone, stages)
    table |= torch_names.conv_norm((key, "stem"), f"{key}.conv1", f"{key}.bn1")
    stages = {2: "layer1", 3: "layer2", 4: "layer3"}
    table |= torch_names.trunk(
        (value, "trunk"), value, config.value_backbone, stages, bias=True
    )
    table |= torch_names.conv_norm(
        (value, "stem"), f"{value}.conv1", f"{value}.bn1", bias=True
    )
    fuser = f"{value}.fuser"
    table |= _changing_block((value, "join"), f"{fuser}.block1")
    table |= torch_names.res_block((value, "refine"), f"{fuser}.block2")
    gate, cells = (
        f"{fuser}.attention.{name}" for name in ("ChannelGate", "SpatialGate")
    )
    table |= torch_names.dense((value, "attention", "squeeze"), f"{gate}.mlp.1")
    table |= torch_names.dense((value, "attention", "open"), f"{gate}.mlp.3")
    table |= torch_names.conv((value, "attention", "cells"), f"{cells}.spatial.conv")
    table |= torch_names.conv(("key_head",), "key_proj.key_proj")
    table |= torch_names.conv(("thin_head",), "key_comp")
    table |= _changing_block(("decoder", "compress"), "decoder.compress")
    stride16, stride8, stride4 = config.decoder_dims
    for stage, name, before, after in (
        (3, "up_16_8", stride16, stride8),
        (2, "up_8_4", stride8, stride4),
    ):
        source = f"decoder.{name}"
        table |= torch_names.conv(("skip_convs", f"res{stage}"), f"{source}.skip_conv")
        block = torch_names.res_block if before == after else _changing_block
        table |= block(("decoder", f"merge{stage}"), f"{source}.out_conv")
    table |= torch_names.conv(("decoder", "predict"), "decoder.pred")
    return table


def _changing_block(path: tuple[str, ...], name: str) -> torch_names.Table:
    """A residual block whose shortcut is a convolution."""
    shortcut = torch_names.conv((*path, "shortcut"), f"{name}.downsample")
    return shortcut | torch_names.res_block(path, name)


ENTRIES = {
    "stcn": Entry(
        STCN,
        STCNConfig(),
        torch_table,
        # What a checkpoint of RDE-VOS has beside it.
        ("*.num_batches_tracked", "mem_compress.*"),
        reads=("rde", "rde-tiny"),
    )
}
"""By name."""
