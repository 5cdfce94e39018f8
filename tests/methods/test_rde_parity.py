"""RDE-VOS and STCN against outputs of the released program, stage by stage.

The reference has the weights of `tests.methods.rde_weights` and generated frames.
Another one on real frames is compared where there is a folder of them.
"""

import dataclasses
import json
from functools import partial
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import vos_jax
from tests.by_default import by_default
from tests.methods.parity import Stored
from tests.methods.rde_weights import SEED, published_weights
from vos_jax.convert import convert_state_dict, export_state_dict
from vos_jax.methods import METHODS, create
from vos_jax.methods.rde.model import FIRST, LATEST, RECURRENT
from vos_jax.methods.stcn.model import Query
from vos_jax.methods.weights import variable_shapes
from vos_jax.nn.layers import fold_norms, normalize_image
from vos_jax.ops.aggregation import enhance, extract
from vos_jax.ops.l2_read import l2_read, l2_similarity
from vos_jax.ops.memory_bank import Moment
from vos_jax.ops.padding import pad
from vos_jax.ops.resample import upsample

HERE = Path(__file__).parent
SHAPES = json.loads((HERE / "rde_state_dict.json").read_text())
METHOD = create("rde", read="reference")
OBJECTS = 2
PUBLISHED_SLOTS = {1: (FIRST, FIRST), 4: (RECURRENT, LATEST, FIRST, FIRST)}
"""Slots of this package in the order in which the released program reads them."""

INPUTS = {
    *("frames", "first_mask", "seed", "theta", "top_k", "meta", "qpos"),
    *("pad_lwuwlhuh", "yv_mask0", "yv_mask4"),
    *("weight_check_name", "weight_check_sum", "weight_check_abs"),
}
"""Entries of a reference that are no results."""


class Reference(Stored):
    """Inputs and results of the released program, in this package's layout."""

    inputs = frozenset(INPUTS)

    def __getitem__(self, key: str) -> np.ndarray:
        array = self.arrays[key]
        if key in INPUTS or key.endswith(("labels", "mask_in")) or "logit" in key:
            return array
        if key.startswith("read") and not key.endswith("readout"):
            return array
        if "prob" in key:
            return array.astype(np.float32)
        if key.startswith("sam") and array.ndim == 4 and array.shape[1] == 2:
            return np.moveaxis(array, 0, -1)
        return np.moveaxis(array, -3, -1)

    @property
    def results(self) -> set[str]:
        """Of inference; those of training are compared with the training step."""
        return {k for k in super().results if not k.startswith(("tr", "train/"))}


@pytest.fixture(scope="module")
def state_dict():
    return published_weights(SHAPES)


def _converted(name, state_dict):
    method, entry = create(name), METHODS[name]
    table = entry.torch_table(method.config)
    shapes = variable_shapes(method)
    tree = convert_state_dict(state_dict, table, shapes, entry.torch_ignored)
    return jax.device_put(tree)


@pytest.fixture(scope="module")
def variables(state_dict):
    return _converted("rde", state_dict)


@pytest.fixture(scope="module")
def folded(variables):
    return fold_norms(variables)


@pytest.fixture(scope="module", params=by_default(["generated", "real"]))
def reference(request):
    if request.param == "generated":
        return Reference(HERE / "rde_reference.npz")
    return Reference(request.getfixturevalue("parity_folder") / "rde.npz")


# The network, part by part


@jax.jit
def _encode(variables, frame):
    run = METHOD.bind(variables)
    query, kept = run.encode(frame)
    features = run.key_encoder(pad(normalize_image(frame))[None])
    return query, kept, features


def _keeping(stages: dict[str, Any]):
    """Notes what modules make, and what some of them are given."""

    def keep(call, args, kwargs, context):
        path = "/".join(context.module.path)
        out = stages[path] = call(*args, **kwargs)
        if path in ("value_encoder", "decoder", "key_aggregation", "value_aggregation"):
            stages[f"{path} <-"] = args
        return out

    return nn.intercept_methods(keep)


