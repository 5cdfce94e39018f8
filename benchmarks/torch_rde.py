"""RDE-VOS and STCN as one writes them in PyTorch from the paper and the checkpoint.

Parameters have the names of the released checkpoints.
"""

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from against_torch import (
    IMAGE_MEAN,
    IMAGE_STD,
    ResBlock,
    aggregate,
    crop,
    enlarge,
    pad,
    stage,
)
from torch import Tensor, nn

from vos_jax.methods.stcn.model import STCNConfig


class KeyEncoder(nn.Module):
    """ResNet-50 to its third stage."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, width, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.res2 = stage(width, width, 3, 1)
        self.layer2 = stage(4 * width, 2 * width, 4, 2)
        self.layer3 = stage(8 * width, 4 * width, 6, 2)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Features of strides 16, 8 and 4."""
        x = F.max_pool2d(F.relu(self.bn1(self.conv1(image))), 3, 2, 1)
        f4 = self.res2(x)
        f8 = self.layer2(f4)
        return self.layer3(f8), f8, f4


class BasicBlock(nn.Module):
    """Two 3x3 convolutions, which have biases, each with its norm."""

    def __init__(self, channels: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, width, 3, stride, 1)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1)
        self.bn2 = nn.BatchNorm2d(width)
        self.downsample: nn.Module | None = None
        if channels != width or stride != 1:
            shortcut = nn.Conv2d(channels, width, 1, stride)
            self.downsample = nn.Sequential(shortcut, nn.BatchNorm2d(width))

    def forward(self, x: Tensor) -> Tensor:
        """Runs the block."""
        y = F.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        return F.relu(y + (x if self.downsample is None else self.downsample(x)))


