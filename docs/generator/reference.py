"""The pages of the API reference: one for every public module, from its source.

What `vos_jax` itself offers is described on the first page, under the name by which it
is imported; the page of the module that defines it only leads there.
"""

import ast
import copy
import json
from collections.abc import Iterator
from dataclasses import dataclass

from generator import docstrings
from generator.package import Module, Name, Package

FOLDER = "reference"
LEFT_OUT = ("vos_jax.cli",)
"""Has a page of its own kind: what can be typed."""

GROUPS = {
    "Segment videos": (
        "segment_video",
        "stream_video",
        "VideoSegmenter",
        "FrameResult",
    ),
    "Step through time": (
        "start",
        "step",
        "add_masks",
        "remove_object",
        "State",
        "Output",
        "state_bytes",
    ),
    "Methods and weights": (
        "METHODS",
        "create",
        "load_model",
        "load_weights",
        "save_weights",
        "inference_form",
        "Method",
        "Entry",
        "Proposals",
    ),
    "Many devices, other programs": (
        "over_devices",
        "export_program",
        "load_program",
        "LoadedProgram",
    ),
    "Errors": ("InputError", "InputWarning"),
}
"""In which order the first page describes what `import vos_jax` offers."""

_LONGEST_VALUE = 90
# Literal, and the types of arrays: their strings are no types.
_WITH_TEXT = {"Literal", "Float", "Int", "UInt", "Num", "Real", "Bool", "Shaped", "Key"}

_INTRODUCTION = """\
# API reference

Everything that is public, from its docstrings. This page has what `import vos_jax`
offers and most programs need; below it are the packages, which may be used alone:
`vos_jax.ops` knows no network, `vos_jax.media` and `vos_jax.evaluation` no JAX.

Letters in shapes: `B` videos, `T` frames, `O` objects, `H W` image, `h w` feature grid
(stride 16), `N` memory slots, `Ck Cv` key and value channels; `*b` any number of axes.
Channels come last. Frames are RGB, uint8 or float in [0, 1]; label maps are uint8, 0
for the background, 255 for "ignore". Bad input is an `InputError`.
"""


@dataclass(frozen=True)
class Entry:
    """A public name where it is described.

    Attributes:
      page: Name of the page.
      full: The dotted name under which it is described.
      home: The dotted name where it is defined; the same for most.
      kind: As Sphinx calls it.
    """

    page: str
    full: str
    home: str
    kind: str


