"""STM, second stage: real video with a growing skip (ICCV 2019, sec. 3.5).

    vos-jax train stm/main --data DATA --workdir runs/stm_main \
        --set weights=runs/stm_pretrain/weights.safetensors

Three frames in the order of time, the largest gap between two of them growing from 0 to
25, random 384 x 384, batches of 4, Adam at 1e-5. As for the paper's results marked
"+YV", DAVIS 2017 and YouTube-VOS are mixed; copy this file for one of them alone. In
published code of later methods DAVIS counts five times, since YouTube-VOS has 58 times
as many videos.
"""

from vos_jax.data.sampling import VideoRecipe
from vos_jax.engine.experiment import DataConfig, Experiment
from vos_jax.engine.optimizers import OptimizerConfig

_DAVIS = DataConfig(
    source="davis2017", folder="DAVIS", options={"split": "train"}, repeat=5
)
_YOUTUBE = DataConfig(source="youtube-vos", folder="YouTubeVOS")


def experiment() -> Experiment:
    """The published settings."""
    return Experiment(
        method="stm",
        data=(_DAVIS, _YOUTUBE),
        recipe=VideoRecipe(),
        batch=4,
        steps=260_000,
        optimizer=OptimizerConfig(name="adam", learning_rate=1e-5),
        validation=(
            DataConfig(source="davis2017", folder="DAVIS", options={"split": "val"}),
        ),
        validate_every=20_000,
        checkpoint_every=2_000,
    )
