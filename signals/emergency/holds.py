"""One signal: when to leave the program for the ambulance's green, and the shortest safe way back into step.

No link that the program serves is red for longer than its bound: a hold that can't keep to it begins later or ends
earlier, and stages that have waited too long are served before the program takes over.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from heapq import merge
from itertools import islice

from signals.emergency.changes import Change, Shown, SignalRules, Standing, Steps
from signals.emergency.reds import LONGEST_RED_S, longest_reds, red_bounds
from signals.model.network import Connection
from signals.model.phasing import GREEN
from signals.model.plan import PlanRequest
from signals.safety.check import Finding, check_timeline
from signals.safety.timeline import unroll_between

AROUND_CYCLES = 2
"""Turns of the program before and after a hold that are checked with it."""
MOST_WAYS = 60
"""So many ways back are tried before a hold is refused."""
MOST_OUTS = 40
"""So many ways out and their ends are tried before a hold is refused."""
MOST_UNSAFE = 3
"""A hold is refused when so many ways out have no safe way back."""
MOST_BETWEEN = 2
"""So many stages are served between a hold and the program."""
MOST_LATE_CYCLES = 0.5
"""A hold that would begin later than that begins sooner, and ends before all of the queue can be gone."""
SHORTEST_S = 10
STEP_S = 3
"""Ends of holds are tried so far apart."""


@dataclass(frozen=True, slots=True)
class Hold:
    """A time away from the program, on the simulation's clock [s].

    The signal leaves its program at `leaves_s`, shows the ambulance's stage from `begins_s` to `ends_s` and is
    back in step at `back_s`. `steps` are the states between, each with the second from which it is shown: on the
    way there and on the way back also stages that can't wait, and earlier greens of a hold that had to be resumed.
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
    """A way back: the changes to stages that can't wait, if any, what stands then, and when all is in step."""

    back_s: float
    between: tuple[Change, ...]
    standing: Standing
    from_s: float


def _preference(way: _Way) -> tuple[float, int]:
    return way.back_s, len(way.between)


_Found = tuple[Hold | None, tuple[Finding, ...]]


