"""What commands show: a console, JSON for machines, progress bars; and whether a place can be written to."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from signals.errors import InputError

if TYPE_CHECKING:
    from rich.console import Console

    from signals.wire.jobs import JobShown

PLAIN_WIDTH = 120
LEAST_WIDTH = 104
"""Columns that the widest table needs to show its figures whole."""

Json = Annotated[bool, typer.Option("--json", help="Print JSON for machines instead of tables.")]
ShowProgress = Callable[[str, int, int], None]
"""Called with the step's name, how much of it is done, and how much there is."""


def console() -> Console:
    """Where tables go: the standard output, wide enough for every figure."""
    from rich.console import Console

    # ids of networks may hold brackets and colons, which rich would take for markup
    made = Console(markup=False, emoji=False, highlight=False)
    if not made.is_terminal and "COLUMNS" not in os.environ:
        made.width = PLAIN_WIDTH  # a file or a pipe has no width of its own
    # on a narrower terminal lines wrap: better than a figure cut short
    made.width = max(made.width, LEAST_WIDTH)
    return made


def print_json(facts: Mapping[str, Any]) -> None:
    """JSON for machines, in plain ASCII where the terminal has nothing else."""
    plain = "utf" not in (sys.stdout.encoding or "").lower()
    typer.echo(json.dumps(facts, indent=1, ensure_ascii=plain, allow_nan=False))


@contextmanager
def status(text: str, quiet: bool) -> Iterator[None]:
    """A bar for one step that can't say how far it is."""
    with progress_bars(quiet) as progress:
        progress(text, 0, 1)
        yield
        progress(text, 1, 1)


@contextmanager
def progress_bars(quiet: bool) -> Iterator[ShowProgress]:
    """Progress bars on the error stream, one a step; none when machines read along."""
    if quiet:
        yield lambda _step, _done, _of: None
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description:<28}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(compact=True),
    )
    with Progress(*columns, console=Console(stderr=True)) as bars:
        tasks: dict[str, Any] = {}

        def show(step: str, done: int, of: int) -> None:
            if step not in tasks:
                tasks[step] = bars.add_task(step, total=of)
            bars.update(tasks[step], completed=done, total=of)

        yield show


def job_bars(progress: ShowProgress, indent: str = "") -> Callable[[JobShown], None]:
    """Shows a job of a service as it goes: a bar for each of its steps, full when the next one begins."""
    last = ""

    def show(job: JobShown) -> None:
        nonlocal last
        step = indent + (job.step or "waiting")
        if last not in ("", step) or job.state == "done":
            progress(last or step, 1, 1)
        if job.state != "done":
            progress(step, job.steps_done, max(job.steps_of, 1))
        last = step

    return show


def require_place(output: Path, what: str, inputs: Collection[Path]) -> None:
    """A file for `what` can be written here, over none of the inputs: said before the work, not after it."""
    if not output.parent.is_dir():
        raise InputError(f"{output}: its folder doesn't exist; make {output.parent} first")
    if output.is_dir():
        raise InputError(f"{output}: is a folder; name a file for {what}")
    if output.resolve() in inputs:
        raise InputError(f"{output}: is one of the files to be read; name another file for {what}")
    if not os.access(output.parent, os.W_OK):
        raise InputError(f"{output}: can't be written: no permission to write to {output.parent}")


def require_folder(folder: Path) -> None:
    """The folder is there and can be written to."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{folder}: the folder can't be made: {error.strerror}") from None
    if not os.access(folder, os.W_OK):
        raise InputError(f"{folder}: no permission to write to this folder")
