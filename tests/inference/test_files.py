"""Files in, files out, and what is left when something goes wrong in between."""

import dataclasses
import errno
import math
import os
import shutil
import signal
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
from jax.errors import JaxRuntimeError
from PIL import Image

import vos_jax
from tests.clips import moving_clip, read_masks, write_frames, write_masks
from vos_jax.cli import main
from vos_jax.errors import InputError, InputWarning
from vos_jax.inference import files, segmenter
from vos_jax.inference.files import SegmentJob, segment_files
from vos_jax.inference.run_identity import frame_order
from vos_jax.media import open_frames, read_labels
from vos_jax.media.lock import lock_folder
from vos_jax.runtime import out_of_memory

STATE = "masks/.resume.npz"


@pytest.fixture(scope="module")
def model(tiny_method, tiny_variables):
    return vos_jax.inference_form(tiny_method, tiny_variables)


@pytest.fixture
def job(tmp_path, clip):
    """Makes jobs on the clip, each with an `out` of its own name."""
    frames, labels = clip
    write_frames(tmp_path / "frames", frames)
    write_masks(tmp_path, {"first": labels[0], "last": labels[-1]})

    def make(out="out", **options) -> SegmentJob:
        paths = {"input": tmp_path / "frames", "mask": tmp_path / "first.png"}
        return SegmentJob(**{**paths, "out": tmp_path / out, **options})

    return make


@pytest.fixture(scope="module")
def expected(model, clip):
    return vos_jax.segment_video(*model, clip[0], clip[1][0])


def assert_masks(folder: Path, expected: np.ndarray) -> None:
    found = read_masks(folder)
    assert sorted(found) == [f"{time:05d}" for time in range(len(expected))]
    np.testing.assert_array_equal(list(found.values()), expected)


def test_masks_are_those_of_segment_video_under_the_names_of_the_frames(
    model, job, expected
):
    report = segment_files(*model, job())
    assert_masks(job().out / "masks", expected)
    assert (report.frames, report.skipped) == (8, 0)
    assert report.frames_per_second > 0
    assert [p.name for p in job().out.iterdir()] == ["masks"]


def test_reverse_begins_at_the_last_frame(model, job, clip, tmp_path):
    frames, labels = clip
    segment_files(*model, job(mask=tmp_path / "last.png", reverse=True))
    backwards = vos_jax.segment_video(*model, frames, labels[-1], reverse=True)
    assert_masks(job().out / "masks", backwards)


def test_scores_hold_probabilities_and_ids(model, job, expected):
    segment_files(*model, job(save_scores=True))
    files = sorted((job().out / "scores").iterdir())
    assert [p.name for p in files] == [f"{time:05d}.npz" for time in range(8)]
    with np.load(files[3]) as scores:
        assert scores["probs"].dtype == np.float16
        np.testing.assert_allclose(scores["probs"].sum(0), 1, atol=2e-3)
        named = np.array([0, *scores["ids"]])[scores["probs"].argmax(0)]
        assert (named == expected[3]).mean() > 0.99


def test_an_overlay_has_a_frame_for_every_mask(model, job):
    segment_files(*model, job(overlay=True))
    overlay = open_frames(job().out / "overlay.mp4")
    assert (len(overlay), overlay.size) == (8, (32, 48))


def test_a_folder_of_masks_brings_objects_when_they_appear(model, job, clip, tmp_path):
    frames, labels = clip
    one = np.where(labels[2] == 1, 1, 0)
    late = np.where(labels[4] == 2, 6, 0)
    masks = write_masks(tmp_path / "given", {"00002": one, "00004": late})
    (masks / "notes.txt").write_text("not a mask")
    report = segment_files(*model, job(mask=masks))
    found = read_masks(job().out / "masks")
    assert sorted(found) == [f"{time:05d}" for time in range(2, 8)]
    assert (report.frames, report.skipped) == (6, 2)
    np.testing.assert_array_equal(found["00002"], one)
    assert 6 not in found["00003"]
    assert (found["00004"][late == 6] == 6).all()
    given = {0: one.astype(np.uint8), 2: late.astype(np.uint8)}
    whole = vos_jax.segment_video(*model, frames[2:], given, objects=2)
    np.testing.assert_array_equal(list(found.values()), whole)


