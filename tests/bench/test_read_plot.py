"""The pictures of the reads: their panels, lines and limits."""

from pathlib import Path

import pytest

from vos_jax.bench.measure import Ceilings
from vos_jax.bench.read import ReadResult, ReadRow
from vos_jax.bench.read_plot import plot
from vos_jax.errors import InputError

pyplot = pytest.importorskip("matplotlib.pyplot")

CEILINGS = Ceilings({"float32": 1.0}, 1.0)


def _row(kind: str, read: str, frames: int, time: float, limit: float) -> ReadRow:
    top_k = int(read.rpartition("top-")[2]) if "top-" in read else None
    row = ReadRow(kind, read, "float32", 1, frames, frames, top_k)
    return row._replace(time_ms=time, limit_ms=limit)


ROWS = [
    row
    for frames in (1, 5)
    for row in (
        _row("space-time", "reference", frames, 4.0 * frames, 1.0 * frames),
        _row("space-time", "slots", frames, 2.0 * frames, 1.0 * frames),
        _row("l2", "reference", frames, 9.0 * frames, 0.9 * frames),
        _row("l2", "slots top-3", frames, 1.0 * frames, 0.5 * frames),
    )
]


# The time of the sparse read is in proportion to k, that of its choice is not.
SPARSE = [
    row
    for frames in (1, 5)
    for row in (
        _row("guided-8", "slots", frames, 90.0 * frames, 9.0 * frames),
        *(
            _row("guided-8", f"{name} top-{k}", frames, factor * k, 0.1 * k)
            for k in (32, 8, 128)
            for name, factor in (("reference", 2.0), ("slots", 0.5))
        ),
        *(
            _row("candidates", f"reference top-{k}", frames, 7.0 * frames, 1.0)
            for k in (8, 32, 128)
        ),
    )
]


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """Figures of some rows, as they are when they have been written."""

    def draw_all(rows: list[ReadRow]) -> list:
        monkeypatch.setattr(pyplot, "close", lambda _: None)
        paths = plot(ReadResult(rows, CEILINGS), tmp_path)
        assert all(path.read_bytes().startswith(b"\x89PNG") for path in paths)
        names = ["bench_read.png", "bench_read_k.png"]
        assert [path.name for path in paths] == names[: len(paths)]
        return [pyplot.figure(number) for number in pyplot.get_fignums()]

    yield draw_all

    monkeypatch.undo()
    pyplot.close("all")


def test_every_kind_has_its_panels(drawn) -> None:
    three = [row._replace(objects=3) for row in ROWS]
    (figure,) = drawn(ROWS + three)
    titles = [axis.get_title() for axis in figure.axes]
    assert titles == [
        f"{kind}, float32, {objects}"
        for kind in ("space-time", "l2")
        for objects in ("1 object", "3 objects")
    ]


def test_a_panel_has_the_lines_of_its_rows_and_their_limits(drawn) -> None:
    (figure,) = drawn(ROWS)
    space_time, l2 = figure.axes
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
    assert [line.get_linestyle() for line in l2.lines] == ["-.", "--", "-", "--"]
    assert all(list(line.get_xdata()) == [1, 5] for line in l2.lines)


def test_a_read_looks_the_same_everywhere_and_is_explained_once(drawn) -> None:
    (figure,) = drawn(ROWS)
    colours = [axis.lines[0].get_color() for axis in figure.axes]
    assert colours[0] == colours[1]
    entries = [text.get_text() for text in figure.legends[0].get_texts()]
    assert entries == ["reference", "slots", "slots top-3", "limit (roofline)"]


def test_reads_that_keep_as_many_cells_have_one_colour(drawn) -> None:
    figure, _ = drawn(SPARSE)
    lines = {line.get_label(): line for line in figure.legends[0].get_lines()}
    of_eight = [lines[f"{name} top-8"] for name in ("reference", "slots")]
    assert of_eight[0].get_color() == of_eight[1].get_color()
    assert of_eight[0].get_marker() != of_eight[1].get_marker()
    assert of_eight[1].get_marker() == lines["slots top-32"].get_marker()
    assert of_eight[1].get_color() != lines["slots top-32"].get_color()


def test_growth_with_k_is_drawn_beside_proportion(drawn) -> None:
    _, figure = drawn([*ROWS, *SPARSE])
    guided, candidates = figure.axes
    assert guided.get_title() == "guided-8, float32, 1 object"
    assert guided.get_xscale() == guided.get_yscale() == "log"
    lines = [(list(x.get_xdata()), list(x.get_ydata())) for x in guided.lines]
    counts = [8, 32, 128]
    reference, chunked = ([factor * k for k in counts] for factor in (2.0, 0.5))
    # Two numbers of frames, and through the fastest read the line of proportion.
    assert lines == [(counts, y) for y in [reference, chunked] * 2 + [chunked]]
    assert guided.lines[-1].get_linestyle() == "--"
    slope = candidates.lines[-1]
    assert list(slope.get_ydata()) == pytest.approx([7 / 16, 7 / 4, 7])
    entries = [text.get_text() for text in figure.legends[0].get_texts()]
    assert entries == [
        *(
            f"{name}, T = {count}"
            for name in ("reference", "slots")
            for count in (1, 5)
        ),
        "in proportion to k",
    ]


def test_two_numbers_of_cells_are_no_growth(drawn) -> None:
    few = [row for row in SPARSE if row.top_k in (None, 8, 32)]
    assert len(drawn(few)) == 1


def test_rows_that_were_skipped_are_left_out(drawn) -> None:
    skipped = ReadRow("l2", "slots", "float32", 5, 9, 9, skipped="too large")
    ((axis,),) = (figure.axes for figure in drawn([*ROWS[:2], skipped]))
    assert [list(line.get_xdata()) for line in axis.lines] == [[1]] * 3


def test_nothing_to_plot_is_an_error(tmp_path: Path) -> None:
    rows = [ReadRow("l2", "reference", "float32", 1, 1, 1, skipped="too large")]
    with pytest.raises(InputError, match="every row was skipped"):
        plot(ReadResult(rows, CEILINGS), tmp_path)
