"""Every option of `segment`, `segment-many` and `evaluate`, on every method, as typed.

The networks are the small ones that ship: wide enough for every form of a convolution,
folded and compiled. Options that change the program share a run, since most of the time
is compilation, and runs share what is compiled already.
"""

import argparse
import json
from importlib import resources
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.by_default import by_default
from tests.clips import read_masks, write_frames, write_masks
from vos_jax.cli import main, make_parser
from vos_jax.data.synthetic import generate_clip
from vos_jax.methods import METHODS, create

ASSETS = Path(str(resources.files("vos_jax"))) / "assets"
SHIPPED = {name: ASSETS / f"{name.replace('-', '_')}.safetensors" for name in METHODS}
WEIGHTS = {name: path for name, path in SHIPPED.items() if path.exists()}
WEIGHTS["stcn"] = SHIPPED["rde-tiny"]
"""Each method that there are small weights for."""

FRAMES, SIZE, OBJECTS = 5, (32, 48), 2

# What each method has of its own that `--set` may change.
OWN = {
    "stm": "read=reference",
    "hmmn": "kernel_guided=False",
    "dmn-aoa": "hard_test=True",
    "lcm": "use_grm=False",
    "rde": "first=1",
    "stcn": "mem_every=2",
}


def family(method):
    return method.removesuffix("-tiny")


def changes(method):
    """Options that change the program and go together, where the method has them."""
    options = ["--mem-capacity", "3", "--set", OWN[family(method)]]
    if "mem_every" not in OWN[family(method)]:
        options += ["--mem-every", "2"]
    if family(method) not in ("hmmn", "dmn-aoa"):
        options += ["--top-k", "4"]
    return options


def inputs_of(method):
    """Where a method takes more than frames, what it takes of frames alone."""
    kind = create(method).inputs
    return [] if kind is None else ["--proposals", kind.of_frames]


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """One clip in every layout: frames, both DAVIS sets and YouTube-VOS."""
    root = tmp_path_factory.mktemp("clip")
    clip = generate_clip(seed=7, frames=FRAMES, size=SIZE, objects=OBJECTS)
    named = {f"{time:05d}": labels for time, labels in enumerate(clip.labels)}
    frames = write_frames(root / "frames", clip.frames)
    write_masks(root / "masks", named)
    write_masks(root, {"first": clip.labels[0]})
    for place in ("davis/{}/480p/clip", "youtube/valid/{}/clip"):
        for kind, folder in (("JPEGImages", frames), ("Annotations", root / "masks")):
            link = root / place.format(kind)
            link.parent.mkdir(parents=True)
            link.symlink_to(folder)
    # Another resolution and the release of 2016 are the same files again.
    for kind in ("JPEGImages", "Annotations"):
        (root / "davis" / kind / "small").symlink_to(root / "davis" / kind / "480p")
    for year in ("2016", "2017"):
        (root / "davis" / "ImageSets" / year).mkdir(parents=True)
        (root / "davis" / "ImageSets" / year / "val.txt").write_text("clip\n")
    objects = {
        str(label): {"category": "bird", "frames": list(named)}
        for label in range(1, OBJECTS + 1)
    }
    meta = json.dumps({"videos": {"clip": {"objects": objects}}})
    for split in ("valid", "train"):
        (root / "youtube" / split).mkdir(exist_ok=True)
        (root / "youtube" / split / "meta.json").write_text(meta)
    return root


@pytest.fixture(scope="module")
def segment(files):
    """Runs `segment`, once for the same words, and gives the folder of its output."""
    done = {}

    def run(method, *options, mask="first", onto=None):
        words = (method, *options)
        if words in done:
            return done[words]
        out = onto or files / f"out{len(done)}"
        command = ["segment", str(files / "frames"), "--mask", str(files / mask)]
        command[3] += ".png" if mask != "masks" else ""
        command += ["--method", method, "--weights", str(WEIGHTS[method])]
        command += inputs_of(method)
        assert main([*command, "--out", str(out), *options]) == 0
        return done.setdefault(words, out)

    return run


