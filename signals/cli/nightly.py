"""The commands of a night: plan a whole city for a day, see what waits for approval, and decide on it."""

from __future__ import annotations

import math
import signal
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from zoneinfo import ZoneInfo

import typer

from signals.cli.app import app
from signals.cli.console import Json, console, print_json, progress_bars
from signals.errors import InputError, Stopped
from signals.nightly.options import Extent

if TYPE_CHECKING:
    from signals.nightly.approvals import Approval

SOME_FAILED = 8
"""Exit code of a night that has no plans for some groups."""
TERMINATED = 143
MOST_WORKERS = 512
_BY_CLOCK = ("today", "tomorrow")
SHOWN = 12
"""As many groups or problems as a list shows."""

night = typer.Typer(
    no_args_is_help=True, help="What a night found: who must approve what, and decisions on it."
)
app.add_typer(night, name="night")

Data = Annotated[Path, typer.Option("--data", metavar="DIR", help="Folder of the city, with its city.toml.")]
Day = Annotated[
    str,
    typer.Option("--date", metavar="DAY", help="Day that the plans are for: 2026-03-02, today or tomorrow."),
]


@app.command()
def nightly(
    day: Day,
    data: Annotated[
        Path | None,
        typer.Option(
            "--data", metavar="DIR", help="Folder of a city, with its city.toml, or of the service's data."
        ),
    ] = None,
    network: Annotated[
        str | None, typer.Option(help="One network of the service, by number or name; all by default.")
    ] = None,
    country: Annotated[
        str, typer.Option(help="Country whose holidays the service's networks keep, such as AT or AU-VIC.")
    ] = "",
    workers: Annotated[int, typer.Option(help="Processes to plan with; 0 plans in this one.")] = 2,
    scheduler: Annotated[
        str | None,
        typer.Option(metavar="ADDRESS", help="Dask scheduler of a cluster, such as tcp://10.0.0.1:8786."),
    ] = None,
    max_plans: Annotated[int, typer.Option(help="Plans that a signal may have in a day.")] = 8,
    validate: Annotated[
        Extent, typer.Option(help="Groups to try in SUMO: none, a sample within the budget, or all.")
    ] = Extent.SAMPLE,
    validate_budget: Annotated[
        float, typer.Option(metavar="MINUTES", help="CPU time of SUMO that the sample may take.")
    ] = 10.0,
    as_json: Json = False,
) -> None:
    """Plan a whole city for a day: forecast, groups of signals, plans through the day, approvals.

    A city's files are in DIR/nights/DAY. Of the service's networks each has a night, with its files in
    DIR/networks/NETWORK/nights/DAY, and its plans go to the approval queue. A night that was stopped, or killed, goes
    on where it was when the same command is given again.
    """
    from functools import partial

    from signals.formats.city import FILE, read_city
    from signals.model.plan import PlanRequest
    from signals.nightly.city import FolderCity
    from signals.nightly.night import run_night
    from signals.nightly.options import NightOptions
    from signals.nightly.pool import open_pool
    from signals.nightly.steps import real_steps
    from signals.timing.schedule import ScheduleRequest

    if not 0 <= workers <= MOST_WORKERS:
        raise InputError(f"--workers {workers}: 0 to {MOST_WORKERS}")
    if max_plans < 1:
        raise InputError(f"--max-plans {max_plans}: a signal needs at least one plan")
    if not 0 <= validate_budget < math.inf:
        raise InputError(f"--validate-budget {validate_budget:g}: give minutes, 0 or more")
    pool_in = partial(open_pool, workers, scheduler)
    in_folder = data or Path()
    _on_clock(day, "")
    if not (in_folder / FILE).exists():
        from signals.cli.nightly_service import plan_networks

        options = NightOptions(PlanRequest(), ScheduleRequest(max_plans=max_plans), validate, validate_budget)
        with _ending_well():
            found = plan_networks(data, partial(_on_clock, day), network, country, options, pool_in, as_json)
        _show_networks(found, as_json)
        return
    if network is not None or country:
        raise InputError(
            f"--network and --country are for the service's networks; {in_folder} is a city's folder, and its "
            f"{FILE} says both"
        )
    for_day = _date(day, in_folder)
    folder = read_city(in_folder)
    city = FolderCity(folder)
    options = NightOptions(
        PlanRequest(seed=city.seed), ScheduleRequest(max_plans=max_plans), validate, validate_budget
    )
    with _ending_well(), progress_bars(as_json) as progress:
        facts = run_night(
            city,
            folder.folder,
            for_day,
            options,
            real_steps(),
            pool_in,
            on_progress=progress,
            tell=lambda text: typer.echo(f"greensplit: {text}", err=True),
        )
    if as_json:
        print_json(facts)
    else:
        _show(facts)
    if facts["groups_failed"]:
        raise typer.Exit(SOME_FAILED)


