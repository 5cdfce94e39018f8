"""The loss of one clip, and what recomputing its frames saves."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.engine.test_train_step import Small, make_batch, small_variables
from vos_jax.engine.clip_loss import clip_loss
from vos_jax.engine.inference import start, step_traced
from vos_jax.engine.step_config import StepConfig
from vos_jax.errors import InputError
from vos_jax.types import ClipBatch


@pytest.fixture(scope="module")
def batch():
    return make_batch(2)


@pytest.fixture(scope="module")
def variables():
    return small_variables()


def test_labels_of_objects_that_are_not_valid_are_ignored(variables, batch):
    first = jax.tree.map(lambda x: x[0], batch)

    @jax.jit
    def loss(labels, valid):
        clip = ClipBatch(first.frames, labels, valid)
        return clip_loss(Small(), variables, clip, jax.random.key(0), StepConfig())

    one = loss(first.labels, jnp.array([True, False]))
    without = np.where(first.labels == 2, 255, first.labels)
    jax.tree.map(
        np.testing.assert_array_equal, one, loss(without, jnp.array([True, False]))
    )
    assert one.objects == 2
    assert loss(first.labels, jnp.array([True, True])).objects == 4
    assert one.loss != loss(first.labels, jnp.array([True, True])).loss


def test_a_clip_needs_no_compilation_around_it_and_two_frames(variables, batch):
    clip = jax.tree.map(lambda x: x[0], make_batch(1, 1, objects=3))
    with pytest.raises(InputError, match="clips of 1 frame"):
        clip_loss(Small(), variables, clip, jax.random.key(0), StepConfig())
    clip = jax.tree.map(lambda x: x[0], make_batch(1, 2, objects=3))
    found = clip_loss(Small(), variables, clip, jax.random.key(0), StepConfig())
    assert found.frames == 1


def test_the_bootstrapped_loss_takes_the_hardest_pixels(variables, batch):
    clip = jax.tree.map(lambda x: x[1], batch)
    config = StepConfig(
        loss="bootstrapped",
        bootstrap_start=10,
        bootstrap_end=20,
        bootstrap_fraction=0.2,
    )

    @jax.jit
    def loss(step):
        return clip_loss(Small(), variables, clip, jax.random.key(0), config, step)

    def pixels():
        masks = np.stack([clip.labels[0] == 1, clip.labels[0] == 2]).astype(np.float32)
        state = start(Small(), variables, clip.frames[0], masks)
        for frame, truth in zip(clip.frames[1:], clip.labels[1:], strict=True):
            state, out = step_traced(Small(), variables, state, frame)
            own = np.take_along_axis(
                np.asarray(out.probs), np.minimum(truth, 2)[None].astype(int), 0
            )
            yield np.sort(-np.log(own[0][truth < 255]))[::-1]

    frames = list(pixels())
    for step, fraction in ((0, 1.0), (15, 0.6), (30, 0.2)):
        expected = sum(x[: int(fraction * len(x))].mean() for x in frames)
        # Logarithms of rounded probabilities.
        np.testing.assert_allclose(loss(step).loss, expected, rtol=1e-4)


def test_recomputed_frames_are_not_stored(variables):
    clip = jax.tree.map(lambda x: x[0], make_batch(1, 5))

    def stored(config):
        """Bytes of everything that the gradient holds beside its arguments."""

        def loss(params):
            weights = {**variables, "params": params}
            return clip_loss(Small(), weights, clip, jax.random.key(0), config).loss

        program = jax.jit(jax.grad(loss)).lower(variables["params"]).compile()
        return program.memory_analysis().temp_size_in_bytes

    scanned = stored(StepConfig(unroll=False))
    # On a CPU, too, where loops are unrolled otherwise.
    assert stored(StepConfig(remat=True)) < 2 / 3 * scanned
