r"""The weights of `hmmn-tiny` that ship: generated clips alone.

Nothing is downloaded and no real picture is seen. What ships begins as `stm-tiny`, adds
nothing of its fine reads before it has learned to, and sees worlds. It is of step 300:

    vos-jax train hmmn/tiny:world --workdir runs/hmmn_world

Two stages as published, in small, on shapes from a random start. In the first one the
reads at strides 8 and 4 are dropped always and then every other time, in the second one
ever less:

    vos-jax train hmmn/tiny --workdir runs/hmmn_tiny1
    vos-jax train hmmn/tiny:mixed_sizes --workdir runs/hmmn_tiny2 \
        --set weights=runs/hmmn_tiny1/weights.safetensors

Clips, sizes and optimizer are those of `stm/tiny`. `hmmn/tiny:without_fine` is the
second stage of a network that has no such reads, to compare with. What they reach is in
`benchmarks/README.md`.
"""

from dataclasses import replace

from vos_jax.methods.hmmn.objective import HMMNLoss
from vos_jax.training.experiment import Experiment
from vos_jax.training.experiment_file import load_experiment

_FIRST, _SECOND = 1200, 1200
_WORLD = 600


def experiment() -> Experiment:
    """First stage: one object, norms follow the batch."""
    return replace(
        load_experiment("stm/tiny"),
        method="hmmn-tiny",
        steps=_FIRST,
        objective=HMMNLoss(dropout=(1.0, 0.5), dropout_steps=_FIRST),
    )


def mixed_sizes() -> Experiment:
    """Second stage: clips of four frames and of several shapes, two objects."""
    return replace(
        load_experiment("stm/tiny:mixed_sizes"),
        method="hmmn-tiny",
        steps=_SECOND,
        objective=HMMNLoss(dropout=(0.5, 0.0), dropout_steps=_SECOND),
    )


def without_fine() -> Experiment:
    """Second stage without the fine reads, from the same weights."""
    return replace(mixed_sizes(), method_options={"fine_stages": ()})


def world() -> Experiment:
    """Worlds: `stm-tiny`, which knows them, learns to read at fine stages."""
    return replace(
        load_experiment("stm/tiny:busy"),
        method="hmmn-tiny",
        shared_from="stm-tiny",
        seed=0,
        steps=_WORLD,
        validate_every=_WORLD // 2,
        objective=HMMNLoss(dropout=(0.5, 0.0), dropout_steps=_WORLD),
    )


def world_without_fine() -> Experiment:
    """Worlds without the fine reads, to compare with."""
    return replace(world(), method_options={"fine_stages": ()})
