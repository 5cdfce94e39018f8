"""The options of papers' tables: which weights are whose."""

import argparse
from pathlib import Path

import pytest

from vos_jax.cli.table_options import add_table_options, named_weights
from vos_jax.errors import InputError

NAMES = ("published", "k_8", "k_16")


def test_weights_are_of_all_settings_or_of_one():
    assert named_weights([], NAMES) == (None, {})
    assert named_weights(["k_8=a=b", "dir/c", "k_16=d"], NAMES) == (
        Path("dir/c"),
        {"k_8": Path("a=b"), "k_16": Path("d")},
    )


def test_a_file_whose_name_looks_like_a_setting_is_a_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("k_8=b").touch()
    assert named_weights(["k_8=b"], NAMES) == (Path("k_8=b"), {})


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("a", "b"), "--weights: a and b are both for all settings; write NAME=FILE"),
        (("a", "k_9=b"), "--weights k_9=b: there is no setting 'k_9'; use one of: pub"),
        (("k_8=a", "k_8=b"), "--weights: k_8 is named twice; name it once"),
        (("k_8=",), "--weights k_8=: there is no file after '='; write NAME=FILE"),
    ],
)
def test_weights_that_cannot_be_told_apart_are_refused(words, message):
    with pytest.raises(InputError) as error:
        named_weights(words, NAMES)
    assert str(error.value).startswith(message)
    assert "\n" not in str(error.value)


def test_the_method_is_the_published_one_or_the_tiny_one(capsys):
    parser = argparse.ArgumentParser()
    add_table_options(parser, "lcm")
    assert parser.parse_args(["--out", "a"]).method == "lcm"
    assert parser.parse_args(["--out=a", "--method=lcm-tiny"]).method == "lcm-tiny"
    with pytest.raises(SystemExit):
        parser.parse_args(["--out=a", "--method=stm"])
    assert "argument --method: invalid choice: 'stm'" in capsys.readouterr().err