@pytest.fixture(scope="module")
def evaluate(files):
    """Runs `evaluate`, into a folder of its own, which it gives."""
    runs = []

    def run(method, dataset, *options, split="val", onto=None):
        out = onto or files / f"evaluated{len(runs)}"
        runs.append(out)
        root = files / dataset.rstrip("0123456789").removesuffix("-vos")
        command = ["evaluate", "--dataset", dataset, "--root", str(root)]
        command += ["--split", split, "--method", method, "--out", str(out)]
        command += ["--weights", str(WEIGHTS[method]), *inputs_of(method)]
        assert main([*command, *options]) == 0
        return out

    return run


def checked_masks(out, ids=OBJECTS):
    """The masks of a run: of every frame, of its size, with ids that were given."""
    masks = read_masks(out)
    assert sorted(masks) == [f"{time:05d}" for time in range(FRAMES)]
    assert all(labels.shape == SIZE for labels in masks.values())
    assert np.unique(np.stack(list(masks.values()))).max() <= ids
    return masks


def scores(out):
    found = [np.load(path) for path in sorted((out / "scores").iterdir())]
    return np.stack([each["probs"].astype(np.float32) for each in found])


def methods(*often):
    """Where methods hardly differ, some of them will do but for long runs."""
    return pytest.mark.parametrize("method", by_default(sorted(WEIGHTS), often))


# Whatever is STCN's is RDE-VOS's, too.
EVERY = methods(*WEIGHTS.keys() - {"stcn"})
ONE_BY_DEFAULT = methods("stm-tiny")


@ONE_BY_DEFAULT
def test_defaults_and_what_is_written_beside_the_masks(segment, files, method, capsys):
    out = segment(method, "--save-scores", "--overlay", "--json")
    figures = json.loads(capsys.readouterr().out)
    assert (figures["frames"], figures["skipped"]) == (FRAMES, 0)
    masks = checked_masks(out / "masks")
    given = np.asarray(Image.open(files / "first.png"))
    np.testing.assert_array_equal(masks["00000"], given)
    probs = scores(out)
    assert probs.shape == (FRAMES, OBJECTS + 1, *SIZE)
    np.testing.assert_allclose(probs.sum(1), 1, atol=2e-3)
    assert (out / "overlay.mp4").stat().st_size > 0


@ONE_BY_DEFAULT
def test_bfloat16_stays_near_float32(segment, method):
    """Probabilities move by less than a unit of bfloat16 (2^-8) in the mean.

    No single one by more than the rounding of some thirty layers in a row can add up
    to; labels differ on outlines alone, in one percent of so small a frame at most.
    """
    wide = segment(method, "--save-scores", "--overlay", "--json")
    short = segment(
        method, "--save-scores", "--dtype", "bfloat16", "--precision", "default"
    )
    difference = np.abs(scores(short) - scores(wide))
    assert 0 < difference.mean() < 2**-8
    assert difference.max() < 32 * 2**-8
    pairs = zip(
        *(read_masks(out / "masks").values() for out in (wide, short)), strict=True
    )
    assert np.mean([a != b for a, b in pairs]) < 0.01


# A mirrored view is half of the programs.
@pytest.mark.parametrize(
    ("method", "view"),
    [
        ("stm-tiny", ("--flip",)),
        *((name, ()) for name in sorted(WEIGHTS.keys() - {"stcn", "stm-tiny"})),
        *(
            pytest.param(name, ("--flip",), marks=pytest.mark.slow)
            for name in sorted(WEIGHTS.keys() - {"stm-tiny"})
        ),
    ],
)
def test_options_that_change_the_program(segment, evaluate, method, view, capsys):
    options = ("--dtype", "bfloat16", "--precision", "high", "--size", "48", *view)
    options += tuple(changes(method))
    out = segment(method, *options)
    alone = checked_masks(out / "masks")
    capsys.readouterr()
    out = evaluate(
        method,
        "davis2017",
        *options,
        "--json",
        "--resolution",
        "small",
        "--speed",
        "one",
    )
    assert 0 <= json.loads(capsys.readouterr().out)["J&F-Mean"] <= 1
    for name, labels in checked_masks(out / "masks" / "clip").items():
        np.testing.assert_array_equal(labels, alone[name])


