"""A small plan of an intersection, one a stage: compass-oriented legs, and an arrow for whom it lets go.

Legs are set at their true bearings, pushed apart where they would overlap; distances are not to scale. A
controller over several junctions gets a plan with each of them at its place. Roads are drawn for traffic
that keeps to the right.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from signals.diagrams.groups import TURN_ORDER, approach_names, composite_letter
from signals.diagrams.sheet import FAINT, GREEN_DARK, INK, MUTED, RED, ROAD, Point, Sheet
from signals.model.network import Intersection, Network, Turn

_HALF_ROAD = 0.27
_STOP_LINE = 0.5
_CROSSING = 0.66
_MIN_ANGLE_DEG = 34.0
_SAME_LEG_DEG = 28.0
_DISPLAYED_SIZES = ((1, 1.0), (2, 0.62), (4, 0.48), (99, 0.36))


@dataclass(frozen=True, slots=True)
class Leg:
    """One road at one junction: `bearing_deg` points outwards; `name` is its approach's, if it has one."""

    junction: str
    bearing_deg: float
    approach: str | None
    exits: tuple[str, ...]
    name: str = ""


@dataclass(frozen=True, slots=True)
class Layout:
    """Where the legs of an intersection are in a square from -1 to 1 (x east, y north)."""

    legs: tuple[Leg, ...]
    centres: Mapping[str, Point]
    size: float
    paths: Mapping[str, tuple[Point, ...]]
    walks: Mapping[str, tuple[Point, Point]]


def layout(intersection: Intersection, network: Network) -> Layout:
    """The plan of an intersection: its legs, the path of each movement, the place of each crossing."""
    legs = _legs(intersection, network)
    centres, size = _centres(intersection, network, legs)
    paths = _paths(intersection, legs, centres, size)
    walks = _walks(intersection, legs, centres, size)
    return Layout(legs, centres, size, paths, walks)


def draw_stage(
    sheet: Sheet, plan: Layout, intersection: Intersection, state: str, centre: Point, radius_in: float
) -> None:
    """The plan with the arrows of a stage: protected solid, permitted dashed, after a stop dotted."""
    _draw_roads(sheet, plan, centre, radius_in)
    arrows: dict[str, list[Sequence[Point]]] = defaultdict(list)
    for movement in intersection.movements:
        if movement.id in plan.paths:
            path = plan.paths[movement.id]
            arrows[composite_letter(state, movement.links)].append(_placed(path, centre, radius_in))
    bars = [
        _placed(plan.walks[c.id], centre, radius_in)
        for c in intersection.crossings
        if c.id in plan.walks and state[c.link] in "Gg"
    ]
    _draw_arrows(sheet, arrows["s"], RED, 0.7, (0.8, 1.2), radius_in)
    _draw_arrows(sheet, arrows["g"], GREEN_DARK, 0.9, (2.4, 1.3), radius_in)
    _draw_arrows(sheet, arrows["G"], GREEN_DARK, 1.4, None, radius_in)
    sheet.lines(bars, GREEN_DARK, 3.6, dashes=(1.1, 0.9))


def draw_key(sheet: Sheet, plan: Layout, centre: Point, radius_in: float) -> None:
    """The plan with the names of its approaches and an arrow to the north."""
    _draw_roads(sheet, plan, centre, radius_in)
    sheet.lines(
        [_placed(walk, centre, radius_in) for walk in plan.walks.values()], MUTED, 2.6, dashes=(0.8, 0.8)
    )
    legs = [
        (leg, _at(plan.centres[leg.junction], leg.bearing_deg, plan.size))
        for leg in plan.legs
        if leg.approach is not None
    ]
    side = _HALF_ROAD / 2
    inbound = [_placed([at(0.98, side), at(_STOP_LINE, side)], centre, radius_in) for _, at in legs]
    _draw_arrows(sheet, inbound, MUTED, 0.8, None, radius_in)
    for leg, at in legs:
        (x, y), (east, north) = _placed([at(1.0, 0.0)], centre, radius_in)[0], _unit(leg.bearing_deg)
        sheet.text(
            x + 0.05 * east,
            y - 0.075 * north,
            leg.name,
            6.0,
            align="center" if abs(east) < 0.4 else ("left" if east > 0 else "right"),
            bold=True,
            backed=True,
        )


