"""Files of results as `evaluate`, `score` and `demo` write them, checked where read.

Whatever a page uses of a file is looked at here, so that one that was damaged or edited
is refused by its name, and nothing beyond has to ask what kind a value is.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from vos_jax.errors import InputError
from vos_jax.evaluation import DATASETS, ObjectScores, Report

_Json = dict[str, Any]
_NUMBER = (int, float)


class Written(NamedTuple):
    """The scores that a folder has.

    Attributes:
      report: With the scores of every frame.
      summary: The global scores that were written beside them; None for no number.
    """

    report: Report
    summary: Mapping[str, float | None]


@contextmanager
def as_written(path: Path, maker: str) -> Iterator[None]:
    """Turns what reading the content of a file fails with into one line about it.

    Args:
      path: The file.
      maker: The command that writes such files.

    Raises:
      InputError: The body failed.
    """
    try:
        yield
    except InputError:
        raise
    except KeyError as error:
        raise _refused(path, maker, f"lacks {error}") from error
    except (
        *(ArithmeticError, AttributeError, LookupError, RecursionError),
        *(TypeError, ValueError),
    ) as error:
        raise _refused(path, maker, str(error)) from error


def _refused(path: Path, maker: str, reason: str) -> InputError:
    told = " ".join(reason.split())
    return InputError(f"{path}: is not what {maker} writes ({told}); make it again")


def read_object(
    path: Path, maker: str, check: Callable[[_Json], object] | None = None
) -> _Json:
    """The JSON object of a file; empty where there is none.

    Args:
      path: The file.
      maker: The command that writes such files.
      check: Called with it; what this raises is told of the file.

    Raises:
      InputError: It cannot be read or is something else.
    """
    if not path.is_file():
        return {}
    with as_written(path, maker):
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise InputError(
                f"{path}: cannot be read: {error.strerror}; check its permissions"
            ) from error
        if not isinstance(found, dict):
            raise TypeError("no JSON object")
        if check is not None:
            check(found)
    return found


def read_scores(path: Path, split: str) -> Written | None:
    """The scores of a split; None where there are none.

    Raises:
      InputError: They are damaged or of another split.
    """
    found: list[Written] = []

    def check(content: _Json) -> None:
        found.append(_scores(content))
        if (own := found[0].report.split) != split:
            raise ValueError(f"it is of split {own}")

    read_object(path, "evaluate", check)
    return found[0] if found else None


def read_settings(masks: Path) -> _Json:
    """What `evaluate` has noted beside masks; empty where that is not there.

    Raises:
      InputError: It is damaged.
    """

    def check(found: _Json) -> None:
        for name in ("dataset", "split", "resolution", "root", "method", "weights"):
            _kind(found, name, str)
        _kind(found, "size", int)

    return read_object(masks / "run.json", "evaluate", check)


def read_speed(folder: Path) -> _Json:
    """What `evaluate` has timed; empty where that is not there.

    Raises:
      InputError: It is damaged.
    """

    def check(found: _Json) -> None:
        _machine(found)
        _memory(found)
        for row in found["rows"]:
            _kind(row, "objects", int)
            for name in ("frames", "s_per_frame", "frames_per_s"):
                _kind(row, name, _NUMBER, needed=True)
            for name in ("type", "device"):
                _kind(row, name, str, needed=True)

    return read_object(folder / "speed.json", "evaluate", check)


def _kind(
    found: Mapping[str, Any],
    name: str,
    kind: type | tuple[type, ...],
    *,
    needed: bool = False,
) -> None:
    """Refuses a value of another kind; None is one of any unless it is needed."""
    if not isinstance(found, Mapping):
        raise TypeError(f"{name} is looked for in no JSON object")
    value = found[name] if needed else found.get(name)
    if not isinstance(value, kind) and (needed or value is not None):
        raise TypeError(f"{name} is {json.dumps(value)[:40]}")


def _machine(found: Mapping[str, Any]) -> None:
    _kind(found, "machine", dict)
    if machine := found.get("machine"):
        own = ("processor", "cores")
        if machine["backend"] != "cpu":
            own = ("devices", "device")
        for name in (*own, "jax", "jaxlib", "python"):
            _kind(machine, name, (str, int), needed=True)


def _memory(found: Mapping[str, Any]) -> None:
    _kind(found, "memory", dict)
    for name in ("process_peak_bytes", "device_peak_bytes"):
        _kind(found.get("memory") or {}, name, int)


def _about(found: Mapping[str, Any]) -> None:
    for name in ("root", "masks", "resolution", "method", "weights", "type"):
        _kind(found, name, str)
    _kind(found, "drop_last", bool)
    _kind(found, "seen", list)
    if not all(isinstance(name, str) for name in found.get("seen") or ()):
        raise TypeError("a seen category is no text")
    _kind(found, "annotations", dict)
    for name in found.get("annotations", {}):
        _kind(found["annotations"], name, str, needed=True)
    _machine(found)
    _memory(found)
    if "segmented" in found:
        for video in found["segmented"]:
            _kind(video, "frames", int, needed=True)
            _kind(video, "frames_per_second", _NUMBER)
            if "frames_per_second" not in video:
                raise KeyError("frames_per_second")


def _scores(content: Mapping[str, Any]) -> Written:
    # Results of an earlier version say nothing of themselves.
    _kind(content, "about", dict, needed="about" in content)
    about = content.get("about", {})
    _about(about)
    for name in ("dataset", "split"):
        _kind(content, name, str, needed=True)
    if content["dataset"] not in DATASETS:
        raise ValueError(f"dataset is {content['dataset']}")
    _kind(content, "global", dict, needed=True)
    for name in content["global"]:
        _kind(content["global"], name, _NUMBER)
    temporal = "T-Mean" in content["global"]
    objects = tuple(_object(each, temporal) for each in content["objects"])
    if not objects:
        raise ValueError("it has no object")
    if len({(each.sequence, each.object_id) for each in objects}) < len(objects):
        raise ValueError("an object comes twice")
    report = Report(
        dataset=content["dataset"],
        split=content["split"],
        objects=objects,
        notes=tuple(str(note) for note in content["notes"]),
        temporal=temporal,
        about=about,
    )
    return Written(report, content["global"])


def _object(each: Mapping[str, Any], temporal: bool) -> ObjectScores:
    _kind(each, "sequence", str, needed=True)
    _kind(each, "object", int, needed=True)
    name = f"{each['sequence']}_{each['object']}"
    frames = tuple(each["frames"])
    if not frames or not all(isinstance(frame, str) for frame in frames):
        raise ValueError(f"{name} has no names of frames")
    changes = each.get("T_pairs") if temporal else None
    return ObjectScores(
        sequence=each["sequence"],
        object_id=each["object"],
        frames=frames,
        region=_values(each, "J_frames", len(frames), name),
        contour=_values(each, "F_frames", len(frames), name),
        seen=bool(each["seen"]),
        changes=None if changes is None else np.array(changes, np.float64),
        given=bool(each.get("given", True)),
        absent=bool(each.get("absent", False)),
    )


def _values(each: Mapping[str, Any], measure: str, count: int, name: str) -> np.ndarray:
    """Scores of the frames; None becomes NaN."""
    values: Sequence[float | None] = each[measure]
    found = np.array(values, np.float64)
    if found.shape != (count,):
        raise ValueError(f"{measure} of {name} is not one number for each frame")
    if ((found < 0) | (found > 1)).any():
        raise ValueError(f"{measure} of {name} is not between 0 and 1")
    return found
