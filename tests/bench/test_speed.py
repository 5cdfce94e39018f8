"""What a frame takes: which frames are timed, and the arithmetic."""

import pytest

from tests.bench.toy import toy
from tests.clips import moving_clip, write_davis
from tests.hinted import hinted, no_hints
from vos_jax.bench import speed
from vos_jax.bench.speed import (
    VideoSpeed,
    chosen_sequences,
    speed_rows,
    time_sequences,
    time_video,
)
from vos_jax.evaluation import read_dataset


@pytest.fixture
def clock(monkeypatch):
    """A clock that ticks once whenever it is looked at."""
    ticks = iter(range(1000))
    monkeypatch.setattr(speed.time, "perf_counter", lambda: float(next(ticks)))


@pytest.fixture(scope="module")
def sequences(tmp_path_factory):
    root = write_davis(tmp_path_factory.mktemp("davis"), ["alpha", "beta"])
    return read_dataset("davis2017", root, "val")


def test_frames_with_given_masks_and_those_that_compile_are_not_timed(clock):
    frames, labels = moving_clip(8)
    method, variables = toy()
    given = {0: labels[0], 5: labels[5]}
    first = time_video(method, variables, frames, given, length=8)
    again = time_video(method, variables, frames, given, length=8)
    # Frames 0 and 5 are given; what is compiled once stays compiled.
    assert again == VideoSpeed(objects=2, frames=6, seconds=6.0)
    assert first.frames <= 6 and first.seconds == first.frames


def test_what_comes_with_frames_is_read_before_their_time_begins(clock):
    frames, labels = moving_clip(4)

    class Hints:
        def read(self, index, frame, size):
            speed.time.perf_counter()
            return no_hints(size)

    found = time_video(
        *hinted(every=None), frames, {0: labels[0]}, length=4, inputs=Hints()
    )
    # A tick while a time runs would make it longer.
    assert found.frames and found.seconds == found.frames


def test_sequences_are_timed_one_by_one(sequences):
    found = dict(time_sequences(*toy(), sequences, reserve=6))
    assert list(found) == ["alpha", "beta"]
    assert all(each.objects == 2 and each.seconds > 0 for each in found.values())
    assert found["beta"].frames == 5


def test_one_sequence_of_each_number_of_objects_stands_for_all(sequences):
    assert chosen_sequences(sequences, "one") == [sequences[0]]
    assert chosen_sequences(sequences, "all") == list(sequences)
    assert chosen_sequences(sequences, "none") == []


def test_rows_are_of_each_number_of_objects_and_of_all():
    method, _ = toy()
    speeds = [VideoSpeed(2, 4, 2.0), VideoSpeed(1, 10, 1.0), VideoSpeed(2, 6, 3.0)]
    rows = speed_rows(method, [*speeds, VideoSpeed(3, 0, 0.0)])
    figures = [row[:5] for row in rows]
    assert figures == [
        (1, 1, 10, 0.1, 10.0),
        (2, 2, 10, 0.5, 2.0),
        (None, 3, 20, 0.3, 20 / 6),
    ]
    assert {row.type for row in rows} == {"float32, highest precision"}
    assert all("core" in row.device for row in rows)
    assert speed_rows(method, []) == []
    (alone,) = speed_rows(method, speeds[:1])
    assert alone.objects == 2
