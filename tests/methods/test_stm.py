"""STM as a method: configuration, objects, and variants of the computation."""

import dataclasses
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vos_jax.errors import InputError
from vos_jax.methods import create
from vos_jax.methods.stm import STM, STMConfig
from vos_jax.nn.layers import fold_norms
from vos_jax.nn.resnet import ResNetConfig
from vos_jax.ops.memory_bank import Moment

SIZE = (37, 43)


def _video(frames=4, objects=2):
    """Noise with squares that move."""
    rng = np.random.default_rng(0)
    video = rng.random((frames, *SIZE, 3)).astype(np.float32)
    masks = np.zeros((objects, *SIZE), np.float32)
    for o in range(objects):
        masks[o, 5 + 9 * o : 15 + 9 * o, 4 + 10 * o : 20 + 10 * o] = 1
        masks[:o] *= 1 - masks[o]
    return video, masks


@partial(jax.jit, static_argnums=0)
def _run(method, variables, video, masks, active):
    """Probabilities of all frames but the first."""
    objects = len(masks)
    background = 1 - masks.sum(0, keepdims=True)
    memory = method.init_memory(*SIZE, objects, method.slots(len(video)))

    def step(carry, inputs):
        memory, frame, probs = carry
        time, following = inputs
        moment = Moment(time, active, active & (time == 0), jnp.bool_(False))
        run = method.bind(variables)
        query, keep = run.encode(following)
        memory = run.memorize(memory, frame, keep, probs, moment)
        logits, memory = run.segment(memory, query, following, active)
        probs = jax.nn.softmax(logits, axis=0)
        return (memory, following, probs), probs

    start = memory, video[0], jnp.concatenate([background, masks])
    return jax.lax.scan(step, start, (jnp.arange(len(video) - 1), video[1:]))[1]


def _everything(objects):
    return np.ones(objects, bool)


@pytest.fixture(scope="module")
def plain(tiny_method, tiny_variables):
    video, masks = _video()
    return np.asarray(_run(tiny_method, tiny_variables, video, masks, _everything(2)))


def test_probabilities_are_a_distribution_at_the_size_of_the_frame(plain):
    assert plain.shape == (3, 3, *SIZE)
    np.testing.assert_allclose(plain.sum(1), 1, rtol=1e-5)
    assert plain.min() >= 0
    assert plain.std((0, 2, 3)).min() > 1e-3


def test_the_order_of_objects_is_the_order_of_their_results(
    plain, tiny_method, tiny_variables
):
    video, masks = _video()
    swapped = _run(tiny_method, tiny_variables, video, masks[::-1], _everything(2))
    np.testing.assert_allclose(swapped[:, [0, 2, 1]], plain, atol=1e-5)


def test_free_object_slots_change_nothing(plain, tiny_method, tiny_variables):
    video, masks = _video()
    padded = np.concatenate([masks, np.zeros_like(masks)])
    active = np.arange(4) < 2
    out = np.asarray(_run(tiny_method, tiny_variables, video, padded, active))
    np.testing.assert_allclose(out[:, :3], plain, atol=1e-5)
    assert not out[:, 3:].any()


def test_a_single_object_is_possible(tiny_method, tiny_variables):
    video, masks = _video(objects=1)
    out = _run(tiny_method, tiny_variables, video, masks, _everything(1))
    assert out.shape == (3, 2, *SIZE)
    assert np.isfinite(np.asarray(out)).all()


def test_other_objects_are_seen_by_the_memory(plain, tiny_method, tiny_variables):
    video, masks = _video()
    masks = np.stack([masks[0], np.roll(masks[1], 6, axis=0) * (1 - masks[0])])
    out = _run(tiny_method, tiny_variables, video[:4], masks, _everything(2))
    assert np.abs(np.asarray(out)[:, 1] - plain[:, 1]).max() > 1e-4


def _variant(method, **changes):
    return STM(config=dataclasses.replace(method.config, **changes))


def test_folded_norms_change_rounding_only(plain, tiny_method, tiny_variables):
    method, variables = _variant(tiny_method, folded=True), fold_norms(tiny_variables)
    out = _run(method, variables, *_video(), _everything(2))
    np.testing.assert_allclose(out, plain, atol=5e-5)


