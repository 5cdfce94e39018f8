"""A bank that is divided between devices, and reads of it: as on one device."""

import re
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.eight import DEVICES, pass_on_eight_devices
from tests.ops.every import READS
from vos_jax.ops import memory_bank
from vos_jax.ops.divided import BY_SLOT, WHOLE, keep_by_slot, keep_whole, rounded_up
from vos_jax.ops.guidance import follow
from vos_jax.ops.l2_read import l2_read
from vos_jax.ops.memory_bank import Bank, Moment, Policy
from vos_jax.ops.read import space_time_read
from vos_jax.ops.read_forms import read as read_in_a_form
from vos_jax.ops.read_forms.problem import Problem, Rules
from vos_jax.runtime.mesh import memory_mesh

SLOTS = 16
CASES = [
    ("space_time", {}),
    ("space_time", {"top_k": 3}),
    ("l2", {}),
    ("l2", {"top_k": 7}),
    ("kernel_guided", {}),
]
COLLECTIVES = re.compile(
    r" = (\S+) (all-\w+|reduce-scatter|collective-\w+)(?:-start)?\("
)


def test_on_eight_devices():
    pass_on_eight_devices(
        check_a_divided_read_and_its_gradients_are_those_of_one_device,
        check_what_travels_is_two_sums_or_the_best_scores,
        check_the_same_cells_are_chosen_where_many_tie,
        check_a_bank_is_written_where_its_slots_are_and_nothing_travels,
        check_a_bank_that_grows_is_the_one_that_grows_on_one_device,
        check_slots_that_are_taken_are_on_every_device,
        check_tracks_are_followed_where_they_are,
    )


@pytest.mark.slow
def test_query_cells_divided_too():
    pass_on_eight_devices(check_query_cells_may_be_divided_too)


def collectives(program, *args):
    """What a compiled program sends between devices: shapes and operations."""
    return COLLECTIVES.findall(program.lower(*args).compile().as_text())


def divided_and_whole(name, options, mesh, implementation):
    """Programs of a read, of one device and divided, with gradients; arguments."""
    read = READS[name]
    floats, rest = read.random(slots=SLOTS, cells=(3, 5), seed=5)

    def total(floats, rest, mesh):
        more = {**options, "implementation": implementation, "mesh": mesh}
        out = read.read(*floats, *rest, **more)
        return jnp.sin(3 * out).sum(), out

    one, all_devices = (
        jax.jit(jax.grad(partial(total, mesh=x), has_aux=True)) for x in (None, mesh)
    )
    query, *bank = floats
    placed = (
        (keep_whole(mesh, query), *keep_by_slot(mesh, bank)),
        keep_by_slot(mesh, rest),
    )
    return one, all_devices, (floats, rest), placed


def assert_reads_agree(mesh, cases):
    """Within eight times what float32 costs the formula, and gradients to rounding."""
    for name, options in cases:
        read = READS[name]
        for implementation in ("slots", "blocks"):
            case = divided_and_whole(name, options, mesh, implementation)
            one, all_devices, args, placed = case
            (gradients, _), (found, out) = one(*args), all_devices(*placed)
            exact, rounded = (
                read.loops(*args[0], *args[1], **options, dtype=dtype)
                for dtype in (np.float64, np.float32)
            )
            noise = np.abs(rounded - exact).max()
            np.testing.assert_allclose(out, exact, rtol=0, atol=8 * noise)
            assert out.sharding.is_fully_replicated
            for x, y in zip(found, gradients, strict=True):
                assert np.asarray(y).any()
                # Sums of up to two hundred terms in another order.
                scale = float(np.abs(y).max())
                np.testing.assert_allclose(x, y, rtol=0, atol=4e-6 * scale)


def check_a_divided_read_and_its_gradients_are_those_of_one_device():
    assert_reads_agree(memory_mesh(DEVICES), CASES)


def check_query_cells_may_be_divided_too():
    """The 15 cells are two parts, of which the last lacks one."""
    mesh = memory_mesh(DEVICES, queries=2)
    assert_reads_agree(mesh, CASES)
    _, program, _, placed = divided_and_whole("space_time", {}, mesh, "slots")
    read = jax.jit(lambda *args: program(*args)[1])
    assert collectives(read, *placed) == [
        ("f32[3,8]{1,0}", "all-reduce"),
        ("f32[3,1,8,7]{3,2,1,0}", "all-reduce"),
        ("f32[3,16,6]{2,0,1}", "all-gather"),
    ]


