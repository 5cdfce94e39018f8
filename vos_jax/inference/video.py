"""A whole video: frames in, label maps out, one at a time.

The compiled program depends on the method, the frame size, the number of objects and
the capacity of the memory, never on the frame. While the device works on a frame the
host reads the next one and takes the labels of the one before.
"""

from collections.abc import Iterable, Iterator, Mapping, Reversible, Sequence, Sized
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Int

from vos_jax.errors import InputError
from vos_jax.inference.resume import Saved
from vos_jax.inference.step import (
    IGNORE,
    State,
    label_map,
    merge_masks,
    remove_object,
    reserve,
    start,
    state_structure,
    step_traced,
)
from vos_jax.methods.base import Method
from vos_jax.nn.layers import fold_norms
from vos_jax.ops.image import to_unit_range
from vos_jax.ops.resample import resize

_NO_START = "the first frame needs a mask; give its labels"

Masks = np.ndarray | Mapping[int, np.ndarray]
"""Label map `[H, W]` of the first frame, or maps by frame index."""


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


def inference_form(
    method: Method, variables: Mapping[str, Any]
) -> tuple[Method, Mapping[str, Any]]:
    """The same network with its norms folded into the convolutions."""
    if method.config.folded:
        return method, variables
    config = _replace(method.config, folded=True)
    return method.clone(config=config), jax.jit(fold_norms)(variables)


