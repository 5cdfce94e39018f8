"""Videos whose memory is divided between devices: as on one device."""

import re
from functools import cache, partial
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import vos_jax
from tests.clips import moving_clip, read_masks, write_frames, write_masks
from tests.eight import DEVICES, pass_on_eight_devices
from tests.lowered import branches, lower, open_loops
from vos_jax.cli import main
from vos_jax.errors import InputError
from vos_jax.inference import resume, segmenter
from vos_jax.inference.step import step_traced
from vos_jax.ops.divided import BY_SLOT, SLOTS, parts
from vos_jax.runtime import out_of_memory
from vos_jax.runtime.mesh import memory_mesh

FRAMES, SIZE = 9, (32, 48)
COLLECTIVES = re.compile(r" = (\(?\w+\[.*?) (all-\w+|reduce-scatter|collective-\w+)\(")


def test_on_eight_devices():
    pass_on_eight_devices(
        check_a_video_is_that_of_one_device_and_two_sums_travel,
        check_a_state_has_the_bytes_that_are_told_on_each_device,
        check_a_command_goes_on_with_another_number_of_devices,
        check_what_cannot_be_divided_is_refused_in_one_line,
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("hmmn-tiny", {"mem_every": 1}),
        ("hmmn-tiny", {"kernel_guided": False}),
        ("hmmn-tiny", {"kernel_centre": "global", "selection": "strided"}),
        ("hmmn-tiny", {"mem_every": 2, "queries": 4}),
        ("lcm-tiny", {"mem_every": 1}),
        ("stcn", {"mem_every": 1}),
        ("stcn", {"mem_every": 1, "mem_capacity": 4}),
        ("stm-tiny", {"mem_every": 1, "top_k": 4}),
        # Objects get slots when they come.
        ("stm-tiny", {"mem_every": 2, "queries": 2, "objects": None}),
        # Five slots of eight; and none but two, in spite of a correction.
        ("stm-tiny", {"mem_every": 1, "mem_capacity": 5}),
        ("stm-tiny", {"mem_every": None}),
        *((x, {"platform": "cuda"}) for x in ("stm-tiny", "hmmn-tiny", "stcn")),
    ],
)
def test_a_method_finds_on_eight_devices_what_it_finds_on_one(name, options):
    pass_on_eight_devices(check_a_method, given=(name, options))


@pytest.mark.slow
@pytest.mark.parametrize("number", range(6))
def test_more_on_eight_devices(number):
    """By number: one process each, whose programs do not add up."""
    more = (
        check_start_and_step_take_the_method_as_any_other,
        check_bfloat16_is_as_near_as_other_forms_are,
        check_nothing_waits_for_a_value_on_accelerators,
        check_both_views_and_chunks_of_frames,
        check_videos_of_a_batch_and_gradients,
        check_a_state_that_was_saved_goes_on_on_any_number_of_devices,
    )
    pass_on_eight_devices(more[number])


@cache
def model(name, **options):
    weights = "rde-tiny" if name == "stcn" else None
    return vos_jax.load_model(name, weights, **options)


def divided(name, devices=DEVICES, queries=1, **options):
    method, variables = model(name, **options)
    return vos_jax.over_devices(method, devices, queries=queries), variables


def given():
    """A clip, and labels by time: two objects, a late one, and a correction."""
    frames, labels = moving_clip(FRAMES)
    late = np.zeros_like(labels[0])
    late[2:8, 2:5] = 3
    return frames, {0: labels[0], 3: late, 6: labels[6]}


def video(method, variables, objects=3, length=FRAMES):
    """Probabilities and labels of all frames; what segmented them."""
    frames, labels = given()
    segment = vos_jax.VideoSegmenter(
        *(method, variables), with_probs=True, length=length, objects=objects
    )
    found = [
        segment(frame, labels.get(time)).result() for time, frame in enumerate(frames)
    ]
    probs = np.concatenate([x.probs.reshape(-1, *SIZE) for x in found])
    return probs, np.stack([x.labels for x in found]), segment


