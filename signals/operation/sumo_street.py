"""A street in SUMO: programs are set over TraCI at each signal's own safe second, detectors count at stop lines.

SUMO runs as `signals.simulation.run` runs it, in a process of its own, so that a run in which nothing is changed has
the figures of a plain one.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
import time
from collections import defaultdict, deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from xml.sax.saxutils import quoteattr

from signals.errors import InputError, SimulationError
from signals.formats.sumo.config import Scenario
from signals.formats.sumo.live import CONNECT_S, free_port
from signals.model.network import Network
from signals.model.phasing import SignalProgram
from signals.operation.street import Observed, Taken
from signals.operation.transitions import Switch, from_second, switch_to
from signals.simulation.outputs import RunResult
from signals.simulation.run import simulate

SAMPLE_S = 15.0
"""So often the vehicles on each edge are looked at, for the delay."""
COUNTED_S = 300.0
"""Interval of the loops at the stop lines."""
USUAL_INTERVALS = 4
"""A lane is known by the least of so many of its last counts that weren't 0."""
MOST_BY_CHANCE = 7.0
"""A lane that so many vehicles usually leave is silent by chance once in a thousand times."""
LOOP_M = 1.0
"""Loops lie so far before the end of a lane."""
_PREFIX = "greensplit-count:"
_RETRY_S = 0.05


