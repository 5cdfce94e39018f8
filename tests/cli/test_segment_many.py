"""Many videos from files to files, as users type it: shards, failures, going on."""

import errno
import json
import os
import shutil
import signal
import threading
import time

import numpy as np
import pytest
from PIL import Image

import vos_jax
from tests.by_default import by_default
from tests.clips import read_masks, write_davis, write_frames, write_masks
from vos_jax.cli import main
from vos_jax.data.synthetic import generate_clip
from vos_jax.inference.files import SegmentJob
from vos_jax.inference.many import crew
from vos_jax.inference.many.batch import compiled_batches
from vos_jax.inference.many.files import segment_many
from vos_jax.inference.many.shards import WHOLE, Shard, parse_shard
from vos_jax.inference.many.videos import Spread, local_devices
from vos_jax.media import masks as mask_files
from vos_jax.methods import METHODS, create
from vos_jax.runtime import out_of_memory

TINY = [name for name in METHODS if name.endswith("-tiny")]
SIZES = {"a": (32, 48), "b": (48, 32), "c": (32, 48), "d": (32, 48)}


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """`videos/` of two sizes that differ in length and in objects, and `masks/`."""
    root = tmp_path_factory.mktemp("many")
    for seed, (name, size) in enumerate(SIZES.items()):
        clip = generate_clip(
            seed=seed, frames=3 + seed, size=size, objects=1 + seed % 2
        )
        write_frames(root / "videos" / name, clip.frames)
        write_masks(root / "masks", {name: clip.labels[0]})
    return root


def many(files, out, *options, method="stm-tiny", videos="videos"):
    command = ["segment-many", str(files / videos), "--masks", str(files / "masks")]
    command += ["--method", method, "--out", str(out), *options]
    kind = create(method).inputs
    return main([*command, *([] if kind is None else ["--proposals", kind.of_frames])])


def results(out, names=SIZES):
    return {name: read_masks(out / name / "masks") for name in names}


def assert_same(found, expected):
    assert found.keys() == expected.keys()
    for name, masks in expected.items():
        assert found[name].keys() == masks.keys(), name
        for frame, labels in masks.items():
            np.testing.assert_array_equal(found[name][frame], labels, err_msg=name)


@pytest.fixture(scope="module")
def expected(files, tmp_path_factory):
    """What `segment` writes for each video."""
    out = tmp_path_factory.mktemp("alone")
    for name in SIZES:
        command = ["segment", str(files / "videos" / name), "--method", "stm-tiny"]
        command += ["--mask", str(files / "masks" / f"{name}.png")]
        assert main([*command, "--out", str(out / name)]) == 0
    return results(out)


def test_masks_are_those_of_one_video_at_a_time(files, expected, tmp_path, capsys):
    assert many(files, tmp_path, "--overlay", "--save-scores") == 0
    assert_same(results(tmp_path), expected)
    told = capsys.readouterr()
    assert "4 videos" in told.err.splitlines()[0]
    assert [line.split()[0] for line in told.out.splitlines()[1:5]] == list(SIZES)
    for name in SIZES:
        assert (tmp_path / name / "overlay.mp4").exists()
        scores = sorted((tmp_path / name / "scores").iterdir())
        assert [path.stem for path in scores] == list(expected[name])


def test_several_at_once_find_the_same_in_one_program_a_size(
    files, expected, tmp_path, capsys
):
    before = compiled_batches()
    assert many(files, tmp_path, "--videos", "2", "--json") == 0
    # Of one size there are three videos for two places, of the other is only one.
    assert compiled_batches() == before + 1
    assert_same(results(tmp_path), expected)
    figures = json.loads(capsys.readouterr().out)
    assert figures["frames"] == sum(len(x) for x in expected.values())
    assert [row["frames"] for row in figures["each"]] == [3, 4, 5, 6]
    assert figures["not_done"] == 0
    # Everything is there: nothing is done again.
    stamps = {path: path.stat().st_mtime_ns for path in tmp_path.glob("*/masks/*")}
    assert many(files, tmp_path, "--videos", "2", "--json") == 0
    assert json.loads(capsys.readouterr().out)["frames"] == 0
    assert stamps == {p: p.stat().st_mtime_ns for p in tmp_path.glob("*/masks/*")}


