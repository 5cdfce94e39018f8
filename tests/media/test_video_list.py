"""Lists of videos: what is read, and what is refused."""

import re

import pytest

from vos_jax.errors import InputError
from vos_jax.media.video_list import read_video_list


@pytest.fixture
def folder(tmp_path):
    """Two videos and a folder of frames, with masks; contents do not matter here."""
    videos = tmp_path / "videos"
    (videos / "c").mkdir(parents=True)
    (tmp_path / "masks" / "c").mkdir(parents=True)
    for name in ("a10.mp4", "a2.MOV", "c/00000.jpg", "notes.txt", ".hidden.mp4"):
        (videos / name).touch()
    for name in ("a10.png", "a2.png", "c/00000.png"):
        (tmp_path / "masks" / name).touch()
    return tmp_path


def test_a_folder_gives_its_videos_in_natural_order(folder):
    found = read_video_list(folder / "videos", folder / "masks")
    assert [video.name for video in found] == ["a2", "a10", "c"]
    masks = folder / "masks"
    assert [x.mask for x in found] == [masks / "a2.png", masks / "a10.png", masks / "c"]
    assert found[0].video == folder / "videos" / "a2.MOV"


def test_a_file_names_videos_masks_and_results(folder):
    path = folder / "list.txt"
    path.write_text(
        "# a comment\n\nvideos/a10.mp4\tmasks/a10.png\n"
        "videos/a10.mp4\tmasks/a2.png\tagain\nvideos/c\n"
    )
    (folder / "masks" / "a2.png").unlink()
    (folder / "masks" / "a10.png").rename(folder / "a10.png")
    text = path.read_text().replace("masks/a10.png", "a10.png")
    path.write_text(text.replace("masks/a2.png", "a10.png"))
    found = read_video_list(path, folder / "masks")
    assert [video.name for video in found] == ["a10", "again", "c"]
    assert found[1].mask == folder / "a10.png"
    assert found[2].mask == folder / "masks" / "c"


def refused(path, masks, message):
    with pytest.raises(InputError, match=re.escape(message)) as error:
        read_video_list(path, masks)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "text, message",
    [
        ("", "names no video; a line is VIDEO"),
        ("# nothing\n", "names no video"),
        ("videos/b.mp4\n", "line 1: videos/b.mp4 does not exist"),
        ("videos/c masks/c\n", "line 1: videos/c masks/c does not exist; a line is"),
        ("videos/c\tmasks/d\n", "line 1: mask masks/d does not exist"),
        ("videos/c\tmasks/c\tx/y\n", "line 1: name 'x/y' is no name of a folder"),
        ("videos/c\tmasks/c\tx\ty\n", "line 1: 4 columns"),
        ("videos/c\tmasks/c\nvideos/c\tmasks/c\n", "two videos would be called c"),
        ("videos/c\tmasks/c\nvideos/c\tmasks/c\tC\n", "two videos would be called c"),
        ("videos/c\n", "no mask is named; write it behind a tab"),
    ],
)
def test_a_file_that_says_something_else_is_refused(folder, text, message):
    path = folder / "list.txt"
    path.write_text(text)
    refused(path, None, message)


def test_masks_and_videos_must_belong_together(folder):
    videos, masks = folder / "videos", folder / "masks"
    refused(videos, None, "no mask is named")
    refused(videos, folder / "other", "no such folder")
    (masks / "a2.png").rename(masks / "a3.png")
    refused(videos, masks, "a2.MOV: no mask in")
    (masks / "a2.png").touch()
    refused(videos, masks, "a3.png belong to no video of the list")
    (masks / "a3.png").rename(masks / "c.png")
    refused(videos, masks, "c: 2 masks in")


def test_a_folder_of_something_else_is_refused(folder):
    refused(folder / "videos" / "c", None, "frames of one video, which `vos-jax segm")
    (folder / "empty").mkdir()
    refused(folder / "empty", None, "no video and no folder of frames")
    refused(folder / "nowhere", None, "does not exist")
