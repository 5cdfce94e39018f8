"""DMN-AOA as one writes it in PyTorch from the paper.

There is no released program. Parameters have the names of `vos-jax convert dmn-aoa`;
what the paper leaves open is as in `vos_jax.methods.dmn_aoa`.
"""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import torch
import torch.nn.functional as F
from against_torch import IMAGE_MEAN, IMAGE_STD, aggregate, crop, enlarge, pad, stage
from torch import Tensor, nn

import vos_jax
from vos_jax.ops.padding import padding

STRIDES = (4, 8, 16)


class Config(Protocol):
    """The fields of the method's configuration that matter here."""

    level_dims: tuple[int, int, int]
    align_dim: int
    refine_dim: int
    groups: int
    object_size: int
    alpha: float
    mem_every: int | None
    n_grad: int
    n_proj: int
    match_step: float


class Proposals(NamedTuple):
    """Boxes `[N, 4]` and masks `[N, H, W]` of a frame's proposals, valid ones alone.

    In pixels of the padded frame.
    """

    boxes: Tensor
    masks: Tensor


# Features


class Reduce(nn.Module):
    """1x1 convolution, group norm, ReLU."""

    def __init__(self, channels: int, width: int, groups: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, width, 1, bias=False)
        self.norm = nn.GroupNorm(groups, width)

    def forward(self, x: Tensor) -> Tensor:
        """Runs it."""
        return F.relu(self.norm(self.conv(x)))


