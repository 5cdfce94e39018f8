"""Frames, masks and ids that are refused, and with which words."""

from functools import partial

import jax
import numpy as np
import pytest

import vos_jax
from vos_jax.errors import InputError

FRAME = np.zeros((32, 48, 3), np.uint8)
LABELS = np.ones((32, 48), np.uint8)


@pytest.mark.parametrize(
    "frame, masks, options, message",
    [
        (FRAME[..., 0], LABELS, {}, r"frame: shape \(32, 48\)"),
        (FRAME[..., :2], LABELS, {}, r"frame: shape \(32, 48, 2\)"),
        (FRAME[None], LABELS, {}, r"frame: shape"),
        (FRAME.astype(np.int32), LABELS, {}, "frame: dtype int32"),
        (FRAME, LABELS[:30], {}, "masks: their size is 48x30, the frame's 48x32"),
        (FRAME, LABELS[0], {}, r"masks: shape \(48,\)"),
        (FRAME, LABELS[None, None], {}, r"masks: shape \(1, 1, 32, 48\)"),
        (FRAME, 0 * LABELS, {}, "no object"),
        (FRAME, np.full_like(LABELS, 255), {}, "no object"),
        (FRAME, np.zeros((0, 32, 48)), {}, "no object"),
        (FRAME, np.stack([LABELS, 0 * LABELS]), {}, "no pixel of object 2"),
        (FRAME, LABELS, {"ids": [1, 4]}, "no pixel of object 4"),
        (FRAME, LABELS[None], {"ids": [1, 2]}, "2 given for 1 masks"),
        (FRAME, np.stack([LABELS, LABELS]), {"ids": [3, 3]}, "3, 3; they must differ"),
        (FRAME, LABELS[None], {"ids": [255]}, r"1\.\.254"),
        (FRAME, LABELS[None], {"ids": [0]}, r"1\.\.254"),
        (FRAME, np.ones((255, 32, 48), bool), {}, "255 objects, at most 254"),
        (FRAME, np.stack([LABELS] * 2), {"objects": 1}, "objects=1 is less than"),
        (FRAME, LABELS, {"objects": 255}, "objects=255"),
        (FRAME, 255 * LABELS[None], {}, "masks: values from 0 to 255"),
        (FRAME, -1.0 * LABELS[None], {}, "masks: values from -1"),
        (FRAME, np.full((1, 32, 48), np.nan), {}, "masks: values"),
    ],
)
def test_start_refuses(model, frame, masks, options, message):
    with pytest.raises(InputError, match=message) as caught:
        vos_jax.start(*model, frame, masks, **options)
    assert "\n" not in str(caught.value)


def test_a_traced_label_map_needs_ids(model):
    with pytest.raises(InputError, match="traced label map needs ids"):
        jax.eval_shape(partial(vos_jax.start, *model), FRAME, LABELS)


def test_a_frame_of_another_size_is_refused(model, started):
    with pytest.raises(InputError, match=r"its size is 32x48.*48x32"):
        vos_jax.step(*model, started, FRAME.transpose(1, 0, 2))
    with pytest.raises(InputError, match="dtype int32"):
        vos_jax.step(*model, started, FRAME.astype(np.int32))


def test_masks_for_another_frame_than_the_latest_are_refused(model, clip, looped):
    frames, labels = clip
    with pytest.raises(InputError, match="not the latest frame"):
        vos_jax.add_masks(*model, looped[0][2], frames[2], labels[2])
    with pytest.raises(InputError, match="not the latest frame"):
        vos_jax.add_masks(*model, looped[0][2], frames[3][:16], labels[3][:16])


def test_added_masks_need_ids_and_pixels(model, clip, looped):
    add = partial(vos_jax.add_masks, *model, looped[0][2], clip[0][3])
    with pytest.raises(InputError, match="ids: needed"):
        add(np.ones((1, 32, 48)))
    with pytest.raises(InputError, match="no object in them"):
        add(np.zeros((32, 48), np.uint8))
    with pytest.raises(InputError, match="no pixel of object 9"):
        add(np.zeros((1, 32, 48)), [9])


def test_an_unknown_object_cannot_be_removed(looped):
    with pytest.raises(InputError, match="id 7: no such object; the state has 1, 2"):
        vos_jax.remove_object(looped[0][0], 7)
    freed = vos_jax.remove_object(looped[0][0], 1)
    with pytest.raises(InputError, match="id 0: no such object"):
        vos_jax.remove_object(freed, 0)
