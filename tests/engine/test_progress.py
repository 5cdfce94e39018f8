"""Progress where there is no terminal."""

from vos_jax.engine import progress
from vos_jax.engine.progress import Progress


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
