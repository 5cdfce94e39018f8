"""The published programs in PyTorch, of `device.py`: `torch`.

They are those that `*_vs_torch.py` beside compare with; LCM was published without one.
PyTorch is imported by the jobs: without it they say so, and nothing else needs it.
"""

import importlib.util
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from device_timing import Bench

import vos_jax
from vos_jax.bench.stages import stripes


class Row(NamedTuple):
    """A frame of a video, the mean from one that is remembered to the next.

    Attributes:
      method: Its name.
      way: "eager" or "compiled".
      dtype: "float32", or "bfloat16" by autocast; products in float32 are whole ones.
      objects: Number of objects.
      memory_frames: That the first of the frames reads; RDE-VOS always reads four.
      time_ms: Of a frame.
      frames_per_s: By it.
      first_s: Seconds of the first frame, with what compiles then.
      failed: Why there are no figures.
    """

    method: str
    way: str
    dtype: str
    objects: int
    memory_frames: int
    time_ms: float | None = None
    frames_per_s: float | None = None
    first_s: float | None = None
    failed: str = ""


def version() -> str | None:
    """Of PyTorch; None without it."""
    if importlib.util.find_spec("torch") is None:
        return None
    import torch

    return str(torch.__version__)


def jobs(bench: Bench) -> Iterator[tuple[Any, ...]]:
    """Eager ones first: they take seconds."""
    for method in bench.torch_methods:
        yield f"{method}, eager", 20, partial(measure, bench, method, "eager")
    for method in bench.torch_methods[:1] if bench.small else bench.torch_methods:
        yield f"{method}, compiled", 120, partial(measure, bench, method, "compiled")


def measure(bench: Bench, method: str, way: str) -> list[Row]:
    """A row for each type and number of objects."""
    if version() is None:
        raise RuntimeError("PyTorch is not installed")
    import torch

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if bench.platform == "cuda" and device.type != "cuda":
        raise RuntimeError("this PyTorch has no CUDA")
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    torch.backends.cudnn.benchmark = True
    rows = []
    for dtype in bench.dtypes[-1:] if bench.small else bench.dtypes:
        for objects in bench.objects:
            row = Row(method, way, dtype, objects, bench.frames)
            cast: AbstractContextManager[Any] = nullcontext()
            if dtype != "float32":
                cast = torch.autocast(device.type, getattr(torch, dtype))
            # What the programs make of nothing they make on the device, too.
            with torch.inference_mode(), device, cast:
                rows.append(timed(bench, row, device))
    return rows


def timed(bench: Bench, row: Row, device: Any) -> Row:
    """The row with its figures."""
    try:
        video, frame, every = begin(bench, row.method, row.objects, device)
        if row.way == "compiled":
            # Without the compiler of what is traced, which takes minutes on a CPU.
            compile_parts(video._model, "eager" if bench.small else "inductor")
        wait = _waiting(device)
        started = time.perf_counter()
        video.step(frame)
        wait()
        first_s = time.perf_counter() - started
        for _ in range(1, every * (row.memory_frames - 1) + 1):
            video.step(frame)
        times = []
        for _ in range(bench.repeats):
            wait()
            started = time.perf_counter()
            for _ in range(every):
                video.step(frame)
            wait()
            times.append((time.perf_counter() - started) / every)
    except Exception as error:
        lines = str(error).strip().splitlines() or [""]
        return row._replace(failed=f"{type(error).__name__}: {lines[0]}"[:160])
    # The memory grows while it is timed, by one frame each time.
    seconds = statistics.median(times[:3])
    return row._replace(
        time_ms=1e3 * seconds, frames_per_s=1 / seconds, first_s=first_s
    )


def _waiting(device: Any) -> Callable[[], Any]:
    import torch

    return torch.cuda.synchronize if device.type == "cuda" else lambda: None


def begin(bench: Bench, name: str, objects: int, device: Any) -> tuple[Any, Any, int]:
    """A video that has begun, a frame of it, and how many go by for one remembered."""
    import torch

    config = vos_jax.create(name, **_options(bench, name)).config
    height, width = bench.size
    rng = np.random.default_rng(0)
    picture = rng.uniform(0, 1, (3, height, width)).astype(np.float32)
    labels = stripes(height, width, objects)
    masks = labels == np.arange(0, objects + 1)[:, None, None]
    frame, probs = (
        torch.from_numpy(x.astype(np.float32)).to(device) for x in (picture, masks)
    )
    make, video = program(name, config)
    model = make().eval().to(device)
    if name == "dmn-aoa":
        video = partial(video, proposals=_Always(_proposals(bench.size, device)))
        return video(model, frame=frame, probs=probs), frame, config.mem_every or 1
    return video(model, frame, probs), frame, config.mem_every or 1


class _Always:
    """The same for every frame."""

    def __init__(self, what: Any) -> None:
        self._what = what

    def __getitem__(self, time: int) -> Any:
        return self._what


def _proposals(size: tuple[int, int], device: Any) -> Any:
    import torch
    from torch_dmn_aoa import taken

    kind = vos_jax.create("dmn-aoa").inputs
    assert kind is not None
    example = type(kind.example(size))(*map(np.asarray, kind.example(size)))
    with torch.device("cpu"):
        found = taken(example)
    return type(found)(*(x.to(device) for x in found))


def program(name: str, config: Any) -> tuple[Callable[[], Any], Callable[..., Any]]:
    """What makes the network, and the video."""
    if name == "stm":
        import stm_vs_torch

        return partial(stm_vs_torch.TorchSTM, config), stm_vs_torch.TorchVideo
    if name == "hmmn":
        import torch_hmmn

        return partial(torch_hmmn.TorchHMMN, config), torch_hmmn.TorchVideo
    if name == "dmn-aoa":
        import torch_dmn_aoa

        width = config.backbone.width
        make = partial(torch_dmn_aoa.TorchDMNAOA, config, width)
        return make, torch_dmn_aoa.TorchVideo
    import torch_rde

    return partial(torch_rde.PROGRAMS[name], config), torch_rde.TorchVideo


def compile_parts(model: Any, backend: str) -> None:
    """Replaces what a video calls of a network by what `torch.compile` makes of it."""
    import torch

    for name in dict.fromkeys(x for kind in type(model).__mro__ for x in vars(kind)):
        if name in _PARTS:
            part = getattr(model, name)
            setattr(model, name, torch.compile(part, backend=backend))


_PARTS = frozenset(
    ("encode", "memorize", "value", "read", "decode", "segment", "template", "refine")
)


def _options(bench: Bench, name: str) -> dict[str, Any]:
    """Published sizes, or narrow ResNets."""
    if not bench.small:
        return {}
    from vos_jax.nn.resnet import ResNetConfig

    narrow: dict[str, Any] = {"backbone": ResNetConfig(width=4)}
    # More than there are cells in a small frame.
    return narrow | {"k": 8} if name == "hmmn" else narrow
