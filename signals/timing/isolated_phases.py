"""Isolated intersections as they are given: phases in two rings, their demand and bounds, kinds of left turns."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from signals.timing.measures import EXTENSION_S, STARTUP_LOST_S

SAME_S = 1e-6
"""Times closer than this are the same."""
LEFT_TURNS = (1, 3, 5, 7)
AGAINST = {1: 2, 3: 4, 5: 6, 7: 8}
BESIDE = {1: 6, 3: 8, 5: 2, 7: 4}
"""The through phases of a left turn: the one it waits for gaps in, and that of its own approach."""


class LeftTurn(StrEnum):
    """When a left turn may go: with its arrow alone, or afterwards through gaps as well."""

    PROTECTED = "protected"
    PERMITTED = "protected-permitted"


class WholeTimes(NamedTuple):
    """A split in whole seconds: green, `least_s` to `most_s`, and `cleared_s`, of which `tenths_s` are green too."""

    least_s: int
    most_s: int
    cleared_s: int
    tenths_s: float


@dataclass(frozen=True, slots=True)
class IsolatedPhase:
    """A phase: its demand in each scenario, and what its green may be; that of a left turn is its arrow's.

    `clearance_s` is yellow and red clearance. Effective green is the green shown less `startup_lost_s`, plus
    `extension_s` of the yellow. `upstream_filtering` is the HCM's factor I.
    """

    number: int
    flow_vph: tuple[float, ...]
    saturation_flow_vph: float
    min_green_s: float
    max_green_s: float
    clearance_s: float
    startup_lost_s: float = STARTUP_LOST_S
    extension_s: float = EXTENSION_S
    upstream_filtering: float = 1.0
    left_turn: LeftTurn = LeftTurn.PROTECTED

    def __post_init__(self) -> None:
        where = f"phase {self.number}"
        if self.number not in range(1, 9):
            raise ValueError(f"{where}: NEMA phases are 1 to 8")
        for name, value, least in (
            *(("flow", flow, 0.0) for flow in self.flow_vph),
            ("clearance", self.clearance_s, 0.0),
            ("start-up loss", self.startup_lost_s, 0.0),
            ("extension", self.extension_s, 0.0),
            ("min green", self.min_green_s, 0.0),
        ):
            if not (math.isfinite(value) and value >= least):
                raise ValueError(f"{where}: {name} {value:g}: give a number, {least:g} or more")
        if not self.flow_vph:
            raise ValueError(f"{where}: no flow; give one, or one for each scenario")
        if not (math.isfinite(self.saturation_flow_vph) and self.saturation_flow_vph > 0):
            raise ValueError(f"{where}: saturation flow {self.saturation_flow_vph:g} veh/h: must be above 0")
        if not (math.isfinite(self.max_green_s) and self.max_green_s >= self.min_green_s):
            raise ValueError(
                f"{where}: max green {self.max_green_s:g} s is below min green {self.min_green_s:g} s; raise it"
            )
        if self.extension_s > self.clearance_s:
            raise ValueError(
                f"{where}: clearance {self.clearance_s:g} s is shorter than the {self.extension_s:g} s of it that "
                "drivers use as green; yellow and red clearance take 3 s and more"
            )
        if self.min_green_s + self.extension_s <= self.startup_lost_s:
            raise ValueError(
                f"{where}: min green {self.min_green_s:g} s passes nobody: start-up takes {self.startup_lost_s:g} s; "
                "raise it"
            )
        if not 0 < self.upstream_filtering <= 1:
            raise ValueError(
                f"{where}: filtering factor {self.upstream_filtering:g}: must be above 0, at most 1"
            )
        if self.permitted and self.number not in LEFT_TURNS:
            raise ValueError(f"{where}: only left turns, 1, 3, 5 and 7, are {self.left_turn.value}")
        least_s, most_s = self.greens_s(self.tenths_s)
        if least_s > most_s:
            raise ValueError(
                f"{where}: no split in whole seconds has a green of {self.min_green_s:g} to {self.max_green_s:g} s "
                f"with a clearance of {self.clearance_s:g} s; widen the bounds"
            )

    @property
    def tenths_s(self) -> float:
        """Green that a split in whole seconds leaves beside whole seconds of green, below 1 s."""
        return math.ceil(self.clearance_s - SAME_S) - self.clearance_s

    @property
    def permitted(self) -> bool:
        """Whether it is a left turn that also goes through gaps."""
        return self.left_turn is LeftTurn.PERMITTED

    def greens_s(self, tenths_s: float) -> tuple[int, int]:
        """Fewest and most whole seconds of green that `tenths_s` more are shown after."""
        least_s = math.ceil(self.min_green_s - tenths_s - SAME_S)
        return max(0, least_s), math.floor(self.max_green_s - tenths_s + SAME_S)


@dataclass(frozen=True, slots=True)
class IsolatedIntersection:
    """An intersection that nothing coordinates; `probability` has one entry a scenario and sums to 1.

    One with a protected-permitted left turn has one scenario, and all its phases the same start-up loss, extension
    and tenths of green: where clearances differ in tenths, some are followed by a little more red.
    """

    name: str
    phases: tuple[IsolatedPhase, ...]
    probability: tuple[float, ...] = (1.0,)

    def __post_init__(self) -> None:
        numbers = [phase.number for phase in self.phases]
        if not numbers or len(set(numbers)) < len(numbers):
            raise ValueError(f"{self.name}: phases {numbers}: give at least one, and each once")
        if any(len(phase.flow_vph) != len(self.probability) for phase in self.phases):
            raise ValueError(
                f"{self.name}: give each phase a flow for each of {len(self.probability)} scenarios"
            )
        if not (min(self.probability) > 0 and math.isclose(sum(self.probability), 1.0, abs_tol=1e-9)):
            raise ValueError(f"{self.name}: probabilities must be above 0 and sum to 1")
        for phase in self.phases:
            if phase.permitted:
                self._require_gaps(phase.number)

    def _require_gaps(self, left: int) -> None:
        """Whether what a protected-permitted left turn needs is there."""
        where = f"{self.name}: left turn {left} is {LeftTurn.PERMITTED.value}"
        if not {AGAINST[left], BESIDE[left]} <= {phase.number for phase in self.phases}:
            raise ValueError(
                f"{where}: it goes through gaps in phase {AGAINST[left]} while {BESIDE[left]} is green; "
                "give both, or make it protected"
            )
        if len(self.probability) > 1:
            raise ValueError(
                f"{where}, which is planned for one scenario, not {len(self.probability)}; give one, or make it "
                "protected"
            )
        if len({(phase.startup_lost_s, phase.extension_s) for phase in self.phases}) > 1:
            raise ValueError(f"{where}: give all phases the same start-up loss and extension")
        if any(phase.upstream_filtering != 1.0 for phase in self.phases):
            raise ValueError(f"{where}: filtering factors must be 1")
        for phase, times in zip(self.phases, self.whole_times(), strict=True):
            if times.least_s > times.most_s:
                raise ValueError(
                    f"{where}: phase {phase.number} has no green of {phase.min_green_s:g} to "
                    f"{phase.max_green_s:g} s with the tenths of the other phases; widen the bounds"
                )

    @property
    def permitted(self) -> bool:
        """Whether any left turn goes through gaps."""
        return any(phase.permitted for phase in self.phases)

    def whole_times(self) -> tuple[WholeTimes, ...]:
        """Bounds and clearance of each phase in whole seconds, in the order of `phases`.

        All phases beside a protected-permitted left turn show the same tenths, and a second at least.
        """
        tenths = [phase.tenths_s for phase in self.phases]
        shared_s = min(tenths) if self.permitted else None
        times = []
        for phase, own_s in zip(self.phases, tenths, strict=True):
            tenths_s = own_s if shared_s is None else shared_s
            least_s, most_s = phase.greens_s(tenths_s)
            if shared_s is not None:
                least_s = max(1, least_s)
            times.append(WholeTimes(least_s, most_s, round(phase.clearance_s + own_s), tenths_s))
        return tuple(times)

    @property
    def mean_flow_vph(self) -> float:
        """Vehicles an hour over all phases, mean over scenarios."""
        return sum(
            p * flow
            for phase in self.phases
            for p, flow in zip(self.probability, phase.flow_vph, strict=True)
        )
