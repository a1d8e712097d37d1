"""The command that runs a scenario with the loop around it: counted, forecast and retimed every quarter hour."""

from __future__ import annotations

import math
import re
import tempfile
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from signals.cli.app import app
from signals.cli.console import Json, console, print_json, progress_bars, require_folder
from signals.cli.plans import Additional, Begin, Config, End, Net, Routes, scenario_from
from signals.errors import InputError
from signals.model.plan import PlanRequest

if TYPE_CHECKING:
    from signals.formats.sumo.config import Scenario
    from signals.operation import Operated, OperateSettings, Slot
    from signals.simulation.outputs import RunResult

SEED = 101
MEASURES = {
    "mean_speed_mps": ("mean speed, m/s", 2),
    "congestion_index": ("congestion index", 3),
    "mean_delay_s": ("delay, s/veh", 1),
    "stops_per_vehicle": ("stops a vehicle", 2),
    "throughput_vph": ("throughput, veh/h", 0),
    "unfinished": ("unfinished", 0),
    "never_inserted": ("never inserted", 0),
    "teleports": ("teleports", 0),
}
OWN_DEMAND = (
    "without --typical the scenario's own demand is known as the typical day, so the forecast errs less and the loop "
    "gains more than on a day that nobody has seen"
)
POLICIES = ("max-cycle", "min-cycle", "min-green")
_TIMES = r"@([0-9.]+)-([0-9.]+)$"
_INCIDENT = re.compile(r"^(.+)" + _TIMES)
_SURGE = re.compile(r"^(.+)\*([0-9.]+)" + _TIMES)


class Street(StrEnum):
    """What stands at the signals."""

    DIRECT = "direct"
    VIRTUAL = "virtual"


