"""The script of DMN-AOA's tables: their rows, what they are evaluated with."""

from pathlib import Path

import pytest

from tests.experiments.scripts import script
from vos_jax.methods import create
from vos_jax.training.experiment_file import load_experiment

tables = script("dmn_aoa/tables")
ROWS = [row for table in tables.TABLES.values() for row in table.rows]


def test_settings_are_those_of_the_tables_and_of_the_method():
    assert {row.setting for row in ROWS} == set(tables.CHANGES)
    configs = {
        name: create("dmn-aoa", **changes).config
        for name, changes in tables.CHANGES.items()
    }
    assert len(set(configs.values())) == 12
    # What they share is what tests may change of the same weights.
    assert {name for name in tables.SHARED if configs[name] == configs["F0"]} == {
        "D1",
        "D2",
    }


@pytest.mark.parametrize("method", ["dmn-aoa", "dmn-aoa-tiny"])
def test_every_setting_can_be_trained_by_both_stages(method):
    for stage in ("pretrain", "main"):
        found = load_experiment(f"dmn_aoa/{stage}")
        for changes in tables.CHANGES.values():
            network = create(method, **{**found.method_options, **changes})
            takes = changes.get("use_matcher", True)
            assert (network.inputs is not None) == takes


def test_figures_of_the_paper_are_means_of_each_other():
    full = [row for row in ROWS if None not in (row.paper_j_and_f, row.paper_j)]
    assert len(full) == 19
    for row in full:
        mean = (row.paper_j + row.paper_f) / 2
        assert row.paper_j_and_f == pytest.approx(mean, abs=0.00051)


def test_rows_that_share_weights_have_those_of_f0_unless_they_are_given_their_own():
    weights = {"F0": Path("f0"), "B1": Path("b1"), "C2": Path("c2")}
    proposals = {tables.USUAL: Path("usual"), "coco": Path("coco")}
    found = {
        row.setting: tables._ready(row, {"davis2017_val"}, weights, proposals)
        for row in tables.TABLES[3].rows
    }
    told = {name: row.weights for name, row in found.items() if row.weights}
    shared = dict.fromkeys(("B2", "B3", "B4", "D2"), "F0")
    assert told == {"F0": "own", "B1": "own", "C2": "own", **shared}
    ready = {name: tables.setting_of(found[name], weights, proposals) for name in told}
    assert ready["B1"].weights == Path("b1") and ready["B2"].weights == Path("f0")
    assert ready["B2"].changes == {"memory_sampling": "prev", "mem_every": None}
    assert ready["D2"].inputs == Path("coco") and ready["F0"].inputs == Path("usual")


def test_a_network_without_a_matcher_takes_no_proposals():
    (row,) = (row for row in ROWS if row.setting == "A5")
    ready = tables._ready(row, {"davis2017_val"}, {"A5": Path("a5")}, {})
    assert ready.weights == "own"
    assert tables.setting_of(ready, {"A5": Path("a5")}, {}).inputs is None


def test_without_videos_or_weights_it_says_so(tmp_path, capsys):
    assert tables.main(["--out", str(tmp_path)]) != 0
    assert "no videos; give their folder" in capsys.readouterr().err
    assert tables.main(["--out", str(tmp_path), "--davis", str(tmp_path)]) != 0
    assert "no row has --weights, --proposals" in capsys.readouterr().err
