"""The picture of the reads: its panels, lines and limits."""

from pathlib import Path

import pytest

from vos_jax.engine.bench_read import ReadResult, ReadRow
from vos_jax.engine.bench_read_plot import plot
from vos_jax.engine.measure import Ceilings
from vos_jax.errors import InputError

pyplot = pytest.importorskip("matplotlib.pyplot")

CEILINGS = Ceilings({"float32": 1.0}, 1.0)


def _row(kind: str, read: str, frames: int, time: float, limit: float) -> ReadRow:
    row = ReadRow(kind, read, "float32", 1, frames, frames)
    return row._replace(time_ms=time, limit_ms=limit)


ROWS = [
    row
    for frames in (1, 5)
    for row in (
        _row("space-time", "reference", frames, 4.0 * frames, 1.0 * frames),
        _row("space-time", "chunked", frames, 2.0 * frames, 1.0 * frames),
        _row("l2", "reference", frames, 9.0 * frames, 0.9 * frames),
        _row("l2", "chunked top-3", frames, 1.0 * frames, 0.5 * frames),
    )
]


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """The figure of some rows, as it is when it has been written."""

    def draw(rows: list[ReadRow]):
        monkeypatch.setattr(pyplot, "close", lambda _: None)
        path = plot(ReadResult(rows, CEILINGS), tmp_path)
        assert path.read_bytes().startswith(b"\x89PNG")
        return pyplot.gcf()

    yield draw
    monkeypatch.undo()
    pyplot.close("all")


def test_every_kind_has_its_panels(drawn) -> None:
    three = [row._replace(objects=3) for row in ROWS]
    titles = [axis.get_title() for axis in drawn(ROWS + three).axes]
    assert titles == [
        f"{kind}, float32, {objects}"
        for kind in ("space-time", "l2")
        for objects in ("1 object", "3 objects")
    ]


def test_a_panel_has_the_lines_of_its_rows_and_their_limits(drawn) -> None:
    space_time, l2 = drawn(ROWS).axes
    assert [list(line.get_ydata()) for line in space_time.lines] == [
        [4.0, 20.0],
        [1.0, 5.0],  # The limit of both reads, once.
        [2.0, 10.0],
    ]
    assert [list(line.get_ydata()) for line in l2.lines] == [
        [9.0, 45.0],
        [0.9, 4.5],
        [1.0, 5.0],
        [0.5, 2.5],
    ]
    assert [line.get_linestyle() for line in l2.lines] == ["-", "--", "-", "--"]
    assert all(list(line.get_xdata()) == [1, 5] for line in l2.lines)


def test_a_read_looks_the_same_everywhere_and_is_explained_once(drawn) -> None:
    figure = drawn(ROWS)
    colours = [axis.lines[0].get_color() for axis in figure.axes]
    assert colours[0] == colours[1]
    entries = [text.get_text() for text in figure.legends[0].get_texts()]
    assert entries == ["reference", "chunked", "chunked top-3", "limit (roofline)"]


def test_rows_that_were_skipped_are_left_out(drawn) -> None:
    skipped = ReadRow("l2", "chunked", "float32", 5, 9, 9, skipped="too large")
    (axis,) = drawn([*ROWS[:2], skipped]).axes
    assert [list(line.get_xdata()) for line in axis.lines] == [[1]] * 3


def test_nothing_to_plot_is_an_error(tmp_path: Path) -> None:
    rows = [ReadRow("l2", "reference", "float32", 1, 1, 1, skipped="too large")]
    with pytest.raises(InputError, match="every row was skipped"):
        plot(ReadResult(rows, CEILINGS), tmp_path)
