"""What users type, what they get, and what they are told when it is wrong."""

import errno
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

import vos_jax
from tests.clips import read_masks, write_masks
from vos_jax.cli import main
from vos_jax.inference import demo
from vos_jax.methods.weights import export

COMMANDS = [
    *("demo", "segment", "convert", "evaluate", "score", "train", "export", "data"),
    *("bench", "report"),
]


def strict_json(text: str) -> dict:
    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is no JSON")

    return json.loads(text, parse_constant=refuse)


def told_after_the_header(err: str) -> str:
    """What is on stderr but for what a run computes, and how far it is."""
    header = re.compile(
        r"(segment: .*; cpu; |\w+ \(\d+/\d+\): \d+x\d+; ).*\n"
        r"|.*: \d+/\d+ frames, (compiling a program|.* s left)\n"
    )
    return header.sub("", err)


@pytest.fixture
def segment(files, weights):
    """Runs `segment` on the clip, with some arguments replaced."""

    def run(*more, input="frames", mask="first.png", method="stm", weights=weights):
        return main(
            [
                *("segment", str(files / input), "--mask", str(files / mask)),
                *("--method", method, "--weights", str(weights)),
                *("--out", str(files / "out"), *map(str, more)),
            ]
        )

    return run


@pytest.fixture
def evaluate(files, weights):
    def run(*more, dataset="davis2017", split="val"):
        return main(
            [
                *("evaluate", "--dataset", dataset, "--root", str(files / "davis")),
                *("--split", split, "--method", "stm", "--weights", str(weights)),
                *("--out", str(files / "out"), *more),
            ]
        )

    return run


@pytest.fixture
def score(files):
    def run(*more, dataset="davis2017"):
        return main(
            [
                *("score", "--dataset", dataset, "--root", str(files / "davis")),
                *("--split", "val", "--results", str(files / "results"), *more),
            ]
        )

    return run


@pytest.fixture
def one_line(capsys):
    """Checks that a command has failed with one line that names what is wrong.

    Only lines that say what is about to be done stand before it.
    """

    def check(status, *named):
        out, err = capsys.readouterr()
        err = told_after_the_header(err)
        assert status == 2
        assert out == ""
        assert err.startswith("vos-jax: error: ")
        assert err.count("\n") == 1
        assert err.endswith("\n")
        assert "Traceback" not in err
        for name in named:
            assert name in err
        return err

    return check


# Usage


@pytest.mark.parametrize(
    "command",
    [
        *map(str.split, COMMANDS),
        ["bench", "read"],
        ["bench", "model"],
        ["bench", "train"],
        ["data", "show"],
    ],
)
def test_help_has_an_example(command, capsys):
    with pytest.raises(SystemExit) as left:
        main([*command, "--help"])
    text = " ".join(capsys.readouterr().out.split())
    assert left.value.code == 0
    assert f"example: vos-jax {command[0]} " in text
    assert "--help" in text


def test_help_lists_the_commands(capsys):
    with pytest.raises(SystemExit) as left:
        main(["--help"])
    text = capsys.readouterr().out
    assert left.value.code == 0
    assert all(re.search(rf"^ +{name} ", text, re.MULTILINE) for name in COMMANDS)


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["paint"],
        ["segment"],
        ["score", "--dataset", "coco"],
        ["demo", "--clip", "1"],
    ],
)
def test_bad_usage_exits_with_2(arguments, capsys):
    with pytest.raises(SystemExit) as left:
        main(arguments)
    assert left.value.code == 2
    assert "vos-jax" in capsys.readouterr().err


