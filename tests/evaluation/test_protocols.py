import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vos_jax.errors import InputError, InputWarning
from vos_jax.evaluation import protocols
from vos_jax.evaluation.measures import statistics
from vos_jax.evaluation.protocols import score
from vos_jax.evaluation.report import format_table, write_report
from vos_jax.evaluation.temporal_stability import mean_stability, temporal_stability
from vos_jax.media import read_labels, write_labels

REFERENCE = np.load(Path(__file__).with_name("metrics_reference.npz"))
SYNTHETIC = json.loads(Path(__file__).with_name("metrics_reference.json").read_text())[
    "synthetic"
]
EXACT = {"rtol": 0, "atol": 1e-12}


def change_result(path, change):
    write_labels(path, change(read_labels(path)))


def test_davis_2017_scores_are_those_of_the_official_evaluator(davis, tmp_path):
    report = score("davis2017", davis, "val", tmp_path / "results")
    assert [entry.name for entry in report.objects] == list(SYNTHETIC["per_object"])
    for entry in report.objects:
        row = entry.object_id - 1
        official_j = REFERENCE[f"syn_{entry.sequence}_J"][row]
        official_f = REFERENCE[f"syn_{entry.sequence}_F"][row]
        np.testing.assert_allclose(entry.region, official_j, **EXACT)
        np.testing.assert_allclose(entry.contour, official_f, **EXACT)
        wanted = SYNTHETIC["per_object"][entry.name]
        assert statistics(entry.region)._asdict() == pytest.approx(
            wanted["J"], abs=1e-12
        )
        assert statistics(entry.contour)._asdict() == pytest.approx(
            wanted["F"], abs=1e-12
        )


def test_the_global_row_is_that_of_the_official_evaluator(davis, tmp_path):
    summary = score("davis2017", davis, "val", tmp_path / "results").summary()
    wanted = SYNTHETIC["global"]
    assert summary["J&F-Mean"] == pytest.approx(wanted["J&F-mean"], abs=1e-12)
    for measure in "JF":
        for name, value in wanted[measure].items():
            found = summary[f"{measure}-{name.capitalize()}"]
            assert found == pytest.approx(value, abs=1e-12)


def test_processes_give_the_same_report_as_one(davis, tmp_path):
    seen = []
    alone = score("davis2017", davis, "val", tmp_path / "results")
    shared = score(
        "davis2017",
        davis,
        "val",
        tmp_path / "results",
        workers=2,
        progress=lambda *step: seen.append(step),
    )
    assert shared.summary() == alone.summary()
    assert [o.name for o in shared.objects] == [o.name for o in alone.objects]
    assert [step[:2] for step in seen] == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert {step[2] for step in seen} == {"alpha", "beta", "gamma", "delta"}


def test_first_and_last_results_are_not_needed(davis, tmp_path):
    wanted = score("davis2017", davis, "val", tmp_path / "results").summary()
    (tmp_path / "results" / "gamma" / "00000.png").unlink()
    (tmp_path / "results" / "gamma" / "00004.png").unlink()
    assert score("davis2017", davis, "val", tmp_path / "results").summary() == wanted


def test_davis_2016_scores_any_non_zero_pixel(davis, tmp_path):
    (davis / "ImageSets" / "2017").rename(davis / "ImageSets" / "2016")
    merged = score("davis2016", davis, "val", tmp_path / "results")
    assert [o.name for o in merged.objects] == [
        "alpha_1",
        "beta_1",
        "gamma_1",
        "delta_1",
    ]
    for kind in (davis / "Annotations" / "480p", tmp_path / "results"):
        for path in kind.glob("*/*.png"):
            labels = read_labels(path)
            Image.fromarray((labels > 0).astype(np.uint8) * 255).save(path)
    grey = score("davis2016", davis, "val", tmp_path / "results")
    assert grey.summary() == merged.summary()


@pytest.fixture
def davis2016(davis):
    (davis / "ImageSets" / "2017").rename(davis / "ImageSets" / "2016")
    return davis


def test_t_is_the_mean_over_sequences_of_their_results_alone(davis2016, tmp_path):
    results = tmp_path / "results"
    report = score("davis2016", davis2016, "val", results, temporal=True)
    expected = []
    for entry in report.objects:
        files = [results / entry.sequence / f"{stem}.png" for stem in entry.frames]
        changes = temporal_stability(read_labels(path) != 0 for path in files)
        assert len(changes) == len(entry.frames) - 1
        np.testing.assert_array_equal(entry.changes, changes)
        expected.append(mean_stability(changes))
    summary = report.summary()
    assert summary["T-Mean"] == pytest.approx(np.mean(expected), abs=1e-12)
    assert len(report.notes) == 1
    plain = score("davis2016", davis2016, "val", results).summary()
    assert plain == {name: x for name, x in summary.items() if name != "T-Mean"}


