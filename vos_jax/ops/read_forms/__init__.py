"""The forms in which a memory read runs, and which one does."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Literal, TypeVar, get_args

from vos_jax.ops.platform import Platform, by_platform
from vos_jax.ops.read_forms import blocks, reference, slots
from vos_jax.ops.read_forms.problem import Problem, Reading

Implementation = Literal["auto", "reference", "slots", "blocks"]
"""`reference`: the plain formula; `slots`: for CPUs, bounded memory, time by what is
filled; `blocks`: for accelerators, bounded memory, no conditions; `auto`: one of the
latter two by platform."""

IMPLEMENTATIONS: tuple[Implementation, ...] = get_args(Implementation)

_T = TypeVar("_T")

_FORMS: dict[str, Callable[[Problem, bool], Reading]] = {
    "reference": reference.read,
    "slots": slots.read,
    "blocks": blocks.read,
}


def read(
    problem: Problem,
    implementation: Implementation,
    platform: Platform | None,
    *,
    with_usage: bool = False,
) -> Reading:
    """Reads in one form or another; they differ by rounding.

    Args:
      problem: The read.
      implementation: The form.
      platform: What the program is built for, for `auto`.
      with_usage: Also how much each memory cell was used.
    """
    *arrays, rules = problem

    def of(form: Callable[[Problem, bool], Reading]) -> Callable[..., Reading]:
        return lambda q, k, v, n: form(Problem(q, k, v, n, rules), with_usage)

    forms = {name: of(form) for name, form in _FORMS.items()}
    return form_of(forms, implementation, platform)(*arrays)


def form_of(
    forms: Mapping[str, Callable[..., _T]],
    implementation: Implementation,
    platform: Platform | None,
) -> Callable[..., _T]:
    """The form of a name; `auto` is `slots` on CPUs and `blocks` elsewhere."""
    if implementation == "auto":
        return partial(by_platform, platform, forms["slots"], forms["blocks"])
    return forms[implementation]