def assert_same_video(name, queries=1, objects=3, **options):
    """Labels are equal; probabilities but for eight times what order of sums makes."""
    method, variables = model(name, **options)
    form = {"read": "blocks" if method.platform in (None, "cpu") else "slots"}
    expected, labels, one = video(method, variables, objects)
    other, _, _ = video(*model(name, **options, **form), objects)
    noise = np.abs(other - expected).max()
    assert 0 < noise < 1e-4
    parted = divided(name, queries=queries, **options)
    probs, found, segment = video(*parted, objects, length=4)
    np.testing.assert_array_equal(found, labels)
    np.testing.assert_allclose(probs, expected, rtol=0, atol=8 * noise)
    bank, whole = (x.views[0].memory.bank for x in (segment, one))
    assert bank.capacity % parts(segment._method.mesh) == 0
    count = min(bank.capacity, whole.capacity)
    times = (np.asarray(x.time)[:count] for x in (bank, whole))
    np.testing.assert_array_equal(*times)
    assert not np.asarray(bank.filled)[count:].any()
    assert {x.sharding.spec for x in jax.tree.leaves(bank.entries)} == {BY_SLOT}
    rest = segment.views[0]._replace(memory=None)
    assert all(x.sharding.is_fully_replicated for x in jax.tree.leaves(rest))
    return segment


def travelling(segment):
    """What the compiled step of a video sends between devices."""
    frame = jnp.zeros((*SIZE, 3))
    given = segment._method, segment._variables, segment.views, frame, None, SIZE, True
    program = segmenter._advance.lower(*given).compile().as_text()
    found = COLLECTIVES.findall(program)
    return sorted((re.sub(r"{[\d,]*}", "", shape), name) for shape, name in found)


def check_a_video_is_that_of_one_device_and_two_sums_travel():
    """The memory grows from 8 slots to 16; 3 slots of objects, 6 cells, 128 values.

    One all-reduce has the highest scores, one the sums of weights and of values.
    Nothing else travels: all that is not of the bank is computed everywhere.
    """
    before = segmenter.compiled_programs()
    segment = assert_same_video("stm-tiny", mem_every=1)
    assert segment.views[0].memory.bank.capacity == 16
    assert travelling(segment) == [
        ("f32[3,1,6,129]", "all-reduce"),
        ("f32[3,6]", "all-reduce"),
    ]
    # One of each form on one device, and of each capacity one that is divided.
    assert segmenter.compiled_programs() - before == 4


def check_a_state_has_the_bytes_that_are_told_on_each_device():
    frames, labels = given()
    for devices in (3, 8):
        method, variables = vos_jax.inference_form(*divided("stm-tiny", devices))
        state = vos_jax.start(method, variables, frames[0], labels[0], frames=33)
        here = [
            sum(
                part.data.nbytes
                for x in jax.tree.leaves(state)
                for part in x.addressable_shards
                if part.device == device
            )
            for device in jax.devices()[:devices]
        ]
        told = vos_jax.state_bytes(method, SIZE, 2, 33)
        assert here == [told] * devices
        plain = model("stm-tiny")[0]
        assert told == vos_jax.state_bytes(plain, SIZE, 2, 33, devices=devices)


def check_start_and_step_take_the_method_as_any_other():
    """Weights where they are, states kept and stepped again, an object that goes."""
    frames, labels = given()
    found = []
    state = vos_jax.start(*model("stm-tiny"), frames[0], labels[0], frames=20)
    with pytest.raises(InputError, match="6 slots do not divide by the 8 devices"):
        vos_jax.step(*divided("stm-tiny"), state, frames[1])
    for method, variables in (model("stm-tiny"), divided("stm-tiny")):
        state = vos_jax.start(method, variables, frames[0], labels[0], frames=33)
        state, _ = vos_jax.step(method, variables, state, frames[1])
        kept = state
        for time in range(2, 7):
            state, out = vos_jax.step(method, variables, state, frames[time])
        state = vos_jax.remove_object(state, 1)
        state, out = vos_jax.step(method, variables, state, frames[7])
        _, again = vos_jax.step(method, variables, kept, frames[2])
        found.append([out.logits, again.logits, out.ids])
    for x, y in zip(*found, strict=True):
        np.testing.assert_allclose(x, y, atol=1e-4 * np.abs(y).max())


def segment_command(folder, *options):
    command = ["segment", str(folder / "frames"), "--mask", str(folder / "masks")]
    # As the video above, of which programs are there.
    command += ["--method", "stm-tiny", "--mem-every", "1", "--save-scores"]
    return main([*command, *options])