def test_a_mask_that_belongs_to_no_frame_is_refused(model, job, clip, tmp_path):
    masks = write_masks(tmp_path / "given", {"00000": clip[1][0], "7": clip[1][7]})
    with pytest.raises(InputError, match=r"7\.png: no frame is called '7'; .*'00007'"):
        segment_files(*model, job(mask=masks))
    assert not job().out.exists()


def test_a_folder_without_masks_and_no_mask_at_all_are_refused(model, job, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="empty: no mask files"):
        segment_files(*model, job(mask=tmp_path / "empty"))
    with pytest.raises(InputError, match=r"gone\.png does not exist; check --mask"):
        segment_files(*model, job(mask=tmp_path / "gone.png"))


def given(folder, source_folder, **options):
    return files.read_masks(folder, open_frames(source_folder), **options)


def test_masks_without_objects_say_nothing_and_do_not_begin_a_run(
    model, job, clip, tmp_path
):
    frames, labels = clip
    black = {f"{time:05d}": 0 * labels[0] for time in (0, 4, 7)}
    masks = write_masks(tmp_path / "given", {"00002": labels[2], **black})
    assert list(given(masks, job().input)) == [2]
    report = segment_files(*model, job(mask=masks))
    assert (report.frames, report.skipped) == (6, 2)
    whole = vos_jax.segment_video(*model, frames[2:], labels[2])
    np.testing.assert_array_equal(list(read_masks(job().out / "masks").values()), whole)
    silent = {0: labels[2], 2: 0 * labels[0], 3: 255 + 0 * labels[0]}
    again = vos_jax.segment_video(*model, frames[2:], silent)
    np.testing.assert_array_equal(again, whole)


def test_a_backward_run_begins_at_the_last_mask_that_has_objects(job, clip, tmp_path):
    _, labels = clip
    files_of = {"00001": labels[1], "00005": labels[5], "00007": 0 * labels[7]}
    masks = write_masks(tmp_path / "given", files_of)
    found = given(masks, job().input, last=True)
    assert frame_order(8, found, reverse=True) == range(5, -1, -1)


def test_masks_that_are_all_black_are_refused(job, clip, tmp_path):
    black = {f"{time:05d}": 0 * clip[1][0] for time in (0, 4)}
    masks = write_masks(tmp_path / "given", black)
    with pytest.raises(InputError, match="given: all masks in it are empty"):
        given(masks, job().input)


def test_what_systems_leave_among_masks_is_skipped(job, clip, tmp_path):
    masks = write_masks(tmp_path / "given", {"00001": clip[1][1]})
    for name in ("._00001.png", "Thumbs.db", ".resume.npz", ".DS_Store", "list.txt"):
        (masks / name).write_bytes(b"\0\5\x16\7")
    assert list(given(masks, job().input)) == [1]


@pytest.mark.parametrize("suffix", [".jpg", ".JPEG", ".bmp", ".webp", ".gif", ".TIF"])
def test_masks_of_every_kind_of_image_count(job, clip, tmp_path, suffix):
    (tmp_path / "given").mkdir()
    image = Image.fromarray((clip[1][3] == 1) * np.uint8(255))
    image.save(tmp_path / "given" / f"00003{suffix}")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", vos_jax.InputWarning)
        found = given(tmp_path / "given", job().input)
    assert list(found) == [3] and set(np.unique(found[3])) == {0, 1}


