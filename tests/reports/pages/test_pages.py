"""The pages as they are typed for, and as they are read."""

import json
import re
import shutil
from html import escape
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from tests.clips import write_davis, write_frames, write_masks
from tests.reports.pages.conftest import NAMES, scored, write_results
from vos_jax.cli import main
from vos_jax.media import read_labels, write_labels
from vos_jax.reports.pages.evaluation import PAGE_BYTES
from vos_jax.reports.pages.html import json_in_html

VOID = {"meta", "img", "link", "input"}


class Page(HTMLParser):
    """Elements of a page with their attributes and texts, all of them closed."""

    def __init__(self, text):
        super().__init__()
        self.open, self.elements = [], []
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs), []))
        if tag not in VOID:
            self.open.append((tag, self.elements[-1]))

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs), []))

    def handle_endtag(self, tag):
        name, _ = self.open.pop()
        assert name == tag

    def handle_data(self, data):
        for _, element in self.open:
            element[2].append(data)

    def all(self, tag):
        return [
            (attrs, "".join(text)) for name, attrs, text in self.elements if name == tag
        ]

    @property
    def data(self):
        (found,) = (
            text for attrs, text in self.all("script") if attrs.get("id") == "data"
        )
        return json.loads(found)


@pytest.fixture
def report(tmp_path, capsys):
    """Runs `vos-jax report`: what it printed as JSON, and the page."""

    def run(*words, status=0):
        out = tmp_path / "page"
        capsys.readouterr()
        assert main(["report", *map(str, words), "--out", str(out), "--json"]) == status
        printed, err = capsys.readouterr()
        if status:
            return err
        text = (out / "report.html").read_text(encoding="utf-8")
        return json.loads(printed), Page(text), text, err

    return run


def test_figures_are_those_of_score(results, report, davis, tmp_path, capsys):
    command = [
        "score",
        "--dataset",
        "davis2017",
        "--root",
        str(davis),
        "--split",
        "val",
    ]
    masks = tmp_path / "masks" / "near"
    capsys.readouterr()
    assert main([*command, "--results", str(masks), "--json"]) == 0
    expected = json.loads(capsys.readouterr().out)
    printed, page, _, _ = report(results[0])
    assert printed["results"] == {"near": expected}
    assert page.data["summaries"] == [expected]
    told = {(attrs.get("title"), text) for attrs, text in page.all("td")}
    for value in expected.values():
        assert (repr(value), f"{value:.3f}") in told
    written = json.loads((results[0] / "results-val.json").read_text())
    for entry in written["objects"]:
        assert (repr(entry["J"]["mean"]), f"{entry['J']['mean']:.3f}") in told
        assert (repr(entry["F"]["decay"]), f"{entry['F']['decay']:.3f}") in told
    drawn = {x["name"]: x for x in page.data["sequences"]}
    for entry in written["objects"]:
        (found,) = (
            x for x in drawn[entry["sequence"]]["objects"] if x["id"] == entry["object"]
        )
        np.testing.assert_allclose(found["J"], [entry["J_frames"]], atol=5e-5)
        np.testing.assert_allclose(found["F"], [entry["F_frames"]], atol=5e-5)


def test_a_page_needs_nothing_but_itself(results, report):
    _, page, text, _ = report(*results)
    (policy,) = (
        attrs["content"]
        for attrs, _ in page.all("meta")
        if attrs.get("http-equiv") == "Content-Security-Policy"
    )
    assert policy.startswith("default-src 'none'; img-src data:; script-src 'sha256-")
    assert not page.all("link")
    assert {attrs.get("src") for attrs, _ in page.all("script")} == {None}
    assert all(attrs["src"].startswith("data:image/") for attrs, _ in page.all("img"))
    assert all(attrs["alt"] for attrs, _ in page.all("img"))
    # What the policy would not let through.
    assert not [attrs for _, attrs, _ in page.elements if "style" in attrs]
    links = {attrs["href"] for attrs, _ in page.all("a")}
    ids = {f"#{attrs['id']}" for _, attrs, _ in page.elements if "id" in attrs}
    assert links <= ids
    assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)", text)


