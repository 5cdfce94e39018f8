"""Reading published weights: state-dict names to arrays, without running their code."""

import re
import warnings
import zipfile
from collections.abc import Callable, Mapping
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import safetensors

from vos_jax.convert.reason import one_line
from vos_jax.convert.safetensors_file import FORMAT_FAMILY, open_safetensors
from vos_jax.errors import InputError

_TORCH_ENDINGS = (".pth", ".pt", ".pth.tar")
_ENDINGS = (*_TORCH_ENDINGS, ".npz", ".safetensors")
# Where training programs put the weights beside their epoch and optimizer.
_CONTAINERS = (
    "state_dict",
    "model_state_dict",
    "model_state",
    "model",
    "network",
    "net",
    "weights",
    "params",
)
_SAFETENSORS_TYPES = {
    "F64": "<f8",
    "F32": "<f4",
    "F16": "<f2",
    "I64": "<i8",
    "I32": "<i4",
    "I16": "<i2",
    "I8": "i1",
    "U64": "<u8",
    "U32": "<u4",
    "U16": "<u2",
    "U8": "u1",
    "BOOL": "?",
}


def read_state_dict(path: str | PathLike[str]) -> dict[str, np.ndarray]:
    """Reads the arrays of a published checkpoint by their state-dict names.

    A container (`state_dict`, `model`, `network`, ...) is unwrapped, the `module.` of
    data-parallel wrappers is stripped, floats narrower than 32 bits become float32.
    Entries of a PyTorch checkpoint that are not tensors (epochs, names) are left out.

    Args:
      path: `.pth`, `.pt`, `.pth.tar` (zip or legacy format; needs PyTorch), `.npz` or
        `.safetensors`.

    Raises:
      InputError: The file is missing, damaged, of another kind, or needs its own code
        to be run; or PyTorch is needed and not installed.
    """
    path = Path(path)
    read = _reader(path)
    if not path.is_file():
        raise InputError(f"{path}: no such file; check the path")
    arrays = read(path)
    if not arrays:
        raise InputError(f"{path}: holds no arrays; use a checkpoint with weights")
    return _strip_module(path, arrays)


def _reader(path: Path) -> Callable[[Path], dict[str, np.ndarray]]:
    name = path.name.lower()
    if name.endswith(_TORCH_ENDINGS):
        return _read_torch
    if name.endswith(".npz"):
        return _read_npz
    if name.endswith(".safetensors"):
        return _read_safetensors
    raise InputError(
        f"{path}: unknown kind of weights file; use one that ends in "
        + ", ".join(_ENDINGS)
    )


def _read_torch(path: Path) -> dict[str, np.ndarray]:
    try:
        import torch
    except ImportError as error:
        raise InputError(
            f"{path}: reading a PyTorch checkpoint needs PyTorch; "
            "pip install 'vos_jax[convert]'"
        ) from error
    try:
        with warnings.catch_warnings():
            # Its remarks on the pickle's protocol and on TorchScript are not for users.
            warnings.simplefilter("ignore")
            content = torch.load(path, map_location="cpu", weights_only=True)
    # A damaged pickle can fail in any instruction, hence with any exception.
    except Exception as error:
        raise InputError(_torch_reason(path, error)) from error
    state_dict = _unwrap(path, content)
    tensors = {
        name: value
        for name, value in state_dict.items()
        if isinstance(name, str) and isinstance(value, torch.Tensor)
    }
    if not tensors:
        keys = ", ".join(sorted(map(repr, state_dict))[:8]) or "none"
        raise InputError(
            f"{path}: no state dict found (keys: {keys}); in PyTorch, save "
            "model.state_dict() to a new file"
        )
    return {name: _tensor_to_numpy(path, name, v) for name, v in tensors.items()}


def _torch_reason(path: Path, error: Exception) -> str:
    text = str(error)
    # PyTorch's own texts suggest to load without the protection: never pass those on.
    remedy = (
        "if you trust its origin, load it in PyTorch and save model.state_dict() to a "
        "new file"
    )
    found = re.search(r"GLOBAL:?\s+([\w.]+)", text)
    if found and not _ends_within(path, found[1]):
        return (
            f"{path}: holds more than tensors and needs {found[1]}, which is not run; "
            + remedy
        )
    if "TorchScript" in text:
        return f"{path}: a TorchScript program, which is not run; {remedy}"
    if isinstance(error, OSError) and error.strerror:
        return f"{path}: cannot be read: {error.strerror}; check its permissions"
    detail = type(error).__name__
    first_line = one_line(text.strip().partition("\n")[0])
    if first_line and "weights" not in first_line.lower():
        detail += f": {first_line}"
    return (
        f"{path}: truncated, damaged or not a PyTorch checkpoint ({detail}); "
        "download it again"
    )


