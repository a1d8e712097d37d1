"""What the program in place gives: the yardstick for every plan of the same signal.

A plan may be better than the program in place, never worse in a matter of safety. Where the field itself
falls short of a requirement, it is accepted as it stands, and said in a remark.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from signals.model.network import Crossing, Intersection
from signals.model.phasing import SignalProgram
from signals.model.plan import PlanRequest
from signals.safety.clearance import YELLOW_BOUNDS_S
from signals.safety.timeline import (
    GO,
    PROTECTED,
    TOLERANCE_S,
    Observation,
    RightOfWay,
    Timeline,
    lay_out,
    right_of_way,
    unroll,
)


@dataclass(frozen=True, slots=True)
class Walk:
    """One pedestrian green: its length, and the time after it until conflicting vehicles go [s]."""

    green_s: float
    clear_s: float

    def given_s(self, across_s: float) -> float:
        """Green and clearance together; a red longer than the way across adds nothing."""
        return self.green_s + min(self.clear_s, across_s)


@dataclass(frozen=True, slots=True)
class Block:
    """One state of the cycle, identical intervals in a row taken together, and how long it may last [s]."""

    state: str
    duration_s: float
    least_s: float
    most_s: float
    stated: bool


class FieldRecord:
    """What the field's own program shows, by link and by pair of links.

    `program` is None where the field has none that can be read: then nothing is granted.
    """

    def __init__(self, intersection: Intersection) -> None:
        self.intersection = intersection
        self.program = _usable(intersection)
        self.n_links = self.program.n_links if self.program else intersection.n_links
        self.crossings = frozenset(c.link for c in intersection.crossings)
        self.letters: list[frozenset[str]] = [frozenset()] * self.n_links
        self.shortest_green_s: list[float] = [math.inf] * self.n_links
        self._yellows_s: list[list[float]] = [[] for _ in range(self.n_links)]
        self._straight_to_red: list[set[tuple[str, str]]] = [set() for _ in range(self.n_links)]
        self._gaps_s: dict[tuple[int, int, bool, bool], float] = {}
        self._red_clearance_s: dict[int, float] = {}
        self._shown: dict[tuple[int, int], set[tuple[RightOfWay, RightOfWay]]] = {}
        if self.program is not None:
            self._record(self.program)

    def _record(self, program: SignalProgram) -> None:
        cycle_s = program.cycle_s
        self.letters = [frozenset(i.state[k] for i in program.intervals) for k in range(self.n_links)]
        seen = observe(self.intersection, unroll(program, 3))
        for link, runs in enumerate(seen.greens):
            for green in runs:
                if not cycle_s - TOLERANCE_S <= green.end_s < 2 * cycle_s - TOLERANCE_S:
                    continue
                self.shortest_green_s[link] = min(self.shortest_green_s[link], green.duration_s)
                if green.yellow_s > TOLERANCE_S:
                    self._yellows_s[link].append(green.yellow_s)
                else:
                    self._straight_to_red[link].add(green.handover)
        for change in seen.changes(cycle_s, 2 * cycle_s):
            key = (change.ending, change.starting, change.direct, change.upgrade)
            self._gaps_s[key] = min(change.gap_s, self._gaps_s.get(key, math.inf))
            # a permitted turn that becomes protected has been waiting in the junction: no red goes before,
            # but people have to be off its way
            if change.direct and (not change.upgrade or change.ending in self.crossings):
                red = max(0.0, change.gap_s - change.yellow_s)
                self._red_clearance_s[change.ending] = max(red, self._red_clearance_s.get(change.ending, 0.0))
        states = unroll(program, 1).states
        rights = [right_of_way(states, k) for k in range(self.n_links)]
        for i, j in self.intersection.conflicts.conflicts:
            if i < self.n_links and j < self.n_links:
                self._shown[i, j] = {(a, b) for (a, _), (b, _) in zip(rights[i], rights[j], strict=True)}

    def serves(self, link: int) -> bool:
        """Whether the link ever gets green."""
        return bool(self.letters[link] & GO)

    def protects(self, link: int) -> bool:
        """Whether the link ever gets protected green."""
        return bool(self.letters[link] & PROTECTED)

    def shows_together(self, i: int, j: int, a: RightOfWay, b: RightOfWay) -> bool:
        """Whether links i < j ever have at least these rights of way at the same time."""
        return any(x >= a and y >= b for x, y in self._shown.get((i, j), ()))

    def yellow_s(self, link: int, handover: tuple[str, str] | None = None) -> float:
        """The yellow that an end of green needs for the field's sake [s].

        The field's shortest one of the link. None where the link goes straight to red in the field: always,
        or at this very handover. A green that never ends in the field has no yellow to compare with: it
        needs the shortest one of the signal, 3 s where there is none.
        """
        if handover is not None and handover in self._straight_to_red[link]:
            return 0.0
        if self._yellows_s[link]:
            return min(self._yellows_s[link])
        if self._straight_to_red[link]:
            return 0.0
        others = [y for i, ys in enumerate(self._yellows_s) if i not in self.crossings for y in ys]
        return min(others, default=YELLOW_BOUNDS_S[0])

    def intergreen_s(
        self, ending: int, starting: int, *, direct: bool = True, upgrade: bool = False
    ) -> tuple[float, str]:
        """The intergreen that a change needs for the field's sake [s], and where the figure comes from.

        A change that the field makes keeps the field's shortest one. For a pair that the field only
        joins with a stage between them, a direct change needs yellow and the largest red clearance that
        follows the ending link in the field, or the signal's largest where that link has none.
        """
        starts = self._gaps_s.get((ending, starting, True, False), math.inf)
        upgrades = self._gaps_s.get((ending, starting, True, True), math.inf)
        here = min(starts, upgrades) if upgrade else starts
        apart = min(self._gaps_s.get((ending, starting, False, u), math.inf) for u in (False, True))
        if not direct:
            # a stage between two greens gives more time than any change, unless the field never had one there
            return (here, "as in the field") if here < apart == math.inf else (0.0, "a stage lies between")
        least = min(here, apart)
        if here < math.inf:
            return least, "as in the field"
        red = self._red_clearance_s.get(ending)
        if red is None:
            red = max((r for i, r in self._red_clearance_s.items() if i not in self.crossings), default=0.0)
        red = round(red, 3)
        yellow = 0.0 if ending in self.crossings else self.yellow_s(ending)
        if least < yellow + red:
            return least, "as in the field"
        parts = f"yellow {yellow:g} + red clearance {red:g}" if yellow else f"clearance {red:g}"
        return yellow + red, f"{parts}, a change that the field never makes"

    def walks(self, link: int) -> tuple[Walk, ...]:
        """The pedestrian greens that the field gives."""
        return walks(self.intersection, self.program, link) if self.program else ()

    def blocks(self) -> tuple[Block, ...]:
        """The field's states with their stated bounds, its own duration always within them."""
        return blocks(self.program) if self.program else ()


