"""Methods with their weights files, and conversion to and from published names."""

import re

import jax
import numpy as np
import pytest
import safetensors.numpy

import vos_jax
from tests.methods import hmmn_weights
from tests.methods.every import narrow
from vos_jax.convert import read_metadata
from vos_jax.convert import save_weights as write_weights
from vos_jax.convert.tree import flatten, unflatten
from vos_jax.errors import InputError
from vos_jax.inference.demo import run_demo
from vos_jax.methods.base import changed
from vos_jax.methods.weights import (
    architecture,
    convert,
    export,
    fingerprint,
    shipped_weights,
    variable_shapes,
)


@pytest.fixture
def saved(tmp_path, tiny_method, tiny_variables):
    path = tmp_path / "tiny.safetensors"
    vos_jax.save_weights(path, "stm", tiny_method, tiny_variables, {"licence": "none"})
    return path


def assert_equal_variables(a, b):
    a, b = flatten(a), flatten(b)
    assert sorted(a) == sorted(b)
    for key, leaf in a.items():
        np.testing.assert_array_equal(leaf, b[key])


def test_a_saved_model_is_built_again_from_its_file(saved, tiny_method, tiny_variables):
    method, variables = vos_jax.load_model("stm", saved)
    assert method == tiny_method
    assert hash(method) == hash(tiny_method)
    assert_equal_variables(variables, tiny_variables)
    assert all(isinstance(x, jax.Array) for x in jax.tree.leaves(variables))
    assert read_metadata(saved).notes == {"licence": "none"}
    assert_equal_variables(vos_jax.load_weights(saved), tiny_variables)


def test_halved_kernels_are_float32_again_and_near(
    saved, tmp_path, tiny_method, tiny_variables
):
    path = tmp_path / "half.safetensors"
    vos_jax.save_weights(path, "stm", tiny_method, tiny_variables, half=True)
    assert path.stat().st_size < 0.6 * saved.stat().st_size
    method, variables = vos_jax.load_model("stm", path)
    assert method == tiny_method
    whole = flatten(tiny_variables)
    for place, leaf in flatten(variables).items():
        assert leaf.dtype == np.float32
        if leaf.ndim > 1:
            # Half a step of eleven bits; below 2**-14 steps no longer shrink.
            bound = np.maximum(np.abs(whole[place]) * 2.0**-11, 2.0**-25)
            assert np.all(np.abs(leaf - whole[place]) <= bound)
        else:
            np.testing.assert_array_equal(leaf, whole[place])
    again = tmp_path / "again.safetensors"
    vos_jax.save_weights(again, "stm", method, variables, half=True)
    assert_equal_variables(vos_jax.load_weights(again), variables)


def test_kernels_beyond_float16_are_not_halved(tmp_path, tiny_method, tiny_variables):
    path = tmp_path / "half.safetensors"
    large = jax.tree.map(lambda x: x * 1e6, tiny_variables)
    with pytest.raises(InputError, match=r"not written.*not finite"):
        vos_jax.save_weights(path, "stm", tiny_method, large, half=True)
    assert not path.exists()


def test_settings_are_not_part_of_the_file(saved, tiny_method):
    assert "mem_every" not in architecture(tiny_method)
    method, _ = vos_jax.load_model("stm", saved, mem_every=3, top_k=7, dtype="bfloat16")
    config = method.config
    assert (config.mem_every, config.top_k, config.dtype) == (3, 7, "bfloat16")
    assert config.key_dim == tiny_method.config.key_dim


def test_folded_weights_are_loaded_as_such(tmp_path, tiny_method, tiny_variables):
    path = tmp_path / "folded.safetensors"
    model = vos_jax.inference_form(tiny_method, tiny_variables)
    vos_jax.save_weights(path, "stm", *model)
    method, variables = vos_jax.load_model("stm", path)
    assert method.built_for("cpu") == model[0]
    assert_equal_variables(variables, model[1])


