"""What a signal shows over its cycle, row by row: signal groups with their names, and runs of one colour.

Nothing here draws; a figure is right where these figures are right.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from signals.errors import InfeasiblePlan, InputError
from signals.model.network import Approach, Intersection, Movement, Network, Turn
from signals.model.phasing import CHANGE, GREEN, SignalProgram
from signals.model.plan import PlanRequest
from signals.timing.stages import stage_plan

TURN_ORDER = (Turn.U_TURN, Turn.LEFT, Turn.THROUGH, Turn.RIGHT)
_COMPASS = ("N", "NE", "E", "SE", "S", "SW", "W", "NW")
_CLOCKWISE = {bound: k for k, bound in enumerate(f"{point}B" for point in _COMPASS)}
_MODES = (
    ("bike", frozenset({"bicycle"})),
    ("bus", frozenset({"bus", "coach"})),
    ("tram", frozenset({"tram", "rail_urban", "rail", "rail_electric", "rail_fast", "cable_car", "subway"})),
    ("bus", frozenset({"bus", "coach", "taxi", "emergency", "authority", "bicycle", "tram", "army", "vip"})),
)


@dataclass(frozen=True, slots=True)
class SignalGroup:
    """Links whose lamps always show the same, named by the movements that they let go."""

    label: str
    links: tuple[int, ...]
    pedestrians_only: bool


@dataclass(frozen=True, slots=True)
class Run:
    """One letter shown without a break, from `start_s` in [0, cycle) on, perhaps past the cycle's end."""

    start_s: float
    duration_s: float
    letter: str


@dataclass(frozen=True, slots=True)
class StageTime:
    """A stage within the cycle, from `start_s` in [0, cycle) on, perhaps past the cycle's end."""

    start_s: float
    duration_s: float
    state: str


def check_program(intersection: Intersection, program: SignalProgram) -> None:
    """Nothing, where the program can be drawn for this signal.

    Raises
    ------
    InputError
        Where it has no time to show anything, or fewer links than the signal.
    """
    if not program.intervals or not program.cycle_s > 0:
        raise InputError(
            f"signal {intersection.id}: program {program.program or '(no id)'} has no interval that lasts; "
            "give it durations above 0 s"
        )
    if program.n_links < intersection.n_links:
        raise InputError(
            f"signal {intersection.id}: program {program.program or '(no id)'} has states of "
            f"{program.n_links} links, the network needs {intersection.n_links}; is it a plan for another network?"
        )


def signal_groups(
    intersection: Intersection, network: Network, programs: Sequence[SignalProgram]
) -> tuple[SignalGroup, ...]:
    """The rows of a phase diagram: links that show the same at all times, in every one of the programs.

    Rows are the same for all programs, so that charts can be compared line by line. Vehicles come first,
    by approach clockwise from northbound and from left turns to right turns, then pedestrians. A link that
    controls nothing belongs to no row.
    """
    crossings = {c.link for c in intersection.crossings}
    used = [i for i, paths in enumerate(intersection.connections) if paths or i in crossings]
    by_signature: dict[tuple[tuple[Run, ...], ...], list[int]] = defaultdict(list)
    for link in used:
        by_signature[tuple(signal_runs(program, link) for program in programs)].append(link)
    members = [tuple(links) for links in by_signature.values()]
    names = _Names(intersection, network, members)
    groups = [
        SignalGroup(names.label(links), links, all(not intersection.connections[i] for i in links))
        for links in members
    ]
    return tuple(sorted(groups, key=lambda g: (g.pedestrians_only, names.rank(g.links), g.links)))


def idle_links(intersection: Intersection) -> tuple[int, ...]:
    """Link indices that control neither vehicles nor pedestrians."""
    crossings = {c.link for c in intersection.crossings}
    return tuple(i for i, paths in enumerate(intersection.connections) if not paths and i not in crossings)


def signal_runs(program: SignalProgram, link: int) -> tuple[Run, ...]:
    """What a link shows over one cycle, in order of start; durations add up to the cycle.

    Neighbours of one letter are joined, around the cycle's end too: the last run may start before the end
    and go on into the next cycle, and then the first one starts after 0 s.
    """
    runs: list[Run] = []
    clock = 0.0
    for interval in program.intervals:
        if interval.duration_s <= 0:
            continue
        letter = interval.state[link]
        if runs and runs[-1].letter == letter:
            runs[-1] = replace(runs[-1], duration_s=runs[-1].duration_s + interval.duration_s)
        else:
            runs.append(Run(clock, interval.duration_s, letter))
        clock += interval.duration_s
    if len(runs) > 1 and runs[0].letter == runs[-1].letter:
        first = runs.pop(0)
        runs[-1] = replace(runs[-1], duration_s=runs[-1].duration_s + first.duration_s)
    return tuple(runs)


