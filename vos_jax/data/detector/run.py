"""A detector over many frames, into files of COCO results that are whole or not there.

While a file is made, each batch is one line of a side file; a run that was stopped, in
whatever way, goes on after the last whole line, in the batches that it would have made.
"""

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np

from vos_jax.data.detector.groups import Group
from vos_jax.data.detector.network import Detections
from vos_jax.data.proposals.coco_writer import MOST_RESULTS
from vos_jax.data.proposals.run_lengths import text_of
from vos_jax.errors import InputError
from vos_jax.media.atomic import atomic_path, make_folder, write_error
from vos_jax.media.lock import lock_folder
from vos_jax.media.prefetch import prefetch

Detect = Callable[[Sequence[np.ndarray]], Sequence[Detections]]
"""Finds objects in frames uint8 `[H, W, 3]`."""

_LINES = "batches.jsonl"


class Proposed(NamedTuple):
    """What a run did.

    Attributes:
      images: Of all files.
      new: Those this run detected in; the others were there.
      results: Of the new ones.
      detector_seconds: For each new image, network alone, in its batch; the first
        batch, in which everything is slower, counts only when it is the only one.
    """

    images: int
    new: int
    results: int
    detector_seconds: float


class _Clock:
    """Time in the network, and what came out."""

    def __init__(self) -> None:
        self.batches: list[tuple[int, float]] = []
        self.results = 0

    def seconds(self) -> float:
        counted = self.batches[1:] or self.batches
        images = sum(count for count, _ in counted)
        return sum(spent for _, spent in counted) / images if images else float("nan")


def propose(
    detect: Detect,
    groups: Sequence[Group],
    out: Path,
    *,
    settings: Mapping[str, Any],
    batch: int,
    tell: Callable[[int], None] = lambda count: None,
) -> Proposed:
    """Writes what is found in all frames, into one file or a folder of files.

    Args:
      detect: The detector.
      groups: Of frames. No batch has frames of two of them.
      out: A file `NAME.json` for all, or a folder for one file `<group>.json` each.
        What is in the folder already is not made again.
      settings: Of the detector; anything else, and the results would differ. They are
        noted in the files.
      batch: Frames at once.
      tell: Called with the number of images that are done, those found done included.

    Raises:
      InputError: Files there are of other settings or frames, a frame cannot be read,
        or a file cannot be written.
    """
    settings = {**settings, "batch": batch}
    if out.suffix.lower() == ".json":
        files = [(out, tuple(groups))]
    else:
        make_folder(out)
        files = [(out / f"{group.name}.json", (group,)) for group in groups]
    clock, new = _Clock(), 0
    for path, members in files:
        new += _make_file(detect, members, path, settings, tell, clock)
    total = sum(len(group.images) for group in groups)
    return Proposed(total, new, clock.results, clock.seconds())


def _make_file(
    detect: Detect,
    groups: Sequence[Group],
    path: Path,
    settings: Mapping[str, Any],
    tell: Callable[[int], None],
    clock: _Clock,
) -> int:
    """Makes a file unless it is there; returns the number of new images."""
    total = sum(len(group.images) for group in groups)
    info = {**settings, "frames": [group.fingerprint() for group in groups]}
    if path.exists():
        _check_same(path, _info_of(path), info)
        tell(total)
        return 0
    side = path.with_name(f".{path.name}.partial")
    with lock_folder(side):
        lines = side / _LINES
        done = _reopen(lines, info)
        tell(done)
        try:
            with lines.open("a", encoding="utf-8") as file:
                for each in _batches(groups, settings["batch"], done):
                    started = time.perf_counter()
                    found = detect(each.frames)
                    seconds = time.perf_counter() - started
                    clock.batches.append((len(each.frames), seconds))
                    entries = _entries(each, found)
                    clock.results += len(entries["annotations"])
                    _append(file, entries)
                    tell(len(each.frames))
            _compose(lines, path)
            lines.unlink()
            side.rmdir()
        except OSError as error:
            raise write_error(path, error) from error
    return total - done


class _Batch(NamedTuple):
    """Frames of one group, with their names; the first one has this number."""

    number: int
    names: tuple[str, ...]
    frames: list[np.ndarray]