@pytest.mark.slow
def test_weights_that_lie_for_a_gpu_are_stored_as_all_are(
    tmp_path, tiny_method, tiny_variables
):
    plain, rounded = tmp_path / "plain.safetensors", tmp_path / "rounded.safetensors"
    config = changed(tiny_method.config, dtype="bfloat16")
    method = tiny_method.clone(config=config)
    for path, platform in ((plain, "cpu"), (rounded, "cuda")):
        model = vos_jax.inference_form(method, tiny_variables, platform=platform)
        vos_jax.save_weights(path, "stm", *model)
    assert_equal_variables(*map(vos_jax.load_weights, (plain, rounded)))


LEAST = {
    "stm-tiny": 0.8,
    "hmmn-tiny": 0.7,
    "lcm-tiny": 0.7,
    "rde-tiny": 0.65,
    "dmn-aoa-tiny": 0.6,
}
"""J&F on three generated clips of shapes. Copies of the first masks have 0.41."""


@pytest.mark.parametrize("name", LEAST)
def test_the_shipped_weights_fit_their_method(name):
    method, variables = vos_jax.load_model(name)
    assert method == vos_jax.create(name)
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(variables))
    assert shipped_weights(name).stat().st_size <= 10e6


@pytest.mark.slow
@pytest.mark.parametrize("name", LEAST)
def test_the_shipped_weights_segment_held_out_clips(name, tmp_path):
    report = run_demo(*vos_jax.load_model(name), tmp_path, clips=3, theme="shapes")
    assert report.summary()["J&F-Mean"] > LEAST[name]


def test_a_method_without_shipped_weights_asks_for_a_file():
    with pytest.raises(InputError, match="'stm' comes without weights; give --weights"):
        vos_jax.load_model("stm")


@pytest.mark.parametrize(
    "options", [{"depth": 3}, {"top_k": 0}, {"key_dim": 4}, {"folded": True}]
)
def test_options_that_do_not_exist_or_fit_are_refused(saved, options):
    with pytest.raises(InputError, match=next(iter(options))):
        vos_jax.load_model("stm", saved, **options)


def test_an_unknown_method_is_refused_with_the_known_ones():
    with pytest.raises(InputError, match="unknown method 'sttm'; choose one of: stm,"):
        vos_jax.load_model("sttm")


def test_weights_of_another_method_are_refused(saved):
    message = "weights of 'stm', not of 'stm-tiny'; use --method stm"
    with pytest.raises(InputError, match=message) as caught:
        vos_jax.load_model("stm-tiny", saved)
    assert str(saved) in str(caught.value)


def test_arrays_of_another_shape_are_refused(tmp_path, tiny_method, tiny_variables):
    path = tmp_path / "odd.safetensors"
    config = architecture(tiny_method) | {"key_dim": 4}
    host = jax.device_get(dict(tiny_variables))
    write_weights(path, host, method="stm", config=config)
    message = (
        "does not fit its own configuration: 4 arrays differ, the first is params/"
    )
    with pytest.raises(InputError, match=message) as caught:
        vos_jax.load_model("stm", path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    "config",
    [
        {"backbone": {"depth": 19}},
        {"backbone": {"dept": 18}},
        {"backbone": "resnet18"},
        {"key_dim": "8"},
        {"key_dim": -8},
        {"kernel": 3},
    ],
)
def test_a_configuration_that_makes_no_method_names_the_file(
    tmp_path, tiny_method, tiny_variables, config
):
    path = tmp_path / "odd.safetensors"
    host = jax.device_get(dict(tiny_variables))
    config = architecture(tiny_method) | config
    write_weights(path, host, method="stm", config=config)
    with pytest.raises(InputError, match=re.escape(str(path))) as caught:
        vos_jax.load_model("stm", path)
    assert "\n" not in str(caught.value)


def test_a_damaged_or_foreign_file_is_refused(saved, tmp_path):
    content = saved.read_bytes()
    for name, bad in {
        "cut.safetensors": content[: len(content) // 2],
        "empty.safetensors": b"",
        "text.safetensors": b"<html>not found</html>",
        "published.pth": b"PK\x03\x04 a zip",
    }.items():
        path = tmp_path / name
        path.write_bytes(bad)
        with pytest.raises(InputError, match=re.escape(str(path))) as caught:
            vos_jax.load_model("stm", path)
        assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match="gone"):
        vos_jax.load_model("stm", tmp_path / "gone.safetensors")