@pytest.mark.parametrize("other", ["00000.jpg", "00000.npy", "00000.PNG"])
def test_two_masks_of_one_frame_are_refused(job, clip, tmp_path, other):
    masks = write_masks(tmp_path / "given", {"00000": clip[1][0]})
    (masks / other).write_bytes((masks / "00000.png").read_bytes())
    with pytest.raises(InputError, match=r"00000\.\w+ is a mask of the same frame"):
        given(masks, job().input)


def test_an_output_folder_that_is_a_file_is_refused(model, job, tmp_path):
    (tmp_path / "out").write_text("")
    with pytest.raises(InputError, match="masks: cannot be made"):
        segment_files(*model, job())


def test_a_scores_folder_that_is_a_file_is_refused(model, job, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "scores").write_text("")
    with pytest.raises(InputError, match=r"cannot write .*scores"):
        segment_files(*model, job(save_scores=True))


# Stopped and resumed


def damage(path: Path) -> bytes:
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    return content


def test_a_run_stopped_by_a_bad_frame_goes_on_after_its_repair(
    model, job, expected, tmp_path
):
    bad = tmp_path / "frames" / "00005.png"
    content = damage(bad)
    with pytest.raises(InputError, match=r"00005\.png"):
        segment_files(*model, job())
    assert_masks(job().out / "masks", expected[:5])
    assert (job().out / STATE).exists()
    bad.write_bytes(content)
    report = segment_files(*model, job(resume=True))
    assert report.frames == 3
    assert_masks(job().out / "masks", expected)


def test_resuming_a_finished_run_does_nothing_unless_masks_are_missing(
    model, job, expected
):
    segment_files(*model, job())
    masks = job().out / "masks"
    before = {path: path.stat().st_mtime_ns for path in masks.iterdir()}
    assert segment_files(*model, job(resume=True)).frames == 0
    assert {path: path.stat().st_mtime_ns for path in masks.iterdir()} == before
    (masks / "00003.png").unlink()
    assert segment_files(*model, job(resume=True)).frames == len(expected)
    assert_masks(masks, expected)


@pytest.mark.parametrize("options", [{"flip": True}, {"reverse": True}])
def test_options_survive_a_resumed_run(model, job, tmp_path, options):
    options |= {
        "mask": tmp_path / ("last.png" if "reverse" in options else "first.png")
    }
    segment_files(*model, job("whole", **options))
    bad = tmp_path / "frames" / "00003.png"
    content = damage(bad)
    with pytest.raises(InputError):
        segment_files(*model, job(**options))
    bad.write_bytes(content)
    report = segment_files(*model, job(resume=True, **options))
    assert 0 < report.frames < 8
    whole = list(read_masks(job("whole").out / "masks").values())
    assert_masks(job().out / "masks", np.array(whole))


def test_a_resumed_run_keeps_the_frames_that_were_corrected(
    tiny_method, tiny_variables, job, clip, tmp_path
):
    """Each takes a slot beyond the schedule, which the rest of the run has to know."""
    config = dataclasses.replace(tiny_method.config, mem_every=2)
    model = tiny_method.clone(config=config), tiny_variables
    masks = {f"{time:05d}": clip[1][time] for time in range(4)}
    options = {"mask": write_masks(tmp_path / "several", masks), "save_scores": True}
    segment_files(*model, job("whole", **options))
    bad = tmp_path / "frames" / "00004.png"
    content = damage(bad)
    with pytest.raises(InputError):
        segment_files(*model, job(**options))
    bad.write_bytes(content)
    assert segment_files(*model, job(resume=True, **options)).frames == 4
    for path in sorted((job("whole").out / "scores").iterdir()):
        with np.load(path) as whole, np.load(job().out / "scores" / path.name) as own:
            np.testing.assert_array_equal(own["probs"], whole["probs"], path.name)


