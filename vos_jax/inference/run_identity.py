"""Which run this is: all that decides its masks, in a file beside them."""

import json
from collections.abc import Collection, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple
from zlib import crc32

import numpy as np

from vos_jax.errors import InputError
from vos_jax.media import FrameSource, atomic_path
from vos_jax.methods.base import Method, config_text

RUN_FILE = ".run.json"
"""Says in a folder of results which run they are of."""

OVERLAY = "overlay.mp4"
"""The video of the frames with their masks, in a folder of results."""

SCORES = "scores"
"""The folder of probabilities in a folder of results."""


class Run(NamedTuple):
    """All that decides what a run writes, and where that is.

    Attributes:
      settings: Method, weights, first masks and options, as JSON has them.
      frames: Fingerprint of each frame by its name, in the order of segmentation.
      overlay: Whether the run draws one.
      allow_damaged: Whether the run goes past damaged frames; up to the first of them
        it makes no difference.
    """

    settings: Mapping[str, Any]
    frames: Mapping[str, str]
    overlay: bool = False
    allow_damaged: bool = False

    def files(self, masks: Path) -> Iterator[Path]:
        """What the run may write if its masks go to `masks`."""
        for name in self.frames:
            yield masks / f"{name}.png"
            if self.settings.get("scores"):
                yield masks.parent / SCORES / f"{name}.npz"
        if self.overlay:
            yield masks.parent / OVERLAY


def describe_run(
    method: Method,
    weights_id: str,
    source: FrameSource,
    fingerprints: Mapping[str, str],
    given: Mapping[int, np.ndarray],
    *,
    size: int | None,
    flip: bool,
    reverse: bool = False,
    scores: bool = False,
    overlay: bool = False,
    allow_damaged: bool = False,
    inputs: str | None = None,
) -> Run:
    """Describes a run before it begins.

    Args:
      method: With its configuration.
      weights_id: Names the weights.
      source: The frames.
      fingerprints: Of the frames, by their names.
      given: Label maps by frame index.
      size: Shorter side to compute at.
      flip: Average with the mirrored video.
      reverse: Go backwards.
      scores: Write probabilities too.
      overlay: Draw an overlay too.
      allow_damaged: Go past damaged frames.
      inputs: Identity of what comes with the frames; None where nothing does.
    """
    names = source.names
    settings = {
        "method": config_text(method.config),
        "weights": weights_id,
        "masks": {names[i]: f"{crc32(x.tobytes()):08x}" for i, x in given.items()},
        "size": size,
        "flip": flip,
        "reverse": reverse,
        "scores": scores,
    }
    if inputs is not None:
        settings["inputs"] = inputs
    order = frame_order(len(names), given, reverse=reverse)
    frames = {names[index]: fingerprints[names[index]] for index in order}
    return Run(settings, frames, overlay, allow_damaged)


def frame_order(count: int, given: Collection[int], *, reverse: bool = False) -> range:
    """Indices of the frames to segment, the first of the given ones first."""
    return range(max(given), -1, -1) if reverse else range(min(given), count)


def read_run(masks: Path) -> Run | None:
    """Whose the masks in a folder are, if a run has noted it there.

    Raises:
      InputError: The note is damaged.
    """
    path = masks / RUN_FILE
    if not path.exists():
        return None
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        run = Run(**found)
        # They become paths of files to remove.
        if not (
            isinstance(run.settings, dict)
            and isinstance(run.frames, dict)
            and all(Path(name).name == name for name in run.frames)
        ):
            raise ValueError
    except (OSError, TypeError, ValueError) as error:
        raise InputError(f"{path}: damaged; use another --out") from error
    return run


def write_run(masks: Path, run: Run) -> None:
    """Notes whose the masks in a folder are.

    Raises:
      InputError: It cannot be written.
    """
    with atomic_path(masks / RUN_FILE) as temporary:
        temporary.write_text(json.dumps(run._asdict(), indent=1), encoding="utf-8")


def differences(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> list[str]:
    """Names of the settings that are not the same."""
    return sorted(k for k in wanted if k not in found or found[k] != wanted[k])


def check_settings(masks: Path, found: Run, run: Run, start_over: str) -> None:
    """Checks that `found` was made with the settings of `run`.

    Raises:
      InputError: It was not; says what to do, one thing of which is `start_over`.
    """
    names = differences(found.settings, run.settings)
    was = [f"{name}={found.settings.get(name)!r}" for name in names]
    if found.allow_damaged and not run.allow_damaged:
        was.append("allow_damaged=True")
    if was:
        raise InputError(
            f"{masks}: of a run with other settings ({', '.join(was)}); give the same"
            f" ones, or {start_over} to start over"
        )


def check_frames(
    masks: Path, found: Run, run: Run, done: int | None, start_over: str
) -> None:
    """Checks that the masks to keep were made of the frames of `run`.

    Args:
      masks: Folder of the masks.
      found: Has made them.
      run: Wants to go on.
      done: How many frames are; later ones are to come and may have changed. None for
        all of them.
      start_over: What a user does who does not want to go on.

    Raises:
      InputError: They were not.
    """
    theirs, own = (list(islice(x.frames.items(), done)) for x in (found, run))
    if theirs == own:
        return
    pairs = zip(theirs, own, strict=False)
    name = next((b[0] for a, b in pairs if a != b), "their number")
    raise InputError(
        f"{masks}: of a run with other frames ({name} is not the same); give the same"
        f" ones, or {start_over} to start over"
    )
