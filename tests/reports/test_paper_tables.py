"""A paper's tables: what is asked for, what is shown, and why something is not."""

import csv
import dataclasses
import json
from pathlib import Path

import pytest

from tests.clips import write_davis
from vos_jax.bench.speed import SpeedRow
from vos_jax.cli.paper_tables import main_of
from vos_jax.errors import InputError, InputWarning
from vos_jax.reports import paper_plan, paper_tables
from vos_jax.reports.ablation import Measured, Packed, Split
from vos_jax.reports.paper import PLACES, PUBLISHED, Paper, Recipe, rival, rival_weights
from vos_jax.reports.paper_plan import Given, places_of
from vos_jax.reports.printed import read_printed
from vos_jax.reports.stage_times import StageTimes

PRINTED = {
    "paper": "A paper",
    "defaults": {"every": 5},
    "tables": [
        {
            "id": "T1",
            "title": "beside STM",
            "dataset": "davis2017",
            "split": "val",
            "other_dataset": ["youtube_vos_2018/val"],
            "conditions": "480p",
            "columns": ["J&F", "G_youtube_vos_2018"],
            "rows": [
                {
                    "name": "stm_yv",
                    "own": False,
                    "settings": {"yv": True},
                    "values": {"J&F": 0.5, "G_youtube_vos_2018": None},
                },
                {
                    "name": "ours",
                    "own": True,
                    "settings": {},
                    "values": {"J&F": 0.5, "G_youtube_vos_2018": 0.7},
                },
            ],
        },
        {
            "id": "T2",
            "title": "how often",
            "dataset": "davis2017",
            "split": "val",
            "other_dataset": [],
            "conditions": "one machine",
            "columns": ["J", "fps"],
            "rows": [
                {
                    "name": f"every{n}",
                    "own": True,
                    "settings": {"every": n},
                    "values": {"J": 0.25, "fps": "<8"},
                }
                for n in (3, 5, 7)
            ],
        },
        {
            "id": "T3",
            "title": "modules",
            "dataset": "davis2017",
            "split": "val",
            "other_dataset": [],
            "conditions": "one machine",
            "columns": ["time_s"],
            "rows": [
                {
                    "name": "reading",
                    "own": True,
                    "settings": {"module": "reading"},
                    "values": {"time_s": 0.1},
                }
            ],
        },
    ],
}

SPEEDS = (
    SpeedRow(1, 1, 5, 0.25, 4.0, "float32", "a machine"),
    SpeedRow(2, 1, 5, 0.75, 4 / 3, "float32", "a machine"),
    SpeedRow(None, 2, 10, 0.5, 2.0, "float32", "a machine"),
)


def recipe(row, place):
    if not row.own:
        return rival(row, place)
    if "module" in row.settings:
        return Recipe("plain", stage="read")
    every = row.settings["every"]
    if every == 7:
        return "seven is not built"
    changes = {} if every == 5 else {"mem_every": every}
    if place.startswith("youtube"):
        return Recipe("youtube", changes)
    name = "plain" if every == 5 else f"every{every}"
    return Recipe(name, changes, instead="plain" if changes else None)


@pytest.fixture
def paper(tmp_path):
    path = tmp_path / "printed.json"
    path.write_text(json.dumps(PRINTED))
    return Paper(
        printed=read_printed(path),
        method="lcm",
        recipe=recipe,
        weights={
            "plain": ("train plain",),
            "every3": ("train often",),
            "youtube": ("train youtube",),
            **rival_weights("stm_yv"),
        },
        usual="plain",
        alike=("youtube",),
    )


@pytest.fixture
def asked(monkeypatch):
    """What is evaluated: by folder the method, size and settings."""
    asked = {}

    def work(is_public):
        def evaluate(method, settings, split, out, *, size, timed):
            asked[out.name] = (method, size, timed, dict(settings))
            for name in settings:
                figures = Measured(0.625, 0.5, 0.75, None, speeds=SPEEDS)
                yield name, figures if is_public else Packed(out / name, SPEEDS)

        return evaluate

    def stages(method, setting, split, file, size):
        return StageTimes({"read": 0.125}, "float32", "a machine")

    monkeypatch.setattr(paper_tables, "measure_settings", work(True))
    monkeypatch.setattr(paper_tables, "pack_settings", work(False))
    monkeypatch.setattr(paper_tables, "time_stages", stages)
    monkeypatch.setattr(paper_tables, "fingerprint", lambda method, path: f"of {path}")
    monkeypatch.setattr(paper_plan, "read_dataset", lambda *where: ())
    generated = lambda folder, clips: Split("davis2017", folder, "demo")  # noqa: E731
    monkeypatch.setattr(paper_plan, "generated_split", generated)
    return asked


def run(paper, out, *words):
    return main_of(paper, "Tables.", ["--out", str(out), *map(str, words)])


def cells(out, table):
    with (out / f"{table}.csv").open(newline="") as file:
        return {(row["row"], row["measure"]): row for row in csv.DictReader(file)}


