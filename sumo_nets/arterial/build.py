"""Build the ``arterial`` scenario: ``python -m sumo_nets.arterial.build``."""

import itertools
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from sumo_nets.arterials import SIDEWALK_OVER, Gravity, Terminal, list_walk_rows, route_id
from sumo_nets.draft import Draft
from sumo_nets.programs import Program, Stage, stage, write_programs
from sumo_nets.scenario import SLOT_S, write_elements, write_sumocfg

SEED = 66
BEGIN_S = 6 * 3600
MAIN_SPEED_MPS = 18.06  # 65 km/h
MAJOR_SPEED_MPS = 13.89  # 50 km/h
MINOR_SPEED_MPS = 12.5  # 45 km/h
ENTRY_M = 500.0
SIDE_LEG_M = 300.0
POCKET_M = 85.0


@dataclass(frozen=True)
class Junction:
    """One signal: where it stands, which side streets it has, and how it is timed."""

    name: str
    x_m: float
    y_m: float
    major: bool
    sides: str  # "NS", or the one side of a T junction
    crossings: str  # legs with a marked crossing
    offset_s: int
    stages: tuple[Stage, ...]
    right_on_red: frozenset[str] = frozenset()


ALL_RIGHTS = frozenset({"EBR", "WBR", "NBR", "SBR"})

# The timing sheet.  Cycle 110 s everywhere.  Splits were set for flows about a fifth lower, as much westbound
# as eastbound, and for busier side streets; offsets for an inbound wave of 55 km/h, the speed limit of that
# time, in two sections (j1-j4, j5-j8) that were timed in different years and never tied together.
JUNCTIONS = (
    Junction("j1", 0, 0, True, "NS", "NSEW", 0, (
        stage("1+5", 10, min_green_s=5, max_green_s=20), stage("2+6", 39, walks="NS", min_green_s=26),
        stage("3+7", 8, min_green_s=5, max_green_s=15), stage("4+8", 25, walks="EW"),
    ), ALL_RIGHTS),
    Junction("j2", 310, 4, False, "NS", "NS", 20, (
        stage("1+5", 8), stage("2+6", 60, walks="NS"), stage("4+8", 24),
    )),
    Junction("j3", 490, 8, False, "N", "NW", 32, (
        stage("2+5", 9), stage("2+6", 58, walks="N"), stage("8", 25, walks="W"),
    ), frozenset({"SBR"})),
    Junction("j4", 910, 6, True, "NS", "NS", 60, (
        stage("1+5", 8), stage("2+5", 5), stage("2+6", 29, walks="NS"),
        stage("3+7", 9), stage("4+8", 24),
    ), ALL_RIGHTS),
    Junction("j5", 1170, 0, False, "NS", "NS", 0, (
        stage("1+5", 8), stage("2+6", 61, walks="NS"), stage("4+8", 23),
    )),
    Junction("j6", 1620, -6, True, "NS", "NSEW", 29, (
        stage("1+5", 10), stage("2+6", 39, walks="NS"), stage("3+7", 8), stage("4+8", 25, walks="EW"),
    ), ALL_RIGHTS),
    Junction("j7", 1850, -4, False, "S", "SE", 44, (
        stage("1+6", 9), stage("2+6", 58, walks="S"), stage("4", 25, walks="E"),
    ), frozenset({"NBR"})),
    Junction("j8", 2200, 0, True, "NS", "NS", 67, (
        stage("1+5", 9), stage("2+5", 5), stage("2+6", 41, walks="NS"), stage("4+8", 27),
    )),
)  # fmt: skip

GRAVITY = Gravity(
    entering_vph={"west": 1250, "east": 1050, "major": 430, "minor": 160},
    pull={"west": 620, "east": 1000, "major": 210, "minor": 60},
    straight_over={"major": 0.50, "minor": 0.25},
    mean_distance_m=2500.0,
    least_flow_vph=4.0,
)
TRUCK_SHARE = 0.04
# Share of the peak in each quarter of an hour from 6:00: inbound (eastbound) peaks before eight, outbound
# traffic keeps growing, side streets lie between.
INBOUND_SHAPE = (0.46, 0.55, 0.67, 0.80, 0.91, 0.98, 1.00, 0.97, 0.89, 0.79, 0.71, 0.65)
OUTBOUND_SHAPE = (0.40, 0.45, 0.52, 0.60, 0.68, 0.76, 0.84, 0.90, 0.95, 1.00, 1.00, 0.97)
SIDE_SHAPE = (0.42, 0.50, 0.60, 0.72, 0.84, 0.92, 0.98, 1.00, 0.96, 0.88, 0.82, 0.78)
# Where a T junction lacks a leg: the arterial's approach and departure whose sidewalk runs on that side.
FAR_SIDE = {"S": ("W", "E"), "N": ("E", "W")}


