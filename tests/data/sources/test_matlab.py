"""MATLAB files of SBD: read as SciPy reads them, and refused where damaged."""

import zlib

import numpy as np
import pytest
from scipy.io import loadmat, savemat

from tests.data.sources.layouts import damage, label_pixels, write_matlab
from vos_jax.data.sources.matlab import read_instances
from vos_jax.errors import InputError

# Wider than high, and nothing symmetric about it.
LABELS = label_pixels(1, 2, 255, 4)


@pytest.mark.parametrize("compressed", [True, False])
@pytest.mark.parametrize("size", [(24, 32), (1, 3), (7, 1)])
def test_labels_are_those_that_scipy_reads(tmp_path, compressed, size):
    labels = np.random.default_rng(0).integers(0, 5, size, np.uint8)
    path = write_matlab(tmp_path / "a.mat", labels, compressed=compressed)
    found = read_instances(path)
    np.testing.assert_array_equal(found, labels)
    np.testing.assert_array_equal(found, loadmat(path)["GTinst"][0, 0]["Segmentation"])
    assert found.dtype == np.uint8
    assert found.flags["C_CONTIGUOUS"]


def test_an_image_without_objects_is_background(tmp_path):
    path = write_matlab(tmp_path / "a.mat", label_pixels())
    np.testing.assert_array_equal(read_instances(path), label_pixels())


@pytest.mark.parametrize("compressed", [True, False])
def test_other_variables_in_front_are_passed_over(tmp_path, compressed):
    variables = {"notes": "abc" * 33, "n": 3.0, "GTinst": {"Segmentation": LABELS}}
    savemat(tmp_path / "a.mat", variables, do_compression=compressed)
    np.testing.assert_array_equal(read_instances(tmp_path / "a.mat"), LABELS)


def test_files_of_the_other_byte_order_are_read(tmp_path):
    header = b"MATLAB 5.0".ljust(124) + b"\1\0MI"
    field = matrix(9, LABELS.shape, b"", [element(2, LABELS.tobytes("F"))])
    names = [element(5, (13).to_bytes(4)), element(1, b"Segmentation\0"), field]
    path = tmp_path / "a.mat"
    path.write_bytes(header + matrix(2, (1, 1), b"GTinst", names))
    np.testing.assert_array_equal(read_instances(path), LABELS)


def matrix(kind, shape, name, rest):
    """A matrix, big-endian."""
    flags = element(6, kind.to_bytes(4) + bytes(4))
    sizes = element(5, b"".join(each.to_bytes(4) for each in shape))
    return element(14, b"".join([flags, sizes, element(1, name), *rest]))


def element(kind, data):
    tag = kind.to_bytes(4) + len(data).to_bytes(4)
    return tag + data + bytes(-len(data) % 8)


@pytest.mark.parametrize("compressed", [True, False])
def test_a_file_that_was_cut_is_named(tmp_path, compressed):
    path = write_matlab(tmp_path / "a.mat", LABELS, compressed=compressed)
    damage(path)
    with pytest.raises(InputError, match=r"a\.mat is damaged \(\d+ bytes are missing"):
        read_instances(path)


@pytest.mark.parametrize("compressed", [True, False])
def test_no_damage_leads_to_another_error_or_a_crash(tmp_path, compressed):
    path = write_matlab(tmp_path / "a.mat", LABELS, compressed=compressed)
    content = path.read_bytes()
    rng = np.random.default_rng(0)
    refused = 0
    for _ in range(400):
        damaged = bytearray(content)
        # Most of what comes after that is pixels, which can be anything.
        damaged[rng.integers(124, min(400, len(content)))] = rng.integers(256)
        path.write_bytes(damaged[: rng.integers(124, 3 * len(content))])
        try:
            labels = read_instances(path)
        except InputError as error:
            assert str(path) in str(error)
            refused += 1
        else:
            assert labels.ndim == 2
            assert labels.dtype == np.uint8
    assert refused > 100


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"GTcls": {"Segmentation": LABELS}}, "holds no GTinst.Segmentation"),
        ({"GTinst": LABELS}, "holds no GTinst.Segmentation"),
        ({"GTinst": {"Boundaries": LABELS}}, "holds no GTinst.Segmentation"),
        ({"GTinst": {"Segmentation": LABELS / 2}}, "pixels of type 9, not of 8 bits"),
        ({"GTinst": {"Segmentation": LABELS[None]}}, "is damaged"),
        ({"GTinst": {"Segmentation": LABELS[:0]}}, "32x0 pixels"),
        ({"GTinst": np.zeros(2, [("Segmentation", object)])}, "2 values of 1 fields"),
    ],
)
def test_a_file_of_something_else_is_named(tmp_path, variables, message):
    savemat(tmp_path / "a.mat", variables)
    with pytest.raises(InputError, match=rf"a\.mat .*{message}") as error:
        read_instances(tmp_path / "a.mat")
    assert "\n" not in str(error.value)


def test_a_file_that_is_missing_or_of_another_format_is_named(tmp_path):
    path = tmp_path / "a.mat"
    with pytest.raises(InputError, match=r"a\.mat cannot be read \(No such file"):
        read_instances(path)
    nothing = b"MATLAB 5.0".ljust(124) + b"\1\0MI" + element(15, zlib.compress(b""))
    path.write_bytes(nothing)
    with pytest.raises(InputError, match=r"a\.mat is damaged \(not enough values"):
        read_instances(path)
    for content in (b"", b"\x89HDF", b"MATLAB 7.3 MAT-file".ljust(124) + b"\0\2IM"):
        path.write_bytes(content)
        with pytest.raises(InputError, match=r"damaged \(no MATLAB file of version 5"):
            read_instances(path)
