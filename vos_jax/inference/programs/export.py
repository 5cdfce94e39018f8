"""Exporting a method: a file that any JAX runs without this package."""

import dataclasses
from collections.abc import Mapping, Sequence
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax import export, lax

from vos_jax.convert.reason import one_line
from vos_jax.convert.tree import flatten, unflatten
from vos_jax.errors import InputError
from vos_jax.inference.capacity import DEFAULT_FRAMES, slots_for
from vos_jax.inference.checks import check_working_size
from vos_jax.inference.form import common_form, inference_form
from vos_jax.inference.programs.kinds import Argument, Program, Sizes, What, program_of
from vos_jax.inference.programs.open_sizes import (
    LEAST_SLOTS,
    OPTIONS,
    SYMBOLS,
    cannot_be_open,
    sizes_of,
    with_open_sizes,
)
from vos_jax.inference.programs.plain import named_leaves
from vos_jax.inference.programs.program_file import write_program
from vos_jax.methods.base import Method
from vos_jax.runtime.platform import known_platform
from vos_jax.types import MAX_OBJECTS

WeightsPlace = Literal["inside", "argument"]
"""`inside` of the program, or its first `argument`."""

_ENDLESS = 1 << 40


def export_program(
    method: Method,
    variables: Mapping[str, Any],
    path: str | Path,
    what: What = "step",
    *,
    platforms: Sequence[str] = ("cpu",),
    size: tuple[int, int] | None = None,
    objects: int | None = None,
    frames: int | None = None,
    weights: WeightsPlace = "inside",
    name: str | None = None,
    notes: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Writes a function of a method for plain JAX: `path`, and `path`.json beside it.

    What it takes and returns are dictionaries, tuples and lists of arrays:

        start: frame, labels, ids          -> state
        step:  state, frame[, inputs]      -> state, {logits, probs, labels}
        video: frames, labels, ids[, inputs] -> labels
        read:  memory, query, active       -> what the method's read returns

    Frames are uint8 `[H, W, 3]` and `[T, H, W, 3]`, label maps uint8 `[H, W]`, ids
    int32 `[O]` with 0 for a free slot. The description has all names, shapes and types.

    Args:
      method: From `create`; its inference form for the platforms is exported.
      variables: Its weights.
      path: File to write.
      what: `"start"`, `"step"`, `"video"` or `"read"`.
      platforms: `"cpu"`, `"cuda"` (or `"gpu"`), `"rocm"`, `"tpu"`, one or more. None of
        them has to be there.
      size: Height and width of the frames; None leaves them open, multiples of 16 from
        128 on.
      objects: Object slots; None leaves them open.
      frames: Length of the longest video, by which the memory has its slots; a longer
        one overwrites the oldest kept frame, and is refused by `video`. None leaves it
        open; `start`, whose state has a fixed memory, then reserves 100 frames.
      weights: `"inside"` of the program, or its first `"argument"`: a dictionary that
        is written to `path`.npz.
      name: Of the method, to be noted.
      notes: Free text for people.

    Returns:
      The description.

    Raises:
      InputError: An argument is wrong, a size cannot be left open for this method and
        these platforms, or a file cannot be written.
    """
    names = _platforms(platforms)
    given = _given(method, what, size, objects, frames, weights)
    method, variables = _form(method, variables, names)
    where = f"for {type(method).__name__} on {' and '.join(names)}"
    if method.inputs is not None and size is None and what in ("step", "video"):
        raise cannot_be_open(["size"], where)
    arrays = _outside(variables) if weights == "argument" else None
    build = partial(_build, method, variables, arrays, what, names, given)
    (exported, program), conditions = _exported(
        build, _open(what, given), where, frames
    )
    description = {
        "what": what,
        "method": name or type(method).__name__,
        "configuration": _fields(method.config),
        "weights": weights,
        "notes": dict(notes or {}),
        "platforms": list(exported.platforms),
        "vos_jax": version("vos_jax"),
        "jax": jax.__version__,
        "jaxlib": version("jaxlib"),
        "calling_convention": exported.calling_convention_version,
        "slots": None if given.slots is None else int(given.slots),
        "symbols": {x: SYMBOLS[x] for x in _open(what, given)},
        "conditions": list(conditions),
        "arguments": _described_arguments(program, exported, arrays is not None),
        "results": _described_results(program, exported),
    }
    return write_program(path, bytes(exported.serialize()), description, arrays)


def _platforms(platforms: Sequence[str]) -> tuple[str, ...]:
    given = (platforms,) if isinstance(platforms, str) else tuple(platforms)
    if not given:
        raise InputError("platforms: none given; name at least one, cpu, say")
    names: tuple[str, ...] = tuple(known_platform(x) for x in given)
    if len(set(names)) < len(names):
        raise InputError(f"platforms: {', '.join(given)} has one twice; name it once")
    return names


def _given(
    method: Method,
    what: What,
    size: tuple[int, int] | None,
    objects: int | None,
    frames: int | None,
    weights: str,
) -> Sizes:
    """The sizes that are known, with None for those that are open."""
    if weights not in ("inside", "argument"):
        raise InputError(f"weights={weights!r}: use 'inside' or 'argument'")
    if size is not None:
        check_working_size(min(size))
    if objects is not None and not 1 <= objects <= MAX_OBJECTS:
        raise InputError(f"objects={objects}: use 1 to {MAX_OBJECTS}")
    if frames is not None and frames < 1:
        raise InputError(f"frames={frames}: use at least 1")
    if what == "start" and frames is None:
        frames = DEFAULT_FRAMES
    most = method.slots(_ENDLESS)
    slots = None
    if most == method.slots(1) or (what == "video" and most < _ENDLESS >> 20):
        slots = most  # The same for every video, or as many as a bound allows.
    if frames is not None:
        slots = max(slots_for(method, frames), min(LEAST_SLOTS, most))
    height, width = size or (None, None)
    return Sizes(height, width, objects, slots, None)


def _open(what: What, given: Sizes) -> str:
    """Names of the symbols."""
    names = "" if given.height else "hw"
    names += "" if given.objects else "O"
    if what == "video":
        return f"{names}T"
    return names if given.slots is not None else f"{names}N"


def _form(
    method: Method, variables: Mapping[str, Any], platforms: tuple[str, ...]
) -> tuple[Method, Mapping[str, Any]]:
    if len(platforms) == 1:
        return inference_form(method, variables, platform=platforms[0])
    return common_form(method, variables)


def _build(
    method: Method,
    variables: Mapping[str, Any],
    arrays: Mapping[str, np.ndarray] | None,
    what: What,
    platforms: tuple[str, ...],
    given: Sizes,
    symbols: dict[str, Any],
) -> tuple[export.Exported, Program]:
    def slots_of(frames: Any) -> Any:
        # One more than it fills: two slots are written in another way than three.
        return method.slots(frames) + 1

    sizes = sizes_of(given, symbols, slots_of)
    program = program_of(what, method, variables, sizes)
    trees = [argument.tree for argument in program.arguments.values()]
    function = program.function
    if arrays is None:

        def run(*arguments: Any) -> Any:
            # As arguments are: a compiler that sees numbers computes with them before,
            # and chooses other kernels for them.
            held = jax.tree.map(lax.optimization_barrier, dict(variables))
            return function(held, *arguments)

    else:
        types = jax.tree.map(lambda x: x.dtype, dict(variables))
        trees.insert(
            0, {k: jax.ShapeDtypeStruct(x.shape, x.dtype) for k, x in arrays.items()}
        )

        def run(*arguments: Any) -> Any:
            return function(_inside(arguments[0], types), *arguments[1:])

    run.__name__ = f"vos_jax_{what}"
    return export.export(jax.jit(run), platforms=platforms)(*trees), program


def _exported(
    build: Any, names: str, where: str, frames: int | None
) -> tuple[tuple[export.Exported, Program], tuple[str, ...]]:
    """What is exported and on which conditions; names the sizes that cannot be open."""
    more = (f"T <= {frames}",) if "T" in names and frames is not None else ()
    try:
        return with_open_sizes(build, names, more)
    except InputError:
        raise
    # Code that takes no symbol fails in a way of its own.
    except Exception as error:
        closed = [x for x, (own, _, _) in OPTIONS.items() if set(own) & set(names)]
        if "frames" in closed and frames is not None:
            closed.remove("frames")
        if not closed:
            reason = one_line(str(error))
            raise InputError(
                f"{where.removeprefix('for ')}: JAX cannot export it ({reason}); use"
                " read='auto', or fewer platforms"
            ) from error
        raise cannot_be_open(_culprits(build, names, closed), where) from error


def _culprits(build: Any, names: str, candidates: list[str]) -> list[str]:
    """Those of some arguments that alone are too many to leave open; else all."""
    if len(candidates) == 1:
        return candidates
    found = []
    for candidate in candidates:
        own = OPTIONS[candidate][0]
        closed = {x: _EXAMPLES[x] for x in names if x not in own}
        try:
            with_open_sizes(
                partial(_closed, build, closed), "".join(x for x in names if x in own)
            )
        except Exception:
            found.append(candidate)
    return found or candidates


def _closed(build: Any, closed: dict[str, Any], symbols: dict[str, Any]) -> Any:
    return build({**closed, **symbols})


_EXAMPLES = {"O": 2, "N": 4, "T": 6, "h": 8, "w": 12}


def _outside(variables: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Weights by their paths, in types that NumPy's files know."""
    arrays = {"/".join(path): np.asarray(x) for path, x in flatten(variables).items()}
    return {
        k: x.view(np.uint16) if x.dtype == jnp.bfloat16 else x
        for k, x in arrays.items()
    }


def _inside(arrays: Mapping[str, Any], types: Any) -> dict[str, Any]:
    """The variables that `_outside` made these of."""
    tree = unflatten({tuple(path.split("/")): x for path, x in arrays.items()})

    def restored(array: Any, dtype: Any) -> Any:
        if array.dtype == dtype:
            return array
        return lax.bitcast_convert_type(array, dtype)

    found: dict[str, Any] = jax.tree.map(restored, tree, types)
    return found


def _fields(config: Any) -> dict[str, Any]:
    known = dataclasses.is_dataclass(config) and not isinstance(config, type)
    return dataclasses.asdict(config) if known else {"repr": repr(config)}


_WEIGHTS = "FILE.npz as a dictionary; two bytes of bfloat16 are uint16"


def _described_arguments(
    program: Program, exported: export.Exported, with_weights: bool
) -> list[dict[str, Any]]:
    arguments = dict(program.arguments)
    if with_weights:
        arguments = {"variables": Argument(None, _WEIGHTS), **arguments}
    trees, _ = jax.tree.unflatten(exported.in_tree, exported.in_avals)
    return [
        {
            "name": name,
            "about": argument.about,
            "leaves": [
                _described(path, leaf)
                for path, leaf in named_leaves(tree, name).items()
            ],
        }
        for (name, argument), tree in zip(arguments.items(), trees, strict=True)
    ]


def _described_results(
    program: Program, exported: export.Exported
) -> list[dict[str, Any]]:
    tree = jax.tree.unflatten(exported.out_tree, exported.out_avals)
    return [
        {**_described(path, leaf), "about": _about(program.about, path)}
        for path, leaf in named_leaves(tree, "").items()
    ]


def _about(about: Mapping[str, str], path: str) -> str:
    """The words of a path, or of what it is in."""
    parts = path.split(".")
    for end in range(len(parts), 0, -1):
        if (words := about.get(".".join(parts[:end]))) is not None:
            return words
    return about.get("", "")


def _described(path: str, leaf: Any) -> dict[str, Any]:
    shape = [x if isinstance(x, int) else str(x) for x in leaf.shape]
    return {"name": path, "shape": shape, "dtype": str(leaf.dtype)}
