import warnings

from vos_jax.cli.script import run_script
from vos_jax.errors import warn


def test_a_warning_about_input_is_one_line_however_often(capsys):
    def run():
        for _ in range(3):
            warn("a.png: taken as one object")
        warn("b.png: taken as two")

    assert run_script("vos-jax", run) == 0
    assert capsys.readouterr().err.splitlines() == [
        "vos-jax: note: a.png: taken as one object",
        "vos-jax: note: b.png: taken as two",
    ]


def test_warnings_of_others_stay_theirs(capsys):
    shown = []
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.showwarning = lambda message, *rest: shown.append(str(message))
        assert run_script("vos-jax", lambda: warnings.warn("odd", stacklevel=1)) == 0
    assert shown == ["odd"]
    assert capsys.readouterr().err == ""
