"""The losses of RDE-VOS on a narrow network: what they ask for, and that they fall."""

import json
from dataclasses import asdict, replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.clips import moving_clip
from vos_jax.errors import InputError
from vos_jax.methods import create
from vos_jax.methods.objective import StepConfig
from vos_jax.methods.rde.model import RDE
from vos_jax.methods.rde.objective import RDELoss, channel_divergence, unroll
from vos_jax.nn.resnet import ResNetConfig
from vos_jax.runtime.mesh import make_mesh, shard_batch
from vos_jax.training.clip_loss import clip_loss
from vos_jax.training.optimizers import OptimizerConfig
from vos_jax.training.step import create_train_state, make_train_step
from vos_jax.types import ClipBatch

NARROW = {
    "backbone": ResNetConfig(depth=18, width=8),
    "value_backbone": ResNetConfig(depth=18, width=8),
    "key_dim": 8,
    "value_dim": 16,
    "decoder_dims": (8, 8, 8),
    "read": "reference",
}
KEY = jax.random.key(0)
STCN_LOSS = RDELoss(guidance=0, correction=0, halved=False)
TERMS = {"segmentation", "guidance", "correction"}


UNUSED = create("rde", **NARROW), {}
"""Where a loss is refused before it looks at weights."""


def narrow(name, **options):
    method = create(name, **NARROW, **options)
    frame, masks = jnp.zeros((32, 32, 3)), jnp.zeros((1, 32, 32))
    return method, jax.jit(method.init)(jax.random.key(1), frame, masks)


@pytest.fixture(scope="module")
def rde():
    return narrow("rde")


@pytest.fixture(scope="module")
def clip():
    """Three frames; the masks that are given are moved."""
    frames, labels = moving_clip(3)
    given = np.stack([np.roll(labels[0] == i, 3, axis=1) for i in (1, 2)])
    return ClipBatch(frames, labels, np.ones(2, bool), given)


@pytest.mark.slow
def test_the_loss_and_its_terms_fall_within_a_few_steps(rde, clip):
    method, variables = rde
    mesh, config = make_mesh(), StepConfig()
    settings = OptimizerConfig(learning_rate=3e-3)
    optimizer = settings.build(10, variables["params"])
    state = create_train_state(variables, optimizer, mesh, config)
    step = make_train_step(method, optimizer, mesh, config, RDELoss())
    clips = mesh.size
    batch = jax.tree.map(lambda x: np.stack([x] * clips), clip)
    batch = shard_batch(mesh, batch)
    rows = []
    for _ in range(12):
        state, metrics = step(state, batch, KEY)
        rows.append(jax.device_get(metrics))
    assert all(row["finite"] for row in rows)
    for row in rows:
        total = sum(row[name] for name in TERMS)
        np.testing.assert_allclose(row["loss"], total, rtol=1e-6)
        assert all(row[name] > 0 for name in TERMS)
    assert rows[-1]["loss"] < 0.9 * rows[0]["loss"]
    assert rows[-1]["segmentation"] < 0.9 * rows[0]["segmentation"]


@pytest.mark.slow
def test_stcn_s_loss_is_that_of_its_videos_with_every_frame_remembered(clip):
    method, variables = narrow("stcn", mem_every=1, top_k=None)
    config = StepConfig()

    def sums(loss):
        return jax.jit(
            lambda variables, clip: loss(method, variables, clip, KEY, config, 0)
        )(variables, clip._replace(given=None))

    found, expected = sums(STCN_LOSS), sums(clip_loss)
    # A video begins with masks that are clamped at 1e-7.
    np.testing.assert_allclose(found.loss, expected.loss, rtol=1e-4)
    np.testing.assert_allclose(found.iou, expected.iou, rtol=1e-4)
    assert found.objects == expected.objects
    assert found.frames == 1


def test_later_frames_count_more():
    np.testing.assert_array_equal(RDELoss()._shares(4), [1 / 16, 1 / 8, 1 / 4, 1 / 2])
    np.testing.assert_array_equal(STCN_LOSS._shares(2), [1, 1])
    # Table 6: without the frames that are read from all entries alone.
    student = RDELoss(teacher=False)
    np.testing.assert_array_equal(student._shares(4), [0, 1 / 8, 0, 1 / 2])


