import zipfile

import pytest
from PIL import Image

from vos_jax.errors import InputError
from vos_jax.evaluation.datasets import read_dataset
from vos_jax.evaluation.submission import write_submission
from vos_jax.media import read_labels, write_labels


def names(path):
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        return archive.namelist()


def test_davis_archives_have_the_sequences_at_the_top_and_every_frame(davis, tmp_path):
    sequences = read_dataset("davis2017", davis, "val")
    path = tmp_path / "davis.zip"
    write_submission(tmp_path / "results", sequences, path, "davis2017")
    found = names(path)
    assert len(found) == 11 + 17 + 5 + 13
    assert found[:2] == ["alpha/00000.png", "alpha/00001.png"]


def test_youtube_vos_archives_have_one_top_folder_and_the_listed_frames(
    youtube_vos, tmp_path
):
    results = tmp_path / "results"
    between = results / "0123abcdef" / "00006.png"
    between.write_bytes((between.parent / "00005.png").read_bytes())
    sequences = read_dataset("youtube-vos", youtube_vos, "valid")
    path = tmp_path / "youtube.zip"
    write_submission(results, sequences, path, "youtube-vos")
    stems = [f"{5 * place:05d}" for place in range(1, 7)]
    assert names(path) == [f"Annotations/0123abcdef/{stem}.png" for stem in stems]


def test_the_masks_in_the_archive_are_the_files_bit_for_bit(davis, tmp_path):
    sequences = read_dataset("davis2017", davis, "val")
    first, second = tmp_path / "a.zip", tmp_path / "b.zip"
    for path in (first, second):
        write_submission(tmp_path / "results", sequences, path, "davis2017")
    with zipfile.ZipFile(first) as archive:
        member = archive.read("beta/00003.png")
    assert member == (tmp_path / "results" / "beta" / "00003.png").read_bytes()
    assert first.read_bytes() == second.read_bytes()


def test_a_missing_mask_is_named_and_no_archive_is_left(davis, tmp_path):
    (tmp_path / "results" / "beta" / "00016.png").unlink()
    sequences = read_dataset("davis2017", davis, "val")
    with pytest.raises(InputError, match=r"beta/00016\.png"):
        write_submission(
            tmp_path / "results", sequences, tmp_path / "x.zip", "davis2017"
        )
    assert not (tmp_path / "x.zip").exists()


def test_a_mask_without_palette_or_of_another_size_is_named(davis, tmp_path):
    sequences = read_dataset("davis2017", davis, "val")
    path = tmp_path / "results" / "beta" / "00003.png"
    labels = read_labels(path)
    Image.fromarray(labels).save(path)
    with pytest.raises(InputError, match=r"00003\.png is no palette PNG"):
        write_submission(
            tmp_path / "results", sequences, tmp_path / "x.zip", "davis2017"
        )
    write_labels(path, labels[:-1])
    with pytest.raises(InputError, match=r"00003\.png is 101x74 .* 101x75"):
        write_submission(
            tmp_path / "results", sequences, tmp_path / "x.zip", "davis2017"
        )


def test_there_is_no_archive_for_davis_2016(davis, tmp_path):
    with pytest.raises(InputError, match="'davis2016' has no server"):
        write_submission(tmp_path / "results", [], tmp_path / "x.zip", "davis2016")