@app.command()
def operate(
    config: Config = None,
    net: Net = None,
    routes: Routes = None,
    additional: Additional = None,
    begin: Begin = None,
    end: End = None,
    seed: Annotated[int, typer.Option(min=0, help="SUMO's seed of the day.")] = SEED,
    plan: Annotated[
        Path | None, typer.Option("--plan", help="Plan file to begin with; the plan in place by default.")
    ] = None,
    typical: Annotated[
        Path | None,
        typer.Option(
            help="A .sumocfg whose demand is known as the typical day; the scenario's own by default."
        ),
    ] = None,
    against: Annotated[
        list[Path] | None, typer.Option(help="A plan file to run beside, without the loop; may be repeated.")
    ] = None,
    incident: Annotated[
        list[str] | None, typer.Option(help="Close a lane: LANE@FROM-TO, seconds; may be repeated.")
    ] = None,
    surge: Annotated[
        list[str] | None, typer.Option(help="More traffic: EDGE*FACTOR@FROM-TO, seconds; may be repeated.")
    ] = None,
    controllers: Annotated[
        Street,
        typer.Option(help="direct: SUMO's own signals; virtual: NEMA controllers, told over SNMP."),
    ] = Street.DIRECT,
    policy: Annotated[
        list[str] | None,
        typer.Option(help=f"A policy to try: NAME=SECONDS, of {', '.join(POLICIES)}; may be repeated."),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Folder for the log of decisions and a chart.")
    ] = None,
    measured: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="City whose measured.csv gets each signal's delay under the loop, as of --date.",
        ),
    ] = None,
    on_day: Annotated[
        datetime | None, typer.Option("--date", formats=["%Y-%m-%d"], help="Day that is run, for --measured.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Run SUMO with the loop: every 15 minutes counts, forecast, and keep, adjust or switch.

    The same day is run without the loop as well, under the plan that it began with and those of --against.
    """
    from signals.formats.sumo.demand import default_cache
    from signals.nightly.ageing import add_measured, read_measured
    from signals.operation import operate as run_loop
    from signals.simulation.run import simulate

    scenario = scenario_from(config, net, routes, additional, begin, end)
    settings = replace(
        _settings(policy or ()), virtual_units=controllers is Street.VIRTUAL, cache=default_cache()
    )
    known = scenario_from(typical, None, None, None, begin, end) if typical is not None else scenario
    if typical is None:
        typer.echo(f"greensplit: {OWN_DEMAND}", err=True)
    if output is not None:
        require_folder(output)
    if (measured is None) != (on_day is None):
        raise InputError(
            "--measured and --date belong together: where the delays are kept, and as those of which day"
        )
    if measured is not None:
        if not measured.is_dir():
            raise InputError(f"--measured {measured}: there is no such folder; name the city's")
        read_measured(measured)  # what is wrong with it is said before the day is run
    with (
        tempfile.TemporaryDirectory(prefix="greensplit-operate-") as name,
        progress_bars(as_json) as progress,
    ):
        day, extra = _disturbed(scenario, incident or (), surge or (), Path(name))
        progress("preparing", 0, 1)
        last = day.end_s if day.end_s is not None else math.inf
        turns = 0 if math.isinf(last) else math.ceil((last - day.begin_s) / settings.slot_s)

        def told(slot: Slot) -> None:
            progress("preparing", 1, 1)
            progress("operating", round((slot.now_s - day.begin_s) / settings.slot_s) + 1, turns)
            if not as_json:
                console().print(_line(slot))

        operated = run_loop(day, settings, seed=seed, start=plan, extra=extra, typical=known, on_slot=told)
        beside: dict[str, RunResult] = {}
        files = {"the plan it began with": plan, **{p.name: p for p in against or ()}}
        for number, (label, path) in enumerate(files.items()):
            progress("without the loop", number, len(files))
            plans = [path.resolve()] if path is not None else []
            beside[label] = simulate(day, seed=seed, plans=[*plans, *extra])
        progress("without the loop", len(files), len(files))
    written: Sequence[Path] = ()
    if output is not None:
        from signals.operation.record import write_record

        written = write_record(operated.slots, output)
    if measured is not None and on_day is not None:
        written = [*written, add_measured(measured, on_day.date(), _by_signal(operated.run))]
    if as_json:
        print_json(_facts(scenario, known, seed, operated, beside, written))
        return
    _show(operated, beside, written)


def _settings(policies: Sequence[str]) -> OperateSettings:
    from signals.operation import OperateSettings

    request = PlanRequest()
    bound = False
    for given in policies:
        name, _, text = given.partition("=")
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if name not in POLICIES or not value > 0.0 or math.isinf(value):
            raise InputError(f"--policy {given}: expected NAME=SECONDS with one of {', '.join(POLICIES)}")
        try:
            if name == "max-cycle":
                request = replace(request, max_cycle_s=value)
            elif name == "min-cycle":
                request = replace(request, min_cycle_s=value)
            else:
                request = replace(request, min_green_s=value)
        except ValueError as error:
            raise InputError(f"--policy {given}: {error}") from None
        bound = bound or name == "max-cycle"
    return OperateSettings(request=request, cycle_binds=bound)


def _disturbed(
    scenario: Scenario, incidents: Sequence[str], surges: Sequence[str], folder: Path
) -> tuple[Scenario, list[Path]]:
    """The day as it will be, and the additional files that disturb it."""
    if not incidents and not surges:
        return scenario, []
    from signals.formats.sumo.demand import read_demand
    from signals.formats.sumo.network import read_network
    from signals.simulation import disturbances

    network = read_network(scenario)
    closed = []
    for given in incidents:
        lane, start, stop = _parts(_INCIDENT, given, "--incident", "LANE@FROM-TO")
        closed.append(disturbances.close_lane(network, lane, float(start), float(stop), folder))
    files = []
    demand = read_demand(scenario) if surges else None
    for number, given in enumerate(surges):
        edge, factor, start, stop = _parts(_SURGE, given, "--surge", "EDGE*FACTOR@FROM-TO")
        assert demand is not None
        files.append(
            disturbances.surge(
                scenario,
                network,
                demand,
                edge,
                float(factor),
                float(start),
                float(stop),
                number,
                folder / f"surge-{number}",
            )
        )
    day = disturbances.with_traffic(scenario, files, folder / "day") if files else scenario
    return replace(day, begin_s=scenario.begin_s, end_s=scenario.end_s), closed


def _parts(pattern: re.Pattern[str], given: str, option: str, form: str) -> tuple[str, ...]:
    found = pattern.match(given)
    if found is None:
        raise InputError(f"{option} {given}: expected {form}, times in seconds of the simulation's clock")
    return tuple(str(part) for part in found.groups())


def _line(slot: Slot) -> str:
    from signals.operation.knowledge import clock_text

    row = slot.to_json()
    seen = "no counts yet"
    if row["entered"] is not None:
        error = "" if row["wape"] is None else f", forecast off by {100 * row['wape']:.0f} %"
        seen = f"{row['entered']:.0f} entered{error}"
    if row["decision"] == "keep":
        return f"{clock_text(slot.now_s)}  {seen}: keep, {row['why']}"
    times = [t for t in row["signals"].values() if t is not None]
    over = f" within {max(times) - slot.now_s:.0f} s" if times else ""
    return (
        f"{clock_text(slot.now_s)}  {seen}: {row['decision']} {len(times)} signals{over}, {row['why']}, "
        f"to save {100 * row['expected_gain']:.1f} % of the delay"
    )


def _facts(
    scenario: Scenario,
    known: Scenario,
    seed: int,
    operated: Operated,
    beside: dict[str, RunResult],
    written: Sequence[Path],
) -> dict[str, Any]:
    return {
        "scenario": scenario.name,
        "typical": known.name,
        "seed": seed,
        "changes": operated.changes,
        "slots": [slot.to_json() for slot in operated.slots],
        "loop": _measures(operated.run),
        "without": {name: _measures(run) for name, run in beside.items()},
        "files": [str(path) for path in written],
    }


def _measures(run: RunResult) -> dict[str, float | None]:
    values = {name: float(getattr(run, name)) for name in MEASURES}
    return {name: None if math.isnan(value) else round(value, 4) for name, value in values.items()}


def _by_signal(run: RunResult) -> dict[str, tuple[float, float]]:
    """Mean delay [s/veh] and vehicles of each signal that somebody passed."""
    delay_s: dict[str, float] = defaultdict(float)
    vehicles: dict[str, float] = defaultdict(float)
    for movement in run.movements:
        delay_s[movement.intersection] += movement.delay_s
        vehicles[movement.intersection] += movement.vehicles
    return {signal: (delay_s[signal] / n, n) for signal, n in vehicles.items() if n > 0.0}


def _show(operated: Operated, beside: dict[str, RunResult], written: Sequence[Path]) -> None:
    from signals.tables.style import add_columns, new_table

    shown = console()
    table = new_table("The day with the loop and without it")
    add_columns(table, "measure")
    add_columns(table, "the loop", *beside, right=True)
    for name, (title, digits) in MEASURES.items():
        runs = (operated.run, *beside.values())
        table.add_row(title, *(f"{float(getattr(run, name)):.{digits}f}" for run in runs))
    shown.print(table)
    for path in written:
        shown.print(f"written: {path}")
