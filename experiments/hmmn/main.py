r"""HMMN, second stage: real video with a growing skip (ICCV 2021, sec. 4.1).

    vos-jax train hmmn/main --data DATA --workdir runs/hmmn_main \
        --set weights=runs/hmmn_pretrain/weights.safetensors

STM's second stage. The share of the fine reads that are dropped falls from a half to
none, so that the network that training leaves is the one that segments videos.
`hmmn/main:davis` and `hmmn/main:youtube_vos` have one data set alone; the paper scores
its models of YouTube-VOS on YouTube-VOS, and on DAVIS those of both ("+YV") and of
DAVIS alone.
"""

from dataclasses import replace

from vos_jax.methods.hmmn.objective import HMMNLoss
from vos_jax.training.experiment import Experiment
from vos_jax.training.experiment_file import load_experiment


def experiment() -> Experiment:
    """DAVIS 2017 and YouTube-VOS."""
    return _of("stm/main")


def davis() -> Experiment:
    """DAVIS 2017 alone; the paper reports a J&F of 80.4 on its val split."""
    return _of("stm/main:davis")


def youtube_vos() -> Experiment:
    """YouTube-VOS alone; the paper reports 82.6 for 2018 and 82.5 for 2019."""
    return _of("stm/main:youtube_vos")


def _of(name: str) -> Experiment:
    base = load_experiment(name)
    return replace(
        base,
        method="hmmn",
        objective=HMMNLoss(dropout=(0.5, 0.0), dropout_steps=base.steps),
    )
