"""A field's program as phases would show it: which phases each part of the cycle serves, and its clearances.

Times are tenths of a second from the start of the first stage.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from signals.controllers.mapping.replay import tenths
from signals.errors import InfeasiblePlan, UnmappablePlan
from signals.model.controller import Rings
from signals.model.network import Intersection, Movement, Network, Turn
from signals.model.phasing import GREEN, Interval, RingBarrier, StagePlan
from signals.model.plan import PlanRequest
from signals.timing.rings import OPPOSING, recognise_rings, why_not_rings
from signals.timing.stages import stage_plan

MOST_PHASES = 16
SHORTEST_YELLOW = 30
"""What a phase gets whose field never shows one [tenths]: nobody sees its yellow."""


@dataclass(frozen=True, slots=True)
class Block:
    """A part of the cycle in which the vehicles' letters stay as they are: a stage, or several that differ in walks.

    `yellow` and `red` are what the change after it shows, None where nothing visible ends. `stated_s` is the
    longest minDur of its stages.
    """

    phases: frozenset[int]
    state: str
    begin: int
    end: int
    yellow: int | None
    red: int | None
    stated_s: float


@dataclass(frozen=True, slots=True)
class Layout:
    """Blocks around the cycle, with phases by ring and by side of the barriers.

    `own[link]` is the phase of a link by NEMA's numbers, where rings give it one.
    """

    rings: Rings
    sides: tuple[frozenset[int], ...]
    own: Mapping[int, int]
    blocks: tuple[Block, ...]
    intervals: tuple[Interval, ...]
    cycle: int

    def changes(self, link: int) -> Iterator[tuple[int, str]]:
        """When each interval begins, and the link's letter in it."""
        begin = 0
        for interval in self.intervals:
            yield begin, interval.state[link]
            begin += tenths(interval.duration_s)

    def served(self, phase: int) -> tuple[int, ...]:
        """Positions of the blocks in which a phase is green, from the one that it begins in, in order of time.

        Raises
        ------
        UnmappablePlan
            Where it is green all the time, or more than once a cycle.
        """
        n = len(self.blocks)
        on = [phase in block.phases for block in self.blocks]
        starts = [k for k in range(n) if on[k] and not on[k - 1]]
        if len(starts) != 1:
            raise UnmappablePlan(
                f"phase {phase} would be served {len(starts)} times a cycle; rings serve each phase once"
            )
        return tuple((starts[0] + step) % n for step in range(sum(on)))


def walkers(intersection: Intersection) -> frozenset[int]:
    """Link indices of crossings."""
    return frozenset(crossing.link for crossing in intersection.crossings)


def vehicles_only(state: str, crossings: Iterable[int]) -> str:
    """A state with every crossing red, so that vehicles' letters alone tell two apart."""
    letters = list(state)
    for link in crossings:
        if link < len(letters):
            letters[link] = "r"
    return "".join(letters)


def stages_in_place(intersection: Intersection) -> StagePlan:
    """Stages and changes of the field's program, cut to the signal's links.

    Raises
    ------
    UnmappablePlan
        Where the program can't be read as stages.
    """
    try:
        # the field's own cycle is what it is, and fits its own minimums
        return stage_plan(intersection, PlanRequest(ignore_durations=True))
    except InfeasiblePlan as error:
        raise UnmappablePlan(f"{error}") from error


def dual_layout(intersection: Intersection, network: Network, plan: StagePlan) -> Layout:
    """Blocks by the pair of phases that `recognise_rings` sees in each stage.

    Raises
    ------
    UnmappablePlan
        Where there are no rings in the program.
    """
    barrier = recognise_rings(intersection, network)
    if barrier is None:
        raise UnmappablePlan(why_not_rings(intersection, network))
    mains, lefts = _tell_tales(intersection, barrier)
    phases = [_served(stage.state, mains, lefts) for stage in plan.stages]
    rings = tuple(tuple(p.number for side in ring for p in side) for ring in barrier.rings)
    n_sides = max(map(len, barrier.rings))
    sides = tuple(
        frozenset(p.number for ring in barrier.rings if k < len(ring) for p in ring[k])
        for k in range(n_sides)
    )
    own = {i: p.number for ring in barrier.rings for side in ring for p in side for i in p.links}
    return _laid_out(intersection, plan, phases, rings, sides, own)