def check_what_travels_is_two_sums_or_the_best_scores():
    """Of 15 query cells, three objects, six channels of values and one of weights."""
    mesh = memory_mesh(DEVICES)
    highest, sums = ("f32[3,15]", "all-reduce"), ("f32[3,1,15,7]", "all-reduce")
    expected = {
        0: [highest, sums],
        # The three best of each device.
        1: [("f32[3,15,24]", "all-gather"), highest, sums],
        2: [("f32[1,15]", "all-reduce"), ("f32[1,3,15,7]", "all-reduce")],
        # The seven best, with their copies.
        3: [("f32[2,1,15,56]", "all-gather"), ("f32[1,3,15,6]", "all-reduce")],
        4: [highest, sums],
    }
    for index, (name, options) in enumerate(CASES):
        read, (floats, rest) = READS[name], READS[name].random(SLOTS, cells=(3, 5))

        def find(floats, rest, read=read, options=options):
            return read.read(*floats, *rest, **options, mesh=mesh)

        placed = (keep_whole(mesh, floats[0]), *keep_by_slot(mesh, floats[1:]))
        found = collectives(jax.jit(find), placed, keep_by_slot(mesh, rest))
        assert [(x.partition("{")[0], y) for x, y in found] == expected[index], found


def check_the_same_cells_are_chosen_where_many_tie():
    """Keys of small whole numbers, whose scores are exact; values that name cells."""
    rng, mesh = np.random.default_rng(0), memory_mesh(DEVICES)
    rows, columns, channels = 2, 3, 4
    cells = SLOTS * rows * columns
    query = rng.integers(-1, 2, (rows, columns, channels)).astype(np.float32)
    key = rng.integers(-1, 2, (SLOTS, 1, rows, columns, channels)).astype(np.float32)
    value = np.eye(cells, dtype=np.float32).reshape(SLOTS, 1, rows, columns, cells)
    counts = np.ones((SLOTS, 1), np.int32)
    counts[[2, 5, 6, 7, 15]] = 0
    scores = np.einsum("ijc,noklc->ijnkl", query, key).reshape(-1, cells)
    assert max(len(np.unique(row)) for row in scores) < 10
    for implementation in ("slots", "blocks"):
        for read, count, top_k in (
            (space_time_read, counts > 0, 3),
            (space_time_read, counts > 0, 40),
            (l2_read, counts, 5),
            (l2_read, 2 * counts, 39),
        ):
            find = partial(read, top_k=top_k, implementation=implementation)
            weights = jax.jit(find)(query, key, value, count)
            placed = keep_by_slot(mesh, (key, value, count))
            found = jax.jit(partial(find, mesh=mesh))(query, *placed)
            np.testing.assert_array_equal(found > 0, weights > 0)
            # Of a sum of fewer than a hundred numbers, none above 1.
            np.testing.assert_allclose(found, weights, rtol=0, atol=1e-6)
    # The last of two copies is left out.
    assert (weights > 0).sum() == rows * columns * 20


# Banks


def moments(rng, count, objects):
    """Frames that are memorised; an object that comes late and one that goes."""
    for time in range(count):
        active = np.array([True, time >= 3, time < 9])[:objects]
        first = np.array([time == 0, time == 3, time == 0])[:objects]
        keep = np.bool_(rng.random() < 0.2)
        yield Moment(np.int32(time), active, first, keep)


def entry_of(rng, objects):
    return {
        "key": rng.normal(size=(objects, 2, 3)).astype(np.float32),
        "track": rng.integers(0, 6, (objects, 2)).astype(np.int32),
    }


def assert_same_bank(found, expected, capacity=None):
    """Bit by bit, but for empty slots that one has more."""
    count = capacity or expected.capacity
    for x, y in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        x, y = np.asarray(x), np.asarray(y)
        np.testing.assert_array_equal(x[:count] if x.ndim else x, y)
    assert not np.asarray(found.filled)[count:].any()


def is_divided(bank):
    specs = {x.sharding.spec for x in jax.tree.leaves(bank.entries)}
    whole = {x.sharding.spec for x in (bank.time, bank.kept)}
    return specs == {BY_SLOT} and whole == {WHOLE}


def check_a_bank_is_written_where_its_slots_are_and_nothing_travels():
    """Over and over; also where fewer slots may be filled than there are."""
    mesh = memory_mesh(DEVICES)
    for capacity in (DEVICES, 5):
        for policy in (Policy(every=1), Policy(every=None, previous=False)):
            rng = np.random.default_rng(1)
            one = memory_bank.empty(entry_of(rng, 3), capacity)
            bank = memory_bank.empty(entry_of(rng, 3), capacity, mesh)
            assert bank.capacity == DEVICES
            write = jax.jit(partial(memory_bank.write, policy=policy))
            write_own = jax.jit(
                partial(memory_bank.write, policy=policy, most=capacity, mesh=mesh),
                donate_argnums=0,
            )
            for moment in moments(rng, 14, 3):
                entry = entry_of(rng, 3)
                one = write(one, entry=entry, moment=moment)
                given = {"entry": entry, "moment": moment}
                assert not COLLECTIVES.findall(
                    write_own.lower(bank, **given).compile().as_text()
                )
                before = bank.entries["key"]
                bank = write_own(bank, **given)
                assert before.is_deleted()
                assert is_divided(bank)
                assert_same_bank(bank, one)
            assert int(bank.kept) > 0


