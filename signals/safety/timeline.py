"""What a signal shows over time, read off raw intervals: greens, the yellow after them, and intergreens.

Times are seconds. A timeline has an edge on both sides; a green that touches an edge is open there (its
start is -inf, or its end inf), so that nothing is concluded about a part that wasn't seen.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum

from signals.model.phasing import SignalProgram

TOLERANCE_S = 1e-3
"""SUMO's clock counts milliseconds; differences below are none."""
PROTECTED = frozenset("GO")
PERMITTED = frozenset("go")
GO = PROTECTED | PERMITTED
"""Letters that let vehicles go. Dark signals (o, O) do: drivers follow the priority signs."""
YELLOW = frozenset("yY")
LETTERS = GO | YELLOW | frozenset("urs")
STAGE_S = 5.0
"""From this length on, steady greens between two others are a stage and no part of a change: the min green
that a plan request asks for by default."""


class RightOfWay(IntEnum):
    """How far a link's traffic may be on the move; a higher one includes the lower."""

    NONE = 0
    YELLOW = 1
    PERMITTED = 2
    PROTECTED = 3


@dataclass(frozen=True, slots=True)
class Timeline:
    """States in force from `starts[k]` to the next start, the last one until `end_s`; neighbours differ."""

    starts: tuple[float, ...]
    states: tuple[str, ...]
    end_s: float

    def steps(self) -> Iterator[tuple[float, float, str]]:
        """Start, end and state of each step."""
        yield from zip(self.starts, (*self.starts[1:], self.end_s), self.states, strict=True)


@dataclass(frozen=True, slots=True)
class Green:
    """A contiguous green of a link, and the yellow right after it [s].

    `handover` holds the states before and after the end, so that one end can be told from another.
    `returns` says that green follows the yellow again, without any red between.
    """

    start_s: float
    end_s: float
    yellow_s: float
    handover: tuple[str, str]
    returns: bool = False

    @property
    def duration_s(self) -> float:
        """Length of the green, infinite where an edge cuts it."""
        return self.end_s - self.start_s


@dataclass(frozen=True, slots=True)
class Change:
    """From the end of green of link `ending` to the start of green of link `starting`.

    `direct` says that no stage lies between the two; `upgrade`, that the starting link went on from permitted
    to protected green. `yellow_s` is what follows the ending green.
    """

    ending: int
    starting: int
    end_s: float
    start_s: float
    yellow_s: float
    direct: bool
    upgrade: bool = False

    @property
    def gap_s(self) -> float:
        """The intergreen that this change gives."""
        return self.start_s - self.end_s


def lay_out(pieces: Iterable[tuple[float, str]], start_s: float) -> Timeline:
    """A timeline of (duration, state) pieces in a row; equal neighbours become one step."""
    starts: list[float] = []
    states: list[str] = []
    now = start_s
    for duration, state in pieces:
        if duration <= 0:
            continue
        if not states or states[-1] != state:
            starts.append(now)
            states.append(state)
        now += duration
    return Timeline(tuple(starts), tuple(states), now)


def unroll(program: SignalProgram, cycles: int) -> Timeline:
    """A program's intervals over several cycles, second 0 being the start of its first interval."""
    return lay_out([(i.duration_s, i.state) for i in program.intervals] * cycles, 0.0)


def unroll_between(program: SignalProgram, begin_s: float, end_s: float) -> list[tuple[float, str]]:
    """Pieces (duration, state) that a program shows between two times of the clock, its offset considered."""
    cycle_s = program.cycle_s
    pieces = []
    now = program.offset_s + math.floor((begin_s - program.offset_s) / cycle_s) * cycle_s
    while now < end_s:
        for interval in program.intervals:
            shown = min(now + interval.duration_s, end_s) - max(now, begin_s)
            if shown > 0:
                pieces.append((shown, interval.state))
            now += interval.duration_s
    return pieces


def greens(timeline: Timeline, link: int) -> tuple[Green, ...]:
    """Every green of a link in order of time."""
    steps = list(timeline.steps())
    found = []
    k = 0
    while k < len(steps):
        if steps[k][2][link] not in GO:
            k += 1
            continue
        first = k
        while k < len(steps) and steps[k][2][link] in GO:
            k += 1
        start = steps[first][0] if first > 0 else -math.inf
        if k == len(steps):
            found.append(Green(start, math.inf, math.inf, (steps[-1][2], "")))
            break
        after = k
        while after < len(steps) and steps[after][2][link] in YELLOW:
            after += 1
        yellow = steps[after][0] - steps[k][0] if after < len(steps) else math.inf
        returns = after < len(steps) and steps[after][2][link] in GO
        found.append(Green(start, steps[k][0], yellow, (steps[k - 1][2], steps[k][2]), returns))
    return tuple(found)


def right_of_way(states: Sequence[str], link: int) -> tuple[tuple[RightOfWay, bool], ...]:
    """Right of way of a link in each state of a cycle, and whether its drivers are giving way to others.

    Drivers give way during a permitted green, and during the yellow that ends one: they know that they
    have to. Yellow after a protected green clears traffic that expects nobody.
    """
    letters = [s[link] for s in states]
    giving_way = False
    shown: list[tuple[RightOfWay, bool]] = []
    for turn in range(2):  # the first turn only finds out what precedes the first state
        for letter in letters:
            if letter in GO:
                giving_way = letter in PERMITTED
            if turn == 0:
                continue
            if letter in GO:
                shown.append((RightOfWay.PERMITTED if giving_way else RightOfWay.PROTECTED, giving_way))
            elif letter in YELLOW:
                shown.append((RightOfWay.YELLOW, giving_way))
            else:
                shown.append((RightOfWay.NONE, False))
    return tuple(shown)


