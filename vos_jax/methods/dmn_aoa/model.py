"""DMN-AOA: VOS with Dynamic Memory Networks and Adaptive Object Alignment.

S. Liang, X. Shen, J. Huang, X.-S. Hua, ICCV 2021. What an object was in earlier frames
is read from a memory of its own into a template; object proposals of the frame are
laid out as the template is, compared with it and matched, and their masks, so weighted,
are refined.

| sec. | eq. | what | where |
|---|---|---|---|
| 3.1 | | base features | `DMNAOA.encode`; `blocks.Reductions` |
| 3.1 | | features of objects and proposals | `DMNAOA.pool`; `ops.roi_align` |
| 3.1 | | proposals | `proposals`; `data.proposals` |
| 3.2 | | DMN: memory and query encoder | `DMNAOA.make_entry`, `DMNAOA.query_key` |
| 3.2 | | time code | `ops.time_code` |
| 3.2 | 1 | template | `DMNAOA.read`; `ops.object_read` |
| 3.3 | 2, 3 | AOA | `matcher.Matcher.compare`; `ops.alignment` |
| 3.1 | | matcher, coarse masks | `matcher.Matcher`; `ops.matching` |
| 3.1 | | RefineNet | `DMNAOA.refine`; `references`; `blocks.RefineNet` |
| 3.4 | | several objects | `stm.merge_objects`; `ops.soft_aggregation` |
| 4.1 | | training | `objective` |
| 4.1 | | frames in the memory | `memory.readable`; `config.MEMORY_SAMPLING` |

No program was published. What the paper leaves open is as in the works that it takes
the parts from: STM for the memory and RefineNet, DMM-Net for the matching layer.
"""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from vos_jax.methods.base import Encoded, Method, Segmentation
from vos_jax.methods.dmn_aoa.blocks import (
    STRIDES,
    Levels,
    MaskHead,
    Reductions,
    RefineNet,
)
from vos_jax.methods.dmn_aoa.config import DMNAOAConfig
from vos_jax.methods.dmn_aoa.matcher import Found, Matcher
from vos_jax.methods.dmn_aoa.memory import (
    Keep,
    Memory,
    Slot,
    corner_of,
    empty_memory,
    follow,
    readable,
)
from vos_jax.methods.dmn_aoa.names import torch_table
from vos_jax.methods.dmn_aoa.proposals import PROPOSALS, TrainingInputs
from vos_jax.methods.dmn_aoa.references import (
    Alignment,
    FirstConvs,
    Reference,
    keep_first,
)
from vos_jax.methods.dmn_aoa.twins import begin_alike
from vos_jax.methods.entry import Entry
from vos_jax.methods.inputs import InputKind
from vos_jax.methods.stm import merge_objects
from vos_jax.nn.encoders import KeyValue, KeyValueHead
from vos_jax.nn.layers import Conv, normalize_image
from vos_jax.nn.resnet import ResNet, ResNetConfig
from vos_jax.ops import memory_bank
from vos_jax.ops.boxes import enlarge, paste, tight_boxes
from vos_jax.ops.memory_bank import Bank, Moment
from vos_jax.ops.object_read import object_read
from vos_jax.ops.padding import pad
from vos_jax.ops.resample import block_mean
from vos_jax.ops.roi_align import roi_align, roi_align_levels
from vos_jax.ops.soft_aggregation import soft_aggregate
from vos_jax.ops.time_code import time_code
from vos_jax.types import Proposals


