"""A scenario whose traffic follows counts: routes of its own demand, drawn again until they fit.

SUMO's routeSampler.py draws the routes. It takes a vehicle to be everywhere on its route at once, so on its
own it shifts counts by the time that vehicles are on their way, and begins with an empty network. Here a
vehicle departs by its mean time to the places counted, before or after the interval that it was drawn for; the
counts are drawn for longer than the scenario lasts; and whoever is on the way at its begin begins there.
"""

from __future__ import annotations

import gzip
import math
import os
import re
import subprocess
import sys
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from pathlib import Path, PurePosixPath
from xml.etree.ElementTree import Element, SubElement, indent, tostring

import numpy as np
from defusedxml.ElementTree import parse

from signals.errors import InputError, SimulationError
from signals.formats.files import open_unpacked
from signals.formats.sumo.binaries import ending_with_us, find_binary, sumo_environment, sumo_home
from signals.formats.sumo.bundle import bundle_of, unpack_bundle
from signals.formats.sumo.config import Scenario, parse_time, read_scenario
from signals.formats.sumo.demand import record_demand
from signals.formats.sumo.traffic_options import config_xml, traffic_options
from signals.formats.sumo.vehicle_types import BUILT_IN
from signals.formats.sumo.xml import elements
from signals.model.counts import Floats
from signals.model.demand import Demand
from signals.model.network import Network

ROUTES_NAME = "sampled.rou.xml"
PEDESTRIANS_NAME = "sampled-pedestrians.rou.xml"
TYPES_NAME = "sampled-types.add.xml"

_CHANGED = ("begin", "end", "scale", "random-depart-offset")
"""Options that the recorded demand holds already, or that the new window replaces."""

_DEMAND_TAGS = frozenset(("vehicle", "trip", "flow", "person", "personFlow", "container", "containerFlow"))
_TIMED_TAGS = frozenset(("WAUT", "variableSpeedSign", "rerouter"))
_REMARKABLE = frozenset(("calibrator", "container", "containerFlow"))
_ON_FOOT = frozenset(("", "walk"))
_GOOD_GEH = 5.0
_FIRST_MOVED = 0.1
"""Share of a route's usual vehicles by which its number may be moved in the first attempt."""
_MORE_MOVED = 4
_ATTEMPTS = 3
_CLOSE_PERCENT = 2.0
_GOOD_PERCENT = 90.0
_TIMEOUT_S = 1800.0
_MOST_SHOWN = 3


@dataclass(frozen=True)
class Sampled:
    """A scenario that was made to follow counts, and how well it does.

    `asked_veh` sums up the counts, `got_veh` the vehicles expected at the same places and times: a vehicle
    counts at every place that it passes. `geh_below_5_percent` is the share of places and intervals whose
    GEH is below 5. `vehicles` is how many were written.
    """

    scenario: Scenario
    remarks: tuple[str, ...]
    asked_veh: float
    got_veh: float
    geh_below_5_percent: float
    vehicles: int


def sample_demand(
    scenario: Scenario,
    network: Network,
    flows: Mapping[str, Floats],
    step_min: float,
    seed: int,
    folder: Path,
    *,
    cache: Path | None = None,
) -> Sampled:
    """The scenario with vehicles that pass the places counted as often as was counted.

    Routes are those that the scenario's own demand drives, by its own shares where counts leave a choice; types
    of vehicles keep their definitions and their shares. Pedestrians stay, shifted to the new window. The
    new scenario begins at 0 s, ends after the last interval, and needs no file outside of `folder`. The
    same input and seed give the same files.

    Parameters
    ----------
    flows
        float64[n_interval], vehicles per interval from 0 s on, by id of an edge or of a movement of the
        network: how many reach its end (a movement: its stop line) in each interval.
    step_min
        Length of an interval [min].
    folder
        Where the files go; made where it is absent, must be empty.
    cache
        As in `record_demand`.

    Raises
    ------
    InputError
        Where flows are no flows, or name no place of the network, or no route of the scenario's demand
        passes any of them.
    SimulationError
        Where SUMO or its tool can't be run.
    """
    if not scenario.routes and not scenario.additional:
        raise InputError(_without_demand(scenario))
    counts = _Counts.of(network, flows, step_min * 60.0)
    demand, exits_s = record_demand(scenario, cache=cache)
    known = [vehicle for vehicle in demand.vehicles if vehicle.edges]
    if not known:
        raise InputError(_without_demand(scenario))
    routes = _Routes.of(network, demand, exits_s, counts)
    pad = math.ceil(max(routes.lasts_s) / counts.step_s)
    drawn, told = _draw(routes, counts, pad, seed)
    vehicles = _departures(drawn, routes, counts, pad)
    got = counts.passages(vehicles, routes)
    kinds = _kinds(vehicles, routes, demand, network, seed)

    made, changes = _rewrite(scenario, folder, vehicles, kinds, routes, counts.end_s)
    remarks = (
        f"{len(vehicles)} vehicles on {len({v.route for v in vehicles})} routes of the scenario's own "
        f"{len(known)} vehicles ({len(routes.edges)} routes) follow the counts at {len(counts.places)} places "
        f"over {counts.end_s / 60:g} min (seed {seed})",
        *_unmatched(counts, routes, demand),
        *told,
        *changes,
    )
    total = float(counts.flows.sum())
    return Sampled(made, remarks, total, float(got.sum()), counts.geh_below_5_percent(got), len(vehicles))


