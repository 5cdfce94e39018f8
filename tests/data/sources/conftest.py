"""Small data sets in their official layouts, written by the tests themselves."""

import json
from pathlib import Path

import pytest

from tests.data.sources.layouts import (
    label_pixels,
    write_frame,
    write_grey,
    write_text,
    write_video,
)


@pytest.fixture
def davis2016(tmp_path: Path) -> Path:
    """The release of 2016: pairs in lists by resolution, grey masks."""
    root = tmp_path / "DAVIS2016"
    lines = []
    for name, length in (("swing", 3), ("bear", 4)):
        stems = [f"{i:05d}" for i in range(length)]
        write_video(root, name, stems, lambda _: label_pixels(255), write_grey, "480p")
        lines += [
            f"/JPEGImages/480p/{name}/{x}.jpg /Annotations/480p/{name}/{x}.png"
            for x in stems
        ]
    write_text(root / "ImageSets" / "480p" / "train.txt", "\n".join(lines) + "\n")
    return root


@pytest.fixture
def davis2017(tmp_path: Path) -> Path:
    """The release of 2017, with void beside the object of the sheep video."""
    root = tmp_path / "DAVIS"
    stems = [f"{i:05d}" for i in range(4)]
    write_video(root, "dogs", stems, lambda _: label_pixels(2, 1), folder="480p")
    write_video(root, "sheep", stems, lambda _: label_pixels(3, 255), folder="480p")
    write_text(root / "ImageSets" / "2016" / "train.txt", "dogs\n")
    write_text(root / "ImageSets" / "2017" / "train.txt", "sheep\ndogs\n")
    write_text(root / "ImageSets" / "2017" / "val.txt", "dogs\n")
    return root


@pytest.fixture
def youtube_vos(tmp_path: Path) -> Path:
    """Two videos; in the second, all frames are there and object 2 comes later."""
    root = tmp_path / "youtube-vos"
    train = root / "train"
    write_video(train, "0a", ["00000", "00005"], lambda _: label_pixels(1))
    stems = ["00010", "00015", "00020"]
    write_video(
        train, "0b", stems, lambda i: label_pixels(1, 2) if i else label_pixels(1)
    )
    for between in ("00011", "00012"):
        write_frame(train / "JPEGImages" / "0b" / f"{between}.jpg", 9)
    videos = {
        "0b": {
            "objects": {
                "2": {"category": "owl", "frames": stems[1:]},
                "1": {"category": "dog", "frames": stems},
            }
        },
        "0a": {"objects": {"1": {"category": "cat", "frames": ["00000", "00005"]}}},
    }
    write_text(train / "meta.json", json.dumps({"videos": videos}))
    return root
