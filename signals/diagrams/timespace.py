"""Time-space diagrams: the signals of a corridor over distance and time, and the green bands through them."""

from __future__ import annotations

import itertools
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from signals.diagrams.groups import Run, approach_names, check_program, movement_runs
from signals.diagrams.sheet import (
    BACKWARD,
    FAINT,
    FORWARD,
    INK,
    LAMPS,
    MUTED,
    Lamp,
    Point,
    Sheet,
    box_outline,
    text_width_in,
    wrapped,
)
from signals.errors import InputError
from signals.model.network import Corridor, Network
from signals.model.phasing import SignalProgram

if TYPE_CHECKING:
    from signals.timing.corridors import Band

PAGE_WIDTH_IN = 11.69
"""Length of A4: these sheets lie across."""
LEAST_BAND_S = 4.0
"""A narrower band lets hardly two vehicles of a lane pass, and isn't drawn."""
_MARGIN_IN = 0.4
_LABEL_IN = 2.15
_BAR_IN = 0.085
_GAP_IN = 0.014
_LABEL_LINE_IN = 0.125
_SECOND_STEPS = (1, 2, 5, 10, 15, 20, 30, 60, 120, 300, 600, 1800, 3600)

_SOLID_RED = replace(LAMPS["r"], height=1.0)
"""Red is a bar here: it is what stops a band."""


@dataclass(frozen=True, slots=True)
class BandStretch:
    """A green band along a part of a corridor: from signal `first` to signal `last` as they are driven.

    Both are positions in `Corridor.signals`; for the backward direction `first` is the greater one.
    """

    first: int
    last: int
    band: Band


def band_stretches(
    corridor: Corridor, programs: Mapping[str, SignalProgram], *, backward: bool = False
) -> tuple[BandStretch, ...]:
    """The band through all signals of one direction, or else the bands of its parts, as driven.

    Where no band of `LEAST_BAND_S` leads through all signals, the corridor is cut: each part reaches as far
    as a band does, and the next one starts at the signal where it ended. Parts without any are left out.
    """
    # corridors come with the kernels, which are slow to load and of no use to a phase diagram
    from signals.timing.corridors import find_band

    n = len(corridor.signals)
    order = list(range(n - 1, -1, -1)) if backward else list(range(n))
    found = []
    start = 0
    while start < n - 1:
        reached = None
        for stop in range(n - 1, start, -1):
            part = _part(corridor, *sorted((order[start], order[stop])))
            band = find_band(part, programs, backward=backward)
            if band is not None and band.width_s >= LEAST_BAND_S:
                reached = stop
                found.append(BandStretch(order[start], order[stop], band))
                break
        start = start + 1 if reached is None else reached
    return tuple(found)


def shown_runs(program: SignalProgram, links: Sequence[int], begin_s: float, end_s: float) -> tuple[Run, ...]:
    """What a movement is shown from `begin_s` to `end_s` of the simulation's clock, cut at both ends."""
    cycle_s = program.cycle_s
    runs = []
    first = math.floor((begin_s - program.offset_s) / cycle_s) - 1
    last = math.ceil((end_s - program.offset_s) / cycle_s)
    for k in range(first, last + 1):
        for run in movement_runs(program, links):
            start = program.offset_s + k * cycle_s + run.start_s
            a, b = max(start, begin_s), min(start + run.duration_s, end_s)
            if b - a > 1e-9:
                runs.append(Run(a, b - a, run.letter))
    return tuple(runs)


def time_space_diagram(
    corridor: Corridor,
    programs: Mapping[str, SignalProgram],
    network: Network,
    path: Path,
    *,
    cycles: int = 3,
    trajectories: Sequence[Sequence[tuple[float, float]]] | None = None,
    subtitle: str = "",
) -> Path:
    """One sheet for a corridor: distance upwards, time to the right, a pair of bars a signal, green bands.

    Parameters
    ----------
    programs
        Program of each signal by id. A signal without one is drawn as such.
    path
        Its suffix says the format: .svg, .png or .pdf.
    cycles
        How many of the longest cycle are drawn.
    trajectories
        Vehicles as points (time [s] of the simulation's clock, distance [m] along the corridor). The
        diagram then starts with the cycle of the earliest one.
    subtitle
        What the plan is called, such as "in place".

    Raises
    ------
    InputError
        Where no signal of the corridor has a program, one doesn't fit its signal, or the file can't be
        written.
    """
    sheet = time_space_sheet(
        corridor, programs, network, cycles=cycles, trajectories=trajectories, subtitle=subtitle
    )
    return sheet.save(path)


