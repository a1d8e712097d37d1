"""Commands that talk to a service: `greensplit --server URL network upload …`, with the key in GREENSPLIT_KEY."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from signals.cli.app import app
from signals.cli.asking import NetworkArgument, Wait, open_service, show, show_one, waited
from signals.cli.console import Json, console, print_json, require_folder
from signals.cli.counts import counts
from signals.cli.forecast import forecast
from signals.errors import InputError
from signals.model.plan import ClearancePolicy, ControllerPolicy, Objective, StagePolicy

if TYPE_CHECKING:
    from signals.client import Client

PlanArgument = Annotated[str, typer.Argument(help="Hash of the plan, or enough of its first letters.")]


# --------------------------------------------------------------------------------------------- networks

network = typer.Typer(name="network", help="Networks of the service.", no_args_is_help=True)
app.add_typer(network)


@network.command(name="upload")
def upload_network(
    context: typer.Context,
    file: Annotated[
        Path, typer.Argument(help="A .sumocfg, which is packed with its files; or a zip, or a net.")
    ],
    name: Annotated[str | None, typer.Option(help="Its name; the file's by default.")] = None,
    area: Annotated[int, typer.Option(min=1, help="Number of the area that it belongs to.")] = 1,
    timezone: Annotated[str, typer.Option(help="IANA name of its clock.")] = "UTC",
    wait: Wait = True,
    as_json: Json = False,
) -> None:
    """Upload a network, and have its files read."""
    content: Path | bytes = file
    if file.suffix == ".sumocfg":
        from signals.formats.sumo.bundle import bundle_of
        from signals.formats.sumo.config import read_scenario

        content = bundle_of(read_scenario(file))
    with open_service(context) as service:
        made = service.upload_network(
            content, name or file.name.split(".")[0], area_id=area, timezone=timezone
        )
        if wait:
            waited(service, made.job_id, as_json)
            made = service.network(made.id)
    if made.state == "refused":
        raise InputError(f"network {made.id} was refused: {made.problem}")
    signals = made.facts.get("signals", "?")
    show_one(made, as_json, f"network {made.id} ({made.name}) is {made.state}: {signals} signals")


@network.command(name="list")
def list_networks(context: typer.Context, as_json: Json = False) -> None:
    """Show the networks that you may see."""
    with open_service(context) as service:
        show(service.list_networks(), ("id", "name", "area_id", "state", "timezone"), "networks", as_json)


@network.command(name="intersections")
def list_intersections(context: typer.Context, number: NetworkArgument, as_json: Json = False) -> None:
    """Show a network's intersections, with their numbers."""
    with open_service(context) as service:
        columns = ("id", "signal", "name", "area_id")
        show(service.list_intersections(number), columns, f"intersections of network {number}", as_json)


@network.command(name="corridors")
def list_corridors(context: typer.Context, number: NetworkArgument, as_json: Json = False) -> None:
    """Show a network's corridors, with their numbers."""
    with open_service(context) as service:
        show(service.list_corridors(number), ("id", "name", "signals"), "corridors", as_json)


# ------------------------------------------------------------------------------------- counts, forecasts


@counts.command(name="send")
def send_counts(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(help="CSV (also gzipped), Parquet or NDJSON.")],
    number: Annotated[int, typer.Option("--network", min=1, help="Number of the network.")],
    existing: Annotated[
        str, typer.Option(help="refuse, replace or keep: what to do where another count is there already.")
    ] = "refuse",
    as_json: Json = False,
) -> None:
    """Send a file of counts to the service; all of it is kept or nothing."""
    from signals.wire.counts import Existing

    if existing not in list(Existing):
        raise InputError(f"--existing {existing}: refuse, replace or keep")
    with open_service(context) as service:
        got = service.send_counts(number, file, existing=Existing(existing))
    show_one(
        got,
        as_json,
        f"{got.counts} counts of {got.streams} streams: {got.new} new, {got.corrected} corrected, {got.late} late",
    )