def _replace(config: Any, **changes: Any) -> Any:
    return type(config)(**{**vars(config), **changes})


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
        if size is not None and size < 16:
            raise InputError(f"size={size}: use at least 16 pixels")
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
    ) -> Pending:
        """Segments one frame, uint8 `[H, W, 3]`; `ids` picks among its `labels`."""
        full = self._checked_size(frame)
        if labels is not None:
            labels = _checked_labels(labels, full)
            if self.views and ids is None and np.isin(labels, (0, IGNORE)).all():
                labels = None  # Says nothing: all stays as it is found.
        small = _shrink(jnp.asarray(frame), working_size(*full, self._size))
        if self.views:
            pending = self._advance(small, full)
            if labels is not None:
                self._merge(small, labels, ids)
                pending = _show_given(self._latest(full), labels, ids)
        else:
            if labels is None:
                raise InputError(_NO_START)
            self._start(small, labels, ids)
            pending = self._latest(full)
            nothing = pending._replace(labels=jnp.zeros_like(pending.labels))
            pending = _show_given(nothing, labels, ids)
        self.index += 1
        self.latest = pending
        return pending

    def remove(self, id: int) -> None:
        """Ends an object after the latest frame; its slot serves the next new one."""
        self._hold([remove_object(view, id) for view in self.views])

    def restore(self, saved: Saved) -> None:
        """Goes on from a saved state."""
        structure = state_structure(self._method, self._variables)
        count = len(saved.leaves) // saved.views
        self._hold(
            jax.tree.unflatten(structure, saved.leaves[i * count : (i + 1) * count])
            for i in range(saved.views)
        )
        self.index = saved.position

    def many(self, frames: np.ndarray) -> Int[Array, "K H W"]:
        """Segments some frames, `[K, H, W, 3]`, in one program; labels only."""
        if not self.views:
            raise InputError(_NO_START)
        full = self._checked_size(frames[0])
        self._reserve(self.index + len(frames))
        small = _shrink(jnp.asarray(frames), working_size(*full, self._size))
        self.views, labels = _advance_many(
            self._method, self._variables, self.views, small, full
        )
        self.index += len(frames)
        return labels

    def _checked_size(self, frame: np.ndarray) -> tuple[int, int]:
        if frame.ndim != 3 or frame.shape[2] != 3:
            raise InputError(
                f"frame {self.index}: shape {frame.shape} given, [height, width, 3]"
                " needed"
            )
        if frame.dtype != np.uint8 and not jnp.issubdtype(frame.dtype, jnp.floating):
            raise InputError(
                f"frame {self.index}: dtype {frame.dtype} given, uint8 needed"
            )
        size = (int(frame.shape[0]), int(frame.shape[1]))
        self._full = self._full or size
        if size != self._full:
            raise InputError(
                f"frame {self.index}: its size is {_text(size)}, that of the frames"
                f" before {_text(self._full)}; all frames of a video must have one size"
            )
        return size

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
        self.views = tuple(views)
        self._ids = np.asarray(self.views[0].ids)

    def _reserve(self, frames: int) -> None:
        self.views = tuple(
            reserve(self._method, view, frames, corrections=self._corrections)
            for view in self.views
        )

    def _advance(self, frame: Array, full: tuple[int, int]) -> Pending:
        self._reserve(self.index + 1)
        self.views, labels, probs = _advance(
            self._method, self._variables, self.views, frame, full, self._with_probs
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


def _checked_labels(labels: np.ndarray, full: tuple[int, int]) -> np.ndarray:
    labels = np.asarray(labels)
    if labels.ndim != 2:
        raise InputError(f"labels: shape {labels.shape} given, [H, W] needed")
    if labels.shape != full:
        raise InputError(
            f"labels: their size is {_text(labels.shape)}, the frame's {_text(full)};"
            " give both at one size"
        )
    return labels


def _text(size: tuple[int, ...]) -> str:
    return f"{size[1]}x{size[0]}"


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


def _shown(
    views: Sequence[State], full: tuple[int, int], with_probs: bool
) -> tuple[Array, Array | None]:
    """Labels and probabilities at the input's size, averaged over the views."""
    probs = views[0].probs
    if len(views) == 2:
        probs = (probs + views[1].probs[:, :, ::-1]) / 2
    probs = resize(probs[..., None], *full)[..., 0]
    # A copy: the state's own array is given away with the next step.
    return label_map(probs, views[0].ids), jnp.copy(probs) if with_probs else None


_present = jax.jit(_shown, static_argnums=(1, 2))


@partial(jax.jit, static_argnums=(0, 4, 5), donate_argnums=2)
def _advance(
    method: Method,
    variables: Mapping[str, Any],
    views: tuple[State, ...],
    frame: Float[Array, "h w 3"],
    full: tuple[int, int],
    with_probs: bool,
) -> tuple[tuple[State, ...], Array, Array | None]:
    views = _step_views(method, variables, views, frame)
    return views, *_shown(views, full, with_probs)


@partial(jax.jit, static_argnums=(0, 4), donate_argnums=2)
def _advance_many(
    method: Method,
    variables: Mapping[str, Any],
    views: tuple[State, ...],
    frames: Float[Array, "K h w 3"],
    full: tuple[int, int],
) -> tuple[tuple[State, ...], Int[Array, "K H W"]]:
    def body(views: tuple[State, ...], frame: Array) -> Any:
        views = _step_views(method, variables, views, frame)
        return views, _shown(views, full, False)[0]

    return lax.scan(body, views, frames)


def _step_views(
    method: Method, variables: Mapping[str, Any], views: tuple[State, ...], frame: Array
) -> tuple[State, ...]:
    mirrored = zip(views, (frame, _mirror(frame)), strict=False)
    return tuple(step_traced(method, variables, v, f)[0] for v, f in mirrored)


def compiled_programs() -> int:
    """Number of per-frame programs compiled so far in this process."""
    programs: tuple[Any, ...] = (_advance, _advance_many)
    return sum(program._cache_size() for program in programs)


def stream_video(
    method: Method,
    variables: Mapping[str, Any],
    frames: Iterable[np.ndarray],
    first_labels: Masks,
    **options: Any,
) -> Iterator[FrameResult]:
    """Segments frames as they come; yields each frame's result one frame later.

    Args:
      method: From `create`.
      variables: Its weights.
      frames: uint8 `[H, W, 3]` each, any iterable, of any length.
      first_labels: `[H, W]`, or a mapping of frame index to labels; index 0 must be
        in it.
      **options: Of `VideoSegmenter`.
    """
    given = first_labels if isinstance(first_labels, Mapping) else {0: first_labels}
    segmenter = VideoSegmenter(method, variables, **options)
    previous: Pending | None = None
    for time, frame in enumerate(frames):
        pending = segmenter(frame, given.get(time))
        if previous is not None:
            yield previous.result()
        previous = pending
    if previous is not None:
        yield previous.result()


def segment_video(
    method: Method,
    variables: Mapping[str, Any],
    frames: Iterable[np.ndarray],
    first_labels: Masks,
    *,
    reverse: bool = False,
    chunk: int | None = None,
    **options: Any,
) -> np.ndarray:
    """Segments a whole video.

    Args:
      method: From `create`.
      variables: Its weights.
      frames: uint8 `[H, W, 3]` each: an array `[T, H, W, 3]`, a sequence, or any
        iterable.
      first_labels: `[H, W]` of the first frame (with `reverse` the last), or a
        mapping of frame index to labels for objects and corrections that come later.
      reverse: Go from the last frame to the first.
      chunk: Frames of an array to segment in one compiled `scan`; by default 8 on an
        accelerator and 1, which is faster there, on a CPU.
      **options: `size`, `flip`, as for `VideoSegmenter`.

    Returns:
      uint8 labels `[T, H, W]`, in the order of the video.

    Raises:
      InputError: No frames, no labels for the frame to begin with, or sizes differ.
    """
    if reverse:
        backwards = _backwards(frames)
        last = len(backwards) - 1
        given = _by_index(first_labels, last)
        given = {last - index: labels for index, labels in given.items()}
        return segment_video(
            method, variables, backwards, given, chunk=chunk, **options
        )[::-1]
    given = _by_index(first_labels, 0)
    if isinstance(frames, Sized):
        options.setdefault("length", len(frames))
    chunk = _default_chunk() if chunk is None else chunk
    if isinstance(frames, np.ndarray) and frames.ndim == 4 and chunk > 1:
        labels = _scan_video(method, variables, frames, given, chunk, options)
    else:
        results = stream_video(method, variables, frames, given, **options)
        labels = [result.labels for result in results]
    if not len(labels):
        raise InputError("frames: none given")
    return np.stack(labels)


def _by_index(labels: Masks, first: int) -> Mapping[int, np.ndarray]:
    return labels if isinstance(labels, Mapping) else {first: labels}


class _Backwards:
    """A sequence from its end, without copying it."""

    def __init__(self, frames: Any) -> None:
        self._frames = frames

    def __len__(self) -> int:
        return len(self._frames)

    def __iter__(self) -> Iterator[np.ndarray]:
        return iter(reversed(self._frames))


def _backwards(frames: Iterable[np.ndarray]) -> Any:
    if isinstance(frames, np.ndarray):
        return frames[::-1]
    has_end = isinstance(frames, Sized) and isinstance(frames, Reversible)
    return _Backwards(frames if has_end else list(frames))


def _default_chunk() -> int:
    return 1 if jax.default_backend() == "cpu" else 8


def _scan_video(
    method: Method,
    variables: Mapping[str, Any],
    frames: np.ndarray,
    given: Mapping[int, np.ndarray],
    chunk: int,
    options: Mapping[str, Any],
) -> list[np.ndarray]:
    """Whole chunks by `scan`; frames with labels and the last few one by one."""
    segmenter = VideoSegmenter(method, variables, **options)
    labels: list[Any] = []
    index = 0
    while index < len(frames):
        stop = index + chunk
        if stop <= len(frames) and not any(index <= i < stop for i in given):
            labels.extend(segmenter.many(frames[index:stop]))
            index = stop
        else:
            labels.append(segmenter(frames[index], given.get(index)).labels)
            index += 1
    return [np.asarray(x) for x in labels]
