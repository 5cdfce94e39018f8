"""Methods by name."""

import dataclasses

import pytest

from vos_jax.errors import InputError
from vos_jax.methods import METHODS, create
from vos_jax.nn.resnet import ResNetConfig


@pytest.mark.parametrize("name", METHODS)
def test_every_name_makes_its_default_method(name):
    method = create(name)
    assert method.config == METHODS[name].config
    assert hash(method) == hash(create(name))


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(InputError, match=r"unknown method 'stn'; choose one of: .*stm"):
        create("stn")


def test_an_unknown_field_lists_the_known_ones():
    with pytest.raises(
        InputError, match=r"'stm' has no option memory_every; it has: .*"
    ):
        create("stm", memory_every=3)


def test_fields_replace_defaults_of_the_name():
    config = create("stm-tiny", mem_every=3).config
    assert config.mem_every == 3
    assert config.key_dim == METHODS["stm-tiny"].config.key_dim


def test_a_backbone_may_be_plain_values():
    config = create("stm", backbone={"depth": 18, "width": 16}).config
    assert config.backbone == ResNetConfig(depth=18, width=16)


def test_what_is_not_named_of_a_backbone_stays_that_of_the_method():
    ours = create("stm-tiny").config.backbone
    config = create("stm-tiny", backbone={"more_blocks": 2}).config
    assert config.backbone == dataclasses.replace(ours, more_blocks=2)


@pytest.mark.parametrize("backbone", [{"depth": 20}, {"deep": 50}])
def test_an_impossible_backbone_is_an_input_error(backbone):
    with pytest.raises(InputError, match=r"'stm': .*(depth=20|deep)"):
        create("stm", backbone=backbone)


@pytest.mark.parametrize("name", METHODS)
def test_no_published_name_is_used_twice(name):
    entry = METHODS[name]
    table = entry.torch_table(entry.config)
    names = [source for row in table.values() for source in row.names]
    assert len(names) == len(set(names))
