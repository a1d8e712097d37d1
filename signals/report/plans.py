"""What a plan says of itself: the facts as plain data, and a folder with tables and diagrams to read."""

from __future__ import annotations

import html
import json
import math
from pathlib import Path
from typing import Any

from signals.errors import InputError
from signals.formats.files import write_whole
from signals.inspection import mean_flows_vph, measure_in_place, movement_name, typical_vehicle
from signals.model.plan import Objective, TimingPlan
from signals.planning import Planned
from signals.timing.lane_groups import IntersectionMeasures, measure_program


def planned_facts(planned: Planned, kept_stages: Planned | None) -> dict[str, Any]:
    """A plan set with its evidence as JSON-able data; `kept_stages` is the figure with every stage kept."""
    case = planned.case
    for_delay = planned.request.objective is Objective.DELAY
    facts: dict[str, Any] = {
        "scenario": case.scenario.name,
        "plan": planned.plans.digest,
        "version": planned.plans.version,
        "seed": planned.plans.seed,
        "inputs_sha256": planned.plans.inputs_hash,
        "stages": planned.request.stages.value,
        "clearance": planned.request.clearance.value,
        "controllers": planned.request.controllers.value,
        "objective": planned.request.objective.value,
        "stop_weight_s": planned.request.stop_weight_s,
        "retimed": list(planned.request.signals),
        "vehicles": len(case.demand.vehicles),
        "model_runs": planned.model_runs,
        "sumo_runs": planned.sumo_runs,
        "chosen": planned.chosen,
        "keeps_plan_in_place": planned.kept,
        "race": [
            {
                "name": r.name,
                "modelled": _known(r.modelled, 2),
                "modelled_delay_s": _known(r.modelled, 2) if for_delay else None,
                "mean_delay_s": _known(r.mean_s, 2),
                "delay_by_seed_s": [round(d, 2) for d in r.delays_s],
                "mean_stops": _known(r.mean_stops, 3),
                "stops_by_seed": [round(n, 3) for n in r.stops],
                "teleports": r.teleports,
                "emergency_stops": r.emergency_stops,
            }
            for r in planned.race
        ],
        "periods": len(planned.plans.periods),
        "switch_times_s": {s: list(t) for s, t in sorted(planned.plans.switch_times.items())},
        "signals": [
            _signal_facts(planned, signal, period)
            for period in range(len(planned.plans.periods))
            for signal in sorted(planned.plans.periods[period])
        ],
        "unplanned": dict(sorted(planned.plans.unplanned.items())),
        "remarks": list(case.demand.remarks),
    }
    if kept_stages is not None:
        best = next(r for r in kept_stages.race if r.name == kept_stages.chosen)
        facts["with_every_stage_kept_s"] = _known(best.mean_s, 2)
    return facts


def _known(figure: float, digits: int) -> float | None:
    """A figure rounded; None where there is none: the search knows no schedule, and SUMO may not have been asked."""
    return None if math.isnan(figure) else round(figure, digits)


def measure_plan(planned: Planned, plan: TimingPlan) -> IntersectionMeasures:
    """HCM measures of a signal's plan under the window's mean demand."""
    case = planned.case
    return measure_program(
        case.network,
        case.network.intersections[plan.intersection],
        plan.program,
        mean_flows_vph(case, plan.intersection),
        vehicle=typical_vehicle(case),
    )


def _signal_facts(planned: Planned, signal: str, period: int) -> dict[str, Any]:
    plan = planned.plans.periods[period][signal]
    network = planned.case.network
    intersection = network.intersections[signal]
    before = measure_in_place(planned.case, signal)
    after = measure_plan(planned, plan)
    return {
        "id": signal,
        "period": period,
        "cycle_s": plan.program.cycle_s,
        "offset_s": plan.program.offset_s,
        "intervals": [[i.duration_s, i.state] for i in plan.program.intervals],
        "omitted": [
            {
                "state": o.state,
                "becomes_permitted": [movement_name(network, intersection, m) for m in o.becomes_permitted],
            }
            for o in plan.omitted
        ],
        "vc_before": round(before.worst_vc, 3) if before else None,
        "vc_after": round(after.worst_vc, 3),
        "hcm_delay_before_s": round(before.whole.control_delay_s, 1) if before else None,
        "hcm_delay_after_s": round(after.whole.control_delay_s, 1),
        "los_after": after.whole.level_of_service,
        "lanes": [
            {
                "approach": lane.approach,
                "lane": lane.lane,
                "flow_vph": round(lane.flow_vph, 1),
                "saturation_vph": round(lane.saturation_vph),
                "capacity_vph": round(m.capacity_vph),
                "vc": round(m.vc_ratio, 3),
                "uniform_s": round(m.uniform_s, 1),
                "incremental_s": round(m.incremental_s, 1),
                "delay_s": round(m.control_delay_s, 1),
                "back_of_queue_veh": round(m.back_of_queue_veh, 1),
                "los": m.level_of_service,
            }
            for lane, m in after.lanes
        ],
    }


