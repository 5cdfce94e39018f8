"""The kinds of read by their names."""

import pytest

from vos_jax.bench.reads.kinds import KINDS, kinds_by_name
from vos_jax.errors import InputError


@pytest.mark.parametrize("name", KINDS)
def test_a_baseline_comes_before_what_is_compared_with_it(name: str) -> None:
    seen = set()
    for variant in KINDS[name].variants():
        seen.add(variant)
        assert KINDS[name].baseline(variant) in seen


def test_kinds_are_chosen_by_name() -> None:
    assert kinds_by_name(None) == tuple(KINDS.values())
    assert kinds_by_name(["l2", "l2"]) == (KINDS["l2"],)
    known = "guided-8, guided-4, candidates, position-map, recurrent-key or"
    known = f"space-time, l2, kernel-guided, {known} recurrent-value"
    with pytest.raises(InputError, match=f"no kind 'l3'; use {known}"):
        kinds_by_name(["l2", "l3"])


def test_a_number_of_cells_is_for_the_kinds_that_take_one() -> None:
    l2, guided = kinds_by_name(["l2", "kernel-guided"], [5])
    assert (l2.top_k, guided.top_k) == ((5,), ())
    with pytest.raises(InputError, match="top_k: kernel-guided reads keep all cells"):
        kinds_by_name(["kernel-guided"], [5])


def test_published_sizes_are_those_of_the_methods() -> None:
    sizes = {
        k.name: (k.stride, k.key_dim, getattr(k, "value_dim", None), k.top_k)
        for k in KINDS.values()
    }
    assert sizes == {
        "space-time": (16, 128, 512, (20,)),
        "l2": (16, 64, 512, (20, 40)),
        "kernel-guided": (16, 128, 512, ()),
        "guided-8": (8, 128, 256, (8, 32, 128)),
        "guided-4": (4, 64, 128, (8, 32, 128)),
        "candidates": (16, 128, None, (8, 32, 128)),
        "position-map": (16, 128, None, (1, 8, 32)),
        "recurrent-key": (16, 64, None, ()),
        "recurrent-value": (16, 512, None, ()),
    }
