"""Commands for an ambulance's way through: the plan, and the drive played out in SUMO."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from signals.cli.app import app
from signals.cli.console import Json, console, print_json, progress_bars
from signals.errors import InputError

if TYPE_CHECKING:
    from signals.emergency.play import Played
    from signals.formats.sumo.config import Scenario
    from signals.model.network import Network
    from signals.wire.emergency import EmergencyPlanShown

emergency = typer.Typer(help="A way through for an ambulance: plan it, or play it out in SUMO.")
app.add_typer(emergency, name="emergency")

Config = Annotated[Path, typer.Argument(help="A .sumocfg.", show_default=False)]
RouteOption = Annotated[
    str, typer.Option("--route", help="Edges in the order of driving, with commas between.")
]
Depart = Annotated[
    str, typer.Option("--depart", help="Departure on the scenario's clock, seconds or hh:mm:ss.")
]
Notice = Annotated[float, typer.Option(min=0.0, help="Seconds before departure at which the route is known.")]
Flows = Annotated[
    bool,
    typer.Option("--flows/--no-flows", help="Count movements first, for queues and costs; takes one run."),
]


@emergency.command("plan")
def plan_drive(
    config: Config,
    route: RouteOption,
    depart: Depart,
    notice: Notice = 60.0,
    flows: Flows = True,
    as_json: Json = False,
) -> None:
    """Show when each signal on the route leaves its program, holds green, and is back in step."""
    from signals.emergency.answers import shown
    from signals.emergency.corridor import plan_corridor
    from signals.formats.sumo.config import parse_time, read_scenario

    scenario = read_scenario(config)
    departs_s = parse_time(depart, "--depart")
    with progress_bars(as_json) as progress:
        progress("reading network and demand", 0, 1)
        network, flows_vph = _read(scenario, departs_s, flows)
        progress("reading network and demand", 1, 1)
    plan = plan_corridor(
        network, edges_of(route), departs_s=departs_s, flows_vph=flows_vph, now_s=departs_s - notice
    )
    made = shown(plan)
    if as_json:
        print_json(made.model_dump())
        return
    show_plan(made, departs_s)


@emergency.command("play")
def play_drive(
    config: Config,
    route: RouteOption,
    depart: Depart,
    notice: Notice = 60.0,
    flows: Flows = True,
    seed: Annotated[int, typer.Option(min=0, help="SUMO's seed, the same with priority and without.")] = 1,
    report_every: Annotated[int, typer.Option(min=1, help="Seconds between reports of the position.")] = 5,
    bluelight: Annotated[
        bool, typer.Option("--bluelight", help="Others make way (SUMO's bluelight device), in both runs.")
    ] = False,
    queues: Annotated[
        bool, typer.Option("--queues/--no-queues", help="Tell the planner what queues detectors would see.")
    ] = True,
    following: Annotated[
        float, typer.Option(min=60.0, help="Seconds after departure that are measured.")
    ] = 3600.0,
    as_json: Json = False,
) -> None:
    """Drive the route in SUMO without priority and with it, and print what it saves and what it costs."""
    from signals.emergency.corridor import CorridorPlanner
    from signals.emergency.play import Drive, play_with, play_without
    from signals.formats.sumo.config import parse_time, read_scenario

    scenario = read_scenario(config)
    departs_s = parse_time(depart, "--depart")
    if departs_s < scenario.begin_s:
        raise InputError(f"--depart {depart}: the scenario begins at {scenario.begin_s:g} s; depart later")
    with progress_bars(as_json) as progress:
        progress("reading network and demand", 0, 1)
        network, flows_vph = _read(scenario, departs_s, flows)
        progress("reading network and demand", 1, 1)
        planner = CorridorPlanner(network, edges_of(route), flows_vph=flows_vph)
        drive = Drive(
            scenario,
            network,
            planner.route.edges,
            departs_s,
            seed=seed,
            bluelight=bluelight,
            report_every_s=report_every,
            observe_queues=queues,
            notice_s=notice,
            following_s=following,
        )
        progress("driving without priority", 0, 1)
        without = play_without(drive)
        progress("driving without priority", 1, 1)
        played = play_with(
            drive, planner, told=lambda _step, done, of: progress("driving with priority", done, of)
        )
    if as_json:
        print_json({"without": _facts(without), "with": _facts(played), "skipped": dict(planner.skipped)})
        return
    _show_played(without, played, planner.skipped)


def edges_of(route: str) -> list[str]:
    """The edges of an option.

    Raises
    ------
    InputError
        Where there are none.
    """
    edges = [e.strip() for e in route.split(",") if e.strip()]
    if not edges:
        raise InputError("--route: names no edges; give their ids with commas between")
    return edges


def _read(
    scenario: Scenario, departs_s: float, with_flows: bool
) -> tuple[Network, Mapping[str, Mapping[str, float]] | None]:
    """The network, and the flow of each movement around departure [veh/h]."""
    from signals.formats.sumo.network import read_network

    if not with_flows:
        return read_network(scenario), None
    from signals.planning import read_case

    case = read_case(scenario)
    return case.network, case.flows_vph(departs_s)


def _facts(played: Played) -> dict[str, Any]:
    return {
        "travel_s": played.travel_s,
        "delay_s_per_vehicle": round(played.everybody.mean_s, 2),
        "delay_vehicle_hours": round(played.everybody.total_s / 3600.0, 2),
        "vehicles": played.everybody.vehicles,
        "cross_street_delay_s_per_vehicle": round(played.cross_streets.mean_s, 2),
        "cross_street_vehicles": played.cross_streets.vehicles,
        "teleports": played.teleports,
        "signals_held": played.held,
        "away_from_program_s": played.away_s,
        "safety_findings": [f.message for f in played.findings],
        "seconds_unlike_the_plan": played.differing_s,
        "slowest_plan_s": round(played.slowest_plan_s, 3),
    }


def show_plan(made: EmergencyPlanShown, departs_s: float) -> None:
    """A plan as a table, with what it saves and costs, and the signals without priority."""
    from signals.tables.emergency import emergency_table

    out = console()
    out.print(emergency_table(made, departs_s))
    out.print(
        f"predicted: {made.travel_s:.0f} s instead of {made.travel_without_s:.0f} s, {made.saved_s:.0f} s saved; "
        f"others lose {made.cross_delay_s / 3600.0:.1f} veh·h; computed in {made.computed_in_s:.2f} s"
    )
    for reason in made.skipped.values():
        out.print(f"no priority: {reason}")


def _show_played(without: Played, played: Played, skipped: Mapping[str, str]) -> None:
    from signals.tables.style import add_columns, new_table

    table = new_table("Played out in SUMO")
    add_columns(table, "")
    add_columns(table, "without", "with priority", right=True)
    for name, a, b in (
        ("ambulance, s", _seconds(without.travel_s), _seconds(played.travel_s)),
        ("delay of everybody, s/veh", f"{without.everybody.mean_s:.1f}", f"{played.everybody.mean_s:.1f}"),
        (
            "delay from cross streets, s/veh",
            f"{without.cross_streets.mean_s:.1f}",
            f"{played.cross_streets.mean_s:.1f}",
        ),
        ("teleports", str(without.teleports), str(played.teleports)),
        ("signals held", "", str(played.held)),
        ("safety findings over the recording", "", str(len(played.findings))),
        ("seconds unlike the plan", "", str(played.differing_s)),
    ):
        table.add_row(name, a, b)
    out = console()
    out.print(table)
    if without.travel_s is not None and played.travel_s is not None:
        out.print(
            f"ratio {played.travel_s / without.travel_s:.2f}, {without.travel_s - played.travel_s:.0f} s saved"
        )
    for finding in played.findings[:12]:
        out.print(finding.message)
    for reason in skipped.values():
        out.print(f"no priority: {reason}")


def _seconds(travel_s: float | None) -> str:
    return "not arrived" if travel_s is None else f"{travel_s:.0f}"
