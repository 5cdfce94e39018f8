"""The picture of where a cell looks."""

import numpy as np
import pytest
from PIL import Image

import vos_jax
from tests.clips import moving_clip
from tests.experiments.scripts import script
from tests.methods.hmmn_weights import narrow

guidance = script("hmmn/guidance")

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def hmmn():
    return narrow(k=4)


@pytest.fixture(scope="module")
def clip():
    frames, labels = moving_clip(6)
    return frames, labels[0]


@pytest.fixture(scope="module")
def found(hmmn, clip):
    """Frame 5 of six: a grid of 2 x 3 cells, frames 0, 2 and 4 in the memory."""
    return guidance.look(*hmmn, *clip, 2, (20, 33))


def test_weights_are_those_of_all_memory_frames(found):
    assert found.times == (0, 2, 4) and found.cell == (1, 2)
    for weights in (found.plain, found.guided):
        assert weights.shape == (3, 2, 3)
        np.testing.assert_allclose(weights.sum(), 1, rtol=1e-6)
    assert np.abs(found.plain - found.guided).max() > 1e-3


def test_candidates_are_the_best_cells_of_the_frames_with_fine_entries(found):
    assert found.candidates.sum((1, 2))[1] == 0
    chosen = found.candidates[[0, 2]]
    assert chosen.sum() == 4
    guided = found.guided[[0, 2]]
    assert guided[chosen].min() >= guided[~chosen].max()


def test_an_object_or_a_pixel_that_is_not_there_is_named(hmmn, clip):
    for wanted, at, message in (
        (7, None, "--object 7: the first mask has 1, 2"),
        (1, (32, 0), "--at 32 0: the frame has 32 x 48 pixels"),
    ):
        with pytest.raises(vos_jax.InputError, match=message):
            guidance.look(*hmmn, clip[0][:2], clip[1], wanted, at)


def test_the_picture_has_a_column_for_each_memory_frame(found, clip, tmp_path):
    pytest.importorskip("matplotlib")
    path = tmp_path / "new" / "look.png"
    guidance.draw(found, clip[0], path)
    with Image.open(path) as image:
        width, height = image.size
    assert width > 1.5 * height


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--out", "x.png"], "give either a video with --mask or --generated SEED"),
        (["v.mp4", "--out", "x.png"], "v.mp4: say with --mask where its first mask is"),
        (["--generated", "1", "--frame", "0", "--out", "x.png"], "use at least 1"),
        (["--generated", "1", "--method", "stm-tiny", "--out", "x"], "use HMMN"),
    ],
)
def test_what_cannot_be_drawn_is_one_line(words, message, capsys, monkeypatch, hmmn):
    if "stm-tiny" not in words:
        monkeypatch.setattr(guidance, "load_model", lambda *_, **__: hmmn)
    assert guidance.main(words) == 2
    told = capsys.readouterr().err
    assert message in told and told.count("error") == 1
