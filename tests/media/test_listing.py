import pytest

from vos_jax.errors import InputError
from vos_jax.media.listing import list_files, list_folders, list_names, natural_key

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
