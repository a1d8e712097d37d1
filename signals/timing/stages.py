"""A program seen as stages and changes, and back: what a plan may vary and what it must leave alone.

Everything that a field's program does between its greens (yellow, red clearance, early starts, late
releases, overlaps) is kept as it stands. Only intervals with settled greens become stages of free length.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from signals.errors import InfeasiblePlan
from signals.model.network import Connection, Intersection, Turn
from signals.model.phasing import CHANGE, GREEN, Interval, SignalProgram, Stage, StagePlan
from signals.model.plan import ClearancePolicy, OmittedStage, PlanRequest

SHORTEST_STAGE_S = 5.0
"""A shorter interval whose greens all continue from or into a neighbour is part of a change."""
LONGEST_CHANGE_S = 10.0
"""An interval in which nothing starts is a clearance up to this length, and a stage beyond."""

CAR_M = 5.0
"""Length of a car, SUMO's default."""


def stage_plan(
    intersection: Intersection, request: PlanRequest, connections: Sequence[Connection] = ()
) -> StagePlan:
    """Stages and changes of the program in place, with the bounds that a plan must keep.

    `connections` are the network's: ITE clearances need the lengths of paths.

    Raises
    ------
    InfeasiblePlan
        Where the signal has no program, nothing to time, or bounds that fit no cycle; the message gives
        the reason and what to do.
    """
    program = intersection.program
    name = f"signal {intersection.id}"
    if program is None or not program.intervals:
        raise InfeasiblePlan(f"{name}: has no program; give it one (netconvert or an additional file) first")
    if program.kind == "NEMA":
        raise InfeasiblePlan(
            f"{name}: runs SUMO's NEMA controller, whose phases are no cycle of intervals; "
            "give it a static program with the same phases to have it planned"
        )
    if program.n_links < intersection.n_links:
        raise InfeasiblePlan(
            f"{name}: its program has states of {program.n_links} links where the network needs "
            f"{intersection.n_links}; repair the program"
        )
    intervals, shift = _merged(program.intervals)
    free = [_is_stage(intervals, k) for k in range(len(intervals))]
    if sum(free) < 2:
        raise InfeasiblePlan(
            f"{name}: {sum(free)} stage(s) of settled green; nothing to share out. "
            "Give the conflicting links greens of their own if it should be timed"
        )
    first = free.index(True)
    shift += sum(i.duration_s for i in intervals[:first])
    intervals, free = intervals[first:] + intervals[:first], free[first:] + free[:first]
    stages: list[Stage] = []
    changes: list[tuple[Interval, ...]] = []
    pending: list[Interval] = []
    for interval, is_stage in zip(intervals, free, strict=True):
        if not is_stage:
            pending.append(replace(interval, min_s=None, max_s=None))
            continue
        if stages:
            changes.append(tuple(pending))
            pending = []
        stages.append(_bounded(interval, request))
    changes.append(tuple(pending))
    plan = StagePlan(
        intersection.id,
        tuple(_with_pedestrian_minimums(intersection, stages, changes, request)),
        tuple(changes),
        (program.offset_s + shift) % program.cycle_s,
    )
    if request.clearance is ClearancePolicy.ITE:
        plan = _with_ite_clearances(intersection, plan, connections)
    shortest = plan.fixed_s + sum(s.min_s for s in plan.stages)
    longest = max(request.max_cycle_s, program.cycle_s)
    if shortest > longest:
        raise InfeasiblePlan(
            f"{name}: minimum greens and changes need a cycle of {shortest:g} s, more than the allowed "
            f"{longest:g} s; raise the longest cycle or shorten the minimums"
        )
    return plan


def program_of(plan: StagePlan, program_id: str) -> SignalProgram:
    """The program that shows a stage plan; interval 0 is the start of stage 0."""
    intervals: list[Interval] = []
    for stage, change in zip(plan.stages, plan.changes, strict=True):
        intervals.append(Interval(stage.duration_s, stage.state))
        intervals += [i for i in change if i.duration_s > 0]
    return SignalProgram(
        plan.intersection, program_id, "static", plan.offset_s % plan.cycle_s, tuple(intervals)
    )


