"""What comes with frames: every way of passing it is the loop of steps."""

import jax
import numpy as np
import pytest

import vos_jax
from tests.bench.toy import toy
from tests.hinted import (
    HINTS,
    HintFile,
    Hints,
    Light,
    hinted,
    maps_of,
    shrink,
    write_hints,
)
from vos_jax.errors import InputError
from vos_jax.inference.frame_inputs import read_ahead
from vos_jax.inference.segmenter import VideoSegmenter
from vos_jax.methods.inputs import of_frames, open_inputs

SIZE = (32, 48)
NAMES = [f"{time:05d}" for time in range(8)]


@pytest.fixture(scope="module")
def model():
    return hinted()


@pytest.fixture(scope="module")
def maps():
    return maps_of(8)


@pytest.fixture(scope="module")
def hints(maps):
    return [shrink(each, SIZE) for each in maps]


@pytest.fixture(scope="module")
def video(maps, tmp_path_factory):
    path = write_hints(tmp_path_factory.mktemp("hints") / "hints.npz", maps)
    return HintFile(path).video(None, NAMES, SIZE)


@pytest.fixture(scope="module")
def looped(model, clip, hints):
    """Labels of the loop of steps."""
    frames, labels = clip
    state = vos_jax.start(*model, frames[0], labels[0])
    found = [labels[0]]
    for frame, own in zip(frames[1:], hints[1:], strict=True):
        state, out = vos_jax.step(*model, state, frame, own)
        found.append(np.asarray(out.labels))
    return np.stack(found)


def segmented(model, clip, **options):
    return vos_jax.segment_video(*model, clip[0], clip[1][0], **options)


def test_hints_decide_what_is_found(model, clip, hints, looped):
    late = [hints[0], hints[0], *hints[1:-1]]
    found = segmented(model, clip, inputs=late)
    assert (found[1:] != looped[1:]).any((1, 2)).all()


@pytest.mark.parametrize("chunk", [1, 3])
def test_sequences_and_readers_give_the_loop(model, clip, hints, video, looped, chunk):
    for inputs in (hints, video):
        found = segmented(model, clip, inputs=inputs, chunk=chunk)
        np.testing.assert_array_equal(found, looped)
    frames = (frame for frame in clip[0])
    found = vos_jax.segment_video(*model, frames, clip[1][0], inputs=video)
    np.testing.assert_array_equal(found, looped)


@pytest.mark.parametrize("chunk", [1, 3])
def test_backwards_hints_stay_with_their_frames(model, clip, hints, chunk):
    frames, labels = clip
    turned = vos_jax.segment_video(
        *model, frames[::-1], labels[-1], inputs=hints[::-1], chunk=chunk
    )
    found = vos_jax.segment_video(
        *(*model, frames, labels[-1]), inputs=hints, reverse=True, chunk=chunk
    )
    np.testing.assert_array_equal(found[::-1], turned)


def test_the_mirrored_view_gets_mirrored_hints(model, clip, hints):
    frames, labels = clip
    segmenter = VideoSegmenter(*model, flip=True)
    mirrored = vos_jax.start(*model, frames[0][:, ::-1], labels[0][:, ::-1])
    segmenter(frames[0], labels[0])
    for frame, own in zip(frames[1:4], hints[1:4], strict=True):
        segmenter(frame, inputs=own)
        mirrored, _ = vos_jax.step(*model, mirrored, frame[:, ::-1], HINTS.mirror(own))
    np.testing.assert_allclose(segmenter.views[1].probs, mirrored.probs, atol=1e-6)
    chunked = segmented(model, clip, inputs=hints, flip=True, chunk=3)
    np.testing.assert_array_equal(
        chunked, segmented(model, clip, inputs=hints, flip=True, chunk=1)
    )


def test_readers_are_asked_for_the_working_size(model, clip):
    class Noted(Light):
        sizes = ()

        def read(self, index, frame, size):
            self.sizes += (size,)
            return super().read(index, frame, size)

    frames = np.repeat(np.repeat(clip[0][:3], 2, 1), 2, 2)
    labels = np.repeat(np.repeat(clip[1][0], 2, 0), 2, 1)
    noted = Noted()
    found = vos_jax.segment_video(*model, frames, labels, inputs=noted, size=32)
    assert found.shape == (3, 64, 96)
    assert noted.sizes == ((32, 48), (32, 48))


def test_a_thread_reads_a_few_frames_ahead_and_in_order(clip, maps, tmp_path):
    video = HintFile(write_hints(tmp_path / "h.npz", maps)).video(None, NAMES, SIZE)
    pairs = read_ahead(clip[0], video, None)
    assert next(pairs)[1] is None
    own = next(pairs)[1]
    np.testing.assert_array_equal(own.map, shrink(maps[1], SIZE).map)
    pairs.close()
    assert video.read_indices == sorted(video.read_indices)
    assert len(video.read_indices) < 8


def test_a_step_may_be_traced_with_hints(model, clip, hints):
    method, variables = model
    frames, labels = clip
    state = vos_jax.start(*model, frames[0], labels[0], frames=4)
    step = jax.jit(lambda *given: vos_jax.step(method, variables, *given))
    _, traced = step(state, frames[1], hints[1])
    _, plain = vos_jax.step(*model, state, frames[1], hints[1])
    np.testing.assert_allclose(traced.probs, plain.probs, atol=1e-6)
    small = Hints(np.zeros((16, 16), np.float32), np.float32(1))
    with pytest.raises(InputError, match="hints: those of a frame of 48x32 needed"):
        step(state, frames[1], small)


def test_later_masks_and_objects_go_with_hints(model, clip, hints):
    frames, labels = clip
    given = {0: np.where(labels[0] == 1, 1, 0), 3: np.where(labels[3] == 2, 9, 0)}
    one, three = (
        vos_jax.segment_video(*model, frames, given, inputs=hints, chunk=n, objects=2)
        for n in (1, 3)
    )
    np.testing.assert_array_equal(one, three)
    assert (one[3][labels[3] == 2] == 9).all()


# What is refused


def test_a_method_that_takes_hints_asks_for_them(model, clip):
    with pytest.raises(InputError, match="takes hints with every frame; name a file"):
        segmented(model, clip)
    with pytest.raises(InputError, match="takes hints with every frame; name a file"):
        segmented(model, clip, chunk=3)
    state = vos_jax.start(*model, clip[0][0], clip[1][0])
    with pytest.raises(InputError, match="takes hints with every frame"):
        vos_jax.step(*model, state, clip[0][1])
    with pytest.raises(InputError, match="takes hints with every frame"):
        open_inputs(HINTS, None)


def test_a_method_that_takes_nothing_refuses_them(clip, hints):
    with pytest.raises(InputError, match="takes nothing but frames"):
        segmented(toy(), clip, inputs=hints)
    segmenter = VideoSegmenter(*toy())
    with pytest.raises(InputError, match="takes nothing but frames"):
        segmenter(clip[0][0], clip[1][0], inputs=hints[0])


def test_too_few_hints_are_refused(model, clip, hints):
    with pytest.raises(InputError, match="inputs: 5 given, none for frame 5"):
        segmented(model, clip, inputs=hints[:5])


def test_only_kinds_that_can_be_made_of_frames_have_a_word_for_it():
    assert open_inputs(HINTS, of_frames(HINTS)).identity == "light"
    assert of_frames(HINTS._replace(of_frames=None)) is None
    assert of_frames(None) is None
    assert open_inputs(None, None) is None
