"""A drive played out in SUMO, with priority and without, from the same seed.

With priority SUMO runs in a process of its own under TraCI: signals away from their programs show the plan's states
second by second, the ambulance reports its position, and the plan is made anew from there. Everything that the
signals of the route showed is recorded and judged by the safety check afterwards.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.sax.saxutils import quoteattr

from signals.emergency.corridor import CorridorPlan, CorridorPlanner, Position
from signals.emergency.holds import Hold, pieces
from signals.emergency.reds import longest_reds
from signals.errors import InputError, SimulationError
from signals.formats.sumo.config import Scenario
from signals.formats.sumo.live import LiveSumo
from signals.formats.sumo.running import MOST_ERRORS, SumoProcess, how_it_ended, sumo_command
from signals.formats.sumo.xml import elements
from signals.model.network import Network
from signals.safety.check import Finding, check_timeline

AMBULANCE = "greensplit-ambulance"
FOLLOWING_S = 3600.0
"""Delay is measured from departure on for so long."""
ACROSS_DEG = 45.0
"""Approaches at more than this angle to the ambulance's way, in either direction, are cross streets."""
RECORDED_CYCLES = 2
"""So many cycles before the first hold and after the last are recorded with them."""
LAST_OF_STEP_S = 0.999

Told = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Drive:
    """A drive to be played: the route and when it begins, the vehicle, and how often it reports.

    `bluelight` gives the vehicle SUMO's bluelight device, for which others make way. It keeps to the signals
    either way. The route is known `notice_s` before departure: crews are called before they drive. `observe_queues`
    tells the planner how many vehicles are on the way to each stop line, as detectors count them.
    """

    scenario: Scenario
    network: Network
    edges: tuple[str, ...]
    departs_s: float
    seed: int = 1
    speed_factor: float = 1.2
    bluelight: bool = False
    report_every_s: int = 5
    observe_queues: bool = False
    notice_s: float = 60.0
    following_s: float = FOLLOWING_S
    timeout_s: float = 3600.0

    def __post_init__(self) -> None:
        if self.report_every_s < 1:
            raise ValueError(f"a report every {self.report_every_s} s: at least 1 s apart")
        if self.scenario.step_s != 1.0:
            raise InputError(
                f"{self.scenario.name}: steps of {self.scenario.step_s:g} s; signals are led in whole seconds, so "
                "give the scenario a step of 1 s"
            )


@dataclass(frozen=True, slots=True)
class Delays:
    """Delay of vehicles on the road in the following hour: how many, and their time lost together [s]."""

    vehicles: int
    total_s: float

    @property
    def mean_s(self) -> float:
        """Seconds a vehicle."""
        return self.total_s / self.vehicles if self.vehicles else 0.0


@dataclass(frozen=True)
class Played:
    """What one run showed. `travel_s` is None where the ambulance didn't arrive within the time.

    `cross_streets` are those who cross the corridor without following it, either way.
    `findings` are those of the safety check over all recorded states of the route's signals, `differing_s` the
    signal-seconds in which something else was shown than the plan has, or the program outside of it. Both are empty
    without priority. `held` counts signals, `away_s` their seconds away from their programs. `longest_red_s` is the
    longest red of any link in the recording.
    """

    travel_s: float | None
    everybody: Delays
    cross_streets: Delays
    teleports: int
    findings: tuple[Finding, ...] = ()
    differing_s: int = 0
    held: int = 0
    away_s: float = 0.0
    slowest_plan_s: float = 0.0
    first_plan: CorridorPlan | None = None
    longest_red_s: float = 0.0


