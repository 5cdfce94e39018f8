"""Schedules, groups, and update rules against their formulas."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from vos_jax.errors import InputError
from vos_jax.training.optimizers import OptimizerConfig, parameter_paths

# A few float32 operations on each number.
CLOSE = {"rtol": 1e-5, "atol": 1e-7}


@pytest.fixture
def params():
    rng = np.random.default_rng(0)
    return {
        "encoder": {
            "conv": {"kernel": rng.normal(size=(3, 2)), "bias": rng.normal(size=2)},
            "norm": {"scale": rng.normal(size=2)},
        },
        "head": {"kernel": rng.normal(size=(2, 2))},
    }


@pytest.fixture
def gradients(params):
    rng = np.random.default_rng(1)
    return [jax.tree.map(lambda x: rng.normal(size=x.shape), params) for _ in range(3)]


def run(config, params, gradients):
    """Parameters after the gradients, one after the other."""
    params, *gradients = jax.tree.map(
        lambda x: jnp.asarray(x, jnp.float32), (params, *gradients)
    )
    optimizer = config.build(len(gradients), params)
    state = optimizer.init(params)
    for each in gradients:
        updates, state = optimizer.update(each, state, params)
        params = optax.apply_updates(params, updates)
    return params


def assert_near(found, expected):
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, **CLOSE), found, expected
    )


def test_adam_adds_weight_decay_to_the_gradient(params, gradients):
    config = OptimizerConfig(learning_rate=0.01, weight_decay=0.1)
    found = run(config, params, gradients)

    def written_out(weight, *gradients):
        mean = square = 0.0
        for step, gradient in enumerate(gradients, 1):
            gradient = gradient + 0.1 * weight
            mean = 0.9 * mean + 0.1 * gradient
            square = 0.999 * square + 0.001 * gradient**2
            root = np.sqrt(square / (1 - 0.999**step)) + 1e-8
            weight = weight - 0.01 * mean / (1 - 0.9**step) / root
        return weight

    assert_near(found, jax.tree.map(written_out, params, *gradients))


def test_adamw_adds_weight_decay_to_the_update(params, gradients):
    config = OptimizerConfig(name="adamw", learning_rate=0.01, weight_decay=0.1)
    plain = dataclasses.replace(config, weight_decay=0.0)
    found = run(config, params, gradients[:1])
    expected = run(plain, params, gradients[:1])
    assert_near(found, jax.tree.map(lambda x, w: x - 0.001 * w, expected, params))


def test_sgd_has_momentum(params, gradients):
    config = OptimizerConfig(name="sgd", learning_rate=0.01, momentum=0.5)

    def written_out(weight, *gradients):
        velocity = 0.0
        for gradient in gradients:
            velocity = 0.5 * velocity + gradient
            weight = weight - 0.01 * velocity
        return weight

    expected = jax.tree.map(written_out, params, *gradients)
    assert_near(run(config, params, gradients), expected)
    still = dataclasses.replace(config, momentum=0.0)
    expected = jax.tree.map(lambda w, *gs: w - 0.01 * sum(gs), params, *gradients)
    assert_near(run(still, params, gradients), expected)


def test_norms_and_biases_can_be_left_out_of_weight_decay(params, gradients):
    config = OptimizerConfig(
        name="sgd", learning_rate=1.0, weight_decay=0.5, decay_norms_and_biases=False
    )
    nothing = [jax.tree.map(np.zeros_like, params)]
    found = run(config, params, nothing)
    assert_near(
        found["encoder"]["conv"]["kernel"], 0.5 * params["encoder"]["conv"]["kernel"]
    )
    assert_near(found["encoder"]["norm"], params["encoder"]["norm"])
    assert_near(found["encoder"]["conv"]["bias"], params["encoder"]["conv"]["bias"])
    found = run(
        dataclasses.replace(config, decay_norms_and_biases=True), params, nothing
    )
    assert_near(found, jax.tree.map(lambda x: 0.5 * x, params))


def test_groups_have_their_own_rates_and_the_first_pattern_counts(params, gradients):
    config = OptimizerConfig(name="sgd", learning_rate=0.1, momentum=0.0)
    rates = (("*/bias", 2.0), ("encoder/*", 0.1))
    found = run(dataclasses.replace(config, rates=rates), params, gradients[:1])
    factors = {
        "encoder": {
            "conv": {"kernel": 0.1, "bias": 2.0},
            "norm": {"scale": 0.1},
        },
        "head": {"kernel": 1.0},
    }
    expected = jax.tree.map(
        lambda w, g, f: w - 0.1 * f * g, params, gradients[0], factors
    )
    assert_near(found, expected)


@pytest.mark.parametrize("name", ["adam", "adamw", "sgd"])
def test_what_is_frozen_stays_and_has_no_state(params, gradients, name):
    config = OptimizerConfig(
        name=name,
        learning_rate=0.1,
        weight_decay=0.1,
        decay_norms_and_biases=False,
        rates=(("*/bias", 2.0),),
    )
    frozen = dataclasses.replace(config, frozen=("encoder/norm/*", "head/*"))
    found, free = run(frozen, params, gradients), run(config, params, gradients)
    as_float32 = jax.tree.map(lambda x: np.asarray(x, np.float32), params)
    for path in (("encoder", "norm", "scale"), ("head", "kernel")):
        np.testing.assert_array_equal(_at(found, path), _at(as_float32, path))
    assert_near(found["encoder"]["conv"], free["encoder"]["conv"])
    optimizer = frozen.build(3, params)
    shapes = [x.shape for x in jax.tree.leaves(optimizer.init(as_float32)) if x.ndim]
    assert (2, 2) not in shapes
    assert jax.tree.leaves(optimizer.frozen) == [False, False, True, True]


def _at(tree, path):
    for key in path:
        tree = tree[key]
    return tree


def test_the_state_can_be_made_in_a_program(params, gradients):
    config = OptimizerConfig(frozen=("head/*",), rates=(("encoder/*", 0.5),))
    floats = jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), params)
    optimizer = config.build(3, floats)
    state = jax.jit(optimizer.init)(floats)
    jax.jit(optimizer.update)(floats, state, floats)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, [1, 1, 1, 1, 1]),
        ({"warmup_steps": 2}, [0.5, 1, 1, 1, 1]),
        (
            {"schedule": "step", "milestones": (4, 8), "decay": 0.5},
            [1, 1, 0.5, 0.25, 0.25],
        ),
        ({"schedule": "polynomial", "power": 2.0}, [1, 0.81, 0.25, 0.01, 0]),
        ({"schedule": "cosine", "end_factor": 0.2}, [1, None, 0.6, None, 0.2]),
        (
            {"schedule": "polynomial", "power": 1.0, "warmup_steps": 5},
            [0.2, 0.4, 1, 0.2, 0],
        ),
    ],
)
def test_rates_follow_their_schedule(options, expected):
    rate = OptimizerConfig(learning_rate=3.0, **options).rate(10)
    for step, share in zip((0, 1, 5, 9, 10), expected, strict=True):
        if share is not None:
            np.testing.assert_allclose(rate(step), 3 * share, rtol=1e-6, atol=1e-6)


def test_updates_follow_the_schedule(params, gradients):
    config = OptimizerConfig(
        name="sgd", momentum=0.0, schedule="step", milestones=(1, 2), learning_rate=1.0
    )
    found = run(config, params, gradients)
    expected = jax.tree.map(
        lambda w, a, b, c: w - a - 0.1 * b - 0.01 * c, params, *gradients
    )
    assert_near(found, expected)


def test_paths_have_slashes(params):
    assert parameter_paths(params)[0] == "encoder/conv/bias"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name": "adagrad"}, "name='adagrad'.*adam, adamw, sgd"),
        ({"schedule": "linear"}, "schedule='linear'.*cosine"),
        ({"schedule": "step"}, "milestones"),
        ({"milestones": (5,)}, "milestones"),
        ({"schedule": "step", "milestones": (5, 3)}, "rise"),
        ({"learning_rate": 0.0}, "learning_rate=0.0"),
        ({"learning_rate": float("nan")}, "learning_rate=nan"),
        ({"weight_decay": -1.0}, "weight_decay=-1.0"),
        ({"momentum": 1.5}, "momentum=1.5"),
        ({"momentum": 1.0}, "momentum=1.0: use 0 or more and less than 1"),
        ({"beta1": 1.0}, "beta1=1.0: use 0 or more and less than 1"),
        ({"beta2": 1.0}, "beta2=1.0: use 0 or more and less than 1"),
        ({"beta1": -0.1}, "beta1=-0.1"),
        ({"end_factor": 1.1}, "end_factor=1.1: use 0 to 1"),
        ({"learning_rate": float("inf")}, "learning_rate=inf: use a finite number"),
        ({"learning_rate": "fast"}, "learning_rate='fast': use a finite number"),
        ({"epsilon": 0}, "epsilon=0: use more than 0"),
        ({"warmup_steps": 2.5}, "warmup_steps=2.5: use a whole number"),
        ({"warmup_steps": -1}, "warmup_steps=-1: use a whole number"),
        ({"schedule": "step", "milestones": (-5, 3)}, r"milestones=\(-5, 3\): use"),
        ({"schedule": "step", "milestones": (2.5,)}, r"milestones=\(2.5,\): use"),
        ({"schedule": "step", "milestones": ("a",)}, r"milestones=\('a',\): use"),
        ({"schedule": "step", "milestones": 5}, "milestones=5: use a tuple"),
        ({"rates": (("head/*", 0.0),)}, "head/.*frozen"),
        ({"rates": (("head/*", float("inf")),)}, "rates=.*: use a tuple of pairs"),
        ({"rates": (("x",),)}, r"rates=\(\('x',\),\): use a tuple of pairs"),
        ({"rates": (("x", "y"),)}, "rates=.*: use a tuple of pairs"),
        ({"rates": ("xy",)}, r"rates=\('xy',\): use a tuple of pairs"),
        ({"rates": "xy"}, "rates='xy': use a tuple of pairs"),
        ({"frozen": "head/*"}, r"frozen='head/\*': use a tuple of patterns"),
        ({"frozen": (3,)}, r"frozen=\(3,\): use a tuple of patterns"),
    ],
)
def test_wrong_options_are_named(options, message):
    with pytest.raises(InputError, match=message) as error:
        OptimizerConfig(**options)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rates": (("decoder/*", 0.1),)}, "'decoder/.*' fits no.*'encoder/conv/bias'"),
        ({"frozen": ("body/*",)}, "'body/.*' fits no"),
        ({"frozen": ("*",)}, "nothing is left"),
        ({"warmup_steps": 3}, "warmup_steps=3.*3 steps"),
    ],
)
def test_what_does_not_fit_the_run_is_named(params, options, message):
    with pytest.raises(InputError, match=message):
        OptimizerConfig(**options).build(3, params)