def test_scoring_does_not_wait_for_jax():
    program = (
        "import sys, vos_jax.cli\n"
        "try: vos_jax.cli.main(['score', '--help'])\n"
        "finally: print('jax' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[-1] == "False"


# Success


def test_segment_writes_masks_and_tells_where(segment, files, clip, capsys):
    assert segment() == 0
    out, err = capsys.readouterr()
    assert f"masks: {files / 'out' / 'masks'}" in out.splitlines()
    assert "frames: 8" in out.splitlines()
    assert told_after_the_header(err) == ""
    masks = read_masks(files / "out" / "masks")
    np.testing.assert_array_equal(masks["00000"], clip[1][0])
    assert len(masks) == 8


def test_underscores_are_hyphens(segment, files, capsys):
    scores = files / "out" / "scores"
    assert segment("--mem_every", 2, "--mem_capacity=4", "--save_scores") == 0
    assert len(list(scores.iterdir())) == 8
    before = read_masks(files / "out" / "masks")
    assert segment("--mem-every", 2, "--mem-capacity=4", "--save-scores") == 0
    for name, labels in read_masks(files / "out" / "masks").items():
        np.testing.assert_array_equal(labels, before[name])


def test_underscores_in_values_stay(segment, files, capsys):
    (files / "first.png").rename(files / "my_first.png")
    assert segment(f"--mask={files / 'my_first.png'}", mask="none") == 0


def test_options_reach_the_method(segment, one_line):
    one_line(segment("--top-k", 0), "top_k=0")
    one_line(segment("--mem-every", 0), "every=0")
    one_line(segment("--mem-capacity", 1), "mem_capacity=1")
    one_line(segment("--size", 0), "--size 0")
    one_line(segment("--size", 8), "size=8")


def test_segment_prints_json_and_nothing_else(segment, files, clip, capsys):
    for time in range(3, 8):
        (files / "frames" / f"{time:05d}.png").unlink()
    assert segment("--json") == 0
    out, err = capsys.readouterr()
    figures = strict_json(out)
    assert figures["frames"] == 3
    assert figures["frames_per_second"] is None
    assert told_after_the_header(err) == ""


def test_the_first_line_says_what_computes_which_video_how(segment, weights, capsys):
    assert segment("--size", 16, "--dtype", "bfloat16", "--precision", "high") == 0
    first, *_ = capsys.readouterr().err.splitlines()
    assert first == (
        f"segment: stm, weights {weights}; cpu; bfloat16, high precision;"
        " 48x32, computed at 24x16; 2 objects; 8 frames"
    )


def test_a_data_set_is_announced_and_each_of_its_sequences(evaluate, weights, capsys):
    assert evaluate() == 0
    lines = capsys.readouterr().err.splitlines()
    assert [line for line in lines if "; " in line] == [
        f"segment: stm, weights {weights}; cpu; float32, highest precision;"
        " davis2017 val; 2 sequences",
        "alpha (1/2): 48x32; 2 objects; 6 frames",
        "beta (2/2): 48x32; 2 objects; 6 frames",
    ]


def test_convert_reports_what_it_wrote(files, capsys):
    published = export("stm-tiny", *vos_jax.load_model("stm-tiny"))
    np.savez(files / "published.npz", **published)
    target = files / "out.safetensors"
    command = ["convert", "stm-tiny", str(files / "published.npz"), str(target)]
    assert main([*command, "--json"]) == 0
    figures = strict_json(capsys.readouterr().out)
    assert figures["written"] == str(target)
    assert main(command) == 0
    assert f"arrays: {figures['arrays']}" in capsys.readouterr().out.splitlines()


def test_evaluate_segments_scores_and_packs(evaluate, files, capsys):
    assert evaluate("--json") == 0
    figures = strict_json(capsys.readouterr().out)
    assert 0 <= figures["J&F-Mean"] <= 1
    made = {path.name for path in (files / "out").iterdir()}
    assert {"masks", "submission.zip", "global_results-val.csv"} <= made
    assert evaluate() == 0
    assert "J&F-Mean" in capsys.readouterr().out
    assert evaluate("--flip") == 2
    assert "another flip; use another --out" in capsys.readouterr().err


def test_score_writes_files_only_where_told(score, files, capsys):
    annotations = files / "davis" / "Annotations" / "480p"
    annotations.rename(files / "results")
    (files / "davis" / "Annotations" / "480p").symlink_to(files / "results")
    assert score("--json") == 0
    assert strict_json(capsys.readouterr().out)["J&F-Mean"] == 1
    assert not (files / "scores").exists()
    assert score("--out", str(files / "scores")) == 0
    out, err = capsys.readouterr()
    assert "1.000" in out
    assert err.splitlines()[-1] == "scored 2/2: beta"
    assert (files / "scores" / "results-val.json").exists()


def test_temporal_stability_is_shown_where_asked_for(score, files, capsys):
    (files / "davis" / "ImageSets" / "2017").rename(
        files / "davis" / "ImageSets" / "2016"
    )
    (files / "results").symlink_to(files / "davis" / "Annotations" / "480p")
    assert score("--temporal", "--json", dataset="davis2016") == 0
    assert strict_json(capsys.readouterr().out)["T-Mean"] > 0
    out = files / "scores"
    assert score("--temporal", "--out", str(out), dataset="davis2016") == 0
    assert "T-Mean" in capsys.readouterr().out
    assert (out / "temporal_stability-val.csv").read_text().startswith("Sequence,T")


def test_demo_needs_nothing(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(demo, "_WORLD_SIZE", (48, 64))
    monkeypatch.setattr(demo, "_FRAMES", 4)
    command = ["demo", "--clips", "1", "--out", str(tmp_path / "demo")]
    assert main([*command, "--json"]) == 0
    assert 0 <= strict_json(capsys.readouterr().out)["J-Mean"] <= 1
    assert main(command) == 0
    assert f"look at {tmp_path / 'demo' / 'sheet.png'}" in capsys.readouterr().out
    assert main([*command, "--theme", "thin"]) == 0
    (first,) = (tmp_path / "demo" / "data").rglob("JPEGImages/480p/clip0/00000.png")
    with Image.open(first) as picture:
        np.testing.assert_array_equal(picture, demo.demo_clip(0, "thin").frames[0])


# Wrong input: one line, which names it, and status 2


def halve(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


def write_video(path: Path, frames: np.ndarray) -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, "rgb24")))
        container.mux(stream.encode(None))
    return path


