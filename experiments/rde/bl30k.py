r"""RDE-VOS, stage 1: rendered videos of BL30K.

    vos-jax train rde/bl30k --data DATA --workdir runs/rde_bl30k \
        --set grown_from=runs/rde_pretrain/weights.safetensors

Five frames, two objects, both losses of the embeddings. The network gets SAM and one
more mask as an input; what stage 0 did not have begins at random, the mask's kernel
orthogonal. Batches of 8 on 2 GPUs. The published program draws only objects of some
least size, by pixels of whole frames; here `min_share` decides in the crop.
"""

from dataclasses import replace

from vos_jax.data.recipes import JumpRecipe
from vos_jax.methods.objective import StepConfig
from vos_jax.methods.rde.objective import RDELoss
from vos_jax.training.experiment import DataConfig, Experiment
from vos_jax.training.experiment_file import load_experiment
from vos_jax.training.optimizers import OptimizerConfig

_STEPS = 500_000
# Growing in the first 40 % of the epochs, small again for the last fifth.
_JUMPS = ((0, 5), (0.1, 10), (0.2, 15), (0.3, 20), (0.4, 25), (0.8, 5))


def experiment() -> Experiment:
    """The published settings."""
    return replace(
        load_experiment("rde/pretrain"),
        method_options={},
        data=(DataConfig(source="bl30k", folder="BL30K"),),
        recipe=JumpRecipe(
            frames=5,
            objects=2,
            cover=(0.5, 1.0),
            perturb=(0.85, 1.0),
            jumps=tuple((round(share * _STEPS), jump) for share, jump in _JUMPS),
        ),
        batch=8,
        steps=_STEPS,
        optimizer=OptimizerConfig(
            learning_rate=1e-5,
            schedule="step",
            milestones=(400_000,),
            weight_decay=1e-7,
        ),
        objective=RDELoss(),
        step=StepConfig(
            loss="bootstrapped", bootstrap_start=20_000, bootstrap_end=70_000
        ),
    )