def test_differences_are_told_with_their_intervals(results, report):
    printed, page, text, _ = report(*results, "--name", "one", "--name", "two")
    found = printed["differences"]["two"]["J&F"]
    means = [printed["results"][name]["J&F-Mean"] for name in ("one", "two")]
    assert found["mean"] == pytest.approx(means[1] - means[0], abs=1e-12)
    assert found["low"] <= found["mean"] <= found["high"]
    assert "better than one in 0 of 3 sequences and worse in 3" in text
    assert "With 3 sequences it means little." in text
    assert "10,000 times" in text
    assert len(page.data["sequences"][0]["objects"][0]["J"]) == 2


def test_three_results_are_each_compared_with_the_first(
    results, report, davis, tmp_path
):
    masks = write_results(tmp_path / "masks" / "exact", shift=0)
    third = scored(davis, masks, tmp_path / "exact")
    printed, page, _, _ = report(*results, third)
    assert list(printed["differences"]) == ["far", "exact"]
    assert printed["differences"]["exact"]["J"]["low"] > 0
    assert page.data["names"] == ["near", "far", "exact"]


def test_objects_of_youtube_vos_come_when_they_come(report, tmp_path):
    stems = ["9", "10", "11", "12", "13"]
    labels = np.zeros((5, 32, 48), np.uint8)
    labels[:, 4:20, 6:22], labels[2:, 4:20, 30:40] = 1, 2
    split = tmp_path / "yt" / "valid"
    named = dict(zip(stems, labels, strict=True))
    write_masks(split / "Annotations" / "clip", named)
    write_frames(split / "JPEGImages" / "clip", np.stack([labels] * 3, -1))
    for place, stem in reversed(list(enumerate(stems))):
        frame = split / "JPEGImages" / "clip" / f"{place:05d}.png"
        frame.rename(frame.with_name(f"{stem}.png"))
    write_masks(tmp_path / "masks" / "clip", named | {"13": 0 * labels[0]})
    kinds = {"1": ("dog", stems), "2": ("okapi", stems[2:])}
    objects = {k: {"category": x, "frames": y} for k, (x, y) in kinds.items()}
    meta = {"videos": {"clip": {"objects": objects}}}
    (split / "meta.json").write_text(json.dumps(meta))
    more = ["--dataset", "youtube-vos", "--seen", "dog", "--drop-last"]
    command = ["--split", "valid", *more]
    out = scored(tmp_path / "yt", tmp_path / "masks", tmp_path / "out", *command)
    printed, page, text, _ = report(out)
    assert printed["results"]["out"]["G"] == 1
    assert "results-valid.json has the same" in text
    (clip,) = page.data["sequences"]
    assert clip["frames"] == ["10", "11", "12"]
    assert [x["J"][0] for x in clip["objects"]] == [[1, 1, 1], [None, None, 1]]
    assert len(page.all("img")) == 3 * 3


def test_names_are_text_wherever_they_come_from(report, tmp_path):
    evil = ["<img src=x onerror=alert(1)>", "</script><script>alert(2)", '"><b>']
    names = [evil[0], evil[2]]
    davis = write_davis(tmp_path / "evil", names, 6)
    write_results(tmp_path / "masks", names)
    out = scored(davis, tmp_path / "masks", tmp_path / "out")
    _, page, text, _ = report(out, "--name", evil[1])
    assert len(page.all("script")) == 2 and not page.all("b")
    assert all("onerror" not in attrs for attrs, _ in page.all("img"))
    assert page.data["names"] == [evil[1]]
    assert sorted(x["name"] for x in page.data["sequences"]) == sorted(names)
    assert escape(evil[0]) in text and evil[0] not in text


