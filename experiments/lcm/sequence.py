r"""LCM, third stage: frames of a video in their order, as in a test (CVPR 2021).

    vos-jax train lcm/sequence --data DATA --workdir runs/lcm_sequence \
        --set weights=runs/lcm_main/weights.safetensors

Three frames with one gap, of 1 to 5 labelled frames, and the soft masks that the
network finds are in its memory, with their gradients. SGD at 3e-4, 50 epochs. Data,
windows and objects are those of `lcm/main`; `lcm/sequence:davis` and
`lcm/sequence:youtube_vos` follow its stages of one data set.
"""

from dataclasses import replace

from vos_jax.data.recipes import VideoRecipe
from vos_jax.training.experiment import Experiment
from vos_jax.training.experiment_file import load_experiment
from vos_jax.training.optimizers import OptimizerConfig


def experiment() -> Experiment:
    """DAVIS 2017 and YouTube-VOS."""
    return _after("lcm/main")


def davis() -> Experiment:
    """DAVIS 2017 alone."""
    return _after("lcm/main:davis")


def youtube_vos() -> Experiment:
    """YouTube-VOS alone."""
    return _after("lcm/main:youtube_vos")


def _after(name: str) -> Experiment:
    """The third stage after a second one, a quarter of its epochs long."""
    base = load_experiment(name)
    assert isinstance(base.recipe, VideoRecipe)
    return replace(
        base,
        recipe=replace(
            base.recipe,
            max_skip=4,
            skip_steps=0,
            labelled_skip=True,
            even=True,
            shuffle=False,
        ),
        steps=base.steps // 4,
        optimizer=OptimizerConfig(name="sgd", learning_rate=3e-4, momentum=0.9),
        step=replace(base.step, memory_mask="pred"),
        validate_every=base.validate_every // 4,
        checkpoint_every=base.checkpoint_every // 4,
    )
