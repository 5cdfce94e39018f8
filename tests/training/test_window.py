"""Figures between two rows of the log."""

import pytest

from vos_jax.training.window import NotFinite, Window


@pytest.fixture
def clock(monkeypatch):
    """Seconds that pass only where a test says so."""
    now = [100.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    return now


def figures(loss, finite=True):
    return {"loss": loss, "finite": finite}


def test_a_row_has_means_speed_and_the_share_of_waiting(clock):
    def batches():
        while True:
            clock[0] += 0.5
            yield "a batch"

    window, source = Window(clips=8), batches()
    for step, loss in enumerate((1.0, 2.0, 6.0)):
        assert window.wait(source) == "a batch"
        clock[0] += 1.5
        window.add(step, figures(loss))
    assert window.take() == {
        "loss": 3.0,
        "clips_per_second": 3 * 8 / 6.0,
        "data_wait": 0.25,
    }
    window.add(3, figures(7.0))
    clock[0] += 4.0
    assert window.take() == {"loss": 7.0, "clips_per_second": 2.0, "data_wait": 0.0}


def test_what_takes_time_beside_training_does_not_count(clock):
    window = Window(clips=8)
    clock[0] += 100.0
    window.restart()
    window.add(0, figures(1.0))
    clock[0] += 2.0
    assert window.take()["clips_per_second"] == 4.0


def test_a_step_is_looked_at_when_the_next_one_is_under_way():
    window = Window(clips=1)
    window.add(0, figures(1.0))
    window.add(1, figures(float("nan"), finite=False))
    with pytest.raises(NotFinite) as caught:
        window.add(2, figures(1.0))
    assert caught.value.step == 1


@pytest.mark.parametrize("settle", [Window.settle, Window.take])
def test_the_newest_step_is_looked_at_before_anything_is_kept(settle):
    window = Window(clips=1)
    window.add(4, figures(1.0, finite=False))
    with pytest.raises(NotFinite) as caught:
        settle(window)
    assert caught.value.step == 4