def play_without(drive: Drive) -> Played:
    """The drive with the programs alone.

    Raises
    ------
    SimulationError
        Where SUMO ends with an error or takes too long.
    """
    with tempfile.TemporaryDirectory(prefix="greensplit-drive-") as name:
        folder = Path(name)
        with SumoProcess(_command(drive, folder), folder / "messages.txt") as sumo:
            code = sumo.wait(drive.timeout_s)
        if code is None:
            raise SimulationError(
                f"{drive.scenario.name}: SUMO was still running after {drive.timeout_s:g} s; allow more time"
            )
        if code:
            raise SimulationError(f"{drive.scenario.name}: {how_it_ended(code, sumo.errors()[:MOST_ERRORS])}")
        return _measured(drive, folder)


def play_with(drive: Drive, planner: CorridorPlanner, *, told: Told | None = None) -> Played:
    """The drive with priority as the planner gives it.

    Raises
    ------
    SimulationError
        Where SUMO ends with an error.
    """
    with tempfile.TemporaryDirectory(prefix="greensplit-drive-") as name:
        folder = Path(name)
        with LiveSumo(_command(drive, folder), folder / "messages.txt", drive.scenario.name) as sumo:
            connection = sumo.connect()
            with sumo.answering():
                played = _Play(drive, planner, connection, told or (lambda _step, _done, _of: None)).run()
            sumo.finish()
        measured = _measured(drive, folder)
    findings, differing = judge_recording(drive.network, planner, played.recorded, played.holds())
    holds = [h for rows in played.holds().values() for h in rows]
    return Played(
        measured.travel_s,
        measured.everybody,
        measured.cross_streets,
        measured.teleports,
        findings,
        differing,
        len({s for s, rows in played.holds().items() if rows}),
        sum(h.back_s - h.leaves_s for h in holds),
        played.slowest_s,
        played.first,
        max((_longest_red_s(rows) for rows in played.recorded.values()), default=0.0),
    )


def judge_recording(
    network: Network,
    planner: CorridorPlanner,
    recorded: Mapping[str, Sequence[tuple[float, str]]],
    holds: Mapping[str, Sequence[Hold]],
) -> tuple[tuple[Finding, ...], int]:
    """What the safety check says of recorded seconds (time, state), and how many differ from holds and programs.

    Where a program has tenths, seconds show it cut short, field and plan alike; then the plan's own figures are
    judged, which the recorded seconds are held against.
    """
    findings: list[Finding] = []
    differing = 0
    for signal, rows in sorted(recorded.items()):
        rules, held = planner.keepers[signal].rules, holds.get(signal, ())
        program = rules.program
        if len(rows) < 2 * program.cycle_s:
            continue
        begin, end = rows[0][0], rows[-1][0] + 1.0
        whole = all(float(i.duration_s).is_integer() for i in program.intervals)
        findings += check_timeline(
            network.intersections[signal],
            [(1.0, state) for _, state in rows] if whole else pieces(rules, held, begin, end),
            begin,
            (begin + program.cycle_s, end - program.cycle_s),
            planner.request,
            connections=network.connections,
        )
        for second, state in rows:
            led = next((s for h in held if (s := h.state(second)) is not None), None)
            # SUMO changes a program's state in the step in which its time falls
            differing += state != (led or program.state_at(second + LAST_OF_STEP_S))
    return tuple(findings), differing


def _longest_red_s(recorded: Sequence[tuple[float, str]]) -> float:
    """The longest red of any link over recorded seconds (time, state)."""
    n_links = len(recorded[0][1]) if recorded else 0
    return max(longest_reds([(1.0, state) for _, state in recorded], n_links), default=0.0)


