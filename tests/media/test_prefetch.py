import threading
from collections.abc import Iterator

import pytest

from vos_jax.media.prefetch import prefetch


def threads() -> list[threading.Thread]:
    return [t for t in threading.enumerate() if t.name == "prefetch"]


def test_items_come_in_order_and_the_thread_ends():
    assert list(prefetch(range(100), depth=3)) == list(range(100))
    assert not threads()


def test_an_error_is_raised_after_the_items_before_it():
    def source() -> Iterator[int]:
        yield 1
        yield 2
        raise OSError("gone")

    items = prefetch(source(), depth=8)
    assert [next(items), next(items)] == [1, 2]
    with pytest.raises(OSError, match="gone"):
        next(items)
    assert not threads()


def test_stopping_early_ends_the_thread_and_closes_the_source():
    closed = threading.Event()

    def source() -> Iterator[int]:
        try:
            while True:
                yield 0
        finally:
            closed.set()

    for _ in prefetch(source(), depth=2):
        assert len(threads()) == 1
        break
    assert closed.is_set() and not threads()


def test_the_source_runs_no_further_ahead_than_its_depth():
    taken: list[int] = []

    def source() -> Iterator[int]:
        for i in range(50):
            taken.append(i)
            yield i

    for i in prefetch(source(), depth=2):
        # Two wait in the queue, one is in the hands of the thread.
        assert len(taken) <= i + 1 + 3
    assert len(taken) == 50


def test_the_source_is_read_on_another_thread():
    (name,) = prefetch(threading.current_thread().name for _ in range(1))
    assert name == "prefetch"


def test_a_depth_of_zero_is_refused_at_once():
    with pytest.raises(ValueError, match="depth=0"):
        prefetch([1], depth=0)


def test_nothing_is_read_before_the_first_item_is_asked_for():
    items = prefetch([1], depth=1)
    assert not threads()
    assert next(items) == 1