def _without_demand(scenario: Scenario) -> str:
    return (
        f"{scenario.config or scenario.net}: brings no vehicles whose routes could be taken for the counts; "
        "upload routes (.rou.xml) with the network"
    )


# ------------------------------------------------------------------------------------------------- counts


@dataclass(frozen=True)
class _Counts:
    """Places counted, as edges in a row: one, or a movement's two; flows float64[n_place, n_interval]."""

    places: tuple[tuple[str, ...], ...]
    names: tuple[str, ...]
    flows: Floats
    step_s: float

    @classmethod
    def of(cls, network: Network, flows: Mapping[str, Floats], step_s: float) -> _Counts:
        if not flows:
            raise InputError(
                "there are no counts for the demand to follow; give at least one edge or movement"
            )
        if not (math.isfinite(step_s) and step_s > 0):
            raise InputError(f"intervals of {step_s / 60:g} min: the length of an interval must be above 0")
        movements = {
            movement.id: (movement.approach, movement.to_edge)
            for intersection in network.intersections.values()
            for movement in intersection.movements
        }
        names = tuple(sorted(flows))
        lengths = {len(flows[name]) for name in names}
        if len(lengths) != 1 or 0 in lengths:
            raise InputError(
                f"counts have {sorted(lengths)} intervals; give all of them the same number, at least one"
            )
        places = []
        for name in names:
            if name not in network.edges and name not in movements:
                raise InputError(f"counts of {name!r}: the network has no edge or movement of this id")
            row = np.asarray(flows[name], np.float64)
            if row.ndim != 1 or not np.isfinite(row).all() or (row < 0).any():
                raise InputError(f"counts of {name!r}: are not all numbers from 0 up; fill the gaps first")
            places.append((name,) if name in network.edges else movements[name])
        return cls(
            tuple(places), names, np.array([np.asarray(flows[name], np.float64) for name in names]), step_s
        )

    @property
    def n_intervals(self) -> int:
        return int(self.flows.shape[1])

    @property
    def end_s(self) -> float:
        return self.n_intervals * self.step_s

    def padded(self, pad: int) -> np.ndarray[tuple[int, int], np.dtype[np.int64]]:
        """Whole vehicles, with the first and the last interval repeated; sums up to any interval stay true."""
        wide = np.pad(self.flows, ((0, 0), (pad, pad)), mode="edge")
        edges = np.rint(np.pad(np.cumsum(wide, axis=1), ((0, 0), (1, 0))))
        return np.diff(edges, axis=1).astype(np.int64)

    def passages(self, vehicles: Sequence[_Departure], routes: _Routes) -> Floats:
        """Vehicles expected at each place in each interval."""
        got = np.zeros_like(self.flows)
        for vehicle in vehicles:
            for place, position in routes.passed[vehicle.route]:
                time_s = vehicle.zero_s + routes.reach_s[vehicle.route][position]
                if position >= vehicle.first and 0 <= time_s < self.end_s:
                    got[place, int(time_s / self.step_s)] += 1
        return got

    def geh_below_5_percent(self, got: Floats) -> float:
        per_hour = 3600.0 / self.step_s
        asked_vph, got_vph = self.flows * per_hour, got * per_hour
        both = np.maximum(asked_vph + got_vph, 1e-9)
        geh = np.sqrt(2.0 * (asked_vph - got_vph) ** 2 / both)
        return float(100.0 * np.mean(geh < _GOOD_GEH))


