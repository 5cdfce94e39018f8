"""The loss of HMMN on a narrow network: which fine reads it drops, and when."""

import dataclasses
import json
from dataclasses import asdict

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.clips import moving_clip
from tests.methods.hmmn_weights import narrow
from vos_jax.errors import InputError
from vos_jax.methods import create
from vos_jax.methods.hmmn.objective import HMMNLoss
from vos_jax.methods.objective import StepConfig
from vos_jax.training.clip_loss import clip_loss
from vos_jax.types import ClipBatch

KEY = jax.random.key(0)


@pytest.fixture(scope="module")
def hmmn():
    return narrow(read="reference", k=4)


@pytest.fixture(scope="module")
def clip():
    """Two frames of two objects."""
    frames, labels = moving_clip(2)
    return ClipBatch(frames, labels, np.ones(2, bool))


@pytest.fixture(scope="module")
def gradient(hmmn, clip):
    """The loss and its gradient, compiled once for both shares at their ends."""
    method, variables = hmmn

    def total(params, step):
        weights = {**variables, "params": params}
        loss = HMMNLoss(dropout=(1.0, 0.0), dropout_steps=10)
        return loss(method, weights, clip, KEY, StepConfig(), step, clip_loss).loss

    compiled = jax.jit(jax.value_and_grad(total))
    return lambda step: compiled(variables["params"], step)


def _plain(method, variables, clip, **changes):
    """The loss without dropout."""
    config = dataclasses.replace(method.config, **changes)
    method = method.clone(config=config)

    @jax.jit
    def loss(variables):
        return clip_loss(method, variables, clip, KEY, StepConfig())

    return float(loss(variables).loss)


def test_the_share_that_is_dropped_falls_on_a_straight_line_and_stays():
    loss = HMMNLoss(dropout=(1.0, 0.5), dropout_steps=100)
    shares = [float(loss.rate(step)) for step in (0, 50, 100, 500)]
    assert shares == [1.0, 0.75, 0.5, 0.5]
    # Inside of a compiled step it is a traced number.
    assert jax.jit(loss.rate)(jnp.int32(50)) == 0.75


@pytest.mark.slow
def test_a_network_all_of_whose_fine_reads_are_dropped_is_one_without(
    hmmn, clip, gradient
):
    found, grads = gradient(0)
    expected = _plain(*hmmn, clip, kernel_guided=False, fine_stages=())
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    unused = ("query_fine_heads", "memory_fine_heads", "fine_convs")
    assert all(not x.any() for name in unused for x in jax.tree.leaves(grads[name]))


@pytest.mark.slow
def test_at_the_end_of_training_nothing_is_dropped_and_every_weight_learns(
    hmmn, clip, gradient
):
    found, grads = gradient(10)
    expected = _plain(*hmmn, clip, kernel_guided=False)
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    assert abs(found - gradient(0)[0]) > 1e-3
    assert all(x.any() for x in jax.tree.leaves(grads["fine_convs"]))
    for heads in ("query_fine_heads", "memory_fine_heads"):
        assert all(x.any() for x in jax.tree.leaves(grads[heads]))


@pytest.mark.slow
def test_the_read_is_guided_in_training_if_one_asks_for_it(hmmn, clip):
    method, variables = hmmn

    @jax.jit
    def loss(variables):
        settings = HMMNLoss(dropout=(0, 0), dropout_steps=1, kernel_guided=True)
        return settings(method, variables, clip, KEY, StepConfig(), 0, clip_loss).loss

    guided = float(loss(variables))
    np.testing.assert_allclose(guided, _plain(*hmmn, clip), rtol=1e-5)
    assert abs(guided - _plain(*hmmn, clip, kernel_guided=False)) > 1e-5


@pytest.mark.parametrize("step", [0, 30, 100])
def test_every_frame_object_and_stage_draws_for_itself(hmmn, clip, step):
    loss = HMMNLoss(dropout=(0.9, 0.2), dropout_steps=100)
    many = jnp.arange(2000)
    keys = jax.vmap(lambda i: jax.random.fold_in(KEY, i))(many)
    drawn = jax.vmap(lambda key: loss.draw(key, step, hmmn[0], clip))(keys)
    assert set(drawn) == {3, 2}
    # Frames, objects and stages side by side.
    kept = np.concatenate([np.asarray(x).reshape(2000, -1) for x in drawn.values()], 1)
    assert kept.shape == (2000, 4) and set(np.unique(kept)) == {0, 1}
    share = 1 - float(loss.rate(step))
    # Five standard deviations of a mean of 2000, and of their correlation.
    spread = 5 * (share * (1 - share) / 2000) ** 0.5
    np.testing.assert_allclose(kept.mean(0), share, atol=spread)
    together = np.corrcoef(kept.T) - np.eye(4)
    assert np.abs(together).max() < 5 / 2000**0.5


def test_the_same_key_draws_the_same(hmmn, clip):
    loss = HMMNLoss(dropout=(0.5, 0.5), dropout_steps=1)
    twice = [loss.draw(KEY, 0, hmmn[0], clip) for _ in range(2)]
    jax.tree.map(np.testing.assert_array_equal, *twice)


def test_a_network_without_fine_stages_draws_nothing(clip):
    method = create("hmmn", fine_stages=())
    assert HMMNLoss(dropout_steps=1).draw(KEY, 0, method, clip) == {}


def test_a_method_without_fine_reads_is_refused(clip):
    with pytest.raises(InputError, match="STM is no HMMN network; leave the objective"):
        HMMNLoss(dropout_steps=1)(
            create("stm"), {}, clip, KEY, StepConfig(), 0, clip_loss
        )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dropout": 0.5}, "dropout=0.5: use two shares from 0 to 1"),
        ({"dropout": (1.0, 1.5)}, "use two shares from 0 to 1"),
        ({"dropout": (1.0, True)}, "use two shares from 0 to 1"),
        ({"dropout_steps": 0}, "dropout_steps=0: use a whole number of at least 1"),
        ({"dropout_steps": 1.5}, "dropout_steps=1.5: use a whole number"),
        ({"kernel_guided": 1}, "kernel_guided=1: use True or False"),
    ],
)
def test_settings_that_make_no_sense_are_refused(options, message):
    with pytest.raises(InputError) as caught:
        HMMNLoss(**{"dropout_steps": 10, **options})
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_json_holds_its_settings():
    described = json.loads(json.dumps(asdict(HMMNLoss(dropout_steps=10))))
    assert HMMNLoss(**{**described, "dropout": (1.0, 0.5)}) == HMMNLoss(
        dropout_steps=10
    )
