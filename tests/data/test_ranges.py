"""What numbers a configuration may have."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from vos_jax.data.ranges import check_number, check_range, check_size, check_whole
from vos_jax.errors import InputError


@dataclass
class Config:
    value: Any


CHECKS = {
    "number": lambda value: check_number(Config(value), "value", 0, 2),
    "range": lambda value: check_range(Config(value), "value", 0, 2),
    "whole": lambda value: check_whole(Config(value), "value", 1, 3),
    "open": lambda value: check_whole(Config(value), "value", 1),
    "size": lambda value: check_size(Config(value), "value", value, 16),
}


@pytest.mark.parametrize(
    ("check", "value"),
    [
        *(("number", value) for value in (0, 0.5, 2.0, np.float32(1))),
        *(("range", value) for value in ((0, 2), (0.5, 0.5))),
        *(("whole", value) for value in (1, 3, np.int64(2))),
        ("open", 10**9),
        *(("size", value) for value in ((16, 16), (384, 640))),
    ],
)
def test_what_fits_passes(check, value):
    CHECKS[check](value)


@pytest.mark.parametrize(
    ("check", "value"),
    [
        *(("number", value) for value in (-0.1, 2.1, float("nan"), "1", None, (1,))),
        *(("range", value) for value in ((1, 0), (0, 3), (1,), (1, "2"), [0, 1], 1)),
        *(("range", value) for value in ((float("nan"), 1), (0, 1, 2), "01")),
        *(("whole", value) for value in (0, 4, 2.0, "2", None)),
        ("open", 0),
        *(("size", value) for value in ((16,), (16, 15), (16.0, 16), "ab", 16, None)),
    ],
)
def test_what_does_not_fit_is_named_in_one_line(check, value):
    with pytest.raises(InputError, match=r"^Config value=.*: use .+") as error:
        CHECKS[check](value)
    assert repr(value) in str(error.value)
    assert "\n" not in str(error.value)
