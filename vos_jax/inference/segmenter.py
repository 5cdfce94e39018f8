"""One video, frame by frame: at any working size, mirrored too, with new masks.

The compiled program depends on the method, the frame size, the number of objects and
the capacity of the memory, never on the frame. While the device works on a frame the
host reads the next one and takes the labels of the one before.
"""

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Int

from vos_jax.inference.capacity import reserve, state_structure
from vos_jax.inference.checks import (
    as_labels,
    check_frame,
    check_working_size,
    no_start,
    objects_in,
)
from vos_jax.inference.form import inference_form
from vos_jax.inference.objects import merge_masks, remove_object
from vos_jax.inference.over_devices import placed_state
from vos_jax.inference.resume import Saved
from vos_jax.inference.state import State, label_map
from vos_jax.inference.step import start, step_traced
from vos_jax.methods.base import Method
from vos_jax.methods.inputs import check_inputs
from vos_jax.ops.image import to_unit_range
from vos_jax.ops.resample import resize
from vos_jax.types import IGNORE


class FrameResult(NamedTuple):
    """One segmented frame.

    Attributes:
      time: Position of the frame in the order of segmentation, from 0.
      labels: uint8 `[H, W]` at the size of the input.
      probs: float32 `[O+1, H, W]`, background first, or None when not asked for.
      ids: Ids of the channels of `probs` after the background; 0 for a free slot.
    """

    time: int
    labels: np.ndarray
    probs: np.ndarray | None
    ids: np.ndarray


class Pending(NamedTuple):
    """A frame that the device may still be working on."""

    time: int
    labels: Int[Array, "H W"]
    probs: Float[Array, "O+1 H W"] | None
    ids: np.ndarray

    def result(self) -> FrameResult:
        """Waits for the device."""
        probs = None if self.probs is None else np.asarray(self.probs)
        return FrameResult(self.time, np.asarray(self.labels), probs, self.ids)


def working_size(height: int, width: int, size: int | None) -> tuple[int, int]:
    """The size to compute at when the shorter side shall be `size` pixels."""
    if size is None or min(height, width) == size:
        return height, width
    longer = size * max(height, width) // min(height, width)
    return (size, longer) if height <= width else (longer, size)


