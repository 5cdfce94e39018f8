"""Opens what `vos-jax annotate` names: a video, a project, a model."""

import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from vos_jax.app.passes import digest
from vos_jax.app.project import Project
from vos_jax.app.session import Session
from vos_jax.app.tracker import Model
from vos_jax.errors import InputError
from vos_jax.inference.announce import announce, model_facts
from vos_jax.inference.checks import check_working_size
from vos_jax.inference.files import read_masks
from vos_jax.inference.form import inference_form
from vos_jax.media import FrameSource, open_frames
from vos_jax.media.fingerprint import fingerprint_frames
from vos_jax.media.lock import lock_folder
from vos_jax.methods.base import Method, config_text
from vos_jax.methods.inputs import open_inputs

_NEEDED = ("starlette", "uvicorn", "websockets")


@dataclass(frozen=True, kw_only=True)
class AnnotateJob:
    """What to annotate, and with what.

    Attributes:
      video: Video file or folder of frames.
      out: The project's folder.
      mask: Masks that a new project begins with.
      inputs: What else the method takes.
      size: Shorter side to compute at; None for the video's own.
      flip: Average with the mirrored video.
      allow_damaged: Go on past damaged frames.
      state_bytes: Bytes of states to keep for corrections.
      title: Method and weights in words.
      weights_id: Names the weights.
    """

    video: Path
    out: Path
    mask: Path | None = None
    inputs: Path | None = None
    size: int | None = None
    flip: bool = False
    allow_damaged: bool = False
    state_bytes: int = 2 << 30
    title: str = ""
    weights_id: str = ""


@contextmanager
def opened(
    method: Method, variables: Mapping[str, Any], job: AnnotateJob
) -> Iterator[Session]:
    """A session on a project that no other process works on; is closed at the end.

    Args:
      method: From `load_model`.
      variables: Its weights.
      job: What to open.

    Raises:
      InputError: A package is missing, or something cannot be opened.
    """
    check_working_size(job.size)
    inputs = open_inputs(method.inputs, job.inputs)
    source = open_frames(job.video, allow_damaged=job.allow_damaged)
    given = None if job.mask is None else read_masks(job.mask, source)
    settings = (config_text(method.config), job.weights_id, job.size, job.flip)
    identity = digest(*settings, None if inputs is None else inputs.identity)
    title = "; ".join(model_facts(job.title, method))
    if job.size is not None:
        title += f"; computed at {job.size} pixels"
    with lock_folder(job.out):
        project = Project(
            job.out, source, _identity(job.video, source), identity, given
        )
        model = Model(
            *inference_form(method, variables),
            title=title,
            identity=identity,
            size=job.size,
            flip=job.flip,
            inputs=inputs,
        )
        height, width = source.size
        facts = (title, f"{width}x{height}", f"{len(source)} frames", f"to {job.out}")
        announce("annotate", facts)
        session = Session(
            project, source, job.video, model, state_bytes=job.state_bytes
        )
        try:
            yield session
        finally:
            session.close()


def check_packages() -> None:
    """Checks that the packages of the server are installed.

    Raises:
      InputError: They are not.
    """
    missing = [name for name in _NEEDED if find_spec(name) is None]
    if missing:
        raise InputError(
            f"annotate needs {', '.join(missing)}; install them with"
            ' pip install "vos_jax[app]"'
        )


def _identity(video: Path, source: FrameSource) -> dict[str, Any]:
    """What must be the same of a video to go on; where it lies may change."""
    prints = fingerprint_frames(video, source.names)
    text = "\n".join(f"{name} {x}" for name, x in prints.items())
    return {
        "frames": len(source),
        "size": list(source.size),
        "fingerprint": f"{zlib.crc32(text.encode()):08x}",
    }
