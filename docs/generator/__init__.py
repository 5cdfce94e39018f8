"""Makes a site of `docs/`, the pages of experiments, and the package's docstrings."""
