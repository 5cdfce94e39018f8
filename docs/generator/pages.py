"""Which files of the repository are pages, and where their links lead on the site.

Pages stay plain Markdown whose links work wherever the repository is browsed. Here they
are copied beside one another, and links turned to where their targets are now: another
page, a picture, or `source:FILE` for a file that is shown as it is.
"""

import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

_CODE = re.compile(
    r"^(?P<fence>```+|~~~+)[^\n]*\n.*?^(?P=fence)|(`+).+?\2", re.M | re.S
)
_LINK = re.compile(r"(?P<before>\]\(|^\[[^\]]+\]: +)(?P<target>[^)\s]+)", re.M)
_PICTURES = {".png", ".jpg", ".svg", ".gif", ".webp"}
SOURCE = "source:"
"""What a link to a file that is no page begins with."""


class Pages:
    """The Markdown files of the repository that are pages of the site.

    Attributes:
      root: Of the repository.
      names: The page's name for every file, both with `/` and relative.
      sources: Files that pages link to as they are; known after `write`.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.names = {
            path.relative_to(root).as_posix(): page_name(path.relative_to(root))
            for path in self._files()
        }
        self.sources: set[str] = set()

    def _files(self) -> Iterator[Path]:
        yield from self.root.glob("*.md")
        for folder in ("docs", "experiments", "benchmarks", "examples"):
            yield from (self.root / folder).rglob("*.md")

    def write(self, out: Path) -> None:
        """Copies pages and their pictures into a folder.

        Raises:
          ValueError: Links that lead nowhere, all of them.
        """
        wrong: list[str] = []
        for file, name in self.names.items():
            if file == "README.md":
                continue  # the first page says the same
            text = (self.root / file).read_text(encoding="utf-8")
            path = out / f"{name}.md"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(self._relinked(text, file, out, wrong), encoding="utf-8")
        if wrong:
            raise ValueError("links that lead nowhere:\n  " + "\n  ".join(wrong))

    def _relinked(self, text: str, file: str, out: Path, wrong: list[str]) -> str:
        def turned(match: re.Match[str]) -> str:
            try:
                return match["before"] + self._turned(match["target"], file, out)
            except FileNotFoundError:
                line = text.count("\n", 0, text.index(match[0])) + 1
                wrong.append(f"{file}:{line}: {match['target']}")
                return match[0]

        parts, at = [], 0
        for code in _CODE.finditer(text):
            parts += [_LINK.sub(turned, text[at : code.start()]), code[0]]
            at = code.end()
        return "".join([*parts, _LINK.sub(turned, text[at:])])

    def _turned(self, target: str, file: str, out: Path) -> str:
        if target.startswith("#") or re.match(r"[a-z]+:", target):
            return target
        place, hash_, anchor = target.partition("#")
        joined = os.path.normpath(Path(file).parent / unquote(place))
        path, here = self.root / joined, Path(self.names[file]).parent
        if joined.startswith("..") or not path.exists():
            raise FileNotFoundError(joined)
        if path.is_dir():
            joined = (Path(joined) / "README.md").as_posix()
            if joined not in self.names:
                raise FileNotFoundError(joined)
        if joined in self.names:
            there = f"{self.names[joined]}.md"
        elif path.suffix in _PICTURES:
            there = joined.removeprefix("docs/")
            copy = out / there
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, copy)
        else:
            self.sources.add(joined)
            return f"{SOURCE}{joined}{hash_}{anchor}"
        return Path(os.path.relpath(there, here)).as_posix() + hash_ + anchor


def page_name(file: Path) -> str:
    """The name of the page that a Markdown file becomes.

    Pages of `docs` are at the top, a folder's README has the name of the folder.
    """
    if file.as_posix() == "README.md":
        return "index"
    if file.parts[0] == "docs":
        return file.relative_to("docs").with_suffix("").as_posix()
    if file.stem == "README":
        return file.parent.as_posix()
    return file.with_name(file.stem.lower()).as_posix()
