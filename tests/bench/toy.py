"""A method that compiles in a moment, where the network is none of the matter."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from vos_jax.methods.base import Encoded, Method, ReadConfig, Segmentation
from vos_jax.methods.entry import Entry
from vos_jax.methods.weights import load_model
from vos_jax.ops import memory_bank
from vos_jax.ops.memory_bank import Bank, Moment, Policy
from vos_jax.ops.read import space_time_read
from vos_jax.ops.soft_aggregation import soft_aggregate

_STRIDE, _KEY = 8, 4


@dataclass(frozen=True, kw_only=True)
class ToyConfig(ReadConfig):
    """Which frames are remembered; there are no norms to fold.

    `stands_for` is the configuration of the method that another one is there for.
    """

    every: int | None = 5
    previous: bool = True
    stands_for: str = ""
    folded: bool = True

    @property
    def policy(self) -> Policy:
        return Policy(every=self.every, previous=self.previous)


class Toy(Method):
    """One layer before the read, and one after it, on frames of whole cells."""

    config: ToyConfig = ToyConfig()

    def setup(self) -> None:
        self.key, self.decoder = nn.Dense(_KEY), nn.Dense(1)

    def init_memory(self, height: int, width: int, objects: int, slots: int) -> Bank:
        grid = height // _STRIDE, width // _STRIDE
        return memory_bank.empty(jnp.zeros((objects, *grid, _KEY + 1)), slots)

    def slots(self, frames: int) -> int:
        return self.config.policy.slots(frames)

    def due(self, memory: Bank, moment: Moment) -> Any:
        return self.config.policy.due(moment)

    def encode(self, frame: Array) -> Encoded:
        key = self.key(_pooled(frame))
        return Encoded(key, key)

    def read(self, memory: Bank, query: Array, active: Array) -> Array:
        key, value = jnp.split(memory.entries, [_KEY], axis=-1)
        return space_time_read(
            query, key, value, memory.filled, implementation="reference"
        )

    def segment(
        self,
        memory: Bank,
        query: Array,
        frame: Array,
        active: Array,
        inputs: Any = None,
    ) -> Segmentation:
        known = memory, query, frame, active, inputs
        probs = self.decode(*known, self.read(memory, query, active))
        return Segmentation(self.merge(*known, probs), memory)

    def decode(self, *known_and_read: Any) -> Array:
        logits = self.decoder(known_and_read[-1])[..., 0]
        return jax.nn.sigmoid(logits.repeat(_STRIDE, 1).repeat(_STRIDE, 2))

    def merge(self, *known_and_probs: Any) -> Array:
        *_, active, _, probs = known_and_probs
        return soft_aggregate(probs, active)

    def memorize(
        self, memory: Bank, frame: Array, keep: Array, probs: Array, moment: Moment
    ) -> Bank:
        value = _pooled(probs[1:, ..., None])
        key = jnp.broadcast_to(keep, (*value.shape[:3], _KEY))
        entry = jnp.concatenate([key, value], -1)
        return memory_bank.write(memory, self.config.policy, entry, moment)


class Parted(Toy):
    """The same, of which benchmarks know the parts."""

    @property
    def parts(self) -> Mapping[str, Callable[..., Any]]:
        return {"scores": Parted.decode, "merge": Parted.merge}

    @property
    def reported_s(self) -> Mapping[str, float]:
        return {"read": 0.03, "merge": 0.01}


def _pooled(x: Array) -> Array:
    return nn.avg_pool(x, (_STRIDE, _STRIDE), (_STRIDE, _STRIDE))


def toy(**fields: Any) -> tuple[Toy, Any]:
    """The method with these fields of its configuration, and weights that segment."""
    method = Toy(ToyConfig(**fields))
    return method, toy_variables(method, bias=-0.4)


def toy_variables(method: Toy, bias: float) -> dict[str, Any]:
    """Weights that segment."""
    params = _init(method)["params"]
    decoder = np.full((1, 1), 8, np.float32), np.full(1, bias, np.float32)
    decoder = dict(zip(("kernel", "bias"), jax.device_put(decoder), strict=True))
    return {"params": {**params, "decoder": decoder}}


@partial(jax.jit, static_argnums=0)
def _init(method: Toy) -> Any:
    frame, masks = jnp.zeros((32, 32, 3)), jnp.zeros((1, 32, 32))
    return method.init(jax.random.key(1), frame, masks)


def load_toy(name: str, path: Path | None, **changes: Any) -> tuple[Toy, Any]:
    """What is there in place of a method whose weights are read and then left alone."""
    method, _ = load_model(name, path, **changes)
    return toy(stands_for=repr(method.config))


entry = Entry(Toy, ToyConfig())
