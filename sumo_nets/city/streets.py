"""Made-up cities of any number of signals: districts of about 5 x 5, joined by arterials over longer links.

A district is a small grid of its own: block lengths, cycle and growth are the district's.  Its arterials run on to
the next districts, its side streets end at its border, where people live and traffic begins and ends.  Districts are
built from the middle outwards until the city has as many signals as were asked for, so a city is round rather than
square and places at its border stay empty.  Everything random comes from one seed: the same arguments give the same
files, byte for byte.
"""

import gzip
import itertools
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from sumo_nets.draft import Draft
from sumo_nets.generator import (
    ENTRY_M,
    LEFT,
    OPPOSITE,
    RIGHT,
    STEP,
    draw_street,
    time_signal,
    timing_sheet,
)
from sumo_nets.programs import read_signal_links, write_programs

DISTRICT_SIZES = (4, 6)  # rows or columns of a district
BLOCK_M = (160, 320)
BLOCK_SPREAD_M = 20  # blocks of a district are alike
BETWEEN_DISTRICTS_M = (600, 1200)
CYCLES_S = (90, 100, 110, 120)
JITTER = 0.2  # retimed by hand, and some years ago
ARROW_SHARE = 0.5
CENTRE_EVERY = 3  # districts from one centre of work and shops to the next

HEADINGS = ("EB", "NB", "WB", "SB")
TURNS = ("right", "through", "left")

Place = tuple[int, int]  # row and column, from the south-west


@dataclass(frozen=True)
class Axis:
    """The rows or the columns of a city: the district that each lies in, its number there, and where it runs."""

    district: tuple[int, ...]
    local: tuple[int, ...]
    at_m: tuple[float, ...]


@dataclass(frozen=True)
class City:
    """The signals of a city by place, in the order in which they were built, each with its district's number.

    `seats` are the rows and columns of districts that the districts stand at, `arrows` the places where the arterial
    has a left-turn arrow, `cycle_s` the cycle in place by district.
    """

    rows: Axis
    columns: Axis
    district: dict[Place, int]
    seats: tuple[Place, ...]
    arrows: frozenset[Place]
    cycle_s: tuple[int, ...]
    index: dict[Place, int] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "index", {place: k for k, place in enumerate(self.district)})

    def node(self, place: Place) -> str:
        """Name of a signal."""
        return f"r{place[0]}c{place[1]}"

    def at_m(self, place: Place) -> tuple[float, float]:
        """Where a place is, to the east and to the north."""
        return self.columns.at_m[place[1]], self.rows.at_m[place[0]]

    def kind(self, place: Place, heading: str) -> str:
        """Class of the road through a place that a heading uses."""
        if heading in ("EB", "WB"):
            return "side" if self.rows.local[place[0]] % 2 else "arterial"
        return "arterial" if self.columns.local[place[1]] % 2 else "side"

    def has_pocket(self, place: Place, heading: str) -> bool:
        """Whether the approach has a left-turn pocket."""
        crossed = self.kind(place, RIGHT[heading])
        return self.kind(place, heading) == "arterial" and (crossed == "arterial" or place in self.arrows)

    def find_next(self, place: Place, heading: str) -> Place | None:
        """The next signal on the road, None where it leads out of the district or the city first."""
        there = (place[0] + STEP[heading][0], place[1] + STEP[heading][1])
        if there not in self.district:
            return None
        goes_on = self.district[there] == self.district[place] or self.kind(place, heading) == "arterial"
        return there if goes_on else None

    def end(self, place: Place, heading: str) -> str:
        """Name of the end of a road that has no next signal."""
        return f"{self.node(place)}{heading[0].lower()}"

    def end_at_m(self, place: Place, heading: str) -> tuple[float, float]:
        """Where such a road ends: clear of the next place, which may be the end of other roads."""
        (x_m, y_m), (north, east) = self.at_m(place), STEP[heading]
        axis, at, step = (self.columns, place[1], east) if east else (self.rows, place[0], north)
        length_m = ENTRY_M
        if 0 <= at + step < len(axis.at_m):
            length_m = min(ENTRY_M, 0.9 * abs(axis.at_m[at + step] - axis.at_m[at]))
        return x_m + east * length_m, y_m + north * length_m

    def leg(self, place: Place, heading: str) -> str:
        """Node that is reached from a signal by a heading: the next signal or the road's end."""
        there = self.find_next(place, heading)
        return self.end(place, heading) if there is None else self.node(there)

    def approach_of(self, draft: Draft, place: Place, heading: str) -> str:
        """Edge on which vehicles with this heading stop."""
        return draft.approach(self.leg(place, OPPOSITE[heading]), self.node(place)).id

    def exit_of(self, draft: Draft, place: Place, heading: str) -> str:
        """Edge on which vehicles with this heading leave."""
        return draft.departure(self.node(place), self.leg(place, heading)).id


def turned(heading: str) -> tuple[str, str, str]:
    """Headings after a right turn, straight on and a left turn, in the order of `TURNS`."""
    return RIGHT[heading], heading, LEFT[heading]


