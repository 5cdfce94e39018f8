"""Docstrings, which are Markdown with Google's sections, as Markdown for Sphinx."""

import re
from collections.abc import Iterator, Mapping
from typing import NamedTuple

_SECTION = re.compile(r"(Args|Attributes|Raises|Returns|Yields):$")
_ENTRY = re.compile(r"  (?P<name>[*\w.]+(?:, [*\w.]+)*): (?P<text>.*)$")
_FIELDS = {"Args": "param", "Raises": "raises"}


class Docstring(NamedTuple):
    """A docstring in its parts.

    Attributes:
      body: Text before the sections, Markdown.
      entries: Of Args, Attributes and Raises: what is said of each name.
      texts: Of Returns and Yields: what is said.
    """

    body: str
    entries: Mapping[str, Mapping[str, str]]
    texts: Mapping[str, str]

    @property
    def summary(self) -> str:
        """The first paragraph, in one line."""
        return " ".join(self.body.split("\n\n")[0].split())


def parse(doc: str) -> Docstring:
    """Takes a docstring apart, as `inspect.cleandoc` leaves it.

    Raises:
      ValueError: A section has a line that belongs to none of its entries.
    """
    sections: dict[str, list[str]] = {"": []}
    current = ""
    for line in doc.splitlines():
        if match := _SECTION.match(line):
            current = match[1]
            sections[current] = []
        else:
            if current and line and not line.startswith(" "):
                current = ""
            sections[current].append(line)
    entries = {
        name: dict(_entries(name, lines))
        for name, lines in sections.items()
        if name in ("Args", "Attributes", "Raises")
    }
    texts = {
        name: "\n".join(line[2:] for line in lines).strip()
        for name, lines in sections.items()
        if name in ("Returns", "Yields")
    }
    return Docstring(_escaped("\n".join(sections[""]).strip()), entries, texts)


def _entries(section: str, lines: list[str]) -> Iterator[tuple[str, str]]:
    found: list[tuple[str, list[str]]] = []
    for line in lines:
        if match := _ENTRY.match(line):
            found.append((match["name"], [match["text"]]))
        elif found:
            found[-1][1].append(line[4:])
        elif line.strip():
            raise ValueError(f"{section}: {line.strip()!r} belongs to no entry")
    for name, text in found:
        yield name, "\n".join(text).strip()


def field_list(doc: Docstring) -> str:
    """Arguments, results and errors as fields that Sphinx knows."""
    lines = []
    for section in ("Args", "Returns", "Yields", "Raises"):
        for name, text in doc.entries.get(section, {}).items():
            shown = name.replace("*", r"\*")
            lines.append(_field(f"{_FIELDS[section]} {shown}", text))
        if section in doc.texts:
            lines.append(_field(section.lower(), doc.texts[section]))
    return "\n".join(lines)


def _field(name: str, text: str) -> str:
    first, *rest = _escaped(text).splitlines()
    return "\n".join([f":{name}: {first}", *(f"    {line}".rstrip() for line in rest)])


def _escaped(text: str) -> str:
    """Lines that begin with % are no comments."""
    return re.sub(r"^(\s*)%", r"\1\\%", text, flags=re.M)
