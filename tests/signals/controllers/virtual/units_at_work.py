"""Units for tests, plans to give them, and an observer of what they show."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from signals.controllers.virtual.database import Values, new_values
from signals.controllers.virtual.unit import Indications, Unit
from signals.model.controller import (
    ControllerPhase,
    ControllerRecord,
    CorrectionMode,
    PhaseOption,
    SplitMode,
    SyncPoint,
)

MONDAY = 1_700_438_400
"""2023-11-20 00:00:00 UTC, a Monday."""
THROUGH = (2, 6)


def eight_phases(*, peds: bool = True, options: Mapping[int, PhaseOption] | None = None) -> ControllerRecord:
    """Dual ring, eight phases, clearances that differ from phase to phase; pedestrians with even phases."""
    group = {
        n: {5, 6} if n in (1, 2) else {1, 2} if n in (5, 6) else {7, 8} if n < 5 else {3, 4}
        for n in range(1, 9)
    }
    more = options or {}
    return ControllerRecord(
        tuple(
            ControllerPhase(
                number=n,
                ring=1 if n < 5 else 2,
                concurrent=frozenset(group[n]),
                min_green_s=8 if n % 2 == 0 else 5,
                yellow_s=3.0 + 0.1 * n,
                red_clear_s=1.0 + 0.2 * (n % 3),
                walk_s=7 if peds and n % 2 == 0 else 0,
                pedestrian_clear_s=6 if peds and n % 2 == 0 else 0,
                passage_s=2.0,
                max_green_1_s=25,
                options=PhaseOption.ENABLED | more.get(n, PhaseOption(0)),
            )
            for n in range(1, 9)
        ),
        ((1, 2, 3, 4), (5, 6, 7, 8)),
    )


def one_ring(*, red_clear_s: float = 1.5) -> ControllerRecord:
    """Four phases in one ring, each a group of its own."""
    return ControllerRecord(
        tuple(ControllerPhase(n, 1, frozenset(), 5, 3.4, red_clear_s, max_green_1_s=30) for n in range(1, 5)),
        ((1, 2, 3, 4),),
    )


def t_junction() -> ControllerRecord:
    """Phases 2 and 6 together, 1 before 2, 4 alone: a ring that serves nothing behind the barrier."""
    concurrent = {1: {6}, 2: {6}, 4: set(), 6: {1, 2}}
    return ControllerRecord(
        tuple(
            ControllerPhase(n, 2 if n == 6 else 1, frozenset(c), 5, 3.5, 1.2)
            for n, c in sorted(concurrent.items())
        ),
        ((1, 2, 4), (6,)),
    )


def four_rings() -> tuple[ControllerRecord, tuple[tuple[int, ...], ...]]:
    """Sixteen phases in four rings, and their sequence: the first two of each ring go with those of the others."""
    sequence = tuple(tuple(range(4 * r + 1, 4 * r + 5)) for r in range(4))
    halves = [{n for ring in sequence for n in ring[:2]}, {n for ring in sequence for n in ring[2:]}]
    phases = []
    for r, ring in enumerate(sequence):
        for k, n in enumerate(ring):
            others = halves[k // 2] - set(ring)
            phases.append(ControllerPhase(n, r + 1, frozenset(others), 5, 3.0 + 0.1 * n, 1.0 + 0.1 * r))
    return ControllerRecord(tuple(phases), sequence), sequence


def put_pattern(
    values: Values,
    number: int,
    cycle_s: int,
    splits: Mapping[int, int],
    *,
    offset_s: int = 0,
    coordinated: tuple[int, ...] = THROUGH,
    mode: SplitMode | Mapping[int, SplitMode] = SplitMode.MAX_VEHICLE,
    sequence: int = 1,
    sync: SyncPoint = SyncPoint.FIRST_GREEN,
) -> None:
    """Write a pattern into a database, with the split row of the same number."""
    values["patternCycleTime", (number,)] = cycle_s
    values["patternOffsetTime", (number,)] = offset_s
    values["patternSequenceNumber", (number,)] = sequence
    values["patternCoordSyncPoint", (number,)] = int(sync)
    for n, split in splits.items():
        values["splitTime", (number, n)] = split
        values["splitMode", (number, n)] = int(mode if isinstance(mode, SplitMode) else mode[n])
        values["splitCoordPhase", (number, n)] = int(n in coordinated)


def new_unit(
    record: ControllerRecord,
    *,
    utc_s: int = MONDAY,
    correction: CorrectionMode = CorrectionMode.SHORTWAY,
    time_zone_s: int = 0,
) -> tuple[Unit, Values]:
    """A unit and its database; without a backup time."""
    values = new_values(record, utc_s=utc_s, correction=correction, time_zone_s=time_zone_s)
    values["unitBackupTime", ()] = 0
    return Unit(record, values), values


def command(unit: Unit, values: Values, pattern: int) -> None:
    """Set systemPatternControl as the agent does."""
    values["systemPatternControl", ()] = pattern
    unit.reread()


def run(unit: Unit, seconds: float, vehicles: tuple[int, ...] = (), peds: tuple[int, ...] = ()) -> None:
    """Let time pass with steady calls."""
    for _ in range(round(10 * seconds)):
        unit.step(vehicles, peds)


def in_step(unit: Unit) -> bool:
    """Whether the unit says that it is coordinated and in step."""
    return unit.status(("localFreeStatus", ())) == 2 and unit.status(("unitAlarmStatus2", ())) == 0


def run_until_in_step(unit: Unit, most_s: float, vehicles: tuple[int, ...] = ()) -> float:
    """Let time pass until the unit is in step: the seconds that took, `most_s` if it wasn't."""
    for k in range(round(10 * most_s)):
        if in_step(unit):
            return k / 10
        unit.step(vehicles)
    return most_s


