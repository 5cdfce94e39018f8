"""The script of pictures side by side: what it segments, and what it takes."""

import numpy as np
import pytest
from PIL import Image

from tests.bench.toy import load_toy
from tests.clips import write_davis
from tests.experiments.scripts import script
from vos_jax.inference import demo

compare = script("side_by_side")


@pytest.fixture(autouse=True)
def quick(monkeypatch, tmp_path):
    """Small clips, and a network that compiles in a moment."""
    monkeypatch.setattr(demo, "_SIZE", (32, 48))
    monkeypatch.setattr(demo, "_WORLD_SIZE", (32, 48))
    monkeypatch.setattr(demo, "_FRAMES", 6)
    monkeypatch.setattr(compare, "load_model", load_toy)
    monkeypatch.chdir(tmp_path)


def run(*words):
    return compare.main([*map(str, words), "--out", "picture.png"])


def test_methods_and_masks_are_drawn_beside_one_another(tmp_path, capsys):
    root = write_davis(tmp_path / "davis", ["alpha", "beta"], 5)
    about = ("--root", root, "--sequence", "beta")
    assert run(*about, "--methods", "stm-tiny", "--frames", 1, 3) == 0
    first = np.asarray(Image.open("picture.png"))
    (masks,) = (tmp_path / "side_by_side").glob("beta_*/stm-tiny")
    words = ("--methods", "stm-tiny", "--masks", f"before={masks}", "--frames", 1, 3)
    assert run(*about, *words) == 0
    second = np.asarray(Image.open("picture.png"))
    assert second.shape[0] > first.shape[0] and second.shape[1] == first.shape[1]
    assert capsys.readouterr().out == "picture.png\n" * 2


def test_a_clip_has_four_frames_by_default():
    assert run("--generated", 1, "--methods", "stm-tiny") == 0
    width, height = Image.open("picture.png").size
    assert width > 4 * 320 and height > 2 * 200


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "give either --root or --generated"),
        (("--generated", 1), "nothing to compare; give --methods or --masks"),
        (("--generated", 1, "--masks", "a"), "--masks a: write WORDS=DIR"),
        (("--generated", 1, "--masks", "a=b", "a=c"), "a is named twice"),
        (("--generated", 1, "--masks", "a=b"), "is not there; segment the sequence"),
    ],
)
def test_what_cannot_be_drawn_is_told_in_one_line(words, message, capsys):
    assert run(*words) == 2
    told = capsys.readouterr().err.splitlines()
    assert message in told[-1]