def test_ctrl_c_in_the_middle_of_a_step_loses_nothing(
    model, job, expected, monkeypatch
):
    advance, calls = segmenter._advance, []

    def interrupted(*args):
        result = advance(*args)
        calls.append(1)
        if len(calls) == 4:
            os.kill(os.getpid(), signal.SIGINT)
        return result

    monkeypatch.setattr(segmenter, "_advance", interrupted)
    with pytest.raises(KeyboardInterrupt):
        segment_files(*model, job())
    assert_masks(job().out / "masks", expected[:5])
    assert segment_files(*model, job(resume=True)).frames == 3
    assert_masks(job().out / "masks", expected)


def test_a_step_that_fails_half_way_saves_no_state_that_fits_no_frame(
    model, job, expected, monkeypatch
):
    advance, calls = segmenter._advance, []

    def failing(*args):
        calls.append(1)
        if len(calls) == 4:
            # The state is given away, as when the device runs out of memory.
            advance(*args)
            raise MemoryError
        return advance(*args)

    monkeypatch.setattr(segmenter, "_advance", failing)
    with pytest.raises(MemoryError):
        segment_files(*model, job())
    assert_masks(job().out / "masks", expected[:4])
    assert segment_files(*model, job(resume=True)).frames in (4, 8)
    assert_masks(job().out / "masks", expected)


def test_a_video_with_no_room_for_its_memory_is_refused_before_anything_is_written(
    model, job, monkeypatch
):
    limit = vos_jax.state_bytes(model[0], (32, 48), 2, 8)
    monkeypatch.setattr(out_of_memory, "device_memory", lambda: limit)
    segment_files(*model, job("fits"))
    with pytest.raises(InputError, match=r"8 frames of 48x32 with 2 objects: .*--size"):
        segment_files(*model, job(flip=True))
    monkeypatch.setattr(out_of_memory, "device_memory", lambda: limit - 1)
    with pytest.raises(InputError, match=f"{limit} bytes .*--mem-capacity"):
        segment_files(*model, job())
    assert not job().out.exists()


def test_a_run_that_is_done_needs_no_memory(model, job, monkeypatch):
    segment_files(*model, job())
    monkeypatch.setattr(out_of_memory, "device_memory", lambda: 0)
    assert segment_files(*model, job(resume=True)).frames == 0
    with pytest.raises(InputError, match=r"with 2 objects: .*--size"):
        segment_files(*model, job())


def test_memory_that_runs_out_is_told_in_one_line_and_the_masks_stay(
    model, job, expected, monkeypatch
):
    advance, calls = segmenter._advance, []

    def failing(*args):
        calls.append(1)
        if len(calls) == 3:
            raise JaxRuntimeError(
                "RESOURCE_EXHAUSTED: Out of memory while trying to allocate 999 bytes."
            )
        return advance(*args)

    monkeypatch.setattr(segmenter, "_advance", failing)
    with pytest.raises(
        InputError, match=r"frames: out of memory: 999 bytes were .*--dtype"
    ):
        segment_files(*model, job())
    monkeypatch.undo()
    assert_masks(job().out / "masks", expected[:3])
    # The state was not given away yet.
    assert segment_files(*model, job(resume=True)).frames == 5
    assert_masks(job().out / "masks", expected)


def test_another_fault_of_the_device_keeps_its_traceback(model, job, monkeypatch):
    def failing(*args):
        raise JaxRuntimeError("INTERNAL: Address out of range")

    monkeypatch.setattr(segmenter, "_advance", failing)
    with pytest.raises(JaxRuntimeError, match="INTERNAL"):
        segment_files(*model, job())


def interrupted_run(model, job, tmp_path) -> Path:
    damage(tmp_path / "frames" / "00005.png")
    with pytest.raises(InputError):
        segment_files(*model, job(), "weights A")
    return job().out / STATE


