"""Phasing: signal programs as controllers hold them, stages, conflict and intergreen tables, rings.

A *state string* has one letter a link index, as in SUMO: ``G`` protected green, ``g`` permitted green
(yields), ``y`` yellow, ``u`` red-and-yellow, ``r`` red, ``s`` stop, then go if clear (right turn on red),
``o``/``O`` dark.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

GREEN = frozenset("Gg")
CHANGE = frozenset("yYu")


@dataclass(frozen=True, slots=True)
class Interval:
    """One line of a program: a state shown for a time. `min_s` and `max_s` only where the field states them."""

    duration_s: float
    state: str
    min_s: float | None = None
    max_s: float | None = None
    name: str = ""

    def __post_init__(self) -> None:
        if not self.duration_s >= 0:
            raise ValueError(f"an interval lasts 0 s or more, not {self.duration_s} s (state {self.state})")


@dataclass(frozen=True, slots=True)
class SignalProgram:
    """A cyclic program of one signal. `kind` is SUMO's type (static, actuated, NEMA, …)."""

    intersection: str
    program: str
    kind: str
    offset_s: float
    intervals: tuple[Interval, ...]

    def __post_init__(self) -> None:
        if len({len(i.state) for i in self.intervals}) > 1:
            raise ValueError(
                f"signal {self.intersection}: states of different length in program {self.program}"
            )

    @property
    def cycle_s(self) -> float:
        """Sum of all durations."""
        return sum(i.duration_s for i in self.intervals)

    @property
    def n_links(self) -> int:
        """Length of the state strings."""
        return len(self.intervals[0].state) if self.intervals else 0

    def state_at(self, time_s: float) -> str:
        """State shown at a time of the simulation's clock, the offset considered."""
        # in whole milliseconds, as SUMO counts: sums of tenths aren't exact
        position = round(1000 * (time_s - self.offset_s)) % round(1000 * self.cycle_s)
        for interval in self.intervals:
            duration = round(1000 * interval.duration_s)
            if position < duration:
                return interval.state
            position -= duration
        return self.intervals[-1].state


@dataclass(frozen=True, slots=True)
class Stage:
    """A part of the cycle whose length a plan may choose: constant greens, no change under way."""

    state: str
    duration_s: float
    min_s: float
    max_s: float

    @property
    def protected(self) -> frozenset[int]:
        """Links with protected green."""
        return frozenset(i for i, c in enumerate(self.state) if c == "G")

    @property
    def permitted(self) -> frozenset[int]:
        """Links with permitted green."""
        return frozenset(i for i, c in enumerate(self.state) if c == "g")

    @property
    def green(self) -> frozenset[int]:
        """Links with either green."""
        return self.protected | self.permitted


@dataclass(frozen=True, slots=True)
class StagePlan:
    """A program seen as stages: `changes[k]` leads from stage k to the next one, around the cycle.

    `offset_s` refers to the start of stage 0, so that equal stage plans give equal signals.
    """

    intersection: str
    stages: tuple[Stage, ...]
    changes: tuple[tuple[Interval, ...], ...]
    offset_s: float

    def __post_init__(self) -> None:
        if len(self.stages) != len(self.changes):
            raise ValueError(
                f"signal {self.intersection}: {len(self.stages)} stages need as many changes, "
                f"got {len(self.changes)}"
            )

    @property
    def fixed_s(self) -> float:
        """Time of the cycle that belongs to changes."""
        return sum(i.duration_s for change in self.changes for i in change)

    @property
    def cycle_s(self) -> float:
        """Stages and changes together."""
        return self.fixed_s + sum(s.duration_s for s in self.stages)


@dataclass(frozen=True, slots=True)
class ConflictTable:
    """Which links of a signal conflict, and which of two conflicting links gives way.

    `conflicts` holds pairs (i, j) with i < j whose paths cross or merge. `yields` holds pairs (i, j):
    link i lets link j pass by the network's own right of way, so that i may be a permitted green while
    j is green.
    """

    n_links: int
    conflicts: frozenset[tuple[int, int]]
    yields: frozenset[tuple[int, int]]

    def conflict(self, i: int, j: int) -> bool:
        """Whether two links conflict at all."""
        return (min(i, j), max(i, j)) in self.conflicts

    def may_yield(self, i: int, j: int) -> bool:
        """Whether link i gives way to link j."""
        return (i, j) in self.yields


@dataclass(frozen=True, slots=True)
class IntergreenTable:
    """Seconds from the end of green of one link to the start of green of a conflicting one, by pair."""

    seconds: Mapping[tuple[int, int], float]


@dataclass(frozen=True, slots=True)
class RingPhase:
    """A NEMA phase: its number and the links it lets go."""

    number: int
    links: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class RingBarrier:
    """A dual-ring, barrier-separated phasing: `rings[r][b]` are the phases of ring r before barrier b."""

    rings: tuple[tuple[tuple[RingPhase, ...], ...], ...]
