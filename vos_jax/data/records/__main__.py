"""`python -m vos_jax.data.records davis2017 data/DAVIS records`."""

import argparse
import sys

from vos_jax.data.records.prepare import prepare
from vos_jax.errors import InputError


def main(words: list[str] | None = None) -> int:
    """Prepares records; returns the exit status, 2 for input that is at fault."""
    parser = argparse.ArgumentParser(
        prog="python -m vos_jax.data.records",
        description="Write a data set as records for tensorflow-datasets.",
        epilog="example: %(prog)s davis2017 data/DAVIS records",
    )
    parser.add_argument(
        "config", help="name of a data set, or JSON as for tfds build --config"
    )
    parser.add_argument("root", help="the data set's folder")
    parser.add_argument("out", help="the data_dir of TFDS")
    args = parser.parse_args(words)
    try:
        folder = prepare(args.config, args.root, args.out)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
