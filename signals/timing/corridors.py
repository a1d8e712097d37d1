"""Corridors: signals in a row, and the green bands that a plan opens along them."""

from __future__ import annotations

import itertools
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from signals.model.demand import TurningCounts
from signals.model.network import Corridor, Intersection, Movement, Network, Turn
from signals.model.phasing import GREEN, SignalProgram
from signals.timing.stretches import Stretch, movement_flows_vph, stretches

LEAST_FLOW_VPH = 60.0
"""A corridor needs a vehicle a minute between its signals."""
SLOWEST_MPS = 4.0
FASTEST_OVER_LIMIT = 1.5
SPEED_STEP_MPS = 0.1
"""Progression speeds looked at: from a bicycle's to well above the limit."""

_Span = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Band:
    """A green band: vehicles that pass the first stop line of their direction within it meet only greens.

    `begin_s` is a time of the simulation's clock, from 0 to below the cycle; the band returns every
    `cycle_s`.
    """

    begin_s: float
    width_s: float
    cycle_s: float


def find_corridors(
    network: Network, counts: TurningCounts, *, min_signals: int = 2, min_flow_vph: float = LEAST_FLOW_VPH
) -> tuple[Corridor, ...]:
    """Rows of signals along which through traffic flows, the busiest first (by vehicle-km an hour).

    From a signal a corridor goes on by the through movement of the approach that it came by. Both
    directions of a road are one corridor, whose forward direction leads from the signal that sorts first to
    the last. The ends of a corridor may be signals where all traffic turns; the movement there is the
    busiest of those that enter or leave the corridor. Each stretch belongs to one corridor at most in each
    direction.
    """
    flows = movement_flows_vph(counts)
    found = [s for s in stretches(network, counts) if s.flow_vph >= min_flow_vph]
    chains = _chains(network, flows, found)
    chains.sort(key=lambda c: (-len(c), -sum(s.flow_vph for s in c), c[0].upstream, c[0].exit_edge))
    by_pair: dict[tuple[str, str], Stretch] = {}
    for stretch in sorted(found, key=lambda s: (s.flow_vph, s.exit_edge, s.approach)):
        by_pair[stretch.upstream, stretch.downstream] = stretch
    covered: set[tuple[str, str]] = set()
    corridors = []
    for chain in chains:
        signals = [chain[0].upstream, *(s.downstream for s in chain)]
        pairs = list(itertools.pairwise(signals))
        if len(signals) < min_signals or covered.issuperset(pairs):
            continue
        opposite = [by_pair.get((b, a)) for a, b in pairs]
        covered |= set(pairs) | {(b, a) for a, b in pairs}
        one_way: list[Stretch | None] = [*chain]
        if _natural(signals[0]) <= _natural(signals[-1]):
            corridor = _corridor(network, flows, signals, one_way, opposite)
        else:
            corridor = _corridor(network, flows, signals[::-1], opposite[::-1], one_way[::-1])
        busy = sum(s.flow_vph * s.distance_m for s in (*chain, *opposite) if s is not None)
        corridors.append((-busy, corridor.name, corridor))
    return tuple(corridor for _, _, corridor in sorted(corridors, key=lambda c: c[:2]))


def band_s(corridor: Corridor, programs: Mapping[str, SignalProgram]) -> tuple[float, float]:
    """Width of the green band of a plan, forward and backward, s; 0 where there is none.

    Vehicles at free-flow speed that pass the first stop line within the band meet green at all others.
    There is none where a signal of the corridor has no program or one of another cycle (half the common one
    is fine), or where nobody drives that way.
    """
    ahead = find_band(corridor, programs)
    back = find_band(corridor, programs, backward=True)
    return (ahead.width_s if ahead else 0.0, back.width_s if back else 0.0)


def find_band(
    corridor: Corridor,
    programs: Mapping[str, SignalProgram],
    *,
    backward: bool = False,
    speed_mps: float | None = None,
) -> Band | None:
    """The widest green band of a plan in one direction, at free flow or at a given speed, or None."""
    line = _line(corridor, backward)
    times_s = _times_s(line, speed_mps)
    if times_s is None or any(s not in programs for s in line.signals):
        return None
    cycle_s = max(programs[s].cycle_s for s in line.signals)
    if cycle_s <= 0.0:
        return None
    band: list[_Span] = [(0.0, cycle_s)]
    for signal, links, time_s in zip(line.signals, line.links, times_s, strict=True):
        program = programs[signal]
        repeats = round(cycle_s / program.cycle_s) if program.cycle_s > 0.0 else 0
        if repeats not in (1, 2) or abs(repeats * program.cycle_s - cycle_s) > 1e-6:
            return None
        band = _common(band, _greens(program, links, repeats, -time_s))
    widest = max(_around(band, cycle_s), key=lambda span: (span[1] - span[0], -span[0]), default=None)
    if widest is None or widest[1] - widest[0] <= 1e-9:
        return None
    return Band(widest[0], widest[1] - widest[0], cycle_s)


