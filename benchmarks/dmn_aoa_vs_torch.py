"""Times DMN-AOA against a straightforward PyTorch program with the same weights.

The PyTorch program is what one writes from the paper: one module per block, batch norm
in eval mode, the objects of a video as a batch, ROI align by `grid_sample`, all pairs
of objects and proposals aligned at once, and RefineNet's inputs concatenated for every
object. First both segment a short clip and must agree; then every stage is timed, one
call of either program in turn, with as many proposals as there are slots (30).

    python benchmarks/dmn_aoa_vs_torch.py
    python benchmarks/dmn_aoa_vs_torch.py --size 128 --width 16 --objects 1 --frames 2

`--agree` compares labels instead, and by the way that users go: the PyTorch program's
state dict becomes a .pth, `vos-jax convert` and `vos-jax segment` do the rest, with
proposals in a file. They are the region proposer's.

    python benchmarks/dmn_aoa_vs_torch.py --agree

Needs PyTorch: `pip install 'vos_jax[convert]'`. A stage of ours does not hold exactly
what the same stage of PyTorch's does: what RefineNet makes of a reference alone is in
our `memorize`, and part of it in its `refine`. The whole frame compares like with like.
"""

import argparse
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

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
    aggregate,
    alternate,
    check,
    chw,
    compare_labels,
    copied,
    crop,
    frame_size,
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
from torch_dmn_aoa import (
    Proposals,
    TorchDMNAOA,
    TorchVideo,
    joined,
    taken,
    tight_boxes,
)

import vos_jax
from vos_jax.data.proposals import ImageResults, open_proposals, write_results
from vos_jax.data.proposals.regions import propose_regions
from vos_jax.data.synthetic import generate_clip
from vos_jax.inference.state import State
from vos_jax.inference.step import start, step_traced
from vos_jax.methods.base import Method
from vos_jax.methods.dmn_aoa.model import DMNAOA
from vos_jax.methods.stm import merge_objects
from vos_jax.methods.weights import export
from vos_jax.nn.resnet import ResNetConfig

_NAME = "dmn-aoa"

# Correspondences are sharpened a hundredfold, which makes rounding that much larger.
_LIMITS = Limits(most=1e-2, mean=1e-3, share=3e-3)

_SEED = 1


def build(args: argparse.Namespace) -> Method:
    """The method, with a ResNet of the width asked for."""
    return vos_jax.create(_NAME, backbone=ResNetConfig(width=args.width))


def torch_model(method: Method, variables: Any) -> TorchDMNAOA:
    """The PyTorch program with the same weights under their published names."""
    model = TorchDMNAOA(method.config, method.config.backbone.width).eval()
    load_arrays(model, export(_NAME, method, variables))
    return model


# Timing


def stages(
    method: Method, variables: Any, model: TorchDMNAOA, clip: Clip, count: int
) -> dict[str, Stage]:
    """Each stage as a pair of calls, ours first, with `count` frames in the memory."""
    proposals = example(method, clip)
    ours = _our_calls(method, variables, clip, proposals, count)
    theirs = _torch_calls(model, clip, taken(proposals), count)
    return {name: Stage(call, theirs[name]) for name, call in ours.items()}


def example(method: Method, clip: Clip) -> vos_jax.Proposals:
    """Proposals for any frame, in all slots."""
    kind = method.inputs
    assert kind is not None
    return kind.example(clip.frames.shape[1:3])


