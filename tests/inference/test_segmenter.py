"""One video frame by frame: sizes, ids, and what a long one costs."""

import ctypes
import gc
from typing import ClassVar

import jax
import numpy as np
import pytest

import vos_jax
from tests.inference.states import noise
from vos_jax.errors import InputError
from vos_jax.inference.segmenter import VideoSegmenter, compiled_programs, working_size


@pytest.fixture(scope="module")
def model(tiny_method, tiny_variables):
    return vos_jax.inference_form(tiny_method, tiny_variables)


def test_picked_ids_leave_the_other_labels_alone(model, clip):
    frames, labels = clip
    segmenter = VideoSegmenter(*model, objects=2, length=8)
    first = segmenter(frames[0], labels[0], ids=[2]).result()
    np.testing.assert_array_equal(first.labels, np.where(labels[0] == 2, 2, 0))
    assert first.ids.tolist() == [2, 0]


def test_a_removed_object_is_not_found_again(model, clip):
    frames, labels = clip
    segmenter = VideoSegmenter(*model, length=8)
    segmenter(frames[0], labels[0])
    segmenter(frames[1])
    segmenter.remove(1)
    assert 1 not in segmenter(frames[2]).result().labels
    assert segmenter.latest.ids.tolist() == [0, 2]


@pytest.mark.parametrize(
    "given, size, expected",
    [
        ((480, 854), None, (480, 854)),
        ((1080, 1920), 480, (480, 853)),
        ((1920, 1080), 480, (853, 480)),
        ((240, 320), 480, (480, 640)),
        ((100, 100), 50, (50, 50)),
    ],
)
def test_size_is_that_of_the_shorter_side(given, size, expected):
    assert working_size(*given, size) == expected


def test_an_object_smaller_than_a_working_pixel_is_followed(model, clip):
    frames = np.repeat(np.repeat(clip[0][:2], 2, 1), 2, 2)
    labels = np.zeros((64, 96), np.uint8)
    labels[8:40, 12:44] = 1
    labels[6, 6] = 2
    segmenter = VideoSegmenter(*model, size=32, length=8)
    first = segmenter(frames[0], labels).result()
    assert first.ids.tolist() == [1, 2]
    assert first.labels[6, 6] == 2


def test_folded_norms_change_only_rounding(tiny_method, tiny_variables, model, clip):
    frames, labels = clip
    assert model[0].config.folded
    assert vos_jax.inference_form(*model) == model
    outputs = []
    for method, variables in ((tiny_method, tiny_variables), model):
        state = vos_jax.start(method, variables, frames[0], labels[0], frames=8)
        for frame in frames[1:4]:
            state, out = vos_jax.step(method, variables, state, frame)
        outputs.append(out.probs)
    np.testing.assert_allclose(*outputs, atol=1e-4)


# Long videos


class Mallinfo2(ctypes.Structure):
    """`struct mallinfo2` of glibc."""

    _fields_: ClassVar = [
        (name, ctypes.c_size_t)
        for name in (
            "arena ordblks smblks hblks hblkhd usmblks fsmblks uordblks fordblks"
            " keepcost"
        ).split()
    ]


def glibc():
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallinfo2"):
        libc.mallinfo2.restype = Mallinfo2
        return libc
    return None


def held_bytes():
    """What is allocated; resident pages also count what is free again."""
    gc.collect()
    info = glibc().mallinfo2()
    return info.uordblks + info.hblkhd


needs_glibc = pytest.mark.skipif(glibc() is None, reason="asks glibc 2.33 or newer")


def follow(model, clip, count, **options):
    """Programs, state bytes and held bytes after frames 64, 128, 256 and so on."""
    segmenter = VideoSegmenter(*model, **options)
    seen = []
    for index, frame in enumerate(noise(count)):
        segmenter(frame, None if index else clip[1][0]).result()
        if index >= 64 and index & (index - 1) == 0:
            size = sum(x.nbytes for x in jax.tree.leaves(segmenter.views))
            seen.append((compiled_programs(), size, held_bytes()))
    return segmenter, tuple(zip(*seen, strict=True))