def check_a_command_goes_on_with_another_number_of_devices():
    """Of capacities 16 and 12, and other numbers of slots on a device."""
    frames, labels = given()
    with TemporaryDirectory() as name:
        folder = Path(name)
        write_frames(folder / "frames", frames)
        write_masks(folder / "masks", {f"{t:05d}": x for t, x in labels.items()})
        assert segment_command(folder, "--out", str(folder / "one")) == 0
        expected = read_masks(folder / "one" / "masks")
        out = "--out", str(folder / "out")
        call = vos_jax.VideoSegmenter.__call__

        def interrupted(self, *args, **named):
            if self.index == 5:
                raise KeyboardInterrupt
            return call(self, *args, **named)

        with mock.patch.object(vos_jax.VideoSegmenter, "__call__", interrupted):
            assert segment_command(folder, *out, "--devices", "8") == 130
        assert sorted(read_masks(folder / "out" / "masks")) == sorted(expected)[:5]
        assert segment_command(folder, *out, "--resume", "--devices", "3") == 0
        found = read_masks(folder / "out" / "masks")
        assert sorted(found) == sorted(expected)
        for name, mask in found.items():
            np.testing.assert_array_equal(mask, expected[name])
        assert segment_command(folder, *out, "--devices", "9") == 2
        assert segment_command(folder, *out, "--devices", "0") == 2


def check_what_cannot_be_divided_is_refused_in_one_line():
    for name, options, words in (
        ("rde-tiny", {}, "RDE: .* three frames"),
        ("dmn-aoa", {}, "DMNAOA: .* small squares"),
        ("hmmn-tiny", {"fine_kept": True}, "fine_kept=False"),
        ("stm-tiny", {"read": "reference"}, "'auto', 'slots', 'blocks'"),
    ):
        method = vos_jax.create(name, **options)
        with pytest.raises(InputError, match=words) as caught:
            vos_jax.over_devices(method, 2)
        assert "\n" not in str(caught.value)
        assert vos_jax.over_devices(method, 1) == method
    method = vos_jax.create("stm-tiny")
    for asked, words in (
        ({"devices": 9}, "between 9 devices: use 1 to 8, for 8 are here"),
        ({"devices": 0}, "use 1 to 8"),
        ({"devices": []}, "0 devices do not divide into 1 parts"),
        ({"devices": 8, "queries": 3}, "8 devices do not divide into 3 parts"),
    ):
        with pytest.raises(InputError, match=words):
            vos_jax.over_devices(method, **asked)


# Slow


SENT = {
    # Keys of the newest slot; keys and kernels of it and of the first; two sums.
    "hmmn-tiny": [
        *("f32[2,3,2,3,64]", "f32[2,3]", "f32[3,1,6,129]", "f32[3,2,3,64]"),
        *("f32[3,6]", "s32[2,3,2,3]"),
    ],
    # Of 20 cells that count, and their copies, those that each device has: 12 of two
    # slots. Where all objects have the same frames, and where each has its own.
    "stcn": ["f32[1,1,6,64]", "f32[1,3,6,64]", "f32[2,1,6,96]", "f32[2,1,6,96]"],
    "lcm-tiny": ["f32[3,1,6,129]", "f32[3,6]"],
}


def check_a_method(name, options):
    segment = assert_same_video(name, **options)
    capacity = segment.views[0].memory.bank.capacity
    if options == {"mem_every": 1}:
        shapes = [x for x, _ in travelling(segment)]
        found = sorted(x for each in shapes for x in re.findall(r"\w+\[[\d,]*\]", each))
        assert found == SENT[name]
        assert capacity == 16
    if "mem_capacity" in options or options == {"mem_every": None}:
        assert capacity == DEVICES


