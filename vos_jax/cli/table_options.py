"""Options that the scripts of papers' tables share."""

import argparse
from collections.abc import Collection, Sequence
from pathlib import Path

from vos_jax.errors import InputError


def add_table_options(parser: argparse.ArgumentParser, method: str) -> None:
    """All but the tables' numbers and the videos: `method` is the one they are of."""
    parser.add_argument("--method", default=method, choices=(method, f"{method}-tiny"))
    parser.add_argument(
        "--weights",
        nargs="+",
        default=[],
        metavar="[NAME=]PATH",
        help="of all settings, and of those that have their own",
    )
    parser.add_argument(
        "--size", type=int, metavar="N", help="compute with the shorter side at N"
    )
    parser.add_argument("--out", type=Path, required=True, metavar="DIR")


def named_weights(
    words: Sequence[str], names: Collection[str]
) -> tuple[Path | None, dict[str, Path]]:
    """The weights of all settings, and those of single ones by name.

    A word that is the name of a file is that file.

    Args:
      words: FILE or NAME=FILE, as `--weights` takes them.
      names: What NAME may be.

    Raises:
      InputError: A name is unknown, or something is given twice.
    """
    common, own = None, {}
    for word in words:
        name, equals, file = word.partition("=")
        if not equals or Path(word).exists():
            if common is not None:
                raise InputError(
                    f"--weights: {common} and {word} are both for all settings; write"
                    " NAME=FILE for those of one setting"
                )
            common = Path(word)
        elif name not in names:
            raise InputError(
                f"--weights {word}: there is no setting {name!r}; use one of:"
                f" {', '.join(names)}"
            )
        elif not file:
            raise InputError(
                f"--weights {word}: there is no file after '='; write NAME=FILE"
            )
        elif name in own:
            raise InputError(f"--weights: {name} is named twice; name it once")
        else:
            own[name] = Path(file)
    return common, own
