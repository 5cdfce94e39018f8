"""Drives any method: streaming inference, files, benchmarks."""