@counts.command(name="quality")
def show_quality(
    context: typer.Context,
    number: Annotated[int, typer.Option("--network", min=1, help="Number of the network.")],
    country: Annotated[str, typer.Option(help="Holidays of a country, by its two letters.")] = "",
    as_json: Json = False,
) -> None:
    """Have the service look a network's counts through, and show what is wrong with them."""
    from signals.wire.forecasts import DaysOff, NewScreening

    with open_service(context) as service:
        job = service.screen(number, NewScreening(calendar=DaysOff(country=country)))
        waited(service, job.id, as_json)
        quality = service.quality(number)
    found = quality.screening.findings if quality.screening else []
    show_one(quality, as_json, f"{len(found)} findings; --json shows them")


@forecast.command(name="ask")
def ask_forecast(
    context: typer.Context,
    number: Annotated[int, typer.Option("--network", min=1, help="Number of the network.")],
    horizon: Annotated[int, typer.Option(min=1, max=384, help="Intervals ahead.")] = 4,
    country: Annotated[str, typer.Option(help="Holidays of a country, by its two letters.")] = "",
    as_json: Json = False,
) -> None:
    """Have the service forecast a network's counts from the last one on, and show the busiest streams."""
    from signals.wire.forecasts import DaysOff, NewForecast

    with open_service(context) as service:
        given = NewForecast(horizon=horizon, calendar=DaysOff(country=country))
        job = waited(service, service.request_forecast(number, given).id, as_json)
        assert job.result is not None
        made = service.forecast(job.result["forecast"])
        series = sorted(service.list_forecast_series(made.id), key=lambda s: -sum(s.mean))
        warnings = list(service.list_warnings(number))
    if as_json:
        print_json(
            {
                **made.model_dump(mode="json"),
                "series": [s.model_dump(mode="json") for s in series],
                "warnings": [w.model_dump(mode="json") for w in warnings],
            }
        )
        return
    from signals.tables.service import rows_table

    rows = [
        {
            "stream": s.stream,
            "next": f"{s.mean[0]:.0f}",
            "80 % of them": f"{s.quantiles['0.1'][0]:.0f} - {s.quantiles['0.9'][0]:.0f}",
            "in all": f"{sum(s.mean):.0f}",
        }
        for s in series[:10]
    ]
    title = f"forecast {made.id}, veh per {made.step_min} min from {made.origin_at:%d %b %H:%M} UTC on"
    console().print(rows_table(title, ("stream", "next", "80 % of them", "in all"), rows))
    console().print(
        f"{made.streams} streams, {made.left_out} counts left out as bad, {len(warnings)} early warnings"
    )


# ------------------------------------------------------------------------------------------------ plans

plan = typer.Typer(name="plan", help="Plans of the service: ask, look, decide.", no_args_is_help=True)
app.add_typer(plan)


