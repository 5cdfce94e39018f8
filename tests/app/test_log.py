import os

import pytest

from vos_jax.app.log import Log
from vos_jax.app.passes import BACKWARD, FORWARD, Made, Pass
from vos_jax.errors import InputError

WAYS = [Pass(FORWARD, at, "", (), None, "model") for at in range(3)]
OTHER = Pass(BACKWARD, 9, "base", (1, 2), Made(0, "a"), "model")


def test_what_is_noted_is_read_again(tmp_path):
    log = Log(tmp_path / "log")
    log.add([3, 4, 5, 8], Made(log.number(WAYS[0]), "a"))
    log.add([4], Made(log.number(OTHER), "b"))
    again = Log(tmp_path / "log")
    assert again.passes == [WAYS[0], OTHER]
    assert again.made(4) == (Made(0, "a"), Made(1, "b"))
    assert again.made(5) == (Made(0, "a"),)
    assert sorted(again.frames()) == [3, 4, 5, 8]


def test_a_mask_that_is_made_once_more_is_the_latest(tmp_path):
    log = Log(tmp_path / "log")
    first, second = (Made(log.number(way), "a") for way in WAYS[:2])
    for made in (first, second, first):
        log.add([7], made)
    assert log.made(7) == Log(tmp_path / "log").made(7) == (second, first)


def test_neighbours_are_one_line(tmp_path):
    log = Log(tmp_path / "log")
    made = Made(log.number(WAYS[0]), "a")
    log.add(range(1000), made)
    log.add(range(1000), made)
    assert len((tmp_path / "log").read_text().splitlines()) == 2


@pytest.mark.parametrize("cut", range(1, 12))
def test_half_a_line_is_cut_off(tmp_path, cut):
    log = Log(tmp_path / "log")
    made = Made(log.number(WAYS[0]), "a")
    log.add([1], made)
    log.add([2], made)
    data = (tmp_path / "log").read_bytes()
    (tmp_path / "log").write_bytes(data[:-cut])
    again = Log(tmp_path / "log")
    assert again.made(1) == (made,)
    again.add([2], made)
    assert (tmp_path / "log").read_bytes() == data


def test_without_room_nothing_is_noted_and_nothing_lost(tmp_path, monkeypatch):
    log = Log(tmp_path / "log")
    log.add([1], Made(log.number(WAYS[0]), "a"))

    class Full:
        """A file that takes some bytes and then no more."""

        def __init__(self, file):
            self._file = file

        def __enter__(self):
            return self

        def __exit__(self, *_):
            self._file.close()

        def __getattr__(self, name):
            return getattr(self._file, name)

        def write(self, data):
            return self._file.write(data[:5])

    path = type(tmp_path)
    with monkeypatch.context() as patch:
        own = path.open
        patch.setattr(path, "open", lambda *x, **y: Full(own(*x, **y)))
        with pytest.raises(InputError, match=os.strerror(28)):
            log.number(WAYS[1])
    assert log.passes == WAYS[:1]
    assert log.number(WAYS[2]) == 1
    assert Log(tmp_path / "log").passes == [WAYS[0], WAYS[2]]


def test_a_log_of_much_history_is_written_anew(tmp_path):
    log = Log(tmp_path / "log")
    pair = [Made(log.number(way), "a") for way in WAYS[:2]]
    for turn in range(20):
        log.add([1], pair[turn % 2])
    lines = len((tmp_path / "log").read_text().splitlines())
    again = Log(tmp_path / "log")
    assert again.made(1) == tuple(pair)
    assert len((tmp_path / "log").read_text().splitlines()) == 4 < lines
    again.add([2], pair[0])
    assert Log(tmp_path / "log").made(2) == (pair[0],)


@pytest.mark.parametrize("line", ["x", "[1, 2, 0, ", '[1, 2, 5, "a"]', "7", "[]"])
def test_a_damaged_log_is_told(tmp_path, line):
    (tmp_path / "log").write_text(line + "\n")
    with pytest.raises(InputError, match="damaged; move it away"):
        Log(tmp_path / "log")
