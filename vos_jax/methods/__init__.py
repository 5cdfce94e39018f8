"""The published methods, one file each, and the table of their names."""

import dataclasses
from collections.abc import Callable, Mapping
from numbers import Integral
from types import MappingProxyType
from typing import Any, NamedTuple

from vos_jax.errors import InputError
from vos_jax.methods import stm
from vos_jax.methods.base import Method
from vos_jax.methods.hmmn import model as hmmn
from vos_jax.methods.lcm import model as lcm
from vos_jax.methods.rde import model as rde
from vos_jax.methods.stcn import model as stcn
from vos_jax.methods.torch_names import Table
from vos_jax.nn.resnet import ResNetConfig


class Entry(NamedTuple):
    """How a name becomes a model.

    Attributes:
      module: The Linen module.
      config: Its default configuration.
      torch_table: Where a configuration's parameters stand in published checkpoints.
      torch_ignored: Published names that carry no parameter, as glob patterns.
      parts: Parts of the variables, as paths, by the value of a field that a network
        has them for: True, or an entry of a tuple. Weights that have more of them serve
        a network with fewer, too, without.
      reads: Other methods whose weights are its own, or would be without their `parts`.
      extends: A method whose network is this one's without `parts`, so that training
        may begin with its weights.
    """

    module: Callable[..., Method]
    config: Any
    torch_table: Callable[[Any], Table]
    torch_ignored: tuple[str, ...]
    parts: Mapping[str, Mapping[Any, tuple[str, ...]]] = MappingProxyType({})
    reads: tuple[str, ...] = ()
    extends: str | None = None


_STM_IGNORED = ("*.num_batches_tracked", "Encoder_?.mean", "Encoder_?.std")

_IGNORED = ("*.num_batches_tracked",)

_Parts = Mapping[str, Mapping[Any, tuple[str, ...]]]

_FINE: _Parts = {
    "fine_stages": {
        stage: tuple(
            f"{part}/res{stage}"
            for part in ("query_fine_heads", "memory_fine_heads", "fine_convs")
        )
        for stage in (3, 2)
    }
}

_MODULES: _Parts = {
    "use_pgm": {True: ("query_local", "memory_local", "position_guidance")},
    "use_orm": {True: ("object_relation",)},
}

_SAM: _Parts = {"recurrent": {True: ("key_aggregation", "value_aggregation")}}

METHODS: Mapping[str, Entry] = {
    "stm": Entry(stm.STM, stm.STMConfig(), stm.torch_table, _STM_IGNORED),
    "stm-tiny": Entry(
        stm.STM,
        stm.STMConfig(
            backbone=ResNetConfig(depth=18, width=32, zero_init=True),
            key_dim=64,
            value_dim=128,
            decoder_dim=48,
        ),
        stm.torch_table,
        _STM_IGNORED,
    ),
    "hmmn": Entry(hmmn.HMMN, hmmn.HMMNConfig(), hmmn.torch_table, _STM_IGNORED, _FINE),
    "hmmn-tiny": Entry(
        hmmn.HMMN,
        hmmn.HMMNConfig(
            backbone=ResNetConfig(depth=18, width=32, zero_init=True),
            key_dim=64,
            value_dim=128,
            fine_key_dims=(32, 16),
            fine_value_dims=(48, 24),
            decoder_dim=48,
        ),
        hmmn.torch_table,
        _STM_IGNORED,
        _FINE,
    ),
    "lcm": Entry(
        lcm.LCM,
        lcm.LCMConfig(),
        lcm.torch_table,
        _STM_IGNORED,
        _MODULES,
        extends="stm",
    ),
    "lcm-tiny": Entry(
        lcm.LCM,
        lcm.LCMConfig(
            backbone=ResNetConfig(depth=18, width=32, zero_init=True),
            key_dim=64,
            local_dim=64,
            value_dim=128,
            decoder_dim=48,
        ),
        lcm.torch_table,
        _STM_IGNORED,
        _MODULES,
        extends="stm-tiny",
    ),
    "stcn": Entry(
        stcn.STCN,
        stcn.STCNConfig(),
        stcn.torch_table,
        # What a checkpoint of RDE-VOS has beside it.
        (*_IGNORED, "mem_compress.*"),
        reads=("rde", "rde-tiny"),
    ),
    "rde": Entry(rde.RDE, rde.RDEConfig(), rde.torch_table, _IGNORED, _SAM),
    "rde-tiny": Entry(
        rde.RDE,
        rde.RDEConfig(
            backbone=ResNetConfig(depth=18, width=32, zero_init=True),
            value_backbone=ResNetConfig(depth=18, width=16, zero_init=True),
            key_dim=32,
            value_dim=64,
            decoder_dims=(64, 48, 32),
        ),
        rde.torch_table,
        _IGNORED,
        _SAM,
    ),
}


def create(name: str, **overrides: Any) -> Method:
    """A method by name.

    Args:
      name: One of `METHODS`.
      **overrides: Fields of its configuration to change.

    Raises:
      InputError: The name or a field is unknown, or a value out of range.
    """
    if name not in METHODS:
        known = ", ".join(METHODS)
        raise InputError(f"unknown method {name!r}; choose one of: {known}")
    entry = METHODS[name]
    fields = {field.name: field.type for field in dataclasses.fields(entry.config)}
    unknown = sorted(set(overrides) - set(fields))
    if unknown:
        raise InputError(
            f"method {name!r} has no option {', '.join(unknown)};"
            f" it has: {', '.join(sorted(fields))}"
        )
    try:
        for field, value in overrides.items():
            _check_kind(field, fields[field], value)
        given = {
            field: _as_before(getattr(entry.config, field), value)
            for field, value in overrides.items()
        }
        config = dataclasses.replace(entry.config, **given)
    except (TypeError, ValueError) as error:
        raise InputError(f"method {name!r}: {error}") from error
    return entry.module(config=config)


def _check_kind(field: str, kind: Any, value: Any) -> None:
    """Refuses what Python would take for a flag or a number without being one."""
    if kind is bool and not isinstance(value, bool):
        raise TypeError(f"{field}={value!r}: use True or False")
    if kind == int | None and value is None:
        return
    whole = isinstance(value, Integral) and not isinstance(value, bool)
    if kind in (int, int | None) and not whole:
        or_none = "" if kind is int else ", or None"
        raise TypeError(f"{field}={value!r}: use a whole number{or_none}")


def _as_before(default: Any, value: Any) -> Any:
    """A value as it was before JSON made it a dictionary or a list."""
    if isinstance(default, ResNetConfig) and isinstance(value, Mapping):
        return ResNetConfig(**value)
    if isinstance(default, tuple) and isinstance(value, list):
        return tuple(value)
    return value
