"""The script of RDE-VOS's figure 3, on clips of a few small frames."""

import csv
import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import jax
import numpy as np
import pytest
from PIL import Image

import vos_jax
from tests.bench.toy import toy
from tests.clips import write_davis
from tests.experiments.scripts import script
from tests.methods.every import narrow
from vos_jax.inference import demo
from vos_jax.methods.weights import load_model
from vos_jax.reports.long_video import Figures

long_video = script("rde/long_video")

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Weights in `rde`, others in `other`, some without SAM in `plain`; `davis/`."""
    folder = tmp_path_factory.mktemp("files")
    method, variables = narrow("rde")
    others = jax.tree.map(lambda x: 0.9 * x, variables)
    vos_jax.save_weights(folder / "rde.safetensors", "rde", method, variables)
    vos_jax.save_weights(folder / "other.safetensors", "rde", method, others)
    plain = narrow("rde", recurrent=False)
    vos_jax.save_weights(folder / "plain.safetensors", "rde", *plain)
    write_davis(folder / "davis", ["alpha", "beta"])
    return folder


@pytest.fixture
def one_line(capsys):
    """Checks that a script has failed with one line that says what is wrong."""

    def check(status, *words):
        out, err = capsys.readouterr()
        told = [line for line in err.splitlines() if ": error: " in line]
        assert status == 2
        assert out == ""
        assert "Traceback" not in err
        assert len(told) == 1 and told[0] == err.splitlines()[-1]
        for word in words:
            assert word in told[0]

    return check


def _rows(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


# Figure 3


def _in_small(patch):
    """Generated clips of four frames, and methods of which nothing is compiled."""
    patch.setattr(demo, "_SIZE", (32, 56))
    patch.setattr(demo, "_FRAMES", 4)
    patch.setattr(long_video, "load_model", _load)


def _load(name, path, **changes):
    """In place of RDE-VOS a method whose memory does not grow, and one like STCN."""
    load_model(name, path, **changes)
    every = None if name == "rde" or "mem_capacity" in changes else 2
    return toy(every=every)


@pytest.fixture(autouse=True)
def in_small(monkeypatch):
    _in_small(monkeypatch)


def lengthen(files, out, *more, methods=("rde",), videos=("--generated", 2)):
    named = [f"{name}={files / 'rde.safetensors'}" for name in methods]
    words = [*videos, "--methods", *named, "--out", out, *more]
    return long_video.main([str(word) for word in words])


@pytest.fixture
def in_process(monkeypatch):
    """Runs the processes of several methods in this one."""

    def run(command, **options):
        return SimpleNamespace(returncode=long_video.main(command[2:]))

    monkeypatch.setattr(long_video.subprocess, "run", run)


@pytest.fixture(scope="module")
def lengthened(files, tmp_path_factory):
    """Where one method was measured at two lengths."""
    out = tmp_path_factory.mktemp("long_video")
    with pytest.MonkeyPatch.context() as patch:
        _in_small(patch)
        assert lengthen(files, out, "--repeat", 3, 1, 3) == 0
    return out


@pytest.fixture
def measured(lengthened, tmp_path):
    """A copy that may be changed."""
    return shutil.copytree(lengthened, tmp_path / "measured")


def test_a_method_has_a_row_for_each_length(lengthened):
    rows = _rows(lengthened / "long_video.csv")
    assert [(row["method"], row["repeat"], row["frames"]) for row in rows] == [
        ("rde", "1", "4"),
        ("rde", "3", "12"),
    ]
    for row in rows:
        both, j, f = (float(row[name]) for name in ("j_and_f", "j", "f"))
        assert both == pytest.approx((j + f) / 2)
        assert float(row["frames_per_s"]) > 0
    assert len({row["state_mb"] for row in rows}) == 1
    # One and two objects; longer videos need no program of their own.
    assert [row["programs"] for row in rows] == ["2", "0"]


def test_means_are_those_of_all_objects(lengthened):
    for repeat, row in zip((1, 3), _rows(lengthened / "long_video.csv"), strict=True):
        folder = lengthened / "videos" / "rde" / f"x{repeat}"
        found = [
            json.loads((folder / f"clip{i}.json").read_text())["figures"]
            for i in range(2)
        ]
        assert [len(each["j"]) for each in found] == [1, 2]
        for name in "jf":
            objects = [x for each in found for x in each[name]]
            assert float(row[name]) == pytest.approx(np.mean(objects))


def test_methods_are_compared_and_too_large_a_state_is_left_out(
    files, tmp_path, in_process, capsys
):
    needs = {
        name: vos_jax.state_bytes(toy(every=every)[0], (32, 56), 1, 12) / 1e9
        for name, every in (("rde", None), ("stcn", 2))
    }
    assert needs["stcn"] > needs["rde"]
    limit = ("--max-memory-gb", (needs["stcn"] + needs["rde"]) / 2)
    options = ("--repeat", 1, 3, *limit)
    names, one = ("rde", "stcn"), ("--generated", 1)
    assert lengthen(files, tmp_path, *options, methods=names, videos=one) == 0
    rows = _rows(tmp_path / "long_video.csv")
    assert [(row["method"], row["repeat"]) for row in rows] == [
        *(("rde", "1"), ("rde", "3"), ("stcn", "1"), ("stcn", "3"))
    ]
    assert [row["note"] for row in rows[:3]] == [""] * 3
    assert rows[3]["note"] == f"skipped: needs {needs['stcn']:.3g} GB"
    assert rows[3]["j"] == "" != rows[2]["j"]
    assert rows[3]["note"] in capsys.readouterr().out
    with Image.open(tmp_path / "long_video.png") as image:
        assert image.width > 1000
        assert len(np.unique(np.asarray(image.convert("L")))) > 10


def test_a_capacity_bounds_the_memory_of_stcn(files, tmp_path):
    bound = ("--repeat", 1, 9, "--mem-capacity", 2)
    options = {"methods": ("stcn",), "videos": ("--generated", 1)}
    assert lengthen(files, tmp_path, *bound, **options) == 0
    sizes = [row["state_mb"] for row in _rows(tmp_path / "long_video.csv")]
    assert len(sizes) == 2 and len(set(sizes)) == 1


def test_videos_of_davis_are_lengthened(files, tmp_path):
    davis = ("--root", files / "davis", "--dataset", "davis2017", "--split", "val")
    options = ("--repeat", 1, "--size", 16)
    assert lengthen(files, tmp_path, *options, videos=davis) == 0
    (row,) = _rows(tmp_path / "long_video.csv")
    assert row["frames"] == "6"
    assert sorted(path.name for path in tmp_path.rglob("x1/*")) == [
        "alpha.json",
        "beta.json",
    ]


def test_only_what_is_missing_is_measured(measured, files, monkeypatch):
    before = (measured / "long_video.csv").read_bytes()
    played, play = [], long_video.play

    def watch(method, variables, video, repeat, **options):
        played.append((video.name, repeat))
        return play(method, variables, video, repeat, **options)

    monkeypatch.setattr(long_video, "play", watch)
    assert lengthen(files, measured, "--repeat", 1, 3) == 0
    assert played == []
    assert (measured / "long_video.csv").read_bytes() == before
    (measured / "videos" / "rde" / "x3" / "clip0.json").unlink()
    assert lengthen(files, measured, "--repeat", 1, 3) == 0
    assert played == [("clip0", 3)]


def test_an_interrupted_run_keeps_what_was_measured(measured, files, monkeypatch):
    folder = measured / "videos" / "rde" / "x3"
    for path in folder.iterdir():
        path.unlink()
    play = long_video.play

    def stop(method, variables, video, repeat, **options):
        if video.name == "clip1":
            raise KeyboardInterrupt
        return play(method, variables, video, repeat, **options)

    monkeypatch.setattr(long_video, "play", stop)
    assert lengthen(files, measured, "--repeat", 1, 3) == 130
    assert [path.name for path in folder.iterdir()] == ["clip0.json"]


def test_an_error_of_a_methods_process_ends_the_run(files, tmp_path, monkeypatch):
    def fail(command, **options):
        return SimpleNamespace(returncode=2)

    monkeypatch.setattr(long_video.subprocess, "run", fail)
    with pytest.raises(SystemExit) as left:
        lengthen(files, tmp_path, methods=("rde", "stcn"))
    assert left.value.code == 2


@pytest.mark.slow
def test_methods_have_processes_of_their_own(files, tmp_path):
    names, one = ("rde", "stcn"), ("--generated", 1)
    assert lengthen(files, tmp_path, "--repeat", 1, methods=names, videos=one) == 0
    rows = _rows(tmp_path / "long_video.csv")
    assert [row["method"] for row in rows] == ["rde", "stcn"]


def test_what_is_wrong_with_a_figure_is_told_in_one_line(
    measured, files, tmp_path, one_line
):
    one_line(lengthen(files, measured, "--repeat", 0), "--repeat 0: use at least 1")
    one_line(lengthen(files, measured, videos=("--generated", 0)), "--generated 0")
    one_line(lengthen(files, measured, methods=("rde", "rde")), "rde is named twice")
    one_line(lengthen(files, measured, methods=("ride",)), "unknown method 'ride'")
    one_line(lengthen(files, measured, methods=("stm",)), "weights of 'rde', not of")
    gone = tmp_path / "gone"
    one_line(lengthen(files, measured, videos=("--root", gone)), "gone does not exist")
    one_line(lengthen(gone, measured), f"there is no file {gone}")
    bare = ["--generated", "1", "--methods", "rde", "--out", str(measured)]
    one_line(long_video.main(bare), "rde comes without weights; write rde=FILE")


def test_a_sequence_is_chosen_and_an_interval_by_its_method(
    files, tmp_path, monkeypatch
):
    played = []

    def load(name, weights, **changes):
        played.append(changes)
        return toy()

    def play(method, variables, video, repeat, **options):
        played.append(video.name)
        return Figures(6, [0.5], [0.5], 1.0, 1.0, 1.0, 1.0, 1)

    monkeypatch.setattr(long_video, "play", play)
    monkeypatch.setattr(long_video, "load_model", load)
    about = ("--sequences", "beta", "--every", "stcn=60", "--repeat", 1, "--part")
    videos = ("--root", files / "davis")
    for name in ("stcn", "rde"):
        out = tmp_path / name
        assert lengthen(files, out, *about, methods=[name], videos=videos) == 0
    assert played == [{"mem_every": 60}, "beta", {}, "beta"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--every", "rde=0"), "--every rde=0: write NAME=N"),
        (("--every", "stcn=3"), "--every stcn: is none of the --methods"),
        (("--sequences", "beta"), "--sequences: generated clips have no names"),
    ],
)
def test_what_says_nothing_of_a_method_or_a_video_is_refused(
    words, message, files, tmp_path, one_line
):
    one_line(lengthen(files, tmp_path, *words), message)


def test_figures_of_other_settings_or_damaged_ones_are_refused(
    measured, files, one_line
):
    small = ("--repeat", 1, "--size", 16)
    one_line(
        lengthen(files, measured, *small), "clip0.json: measured with another size"
    )
    path = measured / "videos" / "rde" / "x1" / "clip1.json"
    path.write_text(path.read_text()[:50])
    one_line(lengthen(files, measured, "--repeat", 1), "clip1.json: damaged")


def test_videos_come_from_one_place(files, tmp_path, capsys):
    for videos in ((), ("--generated", 1, "--root", files)):
        with pytest.raises(SystemExit) as left:
            lengthen(files, tmp_path, videos=videos)
        assert left.value.code == 2


def test_weights_that_ship_are_named_by_their_method(monkeypatch, tmp_path):
    shipped = tmp_path / "shipped.safetensors"
    shipped.touch()
    monkeypatch.setattr(long_video, "shipped_weights", lambda name: shipped / name)
    monkeypatch.setattr(Path, "is_file", lambda path: True)
    args = SimpleNamespace(methods=["rde-tiny", "stcn=rde-tiny"])
    assert long_video._models(args) == {
        "rde-tiny": shipped / "rde-tiny",
        "stcn": shipped / "rde-tiny",
    }
