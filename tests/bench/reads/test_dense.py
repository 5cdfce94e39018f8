"""What the benchmark times: work counted against loops, arguments, order of rows."""

import dataclasses
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np
import pytest

from tests.by_default import by_default
from vos_jax.bench.reads.dense import L2, KernelGuided, SpaceTime
from vos_jax.bench.reads.fine import Candidates, Guided
from vos_jax.bench.reads.kind import Memory, ReadKind, Variant
from vos_jax.bench.reads.kinds import KINDS
from vos_jax.bench.reads.position_map import PositionMap
from vos_jax.errors import InputError
from vos_jax.ops.guided_read import Cells

SIZES = {"key_dim": 5, "value_dim": 7}
# Three cells of 16 x 16 pixels, and a bank with a slot that is not filled.
MEMORY = Memory(size=(10, 40), dtype="bfloat16", objects=4, frames=2, capacity=3)
CELLS, KEYS = 3, 6
LARGE = Memory((480, 854), "float32", objects=3, frames=1, capacity=1)
LARGE_CELLS = 30 * 54


@pytest.mark.parametrize("kind", [SpaceTime, KernelGuided])
def test_work_of_the_space_time_reads_is_that_of_their_loops(
    kind: type[SpaceTime],
) -> None:
    multiply_adds = loaded = 0
    for _ in range(MEMORY.objects):
        for _ in range(CELLS):
            multiply_adds += KEYS * (5 + 7)
        loaded += KEYS * (5 + 7)
    loaded += CELLS * 5
    stored = MEMORY.objects * CELLS * 7
    for top_k in (None, 2):
        work = kind(**SIZES).work(MEMORY, top_k)
        assert work == (2 * multiply_adds, 2 * loaded + 4 * stored)


@pytest.mark.parametrize("top_k", [None, 1, 4, 6, 7])
def test_work_of_the_l2_read_is_that_of_its_loops(top_k: int | None) -> None:
    multiply_adds = 0
    kept: set[tuple[int, int]] = set()
    fresh = _fresh_cells()
    for _ in range(CELLS):
        multiply_adds += KEYS * 5  # One affinity for all objects.
        for _ in range(KEYS if top_k is None else min(top_k, KEYS)):
            cell = next(fresh)
            for which in range(MEMORY.objects):
                multiply_adds += 7
                kept.add((which, cell))
    loaded = CELLS * 5 + KEYS * 5 + len(kept) * 7
    stored = MEMORY.objects * CELLS * 7
    work = L2(**SIZES).work(MEMORY, top_k)
    assert work == (2 * multiply_adds, 2 * loaded + 4 * stored)


