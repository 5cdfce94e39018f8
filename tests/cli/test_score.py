"""The options of `vos-jax score` that only some data sets have."""

import json

import numpy as np
import pytest

from tests.clips import write_davis, write_frames, write_masks
from vos_jax.cli import main


@pytest.fixture
def score(tmp_path, capsys):
    """Scores a video with a dog, 1, and an okapi, 2, whose last result is empty."""
    stems = ["9", "10", "11", "12"]
    labels = np.zeros((4, 32, 48), np.uint8)
    labels[:, 4:20, 6:22], labels[:, 4:20, 30:40] = 1, 2
    split = tmp_path / "valid"
    named = dict(zip(stems, labels, strict=True))
    write_masks(split / "Annotations" / "clip", named)
    write_masks(tmp_path / "results" / "clip", named | {"12": labels[0] * 0})
    categories = {"1": "dog", "2": "okapi"}
    objects = {k: {"category": v, "frames": stems} for k, v in categories.items()}
    meta = {"videos": {"clip": {"objects": objects}}}
    (split / "meta.json").write_text(json.dumps(meta), encoding="utf-8-sig")

    def run(*more, dataset="youtube-vos", root=tmp_path, split="valid"):
        status = main(
            [
                *("score", "--dataset", dataset, "--root", str(root)),
                *("--split", split, "--results", str(tmp_path / "results")),
                *("--json", *map(str, more)),
            ]
        )
        out, err = capsys.readouterr()
        return status, json.loads(out) if out else None, err

    return run


def test_seen_categories_are_named_on_the_command_line(score):
    status, figures, _ = score("--seen", "dog, cat", "--drop-last")
    assert (status, figures["G"]) == (0, 1)
    assert score("--seen", "okapi")[1]["J_unseen"] == pytest.approx(2 / 3)


def test_seen_categories_are_read_from_a_file(score, tmp_path):
    path = tmp_path / "seen.txt"
    path.write_bytes("# as in training\r\n\r\ndog \r\n".encode("utf-16"))
    status, figures, err = score("--seen", path)
    assert (status, figures["G"]) == (0, pytest.approx(2 / 3))
    assert err == "scored 1/1: clip\n"


@pytest.mark.parametrize(
    ("seen", "found"),
    [
        ("dgo", "no object here is of a category named as seen: dgo"),
        (",", "names no category"),
        ("gone.txt", "there is no such file"),
        ("lists/gone", "there is no such file"),
    ],
)
def test_seen_categories_that_cannot_be_meant_are_refused(score, seen, found):
    status, figures, err = score("--seen", seen)
    assert (status, figures) == (2, None)
    assert found in err
    assert err.count("\n") == 1


def test_advice_names_an_option_that_there_is(score):
    status, _, err = score()
    assert status == 2
    assert "train/meta.json does not exist" in err
    assert "(--seen)" in err


def test_options_of_other_data_sets_are_refused(score, tmp_path):
    davis = write_davis(tmp_path / "davis", ["alpha"])
    status, _, err = score("--seen", "dog", dataset="davis2017", root=davis)
    assert (status, "--seen: " in err) == (2, True)
    status, _, err = score("--resolution", "480p")
    assert (status, "leave resolution 480p out" in err) == (2, True)


def test_what_misleads_is_said_beside_the_figures(score, tmp_path):
    davis = tmp_path / "davis"
    labels = np.zeros((5, 32, 48), np.uint8)
    labels[:, :9, :9], labels[:, 20:, 20:] = 1, 20
    write_frames(davis / "JPEGImages" / "480p" / "clip", np.stack([labels] * 3, -1))
    stems = [f"{time:05d}" for time in range(5)]
    named = dict(zip(stems, labels, strict=True))
    write_masks(davis / "Annotations" / "480p" / "clip", named)
    write_masks(tmp_path / "results" / "clip", {stem: labels[0] * 0 for stem in stems})
    (davis / "ImageSets" / "2017").mkdir(parents=True)
    (davis / "ImageSets" / "2017" / "val.txt").write_text("clip\n")
    status, figures, err = score(dataset="davis2017", root=davis, split="val")
    assert (status, figures["J&F-Mean"]) == (0, pytest.approx(0.9))
    assert err.count("vos-jax: note: davis2017 val: ") == 1
    assert "clip 2-19. The means without them: J&F-Mean 0.000" in err


def test_help_says_what_drop_last_does(capsys):
    with pytest.raises(SystemExit):
        main(["score", "--help"])
    text = " ".join(capsys.readouterr().out.split())
    assert "the last annotated frame of each video" in text