class Reference:
    """The reference of a package.

    Attributes:
      package: What is described.
      entries: Every public name, once.
    """

    def __init__(self, package: Package) -> None:
        self.package = package
        self._modules = {x.name: x for x in package.public_modules(LEFT_OUT)}
        self._root = package.modules[package.name]
        self._public = {
            package.home(f"{package.name}.{name}"): f"{package.name}.{name}"
            for name in self._root.exports
        }
        self.entries = list(self._all_entries())

    def _all_entries(self) -> Iterator[Entry]:
        for module in self._modules.values():
            for name in module.public:
                home = f"{module.name}.{name.name}"
                full = self._public.get(home, home)
                page = self.page(module) if full == home else f"{FOLDER}/index"
                yield Entry(page, full, home, name.kind)

    def page(self, module: Module) -> str:
        """The name of a module's page."""
        if module is self._root:
            return f"{FOLDER}/index"
        return f"{FOLDER}/{module.name}"

    def full(self, dotted: str) -> str:
        """Under which name that is described which a dotted name stands for."""
        home = self.package.home(dotted)
        return self._public.get(home, home)

    def pages(self) -> dict[str, str]:
        """Markdown of every page by the page's name."""
        return {
            self.page(module): "\n".join(
                self._front() if module is self._root else self._page(module)
            )
            for module in self._modules.values()
        }

    def _front(self) -> Iterator[str]:
        yield _INTRODUCTION
        yield _directive("py:module", self.package.name, fence=4)
        left = dict.fromkeys(sorted(self._root.exports))
        for group, names in [*GROUPS.items(), ("More", tuple(left))]:
            described = [name for name in names if name in left]
            if described:
                yield f"## {group}\n"
            for name in described:
                del left[name]
                home = self.package.home(f"{self.package.name}.{name}")
                yield self._described(*self._defined(home), canonical=home)
        children = self.package.children(self._root)
        children = [x for x in children if x.name in self._modules]
        yield "## Packages\n"
        yield _table(children)
        yield _toctree([f"/{self.page(x)}" for x in children])

    def _page(self, module: Module) -> Iterator[str]:
        # The side bar ends with the packages: all modules would make every page slow.
        above = module.name.split(".")[:-1]
        if len(above) > 1:
            yield "---\norphan: true\n---\n"
        yield f"# {module.name}\n"
        parents = [".".join(above[: i + 1]) for i in range(len(above))]
        links = [f"[{x}](/{self.page(self._modules[x])}.md)" for x in parents]
        yield f"In {' / '.join(links)}.\n"
        yield _directive("py:module", module.name, fence=4)
        yield docstrings.parse(module.doc).body + "\n"
        yield from self._exported(module)
        for name in module.public:
            if f"{module.name}.{name.name}" not in self._public:
                yield self._described(module, name)
        elsewhere = [
            self._public[f"{module.name}.{x.name}"]
            for x in module.public
            if f"{module.name}.{x.name}" in self._public
        ]
        if elsewhere:
            links = ", ".join(f"{{py:obj}}`{x}`" for x in elsewhere)
            yield f"Defined here and described under the public name: {links}.\n"
        if children := self.package.children(module):
            yield "## Modules\n"
            yield _table(children)

    def _exported(self, module: Module) -> Iterator[str]:
        """What a package offers of its modules, in a table."""
        rows = []
        for name in module.exports:
            full = self.full(f"{module.name}.{name}")
            if full != f"{module.name}.{name}" and self.package.find(full):
                _, found = self._defined(self.package.home(full))
                rows.append((f"{{py:obj}}`{name} <{full}>`", _summary(found.doc)))
        if rows:
            yield f"From `{module.name}` may be imported:\n"
            yield _rows(("name", ""), rows)

    def _defined(self, home: str) -> tuple[Module, Name]:
        place, _, name = home.rpartition(".")
        module = self.package.modules[place]
        return module, module.names[name]

    def _described(self, module: Module, name: Name, canonical: str = "") -> str:
        options = [f":canonical: {canonical}"] if canonical else []
        parsed = self._parsed(module, name)
        if name.kind == "class":
            content = [*self._class_text(name, parsed), *self._members(module, name)]
            head = self._class_head(module, name)
            return _directive("py:class", head, *content, options=options, fence=6)
        if name.kind == "function":
            return _function("py:function", name, parsed, options, method=False)
        options += _typed(name)
        return _directive("py:data", name.name, parsed.body, options=options)

    def _parsed(self, module: Module, name: Name) -> docstrings.Docstring:
        try:
            return docstrings.parse(name.doc)
        except ValueError as error:
            raise ValueError(f"{module.path}: {name.name}: {error}") from error

    def _class_head(self, module: Module, name: Name) -> str:
        """The class with what its constructor takes, where fields tell."""
        own = next((x for x in name.members if x.name == "__init__"), None)
        if own is not None:
            return name.name + _signature(own.node, method=True)[0]
        fields: dict[str, str] = {}
        bases = [base for _, base in self.package.bases(module, name)]
        for owner in [*reversed(bases), name]:
            for x in owner.fields:
                if x.public and "ClassVar" not in ast.unparse(x.node.annotation):
                    value = _value(x)
                    fields[x.name] = f"{x.name}={value}" if value else x.name
        keyword = "kw_only=True" in " ".join(
            ast.unparse(x) for x in name.node.decorator_list
        )
        shown = ["*", *fields.values()] if keyword and fields else [*fields.values()]
        return f"{name.name}({', '.join(shown)})"

    def _class_text(self, name: Name, parsed: docstrings.Docstring) -> Iterator[str]:
        bases = [ast.unparse(x) for x in name.node.bases]
        if bases:
            yield f"Bases: {', '.join(f'`{x}`' for x in bases)}\n"
        yield parsed.body
        yield docstrings.field_list(parsed)

    def _members(self, module: Module, name: Name) -> Iterator[str]:
        said = dict(self._parsed(module, name).entries.get("Attributes", {}))
        shown = {x.name: x for x in name.members if x.public}
        for member in shown.values():
            if member.kind == "data":
                text = said.pop(member.name, member.doc)
                yield _attribute(member.name, text, _typed(member))
        inherited = {
            x.name: x
            for _, base in self.package.bases(module, name)
            for x in base.members
        }
        for attribute, text in said.items():
            if attribute in shown:
                continue
            found = inherited.get(attribute)
            options = _typed(found) if found and found.kind == "data" else []
            yield _attribute(attribute, text, options)
        for member in shown.values():
            if member.kind == "function":
                yield self._method(module, name, member)
            elif member.kind == "class":
                yield _directive("py:class", member.name, member.doc, fence=5)

    def _method(self, module: Module, owner: Name, method: Name) -> str:
        parsed = self._parsed(module, method)
        if method.decorators & {"property", "cached_property"}:
            returns = method.node.returns
            options = [f":type: {_quoted(_annotation(returns))}"] if returns else []
            text = [parsed.body, docstrings.field_list(parsed)]
            return _directive(
                "py:property", method.name, *text, options=options, fence=5
            )
        flags = {"classmethod", "staticmethod"} & method.decorators
        options = [f":{x}:" for x in sorted(flags)]
        if not method.doc:
            for place, base in self.package.bases(module, owner):
                if any(x.name == method.name and x.doc for x in base.members):
                    full = self.full(f"{place.name}.{base.name}")
                    text = f"As of {{py:obj}}`~{full}.{method.name}`."
                    parsed = parsed._replace(body=text)
                    break
        static = "staticmethod" in flags
        return _function("py:method", method, parsed, options, method=not static)


