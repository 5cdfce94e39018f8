"""The frame of a page, its tables, and what makes text safe in it.

A page needs nothing but itself and says so to the browser: its policy allows pictures
that are part of it, and the one script and the one style sheet that it was made with,
by their sums. Whatever else gets into it does not run.
"""

import base64
import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from html import escape
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple

from vos_jax.errors import InputError
from vos_jax.media.atomic import atomic_path, make_folder

PAGE = "report.html"
"""Name of the file in the folder of a report."""

_LONG = 24
"""Characters of a cell that may take several lines."""


class Markup(str):
    """Text that is HTML already."""


class Cell(NamedTuple):
    """A cell of a table.

    Attributes:
      content: What it shows.
      value: By which its column is sorted, and that is told when it is pointed at;
        None where `content` is all.
    """

    content: str
    value: float | None = None


def text(content: object) -> str:
    """Content as HTML: as it is if it is markup, else with nothing in it that is."""
    return content if isinstance(content, Markup) else escape(str(content))


def number(value: float | None, digits: int = 3) -> Cell:
    """A figure, rounded as official files round it; "-" where there is none."""
    if value is None or not math.isfinite(value):
        return Cell("-")
    return Cell(f"{value:.{digits}f}", value)


def signed(value: float) -> Cell:
    """A difference, with its sign; "-" where there is none."""
    if not math.isfinite(value):
        return Cell("-")
    return Cell(f"{value:+.3f}".replace("-", "−"), value)


def section(name: str, title: str, *content: str) -> Markup:
    """A part of the page, with a heading that can be linked to."""
    joined = "\n".join(map(text, content))
    return Markup(
        f'<section id="{escape(name)}">\n<h2>{escape(title)}</h2>\n{joined}\n</section>'
    )


def paragraph(content: str, kind: str = "") -> Markup:
    """A paragraph."""
    return Markup(f"<p{_class(kind)}>{text(content)}</p>")


def table(
    head: Sequence[str],
    rows: Sequence[Sequence[Cell | str]],
    *,
    caption: str,
    sortable: bool = False,
    quiet: bool = False,
) -> Markup:
    """A table that scrolls sideways where the window is too narrow for it.

    Args:
      head: Titles of the columns.
      rows: Cells, of one row or more; the first of a row is its heading.
      caption: What the table says.
      sortable: Whether titles sort it.
      quiet: Only those who hear the page need the caption, for a heading says it.
    """
    is_number = [isinstance(cell, Cell) for cell in rows[0]]
    titles = "".join(
        f'<th scope="col"{_class(_kind_of_title(title, right))}>{text(title)}</th>'
        for title, right in zip(head, is_number, strict=True)
    )
    lines = "\n".join(
        "<tr>"
        + "".join(
            _cell(cell, "td" if place else "th") for place, cell in enumerate(row)
        )
        + "</tr>"
        for row in rows
    )
    return Markup(
        '<div class="scroll" tabindex="0" role="region"'
        f' aria-label="{escape(caption)}">'
        f"<table{_class('sortable' if sortable else '')}>"
        f"<caption{_class('quiet' if quiet else '')}>{escape(caption)}</caption>\n"
        f"<thead><tr>{titles}</tr></thead>\n<tbody>\n{lines}\n</tbody></table></div>"
    )


def _kind_of_title(title: str, is_number: bool) -> str:
    if isinstance(title, Markup) or len(title) <= _LONG:
        return "number" if is_number else ""
    return "number words" if is_number else "words"


def _cell(cell: Cell | str, tag: str) -> str:
    scope = ' scope="row"' if tag == "th" else ""
    if not isinstance(cell, Cell):
        is_long = len(cell) > _LONG and not isinstance(cell, Markup)
        kind = "words" if is_long and tag == "td" else ""
        return f"<{tag}{scope}{_class(kind)}>{text(cell)}</{tag}>"
    if cell.value is None:
        return f'<{tag}{scope} class="number">{text(cell.content)}</{tag}>'
    told = f' data-value="{cell.value!r}" title="{cell.value!r}"'
    return f'<{tag}{scope} class="number"{told}>{text(cell.content)}</{tag}>'


def facts(pairs: Mapping[str, object]) -> Markup:
    """Names with what they are; those without are left out."""
    lines = "\n".join(
        f"<dt>{text(name)}</dt><dd>{text(what)}</dd>"
        for name, what in pairs.items()
        if what not in (None, "")
    )
    return Markup(f"<dl>\n{lines}\n</dl>")


def folded(title: str, content: str) -> Markup:
    """What opens when its title is chosen."""
    return Markup(
        f"<details><summary>{text(title)}</summary>\n{text(content)}\n</details>"
    )


def swatch(place: int) -> Markup:
    """The colour and the line of a result or run, by its place."""
    return Markup(
        f'<svg class="swatch series{place % 6}" viewBox="0 0 28 8" aria-hidden="true">'
        '<line x1="1" y1="4" x2="27" y2="4"/></svg>'
    )


POINT = Markup(
    '<p class="small point">Point at a chart, or choose it and move with the arrow'
    " keys, to read its values.</p>"
)
"""How the values of a chart are read, for the reader of a page."""


def chart(name: str, label: str) -> Markup:
    """Where the script draws a chart of the data called `name`."""
    return Markup(
        f'<figure class="chart" data-chart="{escape(name)}">'
        f"<figcaption>{escape(label)}</figcaption></figure>"
    )


def _class(kind: str) -> str:
    return f' class="{escape(kind)}"' if kind else ""


def write_page(
    folder: Path, title: str, body: Sequence[str], data: Mapping[str, Any]
) -> Path:
    """Writes `report.html`.

    Args:
      folder: Is made if needed.
      title: Of the page.
      body: Its parts.
      data: What the script draws; no NaN.

    Raises:
      InputError: It cannot be written.
    """
    try:
        content = page(title, body, data).encode()
    except UnicodeEncodeError as error:
        part = error.object[max(0, error.start - 40) : error.end + 40]
        shown = part.encode(errors="backslashreplace").decode()
        raise InputError(
            f"{folder / PAGE}: cannot be written, for a name in it is not UTF-8"
            f" ({' '.join(shown.split())}); rename it"
        ) from error
    path = make_folder(folder) / PAGE
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)
    return path


def page(title: str, body: Sequence[str], data: Mapping[str, Any]) -> str:
    """The page's HTML; see `write_page`."""
    script, style = _asset("report.js"), _asset("report.css")
    policy = (
        f"default-src 'none'; img-src data:; script-src {_sum(script)}; style-src"
        f" {_sum(style)}; base-uri 'none'; form-action 'none'"
    )
    joined = "\n".join(map(text, body))
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{escape(title)}</title>
<style>{style}</style>
</head>
<body>
<main>
<h1>{escape(title)}</h1>
{joined}
</main>
<script type="application/json" id="data">{json_in_html(data)}</script>
<script>{script}</script>
</body>
</html>
"""


def json_in_html(data: Mapping[str, Any]) -> str:
    """JSON in which nothing ends the element that it is in."""
    dumped = json.dumps(data, allow_nan=False, separators=(",", ":"))
    return dumped.replace("<", "\\u003c").replace(">", "\\u003e")


def _asset(name: str) -> str:
    return (resources.files("vos_jax") / "assets" / name).read_text(encoding="utf-8")


def _sum(content: str) -> str:
    """By which a browser knows an element's text again."""
    digest = hashlib.sha256(content.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"