def draw_north(sheet: Sheet, at: Point) -> None:
    """A small arrow to the north with its letter."""
    x, y = at
    sheet.lines([[(x, y + 0.11), (x, y - 0.08)]], INK, 0.7)
    sheet.polygons([[(x, y - 0.13), (x - 0.03, y - 0.04), (x + 0.03, y - 0.04)]], INK)
    sheet.text(x, y - 0.19, "N", 5.5, align="center", bold=True)


def _legs(intersection: Intersection, network: Network) -> tuple[Leg, ...]:
    """Approaches and exits joined to legs, bearings pushed apart, in order of junction and bearing."""
    edges = network.edges
    names = approach_names(intersection)
    inside = frozenset(intersection.junctions)
    crossed = {e for c in intersection.crossings for e in c.crossed_edges if e in edges}
    inbound = {a.edge for a in intersection.approaches if a.edge in edges}
    inbound |= {e for e in crossed if edges[e].to_junction in inside}
    outbound = {m.to_edge for m in intersection.movements if m.to_edge in edges}
    outbound |= {e for e in crossed if edges[e].from_junction in inside}
    junctions = {edges[e].to_junction for e in inbound} | {edges[e].from_junction for e in outbound}
    legs: list[Leg] = []
    for junction in sorted(junctions):
        ins = sorted(e for e in inbound if edges[e].to_junction == junction)
        outs = sorted(e for e in outbound if edges[e].from_junction == junction)
        legs += _legs_of(junction, ins, outs, network, names)
    return tuple(legs)


def _legs_of(
    junction: str, ins: Sequence[str], outs: Sequence[str], network: Network, names: Mapping[str, str]
) -> list[Leg]:
    edges = network.edges
    points = [edges[e].end_xy for e in ins] + [edges[e].start_xy for e in outs]
    middle = (sum(x for x, _ in points) / len(points), sum(y for _, y in points) / len(points))
    towards = {e: (edges[e].heading_deg + 180) % 360 for e in ins}
    away = {e: _exit_bearings_deg(e, network, middle) for e in outs}
    pairs = sorted(
        (
            edges[o].to_junction != edges[i].from_junction,
            round(min(_apart_deg(towards[i], bearing) for bearing in away[o]), 3),
            i,
            o,
        )
        for i in ins
        for o in outs
    )
    partner: dict[str, str] = {}
    for other_way, apart, i, o in pairs:
        near = apart < (_SAME_LEG_DEG if other_way else 2 * _SAME_LEG_DEG)
        if near and i not in partner.values() and o not in partner:
            partner[o] = i
    exits: dict[str, list[str]] = defaultdict(list)
    for o, i in partner.items():
        exits[i].append(o)
    legs = [Leg(junction, towards[i], i, tuple(exits[i]), names.get(i, "")) for i in ins]
    legs += [Leg(junction, _mean_deg(away[o]), None, (o,)) for o in outs if o not in partner]
    legs.sort(key=lambda leg: (leg.bearing_deg, leg.approach or "", leg.exits))
    spread = _spread([leg.bearing_deg for leg in legs])
    return [
        Leg(leg.junction, bearing, leg.approach, leg.exits, leg.name)
        for leg, bearing in zip(legs, spread, strict=True)
    ]


def _exit_bearings_deg(edge_id: str, network: Network, middle: Point) -> tuple[float, ...]:
    """Bearings that an exit may be said to have: of its place as seen from the middle, of its course.

    The place misleads where the junction is wide and the road divided, the course where the road is long and
    winding.
    """
    edge = network.edges[edge_id]
    (x, y), (x1, y1) = edge.start_xy, edge.end_xy
    course = math.degrees(math.atan2(x1 - x, y1 - y)) % 360
    if math.dist(edge.start_xy, middle) < 2.0:
        return (course,)
    place = math.degrees(math.atan2(x - middle[0], y - middle[1])) % 360
    return (course, place)


def _mean_deg(bearings: Sequence[float]) -> float:
    x, y = (sum(_unit(b)[k] for b in bearings) for k in (0, 1))
    return math.degrees(math.atan2(x, y)) % 360


def _apart_deg(a: float, b: float) -> float:
    return abs((a - b + 180) % 360 - 180)


