"""What pictures of frames have in common."""

import numpy as np
import pytest

from tests.clips import moving_clip, write_frames, write_masks
from vos_jax.errors import InputError
from vos_jax.ops.padding import pad
from vos_jax.reports.picture import first_frames, pixels_of, select_ids


@pytest.fixture
def video(tmp_path):
    """A video of three frames, and its first mask."""
    frames, labels = moving_clip(3)
    folder = write_masks(tmp_path / "masks", {"first": labels[0]})
    return write_frames(tmp_path / "video", frames), folder / "first.png"


def test_frames_up_to_the_last_one_come_with_the_first_labels(video):
    frames, labels = moving_clip(3)
    found, first = first_frames(*video, None, 1)
    np.testing.assert_array_equal(found, frames[:2])
    np.testing.assert_array_equal(first, labels[0])


def test_a_generated_clip_has_two_objects():
    frames, labels = first_frames(None, None, 0, 3)
    assert len(frames) == 4
    assert select_ids(labels, None) == [1, 2]


def test_without_one_video_there_is_no_picture(video):
    path, mask = video
    for source in ((None, None, None), (path, mask, 1), (None, mask, 1)):
        with pytest.raises(InputError, match="give either a video with --mask or"):
            first_frames(*source, 1)
    with pytest.raises(InputError, match="video: say with --mask where"):
        first_frames(path, None, None, 1)
    with pytest.raises(InputError, match="video: has 3 frames; use a --frame below"):
        first_frames(path, mask, None, 3)


def test_objects_are_all_or_those_wanted_in_their_order():
    labels = np.array([[0, 4, 2], [255, 2, 9]], np.uint8)
    assert select_ids(labels, None) == [2, 4, 9]
    assert select_ids(labels, [9, 2, 9]) == [9, 2]
    with pytest.raises(InputError, match=r"--object 3: the first mask has 2, 4, 9"):
        select_ids(labels, [2, 3])


def test_pixels_have_the_value_of_their_cell_in_the_padded_frame():
    rows, columns = np.mgrid[:21, :39].astype(np.float32)
    padded = np.asarray(pad(np.stack([rows, columns, np.ones_like(rows)], -1)))
    cells = np.arange(6).reshape(2, 3)
    pixels = pixels_of(cells, 21, 39)
    for y, x in np.argwhere(padded[..., 2] > 0):
        row, column = padded[y, x, :2].astype(int)
        assert pixels[row, column] == cells[y // 16, x // 16]
