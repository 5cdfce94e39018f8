"""What the site needs of Sphinx beyond what it has.

Equations become MathML while the site is built, so that no script has to do it. Links
to `source:FILE` lead to pages that show files as they are. A name in running text such
as `vos_jax.step` leads to its description, and types in signatures to theirs, which are
found by what the module in question imports.
"""

import builtins
import json
from collections.abc import Iterator
from html import escape
from pathlib import Path
from typing import Any

import pygments
import pygments.formatters
import pygments.lexers
from docutils import nodes
from docutils.utils.math import MathError
from docutils.utils.math.latex2mathml import tex2mathml
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.transforms.post_transforms import SphinxPostTransform
from sphinx.util import logging

from generator import reference
from generator.package import read_package
from generator.pages import SOURCE

ROOT = Path(__file__).parents[2]
SOURCE_FOLDER = "source"

_REFERENCE = reference.Reference(read_package(ROOT / "vos_jax"))
_PACKAGE = _REFERENCE.package
_log = logging.getLogger(__name__)


def setup(app: Sphinx) -> dict[str, Any]:
    """Tells Sphinx what there is."""
    inline, block = (_inline_equation, None), (_equation, None)
    app.add_html_math_renderer("mathml", inline, block)
    app.add_post_transform(_Types)
    app.connect("doctree-resolved", _finish_links)
    app.connect("html-collect-pages", _source_pages)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def _mathml(tex: str, node: nodes.Element, *, block: bool) -> str:
    try:
        return tex2mathml(tex, as_block=block)
    except MathError as error:
        _log.warning("equation %r: %s", tex, error, location=node)
        return f"<code>{escape(tex)}</code>"


def _inline_equation(translator: Any, node: nodes.math) -> None:
    translator.body.append(_mathml(node.astext(), node, block=False))
    raise nodes.SkipNode


def _equation(translator: Any, node: nodes.math_block) -> None:
    translator.body.append(
        f'<div class="equation">{_mathml(node.astext(), node, block=True)}</div>'
    )
    raise nodes.SkipNode


class _Types(SphinxPostTransform):
    """Types of signatures, by what their module imports; others' types stay text.

    Comes before Sphinx looks, which takes any name that ends alike.
    """

    default_priority = 5

    def run(self, **kwargs: Any) -> None:
        """Turns references into links, or into the text that they are of."""
        page = self.env.current_document.docname
        known = self.env.domains.python_domain.objects
        for node in list(self.document.findall(pending_xref)):
            if node.get("refdomain") != "py" or "py:module" not in node:
                continue
            dotted = _meant(node["reftarget"], node["py:module"])
            if dotted is None:
                continue
            full = _REFERENCE.full(dotted)
            ours = full.split(".")[0] == _PACKAGE.name
            if full in known:
                uri = self.app.builder.get_relative_uri(page, known[full].docname)
                link = nodes.reference("", "", internal=True)
                link["refuri"] = f"{uri}#{known[full].node_id}"
                link += node.children
                node.replace_self(link)
            elif not ours or full.rpartition(".")[2].startswith("_"):
                node.replace_self(node.children)


def _meant(target: str, module: str | None) -> str | None:
    """The dotted name that a name stands for in a module."""
    first, _, rest = target.partition(".")
    rest = f".{rest}" if rest else ""
    for place in _scope(module):
        if first in place.names:
            return f"{place.name}.{first}{rest}"
        if first in place.imports:
            return place.imports[first] + rest
    return target if hasattr(builtins, first) else None


def _scope(module: str | None) -> list[Any]:
    """Modules in which a page's names mean something: on the first one several."""
    if module == _PACKAGE.name:
        homes = {
            x.home.rpartition(".")[0] for x in _REFERENCE.entries if x.full != x.home
        }
        return [_PACKAGE.modules[x] for x in sorted(homes)]
    return [_PACKAGE.modules[module]] if module in _PACKAGE.modules else []