def _spread(bearings: Sequence[float]) -> list[float]:
    """Bearings (rising) moved as little as needed so that neighbours keep a least angle."""
    n = len(bearings)
    if n < 2:
        return list(bearings)
    least = min(_MIN_ANGLE_DEG, 0.9 * 360 / n)
    moved = list(bearings)
    for _ in range(200):
        tightest = 0.0
        for k in range(n):
            turn = 360 if k + 1 == n else 0
            gap = moved[(k + 1) % n] + turn - moved[k]
            lack = least - gap
            if lack > 1e-6:
                tightest = max(tightest, lack)
                moved[k] -= lack / 2
                moved[(k + 1) % n] += lack / 2
        if tightest < 0.01:
            break
    return moved


def _centres(
    intersection: Intersection, network: Network, legs: Sequence[Leg]
) -> tuple[dict[str, Point], float]:
    """Place of each junction in the square, and the length of a leg there."""
    points: dict[str, list[Point]] = defaultdict(list)
    for leg in legs:
        if leg.approach is not None:
            points[leg.junction].append(network.edges[leg.approach].end_xy)
        points[leg.junction] += [network.edges[e].start_xy for e in leg.exits]
    raw = {
        j: (sum(x for x, _ in where) / len(where), sum(y for _, y in where) / len(where))
        for j, where in sorted(points.items())
    }
    size = next(size for most, size in _DISPLAYED_SIZES if len(raw) <= most)
    if len(raw) < 2:
        return dict.fromkeys(raw, (0.0, 0.0)), size
    xs, ys = [x for x, _ in raw.values()], [y for _, y in raw.values()]
    middle = ((min(xs) + max(xs)) / 2, (min(ys) + max(ys)) / 2)
    reach = max(max(xs) - min(xs), max(ys) - min(ys)) / 2 or 1.0
    scale = (1 - size) / reach
    return {j: ((x - middle[0]) * scale, (y - middle[1]) * scale) for j, (x, y) in raw.items()}, size


def _unit(bearing_deg: float) -> Point:
    angle = math.radians(bearing_deg)
    return math.sin(angle), math.cos(angle)


class _at:
    """Points of a leg: so far out, and so far to the side of those who drive in (negative: who drive out)."""

    def __init__(self, centre: Point, bearing_deg: float, size: float) -> None:
        self.centre = centre
        self.out = _unit(bearing_deg)
        # whoever drives in keeps right: south-bound traffic from the north leg drives on its west side
        self.side = (-self.out[1], self.out[0])
        self.size = size

    def __call__(self, out: float, side: float) -> Point:
        return (
            self.centre[0] + self.size * (out * self.out[0] + side * self.side[0]),
            self.centre[1] + self.size * (out * self.out[1] + side * self.side[1]),
        )


def _paths(
    intersection: Intersection, legs: Sequence[Leg], centres: Mapping[str, Point], size: float
) -> dict[str, tuple[Point, ...]]:
    """The way of each movement from its leg to another, as a line of points."""
    entry = {leg.approach: leg for leg in legs if leg.approach is not None}
    leave = {e: leg for leg in legs for e in leg.exits}
    paths = {}
    for approach in intersection.approaches:
        here = entry.get(approach.edge)
        if here is None:
            continue
        movements = sorted(
            (m for m in intersection.movements if m.approach == approach.edge and m.to_edge in leave),
            key=lambda m: (
                m.turn is not Turn.U_TURN,
                (leave[m.to_edge].bearing_deg - here.bearing_deg) % 360,
                TURN_ORDER.index(m.turn),
            ),
        )
        for k, movement in enumerate(movements):
            there = leave[movement.to_edge]
            a = _at(centres[here.junction], here.bearing_deg, size)
            b = _at(centres[there.junction], there.bearing_deg, size)
            lane = 0.045 + (_HALF_ROAD - 0.07) * (k + 0.5) / len(movements)
            lane_out = -(0.06 + 0.15 * TURN_ORDER.index(movement.turn) / 3)
            stop, go = a(_STOP_LINE, lane), b(_STOP_LINE, lane_out)
            # a sharp right turn hardly leaves the kerb, a U-turn needs room to swing
            least = {Turn.U_TURN: 0.3, Turn.THROUGH: 0.3}.get(movement.turn, 0.05)
            pull = min(max(0.6 * math.dist(stop, go) / size, least), 0.5)
            curve = _bezier(stop, a(_STOP_LINE - pull, lane), b(_STOP_LINE - pull, lane_out), go)
            paths[movement.id] = (a(0.96, lane), *curve, b(0.9, lane_out))
    return paths


