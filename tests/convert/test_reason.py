"""Other libraries' texts on one line."""

import pytest

from vos_jax.convert.reason import one_line


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain", "plain"),
        ("two\n\tlines ", "two lines"),
        ("red \x1b[31m\x00", "red ?[31m?"),
        ("123456789", "12345..."),
        ("12345678", "12345678"),
    ],
)
def test_a_text_becomes_one_short_printable_line(text, expected):
    assert one_line(text, limit=8 if text[0].isdigit() else 120) == expected