class DMNAOA(Method):
    """Dynamic memory network and adaptive object alignment."""

    config: DMNAOAConfig = DMNAOAConfig()

    def setup(self) -> None:
        """The modules of sec. 3.1, those that the configuration has."""
        config, numerics = self.config, self.config.numerics
        self.backbone = ResNet(config.backbone, numerics=numerics)
        self.reduce = Reductions(config.level_dims, config.groups, numerics)
        if config.use_dmn:
            dims = config.key_dim, config.object_dim
            self.memory_encoder = KeyValueHead(*dims, numerics)
            self.query_encoder = Conv(config.key_dim, numerics=numerics)
        if config.use_matcher:
            self.matcher = Matcher(config)
        else:
            self.mask_head = MaskHead(config.refine_dim, config.groups, numerics)
        if config.use_refinenet:
            self.refine_net = RefineNet(
                config.level_dims, config.refine_dim, config.groups, numerics
            )

    @property
    def inputs(self) -> InputKind | None:
        """Object proposals, where they are matched."""
        return PROPOSALS if self.config.use_matcher else None

    @property
    def parts(self) -> Mapping[str, Callable[..., Any]]:
        """Matcher and RefineNet."""
        parts: dict[str, Callable[..., Any]] = {"match": DMNAOA.match}
        return parts | ({"refine": DMNAOA.refine} if self.config.use_refinenet else {})

    @property
    def reported_s(self) -> Mapping[str, float]:
        """Table 4, but for the proposals, 0.020 s; the read is the template's share."""
        return {"encode": 0.009, "read": 0.015, "match": 0.044, "refine": 0.066}

    def as_twins(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """What is compared begins alike; as `begin_alike`."""
        return begin_alike(params)

    # Memory

    @property
    def undivided(self) -> str | None:
        """There is little to divide."""
        return "it keeps small squares of objects and not frames"

    def slots(self, frames: int) -> int:
        """First, previous and every N-th frame, up to the capacity (sec. 4.1)."""
        if not self.config.use_dmn:
            return 1
        needed = self.config.policy.slots(frames)
        return min(needed, self.config.mem_capacity or needed)

    def due(self, memory: Memory, moment: Moment) -> bool | Bool[Array, ""]:
        """Every frame is the previous one once."""
        return True

    def init_memory(self, height: int, width: int, objects: int, slots: int) -> Memory:
        """Empty banks, and references of zeros."""
        return empty_memory(self.config, height, width, objects, slots)

    # Memory

    def memorize(
        self,
        memory: Memory,
        frame: Float[Array, "H W 3"],
        keep: Keep,
        probs: Float[Array, "O+1 H W"],
        moment: Moment,
    ) -> Memory:
        """Puts the frame's objects, each in its box, into the memory (sec. 3.2).

        Boxes are those of the most probable objects, soft masks are what is learned.
        """
        config, (height, width, _) = self.config, frame.shape
        names = jnp.arange(1, probs.shape[0])[:, None, None]
        pixels = jnp.argmax(probs, axis=0)[None] == names
        boxes, shows = tight_boxes(pixels)
        if keep.boxes is not None:
            assert keep.shows is not None
            boxes, shows = keep.boxes, keep.shows
        track = follow(memory.track, boxes, shows, (height, width), moment)
        mask = block_mean(pad(probs[1:, ..., None])[..., 0], STRIDES[0])
        is_first = moment.first & moment.active
        bank, template = memory.bank, memory.template
        if bank is not None:
            entry = self.make_entry(keep.levels, mask, track, moment.time)
            slot = Slot(*entry, shows | moment.first)
            bank = memory_bank.write(bank, config.policy, slot, moment)
        if template is not None:
            features = self.pool(keep.levels, track.entries.box[0])
            template = memory_bank.overwrite(
                template, 0, features, is_first, moment.time
            )
        first, previous = memory.first, memory.previous
        if first is not None:
            place = self.refine_net.reference_place(keep.levels)
            previous = Reference(keep.levels, place, mask)
            first = keep_first(first, previous, is_first, moment.time, config.platform)
        return memory._replace(
            time=moment.time,
            track=track,
            bank=bank,
            template=template,
            first=first,
            previous=previous,
            labels=None if memory.labels is None else pixels,
        )

    # Features

    def encode(self, frame: Float[Array, "H W 3"]) -> Encoded:
        """The frame's base features (sec. 3.1)."""
        levels = self.reduce(self.backbone(normalize_image(pad(frame)[None])))
        return Encoded(levels, Keep(levels))

    def pool(
        self, levels: Levels, boxes: Float[Array, "N 4"]
    ) -> Float[Array, "N s s C"]:
        """Features in boxes of the padded frame (sec. 3.1)."""
        config = self.config
        boxes = enlarge(boxes, config.box_pad)
        return roi_align_levels(
            levels, STRIDES, boxes, config.object_size, precision=config.precision
        )

    def pool_masks(
        self, masks: Float[Array, "O H4 W4"], boxes: Float[Array, "O 4"]
    ) -> Float[Array, "O s s"]:
        """Each object's mask of stride 4 in its own box."""
        size, precision = self.config.object_size, self.config.precision

        def pool(mask: Array, box: Array) -> Array:
            feature, boxes = mask[..., None], box[None]
            pooled = roi_align(feature, boxes, STRIDES[0], size, precision=precision)
            return pooled[0, ..., 0]

        return jax.vmap(pool)(masks, enlarge(boxes, self.config.box_pad))

    def add_time(
        self, features: Float[Array, "*o h w C"], offset: Int[Array, " O"]
    ) -> Float[Array, "O h w C"]:
        """Features with the code of how long an object has been there (sec. 3.2)."""
        code = time_code(offset, features.shape[-1])[:, None, None]
        return features + code.astype(features.dtype)

    def make_entry(
        self,
        levels: Levels,
        mask: Float[Array, "O H4 W4"],
        track: Bank,
        time: Int[Array, ""],
    ) -> KeyValue:
        """Key and value of each object from features and soft mask (sec. 3.2)."""
        box, began = (x[0] for x in track.entries)
        if self.config.frame_memory:
            features, mask = _whole_frame(levels, mask)
        else:
            features, mask = self.pool(levels, box), self.pool_masks(mask, box)
        features = self.add_time(features, time - began)
        mask = mask[..., None].astype(features.dtype)
        entry: KeyValue = self.memory_encoder(jnp.concatenate([features, mask], -1))
        return entry

    def query_key(
        self, levels: Levels, track: Bank, time: Int[Array, ""]
    ) -> Float[Array, "O s s Ck"]:
        """What each object asks its memory, where it was in the frame before."""
        box, began = (x[0] for x in track.entries)
        return self.query_encoder(self.add_time(self.pool(levels, box), time - began))

    def read(
        self, memory: Memory, query: Levels, active: Bool[Array, " O"]
    ) -> Float[Array, "O s s C"]:
        """The template of each object, laid out as its box (sec. 3.2, eq. 1)."""
        config, bank = self.config, memory.bank
        if bank is None:
            assert memory.template is not None
            return memory.template.entries[0]
        return object_read(
            self.query_key(query, memory.track, memory.time + 1),
            bank.entries.key,
            bank.entries.value,
            readable(bank, config.memory_sampling, memory.time),
            **config.read_options,
        )

    # Masks

    def segment(
        self,
        memory: Memory,
        query: Levels,
        frame: Float[Array, "H W 3"],
        active: Bool[Array, " O"],
        inputs: Proposals | TrainingInputs | None = None,
    ) -> Segmentation:
        """Finds the objects among the proposals and refines their masks (sec. 3.1)."""
        seen, (height, width, _) = memory, frame.shape
        if isinstance(inputs, TrainingInputs):
            boxes = inputs.query_boxes + corner_of(height, width)[None]
            seen = seen.looking_at(boxes)
            inputs = inputs.proposals
        template = self.read(seen, query, active)
        found = self.match(seen, query, frame, active, inputs, template)
        if self.config.keep_coarse:
            memory = memory._replace(**found._asdict())
        if not self.config.use_refinenet:
            return Segmentation(soft_aggregate(found.coarse, active), memory)
        logits = self.refine(memory, query, frame, active, inputs, found)
        return Segmentation(merge_objects(logits, frame, active), memory)

    def match(
        self,
        memory: Memory,
        query: Levels,
        frame: Float[Array, "H W 3"],
        active: Bool[Array, " O"],
        proposals: Proposals | None,
        template: Float[Array, "O s s C"],
    ) -> Found:
        """Coarse masks: the proposals' masks, weighted by how well they match.

        Args:
          memory: Whose boxes the templates are laid out in.
          query: Levels of the frame.
          frame: Of which the size counts.
          active: Objects that there are.
          proposals: Of the frame; None without matcher.
          template: What `read` returns.
        """
        config, size = self.config, (frame.shape[0], frame.shape[1])
        corner = corner_of(*size)
        if not config.use_matcher:
            boxes = enlarge(memory.track.entries.box[0], config.box_pad)
            boxes = lax.stop_gradient(boxes) - corner[None]
            return Found(paste(self.mask_head(template), boxes, *size))
        assert proposals is not None
        features = self.pool(query, proposals.boxes + corner[None])
        found: Found = self.matcher(
            template, features, proposals, active, memory.labels
        )
        return found

    def refine(
        self,
        memory: Memory,
        query: Levels,
        frame: Float[Array, "H W 3"],
        active: Bool[Array, " O"],
        proposals: Proposals | None,
        found: Found,
    ) -> Float[Array, "O H4 W4 2"]:
        """Two logits of each object at stride 4, from coarse masks (sec. 3.1)."""
        assert memory.first is not None
        assert memory.previous is not None
        config, net = self.config, self.refine_net
        mask = block_mean(pad(found.coarse[..., None])[..., 0], STRIDES[0])
        place = net.place(query)
        alignment = Alignment(place, config.alpha, config.move_masks, config.numerics)
        convs = FirstConvs(net.kernels(), alignment)
        joined = convs(query, mask, memory.previous, memory.first, active)
        logits: Array = net(joined)
        return logits


def _whole_frame(
    levels: Levels, mask: Float[Array, "O H4 W4"]
) -> tuple[Float[Array, "1 h w C"], Float[Array, "O h w"]]:
    """Features of the frame, and masks, as means over cells of stride 16."""
    means = [
        block_mean(jnp.moveaxis(level, -1, 0), STRIDES[-1] // stride)
        for level, stride in zip(levels, STRIDES, strict=True)
    ]
    features = jnp.moveaxis(jnp.concatenate(means), 0, -1)[None]
    mask = block_mean(mask, STRIDES[-1] // STRIDES[0])
    return features.astype(levels.res4.dtype), mask


_ENTRY = Entry(
    DMNAOA,
    DMNAOAConfig(),
    torch_table,
    ("*.num_batches_tracked",),
    parts={
        "use_dmn": {True: ("memory_encoder", "query_encoder")},
        "use_matcher": {True: ("matcher",), False: ("mask_head",)},
        "use_refinenet": {True: ("refine_net",)},
    },
)

ENTRIES = {
    "dmn-aoa": _ENTRY,
    "dmn-aoa-tiny": _ENTRY._replace(
        config=DMNAOAConfig(
            backbone=ResNetConfig(depth=18, width=32, zero_init=True),
            level_dims=(24, 24, 48),
            align_dim=48,
            refine_dim=48,
            aoa_center=True,
            groups=8,
        )
    ),
}
"""By name."""
