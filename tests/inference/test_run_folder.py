"""Whose masks a folder holds: decided without a network."""

import json
import warnings
from types import SimpleNamespace

import numpy as np
import pytest

from vos_jax.errors import InputError, InputWarning
from vos_jax.inference.run_folder import RunFolder, discard
from vos_jax.inference.run_identity import Run, describe_run
from vos_jax.methods.base import ReadConfig

SETTINGS = {"method": "m", "weights": "w", "masks": {"a": "1"}, "scores": False}
RUN = Run(SETTINGS, {"a": "1", "b": "2", "c": "3"})
STATE = (np.zeros(3, np.float32),)


@pytest.fixture(autouse=True)
def warnings_are_errors():
    with warnings.catch_warnings():
        warnings.simplefilter("error", InputWarning)
        yield


@pytest.fixture
def masks(tmp_path):
    path = tmp_path / "masks"
    path.mkdir()
    return path


def ran(masks, run=RUN, position=None, write=None):
    """What a run leaves that ended, or that stopped at a position."""
    folder = RunFolder(masks, run, go_on=False)
    folder.claim()
    for path in list(run.files(masks))[:position]:
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"by a run")
    if position is None:
        folder.finish()
    else:
        folder.save(position, STATE)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def other(**settings):
    return RUN._replace(settings=SETTINGS | settings)


def begun(masks, run, match):
    """Starts over where a warning is due."""
    with pytest.warns(InputWarning, match=match):
        folder = RunFolder(masks, run, go_on=False)
    return folder


# Going on


def test_an_empty_folder_is_anybodys(masks):
    for go_on in (True, False):
        folder = RunFolder(masks, RUN, go_on=go_on)
        assert (folder.saved, folder.is_done) == (None, False)
    assert names(masks) == []


def test_a_run_that_ended_has_nothing_left_to_do(masks):
    ran(masks)
    folder = RunFolder(masks, RUN, go_on=True)
    assert folder.is_done
    folder.finish()
    assert names(masks) == [".run.json", "a.png", "b.png", "c.png"]


def test_a_run_that_stopped_goes_on_from_its_state(masks):
    ran(masks, position=2)
    folder = RunFolder(masks, RUN, go_on=True)
    assert folder.saved.position == 2
    assert not folder.is_done
    folder.claim()
    assert ".resume.npz" in names(masks)
    folder.finish()
    assert ".resume.npz" not in names(masks)


@pytest.mark.parametrize("position", [None, 2])
def test_masks_that_are_gone_are_made_anew(masks, position):
    ran(masks, position=position)
    (masks / "b.png").unlink()
    folder = RunFolder(masks, RUN, go_on=True)
    assert (folder.saved, folder.is_done) == (None, False)


def test_masks_that_nobody_asked_for_need_not_be_there(masks):
    ran(masks)
    (masks / "b.png").unlink()
    assert RunFolder(masks, RUN, go_on=True, wanted={"a", "c"}).is_done


def test_a_mask_that_somebody_corrected_stays(masks):
    ran(masks)
    (masks / "b.png").write_bytes(b"by hand")
    assert RunFolder(masks, RUN, go_on=True).is_done


@pytest.mark.parametrize(
    ("run", "named"),
    [
        (other(weights="v"), "weights='w'"),
        (other(masks={"a": "2"}), "masks="),
        (other(masks={"a": "1", "b": "7"}), "masks="),
        (other(scores=True), "scores=False"),
        (other(resolution="480p"), "resolution=None"),
        (RUN._replace(frames=RUN.frames | {"b": "7"}), r"other frames \(b is not"),
        (RUN._replace(frames={"a": "1", "x": "2", "c": "3"}), r"frames \(x is not"),
        (RUN._replace(frames={"a": "1", "b": "2"}), r"frames \(their number"),
        (RUN._replace(frames=RUN.frames | {"d": "4"}), r"frames \(their number"),
        (RUN._replace(frames=dict(reversed(RUN.frames.items()))), r"frames \(c is"),
    ],
)
def test_nothing_goes_on_with_what_another_run_has_made(masks, run, named):
    ran(masks)
    with pytest.raises(InputError, match=f"{named}.*, or do that to start over") as e:
        RunFolder(masks, run, go_on=True, start_over="do that")
    assert str(e.value).startswith(str(masks))
    assert names(masks) == [".run.json", "a.png", "b.png", "c.png"]


