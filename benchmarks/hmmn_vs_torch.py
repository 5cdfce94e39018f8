"""Times HMMN against a straightforward PyTorch program with the same weights.

The PyTorch program is what one writes from the paper and the released checkpoint: one
module per block, batch norm in eval mode, the objects of a video as a batch, a dense
affinity at stride 16 that is multiplied with its kernels, top-k over the first and the
previous frame, and all candidates gathered at once. First both segment a short clip and
must agree; then every stage is timed, one call of either program in turn.

    python benchmarks/hmmn_vs_torch.py
    python benchmarks/hmmn_vs_torch.py --size 240 --objects 1 --frames 3 --repeats 5

`--agree` compares labels instead, and by the way that users go: the PyTorch program's
state dict becomes a .pth, `vos-jax convert` and `vos-jax segment` do the rest. The
checkpoint may be one's own.

    python benchmarks/hmmn_vs_torch.py --agree
    python benchmarks/hmmn_vs_torch.py --agree --weights HMMN.pth

`--memory` compares the most memory that either takes for a video which ends with so
many frames in the memory, each program in a process of its own.

Needs PyTorch: `pip install 'vos_jax[convert]'`. A stage of ours does not hold exactly
what the same stage of PyTorch's does: the decoder's skip convolutions are in our
`encode` and in its `decode`. The coarse read has tracks, kernels and the choice of
candidates in it. The whole frame compares like with like.
"""

import argparse
import multiprocessing
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import torch
from against_torch import (
    Clip,
    Limits,
    Row,
    Stage,
    add_label_options,
    add_options,
    alternate,
    check,
    chw,
    compare_labels,
    copied,
    frame_size,
    given,
    lay_out,
    load_arrays,
    load_checkpoint,
    memorized,
    one_hot,
    parsed,
    random_variables,
    report,
    textured,
    write,
)
from torch_hmmn import Memory, Read, TorchHMMN, TorchVideo, appended, kept

import vos_jax
from vos_jax.bench.measure import process_bytes
from vos_jax.data.synthetic import generate_clip
from vos_jax.inference.state import State
from vos_jax.inference.step import start, step_traced
from vos_jax.methods.base import Method
from vos_jax.methods.hmmn import model as hmmn
from vos_jax.methods.hmmn.model import HMMN
from vos_jax.methods.stm import merge_objects
from vos_jax.methods.weights import export
from vos_jax.nn.resnet import ResNetConfig
from vos_jax.runtime.text_table import text_table

# Where the 32nd and the next cell, or two of a window, are equal but for rounding, each
# program may take another, which changes some pixels. A single wrong choice everywhere,
# 31 cells for 32, changes the mean by 7e-3.
_LIMITS = Limits(most=1e-2, mean=1e-3, share=3e-3)

# Where two labels are as probable but for the same reason, either may win.
_MARGIN = 1e-2

# With it every label covers more than 7 % of the frames at 480 x 854.
_SEED = 1

# By how much masks are stronger, and objects' logits lower, than random weights' own.
_MASKS, _LOWER = 12.0, 2.4


def build(args: argparse.Namespace) -> Method:
    """The method, with ResNets of the width asked for."""
    return vos_jax.create("hmmn", backbone=ResNetConfig(width=args.width))


def random_weights(method: Method, seed: int) -> Any:
    """Random weights with which every object has masks of its own.

    Where one convolution is as strong as another an object's mask is little beside the
    picture, so that all objects' logits are nearly the same and rounding decides which
    of them a pixel has. So masks are stronger, and where no object stands out the
    background wins.
    """

    def change(path: Any, leaf: Any) -> Any:
        name = "/".join(key.key for key in path)
        if name.endswith("stem/masks/kernel"):
            return _MASKS * leaf
        if name.endswith("predict/bias"):
            return leaf.at[1].add(-_LOWER)
        return leaf

    variables = random_variables(method, seed)
    return jax.tree_util.tree_map_with_path(change, variables)


def torch_model(method: Method, variables: Any) -> TorchHMMN:
    """The PyTorch program with the same weights under their published names."""
    model = TorchHMMN(method.config).eval()
    load_arrays(model, export("hmmn", method, variables), fixed=("mean", "std"))
    return model


# Timing


def stages(
    method: Method, variables: Any, model: TorchHMMN, clip: Clip, count: int
) -> dict[str, Stage]:
    """Each stage as a pair of calls, ours first, with `count` frames in the memory."""
    ours = _our_calls(method, variables, clip, count)
    theirs = _torch_calls(model, clip, count)
    return {name: Stage(call, theirs[name]) for name, call in ours.items()}


