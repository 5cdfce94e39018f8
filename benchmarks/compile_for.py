r"""Compiles the programs of the package for a chip that is not there, and counts.

    python benchmarks/compile_for.py h200 --out benchmarks/results
    python benchmarks/compile_for.py v5e --what step --methods stm --objects 1
    python benchmarks/compile_for.py h200 --what step train --limits

For the H200: kernels that a call launches, waits of its host for the device, temporary
memory. For the TPU v5e: temporaries, size of the code, seconds to compile. None of them
is a time: `docs/accelerators.md` says how to read them. `--limits` ends with status 1
where a figure is above the limits below.

- `step`: of every published method, as users run it: inference form, the public
  `vos_jax.step`, a state that is given away, the bank of a video of 100 frames.
- `read`: every kind of `vos-jax bench read` in all of its forms, of 24 slots.
- `batch`: the step of four videos at once, as `--videos 4` compiles it.
- `train`: the step of `experiments/stm/main`, 4 clips of 3 frames at 384 x 384.

Needs Python 3.12 on Linux and 2.3 GB; an environment of its own, for jax finds the
plugins in it and would look for the devices:

    python3.12 -m venv chips
    chips/bin/pip install -e '.[train]' jax==0.11.2 jaxlib==0.11.2
    chips/bin/pip install --no-deps jax-cuda13-pjrt==0.11.2 \
        jax-cuda13-plugin==0.11.2 nvidia-cuda-nvcc==13.0.88 nvidia-nvvm==13.0.88 \
        nvidia-cuda-runtime==13.0.96
    chips/bin/pip install --no-deps libtpu==0.0.48.1

Each job is a process: what its environment says to a compiler must be there before jax
is imported, and one that dies costs its own rows.
"""

import argparse
import importlib.metadata
import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import topologies
from jax.sharding import SingleDeviceSharding
from launches import launches
from programs import METHODS, form_of, inference_shapes, read_of, variants_of

import vos_jax
from vos_jax.bench.measure import compile_program
from vos_jax.bench.reads.kind import Memory, ReadKind, Variant
from vos_jax.bench.reads.kinds import KINDS, kinds_by_name
from vos_jax.cli.script import run_script
from vos_jax.errors import InputError
from vos_jax.inference.many.batch import step_places
from vos_jax.methods.base import Method
from vos_jax.methods.weights import variable_shapes
from vos_jax.runtime.mesh import by_clip, make_mesh, replicated
from vos_jax.runtime.progress import Progress
from vos_jax.runtime.text_table import text_table, write_table
from vos_jax.training.experiment import describe
from vos_jax.training.experiment_file import load_experiment
from vos_jax.training.start import Claim, method_of_run, state_shapes
from vos_jax.training.step import make_train_step
from vos_jax.types import ClipBatch

NAME = "compile_for"
PLATFORMS = {"h200": "cuda", "v5e": "tpu"}
SIZE, FRAMES, SLOTS, VIDEOS = (480, 864), 100, 24, 4
EXPERIMENT = "stm/main"

_PACKAGES = (
    "jax",
    "jaxlib",
    "jax-cuda13-pjrt",
    "jax-cuda13-plugin",
    "nvidia-cuda-nvcc",
    "nvidia-nvvm",
    "libtpu",
)
_H200 = Path(__file__).with_name("h200.txtpb")

# A program of the absent chip takes shapes that say where they are.
Place = Callable[[Any], Any]
Compiled = tuple[Callable[..., Any], tuple[Any, ...], tuple[int, ...]]


class Row(NamedTuple):
    """One program.

    Attributes:
      what: "step", "batch", "read" or "train".
      name: Of the method, of the kind of read, or of the experiment.
      form: Of a read.
      objects: Number of objects.
      dtype: Compute type.
      kernels: Launched in a call; of GPUs, as all that follows but temporaries.
      syncs: Waits of the host.
      library: Of the kernels, those of cuDNN and cuBLAS: most of the products.
      temp_mb: Peak memory beside arguments and results.
      code_mb: Size of the program; of TPUs.
      compile_s: Seconds for tracing and compiling, without autotuning.
      failed: Why there is no program.
    """

    what: str
    name: str
    form: str
    objects: int
    dtype: str
    kernels: int | None = None
    syncs: int | None = None
    library: int | None = None
    temp_mb: float | None = None
    code_mb: float | None = None
    compile_s: float | None = None
    failed: str = ""


class Limit(NamedTuple):
    """What a figure may be at most, in bfloat16; None stands for any of them."""

    target: str
    what: str
    name: str | None
    objects: int | None
    field: str
    most: float


