"""What the loop asks of a street, be it simulated or real: let time pass, count, and put programs in force."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from signals.model.phasing import SignalProgram


@dataclass(frozen=True)
class Observed:
    """What detectors say of a stretch of time [begin_s, end_s); everything by edge.

    `entered` counts vehicles that came, at edges by which the network is entered; those that wait outside for room
    count as having come. `passed` counts vehicles over the stop line, at approaches of signals. `present` is how many
    are on each edge at the end, those that wait outside with them; None where nothing tells. `delay_veh_s` is what
    everybody lost, None where nothing measures it. `silent` names lanes that nobody has left for
    so long [s] that it can't be by chance: closed ones.
    """

    begin_s: float
    end_s: float
    entered: Mapping[str, float]
    passed: Mapping[str, float]
    present: Mapping[str, float] | None = None
    delay_veh_s: float | None = None
    silent: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Taken:
    """When a signal takes a program over [s]; None with the reason where it doesn't."""

    time_s: float | None
    reason: str = ""


class Street(Protocol):
    """Signals and detectors, and a clock that goes on by itself or is led.

    `apply` hands programs over; each takes force at a second that suits its signal, while the street advances.
    """

    @property
    def now_s(self) -> float:
        """Time of the street's clock."""

    def advance(self, until_s: float) -> None:
        """Let time pass."""

    def counts(self, begin_s: float, end_s: float) -> Observed:
        """What was seen in a stretch that has passed."""

    def apply(self, plans: Mapping[str, SignalProgram]) -> Mapping[str, Taken]:
        """Have signals change to programs as soon as they can."""

    def in_force(self) -> Mapping[str, SignalProgram]:
        """The program of each signal, changes that are under way counted as done."""

    def close(self) -> None:
        """Let go of the street; signals keep what they show."""
