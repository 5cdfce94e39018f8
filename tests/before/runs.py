"""Small runs of each loss, for `train`.

What stays frozen is not differentiated, which makes compilation short.
"""

from dataclasses import replace
from typing import Any

from vos_jax.data.recipes import VideoRecipe
from vos_jax.methods.hmmn.objective import HMMNLoss
from vos_jax.methods.objective import StepConfig
from vos_jax.methods.rde.objective import RDELoss
from vos_jax.training.experiment import DataConfig, Experiment
from vos_jax.training.optimizers import OptimizerConfig

_NARROW = {"backbone": {"depth": 18, "width": 2}, "key_dim": 4}
# Of small gradients more than the sign counts, which rounding may decide.
_OPTIMIZER = OptimizerConfig(
    learning_rate=0.01, schedule="cosine", warmup_steps=2, epsilon=1e-3
)
_CLIPS = {"count": 4, "length": 4, "size": (32, 32), "objects": (1, 2)}


def _run(method: str, options: dict[str, Any], **fields: Any) -> Experiment:
    defaults = {
        "method": method,
        "method_options": _NARROW | options,
        "data": (DataConfig(source="generated", options=_CLIPS),),
        "batch": 2,
        "steps": 8,
        "log_every": 2,
    }
    return Experiment(**{**defaults, **fields})


def stm() -> Experiment:
    """Norms that follow the batch, and averaged weights."""
    return _run(
        "stm",
        {"value_dim": 4, "decoder_dim": 4},
        recipe=VideoRecipe(frames=2, size=(32, 32), objects=2),
        optimizer=replace(_OPTIMIZER, frozen=("*encoder*",)),
        step=StepConfig(norms="batch", ema_decay=0.9),
    )


def hmmn() -> Experiment:
    """Fine reads are dropped at random; the decoder alone learns."""
    fine = {"fine_key_dims": (4, 4), "fine_value_dims": (4, 4), "k": 4}
    return _run(
        "hmmn",
        {"value_dim": 4, "decoder_dim": 4, **fine},
        recipe=VideoRecipe(frames=2, size=(32, 32), objects=1),
        optimizer=replace(
            _OPTIMIZER, frozen=("*encoder*", "*head*", "*skip*", "*fine*")
        ),
        objective=HMMNLoss(dropout=(0.8, 0.2), dropout_steps=8),
    )


def rde() -> Experiment:
    """Both losses of the embeddings."""
    return _run(
        "rde",
        {
            "value_backbone": {"depth": 18, "width": 2},
            "value_dim": 16,
            "decoder_dims": (4, 4, 4),
        },
        recipe=VideoRecipe(frames=3, size=(32, 32), objects=2, perturb=(0.85, 1.0)),
        optimizer=replace(_OPTIMIZER, frozen=("*encoder*", "*skip*")),
        objective=RDELoss(),
    )
