r"""RDE-VOS, the last stage: DAVIS 2017 and YouTube-VOS.

    vos-jax train rde/main --data DATA --workdir runs/rde_main \
        --set weights=runs/rde_bl30k/weights.safetensors
    vos-jax train rde/main:without_bl30k --data DATA --workdir runs/rde_main_only \
        --set grown_from=runs/rde_pretrain/weights.safetensors

After BL30K: 75,000 steps of 16 clips, and half the weight of both embeddings' losses,
as in the published command; the paper has 10. Without BL30K: 150,000 steps of 8 clips.
"""

from dataclasses import replace

from vos_jax.data.recipes import JumpRecipe
from vos_jax.methods.objective import StepConfig
from vos_jax.methods.rde.objective import RDELoss
from vos_jax.training.experiment import DataConfig, Experiment
from vos_jax.training.experiment_file import load_experiment
from vos_jax.training.optimizers import OptimizerConfig

_DATA = (
    DataConfig(
        source="davis2017", folder="DAVIS", options={"split": "train"}, repeat=5
    ),
    DataConfig(source="youtube-vos", folder="YouTubeVOS"),
)
# Growing in the first 40 % of the epochs, small again for the last tenth.
_JUMPS = ((0, 5), (0.1, 10), (0.2, 15), (0.3, 20), (0.4, 25), (0.9, 5))


def experiment() -> Experiment:
    """Stage 2, from the weights of BL30K."""
    return replace(
        without_bl30k(),
        recipe=_recipe(75_000),
        batch=16,
        steps=75_000,
        optimizer=_optimizer(62_500),
        objective=RDELoss(guidance=5.0, correction=5.0),
        step=StepConfig(
            loss="bootstrapped", bootstrap_start=5_000, bootstrap_end=17_500
        ),
    )


def without_bl30k() -> Experiment:
    """Stage 3, from the weights of still images."""
    return replace(
        load_experiment("rde/pretrain"),
        method_options={},
        data=_DATA,
        recipe=_recipe(150_000),
        batch=8,
        steps=150_000,
        optimizer=_optimizer(125_000),
        objective=RDELoss(),
        step=StepConfig(
            loss="bootstrapped", bootstrap_start=20_000, bootstrap_end=70_000
        ),
    )


def _recipe(steps: int) -> JumpRecipe:
    return JumpRecipe(
        frames=5,
        objects=2,
        perturb=(0.85, 1.0),
        jumps=tuple((round(share * steps), jump) for share, jump in _JUMPS),
    )


def _optimizer(milestone: int) -> OptimizerConfig:
    return OptimizerConfig(
        learning_rate=2e-5,
        schedule="step",
        milestones=(milestone,),
        weight_decay=1e-7,
    )
