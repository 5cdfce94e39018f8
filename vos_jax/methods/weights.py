"""A method together with its weights file."""

import dataclasses
import json
import zlib
from collections.abc import Mapping
from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from vos_jax.convert.mapping import convert_state_dict, export_state_dict
from vos_jax.convert.reason import one_line
from vos_jax.convert.state_dict import read_state_dict
from vos_jax.convert.tree import flatten, is_below, unflatten
from vos_jax.convert.weights import load_weights as read_weights
from vos_jax.convert.weights import read_metadata
from vos_jax.convert.weights import save_weights as write_weights
from vos_jax.errors import InputError
from vos_jax.methods.base import Method, settings_of
from vos_jax.methods.registry import (
    METHODS,
    create,
    find_entry,
    known_name,
    method_file,
    stored_name,
    unknown_method,
)
from vos_jax.methods.torch_names import Table, resnet
from vos_jax.nn.layers import lay_out
from vos_jax.nn.resnet import ResNet, ResNetConfig
from vos_jax.runtime.out_of_memory import memory_told
from vos_jax.runtime.python_file import python_file_id

BACKBONES = {f"resnet{depth}": depth for depth in (18, 34, 50, 101)}
"""ImageNet networks in torchvision's naming that `convert` takes beside methods."""


def shipped_weights(name: str) -> Path:
    """The weights of a method that ship with the package.

    Raises:
      InputError: None ship for it.
    """
    name = known_name(name)
    folder = Path(str(resources.files("vos_jax"))) / "assets"
    path = folder / f"{name.replace('-', '_')}.safetensors"
    if not path.is_file():
        raise InputError(
            f"method {name!r} comes without weights; give --weights FILE.safetensors,"
            " made by `vos-jax convert`"
        )
    return path


def weights_file(name: str, path: str | Path | None) -> Path:
    """The file that holds a method's weights.

    Args:
      name: Of the method.
      path: The file; None for the weights that ship with the method. The name of a
        method that comes with weights stands for these, unless a file is called so.

    Raises:
      InputError: None are given, and none ship.
    """
    if path is None:
        return shipped_weights(name)
    if known_name(str(path)) in METHODS and not Path(path).exists():
        return shipped_weights(str(path))
    return Path(path)


def load_weights(path: str | Path) -> dict[str, Any]:
    """Variables from a weights file written by this package, as float32 arrays.

    Raises:
      InputError: The file is missing, damaged, not a weights file, or a value in it is
        not finite.
      OutOfMemory: An `InputError` that is a `MemoryError`, too.
    """
    with memory_told(str(path), "end other programs that use the memory"):
        stored = jax.tree.map(_as_float32, read_weights(path).variables)
        placed: dict[str, Any] = jax.device_put(stored)
        return placed


def _as_float32(array: np.ndarray) -> np.ndarray:
    """What is stored in half the space, as it is computed with."""
    return array.astype(np.float32) if array.dtype == np.float16 else array


def save_weights(
    path: str | Path,
    name: str,
    method: Method,
    variables: Mapping[str, Any],
    notes: Mapping[str, str] | None = None,
    half: bool = False,
) -> None:
    """Writes variables with what is needed to build their method again.

    Those of an inference form are laid out as all are, and float32 again.

    Args:
      path: The `.safetensors` to write.
      name: Of the method.
      method: Whose weights they are.
      variables: Of the method, or of an inference form of it.
      notes: Free text for people.
      half: Store kernels in float16, in half the space and to three digits; biases and
        norms, of which there are few, stay float32. They are float32 when they are
        loaded.

    Raises:
      InputError: The file cannot be written, or a kernel is too large for float16.
    """
    config = architecture(method)
    if getattr(method.config, "platform", None) is not None:
        plain = method.built_for(None)
        params = lay_out(variables["params"], variable_shapes(plain)["params"])
        variables = {**variables, "params": params}
    wide = jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), dict(variables))
    host = jax.device_get(wide)
    if half:
        host = jax.tree.map(_halved, host)
    write_weights(path, host, method=stored_name(name), config=config, notes=notes)


