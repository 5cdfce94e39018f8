"""What a method says about itself, and its weights, beside its network."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from vos_jax.methods.base import Method
from vos_jax.methods.torch_names import Table

Parts = Mapping[str, Mapping[Any, tuple[str, ...]]]
"""Paths in the variables, by the value of a field that a network has them for."""


class Entry(NamedTuple):
    """How a name becomes a method.

    Attributes:
      module: The Linen module, a `Method`.
      config: Its default configuration.
      torch_table: Where a configuration's parameters stand in published checkpoints;
        None where none were published.
      torch_ignored: Published names that carry no parameter, as glob patterns.
      parts: Parts of the variables, as paths, by the value of a field that a network
        has them for: True, False, or an entry of a tuple. Weights that have more of
        them serve a network with fewer, too, without.
      reads: Other methods whose weights are its own, or would be without their `parts`.
      extends: A method whose network is this one's without `parts`, so that training
        may begin with its weights.
      aliases: Parts, as paths, by the paths at which other methods have the same ones,
        so that training may begin with what they share.
      additions: Parts without biases, as paths, whose outputs are added to those of
        shared parts. They begin with zeros then, and so the network as the other one.
    """

    module: Callable[..., Method]
    config: Any
    torch_table: Callable[[Any], Table] | None = None
    torch_ignored: tuple[str, ...] = ()
    parts: Parts = MappingProxyType({})
    reads: tuple[str, ...] = ()
    extends: str | None = None
    aliases: Mapping[str, str] = MappingProxyType({})
    additions: tuple[str, ...] = ()
