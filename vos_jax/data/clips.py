"""Training clips, any one of a run from its step and its index in the global batch.

Each is read, cut, moved and coloured with a generator of its own, so that one made here
alone has the bits of the same one in a stream of them elsewhere.
"""

from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from vos_jax.data import sampling
from vos_jax.data.augmentation import (
    Geometry,
    mirror_matrix,
    warp_frame,
    warp_labels,
    window_matrix,
)
from vos_jax.data.clip_inputs import ClipInputs, stacked
from vos_jax.data.colour import recolour
from vos_jax.data.perturbation import perturb
from vos_jax.data.recipes import Recipe
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
      given: bool `[O, H, W]`, perturbed masks of the first frame, where asked for.
      skipped: The errors of the videos that could not be read instead of it.
      inputs: What comes with the frames after the first, a NamedTuple of arrays
        `[T - 1, ...]`, where it is read.
    """

    frames: np.ndarray
    labels: np.ndarray
    valid: np.ndarray
    name: str
    times: tuple[int, ...]
    given: np.ndarray | None = None
    skipped: tuple[str, ...] = ()
    inputs: Any = None


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
        inputs: ClipInputs | None = None,
    ) -> None:
        """Chooses the videos that are long enough.

        Args:
          source: Where from.
          recipe: How.
          seed: From 0 to 2**32 - 1.
          batch: Examples in a global batch.
          skip_bad: Take another video where a file cannot be read.
          inputs: What to read with every frame after the first; None for nothing.

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
        self.inputs = inputs
        sampling.example_generator(seed, 0, 0)
        videos = source.videos
        if inputs is not None and inputs.count() != len(videos):
            raise InputError(
                f"inputs are of {inputs.count()} videos, the source has {len(videos)};"
                " give the same data sets"
            )
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
            size = self.recipe.size_at(step)
            crop = sampling.draw_crop(stored.labels[places], self.recipe, size, rng)
            if crop is None:
                continue
            window = window_matrix(*crop, size)
            geometries = self._geometries(window, size, rng)
            warped = np.stack(
                [
                    warp_labels(stored.labels[place], geometry, size)
                    for place, geometry in zip(places, geometries, strict=True)
                ]
            )
            ids = sampling.draw_objects(warped, self.recipe, rng)
            if ids.size:
                labels = sampling.renumber(warped, ids)
                return Example(
                    frames=self._frames(stored, places, geometries, size, rng),
                    labels=labels,
                    valid=np.arange(self.recipe.objects) < ids.size,
                    name=described.name,
                    times=tuple(times),
                    given=self._given(labels[0], ids.size, rng),
                    inputs=self._read_inputs(
                        video, times, stored.frames[places], geometries, size
                    ),
                )
        return None

    def _geometries(
        self, window: np.ndarray, size: tuple[int, int], rng: np.random.Generator
    ) -> list[Geometry]:
        """Draws how the clip and each of its frames move within its window."""
        recipe = self.recipe
        clip = window @ recipe.clip_affine.draw(rng, size)
        mirror = mirror_matrix(size) if rng.random() < recipe.flip else np.eye(3)
        return [
            Geometry(
                clip @ recipe.frame_affine.draw(rng, size) @ mirror,
                recipe.spline.draw(rng, size),
            )
            for _ in range(recipe.frames)
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

    def _read_inputs(
        self,
        video: int,
        times: list[int],
        frames: np.ndarray,
        geometries: list[Geometry],
        size: tuple[int, int],
    ) -> Any:
        """Reads what comes with all frames but the first, and moves it with them."""
        if self.inputs is None:
            return None
        height, width = frames.shape[1:3]
        clip = self.inputs.clip(video, times, (height, width))
        return stacked(
            [
                clip.warp(index, frames[index], geometries[index], size)
                for index in range(1, len(times))
            ]
        )

    def _given(
        self, labels: np.ndarray, count: int, rng: np.random.Generator
    ) -> np.ndarray | None:
        """Perturbs the objects' masks, each by itself, down to the same IoU."""
        if self.recipe.perturb is None:
            return None
        iou = float(rng.uniform(*self.recipe.perturb))
        given = np.zeros((self.recipe.objects, *labels.shape), bool)
        for index in range(count):
            given[index] = perturb(labels == index + 1, iou, rng)
        return given


def batch_at(
    source: Source,
    recipe: Recipe,
    seed: int,
    step: int,
    batch: int,
    *,
    skip_bad: bool = False,
    inputs: ClipInputs | None = None,
) -> ClipBatch:
    """Makes the global batch of a step, the one that `train_batches` gives there.

    Returns:
      NumPy arrays: frames `[B, T, H, W, 3]`, labels `[B, T, H, W]`, valid `[B, O]`,
      given `[B, O, H, W]` where the recipe perturbs, and inputs `[B, T - 1, ...]` where
      they are read.

    Raises:
      InputError: As `Clips` and `Clips.example`.
    """
    clips = Clips(
        source, recipe, seed=seed, batch=batch, skip_bad=skip_bad, inputs=inputs
    )
    examples = [clips.example(step, index) for index in range(batch)]
    given = [example.given for example in examples if example.given is not None]
    return ClipBatch(
        frames=np.stack([example.frames for example in examples]),
        labels=np.stack([example.labels for example in examples]),
        valid=np.stack([example.valid for example in examples]),
        given=np.stack(given) if given else None,
        inputs=None if inputs is None else stacked([each.inputs for each in examples]),
    )
