"""Programs of a process that runs for long."""

import jax
import jax.numpy as jnp
import pytest

from vos_jax.runtime import programs


@pytest.fixture
def program():
    """One that is compiled."""
    double = jax.jit(lambda x: 2 * x)
    double(jnp.ones(3))
    assert double._cache_size() == 1
    return double


@pytest.mark.parametrize(("most", "left"), [("65530", 1), ("100", 0)])
def test_programs_go_when_the_pieces_of_memory_are_many(
    program, most, left, tmp_path, monkeypatch
):
    (tmp_path / "most").write_text(most)
    (tmp_path / "maps").write_text("a piece\n" * 70)
    monkeypatch.setattr(programs, "_MOST_MAPS", tmp_path / "most")
    monkeypatch.setattr(programs, "_MAPS", tmp_path / "maps")
    programs.drop_programs_if_many()
    assert program._cache_size() == left
    assert program(jnp.ones(3)).tolist() == [2, 2, 2]


def test_a_system_that_does_not_tell_keeps_them(program, tmp_path, monkeypatch):
    monkeypatch.setattr(programs, "_MAPS", tmp_path / "nothing")
    programs.drop_programs_if_many()
    assert program._cache_size() == 1
