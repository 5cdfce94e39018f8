"""Tables from published names to Flax leaves, and every way they cannot fit."""

from types import MappingProxyType, SimpleNamespace

import numpy as np
import pytest

from vos_jax.convert import (
    ConversionError,
    Source,
    TreePath,
    convert_state_dict,
    export_state_dict,
)
from vos_jax.errors import InputError

TABLE = {
    ("params", "stem", "kernel"): Source(("conv1_m.weight", "conv1_o.weight"), "conv"),
    ("params", "stem", "bias"): Source(("conv1_m.bias",), "vector"),
    ("params", "squeeze", "kernel"): Source(("squeeze.weight",), "conv"),
    ("params", "fc", "kernel"): Source(("fc.weight",), "dense"),
    ("batch_stats", "bn", "mean"): Source(("bn.running_mean",), "vector"),
    ("constants", "grid"): Source(("grid",), "same"),
}
LEAVES = {
    ("params", "stem", "kernel"): (7, 5, 2, 6),
    ("params", "stem", "bias"): (6,),
    ("params", "squeeze", "kernel"): (2, 3, 4, 6, 5),
    ("params", "fc", "kernel"): (3, 8),
    ("batch_stats", "bn", "mean"): (6,),
    ("constants", "grid"): (1, 3, 1, 2),
}
PUBLISHED = {
    "conv1_m.weight": (6, 1, 7, 5),
    "conv1_o.weight": (6, 1, 7, 5),
    "conv1_m.bias": (6,),
    "squeeze.weight": (5, 6, 2, 3, 4),
    "fc.weight": (8, 3),
    "bn.running_mean": (6,),
    "grid": (1, 3, 1, 2),
}


def nest(leaves: dict) -> dict:
    tree: dict = {}
    for (*parents, last), leaf in leaves.items():
        node = tree
        for key in parents:
            node = node.setdefault(key, {})
        node[last] = leaf
    return tree


def shapes_of(leaves: dict) -> dict:
    return nest({path: SimpleNamespace(shape=s) for path, s in leaves.items()})


SHAPES = shapes_of(LEAVES)


