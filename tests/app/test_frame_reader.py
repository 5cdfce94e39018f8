import threading

import numpy as np
import pytest

from tests.clips import moving_clip
from vos_jax.app.frame_reader import FrameReader
from vos_jax.errors import InputError
from vos_jax.media import VideoWriter, open_frames


class Counting:
    """A source that notes where it is asked to begin."""

    def __init__(self, frames):
        self._frames, self.size = frames, frames.shape[1:3]
        self.begun = []

    def frames(self, start=0):
        self.begun.append(start)
        return iter(self._frames[start:])


@pytest.fixture
def source():
    frames = np.arange(200, dtype=np.uint8)[:, None, None, None]
    return Counting(np.broadcast_to(frames, (200, 4, 6, 3)))


def test_any_frame_is_the_right_one(source):
    reader = FrameReader(source)
    for index in (0, 5, 4, 199, 100, 99, 98, 150, 3):
        assert (reader.read(index) == index).all()


def test_to_play_is_to_decode_once(source):
    reader = FrameReader(source)
    for index in range(200):
        reader.read(index)
    assert source.begun == [0]


def test_to_go_back_decodes_some_frames_together(source):
    reader = FrameReader(source)
    for index in range(199, -1, -1):
        assert (reader.read(index) == index).all()
    assert len(source.begun) <= 200 // 24 + 2


def test_few_frames_stay_in_memory(monkeypatch, source):
    monkeypatch.setattr("vos_jax.app.frame_reader._BUDGET", 4 * 6 * 3 * 30)
    reader = FrameReader(source)
    for index in range(200):
        reader.read(index)
    assert len(reader._frames) == 30


def test_threads_get_their_frames(source):
    reader, wrong = FrameReader(source), []

    def read(indices):
        wrong.extend(i for i in indices if not (reader.read(i) == i).all())

    orders = [range(200), range(199, -1, -1), range(0, 200, 7)]
    threads = [threading.Thread(target=read, args=(order,)) for order in orders]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_an_error_is_told_every_time_and_spoils_nothing(source):
    reader = FrameReader(source)
    for _ in range(2):
        with pytest.raises(InputError, match="frame 200: the video ends before it"):
            reader.read(200)
    assert (reader.read(7) == 7).all()


def test_a_video_file_is_read_at_any_place(tmp_path):
    frames, _ = moving_clip(40)
    with VideoWriter(tmp_path / "clip.mp4", 24, frames.shape[1:3]) as video:
        for frame in frames:
            video.write(frame)
    source = open_frames(tmp_path / "clip.mp4")
    decoded, reader = list(source), FrameReader(source)
    for index in (39, 0, 20, 19, 3):
        assert np.array_equal(reader.read(index), decoded[index])
