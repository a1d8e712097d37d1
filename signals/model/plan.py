"""Plans: what was asked for, and the timing that answers it."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from signals.model.phasing import SignalProgram


class StagePolicy(StrEnum):
    """Whether a plan must keep every stage of the field's program."""

    KEEP = "keep"
    DROP_PROTECTED = "drop-protected"


class ClearancePolicy(StrEnum):
    """Where yellow and red clearance come from: the field's program or the ITE formula."""

    KEEP = "keep"
    ITE = "ite"


class ControllerPolicy(StrEnum):
    """What must be able to show a plan: a simulation, or the phases of a NEMA controller too."""

    ANY = "any"
    NEMA = "nema"


class Objective(StrEnum):
    """What a plan makes as small as it can: delay [s/veh], stops a vehicle, or delay and stops weighed [s/veh]."""

    DELAY = "delay"
    STOPS = "stops"
    INDEX = "index"


class Refinement(StrEnum):
    """What SUMO decides about a plan: nothing, which of a few candidates, or each change of a long polish."""

    NONE = "none"
    RACE = "race"
    SUMO = "sumo"


MOST_STOP_WEIGHT_S = 600.0
"""A stop costs a car about as much fuel as 20 s of idling; nobody weighs it with ten minutes."""


@dataclass(frozen=True, slots=True)
class PlanRequest:
    """What an engineer asks for. `ignore_durations` overrides the field's minDur and maxDur.

    `signals` are the ids of the signals to be retimed, sorted and distinct; empty means all. The others keep
    the program in place and are simulated with it. `stop_weight_s` is the delay that a stop is worth where the
    objective is the index. For NEMA controllers a plan has one period, and orders of stages that rings can show.
    """

    stages: StagePolicy = StagePolicy.KEEP
    clearance: ClearancePolicy = ClearancePolicy.KEEP
    seed: int = 1
    min_green_s: float = 5.0
    min_cycle_s: float = 30.0
    max_cycle_s: float = 180.0
    walking_speed_mps: float = 1.07
    walk_s: float = 7.0
    ignore_durations: bool = False
    signals: tuple[str, ...] = ()
    objective: Objective = Objective.DELAY
    stop_weight_s: float = 20.0
    controllers: ControllerPolicy = ControllerPolicy.ANY

    def __post_init__(self) -> None:
        if not 0 < self.min_cycle_s <= self.max_cycle_s:
            raise ValueError(f"cycle bounds {self.min_cycle_s:g}-{self.max_cycle_s:g} s: need 0 < min <= max")
        if self.min_green_s < 1:
            raise ValueError(f"min green of {self.min_green_s:g} s: at least 1 s")
        if not self.walking_speed_mps > 0:
            raise ValueError(f"walking speed of {self.walking_speed_mps:g} m/s: must be positive")
        if list(self.signals) != sorted(set(self.signals)):
            raise ValueError(f"signals to be retimed {self.signals}: must be sorted, each named once")
        if not (math.isfinite(self.stop_weight_s) and 0 <= self.stop_weight_s <= MOST_STOP_WEIGHT_S):
            raise ValueError(
                f"stop weight of {self.stop_weight_s:g} s: a stop is worth 0 to {MOST_STOP_WEIGHT_S:g} s of delay"
            )


@dataclass(frozen=True, slots=True)
class OmittedStage:
    """A stage that a plan leaves out. `becomes_permitted` names movements that lose their protected green."""

    state: str
    becomes_permitted: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class TimingPlan:
    """The timing of one signal for one period: a program ready to run, and what it leaves out."""

    program: SignalProgram
    omitted: tuple[OmittedStage, ...] = ()

    @property
    def intersection(self) -> str:
        """Id of the signal."""
        return self.program.intersection


@dataclass(frozen=True)
class PlanSet:
    """The plans of a whole network: one row a period, each a plan per signal.

    `switch_times[signal][k]` is the second of the simulation's clock at which the signal leaves period k
    for the next; each signal has its own, since it may only switch where both programs show the same
    greens. `unplanned` gives, for each signal without a plan, the reason and what to do. The digest identifies the
    set: seed, version and the hash of the inputs are part of it.
    """

    periods: tuple[Mapping[str, TimingPlan], ...]
    switch_times: Mapping[str, tuple[float, ...]]
    unplanned: Mapping[str, str]
    seed: int
    version: str
    inputs_hash: str
    remarks: tuple[str, ...] = field(default=())

    def __post_init__(self) -> None:
        needed = max(0, len(self.periods) - 1)
        for signal, times in self.switch_times.items():
            if len(times) != needed or list(times) != sorted(times):
                raise ValueError(
                    f"signal {signal}: {len(self.periods)} periods need {needed} rising switch times, got {times}"
                )

    @property
    def digest(self) -> str:
        """Hash of everything that decides what the street shows, 16 hex digits."""
        text = repr(
            (
                [sorted((k, repr(v)) for k, v in p.items()) for p in self.periods],
                sorted(self.switch_times.items()),
                sorted(self.unplanned.items()),
                self.seed,
                self.version,
                self.inputs_hash,
            )
        )
        return hashlib.sha256(text.encode()).hexdigest()[:16]
