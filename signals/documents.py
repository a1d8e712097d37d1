"""A plan set as documents to file, print and load: facts, SUMO file, timing sheet, HCM report, diagrams.

Nothing is written anywhere: each document is a name and its bytes. The same plan set gives the same bytes, so
that a document may be made again instead of kept.
"""

from __future__ import annotations

import csv
import html
import json
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from io import StringIO
from typing import Any

from signals.diagrams.album import corridor_sheets
from signals.diagrams.sheet import printable
from signals.errors import InfeasiblePlan
from signals.formats.sumo.programs import plans_text
from signals.inspection import measure_in_place, movement_name
from signals.model.network import Crossing, Intersection, Network
from signals.model.phasing import GREEN, Interval, SignalProgram, StagePlan
from signals.model.plan import ClearancePolicy, PlanRequest, TimingPlan
from signals.planning import Planned
from signals.report.plans import measure_plan, planned_facts
from signals.timing.lane_groups import IntersectionMeasures
from signals.timing.measures import DelayMeasures
from signals.timing.stages import stage_plan

REFERENCE_POINT = "start of green of stage 1"
"""What the offsets of sheet and stages refer to, on the simulation's clock modulo the cycle."""
YELLOW = frozenset("yY")
FORMULA_STARTS = "=+-@"
"""A spreadsheet takes a cell that begins so for a formula, whoever wrote it."""


@dataclass(frozen=True, slots=True)
class Document:
    """A file to hand out: what it is, its name, its media type, and its bytes."""

    kind: str
    name: str
    media_type: str
    content: bytes


@dataclass(frozen=True, slots=True)
class StageTiming:
    """One stage of a signal's plan as a controller's timing sheet has it.

    `yellow_s` and `all_red_s` make up the change to the next stage: as long as any link shows yellow, and the
    rest of it; with `green_s` they sum up to the cycle over the stages. `min_green_s` is the least that the
    plan had to keep. `pedestrian_green_s` is how long the crossings of this stage are shown green without a
    break, in neighbouring stages and changes too, the shortest of them; `pedestrian_clearance_s` is how long
    the longest of them takes to walk. None of them where no crossing is green.
    """

    number: int
    protected: tuple[str, ...]
    permitted: tuple[str, ...]
    green_s: float
    yellow_s: float
    all_red_s: float
    min_green_s: float
    pedestrian_green_s: float | None
    pedestrian_clearance_s: float | None


@dataclass(frozen=True, slots=True)
class SignalTiming:
    """The timing of one signal in one period, counted from 0; `from_s` and `to_s` only where there are several.

    `left_out` says of each stage of the field that the plan does without which movements become permitted.
    """

    signal: str
    period: int
    from_s: float | None
    to_s: float | None
    cycle_s: float
    offset_s: float
    stages: tuple[StageTiming, ...]
    left_out: tuple[str, ...]


def plan_documents(planned: Planned, kept_stages: Planned | None = None) -> tuple[Document, ...]:
    """Everything that an engineer files of a plan set: facts, SUMO file, timing sheet, HCM report, diagrams.

    Kinds are plan, sumo, sheet, hcm, and time-space, one of the last for each corridor that can be drawn.
    `kept_stages` is the plan set with every stage kept, where this one leaves stages out.
    """
    timings = signal_timings(planned)
    return (
        Document("plan", "plan.json", "application/json", _facts(planned, kept_stages, timings)),
        Document("sumo", "plans.add.xml", "application/xml", plans_text(planned.plans).encode()),
        Document("sheet", "timing-sheet.csv", "text/csv", _sheet(timings)),
        Document("hcm", "hcm.html", "text/html", _hcm_page(planned).encode()),
        *_time_space(planned),
    )


# -------------------------------------------------------------------------------------------------- stages


def signal_timings(planned: Planned) -> tuple[SignalTiming, ...]:
    """The stages of every signal and period, in the order of signals and then periods."""
    plans = planned.plans
    demand = planned.case.demand
    rows = []
    for signal in sorted(plans.periods[0]):
        edges = [demand.begin_s, *plans.switch_times.get(signal, ()), demand.end_s]
        for period, row in enumerate(plans.periods):
            several = len(plans.periods) > 1
            rows.append(
                _signal_timing(
                    planned.case.network,
                    planned.request,
                    row[signal],
                    period,
                    edges[period] if several else None,
                    edges[period + 1] if several else None,
                )
            )
    return tuple(rows)


