"""The reference describes what is public, all of it, once."""

import re
import symtable
from pathlib import Path

import pytest
from generator import docstrings
from generator.package import read_package
from generator.reference import GROUPS, Reference

import vos_jax

PACKAGE = Path(vos_jax.__file__).parent
# Members of classes stand in those, with other directives or shorter fences.
DIRECTIVE = re.compile(
    r"^(?::{5}\{py:(?:function|data)\}|:{6}\{py:class\}) (\w+).*\n"
    r"(?::canonical: (\S+))?",
    re.M,
)


@pytest.fixture(scope="module")
def reference() -> Reference:
    return Reference(read_package(PACKAGE))


@pytest.fixture(scope="module")
def pages(reference: Reference) -> dict[str, str]:
    return reference.pages()


def _public_names() -> set[str]:
    """As Python's compiler tells, which knows nothing of the generator."""
    names = set()
    for path in PACKAGE.rglob("*.py"):
        parts = ("vos_jax", *path.relative_to(PACKAGE).with_suffix("").parts)
        if parts[-1] == "__init__":
            parts = parts[:-1]
        if parts[1:2] == ("cli",) or any(part.startswith("_") for part in parts):
            continue
        table = symtable.symtable(path.read_text(), str(path), "exec")
        names |= {
            ".".join([*parts, symbol.get_name()])
            for symbol in table.get_symbols()
            if symbol.is_assigned() and not symbol.is_imported()
            if not symbol.get_name().startswith("_")
        }
    return names


def _described(pages: dict[str, str]) -> list[str]:
    """Where everything is defined that has a description."""
    return [
        match[2] or f"{page.rpartition('/')[2]}.{match[1]}"
        for page, text in pages.items()
        for match in DIRECTIVE.finditer(text)
    ]


def test_every_public_name_is_described_once(pages):
    described = _described(pages)
    assert len(described) > 1000
    assert len(described) == len(set(described))
    assert set(described) == _public_names()


def test_the_first_page_describes_what_the_package_offers(pages):
    found = {match[1] for match in DIRECTIVE.finditer(pages["reference/index"])}
    assert found == set(vos_jax.__all__)


def test_the_first_page_leaves_nothing_to_its_end():
    grouped = [name for names in GROUPS.values() for name in names]
    assert sorted(grouped) == sorted(vos_jax.__all__)


def test_every_public_name_has_a_docstring(reference):
    found = {x.home: reference.package.find(x.home) for x in reference.entries}
    assert not [home for home, name in found.items() if not name.doc]


def test_every_module_has_a_docstring(reference):
    modules = reference.package.public_modules()
    assert not [module.name for module in modules if not module.doc]


def test_shapes_can_be_read(pages):
    text = pages["reference/vos_jax.ops.read"]
    assert "query_key: Float[Array, 'h w Ck']" in text
    assert "-> Float[Array, 'O h w Cv']" in text
    # Without the blank that keeps linters from taking a letter for a name.
    text = pages["reference/index"]
    assert ":type: \"Int[Array, 'O']\"" in text


SMALL = {
    "__init__.py": '''\
"""Small."""
from typing import TYPE_CHECKING
if TYPE_CHECKING:
    from small.inner import shown
__all__ = ["shown"]
''',
    "inner.py": '''\
"""Inside."""
from dataclasses import dataclass
from os import path

FIRST, SECOND = 1, 2
"""Two numbers."""
BARE = 3

def shown(x: int, *rest: float, key: str = "k") -> int:
    """Shows.

    More of it.

    Args:
      x: The one,
        in two lines.
      *rest: Others.

    Returns:
      Something.

    Raises:
      ValueError: Never.
    """

def _hidden():
    """Not."""

@dataclass(frozen=True, kw_only=True)
class Base:
    """The base.

    Attributes:
      size: In pixels.
    """

    size: int = 4

    def act(self, what: int) -> "Derived":
        """Acts."""

class Derived(Base):
    """Further."""

    more: str

    def act(self, what: int) -> None:
        pass

    @property
    def double(self) -> int:
        """Twice."""
''',
    "_private.py": '"""Not shown."""\nNAME = 1\n',
}


@pytest.fixture
def small(tmp_path: Path) -> dict[str, str]:
    folder = tmp_path / "small"
    folder.mkdir()
    for name, text in SMALL.items():
        (folder / name).write_text(text)
    return Reference(read_package(folder)).pages()


def test_private_names_and_modules_are_left_out(small):
    assert set(small) == {"reference/index", "reference/small.inner"}
    assert "_hidden" not in "".join(small.values())
    assert "os.path" not in "".join(small.values())


def test_a_name_of_the_package_is_described_under_that_name_alone(small):
    assert ":canonical: small.inner.shown" in small["reference/index"]
    assert "{py:function}" not in small["reference/small.inner"]
    assert "{py:obj}`small.shown`" in small["reference/small.inner"]


def test_sections_become_fields(small):
    text = small["reference/index"]
    assert "{py:function} shown(x: int, *rest: float, key: str='k') -> int" in text
    fields = text[text.index(":param x:") :].split("\n\n")[0]
    assert fields.splitlines() == [
        ":param x: The one,",
        "    in two lines.",
        r":param \*rest: Others.",
        ":returns: Something.",
        ":raises ValueError: Never.",
    ]
    assert "More of it." in text


def test_constants_have_their_own_values_and_what_is_said_of_them(small):
    inner = small["reference/small.inner"]
    for name, value in {"FIRST": 1, "SECOND": 2}.items():
        entry = f':::::{{py:data}} {name}\n:value: "{value}"\n\nTwo numbers.\n'
        assert entry in inner


def test_classes_show_fields_and_take_what_they_inherit(small):
    inner = small["reference/small.inner"]
    assert "{py:class} Base(*, size=4)" in inner
    assert "{py:class} Derived(size=4, more)" in inner
    assert ':::::{py:attribute} size\n:type: "int"\n:value: "4"' in inner
    assert "In pixels." in inner
    assert ':::::{py:property} double\n:type: "int"' in inner


def test_types_that_come_later_are_shown_without_quotes(small):
    assert "{py:method} act(what: int) -> Derived" in small["reference/small.inner"]


def test_a_method_without_docstring_has_that_of_the_class_it_comes_from(small):
    assert "As of {py:obj}`~small.inner.Base.act`." in small["reference/small.inner"]


def test_a_line_that_belongs_to_no_entry_is_refused():
    with pytest.raises(ValueError, match="no entry"):
        docstrings.parse("Does.\n\nArgs:\n  whatever this is\n")


def test_a_line_that_begins_with_a_percent_sign_is_no_comment():
    assert docstrings.parse("Costs 3\n% of it.").body == "Costs 3\n\\% of it."