@dataclass
class Observer:
    """Notes when greens and others begin and end, in tenths of the unit's clock, and what falls short.

    It knows the record, and compares lengths of what it has seen from beginning to end.
    """

    record: ControllerRecord
    shown: Indications | None = None
    since: dict[tuple[str, int], int] = field(default_factory=dict)
    spans: list[tuple[str, int, int, int]] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    ended: list[int] = field(default_factory=list)

    def look(self, unit: Unit, tick: int) -> None:
        """Take note of what the unit shows at a tick."""
        shown = unit.indications
        if shown is self.shown:
            return
        before, self.shown = self.shown, shown
        if before is None:
            return
        for kind in ("greens", "yellows", "walks", "ped_clears"):
            old, new = getattr(before, kind), getattr(shown, kind)
            for n in old - new:
                begun = self.since.pop((kind, n), None)
                if begun is not None:
                    self.spans.append((kind, n, begun, tick))
                    self._check(kind, n, tick - begun)
            for n in new - old:
                self.since[kind, n] = tick
        for n in sorted(before.greens - shown.greens):
            self.ended.append(n)
            if n not in shown.yellows:
                self.faults.append(f"tick {tick}: phase {n} has no yellow")
        for n in before.walks - shown.walks:
            if n not in shown.ped_clears and self.record.by_number[n].pedestrian_clear_s:
                self.faults.append(f"tick {tick}: phase {n} has no pedestrian clearance")
        for n in (shown.walks | shown.ped_clears) - shown.greens:
            self.faults.append(f"tick {tick}: phase {n} has pedestrians without green")

    def _check(self, kind: str, n: int, length: int) -> None:
        phase = self.record.by_number[n]
        least = {"greens": 10 * phase.min_green_s, "walks": 10 * phase.walk_s}.get(kind, 0)
        exact = {
            "yellows": round(10 * phase.yellow_s),
            "ped_clears": 10 * phase.pedestrian_clear_s,
        }.get(kind, length)
        if length < least or length != exact:
            self.faults.append(f"phase {n}: {kind} of {length / 10} s")