def test_sequences_that_take_no_part_in_t_are_noted(davis2016, tmp_path, monkeypatch):
    monkeypatch.setattr(protocols, "LEFT_OUT", {"beta", "delta"})
    report = score("davis2016", davis2016, "val", tmp_path / "results", temporal=True)
    expected = [mean_stability(report.objects[place].changes) for place in (0, 2)]
    assert report.summary()["T-Mean"] == pytest.approx(np.mean(expected), abs=1e-12)
    assert [entry.changes is None for entry in report.objects] == [0, 1, 0, 1]
    assert "mean of 2 sequences" in report.notes[-1]
    assert report.notes[-1].endswith("no part: beta, delta.")


def test_t_of_sequences_that_take_no_part_is_undefined(
    davis2016, tmp_path, monkeypatch
):
    monkeypatch.setattr(protocols, "LEFT_OUT", {"alpha", "beta"})
    where = ("davis2016", davis2016, "val", tmp_path / "results")
    report = score(*where, sequences=["alpha", "beta"], temporal=True)
    assert np.isnan(report.summary()["T-Mean"])
    assert "T is undefined" in report.notes[-1]


def test_a_sequence_of_empty_results_has_no_t_and_is_named(davis2016, tmp_path):
    for path in (tmp_path / "results" / "gamma").iterdir():
        change_result(path, np.zeros_like)
    where = ("davis2016", davis2016, "val", tmp_path / "results")
    report = score(*where, sequences=["beta", "gamma"], temporal=True)
    assert np.isnan(report.summary()["T-Mean"])
    assert report.notes[-1].endswith("have an outline: gamma.")


@pytest.mark.parametrize("dataset", ["davis2017", "youtube-vos"])
def test_only_davis_2016_has_t(dataset, tmp_path):
    with pytest.raises(InputError, match=f"davis2016, not of {dataset}"):
        score(dataset, tmp_path, "val", tmp_path, temporal=True)


def test_a_prediction_on_void_pixels_is_a_false_positive(davis, tmp_path):
    folder = davis / "Annotations" / "480p" / "gamma"
    shutil.rmtree(tmp_path / "results" / "gamma")
    shutil.copytree(folder, tmp_path / "results" / "gamma")
    labels = read_labels(folder / "00001.png")
    rows, columns = np.nonzero(labels)
    labels[rows[::2], columns[::2]] = 255
    write_labels(folder / "00001.png", labels)
    report = score("davis2017", davis, "val", tmp_path / "results", sequences=["gamma"])
    j = report.objects[0].region
    assert j[0] == np.count_nonzero(labels == 1) / rows.size
    assert j[1] == 1


def test_annotations_that_were_scored_are_known_by_their_digests(davis, tmp_path):
    where = "davis2017", davis, "val", tmp_path / "results"
    before = score(*where).about["annotations"]
    assert list(before) == [
        x.sequence for x in score(*where).objects if x.object_id < 2
    ]
    path = sorted((davis / "Annotations" / "480p" / "gamma").glob("*.png"))[1]
    Image.open(path).save(path, compress_level=1)
    assert score(*where).about["annotations"] == before
    change_result(path, lambda labels: np.roll(labels, 1, axis=1))
    after = score(*where).about["annotations"]
    assert {name for name in before if before[name] != after[name]} == {"gamma"}


@pytest.mark.parametrize(
    ("kept", "told"), [(0, "as are all 38;"), (37, "the only one of 38;")]
)
def test_how_many_results_are_missing_is_plain(davis, tmp_path, kept, told):
    report = score("davis2017", davis, "val", tmp_path / "results")
    read = {(x.sequence, stem) for x in report.objects for stem in x.frames}
    for name, stem in sorted(read)[kept:]:
        (tmp_path / "results" / name / f"{stem}.png").unlink()
    with pytest.raises(InputError, match=f"is missing, {told}"):
        score("davis2017", davis, "val", tmp_path / "results")


def test_missing_results_are_named_and_counted_before_anything_is_scored(
    davis, tmp_path
):
    (tmp_path / "results" / "delta" / "00005.png").unlink()
    (tmp_path / "results" / "delta" / "00007.png").unlink()
    done = []
    with pytest.raises(
        InputError, match=r"delta/00005\.png is missing, one of 2 of 38"
    ):
        score(
            "davis2017",
            davis,
            "val",
            tmp_path / "results",
            progress=lambda *step: done.append(step),
        )
    assert not done


