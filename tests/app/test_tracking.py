"""What a person does with a video, and which masks that gives: exactly those."""

import json
import threading
from pathlib import Path

import numpy as np
import pytest

from tests.app.annotating import annotating, exact, segmented, stop_after
from tests.clips import read_masks
from vos_jax.errors import InputError
from vos_jax.media.overlay import overlay_colours


@pytest.fixture
def page(network, video, tmp_path):
    with annotating(network, video, tmp_path / "out") as annotator:
        yield annotator


def patched(labels, id, rows=slice(2, 12), columns=slice(30, 44)):
    """Labels with a rectangle of an object in them."""
    changed = labels.copy()
    changed[rows, columns] = id
    return changed


def test_tracking_gives_what_segment_gives(network, long_clip, page):
    frames, labels = long_clip
    page.draw(0, labels[0])
    assert page.track(0) == f"tracked to frame {len(frames) - 1:05d}"
    assert page.state["status"] == "m" * len(frames)
    expected = exact(*network, frames, labels[0])
    assert np.array_equal(page.all_labels(), expected)


def test_tracking_backwards_gives_what_segment_gives(network, long_clip, page):
    frames, labels = long_clip
    page.draw(len(frames) - 1, labels[-1])
    page.track(len(frames) - 1, "backward")
    expected = exact(*network, frames, labels[-1], reverse=True)
    assert np.array_equal(page.all_labels(), expected)


def test_a_correction_goes_on_from_the_nearest_state(network, long_clip, page):
    frames, labels = long_clip
    page.draw(0, labels[0])
    page.track(0)
    before = page.all_labels()
    page.draw(13, patched(before[13], 2))
    assert page.state["status"] == 14 * "m" + (len(frames) - 14) * "s"
    page.track(13)
    after = page.all_labels()
    given = {
        0: labels[0],
        13: page.session._project.map(page.session._project.drawing.frames[13].labels),
    }
    assert np.array_equal(after, exact(*network, frames, given))
    assert (after[13:] != before[13:]).any()


def test_an_undone_correction_brings_back_the_masks_of_before(long_clip, page):
    page.draw(0, long_clip[1][0])
    page.track(0)
    before = page.all_labels()
    page.draw(7, patched(before[7], 1))
    page.track(7)
    after = page.all_labels()
    assert (after != before).any()
    assert page.session.undo() == {"frame": 7}
    assert np.array_equal(page.all_labels(), before)
    assert "s" not in page.state["status"]
    assert page.session.redo() == {"frame": 7}
    assert np.array_equal(page.all_labels(), after)


def test_without_room_for_states_the_masks_are_the_same(
    network, video, long_clip, tmp_path
):
    results = []
    for bytes in (0, 1 << 30):
        with annotating(
            network, video, tmp_path / str(bytes), state_bytes=bytes
        ) as page:
            page.draw(0, long_clip[1][0])
            page.track(0)
            page.draw(15, patched(page.labels(15), 1))
            page.track(15)
            results.append(page.all_labels())
            assert len(page.session._tracker.kept) == (0 if bytes == 0 else 5)
    assert np.array_equal(*results)


def test_a_stopped_pass_goes_on_where_it_was(network, long_clip, page, monkeypatch):
    frames, labels = long_clip
    stop_after(monkeypatch, lambda: page.session, 5)
    page.draw(0, labels[0])
    # The frame that was being computed is stored as well.
    assert page.track(0) == "stopped at frame 00006"
    assert page.state["status"].startswith("m" * 7 + ".")
    page.track(6)
    assert np.array_equal(page.all_labels(), exact(*network, frames, labels[0]))


def test_what_was_left_out_after_a_correction_is_made_up_for(long_clip, page):
    page.draw(0, long_clip[1][0])
    page.track(0)
    page.draw(5, patched(page.labels(5), 2))
    page.track(9, last=12)
    assert page.state["status"] == 13 * "m" + 11 * "s"


def test_drawing_stops_the_tracker(long_clip, page):
    page.draw(0, long_clip[1][0])
    page._ended.clear()
    page.session.track("forward", 0)
    page.draw(23, patched(np.zeros_like(long_clip[1][0]), 2))
    assert page.state["track"] is None
    assert page.told[-1].startswith("stopped at")


