"""What a signal controller holds, in NEMA's and NTCIP 1202's terms: phases, patterns, splits, schedules, status.

Times are seconds. What a device holds in whole seconds is an int here, what it holds in tenths a float of whole
tenths.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum, IntFlag, StrEnum

MIDNIGHT_S = 86_400
FREE, FLASH, AUTOMATIC = 254, 255, 0
"""Pattern numbers that are no patterns: free operation, flash, and leave to the unit."""
MOST_PATTERNS = 253


class PhaseOption(IntFlag):
    """phaseOptions of NTCIP 1202; bit 0 is the lowest."""

    ENABLED = 1 << 0
    AUTO_FLASH_ENTRY = 1 << 1
    AUTO_FLASH_EXIT = 1 << 2
    NON_ACTUATED_1 = 1 << 3
    NON_ACTUATED_2 = 1 << 4
    NON_LOCK_MEMORY = 1 << 5
    MIN_VEHICLE_RECALL = 1 << 6
    MAX_VEHICLE_RECALL = 1 << 7
    PED_RECALL = 1 << 8
    SOFT_VEHICLE_RECALL = 1 << 9
    DUAL_ENTRY = 1 << 10
    SIMULTANEOUS_GAP_DISABLE = 1 << 11
    GUARANTEED_PASSAGE = 1 << 12
    ACTUATED_REST_IN_WALK = 1 << 13
    CONDITIONAL_SERVICE = 1 << 14
    ADDED_INITIAL = 1 << 15


class SplitMode(IntEnum):
    """splitMode of NTCIP 1202: what a pattern does with a phase beside its split."""

    NONE = 2
    MIN_VEHICLE = 3
    MAX_VEHICLE = 4
    PEDESTRIAN = 5
    MAX_AND_PEDESTRIAN = 6
    OMITTED = 7


class SyncPoint(IntEnum):
    """patternCoordSyncPoint of NTCIP 1202 v3: the moment of the coordinated phases that the offset refers to."""

    UNIT = 2
    FIRST_GREEN = 3
    LAST_GREEN = 4
    FIRST_GREEN_END = 5
    LAST_GREEN_END = 6
    FIRST_YELLOW_END = 7
    LAST_YELLOW_END = 8


class CorrectionMode(IntEnum):
    """coordCorrectionMode: how a unit gets into step."""

    DWELL = 2
    SHORTWAY = 3
    ADD_ONLY = 4


class FreeStatus(IntEnum):
    """localFreeStatus: whether the unit is coordinated, and why it isn't."""

    NOT_FREE = 2
    COMMAND = 3
    TRANSITION = 4
    INPUT = 5
    COORDINATION = 6
    BAD_PLAN = 7
    BAD_CYCLE = 8
    SPLIT_OVERRUN = 9
    INVALID_OFFSET = 10
    FAILED = 11


class UnitClock(StrEnum):
    """What a unit's clock shows: the time, or that of a simulation, with which the service's isn't compared."""

    SYSTEM = "system"
    SIMULATED = "simulated"


Rings = tuple[tuple[int, ...], ...]
"""Phase numbers in the order of service, ring by ring."""


@dataclass(frozen=True, slots=True)
class ControllerPhase:
    """A phase as the unit times it. Greensplit reads these values and never writes them.

    `concurrent` are the phases that may be green at the same time. A phase without pedestrians has a walk of 0.
    """

    number: int
    ring: int
    concurrent: frozenset[int]
    min_green_s: int
    yellow_s: float
    red_clear_s: float
    walk_s: int = 0
    pedestrian_clear_s: int = 0
    passage_s: float = 2.0
    max_green_1_s: int = 60
    max_green_2_s: int = 60
    options: PhaseOption = PhaseOption.ENABLED


