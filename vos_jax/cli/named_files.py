"""Files that are given by name: `--weights yv=a.safetensors davis=b.safetensors`."""

from collections.abc import Collection, Sequence
from pathlib import Path

from vos_jax.errors import InputError


def named_files(
    option: str, words: Sequence[str], names: Collection[str]
) -> tuple[Path | None, dict[str, Path]]:
    """The file without a name, and those that have one by it.

    A word that is the name of a file is that file.

    Args:
      option: That takes them.
      words: FILE or NAME=FILE.
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
                    f"{option}: {common} and {word} both have no name; write NAME=FILE"
                )
            common = Path(word)
        elif name not in names:
            raise InputError(
                f"{option} {word}: there is no {name!r}; use one of: {', '.join(names)}"
            )
        elif not file:
            raise InputError(
                f"{option} {word}: there is no file after '='; write NAME=FILE"
            )
        elif name in own:
            raise InputError(f"{option}: {name} is named twice; name it once")
        else:
            own[name] = Path(file)
    return common, own