def changes_s(plan: StagePlan) -> int:
    """Whole seconds of the cycle that belong to changes."""
    return math.ceil(plan.fixed_s - 1e-9)


def with_greens(plan: StagePlan, green_s: Sequence[float]) -> StagePlan:
    """The plan with greens of its stages such that the cycle is whole: changes in tenths lengthen the first stage."""
    rest = changes_s(plan) - plan.fixed_s
    stages = [replace(s, duration_s=float(g)) for s, g in zip(plan.stages, green_s, strict=True)]
    if rest > 1e-9:
        stages[0] = replace(stages[0], duration_s=stages[0].duration_s + round(rest, 3))
    return replace(plan, stages=tuple(stages))


def droppable(plan: StagePlan) -> tuple[int, ...]:
    """Stages that could be left out: each of their movements keeps a green, at least a permitted one."""
    found = []
    for k, stage in enumerate(plan.stages):
        others = frozenset[int]().union(*(s.green for n, s in enumerate(plan.stages) if n != k))
        if stage.green <= others and len(plan.stages) > 2:
            found.append(k)
    return tuple(found)


def strands_turns(
    intersection: Intersection, connections: Sequence[Connection], plan: StagePlan, order: Sequence[int]
) -> bool:
    """Whether an order leaves turns standing in the junction's way that the field clears.

    Where the field protects a turn right after permitting it, vehicles that wait inside the junction for a
    gap leave under protection. Red right after the permitted green strands them; where the junction's inside
    holds no whole car, they then stand in the way of others, and in SUMO block each other for minutes.
    """
    n = len(plan.stages)
    cramped = {
        i
        for i, paths in enumerate(intersection.connections)
        if any(connections[p].turn is Turn.LEFT and 0.0 < connections[p].waiting_m < CAR_M for p in paths)
    }
    follows = dict(zip(order, [*order[1:], order[0]], strict=True))
    return any(
        plan.stages[k].permitted & plan.stages[(k + 1) % n].protected & cramped and follows[k] != (k + 1) % n
        for k in order
        if (k + 1) % n in follows
    )


def without_stages(plan: StagePlan, drop: Sequence[int]) -> StagePlan:
    """The plan without some stages; changes that the field doesn't have are built from its clearances."""
    return reordered(plan, [k for k in range(len(plan.stages)) if k not in drop])


def reordered(plan: StagePlan, order: Sequence[int]) -> StagePlan:
    """The plan with its stages in another order, or with some left out.

    Where a stage follows the one that it follows in the field, the field's own change is kept; otherwise
    the change is built from the field's yellows and its longest red clearance.
    """
    n = len(plan.stages)
    clearances = _clearances(plan)
    changes = [
        plan.changes[a]
        if b == (a + 1) % n and len(order) > 1
        else _change(plan.stages[a], plan.stages[b], clearances)
        for a, b in zip(order, [*order[1:], order[0]], strict=True)
    ]
    built = [change not in plan.changes for change in changes]
    return StagePlan(
        plan.intersection, tuple(plan.stages[k] for k in order), _whole_seconds(changes, built), plan.offset_s
    )


def omitted_stages(
    intersection: Intersection, plan: StagePlan, drop: Sequence[int]
) -> tuple[OmittedStage, ...]:
    """What leaving stages out means: which movements lose their protected green."""
    kept = [s for k, s in enumerate(plan.stages) if k not in drop]
    still = frozenset[int]().union(*(s.protected for s in kept)) if kept else frozenset[int]()
    return tuple(
        OmittedStage(
            plan.stages[k].state,
            tuple(m.id for m in intersection.movements if set(m.links) & (plan.stages[k].protected - still)),
        )
        for k in drop
    )


def _merged(intervals: Sequence[Interval]) -> tuple[list[Interval], float]:
    """Neighbours with equal states become one, around the cycle's end too; and by how much the start moved."""
    merged: list[Interval] = []
    for interval in intervals:
        if interval.duration_s <= 0:
            continue
        if merged and merged[-1].state == interval.state:
            merged[-1] = _joined(merged[-1], interval)
        else:
            merged.append(interval)
    if len(merged) > 1 and merged[0].state == merged[-1].state:
        last = merged.pop()
        merged[0] = _joined(last, merged[0])
        return merged, -last.duration_s
    return merged, 0.0


