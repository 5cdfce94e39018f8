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
from vos_jax.training.optimizers import OptimizerConfig

_EPOCHS = 10  # sec. 3.5
_BATCH = 8  # ours
# Those of ECSSD, of MSRA10K, and of COCO that show an object.
_IMAGES = 1_000 + 10_000 + 117_266


def experiment() -> Experiment:
    """The published settings; sections are the paper's. True masks in the memory."""
    return Experiment(
        method="lcm",
        # Sec. 3.5, its references 37, 8 and 25. Each counts once: ours.
        data=(
            DataConfig(source="ecssd", folder="ECSSD"),
            DataConfig(source="msra10k", folder="MSRA10K"),
            DataConfig(source="coco", folder="COCO"),
        ),
        recipe=StaticRecipe(
            # Sec. 3.5, as that there are moves, zoom and blur.
            frames=3,
            size=(384, 384),
            # Ours: ranges, mirrored clips; a short side as in the stages on videos.
            short_side=480,
            flip=0.5,
            frame_affine=Affine(rotation=20, zoom=(0.8, 1.25), translation=0.1),
            clip_colour=Colour(),
            frame_colour=Colour(),
            blur=Blur(probability=0.2, sigma=(0.0, 1.5)),
            objects=3,
        ),
        batch=_BATCH,
        steps=_EPOCHS * _IMAGES // _BATCH,
        optimizer=OptimizerConfig(
            # Sec. 3.5.
            name="adam",
            learning_rate=5e-4,
            # Ours.
            schedule="constant",
            warmup_steps=1000,
            weight_decay=0.0,
        ),
        # The loss is that of sec. 3.5; masks and norms are ours.
        step=StepConfig(loss="cross_entropy", memory_mask="gt", norms="frozen"),
        # Ours.
        validation=(
            DataConfig(source="davis2017", folder="DAVIS", options={"split": "val"}),
        ),
        validate_every=20_000,
        checkpoint_every=2_000,
    )


def slower() -> Experiment:
    """The same at 1e-4, for when the published rate diverges."""
    base = experiment()
    return replace(base, optimizer=replace(base.optimizer, learning_rate=1e-4))
