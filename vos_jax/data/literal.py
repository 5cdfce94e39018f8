"""Values as people type them on a command line."""

import ast
from typing import Any


def literal(text: str) -> Any:
    """A Python literal, `3`, `1e-4`, `(256, 256)`; what is none stays text."""
    try:
        return ast.literal_eval(text)
    # The last two: nested too deep for Python's parser.
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        return text
