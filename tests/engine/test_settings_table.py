"""Tables of settings: what is segmented, scored and kept, without a network."""

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from tests.engine.clips import write_davis
from vos_jax import evaluation
from vos_jax.engine import demo, settings_table
from vos_jax.engine.evaluate import Progressed
from vos_jax.engine.settings_table import (
    Measured,
    Setting,
    SettingFolder,
    Split,
    generated_split,
    measure_settings,
)
from vos_jax.errors import InputError
from vos_jax.media import write_labels

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
        return SimpleNamespace(**changes), {}

    def segment(method, variables, sequences, out, *, weights_id, size, tell):
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


def test_scores_of_masks_that_are_gone_are_forgotten(work, split, tmp_path):
    before = dict(measure_settings("stm", SETTINGS, split, tmp_path))["good"]
    file = tmp_path / "good" / "figures.json"
    figures = json.loads(file.read_text())
    figures["scores"]["J-Mean"] = 2.0
    file.write_text(json.dumps(figures))
    assert SettingFolder(tmp_path / "good").measured(split).j == 2
    shutil.rmtree(tmp_path / "good" / "masks" / "beta")
    assert dict(measure_settings("stm", SETTINGS, split, tmp_path))["good"] == before


def test_a_setting_that_does_not_fit_is_told_before_any_runs(work, split, tmp_path):
    settings = SETTINGS | {"last": Setting({"unfit": True}, Path("c"))}
    with pytest.raises(InputError, match="c: does not fit"):
        next(measure_settings("stm", settings, split, tmp_path))
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