class SumoStreet:
    """A scenario that SUMO runs, up to where it is told to.

    Parameters
    ----------
    network
        The scenario's network, with the programs in force at the start.
    min_green_s
        Shortest time of each state of each signal, for changes from one program to another.
    plans, extra
        Additional files, and further options of SUMO.
    record
        Where SUMO is to record what every signal shows at each step (XML, `tlsState`).
    """

    def __init__(
        self,
        scenario: Scenario,
        network: Network,
        min_green_s: Mapping[str, Mapping[str, float]],
        *,
        seed: int,
        plans: Sequence[Path] = (),
        extra: Sequence[str] = (),
        record: Path | None = None,
    ) -> None:
        self._network = network
        self._min_green_s = min_green_s
        self._begin_s = scenario.begin_s
        self._now = scenario.begin_s
        self._due: list[tuple[float, str, SignalProgram]] = []
        self._programs = {s: i.program for s, i in network.intersections.items() if i.program is not None}
        self._switches = 0
        self.result: RunResult | None = None
        self._lanes = _counted_lanes(network)
        self._stack = contextlib.ExitStack()
        folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="greensplit-street-")))
        additional = folder / "count.add.xml"
        additional.write_text(_additional_xml(self._lanes, network, record), encoding="utf-8")
        port = free_port()
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="sumo")
        self._run: Future[RunResult] = self._pool.submit(
            simulate,
            scenario,
            seed=seed,
            plans=[*plans, additional],
            movements=network,
            extra=("--remote-port", str(port), *extra),
        )
        self._entries = entry_edges(network)
        self._seen = _Seen()
        self._silent: dict[str, float] = defaultdict(float)
        self._usual: dict[str, deque[int]] = defaultdict(lambda: deque(maxlen=USUAL_INTERVALS))
        try:
            self._sumo = self._connect(port)
            with self._answering():
                self._subscribe()
                self._before = self._present()
        except BaseException:
            self._pool.shutdown(wait=False)
            self._stack.close()
            raise

    @property
    def now_s(self) -> float:
        """SUMO's time."""
        return self._now

    def in_force(self) -> Mapping[str, SignalProgram]:
        """The program of each signal, changes that are under way counted as done."""
        return {**self._programs, **{signal: program for _, signal, program in self._due}}

    def advance(self, until_s: float) -> None:
        """Let SUMO run; programs take force on the way."""
        with self._answering():
            while self._now < until_s - 1e-9:
                while self._due and self._due[0][0] <= self._now + 1e-9:
                    self._show(*self._due.pop(0)[1:])
                sample = self._begin_s + ((self._now - self._begin_s) // SAMPLE_S + 1) * SAMPLE_S
                step = min([until_s, sample, *(due[0] for due in self._due[:1])])
                self._sumo.simulationStep(step)
                self._now = step
                if step >= sample - 1e-9:
                    self._sample()

    def apply(self, plans: Mapping[str, SignalProgram]) -> Mapping[str, Taken]:
        """Have signals change to programs, each at its own safe second from now on."""
        found: dict[str, Taken] = {}
        for signal, program in plans.items():
            if any(s == signal for _, s, _ in self._due):
                found[signal] = Taken(None, "a change is under way")
                continue
            switch = switch_to(self._programs[signal], program, self._now, self._min_green_s.get(signal, {}))
            if switch is None:
                found[signal] = Taken(None, "there is no second at which it may change without harm")
                continue
            found[signal] = self._schedule(signal, switch)
        self._due.sort(key=lambda due: due[:2])
        return found

    def counts(self, begin_s: float, end_s: float) -> Observed:
        """What was seen since the last time that this was asked; stretches follow each other."""
        if abs(end_s - self._now) > 1e-6:
            raise InputError(f"counts up to {end_s:g} s are asked for at {self._now:g} s; ask as they end")
        seen, self._seen = self._seen, _Seen()
        with self._answering():
            present = self._present()
        passed: dict[str, float] = defaultdict(float)
        for lane, number in seen.lanes.items():
            passed[self._lanes[lane]] += number
        entered = {
            edge: max(0.0, passed.get(edge, 0.0) + present.get(edge, 0.0) - self._before.get(edge, 0.0))
            for edge in self._entries
        }
        self._before = present
        silent = self._fallen_silent(present)
        return Observed(begin_s, end_s, entered, dict(passed), present, seen.delay_veh_s, silent)

    def _fallen_silent(self, present: Mapping[str, float]) -> dict[str, float]:
        """Lanes that nobody leaves though others of their edge are left and somebody usually would be by now.

        A lane that m vehicles usually leave in so long stays silent by chance with probability exp(−m).
        """
        edges = {self._lanes[lane] for lane, silent in self._silent.items() if not silent}
        return {
            lane: silent
            for lane, silent in self._silent.items()
            if silent
            and self._lanes[lane] in edges
            and present.get(self._lanes[lane], 0.0) > 0.0
            and len(self._usual[lane]) == USUAL_INTERVALS
            and min(self._usual[lane]) * silent / COUNTED_S > MOST_BY_CHANCE
        }

    def close(self) -> None:
        """End SUMO; `result` has the measures then."""
        try:
            with contextlib.suppress(Exception):
                self._sumo.close(False)
            self.result = self._run.result()
        finally:
            self._pool.shutdown(wait=False)
            self._stack.close()

    def _schedule(self, signal: str, switch: Switch) -> Taken:
        self._due.append((switch.time_s, signal, switch.program))
        return Taken(switch.time_s)

    def _show(self, signal: str, program: SignalProgram) -> None:
        from traci._trafficlight import Logic, Phase

        self._switches += 1
        phases = [Phase(i.duration_s, i.state) for i in from_second(program, self._now)]
        self._sumo.trafficlight.setProgramLogic(
            signal, Logic(f"{program.program}-{self._switches}", 0, 0, phases)
        )
        self._programs[signal] = program

    def _connect(self, port: int) -> Any:
        from traci.connection import Connection

        deadline = time.monotonic() + CONNECT_S
        while time.monotonic() < deadline:
            if self._run.done():
                self._run.result()
                raise SimulationError("SUMO ended before its first step")
            try:
                return Connection("127.0.0.1", port, None, None, False)
            except OSError:
                time.sleep(_RETRY_S)
        raise SimulationError(f"SUMO doesn't start within {CONNECT_S:g} s")

    @contextmanager
    def _answering(self) -> Iterator[None]:
        from traci.exceptions import FatalTraCIError, TraCIException

        try:
            yield
        except TraCIException as error:
            raise SimulationError(f"SUMO refuses a command: {error}") from None
        except (FatalTraCIError, OSError) as error:
            self._run.result()
            raise SimulationError(f"SUMO breaks off: {error}") from None

    def _subscribe(self) -> None:
        from traci import constants

        self._keys = (constants.LAST_STEP_VEHICLE_NUMBER, constants.LAST_STEP_MEAN_SPEED)
        for edge in self._network.edges:
            self._sumo.edge.subscribe(edge, self._keys)
        for lane in self._lanes:
            self._sumo.inductionloop.subscribe(f"{_PREFIX}{lane}", [constants.VAR_LAST_INTERVAL_NUMBER])

    def _sample(self) -> None:
        number, speed = self._keys
        lost = 0.0
        for edge, values in self._sumo.edge.getAllSubscriptionResults().items():
            if values[number]:
                free = self._network.edges[edge].speed_mps
                lost += values[number] * max(0.0, 1.0 - values[speed] / free)
        waiting = sum(self._waiting().values())
        self._seen.delay_veh_s += SAMPLE_S * (lost + waiting)
        since = (self._now - self._begin_s) % COUNTED_S
        if since < 1e-6:
            for loop, values in self._sumo.inductionloop.getAllSubscriptionResults().items():
                lane = loop.removeprefix(_PREFIX)
                (count,) = values.values()
                self._seen.lanes[lane] += count
                self._silent[lane] = 0.0 if count else self._silent[lane] + COUNTED_S
                if count:
                    self._usual[lane].append(count)

    def _waiting(self) -> dict[str, int]:
        """Vehicles that wait outside for room, by the edge on which they are to start."""
        if not self._sumo.simulation.getPendingVehicles():
            return {}
        return {e: n for e in self._network.edges if (n := len(self._sumo.edge.getPendingVehicles(e)))}

    def _present(self) -> dict[str, float]:
        number = self._keys[0]
        found = {
            edge: float(values[number])
            for edge, values in self._sumo.edge.getAllSubscriptionResults().items()
        }
        for edge, waiting in self._waiting().items():
            found[edge] += waiting
        return found


class _Seen:
    """What has been counted since the last stretch."""

    def __init__(self) -> None:
        self.lanes: dict[str, int] = defaultdict(int)
        self.delay_veh_s = 0.0


def entry_edges(network: Network) -> tuple[str, ...]:
    """Edges by which the network is entered: nothing leads to them but the way back."""
    edges = network.edges
    reached = {
        c.to_edge
        for c in network.connections
        if edges[c.to_edge].to_junction != edges[c.from_edge].from_junction
    }
    left = {c.from_edge for c in network.connections}
    return tuple(e for e in network.edges if e in left and e not in reached)


def _counted_lanes(network: Network) -> dict[str, str]:
    """Lanes with a loop at their end, of approaches and entries, each with its edge."""
    edges = {a.edge for i in network.intersections.values() for a in i.approaches} | set(entry_edges(network))
    return {
        lane.id: edge
        for edge in sorted(edges)
        for lane in network.edges[edge].lanes
        if "passenger" in lane.allowed
    }


def _additional_xml(lanes: Mapping[str, str], network: Network, record: Path | None) -> str:
    lines = [
        f'  <inductionLoop id={quoteattr(_PREFIX + lane)} lane={quoteattr(lane)} pos="{-LOOP_M:g}" '
        f'friendlyPos="true" period="{COUNTED_S:g}" file="{os.devnull}"/>'
        for lane in lanes
    ]
    if record is not None:
        lines += [
            f'  <timedEvent type="SaveTLSStates" source={quoteattr(signal)} dest={quoteattr(str(record.resolve()))}/>'
            for signal in network.intersections
        ]
    return "\n".join(["<additional>", *lines, "</additional>", ""])
