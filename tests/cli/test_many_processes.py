"""Many videos over devices and processes that may be killed, as clusters run them."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.clips import write_frames, write_masks
from vos_jax.data.synthetic import generate_clip

pytestmark = pytest.mark.slow

EXAMPLES = Path(__file__).parents[2] / "examples"
KILLS = 20
SIZES = ((48, 64), (64, 48), (64, 96), (96, 64), (80, 80), (64, 112))

# Runs `vos-jax` and says, last of all, how many programs step batches.
COUNTED = """
import sys
from vos_jax.cli import main
from vos_jax.inference.many.batch import compiled_batches
code = main(sys.argv[1:])
print(compiled_batches())
sys.exit(code)
"""


def write_videos(root, each, sizes, length):
    """Some videos of each size that differ in length and in objects."""
    for number in range(each * len(sizes)):
        name, size = f"v{number:02d}", sizes[number % len(sizes)]
        frames, objects = length + 3 * number % 7, 1 + number % 3
        clip = generate_clip(seed=number, frames=frames, size=size, objects=objects)
        write_frames(root / "videos" / name, clip.frames)
        write_masks(root / "masks", {name: clip.labels[0]})
    return root


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    """One cache of programs, compiled as users have them, and a command to find."""
    folder = tmp_path_factory.mktemp("environment")
    command = folder / "bin" / "vos-jax"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -m vos_jax "$@"\n')
    command.chmod(0o755)
    return os.environ | {
        "XDG_CACHE_HOME": str(folder / "cache"),
        "PATH": f"{command.parent}:{os.environ['PATH']}",
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
    }


def words(root, out, *options):
    about = [str(root / "videos"), "--masks", str(root / "masks")]
    return [*about, "--method", "stm-tiny", "--out", str(out), *options]


def start(environment, *command):
    return subprocess.Popen(
        list(map(str, command)),
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process):
    out, error = process.communicate()
    assert process.returncode == 0, error
    return out


def many(environment, root, out, *options):
    """Starts `segment-many` in a process."""
    command = [sys.executable, "-m", "vos_jax", "segment-many"]
    return start(environment, *command, *words(root, out, *options))


def contents(out):
    """All files that a run leaves, byte by byte."""
    files = (path for path in out.rglob("*") if path.is_file())
    return {str(path.relative_to(out)): path.read_bytes() for path in files}


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    return write_videos(tmp_path_factory.mktemp("small"), 3, SIZES[:2], 12)


@pytest.fixture(scope="module")
def undisturbed(small, environment, tmp_path_factory):
    out = tmp_path_factory.mktemp("undisturbed")
    finish(many(environment, small, out, "--shard", "1/2"))
    finish(many(environment, small, out, "--shard", "2/2"))
    return contents(out)


def test_eight_devices_and_four_videos_at_once(tmp_path, environment):
    root = write_videos(tmp_path, 4, SIZES, 16)
    singles = {}
    started = time.monotonic()
    for video in sorted((root / "videos").iterdir()):
        command = [sys.executable, "-m", "vos_jax", "segment", video]
        command += ["--mask", root / "masks" / f"{video.name}.png"]
        command += ["--method", "stm-tiny", "--out", tmp_path / "one" / video.name]
        finish(start(environment, *command))
    singles = time.monotonic() - started
    flags = "--xla_force_host_platform_device_count=8"
    devices = environment | {"XLA_FLAGS": f"{environment['XLA_FLAGS']} {flags}"}
    options = ["--videos", "4", "--json"]
    command = [sys.executable, "-c", COUNTED, "segment-many"]
    run = start(devices, *command, *words(root, tmp_path / "many", *options))
    figures, programs = finish(run).strip().splitlines()
    told = json.loads(figures)
    assert told["videos"] == 24 and told["not_done"] == 0
    assert int(programs) <= len(SIZES)
    assert contents(tmp_path / "many").items() >= contents(tmp_path / "one").items()
    each = told["seconds"] / told["frames"], singles / told["frames"]
    print(f"a frame: {each[0]:.3f} s together, {each[1]:.3f} s one by one")


def wait_for_masks(process, out, count):
    """Until there are so many more masks than now, or the process ends."""
    before = len(list(out.glob("*/masks/*.png")))
    while process.poll() is None:
        if len(list(out.glob("*/masks/*.png"))) >= before + count:
            return
        time.sleep(0.005)


@pytest.mark.parametrize("options", [[], ["--videos", "2"]], ids=str)
def test_killed_again_and_again_it_ends_with_the_same_files(
    small, undisturbed, environment, tmp_path, options
):
    draw, kills = random.Random(0), 0
    # A shard can be done before it was killed often enough; then all begins anew.
    for out in map(tmp_path.joinpath, map(str, range(KILLS))):
        left = ["1/2", "2/2"]
        while left:
            running = [
                many(environment, small, out, "--shard", shard, *options)
                for shard in left
            ]
            for process in running:
                if kills < KILLS:
                    wait_for_masks(process, out, draw.randrange(6))
                    time.sleep(draw.uniform(0, 0.05))
                    process.kill()
                    process.communicate()
                    kills += process.returncode == -signal.SIGKILL
                else:
                    finish(process)
            ended = zip(left, running, strict=True)
            left = [shard for shard, process in ended if process.returncode != 0]
        assert contents(out) == undisturbed
        if kills == KILLS:
            return
    pytest.fail(f"only {kills} of {KILLS} kills in {KILLS} runs")


def test_a_second_process_on_a_shard_ends_in_one_line(small, environment, tmp_path):
    first = many(environment, small, tmp_path, "--shard", "1/2")
    while not (tmp_path / ".shards").exists():
        time.sleep(0.05)
    time.sleep(0.5)
    second = many(environment, small, tmp_path, "--shard", "1/2")
    _, error = second.communicate()
    assert second.returncode == 2 and "another process" in error.splitlines()[-1]
    finish(first)


def test_an_array_of_three_tasks_does_all(small, undisturbed, environment, tmp_path):
    script = EXAMPLES / "slurm_array.sh"
    tasks = [
        start(
            environment
            | {"SLURM_ARRAY_TASK_ID": str(task), "SLURM_ARRAY_TASK_COUNT": "3"},
            *("bash", script, *words(small, tmp_path)),
        )
        for task in (1, 2, 3)
    ]
    for task in tasks:
        finish(task)
    found = contents(tmp_path)
    assert found == undisturbed


@pytest.mark.skipif(find_spec("ray") is None, reason="needs ray")
def test_ray_does_all(small, undisturbed, environment, tmp_path):
    script = EXAMPLES / "ray_shards.py"
    run = start(
        environment,
        *(sys.executable, script, "--shards", "3", *words(small, tmp_path)),
    )
    assert finish(run).count("exit code 0") == 3
    assert contents(tmp_path) == undisturbed
