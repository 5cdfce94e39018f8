"""Weights files: what comes back, and what is refused with which reason."""

import json
import os
import struct

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from vos_jax.convert import (
    FORMAT,
    Metadata,
    load_weights,
    read_metadata,
    save_weights,
)
from vos_jax.errors import InputError

CONFIG = {"key_features": 128, "memory_encoder": "resnet50", "stages": [3, 4, 6]}
GOOD = {"format": FORMAT, "method": "stm", "config": "{}"}


def variables() -> dict:
    rng = np.random.default_rng(0)
    kernel = rng.normal(size=(3, 3, 2, 4)).astype(np.float32)
    return {
        "params": {
            "encoder": {"conv1": {"kernel": kernel, "bias": np.zeros(4, np.float32)}},
            # A view: its bytes do not lie in the order of its axes.
            "fc": {"kernel": np.arange(6, dtype=np.float32).reshape(2, 3).T},
        },
        "batch_stats": {"bn": {"mean": np.array(0.5, np.float32)}},
    }


def assert_same(found: dict, expected: dict) -> None:
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        if isinstance(value, dict):
            assert_same(found[key], value)
        else:
            np.testing.assert_array_equal(found[key], value, strict=True)


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "stm.safetensors"
    save_weights(path, variables(), method="stm", config=CONFIG)
    return path


def error_of(path) -> str:
    messages = []
    for read in (load_weights, read_metadata):
        with pytest.raises(InputError) as caught:
            read(path)
        messages.append(str(caught.value))
    assert messages[0] == messages[1]
    assert messages[0].startswith(str(path)) and messages[0].isprintable()
    return messages[0]


def test_weights_come_back_as_they_were_saved(path):
    weights = load_weights(str(path))
    assert_same(weights.variables, variables())
    assert (weights.method, weights.config, weights.notes) == ("stm", CONFIG, {})


def test_equal_weights_are_equal_files(tmp_path):
    notes = {name: name for name in "abcdefgh"}
    about = {"method": "stm", "config": CONFIG, "notes": notes}
    files = [tmp_path / f"{i}.safetensors" for i in range(6)]
    for file in files:
        save_weights(file, variables(), **about)
    assert len({file.read_bytes() for file in files}) == 1
    # Other programs read it, too.
    found = load_file(files[0])
    assert {name.split("/")[0] for name in found} == {"params", "batch_stats"}


def test_jax_arrays_are_saved_too(tmp_path):
    jnp = pytest.importorskip("jax.numpy")
    path = tmp_path / "a.safetensors"
    save_weights(path, {"params": {"w": jnp.ones((2, 3))}}, method="m", config={})
    found = load_weights(path).variables["params"]["w"]
    np.testing.assert_array_equal(found, np.ones((2, 3), np.float32), strict=True)


def test_leaves_are_named_by_their_path(path):
    assert sorted(load_file(path)) == [
        "batch_stats/bn/mean",
        "params/encoder/conv1/bias",
        "params/encoder/conv1/kernel",
        "params/fc/kernel",
    ]


def test_notes_are_kept(tmp_path):
    path = tmp_path / "a.safetensors"
    notes = {"origin": "stm.pth", "licence": "non-commercial – ask"}
    tree = {"params": {"w": np.ones(1)}}
    save_weights(path, tree, method="stm", config={}, notes=notes)
    assert load_weights(path).notes == notes
    assert read_metadata(path) == Metadata("stm", {}, notes)


def test_metadata_is_read(path):
    assert read_metadata(str(path)) == Metadata("stm", CONFIG, {})


