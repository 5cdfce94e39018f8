"""Printed tables: what a file of them says, and what it cannot."""

import json

import pytest

from vos_jax.errors import InputError
from vos_jax.reports.printed import Column, read_printed

CONTENT = {
    "paper": "A paper",
    "defaults": {"every": 5, "deep": False},
    "tables": [
        {
            "id": "T2",
            "title": "modules",
            "dataset": "davis2017",
            "split": "val",
            "other_dataset": ["davis2016/val"],
            "conditions": "one machine",
            "columns": ["J&F", "J_seen", "time_s_davis2016"],
            "rows": [
                {
                    "name": "whole",
                    "own": True,
                    "settings": {"deep": True},
                    "values": {"J&F": 0.75, "time_s_davis2016": "<0.1"},
                    "note": "odd",
                },
                {"name": "other", "own": False, "settings": {}, "values": {}},
            ],
        }
    ],
}


def test_a_table_has_columns_of_several_places(tmp_path):
    path = tmp_path / "printed.json"
    path.write_text(json.dumps(CONTENT))
    printed = read_printed(path)
    table = printed.tables["T2"]
    assert (printed.paper, table.title) == ("A paper", "modules")
    assert table.columns == {
        "J&F": Column("J&F", "davis2017/val"),
        "J_seen": Column("J_seen", "davis2017/val"),
        "time_s_davis2016": Column("time_s", "davis2016/val"),
    }
    assert table.places == ("davis2017/val", "davis2016/val")
    whole, other = table.rows
    assert whole.settings == {"every": 5, "deep": True} and whole.note == "odd"
    assert whole.varied == {"deep": True}
    assert other.settings == {} and not other.own and other.note == ""


def test_what_is_no_table_is_named(tmp_path):
    with pytest.raises(InputError, match=r"gone\.json: cannot be read"):
        read_printed(tmp_path / "gone.json")
    path = tmp_path / "printed.json"
    path.write_text(json.dumps(CONTENT).replace('"J&F": 0.75', '"G": 0.75'))
    with pytest.raises(InputError, match="T2, row whole: there is no column G"):
        read_printed(path)
