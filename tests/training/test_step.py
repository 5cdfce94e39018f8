"""The train step against a plain loop, and what must not change its result."""

import dataclasses
from functools import partial

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from tests.clips import moving_clip
from vos_jax.errors import InputError
from vos_jax.inference.step import start, step_traced
from vos_jax.methods.base import Encoded, Method, Segmentation
from vos_jax.methods.objective import ClipSums, StepConfig
from vos_jax.nn.batch_statistics import batch_statistics
from vos_jax.nn.layers import Conv, ConvNorm, normalize_image
from vos_jax.nn.numerics import Numerics
from vos_jax.ops import memory_bank
from vos_jax.ops.image import to_unit_range
from vos_jax.ops.memory_bank import Policy
from vos_jax.ops.read import space_time_read
from vos_jax.ops.resample import upsample
from vos_jax.ops.soft_aggregation import soft_aggregate
from vos_jax.runtime.mesh import make_mesh, shard_batch
from vos_jax.training.optimizers import OptimizerConfig
from vos_jax.training.step import create_train_state, make_train_step
from vos_jax.types import ClipBatch

# Sums over 32x32 pixels and some thousand products in another order; relative to the
# largest entry of an array, for many entries are differences of larger numbers.
TOLERANCE = 2e-4
CLIPS = 8
SGD = OptimizerConfig(name="sgd", learning_rate=0.01)
KEY = 5


@dataclasses.dataclass(frozen=True, kw_only=True)
class SmallConfig:
    dtype: str = "float32"


