"""Files in, files out, for a method that takes more than frames."""

import json
from pathlib import Path

import numpy as np
import pytest

import vos_jax
from tests import hinted as hinted_file
from tests.bench.toy import toy
from tests.clips import moving_clip, read_masks, write_davis, write_frames, write_masks
from tests.hinted import HINTS, HintFile, hinted, maps_of, shrink, write_hints
from vos_jax.cli import main
from vos_jax.errors import InputError
from vos_jax.evaluation import read_dataset
from vos_jax.inference import demo
from vos_jax.inference.dataset import segment_dataset
from vos_jax.inference.files import SegmentJob, segment_files

SIZE = (32, 48)


@pytest.fixture(scope="module")
def model():
    return vos_jax.inference_form(*hinted())


@pytest.fixture(scope="module")
def hints():
    return [shrink(each, SIZE) for each in maps_of(8)]


@pytest.fixture
def job(tmp_path, clip):
    """Makes jobs on the clip and its hints, each with an `out` of its own name."""
    frames, labels = clip
    write_frames(tmp_path / "frames", frames)
    write_masks(tmp_path, {"first": labels[0], "last": labels[-1]})
    write_hints(tmp_path / "hints.npz", maps_of(8))

    def make(out="out", **options) -> SegmentJob:
        paths = {"input": "frames", "mask": "first.png", "inputs": "hints.npz"}
        named = {name: tmp_path / path for name, path in paths.items()}
        return SegmentJob(**{**named, "out": tmp_path / out, **options})

    return make


def masks_of(job):
    return np.stack(list(read_masks(job.out / "masks").values()))


def test_masks_are_those_of_segment_video(model, job, clip, hints):
    segment_files(*model, job())
    expected = vos_jax.segment_video(*model, clip[0], clip[1][0], inputs=hints)
    np.testing.assert_array_equal(masks_of(job()), expected)
    noted = json.loads((job().out / "masks" / ".run.json").read_text())
    assert noted["settings"]["inputs"] == HintFile(job().inputs).identity


def test_backwards_the_last_frame_is_the_one_without(model, job, clip, hints, tmp_path):
    maps = maps_of(8)
    others = {f"{time:05d}": maps[time] for time in range(7)}
    np.savez(tmp_path / "others.npz", **others)
    turned = job(
        mask=tmp_path / "last.png", reverse=True, inputs=tmp_path / "others.npz"
    )
    segment_files(*model, turned)
    expected = vos_jax.segment_video(
        *(*model, clip[0], clip[1][-1]), inputs=hints, reverse=True
    )
    np.testing.assert_array_equal(masks_of(turned), expected)


def test_frames_before_the_first_mask_need_none(model, job, clip, hints, tmp_path):
    masks = write_masks(tmp_path / "given", {"00002": clip[1][2]})
    maps = maps_of(8)
    np.savez(tmp_path / "h.npz", **{f"{i:05d}": maps[i] for i in range(3, 8)})
    segment_files(*model, job(mask=masks, inputs=tmp_path / "h.npz"))
    expected = vos_jax.segment_video(*model, clip[0][2:], clip[1][2], inputs=hints[2:])
    np.testing.assert_array_equal(masks_of(job()), expected)


def test_all_frames_are_looked_for_before_anything_is_written(model, job, tmp_path):
    few = write_hints(tmp_path / "few.npz", maps_of(7))
    with pytest.raises(InputError, match=r"few\.npz: no hints for frame 00007"):
        segment_files(*model, job(inputs=few))
    assert not job().out.exists()


def stop_at(job, name):
    """Damages a frame, which a run then stops at; gives what mends it."""
    path = job.input / f"{name}.png"
    content = path.read_bytes()
    path.write_bytes(content[:200])
    return lambda: path.write_bytes(content)


def test_a_resumed_run_ends_with_the_same_bits(model, job):
    options = {"size": 16, "flip": True, "save_scores": True}
    mend = stop_at(job(), "00005")
    with pytest.raises(InputError, match=r"00005\.png"):
        segment_files(*model, job(**options))
    mend()
    report = segment_files(*model, job(**options, resume=True))
    assert report.frames == 3
    segment_files(*model, job("whole", **options))
    for name in ("masks", "scores"):
        one, other = (
            {path.name: path.read_bytes() for path in (job(out).out / name).iterdir()}
            for out in ("out", "whole")
        )
        assert {**one, ".run.json": b""} == {**other, ".run.json": b""}


