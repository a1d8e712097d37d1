"""Commands that bring plans to the street through a service: controllers on record, deployments and their way back."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from signals.cli.app import app
from signals.cli.asking import NetworkArgument, Wait, open_service, show, show_one, waited
from signals.cli.console import Json, console, print_json
from signals.cli.controllers import controllers
from signals.cli.emergency import Depart, Notice, RouteOption, edges_of, emergency, show_plan
from signals.errors import InputError
from signals.model.controller import UnitClock

if TYPE_CHECKING:
    from signals.client import Client
    from signals.wire.street import DeploymentShown

CREDENTIALS = "street"
Moment = Annotated[str | None, typer.Option(help="With its offset, as in 2026-11-26T02:00+01:00.")]


@controllers.command(name="register")
def register(
    context: typer.Context,
    number: NetworkArgument,
    file: Annotated[
        Path,
        typer.Argument(
            help="A JSON object a line: signal, host, port; as `greensplit controllers simulate` prints."
        ),
    ],
    credentials: Annotated[
        str, typer.Option(help="Section of the service's file of credentials.")
    ] = CREDENTIALS,
    clock: Annotated[
        UnitClock, typer.Option(help="simulated where the units' clocks are a simulation's.")
    ] = UnitClock.SYSTEM,
    as_json: Json = False,
) -> None:
    """Put the units of a network on record; a unit that has moved is changed. Nothing is sent to them."""
    units = read_units(file)
    with open_service(context) as service:
        rows = put_on_record(service, number, units, credentials, clock)
    if as_json:
        print_json({"items": rows})
    else:
        console().print(f"{len(rows)} controllers of network {number} are on record")


def read_units(file: Path) -> dict[str, tuple[str, int]]:
    """Host and port by signal, from lines of JSON; lines without a signal and a port are passed over.

    Raises
    ------
    InputError
        Where the file can't be read, or has no unit.
    """
    units = {}
    try:
        for line in file.read_text(encoding="utf-8").splitlines():
            given = json.loads(line) if line.strip() else {}
            if {"signal", "host", "port"} <= set(given):
                units[str(given["signal"])] = (str(given["host"]), int(given["port"]))
    except (OSError, ValueError, TypeError) as error:
        raise InputError(f"{file}: can't be read as lines of JSON: {error}") from None
    if not units:
        raise InputError(
            f"{file}: names no unit; expected lines such as "
            '{"signal": "j1", "host": "127.0.0.1", "port": 16100}'
        )
    return units


def put_on_record(
    service: Client,
    network_id: int,
    units: dict[str, tuple[str, int]],
    credentials: str,
    clock: UnitClock,
) -> list[dict[str, Any]]:
    """The units as the service has them now.

    Raises
    ------
    InputError
        Where the network lacks one of the signals.
    """
    from signals.wire.street import ControllerChange, NewController

    numbers = {row.signal: row.id for row in service.list_intersections(network_id)}
    unknown = sorted(set(units) - set(numbers))
    if unknown:
        raise InputError(
            f"network {network_id} has no signal {unknown[0]}; it has {', '.join(sorted(numbers)[:8])}"
        )
    there = {row.signal: row for row in service.list_controllers(network_id)}
    shown = []
    for signal, (host, port) in units.items():
        given = {"host": host, "port": port, "credentials": credentials, "clock": clock}
        if signal in there:
            done = service.change_controller(there[signal].id, ControllerChange.model_validate(given))
        else:
            new = NewController.model_validate({"intersection_id": numbers[signal], **given})
            done = service.add_controller(new)
        shown.append(done.model_dump(mode="json"))
    return shown


@controllers.command(name="list")
def list_controllers(context: typer.Context, number: NetworkArgument, as_json: Json = False) -> None:
    """Show a network's units, and the patterns of ours that they are kept at."""
    with open_service(context) as service:
        columns = ("id", "signal", "host", "port", "credentials", "clock", "held_pattern")
        show(service.list_controllers(number), columns, f"controllers of network {number}", as_json)


deployment = typer.Typer(
    name="deployment", help="Approved plans on their way to the street, and back.", no_args_is_help=True
)
app.add_typer(deployment)
DeploymentArgument = Annotated[int, typer.Argument(min=1, help="Number of the deployment.")]


