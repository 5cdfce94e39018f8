"""Whether a built site holds together: every link, picture and script is there.

Nothing may be loaded from elsewhere: the site is to work without a network.
"""

import os
import re
from collections.abc import Iterator
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

_LOADED = {
    "script": "src",
    "img": "src",
    "iframe": "src",
    "embed": "src",
    "object": "data",
    "video": "src",
    "audio": "src",
    "source": "src",
    "link": "href",
    "use": "href",
}
_NOT_LOADED = {"next", "prev", "search", "index", "author", "copyright", "canonical"}
_FROM_CSS = re.compile(r"""url\(\s*["']?([^"')]+)|@import\s+["']([^"']+)""")


class _Page(HTMLParser):
    """What a page refers to, and what may be referred to in it."""

    def __init__(self) -> None:
        super().__init__()
        self.ids: set[str] = set()
        self.twice: set[str] = set()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self._style = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Notes ids, links and what is loaded."""
        given = {name: value or "" for name, value in attrs}
        if identity := given.get("id"):
            (self.twice if identity in self.ids else self.ids).add(identity)
        if tag == "a":
            self.ids.add(given.get("name", ""))
            if "href" in given:
                self.links.append(given["href"])
        elif tag in _LOADED and _LOADED[tag] in given:
            passive = tag == "link" and given.get("rel", "") in _NOT_LOADED
            (self.links if passive else self.loaded).append(given[_LOADED[tag]])
        for part in given.get("srcset", "").split(","):
            if part.strip():
                self.loaded.append(part.split()[0])
        self.loaded += _in_css(given.get("style", ""))
        self._style = tag == "style"

    def handle_data(self, data: str) -> None:
        """Notes what a style sheet inside of the page loads."""
        if self._style:
            self.loaded += _in_css(data)

    def handle_endtag(self, tag: str) -> None:
        """Ends a style sheet."""
        self._style = False


def _in_css(text: str) -> list[str]:
    return [a or b for a, b in _FROM_CSS.findall(text)]


def check_site(site: Path) -> tuple[list[str], int]:
    """Reads all pages and style sheets of a site.

    Returns:
      What is wrong, a line each, and how many links were followed.
    """
    site = site.resolve()
    pages = {}
    for path in sorted(site.rglob("*.html")):
        pages[path] = _Page()
        pages[path].feed(path.read_text(encoding="utf-8"))
    wrong, followed = [], 0
    for path, page in pages.items():
        name = path.relative_to(site)
        wrong += [f"{name}: id {x!r} is there twice" for x in sorted(page.twice)]
        for target in page.links:
            followed += 1
            wrong += [f"{name}: {x}" for x in _followed(target, path, site, pages)]
        for target in page.loaded:
            followed += 1
            if _is_elsewhere(target):
                wrong.append(f"{name}: loads {target} from elsewhere")
            else:
                wrong += [f"{name}: {x}" for x in _followed(target, path, site, {})]
    for path in sorted(site.rglob("*.css")):
        for target in _in_css(path.read_text(encoding="utf-8")):
            if _is_elsewhere(target):
                wrong.append(f"{path.relative_to(site)}: loads {target} from elsewhere")
            elif not target.startswith(("data:", "#")):
                followed += 1
                found = _followed(target, path, site, {})
                wrong += [f"{path.relative_to(site)}: {x}" for x in found]
    return wrong, followed


def _is_elsewhere(target: str) -> bool:
    parts = urlsplit(target)
    return bool(parts.netloc) or parts.scheme in ("http", "https", "ftp")


def _followed(
    target: str, page: Path, site: Path, pages: dict[Path, _Page]
) -> Iterator[str]:
    """What is wrong with a link of a page, if anything is."""
    parts = urlsplit(target)
    if parts.scheme in ("http", "https", "mailto", "data"):
        return
    if parts.scheme or parts.netloc:
        yield f"{target}: what is {parts.scheme or parts.netloc}?"
        return
    path = _joined(page.parent, parts.path) if parts.path else page
    if not path.is_relative_to(site):
        yield f"{target} leaves the site"
    elif path not in pages and not path.is_file():
        yield f"{target} does not exist"
    elif parts.fragment and path in pages:
        if unquote(parts.fragment) not in pages[path].ids:
            yield f"{target}: nothing there has this id"


@cache
def _joined(folder: Path, place: str) -> Path:
    return Path(os.path.normpath(folder / unquote(place)))
