"""Figures of quality, on masks whose overlaps are known."""

import numpy as np
import pytest

from vos_jax.data.proposals.quality import QualityMeter, best_iou
from vos_jax.types import IGNORE

SIZE = (10, 20)


def block(left, width):
    mask = np.zeros(SIZE, bool)
    mask[:, left : left + width] = True
    return mask


def test_the_best_of_the_overlaps_counts():
    masks = np.stack([block(0, 4), block(0, 8), block(12, 8)])
    assert best_iou(block(0, 10), masks) == 0.8
    assert best_iou(block(0, 10), masks[:0]) == 0


def test_means_are_over_frames_then_over_objects():
    meter = QualityMeter()
    labels = np.zeros(SIZE, np.uint8)
    labels[:, :10] = 1
    meter.add("a", labels, np.stack([block(0, 8)]))
    meter.add("a", labels, np.stack([block(0, 4), block(15, 2)]))
    meter.add("b", labels, np.zeros((0, *SIZE), bool))
    quality = meter.result()
    assert quality.best_iou == pytest.approx(((0.8 + 0.4) / 2 + 0) / 2)
    assert quality.good == pytest.approx(0.25)
    assert quality.proposals == 1
    assert (quality.objects, quality.frames) == (2, 3)


def test_void_counts_for_nothing_and_an_object_that_is_away_not_at_all():
    labels = np.zeros(SIZE, np.uint8)
    labels[:, :10] = 1
    labels[:, 10:] = IGNORE
    meter = QualityMeter()
    meter.add("a", labels, np.stack([block(0, 20)]))
    meter.add("a", np.zeros(SIZE, np.uint8), np.stack([block(0, 20)]))
    assert meter.result().best_iou == 1
    assert meter.result().frames == 2


def test_of_no_object_there_are_no_figures():
    assert np.isnan(QualityMeter().result().best_iou)
