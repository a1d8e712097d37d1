"""The plan for a drive: when each signal on an ambulance's route leaves its program, holds green, and is back in step.

A pure function of network, programs, route and time (or the last reported position): no simulation, no clock. Every
hold has passed the safety check together with the program around it; where none passes, the signal is left alone and
named with the reason.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from signals.emergency.changes import SignalRules
from signals.emergency.holds import Hold, Keeper
from signals.emergency.reds import LONGEST_RED_S
from signals.emergency.route import Passage, Route, describe, position_m, read_route
from signals.emergency.traffic import SATURATION_VPH, Cost, Streams
from signals.errors import InfeasiblePlan, InputError
from signals.model.network import Network
from signals.model.phasing import GREEN, SignalProgram
from signals.model.plan import PlanRequest
from signals.timing.rings import recognise_rings

LONGEST_WAIT_CYCLES = 4
"""Without priority nobody is thought to wait longer at one signal."""


LONGEST_NOTICE_S = 3600.0
HORIZON_S = 60.0
"""A hold that has to begin later than that is planned anew by a later report."""
NEAR_S = 30.0
"""Holds as planned before stand until they are about to leave the program, or about to end."""


@dataclass(frozen=True, slots=True)
class Pace:
    """How the ambulance drives, and how far ahead of it signals turn green.

    `early` and `late` are shares of the speed limit at which it is due first and last. A queue needs
    `start_up_s` and `headway_s` a vehicle and lane to be gone; what was set in motion upstream drives ahead of the
    ambulance and has to find the next queue gone, so leads grow along the route, up to `most_lead_s`. Where flows
    aren't known, signals turn green at least `plain_lead_s` ahead. Without further reports a hold ends `margin_s`
    after the ambulance is due at the latest, or sooner: for its sake no link is red for longer than
    `longest_red_s` (a link whose own red comes near that may wait a minute more than it does by the program).
    """

    early: float = 1.0
    late: float = 0.75
    start_up_s: float = 3.0
    headway_s: float = 2.0
    most_lead_s: float = 150.0
    plain_lead_s: float = 20.0
    margin_s: float = 3.0
    longest_red_s: float = LONGEST_RED_S

    def __post_init__(self) -> None:
        if not 0 < self.late <= self.early:
            raise ValueError(
                f"pace from {self.late:g} to {self.early:g} of the limit: need 0 < late <= early"
            )


@dataclass(frozen=True, slots=True)
class Position:
    """A reported position: `along_m` metres on an edge of the route, at a second of the simulation's clock."""

    edge: str
    along_m: float
    time_s: float


@dataclass(frozen=True, slots=True)
class SignalPart:
    """What one signal does for the ambulance. `holds` is empty where the program shows green by itself.

    `longest_red_s` is the longest red of any link around and within the holds, 0 without holds.
    """

    passage: Passage
    movement: str
    phases: tuple[int, ...]
    eta_early_s: float
    eta_late_s: float
    passed: bool
    queue_veh: float
    holds: tuple[Hold, ...]
    costs: tuple[Cost, ...] = ()
    longest_red_s: float = 0.0

    @property
    def red_added_s(self) -> float:
        """The longest red that a movement gets on top of its own."""
        return max((c.red_added_s for c in self.costs), default=0.0)

    @property
    def cross_delay_s(self) -> float:
        """Delay added to the movements that lose by it [veh·s]: an upper bound, as what others gain isn't counted."""
        return sum(max(0.0, c.delay_added_s) for c in self.costs)

    def state(self, time_s: float) -> str | None:
        """The state to show at a second; None where the program is in force."""
        return next((s for h in self.holds if (s := h.state(time_s)) is not None), None)


@dataclass(frozen=True)
class CorridorPlan:
    """The plan for a drive. Travel times are predictions from `now_s` at `driven_m` to the route's end."""

    route: Route
    now_s: float
    driven_m: float
    signals: tuple[SignalPart, ...]
    skipped: Mapping[str, str]
    travel_s: float
    travel_without_s: float
    computed_in_s: float

    @property
    def saved_s(self) -> float:
        """Predicted time saved."""
        return self.travel_without_s - self.travel_s

    @property
    def cross_delay_s(self) -> float:
        """Predicted delay of those who lose by it [veh·s], gains of others not counted."""
        return sum(s.cross_delay_s for s in self.signals)

    @property
    def holds(self) -> dict[str, tuple[Hold, ...]]:
        """Holds by signal, for the next update."""
        return {s.passage.signal: s.holds for s in self.signals}


