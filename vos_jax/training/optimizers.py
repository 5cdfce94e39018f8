"""Optimizers and learning rates of the five papers, through optax.

Parameters are named by their path, `query_encoder/trunk/res2/block0/conv1/conv/kernel`,
and chosen by shell patterns of it, in which `*` crosses the slashes.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from numbers import Integral, Real
from typing import Any, Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int

from vos_jax.errors import InputError

Name = Literal["adam", "adamw", "sgd"]
"""Of the optimizers."""

Schedule = Literal["constant", "step", "polynomial", "cosine"]
"""How the learning rate goes down."""

Rate = Callable[[Int[Array, ""] | int], Float[Array, ""]]
"""The learning rate at a step, from 0."""


class Optimizer(NamedTuple):
    """An optax transformation, and what a train step wants to know beside it.

    Attributes:
      init: `params -> state`.
      update: `(gradients, state, params) -> (updates, state)`.
      learning_rate: Rate at a step, from 0; None where it is not known.
      frozen: Bools like `params`, True where nothing is trained; None for nowhere.
    """

    init: Callable[..., Any]
    update: Callable[..., Any]
    learning_rate: Rate | None = None
    frozen: Any = None


@dataclass(frozen=True, kw_only=True)
class OptimizerConfig:
    """How parameters follow their gradients; the defaults are STM's (sec. 3.5).

    Attributes:
      name: `adam` and `sgd` add weight decay to the gradient, as PyTorch does; `adamw`
        to the update.
      learning_rate: The highest; finite, as all of these numbers are.
      schedule: After the warm-up: `constant`; `step`, times `decay` at each of the
        `milestones`; `polynomial`, (1 - progress)^`power`; `cosine`, half a wave. The
        last two end at `end_factor` times the highest rate.
      warmup_steps: The rate rises evenly over so many steps, the first of which has a
        share of it already.
      milestones: Steps, rising.
      decay: Factor of the rate at a milestone.
      power: Of the polynomial.
      end_factor: Of the last rate to the highest.
      weight_decay: Factor of the L2 term.
      decay_norms_and_biases: Whether weight decay means them too (as published).
      beta1: Adam's; decay of the mean gradient.
      beta2: Adam's; decay of the mean square.
      epsilon: Adam's.
      momentum: SGD's; 0 for none.
      rates: Pairs of a pattern of paths and a factor of the learning rate; the first
        that fits counts.
      frozen: Patterns of paths that are not trained. Their gradients are not computed
        and do not count in the gradients' norm.
    """

    name: Name = "adam"
    learning_rate: float = 1e-5
    schedule: Schedule = "constant"
    warmup_steps: int = 0
    milestones: tuple[int, ...] = ()
    decay: float = 0.1
    power: float = 0.9
    end_factor: float = 0.0
    weight_decay: float = 0.0
    decay_norms_and_biases: bool = True
    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8
    momentum: float = 0.9
    rates: tuple[tuple[str, float], ...] = ()
    frozen: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for option, allowed in (("name", Name), ("schedule", Schedule)):
            if (value := getattr(self, option)) not in get_args(allowed):
                known = ", ".join(get_args(allowed))
                raise InputError(f"optimizer {option}={value!r}: use one of {known}")
        self._check_ranges()
        self._check_tuples()
        if (self.schedule == "step") != bool(self.milestones):
            raise InputError(
                f"optimizer schedule={self.schedule!r} with milestones="
                f"{self.milestones}: give milestones to the schedule 'step' alone"
            )
        if list(self.milestones) != sorted(set(self.milestones)):
            raise InputError(
                f"optimizer milestones={self.milestones}: they must rise; sort them"
            )

    def _check_ranges(self) -> None:
        # Means that decay by 1 never learn anything, and Adam would divide 0 by 0.
        below_one = ("beta1", "beta2", "momentum")
        positive = ("learning_rate", "decay", "power", "epsilon")
        for option in (*below_one, *positive, "end_factor", "weight_decay"):
            value = getattr(self, option)
            if not _is_finite(value) or value < 0:
                fault = "use a finite number, 0 or more"
            elif option in positive and value == 0:
                fault = "use more than 0"
            elif option in below_one and value >= 1:
                fault = "use 0 or more and less than 1"
            elif option == "end_factor" and value > 1:
                fault = "use 0 to 1"
            else:
                continue
            raise InputError(f"optimizer {option}={value!r}: {fault}")
        if not _is_count(self.warmup_steps):
            raise InputError(
                f"optimizer warmup_steps={self.warmup_steps!r}: use a whole number, 0"
                " or more"
            )

    def _check_tuples(self) -> None:
        if not (
            isinstance(self.milestones, tuple) and all(map(_is_count, self.milestones))
        ):
            raise InputError(
                f"optimizer milestones={self.milestones!r}: use a tuple of steps, whole"
                " numbers from 0"
            )
        if not (
            isinstance(self.frozen, tuple)
            and all(isinstance(pattern, str) for pattern in self.frozen)
        ):
            raise InputError(
                f"optimizer frozen={self.frozen!r}: use a tuple of patterns, as in"
                " ('decoder/*',)"
            )
        if not (isinstance(self.rates, tuple) and all(map(_is_rate, self.rates))):
            raise InputError(
                f"optimizer rates={self.rates!r}: use a tuple of pairs of a pattern and"
                " a factor, as in (('decoder/*', 0.1),)"
            )
        for pattern, factor in self.rates:
            if factor <= 0:
                raise InputError(
                    f"optimizer rates: {pattern}={factor}: use a factor above 0, or"
                    " name the pattern in frozen"
                )

    def rate(self, total_steps: int) -> Rate:
        """The learning rate at a step, from 0, of a run of `total_steps`.

        Raises:
          InputError: The warm-up is longer than the run.
        """
        if self.warmup_steps and self.warmup_steps >= total_steps:
            raise InputError(
                f"optimizer warmup_steps={self.warmup_steps}: the run has only"
                f" {total_steps} steps; shorten the warm-up"
            )
        return lambda step: self._rate(jnp.asarray(step, jnp.float32), total_steps)

    def _rate(self, step: Float[Array, ""], total_steps: int) -> Float[Array, ""]:
        left = max(total_steps - self.warmup_steps, 1)
        progress = jnp.clip((step - self.warmup_steps) / left, 0, 1)
        warm = jnp.minimum((step + 1) / max(self.warmup_steps, 1), 1)
        if self.schedule == "step":
            passed = (step >= jnp.array(self.milestones)).sum()
            return self.learning_rate * warm * self.decay ** passed.astype(jnp.float32)
        shape = {
            "constant": jnp.ones_like(progress),
            "polynomial": (1 - progress) ** self.power,
            "cosine": 0.5 * (1 + jnp.cos(jnp.pi * progress)),
        }[self.schedule]
        lowest = 0.0 if self.schedule == "constant" else self.end_factor
        return self.learning_rate * warm * (lowest + (1 - lowest) * shape)

    def build(self, total_steps: int, params: Any) -> Optimizer:
        """The optimizer of a run.

        Args:
          total_steps: Length of the run, for schedules that end.
          params: Its parameters, or their shapes: their names are what counts.

        Raises:
          InputError: A pattern fits no parameter, everything is frozen, or the warm-up
            is longer than the run.
        """
        rate = self.rate(total_steps)
        patterns = [pattern for pattern, _ in self.rates]
        _check_patterns((*patterns, *self.frozen), params)
        trained = optax.chain(
            *self._directions(),
            optax.stateless(self._scale_groups),
            optax.scale_by_learning_rate(rate),
        )
        if not self.frozen:
            return Optimizer(trained.init, trained.update, rate)
        frozen = _by_path(self._is_frozen, params)
        if all(jax.tree.leaves(frozen)):
            raise InputError(
                f"optimizer frozen={', '.join(self.frozen)}: nothing is left to train;"
                " name fewer parameters"
            )
        labels = jax.tree.map(lambda x: "frozen" if x else "trained", frozen)
        # Adam's means of what is frozen are not stored at all.
        both = optax.partition(
            {"trained": trained, "frozen": optax.set_to_zero()}, labels
        )
        return Optimizer(both.init, both.update, rate, frozen)

    def _directions(self) -> list[optax.GradientTransformation]:
        """From gradients to a direction, before the learning rate."""
        decay = []
        if self.weight_decay:
            everything = self.decay_norms_and_biases
            mask = None if everything else _is_kernel
            decay = [optax.add_decayed_weights(self.weight_decay, mask)]
        if self.name == "sgd":
            momentum = [optax.trace(self.momentum)] if self.momentum else []
            return [*decay, *momentum]
        adam = optax.scale_by_adam(self.beta1, self.beta2, self.epsilon)
        return [adam, *decay] if self.name == "adamw" else [*decay, adam]

    def _scale_groups(self, updates: Any, params: Any) -> Any:
        if not self.rates:
            return updates
        factors = _by_path(self._factor, updates)
        return jax.tree.map(lambda factor, x: factor * x, factors, updates)

    def _factor(self, path: str) -> float:
        return next((f for p, f in self.rates if fnmatchcase(path, p)), 1.0)

    def _is_frozen(self, path: str) -> bool:
        return any(fnmatchcase(path, pattern) for pattern in self.frozen)


def parameter_paths(params: Any) -> list[str]:
    """Names of all parameters, `a/b/c`, as patterns see them."""
    return jax.tree.leaves(_by_path(lambda path: path, params))


def _is_finite(value: Any) -> bool:
    return isinstance(value, Real) and math.isfinite(value)


def _is_count(value: Any) -> bool:
    return isinstance(value, Integral) and int(value) >= 0


def _is_rate(value: Any) -> bool:
    is_pair = isinstance(value, tuple) and len(value) == 2
    return is_pair and isinstance(value[0], str) and _is_finite(value[1])


def _by_path(function: Callable[[str], Any], tree: Any) -> Any:
    return jax.tree_util.tree_map_with_path(
        lambda keys, _: function("/".join(str(key.key) for key in keys)), tree
    )


def _is_kernel(params: Any) -> Any:
    """Norms and biases are vectors, kernels are not."""
    return jax.tree.map(lambda x: x.ndim > 1, params)


def _check_patterns(patterns: tuple[str, ...], params: Any) -> None:
    paths = parameter_paths(params)
    for pattern in patterns:
        if not any(fnmatchcase(path, pattern) for path in paths):
            raise InputError(
                f"optimizer pattern {pattern!r} fits no parameter; they are called like"
                f" {paths[0]!r}"
            )