class _Play:
    """The loop around one simulation under TraCI."""

    def __init__(self, drive: Drive, planner: CorridorPlanner, sumo: Any, told: Told) -> None:
        self.drive = drive
        self.planner = planner
        self.sumo = sumo
        self.told = told
        self.plan: CorridorPlan | None = None
        self.first: CorridorPlan | None = None
        self.recorded: dict[str, list[tuple[float, str]]] = {s: [] for s in planner.keepers}
        self.slowest_s = 0.0
        self._away: set[str] = set()
        self._programs: dict[str, str] = {}
        self._driven: Position | None = None
        self._cycle_s = max((k.rules.program.cycle_s for k in planner.keepers.values()), default=0.0)

    def holds(self) -> dict[str, tuple[Hold, ...]]:
        """All holds of the drive so far."""
        return self.plan.holds if self.plan is not None else {}

    def run(self) -> _Play:
        """Drive, lead the signals, and run on to the end of the following hour."""
        from traci import constants

        drive, sumo = self.drive, self.sumo
        begin = drive.departs_s - RECORDED_CYCLES * self._cycle_s
        end = drive.departs_s + drive.following_s
        sumo.simulationStep(max(begin, sumo.simulation.getTime() + 1.0))
        for signal in self.recorded:
            sumo.trafficlight.subscribe(signal, [constants.TL_RED_YELLOW_GREEN_STATE])
            self._programs[signal] = sumo.trafficlight.getProgram(signal)
        until = end
        arrived = False
        while (now := sumo.simulation.getTime()) < until:
            if now >= drive.departs_s - drive.notice_s and not arrived:
                arrived = self._report(now)
            if arrived or until == end:
                until = self._until(arrived, end)
            self._lead(now)
            sumo.simulationStep()
            for signal, values in sumo.trafficlight.getAllSubscriptionResults().items():
                self.recorded[signal].append((now, values[constants.TL_RED_YELLOW_GREEN_STATE]))
            self.told("driving", max(0, int(now - drive.departs_s)), int(drive.following_s))
        if until < end:
            sumo.simulationStep(end)
        self.told("driving", int(drive.following_s), int(drive.following_s))
        return self

    def _until(self, arrived: bool, end: float) -> float:
        """Recording goes on until all signals have been back for a while."""
        if not arrived:
            return end
        back = max((h.back_s for rows in self.holds().values() for h in rows), default=0.0)
        return min(end, back + RECORDED_CYCLES * self._cycle_s)

    def _report(self, now: float) -> bool:
        """Plan at departure and at every report; returns whether the ambulance has arrived."""
        drive, sumo = self.drive, self.sumo
        started = time.perf_counter()
        if self.plan is None:
            departs = max(drive.departs_s, now)
            self.first = self.plan = self.planner.plan(departs, now_s=now, queues=self._seen())
        elif AMBULANCE in sumo.vehicle.getIDList():
            if (now - drive.departs_s) % drive.report_every_s:
                return False
            edge = sumo.vehicle.getRoadID(AMBULANCE)
            if edge in drive.edges:
                self._driven = Position(edge, sumo.vehicle.getLanePosition(AMBULANCE), now)
            elif self._driven is not None:
                length_m = drive.network.edges[self._driven.edge].length_m
                self._driven = Position(self._driven.edge, length_m, now)
            if self._driven is None:
                return False
            self._update(self._driven)
        elif self._driven is not None:
            last = drive.edges[-1]
            self._update(Position(last, drive.network.edges[last].length_m, now))
            return True
        self.slowest_s = max(self.slowest_s, time.perf_counter() - started)
        return False

    def _update(self, position: Position) -> None:
        assert self.plan is not None
        self.plan = self.planner.update(position, self.plan.holds, queues=self._seen(), with_costs=False)

    def _seen(self) -> dict[str, float]:
        """Vehicles between each stop line of the route and the signal before it, where that is asked for."""
        if not self.drive.observe_queues:
            return {}
        found: dict[str, float] = {}
        before = 0
        for passage in self.planner.route.passages:
            upto = next(
                k
                for k, (start_m, _) in enumerate(self.planner.route.edge_starts)
                if start_m >= passage.distance_m - 1e-6 or k + 1 == len(self.drive.edges)
            )
            edges = self.drive.edges[before:upto]
            found[passage.signal] = float(sum(self.sumo.edge.getLastStepVehicleNumber(e) for e in edges))
            before = upto
        return found

    def _lead(self, now: float) -> None:
        """Show what the plan has for this second, and hand signals back that are in step again."""
        if self.plan is None:
            return
        for part in self.plan.signals:
            signal, state = part.passage.signal, part.state(now)
            if state is not None:
                self.sumo.trafficlight.setRedYellowGreenState(signal, state)
                self._away.add(signal)
            elif signal in self._away:
                self.sumo.trafficlight.setProgram(signal, self._programs[signal])
                self._away.remove(signal)