class VideoSegmenter:
    """Segments the frames of one video in their order.

    Call it with each frame; the first call needs labels, later calls may bring more:
    new ids are new objects, known ids are corrected. The frame's own result then
    contains the given pixels.

    Attributes:
      index: Index of the next frame.
      views: One state, or with `flip` a second one of the mirrored video.
      latest: What the last call returned.
    """

    def __init__(
        self,
        method: Method,
        variables: Mapping[str, Any],
        *,
        size: int | None = None,
        flip: bool = False,
        with_probs: bool = False,
        length: int = 100,
        objects: int | None = None,
    ) -> None:
        """Prepares a video.

        Args:
          method: From `create`.
          variables: Its weights.
          size: Shorter side to compute at; None computes at the input's size.
          flip: Average with the mirrored video; twice the work and memory.
          with_probs: Return probabilities too.
          length: Frames of the video where known: reserves the memory at once. A
            longer video compiles again whenever the memory doubles.
          objects: Number of objects where more are to come than the first frame has.
        """
        check_working_size(size)
        self._method, self._variables = inference_form(method, variables)
        self._size, self._flip, self._with_probs = size, flip, with_probs
        self._length, self._objects = length, objects
        self.index = 0
        self.views: tuple[State, ...] = ()
        self.latest: Pending | None = None
        self._ids = np.zeros(0, np.int32)
        self._corrections = 0
        self._full: tuple[int, int] | None = None

    def __call__(
        self,
        frame: np.ndarray,
        labels: np.ndarray | None = None,
        ids: Sequence[int] | None = None,
        inputs: Any = None,
    ) -> Pending:
        """Segments one frame.

        Args:
          frame: uint8 `[H, W, 3]`.
          labels: Of its given masks, `[H, W]`.
          ids: Picks among the labels.
          inputs: What else the method takes, at the working size; nothing is taken
            with the first frame.
        """
        full = self._check_size(frame)
        if labels is not None:
            labels = as_labels(labels, full)
            if self.has_begun and ids is None and not objects_in(labels):
                labels = None  # Says nothing: all stays as it is found.
        size = working_size(*full, self._size)
        if self.has_begun or inputs is not None:
            check_inputs(self._method.inputs, inputs, size)
        small = _shrink(jnp.asarray(frame), size)
        if self.has_begun:
            pending = self._advance(small, inputs, full)
            if labels is not None:
                self._merge(small, labels, ids)
                pending = _show_given(self._latest(full), labels, ids)
        else:
            if labels is None:
                raise no_start()
            self._start(small, labels, ids)
            pending = self._latest(full)
            nothing = pending._replace(labels=jnp.zeros_like(pending.labels))
            pending = _show_given(nothing, labels, ids)
        self.index += 1
        self.latest = pending
        return pending

    @property
    def has_begun(self) -> bool:
        """Whether there has been a first frame, whose masks are given."""
        return bool(self._ids.size)

    @property
    def ids(self) -> list[int]:
        """Ids of the objects that are followed."""
        return [int(id) for id in self._ids if id]

    def remove(self, id: int) -> None:
        """Ends an object after the latest frame; its slot serves the next new one."""
        self._hold([remove_object(view, id) for view in self.views])

    def restore(self, saved: Saved, corrections: int = 0) -> None:
        """Goes on from a saved state.

        Args:
          saved: From a segmenter like this one.
          corrections: How many of the frames after the first brought masks.
        """
        structure = state_structure(self._method, self._variables)
        count = len(saved.leaves) // saved.views
        views = (
            jax.tree.unflatten(structure, saved.leaves[i * count : (i + 1) * count])
            for i in range(saved.views)
        )
        self._hold(placed_state(self._method, view) for view in views)
        self.index, self._corrections = saved.position, corrections

    def many(self, frames: np.ndarray, inputs: Any = None) -> Int[Array, "K H W"]:
        """Segments some frames, `[K, H, W, 3]`, in one program; labels only.

        What else the method takes has leaves `[K, ...]`.
        """
        if not self.has_begun:
            raise no_start()
        full = self._check_size(frames[0])
        size = working_size(*full, self._size)
        check_inputs(self._method.inputs, jax.tree.map(lambda x: x[0], inputs), size)
        self._reserve(self.index + len(frames))
        small = _shrink(jnp.asarray(frames), size)
        self.views, labels = _advance_many(
            self._method, self._variables, self.views, small, inputs, full
        )
        self.index += len(frames)
        return labels

    def _check_size(self, frame: np.ndarray) -> tuple[int, int]:
        check_frame(frame, f"frame {self.index}", self._full)
        self._full = (int(frame.shape[0]), int(frame.shape[1]))
        return self._full

    def _start(
        self, frame: Array, labels: np.ndarray, ids: Sequence[int] | None
    ) -> None:
        labels = _fit_labels(labels, frame)
        self._hold(
            start(
                self._method,
                self._variables,
                view(frame),
                view(labels),
                ids=ids,
                objects=self._objects,
                frames=self._length,
            )
            for view in self._mirrors()
        )

    def _hold(self, views: Iterable[State]) -> None:
        """Takes over states that the next frame goes on from."""
        self.views = tuple(views)
        self._ids = np.asarray(self.views[0].ids)

    def _reserve(self, frames: int) -> None:
        self.views = tuple(
            reserve(self._method, view, frames, corrections=self._corrections)
            for view in self.views
        )

    def _advance(self, frame: Array, inputs: Any, full: tuple[int, int]) -> Pending:
        self._reserve(self.index + 1)
        self.views, labels, probs = _advance(
            self._method,
            self._variables,
            self.views,
            frame,
            inputs,
            full,
            self._with_probs,
        )
        return Pending(self.index, labels, probs, self._ids)

    def _merge(
        self, frame: Array, labels: np.ndarray, ids: Sequence[int] | None
    ) -> None:
        labels = _fit_labels(labels, frame)
        # At most: whether known objects are among the labels is not asked here.
        self._corrections += 1
        self._hold(
            merge_masks(self._method, state, view(labels), ids, self.index)
            for view, state in zip(self._mirrors(), self.views, strict=True)
        )

    def _latest(self, full: tuple[int, int]) -> Pending:
        labels, probs = _present(self.views, full, self._with_probs)
        return Pending(self.index, labels, probs, self._ids)

    def _mirrors(self) -> tuple[Any, ...]:
        return (_same, _mirror) if self._flip else (_same,)


