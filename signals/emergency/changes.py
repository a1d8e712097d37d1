"""What one signal may show on its way from one stage to another: minimums, clearances, and changes built of them.

Clearances are those that the safety check asks for (`required_intergreens`), so that a change between stages
that never follow each other in the field is as long as the field's own figures make it. Changes begin and end
on whole seconds: a change that is cut by a controller's clock would be shorter than it was built.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from signals.errors import InfeasiblePlan
from signals.model.network import Connection, Intersection
from signals.model.phasing import GREEN, SignalProgram
from signals.model.plan import PlanRequest
from signals.safety.check import required_intergreens
from signals.safety.field import FieldRecord, across_s, blocks
from signals.safety.timeline import Timeline, lay_out
from signals.timing.stages import stage_plan

Steps = tuple[tuple[float, str], ...]
"""States and the second of the clock from which each is shown."""


@dataclass(frozen=True, slots=True)
class Standing:
    """What a signal shows, since when, and for each link when its green began, or ended where it has none."""

    state: str
    since_s: float
    link_since_s: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Change:
    """A way from one state to another: what is shown from `starts_s` on, and when the new state stands."""

    steps: Steps
    starts_s: float
    ends_s: float
    after: Standing


class SignalRules:
    """Stages, minimums and clearances of one signal under the program in force.

    Raises
    ------
    InfeasiblePlan
        Where the signal can't be led out of its program and back; the message gives the reason.
    """

    def __init__(
        self,
        intersection: Intersection,
        program: SignalProgram | None,
        connections: Sequence[Connection],
        request: PlanRequest,
    ) -> None:
        name = f"signal {intersection.id}"
        if program is None or not program.intervals:
            raise InfeasiblePlan(f"{name}: has no program, so it can't be given priority")
        if program.kind not in ("static", ""):
            raise InfeasiblePlan(
                f"{name}: its program is {program.kind}, with no fixed times to leave and to return to; "
                "give it a static one"
            )
        self.intersection = intersection
        self.program = program
        staged = stage_plan(replace(intersection, program=program), request, connections)
        self.stages: tuple[str, ...] = tuple(dict.fromkeys(s.state for s in staged.stages))
        self.crossings = frozenset(c.link for c in intersection.crossings)
        self._intergreens = dict(required_intergreens(intersection, request, connections=connections).seconds)
        self._foes: dict[int, set[int]] = defaultdict(set)
        for i, j in intersection.conflicts.conflicts:
            self._foes[i].add(j)
            self._foes[j].add(i)
        field = FieldRecord(intersection)
        self._clear_crossings(field, request)
        self._yellow_s = [field.yellow_s(i) for i in range(program.n_links)]
        self._prepare_s = [_shortest_run_s(program, i, "u") for i in range(program.n_links)]
        self.least_green_s = self._least_greens(field, request)
        self.least_stated_s: dict[str, float] = {}
        for block in () if request.ignore_durations else blocks(program):
            if block.stated:
                known = self.least_stated_s.get(block.state, math.inf)
                self.least_stated_s[block.state] = min(block.least_s, known)

    def _clear_crossings(self, field: FieldRecord, request: PlanRequest) -> None:
        """People get the time to walk across before anybody drives there, or as much of it as the field gives."""
        for crossing in self.intersection.crossings:
            given = min((w.clear_s for w in field.walks(crossing.link)), default=math.inf)
            clear = min(across_s(crossing, request), given)
            for j in self._foes[crossing.link] - self.crossings:
                known = self._intergreens.get((crossing.link, j), 0.0)
                self._intergreens[crossing.link, j] = max(known, clear)

    def _least_greens(self, field: FieldRecord, request: PlanRequest) -> list[float]:
        """The shortest green of each link: of a crossing, walk and what its clearance leaves to be done."""
        least = [0.0] * self.program.n_links
        for link in self.intersection.vehicle_links:
            least[link] = min(request.min_green_s, field.shortest_green_s[link])
        for crossing in self.intersection.crossings:
            across = across_s(crossing, request)
            given = field.walks(crossing.link)
            walk = min((request.walk_s, *(w.green_s for w in given)))
            total = min((request.walk_s + across, *(w.given_s(across) for w in given)))
            foes = self._foes[crossing.link] - self.crossings
            clear = min((self.intergreen_s(crossing.link, j) for j in foes), default=across)
            least[crossing.link] = max(walk, total - min(clear, across))
        return least

    def intergreen_s(self, ending: int, starting: int) -> float:
        """Seconds from the end of one link's green to the start of another's, 0 where they don't conflict."""
        return self._intergreens.get((ending, starting), 0.0)

    def starting(self, before: str, after: str) -> tuple[list[int], list[int]]:
        """Links that start to go, or go on protected, and turns that lose their arrow and are cleared for that."""
        fresh = [
            j for j, (a, b) in enumerate(zip(before, after, strict=True)) if b in GREEN and a not in GREEN
        ]
        upgraded = [j for j, (a, b) in enumerate(zip(before, after, strict=True)) if a == "g" and b == "G"]
        vehicles = set(fresh) - self.crossings
        lost = [
            i
            for i, (a, b) in enumerate(zip(before, after, strict=True))
            if (a, b) == ("G", "g") and self._foes[i] & vehicles
        ]
        return fresh + upgraded, lost

    def change(self, before: Standing, now_s: float, after: str) -> Change | None:
        """The shortest way from a standing state to another one, from a whole second on; None where it is too early."""
        a, b = before.state, after
        if a == b:
            return Change((), now_s, now_s, before)
        if now_s - before.since_s < self.least_stated_s.get(a, 0.0):
            return None
        starting, lost = self.starting(a, b)
        gone = [i for i, (x, y) in enumerate(zip(a, b, strict=True)) if x in GREEN and y not in GREEN]
        walkers = [i for i in gone if i in self.crossings]
        ending = [i for i in gone if i not in self.crossings] + lost
        waits = [
            before.link_since_s[i] - now_s + self.intergreen_s(i, j)
            for i in range(len(a))
            if a[i] not in GREEN
            for j in (*starting, *lost)
        ]
        walks = [self.intergreen_s(i, j) for i in walkers for j in (*starting, *lost)]
        clear_s = max([self._clear_s(i, (*starting, *lost)) for i in ending], default=0)
        total_s = max(clear_s, _whole(max([0.0, *waits, *walks])))
        hold_on_s = total_s - clear_s
        for i in (*walkers, *ending):
            until = now_s + (0.0 if i in self.crossings else hold_on_s)
            if until - before.link_since_s[i] < self.least_green_s[i]:
                return None
        steps = self._steps(a, b, now_s, hold_on_s, total_s, walkers, ending, starting)
        since = list(before.link_since_s)
        for i in walkers:
            since[i] = now_s
        for i in ending:
            since[i] = now_s + hold_on_s
        for j in (*starting, *lost):
            if a[j] not in GREEN or j in lost:
                since[j] = now_s + total_s
        ends_s = now_s + total_s
        return Change((*steps, (ends_s, b)), now_s, ends_s, Standing(b, ends_s, tuple(since)))

    def ready_s(self, standing: Standing, after: str) -> float:
        """The whole second from which a standing state may surely be left for another one."""
        ending = [
            i
            for i, (x, y) in enumerate(zip(standing.state, after, strict=True))
            if x in GREEN and (y not in GREEN or (x, y) == ("G", "g"))
        ]
        stated = standing.since_s + self.least_stated_s.get(standing.state, 0.0)
        return _whole(max([stated, *(standing.link_since_s[i] + self.least_green_s[i] for i in ending)]))

    def _clear_s(self, ending: int, starting: Sequence[int]) -> int:
        """Yellow and red of a vehicle link before others start, in whole seconds."""
        return _whole(
            max([self._yellow_s[ending], *(self.intergreen_s(ending, j) for j in starting if j != ending)])
        )

    def _steps(
        self,
        a: str,
        b: str,
        now_s: float,
        hold_on_s: float,
        total_s: float,
        walkers: Sequence[int],
        ending: Sequence[int],
        starting: Sequence[int],
    ) -> Steps:
        until = {i: hold_on_s + self._yellow_s[i] for i in ending}
        ready = {
            j: total_s - self._prepare_s[j] for j in starting if a[j] not in GREEN and self._prepare_s[j]
        }
        times = {0.0, hold_on_s, *until.values(), *ready.values()}
        steps: list[tuple[float, str]] = []
        for time in sorted(t for t in times if 0 <= t < total_s):
            letters = []
            for i, (x, y) in enumerate(zip(a, b, strict=True)):
                if i in walkers:
                    letters.append("r")
                elif i in until and time >= hold_on_s:
                    letters.append("y" if time < until[i] else ("s" if y == "s" else "r"))
                elif x in GREEN:
                    letters.append("g" if time >= hold_on_s and "g" in (x, y) else x)
                elif i in ready and time >= ready[i]:
                    letters.append("u")
                else:
                    letters.append("s" if x == y == "s" else "r")
            state = "".join(letters)
            if not steps or steps[-1][1] != state:
                steps.append((now_s + time, state))
        return tuple(steps)


