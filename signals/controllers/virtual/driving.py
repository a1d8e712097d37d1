"""A running SUMO and the virtual units of its signals: vehicles call, and units set the lights."""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from datetime import time as clock
from pathlib import Path
from typing import Any, TypeVar
from xml.sax.saxutils import quoteattr

from signals.controllers.virtual.simulation import TICKS_A_S, Calls, SimulatedStreet, StreetSignal
from signals.formats.sumo.config import Scenario
from signals.formats.sumo.live import LiveSumo
from signals.formats.sumo.running import sumo_command
from signals.model.network import Network

ZONE_M = 30.0
"""A vehicle so near to the stop line calls its phases where the network has no detector on the lane."""
WARM_UP_S = 600
"""Units run for so long before SUMO's first step, so that they are in step by then, as on the street."""
_PREFIX = "greensplit:"
Result = TypeVar("Result")


@dataclass(frozen=True)
class Zone:
    """A detector: its id in SUMO, its kind there, its number at the unit, and the phases that it calls."""

    id: str
    kind: str
    lane: str
    length_m: float
    number: int
    phases: frozenset[int]


def start_for(scenario: Scenario, day: date | None = None) -> int:
    """When the clocks of units are to start [UTC s], so that they show SUMO's time of day at its first step.

    `day` is today unless given. The units' local time is UTC, and SUMO's time 0 is midnight, from which offsets count.
    """
    chosen = datetime.now(UTC).date() if day is None else day
    midnight = datetime.combine(chosen, clock.min, UTC)
    return int(midnight.timestamp() + scenario.begin_s) - WARM_UP_S


def zones_of(signal: StreetSignal, network: Network) -> tuple[Zone, ...]:
    """The detectors of a signal: the network's own on its approach lanes, and on lanes without one a zone of 30 m."""
    intersection = network.intersections[signal.name]
    wiring = {link.link: link for link in signal.cabinet.links if not link.pedestrian and link.phases}
    phases: dict[tuple[str, int], set[int]] = defaultdict(set)
    for index, positions in enumerate(intersection.connections):
        if index not in wiring:
            continue
        # an overlap runs along with either of its phases: whoever waits there calls one, not both
        for position in positions:
            path = network.connections[position]
            phases[path.from_edge, path.from_lane].add(wiring[index].phases[0])
    owned = defaultdict(list)
    for detector in intersection.detectors:
        owned[detector.lane].append(detector)
    zones: list[Zone] = []
    for (edge, index), called in sorted(phases.items()):
        lane = network.edges[edge].lanes[index]
        given = [(d.id, d.kind, 0.0) for d in owned[lane.id]]
        for name, kind, length in given or [(f"{_PREFIX}{lane.id}", "area", min(ZONE_M, lane.length_m))]:
            zones.append(Zone(name, kind, lane.id, length, len(zones) + 1, frozenset(called)))
    return tuple(zones)


async def drive(
    street: SimulatedStreet,
    scenario: Scenario,
    *,
    seed: int,
    speed: float = 0.0,
    duration_s: float | None = None,
    extra: Sequence[str] = (),
    states: Path | None = None,
    on_step: Callable[[float], None] | None = None,
) -> float:
    """Run a scenario in SUMO with its signals set by the street's units; the simulation's time at its end [s].

    The street's clock starts at `start_for(scenario)`.

    Every step of SUMO the units step by the same time, and each link gets the letter that is in force when the step
    begins: with SUMO's step of 1 s a yellow of 4.3 s shows for four or five. The step length is the scenario's own,
    so that results compare with a run of SUMO alone; `extra` may set another, which changes how vehicles drive.

    Parameters
    ----------
    speed
        Seconds of the simulation in one of the clock; 0 is as fast as can be.
    duration_s
        Where to stop, from the scenario's begin [s]; its own end by default.
    extra
        Further options for SUMO, such as its outputs.
    states
        Where SUMO itself is to record what its signals show at each step (XML, `tlsState`).
    on_step
        Called with the simulation's time after each step.

    Raises
    ------
    SimulationError
        Where SUMO doesn't start, or ends early.
    """
    zones = {name: zones_of(signal, street.network) for name, signal in street.signals.items()}
    loop = asyncio.get_running_loop()
    with tempfile.TemporaryDirectory(prefix="greensplit-street-") as name:
        additional = Path(name) / "zones.add.xml"
        recorded = {} if states is None else dict.fromkeys(street.signals, states.resolve())
        additional.write_text(_additional_xml(zones, recorded), encoding="utf-8")
        last = scenario.end_s if duration_s is None else scenario.begin_s + duration_s
        command = sumo_command(scenario, _options(seed, last, extra), [additional])
        with (
            LiveSumo(command, Path(name) / "messages.txt", scenario.name) as sumo,
            _Talk(sumo) as talk,
        ):
            await street.advance(WARM_UP_S * TICKS_A_S, {n: s.always for n, s in street.signals.items()})
            link = _Link(await talk.call(sumo.connect), zones)
            begin, now = loop.time(), scenario.begin_s
            await talk.call(link.subscribe)
            while last is None or now < last - 1e-9:
                shown = {name: signal.state() for name, signal in street.signals.items()}
                then, expected, calls = await talk.call(link.step, shown)
                if last is None and not expected:
                    break
                # SUMO has no push-buttons: walks come in every cycle, as by recall
                calls = {
                    name: replace(called, pedestrians=street.signals[name].always.pedestrians)
                    for name, called in calls.items()
                }
                await street.advance(round((then - now) * TICKS_A_S), calls)
                now = then
                if on_step is not None:
                    on_step(now)
                if speed:
                    await asyncio.sleep(begin + (now - scenario.begin_s) / speed - loop.time())
            await talk.call(sumo.finish)
    return now


