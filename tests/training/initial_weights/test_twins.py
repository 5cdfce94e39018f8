"""The beginning in which both encoders see the same."""

import dataclasses
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import vos_jax
from tests import small_run
from vos_jax.data.source import Labelled, Video
from vos_jax.errors import InputError
from vos_jax.methods.weights import variable_shapes
from vos_jax.nn.layers import normalize_image
from vos_jax.ops.image import to_unit_range
from vos_jax.training import start as train_start
from vos_jax.training.initial_weights.twins import twins
from vos_jax.training.loop import train
from vos_jax.types import ClipBatch

SMALL = {"backbone": {"depth": 18, "width": 4}, "key_dim": 4}


@pytest.fixture(scope="module")
def clips():
    """Patches of random colours, one object in the middle."""
    coarse = np.random.default_rng(0).integers(0, 256, (4, 1, 16, 24, 3), np.uint8)
    labels = np.zeros((4, 1, 64, 96), np.uint8)
    labels[:, :, 20:44, 30:66] = 1
    frames = coarse.repeat(4, axis=2).repeat(4, axis=3)
    return ClipBatch(frames, labels, np.ones((4, 1), bool))


@pytest.fixture(scope="module")
def started(tiny_method, tiny_variables, clips):
    before = jax.tree.map(np.array, tiny_variables)
    started = twins(tiny_method, tiny_variables, clips)
    # What it was given stays as it was.
    jax.tree.map(np.testing.assert_array_equal, before, tiny_variables)
    return started


@pytest.fixture(scope="module")
def keys(tiny_method, clips):
    """Keys `[B, cells, Ck]` of the clips as queries and as memories."""

    def both(method, frame, mask):
        image = normalize_image(frame[None])
        query = method.query_encoder(image).res4
        memory = method.memory_encoder(image, mask[None]).res4
        return method.query_head(query).key[0], method.memory_head(memory).key[0]

    def find(variables):
        frames = to_unit_range(jnp.asarray(clips.frames[:, 0]))
        masks = jnp.asarray(clips.labels[:, 0] == 1, jnp.float32)
        apply = partial(tiny_method.apply, variables, method=both)
        return [x.reshape(4, 24, -1) for x in jax.vmap(apply)(frames, masks)]

    jitted = jax.jit(find)
    return lambda variables: [np.asarray(x, np.float64) for x in jitted(variables)]


def scores(query, memory):
    """Of the read `[B, query cells, memory cells]`, before its softmax."""
    return np.einsum("bqc,bmc->bqm", query, memory) / np.sqrt(query.shape[-1])


@pytest.mark.slow
def test_keys_are_centred_whatever_their_bias_was(keys, started, tiny_variables):
    for before, after in zip(keys(tiny_variables), keys(started), strict=True):
        assert np.abs(before.mean((0, 1))).max() > 0.01 * before.std()
        # Float32 noise of sums of a hundred keys.
        assert np.abs(after.mean((0, 1))).max() < 1e-5 * after.std()


@pytest.mark.slow
def test_scores_have_the_sharpness_that_was_asked_for(keys, started):
    found = scores(*keys(started)).std(-1).mean()
    np.testing.assert_allclose(found, 8.0, rtol=1e-4)


@pytest.mark.slow
def test_cells_find_themselves_by_appearance(keys, started, tiny_variables):
    cells = np.arange(24)
    before, after = (
        (scores(*keys(x)).argmax(-1) == cells).mean() for x in (tiny_variables, started)
    )
    assert before < 0.2
    # Not 1: keys of eight channels confuse some cells.
    assert after > 0.5


@pytest.mark.slow
def test_the_keys_of_both_encoders_agree(keys, started, tiny_variables):
    def agreement(variables):
        return np.corrcoef(*(key.ravel() for key in keys(variables)))[0, 1]

    assert abs(agreement(tiny_variables)) < 0.3
    # Not 1: the memory encoder sees a mask as well.
    assert agreement(started) > 0.6


@pytest.mark.slow
def test_only_the_memory_encoder_and_the_heads_change(started, tiny_variables):
    before, after = tiny_variables["params"], started["params"]
    assert jax.tree.structure(dict(before)) == jax.tree.structure(after)
    changed = {
        "/".join(str(key.key) for key in path[:2])
        for (path, old), new in zip(
            jax.tree.leaves_with_path(dict(before)), jax.tree.leaves(after), strict=True
        )
        if not np.array_equal(old, new)
    }
    assert changed == {
        "memory_encoder/stem",
        "memory_encoder/trunk",
        "memory_head/key",
        "query_head/key",
    }
    np.testing.assert_array_equal(
        before["memory_encoder"]["stem"]["masks"]["kernel"],
        after["memory_encoder"]["stem"]["masks"]["kernel"],
    )


