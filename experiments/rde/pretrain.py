r"""RDE-VOS, stage 0: clips made from still images, one object, no SAM.

    vos-jax train rde/pretrain --data DATA --workdir runs/rde_pretrain \
        --set "backbones=['resnet50.safetensors', 'resnet18.safetensors']"

Three views of an image, the first one with a perturbed mask: L_1 / 4 + L_2 / 2, and 10
times the correction loss. Batches of 64 on 4 GPUs, Adam at 2e-5, the rate divided by 10
half-way; data and moves are those of `stcn/pretrain`. `vos-jax convert resnet50` and
`resnet18` make the encoders of torchvision's.

Sections are the paper's (CVPR 2022); what has none is the released program's, which
follows STCN's here, or is marked as ours.
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
        method="rde",
        method_options={"others": False, "recurrent": False},  # sec. 4.2: no SAM
        # Sec. 4.2, its references 16, 34, 32, 4 and 43; repeats are the program's.
        data=(
            DataConfig(source="fss1000", folder="FSS-1000"),
            DataConfig(source="duts", folder="DUTS"),
            DataConfig(source="duts", folder="DUTS", options={"split": "test"}),
            DataConfig(source="ecssd", folder="ECSSD"),
            DataConfig(source="big", folder="BIG", repeat=5),
            DataConfig(source="hrsod", folder="HRSOD", repeat=5),
        ),
        recipe=StaticRecipe(
            frames=3,  # sec. 4.2
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
            perturb=(0.85, 1.0),
        ),
        batch=64,  # sec. 4.2
        steps=75_000,  # sec. 4.2
        optimizer=OptimizerConfig(
            # Sec. 4.2.
            name="adam",
            learning_rate=2e-5,
            # The program's.
            schedule="step",
            milestones=(37_500,),
            decay=0.1,
            weight_decay=1e-7,
            decay_norms_and_biases=True,
            beta1=0.9,
            beta2=0.999,
            epsilon=1e-8,
        ),
        # The correction's weight is that of sec. 4.2; that it counts in this stage, and
        # that frames are halved one after the other, is the program's.
        objective=RDELoss(guidance=0.0, correction=10.0, halved=True),
        step=StepConfig(
            # Sec. 3.3 and 4.2.
            loss="bootstrapped",
            norms="frozen",
            memory_mask="pred",
            # The program's.
            bootstrap_start=5_000,
            bootstrap_end=17_500,
            bootstrap_fraction=0.15,
        ),
        # Ours.
        validation=(
            DataConfig(source="davis2017", folder="DAVIS", options={"split": "val"}),
        ),
        validate_every=5_000,
        checkpoint_every=1_000,
    )