def _show_networks(found: Mapping[str, Any], as_json: bool) -> None:
    """What came of the service's networks, and the exit code where some or their groups failed."""
    if as_json:
        print_json(found)
    else:
        for facts in found["networks"]:
            _show(facts)
            queue = facts["queue"]
            console().print(
                f"approval queue: {queue['plans']} plans of this night, {queue['new']} of them new"
            )
        _list("no night of", [f"network {n}" for n in found["left_out"]])
        _list("failed", [f"network {n}" for n in found["failed"]])
    if found["failed"] or any(facts["groups_failed"] for facts in found["networks"]):
        raise typer.Exit(SOME_FAILED)


@contextmanager
def _ending_well() -> Iterator[None]:
    """Ends in order when it is told to (SIGINT, SIGTERM) or the workers are lost, and says how to go on."""

    def terminate(_number: int, _frame: object) -> None:
        raise _Terminated

    before = signal.signal(signal.SIGTERM, terminate)
    try:
        yield
    except (KeyboardInterrupt, _Terminated, Stopped) as end:
        typer.echo("greensplit: stopped; the same command goes on where this one was", err=True)
        if isinstance(end, _Terminated):
            sys.exit(TERMINATED)
        raise
    finally:
        signal.signal(signal.SIGTERM, before)


class _Terminated(BaseException):
    """SIGTERM came."""


def _date(text: str, data: Path) -> date:
    """A date, or today or tomorrow by the clock of the city."""
    if text in _BY_CLOCK:
        from signals.formats.city import read_city

        return _on_clock(text, read_city(data).timezone)
    return _on_clock(text, "")


def _on_clock(text: str, timezone: str) -> date:
    """A date, or today or tomorrow by the clock of a timezone, without one by that of this machine."""
    if text in _BY_CLOCK:
        today = datetime.now(ZoneInfo(timezone) if timezone else None).date()
        return today + timedelta(days=_BY_CLOCK.index(text))
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise InputError(f"--date {text}: is no day; write it as 2026-03-02, today or tomorrow") from None


