"""Narrow networks of HMMN with weights none of which is zero."""

from functools import partial

from tests.methods import every

NARROW = every.NARROW["hmmn"]
narrow = partial(every.narrow, "hmmn")
