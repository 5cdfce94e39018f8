"""Results that are read back: whose figures are taken, and what is missing."""

import json
import shutil

import numpy as np
import pytest

from tests.clips import write_masks
from tests.reports.pages.conftest import NAMES, scored, write_results
from vos_jax.errors import InputError
from vos_jax.evaluation import score
from vos_jax.media import read_labels, write_labels
from vos_jax.reports.pages.results import names_of, read_results


def edited(folder, change):
    path = folder / "results-val.json"
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
    return folder


def test_scores_are_found_anew(results, davis, tmp_path):
    found = read_results(results[0], "near")
    expected = score("davis2017", davis, "val", tmp_path / "masks" / "near")
    assert found.report.summary() == expected.summary()
    assert found.taken.endswith("results-val.json has the same")
    assert list(found.sequences) == list(NAMES)
    assert found.unseen == ""


def test_scores_of_other_masks_are_not_shown(results, tmp_path):
    write_results(tmp_path / "masks" / "near", shift=4)
    written = json.loads((results[0] / "results-val.json").read_text())["global"]
    found = read_results(results[0], "near")
    assert found.report.summary()["J&F-Mean"] < written["J&F-Mean"] - 0.05
    assert f"has others (J&F-Mean {written['J&F-Mean']:.3f})" in found.taken


def test_results_of_an_earlier_version_are_taken_as_they_were_written(results, davis):
    before = read_results(results[0], "near").report
    edited(results[0], lambda content: content.pop("about"))
    found = read_results(results[0], "near")
    assert "not checked" in found.taken and "--root" in found.unseen
    assert (found.masks, found.sequences) == (None, {})
    assert found.report.summary() == before.summary()
    for one, two in zip(found.report.objects, before.objects, strict=True):
        np.testing.assert_array_equal(one.region, two.region)
        assert one.frames == two.frames


def test_what_has_moved_is_said_where_it_is(results, davis, tmp_path):
    davis.rename(tmp_path / "elsewhere")
    (tmp_path / "masks").rename(tmp_path / "kept")
    found = read_results(results[0], "near")
    assert "the data set is not where it was" in found.taken
    moved = {"root": tmp_path / "elsewhere", "masks": tmp_path / "kept" / "near"}
    again = read_results(results[0], "near", **moved)
    assert again.taken.endswith("has the same")
    with pytest.raises(InputError, match=r"--root .*gone: is no folder"):
        read_results(results[0], "near", root=tmp_path / "gone")


def test_masks_that_are_not_complete_are_no_reason_to_trust_them(results, tmp_path):
    (tmp_path / "masks" / "near" / "alpha" / "00002.png").unlink()
    found = read_results(results[0], "near")
    assert "not checked" in found.taken and "00002.png is missing" in found.taken
    assert found.masks is None


def test_what_is_named_must_be_what_can_be_scored(results, davis, tmp_path):
    """Else old scores would be shown of masks that nobody has looked at."""
    (tmp_path / "masks" / "near" / "alpha" / "00002.png").unlink()
    for options in ({"masks": tmp_path / "masks" / "near"}, {"root": davis}):
        with pytest.raises(InputError, match=r"00002\.png is missing"):
            read_results(results[0], "near", **options)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="empty"):
        read_results(results[1], "far", root=tmp_path / "empty")
    davis.rename(tmp_path / "gone")
    masks = tmp_path / "masks" / "far"
    with pytest.raises(InputError, match=r"--masks .*far: cannot be scored: the data"):
        read_results(results[1], "far", masks=masks)


def test_global_scores_that_are_not_those_of_the_frames_are_said_to_be_others(
    results, tmp_path
):
    (tmp_path / "masks").rename(tmp_path / "gone")
    edited(results[0], lambda x: x["global"].update({"J-Mean": 0.9876}))
    found = read_results(results[0], "near")
    assert found.taken.startswith(
        "found from those of the frames in results-val.json, where the global ones are"
        " others (J-Mean 0.988), and not checked"
    )


RUN = {
    "method": "stm",
    "weights": "stm.safetensors",
    "type": "float32",
    "segmented": [{"name": "alpha", "frames": 5, "frames_per_second": 3.0}],
    "memory": {"process_peak_bytes": 5},
}


@pytest.fixture
def run(davis, tmp_path):
    """What `evaluate` leaves, as far as it is read."""
    masks = write_results(tmp_path / "run" / "masks")
    settings = {"dataset": "davis2017", "split": "val", "method": "OwnConfig()"}
    (masks / "run.json").write_text(json.dumps(settings))
    scored(davis, masks, tmp_path / "run")
    (tmp_path / "run" / "speed.json").write_text('{"rows": []}')
    return edited(tmp_path / "run", lambda x: x["about"].update(RUN))


def assert_nothing_of_the_run(found, words="other masks than those of the run"):
    assert not set(RUN) & set(found.about) and found.speed is None
    assert words in found.others


def test_a_run_is_told_of_beside_its_own_masks(run, tmp_path):
    found = read_results(run, "run")
    assert {name: found.about[name] for name in RUN} == RUN and found.others == ""
    named = read_results(run, "run", masks=run / "masks")
    assert named.about == found.about and named.speed == {"rows": []}
    run.rename(tmp_path / "moved")
    moved = read_results(tmp_path / "moved", "run")
    assert (moved.about, moved.speed) == (found.about, {"rows": []})


