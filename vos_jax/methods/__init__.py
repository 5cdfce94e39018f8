"""The published methods, a file or a folder each, and the table of their names."""

from vos_jax.methods.entry import Entry
from vos_jax.methods.registry import METHODS, create, find_entry, stored_name

__all__ = ["METHODS", "Entry", "create", "find_entry", "stored_name"]