def check_a_state_that_was_saved_goes_on_on_any_number_of_devices():
    """Also on one device, whose memory is then larger than it would have made it."""
    frames, labels = given()
    _, expected, _ = video(*model("stm-tiny", mem_every=1))
    for before, after in ((8, 1), (1, 8), (5, 4)):
        segment, other = (
            vos_jax.VideoSegmenter(*divided("stm-tiny", n, mem_every=1), length=4)
            for n in (before, after)
        )
        found = [segment(frames[t], labels.get(t)).result().labels for t in range(5)]
        with TemporaryDirectory() as folder:
            resume.save(Path(folder, "state.npz"), 5, segment.views, {})
            other.restore(resume.load(Path(folder, "state.npz"), {}))
        found += [
            other(frames[t], labels.get(t)).result().labels for t in range(5, FRAMES)
        ]
        np.testing.assert_array_equal(found, expected)


def check_bfloat16_is_as_near_as_other_forms_are():
    """Labels differ on outlines alone."""
    options = {"mem_every": 2, "dtype": "bfloat16"}
    expected, labels, _ = video(*model("stm-tiny", **options))
    probs, found, _ = video(*divided("stm-tiny", **options))
    assert np.abs(probs - expected).mean() < 2**-8
    assert np.mean(found != labels) < 0.01


def check_nothing_waits_for_a_value_on_accelerators():
    """As steps are lowered; what they compute is compared above."""
    frames, labels = given()
    for name in ("stm-tiny", "hmmn-tiny", "stcn"):
        made = divided(name)
        method, variables = vos_jax.inference_form(*made, platform="cuda")
        state = vos_jax.start(method, variables, frames[0], labels[0])
        step = partial(step_traced, method)
        module = lower(step, (variables, state, jnp.asarray(frames[1])), "cuda")
        assert not branches(module)
        assert not open_loops(module)


def check_both_views_and_chunks_of_frames():
    frames, labels = given()
    for options in ({"flip": True}, {"chunk": 3}):
        expected, found = (
            vos_jax.segment_video(*each, frames, labels, **options)
            for each in (model("stm-tiny"), divided("stm-tiny"))
        )
        np.testing.assert_array_equal(found, expected)


def check_videos_of_a_batch_and_gradients():
    """`vmap` and `grad` of a step, of the frame and through the memory."""
    frames, labels = given()
    frames = (frames[:3] / 255).astype(np.float32)

    def loss(method, variables, first):
        state = vos_jax.start(method, variables, first, labels[0], frames=9)
        for frame in frames[1:]:
            state, out = vos_jax.step(method, variables, state, frame)
        return jnp.square(out.logits).mean()

    firsts = np.stack([frames[0], frames[0][::-1]])
    expected, found = (
        jax.jit(jax.vmap(jax.value_and_grad(partial(loss, *each))))(firsts)
        for each in (model("stm-tiny"), divided("stm-tiny"))
    )
    for x, y in zip(found, expected, strict=True):
        assert np.asarray(y).any()
        np.testing.assert_allclose(x, y, rtol=0, atol=1e-4 * np.abs(y).max())


# On one device


def test_bytes_of_a_divided_memory_are_told_without_the_devices():
    method = vos_jax.create("stm")
    shape = (480, 854)
    whole, quarter = (
        vos_jax.state_bytes(method, shape, 1, 1000, devices=n) for n in (1, 4)
    )
    state = vos_jax.state_bytes(vos_jax.create("stm", mem_capacity=2), shape, 1, 1000)
    assert 0 < quarter - whole / 4 < state
    with pytest.raises(InputError, match="three frames"):
        vos_jax.state_bytes(vos_jax.create("rde"), shape, 1, devices=2)
    with pytest.raises(InputError, match="devices=0: use at least 1"):
        vos_jax.state_bytes(method, shape, 1, devices=0)


def test_devices_of_a_cpu_have_one_memory_together(monkeypatch):
    monkeypatch.setattr(out_of_memory, "device_memory", lambda: 1000)
    out_of_memory.check_memory("the state", 250, "use less", devices=4)
    with pytest.raises(InputError, match="1004 bytes"):
        out_of_memory.check_memory("the state", 251, "use less", devices=4)


def test_a_mesh_is_no_part_of_what_a_configuration_says():
    method = vos_jax.create("stm-tiny")
    other = method.divided(memory_mesh(1))
    assert other.config != method.config
    assert repr(other.config) == repr(method.config)
    assert dict(other.config.mesh.shape) == {SLOTS: 1}
    with pytest.raises(InputError, match="over_devices"):
        vos_jax.create("stm-tiny", mesh="8")