@pytest.mark.parametrize("method", by_default(TINY))
@pytest.mark.parametrize("options", [[], ["--dtype", "bfloat16", "--flip"]], ids=str)
def test_every_method_has_places(files, tmp_path, method, options):
    once, twice = tmp_path / "1", tmp_path / "2"
    assert many(files, once, *options, method=method) == 0
    assert many(files, twice, *options, "--videos", "2", method=method) == 0
    pixels = [
        (one != other)
        for name in SIZES
        for one, other in zip(
            *(read_masks(out / name / "masks").values() for out in (once, twice)),
            strict=True,
        )
    ]
    # Rounding decides single pixels on edges, of shorter numbers some more.
    differing = np.mean([x.mean() for x in pixels])
    assert differing <= (0.005 if options else 0.0005)


# Shards


def test_shards_share_all_videos_and_each_goes_on(files, expected, tmp_path, capsys):
    assert many(files, tmp_path, "--shard", "2/2") == 0
    assert sorted(p.name for p in tmp_path.iterdir()) == [".shards", "b", "d"]
    assert many(files, tmp_path, "--shard", "1/2") == 0
    assert_same(results(tmp_path), expected)
    assert "2 videos, shard 1/2" in capsys.readouterr().err


def test_shards_are_every_kth_video():
    videos = list("abcdefg")
    shares = [Shard(number, 3).of(videos) for number in (1, 2, 3)]
    assert shares == [["a", "d", "g"], ["b", "e"], ["c", "f"]]
    assert parse_shard(None) is None
    assert str(parse_shard("2/16")) == "2/16"


def test_a_merge_that_lacks_masks_claims_nothing(davis, tmp_path, capsys):
    assert evaluate(davis, tmp_path, "--merge", "--size", "24") == 2
    assert "masks of x and 2 more are not there" in capsys.readouterr().err
    assert evaluate(davis, tmp_path, "--shard", "1/3") == 0


@pytest.mark.parametrize(
    "options, message",
    [
        (["--shard", "0/2"], "numbered from 1, so the first of 2 is 1/2"),
        (["--shard", "3/2"], "numbered from 1"),
        (["--shard", "1"], "write I/K"),
        (["--shard", "1/5"], "4 videos for 5 shards"),
        (["--videos", "0"], "--videos 0: use at least 1"),
        (["--devices", "0"], "--devices 0: this process has 1 device (cpu)"),
        (
            ["--devices", "2"],
            "--devices 2: this process has 1 device (cpu); use 1 to 1",
        ),
        (["--size", "4"], "use at least 16 pixels"),
    ],
)
def test_bad_options_end_in_one_line(files, tmp_path, capsys, options, message):
    assert many(files, tmp_path / "out", *options) == 2
    *_, line = capsys.readouterr().err.splitlines()
    assert line.startswith("vos-jax: error: ") and message in line
    assert not list((tmp_path / "out").glob("*/masks/*"))


def test_a_second_process_on_a_shard_finds_the_first(files, tmp_path, capsys):
    with WHOLE.alone(tmp_path):
        assert many(files, tmp_path) == 2
    assert "another process is writing into it" in capsys.readouterr().err
    assert not (tmp_path / "a").exists()


# Failures


@pytest.fixture
def broken(files, tmp_path):
    """The videos, of which one is damaged in the middle and one lacks an object."""
    folder = tmp_path / "files"
    shutil.copytree(files, folder)
    path = folder / "videos" / "c" / "00002.png"
    path.write_bytes(path.read_bytes()[:-200])
    Image.fromarray(np.zeros((48, 32), np.uint8)).save(folder / "masks" / "b.png")
    return folder