def single_layout(intersection: Intersection, plan: StagePlan) -> Layout:
    """A phase for every stage; stages in a row that differ in walks alone are one.

    Raises
    ------
    UnmappablePlan
        Where a unit has too few phases for them.
    """
    crossings = walkers(intersection)
    states = [vehicles_only(stage.state, crossings) for stage in plan.stages]
    first = next((k for k in range(len(states)) if states[k] != states[k - 1]), 0)
    numbers = [0] * len(states)
    for step in range(len(states)):
        k = (first + step) % len(states)
        numbers[k] = 1 if step == 0 else numbers[k - 1] + (states[k] != states[k - 1])
    if max(numbers) > MOST_PHASES:
        raise UnmappablePlan(f"{max(numbers)} different stages; a unit has {MOST_PHASES} phases")
    ring = tuple(range(1, max(numbers) + 1))
    sides = tuple(frozenset({n}) for n in ring)
    return _laid_out(intersection, plan, [frozenset({n}) for n in numbers], (ring,), sides, {})


def _tell_tales(
    intersection: Intersection, barrier: RingBarrier
) -> tuple[dict[int, frozenset[int]], dict[int, frozenset[int]]]:
    """Links by which to tell whether a through phase is green, and those of left turns with a phase of their own."""
    phases = {p.number: frozenset(p.links) for ring in barrier.rings for side in ring for p in side}
    mains = {}
    for number, links in phases.items():
        if number in OPPOSING:
            mains[number] = (
                _of(intersection.movements, Turn.THROUGH) & links
                or _of(intersection.movements, Turn.LEFT, Turn.U_TURN) & links
                or links
            )
    return mains, {number: links for number, links in phases.items() if number not in OPPOSING}


def _of(movements: Iterable[Movement], *turns: Turn) -> frozenset[int]:
    return frozenset(i for m in movements if m.turn in turns for i in m.links)


def _served(state: str, mains: dict[int, frozenset[int]], lefts: dict[int, frozenset[int]]) -> frozenset[int]:
    through = {n for n, links in mains.items() if any(state[i] in GREEN for i in links)}
    # left turn n and the through phase n + 1 that it conflicts with follow each other in one ring
    alone = {
        n for n, links in lefts.items() if n + 1 not in through and any(state[i] in GREEN for i in links)
    }
    return frozenset(through | alone)


def _laid_out(
    intersection: Intersection,
    plan: StagePlan,
    phases: Sequence[frozenset[int]],
    rings: Rings,
    sides: tuple[frozenset[int], ...],
    own: Mapping[int, int],
) -> Layout:
    crossings = walkers(intersection)
    pieces: list[tuple[frozenset[int], Interval]] = []
    for k, (stage, change) in enumerate(zip(plan.stages, plan.changes, strict=True)):
        after = plan.stages[(k + 1) % len(plan.stages)].state
        pieces.append((phases[k], Interval(stage.duration_s, stage.state)))
        for interval in change:
            pieces.append((_of_stage(interval, stage.state, after, phases, k, crossings), interval))
    first = next((k for k in range(len(pieces)) if pieces[k][0] and pieces[k][0] != pieces[k - 1][0]), 0)
    pieces = pieces[first:] + pieces[:first]
    blocks: list[Block] = []
    begin = 0
    for served, interval in pieces:
        end = begin + tenths(interval.duration_s)
        state = vehicles_only(interval.state, crossings)
        if not served:
            blocks[-1] = _cleared(blocks[-1], state, end - begin)
        elif blocks and blocks[-1].end == begin and blocks[-1].phases == served:
            if blocks[-1].state != state:
                raise UnmappablePlan(
                    f"phases {sorted(served)} show {blocks[-1].state} and then {state}; "
                    "a unit's phase keeps its letters while it is green"
                )
            blocks[-1] = replace(blocks[-1], end=end)
        else:
            blocks.append(Block(served, state, begin, end, None, None, 0.0))
        begin = end
    blocks = [replace(b, stated_s=_stated_s(intersection, b.state, crossings)) for b in blocks]
    return Layout(rings, sides, own, tuple(blocks), tuple(interval for _, interval in pieces), begin)


def _of_stage(
    interval: Interval,
    before: str,
    after: str,
    phases: Sequence[frozenset[int]],
    k: int,
    crossings: frozenset[int],
) -> frozenset[int]:
    """Phases of the stage that a part of a change belongs to, since it differs from it in walks alone."""
    shown = vehicles_only(interval.state, crossings)
    if shown == vehicles_only(before, crossings):
        return phases[k]
    if shown == vehicles_only(after, crossings):
        return phases[(k + 1) % len(phases)]
    return frozenset()


def _cleared(block: Block, state: str, duration: int) -> Block:
    """A block with a part of the change behind it: yellow while any link shows it, red from then on."""
    yellow, red = block.yellow or 0, block.red or 0
    if "y" in state or "Y" in state:
        return replace(block, yellow=yellow + red + duration, red=0)
    return replace(block, yellow=yellow, red=red + duration)


def _stated_s(intersection: Intersection, state: str, crossings: frozenset[int]) -> float:
    assert intersection.program is not None
    return max(
        (
            i.min_s
            for i in intersection.program.intervals
            if i.min_s is not None and vehicles_only(i.state, crossings) == state
        ),
        default=0.0,
    )
