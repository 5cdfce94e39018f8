r"""LCM, second stage: frames of a video from any time, in any order (CVPR 2021).

    vos-jax train lcm/main --data DATA --workdir runs/lcm_yv_without_sequence \
        --set weights=runs/lcm_pretrain/weights.safetensors

Three frames, windows of 384 x 640 around all objects that show in each of them, Adam at
1e-5, 200 epochs of one clip a video. True masks are in the memory. `lcm/main:davis` and
`lcm/main:youtube_vos` have one data set alone; where they are mixed, DAVIS counts five
times, which does not make the epochs longer.
"""

from vos_jax.data.recipes import VideoRecipe
from vos_jax.methods.objective import StepConfig
from vos_jax.training.experiment import DataConfig, Experiment
from vos_jax.training.optimizers import OptimizerConfig

_EPOCHS = 200  # sec. 3.5
_BATCH = 8  # ours
_DAVIS, _YOUTUBE = 60, 3471  # videos


def experiment() -> Experiment:
    """DAVIS 2017 and YouTube-VOS, for the paper's results on DAVIS marked "+YV"."""
    # That DAVIS counts five times is ours.
    return _of(_davis(repeat=5), _youtube(), videos=_DAVIS + _YOUTUBE)


def davis() -> Experiment:
    """DAVIS 2017 alone."""
    return _of(_davis(), videos=_DAVIS)


def youtube_vos() -> Experiment:
    """YouTube-VOS alone, for the paper's results on YouTube-VOS."""
    return _of(_youtube(), videos=_YOUTUBE)


def _of(*data: DataConfig, videos: int) -> Experiment:
    """The published settings; sections are the paper's."""
    steps = _EPOCHS * videos // _BATCH
    return Experiment(
        method="lcm",
        data=data,
        recipe=VideoRecipe(
            # Sec. 3.5: windows around all objects, no limit in time, any order.
            frames=3,
            size=(384, 640),
            window="objects",
            max_skip=None,
            shuffle=True,
            visible_throughout=True,
            # Ours.
            short_side=480,
            flip=0.0,
            objects=3,
        ),
        batch=_BATCH,
        steps=steps,
        optimizer=OptimizerConfig(
            # Sec. 3.5.
            name="adam",
            learning_rate=1e-5,
            # Ours.
            schedule="constant",
            warmup_steps=0,
            weight_decay=0.0,
        ),
        # The loss is that of sec. 3.5; masks and norms are ours.
        step=StepConfig(loss="cross_entropy", memory_mask="gt", norms="frozen"),
        # Ours.
        validation=(
            DataConfig(source="davis2017", folder="DAVIS", options={"split": "val"}),
        ),
        validate_every=steps // 10,
        checkpoint_every=min(2_000, steps // 10),
    )


def _davis(repeat: int = 1) -> DataConfig:
    return DataConfig(
        source="davis2017", folder="DAVIS", options={"split": "train"}, repeat=repeat
    )


def _youtube() -> DataConfig:
    return DataConfig(source="youtube-vos", folder="YouTubeVOS")