class Keeper:
    """Finds and checks the holds of one signal."""

    def __init__(
        self,
        rules: SignalRules,
        links: Sequence[int],
        connections: Sequence[Connection],
        request: PlanRequest,
        *,
        longest_red_s: float = LONGEST_RED_S,
    ) -> None:
        self.rules = rules
        self.bounds = red_bounds(rules.program, longest_red_s)
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
        shown = self._shown(begin_s - self.rules.program.cycle_s, end_s + 1.0, ())
        return all(
            self._rank(shown.state(t)) >= self._best for t in range(math.floor(begin_s), math.ceil(end_s) + 1)
        )

    def fresh(
        self,
        earliest_s: float,
        begin_s: float,
        end_s: float,
        past: Sequence[Hold] = (),
        *,
        needed_s: float | None = None,
    ) -> _Found:
        """A hold that begins by a wanted second if it can, left no earlier than needed; or why none is safe.

        It lasts to `end_s`, or as long after `needed_s` as the bound on reds allows. Where that can't be, it begins
        later, and where it would be too late, it ends earlier.
        """
        cycle_s = self.rules.program.cycle_s
        earliest = math.ceil(earliest_s)
        begin, end = max(math.floor(begin_s), earliest), max(math.ceil(end_s), earliest + 1)
        needed = end if needed_s is None else min(end, max(math.ceil(needed_s), begin + 1))
        shown = self._shown(earliest - 3.5 * cycle_s, end + 6 * cycle_s, past)
        outs = self._ways_out(shown, earliest, begin, begin + math.ceil(cycle_s))
        return self._first_out(outs, shown, (begin, needed, end), past)

    def resumed(
        self, hold: Hold, now_s: float, needed_s: float, end_s: float, past: Sequence[Hold] = ()
    ) -> Hold:
        """A hold on its way back that turns to the ambulance's stage again: it had to end before that had passed.

        The hold as it was, where that can't be.
        """
        cycle_s = self.rules.program.cycle_s
        now = math.ceil(now_s)
        begin = max(now, math.ceil(hold.ends_s))
        end = max(math.ceil(end_s), begin + 1)
        needed = min(end, max(math.ceil(needed_s), begin + 1))
        led = self._shown(hold.leaves_s - 4 * cycle_s, end + 6 * cycle_s, (*past, hold))
        shown = self._shown(hold.leaves_s - 4 * cycle_s, end + 6 * cycle_s, past)
        outs = (
            Change(
                (*(s for s in hold.steps if s[0] < out.starts_s), *out.steps),
                hold.leaves_s,
                out.ends_s,
                out.after,
            )
            for out in self._ways_out(led, begin, begin, math.floor(hold.back_s))
        )
        again, _ = self._first_out(outs, shown, (begin, needed, end), past)
        return again or hold

    def _first_out(
        self, outs: Iterable[Change], shown: Shown, wanted: tuple[int, int, int], past: Sequence[Hold]
    ) -> _Found:
        """The first way out that lets a hold be as long as needed, or else be long enough to be of use."""
        begin, needed, end = wanted
        most_late = MOST_LATE_CYCLES * self.rules.program.cycle_s
        first: tuple[Finding, ...] = ()
        seen: list[Change] = []
        unsafe = 0
        for whole in (True, False):
            tried: set[tuple[Standing, int]] = set()
            for out in outs if whole else seen:
                seen += [out] if whole else []
                late = max(0, int(out.ends_s) - begin)
                if whole and late > most_late:
                    continue
                least = needed + late if whole else int(out.ends_s) + SHORTEST_S
                if (out.after, least) in tried or len(tried) == MOST_OUTS:
                    continue
                if self._deadline_s(out.after) < least:
                    continue
                tried.add((out.after, least))
                hold, findings = self._longest(shown, out, (least, max(least, end + late)), past)
                if hold is not None:
                    return hold, ()
                first = first or findings
                unsafe += bool(findings)
                if unsafe == MOST_UNSAFE:
                    return None, first
        return None, first

    def released(self, hold: Hold, at_s: float, past: Sequence[Hold] = ()) -> Hold:
        """A hold under way with another end: at the wanted second, or as near to it as greens and reds allow."""
        cycle_s = self.rules.program.cycle_s
        end = max(math.ceil(at_s), int(hold.begins_s))
        shown = self._shown(hold.leaves_s - 4 * cycle_s, max(end, hold.ends_s) + 6 * cycle_s, past)
        kept = tuple(s for s in hold.steps if s[0] <= hold.begins_s)
        after = self._standing_after(shown.standing(hold.leaves_s), kept, hold)
        out = Change(kept, hold.leaves_s, hold.begins_s, after)
        if end > hold.ends_s:
            longer, _ = self._longest(shown, out, (int(hold.ends_s) + 1, end), past)
            return longer or hold
        for sooner in range(end, int(hold.ends_s), STEP_S):
            found, _ = self._first_safe(self._ended(shown, out, sooner, past), past)
            if found is not None:
                return found
        return hold

    def _shown(self, begin: float, end: float, past: Sequence[Hold]) -> Shown:
        """The program, and past holds where they were."""
        cycle_s = self.rules.program.cycle_s
        begin = min([begin, *(h.leaves_s - cycle_s for h in past)])
        return Shown(pieces(self.rules, past, begin, end), begin, cycle_s)

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

    def _ways_out(self, shown: Shown, earliest: int, begin: int, until: int) -> Iterator[Change]:
        """Ways to a stage for the route, straight or by one that waits: the latest in time first, then later ones."""
        since = max(earliest, begin - 3 * math.ceil(self.rules.program.cycle_s) // 2)
        straight = [self._last_out(shown, state, since, begin) for state in self.serving]
        yield from sorted((out for out in straight if out is not None), key=lambda out: -out.starts_s)
        found: list[Change] = []
        for state in self.serving:
            for between in (None, *(s for s in self.rules.stages if s != state)):
                in_time: Standing | None = None
                for time in range(begin, since - 1, -1):
                    standing = shown.standing(time)
                    if standing is in_time:
                        continue
                    out = self._out(standing, time, between, state)
                    found += [] if out is None else [out]
                    in_time = standing if out is not None and out.ends_s <= begin else in_time
                for time in range(begin + 1, until, STEP_S):
                    out = self._out(shown.standing(time), time, between, state)
                    found += [] if out is None else [out]
        yield from sorted(found, key=lambda out: (max(out.ends_s, begin), -out.starts_s))

    def _last_out(self, shown: Shown, state: str, since: int, begin: int) -> Change | None:
        """The latest straight way to a stage that arrives by a second."""
        for time in range(begin, since - 1, -1):
            out = self._leave(shown.standing(time), time, state)
            if out is not None and out.ends_s <= begin:
                return out
        return None

    def _out(self, standing: Standing, time: int, between: str | None, state: str) -> Change | None:
        """The way to a stage from a second on: straight, or by one that waits, for its least green."""
        if between is None:
            return self._leave(standing, time, state)
        if standing.state in (state, between) or not self._serves_waiting(standing.state, between):
            return None
        first = self._leave(standing, time, between)
        if first is None:
            return None
        second = self.rules.change(
            first.after, max(first.ends_s, self.rules.ready_s(first.after, state)), state
        )
        if second is None:
            return None
        return Change((*first.steps, *second.steps), first.starts_s, second.ends_s, second.after)

    def _serves_waiting(self, before: str, after: str) -> bool:
        starting, _ = self.rules.starting(before, after)
        return any(before[i] not in GREEN for i in starting)

    def _leave(self, standing: Standing, time: float, state: str) -> Change | None:
        if standing.state not in self.rules.stages:
            return None
        out = self.rules.change(standing, float(time), state)
        if out is not None and not out.steps:
            out = Change(((float(time), state),), float(time), float(time), standing)
        return out

    def _longest(self, shown: Shown, out: Change, ends: tuple[int, int], past: Sequence[Hold]) -> _Found:
        """A hold that ends as late between two seconds as the bound on reds allows."""
        least, most = ends
        until = math.floor(min(most, self._deadline_s(out.after)))
        if until < least:
            return None, ()
        if next(self._ended(shown, out, least, past), None) is None:
            return None, ()
        longest, end = least, until
        while longest < end:
            if next(self._ended(shown, out, end, past), None) is not None:
                longest = end
            elif end - longest <= STEP_S:
                break
            else:
                end = (longest + end) // 2
        hold, findings = self._first_safe(self._ended(shown, out, longest, past), past)
        if hold is None and longest > least:
            return self._first_safe(self._ended(shown, out, least, past), past)
        return hold, findings

    def _deadline_s(self, standing: Standing) -> float:
        """The second by which the first of the waiting links has to go."""
        return min(
            (
                since + bound
                for letter, since, bound in zip(
                    standing.state, standing.link_since_s, self.bounds, strict=True
                )
                if letter not in GREEN
            ),
            default=math.inf,
        )

    def _ended(self, shown: Shown, out: Change, end: int, past: Sequence[Hold]) -> Iterator[Hold]:
        """Holds within the bound on reds that end at a second or later, those in step soonest first."""
        ways = [self._ways_back(shown, *chain) for chain in self._chains(out.after, end, ())]
        for way in islice(merge(*ways, key=_preference), MOST_WAYS):
            hold = self._hold(out, way, shown.state(way.back_s))
            if hold is not None and self.within_bounds((*past, hold)):
                yield hold

    def _first_safe(self, holds: Iterable[Hold], past: Sequence[Hold]) -> _Found:
        findings: tuple[Finding, ...] = ()
        for hold in holds:
            findings = self.findings((*past, hold))
            if not findings:
                return hold, ()
        return None, findings

    def _chains(
        self, standing: Standing, now: float, between: tuple[Change, ...]
    ) -> Iterator[tuple[Standing, float, tuple[Change, ...]]]:
        """Rows of stages to serve after a hold, each as short as it may be, in which nobody waits too long."""
        yield standing, now, between
        if len(between) == MOST_BETWEEN:
            return
        for state in self.rules.stages:
            if not self._serves_waiting(standing.state, state):
                continue
            change = self.rules.change(standing, max(now, self.rules.ready_s(standing, state)), state)
            if change is None or any(
                change.ends_s - standing.link_since_s[i] > self.bounds[i]
                for i, letter in enumerate(standing.state)
                if letter not in GREEN
            ):
                continue
            yield from self._chains(change.after, change.ends_s, (*between, change))

    def _ways_back(
        self, shown: Shown, standing: Standing, now: float, between: tuple[Change, ...]
    ) -> Iterator[_Way]:
        """Ways from a standing stage back into step, the soonest first."""
        waiting = [
            (i, standing.link_since_s[i] + self.bounds[i])
            for i, letter in enumerate(standing.state)
            if letter not in GREEN
        ]
        until = min([now + 2 * self.rules.program.cycle_s, *(deadline + 1 for _, deadline in waiting)])
        lengths: dict[str, float | None] = {}
        for time in range(int(now), int(until)):
            target = shown.state(time)
            if target not in self.rules.stages:
                continue
            if target not in lengths:
                way = self._return(standing, now, target)
                lengths[target] = None if way is None else way.ends_s - way.starts_s
            length = lengths[target]
            if length is None or time - length < max(now, self.rules.ready_s(standing, target)):
                continue
            green_from = shown.green_from_s(time)
            if all(max(time, green_from[i]) <= deadline for i, deadline in waiting) and self._lasts(
                shown, time, standing.state, target
            ):
                yield _Way(float(time), between, standing, now)

    def _return(self, standing: Standing, now: float, target: str) -> Change | None:
        """The change back at a second that is surely late enough for every green to have had its least."""
        return self.rules.change(standing, now + math.ceil(max(self.rules.least_green_s)), target)

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

    def _hold(self, out: Change, way: _Way, target: str) -> Hold | None:
        """The hold of a way: what it shows second by second; None where a green would be too short."""
        probe = self._return(way.standing, way.from_s, target)
        if probe is None:
            return None
        back = self.rules.change(way.standing, way.back_s - (probe.ends_s - probe.starts_s), target)
        if back is None or back.ends_s != way.back_s:
            return None
        changes = (*way.between, back)
        steps = (*out.steps, *(s for change in changes for s in change.steps if s[0] < way.back_s))
        return Hold(out.starts_s, out.ends_s, changes[0].starts_s, way.back_s, out.after.state, steps)

    def longest_red_s(self, holds: Sequence[Hold]) -> float:
        """The longest red of any link that the program serves, holds and the program around them taken together."""
        return max(self._reds(holds))

    def within_bounds(self, holds: Sequence[Hold]) -> bool:
        """Whether no link waits longer at red than it may."""
        return all(red <= bound + 1e-6 for red, bound in zip(self._reds(holds), self.bounds, strict=True))

    def _reds(self, holds: Sequence[Hold]) -> list[float]:
        program = self.rules.program
        around = AROUND_CYCLES * program.cycle_s
        rows = pieces(self.rules, holds, holds[0].leaves_s - around, holds[-1].back_s + around)
        return longest_reds(rows, program.n_links)

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
