"""Videos in places of a batch find what each finds alone."""

import threading

import numpy as np
import pytest

import vos_jax
from tests.clips import moving_clip
from tests.inference.states import NOISE
from vos_jax.inference.capacity import slots_for
from vos_jax.inference.many import batch as batch_module
from vos_jax.inference.many.batch import Batch, Room, compiled_batches
from vos_jax.inference.resume import Saved
from vos_jax.inference.segmenter import VideoSegmenter

LENGTHS = (7, 4, 6, 5)


@pytest.fixture(scope="module")
def model(tiny_method, tiny_variables):
    return vos_jax.inference_form(tiny_method, tiny_variables)


@pytest.fixture(scope="module")
def videos():
    """Frames and given masks of videos that differ in all but their size."""
    frames, labels = moving_clip(12)
    given = [
        {0: labels[0]},
        {0: np.where(labels[1] == 1, 1, 0).astype(np.uint8)},
        # An object comes later, under an id of its own.
        {0: labels[2], 3: np.where(labels[5] == 1, 7, 0).astype(np.uint8)},
        # One is corrected.
        {0: labels[3], 2: np.where(labels[6] == 2, 2, 0).astype(np.uint8)},
    ]
    return [
        (frames[place : place + length], each)
        for place, (length, each) in enumerate(zip(LENGTHS, given, strict=True))
    ]


@pytest.fixture(scope="module")
def room(model):
    most = max(LENGTHS)
    return Room(frames=most, slots=slots_for(model[0], most, 1), objects=3)


def objects_of(video):
    return len(set(np.unique(np.stack(list(video[1].values())))) - {0})


def segment(segmenter, video):
    frames, given = video
    return [
        segmenter(frame, given.get(time)).result() for time, frame in enumerate(frames)
    ]


def alone(model, video, **options):
    count = objects_of(video)
    options = {"with_probs": True, "objects": count, **options}
    return segment(VideoSegmenter(*model, **options), video)


def together(batch, videos, rows):
    """Videos by threads of which each takes the next one, as many as `rows`."""
    results, left, errors = {}, list(enumerate(videos)), []

    def work():
        try:
            while left:
                number, video = left.pop(0)
                with batch.place(True, objects_of(video)) as place:
                    results[number] = segment(place, video)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work) for _ in range(rows)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    if errors:
        raise errors[0]
    return [results[number] for number in range(len(videos))]


def assert_same(found, expected):
    """The same masks and probabilities, of as many object slots."""
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        assert one.time == other.time
        np.testing.assert_array_equal(one.labels, other.labels)
        assert [x for x in one.ids.tolist() if x] == [x for x in other.ids if x]
        assert one.probs.shape == other.probs.shape
        np.testing.assert_allclose(one.probs, other.probs, atol=NOISE, rtol=0)


@pytest.mark.parametrize("options", [{}, {"flip": True, "size": 24}], ids=str)
def test_each_finds_what_it_finds_alone(model, videos, room, options):
    before = compiled_batches()
    batch = Batch(*model, 2, room, **options)
    found = together(batch, videos, rows=2)
    # The third video took the place of one that had ended, in the same program.
    assert compiled_batches() == before + 1
    for one, video in zip(found, videos, strict=True):
        assert_same(one, alone(model, video, **options))


def test_a_video_goes_on_from_a_state_that_was_saved_alone(model, videos, room):
    frames, _ = videos[0]
    segmenter = VideoSegmenter(*model, with_probs=True, length=4)
    for time in range(4):
        segmenter(frames[time], videos[0][1].get(time))
    leaves = [np.array(x) for view in segmenter.views for x in _leaves(view)]
    batch = Batch(*model, 2, room)
    with batch.place(True, objects_of(videos[0])) as place:
        place.restore(Saved(4, 1, leaves))
        found = [place(frame).result() for frame in frames[4:]]
    assert_same(found, alone(model, videos[0])[4:])


def test_a_state_with_more_room_than_a_place_goes_on_by_itself(model, videos, room):
    """As one of a run does in which other videos had more objects."""
    frames, given = videos[0]
    segmenter = VideoSegmenter(*model, with_probs=True, objects=room.objects + 1)
    segmenter(frames[0], given[0])
    leaves = [np.array(x) for view in segmenter.views for x in _leaves(view)]
    batch = Batch(*model, 2, room)
    before = compiled_batches()
    with batch.place(True, 2) as place:
        place.restore(Saved(1, 1, leaves))
        found = [place(frame).result() for frame in frames[1:]]
    assert compiled_batches() == before
    assert_same(found, alone(model, videos[0])[1:])
    assert found[0].probs.shape[0] == 3


def test_a_step_that_fails_fails_everywhere_and_the_places_are_free(
    model, videos, room, monkeypatch
):
    batch = Batch(*model, 2, room)

    def fail(*_):
        raise MemoryError("no room")

    with monkeypatch.context() as patch:
        patch.setattr("vos_jax.inference.many.batch.step_places", fail)
        with pytest.raises(MemoryError, match="no room"):
            together(batch, videos[:2], rows=2)
    found = together(batch, videos[:2], rows=2)
    assert_same(found[0], alone(model, videos[0]))


@pytest.mark.parametrize("name", ["_vacate", "_put"])
def test_nobody_waits_for_a_video_whose_place_fails(
    model, videos, room, monkeypatch, name
):
    """Videos end, and others begin, between the steps of those that go on."""
    program, calls = getattr(batch_module, name), []

    def fail(*arguments):
        calls.append(arguments)
        # The first two videos begin; then one ends, or the third one begins.
        if len(calls) > 2 * (name == "_put"):
            raise MemoryError("no room")
        return program(*arguments)

    monkeypatch.setattr(batch_module, name, fail)
    with pytest.raises(MemoryError, match="no room"):
        together(Batch(*model, 2, room), videos[:3], rows=2)


def _leaves(view):
    import jax

    return jax.device_get(jax.tree.leaves(view))
