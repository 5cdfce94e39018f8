"""Endless batches of training clips, made ahead in parallel by tf.data.

They are the batches that `vos_jax.data.clips` makes one by one. TensorFlow is loaded
when the first is asked for, and kept off accelerators.
"""

import atexit
import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import count
from typing import Any

import numpy as np

from vos_jax.data.clip_inputs import ClipInputs
from vos_jax.data.clips import Clips, Example
from vos_jax.data.recipes import Recipe
from vos_jax.data.source import Source
from vos_jax.errors import InputError
from vos_jax.types import ClipBatch


def train_batches(
    source: Source,
    recipe: Recipe,
    *,
    seed: int,
    batch: int,
    first_step: int = 0,
    host: int = 0,
    hosts: int = 1,
    workers: int | None = None,
    prefetch: int = 2,
    skip_bad: bool = False,
    inputs: ClipInputs | None = None,
) -> Iterator[ClipBatch]:
    """Yields the batches of the steps from `first_step` on, without end.

    The bits depend on source, inputs, recipe, seed, batch and step alone. Close the
    iterator, or let go of it, to stop its threads.

    Args:
      source: Where from; read by several threads at once.
      recipe: How.
      seed: From 0 to 2**32 - 1.
      batch: Examples in a global batch.
      first_step: Of the first batch; the next one for a resumed run.
      host: Number of this host among `hosts`.
      hosts: Each has its own equal part of every batch, in the order of their numbers.
      workers: Examples made at a time; by default as many as there are cores.
      prefetch: Batches kept ready.
      skip_bad: Warn, once for each file that cannot be read, and take another video.
      inputs: What to read with every frame after the first; None for nothing.

    Returns:
      An iterator of this host's part, NumPy arrays as `batch_at` returns them.

    Raises:
      InputError: An argument is out of range, TensorFlow is not installed; or, at the
        batch concerned, as `Clips.example`.
    """
    clips = Clips(
        source, recipe, seed=seed, batch=batch, skip_bad=skip_bad, inputs=inputs
    )
    if not 0 <= host < hosts:
        raise InputError(f"host={host} of hosts={hosts}: number hosts from 0")
    if batch % hosts:
        raise InputError(f"batch={batch} cannot be shared equally by hosts={hosts}")
    if first_step < 0:
        raise InputError(f"first_step={first_step}: use 0 or more")
    workers = _cores() if workers is None else workers
    if workers < 1 or prefetch < 1:
        raise InputError(f"workers={workers}, prefetch={prefetch}: use at least 1")
    share = batch // hosts
    loader = _Loader(clips, first_step, host * share, share)
    return _stream(loader, _tensorflow(), workers, prefetch)


class _Loader:
    """Makes the examples of one host by their place in its stream.

    TensorFlow would bury an exception of Python in a long message of its own. So it
    gets an empty example, and whoever takes the batch asks `check` first.
    """

    def __init__(
        self, clips: Clips, first_step: int, first_index: int, share: int
    ) -> None:
        self.clips = clips
        self.share = share
        self._first_step = first_step
        self._first_index = first_index
        self._errors: dict[int, Exception] = {}
        self._skipped: dict[int, tuple[str, ...]] = {}
        self._warned: set[str] = set()

    def load(self, place: Any) -> tuple[np.ndarray, ...]:
        """Makes one example's arrays, as `shapes` lists them, in several threads."""
        place = int(place)
        step, index = divmod(place, self.share)
        try:
            example = self.clips.example(
                self._first_step + step, self._first_index + index
            )
        except Exception as error:
            self._errors[place] = error
            shapes = self.shapes(self.clips.recipe.size_at(self._first_step + step))
            return tuple(np.zeros(*each) for each in shapes)
        if example.skipped:
            self._skipped[place] = example.skipped
        return _arrays(example)

    def check(self, number: int) -> None:
        """Raises or warns what happened in the making of batch `number`."""
        for place in range(number * self.share, (number + 1) * self.share):
            if place in self._errors:
                raise self._errors[place]
            for message in self._skipped.pop(place, ()):
                if message not in self._warned:
                    self._warned.add(message)
                    warnings.warn(f"skipped: {message}", stacklevel=3)

    def shapes(self, size: tuple[int, int]) -> list[tuple[tuple[Any, ...], Any]]:
        """Of an example's arrays, in the order of `_arrays`, with their types."""
        recipe, inputs = self.clips.recipe, self.clips.inputs
        clip, masks = (recipe.frames, *size), (recipe.objects, *size)
        shapes: list[tuple[tuple[Any, ...], Any]] = [
            ((*clip, 3), np.uint8),
            (clip, np.uint8),
            ((recipe.objects,), np.bool_),
        ]
        if recipe.perturb is not None:
            shapes.append((masks, np.bool_))
        leaves = () if inputs is None else inputs.empty(size)
        shapes += [((recipe.frames - 1, *leaf.shape), leaf.dtype) for leaf in leaves]
        return shapes

    def batch(self, arrays: Sequence[np.ndarray]) -> ClipBatch:
        """Makes a batch of the stacked arrays of its examples."""
        recipe, inputs = self.clips.recipe, self.clips.inputs
        frames, labels, valid, *others = arrays
        given = None if recipe.perturb is None else others.pop(0)
        batch = ClipBatch(frames, labels, valid, given)
        if inputs is None:
            return batch
        return batch._replace(inputs=type(inputs.empty(recipe.size))(*others))


