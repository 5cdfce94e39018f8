"""Running an exported program, with every argument checked; builds no network."""

import re
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax import export

from vos_jax.convert.reason import one_line
from vos_jax.errors import InputError
from vos_jax.inference.programs.plain import named_leaves
from vos_jax.inference.programs.program_file import description_path, read_program
from vos_jax.runtime.platform import platform_name

# A length such as 16*h or O + 1.
_LINEAR = re.compile(r"(?:(\d+)\*)?([A-Za-z])(?: ([+-]) (\d+))?")


class LoadedProgram:
    """A program from a file; call it with its arguments in their order.

    Attributes:
      description: What FILE.json says.
      exported: What `jax.export` reads.
    """

    def __init__(
        self, path: Path, description: Mapping[str, Any], exported: export.Exported
    ) -> None:
        self.description = description
        self.exported = exported
        self._path = path
        self._call = jax.jit(exported.call)
        self._donating: Any = None

    def __call__(self, *arguments: Any, donate: bool = False) -> Any:
        """Runs it.

        Args:
          *arguments: As the description lists them, plain trees of arrays.
          donate: Give the state away, which a step then changes where it is.

        Returns:
          Plain trees of `jax.Array`.

        Raises:
          InputError: An argument is missing or has another shape, type or value than
            the program takes, `donate` where there is no state, or JAX cannot run it.
        """
        self._check(arguments)
        program = self._call
        if donate:
            names = [x["name"] for x in self.description["arguments"]]
            if "state" not in names:
                raise InputError(
                    f"{self._path}: takes no state to give away; leave donate out"
                )
            if self._donating is None:
                place = names.index("state")
                self._donating = jax.jit(self.exported.call, donate_argnums=place)
            program = self._donating
        try:
            return program(*arguments)
        except (ValueError, TypeError, NotImplementedError) as error:
            raise InputError(
                f"{self._path}: JAX cannot run it with these arguments"
                f" ({one_line(str(error))}); {_versions(self.description)}"
            ) from error

    def _check(self, arguments: Sequence[Any]) -> None:
        expected = self.description["arguments"]
        if len(arguments) != len(expected):
            names = ", ".join(x["name"] for x in expected)
            raise InputError(
                f"{self._path}: {len(arguments)} arguments given, it takes {names}"
            )
        symbols: dict[str, tuple[int, str]] = {}
        for argument, given in zip(expected, arguments, strict=True):
            self._check_argument(argument, given, symbols)
        for condition in self.description["conditions"]:
            self._check_condition(condition, symbols)
        values = {
            x["name"]: given for x, given in zip(expected, arguments, strict=True)
        }
        if {"labels", "ids"} <= values.keys():
            _check_ids(np.asarray(values["labels"]), np.asarray(values["ids"]))

    def _check_argument(
        self,
        argument: Mapping[str, Any],
        given: Any,
        symbols: dict[str, tuple[int, str]],
    ) -> None:
        wanted = {x["name"]: x for x in argument["leaves"]}
        found = named_leaves(given, argument["name"])
        if wrong := sorted(wanted.keys() ^ found.keys()):
            state = "is missing" if wrong[0] in wanted else "is not taken"
            raise InputError(
                f"{wrong[0]}: {state}; {description_path(self._path)} lists what"
                f" {argument['name']} is"
            )
        for name, leaf in found.items():
            shape, dtype = wanted[name]["shape"], wanted[name]["dtype"]
            own = getattr(leaf, "dtype", None)
            if own is None or str(jax.dtypes.canonicalize_dtype(own)) != dtype:
                kind = type(leaf).__name__ if own is None else own
                raise InputError(f"{name}: dtype {kind} given, {dtype} needed")
            if not _fits(name, leaf.shape, shape, symbols):
                known = ", ".join(f"{x} = {n}" for x, (n, _) in symbols.items())
                raise InputError(
                    f"{name}: shape {_text(leaf.shape)} given, {_text(shape)} needed"
                    f"{known and f' where {known}'}; give it so, or export again for it"
                )

    def _check_condition(
        self, condition: str, symbols: Mapping[str, tuple[int, str]]
    ) -> None:
        side, sign, number = re.split(r" ([<>]=) ", condition)
        linear = _LINEAR.fullmatch(side)
        if linear is None or linear[2] not in symbols:
            return
        factor, symbol, plus, more = linear.groups()
        length, name = symbols[symbol]
        value = length * int(factor or 1) + int(f"{plus or '+'}{more or 0}")
        if not (value >= int(number) if sign == ">=" else value <= int(number)):
            meaning = self.description.get("symbols", {}).get(symbol, symbol)
            raise InputError(
                f"{name}: {symbol} = {length} ({meaning}), but this program needs"
                f" {condition}; give others, or export again for this size"
            )


