"""Pages of results that open from a file: one HTML file, which needs nothing else."""
