"""What commands that talk to a service share: its address and key, waiting for a job, showing what came back."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from signals.cli.app import At
from signals.cli.console import console, job_bars, print_json, progress_bars
from signals.errors import InputError

if TYPE_CHECKING:
    from pydantic import BaseModel

    from signals.client import Client
    from signals.wire.jobs import JobShown

Wait = Annotated[bool, typer.Option("--wait/--no-wait", help="Wait until the job is done.")]
NetworkArgument = Annotated[int, typer.Argument(min=1, help="Number of the network.")]


@contextmanager
def open_service(context: typer.Context) -> Iterator[Client]:
    """The service that the options name, closed with the block.

    Raises
    ------
    InputError
        Where there is no key.
    """
    from signals.client import Client

    at = context.find_root().obj
    assert isinstance(at, At)
    if not at.key:
        raise InputError(
            "no key: set GREENSPLIT_KEY to what `greensplit keys create` has shown, or give --key"
        )
    with Client(at.server, at.key) as client:
        yield client


def waited(service: Client, job_id: int | None, quiet: bool) -> JobShown:
    """The job when it is done, with a bar for each of its steps."""
    with progress_bars(quiet) as progress:
        return service.wait(job_id, job_bars(progress))


def show(models: Iterable[BaseModel], columns: Sequence[str], title: str, as_json: bool) -> None:
    """Things as a table of some of their fields, or all as JSON."""
    from signals.tables.service import rows_table

    rows = [model.model_dump(mode="json") for model in models]
    if as_json:
        print_json({"items": rows})
        return
    console().print(rows_table(title, columns, rows))


def show_one(model: BaseModel, as_json: bool, said: str) -> None:
    """One thing as JSON, or what is to be said of it."""
    if as_json:
        print_json(model.model_dump(mode="json"))
    else:
        console().print(said)