def _bezier(a: Point, b: Point, c: Point, d: Point, n: int = 14) -> list[Point]:
    points = []
    for k in range(n + 1):
        t = k / n
        weights = ((1 - t) ** 3, 3 * t * (1 - t) ** 2, 3 * t * t * (1 - t), t**3)
        points.append(
            (
                sum(w * p[0] for w, p in zip(weights, (a, b, c, d), strict=True)),
                sum(w * p[1] for w, p in zip(weights, (a, b, c, d), strict=True)),
            )
        )
    return points


def _walks(
    intersection: Intersection, legs: Sequence[Leg], centres: Mapping[str, Point], size: float
) -> dict[str, tuple[Point, Point]]:
    """Both ends of each crossing; one of half a road (up to an island) lies on its half."""
    walks = {}
    for crossing in intersection.crossings:
        crossed = set(crossing.crossed_edges)
        for leg in legs:
            ways_in, ways_out = leg.approach in crossed, bool(crossed & set(leg.exits))
            if not (ways_in or ways_out):
                continue
            from_side = -_HALF_ROAD - 0.05 if ways_out else 0.03
            to_side = _HALF_ROAD + 0.05 if ways_in else -0.03
            at = _at(centres[leg.junction], leg.bearing_deg, size)
            walks[crossing.id] = (at(_CROSSING, from_side), at(_CROSSING, to_side))
            break
    return walks


def _placed(points: Sequence[Point], centre: Point, radius_in: float) -> list[Point]:
    """Points of the square on the sheet, north up."""
    return [(centre[0] + radius_in * x, centre[1] - radius_in * y) for x, y in points]


def _draw_roads(sheet: Sheet, plan: Layout, centre: Point, radius_in: float) -> None:
    roads, stop_lines, middles = [], [], []
    for leg in plan.legs:
        at = _at(plan.centres[leg.junction], leg.bearing_deg, plan.size)
        left = -_HALF_ROAD if leg.exits else -0.03
        right = _HALF_ROAD if leg.approach is not None else 0.03
        roads.append(_placed([at(0, left), at(1, left), at(1, right), at(0, right)], centre, radius_in))
        if leg.exits and leg.approach is not None:
            middles.append(_placed([at(_STOP_LINE, 0), at(1, 0)], centre, radius_in))
        if leg.approach is not None:
            stop_lines.append(_placed([at(_STOP_LINE, 0.02), at(_STOP_LINE, right)], centre, radius_in))
    hub = 0.36
    for at_centre in plan.centres.values():
        circle = [
            (at_centre[0] + plan.size * hub * x, at_centre[1] + plan.size * hub * y)
            for x, y in (_unit(k * 15) for k in range(24))
        ]
        roads.append(_placed(circle, centre, radius_in))
    sheet.polygons(roads, ROAD)
    sheet.lines(middles, "#FFFFFF", 0.6)
    sheet.lines(stop_lines, FAINT, 1.0)


def _draw_arrows(
    sheet: Sheet,
    paths: Sequence[Sequence[Point]],
    colour: str,
    width_pt: float,
    dashes: tuple[float, float] | None,
    radius_in: float,
) -> None:
    head = 0.17 * radius_in + 0.01 * width_pt
    shafts, heads = [], []
    for path in paths:
        (x0, y0), (x1, y1) = path[-2], path[-1]
        length = math.dist(path[-2], path[-1]) or 1.0
        ux, uy = (x1 - x0) / length, (y1 - y0) / length
        base = (x1 - ux * head, y1 - uy * head)
        shafts.append([*path[:-1], base])
        half = 0.42 * head
        heads.append(
            [(x1, y1), (base[0] - uy * half, base[1] + ux * half), (base[0] + uy * half, base[1] - ux * half)]
        )
    sheet.lines(shafts, colour, width_pt, dashes=dashes)
    sheet.polygons(heads, colour)
