"""What modules are worth: which networks see which clips, and the arithmetic."""

import math
from pathlib import Path
from statistics import stdev

import pytest

from vos_jax.errors import InputError
from vos_jax.evaluation import read_dataset
from vos_jax.inference import demo
from vos_jax.reports import modules
from vos_jax.reports.ablation import Measured, Split
from vos_jax.reports.modules import Module, measure_modules

MODULES = {
    "guide": Module("guides", "hmmn-tiny", {"kernel_guided": False}, "thin", 2),
    "part": Module("a part", "lcm-tiny", {"use_pgm": False}, "busy", 3, "train it"),
    "align": Module("aligns", "dmn-aoa-tiny", {"use_aoa": False}, "slow", 2),
}


@pytest.fixture
def asked(monkeypatch):
    """What is evaluated. The n-th set is worth n hundredths with a module."""
    monkeypatch.setattr(demo, "_SIZE", (32, 48))
    asked = []

    def measure(method, settings, split, folder, *, size):
        asked.append((method, settings, split, folder, size))
        for name in settings:
            gain = 0.0 if name != "whole" else len(asked) / 100
            yield name, Measured(0.5 + gain, 0.1, 0.9, None)

    monkeypatch.setattr(modules, "measure_settings", measure)
    monkeypatch.setattr(modules, "load_model", lambda *given, **changes: None)
    return asked


def run(names, tmp_path, **options):
    given = {"whole": {}, "without": {}, "sets": 2, "clips": 1, **options}
    chosen = {name: MODULES[name] for name in names}
    return list(measure_modules(chosen, tmp_path, **given))


@pytest.mark.slow
def test_both_networks_see_sets_of_clips_that_differ(asked, tmp_path):
    (row,) = run(["guide"], tmp_path, sets=3, clips=2)
    folders = [folder for *_, folder, _ in asked]
    assert len(set(folders)) == 3
    first = set()
    for method, settings, split, _, size in asked:
        assert method == "hmmn-tiny" and size is None
        with_it, without = settings.values()
        assert with_it.changes == {} and without.changes == {"kernel_guided": False}
        assert with_it.weights is without.weights is None
        sequences = read_dataset(*split)
        assert len(sequences) == 2
        assert all(len(sequence.frames) == 2 for sequence in sequences)
        first.add(sequences[0].frames[0].read_bytes())
    assert len(first) == 3
    assert row.weights == "same" and row.videos == "3 x 2 clips of thin, 2 frames"


def test_gain_and_spread_are_those_of_the_differences(asked, tmp_path):
    (row,) = run(["guide"], tmp_path, sets=3)
    assert math.isclose(row.whole, 0.52) and row.without == 0.5
    assert math.isclose(row.gain, 0.02) and math.isclose(row.least, 0.01)
    assert math.isclose(row.spread, stdev([0.01, 0.02, 0.03]))


def test_weights_say_what_the_network_without_has(asked, tmp_path):
    given = {"whole": {"lcm-tiny": Path("all")}, "without": {"part": Path("less")}}
    (row,) = run(["part"], tmp_path, sets=1, **given)
    assert row.weights == "trained" and row.spread is row.least is None
    _, settings, *_ = asked[0]
    assert [x.weights for x in settings.values()] == [Path("all"), Path("less")]
    (row,) = run(["part"], tmp_path, sets=1, whole=given["whole"])
    assert row.weights == "cut"
    _, settings, *_ = asked[1]
    assert [x.weights for x in settings.values()] == [Path("all"), Path("all")]


def test_real_videos_have_a_row_of_their_own(asked, tmp_path):
    real = Split("davis2016", Path("DAVIS"), "val")
    _, row = run(["guide"], tmp_path, real=real, size=240)
    *_, split, folder, size = asked[-1]
    assert split == real and size == 240 and "240" in folder.name
    assert row.videos == "davis2016 val at 240" and row.spread is None


def test_proposals_are_made_of_the_frames(asked, tmp_path):
    run(["align"], tmp_path, sets=1)
    _, settings, *_ = asked[0]
    assert {str(x.inputs) for x in settings.values()} == {"regions"}


def test_weights_that_no_module_can_be_cut_from_are_told_before_any_work(tmp_path):
    with pytest.raises(InputError, match=r"align: .*use_aoa=True.*trained without it"):
        run(["guide", "align"], tmp_path)
    assert not any(tmp_path.iterdir())