def lay_out(intersections: int, rng: random.Random) -> City:
    """Decide where the signals of a city are, its arrows and its cycles."""
    row_sizes: list[int] = []
    column_sizes: list[int] = []
    while sum(row_sizes) * sum(column_sizes) < intersections:
        row_sizes.append(rng.randint(*DISTRICT_SIZES))
        column_sizes.append(rng.randint(*DISTRICT_SIZES))
    rows, columns = _axis(row_sizes, rng), _axis(column_sizes, rng)
    seats = _seats(len(row_sizes))
    district = _build_up(rows, columns, seats, intersections)
    n_districts = 1 + max(district.values())
    arrows = frozenset(place for place in district if rng.random() < ARROW_SHARE)
    cycles = tuple(rng.choice(CYCLES_S) for _ in range(n_districts))
    return City(rows, columns, district, seats[:n_districts], arrows, cycles)


def _axis(sizes: list[int], rng: random.Random) -> Axis:
    gaps: list[int] = []
    for size in sizes:
        usual_m = rng.randint(BLOCK_M[0] + BLOCK_SPREAD_M, BLOCK_M[1] - BLOCK_SPREAD_M)
        gaps += [usual_m + rng.randint(-BLOCK_SPREAD_M, BLOCK_SPREAD_M) for _ in range(size - 1)]
        gaps.append(rng.randint(*BETWEEN_DISTRICTS_M))
    return Axis(
        tuple(k for k, size in enumerate(sizes) for _ in range(size)),
        tuple(place for size in sizes for place in range(size)),
        tuple(float(x) for x in itertools.accumulate([0, *gaps[:-1]])),
    )


def _seats(side: int) -> tuple[Place, ...]:
    """Where districts can be, from the middle outwards; each but the first is beside an earlier one."""
    middle = (side - 1) / 2
    every = itertools.product(range(side), range(side))
    return tuple(sorted(every, key=lambda seat: ((seat[0] - middle) ** 2 + (seat[1] - middle) ** 2, seat)))


def _build_up(rows: Axis, columns: Axis, seats: tuple[Place, ...], intersections: int) -> dict[Place, int]:
    """District by place of the first `intersections` places, in an order in which each is joined to an earlier one."""
    district: dict[Place, int] = {}
    for number, (north, east) in enumerate(seats):
        inside = {
            (row, column)
            for row in range(len(rows.at_m))
            if rows.district[row] == north
            for column in range(len(columns.at_m))
            if columns.district[column] == east
        }
        queue = sorted(place for place in inside if _is_reached(place, district, rows, columns))
        queue = queue or [sorted(inside)[len(inside) // 2]]
        seen = set(queue)
        for place in queue:
            if len(district) == intersections:
                return district
            district[place] = number
            beside = [p for p in _beside(place) if p in inside and p not in seen]
            seen.update(beside)
            queue.extend(beside)
    return district


def _beside(place: Place) -> Iterator[Place]:
    for heading in HEADINGS:
        yield place[0] + STEP[heading][0], place[1] + STEP[heading][1]


def _is_reached(place: Place, district: dict[Place, int], rows: Axis, columns: Axis) -> bool:
    """Whether an arterial comes to a place from a district that is there already."""
    south_north = columns.local[place[1]] % 2 == 1
    west_east = rows.local[place[0]] % 2 == 0
    ways = [west_east if STEP[heading][1] else south_north for heading in HEADINGS]
    return any(way and there in district for way, there in zip(ways, _beside(place), strict=True))


def draw(city: City) -> Draft:
    """The roads of a city, with a signal at each place."""
    draft = Draft()
    for place in city.district:
        draft.add_node(city.node(place), *city.at_m(place))
        for heading in HEADINGS:
            if city.find_next(place, heading) is None:
                draft.add_node(city.end(place, heading), *city.end_at_m(place, heading))
    for place, heading in itertools.product(city.district, HEADINGS):
        there = city.find_next(place, heading)
        if there is not None and heading in ("WB", "SB"):
            continue  # drawn from the other end
        pockets = [city.node(place)] if city.has_pocket(place, OPPOSITE[heading]) else []
        if there is not None and city.has_pocket(there, heading):
            pockets.append(city.node(there))
        draw_street(draft, city.node(place), city.leg(place, heading), city.kind(place, heading), pockets)
    for place in city.district:
        draft.add_signal(city.node(place))
    return draft


def build_net(city: City, draft: Draft, net_file: Path, rng: random.Random) -> None:
    """Write the network with the programs in place, packed without a time stamp."""
    plain = net_file.with_suffix("")
    try:
        draft.build(plain)
        links = read_signal_links(plain)
        programs = {}
        for place, district in city.district.items():
            sheet, divisor = timing_sheet(
                city.kind(place, "EB"), city.kind(place, "NB"), place in city.arrows
            )
            node, cycle_s = city.node(place), city.cycle_s[district] // divisor
            programs[node] = time_signal(links[node], sheet, cycle_s, city.at_m(place), rng, JITTER)
        write_programs(plain, programs)
        with (
            plain.open("rb") as stream,
            net_file.open("wb") as packed,
            gzip.GzipFile(filename="", mode="wb", fileobj=packed, mtime=0, compresslevel=6) as out,
        ):
            while block := stream.read(1 << 20):
                out.write(block)
    finally:
        plain.unlink(missing_ok=True)
