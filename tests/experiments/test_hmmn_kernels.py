"""The picture of what kernels make of the scores of one memory cell."""

import numpy as np
import pytest
from PIL import Image

import vos_jax
from tests.clips import moving_clip
from tests.experiments.scripts import script
from tests.methods.hmmn_weights import narrow

kernels = script("hmmn/kernels")

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def hmmn():
    return narrow(k=4, sigma=0.5, sigma_step=0.0)


@pytest.fixture(scope="module")
def clip():
    frames, labels = moving_clip(4)
    return frames, labels[0]


@pytest.fixture(scope="module")
def found(hmmn, clip):
    """Frame 3 of four: a grid of 2 x 3 cells."""
    return kernels.score(*hmmn, *clip, 2, (20, 33))


def test_kernels_draw_scores_to_where_their_centres_are(found):
    assert found.cell == (1, 2)
    plain, best, track = found.weights.values()
    for weights in (plain, best, track):
        assert weights.shape == (2, 3)
        np.testing.assert_allclose(weights.sum(), 1, rtol=1e-6)
    # KMN's centre is the best match, and its kernel is wide for so small a grid.
    assert best.argmax() == plain.argmax() and best.max() >= plain.max()
    # Half a cell is narrow: nearly all is in the cell where the track ends.
    assert track.max() > 0.6 > plain.max()


def test_an_object_or_a_pixel_that_is_not_there_is_named(hmmn, clip):
    for wanted, at, message in (
        (7, None, "--object 7: the first mask has 1, 2"),
        (1, (32, 0), "--at 32 0: the frame has 32 x 48 pixels"),
    ):
        with pytest.raises(vos_jax.InputError, match=message):
            kernels.score(*hmmn, clip[0][:2], clip[1], wanted, at)


def test_the_picture_has_a_column_for_each_kernel(found, clip, tmp_path):
    path = tmp_path / "new" / "kernels.png"
    kernels.draw(found, clip[0], path)
    width, height = Image.open(path).size
    assert width > 3 * height


def test_a_method_without_kernels_is_refused(capsys):
    words = ["--generated", "1", "--method", "stm-tiny", "--out", "x.png"]
    assert kernels.main(words) == 2
    assert "--method stm-tiny: use HMMN with its guidance" in capsys.readouterr().err
