"""The script of HMMN's tables: its settings, their weights, and what stays."""

import csv
import json
import re
from pathlib import Path

import pytest

import vos_jax
from tests.bench.toy import load_toy
from tests.experiments.scripts import script
from tests.methods.hmmn_weights import narrow
from vos_jax.inference import dataset as evaluate
from vos_jax.inference import demo
from vos_jax.reports import ablation
from vos_jax.reports.ablation import Measured

tables = script("hmmn/tables")


def _rows(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


# What is compared


def test_the_published_setting_is_that_of_the_methods():
    for name in ("hmmn", "hmmn-tiny"):
        config = vos_jax.create(name).config
        assert {x: getattr(config, x) for x in tables.PUBLISHED} == tables.PUBLISHED


def test_all_settings_are_ones_and_none_is_there_twice():
    configs = {
        vos_jax.create("hmmn", **changes).config for changes in tables.SETTINGS.values()
    }
    assert len(configs) == len(tables.SETTINGS)
    used = [name for table in tables.TABLES.values() for name in table.settings]
    assert set(used) == set(tables.SETTINGS)
    assert set(tables.PAPER) < set(tables.SETTINGS)


@pytest.mark.parametrize("number", [1, 2, 3, 4, 5, 6])
def test_a_table_shows_what_its_settings_differ_in(number):
    table = tables.TABLES[number]
    assert "published" in table.settings
    rows = [tables._row(name, Measured(1, 1, 1, 1), False) for name in table.settings]
    shown = {tuple(getattr(row, x) for x in table.columns) for row in rows}
    assert len(shown) == len(rows)
    for column in table.columns:
        assert len({getattr(row, column) for row in rows}) > 1


# Bookkeeping, without a network


@pytest.fixture
def asked(monkeypatch):
    """What is evaluated: settings, their weights, the split, options."""
    asked = []

    def measure(method, settings, split, out, **options):
        asked.append((method, split, out, options))
        for number, (name, setting) in enumerate(settings.items()):
            asked.append((name, setting))
            yield name, Measured(number / 100, 0.25, 0.75, None)

    monkeypatch.setattr(tables, "measure_settings", measure)
    monkeypatch.setattr(tables, "fingerprint", lambda method, path: f"of {path}")
    monkeypatch.setattr(tables, "generated_split", lambda *where: where)
    return asked


def run(out, *words, videos=("--root", "davis"), weights=("common",)):
    command = [*videos, "--out", out, "--weights", *weights, *words]
    return tables.main([str(word) for word in command])


def test_a_setting_of_several_tables_is_evaluated_once(asked, tmp_path, capsys):
    assert run(tmp_path) == 0
    names = [name for name, *_ in asked[1:]]
    assert sorted(names) == sorted(tables.SETTINGS)
    shown = capsys.readouterr().out
    published = f"{names.index('published') / 100:g}"
    for number, table in tables.TABLES.items():
        rows = _rows(tmp_path / f"table{number}.csv")
        assert [row["setting"] for row in rows] == list(table.settings)
        (own,) = (row["j_and_f"] for row in rows if row["setting"] == "published")
        assert own == published
        assert shown.count(f"Table {number}: {table.title}\n") == 1


def test_only_the_tables_that_are_named_are_made(asked, tmp_path):
    assert run(tmp_path, "--tables", 6, 4, 6) == 0
    assert [name for name, *_ in asked[1:3]] == ["published", "fine_kept"]
    assert len(asked) == 1 + 2 + 4
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        *("table4.csv", "table4.json", "table6.csv", "table6.json")
    ]


def test_columns_of_other_tables_are_empty(asked, tmp_path, capsys):
    assert run(tmp_path, "--tables", 4) == 0
    rows = _rows(tmp_path / "table4.csv")
    assert [row["window"] for row in rows] == ["3", "5", "7", "9", "11"]
    assert {row["kernel"] for row in rows} == {row["sigma"] for row in rows} == {""}
    assert "sigma" not in capsys.readouterr().out


def test_a_table_is_written_as_soon_as_its_settings_are_known(
    asked, tmp_path, monkeypatch
):
    whole = tables.measure_settings

    def stop(*args, **options):
        for name, figures in whole(*args, **options):
            if name == "window_9":
                raise KeyboardInterrupt
            yield name, figures

    monkeypatch.setattr(tables, "measure_settings", stop)
    assert run(tmp_path, "--tables", 6, 4, 5) == 130
    assert {path.stem for path in tmp_path.iterdir()} == {"table6"}


