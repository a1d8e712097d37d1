"""Reading an uploaded network: its files checked, its signals, detectors and corridors written down."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from sqlalchemy.orm import Session

from signals.errors import InputError, SimulationError
from signals.formats.sumo.bundle import Bundle
from signals.formats.sumo.network import read_network as read_sumo_network
from signals.inspection import inspect_signals
from signals.jobs.context import Context, Finish
from signals.model.demand import Demand, TurningCounts
from signals.model.network import Intersection, Network
from signals.model.plan import PlanRequest
from signals.model.states import NetworkState
from signals.planning import Case, read_case
from signals.store.audit import Actor, record
from signals.store.tables import CorridorRow, DetectorRow, IntersectionRow, RoadNetwork
from signals.store.uploads import unpack_upload
from signals.timing.corridors import find_corridors

RECORDINGS = "recordings"
"""Folder, beside those of the jobs, in which recorded runs of SUMO are kept for the next job."""
STEP = "reading the network"


def read_network(context: Context) -> Finish:
    """The work of `read-network`: a network that can't be used is refused with the reason, and the job is done."""
    network_id = int(context.arguments["network_id"])
    context.progress(STEP, 0, 2)
    try:
        bundle = unpack_upload(context.store, network_id, context.folder / "network")
        context.progress(STEP, 1, 2)
        case = _read(bundle, context.folder.parent / RECORDINGS)
        found = _Found(case, bundle)
    except (InputError, SimulationError) as error:
        reason = str(error).replace(f"{context.folder / 'network'}/", "")
        return lambda session: _refuse(session, network_id, reason)
    context.progress(STEP, 2, 2)
    return lambda session: found.write(session, network_id)


def _read(bundle: Bundle, cache: Path) -> Case:
    if bundle.scenario.routes or bundle.scenario.additional:
        return read_case(bundle.scenario, cache=cache)
    network = read_sumo_network(bundle.scenario)
    if not network.intersections:
        raise InputError(f"{bundle.scenario.net.name}: has no signals, so there is nothing to time")
    return Case(bundle.scenario, network, Demand(0.0, 0.0, (), {}), TurningCounts(0.0, 900.0, 0, {}, {}), 0.0)


class _Found:
    """What was found, as plain values."""

    def __init__(self, case: Case, bundle: Bundle) -> None:
        network, demand = case.network, case.demand
        self.facts: dict[str, Any] = {
            "scenario": case.scenario.name,
            "inputs_sha256": case.scenario.content_hash(),
            "window_s": [demand.begin_s, demand.end_s],
            "vehicles": len(demand.vehicles),
            "pedestrians": demand.pedestrians,
            "signals": len(network.intersections),
            "remarks": [*bundle.remarks, *network.remarks, *demand.remarks],
        }
        inspected: dict[str, dict[str, Any]] = {}
        if demand.vehicles:
            inspected = {f.id: f.to_json() for f in inspect_signals(case, PlanRequest())}
        self.intersections = [
            (signal, *_middle(network, row), _facts(row, inspected.get(signal)), row.detectors)
            for signal, row in sorted(network.intersections.items())
        ]
        self.corridors: dict[str, list[str]] = {}
        for corridor in find_corridors(network, case.counts) if demand.vehicles else ():
            name, number = corridor.name[:190], 2
            while name in self.corridors:
                name, number = f"{corridor.name[:190]} ({number})", number + 1
            self.corridors[name] = list(corridor.signals)

    def write(self, session: Session, network_id: int) -> dict[str, Any]:
        network = session.get_one(RoadNetwork, network_id)
        network.state, network.facts, network.version = NetworkState.READY, self.facts, network.version + 1
        for signal, x_m, y_m, facts, detectors in self.intersections:
            row = IntersectionRow(
                network_id=network_id, area_id=network.area_id, signal=signal, x_m=x_m, y_m=y_m, facts=facts
            )
            session.add(row)
            session.flush()
            session.add_all(
                DetectorRow(
                    network_id=network_id,
                    intersection_id=row.id,
                    name=d.id,
                    kind=d.kind,
                    lane=d.lane,
                    position_m=d.position_m,
                )
                for d in detectors
            )
        session.add_all(
            CorridorRow(network_id=network_id, name=name, signals=signals)
            for name, signals in self.corridors.items()
        )
        _record(session, network, "network.read", signals=len(self.intersections))
        return {"network": network_id, "state": network.state}


def _refuse(session: Session, network_id: int, reason: str) -> dict[str, Any]:
    network = session.get_one(RoadNetwork, network_id)
    network.state, network.problem, network.version = NetworkState.REFUSED, reason, network.version + 1
    _record(session, network, "network.refuse", reason=reason)
    return {"network": network_id, "state": network.state}


def _record(session: Session, network: RoadNetwork, action: str, **details: Any) -> None:
    actor, subject = Actor(None, "jobs"), f"networks/{network.id}"
    record(session, actor, action, subject, area_id=network.area_id, **details)


def _middle(network: Network, intersection: Intersection) -> tuple[float, float]:
    """The middle of the stop lines, in the network's own coordinates [m]."""
    ends = np.array([network.edges[a.edge].end_xy for a in intersection.approaches] or [(0.0, 0.0)])
    x_m, y_m = ends.mean(axis=0)
    return round(float(x_m), 2), round(float(y_m), 2)


def _facts(intersection: Intersection, inspected: dict[str, Any] | None) -> dict[str, Any]:
    program = intersection.program
    return {
        "cycle_s": program.cycle_s if program else None,
        "offset_s": program.offset_s if program else None,
        "approaches": [
            {"edge": a.edge, "bound": a.bound, "lanes": a.lanes, "speed_mps": a.speed_mps}
            for a in intersection.approaches
        ],
        "movements": [
            {"id": m.id, "approach": m.approach, "to": m.to_edge, "turn": m.turn.value}
            for m in intersection.movements
        ],
        "crossings": [c.id for c in intersection.crossings],
        "detectors": [d.id for d in intersection.detectors],
        "remarks": list(intersection.remarks),
        "today": inspected,
    }
