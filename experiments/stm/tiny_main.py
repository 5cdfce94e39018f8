r"""STM's second stage in small: `stm-tiny` on real video with a growing skip.

    vos-jax train stm/tiny_main --data DATA --workdir runs/tiny_main \
        --set weights=runs/tiny_pretrain/weights.safetensors

`DATA/DAVIS` holds DAVIS 2016, at any resolution. The largest gap between two frames of
a clip grows from 0 to 25, and norms are frozen, as published.
"""

from dataclasses import replace

from vos_jax.data.recipes import VideoRecipe
from vos_jax.methods.objective import StepConfig
from vos_jax.training.experiment import DataConfig, Experiment
from vos_jax.training.experiment_file import load_experiment


def experiment() -> Experiment:
    """A quarter of an hour on two cores."""
    first = load_experiment("stm/tiny_pretrain")
    davis = DataConfig(source="davis2016", folder="DAVIS", options={"split": "train"})
    return replace(
        first,
        twins=False,
        data=(davis,),
        recipe=VideoRecipe(size=(192, 192), objects=1, skip_steps=900),
        batch=4,
        optimizer=replace(first.optimizer, learning_rate=4e-4, warmup_steps=0),
        step=StepConfig(ema_decay=0.995, clip_norm=1.0),
    )
