"""What a Python package offers, read from its source without importing it.

Nothing is run, so no requirement of the package has to be there, and signatures and
defaults are shown as they are written.
"""

import ast
import inspect
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


@dataclass(frozen=True)
class Name:
    """Something with a name: a function, a class, a constant, a field.

    Attributes:
      name: Without the module's.
      node: Its definition.
      doc: Its docstring; of a constant the string below it. "" for none.
    """

    name: str
    node: ast.AST
    doc: str

    @property
    def kind(self) -> str:
        """As Sphinx calls it."""
        if isinstance(self.node, ast.ClassDef):
            return "class"
        return "function" if isinstance(self.node, _FUNCTIONS) else "data"

    @property
    def decorators(self) -> set[str]:
        """Names of the decorators, without what they are called with."""
        found = getattr(self.node, "decorator_list", [])
        calls = [x.func if isinstance(x, ast.Call) else x for x in found]
        return {ast.unparse(x).rpartition(".")[2] for x in calls}

    @property
    def public(self) -> bool:
        """Whether it is meant for others."""
        return not self.name.startswith("_")

    @cached_property
    def members(self) -> tuple["Name", ...]:
        """What a class defines, in its order."""
        assert isinstance(self.node, ast.ClassDef)
        return tuple(_names(self.node.body))

    @property
    def fields(self) -> list["Name"]:
        """Annotated names of a class: what its instances are made of."""
        return [x for x in self.members if isinstance(x.node, ast.AnnAssign)]


@dataclass(frozen=True)
class Module:
    """A module or package.

    Attributes:
      name: Dotted.
      path: Its file.
      names: What it defines at its top level, private names as well.
      imports: What a name that it imports stands for, dotted.
      exports: Its `__all__`, where it has one.
      doc: Its docstring.
    """

    name: str
    path: Path
    names: dict[str, Name]
    imports: dict[str, str]
    exports: tuple[str, ...]
    doc: str

    @property
    def public(self) -> list[Name]:
        """What it offers and defines itself, in the order of the file.

        A stand-in for an import that fails is no offer.
        """
        return [
            x for x in self.names.values() if x.public and x.name not in self.imports
        ]


@dataclass(frozen=True)
class Package:
    """All modules of a package by their dotted names.

    Attributes:
      name: Of the package.
      modules: Also those whose names begin with `_`.
    """

    name: str
    modules: dict[str, Module] = field(repr=False)

    def public_modules(self, without: tuple[str, ...] = ()) -> list[Module]:
        """Modules that others may import, but for some packages and what is in them."""
        return [
            module
            for name, module in self.modules.items()
            if not any(part.startswith("_") for part in name.split("."))
            and not any(f"{name}.".startswith(f"{other}.") for other in without)
        ]

    def children(self, module: Module) -> list[Module]:
        """Modules and packages directly inside of a package."""
        return [
            other
            for other in self.public_modules()
            if other.name.rpartition(".")[0] == module.name
        ]

    def home(self, dotted: str) -> str:
        """Where that is defined which can be imported under a dotted name.

        What is not of this package stays what it is.
        """
        for _ in range(10):
            module, _, name = dotted.rpartition(".")
            if dotted in self.modules or module not in self.modules:
                return dotted
            if name in self.modules[module].names:
                return dotted
            if name not in self.modules[module].imports:
                return dotted
            dotted = self.modules[module].imports[name]
        raise ValueError(f"{dotted}: imported in a circle")

    def find(self, dotted: str) -> Name | None:
        """The definition behind a dotted name, of a member of a class as well."""
        parts = self.home(dotted).split(".")
        for cut in range(len(parts) - 1, 0, -1):
            module = self.modules.get(".".join(parts[:cut]))
            if module is not None:
                found = module.names.get(parts[cut])
                for part in parts[cut + 1 :]:
                    if found is None or found.kind != "class":
                        return None
                    found = next((x for x in found.members if x.name == part), None)
                return found
        return None

    def bases(self, module: Module, name: Name) -> Iterator[tuple[Module, Name]]:
        """Classes of this package that a class of a module extends, nearest first."""
        assert isinstance(name.node, ast.ClassDef)
        for base in name.node.bases:
            first, _, rest = ast.unparse(base).partition(".")
            dotted = module.imports.get(first, f"{module.name}.{first}")
            home = self.home(f"{dotted}.{rest}" if rest else dotted)
            found = self.find(home)
            if found is not None and found.kind == "class":
                owner = self.modules[home.rpartition(".")[0]]
                yield owner, found
                yield from self.bases(owner, found)


def read_package(folder: Path) -> Package:
    """Reads a package from the folder that is named like it."""
    modules = {}
    for path in sorted(folder.rglob("*.py")):
        parts = path.relative_to(folder.parent).with_suffix("").parts
        if parts[-1] == "__init__":
            parts = parts[:-1]
        module = _read_module(".".join(parts), path)
        modules[module.name] = module
    return Package(folder.name, modules)


def _read_module(name: str, path: Path) -> Module:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    names = {x.name: x for x in _names(tree.body)}
    package = name if path.stem == "__init__" else name.rpartition(".")[0]
    imports = dict(_imports(tree, package))
    exports: tuple[str, ...] = ()
    if "__all__" in names:
        exports = tuple(ast.literal_eval(names.pop("__all__").node.value))
    return Module(name, path, names, imports, exports, ast.get_docstring(tree) or "")


def _imports(tree: ast.Module, package: str) -> Iterator[tuple[str, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                if alias.asname:
                    yield alias.asname, alias.name
                else:
                    first = alias.name.split(".")[0]
                    yield first, first
        elif isinstance(node, ast.ImportFrom):
            parents = package.split(".")
            kept = parents[: len(parents) - node.level + 1] if node.level else []
            base = ".".join([*kept, *filter(None, [node.module])])
            for alias in node.names:
                yield alias.asname or alias.name, f"{base}.{alias.name}"


def _names(body: list[ast.stmt]) -> Iterator[Name]:
    """Definitions of a module or class; of a name that has several the last."""
    found: dict[str, Name] = {}
    for node, after in zip(body, [*body[1:], None], strict=True):
        if isinstance(node, (*_FUNCTIONS, ast.ClassDef)):
            doc = ast.get_docstring(node) or ""
            targets = [node.name]
            if "setter" in Name(node.name, node, doc).decorators:
                continue
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            doc = _string(after)
            targets = list(_targets(node))
        else:
            continue
        for target in targets:
            found[target] = Name(target, node, doc)
    yield from found.values()


def _targets(node: ast.Assign | ast.AnnAssign) -> Iterator[str]:
    targets = node.targets if isinstance(node, ast.Assign) else [node.target]
    for target in targets:
        for part in target.elts if isinstance(target, ast.Tuple) else [target]:
            if isinstance(part, ast.Name):
                yield part.id


def _string(node: ast.stmt | None) -> str:
    """A string that stands alone, as docstrings of constants do."""
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
        if isinstance(node.value.value, str):
            return inspect.cleandoc(node.value.value)
    return ""
