"""HMMN as one writes it in PyTorch from the paper and the checkpoint.

Where the two differ, scores, kernels and their centres are the released program's.
Parameters have the names of the released checkpoint; a video's objects are a batch.

Letters: `O` objects, `T` frames in the memory, `h w` the grid of stride 16, `q = h * w`
its cells row by row, `M = T * q` the memory's, frame by frame.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from against_torch import ResBlock, aggregate, crop, enlarge, pad
from stm_vs_torch import Encoder, KeyValue
from torch import Tensor, nn

from vos_jax.methods.hmmn.config import HMMNConfig


class Key(nn.Module):
    """A query's key where it has no value."""

    def __init__(self, channels: int, key: int) -> None:
        super().__init__()
        self.Key = nn.Conv2d(channels, key, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Runs the convolution."""
        return self.Key(x)


class Refine(nn.Module):
    """Merges a skip feature and what was read at its stride into a coarser map."""

    def __init__(self, channels: int, value: int, width: int) -> None:
        super().__init__()
        self.convFS = nn.Conv2d(channels, width, 3, padding=1)
        self.convMemory = nn.Conv2d(value, width, 3, padding=1, bias=False)
        self.ResFS = ResBlock(width, width)
        self.ResMM = ResBlock(width, width)

    def forward(self, skip: Tensor, read: Tensor, coarse: Tensor) -> Tensor:
        """Runs the block; the skip is the same for all objects."""
        x = self.ResFS(self.convFS(skip) + self.convMemory(read))
        return self.ResMM(x + enlarge(coarse, 2))


class Decoder(nn.Module):
    """From what was read to object probabilities on the padded frame."""

    def __init__(
        self,
        channels: int,
        skips: tuple[int, int],
        values: tuple[int, int],
        width: int,
    ) -> None:
        super().__init__()
        self.convFM = nn.Conv2d(channels, width, 3, padding=1)
        self.ResMM = ResBlock(width, width)
        self.RF3 = Refine(skips[0], values[0], width)
        self.RF2 = Refine(skips[1], values[1], width)
        self.pred2 = nn.Conv2d(width, 2, 3, padding=1)

    def forward(self, read: "Read", res3: Tensor, res2: Tensor) -> Tensor:
        """`[O, H, W]`."""
        x = self.ResMM(self.convFM(read.coarse))
        x = self.RF3(res3, read.read3, x)
        x = self.pred2(F.relu(self.RF2(res2, read.read2, x)))
        return torch.softmax(enlarge(x, 4), dim=1)[:, 1]


class Entries(NamedTuple):
    """Keys and values `[O, C, T, rows, columns]` at one stride, in order of time."""

    key: Tensor
    value: Tensor


class Memory(NamedTuple):
    """What is remembered.

    Attributes:
      coarse: Frames at stride 16; the last one is the previous frame.
      track: `[O, T, q]`: the cell of the latest segmented frame where each cell is.
      fine3: At stride 8, of the first and the previous frame only.
      fine2: The same at stride 4.
    """

    coarse: Entries
    track: Tensor
    fine3: Entries
    fine2: Entries


class Query(NamedTuple):
    """What is known of a frame before its masks."""

    key: Tensor
    value: Tensor
    key3: Tensor
    key2: Tensor
    res3: Tensor
    res2: Tensor


class Guided(NamedTuple):
    """What the read of stride 16 gives.

    Attributes:
      coarse: `[O, 2 Cv, h, w]`, retrieved values before the query's own.
      weights: `[O, q, M]`.
      track: The memory's, which ends in this frame.
      centre: `[O, T, q]`: the middle of each memory cell's kernel.
      best: `[O, q, k]`: cells of the first and the previous frame, the best first.
    """

    coarse: Tensor
    weights: Tensor
    track: Tensor
    centre: Tensor
    best: Tensor


class Read(NamedTuple):
    """What the decoder takes of all strides."""

    coarse: Tensor
    read3: Tensor
    read2: Tensor


class TorchHMMN(nn.Module):
    """The network, with one method per stage of a frame."""

    def __init__(self, config: HMMNConfig) -> None:
        super().__init__()
        self.config = config
        width = config.backbone.width
        self.Encoder_M, self.Encoder_Q = Encoder(width, True), Encoder(width, False)
        heads = 16 * width, config.key_dim, config.value_dim
        self.KV_M_r4, self.KV_Q_r4 = KeyValue(*heads), KeyValue(*heads)
        skips, values = (8 * width, 4 * width), config.fine_value_dims
        query3, query2 = zip(skips, config.fine_key_dims, strict=True)
        self.KV_M_r3, self.KV_Q_r3 = KeyValue(*query3, values[0]), Key(*query3)
        self.KV_M_r2, self.KV_Q_r2 = KeyValue(*query2, values[1]), Key(*query2)
        self.Decoder = Decoder(2 * config.value_dim, skips, values, config.decoder_dim)

    def memorize(self, frame: Tensor, probs: Tensor) -> Memory:
        """One frame and its masks `[O+1, H, W]` as a memory."""
        masks = pad(probs[1:])
        others = (masks.sum(0, keepdim=True) - masks).clamp(0, 1)
        frames = pad(frame)[None].expand(len(masks), -1, -1, -1)
        res4, res3, res2 = self.Encoder_M(frames, masks[:, None], others[:, None])
        cells = torch.arange(res4.shape[2] * res4.shape[3])
        return Memory(
            _entries(self.KV_M_r4(res4)),
            cells.expand(len(masks), 1, -1),
            _entries(self.KV_M_r3(res3)),
            _entries(self.KV_M_r2(res2)),
        )

    def encode(self, frame: Tensor) -> Query:
        """The frame `[3, H, W]` alone."""
        res4, res3, res2 = self.Encoder_Q(pad(frame)[None])
        key, value = self.KV_Q_r4(res4)
        return Query(key, value, self.KV_Q_r3(res3), self.KV_Q_r2(res2), res3, res2)

    def guide(self, memory: Memory, query: Query) -> Guided:
        """Follows the memory's cells into the frame and reads near where they are."""
        config, (height, width) = self.config, query.key.shape[2:]
        key, value = memory.coarse
        asked = query.key.flatten(2).transpose(1, 2)
        scores = asked @ key.flatten(2) / key.shape[1] ** 0.5
        hop = matched(scores[..., -height * width :], (height, width), config.window)
        track = followed(memory.track, hop)
        # The released program takes the last hop of the older frames' cells twice.
        centre = torch.cat([followed(track[:, :-1], hop), track[:, -1:]], dim=1)
        weights = scores.softmax(dim=2)
        weights *= gaussians(centre, (height, width), config.sigma, config.sigma_step)
        weights /= weights.sum(2, keepdim=True)
        retrieved = weights @ value.flatten(2).transpose(1, 2)
        retrieved = retrieved.transpose(1, 2).unflatten(2, (height, width))
        own = query.value.expand(len(retrieved), -1, -1, -1)
        coarse = torch.cat([retrieved, own], dim=1)
        best = self.candidates(weights, height * width)
        return Guided(coarse, weights, track, centre, best)

    def candidates(self, weights: Tensor, cells: int) -> Tensor:
        """`[O, q, k]` of the first and the previous frame, which may be the same."""
        if weights.shape[2] > cells:
            weights = torch.cat([weights[..., :cells], weights[..., -cells:]], dim=2)
        return weights.topk(self.config.k, dim=2).indices

    def read3(self, memory: Memory, query: Query, best: Tensor) -> Tensor:
        """`[O, Dv, 2h, 2w]`."""
        return fine_read(memory.fine3, query.key3, best)

    def read2(self, memory: Memory, query: Query, best: Tensor) -> Tensor:
        """`[O, Dv, 4h, 4w]`, of a quarter of the candidates."""
        return fine_read(memory.fine2, query.key2, best[..., : self.config.k // 4])

    def decode(self, read: Read, query: Query, size: tuple[int, int]) -> Tensor:
        """Probabilities `[O+1, H, W]`."""
        return crop(aggregate(self.Decoder(read, query.res3, query.res2)), *size)

    def segment(
        self, memory: Memory, frame: Tensor, size: tuple[int, int]
    ) -> tuple[Tensor, Tensor]:
        """Probabilities of a frame, and the tracks that end in it."""
        query = self.encode(frame)
        guided = self.guide(memory, query)
        read = Read(
            guided.coarse,
            self.read3(memory, query, guided.best),
            self.read2(memory, query, guided.best),
        )
        return self.decode(read, query, size), guided.track


def _entries(heads: tuple[Tensor, Tensor]) -> Entries:
    """One frame's key and value."""
    return Entries(*(x[:, :, None] for x in heads))


# The coarse read


def matched(scores: Tensor, grid: tuple[int, int], window: int) -> Tensor:
    """`[O, q]`: where each cell of the previous frame is best matched near its place.

    Args:
      scores: `[O, q, q]`, those cells last.
      grid: Rows and columns.
      window: Side of the window.
    """
    rows, columns = (torch.arange(size) for size in grid)
    near_row, near_column = (
        (x[:, None] - x).abs() <= window // 2 for x in (rows, columns)
    )
    near = near_row[:, None, :, None] & near_column[None, :, None]
    near = near.reshape(scores.shape[1:])
    return scores.masked_fill(~near, -torch.inf).argmax(dim=1)


def followed(track: Tensor, hop: Tensor) -> Tensor:
    """Tracks `[O, T, q]` with one hop more."""
    return hop.gather(1, track.flatten(1)).view_as(track)


def gaussians(
    centre: Tensor, grid: tuple[int, int], sigma: float, step: float
) -> Tensor:
    """`[O, q, M]`: the kernel of every memory cell, 1 in its middle."""
    height, width = grid
    age = torch.arange(centre.shape[1] - 1, -1, -1)
    spread = (sigma + step * age)[None, :, None].expand_as(centre).flatten(1)

    def along(size: int, middle: Tensor) -> Tensor:
        distance = torch.arange(size)[:, None] - middle.flatten(1)[:, None]
        return torch.exp(-distance.square() / (2 * spread.square())[:, None])

    down, right = along(height, centre // width), along(width, centre % width)
    return (down[:, :, None] * right[:, None]).flatten(1, 2)


# The fine reads


def fine_read(memory: Entries, query: Tensor, best: Tensor) -> Tensor:
    """Reads the cells of stride 8 or 4 that the best ones of stride 16 cover."""
    ratio = round((query.shape[2] * query.shape[3] / best.shape[1]) ** 0.5)
    key, value = (chosen(blocks(x, ratio), best) for x in memory)
    asked = blocks(query[:, :, None], ratio)
    scores = asked @ key.transpose(2, 3) / query.shape[1] ** 0.5
    read = scores.softmax(dim=3) @ value
    height, width = query.shape[2] // ratio, query.shape[3] // ratio
    read = read.unflatten(2, (ratio, ratio)).unflatten(1, (height, width))
    return read.permute(0, 5, 1, 3, 2, 4).flatten(4, 5).flatten(2, 3)


def blocks(x: Tensor, ratio: int) -> Tensor:
    """`[O, C, T, ratio * h, ratio * w]` as `[O, M, ratio^2, C]`."""
    x = x.unflatten(4, (-1, ratio)).unflatten(3, (-1, ratio))
    x = x.permute(0, 2, 3, 5, 4, 6, 1)
    return x.flatten(4, 5).flatten(1, 3)


def chosen(x: Tensor, best: Tensor) -> Tensor:
    """Blocks of the candidates, `[O, q, k * ratio^2, C]`."""
    objects = torch.arange(len(best))[:, None, None]
    return x[objects, best].flatten(2, 3)


# Videos


class TorchVideo:
    """Segments a video frame by frame, with a memory of every N-th frame."""

    def __init__(self, model: TorchHMMN, frame: Tensor, probs: Tensor) -> None:
        self._model, self._frame, self._probs = model, frame, probs
        self._every = model.config.mem_every or float("inf")
        self._stored: Memory | None = None
        self._time = 0

    def step(self, frame: Tensor) -> Tensor:
        """Probabilities of the next frame."""
        model, stored = self._model, self._stored
        latest = model.memorize(self._frame, self._probs)
        memory = latest if stored is None else appended(stored, latest)
        size = (frame.shape[-2], frame.shape[-1])
        probs, track = model.segment(memory, frame, size)
        if stored is None or self._time % self._every == 0:
            self._stored = kept(stored, memory, track)
        else:
            self._stored = stored._replace(track=track[:, :-1])
        self._frame, self._probs = frame, probs
        self._time += 1
        return probs


def appended(stored: Memory, latest: Memory) -> Memory:
    """Both memories along time."""

    def joined(before: Entries, after: Entries) -> Entries:
        pairs = zip(before, after, strict=True)
        return Entries(*(torch.cat(pair, dim=2) for pair in pairs))

    return Memory(
        joined(stored.coarse, latest.coarse),
        torch.cat([stored.track, latest.track], dim=1),
        joined(stored.fine3, latest.fine3),
        joined(stored.fine2, latest.fine2),
    )


def kept(stored: Memory | None, memory: Memory, track: Tensor) -> Memory:
    """What later frames' memories begin with: all of one, but fine the first frame.

    Args:
      stored: What `memory` began with.
      memory: Whose last frame stays, too.
      track: Where its cells are now.
    """
    first = memory if stored is None else stored
    return Memory(memory.coarse, track, first.fine3, first.fine2)
