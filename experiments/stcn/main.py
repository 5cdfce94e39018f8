r"""STCN on video: BL30K, then DAVIS 2017 and YouTube-VOS; or the latter at once.

    vos-jax train stcn/main:bl30k --data DATA --workdir runs/stcn_bl30k \
        --set grown_from=runs/stcn_pretrain/weights.safetensors
    vos-jax train stcn/main --data DATA --workdir runs/stcn_main \
        --set weights=runs/stcn_bl30k/weights.safetensors
    vos-jax train stcn/main:without_bl30k --data DATA --workdir runs/stcn_main_only \
        --set grown_from=runs/stcn_pretrain/weights.safetensors

Three frames, two objects, the sum of both frames' losses, batches of 8 on 2 GPUs.
"""

from dataclasses import replace

from vos_jax.data.recipes import JumpRecipe
from vos_jax.training.experiment import DataConfig, Experiment
from vos_jax.training.experiment_file import load_experiment
from vos_jax.training.optimizers import OptimizerConfig

_DATA = (
    DataConfig(
        source="davis2017", folder="DAVIS", options={"split": "train"}, repeat=5
    ),
    DataConfig(source="youtube-vos", folder="YouTubeVOS"),
)
# Growing in the first 40 % of the epochs.
_JUMPS = ((0, 5), (0.1, 10), (0.2, 15), (0.3, 20), (0.4, 25))


def experiment() -> Experiment:
    """Stage 2, from the weights of BL30K."""
    return _stage(_DATA, 300_000, milestone=250_000)


def bl30k() -> Experiment:
    """Stage 1, from the weights of still images."""
    data = (DataConfig(source="bl30k", folder="BL30K"),)
    found = _stage(data, 500_000, milestone=400_000, last=0.8)
    return replace(found, recipe=replace(found.recipe, cover=(0.5, 1.0)))


def without_bl30k() -> Experiment:
    """Stage 3, from the weights of still images."""
    return _stage(_DATA, 150_000, milestone=125_000)


def _stage(
    data: tuple[DataConfig, ...], steps: int, *, milestone: int, last: float = 0.9
) -> Experiment:
    """A stage whose jumps are small again in the last part of it."""
    jumps = tuple((round(share * steps), jump) for share, jump in (*_JUMPS, (last, 5)))
    return replace(
        load_experiment("stcn/pretrain"),
        method_options={},
        data=data,
        recipe=JumpRecipe(objects=2, spacious=False, jumps=jumps),
        batch=8,
        steps=steps,
        optimizer=OptimizerConfig(
            learning_rate=1e-5,
            schedule="step",
            milestones=(milestone,),
            weight_decay=1e-7,
        ),
    )
