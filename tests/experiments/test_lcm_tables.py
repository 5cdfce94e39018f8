"""The script of LCM's tables: their rows, whose weights they take, and what stays."""

import csv
import json
from pathlib import Path

import jax
import numpy as np
import pytest

import vos_jax
from tests.bench.toy import load_toy
from tests.experiments.scripts import script
from vos_jax.inference import dataset as evaluate
from vos_jax.inference import demo
from vos_jax.methods import METHODS
from vos_jax.methods.weights import variable_shapes
from vos_jax.nn.resnet import ResNetConfig
from vos_jax.reports import ablation
from vos_jax.reports.ablation import Measured

tables = script("lcm/tables")


def _table(out, number):
    with (out / f"table{number}.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def _cells(rows, *names):
    return [tuple(row[name] for name in names) for row in rows]


# What is compared


def test_settings_are_those_of_the_tables_and_of_the_methods():
    used = [row.setting for table in tables.TABLES.values() for row in table.rows]
    assert set(used) == set(tables.SETTINGS)
    for name, stm in tables._STM_OF.items():
        assert stm in METHODS
        configs = {vos_jax.create(name, **x).config for x in tables.MODULES.values()}
        assert len(configs) == 5


def test_figures_of_the_paper_are_means_of_each_other():
    rows = [row for table in tables.TABLES.values() for row in table.rows]
    full = [row for row in rows if None not in (row.paper_j_and_f, row.paper_j)]
    assert len(full) == 13
    for row in full:
        mean = (row.paper_j + row.paper_f) / 2
        # Three decimals, and table 4 begins with one that is cut off, not rounded.
        assert row.paper_j_and_f == pytest.approx(mean, abs=0.00051)


@pytest.mark.parametrize("number", [1, 2, 3, 4, 5])
def test_a_table_shows_what_its_rows_differ_in(number):
    table = tables.TABLES[number]
    shown = {
        (row.setting, *(getattr(row, name) for name in table.columns))
        for row in table.rows
    }
    assert len(shown) == len(table.rows)
    assert set(table.columns) <= set(tables._VARIED)


# Bookkeeping, without a network


@pytest.fixture
def asked(monkeypatch):
    """What is evaluated: by folder the split, the size, and settings."""
    asked = {}

    def work(kind):
        def evaluate(method, settings, split, out, *, size):
            asked[out.name] = (kind, method, split, size, settings)
            return find(settings, out)

        def find(settings, out):
            for number, name in enumerate(settings):
                figures = Measured(number / 100, 0.25, 0.75, 4.0)
                yield name, figures if kind == "measured" else out / name / "a.zip"

        return evaluate

    monkeypatch.setattr(tables, "measure_settings", work("measured"))
    monkeypatch.setattr(tables, "pack_settings", work("packed"))
    monkeypatch.setattr(tables, "fingerprint", lambda method, path: f"of {path}")
    monkeypatch.setattr(tables, "generated_split", lambda *where: where)
    return asked


DAVIS = ("--davis", "davis")
GENERATED = ("--generated", 2, "--method", "lcm-tiny")


def run(out, *words, videos=DAVIS, weights=("common",)):
    given = ("--weights", *weights) if weights else ()
    command = [*videos, "--out", out, *given, *words]
    return tables.main([str(word) for word in command])


def test_the_videos_that_are_given_decide_which_tables_are_made(asked, tmp_path):
    for videos, numbers in [
        (("--davis", "a"), {2, 3, 4, 5}),
        (("--test-dev", "b"), {2}),
        (("--youtube-vos", "c"), {1}),
        (("--davis", "a", "--youtube-vos", "c"), {1, 2, 3, 4, 5}),
        (GENERATED, {1, 2, 3, 4, 5}),
        ((*DAVIS, "--tables", 4, 2, 4), {2, 4}),
    ]:
        out = tmp_path / str(len(list(tmp_path.iterdir())))
        assert run(out, videos=videos) == 0
        assert {path.stem for path in out.iterdir()} == {f"table{n}" for n in numbers}


def test_videos_are_where_the_options_say(asked, tmp_path):
    videos = ("--davis", "a", "--test-dev", "b", "--youtube-vos", "c")
    assert run(tmp_path, videos=videos) == 0
    found = {name: (kind, *rest[1:3]) for name, (kind, *rest) in asked.items()}
    assert found == {
        "youtube-vos_valid": ("packed", ("youtube-vos", Path("c"), "valid"), 480),
        "davis2017_val": ("measured", ("davis2017", Path("a"), "val"), None),
        "davis2017_test-dev": ("packed", ("davis2017", Path("b"), "test-dev"), None),
        "davis2016_val": ("measured", ("davis2016", Path("a"), "val"), None),
    }
    asked.clear()
    assert run(tmp_path, "--size", 240, videos=videos) == 0
    assert {size for _, _, _, size, _ in asked.values()} == {240}
    asked.clear()
    assert run(tmp_path, videos=GENERATED) == 0
    data = (tmp_path / "generated_2" / "data", 2)
    assert asked["generated_2"][:4] == ("measured", "lcm-tiny", data, None)


def test_all_that_is_the_published_setting_is_evaluated_once(asked, tmp_path):
    assert run(tmp_path, "--tables", 2, 4, 5) == 0
    settings = asked["davis2017_val"][-1]
    assert list(settings) == ["published", "grm_orm", "grm_pgm", "grm", "pgm_orm"]
    rows = [_table(tmp_path, 4)[0], _table(tmp_path, 5)[0], _table(tmp_path, 2)[2]]
    assert _cells(rows, "setting", "weights", "j_and_f", "seconds_per_frame") == [
        ("grm_pgm_orm", "common", "0.0", "0.25"),
        ("all", "common", "0.0", "0.25"),
        ("published", "common", "0.0", "0.25"),
    ]


def test_a_row_takes_its_own_weights_or_the_common_ones(asked, tmp_path):
    weights = ("common", "grm=g", "all=three", "without_sequence=two", "stm=s")
    assert run(tmp_path, "--tables", 3, 4, 5, weights=weights) == 0
    settings = asked["davis2017_val"][-1]
    assert {name: str(x.weights) for name, x in settings.items()} == {
        **{"published": "common", "grm_orm": "common", "grm_pgm": "common"},
        **{"grm": "g", "pgm_orm": "common", "all": "three", "without_sequence": "two"},
    }
    rows = _table(tmp_path, 4) + _table(tmp_path, 5)
    assert dict(_cells(rows, "setting", "weights")) == {
        **{"grm_pgm_orm": "common", "grm_orm": "cut", "grm_pgm": "cut", "grm": "own"},
        **{"pgm_orm": "cut", "all": "own", "without_sequence": "own"},
        **{"without_main": ""},
    }
    notes = json.loads((tmp_path / "table5.json").read_text())
    assert notes["weights"] == {"all": "of three", "without_sequence": "of two"}
    assert notes["sizes"] == {"davis2017_val": None}


def test_parts_are_left_out_and_all_else_is_as_published(asked, tmp_path):
    assert run(tmp_path, "--tables", 4) == 0
    found = asked["davis2017_val"][-1]
    changes = {name: tuple(x.changes.values()) for name, x in found.items()}
    assert changes == {
        "published": (True, True, True),
        "grm_orm": (True, False, True),
        "grm_pgm": (True, True, False),
        "grm": (True, False, False),
        "pgm_orm": (False, True, True),
    }
    assert set(found["grm"].changes) == {"use_grm", "use_pgm", "use_orm"}
    rows = _table(tmp_path, 4)
    assert _cells(rows, "grm", "pgm", "orm") == [
        *(("x", "x", "x"), ("x", "", "x"), ("x", "x", "")),
        *(("x", "", ""), ("", "x", "x")),
    ]


def test_stm_is_run_as_itself(asked, tmp_path):
    assert run(tmp_path, "--tables", 3, weights=("common", "stm=s")) == 0
    stm = asked["davis2016_val"][-1]["stm"]
    assert stm == tables.Setting({}, Path("s"), "stm")
    assert run(tmp_path, videos=GENERATED, weights=("common", "stm=s")) == 0
    assert asked["generated_2"][-1]["stm"].method == "stm-tiny"


def test_without_weights_or_figures_a_row_is_what_the_paper_says(
    asked, tmp_path, capsys
):
    assert run(tmp_path, "--tables", 2) == 0
    rows = _table(tmp_path, 2)
    assert _cells(rows, "setting", "videos", "j_and_f", "paper_j_and_f") == [
        ("davis_only", "davis2017_val", "", "0.752"),
        ("stm_davis_only", "davis2017_val", "", "0.716"),
        ("published", "davis2017_val", "0.0", "0.835"),
        ("stm", "davis2017_val", "", "0.818"),
        ("published", "davis2017_test-dev", "", "0.781"),
        ("stm", "davis2017_test-dev", "", "0.722"),
    ]
    assert capsys.readouterr().err == (
        "not evaluated without weights of their own, NAME=FILE:"
        " davis_only, stm, stm_davis_only\n"
    )


def test_the_paper_says_nothing_of_other_networks_and_videos(asked, tmp_path):
    for videos in (GENERATED, ("--generated", 2), (*DAVIS, "--method", "lcm-tiny")):
        assert run(tmp_path, videos=videos, weights=("a", "without_main=b")) == 0
        rows = _table(tmp_path, 3) + _table(tmp_path, 5)
        assert _cells(rows, "setting", "paper_j_and_f", "paper_j") == [
            *(("published", "", ""), ("all", "", ""), ("without_main", "", ""))
        ]


def test_what_a_server_scores_is_told_and_has_no_figures(asked, tmp_path, capsys):
    weights = ("common", "stm=s")
    assert run(tmp_path, videos=("--youtube-vos", "c"), weights=weights) == 0
    rows = _table(tmp_path, 1)
    columns = ("setting", "categories", "weights", "j", "paper_j_and_f", "paper_f")
    assert _cells(rows, *columns)[:4] == [
        ("youtube_vos", "all", "common", "", "0.82", ""),
        ("youtube_vos", "seen", "common", "", "", "0.867"),
        ("youtube_vos", "unseen", "common", "", "", "0.834"),
        ("stm", "all", "own", "", "0.794", ""),
    ]
    folder = tmp_path / "youtube-vos_valid"
    assert capsys.readouterr().err.splitlines() == [
        f"archive for the scoring server: {folder / name / 'a.zip'}"
        for name in ("published", "stm")
    ]


def test_a_speed_that_cannot_be_told_stays_empty():
    row = tables._filled(tables.Row("all", "some"), Measured(0.5, 0.5, 0.5, None))
    assert (row.j, row.seconds_per_frame) == (0.5, None)


@pytest.mark.parametrize(
    ("videos", "message"),
    [
        ((), "no videos; give their folder by --davis, --test-dev or --youtube-vos,"),
        ((*DAVIS, "--tables", 4, 1), "--tables 1: its videos are missing; give their "),
        (("--test-dev", "b", "--tables", 2, 3), "--tables 3: its videos are missing;"),
        ((*GENERATED, *DAVIS), "--generated 2: these clips stand for all videos; le"),
        (("--generated", 0), "--generated 0: use at least 1"),
        ((*DAVIS, "--size", 0), "--size 0: use at least 1"),
        (
            (*DAVIS, "--weights", "grm_pmg=b"),
            "--weights grm_pmg=b: there is no setting",
        ),
    ],
)
def test_what_cannot_be_done_is_refused_in_one_line(
    asked, tmp_path, capsys, videos, message
):
    assert run(tmp_path, weights=(), videos=videos) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert err.startswith(f"tables: error: {message}")
    assert asked == {}


# With weights of the networks, in which another one segments


NARROW = {
    "backbone": ResNetConfig(depth=18, width=4),
    "key_dim": 8,
    "value_dim": 16,
    "decoder_dim": 8,
}


def _save(path, name, **options):
    """Positive weights, as variances are, which take no compilation."""
    method = vos_jax.create(name, **NARROW, **options)
    draw = np.random.default_rng(0).uniform
    shapes = variable_shapes(method)
    variables = jax.tree.map(lambda x: draw(0, 0.02, x.shape).astype(x.dtype), shapes)
    vos_jax.save_weights(path, name, method, variables)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Weights, and where a table of a smaller network and STM was made with them."""
    out = tmp_path_factory.mktemp("tables")
    _save(out / "lcm.safetensors", "lcm", local_dim=8)
    _save(out / "stm.safetensors", "stm")
    with pytest.MonkeyPatch.context() as patch:
        _in_small(patch)
        assert generated(out) == 0
    return out


def _in_small(patch):
    names = ("pgm_orm", "stm")
    rows = tuple(tables._row(name, "davis2017_val") for name in names)
    table = tables.TABLES[4]._replace(rows=rows)
    patch.setattr(tables, "TABLES", {4: table})
    patch.setattr(demo, "_SIZE", (32, 48))
    patch.setattr(demo, "_FRAMES", 6)
    patch.setattr(ablation, "load_model", load_toy)


def generated(out):
    weights = (out / "lcm.safetensors", f"stm={out / 'stm.safetensors'}")
    return run(out, videos=("--generated", 1), weights=weights)


def test_settings_and_stm_are_segmented_and_scored(made):
    rows = _table(made, 4)
    assert _cells(rows, "setting", "weights") == [("pgm_orm", "cut"), ("stm", "own")]
    for row in rows:
        both, j, f = (float(row[name]) for name in ("j_and_f", "j", "f"))
        assert 0 <= j <= 1 and 0 <= f <= 1
        assert both == pytest.approx((j + f) / 2)
        assert float(row["seconds_per_frame"]) > 0
    for name, config in (("pgm_orm", "use_grm=False, use_pgm=True"), ("stm", "STM")):
        masks = made / "generated_1" / name / "masks"
        assert len(list(masks.glob("clip0/*.png"))) == 6
        assert config in json.loads((masks / "run.json").read_text())["method"]


def test_what_is_done_is_not_done_again(made, monkeypatch):
    _in_small(monkeypatch)
    before = (made / "table4.csv").read_bytes()
    (made / "table4.csv").unlink()
    monkeypatch.setattr(evaluate, "FileRun", None)
    assert generated(made) == 0
    assert (made / "table4.csv").read_bytes() == before


def test_weights_of_lcm_are_not_those_of_stm(made, tmp_path, capsys, monkeypatch):
    _in_small(monkeypatch)
    lcm = made / "lcm.safetensors"
    weights = (lcm, f"stm={lcm}")
    assert run(tmp_path, videos=("--generated", 1), weights=weights) == 2
    err = capsys.readouterr().err
    assert err.startswith(f"tables: error: {lcm}: weights of 'lcm', not of 'stm';")
    assert err.count("\n") == 1
