import numpy as np
import pytest

from vos_jax.app import runs
from vos_jax.errors import InputError


@pytest.mark.parametrize("values", [1, 2, 256])
@pytest.mark.parametrize("size", [(1, 1), (3, 5), (128, 129)])
def test_what_is_encoded_is_decoded(values, size):
    labels = np.random.default_rng(0).integers(0, values, size).astype(np.uint8)
    assert np.array_equal(runs.decode(runs.encode(labels), size), labels)


def test_a_run_is_its_label_and_its_length():
    labels = np.repeat(np.array([0, 7, 255], np.uint8), [127, 128, 20_000 - 255])
    data = runs.encode(labels.reshape(100, 200))
    assert data == bytes([0, 127, 7, 0x80, 1, 255, 0xA1, 0x9A, 1])


def test_a_large_empty_mask_is_some_bytes():
    assert len(runs.encode(np.zeros((1080, 1920), np.uint8))) == 4


@pytest.mark.parametrize(
    "data",
    [
        b"",
        bytes([1]),
        bytes([1, 0x80]),
        bytes([1, 5]),
        bytes([1, 7]),
        bytes([1, 6, 2, 0]),
        bytes([1, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 1]),
    ],
)
def test_what_is_no_frame_of_labels_is_refused(data):
    with pytest.raises(InputError, match="labels"):
        runs.decode(data, (2, 3))
