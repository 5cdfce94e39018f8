"""Proposals as DMN-AOA takes them: what fits, and what a mirror makes of them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vos_jax.data.proposals.select import tight_box
from vos_jax.errors import InputError
from vos_jax.methods.dmn_aoa.proposals import PROPOSALS, proposals_kind

SIZE = (24, 40)


@pytest.fixture(scope="module")
def example():
    return PROPOSALS.example(SIZE)


def test_the_example_fits_and_is_full(example):
    PROPOSALS.check(example, SIZE)
    assert example.valid.all() and example.masks.any(axis=(1, 2)).all()


def test_traced_proposals_are_checked_too(example):
    jax.eval_shape(lambda x: PROPOSALS.check(x, SIZE), example)


def test_a_mirror_keeps_boxes_tight_and_twice_is_none(example):
    mirrored = jax.jit(PROPOSALS.mirror)(example)
    PROPOSALS.check(mirrored, SIZE)
    for box, mask in zip(*(np.asarray(x) for x in mirrored[:2]), strict=True):
        np.testing.assert_array_equal(box, tight_box(mask))
    np.testing.assert_array_equal(mirrored.masks, example.masks[..., ::-1])
    for one, other in zip(PROPOSALS.mirror(mirrored), example, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"boxes": np.zeros((30, 3))}, r"boxes \[30, 3\]"),
        ({"masks": np.zeros((30, 24, 41), bool)}, r"masks \[N, 24, 40\]"),
        ({"scores": np.zeros(29)}, r"scores \[29\]"),
        ({"valid": np.zeros((), bool)}, r"valid \[\]"),
        ({"masks": np.zeros((30, 24, 40), np.float32)}, "masks of float32; give bool"),
        ({"valid": np.zeros(30, np.int32)}, "valid of int32; give bool"),
        ({"boxes": np.zeros((30, 4), bool)}, "boxes of bool; give float32"),
        ({"scores": [0.5] * 30}, "scores"),
    ],
)
def test_what_does_not_fit_is_named(example, changes, message):
    with pytest.raises(InputError, match=message):
        PROPOSALS.check(example._replace(**changes), SIZE)


def test_anything_else_is_refused(example):
    with pytest.raises(InputError, match=r"ndarray; give vos_jax\.Proposals"):
        PROPOSALS.check(example.masks, SIZE)


def test_scores_of_few_bits_are_scores(example):
    PROPOSALS.check(example._replace(scores=jnp.ones(30, jnp.bfloat16)), SIZE)


def test_what_overlaps_may_be_left_out_first():
    one, other = (proposals_kind(nms_first=x).open("regions") for x in (False, True))
    assert one.identity != other.identity
