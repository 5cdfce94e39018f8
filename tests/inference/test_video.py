"""Whole videos: every way to pass frames gives the masks of the step by step loop."""

import numpy as np
import pytest

import vos_jax
from tests.inference.states import noise
from vos_jax.errors import InputError
from vos_jax.inference.segmenter import VideoSegmenter


@pytest.fixture(scope="module")
def model(tiny_method, tiny_variables):
    return vos_jax.inference_form(tiny_method, tiny_variables)


@pytest.fixture(scope="module")
def result(model, clip):
    return vos_jax.segment_video(*model, clip[0], clip[1][0], chunk=1)


def streamed(model, frames, labels, **options):
    stream = vos_jax.stream_video(*model, frames, labels, length=8, **options)
    return list(stream)


def test_a_video_is_the_loop_of_steps(model, clip, result):
    frames, labels = clip
    state = vos_jax.start(*model, frames[0], labels[0], frames=8)
    assert result.dtype == np.uint8
    assert set(np.unique(result[1:])) == {0, 1, 2}
    np.testing.assert_array_equal(result[0], labels[0])
    for frame, expected in zip(frames[1:], result[1:], strict=True):
        state, out = vos_jax.step(*model, state, frame)
        np.testing.assert_array_equal(out.labels, expected)


def test_lists_generators_and_chunks_of_an_array_agree(model, clip, result):
    frames, labels = clip
    ways = {
        "list": vos_jax.segment_video(*model, list(frames), labels[0]),
        "generator": vos_jax.segment_video(
            *model, (f for f in frames), labels[0], length=8
        ),
        "scan": vos_jax.segment_video(*model, frames, labels[0], chunk=3),
    }
    for way, found in ways.items():
        np.testing.assert_array_equal(found, result, err_msg=way)


def test_a_mapping_brings_late_objects_and_corrections(model, clip):
    frames, labels = clip
    only_one = np.where(labels[0] == 1, 1, 0).astype(np.uint8)
    late = np.where(labels[3] == 2, 9, 0).astype(np.uint8)
    correction = np.where(labels[5] == 1, 1, 0).astype(np.uint8)
    given = {0: only_one, 3: late, 5: correction}
    segmenter = VideoSegmenter(*model, objects=2, length=8)
    found = [segmenter(f, given.get(i)).result() for i, f in enumerate(frames)]
    assert [x.ids.tolist() for x in found] == [[1, 0]] * 3 + [[1, 9]] * 5
    assert not any((x.labels == 9).any() for x in found[:3])
    assert (found[3].labels[late == 9] == 9).all()
    assert (found[5].labels[correction == 1] == 1).all()
    for chunk in (1, 3):
        whole = vos_jax.segment_video(*model, frames, given, chunk=chunk, objects=2)
        np.testing.assert_array_equal(whole, [x.labels for x in found])


def test_reverse_is_the_video_turned_round(model, clip):
    frames, labels = clip
    turned = vos_jax.segment_video(*model, frames[::-1], labels[-1])[::-1]
    for way in (frames, list(frames), (f for f in frames)):
        found = vos_jax.segment_video(*model, way, labels[-1], reverse=True)
        np.testing.assert_array_equal(found, turned)
    given = {7: labels[7], 4: np.where(labels[4] == 2, 2, 0)}
    found = vos_jax.segment_video(*model, frames, given, reverse=True)
    assert (found[4][labels[4] == 2] == 2).all()


def test_labels_come_at_the_size_of_the_input(model, clip):
    frames, labels = (np.repeat(np.repeat(x, 2, 1), 2, 2) for x in clip)
    labels[0, 0, :3] = 1, 2, 1
    found = vos_jax.segment_video(*model, frames[:3], labels[0], size=32, length=8)
    assert found.shape == (3, 64, 96)
    np.testing.assert_array_equal(found[0], labels[0])


def test_flip_makes_left_and_right_equal(model, clip):
    frames, labels = clip
    symmetric = np.concatenate([frames, frames[:, :, ::-1]], 2)[:3, :, 24:72]
    first = np.concatenate([labels, labels[:, :, ::-1]], 2)[0, :, 24:72]
    plain, flipped = (
        streamed(model, symmetric, first, flip=flip, with_probs=True)
        for flip in (False, True)
    )
    for one, two in zip(plain[1:], flipped[1:], strict=True):
        mirrored = (one.probs + one.probs[..., ::-1]) / 2
        np.testing.assert_allclose(two.probs, mirrored, atol=1e-5)
        np.testing.assert_allclose(two.probs, two.probs[..., ::-1], atol=1e-5)
        assert np.abs(one.probs - one.probs[..., ::-1]).max() > 1e-3


def test_probabilities_come_only_when_asked_for(model, clip, result):
    frames, labels = clip
    without = streamed(model, frames[:3], labels[0])
    assert all(x.probs is None for x in without)
    with_probs = streamed(model, frames[:3], labels[0], with_probs=True)
    assert [x.time for x in with_probs] == [0, 1, 2]
    assert with_probs[2].probs.shape == (3, 32, 48)
    np.testing.assert_array_equal(with_probs[2].labels, result[2])
    np.testing.assert_array_equal(with_probs[2].probs.argmax(0), result[2])


def test_frames_of_a_generator_are_taken_one_at_a_time(model, clip):
    taken = []

    def frames():
        for index, frame in enumerate(noise(6)):
            taken.append(index)
            yield frame

    stream = vos_jax.stream_video(*model, frames(), clip[1][0], length=8)
    for index, result in enumerate(stream):
        assert result.time == index
        assert len(taken) <= index + 2


# What is refused


def test_a_video_without_frames_is_refused(model, clip):
    with pytest.raises(InputError, match="frames: none given"):
        vos_jax.segment_video(*model, [], clip[1][0])
    with pytest.raises(InputError, match="frames: none given"):
        vos_jax.segment_video(*model, clip[0][:0], clip[1][0], chunk=4)


@pytest.mark.parametrize("chunk", [1, 2])
def test_a_video_without_a_first_mask_is_refused(model, clip, chunk):
    with pytest.raises(InputError, match="first frame needs a mask"):
        vos_jax.segment_video(*model, clip[0], {5: clip[1][5]}, chunk=chunk)


@pytest.mark.parametrize("value", [0, 255])
def test_later_labels_without_an_object_say_nothing(model, clip, value):
    frames, labels = clip
    nothing = np.full_like(labels[0], value)
    expected = vos_jax.segment_video(*model, frames[:4], labels[0])
    found = vos_jax.segment_video(*model, frames[:4], {0: labels[0], 2: nothing})
    np.testing.assert_array_equal(found, expected)
