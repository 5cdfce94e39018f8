"""Reading published checkpoints: every kind, every damage, no code run."""

import argparse
import pickle
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from tests.optional import Lazily
from vos_jax.convert import read_state_dict, save_weights
from vos_jax.errors import InputError

torch = Lazily("torch")

FORMATS = pytest.mark.parametrize("as_zip", [True, False], ids=["zip", "legacy"])


def save(content, path: Path, as_zip: bool = True) -> Path:
    torch.save(content, path, _use_new_zipfile_serialization=as_zip)
    return path


def tensors() -> dict:
    kernel = torch.arange(24, dtype=torch.float32).reshape(2, 3, 2, 2)
    return {
        "conv.weight": kernel,
        # A view with strides of its own.
        "fc.weight": torch.arange(6.0).reshape(2, 3).T,
        "bn.num_batches_tracked": torch.tensor(7),
    }


def assert_is_tensors(arrays: dict[str, np.ndarray]) -> None:
    assert list(arrays) == list(tensors())
    for name, tensor in tensors().items():
        assert isinstance(arrays[name], np.ndarray)
        assert arrays[name].dtype == tensor.numpy().dtype
        np.testing.assert_array_equal(arrays[name], tensor.numpy())


def error_of(path: Path) -> str:
    with pytest.raises(InputError) as caught:
        read_state_dict(path)
    message = str(caught.value)
    assert message.startswith(str(path))
    assert message.isprintable()
    assert "weights_only" not in message
    return message


@FORMATS
@pytest.mark.parametrize("ending", ["pth", "pt", "pth.tar", "PTH"])
def test_a_pytorch_checkpoint_is_read_in_both_formats(tmp_path, as_zip, ending):
    path = save(tensors(), tmp_path / f"weights.{ending}", as_zip)
    assert_is_tensors(read_state_dict(str(path)))


@FORMATS
@pytest.mark.parametrize("key", ["state_dict", "model", "net", "network"])
def test_a_container_with_other_entries_is_unwrapped(tmp_path, as_zip, key):
    content = {"epoch": torch.tensor(3), key: tensors(), "optimizer": {"state": {}}}
    assert_is_tensors(read_state_dict(save(content, tmp_path / "a.pth", as_zip)))


def test_containers_in_containers_are_unwrapped(tmp_path):
    path = save({"model": {"state_dict": tensors()}}, tmp_path / "a.pth")
    assert_is_tensors(read_state_dict(path))


def test_parameters_are_read_as_tensors_are(tmp_path):
    path = save({"w": torch.nn.Parameter(torch.ones(3))}, tmp_path / "a.pth")
    np.testing.assert_array_equal(read_state_dict(path)["w"], np.ones(3, np.float32))


@pytest.mark.parametrize("prefix", ["module.", "module.module."])
def test_the_data_parallel_prefix_is_stripped(tmp_path, prefix):
    content = {prefix + name: tensor for name, tensor in tensors().items()}
    assert_is_tensors(read_state_dict(save(content, tmp_path / "a.pth")))


def test_module_inside_a_name_is_kept(tmp_path):
    np.savez(tmp_path / "a.npz", **{"encoder.module.w": np.ones(2)})
    assert list(read_state_dict(tmp_path / "a.npz")) == ["encoder.module.w"]


def test_a_name_with_and_without_the_prefix_is_refused(tmp_path):
    np.savez(tmp_path / "a.npz", **{"w": np.ones(2), "module.w": np.zeros(2)})
    assert "holds 'w' twice" in error_of(tmp_path / "a.npz")


@pytest.mark.parametrize("kind", ["bfloat16", "float16", "float8_e4m3fn"])
def test_narrow_floats_of_pytorch_become_float32(tmp_path, kind):
    tensor = torch.tensor([1.5, -0.25, 2.0]).to(getattr(torch, kind))
    array = read_state_dict(save({"w": tensor}, tmp_path / "a.pth"))["w"]
    assert array.dtype == np.float32
    np.testing.assert_array_equal(array, [1.5, -0.25, 2.0])


def test_a_name_that_could_steer_a_terminal_is_refused(tmp_path):
    save_file({"w\x1b[2J\n": np.ones(2)}, tmp_path / "a.safetensors")
    assert "not plain text" in error_of(tmp_path / "a.safetensors")


