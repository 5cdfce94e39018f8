"""Pytrees of the package as trees that plain JAX knows, and back.

A NamedTuple becomes a dictionary of its fields, and keys become text. What is left are
dictionaries, tuples, lists, None and arrays, which need no registration wherever a
program is read.
"""

from typing import Any

import jax

from vos_jax.errors import InputError


def to_plain(tree: Any) -> Any:
    """The same arrays in dictionaries, tuples and lists alone.

    Raises:
      InputError: A node is of a class that only its own package knows.
    """
    if hasattr(tree, "_fields"):
        return {name: to_plain(x) for name, x in tree._asdict().items()}
    if isinstance(tree, dict):
        return {str(key): to_plain(x) for key, x in tree.items()}
    if type(tree) in (tuple, list):
        return type(tree)(map(to_plain, tree))
    if tree is not None and not jax.tree_util.all_leaves([tree]):
        raise InputError(
            f"{type(tree).__name__} is part of what the method carries, which plain JAX"
            " does not know; use NamedTuples, dictionaries, tuples and lists there"
        )
    return tree


def from_plain(like: Any, plain: Any) -> Any:
    """What `to_plain` has made of a tree of the structure of `like`."""
    structure: Any = jax.tree.structure(like)
    numbered = structure.unflatten(range(structure.num_leaves))
    order, leaves = jax.tree.leaves(to_plain(numbered)), jax.tree.leaves(plain)
    by_number = dict(zip(order, leaves, strict=True))
    return jax.tree.map(by_number.__getitem__, numbered)


def named_leaves(tree: Any, name: str) -> dict[str, Any]:
    """Leaves of a plain tree by names such as `state.memory.bank.time`."""
    found = {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        keys = (str(getattr(key, "key", getattr(key, "idx", None))) for key in path)
        found[".".join(filter(None, [name, *keys]))] = leaf
    return found
