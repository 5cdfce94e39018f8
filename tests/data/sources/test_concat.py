"""Several sources as one."""

import pickle

import numpy as np
import pytest

from vos_jax.data.source import Video
from vos_jax.data.sources import ConcatSource, GeneratedSource
from vos_jax.errors import InputError

FEW = GeneratedSource(count=2, length=5, size=(32, 32), objects=(1, 1))
MANY = GeneratedSource(count=3, length=9, size=(32, 48), objects=(1, 1), seed=1)


def test_names_are_prefixed_and_lists_joined():
    source = ConcatSource({"few": FEW, "many": MANY})
    assert [video.name for video in source.videos] == [
        "few/000000",
        "few/000001",
        "many/000000",
        "many/000001",
        "many/000002",
    ]
    assert source.videos[3] == Video("many/000001", 9, {1: 0})


def test_a_video_is_read_from_its_own_source():
    source = ConcatSource({"few": FEW, "many": MANY, "again": FEW})
    expected = [(FEW, 0), (FEW, 1), (MANY, 0), (MANY, 1), (MANY, 2), (FEW, 0), (FEW, 1)]
    for video, (part, index) in enumerate(expected):
        frames, labels = source.read(video, [3, 1])
        np.testing.assert_array_equal(frames, part.read(index, [3, 1]).frames)
        np.testing.assert_array_equal(labels, part.read(index, [3, 1]).labels)


def test_a_video_after_the_last_is_an_index_error():
    with pytest.raises(IndexError):
        ConcatSource({"few": FEW}).read(2, [0])


def test_joined_sources_survive_pickling():
    source = pickle.loads(pickle.dumps(ConcatSource({"few": FEW, "many": MANY})))
    np.testing.assert_array_equal(source.read(4, [0]).frames, MANY.read(2, [0]).frames)


def test_no_sources_are_refused():
    with pytest.raises(InputError, match="no sources to join"):
        ConcatSource({})
