"""The memory reads that are timed, and what each must cost."""
