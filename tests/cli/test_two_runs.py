"""A second run into the folder of a first one, as it is typed."""

import shutil

from vos_jax.cli import main


def evaluate(files, weights, dataset):
    return main(
        [
            *("evaluate", "--dataset", dataset, "--root", str(files / "davis")),
            *("--split", "val", "--method", "stm", "--weights", str(weights)),
            *("--out", str(files / "out")),
        ]
    )


def segment(files, weights, *more):
    return main(
        [
            *("segment", str(files / "frames"), "--mask", str(files / "first.png")),
            *("--method", "stm", "--weights", str(weights)),
            *("--out", str(files / "out"), *more),
        ]
    )


def test_another_data_set_into_one_folder_is_refused(files, weights, capsys):
    lists = files / "davis" / "ImageSets"
    shutil.copytree(lists / "2017", lists / "2016")
    assert evaluate(files, weights, "davis2017") == 0
    capsys.readouterr()
    assert evaluate(files, weights, "davis2016") == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert "masks: holds masks made with another dataset; use another --out\n" in err
    assert err.count("\n") == 1
    assert segment(files, weights) == 2
    assert "masks: holds masks of a data set; use another --out" in (
        capsys.readouterr().err
    )


def test_fewer_frames_into_one_folder_leave_no_mask_of_the_others(
    files, weights, capsys
):
    assert segment(files, weights) == 0
    for path in sorted((files / "frames").iterdir())[5:]:
        path.unlink()
    capsys.readouterr()
    assert segment(files, weights, "--resume") == 2
    assert "of a run with other frames (their number is" in capsys.readouterr().err
    assert segment(files, weights) == 0
    err = capsys.readouterr().err
    assert err.startswith("vos-jax: note: ")
    assert "what an earlier run (other frames) has written, 8 files, is removed" in err
    masks = [path.name for path in (files / "out" / "masks").glob("*.png")]
    assert sorted(masks) == [f"{time:05d}.png" for time in range(5)]
