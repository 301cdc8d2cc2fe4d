"""The seconds of a step against clocks that are known."""

import pytest

from restorekit.app import pace
from restorekit.app.pace import Pace


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [0.0]
    monkeypatch.setattr(pace, "monotonic", lambda: now[0])
    return now


def test_pace_keeps_the_time_of_a_step_over_a_pause(clock: list[float]) -> None:
    measured = Pace(100)
    assert measured.seconds is None
    for step in range(110, 150, 10):
        clock[0] += 20
        measured.end(step)
    clock[0] += 3600  # as long as a machine sleeps
    measured.end(150)
    assert measured.seconds == pytest.approx(2)


def test_pace_follows_a_lasting_change_of_speed(clock: list[float]) -> None:
    measured = Pace(0)
    for step in range(1, 4 * pace.STRETCHES):
        clock[0] += 2 if step < 2 * pace.STRETCHES else 5
        measured.end(step)
    assert measured.seconds == 5


def test_pace_leaves_out_the_time_before_a_new_beginning(clock: list[float]) -> None:
    measured = Pace(0)
    clock[0] += 50  # the first step
    measured.begin(1)
    clock[0] += 9
    measured.end(10)
    measured.end(10)
    assert measured.seconds == 1
