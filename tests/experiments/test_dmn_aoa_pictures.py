"""The pictures of DMN-AOA."""

import numpy as np
import pytest
from PIL import Image

import vos_jax
from tests.clips import moving_clip
from tests.experiments.scripts import script
from vos_jax.data.proposals import open_proposals
from vos_jax.errors import InputError
from vos_jax.methods.weights import random_model

pictures = script("dmn_aoa/pictures")

pytestmark = pytest.mark.slow
NARROW = {
    "backbone": {"depth": 18, "width": 8},
    "level_dims": (8, 8, 16),
    "align_dim": 8,
    "refine_dim": 8,
    "groups": 4,
    "object_size": 6,
    "n_grad": 5,
    "mem_every": 2,
}


@pytest.fixture(scope="module")
def model():
    return vos_jax.inference_form(*random_model("dmn-aoa", **NARROW))


@pytest.fixture(scope="module")
def proposals():
    frames, _ = moving_clip(5)
    reader = open_proposals("regions")
    video = reader.video(None, [f"{t:05d}" for t in range(5)], (32, 48))
    return [None, *(video.read(t, frames[t], (32, 48)) for t in range(1, 5))]


@pytest.fixture(scope="module")
def found(model, proposals):
    frames, labels = moving_clip(5)
    seen = pictures.look(*model, frames, labels[0], 2, proposals)
    return seen._replace(source="Proposals: of the region proposer.")


def test_what_is_read_adds_up_to_one_over_the_memory(found):
    assert found.times == [0, 2, 3]
    assert found.weights.shape == (36, 3, 6, 6)
    np.testing.assert_allclose(found.weights.sum((1, 2, 3)), 1, atol=1e-5)
    first = [26, 14, 42, 29]
    np.testing.assert_array_equal(found.boxes[0], first)
    np.testing.assert_array_equal(found.boxes[-1], found.query_box)


def test_similarities_are_the_means_of_the_cosines(found):
    own = found.similarity[found.which, : len(found.cosines)]
    np.testing.assert_allclose(found.cosines.mean(1), own, atol=1e-5)
    np.testing.assert_allclose(found.correspondence.sum(-1), 1, atol=1e-5)


def test_what_is_found_is_what_a_video_gives(found, model, proposals):
    frames, labels = moving_clip(5)
    whole = vos_jax.segment_video(*model, frames, labels[0], inputs=proposals)
    known = np.concatenate([1 - found.found.sum(0, keepdims=True), found.found])
    assert (known.argmax(0) == whole[-1]).mean() > 0.999


def test_the_pictures_are_drawn(found, tmp_path):
    cell = pictures._cell(found, None)
    drawings = {
        "memory": pictures.draw_memory(found, cell),
        "alignment": pictures.draw_alignment(found),
        "matching": pictures.draw_matching(found),
    }
    for name, figure in drawings.items():
        pictures.write_figure(figure, tmp_path / f"{name}.png")
        with Image.open(tmp_path / f"{name}.png") as picture:
            assert picture.width > 600


def test_a_pixel_outside_of_the_box_is_refused(found):
    x0, y0, *_ = found.query_box
    assert pictures._cell(found, (int(y0), int(x0))) == (0, 0)
    with pytest.raises(InputError, match=r"--at -1 0: use a pixel in the object's box"):
        pictures._cell(found, (-1, 0))


def test_networks_without_what_is_drawn_are_refused(capsys, tmp_path):
    words = ["--generated", "1", "--method", "stm-tiny", "--out", str(tmp_path)]
    assert pictures.main(words) == 2
    assert "use DMN-AOA with its memory of objects" in capsys.readouterr().err
