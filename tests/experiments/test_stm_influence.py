"""STM's picture of what matters for a pixel: its gradients are those of differences."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

import vos_jax
from tests.clips import moving_clip
from tests.experiments.scripts import script
from tests.methods.every import tiny
from vos_jax.reports.picture import memory_to_read

influence, attention = script("stm/influence"), script("stm/attention")

pytestmark = pytest.mark.slow

AT = 20, 30


@pytest.fixture(scope="module")
def clip():
    frames, labels = moving_clip(6)
    return frames, labels[0]


@pytest.fixture(scope="module")
def found(clip):
    """Of frame 5 of six, every second of which is kept."""
    return influence.influence(*tiny("stm"), *clip, 2, AT)


@pytest.fixture(scope="module")
def states(clip):
    method, variables = tiny("stm")
    frames, labels = clip
    states = [vos_jax.start(method, variables, frames[0], labels, frames=6)]
    for frame in frames[1:-1]:
        states.append(vos_jax.step(method, variables, states[-1], frame)[0])
    return states


def test_what_the_cell_reads_is_what_the_picture_of_attention_shows(
    clip, found, monkeypatch
):
    cell = np.zeros((2, 3), bool)
    cell[AT[0] // 16, AT[1] // 16] = True
    monkeypatch.setattr(attention, "cells_of", lambda mask: cell)
    seen = attention.attend(*tiny("stm"), *clip, 2)
    assert found.times == seen.times == (0, 2, 4)
    np.testing.assert_allclose(found.read, seen.weights, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("row", ["values", "keys"])
def test_a_cell_that_tells_a_little_more_changes_the_odds_by_so_much(
    clip, found, states, row
):
    """All entries of the object larger by a share, against the sum of its map."""
    method, variables = tiny("stm")
    network, state = method.bind(variables), states[-1]
    memory = memory_to_read(network, state)
    frame = jnp.asarray(clip[0][-1], jnp.float32) / 255
    query, _ = network.encode(frame)
    field = row.removesuffix("s")

    @jax.jit
    def odds(share):
        entries = memory.bank.entries
        larger = getattr(entries, field).at[:, 1].multiply(1 + share)
        entries = entries._replace(**{field: larger})
        changed = memory._replace(bank=memory.bank._replace(entries=entries))
        out = network.segment(changed, query, frame, state.active)
        return out.logits[2, *AT] - out.logits[0, *AT]

    np.testing.assert_allclose(odds(0.0), found.odds, rtol=1e-4)
    slope = (odds(2e-3) - odds(-2e-3)) / 4e-3
    # Sums of float32 are right to some 2e-6, and the slope to that by the step.
    tolerance = 2e-6 * abs(found.odds) / 2e-3
    expected = getattr(found, row).sum()
    np.testing.assert_allclose(slope, expected, rtol=0.02, atol=tolerance)


def test_a_gradient_in_a_frame_is_that_of_what_it_left_in_the_memory(states, key):
    method, variables = tiny("stm")
    network, state = method.bind(variables), states[2]
    entry = jax.tree.map(lambda x: x[0], states[-1].memory.bank.entries)
    gradient = jax.tree.map(lambda x: jax.random.normal(key, x.shape), entry)

    def product(frame):
        memory = memory_to_read(network, state._replace(frame=frame))
        slot = jnp.argmax(memory.bank.time[:, 0] == state.time)
        left = jax.tree.map(lambda x: x[slot], memory.bank.entries)
        return sum(jax.tree.leaves(jax.tree.map(jnp.vdot, left, gradient)))

    expected = jnp.linalg.norm(jax.jit(jax.grad(product))(state.frame), axis=-1)
    seen = influence._to_pixels(method, variables, state, gradient)
    np.testing.assert_allclose(seen, expected, rtol=1e-3, atol=1e-4 * expected.max())


def test_the_picture_has_a_column_for_each_memory_frame(clip, found, tmp_path):
    path = tmp_path / "new" / "influence.png"
    influence.draw(found, clip[0], path)
    width, height = Image.open(path).size
    assert width > 1.2 * height
    told = influence.text(found)
    assert "read by its cell: frame 0" in told and "correlation" in told


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--out", "x.png"], "give either a video with --mask or --generated SEED"),
        (["--generated", "1", "--at", "999", "0", "--out", "x"], "the frame has 128 x"),
        (["--generated", "1", "--method", "hmmn-tiny", "--out", "x"], "reads as STM"),
    ],
)
def test_what_cannot_be_drawn_is_one_line(words, message, capsys, monkeypatch):
    if "hmmn-tiny" not in words:
        monkeypatch.setattr(influence, "load_model", lambda *_, **__: tiny("stm"))
    assert influence.main(words) == 2
    told = capsys.readouterr().err
    assert message in told and told.count("error") == 1
