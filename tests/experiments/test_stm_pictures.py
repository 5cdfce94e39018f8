"""STM's pictures: where an object looks, and how its scores are distributed."""

import numpy as np
import pytest
from PIL import Image

import vos_jax
from tests.clips import moving_clip, write_davis
from tests.experiments.scripts import script
from tests.methods.every import tiny
from vos_jax.media import read_labels, write_labels
from vos_jax.ops.memory_bank import Moment

attention, distribution = script("stm/attention"), script("stm/distribution")

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def clip():
    frames, labels = moving_clip(6)
    return frames, labels[0]


@pytest.fixture(scope="module")
def found(clip):
    """Frame 5 of six, every second of which is kept, with masks that are given."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(attention, "cells_of", lambda mask: np.ones((2, 3), bool))
        return attention.attend(*tiny("stm"), *clip, 2)


def test_each_cell_of_the_object_looks_once(found):
    assert found.times == (0, 2, 4)
    assert found.weights.shape == (3, 2, 3) and (found.weights >= 0).all()
    # Every one of the six cells has a weight of 1 in all.
    np.testing.assert_allclose(found.weights.sum(), 6, rtol=1e-5)


def test_the_read_is_that_of_the_method(clip, found):
    """What the weights of all cells add up is the sum of what the cells read."""
    method, variables = tiny("stm")
    frames, labels = clip
    state = vos_jax.start(method, variables, frames[0], labels, frames=6)
    for frame in frames[1:-1]:
        state, _ = vos_jax.step(method, variables, state, frame)
    network = method.bind(variables)
    moment = Moment(state.time, state.active, state.first, state.corrected)
    memory = network.memorize(
        state.memory, state.frame, state.keep, state.probs, moment
    )
    query, _ = network.encode(frames[-1].astype(np.float32) / 255)
    read = network.read(memory, query, state.active)[1].sum((0, 1))
    order = np.argsort(np.asarray(memory.bank.time[:, 1]))
    kept = [slot for slot in order if memory.bank.time[slot, 1] >= 0]
    values = np.asarray(memory.bank.entries.value[:, 1])[kept]
    expected = np.einsum("nij,nijc->c", found.weights, values)
    np.testing.assert_allclose(read, expected, rtol=1e-4, atol=1e-4)


def test_a_cell_is_the_object_s_where_it_is_covered_by_half():
    mask = np.zeros((32, 48), np.float32)
    mask[:16, :16], mask[:9, 16:32], mask[16:, :5] = 1, 1, 1
    np.testing.assert_array_equal(
        attention.cells_of(mask), [[True, True, False], [False, False, False]]
    )


def test_the_picture_has_a_column_for_each_memory_frame(found, clip, tmp_path):
    path = tmp_path / "new" / "attention.png"
    attention.draw(found, clip[0], path)
    width, height = Image.open(path).size
    assert width > 3 * height


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--out", "x.png"], "give either a video with --mask or --generated SEED"),
        (["--generated", "1", "--frame", "0", "--out", "x.png"], "use at least 1"),
        (["--generated", "1", "--method", "hmmn-tiny", "--out", "x"], "reads as STM"),
    ],
)
def test_what_cannot_be_drawn_is_one_line(words, message, capsys, monkeypatch):
    if "hmmn-tiny" not in words:
        monkeypatch.setattr(attention, "load_model", lambda *_, **__: tiny("stm"))
    assert attention.main(words) == 2
    told = capsys.readouterr().err
    assert message in told and told.count("error") == 1


def test_scores_of_all_objects_are_sorted(tmp_path, monkeypatch, capsys):
    root = write_davis(tmp_path / "davis", ["alpha", "beta"], 5)
    for name in ("good", "empty"):
        for path in (root / "Annotations" / "480p").rglob("*.png"):
            folder = tmp_path / name / path.parent.name
            folder.mkdir(parents=True, exist_ok=True)
            labels = read_labels(path)
            write_labels(folder / path.name, labels if name == "good" else 0 * labels)
    drawn = []
    monkeypatch.setattr(distribution, "draw", lambda *args: drawn.append(args))
    masks = [f"{name}={tmp_path / name}" for name in ("good", "empty")]
    words = ["--root", str(root), "--out", "x.png", "--masks"]
    assert distribution.main([*words, *masks]) == 0
    ((curves, _),) = drawn
    # Three frames of two objects in two sequences: the first and the last are left out.
    np.testing.assert_array_equal(curves["good"], np.ones(12))
    np.testing.assert_array_equal(curves["empty"], np.zeros(12))
    assert distribution.main([*words, "good"]) == 2
    assert "--masks good: write WORDS=DIR" in capsys.readouterr().err


def test_curves_are_drawn(tmp_path):
    path = tmp_path / "new" / "curves.png"
    distribution.draw({"a": np.linspace(0, 1, 9), "b": np.ones(9)}, path)
    assert Image.open(path).size[0] > 400