def _our_calls(
    method: Method, variables: Any, clip: Clip, count: int
) -> dict[str, Callable[[], Any]]:
    state = filled_state(method, variables, clip, count)
    frame = jnp.asarray(clip.frames[1])

    def stage_of(part: Callable[..., Any] | str) -> Callable[..., Any]:
        return jax.jit(partial(method.apply, method=part))

    memorize = jax.jit(partial(memorized, method), donate_argnums=1)
    step = jax.jit(partial(step_traced, method), donate_argnums=1)
    encode, coarse, decode = stage_of("encode"), stage_of(_coarse), stage_of(_decode)
    fine = {stage: stage_of(partial(_fine, stage)) for stage in (3, 2)}
    query, _ = encode(variables, frame)
    memory = memorize(variables, copied(state.memory), state)
    read, _, cells = coarse(variables, memory, query)
    reads = {s: fine[s](variables, memory, query, cells) for s in fine}
    held = {"memory": copied(state.memory), "state": copied(state)}

    def our_memorize() -> Any:
        held["memory"] = memorize(variables, held["memory"], state)
        return held["memory"]

    def our_step() -> Any:
        # Time stands still: every call replaces the same previous frame.
        after, out = step(variables, held["state"], frame)
        time, first = copied((state.time, state.first))
        held["state"] = after._replace(time=time, first=first)
        return out

    return {
        "encode": lambda: encode(variables, frame),
        "coarse read": lambda: coarse(variables, memory, query),
        "read 1/8": lambda: fine[3](variables, memory, query, cells),
        "read 1/4": lambda: fine[2](variables, memory, query, cells),
        "decode": lambda: decode(variables, read, reads, query, state),
        "memorize": our_memorize,
        "frame": our_step,
    }


def filled_state(method: Method, variables: Any, clip: Clip, count: int) -> State:
    """A state with `count - 1` frames in its memory; the step adds the last one."""
    every = method.config.mem_every
    # The newest frame of the memory has to be the previous one, which is not kept.
    last = every * (count - 2) + 1 if count > 1 else 0
    state = start(method, variables, clip.frames[0], clip.masks, frames=last + 1)
    memorize = jax.jit(partial(memorized, method))
    for index in range(count - 1):
        state = state._replace(time=jnp.int32(every * index))
        memory = memorize(variables, state.memory, state)
        state = state._replace(memory=memory, first=jnp.zeros_like(state.first))
    return state._replace(time=jnp.int32(last))


def _coarse(module: HMMN, memory: Any, query: Any) -> Any:
    """The read of stride 16 with all that guides it and the finer ones."""
    track, kernel = module.guide(memory, query)
    read = module.read_coarse(memory, query, kernel)
    return read, track, module.candidates(memory, query, kernel)


def _fine(stage: int, module: HMMN, memory: Any, query: Any, cells: Any) -> Any:
    return module.read_stage(stage, memory, query, cells)


def _decode(module: HMMN, coarse: Any, fine: Any, query: Any, state: State) -> Any:
    own = module.own_value(state.memory, query)
    read = hmmn.Read(coarse, fine, state.memory.bank.entries.track)
    logits = module.decode(read, own, query)
    return jax.nn.softmax(merge_objects(logits, state.frame, state.active), axis=0)


def _torch_calls(
    model: TorchHMMN, clip: Clip, count: int
) -> dict[str, Callable[[], Any]]:
    frame, probs = chw(clip.frames[1]), given(clip.masks)
    size = (frame.shape[-2], frame.shape[-1])
    query, stored = model.encode(frame), stored_memory(model, frame, probs, count - 1)

    def remembered() -> Memory:
        latest = model.memorize(frame, probs)
        return latest if stored is None else appended(stored, latest)

    memory = remembered()
    coarse, best = _torch_coarse(model, memory, query)
    read = Read(
        coarse, model.read3(memory, query, best), model.read2(memory, query, best)
    )
    return {
        "encode": lambda: model.encode(frame),
        "coarse read": lambda: _torch_coarse(model, memory, query),
        "read 1/8": lambda: model.read3(memory, query, best),
        "read 1/4": lambda: model.read2(memory, query, best),
        "decode": lambda: model.decode(read, query, size),
        "memorize": remembered,
        "frame": lambda: model.segment(remembered(), frame, size),
    }


def _torch_coarse(model: TorchHMMN, memory: Memory, query: Any) -> Any:
    guided = model.guide(memory, query)
    return guided.coarse, guided.best


def stored_memory(
    model: TorchHMMN, frame: Any, probs: Any, count: int
) -> Memory | None:
    """PyTorch's memory of `count` frames; None without any."""
    stored, latest = None, model.memorize(frame, probs)
    for _ in range(count):
        memory = latest if stored is None else appended(stored, latest)
        stored = kept(stored, memory, memory.track)
    return stored


def compare_times(args: argparse.Namespace) -> None:
    """Checks, times, prints a table for each number of memory frames."""
    rows: dict[int, list[Row]] = {count: [] for count in args.frames}
    method = build(args)
    variables = random_weights(method, args.seed)
    model = torch_model(method, variables)
    lay_out(model, args)
    method, variables = vos_jax.inference_form(method, variables)
    with torch.inference_mode():
        for objects in args.objects:
            clip = textured(args, objects, method.config.mem_every + 3)
            begin = partial(TorchVideo, model)
            check(method, variables, begin, clip, _LIMITS, same_masks=True)
            for count in args.frames:
                timed = stages(method, variables, model, clip, count)
                rows[count] += alternate(timed, objects, args.repeats)
    for count in args.frames:
        report(args, f"hmmn_vs_torch_{count}", rows[count], count)


