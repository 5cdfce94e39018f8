"""Options of a step: defaults by platform, and what is refused."""

import math

import pytest

from vos_jax.errors import InputError
from vos_jax.methods.objective import StepConfig


def test_loops_are_unrolled_on_cpus_or_if_short_unless_frames_are_recomputed():
    assert StepConfig().unrolled("cpu", 100)
    assert StepConfig().unrolled("cuda", 2)
    assert not StepConfig().unrolled("cuda", 5)
    # Parts of a batch save memory by following one another.
    assert StepConfig().unrolled("cpu")
    assert not StepConfig().unrolled("cuda")
    assert not StepConfig(remat=True).unrolled("cpu", 2)
    assert StepConfig(remat=True, unroll=True).unrolled("cpu", 2)
    assert StepConfig(unroll=True).unrolled("tpu", 100)
    assert not StepConfig(unroll=False).unrolled("cpu", 2)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"loss": "dice"}, "loss='dice': use cross_entropy or bootstrapped"),
        ({"memory_mask": "true"}, "memory_mask='true': use pred or gt"),
        ({"memory_mask": None}, "memory_mask=None: use pred or gt"),
        ({"norms": "group"}, "norms='group': use frozen or batch"),
        ({"norms": ["batch"]}, r"norms=\['batch'\]: use frozen"),
        ({"bootstrap_start": 9, "bootstrap_end": 5}, "bootstrap_start=9, bootstrap_en"),
        ({"bootstrap_start": 1e4}, "bootstrap_start=10000.0: use a whole number"),
        ({"bootstrap_end": "70k"}, "bootstrap_end='70k': use a whole number"),
        ({"bootstrap_fraction": 0.0}, "bootstrap_fraction=0.0: use a number of more"),
        ({"bootstrap_fraction": "all"}, "bootstrap_fraction='all': use a number"),
        ({"statistics_rate": 1.5}, "statistics_rate=1.5: use a number .* up to 1"),
        ({"statistics_rate": True}, "statistics_rate=True: use a number"),
        ({"accumulation": 0}, "accumulation=0: use 1 or more"),
        ({"accumulation": 2.5}, "accumulation=2.5: use a whole number"),
        ({"accumulation": True}, "accumulation=True: use a whole number"),
        ({"remat": "no"}, "remat='no': use True or False"),
        ({"remat": None}, "remat=None: use True or False"),
        ({"unroll": 0}, "unroll=0: use True, False or None"),
        ({"ema_decay": 1.0}, "ema_decay=1.0: use a number from 0 to below 1"),
        ({"ema_decay": "0.99"}, "ema_decay='0.99': use a number"),
        ({"clip_norm": 0.0}, "clip_norm=0.0: use a number of more than 0, or None"),
        ({"clip_norm": math.inf}, "clip_norm=inf: use a number"),
    ],
)
def test_wrong_options_are_named(options, message):
    with pytest.raises(InputError, match=f"^step {message}"):
        StepConfig(**options)


def test_whole_numbers_are_numbers():
    assert StepConfig(statistics_rate=1, ema_decay=0, clip_norm=2).clip_norm == 2
