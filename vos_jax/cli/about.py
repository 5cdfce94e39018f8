"""What a run that segments and scores notes beside its scores, for who reads them."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vos_jax.evaluation import Report

if TYPE_CHECKING:
    from vos_jax.inference.dataset import Progressed


def with_maker(
    report: Report,
    name: str,
    weights: Path | None,
    method: Any,
    done: Sequence["Progressed"],
) -> Report:
    """The report, and what has made its masks how fast.

    A run that found masks there says nothing of the memory they took.

    Args:
      report: Of the masks.
      name: The method's, as it was typed.
      weights: As they were typed; None for those that ship.
      method: With its configuration.
      done: What `segment_dataset` has returned.
    """
    from vos_jax.bench.speed import type_of
    from vos_jax.runtime.machine import machine

    about: dict[str, Any] = {
        "method": name,
        "weights": None if weights is None else str(weights),
        "type": type_of(method),
        "machine": machine()._asdict(),
    }
    segmented = [each._asdict() for each in done if each.frames]
    if segmented:
        about["segmented"] = [_without_nan(each) for each in segmented]
        about["memory"] = peak_memory()
    return replace(report, about={**report.about, **about})


def peak_memory() -> dict[str, int | None]:
    """Most bytes so far of this process and, where the device tells, on one device."""
    from vos_jax.bench.measure import device_peak_bytes, process_bytes

    return {
        "process_peak_bytes": process_bytes("VmHWM"),
        "device_peak_bytes": device_peak_bytes(),
    }


def _without_nan(figures: Mapping[str, Any]) -> dict[str, Any]:
    """A rate that is not known as None, as JSON has it."""
    return {name: x if x == x else None for name, x in figures.items()}