def composite_letter(state: str, links: Iterable[int]) -> str:
    """The most permissive letter that a movement of several links shows: G before g, yellow, red."""
    letters = [state[i] for i in links]
    for letter in "GgyYusroO":
        if letter in letters:
            return letter
    return "r"


def movement_runs(program: SignalProgram, links: Iterable[int]) -> tuple[Run, ...]:
    """What a movement of several links is shown over one cycle, the most permissive letter at each instant.

    Runs are as in `signal_runs`: in order of start, adding up to the cycle, the last one perhaps going on
    past its end.
    """
    chosen = tuple(links)
    lamp = replace(
        program,
        intervals=tuple(replace(i, state=composite_letter(i.state, chosen)) for i in program.intervals),
    )
    return signal_runs(lamp, 0)


def green_runs(program: SignalProgram, links: Iterable[int]) -> tuple[Run, ...]:
    """When any of the links is green, protected or permitted alike: runs of letter ``G``, in order of start.

    A run may go on past the cycle's end, as in `signal_runs`; a green of a whole cycle starts at 0 s.
    """
    chosen = tuple(links)
    lamp = replace(
        program,
        intervals=tuple(
            replace(i, state="G" if any(i.state[k] in GREEN for k in chosen) else "r")
            for i in program.intervals
        ),
    )
    return tuple(run for run in signal_runs(lamp, 0) if run.letter == "G")


def pieces(start_s: float, duration_s: float, cycle_s: float) -> tuple[tuple[float, float], ...]:
    """Begin and end of a run within [0, cycle]; two pieces where it goes on past the cycle's end."""
    end_s = start_s + duration_s
    if end_s <= cycle_s + 1e-9:
        return ((start_s, min(end_s, cycle_s)),)
    return ((start_s, cycle_s), (0.0, end_s - cycle_s))


def stage_times(intersection: Intersection, program: SignalProgram) -> tuple[StageTime, ...]:
    """The stages of a program, numbered as everywhere else in Greensplit, with their place in the cycle.

    A program in which nothing can be timed (one settled green, or none) has its settled intervals as stages.
    """
    try:
        plan = stage_plan(
            replace(intersection, program=program), PlanRequest(ignore_durations=True, max_cycle_s=math.inf)
        )
    except InfeasiblePlan:
        return _settled(program)
    clock = plan.offset_s - program.offset_s
    times = []
    for stage, change in zip(plan.stages, plan.changes, strict=True):
        start_s = round(clock % program.cycle_s, 6) % program.cycle_s
        times.append(StageTime(start_s, stage.duration_s, stage.state))
        clock += stage.duration_s + sum(i.duration_s for i in change)
    return tuple(times)


def _settled(program: SignalProgram) -> tuple[StageTime, ...]:
    clock = 0.0
    times: list[StageTime] = []
    for interval in program.intervals:
        green = any(c in GREEN for c in interval.state) and not any(c in CHANGE for c in interval.state)
        if green and interval.duration_s > 0:
            if times and times[-1].state == interval.state:
                times[-1] = replace(times[-1], duration_s=times[-1].duration_s + interval.duration_s)
            else:
                times.append(StageTime(clock, interval.duration_s, interval.state))
        clock += interval.duration_s
    return tuple(times)


def approach_names(intersection: Intersection) -> dict[str, str]:
    """Name of each approach, by edge: its bound, numbered where several approaches share it (NB1, NB2)."""
    by_bound: dict[str, list[Approach]] = defaultdict(list)
    for approach in intersection.approaches:
        by_bound[approach.bound].append(approach)
    return {
        approach.edge: bound if len(same) == 1 else f"{bound}{k + 1}"
        for bound, same in by_bound.items()
        for k, approach in enumerate(sorted(same, key=lambda a: a.edge))
    }


def leg_name(network: Network, edges: Iterable[str], junctions: Iterable[str]) -> str:
    """Side of the intersection on which a leg lies (N, NE, …), by its edges; empty if unknown."""
    inside = frozenset(junctions)
    for edge_id in sorted(edges):
        edge = network.edges.get(edge_id)
        if edge is not None and edge.to_junction in inside:
            return _COMPASS[round(edge.heading_deg / 45 + 4) % 8]
    for edge_id in sorted(edges):
        edge = network.edges.get(edge_id)
        if edge is not None:
            (x0, y0), (x1, y1) = edge.start_xy, edge.end_xy
            return _COMPASS[round(math.degrees(math.atan2(x1 - x0, y1 - y0)) / 45) % 8]
    return ""


