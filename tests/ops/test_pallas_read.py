"""Kernels of the memory read, run step by step on a CPU, against the plain formula."""

import subprocess
import sys
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export

from vos_jax.errors import InputError
from vos_jax.ops.l2_read import l2_read
from vos_jax.ops.pallas_read import gpu, pallas_read
from vos_jax.ops.read import space_time_read

of_newer_jax = pytest.mark.skipif(
    jax.__version_info__ < gpu.OLDEST_JAX, reason="this JAX has no such kernels"
)
KERNELS = (
    ("tpu", "float32"),
    ("tpu", "bfloat16"),
    pytest.param("cuda", "bfloat16", marks=of_newer_jax),
)
each_kernel = pytest.mark.parametrize("platform, dtype", KERNELS)


def _bank(dtype, cells, slots, objects, dims=(64, 128), size=1.0):
    """Query, keys and values of a grid of cells."""
    rng = np.random.default_rng(0)
    shapes = (dims[:1], (slots, objects, dims[0]), (slots, objects, dims[1]))
    shapes = [(*shape[:-1], *cells, shape[-1]) for shape in shapes]
    arrays = [rng.normal(size=shape) for shape in shapes]
    arrays[0] *= size
    return [jnp.asarray(x, dtype) for x in arrays]


def _flat(query, keys, values):
    """Rows and columns as one axis."""
    return (
        query.reshape(-1, query.shape[-1]),
        *(x.reshape(*x.shape[:2], -1, x.shape[-1]) for x in (keys, values)),
    )


def _read(platform, bank, filled, scale, offset=None):
    read = partial(pallas_read, scale=scale, platform=platform, interpret=True)
    return np.asarray(jax.jit(read)(*_flat(*bank), filled, offset=offset))


def _exact(read, query, keys, values, *rest):
    """A read without rounding, of what the kernel is given."""
    bank = [np.asarray(x.astype(jnp.float32)) for x in (query, keys, values)]
    out = jax.jit(partial(read, implementation="reference"))(*bank, *rest)
    return np.asarray(out).reshape(len(out), -1, out.shape[-1])


def _assert_near(out, expected, values):
    """Weights are rounded to the type of the values, each by half of its last bit."""
    largest = np.abs(values.astype(np.float32)).max()
    bound = largest * (2**-9 if values.dtype == jnp.bfloat16 else 1e-6)
    np.testing.assert_allclose(out, expected, rtol=0, atol=bound)


@each_kernel
def test_a_kernel_reads_what_the_formula_reads(platform, dtype, monkeypatch):
    """Slots that are not filled hold NaN; of the second object none is filled."""
    _one_share(platform, monkeypatch)
    query, keys, values = _bank(dtype, (5, 7), slots=3, objects=2)
    filled = np.array([[True, False], [False, False], [True, False]])
    expected = _exact(space_time_read, query, keys, values, filled)
    hole = ~filled[..., None, None, None]
    keys, values = (jnp.where(hole, jnp.nan, x) for x in (keys, values))
    out = _read(platform, (query, keys, values), filled, 64**-0.5)
    assert out.dtype == np.float32
    np.testing.assert_array_equal(out[1], 0)
    _assert_near(out, expected, jnp.nan_to_num(values))


@each_kernel
def test_offsets_make_it_a_read_by_distances(platform, dtype, monkeypatch):
    """Of slots that are longer than a block, and of no whole number of tiles."""
    _two_shares(platform, monkeypatch)
    query, keys, values = _bank(dtype, (9, 9), slots=3, objects=1)
    filled = np.array([[True], [False], [True]])
    copies = filled[:, 0].astype(np.int32)
    expected = _exact(l2_read, query, keys[:, 0], values, copies)
    squares = jnp.square(keys.astype(jnp.float32)).sum(-1)
    offset = (-squares / 8).reshape(3, 1, -1)
    offset = jnp.where(filled[..., None], offset, jnp.nan)
    out = _read(platform, (query, keys, values), filled, 2 / 8, offset)
    _assert_near(out, expected, values)


@pytest.mark.slow
@each_kernel
def test_enormous_scores_stay_finite(platform, dtype, monkeypatch):
    _one_share(platform, monkeypatch)
    bank = _bank(dtype, (1, 3), slots=1, objects=1, size=1e6)
    filled = np.ones((1, 1), bool)
    out = _read(platform, bank, filled, 64**-0.5)
    _assert_near(out, _exact(space_time_read, *bank, filled), bank[-1])


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_blocks_on_a_tpu_may_end_within_the_cells(dtype, monkeypatch):
    from vos_jax.ops.pallas_read import tpu

    monkeypatch.setattr(tpu, "MOST_BYTES", 1 << 18)
    monkeypatch.setattr(tpu, "QUERIES", 64)
    bank = _bank(dtype, (10, 15), slots=2, objects=1)
    filled = np.array([[False], [True]])
    out = _read("tpu", bank, filled, 64**-0.5)
    _assert_near(out, _exact(space_time_read, *bank, filled), bank[-1])


