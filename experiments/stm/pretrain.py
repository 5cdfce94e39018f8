"""STM, first stage: clips made from still images (ICCV 2019, sec. 3.5).

    vos-jax train stm/pretrain --data DATA --workdir runs/stm_pretrain \
        --set weights=resnet50_stm.safetensors

`DATA` holds the folders named below. The paper uses two sets of salient objects, PASCAL
VOC with the extended boundary annotations (SBD) and COCO; SBD is left out here. Clips
of three frames of 384 x 384, batches of 4, Adam at 1e-5, norms frozen at ImageNet's
statistics: so begin with encoders that were trained on ImageNet. The number of steps is
not published; this one is a guess from the paper's four days on four GPUs.
"""

from vos_jax.data.sampling import StaticRecipe
from vos_jax.engine.experiment import DataConfig, Experiment
from vos_jax.engine.optimizers import OptimizerConfig


def experiment() -> Experiment:
    """The published settings."""
    return Experiment(
        method="stm",
        data=(
            DataConfig(source="ecssd", folder="ECSSD"),
            DataConfig(source="msra10k", folder="MSRA10K"),
            DataConfig(source="pascal-voc", folder="VOC2012"),
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
