"""Batches of training clips: read, cut, moved and coloured in parallel by tf.data.

`Clips.example` makes any example of a run from its step and its index in the global
batch. `batch_at` makes one batch of them directly; `train_batches` is the endless
stream of the same batches, made ahead by threads. TensorFlow is loaded by it alone, and
kept off accelerators.
"""

import atexit
import os
import warnings
from collections.abc import Iterator
from contextlib import suppress
from itertools import count
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from vos_jax.data import sampling
from vos_jax.data.augmentation import (
    Geometry,
    mirror_matrix,
    recolour,
    warp_frame,
    warp_labels,
    window_matrix,
)
from vos_jax.data.sampling import Recipe
from vos_jax.data.source import Labelled, Source
from vos_jax.errors import InputError
from vos_jax.types import ClipBatch

# How often a video is drawn from before another one is taken, and how many are.
_DRAWS = 4
_VIDEOS = 20


class Example(NamedTuple):
    """One clip, and what it was made of.

    Attributes:
      frames: uint8 `[T, H, W, 3]`, RGB.
      labels: uint8 `[T, H, W]`; 0 background, 1 to O objects, 255 ignored.
      valid: bool `[O]`.
      name: Of its video.
      times: The video's labelled frames that the clip's frames are from.
      skipped: The errors of the videos that could not be read instead of it.
    """

    frames: np.ndarray
    labels: np.ndarray
    valid: np.ndarray
    name: str
    times: tuple[int, ...]
    skipped: tuple[str, ...] = ()


class Clips:
    """All examples of a training run."""

    def __init__(
        self,
        source: Source,
        recipe: Recipe,
        *,
        seed: int,
        batch: int,
        skip_bad: bool = False,
    ) -> None:
        """Chooses the videos that are long enough.

        Args:
          source: Where from.
          recipe: How.
          seed: From 0 to 2**32 - 1.
          batch: Examples in a global batch.
          skip_bad: Take another video where a file cannot be read.

        Raises:
          InputError: An argument is out of range, or no video is long enough.
        """
        if batch < 1:
            raise InputError(f"batch={batch}: use at least 1")
        self.source = source
        self.recipe = recipe
        self.seed = seed
        self.batch = batch
        self.skip_bad = skip_bad
        sampling.example_generator(seed, 0, 0)
        videos = source.videos
        self._accepted = [i for i, each in enumerate(videos) if recipe.accepts(each)]
        if not self._accepted:
            raise InputError(
                f"none of the {len(videos)} videos has {recipe.shortest} labelled "
                "frames from its first object on; use other data, fewer frames a clip, "
                "or the static recipe"
            )

    def example(self, step: int, index: int) -> Example:
        """Makes example `index` of the global batch of a step.

        A video that shows no object large enough is drawn from a few times; then comes
        another one. All of that is up to the example's own generator.

        Raises:
          InputError: A file cannot be read, or many videos in a row show no object.
        """
        rng = sampling.example_generator(self.seed, step, index)
        number = step * self.batch + index
        place = sampling.shuffled(self.seed, number, len(self._accepted))
        skipped = []
        for _ in range(_VIDEOS):
            video = self._accepted[place]
            try:
                example = self._draw(video, step, rng)
            except InputError as error:
                if not self.skip_bad:
                    raise
                skipped.append(str(error))
            else:
                if example is not None:
                    return example._replace(skipped=tuple(skipped))
            place = int(rng.integers(len(self._accepted)))
        if len(skipped) == _VIDEOS:
            raise InputError(
                f"{_VIDEOS} videos in a row cannot be read; the last: {skipped[-1]}"
            )
        raise InputError(
            f"{_VIDEOS} videos in a row, the last {self.source.videos[video].name}, "
            f"show no object of {self.recipe.min_share:.2%} of a clip's first frame; "
            "check the masks or lower min_share"
        )

    def _draw(self, video: int, step: int, rng: np.random.Generator) -> Example | None:
        """Draws clips from a video until one shows an object; None if none does."""
        described = self.source.videos[video]
        for _ in range(_DRAWS):
            times = self.recipe.times(described, step, rng)
            # Each frame is read once, also if the clip shows it several times.
            read, places = np.unique(times, return_inverse=True)
            stored = self.source.read(video, read.tolist())
            shown = sampling.object_ids(stored.labels[places[0]])
            if not shown.size:
                continue
            target = int(rng.choice(shown))
            size = self.recipe.size_at(step)
            geometries = self._geometries(stored, places, target, size, rng)
            warped = np.stack(
                [
                    warp_labels(stored.labels[place], geometry, size)
                    for place, geometry in zip(places, geometries, strict=True)
                ]
            )
            ids = sampling.draw_objects(warped, self.recipe, rng)
            if ids.size:
                return Example(
                    frames=self._frames(stored, places, geometries, size, rng),
                    labels=sampling.renumber(warped, ids),
                    valid=np.arange(self.recipe.objects) < ids.size,
                    name=described.name,
                    times=tuple(times),
                )
        return None

    def _geometries(
        self,
        stored: Labelled,
        places: np.ndarray,
        target: int,
        size: tuple[int, int],
        rng: np.random.Generator,
    ) -> list[Geometry]:
        """Draws a window around the target and the moves of the clip's frames."""
        recipe = self.recipe
        largest = sampling.largest_window(stored.labels.shape[1:], size)
        window = np.multiply(largest, rng.uniform(*recipe.cover)).tolist()
        corner = sampling.draw_window(stored.labels[places], target, window, rng)
        clip = window_matrix(corner, window, size) @ recipe.clip_affine.draw(rng, size)
        mirror = mirror_matrix(size) if rng.random() < recipe.flip else np.eye(3)
        return [
            Geometry(
                clip @ recipe.frame_affine.draw(rng, size) @ mirror,
                recipe.spline.draw(rng, size),
            )
            for _ in places
        ]

    def _frames(
        self,
        stored: Labelled,
        places: np.ndarray,
        geometries: list[Geometry],
        size: tuple[int, int],
        rng: np.random.Generator,
    ) -> np.ndarray:
        recipe = self.recipe
        images = [Image.fromarray(frame) for frame in stored.frames]
        clip = recipe.clip_colour.draw(rng)
        frames = []
        for place, geometry in zip(places, geometries, strict=True):
            frame = warp_frame(images[place], geometry, size)
            colour = recipe.frame_colour.draw(rng) @ clip
            frames.append(recolour(frame, colour, recipe.blur.draw(rng)))
        return np.stack(frames)


