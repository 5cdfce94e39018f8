"""Values that weights cannot have; with them a network finds wrong masks in silence."""

from collections.abc import Callable, Iterable

import numpy as np

from vos_jax.errors import InputError

# What every norm adds to its variance before the square root.
_EPSILON = 1e-5


def check_values(
    origin: str,
    arrays: Iterable[tuple[str, np.ndarray]],
    is_variance: Callable[[str], bool],
    advice: str,
) -> None:
    """Refuses arrays that are not finite as float32, and negative variances.

    Args:
      origin: What the error calls the whole; the file's name.
      arrays: With their names.
      is_variance: Whether the array of a name holds the variances of a norm.
      advice: What to do.

    Raises:
      InputError: There are such arrays; the first one is named.
    """
    wrong = []
    for name, array in arrays:
        # What is too large becomes infinite.
        with np.errstate(over="ignore"):
            values = np.asarray(array, np.float32)
        good = np.isfinite(values)
        if not good.all():
            what = "not finite (NaN, infinite or too large for float32)"
            wrong.append((name, what, values.size - int(good.sum()), values.size))
        elif is_variance(name) and (negative := values <= -_EPSILON).any():
            wrong.append((name, "negative variances", int(negative.sum()), values.size))
    if wrong:
        name, what, count, size = wrong[0]
        others = f", and {len(wrong) - 1} more arrays have such" if wrong[1:] else ""
        raise InputError(
            f"{origin}: {count} of the {size} values of {name} are {what}{others};"
            f" {advice}"
        )