def _ends_within(path: Path, global_name: str) -> bool:
    # A legacy file cut inside a name needs "_rebuild_ten" for want of "sor_v2".
    name = global_name.rpartition(".")[2].encode()
    with path.open("rb") as file:
        # PyTorch takes the last byte of what it got for the end of the line.
        file.seek(max(0, path.stat().st_size - len(name) - 1))
        return name in file.read()


def _unwrap(path: Path, content: Any) -> Mapping[Any, Any]:
    # Bounded: a pickle may hold a dict that contains itself.
    for _ in range(len(_CONTAINERS)):
        if not isinstance(content, Mapping):
            break
        inner = (content[key] for key in _CONTAINERS if key in content)
        mapping = next((value for value in inner if isinstance(value, Mapping)), None)
        if mapping is None:
            return content
        content = mapping
    raise InputError(
        f"{path}: no state dict found, but a {type(content).__name__}; in PyTorch, "
        "save model.state_dict() to a new file"
    )


def _tensor_to_numpy(path: Path, name: str, tensor: Any) -> np.ndarray:
    try:
        tensor = tensor.detach()
        # NumPy has no bfloat16 or float8.
        if tensor.is_floating_point() and tensor.element_size() < 4:
            tensor = tensor.float()
        array = tensor.numpy()
    except (TypeError, RuntimeError, NotImplementedError) as error:
        raise InputError(
            f"{path}: the tensor {name!r} ({tensor.dtype}, {tensor.layout}) is not a "
            "plain dense one; save it dense and as float32"
        ) from error
    return _plain(path, name, array)


def _read_npz(path: Path) -> dict[str, np.ndarray]:
    if not zipfile.is_zipfile(path):
        raise InputError(
            f"{path}: truncated, damaged or not an .npz file; write it with "
            "numpy.savez(path, **state_dict)"
        )
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
    # Zip, zlib, the array's header: each has its own exceptions for damage.
    except Exception as error:
        detail = one_line(str(error))
        if "allow_pickle" in detail:
            raise InputError(
                f"{path}: holds pickled Python objects, which are not loaded; save "
                "plain arrays only"
            ) from error
        raise InputError(
            f"{path}: damaged .npz file ({type(error).__name__}: {detail}); download "
            "or write it again"
        ) from error
    for name, array in arrays.items():
        # A member that is no .npy file comes back as its bytes.
        if not isinstance(array, np.ndarray):
            raise InputError(
                f"{path}: the entry {name!r} is not an array; save plain arrays only"
            )
    return {name: _plain(path, name, array) for name, array in arrays.items()}


def _read_safetensors(path: Path) -> dict[str, np.ndarray]:
    with open_safetensors(path) as handle:
        metadata = handle.metadata() or {}
        if metadata.get("format", "").startswith(FORMAT_FAMILY):
            raise InputError(
                f"{path}: already converted for vos_jax; use it as --weights"
            )
        # The NumPy view of the file has no bfloat16, so the bytes are decoded here.
        entries = safetensors.deserialize(path.read_bytes())
    return {name: _decode_entry(path, name, entry) for name, entry in entries}


def _decode_entry(path: Path, name: str, entry: dict[str, Any]) -> np.ndarray:
    kind, data, shape = entry["dtype"], entry["data"], entry["shape"]
    if kind == "BF16":
        # bfloat16 is the upper half of a float32.
        bits = np.frombuffer(data, "<u2").astype(np.uint32) << 16
        return bits.view(np.float32).reshape(shape)
    if kind not in _SAFETENSORS_TYPES:
        raise InputError(
            f"{path}: the tensor {name!r} has type {kind}, which has no counterpart "
            "here; save it as float32"
        )
    array = np.frombuffer(data, _SAFETENSORS_TYPES[kind]).reshape(shape)
    return _plain(path, name, array)


def _plain(path: Path, name: str, array: np.ndarray) -> np.ndarray:
    if array.dtype.kind not in "fiub":
        raise InputError(
            f"{path}: the entry {name!r} has type {array.dtype}; save it as float32"
        )
    if array.dtype.kind == "f" and array.dtype.itemsize < 4:
        return array.astype(np.float32)
    return array


def _strip_module(path: Path, arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    stripped: dict[str, np.ndarray] = {}
    for name, array in arrays.items():
        # Wrappers may be nested.
        bare = re.sub(r"^(module\.)+", "", name)
        # Names end up in messages, and control characters could steer a terminal.
        if not bare.isprintable():
            raise InputError(
                f"{path}: the name {bare!r} is not plain text; download the file again"
            )
        if bare in stripped:
            raise InputError(
                f"{path}: holds {bare!r} twice, with and without the prefix 'module.'; "
                "keep one of them"
            )
        stripped[bare] = array
    return stripped
