"""What is said about an accelerator that JAX does not use."""

import jax
import pytest

from vos_jax.inference.announce import announce_run
from vos_jax.runtime import unused_accelerator as unused
from vos_jax.runtime.unused_accelerator import unused_accelerator


@pytest.fixture
def gpu(tmp_path):
    """A file system with the devices of two NVIDIA GPUs."""
    (tmp_path / "dev").mkdir()
    for name in ("nvidia1", "nvidia0", "nvidiactl"):
        (tmp_path / "dev" / name).touch()
    return tmp_path


@pytest.fixture(autouse=True)
def no_choice():
    """The user has not chosen a platform, whatever these tests run with."""
    before = jax.config.jax_platforms
    jax.config.update("jax_platforms", None)
    yield
    jax.config.update("jax_platforms", before)


def pci(root, vendor, device):
    folder = root / "sys/bus/pci/devices/0000:00:04.0"
    folder.mkdir(parents=True)
    (folder / "vendor").write_text(f"{vendor}\n")
    (folder / "device").write_text(f"{device}\n")
    return root


def on(monkeypatch, backend, installed=()):
    monkeypatch.setattr(jax, "default_backend", lambda: backend)
    monkeypatch.setattr(unused, "find_spec", lambda x: x if x in installed else None)


def test_a_gpu_that_jax_does_not_use_is_told_with_what_to_install(gpu, monkeypatch):
    on(monkeypatch, "cpu")
    told = unused_accelerator(gpu, {})
    assert "\n" not in told
    assert f"NVIDIA GPU is there ({gpu}/dev/nvidia0), but JAX computes on" in told
    assert 'pip install "vos_jax[cuda]"' in told


def test_a_gpu_of_linux_within_windows_is_found(tmp_path, monkeypatch):
    on(monkeypatch, "cpu")
    library = tmp_path / "usr/lib/wsl/lib/libcuda.so.1"
    library.parent.mkdir(parents=True)
    library.touch()
    assert "NVIDIA GPU" in unused_accelerator(tmp_path, {})


def test_a_tpu_that_jax_does_not_use_is_told_with_what_to_install(
    tmp_path, monkeypatch
):
    on(monkeypatch, "cpu")
    told = unused_accelerator(pci(tmp_path, "0x1ae0", "0x0063"), {})
    assert "a TPU is there" in told and 'pip install "vos_jax[tpu]"' in told


def test_a_build_that_is_installed_and_does_not_start_is_named(gpu, monkeypatch):
    on(monkeypatch, "cpu", installed=["jax_cuda13_plugin"])
    told = unused_accelerator(gpu, {})
    assert "jax_cuda13_plugin is installed and does not start" in told
    assert "pip install" not in told


def test_nothing_is_told_where_the_gpu_is_used(gpu, monkeypatch):
    on(monkeypatch, "gpu")
    assert unused_accelerator(gpu, {}) is None


def test_nothing_is_told_without_an_accelerator(tmp_path):
    assert unused_accelerator(pci(tmp_path, "0x1ae0", "0x0042"), {}) is None
    assert unused_accelerator(pci(tmp_path / "other", "0x10de", "0x2330"), {}) is None


def test_nothing_is_told_to_who_chose_the_cpu(gpu, monkeypatch):
    on(monkeypatch, "cpu")
    assert unused_accelerator(gpu, {"CUDA_VISIBLE_DEVICES": "0"})
    assert unused_accelerator(gpu, {"CUDA_VISIBLE_DEVICES": ""}) is None
    jax.config.update("jax_platforms", "cpu")
    assert unused_accelerator(gpu, {}) is None


def test_the_first_line_of_a_run_follows_it(gpu, monkeypatch, capsys):
    on(monkeypatch, "cpu")
    with monkeypatch.context() as patch:
        patch.setattr(unused.unused_accelerator, "__defaults__", (gpu, {}))
        announce_run("segment", ["stm-tiny"])
    first, second = capsys.readouterr().err.splitlines()
    assert first.startswith("note: an NVIDIA GPU is there")
    assert second == "segment: stm-tiny"