def _halved(array: np.ndarray) -> np.ndarray:
    """In float16 where it is a kernel; what is too large becomes infinite."""
    with np.errstate(over="ignore"):
        return array.astype(np.float16) if array.ndim > 1 else array


def architecture(method: Method) -> dict[str, Any]:
    """The fields of a method's configuration that its weights depend on."""
    fields = dataclasses.asdict(method.config)
    settings = settings_of(method.config)
    return {name: x for name, x in fields.items() if name not in settings}


def load_model(
    name: str, path: str | Path | None = None, **overrides: Any
) -> tuple[Method, dict[str, Any]]:
    """A method and its weights, checked against each other.

    A method also takes the weights of those that its entry `reads`, and a network that
    does without one of its `parts` takes weights that have it; they are returned
    without.

    Args:
      name: Of the method.
      path: Weights file, or the name of a `-tiny` method for those that ship with it;
        None for the method's own.
      **overrides: Fields of the configuration to change: none of the network's, unless
        to do without a part of it.

    Raises:
      InputError: The file is damaged, of another method or does not fit, or as
        `create`.
    """
    entry, own = find_entry(name), stored_name(name)
    path = weights_file(name, path)
    metadata = read_metadata(path)
    if metadata.method not in (own, *entry.reads):
        raise InputError(
            f"{path}: weights of {metadata.method!r}, not of {own!r};"
            f" use --method {metadata.method} or another file"
        )
    origin = name if metadata.method == own else metadata.method
    stored, shapes = _stored(path, origin, metadata.config)
    method, surplus = _fitted(path, origin, stored, name, overrides)
    variables = load_weights(path)
    _check_shapes(path, shapes, variables)
    return method, _without(surplus, variables)


def _fitted(
    path: str | Path,
    origin: str,
    stored: Method,
    name: str,
    overrides: Mapping[str, Any],
) -> tuple[Method, set[str]]:
    """The method for weights of `origin`, and paths in them that it does without."""
    parts, fields = find_entry(origin).parts, architecture(stored)
    known = vars(find_entry(name).config)
    # A method that lacks such a field lacks those parts, too.
    own = {k: x for k, x in fields.items() if k in known or k not in parts}
    method = create(name, **{**own, **overrides})
    network = architecture(method)
    surplus: set[str] = set()
    for option, x in fields.items():
        wanted = network.get(option, False)
        if option in parts:
            has, needs = _values(x), _values(wanted)
            if lacking := _paths(parts[option], needs - has):
                raise InputError(
                    f"{path}: its weights lack {' and '.join(lacking)}, which"
                    f" {option}={wanted!r} needs; leave that option out"
                )
            surplus.update(_paths(parts[option], has - needs))
        elif wanted != x:
            raise InputError(
                f"{path}: its weights are for {option}={x!r}; leave that option out"
            )
    return method, surplus


def _values(field: Any) -> set[Any]:
    """What an entry of `parts` is by, in a field that is a flag or a tuple."""
    return set(field) if isinstance(field, tuple) else {field}


def _paths(parts: Mapping[Any, tuple[str, ...]], values: set[Any]) -> list[str]:
    """What a network has for some values of a field."""
    return [path for value in values for path in parts.get(value, ())]


def _without(paths: set[str], variables: Mapping[str, Any]) -> dict[str, Any]:
    """Variables less what is below some paths, in all collections."""
    return unflatten(
        {
            place: leaf
            for place, leaf in flatten(variables).items()
            if not any(is_below(place, path) for path in paths)
        }
    )


def _stored(
    path: str | Path, name: str, config: Mapping[str, Any]
) -> tuple[Method, Any]:
    """The method of a file's configuration, and the shapes of its variables."""
    try:
        method = create(name, **config)
        return method, variable_shapes(method)
    # Any field may hold anything, so anything can fail.
    except Exception as error:
        raise InputError(
            f"{path}: its configuration makes no {name!r} ({one_line(str(error))});"
            " convert or export it again"
        ) from error


