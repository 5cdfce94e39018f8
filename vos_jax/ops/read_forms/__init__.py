"""The forms in which a memory read runs, and which one does."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Literal, TypeVar, get_args

import jax.numpy as jnp
from jax.sharding import Mesh

from vos_jax.ops.platform import Platform, by_platform
from vos_jax.ops.read_forms import blocks, by_device, pallas, reference, slots
from vos_jax.ops.read_forms.problem import Problem, Reading

Implementation = Literal["auto", "reference", "slots", "blocks", "pallas"]
"""`reference`: the plain formula; `slots`: for CPUs, bounded memory, time by what is
filled; `blocks`: for accelerators, bounded memory, no conditions; `pallas`: one kernel
for the chips that there is one for, where a read has it, else `blocks`; `auto`: `slots`
or `blocks`, by platform."""

IMPLEMENTATIONS: tuple[Implementation, ...] = get_args(Implementation)
"""All of them."""

DIVIDED: tuple[Implementation, ...] = ("auto", "slots", "blocks")
"""Those that read a bank which is divided between devices."""

_T = TypeVar("_T")

_FORMS: dict[str, Callable[..., Reading]] = {
    "reference": reference.read,
    "slots": slots.read,
    "blocks": blocks.read,
    "pallas": pallas.read,
}


def read(
    problem: Problem,
    implementation: Implementation,
    platform: Platform | None,
    *,
    with_usage: bool = False,
    mesh: Mesh | None = None,
) -> Reading:
    """Reads in one form or another; they differ by rounding.

    Args:
      problem: The read.
      implementation: The form.
      platform: What the program is built for; None leaves it to the lowering.
      with_usage: Also how much each memory cell was used.
      mesh: Between whose devices the slots are divided; each reads its own by `slots`
        or `blocks`, without usage. None for one device.

    Raises:
      ValueError: `pallas` has no kernel for such a read, or for the platform; or a
        divided bank cannot be read so.
    """
    if mesh is not None:
        if implementation not in DIVIDED or with_usage:
            raise ValueError(
                f"read={implementation!r} of a bank that is divided between devices:"
                f" use one of {list(DIVIDED)}, without usage"
            )
        return by_device.read(problem, _divided_form(implementation, platform), mesh)
    *arrays, rules = problem

    def of(form: Callable[..., Reading]) -> Callable[..., Reading]:
        return lambda q, k, v, n: form(Problem(q, k, v, n, rules), with_usage, platform)

    forms = {name: of(form) for name, form in _FORMS.items()}
    find = form_of(forms, implementation, platform)
    return find(*map(jnp.asarray, arrays))


def _divided_form(
    implementation: Implementation, platform: Platform | None
) -> by_device.Form:
    """What each device does."""

    def of(part: str) -> Callable[..., Any]:
        def find(*given: Any) -> Any:
            forms = {
                "slots": lambda: getattr(slots, part)(*given, platform),
                "blocks": lambda: getattr(blocks, part)(*given, platform),
            }
            return form_of(forms, implementation, platform)()

        return find

    return by_device.Form(*map(of, by_device.Form._fields))


def form_of(
    forms: Mapping[str, Callable[..., _T]],
    implementation: Implementation,
    platform: Platform | None,
) -> Callable[..., _T]:
    """The form of a name; `blocks` stands in for `pallas` where there is no kernel."""
    if implementation == "auto":
        return partial(by_platform, platform, forms["slots"], forms["blocks"])
    if implementation == "pallas" and implementation not in forms:
        implementation = "blocks"
    return forms[implementation]
