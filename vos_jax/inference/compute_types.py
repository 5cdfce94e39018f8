"""What a run computes in where its user does not say.

The one place that decides it by platform. Layers below take both as fields of a
configuration, whose own values are float32 and products to match.
"""

from collections.abc import Mapping
from typing import Any

from vos_jax.methods.registry import find_entry


def with_compute_types(
    name: str, given: Mapping[str, Any], platform: str
) -> dict[str, Any]:
    """Fields of a method's configuration, with its type and precision.

    CPUs compute in what the configuration has, float32 at the highest precision for all
    methods of the package. Accelerators have units for bfloat16, which is taken there,
    and with it the default precision for what stays float32. Whoever asks for float32
    gets float32 products as well.

    Args:
      name: Of the method; one without such fields stays without.
      given: What is changed, by the names of the fields; it always wins.
      platform: As `jax.default_backend()` calls what the program will run on.
    """
    fields = dict(given)
    if platform == "cpu":
        return fields
    known = vars(find_entry(name).config)
    if "dtype" in known:
        fields.setdefault("dtype", "bfloat16")
    if "precision" in known and fields.get("dtype") == "bfloat16":
        fields.setdefault("precision", "default")
    return fields
