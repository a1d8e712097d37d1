"""NEMA rings and barriers: whether a signal's stages are a dual-ring phasing, or could be one.

Numbers are those of the HCM (7th ed., Exhibit 19-2 and the example of chapter 31) and of NEMA TS 2: through
phases 2 and 6 on the major street, 4 and 8 on the cross street, clockwise by direction of travel (2 EB, 4 SB,
6 WB, 8 NB where the major street runs east and west); left turns 5, 7, 1, 3 beside them, so that left turn n
and the through phase n + 1 that it conflicts with follow each other in one ring. A left turn without a green
of its own belongs to the through phase of its approach, as do right turns; those of a stem, which nobody
opposes, always do.

      ring 1   1  2 | 3  4 |
      ring 2   5  6 | 7  8 |
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, product

from signals.errors import InfeasiblePlan
from signals.model.network import Intersection, Network, Turn
from signals.model.phasing import GREEN, RingBarrier, RingPhase
from signals.model.plan import PlanRequest
from signals.timing.stages import stage_plan

SAME_DIRECTION_DEG = 30.0
"""Edges whose headings differ by less are one approach: a bus lane beside its street, a divided road."""
OPPOSING_DEG = 50.0
"""Directions of one street may be this far from opposite, and a cross street this far from square."""
RINGS = ((1, 2, 3, 4), (5, 6, 7, 8))
BARRIERS = (frozenset({1, 2, 5, 6}), frozenset({3, 4, 7, 8}))
LEFT_BESIDE: Mapping[int, int] = {2: 5, 4: 7, 6: 1, 8: 3}
"""The left turn of the approach that a through phase serves."""
OPPOSING: Mapping[int, int] = {2: 6, 4: 8, 6: 2, 8: 4}


def recognise_rings(intersection: Intersection, network: Network) -> RingBarrier | None:
    """The rings that the program in place already follows; None where it doesn't, see `why_not_rings`.

    Every stage must be a pair of phases that may be green together, one a ring, on one side of the barrier;
    the stages of each side follow each other, and no phase is served twice a cycle. The order of the phases
    is that of the program, so that leading and lagging left turns can be told apart. Never raises.
    """
    found = _recognised(intersection, network)
    return found if isinstance(found, RingBarrier) else None


def offer_rings(intersection: Intersection, network: Network) -> RingBarrier | None:
    """The rings that the geometry allows, whatever the program in place shows; None where it allows none.

    There must be three or four approaches in opposing pairs, and a left turn with lanes and links of its
    own against oncoming traffic. Left turns without them stay permitted with their through phase. Left turns
    lead. Never raises.
    """
    found = _offered(intersection, network)
    return found if isinstance(found, RingBarrier) else None


def why_not_rings(intersection: Intersection, network: Network) -> str:
    """Why `recognise_rings` finds no rings, in a sentence; empty where it finds some."""
    found = _recognised(intersection, network)
    return "" if isinstance(found, RingBarrier) else found


@dataclass(frozen=True, slots=True)
class _Approach:
    """One direction of travel into an intersection; `phase` is the through phase that it would have."""

    phase: int
    lefts: frozenset[int]
    throughs: frozenset[int]
    rights: frozenset[int]
    left_lanes: frozenset[tuple[str, int]]
    other_lanes: frozenset[tuple[str, int]]
    opposed: bool

    @property
    def main(self) -> frozenset[int]:
        """Links by which to tell whether the through phase is green."""
        if self.throughs:
            return self.throughs
        return self.lefts if self.lefts and not self.opposed else self.rights or self.lefts

    @property
    def left_phase(self) -> int:
        """Number of the left turn's phase, should it have one."""
        return LEFT_BESIDE[self.phase]


_Layout = Mapping[int, _Approach]


# ---------------------------------------------------------------------------------------------- geometry


