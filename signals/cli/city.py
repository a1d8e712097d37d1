"""`greensplit city`: made-up cities to try things on, of any size."""

from __future__ import annotations

from dataclasses import asdict
from datetime import date
from pathlib import Path
from typing import Annotated

import typer

from signals.cli.app import app
from signals.cli.console import Json, console, print_json, progress_bars, require_folder
from signals.errors import InputError

city = typer.Typer(no_args_is_help=True, help="Cities to try things on, of any size.")
app.add_typer(city, name="city")


@city.command()
def generate(
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder to write, new or empty.")],
    intersections: Annotated[int, typer.Option(help="Signals, exactly.")] = 100,
    weeks: Annotated[int, typer.Option(help="Weeks of counts.")] = 8,
    until: Annotated[str, typer.Option(metavar="DATE", help="Last day of the counts.")] = "2026-11-22",
    seed: Annotated[int, typer.Option(help="Same seed, same city.")] = 1,
    as_json: Json = False,
) -> None:
    """Make up a city: network, programs in place, counts with their faults, a survey of turns, a calendar.

    The network is for SUMO (DIR/city.sumocfg, without traffic); DIR/city.toml names all of it.
    """
    from sumo_nets.city import generate_city

    last = _date(until)
    if seed < 0:
        raise InputError(f"--seed {seed}: give a whole number, 0 or more")
    if output.is_dir() and any(output.iterdir()):
        raise InputError(f"{output}: holds files already; name a new or an empty folder")
    require_folder(output)
    try:
        with progress_bars(as_json) as progress:
            made = generate_city(
                intersections,
                seed=seed,
                directory=output,
                weeks=weeks,
                until=last,
                on_progress=progress,
            )
    except ValueError as error:
        raise InputError(f"no city can be made: {error}") from None
    if as_json:
        print_json({"output": str(output), **asdict(made) | {"city": str(made.city)}})
        return
    console().print(
        f"{made.intersections} signals in {made.districts} districts, {made.approaches} approaches with "
        f"{made.counts:,} counts, {made.faults} of them with faulty detectors: {made.city}"
    )


def _date(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise InputError(f"--until {text}: is no date; write it as 2026-11-22") from None
