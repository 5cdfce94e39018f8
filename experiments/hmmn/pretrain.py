r"""HMMN, first stage: clips made from still images (ICCV 2021, sec. 4.1).

    vos-jax train hmmn/pretrain --data DATA --workdir runs/hmmn_pretrain \
        --set "backbones=['resnet50.safetensors']"

STM's first stage with one set more, and with the fine reads: they are dropped always at
first and every other time at the end. The read at stride 16 is guided in videos alone,
not in training. The paper does not give the number of steps, which is STM's guess here.
Of its three works on salient objects two made ECSSD and MSRA10K. The third one is that
of DRFI, and stands for MSRA-B, whose masks its authors published: a folder of `*.jpg`
and `*.png` here. Many of its images are in MSRA10K, too; without it, leave it out of
`data`.
"""

from vos_jax.data.recipes import StaticRecipe
from vos_jax.methods.hmmn.objective import HMMNLoss
from vos_jax.methods.objective import StepConfig
from vos_jax.training.experiment import DataConfig, Experiment
from vos_jax.training.optimizers import OptimizerConfig

_STEPS = 400_000  # ours
# From the folder of SBD.
_VOC_LIST = "../VOC2012/ImageSets/Segmentation/trainval.txt"


def experiment() -> Experiment:
    """The published settings; sections are the paper's.

    The 32 coarse cells whose fine cells are read at stride 8, and a quarter of them at
    stride 4 (sec. 4.1), are the method's defaults.
    """
    return Experiment(
        method="hmmn",
        # Sec. 4.1, its references 40, 6, 8, 9, 25 and 45. Each counts once: ours.
        data=(
            DataConfig(source="ecssd", folder="ECSSD"),
            DataConfig(source="msra10k", folder="MSRA10K"),
            DataConfig(source="pascal-voc", folder="VOC2012"),
            DataConfig(source="sbd", folder="SBD", options={"leave_out": _VOC_LIST}),
            DataConfig(source="coco", folder="COCO"),
            DataConfig(source="pairs", folder="MSRA-B"),
        ),
        recipe=StaticRecipe(
            # Sec. 4.1. Which moves there are is its, too; their ranges, colours and
            # mirrored clips are ours, see `StaticRecipe`.
            frames=3,
            size=(384, 384),
            objects=3,  # ours
        ),
        batch=4,  # sec. 4.1
        steps=_STEPS,
        optimizer=OptimizerConfig(
            # Sec. 4.1.
            name="adam",
            learning_rate=1e-5,
            schedule="constant",
            weight_decay=0.0,  # ours
        ),
        # Sec. 3.2 and 4.1: from 1 to 0.5. On a straight line over the stage: ours.
        objective=HMMNLoss(dropout=(1.0, 0.5), dropout_steps=_STEPS),
        # The loss is that of sec. 4.1; masks and norms are as in STM: ours.
        step=StepConfig(loss="cross_entropy", memory_mask="pred", norms="frozen"),
        # Ours.
        validation=(
            DataConfig(source="davis2017", folder="DAVIS", options={"split": "val"}),
        ),
        validate_every=20_000,
        checkpoint_every=2_000,
    )
