"""What tests of several packages need: a small model, and folders of optional data."""

import ctypes
import functools
import gc
import os
import signal
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax._src.interpreters import mlir

from tests.clips import moving_clip
from tests.fill import fill_all
from vos_jax.convert import convert_state_dict, export_state_dict
from vos_jax.methods import METHODS, create
from vos_jax.methods.base import Method
from vos_jax.methods.weights import random_model
from vos_jax.nn.resnet import ResNetConfig

# The emitters of fusions take half of the time of compilation, and a test that runs a
# program once gains nothing by them; nor does one of several processes by parts that
# are compiled side by side. `XLA_FLAGS= pytest` compiles as users do. Newer versions
# end the process over the first flag, which they do not have.
if jax.__version_info__ < (0, 11):
    os.environ.setdefault(
        "XLA_FLAGS",
        "--xla_cpu_use_fusion_emitters=false --xla_cpu_parallel_codegen_split_count=1",
    )
# One device: more of them share the same cores and only slow the tests down.
jax.config.update("jax_num_cpu_devices", 1)
jax.config.update("jax_numpy_rank_promotion", "raise")

# A collection looks at all that JAX and TensorFlow have made.
gc.set_threshold(100_000, 50, 100)

MOST_BYTES = 13 << 27


@pytest.fixture(scope="session", autouse=True)
def one_context() -> Iterator[None]:
    """All programs are lowered in one context.

    To make one takes half as long as to compile a program of one operation, and there
    are thousands of these.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mlir, "make_ir_context", functools.cache(mlir.make_ir_context))
        yield


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Compiled programs of this session's commands, in all of its processes.

    What processes of tests compile is quick, too. Other programs are not kept: to look
    for all of them takes longer than to compile the few that would be found.
    """
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent
    os.environ["XDG_CACHE_HOME"] = str(folder / "cache")
    os.environ["JAX_DISABLE_MOST_OPTIMIZATIONS"] = "1"


def pytest_collection_finish() -> None:
    """Modules are there to stay: no collection looks at them again."""
    gc.collect()
    gc.freeze()


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Compiles quickly, before all fixtures, unless the test is marked."""
    quickly = item.get_closest_marker("full_compilation") is None
    if jax.config.read("jax_disable_most_optimizations") != quickly:
        jax.config.update("jax_disable_most_optimizations", quickly)
        # A program is not compiled again because of that alone.
        jax.clear_caches()


def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> None:
    """Frees what is compiled, which is most of the memory, after some files."""
    changes_file = nextitem is None or nextitem.path != item.path
    if changes_file and _resident_bytes() > MOST_BYTES:
        jax.clear_caches()
        gc.collect()
        if trim := getattr(ctypes.CDLL(None), "malloc_trim", None):
            trim(0)  # Otherwise it stays with the process.


def _resident_bytes() -> int:
    """Memory of this process, 0 where the system does not tell."""
    status = Path("/proc/self/statm")
    return int(status.read_text().split()[1]) << 12 if status.exists() else 0


@pytest.fixture(autouse=True)
def interruptible() -> Iterator[None]:
    """Ctrl-C as in a terminal; a shell's background jobs start with it ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def key() -> jax.Array:
    return jax.random.key(0)


@pytest.fixture(scope="session")
def tiny_method() -> Method:
    """STM with few channels, which compiles in seconds."""
    backbone = ResNetConfig(depth=18, width=8)
    return create("stm", backbone=backbone, key_dim=8, value_dim=16, decoder_dim=8)


@pytest.fixture(scope="session")
def tiny_variables(tiny_method: Method) -> Mapping[str, Any]:
    """Its weights, none of which is zero: statistics and biases count, too."""
    frame, masks = jnp.zeros((32, 32, 3)), jnp.zeros((1, 32, 32))
    shapes = jax.eval_shape(tiny_method.init, jax.random.key(0), frame, masks)
    table = METHODS["stm"].torch_table(tiny_method.config)
    zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape), shapes)
    published = {k: v.shape for k, v in export_state_dict(zeros, table).items()}
    variables = convert_state_dict(fill_all(published), table, shapes)
    return jax.device_put(variables)


@pytest.fixture(scope="session")
def tiny_rde() -> tuple[Method, Mapping[str, Any]]:
    """RDE-VOS with few channels and random weights."""
    backbone = ResNetConfig(depth=18, width=4)
    return random_model(
        "rde",
        backbone=backbone,
        value_backbone=backbone,
        key_dim=4,
        value_dim=16,
        decoder_dims=(16, 8, 8),
    )


@pytest.fixture(scope="session")
def clip() -> tuple[np.ndarray, np.ndarray]:
    """Frames `[8, 32, 48, 3]` and labels."""
    frames, labels = moving_clip(8)
    frames.flags.writeable = labels.flags.writeable = False
    return frames, labels


@pytest.fixture(scope="session")
def parity_folder() -> Path:
    """Reference outputs that cannot be part of the project."""
    return _folder("VOS_JAX_PARITY")


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """Public data sets in their official layouts."""
    return _folder("VOS_JAX_DATA")


def _folder(variable: str) -> Path:
    if variable not in os.environ:
        pytest.skip(f"{variable} is not set")
    return Path(os.environ[variable])