def build(directory: Path) -> Path:
    """Write network, demand and configuration into `directory`; returns the ``.sumocfg``."""
    draft = draft_network()
    net_file = directory / "arterial.net.xml"
    draft.build(net_file)
    write_programs(net_file, {j.name: Program(j.stages, j.offset_s, j.right_on_red) for j in JUNCTIONS})
    peak_vph = GRAVITY.flows(list_terminals())
    write_elements(
        directory / "vtypes.add.xml",
        "additional",
        ['<vType id="car" vClass="passenger"/>', '<vType id="truck" vClass="truck"/>'],
    )
    write_elements(directory / "routes.rou.xml", "routes", list_route_rows(draft, peak_vph))
    write_elements(directory / "cars.rou.xml", "routes", list_car_rows(peak_vph))
    write_elements(directory / "trucks.rou.xml", "routes", list_truck_rows(peak_vph))
    write_elements(directory / "pedestrians.rou.xml", "routes", list_pedestrian_rows(draft))
    cfg = directory / "arterial.sumocfg"
    write_sumocfg(
        cfg,
        net=net_file.name,
        routes=("routes.rou.xml", "cars.rou.xml", "trucks.rou.xml", "pedestrians.rou.xml"),
        additional=("vtypes.add.xml",),
        begin_s=BEGIN_S,
        end_s=BEGIN_S + len(INBOUND_SHAPE) * SLOT_S,
    )
    return cfg


def draft_network() -> Draft:
    """The arterial from west to east, its side streets, and a pocket wherever it has a left turn."""
    draft = Draft()
    draft.add_node("west", JUNCTIONS[0].x_m - ENTRY_M, JUNCTIONS[0].y_m)
    draft.add_node("east", JUNCTIONS[-1].x_m + ENTRY_M, JUNCTIONS[-1].y_m)
    for junction in JUNCTIONS:
        draft.add_node(junction.name, junction.x_m, junction.y_m)
    line = [None, *JUNCTIONS, None]
    for before, after in itertools.pairwise(line):
        pockets = []
        if after is not None and "N" in after.sides:  # the eastbound left turn goes north
            pockets.append(after.name)
        if before is not None and "S" in before.sides:
            pockets.append(before.name)
        draft.add_street(
            "west" if before is None else before.name,
            "east" if after is None else after.name,
            lanes=2,
            speed_mps=MAIN_SPEED_MPS,
            priority=4,
            pockets_at=pockets,
            pocket_m=POCKET_M,
            sidewalk=True,
            median=True,
        )
    for junction in JUNCTIONS:
        neighbour = {"W": _west_of(junction), "E": _east_of(junction)}
        for side in junction.sides:
            end = f"{'north' if side == 'N' else 'south'}{junction.name[1:]}"
            neighbour[side] = end
            y_m = junction.y_m + (SIDE_LEG_M if side == "N" else -SIDE_LEG_M)
            draft.add_node(end, junction.x_m, y_m)
            draft.add_street(
                junction.name,
                end,
                lanes=2 if junction.major else 1,
                speed_mps=MAJOR_SPEED_MPS if junction.major else MINOR_SPEED_MPS,
                priority=3 if junction.major else 2,
                pockets_at=(junction.name,) if junction.major or len(junction.sides) == 1 else (),
                pocket_m=70.0,
                sidewalk=True,
            )
        draft.add_signal(junction.name, [neighbour[leg] for leg in junction.crossings])
    return draft


def _west_of(junction: Junction) -> str:
    position = JUNCTIONS.index(junction)
    return JUNCTIONS[position - 1].name if position else "west"


def _east_of(junction: Junction) -> str:
    position = JUNCTIONS.index(junction)
    return JUNCTIONS[position + 1].name if position + 1 < len(JUNCTIONS) else "east"


