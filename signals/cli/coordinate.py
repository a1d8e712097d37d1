"""The command that sets offsets alone: every cycle and every split stays as it is in the field."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from signals.cli.app import app
from signals.cli.console import Json, console, print_json, progress_bars, require_place
from signals.cli.plans import Additional, Begin, Config, End, Net, Routes, scenario_from
from signals.errors import InfeasiblePlan, InputError
from signals.model.plan import MOST_STOP_WEIGHT_S, PlanRequest, TimingPlan

if TYPE_CHECKING:
    from signals.model.phasing import SignalProgram
    from signals.planning import Case
    from signals.timing.coordination import Coordinated

DEFAULT_STOP_WEIGHT_S = 5.0
NAMED = 4
"""As many signals of a set as its line in the table names."""


@app.command()
def coordinate(
    output: Annotated[
        Path, typer.Option("-o", "--output", help="Plan file to write, a SUMO additional file.")
    ],
    config: Config = None,
    net: Net = None,
    routes: Routes = None,
    additional: Additional = None,
    begin: Begin = None,
    end: End = None,
    stop_weight: Annotated[
        float, typer.Option(help="Seconds of delay that a stop is worth, 0 to 600.")
    ] = DEFAULT_STOP_WEIGHT_S,
    as_json: Json = False,
) -> None:
    """Set the offsets of all signals, nothing else, and say how far from the best they can be at most.

    The file loads with `sumo -c CONFIG -a PLANS`. Mind that -a REPLACES the additional files of the .sumocfg:
    list those first, separated by commas.
    """
    from signals.formats.sumo.programs import write_plans
    from signals.planning import read_case
    from signals.planning.sets import with_offsets
    from signals.safety.check import require_safe
    from signals.timing.coordination import coordinate as set_offsets

    if not 0.0 <= stop_weight <= MOST_STOP_WEIGHT_S:
        raise InputError(f"--stop-weight: {stop_weight:g} s; a stop is worth 0 to {MOST_STOP_WEIGHT_S:g} s")
    scenario = scenario_from(config, net, routes, additional, begin, end)
    require_place(output, "the plans", scenario.files)
    with progress_bars(as_json) as progress:
        progress("reading network and demand", 0, 1)
        case = read_case(scenario)
        progress("reading network and demand", 1, 1)
        programs, unplanned = movable(case)
        if not programs:
            raise InfeasiblePlan("no signal's offset can be set:\n  " + "\n  ".join(unplanned.values()))
        sets = set_offsets(
            case.network,
            programs,
            case.counts,
            stop_weight_s=stop_weight,
            on_progress=lambda done, of: progress("setting offsets", done, of),
        )
    found = {signal: offset_s for done in sets for signal, offset_s in done.offsets_s.items()}
    offsets_s = {s: found.get(s, program.offset_s) for s, program in programs.items()}
    plans = with_offsets(case, offsets_s, unplanned)
    require_safe(case.network, plans, PlanRequest())
    write_plans(plans, output)
    if as_json:
        print_json({"output": str(output), "plan": plans.digest, **coordination_facts(sets, unplanned)})
        return
    _show(sets, unplanned)
    console().print(f"plan {plans.digest} written to {output}")


def movable(case: Case) -> tuple[dict[str, SignalProgram], dict[str, str]]:
    """Programs whose offset can be set, and the reason for each signal whose can't."""
    from signals.safety.check import check_plan

    programs: dict[str, SignalProgram] = {}
    reasons: dict[str, str] = {}
    for signal, intersection in case.network.intersections.items():
        program = intersection.program
        if program is None or not program.intervals:
            reasons[signal] = f"signal {signal}: has no program; give it one first"
            continue
        if program.kind != "static":
            reasons[signal] = (
                f"signal {signal}: its program is {program.kind}, whose greens have no fixed place in a cycle; "
                "give it a static program to have it coordinated"
            )
            continue
        shown = replace(program, offset_s=program.offset_s % program.cycle_s)
        findings = check_plan(
            intersection, TimingPlan(shown), PlanRequest(), connections=case.network.connections
        )
        if findings:
            reasons[signal] = f"signal {signal}: the program in place isn't safe: {findings[0].message}"
            continue
        programs[signal] = shown
    return programs, reasons


def coordination_facts(sets: Sequence[Coordinated], unplanned: dict[str, str]) -> dict[str, Any]:
    """What was set and what that is worth, as JSON-able data; costs are vehicles waiting, stops included."""
    return {
        "sets": [
            {
                "cycle_s": done.period_s,
                "offsets_s": dict(done.offsets_s),
                "tables": {
                    "before": round(done.table_given, 4),
                    "after": round(done.table_found, 4),
                    "bound": round(done.bound, 4),
                    "gap": round(done.gap, 6),
                },
                "street": {
                    "before": round(done.given, 4),
                    "after_tables": round(done.found, 4),
                    "after": round(done.climbed, 4),
                },
                "keeps_offsets_in_place": done.keeps_given,
            }
            for done in sets
        ],
        "unplanned": dict(sorted(unplanned.items())),
    }


def _show(sets: Sequence[Coordinated], unplanned: dict[str, str]) -> None:
    from signals.tables.style import add_columns, new_table, short

    shown = console()
    table = new_table("Sets of signals with a common cycle; vehicles waiting, stops included")
    add_columns(table, "signals")
    add_columns(table, "\nnumber", "cycle\ns", "tables\nbefore", "\nafter", "\nbound", "\ngap", right=True)
    add_columns(table, "street\nbefore", "\ntables'", "\nafter", right=True)
    for done in sets:
        names = [short(s, 12) for s in done.offsets_s]
        table.add_row(
            " ".join(names[:NAMED]) + (" …" if len(names) > NAMED else ""),
            str(len(names)),
            f"{done.period_s:g}",
            *(f"{x:.2f}" for x in (done.table_given, done.table_found, done.bound)),
            f"{100.0 * done.gap:.2f} %",
            *(f"{x:.2f}" for x in (done.given, done.found, done.climbed)),
        )
    shown.print(table)
    for done in sets:
        if done.keeps_given:
            shown.print(f"{next(iter(done.offsets_s))} …: the model finds nothing better; offsets stay")
    if not sets:
        shown.print("No two signals with a common cycle are near enough to be set against each other.")
    for signal, reason in sorted(unplanned.items()):
        shown.print(
            f"{short(signal)}: no plan, its program stays. {reason.removeprefix(f'signal {signal}: ')}"
        )
