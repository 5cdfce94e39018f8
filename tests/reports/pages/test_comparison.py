"""What several results have in common, and how sure their differences are."""

import dataclasses

import numpy as np
import pytest

from vos_jax.errors import InputError
from vos_jax.reports.pages.comparison import (
    bootstrap_interval,
    common_part,
    differences,
    sequence_means,
)
from vos_jax.reports.pages.results import read_results


@pytest.fixture
def both(results):
    return [read_results(folder, folder.name) for folder in results]


def without(results, name):
    kept = tuple(x for x in results.report.objects if x.sequence != name)
    report = dataclasses.replace(results.report, objects=kept)
    return dataclasses.replace(results, report=report)


def plain_interval(values, groups, resamples, seed):
    """One object after the other."""
    rng = np.random.default_rng(seed)
    names = sorted(set(groups))
    means = []
    for _ in range(resamples):
        drawn = []
        for place in rng.integers(len(names), size=len(names)):
            drawn += [
                v for v, g in zip(values, groups, strict=True) if g == names[place]
            ]
        means.append(sum(drawn) / len(drawn))
    means.sort()

    def percentile(share):
        at = share * (len(means) - 1)
        below = int(at)
        above = min(below + 1, len(means) - 1)
        return means[below] + (at - below) * (means[above] - means[below])

    return percentile(0.025), percentile(0.975)


def test_the_bootstrap_is_that_of_a_plain_loop():
    rng = np.random.default_rng(3)
    values = rng.normal(0.02, 0.1, 11)
    groups = list("aabcccddeff")
    found = bootstrap_interval(values, groups, resamples=500, seed=7)
    assert found == pytest.approx(plain_interval(values, groups, 500, 7), abs=1e-12)


def test_objects_of_one_sequence_come_together():
    # If objects were drawn by themselves, the mean would often be neither.
    values, groups = np.array([1.0, 1.0, 1.0, 0.0]), ["a", "a", "a", "a"]
    assert bootstrap_interval(values, groups, resamples=50) == (0.75, 0.75)
    assert bootstrap_interval(values, list("abcd"), resamples=200)[0] < 0.75


def test_an_interval_repeats_itself():
    values, groups = np.random.default_rng(5).normal(size=9), list("abcdefghi")
    assert bootstrap_interval(values, groups) == bootstrap_interval(values, groups)
    other = bootstrap_interval(values, groups, seed=1)
    assert other != bootstrap_interval(values, groups)


def test_the_difference_is_that_of_the_official_means(both):
    near, far = both
    found = {each.measure: each for each in differences(near, far)}
    for measure, column in (("J&F", "J&F-Mean"), ("J", "J-Mean"), ("F", "F-Mean")):
        expected = far.report.summary()[column] - near.report.summary()[column]
        each = found[measure]
        assert each.mean == pytest.approx(expected, abs=1e-12)
        assert each.low <= each.mean <= each.high < 0


def test_only_what_all_have_is_compared_and_what_is_left_out_is_said(both):
    cut, told = common_part([both[0], without(both[1], "beta")])
    assert "2 sequences" in told and "left out: beta" in told
    for each in cut:
        assert list(sequence_means(each.report.objects)) == ["alpha", "gamma"]
    cut, told = common_part([both[0], without(without(both[1], "beta"), "alpha")])
    assert told.startswith("Only the one sequence that all results have is compared")
    whole, nothing = common_part(both)
    assert [len(each.report.objects) for each in whole] == [6, 6] and nothing == ""


def changed(results, **change):
    report = dataclasses.replace(results.report, **change)
    return dataclasses.replace(results, report=report)


def test_objects_are_paired_by_their_names_and_not_by_their_places(both):
    near, far = both
    turned = changed(far, objects=far.report.objects[::-1])
    with pytest.raises(ValueError, match="in another order"):
        differences(near, turned)
    found, told = common_part([near, turned])
    assert told == ""
    assert [x.name for x in found[1].report.objects] == [
        x.name for x in near.report.objects
    ]
    assert differences(*found) == differences(near, far)


@pytest.mark.parametrize(
    ("what", "value", "found"),
    [
        ("seen", False, "alpha_1 is of an unseen category, and in .*near it is of a s"),
        ("given", False, "alpha_1 is not given by the first annotation, and in .*near"),
        ("absent", True, "alpha_1 is in no scored annotation, and in .*near it is in"),
    ],
)
def test_objects_of_other_kinds_are_refused(both, what, value, found):
    near, far = both
    first, *rest = far.report.objects
    other = changed(far, objects=(dataclasses.replace(first, **{what: value}), *rest))
    with pytest.raises(InputError, match=found):
        common_part([near, other])


@pytest.mark.parametrize(
    ("rule", "value", "found"),
    [
        ("drop_last", True, "far: was scored without it, .*near with the last frame"),
        ("temporal", True, "far: was scored with temporal stability, .*near without"),
        ("resolution", "960p", "far: is of resolution 960p, .*near of 480p"),
    ],
)
def test_results_by_other_rules_are_refused(both, rule, value, found):
    near, far = both
    near = dataclasses.replace(near, rules={**near.rules, "resolution": "480p"})
    far = dataclasses.replace(far, rules={**far.rules, rule: value})
    with pytest.raises(InputError, match=found):
        common_part([near, far])


def test_annotations_of_what_is_left_out_may_be_others(both):
    near, far = both
    other = {**far.annotations, "beta": "0" * 16}
    far = dataclasses.replace(far, annotations=other)
    with pytest.raises(InputError, match="sequence beta was scored by other annotat"):
        common_part([near, far])
    assert common_part([without(near, "beta"), far])[1].endswith("left out: beta.")


def test_an_object_that_one_lacks_is_named(both):
    near, far = both
    fewer = changed(far, objects=far.report.objects[:-1])
    for pair in ([near, fewer], [fewer, near]):
        with pytest.raises(
            InputError, match=r"far: has no object gamma_2, which .*near"
        ):
            common_part(pair)


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ({"dataset": "davis2016"}, "is of dataset davis2016"),
        ({"split": "train"}, "is of split train"),
        ({"objects": ()}, "has no sequence of"),
    ],
)
def test_what_cannot_be_compared_is_refused(both, change, found):
    report = dataclasses.replace(both[1].report, **change)
    other = dataclasses.replace(both[1], report=report)
    with pytest.raises(InputError, match=found):
        common_part([both[0], other])


def test_scores_of_other_frames_are_refused(both):
    first, *rest = both[1].report.objects
    fewer = dataclasses.replace(first, frames=first.frames[1:], region=first.region[1:])
    report = dataclasses.replace(both[1].report, objects=(fewer, *rest))
    other = dataclasses.replace(both[1], report=report)
    with pytest.raises(InputError, match="object alpha_1 was scored in other frames"):
        common_part([both[0], other])
