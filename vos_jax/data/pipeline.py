"""Endless batches of training clips, made ahead in parallel by tf.data.

They are the batches that `vos_jax.data.clips` makes one by one. TensorFlow is loaded
when the first is asked for, and kept off accelerators.
"""

import atexit
import os
import warnings
from collections.abc import Iterator
from contextlib import suppress
from itertools import count
from typing import Any

import numpy as np

from vos_jax.data.clips import Clips
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
) -> Iterator[ClipBatch]:
    """Yields the batches of the steps from `first_step` on, without end.

    The bits depend on source, recipe, seed, batch and step alone. Close the iterator,
    or let go of it, to stop its threads.

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

    Returns:
      An iterator of this host's part, NumPy arrays as `batch_at` returns them.

    Raises:
      InputError: An argument is out of range, TensorFlow is not installed; or, at the
        batch concerned, as `Clips.example`.
    """
    clips = Clips(source, recipe, seed=seed, batch=batch, skip_bad=skip_bad)
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
        arrays = example.frames, example.labels, example.valid
        return arrays if example.given is None else (*arrays, example.given)

    def check(self, number: int) -> None:
        """Raises or warns what happened in the making of batch `number`."""
        for place in range(number * self.share, (number + 1) * self.share):
            if place in self._errors:
                raise self._errors[place]
            for message in self._skipped.pop(place, ()):
                if message not in self._warned:
                    self._warned.add(message)
                    warnings.warn(f"skipped: {message}", stacklevel=3)

    def shapes(self, size: tuple[Any, Any]) -> tuple[tuple[tuple[Any, ...], Any], ...]:
        """Of an example's arrays, in the order of `ClipBatch`, with their types."""
        recipe = self.clips.recipe
        clip = (recipe.frames, *size)
        shapes = ((*clip, 3), np.uint8), (clip, np.uint8), ((recipe.objects,), np.bool_)
        if recipe.perturb is None:
            return shapes
        return *shapes, ((recipe.objects, *size), np.bool_)


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
            yield ClipBatch(*arrays)
    finally:
        stop()
        atexit.unregister(stop)


def _dataset(loader: _Loader, tf: Any, workers: int, prefetch: int) -> Any:
    recipe = loader.clips.recipe
    # TensorFlow need not know a size that changes from batch to batch.
    shapes = loader.shapes((None, None) if recipe.other_sizes else recipe.size)

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
