"""A recorded SUMO run: who was due, which way they went, and when they left each edge.

SUMO itself expands flows, draws what is random, routes trips, and refuses what is wrong. Nothing else can be
relied on for that. duarouter 1.28, made for the task, differs from SUMO in ways that matter: it never ends on
a flow with a probability that begins before the window, it draws other vehicles for the same seed, it drops
what SUMO drives and passes what SUMO refuses, and it routes on empty roads, which gives 4-21 % of the trips
of the RESCO networks cologne8, ingolstadt7 and ingolstadt21 another way than the one they drive.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from xml.etree.ElementTree import Element

from signals.errors import InputError, SimulationError
from signals.formats.sumo.config import Scenario
from signals.formats.sumo.running import MOST_ERRORS, SumoProcess, how_it_ended, read_messages, sumo_command
from signals.formats.sumo.xml import elements, root_tag

_AS_WE_READ_IT = (
    *("--random", "false"),
    *("--no-warnings", "false"),
    *("--aggregate-warnings", "-1"),
    *("--no-step-log", "true"),
    *("--duration-log.disable", "true"),
    *("--human-readable-time", "false"),
    *("--xml-validation", "never"),
    *("--precision", "3"),
    *("--output-prefix", ""),
    *("--output-suffix", ""),
    *("--device.tripinfo.probability", "1"),
    *("--tripinfo-output.write-unfinished", "true"),
    *("--tripinfo-output.write-undeparted", "true"),
    *("--device.vehroute.probability", "1"),
    *("--vehroute-output.exit-times", "true"),
    *("--vehroute-output.write-unfinished", "true"),
    *("--vehroute-output.last-route", "true"),
    *("--vehroute-output.skip-ptlines", "false"),
    *("--vehroute-output.internal", "false"),
    *("--vehroute-output.dua", "false"),
    *("--save-state.period", "-1"),
    # Who would be taken out of the queue outside without a word was due all the same.
    *("--max-depart-delay", "-1"),
)
"""Options of a .sumocfg that would change what is written, or leave somebody out."""


@dataclass(slots=True)
class Trip:
    """A vehicle of the recorded run. `exits_s` holds when it left each edge, up to the last one it left."""

    type: str
    depart_s: float
    inserted: bool
    edges: tuple[str, ...] = ()
    exits_s: tuple[float, ...] = ()
    depart_lane: str = "first"
    stop_s: float = 0.0
    reroutes: int = 0


@dataclass(slots=True)
class Recording:
    """What a run has shown. `end_s` is the scenario's end, or when the last vehicle had arrived."""

    end_s: float
    trips: dict[str, Trip] = field(default_factory=dict)
    walkers: int = 0
    riders: int = 0
    containers: int = 0
    warnings: tuple[str, ...] = ()


def record(scenario: Scenario, *, seed: int, timeout_s: float = 3600.0) -> Recording:
    """A SUMO run of the scenario as it is, under the signal programs in place.

    Raises
    ------
    InputError
        Where SUMO refuses the scenario; its own message is passed on.
    SimulationError
        Where SUMO can't be started, is killed, or isn't done after `timeout_s` of wall-clock time.
    """
    with tempfile.TemporaryDirectory(prefix="greensplit-demand-") as name:
        folder = Path(name)
        messages = folder / "messages.txt"
        with SumoProcess(_command(scenario, seed, folder), messages) as sumo:
            code = sumo.wait(timeout_s)
        if code is None:
            raise SimulationError(_too_slow(scenario, timeout_s))
        if code:
            raise _refusal(scenario, code, sumo.errors())
        warnings = [text for kind, text in read_messages(messages) if kind == "Warning"]
        return _read(scenario, folder, warnings)


def options_of(config: Path) -> dict[str, str]:
    """Every option that a .sumocfg sets, by its name in the file."""
    options: dict[str, str] = {}
    for root in elements(config, root_tag(config)):
        for element in root.iter():
            value = element.get("value", element.get("v"))
            if value is not None:
                options[element.tag] = value
    return options


def _command(scenario: Scenario, seed: int, folder: Path) -> list[str]:
    options = ["--seed", str(seed), *_AS_WE_READ_IT]
    options += ["--tripinfo-output", str(folder / "trips.xml")]
    options += ["--vehroute-output", str(folder / "routes.xml")]
    if scenario.end_s is not None:
        # A state holds the routes of those who never came in. Who is due in the last step is in it one step
        # later, and it is saved only while the run goes on.
        options += ["--end", _seconds(_run_end(scenario.end_s, scenario))]
        options += ["--save-state.times", _seconds(scenario.end_s + scenario.step_s)]
        options += ["--save-state.files", str(folder / "state.xml")]
    return sumo_command(scenario, options)


def _run_end(end_s: float, scenario: Scenario) -> float:
    return end_s + 2.0 * scenario.step_s


def _seconds(value: float) -> str:
    return f"{value:.3f}".rstrip("0").rstrip(".")


