"""STM as a method: its configuration, and the memory that follows from it."""

import dataclasses
from functools import partial

import jax
import jax.numpy as jnp
import pytest

from vos_jax.errors import InputError
from vos_jax.methods import create
from vos_jax.methods.base import config_text
from vos_jax.methods.stm import STM, STMConfig
from vos_jax.nn.resnet import ResNetConfig


def _variant(method, **changes):
    return STM(config=dataclasses.replace(method.config, **changes))


def test_the_memory_starts_empty_and_in_the_compute_type():
    method = create("stm", dtype="bfloat16")
    memory = jax.eval_shape(lambda: method.init_memory(480, 854, 3, 7))
    assert memory.bank.entries.key.shape == (7, 3, 30, 54, 128)
    assert memory.bank.entries.value.shape == (7, 3, 30, 54, 512)
    assert memory.bank.entries.key.dtype == jnp.bfloat16
    assert memory.bank.time.shape == (7, 3)


def test_slots_follow_the_policy_up_to_the_capacity():
    assert create("stm").slots(11) == 4
    assert create("stm", mem_every=2).slots(11) == 7
    assert create("stm", mem_every=None).slots(11) == 2
    assert create("stm", mem_capacity=3).slots(11) == 3
    assert create("stm", mem_capacity=9).slots(11) == 4


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"memory_sampling": "last"}, "memory_sampling='last': use one of"),
        ({"memory_sampling": "first"}, "with mem_every=5: use mem_every=None"),
    ],
)
def test_frames_of_the_memory_that_do_not_go_together_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        create("stm", **options)


def test_frames_of_the_memory_are_in_the_text_of_a_configuration_when_they_differ():
    plain = create("stm", mem_every=None).config
    assert config_text(plain) == repr(plain) and "sampling" not in repr(plain)
    changed = create("stm", mem_every=None, memory_sampling="prev").config
    assert config_text(changed) == f"{repr(plain)[:-1]}, memory_sampling='prev')"


def test_equal_configurations_share_one_compilation(tiny_method):
    traces = []

    @partial(jax.jit, static_argnums=0)
    def count(method, x):
        traces.append(method)
        return x

    same = STM(config=STMConfig(**vars(tiny_method.config)))
    assert same == tiny_method and hash(same.config) == hash(tiny_method.config)
    for method in (tiny_method, same, _variant(tiny_method, top_k=3)):
        count(method, 0)
    assert len(traces) == 2


def test_a_configuration_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        create("stm").config.top_k = 3


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("top_k", 0),
        ("mem_every", 0),
        ("mem_capacity", 1),
        ("dtype", "float16"),
        ("precision", "low"),
        ("precision", "tensorfloat32"),
        ("read", "fast"),
    ],
)
def test_a_value_out_of_range_is_named(field, value):
    named = "every" if field == "mem_every" else field
    with pytest.raises(ValueError, match=f"{named}={value!r}"):
        STMConfig(**{field: value})
    with pytest.raises(InputError, match=f"'stm': .*{named}={value!r}"):
        create("stm", **{field: value})


def test_the_defaults_are_the_published_network():
    config = create("stm").config
    assert config == STMConfig()
    assert (config.backbone.depth, config.backbone.width) == (50, 64)
    assert (config.key_dim, config.value_dim, config.decoder_dim) == (128, 512, 256)
    assert (config.mem_every, config.mem_capacity, config.top_k) == (5, None, None)
    assert config.backbone == ResNetConfig()
