"""Coordination: a pattern as force-offs on the cycle, and the cycle timer that keeps in step with the clock.

Position 0 of a cycle is where the sequence begins: ring by ring, a phase begins its green at the sum of the splits
before it and is forced off when only yellow and red clearance of its own split are left. The sync point says which
position the clock's local zero is; UNIT is taken as FIRST_GREEN.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

from signals.controllers.objects import bits_of
from signals.controllers.virtual.database import Values, integer
from signals.controllers.virtual.events import CoordState
from signals.controllers.virtual.phases import Layout, Phases, read_layout
from signals.model.controller import (
    MIDNIGHT_S,
    CorrectionMode,
    FreeStatus,
    PhaseOption,
    SplitMode,
    SyncPoint,
)

ADD_SHARE = 4
"""Adding lengthens a cycle by at most a quarter: it holds the timer for a tenth after every four."""
SUBTRACT_SHARE = 2
"""Subtracting runs the timer twice as fast, which leaves a phase no less than half of its green."""

DAY = 10 * MIDNIGHT_S
MIN_RECALLS = (SplitMode.MIN_VEHICLE, SplitMode.MAX_VEHICLE, SplitMode.MAX_AND_PEDESTRIAN)
MAX_RECALLS = (SplitMode.MAX_VEHICLE, SplitMode.MAX_AND_PEDESTRIAN)
PED_RECALLS = (SplitMode.PEDESTRIAN, SplitMode.MAX_AND_PEDESTRIAN)


@dataclass(frozen=True, slots=True)
class Plan:
    """A pattern that can be run, in tenths of a second and bit masks.

    Fields
    ------
    offset : of local zero on the clock
    zero : position of local zero in the cycle
    force : position at which each served phase's green ends at the latest
    green : what each split leaves for green
    reference : for each ring, the force-off with which its cycle of service ends
    coordinated : phases held green until their force-off; at least one for each ring that the group has
    dwell : those of them that are green when the timer dwells: all, or the first where they never are together
    spare : by how much a cycle can be shortened
    floating : whether a phase that begins early gets no more than its own split
    """

    number: int
    cycle: int
    offset: int
    zero: int
    layout: Layout
    force: Mapping[int, int]
    green: Mapping[int, int]
    splits_s: Mapping[int, int]
    reference: tuple[int, ...]
    coordinated: int
    dwell: int
    omitted: int
    recall: int
    max_recall: int
    ped_recall: int
    spare: int
    floating: bool

    def master(self, local: int) -> int:
        """The position that the clock asks for at a local time, in tenths since 1970; it starts anew at midnight."""
        return (local % DAY - self.offset + self.zero) % self.cycle


def read_plan(values: Values, phases: Phases, pattern: int) -> Plan | FreeStatus:
    """The pattern that the database holds, or why it can't be run."""
    if not 1 <= pattern <= integer(values, "maxPatterns"):
        return FreeStatus.BAD_PLAN
    cycle, offset = (integer(values, name, pattern) for name in ("patternCycleTime", "patternOffsetTime"))
    if cycle <= 0:
        return FreeStatus.BAD_CYCLE
    if offset >= cycle:
        return FreeStatus.INVALID_OFFSET
    layout = read_layout(phases, values, integer(values, "patternSequenceNumber", pattern))
    row = integer(values, "patternSplitNumber", pattern)
    if layout is None or not 1 <= row <= integer(values, "maxSplits"):
        return FreeStatus.BAD_PLAN
    splits = {n: 10 * integer(values, "splitTime", row, n) for n in phases}
    modes = {n: SplitMode(integer(values, "splitMode", row, n)) for n in phases}
    served = {n for n in phases if splits[n] and modes[n] is not SplitMode.OMITTED}
    begins = _begins(layout, {n: splits[n] for n in served}, 10 * cycle)
    coordinated = {n for n in phases if integer(values, "splitCoordPhase", row, n)}
    if begins is None or not coordinated or not coordinated <= served:
        return FreeStatus.BAD_PLAN
    if len({layout.group_of[n] for n in coordinated}) > 1:
        return FreeStatus.BAD_PLAN
    if _collide(phases, begins, splits):
        return FreeStatus.BAD_PLAN
    ped_recall = {
        n
        for n in served
        if phases[n].walk and (modes[n] in PED_RECALLS or phases[n].options & PhaseOption.PED_RECALL)
    }
    need = {
        n: max(p.min_green, p.walk + p.ped_clear if n in ped_recall else 0)
        for n, p in phases.items()
        if n in served
    }
    green = {n: splits[n] - phases[n].clearance for n in served}
    if any(green[n] < max(need[n], 1) for n in served):
        return FreeStatus.BAD_PLAN
    force = {n: begins[n] + green[n] for n in served}
    zero = _zero(_sync(values, pattern), [(begins[n], green[n], phases[n].yellow) for n in coordinated])
    coordinated, reference = _references(layout, coordinated, begins, force)
    end = min(force[n] for n in coordinated)
    cut = {n: min(green[n] - need[n], green[n] // SUBTRACT_SHARE) for n in served}
    return Plan(
        number=pattern,
        cycle=10 * cycle,
        offset=10 * offset,
        zero=zero,
        layout=layout,
        force=force,
        green=green,
        splits_s={n: t // 10 for n, t in splits.items()},
        reference=reference,
        coordinated=bits_of(coordinated),
        dwell=bits_of(coordinated if max(begins[n] for n in coordinated) < end else {min(coordinated)}),
        omitted=bits_of(n for n in phases if n not in served),
        recall=bits_of(n for n in served if modes[n] in MIN_RECALLS) | bits_of(ped_recall),
        max_recall=bits_of(n for n in served if modes[n] in MAX_RECALLS),
        ped_recall=bits_of(ped_recall),
        spare=sum(
            min((sum(cut.get(n, 0) for n in ring[g]) for ring in layout.served if ring[g]), default=0)
            for g in range(layout.groups)
        ),
        floating=integer(values, "coordForceMode") == 2,
    )


def _begins(layout: Layout, splits: Mapping[int, int], cycle: int) -> dict[int, int] | None:
    """Where each served phase begins; None where the splits of the rings differ or don't fill the cycle."""
    begins: dict[int, int] = {}
    at = 0
    for g in range(layout.groups):
        lengths = set()
        for ring in layout.served:
            length = 0
            for n in ring[g]:
                if n in splits:
                    begins[n] = at + length
                    length += splits[n]
            if length:
                lengths.add(length)
        if len(lengths) > 1:
            return None
        at += lengths.pop() if lengths else 0
    return begins if at == cycle else None


def _collide(phases: Phases, begins: Mapping[int, int], splits: Mapping[int, int]) -> bool:
    """Whether two phases that conflict have their splits at the same time."""
    return any(
        phases[n].conflicts >> m & 1
        and begins[n] < begins[m] + splits[m]
        and begins[m] < begins[n] + splits[n]
        for n, m in combinations(begins, 2)
    )


def _sync(values: Values, pattern: int) -> SyncPoint:
    value = values.get(("patternCoordSyncPoint", (pattern,)), SyncPoint.UNIT)
    return SyncPoint(value) if isinstance(value, int) else SyncPoint.UNIT


def _zero(sync: SyncPoint, coordinated: Sequence[tuple[int, int, int]]) -> int:
    """The position of the sync point; `coordinated` has begin, green and yellow of each phase."""
    begins = [b for b, _, _ in coordinated]
    ends = [b + g for b, g, _ in coordinated]
    yellow_ends = [b + g + y for b, g, y in coordinated]
    moments = {
        SyncPoint.LAST_GREEN: max(begins),
        SyncPoint.FIRST_GREEN_END: min(ends),
        SyncPoint.LAST_GREEN_END: max(ends),
        SyncPoint.FIRST_YELLOW_END: min(yellow_ends),
        SyncPoint.LAST_YELLOW_END: max(yellow_ends),
    }
    return moments.get(sync, min(begins))


def _references(
    layout: Layout, coordinated: set[int], begins: Mapping[int, int], force: Mapping[int, int]
) -> tuple[set[int], tuple[int, ...]]:
    """The coordinated phases of all rings, and the force-off with which each ring's service ends.

    A ring without a coordinated phase takes the one that it serves at the first one's force-off.
    """
    group = layout.group_of[min(coordinated)]
    end = min(force[n] for n in coordinated)
    found = set(coordinated)
    reference = []
    for ring in layout.served:
        served = [n for n in ring[group] if n in force]
        own = [n for n in served if n in coordinated]
        if served and not own:
            own = [max((n for n in served if begins[n] <= end), key=lambda n: begins[n])]
            found.update(own)
        reference.append(force[own[-1]] if own else end)
    return found, tuple(reference)


class CycleTimer:
    """The local cycle timer of a plan: `position` counts on over cycles; `error` is how far it is before the clock.

    In step it advances with the clock. Out of step it stands still now and then (add, dwell) or goes two tenths in
    one (subtract), but only while all rings that are on show green, so that clearances are never stretched, and
    never so that a force-off comes before a minimum is served.
    """

    def __init__(self, plan: Plan, position: int, target: int, mode: int) -> None:
        self.plan = plan
        self.position = position
        self.error = (position - target) % plan.cycle
        self.state = CoordState.PICK_UP
        self._mode = mode
        self._added = 0
        self._choose()

    @property
    def cycle_position(self) -> int:
        """Tenths since local zero."""
        return (self.position - self.plan.zero) % self.plan.cycle

    def resync(self, target: int, mode: int) -> bool:
        """The clock asks for this position now; True where that is news (it was set, or midnight has passed)."""
        error = (self.position - target) % self.plan.cycle
        if (error, mode) == (self.error, self._mode):
            return False
        self.error, self._mode = error, mode
        self._choose()
        return True

    def advance(self, ticks: int, room: int, steady: bool, dwelling: bool) -> bool:
        """Let time pass; True where local zero comes.

        `ticks` may exceed 1 only in step and with room. `room` is by how much a force-off is later than the
        minimums let the phase end; below 0 the timer waits. `steady` says that no ring is between two greens,
        `dwelling` that the plan's phases to dwell in are green.
        """
        step = self._step(room, steady, dwelling) if self.error or room < 0 else 1
        before = (self.position - self.plan.zero) // self.plan.cycle
        self.position += ticks - 1 + step
        if step != 1:
            was = self.error
            self.error = (was + step - 1) % self.plan.cycle
            if not was or not self.error:
                self._choose()
        if (self.position - self.plan.zero) // self.plan.cycle == before:
            return False
        self._added = 0
        self._choose()
        return True

    def _step(self, room: int, steady: bool, dwelling: bool) -> int:
        if room < 0:
            return 0
        if not steady:
            return 1
        if self.state is CoordState.DWELL:
            return 0 if dwelling else 1
        if self.state is CoordState.SUBTRACT:
            return 2 if room else 1
        if self._added * ADD_SHARE > self.cycle_position:
            return 1
        self._added += 1
        return 0

    def _choose(self) -> None:
        self._added = max(self._added, self.cycle_position // ADD_SHARE)
        if not self.error:
            self.state = CoordState.IN_STEP
        elif self._mode == CorrectionMode.DWELL:
            self.state = CoordState.DWELL
        elif self._mode == CorrectionMode.ADD_ONLY:
            self.state = CoordState.ADD
        else:
            add, subtract = correction_times(self.plan, self.error)
            self.state = CoordState.ADD if add <= subtract else CoordState.SUBTRACT


def correction_times(plan: Plan, error: int) -> tuple[float, float]:
    """How long adding and subtracting take about until a timer is in step that is `error` before the clock."""
    add = error * (ADD_SHARE + 1)
    left = -error % plan.cycle
    return add, left * (plan.cycle - plan.spare) / plan.spare if plan.spare else 1e9 * bool(left)


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a ring is when a plan takes over: the phase that is green, or comes after `wait` tenths.

    `least` is how long its green has to go on at least.
    """

    phase: int
    wait: int
    least: int


def pick_up(plan: Plan, target: int, rings: Sequence[Standing], mode: int) -> int:
    """The position from which a plan goes on where the rings are, so that it is in step soonest.

    It is one at which each ring would serve the phase that it does, with enough of its split left; where there is
    none, one at which most rings do.
    """
    arcs = []
    for ring in rings:
        force = plan.force.get(ring.phase)
        if force is not None:
            most = max(plan.green[ring.phase], ring.least) + ring.wait
            arcs.append(((force - most - target) % plan.cycle, most - ring.least - ring.wait))
    ends = {0} | {e % plan.cycle for first, length in arcs for e in (first, first + length)}

    def cost(error: int) -> tuple[int, float, int]:
        missed = sum((error - first) % plan.cycle > length for first, length in arcs)
        if mode in (CorrectionMode.DWELL, CorrectionMode.ADD_ONLY):
            return missed, error, error
        return missed, min(correction_times(plan, error)), error

    return (target + min(ends, key=cost)) % plan.cycle
