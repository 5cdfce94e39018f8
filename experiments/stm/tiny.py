r"""The weights that ship with the package: `stm-tiny` on generated clips, from scratch.

Nothing is downloaded and no real picture is seen; `vos-jax demo` draws its clips from
seeds that training never sees. Five stages, each from the weights of the one before:

    vos-jax train stm/tiny --workdir runs/tiny1
    vos-jax train stm/tiny:mixed_sizes --workdir runs/tiny2 \
        --set weights=runs/tiny1/weights.safetensors
    vos-jax train stm/tiny:long_clips --workdir runs/tiny3 \
        --set weights=runs/tiny2/weights.safetensors
    vos-jax train stm/tiny:world --workdir runs/tiny4 \
        --set weights=runs/tiny3/weights.safetensors
    vos-jax train stm/tiny:busy --workdir runs/tiny5 \
        --set weights=runs/tiny4/weights.safetensors
    vos-jax train stm/tiny:turning --workdir runs/tiny6 \
        --set weights=runs/tiny5/weights.safetensors
    vos-jax train stm/tiny:deep --workdir runs/tiny6_deep

The first three show shapes, the others worlds, whose objects have parts as real ones. A
sixth, of objects that turn or of a network of twice the size, gains nothing that can be
measured, and does not ship.

Published STM starts from ImageNet weights, which bring two things that a random start
lacks. Its two encoders agree, so keys of the same appearance match from the first step:
here the memory encoder starts as a copy of the query encoder (`twins`). And its norms
are calibrated: here they follow the batch until the third stage freezes them. What the
stages reach is in `benchmarks/README.md`.
"""

from collections.abc import Mapping
from dataclasses import replace

from vos_jax.data.recipes import VideoRecipe
from vos_jax.methods.objective import StepConfig
from vos_jax.training.experiment import DataConfig, Experiment
from vos_jax.training.optimizers import OptimizerConfig

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
# Half of the clips show the world at large, the others what is hard in it.
_THEMES = {
    "world": 100_000,
    "shapes": 25_000,
    "lookalikes": 25_000,
    "thin": 25_000,
    "leaving": 25_000,
}
_BUSY_THEMES = {
    "world": 50_000,
    "busy": 60_000,
    "shapes": 20_000,
    "lookalikes": 25_000,
    "thin": 20_000,
    "leaving": 25_000,
}
_DEEPER = {"depth": 18, "width": 32, "zero_init": True, "more_blocks": 4}
_TURNING_THEMES = {
    "turning": 100_000,
    "busy": 40_000,
    "world": 30_000,
    "shapes": 20_000,
    "leaving": 10_000,
}


def _clips(
    size: tuple[int, int],
    objects: tuple[int, int],
    difficulty: tuple[float, float] = (0.2, 0.6),
    count: int = 100_000,
    **theme: str,
) -> DataConfig:
    options = {"size": size, "objects": objects, "difficulty": difficulty, **theme}
    return DataConfig(source="generated", options={"count": count, **options})


def _worlds(themes: Mapping[str, int]) -> tuple[DataConfig, ...]:
    """As many clips of each theme."""
    clips = (176, 288), (1, 3), (0.2, 1.0)
    return tuple(_clips(*clips, count, theme=theme) for theme, count in themes.items())


def _validation(theme: str, count: int) -> DataConfig:
    options = {**_VALIDATION.options, "theme": theme, "count": count}
    return replace(_VALIDATION, options=options)


def experiment() -> Experiment:
    """First stage, a short run that shows everything a long one does: one object."""
    return Experiment(
        method="stm-tiny",
        twins=True,
        data=(_clips((128, 128), (1, 1)),),
        recipe=VideoRecipe(
            size=(128, 128), objects=1, cover=(1.0, 1.0), max_skip=3, skip_steps=0
        ),
        batch=8,
        steps=1200,
        optimizer=OptimizerConfig(
            name="adamw", learning_rate=1e-3, warmup_steps=100, weight_decay=1e-4
        ),
        step=StepConfig(norms="batch", ema_decay=0.995, clip_norm=1.0),
        validation=(_VALIDATION,),
        validate_every=600,
        checkpoint_every=300,
    )


def mixed_sizes() -> Experiment:
    """Second stage: more objects than slots, in crops of four shapes."""
    first = experiment()
    return replace(
        first,
        twins=False,
        data=(_clips((160, 256), (1, 3)),),
        recipe=VideoRecipe(
            frames=4,
            size=(128, 208),
            other_sizes=((160, 160), (112, 160), (160, 256)),
            objects=2,
            cover=(0.7, 1.0),
            max_skip=5,
            skip_steps=0,
        ),
        batch=4,
        steps=2000,
        optimizer=replace(first.optimizer, schedule="cosine"),
    )


def long_clips() -> Experiment:
    """Third stage: clips of seven frames, norms frozen as they are at inference."""
    second = mixed_sizes()
    return replace(
        second,
        recipe=replace(second.recipe, frames=7),
        batch=3,
        steps=800,
        optimizer=replace(second.optimizer, learning_rate=4e-4),
        step=StepConfig(ema_decay=0.995, clip_norm=1.0),
    )


def world() -> Experiment:
    """Fourth stage: people, animals, vehicles and things of several parts."""
    third = long_clips()
    return replace(
        third,
        data=_worlds(_THEMES),
        recipe=replace(third.recipe, frames=5, cover=(0.6, 1.0)),
        steps=800,
        validation=(_validation("world", 24),),
    )


def busy() -> Experiment:
    """Fifth stage: more of worlds, also from closer by and before busy backdrops."""
    fourth = world()
    return replace(
        fourth,
        seed=1,
        data=_worlds(_BUSY_THEMES),
        recipe=replace(fourth.recipe, cover=(0.45, 1.0)),
        steps=1500,
        validate_every=500,
        optimizer=replace(fourth.optimizer, learning_rate=6e-4),
        validation=(_validation("world", 12), _validation("busy", 12)),
    )


def turning() -> Experiment:
    """A sixth stage, to compare with: objects that turn, in clips of seven frames."""
    fifth = busy()
    return replace(
        fifth,
        seed=2,
        data=_worlds(_TURNING_THEMES),
        recipe=replace(fifth.recipe, frames=7, max_skip=8),
        batch=2,
        steps=900,
        validate_every=450,
        optimizer=replace(fifth.optimizer, learning_rate=4e-4, warmup_steps=50),
    )


def deep() -> Experiment:
    """A sixth stage, to compare with: a deeper network, which begins as what ships."""
    return replace(
        busy(),
        seed=0,
        grown_from="stm-tiny",
        method_options={"backbone": _DEEPER},
        steps=1000,
    )