class Small(Method):
    """STM in small, which compiles in a second: stride 4, one layer for each part."""

    config: SmallConfig = SmallConfig()

    def setup(self) -> None:
        numerics = Numerics(dtype=self.config.dtype)
        self.stem = ConvNorm(8, 7, 4, numerics=numerics)
        self.fuse = ConvNorm(8, numerics=numerics)
        self.query_key = Conv(4, numerics=numerics)
        self.memory_key = Conv(4, numerics=numerics)
        self.decode = Conv(1, numerics=numerics)

    def init_memory(self, height, width, objects, slots):
        entry = jnp.zeros((objects, height // 4, width // 4, 4 + 8))
        return memory_bank.empty(entry, slots)

    def slots(self, frames):
        return Policy().slots(frames)

    def due(self, memory, moment):
        return True

    def encode(self, frame):
        features = nn.relu(self.stem(normalize_image(frame)[None]))
        return Encoded((self.query_key(features)[0], features[0]), features[0])

    def memorize(self, memory, frame, keep, probs, moment):
        count, height, width = probs.shape
        small = probs.reshape(count, height // 4, 4, width // 4, 4).mean((2, 4))[1:]
        image = jnp.broadcast_to(keep, (count - 1, *keep.shape))
        others = small.sum(0, keepdims=True) - small
        seen = jnp.concatenate([image, small[..., None], others[..., None]], -1)
        value = nn.relu(self.fuse(seen))
        entry = jnp.concatenate([self.memory_key(value), value], -1)
        return memory_bank.write(memory, Policy(), entry, moment)

    def segment(self, memory, query, frame, active, inputs=None):
        key, value = query
        entries = memory.entries
        read = space_time_read(key, entries[..., :4], entries[..., 4:], memory.filled)
        own = jnp.broadcast_to(value, read.shape)
        logits = self.decode(jnp.concatenate([read.astype(own.dtype), own], -1))
        probs = jax.nn.sigmoid(upsample(logits.astype(jnp.float32), 4)[..., 0])
        return Segmentation(soft_aggregate(probs, active), memory)


def small_variables():
    frame, masks = jnp.zeros((32, 32, 3)), jnp.zeros((1, 32, 32))
    return jax.jit(Small().init)(jax.random.key(1), frame, masks)


def make_batch(clips=CLIPS, frames=3, objects=2):
    """Clips 32x32 of two objects, with ignored pixels in all but the first."""
    images, labels = moving_clip(frames + clips)
    images, labels = images[:, :, 8:40], labels[:, :, 8:40].copy()
    for number in range(1, clips):
        labels[-number, : 2 * number, :20] = 255
    cut = [slice(first, first + frames) for first in range(clips)]
    return ClipBatch(
        np.stack([images[window] for window in cut]),
        np.stack([labels[window] for window in cut]),
        np.tile(np.arange(objects) < 2, (clips, 1)),
    )


def train(method, variables, batch, config=StepConfig(), *, steps=1, **options):
    """The state after some steps, and the metrics of each; on all devices there are.

    Options are those of `make_train_step`, `optimizer`, and `check`, which is called
    with the compiled program.
    """
    mesh = make_mesh()
    optimizer = options.pop("optimizer", SGD)
    check = options.pop("check", lambda program: None)
    if isinstance(optimizer, OptimizerConfig):
        optimizer = optimizer.build(10, variables["params"])
    state = create_train_state(variables, optimizer, mesh, config)
    train_step = make_train_step(method, optimizer, mesh, config, **options)
    placed, key = shard_batch(mesh, batch, config.accumulation), jax.random.key(KEY)
    program = train_step.lower(state, placed, key).compile()
    check(program.as_text())
    metrics = []
    for _ in range(steps):
        state, each = program(state, placed, key)
        metrics.append(jax.device_get(each))
    return jax.device_get(state), metrics


def changes(state, variables):
    """What steps added to the parameters."""
    before = jax.device_get(variables["params"])
    return jax.tree.map(lambda a, b: a - b, state.params, before)


def assert_near(found, expected, tolerance=TOLERANCE):
    """Relative to the largest entry of each array.

    A millionth of the largest of all arrays is noise: a key's bias, which the softmax
    cancels, has nothing else.
    """
    largest = max(np.abs(x).max() for x in jax.tree.leaves(expected))

    def near(a, b):
        a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
        allowed = tolerance * np.abs(b).max() + 1e-6 * largest
        np.testing.assert_allclose(a, b, rtol=0, atol=allowed)

    jax.tree.map(near, found, expected)


@pytest.fixture(scope="module")
def batch():
    return make_batch()


@pytest.fixture(scope="module")
def variables():
    return small_variables()


@pytest.fixture(scope="module")
def plain(variables, batch):
    """Three steps of the default configuration."""
    return train(Small(), variables, batch, steps=3)


# --- The step itself ------------------------------------------------------------------


def plain_loss(method, variables, frames, labels):
    """Sum over the later frames of one clip, as one would write it down."""
    masks = jnp.stack([labels[0] == 1, labels[0] == 2]).astype(jnp.float32)
    state = start(method, variables, frames[0], masks)
    # Where nothing is known there is no background either.
    background = (labels[0] == 0).astype(jnp.float32)
    state = state._replace(probs=state.probs.at[0].set(background))
    total = 0.0
    for frame, truth in zip(frames[1:], labels[1:], strict=True):
        state, out = step_traced(method, variables, state, frame)
        each = optax.softmax_cross_entropy_with_integer_labels(
            out.logits.transpose(1, 2, 0), jnp.minimum(truth, 2).astype(jnp.int32)
        )
        total += (each * (truth < 255)).sum() / (truth < 255).sum()
    return total


@pytest.mark.parametrize(
    "model", ["small", pytest.param("stm", marks=pytest.mark.slow)]
)
def test_steps_are_those_of_a_plain_loop(model, batch, request):
    if model == "small":
        method, variables = Small(), request.getfixturevalue("variables")
        state, metrics = request.getfixturevalue("plain")
    else:
        method = request.getfixturevalue("tiny_method")
        variables = request.getfixturevalue("tiny_variables")
        state, metrics = train(method, variables, batch, steps=3)
    params = variables["params"]

    @jax.jit
    def compute(params, frames, labels):
        def loss(params):
            return plain_loss(method, {**variables, "params": params}, frames, labels)

        return jax.value_and_grad(loss)(params)

    optimizer = optax.sgd(0.01, momentum=0.9)
    opt_state = optimizer.init(params)
    for found in metrics:
        each = [
            compute(params, *clip)
            for clip in zip(batch.frames, batch.labels, strict=True)
        ]
        total = jax.tree.map(lambda *x: sum(x) / (2 * CLIPS), *each)
        loss, grads = total
        updates, opt_state = optimizer.update(grads, opt_state, params)
        params = optax.apply_updates(params, updates)
        assert_near(found["loss"], loss, 1e-5)
        assert_near(found["grad_norm"], optax.tree.norm(grads))
        assert found["finite"]
        assert found["learning_rate"] == np.float32(0.01)
    assert state.step == 3
    expected = changes(state._replace(params=params), variables)
    assert_near(changes(state, variables), expected)
    jax.tree.map(
        np.testing.assert_array_equal, state.batch_stats, variables["batch_stats"]
    )


@pytest.mark.slow
def test_training_lowers_the_loss_and_finds_the_objects(variables, batch):
    config = OptimizerConfig(learning_rate=0.01)
    _, metrics = train(Small(), variables, batch, optimizer=config, steps=25)
    assert metrics[-1]["loss"] < 0.5 * metrics[0]["loss"]
    assert metrics[-1]["iou"] > metrics[0]["iou"] + 0.1


@pytest.mark.slow
def test_parts_loops_and_recomputation_change_nothing(plain, variables, batch):
    config = StepConfig(accumulation=4, remat=True, unroll=False)
    state, metrics = train(Small(), variables, batch, config, steps=3)
    assert_near(changes(state, variables), changes(plain[0], variables))
    for found, expected in zip(metrics, plain[1], strict=True):
        assert_near(found, expected)


def test_free_object_slots_change_nothing(plain, variables):
    state, metrics = train(Small(), variables, make_batch(objects=4), steps=3)
    assert_near(changes(state, variables), changes(plain[0], variables))
    for found, expected in zip(metrics, plain[1], strict=True):
        assert_near(found, expected)


@pytest.mark.slow
def test_bfloat16_is_near_float32(plain, variables, batch):
    method = Small(config=SmallConfig(dtype="bfloat16"))
    state, metrics = train(method, variables, batch)
    # Eight bits of mantissa, some layers.
    np.testing.assert_allclose(metrics[0]["loss"], plain[1][0]["loss"], rtol=0.02)
    np.testing.assert_allclose(
        metrics[0]["grad_norm"], plain[1][0]["grad_norm"], rtol=0.05
    )
    assert metrics[0]["loss"] != plain[1][0]["loss"]
    types = {x.dtype for x in jax.tree.leaves((state.params, state.batch_stats))}
    assert types == {np.dtype(np.float32)}


# --- Norms ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def seen(variables, batch):
    """Statistics of the whole batch."""
    frames = to_unit_range(jnp.asarray(batch.frames[:, 0]))
    masks = batch.labels[:, 0, None] == np.array([1, 2])[None, :, None, None]
    measure = jax.jit(partial(batch_statistics, Small()))
    return measure(variables, frames, masks.astype(np.float32))


@pytest.mark.slow
def test_norms_that_follow_the_batch_are_stored_slowly(plain, variables, batch, seen):
    config = StepConfig(norms="batch", statistics_rate=0.1)
    state, metrics = train(Small(), variables, batch, config)
    expected = jax.tree.map(
        lambda new, old: 0.1 * new + 0.9 * old, seen, variables["batch_stats"]
    )
    assert_near(state.batch_stats, expected, 1e-5)
    # The same loss as with these statistics frozen, but another gradient: they depend
    # on the parameters.
    frozen, theirs = train(Small(), {**variables, "batch_stats": seen}, batch)
    assert_near(metrics[0]["loss"], theirs[0]["loss"], 1e-5)
    assert metrics[0]["loss"] != pytest.approx(plain[1][0]["loss"], rel=1e-3)
    ours, other = (
        jax.tree.leaves(changes(x, variables)["stem"])[0] for x in (state, frozen)
    )
    assert np.abs(ours - other).max() > 0.01 * np.abs(ours).max()


@pytest.mark.slow
def test_statistics_of_parts_are_averaged(variables, batch, seen):
    config = StepConfig(
        norms="batch", statistics_rate=1.0, accumulation=2, unroll=False
    )
    state, _ = train(Small(), variables, batch, config)
    # All clips have as many pixels: means of means are means. Not so of variances.
    found, expected = (x["stem"]["norm"]["mean"] for x in (state.batch_stats, seen))
    assert_near(found, expected, 1e-5)


# --- Bookkeeping, with a loss that compiles at once -----------------------------------

TOY = Method()


def toy_loss(method, variables, clip, key, config, step, clip_loss=None):
    """Half the squared distance of `w` to the first pixel; 0 counts as no frame."""
    target = clip.frames[0, 0, 0, 0].astype(jnp.float32)
    counted = (target > 0).astype(jnp.float32)
    loss = 0.5 * counted * jnp.square(variables["params"]["w"] - target).sum()
    return ClipSums(loss, counted, counted, counted)


def toy_batch(*targets):
    frames = np.zeros((len(targets), 2, 4, 4, 3), np.uint8)
    frames[:, 0, 0, 0, 0] = targets
    return ClipBatch(frames, frames[..., 0], np.ones((len(targets), 1), bool))


def toy_variables(value=1.0):
    return {"params": {"w": jnp.array([value])}}


def toy_train(batch, config=StepConfig(), *, steps=1, **options):
    options = {"optimizer": optax.sgd(0.5), "objective": toy_loss} | options
    return train(TOY, toy_variables(), batch, config, steps=steps, **options)


@pytest.mark.parametrize("accumulation", [1, 2, 4])
def test_every_frame_that_counts_has_the_same_weight(accumulation):
    config = StepConfig(accumulation=accumulation)
    state, metrics = toy_train(toy_batch(3, 0, 0, 5), config)
    # (2^2 + 4^2) / 2 / 2 frames; the gradient is -(2 + 4) / 2.
    assert metrics[0]["loss"] == 5
    assert metrics[0]["grad_norm"] == 3
    assert state.params["w"] == 1 + 0.5 * 3


@pytest.mark.parametrize("accumulation", [1, 2])
def test_terms_of_a_loss_are_means_like_it(accumulation):
    def loss(*args):
        sums = toy_loss(*args)
        return sums._replace(terms={"half": sums.loss / 2, "count": 3 * sums.frames})

    config = StepConfig(accumulation=accumulation)
    _, metrics = toy_train(toy_batch(3, 0, 0, 5), config, objective=loss)
    assert metrics[0]["loss"] == 5
    assert metrics[0]["half"] == 2.5
    assert metrics[0]["count"] == 3


def test_a_batch_without_a_frame_that_counts_changes_no_parameter():
    state, metrics = toy_train(toy_batch(0, 0))
    assert metrics[0]["loss"] == 0
    assert metrics[0]["finite"]
    assert state.params["w"] == 1


def test_large_gradients_are_scaled():
    state, metrics = toy_train(toy_batch(5), StepConfig(clip_norm=2.0))
    assert metrics[0]["grad_norm"] == 4
    assert state.params["w"] == 1 + 0.5 * 2
    state, _ = toy_train(toy_batch(5), StepConfig(clip_norm=9.0))
    assert state.params["w"] == 1 + 0.5 * 4


def test_the_average_follows_the_parameters():
    state, _ = toy_train(toy_batch(5), StepConfig(ema_decay=0.75), steps=2)
    # Parameters go 1, 3, 4; the average 1, 1.5, 2.125.
    assert state.params["w"] == 4
    assert state.average["w"] == 2.125
    assert state.variables["params"]["w"] == 2.125
    state, _ = toy_train(toy_batch(5))
    assert state.average is None
    assert state.variables["params"]["w"] == 3


@pytest.mark.parametrize("where", ["loss", "gradient", "update"])
def test_a_step_that_is_not_finite_changes_nothing(where):
    def broken_loss(*args):
        sums = toy_loss(*args)
        clip = args[2]
        is_bad = clip.frames[0, 0, 0, 0] == 7
        if where == "gradient":
            # Finite, but its gradient is not.
            distance = args[1]["params"]["w"].sum() - 1
            loss = sums.loss + jnp.sqrt(jnp.where(is_bad, distance, 1))
        else:
            loss = sums.loss * jnp.where(is_bad, jnp.inf if where == "loss" else 1, 1)
        return sums._replace(loss=loss)

    huge = optax.sgd(3e38, momentum=0.9) if where == "update" else optax.sgd(0.5, 0.9)
    mesh = make_mesh()
    config = StepConfig(ema_decay=0.9)
    state = create_train_state(toy_variables(), huge, mesh, config)
    before = jax.device_get(state)
    train_step = make_train_step(TOY, huge, mesh, config, broken_loss)
    state, metrics = train_step(state, toy_batch(3, 7), jax.random.key(KEY))
    assert not metrics["finite"]
    chex.assert_trees_all_equal(jax.device_get(state), before)
    if where != "update":
        state, metrics = train_step(state, toy_batch(3, 5), jax.random.key(KEY))
        assert metrics["finite"]
        assert state.step == 1


def test_what_is_frozen_does_not_count_in_the_norm():
    def loss(method, variables, clip, key, config, step, clip_loss):
        params = variables["params"]
        total = 3 * params["head"]["w"].sum() + 4 * params["body"]["w"].sum()
        return ClipSums(total, jnp.float32(1), jnp.float32(0), jnp.float32(0))

    variables = {"params": {x: {"w": jnp.ones(1)} for x in ("head", "body")}}
    optimizer = OptimizerConfig(
        name="sgd", momentum=0.0, learning_rate=0.5, frozen=("body/*",)
    )
    state, metrics = train(
        TOY, variables, toy_batch(1), optimizer=optimizer, objective=loss
    )
    assert metrics[0]["grad_norm"] == 3
    assert state.params["body"]["w"] == 1
    assert state.params["head"]["w"] == -0.5


def test_random_numbers_depend_on_the_step_and_the_clip_alone():
    def noisy_loss(method, variables, clip, key, config, step, clip_loss):
        sums = toy_loss(method, variables, clip, key, config, step)
        return sums._replace(loss=0 * sums.loss + jax.random.uniform(key))

    def losses(**options):
        _, metrics = toy_train(toy_batch(*[1] * 4), objective=noisy_loss, **options)
        return [float(each["loss"]) for each in metrics]

    first, second = losses(steps=2)
    assert first != second
    assert losses(steps=2) == [first, second]
    parts = losses(config=StepConfig(accumulation=2))
    assert parts == [pytest.approx(first)]
    root = jax.random.fold_in(jax.random.key(KEY), 0)
    drawn = [jax.random.uniform(key) for key in jax.random.split(root, 4)]
    assert first == pytest.approx(float(np.mean(drawn)))


def test_a_shape_is_compiled_once():
    @chex.assert_max_traces(n=2)
    def counting_loss(*args):
        return toy_loss(*args)

    mesh = make_mesh()
    optimizer = OptimizerConfig().build(10, toy_variables()["params"])
    config = StepConfig(ema_decay=0.9)
    state = create_train_state(toy_variables(), optimizer, mesh, config)
    train_step = make_train_step(TOY, optimizer, mesh, config, counting_loss)
    for targets in ((1, 2), (3, 4), (5, 6, 7), (8, 9), (1, 2, 3)):
        placed = shard_batch(mesh, toy_batch(*targets))
        state, _ = train_step(state, placed, jax.random.key(KEY))
    assert state.step == 5


def test_the_callers_arrays_outlive_the_steps():
    variables, key = toy_variables(), jax.random.key(KEY)
    mesh, optimizer = make_mesh(), optax.sgd(0.5)
    config = StepConfig(ema_decay=0.9)
    first = create_train_state(variables, optimizer, mesh, config)
    train_step = make_train_step(TOY, optimizer, mesh, config, toy_loss)
    second, _ = train_step(first, toy_batch(5), key)
    train_step(second, toy_batch(5), key)
    assert variables["params"]["w"] == 1
    assert first.params["w"].is_deleted()


def test_a_batch_that_does_not_divide_is_named():
    with pytest.raises(InputError, match=r"3 clips.*1 devices x 2.*multiple of 2"):
        toy_train(toy_batch(1, 2, 3), StepConfig(accumulation=2))
