"""A map of a city's subareas: roads, signals by group, and how strongly neighbours are coupled.

North is up. A group is a number and a colour; bars between its signals have its colour, those between groups are grey
and broken, so that a grey print reads the same. Signals that stand alone are hollow.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from signals.diagrams.sheet import FAINT, INK, MUTED, PAPER, Point, Sheet, text_width_in, wrapped
from signals.errors import InputError
from signals.model.counts import Floats
from signals.model.network import Intersection, Network
from signals.model.night import Subarea

COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#8C6D31", "#6A51A3")
"""Neighbouring groups never share one where eight are enough."""
WIDTHS = ((50.0, 5.0), (10.0, 3.2), (1.0, 1.6))
"""Coupling index from which on a bar is so wide [pt]: FHWA holds 50 for certain; below the last there is none."""
WIDTH_IN = 9.0
MOST_HEIGHT_IN = 11.0
MARGIN_IN = 0.3
TITLE_IN = 0.55
ROW_IN = 0.15
COLUMNS = 3
MOST_LISTED = 120
"""Groups in the list below the map; the largest come first."""

Pair = tuple[str, str]


def subarea_map(
    network: Network, subareas: Sequence[Subarea], coupling: Mapping[Pair, float], title: str = "Subareas"
) -> Sheet:
    """A sheet with the map of a city's subareas: `svg()` gives its bytes, `save` writes it as SVG, PNG or PDF.

    `coupling` is the index of each pair of neighbours, as `signals.timing.subareas.Division` has it. Groups are
    numbered in the order given, those of one signal aside.

    Raises
    ------
    InputError
        Where there is no signal to show, or a subarea has one that the network doesn't.
    """
    signals = [s for subarea in subareas for s in subarea.signals]
    unknown = [s for s in signals if s not in network.intersections]
    if not signals or unknown:
        raise InputError(
            f"map of {len(signals)} signals of {network.source}: "
            + (f"it has no {', '.join(unknown[:5])}" if unknown else "nothing to show; divide the city first")
        )
    at = {s: _place(network, network.intersections[s]) for s in signals}
    groups = [subarea for subarea in subareas if len(subarea.signals) > 1]
    listed = sorted(range(len(groups)), key=lambda k: (-len(groups[k].signals), k))[:MOST_LISTED]
    rows = math.ceil(len(listed) / COLUMNS)
    frame = _Frame.around(network, list(at.values()))
    below_in = TITLE_IN + frame.height_in + 0.15
    sheet = Sheet(WIDTH_IN, below_in + 0.35 + ROW_IN * rows + MARGIN_IN)
    sheet.text(MARGIN_IN, 0.22, title, 11.0, bold=True)
    alone = len(subareas) - len(groups)
    sheet.text(
        MARGIN_IN,
        0.42,
        f"Signals: {len(signals)}, in groups: {len(signals) - alone} ({len(groups)}), alone: {alone}",
        8.0,
        colour=MUTED,
    )
    places = {s: frame.on_paper(xy) for s, xy in at.items()}
    colours = _colours(groups, coupling)
    radius_in = _radius_in(list(places.values()))
    _draw_roads(sheet, network, frame)
    _draw_links(sheet, groups, colours, coupling, places, radius_in)
    _draw_signals(sheet, subareas, groups, colours, places, radius_in)
    _draw_numbers(sheet, groups, places, radius_in)
    _draw_key(sheet, frame, below_in, radius_in)
    _draw_list(sheet, groups, colours, listed, below_in + 0.35)
    return sheet


@dataclass(frozen=True, slots=True)
class _Frame:
    """Where metres lie on paper."""

    west_m: float
    north_m: float
    in_per_m: float
    left_in: float
    height_in: float

    @classmethod
    def around(cls, network: Network, places: Sequence[Point]) -> _Frame:
        """All signals and the roads between them, at the largest scale that fits."""
        ends = [xy for e in network.edges.values() for xy in (e.start_xy, e.end_xy)]
        points = np.array([*places, *ends])
        (west, south), (east, north) = points.min(axis=0), points.max(axis=0)
        wide, high = max(east - west, 1.0), max(north - south, 1.0)
        room_in = WIDTH_IN - 2 * MARGIN_IN
        scale = min(room_in / wide, (MOST_HEIGHT_IN - TITLE_IN) / high)
        left = MARGIN_IN + (room_in - wide * scale) / 2
        return cls(float(west), float(north), float(scale), float(left), float(high * scale))

    def on_paper(self, xy: Point) -> Point:
        """Inches from the sheet's top left."""
        x, y = xy
        return self.left_in + (x - self.west_m) * self.in_per_m, TITLE_IN + (self.north_m - y) * self.in_per_m