def _command(drive: Drive, folder: Path) -> list[str]:
    """SUMO with the ambulance in it."""
    ambulance = folder / "ambulance.rou.xml"
    device = '<param key="has.bluelight.device" value="true"/>' if drive.bluelight else ""
    ambulance.write_text(
        f'<routes><vType id="{AMBULANCE}" vClass="emergency" speedFactor="{drive.speed_factor:g}" speedDev="0">'
        f'{device}</vType><vehicle id="{AMBULANCE}" type="{AMBULANCE}" depart="{drive.departs_s:g}" '
        'departLane="best" departSpeed="max">'
        f"<route edges={quoteattr(' '.join(drive.edges))}/></vehicle></routes>",
        encoding="utf-8",
    )
    options = ["--seed", str(drive.seed), "--end", str(drive.departs_s + drive.following_s)]
    options += ["--no-step-log", "true", "--duration-log.disable", "true", "--random", "false"]
    options += ["--xml-validation", "never", "--human-readable-time", "false", "--precision", "3"]
    options += ["--tripinfo-output", str(folder / "tripinfo.xml"), "--device.tripinfo.probability", "1"]
    options += ["--tripinfo-output.write-unfinished", "true"]
    options += ["--vehroute-output", str(folder / "vehroutes.xml")]
    options += ["--vehroute-output.write-unfinished", "true", "--vehroute-output.last-route", "true"]
    options += ["--statistic-output", str(folder / "statistic.xml")]
    return sumo_command(drive.scenario, options, [ambulance])


def _measured(drive: Drive, folder: Path) -> Played:
    """Travel time and delays of a run, read from SUMO's outputs."""
    across, along = street_approaches(drive.network, drive.edges)
    crossing: set[str] = set()
    for found in elements(folder / "vehroutes.xml", "vehicle"):
        driven = {edge for route in found.iter("route") for edge in route.get("edges", "").split()}
        if driven & across and not driven & along:
            crossing.add(found.get("id", ""))
    travel: float | None = None
    everybody = cross_streets = 0
    lost = cross_lost = 0.0
    for trip in elements(folder / "tripinfo.xml", "tripinfo"):
        vehicle, arrival = trip.get("id", ""), float(trip.get("arrival", "-1"))
        if vehicle == AMBULANCE:
            travel = arrival - drive.departs_s if arrival >= 0 else None
            continue
        if 0 <= arrival < drive.departs_s:
            continue
        delay = float(trip.get("timeLoss", "0")) + float(trip.get("departDelay", "0"))
        everybody, lost = everybody + 1, lost + delay
        if vehicle in crossing:
            cross_streets, cross_lost = cross_streets + 1, cross_lost + delay
    teleports = sum(int(e.get("total", "0")) for e in elements(folder / "statistic.xml", "teleports"))
    return Played(travel, Delays(everybody, lost), Delays(cross_streets, cross_lost), teleports)


def street_approaches(network: Network, edges: Sequence[str]) -> tuple[set[str], set[str]]:
    """Edges that lead to signals of the route across it, and those along it: the route's own, and the way back.

    Who comes by one of the former and by none of the latter crosses the corridor without following it.
    """
    across: set[str] = set()
    along = set(edges)
    for intersection in network.intersections.values():
        own = [a.edge for a in intersection.approaches if a.edge in edges]
        for approach in intersection.approaches if own else ():
            angle = abs(network.edges[approach.edge].heading_deg - network.edges[own[0]].heading_deg) % 180.0
            (across if min(angle, 180.0 - angle) > ACROSS_DEG else along).add(approach.edge)
    return across, along
