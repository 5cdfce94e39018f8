"""The kinds of memory read that `vos-jax bench read` times, by their names.

A further kind is a further class, and an entry here.
"""

from collections.abc import Sequence
from dataclasses import replace

from vos_jax.bench.reads.dense import L2, KernelGuided, SpaceTime
from vos_jax.bench.reads.fine import Candidates, Guided
from vos_jax.bench.reads.kind import ReadKind
from vos_jax.bench.reads.position_map import PositionMap
from vos_jax.bench.reads.recurrent import Recurrent
from vos_jax.errors import InputError

_ALL: tuple[ReadKind, ...] = (
    SpaceTime(),
    L2(),
    KernelGuided(),
    Guided(),
    Guided(name="guided-4", key_dim=64, value_dim=128, stride=4),
    Candidates(),
    PositionMap(),
    Recurrent(name="recurrent-key", key_dim=64),
    Recurrent(name="recurrent-value", key_dim=512),
)

KINDS: dict[str, ReadKind] = {kind.name: kind for kind in _ALL}
"""By the names that the command line takes."""


def kinds_by_name(
    names: Sequence[str] | None, top_k: Sequence[int] | None = None
) -> tuple[ReadKind, ...]:
    """Kinds of read, each once; all of them for None.

    Args:
      names: Of `KINDS`.
      top_k: Numbers of cells in place of the published ones, where some are kept.

    Raises:
      InputError: There is no kind of a name, or none that keeps some cells.
    """
    for name in names or ():
        if name not in KINDS:
            *others, last = KINDS
            known = f"{', '.join(others)} or {last}"
            raise InputError(f"reads: no kind {name!r}; use {known}")
    kinds = [KINDS[name] for name in dict.fromkeys(KINDS if names is None else names)]
    if top_k is None:
        return tuple(kinds)
    if not any(kind.top_k for kind in kinds):
        read = " and ".join(kind.name for kind in kinds)
        raise InputError(f"top_k: {read} reads keep all cells; leave it out")
    return tuple(
        replace(kind, top_k=tuple(top_k)) if kind.top_k else kind for kind in kinds
    )
