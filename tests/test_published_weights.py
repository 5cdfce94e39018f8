"""The way of a user with published weights: convert a checkpoint, segment a folder."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.fill import fill_all
from vos_jax.cli import main
from vos_jax.media import read_labels, write_labels
from vos_jax.nn.layers import IMAGE_MEAN, IMAGE_STD

_HERE = Path(__file__).parent / "methods"
_METHODS = ["stm", "hmmn"]
_MOST_DIFFERING = 0.0005


def _published_checkpoint(method: str, path: Path, seed: int) -> None:
    """A checkpoint as released, every name prefixed by the parallel wrapper."""
    torch = pytest.importorskip("torch")
    shapes = json.loads((_HERE / f"{method}_state_dict.json").read_text())
    state = fill_all({k: tuple(v) for k, v in shapes.items()}, seed)
    for encoder in ("Encoder_M", "Encoder_Q"):
        state[f"{encoder}.mean"] = np.float32(IMAGE_MEAN).reshape(1, 3, 1, 1)
        state[f"{encoder}.std"] = np.float32(IMAGE_STD).reshape(1, 3, 1, 1)
    torch.save({f"module.{k}": torch.from_numpy(v) for k, v in state.items()}, path)


def _check_run(method: str, reference: Path, folder: Path) -> None:
    with np.load(reference) as file:
        stored = {k: file[k] for k in ("frames", "first_mask", "labels", "seed")}
        every = int(file["mem_every"])
    checkpoint, weights = folder / "released.pth", folder / "weights.safetensors"
    _published_checkpoint(method, checkpoint, int(stored["seed"]))
    assert main(["convert", method, str(checkpoint), str(weights)]) == 0
    frames, mask, out = folder / "frames", folder / "first.png", folder / "out"
    frames.mkdir()
    for time, frame in enumerate(stored["frames"]):
        Image.fromarray(frame).save(frames / f"{time:05d}.png")
    write_labels(mask, stored["first_mask"])
    command = ["segment", str(frames), "--mask", str(mask), "--method", method]
    command += ["--weights", str(weights), "--mem_every", str(every)]
    assert main([*command, "--out", str(out)]) == 0
    for time, expected in enumerate(stored["labels"]):
        found = read_labels(out / "masks" / f"{time:05d}.png")
        assert np.mean(found != expected) <= _MOST_DIFFERING, f"frame {time}"


# Every stage of both is compared in `tests/methods` each time.
@pytest.mark.slow
@pytest.mark.parametrize("method", _METHODS)
def test_converted_weights_give_the_released_programs_masks(
    method: str, tmp_path: Path
) -> None:
    _check_run(method, _HERE / f"{method}_reference.npz", tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("method", _METHODS)
def test_real_frames_get_the_released_programs_masks(
    method: str, tmp_path: Path, parity_folder: Path
) -> None:
    _check_run(method, parity_folder / f"{method}.npz", tmp_path)
