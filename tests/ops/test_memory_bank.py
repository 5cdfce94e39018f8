"""Which frames are in the memory when, and that they are what was written."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vos_jax.ops.memory_bank import (
    FIRST,
    KEPT,
    PREVIOUS,
    Moment,
    Policy,
    add_objects,
    empty,
    forget,
    grow,
    is_evicting,
    overwrite,
    single,
    write,
)
from vos_jax.ops.read import space_time_read


def _moment(index, active=(True,), first=None, keep=False):
    if first is None:
        first = [index == 0 and a for a in active]
    return Moment(np.int32(index), np.array(active), np.array(first), np.bool_(keep))


def _entry(index, objects):
    """Content from which frame and object can be told."""
    content = 10 * index + np.arange(objects, dtype=np.float32)
    return {"x": np.repeat(content[:, None], 2, axis=1)}


def _bank(capacity, objects=1):
    return empty(_entry(0, objects), capacity)


_write = jax.jit(write, static_argnums=1)


def _written(bank, policy, moments):
    """The banks after each of `moments`."""
    for moment in moments:
        bank = _write(bank, policy, _entry(moment.time, bank.time.shape[1]), moment)
        yield bank


def _read(bank, which=0):
    """Frames that object `which` reads, in time order, told by their content."""
    filled = np.asarray(bank.filled)[:, which]
    content = np.asarray(bank.entries["x"])[filled, which]
    assert (content == content[:, :1]).all()
    frames = (content[:, 0] - which) / 10
    np.testing.assert_array_equal(frames, np.asarray(bank.time)[filled, which])
    return sorted(frames.astype(int).tolist())


@pytest.mark.parametrize(
    ("every", "table"),
    [
        (
            5,
            {
                1: [0],
                2: [0, 1],
                5: [0, 4],
                6: [0, 5],
                7: [0, 5, 6],
                11: [0, 5, 10],
                12: [0, 5, 10, 11],
            },
        ),
        (
            2,
            {
                1: [0],
                2: [0, 1],
                3: [0, 2],
                4: [0, 2, 3],
                5: [0, 2, 4],
                6: [0, 2, 4, 5],
            },
        ),
    ],
)
def test_the_frames_read_are_those_of_the_released_program(every, table):
    policy = Policy(every=every)
    banks = _written(_bank(8), policy, map(_moment, range(13)))
    read = {t: _read(bank) for t, bank in enumerate(banks, 1)}
    assert {t: read[t] for t in table} == table


@pytest.mark.parametrize("every", [1, 2, 3, 5, 7, 100])
def test_memory_is_every_nth_frame_and_the_previous_one_once(every):
    policy = Policy(every=every)
    banks = _written(_bank(16), policy, map(_moment, range(13)))
    for t, bank in enumerate(banks, 1):
        kept = {i for i in range(t - 1) if i % every == 0}
        assert _read(bank) == sorted(kept | {t - 1})


def test_memory_without_kept_frames_is_the_first_and_the_previous():
    banks = _written(_bank(4), Policy(every=None), map(_moment, range(8)))
    for t, bank in enumerate(banks, 1):
        assert _read(bank) == sorted({0, t - 1})


def test_a_policy_may_leave_out_the_previous_frame():
    policy = Policy(every=3, previous=False)
    banks = _written(_bank(8), policy, map(_moment, range(11)))
    for t, bank in enumerate(banks, 1):
        assert _read(bank) == list(range(0, t, 3))


def test_a_policy_may_have_the_first_frame_or_the_previous_one_alone():
    for policy, expected in (
        (Policy(every=None, previous=False), lambda t: [0]),
        (Policy(every=None, first=False), lambda t: [t - 1]),
    ):
        banks = _written(_bank(2), policy, map(_moment, range(5)))
        assert [_read(x) for x in banks] == [expected(t) for t in range(1, 6)]


def test_without_first_frames_an_object_that_appears_late_begins_at_its_own():
    moments = [_moment(0, [True, False]), _moment(1, [True, True], [False, True])]
    moments.append(_moment(2, [True, True], [False, False]))
    banks = _written(_bank(2, 2), Policy(every=None, first=False), moments)
    assert [[_read(x, o) for o in (0, 1)] for x in banks] == [
        [[0], []],
        [[1], [1]],
        [[2], [2]],
    ]


@pytest.mark.parametrize("every", [None, 1, 2, 5])
@pytest.mark.parametrize("frames", [1, 2, 5, 6, 7, 11, 13])
def test_the_promised_slots_hold_a_video_and_none_stays_unused(every, frames):
    policy = Policy(every=every)
    *_, bank = _written(_bank(16), policy, map(_moment, range(frames)))
    filled = np.asarray(bank.filled)
    assert filled[FIRST : policy.slots(frames)].all()
    assert not filled[policy.slots(frames) :].any()


def test_an_object_that_appears_late_has_its_own_first_frame():
    policy = Policy(every=5)
    moments = [
        _moment(i, active=[True, i >= 3], first=[i == 0, i == 3]) for i in range(12)
    ]
    for t, bank in enumerate(_written(_bank(8, 2), policy, moments), 1):
        kept = {i for i in range(t - 1) if i % 5 == 0}
        assert _read(bank, 0) == sorted(kept | {t - 1})
        late = {3, t - 1} | (kept - {0}) if t > 3 else set()
        assert _read(bank, 1) == sorted(late)


def test_an_object_that_appears_in_a_kept_frame_has_it_once():
    moments = [
        _moment(i, active=[True, i >= 4], first=[i == 0, i == 4]) for i in range(8)
    ]
    *_, bank = _written(_bank(8, 2), Policy(every=2), moments)
    assert _read(bank, 0) == [0, 2, 4, 6, 7]
    assert _read(bank, 1) == [4, 6, 7]


def test_a_corrected_frame_is_kept():
    moments = [_moment(i, keep=i == 3) for i in range(8)]
    read = [_read(bank) for bank in _written(_bank(8), Policy(every=5), moments)]
    assert read[3:] == [[0, 3], [0, 3, 4], [0, 3, 5], [0, 3, 5, 6], [0, 3, 5, 7]]
    *_, bank = _written(_bank(8), Policy(every=None), moments)
    assert _read(bank) == [0, 3, 7]


def test_a_full_bank_overwrites_its_oldest_kept_frame_and_never_the_first():
    banks = _written(_bank(4), Policy(every=2), map(_moment, range(13)))
    for t, bank in enumerate(banks, 1):
        kept = [i for i in range(2, t - 1) if i % 2 == 0]
        if (t - 1) % 2 == 0 and t > 1:
            kept = [*kept, t - 1]
        assert _read(bank) == sorted({0, *kept[-2:], t - 1})


def test_the_slot_that_is_named_gives_way_once_all_are_taken():
    policy, bank = Policy(every=2), _bank(4)
    expected = [[0], [0, 1], [0, 2], [0, 2, 3], [0, 2, 4], [0, 2, 4, 5], [0, 4, 6]]
    expected += [[0, 4, 6, 7], [0, 4, 8], [0, 4, 8, 9], [0, 4, 10]]
    evicting = []
    for t, frames in enumerate(expected):
        evicting.append(bool(is_evicting(bank, policy, _moment(t))))
        bank = _write(bank, policy, _entry(t, 1), _moment(t), np.int32(KEPT))
        assert _read(bank) == frames
    assert np.flatnonzero(evicting).tolist() == [6, 8, 10]
    assert not is_evicting(_bank(2), policy, _moment(6))


def test_two_slots_are_the_first_and_the_previous_frame():
    banks = _written(_bank(2), Policy(every=2), map(_moment, range(9)))
    for t, bank in enumerate(banks, 1):
        assert _read(bank) == sorted({0, t - 1})


def test_an_inactive_object_is_not_written():
    moments = [_moment(i, active=[True, False]) for i in range(4)]
    *_, bank = _written(_bank(4, 2), Policy(every=1), moments)
    assert not np.asarray(bank.filled)[:, 1].any()
    assert not np.asarray(bank.entries["x"])[:, 1].any()


def test_filled_slots_come_first():
    for t, bank in enumerate(_written(_bank(8), Policy(), map(_moment, range(20))), 1):
        filled = np.asarray(bank.filled)[:, 0]
        kept = (t - 1) // 5
        assert filled[FIRST : KEPT + kept].all()
        assert not filled[KEPT + kept :].any()
        assert filled[PREVIOUS] == ((t - 1) % 5 != 0)


def test_a_forgotten_object_starts_anew_in_the_same_slot():
    policy = Policy(every=2)
    moments = [_moment(i, active=[True, True]) for i in range(5)]
    *_, bank = _written(_bank(6, 2), policy, moments)
    bank = forget(bank, np.array([False, True]))
    assert _read(bank, 0) == [0, 2, 4]
    assert _read(bank, 1) == []
    later = [_moment(i, [True, True], [False, i == 5]) for i in range(5, 8)]
    *_, bank = _written(bank, policy, later)
    assert _read(bank, 0) == [0, 2, 4, 6, 7]
    assert _read(bank, 1) == [5, 6, 7]


def test_growing_changes_no_content_and_makes_room():
    policy = Policy(every=2)
    *_, bank = _written(_bank(4), policy, map(_moment, range(6)))
    larger = grow(bank, 7)
    assert larger.capacity == 7
    assert _read(larger) == _read(bank) == [0, 2, 4, 5]
    *_, larger = _written(larger, policy, map(_moment, range(6, 11)))
    assert _read(larger) == [0, 2, 4, 6, 8, 10]
    *_, larger = _written(larger, policy, map(_moment, range(11, 13)))
    assert _read(larger) == [0, 4, 6, 8, 10, 12]


def test_a_bank_grown_after_it_overwrote_loses_its_oldest_frame_first():
    policy = Policy(every=1)
    *_, bank = _written(_bank(4), policy, map(_moment, range(4)))
    assert _read(bank) == [0, 2, 3]
    *_, bank = _written(grow(bank, 5), policy, map(_moment, range(4, 6)))
    assert _read(bank) == [0, 3, 4, 5]


@pytest.mark.parametrize("capacity", [1, 4])
def test_a_bank_of_one_slot_grows_at_its_end(capacity):
    """As it does with a longer video, beside banks whose frames are kept."""
    bank = overwrite(single(_entry(0, 2)), 0, _entry(7, 2), np.array([True, False]), 7)
    larger = grow(bank, capacity)
    assert larger.capacity == capacity
    assert larger.entries["x"].shape == (capacity, 2, 2)
    np.testing.assert_array_equal(larger.entries["x"][:1], bank.entries["x"])
    np.testing.assert_array_equal(larger.time[:1], bank.time)
    assert not larger.filled[1:].any() and not larger.entries["x"][1:].any()
    assert larger.kept == 0
    with pytest.raises(ValueError, match="1 slots cannot shrink to 0"):
        grow(bank, 0)


def test_objects_are_added_without_memory():
    *_, bank = _written(_bank(4), Policy(every=1), map(_moment, range(4)))
    wider = add_objects(bank, 3)
    assert wider.entries["x"].shape == (4, 3, 2)
    assert _read(wider) == _read(bank)
    assert not np.asarray(wider.filled)[:, 1:].any()


def test_a_bank_of_one_slot_begins_empty():
    entry = {"x": jnp.ones((3, 2)), "y": jnp.ones((3, 4, 5), jnp.bfloat16)}
    bank = single(entry)
    assert bank.capacity == 1 and bank.kept == 0
    assert bank.time.shape == (1, 3) and not bank.filled.any()
    for name, x in entry.items():
        assert bank.entries[name].shape == (1, *x.shape)
        assert bank.entries[name].dtype == x.dtype
        assert not bank.entries[name].any()


_overwrite = jax.jit(overwrite, static_argnums=1)


def test_overwriting_replaces_the_slot_of_some_objects():
    bank = single(_entry(0, 3))
    for time, which, frames in (
        (4, [True, False, True], [[4], [], [4]]),
        (5, [False, True, True], [[4], [5], [5]]),
        (6, [False, False, False], [[4], [5], [5]]),
    ):
        entry, which = _entry(time, 3), np.array(which)
        bank = _overwrite(bank, 0, entry, which, np.int32(time))
        assert [_read(bank, o) for o in range(3)] == frames
    assert bank.kept == 0


def test_overwriting_leaves_the_other_slots():
    moments = [_moment(i, active=[True, True]) for i in range(5)]
    *_, bank = _written(_bank(5, 2), Policy(every=2), moments)
    which = np.array([False, True])
    other = _overwrite(bank, KEPT, _entry(9, 2), which, np.int32(9))
    assert [_read(bank, 1), _read(other, 1)] == [[0, 2, 4], [0, 4, 9]]
    assert _read(other, 0) == _read(bank, 0)
    assert other.kept == bank.kept == 2


def test_overwriting_keeps_the_type_and_old_content_out_of_gradients():
    bank = single({"x": jnp.zeros((2, 2), jnp.bfloat16)})
    which = np.array([True, False])

    @jax.jit
    @jax.grad
    def gradient(x):
        written = overwrite(bank, 0, {"x": x}, which, np.int32(1))
        assert written.entries["x"].dtype == jnp.bfloat16
        return written.entries["x"].sum().astype(jnp.float32)

    np.testing.assert_array_equal(gradient(jnp.ones((2, 2))), [[1, 1], [0, 0]])


def test_a_loop_may_carry_a_bank_that_is_overwritten():
    """So its types and shapes stay, whatever is written."""
    bank = single({"x": jnp.zeros((2, 2))})

    def step(bank, time):
        entry = {"x": jnp.full((2, 2), time, jnp.bfloat16)}
        return overwrite(bank, 0, entry, jnp.array([True, False]), time), bank.time[0]

    bank, times = jax.lax.scan(step, bank, jnp.arange(3))
    np.testing.assert_array_equal(times, [[-1, -1], [0, -1], [1, -1]])
    np.testing.assert_array_equal(bank.entries["x"][0], [[2, 2], [0, 0]])


def test_entries_are_stored_in_the_type_of_the_bank():
    bank = empty({"x": jnp.zeros((1, 2), jnp.bfloat16)}, 2)
    bank = write(bank, Policy(), _entry(3, 1), _moment(0))
    assert bank.entries["x"].dtype == jnp.bfloat16
    np.testing.assert_array_equal(bank.entries["x"][FIRST, 0], [30, 30])


def test_writing_is_due_when_the_policy_would_write():
    for policy in (Policy(), Policy(previous=False), Policy(every=None)):
        for moment in (
            _moment(0),
            _moment(1),
            _moment(5),
            _moment(6, keep=True),
            _moment(7, first=[True]),
        ):
            before = _bank(4)
            after = write(before, policy, _entry(moment.time, 1), moment)
            changed = (np.asarray(after.time) != np.asarray(before.time)).any()
            assert bool(policy.due(moment)) == changed


def test_jit_and_vmap_and_a_loop_agree():
    policy = Policy(every=2)
    moments = [
        _moment(4, [True, True], [False, True]),
        _moment(3, [True, False], [False, False]),
    ]
    entries = [_entry(m.time, 2) for m in moments]
    banks = list(_written(_bank(4, 2), policy, [_moment(0, [True] * 2)])) * 2
    args = list(zip(banks, entries, moments, strict=True))
    loop = [write(bank, policy, entry, moment) for bank, entry, moment in args]

    def stack(trees):
        return jax.tree.map(lambda *x: np.stack(x), *trees)

    jitted = [_write(bank, policy, entry, moment) for bank, entry, moment in args]
    jax.tree.map(np.testing.assert_array_equal, jitted, loop)
    batched = jax.jit(jax.vmap(lambda *args: write(args[0], policy, *args[1:])))
    out = batched(stack(banks), stack(entries), stack(moments))
    jax.tree.map(np.testing.assert_array_equal, out, stack(loop))


def test_impossible_sizes_are_refused():
    with pytest.raises(ValueError, match="capacity=1 leaves no slot"):
        _bank(1)
    with pytest.raises(ValueError, match="every=0: use at least 1"):
        Policy(every=0)
    with pytest.raises(ValueError, match="4 slots cannot shrink to 3"):
        grow(_bank(4), 3)


@pytest.mark.parametrize("objects", [1, 3])
def test_writing_and_reading_a_donated_bank_copies_none_of_it(objects):
    entry = {
        "key": jnp.ones((objects, 4, 6, 32)),
        "value": jnp.ones((objects, 4, 6, 64)),
    }
    bank = empty(entry, 200)
    active = jnp.ones(objects, bool)

    def step(bank, entry, query, time):
        moment = Moment(time, active, ~active, jnp.bool_(False))
        bank = write(bank, Policy(), entry, moment)
        keys, values = bank.entries["key"], bank.entries["value"]
        return bank, space_time_read(query, keys, values, bank.filled)

    arguments = (bank, entry, jnp.ones((4, 6, 32)), jnp.int32(1))
    compiled = jax.jit(step, donate_argnums=0).lower(*arguments).compile()
    size = sum(leaf.nbytes for leaf in jax.tree.leaves(bank.entries))
    assert compiled.memory_analysis().temp_size_in_bytes < size / 4
