"""The safety check: what every plan must pass before it leaves the program.

It reads the raw intervals of a plan's program and compares them with the program in place, which is the
yardstick: a plan may be no worse than the field, and where the field itself falls short of a rule, it is
accepted as it stands and `field_remarks` says so. It shares no code with the optimiser.

Rules, each a member of `Rule`:

* program: whole states of known letters, durations above zero: stages in whole seconds, changes in tenths,
  save for intervals carried over from the field; the offset within the cycle;
* conflict: at no instant have two conflicting links right of way unless one gives way; yellow counts;
* yellow: as long as the field's shortest of the link, and as ITE's where asked for;
* intergreen: from the end of a green to the start of a conflicting one;
* min green, stated duration, pedestrian, cycle, served, protection (a link's protected green may only be
  dropped where the request allows it and the plan says so);
* switch: when periods change, the signal passes from one program to the next at one second, in the state
  that the new one shows then by its own offset (SUMO does just that for a WAUT without procedure). The
  seconds around are checked like any other: greens, yellows, intergreens and walks that span the switch;
* coverage: every signal has a plan in every period or a stated reason.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise

from signals.errors import UnsafePlan
from signals.model.network import Connection, Crossing, Intersection, Network
from signals.model.phasing import IntergreenTable, SignalProgram
from signals.model.plan import ClearancePolicy, PlanRequest, PlanSet, StagePolicy, TimingPlan
from signals.safety.field import (
    Block,
    FieldRecord,
    Walk,
    across_s,
    blocks,
    collide,
    inherited_conflicts,
    observe,
    walks_of,
)
from signals.safety.ite import ite_red_clearance_s, ite_yellow_s
from signals.safety.timeline import (
    GO,
    LETTERS,
    PROTECTED,
    STAGE_S,
    TOLERANCE_S,
    YELLOW,
    Change,
    Green,
    Observation,
    Timeline,
    lay_out,
    right_of_way,
    unroll,
    unroll_between,
)


class Rule(StrEnum):
    """What a finding is about."""

    PROGRAM = "program"
    CONFLICT = "conflict"
    YELLOW = "yellow"
    INTERGREEN = "intergreen"
    MIN_GREEN = "min green"
    STATED_DURATION = "stated duration"
    PEDESTRIAN = "pedestrian"
    CYCLE = "cycle"
    SERVED = "served"
    PROTECTION = "protection"
    SWITCH = "switch"
    COVERAGE = "coverage"


@dataclass(frozen=True, slots=True)
class Finding:
    """One rule that a plan breaks, and where.

    `measured` and `required` are seconds, None where the rule has no figure.
    """

    intersection: str
    rule: Rule
    where: str
    measured: float | None
    required: float | None
    message: str


def check_plan(
    intersection: Intersection,
    plan: TimingPlan,
    request: PlanRequest,
    *,
    connections: Sequence[Connection] | None = None,
) -> tuple[Finding, ...]:
    """Everything unsafe about one plan of one signal; empty where it is safe.

    `connections` are those of the network: the ITE policy, and a signal whose field program can't be read,
    take path lengths from them.

    Raises
    ------
    ValueError
        Where path lengths are needed and `connections` isn't given.
    """
    return tuple(_PlanCheck(intersection, request, connections).plan(plan))


def check_plan_set(network: Network, plan_set: PlanSet, request: PlanRequest) -> tuple[Finding, ...]:
    """Everything unsafe about a network's plans: each plan, the switches between them, signals left out."""
    found: list[Finding] = []
    for signal in sorted({s for period in plan_set.periods for s in period} | set(plan_set.unplanned)):
        if signal not in network.intersections:
            found.append(
                _coverage(
                    signal, f"the network has no such signal; it has {_some(sorted(network.intersections))}"
                )
            )
    for signal, intersection in sorted(network.intersections.items()):
        check = _PlanCheck(intersection, request, network.connections)
        found += check.coverage(plan_set)
        plans = [period[signal] for period in plan_set.periods if signal in period]
        own: list[Finding] = []
        checked: list[TimingPlan] = []
        for plan in plans:
            if plan not in checked:
                checked.append(plan)
                own += check.plan(plan)
        found += own
        if not own and len(plans) == len(plan_set.periods) > 1:
            found += check.switches(plans, plan_set.switch_times.get(signal))
    return tuple(found)