def test_nothing_of_a_run_is_told_of_other_masks(run, results, tmp_path):
    found = read_results(run, "run", masks=tmp_path / "masks" / "far")
    assert_nothing_of_the_run(found)
    assert found.settings == {}
    # What is noted beside them is of them.
    noted = write_results(tmp_path / "noted")
    (noted / "run.json").write_text('{"method": "OtherConfig()"}')
    found = read_results(run, "run", masks=noted)
    assert_nothing_of_the_run(found)
    assert found.settings["method"] == "OtherConfig()"


def test_nothing_of_a_run_is_told_of_masks_that_were_replaced(run):
    write_results(run / "masks", shift=4)
    found = read_results(run, "run")
    assert_nothing_of_the_run(found)
    assert found.settings == {} and "has others" in found.taken


def test_nothing_of_a_run_is_told_where_annotations_were_replaced(run, davis):
    path = davis / "Annotations" / "480p" / "alpha" / "00002.png"
    write_labels(path, np.roll(read_labels(path), 5, axis=1))
    found = read_results(run, "run")
    assert_nothing_of_the_run(found, "masks or annotations are others")


def test_frames_that_are_not_there_cost_the_pictures_alone(results, davis):
    shutil.rmtree(davis / "JPEGImages")
    found = read_results(results[0], "near")
    assert found.taken.endswith("has the same")
    assert found.sequences == {}


def test_a_split_that_is_scored_by_a_server_is_refused(davis, tmp_path):
    out = tmp_path / "out"
    masks = write_results(out / "masks")
    settings = {"dataset": "davis2017", "split": "val", "root": str(davis)}
    (masks / "run.json").write_text(json.dumps(settings))
    for path in (davis / "Annotations" / "480p").glob("*/*.png"):
        if path.stem != "00000":
            path.unlink()
    with pytest.raises(InputError, match=r"scored by its server|cannot be scored"):
        read_results(out, "out")


def test_masks_that_were_never_scored_are_scored(davis, tmp_path):
    out = tmp_path / "out"
    masks = write_results(out / "masks")
    settings = {"dataset": "davis2017", "split": "val", "root": str(davis)}
    (masks / "run.json").write_text(json.dumps(settings))
    found = read_results(out, "out")
    assert found.taken == "found from masks and annotations"
    shutil.rmtree(davis)
    with pytest.raises(InputError, match="no scores were written there"):
        read_results(out, "out")


def test_one_of_several_splits_is_named(results, davis, tmp_path):
    lists = davis / "ImageSets" / "2017"
    (lists / "few.txt").write_text("alpha\n")
    command = ["--split", "few"]
    scored(davis, tmp_path / "masks" / "near", results[0], *command)
    with pytest.raises(InputError, match="few, val; choose one with --split"):
        read_results(results[0], "near")
    found = read_results(results[0], "near", split="few")
    assert [entry.sequence for entry in found.report.objects] == ["alpha"] * 2
    with pytest.raises(InputError, match="has no results of split gone"):
        read_results(results[0], "near", split="gone")


@pytest.mark.parametrize("text", ["{", "[]", '{"dataset": "davis2017"}'])
def test_damaged_results_are_refused(results, davis, tmp_path, text):
    shutil.rmtree(tmp_path / "masks")
    (results[0] / "results-val.json").write_text(text)
    with pytest.raises(
        InputError, match=r"is not what evaluate writes \(.*\); make it again"
    ):
        read_results(results[0], "near", root=davis)


def test_objects_of_davis_2016_are_one(davis, tmp_path):
    (davis / "ImageSets" / "2016").mkdir()
    (davis / "ImageSets" / "2016" / "val.txt").write_text("alpha\n")
    masks = write_masks(tmp_path / "one" / "alpha", {}).parent
    write_results(masks, ["alpha"])
    more = ("--dataset", "davis2016", "--temporal")
    out = scored(davis, masks, tmp_path / "out", *more)
    found = read_results(out, "out")
    assert found.taken.endswith("has the same")
    assert found.report.temporal


def test_names_are_as_short_as_they_can_be(tmp_path):
    folders = [tmp_path / "a" / "out", tmp_path / "b" / "out"]
    assert names_of(folders[:1]) == ["out"]
    assert names_of(folders) == ["a/out", "b/out"]
    with pytest.raises(InputError, match="given twice"):
        names_of([folders[0], folders[0]])


def test_scores_beside_other_masks_are_not_said_to_be_of_these(
    results, tmp_path, davis
):
    """`score` may write into the folder of a run that has segmented."""
    run = tmp_path / "run"
    write_results(run / "masks", shift=4)
    settings = {"dataset": "davis2017", "split": "val", "method": "RunConfig()"}
    (run / "masks" / "run.json").write_text(json.dumps(settings))
    (run / "speed.json").write_text('{"rows": []}')
    before = read_results(run, "run", root=davis)
    assert (before.settings["method"], before.speed) == ("RunConfig()", {"rows": []})
    scored(davis, tmp_path / "masks" / "near", run)
    found = read_results(run, "run")
    assert found.masks == tmp_path / "masks" / "near"
    assert found.report.summary() == read_results(results[0], "near").report.summary()
    assert (found.settings, found.speed) == ({}, None)
    # Whose masks they are is noted beside them, wherever they were scored from.
    elsewhere = scored(davis, run / "masks", tmp_path / "elsewhere")
    assert read_results(elsewhere, "x").settings["method"] == "RunConfig()"