class Shown:
    """What a signal shows, (duration, state) from a second on, with each link's standing at any second of it."""

    def __init__(self, rows: Iterable[tuple[float, str]], begin_s: float, cycle_s: float) -> None:
        self.timeline: Timeline = lay_out(rows, begin_s)
        n_links = len(self.timeline.states[0])
        since = [begin_s - cycle_s] * n_links
        self._standing: list[Standing] = []
        before = self.timeline.states[0]
        for start, _, state in self.timeline.steps():
            for i in range(n_links):
                if (state[i] in GREEN) != (before[i] in GREEN):
                    since[i] = start
            self._standing.append(Standing(state, start, tuple(since)))
            before = state
        self._ends = [end for _, end, _ in self.timeline.steps()]
        starts = [math.inf] * n_links
        self._green_from: list[tuple[float, ...]] = []
        for start, _, state in reversed(list(self.timeline.steps())):
            starts = [start if letter in GREEN else s for s, letter in zip(starts, state, strict=True)]
            self._green_from.append(tuple(starts))
        self._green_from.reverse()

    def _index(self, time_s: float) -> int:
        return max(0, bisect_right(self.timeline.starts, time_s + 1e-6) - 1)

    def standing(self, time_s: float) -> Standing:
        """The state at a second of the clock; the same object for as long as it stands."""
        return self._standing[self._index(time_s)]

    def state(self, time_s: float) -> str:
        """The letters alone."""
        return self.timeline.states[self._index(time_s)]

    def state_left_s(self, time_s: float) -> float:
        """How long the state goes on to be shown."""
        return self._ends[self._index(time_s)] - time_s

    def green_from_s(self, time_s: float) -> tuple[float, ...]:
        """For each link, the start of its green at this second, or else of its next one."""
        return self._green_from[self._index(time_s)]

    def green_left_s(self, time_s: float, link: int) -> float:
        """How long a link goes on to be green, 0 where it isn't."""
        k = self._index(time_s)
        end = time_s
        while k < len(self._ends) and self.timeline.states[k][link] in GREEN:
            end = self._ends[k]
            k += 1
        return end - time_s


def _whole(seconds: float) -> int:
    return math.ceil(seconds - 1e-6)


def _shortest_run_s(program: SignalProgram, link: int, letter: str) -> float:
    return min((i.duration_s for i in program.intervals if i.state[link] == letter), default=0.0)
