"""`vos-jax data show`: a picture of a batch, or one line."""

import numpy as np
import pytest
from PIL import Image

from tests.clips import HEIGHT, moving_clip, write_frames, write_masks
from vos_jax.cli import main
from vos_jax.media import overlay_colours


@pytest.fixture
def davis(tmp_path):
    """A DAVIS 2017 split "train" of one sequence with two objects."""
    frames, labels = moving_clip(6)
    root = tmp_path / "davis"
    (root / "ImageSets" / "2017").mkdir(parents=True)
    (root / "ImageSets" / "2017" / "train.txt").write_text("alpha\n")
    write_frames(root / "JPEGImages" / "480p" / "alpha", frames)
    named = {f"{time:05d}": each for time, each in enumerate(labels)}
    write_masks(root / "Annotations" / "480p" / "alpha", named)
    return root


@pytest.fixture
def show(davis, tmp_path):
    def run(*more, source="davis2017", root=davis, out="batch.png"):
        return main(
            [
                *("data", "show", "--source", source, "--root", str(root)),
                *("--batch", "2", "--size", str(HEIGHT), "--out", str(tmp_path / out)),
                *map(str, more),
            ]
        )

    return run


def picture(tmp_path):
    return np.array(Image.open(tmp_path / "batch.png"))


def has_colour(sheet, label):
    """Whether the outline of a label is anywhere on the sheet, more or less."""
    off = np.abs(sheet.astype(int) - overlay_colours()[label]).max(axis=-1)
    return (off < 40).sum() > 50


@pytest.mark.parametrize("recipe", ["static", "video"])
def test_a_batch_is_drawn_with_a_row_for_each_clip(show, tmp_path, capsys, recipe):
    assert show("--recipe", recipe, "--frames", 2) == 0
    sheet = picture(tmp_path)
    # Two rows of two square pictures, and captions.
    assert 512 < sheet.shape[1] < 640
    assert 512 < sheet.shape[0] < 800
    assert has_colour(sheet, 1)
    assert "batch.png" in capsys.readouterr().out


def test_steps_and_seeds_show_other_clips(show, tmp_path):
    sheets = []
    for more in ([], ["--step", 7], ["--seed", 1], []):
        assert show(*more) == 0
        # Titles and captions may differ, too, so only the pictures are compared.
        sheets.append(picture(tmp_path)[40:296, 10:266])
    np.testing.assert_array_equal(sheets[0], sheets[3])
    assert (sheets[0] != sheets[1]).any()
    assert (sheets[0] != sheets[2]).any()


def test_generated_clips_need_no_folder(tmp_path):
    arguments = ["--source", "generated", "--option", "size=(48, 64)"]
    arguments += ["--option", "count=3", "--batch", "1", "--size", "64"]
    arguments += ["--skip", "2", "--out", str(tmp_path / "batch.png")]
    assert main(["data", "show", *arguments]) == 0
    assert picture(tmp_path).shape[1] > 3 * 256


def test_an_option_of_a_wrong_type_is_said_in_one_line(capsys):
    arguments = ["--source", "generated", "--option", "count=many", "--out", "a.png"]
    assert main(["data", "show", *arguments]) == 2
    err = capsys.readouterr().err
    assert err.startswith("vos-jax: error: --option: ")
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("more", "given", "named"),
    [
        ([], {"source": "dvais"}, "dvais"),
        ([], {"root": "nowhere"}, "nowhere"),
        (["--option", "split=test"], {}, "test.txt"),
        (["--option", "split"], {}, "--option split: write NAME=VALUE"),
        (["--option", "spilt=test"], {}, "has no option 'spilt'"),
        (["--batch", "0"], {}, "--batch 0"),
        (["--frames", "7"], {}, "7 labelled frames"),
        (["--objects", "0"], {}, "objects=0"),
        (["--seed", "-1"], {}, "seed=-1"),
        (["--step", "-1"], {}, "step=-1"),
        ([], {"out": "missing/batch.png"}, "missing"),
    ],
)
def test_what_cannot_be_shown_is_said_in_one_line(show, capsys, more, given, named):
    assert show(*more, **given) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("vos-jax: error: ")
    assert err.count("\n") == 1
    assert named in err


def test_a_damaged_frame_is_named(show, davis, capsys):
    for path in (davis / "JPEGImages" / "480p" / "alpha").iterdir():
        path.write_bytes(path.read_bytes()[:60])
    assert show() == 2
    err = capsys.readouterr().err
    assert str(davis / "JPEGImages" / "480p" / "alpha") in err
    assert err.count("\n") == 1


def test_help_has_an_example(capsys):
    with pytest.raises(SystemExit) as left:
        main(["data", "show", "--help"])
    assert left.value.code == 0
    assert "example: vos-jax data show " in " ".join(capsys.readouterr().out.split())
