"""Grid scenarios of any size: two classes of road, uneven blocks, demand that changes every 15 minutes.

Every second row and column is an arterial (two lanes each way, left-turn pockets where arterials meet);
the others are side streets with one lane.  Programs follow four timing sheets by class of junction, as a
city that retimes by type would have them.  Everything random comes from one seed: the same arguments give
the same files, byte for byte.
"""

import itertools
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from sumo_nets.draft import Draft
from sumo_nets.programs import Program, SignalLink, Stage, change_s, read_signal_links, stage, write_programs
from sumo_nets.scenario import SLOT_S, write_elements, write_sumocfg

ARTERIAL_EVERY = 2
ARTERIAL_SPEED_MPS = 16.67  # 60 km/h
SIDE_SPEED_MPS = 13.89  # 50 km/h
BLOCK_M = (160.0, 320.0)
ENTRY_M = 250.0
POCKET_M = 60.0

ARTERIAL_ENTRY_VPH = 760.0
SIDE_ENTRY_VPH = 250.0
TIDE = 0.15  # eastbound and northbound carry this share more in the first half, less in the second
TRUCK_SHARE = 0.04
MAX_TURNS = 3
# Share of right and left turns by (class of the road in use, class of the road crossed).
TURN_SHARES = {
    ("arterial", "arterial"): (0.12, 0.12),
    ("arterial", "side"): (0.06, 0.04),
    ("side", "arterial"): (0.18, 0.14),
    ("side", "side"): (0.10, 0.08),
}

COMMON_CYCLE_S = 90
MIN_GREEN_S = 7
JITTER = 0.15
# Stages with their share of the green, by class of junction, and by what the common cycle is divided.
TIMING_SHEETS = {
    "arterial x arterial": ((("1+5", 10), ("2+6", 24), ("3+7", 10), ("4+8", 22)), 1),
    "arterial x side, arrow": ((("1+5", 10), ("2+6", 36), ("4+8", 26)), 1),
    "arterial x side": ((("2+6", 44), ("4+8", 34)), 1),
    "side x side": ((("2+6", 17), ("4+8", 16)), 2),  # half the common cycle keeps step
}

# Rows and columns that a heading goes on by, and the headings to its right, to its left and opposite.
STEP = {"EB": (0, 1), "WB": (0, -1), "NB": (1, 0), "SB": (-1, 0)}
RIGHT = {"EB": "SB", "SB": "WB", "WB": "NB", "NB": "EB"}
LEFT = {right: heading for heading, right in RIGHT.items()}
OPPOSITE = {heading: RIGHT[RIGHT[heading]] for heading in RIGHT}


@dataclass(frozen=True)
class Grid:
    """Size of a grid, its road classes and the junctions where the arterial has a left-turn arrow."""

    rows: int
    columns: int
    arrows: frozenset[tuple[int, int]]

    def node(self, row: int, column: int) -> str:
        """Name of a junction, or of the terminal when the position lies outside the grid."""
        if row < 0:
            return f"south{column}"
        if row >= self.rows:
            return f"north{column}"
        if column < 0:
            return f"west{row}"
        if column >= self.columns:
            return f"east{row}"
        return f"r{row}c{column}"

    def contains(self, row: int, column: int) -> bool:
        """Whether the position is a junction."""
        return 0 <= row < self.rows and 0 <= column < self.columns

    def row_class(self, row: int) -> str:
        """Class of a west-east road."""
        return "arterial" if row % ARTERIAL_EVERY == 0 else "side"

    def column_class(self, column: int) -> str:
        """Class of a south-north road."""
        return "arterial" if column % ARTERIAL_EVERY == ARTERIAL_EVERY - 1 else "side"

    def classes(self, row: int, column: int, heading: str) -> tuple[str, str]:
        """Class of the road in use and of the road crossed."""
        along, across = self.row_class(row), self.column_class(column)
        return (along, across) if heading in ("EB", "WB") else (across, along)

    def has_pocket(self, row: int, column: int, heading: str) -> bool:
        """Whether the approach has a left-turn pocket."""
        along, across = self.classes(row, column, heading)
        return along == "arterial" and (across == "arterial" or (row, column) in self.arrows)

    def entries(self) -> Iterator[tuple[int, int, str]]:
        """First junction and heading of every road that enters the grid."""
        for row in range(self.rows):
            yield row, 0, "EB"
            yield row, self.columns - 1, "WB"
        for column in range(self.columns):
            yield 0, column, "NB"
            yield self.rows - 1, column, "SB"


