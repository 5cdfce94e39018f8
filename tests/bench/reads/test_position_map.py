"""The position map as `vos-jax bench read` times it: work, arguments, rows."""

import jax
import numpy as np
import pytest

from vos_jax.bench.measure import compile_program
from vos_jax.bench.read import ReadOptions, bench_read
from vos_jax.bench.reads.kind import Memory, Variant
from vos_jax.bench.reads.position_map import PositionMap

# Two by three cells of 16 x 16 pixels.
MEMORY = Memory(size=(20, 40), dtype="bfloat16", objects=4, frames=2, capacity=3)
CELLS = 6
KIND = PositionMap(key_dim=5, top_k=(1, 2))


@pytest.mark.parametrize("top_k", [1, 2, 7])
def test_work_of_the_map_is_that_of_its_loops(top_k: int) -> None:
    multiply_adds = stored = 0
    loaded = CELLS * 5
    for _ in range(MEMORY.objects):
        loaded += CELLS * 5
        for _ in range(CELLS):
            multiply_adds += CELLS * 5
            stored += 1
    work = KIND.work(MEMORY, top_k)
    assert work == (2 * multiply_adds, 2 * loaded + 4 * stored)


def test_flop_of_a_map_at_480p() -> None:
    large = Memory((480, 854), "float32", objects=3, frames=1, capacity=1)
    assert PositionMap().work(large, 8).flop == 3 * 2 * (30 * 54) ** 2 * 128


def test_the_map_is_that_of_one_frame_whatever_the_memory_holds() -> None:
    one = MEMORY._replace(frames=1, capacity=1)
    assert KIND.work(one, 2) == KIND.work(MEMORY, 2)
    for found, expected in zip(
        KIND.arguments(MEMORY, 2), KIND.arguments(one, 2), strict=True
    ):
        np.testing.assert_array_equal(found, expected)
    assert [x.shape for x in KIND.arguments(one, 2)] == [
        (2, 3, 5),
        (4, 2, 3, 5),
        (4, 2, 3),
    ]


def test_both_maps_agree_and_k_changes_them() -> None:
    arguments = KIND.arguments(MEMORY, None)
    maps = {
        variant: np.asarray(KIND.program(variant, "highest")(*arguments))
        for variant in KIND.variants()
    }
    for k in KIND.top_k:
        reference = maps[Variant("reference", k)]
        assert reference.shape == (4, 2, 3)
        np.testing.assert_allclose(maps[Variant("slots", k)], reference, atol=1e-6)
    one, other = (maps[Variant("slots", k)] for k in KIND.top_k)
    assert np.abs(one - other).max() > 0.01


def test_the_fast_map_needs_less_memory_than_the_reference() -> None:
    """All responses of the four objects are 42 MB."""
    memory = Memory((480, 854), "float32", objects=4, frames=1, capacity=1)
    kind = PositionMap(key_dim=4)
    shapes = jax.eval_shape(lambda: kind.arguments(memory, 8))
    temp = {}
    for name in ("reference", "slots"):
        program = kind.program(Variant(name, 8), "highest")
        temp[name] = compile_program(program, *shapes).temp_bytes or 0
    assert temp["reference"] > 4 * 4 * 1620**2 > 2 * temp["slots"]


def test_a_map_is_compared_with_the_reference_for_the_same_k() -> None:
    options = ReadOptions(
        reads=(KIND,),
        height=20,
        width=40,
        frames=(1, 3),
        objects=(2,),
        dtypes=("bfloat16",),
        repeats=1,
        small=True,
    )
    rows = bench_read(options).rows
    assert [(row.frames, row.read, row.baseline) for row in rows] == [
        (frames, f"{name} top-{k}", f"reference top-{k}")
        for frames in (1, 3)
        for k in KIND.top_k
        for name in ("reference", "slots")
    ]
    assert len({(row.gflop, row.moved_mb) for row in rows}) == 1
    assert all(row.kind == "position-map" and row.temp_mb for row in rows)
