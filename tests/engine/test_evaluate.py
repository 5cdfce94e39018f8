"""A data set, sequence by sequence."""

import json
import math

import numpy as np
import pytest

import vos_jax
from tests.engine.clips import (
    moving_clip,
    read_masks,
    write_davis,
    write_frames,
    write_masks,
)
from vos_jax.engine.evaluate import segment_dataset
from vos_jax.errors import InputError
from vos_jax.evaluation import read_dataset, score


@pytest.fixture(scope="module")
def model(tiny_method, tiny_variables):
    return vos_jax.inference_form(tiny_method, tiny_variables)


@pytest.fixture
def davis(tmp_path):
    return write_davis(tmp_path / "davis", ["alpha", "beta"])


def test_every_sequence_gets_its_masks_and_can_be_scored(model, davis, tmp_path):
    sequences, out = read_dataset("davis2017", davis, "val"), tmp_path / "out"
    done = segment_dataset(*model, sequences, out)
    assert [(x.name, x.frames) for x in done] == [("alpha", 6), ("beta", 6)]
    frames, labels = moving_clip(8)
    for place, name in enumerate(("alpha", "beta")):
        found = read_masks(out / name)
        window = slice(place, place + 6)
        expected = vos_jax.segment_video(*model, frames[window], labels[place])
        np.testing.assert_array_equal(list(found.values()), expected)
    assert len(score("davis2017", davis, "val", out).objects) == 4


def test_sequences_that_are_done_are_left_alone(model, davis, tmp_path):
    sequences, out = read_dataset("davis2017", davis, "val"), tmp_path / "out"
    segment_dataset(*model, sequences[:1], out)
    # Only a sequence that is not touched keeps a file that is not its own work.
    kept = write_masks(out / "alpha", {"00003": np.full((32, 48), 2)}) / "00003.png"
    content = kept.read_bytes()
    done = segment_dataset(*model, sequences, out)
    assert [x.frames for x in done] == [0, 6]
    assert math.isnan(done[0].frames_per_second)
    assert kept.read_bytes() == content
    (out / "alpha" / "00005.png").unlink()
    assert [x.frames for x in segment_dataset(*model, sequences, out)] == [6, 0]
    assert kept.read_bytes() != content


def test_a_sequence_stopped_in_the_middle_goes_on_there(model, davis, tmp_path):
    sequences = read_dataset("davis2017", davis, "val")
    bad = davis / "JPEGImages" / "480p" / "beta" / "00004.png"
    content = bad.read_bytes()
    bad.write_bytes(content[:200])
    with pytest.raises(InputError, match=r"beta.00004\.png"):
        segment_dataset(*model, sequences, tmp_path / "out")
    bad.write_bytes(content)
    done = segment_dataset(*model, sequences, tmp_path / "out")
    assert [x.frames for x in done] == [0, 2]
    segment_dataset(*model, sequences, tmp_path / "whole")
    for name in ("alpha", "beta"):
        one, other = (read_masks(tmp_path / run / name) for run in ("out", "whole"))
        np.testing.assert_array_equal(list(one.values()), list(other.values()))


def test_masks_of_other_settings_are_not_mixed(model, davis, tmp_path):
    sequences, out = read_dataset("davis2017", davis, "val")[:1], tmp_path / "out"
    segment_dataset(*model, sequences, out, weights_id="A")
    other = vos_jax.create("stm", **{**vars(model[0].config), "mem_every": 2})
    for method, options, name in [
        (model[0], {"weights_id": "B"}, "weights"),
        (model[0], {"weights_id": "A", "size": 16}, "size"),
        (model[0], {"weights_id": "A", "flip": True}, "flip"),
        (other, {"weights_id": "A"}, "method"),
    ]:
        with pytest.raises(InputError, match=f"another {name}; use another --out"):
            segment_dataset(method, model[1], sequences, out, **options)


@pytest.mark.parametrize("content", ["", "{", "[]", "\x00"])
def test_a_damaged_run_file_is_named(model, davis, tmp_path, content):
    (tmp_path / "run.json").write_text(content)
    with pytest.raises(InputError, match=r"run\.json: damaged"):
        segment_dataset(*model, read_dataset("davis2017", davis, "val"), tmp_path)


def test_an_output_folder_that_is_a_file_is_refused(model, davis, tmp_path):
    (tmp_path / "out").write_text("")
    sequences = read_dataset("davis2017", davis, "val")
    with pytest.raises(InputError, match="out: cannot be made"):
        segment_dataset(*model, sequences, tmp_path / "out")


def test_objects_of_youtube_vos_come_late_and_only_listed_frames_are_written(
    model, tmp_path
):
    frames, labels = moving_clip(6)
    folder = tmp_path / "valid"
    write_frames(folder / "JPEGImages" / "clip", frames)
    late = np.where(labels[2] == 2, 2, 0)
    annotations = {"00000": np.where(labels[0] == 1, 1, 0), "00002": late}
    write_masks(folder / "Annotations" / "clip", annotations)
    objects = {
        "1": {"category": "a", "frames": ["00000", "00002", "00004"]},
        "2": {"category": "b", "frames": ["00002", "00004"]},
    }
    meta = {"videos": {"clip": {"objects": objects}}}
    (folder / "meta.json").write_text(json.dumps(meta))
    sequences = read_dataset("youtube-vos", tmp_path, "valid")
    segment_dataset(*model, sequences, tmp_path / "out")
    found = read_masks(tmp_path / "out" / "clip")
    assert sorted(found) == ["00000", "00002", "00004"]
    assert 2 not in found["00000"]
    assert (found["00002"][late == 2] == 2).all()
