"""The picture of a batch, taken apart again."""

import numpy as np
import pytest
from PIL import Image

from vos_jax.data.clips import Clips
from vos_jax.data.recipes import VideoRecipe
from vos_jax.data.show import draw_batch, write_batch
from vos_jax.data.source import Labelled, Video
from vos_jax.errors import InputError

HEIGHT, WIDTH = 48, 64
# Every pixel of a clip is one of the video.
STILL = VideoRecipe(
    frames=2, size=(HEIGHT, WIDTH), objects=1, flip=0, cover=(1, 1), skip_steps=0
)


class Numbered:
    """Black videos of a white square that moves; a grey line tells video and time."""

    videos = tuple(Video(f"video{i}", 4) for i in range(3))

    def read(self, video, times):
        labels = np.stack([square(video, time) for time in times])
        frames = np.repeat(255 * labels[..., None], 3, axis=-1)
        frames[:, 0] = np.array([grey(video, time) for time in times])[:, None, None]
        return Labelled(frames, labels)


def grey(video, time):
    return 10 + 20 * (4 * video + time)


def square(video, time):
    labels = np.zeros((HEIGHT, WIDTH), np.uint8)
    labels[6 + 4 * time : 22 + 4 * time, 4 + 14 * video : 24 + 14 * video] = 1
    return labels


@pytest.fixture(scope="module")
def clips():
    return Clips(Numbered(), STILL, seed=0, batch=3)


def cells(sheet, value):
    """The pictures on a sheet whose first line is all of that grey."""
    line = np.array((sheet == value).all(-1))
    windows = np.lib.stride_tricks.sliding_window_view(line, WIDTH, axis=1)
    for top, left in np.argwhere(windows.all(-1)):
        yield int(top), int(left), sheet[top : top + HEIGHT, left : left + WIDTH]


@pytest.mark.parametrize("step", [0, 5])
def test_masks_lie_on_their_objects_one_row_a_clip(clips, step):
    sheet = draw_batch(clips, step, cell_width=WIDTH)
    assert sheet.dtype == np.uint8
    tops = []
    for index in range(3):
        example = clips.example(step, index)
        video = int(example.name[-1])
        places = []
        for time in example.times:
            (top, left, cell), *more = cells(sheet, grey(video, time))
            assert not more
            is_tinted = np.ptp(cell.astype(int), axis=-1) > 0
            np.testing.assert_array_equal(is_tinted, square(video, time) == 1)
            places.append((top, left))
        (top, left), (next_top, next_left) = places
        assert top == next_top
        assert left + WIDTH < next_left
        tops.append(top)
    assert tops[0] + HEIGHT < tops[1]
    assert tops[1] + HEIGHT < tops[2]


def test_the_picture_is_written_whole(clips, tmp_path):
    write_batch(tmp_path / "batch.png", clips, 2)
    with Image.open(tmp_path / "batch.png") as picture:
        np.testing.assert_array_equal(picture, draw_batch(clips, 2))
    assert [path.name for path in tmp_path.iterdir()] == ["batch.png"]


def test_a_folder_that_is_not_there_is_named(clips, tmp_path):
    with pytest.raises(InputError, match=r"cannot write .*gone.batch\.png"):
        write_batch(tmp_path / "gone" / "batch.png", clips, 0)
