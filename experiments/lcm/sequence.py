r"""LCM, third stage: frames of a video in their order, as in a test (CVPR 2021).

    vos-jax train lcm/sequence --data DATA --workdir runs/lcm_yv \
        --set weights=runs/lcm_yv_without_sequence/weights.safetensors

Three frames with one gap, of 1 to 5 labelled frames, and the soft masks that the
network finds are in its memory, with their gradients. SGD at 3e-4, 50 epochs. Data,
windows and objects are those of `lcm/main`; `lcm/sequence:davis` and
`lcm/sequence:youtube_vos` follow its stages of one data set.
"""

from vos_jax.data.recipes import VideoRecipe
from vos_jax.methods.objective import StepConfig
from vos_jax.training.experiment import DataConfig, Experiment
from vos_jax.training.optimizers import OptimizerConfig

_EPOCHS = 50  # sec. 3.5
_BATCH = 8  # ours
_DAVIS, _YOUTUBE = 60, 3471  # videos


def experiment() -> Experiment:
    """DAVIS 2017 and YouTube-VOS."""
    # That DAVIS counts five times is ours.
    return _of(_davis(repeat=5), _youtube(), videos=_DAVIS + _YOUTUBE)


def davis() -> Experiment:
    """DAVIS 2017 alone."""
    return _of(_davis(), videos=_DAVIS)


def youtube_vos() -> Experiment:
    """YouTube-VOS alone."""
    return _of(_youtube(), videos=_YOUTUBE)


def _of(*data: DataConfig, videos: int) -> Experiment:
    """The published settings; sections are the paper's."""
    steps = _EPOCHS * videos // _BATCH
    return Experiment(
        method="lcm",
        data=data,
        recipe=VideoRecipe(
            # Sec. 3.5: windows around all objects; in order, 1 to 5 frames on.
            frames=3,
            size=(384, 640),
            window="objects",
            max_skip=4,
            skip_steps=0,
            shuffle=False,
            # Ours: one gap for a clip, counted in labelled frames; the same objects as
            # in the second stage.
            even=True,
            labelled_skip=True,
            visible_throughout=True,
            short_side=480,
            flip=0.0,
            objects=3,
        ),
        batch=_BATCH,
        steps=steps,
        optimizer=OptimizerConfig(
            # Sec. 3.5.
            name="sgd",
            learning_rate=3e-4,
            # Ours.
            momentum=0.9,
            schedule="constant",
            weight_decay=0.0,
        ),
        # Loss and masks are those of sec. 3.5; norms are ours.
        step=StepConfig(loss="cross_entropy", memory_mask="pred", norms="frozen"),
        # Ours.
        validation=(
            DataConfig(source="davis2017", folder="DAVIS", options={"split": "val"}),
        ),
        validate_every=steps // 10,
        checkpoint_every=min(500, steps // 10),
    )


def _davis(repeat: int = 1) -> DataConfig:
    return DataConfig(
        source="davis2017", folder="DAVIS", options={"split": "train"}, repeat=repeat
    )


def _youtube() -> DataConfig:
    return DataConfig(source="youtube-vos", folder="YouTubeVOS")
