"""An arterial as MAXBAND and MULTIBAND see it: signals, their greens, the sections between, and the bands.

Widths and greens are in cycles. `signals.timing.bandwidth_program` finds the widest bands.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum


class Solver(StrEnum):
    """What proves the optimum; all come in OR-Tools' wheel.

    SCIP is the fastest here, and silent. HiGHS 1.12 prints lines of its own to the standard output, and with tolerances
    below its 1e-6 took a wrong optimum for proven (20 signals with left turns, seed 102 of benchmarks.bandwidth).
    """

    SCIP = "SCIP"
    CBC = "CBC"
    HIGHS = "HIGHS"


class LeftTurns(StrEnum):
    """Order of the left turns and the throughs between two cross streets: Little's patterns 1 to 4."""

    FORWARD_LEADS = "forward leads"
    BACKWARD_LEADS = "backward leads"
    BOTH_LEAD = "both lead"
    BOTH_LAG = "both lag"


@dataclass(frozen=True, slots=True)
class Greens:
    """A through green a direction, in cycles; they begin `begin` and `begin_back` after the signal's reference.

    A green of 2 is one that never ends. `green_back` is 0 on a one-way street.
    """

    green: float
    green_back: float
    begin: float = 0.0
    begin_back: float = 0.0
    name: str = ""

    def __post_init__(self) -> None:
        for green, least in ((self.green, 1e-9), (self.green_back, 0.0)):
            if not (least <= green <= 1.0 or green == 2.0):
                raise ValueError(f"a green of {green:g} cycles: must be above 0 and at most 1")

    @property
    def middle(self) -> float:
        """Middle of the forward green after the reference."""
        return self.begin + self.green / 2.0

    @property
    def shift(self) -> float:
        """Middle of the backward green after that of the forward one, from -0.5 to below 0.5."""
        return (self.begin_back + self.green_back / 2.0 - self.middle + 0.5) % 1.0 - 0.5


def left_turn_greens(
    red: float,
    red_back: float,
    left: float,
    left_back: float,
    allowed: Sequence[LeftTurns] = tuple(LeftTurns),
) -> tuple[Greens, ...]:
    """The through greens of each allowed order of left turns, in cycles after the end of the cross street's time.

    `red` and `red_back` are the through movements' reds, `left` and `left_back` the lengths of the left turns out of
    the forward and the backward direction. As a left turn runs in the opposing through's red, both reds less the
    opposing left turn must leave the same time to the cross street.

    Raises
    ------
    ValueError
        Where they don't, or where no order is allowed.
    """
    cross = red - left_back
    if abs(cross - (red_back - left)) > 1e-6 or cross < -1e-9 or min(left, left_back) < 0.0:
        raise ValueError(
            f"reds of {red:g} and {red_back:g} cycles less the opposing left turns ({left_back:g} and {left:g}) "
            f"leave {cross:g} and {red_back - left:g} to the cross street: must be equal and not negative"
        )
    if not allowed:
        raise ValueError("no order of left turns is allowed")
    late = {
        LeftTurns.FORWARD_LEADS: (0.0, left),
        LeftTurns.BACKWARD_LEADS: (left_back, 0.0),
        LeftTurns.BOTH_LEAD: (left_back, left),
        LeftTurns.BOTH_LAG: (0.0, 0.0),
    }
    return tuple(Greens(1.0 - red, 1.0 - red_back, *late[order], order.value) for order in allowed)


@dataclass(frozen=True, slots=True)
class BandSignal:
    """A signal of an arterial: the pairs of greens to choose from, and the queue that goes before a band, s.

    A band leaves the signal by `queue_s` earlier than it arrives, since the queue starts that much before it
    (Little's τ). `reference` fixes when the signal's reference comes, in cycles; else it is free.
    """

    name: str
    greens: tuple[Greens, ...]
    queue_s: float = 0.0
    queue_back_s: float = 0.0
    reference: float | None = None

    def __post_init__(self) -> None:
        if not self.greens:
            raise ValueError(f"signal {self.name}: has no green to choose")
        if not (0.0 <= self.queue_s < math.inf and 0.0 <= self.queue_back_s < math.inf):
            raise ValueError(f"signal {self.name}: queue clearance times must not be negative")


@dataclass(frozen=True, slots=True)
class Section:
    """The way between two signals: its length, and lowest and highest speed a direction.

    `speed_back_mps` is None on a one-way street. `change_s_per_m` is the most by which the reciprocal speed may change
    from this section to the next. The weights count for MULTIBAND: volumes over saturation flows, say.
    """

    distance_m: float
    speed_mps: tuple[float, float]
    speed_back_mps: tuple[float, float] | None
    change_s_per_m: float = math.inf
    weight: float = 1.0
    weight_back: float = 1.0

    def __post_init__(self) -> None:
        if not 0.0 < self.distance_m < math.inf:
            raise ValueError(f"a section of {self.distance_m:g} m: must be above 0")
        for low, high in (self.speed_mps, *([self.speed_back_mps] if self.speed_back_mps else [])):
            if not 0.0 < low <= high < math.inf:
                raise ValueError(f"speeds from {low:g} to {high:g} m/s: need 0 < lowest <= highest")
        if not (self.change_s_per_m >= 0.0 and self.weight >= 0.0 and self.weight_back >= 0.0):
            raise ValueError("a section's change of reciprocal speed and its weights must not be negative")


@dataclass(frozen=True, slots=True)
class Arterial:
    """Signals in a row, forward from the first to the last, and what is between them."""

    signals: tuple[BandSignal, ...]
    sections: tuple[Section, ...]
    cycle_s: tuple[float, float]

    def __post_init__(self) -> None:
        low, high = self.cycle_s
        if not 0.0 < low <= high < math.inf:
            raise ValueError(f"cycles from {low:g} to {high:g} s: need 0 < shortest <= longest")
        if len(self.signals) < 2 or len(self.sections) != len(self.signals) - 1:
            raise ValueError(
                f"{len(self.signals)} signals and {len(self.sections)} sections: need 2, and 1 less"
            )
        if low < high and any(s.reference is not None for s in self.signals):
            raise ValueError("references can be fixed only where the cycle is")

    @property
    def two_way(self) -> bool:
        """Whether there is a backward direction all along."""
        return all(s.speed_back_mps for s in self.sections) and all(
            g.green_back > 0.0 for s in self.signals for g in s.greens
        )


@dataclass(frozen=True, slots=True)
class Bands:
    """The widest bands of an arterial, and the timing that opens them.

    `bands[i]` and `bands_back[i]` are the widths on section i in cycles, all alike in MAXBAND. `offsets_s` says when
    each signal's reference comes, from 0 to below the cycle, and 0 at the first signal where none is fixed.
    `middles_s` and `middles_back_s` say on the same clock when the middles of the bands leave each signal. Where
    `proven` is False, time was up before anything better than `bound` had been ruled out. `loops` are the integers m.
    """

    objective: float
    bound: float
    proven: bool
    cycle_s: float
    bands: tuple[float, ...]
    bands_back: tuple[float, ...]
    speeds_mps: tuple[float, ...]
    speeds_back_mps: tuple[float, ...]
    offsets_s: tuple[float, ...]
    middles_s: tuple[float, ...]
    middles_back_s: tuple[float, ...]
    greens: tuple[Greens, ...]
    loops: tuple[int, ...]

    @property
    def band_s(self) -> tuple[float, float]:
        """Width forward and backward of what passes all signals at least, s."""
        return min(self.bands) * self.cycle_s, min(self.bands_back, default=0.0) * self.cycle_s