def _signal_timing(
    network: Network,
    request: PlanRequest,
    plan: TimingPlan,
    period: int,
    from_s: float | None,
    to_s: float | None,
) -> SignalTiming:
    intersection = network.intersections[plan.intersection]
    field = stage_plan(intersection, request, network.connections)
    shown = _as_stages(intersection, request, field, plan.program)
    least = {s.state: s.min_s for s in field.stages}
    stages = []
    for number, (stage, change) in enumerate(zip(shown.stages, shown.changes, strict=True), start=1):
        yellow_s = sum(i.duration_s for i in change if any(c in YELLOW for c in i.state))
        walkers = [c for c in intersection.crossings if stage.state[c.link] in GREEN]
        stages.append(
            StageTiming(
                number,
                _movements(network, intersection, stage.protected),
                _movements(network, intersection, stage.permitted - stage.protected),
                round(stage.duration_s, 3),
                round(yellow_s, 3),
                round(sum(i.duration_s for i in change) - yellow_s, 3),
                least.get(stage.state, stage.min_s),
                min((_green_s(shown, number - 1, c) for c in walkers), default=None),
                _walking_s(walkers, request.walking_speed_mps),
            )
        )
    return SignalTiming(
        plan.intersection,
        period,
        from_s,
        to_s,
        round(shown.cycle_s, 3),
        round(shown.offset_s % shown.cycle_s, 3),
        tuple(stages),
        tuple(
            o.state
            + (
                " (permitted from now on: "
                + " ".join(_short(movement_name(network, intersection, m)) for m in o.becomes_permitted)
                + ")"
                if o.becomes_permitted
                else ""
            )
            for o in plan.omitted
        ),
    )


def _as_stages(
    intersection: Intersection, request: PlanRequest, field: StagePlan, program: SignalProgram
) -> StagePlan:
    """A program as stages: the field's own as the field has them, a plan's by the field's states."""
    own = intersection.program
    if own is not None and program.intervals == own.intervals:
        return stage_plan(
            replace(intersection, program=program), replace(request, clearance=ClearancePolicy.KEEP)
        )
    by_state = {s.state: s for s in field.stages}
    intervals = program.intervals
    starts = {0}
    for state, times in Counter(s.state for s in field.stages).items():
        # a change may pass through the state of another stage: interval 0 is a stage, the others are the longest
        same = [k for k, i in enumerate(intervals) if i.state == state]
        starts.update(sorted(same, key=lambda k: (k > 0, -intervals[k].duration_s, k))[:times])
    order = sorted(starts)
    changes: list[tuple[Interval, ...]] = [
        intervals[a + 1 : b] for a, b in zip(order, [*order[1:], len(intervals)], strict=True)
    ]
    stages = []
    for k in order:
        known = by_state.get(intervals[k].state)
        if known is None:
            raise InfeasiblePlan(
                f"signal {program.intersection}: the plan begins with {intervals[k].state}, which is no stage "
                "of the program in place; was it made for another network?"
            )
        stages.append(replace(known, duration_s=intervals[k].duration_s))
    return StagePlan(program.intersection, tuple(stages), tuple(changes), program.offset_s)


def _green_s(plan: StagePlan, number: int, crossing: Crossing) -> float:
    """How long a crossing is shown green without a break, around the given stage."""
    parts: list[Interval] = []
    start = 0
    for k, (stage, change) in enumerate(zip(plan.stages, plan.changes, strict=True)):
        if k == number:
            start = len(parts)
        parts += [Interval(stage.duration_s, stage.state), *change]
    green = [i.state[crossing.link] in GREEN for i in parts]
    run = {start}
    for step in (1, -1):
        k = (start + step) % len(parts)
        while green[k] and k not in run:
            run.add(k)
            k = (k + step) % len(parts)
    return round(sum(parts[k].duration_s for k in sorted(run)), 3)