# ------------------------------------------------------------------------------------------------- routes


@dataclass(frozen=True)
class _Routes:
    """Routes that the demand drives: how often, and when a vehicle is where, seconds after its departure.

    `enter_s` and `reach_s` say for each edge of a route when a vehicle comes onto it, and when to its end if
    nothing stops it there; `passed` lists places counted, with the position of the edge on the route.
    """

    edges: tuple[tuple[str, ...], ...]
    driven: tuple[int, ...]
    enter_s: tuple[tuple[float, ...], ...]
    reach_s: tuple[tuple[float, ...], ...]
    passed: tuple[tuple[tuple[int, int], ...], ...]

    @classmethod
    def of(
        cls, network: Network, demand: Demand, exits_s: Mapping[str, Sequence[float]], counts: _Counts
    ) -> _Routes:
        spent: dict[str, list[float]] = defaultdict(list)
        for vehicle in demand.vehicles:
            before = vehicle.depart_s
            for edge, left in zip(vehicle.edges, exits_s.get(vehicle.id, ()), strict=False):
                spent[edge].append(max(left - before, 0.0))
                before = left
        free = {name: edge.length_m / max(edge.speed_mps, 0.1) for name, edge in network.edges.items()}
        usual = {name: float(np.median(times)) for name, times in spent.items()}
        driven = Counter(vehicle.edges for vehicle in demand.vehicles if vehicle.edges)
        routes = sorted(driven)
        enter, reach, passed = [], [], []
        for edges in routes:
            times = [usual.get(edge, free.get(edge, 0.0)) for edge in edges]
            starts = [0.0, *np.cumsum(times).tolist()][:-1]
            enter.append(tuple(starts))
            reach.append(
                tuple(s + min(free.get(e, t), t) for s, e, t in zip(starts, edges, times, strict=True))
            )
            passed.append(tuple(_places(edges, counts.places)))
        return cls(tuple(routes), tuple(driven[r] for r in routes), tuple(enter), tuple(reach), tuple(passed))

    @cached_property
    def lasts_s(self) -> tuple[float, ...]:
        """Time from departure to the last edge's end."""
        return tuple(reach[-1] for reach in self.reach_s)

    @cached_property
    def middle_s(self) -> tuple[float, ...]:
        """Mean time from departure to the places counted."""
        return tuple(
            float(np.mean([reach[k] for _, k in passed])) if passed else 0.0
            for reach, passed in zip(self.reach_s, self.passed, strict=True)
        )

    @cached_property
    def index(self) -> dict[tuple[str, ...], int]:
        return {edges: k for k, edges in enumerate(self.edges)}


def _places(edges: Sequence[str], places: Sequence[tuple[str, ...]]) -> Iterator[tuple[int, int]]:
    for k, place in enumerate(places):
        for at in range(len(edges) - len(place) + 1):
            if tuple(edges[at : at + len(place)]) == place:
                yield k, at
                break  # as the sampler counts: once a vehicle


@dataclass(frozen=True, slots=True)
class _Departure:
    """A vehicle: its route, from which of its edges on, when it departs there, and when at the first edge."""

    depart_s: float
    route: int
    first: int
    zero_s: float


