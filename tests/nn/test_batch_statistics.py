"""Norms that follow a batch."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vos_jax.nn.batch_statistics import batch_statistics
from vos_jax.nn.layers import Conv, ConvNorm, FrozenNorm


class Net(nn.Module):
    """Two norms in a row, the first over the image, the second over each object."""

    @nn.compact
    def __call__(self, frame, masks):
        image = nn.relu(ConvNorm(4, name="first")(frame[None]))
        seen = image * masks[..., None]
        return FrozenNorm(name="second")(Conv(3, use_bias=False, name="conv")(seen))


@pytest.fixture(scope="module")
def clips():
    rng = np.random.default_rng(0)
    frames = rng.normal(2, 3, (3, 8, 10, 3)).astype(np.float32)
    masks = rng.integers(0, 2, (3, 2, 8, 10)).astype(np.float32)
    return frames, masks


@pytest.fixture(scope="module")
def variables(clips):
    return Net().init(jax.random.key(0), clips[0][0], clips[1][0])


def outputs(variables, clips):
    return jax.vmap(lambda f, m: Net().apply(variables, f, m))(*clips)


def test_with_them_a_norm_gives_its_bias_and_scale_over_the_batch(variables, clips):
    params = variables["params"]
    params = params | {
        "second": {"scale": jnp.array([1.0, 2.0, 3.0]), "bias": jnp.arange(3.0)}
    }

    @jax.jit
    def normalised(params):
        stats = batch_statistics(Net(), variables | {"params": params}, *clips)
        return outputs({"params": params, "batch_stats": stats}, clips)

    out = np.asarray(normalised(params))
    np.testing.assert_allclose(out.mean((0, 1, 2, 3)), [0, 1, 2], atol=2e-6)
    np.testing.assert_allclose(out.std((0, 1, 2, 3)), [1, 2, 3], rtol=1e-4)


def test_stored_values_do_not_matter(variables, clips):
    other = jax.tree.map(lambda x: 3 * x + 1, variables["batch_stats"])
    ours = batch_statistics(Net(), variables, *clips)
    theirs = batch_statistics(Net(), variables | {"batch_stats": other}, *clips)
    jax.tree.map(np.testing.assert_array_equal, ours, theirs)


def test_gradients_are_those_of_batch_normalisation(variables, clips):
    weights = jnp.asarray(np.random.default_rng(1).normal(size=(3, 2, 8, 10, 3)))

    def ours(params):
        stats = batch_statistics(Net(), variables | {"params": params}, *clips)
        out = outputs({"params": params, "batch_stats": stats}, clips)
        return (out**2 * weights).sum()

    def normalised(x, norm):
        axes = tuple(range(x.ndim - 1))
        mean, var = x.mean(axes, keepdims=True), x.var(axes, keepdims=True)
        shape = (1,) * (x.ndim - 1) + (-1,)
        scale, bias = norm["scale"].reshape(shape), norm["bias"].reshape(shape)
        return (x - mean) / jnp.sqrt(var + 1e-5) * scale + bias

    def convolved(features, x, params):
        flat = x.reshape(-1, *x.shape[-3:])
        out = Conv(features, use_bias=False).apply({"params": params}, flat)
        return out.reshape(*x.shape[:-1], features)

    def written_out(params):
        frames, masks = clips
        image = convolved(4, frames, params["first"]["conv"])
        image = nn.relu(normalised(image, params["first"]["norm"]))
        seen = image[:, None] * masks[..., None]
        out = normalised(convolved(3, seen, params["conv"]), params["second"])
        return (out**2 * weights).sum()

    both = jax.jit(
        lambda params: (jax.grad(ours)(params), jax.grad(written_out)(params))
    )
    found, expected = both(variables["params"])

    def assert_near(ours, theirs):
        # Sums of 1,440 signed terms: float32 rounding times their root.
        np.testing.assert_allclose(ours, theirs, atol=5e-6 * np.abs(theirs).max())

    jax.tree.map(assert_near, found, expected)


def test_they_are_float32_for_any_compute_type():
    class Half(nn.Module):
        @nn.compact
        def __call__(self, frame, masks):
            return FrozenNorm(name="norm")(frame[None].astype(jnp.bfloat16))

    rng = np.random.default_rng(2)
    frames = jnp.asarray(rng.normal(20, 1, (4, 16, 16, 3)), jnp.float32)
    masks = jnp.zeros((4, 1, 16, 16))
    variables = Half().init(jax.random.key(0), frames[0], masks[0])
    stats = batch_statistics(Half(), variables, frames, masks)["norm"]
    assert {x.dtype for x in stats.values()} == {jnp.dtype(jnp.float32)}
    # Of what bfloat16 leaves of the values; a float32 sum of 1,024 of them.
    rounded = np.asarray(frames.astype(jnp.bfloat16), np.float64)
    np.testing.assert_allclose(stats["mean"], rounded.mean((0, 1, 2)), rtol=1e-5)
    np.testing.assert_allclose(stats["var"], rounded.var((0, 1, 2)), rtol=1e-4)
    # The values themselves lose little: steps of 1/8 beside a deviation of 1.
    np.testing.assert_allclose(stats["var"], frames.var((0, 1, 2)), rtol=0.01)


def test_clips_on_other_devices_count(variables, clips):
    def of_each(frame, masks):
        each = frame[None], masks[None]
        return batch_statistics(Net(), variables, *each, axis_name="others")

    found = jax.vmap(of_each, axis_name="others")(*clips)
    expected = batch_statistics(Net(), variables, *clips)

    def assert_near(ours, theirs):
        np.testing.assert_allclose(ours, np.stack([theirs] * 3), rtol=1e-5, atol=1e-6)

    jax.tree.map(assert_near, found, expected)
