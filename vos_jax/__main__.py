"""`python -m vos_jax` is `vos-jax`."""

import sys

from vos_jax.cli import main

if __name__ == "__main__":
    sys.exit(main())
