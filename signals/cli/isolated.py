"""`greensplit isolated`: cycle and splits of any number of isolated intersections, from a table."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from signals.cli.app import app
from signals.cli.console import Json, console, print_json, progress_bars, require_place
from signals.errors import InfeasiblePlan, InputError
from signals.model.plan import Objective

if TYPE_CHECKING:
    from signals.timing.isolated import IsolatedPlan, IsolatedRequest

MOST_ROWS = 24
MOST_REASONS = 8
UNITS = {Objective.DELAY: "s/veh", Objective.STOPS: "1/veh", Objective.INDEX: "s/veh"}


@app.command()
def isolated(
    table: Annotated[
        Path,
        typer.Argument(
            help="CSV, one row a phase: intersection, phase, flow_vph, saturation_flow_vph, min_green_s, "
            "max_green_s, clearance_s; and left_turn (protected or protected-permitted) and scenario, if wanted."
        ),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="CSV to write the plans to.")],
    objective: Annotated[
        Objective, typer.Option(help="Make delay, stops, or an index of both as small as can be.")
    ] = Objective.DELAY,
    stop_weight: Annotated[
        float, typer.Option(help="Seconds of delay that a stop is worth in the index, 0 to 600.")
    ] = 20.0,
    min_cycle: Annotated[int, typer.Option(help="Shortest cycle, s.")] = 60,
    max_cycle: Annotated[int, typer.Option(help="Longest cycle, s.")] = 180,
    cvar: Annotated[
        float | None,
        typer.Option(
            help="Make the mean over the worst scenarios small, those beyond this share: 0.8 for the worst fifth."
        ),
    ] = None,
    threads: Annotated[
        int | None, typer.Option(min=1, max=256, help="Threads; by default as many as there are cores.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Find the best cycle and splits of isolated intersections, each proven: phases 1 to 8 in two rings.

    Left turns go with their arrow alone, or through gaps afterwards as well where the table says so. Every cycle is
    tried, and for each the best whole seconds of split are found exactly, not searched for. An intersection that
    fits no cycle is named, with the reason; the others are written all the same.
    """
    from signals.formats.files import write_whole
    from signals.timing.isolated import plan_all, why_no_cycle
    from signals.timing.isolated_files import plans_text, read_intersections

    request = _request(objective, stop_weight, min_cycle, max_cycle, cvar)
    require_place(output, "the plans", {table.resolve()})
    with progress_bars(as_json) as progress:
        progress("reading", 0, 1)
        intersections = read_intersections(table)
        progress("reading", 1, 1)
        if cvar is not None and max(len(one.probability) for one in intersections) == 1:
            raise InputError(f"{table}: --cvar weighs scenarios, and there is one; add a column scenario")
        found = plan_all(
            intersections,
            request,
            threads=threads or len(os.sched_getaffinity(0)),
            on_progress=lambda done, of: progress("planning", done, of),
        )
    plans = [plan for plan in found if plan is not None]
    unplanned = {
        one.name: why_no_cycle(one, request)
        for one, plan in zip(intersections, found, strict=True)
        if plan is None
    }
    if plans:
        write_whole(output, plans_text(plans))
    if as_json:
        print_json(_facts(plans, unplanned, request, output))
    else:
        _show(plans, request, output)
    if unplanned:
        reasons = list(unplanned.values())
        more = f"\n  … and {len(reasons) - MOST_REASONS} more" if len(reasons) > MOST_REASONS else ""
        raise InfeasiblePlan(
            f"{len(unplanned)} of {len(intersections)} intersections fit no cycle:\n  "
            + "\n  ".join(reasons[:MOST_REASONS])
            + more
        )


def _request(
    objective: Objective, stop_weight: float, min_cycle: int, max_cycle: int, cvar: float | None
) -> IsolatedRequest:
    from signals.timing.isolated import IsolatedRequest

    for name, value in (("--stop-weight", stop_weight), ("--cvar", cvar or 0.0)):
        if not math.isfinite(value):
            raise InputError(f"{name} {value}: give a number")
    try:
        return IsolatedRequest(objective, stop_weight, min_cycle, max_cycle, cvar_alpha=cvar)
    except ValueError as error:
        raise InputError(f"{error}; see --min-cycle, --max-cycle, --stop-weight and --cvar") from None


def _show(plans: Sequence[IsolatedPlan], request: IsolatedRequest, output: Path) -> None:
    """A line an intersection, the worst delay first."""
    if not plans:
        return
    from signals.tables.style import add_columns, add_names, new_table, short_names

    worst = sorted(plans, key=lambda plan: (-plan.delay_s, plan.name))[:MOST_ROWS]
    names = short_names(plan.name for plan in worst)
    shown = new_table("Isolated intersections")
    add_names(shown, "intersection", names.values())
    own = []
    if request.cvar_alpha is not None or request.objective is Objective.INDEX:
        what = "index" if request.cvar_alpha is None else f"worst {1 - request.cvar_alpha:.0%}"
        own = [f"{what}\n{UNITS[request.objective]}"]
    columns = ("cycle\ns", "worst\nv/c", "delay\ns/veh", "stops\n1/veh", *own)
    add_columns(shown, *columns, "LOS", "10 s\nless", "10 s\nmore", right=True)
    for plan in worst:
        shown.add_row(
            names[plan.name],
            str(plan.cycle_s),
            f"{max(timing.vc_ratio for timing in plan.phases):.2f}",
            f"{plan.delay_s:.1f}",
            f"{plan.stops:.2f}",
            *([f"{plan.value:.2f}"] if own else []),
            plan.level_of_service,
            *(_beside(plan, seconds) for seconds in (-10, 10)),
        )
    to = console()
    to.print(shown)
    if len(plans) > MOST_ROWS:
        to.print(f"… and {len(plans) - MOST_ROWS} with less delay")
    proven = sum(plan.proven for plan in plans)
    to.print(f"{len(plans)} plans written to {output}; {proven} proven best of all cycles and splits")


def _beside(plan: IsolatedPlan, seconds: int) -> str:
    """How much worse the best plan of a cycle some seconds away is."""
    at = plan.cycle_s - plan.first_cycle_s + seconds
    if not 0 <= at < len(plan.curve) or not math.isfinite(plan.curve[at]) or plan.value <= 0:
        return ""
    return f"{100 * (plan.curve[at] / plan.value - 1):+.1f} %"


def _facts(
    plans: Sequence[IsolatedPlan], unplanned: dict[str, str], request: IsolatedRequest, output: Path
) -> dict[str, Any]:
    return {
        "output": str(output) if plans else None,
        "objective": request.objective.value,
        "unit": UNITS[request.objective],
        "cvar_alpha": request.cvar_alpha,
        "plans": [
            {
                "intersection": plan.name,
                "cycle_s": plan.cycle_s,
                "value": round(plan.value, 6),
                "proven": plan.proven,
                "delay_s": round(plan.delay_s, 6),
                "stops": round(plan.stops, 6),
                "level_of_service": plan.level_of_service,
                "phases": [
                    {
                        "phase": timing.number,
                        "split_s": timing.split_s,
                        "green_s": timing.green_s,
                        "vc_ratio": round(timing.vc_ratio, 6),
                        "delay_s": round(timing.delay_s, 6),
                        "stops": round(timing.stops, 6),
                        "level_of_service": timing.level_of_service,
                    }
                    for timing in plan.phases
                ],
                "curve": {
                    "first_cycle_s": plan.first_cycle_s,
                    "values": [round(v, 6) if math.isfinite(v) else None for v in plan.curve],
                },
            }
            for plan in plans
        ],
        "unplanned": unplanned,
    }
