"""What programs are built for: the platform of a device, by its name."""

from typing import Any

import jax

from vos_jax.errors import InputError
from vos_jax.ops.platform import PLATFORMS, Platform


def platform_name(device: Any = None) -> Platform:
    """The platform of a device as programs are lowered for it.

    Args:
      device: Of JAX; None for the default backend's.
    """
    device = jax.devices()[0] if device is None else device
    if device.platform != "gpu":
        name: Platform = device.platform
        return name
    return "rocm" if "rocm" in device.client.platform_version.lower() else "cuda"


def known_platform(name: str | None) -> Platform:
    """A platform by the name that a user gives; None for the default backend's.

    Raises:
      InputError: There is none of the name.
    """
    if name is None:
        return platform_name()
    for platform in PLATFORMS:
        if name == platform or (name, platform) == ("gpu", "cuda"):
            return platform
    raise InputError(f"platform {name!r}: use one of {', '.join(PLATFORMS)}")
