"""Times STM against a straightforward PyTorch program with the same weights.

The PyTorch program is what one writes from the paper: one module per block, batch norm
in eval mode, the objects of a video as the batch of memory encoder, read and decoder,
each object's inputs repeated for it. First both segment a short clip and must agree;
then every stage is timed, one call of either program in turn.

    python benchmarks/stm_vs_torch.py
    python benchmarks/stm_vs_torch.py --size 240 --objects 1 --repeats 5

Needs PyTorch: `pip install 'vos_jax[convert]'`. A stage of ours does not hold exactly
what the same stage of PyTorch's does: the decoder's skip branches, which are the same
for all objects, are in our `encode` and in its `decode`. The whole frame compares like
with like.
"""

import argparse
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import torch
import torch.nn.functional as F
from against_torch import (
    IMAGE_MEAN,
    IMAGE_STD,
    Clip,
    ResBlock,
    Row,
    Stage,
    add_options,
    aggregate,
    alternate,
    check,
    chw,
    copied,
    crop,
    enlarge,
    frame_size,
    given,
    lay_out,
    load_arrays,
    make_clip,
    pad,
    parsed,
    random_variables,
    report,
    stage,
)
from torch import Tensor, nn

import vos_jax
from vos_jax.inference.state import State
from vos_jax.inference.step import start, step_traced
from vos_jax.methods.base import Method
from vos_jax.methods.stm import STMConfig
from vos_jax.methods.weights import export
from vos_jax.nn.resnet import ResNetConfig
from vos_jax.ops.memory_bank import Moment
from vos_jax.ops.read import space_time_read

_EVERY = 5


