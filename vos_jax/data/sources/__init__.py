"""Training data sets in their official layouts, each as a `Source`.

Opening lists files and opens no image. What is wrong with a file is said when it is
read, by an InputError that names it.
"""

from vos_jax.data.sources.coco import CocoSource
from vos_jax.data.sources.concat import ConcatSource
from vos_jax.data.sources.files import FileSource
from vos_jax.data.sources.generated import GeneratedSource
from vos_jax.data.sources.table import GENERATED, SOURCES, open_source

__all__ = [
    "GENERATED",
    "SOURCES",
    "CocoSource",
    "ConcatSource",
    "FileSource",
    "GeneratedSource",
    "open_source",
]
