"""`vos-jax annotate` as typed: a process of its own, spoken to over its port."""

import random
import signal
import subprocess
import sys
import time
from contextlib import contextmanager

import numpy as np
import pytest

from tests.app.client import Client
from tests.by_default import by_default
from tests.cli.test_every_option import WEIGHTS, changes, inputs_of
from tests.clips import read_masks, write_frames, write_masks
from tests.optional import needs
from vos_jax.cli import main
from vos_jax.data.synthetic import generate_clip

needs("starlette")
needs("uvicorn")
needs("websockets")

FRAMES, SIZE = 5, (32, 48)
KILLS = 10


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    root = tmp_path_factory.mktemp("clip")
    clip = generate_clip(seed=7, frames=FRAMES, size=SIZE, objects=2)
    write_frames(root / "frames", clip.frames)
    write_masks(root, {"first": clip.labels[0]})
    return root


@contextmanager
def annotate(*words, end=signal.SIGTERM):
    """Runs the command; gives a client of it, and ends it by a signal."""
    command = [sys.executable, "-m", "vos_jax", "annotate", *map(str, words)]
    process = subprocess.Popen(
        [*command, "--no-browser"], stdout=subprocess.PIPE, text=True
    )
    try:
        line = process.stdout.readline()
        assert "http://127.0.0.1:" in line, "the server did not start"
        port, token = line.rstrip().rstrip("/").rpartition(":")[2].split("/")
        yield Client(int(port), token)
        process.send_signal(end)
        assert process.wait(60) == (0 if end != signal.SIGKILL else -signal.SIGKILL)
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def options_of(method):
    """All that changes masks, each option where the method has it."""
    options = ["--method", method, "--weights", str(WEIGHTS[method])]
    options += ["--dtype", "bfloat16", "--precision", "high", "--size", "48"]
    options += ["--flip", "--allow-damaged", "--compilation-cache", "--debug"]
    return [*options, *inputs_of(method), *changes(method)]


@pytest.mark.parametrize("method", by_default(sorted(WEIGHTS), ("stm-tiny",)))
def test_with_every_option_masks_are_those_of_segment(files, method, tmp_path):
    video, options, out = files / "frames", options_of(method), tmp_path / "out"
    own = ("--state-memory", "0.1", "--mask", files / "first.png", "--browser")
    with annotate(video, *options, "--out", out, *own) as client:
        assert client.command("track", direction="forward", frame=0)[0] == 200
        assert client.wait()["status"] == "m" * FRAMES
        labels, version = client.labels(2, SIZE)
        labels[2:12, 2:12] = 1
        assert client.put(2, labels, version)[0] == 200
        assert client.command("track", direction="forward", frame=2)[0] == 200
        client.wait()
        assert client.command("export")[0] == 200
        client.wait()
    # What is reopened, at the port that was there, is what it was.
    again = ("--out", out, "--port", client.port)
    with annotate(video, *options, *again, end=signal.SIGINT) as second:
        assert second.token == client.token
        assert second.project()["status"] == "m" * FRAMES
    theirs = tmp_path / "theirs"
    command = ["segment", str(video), "--mask", str(out / "given")]
    assert main([*command, "--out", str(theirs), *options]) == 0
    expected = read_masks(theirs / "masks")
    assert len(expected) == FRAMES
    found = read_masks(out / "masks")
    assert found.keys() == expected.keys()
    for name in found:
        labels = expected[name]
        if name == "00002":
            # What is drawn stays to the pixel, also where less is computed.
            given = read_masks(out / "given")[name]
            labels = np.where(labels == 1, given, labels)
        np.testing.assert_array_equal(found[name], labels)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("nothing.mp4",), "nothing.mp4 does not exist"),
        (("{frames}", "--state-memory", "-1"), "--state-memory -1.0: use 0 or more"),
        (("{frames}", "--port", "70000"), "--port 70000"),
        (("{frames}", "--size", "8"), "size=8: use at least 16"),
        (("{frames}", "--mask", "no.png"), "no.png does not exist"),
        (("{frames}", "--proposals", "x.json"), "takes nothing but frames"),
    ],
)
def test_what_cannot_be_is_told_in_a_line(files, words, told, tmp_path, capsys):
    words = [word.format(frames=files / "frames") for word in words]
    words += ["--method", "stm-tiny", "--out", str(tmp_path / "out"), "--no-browser"]
    assert main(["annotate", *words]) == 2
    assert told in capsys.readouterr().err


@pytest.mark.slow
def test_a_server_that_is_killed_at_any_moment_loses_nothing(tmp_path):
    clip = generate_clip(seed=3, frames=60, size=(64, 96), objects=2)
    video = write_frames(tmp_path / "frames", clip.frames)
    first = write_masks(tmp_path / "first", {"00000": clip.labels[0]})
    words = [video, "--method", "stm-tiny", "--out", tmp_path / "out"]
    rng, size = random.Random(0), (64, 96)
    masks: dict = {}
    with annotate(*words, "--mask", first):
        pass
    for kill in range(KILLS):
        with annotate(*words, end=signal.SIGKILL) as client:
            state = client.project()
            assert len(state["objects"]) == 2 + kill
            for frame, labels in masks.items():
                np.testing.assert_array_equal(client.labels(frame, size)[0], labels)
            at = state["status"].rindex("m")
            if kill % 3 == 2:
                labels, version = client.labels(at, size)
                labels[:9, 5 * kill : 5 * kill + 9] = 1 + kill % 2
                assert client.put(at, labels, version)[0] == 200
            client.command("track", direction="forward", frame=at)
            time.sleep(rng.uniform(0.5, 4))
            assert client.command("add_object", name=f"{kill}")[0] == 200
            status = client.project()["status"]
            known = [i for i, letter in enumerate(status) if letter == "m"]
            masks = {i: client.labels(i, size)[0] for i in known}
    with annotate(*words) as client:
        client.command("track", direction="forward", frame=0)
        assert client.wait()["status"] == 60 * "m"
        client.command("export", overlay=False, coco=False)
        client.wait()
    command = ["segment", str(video), "--mask", str(tmp_path / "out" / "given")]
    command += ["--method", "stm-tiny", "--out", str(tmp_path / "theirs")]
    assert main(command) == 0
    expected = read_masks(tmp_path / "theirs" / "masks")
    found = read_masks(tmp_path / "out" / "masks")
    assert len(found) == len(expected) == 60
    for name, labels in found.items():
        np.testing.assert_array_equal(labels, expected[name])
