"""Build the ``corridor`` scenario: ``python -m sumo_nets.corridor.build``."""

import itertools
import math
import re
from pathlib import Path

from sumo_nets.arterials import SIDEWALK_OVER, Gravity, Terminal, list_walk_rows, route_id
from sumo_nets.draft import Draft
from sumo_nets.programs import Program, SignalLink, list_intervals, read_signal_links, stage, write_programs
from sumo_nets.scenario import SLOT_S, write_elements, write_sumocfg

BEGIN_S = 6 * 3600 + 1800
SPEED_MPS = 13.89  # 50 km/h, on the arterial and on major streets
MINOR_SPEED_MPS = 12.5  # 45 km/h
ENTRY_M = 300.0
SIDE_LEG_M = 250.0
POCKET_M = 80.0
SIDE_POCKET_M = 60.0
CYCLE_S = 120
TRIAL_GREEN_S = 60
WAVE_MPS = 8.0  # westbound offsets, set for the speed of a crawling peak

# Metres from each signal to the next; with both entries the drive from end to end is 7 km.
GAPS_M = (320, 300, 350, 280, 360, 330, 300, 340, 310, 350, 290, 330, 340, 300, 360, 280, 320, 310, 340, 290)
MAJOR = frozenset({1, 4, 7, 10, 12, 15, 18, 21})  # cross streets with two lanes each way, pockets and arrows
WALKS_OVER_ARTERIAL = frozenset({4, 10, 15})

GRAVITY = Gravity(
    entering_vph={"west": 1170, "east": 860, "major": 300, "minor": 90},
    pull={"west": 800, "east": 1150, "major": 180, "minor": 55},
    straight_over={"major": 0.55, "minor": 0.30},
    mean_distance_m=5000.0,
    least_flow_vph=2.5,
)
# Share of the peak in each quarter of an hour from 6:30.
SHAPE = (0.80, 0.95, 1.00, 1.00, 1.00, 1.00, 0.95)


def build(directory: Path) -> Path:
    """Write network, demand and configuration into `directory`; returns the ``.sumocfg``."""
    draft = draft_network()
    net_file = directory / "corridor.net.xml"
    draft.build(net_file)
    links = read_signal_links(net_file)
    write_programs(net_file, {name(n): time_signal(n, links[name(n)]) for n in numbers()})
    round_up_durations(net_file)
    peak_vph = GRAVITY.flows(list_terminals())
    write_elements(directory / "vtypes.add.xml", "additional", ['<vType id="car" vClass="passenger"/>'])
    write_elements(directory / "cars.rou.xml.gz", "routes", list_car_rows(draft, peak_vph))
    write_elements(directory / "pedestrians.rou.xml", "routes", list_pedestrian_rows(draft))
    cfg = directory / "corridor.sumocfg"
    write_sumocfg(
        cfg,
        net=net_file.name,
        routes=("cars.rou.xml.gz", "pedestrians.rou.xml"),
        additional=("vtypes.add.xml",),
        begin_s=BEGIN_S,
        end_s=BEGIN_S + len(SHAPE) * SLOT_S,
    )
    return cfg


def numbers() -> range:
    """Numbers of the signals, from west to east."""
    return range(1, len(GAPS_M) + 2)


def name(number: int) -> str:
    """Id of a signal."""
    return f"c{number}"


def x_m(number: int) -> float:
    """Where a signal stands."""
    return float(sum(GAPS_M[: number - 1]))


def _kind(number: int) -> str:
    return "major" if number in MAJOR else "minor"


def _beside(number: int, step: int) -> str:
    """The node next to a signal along the arterial."""
    if number + step not in numbers():
        return "west" if step < 0 else "east"
    return name(number + step)


def draft_network() -> Draft:
    """The arterial from west to east with a left-turn pocket at every signal, and its side streets."""
    draft = Draft()
    draft.add_node("west", -ENTRY_M, 0.0)
    draft.add_node("east", x_m(numbers()[-1]) + ENTRY_M, 0.0)
    for number in numbers():
        draft.add_node(name(number), x_m(number), 0.0)
    line = ["west", *(name(n) for n in numbers()), "east"]
    for before, after in itertools.pairwise(line):
        draft.add_street(
            before,
            after,
            lanes=2,
            speed_mps=SPEED_MPS,
            priority=4,
            pockets_at=[node for node in (before, after) if node not in ("west", "east")],
            pocket_m=POCKET_M,
            sidewalk=True,
            median=True,
        )
    for number in numbers():
        major = number in MAJOR
        for side, way in (("north", 1.0), ("south", -1.0)):
            end = f"{side}{number}"
            draft.add_node(end, x_m(number), way * SIDE_LEG_M)
            draft.add_street(
                name(number),
                end,
                lanes=2 if major else 1,
                speed_mps=SPEED_MPS if major else MINOR_SPEED_MPS,
                priority=3 if major else 2,
                pockets_at=(name(number),) if major else (),
                pocket_m=SIDE_POCKET_M,
                sidewalk=True,
            )
        arms = arms_of(number)
        draft.add_signal(name(number), [arms[leg] for leg in crossings_of(number)])
    return draft


