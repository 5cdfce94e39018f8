r"""STCN, stage 0: clips made from still images, one object.

    vos-jax train stcn/pretrain --data DATA --workdir runs/stcn_pretrain \
        --set "backbones=['resnet50.safetensors', 'resnet18.safetensors']"

Three views of an image, the sum of both frames' losses. Batches of 16 on 2 GPUs, Adam
at 1e-5, the rate divided by 10 half-way.

Values are those of the released program, but for those that are marked as ours.
"""

from vos_jax.data.augmentation import Affine, Spline
from vos_jax.data.colour import Colour
from vos_jax.data.recipes import StaticRecipe
from vos_jax.methods.objective import StepConfig
from vos_jax.methods.rde.objective import RDELoss
from vos_jax.training.experiment import DataConfig, Experiment
from vos_jax.training.optimizers import OptimizerConfig


def experiment() -> Experiment:
    """The published settings."""
    return Experiment(
        method="stcn",
        method_options={"others": False},
        data=(
            DataConfig(source="fss1000", folder="FSS-1000"),
            DataConfig(source="duts", folder="DUTS"),
            DataConfig(source="duts", folder="DUTS", options={"split": "test"}),
            DataConfig(source="ecssd", folder="ECSSD"),
            DataConfig(source="big", folder="BIG", repeat=5),
            DataConfig(source="hrsod", folder="HRSOD", repeat=5),
        ),
        recipe=StaticRecipe(
            frames=3,
            size=(384, 384),
            objects=1,
            flip=0.5,
            cover=(0.67, 1.25),
            clip_colour=Colour(
                brightness=0.1, contrast=0.05, saturation=0.05, hue=0.05, grey=0.05
            ),
            # The translation is ours, in place of a random cut after the move.
            frame_affine=Affine(
                rotation=20, shear=10, zoom=(0.9, 1.1), translation=0.1
            ),
            frame_colour=Colour(brightness=0.1, contrast=0.05, saturation=0.05),
            spline=Spline(probability=0.33, strength=0.02),
        ),
        batch=16,
        steps=300_000,
        optimizer=OptimizerConfig(
            name="adam",
            learning_rate=1e-5,
            schedule="step",
            milestones=(150_000,),
            decay=0.1,
            weight_decay=1e-7,
            decay_norms_and_biases=True,
            beta1=0.9,
            beta2=0.999,
            epsilon=1e-8,
        ),
        objective=RDELoss(guidance=0.0, correction=0.0, halved=False),
        step=StepConfig(
            loss="bootstrapped",
            bootstrap_start=20_000,
            bootstrap_end=70_000,
            bootstrap_fraction=0.15,
            memory_mask="pred",
            norms="frozen",
        ),
        # Ours.
        validation=(
            DataConfig(source="davis2017", folder="DAVIS", options={"split": "val"}),
        ),
        validate_every=10_000,
        checkpoint_every=2_000,
    )