@pytest.mark.parametrize("options", [[], ["--videos", "2"]], ids=str)
def test_the_others_are_done_when_asked_to_keep_going(
    files, broken, expected, tmp_path, capsys, options
):
    out = tmp_path / "out"
    assert many(broken, out, "--keep-going", *options) == 2
    told = capsys.readouterr()
    error = told.err.splitlines()[-1]
    assert "2 of 4 videos could not be done" in error and error.count(": ") < 5
    assert "note: b: " in told.err and "note: c: " in told.err
    assert "00002.png" in told.err
    assert "not done: 2" in told.out
    assert_same(results(out, "ad"), {name: expected[name] for name in "ad"})
    assert list(read_masks(out / "c" / "masks")) == ["00000", "00001"]
    # Mended, the same command does the rest.
    assert many(files, out, "--keep-going", *options) == 0
    assert_same(results(out), expected)


def test_without_it_the_first_failure_ends_the_run(broken, tmp_path, capsys):
    assert many(broken, tmp_path / "out") == 2
    *_, line = capsys.readouterr().err.splitlines()
    assert "b.png" in line
    assert not list(tmp_path.glob("out/*/masks/*"))


def test_a_full_disk_stops_all(files, expected, tmp_path, monkeypatch, capsys):
    written = []
    write = mask_files.Image.Image.save

    def fill(image, *args, **options):
        written.append(args)
        if len(written) > 4:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(image, *args, **options)

    with monkeypatch.context() as patch:
        patch.setattr(mask_files.Image.Image, "save", fill)
        assert many(files, tmp_path, "--videos", "2", "--keep-going") == 2
    *_, line = capsys.readouterr().err.splitlines()
    assert "No space left on device; free some space" in line
    assert not list(tmp_path.rglob("*.tmp"))
    assert many(files, tmp_path, "--videos", "2", "--keep-going") == 0
    assert_same(results(tmp_path), expected)


def test_an_interrupt_waits_for_the_states(files, expected, tmp_path, monkeypatch):
    update, seen, lock = crew.Progress.update, [], threading.Lock()

    def interrupt(progress, count=1):
        update(progress, count)
        # The main thread looks at the videos before others segment them.
        if threading.current_thread() is threading.main_thread():
            return
        with lock:
            seen.append(count)
            if len(seen) == 6:
                os.kill(os.getpid(), signal.SIGINT)
        # The main thread hears it within a tenth of a second.
        time.sleep(0.05 * (len(seen) >= 6))

    with monkeypatch.context() as patch:
        patch.setattr(crew.Progress, "update", interrupt)
        assert many(files, tmp_path, "--videos", "2") == 130
    assert list(tmp_path.glob("*/masks/.resume.npz"))
    assert many(files, tmp_path, "--videos", "2") == 0
    assert_same(results(tmp_path), expected)


def test_more_videos_than_memory_are_refused_before_any(
    files, tmp_path, monkeypatch, capsys
):
    one = vos_jax.state_bytes(create("stm-tiny"), (32, 48), 2, frames=6)
    monkeypatch.setattr(out_of_memory, "device_memory", lambda: 3 * one - 1)
    assert many(files, tmp_path / "kept", "--videos", "3", "--keep-going") == 2
    assert "3 of 4 videos could not be done" in capsys.readouterr().err
    assert len(read_masks(tmp_path / "kept" / "b" / "masks")) == 4
    assert many(files, tmp_path, "--videos", "3") == 2
    *_, line = capsys.readouterr().err.splitlines()
    assert "the states of 3 videos of 48x32 at once" in line
    assert "use fewer --videos or --devices, a smaller --size N" in line
    assert not list(tmp_path.glob("*/masks"))