LIMITS = (
    Limit("h200", "step", None, None, "syncs", 0),
    Limit("h200", "step", None, None, "temp_mb", 1000),
    Limit("h200", "batch", None, None, "syncs", 0),
    Limit("h200", "step", "stm", 1, "kernels", 230),
    Limit("h200", "step", "stm", 3, "kernels", 240),
    Limit("h200", "step", "lcm", 3, "kernels", 330),
    Limit("h200", "step", "rde", 3, "kernels", 360),
    Limit("h200", "step", "hmmn", 3, "kernels", 360),
    Limit("h200", "train", None, None, "syncs", 0),
    Limit("h200", "train", None, None, "kernels", 2600),
    Limit("v5e", "step", None, 1, "temp_mb", 500),
)


def exceeded(target: str, rows: Sequence[Row]) -> list[str]:
    """What is above its limit, in words; a step without a program is, too."""
    found = []
    for row in rows:
        label = f"{row.what} {row.name}, objects {row.objects}"
        if row.failed and row.what != "read":
            found.append(f"{label}: {row.failed}")
        for limit in LIMITS:
            own = target, row.what, row.name, row.objects
            applies = all(a in (None, b) for a, b in zip(limit[:4], own, strict=True))
            value = getattr(row, limit.field)
            if applies and row.dtype == "bfloat16" and (value or 0) > limit.most:
                found.append(f"{label}: {limit.field} {value:g} > {limit.most:g}")
    return found


def main(argv: Sequence[str] | None = None) -> int:
    """Reads the options and runs; returns the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("target", choices=PLATFORMS)
    whats = ("step", "batch", "read", "train")
    parser.add_argument("--what", nargs="+", choices=whats, default=whats)
    parser.add_argument("--methods", nargs="+", default=METHODS, metavar="NAME")
    parser.add_argument("--reads", nargs="+", default=tuple(KINDS), metavar="KIND")
    parser.add_argument("--objects", type=int, nargs="+", default=(1, 3))
    parser.add_argument("--dtype", default="bfloat16")
    parser.add_argument("--limits", action="store_true", help="status 1 above them")
    parser.add_argument("--out", type=Path, help="folder of the CSV and JSON")
    parser.add_argument("--hlo", type=Path, help="folder for optimised programs")
    parser.add_argument(
        "--here", action="store_true", help="in this process; rows as JSON lines"
    )
    args = parser.parse_args(argv)
    return run_script(NAME, lambda: run(args))


def run(args: argparse.Namespace) -> None:
    """Compiles everything that was asked for; the table grows with every one."""
    if args.here:
        for row in rows_here(args):
            print(json.dumps(row._asdict()), flush=True)
        return
    notes = {
        "target": args.target,
        "size": SIZE,
        "video_frames": FRAMES,
        "slots_of_reads": SLOTS,
        "packages": versions(),
    }
    # This process only lists and writes: no plugin is to look for its libraries.
    jax.config.update("jax_platforms", "cpu")
    os.environ["JAX_SKIP_CUDA_CONSTRAINTS_CHECK"] = "1"
    jobs = list(jobs_of(args))
    rows: list[Row] = []
    with Progress(f"{NAME} {args.target}", len(jobs), unit="job") as progress:
        for job in jobs:
            rows += rows_of_process(args, job)
            progress.note = f"last: {rows[-1].what} {rows[-1].name}"
            progress.update()
            if args.out is not None:
                write_table(args.out, f"{NAME}_{args.target}", rows, notes)
    print(text_table(rows))
    above = exceeded(args.target, rows)
    if args.limits and above:
        raise SystemExit("\n".join(["above the limits:", *above]))


class Job(NamedTuple):
    """What one process compiles."""

    what: str
    name: str
    objects: int


def jobs_of(args: argparse.Namespace) -> Iterator[Job]:
    """A step, all forms of a read, or the training step, in the table's order."""
    names = {"step": args.methods, "batch": args.methods, "read": args.reads}
    for what in args.what:
        if what in names:
            for name, objects in product(names[what], args.objects):
                yield Job(what, name, objects)
        else:
            yield Job(what, EXPERIMENT, load_experiment(EXPERIMENT).recipe.objects)