def _joined(a: Interval, b: Interval) -> Interval:
    """Two intervals of one state as one; an unstated bound of one of them is its duration."""

    def total(x: float | None, y: float | None) -> float | None:
        if x is None and y is None:
            return None
        return (a.duration_s if x is None else x) + (b.duration_s if y is None else y)

    return Interval(
        a.duration_s + b.duration_s, a.state, total(a.min_s, b.min_s), total(a.max_s, b.max_s), a.name
    )


def _is_stage(intervals: Sequence[Interval], k: int) -> bool:
    interval = intervals[k]
    if any(c in CHANGE for c in interval.state):
        return False
    green = {i for i, c in enumerate(interval.state) if c in GREEN}
    if not green:
        return False
    before = {i for i, c in enumerate(intervals[k - 1].state) if c in GREEN}
    after = {i for i, c in enumerate(intervals[(k + 1) % len(intervals)].state) if c in GREEN}
    if interval.duration_s < SHORTEST_STAGE_S:
        return not (green <= before or green <= after)
    if green <= before and interval.duration_s <= LONGEST_CHANGE_S and interval.min_s is None:
        # nothing starts here: others are being cleared while these go on
        starts_next = after - green
        return not starts_next or not before - green
    return True


def _bounded(interval: Interval, request: PlanRequest) -> Stage:
    least = min(request.min_green_s, interval.duration_s)
    most = math.inf
    if not request.ignore_durations:
        if interval.min_s is not None:
            least = min(interval.min_s, interval.duration_s)
        if interval.max_s is not None:
            most = max(interval.max_s, interval.duration_s)
    return Stage(interval.state, interval.duration_s, float(math.ceil(least - 1e-9)), most)


def _with_pedestrian_minimums(
    intersection: Intersection,
    stages: list[Stage],
    changes: Sequence[tuple[Interval, ...]],
    request: PlanRequest,
) -> list[Stage]:
    """Raise stage minimums so that every crossing keeps its walk and clearance, or what the field gives.

    Pedestrians clear after their green too, until conflicting vehicles start: in a change, or in a stage
    that the field gives to nothing else. The walk is asked to give what it can of both all the same: turns
    wait for people, which the queue simulator doesn't know, and short walks are dear in SUMO. The stage
    behind it makes up for what the field's own walk lacks.
    """
    n = len(stages)
    walkers = {crossing.link for crossing in intersection.crossings}
    for crossing in intersection.crossings:
        link = crossing.link
        across = crossing.length_m / request.walking_speed_mps
        foes = [
            i
            for i in range(intersection.n_links)
            if i not in walkers and intersection.conflicts.conflict(i, link)
        ]
        for start in range(n):
            if stages[start].state[link] not in GREEN or stages[start - 1].state[link] in GREEN:
                continue
            run = [start]
            while stages[(run[-1] + 1) % n].state[link] in GREEN and len(run) < n:
                run.append((run[-1] + 1) % n)
            around = sorted({(k - before) % n for k in run for before in (0, 1)})
            within = sum(i.duration_s for k in around for i in changes[k] if i.state[link] in GREEN)
            field_green = within + sum(stages[k].duration_s for k in run)
            _raise(stages, run, min(request.walk_s + across, field_green) - within)
            after, cleared = _clearance_after(stages, changes, run[-1], link, foes)
            field = field_green + min(cleared + sum(stages[k].duration_s for k in after), across)
            need = min(request.walk_s + across, field) - within
            walk = sum(stages[k].min_s for k in run)
            room = sum(stages[k].duration_s for k in after)
            _raise(stages, after, min(need - walk, across) - cleared, room)
            clear = min(cleared + sum(stages[k].min_s for k in after), across)
            _raise(stages, run, need - clear)
    return stages


