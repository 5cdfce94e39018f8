"""Progress where there is no terminal."""

import time

import jax
import jax.numpy as jnp
import pytest

from vos_jax.runtime import progress
from vos_jax.runtime.progress import Progress


def test_short_work_is_silent(capsys):
    with Progress("segment", 3) as shown:
        for _ in range(3):
            shown.update()
    assert capsys.readouterr() == ("", "")


def test_long_work_prints_plain_lines_on_stderr(capsys, monkeypatch):
    monkeypatch.setattr(progress, "_LINE_EVERY_S", 0.0)
    with Progress("segment", 4) as shown:
        shown.update(1)
        shown.update(2)
    out, err = capsys.readouterr()
    assert out == ""
    first, second = err.splitlines()
    assert first.startswith("segment: 1/4 frames, ")
    assert second.startswith("segment: 3/4 frames, ")
    assert second.endswith(" s left")


def test_work_of_unknown_length_says_what_is_done(capsys, monkeypatch):
    monkeypatch.setattr(progress, "_LINE_EVERY_S", 0.0)
    with Progress("read", None, "packet") as shown:
        shown.update(5)
    assert capsys.readouterr().err.startswith("read: 5 packets, ")


@pytest.fixture
def compiler(monkeypatch):
    """A compiler that takes as long as it is told to."""
    monkeypatch.setattr(progress, "_TELL_AFTER_S", 0.01)

    def compile(seconds):
        jax.monitoring.record_event_duration_secs(progress._LOWERED, 0.0)
        time.sleep(seconds)
        jax.monitoring.record_event_duration_secs(progress._COMPILED, seconds)

    return compile


def test_a_program_that_is_compiled_is_told_of_while_it_is(capsys, compiler):
    with Progress("segment", 4) as shown:
        compiler(0.2)
        assert capsys.readouterr().err == "segment: 0/4 frames, compiling a program\n"
        shown.update()
        # One line in ten seconds is enough.
        compiler(0.2)
    assert capsys.readouterr().err == ""


def test_what_compiles_at_once_is_not_worth_a_line(capsys, compiler):
    with Progress("segment", 4):
        compiler(0)
    time.sleep(0.05)
    assert capsys.readouterr().err == ""


def test_jax_tells_when_it_compiles(compiler, capsys, monkeypatch):
    monkeypatch.setattr(progress, "_TELL_AFTER_S", 0.0)
    with Progress("segment", 4):
        # The timer's thread comes to the processor before so large a loop is compiled.
        jax.jit(lambda x: sum(jnp.sin(x * i) @ x for i in range(100)))(jnp.eye(3))
    assert "compiling a program" in capsys.readouterr().err