def rows_of_process(args: argparse.Namespace, job: Job) -> list[Row]:
    """Compiles in a process whose environment the compiler reads."""
    methods = dict.fromkeys(("step", "batch"), "--methods")
    which = {**methods, "read": "--reads"}.get(job.what)
    command = [
        *(sys.executable, __file__, args.target, "--here", "--what", job.what),
        *("--objects", str(job.objects), "--dtype", args.dtype),
        *((which, job.name) if which else ()),
        *(("--hlo", str(args.hlo)) if args.hlo else ()),
    ]
    done = subprocess.run(
        command, env=environment(args.target), capture_output=True, text=True
    )
    rows = [Row(**json.loads(x)) for x in done.stdout.splitlines() if x[:1] == "{"]
    if done.returncode or not rows:
        said = done.stderr.strip().splitlines() or [f"status {done.returncode}"]
        rows.append(Row(*job[:2], "", job.objects, args.dtype, failed=said[-1][:200]))
    return rows


def environment(target: str) -> dict[str, str]:
    """What has to be set before jax is imported."""
    own = {**os.environ, "JAX_PLATFORMS": "cpu"}
    if target == "v5e":
        return own | {
            # Nobody is asked which machine this is: it is said to be a host of four.
            "TPU_SKIP_MDS_QUERY": "1",
            "TPU_ACCELERATOR_TYPE": "v5litepod-4",
            "TPU_WORKER_HOSTNAMES": "localhost",
            "TPU_WORKER_ID": "0",
            "TPU_CHIPS_PER_HOST_BOUNDS": "2,2,1",
            "TPU_HOST_BOUNDS": "1,1,1",
            # There is no device that two processes could not share.
            "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",
        }
    spec = importlib.util.find_spec("nvidia")
    folders = spec.submodule_search_locations if spec else None
    tools = [x for folder in folders or () for x in Path(folder).glob("*/bin/ptxas")]
    if not tools:
        raise InputError("h200: needs the package nvidia-cuda-nvcc, for its ptxas")
    cuda = tools[0].parents[1]
    flags = (
        os.environ.get("XLA_FLAGS", ""),
        f"--xla_gpu_cuda_data_dir={cuda}",
        # It would time variants on the device.
        "--xla_gpu_autotune_level=0",
    )
    return own | {
        # Of the libraries that would run the program and are not there.
        "JAX_SKIP_CUDA_CONSTRAINTS_CHECK": "1",
        "PATH": f"{cuda / 'bin'}:{os.environ.get('PATH', '')}",
        "XLA_FLAGS": " ".join(flags).strip(),
    }


def versions() -> dict[str, str]:
    """Of what compiles; a package that is missing is left out."""
    found = {}
    for name in _PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


# What a process of its own does.


def absent_device(target: str) -> Any:
    """The first of the chips that are not there."""
    if target == "v5e":
        return topologies.get_topology_desc("v5e:2x2", "tpu").devices[0]
    return topologies.get_topology_desc(
        *("h200", "cuda"), topology="1x1x1", target_config=_H200.read_text()
    ).devices[0]


def rows_here(args: argparse.Namespace) -> Iterator[Row]:
    """Compiles in this process."""
    device = absent_device(args.target)
    platform = PLATFORMS[args.target]
    for job in jobs_of(args):
        row = Row(job.what, job.name, "", job.objects, args.dtype)
        if job.what == "train":
            yield compiled(args, row, lambda: train_program(device, args.dtype))
        elif job.what in ("step", "batch"):
            program = step_program if job.what == "step" else batch_program
            made = program, job.name, job.objects, args.dtype, platform
            yield compiled(args, row, lambda made=made: placed(device, *made))
        else:
            (kind,) = kinds_by_name([job.name])
            memory = Memory(SIZE, args.dtype, job.objects, SLOTS, SLOTS)
            for variant in variants_of(kind):
                made = read_program, kind, variant, memory, platform
                yield compiled(
                    args,
                    row._replace(form=form_of(variant)),
                    lambda made=made: placed(device, *made),
                )


def compiled(args: argparse.Namespace, row: Row, make: Callable[[], Compiled]) -> Row:
    """The row with its figures."""
    try:
        function, arguments, donate = make()
        program = compile_program(function, *arguments, donate=donate)
    except Exception as error:
        # Whatever a compiler says: it is a finding about this program, not our end.
        said = str(error).strip().splitlines() or [""]
        return row._replace(failed=f"{type(error).__name__}: {said[0]}"[:200])
    module: Any = program.call
    row = row._replace(
        temp_mb=None if program.temp_bytes is None else program.temp_bytes / 1e6,
        compile_s=program.compile_s,
    )
    if args.hlo is not None:
        args.hlo.mkdir(parents=True, exist_ok=True)
        name = f"{args.target}_{row.what}_{row.name}_{row.form}_{row.objects}.hlo"
        path = args.hlo / name.replace("/", "-").replace(" ", "-")
        path.write_text(module.as_text())
    if PLATFORMS[args.target] == "tpu":
        size = module.memory_analysis().generated_code_size_in_bytes
        return row._replace(code_mb=size / 1e6)
    counted = launches(module.as_text())
    library = sum(n for kind, n in counted.kinds.items() if kind.startswith("__cu"))
    return row._replace(kernels=counted.kernels, syncs=counted.syncs, library=library)


