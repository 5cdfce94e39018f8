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
| 3.3 | | AOA: projectors | `blocks.Projector` |
| 3.3 | 2, 3 | alignment weights, aligned proposals | `DMNAOA.compare`; `ops.alignment` |
| 3.1 | | matcher | `DMNAOA.match`; `ops.matching` |
| 3.1 | | coarse masks | `DMNAOA.find` |
| 3.1 | | RefineNet | `DMNAOA.refine`, `DMNAOA.join`; `blocks.RefineNet` |
| 3.4 | | several objects | `stm.merge_objects`; `ops.soft_aggregation` |
| 4.1 | | training | `objective` |
| 4.1 | | frames in the memory | `DMNAOA.readable`; `MEMORY_SAMPLING` |

No program was published. What the paper leaves open is as in the works that it takes
the parts from: STM for the memory and RefineNet, DMM-Net for the matching layer.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from vos_jax.methods import torch_names
from vos_jax.methods.base import Encoded, Method, Segmentation
from vos_jax.methods.dmn_aoa.blocks import (
    STRIDES,
    Kernels,
    Levels,
    MaskHead,
    Projector,
    Reductions,
    Reference,
    RefineNet,
    convolve_masks,
    mask_levels,
    move_reference,
)
from vos_jax.methods.dmn_aoa.config import DMNAOAConfig
from vos_jax.methods.dmn_aoa.proposals import COUNT, PROPOSALS, TrainingInputs
from vos_jax.methods.entry import Entry
from vos_jax.methods.inputs import InputKind
from vos_jax.methods.stm import merge_objects
from vos_jax.nn.encoders import KeyValueHead
from vos_jax.nn.layers import Conv, convolve, normalize_image
from vos_jax.nn.resnet import ResNet, ResNetConfig
from vos_jax.ops import memory_bank
from vos_jax.ops.alignment import align, compare_unaligned
from vos_jax.ops.boxes import enlarge, paste, tight_boxes
from vos_jax.ops.matching import match
from vos_jax.ops.memory_bank import FIRST, KEPT, PREVIOUS, Bank, Moment
from vos_jax.ops.object_read import object_read
from vos_jax.ops.padding import crop, grid_size, pad, padding
from vos_jax.ops.read import product_of
from vos_jax.ops.resample import block_mean
from vos_jax.ops.roi_align import roi_align, roi_align_levels
from vos_jax.ops.soft_aggregation import soft_aggregate
from vos_jax.ops.time_code import time_code
from vos_jax.types import Proposals


class Keep(NamedTuple):
    """What is kept of a frame until it is memorised.

    Attributes:
      levels: Its base features.
      boxes: Of the objects, in pixels without padding, where they are better known than
        from the masks: in pre-training. None to take the masks'.
      shows: With `boxes`: objects that the frame shows.
    """

    levels: Levels
    boxes: Float[Array, "O 4"] | None = None
    shows: Bool[Array, " O"] | None = None


class Slot(NamedTuple):
    """What the memory has of a frame.

    Attributes:
      key: Matched with the query's.
      value: What is read.
      shows: Whether the frame shows the object; else it is read only where no other is.
    """

    key: Float[Array, "*b s s Ck"]
    value: Float[Array, "*b s s Cv"]
    shows: Bool[Array, "*b"]


class Track(NamedTuple):
    """Where and when an object is.

    Attributes:
      box: Its last one, in pixels of the padded frame.
      began: Index of its first frame.
    """

    box: Float[Array, "*b 4"]
    began: Int[Array, "*b"]


class Memory(NamedTuple):
    """What is remembered.

    A first frame is kept for each object and not for each group of objects that share
    it: there may be as many groups as objects, and the memory has to have that room.

    Attributes:
      time: Index of the latest frame.
      track: `Track` of each object, in one slot.
      bank: `Slot` entries `[N, O, ...]`; None without DMN.
      template: Features of each object in its first frame, in one slot; None with DMN.
      first: `Reference` of each object's first frame, in one slot. Without
        `late_objects` one `Reference` for all. None without RefineNet.
      previous: `Reference` of the latest frame; None without RefineNet.
      labels: Objects' pixels in the latest frame; None where overlaps do not count.
      coarse: Coarse masks of the frame that was segmented; None unless `keep_coarse`.
      similarity: Of objects and proposals, likewise; None without matcher.
      weights: Of proposals for objects, likewise.
    """

    time: Int[Array, ""]
    track: Bank
    bank: Bank | None
    template: Bank | None
    first: Bank | Reference | None
    previous: Reference | None
    labels: Bool[Array, "O H W"] | None
    coarse: Float[Array, "O H W"] | None
    similarity: Float[Array, "O P"] | None
    weights: Float[Array, "O P"] | None