def write_report(planned: Planned, kept_stages: Planned | None, folder: Path) -> None:
    """A folder with plan.json, index.html and the diagrams of every signal and corridor.

    Raises
    ------
    InputError
        Where the folder can't be made or written to.
    """
    from signals.diagrams.album import draw_all
    from signals.timing.corridors import find_corridors

    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{folder}: can't be made: {error.strerror}") from None
    case = planned.case
    facts = planned_facts(planned, kept_stages)
    write_whole(folder / "plan.json", json.dumps(facts, indent=1, ensure_ascii=False, allow_nan=False) + "\n")
    programs = {s: p.program for s, p in planned.plans.periods[0].items()}
    draw_all(case.network, find_corridors(case.network, case.counts), programs, folder / "diagrams")
    write_whole(folder / "index.html", _page(facts))


def _page(facts: dict[str, Any]) -> str:
    def row(cells: list[Any], tag: str = "td") -> str:
        return "<tr>" + "".join(f"<{tag}>{html.escape(str(c))}</{tag}>" for c in cells) + "</tr>"

    race = "".join(
        row(
            [r[k] for k in ("name", "modelled", "mean_delay_s", "delay_by_seed_s", "mean_stops", "teleports")]
        )
        for r in facts["race"]
    )
    signals = "".join(
        row(
            [
                s["id"],
                s["period"] + 1,
                f"{s['cycle_s']:g}",
                f"{s['offset_s']:g}",
                " ".join(f"{d:g}" for d, _ in s["intervals"]),
                s["vc_before"],
                s["vc_after"],
                s["hcm_delay_before_s"],
                s["hcm_delay_after_s"],
                s["los_after"],
                "; ".join(", ".join(o["becomes_permitted"]) or o["state"] for o in s["omitted"]),
            ]
        )
        for s in facts["signals"]
    )
    raced = [
        "plan",
        f"modelled {facts['objective']}",
        "mean delay, s/veh",
        "by seed",
        "stops/veh",
        "teleports",
    ]
    unplanned = "".join(row([k, v]) for k, v in facts["unplanned"].items())
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Greensplit: {html.escape(facts["scenario"])}</title>
<style>body{{font:15px/1.45 system-ui,sans-serif;margin:2em auto;max-width:75em;padding:0 1em}}
table{{border-collapse:collapse;margin:1em 0}}td,th{{border:1px solid #bbb;padding:.25em .6em;text-align:left}}
th{{background:#eee}}</style></head><body>
<h1>{html.escape(facts["scenario"])}: plan {facts["plan"]}</h1>
<p>Chosen: <b>{html.escape(facts["chosen"])}</b>. Stages: {facts["stages"]}; clearances: {facts["clearance"]};
objective: {facts["objective"]}; seed {facts["seed"]}; Greensplit {facts["version"]}.
<a href="diagrams/index.html">Diagrams</a>, <a href="plan.json">all figures</a>.</p>
<h2>Raced in SUMO</h2><table>
{row(raced, "th")}{race}</table>
<h2>Signals</h2><table>
{
        row(
            [
                "signal",
                "period",
                "cycle, s",
                "offset, s",
                "intervals, s",
                "v/c before",
                "v/c after",
                "HCM delay before, s",
                "after, s",
                "LOS",
                "left out: permitted from now on",
            ],
            "th",
        )
    }{signals}</table>
<h2>Without a plan</h2><table>{row(["signal", "reason"], "th")}{unplanned}</table>
</body></html>
"""