def _stream(
    loader: _Loader, tf: Any, workers: int, prefetch: int
) -> Iterator[ClipBatch]:
    iterators = [iter(_dataset(loader, tf, workers, prefetch).as_numpy_iterator())]
    # The interpreter must not go while threads of the iterator are in Python: it would
    # wait for them, and they for its lock, for ever.
    stop = iterators.clear
    atexit.register(stop)
    try:
        for number in count():
            arrays = next(iterators[0])
            loader.check(number)
            yield loader.batch(arrays)
    finally:
        stop()
        atexit.unregister(stop)


def _arrays(example: Example) -> tuple[np.ndarray, ...]:
    given = () if example.given is None else (example.given,)
    inputs = () if example.inputs is None else example.inputs
    return example.frames, example.labels, example.valid, *given, *inputs


def _common(
    shapes: list[list[tuple[tuple[Any, ...], Any]]],
) -> list[tuple[tuple[Any, ...], Any]]:
    """Shapes that hold for all sizes, None for a side that differs."""
    merged = []
    for each in zip(*shapes, strict=True):
        sides = zip(*(shape for shape, _ in each), strict=True)
        shape = tuple(x[0] if len(set(x)) == 1 else None for x in sides)
        merged.append((shape, each[0][1]))
    return merged


def _dataset(loader: _Loader, tf: Any, workers: int, prefetch: int) -> Any:
    recipe = loader.clips.recipe
    # TensorFlow need not know a size that changes from batch to batch.
    shapes = _common([loader.shapes(size) for size in recipe.sizes])

    def load(place: Any) -> Any:
        arrays = tf.numpy_function(loader.load, [place], [d for _, d in shapes])
        for array, (shape, _) in zip(arrays, shapes, strict=True):
            array.set_shape(shape)
        return tuple(arrays)

    options = tf.data.Options()
    options.deterministic = True
    # Its search for the best numbers would only change those that were asked for.
    options.autotune.enabled = False
    options.threading.private_threadpool_size = workers
    places = tf.data.Dataset.range(np.iinfo(np.int64).max)
    examples = places.map(load, num_parallel_calls=workers, deterministic=True)
    batches = examples.batch(loader.share, drop_remainder=True).prefetch(prefetch)
    return batches.with_options(options)


def quieten_tensorflow() -> None:
    """Keeps TensorFlow, not loaded yet, from writing about the machine to stderr.

    Some of its lines only go with oneDNN; no layers here would be slower without.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")


def _tensorflow() -> Any:
    quieten_tensorflow()
    try:
        import tensorflow as tf
    except ImportError as error:
        raise InputError(
            "TensorFlow is not installed; run: pip install 'vos_jax[data]'"
        ) from error
    # Fails where TensorFlow has begun to use them, which is then the caller's wish.
    with suppress(RuntimeError):
        tf.config.set_visible_devices([], "GPU")
    return tf


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1
