"""Checks on eight devices, in a process of their own: JAX takes devices at its start.

A test module has functions that check, and one test that has those of every run checked
in one process. So no two workers start the same process, and it compiles once.
"""

import os
import subprocess
import sys
import traceback
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import jax

DEVICES = 8


def pass_on_eight_devices(
    *checks: Callable[..., None], given: Sequence[Any] = ()
) -> None:
    """Fails with what each check that fails says.

    Args:
      *checks: Functions of one module.
      given: Arguments of each; their `repr` makes them again.
    """
    (module,) = {check.__module__ for check in checks}
    names = [check.__name__ for check in checks]
    call = f"run({module!r}, {names!r}, {tuple(given)!r})"
    done = subprocess.run(
        [sys.executable, "-c", f"from tests.eight import run; {call}"],
        cwd=Path(__file__).parents[1],
        capture_output=True,
        text=True,
        timeout=900,
        env={**os.environ, "JAX_DISABLE_MOST_OPTIMIZATIONS": "1"},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    passed = [x for x in done.stdout.splitlines() if x.endswith(" passed")]
    assert passed == [f"{name} passed" for name in names]


def run(module: str, names: Sequence[str], given: Sequence[Any]) -> None:
    """What the process does."""
    jax.config.update("jax_num_cpu_devices", DEVICES)
    jax.config.update("jax_numpy_rank_promotion", "raise")
    assert jax.device_count() == DEVICES
    failed = False
    for name in names:
        try:
            getattr(import_module(module), name)(*given)
        except Exception:
            failed = True
            print(f"{name} failed\n{traceback.format_exc()}")
        else:
            print(f"{name} passed", flush=True)
    sys.exit(failed)
