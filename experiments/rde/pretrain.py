r"""RDE-VOS, stage 0: clips made from still images, one object, no SAM.

    vos-jax train rde/pretrain --data DATA --workdir runs/rde_pretrain \
        --set "backbones=['resnet50.safetensors', 'resnet18.safetensors']"

Three views of an image, the first one with a perturbed mask: L_1 / 4 + L_2 / 2, and 10
times the correction loss. Batches of 64 on 4 GPUs, Adam at 2e-5, the rate divided by 10
half-way. `vos-jax convert resnet50` and `resnet18` make the encoders of torchvision's.
"""

from vos_jax.data.augmentation import Spline
from vos_jax.data.recipes import StaticRecipe
from vos_jax.engine.experiment import DataConfig, Experiment
from vos_jax.engine.optimizers import OptimizerConfig
from vos_jax.engine.rde_loss import RDELoss
from vos_jax.engine.step_config import StepConfig


def experiment() -> Experiment:
    """The published settings."""
    return Experiment(
        method="rde",
        method_options={"others": False, "recurrent": False},
        data=(
            DataConfig(source="fss1000", folder="FSS-1000"),
            DataConfig(source="duts", folder="DUTS"),
            DataConfig(source="duts", folder="DUTS", options={"split": "test"}),
            DataConfig(source="ecssd", folder="ECSSD"),
            DataConfig(source="big", folder="BIG", repeat=5),
            DataConfig(source="hrsod", folder="HRSOD", repeat=5),
        ),
        recipe=StaticRecipe(
            objects=1, spline=Spline(probability=0.33), perturb=(0.85, 1.0)
        ),
        batch=64,
        steps=75_000,
        optimizer=OptimizerConfig(
            learning_rate=2e-5,
            schedule="step",
            milestones=(37_500,),
            weight_decay=1e-7,
        ),
        objective=RDELoss(guidance=0.0),
        step=StepConfig(
            loss="bootstrapped", bootstrap_start=5_000, bootstrap_end=17_500
        ),
        validation=(
            DataConfig(source="davis2017", folder="DAVIS", options={"split": "val"}),
        ),
        validate_every=5_000,
        checkpoint_every=1_000,
    )
