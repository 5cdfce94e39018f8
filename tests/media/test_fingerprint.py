"""Which changes of a video's files are noticed, and at which cost."""

import os
import shutil

import numpy as np
import pytest
from PIL import Image

from vos_jax.errors import InputError
from vos_jax.media import fingerprint
from vos_jax.media.fingerprint import fingerprint_frames

NAMES = ["f1", "f2", "f10"]


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / "frames"
    path.mkdir()
    for value, name in enumerate(NAMES):
        frame = np.full((8, 8, 3), value, np.uint8)
        Image.fromarray(frame).save(path / f"{name}.png", compress_level=0)
    return path


def flip_a_byte(path, at):
    content = bytearray(path.read_bytes())
    content[at] ^= 255
    path.write_bytes(content)


def test_each_frame_of_a_folder_has_its_own_in_the_order_of_the_names(folder):
    found = fingerprint_frames(folder, NAMES)
    assert list(found) == NAMES
    assert len(set(found.values())) == 3


def test_a_frame_that_changed_in_its_middle_is_the_one_that_is_noticed(folder):
    before = fingerprint_frames(folder, NAMES)
    size = (folder / "f2.png").stat().st_size
    flip_a_byte(folder / "f2.png", size // 2)
    after = fingerprint_frames(folder, NAMES)
    assert (folder / "f2.png").stat().st_size == size
    assert [name for name in NAMES if before[name] != after[name]] == ["f2"]


def test_a_copy_elsewhere_with_new_times_is_the_same(folder, tmp_path):
    before = fingerprint_frames(folder, NAMES)
    shutil.copytree(folder, tmp_path / "moved", copy_function=shutil.copy)
    for name in NAMES:
        os.utime(tmp_path / "moved" / f"{name}.png", (1, 1))
    (tmp_path / "link").symlink_to(tmp_path / "moved")
    assert fingerprint_frames(tmp_path / "moved", NAMES) == before
    assert fingerprint_frames(tmp_path / "link", NAMES) == before


def test_what_systems_leave_among_frames_and_other_images_do_not_count(folder):
    before = fingerprint_frames(folder, NAMES)
    for name in ("._f1.png", "Thumbs.db", "preview.png"):
        (folder / name).write_bytes(b"0")
    assert fingerprint_frames(folder, NAMES) == before


def test_frames_of_16_bits_are_fingerprinted_together(folder):
    deep = np.full((8, 8), 51200, np.uint16)
    Image.fromarray(deep).save(folder / "f10.png")
    before = fingerprint_frames(folder, NAMES)
    assert len(set(before.values())) == 1
    Image.fromarray(deep + 1).save(folder / "f10.png")
    assert not before.items() & fingerprint_frames(folder, NAMES).items()


def test_a_video_file_has_one_for_all_of_its_frames_whatever_its_name(tmp_path):
    video = tmp_path / "a.mp4"
    video.write_bytes(bytes(range(256)) * 40)
    names = ["00000", "00001"]
    before = fingerprint_frames(video, names)
    assert list(before) == names
    assert before["00000"] == before["00001"]
    renamed = video.rename(tmp_path / "b.mp4")
    assert fingerprint_frames(renamed, names) == before
    flip_a_byte(renamed, 5000)
    assert fingerprint_frames(renamed, names) != before


def test_what_is_large_is_sampled_from_its_first_to_its_last_byte(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(fingerprint, "_BUDGET", 4 * 4096)
    video = tmp_path / "a.mp4"
    content = np.random.default_rng(0).bytes(1 << 20)
    video.write_bytes(content)
    before = fingerprint_frames(video, ["0"])
    for place in (0, len(content) // 3, len(content) - 1):
        flip_a_byte(video, place)
        assert fingerprint_frames(video, ["0"]) != before
        video.write_bytes(content)
    video.write_bytes(content + b"0")
    assert fingerprint_frames(video, ["0"]) != before
    # The price of not reading it all.
    video.write_bytes(content)
    flip_a_byte(video, len(content) // 6)
    assert fingerprint_frames(video, ["0"]) == before


def test_many_large_frames_share_the_bytes_that_are_read(folder, monkeypatch):
    monkeypatch.setattr(fingerprint, "_BUDGET", 100)
    for name in NAMES:
        (folder / f"{name}.png").write_bytes(np.random.default_rng(0).bytes(1 << 17))
    before = fingerprint_frames(folder, NAMES)
    flip_a_byte(folder / "f1.png", (1 << 17) - 1)
    after = fingerprint_frames(folder, NAMES)
    assert [name for name in NAMES if before[name] != after[name]] == ["f1"]


def test_a_file_that_is_gone_is_named(tmp_path):
    with pytest.raises(InputError, match=r"gone\.mp4 cannot be read \(No such file"):
        fingerprint_frames(tmp_path / "gone.mp4", ["0"])
