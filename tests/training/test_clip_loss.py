"""The loss of one clip, and what recomputing its frames saves."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.training.test_step import (
    Small,
    assert_near,
    make_batch,
    small_variables,
)
from vos_jax.errors import InputError
from vos_jax.inference.step import start, step_traced
from vos_jax.methods.objective import StepConfig
from vos_jax.ops.losses import cross_entropy, known_labels, mean_loss
from vos_jax.training.clip_loss import clip_loss
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


@pytest.mark.slow
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


@pytest.mark.slow
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


# --- Masks in the memory --------------------------------------------------------------


@pytest.fixture(scope="module")
def partly_known():
    """Three frames; in the middle one pixels are ignored, by themselves and as those of
    a slot that is not valid."""
    clip = jax.tree.map(lambda x: x[0], make_batch(1, 3, objects=3))
    labels = clip.labels.copy()
    labels[1, 6:12, 2:20] = 255
    labels[1, 16:20, 5:30] = 3
    return clip._replace(labels=labels)


@pytest.fixture(scope="module")
def loss_of(partly_known, variables):
    """The loss as a function of parameters, for a configuration."""

    def of(**options):
        def loss(params):
            weights, key = {**variables, "params": params}, jax.random.key(0)
            config = StepConfig(**options)
            return clip_loss(Small(), weights, partly_known, key, config).loss

        return loss

    return of


@pytest.fixture(scope="module")
def with_true_masks(loss_of, variables):
    """Loss and gradients."""
    loss = loss_of(memory_mask="gt")
    return jax.jit(jax.value_and_grad(loss))(variables["params"])


@pytest.fixture(scope="module")
def remembering(variables, partly_known):
    """A plain loop that remembers given masks of the middle frame: constants."""
    frames, labels, valid, *_ = partly_known

    def loss(params, masks):
        weights = {**variables, "params": params}
        given = np.stack([labels[0] == 1, labels[0] == 2]).astype(np.float32)
        state = start(Small(), weights, frames[0], given, objects=3, frames=3)
        state, middle = step_traced(Small(), weights, state, frames[1])
        state = state._replace(probs=masks)
        _, last = step_traced(Small(), weights, state, frames[2])
        losses = [
            mean_loss(cross_entropy(out.logits, known_labels(truth, valid)))
            for out, truth in zip((middle, last), jnp.asarray(labels[1:]), strict=True)
        ]
        return sum(losses), middle.probs

    compiled = jax.jit(jax.value_and_grad(loss, has_aux=True))

    def of(masks):
        (total, found), grads = compiled(variables["params"], masks)
        return (total, grads), np.asarray(found)

    return of


@pytest.fixture(scope="module")
def found(remembering):
    """Masks of the middle frame, on which what is remembered of it has no influence."""
    return remembering(np.zeros((4, 32, 32), np.float32))[1]


@pytest.mark.slow
def test_true_masks_are_remembered_as_constants(
    with_true_masks, remembering, found, partly_known
):
    middle = partly_known.labels[1]
    masks = np.stack([middle == i for i in range(4)]).astype(np.float32)
    unknown = (middle == 255) | (middle == 3)
    # Where nothing is known they are what was found, and neither of these has a
    # gradient.
    masks = np.where(unknown, found, masks)
    assert_near(with_true_masks, remembering(masks)[0])
    # Loss and gradients do depend on what is remembered there.
    (other, _), _ = remembering(np.where(unknown, 0, masks))
    assert abs(other - with_true_masks[0]) > 1e-4


@pytest.mark.slow
def test_found_masks_are_remembered_by_default(
    loss_of, variables, with_true_masks, remembering, found
):
    loss = jax.jit(loss_of())(variables["params"])
    (expected, _), _ = remembering(found)
    assert_near(loss, expected, 1e-5)
    assert abs(loss - with_true_masks[0]) > 1e-4


@pytest.mark.slow
def test_true_masks_are_the_same_with_recomputed_frames(
    loss_of, variables, with_true_masks
):
    loss = loss_of(memory_mask="gt", remat=True)
    again = jax.jit(jax.value_and_grad(loss))(variables["params"])
    assert_near(again, with_true_masks)
