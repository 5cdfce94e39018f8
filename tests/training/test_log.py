"""The log of a run: rows, damage, resuming, and curves."""

import json
import math

import pytest
from PIL import Image

from vos_jax.errors import InputError
from vos_jax.training.log import TrainLog, draw_curves, read_log


def write_rows(workdir, steps, after=0):
    with TrainLog(workdir, after) as log:
        for step in steps:
            log.write(step, {"loss": 1 / step})


def steps_of(workdir):
    return [row["step"] for row in read_log(workdir)]


def test_what_is_written_is_read_again(tmp_path):
    assert read_log(tmp_path) == []
    with TrainLog(tmp_path, 0) as log:
        log.write(2, {"loss": 0.25, "iou": 0.1})
        log.write(4, {"loss": math.nan})
    first, second = read_log(tmp_path)
    assert first == {"step": 2, "loss": 0.25, "iou": 0.1}
    assert second["step"] == 4
    assert math.isnan(second["loss"])


def test_a_row_is_there_before_the_log_is_closed(tmp_path):
    with TrainLog(tmp_path, 0) as log:
        log.write(2, {"loss": 0.25})
        assert steps_of(tmp_path) == [2]


@pytest.mark.parametrize(
    ("step", "kept"), [(0, []), (4, [2, 4]), (5, [2, 4]), (9, [2, 4, 6])]
)
def test_a_resumed_run_drops_the_rows_after_its_checkpoint(tmp_path, step, kept):
    write_rows(tmp_path, [2, 4, 6])
    write_rows(tmp_path, [10], after=step)
    assert steps_of(tmp_path) == [*kept, 10]
    assert [row["loss"] for row in read_log(tmp_path)] == [1 / s for s in [*kept, 10]]
    # Nor is there anything of the old file beside the new one.
    assert {path.name for path in tmp_path.iterdir()} <= {"log.jsonl", "tensorboard"}


@pytest.mark.parametrize(
    "tail",
    [b'{"step": 6, "lo', b"{", b'{"step": 6, "name": "\xc3', b"\x00\x00\x00", b"\xff"],
)
def test_a_last_line_that_was_cut_is_dropped(tmp_path, tail):
    write_rows(tmp_path, [2, 4])
    path = tmp_path / "log.jsonl"
    path.write_bytes(path.read_bytes() + tail)
    assert steps_of(tmp_path) == [2, 4]
    # The next row begins a line of its own.
    write_rows(tmp_path, [6], after=4)
    assert steps_of(tmp_path) == [2, 4, 6]


@pytest.mark.parametrize(
    "line",
    [
        *(b"{", b"", b"[1]", b"3", b"{}", b'{"step": "x"}', b'{"step": 4, "\xff": 1}'),
        *(b'{"step": 1e999}', b'{"step": 4, "loss": "0.1"}', b"[" * 100_000),
    ],
    ids=range(10),
)
def test_another_line_that_is_damaged_is_named(tmp_path, line):
    write_rows(tmp_path, [2, 4, 6])
    path = tmp_path / "log.jsonl"
    first, _, last = path.read_bytes().splitlines()
    path.write_bytes(b"\n".join([first, line, last]) + b"\n")
    for read in (read_log, lambda workdir: TrainLog(workdir, 6)):
        with pytest.raises(InputError, match=r"log\.jsonl: line 2 is damaged") as error:
            read(tmp_path)
        assert "\n" not in str(error.value)
    assert path.read_bytes().splitlines()[1] == line


def test_a_log_that_cannot_be_read_is_named(tmp_path):
    (tmp_path / "log.jsonl").mkdir()
    with pytest.raises(InputError, match=r"log\.jsonl: cannot be read: .*; check"):
        read_log(tmp_path)


@pytest.mark.parametrize("rows", [[], [{"step": 1, "loss": 0.5}], [{"step": 1}] * 2])
def test_fewer_than_two_rows_have_no_curve(tmp_path, rows):
    assert not draw_curves(rows, tmp_path / "curves.png")
    assert not list(tmp_path.iterdir())


def test_two_rows_have_curves_of_all_their_figures(tmp_path, monkeypatch):
    pytest.importorskip("matplotlib")
    from matplotlib.axes import Axes

    drawn = {}
    plot, title = Axes.plot, Axes.set

    def plotted(axes, *data, **options):
        drawn[axes] = data
        return plot(axes, *data, **options)

    def titled(axes, **options):
        if "title" in options:
            drawn[options["title"]] = drawn.pop(axes)
        return title(axes, **options)

    monkeypatch.setattr(Axes, "plot", plotted)
    monkeypatch.setattr(Axes, "set", titled)
    names = ["loss", "iou", "rate", "wait"]
    rows = [{"step": step, **dict.fromkeys(names, step / 8)} for step in (2, 4)]
    # A figure that not every row has, as validation's.
    rows[1]["validation J&F"] = 0.7
    assert draw_curves(rows, tmp_path / "curves.png")
    with Image.open(tmp_path / "curves.png") as picture:
        assert picture.format == "PNG"
        assert picture.width > picture.height > 100
    assert drawn == {
        **dict.fromkeys(names, ((2, 4), (0.25, 0.5))),
        "validation J&F": ((4,), (0.7,)),
    }


def test_tensorboard_has_the_same_figures(tmp_path):
    loader = pytest.importorskip(
        "tensorboard.backend.event_processing.event_file_loader"
    )
    write_rows(tmp_path, [2, 4])
    (file,) = (tmp_path / "tensorboard").iterdir()
    events = loader.RawEventFileLoader(str(file)).Load()
    from tensorboard.compat.proto.event_pb2 import Event

    found = [
        (event.step, value.tag, value.simple_value)
        for event in map(Event.FromString, events)
        for value in event.summary.value
    ]
    assert found == [(2, "loss", 0.5), (4, "loss", 0.25)]


def test_rows_are_lines_of_json(tmp_path):
    write_rows(tmp_path, [2, 4])
    lines = (tmp_path / "log.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [2, 4]