def require_safe(network: Network, plan_set: PlanSet, request: PlanRequest) -> None:
    """Let a plan set pass if it is safe.

    Raises
    ------
    UnsafePlan
        Where it isn't, with every finding.
    """
    findings = check_plan_set(network, plan_set, request)
    if findings:
        raise UnsafePlan([f.message for f in findings])


def check_timeline(
    intersection: Intersection,
    pieces: Sequence[tuple[float, str]],
    start_s: float,
    window: tuple[float, float],
    request: PlanRequest,
    *,
    connections: Sequence[Connection] | None = None,
) -> tuple[Finding, ...]:
    """Everything unsafe about what one signal shows over a stretch of time, whatever brought it to show it.

    Programs, holds, transitions or a recording: (duration, state) in a row from second `start_s` on. Greens and
    changes that end or start within `window` are judged; give at least a cycle more on both sides, so that each is
    seen whole.

    Raises
    ------
    ValueError
        Where path lengths are needed and `connections` isn't given (see `check_plan`).
    """
    return tuple(_PlanCheck(intersection, request, connections).shown(pieces, start_s, window))


def required_intergreens(
    intersection: Intersection, request: PlanRequest, *, connections: Sequence[Connection] | None = None
) -> IntergreenTable:
    """What the check asks of each direct change between two conflicting links, for whoever builds one.

    Raises
    ------
    ValueError
        Where path lengths are needed and `connections` isn't given (see `check_plan`).
    """
    check = _PlanCheck(intersection, request, connections)
    pairs = [*intersection.conflicts.conflicts, *((j, i) for i, j in intersection.conflicts.conflicts)]
    return IntergreenTable(
        {(i, j): check.intergreen_s(Change(i, j, 0, 0, 0, True))[0] for i, j in sorted(pairs)}
    )


def field_remarks(intersection: Intersection, request: PlanRequest) -> tuple[str, ...]:
    """Where the field's own program falls short of a rule, so that plans are held to the field instead.

    One sentence each, for the report: nothing of it is the plan's doing.
    """
    if intersection.program is None:
        return ()
    field = FieldRecord(intersection)
    if field.program is None:
        return (
            f"signal {intersection.id}: the field's program can't be read; plans are held to ITE clearances",
        )
    remarks = []
    pairs = inherited_conflicts(intersection)
    if pairs:
        named = ", ".join(f"{i}+{j}" for i, j in pairs[:6]) + (
            f" and {len(pairs) - 6} more" if len(pairs) > 6 else ""
        )
        remarks.append(
            f"signal {intersection.id}: the field lets conflicting links go together, neither giving way "
            f"({named}); check the network's connections or its program"
        )
    bare = [
        i
        for i in intersection.vehicle_links
        if not math.isinf(field.shortest_green_s[i]) and field.yellow_s(i) < TOLERANCE_S
    ]
    if bare:
        remarks.append(
            f"signal {intersection.id}: the field ends green without yellow on links {_some(bare)}"
        )
    for crossing in intersection.crossings:
        across = across_s(crossing, request)
        need = request.walk_s + across
        for walk in field.walks(crossing.link)[:1] if field.serves(crossing.link) else ():
            given = walk.given_s(across)
            if given < need - TOLERANCE_S or walk.green_s < request.walk_s - TOLERANCE_S:
                remarks.append(
                    f"signal {intersection.id}: the field gives crossing {crossing.id} {_s(walk.green_s)} of "
                    f"green and {_s(given)} with the clearance after it; {_need_text(crossing, request)}"
                )
    unserved = [m.id for m in intersection.movements if not any(field.letters[i] & _SERVING for i in m.links)]
    if unserved:
        remarks.append(f"signal {intersection.id}: the field never gives green to {_some(unserved)}")
    return tuple(remarks)


_SERVING = GO | {"s"}
Clock = Callable[[float], float]
"""Tells the time that a message names: the second of the cycle, or of the simulation around a switch."""


