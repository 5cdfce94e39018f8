"""A method that takes something with every frame: a map of hints, from a file.

A file of hints is an `.npz` of maps uint8 `[H, W]` by the names of frames. The word
`light` stands for the brightness of the frames themselves.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple
from zlib import crc32

import jax
import jax.numpy as jnp
import numpy as np

from tests.bench.toy import Toy, ToyConfig, toy_variables
from vos_jax.data.augmentation import warp_labels
from vos_jax.errors import InputError
from vos_jax.methods.base import Segmentation
from vos_jax.methods.entry import Entry
from vos_jax.methods.inputs import InputKind
from vos_jax.ops.soft_aggregation import soft_aggregate


class Hints(NamedTuple):
    """What comes with a frame: `[*B, H, W]` from 0 to 1, and how much it counts."""

    map: Any
    weight: Any


def no_hints(size):
    return Hints(np.full(size, 0.5, np.float32), np.float32(4))


def shrink(stored, size):
    rows, columns = (np.arange(m) * n // m for m, n in zip(size, stored.shape))  # noqa: B905
    small = np.asarray(stored, np.float32)[np.ix_(rows, columns)] / np.float32(255)
    return Hints(small, np.float32(4))


class HintFile:
    """Reads maps by the names of frames, in a data set as `<sequence>-<frame>`."""

    def __init__(self, path):
        if not path.exists():
            raise InputError(f"{path}: no such file of hints; check --proposals")
        self.path = path
        self.identity = f"{crc32(path.read_bytes()):08x}"
        with np.load(path) as file:
            self.maps = dict(file)

    def video(self, sequence, names, size, *, folder=None):
        keys = [name if sequence is None else f"{sequence}-{name}" for name in names]
        for key in keys[1:]:
            if key not in self.maps:
                raise InputError(f"{self.path}: no hints for frame {key}")
            if size is not None and self.maps[key].shape != size:
                raise InputError(f"{self.path}: hints of {key} are of another size")
        return HintsOfVideo(self, keys)

    def empty(self, size):
        return no_hints(size)


class HintsOfVideo:
    def __init__(self, file, keys):
        self.file, self.keys = file, keys
        self.read_indices = []

    def read(self, index, frame, size):
        assert index, "nothing comes with the first frame"
        self.read_indices.append(index)
        return shrink(self.file.maps[self.keys[index]], size)

    def warp(self, index, frame, geometry, size):
        assert index, "nothing comes with the first frame"
        stored = self.file.maps[self.keys[index]]
        return shrink(warp_labels(stored, geometry, size), size)


class Light:
    identity = "light"

    def video(self, sequence, names, size, *, folder=None):
        return self

    def read(self, index, frame, size):
        return shrink(frame.mean(-1), size)

    def warp(self, index, frame, geometry, size):
        light = frame.mean(-1).astype(np.uint8)
        return shrink(warp_labels(light, geometry, size), size)

    def empty(self, size):
        return no_hints(size)


def check(inputs, size):
    if not isinstance(inputs, Hints) or inputs.map.shape != size:
        raise InputError(f"hints: those of a frame of {size[1]}x{size[0]} needed")


HINTS = InputKind(
    name="hints",
    open=lambda path: Light() if str(path) == "light" else HintFile(path),
    advice="name a file of them with --proposals, or `light`",
    check=check,
    mirror=lambda hints: hints._replace(map=hints.map[..., ::-1]),
    example=no_hints,
    of_frames="light",
)


@dataclass(frozen=True, kw_only=True)
class HintedConfig(ToyConfig):
    """Hints may be left out."""

    hints: bool = True


class Hinted(Toy):
    """Hints move the logits of every other object up, and those between down."""

    config: HintedConfig = HintedConfig()

    @property
    def inputs(self):
        return HINTS if self.config.hints else None

    def segment(self, memory, query, frame, active, inputs=None):
        logits = self.decoder(self.read(memory, query, active))[..., 0]
        logits = logits.repeat(8, 1).repeat(8, 2)
        if self.config.hints:
            signs = (-1.0) ** jnp.arange(len(logits))
            logits += signs[:, None, None] * inputs.weight * (inputs.map[None] - 0.5)
        return Segmentation(soft_aggregate(jax.nn.sigmoid(logits), active), memory)


def hinted(**fields):
    """The method, and weights that segment."""
    method = Hinted(HintedConfig(**fields))
    return method, toy_variables(method, bias=-2.5)


def maps_of(count, size=(32, 48), seed=3):
    """Coarse random maps, uint8 `[T, H, W]`, different in every frame."""
    cells = np.random.default_rng(seed).integers(
        0, 256, (count, size[0] // 8, size[1] // 8), np.uint8
    )
    return cells.repeat(8, 1).repeat(8, 2)


def write_hints(path: Path, maps, prefix="") -> Path:
    """Maps of the frames `00000`, `00001` and so on; the first frame has none."""
    np.savez(path, **{f"{prefix}{i:05d}": x for i, x in enumerate(maps) if i})
    return path


entry = Entry(Hinted, HintedConfig())
