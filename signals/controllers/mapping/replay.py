"""What the heads show when a unit serves its phases for fixed times: the analytic counterpart of the engine.

Times are tenths of a second, as units hold clearances.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from signals.controllers.virtual.wiring import Heads
from signals.errors import UnmappablePlan
from signals.model.controller import (
    Cabinet,
    ControllerPhase,
    ControllerRecord,
    Pattern,
    PhaseOption,
    Split,
    SplitMode,
    SyncPoint,
)
from signals.model.phasing import Interval, SignalProgram

WITH_PEDESTRIANS = frozenset({SplitMode.PEDESTRIAN, SplitMode.MAX_AND_PEDESTRIAN})


@dataclass(frozen=True, slots=True)
class Service:
    """One green of a phase in the cycle [tenths]: it begins at `begin`, with a walk of `walk` where that is above 0."""

    phase: int
    ring: int
    begin: int
    green: int
    yellow: int
    red: int
    walk: int = 0

    @property
    def end(self) -> int:
        """When the next phase of the ring may begin."""
        return self.begin + self.green + self.yellow + self.red


@dataclass(frozen=True, slots=True)
class Moment:
    """What a unit indicates from `begin` on, until the next moment."""

    begin: int
    greens: frozenset[int]
    yellows: frozenset[int]
    walks: frozenset[int]
    nexts: frozenset[int]


def tenths(seconds: float) -> int:
    """Seconds in whole tenths."""
    return round(10 * seconds)


def moments(services: Sequence[Service], cycle: int, also: Iterable[int] = ()) -> list[Moment]:
    """Every moment of a cycle at which an indication may change, and those of `also`, from 0 on."""
    times = {0, *(t % cycle for t in also)}
    for s in services:
        ends = (s.begin, s.begin + s.walk, s.begin + s.green, s.begin + s.green + s.yellow, s.end)
        times.update(t % cycle for t in ends)
    return [_moment(services, cycle, t) for t in sorted(times)]


def _moment(services: Sequence[Service], cycle: int, time: int) -> Moment:
    greens: set[int] = set()
    yellows: set[int] = set()
    walks: set[int] = set()
    nexts: set[int] = set()
    for s in services:
        since = (time - s.begin) % cycle
        if since < s.green:
            greens.add(s.phase)
            if since < s.walk:
                walks.add(s.phase)
        elif since < s.end - s.begin:
            if since < s.green + s.yellow:
                yellows.add(s.phase)
            # a ring that rests before its next phase has none to hold a link green for
            nexts.update(n.phase for n in services if n.ring == s.ring and (n.begin - s.end) % cycle == 0)
    return Moment(time, frozenset(greens), frozenset(yellows), frozenset(walks), frozenset(nexts))


def letters_at(cabinet: Cabinet, sequence: Sequence[Moment]) -> list[str]:
    """The state at each moment of a cycle that has been going on for ever."""
    heads = Heads(cabinet)
    for _ in range(2):
        shown = [heads.letters(m.greens, m.yellows, m.walks, m.nexts) for m in sequence]
    return shown


def served_groups(record: ControllerRecord, pattern: Pattern) -> list[frozenset[int]]:
    """Groups of phases between barriers in the order in which the pattern's rings pass them.

    Raises
    ------
    UnmappablePlan
        Where the rings pass barriers in different orders.
    """
    group_of = {n: group for group in record.groups for n in group}
    orders: list[list[frozenset[int]]] = []
    for ring in pattern.sequence:
        order: list[frozenset[int]] = []
        for n in ring:
            group = group_of.get(n, frozenset({n}))
            if not order or order[-1] != group:
                order.append(group)
        orders.append(order)
    found: list[frozenset[int]] = []
    while any(orders):
        ready = [
            order[0]
            for order in orders
            if order and not any(order[0] in other[1:] for other in orders if other)
        ]
        if not ready:
            raise UnmappablePlan(
                f"sequence {pattern.sequence}: the rings don't pass the barriers in one order; "
                "give both streets' phases in the same order in each ring"
            )
        found.append(ready[0])
        orders = [order[1:] if order and order[0] == ready[0] else order for order in orders]
    return found


def services_of(record: ControllerRecord, pattern: Pattern) -> tuple[Service, ...]:
    """Greens of a pattern in a cycle that begins with the first phases of its sequence, each at its split's length."""
    splits = {s.phase: s for s in pattern.splits}
    found = []
    begin = 0
    for group in served_groups(record, pattern):
        ends = [begin]
        for ring, numbers in enumerate(pattern.sequence, start=1):
            now = begin
            for n in numbers:
                split = splits.get(n)
                if n not in group or split is None or split.mode is SplitMode.OMITTED:
                    continue
                found.append(_service(record.by_number[n], split, ring, now))
                now = found[-1].end
            ends.append(now)
        begin = max(ends)
    return tuple(found)


def _service(phase: ControllerPhase, split: Split, ring: int, begin: int) -> Service:
    yellow, red = tenths(phase.yellow_s), tenths(phase.red_clear_s)
    green = 10 * split.time_s - yellow - red
    walk = 0
    if phase.walk_s and (split.mode in WITH_PEDESTRIANS or PhaseOption.PED_RECALL in phase.options):
        # a coordinated phase rests in walk until its pedestrian clearance has to begin
        walk = green - 10 * phase.pedestrian_clear_s if split.coordinated else 10 * phase.walk_s
    return Service(split.phase, ring, begin, green, yellow, red, walk)


def first_coordinated(services: Iterable[Service], pattern: Pattern) -> Service:
    """The coordinated phase that turns green first: its green begins at the offset.

    Raises
    ------
    UnmappablePlan
        Where no coordinated phase is served, or the pattern's sync point is another.
    """
    coordinated = {s.phase for s in pattern.splits if s.coordinated}
    found = min((s for s in services if s.phase in coordinated), key=lambda s: s.begin, default=None)
    if found is None or pattern.sync_point is not SyncPoint.FIRST_GREEN:
        raise UnmappablePlan(
            f"a pattern with coordinated phases {sorted(coordinated)} and sync point "
            f"{pattern.sync_point.name}: serve one at least, and refer the offset to FIRST_GREEN"
        )
    return found


def states_of(cabinet: Cabinet, pattern: Pattern) -> SignalProgram:
    """The program that a unit in step shows under a pattern, every phase served for the whole of its split.

    Raises
    ------
    UnmappablePlan
        Where the pattern's sequence or sync point is none that Greensplit makes.
    """
    cycle = 10 * pattern.cycle_s
    services = services_of(cabinet.record, pattern)
    sequence = moments(services, cycle)
    intervals = _intervals(sequence, letters_at(cabinet, sequence), cycle)
    begin = first_coordinated(services, pattern).begin
    offset_s = (10 * pattern.offset_s - begin) % cycle / 10
    return SignalProgram(cabinet.intersection, "pattern", "static", offset_s, tuple(intervals))


def _intervals(sequence: Sequence[Moment], states: Sequence[str], cycle: int) -> Iterator[Interval]:
    begin = 0
    for k, state in enumerate(states):
        end = sequence[k + 1].begin if k + 1 < len(sequence) else cycle
        if k + 1 == len(states) or states[k + 1] != state:
            yield Interval((end - begin) / 10, state)
            begin = end
