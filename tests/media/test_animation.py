from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vos_jax.errors import InputError, InputWarning
from vos_jax.media.animation import AnimationFrames
from vos_jax.media.frames import open_frames
from vos_jax.media.source import FrameSource


def scenes(count: int = 5) -> list[np.ndarray]:
    """A square that moves over blocks of a few colours."""
    ground = np.kron(np.arange(6).reshape(2, 3), np.ones((8, 8)))[..., None]
    ground = (ground * [30, 20, 10]).astype(np.uint8)
    frames = [ground.copy() for _ in range(count)]
    for i, frame in enumerate(frames):
        frame[4:9, 2 * i % 19 : 2 * i % 19 + 5] = [250, 60, 200]
    return frames


def save(path: Path, frames: list[np.ndarray], **options: object) -> Path:
    first, *rest = map(Image.fromarray, frames)
    if path.suffix == ".webp":
        options["lossless"] = True
    options.setdefault("duration", 40)
    kind = "PNG" if path.suffix == ".apng" else None
    first.save(path, kind, save_all=True, append_images=rest, **options)
    return path


KINDS = ["a.gif", "a.webp", "a.png", "b.apng"]


@pytest.mark.parametrize("name", KINDS)
def test_an_animation_is_read_as_the_video_it_is(tmp_path: Path, name: str):
    frames = scenes()
    source: FrameSource = open_frames(save(tmp_path / name, frames, loop=3))
    assert source.names == ["00000", "00001", "00002", "00003", "00004"]
    assert source.size == (16, 24) and source.fps == 25 and len(source) == 5
    assert all(map(np.array_equal, source, frames))
    assert all(map(np.array_equal, reversed(source), frames[::-1]))
    assert all(map(np.array_equal, source.frames(3), frames[3:]))
    assert all(map(np.array_equal, source.reversed(2), frames[2::-1]))


def test_long_animations_are_read_backwards_in_blocks(tmp_path: Path):
    source = AnimationFrames(save(tmp_path / "a.gif", scenes(70)))
    assert len(source) == 70
    assert all(map(np.array_equal, source.reversed(), list(source)[::-1]))


@pytest.mark.parametrize(
    ("durations", "fps"),
    [([33, 34, 33, 33, 34], 1000 / 33.4), ([40, 40, 400, 40, 40], None)],
)
def test_the_rate_is_known_where_durations_agree(
    tmp_path: Path, durations: list[int], fps: float | None
):
    path = save(tmp_path / "a.webp", scenes(), duration=durations)
    found = AnimationFrames(path).fps
    assert found == (None if fps is None else pytest.approx(fps))


@pytest.mark.parametrize("name", KINDS)
def test_one_frame_is_one_image(tmp_path: Path, name: str):
    path = save(tmp_path / name, scenes(1))
    with pytest.raises(InputError, match="is one image"):
        open_frames(path)


def test_the_picture_beside_an_animation_is_no_frame(tmp_path: Path):
    frames = scenes()
    path = save(tmp_path / "a.png", [255 - frames[0], *frames], default_image=True)
    assert all(map(np.array_equal, open_frames(path), frames))
    assert len(open_frames(path)) == 5


@pytest.mark.parametrize("name", KINDS)
def test_an_animation_that_is_cut_off_is_refused(tmp_path: Path, name: str):
    path = save(tmp_path / name, scenes())
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(InputError, match=name):
        open_frames(path)


def test_transparent_pixels_are_black_and_told_of(tmp_path: Path):
    frames = [np.dstack([f, np.full((16, 24), 255, np.uint8)]) for f in scenes()]
    for frame in frames:
        frame[12:, :8, 3] = 0
    path = save(tmp_path / "a.webp", frames)
    with pytest.warns(
        InputWarning, match="transparent pixels; they are taken as black"
    ):
        source = open_frames(path)
    for got, frame in zip(source, frames, strict=True):
        assert not got[12:, :8].any()
        assert np.array_equal(got[:12], frame[:12, :, :3])


@pytest.mark.parametrize("name", ["b.webp", "b.png"])
def test_an_animation_among_frames_is_refused(tmp_path: Path, name: str):
    Image.fromarray(scenes()[0]).save(tmp_path / "a.png")
    save(tmp_path / name, scenes())
    with pytest.raises(InputError, match=f"{name} is an animation among the frames"):
        open_frames(tmp_path)
