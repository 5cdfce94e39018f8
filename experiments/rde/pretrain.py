r"""RDE-VOS, stage 0: clips made from still images, one object, no SAM.

    vos-jax train rde/pretrain --data DATA --workdir runs/rde_pretrain \
        --set "backbones=['resnet50.safetensors', 'resnet18.safetensors']"

Three views of an image, the first one with a perturbed mask: L_1 / 4 + L_2 / 2, and 10
times the correction loss. Batches of 64 on 4 GPUs, Adam at 2e-5, the rate divided by 10
half-way; data and moves are those of `stcn/pretrain`. `vos-jax convert resnet50` and
`resnet18` make the encoders of torchvision's.
"""

from dataclasses import replace

from vos_jax.methods.objective import StepConfig
from vos_jax.methods.rde.objective import RDELoss
from vos_jax.training.experiment import Experiment
from vos_jax.training.experiment_file import load_experiment


def experiment() -> Experiment:
    """The published settings."""
    base = load_experiment("stcn/pretrain")
    return replace(
        base,
        method="rde",
        method_options={"others": False, "recurrent": False},
        recipe=replace(base.recipe, perturb=(0.85, 1.0)),
        batch=64,
        steps=75_000,
        optimizer=replace(base.optimizer, learning_rate=2e-5, milestones=(37_500,)),
        objective=RDELoss(guidance=0.0),
        step=StepConfig(
            loss="bootstrapped", bootstrap_start=5_000, bootstrap_end=17_500
        ),
        validate_every=5_000,
        checkpoint_every=1_000,
    )