@ONE_BY_DEFAULT
def test_backwards_from_several_masks_with_resuming(segment, method):
    options = ("--reverse", "--compilation-cache", "--debug", "--allow-damaged")
    options += ("--devices", "1")
    out = segment(method, *options, mask="masks")
    masks = checked_masks(out / "masks")
    again = segment(method, *options, "--resume", mask="masks", onto=out)
    for name, labels in checked_masks(again / "masks").items():
        np.testing.assert_array_equal(labels, masks[name])


@ONE_BY_DEFAULT
def test_a_data_set_with_every_option_of_its_own(evaluate, method, capsys):
    short = ("--dtype", "bfloat16", "--precision", "highest", "--debug")
    short += ("--compilation-cache",)
    own = ("--drop-last", "--seen", "bird", "--speed", "all", "--json")
    out = evaluate(method, "youtube-vos", *short, *own, split="valid")
    figures = json.loads(capsys.readouterr().out)
    assert 0 <= figures["J_seen"] <= 1
    assert figures["speed"][0]["s_per_frame"] > 0
    checked_masks(out / "masks" / "clip")
    wide = ("--dtype", "float32", "--no-compilation-cache", "--temporal")
    shared = ("--shard", "1/1", "--devices", "1", "--videos", "2", "--keep-going")
    out = evaluate(method, "davis2016", *wide, *shared)
    checked_masks(out / "masks" / "clip", ids=1)
    assert "sequences: 1" in capsys.readouterr().out
    evaluate(method, "davis2016", *wide, "--speed", "none", "--merge", onto=out)
    shown = capsys.readouterr().out
    assert "T-Mean" in shown and "s_per_frame" not in shown
    checked_masks(out / "masks" / "clip", ids=1)


@ONE_BY_DEFAULT
def test_many_videos_with_every_option_are_as_each_alone(segment, files, method):
    options = ("--dtype", "bfloat16", "--precision", "high", "--size", "48", "--flip")
    options += ("--reverse", "--overlay", "--save-scores", "--allow-damaged")
    options += ("--compilation-cache", *changes(method))
    alone = segment(method, *options, mask="masks")
    listed = files / "list.txt"
    listed.write_text("frames\tmasks\tone\nframes\t\ttwo\n")
    if not (files / "named").exists():
        (files / "named").mkdir()
        (files / "named" / "two").symlink_to(files / "masks")
    out = files / f"many-{method}"
    command = ["segment-many", str(listed), "--masks", str(files / "named")]
    command += ["--method", method, "--weights", str(WEIGHTS[method])]
    command += [*inputs_of(method), "--out", str(out), "--devices", "1", "--videos"]
    command += ["1", "--shard", "1/1", "--keep-going", "--json", "--debug", *options]
    assert main(command) == 0
    for name in ("one", "two"):
        assert (out / name / "overlay.mp4").stat().st_size > 0
        np.testing.assert_array_equal(scores(out / name), scores(alone))
        for frame, labels in checked_masks(out / name / "masks").items():
            np.testing.assert_array_equal(labels, read_masks(alone / "masks")[frame])


@EVERY
def test_inputs_are_asked_for_and_refused(files, method, capsys):
    command = ["segment", str(files / "frames"), "--mask", str(files / "first.png")]
    command += ["--method", method, "--weights", str(WEIGHTS[method])]
    command += ["--out", str(files / f"refused-{method}")]
    takes = create(method).inputs is not None
    assert main([*command, *([] if takes else ["--inputs", "regions"])]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert ("with every frame" if takes else "takes nothing but frames") in line
    assert not (files / f"refused-{method}").exists()


def test_the_small_networks_are_of_all_methods():
    small = {family(name) for name in WEIGHTS}
    assert small == {family(name) for name in METHODS}
    assert set(OWN) == {family(name) for name in METHODS}


@pytest.mark.parametrize("command", ["segment", "segment-many", "evaluate"])
def test_no_option_is_left_out(command):
    """An option, or a value of a choice, that is added must be run here as well."""
    source = Path(__file__).read_text()
    (commands,) = (
        action
        for action in make_parser()._actions
        if isinstance(action, argparse._SubParsersAction)
    )
    for action in commands.choices[command]._actions:
        for word in [*action.option_strings, *(action.choices or ())]:
            assert word in ("-h", "--help") or f'"{word}"' in source, word