def test_a_result_of_another_size_is_named(davis, tmp_path):
    change_result(
        tmp_path / "results" / "beta" / "00002.png", lambda labels: labels[1:]
    )
    with pytest.raises(InputError, match=r"beta/00002\.png is 101x74.*101x75"):
        score("davis2017", davis, "val", tmp_path / "results")


@pytest.mark.parametrize("workers", [1, 2])
def test_ids_beyond_those_of_the_first_annotation_are_named(davis, tmp_path, workers):
    path = tmp_path / "results" / "gamma" / "00002.png"
    change_result(path, lambda labels: labels * 4)
    with pytest.raises(InputError, match=r"gamma/00002\.png has ids \[4\].*\[1\]"):
        score("davis2017", davis, "val", tmp_path / "results", workers=workers)


def test_a_result_in_colours_is_named(davis, tmp_path):
    path = tmp_path / "results" / "gamma" / "00002.png"
    Image.open(path).convert("RGB").save(path)
    with pytest.raises(InputError, match=r"gamma/00002\.png"):
        score("davis2017", davis, "val", tmp_path / "results")


def test_a_split_without_its_annotations_is_left_to_the_server(davis, tmp_path):
    folder = davis / "Annotations" / "480p" / "alpha"
    for path in sorted(folder.iterdir())[1:]:
        path.unlink()
    with pytest.raises(InputError, match=r"alpha .*submission archive"):
        score("davis2017", davis, "val", tmp_path / "results")
    shutil.rmtree(davis / "JPEGImages")
    with pytest.raises(InputError, match=r"alpha .*submission archive"):
        score("davis2017", davis, "val", tmp_path / "results")


def test_youtube_vos_averages_seen_and_unseen_from_the_frame_after_the_start(
    youtube_vos, tmp_path
):
    report = score("youtube-vos", youtube_vos, "valid", tmp_path / "results")
    assert [o.name for o in report.objects] == ["0123abcdef_3", "0123abcdef_7"]
    assert report.objects[0].frames == ("00010", "00015", "00020", "00025", "00030")
    assert report.objects[1].frames == ("00025", "00030")
    # All frames are right but the last, which is empty.
    assert report.summary() == pytest.approx(
        {"G": 0.65, "J_seen": 0.8, "J_unseen": 0.5, "F_seen": 0.8, "F_unseen": 0.5}
    )
    assert "last frame of a video is scored" in report.notes[0]


def test_the_last_youtube_vos_frame_can_be_left_out(youtube_vos, tmp_path):
    report = score(
        "youtube-vos", youtube_vos, "valid", tmp_path / "results", drop_last=True
    )
    assert report.objects[0].frames[-1] == "00025"
    assert report.summary()["G"] == 1
    assert "last frame of a video is left out" in report.notes[0]


@pytest.mark.filterwarnings("ignore:youtube-vos train. Later annotations show")
def test_g_is_undefined_without_unseen_objects(youtube_vos, tmp_path):
    for path in (tmp_path / "results").glob("*/*.png"):
        change_result(path, lambda labels: np.where(labels == 7, 0, labels))
    summary = score("youtube-vos", youtube_vos, "train", tmp_path / "results").summary()
    assert summary["J_seen"] == pytest.approx(0.8)
    assert np.isnan(summary["J_unseen"])
    assert np.isnan(summary["G"])


def test_the_seen_categories_can_be_named(youtube_vos, tmp_path):
    report = score(
        "youtube-vos", youtube_vos, "valid", tmp_path / "results", seen=["okapi"]
    )
    assert [entry.seen for entry in report.objects] == [False, True]
    (youtube_vos / "train" / "meta.json").unlink()
    with pytest.raises(InputError, match=r"train/meta\.json does not exist"):
        score("youtube-vos", youtube_vos, "valid", tmp_path / "results")


def test_youtube_vos_without_complete_annotations_is_left_to_the_server(
    youtube_vos, tmp_path
):
    (youtube_vos / "valid" / "Annotations" / "0123abcdef" / "00030.png").unlink()
    with pytest.raises(InputError, match=r"00030\.png.*submission archive"):
        score("youtube-vos", youtube_vos, "valid", tmp_path / "results")


