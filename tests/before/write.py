"""Writes the files that `tests/test_before.py` reads, and what came of them.

    python -m tests.before.write

It ran at bfb6611, before modules moved to other packages. What it writes at another
commit proves nothing about that one: run it again only for files of a new kind.
"""

import json
import os
import shutil
import signal
import tempfile
import threading
import time
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import jax
import numpy as np

import vos_jax
from tests.clips import write_davis
from tests.methods import hmmn_weights, lcm_weights, rde_weights
from tests.test_before import (
    FILES,
    METHODS,
    RUNS,
    VIDEOS,
    digest,
    evaluate,
    images,
    last_loss,
    logits,
    segment,
    train,
    weights,
)
from vos_jax.cli import main
from vos_jax.training.checksums import write_checksums

_BACKBONE = {"depth": 18, "width": 2}
_NETWORKS = {
    "stm": lambda: lcm_weights.narrow("stm", backbone=_BACKBONE),
    "hmmn": lambda: hmmn_weights.narrow(backbone=_BACKBONE),
    "lcm": lambda: lcm_weights.narrow("lcm", backbone=_BACKBONE),
    "stcn": lambda: _narrow_stcn("stcn"),
    "rde": lambda: _narrow_stcn("rde"),
}


def _narrow_stcn(name: str) -> Any:
    return rde_weights.narrow(name, backbone=_BACKBONE, value_backbone=_BACKBONE)


def write_all() -> None:
    """Everything but this file's neighbours in Python."""
    jax.config.update("jax_num_cpu_devices", 1)
    jax.config.update("jax_disable_most_optimizations", True)
    # Jobs in the background of a shell ignore it.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    davis = write_davis(FILES / "davis", ["alpha", "beta"], count=5)
    weights("stm").parent.mkdir()
    for name, make in _NETWORKS.items():
        vos_jax.save_weights(weights(name), name, *make())
    came = {f"logits/{name}": logits(name) for name in METHODS}
    # Orbax notes where it wrote.
    with tempfile.TemporaryDirectory(dir=Path.home()) as folder:
        scratch = Path(folder)
        for name in VIDEOS:
            came[f"masks/{name}"] = _video(name, davis, scratch)
        came |= _evaluation(davis, scratch)
        for run in RUNS:
            came |= _training(run, scratch)
    np.savez_compressed(FILES / "expected.npz", **came)


def _video(name: str, davis: Path, scratch: Path) -> np.ndarray:
    whole, out = scratch / f"whole_{name}", scratch / name
    assert segment(name, davis, whole) == 0
    assert segment(name, _damaged(davis, "alpha", scratch / f"cut_{name}"), out) == 2
    assert (out / "masks" / ".resume.npz").exists()
    _pack(f"segment_{name}", out)
    return images(whole / "masks")


def _evaluation(davis: Path, scratch: Path) -> dict[str, Any]:
    whole, out = scratch / "evaluated", scratch / "evaluate"
    with redirect_stdout(StringIO()) as printed:
        assert evaluate(davis, whole) == 0
    scores = np.array([*json.loads(printed.getvalue()).values()], float)
    assert evaluate(_damaged(davis, "beta", scratch / "cut"), out) == 2
    assert (out / "masks" / "beta" / ".resume.npz").exists()
    # Where the data were then is of no use to anybody.
    note = out / "masks" / "run.json"
    note.write_text(json.dumps(json.loads(note.read_text()) | {"root": "/data/DAVIS"}))
    _pack("evaluate", out)
    return {"scores": scores, "masks/beta": images(whole / "masks" / "beta")}


def _damaged(davis: Path, video: str, target: Path) -> Path:
    """A copy of a data set whose fourth frame of a video cannot be read."""
    shutil.copytree(davis, target)
    frame = target / "JPEGImages" / "480p" / video / "00003.png"
    frame.write_bytes(frame.read_bytes()[:100])
    return target


def _training(run: str, scratch: Path) -> dict[str, Any]:
    whole, workdir = scratch / f"trained_{run}", scratch / f"train_{run}"
    assert train(run, whole) == 0
    threading.Thread(target=_interrupt, args=[workdir]).start()
    often = ("--set", "checkpoint_every=1", "--set", "keep=1")
    assert train(run, workdir, *often) == 130
    assert not (workdir / "weights.safetensors").exists()
    exported = scratch / f"{run}.safetensors"
    assert main(["export", str(workdir), str(exported)]) == 0
    for unneeded in ("tensorboard", "batch.png"):
        _remove(workdir / unneeded)
    for note in workdir.rglob("commit_success.txt"):
        note.write_text(note.read_text().replace(str(scratch), "/runs"))
    for sums in workdir.rglob("checksums.json"):
        sums.unlink()
        write_checksums(sums.parent)
    _pack(f"train_{run}", workdir)
    return {
        f"exported/{run}": digest(exported),
        f"trained/{run}": digest(whole / "weights.safetensors"),
        f"loss/{run}": last_loss(whole),
    }


def _interrupt(workdir: Path) -> None:
    """Ctrl-C after the first checkpoint."""
    while not any(workdir.glob("checkpoints/step_?")):
        time.sleep(0.01)
    os.kill(os.getpid(), signal.SIGINT)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _pack(name: str, folder: Path) -> None:
    shutil.make_archive(str(FILES / name), "zip", folder)


if __name__ == "__main__":
    write_all()
