import pytest

from vos_jax.errors import InputError
from vos_jax.media.listing import (
    files_by_stem,
    list_files,
    list_folders,
    list_names,
    natural_key,
    sort_names,
)

LEFT_BEHIND = ["._3.png", "Thumbs.db", ".DS_Store", ".resume.npz", "desktop.ini"]


def fill(folder, names):
    for name in names:
        (folder / name).write_bytes(b"")


def test_numbers_in_names_count_as_numbers():
    names = ["f10", "f2", "f1", "g1", "f02", "f1b2", "f1b10"]
    expected = ["f1", "f1b2", "f1b10", "f02", "f2", "f10", "g1"]
    assert sorted(names, key=natural_key) == expected


def test_different_names_never_compare_as_equal():
    assert natural_key("7") != natural_key("07")
    assert natural_key("a01b2") != natural_key("a1b02")


@pytest.mark.parametrize("names", [["1", "12", "3"], ["00002", "00010", "00001"]])
def test_files_come_in_natural_order_of_their_stems(tmp_path, names):
    fill(tmp_path, [f"{name}.png" for name in names])
    expected = [f"{name}.png" for name in sorted(names, key=int)]
    assert list_names(tmp_path, {".png"}) == expected
    assert list_files(tmp_path, {".png"}) == [tmp_path / name for name in expected]


def test_names_without_a_folder_are_sorted_the_same_way():
    assert sort_names({"f10", "f9", "f1"}) == ["f1", "f9", "f10"]
    assert sort_names(["00010", "00009", "00001"]) == ["00001", "00009", "00010"]
    # Digits, but not all that natural order takes for a number.
    assert sort_names(["٣", "2"]) == ["2", "٣"]


def test_the_stem_decides_the_order_and_not_what_follows_it(tmp_path):
    fill(tmp_path, ["a-1.jpg", "a.jpg", "a0.jpg", "jpg"])
    assert list_names(tmp_path, {".jpg"}) == ["a.jpg", "a0.jpg", "a-1.jpg"]


def test_files_are_told_apart_by_their_stems(tmp_path):
    fill(tmp_path, ["b10.jpg", "b9.JPG", "._b9.jpg", "b9.png", "notes"])
    files = files_by_stem(tmp_path, {".jpg"})
    assert list(files.items()) == [("b9", "b9.JPG"), ("b10", "b10.jpg")]
    with pytest.raises(InputError, match=r"holds b9\.JPG under a second suffix"):
        files_by_stem(tmp_path, {".jpg", ".png"})


def test_a_folder_without_a_file_of_a_kind_is_named(tmp_path):
    fill(tmp_path, ["00000.png", "._00000.jpg"])
    with pytest.raises(InputError, match=rf"{tmp_path} holds no \.jpg file"):
        files_by_stem(tmp_path, {".jpg"})


def test_what_systems_leave_behind_is_not_listed(tmp_path):
    fill(tmp_path, [*LEFT_BEHIND, "3.png", "4.PNG", "4.txt"])
    kinds = {".png", ".db", ".npz", ".ini"}
    assert list_names(tmp_path, kinds) == ["3.png", "4.PNG"]


def test_folders_that_systems_leave_behind_are_not_listed(tmp_path):
    for name in ("b", "a", ".git", "__MACOSX"):
        (tmp_path / name).mkdir()
    fill(tmp_path, ["c"])
    assert list_folders(tmp_path) == ["a", "b"]


def test_a_folder_that_cannot_be_listed_is_named(tmp_path):
    with pytest.raises(InputError, match="gone cannot be listed"):
        list_names(tmp_path / "gone", {".png"})
    fill(tmp_path, ["file"])
    with pytest.raises(InputError, match="file cannot be listed"):
        list_folders(tmp_path / "file")