class _Names:
    """Names of signal groups: movements by approach, and lanes where a movement has several groups."""

    def __init__(
        self, intersection: Intersection, network: Network, groups: Sequence[tuple[int, ...]]
    ) -> None:
        self.intersection = intersection
        self.network = network
        self.approaches = approach_names(intersection)
        bounds = {a.edge: _CLOCKWISE.get(a.bound, 8) for a in intersection.approaches}
        self.order = sorted(self.approaches, key=lambda e: (bounds[e], self.approaches[e]))
        self.turns = self._turn_names()
        group_of = {link: k for k, links in enumerate(groups) for link in links}
        # a movement whose lanes go at different times needs the lane in its name
        self.split = frozenset(
            m.id for m in intersection.movements if len({group_of[i] for i in m.links if i in group_of}) > 1
        )

    def _turn_names(self) -> dict[str, str]:
        """Letter of each movement; a second left of one approach is L2, the one that turns more sharply."""
        names = {}
        by_turn: dict[tuple[str, Turn], list[Movement]] = defaultdict(list)
        for movement in self.intersection.movements:
            by_turn[movement.approach, movement.turn].append(movement)
        for (approach, turn), same in by_turn.items():
            same = sorted(same, key=lambda m: (self._deflection_deg(approach, m.to_edge), m.to_edge))
            for k, movement in enumerate(same):
                names[movement.id] = turn.value if k == 0 else f"{turn.value}{k + 1}"
        return names

    def _deflection_deg(self, approach: str, to_edge: str) -> float:
        edges = self.network.edges
        if approach not in edges or to_edge not in edges:
            return 0.0
        (x0, y0), (x1, y1) = edges[to_edge].start_xy, edges[to_edge].end_xy
        onward = math.degrees(math.atan2(x1 - x0, y1 - y0))
        return round(abs((onward - edges[approach].heading_deg + 180) % 360 - 180), 3)

    def _movements(self, links: Sequence[int]) -> dict[str, list[Movement]]:
        chosen = set(links)
        found: dict[str, list[Movement]] = defaultdict(list)
        for movement in self.intersection.movements:
            if chosen & set(movement.links):
                found[movement.approach].append(movement)
        for same in found.values():
            same.sort(key=lambda m: (TURN_ORDER.index(m.turn), self.turns[m.id]))
        return found

    def rank(self, links: Sequence[int]) -> tuple[int, int, str]:
        """Place of a group among the rows."""
        found = self._movements(links)
        for k, approach in enumerate(self.order):
            if approach in found:
                return k, min(TURN_ORDER.index(m.turn) for m in found[approach]), ""
        return len(self.order), 0, self._legs(links)

    def label(self, links: Sequence[int]) -> str:
        """Such as ``NB L/T``, ``NB+SB T/R``, ``EB T lane 1`` or ``Ped N``."""
        found = self._movements(links)
        by_turns: dict[str, list[str]] = {}
        for approach in self.order:
            if approach in found:
                turns = self._turns_text(found[approach], set(links))
                by_turns.setdefault(turns, []).append(self.approaches[approach])
        parts = [f"{'+'.join(bounds)} {turns}" for turns, bounds in by_turns.items()]
        if any(c.link in links for c in self.intersection.crossings):
            parts.append(f"Ped {self._legs(links)}".strip())
        return ", ".join(parts)

    def _turns_text(self, movements: Sequence[Movement], links: set[int]) -> str:
        paths = [
            self.network.connections[p]
            for m in movements
            for i in m.links
            if i in links
            for p in self.intersection.connections[i]
            if self.network.connections[p].from_edge == m.approach
            and self.network.connections[p].to_edge == m.to_edge
        ]
        text = "/".join(self.turns[m.id] for m in movements)
        if any(m.id in self.split for m in movements):
            lanes = sorted({c.from_lane for c in paths})
            text += (" lane " if len(lanes) == 1 else " lanes ") + ",".join(map(str, lanes))
        classes = {
            self.network.edges[c.from_edge].lanes[c.from_lane].allowed - {"pedestrian"}
            for c in paths
            if c.from_edge in self.network.edges and c.from_lane < len(self.network.edges[c.from_edge].lanes)
        }
        for name, mode in _MODES:
            if classes and all(allowed and allowed <= mode for allowed in classes):
                return f"{text} {name}"
        return text

    def _legs(self, links: Sequence[int]) -> str:
        legs = {
            leg_name(self.network, c.crossed_edges, self.intersection.junctions)
            for c in self.intersection.crossings
            if c.link in links
        }
        return "+".join(sorted(legs, key=lambda leg: _COMPASS.index(leg) if leg in _COMPASS else 8))
