"""Operations of DMN-AOA against an independent program in float64.

Its authors released none. Only with the folder of reference data.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from tests.fill import fill
from vos_jax.ops.alignment import align, compare_unaligned
from vos_jax.ops.matching import match
from vos_jax.ops.nms import suppress
from vos_jax.ops.object_read import object_read
from vos_jax.ops.patches import cosine_correspondence, move_patches
from vos_jax.ops.resample import block_mean
from vos_jax.ops.roi_align import roi_align
from vos_jax.ops.time_code import time_code

NEAR, WHOLE = 1e-5, 2e-5
"""Ten times the distance of the same program in float32, over the largest value."""

CASES = range(8)


@pytest.fixture(scope="module")
def reference(parity_folder):
    with np.load(parity_folder / "dmn_aoa.npz") as file:
        return dict(file)


def _assert_near(found, expected, largest=NEAR):
    found = np.asarray(found)
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() <= largest * np.abs(expected).max()


def _last(array):
    """Channels from before rows and columns to the end."""
    return jnp.asarray(np.moveaxis(array, -3, -1))


def _convolved(x, name, channels, after=None):
    """A 3 x 3 convolution with the weights of that name; then a norm and ReLU."""
    shape = (channels, x.shape[-1], 3, 3)
    y = lax.conv_general_dilated(
        x.reshape(-1, *x.shape[-3:]),
        fill(f"{name}.weight", shape),
        (1, 1),
        "SAME",
        dimension_numbers=("NHWC", "OIHW", "NHWC"),
        precision="highest",
    )
    y = y + fill(f"{name}.bias", (channels,)).reshape(1, 1, 1, -1)
    if after is not None:
        groups = np.asarray(y, np.float64).reshape(len(y), -1, 32, channels // 32)
        mean, var = (f(groups, axis=(1, 3), keepdims=True) for f in (np.mean, np.var))
        y = ((groups - mean) / np.sqrt(var + 1e-5)).reshape(y.shape)
        y = y * fill(f"{after}.weight", (channels,)) + fill(
            f"{after}.bias", (channels,)
        )
        y = jnp.asarray(np.maximum(y, 0), jnp.float32)
    return y.reshape(*x.shape[:-1], channels)


def _projected(x, name, channels=256):
    """What a projector makes of features."""
    hidden = _convolved(x, f"{name}.conv1", channels, after=f"{name}.norm")
    return _convolved(hidden, f"{name}.conv2", channels)


@pytest.mark.parametrize("stride", [4, 8, 16])
def test_pooled_features_agree(reference, stride):
    feature = _last(reference[f"roi/feature_{stride}"])
    found = roi_align(feature, reference["roi/boxes"], stride)
    _assert_near(found, _last(reference[f"roi/pooled_{stride}"]))


def test_kept_boxes_agree(reference):
    order = np.argsort(-reference["nms/scores"], kind="stable")[:30]
    keep = suppress(reference["nms/boxes"][order], np.ones(30, bool))
    np.testing.assert_array_equal(order[np.asarray(keep)], reference["nms/keep"])


def test_time_codes_agree(reference):
    found = time_code(reference["dmn/offsets_code"], 512)
    assert np.abs(found - reference["dmn/code"]).max() <= 1e-6


@pytest.mark.parametrize("implementation", ["reference", "slots", "blocks"])
def test_the_object_memory_agrees(reference, implementation):
    own = {key[4:]: x for key, x in reference.items() if key.startswith("dmn/")}
    code = time_code(own["offsets_mem"], 512).reshape(1, 3, 1, 1, 512)
    feature = _last(own["feature_mem"]) + code
    entry = jnp.concatenate([feature, own["mask_mem"][..., None]], axis=-1)
    key = _convolved(entry, "dmn.mem_key", 128)
    value = _convolved(entry, "dmn.mem_value", 512)
    _assert_near(key, _last(own["key"]))
    _assert_near(value, _last(own["value"]))
    query = _last(own["feature_query"]) + time_code(own["offset_query"], 512).reshape(
        1, 1, 1, 512
    )
    template = object_read(
        _convolved(query, "dmn.query", 128),
        key.swapaxes(0, 1),
        value.swapaxes(0, 1),
        own["valid"].T,
        implementation=implementation,
    )
    _assert_near(template, _last(own["template"]))


def test_alignments_agree(reference):
    own = {key[4:]: x for key, x in reference.items() if key.startswith("aoa/")}
    maps = (
        _projected(_last(own["template"]), "aoa.proj_t"),
        _projected(_last(own["proposal"]), "aoa.proj_p"),
    )
    found = align(*maps, implementation="reference")
    _assert_near(found.correspondence, own["S"], WHOLE)
    aligned = np.moveaxis(np.asarray(found.aligned).reshape(2, 4, 36, 256), -1, -2)
    _assert_near(aligned, own["aligned"], WHOLE)
    for similarity in (found.similarity, align(*maps).similarity):
        assert np.abs(similarity - own["sim"]).max() <= 1e-5
    assert np.abs(compare_unaligned(*maps) - own["sim_unaligned"]).max() <= 1e-5


@pytest.mark.parametrize("case", CASES)
def test_matchings_and_their_gradients_agree(reference, case):
    own = {key.split("/")[2]: x for key, x in reference.items() if f"h/{case}/" in key}
    similarity, *valid = (own[name] for name in ("sim", "prop_valid", "obj_valid"))

    @jax.jit
    def trained(similarity):
        found, pull = jax.vjp(lambda x: match(x, *valid, n_grad=10), similarity)
        return found, *pull(own["cotangent"])

    found = {
        "eval_40x5": jax.jit(match)(similarity, *valid),
        "projected_40x5": match(similarity, *valid, average="projected"),
    }
    found["train_10x5"], found["grad_train_10x5"] = trained(similarity)
    for name, array in found.items():
        assert np.abs(np.asarray(array) - own[name]).max() <= 1e-5, name


def test_moved_references_agree(reference):
    own = {key[7:]: x for key, x in reference.items() if key.startswith("refine/")}
    current = _projected(_last(own["cur_16"]), "refine.proj_cur")
    for name in ("first", "prev"):
        there = _projected(_last(own[f"{name}_16"]), "refine.proj_ref")
        found = cosine_correspondence(current, there)
        _assert_near(found, own[f"S_{name}"], WHOLE)
    for stride in (4, 8, 16):
        moved = move_patches(_last(own[f"prev_{stride}"]), found, 16 // stride)
        _assert_near(moved, _last(own[f"aligned_prev_{stride}"]), WHOLE)
    masks = block_mean(jnp.asarray(own["mask_prev"]), 4)
    moved = move_patches(jnp.moveaxis(masks, 0, -1), found, 4)
    _assert_near(jnp.moveaxis(moved, -1, 0), own["aligned_mask_prev_4"], WHOLE)