class _PlanCheck:
    """The rules of one signal under one request."""

    def __init__(
        self, intersection: Intersection, request: PlanRequest, connections: Sequence[Connection] | None
    ) -> None:
        self.intersection = intersection
        self.request = request
        self.connections = connections
        self.field = FieldRecord(intersection)
        # without a readable program there is nothing to keep, and the formula takes its place
        self.ite = request.clearance == ClearancePolicy.ITE or self.field.program is None
        if self.ite and connections is None:
            raise ValueError(
                f"signal {intersection.id}: ITE red clearance needs path lengths: pass network.connections"
            )
        self.crossing_links = frozenset(c.link for c in intersection.crossings)

    # ------------------------------------------------------------------------------------------ one plan

    def plan(self, plan: TimingPlan) -> list[Finding]:
        """All rules that concern one plan by itself."""
        malformed = list(self._states(plan.program))
        if malformed:
            return malformed
        program = plan.program
        cycle_s = program.cycle_s
        # three turns in a row: whatever ends or starts in the middle one has its neighbours on both sides
        seen = observe(self.intersection, unroll(program, 3))
        window = (cycle_s, 2 * cycle_s)

        def in_cycle(time_s: float) -> float:
            return round(time_s % cycle_s, 3) % cycle_s

        return [
            *self._seconds(program),
            *self._cycle(program),
            *self._conflicts(seen.timeline, window, in_cycle),
            *self._moments(seen, window, in_cycle),
            *self._stated_durations(program),
            *self._served(program),
            *self._protection(plan),
        ]

    def _moments(self, seen: Observation, window: tuple[float, float], clock: Clock) -> Iterator[Finding]:
        """Rules that look at ends and starts of green within a window of time."""
        yield from self._yellows(seen, window, clock)
        yield from self._intergreens(seen, window, clock)
        yield from self._min_greens(seen, window, clock)
        yield from self._pedestrians(seen, window, clock)

    def _states(self, program: SignalProgram) -> Iterator[Finding]:
        rule, field = Rule.PROGRAM, self.field
        if program.intersection != self.intersection.id:
            yield self._finding(
                rule,
                "program",
                None,
                None,
                f"the plan is for signal {program.intersection}; plan this one anew",
            )
        if not program.intervals:
            yield self._finding(rule, "program", 0, 1, "the program has no intervals; give it at least one")
            return
        if program.n_links != field.n_links:
            text = (
                f"states have {program.n_links} letters, the signal has {field.n_links} links; "
                "the plan was made for another network"
            )
            yield self._finding(rule, "states", program.n_links, field.n_links, text)
            return
        for k, interval in enumerate(program.intervals):
            where = f"interval {k} ({interval.state})"
            unknown = sorted(set(interval.state) - LETTERS)
            if unknown:
                known = "".join(sorted(LETTERS))
                text = f"{where} shows {', '.join(map(repr, unknown))}; known letters are {known}"
                yield self._finding(rule, where, None, None, text)
            if not 0 < interval.duration_s < math.inf:
                text = f"{where} lasts {_s(interval.duration_s)}; needs a duration above zero"
                yield self._finding(rule, where, interval.duration_s, None, text)
        if field.program is None:
            return
        for link in range(field.n_links):
            shown = {i.state[link] for i in program.intervals} & set("soO")
            if "s" in shown and "s" not in field.letters[link]:
                text = f"{self._name(link)} may turn on red ('s'), which the field never allows; show 'r'"
                yield self._finding(rule, f"link {link}", None, None, text)
            if shown & set("oO") and not field.letters[link] & set("oO"):
                text = f"{self._name(link)} goes dark, which the field never does; show a colour"
                yield self._finding(rule, f"link {link}", None, None, text)

    def _seconds(self, program: SignalProgram) -> Iterator[Finding]:
        """Whole seconds, clearances in tenths, as controllers hold them; the field keeps its own."""
        field = self.field.program
        always = {i for i in range(program.n_links) if all(v.state[i] in GO for v in program.intervals)}
        carried = {(i.state, round(i.duration_s, 3)) for i in field.intervals} if field else set()
        for k, interval in enumerate(program.intervals):
            if (interval.state, round(interval.duration_s, 3)) in carried:
                continue
            # steady greens too short for a stage are part of a change, in which others clear
            tenths = interval.duration_s < STAGE_S or self._is_clearance(interval.state, always)
            step = 0.1 if tenths else 1.0
            if abs(interval.duration_s / step - round(interval.duration_s / step)) * step > TOLERANCE_S:
                what = "tenths" if tenths else "whole seconds"
                text = (
                    f"interval {k} ({interval.state}) lasts {_s(interval.duration_s)}; a controller holds "
                    f"{what}: round it"
                )
                yield self._finding(Rule.PROGRAM, f"interval {k}", interval.duration_s, None, text)
        offset_s, cycle_s = program.offset_s, program.cycle_s
        as_in_field = (
            field is not None
            and abs(offset_s - field.offset_s) < TOLERANCE_S
            and abs(cycle_s - field.cycle_s) < TOLERANCE_S
        )
        if as_in_field:
            return
        if not 0 <= offset_s < cycle_s:
            text = f"offset {_s(offset_s)} of a cycle of {_s(cycle_s)}; take it modulo the cycle"
            yield self._finding(Rule.PROGRAM, "offset", offset_s, None, text)
        elif abs(offset_s - round(offset_s, 1)) > TOLERANCE_S:
            text = f"offset {_s(offset_s)}; a controller holds tenths: round it"
            yield self._finding(Rule.PROGRAM, "offset", offset_s, None, text)

    def _is_clearance(self, state: str, always: Collection[int] = ()) -> bool:
        """Whether a state shows a vehicle's yellow, or no vehicle's green but those that never end."""
        vehicles = [c for i, c in enumerate(state) if i not in self.crossing_links and i not in always]
        return any(c in YELLOW for c in vehicles) or not any(c in GO for c in vehicles)

    def _cycle(self, program: SignalProgram) -> Iterator[Finding]:
        cycle_s, least, most = program.cycle_s, self.request.min_cycle_s, self.request.max_cycle_s
        if self.field.program is not None:
            least, most = min(least, self.field.program.cycle_s), max(most, self.field.program.cycle_s)
        if cycle_s < least - TOLERANCE_S:
            text = f"{_s(cycle_s)}, needs at least {_s(least)}; lengthen greens or lower the least cycle"
            yield self._finding(Rule.CYCLE, "cycle", cycle_s, least, text)
        if cycle_s > most + TOLERANCE_S:
            text = f"{_s(cycle_s)}, may be at most {_s(most)}; shorten greens or raise the longest cycle"
            yield self._finding(Rule.CYCLE, "cycle", cycle_s, most, text)

    def _conflicts(self, timeline: Timeline, window: tuple[float, float], clock: Clock) -> Iterator[Finding]:
        """Instants at which nobody of two conflicting links gives way."""
        steps = [(max(a, window[0]), min(b, window[1]), state) for a, b, state in timeline.steps()]
        n_links = len(timeline.states[0])
        rights = [right_of_way(timeline.states, link) for link in range(n_links)]
        for i, j in sorted(self.intersection.conflicts.conflicts):
            if j >= n_links:
                continue
            together_s, first = 0.0, None
            for k, (start, end, _) in enumerate(steps):
                a, b = rights[i][k], rights[j][k]
                if end - start < TOLERANCE_S or not collide(self.intersection, i, j, a, b):
                    continue
                if self.field.shows_together(i, j, a[0], b[0]):
                    continue
                together_s += end - start
                first = k if first is None else first
            if first is None:
                continue
            start, _, state = steps[first]
            text = (
                f"{self._name(i)} shows '{state[i]}' while conflicting {self._name(j)} shows '{state[j]}', "
                f"for {_s(together_s)} from second {clock(start):g} on; neither gives way, allowed 0 s: "
                "end one before the other starts"
            )
            yield self._finding(Rule.CONFLICT, f"links {i} and {j}", together_s, 0.0, text)

    def _yellows(self, seen: Observation, window: tuple[float, float], clock: Clock) -> Iterator[Finding]:
        for link in self.intersection.vehicle_links:
            for green in seen.greens[link]:
                if not _within(green.end_s, window) or math.isinf(green.yellow_s):
                    continue
                need, source = self._yellow_s(link, green)
                if green.yellow_s < need - TOLERANCE_S:
                    at = clock(green.end_s)
                    text = (
                        f"{self._name(link)} has {_s(green.yellow_s)} after its green ends at second {at:g}, "
                        f"needs {_s(need)} ({source}); lengthen the change"
                    )
                    yield self._finding(
                        Rule.YELLOW, f"link {link} at second {at:g}", green.yellow_s, need, text
                    )

    def _yellow_s(self, link: int, green: Green) -> tuple[float, str]:
        """Yellow that the end of a green needs, and why."""
        field_s = self.field.yellow_s(link, green.handover) if self.field.program is not None else 0.0
        # a yellow that turns to green again clears nobody's way
        ite_s = ite_yellow_s(self.intersection, link) if self.ite and not green.returns else 0.0
        return (ite_s, "ITE, by approach speed") if ite_s > field_s else (field_s, "as in the field")

    def _intergreens(self, seen: Observation, window: tuple[float, float], clock: Clock) -> Iterator[Finding]:
        short: dict[tuple[int, float, float, float, str], list[int]] = defaultdict(list)
        for change in seen.changes(*window):
            need, source = self.intergreen_s(change)
            if change.gap_s < need - TOLERANCE_S:
                at, gap = clock(change.end_s), round(change.gap_s, 3)
                short[change.ending, at, gap, need, source].append(change.starting)
        for (ending, at, gap, need, source), starting in sorted(short.items()):
            to = ", ".join(map(str, starting))
            text = (
                f"{_s(gap)} from the end of green of {self._name(ending)} at second {at:g} to the start of "
                f"{self._names(starting)}, needs {_s(need)} ({source}); lengthen the red before the new green"
            )
            yield self._finding(Rule.INTERGREEN, f"link {ending} to {to} at second {at:g}", gap, need, text)

    def intergreen_s(self, change: Change) -> tuple[float, str]:
        """Intergreen that a change needs, and why."""
        need, source = 0.0, ""
        if self.field.program is not None:
            need, source = self.field.intergreen_s(
                change.ending, change.starting, direct=change.direct, upgrade=change.upgrade
            )
        if change.ending in self.crossing_links:
            # walkers need no more than the way across, however long the field keeps them waiting
            across = max(
                across_s(c, self.request) for c in self.intersection.crossings if c.link == change.ending
            )
            return (need, source) if need <= across else (across, "the way across")
        if self.ite and change.direct and change.ending in self.intersection.vehicle_links:
            assert self.connections is not None
            yellow = ite_yellow_s(self.intersection, change.ending)
            red = ite_red_clearance_s(self.intersection, self.connections, change.ending)
            if yellow + red > need:
                return yellow + red, f"ITE: yellow {yellow:g} + red clearance {red:g}"
        return need, source

    def _min_greens(self, seen: Observation, window: tuple[float, float], clock: Clock) -> Iterator[Finding]:
        for link in self.intersection.vehicle_links:
            need = min(self.request.min_green_s, self.field.shortest_green_s[link])
            for green in seen.greens[link]:
                if _within(green.end_s, window) and green.duration_s < need - TOLERANCE_S:
                    at = clock(green.start_s)
                    text = (
                        f"{self._name(link)} is green for {_s(green.duration_s)} from second {at:g} on, "
                        f"needs {_s(need)}; lengthen the green or the cycle"
                    )
                    yield self._finding(
                        Rule.MIN_GREEN, f"link {link} at second {at:g}", green.duration_s, need, text
                    )

    def _pedestrians(self, seen: Observation, window: tuple[float, float], clock: Clock) -> Iterator[Finding]:
        for crossing in self.intersection.crossings:
            if crossing.link >= self.field.n_links:
                continue
            across = across_s(crossing, self.request)
            field = self.field.walks(crossing.link)
            for end_s, walk in walks_of(seen, crossing.link, *window):
                yield from self._walk(crossing, walk, across, field, clock(end_s))

    def _walk(
        self, crossing: Crossing, walk: Walk, across: float, field: Sequence[Walk], at: float
    ) -> Iterator[Finding]:
        where = f"crossing {crossing.id} at second {at:g}"
        least_green = min((self.request.walk_s, *(w.green_s for w in field)))
        if walk.green_s < least_green - TOLERANCE_S:
            text = (
                f"crossing {crossing.id} (link {crossing.link}) is green for {_s(walk.green_s)}, needs "
                f"{_s(least_green)} of walk; lengthen its green"
            )
            yield self._finding(Rule.PEDESTRIAN, where, walk.green_s, least_green, text)
            return
        least_given = min((self.request.walk_s + across, *(w.given_s(across) for w in field)))
        if walk.given_s(across) < least_given - TOLERANCE_S:
            given, clear = walk.given_s(across), min(walk.clear_s, across)
            # what the clearance after it doesn't cover has to be green
            need = least_given - clear
            owed = (
                ""
                if least_given >= self.request.walk_s + across - TOLERANCE_S
                else "the field gives no more; "
            )
            text = (
                f"crossing {crossing.id} (link {crossing.link}) has {_s(walk.green_s)} of green, {_s(clear)} "
                f"of clearance after it, {_s(given)} in all; needs {_s(least_given)} ({owed}"
                f"{_need_text(crossing, self.request)}): give it {_s(need)} of green"
            )
            yield self._finding(Rule.PEDESTRIAN, where, walk.green_s, need, text)

    def _stated_durations(self, program: SignalProgram) -> Iterator[Finding]:
        if self.request.ignore_durations:
            return
        stated: dict[str, list[Block]] = defaultdict(list)
        for block in self.field.blocks():
            stated[block.state].append(block)
        shown: dict[str, list[Block]] = defaultdict(list)
        for block in blocks(program):
            shown[block.state].append(block)
        for state, planned in shown.items():
            bounds = stated.get(state, [])
            if not any(b.stated for b in bounds):
                continue
            if self.ite and self._is_clearance(state):
                # the formula may ask for more clearance than the field's maximum
                bounds = [Block(b.state, b.duration_s, b.least_s, math.inf, b.stated) for b in bounds]
            yield from self._within_bounds(state, planned, bounds)

    def _within_bounds(
        self, state: str, planned: Sequence[Block], bounds: Sequence[Block]
    ) -> Iterator[Finding]:
        """Durations of one state against the field's bounds, occurrence by occurrence.

        Where both show the state equally often, occurrences are paired in cyclic order, in the way that
        breaks fewest bounds. Where they don't, each must keep the least bound and all together the sum.
        """
        if len(planned) == len(bounds):
            pairings = [
                [(p, bounds[(k + turn) % len(bounds)]) for k, p in enumerate(planned)]
                for turn in range(len(bounds))
            ]
            broken = min(
                (
                    [
                        (p.duration_s, b.least_s, b.most_s)
                        for p, b in pairing
                        if not b.least_s - TOLERANCE_S <= p.duration_s <= b.most_s + TOLERANCE_S
                    ]
                    for pairing in pairings
                ),
                key=len,
            )
        else:
            least, most = min(b.least_s for b in bounds), sum(b.most_s for b in bounds)
            broken = [(p.duration_s, least, most) for p in planned if p.duration_s < least - TOLERANCE_S]
            total = sum(p.duration_s for p in planned)
            if total > most + TOLERANCE_S:
                broken.append((total, least, most))
        for duration, least, most in broken:
            where = f"state {state}"
            if duration < least:
                text = f"{where} lasts {_s(duration)}, the field states at least {_s(least)}; lengthen it"
                bound = least
            else:
                text = f"{where} lasts {_s(duration)}, the field states at most {_s(most)}; shorten it"
                bound = most
            yield self._finding(
                Rule.STATED_DURATION, where, duration, bound, text + " or ask to ignore durations"
            )

    def _served(self, program: SignalProgram) -> Iterator[Finding]:
        green_s = [
            sum(i.duration_s for i in program.intervals if i.state[k] in GO) for k in range(program.n_links)
        ]
        field = self.field
        links = [*self.intersection.vehicle_links, *sorted(self.crossing_links)]
        for link in links:
            if link < program.n_links and field.serves(link) and green_s[link] <= TOLERANCE_S:
                text = f"{self._name(link)} gets no green, in the field it does; give it a stage"
                yield self._finding(Rule.SERVED, f"link {link}", 0.0, self.request.min_green_s, text)
        if field.program is None:
            served = [(f"movement {m.id}", m.links) for m in self.intersection.movements]
            served += [(f"crossing {c.id}", (c.link,)) for c in self.intersection.crossings]
            for name, its_links in served:
                if not any(green_s[i] > TOLERANCE_S for i in its_links):
                    text = f"{name} gets no green on any of its links; give it a stage"
                    yield self._finding(Rule.SERVED, name, 0.0, self.request.min_green_s, text)
        for link in self.intersection.vehicle_links:
            turns_on_red = field.program is not None and field.letters[link] & _SERVING == {"s"}
            if turns_on_red and not any(i.state[link] in _SERVING for i in program.intervals):
                text = f"{self._name(link)} never goes, in the field it may turn on red; show 's'"
                yield self._finding(Rule.SERVED, f"link {link}", 0.0, None, text)

    def _protection(self, plan: TimingPlan) -> Iterator[Finding]:
        told = self.request.stages == StagePolicy.DROP_PROTECTED and any(
            o.becomes_permitted for o in plan.omitted
        )
        for link in self.intersection.vehicle_links:
            shown = {i.state[link] for i in plan.program.intervals}
            if not self.field.protects(link) or shown & PROTECTED or not shown & GO or told:
                continue
            text = (
                f"{self._name(link)} loses its protected green; keep the stage, or allow dropping it and "
                "name the movement as permitted"
            )
            yield self._finding(Rule.PROTECTION, f"link {link}", None, None, text)

    # -------------------------------------------------------------------------------------- sets of plans

    def coverage(self, plan_set: PlanSet) -> Iterator[Finding]:
        """A plan in every period, or a reason."""
        signal = self.intersection.id
        missing = [k for k, period in enumerate(plan_set.periods) if signal not in period]
        reason = plan_set.unplanned.get(signal)
        if len(missing) == len(plan_set.periods):
            if reason is None or not reason.strip():
                yield _coverage(signal, "neither a plan nor a reason why not; plan it or state the reason")
        elif missing:
            yield _coverage(signal, f"no plan in period {_some(missing)}; give it one in each")
        elif reason is not None:
            yield _coverage(signal, f"both a plan and a reason for none ({reason}); drop one")

    def switches(self, plans: Sequence[TimingPlan], times: Sequence[float] | None) -> Iterator[Finding]:
        """The seconds around each switch between periods, on the simulation's clock.

        Everything that spans a switch is held to the rules that hold within a program. Enough for that is a
        switch at a second at which both programs show the same state, with the parts of that state before
        and after adding up to its min green. Programs whose first states differ need no other treatment.
        """
        programs = [p.program for p in plans]
        if times is None or len(times) != len(plans) - 1:
            if any(a != b for a, b in pairwise(programs)):
                given = len(times or ())
                text = f"{len(plans)} periods, {given} switch times; give one for each change of period"
                yield self._finding(Rule.SWITCH, "periods", given, len(plans) - 1, text)
            return
        rising = all(a < b for a, b in pairwise(times))
        if not rising or not all(math.isfinite(t) and abs(t - round(t)) < TOLERANCE_S for t in times):
            text = f"switch times {', '.join(f'{t:g}' for t in times)}; need rising whole seconds"
            yield self._finding(Rule.SWITCH, "periods", None, None, text)
            return
        for k, time in enumerate(times):
            if programs[k] == programs[k + 1]:
                continue
            # two turns on each side: a green that ends or starts near the switch is seen whole
            begin, end = time - 2 * programs[k].cycle_s, time + 2 * programs[k + 1].cycle_s
            timeline = _clock(programs, times, begin, end)
            seen = observe(self.intersection, timeline)
            window = (time - programs[k].cycle_s, time + programs[k + 1].cycle_s)

            def on_clock(time_s: float) -> float:
                return round(time_s, 3)

            around = [
                *self._conflicts(timeline, window, on_clock),
                *self._moments(seen, window, on_clock),
                *self._cut_short(timeline, (time, time)),
            ]
            for finding in around:
                yield Finding(
                    finding.intersection,
                    Rule.SWITCH,
                    f"{finding.where}, switch to period {k + 1} at {time:g} s",
                    finding.measured,
                    finding.required,
                    f"{finding.message} (around the switch from period {k} to {k + 1} at {time:g} s: "
                    "switch where both programs show the same greens)",
                )

    def shown(
        self, pieces: Sequence[tuple[float, str]], start_s: float, window: tuple[float, float]
    ) -> Iterator[Finding]:
        """The rules that hold at every moment, over any row of states."""
        for state in sorted({state for _, state in pieces}):
            if len(state) != self.field.n_links or set(state) - LETTERS:
                known = "".join(sorted(LETTERS))
                text = f"state {state}; needs {self.field.n_links} letters of {known}"
                yield self._finding(Rule.PROGRAM, f"state {state}", len(state), self.field.n_links, text)
                return
        timeline = lay_out(pieces, start_s)

        def on_clock(time_s: float) -> float:
            return round(time_s, 3)

        yield from self._conflicts(timeline, window, on_clock)
        yield from self._moments(observe(self.intersection, timeline), window, on_clock)
        yield from self._cut_short(timeline, window)

    def _cut_short(self, timeline: Timeline, window: tuple[float, float]) -> Iterator[Finding]:
        """States that are shown within a window, or touch it, and don't last as long as the field states."""
        if self.request.ignore_durations:
            return
        least: dict[str, float] = {}
        for block in self.field.blocks():
            if block.stated:
                least[block.state] = min(block.least_s, least.get(block.state, math.inf))
        for start, end, state in timeline.steps():
            if start <= window[1] + TOLERANCE_S and end >= window[0] - TOLERANCE_S:
                need = least.get(state, 0.0)
                if end - start < need - TOLERANCE_S:
                    text = f"state {state} lasts {_s(end - start)}, the field states at least {_s(need)}"
                    yield self._finding(Rule.STATED_DURATION, f"state {state}", end - start, need, text)

    # ------------------------------------------------------------------------------------------- wording

    def _finding(
        self, rule: Rule, where: str, measured: float | None, required: float | None, text: str
    ) -> Finding:
        return Finding(
            self.intersection.id,
            rule,
            where,
            None if measured is None else float(measured),
            None if required is None else float(required),
            f"signal {self.intersection.id}, {rule}: {text}",
        )

    def _name(self, link: int) -> str:
        """A link as an engineer knows it: its index, and whom it lets go."""
        for crossing in self.intersection.crossings:
            if crossing.link == link:
                return f"link {link} (crossing {crossing.id})"
        bounds = {a.edge: a.bound for a in self.intersection.approaches}
        served = [
            f"{bounds.get(m.approach, m.approach)} {m.turn}"
            for m in self.intersection.movements
            if link in m.links
        ]
        return f"link {link} ({', '.join(dict.fromkeys(served))})" if served else f"link {link}"

    def _names(self, links: Sequence[int]) -> str:
        named = [self._name(link) for link in links[:3]]
        return ", ".join(named) + (f" and {len(links) - 3} more" if len(links) > 3 else "")