def observe(intersection: Intersection, timeline: Timeline) -> Observation:
    """Greens and changes of a signal over a timeline."""
    crossings = frozenset(c.link for c in intersection.crossings)
    return Observation(timeline, intersection.conflicts.conflicts, crossings)


def walks_of(seen: Observation, link: int, begin_s: float, end_s: float) -> list[tuple[float, Walk]]:
    """Pedestrian greens that end in [begin_s, end_s), each with the time of its end."""
    found = []
    for green in seen.greens[link]:
        if begin_s - TOLERANCE_S <= green.end_s < end_s - TOLERANCE_S:
            clear = seen.next_foe_start_s(link, green.end_s) - green.end_s
            found.append((green.end_s, Walk(green.duration_s, clear)))
    return found


def walks(intersection: Intersection, program: SignalProgram, link: int) -> tuple[Walk, ...]:
    """The pedestrian greens of one cycle of a program."""
    cycle_s = program.cycle_s
    seen = observe(intersection, unroll(program, 3))
    return tuple(w for _, w in walks_of(seen, link, cycle_s, 2 * cycle_s))


def blocks(program: SignalProgram) -> tuple[Block, ...]:
    """States of a cycle in order, identical ones in a row taken as one, around the cycle's end too."""
    rows = [i for i in program.intervals if i.duration_s > 0]
    merged: list[Block] = []
    for row in rows:
        least = row.min_s if row.min_s is not None else 0.0
        most = row.max_s if row.max_s is not None else math.inf
        block = Block(
            row.state,
            row.duration_s,
            min(least, row.duration_s),
            max(most, row.duration_s),
            row.min_s is not None or row.max_s is not None,
        )
        if merged and merged[-1].state == block.state:
            merged[-1] = _joined(merged[-1], block)
        else:
            merged.append(block)
    if len(merged) > 1 and merged[0].state == merged[-1].state:
        merged[0] = _joined(merged.pop(), merged[0])
    return tuple(merged)


def _joined(a: Block, b: Block) -> Block:
    return Block(
        a.state, a.duration_s + b.duration_s, a.least_s + b.least_s, a.most_s + b.most_s, a.stated or b.stated
    )


def _usable(intersection: Intersection) -> SignalProgram | None:
    """The field's program where it can be read: long enough states and a cycle longer than nothing.

    The lines of a NEMA program are phases that two rings combine, their yellow and red kept apart: read as
    a cycle they would grant changes without any.
    """
    program = intersection.program
    if program is None or not program.cycle_s > 0 or program.n_links < intersection.n_links:
        return None
    if program.kind.upper() == "NEMA":
        return None
    return program


def inherited_conflicts(intersection: Intersection) -> tuple[tuple[int, int], ...]:
    """Pairs of conflicting links that the field itself lets go together, neither giving way.

    They come with the network's data: one all-green stage, or paths that merge. A plan may show them as the
    field does, and no more.
    """
    program = _usable(intersection)
    if program is None:
        return ()
    states = lay_out([(i.duration_s, i.state) for i in program.intervals], 0.0).states
    rights = {k: right_of_way(states, k) for pair in intersection.conflicts.conflicts for k in pair}
    found = set()
    for i, j in intersection.conflicts.conflicts:
        for a, b in zip(rights[i], rights[j], strict=True):
            if collide(intersection, i, j, a, b):
                found.add((i, j))
    return tuple(sorted(found))


def collide(
    intersection: Intersection, i: int, j: int, a: tuple[RightOfWay, bool], b: tuple[RightOfWay, bool]
) -> bool:
    """Whether two conflicting links with these rights of way have nobody who gives way."""
    table = intersection.conflicts
    (right_i, gives_i), (right_j, gives_j) = a, b
    if RightOfWay.NONE in (right_i, right_j) or (right_i, right_j) == (RightOfWay.YELLOW, RightOfWay.YELLOW):
        return False
    return not ((gives_i and table.may_yield(i, j)) or (gives_j and table.may_yield(j, i)))


def across_s(crossing: Crossing, request: PlanRequest) -> float:
    """Time to walk across [s]."""
    return crossing.length_m / request.walking_speed_mps
