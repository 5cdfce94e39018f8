"""What the method of a run takes with every frame: readers for its data sets."""

from dataclasses import replace
from pathlib import Path

from vos_jax.data.clip_inputs import ClipInputs, InputReader
from vos_jax.data.source import Source
from vos_jax.data.sources import ConcatSource
from vos_jax.errors import InputError
from vos_jax.methods.inputs import InputKind, of_frames, open_inputs
from vos_jax.runtime.progress import Progress
from vos_jax.training.experiment import DataConfig, Experiment


def open_clip_inputs(
    kind: InputKind | None,
    configs: tuple[DataConfig, ...],
    source: Source,
    data: Path | None,
) -> ClipInputs | None:
    """Opens what comes with the frames of an experiment's data sets.

    Args:
      kind: What the method takes.
      configs: The data sets.
      source: What `open_data` made of them.
      data: Folder that theirs are in.

    Returns:
      The readers; None for a method that takes nothing.

    Raises:
      InputError: Inputs are missing, not taken, or damaged; names the data set.
    """
    opened: dict[Path | None, InputReader | None] = {}
    readers = []
    for config in configs:
        place = _place(kind, config, data)
        if place not in opened:
            try:
                opened[place] = open_inputs(kind, place)
            except InputError as error:
                raise InputError(f"data set {config.source!r}: {error}") from error
        readers += [opened[place]] * config.repeat
    sources = source.sources if isinstance(source, ConcatSource) else (source,)
    pairs = zip(sources, readers, strict=True)
    parts = [(each, reader) for each, reader in pairs if reader is not None]
    return ClipInputs(parts) if parts else None


def check_all_frames(source: Source, inputs: ClipInputs) -> None:
    """Looks for the inputs of all frames, before hours are spent on the way to them.

    By names alone, so that it takes seconds for large data sets: a video's first frame
    needs none, a still image is in all frames of its clips.

    Raises:
      InputError: A frame lacks them.
    """
    with Progress("check inputs", len(source.videos), "video") as progress:
        for number, video in enumerate(source.videos):
            times = range(video.length) if video.length > 1 else (0, 0)
            inputs.clip(number, times, None)
            progress.update()


def _place(
    kind: InputKind | None, config: DataConfig, data: Path | None
) -> Path | None:
    """What to open for a data set."""
    if config.inputs is None:
        return of_frames(kind) if config.folder is None else None
    is_word = kind is not None and config.inputs == kind.of_frames
    return Path(config.inputs) if is_word or data is None else data / config.inputs


def take_inputs(experiment: Experiment, given: Path | None) -> Experiment:
    """The experiment with inputs for all of its data sets that name none.

    Args:
      experiment: Not changed.
      given: What to open; a path as seen from here, not from the folder of the data.
    """
    if given is None:
        return experiment
    named = str(given.resolve() if given.exists() else given)

    def take(configs: tuple[DataConfig, ...]) -> tuple[DataConfig, ...]:
        return tuple(replace(x, inputs=x.inputs or named) for x in configs)

    return replace(
        experiment, data=take(experiment.data), validation=take(experiment.validation)
    )
