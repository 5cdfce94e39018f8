r"""DMN-AOA, first stage: clips made from still images (ICCV 2021, sec. 4.1).

    vos-jax train dmn_aoa/pretrain --data DATA --workdir runs/dmn_aoa_pretrain \
        --set "backbones=['resnet50.safetensors']"

Four views of an image of COCO, each moved by itself; queries and memory in boxes of the
true masks. `DATA/proposals/coco` holds the proposals of a detector that is trained on
COCO alone, whatever the second stage has: see `experiments/dmn_aoa/README.md`, which
also says what the paper leaves open.
"""

from vos_jax.data.augmentation import Affine
from vos_jax.data.colour import Colour
from vos_jax.data.recipes import StaticRecipe
from vos_jax.methods.dmn_aoa.objective import DMNAOALoss
from vos_jax.methods.objective import StepConfig
from vos_jax.training.experiment import DataConfig, Experiment
from vos_jax.training.optimizers import OptimizerConfig

_EPOCHS, _BATCH = 30, 12  # sec. 4.1
_IMAGES = 117_266  # of train2017, those that show an object


def experiment() -> Experiment:
    """The published settings; sections are the paper's."""
    return Experiment(
        method="dmn-aoa",
        # Sec. 4.1.
        data=(DataConfig(source="coco", folder="COCO", inputs="proposals/coco"),),
        recipe=StaticRecipe(
            # Sec. 4.1: four frames by affine moves.
            frames=4,
            # Ours: size, ranges, and that no colour is changed.
            size=(384, 384),
            cover=(0.67, 1.0),
            flip=0.5,
            frame_affine=Affine(
                rotation=20, shear=10, zoom=(0.8, 1.25), translation=0.1
            ),
            clip_colour=Colour(),
            frame_colour=Colour(),
            objects=3,
            min_share=0.01,
        ),
        batch=_BATCH,
        steps=_EPOCHS * _IMAGES // _BATCH,
        optimizer=OptimizerConfig(
            # Sec. 4.1: 1e-5 for the backbone, whose norms are frozen.
            name="adam",
            learning_rate=1e-4,
            rates=(("backbone/*", 0.1),),
            frozen=("backbone/*/norm/*",),
            # Ours.
            schedule="constant",
            weight_decay=0.0,
        ),
        # The cross entropy is that of sec. 4.1; coarse masks and boxes are ours.
        objective=DMNAOALoss(boxes="given", coarse_loss_weight=1.0),
        step=StepConfig(loss="cross_entropy", memory_mask="pred", norms="frozen"),
        # Ours.
        validation=(
            DataConfig(
                source="davis2017",
                folder="DAVIS",
                options={"split": "val"},
                inputs="proposals/davis_coco",
            ),
        ),
        validate_every=20_000,
        checkpoint_every=2_000,
    )
