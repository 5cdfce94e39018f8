"""What a project gives: masks as `segment` writes them, an overlay, COCO."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from vos_jax.app.drawn import Drawing, Object, Recipe
from vos_jax.app.project import STALE, Project
from vos_jax.data.proposals.run_lengths import text_of
from vos_jax.media import (
    FrameSource,
    MaskWriter,
    VideoWriter,
    atomic_path,
    blend,
    make_folder,
    overlay_colours,
    prefetch,
)
from vos_jax.media.listing import IMAGE_SUFFIXES, list_files

_AHEAD = 4


class Snapshot(NamedTuple):
    """What a project shows at one moment; later drawing does not change it.

    Attributes:
      recipes: Of the masks, by the index of their frame.
      drawing: All that is drawn.
      stale: How many of the masks are older than something drawn before them.
    """

    recipes: Mapping[int, Recipe]
    drawing: Drawing
    stale: int

    @classmethod
    def of(cls, project: Project) -> "Snapshot":
        """That of now."""
        frames = project.frames_with_masks()
        recipes = {frame: project.recipe(frame) for frame in frames}
        stale = sum(project.status(frame) == STALE for frame in frames)
        return cls(recipes, project.drawing, stale)


def export(
    project: Project,
    snapshot: Snapshot,
    source: FrameSource,
    video: Path,
    *,
    overlay: bool,
    coco: bool,
    told: Callable[[int, int], None],
) -> list[str]:
    """Writes results into the project's folder; says what was written.

    Args:
      project: Reads the masks of the snapshot.
      snapshot: What to write.
      source: The video.
      video: Its path.
      overlay: Write `overlay.mp4`, too.
      coco: Write `coco.json`, too.
      told: Called with how much is done, of how much.

    Raises:
      InputError: Something cannot be written.
    """
    folder, frames = project.folder, sorted(snapshot.recipes)
    total = len(frames) * (1 + overlay)
    annotations: list[dict[str, Any]] = []
    with MaskWriter(folder / "masks") as writer:
        for done, frame in enumerate(frames, 1):
            labels = project.compose(frame, snapshot.recipes[frame])
            writer.write(project.names[frame], labels)
            if coco:
                annotations += _annotations(frame, labels, len(annotations))
            told(done, total)
    _remove_others(folder / "masks", {project.names[frame] for frame in frames})
    written = [f"masks ({len(frames)} files)", _write_given(project, snapshot)]
    if coco:
        content = {**_coco_head(project, snapshot, video), "annotations": annotations}
        with atomic_path(folder / "coco.json") as temporary:
            temporary.write_text(json.dumps(content), encoding="utf-8")
        written.append("coco.json")
    if overlay and frames:
        _write_overlay(
            project, snapshot, source, lambda n: told(len(frames) + n, total)
        )
        written.append("overlay.mp4")
    return written


def _write_given(project: Project, snapshot: Snapshot) -> str:
    """The drawn masks, for `vos-jax segment --mask`."""
    folder = make_folder(project.folder / "given")
    given = {
        project.names[frame]: drawn.labels
        for frame, drawn in snapshot.drawing.frames.items()
        if drawn.labels
    }
    with MaskWriter(folder) as writer:
        for name, digest in given.items():
            writer.write(name, project.map(digest))
    _remove_others(folder, set(given))
    return f"given ({len(given)} files)"


def _remove_others(folder: Path, names: set[str]) -> None:
    """Removes masks of an earlier export."""
    for path in folder.glob("*.png"):
        if path.stem not in names:
            path.unlink(missing_ok=True)


def _write_overlay(
    project: Project,
    snapshot: Snapshot,
    source: FrameSource,
    told: Callable[[int], None],
) -> None:
    """From the first frame with a mask to the last one."""
    begin, end = min(snapshot.recipes), max(snapshot.recipes) + 1
    colours = overlay_colours().copy()
    for each in snapshot.drawing.objects.values():
        colours[each.id] = list(bytes.fromhex(each.colour[1:]))
    frames = prefetch(islice(source.frames(begin), end - begin), _AHEAD)
    path = project.folder / "overlay.mp4"
    done = 0
    with VideoWriter(path, source.fps, source.size) as video:
        for index, frame in enumerate(frames, begin):
            recipe = snapshot.recipes.get(index)
            if recipe is not None:
                labels = project.compose(index, recipe)
                frame = blend(frame, labels, colours=colours)
                done += 1
                told(done)
            video.write(frame)


def _annotations(
    frame: int, labels: np.ndarray, before: int
) -> Iterator[dict[str, Any]]:
    """One for each object of a frame."""
    for number, id in enumerate(np.unique(labels[labels > 0]).tolist(), before + 1):
        mask = labels == id
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        top, left = int(rows[0]), int(columns[0])
        yield {
            "id": number,
            "image_id": frame + 1,
            "category_id": id,
            "track_id": id,
            "segmentation": {"size": list(mask.shape), "counts": text_of(mask)},
            "area": int(mask.sum()),
            "bbox": [left, top, int(columns[-1]) + 1 - left, int(rows[-1]) + 1 - top],
            "iscrowd": 0,
        }


def _coco_head(project: Project, snapshot: Snapshot, video: Path) -> dict[str, Any]:
    height, width = project.size
    files = _file_names(video, project.names)
    images = [
        {
            "id": frame + 1,
            "video_id": 1,
            "frame_index": frame,
            "file_name": files[frame],
            "width": width,
            "height": height,
        }
        for frame in sorted(snapshot.recipes)
    ]
    objects: Sequence[Object] = sorted(snapshot.drawing.objects.values())
    return {
        "info": {"description": f"{video.name}, annotated with vos-jax"},
        "videos": [{"id": 1, "name": video.name, "width": width, "height": height}],
        "categories": [{"id": x.id, "name": x.name} for x in objects],
        "images": images,
    }


def _file_names(video: Path, names: Sequence[str]) -> Sequence[str]:
    """Files of the frames; of a video file those that others would extract."""
    if not video.is_dir():
        return [f"{name}.jpg" for name in names]
    by_stem = {path.stem: path.name for path in list_files(video, IMAGE_SUFFIXES)}
    return [by_stem.get(name, name) for name in names]
