"""A data set, sequence by sequence."""

import json
import math
import shutil

import numpy as np
import pytest

import vos_jax
from tests.clips import (
    moving_clip,
    read_masks,
    write_davis,
    write_frames,
    write_masks,
)
from vos_jax.errors import InputError, InputWarning
from vos_jax.evaluation import read_dataset, score
from vos_jax.inference import dataset as evaluate
from vos_jax.inference.dataset import segment_dataset


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


def test_a_sequence_to_go_on_with_is_opened_once(model, davis, tmp_path, monkeypatch):
    sequences, out = read_dataset("davis2017", davis, "val"), tmp_path / "out"
    segment_dataset(*model, sequences[:1], out)
    (out / "alpha" / "00005.png").unlink()
    opened, open_frames = [], evaluate.open_frames

    def noted(folder):
        opened.append(folder.name)
        return open_frames(folder)

    monkeypatch.setattr(evaluate, "open_frames", noted)
    segment_dataset(*model, sequences, out)
    assert opened == ["alpha", "beta"]


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


def as_davis2016(root):
    """The same files as a split of DAVIS 2016."""
    shutil.copytree(root / "ImageSets" / "2017", root / "ImageSets" / "2016")
    return read_dataset("davis2016", root, "val")


def files_in(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def evaluated(model, davis, tmp_path, monkeypatch):
    """The split, evaluated into `out`; from there on nothing may be segmented."""
    sequences, out = read_dataset("davis2017", davis, "val"), tmp_path / "out"
    segment_dataset(*model, sequences, out, split="val", root=davis)
    monkeypatch.setattr(evaluate, "FileRun", None)

    def again(sequences, split="val", root=davis, out=out):
        return segment_dataset(*model, sequences, out, split=split, root=root)

    return again


def test_masks_of_two_data_sets_are_not_mixed(evaluated, davis, tmp_path):
    before = files_in(tmp_path / "out")
    with pytest.raises(InputError, match="out: holds masks made with another dataset;"):
        evaluated(as_davis2016(davis))
    assert files_in(tmp_path / "out") == before


def test_another_split_and_another_resolution_are_refused(evaluated, davis):
    sequences = read_dataset("davis2017", davis, "val")
    with pytest.raises(InputError, match="another split; use another --out"):
        evaluated(sequences, split="train")
    for kind in ("JPEGImages", "Annotations"):
        shutil.copytree(davis / kind / "480p", davis / kind / "half")
    with pytest.raises(InputError, match="another resolution; use another --out"):
        evaluated(read_dataset("davis2017", davis, "val", resolution="half"))
    default = read_dataset("davis2017", davis, "val", resolution="480p")
    assert [x.frames for x in evaluated(default)] == [0, 0]


def test_a_data_set_may_move(evaluated, davis, tmp_path):
    moved = shutil.copytree(davis, tmp_path / "moved", copy_function=shutil.copy)
    sequences = read_dataset("davis2017", moved, "val")
    assert [x.frames for x in evaluated(sequences, root=moved)] == [0, 0]
    noted = json.loads((tmp_path / "out" / "run.json").read_text())
    assert noted["root"] == str(moved)


def test_another_data_set_of_that_name_is_refused(evaluated, davis, tmp_path):
    other = write_davis(tmp_path / "other", ["beta", "gamma"])
    sequences = read_dataset("davis2017", other, "val")
    with pytest.raises(InputError, match=r"another root, .*, of which alpha is"):
        evaluated(sequences, root=other)
    renamed = write_davis(tmp_path / "renamed", ["beta", "alpha"])
    sequences = read_dataset("davis2017", renamed, "val")
    with pytest.raises(InputError, match=r"out/beta: of a run with other settings"):
        evaluated(sequences, root=renamed)


def test_a_sequence_that_was_replaced_is_noticed_before_any_work(evaluated, davis):
    sequences = read_dataset("davis2017", davis, "val")
    frames = davis / "JPEGImages" / "480p" / "beta"
    shutil.copy(frames / "00004.png", frames / "00003.png")
    with pytest.raises(InputError, match=r"beta: of .*\(00003 .*remove the folder"):
        evaluated(sequences)


def test_an_annotation_that_was_replaced_is_noticed(evaluated, davis):
    masks = davis / "Annotations" / "480p" / "beta"
    shutil.copy(masks / "00002.png", masks / "00000.png")
    with pytest.raises(InputError, match=r"beta: .* other settings \(masks="):
        evaluated(read_dataset("davis2017", davis, "val"))


def test_a_sequence_that_left_the_split_is_told_and_one_that_joined_is_made(
    model, davis, tmp_path
):
    sequences, out = read_dataset("davis2017", davis, "val"), tmp_path / "out"
    where = {"split": "val", "root": davis}
    segment_dataset(*model, sequences[:1], out, **where)
    done = segment_dataset(*model, sequences, out, **where)
    assert [x.frames for x in done] == [0, 6]
    with pytest.warns(InputWarning, match="also holds masks of alpha, which the split"):
        segment_dataset(*model, sequences[1:], out, **where)


def test_masks_that_no_run_has_noted_are_not_taken_for_done(evaluated, davis, tmp_path):
    sequences, out = read_dataset("davis2017", davis, "val"), tmp_path / "results"
    for sequence in sequences:
        copies = out / sequence.name
        shutil.copytree(davis / "Annotations" / "480p" / sequence.name, copies)
    with pytest.raises(InputError, match=r"alpha/00000\.png: was there before"):
        evaluated(sequences, out=out)


def test_masks_of_an_earlier_version_and_of_one_video_are_refused(
    evaluated, davis, tmp_path
):
    sequences, out = read_dataset("davis2017", davis, "val"), tmp_path / "old"
    out.mkdir()
    old = {"method": "m", "weights": "", "size": None, "flip": False}
    (out / "run.json").write_text(json.dumps(old))
    with pytest.raises(InputError, match="old: holds masks of an earlier version"):
        evaluated(sequences, out=out)
    with pytest.raises(InputError, match="alpha: holds masks of one video; use"):
        evaluated(sequences, out=tmp_path / "out" / "alpha")


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