@pytest.mark.slow
def test_computing_twice_has_the_same_terms_and_gradients_of_the_same_shapes(rde, clip):
    method, variables = rde

    def gradients(remat):
        def loss(params):
            all_variables = {**variables, "params": params}
            config = StepConfig(remat=remat)
            sums = RDELoss()(method, all_variables, clip, KEY, config, 0)
            return sums.loss, sums

        return jax.eval_shape(jax.grad(loss, has_aux=True), variables["params"])

    assert gradients(True) == gradients(False)


def test_the_divergence_is_a_mean_over_cells_and_channels():
    rng = np.random.default_rng(0)
    target, found = rng.normal(size=(2, 3, 2, 4, 5)).astype(np.float32)

    def softmax(x):
        return np.exp(x) / np.exp(x).sum(-1, keepdims=True)

    p, q = softmax(target.astype(float)), softmax(found.astype(float))
    expected = (p * np.log(p / q)).sum((1, 2, 3)) / (2 * 4 * 5)
    divergence = channel_divergence(jnp.asarray(target), jnp.asarray(found))
    # Logarithms of some forty numbers in float32.
    np.testing.assert_allclose(divergence, expected, rtol=1e-5)


def test_gradients_reach_the_target_of_a_divergence():
    target, found = jax.random.normal(KEY, (2, 1, 2, 2, 4))

    def total(target):
        return channel_divergence(target, found).sum()

    assert jnp.abs(jax.grad(total)(target)).max() > 1e-3


def test_a_clip_without_perturbed_masks_is_refused(clip):
    with pytest.raises(InputError, match=r"correction=10.0.*set recipe\.perturb"):
        RDELoss()(*UNUSED, clip._replace(given=None), KEY, StepConfig())


def test_guidance_needs_a_recurrent_embedding(clip):
    for method in (create("stcn"), create("rde", recurrent=False)):
        with pytest.raises(InputError, match=r"guidance=10.0.*objective\.guidance=0"):
            RDELoss()(method, {}, clip, KEY, StepConfig())


def test_networks_of_other_kinds_are_refused(clip):
    with pytest.raises(InputError, match="STM is no STCN or RDE network"):
        RDELoss()(create("stm"), {}, clip, KEY, StepConfig())


@pytest.mark.parametrize("name", ["read", "segment", "memorize"])
def test_a_network_that_segments_by_what_is_not_trained_is_refused(clip, name):
    own = type("Own", (RDE,), {name: lambda self: None})
    with pytest.raises(InputError, match=f"Own has a `{name}` of its own.*`decode`"):
        RDELoss()(own(), {}, clip, KEY, StepConfig())


@pytest.mark.slow
def test_training_reads_all_cells_by_the_function_of_videos(clip):
    seen = []

    class Watched(RDE):
        def read_entries(self, query, entries, copies, *, top_k):
            seen.append((len(copies), top_k))
            return super().read_entries(query, entries, copies, top_k=top_k)

    method = UNUSED[0]
    frame, masks = jnp.zeros((32, 32, 3)), jnp.zeros((1, 32, 32))
    variables = jax.eval_shape(method.init, KEY, frame, masks)
    watched = Watched(config=method.config)
    jax.eval_shape(partial(unroll, watched), variables, clip)
    all_frames, embedding = [(1, None), (2, None)], [(1, None)]
    assert seen == all_frames + embedding
    seen.clear()
    jax.eval_shape(watched.apply, variables, frame, masks)
    assert seen == [(3, method.config.top_k)]


def test_true_masks_in_the_memory_are_refused(clip):
    with pytest.raises(InputError, match=r"^step memory_mask='gt': .*; use pred$"):
        RDELoss()(*UNUSED, clip, KEY, StepConfig(memory_mask="gt"))


def test_a_single_frame_is_refused(clip):
    short = replace_frames(clip, 1)
    with pytest.raises(InputError, match="clips of 1 frame: use 2 or more"):
        RDELoss()(*UNUSED, short, KEY, StepConfig())


def replace_frames(clip, count):
    return clip._replace(frames=clip.frames[:count], labels=clip.labels[:count])


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("guidance", -1),
        ("guidance", float("nan")),
        ("correction", True),
        ("correction", "10"),
        ("halved", 1),
        ("teacher", 0),
    ],
)
def test_what_makes_no_loss_is_refused(field, value):
    with pytest.raises(InputError, match=f"objective {field}="):
        replace(RDELoss(), **{field: value})


def test_json_holds_a_loss():
    described = json.loads(json.dumps(asdict(RDELoss(guidance=5))))
    assert described == {
        "guidance": 5,
        "correction": 10.0,
        "halved": True,
        "teacher": True,
    }