def test_ids_that_youtube_vos_does_not_list_are_named(youtube_vos, tmp_path):
    path = tmp_path / "results" / "0123abcdef" / "00025.png"
    change_result(path, lambda labels: np.where(labels == 7, 2, labels))
    with pytest.raises(InputError, match=r"00025\.png has ids \[2\].*\[3, 7\]"):
        score("youtube-vos", youtube_vos, "valid", tmp_path / "results")


def copy_annotations(davis, tmp_path, name):
    """Makes the annotations of a sequence its results; returns both folders."""
    annotations, results = davis / "Annotations" / "480p" / name, tmp_path / "results"
    shutil.rmtree(results / name)
    shutil.copytree(annotations, results / name)
    return annotations, results / name


def test_without_padding_the_last_frame_is_still_the_one_left_out(davis, tmp_path):
    folders = copy_annotations(davis, tmp_path, "beta")
    for folder in (*folders, davis / "JPEGImages" / "480p" / "beta"):
        for number, path in reversed([*enumerate(sorted(folder.iterdir()), 1)]):
            path.rename(folder / f"{number}{path.suffix}")
    change_result(folders[1] / "17.png", np.zeros_like)
    report = score("davis2017", davis, "val", tmp_path / "results", sequences=["beta"])
    assert report.objects[0].frames == tuple(map(str, range(2, 17)))
    assert report.summary()["J&F-Mean"] == 1


def test_without_padding_objects_of_youtube_vos_are_scored_after_their_start(
    youtube_vos, tmp_path
):
    names = [f"{5 * place:05d}" for place in range(1, 7)]
    stems = [str(number) for number in range(7, 13)]
    split = youtube_vos / "valid"
    folders = [split / "Annotations", split / "JPEGImages", tmp_path / "results"]
    for folder in folders:
        for path in sorted((folder / "0123abcdef").iterdir()):
            stem = stems[names.index(path.stem)]
            path.rename(path.with_name(f"{stem}{path.suffix}"))
    meta = (split / "meta.json").read_text()
    for name, stem in zip(names, stems, strict=True):
        meta = meta.replace(name, stem)
    (split / "meta.json").write_text(meta)
    where = ("youtube-vos", youtube_vos, "valid", tmp_path / "results")
    report = score(*where)
    assert [entry.frames for entry in report.objects] == [
        ("8", "9", "10", "11", "12"),
        ("11", "12"),
    ]
    assert score(*where, drop_last=True).summary()["G"] == 1


def test_ids_that_never_appear_are_named_and_the_means_without_them(davis, tmp_path):
    annotations, results = copy_annotations(davis, tmp_path, "gamma")
    for path in annotations.iterdir():
        labels = read_labels(path)
        labels[:5, :5] = 9
        write_labels(path, labels)
    for path in results.iterdir():
        change_result(path, np.zeros_like)
    where = ("davis2017", davis, "val", tmp_path / "results")
    with pytest.warns(InputWarning, match="davis2017 val: No scored.*: gamma 2-8"):
        report = score(*where, sequences=["gamma"])
    assert report.summary()["J-Mean"] == pytest.approx(7 / 9)
    assert report.scores_of_the_present()["J-Mean"] == 0
    assert "gamma 2-8. The means without them: J&F-Mean 0.000" in report.notes[-1]
    assert "gamma_8   1.000   1.000  absent" in format_table(report)
    content = json.loads(write_report(report, tmp_path)[2].read_text())
    assert content["notes"] == list(report.notes)
    assert content["global_without_absent"]["J&F-Mean"] == 0
    absent = [entry["object"] for entry in content["objects"] if entry["absent"]]
    assert absent == list(range(2, 9))


def test_an_object_of_the_first_annotation_alone_is_absent_too(davis, tmp_path):
    annotations, _ = copy_annotations(davis, tmp_path, "gamma")
    change_result(annotations / "00000.png", lambda x: np.where(x, x * 2, x))
    where = ("davis2017", davis, "val", tmp_path / "results")
    with pytest.warns(InputWarning) as said:
        report = score(*where, sequences=["gamma"])
    assert [entry.absent for entry in report.objects] == [False, True]
    assert [entry.given for entry in report.objects] == [False, True]
    assert "does not show these, and yet they are scored: gamma 1." in report.notes[-1]
    assert len(said) == 2