def _draw(routes: _Routes, counts: _Counts, pad: int, seed: int) -> tuple[list[tuple[float, int]], list[str]]:
    """Routes that fit the counts, each with a time in the interval that it was drawn for, by routeSampler.

    They are drawn by the demand's own shares. Where that leaves counts unmet, a linear program moves a few
    vehicles a route, and more in the next attempt: the less it moves, the truer turns stay.
    """
    sumo = find_binary("sumo")
    home = sumo_home(sumo)
    tool = home / "tools" / "routeSampler.py" if home else None
    if tool is None or not tool.is_file():
        raise SimulationError(
            f"SUMO's tool routeSampler.py wasn't found beside {sumo}; install it with: pip install eclipse-sumo"
        )
    whole = counts.padded(pad)
    passing = [(driven, len(passed)) for driven, passed in zip(routes.driven, routes.passed, strict=True)]
    if not whole.any() or not any(places for _, places in passing):
        raise InputError(
            f"counts at {', '.join(counts.names[:_MOST_SHOWN])}: no vehicle of the scenario passes where anything "
            "was counted, or nothing was; give counts of roads that its routes use"
        )
    per_vehicle = sum(d * n for d, n in passing) / sum(d for d, n in passing if n)
    used = float(whole.mean(axis=1).sum()) / per_vehicle / sum(n > 0 for _, n in passing)
    moved = max(1, round(_FIRST_MOVED * used))
    with tempfile.TemporaryDirectory(prefix="greensplit-sample-") as name:
        work = Path(name)
        root = Element("routes")
        for k, (edges, driven) in enumerate(zip(routes.edges, routes.driven, strict=True)):
            SubElement(root, "route", id=f"r{k}", edges=" ".join(edges), probability=str(driven))
        _write(work / "routes.xml", root)
        command = [sys.executable, str(tool), "-r", "routes.xml", "-o", "out.xml", "--seed", str(seed)]
        for option, size, file in (("-d", 1, "edges.xml"), ("-t", 2, "turns.xml")):
            if any(len(place) == size for place in counts.places):
                _write(work / file, _data(counts, whole, size))
                command += [option, file]
        command += ["--weighted", "--verbose"]
        for attempt in range(_ATTEMPTS):
            said = _run([*command, "--optimize", str(moved * _MORE_MOVED**attempt)], work, sumo)
            met, good = _met(said)
            if abs(met - 100.0) <= _CLOSE_PERCENT and good >= _GOOD_PERCENT:
                break
        drawn = []
        for vehicle in elements(work / "out.xml", "vehicle"):
            edges = tuple(next(vehicle.iter("route")).get("edges", "").split())
            drawn.append((float(vehicle.get("depart", "0")), routes.index[edges]))
    return drawn, [
        f"SUMO's routeSampler met {met:.1f} % of the counts, with GEH below 5 at {good:.0f} % of the places, "
        f"where routes were let differ by {moved * _MORE_MOVED**attempt} vehicles per interval from their shares"
    ]