def _clock(programs: Sequence[SignalProgram], times: Sequence[float], begin: float, end: float) -> Timeline:
    """What a signal shows between two times of the clock, each program in force in its period."""
    edges = (-math.inf, *times, math.inf)
    pieces: list[tuple[float, str]] = []
    for program, a, b in zip(programs, edges, edges[1:], strict=False):
        if max(a, begin) < min(b, end):
            pieces += unroll_between(program, max(a, begin), min(b, end))
    return lay_out(pieces, begin)


def _within(time_s: float, window: tuple[float, float]) -> bool:
    return window[0] - TOLERANCE_S <= time_s < window[1] - TOLERANCE_S


def _need_text(crossing: Crossing, request: PlanRequest) -> str:
    return (
        f"walk {request.walk_s:g} + {crossing.length_m:.1f} m at {request.walking_speed_mps:g} m/s = "
        f"{_s(request.walk_s + across_s(crossing, request))}"
    )


def _coverage(signal: str, text: str) -> Finding:
    return Finding(signal, Rule.COVERAGE, "plan set", None, None, f"signal {signal}, {Rule.COVERAGE}: {text}")


def _s(seconds: float) -> str:
    return f"{round(seconds, 1 if seconds * 10 % 1 < 1e-6 else 2):g} s"


def _some(items: Sequence[object], most: int = 8) -> str:
    return ", ".join(map(str, items[:most])) + (f" and {len(items) - most} more" if len(items) > most else "")