@pytest.mark.parametrize(("changed", "goes_on"), [("b", False), ("c", True)])
def test_frames_that_are_still_to_come_may_change(masks, changed, goes_on):
    ran(masks, position=2)
    run = RUN._replace(frames=RUN.frames | {changed: "repaired"})
    if goes_on:
        assert RunFolder(masks, run, go_on=True).saved.position == 2
    else:
        with pytest.raises(InputError, match=r"other frames \(b is not the same\)"):
            RunFolder(masks, run, go_on=True)


def test_a_mask_of_a_frame_that_is_no_more_goes(masks):
    ran(masks, position=1)
    (masks / "c.png").write_bytes(b"written after the state was saved")
    folder = RunFolder(masks, RUN._replace(frames={"a": "1", "b": "2"}), go_on=True)
    folder.claim()
    assert names(masks) == [".resume.npz", ".run.json", "a.png"]


def test_a_run_may_begin_to_go_past_damage_but_not_cease_to(masks):
    bold = RUN._replace(allow_damaged=True)
    ran(masks, position=2)
    assert RunFolder(masks, bold, go_on=True).saved.position == 2
    discard(masks)
    ran(masks, bold, position=2)
    with pytest.raises(InputError, match="allow_damaged=True"):
        RunFolder(masks, RUN, go_on=True)


# Starting over


def test_the_same_run_again_keeps_its_masks_and_drops_its_state(masks):
    ran(masks, position=2)
    RunFolder(masks, RUN, go_on=False).claim()
    assert names(masks) == [".run.json", "a.png", "b.png"]


@pytest.mark.parametrize(
    ("run", "named"),
    [
        (other(method="n"), "other method"),
        (RUN._replace(frames={"a": "1", "b": "2"}), "other frames"),
        (RUN._replace(frames={"x": "1", "y": "2", "z": "3"}), "other frames"),
        (other(weights="v", masks={}), "other masks, weights"),
    ],
)
def test_another_runs_masks_make_way_at_the_first_mask_and_not_before(
    masks, run, named
):
    ran(masks, position=2)
    folder = begun(masks, run, rf"{named}\) has written, 2 files, is removed")
    assert names(masks) == [".resume.npz", ".run.json", "a.png", "b.png"]
    folder.claim()
    assert names(masks) == [".run.json"]
    assert not RunFolder(masks, run, go_on=True).is_done


def test_scores_and_the_overlay_of_an_earlier_run_do_not_survive(masks):
    ran(masks, other(scores=True)._replace(overlay=True))
    assert names(masks.parent) == ["masks", "overlay.mp4", "scores"]
    begun(masks, RUN, r"other scores\) has written, 7 files").claim()
    assert names(masks.parent) == ["masks"]


def test_an_overlay_of_the_same_masks_that_is_not_asked_for_goes_alone(masks):
    ran(masks, RUN._replace(overlay=True))
    begun(masks, RUN, "1 file, is removed").claim()
    assert names(masks.parent) == ["masks"]
    assert "a.png" in names(masks)


def test_an_overlay_that_is_drawn_later_is_noted(masks):
    ran(masks)
    RunFolder(masks, RUN._replace(overlay=True), go_on=True).finish()
    (masks.parent / "overlay.mp4").touch()
    assert RunFolder(masks, RUN, go_on=True).is_done
    begun(masks, other(method="n"), "4 files").claim()
    assert names(masks.parent) == ["masks"]


@pytest.mark.parametrize("go_on", [True, False])
@pytest.mark.parametrize(
    ("stray", "run"),
    [
        ("masks/a.png", RUN),
        ("masks/later.JPG", RUN),
        ("masks/a.npy", RUN),
        ("scores/a.npz", other(scores=True)),
        ("overlay.mp4", RUN._replace(overlay=True)),
    ],
)
def test_files_that_nobody_noted_are_refused_and_left(masks, stray, run, go_on):
    path = masks.parent / stray
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"mine")
    with pytest.raises(InputError, match=rf"{path.name}: was there .*another --out"):
        RunFolder(masks, run, go_on=go_on)
    assert path.read_bytes() == b"mine"
    assert names(masks) in ([], [path.name])


