"""RDE-VOS and STCN through the command line: a published file, then masks."""

import json

import numpy as np
import pytest

from tests.clips import read_masks
from tests.methods.every import narrow
from vos_jax.cli import main
from vos_jax.methods import METHODS
from vos_jax.methods.weights import export


@pytest.fixture
def published(files, monkeypatch):
    """A checkpoint of a narrow RDE-VOS, and both methods as narrow as that."""
    for name in ("rde", "stcn"):
        narrowed = METHODS[name]._replace(config=narrow(name)[0].config)
        monkeypatch.setitem(METHODS, name, narrowed)
    path = files / "published.npz"
    np.savez(path, **export("rde", *narrow("rde")))
    return path


@pytest.mark.parametrize("name", ["rde", pytest.param("stcn", marks=pytest.mark.slow)])
def test_a_published_file_is_converted_and_segments(
    name, published, files, clip, capsys, monkeypatch
):
    weights = files / f"{name}.safetensors"
    assert main(["convert", name, str(published), str(weights), "--json"]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert figures["written"] == str(weights)
    monkeypatch.undo()  # What is narrow stands in the file.
    command = [
        *("segment", str(files / "frames"), "--mask", str(files / "first.png")),
        *("--method", name, "--weights", str(weights)),
        *("--out", str(files / "out"), "--mem-every", "2", "--top-k", "3"),
    ]
    assert main(command) == 0
    assert "frames: 8" in capsys.readouterr().out.splitlines()
    masks = read_masks(files / "out" / "masks")
    assert len(masks) == 8
    np.testing.assert_array_equal(masks["00000"], clip[1][0])
    assert set(np.unique(list(masks.values()))) <= {0, 1, 2}


def test_a_checkpoint_of_another_method_is_refused(published, files, capsys):
    np.savez(published, **export("stcn", *narrow("stcn")))
    target = files / "out.safetensors"
    assert main(["convert", "rde", str(published), str(target)]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "mem_compress.compress_key.bias" in error
    assert not target.exists()
