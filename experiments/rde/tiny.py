r"""The weights of `rde-tiny` that ship: generated clips, from a random start.

Nothing is downloaded and no real picture is seen. First STCN's part on three frames of
one object, then SAM with it on five frames of two, whose norms follow the batch, then
worlds:

    vos-jax train rde/tiny --workdir runs/rde_tiny1
    vos-jax train rde/tiny:recurrent --workdir runs/rde_tiny2 \
        --set grown_from=runs/rde_tiny1/weights.safetensors
    vos-jax train rde/tiny:world --workdir runs/rde_tiny3 \
        --set weights=runs/rde_tiny2/weights.safetensors

`rde/tiny:without_sam` is the second stage without the recurrent embedding, to compare
with. What they reach is in `benchmarks/README.md`.

No `twins` are needed here: keys of memory and query come from one encoder, so that
cells of like appearance find one another from the first step.
"""

from dataclasses import replace

from vos_jax.methods.rde.objective import RDELoss
from vos_jax.training.experiment import Experiment
from vos_jax.training.experiment_file import load_experiment

_PERTURBED = (0.85, 1.0)


def experiment() -> Experiment:
    """First stage: the network without SAM on the clips of `stm/tiny`."""
    base = load_experiment("stm/tiny")
    return replace(
        base,
        method="rde-tiny",
        method_options={"recurrent": False},
        twins=False,
        recipe=replace(base.recipe, perturb=_PERTURBED),
        steps=1000,
        objective=RDELoss(guidance=0.0),
        validate_every=500,
        checkpoint_every=250,
    )


def without_sam() -> Experiment:
    """Second stage but for SAM: five frames, more objects than slots."""
    base = load_experiment("stm/tiny:mixed_sizes")
    recipe = replace(
        base.recipe,
        frames=5,
        other_sizes=((160, 160), (112, 160)),
        perturb=_PERTURBED,
    )
    return replace(
        experiment(),
        data=base.data,
        recipe=recipe,
        batch=base.batch,
        steps=800,
        optimizer=base.optimizer,
        validate_every=400,
    )


def recurrent() -> Experiment:
    """Second stage: SAM, and both losses of the embeddings."""
    return replace(without_sam(), method_options={}, objective=RDELoss())


def world_without_sam() -> Experiment:
    """Third stage but for SAM, from all other weights of the second one: worlds."""
    base = load_experiment("stm/tiny:busy")
    return replace(
        without_sam(),
        data=base.data,
        recipe=replace(base.recipe, perturb=_PERTURBED),
        batch=base.batch,
        steps=1000,
        optimizer=base.optimizer,
        step=base.step,
        validation=base.validation,
        validate_every=base.validate_every,
    )


def world() -> Experiment:
    """Third stage: worlds, norms frozen."""
    return replace(world_without_sam(), method_options={}, objective=RDELoss())