@jax.jit
def _memorize(variables, memory, frame, kept, probs, time):
    stages: dict[str, Any] = {}
    everything = jnp.ones(OBJECTS, bool)
    moment = Moment(time, everything, everything & (time == 0), jnp.bool_(False))
    with _keeping(stages):
        memory = METHOD.bind(variables).memorize(memory, frame, kept, probs, moment)
    found = {"mask_in": stages["value_encoder <-"][1], "value": stages["value_encoder"]}
    for side in ("key", "value"):
        name = f"{side}_aggregation"
        pair = jnp.stack(stages[f"{name} <-"], axis=1)
        related = extract(stages[f"{name}/extract"], pair)
        context = enhance(stages[f"{name}/enhance"], related) - related
        found |= {f"{side}_nonlocal": related, f"{side}_aspp": context}
    return memory, found


@jax.jit
def _segment(variables, memory, query, frame):
    stages: dict[str, Any] = {}
    with _keeping(stages):
        logits, memory = METHOD.bind(variables).segment(
            memory, query, frame, jnp.ones(OBJECTS, bool)
        )
    found = {
        "readout": stages["decoder <-"][0],
        "compress": stages["decoder/compress"],
        "stride4": stages["decoder"],
        "logit": upsample(stages["decoder"], 4)[..., 0],
        "read": _attention(memory, query),
    }
    return memory, jax.nn.softmax(logits, axis=0), found


def _attention(memory, query):
    """Similarities `[q, N, m]` of all slots, and weights.

    Weights are what a read of values returns that are each cell's own number.
    """
    key = memory.bank.entries.key[:, 0]
    slots, height, width, _ = key.shape
    cells = slots * height * width
    value = jnp.eye(cells).reshape(slots, 1, height, width, cells)
    copies = METHOD.copies(memory.bank.time[:, 0])
    read = partial(l2_read, top_k=METHOD.config.top_k, implementation="slots")
    weights = read(query.key, key, value, copies)[0]
    channels = key.shape[-1]
    scores = l2_similarity(query.key.reshape(-1, channels), key.reshape(-1, channels))
    shape = (-1, slots, height * width)
    return scores.reshape(shape), weights.reshape(shape)


@pytest.fixture(scope="module")
def results(reference, variables):
    """Everything that the reference may have, from one run of the video."""
    assert int(reference.arrays.get("seed", SEED)) == SEED
    images = jnp.asarray(reference["frames"] / np.float32(255))
    first_mask = reference["first_mask"]
    one_hot = first_mask == np.arange(OBJECTS + 1)[:, None, None]
    probs = jnp.asarray(one_hot, jnp.float32)
    memory = METHOD.init_memory(*first_mask.shape, OBJECTS, METHOD.slots(len(images)))
    query, kept, features = _encode(variables, images[0])
    found = {"labels": [first_mask], "prob_sub4": [probs[:, ::4, ::4]]}
    found |= {"t0_f16": features.res4[0], "t0_k16": kept.key}
    for t in range(1, len(images)):
        before = t - 1
        if before % METHOD.config.mem_every == 0:
            memory, stages = _memorize(
                variables, memory, images[before], kept, probs, before
            )
            found |= _of_memory(before, stages, memory)
        query, kept, features = _encode(variables, images[t])
        memory, probs, stages = _segment(variables, memory, query, images[t])
        found["labels"].append(probs.argmax(0))
        found["prob_sub4"].append(probs[:, ::4, ::4])
        found |= _of_step(t, query, kept, features, memory, stages)
    found["last_prob"] = probs
    return jax.tree.map(np.asarray, found, is_leaf=lambda x: isinstance(x, list))


def _of_memory(t, stages, memory):
    recurrent = jax.tree.map(lambda x: x[RECURRENT], memory.bank.entries)
    found = {f"t{t}_{name}": stages[name] for name in ("mask_in", "value")}
    found |= {f"sam{t}_key": recurrent.key[0], f"sam{t}_value": recurrent.value}
    for name in ("nonlocal", "aspp"):
        found[f"sam{t}_key_{name}"] = stages[f"key_{name}"][0]
        found[f"sam{t}_value_{name}_obj1"] = stages[f"value_{name}"][0]
    return found