def test_a_method_without_two_encoders_is_refused(clips):
    method = vos_jax.create("stm-tiny")
    shapes = variable_shapes(method)
    params = {name: x for name, x in shapes["params"].items() if "memory" not in name}
    with pytest.raises(InputError, match="twins=True: the method has no pair") as error:
        twins(method, {**shapes, "params": params}, clips)
    assert "\n" not in str(error.value)


@pytest.mark.slow
def test_what_dmn_aoa_reads_is_what_it_has_seen(clips):
    """A still object: its template is the object's features, which match themselves."""
    method, variables = narrow_dmn_aoa()
    started = twins(method, variables, clips)
    apply = partial(method.apply, started)
    frame = to_unit_range(jnp.asarray(clips.frames[0, 0]))
    box = jnp.array([[32.0, 16, 64, 48]])

    def look(model, features, here):
        entry = model.memory_encoder(jnp.pad(features, [(0, 0)] * 3 + [(0, 1)]))
        templates, proposals = features[:1], jnp.concatenate([features, here])
        return (
            entry,
            model.query_encoder(features),
            model.matcher.compare(templates, proposals),
        )

    levels = apply(frame, method="encode").query
    own, other = (apply(levels, x, method="pool") for x in (box, box + 24))
    entry, query, similarity = apply(own, other, method=look)
    np.testing.assert_allclose(entry.value, own, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(entry.key, query, rtol=1e-4, atol=1e-5)
    assert similarity[0, 0] > 0.99 > similarity[0, 1]
    places = [apply(levels, method=look_as(x)) for x in ("current", "reference")]
    np.testing.assert_array_equal(*places)


def look_as(side):
    name = {"current": "place", "reference": "reference_place"}[side]
    return lambda model, levels: getattr(model.refine_net, name)(levels)


def narrow_dmn_aoa():
    method = vos_jax.create(
        "dmn-aoa",
        backbone={"depth": 18, "width": 4},
        level_dims=(8, 8, 16),
        align_dim=8,
        refine_dim=8,
        groups=2,
        object_size=4,
    )
    rng = np.random.default_rng(0)

    def draw(path, leaf):
        if (name := path[-1].key) == "kernel":
            return rng.normal(0, (2 / np.prod(leaf.shape[:-1])) ** 0.5, leaf.shape)
        return np.full(leaf.shape, name in ("scale", "var"), float)

    drawn = jax.tree_util.tree_map_with_path(draw, variable_shapes(method))
    return method, jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), drawn)


class Damaged:
    """Videos, one of which cannot be read."""

    videos = tuple(Video(f"v{i}", 3) for i in range(4))

    def read(self, video, times):
        if video == 2:
            raise InputError("v2/00000.jpg: is corrupt")
        labels = np.zeros((len(times), 32, 32), np.uint8)
        labels[:, 8:24, 8:24] = 1
        return Labelled(np.repeat(labels[..., None], 3, axis=-1), labels)


def test_a_corrupt_file_among_the_first_clips_can_be_skipped(monkeypatch):
    seen = []
    monkeypatch.setattr("vos_jax.methods.stm.STM.init", lambda *args: {"params": {}})
    monkeypatch.setattr(train_start, "twins", lambda *args: seen.append(args[2]))
    experiment = dataclasses.replace(
        small_run.experiment(), method="stm", method_options=SMALL, twins=True
    )
    with pytest.raises(InputError, match=r"v2/00000\.jpg: is corrupt"):
        train_start.begin(experiment, Damaged())
    train_start.begin(experiment, Damaged(), skip_bad=True)
    assert [len(clips.frames) for clips in seen] == [16]


def test_a_run_that_skips_bad_files_does_so_from_its_beginning(tmp_path, monkeypatch):
    def begin(experiment, source, *, skip_bad):
        raise InputError(f"begun with skip_bad={skip_bad}")

    monkeypatch.setattr(train_start, "begin", begin)
    for skip_bad in (True, False):
        with pytest.raises(InputError, match=f"begun with skip_bad={skip_bad}"):
            train(small_run.experiment(), tmp_path, skip_bad=skip_bad)
