"""More memory than there is."""

import errno
import os

import jax
import numpy as np
import pytest

import vos_jax
from vos_jax.errors import InputError
from vos_jax.inference.capacity import segmenting_remedy, state_bytes
from vos_jax.methods.weights import variable_shapes
from vos_jax.runtime import out_of_memory
from vos_jax.runtime.out_of_memory import (
    OutOfMemory,
    Shortage,
    check_memory,
    device_memory,
    machine_memory,
    memory_told,
    shortage,
)


def of_xla(text: str) -> Exception:
    return jax.errors.JaxRuntimeError(text)


@pytest.mark.parametrize(
    ("text", "asked"),
    [
        ("RESOURCE_EXHAUSTED: Out of memory allocating 1500 bytes.", 1500),
        (
            "RESOURCE_EXHAUSTED: Out of memory while trying to allocate 42 bytes."
            "\nLargest: shared memory, scoped",
            42,
        ),
        ("RESOURCE_EXHAUSTED: Out of memory while trying to allocate 2.5GiB.", 5 << 29),
        ("RESOURCE_EXHAUSTED: Failed to allocate request for 1.0KiB (1030B)", 1030),
        (
            "RESOURCE_EXHAUSTED: XLA:TPU compile permanent error. Ran out of memory in"
            " memory space hbm. Used 3.00G of 2.00G hbm. Exceeded by 1.00G.",
            3 << 30,
        ),
        (
            "RESOURCE_EXHAUSTED: Error allocating device buffer: Attempting to allocate"
            " 4.00M. That was not possible. There are 3.50M free.",
            4 << 20,
        ),
        ("INTERNAL: failed to alloc 77 bytes on host: CUDA_ERROR_OUT_OF_MEMORY", 77),
        ("INTERNAL: CUBLAS_STATUS_ALLOC_FAILED", None),
        ("INTERNAL: std::bad_alloc", None),
    ],
)
def test_what_xla_and_drivers_say_is_understood(text, asked):
    assert shortage(of_xla(text)) == Shortage(asked)


@pytest.mark.parametrize(
    "error",
    [
        of_xla("INVALID_ARGUMENT: Executable expected shape f32[2]"),
        of_xla("RESOURCE_EXHAUSTED: Received message larger than max (9 vs. 4)"),
        of_xla("RESOURCE_EXHAUSTED: Ran out of memory in memory space vmem. 32.00M"),
        of_xla("RESOURCE_EXHAUSTED: Shared memory size limit exceeded: out of memory"),
        of_xla("INTERNAL: Failed to allocate a port"),
        ValueError("out of memory"),
        OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)),
    ],
)
def test_another_error_passes_unchanged(error):
    assert shortage(error) is None
    with pytest.raises(type(error)) as caught, memory_told("a", "b"):
        raise error
    assert caught.value is error


def test_an_array_that_numpy_cannot_have_is_one():
    with pytest.raises(MemoryError) as caught:
        np.zeros(1 << 58)
    found = shortage(caught.value)
    assert found is not None
    assert found.asked == 1 << 61
    assert shortage(MemoryError()) == Shortage(None)
    assert shortage(OSError(errno.ENOMEM, "Cannot allocate memory")) == Shortage(None)


def test_a_computation_that_does_not_fit_is_one_line():
    with pytest.raises(OutOfMemory) as caught, memory_told("a.mp4", "use less"):
        jax.device_get(jax.numpy.zeros(1 << 45))
    message = str(caught.value)
    assert message.startswith("a.mp4: out of memory: 140737488355328 bytes (141 TB)")
    assert message.endswith("; use less")
    assert isinstance(caught.value, InputError)
    assert isinstance(caught.value, MemoryError)


def test_what_was_told_inside_is_not_told_again():
    with pytest.raises(OutOfMemory, match=r"^inner: out of memory; less$"):
        with memory_told("outer", "more"), memory_told("inner", "less"):
            raise MemoryError


def test_an_error_that_came_of_another_counts_as_that_one():
    error = RuntimeError("while reading array 3")
    error.__cause__ = of_xla("RESOURCE_EXHAUSTED: Out of memory allocating 8 bytes.")
    assert shortage(error) == Shortage(8)


def test_what_cannot_fit_is_refused_before_it_is_allocated(monkeypatch):
    monkeypatch.setattr(out_of_memory, "device_memory", lambda: 1000)
    check_memory("the state", 1000, "use less")
    with pytest.raises(OutOfMemory, match=r"1001 bytes .* 1000 bytes .*most; use less"):
        check_memory("the state", 1001, "use less")
    monkeypatch.setattr(out_of_memory, "device_memory", lambda: None)
    check_memory("the state", 1 << 60, "use less")


def test_this_machine_has_some_memory():
    assert 1 << 26 < machine_memory() < 1 << 50
    assert device_memory() == machine_memory()


@pytest.mark.parametrize(
    ("groups", "files", "expected"),
    [
        ("0::/", {}, 3_000_000),
        ("0::/", {"memory.max": "max"}, 3_000_000),
        ("0::/", {"memory.max": "500000"}, 1_500_000),
        ("0::/job/7", {"memory.max": "max", "job/memory.max": "700000"}, 1_700_000),
        ("0::/../host", {"memory.max": "600000"}, 1_600_000),
        (
            "4:cpu,memory:/a\n0::/",
            {"memory/a/memory.limit_in_bytes": "400000"},
            1_400_000,
        ),
        ("4:memory:/a", {"memory/memory.limit_in_bytes": "9" * 18}, 3_000_000),
    ],
)
def test_the_limits_of_a_container_count(
    tmp_path, monkeypatch, groups, files, expected
):
    """Two MB of memory and one of swap."""
    meminfo = tmp_path / "meminfo"
    meminfo.write_text("MemTotal:  1953 kB\nHugePages_Total: 0\nSwapTotal: 976 kB\n")
    (tmp_path / "groups").write_text(groups + "\n")
    for name, text in files.items():
        (tmp_path / "fs" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "fs" / name).write_text(text + "\n")
    monkeypatch.setattr(out_of_memory, "_MEMINFO", meminfo)
    monkeypatch.setattr(out_of_memory, "_CGROUP", tmp_path / "groups")
    monkeypatch.setattr(out_of_memory, "_CGROUPS", tmp_path / "fs")
    assert machine_memory() == pytest.approx(expected, abs=2000)


def test_a_system_that_does_not_say_has_no_limit(tmp_path, monkeypatch):
    monkeypatch.setattr(out_of_memory, "_MEMINFO", tmp_path / "gone")
    assert machine_memory() is None


def test_advice_is_of_options_that_help():
    every = ("--size", "--mem-capacity", "--dtype bfloat16")
    assert all(option in segmenting_remedy(vos_jax.create("stm")) for option in every)
    # Its memory does not grow.
    assert "--mem-capacity" not in segmenting_remedy(vos_jax.create("rde"))
    half = vos_jax.create("stm", dtype="bfloat16")
    assert "--dtype" not in segmenting_remedy(half)


def test_a_state_needs_as_much_with_weights_as_without(tiny_method):
    known = state_bytes(
        tiny_method, (32, 48), 2, 9, variables=variable_shapes(tiny_method)
    )
    assert known == state_bytes(tiny_method, (32, 48), 2, 9)
