r"""HMMN, first stage: clips made from still images (ICCV 2021, sec. 4.1).

    vos-jax train hmmn/pretrain --data DATA --workdir runs/hmmn_pretrain \
        --set "backbones=['resnet50.safetensors']"

STM's first stage with one set more, and with the fine reads: they
are dropped always at first and every other time at the end. The read at stride 16 is
guided in videos alone, not in training. The paper gives neither the number of steps,
which is STM's guess here, nor the names of its three sets of salient objects; ours are
ECSSD, MSRA10K and PASCAL-S.
"""

from dataclasses import replace

from vos_jax.methods.hmmn.objective import HMMNLoss
from vos_jax.training.experiment import DataConfig, Experiment
from vos_jax.training.experiment_file import load_experiment


def experiment() -> Experiment:
    """The published settings: 384 x 384, batches of 4, Adam at 1e-5."""
    base = load_experiment("stm/pretrain")
    return replace(
        base,
        method="hmmn",
        data=(*base.data, DataConfig(source="pascal-s", folder="PASCAL-S")),
        objective=HMMNLoss(dropout=(1.0, 0.5), dropout_steps=base.steps),
    )
