r"""STCN, stage 0: clips made from still images, one object.

    vos-jax train stcn/pretrain --data DATA --workdir runs/stcn_pretrain \
        --set "backbones=['resnet50.safetensors', 'resnet18.safetensors']"

Three views of an image, the sum of both frames' losses. Batches of 16 on 2 GPUs, Adam
at 1e-5, the rate divided by 10 half-way.
"""

from vos_jax.data.augmentation import Spline
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
        recipe=StaticRecipe(objects=1, spline=Spline(probability=0.33)),
        batch=16,
        steps=300_000,
        optimizer=OptimizerConfig(
            learning_rate=1e-5,
            schedule="step",
            milestones=(150_000,),
            weight_decay=1e-7,
        ),
        objective=RDELoss(guidance=0.0, correction=0.0, halved=False),
        step=StepConfig(loss="bootstrapped"),
        validation=(
            DataConfig(source="davis2017", folder="DAVIS", options={"split": "val"}),
        ),
        validate_every=10_000,
        checkpoint_every=2_000,
    )
