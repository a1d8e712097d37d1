"""The demand of a SUMO scenario: everybody due in its window, whatever form the files give it in."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import json
import math
import os
import tempfile
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from xml.etree.ElementTree import Element

from signals.errors import InputError
from signals.formats.sumo.binaries import find_binary, sumo_version
from signals.formats.sumo.config import Scenario, parse_time
from signals.formats.sumo.recording import Recording, Trip, options_of, record
from signals.formats.sumo.vehicle_types import BUILT_IN, default_type, type_of
from signals.formats.sumo.xml import elements
from signals.model.demand import INTERVAL_S, Demand, Vehicle, VehicleType

CACHE_FORMAT = 1
"""To be raised with every change of what a cached recording holds or means."""

_MOTOR_FREE = frozenset(("bicycle", "scooter", "wheelchair", "pedestrian"))
_EXAMPLES = 3


def read_demand(scenario: Scenario, *, seed: int = 1, cache: Path | None = None) -> Demand:
    """Everybody due in the scenario's window, with the route that each one drives.

    Vehicles, trips, flows of all forms, named routes and distributions, from route files and additional
    files. They come from a recorded SUMO run under the signal programs in place, so that whoever SUMO would
    have drive is here: 'due' means a departure wanted in [begin, end), in whatever state the vehicle is at
    the end. `Demand.remarks` says how many came with a route, how many were routed, and who was left out.

    A run that stops at the end itself never creates what flows have due within its last step, so SUMO's own
    tripinfo may count a vehicle or two less; one that is due at the very end counts there and not here.

    Parameters
    ----------
    seed
        SUMO's --seed: it decides what is random (flows with a probability, distributions) and, through
        the speeds at which trips are routed, some of the routes.
    cache
        Folder for recorded runs; `default_cache()` when None. One that can't be written is done without.

    Raises
    ------
    InputError
        Where a file is absent or broken, or SUMO refuses the scenario.
    SimulationError
        Where SUMO can't be run.
    """
    return record_demand(scenario, seed=seed, cache=cache)[0]


def record_demand(
    scenario: Scenario, *, seed: int = 1, cache: Path | None = None
) -> tuple[Demand, dict[str, tuple[float, ...]]]:
    """The demand, and when each vehicle left each edge of its route in the recorded run [s].

    The second part is what `turning_counts` takes as `exit_times`: one time an edge, up to the last edge that
    the vehicle had left when the run ended; vehicles that never came in are not in it. Otherwise as
    `read_demand`.

    Raises
    ------
    InputError, SimulationError
        As `read_demand`.
    """
    survey = _survey(scenario)
    entry = _entry(cache or default_cache(), scenario, survey, seed)
    recording = _load(entry)
    if recording is None:
        recording = record(scenario, seed=seed)
        _store(entry, recording)
    return _demand(scenario, seed, survey, recording), {
        vehicle: trip.exits_s for vehicle, trip in recording.trips.items() if trip.inserted
    }


def default_cache() -> Path:
    """$GREENSPLIT_CACHE, or greensplit/demand in the user's cache folder."""
    own = os.environ.get("GREENSPLIT_CACHE", "").strip()
    if own:
        return Path(own) / "demand"
    base = os.environ.get("XDG_CACHE_HOME", "").strip()
    return (Path(base) if base else Path("~/.cache").expanduser()) / "greensplit" / "demand"


# ------------------------------------------------------------------------------------- what the files say


@dataclass
class _Survey:
    """What the files say by themselves: types, who brings a route, and what lies outside the window."""

    types: dict[str, VehicleType] = field(default_factory=dict)
    without_route: set[str] = field(default_factory=set)
    early: int = 0
    late: int = 0
    triggered: set[str] = field(default_factory=set)
    included: list[Path] = field(default_factory=list)


def _survey(scenario: Scenario) -> _Survey:
    """Read every file once; each one is checked on the way, before SUMO gets to see it."""
    survey = _Survey()
    waiting = [*scenario.additional, *scenario.routes]
    seen = set(waiting)
    while waiting:
        path = waiting.pop(0)
        for element in elements(path, "vType", "vTypeDistribution", "vehicle", "trip", "flow", "include"):
            if element.tag == "include":
                included = (path.parent / element.get("href", "")).resolve()
                if included not in seen:
                    seen.add(included)
                    waiting.append(included)
                    survey.included.append(included)
            elif element.tag in ("vType", "vTypeDistribution"):
                for definition in element.iter("vType"):
                    vehicle_type = type_of(definition, str(path))
                    survey.types[vehicle_type.id] = vehicle_type
            else:
                _note(survey, scenario, path, element.tag, element.attrib, _has_route(element))
    return survey


def _has_route(element: Element) -> bool:
    return "route" in element.attrib or any(inner.tag in ("route", "routeDistribution") for inner in element)