def _run(command: Sequence[str], work: Path, sumo: Path) -> str:
    tool = Path(command[1])
    try:
        done = subprocess.run(
            ending_with_us(command),
            cwd=work,
            env={**sumo_environment(sumo), "PYTHONHASHSEED": "0"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise SimulationError(
            f"{tool.name} was still running after {_TIMEOUT_S:g} s; give fewer intervals"
        ) from None
    except OSError as error:
        raise SimulationError(f"{tool}: can't be started: {error}") from None
    if done.returncode or not (work / "out.xml").is_file():
        said = " ".join((done.stderr or done.stdout).split())[-400:]
        raise SimulationError(f"{tool.name} ended with code {done.returncode}: {said or 'nothing said'}")
    return done.stdout


def _met(said: str) -> tuple[float, float]:
    """Percentages that routeSampler states: of the counts met, and of places with a good GEH; means."""
    met = [float(share) for share in re.findall(r"achieving total count \S+ \(([\d.]+)%\)", said)]
    good = [float(share) for share in re.findall(r"GEH<[\d.]+ for ([\d.]+)%", said)]
    return (float(np.mean(met)), float(np.mean(good))) if met and good else (0.0, 0.0)


def _data(counts: _Counts, whole: np.ndarray[tuple[int, int], np.dtype[np.int64]], size: int) -> Element:
    root = Element("data")
    for k in range(whole.shape[1]):
        begin_s = k * counts.step_s
        interval = SubElement(
            root, "interval", id="counts", begin=f"{begin_s:.3f}", end=f"{begin_s + counts.step_s:.3f}"
        )
        for place, row in zip(counts.places, whole, strict=True):
            if len(place) != size:
                continue
            if size == 1:
                SubElement(interval, "edge", id=place[0], entered=str(row[k]))
            else:
                SubElement(interval, "edgeRelation", {"from": place[0], "to": place[1], "count": str(row[k])})
    return root


def _departures(
    drawn: Sequence[tuple[float, int]], routes: _Routes, counts: _Counts, pad: int
) -> list[_Departure]:
    """Vehicles that pass a place counted within the window, sorted by departure.

    Who would have departed before the window begins on the edge where it then is.
    """
    vehicles = []
    for time_s, route in drawn:
        zero_s = time_s - pad * counts.step_s - routes.middle_s[route]
        enter_s, reach_s = routes.enter_s[route], routes.reach_s[route]
        first = next((k for k, reach in enumerate(reach_s) if zero_s + reach >= 0.0), len(reach_s))
        ahead = [
            zero_s + reach_s[k] for _, k in routes.passed[route] if k >= first and zero_s + reach_s[k] >= 0.0
        ]
        if ahead and min(ahead) < counts.end_s:
            depart_s = round(max(zero_s + enter_s[first], 0.0), 2)
            if depart_s < counts.end_s:
                vehicles.append(_Departure(depart_s, route, first, zero_s))
    return sorted(vehicles, key=lambda v: (v.depart_s, v.route, v.first, v.zero_s))


def _kinds(
    vehicles: Sequence[_Departure], routes: _Routes, demand: Demand, network: Network, seed: int
) -> list[str]:
    """A type for each vehicle, by the shares of types in the demand, among those that may drive its route."""
    shares = Counter(vehicle.type.partition("@")[0] for vehicle in demand.vehicles if vehicle.edges)
    names = sorted(shares)
    classes = {name: _vehicle_class(name, demand) for name in names}
    ways: dict[str, set[tuple[str, str]]] = {c: set() for c in classes.values()}
    for connection in network.connections:
        before = network.edges[connection.from_edge].lanes[connection.from_lane].allowed
        after = network.edges[connection.to_edge].lanes[connection.to_lane].allowed
        for vehicle_class, pairs in ways.items():
            if vehicle_class in before and vehicle_class in after:
                pairs.add((connection.from_edge, connection.to_edge))
    own: dict[tuple[str, ...], Counter[str]] = defaultdict(Counter)
    for vehicle in demand.vehicles:
        own[vehicle.edges][vehicle.type.partition("@")[0]] += 1

    rng = np.random.default_rng(seed)
    by_route: dict[int, list[int]] = defaultdict(list)
    for k, departure in enumerate(vehicles):
        by_route[departure.route].append(k)
    kinds = [""] * len(vehicles)
    groups: dict[tuple[str, ...], list[int]] = defaultdict(list)
    for route, members in sorted(by_route.items()):
        edges = routes.edges[route]
        turns = list(pairwise(edges))
        fit = tuple(n for n in names if n in own[edges] or all(turn in ways[classes[n]] for turn in turns))
        groups[fit] += members
    for fit, members in sorted(groups.items()):
        weights = np.array([shares[name] for name in fit], np.float64)
        # Whole numbers that sum up, then in random order: the shares hold exactly rather than on average.
        bounds = np.rint(np.cumsum(weights / weights.sum()) * len(members)).astype(np.int64)
        order = rng.permutation(np.searchsorted(bounds, np.arange(len(members)), side="right"))
        for k, name in zip(sorted(members), order, strict=True):
            kinds[k] = fit[name]
    return kinds


def _vehicle_class(name: str, demand: Demand) -> str:
    known = demand.types.get(name)
    return known.vehicle_class if known else BUILT_IN.get(name, "passenger")


def _unmatched(counts: _Counts, routes: _Routes, demand: Demand) -> Iterator[str]:
    reached = {place for passed in routes.passed for place, _ in passed}
    lost = [k for k in range(len(counts.places)) if k not in reached and counts.flows[k].sum() > 0]
    if lost:
        shown = ", ".join(counts.names[k] for k in lost[:3]) + (", …" if len(lost) > 3 else "")
        yield (
            f"no vehicle of the scenario passes {len(lost)} of the places counted ({shown}), "
            f"with {counts.flows[lost].sum():.0f} vehicles: their counts can't be met"
        )
    apart = sum(driven for driven, passed in zip(routes.driven, routes.passed, strict=True) if not passed)
    if apart:
        yield f"{apart} vehicles of the scenario pass no place counted and are left out, for want of counts"
    standing = sum(vehicle.stop_s > 0 for vehicle in demand.vehicles)
    if standing:
        yield f"{standing} vehicles of the scenario stop on the way; the ones made from them don't"


# --------------------------------------------------------------------------------------------- the files


@dataclass
class _Kept:
    """What of the scenario's route files stays: types, pedestrians; and how many of what doesn't."""

    types: list[Element] = field(default_factory=list)
    people: list[Element] = field(default_factory=list)
    routes: dict[str, str] = field(default_factory=dict)
    left_out: Counter[str] = field(default_factory=Counter)


def _rewrite(
    scenario: Scenario,
    folder: Path,
    vehicles: Sequence[_Departure],
    kinds: Sequence[str],
    routes: _Routes,
    end_s: float,
) -> tuple[Scenario, list[str]]:
    """A copy of the scenario in `folder`, its demand replaced."""
    copy = unpack_bundle(bundle_of(scenario), folder).scenario
    config = copy.config
    if config is None:
        raise InputError(_without_demand(scenario))
    for name in (ROUTES_NAME, PEDESTRIANS_NAME, TYPES_NAME):
        if (config.parent / name).exists():
            raise InputError(f"{config.parent / name}: the scenario has a file of this name; rename it")
    kept = _Kept()
    lasting = _including(copy.additional)
    timed = 0
    for path in lasting:
        timed += _strip(path, kept)
    gone = [path for path in _including(copy.routes) if path not in lasting]
    for path in gone:
        _gather(path, kept)
    for path in gone:
        path.unlink()

    people, notes = _shift(kept, scenario, end_s)
    additional = list(copy.additional)
    if kept.types:
        root = Element("additional")
        root.extend(kept.types)
        _write(config.parent / TYPES_NAME, root)
        additional.append(config.parent / TYPES_NAME)
    made = [config.parent / ROUTES_NAME]
    root = Element("routes")
    for k, (vehicle, kind) in enumerate(zip(vehicles, kinds, strict=True)):
        element = SubElement(root, "vehicle", id=f"sampled{k}", type=kind, depart=f"{vehicle.depart_s:.2f}")
        element.attrib.update(departLane="best", departSpeed="max")
        SubElement(element, "route", edges=" ".join(routes.edges[vehicle.route][vehicle.first :]))
    _write(made[0], root)
    if people:
        root = Element("routes")
        root.extend(people)
        _write(config.parent / PEDESTRIANS_NAME, root)
        made.append(config.parent / PEDESTRIANS_NAME)

    options = traffic_options(config)[0]
    for option in _CHANGED:
        options.pop(option, None)
    files = {"net-file": [copy.net], "route-files": made, "additional-files": additional}
    relative = {
        key: [PurePosixPath(os.path.relpath(path, config.parent).replace(os.sep, "/")) for path in paths]
        for key, paths in files.items()
    }
    config.write_bytes(config_xml({**options, "begin": "0", "end": f"{end_s:.15g}"}, relative))
    if timed:
        notes.append(
            f"{timed} elements of additional files that go by the clock (WAUT, rerouter, variable speed sign) "
            "now count from the new begin"
        )
    dropped = traffic_options(scenario.config)[1] if scenario.config else []
    if dropped:
        notes.append(
            f"options of the .sumocfg that do more than change traffic were left out: {', '.join(sorted(dropped))}"
        )
    return read_scenario(config), notes


def _including(paths: Sequence[Path]) -> list[Path]:
    """These files and all that they include."""
    found: list[Path] = []
    waiting = list(paths)
    while waiting:
        path = waiting.pop(0)
        if path not in found:
            found.append(path)
            waiting += [(path.parent / e.get("href", "")).resolve() for e in elements(path, "include")]
    return found


def _strip(path: Path, kept: _Kept) -> int:
    """Take demand out of an additional file, pedestrians into `kept`; says how many elements go by the clock."""
    with open_unpacked(path) as stream:
        root = parse(stream, forbid_dtd=True).getroot()
    if root is None:
        return 0
    timed = 0
    whole = len(root)
    for element in list(root):
        timed += element.tag in _TIMED_TAGS
        if element.tag == "route":
            kept.routes[element.get("id", "")] = element.get("edges", "")
        elif element.tag in ("person", "personFlow"):
            kept.people.append(element)
            root.remove(element)
        elif element.tag in _DEMAND_TAGS or element.tag == "calibrator":
            kept.left_out[element.tag] += element.tag in _REMARKABLE
            root.remove(element)
    if len(root) < whole:
        _write(path, root)
    return timed


def _gather(path: Path, kept: _Kept) -> None:
    for element in elements(path, "vType", "vTypeDistribution", "route", *_DEMAND_TAGS):
        if element.tag in ("vType", "vTypeDistribution"):
            kept.types.append(_copied(element))
        elif element.tag in ("person", "personFlow"):
            kept.people.append(_copied(element))
        elif element.tag == "route":
            kept.routes[element.get("id", "")] = element.get("edges", "")
        else:
            kept.left_out[element.tag] += element.tag in _REMARKABLE


def _copied(element: Element) -> Element:
    made = Element(element.tag, dict(element.attrib))
    made.extend([_copied(child) for child in element])
    return made


def _shift(kept: _Kept, scenario: Scenario, end_s: float) -> tuple[list[Element], list[str]]:
    """Pedestrians in the new window, and remarks on them.

    The scenario's begin becomes 0 s. A flow of persons that lasts to the scenario's end lasts to the new one; a
    single person keeps the time since the begin.
    """
    moved: list[tuple[float, Element]] = []
    riders = late = 0
    for element in kept.people:
        if not _on_foot(element, kept.routes):
            riders += 1
            continue
        start_s = _start(element, scenario)
        for stage in element.iter():
            if stage.get("until"):
                until_s = parse_time(stage.get("until", ""), "until") - scenario.begin_s
                stage.set("until", f"{max(until_s, 0.0):.15g}")
        if element.tag == "personFlow":
            start_s = _shift_flow(element, start_s, scenario, end_s)
        elif start_s is not None:
            element.set("depart", f"{start_s:.15g}")
        if start_s is not None and not 0.0 <= start_s < end_s:
            late += 1
            continue
        moved.append((start_s or 0.0, element))
    moved.sort(key=lambda pair: pair[0])
    notes = []
    if moved:
        notes.append(
            f"{len(moved)} pedestrians and flows of pedestrians were kept: {scenario.begin_s:g} s is now 0 s, and "
            "flows that lasted to the scenario's end last to the new one, at the same rate"
        )
    if late:
        notes.append(f"{late} pedestrians and flows of them lie outside of the new window and are left out")
    if riders:
        notes.append(f"{riders} persons and flows of them ride in vehicles, which are others now: left out")
    for tag, count in sorted(kept.left_out.items()):
        if count:
            notes.append(f"{count} {tag} elements are left out: the counts decide who drives")
    return [element for _, element in moved], notes


def _on_foot(element: Element, routes: Mapping[str, str]) -> bool:
    """Whether a person only walks; walks over named routes get the edges themselves."""
    for stage in element:
        if stage.tag in ("ride", "transport", "tranship"):
            return False
        if stage.tag == "personTrip" and not set(stage.get("modes", "").split()) <= _ON_FOOT:
            return False
        if stage.tag == "walk" and "route" in stage.attrib:
            edges = routes.get(stage.attrib.pop("route"))
            if edges is None:
                return False
            stage.set("edges", edges)
    return True


def _start(element: Element, scenario: Scenario) -> float | None:
    """When a person or flow starts, in the new window; None where SUMO decides (triggered, now)."""
    text = element.get("depart" if element.tag == "person" else "begin", "0")
    try:
        return parse_time(text, element.get("id", "")) - scenario.begin_s
    except InputError:
        return None


def _shift_flow(element: Element, start_s: float | None, scenario: Scenario, end_s: float) -> float:
    begin_s = max(start_s or 0.0, 0.0)
    stated = parse_time(element.get("end", "-1"), element.get("id", ""))
    lasting = scenario.end_s is None or stated >= scenario.end_s or stated < 0
    finish_s = end_s if lasting else min(stated - scenario.begin_s, end_s)
    if "number" in element.attrib and stated >= 0 and stated > (start_s or 0.0) + scenario.begin_s:
        whole_s = stated - scenario.begin_s - (start_s or 0.0)
        share = max(finish_s - begin_s, 0.0) / whole_s
        element.set("number", str(max(round(float(element.get("number", "0")) * share), 0)))
    element.set("begin", f"{begin_s:.15g}")
    element.set("end", f"{finish_s:.15g}")
    return begin_s if finish_s > begin_s else end_s


def _write(path: Path, root: Element) -> None:
    indent(root, "    ")
    data = bytes(tostring(root, encoding="utf-8", xml_declaration=True)) + b"\n"
    path.write_bytes(gzip.compress(data, mtime=0) if path.suffix == ".gz" else data)
