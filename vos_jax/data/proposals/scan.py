"""COCO results in JSON, entry by entry, with where each one is in its file.

Such files take gigabytes, and what they say takes several times as much as Python
objects. So entries are parsed one after the other, and only their places stay.
"""

import hashlib
import json
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from vos_jax.errors import InputError
from vos_jax.media.text import read_text

_BLANKS = " \t\r\n"
_MARK = b"\xef\xbb\xbf"
_COPY = "copy it again"


class Place(NamedTuple):
    """Where an entry is in its file.

    Attributes:
      number: From 0, among the entries of the file.
      begin: Its first byte.
      end: One beyond its last.
    """

    number: int
    begin: int
    end: int


class ResultFile:
    """One file of results, in either layout.

    Attributes:
      path: Of the file.
      images: The list of images; known when `entries` has come to its end.
      digest: Of the bytes of the file, and of the list of images beside it.
    """

    def __init__(self, path: Path, images: Path | None = None) -> None:
        """Reads the bytes.

        Args:
          path: Of the file.
          images: Of the list of images, for results that are a list; by default
            `NAME.images.json` beside `NAME.json`.

        Raises:
          InputError: A file is missing, empty, or no text.
        """
        self.path = path
        self.images: Any = None
        content = _read(path)
        self._begin = len(_MARK) if content.startswith(_MARK) else 0
        # A byte a character: places in the text are those in the file. Whatever is not
        # ASCII is inside of strings, of which only the images' count.
        self._text = content.decode("latin-1")
        digest = hashlib.sha256(content)
        if self._peek(self._begin)[0] == "[":
            beside = path.with_name(f"{path.stem}.images.json")
            beside = beside if images is None else images
            self.images = _read_images(beside, path)
            digest.update(_read(beside))
        self.digest = digest.hexdigest()

    def entries(self) -> Iterator[tuple[Place, Any]]:
        """Yields the results with their places, in the order of the file.

        Raises:
          InputError: The file is damaged, or is none of results.
        """
        first, at = self._peek(self._begin)
        if first == "[":
            at = yield from self._items(at)
        elif first == "{":
            at = yield from self._object(at)
        else:
            raise InputError(
                f"{self.path} holds neither a list of results nor an object with"
                " images and annotations; write it in the format of COCO results"
            )
        if self._text[at:].strip(_BLANKS):
            raise InputError(f"{self.path} goes on behind its end; {_COPY}")
        if self.images is None:
            raise InputError(
                f"{self.path} has no list of images; write the images beside"
                " the annotations"
            )

    def _object(self, at: int) -> Generator[tuple[Place, Any], None, int]:
        separator, found = "{", False
        while True:
            char, at = self._peek(at + 1)
            if char == "}" and separator == "{":
                break
            key, at = self._value(at)
            char, at = self._peek(at)
            if not isinstance(key, str) or char != ":":
                raise self._damaged(at)
            _, at = self._peek(at + 1)
            if key == "annotations" and self._text[at] == "[" and not found:
                found, at = True, (yield from self._items(at))
            else:
                begin = at
                value, at = self._value(at)
                if key == "images":
                    # As it is written, names may have any letters.
                    raw = self._text[begin:at].encode("latin-1")
                    self.images = value if raw.isascii() else _loads(raw, self.path)
            separator, at = self._peek(at)
            if separator == "}":
                break
            if separator != ",":
                raise self._damaged(at)
        if not found:
            raise InputError(
                f"{self.path} has no list of annotations; write the results there"
            )
        return at + 1

    def _items(self, at: int) -> Generator[tuple[Place, Any], None, int]:
        """Yields what is in the list that begins there; returns where it ends."""
        number = 0
        char, at = self._peek(at + 1)
        if char == "]":
            return at + 1
        while True:
            begin = at
            value, at = self._value(at, number)
            yield Place(number, begin, at), value
            char, at = self._peek(at, number)
            if char == "]":
                return at + 1
            if char != ",":
                raise self._damaged(at, number)
            number += 1
            _, at = self._peek(at + 1, number)

    def _peek(self, at: int, number: int | None = None) -> tuple[str, int]:
        """Returns the next character that is no blank, and where it is."""
        text = self._text
        while at < len(text) and text[at] in _BLANKS:
            at += 1
        if at == len(text):
            raise self._damaged(at, number)
        return text[at], at

    def _value(self, at: int, number: int | None = None) -> tuple[Any, int]:
        try:
            return _DECODER.raw_decode(self._text, at)
        except (ValueError, RecursionError) as error:
            if isinstance(error, json.JSONDecodeError):
                # A string without an end takes all that is left.
                cut = error.msg.startswith("Unterminated")
                at = len(self._text) if cut else error.pos
            raise self._damaged(at, number) from error

    def _damaged(self, at: int, number: int | None = None) -> InputError:
        where = "" if number is None else f" in entry {number}"
        if at >= len(self._text.rstrip(_BLANKS)):
            return InputError(f"{self.path} is cut off{where}; {_COPY}")
        return InputError(f"{self.path} is damaged{where}, at byte {at}; {_COPY}")


_DECODER = json.JSONDecoder()


def _read(path: Path) -> bytes:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(
            f"{path} cannot be read ({error.strerror}); check the path"
        ) from error
    if not content.strip():
        raise InputError(f"{path} is empty; make the proposals again")
    return content


def _read_images(path: Path, results: Path) -> Any:
    try:
        content = json.loads(read_text(path))
    except FileNotFoundError as error:
        raise InputError(
            f"{path} is missing: {results} is a list of results, which tells no"
            " image's name or size; put its list of images there"
        ) from error
    except OSError as error:
        raise InputError(
            f"{path} cannot be read ({error.strerror}); check the path"
        ) from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is damaged ({error}); {_COPY}") from error
    images = content.get("images") if isinstance(content, dict) else content
    if not isinstance(images, list):
        raise InputError(f"{path} has no list of images; {_COPY}")
    return images


def _loads(raw: bytes, path: Path) -> Any:
    try:
        return json.loads(raw)
    except ValueError as error:
        raise InputError(f"{path}: its images are no UTF-8 text; {_COPY}") from error
