r"""The weights of `rde-tiny` that ship: generated clips, from a random start.

Nothing is downloaded and no real picture is seen. First STCN's part on three frames of
one object, then SAM with it on five frames of two; norms follow the batch:

    vos-jax train rde/tiny --workdir runs/rde_tiny1
    vos-jax train rde/tiny:recurrent --workdir runs/rde_tiny2 \
        --set grown_from=runs/rde_tiny1/weights.safetensors

`rde/tiny:without_sam` is the second stage without the recurrent embedding, to compare
with. What they reach is in `benchmarks/README.md`.

No `twins` are needed here: keys of memory and query come from one encoder, so that
cells of like appearance find one another from the first step.
"""

from dataclasses import replace

from vos_jax.data.recipes import VideoRecipe
from vos_jax.engine.experiment import DataConfig, Experiment
from vos_jax.engine.optimizers import OptimizerConfig
from vos_jax.engine.rde_loss import RDELoss
from vos_jax.engine.step_config import StepConfig

# Scenes four times as slow as those of the largest skip, seen at the demo's speed.
_VALIDATION = DataConfig(
    source="generated",
    options={
        "size": (128, 208),
        "objects": (1, 3),
        "difficulty": (0.5, 0.5),
        "count": 9,
        "length": 24,
        "seed": 1,
    },
)


def _clips(size: tuple[int, int], objects: tuple[int, int]) -> tuple[DataConfig, ...]:
    options = {"size": size, "objects": objects, "difficulty": (0.2, 0.6)}
    return (DataConfig(source="generated", options={"count": 100_000, **options}),)


def experiment() -> Experiment:
    """First stage: the network without SAM, one object."""
    return Experiment(
        method="rde-tiny",
        method_options={"recurrent": False},
        data=_clips((128, 128), (1, 1)),
        recipe=VideoRecipe(
            size=(128, 128),
            objects=1,
            cover=(1.0, 1.0),
            max_skip=3,
            skip_steps=0,
            perturb=(0.85, 1.0),
        ),
        batch=8,
        steps=1000,
        optimizer=OptimizerConfig(
            name="adamw", learning_rate=1e-3, warmup_steps=100, weight_decay=1e-4
        ),
        objective=RDELoss(guidance=0.0),
        step=StepConfig(norms="batch", ema_decay=0.995, clip_norm=1.0),
        validation=(_VALIDATION,),
        validate_every=500,
        checkpoint_every=250,
    )


def without_sam() -> Experiment:
    """Second stage but for SAM: five frames, more objects than slots."""
    first = experiment()
    return replace(
        first,
        data=_clips((160, 256), (1, 3)),
        recipe=VideoRecipe(
            frames=5,
            size=(128, 208),
            other_sizes=((160, 160), (112, 160)),
            objects=2,
            cover=(0.7, 1.0),
            max_skip=5,
            skip_steps=0,
            perturb=(0.85, 1.0),
        ),
        batch=4,
        steps=800,
        optimizer=replace(first.optimizer, schedule="cosine"),
        validate_every=400,
    )


def recurrent() -> Experiment:
    """Second stage: SAM, and both losses of the embeddings."""
    return replace(without_sam(), method_options={}, objective=RDELoss())
