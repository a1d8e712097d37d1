"""`greensplit counts`: what is wrong with the data, and how counts are read for every command that takes them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from signals.cli.app import app
from signals.cli.console import Json, console, print_json, require_place, status
from signals.errors import InputError

if TYPE_CHECKING:
    from signals.demand.calendar import Calendar
    from signals.demand.screening import Screened

counts = typer.Typer(name="counts", help="Look at traffic counts.", no_args_is_help=True)
app.add_typer(counts)

Counts = Annotated[
    list[Path],
    typer.Argument(
        help="Counts: a wide or long table (CSV, Parquet), an event log, SUMO's output. Of several files each slot "
        "takes the best count, and of equal ones that of the file named first."
    ),
]
Kind = Annotated[
    str,
    typer.Option("--from", help="Kind of FILE: wide, long, hires, sumo, or one a plugin adds; auto looks."),
]
Timezone = Annotated[
    str,
    typer.Option(
        help="IANA name such as Australia/Melbourne; without it days on which clocks change have gaps."
    ),
]
Step = Annotated[
    int | None,
    typer.Option("--step", min=1, help="Length of an interval in minutes, where the file doesn't say."),
]
Country = Annotated[str, typer.Option(help="Country whose holidays count, such as AU or DE.")]
Subdivision = Annotated[str, typer.Option(help="Part of that country, such as VIC or BY.")]
Holidays = Annotated[
    list[str] | None,
    typer.Option("--holiday", help="A day of your own, DATE or DATE=NAME; may be given several times."),
]
MaxFlow = Annotated[float | None, typer.Option(help="veh/h above which a count is impossible.")]


def chosen_calendar(country: str, subdivision: str, own: Sequence[str] | None) -> Calendar | None:
    """The calendar that the options describe; None where they name no holiday.

    Raises
    ------
    InputError
        Where a country, a part of it or a date is unknown.
    """
    from signals.demand.calendar import Calendar

    days: dict[date, str] = {}
    for text in own or ():
        day, _, name = text.partition("=")
        try:
            days[date.fromisoformat(day)] = name or "own day"
        except ValueError:
            raise InputError(
                f"--holiday {text}: give a date such as 2026-12-24, or 2026-12-24=Name"
            ) from None
    return Calendar(country, subdivision, days) if country or subdivision or days else None


def read_and_screen(
    files: Sequence[Path],
    kind: str,
    timezone: str,
    step_min: int | None,
    calendar: Calendar | None,
    max_vph: float | None,
) -> Screened:
    """Counts of one or several files with a mark and a reason for each slot."""
    from signals.demand.merging import Sourced, merge
    from signals.demand.screening import Screened, screen
    from signals.formats.sources import read_source

    if max_vph is not None and not max_vph > 0:
        raise InputError(f"--max-flow {max_vph:g}: give a positive flow in veh/h")
    read = [
        screen(read_source(file, kind, timezone=timezone, step_min=step_min), calendar, max_vph=max_vph)
        for file in files
    ]
    if len(read) == 1:
        return read[0]
    sources = [Sourced(str(f), s.table, priority=k) for k, (f, s) in enumerate(zip(files, read, strict=True))]
    found = sorted({f for s in read for f in s.findings}, key=lambda f: (f.series, f.first))
    return Screened(merge(sources), tuple(found))


def resolved(files: Sequence[Path]) -> set[Path]:
    """Where the files are, to keep outputs off them."""
    return {file.resolve() for file in files}


@counts.command()
def check(
    files: Counts,
    kind: Kind = "auto",
    timezone: Timezone = "",
    step: Step = None,
    country: Country = "",
    subdivision: Subdivision = "",
    holiday: Holidays = None,
    max_flow: MaxFlow = None,
    plot: Annotated[
        Path | None, typer.Option(help="Chart of the quality by series and day: an svg, png or pdf file.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Show what is wrong with counts: gaps, stuck detectors, spikes, jumps, clocks that are off, odd days.

    Nothing is changed or filled: each slot gets a mark (good, doubtful, bad, missing) and a reason.
    """
    from signals.demand.screening import summary

    calendar = chosen_calendar(country, subdivision, holiday)
    if plot is not None:
        require_place(plot, "the chart", resolved(files))
    with status("reading and screening", as_json):
        screened = read_and_screen(files, kind, timezone, step, calendar, max_flow)
        facts = summary(screened)
    if plot is not None:
        from signals.diagrams.charts import draw_quality

        draw_quality(screened.table, plot)
    table = screened.table
    if as_json:
        print_json(
            {
                "files": [str(file) for file in files],
                "intervals": table.n_intervals,
                "step_min": table.step_min,
                "timezone": table.timezone,
                "remarks": list(table.remarks),
                "series": [f.to_json() for f in facts],
                "findings": [f.to_json() for f in screened.findings],
                "plot": str(plot) if plot else None,
            }
        )
        return
    from signals.tables.counts import quality_tables

    shown = console()
    for part in quality_tables(screened, facts):
        shown.print(part)
    if plot is not None:
        shown.print(f"chart written to {plot}")
