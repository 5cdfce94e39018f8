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
from vos_jax.training.experiment import DataConfig, Experiment
from vos_jax.training.optimizers import OptimizerConfig

# From the folder of SBD.
_VOC_LIST = "../VOC2012/ImageSets/Segmentation/trainval.txt"


def experiment() -> Experiment:
    """The published settings."""
    return Experiment(
        method="stm",
        data=(
            DataConfig(source="ecssd", folder="ECSSD"),
            DataConfig(source="msra10k", folder="MSRA10K"),
            DataConfig(source="pascal-voc", folder="VOC2012"),
            DataConfig(source="sbd", folder="SBD", options={"leave_out": _VOC_LIST}),
            DataConfig(source="coco", folder="COCO"),
        ),
        recipe=StaticRecipe(),
        batch=4,
        steps=400_000,
        optimizer=OptimizerConfig(name="adam", learning_rate=1e-5),
        validation=(
            DataConfig(source="davis2017", folder="DAVIS", options={"split": "val"}),
        ),
        validate_every=20_000,
        checkpoint_every=2_000,
    )