def test_settings_take_their_own_weights_or_the_common_ones(asked, tmp_path):
    weights = ("common", "without_fine=less", "stage_3=three", "kernel=best", "k_8=k")
    assert run(tmp_path, "--tables", 1, 2, 3, weights=weights) == 0
    paths = {name: str(setting.weights) for name, setting in asked[1:]}
    assert {name: path for name, path in paths.items() if path != "common"} == {
        **{"neither": "less", "kmn": "less", "kernel": "best"},
        **{"stage_3": "three", "k_8": "k"},
    }
    rows = _rows(tmp_path / "table1.csv") + _rows(tmp_path / "table3.csv")
    assert {row["setting"]: row["weights"] for row in rows} == {
        **{"neither": "own", "kmn": "own", "kernel": "own", "stage_3": "own"},
        **{"fine": "common", "kmn_fine": "common", "published": "common"},
        **{"stage_2": "cut"},
    }
    notes = json.loads((tmp_path / "table3.json").read_text())
    assert notes["weights"]["stage_3"] == "of three"
    assert notes["weights"]["stage_2"] == "of common"


def test_without_a_file_the_weights_that_ship_are_taken(asked, tmp_path):
    assert tables.main(["--root", "davis", "--out", str(tmp_path), "--tables=6"]) == 0
    assert asked[1][1].weights is None


def test_videos_are_those_of_davis_or_generated(asked, tmp_path):
    davis = ("--root", "davis", "--dataset", "davis2016")
    assert run(tmp_path, "--size", 240, videos=davis) == 0
    assert asked[0] == (
        "hmmn",
        ("davis2016", Path("davis"), "val"),
        tmp_path / "davis2016_val",
        {"size": 240},
    )
    asked.clear()
    assert run(tmp_path, "--method", "hmmn-tiny", videos=("--generated", 3)) == 0
    folder = tmp_path / "generated_3"
    assert asked[0] == ("hmmn-tiny", (folder / "data", 3), folder, {"size": None})


def test_figures_of_the_paper_stand_beside_those_of_its_network_and_split(
    asked, tmp_path
):
    for words, expected in [
        ((), ["0.847", "0.849"]),
        (("--method", "hmmn-tiny"), ["", ""]),
        (("--dataset", "davis2016"), ["", ""]),
        (("--split", "train"), ["", ""]),
    ]:
        assert run(tmp_path, "--tables", 6, *words) == 0
        rows = _rows(tmp_path / "table6.csv")
        assert [row["paper_j_and_f"] for row in rows] == expected


def test_weights_of_no_setting_are_refused(asked, tmp_path, capsys):
    assert run(tmp_path, weights=("a", "k_9=b")) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert err.startswith("tables: error: --weights k_9=b: there is no setting 'k_9'")
    assert err.endswith(", fine_kept, without_fine\n")
    assert asked == []


def test_numbers_below_one_are_refused(asked, tmp_path, capsys):
    assert run(tmp_path, videos=("--generated", 0)) == 2
    assert run(tmp_path, "--size", 0) == 2
    assert re.findall(r"error: (--\w+ 0)", capsys.readouterr().err) == [
        *("--generated 0", "--size 0")
    ]


# With weights of the networks, in which another one segments


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Weights, and where a table of two settings was made with them."""
    out = tmp_path_factory.mktemp("tables")
    vos_jax.save_weights(out / "narrow.safetensors", "hmmn", *narrow())
    with pytest.MonkeyPatch.context() as patch:
        _in_small(patch)
        assert generated(out) == 0
    return out


def _in_small(patch):
    table = tables.Table("stages", ("fine_stages",), ("stage_2", "published"))
    patch.setattr(tables, "TABLES", {3: table})
    patch.setattr(demo, "_SIZE", (32, 48))
    patch.setattr(demo, "_FRAMES", 6)
    patch.setattr(ablation, "load_model", load_toy)


def generated(out):
    weights = (out / "narrow.safetensors",)
    return run(out, "--tables", 3, videos=("--generated", 1), weights=weights)


def test_one_weights_file_serves_smaller_networks_too(made):
    rows = _rows(made / "table3.csv")
    assert [(row["fine_stages"], row["weights"]) for row in rows] == [
        ("2", "cut"),
        ("3+2", "common"),
    ]
    for row in rows:
        both, j, f = (float(row[name]) for name in ("j_and_f", "j", "f"))
        assert 0 <= j <= 1 and 0 <= f <= 1
        assert both == pytest.approx((j + f) / 2)
        assert float(row["frames_per_s"]) > 0
    for name, stages in (("stage_2", "(2,)"), ("published", "(3, 2)")):
        masks = made / "generated_1" / name / "masks"
        assert len(list(masks.glob("clip0/*.png"))) == 6
        config = json.loads((masks / "run.json").read_text())["method"]
        assert f"fine_stages={stages}" in config and "k=32" in config


def test_what_is_done_is_not_done_again(made, monkeypatch):
    _in_small(monkeypatch)
    before = (made / "table3.csv").read_bytes()
    (made / "table3.csv").unlink()
    monkeypatch.setattr(evaluate, "FileRun", None)
    assert generated(made) == 0
    assert (made / "table3.csv").read_bytes() == before