class Found(NamedTuple):
    """What is known of the objects before RefineNet.

    Attributes:
      coarse: Masks in [0, 1].
      similarity: Of objects and proposals, float32; None without matcher. Columns
        beyond the proposals are null proposals'.
      weights: Of proposals for objects, likewise.
    """

    coarse: Float[Array, "O H W"]
    similarity: Float[Array, "O P"] | None = None
    weights: Float[Array, "O P"] | None = None


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
            dims = config.align_dim, config.groups
            self.project_template = Projector(*dims, numerics)
            self.project_proposal = Projector(*dims, numerics)
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

    # Memory

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
        config, dtype = self.config, self.config.numerics.compute_dtype
        rows, columns = grid_size(height, width)
        size = config.object_size
        features = jnp.zeros((objects, size, size, config.object_dim), dtype)
        bank = first = previous = None
        if config.use_dmn:
            grid = (rows, columns) if config.frame_memory else (size, size)
            key, value = (
                jnp.zeros((objects, *grid, channels), dtype)
                for channels in (config.key_dim, config.object_dim)
            )
            bank = memory_bank.empty(Slot(key, value, jnp.zeros(objects, bool)), slots)
        if config.use_refinenet:
            previous = self._empty_reference(rows, columns, objects)
            first = previous
            if config.late_objects:
                mask = previous.mask
                of_each = jax.tree.map(
                    lambda x: jnp.zeros((objects, *x.shape), x.dtype), previous
                )
                first = memory_bank.single(of_each._replace(mask=mask))
        overlaps = config.use_matcher and config.iou_weight > 0
        table = config.keep_coarse and config.use_matcher
        pairs = jnp.zeros((objects, max(COUNT, objects + 1))) if table else None
        track = Track(jnp.zeros((objects, 4)), jnp.zeros(objects, jnp.int32))
        return Memory(
            time=jnp.int32(-1),
            track=memory_bank.single(track),
            bank=bank,
            template=None if config.use_dmn else memory_bank.single(features),
            first=first,
            previous=previous,
            labels=jnp.zeros((objects, height, width), bool) if overlaps else None,
            coarse=jnp.zeros((objects, height, width)) if config.keep_coarse else None,
            similarity=pairs,
            weights=pairs,
        )

    def _empty_reference(self, rows: int, columns: int, objects: int) -> Reference:
        config, dtype = self.config, self.config.numerics.compute_dtype
        levels = [
            jnp.zeros((rows * side, columns * side, channels), dtype)
            for side, channels in zip((4, 2, 1), config.level_dims, strict=True)
        ]
        return Reference(
            Levels(*levels),
            jnp.zeros((rows, columns, config.refine_dim), dtype),
            jnp.zeros((objects, 4 * rows, 4 * columns)),
        )

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
        config = self.config
        names = jnp.arange(1, len(probs))[:, None, None]
        pixels = jnp.argmax(probs, axis=0)[None] == names
        boxes, shows = tight_boxes(pixels)
        if keep.boxes is not None:
            assert keep.shows is not None
            boxes, shows = keep.boxes, keep.shows
        track = self._follow(memory.track, boxes, shows, frame.shape, moment)
        mask = block_mean(pad(probs[1:, ..., None])[..., 0], STRIDES[0])
        is_first = moment.first & moment.active
        memory = memory._replace(
            time=moment.time,
            track=track,
            labels=None if memory.labels is None else pixels,
        )
        if memory.bank is not None:
            entry = self.make_entry(keep.levels, mask, track, moment.time)
            slot = Slot(*entry, shows | moment.first)
            bank = memory_bank.write(memory.bank, config.policy, slot, moment)
            memory = memory._replace(bank=bank)
        if memory.template is not None:
            features = self.pool(keep.levels, track.entries.box[0])
            template = memory_bank.overwrite(
                memory.template, 0, features, is_first, moment.time
            )
            memory = memory._replace(template=template)
        if memory.previous is None:
            return memory
        place = self.refine_net.reference_place(keep.levels)
        reference = Reference(keep.levels, place, mask)
        first = _keep_first(memory.first, reference, is_first, moment.time)
        return memory._replace(first=first, previous=reference)

    def _follow(
        self,
        track: Bank,
        boxes: Float[Array, "O 4"],
        shows: Bool[Array, " O"],
        shape: tuple[int, ...],
        moment: Moment,
    ) -> Bank:
        """Boxes in the latest frame; the last one of what it does not show."""
        height, width, _ = shape
        everywhere = jnp.array([0, 0, width, height], jnp.float32)
        corner = self._corner(height, width)
        known = track.filled[0] & ~moment.first
        last = jnp.where(
            known[:, None], track.entries.box[0], (everywhere + corner)[None]
        )
        box = jnp.where(shows[:, None], boxes + corner[None], last)
        began = jnp.where(moment.first, moment.time, track.entries.began[0])
        entry = Track(box, began)
        return memory_bank.overwrite(track, 0, entry, moment.active, moment.time)

    @staticmethod
    def _corner(height: int, width: int) -> Float[Array, " 4"]:
        """Where a frame's boxes begin in the padded frame."""
        top, left = padding(height)[0], padding(width)[0]
        return jnp.array([left, top, left, top], jnp.float32)

    # Features of objects

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
    ) -> Any:
        """Key and value of each object from features and soft mask (sec. 3.2)."""
        config, (box, began) = self.config, (x[0] for x in track.entries)
        if config.frame_memory:
            features = jnp.concatenate(
                [
                    block_mean(jnp.moveaxis(level, -1, 0), STRIDES[-1] // stride)
                    for level, stride in zip(levels, STRIDES, strict=True)
                ]
            )
            features = jnp.moveaxis(features, 0, -1)[None].astype(levels.res4.dtype)
            mask = block_mean(mask, STRIDES[-1] // STRIDES[0])[..., None]
        else:
            features = self.pool(levels, box)
            pool = jax.vmap(lambda x, box: roi_align(x, box, STRIDES[0], config.object_size, precision=config.precision))
            boxes = enlarge(box, config.box_pad)[:, None]
            mask = pool(mask[..., None], boxes)[:, 0]
        features = self.add_time(features, time - began)
        joined = jnp.concatenate([features, mask.astype(features.dtype)], axis=-1)
        return self.memory_encoder(joined)

    def query_key(
        self, levels: Levels, track: Bank, time: Int[Array, ""]
    ) -> Float[Array, "O s s Ck"]:
        """What each object asks its memory, where it was in the frame before."""
        box, began = (x[0] for x in track.entries)
        return self.query_encoder(self.add_time(self.pool(levels, box), time - began))

    # Template

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
            self.readable(bank, memory.time),
            implementation=config.read,
            precision=config.precision,
        )

    def readable(self, bank: Bank, time: Int[Array, ""]) -> Bool[Array, "N O"]:
        """Slots that are read: of the frames that `memory_sampling` says.

        Those that do not show an object are left out, unless there are no others.
        """
        sampling, slot = self.config.memory_sampling, jnp.arange(bank.capacity)[:, None]
        chosen = bank.filled
        if sampling == "first":
            chosen &= slot != PREVIOUS
        if sampling == "prev":
            chosen &= (bank.time == time) | (slot >= KEPT)
        showing = chosen & bank.entries.shows
        return jnp.where(showing.any(0, keepdims=True), showing, chosen)

    # Coarse masks

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
            box = (inputs.query_boxes + self._corner(height, width)[None])[None]
            entries = seen.track.entries._replace(box=box)
            seen = seen._replace(track=seen.track._replace(entries=entries))
            inputs = inputs.proposals
        template = self.read(seen, query, active)
        found = self.find(seen, query, template, (height, width), active, inputs)
        if self.config.keep_coarse:
            memory = memory._replace(
                coarse=found.coarse,
                similarity=found.similarity,
                weights=found.weights,
            )
        if not self.config.use_refinenet:
            return Segmentation(soft_aggregate(found.coarse, active), memory)
        logits = self.refine(memory, query, found.coarse, active)
        return Segmentation(merge_objects(logits, frame, active), memory)

    def find(
        self,
        memory: Memory,
        query: Levels,
        template: Float[Array, "O s s C"],
        size: tuple[int, int],
        active: Bool[Array, " O"],
        proposals: Proposals | None,
    ) -> Found:
        """Coarse masks: the proposals' masks, weighted by how well they match."""
        if not self.config.use_matcher:
            return Found(self.paste(memory, template, size))
        assert proposals is not None
        corner = self._corner(*size)
        count = len(proposals.valid)
        similarity = self.compare(template, query, proposals.boxes + corner[None])
        masks = proposals.masks.reshape(count, -1)
        if memory.labels is not None:
            pixels = memory.labels.reshape(len(active), -1)
            overlap = _overlaps(pixels, masks)
            matched = similarity + self.config.iou_weight * overlap
        else:
            matched = similarity
        weights = self.match(matched, proposals.valid, active)
        own = weights
        if self.config.hard_test:
            own = jax.nn.one_hot(jnp.argmax(weights, axis=-1), weights.shape[-1])
        own = jnp.where(proposals.valid[None], own[:, :count], 0)
        total = product_of("highest", "on,np->op", own, masks.astype(jnp.float32))
        coarse = _clip(total).reshape(-1, *size)
        columns = weights.shape[-1] - count
        return Found(coarse, jnp.pad(similarity, [(0, 0), (0, columns)]), weights)

    def compare(
        self,
        template: Float[Array, "O s s C"],
        query: Levels,
        boxes: Float[Array, "N 4"],
    ) -> Float[Array, "O N"]:
        """How alike objects and proposals are (sec. 3.3, eqs. 2 and 3)."""
        config, precision = self.config, self.config.precision
        template = self.project_template(template)
        proposals = self.project_proposal(self.pool(query, boxes))
        if not config.use_aoa:
            return compare_unaligned(
                template, proposals, config.aoa_center, precision=precision
            )
        return align(
            template,
            proposals,
            config.alpha,
            config.aoa_center,
            implementation=config.read,
            precision=precision,
        ).similarity

    def match(
        self,
        similarity: Float[Array, "O N"],
        valid: Bool[Array, " N"],
        active: Bool[Array, " O"],
    ) -> Float[Array, "O P"]:
        """Weights of proposals for objects, and of null proposals behind them."""
        config, (objects, count) = self.config, similarity.shape
        extra = max(COUNT, objects + 1, count) - count
        return match(
            jnp.pad(similarity, [(0, 0), (0, extra)]),
            jnp.pad(valid, (0, extra)),
            active,
            n_grad=config.n_grad,
            n_proj=config.n_proj,
            step=config.match_step,
            average=config.average,
        )

    def paste(
        self, memory: Memory, template: Float[Array, "O s s C"], size: tuple[int, int]
    ) -> Float[Array, "O H W"]:
        """Coarse masks from templates alone, each in the box where it was asked."""
        boxes = memory.track.entries.box[0] - self._corner(*size)[None]
        boxes = lax.stop_gradient(enlarge(boxes, self.config.box_pad))
        return paste(self.mask_head(template), boxes, *size)

    # Refinement

    def refine(
        self,
        memory: Memory,
        query: Levels,
        coarse: Float[Array, "O H W"],
        active: Bool[Array, " O"],
    ) -> Float[Array, "O H4 W4 2"]:
        """Two logits of each object at stride 4, from coarse masks (sec. 3.1)."""
        mask = block_mean(pad(coarse[..., None])[..., 0], STRIDES[0])
        return self.refine_net(self.join(memory, query, mask, active))

    def join(
        self,
        memory: Memory,
        query: Levels,
        coarse: Float[Array, "O H4 W4"],
        active: Bool[Array, " O"],
    ) -> tuple[Float[Array, "O H W F"], ...]:
        """The first convolutions of RefineNet's blocks, strides 4, 8 and 16.

        Of the current and the previous frame once. Of the first frame once, too, where
        all objects have the same; only where one came later, which a branch asks, it is
        convolved again for it.
        """
        assert memory.previous is not None
        current = self.refine_net.place(query)
        kernels = self.refine_net.kernels()
        config, numerics = self.config, self.config.numerics

        def move(reference: Reference) -> tuple[Levels, Array]:
            return move_reference(
                current, reference, config.alpha, config.move_masks, numerics
            )

        levels, previous_mask = move(memory.previous)
        shared = []
        for here, before, kernel in zip(query, levels, kernels, strict=True):
            both = jnp.concatenate([here, before], axis=-1)[None]
            bias = kernel.bias.astype(both.dtype)[None, None, None]
            shared.append(convolve(both, kernel.frame, numerics) + bias)

        def join_first(first: Reference) -> tuple[list[Array], Array]:
            """Sums of what a first frame and what all share, and its masks, moved."""
            levels, mask = move(first)
            sums = [
                x + convolve(level[None], kernel.first, numerics)
                for x, level, kernel in zip(shared, levels, kernels, strict=True)
            ]
            return sums, mask

        def add_masks(sums: list[Array], mask: Array) -> tuple[Array, ...]:
            masks = zip(*map(mask_levels, (coarse, mask, previous_mask)), strict=True)
            return tuple(
                x + convolve_masks(own, kernel.masks, numerics)
                for x, own, kernel in zip(sums, masks, kernels, strict=True)
            )

        first = memory.first
        if isinstance(first, Reference):
            return add_masks(*join_first(first))
        assert first is not None
        return _by_first_frames(first, active, join_first, add_masks)
