"""Nested mappings of leaves as flat ones keyed by paths, and back."""

from collections.abc import Mapping
from typing import Any

TreePath = tuple[str, ...]
"""Keys from the root of a tree to a leaf."""


def flatten(tree: Mapping[str, Any]) -> dict[TreePath, Any]:
    """Returns the leaves by path; whatever is not a mapping is a leaf.

    Raises:
      ValueError: A key is not a string, or holds the "/" that joins paths in files.
    """
    leaves: dict[TreePath, Any] = {}
    for key, value in tree.items():
        if not isinstance(key, str) or not key or "/" in key:
            raise ValueError(
                f"the key {key!r} cannot be part of a path; "
                "use a non-empty string without '/'"
            )
        if isinstance(value, Mapping):
            leaves |= {(key, *rest): leaf for rest, leaf in flatten(value).items()}
        else:
            leaves[key,] = value
    return leaves


def unflatten(leaves: Mapping[TreePath, Any]) -> dict[str, Any]:
    """Returns the nested dict of `leaves`.

    Raises:
      ValueError: One path goes through another's leaf.
    """
    tree: dict[str, Any] = {}
    # Shorter paths first, so that a leaf is in place before a path can cross it.
    for path in sorted(leaves, key=len):
        node = tree
        for key in path[:-1]:
            node = node.setdefault(key, {})
            if not isinstance(node, dict):
                raise ValueError(f"{'/'.join(path)} goes through a leaf at {key!r}")
        node[path[-1]] = leaves[path]
    return tree


def is_below(place: TreePath, part: str) -> bool:
    """Whether a variable is one of a part, a path like "decoder/join3", of a network.

    The part is looked for in all collections: the first key of `place` does not count.
    """
    return "/".join(place[1:]).startswith(f"{part}/")
