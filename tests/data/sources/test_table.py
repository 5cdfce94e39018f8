"""Data sets by name."""

import pytest

from vos_jax.data.sources import SOURCES, GeneratedSource, open_source
from vos_jax.errors import InputError


def test_a_data_set_is_opened_with_its_options(davis2017):
    source = open_source("davis2017", davis2017, split="val")
    assert [video.name for video in source.videos] == ["dogs"]


def test_generated_clips_need_no_root():
    assert open_source("generated", count=7) == GeneratedSource(count=7)


def test_an_unknown_name_is_refused_with_those_that_are_known(tmp_path):
    with pytest.raises(InputError, match="unknown data set 'davis'") as error:
        open_source("davis", tmp_path)
    for name in (*SOURCES, "generated"):
        assert repr(name) in str(error.value)


@pytest.mark.parametrize("name", SOURCES)
def test_every_data_set_names_a_root_that_is_missing(name, tmp_path):
    with pytest.raises(InputError, match="needs its folder"):
        open_source(name)
    with pytest.raises(InputError, match="nowhere does not exist"):
        open_source(name, tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("davis2017", r"no option 'year'; it has \['split', 'resolution'\]"),
        ("bl30k", "no option 'year'; it has none"),
        ("generated", "no option 'year'; it has .*'count'"),
    ],
)
def test_an_unknown_option_is_refused_with_those_that_are_known(tmp_path, name, found):
    with pytest.raises(InputError, match=found):
        open_source(name, tmp_path, year=2017)
