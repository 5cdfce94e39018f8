"""Matplotlib, where it is installed."""

from types import ModuleType

from vos_jax.errors import InputError


def pyplot() -> ModuleType:
    """Matplotlib's `pyplot`, drawing into files only.

    Raises:
      InputError: Matplotlib is not installed.
    """
    try:
        import matplotlib
    except ImportError as error:
        raise InputError(
            "plots need matplotlib, which is not installed;"
            " run: pip install 'vos_jax[plot]'"
        ) from error
    # Agg needs no display, which servers do not have.
    matplotlib.use("Agg")
    import matplotlib.pyplot

    return matplotlib.pyplot
