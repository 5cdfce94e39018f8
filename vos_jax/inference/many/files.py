"""Many videos from files to files."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vos_jax.inference.announce import announce_run, model_facts, plural
from vos_jax.inference.file_run import Beside, Report
from vos_jax.inference.files import SegmentJob, look_at, segment_files
from vos_jax.inference.many.crew import segment_each
from vos_jax.inference.many.shards import WHOLE, Shard
from vos_jax.inference.many.videos import (
    ONE_BY_ONE,
    Facts,
    Outcome,
    Spread,
    Video,
)
from vos_jax.methods.base import Method


def segment_many(
    method: Method,
    variables: Mapping[str, Any],
    jobs: Mapping[str, SegmentJob],
    out: Path,
    *,
    weights_id: str = "",
    spread: Spread = ONE_BY_ONE,
    shard: Shard | None = None,
    title: str | None = None,
) -> list[Outcome]:
    """Runs jobs by their names.

    Args:
      method: From `load_model`.
      variables: Its weights.
      jobs: What to do; all of one `size` and `flip`, each with an `out` of its own.
      out: Folder of all of these.
      weights_id: Names the weights.
      spread: Over devices, and how many videos at once on each.
      shard: Do only this share.
      title: Method and weights in words, for the first line on stderr; None is silent.

    Returns:
      One outcome for each job of the share, in its order.

    Raises:
      InputError: As `segment_each`; there are more shards than jobs; or another process
        works on the same share.
    """
    shard = shard or WHOLE
    names = shard.of(list(jobs))
    with shard.alone(out):
        if title is not None:
            told = plural(len(names), "video")
            told += "" if shard == WHOLE else f", shard {shard}"
            announce_run("segment", (*model_facts(title, method), told))
        first = jobs[names[0]]
        videos = [
            _video(method, variables, weights_id, name, jobs[name]) for name in names
        ]
        about = method, variables, videos, spread
        return segment_each(*about, size=first.size, flip=first.flip)


def _video(
    method: Method,
    variables: Mapping[str, Any],
    weights_id: str,
    name: str,
    job: SegmentJob,
) -> Video:
    def look() -> Facts:
        return look_at(job)

    def run(beside: Beside | None) -> Report:
        return segment_files(method, variables, job, weights_id, beside)

    return Video(name, look, run)