@plan.command(name="request")
def request_plan(
    context: typer.Context,
    number: Annotated[int, typer.Option("--network", min=1, help="Number of the network.")],
    begins: Annotated[
        datetime | None,
        typer.Option(
            help="Start of the period on the network's clock; without one, for the uploaded traffic."
        ),
    ] = None,
    ends: Annotated[datetime | None, typer.Option(help="End of the period.")] = None,
    intersection: Annotated[
        list[int] | None, typer.Option(help="Only this one; may be given several times.")
    ] = None,
    corridor: Annotated[int | None, typer.Option(min=1, help="Only the signals of this corridor.")] = None,
    area: Annotated[int | None, typer.Option(min=1, help="Only the signals in this area.")] = None,
    objective: Annotated[Objective, typer.Option(help="What is to be small.")] = Objective.DELAY,
    stages: Annotated[StagePolicy, typer.Option(help="keep, or drop-protected.")] = StagePolicy.KEEP,
    clearance: Annotated[ClearancePolicy, typer.Option(help="keep, or ite.")] = ClearancePolicy.KEEP,
    controllers: Annotated[
        ControllerPolicy, typer.Option(help="nema where it is to be deployed to units on the street; or any.")
    ] = ControllerPolicy.ANY,
    max_cycle: Annotated[float, typer.Option(min=20, max=300, help="Longest cycle in seconds.")] = 180.0,
    seeds: Annotated[int, typer.Option(min=0, max=50, help="Seeds of the comparison; 0 for none.")] = 5,
    wait: Wait = True,
    as_json: Json = False,
) -> None:
    """Ask for a plan, and for its comparison in SUMO with the plan in place."""
    from signals.wire.plans import NewPlanRequest

    if (begins is None) != (ends is None):
        raise InputError("give both --begins and --ends, or neither")
    if sum(x is not None for x in (intersection or None, corridor, area)) > 1:
        raise InputError("give one of --intersection, --corridor and --area")
    scope: dict[str, Any] = {"kind": "network"}
    if intersection:
        scope = {"kind": "intersections", "intersections": intersection}
    elif corridor is not None:
        scope = {"kind": "corridor", "corridor_id": corridor}
    elif area is not None:
        scope = {"kind": "area", "area_id": area}
    with open_service(context) as service:
        demand: dict[str, Any] = {"kind": "scenario"}
        if begins is not None and ends is not None:
            from zoneinfo import ZoneInfo

            zone = ZoneInfo(service.network(number).timezone)
            demand = {
                "kind": "forecast",
                "begins_at": begins.replace(tzinfo=zone),
                "ends_at": ends.replace(tzinfo=zone),
            }
        given = NewPlanRequest.model_validate(
            {
                "network_id": number,
                "scope": scope,
                "demand": demand,
                "objective": objective,
                "stages": stages,
                "clearance": clearance,
                "controllers": controllers,
                "limits": {"min_cycle_s": min(30.0, max_cycle), "max_cycle_s": max_cycle},
                "validation": {"seeds": max(seeds, 2)} if seeds else None,
            }
        )
        request = service.request_plan(given)
        if wait:
            result = waited(service, request.job.id, as_json).result
            assert result is not None
            if result["comparison"] is not None:
                waited(service, service.comparison(result["comparison"]).job_id, as_json)
            _show_plan(service, result["plan"], as_json)
            return
    show_one(request, as_json, f"plan request {request.id} waits as job {request.job.id}")


@plan.command(name="show")
def show_plan(context: typer.Context, which: PlanArgument, as_json: Json = False) -> None:
    """Show how far a plan is, and what its comparisons say."""
    with open_service(context) as service:
        _show_plan(service, _full_hash(service, which), as_json)


@plan.command(name="list")
def list_plans(context: typer.Context, as_json: Json = False) -> None:
    """Show the plans that you may see."""
    with open_service(context) as service:
        columns = ("hash", "state", "network_id", "requests", "comparisons", "created_at")
        show(service.list_plans(), columns, "plans", as_json)


@plan.command(name="fetch")
def fetch_plan(
    context: typer.Context,
    which: PlanArgument,
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder to write to.")],
    as_json: Json = False,
) -> None:
    """Write a plan in all its forms: JSON, SUMO file, timing sheet, HCM report, time-space diagrams."""
    from signals.formats.files import write_whole

    require_folder(output)
    with open_service(context) as service:
        hash_ = _full_hash(service, which)
        files = []
        for document in service.plan(hash_).documents:
            path = output / Path(document.name).name
            write_whole(path, service.document(hash_, document.kind, document.name))
            files.append(str(path))
    if as_json:
        print_json({"files": files})
        return
    console().print(f"{len(files)} files in {output}")


