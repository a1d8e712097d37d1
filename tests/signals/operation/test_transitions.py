"""A program goes on as it would have run, from whatever second on."""

from __future__ import annotations

import pytest

from signals.model.phasing import Interval, SignalProgram
from signals.operation.transitions import from_second, switch_to

OLD = SignalProgram(
    "A",
    "old",
    "static",
    7.0,
    tuple(
        Interval(d, s)
        for d, s in (
            (30.0, "GGrr"),
            (3.6, "yyrr"),
            (2.4, "rrrr"),
            (20.0, "rrGG"),
            (3.0, "rryy"),
            (2.0, "rrrr"),
        )
    ),
)


@pytest.mark.parametrize("second", [0, 7, 8, 36, 37, 40, 41, 60, 67, 68, 1234])
def test_a_cycle_from_a_second_on_shows_what_the_program_shows(second: int) -> None:
    intervals = from_second(OLD, float(second))
    shown = SignalProgram("A", "rest", "static", float(second), intervals)
    assert shown.cycle_s == pytest.approx(OLD.cycle_s)
    for later in range(3 * int(OLD.cycle_s)):
        assert shown.state_at(second + later + 0.5) == OLD.state_at(second + later + 0.5)


def test_a_change_comes_where_both_programs_show_the_same_green() -> None:
    longer = SignalProgram("A", "new", "static", 30.0, (Interval(40.0, "GGrr"), *OLD.intervals[1:]))
    found = switch_to(OLD, longer, 100.0, {"GGrr": 10.0, "rrGG": 10.0})
    assert found is not None
    assert found.time_s >= 100.0
    assert OLD.state_at(found.time_s - 0.5) == found.program.state_at(found.time_s + 0.5)
    assert "y" not in OLD.state_at(found.time_s - 0.5)


def test_programs_without_a_common_green_are_not_changed() -> None:
    other = SignalProgram("A", "new", "static", 0.0, (Interval(30.0, "Grrr"), Interval(30.0, "rGrr")))
    assert switch_to(OLD, other, 0.0, {}) is None