def check_a_bank_that_grows_is_the_one_that_grows_on_one_device():
    """One that had begun to overwrite, full or not, to where slots change devices."""
    mesh, rng = memory_mesh(DEVICES), np.random.default_rng(2)
    for capacity, written, new in ((8, 5, 16), (8, 12, 24), (16, 40, 48)):
        policy = Policy(every=1)
        one = memory_bank.empty(entry_of(rng, 3), capacity)
        for moment in moments(rng, written, 3):
            one = memory_bank.write(one, policy, entry_of(rng, 3), moment)
        bank = jax.jit(partial(memory_bank.placed, mesh=mesh))(one)
        grown = memory_bank.grow(one, new)
        program = jax.jit(partial(memory_bank.grow, capacity=new, mesh=mesh))
        found = program(bank)
        assert is_divided(found)
        assert_same_bank(found, grown)
        # A slot for each device at a time, never the bank.
        moved = {(x.partition("{")[0], y) for x, y in collectives(program, bank)}
        one_each = {"f32[1,3,2,3]", "s32[1,3,2]"}
        assert moved == {(x, "reduce-scatter") for x in one_each}, moved


def check_slots_that_are_taken_are_on_every_device():
    mesh, rng = memory_mesh(DEVICES), np.random.default_rng(3)
    entries = jax.tree.map(
        lambda x: np.stack([x + i for i in range(SLOTS)]), entry_of(rng, 3)
    )
    for slot in (np.array([0, 15, 7]), np.array([[1, 2, 3], [14, 2, 0]])):
        expected = memory_bank.take(jax.tree.map(jnp.asarray, entries), slot)
        take = jax.jit(partial(memory_bank.take, mesh=mesh))
        found = take(keep_by_slot(mesh, entries), slot)
        jax.tree.map(np.testing.assert_array_equal, found, expected)
        assert all(x.sharding.is_fully_replicated for x in jax.tree.leaves(found))


def check_tracks_are_followed_where_they_are():
    mesh, rng = memory_mesh(DEVICES), np.random.default_rng(4)
    track = rng.integers(0, 6, (SLOTS, 3, 2, 3)).astype(np.int32)
    hop = rng.integers(0, 6, (3, 2, 3)).astype(np.int32)
    program = jax.jit(partial(follow, mesh=mesh))
    placed = keep_by_slot(mesh, track), keep_whole(mesh, hop)
    np.testing.assert_array_equal(program(*placed), follow(track, hop))
    assert not collectives(program, *placed)


# On one device


def test_slots_are_rounded_up_to_as_many_on_each_device():
    assert [rounded_up(n, 4) for n in (1, 4, 5, 12, 13)] == [4, 4, 8, 12, 16]


def test_a_bank_that_may_not_be_full_keeps_its_order_when_it_grows():
    """The ring is of five slots, and what it has not is not moved into it."""
    rng = np.random.default_rng(5)
    few = memory_bank.empty(entry_of(rng, 2), 5)
    wide = memory_bank.grow(few, 8)
    for moment in moments(rng, 11, 2):
        entry = entry_of(rng, 2)
        few = memory_bank.write(few, Policy(every=1), entry, moment)
        wide = memory_bank.write(wide, Policy(every=1), entry, moment, most=5)
    assert_same_bank(wide, few)
    assert int(few.kept) > 3
    assert_same_bank(memory_bank.grow(wide, 16, most=5), memory_bank.grow(few, 16))


def problem(rules):
    (query, key, value), (filled,) = READS["space_time"].random(SLOTS)
    return Problem(query.reshape(1, -1, 5), key, value, filled.astype(np.int32), rules)


def test_what_cannot_be_divided_is_refused():
    mesh = memory_mesh(1)
    with pytest.raises(ValueError, match=r"'reference'.*\['auto', 'slots', 'blocks'\]"):
        read_in_a_form(problem(Rules()), "reference", "cpu", mesh=mesh)
    with pytest.raises(ValueError, match="without usage"):
        read_in_a_form(problem(Rules()), "slots", "cpu", mesh=mesh, with_usage=True)
    rules = Rules(bias=lambda slot, which: jnp.zeros((6, 6)))
    with pytest.raises(ValueError, match="SlotBias"):
        read_in_a_form(problem(rules), "slots", "cpu", mesh=mesh)


def test_an_empty_bank_says_how_many_slots_it_needs():
    assert isinstance(
        memory_bank.empty({"x": np.zeros(1, np.float32)}, 2, memory_mesh(1)), Bank
    )
    with pytest.raises(ValueError, match="at least 2"):
        memory_bank.empty({"x": np.zeros(1)}, 1, memory_mesh(1))
