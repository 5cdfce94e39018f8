"""Published weights to Flax variables and back, and the files they are kept in.

A method owns a table from its Flax leaves to the published names; nothing here knows
a method. NumPy on this side, no JAX; PyTorch only inside the reader of `.pth`.
"""

from vos_jax.convert.mapping import (
    ConversionError,
    Layout,
    ShapeMismatch,
    Source,
    convert_state_dict,
    export_state_dict,
)
from vos_jax.convert.state_dict import read_state_dict
from vos_jax.convert.tree import TreePath
from vos_jax.convert.weights import (
    FORMAT,
    Metadata,
    Weights,
    load_weights,
    read_metadata,
    save_weights,
)

__all__ = [
    "FORMAT",
    "ConversionError",
    "Layout",
    "Metadata",
    "ShapeMismatch",
    "Source",
    "TreePath",
    "Weights",
    "convert_state_dict",
    "export_state_dict",
    "load_weights",
    "read_metadata",
    "read_state_dict",
    "save_weights",
]