@dataclass(frozen=True)
class Departure:
    """A vehicle: when, what, and the nodes that it drives along."""

    time_s: float
    kind: str
    nodes: tuple[str, ...]


def generate_grid(
    rows: int,
    columns: int,
    *,
    seed: int,
    directory: Path,
    hours: float = 1.0,
    name: str = "grid",
    demand_factor: float = 1.0,
    trip_share: float = 0.2,
) -> Path:
    """Write a grid scenario into `directory` and return its ``.sumocfg``.

    Parameters
    ----------
    rows, columns
        Signalised junctions south to north and west to east, at least 1 each.
    seed
        Of block lengths, arrows, timing and demand.
    hours
        Length of the scenario in steps of a quarter of an hour; demand peaks at its middle.
    name
        Of the ``.net.xml`` and ``.sumocfg``.
    demand_factor
        Multiplies all entry flows.
    trip_share
        Share of the vehicles written as ``<trip>``, which SUMO routes when they depart; the others are
        ``<vehicle>`` with the route inline.

    Raises
    ------
    ValueError
        When rows or columns are below 1, or the scenario is shorter than 15 minutes.
    """
    slots = round(hours * 3600 / SLOT_S)
    if rows < 1 or columns < 1:
        raise ValueError(f"a grid needs at least 1 row and 1 column, got {rows} x {columns}")
    if slots < 1:
        raise ValueError(f"a scenario lasts at least a quarter of an hour, got {hours} h")
    rng = random.Random(seed)
    grid = _lay_out(rows, columns, rng)
    draft = _draft_grid(grid, rng)
    directory.mkdir(parents=True, exist_ok=True)
    net_file = directory / f"{name}.net.xml"
    draft.build(net_file)
    write_programs(net_file, _time_signals(grid, draft, read_signal_links(net_file), rng))

    departures = sorted(_list_departures(grid, slots, demand_factor, rng), key=lambda d: (d.time_s, d.nodes))
    vehicles: list[str] = []
    trips: list[str] = []
    for number, departure in enumerate(departures):
        if rng.random() < trip_share:
            trips.append(_trip_row(draft, departure, number))
        else:
            vehicles.append(_vehicle_row(draft, departure, number))
    write_elements(directory / "vehicles.rou.xml.gz", "routes", vehicles)
    write_elements(directory / "trips.rou.xml", "routes", trips)
    write_elements(
        directory / "vtypes.add.xml",
        "additional",
        ['<vType id="car" vClass="passenger"/>', '<vType id="truck" vClass="truck"/>'],
    )
    cfg = directory / f"{name}.sumocfg"
    write_sumocfg(
        cfg,
        net=net_file.name,
        routes=("vehicles.rou.xml.gz", "trips.rou.xml"),
        additional=("vtypes.add.xml",),
        begin_s=0,
        end_s=slots * SLOT_S,
    )
    return cfg


def _lay_out(rows: int, columns: int, rng: random.Random) -> Grid:
    junctions = itertools.product(range(rows), range(columns))
    return Grid(rows, columns, frozenset(junction for junction in junctions if rng.random() < 0.5))


