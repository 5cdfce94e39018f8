"""Regions of a whole source: stored they are those of its frames, bit for bit."""

import numpy as np
import pytest

from vos_jax.data.proposals import open_proposals
from vos_jax.data.proposals.quality import best_iou
from vos_jax.data.proposals.stored import (
    count_frames,
    measure_quality,
    write_regions,
)
from vos_jax.data.sources import open_source

SIZE = (32, 48)


@pytest.fixture(scope="module")
def source():
    return open_source("generated", count=2, length=3, size=SIZE, objects=(1, 2))


@pytest.fixture(scope="module")
def stored(source, tmp_path_factory):
    path = tmp_path_factory.mktemp("stored") / "regions.json"
    told = []
    assert write_regions(path, source, tell=told.append) == count_frames(source) == 6
    assert told == [1] * 6
    return path


def test_what_is_stored_is_what_would_be_found(source, stored):
    written, direct = open_proposals(stored), open_proposals("regions")
    names = [f"{time:05d}" for time in range(3)]
    for video, listed in enumerate(source.videos):
        frames = source.read(video, range(3)).frames
        videos = [r.video(listed.name, names, SIZE) for r in (written, direct)]
        for time in range(3):
            one, other = (v.read(time, frames[time], SIZE) for v in videos)
            np.testing.assert_array_equal(one.masks, other.masks)
            np.testing.assert_array_equal(one.boxes, other.boxes)
            np.testing.assert_allclose(one.scores, other.scores, rtol=1e-5)


@pytest.mark.slow
def test_more_processes_write_the_same_bytes(source, stored, tmp_path):
    write_regions(tmp_path / "other.json", source, workers=2)
    assert (tmp_path / "other.json").read_bytes() == stored.read_bytes()


def test_quality_is_of_all_frames_but_the_first(source, stored):
    reader = open_proposals(stored)
    told = []
    best, used = measure_quality(source, reader, tell=told.append)
    assert best.frames == used.frames == len(told) == 4
    assert best.objects == 3
    assert best.best_iou >= used.best_iou > 0.1
    assert best.proposals >= used.proposals > 0
    stills = []
    for video in range(2):
        frames, labels = source.read(video, [1, 2])
        names = [f"{time:05d}" for time in (0, 1, 2)]
        found = reader.all_of(source.videos[video].name, names, SIZE)
        for label in range(1, 2 + video):
            each = [
                best_iou(y == label, found.read(1 + t, x, SIZE).masks)
                for t, (x, y) in enumerate(zip(frames, labels, strict=True))
                if (y == label).any()
            ]
            stills.append(np.mean(each))
    assert best.best_iou == pytest.approx(np.mean(stills))
