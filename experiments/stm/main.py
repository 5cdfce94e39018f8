r"""STM, second stage: real video with a growing skip (ICCV 2019, sec. 3.5).

    vos-jax train stm/main --data DATA --workdir runs/stm_yv \
        --set weights=runs/stm_pretrain/weights.safetensors

Three frames in the order of time, the largest gap between two of them growing from 0 to
25, random 384 x 384, batches of 4, Adam at 1e-5. As for the paper's results marked
"+YV", DAVIS 2017 and YouTube-VOS are mixed; `stm/main:davis` and `stm/main:youtube_vos`
have one of them alone, see `experiments/stm/README.md`. In published code of later
methods DAVIS counts five times, since YouTube-VOS has 58 times as many videos.
"""

from dataclasses import replace

from vos_jax.data.recipes import VideoRecipe
from vos_jax.methods.objective import StepConfig
from vos_jax.training.experiment import DataConfig, Experiment
from vos_jax.training.optimizers import OptimizerConfig

# Sec. 3.5. That DAVIS counts five times is ours.
_DAVIS = DataConfig(
    source="davis2017", folder="DAVIS", options={"split": "train"}, repeat=5
)
_YOUTUBE = DataConfig(source="youtube-vos", folder="YouTubeVOS")


def experiment() -> Experiment:
    """The published settings; sections are the paper's."""
    return Experiment(
        method="stm",
        data=(_DAVIS, _YOUTUBE),
        recipe=VideoRecipe(
            # Sec. 3.5: in the order of time, skips from 0 to 25.
            frames=3,
            size=(384, 384),
            first_skip=0,
            max_skip=25,
            shuffle=False,
            even=False,
            # Ours: the pace, one more every 750 steps, as a public reproduction has it.
            skip_steps=19_500,
            objects=3,
        ),
        batch=4,  # sec. 3.5
        steps=260_000,  # ours
        optimizer=OptimizerConfig(
            # Sec. 3.5.
            name="adam",
            learning_rate=1e-5,
            schedule="constant",
            weight_decay=0.0,  # ours
        ),
        # Sec. 3.5.
        step=StepConfig(loss="cross_entropy", memory_mask="pred", norms="frozen"),
        # Ours.
        validation=(
            DataConfig(source="davis2017", folder="DAVIS", options={"split": "val"}),
        ),
        validate_every=20_000,
        checkpoint_every=2_000,
    )


def davis() -> Experiment:
    """DAVIS 2017 alone; the paper reports 69.2 J and 74.0 F on its val split."""
    return replace(experiment(), data=(replace(_DAVIS, repeat=1),))


def youtube_vos() -> Experiment:
    """YouTube-VOS alone."""
    return replace(experiment(), data=(_YOUTUBE,))