def bounded(tiny_method, **changes):
    return vos_jax.create("stm", **{**vars(tiny_method.config), **changes})


def check_constant(tiny_method, tiny_variables, clip, count, capacity):
    """A capacity for each test: what another has compiled is not compiled again."""
    method = bounded(tiny_method, mem_every=3, mem_capacity=capacity)
    before = compiled_programs()
    _, (programs, sizes, held) = follow((method, tiny_variables), clip, count)
    assert programs == (before + 1,) * len(programs)
    assert len(set(sizes)) == 1
    between = 64 * 2 ** (len(held) - 1) - 64
    # Of each frame a kept label map would be 1.5 kB, a kept state 100 kB. JAX itself
    # kept 1 kB of each call before 0.10.
    most = 500 if jax.__version_info__ >= (0, 10) else 1300
    assert held[-1] - held[0] < most * between


@needs_glibc
def test_a_bounded_memory_is_one_program_and_constant(
    tiny_method, tiny_variables, clip
):
    check_constant(tiny_method, tiny_variables, clip, 300, capacity=6)


@needs_glibc
@pytest.mark.slow
def test_a_bounded_memory_stays_constant_for_2000_frames(
    tiny_method, tiny_variables, clip
):
    check_constant(tiny_method, tiny_variables, clip, 2000, capacity=7)


def check_growth(model, clip, count, capacities):
    before = compiled_programs()
    segmenter, (programs, _, _) = follow(model, clip, count, length=60)
    assert programs[-1] - before <= len(capacities)
    assert segmenter.views[0].memory.bank.capacity == capacities[-1]
    slot = model[0].config.key_dim + model[0].config.value_dim
    per_slot = 4 * 2 * (2 * 3 * slot + 1)
    added = (capacities[-1] - capacities[0]) * per_slot
    start = VideoSegmenter(*model, length=60)
    start(next(noise(1)), clip[1][0])
    first, last = (
        sum(x.nbytes for x in jax.tree.leaves(s.views)) for s in (start, segmenter)
    )
    assert last - first == added


@pytest.mark.slow
def test_every_fifth_frame_doubles_the_memory_now_and_then(model, clip):
    check_growth(model, clip, 100, [16, 32])


@pytest.mark.slow
def test_2000_frames_of_every_fifth_are_six_programs(model, clip):
    check_growth(model, clip, 2000, [16, 32, 64, 128, 256, 512])


# What is refused


@pytest.mark.parametrize(
    "frame, labels, message",
    [
        (np.zeros((32, 48), np.uint8), None, r"frame 1: shape \(32, 48\)"),
        (np.zeros((32, 48, 4), np.uint8), None, r"frame 1: shape \(32, 48, 4\)"),
        (np.zeros((32, 48, 3), np.int64), None, "frame 1: dtype int64"),
        (np.zeros((48, 32, 3), np.uint8), None, "frame 1: its size is 32x48.* 48x32"),
        (None, np.ones((16, 24), np.uint8), "labels: their size is 24x16.* 48x32"),
        (None, np.ones((1, 32, 48), np.uint8), r"labels: shape \(1, 32, 48\)"),
        (None, np.full((32, 48), 300), "300; they must differ and lie in"),
    ],
)
def test_a_bad_frame_or_mask_is_refused(model, clip, frame, labels, message):
    segmenter = VideoSegmenter(*model, length=8)
    segmenter(clip[0][0], clip[1][0])
    with pytest.raises(InputError, match=message) as caught:
        segmenter(clip[0][1] if frame is None else frame, labels)
    assert "\n" not in str(caught.value)


def test_a_tiny_size_is_refused(model):
    with pytest.raises(InputError, match="size=15: use at least 16"):
        VideoSegmenter(*model, size=15)