def _read(scenario: Scenario, folder: Path, warnings: Sequence[str]) -> Recording:
    recording = Recording(scenario.begin_s, warnings=tuple(warnings))
    stop_s = scenario.end_s
    last_s = scenario.begin_s
    outside: dict[str, float] = {}
    for element in elements(folder / "trips.xml", "tripinfo", "personinfo", "containerinfo"):
        if element.tag == "personinfo":
            depart_s = float(element.get("depart", "-1"))
            if depart_s >= 0 and (stop_s is None or depart_s < stop_s):
                tags = {stage.tag for stage in element}
                recording.walkers += "walk" in tags
                recording.riders += "ride" in tags
            continue
        if element.tag == "containerinfo":
            recording.containers += 1
            continue
        vehicle = element.get("id", "")
        inserted_s = float(element.get("depart", "-1"))
        delay_s = float(element.get("departDelay", "0"))
        if inserted_s < 0:
            outside[vehicle] = delay_s
            recording.trips[vehicle] = Trip(element.get("vType", ""), 0.0, inserted=False)
            continue
        last_s = max(last_s, float(element.get("arrival", "-1")), inserted_s)
        depart_s = round(inserted_s - delay_s, 3)
        recording.trips[vehicle] = Trip(
            element.get("vType", ""), depart_s, inserted=True, reroutes=int(element.get("rerouteNo", "0"))
        )
    recording.end_s = last_s if stop_s is None else stop_s
    run_end_s = last_s if stop_s is None else _run_end(stop_s, scenario)
    for vehicle, delay_s in outside.items():
        recording.trips[vehicle].depart_s = round(run_end_s - delay_s, 3)
    if stop_s is not None:
        for vehicle in [v for v, trip in recording.trips.items() if trip.depart_s >= stop_s]:
            del recording.trips[vehicle]
            outside.pop(vehicle, None)
    _read_routes(folder / "routes.xml", recording.trips)
    if outside and (folder / "state.xml").exists():
        _read_state(folder / "state.xml", {vehicle: recording.trips[vehicle] for vehicle in outside})
    return recording


def _read_routes(path: Path, trips: Mapping[str, Trip]) -> None:
    shared: dict[str, tuple[str, ...]] = {}
    for element in elements(path, "vehicle"):
        trip = trips.get(element.get("id", ""))
        route = next(element.iter("route"), None)
        if trip is None or route is None:
            continue
        text = route.get("edges", "")
        trip.edges = shared.setdefault(text, tuple(text.split()))
        trip.exits_s = _exits([float(t) for t in route.get("exitTimes", "").split()], trip.depart_s)
        trip.depart_lane = element.get("departLane", trip.depart_lane)
        trip.stop_s = _stopping(element)


def _exits(times: list[float], depart_s: float) -> tuple[float, ...]:
    left = max((k + 1 for k, t in enumerate(times) if t >= 0), default=0)
    for k in range(left):
        # An edge that a teleport skipped took no time.
        if times[k] < 0:
            times[k] = times[k - 1] if k else depart_s
    return tuple(times[:left])


def _read_state(path: Path, outside: Mapping[str, Trip]) -> None:
    edges: dict[str, tuple[str, ...]] = {}
    for element in elements(path, "route", "vehicle"):
        if element.tag == "route":
            edges[element.get("id", "")] = tuple(element.get("edges", "").split())
        elif (trip := outside.get(element.get("id", ""))) is not None:
            trip.edges = edges.get(element.get("route", ""), ())
            trip.depart_lane = element.get("departLane", trip.depart_lane)
            trip.stop_s = _stopping(element)
            depart = element.get("depart", "")
            if re.fullmatch(r"\d+(\.\d*)?", depart):
                trip.depart_s = float(depart)
            elif "riggered" in depart:
                # Nobody who would set it off has come: it isn't due.
                trip.depart_s = -1.0


def _stopping(vehicle: Element) -> float:
    """Seconds that a vehicle stands at stops of its schedule."""
    total_s = 0.0
    for stop in vehicle.iter("stop"):
        duration_s = float(stop.get("duration", "-1"))
        if duration_s <= 0 and stop.get("started") and stop.get("ended"):
            duration_s = float(stop.get("ended", "-1")) - float(stop.get("started", "-1"))
        total_s += max(duration_s, 0.0)
    return total_s


def _refusal(scenario: Scenario, code: int, errors: Sequence[str]) -> InputError | SimulationError:
    what = f"{scenario.config or scenario.net}: "
    if code < 0:
        return SimulationError(f"{what}{how_it_ended(code, ())}, while the demand was recorded")
    # SUMO says the same of each link of a signal
    told = list(dict.fromkeys(errors))
    more = f" … and {len(told) - MOST_ERRORS} more" if len(told) > MOST_ERRORS else ""
    said = " ".join(told[:MOST_ERRORS]) + more or f"exit code {code}, without a message"
    remedy = (
        "; correct the route, or set ignore-route-errors in the .sumocfg as SUMO allows"
        if "no valid route" in said
        else "; correct the file that it names"
    )
    return InputError(f"{what}SUMO refuses the scenario: {said.rstrip('.')}{remedy}")


def _too_slow(scenario: Scenario, timeout_s: float) -> str:
    remedy = (
        "it has no end, and not everybody arrives: give it one"
        if scenario.end_s is None
        else "shorten the window"
    )
    return (
        f"{scenario.config or scenario.net}: SUMO was still running after {timeout_s:g} s, while the demand "
        f"was recorded; {remedy}"
    )
