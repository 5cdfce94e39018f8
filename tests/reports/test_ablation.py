"""Tables of settings: what is segmented, scored and kept, without a network."""

import json
import shutil
import zipfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from tests.clips import write_davis
from vos_jax import evaluation
from vos_jax.bench.speed import VideoSpeed
from vos_jax.errors import InputError
from vos_jax.inference import demo
from vos_jax.inference.dataset import Progressed
from vos_jax.media import write_labels
from vos_jax.reports import ablation as settings_table
from vos_jax.reports.ablation import (
    Measured,
    Setting,
    SettingFolder,
    Split,
    generated_split,
    measure_settings,
    pack_settings,
    tables_as_known,
)

SPEEDS = {"alpha": (6, 2.0), "beta": (6, 4.0)}


@pytest.fixture(scope="module")
def split(tmp_path_factory):
    root = write_davis(tmp_path_factory.mktemp("davis"), ["alpha", "beta"])
    return Split("davis2017", root, "val")


@pytest.fixture
def work(monkeypatch):
    """What was done: settings that were loaded, sequences that were segmented.

    Masks are all 1 for settings that are `good`, and empty else.
    """
    done = []

    def load(method, weights, **changes):
        if changes.get("unfit"):
            raise InputError(f"{weights}: does not fit")
        return SimpleNamespace(inputs=None, config=None, **changes), {}

    def segment(method, variables, sequences, out, *, weights_id, size, tell, **where):
        for sequence in sequences:
            folder = out / sequence.name
            if not folder.exists():
                done.append((out.parent.name, sequence.name, weights_id, size))
                folder.mkdir(parents=True)
                for stem in sequence.outputs:
                    labels = np.full((32, 48), method.good, np.uint8)
                    write_labels(folder / f"{stem}.png", labels)
                tell(Progressed(sequence.name, *SPEEDS[sequence.name]))

    monkeypatch.setattr(settings_table, "load_model", load)
    monkeypatch.setattr(settings_table, "segment_dataset", segment)
    monkeypatch.setattr(settings_table, "fingerprint", lambda method, path: str(path))
    return done


SETTINGS = {
    "good": Setting({"good": True}, Path("a")),
    "bad": Setting({"good": False}, Path("b")),
}


def test_every_setting_is_segmented_and_scored(work, split, tmp_path):
    found = dict(measure_settings("stm", SETTINGS, split, tmp_path, size=16))
    assert list(found) == ["good", "bad"]
    report = evaluation.score(*split, tmp_path / "good" / "masks").summary()
    assert found["good"][:3] == tuple(report[f"{x}-Mean"] for x in ("J&F", "J", "F"))
    assert found["good"].j > found["bad"].j == 0
    assert work == [
        (name, sequence, weights, 16)
        for name, weights in (("good", "a"), ("bad", "b"))
        for sequence in ("alpha", "beta")
    ]


def test_speed_is_that_of_all_frames(work, split, tmp_path):
    found = dict(measure_settings("stm", SETTINGS, split, tmp_path))
    assert found["good"].frames_per_s == pytest.approx(12 / (6 / 2 + 6 / 4))


def test_what_is_done_is_only_read(work, split, tmp_path, monkeypatch):
    before = dict(measure_settings("stm", SETTINGS, split, tmp_path))
    work.clear()
    monkeypatch.setattr(settings_table.evaluation, "score", None)
    assert dict(measure_settings("stm", SETTINGS, split, tmp_path)) == before
    assert work == []


def test_a_setting_is_known_before_the_next_one_begins(work, split, tmp_path, capsys):
    name, figures = next(measure_settings("stm", SETTINGS, split, tmp_path))
    assert (name, type(figures)) == ("good", Measured)
    assert {setting for setting, *_ in work} == {"good"}
    assert capsys.readouterr().err == "good (1/2)\n"


def test_programs_of_a_setting_are_dropped_before_the_next(
    work, split, tmp_path, monkeypatch
):
    dropped = []
    monkeypatch.setattr(
        settings_table.jax, "clear_caches", lambda: dropped.append(len(work))
    )
    dict(measure_settings("stm", SETTINGS, split, tmp_path))
    assert dropped == [2, 4]


def test_scores_of_masks_that_are_gone_are_forgotten(work, split, tmp_path):
    before = dict(measure_settings("stm", SETTINGS, split, tmp_path))["good"]
    file = tmp_path / "good" / "figures.json"
    figures = json.loads(file.read_text())
    figures["scores"]["J-Mean"] = 2.0
    file.write_text(json.dumps(figures))
    assert SettingFolder(tmp_path / "good").measure(split).j == 2
    shutil.rmtree(tmp_path / "good" / "masks" / "beta")
    assert dict(measure_settings("stm", SETTINGS, split, tmp_path))["good"] == before


def test_masks_are_noted_as_those_of_their_split(work, split, tmp_path, monkeypatch):
    noted, segment = [], settings_table.segment_dataset

    def noting(*args, split, root, **options):
        noted.append((split, root))
        segment(*args, **options)

    monkeypatch.setattr(settings_table, "segment_dataset", noting)
    list(measure_settings("stm", SETTINGS, split, tmp_path))
    assert noted == [(split.name, split.root)] * 2


def test_a_setting_that_does_not_fit_is_told_before_any_runs(work, split, tmp_path):
    settings = SETTINGS | {"last": Setting({"unfit": True}, Path("c"))}
    with pytest.raises(InputError, match="c: does not fit"):
        measure_settings("stm", settings, split, tmp_path)
    assert work == []