def _show_given(
    pending: Pending, labels: np.ndarray, ids: Sequence[int] | None
) -> Pending:
    """Given pixels appear in the result exactly, whatever the working size."""
    shown = np.isin(labels, ids) if ids is not None else ~np.isin(labels, (0, IGNORE))
    return pending._replace(labels=jnp.where(shown, labels, pending.labels))


def _same(x: Any) -> Any:
    return x


def _mirror(x: Any) -> Any:
    """Flips `[H, W, ...]` left to right."""
    return x[:, ::-1]


def _fit_labels(labels: np.ndarray, frame: Array) -> np.ndarray:
    """Labels at the working size: the nearest pixel's."""
    sides = list(zip(labels.shape, frame.shape, strict=False))
    rows, columns = ((np.arange(n) + 0.5) * m / n for m, n in sides)
    small = labels[np.ix_(rows.astype(int), columns.astype(int))]
    # An object that falls between the samples is still an object: it keeps one pixel.
    for lost in np.setdiff1d(labels, small):
        pixels = np.argwhere(labels == lost)
        middle = zip(pixels[len(pixels) // 2], sides, strict=True)
        small[tuple(at * n // m for at, (m, n) in middle)] = lost
    return small


@partial(jax.jit, static_argnums=1)
def _shrink(frames: Array, size: tuple[int, int]) -> Float[Array, "*K h w 3"]:
    """Frames in [0, 1] at the working size, antialiased."""
    floats = to_unit_range(frames)
    if frames.shape[-3:-1] == size:
        return floats
    shape = (*frames.shape[:-3], *size, 3)
    return jax.image.resize(floats, shape, "linear", antialias=True)


def show_views(
    views: Sequence[State], full: tuple[int, int], with_probs: bool
) -> tuple[Array, Array | None]:
    """Labels and probabilities at the input's size, averaged over the views."""
    probs = views[0].probs
    if len(views) == 2:
        probs = (probs + views[1].probs[:, :, ::-1]) / 2
    probs = resize(probs[..., None], *full)[..., 0]
    # A copy: the state's own array is given away with the next step.
    return label_map(probs, views[0].ids), jnp.copy(probs) if with_probs else None


_present = jax.jit(show_views, static_argnums=(1, 2))


@partial(jax.jit, static_argnums=(0, 5, 6), donate_argnums=2)
def _advance(
    method: Method,
    variables: Mapping[str, Any],
    views: tuple[State, ...],
    frame: Float[Array, "h w 3"],
    inputs: Any,
    full: tuple[int, int],
    with_probs: bool,
) -> tuple[tuple[State, ...], Array, Array | None]:
    views = step_views(method, variables, views, frame, inputs)
    return views, *show_views(views, full, with_probs)


@partial(jax.jit, static_argnums=(0, 5), donate_argnums=2)
def _advance_many(
    method: Method,
    variables: Mapping[str, Any],
    views: tuple[State, ...],
    frames: Float[Array, "K h w 3"],
    inputs: Any,
    full: tuple[int, int],
) -> tuple[tuple[State, ...], Int[Array, "K H W"]]:
    def body(views: tuple[State, ...], given: tuple[Array, Any]) -> Any:
        views = step_views(method, variables, views, *given)
        return views, show_views(views, full, False)[0]

    return lax.scan(body, views, (frames, inputs))


def step_views(
    method: Method,
    variables: Mapping[str, Any],
    views: tuple[State, ...],
    frame: Array,
    inputs: Any,
) -> tuple[State, ...]:
    """Steps a video, and its mirrored one where there is that, inside a program."""
    given = [(frame, inputs)]
    if len(views) == 2:
        kind = method.inputs
        given.append((_mirror(frame), None if kind is None else kind.mirror(inputs)))
    return tuple(
        step_traced(method, variables, view, *each)[0]
        for view, each in zip(views, given, strict=True)
    )


def compiled_programs() -> int:
    """Number of per-frame programs compiled so far in this process."""
    programs: tuple[Any, ...] = (_advance, _advance_many)
    return sum(program._cache_size() for program in programs)