def test_a_resumed_run_needs_the_same_settings(model, job, tmp_path, clip):
    state = interrupted_run(model, job, tmp_path)
    other = vos_jax.create("stm", **{**vars(model[0].config), "mem_every": 2})
    write_masks(tmp_path, {"other": clip[1][3]})
    for method, options, weights, name in [
        (model[0], {}, "weights B", "weights"),
        (other, {}, "weights A", "method"),
        (model[0], {"flip": True}, "weights A", "flip"),
        (model[0], {"size": 16}, "weights A", "size"),
        (model[0], {"save_scores": True}, "weights A", "scores"),
        (model[0], {"mask": tmp_path / "other.png"}, "weights A", "masks"),
    ]:
        with pytest.raises(InputError, match=f"other settings .*{name}="):
            segment_files(method, model[1], job(resume=True, **options), weights)
    assert state.exists()


def test_a_damaged_state_is_refused_and_the_masks_stay(model, job, tmp_path, expected):
    state = interrupted_run(model, job, tmp_path)
    damage(state)
    with pytest.raises(InputError, match="damaged; remove it and run again"):
        segment_files(*model, job(resume=True), "weights A")
    assert_masks(job().out / "masks", expected[:5])


def test_without_resume_an_old_state_is_dropped(model, job, tmp_path):
    state = interrupted_run(model, job, tmp_path)
    damage(tmp_path / "frames" / "00001.png")
    with (
        pytest.warns(InputWarning, match=r"other frames, weights\) has written, 5 f"),
        pytest.raises(InputError, match=r"00001\.png"),
    ):
        segment_files(*model, job(), "weights B")
    with pytest.raises(InputError, match="weights='weights B'"):
        segment_files(*model, job(resume=True), "weights A")
    assert state.exists()


# Two runs and one folder


