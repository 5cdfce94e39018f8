r"""RDE-VOS, figure 3: quality, speed and memory as a video gets longer.

    python experiments/rde/long_video.py --dataset davis2017 --root DAVIS --split val \
        --sequences cows --methods rde=rde.safetensors stcn=stcn.safetensors \
        --every stcn=60 --repeat 1 10 15 20 --out report/
    python experiments/rde/long_video.py --generated 3 --repeat 1 5 10 \
        --methods rde-tiny stcn=rde-tiny --out report/

A sequence is played forwards, backwards and so on, N times in all, and every frame but
the first and the last is scored. The paper plays `cows`, with STCN remembering every
60th frame, which is what fits its GPU, and RDE-VOS as on DAVIS. What is measured stays:
the same command goes on where it was stopped. The state of STCN is reserved for the
whole video at once, and a length whose state would be too large is left out.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from vos_jax.cli import options
from vos_jax.cli.script import run_script
from vos_jax.errors import InputError
from vos_jax.inference.capacity import state_bytes
from vos_jax.inference.segmenter import inference_form, working_size
from vos_jax.media import atomic_path, make_folder
from vos_jax.methods import METHODS, create
from vos_jax.methods.base import Method, config_text
from vos_jax.methods.weights import fingerprint, load_model, shipped_weights
from vos_jax.reports.long_video import (
    Figures,
    Video,
    davis_videos,
    generated_videos,
    peak_kind,
    play,
)
from vos_jax.runtime.plotting import pyplot
from vos_jax.runtime.progress import Progress
from vos_jax.runtime.text_table import text_table, write_table

NAME = "long_video"
_MARKERS = "osD^v"


class Row(NamedTuple):
    """One method at one length: sums and means over the videos, largest memory."""

    method: str
    repeat: int
    frames: int
    j_and_f: float | None = None
    j: float | None = None
    f: float | None = None
    frames_per_s: float | None = None
    state_mb: float | None = None
    peak_mb: float | None = None
    programs: int | None = None
    compile_s: float | None = None
    note: str = ""


def main(argv: Sequence[str] | None = None) -> int:
    """Reads the options and runs; returns the exit status."""
    argv = sys.argv[1:] if argv is None else argv
    parser = argparse.ArgumentParser(
        description=__doc__.split("\n")[0], allow_abbrev=False
    )
    videos = parser.add_mutually_exclusive_group(required=True)
    videos.add_argument("--root", type=Path, metavar="DIR", help="of DAVIS")
    videos.add_argument(
        "--generated", type=int, metavar="N", help="N generated clips instead"
    )
    parser.add_argument(
        "--dataset", default="davis2017", choices=("davis2016", "davis2017")
    )
    parser.add_argument("--split", default="val", metavar="NAME")
    parser.add_argument(
        "--sequences", nargs="+", metavar="NAME", help="of DAVIS (all of the split)"
    )
    parser.add_argument(
        "--methods",
        nargs="+",
        required=True,
        metavar="NAME[=WEIGHTS]",
        help="weights are a file, or the name of a method whose weights ship",
    )
    parser.add_argument(
        "--repeat", type=int, nargs="+", default=[1, 10, 15, 20], metavar="N"
    )
    parser.add_argument(
        "--every",
        nargs="+",
        default=[],
        metavar="NAME=N",
        help="a method that remembers every N-th frame, in place of its own interval",
    )
    parser.add_argument(
        "--size", type=int, metavar="N", help="compute with the shorter side at N"
    )
    parser.add_argument(
        "--mem-capacity", type=int, metavar="N", help="at most N frames in memory"
    )
    options.add_set_option(parser, options.SET_METHOD)
    parser.add_argument(
        "--max-memory-gb",
        type=float,
        default=8.0,
        metavar="X",
        help="leave out lengths whose state needs more (8)",
    )
    parser.add_argument("--out", type=Path, required=True, metavar="DIR")
    # A process of one of several methods, which is told the options of all.
    parser.add_argument("--part", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    return run_script(NAME, lambda: run(args, argv))


def run(args: argparse.Namespace, argv: Sequence[str]) -> None:
    """Measures, prints the table, writes `long_video.csv`, `.json` and `.png`."""
    options.positive(args, "size", "generated")
    if min(args.repeat) < 1:
        raise InputError(f"--repeat {min(args.repeat)}: use at least 1")
    pyplot()
    models = _models(args)
    if not args.part:
        for name in _every(args.every):
            if name not in models:
                raise InputError(f"--every {name}: is none of the --methods")
    if args.sequences and args.root is None:
        raise InputError("--sequences: generated clips have no names; leave it out")
    if len(models) == 1:
        ((name, weights),) = models.items()
        rows = measure(name, weights, args)
    else:
        rows = [row for text in args.methods for row in _apart(text, args, argv)]
    print(f"{text_table(rows)}\n\npeak_mb: {peak_kind()}")
    write_table(args.out, NAME, rows, {"peak_mb": peak_kind()})
    draw(rows, args.out / f"{NAME}.png")


def _models(args: argparse.Namespace) -> dict[str, Path]:
    """The weights file of each method."""
    models: dict[str, Path] = {}
    for text in args.methods:
        name, _, weights = text.partition("=")
        if name in models:
            raise InputError(f"--methods: {name} is named twice; name it once")
        create(name)
        path, origin = Path(weights), weights or name
        if not weights or (weights in METHODS and not path.exists()):
            try:
                path = shipped_weights(origin)
            except InputError as error:
                raise InputError(
                    f"--methods {text}: {origin} comes without weights;"
                    f" write {name}=FILE.safetensors"
                ) from error
        elif not path.is_file():
            raise InputError(f"--methods {text}: there is no file {weights}")
        models[name] = path
    return models


def _every(words: Sequence[str]) -> dict[str, int]:
    """Intervals by the names of methods."""
    found: dict[str, int] = {}
    for word in words:
        name, _, number = word.partition("=")
        if not number.isdecimal() or not int(number):
            raise InputError(f"--every {word}: write NAME=N, N a number of frames")
        found[name] = int(number)
    return found


def _apart(text: str, args: argparse.Namespace, argv: Sequence[str]) -> list[Row]:
    """Rows of one method, from a process of its own.

    A device only tells the most it had in use since the process began.
    """
    # The last of two `--methods` counts.
    command = [sys.executable, __file__, *argv, "--methods", text, "--part"]
    done = subprocess.run(command, stdout=subprocess.DEVNULL)
    if done.returncode < 0:
        raise InputError(
            f"--methods {text}: its process was ended by signal {-done.returncode}, for"
            " want of memory perhaps; lower --max-memory-gb and run again"
        )
    if done.returncode:
        # It has said why.
        raise SystemExit(done.returncode)
    content = json.loads((args.out / f"{NAME}.json").read_text())
    return [Row(**row) for row in content["rows"]]


def measure(name: str, weights: Path, args: argparse.Namespace) -> list[Row]:
    """Rows of one method, shortest first, so that the peak is that of the length."""
    if args.root is None:
        videos = generated_videos(args.generated)
    else:
        videos = davis_videos(args.dataset, args.root, args.split, args.sequences)
    bound = {} if args.mem_capacity is None else {"mem_capacity": args.mem_capacity}
    if (every := _every(args.every).get(name)) is not None:
        bound["mem_every"] = every
    changes = options.merge_changes(bound, args.changes)
    method, variables = load_model(name, weights, **changes)
    settings = {
        "method": config_text(method.config),
        "weights": fingerprint(name, weights),
        "size": args.size,
        "videos": f"{args.dataset} {args.split}" if args.root else "generated",
        "device": jax.devices()[0].device_kind,
    }
    method, variables = inference_form(method, variables)
    needs = {n: _state_gb(method, videos, n, args.size) for n in set(args.repeat)}
    jobs = [
        (
            n,
            video,
            make_folder(args.out / "videos" / name / f"x{n}") / f"{video.name}.json",
        )
        for n in sorted(needs)
        if needs[n] <= args.max_memory_gb
        for video in videos
    ]
    figures = {path: _stored(path, settings) for _, _, path in jobs if path.exists()}
    todo = [job for job in jobs if job[2] not in figures]
    with Progress(name, sum(n * video.length for n, video, _ in todo)) as progress:
        for n, video, path in todo:
            progress.note = f"{video.name} x{n}"
            found = play(method, variables, video, n, size=args.size, progress=progress)
            content = {"settings": settings, "figures": found._asdict()}
            with atomic_path(path) as temporary:
                temporary.write_text(json.dumps(content, indent=1) + "\n")
            figures[path] = found
    rows = []
    for n, needed in sorted(needs.items()):
        if own := [figures[path] for m, _, path in jobs if m == n]:
            rows.append(_row(name, n, own))
        else:
            longest = n * max(video.length for video in videos)
            note = f"skipped: needs {needed:.3g} GB"
            rows.append(Row(name, n, longest, note=note))
    return rows


def _row(name: str, repeat: int, figures: Sequence[Figures]) -> Row:
    j = float(np.mean([x for each in figures for x in each.j]))
    f = float(np.mean([x for each in figures for x in each.f]))
    seconds = sum(each.seconds for each in figures)
    return Row(
        method=name,
        repeat=repeat,
        frames=max(each.frames for each in figures),
        j_and_f=(j + f) / 2,
        j=j,
        f=f,
        frames_per_s=sum(each.frames - 1 for each in figures) / seconds,
        state_mb=max(each.state_mb for each in figures),
        peak_mb=max(each.peak_mb for each in figures),
        programs=sum(each.programs for each in figures),
        compile_s=sum(each.compile_s for each in figures),
    )


def _stored(path: Path, settings: Mapping[str, Any]) -> Figures:
    try:
        content = json.loads(path.read_text())
        found, figures = content["settings"], Figures(**content["figures"])
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path}: damaged; remove it and run again") from error
    if differing := [k for k in settings if found.get(k) != settings[k]]:
        raise InputError(
            f"{path}: measured with another {', '.join(differing)}; use another --out"
        )
    return figures


def _state_gb(
    method: Method, videos: Sequence[Video], repeat: int, size: int | None
) -> float:
    """Gigabytes of the largest state among the repeated videos."""
    longest: dict[tuple[tuple[int, int], int], int] = {}
    for video in videos:
        height, width = video.given.shape
        objects = len(np.setdiff1d(video.given, [0, 255]))
        kind = (working_size(height, width, size), objects)
        longest[kind] = max(longest.get(kind, 0), repeat * video.length)
    return max(state_bytes(method, *kind, n) for kind, n in longest.items()) / 1e9


def draw(rows: Sequence[Row], path: Path) -> None:
    """Draws J&F, frames/s and memory against the length, one line a method."""
    plt = pyplot()
    panels = {
        "j_and_f": "J&F",
        "frames_per_s": "frames/s",
        "peak_mb": "peak memory, MB (dotted: the state)",
    }
    figure, axes = plt.subplots(1, 3, figsize=(10.5, 3.4), layout="constrained")
    for axis, (field, title) in zip(axes, panels.items(), strict=True):
        for number, name in enumerate(dict.fromkeys(row.method for row in rows)):
            own = [row for row in rows if row.method == name]
            left_out = ", ".join(f"x{row.repeat}" for row in own if row.note)
            label = f"{name} (without {left_out})" if left_out else name
            known = [row for row in own if not row.note]
            repeats = [row.repeat for row in known]
            style = {"color": f"C{number}", "marker": _MARKERS[number % len(_MARKERS)]}
            axis.plot(repeats, [getattr(r, field) for r in known], label=label, **style)
            if field == "peak_mb":
                axis.plot(repeats, [r.state_mb for r in known], ":", color=f"C{number}")
        axis.set_xticks(sorted({row.repeat for row in rows}))
        axis.set_xlabel("times the video's length")
        axis.set_title(title, fontsize=10)
        axis.grid(alpha=0.3)
        axis.margins(y=0.1)
        if field != "j_and_f":
            axis.set_ylim(0, 1.1 * axis.get_ylim()[1])
    axes[0].legend(fontsize=9)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png", dpi=150)
    plt.close(figure)


if __name__ == "__main__":
    sys.exit(main())
