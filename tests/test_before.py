"""Files that were written before modules moved: they are read as they were then.

`tests/before/write.py` has written them. Nothing here may name a module below `vos_jax`
but `vos_jax.cli`.
"""

import json
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
from PIL import Image

import vos_jax
from tests.by_default import by_default
from vos_jax.cli import main

FILES = Path(__file__).parent / "before"
METHODS = ("stm", "hmmn", "lcm", "stcn", "rde")
RUNS = ("hmmn", "stm", "rde")
VIDEOS = ("hmmn", "rde")


@pytest.fixture(autouse=True)
def own_signals():
    """The command line takes over a signal of the process, here that of the tests."""
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.fixture(scope="module")
def expected():
    with np.load(FILES / "expected.npz") as file:
        return dict(file)


def weights(name):
    return FILES / "weights" / f"{name}.safetensors"


def images(folder):
    return np.stack([np.asarray(Image.open(x)) for x in sorted(folder.glob("*.png"))])


def logits(name):
    """Of the third frame of a video."""
    method, variables = vos_jax.load_model(name, weights(name))
    frames = images(FILES / "davis" / "JPEGImages" / "480p" / "alpha")
    labels = images(FILES / "davis" / "Annotations" / "480p" / "alpha")
    state = vos_jax.start(method, variables, frames[0], labels[0], frames=3)
    for frame in frames[1:3]:
        state, out = vos_jax.step(method, variables, state, frame)
    return np.asarray(out.logits)


def segment(name, davis, out):
    """Exit status of a run that goes on with what is in `out`."""
    command = [
        *("segment", str(davis / "JPEGImages" / "480p" / "alpha"), "--resume"),
        *("--mask", str(davis / "Annotations" / "480p" / "alpha" / "00000.png")),
        *("--method", name, "--weights", str(weights(name)), "--out", str(out)),
    ]
    return main([*command, "--mem-every", "2", "--json"])


def evaluate(davis, out, name="stm"):
    command = [
        *("evaluate", "--dataset", "davis2017", "--root", str(davis), "--split", "val"),
        *("--method", name, "--weights", str(weights(name)), "--out", str(out)),
    ]
    return main([*command, "--json"])


def train(run, workdir, *more):
    experiment = f"{FILES / 'runs.py'}:{run}"
    return main(["train", experiment, "--workdir", str(workdir), *more])


def digest(path):
    """Mean and root of the mean square of each array of a weights file."""
    arrays = safetensors.numpy.load_file(path)
    return np.array(
        [[x.mean(), np.sqrt((x * x).mean())] for _, x in sorted(arrays.items())]
    )


def last_loss(workdir):
    return json.loads((workdir / "log.jsonl").read_text().splitlines()[-1])["loss"]


def unpacked(name, target):
    shutil.unpack_archive(FILES / f"{name}.zip", target)
    return target


def assert_same_masks(found, expected):
    """But for a pixel of a hundred, where two objects may be as good as equal."""
    assert found.shape == expected.shape
    assert (found == expected).mean() > 0.99


@pytest.mark.parametrize(
    "name",
    by_default(METHODS, set(METHODS) - {"stcn"}),
)
def test_weights_give_the_logits_that_they_gave(name, expected):
    before = expected[f"logits/{name}"]
    tolerance = 1e-4 * np.abs(before).max()
    np.testing.assert_allclose(logits(name), before, atol=tolerance)


@pytest.mark.parametrize("name", ["hmmn", pytest.param("rde", marks=pytest.mark.slow)])
def test_an_interrupted_video_goes_on_and_ends_as_it_did(
    name, expected, tmp_path, capsys
):
    out = unpacked(f"segment_{name}", tmp_path)
    done = len(list((out / "masks").glob("*.png")))
    assert segment(name, FILES / "davis", out) == 0
    before = expected[f"masks/{name}"]
    assert json.loads(capsys.readouterr().out)["frames"] == len(before) - done
    assert_same_masks(images(out / "masks"), before)


def test_an_interrupted_evaluation_goes_on_and_scores_as_it_did(
    expected, tmp_path, capsys
):
    out = unpacked("evaluate", tmp_path)
    finished = {x: x.read_bytes() for x in (out / "masks" / "alpha").glob("*.png")}
    assert len(finished) == 5
    times = {path: path.stat().st_mtime_ns for path in finished}
    assert evaluate(FILES / "davis", out) == 0
    assert times == {path: path.stat().st_mtime_ns for path in finished}
    assert_same_masks(images(out / "masks" / "beta"), expected["masks/beta"])
    figures = json.loads(capsys.readouterr().out)
    # What a frame takes was not there before.
    assert figures.pop("speed")
    scores = np.array([*figures.values()], float)
    np.testing.assert_allclose(scores, expected["scores"], atol=0.01)


def test_an_evaluation_with_other_weights_is_still_refused(tmp_path, capsys):
    out = unpacked("evaluate", tmp_path)
    assert evaluate(FILES / "davis", out, "rde") == 2
    assert "made with another method, weights;" in capsys.readouterr().err


@pytest.mark.parametrize("run", RUNS)
def test_weights_come_out_of_an_old_run(run, expected, tmp_path):
    workdir, target = (
        unpacked(f"train_{run}", tmp_path / run),
        tmp_path / "a.safetensors",
    )
    assert main(["export", str(workdir), str(target)]) == 0
    np.testing.assert_allclose(digest(target), expected[f"exported/{run}"], rtol=1e-6)
    vos_jax.load_model(run, target)


@pytest.mark.slow
@pytest.mark.parametrize("run", ["stm", "hmmn", "rde"])
def test_an_interrupted_training_run_goes_on_and_ends_as_it_did(
    run, expected, tmp_path
):
    pytest.importorskip("tensorflow")
    workdir = unpacked(f"train_{run}", tmp_path)
    assert train(run, workdir) == 0
    trained = digest(workdir / "weights.safetensors")
    np.testing.assert_allclose(trained, expected[f"trained/{run}"], atol=1e-4)
    assert last_loss(workdir) == pytest.approx(expected[f"loss/{run}"], rel=1e-3)


def test_a_run_of_other_settings_is_still_refused(tmp_path, capsys):
    pytest.importorskip("tensorflow")
    workdir = unpacked("train_hmmn", tmp_path)
    assert train("hmmn", workdir, "--set", "objective.dropout=(0.8, 0.1)") == 2
    assert "belongs to an experiment with objective.dropout=" in capsys.readouterr().err