class RunsACommand:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self):
        import os

        return os.system, (f"touch '{self.marker}'",)


@FORMATS
def test_a_checkpoint_with_code_is_refused_and_not_run(tmp_path, as_zip):
    marker = tmp_path / "marker"
    content = {"w": torch.ones(2), "evil": RunsACommand(marker)}
    message = error_of(save(content, tmp_path / "evil.pth", as_zip))
    assert "system, which is not run" in message
    assert "state_dict()" in message
    assert not marker.exists()
    # The file does what it should not: loading it without care leaves the marker.
    torch.load(tmp_path / "evil.pth", weights_only=False)
    assert marker.exists()


@FORMATS
def test_a_whole_pickled_model_or_its_arguments_are_refused_by_name(tmp_path, as_zip):
    model = save(torch.nn.Linear(2, 2), tmp_path / "model.pth", as_zip)
    assert "torch.nn.modules.linear.Linear" in error_of(model)
    arguments = {"args": argparse.Namespace(lr=1), "model": tensors()}
    path = save(arguments, tmp_path / "args.pth", as_zip)
    assert "argparse.Namespace" in error_of(path)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_torchscript_program_is_refused(tmp_path):
    torch.jit.trace(torch.nn.Linear(2, 2), torch.ones(2)).save(str(tmp_path / "a.pt"))
    assert "TorchScript" in error_of(tmp_path / "a.pt")


@FORMATS
def test_a_checkpoint_truncated_anywhere_is_an_input_error(tmp_path, as_zip):
    whole = save(tensors(), tmp_path / "whole.pth", as_zip).read_bytes()
    path = tmp_path / "cut.pth"
    for length in {*range(0, len(whole), 17), 1, 2, 4, len(whole) - 1}:
        path.write_bytes(whole[:length])
        assert "download it again" in error_of(path)


@pytest.mark.parametrize(
    "content",
    [b"", b"<html>404</html>", b"\x89PNG\r\n\x1a\n", pickle.dumps({"a": 1}), b"\x80"],
)
def test_what_is_no_checkpoint_is_named_in_the_error(tmp_path, content):
    path = tmp_path / "a.pth"
    path.write_bytes(content)
    error_of(path)


@pytest.mark.parametrize(
    "content",
    [
        lambda: torch.ones(3),
        lambda: [1, 2],
        lambda: {"epoch": 3},
        lambda: {"encoder": {"w": torch.ones(2)}},
        dict,
    ],
)
def test_a_checkpoint_without_a_state_dict_says_what_to_save(tmp_path, content):
    message = error_of(save(content(), tmp_path / "a.pth"))
    assert "no state dict found" in message and "model.state_dict()" in message


def test_a_container_that_contains_itself_ends_in_an_error(tmp_path):
    content: dict = {}
    content["model"] = content
    assert "no state dict" in error_of(save(content, tmp_path / "a.pth"))


def test_a_sparse_tensor_is_named(tmp_path):
    path = save({"w": torch.eye(3).to_sparse()}, tmp_path / "a.pth")
    assert "the tensor 'w'" in error_of(path)


def test_without_pytorch_the_error_says_how_to_install_it(tmp_path, monkeypatch):
    path = save(tensors(), tmp_path / "a.pth")
    monkeypatch.setitem(sys.modules, "torch", None)
    assert "pip install 'vos_jax[convert]'" in error_of(path)