def placed(device: Any, make: Callable[..., Compiled], *given: Any) -> Compiled:
    """A program whose arguments are on the absent device."""
    function, arguments, donate = make(*given)
    where = SingleDeviceSharding(device)
    return function, _on(where, arguments), donate


def _on(where: Any, tree: Any) -> Any:
    return jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=where), tree
    )


def batch_program(name: str, objects: int, dtype: str, platform: str) -> Compiled:
    """The step of a batch of videos, whose places are given away."""
    method, variables, state, inputs = begun(name, objects, dtype, platform)

    def stacked(x: Any) -> Any:
        return jax.ShapeDtypeStruct((VIDEOS, *x.shape), x.dtype)

    def step(variables: Any, places: Any, frames: Any, inputs: Any) -> Any:
        return step_places(method, variables, places, frames, inputs)

    places = (jax.tree.map(stacked, state),)
    frames = (jax.ShapeDtypeStruct((*SIZE, 3), jnp.float32),) * VIDEOS
    return step, (variables, places, frames, (inputs,) * VIDEOS), (1,)


def step_program(name: str, objects: int, dtype: str, platform: str) -> Compiled:
    """The public step of a method in its inference form, whose state is given away."""
    method, variables, state, inputs = begun(name, objects, dtype, platform)
    frame = jax.ShapeDtypeStruct((*SIZE, 3), jnp.uint8)

    def step(variables: Any, state: Any, frame: Any, inputs: Any) -> Any:
        return vos_jax.step(method, variables, state, frame, inputs)

    return step, (variables, state, frame, inputs), (1,)


def begun(
    name: str, objects: int, dtype: str, platform: str
) -> tuple[Method, Any, Any, Any]:
    """A method, shapes of its weights and of a first state, and what it takes more."""
    method = vos_jax.create(name, dtype=dtype)
    method, variables = inference_shapes(method, platform)
    frame = jax.ShapeDtypeStruct((*SIZE, 3), jnp.uint8)
    labels = jax.ShapeDtypeStruct(SIZE, jnp.uint8)
    ids = range(1, objects + 1)

    def start(variables: Any, frame: Any, labels: Any) -> Any:
        return vos_jax.start(method, variables, frame, labels, ids=ids, frames=FRAMES)

    state = jax.eval_shape(start, variables, frame, labels)
    inputs = None
    if method.inputs is not None:
        inputs = jax.tree.map(np.asarray, method.inputs.example(SIZE))
    return method, variables, state, inputs


def read_program(
    kind: ReadKind, variant: Variant, memory: Memory, platform: str
) -> Compiled:
    """A read on a memory that is full."""
    arguments = jax.eval_shape(lambda: kind.arguments(memory, variant.top_k))
    return read_of(kind, variant, platform), arguments, ()


def train_program(device: Any, dtype: str) -> Compiled:
    """The step of an experiment, as `vos-jax train` compiles it."""
    experiment = replace(
        load_experiment(EXPERIMENT), method_options={"dtype": dtype}, twins=False
    )
    method = method_of_run(Claim(describe(experiment), {}))
    shapes = variable_shapes(method)
    optimizer = experiment.optimizer.build(experiment.steps, shapes["params"])
    mesh = make_mesh([device])
    state = state_shapes(shapes, optimizer, mesh, experiment.step)
    step = make_train_step(
        method, optimizer, mesh, experiment.step, experiment.objective
    )
    key = _on(replicated(mesh), jax.eval_shape(jax.random.key, 0))
    return step, (state, _on(by_clip(mesh), clips_of(experiment)), key), (0,)


def clips_of(experiment: Any) -> ClipBatch:
    """Shapes of a batch."""
    recipe, batch = experiment.recipe, experiment.batch
    clips = (batch, recipe.frames, *recipe.sizes[0])
    return ClipBatch(
        jax.ShapeDtypeStruct((*clips, 3), jnp.uint8),
        jax.ShapeDtypeStruct(clips, jnp.uint8),
        jax.ShapeDtypeStruct((batch, recipe.objects), jnp.bool_),
    )


if __name__ == "__main__":
    raise SystemExit(main())