def test_a_late_object_and_one_that_leaves(network, long_clip, page):
    frames, labels = long_clip
    first = np.where(labels == 1, labels, 0)
    page.draw(0, first[0])
    page.track(0)
    page.draw(6, np.where(labels[6] == 2, 2, page.labels(6)).astype(np.uint8))
    page.session.end_object(1, 15)
    assert not (page.labels(20) == 1).any(), "is gone at once, before it is tracked"
    page.track(6)
    found = page.all_labels()
    assert "s" not in page.state["status"]
    assert set(np.unique(found[6:15])) == {0, 1, 2}
    assert set(np.unique(found[15:])) == {0, 2}
    # Nothing of it is left in the memory either: as if it were removed.
    segmenter = _stepped(network, frames, first[0], page, 6, removed=(15, 1))
    assert np.array_equal(found, segmenter)


def _stepped(network, frames, first, page, late, removed):
    import vos_jax

    segmenter = vos_jax.VideoSegmenter(*network)
    project = page.session._project
    drawn = project.drawing.frames[late]
    found = []
    for index, frame in enumerate(frames):
        if index == removed[0]:
            segmenter.remove(removed[1])
        if index == 0:
            pending = segmenter(frame, first)
        elif index == late:
            pending = segmenter(frame, project.map(drawn.labels), drawn.ids)
        else:
            pending = segmenter(frame)
        found.append(pending.result().labels)
    return np.stack(found)


def test_an_object_that_left_is_drawn_again(long_clip, page):
    labels = long_clip[1]
    page.draw(0, labels[0])
    page.session.end_object(2, 8)
    page.track(0)
    page.draw(12, np.where(labels[12] == 2, 2, page.labels(12)).astype(np.uint8))
    page.track(12)
    shows = [(x == 2).any() for x in page.all_labels()]
    assert not any(shows[8:12])
    assert shows[0] and shows[12]
    page.session.end_object(2, 8, undo_end=True)
    assert page.state["ended"] == []


def test_erasing_an_object_says_that_it_is_not_there(long_clip, page):
    page.draw(0, long_clip[1][0])
    page.track(0)
    shown = page.all_labels()
    at = next(i for i in range(2, len(shown)) if (shown[i] == 1).any())
    page.draw(at, np.where(shown[at] == 1, 0, shown[at]).astype(np.uint8), "eraser")
    page.track(at)
    assert not (page.labels(at) == 1).any()
    assert page.state["undo"] == f"eraser in frame {at:05d}"


def test_a_backward_pass_begins_with_what_is_shown(long_clip, page):
    labels = long_clip[1]
    page.draw(4, np.where(labels[4] == 1, 1, 0).astype(np.uint8))
    page.track(4, last=10)
    page.draw(10, np.where(labels[10] == 2, 2, page.labels(10)).astype(np.uint8))
    page.track(10, "backward", last=6)
    assert all(set(np.unique(page.labels(i))) == {0, 1, 2} for i in range(6, 11))
    assert set(np.unique(page.labels(5))) == {0, 1}


def test_a_frame_without_a_mask_is_no_beginning(page):
    with pytest.raises(InputError, match="frame 00003 shows no mask"):
        page.session.track("forward", 3)


def test_a_pass_whose_beginning_is_undone_begins_anew(long_clip, page):
    page.draw(0, long_clip[1][0])
    page.track(0)
    shown = page.labels(8)
    page.session.forget(0)
    assert page.labels(8).any(), "stays, but is stale"
    page.track(8)
    assert np.array_equal(page.labels(8), shown)


def test_a_project_is_reopened_as_it_was(network, video, long_clip, tmp_path):
    with annotating(network, video, tmp_path) as page:
        page.draw(0, long_clip[1][0])
        page.session.change_object(1, "dog", "#00ff7f")
        page.track(0, last=9)
        page.draw(5, patched(page.labels(5), 1))
        before, masks = page.state, page.all_labels()
    with annotating(network, video, tmp_path) as page:
        after = page.state
        assert {**after, "revision": 0} == {**before, "revision": 0}
        assert np.array_equal(page.all_labels(), masks)
        page.session.undo()
        page.session.undo()
        assert page.state["objects"][0]["name"] == "object 1"
        page.session.redo()
        assert page.state["objects"][0]["colour"] == "#00ff7f"