def _raise(stages: list[Stage], which: Sequence[int], total_s: float, most_s: float = math.inf) -> None:
    """Raise minimums, the longest stage's first and none beyond what the field gives, until they reach a total."""
    missing = min(total_s, most_s) - sum(stages[k].min_s for k in which)
    for k in sorted(which, key=lambda k: -stages[k].duration_s):
        part = min(missing, stages[k].duration_s - stages[k].min_s)
        if part > 1e-9:
            raised = float(math.ceil(stages[k].min_s + part - 1e-9))
            missing -= raised - stages[k].min_s
            stages[k] = replace(stages[k], min_s=raised)


def _clearance_after(
    stages: Sequence[Stage],
    changes: Sequence[tuple[Interval, ...]],
    last: int,
    link: int,
    foes: Sequence[int],
) -> tuple[list[int], float]:
    """What follows the green of a crossing until a conflicting link starts: stages, and seconds of changes."""
    n = len(stages)
    found: list[int] = []
    seconds = 0.0
    shown = stages[last].state
    for step in range(n):
        k = (last + step) % n
        following = (k + 1) % n
        parts = [(i.state, i.duration_s) for i in changes[k]] + [(stages[following].state, -1.0)]
        for state, duration in parts:
            starts = any(
                state[i] in GREEN and (shown[i] not in GREEN or (state[i] == "G" and shown[i] == "g"))
                for i in foes
            )
            shown = state
            if state[link] in GREEN:
                if duration < 0:  # around the cycle to the next walk
                    return found, seconds
                continue
            if starts:
                return found, seconds
            if duration < 0:
                found.append(following)
            else:
                seconds += duration
    return found, seconds


@dataclass(frozen=True, slots=True)
class _Clearances:
    """Yellow per link, and the longest red clearance, as the field shows them."""

    yellow_s: tuple[float, ...]
    red_s: float


def _clearances(plan: StagePlan) -> _Clearances:
    n_links = len(plan.stages[0].state)
    yellow = [0.0] * n_links
    red = 0.0
    for change in plan.changes:
        for link in range(n_links):
            yellow[link] = max(yellow[link], sum(i.duration_s for i in change if i.state[link] in "yY"))
        last_yellow = max((k for k, i in enumerate(change) if any(c in "yY" for c in i.state)), default=-1)
        red = max(red, sum(i.duration_s for i in change[last_yellow + 1 :]))
    return _Clearances(tuple(yellow), red)


def _change(a: Stage, b: Stage, clearances: _Clearances) -> tuple[Interval, ...]:
    """A change between two stages that don't follow each other in the field."""
    ending = sorted(a.green - b.green)
    starting = b.green - a.green
    if not ending and not starting:
        return ()
    fallback = max(clearances.yellow_s)
    yellow = {i: clearances.yellow_s[i] or fallback for i in ending}
    longest = max(yellow.values(), default=0.0)
    total = longest + clearances.red_s if ending else 0.0
    times = sorted({*yellow.values(), total})
    intervals = []
    begin = 0.0
    for until in times:
        if until <= begin:
            continue
        state = []
        for i, (old, new) in enumerate(zip(a.state, b.state, strict=True)):
            if i in yellow:
                state.append("y" if begin < yellow[i] else ("s" if new == "s" else "r"))
            elif old in GREEN and new in GREEN:
                state.append("g" if "g" in (old, new) else "G")
            else:
                state.append("s" if old == new == "s" else "r")
        intervals.append(Interval(round(until - begin, 3), "".join(state)))
        begin = until
    return tuple(intervals)


def _whole_seconds(
    changes: Sequence[tuple[Interval, ...]], built: Sequence[bool]
) -> tuple[tuple[Interval, ...], ...]:
    """Changes that together last whole seconds, as stages do: a built one's last red takes the rest."""
    total = sum(i.duration_s for change in changes for i in change)
    rest = round(math.ceil(total - 1e-6) - total, 3)
    found = list(changes)
    k = next((k for k, change in enumerate(changes) if built[k] and change), None)
    if k is None or rest <= 0:
        return tuple(found)
    last = changes[k][-1]
    if any(c in "yY" for c in last.state):
        red = "".join("r" if c in "yY" else c for c in last.state)
        found[k] = (*changes[k], Interval(rest, red))
    else:
        found[k] = (*changes[k][:-1], replace(last, duration_s=round(last.duration_s + rest, 3)))
    return tuple(found)


