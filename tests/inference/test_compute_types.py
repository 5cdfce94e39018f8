"""What a run computes in, by platform and by what its user says."""

from types import SimpleNamespace

import pytest

from vos_jax.inference import compute_types
from vos_jax.inference.compute_types import with_compute_types
from vos_jax.methods import METHODS

ACCELERATORS = pytest.mark.parametrize("platform", ["gpu", "tpu", "METAL"])


@pytest.mark.parametrize("name", METHODS)
def test_every_method_of_the_package_has_both_fields(name):
    config = METHODS[name].config
    assert (config.dtype, config.precision) == ("float32", "highest")
    chosen = {"dtype": "bfloat16", "precision": "default"}
    assert with_compute_types(name, {}, "gpu") == chosen


def test_cpus_compute_as_the_method_is_configured():
    assert with_compute_types("stm", {}, "cpu") == {}
    assert with_compute_types("stm", {"top_k": 3}, "cpu") == {"top_k": 3}


@ACCELERATORS
@pytest.mark.parametrize(
    "given",
    [
        {"dtype": "float32"},
        {"dtype": "float32", "precision": "high"},
        {"dtype": "bfloat16", "precision": "highest"},
    ],
)
def test_what_a_user_says_wins(platform, given):
    assert with_compute_types("rde", given, platform) == given
    assert with_compute_types("rde", given, "cpu") == given


@ACCELERATORS
def test_one_of_both_leaves_the_other_to_the_platform(platform):
    short = with_compute_types("lcm", {"dtype": "bfloat16"}, platform)
    assert short == {"dtype": "bfloat16", "precision": "default"}
    exact = with_compute_types("lcm", {"precision": "highest"}, platform)
    assert exact == {"dtype": "bfloat16", "precision": "highest"}


def test_a_method_without_such_fields_is_left_alone(monkeypatch):
    entry = SimpleNamespace(config=SimpleNamespace(size=3))
    monkeypatch.setattr(compute_types, "find_entry", lambda name: entry)
    assert with_compute_types("plain", {"size": 4}, "gpu") == {"size": 4}