def test_a_truncated_video(segment, files, clip, one_line, capsys):
    video = write_video(files / "film.mkv", clip[0])
    assert segment(input="film.mkv") == 0
    assert len(read_masks(files / "out" / "masks")) == 8
    capsys.readouterr()
    shutil.rmtree(files / "out")
    halve(video)
    one_line(segment(input="film.mkv"), "film.mkv")
    video.write_bytes(b"")
    one_line(segment(input="film.mkv"), "film.mkv")


def test_a_missing_input(segment, one_line):
    one_line(segment(input="gone.mp4"), "gone.mp4", "does not exist")


def test_a_file_that_is_no_video(segment, files, one_line):
    (files / "film.txt").write_text("")
    one_line(segment(input="film.txt"), "film.txt", "no video file")


def test_a_truncated_frame(segment, files, one_line):
    halve(files / "frames" / "00004.png")
    one_line(segment(), "00004.png")


def test_a_truncated_mask(segment, files, one_line):
    halve(files / "first.png")
    one_line(segment(), "first.png")


def test_truncated_weights(segment, files, weights, one_line):
    cut = files / "cut.safetensors"
    cut.write_bytes(weights.read_bytes()[:2000])
    one_line(segment(weights=cut), "cut.safetensors")


def test_missing_weights(segment, files, one_line):
    one_line(segment(weights=files / "gone.safetensors"), "gone.safetensors")


def test_weights_that_were_not_converted(segment, files, one_line):
    (files / "published.pth").write_bytes(b"PK\x03\x04")
    one_line(segment(weights=files / "published.pth"), "published.pth")


def test_weights_of_another_method(segment, weights, one_line):
    one_line(segment(method="stm-tiny"), str(weights), "--method stm")


def test_a_mask_of_another_size(segment, files, clip, one_line):
    write_masks(files, {"first": clip[1][0][:, :40]})
    one_line(segment(), "first.png is 40x32", "48x32")


def test_an_empty_mask(segment, files, clip, one_line):
    write_masks(files, {"first": 0 * clip[1][0]})
    one_line(segment(), "first.png is empty")


def test_more_than_254_objects(segment, files, one_line):
    masks = np.zeros((255, 32, 48), bool)
    masks.reshape(255, -1)[np.arange(255), np.arange(255)] = True
    np.save(files / "many.npy", masks)
    one_line(segment(mask="many.npy"), "many.npy holds 255 objects", "254")


def test_colours_instead_of_labels(segment, files, clip, one_line):
    mask = Image.fromarray(np.uint8([(0, 0, 0), (255, 0, 0), (0, 255, 0)])[clip[1][0]])
    mask.resize((96, 64)).resize((48, 32), Image.Resampling.BILINEAR).save(
        files / "first.png"
    )
    one_line(segment(), "first.png has", "colours instead of labels")


def test_frames_of_different_sizes(segment, files, one_line):
    Image.new("RGB", (48, 30)).save(files / "frames" / "00005.png")
    one_line(segment(), "00005.png is 48x30", "48x32")


