r"""The weights of `dmn-aoa-tiny` that ship: generated clips alone.

Nothing is downloaded and no real picture is seen. In the place of ImageNet is the query
encoder of `stm-tiny`, which has seen such clips, too. Proposals are those of the region
proposer, never the truth. Two stages as published, in small: boxes of the true masks in
the first, of the network's own in the second. A third one shows worlds in the place of
shapes.

    vos-jax train dmn_aoa/tiny --workdir runs/dmn_aoa_tiny1
    vos-jax train dmn_aoa/tiny:main --workdir runs/dmn_aoa_tiny2 \
        --set weights=runs/dmn_aoa_tiny1/weights.safetensors
    vos-jax train dmn_aoa/tiny:world --workdir runs/dmn_aoa_tiny3 \
        --set weights=runs/dmn_aoa_tiny2/weights.safetensors

Proposals are made of every frame as it is read, which takes longer than the steps do.
How they are stored once, and what the stages reach, is in `benchmarks/README.md`.
"""

from dataclasses import replace

from vos_jax.data.recipes import VideoRecipe
from vos_jax.methods.dmn_aoa.objective import DMNAOALoss
from vos_jax.methods.objective import StepConfig
from vos_jax.training.experiment import DataConfig, Experiment
from vos_jax.training.experiment_file import load_experiment
from vos_jax.training.optimizers import OptimizerConfig

_LOSS = DMNAOALoss(
    coarse_loss_weight=0.0,
    match_loss_weight=1.0,
    match_loss="cross_entropy",
    most_proposals=12,
)
"""Not by coarse masks: of proposals that fit an object to 0.7 their cross entropy sees
little but the pixels that are wrong, and lowers all similarities until none differs."""

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


def _clips(
    size: tuple[int, int], objects: tuple[int, int], count: int = 300, **theme: str
) -> tuple[DataConfig, ...]:
    """As many videos as there is time to store the proposals of."""
    options = {"size": size, "objects": objects, "difficulty": (0.2, 0.6), **theme}
    options = {"count": count, "length": 8, **options}
    return (DataConfig(source="generated", options=options),)


def experiment() -> Experiment:
    """First stage: queries and memory in boxes of the true masks."""
    return Experiment(
        method="dmn-aoa-tiny",
        backbones=("stm-tiny",),
        twins=True,
        data=_clips((128, 128), (1, 2)),
        recipe=VideoRecipe(
            frames=4,
            size=(128, 128),
            objects=2,
            min_share=0.01,
            cover=(1.0, 1.0),
            max_skip=3,
            skip_steps=0,
        ),
        batch=4,
        steps=400,
        optimizer=OptimizerConfig(
            name="adamw",
            learning_rate=1e-3,
            warmup_steps=50,
            weight_decay=1e-4,
            frozen=("backbone/*/norm/*",),
        ),
        objective=replace(_LOSS, boxes="given"),
        step=StepConfig(ema_decay=0.995, clip_norm=1.0),
        validation=(_VALIDATION,),
        validate_every=200,
        checkpoint_every=100,
    )


def main() -> Experiment:
    """Second stage: the network's own boxes, several sizes, norms frozen."""
    first = experiment()
    return replace(
        first,
        data=_clips((160, 256), (1, 3)),
        recipe=replace(
            first.recipe,
            size=(128, 208),
            other_sizes=((160, 256),),
            cover=(0.7, 1.0),
            max_skip=5,
        ),
        batch=4,
        steps=600,
        backbones=(),
        twins=False,
        optimizer=replace(first.optimizer, learning_rate=8e-4, schedule="cosine"),
        objective=_LOSS,
        validate_every=200,
    )


def world() -> Experiment:
    """Third stage: people, animals, vehicles and things of several parts."""
    second = main()
    worlds = load_experiment("stm/tiny:busy")
    return replace(
        second,
        data=_clips((160, 256), (1, 3), 150, theme="world")
        + _clips((160, 256), (1, 3), 150, theme="busy"),
        recipe=replace(second.recipe, cover=(0.5, 1.0)),
        validation=worlds.validation,
        validate_every=300,
    )


def world_without_alignment() -> Experiment:
    """Third stage without alignment of objects, to compare with."""
    return replace(world(), method_options={"use_aoa": False})


def world_without_proposals() -> Experiment:
    """Third stage without proposals, to compare with."""
    return replace(world(), method_options={"use_matcher": False})
