"""What disturbs a simulated day: a lane that is closed for a while, and traffic that surges through an edge.

Both are written as SUMO files. A closed lane takes its permissions away (SUMO's `closingLaneReroute`): nobody
enters it, who is on it leaves it for its neighbour as soon as there is room. Drivers keep their routes, as they do
where nobody tells them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from xml.etree.ElementTree import Element, SubElement, indent, tostring

import numpy as np

from signals.errors import InputError
from signals.formats.files import write_whole
from signals.formats.sumo.config import SYNONYMS, Scenario, read_scenario
from signals.formats.sumo.recording import options_of
from signals.model.demand import Demand
from signals.model.network import Network

CAR = "passenger"
JITTER_S = 60.0
"""A vehicle of a surge departs within so long of the one whose route it drives."""


def close_lane(network: Network, lane: str, from_s: float, to_s: float, folder: Path) -> Path:
    """An additional file that closes a lane to all traffic from one second of the simulation to another.

    The lane must leave every movement of its edge, and everybody who comes into the edge, another lane: who could
    drive on nowhere would stand until SUMO takes him out.

    Raises
    ------
    InputError
        Where the network has no such lane, no cars use it, somebody has no other lane, or the time is empty.
    """
    if not to_s > from_s:
        raise InputError(f"lane {lane}: closed from {from_s:g} to {to_s:g} s; the end must come later")
    edge, _, position = lane.rpartition("_")
    found = network.edges.get(edge)
    known = {one.id: one for one in found.lanes} if found is not None else {}
    if lane not in known:
        own = f"edge {edge} has {', '.join(known)}" if known else f"there is no edge {edge!r}"
        raise InputError(f"lane {lane}: not in the network ({own})")
    if not known[lane].allows(CAR):
        raise InputError(f"lane {lane}: no cars drive there; close one that they use")
    stranded = _stranded(network, edge, int(position))
    if stranded:
        raise InputError(
            f"lane {lane}: can't be closed, since it is the only one {'; '.join(stranded)}; "
            "close a lane beside which another one leads the same ways"
        )
    root = Element("additional")
    rerouter = SubElement(root, "rerouter", id=f"closed-{lane}", edges=edge, probability="0")
    interval = SubElement(rerouter, "interval", begin=f"{from_s:g}", end=f"{to_s:g}")
    # an attribute must be there: without one SUMO lets authorities pass, with an empty one everybody
    SubElement(interval, "closingLaneReroute", id=lane, disallow="all")
    return _written(root, folder / f"closed-{lane}-{from_s:g}.add.xml")


def surge(
    scenario: Scenario,
    network: Network,
    demand: Demand,
    edge: str,
    factor: float,
    from_s: float,
    to_s: float,
    seed: int,
    folder: Path,
) -> Path:
    """A route file with the vehicles of a surge: those who pass an edge, times a factor of 1 or more.

    Of everybody in `demand` (see `record_demand`) who passes the edge and departs within the time, so many are drawn
    that the file holds factor − 1 times their number, to the nearest vehicle. Each drives the route and is of the type
    of the one it was drawn from, and departs within `JITTER_S` of it. `with_traffic` adds the file to a scenario; as
    an additional file it serves where the scenario's types stand in additional files too.

    Raises
    ------
    InputError
        Where the edge isn't in the network, nobody passes it in that time, or a figure makes no sense.
    """
    if edge not in network.edges:
        raise InputError(f"surge on {edge!r}: there is no such edge in {network.source}")
    if not factor >= 1.0 or not np.isfinite(factor):
        raise InputError(f"surge on {edge}: factor {factor:g}; give 1 or more, 1.5 for half as many again")
    if not to_s > from_s:
        raise InputError(f"surge on {edge}: from {from_s:g} to {to_s:g} s; the end must come later")
    passing = [v for v in demand.vehicles if from_s <= v.depart_s < to_s and edge in v.edges]
    if not passing:
        raise InputError(
            f"surge on {edge}: nobody who departs from {from_s:g} to {to_s:g} s passes it in {scenario.name}"
        )
    rng = np.random.default_rng([seed, len(passing)])
    n = round((factor - 1.0) * len(passing))
    drawn = [passing[k] for k in rng.integers(len(passing), size=n)]
    jitter = rng.uniform(-JITTER_S, JITTER_S, n)
    # SUMO keeps milliseconds
    latest = to_s - 0.001
    departs = [
        round(min(max(v.depart_s + float(late), from_s), latest), 3)
        for v, late in zip(drawn, jitter, strict=True)
    ]
    root = Element("routes")
    for number, (depart, vehicle) in enumerate(
        sorted(zip(departs, drawn, strict=True), key=lambda x: (x[0], x[1].id))
    ):
        _add(root, f"surge-{edge}-{from_s:g}-{number}", vehicle.edges, vehicle.type, depart)
    return _written(root, folder / f"surge-{edge}-{from_s:g}.rou.xml")


def with_traffic(scenario: Scenario, routes: Sequence[Path], folder: Path) -> Scenario:
    """The scenario with further route files, under a .sumocfg of its own that keeps every other option.

    Raises
    ------
    InputError
        Where a file is absent or broken.
    """
    return rewritten(
        replace(scenario, routes=(*scenario.routes, *(p.resolve() for p in routes))), scenario.name, folder
    )


def rewritten(scenario: Scenario, name: str, folder: Path) -> Scenario:
    """The scenario as its fields say, written as a .sumocfg: the options of its old one, but for files and window.

    Raises
    ------
    InputError
        Where a file is absent or broken.
    """
    folder.mkdir(parents=True, exist_ok=True)
    options = options_of(scenario.config) if scenario.config is not None else {}
    values = {SYNONYMS.get(key, key): value for key, value in options.items()}
    values["net-file"] = str(scenario.net)
    values["route-files"] = ",".join(map(str, scenario.routes))
    values["additional-files"] = ",".join(map(str, scenario.additional))
    values["begin"] = f"{scenario.begin_s:g}"
    values["end"] = f"{-1.0 if scenario.end_s is None else scenario.end_s:g}"
    root = Element("configuration")
    for key, value in sorted(values.items()):
        if value:
            SubElement(root, key, value=value)
    return read_scenario(_written(root, folder / f"{name}.sumocfg"))


def _stranded(network: Network, edge: str, lane: int) -> list[str]:
    """Movements that have no other lane of the edge, in words: those that leave it, and those that come in."""
    leaving = [c for c in network.connections if c.from_edge == edge]
    entering = [c for c in network.connections if c.to_edge == edge]
    out = {c.to_edge for c in leaving if c.from_lane == lane}
    out -= {c.to_edge for c in leaving if c.from_lane != lane}
    into = {c.from_edge for c in entering if c.to_lane == lane}
    into -= {c.from_edge for c in entering if c.to_lane != lane}
    return [f"to {e}" for e in sorted(out)] + [f"from {e}" for e in sorted(into)]


def _add(root: Element, name: str, edges: Sequence[str], kind: str, depart_s: float) -> None:
    # SUMO writes type@vehicle for a type that was changed for one vehicle alone
    vehicle = SubElement(
        root,
        "vehicle",
        id=name,
        type=kind.partition("@")[0],
        depart=f"{depart_s:.3f}",
        departLane="best",
        departSpeed="max",
    )
    SubElement(vehicle, "route", edges=" ".join(edges))


def _written(root: Element, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    indent(root, "    ")
    write_whole(path, '<?xml version="1.0" encoding="UTF-8"?>\n' + tostring(root, encoding="unicode") + "\n")
    return path.resolve()
