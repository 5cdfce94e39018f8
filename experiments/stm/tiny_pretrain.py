"""STM's first stage in small: `stm-tiny` on clips made from still images.

    vos-jax train stm/tiny_pretrain --data DATA --workdir runs/tiny_pretrain

`DATA/stills` holds pictures in `JPEGImages` and label maps of the same names in
`Annotations`; some hundred pictures are enough to see masks follow. `stm/tiny_main`
goes on from the weights. It begins at random, not at ImageNet's weights as published,
so norms follow the batch and the memory encoder starts as a copy of the query encoder.
"""

from vos_jax.data.recipes import StaticRecipe
from vos_jax.methods.objective import StepConfig
from vos_jax.training.experiment import DataConfig, Experiment
from vos_jax.training.optimizers import OptimizerConfig

# Generated videos, held out: their seed differs from those that are trained on.
_VALIDATION = DataConfig(
    source="generated",
    options={
        "size": (144, 224),
        "objects": (1, 2),
        "difficulty": (0.2, 0.6),
        "count": 6,
        "length": 24,
        "seed": 1,
    },
)


def experiment() -> Experiment:
    """A quarter of an hour on two cores."""
    return Experiment(
        method="stm-tiny",
        twins=True,
        data=(
            DataConfig(
                source="pairs",
                folder="stills",
                options={
                    "images": "JPEGImages",
                    "masks": "Annotations",
                    "kind": "ids",
                },
            ),
        ),
        recipe=StaticRecipe(size=(128, 128), objects=1, min_share=0.01),
        batch=8,
        steps=1200,
        optimizer=OptimizerConfig(
            name="adamw",
            learning_rate=1e-3,
            schedule="cosine",
            warmup_steps=100,
            weight_decay=1e-4,
        ),
        step=StepConfig(norms="batch", ema_decay=0.995, clip_norm=1.0),
        validation=(_VALIDATION,),
        validate_every=400,
        checkpoint_every=200,
    )