@pytest.mark.parametrize("stride", [8, 4])
@pytest.mark.parametrize("top_k", [None, 1, 4, 6, 7])
def test_work_of_the_guided_read_is_that_of_its_loops(
    stride: int, top_k: int | None
) -> None:
    multiply_adds = 0
    inside = (16 // stride) ** 2
    kept: set[tuple[int, int, int]] = set()
    for which in range(MEMORY.objects):
        fresh = _fresh_cells()
        for _ in range(CELLS):
            for _ in range(KEYS if top_k is None else min(top_k, KEYS)):
                cell = next(fresh)
                for place in range(inside):
                    kept.add((which, cell, place))
                    # By every fine query of the coarse cell.
                    multiply_adds += inside * (5 + 7)
    fine = CELLS * inside
    loaded = fine * 5 + len(kept) * (5 + 7)
    stored = MEMORY.objects * fine * 7
    work = Guided(**SIZES, stride=stride).work(MEMORY, top_k)
    assert work == (2 * multiply_adds, 2 * loaded + 4 * stored)


def _fresh_cells() -> Iterator[int]:
    """Others than those before as long as there are any."""
    while True:
        yield from range(KEYS)


@pytest.mark.parametrize("top_k", [1, 4, 7])
def test_work_of_the_choice_is_that_of_its_loops(top_k: int) -> None:
    multiply_adds = stored = 0
    for _ in range(MEMORY.objects):
        for _ in range(CELLS):
            multiply_adds += KEYS * 5
            stored += min(top_k, KEYS)
    loaded = CELLS * 5 + MEMORY.objects * KEYS * 5
    work = Candidates(key_dim=5).work(MEMORY, top_k)
    assert work == (2 * multiply_adds, 2 * loaded + 4 * stored)


@pytest.mark.parametrize(
    ("kind", "top_k"),
    [
        (KernelGuided(key_dim=64, value_dim=96), None),
        (Guided(key_dim=64, value_dim=96, stride=4), 5),
        (Candidates(key_dim=96), 2),
        (PositionMap(key_dim=96), 2),
    ],
    ids=lambda x: getattr(x, "name", None),
)
def test_the_reference_does_the_work_that_is_counted(
    kind: ReadKind, top_k: int | None
) -> None:
    """By XLA's count, which has softmax and kernels, too."""
    # One object: XLA counts what is done for one after the other once.
    memory = MEMORY._replace(dtype="float32", objects=1, capacity=2)
    program = jax.jit(kind.program(Variant("reference", top_k), "highest"))
    counted = program.lower(*kind.arguments(memory, top_k)).cost_analysis()["flops"]
    assert 1 <= counted / kind.work(memory, top_k).flop < 1.1


def test_flop_of_a_memory_frame_at_480p() -> None:
    cells = LARGE_CELLS
    for kind in (SpaceTime(), KernelGuided()):
        assert kind.work(LARGE, None).flop == 3 * 3_359_232_000
    scores, one_value = 2 * cells**2 * 64, 2 * cells * 512
    assert L2().work(LARGE, None).flop == scores + 3 * cells * one_value
    assert L2().work(LARGE, 20).flop == scores + 3 * 20 * one_value
    # As HMMN reads: 32 candidates at stride 8, 8 at stride 4, which are 128 cells each.
    fine, finer = KINDS["guided-8"], KINDS["guided-4"]
    assert fine.work(LARGE, 32).flop == 3 * 2 * 4 * cells * 128 * (128 + 256)
    assert finer.work(LARGE, 8).flop == 3 * 2 * 16 * cells * 128 * (64 + 128)


@pytest.mark.parametrize("name", ["guided-8", "guided-4"])
def test_a_guided_read_grows_with_k_and_cells_and_not_with_frames(name: str) -> None:
    kind = KINDS[name]
    frames = [LARGE._replace(frames=count, capacity=count) for count in (1, 8, 64)]
    of_k = [kind.work(LARGE, top_k).flop for top_k in (4, 8, 16)]
    assert of_k == [of_k[0], 2 * of_k[0], 4 * of_k[0]]
    assert len({kind.work(memory, 8).flop for memory in frames}) == 1
    # What is loaded is bounded once there are as many frames as candidates.
    moved = [kind.work(memory, 8).moved for memory in frames]
    assert moved[0] < moved[1] == moved[2]
    small, twice = (LARGE._replace(size=(480, width)) for width in (160, 320))
    sparse, dense = ([kind.work(m, k) for m in (small, twice)] for k in (8, None))
    assert sparse[1].flop == 2 * sparse[0].flop
    assert dense[1].flop == 4 * dense[0].flop
    of_frames = [kind.work(memory, None).flop for memory in frames]
    assert of_frames == [of_frames[0], 8 * of_frames[0], 64 * of_frames[0]]


def test_the_choice_of_candidates_grows_with_frames() -> None:
    more = LARGE._replace(frames=8, capacity=8)
    choice = Candidates()
    assert choice.work(more, 8).flop == 8 * choice.work(LARGE, 32).flop


def test_slots_that_are_not_filled_cost_nothing() -> None:
    full = MEMORY._replace(capacity=MEMORY.frames)
    for kind in KINDS.values():
        assert kind.work(MEMORY, None) == kind.work(full, None)


SMALL: dict[str, ReadKind] = {
    "space-time": SpaceTime(**SIZES, top_k=(4, 6)),
    "l2": L2(**SIZES, top_k=(4, 6)),
    "kernel-guided": KernelGuided(**SIZES),
    "guided-8": Guided(**SIZES, top_k=(4, 6)),
}


@pytest.mark.parametrize("name", SMALL)
def test_every_variant_takes_the_arguments_of_its_kind(name: str) -> None:
    kind = SMALL[name]
    for variant in kind.variants():
        arguments = jax.eval_shape(lambda k=variant.top_k: kind.arguments(MEMORY, k))
        found = jax.eval_shape(kind.program(variant, "highest"), *arguments)
        assert found.shape == (4, *kind.grid(MEMORY), 7)


@pytest.mark.parametrize(
    "name",
    by_default(["l2", "kernel-guided", "space-time", "guided-8"], ["l2"]),
)
def test_variants_that_read_the_same_cells_agree(name: str) -> None:
    """Six cells are all there are, and the bank's empty slots hold numbers, too."""
    kind, memory = SMALL[name], MEMORY._replace(dtype="float32")
    grid = kind.grid(memory)
    expected: dict[Any, np.ndarray] = {}
    for variant in kind.variants():
        if variant.in_larger_bank:
            continue  # The same program: the bank is larger here in any case.
        read = jax.jit(kind.program(variant, "highest"))
        arguments = kind.arguments(memory, variant.top_k)
        assert np.asarray(arguments[2][-1]).all()
        found = np.asarray(read(*arguments))
        assert found.shape == (4, *grid, 7)
        same = (variant.top_k == 4, variant.without_kernels)
        if same not in expected:
            expected[same] = np.asarray(read(*_filled_slots(arguments)))
        np.testing.assert_allclose(found, expected[same], atol=1e-6)
    one, other = expected.values()
    assert np.abs(one - other).max() > 0.01


def _filled_slots(arguments: tuple[Any, ...]) -> list[Any]:
    query, *rest = arguments
    filled = MEMORY.frames
    return [
        query,
        *(
            x if isinstance(x, Cells) else jax.tree.map(lambda leaf: leaf[:filled], x)
            for x in rest
        ),
    ]


def test_without_kernels_a_guided_read_is_the_space_time_read() -> None:
    memory = MEMORY._replace(dtype="float32")
    kind, plain = SMALL["kernel-guided"], SMALL["space-time"]
    arguments = kind.arguments(memory, None)
    unguided = kind.program(Variant("reference", without_kernels=True), "highest")
    expected = plain.program(Variant("reference"), "highest")(*arguments[:-1])
    np.testing.assert_array_equal(unguided(*arguments), expected)


def test_kernels_are_those_of_cells_that_went_three_cells_at_most() -> None:
    memory = MEMORY._replace(size=(160, 112), frames=3, capacity=4)
    centre, sigma = KernelGuided().arguments(memory, None)[-1]
    row, column = np.divmod(np.asarray(centre), 7)
    down, right = row - np.arange(10)[:, None], column - np.arange(7)
    assert np.abs(down).max() == np.abs(right).max() == 3
    assert row.min() >= 0 and row.max() == 9
    assert np.asarray(sigma)[:3].tolist() == [[6.0] * 4, [4.5] * 4, [3.0] * 4]
    assert (np.asarray(sigma)[3] > 0).all()


@pytest.mark.parametrize("top_k", [4, 9])
def test_candidates_differ_and_are_of_filled_slots(top_k: int) -> None:
    cells = Guided(**SIZES).arguments(MEMORY, top_k)[-1]
    index = np.asarray(cells.index)
    assert index.shape == (4, 1, 3, min(top_k, KEYS))
    assert np.asarray(cells.usable).all()
    assert index.min() >= 0 and index.max() < KEYS
    assert (np.diff(np.sort(index)) > 0).all()
    if top_k == 4:
        assert len(np.unique(index.reshape(-1, 4), axis=0)) > 1


def test_the_fine_grid_divides_into_coarse_cells() -> None:
    # 854 pixels are 107 cells of 8, and 54 of 16.
    assert KINDS["guided-8"].grid(LARGE) == (60, 108)
    assert KINDS["guided-4"].grid(LARGE) == (120, 216)


def test_the_choice_takes_the_best_of_what_is_filled() -> None:
    kind = Candidates(key_dim=5)
    memory = MEMORY._replace(dtype="float32")
    program = kind.program(Variant("reference", 4), "highest")
    cells = program(*kind.arguments(memory, 4))
    assert cells.index.shape == (4, 1, 3, 4)
    assert np.asarray(cells.usable).all() and np.asarray(cells.index).max() < KEYS


def test_objects_share_keys_in_the_l2_read_only() -> None:
    grid = (1, 3)
    keys = {
        name: jax.eval_shape(lambda kind=kind: kind.arguments(MEMORY, None))[1]
        for name, kind in KINDS.items()
    }
    assert keys["space-time"].shape == (3, 4, *grid, 128)
    assert keys["l2"].shape == (3, *grid, 64)
    assert keys["guided-4"].shape == (3, 4, 4, 12, 64)
    assert all(x.dtype == "bfloat16" for x in keys.values())


def test_a_filtered_l2_read_is_compared_with_the_reference_for_the_same_k() -> None:
    kind = L2(top_k=(2, 9))
    assert kind.variants()[-4:] == [
        Variant("reference", 2),
        Variant("slots", 2),
        Variant("reference", 9),
        Variant("slots", 9),
    ]
    assert kind.baseline(Variant("slots", 9)) == Variant("reference", 9)


def test_guidance_is_told_by_the_read_without_it() -> None:
    kind = KernelGuided()
    without = kind.variants()[-1]
    assert without.without_kernels
    assert kind.baseline(without) == Variant("slots")


def test_sparse_reads_are_compared_with_the_dense_one() -> None:
    kind = Guided()
    assert {kind.baseline(variant) for variant in kind.variants()} == {Variant("slots")}


@pytest.mark.parametrize(
    ("kind", "change", "message"),
    [
        (L2(), {"key_dim": 0}, "key_dim=0: use at least 1"),
        (L2(), {"value_dim": -1}, "value_dim=-1: use at least 1"),
        (L2(), {"top_k": (3, 0)}, "top_k=0: use at least 1"),
        (KernelGuided(), {"top_k": (3,)}, "kernel-guided reads keep all cells"),
        (Guided(), {"stride": 5}, "stride=5: .* use 8 or 4"),
    ],
)
def test_sizes_out_of_range_are_named(
    kind: ReadKind, change: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        dataclasses.replace(kind, **change)