def _of_step(t, query, kept, features, memory, stages):
    found = {
        f"t{t}_f16": features.res4[0],
        f"t{t}_f8": features.res3[0],
        f"t{t}_f4": features.res2[0],
        f"t{t}_k16": query.key,
        f"t{t}_f16_thin": query.thin,
        f"t{t}_dec_compress_obj1": stages["compress"][0],
        f"t{t}_logit_stride4": stages["stride4"][..., 0],
        f"t{t}_logit": stages["logit"],
        f"read{t}_readout": stages["readout"],
        f"read{t}_affinity": stages["read"][0],
        f"read{t}_weight": stages["read"][1],
    }
    background = 1 - memory.masks.sum(0, keepdims=True)
    return found | {f"t{t}_prob_padded": jnp.concatenate([background, memory.masks])}


def test_the_weights_are_those_of_the_reference(reference, state_dict):
    if "weight_check_name" not in reference.arrays:
        pytest.skip("this reference does not say")
    checks = ("weight_check_name", "weight_check_sum", "weight_check_abs")
    for name, total, size in zip(*(reference[c] for c in checks), strict=True):
        weight = state_dict[name].astype(np.float64)
        np.testing.assert_allclose(weight.sum(), total, atol=1e-6 * max(size, 1))
        np.testing.assert_allclose(np.abs(weight).sum(), size, rtol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["rde", "stcn"])
def test_the_name_table_covers_the_released_state_dict(name, state_dict):
    method = create(name)
    back = export_state_dict(
        _converted(name, state_dict), METHODS[name].torch_table(method.config)
    )
    # STCN is RDE-VOS without SAM.
    beside = "mem_compress." if name == "stcn" else "num_batches"
    assert all(
        unused.endswith("num_batches_tracked") or unused.startswith(beside)
        for unused in state_dict.keys() - back.keys()
    )
    for key, array in back.items():
        np.testing.assert_array_equal(array, state_dict[key], err_msg=key)


@pytest.mark.parametrize(("name", "numbers"), [("rde", 64.06), ("stcn", 54.47)])
def test_the_network_is_as_large_as_the_released_one(name, numbers):
    leaves = jax.tree.leaves(variable_shapes(create(name)))
    assert round(sum(int(np.prod(leaf.shape)) for leaf in leaves) / 1e6, 2) == numbers


# Stages


def test_all_features_agree_with_the_released_program(reference, results):
    wrong, compared = {}, 0
    for key in sorted(reference.results):
        limits = _limits(key)
        if limits is None:
            continue
        compared += 1
        expected, found = reference[key], results[key]
        assert found.shape == expected.shape, key
        error = np.abs(found - expected).max()
        ratio = np.linalg.norm(found - expected) / np.linalg.norm(expected)
        if not (error <= limits[0] and ratio <= limits[1]):
            wrong[key] = (float(error), float(ratio))
    assert not wrong
    assert compared >= 15


def _limits(key):
    """Some twenty times the distance of the released program from its own float64."""
    if key.startswith(("yv", "stcn", "labels", "last")):
        return None
    if key.startswith("sam"):
        return 3e-4, 2e-5
    if key.endswith("readout"):
        return np.inf, 1e-4
    if key.startswith("read"):
        return None
    if "logit" in key:
        return 2e-4, np.inf
    if key.endswith(("prob_padded", "mask_in")):
        return 1e-4, np.inf
    if key == "prob_sub4":
        # Stored with eleven bits.
        return 1e-3, 1e-3
    return 2e-4, 1e-5


@pytest.mark.parametrize("t", [1, 4, 10])
def test_similarities_and_weights_agree_with_the_released_program(
    reference, results, t
):
    if f"read{t}_affinity" not in reference.arrays:
        pytest.skip("not in this reference")
    slots, at = PUBLISHED_SLOTS[min(t, 4)], reference["qpos"]
    scores, weights = (results[f"read{t}_{what}"] for what in ("affinity", "weight"))
    expected = reference[f"read{t}_affinity"]
    found = scores[at][:, slots].reshape(expected.shape)
    np.testing.assert_allclose(found, expected, rtol=0, atol=5e-4)
    assert not np.delete(weights, np.unique(slots), axis=1).any()
    for what, picked in (("weight", weights[at]), ("slot_share", weights.sum(-1))):
        if f"read{t}_{what}" not in reference.arrays:
            continue
        expected = reference[f"read{t}_{what}"]
        if what == "slot_share":
            expected, picked = expected.T[..., None], picked[..., None]
        expected = expected.reshape(len(picked), len(slots), -1)
        for slot in set(slots):
            # The released program has the first frame twice.
            both = expected[:, [s == slot for s in slots]].sum(1)
            np.testing.assert_allclose(picked[:, slot], both, rtol=0, atol=1e-4)