def test_another_network_makes_its_own_masks(
    network, video, long_clip, tmp_path, tiny_variables, tiny_method
):
    other = tiny_method.clone(
        config=tiny_method.config.__class__(
            **{**vars(tiny_method.config), "mem_every": 2}
        )
    )
    with annotating(network, video, tmp_path) as page:
        page.draw(0, long_clip[1][0])
        page.track(0)
        first = page.all_labels()
    with annotating((other, tiny_variables), video, tmp_path) as page:
        assert page.state["status"] == "m" + "s" * (len(first) - 1)
        page.track(0)
        assert "s" not in page.state["status"]
        second = page.all_labels()
    with annotating(network, video, tmp_path) as page:
        assert np.array_equal(page.all_labels(), first)
    assert (first != second).any()


def test_an_export_is_what_segment_writes(network, video, long_clip, tmp_path):
    out = tmp_path / "out"
    with annotating(network, video, out) as page:
        page.draw(0, long_clip[1][0])
        page.track(0)
        page.draw(13, patched(page.labels(13), 2))
        page.track(13)
        told = page.export()
    assert told.startswith(
        "wrote masks (24 files), given (2 files), coco.json, overlay"
    )
    theirs = segmented(network, video, out / "given", tmp_path / "theirs", overlay=True)
    ours = read_masks(out / "masks")
    assert len(ours) == len(long_clip[0])
    for name, labels in read_masks(theirs).items():
        assert np.array_equal(ours[name], labels)
    first = (out / "masks" / "00000.png").read_bytes()
    assert first == (theirs / "00000.png").read_bytes()
    overlays = [folder / "overlay.mp4" for folder in (out, theirs.parent)]
    assert overlays[0].read_bytes() == overlays[1].read_bytes()


def test_masks_that_are_given_begin_a_project(network, video, long_clip, tmp_path):
    from tests.clips import write_masks

    masks = write_masks(tmp_path / "m", {"00000": long_clip[1][0]})
    with annotating(network, video, tmp_path / "out", mask=masks) as page:
        assert np.array_equal(page.labels(0), long_clip[1][0])
        colours = [x["colour"] for x in page.state["objects"]]
        assert colours[0] == "#" + bytes(overlay_colours()[1]).hex()
    with pytest.raises(InputError, match="has drawings already"):
        with annotating(network, video, tmp_path / "out", mask=masks):
            pass


def test_a_project_of_another_video_is_refused(network, video, tmp_path, long_clip):
    from tests.clips import write_frames

    with annotating(network, video, tmp_path / "out"):
        pass
    other = write_frames(tmp_path / "other", long_clip[0][:5])
    with pytest.raises(InputError, match=r"another video \(frames 24 there, 5 here\)"):
        with annotating(network, other, tmp_path / "out"):
            pass


def test_two_servers_do_not_share_a_project(network, video, tmp_path):
    with annotating(network, video, tmp_path / "out"):
        with pytest.raises(InputError, match="another process is writing"):
            with annotating(network, video, tmp_path / "out"):
                pass


def test_masks_of_something_else_are_not_taken_over(network, video, tmp_path):
    (tmp_path / "out" / "masks").mkdir(parents=True)
    (tmp_path / "out" / "masks" / "mine.png").touch()
    with pytest.raises(InputError, match="is no project's"):
        with annotating(network, video, tmp_path / "out"):
            pass


def test_a_stroke_after_undo_is_over_what_was_shown(long_clip, page):
    page.draw(0, long_clip[1][0])
    page.track(0)
    before = page.all_labels()
    page.draw(3, patched(before[3], 1))
    page.track(3)
    page.session.undo()
    drawn = patched(page.labels(8), 2)
    page.draw(8, drawn)
    assert np.array_equal(page.labels(8), drawn)
    assert np.array_equal(page.all_labels()[9:], before[9:])