def test_a_failure_keeps_nothing_of_its_video(broken, tmp_path):
    """Its traceback has the states, and a long list has many failures."""
    model = vos_jax.load_model("stm-tiny")
    jobs = {
        name: SegmentJob(
            input=broken / "videos" / name,
            mask=broken / "masks" / f"{name}.png",
            out=tmp_path / "out" / name,
        )
        for name in "bcd"
    }
    spread = Spread(local_devices(), keep_going=True)
    one, two, three = segment_many(*model, jobs, tmp_path / "out", spread=spread)
    for outcome in (one, two):
        assert outcome.error.__traceback__ is outcome.error.__cause__ is None
        assert outcome.error.__context__ is None
    assert three.report.frames == 6


def test_what_a_killed_process_had_begun_to_write_goes(files, tmp_path):
    masks = tmp_path / "a" / "masks"
    masks.mkdir(parents=True)
    unfinished = masks / ".00001.png.4711-4712.tmp"
    unfinished.write_bytes(b"half")
    other = masks / ".mine.tmp"
    other.touch()
    assert many(files, tmp_path) == 0
    assert not unfinished.exists() and other.exists()


# A data set


@pytest.fixture(scope="module")
def davis(tmp_path_factory):
    return write_davis(tmp_path_factory.mktemp("davis"), ["x", "y", "z"], 4)


def evaluate(davis, out, *options):
    command = ["evaluate", "--dataset", "davis2017", "--root", str(davis)]
    command += ["--split", "val", "--method", "stm-tiny", "--speed", "none"]
    return main([*command, "--out", str(out), "--json", *options])


def test_shards_of_a_data_set_are_merged_into_its_scores(davis, tmp_path, capsys):
    whole, shared = tmp_path / "whole", tmp_path / "shared"
    assert evaluate(davis, whole) == 0
    expected = json.loads(capsys.readouterr().out)
    assert evaluate(davis, shared, "--shard", "1/2", "--videos", "2") == 0
    told = capsys.readouterr()
    assert json.loads(told.out)["sequences"] == 2
    assert "--merge" in told.err and "note:" not in told.err
    assert evaluate(davis, shared, "--merge") == 2
    assert "masks of y are not there" in capsys.readouterr().err
    assert evaluate(davis, shared, "--shard", "2/2") == 0
    capsys.readouterr()
    assert evaluate(davis, shared, "--merge") == 0
    assert json.loads(capsys.readouterr().out) == expected
    assert evaluate(davis, shared, "--merge", "--shard", "1/2") == 2


def test_a_sequence_that_breaks_after_it_was_begun_leaves_the_others(
    davis, tmp_path, capsys
):
    shutil.copytree(davis, tmp_path / "davis")
    out = tmp_path / "out"
    frame = tmp_path / "davis" / "JPEGImages" / "480p" / "y" / "00003.png"
    whole = frame.read_bytes()
    frame.write_bytes(whole[:-200])
    assert evaluate(tmp_path / "davis", out) == 2
    frame.write_bytes(b"")
    assert evaluate(tmp_path / "davis", out) == 2
    assert not (out / "masks" / "z" / "00003.png").exists()
    assert evaluate(tmp_path / "davis", out, "--keep-going") == 2
    assert "could not be done, for the reasons above: y;" in capsys.readouterr().err
    assert len(read_masks(out / "masks" / "z")) == 4
    frame.write_bytes(whole)
    assert evaluate(tmp_path / "davis", out) == 0


def test_a_damaged_sequence_leaves_the_others_and_no_score(davis, tmp_path, capsys):
    shutil.copytree(davis, tmp_path / "davis")
    frame = tmp_path / "davis" / "JPEGImages" / "480p" / "y" / "00002.png"
    frame.write_bytes(frame.read_bytes()[:-200])
    out = tmp_path / "out"
    assert evaluate(tmp_path / "davis", out, "--keep-going") == 2
    assert "1 of 3 videos could not be done" in capsys.readouterr().err
    assert len(read_masks(out / "masks" / "z")) == 4
    assert not (out / "scores.json").exists()
