r"""STM, first stage: clips made from still images (ICCV 2019, sec. 3.5).

    vos-jax train stm/pretrain --data DATA --workdir runs/stm_pretrain \
        --set "backbones=['resnet50.safetensors']"

`DATA` holds the folders named below: two sets of salient objects, PASCAL VOC with the
extended annotations of SBD, and COCO, as in the paper. Images that are in VOC and in
SBD count once, with VOC's masks. Clips of three frames of 384 x 384, batches of 4, Adam
at 1e-5, norms frozen at ImageNet's statistics: so begin with encoders that were trained
on ImageNet, which `vos-jax convert resnet50 SOURCE resnet50.safetensors` makes of
torchvision's. The number of steps is not published; this one is a guess from the
paper's four days on four GPUs.
"""

from vos_jax.data.recipes import StaticRecipe
from vos_jax.methods.objective import StepConfig
from vos_jax.training.experiment import DataConfig, Experiment
from vos_jax.training.optimizers import OptimizerConfig

# From the folder of SBD.
_VOC_LIST = "../VOC2012/ImageSets/Segmentation/trainval.txt"


def experiment() -> Experiment:
    """The published settings; sections are the paper's."""
    return Experiment(
        method="stm",
        # Sec. 3.5, its references 29, 5, 7, 8 and 19. Each counts once: ours.
        data=(
            DataConfig(source="ecssd", folder="ECSSD"),
            DataConfig(source="msra10k", folder="MSRA10K"),
            DataConfig(source="pascal-voc", folder="VOC2012"),
            DataConfig(source="sbd", folder="SBD", options={"leave_out": _VOC_LIST}),
            DataConfig(source="coco", folder="COCO"),
        ),
        recipe=StaticRecipe(
            # Sec. 3.5. Which moves there are is its, too; their ranges, colours and
            # mirrored clips are ours, see `StaticRecipe`.
            frames=3,
            size=(384, 384),
            objects=3,  # ours
        ),
        batch=4,  # sec. 3.5
        steps=400_000,  # ours
        optimizer=OptimizerConfig(
            # Sec. 3.5.
            name="adam",
            learning_rate=1e-5,
            schedule="constant",
            weight_decay=0.0,  # ours
        ),
        # Sec. 3.5. What `norms` freezes are their statistics; that scales and shifts
        # are trained is ours.
        step=StepConfig(loss="cross_entropy", memory_mask="pred", norms="frozen"),
        # Ours.
        validation=(
            DataConfig(source="davis2017", folder="DAVIS", options={"split": "val"}),
        ),
        validate_every=20_000,
        checkpoint_every=2_000,
    )
