"""Narrow networks of LCM with weights none of which is zero."""

from functools import partial

from tests.methods import every

narrow = partial(every.narrow, "lcm")