def _place(network: Network, intersection: Intersection) -> Point:
    """Where a signal is: the middle of its stop lines."""
    ends = [network.edges[a.edge].end_xy for a in intersection.approaches if a.edge in network.edges]
    if not ends:
        inside = frozenset(intersection.junctions)
        ends = [e.end_xy for e in network.edges.values() if e.to_junction in inside] or [(0.0, 0.0)]
    return sum(x for x, _ in ends) / len(ends), sum(y for _, y in ends) / len(ends)


def _colours(groups: Sequence[Subarea], coupling: Mapping[Pair, float]) -> list[str]:
    """A colour a group, other than those of the groups that it is coupled to as far as there are enough."""
    group_of = {s: k for k, group in enumerate(groups) for s in group.signals}
    beside: dict[int, set[int]] = defaultdict(set)
    for a, b in coupling:
        if a in group_of and b in group_of and group_of[a] != group_of[b]:
            beside[group_of[a]].add(group_of[b])
            beside[group_of[b]].add(group_of[a])
    chosen: list[int] = []
    for k in range(len(groups)):
        taken = [chosen[n] for n in beside[k] if n < k]
        used = [chosen.count(c) for c in range(len(COLOURS))]
        chosen.append(min(range(len(COLOURS)), key=lambda c: (taken.count(c), used[c], c)))
    return [COLOURS[c] for c in chosen]


