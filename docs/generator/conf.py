"""Sphinx's configuration. `build.py` calls Sphinx with it."""

import sys
import tomllib
from pathlib import Path

_HERE = Path(__file__).parent
sys.path.insert(0, str(_HERE.parent))

with open(_HERE.parents[1] / "pyproject.toml", "rb") as _file:
    _metadata = tomllib.load(_file)["project"]

project = _metadata["name"]
version = release = _metadata["version"]
language = "en"

extensions = ["myst_parser", "sphinx.ext.linkcode", "generator.extension"]
root_doc = "index"
nitpicky = True
smartquotes = False
highlight_language = "none"

myst_enable_extensions = ["colon_fence", "dollarmath", "fieldlist"]
myst_fence_as_directive = ["math"]
myst_heading_anchors = 6
myst_url_schemes = ["http", "https", "mailto", "source"]

add_module_names = False
# That a link to the source has its place beside it.
python_maximum_signature_line_length = 72
toc_object_entries_show_parents = "hide"

html_theme = "furo"
html_title = f"{project} {version}"
html_math_renderer = "mathml"
html_static_path = [str(_HERE / "static")]
html_css_files = ["site.css"]
html_copy_source = False
html_show_sourcelink = False
html_show_sphinx = False
html_show_copyright = False
html_permalinks_icon = "#"


def linkcode_resolve(domain: str, info: dict[str, str]) -> str | None:
    """Where a described name is defined."""
    from generator import extension

    return extension.source_of(f"{info['module']}.{info['fullname']}")