def load_program(path: str | Path) -> LoadedProgram:
    """Loads what `export_program` has written, with FILE.json beside it.

    Raises:
      InputError: A file is missing, damaged or no program, it is for other platforms
        than that of the default device, or of a version that this JAX cannot read.
    """
    path = Path(path)
    content, description = read_program(path)
    convention = description["calling_convention"]
    least = export.minimum_supported_calling_convention_version
    most = export.maximum_supported_calling_convention_version
    if not least <= convention <= most:
        raise InputError(
            f"{path}: has calling convention {convention}, this JAX reads {least} to"
            f" {most}; {_versions(description)}"
        )
    platform = platform_name()
    if platform not in description["platforms"]:
        raise InputError(
            f"{path}: is for {' and '.join(description['platforms'])}, this JAX runs on"
            f" {platform}; export it with --platform {platform}"
        )
    try:
        exported = export.deserialize(bytearray(content))
    except ImportError as error:
        raise InputError(
            f"{path}: JAX needs the package flatbuffers to read it; pip install"
            " flatbuffers"
        ) from error
    # What is no such file fails in ways of its own.
    except Exception as error:
        raise InputError(
            f"{path}: this JAX cannot read it ({one_line(str(error))});"
            f" {_versions(description)}"
        ) from error
    return LoadedProgram(path, description, exported)


def _versions(description: Mapping[str, Any]) -> str:
    made = description["jax"]
    if made == jax.__version__:
        return f"it was made by this JAX, {made}: export it again"
    return (
        f"it was made by JAX {made} and this is {jax.__version__} (jaxlib"
        f" {version('jaxlib')}): export it again, or use that version"
    )


def _fits(
    name: str,
    shape: Sequence[int],
    wanted: Sequence[int | str],
    symbols: dict[str, tuple[int, str]],
) -> bool:
    """Whether a shape is one that is wanted; notes what its symbols are."""
    if len(shape) != len(wanted):
        return False
    for length, dimension in zip(shape, wanted, strict=True):
        if isinstance(dimension, int):
            if length != dimension:
                return False
            continue
        linear = _LINEAR.fullmatch(dimension)
        if linear is None:  # JAX looks at these.
            continue
        factor, symbol, plus, more = linear.groups()
        rest = length - int(f"{plus or '+'}{more or 0}")
        value, remainder = divmod(rest, int(factor or 1))
        if remainder or symbols.setdefault(symbol, (value, name))[0] != value:
            return False
    return True


def _text(shape: Sequence[int | str]) -> str:
    return f"[{', '.join(map(str, shape))}]"


def _check_ids(labels: np.ndarray, ids: np.ndarray) -> None:
    """What no program can refuse: objects that are none."""
    real = ids[ids != 0].tolist()
    if not real:
        raise InputError("ids: no object in them; give the labels to follow")
    if len(set(real)) < len(real) or not all(0 < x < 255 for x in real):
        raise InputError(f"ids: {real}; they must differ and lie in 1..254")
    if missing := sorted(set(real) - set(np.unique(labels).tolist())):
        raise InputError(f"labels: no pixel of object {', '.join(map(str, missing))}")
