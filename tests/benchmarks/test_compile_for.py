"""What needs no compiler for an absent chip: limits, and what is compiled."""

import argparse

import pytest

from tests.benchmarks.scripts import script
from vos_jax.bench.reads.kinds import KINDS

compile_for = script("compile_for")

STEP = compile_for.Row("step", "stm", "", 3, "bfloat16", 240, 0, 47, 999.0)


def test_what_is_within_its_limits_is_not_named():
    assert not compile_for.exceeded("h200", [STEP])


@pytest.mark.parametrize(
    ("target", "row", "said"),
    [
        ("h200", STEP._replace(kernels=241), "kernels 241 > 240"),
        ("h200", STEP._replace(syncs=1), "syncs 1 > 0"),
        ("h200", STEP._replace(temp_mb=1001.0), "temp_mb 1001 > 1000"),
        ("h200", STEP._replace(objects=1), "kernels 240 > 230"),
        ("h200", STEP._replace(failed="no memory"), "no memory"),
        ("v5e", STEP._replace(objects=1), "temp_mb 999 > 500"),
    ],
)
def test_what_is_above_a_limit_is_named(target, row, said):
    (line,) = compile_for.exceeded(target, [row])
    assert said in line
    assert line.startswith(f"step stm, objects {row.objects}")


def test_limits_are_of_bfloat16_and_a_read_may_have_no_form_for_a_chip():
    rows = [STEP._replace(dtype="float32", kernels=1000)]
    rows.append(STEP._replace(what="read", failed="no such form"))
    assert not compile_for.exceeded("h200", rows)


def test_limits_name_methods_that_there_are():
    named = {limit.name for limit in compile_for.LIMITS} - {None}
    assert named <= set(compile_for.METHODS)


def test_every_method_every_read_and_training_are_compiled():
    args = argparse.Namespace(
        what=("step", "batch", "read", "train"),
        methods=compile_for.METHODS,
        reads=tuple(KINDS),
        objects=(1, 3),
    )
    jobs = list(compile_for.jobs_of(args))
    for what in ("step", "batch"):
        assert {x.name for x in jobs if x.what == what} == set(compile_for.METHODS)
    assert {job.name for job in jobs if job.what == "read"} == set(KINDS)
    assert [job.objects for job in jobs if job.what == "train"] == [3]
    assert len(jobs) == 2 * (2 * len(compile_for.METHODS) + len(KINDS)) + 1


@pytest.mark.parametrize("kind", KINDS.values(), ids=lambda kind: kind.name)
def test_no_form_of_a_read_is_listed_twice(kind):
    forms = [compile_for.form_of(x) for x in compile_for.variants_of(kind)]
    assert len(set(forms)) == len(forms)
    # The choice of candidates has one form.
    assert kind.name == "candidates" or any("reference" not in form for form in forms)