def _draft_grid(grid: Grid, rng: random.Random) -> Draft:
    draft = Draft()
    xs = _positions(grid.columns, rng)
    ys = _positions(grid.rows, rng)
    for row in range(-1, grid.rows + 1):
        for column in range(-1, grid.columns + 1):
            if 0 <= row < grid.rows or 0 <= column < grid.columns:
                draft.add_node(grid.node(row, column), xs[column + 1], ys[row + 1])
    for row in range(grid.rows):
        for column in range(-1, grid.columns):
            _add_block(draft, grid, (row, column), (row, column + 1), "EB")
    for column in range(grid.columns):
        for row in range(-1, grid.rows):
            _add_block(draft, grid, (row, column), (row + 1, column), "NB")
    for row, column in itertools.product(range(grid.rows), range(grid.columns)):
        draft.add_signal(grid.node(row, column))
    return draft


def _positions(count: int, rng: random.Random) -> list[float]:
    """Coordinates of a terminal, `count` junctions and a terminal, the first junction at zero."""
    blocks = [round(rng.uniform(*BLOCK_M)) for _ in range(count - 1)]
    return list(itertools.accumulate([-ENTRY_M, ENTRY_M, *blocks, ENTRY_M]))


def _add_block(draft: Draft, grid: Grid, a: tuple[int, int], b: tuple[int, int], heading: str) -> None:
    kind = grid.row_class(a[0]) if heading == "EB" else grid.column_class(a[1])
    pockets = [
        grid.node(*end)
        for end, bound in ((b, heading), (a, OPPOSITE[heading]))
        if grid.contains(*end) and grid.has_pocket(*end, bound)
    ]
    draw_street(draft, grid.node(*a), grid.node(*b), kind, pockets)


def draw_street(draft: Draft, a: str, b: str, kind: str, pockets_at: Sequence[str]) -> None:
    """Draw an arterial or a side street between two nodes, with left-turn pockets at some of its ends."""
    arterial = kind == "arterial"
    draft.add_street(
        a,
        b,
        lanes=2 if arterial else 1,
        speed_mps=ARTERIAL_SPEED_MPS if arterial else SIDE_SPEED_MPS,
        priority=3 if arterial else 2,
        pockets_at=pockets_at,
        pocket_m=POCKET_M,
        median=arterial,
    )


def _time_signals(
    grid: Grid, draft: Draft, links: dict[str, list[SignalLink]], rng: random.Random
) -> dict[str, Program]:
    programs = {}
    for row, column in itertools.product(range(grid.rows), range(grid.columns)):
        node = grid.node(row, column)
        along, across = grid.row_class(row), grid.column_class(column)
        sheet, divisor = timing_sheet(along, across, (row, column) in grid.arrows)
        programs[node] = time_signal(
            links[node], sheet, COMMON_CYCLE_S // divisor, draft.nodes[node], rng, JITTER
        )
    return programs


def time_signal(
    links: Sequence[SignalLink],
    sheet: Sequence[tuple[str, int]],
    cycle_s: int,
    at_m: tuple[float, float],
    rng: random.Random,
    jitter: float,
) -> Program:
    """The program of a signal by its timing sheet, each share of the green off by up to `jitter`.

    Signals were retimed in different years, so each departs a little from its sheet.  Offsets make a green wave
    towards the east and the north, at the arterials' speed limit.
    """
    weights = [weight * rng.uniform(1.0 - jitter, 1.0 + jitter) for _, weight in sheet]
    stages = [stage(phases, MIN_GREEN_S) for phases, _ in sheet]
    lost_s = sum(
        change_s(links, item, stages[(position + 1) % len(stages)]) for position, item in enumerate(stages)
    )
    greens = _share_out(cycle_s - lost_s, weights)
    return Program(
        tuple(Stage(item.phases, green) for item, green in zip(stages, greens, strict=True)),
        offset_s=round(sum(at_m) / ARTERIAL_SPEED_MPS) % cycle_s,
    )