def _function(
    directive: str,
    name: Name,
    parsed: docstrings.Docstring,
    options: list[str],
    *,
    method: bool,
) -> str:
    if isinstance(name.node, ast.AsyncFunctionDef):
        options = [*options, ":async:"]
    head = name.name + "".join(_signature(name.node, method=method))
    text = [parsed.body, docstrings.field_list(parsed)]
    if "contextmanager" in name.decorators:
        text.insert(0, "A context manager.")
    return _directive(directive, head, *text, options=options)


def _signature(node: ast.AST, *, method: bool) -> tuple[str, str]:
    """Parameters in parentheses, and the result with its arrow."""
    assert isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    arguments = copy.deepcopy(node.args)
    if method:
        first = arguments.posonlyargs or arguments.args
        del first[0]
    every = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
    for argument in [*every, arguments.vararg, arguments.kwarg]:
        if argument is not None and argument.annotation is not None:
            argument.annotation = _Shapes().visit(argument.annotation)
    shown = ast.unparse(arguments)
    returns = f" -> {_annotation(node.returns)}" if node.returns else ""
    return f"({shown})", returns


class _Shapes(ast.NodeTransformer):
    """Annotations as people read them.

    Shapes lose the blank that tells linters that they are no names, and types that are
    quoted because they come later in their file lose the quotes.
    """

    def visit_Subscript(self, node: ast.Subscript) -> ast.Subscript:
        texts = [x for x in ast.walk(node.slice) if isinstance(x, ast.Constant)]
        if ast.unparse(node.value) in _WITH_TEXT:
            for text in texts:
                if isinstance(text.value, str):
                    text.value = text.value.strip()
            return node
        self.generic_visit(node)
        return node

    def visit_Constant(self, node: ast.Constant) -> ast.expr:
        if isinstance(node.value, str):
            return ast.parse(node.value, mode="eval").body
        return node


def _annotation(node: ast.expr) -> str:
    return ast.unparse(_Shapes().visit(copy.deepcopy(node)))


def _typed(name: Name) -> list[str]:
    """Type and value of a field or constant, as options."""
    options = []
    if isinstance(name.node, ast.AnnAssign):
        options.append(f":type: {_quoted(_annotation(name.node.annotation))}")
    if value := _value(name):
        options.append(f":value: {_quoted(value)}")
    return options


def _quoted(text: str) -> str:
    """An option's text, whatever is in it."""
    return json.dumps(text, ensure_ascii=False)


def _value(name: Name) -> str:
    """What a name is by default; "" where that is unsaid, dots where it is long."""
    value = getattr(name.node, "value", None)
    if isinstance(name.node, ast.Assign) and isinstance(value, ast.Tuple):
        names = name.node.targets[0]
        if isinstance(names, ast.Tuple):
            listed = [ast.unparse(x) for x in names.elts]
            value = value.elts[listed.index(name.name)]
    if isinstance(value, ast.Call) and ast.unparse(value.func) in ("setting", "field"):
        named = {x.arg: x.value for x in value.keywords}
        factory = named.get("default_factory")
        if factory is not None:
            return f"{ast.unparse(factory)}()"
        value = value.args[0] if value.args else named.get("default")
    text = "" if value is None else ast.unparse(value)
    return text if len(text) <= _LONGEST_VALUE and "\n" not in text else "..."


def _attribute(name: str, text: str, options: list[str]) -> str:
    options = [*options, ":no-contents-entry:"]
    return _directive("py:attribute", name, text, options=options, fence=5)


def _directive(
    name: str,
    head: str,
    *content: str,
    options: list[str] | None = None,
    fence: int = 5,
) -> str:
    """A directive of Sphinx; outer ones have longer fences than what is in them."""
    colons = ":" * fence
    lines = [f"{colons}{{{name}}} {head}", *(options or []), ""]
    lines += [part for text in content if text for part in (text, "")]
    return "\n".join([*lines, colons, ""])


def _summary(doc: str) -> str:
    return docstrings.parse(doc).summary.replace("|", r"\|")


def _table(modules: list[Module]) -> str:
    rows = [(f"{{py:mod}}`{x.name}`", _summary(x.doc)) for x in modules]
    return _rows(("module", ""), rows)


def _rows(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def _toctree(pages: list[str]) -> str:
    listed = "\n".join(pages)
    return f"```{{toctree}}\n:hidden:\n\n{listed}\n```\n"