def _additional_xml(zones: Mapping[str, Sequence[Zone]], recorded: Mapping[str, Path]) -> str:
    """Our own detectors as an additional file, a lane that two signals' links leave from has one; and records."""
    ours = {z.id: z for found in zones.values() for z in found if z.id.startswith(_PREFIX)}
    lines = [
        f'  <laneAreaDetector id={quoteattr(z.id)} lane={quoteattr(z.lane)} pos="{-z.length_m:.2f}" '
        f'endPos="-0.1" friendlyPos="true" period="86400" file="{os.devnull}"/>'
        for z in ours.values()
    ]
    lines += [
        f'  <timedEvent type="SaveTLSStates" source={quoteattr(signal)} dest={quoteattr(str(path))}/>'
        for signal, path in recorded.items()
    ]
    return "\n".join(["<additional>", *lines, "</additional>", ""])


def _options(seed: int, last: float | None, extra: Sequence[str]) -> list[str]:
    options = ["--seed", str(seed), *(("--end", str(last)) if last is not None else ())]
    options += ["--random", "false", "--no-step-log", "true", "--duration-log.disable", "true"]
    return [*options, "--xml-validation", "never", *extra]


class _Talk:
    """The thread that waits for SUMO's answers, so that agents can answer meanwhile; SUMO ends with its block."""

    def __init__(self, sumo: LiveSumo) -> None:
        self._sumo = sumo
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="traci")

    def __enter__(self) -> _Talk:
        return self

    def __exit__(self, *_exception: object) -> None:
        # the thread may still wait for an answer, and it comes to an end with SUMO alone
        self._sumo.kill()
        self._pool.shutdown()

    async def call(self, work: Callable[..., Result], *arguments: object) -> Result:
        """What `work` returns, run in the thread."""
        return await asyncio.get_running_loop().run_in_executor(self._pool, self._ask, work, *arguments)

    def _ask(self, work: Callable[..., Result], *arguments: object) -> Result:
        with self._sumo.answering():
            return work(*arguments)


class _Link:
    """What is asked of SUMO each step, over its TraCI connection."""

    def __init__(self, connection: Any, zones: Mapping[str, Sequence[Zone]]) -> None:
        self._connection = connection
        self._zones = zones
        self._shown: dict[str, str] = {}
        self._occupied: set[tuple[str, int]] = set()

    def subscribe(self) -> None:
        from traci.constants import LAST_STEP_VEHICLE_NUMBER

        for zones in self._zones.values():
            for zone in zones:
                self._domain(zone).subscribe(zone.id, [LAST_STEP_VEHICLE_NUMBER])

    def step(self, states: Mapping[str, str]) -> tuple[float, int, dict[str, Calls]]:
        """Set what signals show, let SUMO make a step, and say who calls."""
        for name, state in states.items():
            if self._shown.get(name) != state:
                self._connection.trafficlight.setRedYellowGreenState(name, state)
                self._shown[name] = state
        self._connection.simulationStep()
        now = self._connection.simulation.getTime()
        expected = self._connection.simulation.getMinExpectedNumber()
        return now, expected, {name: self._calls(name, zones) for name, zones in self._zones.items()}

    def _domain(self, zone: Zone) -> Any:
        return self._connection.lanearea if zone.kind == "area" else self._connection.inductionloop

    def _calls(self, name: str, zones: Sequence[Zone]) -> Calls:
        called: set[int] = set()
        changed = []
        for zone in zones:
            (vehicles,) = self._domain(zone).getSubscriptionResults(zone.id).values()
            key = (name, zone.number)
            if vehicles:
                called |= zone.phases
            if bool(vehicles) != (key in self._occupied):
                changed.append((zone.number, bool(vehicles)))
                self._occupied ^= {key}
        return Calls(frozenset(called), frozenset(), tuple(changed))