def _walking_s(crossings: Sequence[Crossing], speed_mps: float) -> float | None:
    if not crossings:
        return None
    return math.ceil(10 * max(c.length_m for c in crossings) / speed_mps - 1e-9) / 10


def _movements(network: Network, intersection: Intersection, links: frozenset[int]) -> tuple[str, ...]:
    names = {
        movement_name(network, intersection, m.id) for m in intersection.movements if set(m.links) & links
    }
    return tuple(sorted(_short(name) for name in names))


def _short(movement: str) -> str:
    """A movement in one word, as timing sheets have it: EBT."""
    return movement.replace(" ", "")


# ----------------------------------------------------------------------------------------- plan and sheet


def _facts(planned: Planned, kept_stages: Planned | None, timings: Iterable[SignalTiming]) -> bytes:
    facts: dict[str, Any] = {
        **planned_facts(planned, kept_stages),
        "reference_point": REFERENCE_POINT,
        "timings": [asdict(t) for t in timings],
    }
    text = json.dumps(facts, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False)
    return (text + "\n").encode()


SHEET_COLUMNS = (
    *("signal", "period", "from_s", "to_s", "cycle_s", "offset_s", "stage", "protected", "permitted"),
    *("green_s", "yellow_s", "all_red_s", "min_green_s", "pedestrian_green_s", "pedestrian_clearance_s"),
    "stages_left_out",
)


def _sheet(timings: Iterable[SignalTiming]) -> bytes:
    """The timing sheet: a row for each signal, period and stage; what is left out stands beside stage 1."""
    text = StringIO()
    sheet = csv.writer(text)
    sheet.writerow(SHEET_COLUMNS)
    for t in timings:
        for s in t.stages:
            sheet.writerow(
                [
                    _cell(t.signal),
                    t.period + 1,
                    *(_figure(x) for x in (t.from_s, t.to_s, t.cycle_s, t.offset_s)),
                    s.number,
                    _cell(" ".join(s.protected)),
                    _cell(" ".join(s.permitted)),
                    *(_figure(x) for x in (s.green_s, s.yellow_s, s.all_red_s, s.min_green_s)),
                    _figure(s.pedestrian_green_s),
                    _figure(s.pedestrian_clearance_s),
                    _cell("; ".join(t.left_out) if s.number == 1 else ""),
                ]
            )
    return text.getvalue().encode()


def _cell(text: str) -> str:
    """Text that no spreadsheet takes for a formula: an apostrophe goes before what looks like one."""
    return f"'{text}" if text and (text[0] in FORMULA_STARTS or not text[0].isprintable()) else text


def _figure(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}".rstrip("0").rstrip(".")


# ---------------------------------------------------------------------------------------------------- HCM

_SOURCES = """Highway Capacity Manual, 7th edition, chapter 19 and its supplements in chapter 31: capacity s·g/C
by Eq. 19-16; control delay d = d1 + d2 by Eq. 19-18, uniform delay d1 by Eq. 19-19; 50th-percentile
back of queue by Eqs. 31-137 to 31-141; approach and intersection delay by Eqs. 19-28 and 19-29;
level of service by Exhibit 19-8 (F whenever v/c exceeds 1); permitted left turns by Eq. 31-100.
Arrivals are taken as random, queues as empty at the start, the analysis period is a quarter of an
hour."""
_STYLE = """body{font:14px/1.4 system-ui,sans-serif;margin:2em auto;max-width:70em;padding:0 1em}
table{border-collapse:collapse;margin:.6em 0 1.4em}
td,th{border:1px solid #bbb;padding:.2em .55em;text-align:right;overflow-wrap:anywhere}
td:first-child,th:first-child{text-align:left}th{background:#eee}tfoot td{font-weight:bold}
caption{text-align:left;font-weight:bold;padding:.2em 0}
@media print{body{font-size:9pt;margin:0;max-width:none;padding:0}section{break-inside:avoid}
thead{display:table-header-group}th{background:none}}"""
_HCM_COLUMNS = (
    *(
        "approach and lane",
        "flow, veh/h",
        "saturation flow, veh/h",
        "capacity, veh/h",
        "v/c",
        "uniform d1, s",
    ),
    *("incremental d2, s", "control delay, s", "back of queue, veh", "LOS"),
)


