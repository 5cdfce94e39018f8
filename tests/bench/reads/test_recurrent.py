"""The update of a recurrent embedding as `vos-jax bench read` times it."""

import dataclasses
from typing import Any

import jax
import numpy as np
import pytest

from vos_jax.bench.read import ReadOptions, bench_read
from vos_jax.bench.reads.kind import Memory
from vos_jax.bench.reads.kinds import KINDS
from vos_jax.bench.reads.recurrent import Recurrent
from vos_jax.errors import InputError

# Three by five cells of 16 x 16 pixels, of which two pooled ones are left.
MEMORY = Memory(size=(40, 70), dtype="bfloat16", objects=2, frames=2, capacity=3)
ROWS, COLUMNS = 3, 5
KIND = Recurrent(key_dim=8)


def test_work_of_an_update_is_that_of_its_loops() -> None:
    multiply_adds = moved = 0
    half, quarter = 4, 2
    for _ in range(MEMORY.objects):
        for _ in range(2 * ROWS * COLUMNS):
            multiply_adds += 3 * 8 * half  # theta, phi, g
            multiply_adds += half * half  # what theta finds
            multiply_adds += half * 8  # out
            multiply_adds += 8 * quarter  # rate 0
            multiply_adds += 3 * (9 * 8 * quarter)  # the other rates
            multiply_adds += 9 * (4 * quarter) * 8  # merge
            moved += 2 * 8
        for _ in range(2 * (ROWS // 2) * (COLUMNS // 2)):
            multiply_adds += half * half
        for _ in range(ROWS * COLUMNS):
            multiply_adds += 2 * 9 * 8 * 8  # squeeze
            moved += 2 * 8
    weights, *_ = KIND.arguments(MEMORY, None)
    moved += sum(
        np.asarray(leaf, np.float32).nbytes for leaf in jax.tree.leaves(weights)
    )
    assert KIND.work(MEMORY, None) == (2 * multiply_adds, moved)


def test_flop_of_an_update_at_480p() -> None:
    large = Memory((480, 854), "float32", objects=3, frames=1, capacity=1)
    cells = 30 * 54
    flop = KINDS["recurrent-value"].work(large, None).flop
    assert flop == 3 * 2 * 512**2 * (54 * cells + 2.5 * cells / 4)
    # Keys have an eighth of the channels.
    assert KINDS["recurrent-key"].work(large, None).flop == flop / 64


def test_an_update_costs_the_same_however_long_the_video_is() -> None:
    long = MEMORY._replace(frames=200, capacity=200)
    assert KIND.work(long, None) == KIND.work(MEMORY, None)
    for found, expected in zip(
        jax.tree.leaves(KIND.arguments(long, None)),
        jax.tree.leaves(KIND.arguments(MEMORY, None)),
        strict=True,
    ):
        np.testing.assert_array_equal(found, expected)


def test_objects_have_embeddings_of_the_type_and_share_the_weights() -> None:
    weights, *embeddings = KIND.arguments(MEMORY, None)
    assert [x.shape for x in embeddings] == [(2, ROWS, COLUMNS, 8)] * 2
    assert all(x.dtype == "bfloat16" for x in embeddings)
    assert all(x.dtype == "float32" for x in jax.tree.leaves(weights))
    assert weights.squeeze.kernel.shape == (2, 3, 3, 8, 8)


def test_both_updates_agree() -> None:
    memory = MEMORY._replace(dtype="float32")
    one, other = (
        np.asarray(KIND.program(variant, "highest")(*KIND.arguments(memory, None)))
        for variant in KIND.variants()
    )
    assert 0.1 < np.abs(one).max() < 100
    np.testing.assert_allclose(one, other, atol=1e-5)


def test_an_update_is_compared_with_the_reference() -> None:
    options = ReadOptions(
        reads=(KIND,),
        height=40,
        width=70,
        frames=(1, 3),
        objects=(2,),
        dtypes=("float32",),
        repeats=1,
        small=True,
    )
    rows = bench_read(options).rows
    assert [(row.frames, row.read, row.baseline) for row in rows] == [
        (frames, name, "reference")
        for frames in (1, 3)
        for name in ("reference", "auto")
    ]
    assert len({(row.gflop, row.moved_mb) for row in rows}) == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"key_dim": 6}, "key_dim=6: use a multiple of 4"),
        ({"top_k": (3,)}, "recurrent-value reads keep all cells"),
    ],
)
def test_sizes_out_of_range_are_named(change: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        dataclasses.replace(KIND, **change)