def test_figures_cannot_end_or_open_an_element():
    told = {"</script": "<!--<script "}
    written = json_in_html(told)
    assert not set("<>") & set(written)
    assert json.loads(written) == told


def test_what_is_missing_is_said_on_the_page(results, report, tmp_path):
    (tmp_path / "masks").rename(tmp_path / "gone")
    printed, page, text, err = report(results[0])
    assert "the masks are not where they were" in err
    assert "not checked" in text and not page.all("img")
    moved = tmp_path / "gone" / "near"
    again, page, text, _ = report(results[0], "--masks", moved, "--workers", "2")
    assert again["results"] == printed["results"]
    assert page.all("img") and "not checked" not in text


def test_the_parts_that_all_have_are_said(results, report, davis, tmp_path):
    lists = davis / "ImageSets" / "2017" / "val.txt"
    lists.write_text("gamma\nalpha\n")
    again = scored(davis, tmp_path / "masks" / "far", tmp_path / "again")
    lists.write_text("\n".join(NAMES))
    _, _, text, err = report(results[0], again, "--root", davis)
    assert "has others" in err
    (davis / "ImageSets" / "2017").rename(tmp_path / "lists")
    _, page, text, err = report(results[0], again)
    assert "left out: beta" in text and "left out: beta" in err
    assert {x["name"] for x in page.data["sequences"]} == {"alpha", "gamma"}


def other_annotations(davis, folder, resize=1):
    """The data set with objects that are shifted, or larger."""
    shutil.copytree(davis, folder)
    for path in (folder / "Annotations").glob("*/*/*.png"):
        labels = np.roll(read_labels(path), 3, axis=1)
        if resize > 1:
            labels = labels.repeat(resize, 0).repeat(resize, 1)
        write_labels(path, labels)
    return folder


def test_results_by_other_annotations_are_refused(results, report, davis, tmp_path):
    other = other_annotations(davis, tmp_path / "other")
    again = scored(other, tmp_path / "masks" / "far", tmp_path / "again")
    err = report(results[0], again, status=2)
    said = "again: sequence alpha was scored by other annotations, or in another reso"
    assert said in err and err.splitlines()[-1].startswith("vos-jax: error: ")
    # What was noted is known without them, too.
    shutil.rmtree(other)
    assert said in report(results[0], again, status=2)
    # Of an earlier version it is not, and is said.
    path = again / "results-val.json"
    content = json.loads(path.read_text())
    del content["about"]["annotations"]
    path.write_text(json.dumps(content))
    _, _, text, err = report(results[0], again)
    told = "again: whether the annotations were those of the others is not known"
    assert told in text and told in err


def test_results_of_another_resolution_are_refused(results, report, davis, tmp_path):
    large = other_annotations(davis, tmp_path / "large", 2) / "Annotations"
    shutil.copytree(large / "480p", davis / "Annotations" / "960p")
    frames = davis / "JPEGImages"
    shutil.copytree(frames / "480p", frames / "960p")
    masks = tmp_path / "large" / "Annotations" / "480p"
    again = scored(davis, masks, tmp_path / "again", "--resolution", "960p")
    err = report(results[0], again, status=2)
    assert "alpha was scored by other annotations, or in another resolution" in err


def test_masks_are_drawn_over_their_own_frames(results, report, davis, tmp_path):
    """Annotations may be the same and frames not."""
    _, before, _, _ = report(*results)
    shutil.copytree(davis, tmp_path / "grey")
    for path in (tmp_path / "grey" / "JPEGImages").glob("*/*/*.png"):
        Image.fromarray(np.full((32, 48, 3), 99, np.uint8)).save(path)
    scored(tmp_path / "grey", tmp_path / "masks" / "far", results[1])
    _, page, _, _ = report(*results)
    for (one, _), (two, _) in zip(before.all("img"), page.all("img"), strict=True):
        assert (one["src"] != two["src"]) == ("far" in one["alt"])