class ChannelGate(nn.Module):
    """Gates channels by their means and their maxima."""

    def __init__(self, width: int) -> None:
        super().__init__()
        hidden = width // 16
        self.mlp = nn.Sequential(
            nn.Flatten(), nn.Linear(width, hidden), nn.ReLU(), nn.Linear(hidden, width)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Runs the gate."""
        opened = self.mlp(x.mean((2, 3))) + self.mlp(x.amax((2, 3)))
        return x * torch.sigmoid(opened)[:, :, None, None]


class Spatial(nn.Module):
    """One map of maxima and means."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 1, 7, padding=3)

    def forward(self, x: Tensor) -> Tensor:
        """Runs the convolution."""
        return self.conv(torch.stack([x.amax(1), x.mean(1)], dim=1))


class SpatialGate(nn.Module):
    """Gates cells."""

    def __init__(self) -> None:
        super().__init__()
        self.spatial = Spatial()

    def forward(self, x: Tensor) -> Tensor:
        """Runs the gate."""
        return x * torch.sigmoid(self.spatial(x))


class Attention(nn.Module):
    """CBAM."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.ChannelGate, self.SpatialGate = ChannelGate(width), SpatialGate()

    def forward(self, x: Tensor) -> Tensor:
        """Runs both gates."""
        return self.SpatialGate(self.ChannelGate(x))


class Fuser(nn.Module):
    """Joins the value encoder's and the key encoder's features."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.block1 = ResBlock(channels, width)
        self.attention = Attention(width)
        self.block2 = ResBlock(width, width)

    def forward(self, x: Tensor, f16: Tensor) -> Tensor:
        """Runs the fusion."""
        x = self.block1(torch.cat([x, f16], dim=1))
        return self.block2(x + self.attention(x))


class ValueEncoder(nn.Module):
    """ResNet-18 to its third stage on image, mask and the others' masks."""

    def __init__(self, width: int, f16: int, value: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(5, width, 7, 2, 3)
        self.bn1 = nn.BatchNorm2d(width)
        widths = (width, width, 2 * width, 4 * width)
        self.layer1, self.layer2, self.layer3 = (
            nn.Sequential(BasicBlock(before, after, step), BasicBlock(after, after, 1))
            for before, after, step in zip(widths, widths[1:], (1, 2, 2), strict=False)
        )
        self.fuser = Fuser(4 * width + f16, value)

    def forward(self, image: Tensor, f16: Tensor, masks: Tensor) -> Tensor:
        """`[O, Cv, h, w]` of one image and masks `[O, H, W]`."""
        count = len(masks)
        others = masks.sum(0, keepdim=True) - masks
        images = image.expand(count, -1, -1, -1)
        x = torch.cat([images, masks[:, None], others[:, None]], dim=1)
        x = F.max_pool2d(F.relu(self.bn1(self.conv1(x))), 3, 2, 1)
        x = self.layer3(self.layer2(self.layer1(x)))
        return self.fuser(x, f16.expand(count, -1, -1, -1))


class KeyProjection(nn.Module):
    """The key's head."""

    def __init__(self, channels: int, key: int) -> None:
        super().__init__()
        self.key_proj = nn.Conv2d(channels, key, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Runs it."""
        return self.key_proj(x)


class Upsample(nn.Module):
    """Merges a skip feature, the same for all objects, into a coarser map."""

    def __init__(self, skip: int, coarse: int, width: int) -> None:
        super().__init__()
        self.skip_conv = nn.Conv2d(skip, coarse, 3, padding=1)
        self.out_conv = ResBlock(coarse, width)

    def forward(self, skip: Tensor, coarse: Tensor) -> Tensor:
        """Runs the block."""
        return self.out_conv(self.skip_conv(skip) + enlarge(coarse, 2))


class Decoder(nn.Module):
    """From what was read and the query's own features to logits."""

    def __init__(
        self, channels: int, skips: tuple[int, int], widths: tuple[int, int, int]
    ) -> None:
        super().__init__()
        self.compress = ResBlock(channels, widths[0])
        self.up_16_8 = Upsample(skips[0], widths[0], widths[1])
        self.up_8_4 = Upsample(skips[1], widths[1], widths[2])
        self.pred = nn.Conv2d(widths[2], 1, 3, padding=1)

    def forward(self, x: Tensor, f8: Tensor, f4: Tensor) -> Tensor:
        """`[O, H, W]`."""
        x = self.up_8_4(f4, self.up_16_8(f8, self.compress(x)))
        return enlarge(self.pred(F.relu(x)), 4)[:, 0]


# SAM


class NonLocal(nn.Module):
    """Relations of all cells of both frames, without a softmax."""

    def __init__(self, width: int) -> None:
        super().__init__()
        half = width // 2
        self.theta = nn.Conv3d(width, half, 1)
        self.phi = nn.Sequential(nn.Conv3d(width, half, 1), nn.MaxPool3d((1, 2, 2)))
        self.g = nn.Sequential(nn.Conv3d(width, half, 1), nn.MaxPool3d((1, 2, 2)))
        self.W = nn.Conv3d(half, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Runs the block."""
        theta = self.theta(x)
        phi, g = self.phi(x).flatten(2), self.g(x).flatten(2)
        related = theta.flatten(2).transpose(1, 2) @ phi / phi.shape[2]
        found = related @ g.transpose(1, 2)
        return x + self.W(found.transpose(1, 2).reshape(theta.shape))


class Branch(nn.Module):
    """One rate of ASPP; rate 0 is a 1x1 convolution."""

    def __init__(self, width: int, rate: int) -> None:
        super().__init__()
        kernel, padded = ((1, 3, 3), (0, rate, rate)) if rate else ((1, 1, 1), (0,) * 3)
        spread = (1, max(rate, 1), max(rate, 1))
        self.atrous_conv = nn.Conv3d(
            width, width // 4, kernel, padding=padded, dilation=spread, bias=False
        )

    def forward(self, x: Tensor) -> Tensor:
        """Runs it."""
        return F.relu(self.atrous_conv(x))


class ASPP(nn.Module):
    """Context of several sizes."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.aspp1, self.aspp2, self.aspp3, self.aspp4 = (
            Branch(width, rate) for rate in (0, 2, 4, 6)
        )
        self.conv1 = nn.Conv3d(width, width, (1, 3, 3), padding=(0, 1, 1), bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Runs all rates."""
        parts = [self.aspp1(x), self.aspp2(x), self.aspp3(x), self.aspp4(x)]
        return F.relu(self.conv1(torch.cat(parts, dim=1)))


class Relation(nn.Module):
    """SAM's extraction and enhancement; the checkpoint calls it an encoder."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.non_local, self.conv1 = NonLocal(width), ASPP(width)

    def forward(self, x: Tensor) -> Tensor:
        """Runs both."""
        x = self.non_local(x)
        return x + self.conv1(x)


class KeyValue(NamedTuple):
    """What is remembered of a frame: `[1, Ck, h, w]` and `[O, Cv, h, w]`."""

    key: Tensor
    value: Tensor


class SAM(nn.Module):
    """The recurrence of the embeddings."""

    def __init__(self, key: int, value: int) -> None:
        super().__init__()
        self.key_encoder, self.value_encoder = Relation(key), Relation(value)
        across: dict[str, Any] = {"kernel_size": (2, 3, 3), "padding": (0, 1, 1)}
        self.compress_key = nn.Conv3d(key, key, **across)
        self.compress_value = nn.Conv3d(value, value, **across)

    def forward(self, recurrent: KeyValue, new: KeyValue) -> KeyValue:
        """The next recurrent embedding."""
        key, value = (torch.stack(x, dim=2) for x in zip(recurrent, new, strict=True))
        return KeyValue(
            self.compress_key(self.key_encoder(key))[:, :, 0],
            self.compress_value(self.value_encoder(value))[:, :, 0],
        )


# Methods


class Query(NamedTuple):
    """What is known of a frame before its masks."""

    key: Tensor
    thin: Tensor
    f16: Tensor
    f8: Tensor
    f4: Tensor


class TorchSTCN(nn.Module):
    """STCN, with one method per stage of a frame."""

    def __init__(self, config: STCNConfig) -> None:
        super().__init__()
        width = config.backbone.width
        self.key_encoder = KeyEncoder(width)
        self.value_encoder = ValueEncoder(
            config.value_backbone.width, 16 * width, config.value_dim
        )
        self.key_proj = KeyProjection(16 * width, config.key_dim)
        self.key_comp = nn.Conv2d(16 * width, config.value_dim, 3, padding=1)
        skips = 8 * width, 4 * width
        self.decoder = Decoder(2 * config.value_dim, skips, config.decoder_dims)
        self.top_k = config.top_k or 0
        self.every = config.mem_every

    def encode(self, frame: Tensor) -> Query:
        """The frame `[3, H, W]` alone."""
        f16, f8, f4 = self.key_encoder(normalized(frame))
        return Query(self.key_proj(f16), self.key_comp(f16), f16, f8, f4)

    def value(self, frame: Tensor, f16: Tensor, masks: Tensor) -> Tensor:
        """`[O, Cv, h, w]` of the frame and its masks `[O, H, W]`, padded."""
        return self.value_encoder(normalized(frame), f16, masks)

    def read(self, memory: KeyValue, query: Query) -> Tensor:
        """`[O, Cv, h, w]` from keys `[Ck, N]` and values `[O, Cv, N]`."""
        key, asked = memory.key, query.key.flatten(2)[0]
        scores = (2 * asked.T @ key - key.square().sum(0)) / len(key) ** 0.5
        best, cells = scores.topk(min(self.top_k, key.shape[1]), dim=1)
        weights = torch.zeros_like(scores).scatter_(1, cells, best.softmax(dim=1))
        return (memory.value @ weights.T).unflatten(2, query.key.shape[2:])

    def decode(self, read: Tensor, query: Query) -> Tensor:
        """Probabilities `[O+1, H, W]`, padded."""
        own = query.thin.expand(len(read), -1, -1, -1)
        logits = self.decoder(torch.cat([read, own], dim=1), query.f8, query.f4)
        return aggregate(torch.sigmoid(logits))

    def begin(self, first: KeyValue, most: int | None = None) -> "Memory":
        """A memory of the first frame; `most` entries are kept, the newest."""
        return Growing(first, most)


class TorchRDE(TorchSTCN):
    """RDE-VOS."""

    def __init__(self, config: STCNConfig) -> None:
        super().__init__(config)
        self.mem_compress = SAM(config.key_dim, config.value_dim)

    def begin(self, first: KeyValue, most: int | None = None) -> "Memory":
        """A memory of the first frame; it is always as large."""
        return Recurrent(first, self.mem_compress)


PROGRAMS = {"rde": TorchRDE, "stcn": TorchSTCN}


def normalized(frame: Tensor) -> Tensor:
    """A frame as the encoders take it, `[1, 3, H, W]` with the padding."""
    mean, std = (torch.tensor(x)[:, None, None] for x in (IMAGE_MEAN, IMAGE_STD))
    return pad((frame - mean) / std)[None]


class Memory:
    """Entries as the read takes them: `joined` keys `[Ck, N]`, values `[O, Cv, N]`."""

    def __init__(self, first: KeyValue) -> None:
        self.first = first
        self.joined = joined([first])

    def update(self, entry: KeyValue) -> None:
        """Remembers a frame."""
        raise NotImplementedError


class Growing(Memory):
    """STCN's: all entries, or the newest ones beside the first."""

    def __init__(self, first: KeyValue, most: int | None) -> None:
        super().__init__(first)
        self._later: list[KeyValue] = []
        self._most = most

    def update(self, entry: KeyValue) -> None:
        """Appends a frame."""
        self._later.append(entry)
        if self._most is not None:
            self._later = self._later[-(self._most - 1) :]
        self.joined = joined([self.first, *self._later])


class Recurrent(Memory):
    """RDE-VOS's: recurrent embedding, latest frame, and the first one twice."""

    def __init__(self, first: KeyValue, sam: SAM) -> None:
        super().__init__(first)
        self.recurrent, self._sam = first, sam
        self.joined = joined([first, first])

    def update(self, entry: KeyValue) -> None:
        """Aggregates a frame, which becomes the latest."""
        self.recurrent = self._sam(self.recurrent, entry)
        self.joined = joined([self.recurrent, entry, self.first, self.first])


def joined(entries: list[KeyValue]) -> KeyValue:
    """Cells of all entries in one row."""
    key = torch.cat([entry.key[0].flatten(1) for entry in entries], dim=1)
    value = torch.cat([entry.value.flatten(2) for entry in entries], dim=2)
    return KeyValue(key, value)


class TorchVideo:
    """Segments a video frame by frame; every N-th frame is remembered afterwards."""

    def __init__(self, model: TorchSTCN, frame: Tensor, probs: Tensor) -> None:
        self._model, self._time = model, 0
        query = model.encode(frame)
        masks = aggregate(pad(probs[1:]))[1:]
        value = model.value(frame, query.f16, masks)
        self.memory = model.begin(KeyValue(query.key, value))

    def step(self, frame: Tensor) -> Tensor:
        """Probabilities of the next frame."""
        model = self._model
        query = model.encode(frame)
        probs = model.decode(model.read(self.memory.joined, query), query)
        self._time += 1
        if self._time % model.every == 0:
            value = model.value(frame, query.f16, probs[1:])
            self.memory.update(KeyValue(query.key, value))
        return crop(probs, *frame.shape[1:])
