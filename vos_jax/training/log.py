"""The figures of a training run: a text file, TensorBoard, and a picture of curves."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from vos_jax.data.pipeline import quieten_tensorflow
from vos_jax.errors import InputError
from vos_jax.media.atomic import atomic_path

_ROWS = "log.jsonl"


class TrainLog:
    """Appends rows `{"step": n, name: value, ...}` to a working folder.

    `log.jsonl` has one row a line. TensorBoard's event file is written beside it when
    that package is installed. A resumed run drops the rows after its checkpoint, whose
    steps it does again.

    One process at a time has the log of a working folder open: opening it writes the
    file anew, and another one would go on writing to the old file, which is gone.
    """

    def __init__(self, workdir: Path, step: int) -> None:
        """Opens the log of a run that goes on after `step`; 0 for a new one.

        Raises:
          InputError: The existing log is damaged, or cannot be read or written.
        """
        self._path = workdir / _ROWS
        rows = [row for row in read_log(workdir) if row["step"] <= step]
        with atomic_path(self._path) as temporary:
            temporary.write_text("".join(json.dumps(row) + "\n" for row in rows))
        self._file = self._path.open("a")
        self._events = _event_writer(workdir / "tensorboard", step)

    def write(self, step: int, figures: Mapping[str, float]) -> None:
        """Adds a row, which outlives this process from now on.

        The system writes it to the disk when it likes to: the last rows may be gone
        after a power cut, as the steps after the last checkpoint are.
        """
        self._file.write(json.dumps({"step": step, **figures}) + "\n")
        self._file.flush()
        if self._events is not None:
            self._events(step, figures)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        if self._events is not None:
            self._events.close()


def read_log(workdir: Path) -> list[dict[str, Any]]:
    """The rows of a run so far; none when it has no log.

    A last line that is damaged is dropped: a run was killed in the middle of it.

    Raises:
      InputError: Another line is damaged, or the file cannot be read.
    """
    path = workdir / _ROWS
    if not path.exists():
        return []
    try:
        # As bytes: what is damaged need not be text.
        lines = path.read_bytes().splitlines()
    except OSError as error:
        raise InputError(
            f"{path}: cannot be read: {error.strerror}; check its permissions"
        ) from error
    rows: list[dict[str, Any]] = []
    for number, line in enumerate(lines, 1):
        try:
            row = json.loads(line)
            row["step"] = int(row["step"])
            if not all(isinstance(figure, int | float) for figure in row.values()):
                raise TypeError("a figure is no number")
        # Which exception a damaged line raises depends on where the damage is.
        except Exception as error:
            if number == len(lines):
                break
            raise InputError(
                f"{path}: line {number} is damaged; remove that line"
            ) from error
        rows.append(row)
    return rows


class _Events:
    """TensorBoard's event file, without TensorFlow."""

    def __init__(self, folder: Path, step: int) -> None:
        from tensorboard.compat.proto import event_pb2, summary_pb2
        from tensorboard.summary.writer.event_file_writer import EventFileWriter

        self._event, self._summary = event_pb2.Event, summary_pb2.Summary
        self._writer = EventFileWriter(str(folder))
        if step:
            # Steps after the checkpoint are about to be done again.
            session = event_pb2.SessionLog(status=event_pb2.SessionLog.START)
            self._writer.add_event(event_pb2.Event(step=step + 1, session_log=session))

    def __call__(self, step: int, figures: Mapping[str, float]) -> None:
        values = [
            self._summary.Value(tag=name, simple_value=value)
            for name, value in figures.items()
        ]
        event = self._event(step=step, summary=self._summary(value=values))
        self._writer.add_event(event)

    def close(self) -> None:
        self._writer.close()


def _event_writer(folder: Path, step: int) -> _Events | None:
    # TensorBoard loads TensorFlow where there is one.
    quieten_tensorflow()
    try:
        return _Events(folder, step)
    except ImportError:
        return None


def draw_curves(rows: list[dict[str, Any]], path: Path) -> bool:
    """Draws every figure of a log over the steps.

    Returns:
      Whether there is a picture: Matplotlib is installed and there are two rows.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return False
    names = list(dict.fromkeys(name for row in rows for name in row if name != "step"))
    if len(rows) < 2 or not names:
        return False
    columns = min(3, len(names))
    lines = -(-len(names) // columns)
    figure = Figure((4 * columns, 2.6 * lines), layout="constrained")
    for name, axes in zip(
        names, figure.subplots(lines, columns, squeeze=False).flat, strict=False
    ):
        points = [(row["step"], row[name]) for row in rows if name in row]
        axes.plot(
            *zip(*points, strict=True), linewidth=1, marker="." * (len(points) < 9)
        )
        axes.set(title=name, xlabel="step")
        axes.grid(alpha=0.3)
    for axes in figure.axes[len(names) :]:
        axes.remove()
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png", dpi=110)
    return True