def test_a_run_does_not_go_on_with_other_hints(model, job, tmp_path):
    mend = stop_at(job(), "00005")
    with pytest.raises(InputError, match=r"00005\.png"):
        segment_files(*model, job())
    mend()
    others = write_hints(tmp_path / "others.npz", maps_of(8, seed=4))
    message = f"other settings \\(inputs='{HintFile(job().inputs).identity}'\\)"
    with pytest.raises(InputError, match=message):
        segment_files(*model, job(inputs=others, resume=True))


def test_runs_without_inputs_are_noted_as_before(job):
    segment_files(*toy(), job(inputs=None))
    noted = json.loads((job().out / "masks" / ".run.json").read_text())
    assert "inputs" not in noted["settings"]


# Data sets


@pytest.fixture
def davis(tmp_path):
    """Two sequences, and hints for both in one file."""
    root = write_davis(tmp_path / "davis", ["alpha", "beta"])
    named = {
        f"{name}-{time:05d}": each
        for seed, name in enumerate(("alpha", "beta"))
        for time, each in enumerate(maps_of(6, seed=seed))
    }
    np.savez(tmp_path / "hints.npz", **named)
    return root, tmp_path / "hints.npz", named


def test_every_sequence_has_its_own_hints(model, davis, tmp_path):
    root, path, _ = davis
    sequences = read_dataset("davis2017", root, "val")
    segment_dataset(*model, sequences, tmp_path / "out", inputs=path)
    frames, labels = moving_clip(8)
    for place, name in enumerate(("alpha", "beta")):
        own = [shrink(each, SIZE) for each in maps_of(6, seed=place)]
        expected = vos_jax.segment_video(
            *(*model, frames[place : place + 6], labels[place]), inputs=own
        )
        found = read_masks(tmp_path / "out" / name)
        np.testing.assert_array_equal(list(found.values()), expected)
    noted = json.loads((tmp_path / "out" / "run.json").read_text())
    assert noted["inputs"] == HintFile(path).identity
    with pytest.raises(InputError, match="masks made with another inputs"):
        segment_dataset(*model, sequences, tmp_path / "out", inputs=Path("light"))


def test_the_last_sequence_is_looked_at_before_the_first_is_segmented(
    model, davis, tmp_path
):
    root, path, named = davis
    np.savez(path, **{name: x for name, x in named.items() if name != "beta-00005"})
    sequences = read_dataset("davis2017", root, "val")
    with pytest.raises(InputError, match="no hints for frame beta-00005"):
        segment_dataset(*model, sequences, tmp_path / "out", inputs=path)
    assert not list((tmp_path / "out").rglob("*.png"))
    segment_dataset(*model, sequences[:1], tmp_path / "out", inputs=path)


# The command line


@pytest.fixture
def weights(model, tmp_path):
    """The method by its file, and weights of it."""
    method = hinted_file.__file__
    vos_jax.save_weights(tmp_path / "w.safetensors", method, *hinted())
    return ["--method", method, "--weights", str(tmp_path / "w.safetensors")]


def test_the_command_line_takes_them_under_two_names(job, weights, clip, capsys):
    words = ["segment", str(job().input), "--mask", str(job().mask), *weights]
    for name in ("--proposals", "--inputs"):
        out = ["--out", str(job(name).out)]
        assert main([*words, *out, name, str(job().inputs)]) == 0
    np.testing.assert_array_equal(
        masks_of(job("--inputs")), masks_of(job("--proposals"))
    )
    assert f"inputs {job().inputs}; " in capsys.readouterr().err
    assert main([*words, *out]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "takes hints with every frame; name a file of them with --proposals" in line
    index = words.index("--weights")
    words[index - 1 : index + 2] = ["stm-tiny"]
    assert main([*words, *out, "--proposals", "light"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith("light: this method takes nothing but frames; leave them out")


def test_the_demo_makes_hints_of_its_frames(model, tmp_path, monkeypatch):
    monkeypatch.setattr(demo, "_WORLD_SIZE", (32, 48))
    monkeypatch.setattr(demo, "_FRAMES", 4)
    demo.run_demo(*model, tmp_path / "demo", clips=1)
    noted = json.loads((tmp_path / "demo" / "masks" / "run.json").read_text())
    assert noted["inputs"] == "light"
    monkeypatch.setattr(hinted_file, "HINTS", HINTS._replace(of_frames=None))
    with pytest.raises(InputError, match="takes hints with every frame"):
        demo.run_demo(*model, tmp_path / "demo", clips=1)
