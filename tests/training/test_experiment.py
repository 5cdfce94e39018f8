"""How two experiments differ."""

from vos_jax.training.experiment import describe, differences, with_defaults
from vos_jax.training.experiment_file import load_experiment


def test_descriptions_differ_where_it_matters():
    ours = describe(load_experiment("stm/main"))
    same = describe(load_experiment("stm/main", ["log_every=1", "keep=9"]))
    other = describe(load_experiment("stm/main", ["seed=3", "optimizer.beta1=0.8"]))
    assert differences(ours, ours) == []
    assert differences(ours, same) == []
    assert differences(ours, other) == ["seed=3", "optimizer.beta1=0.8"]


def test_a_field_that_came_later_is_as_it_was_before():
    experiment = load_experiment("stm/main")
    described = describe(experiment)
    older = {**described, "step": dict(described["step"])}
    del older["step"]["memory_mask"], older["seed"]
    assert differences(described, with_defaults(experiment, older)) == []
    other = load_experiment("stm/main", ["step.memory_mask=gt"])
    assert differences(describe(other), with_defaults(other, older)) == [
        "step.memory_mask='pred'"
    ]
