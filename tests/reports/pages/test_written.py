"""Files that are not what the commands write: refused by their name, in one line."""

import json
import re
import shutil

import numpy as np
import pytest

from vos_jax.cli import main

CPU = {"backend": "cpu", "processor": "A", "cores": 2}
VERSIONS = {"jax": "1", "jaxlib": "1", "python": "3"}


def set_scores(content, measure, values):
    content["objects"][0][measure] = values


CHANGES = {
    "about is null": lambda x: x.update(about=None),
    "about is []": lambda x: x.update(about=[]),
    "global is null": lambda x: x.update({"global": None}),
    'J&F-Mean is "x"': lambda x: x["global"].update({"J&F-Mean": "x"}),
    "lacks 'processor'": lambda x: x["about"].update(machine={"backend": "cpu"}),
    "lacks 'jax'": lambda x: x["about"].update(machine=CPU),
    "lacks 'backend'": lambda x: x["about"].update(machine={"jax": "1"}),
    "is not iterable": lambda x: x["about"].update(segmented=None),
    "lacks 'frames'": lambda x: x["about"].update(segmented=[{"name": "a"}]),
    "drop_last is 3": lambda x: x["about"].update(drop_last=3),
    'process_peak_bytes is "1"': lambda x: x["about"].update(
        memory={"process_peak_bytes": "1"}
    ),
    "annotations is 3": lambda x: x["about"].update(annotations=3),
    "lacks 'dataset'": lambda x: x.pop("dataset"),
    "dataset is coco": lambda x: x.update(dataset="coco"),
    "it is of split train": lambda x: x.update(split="train"),
    "lacks 'objects'": lambda x: x.pop("objects"),
    "it has no object": lambda x: x.update(objects=[]),
    "an object comes twice": lambda x: x["objects"].append(x["objects"][0]),
    "alpha_1 has no names": lambda x: x["objects"][0].update(frames=[]),
    "alpha_1 is not one number": lambda x: set_scores(x, "J_frames", [1.0]),
    "F_frames of alpha_1 is not between 0 and 1": lambda x: set_scores(
        x, "F_frames", [0.5, 0.5, 55.0, 0.5]
    ),
    "could not convert": lambda x: set_scores(x, "F_frames", ["a", 0, 0, 0]),
    "too large": lambda x: set_scores(x, "J_frames", [10**400, 0, 0, 0]),
}


def refused(words, capsys, path, found):
    capsys.readouterr()
    assert main(["report", *map(str, words)]) == 2
    told = capsys.readouterr().err.splitlines()[-1]
    assert told.startswith(f"vos-jax: error: {path}: is not what ")
    assert found in told and told.endswith("; make it again")


@pytest.mark.parametrize("found", CHANGES)
def test_scores_that_no_command_writes_are_refused(results, tmp_path, capsys, found):
    path = results[0] / "results-val.json"
    content = json.loads(path.read_text())
    CHANGES[found](content)
    path.write_text(json.dumps(content))
    refused([results[0], "--out", tmp_path / "page"], capsys, path, found)


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b"\xff\xfe{}", b"[" * 100_000])
@pytest.mark.parametrize("name", ["results-val.json", "speed.json", "masks/run.json"])
def test_files_that_are_damaged_are_refused(results, tmp_path, capsys, name, content):
    run = results[0]
    shutil.copytree(tmp_path / "masks" / "near", run / "masks")
    (run / name).write_bytes(content)
    words = [run, "--out", tmp_path / "page", "--masks", run / "masks"]
    # The run's own, so that what is beside them counts.
    noted = run / "results-val.json"
    if name != noted.name:
        about = json.loads(noted.read_text())
        about["about"]["masks"] = str(run / "masks")
        noted.write_text(json.dumps(about))
    refused(words, capsys, run / name, "")


@pytest.mark.parametrize(
    ("content", "found"),
    [
        ({}, "lacks 'rows'"),
        ({"rows": [{}]}, "lacks 'frames'"),
        ({"rows": [3]}, "objects is looked for in no JSON object"),
        ({"rows": [], "machine": CPU}, "lacks 'jax'"),
    ],
)
def test_speeds_that_no_command_writes_are_refused(
    results, tmp_path, capsys, content, found
):
    run = results[0]
    (tmp_path / "masks" / "near").rename(run / "masks")
    path = run / "speed.json"
    path.write_text(json.dumps(content))
    refused([run, "--out", tmp_path / "page"], capsys, path, found)


def test_what_evaluate_writes_of_a_cpu_is_taken(results, tmp_path):
    path = results[0] / "results-val.json"
    content = json.loads(path.read_text())
    video = {"name": "a", "frames": 4, "frames_per_second": None}
    content["about"].update(machine=CPU | VERSIONS, segmented=[video])
    path.write_text(json.dumps(content))
    assert main(["report", str(results[0]), "--out", str(tmp_path / "page")]) == 0
    assert "A, 2 cores" in (tmp_path / "page" / "report.html").read_text()


def test_scores_of_no_number_are_missing_ones(results, tmp_path, capsys):
    """As they are in an edited file; the commands write none."""
    (tmp_path / "masks").rename(tmp_path / "gone")
    path = results[1] / "results-val.json"
    content = json.loads(path.read_text())
    content["objects"][0]["J_frames"] = [None] * 4
    path.write_text(json.dumps(content))
    command = ["report", *map(str, results), "--out", str(tmp_path / "page"), "--json"]
    capsys.readouterr()
    assert main(command) == 0
    printed = json.loads(capsys.readouterr().out)
    found = printed["differences"]["far"]
    assert found["J"]["mean"] is None and np.isfinite(found["F"]["mean"])
    text = (tmp_path / "page" / "report.html").read_text()
    assert not re.findall(r"[^a-z]nan[^a-z]", text.lower())
    assert "scores are missing, so that which is better cannot be told" in text