def _radius_in(places: Sequence[Point]) -> float:
    """Of a signal's disc: a good part of the usual distance to the nearest other one."""
    points = np.array(places)
    if len(points) < 2:
        return 0.08
    nearest = [_nearest(points, k) for k in range(0, len(points), max(1, len(points) // 200))]
    return min(0.09, max(0.022, 0.24 * float(np.median(nearest))))


def _nearest(points: Floats, k: int) -> float:
    distance = np.hypot(*(points - points[k]).T)
    distance[k] = np.inf
    return float(distance.min())


def _draw_roads(sheet: Sheet, network: Network, frame: _Frame) -> None:
    sheet.lines(
        [[frame.on_paper(e.start_xy), frame.on_paper(e.end_xy)] for e in network.edges.values()], FAINT, 0.7
    )


def _draw_links(
    sheet: Sheet,
    groups: Sequence[Subarea],
    colours: Sequence[str],
    coupling: Mapping[Pair, float],
    places: Mapping[str, Point],
    radius_in: float,
) -> None:
    group_of = {s: k for k, group in enumerate(groups) for s in group.signals}
    shrink = min(1.0, radius_in / 0.05)
    inside: dict[tuple[str, float], list[Sequence[Point]]] = defaultdict(list)
    between: dict[float, list[Sequence[Point]]] = defaultdict(list)
    for (a, b), value in coupling.items():
        if a not in places or b not in places or value < WIDTHS[-1][0]:
            continue
        width = shrink * next(w for least, w in WIDTHS if value >= least)
        if a in group_of and group_of[a] == group_of.get(b):
            inside[colours[group_of[a]], width].append([places[a], places[b]])
        else:
            between[width].append([places[a], places[b]])
    for width, paths in sorted(between.items()):
        sheet.lines(paths, MUTED, width, dashes=(2.0, 1.5), alpha=0.7)
    for (colour, width), paths in sorted(inside.items()):
        sheet.lines(paths, colour, width, alpha=0.75)


def _draw_signals(
    sheet: Sheet,
    subareas: Sequence[Subarea],
    groups: Sequence[Subarea],
    colours: Sequence[str],
    places: Mapping[str, Point],
    radius_in: float,
) -> None:
    by_colour: dict[str, list[Sequence[Point]]] = defaultdict(list)
    for group, colour in zip(groups, colours, strict=True):
        by_colour[colour] += [_disc(places[s], radius_in) for s in group.signals]
    for colour, discs in sorted(by_colour.items()):
        sheet.polygons(discs, colour, edge=INK, width_pt=0.4)
    alone = [s for subarea in subareas if len(subarea.signals) == 1 for s in subarea.signals]
    sheet.polygons([_disc(places[s], 0.8 * radius_in) for s in alone], PAPER, edge=INK, width_pt=0.7)


def _draw_numbers(
    sheet: Sheet, groups: Sequence[Subarea], places: Mapping[str, Point], radius_in: float
) -> None:
    """Each group's number beside the signal that is nearest to its middle."""
    size_pt = 10.0 if radius_in > 0.05 else 7.5
    for number, group in enumerate(groups, start=1):
        points = [places[s] for s in group.signals]
        middle = sum(x for x, _ in points) / len(points), sum(y for _, y in points) / len(points)
        x, y = min(points, key=lambda p: (math.dist(p, middle), p))
        sheet.text(
            x + 1.3 * radius_in, y - 1.3 * radius_in - 0.03, str(number), size_pt, bold=True, backed=True
        )


def _draw_key(sheet: Sheet, frame: _Frame, top_in: float, radius_in: float) -> None:
    """Widths of bars with the index that they stand for, a hollow disc, and a scale."""
    x, y = MARGIN_IN, top_in + 0.05
    shrink = min(1.0, radius_in / 0.05)
    sheet.text(x, y, "coupling index:", 6.5, colour=MUTED)
    x += text_width_in("coupling index:", 6.5) + 0.1
    for least, width in reversed(WIDTHS):
        text = f"≥ {least:g}"
        sheet.lines([[(x, y), (x + 0.3, y)]], MUTED, shrink * width)
        sheet.text(x + 0.36, y, text, 6.5, colour=MUTED)
        x += 0.36 + text_width_in(text, 6.5) + 0.16
    sheet.lines([[(x, y), (x + 0.3, y)]], MUTED, 1.2, dashes=(2.0, 1.5))
    sheet.text(x + 0.36, y, "between groups", 6.5, colour=MUTED)
    x += 0.36 + text_width_in("between groups", 6.5) + 0.25
    sheet.polygons([_disc((x, y), 0.05)], PAPER, edge=INK, width_pt=0.7)
    sheet.text(x + 0.1, y, "signal alone", 6.5, colour=MUTED)
    length_m = _round_length_m(1.2 / frame.in_per_m)
    right = WIDTH_IN - MARGIN_IN
    left = right - length_m * frame.in_per_m
    sheet.lines([[(left, y - 0.04), (left, y + 0.04), (right, y + 0.04), (right, y - 0.04)]], MUTED, 0.7)
    name = f"{length_m / 1000:g} km" if length_m >= 1000 else f"{length_m:g} m"
    sheet.text((left + right) / 2, y - 0.05, name, 6.5, align="center", colour=MUTED)


def _round_length_m(most_m: float) -> float:
    """The longest of 1, 2, 5, 10, … m within a length."""
    power = 10.0 ** math.floor(math.log10(most_m))
    return next(k * power for k in (5.0, 2.0, 1.0) if k * power <= most_m)


def _draw_list(
    sheet: Sheet, groups: Sequence[Subarea], colours: Sequence[str], listed: Sequence[int], top_in: float
) -> None:
    column_in = (WIDTH_IN - 2 * MARGIN_IN) / COLUMNS
    rows = math.ceil(len(listed) / COLUMNS)
    for place, k in enumerate(sorted(listed)):
        x, y = MARGIN_IN + place // max(rows, 1) * column_in, top_in + place % max(rows, 1) * ROW_IN
        group = groups[k]
        sheet.polygons([_disc((x + 0.05, y), 0.045)], colours[k], edge=INK, width_pt=0.4)
        sheet.text(x + 0.14, y, str(k + 1), 6.5, bold=True)
        cycles = f", {group.cycles_s[0]}-{group.cycles_s[-1]} s" if group.cycles_s else ""
        facts = f": {len(group.signals)} signals{cycles}"
        name_in = column_in - 0.5 - text_width_in(facts, 6.5)
        sheet.text(x + 0.36, y, wrapped(group.id, 6.5, name_in, most=1)[0] + facts, 6.5)


def _disc(centre: Point, radius_in: float) -> list[Point]:
    x, y = centre
    turn = 2 * math.pi / 20
    return [(x + radius_in * math.cos(k * turn), y + radius_in * math.sin(k * turn)) for k in range(20)]