def time_space_sheet(
    corridor: Corridor,
    programs: Mapping[str, SignalProgram],
    network: Network,
    *,
    cycles: int = 3,
    trajectories: Sequence[Sequence[tuple[float, float]]] | None = None,
    subtitle: str = "",
) -> Sheet:
    """The sheet of `time_space_diagram`, not yet saved."""
    if cycles < 1:
        raise InputError(f"corridor {corridor.name}: {cycles} cycles can't be drawn; at least 1")
    own = {s: programs[s] for s in corridor.signals if s in programs}
    if not own:
        raise InputError(
            f"corridor {corridor.name}: none of its {len(corridor.signals)} signals has a program"
        )
    for signal, program in own.items():
        if signal not in network.intersections:
            raise InputError(f"corridor {corridor.name}: signal {signal} isn't in {network.source}")
        check_program(network.intersections[signal], program)
    return _Chart(corridor, own, network, cycles, trajectories or (), subtitle).draw()


def _part(corridor: Corridor, low: int, high: int) -> Corridor:
    """Signals low to high of a corridor as a corridor."""
    here, between = slice(low, high + 1), slice(low, high)
    return Corridor(
        corridor.name,
        corridor.signals[here],
        corridor.distance_m[here],
        corridor.forward[here],
        corridor.backward[here],
        corridor.forward_links[here],
        corridor.backward_links[here],
        corridor.forward_mps[between],
        corridor.backward_mps[between],
    )


def _passing_s(corridor: Corridor, stretch: BandStretch) -> list[tuple[float, float]]:
    """(seconds after the first stop line, distance [m]) at each signal of a band, as driven."""
    step = 1 if stretch.last > stretch.first else -1
    speeds = corridor.forward_mps if step > 0 else corridor.backward_mps
    points = [(0.0, corridor.distance_m[stretch.first])]
    for here in range(stretch.first, stretch.last, step):
        there = here + step
        speed = speeds[min(here, there)] or math.inf
        length = abs(corridor.distance_m[there] - corridor.distance_m[here])
        points.append((points[-1][0] + length / speed, corridor.distance_m[there]))
    return points