class Encoder(nn.Module):
    """ResNet-50 to its third stage; with `masks` it sees two more maps."""

    mean: Tensor
    std: Tensor

    def __init__(self, width: int, masks: bool) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, width, 7, 2, 3, bias=False)
        if masks:
            self.conv1_m = nn.Conv2d(1, width, 7, 2, 3, bias=False)
            self.conv1_o = nn.Conv2d(1, width, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.res2 = stage(width, width, 3, 1)
        self.res3 = stage(4 * width, 2 * width, 4, 2)
        self.res4 = stage(8 * width, 4 * width, 6, 2)
        self.register_buffer("mean", torch.tensor(IMAGE_MEAN).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(IMAGE_STD).view(1, 3, 1, 1))

    def forward(self, image: Tensor, *masks: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Features of strides 16, 8 and 4."""
        x = self.conv1((image - self.mean) / self.std)
        if masks:
            x = x + self.conv1_m(masks[0]) + self.conv1_o(masks[1])
        x = F.max_pool2d(F.relu(self.bn1(x)), 3, 2, 1)
        res2 = self.res2(x)
        res3 = self.res3(res2)
        return self.res4(res3), res3, res2


class KeyValue(nn.Module):
    """The two heads."""

    def __init__(self, channels: int, key: int, value: int) -> None:
        super().__init__()
        self.Key = nn.Conv2d(channels, key, 3, padding=1)
        self.Value = nn.Conv2d(channels, value, 3, padding=1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Key and value."""
        return self.Key(x), self.Value(x)


class Refine(nn.Module):
    """Merges a skip feature into a coarser map."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.convFS = nn.Conv2d(channels, width, 3, padding=1)
        self.ResFS = ResBlock(width, width)
        self.ResMM = ResBlock(width, width)

    def forward(self, skip: Tensor, coarse: Tensor) -> Tensor:
        """Runs the block."""
        return self.ResMM(self.ResFS(self.convFS(skip)) + enlarge(coarse, 2))


class Decoder(nn.Module):
    """From what was read to object probabilities on the padded frame."""

    def __init__(self, channels: int, skips: tuple[int, int], width: int) -> None:
        super().__init__()
        self.convFM = nn.Conv2d(channels, width, 3, padding=1)
        self.ResMM = ResBlock(width, width)
        self.RF3 = Refine(skips[0], width)
        self.RF2 = Refine(skips[1], width)
        self.pred2 = nn.Conv2d(width, 2, 3, padding=1)

    def forward(self, read: Tensor, res3: Tensor, res2: Tensor) -> Tensor:
        """`[O, H, W]`."""
        x = self.RF3(res3, self.ResMM(self.convFM(read)))
        x = self.pred2(F.relu(self.RF2(res2, x)))
        return torch.softmax(enlarge(x, 4), dim=1)[:, 1]


class TorchSTM(nn.Module):
    """The network, with one method per stage of a frame."""

    def __init__(self, config: STMConfig) -> None:
        super().__init__()
        width = config.backbone.width
        self.Encoder_M, self.Encoder_Q = Encoder(width, True), Encoder(width, False)
        heads = 16 * width, config.key_dim, config.value_dim
        self.KV_M_r4, self.KV_Q_r4 = KeyValue(*heads), KeyValue(*heads)
        skips = 8 * width, 4 * width
        self.Decoder = Decoder(2 * config.value_dim, skips, config.decoder_dim)

    def memorize(self, frame: Tensor, probs: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values `[O, C, 1, h, w]` of a frame and its masks `[O+1, H, W]`."""
        masks = pad(probs[1:])
        others = (masks.sum(0, keepdim=True) - masks).clamp(0, 1)
        frames = pad(frame)[None].expand(len(masks), -1, -1, -1)
        res4, _, _ = self.Encoder_M(frames, masks[:, None], others[:, None])
        key, value = self.KV_M_r4(res4)
        return key[:, :, None], value[:, :, None]

    def encode(self, frame: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Query key, query value and the two skip features."""
        res4, res3, res2 = self.Encoder_Q(pad(frame)[None])
        return *self.KV_Q_r4(res4), res3, res2

    def read(self, memory: tuple[Tensor, Tensor], query: tuple[Tensor, ...]) -> Tensor:
        """`[O, 2 Cv, h, w]`, retrieved values before the query's own."""
        key, value = memory
        count, channels = key.shape[:2]
        query_key = query[0].expand(count, -1, -1, -1).flatten(2)
        scores = torch.bmm(key.flatten(2).transpose(1, 2), query_key) / channels**0.5
        weights = torch.softmax(scores, dim=1)
        retrieved = torch.bmm(value.flatten(2), weights)
        own = query[1].expand(count, -1, -1, -1)
        return torch.cat([retrieved.view_as(own), own], dim=1)

    def decode(
        self, read: Tensor, query: tuple[Tensor, ...], size: tuple[int, int]
    ) -> Tensor:
        """Probabilities `[O+1, H, W]`."""
        res3, res2 = (x.expand(len(read), -1, -1, -1) for x in query[2:])
        objects = self.Decoder(read, res3, res2)
        return crop(aggregate(objects), *size)


class TorchVideo:
    """Segments a video frame by frame, with STM's memory of every fifth frame."""

    def __init__(self, model: TorchSTM, frame: Tensor, probs: Tensor) -> None:
        self._model, self._frame, self._probs = model, frame, probs
        self._stored: tuple[Tensor, Tensor] | None = None
        self._time = 0

    def step(self, frame: Tensor) -> Tensor:
        """Probabilities of the next frame."""
        model = self._model
        memory = model.memorize(self._frame, self._probs)
        if self._stored is not None:
            memory = appended(self._stored, memory)
        query = model.encode(frame)
        read = model.read(memory, query)
        size = (frame.shape[-2], frame.shape[-1])
        probs = model.decode(read, query, size)
        if self._time % _EVERY == 0:
            self._stored = memory
        self._frame, self._probs = frame, probs
        self._time += 1
        return probs


def appended(
    stored: tuple[Tensor, Tensor], latest: tuple[Tensor, Tensor]
) -> tuple[Tensor, Tensor]:
    """Both memories along time."""
    key, value = (torch.cat(pair, 2) for pair in zip(stored, latest, strict=True))
    return key, value


def torch_model(method: Method, variables: Any) -> TorchSTM:
    """The PyTorch program with the same weights under their published names."""
    model = TorchSTM(method.config).eval()
    load_arrays(model, export("stm", method, variables), fixed=("mean", "std"))
    return model


def stages(
    method: Method, variables: Any, model: TorchSTM, clip: Clip, count: int
) -> dict[str, Stage]:
    """Each stage as a pair of calls, ours first; the read is over `count` frames."""
    objects = len(clip.masks)
    state = filled_state(method, variables, clip, count)
    frame = jnp.asarray(clip.frames[1])
    encode = jax.jit(partial(_encode, method))
    memorize = jax.jit(partial(_memorize, method), donate_argnums=1)
    segment = jax.jit(partial(_segment, method))
    read = jax.jit(partial(_read, method))
    step = jax.jit(partial(step_traced, method), donate_argnums=1)
    query = encode(variables, frame)
    memory = memorize(variables, copied(state.memory), state)
    held = {"memory": copied(state.memory), "state": copied(state)}

    def our_memorize() -> Any:
        held["memory"] = memorize(variables, held["memory"], state)
        return held["memory"]

    def our_step() -> Any:
        # Time stands still: every call replaces the same previous frame.
        after, out = step(variables, held["state"], frame)
        held["state"] = after._replace(time=jnp.int32(1))
        return out

    torch_frame, probs = chw(clip.frames[1]), given(clip.masks)
    torch_query = model.encode(torch_frame)
    stored = stored_memory(model, torch_frame, probs, count - 1)
    torch_memory = appended(stored, model.memorize(torch_frame, probs))
    torch_read = model.read(torch_memory, torch_query)
    size = clip.frames.shape[1], clip.frames.shape[2]

    def torch_step() -> Any:
        latest = model.memorize(torch_frame, probs)
        memory = appended(stored, latest)
        query = model.encode(torch_frame)
        return model.decode(model.read(memory, query), query, size)

    assert objects == len(torch_read)
    return {
        "memorize": Stage(our_memorize, lambda: model.memorize(torch_frame, probs)),
        "encode": Stage(
            lambda: encode(variables, frame),
            lambda: model.encode(torch_frame),
        ),
        "read": Stage(
            lambda: read(memory, query),
            lambda: model.read(torch_memory, torch_query),
        ),
        "read and decode": Stage(
            lambda: segment(variables, memory, query, state),
            lambda: model.decode(
                model.read(torch_memory, torch_query), torch_query, size
            ),
        ),
        "frame": Stage(our_step, torch_step),
    }


def filled_state(method: Method, variables: Any, clip: Clip, count: int) -> State:
    """A state with `count - 1` frames in its memory; the step adds the last one."""
    frames = _EVERY * (count - 2) + 1
    state = start(method, variables, clip.frames[0], clip.masks, frames=frames)
    memorize = jax.jit(partial(_memorize, method))
    for index in range(count - 1):
        state = state._replace(
            memory=memorize(variables, state.memory, state),
            first=jnp.zeros_like(state.first),
            time=jnp.int32(_EVERY * (index + 1)),
        )
    return state._replace(time=jnp.int32(1))


def stored_memory(
    model: TorchSTM, frame: Tensor, probs: Tensor, count: int
) -> tuple[Tensor, Tensor]:
    """PyTorch's memory of `count` frames."""
    key, value = model.memorize(frame, probs)
    return key.repeat(1, 1, count, 1, 1), value.repeat(1, 1, count, 1, 1)


def _encode(method: Method, variables: Any, frame: Any) -> Any:
    return method.apply(variables, frame, method="encode").query  # type: ignore[union-attr]


def _memorize(method: Method, variables: Any, memory: Any, state: State) -> Any:
    moment = Moment(state.time, state.active, state.first, state.corrected)
    arguments = memory, state.frame, state.keep, state.probs, moment
    return method.apply(variables, *arguments, method="memorize")


def _read(method: Method, memory: Any, query: Any) -> Any:
    entries, config = memory.bank.entries, method.config
    return space_time_read(
        query.key,
        entries.key,
        entries.value,
        memory.bank.filled,
        implementation=config.read,
        precision=config.precision,
    )


def _segment(
    method: Method, variables: Any, memory: Any, query: Any, state: State
) -> Any:
    logits, _ = method.apply(
        variables, memory, query, state.frame, state.active, method="segment"
    )
    return jax.nn.softmax(logits, axis=0)


def main() -> None:
    """Checks, times, prints."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    add_options(parser)
    args = parsed(parser)
    method = vos_jax.create("stm", backbone=ResNetConfig(width=args.width))
    variables = random_variables(method)
    model = torch_model(method, variables)
    lay_out(model, args)
    method, variables = vos_jax.inference_form(method, variables)
    begin = partial(TorchVideo, model)
    rows: list[Row] = []
    with torch.inference_mode():
        for objects in args.objects:
            clip = make_clip(*frame_size(args), objects, 4)
            check(method, variables, begin, clip)
            timed = stages(method, variables, model, clip, args.frames)
            rows += alternate(timed, objects, args.repeats)
    report(args, "stm_vs_torch", rows, args.frames)


if __name__ == "__main__":
    main()