def test_published_weights_given_as_weights_point_to_convert(tmp_path):
    path = tmp_path / "stm.safetensors"
    safetensors.numpy.save_file({"a": np.zeros(3, np.float32)}, path)
    with pytest.raises(InputError, match="vos-jax convert"):
        vos_jax.load_model("stm", path)


# Weights with a part that the network does without


SAM = {"key_aggregation", "value_aggregation"}


@pytest.fixture(scope="module")
def rde():
    return narrow("rde")


@pytest.fixture
def saved_rde(tmp_path, rde):
    path = tmp_path / "rde.safetensors"
    vos_jax.save_weights(path, "rde", *rde)
    return path


@pytest.mark.parametrize(
    ("name", "options"), [("rde", {"recurrent": False}), ("stcn", {})]
)
def test_a_network_without_sam_takes_weights_with_it(name, options, saved_rde, rde):
    method, variables = vos_jax.load_model(name, saved_rde, top_k=5, **options)
    assert method == narrow(name, **options)[0]
    params = {k: x for k, x in rde[1]["params"].items() if k not in SAM}
    assert SAM <= rde[1]["params"].keys()
    assert_equal_variables(variables, {**rde[1], "params": params})
    expected = flatten(variable_shapes(method))
    assert {k: x.shape for k, x in flatten(variables).items()} == {
        k: x.shape for k, x in expected.items()
    }


def test_stcn_keeps_its_own_settings_with_weights_of_rde(saved_rde):
    config = vos_jax.load_model("stcn", saved_rde)[0].config
    assert (config.mem_every, config.top_k) == (5, 20)


def test_weights_without_sam_do_not_serve_a_network_with_it(tmp_path):
    path = tmp_path / "plain.safetensors"
    vos_jax.save_weights(path, "rde", *narrow("rde", recurrent=False))
    assert not vos_jax.load_model("rde", path)[0].config.recurrent
    assert vos_jax.load_model("stcn", path)
    message = (
        "plain.safetensors: its weights lack key_aggregation and value_aggregation"
    )
    with pytest.raises(InputError, match=f"{message}, which recurrent=True needs"):
        vos_jax.load_model("rde", path, recurrent=True)


@pytest.fixture(scope="module")
def hmmn():
    return hmmn_weights.narrow()


@pytest.mark.slow
@pytest.mark.parametrize("stages", [(3,), (2,), ()])
def test_a_network_with_fewer_fine_stages_takes_weights_of_more(stages, tmp_path, hmmn):
    path = tmp_path / "hmmn.safetensors"
    vos_jax.save_weights(path, "hmmn", *hmmn)
    method, variables = vos_jax.load_model("hmmn", path, fine_stages=stages)
    assert architecture(method) == architecture(hmmn[0]) | {"fine_stages": stages}
    given, found = flatten(hmmn[1]), flatten(variables)
    assert found.keys() == flatten(variable_shapes(method)).keys() < given.keys()
    assert_equal_variables(variables, unflatten({k: given[k] for k in found}))


def test_weights_of_one_fine_stage_do_not_serve_another(tmp_path):
    path = tmp_path / "stage3.safetensors"
    vos_jax.save_weights(path, "hmmn", *hmmn_weights.narrow(fine_stages=(3,)))
    assert vos_jax.load_model("hmmn", path)[0].config.fine_stages == (3,)
    lacking = "query_fine_heads/res2 and memory_fine_heads/res2 and fine_convs/res2"
    for stages in ((2,), (3, 2)):
        needs = f"which fine_stages={stages!r} needs"
        with pytest.raises(InputError, match=re.escape(f"lack {lacking}, {needs}")):
            vos_jax.load_model("hmmn", path, fine_stages=stages)


def test_weights_of_stcn_are_none_of_rde(tmp_path):
    path = tmp_path / "stcn.safetensors"
    vos_jax.save_weights(path, "stcn", *narrow("stcn"))
    with pytest.raises(InputError, match="weights of 'stcn', not of 'rde'"):
        vos_jax.load_model("rde", path)


