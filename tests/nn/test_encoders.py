"""Encoders that see masks, and heads."""

import jax
import numpy as np

from tests.nn import numpy_layers
from tests.randomized import randomized
from vos_jax.nn.encoders import KeyValueHead, MaskedEncoder, other_objects
from vos_jax.nn.resnet import ResNet, ResNetConfig

CONFIG = ResNetConfig(depth=18, width=4)


def _random(*shape):
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


def _masks(objects, size=(32, 48)):
    return np.random.default_rng(1).random((objects, *size)).astype(np.float32)


def test_the_others_are_the_sum_of_all_other_masks_up_to_one():
    masks = _masks(4, (3, 5))
    expected = [
        np.clip(sum(masks[i] for i in range(4) if i != o), 0, 1) for o in range(4)
    ]
    np.testing.assert_allclose(other_objects(masks), expected, atol=3e-7)
    assert (np.stack(expected) == 1).any()


def test_a_single_object_has_no_others():
    assert not np.asarray(other_objects(_masks(1))).any()


def test_hard_masks_have_hard_others():
    labels = np.random.default_rng(2).integers(0, 4, (6, 7))
    masks = (labels == np.arange(1, 4)[:, None, None]).astype(np.float32)
    expected = (labels > 0) & (masks == 0)
    np.testing.assert_array_equal(other_objects(masks), expected)


def test_separate_stems_equal_one_convolution_of_five_channels():
    image, masks = _random(1, 32, 48, 3), _masks(2)
    encoder = MaskedEncoder(CONFIG)
    variables = randomized(encoder, image, masks)
    out = jax.jit(encoder.apply)(variables, image, masks)

    stem = variables["params"]["stem"]
    kernels = [stem["image"]["kernel"], stem["masks"]["kernel"]]
    joined = {"conv": {"kernel": np.concatenate(kernels, axis=2)}, "norm": stem["norm"]}
    params = {**variables["params"], "stem": joined}
    planes = np.stack([masks, other_objects(masks)], axis=-1)
    stacked = np.concatenate([np.repeat(image, 2, axis=0), planes], axis=-1)
    expected = jax.jit(ResNet(CONFIG).apply)({**variables, "params": params}, stacked)
    for x, y in zip(out, expected, strict=True):
        np.testing.assert_allclose(x, y, atol=1e-5 * np.abs(y).max())


def test_the_order_of_objects_is_the_order_of_their_features():
    image, masks = _random(1, 32, 48, 3), _masks(2)
    encoder = MaskedEncoder(CONFIG)
    encode = jax.jit(encoder.apply)
    variables = randomized(encoder, image, masks)
    plain, swapped = (encode(variables, image, m) for m in (masks, masks[::-1]))
    assert not np.allclose(plain.res4[0], plain.res4[1], atol=1e-2)
    np.testing.assert_allclose(swapped.res4[::-1], plain.res4, atol=2e-5)


def test_heads_are_convolutions_without_activation():
    features = _random(2, 4, 5, 6)
    head = KeyValueHead(3, 7)
    variables = randomized(head, features)
    key, value = head.apply(variables, features)
    for out, name in ((key, "key"), (value, "value")):
        expected = numpy_layers.conv(features, variables["params"][name])
        np.testing.assert_allclose(out, expected, atol=5e-6)
        assert (expected < 0).any()
    assert key.shape[-1] == 3 and value.shape[-1] == 7
