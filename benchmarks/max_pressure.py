"""Max-pressure control over TraCI (Varaiya, Transportation Research C 36, 2013, 177-195), as a peer of the loop.

Every signal shows the stage with the greatest pressure: over its movements, the queue less the mean queue of where
the movement leads, times the lanes that discharge. Queues are those of detectors that see the whole way back to the
signal before. Stages, changes and minimums are the program's own: what is shown between two stages comes from
`SignalRules`, which the safety check asks no more of.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from time import monotonic, sleep
from typing import Any

from signals.emergency.changes import Change, SignalRules, Standing
from signals.errors import InfeasiblePlan, SimulationError
from signals.formats.sumo.config import Scenario
from signals.formats.sumo.live import CONNECT_S, free_port
from signals.model.demand import TurningCounts
from signals.model.network import Movement, Network
from signals.model.plan import PlanRequest
from signals.simulation.run import RunResult, simulate


@dataclass(frozen=True, slots=True)
class Pressure:
    """How max-pressure is set: a stage lasts `least_s` at least and is thought over every `every_s` after that.

    `halting` counts vehicles that stand, else all of them. `permitted` is the part of a lane's discharge that a turn
    with a permitted green has.
    """

    least_s: int = 10
    every_s: int = 5
    halting: bool = True
    permitted: float = 1.0


TRIED = (
    Pressure(5),
    Pressure(10),
    Pressure(15),
    Pressure(20),
    Pressure(10, halting=False),
    Pressure(10, permitted=0.5),
)
"""What is tried on tuning days; the best is compared."""


def run_max_pressure(
    scenario: Scenario,
    network: Network,
    counts: TurningCounts,
    setting: Pressure,
    *,
    seed: int,
    plans: Sequence[Path] = (),
    timeout_s: float = 3600.0,
) -> RunResult:
    """A day under max-pressure; `counts` give the shares of movements, as far as lanes don't tell them apart.

    Raises
    ------
    SimulationError
        Where SUMO ends with an error or takes too long.
    """
    port = free_port()
    end_s = scenario.end_s if scenario.end_s is not None else float("inf")
    with ThreadPoolExecutor(1) as pool:
        run = pool.submit(
            simulate,
            scenario,
            seed=seed,
            plans=plans,
            extra=("--remote-port", str(port)),
            timeout_s=timeout_s,
        )
        deadline = monotonic() + CONNECT_S
        while (sumo := _connected(port)) is None:
            if run.done() or monotonic() > deadline:
                raise SimulationError(f"{scenario.name}: SUMO doesn't start ({run.exception(0)})")
            sleep(0.05)
        _Control(network, counts, setting, sumo).run(end_s)
        sumo.close(False)
        return run.result()


def _connected(port: int) -> Any:
    from traci.connection import Connection

    try:
        return Connection("127.0.0.1", port, None, None, False)
    except OSError:
        return None


class Queues:
    """Queues by movement from counts by lane and edge, and the pressure of each movement."""

    def __init__(self, network: Network, counts: TurningCounts) -> None:
        self._network = network
        signalled = {c.from_edge for c in network.connections if c.signal is not None}
        self._into: dict[str, set[str]] = {}
        self._onto: dict[str, set[str]] = {}
        for c in network.connections:
            if c.signal is None and c.from_edge not in signalled:
                self._into.setdefault(c.to_edge, set()).add(c.from_edge)
                self._onto.setdefault(c.from_edge, set()).add(c.to_edge)
        self.movements: dict[str, tuple[Movement, ...]] = {}
        self.share: dict[str, float] = {}
        for signal, intersection in network.intersections.items():
            for approach in intersection.approaches:
                own = tuple(m for m in intersection.movements if m.approach == approach.edge)
                self.movements[approach.edge] = own
                # nobody is known to come: all alike
                volume = {m.id: 1e-3 + sum(counts.counts[signal].get(m.id, ())) for m in own}
                for m in own:
                    self.share[m.id] = volume[m.id] / sum(volume.values())
        self.lanes = {m.id: self._lanes_of(m) for own in self.movements.values() for m in own}
        self.before = {edge: tuple(self._upstream(edge)) for edge in self.movements}
        self._after = {m.to_edge: self._downstream(m.to_edge) for own in self.movements.values() for m in own}

    def _lanes_of(self, movement: Movement) -> dict[str, float]:
        """Each lane of a movement, and the part of the lane's vehicles that are the movement's."""
        edge = self._network.edges[movement.approach]
        found = {}
        for position in movement.lanes:
            on_it = [m for m in self.movements[movement.approach] if position in m.lanes]
            found[edge.lanes[position].id] = self.share[movement.id] / sum(self.share[m.id] for m in on_it)
        return found

    def queues(self, lanes: Mapping[str, float], edges: Mapping[str, float]) -> dict[str, float]:
        """Vehicles of each movement, from those on lanes at stop lines and on edges before."""
        found: dict[str, float] = {}
        for edge, own in self.movements.items():
            behind = sum(edges.get(e, 0.0) for e in self.before[edge])
            for m in own:
                here = sum(lanes.get(lane, 0.0) * part for lane, part in self.lanes[m.id].items())
                found[m.id] = here + behind * self.share[m.id]
        return found

    def pressure(self, movement: Movement, queues: Mapping[str, float]) -> float:
        """The queue of a movement less the mean queue of where it leads."""
        after = self._after[movement.to_edge]
        ahead = sum(self.share[m.id] * queues[m.id] for m in self.movements.get(after, ()))
        return queues[movement.id] - ahead

    def _upstream(self, edge: str) -> Iterator[str]:
        """Edges before an approach from which everybody comes to it."""
        seen = {edge}
        while len(before := self._into.get(edge, set())) == 1:
            edge = next(iter(before))
            if edge in seen or len(self._onto.get(edge, set())) != 1:
                return
            seen.add(edge)
            yield edge

    def _downstream(self, edge: str) -> str:
        """The approach that an edge leads to, the last edge before the way divides where it is none."""
        seen = {edge}
        while edge not in self.movements and len(after := self._onto.get(edge, set())) == 1:
            edge = next(iter(after))
            if edge in seen:
                break
            seen.add(edge)
        return edge


class _Signal:
    """One signal under control: what it shows, and the change that it is in."""

    def __init__(self, rules: SignalRules, weights: Mapping[str, Mapping[str, float]]) -> None:
        self.rules = rules
        self.weights = weights
        self.standing: Standing | None = None
        self.change: Change | None = None
        self.think_s = 0.0
        self.shown = ""

    def due_s(self, now: float) -> float:
        """The next whole second at which something is to be done."""
        if self.change is None:
            return self.think_s
        return min(float(math.ceil(since)) for since, _ in self.change.steps if math.ceil(since) > now)

    def best(self, pressure: Mapping[str, float]) -> str:
        """The stage with the greatest pressure; the standing one where it is as good."""
        assert self.standing is not None
        current = self.standing.state
        worth = {
            state: sum(part * pressure[m] for m, part in parts.items())
            for state, parts in self.weights.items()
        }
        return max(worth, key=lambda state: (worth[state], state == current))


class _Control:
    """The loop around one simulation."""

    def __init__(self, network: Network, counts: TurningCounts, setting: Pressure, sumo: Any) -> None:
        self.setting = setting
        self.sumo = sumo
        self.queues = Queues(network, counts)
        self.signals: dict[str, _Signal] = {}
        self.by_id = {m.id: m for own in self.queues.movements.values() for m in own}
        for signal, intersection in network.intersections.items():
            try:
                rules = SignalRules(intersection, intersection.program, network.connections, PlanRequest())
            except InfeasiblePlan:
                continue
            weights = {
                state: {m.id: self._discharge(m, state) for m in intersection.movements}
                for state in rules.stages
            }
            self.signals[signal] = _Signal(rules, weights)

    def _discharge(self, movement: Movement, state: str) -> float:
        """Lanes that a movement discharges over in a stage."""
        lanes = sum(self.queues.lanes[movement.id].values())
        shown = {state[link] for link in movement.links}
        return lanes if "G" in shown else lanes * self.setting.permitted if "g" in shown else 0.0

    def run(self, end_s: float) -> None:
        """Step to the end, every second."""
        from traci import constants

        key = (
            constants.LAST_STEP_VEHICLE_HALTING_NUMBER
            if self.setting.halting
            else constants.LAST_STEP_VEHICLE_NUMBER
        )
        lanes = {lane for parts in self.queues.lanes.values() for lane in parts}
        edges = {edge for before in self.queues.before.values() for edge in before}
        for lane in sorted(lanes):
            self.sumo.lane.subscribe(lane, [key])
        for edge in sorted(edges):
            self.sumo.edge.subscribe(edge, [key])
        pressure: dict[str, float] = {}
        now = self.sumo.simulation.getTime()
        while now < end_s:
            if any(s.change is None and now >= s.think_s for s in self.signals.values()):
                on_lanes = {x: float(v[key]) for x, v in self.sumo.lane.getAllSubscriptionResults().items()}
                on_edges = {x: float(v[key]) for x, v in self.sumo.edge.getAllSubscriptionResults().items()}
                queues = self.queues.queues(on_lanes, on_edges)
                pressure = {name: self.queues.pressure(m, queues) for name, m in self.by_id.items()}
            for name, signal in self.signals.items():
                self._lead(name, signal, now, pressure)
            now = min(end_s, max(now + 1.0, min(s.due_s(now) for s in self.signals.values())))
            self.sumo.simulationStep(now)

    def _lead(self, name: str, signal: _Signal, now: float, pressure: Mapping[str, float]) -> None:
        if signal.standing is None:
            # the program runs until it shows a stage
            state = self.sumo.trafficlight.getRedYellowGreenState(name)
            if state not in signal.rules.stages:
                return
            signal.standing = Standing(state, now, (now,) * len(state))
            signal.think_s = now + self.setting.least_s
            self._show(name, signal, state)
        if signal.change is None and now >= signal.think_s:
            best = signal.best(pressure)
            if best == signal.standing.state:
                signal.think_s = now + self.setting.every_s
                return
            signal.change = signal.rules.change(signal.standing, now, best)
        if signal.change is not None:
            self._show(name, signal, [state for since, state in signal.change.steps if since <= now][-1])
            if now >= signal.change.ends_s:
                signal.standing = signal.change.after
                signal.think_s = signal.change.ends_s + self.setting.least_s
                signal.change = None

    def _show(self, name: str, signal: _Signal, state: str) -> None:
        if state != signal.shown:
            self.sumo.trafficlight.setRedYellowGreenState(name, state)
            signal.shown = state
