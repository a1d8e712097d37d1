"""From the program in force to another one: when a signal may change without harm, and to what exactly."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from signals.model.phasing import Interval, SignalProgram
from signals.timing.switches import safe_switch_time

LATEST_SWITCH_S = 300.0
"""A signal that can't change within so long takes another offset, or keeps what it has."""
MOST_SHIFT_S = 20
"""An offset may move by so much for a signal to change at all."""


@dataclass(frozen=True)
class Switch:
    """A program, and the second at which it takes force."""

    time_s: float
    program: SignalProgram


def switch_to(
    old: SignalProgram, new: SignalProgram, after_s: float, min_green_s: Mapping[str, float]
) -> Switch | None:
    """The first safe second from `after_s` on to change to a program, moved by as little as lets it; None if none."""
    for size in range(MOST_SHIFT_S + 1):
        for step in (size, -size) if size else (0,):
            moved = replace(new, offset_s=(new.offset_s + step) % new.cycle_s)
            time_s = safe_switch_time(old, moved, after_s, min_green_s=min_green_s, horizon_s=LATEST_SWITCH_S)
            if time_s is not None:
                return Switch(time_s, moved)
    return None


def from_second(program: SignalProgram, time_s: float) -> tuple[Interval, ...]:
    """A program's cycle as it runs from a second on: the interval in force is first, with what is left of it."""
    position = round(1000 * (time_s - program.offset_s)) % round(1000 * program.cycle_s)
    for k, interval in enumerate(program.intervals):
        duration = round(1000 * interval.duration_s)
        if position < duration:
            rest = replace(interval, duration_s=(duration - position) / 1000)
            gone = (replace(interval, duration_s=position / 1000),) if position else ()
            return (rest, *program.intervals[k + 1 :], *program.intervals[:k], *gone)
        position -= duration
    return program.intervals
