"""Who may import whom: downwards only, and nothing heavy by accident."""

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "vos_jax"
LEVELS = [
    {"errors", "types"},
    {"ops", "media"},
    {"nn", "data", "evaluation", "convert", "runtime"},
    {"methods"},
    {"inference"},
    {"training"},
    {"bench"},
    {"reports", "app"},
    {"cli"},
]
LEVEL = {name: level for level, names in enumerate(LEVELS) for name in names}
HOST_SIDE = {"media", "evaluation", "data", "convert"}
# Its class needs one of theirs, and nobody else imports it before it is asked for.
TFDS_BUILDER = PACKAGE / "data" / "records" / "vos_records.py"
MODULES = sorted(
    path
    for path in PACKAGE.rglob("*.py")
    if path.parent != PACKAGE or path.stem not in ("__init__", "__main__")
)


def _imports(nodes, module):
    """Dotted names of what is imported, relative ones resolved."""
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parents = module[: len(module) - node.level] if node.level else []
            base = [*parents, *(node.module or "").split(".")]
            yield from (".".join([*filter(None, base), a.name]) for a in node.names)


def _read(path):
    module = ["vos_jax", *path.relative_to(PACKAGE).with_suffix("").parts]
    return module, ast.parse(path.read_text())


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_go_down(path):
    module, tree = _read(path)
    own = module[1]
    assert own in LEVEL, f"{own} has no level yet"
    for name in _imports(ast.walk(tree), module):
        if name.split(".")[0] == "vos_jax":
            other = name.split(".")[1]
            assert other in LEVEL, f"{name} is above every layer"
            assert other == own or LEVEL[other] < LEVEL[own], f"{own} imports {name}"


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_a_file_is_read_in_one_sitting(path):
    assert len(path.read_text().splitlines()) <= 400


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_heavy_packages_are_imported_where_they_are_used(path):
    module, tree = _read(path)
    heavy = {"torch", "tensorflow", "tensorflow_datasets", "cv2", "matplotlib"}
    if module[1] in HOST_SIDE:
        heavy |= {"jax", "flax"}
    if path == TFDS_BUILDER:
        heavy -= {"tensorflow_datasets"}
    functions = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)
    todo, eager = [tree], []
    while todo:
        for node in ast.iter_child_nodes(todo.pop()):
            if not isinstance(node, functions):
                eager.append(node)
                todo.append(node)
    roots = {name.split(".")[0] for name in _imports(eager, module)}
    assert not roots & heavy


STEP = """
import sys, jax, numpy as np, vos_jax
method = vos_jax.create(
    "stm", backbone={"depth": 18, "width": 4}, key_dim=4, value_dim=4, decoder_dim=4
)
frame, masks = np.zeros((16, 16, 3), np.float32), np.ones((1, 16, 16), np.float32)
shapes = jax.eval_shape(method.init, jax.random.key(0), frame, masks)
variables = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), shapes)
state = vos_jax.start(method, variables, frame, masks)
state, output = vos_jax.step(method, variables, state, frame)
assert output.probs.shape == (2, 16, 16)
print(*sorted(name for name in sys.modules if "." not in name))
"""


def test_what_is_imported_at_once_is_installed_without_extras():
    metadata = tomllib.loads((PACKAGE.parent / "pyproject.toml").read_text())
    needed = [re.split("[>=<]", x)[0] for x in metadata["project"]["dependencies"]]
    # Modules have the names of their packages but for one.
    there = {*sys.stdlib_module_names, "vos_jax", "PIL", *needed}
    for path in MODULES:
        module, tree = _read(path)
        if module[1] == "training" or path == TFDS_BUILDER:
            continue
        found = {name.split(".")[0] for name in _imports(tree.body, module)}
        assert found <= there, f"{path.name} imports {sorted(found - there)}"


def test_a_step_needs_neither_tensorflow_nor_torch():
    done = subprocess.run(
        [sys.executable, "-c", STEP],
        cwd=PACKAGE.parent,
        capture_output=True,
        text=True,
        check=True,
    )
    loaded = set(done.stdout.split())
    assert "vos_jax" in loaded
    assert not loaded & {"torch", "tensorflow", "tensorflow_datasets", "cv2", "optax"}