def test_a_setting_may_be_of_another_method(work, split, tmp_path, monkeypatch):
    monkeypatch.setattr(settings_table, "fingerprint", lambda method, path: method)
    settings = {"good": SETTINGS["good"], "other": Setting({"good": 1}, None, "lcm")}
    list(measure_settings("stm", settings, split, tmp_path))
    assert {(name, method) for name, _, method, _ in work} == {
        *(("good", "stm"), ("other", "lcm"))
    }


def test_what_a_server_scores_is_packed(work, split, tmp_path, monkeypatch):
    monkeypatch.setattr(settings_table.evaluation, "score", None)
    found = dict(pack_settings("stm", SETTINGS, split, tmp_path, size=16))
    for name in SETTINGS:
        assert found[name] == (tmp_path / name / "submission.zip", ())
        with zipfile.ZipFile(found[name].archive) as archive:
            assert len(archive.namelist()) == 2 * 6
            assert archive.namelist()[-1] == "beta/00005.png"
    assert {size for *_, size in work} == {16}
    work.clear()
    assert dict(pack_settings("stm", SETTINGS, split, tmp_path)) == found
    assert work == []


def test_a_speed_that_cannot_be_told_is_none(work, split, tmp_path, monkeypatch):
    monkeypatch.setitem(SPEEDS, "alpha", (1, float("nan")))
    monkeypatch.setitem(SPEEDS, "beta", (1, float("nan")))
    found = dict(measure_settings("stm", SETTINGS, split, tmp_path))
    assert found["good"].frames_per_s is None


@pytest.mark.parametrize("text", ["", "[]", '{"speeds": {}}', '{"speeds": 3}'])
def test_damaged_figures_are_named(tmp_path, text):
    (tmp_path / "figures.json").write_text(text)
    with pytest.raises(InputError, match=r"figures\.json: damaged; remove it"):
        SettingFolder(tmp_path)


def test_generated_clips_are_a_split(tmp_path, monkeypatch):
    monkeypatch.setattr(demo, "_SIZE", (32, 48))
    monkeypatch.setattr(demo, "_FRAMES", 3)
    split = generated_split(tmp_path / "data", 2)
    sequences = evaluation.read_dataset(*split)
    assert [(x.name, len(x.annotations)) for x in sequences] == [
        ("clip0", 3),
        ("clip1", 3),
    ]


def test_a_file_in_place_of_a_folder_of_clips_is_named(tmp_path):
    (tmp_path / "out").touch()
    with pytest.raises(InputError, match="out/data: cannot be made: Not a directory"):
        generated_split(tmp_path / "out" / "data", 2)


def test_a_table_is_told_as_soon_as_its_settings_are_known():
    done = []

    def find(names):
        for number, name in enumerate(names):
            done.append(name)
            yield name, number

    tables = {4: ["a", "c"], 1: ["b"], 2: ["a", "d"], 3: ["c", "b"]}
    told = [(n, len(done), x["a"]) for n, x in tables_as_known(tables, find("abc"))]
    assert told == [(1, 2, 0), (4, 3, 0), (3, 3, 0)]


def test_what_this_device_has_timed_is_not_timed_again(
    work, split, tmp_path, monkeypatch
):
    timed = []

    def times(method, variables, sequences, *, reserve, inputs, size):
        for sequence in sequences:
            timed.append((sequence.name, reserve, size))
            yield sequence.name, VideoSpeed(len(timed), 5, 0.5 * len(timed))

    monkeypatch.setattr(settings_table, "time_sequences", times)
    monkeypatch.setattr(settings_table, "config_text", lambda config: "float32")
    monkeypatch.setattr(
        settings_table,
        "speed_rows",
        lambda method, speeds: [x.seconds for x in speeds],
    )
    options = {"size": 16, "timed": "all"}
    settings = {"good": SETTINGS["good"]}
    found = dict(measure_settings("stm", settings, split, tmp_path, **options))
    assert found["good"].speeds == (0.5, 1.0)
    assert timed == [("alpha", 6, 16), ("beta", 6, 16)]
    again = dict(measure_settings("stm", settings, split, tmp_path, **options))
    assert again == found and len(timed) == 2
    monkeypatch.setattr(settings_table, "device", lambda: "another")
    other = dict(measure_settings("stm", settings, split, tmp_path, **options))
    assert other["good"].speeds == (1.5, 2.0)
    del options["timed"]
    untimed = dict(measure_settings("stm", settings, split, tmp_path, **options))
    assert untimed["good"].speeds == () and len(timed) == 4


def test_temporal_stability_is_added_where_it_is_asked_for(
    work, split, tmp_path, monkeypatch
):
    settings = {"good": SETTINGS["good"]}
    assert dict(measure_settings("stm", settings, split, tmp_path))["good"].t is None
    asked = []

    def score(*where, temporal):
        asked.append(temporal)
        means = {"J&F-Mean": 0.5, "J-Mean": 0.5, "F-Mean": 0.5, "T-Mean": 0.25}
        return SimpleNamespace(summary=lambda: means)

    monkeypatch.setattr(settings_table.evaluation, "score", score)
    settings = {"good": SETTINGS["good"]._replace(temporal=True)}
    for _ in range(2):
        found = dict(measure_settings("stm", settings, split, tmp_path))
        assert found["good"].t == 0.25
    assert asked == [True]