def _with_ite_clearances(
    intersection: Intersection, plan: StagePlan, connections: Sequence[Connection]
) -> StagePlan:
    """Each change at least as long as the ITE formulas want between the links that end and those that start."""
    clearance = _ite_clearances_s(intersection, connections)
    n = len(plan.stages)
    changes = [
        _lengthened(intersection, plan.stages[k], plan.changes[k], plan.stages[(k + 1) % n], clearance)
        for k in range(n)
    ]
    drawn_out = [change != old for change, old in zip(changes, plan.changes, strict=True)]
    return replace(plan, changes=_whole_seconds(changes, drawn_out))


def _ite_clearances_s(
    intersection: Intersection, connections: Sequence[Connection]
) -> dict[int, tuple[float, float]]:
    """Yellow and red clearance [s] of each vehicle link, rounded up to tenths.

    1 s to react, 3.05 m/s² to brake, 3 to 6 s of yellow; the path and 6.1 m of vehicle at the approach's
    speed, at most 6 s of red. Written here a second time on purpose: the safety check has its own.
    """
    speeds = {a.edge: a.speed_mps for a in intersection.approaches}
    found = {}
    for movement in intersection.movements:
        for link in movement.links:
            known = [speeds[m.approach] for m in intersection.movements if link in m.links]
            speed = max(known)
            width = max((connections[p].length_m for p in intersection.connections[link]), default=0.0)
            yellow = min(max(1.0 + speed / (2 * 3.05), 3.0), 6.0)
            red = min((width + 6.1) / speed, 6.0)
            found[link] = (_tenths_up(yellow), _tenths_up(red))
    return found


def _tenths_up(seconds: float) -> float:
    return math.ceil(10 * seconds - 1e-6) / 10


def _lengthened(
    intersection: Intersection,
    before: Stage,
    change: tuple[Interval, ...],
    after: Stage,
    clearance_s: Mapping[int, tuple[float, float]],
) -> tuple[Interval, ...]:
    """A change with yellows and reds drawn out to what each pair of conflicting links needs."""
    intervals = list(change)
    ended = [i for i in sorted(before.green) if i in clearance_s]
    ended = [
        i for i in ended if any(x.state[i] not in GREEN for x in intervals) or after.state[i] not in GREEN
    ]
    abrupt = [i for i in ended if not any(x.state[i] in "yY" for x in intervals)]
    if abrupt:
        state = "".join(
            "y" if i in abrupt else c if c == d or i in ended else ("r" if c not in GREEN else c)
            for i, (c, d) in enumerate(zip(before.state, after.state, strict=True))
        )
        intervals.insert(0, Interval(max(clearance_s[i][0] for i in abrupt), state))
    for link in ended:
        for k, interval in enumerate(intervals):
            shown = sum(x.duration_s for x in intervals if x.state[link] in "yY")
            if interval.state[link] in "yY" and shown < clearance_s[link][0]:
                missing = clearance_s[link][0] - shown
                intervals[k] = replace(interval, duration_s=round(interval.duration_s + missing, 3))
    m = 1
    while m <= len(intervals):
        here = after.state if m == len(intervals) else intervals[m].state
        # a link that gets its protected green counts as starting, permitted before or not
        shown_before = intervals[m - 1].state
        starting = [
            j for j, c in enumerate(here) if c in GREEN and shown_before[j] != c and shown_before[j] != "G"
        ]
        missing = 0.0
        for i in ended:
            end = next((k for k, x in enumerate(intervals) if x.state[i] not in GREEN), m)
            if end < m and any(intersection.conflicts.conflict(i, j) for j in starting):
                shown = sum(x.duration_s for x in intervals[end:m])
                missing = max(missing, sum(clearance_s[i]) - shown)
        if missing > 1e-9:
            last = intervals[m - 1]
            if any(c in CHANGE for c in last.state):
                red = "".join("r" if c in CHANGE else c for c in last.state)
                intervals.insert(m, Interval(round(missing, 3), red))
                m += 1
            else:
                intervals[m - 1] = replace(last, duration_s=round(last.duration_s + missing, 3))
        m += 1
    return tuple(intervals)