def _batches(groups: Sequence[Group], size: int, done: int) -> Iterator[_Batch]:
    """Yields what is left to do."""
    begin = 0
    for group in groups:
        count = len(group.images)
        start = min(max(done - begin, 0), count)
        # A thread reads while the network computes; it ends when this does.
        frames = prefetch(group.frames(start), size) if start < count else iter(())
        for place in range(start, count, size):
            names = group.images[place : place + size]
            yield _Batch(begin + place + 1, names, list(islice(frames, len(names))))
        begin += count


def _entries(batch: _Batch, found: Sequence[Detections]) -> dict[str, list[Any]]:
    """A batch as entries of COCO results."""
    images, annotations = [], []
    each = zip(batch.names, batch.frames, found, strict=True)
    for number, (name, frame, detections) in enumerate(each, batch.number):
        height, width = frame.shape[:2]
        images.append(
            {"id": number, "file_name": name, "height": height, "width": width}
        )
        best = np.argsort(-detections.scores, kind="stable")[:MOST_RESULTS]
        annotations += [_result(number, detections, index) for index in best]
    return {"images": images, "annotations": annotations}


def _result(image: int, found: Detections, index: int) -> dict[str, Any]:
    x0, y0, x1, y1 = (round(float(x), 2) for x in found.boxes[index])
    mask = found.masks[index]
    return {
        "image_id": image,
        "category_id": int(found.categories[index]),
        "bbox": [x0, y0, round(x1 - x0, 2), round(y1 - y0, 2)],
        "score": float(found.scores[index]),
        "segmentation": {"size": list(mask.shape), "counts": text_of(mask)},
    }


# The side file: a line with what the run is, then a line for each batch.


def _reopen(side: Path, info: Mapping[str, Any]) -> int:
    """Begins a side file or cuts a half line off one; returns the images in it."""
    try:
        content = side.read_bytes() if side.exists() else b""
        whole = content[: content.rfind(b"\n") + 1]
        if not whole:
            side.write_text(json.dumps({"info": info}) + "\n", encoding="utf-8")
            return 0
        if len(whole) < len(content):
            with side.open("r+b") as file:
                file.truncate(len(whole))
    except OSError as error:
        raise write_error(side, error) from error
    head, *lines = (_parsed(side, line) for line in whole.splitlines())
    _check_same(side, head.get("info"), info)
    return sum(len(line["images"]) for line in lines)


def _parsed(path: Path, line: bytes) -> dict[str, Any]:
    try:
        return json.loads(line)
    except ValueError as error:
        raise InputError(f"{path} is damaged; remove it and run again") from error


def _append(file: IO[str], entries: Mapping[str, Any]) -> None:
    file.write(json.dumps(entries, separators=(",", ":")) + "\n")
    file.flush()


def _compose(side: Path, path: Path) -> None:
    """Makes the results of the side file, of which one line is held at a time."""
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8") as out:
        with side.open(encoding="utf-8") as lines:
            info = json.loads(next(lines))["info"]
        out.write(f'{{"info":{json.dumps(info)}')
        for key in ("images", "annotations"):
            out.write(f',\n"{key}":[')
            separator = "\n"
            with side.open(encoding="utf-8") as lines:
                next(lines)
                for line in lines:
                    for entry in json.loads(line)[key]:
                        text = json.dumps(entry, separators=(",", ":"))
                        out.write(separator + text)
                        separator = ",\n"
            out.write("]")
        out.write("}\n")


def _info_of(path: Path) -> Any:
    """What a file of results says of itself; only its first line is read."""
    try:
        with path.open(encoding="utf-8") as file:
            line = file.readline().rstrip().removesuffix(",")
        return json.loads(line + "}")["info"]
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _check_same(path: Path, found: Any, info: Mapping[str, Any]) -> None:
    if not isinstance(found, dict):
        raise InputError(
            f"{path} was not made by this program; use another --out or remove it"
        )
    if found != info:
        names = [k for k in info if found.get(k) != info[k]]
        raise InputError(
            f"{path} holds results made with another {', '.join(names)}; use another"
            " --out or remove it"
        )