def _note(
    survey: _Survey, scenario: Scenario, path: Path, tag: str, attributes: Mapping[str, str], has_route: bool
) -> None:
    name = attributes.get("id", "")
    if not has_route:
        survey.without_route.add(name)
    depart = attributes.get("depart", "")
    if tag == "flow" or not depart:
        return
    if "riggered" in depart:
        survey.triggered.add(name)
        return
    try:
        depart_s = parse_time(depart, str(path))
    except InputError:
        return  # now, begin, split and the like: SUMO knows
    survey.early += depart_s < scenario.begin_s
    survey.late += scenario.end_s is not None and depart_s >= scenario.end_s


# -------------------------------------------------------------------------------------------- the demand


def _demand(scenario: Scenario, seed: int, survey: _Survey, recording: Recording) -> Demand:
    end_s = recording.end_s
    if scenario.end_s is None:
        intervals = max(1, math.ceil((end_s - scenario.begin_s) / INTERVAL_S))
        end_s = scenario.begin_s + intervals * INTERVAL_S
    due = {vehicle: trip for vehicle, trip in recording.trips.items() if trip.depart_s >= 0}
    vehicles = sorted(
        (
            Vehicle(
                vehicle,
                max(trip.depart_s, scenario.begin_s),
                trip.edges,
                trip.type,
                trip.depart_lane,
                trip.stop_s,
            )
            for vehicle, trip in due.items()
        ),
        key=lambda v: (v.depart_s, v.id),
    )
    types = {name: _type(name, survey.types) for name in sorted({v.type for v in vehicles})}
    remarks = tuple(_remarks(scenario, end_s, seed, survey, recording, due, types))
    return Demand(scenario.begin_s, end_s, tuple(vehicles), types, recording.walkers, remarks)


def _type(name: str, known: Mapping[str, VehicleType]) -> VehicleType:
    # SUMO writes type@vehicle for a type that was changed for one vehicle alone.
    base = name.partition("@")[0]
    if name in known:
        return known[name]
    if base in known:
        return known[base]
    return default_type(name, BUILT_IN.get(base, "passenger"))


def _remarks(
    scenario: Scenario,
    end_s: float,
    seed: int,
    survey: _Survey,
    recording: Recording,
    due: Mapping[str, Trip],
    types: Mapping[str, VehicleType],
) -> Iterator[str]:
    window = f"[{scenario.begin_s:g}, {end_s:g}) s"
    if not due:
        yield f"no vehicle is due in {window}: there is nothing to time the signals for"
    else:
        routed = sum(_lacks_route(vehicle, survey.without_route) for vehicle in due)
        yield f"{len(due)} vehicles are due in {window}; {len(due) - routed} came with a route"
        if routed:
            yield (
                f"{routed} vehicles without a route were routed by SUMO {sumo_version(find_binary('sumo'))} "
                f"as they departed, in a recorded run under the signal programs in place (seed {seed})"
            )
    rerouted = sum(
        trip.reroutes > 0 and not _lacks_route(vehicle, survey.without_route) for vehicle, trip in due.items()
    )
    if rerouted:
        yield f"{rerouted} vehicles left the route they came with, in the recorded run; the one driven counts"
    outside = sum(not trip.inserted for trip in due.values())
    if outside:
        yield (
            f"{outside} vehicles found no room to enter the network by {end_s:g} s in the recorded run; "
            "they count as demand"
        )
    unknown = sum(not trip.edges for trip in due.values())
    if unknown:
        yield f"{unknown} vehicles have no known route and are missing from the counts"
    if scenario.end_s is None:
        yield f"the scenario names no end: the window closes at {end_s:g} s, when everybody has arrived"
    if survey.early:
        yield f"{survey.early} vehicles depart before {scenario.begin_s:g} s; SUMO leaves them out"
    if survey.late:
        yield f"{survey.late} vehicles depart at {end_s:g} s or later and are not due"
    started = sum(vehicle in due for vehicle in survey.triggered)
    if survey.triggered:
        yield (
            f"{len(survey.triggered)} vehicles wait for a person or container to set them off; "
            f"{started} of them departed in the window, the others are left out"
        )
    by_class = Counter(types[trip.type].vehicle_class for trip in due.values())
    for vehicle_class in sorted(_MOTOR_FREE & set(by_class)):
        yield f"{by_class[vehicle_class]} of the vehicles are of class {vehicle_class}"
    if recording.walkers or recording.riders:
        yield f"{recording.walkers} persons walk, {recording.riders} ride in a vehicle (some may do both)"
    if recording.containers:
        yield f"{recording.containers} containers are moved; they don't count"
    if scenario.config is not None and options_of(scenario.config).get("max-depart-delay", "-1") not in (
        "-1",
        "-1.0",
    ):
        yield "max-depart-delay was set aside: whoever finds no room to enter is due all the same"
    yield from _warned(recording.warnings)