def progression_speed_mps(
    corridor: Corridor, programs: Mapping[str, SignalProgram]
) -> tuple[float | None, float | None]:
    """Steady speed at which the plan's green band is widest, forward and backward, m/s; None without a band.

    Of equally wide bands the one nearest to the free-flow speed counts. A speed far from the limit says
    that the offsets were made for other traffic.
    """
    return (_progression_mps(corridor, programs, False), _progression_mps(corridor, programs, True))


def _progression_mps(
    corridor: Corridor, programs: Mapping[str, SignalProgram], backward: bool
) -> float | None:
    line = _line(corridor, backward)
    times_s = _times_s(line, None)
    if times_s is None or times_s[-1] <= 0.0:
        return None
    free_mps = abs(line.distance_m[-1] - line.distance_m[0]) / times_s[-1]
    best: tuple[float, float, float] | None = None
    for step in range(int((FASTEST_OVER_LIMIT * free_mps - SLOWEST_MPS) / SPEED_STEP_MPS) + 1):
        speed_mps = SLOWEST_MPS + step * SPEED_STEP_MPS
        band = find_band(corridor, programs, backward=backward, speed_mps=speed_mps)
        if band is None:
            continue
        value = (-round(band.width_s, 3), abs(speed_mps - free_mps), speed_mps)
        best = value if best is None else min(best, value)
    return None if best is None else round(best[2], 1)


# --------------------------------------------------------------------------------------------------- chains


def _chains(
    network: Network, flows: Mapping[str, Mapping[str, float]], found: Sequence[Stretch]
) -> list[list[Stretch]]:
    """Stretches in a row, each the through continuation of the one before; each in one row."""
    leaving: dict[tuple[str, str], list[Stretch]] = defaultdict(list)
    for stretch in found:
        leaving[stretch.upstream, stretch.exit_edge].append(stretch)
    following: dict[Stretch, Stretch] = {}
    claimed: dict[Stretch, tuple[float, Stretch]] = {}
    for stretch in found:
        through = _through(network.intersections[stretch.downstream], flows, stretch.approach)
        if through is None:
            continue
        onward = leaving.get((stretch.downstream, through.to_edge))
        if not onward:
            continue
        target = max(onward, key=lambda s: (s.flow_vph, s.downstream, s.approach))
        vph = flows.get(stretch.downstream, {}).get(through.id, 0.0)
        # two approaches may go straight on into one road: the busier one is the corridor
        if target in claimed and claimed[target][0] >= vph:
            continue
        if target in claimed:
            del following[claimed[target][1]]
        claimed[target] = (vph, stretch)
        following[stretch] = target
    chains = []
    used: set[Stretch] = set()
    heads = [s for s in found if s not in claimed]
    for head in [*heads, *found]:  # what has no head closes a ring: cut it anywhere
        if head in used:
            continue
        chain = [head]
        used.add(head)
        signals = {head.upstream, head.downstream}
        while chain[-1] in following:
            after = following[chain[-1]]
            if after in used:
                break
            if after.downstream in signals:  # a road that meets itself goes on as another corridor
                chains.append(chain)
                chain, signals = [], {after.upstream}
            chain.append(after)
            used.add(after)
            signals.add(after.downstream)
        chains.append(chain)
    return chains


def _through(
    intersection: Intersection, flows: Mapping[str, Mapping[str, float]], approach: str
) -> Movement | None:
    """The through movement of an approach, the busiest where there are several; None without."""
    own = flows.get(intersection.id, {})
    straight = [m for m in intersection.movements if m.approach == approach and m.turn is Turn.THROUGH]
    return max(straight, key=lambda m: (own.get(m.id, 0.0), m.id), default=None)


def _movement(
    network: Network,
    flows: Mapping[str, Mapping[str, float]],
    signal: str,
    came: Stretch | None,
    goes: Stretch | None,
) -> Movement | None:
    """The movement that continues a corridor at a signal, between the stretch before and the one after."""
    intersection = network.intersections[signal]
    own = flows.get(signal, {})
    fitting = [
        m
        for m in intersection.movements
        if (came is None or m.approach == came.approach) and (goes is None or m.to_edge == goes.exit_edge)
    ]
    if came is None and goes is None:
        return None
    return max(fitting, key=lambda m: (m.turn is Turn.THROUGH, own.get(m.id, 0.0), m.id), default=None)


