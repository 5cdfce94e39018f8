r"""LCM, second stage: frames of a video from any time, in any order (CVPR 2021).

    vos-jax train lcm/main --data DATA --workdir runs/lcm_main \
        --set weights=runs/lcm_pretrain/weights.safetensors

Three frames, windows of 384 x 640 around all objects that show in each of them, Adam at
1e-5, 200 epochs of one clip a video. True masks are in the memory. `lcm/main:davis` and
`lcm/main:youtube_vos` have one data set alone; where they are mixed, DAVIS counts five
times, which does not make the epochs longer.
"""

from dataclasses import replace

from vos_jax.data.recipes import VideoRecipe
from vos_jax.training.experiment import Experiment
from vos_jax.training.experiment_file import load_experiment
from vos_jax.training.optimizers import OptimizerConfig

_EPOCHS = 200
_DAVIS, _YOUTUBE = 60, 3471  # videos


def experiment() -> Experiment:
    """DAVIS 2017 and YouTube-VOS, for the paper's results on DAVIS marked "+YV"."""
    return _of("stm/main", _DAVIS + _YOUTUBE)


def davis() -> Experiment:
    """DAVIS 2017 alone."""
    return _of("stm/main:davis", _DAVIS)


def youtube_vos() -> Experiment:
    """YouTube-VOS alone, for the paper's results on YouTube-VOS."""
    return _of("stm/main:youtube_vos", _YOUTUBE)


def _of(data: str, videos: int) -> Experiment:
    base = load_experiment("lcm/pretrain")
    steps = _EPOCHS * videos // base.batch
    return replace(
        base,
        data=load_experiment(data).data,
        recipe=VideoRecipe(
            size=(384, 640),
            short_side=480,
            window="objects",
            flip=0.0,
            max_skip=None,
            shuffle=True,
            visible_throughout=True,
        ),
        steps=steps,
        optimizer=OptimizerConfig(learning_rate=1e-5),
        validate_every=steps // 10,
        checkpoint_every=min(base.checkpoint_every, steps // 10),
    )