def timing_sheet(along: str, across: str, arrow: bool) -> tuple[tuple[tuple[str, int], ...], int]:
    """Stages with their shares by the classes of the roads west-east and south-north, and the cycle's divisor."""
    if along == across:
        return TIMING_SHEETS[f"{along} x {across}"]
    shares, divisor = TIMING_SHEETS["arterial x side" + (", arrow" if arrow else "")]
    if across == "arterial":  # the sheets have the arterial run west-east
        turned = {"1+5": "3+7", "2+6": "4+8", "4+8": "2+6"}
        shares = tuple((turned[phases], weight) for phases, weight in shares)
    return shares, divisor


def _share_out(total_s: int, weights: list[float]) -> list[int]:
    """Whole seconds in proportion to the weights, at least the minimum green each, that add up."""
    greens = [max(MIN_GREEN_S, int(total_s * weight / sum(weights))) for weight in weights]
    greens[weights.index(max(weights))] += total_s - sum(greens)
    return greens


def _list_departures(grid: Grid, slots: int, demand_factor: float, rng: random.Random) -> Iterator[Departure]:
    """Random arrivals at every entry, each with a drive of at most `MAX_TURNS` turns."""
    for row, column, heading in grid.entries():
        for slot in range(slots):
            rate_vph = demand_factor * _entry_vph(grid, row, column, heading, (slot + 0.5) / slots)
            time_s = slot * SLOT_S + rng.expovariate(rate_vph / 3600)
            while time_s < (slot + 1) * SLOT_S:
                kind = "truck" if rng.random() < TRUCK_SHARE else "car"
                yield Departure(round(time_s, 1), kind, _drive(grid, row, column, heading, rng))
                time_s += rng.expovariate(rate_vph / 3600)


def _entry_vph(grid: Grid, row: int, column: int, heading: str, elapsed: float) -> float:
    own, _ = grid.classes(row, column, heading)
    base_vph = ARTERIAL_ENTRY_VPH if own == "arterial" else SIDE_ENTRY_VPH
    hump = 1.0 - 1.4 * (elapsed - 0.5) ** 2  # 1 in the middle, 0.65 at both ends
    with_tide = (heading in ("EB", "NB")) == (elapsed < 0.5)
    return base_vph * hump * (1.0 + TIDE if with_tide else 1.0 - TIDE)


def _drive(grid: Grid, row: int, column: int, heading: str, rng: random.Random) -> tuple[str, ...]:
    """Nodes from terminal to terminal; no drive turns back on a heading that it has had."""
    step_row, step_column = STEP[heading]
    nodes = [grid.node(row - step_row, column - step_column)]
    had = {heading}
    turns = 0
    while grid.contains(row, column):
        nodes.append(grid.node(row, column))
        right, left = TURN_SHARES[grid.classes(row, column, heading)]
        draw = rng.random()
        turned = RIGHT[heading] if draw < right else LEFT[heading] if draw < right + left else heading
        if turned != heading and turns < MAX_TURNS and OPPOSITE[turned] not in had:
            heading = turned
            had.add(heading)
            turns += 1
        step_row, step_column = STEP[heading]
        row, column = row + step_row, column + step_column
    nodes.append(grid.node(row, column))
    return tuple(nodes)


def _vehicle_row(draft: Draft, departure: Departure, number: int) -> str:
    route = " ".join(draft.path(departure.nodes))
    return (
        f'<vehicle id="v{number}" type="{departure.kind}" depart="{departure.time_s:.1f}"'
        f' departLane="best" departSpeed="max"><route edges="{route}"/></vehicle>'
    )


def _trip_row(draft: Draft, departure: Departure, number: int) -> str:
    edges = draft.path(departure.nodes)
    return (
        f'<trip id="t{number}" type="{departure.kind}" depart="{departure.time_s:.1f}"'
        f' from="{edges[0]}" to="{edges[-1]}" departLane="best" departSpeed="max"/>'
    )
