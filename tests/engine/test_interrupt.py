"""Signals during a step."""

import os
import signal
import threading

import pytest

from vos_jax.engine.interrupt import delayed_signals


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