def _lacks_route(vehicle: str, without_route: set[str]) -> bool:
    # The vehicles of a flow are called after it: flow.0, flow.1, …
    return vehicle in without_route or vehicle.rpartition(".")[0] in without_route


def _warned(warnings: tuple[str, ...]) -> Iterator[str]:
    """What SUMO warned of while it read the demand, like warnings as one."""
    unsorted = [w for w in warnings if w.startswith("Route file should be sorted")]
    if unsorted:
        yield (
            f"SUMO ignored {len(unsorted)} vehicles, since their files are not sorted by departure "
            f"({unsorted[0].rpartition('ignoring ')[2].rstrip('!')} and so on): "
            "sort them, or set route-steps to 0"
        )
    told = [w for w in dict.fromkeys(warnings) if _about_demand(w)]
    for warning in told[:_EXAMPLES]:
        yield f"SUMO warns: {warning}"
    if len(told) > _EXAMPLES:
        yield f"SUMO warns {len(told) - _EXAMPLES} more times of the demand"


def _about_demand(warning: str) -> bool:
    return any(
        phrase in warning
        for phrase in (
            "Undefined end for flow",
            "no valid route",
            "is not known",
            "not downstream",
            "should only be",
        )
    )


# --------------------------------------------------------------------------------------------- the cache


def _entry(folder: Path, scenario: Scenario, survey: _Survey, seed: int) -> Path:
    """The file a recording is kept in; it is called after all that the recording depends on."""
    key = hashlib.sha256()
    said = (
        CACHE_FORMAT,
        scenario.content_hash(),
        seed,
        sumo_version(find_binary("sumo")),
        *(scenario.begin_s, scenario.end_s, scenario.step_s),
        *(len(scenario.routes), len(scenario.additional)),
    )
    key.update(repr(said).encode())
    for path in _further_files(scenario, survey):
        with path.open("rb") as stream:
            key.update(hashlib.file_digest(stream, "sha256").digest())
    return folder / f"{key.hexdigest()}.json.gz"


def _further_files(scenario: Scenario, survey: _Survey) -> list[Path]:
    """Files that the scenario reads besides its own: included ones, and those that other options name."""
    found = list(survey.included)
    if scenario.config is not None:
        for option, value in sorted(options_of(scenario.config).items()):
            if "output" in option or option in ("log", "message-log", "error-log"):
                continue
            for part in value.split(","):
                path = (scenario.config.parent / part.strip()).resolve()
                # A value that is no path at all may be too long for one.
                with contextlib.suppress(OSError, ValueError):
                    if part.strip() and path.is_file() and path not in scenario.files:
                        found.append(path)
    return found


def _load(entry: Path) -> Recording | None:
    try:
        with gzip.open(entry, "rt", encoding="utf-8") as stream:
            kept = json.load(stream)
        routes = [tuple(str(edge) for edge in route) for route in kept["routes"]]
        return Recording(
            end_s=float(kept["end_s"]),
            trips={
                str(vehicle): Trip(
                    type=str(kind),
                    depart_s=float(depart_s),
                    inserted=bool(inserted),
                    edges=routes[route],
                    exits_s=tuple(map(float, exits_s)),
                    depart_lane=str(lane),
                    stop_s=float(stop_s),
                    reroutes=int(reroutes),
                )
                for vehicle, kind, depart_s, inserted, route, exits_s, lane, stop_s, reroutes in kept["trips"]
            },
            walkers=int(kept["walkers"]),
            riders=int(kept["riders"]),
            containers=int(kept["containers"]),
            warnings=tuple(map(str, kept["warnings"])),
        )
    except (OSError, EOFError, zlib.error, ValueError, TypeError, KeyError, IndexError):
        return None  # absent, or not whole: it is made anew


def _store(entry: Path, recording: Recording) -> None:
    routes: dict[tuple[str, ...], int] = {}
    trips = [
        (
            vehicle,
            trip.type,
            trip.depart_s,
            trip.inserted,
            routes.setdefault(trip.edges, len(routes)),
            trip.exits_s,
            trip.depart_lane,
            trip.stop_s,
            trip.reroutes,
        )
        for vehicle, trip in recording.trips.items()
    ]
    kept = {
        "end_s": recording.end_s,
        "routes": list(routes),
        "trips": trips,
        "walkers": recording.walkers,
        "riders": recording.riders,
        "containers": recording.containers,
        "warnings": recording.warnings,
    }
    data = gzip.compress(json.dumps(kept, separators=(",", ":")).encode(), compresslevel=4, mtime=0)
    # A cache saves time and nothing else: where it can't be kept, the work goes on without.
    with contextlib.suppress(OSError):
        entry.parent.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(dir=entry.parent, prefix=f"{entry.name[:12]}-", suffix=".part")
        try:
            with os.fdopen(descriptor, "wb") as stream:
                stream.write(data)
            Path(name).replace(entry)
        except OSError:
            Path(name).unlink(missing_ok=True)
            raise
