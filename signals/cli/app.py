"""The command itself: its name, its help, its version."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import typer

from signals import __version__

app = typer.Typer(
    name="greensplit",
    help="Retime traffic signals, and prove each plan in simulation before it touches the street.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    epilog="Exit codes: 0 done, 1 fault in Greensplit, 2 wrong usage or input, 3 no plan fits the constraints, "
    "4 SUMO failed, 5 unsafe plan refused, 6 a service, its database or a job of it failed, 7 a controller failed, "
    "8 a night has no plans for some groups.",
)


@dataclass(frozen=True, slots=True)
class At:
    """The service that commands talk to, and the key to show there."""

    server: str
    key: str


@app.callback(invoke_without_command=True)
def _common(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False,
    server: Annotated[
        str,
        typer.Option(
            envvar="GREENSPLIT_SERVER", help="Service that network, plan, job, event and send talk to."
        ),
    ] = "http://127.0.0.1:8000",
    key: Annotated[
        str, typer.Option(envvar="GREENSPLIT_KEY", help="Key to show there; better given by the variable.")
    ] = "",
) -> None:
    if version:
        typer.echo(f"greensplit {__version__}")
        raise typer.Exit
    context.obj = At(server, key)
