r"""HMMN, second stage: real video with a growing skip (ICCV 2021, sec. 4.1).

    vos-jax train hmmn/main --data DATA --workdir runs/hmmn_yv \
        --set weights=runs/hmmn_pretrain/weights.safetensors

STM's second stage. The share of the fine reads that are dropped falls from a half to
none, so that the network that training leaves is the one that segments videos.
`hmmn/main:davis` and `hmmn/main:youtube_vos` have one data set alone; the paper scores
its models of YouTube-VOS on YouTube-VOS, and on DAVIS those of both ("+YV") and of
DAVIS alone.
"""

from dataclasses import replace

from vos_jax.data.recipes import VideoRecipe
from vos_jax.methods.hmmn.objective import HMMNLoss
from vos_jax.methods.objective import StepConfig
from vos_jax.training.experiment import DataConfig, Experiment
from vos_jax.training.optimizers import OptimizerConfig

_STEPS = 260_000  # ours
# Sec. 4.1. That DAVIS counts five times is ours.
_DAVIS = DataConfig(
    source="davis2017", folder="DAVIS", options={"split": "train"}, repeat=5
)
_YOUTUBE = DataConfig(source="youtube-vos", folder="YouTubeVOS")


def experiment() -> Experiment:
    """DAVIS 2017 and YouTube-VOS; sections are the paper's.

    The 32 coarse cells whose fine cells are read at stride 8, and a quarter of them at
    stride 4 (sec. 4.1), are the method's defaults.
    """
    return Experiment(
        method="hmmn",
        data=(_DAVIS, _YOUTUBE),
        recipe=VideoRecipe(
            # Sec. 4.1: skips from 0 to 25.
            frames=3,
            size=(384, 384),
            first_skip=0,
            max_skip=25,
            # Ours: in the order of time, at the pace of `stm/main`.
            shuffle=False,
            even=False,
            skip_steps=19_500,
            objects=3,
        ),
        batch=4,  # sec. 4.1
        steps=_STEPS,
        optimizer=OptimizerConfig(
            # Sec. 4.1.
            name="adam",
            learning_rate=1e-5,
            schedule="constant",
            weight_decay=0.0,  # ours
        ),
        # Sec. 3.2 and 4.1: from 0.5 to 0. On a straight line over the stage: ours.
        objective=HMMNLoss(dropout=(0.5, 0.0), dropout_steps=_STEPS),
        # The loss is that of sec. 4.1; masks and norms are as in STM: ours.
        step=StepConfig(loss="cross_entropy", memory_mask="pred", norms="frozen"),
        # Ours.
        validation=(
            DataConfig(source="davis2017", folder="DAVIS", options={"split": "val"}),
        ),
        validate_every=20_000,
        checkpoint_every=2_000,
    )


def davis() -> Experiment:
    """DAVIS 2017 alone; the paper reports a J&F of 80.4 on its val split."""
    return replace(experiment(), data=(replace(_DAVIS, repeat=1),))


def youtube_vos() -> Experiment:
    """YouTube-VOS alone; the paper reports 82.6 for 2018 and 82.5 for 2019."""
    return replace(experiment(), data=(_YOUTUBE,))
