r"""LCM, first stage: clips made from still images (CVPR 2021).

    vos-jax train lcm/pretrain --data DATA --workdir runs/lcm_pretrain \
        --set "backbones=['resnet50.safetensors']"

Three views of an image, moved and blurred: random 384 x 384, Adam at 5e-4, ten epochs.
That is 50 times the rate of STM, with norms frozen at ImageNet's statistics; should it
diverge in spite of its warm-up, `lcm/pretrain:slower` takes a fifth of it. What the
paper leaves open, batches of 8 among it, is in `experiments/lcm/README.md`.
"""

from dataclasses import replace

from vos_jax.data.augmentation import Affine
from vos_jax.data.colour import Blur, Colour
from vos_jax.data.recipes import StaticRecipe
from vos_jax.methods.objective import StepConfig
from vos_jax.training.experiment import DataConfig, Experiment
from vos_jax.training.experiment_file import load_experiment
from vos_jax.training.optimizers import OptimizerConfig

_BATCH = 8
# Those of ECSSD, of MSRA10K, and of COCO that show an object.
_IMAGES = 1_000 + 10_000 + 117_266


def experiment() -> Experiment:
    """The published settings; true masks in the memory."""
    return replace(
        load_experiment("stm/pretrain"),
        method="lcm",
        data=(
            DataConfig(source="ecssd", folder="ECSSD"),
            DataConfig(source="msra10k", folder="MSRA10K"),
            DataConfig(source="coco", folder="COCO"),
        ),
        recipe=StaticRecipe(
            # As in the stages on videos.
            short_side=480,
            frame_affine=Affine(rotation=20, zoom=(0.8, 1.25), translation=0.1),
            clip_colour=Colour(),
            frame_colour=Colour(),
            blur=Blur(probability=0.2, sigma=(0.0, 1.5)),
        ),
        batch=_BATCH,
        steps=10 * _IMAGES // _BATCH,
        optimizer=OptimizerConfig(learning_rate=5e-4, warmup_steps=1000),
        step=StepConfig(memory_mask="gt"),
    )


def slower() -> Experiment:
    """The same at 1e-4, for when the published rate diverges."""
    base = experiment()
    return replace(base, optimizer=replace(base.optimizer, learning_rate=1e-4))
