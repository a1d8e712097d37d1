"""Days to compare controls on: three hours of a network with a peak and an incident, each seed another day.

A day is drawn from a scenario's own demand. Where that is an hour, it is repeated under a profile of quarter hours;
three hours with a peak of their own stay as they are. Each vehicle comes a Poisson number of times with the profile's
factor as its mean, and departs within `JITTER_S` of its own time, on the route that it drove in the recorded run. A
network of others keeps its demand: its days differ by jitter alone, and nothing happens.

What a night may know is the typical day: another draw, without the incident.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from pathlib import Path
from xml.etree.ElementTree import Element, SubElement, tostring

import numpy as np

from benchmarks.peers import RESCO, resco_configs
from signals.errors import InputError
from signals.formats.files import write_whole
from signals.formats.sumo.config import Scenario, read_scenario
from signals.formats.sumo.demand import record_demand
from signals.formats.sumo.network import read_network
from signals.formats.sumo.xml import elements
from signals.model.demand import Demand
from signals.simulation.disturbances import close_lane, rewritten

NETS = Path(__file__).resolve().parent.parent / "sumo_nets"
SLOT_S = 900.0
JITTER_S = 120.0
HOURS_3 = (0.6, 0.7, 0.8, 0.9, 1.0, 1.1, 1.15, 1.1, 0.95, 0.85, 0.75, 0.7)
"""Share of the own hour's demand in each quarter hour: the peak lies in the second hour."""


@dataclass(frozen=True, slots=True)
class Incident:
    """A lane that is closed, in seconds from the day's begin."""

    lane: str
    from_s: float
    to_s: float


@dataclass(frozen=True, slots=True)
class Kind:
    """How days of a network are drawn: profile by quarter hour (empty: jitter alone), people's files, incident."""

    profile: tuple[float, ...]
    people: tuple[str, ...] = ()
    incident: Incident | None = None


KINDS: dict[str, Kind] = {
    "arterial": Kind((1.0,) * 12, ("pedestrians.rou.xml",), Incident("j4_j5_pocket_2", 7200.0, 8400.0)),
    "grid": Kind(HOURS_3, (), Incident("r2c0_r2c1_pocket_1", 7200.0, 8400.0)),
    **{name: Kind(()) for name in RESCO},
}


@dataclass(frozen=True, slots=True)
class Day:
    """One day to simulate: its scenario, the disturbances that come with it, and the seed of both."""

    scenario: Scenario
    disturbances: tuple[Path, ...]
    seed: int


def network_of(name: str) -> Scenario:
    """A network's own scenario by its name: `arterial`, `grid`, or one of RESCO's.

    Raises
    ------
    InputError
        Where there is no such network.
    """
    if name not in KINDS:
        raise InputError(f"no network {name!r}; there are {', '.join(KINDS)}")
    return read_scenario(resco_configs()[name] if name in RESCO else NETS / name / f"{name}.sumocfg")


def draw_day(name: str, seed: int, folder: Path, *, incident: bool = True) -> Day:
    """The day of a seed, with its files in `folder`; the same for the same seed."""
    kind = KINDS[name]
    own = network_of(name)
    demand, _ = record_demand(own)
    folder.mkdir(parents=True, exist_ok=True)
    routes = (folder / "day.rou.xml").resolve()
    people = tuple(p for p in own.routes if p.name in kind.people)
    root = Element("routes")
    for path in own.routes:
        if path not in people:
            root.extend(map(deepcopy, elements(path, "vType", "vTypeDistribution")))
    root.extend(_traffic(demand, kind.profile, seed))
    write_whole(routes, tostring(root, encoding="unicode"))
    begin = own.begin_s
    end = begin + SLOT_S * len(kind.profile) if kind.profile else demand.end_s
    day = rewritten(replace(own, routes=(routes, *people), end_s=end), f"{name}-{seed}", folder)
    closed: tuple[Path, ...] = ()
    if incident and kind.incident is not None:
        i = kind.incident
        network = read_network(own)
        closed = (close_lane(network, i.lane, begin + i.from_s, begin + i.to_s, folder.resolve()),)
    return Day(day, closed, seed)


def _traffic(demand: Demand, profile: Sequence[float], seed: int) -> Iterator[Element]:
    """The day's vehicles, by departure."""
    rng = np.random.default_rng(seed)
    length = demand.end_s - demand.begin_s
    end_s = demand.begin_s + SLOT_S * len(profile) if profile else demand.end_s
    drawn: list[tuple[float, str, int]] = []
    for turn in range(round((end_s - demand.begin_s) / length)):
        for k, vehicle in enumerate(demand.vehicles):
            if not vehicle.edges:
                continue
            due_s = vehicle.depart_s + turn * length
            copies = 1
            if profile:
                copies = int(rng.poisson(profile[int((due_s - demand.begin_s) // SLOT_S)]))
            for copy in range(copies):
                depart = due_s + float(rng.uniform(-JITTER_S, JITTER_S))
                # who would come before the begin or after the end comes as much inside of it
                depart = abs(depart - demand.begin_s) + demand.begin_s
                depart = min(depart, 2 * end_s - depart - 0.001)
                drawn.append((round(depart, 3), f"{vehicle.id}.{turn}.{copy}", k))
    for depart, name, k in sorted(drawn):
        vehicle = demand.vehicles[k]
        kind = vehicle.type.partition("@")[0]
        entry = Element("vehicle", id=name, type=kind, depart=f"{depart:.3f}", departLane="best")
        entry.set("departSpeed", "max")
        SubElement(entry, "route", edges=" ".join(vehicle.edges))
        yield entry