def test_other_seen_categories_are_refused(report, tmp_path):
    split = tmp_path / "yt" / "valid"
    labels = np.zeros((4, 32, 48), np.uint8)
    labels[:, 4:20, 6:22], labels[:, 4:20, 30:40] = 1, 2
    named = {f"{place}": each for place, each in enumerate(labels)}
    write_masks(split / "Annotations" / "clip", named)
    kinds = {"1": {"category": "dog"}, "2": {"category": "okapi"}}
    objects = {k: {**x, "frames": list(named)} for k, x in kinds.items()}
    meta = {"videos": {"clip": {"objects": objects}}}
    (split / "meta.json").write_text(json.dumps(meta))
    command = ["--dataset", "youtube-vos", "--split", "valid", "--seen"]
    where = tmp_path / "yt", split / "Annotations"
    folders = [scored(*where, tmp_path / x, *command, x) for x in ("dog", "okapi")]
    err = report(*folders, status=2)
    assert "okapi: object clip_1 is of an unseen category, and in" in err


def test_one_sequence_is_spoken_of_as_one(report, tmp_path):
    davis = write_davis(tmp_path / "davis", ["alpha"], 6)
    folders = []
    for shift in (1, 3):
        masks = write_results(tmp_path / f"masks{shift}", ["alpha"], shift=shift)
        folders.append(scored(davis, masks, tmp_path / f"out{shift}"))
    _, _, text, _ = report(*folders)
    assert "in 0 of 1 sequence and worse in 1." in text
    assert "With 1 sequence it means little." in text


def test_the_order_of_a_list_changes_nothing(results, report, davis, tmp_path):
    printed, before, _, _ = report(*results)
    lists = davis / "ImageSets" / "2017" / "val.txt"
    lists.write_text("\n".join(NAMES[::-1]))
    scored(davis, tmp_path / "masks" / "far", results[1])
    # As it was, so that only what was written has the other order.
    (davis / "ImageSets").rename(tmp_path / "lists")
    again, page, _, _ = report(*results)
    assert again["differences"] == printed["differences"]
    for what in ("sequences", "histogram"):
        assert page.data[what] == before.data[what]
    rows = [text for _, text in before.all("tr")]
    assert [text for _, text in page.all("tr")][-9:] == rows[-9:]


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (["empty"], "holds neither results nor a training run"),
        (["nowhere"], "is no folder"),
        (["near", "near"], "is given twice"),
        (["near", "run"], "is a training run, and others are results"),
        (["near", "--name", "a", "--name", "b"], "--name: given 2 times for 1"),
        (["near", "far", "--name", "a", "--name", "a"], "names two folders alike"),
        (["near", "--name", ""], "--name: is empty"),
        (["near", "--name", " "], "--name: is empty"),
        (["near", "far", "--masks", "empty"], "--masks: given 1 times for 2"),
        (["near", "--workers", "0"], "--workers 0: use at least 1"),
        (["run", "--root", "empty"], "--root: is for results"),
        (["near", "--split", "test"], "has no results of split test"),
    ],
)
def test_what_cannot_be_meant_is_refused(results, report, tmp_path, words, found):
    (tmp_path / "empty").mkdir()
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "log.jsonl").write_text('{"step": 1, "loss": 2.0}\n')
    places = ("empty", "nowhere", "near", "far", "run")
    words = [str(tmp_path / x) if x in places else x for x in words]
    err = report(*words, status=2)
    assert found in err and err.count("\n") == 1
    assert not (tmp_path / "page").exists()


