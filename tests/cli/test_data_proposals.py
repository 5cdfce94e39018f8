"""`vos-jax data regions`, `quality` and `show --proposals`, one after the other."""

import json

import numpy as np
import pytest
from PIL import Image

from vos_jax.cli import main

CLIPS = [
    *("--source", "generated", "--option", "count=1", "--option", "length=3"),
    *("--option", "size=(32,48)", "--option", "objects=(2,2)"),
]


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    path = tmp_path_factory.mktemp("regions") / "regions.json"
    assert main(["data", "regions", *CLIPS, "--out", str(path)]) == 0
    return path


def test_what_is_stored_is_measured_as_what_is_found_anew(stored, capsys):
    capsys.readouterr()
    figures = []
    for proposals in (str(stored), "regions"):
        arguments = ["data", "quality", *CLIPS, "--proposals", proposals, "--json"]
        assert main(arguments) == 0
        figures.append(json.loads(capsys.readouterr().out))
    assert [figure.pop("proposals") for figure in figures] == [str(stored), "regions"]
    names = [figure.pop("identity") for figure in figures]
    assert names[0] != names[1]
    assert figures[0] == figures[1]
    assert figures[0]["frames"] == 2 and figures[0]["objects"] == 2
    assert 0 < figures[0]["after_nms_mean_best_iou"] <= 1
    assert figures[0]["best_30_proposals_per_frame"] > 1


def test_proposals_are_drawn_beside_their_clips(stored, tmp_path):
    shape = ["--size", "32", "--batch", "1", "--frames", "2", "--skip", "0"]
    sheets = []
    for more in ([], ["--proposals", str(stored)]):
        out = tmp_path / f"{len(more)}.png"
        assert main(["data", "show", *CLIPS, *shape, *more, "--out", str(out)]) == 0
        sheets.append(np.array(Image.open(out)))
    # A third picture in the row; the two before it stay as they are.
    assert sheets[1].shape[1] > 1.4 * sheets[0].shape[1]


@pytest.mark.parametrize("command", ["show", "quality"])
def test_a_file_that_is_none_is_one_line(command, tmp_path, capsys):
    (tmp_path / "bad.json").write_text("[")
    arguments = ["data", command, *CLIPS, "--proposals", str(tmp_path / "bad.json")]
    arguments += ["--out", str(tmp_path / "x.png")] if command == "show" else []
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert "bad.json" in error and error.count("\n") == 1
    assert not (tmp_path / "x.png").exists()
