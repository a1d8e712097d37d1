"""What stands in a network today: every signal with its stages, demand, v/c, and what was found odd."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass

from signals.errors import InfeasiblePlan
from signals.model.demand import VehicleType
from signals.model.network import Intersection, Network
from signals.model.plan import PlanRequest
from signals.planning import Case, safe_drops
from signals.safety.check import field_remarks
from signals.timing.lane_groups import IntersectionMeasures, measure_program
from signals.timing.rings import offer_rings, recognise_rings
from signals.timing.stages import omitted_stages, stage_plan
from signals.timing.stretches import movement_flows_vph


@dataclass(frozen=True)
class StageFacts:
    """A stage as an engineer reads it: which movements go, protected or permitted, and for how long."""

    duration_s: float
    min_s: float
    max_s: float | None
    protected: tuple[str, ...]
    permitted: tuple[str, ...]
    crossings: tuple[str, ...]


@dataclass(frozen=True)
class SignalFacts:
    """One signal as it stands. Flows in veh/h over the window, delays in s/veh by the HCM."""

    id: str
    junctions: int
    approaches: tuple[str, ...]
    links: int
    crossings: int
    detectors: int
    program: str
    kind: str
    cycle_s: float
    offset_s: float
    stages: tuple[StageFacts, ...]
    droppable: tuple[str, ...]
    rings: str
    flow_vph: float
    vc_ratio: float
    control_delay_s: float
    level_of_service: str
    unplanned: str
    remarks: tuple[str, ...]

    def to_json(self) -> dict[str, object]:
        """Plain values; an infinite bound becomes null."""
        return asdict(self)


def typical_vehicle(case: Case) -> VehicleType:
    """The type that most vehicles of a demand have, for saturation flows."""
    counts: dict[str, int] = {}
    for vehicle in case.demand.vehicles:
        counts[vehicle.type] = counts.get(vehicle.type, 0) + 1
    if not counts:
        return VehicleType()
    name = max(sorted(counts), key=lambda n: counts[n])
    return case.demand.types.get(name, VehicleType())


def mean_flows_vph(case: Case, signal: str) -> dict[str, float]:
    """Flow of each movement over the whole window."""
    return movement_flows_vph(case.counts).get(signal, {})


def measure_in_place(case: Case, signal: str) -> IntersectionMeasures | None:
    """HCM measures of the program in place under the window's mean demand; None without a readable program."""
    intersection = case.network.intersections[signal]
    program = intersection.program
    if program is None or program.cycle_s <= 0 or program.n_links < intersection.n_links:
        return None
    return measure_program(
        case.network, intersection, program, mean_flows_vph(case, signal), vehicle=typical_vehicle(case)
    )


def inspect_signals(case: Case, request: PlanRequest) -> list[SignalFacts]:
    """Every signal of a case, in order of their ids."""
    return [_facts(case, i, request) for _, i in sorted(case.network.intersections.items())]


def movement_name(network: Network, intersection: Intersection, movement_id: str) -> str:
    """A movement as engineers write it: direction of travel and turn, such as NB L."""
    bounds = {a.edge: a.bound for a in intersection.approaches}
    movement = next(m for m in intersection.movements if m.id == movement_id)
    return f"{bounds.get(movement.approach, '?')} {movement.turn.value}"


def _facts(case: Case, intersection: Intersection, request: PlanRequest) -> SignalFacts:
    network = case.network
    program = intersection.program
    stages: tuple[StageFacts, ...] = ()
    drops: tuple[str, ...] = ()
    reason = ""
    try:
        plan = stage_plan(intersection, request, network.connections)
    except InfeasiblePlan as infeasible:
        reason = str(infeasible)
    else:
        stages = tuple(
            StageFacts(
                s.duration_s,
                s.min_s,
                s.max_s if s.max_s < float("inf") else None,
                _movements(network, intersection, s.protected),
                _movements(network, intersection, s.permitted - s.protected),
                tuple(c.id for c in intersection.crossings if c.link in s.green),
            )
            for s in plan.stages
        )
        drops = tuple(
            f"stage {k + 1}"
            + (f" (permitted from then on: {', '.join(_names(network, intersection, o.becomes_permitted))})"
               if o.becomes_permitted else "")
            for k in safe_drops(network, plan, request)
            for o in omitted_stages(intersection, plan, [k])
        )  # fmt: skip
    measured = measure_in_place(case, intersection.id)
    recognised = recognise_rings(intersection, network)
    rings = "NEMA" if recognised else ("NEMA possible" if offer_rings(intersection, network) else "stages")
    return SignalFacts(
        intersection.id,
        len(intersection.junctions),
        tuple(sorted(a.bound for a in intersection.approaches)),
        intersection.n_links,
        len(intersection.crossings),
        len(intersection.detectors),
        program.program if program else "",
        program.kind if program else "",
        program.cycle_s if program else 0.0,
        program.offset_s if program else 0.0,
        stages,
        drops,
        rings,
        sum(mean_flows_vph(case, intersection.id).values()),
        measured.worst_vc if measured else 0.0,
        measured.whole.control_delay_s if measured else 0.0,
        measured.whole.level_of_service if measured else "",
        reason,
        (*intersection.remarks, *(field_remarks(intersection, request) if not reason else ())),
    )


def _movements(network: Network, intersection: Intersection, links: frozenset[int]) -> tuple[str, ...]:
    return _names(network, intersection, [m.id for m in intersection.movements if set(m.links) & links])


def _names(
    network: Network,
    intersection: Intersection,
    movements: Mapping[str, object] | list[str] | tuple[str, ...],
) -> tuple[str, ...]:
    return tuple(sorted({movement_name(network, intersection, m) for m in movements}))
