"""What the benchmark times: work counted against loops, arguments, order of rows."""

import dataclasses

import jax
import numpy as np
import pytest

from vos_jax.engine.read_cases import KINDS, L2, Memory, SpaceTime, Variant, chosen
from vos_jax.errors import InputError

SIZES = {"key_dim": 5, "value_dim": 7}
# Three cells of 16 x 16 pixels, and a bank with a slot that is not filled.
MEMORY = Memory(size=(10, 40), dtype="bfloat16", objects=4, frames=2, capacity=3)
CELLS, KEYS = 3, 6


def test_work_of_the_space_time_read_is_that_of_its_loops() -> None:
    multiply_adds = loaded = 0
    for _ in range(MEMORY.objects):
        for _ in range(CELLS):
            multiply_adds += KEYS * (5 + 7)
        loaded += KEYS * (5 + 7)
    loaded += CELLS * 5
    stored = MEMORY.objects * CELLS * 7
    for top_k in (None, 2):
        work = SpaceTime(**SIZES).work(MEMORY, top_k)
        assert work == (2 * multiply_adds, 2 * loaded + 4 * stored)


@pytest.mark.parametrize("top_k", [None, 1, 4, 6, 7])
def test_work_of_the_l2_read_is_that_of_its_loops(top_k: int | None) -> None:
    multiply_adds = 0
    kept: set[tuple[int, int]] = set()
    fresh = 0
    for _ in range(CELLS):
        multiply_adds += KEYS * 5  # One affinity for all objects.
        for _ in range(KEYS if top_k is None else min(top_k, KEYS)):
            # A query cell keeps others than those before it as long as there are any.
            cell, fresh = fresh % KEYS, fresh + 1
            for which in range(MEMORY.objects):
                multiply_adds += 7
                kept.add((which, cell))
    loaded = CELLS * 5 + KEYS * 5 + len(kept) * 7
    stored = MEMORY.objects * CELLS * 7
    work = L2(**SIZES).work(MEMORY, top_k)
    assert work == (2 * multiply_adds, 2 * loaded + 4 * stored)


def test_flop_of_a_memory_frame_at_480p() -> None:
    memory = Memory((480, 854), "float32", objects=3, frames=1, capacity=1)
    cells = 30 * 54
    assert SpaceTime().work(memory, None).flop == 3 * 3_359_232_000
    scores, one_value = 2 * cells**2 * 64, 2 * cells * 512
    assert L2().work(memory, None).flop == scores + 3 * cells * one_value
    assert L2().work(memory, 20).flop == scores + 3 * 20 * one_value


def test_slots_that_are_not_filled_cost_nothing() -> None:
    full = MEMORY._replace(capacity=MEMORY.frames)
    for kind in KINDS.values():
        assert kind.work(MEMORY, None) == kind.work(full, None)


def test_published_sizes_are_those_of_the_methods() -> None:
    sizes = {k.name: (k.key_dim, k.value_dim, k.top_k) for k in KINDS.values()}
    assert sizes == {"space-time": (128, 512, (20,)), "l2": (64, 512, (20, 40))}


@pytest.mark.parametrize("name", KINDS)
def test_every_variant_reads_what_is_filled(name: str) -> None:
    """The bank's empty slots hold numbers, too: only the last argument tells."""
    kind = dataclasses.replace(KINDS[name], **SIZES, top_k=(4,))
    memory = MEMORY._replace(dtype="float32")
    query, keys, values, which = kind.arguments(memory)
    assert np.asarray(values[-1]).all()
    for variant in kind.variants():
        read = jax.jit(kind.program(variant, "highest"))
        all_slots = read(query, keys, values, which)
        assert all_slots.shape == (4, 1, 3, 7)
        filled_slots = read(query, keys[:2], values[:2], which[:2])
        np.testing.assert_allclose(all_slots, filled_slots, atol=1e-6)


def test_objects_share_keys_in_the_l2_read_only() -> None:
    grid = (1, 3)
    keys = {name: kind.arguments(MEMORY)[1] for name, kind in KINDS.items()}
    assert keys["space-time"].shape == (3, 4, *grid, 128)
    assert keys["l2"].shape == (3, *grid, 64)
    assert all(x.dtype == "bfloat16" for x in keys.values())


def test_a_filtered_l2_read_follows_the_reference_for_the_same_k() -> None:
    variants = L2(top_k=(2, 9)).variants()
    assert variants[-4:] == [
        Variant("reference", 2),
        Variant("chunked", 2),
        Variant("reference", 9),
        Variant("chunked", 9),
    ]


@pytest.mark.parametrize("name", KINDS)
def test_a_reference_comes_first(name: str) -> None:
    assert KINDS[name].variants()[0] == Variant("reference")


def test_kinds_are_chosen_by_name() -> None:
    assert chosen(None) == tuple(KINDS.values())
    assert chosen(["l2", "l2"]) == (KINDS["l2"],)
    with pytest.raises(InputError, match="no kind 'l3'; use space-time or l2"):
        chosen(["l2", "l3"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"key_dim": 0}, "key_dim=0: use at least 1"),
        ({"value_dim": -1}, "value_dim=-1: use at least 1"),
        ({"top_k": (3, 0)}, "top_k=0: use at least 1"),
    ],
)
def test_sizes_out_of_range_are_named(change: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        dataclasses.replace(L2(), **change)
