"""Files in, files out: a video and its first mask become mask files.

Nothing that was written is lost when a run ends early: every file is whole or not
there, and a resumed run goes on from the state that the interrupted one saved.
"""

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from vos_jax.errors import InputError
from vos_jax.inference.capacity import segmenting_remedy
from vos_jax.inference.file_run import Beside, FileRun, Report
from vos_jax.inference.many.videos import Facts, facts_of
from vos_jax.inference.run_identity import OVERLAY, SCORES, frame_order
from vos_jax.media import (
    FrameSource,
    VideoWriter,
    blend,
    open_frames,
    prefetch,
    read_first_mask,
    read_given_masks,
    read_labels,
    video_name,
)
from vos_jax.media.fingerprint import fingerprint_frames
from vos_jax.media.given_masks import MASK_SUFFIXES
from vos_jax.media.listing import list_files
from vos_jax.methods.base import Method
from vos_jax.methods.inputs import open_inputs
from vos_jax.runtime.out_of_memory import memory_told
from vos_jax.runtime.progress import Progress

_AHEAD = 4


@dataclass(frozen=True, kw_only=True)
class SegmentJob:
    """What to segment and what to write.

    Attributes:
      input: Video file or folder of frames.
      mask: Label file of the first frame, or a folder of label files named like the
        frames they belong to; later ones add objects or correct.
      out: Folder; masks go to `out/masks`, where `.run.json` notes whose they are.
      inputs: What else the method takes: what `InputKind.open` of its `inputs` takes.
        None for a method that takes nothing.
      size: Shorter side to compute at; None for the input's own.
      flip: Average with the mirrored video.
      reverse: Go backwards from the last frame, or from the last of several masks.
      save_scores: Write probabilities to `out/scores/<name>.npz`.
      overlay: Write `out/overlay.mp4`.
      start_over: What a user does who does not want to go on.
      resume: Go on where an interrupted run of the same job stopped. Without it, what
        another run wrote to `out` makes way as soon as this one has its first mask.
      allow_damaged: Go on past damaged frames of a video, with a warning.
      title: Method and weights in words, for the first line on stderr; None is silent.
    """

    input: Path
    mask: Path
    out: Path
    inputs: Path | None = None
    size: int | None = None
    flip: bool = False
    reverse: bool = False
    save_scores: bool = False
    overlay: bool = False
    resume: bool = False
    start_over: str = "run without --resume"
    allow_damaged: bool = False
    title: str | None = None


def segment_files(
    method: Method,
    variables: Mapping[str, Any],
    job: SegmentJob,
    weights_id: str = "",
    beside: Beside | None = None,
) -> Report:
    """Runs a job.

    Args:
      method: From `load_model`.
      variables: Its weights.
      job: What to do.
      weights_id: Names the weights, so that a resumed run cannot mix them.
      beside: What it shares with other jobs, which run at the same time.

    Raises:
      InputError: Something in the input is unusable or missing, `out` holds files that
        no run has noted there, or the disk is full. What was written before stays.
      OutOfMemory: An `InputError` that is a `MemoryError`, too.
    """
    with memory_told(str(job.input), segmenting_remedy(method)):
        return _segment_files(method, variables, job, weights_id, beside)


def _segment_files(
    method: Method,
    variables: Mapping[str, Any],
    job: SegmentJob,
    weights_id: str,
    beside: Beside | None,
) -> Report:
    _check_apart(job)
    inputs = open_inputs(method.inputs, job.inputs)
    source = open_frames(job.input, allow_damaged=job.allow_damaged)
    run = FileRun(
        source=source,
        given=read_masks(job.mask, source, last=job.reverse),
        fingerprints=fingerprint_frames(job.input, source.names),
        masks=job.out / "masks",
        inputs=inputs,
        folder=video_name(job.input),
        scores=job.out / SCORES if job.save_scores else None,
        overlay=job.overlay,
        allow_damaged=job.allow_damaged,
        reverse=job.reverse,
        size=job.size,
        flip=job.flip,
        resume=job.resume,
        start_over=job.start_over,
        title=job.title,
    )
    report = run(method, variables, weights_id, beside)
    if job.overlay:
        about = run.masks, source, sorted(run.order)
        # Among many videos are some that were done, and drawn, before.
        if beside is None or report.frames or not (job.out / OVERLAY).exists():
            write_overlay(job.out / OVERLAY, *about, shows_progress=beside is None)
    return report


def _check_apart(job: SegmentJob) -> None:
    """Checks that what is read is not where the run writes and makes way for itself."""
    for given in filter(None, (job.input, job.mask, job.inputs)):
        at = given.resolve()
        for name in ("masks", SCORES, OVERLAY):
            target = (job.out / name).resolve()
            if at.is_relative_to(target):
                raise InputError(
                    f"{given}: this run writes to {job.out / name} itself; copy what is"
                    " to be read to another place, or use another --out"
                )


def look_at(job: SegmentJob) -> Facts:
    """What there is to know of a job's video before it is segmented.

    Raises:
      InputError: The video or its masks cannot be read.
    """
    source = open_frames(job.input, allow_damaged=job.allow_damaged)
    given = read_masks(job.mask, source, last=job.reverse)
    order = frame_order(len(source), given, reverse=job.reverse)
    return facts_of(source.size, given, len(order))


def write_overlay(
    path: Path,
    masks: Path,
    source: FrameSource,
    indices: Sequence[int],
    *,
    shows_progress: bool = True,
) -> None:
    """Draws the mask files of consecutive frames over them, as a video."""
    frames = prefetch(islice(source.frames(indices[0]), len(indices)), _AHEAD)
    with (
        VideoWriter(path, source.fps, source.size) as video,
        Progress("overlay", len(indices)) if shows_progress else nullcontext() as shown,
    ):
        for index, frame in zip(indices, frames, strict=True):
            labels = read_labels(masks / f"{source.names[index]}.png")
            video.write(blend(frame, labels))
            if shown is not None:
                shown.update()


def read_masks(
    path: Path, source: FrameSource, *, last: bool = False
) -> dict[int, np.ndarray]:
    """Label maps by frame index, from one file or a folder of them.

    A file of a folder without objects says nothing about its frame and is left out.

    Args:
      path: A file is the first frame's; in a folder each is called like its frame.
      source: The frames.
      last: A single file is the last frame's.

    Raises:
      InputError: A file is damaged, of another size, or belongs to no frame; two files
        belong to one frame; or no file shows an object.
    """
    if not path.exists():
        raise InputError(f"{path} does not exist; check --mask")
    if not path.is_dir():
        index = len(source) - 1 if last else 0
        return {index: read_first_mask(path, source.size)}
    files = list_files(path, MASK_SUFFIXES)
    if not files:
        raise InputError(f"{path}: no mask files (.png) in it; check --mask")
    index_of = {name: index for index, name in enumerate(source.names)}
    file_of: dict[str, Path] = {}
    for file in files:
        if file.stem not in index_of:
            raise InputError(
                f"{file}: no frame is called {file.stem!r}; frames are called"
                f" {source.names[0]!r} to {source.names[-1]!r}, name the masks like"
                " them"
            )
        if file_of.setdefault(file.stem, file) != file:
            raise InputError(
                f"{file}: {file_of[file.stem].name} is a mask of the same frame;"
                " remove one of them"
            )
    read = zip(files, read_given_masks(files, source.size), strict=True)
    given = {index_of[file.stem]: labels for file, labels in read if labels.any()}
    if not given:
        raise InputError(
            f"{path}: all masks in it are empty; give at least one with an object"
        )
    return given