def test_a_deleted_object_is_nowhere_and_its_number_is_not_given_again(long_clip, page):
    page.draw(0, long_clip[1][0])
    page.track(0)
    page.session.delete_object(2)
    assert not (page.all_labels() == 2).any()
    assert page.session.add_object()["id"] == 3
    page.export(overlay=False)
    read = json.loads((Path(page.state["out"]) / "coco.json").read_text())
    assert {each["category_id"] for each in read["annotations"]} == {1}
    page.session.undo()
    page.session.undo()
    assert (page.labels(0) == 2).any()


def test_an_undone_first_drawing_is_gone(long_clip, page):
    page.draw(0, long_clip[1][0])
    page.track(0)
    while page.session.undo()["frame"] is not None:
        pass
    assert not page.labels(0).any()
    assert page.state["status"][0] == "."


def test_a_pass_from_what_was_tracked_is_stale_with_that(long_clip, page):
    page.draw(4, long_clip[1][4])
    page.track(4, last=12)
    page.track(12, "backward", last=0)
    assert page.state["status"][:13] == 13 * "m"
    page.session.forget(4)
    assert "m" not in page.state["status"]


def test_what_is_drawn_stays_to_the_pixel_at_another_size(
    network, video, long_clip, tmp_path
):
    with annotating(network, video, tmp_path / "out", size=16) as page:
        page.draw(0, long_clip[1][0])
        page.track(0)
        drawn = patched(np.where(page.labels(6) == 1, 0, page.labels(6)), 2)
        page.draw(6, drawn.astype(np.uint8))
        page.track(6)
        assert np.array_equal(page.labels(6), drawn)
        assert np.array_equal(page.labels(0), long_clip[1][0])


def test_a_damaged_mask_is_made_anew(long_clip, page):
    page.draw(0, long_clip[1][0])
    page.track(0)
    before = page.labels(5)
    (mask,) = Path(page.state["out"]).glob("tracked/*/00005.png")
    mask.write_bytes(b"no picture")
    with pytest.raises(InputError, match="frame 00005 is gone or damaged; track on"):
        page.labels(5)
    page.track(9)
    assert np.array_equal(page.labels(5), before)


def test_files_of_others_are_not_taken_over(network, video, tmp_path):
    for name in ("maps", "given", "tracked"):
        (tmp_path / name / name).mkdir(parents=True)
        (tmp_path / name / name / "mine.png").touch()
        with pytest.raises(InputError, match="is no project's; use another --out"):
            with annotating(network, video, tmp_path / name):
                pass
        assert (tmp_path / name / name / "mine.png").exists()


def test_a_thread_that_cannot_start_leaves_all_as_it_was(long_clip, page, monkeypatch):
    page.draw(0, long_clip[1][0])

    def start(self):
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", start)
        for command in (lambda: page.session.track("forward", 0), page.session.export):
            with pytest.raises(RuntimeError):
                command()
    page.session.stop()
    assert (page.state["track"], page.state["export"]) == (None, None)
    assert page.track(0, last=3) == "tracked to frame 00003"


def test_a_page_that_fails_is_forgotten(long_clip, page):
    def fail(message):
        raise RuntimeError("gone")

    page.session.listen(fail)
    page.draw(0, long_clip[1][0])
    assert page.track(0, last=2) == "tracked to frame 00002"


def test_what_is_refused_does_not_stop_the_tracker(long_clip, page):
    page.draw(0, long_clip[1][0])
    page._ended.clear()
    page.session.track("forward", 0)
    for refused in (
        lambda: page.session.end_object(77, 3),
        lambda: page.session.forget(99),
        lambda: page.session.draw(5, b"", "x", "brush"),
    ):
        with pytest.raises(InputError):
            refused()
    assert page._wait() == "tracked to frame 00023"


def test_a_session_that_has_ended_takes_nothing(long_clip, page):
    page.session.close()
    for command in (
        lambda: page.draw(0, long_clip[1][0]),
        lambda: page.session.track("forward", 0),
        page.session.export,
    ):
        with pytest.raises(InputError, match="the server is ending"):
            command()
