import csv
import json
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from vos_jax.errors import InputError
from vos_jax.runtime.machine import machine
from vos_jax.runtime.plotting import pyplot
from vos_jax.runtime.text_table import text_table, write_table


class Row(NamedTuple):
    name: str
    time_ms: float | None
    count: int
    note: str = ""


ROWS = [Row("fast", 0.012345, 3), Row("slow, but safe", None, 12)]


def test_a_table_aligns_words_left_and_numbers_right() -> None:
    assert text_table(ROWS).splitlines() == [
        "name            time_ms  count",
        "fast             0.0123      3",
        "slow, but safe        -     12",
    ]


def test_a_column_that_says_nothing_is_left_out() -> None:
    assert "note" not in text_table(ROWS)
    assert "note" in text_table([*ROWS, Row("x", 1.0, 1, "why")])


def test_no_rows_make_an_empty_table(tmp_path: Path) -> None:
    assert text_table([]) == ""
    write_table(tmp_path, "none", [])
    assert json.loads((tmp_path / "none.json").read_text())["rows"] == []


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1234.5, "1234"),
        (12.345, "12.3"),
        (0.0, "0"),
        (1.0, "1.00"),
        (2e-5, "0.0000200"),
    ],
)
def test_floats_have_three_digits(value: float, text: str) -> None:
    assert text_table([Row("x", value, 1)]).splitlines()[1].split()[1] == text


def test_csv_and_json_hold_full_figures(tmp_path: Path) -> None:
    files = write_table(tmp_path / "new", "figures", ROWS, {"setting": [1, 2]})
    assert [path.name for path in files] == ["figures.csv", "figures.json"]
    with files[0].open(newline="") as file:
        first, second = csv.DictReader(file)
    assert first == {"name": "fast", "time_ms": "0.012345", "count": "3", "note": ""}
    assert second["name"] == "slow, but safe"
    assert second["time_ms"] == ""
    content = json.loads(files[1].read_text())
    assert content["setting"] == [1, 2]
    assert content["rows"][1] == ROWS[1]._asdict()
    assert content["machine"] == machine()._asdict()


def test_the_machine_is_described_without_naming_it() -> None:
    facts = machine()
    assert facts.backend == "cpu"
    assert facts.cores >= 1
    assert facts.processor
    import socket

    assert socket.gethostname() not in map(str, facts)
    assert not any("/" in str(fact) for fact in (facts.jax, facts.python, facts.date))


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="file/below: cannot be made"):
        write_table(tmp_path / "file" / "below", "figures", ROWS)


def test_a_missing_matplotlib_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(InputError, match=r"pip install 'vos_jax\[plot\]'"):
        pyplot()