def _corridor(
    network: Network,
    flows: Mapping[str, Mapping[str, float]],
    signals: Sequence[str],
    ahead: Sequence[Stretch | None],
    back: Sequence[Stretch | None],
) -> Corridor:
    """A corridor of signals in order; ahead[i] leads from signal i to i + 1, back[i] the other way."""
    distance_m = [0.0]
    for there, home in zip(ahead, back, strict=True):
        stretch = there or home
        distance_m.append(distance_m[-1] + (stretch.distance_m if stretch else 0.0))
    forward = [
        _movement(network, flows, s, came, goes)
        for s, came, goes in zip(signals, [None, *ahead], [*ahead, None], strict=True)
    ]
    backward = [
        _movement(network, flows, s, came, goes)
        for s, came, goes in zip(signals, [*back, None], [None, *back], strict=True)
    ]
    lengths = [b - a for a, b in itertools.pairwise(distance_m)]
    return Corridor(
        name=f"{signals[0]} to {signals[-1]}",
        signals=tuple(signals),
        distance_m=tuple(distance_m),
        forward=tuple(m.id if m else None for m in forward),
        backward=tuple(m.id if m else None for m in backward),
        forward_links=tuple(m.links if m else () for m in forward),
        backward_links=tuple(m.links if m else () for m in backward),
        # a speed is distance along the corridor over the direction's own time
        forward_mps=tuple(
            m / s.time_s if s and s.time_s > 0 else None for m, s in zip(lengths, ahead, strict=True)
        ),
        backward_mps=tuple(
            m / s.time_s if s and s.time_s > 0 else None for m, s in zip(lengths, back, strict=True)
        ),
    )


def _natural(name: str) -> tuple[tuple[int, int, str], ...]:
    """Sorting key by which j2 comes before j10."""
    parts = re.findall(r"\d+|\D+", name)
    return tuple((0, int(p), p) if p.isdecimal() else (1, 0, p) for p in parts)


# ---------------------------------------------------------------------------------------------------- bands


@dataclass(frozen=True, slots=True)
class _Line:
    """One direction of a corridor, in the order in which it is driven."""

    signals: Sequence[str]
    links: Sequence[tuple[int, ...]]
    distance_m: Sequence[float]
    speed_mps: Sequence[float | None]


def _line(corridor: Corridor, backward: bool) -> _Line:
    if backward:
        return _Line(
            corridor.signals[::-1],
            corridor.backward_links[::-1],
            corridor.distance_m[::-1],
            corridor.backward_mps[::-1],
        )
    return _Line(corridor.signals, corridor.forward_links, corridor.distance_m, corridor.forward_mps)


def _times_s(line: _Line, speed_mps: float | None) -> list[float] | None:
    """When a vehicle passes each stop line after the first; None where the direction can't be driven."""
    times_s = [0.0]
    for (a, b), own_mps in zip(itertools.pairwise(line.distance_m), line.speed_mps, strict=True):
        if own_mps is None or own_mps <= 0.0:
            return None
        times_s.append(times_s[-1] + abs(b - a) / (speed_mps or own_mps))
    return times_s


def _greens(program: SignalProgram, links: Sequence[int], repeats: int, later_s: float) -> list[_Span]:
    """Spans within [0, repeats · cycle) in which any of the links is green, all moved by `later_s`."""
    cycle_s = repeats * program.cycle_s
    spans: list[_Span] = []
    begin_s = program.offset_s + later_s
    for interval in program.intervals * repeats:
        end_s = begin_s + interval.duration_s
        if any(link < len(interval.state) and interval.state[link] in GREEN for link in links):
            shown = begin_s % cycle_s
            until = shown + interval.duration_s
            spans.append((shown, min(until, cycle_s)))
            if until > cycle_s:
                spans.append((0.0, until - cycle_s))
        begin_s = end_s
    return _joined(spans)


def _joined(spans: Sequence[_Span]) -> list[_Span]:
    joined: list[_Span] = []
    for begin, end in sorted(spans):
        if joined and begin <= joined[-1][1] + 1e-9:
            joined[-1] = (joined[-1][0], max(end, joined[-1][1]))
        elif end > begin:
            joined.append((begin, end))
    return joined


def _common(a: Sequence[_Span], b: Sequence[_Span]) -> list[_Span]:
    """Where both are: spans that two sorted lists share."""
    both = ((max(p[0], q[0]), min(p[1], q[1])) for p in a for q in b)
    return sorted(span for span in both if span[1] - span[0] > 1e-9)


def _around(spans: Sequence[_Span], cycle_s: float) -> list[_Span]:
    """The same spans with those that meet at the cycle's end as one; a span may then end after it."""
    spans = list(spans)
    if len(spans) > 1 and spans[0][0] <= 1e-9 and spans[-1][1] >= cycle_s - 1e-9:
        first = spans.pop(0)
        spans[-1] = (spans[-1][0], spans[-1][1] + first[1])
    return spans