@plan.command(name="compare")
def compare_plan(
    context: typer.Context,
    which: PlanArgument,
    against: Annotated[
        str | None, typer.Option(help="Hash of another plan; the one in place by default.")
    ] = None,
    seeds: Annotated[int, typer.Option(min=2, max=50, help="How many seeds.")] = 5,
    first_seed: Annotated[int, typer.Option(min=0, help="First of the seeds.")] = 201,
    as_json: Json = False,
) -> None:
    """Have a plan run in SUMO with other seeds, or beside another plan."""
    from signals.wire.plans import NewComparison

    with open_service(context) as service:
        hash_ = _full_hash(service, which)
        other = _full_hash(service, against) if against else None
        given = NewComparison(plan=hash_, against=other, seeds=seeds, first_seed=first_seed)
        made = service.compare(given)
        waited(service, made.job_id, as_json)
        _show_plan(service, hash_, as_json)


@plan.command(name="approve")
def approve_plan(
    context: typer.Context,
    which: PlanArgument,
    comparison: Annotated[
        int | None, typer.Option(min=1, help="The evidence; the latest by default.")
    ] = None,
    note: Annotated[str, typer.Option(help="Why.")] = "",
    against_advice: Annotated[
        bool, typer.Option("--against-advice", help="Although the verdict is to keep the current plan.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Approve a plan. Whoever asked for it can't."""
    from signals.wire.plans import NewApproval

    with open_service(context) as service:
        hash_ = _full_hash(service, which)
        if comparison is None:
            comparisons = service.plan(hash_).comparisons
            comparison = comparisons[-1] if comparisons else None
        given = NewApproval.model_validate(
            {
                "decision": "approve",
                "comparison_id": comparison,
                "note": note,
                "against_advice": against_advice,
            }
        )
        done = service.decide(hash_, given)
    show_one(done, as_json, f"plan {hash_[:16]}… is approved by {done.person}")


@plan.command(name="reject")
def reject_plan(
    context: typer.Context,
    which: PlanArgument,
    note: Annotated[str, typer.Option(help="Why.")] = "",
    as_json: Json = False,
) -> None:
    """Reject a plan."""
    _decide(context, which, "reject", note, as_json)


@plan.command(name="withdraw")
def withdraw_plan(
    context: typer.Context,
    which: PlanArgument,
    note: Annotated[str, typer.Option(help="Why.")] = "",
    as_json: Json = False,
) -> None:
    """Take an approval back."""
    _decide(context, which, "withdraw", note, as_json)


def _decide(context: typer.Context, which: str, decision: str, note: str, as_json: bool) -> None:
    from signals.wire.plans import NewApproval

    with open_service(context) as service:
        hash_ = _full_hash(service, which)
        done = service.decide(hash_, NewApproval.model_validate({"decision": decision, "note": note}))
    show_one(done, as_json, f"plan {hash_[:16]}…: {decision} by {done.person}")


def _full_hash(service: Client, text: str) -> str:
    if len(text) == 64:
        return text
    found = [plan.hash for plan in service.list_plans() if plan.hash.startswith(text)]
    if len(found) != 1 or len(text) < 4:
        raise InputError(f"{len(found)} plans begin with {text!r}; give more letters, `plan list` shows them")
    return found[0]


def _show_plan(service: Client, hash_: str, as_json: bool) -> None:
    made = service.plan(hash_)
    comparisons = [service.comparison(number) for number in made.comparisons]
    if as_json:
        print_json(
            {
                **made.model_dump(mode="json"),
                "compared": [comparison.model_dump(mode="json") for comparison in comparisons],
            }
        )
        return
    from signals.tables.service import comparison_table

    shown = console()
    for comparison in comparisons:
        if comparison.figures is not None:
            shown.print(comparison_table(comparison))
    shown.print(f"plan {made.hash} is {made.state}")
    shown.print(f"{service.url}/v1/plans/{made.hash}")


# ----------------------------------------------------------------------------------------- jobs, events

job = typer.Typer(name="job", help="Jobs of the service.", no_args_is_help=True)
app.add_typer(job)
JobArgument = Annotated[int, typer.Argument(min=1, help="Number of the job.")]


@job.command(name="list")
def list_jobs(context: typer.Context, as_json: Json = False) -> None:
    """Show the jobs that you may see."""
    with open_service(context) as service:
        columns = ("id", "kind", "state", "subject", "step", "attempt", "problem")
        show(service.list_jobs(), columns, "jobs", as_json)


@job.command(name="watch")
def watch_job(context: typer.Context, number: JobArgument, as_json: Json = False) -> None:
    """Show a job as it goes, until it has ended."""
    with open_service(context) as service:
        done = waited(service, number, as_json)
    show_one(done, as_json, f"job {done.id} is {done.state}: {done.result}")


@job.command(name="cancel")
def cancel_job(context: typer.Context, number: JobArgument, as_json: Json = False) -> None:
    """Ask for the end of a job."""
    with open_service(context) as service:
        asked = service.cancel(number)
    show_one(asked, as_json, f"job {asked.id} is {asked.state}")


event = typer.Typer(name="event", help="Events on the street.", no_args_is_help=True)
app.add_typer(event)
EventArgument = Annotated[int, typer.Argument(min=1, help="Number of the event.")]


@event.command(name="report")
def report_event(
    context: typer.Context,
    kind: Annotated[str, typer.Argument(help="signal-fault, detector-fault, incident, congestion, …")],
    title: Annotated[str, typer.Argument(help="What happened, in a line.")],
    area: Annotated[int | None, typer.Option(min=1, help="Where: number of an area.")] = None,
    intersection: Annotated[int | None, typer.Option(min=1, help="Where: number of an intersection.")] = None,
    severity: Annotated[str, typer.Option(help="low, normal, high or critical.")] = "normal",
    text: Annotated[str, typer.Option(help="What else is known.")] = "",
    as_json: Json = False,
) -> None:
    """Report something; whoever answers for the place is sent."""
    from pydantic import ValidationError

    from signals.wire.events import NewEventAtIntersection, NewEventInArea

    if (area is None) == (intersection is None):
        raise InputError("give --area or --intersection")
    given = {"kind": kind, "title": title, "severity": severity, "text": text}
    try:
        body: NewEventInArea | NewEventAtIntersection
        if area is not None:
            body = NewEventInArea.model_validate({**given, "area_id": area})
        else:
            body = NewEventAtIntersection.model_validate({**given, "intersection_id": intersection})
    except ValidationError as error:
        raise InputError("; ".join(f"{e['loc'][0]}: {e['msg']}" for e in error.errors())) from None
    with open_service(context) as service:
        made = service.report_event(body)
    sent = f"{made.assignee} is sent" if made.assignee else "nobody answers for that; set the area's duties"
    show_one(made, as_json, f"event {made.id}: {sent}, response due {made.respond_by:%d %b %H:%M} UTC")


@event.command(name="list")
def list_events(context: typer.Context, as_json: Json = False) -> None:
    """Show the events that you may see."""
    with open_service(context) as service:
        columns = ("id", "kind", "severity", "title", "state", "assignee", "respond_by", "escalations")
        show(service.list_events(), columns, "events", as_json)


@event.command(name="respond")
def respond_to_event(
    context: typer.Context,
    number: EventArgument,
    text: Annotated[str, typer.Argument(help="What is being done.")],
    as_json: Json = False,
) -> None:
    """Say what is being done about an event."""
    from signals.wire.events import ResponseGiven

    with open_service(context) as service:
        after = service.respond(number, ResponseGiven(text=text))
    show_one(after, as_json, f"event {after.id} is {after.state}")


@event.command(name="close")
def close_event(
    context: typer.Context,
    number: EventArgument,
    text: Annotated[str, typer.Argument(help="How it ended.")],
    as_json: Json = False,
) -> None:
    """Report how an event ended."""
    from signals.wire.events import FeedbackGiven

    with open_service(context) as service:
        after = service.close_event(number, FeedbackGiven(text=text))
    show_one(after, as_json, f"event {after.id} is {after.state}")