def test_the_file_gets_the_permissions_of_any_new_file(path, tmp_path):
    (tmp_path / "plain").write_bytes(b"")
    assert path.stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_a_save_that_fails_leaves_the_old_file_and_nothing_else(path, monkeypatch):
    before = path.read_bytes()

    def no_space(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", no_space)
    with pytest.raises(InputError, match="No space left"):
        save_weights(path, variables(), method="other", config={})
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


def test_another_ending_or_a_missing_folder_is_an_input_error(tmp_path):
    for name in ("a.pth", "missing/a.safetensors"):
        with pytest.raises(InputError, match=name):
            save_weights(tmp_path / name, variables(), method="stm", config={})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("tree", "config"),
    [
        ({}, {}),
        ({"params": {"w": np.array(["text"])}}, {}),
        ({"params": {"a/b": np.ones(1)}}, {}),
        ({"params": {0: np.ones(1)}}, {}),
        ({"params": {"w": np.ones(1)}}, {"dtype": np.float32}),
        ({"params": {"w": np.ones(1)}}, {"scale": float("nan")}),
    ],
)
def test_what_a_file_cannot_hold_is_a_value_error(tmp_path, tree, config):
    with pytest.raises(ValueError):
        save_weights(tmp_path / "a.safetensors", tree, method="stm", config=config)
    assert list(tmp_path.iterdir()) == []


def test_a_file_truncated_anywhere_is_refused(path):
    whole = path.read_bytes()
    for length in {*range(0, len(whole), 23), 1, 7, 8, 9, len(whole) - 1}:
        path.write_bytes(whole[:length])
        assert "truncated, damaged or not a safetensors file" in error_of(path)


def test_a_header_length_beyond_the_file_is_refused(path):
    content = path.read_bytes()
    for length in (len(content), 2**40, 2**64 - 1):
        path.write_bytes(struct.pack("<Q", length) + content[8:])
        assert "truncated, damaged" in error_of(path)


def test_data_appended_to_the_file_is_refused(path):
    path.write_bytes(path.read_bytes() + b"more")
    error_of(path)


def test_a_published_checkpoint_is_sent_to_convert(tmp_path):
    np.savez(tmp_path / "a.npz", w=np.ones(1))
    message = error_of(tmp_path / "a.npz")
    assert "zip archive" in message and "vos-jax convert" in message


@pytest.mark.parametrize("metadata", [None, {"format": "pt"}, {"author": "me"}])
def test_a_safetensors_file_of_something_else_is_sent_to_convert(tmp_path, metadata):
    path = tmp_path / "a.safetensors"
    save_file({"conv.weight": np.ones(2)}, path, metadata)
    assert "vos-jax convert" in error_of(path)


def test_another_format_version_is_named(tmp_path):
    path = tmp_path / "a.safetensors"
    save_file({"params/w": np.ones(2)}, path, GOOD | {"format": "vos_jax/2"})
    message = error_of(path)
    assert "'vos_jax/2'" in message and "'vos_jax/1'" in message
    assert "update vos_jax" in message


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"method": ""}, "no method"),
        ({"config": None}, "'config'"),
        ({"config": "{'a': 1}"}, "'config'"),
        ({"config": "[1]"}, "'config'"),
        ({"config": "[" * 100_000}, "'config'"),
        ({"notes": "3"}, "'notes'"),
    ],
)
def test_damaged_metadata_is_refused_with_the_entry(tmp_path, change, reason):
    path = tmp_path / "a.safetensors"
    metadata = {k: v for k, v in (GOOD | change).items() if v is not None}
    save_file({"params/w": np.ones(2)}, path, metadata)
    assert reason in error_of(path)


def test_leaves_that_lie_on_one_another_are_refused(tmp_path):
    path = tmp_path / "a.safetensors"
    save_file({"params": np.ones(1), "params/w": np.ones(1)}, path, GOOD)
    with pytest.raises(InputError, match="damaged weights file"):
        load_weights(path)


def test_a_type_numpy_does_not_know_is_refused_when_it_is_read(tmp_path):
    path = tmp_path / "a.safetensors"
    entry = {"dtype": "F8_E4M3", "shape": [2], "data_offsets": [0, 2]}
    header = json.dumps({"__metadata__": GOOD, "params/w": entry}).encode()
    path.write_bytes(struct.pack("<Q", len(header)) + header + b"\0\0")
    # The metadata needs no tensor.
    assert read_metadata(path).method == "stm"
    with pytest.raises(InputError, match="damaged weights file"):
        load_weights(path)


def test_a_missing_file_or_a_folder_is_an_input_error(tmp_path):
    assert "no such file" in error_of(tmp_path / "a.safetensors")
    assert "no such file" in error_of(tmp_path)