# Videos


def _assert_same_video(reference, prefix, labels, last_prob):
    differs = np.stack(labels) != reference[f"{prefix}labels"]
    assert (np.unique(reference[f"{prefix}labels"]) == [0, 1, 2]).all()
    # Ties are pixels whose label depends on rounding; a few in a frame.
    assert differs.mean() < 2e-4
    error = np.abs(last_prob - reference[f"{prefix}last_prob"])
    # Where the last cells that are read are nearly equal, rounding may choose. In the
    # generated video's last frame two queries have gaps of 4e-6 there, as large as the
    # rounding of similarities: that is 1.1e-4 in the mean.
    assert error.max() < 1e-2 and error.mean() < 2e-4


def test_labels_agree_except_for_ties(reference, results):
    _assert_same_video(reference, "", results["labels"], results["last_prob"])


def _run(method, variables, state, frames):
    outputs = []
    for frame in frames:
        state, out = vos_jax.step(method, variables, state, frame)
        outputs.append(out)
    return state, outputs


@pytest.mark.slow
@pytest.mark.parametrize("read", ["slots", "blocks"])
def test_a_folded_network_that_reads_in_parts_agrees(reference, folded, read):
    config = dataclasses.replace(METHOD.config, folded=True, read=read)
    method = METHOD.clone(config=config)
    frames, first = reference["frames"], reference["first_mask"]
    state = vos_jax.start(method, folded, frames[0], first)
    _, outputs = _run(method, folded, state, frames[1:])
    labels = [first, *(out.labels for out in outputs)]
    _assert_same_video(reference, "", labels, outputs[-1].probs)


# Whole videos of other kinds: where there are no real frames they take long for what
# they add to the stages above.
WHOLE = pytest.mark.parametrize(
    "reference",
    [pytest.param("generated", marks=pytest.mark.slow), "real"],
    indirect=True,
    scope="module",
)


@WHOLE
def test_an_object_that_comes_later_agrees(reference, variables):
    method = create("rde", mem_every=4, top_k=20)
    frames, first, later = (reference[k] for k in ("frames", "yv_mask0", "yv_mask4"))
    state = vos_jax.start(method, variables, frames[0], first, ids=[1], objects=2)
    state, begun = _run(method, variables, state, frames[1:5])
    if "yv_prob4_before" in reference.arrays:
        found = begun[-1].probs[:, ::4, ::4]
        np.testing.assert_allclose(found, reference["yv_prob4_before"], atol=1e-4)
    state = vos_jax.add_masks(method, variables, state, frames[4], later, ids=[2])
    annotated = state.labels
    state, rest = _run(method, variables, state, frames[5:])
    labels = [out.labels for out in (*begun[:3], *rest)]
    labels = [first, *labels[:3], annotated, *labels[3:]]
    _assert_same_video(reference, "yv_", labels, rest[-1].probs)
    assert np.asarray(state.memory.bank.time[FIRST]).tolist() == [0, 4]
    for o in range(OBJECTS):
        expected = reference[f"yv_rde{o + 1}_key"]
        found = state.memory.bank.entries.key[RECURRENT, o]
        assert np.abs(found - expected).max() < 3e-4
        assert np.linalg.norm(found - expected) < 2e-5 * np.linalg.norm(expected)


@WHOLE
def test_stcn_agrees(reference, variables):
    method = create("stcn", read="reference")
    frames, first = reference["frames"], reference["first_mask"]
    state = vos_jax.start(method, variables, frames[0], first, frames=len(frames))
    state, outputs = _run(method, variables, state, frames[1:7])
    if "stcn_read6_readout" in reference.arrays:
        query = Query(state.keep.key, None, None)
        everything = jnp.ones(OBJECTS, bool)
        found = method.bind(variables).read(state.memory, query, everything)
        expected = reference["stcn_read6_readout"]
        assert np.linalg.norm(found - expected) < 1e-4 * np.linalg.norm(expected)
    state, rest = _run(method, variables, state, frames[7:])
    labels = [first, *(out.labels for out in (*outputs, *rest))]
    _assert_same_video(reference, "stcn_", labels, rest[-1].probs)