def _lay_out(intersection: Intersection, network: Network) -> _Layout | str:
    """Approaches by through phase, or why there are none."""
    if len(intersection.junctions) > 1:
        return f"one controller over {len(intersection.junctions)} junctions; rings describe a single one"
    edges = sorted({m.approach for m in intersection.movements if m.links})
    groups = _directions({e: network.edges[e].heading_deg for e in edges if e in network.edges})
    if not 3 <= len(groups) <= 4:
        return f"{len(groups)} approach direction(s); a dual ring serves 3 or 4"
    headings = [network.edges[group[0]].heading_deg for group in groups]
    streets = _streets(headings)
    if isinstance(streets, str):
        return streets
    major = _major_street(intersection, network, [[groups[k] for k in street] for street in streets])
    # of the two directions, the one towards north or east is 2
    first = min(streets[major], key=lambda k: ((headings[k] + 45.0) % 360.0 >= 180.0, k))

    def clockwise_deg(k: int) -> float:
        return (headings[k] - headings[first]) % 360.0

    numbers = {2: first}
    for opposite in set(streets[major]) - {first}:
        numbers[6] = opposite
    cross = sorted(streets[1 - major], key=clockwise_deg)
    if len(cross) == 2:
        numbers |= {4: cross[0], 8: cross[1]}
    else:
        numbers[4 if clockwise_deg(cross[0]) < 180.0 else 8] = cross[0]
    return _with_links(intersection, {phase: groups[k] for phase, k in sorted(numbers.items())})


def _directions(heading_deg: Mapping[str, float]) -> list[list[str]]:
    """Edges grouped by direction of travel, in the order of the compass."""
    groups: list[list[str]] = []
    for edge in sorted(heading_deg, key=lambda e: (heading_deg[e], e)):
        if groups and _angle(heading_deg[groups[-1][0]], heading_deg[edge]) < SAME_DIRECTION_DEG:
            groups[-1].append(edge)
        else:
            groups.append([edge])
    if len(groups) > 1 and _angle(heading_deg[groups[0][0]], heading_deg[groups[-1][0]]) < SAME_DIRECTION_DEG:
        groups[0] = groups.pop() + groups[0]
    return groups


def _angle(a_deg: float, b_deg: float) -> float:
    turn = abs(a_deg - b_deg) % 360.0
    return min(turn, 360.0 - turn)


def _streets(headings: Sequence[float]) -> tuple[tuple[int, ...], tuple[int, ...]] | str:
    """Positions of the directions of either street; a stem is a street of its own."""
    if len(headings) == 4:
        streets: tuple[tuple[int, ...], tuple[int, ...]] = ((0, 2), (1, 3))
    else:
        a, b = max(combinations(range(3), 2), key=lambda pair: _angle(headings[pair[0]], headings[pair[1]]))
        streets = ((a, b), (3 - a - b,))
    shown = ", ".join(f"{h:.0f}°" for h in headings)
    for street in streets:
        if len(street) == 2 and _angle(headings[street[0]], headings[street[1]]) < 180.0 - OPPOSING_DEG:
            return f"approaches head {shown}: they don't oppose each other in pairs"
    for k, m in product(*streets):
        if abs(_angle(headings[k], headings[m]) - 90.0) > OPPOSING_DEG:
            return f"approaches head {shown}: the streets don't cross squarely"
    return streets


def _major_street(
    intersection: Intersection, network: Network, streets: Sequence[Sequence[Sequence[str]]]
) -> int:
    """The street of phases 2 and 6: no stem, more lanes, faster, more green, nearer to east and west."""

    def rank(street: Sequence[Sequence[str]]) -> tuple[float, ...]:
        edges = {e for group in street for e in group}
        approaches = [a for a in intersection.approaches if a.edge in edges]
        program = intersection.program
        green_s = 0.0
        if program is not None:
            links = [i for m in intersection.movements if m.approach in edges for i in m.links]
            green_s = sum(
                interval.duration_s
                for interval in program.intervals
                for i in links
                if i < len(interval.state) and interval.state[i] in GREEN
            )
        return (
            len(street),
            sum(a.lanes for a in approaches),
            max((a.speed_mps for a in approaches), default=0.0),
            green_s,
            round(sum(abs(math.sin(math.radians(network.edges[e].heading_deg))) for e in edges), 1),
        )

    return 0 if rank(streets[0]) >= rank(streets[1]) else 1


