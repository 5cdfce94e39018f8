"""Signals during a step."""

import os
import signal
import threading

import jax
import pytest
from jax.experimental import multihost_utils

from vos_jax.runtime.interrupt import AgreedInterrupt, agreed_signals, delayed_signals


def interrupt() -> None:
    os.kill(os.getpid(), signal.SIGINT)


def test_a_signal_waits_until_it_may_act():
    reached = []
    with pytest.raises(KeyboardInterrupt), delayed_signals() as act:
        act()
        interrupt()
        reached.append("end of the frame")
        act()
        reached.append("next frame")
    assert reached == ["end of the frame"]


def test_a_signal_in_the_last_frame_acts_at_the_end():
    with pytest.raises(KeyboardInterrupt), delayed_signals():
        interrupt()


def test_a_second_signal_does_not_wait():
    reached = []
    with pytest.raises(KeyboardInterrupt), delayed_signals():
        interrupt()
        reached.append(1)
        interrupt()
        reached.append(2)
    assert reached == [1]


def test_handlers_are_put_back_and_defaults_left_alone():
    before = signal.signal(signal.SIGTERM, signal.SIG_DFL)
    try:
        handler = signal.getsignal(signal.SIGINT)
        with delayed_signals():
            assert signal.getsignal(signal.SIGINT) is not handler
            assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
        assert signal.getsignal(signal.SIGINT) is handler
    finally:
        signal.signal(signal.SIGTERM, before)


def test_other_threads_may_use_it():
    done = []

    def work() -> None:
        with delayed_signals() as act:
            act()
            done.append(True)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert done


@pytest.fixture
def two(monkeypatch):
    """One of two processes; JAX's service lets both stop after step 5."""
    notices = []
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    monkeypatch.setattr(
        multihost_utils,
        "reached_preemption_sync_point",
        lambda step: bool(notices) and step == 5,
    )
    before = signal.signal(signal.SIGTERM, lambda *given: notices.append(given))
    yield notices
    signal.signal(signal.SIGTERM, before)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_several_processes_stop_where_they_agree(two, number):
    handlers = [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)]
    reached = []
    with pytest.raises(AgreedInterrupt), agreed_signals() as act:
        for done in range(1, 9):
            reached.append(done)
            if done == 3:
                os.kill(os.getpid(), number)
            act(done)
    assert reached == [1, 2, 3, 4, 5]
    assert handlers == [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)]


def test_a_second_signal_does_not_wait_for_an_agreement(two):
    with pytest.raises(KeyboardInterrupt) as caught, agreed_signals():
        interrupt()
        assert len(two) == 1
        interrupt()
    assert not isinstance(caught.value, AgreedInterrupt)


def test_one_process_agrees_with_itself():
    reached = []
    with pytest.raises(KeyboardInterrupt), agreed_signals() as act:
        interrupt()
        reached.append("end of the step")
        act(1)
        reached.append("next step")
    assert reached == ["end of the step"]