def test_ids_that_only_later_annotations_show_are_named(davis, tmp_path):
    annotations, _ = copy_annotations(davis, tmp_path, "gamma")
    for stem, label in (("00002", 5), ("00003", 7), ("00004", 6)):
        path = annotations / f"{stem}.png"
        labels = read_labels(path)
        labels[-3:, -3:] = label
        write_labels(path, labels)
    where = ("davis2017", davis, "val", tmp_path / "results")
    with pytest.warns(InputWarning, match="not scored, as the first .*: gamma 5, 7"):
        report = score(*where, sequences=["beta", "gamma"])
    assert report.unscored == {"gamma": (5, 7)}
    assert [entry.name for entry in report.objects][-1] == "gamma_1"
    assert report.objects[-1].region.tolist() == [1.0] * 3


def test_annotations_of_davis_2016_without_the_object_are_named(davis2016, tmp_path):
    for path in (davis2016 / "Annotations" / "480p" / "gamma").iterdir():
        change_result(path, np.zeros_like)
    for path in (tmp_path / "results" / "gamma").iterdir():
        change_result(path, np.zeros_like)
    where = ("davis2016", davis2016, "val", tmp_path / "results")
    with pytest.warns(InputWarning, match=r": gamma 1\. No other object is scored"):
        report = score(*where, sequences=["gamma"])
    assert report.summary()["J&F-Mean"] == 1
    assert report.scores_of_the_present() == {}


def test_objects_of_youtube_vos_that_vanish_or_are_not_listed_are_named(
    youtube_vos, tmp_path
):
    folder = youtube_vos / "valid" / "Annotations" / "0123abcdef"
    for stem in ("00025", "00030"):
        change_result(folder / f"{stem}.png", lambda x: np.where(x == 7, 4, x))
    with pytest.warns(InputWarning) as said:
        score("youtube-vos", youtube_vos, "valid", tmp_path / "results")
    texts = [str(each.message) for each in said]
    assert "either: 0123abcdef 7. The means without them: G nan" in texts[0]
    assert "meta.json does not list them: 0123abcdef 4." in texts[1]
    assert len(texts) == 2


def test_the_reason_of_an_undefined_g_is_noted(youtube_vos, tmp_path):
    where = ("youtube-vos", youtube_vos, "valid", tmp_path / "results")
    report = score(*where, seen=["dog", "okapi"])
    assert np.isnan(report.summary()["G"])
    assert report.notes[-1].endswith(
        "no object that is scored is of an unseen category."
    )


def test_seen_categories_that_no_object_has_are_named(youtube_vos, tmp_path):
    where = ("youtube-vos", youtube_vos, "valid", tmp_path / "results")
    with pytest.warns(InputWarning, match="named as seen: okapia; check"):
        report = score(*where, seen=["dog", "okapia"])
    assert [entry.seen for entry in report.objects] == [True, False]
    with pytest.raises(InputError, match="seen: cat; those here: dog, okapi"):
        score(*where, seen=["cat"])


def test_only_youtube_vos_has_seen_categories(davis, tmp_path):
    with pytest.raises(InputError, match="those of youtube-vos, not of davis2017"):
        score("davis2017", davis, "val", tmp_path / "results", seen=["dog"])


def test_white_results_are_told_from_ids(davis, tmp_path):
    path = tmp_path / "results" / "gamma" / "00002.png"
    Image.fromarray((read_labels(path) > 0).astype(np.uint8) * 255).save(path)
    with pytest.raises(InputError, match=r"00002\.png has ids \[255\].*but void"):
        score("davis2017", davis, "val", tmp_path / "results")


def test_real_results_get_the_official_scores(tmp_path):
    if not {"VOS_JAX_PARITY", "VOS_JAX_DATA"} <= set(os.environ):
        pytest.skip("VOS_JAX_PARITY and VOS_JAX_DATA name no folders")
    parity, data = (Path(os.environ[f"VOS_JAX_{key}"]) for key in ("PARITY", "DATA"))
    root = data / "davis2016"
    report = score("davis2016", root, "val", root / "results" / "osvos")
    with np.load(parity / "metrics.npz") as official:
        for entry in report.objects:
            key = f"davis_{entry.sequence.replace('-', '_')}"
            np.testing.assert_allclose(entry.region, official[f"{key}_J"], **EXACT)
            np.testing.assert_allclose(entry.contour, official[f"{key}_F"], **EXACT)
            for measure, scores in (("J", entry.region), ("F", entry.contour)):
                wanted = official[f"{key}_{measure}_MRD"]
                np.testing.assert_allclose(statistics(scores), wanted, **EXACT)
    texts = json.loads((parity / "metrics.json").read_text())["csv_davis2016_osvos"]
    written = write_report(report, tmp_path)
    assert {path.name: path.read_text() for path in written[:2]} == texts
