"""Opening a safetensors file, with the reason when it cannot be."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError, safe_open

from vos_jax.convert.reason import one_line
from vos_jax.errors import InputError

FORMAT_FAMILY = "vos_jax/"
"""What the format of our own files begins with, whatever its version."""


@contextmanager
def open_safetensors(path: Path) -> Iterator[safe_open]:
    """Yields the file opened for NumPy; nothing but the header is read yet.

    Raises:
      InputError: There is no such file, or it is not a whole safetensors file.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file; check the path")
    try:
        with safe_open(path, framework="np") as handle:
            yield handle
    except SafetensorError as error:
        raise InputError(_reason(path, str(error))) from error
    except OSError as error:
        raise InputError(
            f"{path}: cannot be read: {error.strerror or error}; check its permissions"
        ) from error


def in_one_order(content: bytes) -> bytes:
    """The same file with the metadata of its header sorted by their names.

    The library writes them in any order: equal weights would be files that differ.
    """
    size = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + size])
    metadata = dict(sorted(header.pop("__metadata__", {}).items()))
    text = json.dumps({"__metadata__": metadata, **header}, separators=(",", ":"))
    # Arrays begin at a multiple of eight; the format fills up with spaces.
    encoded = text.encode()
    encoded += b" " * (-len(encoded) % 8)
    return len(encoded).to_bytes(8, "little") + encoded + content[8 + size :]


def _reason(path: Path, detail: str) -> str:
    with path.open("rb") as file:
        start = file.read(4)
    if start == b"PK\x03\x04":
        return (
            f"{path}: a zip archive (PyTorch or NumPy), not a safetensors file; name "
            "it .pth or .npz and use `vos-jax convert METHOD SRC DST.safetensors`"
        )
    detail = one_line(detail.removeprefix("Error while deserializing header: "))
    return (
        f"{path}: truncated, damaged or not a safetensors file ({detail}); "
        "download it or convert it again"
    )