def list_terminals() -> list[Terminal]:
    """The two ends of the arterial and the ends of all side streets."""
    last = len(JUNCTIONS) - 1
    terminals = [
        Terminal("west", "west", 0, JUNCTIONS[0].x_m - ENTRY_M),
        Terminal("east", "east", last, JUNCTIONS[last].x_m + ENTRY_M),
    ]
    for at, junction in enumerate(JUNCTIONS):
        for side in junction.sides:
            name = f"{'north' if side == 'N' else 'south'}{junction.name[1:]}"
            terminals.append(Terminal(name, "major" if junction.major else "minor", at, junction.x_m))
    return terminals


def _shape(origin: Terminal, destination: Terminal) -> tuple[float, ...]:
    if destination.kind == "east" or origin.kind == "west":
        return INBOUND_SHAPE
    if destination.kind == "west" or origin.kind == "east":
        return OUTBOUND_SHAPE
    return SIDE_SHAPE


def list_route_rows(draft: Draft, peak_vph: dict[tuple[Terminal, Terminal], float]) -> list[str]:
    """A named route for every pair of ends."""
    rows = []
    for origin, destination in peak_vph:
        step = 1 if destination.at >= origin.at else -1
        along = [JUNCTIONS[at].name for at in range(origin.at, destination.at + step, step)]
        edges = " ".join(draft.path([origin.name, *along, destination.name]))
        rows.append(f'<route id="{route_id(origin, destination)}" edges="{edges}"/>')
    return rows


def list_car_rows(peak_vph: dict[tuple[Terminal, Terminal], float]) -> list[str]:
    """Cars as flows: evenly spaced where heavy, Poisson in the middle, a chance a second where light."""
    rows = []
    for slot in range(len(INBOUND_SHAPE)):
        begin_s = BEGIN_S + slot * SLOT_S
        for (origin, destination), vph in peak_vph.items():
            cars_vph = vph * _shape(origin, destination)[slot] * (1.0 - TRUCK_SHARE)
            if vph >= 150.0:
                arrivals = f'vehsPerHour="{cars_vph:.1f}"'
            elif vph >= 25.0:
                arrivals = f'period="exp({cars_vph / 3600.0:.5f})"'
            else:
                arrivals = f'probability="{cars_vph / 3600.0:.5f}"'
            route = route_id(origin, destination)
            rows.append(
                f'<flow id="{route}_{slot}" type="car" route="{route}" begin="{begin_s}"'
                f' end="{begin_s + SLOT_S}" {arrivals} departLane="best" departSpeed="max"/>'
            )
    return rows


def list_truck_rows(peak_vph: dict[tuple[Terminal, Terminal], float]) -> list[str]:
    """Trucks one by one, in the order of their departure."""
    rng = random.Random(SEED)
    trucks = sorted(_truck_departures(peak_vph, rng))
    return [
        f'<vehicle id="truck{number}" type="truck" route="{route}" depart="{time_s:.1f}"'
        ' departLane="best" departSpeed="max"/>'
        for number, (time_s, route) in enumerate(trucks)
    ]


def _truck_departures(
    peak_vph: dict[tuple[Terminal, Terminal], float], rng: random.Random
) -> Iterator[tuple[float, str]]:
    for (origin, destination), vph in peak_vph.items():
        for slot, share in enumerate(_shape(origin, destination)):
            rate = vph * share * TRUCK_SHARE / 3600.0
            time_s = rng.expovariate(rate)
            while time_s < SLOT_S:
                yield round(BEGIN_S + slot * SLOT_S + time_s, 1), route_id(origin, destination)
                time_s += rng.expovariate(rate)


def list_pedestrian_rows(draft: Draft) -> list[str]:
    """Walks both ways over every marked crossing, along the sidewalk that leads to it."""
    rows: list[str] = []
    for junction in JUNCTIONS:
        arms = {"W": _west_of(junction), "E": _east_of(junction)}
        arms |= {side: f"{'north' if side == 'N' else 'south'}{junction.name[1:]}" for side in junction.sides}
        for leg in junction.crossings:
            start, end = SIDEWALK_OVER[leg]
            # At a T junction the sidewalk on the far side runs along the arterial.
            start = start if start in arms else FAR_SIDE[start][0]
            end = end if end in arms else FAR_SIDE[end][1]
            along = [
                draft.approach(arms[start], junction.name).id,
                draft.departure(junction.name, arms[end]).id,
            ]
            window_s = BEGIN_S, BEGIN_S + len(SIDE_SHAPE) * SLOT_S
            rows += list_walk_rows(f"{junction.name}_{leg}", along, window_s, 30)
    return rows


if __name__ == "__main__":
    print(build(Path(__file__).parent))
