import threading
import time
from pathlib import Path

import numpy as np
import pytest

from vos_jax.errors import InputError
from vos_jax.media.masks import read_labels
from vos_jax.media.writer import MaskWriter


def test_all_masks_are_there_after_close(tmp_path: Path):
    with MaskWriter(tmp_path / "new" / "masks") as writer:
        for i in range(30):
            writer.write(f"{i:05d}", np.full((4, 5), i, np.uint8))
    files = sorted((tmp_path / "new" / "masks").iterdir())
    assert [f.name for f in files] == [f"{i:05d}.png" for i in range(30)]
    assert [int(read_labels(f)[0, 0]) for f in files] == list(range(30))


def test_other_functions_run_too(tmp_path: Path):
    done: list[int] = []
    with MaskWriter(tmp_path) as writer:
        writer.submit(done.append, 7)
    assert done == [7]


def test_the_first_error_is_raised_by_a_later_write(tmp_path: Path):
    writer = MaskWriter(tmp_path, workers=1)
    with pytest.raises(InputError, match=r"none/a\.png"):
        writer.write("none/a", np.zeros((2, 2), np.uint8))
        for _ in range(200):
            time.sleep(0.005)
            writer.write("b", np.zeros((2, 2), np.uint8))
    with pytest.raises(InputError, match=r"none/a\.png"):
        writer.close()


def test_an_error_of_the_last_write_is_raised_by_close(tmp_path: Path):
    with (
        pytest.raises(InputError, match=r"none/a\.png"),
        MaskWriter(tmp_path) as writer,
    ):
        writer.write("none/a", np.zeros((2, 2), np.uint8))


def test_writes_that_wait_behind_an_error_are_dropped(tmp_path: Path):
    go = threading.Event()
    writer = MaskWriter(tmp_path, workers=1)
    writer.submit(go.wait, 10)
    writer.write("none/a", np.zeros((2, 2), np.uint8))
    writer.write("b", np.zeros((2, 2), np.uint8))
    go.set()
    with pytest.raises(InputError):
        writer.close()
    assert list(tmp_path.iterdir()) == []


def test_an_exception_of_the_block_is_not_replaced(tmp_path: Path):
    with pytest.raises(KeyError, match="mine"), MaskWriter(tmp_path) as writer:
        writer.write("none/a", np.zeros((2, 2), np.uint8))
        raise KeyError("mine")


def test_the_backlog_is_bounded(tmp_path: Path):
    go = threading.Event()
    queued: list[int] = []

    def fill(writer: MaskWriter) -> None:
        for i in range(100):
            writer.submit(go.wait, 10)
            queued.append(i)

    with MaskWriter(tmp_path, workers=2) as writer:
        filler = threading.Thread(target=fill, args=(writer,))
        filler.start()
        deadline = time.monotonic() + 5
        while len(queued) < 10 and time.monotonic() < deadline:
            time.sleep(0.005)
        time.sleep(0.05)
        assert len(queued) == 10
        go.set()
        filler.join()
    assert len(queued) == 100


def test_writing_after_close_is_an_error(tmp_path: Path):
    writer = MaskWriter(tmp_path)
    writer.close()
    writer.close()
    with pytest.raises(RuntimeError):
        writer.write("a", np.zeros((2, 2), np.uint8))


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(InputError, match="file"):
        MaskWriter(tmp_path / "file" / "masks")


def test_the_failure_that_was_queued_first_is_told(tmp_path: Path):
    failing = threading.Event()

    def fail_last() -> None:
        failing.wait(10)
        # Time enough for the other thread to store its error.
        time.sleep(0.05)
        raise OSError("earlier")

    def fail_first() -> None:
        failing.set()
        raise OSError("later")

    writer = MaskWriter(tmp_path, workers=2)
    writer.submit(fail_last)
    writer.submit(fail_first)
    with pytest.raises(OSError, match="earlier"):
        writer.close()
