"""The command line: reads options, calls one function, shows what came back. Nothing heavy is imported early."""

from __future__ import annotations

import io
import sys
from collections.abc import Sequence

import typer

# each adds its commands to the app
from signals.cli import (
    bands,
    city,
    controllers,
    coordinate,
    counts,
    demo,
    emergency,
    forecast,
    isolated,
    nightly,
    operate,
    plans,
    remote,
    service,
    street,
)
from signals.cli.app import app
from signals.errors import (
    Conflict,
    ControllerError,
    Forbidden,
    GreensplitError,
    InfeasiblePlan,
    InputError,
    NotFound,
    SimulationError,
    Stopped,
    StoreUnavailable,
    UnmappablePlan,
    UnsafePlan,
)

__all__ = [
    "EXIT_CODES",
    "app",
    "bands",
    "city",
    "controllers",
    "coordinate",
    "counts",
    "demo",
    "emergency",
    "forecast",
    "isolated",
    "main",
    "nightly",
    "operate",
    "plans",
    "remote",
    "service",
    "street",
]

UNAVAILABLE = 6
EXIT_CODES: dict[type[GreensplitError], int] = {
    InputError: 2,
    InfeasiblePlan: 3,
    SimulationError: 4,
    UnsafePlan: 5,
    UnmappablePlan: 3,
    ControllerError: 7,
    StoreUnavailable: UNAVAILABLE,
    Stopped: UNAVAILABLE,
    NotFound: 2,
    Forbidden: 2,
    Conflict: 2,
}


def exit_code(error: GreensplitError) -> int:
    """The exit code of an error; of what a service answered by its status, where it is the caller's to mend or not."""
    status = getattr(error, "status", None)
    if isinstance(status, int):
        return 2 if 400 <= status < 500 else UNAVAILABLE
    return next((code for kind, code in EXIT_CODES.items() if isinstance(error, kind)), 1)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command; each kind of error has its exit code, and none shows a traceback."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal without the trade's signs shows question marks
    try:
        app(args=list(arguments) if arguments is not None else None)
    except GreensplitError as error:
        typer.echo(f"greensplit: {error}", err=True)
        sys.exit(exit_code(error))
    except KeyboardInterrupt:
        typer.echo("greensplit: interrupted", err=True)
        sys.exit(130)
