"""Times RDE-VOS or STCN against a straightforward PyTorch program, same weights.

The PyTorch program is what one writes from the paper and the names of the released
checkpoint: one module per block, batch norm in eval mode, the objects of a video as the
batch of value encoder, SAM, read and decoder, 3-D convolutions in SAM, and a dense
affinity of all slots, the first frame twice among them. First both segment a short clip
and must agree; then every stage is timed, one call of either program in turn.

    python benchmarks/rde_vs_torch.py
    python benchmarks/rde_vs_torch.py --method stcn --size 240 --objects 1 --repeats 5

`--agree` compares labels instead, and by the way that users go: the PyTorch program's
state dict becomes a .pth, `vos-jax convert` and `vos-jax segment` do the rest. The
checkpoint may be one's own.

    python benchmarks/rde_vs_torch.py --agree
    python benchmarks/rde_vs_torch.py --agree --weights RDE.pth

Needs PyTorch: `pip install 'vos_jax[convert]'`. A stage of ours does not hold exactly
what the same stage of PyTorch's does: the decoder's skip convolutions are in our
`encode` and in its `decode`. A frame is the mean of as many as there are from one
update of the memory to the next, so it has its share of `value` and `aggregate`.
"""

import argparse
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import torch
from against_torch import (
    Clip,
    Limits,
    Row,
    Stage,
    add_label_options,
    add_options,
    aggregate,
    alternate,
    check,
    chw,
    compare_labels,
    copied,
    crop,
    given,
    lay_out,
    load_arrays,
    load_checkpoint,
    memorized,
    pad,
    parsed,
    random_variables,
    report,
    textured,
)
from torch_rde import PROGRAMS, KeyValue, TorchRDE, TorchSTCN, TorchVideo

import vos_jax
from vos_jax.inference.state import State
from vos_jax.inference.step import start, step_traced
from vos_jax.methods.base import Method
from vos_jax.methods.weights import export
from vos_jax.nn.resnet import ResNetConfig
from vos_jax.ops.padding import crop as our_crop
from vos_jax.ops.soft_aggregation import soft_aggregate

# Where the k-th and the next cell are equally similar but for rounding, each program
# may read another, which moves a few pixels by some 1e-3.
_LIMITS = Limits(most=1e-2, mean=1e-4)

# The first with which every label covers more than 8 % of every frame of RDE-VOS.
_SEED = 5


# Weights

_DAMPED = {"extract/out": 0.003, "enhance/merge": 0.1, "squeeze": 0.1}
_OLD, _NEW = 0.3, 0.7


def damped(variables: Any) -> Any:
    """Weights in which SAM's result is near a mean of both embeddings.

    SAM is cubic in its input: with plain random weights the recurrent embedding is soon
    so far away that nothing of it is read. So what is random in it is scaled down, and
    a mean of the old and the new embedding, cell by cell, is added to the last layer.
    """

    def change(path: Any, leaf: Any) -> Any:
        name = "/".join(key.key for key in path)
        if "_aggregation/" not in name or not name.endswith("kernel"):
            return leaf
        for part, scale in _DAMPED.items():
            if f"{part}/kernel" in name:
                leaf = scale * leaf
        if name.endswith("squeeze/kernel"):
            same = jnp.eye(leaf.shape[-1])
            leaf = leaf.at[0, 1, 1].add(_OLD * same).at[1, 1, 1].add(_NEW * same)
        return leaf

    return jax.tree_util.tree_map_with_path(change, variables)


def torch_model(name: str, method: Method, variables: Any) -> TorchSTCN:
    """The PyTorch program with the same weights under their published names."""
    model = PROGRAMS[name](method.config).eval()
    load_arrays(model, export(name, method, variables))
    return model


# Timing


def stages(
    method: Method, variables: Any, model: TorchSTCN, clip: Clip, count: int
) -> dict[str, Stage]:
    """Each stage as a pair of calls, ours first; the read is over `count` frames."""
    ours = _our_calls(method, variables, clip, count)
    theirs = _torch_calls(model, clip, count)
    frames = {"frame": method.config.mem_every}
    return {
        name: Stage(ours[name], theirs[name], frames.get(name, 1))
        for name in ("encode", "value", "aggregate", "read", "decode", "frame")
        if name in ours
    }


def _our_calls(
    method: Method, variables: Any, clip: Clip, count: int
) -> dict[str, Callable[[], Any]]:
    every = method.config.mem_every
    state = filled_state(method, variables, clip, count)
    frame = jnp.asarray(clip.frames[1])

    def stage_of(name: str) -> Callable[..., Any]:
        return jax.jit(partial(method.apply, method=name))

    encode, value = stage_of("encode"), stage_of("encode_value")
    aggregation, read = stage_of("aggregate"), stage_of("read")
    decode = jax.jit(partial(_decode, method))
    step = jax.jit(partial(step_traced, method), donate_argnums=1)
    query, kept = encode(variables, frame)
    masks = state.memory.masks
    entry = value(variables, frame, kept, masks)
    readout = read(variables, state.memory, query, state.active)
    held = {"state": copied(state)}

    def frames() -> Any:
        for _ in range(every):
            held["state"], out = step(variables, held["state"], frame)
        return out

    calls: dict[str, Callable[[], Any]] = {
        "encode": lambda: encode(variables, frame),
        "value": lambda: value(variables, frame, kept, masks),
        "read": lambda: read(variables, state.memory, query, state.active),
        "decode": lambda: decode(variables, readout, query, state),
        "frame": frames,
    }
    if hasattr(method, "aggregate"):
        calls["aggregate"] = lambda: aggregation(variables, entry, entry)
    return calls