def test_npz_and_safetensors_need_no_pytorch(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    kernel = np.arange(6, dtype=np.float32).reshape(2, 3)
    np.savez_compressed(tmp_path / "a.npz", **{"module.fc.weight": kernel})
    save_file({"module.fc.weight": kernel}, tmp_path / "a.safetensors")
    for name in ("a.npz", "a.safetensors"):
        arrays = read_state_dict(tmp_path / name)
        assert list(arrays) == ["fc.weight"]
        assert arrays["fc.weight"].dtype == np.float32
        np.testing.assert_array_equal(arrays["fc.weight"], kernel)


def test_safetensors_of_every_type_are_read(tmp_path):
    from safetensors.torch import save_file as save_torch

    values = {
        str(kind).removeprefix("torch."): torch.tensor([[0, 1], [1, 0]], dtype=kind)
        for kind in (
            torch.float64,
            torch.float32,
            torch.float16,
            torch.bfloat16,
            torch.int64,
            torch.uint8,
            torch.bool,
        )
    }
    values["scalar"] = torch.tensor(5)
    save_torch(values, tmp_path / "a.safetensors")
    arrays = read_state_dict(tmp_path / "a.safetensors")
    for name, tensor in values.items():
        narrow = name in ("float16", "bfloat16")
        expected = (tensor.float() if narrow else tensor).numpy()
        assert arrays[name].dtype == expected.dtype
        np.testing.assert_array_equal(arrays[name], expected, strict=True)


def test_a_safetensors_type_without_counterpart_is_named(tmp_path):
    from safetensors.torch import save_file as save_torch

    tensor = torch.ones(2).to(torch.float8_e4m3fn)
    save_torch({"w": tensor}, tmp_path / "a.safetensors")
    assert "the tensor 'w' has type F8" in error_of(tmp_path / "a.safetensors")


def test_half_arrays_of_npz_become_float32(tmp_path):
    np.savez(tmp_path / "a.npz", w=np.array([1.5], np.float16))
    assert read_state_dict(tmp_path / "a.npz")["w"].dtype == np.float32


def test_an_npz_with_pickled_objects_is_refused_and_not_run(tmp_path):
    marker = tmp_path / "marker"
    np.savez(tmp_path / "a.npz", w=np.array([RunsACommand(marker)], dtype=object))
    assert "pickled Python objects" in error_of(tmp_path / "a.npz")
    assert not marker.exists()


@pytest.mark.parametrize("value", [np.array(["text"]), np.ones(2, np.complex64)])
def test_an_npz_entry_that_is_no_number_is_named(tmp_path, value):
    np.savez(tmp_path / "a.npz", w=value)
    assert "the entry 'w' has type" in error_of(tmp_path / "a.npz")


def test_an_npz_member_that_is_no_array_is_named(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("readme.txt", "hello")
    assert "'readme.txt' is not an array" in error_of(tmp_path / "a.npz")


@pytest.mark.parametrize("ending", ["npz", "safetensors"])
def test_npz_and_safetensors_truncated_anywhere_are_input_errors(tmp_path, ending):
    arrays = {"a": np.arange(40.0), "b": np.ones((2, 3), np.float32)}
    path = tmp_path / f"a.{ending}"
    if ending == "npz":
        np.savez_compressed(path, **arrays)
    else:
        save_file(arrays, path)
    whole = path.read_bytes()
    for length in {*range(0, len(whole), 19), 1, 7, 8, 9, len(whole) - 1}:
        path.write_bytes(whole[:length])
        error_of(path)


def test_a_flipped_byte_in_an_npz_is_an_input_error(tmp_path):
    path = tmp_path / "a.npz"
    np.savez(path, w=np.zeros(500, np.float32))
    damaged = bytearray(path.read_bytes())
    damaged[1000] ^= 255
    path.write_bytes(damaged)
    assert "damaged .npz" in error_of(path)


def test_an_npy_file_named_npz_is_refused(tmp_path):
    np.save(tmp_path / "a.npy", np.ones(3))
    (tmp_path / "a.npy").rename(tmp_path / "a.npz")
    assert "not an .npz" in error_of(tmp_path / "a.npz")


def test_an_npz_without_arrays_is_refused(tmp_path):
    np.savez(tmp_path / "a.npz")
    assert "holds no arrays" in error_of(tmp_path / "a.npz")


def test_a_file_that_is_already_converted_is_told_so(tmp_path):
    path = tmp_path / "a.safetensors"
    save_weights(path, {"params": {"w": np.ones(2)}}, method="stm", config={})
    assert "already converted" in error_of(path)


@pytest.mark.parametrize("name", ["a.pth", "a.npz", "a.safetensors"])
def test_a_missing_file_or_a_folder_is_an_input_error(tmp_path, name):
    assert "no such file" in error_of(tmp_path / name)
    (tmp_path / name).mkdir()
    assert "no such file" in error_of(tmp_path / name)


@pytest.mark.parametrize("name", ["a.onnx", "a.tar", "a"])
def test_an_unknown_ending_lists_the_known_ones(tmp_path, name):
    (tmp_path / name).write_bytes(b"x")
    message = error_of(tmp_path / name)
    for ending in (".pth", ".pt", ".pth.tar", ".npz", ".safetensors"):
        assert ending in message
