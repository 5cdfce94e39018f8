"""Names in help texts."""

import pytest

from vos_jax.cli import main, names
from vos_jax.methods import METHODS
from vos_jax.methods.weights import BACKBONES


def test_the_names_are_those_of_the_tables():
    assert tuple(METHODS) == names.METHODS
    assert tuple(BACKBONES) == names.BACKBONES


def test_help_of_convert_lists_all_that_can_be_converted(capsys):
    with pytest.raises(SystemExit):
        main(["convert", "--help"])
    text = " ".join(capsys.readouterr().out.split()).replace("- ", "-")
    for name in (*METHODS, *BACKBONES):
        assert f" {name}" in text