def files_in(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_frames_that_were_replaced_by_others_are_noticed(model, job, clip, tmp_path):
    segment_files(*model, job())
    before = files_in(job().out)
    shutil.rmtree(tmp_path / "frames")
    write_frames(tmp_path / "frames", clip[0][::-1])
    with pytest.raises(InputError, match=r"other frames .00000 is .*without --resume"):
        segment_files(*model, job(resume=True))
    assert files_in(job().out) == before


def test_frames_that_moved_and_got_new_times_are_the_same(model, job, tmp_path):
    segment_files(*model, job())
    moved = (tmp_path / "frames").rename(tmp_path / "moved")
    for path in moved.iterdir():
        os.utime(path, (1, 1))
    assert segment_files(*model, job(input=moved, resume=True)).frames == 0


def test_masks_of_a_longer_run_make_way_for_those_of_a_shorter_one(
    model, job, clip, tmp_path, expected
):
    segment_files(*model, job(save_scores=True, overlay=True))
    short = write_frames(tmp_path / "short", clip[0][:3])
    with pytest.warns(InputWarning, match=r"other frames, scores\) .*, 17 files, is"):
        segment_files(*model, job(input=short))
    assert_masks(job().out / "masks", expected[:3])
    assert [path.name for path in job().out.iterdir()] == ["masks"]


def test_input_that_turns_out_to_be_unusable_leaves_earlier_results(
    model, job, clip, tmp_path
):
    segment_files(*model, job(save_scores=True))
    before = files_in(job().out)
    write_masks(tmp_path, {"small": clip[1][0][:16]})
    with pytest.raises(InputError, match="small"):
        segment_files(*model, job(mask=tmp_path / "small.png"))
    damage(tmp_path / "frames" / "00000.png")
    with pytest.warns(InputWarning), pytest.raises(InputError, match=r"00000\.png"):
        segment_files(*model, job(), "other weights")
    assert files_in(job().out) == before


def test_masks_of_a_version_that_noted_nothing_are_refused(model, job, clip):
    old = write_masks(job().out / "masks", {"00000": clip[1][0]})
    for resume in (False, True):
        with pytest.raises(InputError, match=r"00000\.png: was there before, and noth"):
            segment_files(*model, job(resume=resume))
    assert [path.name for path in old.iterdir()] == ["00000.png"]


@pytest.mark.parametrize("name", ["masks/00000.png", "masks", "scores", "overlay.mp4"])
def test_what_is_read_must_not_be_where_the_run_writes(model, job, clip, name):
    given = job().out / name
    write_masks(job().out / "masks", {"00000": clip[1][0]})
    before = files_in(job().out)
    for paths in ({"mask": given}, {"input": given}):
        with pytest.raises(InputError, match=rf"{name}: this run writes to .* itself"):
            segment_files(*model, job(**paths))
    assert files_in(job().out) == before


def test_a_folder_that_another_process_writes_into_is_refused(model, job):
    with (
        lock_folder(job().out / "masks"),
        pytest.raises(InputError, match="masks: another process is writing into it"),
    ):
        segment_files(*model, job())
    assert files_in(job().out) == {}


@pytest.mark.parametrize("reason", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_leaves_whole_masks_only(model, job, expected, monkeypatch, reason):
    save, written = Image.Image.save, []

    def short(image, path, *args, **options):
        save(image, path, *args, **options)
        written.append(path)
        if len(written) > 3:
            damage(Path(path))
            raise OSError(reason, os.strerror(reason))

    monkeypatch.setattr(Image.Image, "save", short)
    with pytest.raises(InputError, match=f"{os.strerror(reason)}; free some space"):
        segment_files(*model, job())
    found = read_masks(job().out / "masks")
    assert len(found) == 3
    for name, labels in found.items():
        np.testing.assert_array_equal(labels, expected[int(name)])
    kinds = {p.suffix for p in (job().out / "masks").iterdir()}
    assert kinds <= {".png", ".npz", ".json"}
    monkeypatch.undo()
    segment_files(*model, job(resume=True))
    assert_masks(job().out / "masks", expected)


@pytest.mark.slow
def test_a_terminated_process_goes_on_where_it_was(
    tiny_method, tiny_variables, tmp_path, capsys
):
    weights = tmp_path / "tiny.safetensors"
    vos_jax.save_weights(weights, "stm", tiny_method, tiny_variables)
    frames, labels = moving_clip(200)
    write_frames(tmp_path / "frames", frames)
    mask = write_masks(tmp_path, {"first": labels[0]}) / "first.png"
    command = ["segment", str(tmp_path / "frames"), "--mask", str(mask)]
    command += ["--method", "stm", "--weights", str(weights), "--json", "--out"]
    stopped, whole = tmp_path / "stopped", tmp_path / "whole"
    process = subprocess.Popen(
        [sys.executable, "-m", "vos_jax", *command, str(stopped)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
        # As this process compiles, so that results are comparable bit by bit.
        env={**os.environ, "JAX_DISABLE_MOST_OPTIMIZATIONS": "1"},
    )
    try:
        while process.poll() is None and not (stopped / "masks/00010.png").exists():
            try:
                process.wait(0.01)
            except subprocess.TimeoutExpired:
                continue
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=60)
    finally:
        process.kill()
    assert (process.returncode, out) == (130, ""), err
    assert err.splitlines()[-1] == "vos-jax: interrupted; what is written is whole"
    done = len(list((stopped / "masks").glob("*.png")))
    assert 10 < done < 200
    assert (stopped / STATE).exists()
    assert main([*command, str(stopped), "--resume"]) == 0
    assert f'"frames": {200 - done},' in capsys.readouterr().out
    assert main([*command, str(whole)]) == 0
    masks = np.array(list(read_masks(whole / "masks").values()))
    assert len(np.unique(masks)) > 1
    assert_masks(stopped / "masks", masks)


def test_a_short_run_has_no_rate(model, job, tmp_path, clip):
    short = write_frames(tmp_path / "short", clip[0][:3])
    assert math.isnan(segment_files(*model, job(input=short)).frames_per_second)
    assert read_labels(job().out / "masks" / "00002.png").shape == (32, 48)