def random_model(name: str, **overrides: Any) -> tuple[Method, dict[str, Any]]:
    """A method with random weights, for timing."""
    method = create(name, **overrides)
    frame, masks = jnp.zeros((32, 32, 3)), jnp.zeros((1, 32, 32))
    return method, jax.jit(method.init)(jax.random.key(0), frame, masks)


def _check_shapes(path: str | Path, shapes: Any, variables: Mapping[str, Any]) -> None:
    expected = {key: x.shape for key, x in flatten(shapes).items()}
    found = {key: x.shape for key, x in flatten(variables).items()}
    if expected != found:
        differing = {k for k in expected | found if expected.get(k) != found.get(k)}
        first = "/".join(min(differing))
        raise InputError(
            f"{path}: does not fit its own configuration: {len(differing)} arrays"
            f" differ, the first is {first}; convert or export it again"
        )


# Tracing a network takes a second or two.
@lru_cache(maxsize=32)
def variable_shapes(method: Method) -> Any:
    """Shapes and types of a method's variables, without computing anything."""
    frame = jax.ShapeDtypeStruct((32, 32, 3), jnp.float32)
    masks = jax.ShapeDtypeStruct((1, 32, 32), jnp.float32)
    return jax.eval_shape(method.init, jax.random.key(0), frame, masks)


def convert(name: str, source: str | Path, target: str | Path) -> dict[str, int]:
    """Converts a published checkpoint into a weights file.

    Args:
      name: A method, or one of `BACKBONES` for an ImageNet network.
      source: `.pth`, `.npz` or `.safetensors` with published names.
      target: The `.safetensors` to write.

    Returns:
      Figures for the report: `arrays` and `parameters` written.

    Raises:
      InputError: The source is damaged or does not fit; all names are listed.
    """
    if name in BACKBONES:
        backbone = ResNetConfig(depth=BACKBONES[name])
        image = jax.ShapeDtypeStruct((1, 32, 32, 3), jnp.float32)
        module = ResNet(backbone)
        shapes = jax.eval_shape(module.init, jax.random.key(0), image)
        table = resnet(backbone)
        ignored: tuple[str, ...] = ("*.num_batches_tracked", "fc.*", "layer4.*")
        config = {"depth": backbone.depth, "width": backbone.width}
    elif known_name(name) not in METHODS and method_file(name) is None:
        raise unknown_method(name, [*METHODS, *BACKBONES])
    else:
        method = create(name)
        shapes, table = variable_shapes(method), _torch_table(name, method)
        ignored, config = find_entry(name).torch_ignored, architecture(method)
    state_dict = read_state_dict(source)
    variables = convert_state_dict(
        state_dict, table, shapes, ignored, origin=str(source)
    )
    write_weights(
        target,
        variables,
        method=stored_name(name),
        config=json.loads(json.dumps(config)),
        notes={"converted_from": Path(source).name},
    )
    leaves = flatten(variables["params"]).values()
    return {
        "arrays": len(flatten(variables)),
        "parameters": sum(int(x.size) for x in leaves),
    }


def export(name: str, method: Method, variables: Mapping[str, Any]) -> dict[str, Any]:
    """Variables under their published names and shapes, for use in PyTorch."""
    table = _torch_table(name, method)
    return export_state_dict(jax.device_get(dict(variables)), table)


def _torch_table(name: str, method: Method) -> Table:
    """Where the parameters stand in published checkpoints."""
    table = find_entry(name).torch_table
    if table is None:
        raise InputError(
            f"method {name!r}: its entry has no torch_table, which says where published"
            " weights have each parameter; add one"
        )
    return table(method.config)


def fingerprint(name: str, path: str | Path | None) -> str:
    """Names the weights of a method by their content, and its own file by its."""
    content = weights_file(name, path).read_bytes()
    weights, file = f"{zlib.crc32(content):08x}", method_file(name)
    return weights if file is None else f"{weights}-{python_file_id(file)}"
