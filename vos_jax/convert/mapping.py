"""Published arrays to Flax leaves and back, by a table that each method owns.

A table names for each leaf of the method's variables (its path, the collection first)
the published tensors it is made of and how their axes lie. PyTorch has outputs first,
`O I H W` and `O I`; Flax has them last, `H W I O` and `I O`.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any, Literal, NamedTuple

import numpy as np

from vos_jax.convert.finite import check_values
from vos_jax.convert.tree import TreePath, flatten, unflatten
from vos_jax.errors import InputError

Layout = Literal["conv", "dense", "vector", "same"]
"""Which axes a published tensor has, see `Source`."""

Shape = tuple[int, ...]
"""Of an array."""

_SHOWN = 20


@dataclass(frozen=True)
class Source:
    """How one Flax leaf is made from published tensors.

    Attributes:
      names: Published names. The kernels of several are joined along the input
        channels, which equals the sum of their separate convolutions.
      layout: "conv" for kernels of one or more spatial axes, "dense" for matrices,
        "vector" for biases, scales and statistics, "same" for what keeps its axes.
      channels: Input channels of each name; equal shares by default.
    """

    names: tuple[str, ...]
    layout: Layout
    channels: tuple[int, ...] = field(default=(), kw_only=True)

    def __post_init__(self) -> None:
        if isinstance(self.names, str) or not self.names:
            raise ValueError(f"names={self.names!r}; use a tuple of published names")
        if len(self.names) > 1 and self.layout not in ("conv", "dense"):
            raise ValueError(
                f"{self.names} are {self.layout!r} and have no input channels to be "
                "joined along; name one"
            )
        if self.channels and len(self.channels) != len(self.names):
            raise ValueError(
                f"channels={self.channels} for {len(self.names)} names; give one each"
            )


class ShapeMismatch(NamedTuple):
    """A published tensor whose shape is not the one its leaf needs."""

    name: str
    found: Shape
    expected: Shape


class ConversionError(InputError):
    """A state dict does not fit a method.

    Attributes:
      missing: Names the method needs and the state dict lacks, sorted.
      unexpected: Names the method has no use for, sorted.
      wrong_shapes: The mismatches, sorted by name.
    """

    def __init__(
        self,
        origin: str,
        missing: Iterable[str],
        unexpected: Iterable[str],
        wrong_shapes: Iterable[ShapeMismatch],
    ) -> None:
        self.missing = tuple(sorted(missing))
        self.unexpected = tuple(sorted(unexpected))
        self.wrong_shapes = tuple(sorted(wrong_shapes))
        shapes = [f"{m.name} {m.found}, not {m.expected}" for m in self.wrong_shapes]
        parts = [
            f"{origin}: does not fit the method: {len(self.missing)} missing, "
            f"{len(self.unexpected)} unexpected, {len(shapes)} of a wrong shape",
            *_listed("missing", self.missing),
            *_listed("unexpected", self.unexpected),
            *_listed("wrong shape", shapes),
            "check that the method and its configuration are those of these weights",
        ]
        super().__init__("; ".join(parts))


def convert_state_dict(
    state_dict: Mapping[str, np.ndarray],
    table: Mapping[TreePath, Source],
    shapes: Mapping[str, Any],
    ignore: Sequence[str] = (),
    *,
    origin: str = "state dict",
) -> dict[str, Any]:
    """Makes a method's variables from published arrays.

    Args:
      state_dict: Arrays by published name.
      table: Where each leaf comes from. A published name may serve several leaves.
      shapes: The variables' tree with leaves that have a `shape`, for instance of
        `jax.eval_shape(method.init, ...)`.
      ignore: Patterns of names that may be there unused, as in a shell:
        `"*.num_batches_tracked"`, `"Encoder_?.mean"`.
      origin: What errors call the state dict; the file's name.

    Returns:
      The nested dict of `shapes`, its leaves new float32 arrays.

    Raises:
      ConversionError: Names are missing or unexpected, or shapes differ. One error
        lists all of them.
      InputError: An array that is needed is not finite, or variances are negative.
      ValueError: The table does not describe exactly the leaves of `shapes`.
    """
    expected = _published_shapes(
        table, {path: tuple(leaf.shape) for path, leaf in flatten(shapes).items()}
    )
    unexpected = {
        name
        for name in state_dict.keys() - expected.keys()
        if not any(fnmatchcase(name, pattern) for pattern in ignore)
    }
    wrong_shapes = [
        ShapeMismatch(name, np.shape(state_dict[name]), shape)
        for name, shape in expected.items()
        if name in state_dict and np.shape(state_dict[name]) != shape
    ]
    missing = expected.keys() - state_dict.keys()
    if missing or unexpected or wrong_shapes:
        raise ConversionError(origin, missing, unexpected, wrong_shapes)
    variances = {s.names[0] for path, s in table.items() if path[-1] == "var"}
    check_values(
        origin,
        ((name, np.asarray(state_dict[name])) for name in sorted(expected)),
        variances.__contains__,
        "download it again, or use an earlier checkpoint of its training",
    )
    return unflatten(
        {
            path: _to_leaf(source.layout, [state_dict[name] for name in source.names])
            for path, source in table.items()
        }
    )


def export_state_dict(
    variables: Mapping[str, Any], table: Mapping[TreePath, Source]
) -> dict[str, np.ndarray]:
    """Makes published arrays from a method's variables: the exact inverse.

    Names that a conversion ignores are not restored.

    Raises:
      ValueError: The table does not describe exactly the leaves of `variables`, or two
        leaves of one published name have grown apart.
    """
    leaves = {path: np.asarray(leaf) for path, leaf in flatten(variables).items()}
    _published_shapes(table, {path: leaf.shape for path, leaf in leaves.items()})
    state_dict: dict[str, np.ndarray] = {}
    for path, source in table.items():
        arrays = _from_leaf(source, leaves[path])
        for name, array in zip(source.names, arrays, strict=True):
            known = state_dict.setdefault(name, array)
            if not np.array_equal(known, array, equal_nan=True):
                raise ValueError(
                    f"{'/'.join(path)} and another leaf are both {name} but differ; "
                    "the published layout cannot hold them"
                )
    return state_dict


def _published_shapes(
    table: Mapping[TreePath, Source], leaves: Mapping[TreePath, Shape]
) -> dict[str, Shape]:
    """Returns the shape every published name must have to give the leaves' shapes."""
    if table.keys() != leaves.keys():
        difference = sorted("/".join(path) for path in table.keys() ^ leaves.keys())
        raise ValueError(
            "the table and the variables do not have the same leaves: "
            + _shortened(difference)
        )
    shapes: dict[str, Shape] = {}
    for path, source in table.items():
        for name, shape in _source_shapes(path, source, leaves[path]).items():
            if shapes.setdefault(name, shape) != shape:
                raise ValueError(
                    f"{'/'.join(path)} needs {name} of shape {shape}, another leaf of "
                    f"{shapes[name]}; give them tensors of their own"
                )
    return shapes