def corridor_route() -> list[str]:
    """Edges of the drive from the west end to the east end, past all signals."""
    return draft_network().path(["west", *(name(n) for n in numbers()), "east"])


def arms_of(number: int) -> dict[str, str]:
    """The neighbour at the end of each leg."""
    return {
        "W": _beside(number, -1),
        "E": _beside(number, 1),
        "N": f"north{number}",
        "S": f"south{number}",
    }


def crossings_of(number: int) -> str:
    """Legs with a marked crossing: the side streets' at major signals, the arterial's at three of them."""
    if number in WALKS_OVER_ARTERIAL:
        return "NSW"
    return "NS" if number in MAJOR else ""


def time_signal(number: int, links: list[SignalLink]) -> Program:
    """The timing sheet's row of a signal: side streets get what they need, phases 2 and 6 the rest of the cycle."""
    walks = crossings_of(number)
    along, across = "".join(set(walks) & set("NS")), "".join(set(walks) & set("EW"))
    if number in MAJOR:
        rows = [("1+5", 9, ""), ("2+6", 0, along), ("3+7", 8, ""), ("4+8", 27, across)]
    else:
        rows = [("1+5", 7, ""), ("2+6", 0, along), ("4+8", 22, across)]
    trial = [stage(phases, green or TRIAL_GREEN_S, walks=walk) for phases, green, walk in rows]
    # yellow and red are rounded up to whole seconds each: a simulation in steps of 1 s shows no tenths
    total_s = sum(math.ceil(i.duration_s) for i in list_intervals(links, Program(tuple(trial))))
    rest_s = CYCLE_S - total_s + TRIAL_GREEN_S
    timed = tuple(stage(phases, green or rest_s, walks=walk) for phases, green, walk in rows)
    offset_s = round((x_m(numbers()[-1]) - x_m(number)) / WAVE_MPS) % CYCLE_S
    return Program(timed, offset_s)


def round_up_durations(net_file: Path) -> None:
    """Make whole seconds of the tenths in a network's programs, none of them shorter."""
    text = net_file.read_text(encoding="utf-8")
    rounded = re.sub(r'duration="(\d+\.\d+)"', lambda m: f'duration="{math.ceil(float(m.group(1)))}"', text)
    net_file.write_text(rounded, encoding="utf-8")


def list_terminals() -> list[Terminal]:
    """The two ends of the arterial and the ends of all side streets."""
    last = numbers()[-1]
    terminals = [
        Terminal("west", "west", 1, -ENTRY_M),
        Terminal("east", "east", last, x_m(last) + ENTRY_M),
    ]
    for number in numbers():
        for side in ("north", "south"):
            terminals.append(Terminal(f"{side}{number}", _kind(number), number, x_m(number)))
    return terminals


def list_car_rows(draft: Draft, peak_vph: dict[tuple[Terminal, Terminal], float]) -> list[str]:
    """A named route for every pair of ends, and Poisson flows on it that change every quarter of an hour."""
    rows = []
    for origin, destination in peak_vph:
        step = 1 if destination.at >= origin.at else -1
        along = [name(at) for at in range(origin.at, destination.at + step, step)]
        edges = " ".join(draft.path([origin.name, *along, destination.name]))
        rows.append(f'<route id="{route_id(origin, destination)}" edges="{edges}"/>')
    for slot, share in enumerate(SHAPE):
        begin_s = BEGIN_S + slot * SLOT_S
        for (origin, destination), vph in peak_vph.items():
            route = route_id(origin, destination)
            rows.append(
                f'<flow id="{route}_{slot}" type="car" route="{route}" begin="{begin_s}"'
                f' end="{begin_s + SLOT_S}" period="exp({vph * share / 3600.0:.5f})"'
                ' departLane="best" departSpeed="max"/>'
            )
    return rows


def list_pedestrian_rows(draft: Draft) -> list[str]:
    """Walks both ways over every marked crossing, along the sidewalk that leads to it."""
    rows: list[str] = []
    for number in numbers():
        arms = arms_of(number)
        for leg in crossings_of(number):
            start, end = SIDEWALK_OVER[leg]
            along = [
                draft.approach(arms[start], name(number)).id,
                draft.departure(name(number), arms[end]).id,
            ]
            window_s = BEGIN_S, BEGIN_S + len(SHAPE) * SLOT_S
            rows += list_walk_rows(f"{name(number)}_{leg}", along, window_s, 20)
    return rows


if __name__ == "__main__":
    print(build(Path(__file__).parent))