def published(seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {n: rng.normal(size=s).astype(np.float32) for n, s in PUBLISHED.items()}


def convert_one(array, source: Source, shape: tuple[int, ...]) -> np.ndarray:
    table: dict[TreePath, Source] = {("params", "leaf"): source}
    state = dict(zip(source.names, array, strict=True))
    shapes = shapes_of({("params", "leaf"): shape})
    return convert_state_dict(state, table, shapes)["params"]["leaf"]


def test_a_convolution_kernel_goes_from_oihw_to_hwio():
    array = np.arange(120.0).reshape(2, 3, 4, 5)
    leaf = convert_one([array], Source(("w",), "conv"), (4, 5, 3, 2))
    assert leaf[3, 1, 2, 0] == array[0, 2, 3, 1]
    np.testing.assert_array_equal(leaf, np.einsum("oihw->hwio", array), strict=False)


def test_a_video_kernel_goes_from_oidhw_to_dhwio():
    array = np.arange(720.0).reshape(2, 3, 4, 5, 6)
    leaf = convert_one([array], Source(("w",), "conv"), (4, 5, 6, 3, 2))
    np.testing.assert_array_equal(leaf, np.einsum("oidhw->dhwio", array))


def test_a_dense_matrix_is_transposed():
    array = np.arange(6.0).reshape(2, 3)
    leaf = convert_one([array], Source(("w",), "dense"), (3, 2))
    np.testing.assert_array_equal(leaf, array.T)


def test_a_joined_kernel_equals_the_sum_of_the_separate_convolutions():
    rng = np.random.default_rng(0)
    kernels = [rng.normal(size=(4, count, 1, 1)) for count in (3, 1, 1)]
    inputs = [rng.normal(size=count) for count in (3, 1, 1)]
    source = Source(("image", "mask", "others"), "conv", channels=(3, 1, 1))
    leaf = convert_one(kernels, source, (1, 1, 5, 4))
    summed = sum(k[:, :, 0, 0] @ x for k, x in zip(kernels, inputs, strict=True))
    joined = np.concatenate(inputs) @ leaf[0, 0]
    np.testing.assert_allclose(joined, summed, rtol=1e-5)


def test_leaves_are_new_contiguous_float32_arrays_of_the_shapes_asked_for():
    state = {name: array.astype(np.float64) for name, array in published().items()}
    variables = convert_state_dict(state, TABLE, SHAPES)
    for (*parents, last), shape in LEAVES.items():
        node = variables
        for key in parents:
            node = node[key]
        assert node[last].shape == shape
        assert node[last].dtype == np.float32
        assert node[last].flags.c_contiguous
        assert node[last].flags.owndata


def test_a_round_trip_from_published_names_is_exact():
    state = published()
    variables = convert_state_dict(state, TABLE, SHAPES)
    back = export_state_dict(variables, TABLE)
    assert back.keys() == state.keys()
    for name, array in state.items():
        np.testing.assert_array_equal(back[name], array, strict=True)
        assert back[name].flags.c_contiguous


def test_a_round_trip_from_variables_is_exact_with_uneven_channels():
    source = Source(("image", "mask"), "conv", channels=(3, 2))
    kernel = np.random.default_rng(0).normal(size=(3, 3, 5, 4)).astype(np.float32)
    table = {("params", "kernel"): source}
    state = export_state_dict({"params": {"kernel": kernel}}, table)
    assert [state[n].shape for n in source.names] == [(4, 3, 3, 3), (4, 2, 3, 3)]
    again = convert_state_dict(state, table, {"params": {"kernel": kernel}})
    np.testing.assert_array_equal(again["params"]["kernel"], kernel, strict=True)


def test_an_exported_array_does_not_share_memory_with_the_variables():
    variables = convert_state_dict(published(), TABLE, SHAPES)
    export_state_dict(variables, TABLE)["bn.running_mean"][:] = 7
    assert not (variables["batch_stats"]["bn"]["mean"] == 7).any()


def test_any_mapping_serves_as_shapes():
    frozen = MappingProxyType({k: MappingProxyType(v) for k, v in SHAPES.items()})
    assert convert_state_dict(published(), TABLE, frozen).keys() == SHAPES.keys()


def test_ignored_patterns_may_be_unused():
    state = published() | {
        "bn.num_batches_tracked": np.array(3),
        "Encoder_M.mean": np.ones((1, 3, 1, 1)),
    }
    ignore = ("*.num_batches_tracked", "Encoder_?.mean")
    convert_state_dict(state, TABLE, SHAPES, ignore)
    with pytest.raises(ConversionError) as caught:
        convert_state_dict(state, TABLE, SHAPES, ignore[:1])
    assert caught.value.unexpected == ("Encoder_M.mean",)


def test_all_mismatches_come_in_one_error_of_one_line():
    state = published()
    del state["grid"], state["fc.weight"]
    state |= {"z.weight": np.ones(1), "layer4.weight": np.ones(1)}
    state["conv1_o.weight"] = np.ones((6, 2, 7, 5), np.float32)
    state["bn.running_mean"] = np.ones((5,), np.float32)
    with pytest.raises(InputError) as caught:
        convert_state_dict(state, TABLE, SHAPES, origin="stm.pth")
    error = caught.value
    assert isinstance(error, ConversionError)
    assert error.missing == ("fc.weight", "grid")
    assert error.unexpected == ("layer4.weight", "z.weight")
    assert error.wrong_shapes == (
        ("bn.running_mean", (5,), (6,)),
        ("conv1_o.weight", (6, 2, 7, 5), (6, 1, 7, 5)),
    )
    summary, *details = str(error).split("; ")
    assert summary == (
        "stm.pth: does not fit the method: 2 missing, 2 unexpected, 2 of a wrong shape"
    )
    assert details[:3] == [
        "missing: fc.weight, grid",
        "unexpected: layer4.weight, z.weight",
        "wrong shape: bn.running_mean (5,), not (6,), "
        "conv1_o.weight (6, 2, 7, 5), not (6, 1, 7, 5)",
    ]
    assert "\n" not in str(error)


def test_a_long_list_is_cut_after_20_names_and_counted():
    state = published() | {f"extra.{i:02}": np.ones(1) for i in range(23)}
    with pytest.raises(ConversionError) as caught:
        convert_state_dict(state, TABLE, SHAPES)
    message = str(caught.value)
    assert "23 unexpected" in message
    assert "extra.19 and 3 more" in message and "extra.20" not in message
    assert len(caught.value.unexpected) == 23


def test_a_transposed_square_kernel_of_another_rank_is_a_wrong_shape():
    state = published() | {"fc.weight": np.ones((8, 3, 1, 1), np.float32)}
    with pytest.raises(ConversionError) as caught:
        convert_state_dict(state, TABLE, SHAPES)
    assert caught.value.wrong_shapes == (("fc.weight", (8, 3, 1, 1), (8, 3)),)


def test_one_published_tensor_may_serve_two_leaves():
    table = {
        ("params", side, "bias"): Source(("bias",), "vector") for side in ("q", "m")
    }
    shapes = shapes_of(dict.fromkeys(table, (3,)))
    state = {"bias": np.arange(3, dtype=np.float32)}
    variables = convert_state_dict(state, table, shapes)
    np.testing.assert_array_equal(
        export_state_dict(variables, table)["bias"], state["bias"]
    )
    variables["params"]["q"]["bias"][0] = 9
    with pytest.raises(ValueError, match="both bias but differ"):
        export_state_dict(variables, table)


def test_two_leaves_that_need_one_tensor_in_two_shapes_are_a_fault_of_the_table():
    table = {("params", side): Source(("bias",), "vector") for side in ("q", "m")}
    shapes = shapes_of({("params", "q"): (3,), ("params", "m"): (4,)})
    with pytest.raises(ValueError, match="another leaf"):
        convert_state_dict({"bias": np.ones(3)}, table, shapes)


def test_a_table_that_misses_or_invents_a_leaf_is_not_the_users_fault():
    table = dict(TABLE)
    table["params", "typo"] = table.pop(("params", "stem", "bias"))
    for call in (
        lambda: convert_state_dict(published(), table, SHAPES),
        lambda: export_state_dict(
            convert_state_dict(published(), TABLE, SHAPES), table
        ),
    ):
        with pytest.raises(ValueError, match=r"params/stem/bias, params/typo") as error:
            call()
        assert not isinstance(error.value, InputError)


@pytest.mark.parametrize(
    ("source", "shape"),
    [
        (Source(("w",), "conv"), (3, 4)),
        (Source(("w",), "dense"), (1, 3, 4)),
        (Source(("w",), "vector"), (3, 4)),
        (Source(("a", "b"), "conv"), (1, 1, 3, 4)),
        (Source(("a", "b"), "conv", channels=(3, 1)), (1, 1, 5, 4)),
    ],
)
def test_a_source_that_cannot_give_the_leaf_is_a_fault_of_the_table(source, shape):
    with pytest.raises(ValueError, match="params/leaf") as error:
        convert_one([np.ones(1) for _ in source.names], source, shape)
    assert not isinstance(error.value, InputError)


@pytest.mark.parametrize(
    "arguments",
    [
        {"names": (), "layout": "conv"},
        {"names": "weight", "layout": "conv"},
        {"names": ("a", "b"), "layout": "vector"},
        {"names": ("a", "b"), "layout": "conv", "channels": (1,)},
    ],
)
def test_a_source_without_meaning_cannot_be_made(arguments):
    with pytest.raises(ValueError):
        Source(**arguments)


def test_a_scalar_keeps_its_empty_shape():
    leaf = convert_one([np.array(3.0)], Source(("w",), "same"), ())
    assert leaf.shape == () and leaf == 3 and leaf.dtype == np.float32


def test_the_converted_kernel_convolves_as_pytorch_does():
    torch = pytest.importorskip("torch")
    jax = pytest.importorskip("jax")
    rng = np.random.default_rng(0)
    kernel = rng.normal(size=(4, 3, 3, 2)).astype(np.float32)
    image = rng.normal(size=(1, 3, 8, 9)).astype(np.float32)
    leaf = convert_one([kernel], Source(("w",), "conv"), (3, 2, 3, 4))
    ours = jax.lax.conv_general_dilated(
        np.moveaxis(image, 1, -1),
        leaf,
        (1, 1),
        "VALID",
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        precision="highest",
    )
    theirs = torch.nn.functional.conv2d(torch.tensor(image), torch.tensor(kernel))
    np.testing.assert_allclose(np.moveaxis(ours, -1, 1), theirs.numpy(), atol=1e-5)
