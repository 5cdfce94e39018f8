"""An accelerator that is there while JAX computes on the CPU.

That costs a factor of ten or more, and nothing fails: it has to be said.
"""

import os
import sys
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

import jax

# What this process may open, the second one on Linux within Windows. Other signs say
# less: `nvidia-smi` may be there without a GPU, and containers see their host's /proc.
_NVIDIA = ("dev/nvidia[0-9]*", "usr/lib/wsl/lib/libcuda*")

# As the PCI bus names them; Google makes network cards, too.
_GOOGLE = "0x1ae0"
_TPUS = ("0x0027", "0x0056", "0x005e", "0x0062", "0x0063", "0x006f", "0x0076")

_PLUGINS = ("jax_cuda12_plugin", "jax_cuda13_plugin")


def tell_unused_accelerator() -> None:
    """Says on stderr, in one line, that an accelerator is not used.

    Starts JAX's default backend only where there is one; where a run has several
    processes, they must have joined.
    """
    if told := unused_accelerator():
        print(f"note: {told}", file=sys.stderr, flush=True)


def unused_accelerator(
    root: Path = Path("/"), environ: Mapping[str, str] = os.environ
) -> str | None:
    """What to do about an accelerator that JAX does not use; None if there is none.

    Nothing is said where the user chose the CPU: by JAX_PLATFORMS, or by an empty
    CUDA_VISIBLE_DEVICES.

    Args:
      root: The file system to look at.
      environ: Variables of the environment.
    """
    if jax.config.jax_platforms:  # type: ignore[attr-defined]
        return None
    hidden = environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1", "NoDevFiles")
    gpu = None if hidden else _gpu(root)
    tpu = _tpu(root)
    if (gpu is None and tpu is None) or jax.default_backend() != "cpu":
        return None
    if gpu is None:
        return _sentence(f"a TPU is there ({tpu})", "tpu", ("libtpu",))
    return _sentence(f"an NVIDIA GPU is there ({gpu})", "cuda", _PLUGINS)


def _sentence(found: str, extra: str, packages: tuple[str, ...]) -> str:
    found += ", but JAX computes on the CPU: "
    for name in packages:
        if find_spec(name) is not None:
            return (
                f"{found}{name} is installed and does not start;"
                f" python -c \"import jax; jax.devices('{extra}')\" says why"
            )
    return (
        f'{found}pip install "vos_jax[{extra}]" brings what it needs, and'
        " JAX_PLATFORMS=cpu leaves out this line"
    )


def _gpu(root: Path) -> Path | None:
    """A file that only an NVIDIA GPU has."""
    return next((x for glob in _NVIDIA for x in sorted(root.glob(glob))), None)


def _tpu(root: Path) -> Path | None:
    """A TPU's place on the PCI bus."""
    for device in sorted(root.glob("sys/bus/pci/devices/*")):
        try:
            maker, kind = ((device / x).read_text() for x in ("vendor", "device"))
        except OSError:
            continue
        if maker.strip() == _GOOGLE and kind.strip() in _TPUS:
            return device
    return None