def _source_shapes(path: TreePath, source: Source, leaf: Shape) -> dict[str, Shape]:
    ranks = {"conv": len(leaf) > 2, "dense": len(leaf) == 2, "vector": len(leaf) == 1}
    if not ranks.get(source.layout, True):
        raise ValueError(f"{'/'.join(path)} of shape {leaf} is no {source.layout!r}")
    if source.layout not in ("conv", "dense"):
        return {source.names[0]: leaf}
    *spatial, inputs, outputs = leaf
    channels = _input_channels(source, inputs)
    if sum(channels) != inputs:
        raise ValueError(
            f"{'/'.join(path)} has {inputs} input channels, but its sources {channels}"
        )
    return {
        name: (outputs, count, *spatial)
        for name, count in zip(source.names, channels, strict=True)
    }


def _input_channels(source: Source, inputs: int) -> tuple[int, ...]:
    count = len(source.names)
    return source.channels or (inputs // count,) * count


def _to_leaf(layout: Layout, arrays: list[np.ndarray]) -> np.ndarray:
    array = np.asarray(arrays[0])
    if layout in ("conv", "dense"):
        array = np.concatenate(arrays, axis=1)
        array = array.transpose(*range(2, array.ndim), 1, 0)
    return np.array(array, dtype=np.float32, order="C")


def _from_leaf(source: Source, leaf: np.ndarray) -> list[np.ndarray]:
    if source.layout not in ("conv", "dense"):
        return [leaf.copy()]
    spatial = range(leaf.ndim - 2)
    array = leaf.transpose(leaf.ndim - 1, leaf.ndim - 2, *spatial)
    channels = _input_channels(source, array.shape[1])
    parts = np.split(array, np.cumsum(channels)[:-1], axis=1)
    return [np.array(part, order="C") for part in parts]


def _listed(title: str, items: Sequence[str]) -> list[str]:
    return [f"{title}: {_shortened(items)}"] if items else []


def _shortened(items: Sequence[str]) -> str:
    shown = ", ".join(items[:_SHOWN])
    rest = len(items) - _SHOWN
    return f"{shown} and {rest} more" if rest > 0 else shown
