"""Kernels and waits of a GPU program, counted in texts that are written here."""

import pytest

from tests.benchmarks.scripts import script

launches = script("launches").launches

PLAIN = """
HloModule jit_f, is_scheduled=true

%fused (p: f32[4]) -> f32[4] {
  %p = f32[4]{0} parameter(0)
  %a = f32[4]{0} add(%p, %p)
  ROOT %b = f32[4]{0} multiply(%a, %p)
}

ENTRY %main (x: f32[4]) -> (f32[4], /*index=1*/f32[4]) {
  %x = f32[4]{0} parameter(0)
  %f = f32[4]{0} fusion(%x), kind=kLoop, calls=%fused
  %c = (f32[4]{0:T(8)}, u8[0]{0}) custom-call(%f), custom_call_target="__cublas$gemm"
  %g = f32[4]{0} get-tuple-element(%c), index=0
  %h = f32[4]{0} copy(%g)
  ROOT %t = (f32[4]{0}, f32[4]{0}) tuple(%g, %h)
}
"""

LOOP = """
%body (s: (s32[], f32[4])) -> (s32[], f32[4]) {
  %s = (s32[], f32[4]{0}) parameter(0)
  %f = f32[4]{0} fusion(%s), kind=kLoop, calls=%fused
  %d = ((f32[4]{0}), f32[1]{0}, u32[]) fusion-start(%f), kind=kLoop, calls=%other
  %e = f32[1]{0} fusion-done(%d)
  ROOT %t = (s32[], f32[4]{0}) tuple(%s, %f)
}

%condition (s: (s32[], f32[4])) -> pred[] {
  %s = (s32[], f32[4]{0}) parameter(0)
  ROOT %p = pred[] fusion(%s), kind=kLoop, calls=%compared
}

ENTRY %main (x: f32[4]) -> f32[4] {
  %x = f32[4]{0} parameter(0)
  %w = (s32[], f32[4]{0}) while(%x), condition=%condition, body=%body{TRIPS}
  ROOT %g = f32[4]{0} get-tuple-element(%w), index=1
}
"""

BRANCH = """
%cheap (s: f32[4]) -> f32[4] {
  %s = f32[4]{0} parameter(0)
  ROOT %f = f32[4]{0} fusion(%s), kind=kLoop, calls=%fused
}

%dear (s: f32[4]) -> f32[4] {
  %s = f32[4]{0} parameter(0)
  %f = f32[4]{0} sort(%s), dimensions={0}, to_apply=%compared
  ROOT %g = f32[4]{0} call(%f), to_apply=%cheap
}

ENTRY %main (x: f32[4], p: pred[]) -> f32[4] {
  %x = f32[4]{0} parameter(0)
  %p = pred[] parameter(1)
  ROOT %c = f32[4]{0} conditional(%p, %x, %x), {BRANCHES}
}
"""

TRIPS = ', backend_config={"known_trip_count":{"n":"24"}}'


def test_what_only_names_values_is_no_launch_and_a_fusion_is_one():
    counted = launches(PLAIN)
    assert counted.kinds == {"fusion": 1, "__cublas$gemm": 1, "copy": 1}
    assert (counted.kernels, counted.syncs) == (3, 0)


def test_a_loop_counts_as_often_as_it_turns():
    counted = launches(LOOP.replace("{TRIPS}", TRIPS))
    assert (counted.kernels, counted.syncs) == (48, 0)


def test_a_loop_of_unknown_length_waits():
    counted = launches(LOOP.replace("{TRIPS}", ""))
    assert (counted.kernels, counted.syncs) == (2, 1)
    assert counted.kinds["sync while"] == 1


@pytest.mark.parametrize(
    "branches",
    [
        "true_computation=%cheap, false_computation=%dear",
        "branch_computations={%cheap, %dear, %cheap}",
    ],
)
def test_a_conditional_waits_and_counts_by_its_dearest_branch(branches):
    counted = launches(BRANCH.replace("{BRANCHES}", branches))
    assert counted.kinds == {"sync conditional": 1, "sort": 1, "fusion": 1}
    assert (counted.kernels, counted.syncs) == (2, 1)


def test_a_line_that_is_not_understood_is_an_error():
    with pytest.raises(ValueError, match="no instruction"):
        launches(PLAIN.replace("copy(%g)", "%g"))
