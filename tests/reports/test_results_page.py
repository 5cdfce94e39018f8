"""The page of all tables: printed numbers, and what small networks find."""

import json
from types import SimpleNamespace

from vos_jax.reports.printed import Column, Printed, PrintedRow, PrintedTable
from vos_jax.reports.results_page import results_page


def test_a_page_has_every_row_and_what_was_found_of_it(tmp_path):
    values = {"J": 0.5, "fps": "<8"}
    rows = (
        PrintedRow("whole", True, {"deep": True}, {"deep": True}, values, ""),
        PrintedRow("other", False, {}, {}, {"J": 0.25, "fps": None}, ""),
    )
    columns = {x: Column(x, "davis2016/val") for x in ("J", "fps")}
    table = PrintedTable("T2", "modules", "one machine", columns, rows)
    paper = SimpleNamespace(printed=Printed("A paper", {"T2": table}), method="lcm")
    cell = {"row": "whole", "measure": "J", "found": 0.625, "weights": "lcm-tiny"}
    cell["videos"] = "davis2016/val"
    marked = {**cell, "measure": "fps", "found": 12.0, "weights": "x, not trained so"}
    ignored = [{**cell, "row": "other", "found": None}]
    ignored.append({**cell, "measure": "fps, 2 objects"})
    file = tmp_path / "lcm" / "T2.json"
    file.parent.mkdir()
    file.write_text(json.dumps({"rows": [cell, marked, *ignored]}))
    page = results_page([paper], {"real": tmp_path, "clips": tmp_path / "none"})
    assert page == (
        "## A paper\n\n### T2: modules\n\ndavis2016/val; one machine.\n\n"
        "| row   | settings | J     | fps | real: J | real: fps              |\n"
        "| ----- | -------- | ----- | --- | ------- | ---------------------- |\n"
        "| whole | deep yes | 0.500 | <8  | 0.625   | 12.00 (not trained so) |\n"
        "| other |          | 0.250 |     |         |                        |\n"
    )