def test_a_mask_that_somebody_added_to_those_of_a_run_is_refused(masks):
    ran(masks)
    (masks / "d.png").touch()
    for run in (RUN, other(method="n")):
        with pytest.raises(InputError, match=r"d\.png: was there before"):
            RunFolder(masks, run, go_on=run == RUN)


@pytest.mark.parametrize("name", ["._a.png", "Thumbs.db", "notes.txt", ".a.png.1.tmp"])
def test_what_nobody_takes_for_a_mask_is_not_in_the_way(masks, name):
    (masks / name).touch()
    RunFolder(masks, RUN, go_on=False).claim()
    assert name in names(masks)


def test_scores_and_videos_that_are_not_written_are_not_in_the_way(masks):
    (masks.parent / "scores").mkdir()
    for path in ("scores/a.npz", "overlay.mp4"):
        (masks.parent / path).touch()
    RunFolder(masks, RUN, go_on=False).claim()
    assert names(masks.parent) == ["masks", "overlay.mp4", "scores"]


def test_masks_of_a_data_set_are_refused(masks):
    (masks / "run.json").write_text("{}")
    with pytest.raises(InputError, match="masks: holds masks of a data set; use anoth"):
        RunFolder(masks, RUN, go_on=False)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "{}",
        '{"settings": {}, "frames": 3}',
        '{"settings": [], "frames": {}}',
        '{"settings": {}, "frames": {"../../a": "1"}}',
        '{"settings": {}, "frames": {"/a": "1"}}',
    ],
)
def test_a_damaged_note_is_named_and_removes_nothing(masks, text):
    (masks / ".run.json").write_text(text)
    with pytest.raises(InputError, match=r"\.run\.json: damaged; use another --out"):
        RunFolder(masks, RUN, go_on=False)


def test_what_cannot_be_removed_is_named(masks):
    ran(masks)
    (masks / "b.png").unlink()
    (masks / "b.png").mkdir()
    folder = begun(masks, other(method="n"), "")
    with pytest.raises(InputError, match=r"b\.png: cannot be removed"):
        folder.claim()
    # What is left is still accounted for.
    assert json.loads((masks / ".run.json").read_text())["settings"] == SETTINGS


def test_a_folder_of_ones_own_is_emptied_of_masks_and_notes(masks):
    ran(masks, position=2)
    (masks / "of_an_older_version.png").touch()
    (masks / "notes.txt").touch()
    discard(masks)
    assert names(masks) == ["notes.txt"]


# What a run is


def described(given=None, names=("a", "b", "c"), **options):
    method = SimpleNamespace(config=ReadConfig())
    source = SimpleNamespace(names=list(names))
    given = {0: np.eye(2, dtype=np.uint8)} if given is None else given
    fingerprints = {name: name.upper() for name in names}
    options = {"size": None, "flip": False} | options
    return describe_run(method, "w", source, fingerprints, given, **options)


def test_a_run_is_read_as_it_was_noted(masks):
    run = described(size=480, overlay=True)
    RunFolder(masks, run, go_on=False).claim()
    note = json.loads((masks / ".run.json").read_text())
    assert note["frames"] == {"a": "A", "b": "B", "c": "C"}
    assert note["settings"]["size"] == 480
    assert RunFolder(masks, run, go_on=True).saved is None


def test_frames_are_those_from_the_first_mask_on_in_the_order_of_segmentation():
    mask = np.ones((2, 2), np.uint8)
    assert list(described({1: mask}).frames) == ["b", "c"]
    assert list(described({0: mask, 1: mask}, reverse=True).frames) == ["b", "a"]


@pytest.mark.parametrize(
    "options",
    [
        {"given": {0: np.ones((2, 2), np.uint8)}},
        {"given": {0: np.eye(2, dtype=np.uint8), 2: np.eye(2, dtype=np.uint8)}},
        {"size": 240},
        {"flip": True},
        {"reverse": True},
        {"scores": True},
    ],
)
def test_masks_and_options_make_another_run(options):
    assert described(**options).settings != described().settings
