"""What is installed: bounds and their oldest versions, package data, the release."""

import fnmatch
import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())

# Of these no old version can be had that computes on CPUs alone.
NOT_THE_OLDEST = {"torch", "torchvision"}

# What the tests with the oldest versions do without.
ELSEWHERE = {"browser", "cuda", "cuda12", "docs", "ray", "tpu"}


def pins(name):
    lines = (ROOT / name).read_text().splitlines()
    return dict(line.split("==") for line in lines if line and line[0] != "#")


def bounds():
    project = PROJECT["project"]
    yield from project["dependencies"]
    for extra, needed in project["optional-dependencies"].items():
        if extra not in {"dev", *ELSEWHERE}:
            yield from needed


def numbers(version):
    """`1.26` and `1.26.0` are the same."""
    return tuple(map(int, re.sub(r"(\.0)+$", "", version).split(".")))


def test_the_oldest_versions_are_those_that_are_allowed():
    pinned = pins("constraints-oldest.txt")
    for bound in bounds():
        name, oldest = bound.split(">=")
        if name not in NOT_THE_OLDEST:
            assert numbers(pinned[name]) == numbers(oldest), name
    assert pinned["jaxlib"] == pinned["jax"]


def test_what_is_tested_is_allowed():
    pinned = pins("constraints.txt")
    for bound in bounds():
        name, oldest = bound.split(">=")
        assert numbers(pinned[name]) >= numbers(oldest), name


def test_all_files_of_the_package_are_part_of_the_wheel():
    patterns = PROJECT["tool"]["setuptools"]["package-data"]["vos_jax"]
    package = ROOT / "vos_jax"
    data = [
        path.relative_to(package).as_posix()
        for path in package.rglob("*")
        if path.is_file() and path.suffix not in (".py", ".pyc")
    ]
    assert "py.typed" in data and "assets/stm_tiny.safetensors" in data
    for name in data:
        # Here `**/` is also no folder at all, and `*` may not cross one.
        assert any(
            (
                name.count("/") == pattern.count("/")
                and fnmatch.fnmatchcase(name, pattern)
            )
            or (
                pattern.startswith("**/")
                and fnmatch.fnmatchcase(name.rpartition("/")[2], pattern[3:])
            )
            for pattern in patterns
        ), f"{name} is left out"


@pytest.mark.parametrize(
    ("name", "pattern"),
    [
        ("CHANGELOG.md", r"## (\S+) \((\S+)\)"),
        ("CITATION.cff", r"version: (\S+)\ndate-released: (\S+)"),
    ],
)
def test_the_release_is_named_everywhere(name, pattern):
    newest = re.search(pattern, (ROOT / name).read_text())
    citation = (ROOT / "CITATION.cff").read_text()
    assert newest[1] == PROJECT["project"]["version"]
    assert f"date-released: {newest[2]}" in citation


def test_extras_that_pages_name_are_there():
    named = set()
    for page in (ROOT / "README.md", *(ROOT / "docs").glob("*.md")):
        for several in re.findall(r'(?:vos_jax|\.)\[([a-z0-9,]+)\]"', page.read_text()):
            named |= set(several.split(","))
    assert {"app", "train", "data", "docs"} <= named
    assert named <= PROJECT["project"]["optional-dependencies"].keys()