class Backbone(nn.Module):
    """ResNet-50 to its third stage, every stage reduced."""

    def __init__(self, width: int, dims: Sequence[int], groups: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, width, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.layer1 = stage(width, width, 3, 1)
        self.layer2 = stage(4 * width, 2 * width, 4, 2)
        self.layer3 = stage(8 * width, 4 * width, 6, 2)
        channels = (4 * width, 8 * width, 16 * width)
        self.reduce = nn.ModuleDict(
            {
                f"res{level}": Reduce(before, after, groups)
                for level, before, after in zip((2, 3, 4), channels, dims, strict=True)
            }
        )

    def forward(self, image: Tensor) -> list[Tensor]:
        """Base features `[1, C, h, w]` at strides 4, 8 and 16."""
        x = F.max_pool2d(F.relu(self.bn1(self.conv1(image))), 3, 2, 1)
        levels = []
        layers = (self.layer1, self.layer2, self.layer3)
        for layer, reduce in zip(layers, self.reduce.values(), strict=True):
            x = layer(x)
            levels.append(reduce(x))
        return levels


def roi_align(feature: Tensor, boxes: Tensor, stride: int, size: int) -> Tensor:
    """Features `[N, C, size, size]` in boxes `[N, 4]`, of a map `[1 or N, C, h, w]`.

    Two by two samples a bin, half-pixel centres, zero farther out than a cell. Written
    with `grid_sample`: PyTorch alone has no such operator.
    """
    height, width = feature.shape[2:]
    count, side = len(boxes), 2 * size
    x = _samples(boxes[:, 0], boxes[:, 2], stride, side)
    y = _samples(boxes[:, 1], boxes[:, 3], stride, side)
    columns = ((2 * x + 1) / width - 1)[:, None].expand(-1, side, -1)
    rows = ((2 * y + 1) / height - 1)[:, :, None].expand(-1, -1, side)
    grid = torch.stack([columns, rows], dim=-1)
    in_x, in_y = (x >= -1) & (x <= width), (y >= -1) & (y <= height)
    inside = (in_y[:, :, None] & in_x[:, None])[:, None]
    if len(feature) == 1:
        # All boxes as one tall grid, so that the map is not copied for each.
        tall = grid.reshape(1, count * side, side, 2)
        read = _sample(feature, tall)[0].unflatten(1, (count, side)).transpose(0, 1)
    else:
        read = _sample(feature, grid)
    return F.avg_pool2d(read * inside, 2)


def _samples(low: Tensor, high: Tensor, stride: int, count: int) -> Tensor:
    begin, end = low / stride - 0.5, high / stride - 0.5
    steps = (torch.arange(count) + 0.5) / count
    return begin[:, None] + steps * (end - begin)[:, None]


def _sample(feature: Tensor, grid: Tensor) -> Tensor:
    return F.grid_sample(feature, grid, padding_mode="border", align_corners=False)


def object_features(levels: Sequence[Tensor], boxes: Tensor, size: int) -> Tensor:
    """All levels in boxes `[N, 4]`, joined: `[N, C, size, size]`."""
    pooled = [
        roi_align(level, boxes, stride, size)
        for level, stride in zip(levels, STRIDES, strict=True)
    ]
    return torch.cat(pooled, dim=1)


# Object memory


def time_code(offset: int, channels: int) -> Tensor:
    """Sines and cosines `[C, 1, 1]` of the offset to the first frame."""
    even = torch.arange(0, channels, 2, dtype=torch.float64)
    angle = offset / 10000 ** (even / channels)
    return torch.stack([angle.sin(), angle.cos()], dim=1).reshape(-1, 1, 1).float()


class Entry(NamedTuple):
    """A frame in the memory: keys, values `[O, C, s, s]`, and which objects show."""

    key: Tensor
    value: Tensor
    valid: Tensor


class DMN(nn.Module):
    """Memory and query encoders, and the read."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.mem_key = nn.Conv2d(channels + 1, channels // 4, 3, padding=1)
        self.mem_value = nn.Conv2d(channels + 1, channels, 3, padding=1)
        self.query = nn.Conv2d(channels, channels // 4, 3, padding=1)

    def remember(
        self, features: Tensor, masks: Tensor, valid: Tensor, offset: int
    ) -> Entry:
        """A frame's objects, `[O, C, s, s]` and `[O, 1, s, s]`."""
        coded = features + time_code(offset, features.shape[1])
        x = torch.cat([coded, masks], dim=1)
        return Entry(self.mem_key(x), self.mem_value(x), valid)

    def read(self, features: Tensor, offset: int, memory: Entry) -> Tensor:
        """The template `[O, C, s, s]`; `memory` has keys and values of all its cells.

        `[O, Ck, M]`, `[O, C, M]`, and `[O, M]`.
        """
        query = self.query(features + time_code(offset, features.shape[1])).flatten(2)
        scores = query.transpose(1, 2) @ memory.key / query.shape[1] ** 0.5
        scores = scores.masked_fill(~memory.valid[:, None], float("-inf"))
        weights = torch.softmax(scores, dim=2)
        return (memory.value @ weights.transpose(1, 2)).reshape(features.shape)


def joined(entries: Sequence[Entry]) -> Entry:
    """All cells of all entries, as `DMN.read` takes them."""
    key = torch.cat([entry.key.flatten(2) for entry in entries], dim=2)
    value = torch.cat([entry.value.flatten(2) for entry in entries], dim=2)
    cells = entries[0].key[0, 0].numel()
    valid = torch.stack([entry.valid for entry in entries], dim=1)
    return Entry(key, value, valid.repeat_interleave(cells, dim=1))


# Alignment and matching


class Projector(nn.Module):
    """3x3 convolution, group norm, ReLU, 3x3 convolution."""

    def __init__(self, channels: int, width: int, groups: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, width, 3, padding=1)
        self.norm = nn.GroupNorm(groups, width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Runs it."""
        return self.conv2(F.relu(self.norm(self.conv1(x))))


def unit(x: Tensor) -> Tensor:
    """Vectors along axis 1, of length 1."""
    return x * torch.rsqrt(x.square().sum(1, keepdim=True) + 1e-12)


class AOA(nn.Module):
    """Aligns every proposal to every template and compares them."""

    def __init__(self, channels: int, width: int, groups: int, alpha: float) -> None:
        super().__init__()
        self.proj_t = Projector(channels, width, groups)
        self.proj_p = Projector(channels, width, groups)
        self.alpha = alpha

    def forward(self, template: Tensor, proposals: Tensor) -> Tensor:
        """Similarity `[O, N]` of `[O, C, s, s]` and `[N, C, s, s]`."""
        template = unit(self.proj_t(template).flatten(2))
        proposals = self.proj_p(proposals).flatten(2)
        cosine = torch.einsum("oci,ncj->onij", template, unit(proposals))
        moves = torch.softmax(self.alpha * cosine, dim=3)
        aligned = torch.einsum("onij,ncj->onci", moves, proposals)
        count = aligned.shape[:2]
        aligned = unit(aligned.flatten(0, 1)).unflatten(0, count)
        return (template[:, None] * aligned).sum(2).mean(2)


def match(similarity: Tensor, gradient_steps: int, rounds: int, step: float) -> Tensor:
    """Assigns proposals to objects, `[O, N]`, by projected gradients (DMM-Net)."""
    objects, proposals = similarity.shape
    missing = max(objects + 1 - proposals, 0)
    cost = F.pad(-similarity, (0, missing))
    objects, columns = cost.shape
    x = _start(cost)
    first, second, third = (torch.zeros_like(x) for _ in range(3))
    total = x
    for _ in range(gradient_steps):
        x = x - step * cost
        total = total + x
        for _ in range(rounds):
            z = x + first
            x = z.clamp(min=0)
            first = z - x
            z = x + second
            x = z - (z.sum(0, keepdim=True) - 1).clamp(min=0) / objects
            second = z - x
            z = x + third
            x = z - (z.sum(1, keepdim=True) - 1) / columns
            third = z - x
    return (total / (gradient_steps + 1))[:, :proposals]


def _start(cost: Tensor) -> Tensor:
    """Each object's best of the proposals that like it best."""
    own = F.one_hot(cost.argmin(0), len(cost)).T.bool()
    best = torch.where(own, cost, cost.max()).argmin(1)
    return F.one_hot(best, cost.shape[1]).to(cost.dtype)


# RefineNet


class NormResBlock(nn.Module):
    """Pre-activation residual block with norms after its convolutions."""

    def __init__(self, width: int, groups: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(width, width, 3, padding=1)
        self.norm1 = nn.GroupNorm(groups, width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1)
        self.norm2 = nn.GroupNorm(groups, width)

    def forward(self, x: Tensor) -> Tensor:
        """Runs the block."""
        y = self.norm1(self.conv1(F.relu(x)))
        return x + self.norm2(self.conv2(F.relu(y)))


class RefineBlock(nn.Module):
    """One scale of RefineNet; the coarsest has none before it."""

    def __init__(self, channels: int, width: int, groups: int, coarsest: bool) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3 * channels + 3, width, 3, padding=1)
        self.norm = nn.GroupNorm(groups, width)
        self.res_in = None if coarsest else NormResBlock(width, groups)
        self.res_out = NormResBlock(width, groups)

    def forward(self, x: Tensor, before: Tensor | None) -> Tensor:
        """`[O, width, h, w]`."""
        x = self.norm(self.conv(x))
        if self.res_in is not None and before is not None:
            x = self.res_in(x) + enlarge(before, 2)
        return self.res_out(x)


class Reference(NamedTuple):
    """A frame's levels, its level at stride 16 projected, and masks `[O, H, W]`."""

    levels: Sequence[Tensor]
    projected: Tensor
    masks: Tensor


class RefineNet(nn.Module):
    """Refines coarse masks with the first and the previous frame."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        dims, width, groups = config.level_dims, config.refine_dim, config.groups
        self.proj_cur = Projector(dims[2], width, groups)
        self.proj_ref = Projector(dims[2], width, groups)
        self.block4 = RefineBlock(dims[2], width, groups, coarsest=True)
        self.block3 = RefineBlock(dims[1], width, groups, coarsest=False)
        self.block2 = RefineBlock(dims[0], width, groups, coarsest=False)
        self.pred = nn.Conv2d(width, 2, 1)
        self.alpha = config.alpha

    def forward(
        self, levels: Sequence[Tensor], coarse: Tensor, references: Sequence[Reference]
    ) -> Tensor:
        """Masks `[O, H, W]` of coarse ones."""
        query = unit(self.proj_cur(levels[2]).flatten(2))[0]
        moved = [self._moved(query, reference) for reference in references]
        x = None
        blocks = (self.block4, self.block3, self.block2)
        for place, block in zip((2, 1, 0), blocks, strict=True):
            parts = [
                levels[place].expand(len(coarse), -1, -1, -1),
                F.avg_pool2d(coarse[:, None], STRIDES[place]),
            ]
            for features, masks in moved:
                parts += [
                    features[place].expand(len(coarse), -1, -1, -1),
                    masks[place],
                ]
            x = block(torch.cat(parts, dim=1), x)
        logits = enlarge(self.pred(F.relu(x)), 4)
        return torch.softmax(logits, dim=1)[:, 1]

    def _moved(
        self, query: Tensor, reference: Reference
    ) -> tuple[list[Tensor], list[Tensor]]:
        """A reference's levels and masks, moved to where the frame has them."""
        cosine = query.T @ unit(reference.projected.flatten(2))[0]
        moves = torch.softmax(self.alpha * cosine, dim=1)
        masks = [F.avg_pool2d(reference.masks[:, None], stride) for stride in STRIDES]
        features = [move_patches(level, moves) for level in reference.levels]
        return features, [move_patches(mask, moves) for mask in masks]


def move_patches(x: Tensor, moves: Tensor) -> Tensor:
    """Every patch of maps `[B, C, h, w]` as a mean of patches, by weights `[i, j]`."""
    side = round((x.shape[2] * x.shape[3] / len(moves)) ** 0.5)
    patches = F.pixel_unshuffle(x, side)
    moved = (patches.flatten(2) @ moves.T).reshape(patches.shape)
    return F.pixel_shuffle(moved, side)


# The method


class TorchDMNAOA(nn.Module):
    """DMN-AOA, with one method per stage of a frame."""

    def __init__(self, config: Config, width: int = 64) -> None:
        super().__init__()
        dims, groups = config.level_dims, config.groups
        channels = sum(dims)
        self.backbone = Backbone(width, dims, groups)
        self.dmn = DMN(channels)
        self.aoa = AOA(channels, config.align_dim, groups, config.alpha)
        self.refine = RefineNet(config)
        self.config = config

    def encode(self, frame: Tensor) -> list[Tensor]:
        """Levels of a frame `[3, H, W]`, padded."""
        mean, std = (torch.tensor(x)[:, None, None] for x in (IMAGE_MEAN, IMAGE_STD))
        return self.backbone(((pad(frame) - mean) / std)[None])

    def remember(
        self,
        levels: Sequence[Tensor],
        boxes: Tensor,
        masks: Tensor,
        valid: Tensor,
        offset: int,
    ) -> Entry:
        """A memory entry; masks are `[O, H, W]`, padded."""
        size = self.config.object_size
        small = F.avg_pool2d(masks[:, None], STRIDES[0])
        pooled = roi_align(small, boxes, STRIDES[0], size)
        features = object_features(levels, boxes, size)
        return self.dmn.remember(features, pooled, valid, offset)

    def template(
        self, levels: Sequence[Tensor], boxes: Tensor, offset: int, memory: Entry
    ) -> Tensor:
        """`[O, C, s, s]`, read with the objects' boxes of the frame before."""
        features = object_features(levels, boxes, self.config.object_size)
        return self.dmn.read(features, offset, memory)

    def similarity(
        self, levels: Sequence[Tensor], template: Tensor, boxes: Tensor
    ) -> Tensor:
        """`[O, N]` of the proposals' boxes."""
        features = object_features(levels, boxes, self.config.object_size)
        return self.aoa(template, features)

    def coarse(self, similarity: Tensor, masks: Tensor) -> Tensor:
        """Coarse masks `[O, H, W]`."""
        config = self.config
        weights = match(similarity, config.n_grad, config.n_proj, config.match_step)
        return torch.einsum("on,nhw->ohw", weights, masks).clamp(0, 1)

    def reference(self, levels: Sequence[Tensor], masks: Tensor) -> Reference:
        """A frame that later ones are refined with."""
        return Reference(levels, self.refine.proj_ref(levels[2]), masks)


def tight_boxes(labels: Tensor, boxes: Tensor) -> tuple[Tensor, Tensor]:
    """Boxes `[O, 4]` of the objects of a label map, and which of them show.

    In pixels of the padded frame. An object that does not show keeps its box.
    """
    top, left = (padding(length)[0] for length in labels.shape)
    new, shown = boxes.clone(), torch.zeros(len(boxes), dtype=torch.bool)
    for number in range(len(boxes)):
        rows, columns = torch.nonzero(labels == number + 1, as_tuple=True)
        if len(rows):
            shown[number] = True
            corners = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
            new[number] = torch.stack(corners) + torch.tensor([left, top, left, top])
    return new, shown


def taken(proposals: vos_jax.Proposals) -> Proposals:
    """A frame's valid proposals, of NumPy arrays without padding."""
    boxes, masks, _, valid = (torch.from_numpy(x) for x in proposals)
    top, left = (padding(length)[0] for length in masks.shape[1:])
    corner = torch.tensor([left, top, left, top])
    return Proposals(boxes[valid] + corner, pad(masks[valid].float()))


class TorchVideo:
    """Segments a video frame by frame, with objects that are all in its first one.

    Attributes:
      probs: `[O+1, H, W]` of the latest frame; may be replaced before the next one.
      boxes: The objects', of the frame before the latest, in pixels of the padded one.
      template: Of the latest frame, `[O, C, s, s]`.
      similarity: Of the latest frame's objects and proposals, `[O, N]`.
      coarse: The latest frame's coarse masks `[O, H, W]`, padded.
    """

    def __init__(
        self,
        model: TorchDMNAOA,
        proposals: Sequence[Proposals],
        frame: Tensor,
        probs: Tensor,
    ) -> None:
        """Begins a video; `proposals[t - 1]` are those of frame t."""
        self._model, self._proposals, self._time = model, proposals, 0
        self._levels = model.encode(frame)
        self._kept: list[Entry] = []
        self._first: Reference | None = None
        self.probs = probs
        self.boxes = torch.zeros(len(probs) - 1, 4)

    def step(self, frame: Tensor) -> Tensor:
        """Probabilities `[O+1, H, W]` of the next frame."""
        model, proposals = self._model, self._proposals[self._time]
        masks = pad(self.probs[1:])
        self.boxes, shown = tight_boxes(self.probs.argmax(0), self.boxes)
        entry = model.remember(self._levels, self.boxes, masks, shown, self._time)
        before = model.reference(self._levels, masks)
        self._first = self._first or before
        every = model.config.mem_every
        if self._time == 0 or (every is not None and self._time % every == 0):
            self._kept.append(entry)
            memory = joined(self._kept)
        else:
            memory = joined([*self._kept, entry])
        self._time += 1
        self._levels = model.encode(frame)
        self.template = model.template(self._levels, self.boxes, self._time, memory)
        self.similarity = self.coarse = torch.zeros_like(masks)
        if len(proposals.boxes):
            self.similarity = model.similarity(
                self._levels, self.template, proposals.boxes
            )
            self.coarse = model.coarse(self.similarity, proposals.masks)
        references = [self._first, before]
        refined = model.refine(self._levels, self.coarse, references)
        self.probs = crop(aggregate(refined), *frame.shape[1:])
        return self.probs
