"""One signal: when to leave the program for the ambulance's green, and the shortest safe way back into step."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from heapq import merge
from itertools import islice

from signals.emergency.changes import Change, Shown, SignalRules, Standing, Steps
from signals.model.network import Connection
from signals.model.phasing import GREEN
from signals.model.plan import PlanRequest
from signals.safety.check import Finding, check_timeline
from signals.safety.timeline import unroll_between

AROUND_CYCLES = 2
"""Turns of the program before and after a hold that are checked with it."""
MOST_WAYS = 60
"""So many ways back are tried before a hold is refused."""


@dataclass(frozen=True, slots=True)
class Hold:
    """A time away from the program, on the simulation's clock [s].

    The signal leaves its program at `leaves_s`, shows the ambulance's stage from `begins_s` to `ends_s` and is
    back in step at `back_s`. `steps` are the states between, each with the second from which it is shown.
    """

    leaves_s: float
    begins_s: float
    ends_s: float
    back_s: float
    stage: str
    steps: Steps

    def state(self, time_s: float) -> str | None:
        """The state to show at a second; None where the program is in force."""
        if not self.leaves_s <= time_s < self.back_s:
            return None
        shown = None
        for start, state in self.steps:
            if start > time_s + 1e-6:
                break
            shown = state
        return shown


@dataclass(frozen=True, slots=True)
class _Way:
    """One way out and back, in the order in which ways are preferred."""

    late_s: float
    back_s: float
    early_s: float
    out: Change
    ends_s: float


def _preference(way: _Way) -> tuple[float, float, float]:
    return way.late_s, way.back_s, way.early_s


class Keeper:
    """Finds and checks the holds of one signal."""

    def __init__(
        self,
        rules: SignalRules,
        links: Sequence[int],
        connections: Sequence[Connection],
        request: PlanRequest,
    ) -> None:
        self.rules = rules
        self.links = tuple(links)
        self._connections = connections
        self._request = request
        ranks = {state: self._rank(state) for state in rules.stages}
        best = max(ranks.values())
        self.serving = tuple(s for s, rank in ranks.items() if rank == best) if best > 0 else ()
        self._best = best

    def _rank(self, state: str) -> float:
        """How well a stage serves the route: all links protected, or the share of them that may go."""
        letters = [state[i] for i in self.links]
        going = sum(c in GREEN for c in letters) / len(letters)
        return going + (0.5 if all(c == "G" for c in letters) else 0.0)

    def serves_by_itself(self, begin_s: float, end_s: float) -> bool:
        """Whether the program shows the ambulance's green all the time from one second to another."""
        shown = Shown(self.rules.program, begin_s - self.rules.program.cycle_s, end_s + 1.0)
        return all(
            self._rank(shown.state(t)) >= self._best for t in range(math.floor(begin_s), math.ceil(end_s) + 1)
        )

    def fresh(
        self, earliest_s: float, begin_s: float, end_s: float, past: Sequence[Hold] = ()
    ) -> tuple[Hold | None, tuple[Finding, ...]]:
        """A hold that begins by a wanted second if it can, left no earlier than needed; or why none is safe."""
        cycle_s = self.rules.program.cycle_s
        earliest = math.ceil(earliest_s)
        begin, end = max(math.floor(begin_s), earliest), max(math.ceil(end_s), earliest + 1)
        shown = Shown(self.rules.program, earliest - 2 * cycle_s - 1.5 * cycle_s, end + 4 * cycle_s)
        outs = [self._way_out(shown, state, earliest, begin) for state in self.serving]
        ways = [self._ways(shown, out, begin, max(end, out.ends_s)) for out in outs if out is not None]
        return self._first_safe(merge(*ways, key=_preference), shown, past)

    def released(
        self, hold: Hold, at_s: float, past: Sequence[Hold] = ()
    ) -> tuple[Hold | None, tuple[Finding, ...]]:
        """A hold under way with another end: as early as its greens allow, at or after the wanted second."""
        cycle_s = self.rules.program.cycle_s
        end = max(math.ceil(at_s), hold.begins_s)
        shown = Shown(self.rules.program, hold.leaves_s - 4 * cycle_s, end + 4 * cycle_s)
        kept = tuple(s for s in hold.steps if s[0] <= hold.begins_s)
        before = shown.standing(hold.leaves_s)
        after = self._standing_after(before, kept, hold)
        out = Change(kept, hold.leaves_s, hold.begins_s, after)
        return self._first_safe(self._ways(shown, out, hold.begins_s, end), shown, past)

    def _standing_after(self, before: Standing, kept: Steps, hold: Hold) -> Standing:
        """Each link's standing once the ambulance's stage is shown, from what was shown on the way there."""
        since = list(before.link_since_s)
        previous, since_s = before.state, before.since_s
        for time, state in kept:
            for i, (a, b) in enumerate(zip(previous, state, strict=True)):
                if (a in GREEN) != (b in GREEN):
                    since[i] = time
            if state != previous:
                since_s = time
            previous = state
        return Standing(hold.stage, since_s, tuple(since))

    def _way_out(self, shown: Shown, state: str, earliest: float, begin: float) -> Change | None:
        """The latest way to a stage that arrives in time, or else the one that arrives first."""
        cycle = math.ceil(self.rules.program.cycle_s)
        for time in range(int(begin), int(max(earliest, begin - 1.5 * cycle)) - 1, -1):
            out = self._leave(shown, time, state)
            if out is not None and out.ends_s <= begin:
                return out
        soonest = None
        for time in range(int(earliest), int(earliest) + cycle):
            if soonest is not None and time >= soonest.ends_s:
                break
            out = self._leave(shown, time, state)
            if out is not None and (soonest is None or out.ends_s < soonest.ends_s):
                soonest = out
        return soonest

    def _leave(self, shown: Shown, time: float, state: str) -> Change | None:
        standing = shown.standing(time)
        if standing.state not in self.rules.stages:
            return None
        out = self.rules.change(standing, float(time), state)
        if out is not None and not out.steps:
            out = Change(((float(time), state),), float(time), float(time), standing)
        return out

    def _ways(self, shown: Shown, out: Change, begin: float, end: float) -> Iterator[_Way]:
        """Ways out and back by one stage, those that are in step soonest first."""
        late = max(0.0, out.ends_s - begin)
        for back in self._ways_back(shown, out.after, end):
            yield _Way(late, back, -out.starts_s, out, end)

    def _ways_back(self, shown: Shown, standing: Standing, end: float) -> Iterator[float]:
        """Seconds at which the signal can be back in step, the soonest first."""
        lengths: dict[str, float | None] = {}
        for time in range(int(end), int(end + 2 * self.rules.program.cycle_s)):
            target = shown.state(time)
            if target not in self.rules.stages:
                continue
            if target not in lengths:
                # a second that is surely late enough for every green of the stage to have had its least
                way = self.rules.change(standing, end + max(self.rules.least_green_s), target)
                lengths[target] = None if way is None else way.ends_s - way.starts_s
            length = lengths[target]
            if (
                length is not None
                and time - length >= end
                and self._lasts(shown, time, standing.state, target)
            ):
                yield float(time)

    def _lasts(self, shown: Shown, time: float, before: str, target: str) -> bool:
        """Whether greens that start on the way back last long enough in the program."""
        if before == target:
            return True
        if shown.state_left_s(time) < self.rules.least_stated_s.get(target, 0.0):
            return False
        starting, lost = self.rules.starting(before, target)
        return all(
            shown.green_left_s(time, i) >= self.rules.least_green_s[i]
            for i in (*starting, *lost)
            if before[i] not in GREEN or i in lost
        )

    def _first_safe(
        self, ways: Iterable[_Way], shown: Shown, past: Sequence[Hold]
    ) -> tuple[Hold | None, tuple[Finding, ...]]:
        findings: tuple[Finding, ...] = ()
        for way in islice(ways, MOST_WAYS):
            hold = self._hold(way, shown.state(way.back_s))
            if hold is None:
                continue
            findings = self.findings((*past, hold))
            if not findings:
                return hold, ()
        return None, findings

    def _hold(self, way: _Way, target: str) -> Hold | None:
        """The hold of a way: what it shows second by second; None where a green would be too short."""
        standing = way.out.after
        probe = self.rules.change(standing, way.ends_s + max(self.rules.least_green_s), target)
        if probe is None:
            return None
        leaves = way.back_s - (probe.ends_s - probe.starts_s)
        back = self.rules.change(standing, leaves, target)
        if back is None or back.ends_s != way.back_s:
            return None
        steps = (*way.out.steps, *(s for s in back.steps if s[0] < way.back_s))
        return Hold(way.out.starts_s, way.out.ends_s, leaves, way.back_s, standing.state, steps)

    def findings(self, holds: Sequence[Hold]) -> tuple[Finding, ...]:
        """What the independent check has to say of a signal's holds, and of the program around them."""
        program = self.rules.program
        around = AROUND_CYCLES * program.cycle_s
        begin, end = holds[0].leaves_s - around, holds[-1].back_s + around
        return check_timeline(
            self.rules.intersection,
            pieces(self.rules, holds, begin, end),
            begin,
            (holds[0].leaves_s - program.cycle_s, holds[-1].back_s + program.cycle_s),
            self._request,
            connections=self._connections,
        )


def pieces(
    rules: SignalRules, holds: Sequence[Hold], begin_s: float, end_s: float
) -> list[tuple[float, str]]:
    """What a signal shows between two seconds, (duration, state): its program, and its holds where they are."""
    found: list[tuple[float, str]] = []
    now = begin_s
    for hold in holds:
        found += unroll_between(rules.program, now, hold.leaves_s)
        edges = [*(s[0] for s in hold.steps), hold.back_s]
        for (start, state), until in zip(hold.steps, edges[1:], strict=True):
            found.append((until - start, state))
        now = hold.back_s
    return found + unroll_between(rules.program, now, end_s)