def _with_links(intersection: Intersection, edges: Mapping[int, Sequence[str]]) -> _Layout:
    links: dict[int, dict[Turn, set[int]]] = {}
    lanes: dict[int, tuple[set[tuple[str, int]], set[tuple[str, int]]]] = {}
    for phase, group in edges.items():
        by_turn: dict[Turn, set[int]] = {turn: set() for turn in Turn}
        left_lanes: set[tuple[str, int]] = set()
        other_lanes: set[tuple[str, int]] = set()
        moves = [m for m in intersection.movements if m.approach in group]
        turns_left = any(m.turn is Turn.LEFT for m in moves)
        for m in moves:
            by_turn[m.turn].update(m.links)
            # vehicles that turn round use the left turn's lane, where there is one
            aside = m.turn is Turn.LEFT or (m.turn is Turn.U_TURN and turns_left)
            (left_lanes if aside else other_lanes).update((m.approach, lane) for lane in m.lanes)
        links[phase], lanes[phase] = by_turn, (left_lanes, other_lanes)
    layout = {}
    for phase, by_turn in links.items():
        # a link that lets several turns go is no left turn's own
        throughs = by_turn[Turn.THROUGH]
        lefts = (by_turn[Turn.LEFT] or by_turn[Turn.U_TURN]) - throughs - by_turn[Turn.RIGHT]
        oncoming = links.get(OPPOSING[phase], {turn: set() for turn in Turn})
        against = oncoming[Turn.THROUGH] | oncoming[Turn.RIGHT]
        layout[phase] = _Approach(
            phase,
            frozenset(lefts),
            frozenset(throughs),
            frozenset(by_turn[Turn.RIGHT] - throughs - lefts),
            frozenset(lanes[phase][0]),
            frozenset(lanes[phase][1]),
            any(intersection.conflicts.conflict(i, j) for i in lefts for j in against),
        )
    return layout


# ------------------------------------------------------------------------------------------- recognising


def _recognised(intersection: Intersection, network: Network) -> RingBarrier | str:
    program = intersection.program
    if program is not None and program.kind == "NEMA":
        return _nema_program(intersection)
    layout = _lay_out(intersection, network)
    if isinstance(layout, str):
        return layout
    try:
        plan = stage_plan(intersection, PlanRequest(ignore_durations=True))
    except InfeasiblePlan as error:
        return str(error).removeprefix(f"signal {intersection.id}: ")
    states = [stage.state for stage in plan.stages]
    own = {
        a.left_phase
        for a in layout.values()
        if a.opposed and any(_left_goes_alone(layout, a, state) for state in states)
    }
    served: list[frozenset[int]] = []
    for number, state in enumerate(states, start=1):
        phases = _served(intersection, layout, own, state)
        wrong = phases if isinstance(phases, str) else _mismatch(layout, own, phases)
        if wrong:
            return f"stage {number} of {len(states)} ({state}) {wrong}"
        assert not isinstance(phases, str)
        if not served or served[-1] != phases:
            served.append(phases)
    if len(served) > 1 and served[0] == served[-1]:
        served.pop()
    return _sequence(_ring_phases(layout, own), served)


def _is_on(links: Iterable[int], state: str) -> bool:
    return any(state[i] in GREEN for i in links)


def _left_goes_alone(layout: _Layout, approach: _Approach, state: str) -> bool:
    """Whether a left turn is green while the oncoming street isn't."""
    oncoming = layout.get(OPPOSING[approach.phase])
    return _is_on(approach.lefts, state) and not (oncoming and _is_on(oncoming.main, state))


def _served(intersection: Intersection, layout: _Layout, own: set[int], state: str) -> frozenset[int] | str:
    """Phases that a stage serves; `own` are the left turns that have a phase."""
    phases: set[int] = set()
    for approach in layout.values():
        on = {i for i in approach.main if state[i] in GREEN}
        if on and on != approach.main:
            return f"lets only {len(on)} of the {len(approach.main)} links of phase {approach.phase} go"
        if on:
            phases.add(approach.phase)
        if approach.left_phase in own and _left_goes_alone(layout, approach, state):
            phases.add(approach.left_phase)
        elif approach.opposed and approach.phase not in phases and _is_on(approach.lefts, state):
            return f"shows a permitted left turn of phase {approach.phase} without that phase"
        clash = _clash(intersection, layout, approach, state)
        if clash:
            return clash
    return frozenset(phases)


def _clash(intersection: Intersection, layout: _Layout, approach: _Approach, state: str) -> str:
    """What is wrong with a left turn that meets oncoming traffic it doesn't give way to."""
    oncoming = layout.get(OPPOSING[approach.phase])
    if oncoming is None:
        return ""
    conflicts = intersection.conflicts
    for i, j in product(sorted(approach.lefts), sorted(oncoming.throughs)):
        if state[i] == state[j] == "G" and conflicts.conflict(i, j):
            if not (conflicts.may_yield(i, j) or conflicts.may_yield(j, i)):
                return f"gives protected green to the left turn of link {i} against link {j}"
    return ""