def write_run(folder, steps=6):
    (folder / "validation").mkdir(parents=True)
    rows = []
    for step in range(1, steps + 1):
        figures = {"loss": 1 / step, "clips_per_second": 3.0, "data_wait": 0.25}
        rows.append({"step": step, **figures})
        if step % 2 == 0:
            rows.append({"step": step, "validation J&F": 0.5 - abs(step - 4) / 10})
            picture = np.full((40, 60, 3), 20 * step, np.uint8)
            Image.fromarray(picture).save(folder / "validation" / f"step_{step}.png")
    (folder / "log.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    experiment = {"method": "stm", "steps": 6, "batch": 2, "seed": 0, "note": "<b>"}
    (folder / "experiment.json").write_text(json.dumps(experiment))
    return folder


def test_a_training_run_has_its_curves_and_pictures(report, tmp_path):
    printed, page, text, _ = report(write_run(tmp_path / "run"))
    assert printed["runs"]["run"]["loss"] == 1 / 6
    curves = page.data["curves"]
    assert list(curves) == ["loss", "clips_per_second", "data_wait", "validation J&F"]
    assert curves["loss"][0]["steps"] == [1, 2, 3, 4, 5, 6]
    assert curves["loss"][0]["values"] == pytest.approx(
        [1 / x for x in range(1, 7)], rel=1e-4
    )
    assert curves["validation J&F"][0] == {
        "steps": [2, 4, 6],
        "values": [0.3, 0.5, 0.3],
    }
    charts = {attrs.get("data-chart") for attrs, _ in page.all("figure")} - {None}
    assert charts == set(curves)
    assert [attrs["alt"] for attrs, _ in page.all("img")] == [
        f"run, validation at step {step}" for step in (2, 4, 6)
    ]
    rows = re.findall(
        r'scope="row">best validation J&amp;F</th><td[^>]*title="([^"]*)"', text
    )
    assert rows == ["0.5"]
    assert "&lt;b&gt;" in text and not page.all("b")


def test_figures_that_are_no_numbers_are_left_out(report, tmp_path):
    run = write_run(tmp_path / "run")
    with (run / "log.jsonl").open("a") as log:
        log.write('{"step": 7, "loss": NaN, "odd": NaN}\n')
        log.write('{"step": 8, "validation J&F": NaN}\n')
        log.write('{"step": 9, "loss": -Infinity}\n')
    printed, page, text, err = report(run)
    assert printed["runs"]["run"]["odd"] is None
    assert printed["no_number"]["run"]["loss"] == {"rows": 2, "of": 8}
    for place in text, err:
        assert "run: loss was no number in 2 of 8 rows." in place
        assert "run: odd was no number in 1 of 1 row." in place
    assert set(printed["no_number"]["run"]) == {"loss", "odd", "validation J&F"}
    assert "odd" not in page.data["curves"]
    assert page.data["curves"]["loss"][0]["values"][-1] is None


@pytest.mark.parametrize("first", [True, False])
def test_the_best_validation_is_a_number(report, tmp_path, first):
    rows = [{"step": 1, "validation J&F": 0.6}, {"step": 2, "validation J&F": 0.4}]
    rows.insert(0 if first else 2, {"step": 3, "validation J&F": float("nan")})
    run = tmp_path / "run"
    run.mkdir()
    (run / "log.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    _, _, text, _ = report(run)
    best = r'scope="row">{}</th><td[^>]*title="([^"]*)"'
    assert re.findall(best.format("best validation J&amp;F"), text) == ["0.6"]
    assert re.findall(best.format("at step"), text) == ["1"]


@pytest.mark.parametrize(
    ("name", "content", "found"),
    [
        ("experiment.json", "[1]", "no JSON object"),
        ("experiment.json", "{", "Expecting property name"),
        ("log.jsonl", f'{{"step": 1, "x": 1{"0" * 400}}}', "int too large"),
        ("log.jsonl", f'{{"step": 1{"0" * 400}}}', "int too large"),
    ],
)
def test_files_of_a_run_that_train_does_not_write_are_refused(
    report, tmp_path, name, content, found
):
    run = write_run(tmp_path / "run")
    (run / name).write_text(content)
    err = report(run, status=2)
    assert f"{run / name}: is not what train writes ({found}" in err
    assert err.count("\n") == 1


def test_names_that_are_no_text_are_refused(report, tmp_path):
    run = write_run(tmp_path / "run")
    err = report(run, "--name", "a\udcffb", status=2)
    assert "a\\udcffb: is not UTF-8" in err and err.count("\n") == 1
    (run / "log.jsonl").write_text('{"step": 1, "\\ud800": 2}\n')
    err = report(run, status=2)
    assert "report.html: cannot be written, for a name in it is not UTF-8" in err
    assert not (tmp_path / "page").exists()


@pytest.mark.parametrize("command", ["run", "results"])
def test_folders_whose_names_are_no_text_are_refused(
    command, results, report, tmp_path
):
    folder = tmp_path / "a\udcffb"
    if command == "run":
        write_run(tmp_path / "run").rename(folder)
    else:
        results[0].rename(folder)
    err = report(folder, status=2)
    assert "a\\udcffb: is not UTF-8" in err and err.count("\n") == 1


def test_runs_share_their_charts(report, tmp_path):
    runs = write_run(tmp_path / "one"), write_run(tmp_path / "two", steps=4)
    printed, page, _, _ = report(*runs)
    assert list(printed["runs"]) == ["one", "two"]
    assert [len(x["steps"]) for x in page.data["curves"]["loss"]] == [6, 4]


def test_a_run_without_a_row_is_told_to_wait(report, tmp_path):
    (tmp_path / "log.jsonl").write_text("")
    assert "has no row yet" in report(tmp_path, status=2)


def repeat(folder, length):
    """The frame that is there, again and again."""
    (first,) = folder.iterdir()
    for time in range(1, length):
        (folder / f"{time:05d}{first.suffix}").hardlink_to(first)


@pytest.mark.slow
def test_a_page_of_davis_2017_val_stays_under_five_megabytes(report, tmp_path):
    """30 sequences, 61 objects, 1999 frames of 854 x 480 that are hard to code."""
    rng = np.random.default_rng(0)
    names = [f"sequence{number:02d}" for number in range(30)]
    root, results = tmp_path / "davis", [tmp_path / "near", tmp_path / "far"]
    for number, name in enumerate(names):
        objects, length = 3 if number == 0 else 2, 56 if number == 29 else 67
        coarse = Image.fromarray(rng.integers(0, 256, (120, 214, 3), np.uint8))
        folder = root / "JPEGImages" / "480p" / name
        folder.mkdir(parents=True)
        frame = coarse.resize((854, 480), Image.Resampling.BICUBIC)
        frame.save(folder / "00000.jpg", quality=90)
        repeat(folder, length)
        labels = np.zeros((480, 854), np.uint8)
        for label in range(1, objects + 1):
            top, left = rng.integers(0, 100), 20 + 250 * label
            labels[top : top + 250, left - 200 : left] = label
        repeat(write_masks(root / "Annotations/480p" / name, {"00000": labels}), length)
        for shift, out in zip((7, 30), results, strict=True):
            moved = {"00000": np.roll(labels, shift, axis=1)}
            repeat(write_masks(out / "masks" / name, moved), length)
    (root / "ImageSets" / "2017").mkdir(parents=True)
    (root / "ImageSets" / "2017" / "val.txt").write_text("\n".join(names))
    settings = {"dataset": "davis2017", "split": "val", "root": str(root)}
    for out in results:
        (out / "masks" / "run.json").write_text(json.dumps(settings))
    printed, page, _, _ = report(*results)
    assert sum(len(x["objects"]) for x in page.data["sequences"]) == 61
    assert sum(len(x["frames"]) + 2 for x in page.data["sequences"]) == 1999
    assert 1_000_000 < printed["bytes"] < PAGE_BYTES < 5_000_000
    assert len(page.all("img")) >= 60