def _our_calls(
    method: Method,
    variables: Any,
    clip: Clip,
    proposals: vos_jax.Proposals,
    count: int,
) -> dict[str, Callable[[], Any]]:
    state = filled_state(method, variables, clip, count)
    frame = jnp.asarray(clip.frames[1])
    inputs = jax.tree.map(jnp.asarray, proposals)

    def stage_of(part: Callable[..., Any] | str) -> Callable[..., Any]:
        return jax.jit(partial(method.apply, method=part))

    memorize = jax.jit(partial(memorized, method), donate_argnums=1)
    step = jax.jit(partial(step_traced, method), donate_argnums=1)
    encode, read = stage_of("encode"), stage_of("read")
    find, refine = stage_of(_find), stage_of(_refine)
    query, _ = encode(variables, frame)
    memory = memorize(variables, copied(state.memory), state)
    template = read(variables, memory, query, state.active)
    found = find(variables, memory, query, template, state, inputs)
    held = {"memory": copied(state.memory), "state": copied(state)}

    def our_memorize() -> Any:
        held["memory"] = memorize(variables, held["memory"], state)
        return held["memory"]

    def our_step() -> Any:
        # Time stands still: every call replaces the same previous frame.
        after, out = step(variables, held["state"], frame, inputs)
        time, first = copied((state.time, state.first))
        held["state"] = after._replace(time=time, first=first)
        return out

    return {
        "encode": lambda: encode(variables, frame),
        "memorize": our_memorize,
        "template": lambda: read(variables, memory, query, state.active),
        "match": lambda: find(variables, memory, query, template, state, inputs),
        "refine": lambda: refine(variables, memory, query, found, state),
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


def _find(
    module: DMNAOA, memory: Any, query: Any, template: Any, state: State, inputs: Any
) -> Any:
    known = memory, query, state.frame, state.active, inputs
    return module.match(*known, template)


def _refine(module: DMNAOA, memory: Any, query: Any, found: Any, state: State) -> Any:
    logits = module.refine(memory, query, state.frame, state.active, None, found)
    return jax.nn.softmax(merge_objects(logits, state.frame, state.active), axis=0)


def _torch_calls(
    model: TorchDMNAOA, clip: Clip, proposals: Proposals, count: int
) -> dict[str, Callable[[], Any]]:
    frame, probs, size = chw(clip.frames[1]), given(clip.masks), clip.frames.shape[1:3]
    offset = model.config.mem_every * max(count - 2, 0) + 1
    nowhere = torch.zeros(len(clip.masks), 4)
    before = model.encode(chw(clip.frames[0]))

    def memorize() -> Any:
        masks = pad(probs[1:])
        boxes, shown = tight_boxes(probs.argmax(0), nowhere)
        entry = model.remember(before, boxes, masks, shown, offset - 1)
        return entry, model.reference(before, masks), boxes

    entry, reference, boxes = memorize()
    kept = [entry] * (count - 1)

    def template(levels: Any, newest: Any, boxes: Any) -> Any:
        return model.template(levels, boxes, offset, joined([*kept, newest]))

    def coarse(levels: Any, template: Any) -> Any:
        similarity = model.similarity(levels, template, proposals.boxes)
        return model.coarse(similarity, proposals.masks)

    def refine(levels: Any, coarse: Any, references: Any) -> Any:
        return crop(aggregate(model.refine(levels, coarse, references)), *size)

    def whole() -> Any:
        newest, previous, boxes = memorize()
        levels = model.encode(frame)
        masks = coarse(levels, template(levels, newest, boxes))
        return refine(levels, masks, [reference, previous])

    levels = model.encode(frame)
    read = template(levels, entry, boxes)
    masks = coarse(levels, read)
    return {
        "encode": lambda: model.encode(frame),
        "memorize": memorize,
        "template": lambda: template(levels, entry, boxes),
        "match": lambda: coarse(levels, read),
        "refine": lambda: refine(levels, masks, [reference, reference]),
        "frame": whole,
    }


def compare_times(args: argparse.Namespace) -> None:
    """Checks, times, prints a table for each number of memory frames."""
    rows: dict[int, list[Row]] = {count: [] for count in args.frames}
    method = build(args)
    variables = random_variables(method, args.seed)
    model = torch_model(method, variables)
    lay_out(model, args)
    method, variables = vos_jax.inference_form(method, variables)
    with torch.inference_mode():
        for objects in args.objects:
            clip = textured(args, objects, method.config.mem_every + 3)
            proposals = example(method, clip)
            same = [taken(proposals)] * len(clip.frames)
            begin = partial(TorchVideo, model, same)
            options = {"same_masks": True, "inputs": proposals}
            check(method, variables, begin, clip, _LIMITS, **options)
            for count in args.frames:
                timed = stages(method, variables, model, clip, count)
                rows[count] += alternate(timed, objects, args.repeats)
    for count in args.frames:
        report(args, f"dmn_aoa_vs_torch_{count}", rows[count], count)


# The command line


def agreement(args: argparse.Namespace) -> None:
    """`--agree`."""
    method = vos_jax.create(_NAME)
    if args.weights is None:
        model = torch_model(method, random_variables(method, args.seed))
    else:
        model = TorchDMNAOA(method.config).eval()
        load_checkpoint(model, args.weights)
    size = frame_size(args)
    clip = generate_clip(args.seed, args.length, size, max(args.objects))
    with tempfile.TemporaryDirectory() as temporary:
        path = Path(temporary) / "proposals.json"
        proposals = write_proposals(path, clip.frames, size)
        settings = ("--proposals", str(path))
        begin = partial(TorchVideo, model, [taken(each) for each in proposals[1:]])
        compare_labels(args, _NAME, settings, model, begin)


def write_proposals(
    path: Path, frames: Sequence[np.ndarray], size: tuple[int, int]
) -> list[vos_jax.Proposals]:
    """Writes the region proposer's proposals of frames, and reads them as users do."""
    names = [f"{index:05d}" for index in range(len(frames))]
    write_results(
        path,
        (
            ImageResults(f"{name}.png", size, *propose_regions(frame))
            for name, frame in zip(names, frames, strict=True)
        ),
    )
    video = open_proposals(path).video(None, names, size)
    return [video.read(index, frame, size) for index, frame in enumerate(frames)]


def main() -> None:
    """Compares times or labels."""
    parser = argparse.ArgumentParser(
        description=__doc__.split("\n")[0], conflict_handler="resolve"
    )
    add_options(parser)
    parser.add_argument(
        "--frames",
        type=int,
        nargs="+",
        default=[1, 5, 20],
        help="frames in the memory, one table for each number",
    )
    add_label_options(parser, _SEED)
    parser.set_defaults(length=5)
    args = parsed(parser, least_frames=1)
    if args.agree:
        agreement(args)
    else:
        compare_times(args)


if __name__ == "__main__":
    main()