def filled_state(method: Method, variables: Any, clip: Clip, count: int) -> State:
    """A state after `count` frames were remembered, the latest one just now."""
    every = method.config.mem_every
    length = every * (count - 1) + 1
    state = start(method, variables, clip.frames[0], clip.masks, frames=length)
    memorize = jax.jit(partial(memorized, method))
    for index in range(count):
        state = state._replace(time=jnp.int32(every * index))
        memory = memorize(variables, state.memory, state)
        state = state._replace(memory=memory, first=jnp.zeros_like(state.first))
    return state


def _decode(method: Method, variables: Any, read: Any, query: Any, state: State) -> Any:
    objects = method.apply(variables, read, query, method="decode")
    probs = jax.nn.softmax(soft_aggregate(objects, state.active), axis=0)  # type: ignore[arg-type]
    height, width, _ = state.frame.shape
    return our_crop(probs[..., None], height, width)


def _torch_calls(
    model: TorchSTCN, clip: Clip, count: int
) -> dict[str, Callable[[], Any]]:
    frame, size = chw(clip.frames[1]), clip.frames.shape[1:3]
    query = model.encode(frame)
    masks = aggregate(pad(given(clip.masks)[1:]))[1:]
    entry = KeyValue(query.key, model.value(frame, query.f16, masks))
    memory = model.begin(entry, count)
    for _ in range(count - 1):
        memory.update(entry)
    readout = model.read(memory.joined, query)

    def frames() -> Any:
        for _ in range(model.every):
            seen = model.encode(frame)
            probs = model.decode(model.read(memory.joined, seen), seen)
            cropped = crop(probs, *size)
        value = model.value(frame, seen.f16, probs[1:])
        memory.update(KeyValue(seen.key, value))
        return cropped

    calls: dict[str, Callable[[], Any]] = {
        "encode": lambda: model.encode(frame),
        "value": lambda: model.value(frame, query.f16, masks),
        "read": lambda: model.read(memory.joined, query),
        "decode": lambda: crop(model.decode(readout, query), *size),
        "frame": frames,
    }
    if isinstance(model, TorchRDE):
        calls["aggregate"] = lambda: model.mem_compress(entry, entry)
    return calls


# The command line


def build(name: str, width: int, **options: Any) -> Method:
    """The method, with ResNets of that width."""
    backbones = {
        "backbone": ResNetConfig(width=width),
        "value_backbone": ResNetConfig(depth=18, width=width),
    }
    return vos_jax.create(name, **backbones, **options)


def agreement(args: argparse.Namespace) -> None:
    """`--agree`."""
    method = vos_jax.create(args.method)
    if args.weights is None:
        variables = damped(random_variables(method, args.seed))
        model = torch_model(args.method, method, variables)
    else:
        model = PROGRAMS[args.method](method.config).eval()
        load_checkpoint(model, args.weights)
    config = method.config
    settings = ("--mem-every", str(config.mem_every), "--top-k", str(config.top_k))
    compare_labels(args, args.method, settings, model, partial(TorchVideo, model))


def compare_times(args: argparse.Namespace) -> None:
    """Checks, times, prints."""
    # RDE-VOS reads four slots, of which its own memory holds the first frame once.
    count = 4 if args.method == "rde" else args.frames
    rows: list[Row] = []
    with torch.inference_mode():
        for objects in args.objects:
            rows += _timed(args, objects, count)
    report(args, f"{args.method}_vs_torch", rows, count)


def _timed(args: argparse.Namespace, objects: int, count: int) -> list[Row]:
    name = args.method
    # Of STCN's slots one is never used; the others are full throughout the timing.
    options = {} if name == "rde" else {"mem_capacity": count + 1}
    method = build(name, args.width, **options)
    variables = damped(random_variables(method, args.seed))
    model = torch_model(name, method, variables)
    lay_out(model, args)
    method, variables = vos_jax.inference_form(method, variables)
    clip = textured(args, objects, 2 * method.config.mem_every + 2)
    check(method, variables, partial(TorchVideo, model), clip, _LIMITS)
    timed = stages(method, variables, model, clip, count)
    return alternate(timed, objects, args.repeats)


def main() -> None:
    """Compares times or labels."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--method", choices=sorted(PROGRAMS), default="rde")
    add_options(parser)
    add_label_options(parser, _SEED)
    args = parsed(parser)
    if args.agree:
        agreement(args)
    else:
        compare_times(args)


if __name__ == "__main__":
    main()