def batch_at(
    source: Source,
    recipe: Recipe,
    seed: int,
    step: int,
    batch: int,
    *,
    skip_bad: bool = False,
) -> ClipBatch:
    """Makes the global batch of a step, the one that `train_batches` gives there.

    Returns:
      NumPy arrays: frames `[B, T, H, W, 3]`, labels `[B, T, H, W]`, valid `[B, O]`.

    Raises:
      InputError: As `Clips` and `Clips.example`.
    """
    clips = Clips(source, recipe, seed=seed, batch=batch, skip_bad=skip_bad)
    examples = [clips.example(step, index) for index in range(batch)]
    return ClipBatch(
        frames=np.stack([example.frames for example in examples]),
        labels=np.stack([example.labels for example in examples]),
        valid=np.stack([example.valid for example in examples]),
    )


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

    def load(self, place: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Makes one example: frames, labels, valid. Called by several threads."""
        place = int(place)
        step, index = divmod(place, self.share)
        try:
            example = self.clips.example(
                self._first_step + step, self._first_index + index
            )
        except Exception as error:
            self._errors[place] = error
            shapes = self.shapes(self.clips.recipe.size_at(self._first_step + step))
            frames, labels, valid = (np.zeros(*each) for each in shapes)
            return frames, labels, valid
        if example.skipped:
            self._skipped[place] = example.skipped
        return example.frames, example.labels, example.valid

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
        """Of an example's arrays, with their types."""
        recipe = self.clips.recipe
        clip = (recipe.frames, *size)
        return ((*clip, 3), np.uint8), (clip, np.uint8), ((recipe.objects,), np.bool_)


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
