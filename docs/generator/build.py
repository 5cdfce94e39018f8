"""Builds the site of the documentation.

Pages are put together in a temporary folder, Sphinx makes a site of them there, and
every link of it is followed; only then it takes the place of the one before. Warnings
are errors. Nothing is downloaded and, but for the parsers of the command line, nothing
of the package is imported.
"""

import argparse
import contextlib
import io
import json
import shutil
import sys
import tempfile
import time
from pathlib import Path

from sphinx.cmd import build as sphinx

from generator import command_line, links, navigation
from generator.package import read_package
from generator.pages import Pages
from generator.reference import Reference

HERE = Path(__file__).parent
ROOT = HERE.parents[1]


def write_sources(out: Path) -> int:
    """Writes all pages as Sphinx reads them and returns how many they are."""
    pages = Pages(ROOT)
    pages.write(out)
    generated = Reference(read_package(ROOT / "vos_jax")).pages()
    generated[command_line.PAGE] = command_line.page()
    for name, text in generated.items():
        path = out / f"{name}.md"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    names = {*pages.names.values(), *generated}
    with open(out / "index.md", "a", encoding="utf-8") as first:
        first.write(navigation.toctrees(names))
    (out / "sources.json").write_text(json.dumps(sorted(pages.sources)))
    return len(names)


def build(site: Path) -> int:
    """Builds the site into a folder, which is replaced; returns the exit status."""
    began = time.monotonic()
    if site.exists() and not (site / "searchindex.js").exists():
        print(f"error: {site} is no site that may be replaced", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory(prefix="vos_jax_site_") as name:
        work = Path(name).resolve()
        try:
            count = write_sources(work / "pages")
        except ValueError as error:
            print(f"error: {error}", file=sys.stderr)
            return 1
        print(f"building {count} pages, which takes a minute", flush=True)
        options = ["--fail-on-warning", "--keep-going", "--nitpicky", "--quiet"]
        options.append("--no-color")
        folders = [str(work / "pages"), str(work / "site")]
        settings = ["--conf-dir", str(HERE), "--doctree-dir", str(work / "doctrees")]
        said = io.StringIO()
        with contextlib.redirect_stderr(said):
            status = sphinx.main([*options, *settings, "--jobs", "auto", *folders])
        if warnings := _of_the_repository(said.getvalue(), work / "pages"):
            print(warnings, file=sys.stderr)
        if status:
            return status
        print("following every link", flush=True)
        wrong, followed = links.check_site(work / "site")
        if wrong:
            print("\n".join(["links that lead nowhere:", *wrong]), file=sys.stderr)
            return 1
        (work / "site" / ".buildinfo").unlink(missing_ok=True)
        shutil.rmtree(work / "site" / "_sources")  # empty
        new = site.with_name(f".{site.name}.new")
        shutil.rmtree(new, ignore_errors=True)
        shutil.copytree(work / "site", new)
        shutil.rmtree(site, ignore_errors=True)
        new.rename(site)
    took = time.monotonic() - began
    print(f"{count} pages, {followed} links followed, {took:.0f} s")
    print(f"open {(site / 'index.html').resolve().as_uri()}")
    return 0


def _of_the_repository(text: str, copies: Path) -> str:
    """Messages about copies as messages about the files that they are of."""
    for file, name in Pages(ROOT).names.items():
        text = text.replace(f"{copies / name}.md:", f"{file}:")
    return text.replace(f"{copies}/", "").rstrip()


def main() -> int:
    """Runs what is typed, and returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="docs/generator", description="Builds the site of the documentation."
    )
    parser.add_argument("site", type=Path, help="folder to make, or to replace")
    return build(parser.parse_args().site.absolute())