def test_the_plain_read_changes_rounding_only(plain, tiny_method, tiny_variables):
    method = _variant(tiny_method, read="reference")
    out = _run(method, tiny_variables, *_video(), _everything(2))
    np.testing.assert_allclose(out, plain, atol=1e-5)


def test_bfloat16_is_near_float32(plain, tiny_method, tiny_variables):
    method = _variant(tiny_method, dtype="bfloat16")
    out = np.asarray(_run(method, tiny_variables, *_video(), _everything(2)))
    assert out.dtype == np.float32
    # Eight bits through some twenty layers; a wrong stage moves it by tenths.
    assert np.abs(out - plain).mean() < 0.02


def test_videos_in_a_batch_do_not_see_each_other(plain, tiny_method, tiny_variables):
    video, masks = _video()
    videos, both = np.stack([video, video[::-1]]), np.stack([masks, masks])
    batched = jax.vmap(partial(_run, tiny_method), (None, 0, 0, None))
    out = batched(tiny_variables, videos, both, _everything(2))
    np.testing.assert_allclose(out[0], plain, atol=1e-5)
    assert np.abs(np.asarray(out[1]) - plain).max() > 1e-3


@pytest.mark.slow
def test_gradients_through_time_are_finite_and_reach_every_parameter(
    tiny_method, tiny_variables
):
    video, masks = _video(frames=3)

    @jax.jit
    @jax.grad
    def gradient(params):
        variables = {**tiny_variables, "params": params}
        return jnp.log(_run(tiny_method, variables, video, masks, _everything(2)))[
            -1, 1
        ].mean()

    for path, leaf in jax.tree.leaves_with_path(gradient(tiny_variables["params"])):
        assert np.isfinite(leaf).all(), path
        assert np.asarray(leaf).any(), path


def test_the_memory_starts_empty_and_in_the_compute_type():
    method = create("stm", dtype="bfloat16")
    memory = jax.eval_shape(lambda: method.init_memory(480, 854, 3, 7))
    assert memory.bank.entries.key.shape == (7, 3, 30, 54, 128)
    assert memory.bank.entries.value.shape == (7, 3, 30, 54, 512)
    assert memory.bank.entries.key.dtype == jnp.bfloat16
    assert memory.bank.time.shape == (7, 3)


def test_slots_follow_the_policy_up_to_the_capacity():
    assert create("stm").slots(11) == 4
    assert create("stm", mem_every=2).slots(11) == 7
    assert create("stm", mem_every=None).slots(11) == 2
    assert create("stm", mem_capacity=3).slots(11) == 3
    assert create("stm", mem_capacity=9).slots(11) == 4


def test_equal_configurations_share_one_compilation(tiny_method):
    traces = []

    @partial(jax.jit, static_argnums=0)
    def count(method, x):
        traces.append(method)
        return x

    same = STM(config=STMConfig(**vars(tiny_method.config)))
    assert same == tiny_method and hash(same.config) == hash(tiny_method.config)
    for method in (tiny_method, same, _variant(tiny_method, top_k=3)):
        count(method, 0)
    assert len(traces) == 2


def test_a_configuration_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        create("stm").config.top_k = 3


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("top_k", 0),
        ("mem_every", 0),
        ("mem_capacity", 1),
        ("dtype", "float16"),
        ("precision", "low"),
        ("read", "fast"),
    ],
)
def test_a_value_out_of_range_is_named(field, value):
    named = "every" if field == "mem_every" else field
    with pytest.raises(ValueError, match=f"{named}={value!r}"):
        STMConfig(**{field: value})
    with pytest.raises(InputError, match=f"'stm': .*{named}={value!r}"):
        create("stm", **{field: value})


def test_the_defaults_are_the_published_network():
    config = create("stm").config
    assert config == STMConfig()
    assert (config.backbone.depth, config.backbone.width) == (50, 64)
    assert (config.key_dim, config.value_dim, config.decoder_dim) == (128, 512, 256)
    assert (config.mem_every, config.mem_capacity, config.top_k) == (5, None, None)
    assert config.backbone == ResNetConfig()