DAVIS = ("--davis", "DAVIS")


def test_weights_that_are_there_decide_which_rows_are_run(paper, asked, tmp_path):
    assert run(paper, tmp_path, *DAVIS, "--tables", "T1", "--weights", "a.st") == 0
    ((folder, (method, _, timed, settings)),) = asked.items()
    assert (folder, method, timed) == ("davis2017_val", "lcm", "all")
    assert {name: x.weights for name, x in settings.items()} == {"plain": Path("a.st")}
    found = cells(tmp_path, "T1")
    ours, theirs = found["ours", "J&F"], found["stm_yv", "J&F"]
    assert (ours["found"], ours["difference"]) == ("0.625", "0.125")
    assert ours["weights"] == "plain"
    assert (theirs["found"], theirs["printed"]) == ("", "0.5")
    assert theirs["missing"] == "needs --weights stm_yv=FILE"
    assert found["ours", "G"]["missing"] == "needs --youtube-vos DIR"


def test_settings_that_weights_were_not_trained_with_are_marked(paper, asked, tmp_path):
    assert run(paper, tmp_path, *DAVIS, "--tables", "T2", "--weights", "a.st") == 0
    settings = asked["davis2017_val"][3]
    assert {name: x.changes for name, x in settings.items()} == {
        "plain_mem_every=3": {**PUBLISHED["lcm"], "mem_every": 3},
        "plain": PUBLISHED["lcm"],
    }
    found = cells(tmp_path, "T2")
    assert found["every3", "J"]["weights"] == "plain, not trained so"
    assert found["every5", "J"]["weights"] == "plain"
    assert found["every7", "J"]["missing"] == "seven is not built"
    words = ("--weights", "a.st", "every3=b.st")
    assert run(paper, tmp_path, *DAVIS, "--tables", "T2", *words) == 0
    assert cells(tmp_path, "T2")["every3", "J"]["weights"] == "every3"


def test_times_are_of_each_number_of_objects_and_say_where(paper, asked, tmp_path):
    assert run(paper, tmp_path, *DAVIS, "--weights", "a.st", "--speed", "one") == 0
    assert asked["davis2017_val"][2] == "one"
    found = cells(tmp_path, "T2")
    fps = found["every5", "fps"]
    assert (fps["found"], fps["printed"], fps["difference"]) == ("2.0", "<8", "")
    assert (fps["type"], fps["device"]) == ("float32", "a machine")
    assert found["every5", "fps, 1 object"]["found"] == "4.0"
    # Where the paper prints none there are seconds, too.
    assert cells(tmp_path, "T1")["ours", "time_s"]["found"] == "0.5"
    assert cells(tmp_path, "T3")["reading", "time_s"]["found"] == "0.125"


def test_a_server_is_asked_by_an_archive_and_answers_by_a_file(
    paper, asked, tmp_path, capsys
):
    words = ("--youtube-vos", "YT", "--tables", "T1", "--weights", "youtube=y.st")
    assert run(paper, tmp_path, *words) == 0
    assert asked["youtube_vos_2018_val"][1] == 480
    err = capsys.readouterr().err
    assert "youtube_vos_2018/val, youtube: archive for the scoring server" in err
    missing = cells(tmp_path, "T1")["ours", "G"]["missing"]
    assert "enter its scores by --server-results under" in missing
    assert "'youtube_vos_2018/val', 'youtube'" in missing
    scores = tmp_path / "scores.json"
    scores.write_text('{"youtube_vos_2018/val": {"youtube": {"G": 0.8}}}')
    assert run(paper, tmp_path, *words, "--server-results", scores) == 0
    ours = cells(tmp_path, "T1")["ours", "G"]
    assert ours["found"] == "0.8" and float(ours["difference"]) == pytest.approx(0.1)


def test_generated_clips_stand_for_all_videos_and_one_network_for_all_data(
    paper, asked, tmp_path
):
    assert run(paper, tmp_path, "--generated", 2, "--size", 32) == 0
    ((folder, (method, size, _, settings)),) = asked.items()
    assert (folder, method, size) == ("generated_2", "lcm-tiny", 32)
    assert list(settings) == ["stm_stm-tiny", "lcm-tiny", "lcm-tiny_mem_every=3"]
    assert settings["stm_stm-tiny"].method == "stm-tiny"
    found = cells(tmp_path, "T1")
    assert {measure for _, measure in found} >= {"J&F", "J", "F", "time_s"}
    assert all(row["printed"] == "" for row in found.values())
    assert cells(tmp_path, "T2")["every3", "J"]["weights"] == "lcm-tiny, not trained so"