# Memory


class MemoryRow(NamedTuple):
    """The most memory that both programs took; each had a process of its own.

    Attributes:
      objects: Number of objects.
      memory_frames: Of the last frame.
      frames: Of the video.
      ours_mb: By how much the process grew beyond what it had with everything imported
        and the clip drawn: weights, compilation, state, and what a step needs.
      torch_mb: The same of PyTorch's.
      ours_process_mb: The whole process.
      torch_process_mb: The whole process. Both have imported both libraries.
    """

    objects: int
    memory_frames: int
    frames: int
    ours_mb: float
    torch_mb: float
    ours_process_mb: float
    torch_process_mb: float


class Job(NamedTuple):
    """A video for one program, whose weights are `weights.*` of the folder."""

    folder: Path
    args: argparse.Namespace
    objects: int
    frames: int


def compare_memory(args: argparse.Namespace) -> None:
    """`--memory`."""
    method = build(args)
    every = method.config.mem_every
    variables = random_weights(method, args.seed)
    rows = []
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        torch.save(torch_model(method, variables).state_dict(), folder / "weights.pth")
        vos_jax.save_weights(folder / "weights.safetensors", "hmmn", method, variables)
        for objects in args.objects:
            for count in args.frames:
                frames = every * (count - 2) + 3 if count > 1 else 2
                job = Job(folder, args, objects, frames)
                (ours, our_process), (theirs, their_process) = (
                    _apart(run, job) for run in (_run_ours, _run_torch)
                )
                figures = ours, theirs, our_process, their_process
                rows.append(MemoryRow(objects, count, frames, *figures))
    print(f"\n{'x'.join(map(str, frame_size(args)[::-1]))}, float32\n")
    print(text_table(rows))
    write(args, "hmmn_memory", rows, {"seed": args.seed})


def _apart(run: Callable[[Job], Iterator[None]], job: Job) -> tuple[float, float]:
    """`_peak` in a process of its own, which has nothing of this one."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, context) as pool:
        return pool.submit(_peak, run, job).result()


def _peak(run: Callable[[Job], Iterator[None]], job: Job) -> tuple[float, float]:
    """MB that the process has grown by at most since `run` was ready, and has had."""
    video = run(job)
    next(video)
    before = process_bytes("VmRSS")
    for _ in video:
        pass
    most = process_bytes("VmHWM")
    return (most - before) / 1e6, most / 1e6


def _run_ours(job: Job) -> Iterator[None]:
    clip = _drawn(job)
    jax.block_until_ready(jnp.zeros(1))
    yield
    method, variables = vos_jax.load_model("hmmn", job.folder / "weights.safetensors")
    segment = vos_jax.VideoSegmenter(method, variables, length=job.frames)
    for index, frame in enumerate(clip.frames):
        segment(frame, None if index else clip.labels[0]).result()
        yield


def _run_torch(job: Job) -> Iterator[None]:
    clip = _drawn(job)
    if job.args.threads is not None:
        torch.set_num_threads(job.args.threads)
    yield
    model = TorchHMMN(build(job.args).config).eval()
    load_checkpoint(model, job.folder / "weights.pth")
    lay_out(model, job.args)
    with torch.inference_mode():
        first, *others = (chw(frame / np.float32(255)) for frame in clip.frames)
        video = TorchVideo(model, first, given(one_hot(clip.labels[0], job.objects)))
        for frame in others:
            video.step(frame).argmax(0).numpy()
            yield


def _drawn(job: Job) -> Any:
    return generate_clip(job.args.seed, job.frames, frame_size(job.args), job.objects)


# The command line


def agreement(args: argparse.Namespace) -> None:
    """`--agree`."""
    method = vos_jax.create("hmmn")
    if args.weights is None:
        model = torch_model(method, random_weights(method, args.seed))
    else:
        model = TorchHMMN(method.config).eval()
        load_checkpoint(model, args.weights)
    settings = ("--mem-every", str(method.config.mem_every))
    begin = partial(TorchVideo, model)
    compare_labels(args, "hmmn", settings, model, begin, _MARGIN)


def main() -> None:
    """Compares times, labels or memory."""
    parser = argparse.ArgumentParser(
        description=__doc__.split("\n")[0], conflict_handler="resolve"
    )
    add_options(parser)
    parser.add_argument(
        "--frames",
        type=int,
        nargs="+",
        default=[1, 5],
        help="frames in the memory, one table for each number",
    )
    add_label_options(parser, _SEED)
    # With random weights a few hard decisions more and the programs part ways, as
    # PyTorch's own results in float64 do from those in float32.
    parser.set_defaults(length=5)
    parser.add_argument(
        "--memory", action="store_true", help="compare the most memory that they take"
    )
    args = parsed(parser, least_frames=1)
    if args.agree:
        agreement(args)
    elif args.memory:
        compare_memory(args)
    else:
        compare_times(args)


if __name__ == "__main__":
    main()