def _hcm_page(planned: Planned) -> str:
    plans = planned.plans
    several = len(plans.periods) > 1
    parts = []
    for signal in sorted(plans.periods[0]):
        bounds = {a.edge: a.bound for a in planned.case.network.intersections[signal].approaches}
        parts.append(f"<section>\n<h2>Signal {_text(signal)}</h2>")
        before = measure_in_place(planned.case, signal)
        if before is None:
            parts.append("<p>The program in place can't be measured.</p>")
        else:
            parts.append(_hcm_table("before: the program in place", before, bounds))
        for period, row in enumerate(plans.periods, start=1):
            which = f", period {period}" if several else ""
            parts.append(_hcm_table(f"after: the plan{which}", measure_plan(planned, row[signal]), bounds))
        parts.append("</section>")
    name = planned.case.scenario.name
    body = "\n".join(parts)
    return f"""<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"/><title>HCM report: {_text(name)}</title>
<style>{_STYLE}</style></head><body>
<h1>{_text(name)}: HCM report of plan {_text(plans.digest)}</h1>
<p>Before and after, under the mean demand of the whole window from {planned.case.demand.begin_s:g} to
{planned.case.demand.end_s:g} s. A lane group is one lane here. Delays in seconds a vehicle.
Greensplit {_text(plans.version)}.</p>
<p>{html.escape(_SOURCES)}</p>
{body}
</body></html>
"""


def _hcm_table(title: str, measured: IntersectionMeasures, bounds: Mapping[str, str]) -> str:
    groups = [
        [
            f"{bounds.get(lane.approach, '?')} {lane.approach}, lane {lane.lane}",
            f"{lane.flow_vph:.0f}",
            f"{lane.saturation_vph:.0f}",
            f"{m.capacity_vph:.0f}",
            f"{m.vc_ratio:.2f}",
            f"{m.uniform_s:.1f}",
            f"{m.incremental_s:.1f}",
            f"{m.control_delay_s:.1f}",
            f"{m.back_of_queue_veh:.1f}",
            m.level_of_service,
        ]
        for lane, m in measured.lanes
    ]
    totals = [
        _total(f"approach {bounds.get(edge, '?')} {edge}", whole)
        for edge, whole in sorted(measured.approaches.items())
    ]
    totals.append(_total("intersection", measured.whole))
    head = _rows([_HCM_COLUMNS], "th")
    return (
        f"<table><caption>{_text(title)}</caption>\n<thead>{head}</thead>\n<tbody>{_rows(groups)}</tbody>\n"
        f"<tfoot>{_rows(totals)}</tfoot></table>"
    )


def _total(name: str, whole: DelayMeasures) -> list[str]:
    blank = [""] * 5
    return [
        name,
        f"{whole.volume_vph:.0f}",
        *blank,
        f"{whole.control_delay_s:.1f}",
        "",
        whole.level_of_service,
    ]


def _rows(rows: Iterable[Sequence[str]], tag: str = "td") -> str:
    return "\n".join(
        "<tr>" + "".join(f"<{tag}>{_text(cell)}</{tag}>" for cell in row) + "</tr>" for row in rows
    )


def _text(text: str) -> str:
    return html.escape(printable(text))


# ----------------------------------------------------------------------------------------------- diagrams


def _time_space(planned: Planned) -> Iterable[Document]:
    """A diagram of each corridor with the plan of the first period, and in place what has none."""
    # corridors come with the kernels, which are slow to load
    from signals.timing.corridors import find_corridors

    case = planned.case
    programs = {s: p.program for s, p in planned.plans.periods[0].items()}
    corridors = find_corridors(case.network, case.counts)
    periods = len(planned.plans.periods)
    subtitle = f"plan, period 1 of {periods}" if periods > 1 else "plan"
    for name, sheet in corridor_sheets(case.network, corridors, programs, subtitle):
        yield Document("time-space", f"{name}.svg", "image/svg+xml", sheet.svg())