@deployment.command(name="start")
def start_deployment(
    context: typer.Context,
    approval: Annotated[int, typer.Argument(min=1, help="Number of the approval.")],
    intersection: Annotated[
        list[int] | None, typer.Option(help="Only this intersection; may be given several times.")
    ] = None,
    pilot: Annotated[int | None, typer.Option(min=1, help="Intersection that goes first.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Look and compare; write nothing.")] = False,
    cycles: Annotated[int, typer.Option(min=1, max=20, help="Cycles that each wave is watched for.")] = 3,
    opens: Moment = None,
    closes: Moment = None,
    note: Annotated[str, typer.Option(help="For the audit.")] = "",
    wait: Wait = True,
    as_json: Json = False,
) -> None:
    """Push an approved plan: pilot, corridor, rest; each wave written, read back, commanded and watched."""
    from signals.wire.street import NewDeployment

    given = NewDeployment.model_validate(
        {
            "approval_id": approval,
            "intersections": intersection or None,
            "pilot": pilot,
            "dry_run": dry_run,
            "watch_cycles": cycles,
            "opens_at": _moment(opens, "--opens"),
            "closes_at": _moment(closes, "--closes"),
            "note": note,
        }
    )
    with open_service(context) as service:
        made = service.deploy(given)
        if wait and made.job_id is not None:
            waited(service, made.job_id, as_json)
            made = service.deployment(made.id)
    _show_deployment(made, as_json)


def _moment(text: str | None, option: str) -> datetime | None:
    if text is None:
        return None
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        found = None
    if found is None or found.tzinfo is None:
        raise InputError(f"{option} {text}: expected a time with its offset, such as 2026-11-26T02:00+01:00")
    return found


@deployment.command(name="list")
def list_deployments(context: typer.Context, as_json: Json = False) -> None:
    """Show the deployments that you may see."""
    with open_service(context) as service:
        columns = ("id", "state", "plan", "network_id", "created_at", "ended_at", "problem")
        show(service.list_deployments(), columns, "deployments", as_json)


@deployment.command(name="show")
def show_deployment(context: typer.Context, number: DeploymentArgument, as_json: Json = False) -> None:
    """Show a deployment, and how far each of its units is."""
    with open_service(context) as service:
        _show_deployment(service.deployment(number), as_json)


@deployment.command(name="roll-back")
def roll_back(
    context: typer.Context,
    number: DeploymentArgument,
    reason: Annotated[str, typer.Option(help="For the audit.")] = "",
    wait: Wait = True,
    as_json: Json = False,
) -> None:
    """Give every unit of a deployment back to what it ran before."""
    with open_service(context) as service:
        made = service.roll_back(number, reason)
        if wait and made.job_id is not None:
            waited(service, made.job_id, as_json)
            made = service.deployment(number)
    _show_deployment(made, as_json)


@emergency.command(name="ask")
def ask_emergency(
    context: typer.Context,
    number: NetworkArgument,
    route: RouteOption,
    depart: Depart,
    notice: Notice = 60.0,
    as_json: Json = False,
) -> None:
    """Have a service plan the way through, on the plans in force; nothing is sent to controllers."""
    from signals.formats.sumo.config import parse_time
    from signals.wire.emergency import Departure, EmergencyPlanShown, NewEmergencyPlan

    departs_s = parse_time(depart, "--depart")
    drive = Departure(kind="departure", departs_s=departs_s, known_at_s=max(0.0, departs_s - notice))
    given = NewEmergencyPlan(route=edges_of(route), drive=drive)
    with open_service(context) as service:
        result = waited(service, service.plan_emergency(number, given).id, as_json).result
    made = EmergencyPlanShown.model_validate(result)
    if as_json:
        print_json(made.model_dump(mode="json"))
        return
    show_plan(made, departs_s)


def _show_deployment(made: DeploymentShown, as_json: bool) -> None:
    if as_json:
        show_one(made, as_json, "")
        return
    from signals.tables.street import deployment_table

    shown = console()
    shown.print(deployment_table(made))
    if made.problem:
        shown.print(made.problem)
