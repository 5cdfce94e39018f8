"""Files that are given by name: which are whose."""

from pathlib import Path

import pytest

from vos_jax.cli.named_files import named_files
from vos_jax.errors import InputError

NAMES = ("published", "k_8", "k_16")


def test_a_file_has_a_name_or_none():
    assert named_files("--weights", [], NAMES) == (None, {})
    assert named_files("--weights", ["k_8=a=b", "dir/c", "k_16=d"], NAMES) == (
        Path("dir/c"),
        {"k_8": Path("a=b"), "k_16": Path("d")},
    )


def test_a_file_whose_name_looks_like_a_setting_is_a_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("k_8=b").touch()
    assert named_files("--weights", ["k_8=b"], NAMES) == (Path("k_8=b"), {})


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("a", "b"), "--weights: a and b both have no name; write NAME=FILE"),
        (("a", "k_9=b"), "--weights k_9=b: there is no 'k_9'; use one of: published,"),
        (("k_8=a", "k_8=b"), "--weights: k_8 is named twice; name it once"),
        (("k_8=",), "--weights k_8=: there is no file after '='; write NAME=FILE"),
    ],
)
def test_weights_that_cannot_be_told_apart_are_refused(words, message):
    with pytest.raises(InputError) as error:
        named_files("--weights", words, NAMES)
    assert str(error.value).startswith(message)
    assert "\n" not in str(error.value)
