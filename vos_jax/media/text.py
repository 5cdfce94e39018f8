"""Text files as programs of all systems write them."""

import codecs
from pathlib import Path

_WIDE = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def read_text(path: str | Path) -> str:
    r"""Reads a text file: UTF-8, or UTF-16 where it begins with that byte order mark.

    Returns:
      The text without the mark; line ends of every system as `\n`.

    Raises:
      OSError: The file cannot be read.
      UnicodeDecodeError: It is no such text.
    """
    content = Path(path).read_bytes()
    encoding = "utf-16" if content.startswith(_WIDE) else "utf-8-sig"
    text = content.decode(encoding)
    return text.replace("\r\n", "\n").replace("\r", "\n")