class _Chart:
    """The sheet of one corridor."""

    def __init__(
        self,
        corridor: Corridor,
        programs: Mapping[str, SignalProgram],
        network: Network,
        cycles: int,
        trajectories: Sequence[Sequence[Point]],
        subtitle: str,
    ) -> None:
        self.corridor = corridor
        self.programs = programs
        self.network = network
        self.trajectories = trajectories
        self.cycle_s = max(p.cycle_s for p in programs.values())
        self.one_cycle = all(abs(p.cycle_s - self.cycle_s) < 1e-6 for p in programs.values())
        earliest = min((t for way in trajectories for t, _ in way), default=0.0)
        self.begin_s = math.floor(earliest / self.cycle_s) * self.cycle_s
        self.end_s = self.begin_s + cycles * self.cycle_s
        self.forward = band_stretches(corridor, programs)
        self.backward = band_stretches(corridor, programs, backward=True)

        width = PAGE_WIDTH_IN - 2 * _MARGIN_IN
        self.title = wrapped(f"Corridor {corridor.name}", 11.0, width, bold=True)
        self.facts = wrapped(self._facts(subtitle), 7.5, width)
        self.captions = [
            (colour, text)
            for colour, whole in ((FORWARD, self._caption(False)), (BACKWARD, self._caption(True)))
            for text in wrapped(whole, 7.0, width - 0.3)
        ]
        self.notes = wrapped(self._notes(), 6.0, width)
        self.lamps: dict[Lamp, None] = {}
        gaps = [b - a for a, b in itertools.pairwise(sorted(set(corridor.distance_m)))]
        length = max(corridor.distance_m) - min(corridor.distance_m)
        n = len(corridor.signals)
        self.height = min(max(0.62 * n + 0.8, 2.6), 5.6)
        if gaps:
            # so tall that bars of neighbours keep apart, as far as a sheet of A4 allows
            self.height = min(max(self.height, (2 * _BAR_IN + 0.06) * length / min(gaps)), 5.6)
        self.height = max(self.height, n * 3 * _LABEL_LINE_IN)
        self.scale = self.height / length if length > 0 else 0.0
        nearest = min(gaps) * self.scale if gaps else 1.0
        self.bar = max(min(_BAR_IN, 0.36 * nearest), 0.03)
        self.left = _MARGIN_IN + _LABEL_IN + 0.2
        self.right = PAGE_WIDTH_IN - _MARGIN_IN - 0.1
        self.top = 0.32 + 0.19 * len(self.title) + 0.13 * len(self.facts) + 0.35
        self.bottom = self.top + self.height

    def x(self, time_s: float) -> float:
        return self.left + (self.right - self.left) * (time_s - self.begin_s) / (self.end_s - self.begin_s)

    def y(self, distance_m: float) -> float:
        return self.bottom - (distance_m - min(self.corridor.distance_m)) * self.scale

    def draw(self) -> Sheet:
        foot = 0.38 + 0.15 * len(self.captions) + 0.22 + 0.115 * len(self.notes) + 0.25
        sheet = Sheet(PAGE_WIDTH_IN, self.bottom + 0.15 + foot)
        y = 0.32
        for line in self.title:
            sheet.text(_MARGIN_IN, y, line, 11.0, bold=True)
            y += 0.19
        for line in self.facts:
            sheet.text(_MARGIN_IN, y - 0.01, line, 7.5, colour=MUTED)
            y += 0.13
        self._draw_grid(sheet)
        self._draw_bands(sheet, self.forward, FORWARD, None)
        self._draw_bands(sheet, self.backward, BACKWARD, (3.0, 1.5))
        self._draw_bars(sheet)
        self._draw_trajectories(sheet)
        self._draw_labels(sheet)
        y = self.bottom + 0.55
        for colour, text in self.captions:
            sheet.polygons([box_outline(_MARGIN_IN, _MARGIN_IN + 0.2, y - 0.05, 0.1)], colour, alpha=0.3)
            sheet.text(_MARGIN_IN + 0.3, y, text, 7.0)
            y += 0.15
        self._draw_legend(sheet, y + 0.06)
        y += 0.26
        for line in self.notes:
            sheet.text(_MARGIN_IN, y, line, 6.0, colour=MUTED)
            y += 0.115
        return sheet

    def _facts(self, subtitle: str) -> str:
        length = max(self.corridor.distance_m) - min(self.corridor.distance_m)
        own = f"{subtitle}: " if subtitle else ""
        cycle = f"common cycle {_s(self.cycle_s)} s" if self.one_cycle else "cycles differ, see each signal"
        return (
            f"{own}{len(self.corridor.signals)} signals over {length:,.0f} m, {cycle}; "
            f"network {Path(self.network.source).name}"
        )

    def _caption(self, backward: bool) -> str:
        """What there is of bands in one direction, in words."""
        corridor = self.corridor
        speeds = corridor.backward_mps if backward else corridor.forward_mps
        signals = corridor.signals[::-1] if backward else corridor.signals
        name = f"{'Backward' if backward else 'Forward'}, {_short(signals[0])} to {_short(signals[-1])}"
        driven = [s for s in speeds if s]
        if not driven:
            return f"{name}: nobody drives this way along the corridor."
        slow, fast = round(3.6 * min(driven)), round(3.6 * max(driven))
        speed = f"{slow} km/h" if slow == fast else f"{slow}-{fast} km/h"
        stretches = self.backward if backward else self.forward
        if len(stretches) == 1 and abs(stretches[0].last - stretches[0].first) == len(signals) - 1:
            width, cycle = stretches[0].band.width_s, stretches[0].band.cycle_s
            return f"{name}: band of {_s(width)} s, {100 * width / cycle:.0f} % of the cycle, at {speed}."
        none = f"no band of {_s(LEAST_BAND_S)} s or more through all {len(signals)} signals at {speed}"
        if not stretches:
            return f"{name}: {none}, nor between neighbours."
        parts = ", ".join(
            f"{_short(corridor.signals[part.first])} to {_short(corridor.signals[part.last])} "
            f"{_s(part.band.width_s)} s"
            for part in stretches
        )
        return f"{name}: {none}; in parts: {parts}."

    def _notes(self) -> str:
        text = (
            "Times are of the simulation's clock. The lower bar of each pair is what forward traffic is shown "
            "(driving up the sheet), the upper one backward traffic. Bands are at free-flow speed."
        )
        missing = [s for s in self.corridor.signals if s not in self.programs]
        if missing:
            text += f" Without a program: {', '.join(_short(s) for s in missing)}."
        return text

    def _draw_grid(self, sheet: Sheet) -> None:
        bottom = self.bottom + 0.16
        wide = (self.right - self.left) / (self.end_s - self.begin_s)
        step = next((s for s in _SECOND_STEPS if s * wide >= 0.38), _SECOND_STEPS[-1])
        ticks = range(math.ceil(self.begin_s / step) * step, math.floor(self.end_s) + 1, step)
        starts = [
            self.begin_s + k * self.cycle_s
            for k in range(round((self.end_s - self.begin_s) / self.cycle_s) + 1)
        ]
        if self.one_cycle:
            ways = [[(self.x(t), self.top - 0.16), (self.x(t), bottom)] for t in starts]
            sheet.lines(ways, MUTED, 0.5, dashes=(2, 2))
            for k, start in enumerate(starts[:-1]):
                sheet.text(self.x(start) + 0.04, self.top - 0.2, f"cycle {k + 1}", 6.0, colour=MUTED)
        sheet.lines(
            [[(self.left, self.y(d)), (self.right, self.y(d))] for d in self.corridor.distance_m], FAINT, 0.6
        )
        sheet.lines([[(self.left, bottom), (self.right, bottom)]], INK, 0.6)
        sheet.lines([[(self.x(t), bottom), (self.x(t), bottom + 0.04)] for t in ticks], INK, 0.6)
        for t in ticks:
            sheet.text(self.x(t), bottom + 0.1, str(t), 6.5, align="center")
        sheet.text(self.left - 0.1, bottom + 0.1, "time, s", 6.5, align="right", colour=MUTED)

    def _draw_bands(
        self, sheet: Sheet, stretches: Sequence[BandStretch], colour: str, dashes: tuple[float, float] | None
    ) -> None:
        within = (self.left, self.right, self.top - 0.16, self.bottom + 0.16)
        areas, edges = [], []
        for stretch in stretches:
            passing = _passing_s(self.corridor, stretch)
            band = stretch.band
            first = math.floor((self.begin_s - band.begin_s - band.width_s - passing[-1][0]) / band.cycle_s)
            last = math.ceil((self.end_s - band.begin_s) / band.cycle_s)
            for k in range(first, last + 1):
                start = band.begin_s + k * band.cycle_s
                fore = [(self.x(start + t), self.y(d)) for t, d in passing]
                rear = [(self.x(start + band.width_s + t), self.y(d)) for t, d in passing]
                areas.append([*fore, *rear[::-1]])
                edges += [fore, rear]
        sheet.polygons(areas, colour, alpha=0.22, within=within)
        sheet.lines(edges, colour, 0.8, dashes=dashes, within=within)

    def _draw_bars(self, sheet: Sheet) -> None:
        boxes: dict[Lamp, list[tuple[float, float, float, float]]] = defaultdict(list)
        arrows: dict[str, list[list[Point]]] = {FORWARD: [], BACKWARD: []}
        corridor = self.corridor
        for k, signal in enumerate(corridor.signals):
            y = self.y(corridor.distance_m[k])
            program = self.programs.get(signal)
            if program is None:
                sheet.text(self.left + 0.1, y, "no program", 6.5, colour=MUTED, backed=True)
                continue
            for links, top, colour in (
                (corridor.forward_links[k], y + _GAP_IN / 2, FORWARD),
                (corridor.backward_links[k], y - self.bar - _GAP_IN / 2, BACKWARD),
            ):
                if not links:
                    continue
                for run in shown_runs(program, links, self.begin_s, self.end_s):
                    left, right = self.x(run.start_s), self.x(run.start_s + run.duration_s)
                    boxes[_lamp(run.letter)].append((left, right, top, self.bar))
                middle, half = top + self.bar / 2, 0.42 * self.bar
                way = -half if colour == FORWARD else half
                x = self.left - 0.07
                arrows[colour].append([(x, middle + way), (x - 0.04, middle - way), (x + 0.04, middle - way)])
        for lamp in dict.fromkeys(_lamp(letter) for letter in LAMPS):
            sheet.bars(boxes[lamp], lamp, width_pt=0.3)
            if boxes[lamp]:
                self.lamps[lamp] = None
        for colour, shapes in arrows.items():
            sheet.polygons(shapes, colour)

    def _draw_trajectories(self, sheet: Sheet) -> None:
        within = (self.left, self.right, self.top - 0.16, self.bottom + 0.16)
        ways = [[(self.x(t), self.y(d)) for t, d in way] for way in self.trajectories if len(way) > 1]
        sheet.lines(ways, INK, 0.5, alpha=0.7, within=within)

    def _draw_labels(self, sheet: Sheet) -> None:
        """Signal, cross street, place and offset, pushed apart where signals are close."""
        corridor = self.corridor
        order = sorted(range(len(corridor.signals)), key=lambda k: -corridor.distance_m[k])
        wanted = [self.y(corridor.distance_m[k]) for k in order]
        lines = [self._label(corridor.signals[k], corridor.distance_m[k]) for k in order]
        at = _pushed_apart(wanted, 3 * _LABEL_LINE_IN, self.bottom)
        leaders = []
        for y, own, texts in zip(at, wanted, lines, strict=True):
            for n, (text, size, bold, colour) in enumerate(texts):
                line = y + (n - (len(texts) - 1) / 2) * (_LABEL_LINE_IN - 0.01)
                sheet.text(_MARGIN_IN + _LABEL_IN, line, text, size, align="right", bold=bold, colour=colour)
            if abs(y - own) > 0.02:
                x = _MARGIN_IN + _LABEL_IN
                leaders.append([(x + 0.02, y), (x + 0.07, y), (self.left - 0.12, own)])
        sheet.lines(leaders, MUTED, 0.4)

    def _label(self, signal: str, distance_m: float) -> list[tuple[str, float, bool, str]]:
        first = wrapped(signal, 7.5, _LABEL_IN - 0.1, bold=True, most=1)[0]
        lines = [(first, 7.5, True, INK)]
        cross = self._cross_street(signal)
        if cross:
            lines.append((wrapped(cross, 6.0, _LABEL_IN - 0.05, most=1)[0], 6.0, False, MUTED))
        program = self.programs.get(signal)
        third = f"{distance_m:,.0f} m"
        if program is not None:
            third += f", offset {_s(program.offset_s)} s"
            if not self.one_cycle:
                third += f", cycle {_s(program.cycle_s)} s"
        lines.append((third, 6.5, False, INK))
        return lines

    def _cross_street(self, signal: str) -> str:
        """The approaches that aren't the corridor's, with the edges by which the network knows them."""
        intersection = self.network.intersections[signal]
        k = self.corridor.signals.index(signal)
        along = {self.corridor.forward[k], self.corridor.backward[k]}
        own = {m.approach for m in intersection.movements if m.id in along}
        names = approach_names(intersection)
        sides = sorted((names[a.edge], a.edge) for a in intersection.approaches if a.edge not in own)
        return "× " + ", ".join(f"{bound} {edge}" for bound, edge in sides) if sides else ""

    def _draw_legend(self, sheet: Sheet, y: float) -> None:
        x = _MARGIN_IN
        for lamp in self.lamps:
            sheet.bars([(x, x + 0.3, y - 0.05, 0.1)], lamp, width_pt=0.3)
            sheet.text(x + 0.36, y, lamp.name, 6.5)
            x += 0.56 + text_width_in(lamp.name, 6.5)
        if self.trajectories:
            sheet.lines([[(x, y), (x + 0.3, y)]], INK, 0.5)
            sheet.text(x + 0.36, y, "vehicles", 6.5)


def _lamp(letter: str) -> Lamp:
    lamp = LAMPS.get(letter, LAMPS["o"])
    return _SOLID_RED if lamp == LAMPS["r"] else lamp


def _pushed_apart(wanted: Sequence[float], least: float, lowest: float) -> list[float]:
    """Places (rising) near the wanted ones (rising), a least distance apart, the last not below `lowest`."""
    at: list[float] = []
    for y in wanted:
        at.append(max(y, at[-1] + least) if at else y)
    # what was pushed out of the sheet is pushed back up, its neighbours with it
    limit = max(lowest, wanted[-1]) if wanted else lowest
    for k in range(len(at) - 1, -1, -1):
        at[k] = min(at[k], limit)
        limit = at[k] - least
    return at


def _short(signal: str) -> str:
    return signal if len(signal) <= 20 else f"{signal[:9]}…{signal[-8:]}"


def _s(seconds: float) -> str:
    return f"{seconds:.1f}".rstrip("0").rstrip(".")
