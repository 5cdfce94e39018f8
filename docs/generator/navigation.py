"""The order of the pages in the side bar.

A page that is in no section is a warning, and so stops the build.
"""

from collections.abc import Collection

SECTIONS = {
    "Begin": (
        "install",
        "tutorial-segment-your-video",
        "which-method",
        "published-weights",
        "from-the-released-programs",
    ),
    "Masks for videos": (
        "using-it",
        "annotate",
        "many-videos",
        "programs",
        "accelerators",
    ),
    "Evaluate and train": (
        "evaluation",
        "results",
        "reports",
        "training",
        "training-data",
    ),
    "Experiments of the papers": (
        "experiments/stm",
        "experiments/stcn",
        "experiments/hmmn",
        "experiments/lcm",
        "experiments/rde",
        "experiments/dmn_aoa",
        "experiments/dmn_aoa/detector",
    ),
    "Extend": ("through-time", "write-your-own-read", "architecture"),
    "Measured": ("benchmarks",),
    "Reference": ("command-line", "reference/index"),
    "Project": ("developing", "contributing", "changelog", "citing"),
}


def toctrees(pages: Collection[str]) -> str:
    """The sections for the first page, of the pages that there are."""
    return "".join(
        f"\n```{{toctree}}\n:hidden:\n:caption: {section}\n\n{listed}\n```\n"
        for section, names in SECTIONS.items()
        if (listed := "\n".join(x for x in names if x in pages))
    )
