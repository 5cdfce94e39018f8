r"""`stm-tiny` on generated clips, from scratch: nothing to download, for a laptop.

    vos-jax train stm/tiny --workdir runs/tiny

Clips of three frames with one or two objects, whose scenes move up to four times as
fast as the demo's; norms follow the batch, and the memory encoder begins as a copy of
the query encoder. A second stage on longer clips with frozen norms goes on from there:

    vos-jax train stm/tiny --workdir runs/tiny2 \
        --set weights=runs/tiny/weights.safetensors --set twins=False \
        --set step.norms=frozen --set recipe.frames=6 --set batch=4 \
        --set optimizer.learning_rate=4e-4
"""

from vos_jax.data.sampling import VideoRecipe
from vos_jax.engine.experiment import DataConfig, Experiment
from vos_jax.engine.optimizers import OptimizerConfig
from vos_jax.engine.train_step import StepConfig

_CLIPS = {"size": (144, 224), "objects": (1, 2), "difficulty": (0.2, 0.6)}


def experiment() -> Experiment:
    """A short run that shows everything a long one does."""
    return Experiment(
        method="stm-tiny",
        twins=True,
        data=(DataConfig(source="generated", options={"count": 20_000, **_CLIPS}),),
        recipe=VideoRecipe(
            size=(128, 128), objects=2, cover=(0.8, 1.0), max_skip=3, skip_steps=0
        ),
        batch=8,
        steps=1500,
        optimizer=OptimizerConfig(
            name="adamw",
            learning_rate=1e-3,
            schedule="cosine",
            warmup_steps=100,
            weight_decay=1e-4,
        ),
        step=StepConfig(norms="batch", ema_decay=0.995, clip_norm=1.0),
        validation=(
            DataConfig(
                source="generated",
                options={**_CLIPS, "count": 6, "length": 24, "seed": 1},
            ),
        ),
        validate_every=500,
        checkpoint_every=250,
    )