def _mismatch(layout: _Layout, own: set[int], phases: frozenset[int]) -> str:
    """Why phases are no pair that may be green together; empty where they are."""
    if not phases:
        return "serves no phase of the rings (pedestrians alone, or right turns)"
    text = " and ".join(map(str, sorted(phases)))
    sides = [barrier for barrier in BARRIERS if phases & barrier]
    if len(sides) > 1:
        return f"serves phases {text}, which a barrier keeps apart"
    known = {a.phase for a in layout.values()} | own
    for number, ring in enumerate(RINGS, start=1):
        green = phases & set(ring)
        if len(green) > 1:
            return f"serves phases {text}: two of ring {number}"
        if not green and known & sides[0] & set(ring):
            return f"serves phase {text} alone: ring {number} rests though it has phases on this side"
    return ""


def _ring_phases(layout: _Layout, own: set[int]) -> dict[int, RingPhase]:
    """Links by phase: left turns with a phase of their own, everything else with the through phase."""
    phases = {}
    for approach in layout.values():
        alone = approach.left_phase in own
        links = approach.throughs | approach.rights | (frozenset() if alone else approach.lefts)
        phases[approach.phase] = RingPhase(approach.phase, tuple(sorted(links)))
        if alone:
            phases[approach.left_phase] = RingPhase(approach.left_phase, tuple(sorted(approach.lefts)))
    return phases


def _sequence(phases: Mapping[int, RingPhase], served: Sequence[frozenset[int]]) -> RingBarrier | str:
    """Rings in the order of the stages, or why that is none that rings could have."""
    sides = [next(b for b, barrier in enumerate(BARRIERS) if stage & barrier) for stage in served]
    starts = [k for k in range(len(sides)) if sides[k] == 0 and sides[k - 1] == 1]
    if len(starts) != 1:
        return (
            "all stages serve one street"
            if len(set(sides)) == 1
            else f"each street is served {len(starts)} times a cycle; rings pass each barrier once"
        )
    order = [*range(starts[0], len(served)), *range(starts[0])]
    rings = []
    for ring in RINGS:
        halves = []
        for barrier in BARRIERS:
            numbers: list[int] = []
            for k in order:
                for n in sorted(served[k] & barrier & set(ring)):
                    if not numbers or numbers[-1] != n:
                        numbers.append(n)
            if len(set(numbers)) < len(numbers):
                twice = next(n for n in numbers if numbers.count(n) > 1)
                return f"phase {twice} is served twice a cycle"
            halves.append(tuple(phases[n] for n in numbers))
        rings.append(tuple(halves))
    return RingBarrier(tuple(rings))


def _nema_program(intersection: Intersection) -> RingBarrier | str:
    """The rings of a program of SUMO's type NEMA: its lines are the phases, named by their numbers."""
    phases: dict[int, RingPhase] = {}
    assert intersection.program is not None
    for interval in intersection.program.intervals:
        links = tuple(i for i, c in enumerate(interval.state) if c in GREEN)
        if not (interval.name.isdecimal() and 1 <= int(interval.name) <= 8):
            return f"a NEMA program with a phase named {interval.name!r}; expected 1 to 8"
        phases.setdefault(int(interval.name), RingPhase(int(interval.name), links))
    return _standard(phases)


def _standard(phases: Mapping[int, RingPhase]) -> RingBarrier:
    """Phases in the standard order: left turns lead."""
    return RingBarrier(
        tuple(
            tuple(tuple(phases[n] for n in ring if n in barrier and n in phases) for barrier in BARRIERS)
            for ring in RINGS
        )
    )


# ---------------------------------------------------------------------------------------------- offering


def _offered(intersection: Intersection, network: Network) -> RingBarrier | str:
    layout = _lay_out(intersection, network)
    if isinstance(layout, str):
        return layout
    conflicts = intersection.conflicts
    own: set[int] = set()
    for approach in layout.values():
        if not approach.opposed:
            continue
        if not approach.left_lanes & approach.other_lanes:
            own.add(approach.left_phase)
            continue
        oncoming = layout[OPPOSING[approach.phase]]
        for i, j in product(sorted(approach.lefts), sorted(oncoming.throughs)):
            if conflicts.conflict(i, j) and not conflicts.may_yield(i, j):
                return f"the left turn of link {i} shares its lane and doesn't give way to link {j}"
    if not own:
        return "no left turn against oncoming traffic has lanes and links of its own"
    phases = _ring_phases(layout, own)
    for a, b in product(RINGS[0], RINGS[1]):
        if not (a in phases and b in phases and any({a, b} <= barrier for barrier in BARRIERS)):
            continue
        for i, j in product(phases[a].links, phases[b].links):
            if conflicts.conflict(i, j) and not (conflicts.may_yield(i, j) or conflicts.may_yield(j, i)):
                return f"phases {a} and {b} would meet: links {i} and {j} conflict and neither gives way"
    return _standard(phases)
