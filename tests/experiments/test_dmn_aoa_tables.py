"""The script of DMN-AOA's tables: their rows, what they are evaluated with."""

import csv
from pathlib import Path

import numpy as np
import pytest

import vos_jax
from tests.clips import write_davis
from tests.experiments.scripts import script
from tests.methods.every import NARROW, narrow
from tests.methods.proposals import proposals_of
from vos_jax.data.proposals.coco_writer import ImageResults, write_results
from vos_jax.evaluation import read_dataset
from vos_jax.media import read_labels
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


@pytest.fixture
def narrow_tables(tmp_path, monkeypatch):
    """The command's words for narrow networks with random weights, and proposals."""
    changes = {name: {**NARROW["dmn-aoa"], **x} for name, x in tables.CHANGES.items()}
    monkeypatch.setattr(tables, "CHANGES", changes)
    root = write_davis(tmp_path / "davis", ["alpha", "beta"], 4)
    weights = []
    for name in ("F0", "A1", "A2", "A3", "A4", "A5", "A6"):
        path = tmp_path / f"{name}.safetensors"
        vos_jax.save_weights(path, "dmn-aoa", *narrow("dmn-aoa", **changes[name]))
        weights.append(f"{name}={path}")
    images = [
        (f"{sequence.name}/{stem}.jpg", read_labels(annotation))
        for sequence in read_dataset("davis2017", root, "val")
        for stem, annotation in sequence.annotations.items()
    ]
    for seed, name in enumerate(("usual", "other")):
        found = [(path, x.shape, proposals_of(x, seed)) for path, x in images]
        write_results(
            tmp_path / f"{name}.json",
            [
                ImageResults(path, size, x.masks[x.valid], x.scores[x.valid])
                for path, size, x in found
            ],
        )
    return ["--out", str(tmp_path / "out"), "--davis", str(root), "--weights", *weights]


def _table(out):
    with (out / "table3.csv").open(newline="") as file:
        return {row["setting"]: row for row in csv.DictReader(file)}


@pytest.mark.slow
def test_every_row_of_table_3_is_evaluated_and_what_is_done_stays(
    narrow_tables, tmp_path, capsys
):
    proposals = [str(tmp_path / "usual.json"), f"coco={tmp_path / 'other.json'}"]
    command = [*narrow_tables, "--tables", "3", "--proposals", *proposals]
    assert tables.main(command) == 0
    told = capsys.readouterr().err
    assert "left out without --proposals coco+davis=PATH: D1\n" in told
    found = _table(tmp_path / "out")
    done = {name for name, row in found.items() if row["weights"]}
    assert set(found) - done == {"C1", "C2", "D1"}
    assert all(0 <= float(found[name]["j_and_f"]) <= 1 for name in done)
    masks = {
        name: np.stack([read_labels(path) for path in sorted(folder.rglob("*.png"))])
        for name in done
        for folder in [tmp_path / "out" / "davis2017_val" / name / "masks"]
    }
    others = {name for name in done if (masks[name] != masks["F0"]).any()}
    assert {"A1", "A2", "A3", "A4", "A5", "A6", "D2"} <= others
    assert tables.main(command) == 0
    assert "compiling" not in capsys.readouterr().err
    assert _table(tmp_path / "out") == found


@pytest.mark.slow
def test_proposals_that_lack_a_sequence_are_told_before_any_work(
    narrow_tables, tmp_path, capsys
):
    lacking = tmp_path / "lacking.json"
    write_results(lacking, [ImageResults("alpha/00001.jpg", (32, 48), [], np.zeros(0))])
    proposals = [str(tmp_path / "usual.json"), f"coco={lacking}"]
    assert (
        tables.main([*narrow_tables, "--tables", "3", "--proposals", *proposals]) == 2
    )
    assert "does not list frame alpha/00002" in capsys.readouterr().err
    assert not (tmp_path / "out" / "davis2017_val" / "F0").exists()