def plan_corridor(
    network: Network,
    edges: Sequence[str],
    *,
    departs_s: float,
    programs: Mapping[str, SignalProgram] | None = None,
    flows_vph: Mapping[str, Mapping[str, float]] | None = None,
    now_s: float | None = None,
    pace: Pace | None = None,
    request: PlanRequest | None = None,
) -> CorridorPlan:
    """The plan for a drive over `edges` that starts at a second of the clock.

    Parameters
    ----------
    departs_s
        When the ambulance enters the first edge.
    programs
        Those in force, by signal; the network's own by default.
    flows_vph
        Vehicles an hour by signal and movement, for the queues ahead of the ambulance and the cost.
    now_s
        When the plan is made: no signal leaves its program before. By default at departure.

    Raises
    ------
    InputError
        Where the route isn't one, or has no signal.
    """
    planner = CorridorPlanner(
        network, edges, programs=programs, flows_vph=flows_vph, pace=pace, request=request
    )
    return planner.plan(departs_s, now_s=now_s)


class CorridorPlanner:
    """Plans one drive, and plans it anew at every report of the position."""

    def __init__(
        self,
        network: Network,
        edges: Sequence[str],
        *,
        programs: Mapping[str, SignalProgram] | None = None,
        flows_vph: Mapping[str, Mapping[str, float]] | None = None,
        pace: Pace | None = None,
        request: PlanRequest | None = None,
    ) -> None:
        self._started = time.perf_counter()
        self.network = network
        self.route = read_route(network, edges)
        self.pace = pace or Pace()
        self.request = request or PlanRequest()
        self.skipped: dict[str, str] = {}
        self.keepers: dict[str, Keeper] = {}
        self._streams: dict[str, Streams] = {}
        self._programs: dict[str, SignalProgram] = {}
        self._ring_phases: dict[str, tuple[tuple[int, tuple[int, ...]], ...]] = {}
        for passage in self.route.passages:
            self._take(passage, programs or {})
        for signal, flows in (flows_vph or {}).items():
            if signal in self._programs:
                self._streams[signal] = Streams(network.intersections[signal], self._programs[signal], flows)

    def _take(self, passage: Passage, programs: Mapping[str, SignalProgram]) -> None:
        signal = passage.signal
        intersection = self.network.intersections[signal]
        program = programs.get(signal, intersection.program)
        if program is not None and program.cycle_s > 0:
            self._programs[signal] = program
        try:
            rules = SignalRules(intersection, program, self.network.connections, self.request)
        except InfeasiblePlan as reason:
            self.skipped[signal] = str(reason)
            return
        keeper = Keeper(
            rules,
            passage.links,
            self.network.connections,
            self.request,
            longest_red_s=self.pace.longest_red_s,
        )
        if keeper.serving:
            self.keepers[signal] = keeper
        else:
            self.skipped[signal] = f"signal {signal}: no stage of its program lets the route go"

    def plan(
        self, departs_s: float, *, now_s: float | None = None, queues: Mapping[str, float] | None = None
    ) -> CorridorPlan:
        """The plan before departure, or at it; `queues` as for `update`."""
        now = departs_s if now_s is None else now_s
        return self._planned(departs_s, 0.0, now, {}, queues or {}, True)

    def update(
        self,
        position: Position,
        holds: Mapping[str, Sequence[Hold]],
        *,
        queues: Mapping[str, float] | None = None,
        with_costs: bool = True,
    ) -> CorridorPlan:
        """The plan from a reported position on. Signals passed are released, those in their hold keep it.

        `holds` are those of the last plan (`CorridorPlan.holds`), `queues` the vehicles seen on the route between a
        signal's stop line and the one before it, by signal, where known.

        Raises
        ------
        InputError
            Where the position isn't on the route.
        """
        driven = position_m(self.route, self.network, position.edge, position.along_m)
        return self._planned(position.time_s, driven, position.time_s, holds, queues or {}, with_costs)

    def _planned(
        self,
        at_s: float,
        driven_m: float,
        now_s: float,
        holds: Mapping[str, Sequence[Hold]],
        queues: Mapping[str, float],
        with_costs: bool,
    ) -> CorridorPlan:
        started = self._started or time.perf_counter()
        self._started = 0.0
        if not math.isfinite(at_s) or now_s > at_s:
            raise InputError(
                f"departure at {at_s:g} s, planned at {now_s:g} s: plan no later than it departs"
            )
        if at_s - now_s > LONGEST_NOTICE_S:
            raise InputError(
                f"departure at {at_s:g} s, planned at {now_s:g} s: plan at most {LONGEST_NOTICE_S:g} s ahead"
            )
        free_driven = self.route.free_at(driven_m, self.network)
        refused: dict[str, str] = {}
        parts: list[SignalPart] = []
        delay = platoon = before_s = 0.0
        for passage in self.route.passages:
            signal, known = passage.signal, tuple(holds.get(passage.signal, ()))
            passed = driven_m > passage.distance_m
            to_go = max(0.0, passage.free_s - free_driven)
            early, late = at_s + to_go / self.pace.early + delay, at_s + to_go / self.pace.late + delay
            since = min(to_go, passage.free_s - before_s)
            before_s = passage.free_s
            queue, platoon = self._ahead(
                passage, early, since, 0.0 if passed else platoon, queues.get(signal)
            )
            lead = self.pace.start_up_s + platoon
            kept, reason = self._hold(
                signal,
                known,
                now_s,
                driven_m > passage.leaves_m,
                early - lead,
                early + self.pace.margin_s,
                late + self.pace.margin_s,
            )
            if reason:
                refused[signal] = reason
            if not passed:
                delay += self._held_up(signal, kept, early, lead, bool(reason))
            parts.append(
                SignalPart(
                    passage,
                    describe(self.network, passage),
                    self._phases(passage, kept),
                    early,
                    late,
                    passed,
                    queue,
                    kept,
                    self._costs(signal, kept) if with_costs else (),
                    self.keepers[signal].longest_red_s(kept) if kept else 0.0,
                )
            )
        rest = (self.route.free_s - free_driven) / self.pace.early
        return CorridorPlan(
            self.route,
            now_s,
            driven_m,
            tuple(parts),
            {**self.skipped, **refused},
            rest + delay,
            rest + self._delay_without(at_s, free_driven, driven_m),
            time.perf_counter() - started,
        )

    def _hold(
        self,
        signal: str,
        known: tuple[Hold, ...],
        now_s: float,
        passed: bool,
        begin_s: float,
        needed_s: float,
        end_s: float,
    ) -> tuple[tuple[Hold, ...], str]:
        """A signal's holds from now on, and why it gets none where it should."""
        keeper = self.keepers.get(signal)
        if keeper is None:
            return (), ""
        past = tuple(h for h in known if h.leaves_s <= now_s)
        if past and now_s < past[-1].back_s:
            active = past[-1]
            if now_s >= active.ends_s:
                if passed or begin_s > active.back_s or needed_s <= active.ends_s:
                    return past, ""
                return (*past[:-1], keeper.resumed(active, now_s, needed_s, end_s, past[:-1])), ""
            if not passed and active.ends_s - now_s > NEAR_S:
                return past, ""
            end = now_s if passed else end_s
            return (*past[:-1], keeper.released(active, max(end, now_s), past[:-1])), ""
        ahead = known[-1] if known and known[-1].leaves_s > now_s else None
        if (
            ahead is not None
            and not passed
            and begin_s - now_s > HORIZON_S
            and ahead.leaves_s - now_s > NEAR_S
        ):
            return (*past, ahead), ""  # far off: as planned will do until it is nearer
        if passed or (keeper.serves_by_itself(max(begin_s, now_s), end_s)):
            return past, ""
        hold, findings = keeper.fresh(now_s, begin_s, end_s, past, needed_s=needed_s)
        if hold is None:
            why = findings[0].message if findings else "none is in time and keeps the bound on reds"
            return past, f"signal {signal}: no safe hold was found: {why}"
        return (*past, hold), ""

    def _ahead(
        self, passage: Passage, due_s: float, since_s: float, platoon_s: float, seen: float | None
    ) -> tuple[float, float]:
        """Vehicles of the route between a stop line and the one before it, and the time to let all go that are ahead.

        `since_s` is the free travel time from the stop line before (or from the ambulance), `platoon_s` the time
        that those let go there take to pass. Some of them turn off on the way.
        """
        streams = self._streams.get(passage.signal)
        if streams is None:
            vehicles = seen or 0.0
            own = vehicles / max(1, len(passage.links)) * self.pace.headway_s
            return vehicles, min(max(self.pace.plain_lead_s, platoon_s + own), self.pace.most_lead_s)
        rows = [k for k, m in enumerate(streams.movements) if m.id in passage.movements]
        edges = {m.approach for m in streams.movements if m.id in passage.movements}
        together = sum(streams.arrivals[k] for k, m in enumerate(streams.movements) if m.approach in edges)
        along = float(sum(streams.arrivals[k] for k in rows))
        stays = along / together if together > 0 else 1.0
        if seen is None:
            standing = streams.standing(due_s - stays * platoon_s - self.pace.start_up_s)
            vehicles = float(sum(standing[k] for k in rows)) + along * since_s
        else:
            vehicles = stays * seen
        own = vehicles / max(1, len(passage.links)) * self.pace.headway_s
        return vehicles, min(stays * platoon_s + own, self.pace.most_lead_s)

    def _held_up(
        self, signal: str, holds: Sequence[Hold], due_s: float, lead_s: float, refused: bool
    ) -> float:
        """How much later than due the ambulance passes: a hold begins too late, or there is none."""
        current = next((h for h in reversed(holds) if h.back_s > due_s - lead_s), None)
        if current is not None:
            return max(0.0, current.begins_s + lead_s - due_s)
        if signal in self._programs and (refused or signal not in self.keepers):
            return self._wait(signal, due_s)
        return 0.0

    def _delay_without(self, at_s: float, free_driven: float, driven_m: float) -> float:
        """Delay at all signals ahead that the programs alone would mean."""
        delay = 0.0
        for passage in self.route.passages:
            if driven_m <= passage.distance_m and passage.signal in self._programs:
                due = at_s + (passage.free_s - free_driven) / self.pace.early + delay
                delay += self._wait(passage.signal, due)
        return delay

    def _wait(self, signal: str, due_s: float) -> float:
        """Seconds at a stop line under the program alone: for green, and for the queue ahead to be gone."""
        program = self._programs[signal]
        passage = next(p for p in self.route.passages if p.signal == signal)
        streams = self._streams.get(signal)
        ahead = 0.0
        if streams is not None:
            standing = streams.standing(due_s)
            ahead = sum(
                float(standing[k]) for k, m in enumerate(streams.movements) if m.id in passage.movements
            )
        lanes = max(1, len(passage.links))
        waited, stopped = 0, False
        while waited < LONGEST_WAIT_CYCLES * program.cycle_s:
            state = program.state_at(due_s + waited)
            if any(state[i] in GREEN for i in passage.links):
                if ahead <= 0.5:
                    break
                ahead -= lanes * SATURATION_VPH / 3600.0
            stopped = True
            waited += 1
        return waited + (self.pace.start_up_s if stopped else 0.0)

    def _phases(self, passage: Passage, holds: Sequence[Hold]) -> tuple[int, ...]:
        """NEMA numbers of the phases that the hold shows, where the signal's program is rings of them."""
        if not holds:
            return ()
        rings = self._rings(passage.signal)
        return tuple(n for n, links in rings if _shows(holds[-1].stage, links))

    def _rings(self, signal: str) -> tuple[tuple[int, tuple[int, ...]], ...]:
        if signal not in self._ring_phases:
            found = recognise_rings(self.network.intersections[signal], self.network)
            phases = () if found is None else (p for ring in found.rings for side in ring for p in side)
            self._ring_phases[signal] = tuple(sorted((p.number, p.links) for p in phases))
        return self._ring_phases[signal]

    def _costs(self, signal: str, holds: Sequence[Hold]) -> tuple[Cost, ...]:
        streams = self._streams.get(signal)
        if streams is None:
            if not holds:
                return ()
            streams = Streams(self.network.intersections[signal], self._programs[signal], {})
        total: dict[str, Cost] = {}
        for hold in holds:
            held = [hold.state(t) or "" for t in range(math.floor(hold.leaves_s), math.floor(hold.back_s))]
            for cost in streams.costs(held, hold.leaves_s):
                known = total.get(cost.movement, Cost(cost.movement, 0.0, 0.0))
                total[cost.movement] = replace(
                    known,
                    red_added_s=known.red_added_s + cost.red_added_s,
                    delay_added_s=known.delay_added_s + cost.delay_added_s,
                )
        return tuple(total.values())


def _shows(state: str, links: Sequence[int]) -> bool:
    """Whether a state shows a phase: all of its links go, and not all of them by leave of others."""
    letters = [state[i] for i in links]
    return all(c in GREEN for c in letters) and "G" in letters