def test_videos_of_one_place_may_stand_for_all(paper, asked, tmp_path):
    place = "davis2016/val"
    roots = {"--davis": tmp_path}
    given = Given(out=tmp_path, small=True, stand_in=place, roots=roots, timed="none")
    paper_tables.make_tables(paper, ["T1", "T2"], given)
    ((folder, (method, _, _, settings)),) = asked.items()
    assert (folder, method) == ("davis2016_val", "lcm-tiny")
    assert list(settings) == ["stm_stm-tiny", "lcm-tiny", "lcm-tiny_mem_every=3"]
    found = cells(tmp_path, "T1")
    # Printed numbers are of other videos.
    assert {row["videos"] for row in found.values()} == {place}
    assert all(row["printed"] == "" for row in found.values())
    assert {measure for _, measure in found} >= {"J&F", "J", "F"}


def test_a_rival_without_a_small_network_is_named(paper, asked, tmp_path):
    weights = {**paper.weights, **rival_weights("stcn_yv")}
    other = dataclasses.replace(
        paper,
        recipe=lambda row, place: (
            Recipe("stcn_yv", method="stcn")
            if row.name == "stm_yv"
            else recipe(row, place)
        ),
        weights=weights,
    )
    assert run(other, tmp_path, "--generated", 1, "--tables", "T1") == 0
    found = cells(tmp_path, "T1")["stm_yv", "J&F"]
    assert found["missing"] == "STCN has no small network"
    words = ("--generated", 1, "--tables", "T1", "--weights", "stcn_yv=s.st")
    assert run(other, tmp_path, *words) == 0
    assert asked["generated_1"][3]["stcn_stcn_yv"].method == "stcn"


def test_a_table_for_people_has_both_numbers_and_says_what_is_missing(
    paper, asked, tmp_path, capsys
):
    assert run(paper, tmp_path, *DAVIS, "--tables", "T1", "--weights", "a.st") == 0
    text = (tmp_path / "T1.md").read_text()
    assert text in capsys.readouterr().out
    head, rule, *lines = text.splitlines()[2:6]
    columns = [word.strip() for word in head.strip("|").split("|")]
    assert columns[:4] == ["row", "settings", "weights", "J&F, davis2017/val"]
    assert len({len(line) for line in (head, rule, *lines)}) == 1
    assert "0.625 (0.500, +0.125)" in text
    assert "\nstm_yv: needs --weights stm_yv=FILE.\n" in text
    assert text.endswith("Times: a machine, float32.\n")


def test_the_list_has_every_row_and_what_its_weights_are(paper, tmp_path, capsys):
    assert run(paper, tmp_path, "--list") == 0
    shown = capsys.readouterr().out
    for table in PRINTED["tables"]:
        assert f"{table['id']}: {table['title']}" in shown
        for row in table["rows"]:
            assert f"    {row['name']}" in shown
    assert "not run: seven is not built" in shown
    assert "every3, or plain, not trained so, mem_every=3" in shown
    assert "every3:\n        train often\n" in shown
    assert [path.name for path in tmp_path.iterdir()] == ["printed.json"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "no videos; give a folder by --davis or --davis-test-dev"),
        ((*DAVIS, "--generated", 2), "--generated 2: these clips stand for all"),
        ((*DAVIS, "--proposals", "p.json"), "lcm takes nothing but frames"),
        ((*DAVIS, "--weights", "other=a"), "--weights other=a: there is no 'other'"),
        ((*DAVIS, "--size", 8), "--size 8: use at least 16"),
        ((*DAVIS, "--server-results", "no.json"), "no.json: no file like"),
        ((*DAVIS,), "no row of T1, T2, T3 can be run: needs --weights stm_yv=FILE"),
    ],
)
def test_what_cannot_be_is_told_in_one_line(
    words, message, paper, asked, tmp_path, capsys
):
    assert run(paper, tmp_path, *words) == 2
    told = capsys.readouterr().err.splitlines()
    assert len(told) == 1 and message in told[0]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"davis": {"a": {"J": 0.5}}}', "'davis' is no place; use one of: davis2016"),
        ('{"davis2017/test-dev": {"a": {"J": 78.1}}}', "J 78.1: use fractions of 1"),
        ('{"davis2017/test-dev": {"a": {"J": "x"}}}', "J 'x' is no number"),
        ('{"davis2017/test-dev": 3}', "no file like"),
    ],
)
def test_scores_of_a_server_that_are_none_are_refused(
    text, message, paper, asked, tmp_path, capsys
):
    (tmp_path / "s.json").write_text(text)
    words = (*DAVIS, "--weights", "a.st", "--server-results", tmp_path / "s.json")
    assert run(paper, tmp_path, *words) == 2
    assert message in capsys.readouterr().err


def test_a_part_that_a_folder_lacks_is_left_out_and_an_empty_folder_refused(tmp_path):
    root = write_davis(tmp_path / "davis", ["alpha"])
    given = Given(out=tmp_path, roots={"--davis": root})
    with pytest.warns(InputWarning, match="left out: davis2016/val: "):
        assert list(places_of(given, PLACES)) == ["davis2017/val"]
    assert list(places_of(given, ["davis2017/val"])) == ["davis2017/val"]
    with pytest.raises(InputError, match="davis2016/val: "):
        places_of(Given(out=tmp_path, roots={"--davis": tmp_path}), PLACES)
