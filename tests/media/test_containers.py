from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vos_jax.media.containers import is_cut_off


@pytest.mark.parametrize("name", ["a.mp4", "a.mov", "a.mkv", "a.avi"])
def test_a_whole_file_is_not_cut_off_and_a_shorter_one_is(
    tmp_path: Path, name: str, film, encode
):
    path = encode(tmp_path / name, film(5))
    assert not is_cut_off(path)
    path.write_bytes(path.read_bytes()[:-200])
    assert is_cut_off(path)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\0",
        b"plain text, longer than any header",
        b"RIFF\xff\xff\xff\xffAVI LIST",
        # Segment of unknown length, as written to a pipe.
        b"\x1a\x45\xdf\xa3\x80\x18\x53\x80\x67\x01\xff\xff\xff\xff\xff\xff\xff",
        b"\x1a\x45\xdf\xa3\x80\x18\x53\x80\x67\xff",
        # A last box that runs to the end of the file.
        b"\0\0\0\x08free\0\0\0\0mdat",
    ],
)
def test_unknown_lengths_count_as_whole(tmp_path: Path, content: bytes):
    (tmp_path / "a").write_bytes(content)
    assert not is_cut_off(tmp_path / "a")


def test_64_bit_boxes_are_measured(tmp_path: Path):
    box = b"\0\0\0\x01mdat" + (116).to_bytes(8, "big") + bytes(100)
    (tmp_path / "a").write_bytes(box)
    assert not is_cut_off(tmp_path / "a")
    (tmp_path / "a").write_bytes(box[:-50])
    assert is_cut_off(tmp_path / "a")


@pytest.mark.parametrize("name", ["a.gif", "a.png", "a.webp"])
def test_every_cut_of_an_animation_is_noticed(tmp_path: Path, name: str):
    noise = np.random.default_rng(0).integers(0, 255, (3, 20, 30), np.uint8)
    first, *rest = map(Image.fromarray, noise)
    first.save(tmp_path / name, save_all=True, append_images=rest)
    whole = (tmp_path / name).read_bytes()
    assert not is_cut_off(tmp_path / name)
    for length in range(30, len(whole) - 20, 41):
        (tmp_path / name).write_bytes(whole[:length])
        assert is_cut_off(tmp_path / name)