def _show(facts: Mapping[str, Any]) -> None:
    shown = console()
    delay, timings = facts["delay_veh_h"], facts["timings"]
    shown.print(
        f"{facts['city']}, {facts['day']} ({facts['day_type']}): {facts['signals_planned']} of {facts['signals']} "
        f"signals planned, in {facts['groups']} groups"
    )
    if delay["before"] > 0:
        percent = 100.0 * (delay["after"] / delay["before"] - 1.0)
        shown.print(
            f"expected delay {delay['before']:.0f} veh·h with the plans in place, {delay['after']:.0f} with the new "
            f"ones ({percent:+.1f} %)"
        )
    per_hour = timings["signals_per_hour"]
    pace = f", {per_hour:.0f} signals an hour" if per_hour else ""
    shown.print(f"{timings['seconds']:.0f} s{pace}")
    if facts["validation"]:
        shown.print("SUMO: " + ", ".join(f"{n} {outcome}" for outcome, n in facts["validation"].items()))
    shown.print("approvals: " + ", ".join(f"{n} {name}" for name, n in facts["approvals"].items() if n))
    _list(
        f"{facts['groups_failed']} groups have no plans",
        [f"{g}: {why}" for g, why in facts["failed"].items()],
    )
    _list(
        f"the plans of {len(facts['aged'])} groups have aged",
        [
            f"{a['group']}: {a['measured_s']:.0f} s/veh measured since {a['since']}, {a['predicted_s']:.0f} predicted"
            for a in facts["aged"]
        ],
    )
    _list(f"{len(facts['problems'])} remarks on the counts", facts["problems"])
    if facts["unsound_counts"]:
        shown.print(
            f"{facts['unsound_counts']} approaches have counts that aren't sound; the report lists them"
        )
    shown.print(f"report: {facts['report']}")


def _list(head: str, lines: list[str]) -> None:
    if not lines:
        return
    shown = console()
    shown.print(f"{head}:")
    for line in lines[:SHOWN]:
        shown.print(f"  {line}")
    if len(lines) > SHOWN:
        shown.print(f"  … and {len(lines) - SHOWN} more; night.json has all")


# ------------------------------------------------------------------------------------------------ decisions


@night.command()
def queue(day: Day, data: Data = Path(), as_json: Json = False) -> None:
    """Show where the plans of each group stand, and why."""
    from signals.errors import NotFound
    from signals.nightly.approvals import read_approvals
    from signals.nightly.folder import night_folder

    folder = night_folder(data, _date(day, data))
    found = read_approvals(folder)
    if found is None:
        raise NotFound(f"{folder.path}: holds no finished night; run `greensplit nightly` for that day first")
    _show_approvals(found[1], as_json)


Groups = Annotated[list[str] | None, typer.Argument(help="Groups; all that wait where none is named.")]
By = Annotated[str, typer.Option(help="Who decides.")]
Note = Annotated[str, typer.Option(help="Why, for the record.")]


@night.command()
def approve(
    day: Day, by: By, groups: Groups = None, data: Data = Path(), note: Note = "", as_json: Json = False
) -> None:
    """Approve the plans of groups: from that day on they are in force on days of its kind."""
    _decide(day, by, groups, data, note, True, as_json)


@night.command()
def reject(
    day: Day, by: By, groups: Groups = None, data: Data = Path(), note: Note = "", as_json: Json = False
) -> None:
    """Reject the plans of groups: what is in place stays."""
    _decide(day, by, groups, data, note, False, as_json)


def _decide(
    day: str, by: str, groups: list[str] | None, data: Path, note: str, approved: bool, as_json: bool
) -> None:
    from signals.errors import Conflict
    from signals.nightly.approvals import decide
    from signals.nightly.folder import night_folder

    folder = night_folder(data, _date(day, data))
    if folder.handed_on.exists():
        raise Conflict(
            f"{folder.path}: is a night of the service; its plans are decided on there, by `greensplit plan approve` "
            "and `greensplit plan reject`"
        )
    now = datetime.now(UTC)
    _show_approvals(decide(folder, groups or [], approved=approved, by=by, at=now, note=note), as_json)


def _show_approvals(approvals: list[Approval], as_json: bool) -> None:
    from dataclasses import asdict

    from signals.tables.style import add_columns, new_table, short

    if as_json:
        print_json({"groups": {a.group: asdict(a) for a in approvals}})
        return
    table = new_table("Plans of the night")
    add_columns(table, "group", "plan", "state")
    add_columns(table, "signals", right=True)
    add_columns(table, "why", "by")
    for a in approvals:
        reason = f"{a.reason}; {a.note}" if a.note else a.reason
        table.add_row(short(a.group, 16), a.plan[:8], str(a.state), str(len(a.signals)), reason, a.by)
    console().print(table)