def _finish_links(app: Sphinx, doctree: nodes.document, page: str) -> None:
    for link in doctree.findall(nodes.reference):
        if link.get("refuri", "").startswith(SOURCE):
            place, hash_, anchor = link["refuri"].removeprefix(SOURCE).partition("#")
            uri = app.builder.get_relative_uri(page, f"{SOURCE_FOLDER}/{place}")
            link["refuri"] = uri + hash_ + anchor
    for text in list(doctree.findall(nodes.Text)):
        if text == " -- ":  # between an argument and what is said of it
            text.parent.replace(text, nodes.Text(" – "))
    known = app.env.domains.python_domain.objects
    module = page.removeprefix(f"{reference.FOLDER}/") if "/" in page else ""
    if module == "index":
        module = _PACKAGE.name
    for literal in list(doctree.findall(nodes.literal)):
        if _is_in_link(literal):
            continue
        full = next(
            (x for x in _candidates(literal.astext(), module) if x in known), ""
        )
        if full:
            uri = app.builder.get_relative_uri(page, known[full].docname)
            uri = f"{uri}#{known[full].node_id}"
            link = nodes.reference("", "", internal=True, refuri=uri)
            literal.replace_self(link)
            link += literal


def _is_in_link(node: nodes.Node) -> bool:
    around = (nodes.reference, nodes.title, pending_xref)
    while node.parent is not None:
        node = node.parent
        if isinstance(node, around):
            return True
    return False


def _candidates(text: str, module: str) -> Iterator[str]:
    """Dotted names that running text may mean, the likeliest first.

    On pages of the reference short names mean what they mean in the module.
    """
    name = text.split("(")[0]
    if not all(part.isidentifier() for part in name.split(".")):
        return
    if name.split(".")[0] == _PACKAGE.name:
        yield _REFERENCE.full(name)
        yield name
    if module not in _PACKAGE.modules:
        return
    if module == _PACKAGE.name:
        yield f"{module}.{name}"
    meant = _meant(name, module)
    if meant is not None and meant.split(".")[0] == _PACKAGE.name:
        yield _REFERENCE.full(meant)
    while module:
        yield f"{module}.{name}"
        module = module.rpartition(".")[0]


def source_of(full: str) -> str | None:
    """A link to where a name of the reference is defined; None for fields."""
    found = _PACKAGE.find(full)
    owner = _PACKAGE.home(full)
    while owner not in _PACKAGE.modules:
        owner = owner.rpartition(".")[0]
        if owner and _PACKAGE.home(owner) != owner:
            owner = _PACKAGE.home(owner)
    if found is None or (found.kind == "data" and f"{owner}.{found.name}" != full):
        return None
    path = _PACKAGE.modules[owner].path.relative_to(ROOT).as_posix()
    return f"{SOURCE}{path}#L-{found.node.lineno}"


def _source_pages(app: Sphinx) -> Iterator[tuple[str, dict[str, Any], str]]:
    """Files as they are, with a number at every line."""
    files = set(json.loads((Path(app.srcdir) / "sources.json").read_text()))
    files |= {
        x.path.relative_to(ROOT).as_posix()
        for x in _PACKAGE.public_modules(reference.LEFT_OUT)
    }
    formatter = pygments.formatters.HtmlFormatter(
        linenos="inline", lineanchors="L", anchorlinenos=True
    )
    for file in sorted(files):
        text = (ROOT / file).read_text(encoding="utf-8")
        try:
            lexer = pygments.lexers.get_lexer_for_filename(file)
        except pygments.util.ClassNotFound:
            lexer = pygments.lexers.TextLexer()
        shown = pygments.highlight(text, lexer, formatter)
        body = f'<h1><code>{escape(file)}</code></h1><div class="source">{shown}</div>'
        yield f"{SOURCE_FOLDER}/{file}", {"title": file, "body": body}, "page.html"
