"""placeholder"""

import argparse

SUMMARY = "Benchmark compiled memory reads and whole models."
EXAMPLE = "vos-jax bench read --out benchmarks/results"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the options."""