@dataclass(frozen=True, slots=True)
class ControllerRecord:
    """The phases of a unit, by rising number, and its first sequence: what a plan is checked against."""

    phases: tuple[ControllerPhase, ...]
    sequence: Rings

    def __post_init__(self) -> None:
        numbers = [p.number for p in self.phases]
        if numbers != sorted(set(numbers)) or not numbers or not 1 <= numbers[0] <= numbers[-1] <= 40:
            raise ValueError(f"phases {numbers}: expected rising numbers from 1 to 40")

    @property
    def by_number(self) -> Mapping[int, ControllerPhase]:
        """Phases by number."""
        return {p.number: p for p in self.phases}

    @property
    def groups(self) -> tuple[frozenset[int], ...]:
        """Phases between barriers: those that concurrency joins, in the order of ring 1's sequence."""
        left = {p.number: set(p.concurrent) for p in self.phases}
        found: list[frozenset[int]] = []
        for ring in self.sequence:
            for start in ring:
                if any(start in group for group in found) or start not in left:
                    continue
                group, edge = {start}, [start]
                while edge:
                    for near in left[edge.pop()] - group:
                        if near in left:
                            group.add(near)
                            edge.append(near)
                found.append(frozenset(group))
        return tuple(found)


@dataclass(frozen=True, slots=True)
class Split:
    """What a pattern gives to one phase: `time_s` includes yellow and red clearance."""

    phase: int
    time_s: int
    mode: SplitMode = SplitMode.NONE
    coordinated: bool = False


@dataclass(frozen=True, slots=True)
class Pattern:
    """A coordination pattern: cycle, offset of the sync point on the clock since midnight, splits, sequence."""

    cycle_s: int
    offset_s: int
    splits: tuple[Split, ...]
    sequence: Rings
    sync_point: SyncPoint = SyncPoint.FIRST_GREEN


@dataclass(frozen=True, slots=True)
class DayPlanEvent:
    """At this local time of day the unit goes to this pattern (or FREE, FLASH)."""

    hour: int
    minute: int
    pattern: int


@dataclass(frozen=True, slots=True)
class ScheduleEntry:
    """When a day plan holds. Months 1-12, weekdays 1 (Sunday) to 7, days of the month 1-31."""

    months: frozenset[int]
    weekdays: frozenset[int]
    dates: frozenset[int]
    events: tuple[DayPlanEvent, ...]


@dataclass(frozen=True, slots=True)
class LinkWiring:
    """How one link of a SUMO signal hangs on a unit's phases.

    A vehicle's link is green while one of `phases` is, and a permitted green while one of `permitted` is green too.
    Where `held`, it stays green while the unit goes from one of its phases to another (an overlap), save for the
    pairs (from, to) of `cleared`: between those it shows yellow and red, as an arrow does before a permitted green.
    A crossing's link (`pedestrian`) is green in the walk of its phases. `red` is the letter otherwise: `r` or `s`.
    """

    link: int
    phases: tuple[int, ...]
    permitted: frozenset[int] = frozenset()
    held: bool = False
    cleared: frozenset[tuple[int, int]] = frozenset()
    pedestrian: bool = False
    red: str = "r"


@dataclass(frozen=True, slots=True)
class Cabinet:
    """A unit and the signals that hang on it; `links[i]` is link index i of the SUMO signal."""

    intersection: str
    record: ControllerRecord
    links: tuple[LinkWiring, ...]


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a unit can hold and do, as it says itself; `transactions` False where it has none."""

    max_phases: int
    max_patterns: int
    max_splits: int
    max_sequences: int
    max_rings: int
    max_actions: int = 0
    max_day_plans: int = 0
    max_day_plan_events: int = 0
    max_schedule_entries: int = 0
    sync_points: bool = False
    backup_time_s: int = 0
    transactions: bool = True


@dataclass(frozen=True, slots=True)
class ControllerStatus:
    """What a unit says that it does. `utc_s` is its clock, seconds since 1970.

    `alarms` names what is wrong, `in_step` says that no offset transition is under way.
    """

    pattern: int
    free_status: int
    in_step: bool
    alarms: tuple[str, ...]
    in_flash: bool
    preempted: bool
    manual: bool
    utc_s: int
    system_pattern: int
    operational_mode: int
