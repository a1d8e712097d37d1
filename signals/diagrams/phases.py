"""Phase diagrams: what a signal shows over one cycle in each of its programs, and whom a stage lets go."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from signals.diagrams.groups import (
    SignalGroup,
    StageTime,
    check_program,
    idle_links,
    pieces,
    signal_groups,
    signal_runs,
    stage_times,
)
from signals.diagrams.sheet import (
    FAINT,
    GREEN_DARK,
    INK,
    LAMPS,
    MUTED,
    RED,
    ROAD,
    Lamp,
    Sheet,
    box_outline,
    text_width_in,
    wrapped,
)
from signals.diagrams.sketch import Layout, draw_key, draw_north, draw_stage, layout
from signals.errors import InputError
from signals.model.network import Intersection, Network
from signals.model.phasing import SignalProgram

PAGE_WIDTH_IN = 8.27
"""Width of A4."""
_MARGIN_IN = 0.4
_LABEL_PT = 7.0
_ROW_IN = 0.19
_LINE_IN = 0.115
_SECOND_STEPS = (1, 2, 5, 10, 15, 20, 30, 60, 120, 300, 600)


def phase_diagram(
    intersection: Intersection, network: Network, programs: Mapping[str, SignalProgram], path: Path
) -> Path:
    """One sheet for a signal: a bar chart of the cycle for each program, and a small plan of each stage.

    Parameters
    ----------
    programs
        Programs of this signal by the name they have on the sheet, such as "in place" and "plan". Rows and
        time scale are the same for all of them.
    path
        Its suffix says the format: .svg, .png or .pdf.

    Raises
    ------
    InputError
        Where there is no program, a program doesn't fit the signal, or the file can't be written.
    """
    return phase_sheet(intersection, network, programs).save(path)


def phase_sheet(intersection: Intersection, network: Network, programs: Mapping[str, SignalProgram]) -> Sheet:
    """The sheet of `phase_diagram`, not yet saved."""
    if not programs:
        raise InputError(f"signal {intersection.id}: no program to draw")
    for program in programs.values():
        check_program(intersection, program)
    groups = signal_groups(intersection, network, list(programs.values()))
    page = _Page(intersection, network, groups, max(p.cycle_s for p in programs.values()))
    blocks = [_Block(page, name, program) for name, program in programs.items()]
    title = wrapped(f"Signal {intersection.id}", 11.0, PAGE_WIDTH_IN - 2 * _MARGIN_IN, bold=True)
    notes = _notes(intersection)
    letters = {run.letter for p in programs.values() for g in groups for run in signal_runs(p, g.links[0])}
    legend = _legend_lines(letters, bool(intersection.crossings))
    top = 0.32
    head = 0.19 * len(title) + 0.22
    foot = 0.2 * len(legend) + _LINE_IN * len(notes) + 0.25
    sheet = Sheet(PAGE_WIDTH_IN, top + head + sum(b.height_in for b in blocks) + foot)
    y = top
    for line in title:
        sheet.text(_MARGIN_IN, y, line, 11.0, bold=True)
        y += 0.19
    sheet.text(_MARGIN_IN, y - 0.02, f"network {Path(network.source).name}", 7.0, colour=MUTED)
    y += 0.22
    for block in blocks:
        block.draw(sheet, y)
        y += block.height_in
    for entries in legend:
        _draw_legend(sheet, entries, y)
        y += 0.2
    for note in notes:
        sheet.text(_MARGIN_IN, y, note, 6.0, colour=MUTED)
        y += _LINE_IN
    return sheet


class _Page:
    """What all charts of a sheet share: rows and their names, time scale, the plan of the intersection."""

    def __init__(
        self, intersection: Intersection, network: Network, groups: Sequence[SignalGroup], longest_s: float
    ) -> None:
        self.intersection = intersection
        self.groups = groups
        widest = max((text_width_in(g.label, _LABEL_PT, True) for g in groups), default=0.0)
        self.label_in = min(max(widest + 0.12, 1.25), 1.9)
        self.labels = [wrapped(g.label, _LABEL_PT, self.label_in - 0.1, bold=True, most=3) for g in groups]
        self.row_in = [max(_ROW_IN, _LINE_IN * len(lines) + 0.05) for lines in self.labels]
        self.left = _MARGIN_IN + self.label_in
        self.scale = (PAGE_WIDTH_IN - _MARGIN_IN - self.left) / longest_s
        self.plan: Layout = layout(intersection, network)

    def x(self, time_s: float) -> float:
        return self.left + time_s * self.scale


class _Block:
    """The chart of one program."""

    def __init__(self, page: _Page, name: str, program: SignalProgram) -> None:
        self.page = page
        self.name = name
        self.program = program
        self.cycle_s = program.cycle_s
        self.stages = stage_times(page.intersection, program)
        width = PAGE_WIDTH_IN - _MARGIN_IN - page.left
        rows = max(1, math.ceil(len(self.stages) / 8))
        self.per_row = max(1, math.ceil(len(self.stages) / rows))
        self.cell_in = min(width / self.per_row, 1.3)
        self.radius_in = min(0.43, 0.46 * self.cell_in)
        self.sketches_in = max(rows * (2 * self.radius_in + 0.24), 1.1)
        self.height_in = 0.3 + self.sketches_in + 0.34 + sum(page.row_in) + 0.42

    def draw(self, sheet: Sheet, top: float) -> None:
        page = self.page
        sheet.lines([[(_MARGIN_IN, top - 0.06), (PAGE_WIDTH_IN - _MARGIN_IN, top - 0.06)]], FAINT, 0.8)
        sheet.text(_MARGIN_IN, top + 0.08, self.name, 9.0, bold=True)
        sheet.text(
            _MARGIN_IN + text_width_in(self.name, 9.0, True) + 0.15,
            top + 0.08,
            self._heading(),
            7.5,
            colour=INK,
        )
        y = top + 0.3
        self._draw_sketches(sheet, y)
        y += self.sketches_in
        self._draw_stages(sheet, y, y + 0.34 + sum(page.row_in))
        self._draw_rows(sheet, y + 0.34)
        self._draw_seconds(sheet, y + 0.34 + sum(page.row_in))

    def _heading(self) -> str:
        p = self.program
        own = f", program {p.program}" if p.program else ""
        kind = f" ({p.kind})" if p.kind else ""
        count = f"{len(self.stages)} stage" + ("" if len(self.stages) == 1 else "s")
        own = wrapped(own + kind, 7.5, 3.6, most=1)[0]
        return f"cycle {_s(self.cycle_s)} s, offset {_s(p.offset_s)} s, {count}{own}"

    def _draw_sketches(self, sheet: Sheet, top: float) -> None:
        page = self.page
        middle = (_MARGIN_IN + 0.08 + 0.5 * (page.label_in - 0.08), top + 0.56)
        draw_key(sheet, page.plan, middle, 0.33)
        draw_north(sheet, (_MARGIN_IN + 0.06, top + 0.2))
        for k, stage in enumerate(self.stages):
            row, column = divmod(k, self.per_row)
            x = page.left + (column + 0.5) * self.cell_in
            y = top + row * (2 * self.radius_in + 0.24)
            sheet.text(x, y + 0.04, f"{k + 1}: {_s(stage.duration_s)} s", 7.0, align="center", bold=True)
            centre = (x, y + 0.14 + self.radius_in)
            draw_stage(sheet, page.plan, page.intersection, stage.state, centre, self.radius_in)
        if not self.stages:
            sheet.text(page.left, top + 0.4, "no stage: nothing has a settled green", 7.0, colour=MUTED)

    def _draw_stages(self, sheet: Sheet, top: float, bottom: float) -> None:
        """The strip above the rows: which stage lasts from when to when, and how long the changes take."""
        page, boundaries = self.page, set[float]()
        boxes = []
        for k, stage in enumerate(self.stages):
            parts = pieces(stage.start_s, stage.duration_s, self.cycle_s)
            longest = max(parts, key=lambda part: part[1] - part[0])
            for begin_s, end_s in parts:
                left, right = page.x(begin_s), page.x(end_s)
                boxes.append(box_outline(left, right, top, 0.16))
                boundaries |= {begin_s, end_s}
                if (begin_s, end_s) == longest:
                    self._stage_text(sheet, k, stage, left, right, top)
                elif text_width_in(f"{k + 1}", 6.5, True) <= right - left - 0.04:
                    sheet.text((left + right) / 2, top + 0.08, f"{k + 1}", 6.5, align="center", bold=True)
                self._boundary_text(sheet, begin_s, end_s, top + 0.24)
        sheet.lines(
            [[(page.x(t), top + 0.31), (page.x(t), bottom)] for t in sorted(boundaries)],
            MUTED,
            0.4,
            dashes=(1.5, 1.5),
        )
        sheet.polygons(boxes, "none", edge=INK, width_pt=0.6)
        self._draw_changes(sheet, top)

    def _stage_text(
        self, sheet: Sheet, k: int, stage: StageTime, left: float, right: float, top: float
    ) -> None:
        room = right - left - 0.04
        for text in (
            f"stage {k + 1}: {_s(stage.duration_s)} s",
            f"{k + 1}: {_s(stage.duration_s)} s",
            f"{k + 1}",
        ):
            if text_width_in(text, 6.5, True) <= room:
                sheet.text((left + right) / 2, top + 0.08, text, 6.5, align="center", bold=True)
                return

    def _boundary_text(self, sheet: Sheet, begin_s: float, end_s: float, y: float) -> None:
        left, right = self.page.x(begin_s), self.page.x(end_s)
        first, last = _s(begin_s), _s(end_s)
        if any(abs(stage.start_s - end_s) < 1e-6 for stage in self.stages):
            last = ""  # the next stage says so
        if text_width_in(first, 6.0) + text_width_in(last, 6.0) + 0.06 <= right - left:
            sheet.text(left, y, first, 6.0, colour=MUTED)
            sheet.text(right, y, last, 6.0, align="right", colour=MUTED)
        else:
            sheet.text((left + right) / 2, y, first, 6.0, align="center", colour=MUTED)

    def _draw_changes(self, sheet: Sheet, top: float) -> None:
        for k, stage in enumerate(self.stages):
            begin_s = (stage.start_s + stage.duration_s) % self.cycle_s
            length_s = (self.stages[(k + 1) % len(self.stages)].start_s - begin_s) % self.cycle_s
            if length_s <= 1e-6 or len(self.stages) == 1:
                continue
            parts = pieces(begin_s, length_s, self.cycle_s)
            begin, end = max(parts, key=lambda part: part[1] - part[0])
            text = _s(length_s)
            if text_width_in(text, 6.0) <= (end - begin) * self.page.scale - 0.02:
                sheet.text(
                    self.page.x((begin + end) / 2), top + 0.08, text, 6.0, align="center", colour=MUTED
                )

    def _draw_rows(self, sheet: Sheet, top: float) -> None:
        page = self.page
        boxes: dict[Lamp, list[tuple[float, float, float, float]]] = defaultdict(list)
        figures: list[tuple[float, float, str]] = []
        seams = []
        y = top
        before = None
        for group, lines, height in zip(page.groups, page.labels, page.row_in, strict=True):
            for k, line in enumerate(lines):
                at = y + height / 2 + (k - (len(lines) - 1) / 2) * _LINE_IN
                sheet.text(page.left - 0.08, at, line, _LABEL_PT, align="right", bold=True)
            kind = (group.pedestrians_only, group.label.split(" ")[0])
            if before is not None and kind != before:
                seams.append([(_MARGIN_IN, y), (page.x(self.cycle_s), y)])
            before = kind
            for run in signal_runs(self.program, group.links[0]):
                lamp = LAMPS.get(run.letter, LAMPS["o"])
                parts = [(page.x(a), page.x(b)) for a, b in pieces(run.start_s, run.duration_s, self.cycle_s)]
                boxes[lamp] += [(left, right, y + 0.025, height - 0.05) for left, right in parts]
                # a run past the cycle's end has its whole length written once, on its longer piece
                left, right = max(parts, key=lambda part: part[1] - part[0])
                text = _s(run.duration_s)
                if lamp.height == 1.0 and text_width_in(text, 6.0) + 0.03 <= right - left:
                    figures.append(((left + right) / 2, y + height / 2, text))
            y += height
        sheet.lines(seams, FAINT, 0.6)
        for lamp in dict.fromkeys(LAMPS.values()):
            sheet.bars(boxes[lamp], lamp)
        for x, at, text in figures:
            sheet.text(x, at, text, 6.0, align="center", backed=True)

    def _draw_seconds(self, sheet: Sheet, y: float) -> None:
        page = self.page
        step = next((s for s in _SECOND_STEPS if s * page.scale >= 0.3), 600)
        end = page.x(self.cycle_s)
        sheet.lines([[(page.left, y + 0.03), (end, y + 0.03)]], INK, 0.6)
        times = [t for t in range(0, math.ceil(self.cycle_s), step) if (self.cycle_s - t) * page.scale > 0.24]
        sheet.lines(
            [[(page.x(t), y + 0.03), (page.x(t), y + 0.07)] for t in [*times, self.cycle_s]], INK, 0.6
        )
        for t in times:
            sheet.text(page.x(t), y + 0.13, str(t), 6.5, align="center")
        sheet.text(end, y + 0.13, _s(self.cycle_s), 6.5, align="center", bold=True)
        sheet.text(page.left - 0.08, y + 0.13, "second of the cycle", 6.5, align="right", colour=MUTED)


def _s(seconds: float) -> str:
    """Seconds as an engineer writes them."""
    return f"{seconds:.1f}".rstrip("0").rstrip(".")


def _notes(intersection: Intersection) -> list[str]:
    lines = [
        "Second 0 is the start of the program's first interval. The strip above the rows shows begin, length and "
        "end of each stage and, between them, the length of the change. What goes on past the cycle's end has "
        "its whole length written on its longer piece."
    ]
    idle = idle_links(intersection)
    if idle:
        lines.append(f"Without a row, since they control nothing: link {', '.join(map(str, idle))}.")
    return [part for line in lines for part in wrapped(line, 6.0, PAGE_WIDTH_IN - 2 * _MARGIN_IN)]


@dataclass(frozen=True, slots=True)
class _Entry:
    """A line of the legend: a lamp, or an arrow of the plans."""

    name: str
    lamp: Lamp | None = None
    colour: str = GREEN_DARK
    width_pt: float = 1.4
    dashes: tuple[float, float] | None = None

    @property
    def width_in(self) -> float:
        return 0.36 + text_width_in(self.name, 6.5) + 0.2


def _legend_lines(letters: set[str], crossings: bool) -> list[list[_Entry]]:
    lamps = dict.fromkeys(LAMPS[c] for c in "GgyYursoO" if c in letters)
    entries = [_Entry(lamp.name, lamp) for lamp in lamps]
    if "G" in letters:
        entries.append(_Entry("goes, protected"))
    if "g" in letters:
        entries.append(_Entry("goes, yields", None, GREEN_DARK, 0.9, (2.4, 1.3)))
    if "s" in letters:
        entries.append(_Entry("goes after a stop", None, RED, 0.7, (0.8, 1.2)))
    if crossings:
        entries.append(_Entry("pedestrians go", None, GREEN_DARK, 3.6, (1.1, 0.9)))
    lines: list[list[_Entry]] = [[]]
    for entry in entries:
        if lines[-1] and sum(e.width_in for e in (*lines[-1], entry)) > PAGE_WIDTH_IN - 2 * _MARGIN_IN:
            lines.append([])
        lines[-1].append(entry)
    return lines


def _draw_legend(sheet: Sheet, entries: Sequence[_Entry], y: float) -> None:
    x = _MARGIN_IN
    for entry in entries:
        if entry.lamp is not None:
            sheet.bars([(x, x + 0.3, y - 0.06, 0.12)], entry.lamp)
        else:
            sheet.polygons([box_outline(x, x + 0.3, y - 0.06, 0.12)], ROAD)
            sheet.lines([[(x, y), (x + 0.3, y)]], entry.colour, entry.width_pt, dashes=entry.dashes)
        sheet.text(x + 0.36, y, entry.name, 6.5)
        x += entry.width_in