@pytest.mark.parametrize(("name", "width"), [("rde", 8), ("stcn", 8)])
def test_other_fields_of_the_network_stay_fixed(name, width, saved_rde):
    with pytest.raises(InputError, match="its weights are for value_dim=16; leave"):
        vos_jax.load_model(name, saved_rde, value_dim=width)


# Conversion


@pytest.fixture(scope="module")
def shipped():
    return vos_jax.load_model("stm-tiny")


@pytest.fixture(scope="module")
def published(shipped):
    return export("stm-tiny", *shipped)


def test_exported_weights_convert_back_to_the_same(shipped, published, tmp_path):
    source, target = tmp_path / "published.npz", tmp_path / "again.safetensors"
    np.savez(source, **published)
    figures = convert("stm-tiny", source, target)
    leaves = flatten(shipped[1])
    params = {k: x for k, x in leaves.items() if k[0] == "params"}
    assert figures == {
        "arrays": len(leaves),
        "parameters": sum(x.size for x in params.values()),
    }
    method, variables = vos_jax.load_model("stm-tiny", target)
    assert method == shipped[0]
    assert_equal_variables(variables, shipped[1])
    assert read_metadata(target).notes == {"converted_from": "published.npz"}


def test_all_names_that_do_not_fit_are_listed(published, tmp_path):
    source = tmp_path / "odd.npz"
    odd = {k: v for k, v in published.items() if k != "KV_Q_r4.Key.weight"}
    odd["surplus.weight"] = np.zeros(3, np.float32)
    odd["KV_M_r4.Key.bias"] = np.zeros(3, np.float32)
    np.savez(source, **odd)
    with pytest.raises(InputError) as caught:
        convert("stm-tiny", source, tmp_path / "target.safetensors")
    for name in ("KV_Q_r4.Key.weight", "surplus.weight", "KV_M_r4.Key.bias"):
        assert name in str(caught.value)
    assert str(source) in str(caught.value)
    assert not (tmp_path / "target.safetensors").exists()


def test_convert_knows_methods_and_backbones_only(tmp_path):
    with pytest.raises(InputError, match=r"unknown method 'vgg'.*resnet101"):
        convert("vgg", tmp_path / "a.npz", tmp_path / "b.safetensors")


def test_an_imagenet_backbone_converts_without_its_classifier(tmp_path):
    from vos_jax.convert import export_state_dict
    from vos_jax.methods.torch_names import resnet
    from vos_jax.nn.resnet import ResNet, ResNetConfig

    config = ResNetConfig(depth=18)
    image = jax.ShapeDtypeStruct((1, 32, 32, 3), np.float32)
    shapes = jax.eval_shape(ResNet(config).init, jax.random.key(0), image)
    zeros = jax.tree.map(lambda x: np.zeros(x.shape, np.float32), shapes)
    names = export_state_dict(zeros, resnet(config))
    names["fc.weight"] = np.zeros((4, 4), np.float32)
    names["layer4.0.conv1.weight"] = np.zeros((4, 4), np.float32)
    names["bn1.num_batches_tracked"] = np.zeros((), np.int64)
    np.savez(tmp_path / "resnet18.npz", **names)
    target = tmp_path / "resnet18.safetensors"
    figures = convert("resnet18", tmp_path / "resnet18.npz", target)
    assert figures["arrays"] == len(flatten(shapes))
    # 11.7 million parameters less those of stage 5 and of the classifier.
    assert 2.7e6 < figures["parameters"] < 2.9e6
    assert read_metadata(target).config == {"depth": 18, "width": 64}


def test_shapes_are_known_without_computing(tiny_method, tiny_variables):
    shapes = flatten(variable_shapes(tiny_method))
    found = {key: x.shape for key, x in flatten(tiny_variables).items()}
    assert {key: x.shape for key, x in shapes.items()} == found


def test_a_fingerprint_names_the_content(saved, tmp_path):
    copy = tmp_path / "copy"
    copy.write_bytes(saved.read_bytes())
    ours, shipped = fingerprint("stm", saved), fingerprint("stm-tiny", None)
    assert fingerprint("stm", copy) == ours != shipped
    copy.write_bytes(saved.read_bytes()[:-1])
    assert fingerprint("stm", copy) != ours
