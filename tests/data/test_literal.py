"""What people type is what they mean."""

import pytest

from vos_jax.data.literal import literal


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("3", 3),
        ("1e-4", 1e-4),
        ("(256, 256)", (256, 256)),
        ("{'dtype': 'bfloat16'}", {"dtype": "bfloat16"}),
        ("None", None),
        ("'3'", "3"),
        ("frozen", "frozen"),
        ("runs/a b.safetensors", "runs/a b.safetensors"),
        ("", ""),
        ("(" * 9999, "(" * 9999),
    ],
)
def test_literals_are_read_and_the_rest_is_text(text, value):
    assert literal(text) == value
    assert type(literal(text)) is type(value)
