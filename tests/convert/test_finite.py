"""Values that weights cannot have."""

import numpy as np
import pytest
import safetensors.numpy

import vos_jax
from vos_jax.cli import main
from vos_jax.convert import FORMAT, convert_state_dict, load_weights, save_weights
from vos_jax.convert.mapping import Source
from vos_jax.errors import InputError
from vos_jax.methods.weights import export


def tree():
    rng = np.random.default_rng(0)
    kernel = rng.normal(size=(2, 3, 4)).astype(np.float32)
    return {
        "params": {"conv": {"kernel": kernel, "steps": np.arange(3)}},
        "batch_stats": {"norm": {"var": np.ones(4, np.float32)}},
    }


def write(path, arrays):
    """As another program would, which checks nothing."""
    metadata = {"format": FORMAT, "method": "m", "config": "{}"}
    path.write_bytes(safetensors.numpy.save(arrays, metadata))
    return path


def named(variables):
    return {
        "params/conv/kernel": variables["params"]["conv"]["kernel"],
        "params/conv/steps": variables["params"]["conv"]["steps"],
        "batch_stats/norm/var": variables["batch_stats"]["norm"]["var"],
    }


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_weights_that_are_not_finite_are_not_loaded(tmp_path, value):
    arrays = named(tree())
    arrays["params/conv/kernel"][1, 2] = value
    path = write(tmp_path / "w.safetensors", arrays)
    with pytest.raises(
        InputError,
        match=r"w\.safetensors: 4 of the 24 values of params/conv/kernel are not fin",
    ):
        load_weights(path)


def test_what_is_too_large_for_float32_is_not_loaded(tmp_path):
    arrays = named(tree())
    arrays["params/conv/kernel"] = np.full(3, 1e300)
    with pytest.raises(InputError, match=r"3 of the 3 values of params/conv/kernel"):
        load_weights(write(tmp_path / "w.safetensors", arrays))


def test_negative_variances_are_not_loaded_but_rounding_is(tmp_path):
    arrays = named(tree())
    arrays["batch_stats/norm/var"][:2] = 0, -1e-9
    loaded = load_weights(write(tmp_path / "w.safetensors", arrays))
    assert loaded.variables["batch_stats"]["norm"]["var"][1] < 0
    arrays["batch_stats/norm/var"][3] = -0.5
    with pytest.raises(InputError, match=r"1 of the 4 .*norm/var are negative var"):
        load_weights(write(tmp_path / "w.safetensors", arrays))


def test_several_arrays_are_counted(tmp_path):
    arrays = named(tree())
    for name in ("params/conv/kernel", "batch_stats/norm/var"):
        arrays[name].flat[0] = np.nan
    with pytest.raises(InputError, match=r"1 of the .*, and 1 more arrays have such"):
        load_weights(write(tmp_path / "w.safetensors", arrays))


def test_weights_that_are_not_finite_are_not_written(tmp_path):
    variables = tree()
    variables["params"]["conv"]["kernel"][0, 0, 0] = np.inf
    path = tmp_path / "w.safetensors"
    with pytest.raises(InputError, match=r"not written: 1 of the 24 .*conv/kernel"):
        save_weights(path, variables, method="m", config={})
    assert not path.exists()


TABLE = {
    ("params", "conv", "kernel"): Source(("a.weight", "b.weight"), "dense"),
    ("batch_stats", "norm", "var"): Source(("bn.running_var",), "vector"),
}
SHAPES = {
    "params": {"conv": {"kernel": np.zeros((4, 2))}},
    "batch_stats": {"norm": {"var": np.zeros(2)}},
}


def published():
    return {
        "a.weight": np.ones((2, 2)),
        "b.weight": np.ones((2, 2), np.float32),
        "bn.running_var": np.ones(2),
        "unused": np.full(3, np.nan),
    }


@pytest.mark.parametrize(
    ("name", "value", "what"),
    [
        ("b.weight", np.nan, "not finite"),
        ("a.weight", 1e39, "too large for float32"),
        ("bn.running_var", -1, "negative variances"),
    ],
)
def test_a_published_array_of_such_values_is_named(name, value, what):
    convert_state_dict(published(), TABLE, SHAPES, ("unused",))
    state_dict = published()
    state_dict[name].flat[1] = value
    with pytest.raises(InputError, match=rf"^s\.pth: 1 of the . .*{name} are .*{what}"):
        convert_state_dict(state_dict, TABLE, SHAPES, ("unused",), origin="s.pth")


def test_a_whole_network_is_refused_too(tmp_path, capsys):
    method, variables = vos_jax.load_model("stm-tiny")
    arrays = export("stm-tiny", method, variables)
    name = max(arrays, key=lambda name: arrays[name].size)
    arrays[name] = arrays[name].astype(np.float16)
    arrays[name].flat[7] = np.inf
    np.savez(tmp_path / "half.npz", **arrays)
    target = tmp_path / "w.safetensors"
    assert main(["convert", "stm-tiny", str(tmp_path / "half.npz"), str(target)]) == 2
    error = capsys.readouterr().err
    assert name in error
    assert error.count("\n") == 1
    assert not target.exists()