def test_a_mask_without_a_frame(segment, files, clip, one_line):
    write_masks(files / "given", {"00000": clip[1][0], "9": clip[1][1]})
    one_line(segment(mask="given"), "9.png: no frame is called '9'")


def test_a_missing_sequence(evaluate, files, one_line):
    (files / "davis" / "ImageSets" / "2017" / "val.txt").write_text("alpha\ngamma\n")
    one_line(evaluate(), "gamma", "does not exist")


def test_a_missing_frame(evaluate, files, one_line):
    (files / "davis" / "JPEGImages" / "480p" / "beta" / "00003.png").unlink()
    one_line(evaluate(), "beta", "00003")


def test_a_missing_split(evaluate, one_line):
    one_line(evaluate(split="test"), "test.txt", "['val']")


def test_missing_results(score, files, clip, one_line):
    one_line(score(), "results")
    names = [f"{time:05d}" for time in range(6) if time != 3]
    for sequence in ("alpha", "beta"):
        write_masks(
            files / "results" / sequence, dict(zip(names, clip[1], strict=False))
        )
    one_line(score(), "alpha/00003.png is missing, one of 2 of 8")


def test_temporal_stability_of_another_data_set(score, evaluate, files, one_line):
    one_line(score("--temporal"), "--temporal", "davis2016, not of davis2017")
    one_line(evaluate("--temporal"), "--temporal", "davis2016, not of davis2017")
    assert not (files / "out").exists()


def test_results_of_another_size(score, files, clip, one_line):
    for sequence in ("alpha", "beta"):
        named = {f"{time:05d}": x[:16] for time, x in enumerate(clip[1])}
        write_masks(files / "results" / sequence, named)
    one_line(score(), "alpha/00001.png is 48x16", "48x32")


def test_an_unknown_method(segment, files, one_line):
    one_line(segment(method="sttm"), "'sttm'", "stm-tiny")
    target = str(files / "b.safetensors")
    one_line(main(["convert", "vgg", "a.npz", target]), "'vgg'", "resnet50")
    one_line(main(["demo", "--method", "stm", "--out", target]), "'stm'")
    one_line(main(["demo", "--theme", "sea", "--out", target]), "'sea'", "lookalikes")


def test_a_checkpoint_that_does_not_fit(files, one_line):
    np.savez(files / "odd.npz", surplus=np.zeros(3))
    target = files / "out.safetensors"
    status = main(["convert", "stm-tiny", str(files / "odd.npz"), str(target)])
    one_line(status, "odd.npz", "unexpected: surplus", " more;")
    assert not target.exists()


def test_a_target_that_is_no_weights_file(files, one_line):
    published = export("stm-tiny", *vos_jax.load_model("stm-tiny"))
    np.savez(files / "published.npz", **published)
    source, target = str(files / "published.npz"), str(files / "out.pth")
    one_line(main(["convert", "stm-tiny", source, target]), "out.pth", ".safetensors")


def test_no_space_left(segment, files, one_line, monkeypatch):
    def full(image, path, *args, **options):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Image.Image, "save", full)
    one_line(segment(), "00000.png: No space left on device", "--resume")


def test_no_space_left_for_the_archive(evaluate, files, capsys, monkeypatch):
    def full(path, target):
        if str(target).endswith(".zip"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return replace(path, target)

    replace = os.replace
    monkeypatch.setattr(os, "replace", full)
    assert evaluate() == 2
    err = told_after_the_header(capsys.readouterr().err)
    assert err.count("\n") == 1
    assert "submission.zip: No space left on device" in err


def test_an_output_that_cannot_be_written(segment, evaluate, score, files, one_line):
    (files / "out").write_text("")
    one_line(segment(), str(files / "out"))
    one_line(evaluate(), str(files / "out"))
    one_line(main(["demo", "--clips", "1", "--out", str(files / "out")]), "out")
    (files / "davis" / "Annotations" / "480p").rename(files / "results")
    (files / "davis" / "Annotations" / "480p").symlink_to(files / "results")
    assert score("--out", str(files / "out")) == 2


def test_debug_shows_the_traceback_as_well(segment, capsys):
    assert segment("--debug", input="gone.mp4") == 2
    err = capsys.readouterr().err.splitlines()
    assert err[0].startswith("Traceback")
    assert err[-1].startswith("vos-jax: error: ")
    assert "gone.mp4" in err[-1]
