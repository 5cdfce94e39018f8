r"""The weights of `lcm-tiny` that ship: generated clips alone.

Nothing is downloaded and no real picture is seen. What ships begins with all of
`stm-tiny`, the modules that it lacks at random, and sees worlds:

    vos-jax train lcm/tiny:world --workdir runs/lcm_world

Three stages as published, in small, on shapes from a random start: views of single
frames; frames of a video in any order; frames in their order, with the network's own
masks in its memory.

    vos-jax train lcm/tiny --workdir runs/lcm_tiny1
    vos-jax train lcm/tiny:main --workdir runs/lcm_tiny2 \
        --set weights=runs/lcm_tiny1/weights.safetensors
    vos-jax train lcm/tiny:sequence --workdir runs/lcm_tiny3 \
        --set grown_from=runs/lcm_tiny2/weights.safetensors

A random start needs what ImageNet's weights bring, see `stm/tiny`: encoders that agree,
and norms that follow the batch until the last stage freezes them. The PGM joins in the
last stage. In the others an object may be anywhere, whatever the frame before shows,
and from a random start the PGM learns there to send every cell into a corner of the
frame, where it does no harm, and stays at that. What the stages reach is in
`benchmarks/README.md`.
"""

from dataclasses import replace

from vos_jax.data.augmentation import Affine
from vos_jax.data.colour import Blur
from vos_jax.data.recipes import StaticRecipe, VideoRecipe
from vos_jax.methods.objective import StepConfig
from vos_jax.training.experiment import DataConfig, Experiment
from vos_jax.training.experiment_file import load_experiment
from vos_jax.training.optimizers import OptimizerConfig


def _videos(size: tuple[int, int], objects: tuple[int, int]) -> tuple[DataConfig, ...]:
    options = {"size": size, "objects": objects, "difficulty": (0.2, 0.6)}
    many = {"count": 100_000, "length": 40}
    return (DataConfig(source="generated", options={**many, **options}),)


def experiment() -> Experiment:
    """First stage: three views of a frame, one object."""
    first = load_experiment("stm/tiny")
    return replace(
        first,
        method="lcm-tiny",
        method_options={"use_pgm": False},
        data=_videos((144, 144), (1, 2)),
        recipe=StaticRecipe(
            size=(128, 128),
            objects=1,
            min_share=0.01,
            cover=(0.7, 1.0),
            frame_affine=Affine(rotation=20, zoom=(0.8, 1.25), translation=0.1),
            blur=Blur(probability=0.2, sigma=(0.0, 1.5)),
        ),
        steps=1200,
        step=replace(first.step, memory_mask="gt"),
        validate_every=600,
    )


def main() -> Experiment:
    """Second stage: frames of any time in any order, patches around all objects."""
    first = experiment()
    return replace(
        first,
        twins=False,
        data=_videos((160, 256), (1, 3)),
        recipe=_patches(VideoRecipe(max_skip=None, shuffle=True)),
        batch=5,
        steps=1200,
        optimizer=replace(first.optimizer, schedule="cosine"),
        validate_every=600,
    )


def sequence() -> Experiment:
    """Third stage: frames in their order, soft masks of the network in its memory."""
    return replace(
        main(),
        method_options={},
        recipe=_patches(
            VideoRecipe(max_skip=4, skip_steps=0, even=True, labelled_skip=True)
        ),
        steps=400,
        optimizer=OptimizerConfig(name="sgd", learning_rate=1e-2, warmup_steps=50),
        step=StepConfig(ema_decay=0.99, clip_norm=1.0),
        validate_every=200,
    )


def world() -> Experiment:
    """All modules at once, on worlds, which `stm-tiny` knows already."""
    return replace(
        load_experiment("stm/tiny:busy"),
        method="lcm-tiny",
        grown_from="stm-tiny",
        seed=0,
        steps=1000,
    )


def world_without_pgm() -> Experiment:
    """The same without position guidance, to compare with."""
    return replace(world(), method_options={"use_pgm": False})


def world_without_orm() -> Experiment:
    """The same without object relation, to compare with."""
    return replace(world(), method_options={"use_orm": False})


def _patches(recipe: VideoRecipe) -> VideoRecipe:
    """Windows of 128 x 208 around up to two objects that show in every frame."""
    return replace(
        recipe,
        size=(128, 208),
        objects=2,
        short_side=160,
        window="objects",
        visible_throughout=True,
    )