@pytest.mark.parametrize("platform", [pytest.param("cuda", marks=of_newer_jax), "tpu"])
@pytest.mark.parametrize("dims, with_offset", [((128, 512), False), ((64, 512), True)])
def test_a_kernel_is_lowered_for_its_platform(platform, dims, with_offset):
    """At 480p, on a host that has no such device."""

    def shaped(shape, dtype=jnp.bfloat16):
        return jax.ShapeDtypeStruct(shape, dtype)

    arrays = [shaped((1620, dims[0])), *(shaped((24, 3, 1620, c)) for c in dims)]
    arrays.append(shaped((24, 3), bool))
    offset = shaped((24, 3, 1620), jnp.float32) if with_offset else None
    read = partial(pallas_read, scale=1.0, platform=platform)
    exported = export.export(jax.jit(read), platforms=[platform])(
        *arrays, offset=offset
    )
    assert exported.out_avals[0].shape == (3, 1620, 512)


def test_an_older_jax_is_told_what_to_read_with(monkeypatch):
    monkeypatch.setattr(gpu, "OLDEST_JAX", (99, 0))
    bank = _flat(*_bank("bfloat16", (8, 16), slots=1, objects=1))
    with pytest.raises(InputError, match=r"needs JAX 99\.0 or newer.* read='blocks'"):
        pallas_read(*bank, np.ones((1, 1), bool), scale=1.0, platform="cuda")


@pytest.mark.parametrize("dtype, precision", [("float32", 2), ("bfloat16", 0)])
def test_a_tpu_rounds_no_product_of_float32(dtype, precision):
    bank = _flat(*_bank(dtype, (8, 16), slots=1, objects=1))
    read = partial(pallas_read, scale=1.0, platform="tpu")
    program = str(jax.make_jaxpr(read)(*bank, np.ones((1, 1), bool)))
    assert program.count("dot_general[") == 2
    assert program.count("precision=(Precision.HIGHEST") == precision


def _arguments(**changed):
    arrays = {"query": (6, 64), "keys": (2, 1, 6, 64), "values": (2, 1, 6, 128)}
    given = {name: jnp.zeros(shape, jnp.bfloat16) for name, shape in arrays.items()}
    given |= {"filled": jnp.ones((2, 1), bool), "scale": 1.0, "platform": "tpu"}
    return given | changed


def _zeros(*shape, dtype="bfloat16"):
    return jnp.zeros(shape, dtype)


REFUSED = {
    "platform": ({"platform": "rocm"}, 'platform is "rocm".*read="blocks"'),
    "cells": ({"query": _zeros(2, 3, 64)}, r"query has shape \(2, 3, 64\).*Flatten"),
    "filled": ({"filled": _zeros(1, 2)}, r"filled has shape.*give it shape \(2, 1\)"),
    "offset": ({"offset": _zeros(2, 1, 5)}, "offset has shape"),
    "no cells": (
        {"keys": _zeros(2, 1, 0, 64), "values": _zeros(2, 1, 0, 128)},
        "is empty",
    ),
    "half": ({"values": _zeros(2, 1, 6, 128, dtype="float16")}, "values is float16"),
    "single": (
        {"values": _zeros(2, 1, 6, 128, dtype="float32"), "platform": "cuda"},
        'values is float32.*"cuda".*read="blocks"',
    ),
    "mixed": ({"query": _zeros(6, 64, dtype="float32")}, "query is float32 and keys"),
    "rounded": ({"offset": _zeros(2, 1, 6)}, "offset is bfloat16"),
    "key channels": (
        {"query": _zeros(6, 96), "keys": _zeros(2, 1, 6, 96)},
        "keys has Ck=96 channels.*multiples of 64",
    ),
    "many channels": (
        {
            "query": _zeros(6, 320),
            "keys": _zeros(2, 1, 6, 320),
            "platform": "cuda",
        },
        "Ck=320.*up to 256",
    ),
    "value channels": ({"values": _zeros(2, 1, 6, 64)}, "Cv=64.*multiples of 128"),
}


@pytest.mark.parametrize("changed, message", REFUSED.values(), ids=REFUSED)
def test_what_no_kernel_can_read_is_refused(changed, message):
    with pytest.raises(ValueError, match=message):
        pallas_read(**_arguments(**changed))


def test_kernels_are_imported_where_they_are_used():
    program = (
        "import sys, vos_jax.ops.read, vos_jax.ops.pallas_read; print(*sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert "jax.experimental.pallas" not in done.stdout.split()


def _one_share(platform, monkeypatch):
    """Each block of threads is compiled by itself, which takes seconds."""
    if platform == "cuda":
        monkeypatch.setattr(gpu, "MOST_SHARES", 1)


def _two_shares(platform, monkeypatch):
    if platform == "cuda":
        monkeypatch.setattr(gpu, "MOST_SHARES", 2)