def claims(timeline: Timeline, link: int) -> tuple[tuple[float, bool], ...]:
    """Times at which a link starts to go (False), or goes on with protected for permitted green (True)."""
    found = []
    for before, (start, _, now) in zip(timeline.states, list(timeline.steps())[1:], strict=False):
        starts = now[link] in GO and before[link] not in GO
        upgraded = now[link] in PROTECTED and before[link] in PERMITTED
        if starts or upgraded:
            found.append((start, upgraded))
    return tuple(found)


class Observation:
    """Greens and changes of all links over one timeline.

    `conflicts` are pairs of link indices; `crossings` the indices that control pedestrians.
    """

    def __init__(
        self, timeline: Timeline, conflicts: Iterable[tuple[int, int]], crossings: frozenset[int]
    ) -> None:
        self.timeline = timeline
        self.crossings = crossings
        n_links = len(timeline.states[0])
        self.greens = tuple(greens(timeline, i) for i in range(n_links))
        self.foes: tuple[frozenset[int], ...] = _foes(conflicts, n_links)
        self._claims = tuple(claims(timeline, i) for i in range(n_links))
        permanent = frozenset(i for i in range(n_links) if all(s[i] in GO for s in timeline.states))
        # every green by its start, and the earliest end among those that start there or later: whether one
        # lies whole between two times is then a look-up
        spans = sorted((g.start_s, g.end_s) for runs in self.greens for g in runs)
        self._green_starts = [start for start, _ in spans]
        ends = [math.inf]
        for _, end in reversed(spans):
            ends.append(min(end, ends[-1]))
        self._earliest_end_from = ends[::-1]
        # steps without a vehicle's yellow in which more goes than what always does
        self._steady = []
        for a, b, state in timeline.steps():
            going = frozenset(i for i, c in enumerate(state) if c in GO) - permanent
            if going and not any(c in YELLOW for i, c in enumerate(state) if i not in crossings):
                self._steady.append((a, b, going))

    def changes(self, begin_s: float, end_s: float) -> Iterator[Change]:
        """Every change between conflicting links whose new green starts in [begin_s, end_s)."""
        for starting, times in enumerate(self._claims):
            for time, upgrade in times:
                if not begin_s - TOLERANCE_S <= time < end_s - TOLERANCE_S:
                    continue
                for ending in sorted(self.foes[starting]):
                    last = self._last_green(ending, time)
                    if last is not None:
                        direct = not self._stage_between(ending, starting, last.end_s, time)
                        yield Change(ending, starting, last.end_s, time, last.yellow_s, direct, upgrade)

    def next_foe_start_s(self, link: int, time_s: float) -> float:
        """When the first conflicting vehicle link starts to go at or after a time; inf where none does."""
        return min(
            (
                t
                for foe in self.foes[link]
                if foe not in self.crossings
                for t, _ in self._claims[foe]
                if t >= time_s - TOLERANCE_S
            ),
            default=math.inf,
        )

    def _last_green(self, link: int, time_s: float) -> Green | None:
        """The green of a link that ended last, or None where it goes at this time or never went before."""
        last = None
        for green in self.greens[link]:
            if green.end_s <= time_s + TOLERANCE_S:
                last = green
            elif green.start_s < time_s - TOLERANCE_S:
                return None
        return last

    def _stage_between(self, ending: int, starting: int, end_s: float, start_s: float) -> bool:
        """Whether another stage runs between two greens.

        It does where a link has its whole green there, where steady greens last as long as a stage, or
        where, however shortly, a link goes that the starting one had to wait for. After a pedestrian green
        the traffic beside it may keep its own for as long as people need to get across.
        """
        if start_s - end_s < TOLERANCE_S:
            return False
        first = bisect_left(self._green_starts, end_s - TOLERANCE_S)
        if self._earliest_end_from[first] <= start_s + TOLERANCE_S:
            return True
        walking = ending in self.crossings
        at_start = self.timeline.states[bisect_right(self.timeline.starts, start_s + TOLERANCE_S) - 1]
        for a, b, going in self._steady:
            if b <= end_s + TOLERANCE_S or a >= start_s - TOLERANCE_S:
                continue
            shown_s = min(b, start_s) - max(a, end_s)
            if shown_s > STAGE_S + TOLERANCE_S or (not walking and shown_s > STAGE_S - TOLERANCE_S):
                return True
            awaited = {i for i in going & self.foes[starting] if at_start[i] not in GO}
            if awaited and not walking:
                return True
        return False


def _foes(conflicts: Iterable[tuple[int, int]], n_links: int) -> tuple[frozenset[int], ...]:
    foes: list[set[int]] = [set() for _ in range(n_links)]
    for i, j in conflicts:
        if i < n_links and j < n_links:
            foes[i].add(j)
            foes[j].add(i)
    return tuple(frozenset(f) for f in foes)
