"""Screening and forecasting the counts of a network."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

import numpy as np
from sqlalchemy import select
from sqlalchemy.orm import Session

from signals.demand.calendar import Calendar
from signals.demand.forecast import forecast_counts
from signals.demand.screening import Screened, screen, summary
from signals.early_warning import EarlyWarning, schedules_in_force, under_programs, warn
from signals.errors import InputError
from signals.formats.sumo.network import read_network
from signals.jobs.context import Context, Finish
from signals.model.counts import CountForecast, CountTable, Mark, Times
from signals.model.network import Network
from signals.store.counts import read_counts
from signals.store.session import Store
from signals.store.tables import (
    Forecast,
    ForecastSeries,
    IntersectionRow,
    RoadNetwork,
    Screening,
    Stream,
    WarningRow,
)
from signals.store.uploads import unpack_upload

LEAST_SCORED = 0.5
"""Share of a forecast's intervals that must have come in before its error is stated."""


def screen_counts(context: Context) -> Finish:
    """The work of `screen`: every count of the last weeks looked at, findings and a summary kept."""
    given = context.arguments
    network_id, origin = int(given["network_id"]), datetime.fromisoformat(given["origin_at"])
    context.progress("reading counts", 0, 2)
    table = load_counts(context.store, network_id, origin, int(given["weeks"]))
    context.progress("screening", 1, 2)
    screened = screen(table, calendar_of(given["calendar"]), max_vph=given["max_flow_vph"])
    series = [facts.to_json() for facts in summary(screened)]
    context.progress("screening", 2, 2)

    def finish(session: Session) -> dict[str, Any]:
        row = Screening(
            network_id=network_id,
            job_id=context.job_id,
            made_at=datetime.now(UTC),
            first_at=moment(table.times[0]),
            last_at=moment(table.times[-1]),
            series=series,
            findings=[finding.to_json() for finding in screened.findings],
        )
        session.add(row)
        session.flush()
        return {"screening": row.id, "findings": len(screened.findings)}

    return finish


def forecast(context: Context) -> Finish:
    """The work of `forecast`: counts to come of every stream, warnings, and the error of forecasts before."""
    given = context.arguments
    network_id, origin = int(given["network_id"]), datetime.fromisoformat(given["origin_at"])
    made = make_forecast(
        context,
        network_id,
        origin,
        horizon=int(given["horizon"]),
        weeks=int(given["weeks"]),
        levels=given["levels"],
        calendar=calendar_of(given["calendar"]),
        streams=given["streams"],
    )
    context.progress("looking for warnings", 0, 1)
    warnings, unwatched = _warnings(context, network_id, made, float(given["warn_above"]))
    errors = _errors(context.store, network_id, made.table)
    context.progress("looking for warnings", 1, 1)

    def finish(session: Session) -> dict[str, Any]:
        number = _write(session, context, network_id, origin, made, warnings, errors)
        return {"forecast": number, "warnings": len(warnings), "not_watched": unwatched}

    return finish


@dataclass(frozen=True)
class MadeForecast:
    """A forecast with the counts that it was made of; `times_utc` is datetime64[m][n_ahead]."""

    table: CountTable
    forecast: CountForecast
    times_utc: Times
    left_out: int

    @property
    def inputs_sha256(self) -> str:
        """Hash of the counts that were used, 64 hex digits."""
        digest = hashlib.sha256(repr((self.table.names, str(self.table.start), self.table.step_min)).encode())
        digest.update(self.table.usable.tobytes())
        return digest.hexdigest()


def make_forecast(
    context: Context,
    network_id: int,
    origin: datetime,
    *,
    horizon: int,
    weeks: int,
    levels: Sequence[float],
    calendar: Calendar | None,
    streams: Sequence[int] | None = None,
) -> MadeForecast:
    """Counts to come from `origin` on, learned from those of the weeks before it, bad ones left out.

    Raises
    ------
    InputError
        Where there are none.
    """
    context.progress("reading counts", 0, 3)
    table = load_counts(context.store, network_id, origin, weeks, streams)
    context.progress("screening", 1, 3)
    screened: Screened = screen(table, calendar)
    context.progress("forecasting", 2, 3)
    made, _ = forecast_counts(screened.table, horizon, levels=levels, calendar=calendar)
    context.progress("forecasting", 3, 3)
    left_out = int((screened.table.marks == Mark.BAD).sum())
    return MadeForecast(screened.table, made, table.times_after(table.n_intervals, horizon), left_out)


def load_counts(
    store: Store, network_id: int, origin: datetime, weeks: int, streams: Sequence[int] | None = None
) -> CountTable:
    """The counts of the weeks before `origin`, up to the interval that ends there.

    Raises
    ------
    InputError
        Where there are none.
    """
    step_min = step_of(store, network_id)
    with store.reading() as session:
        last = as_minutes(origin) - np.timedelta64(step_min, "m")
        first = last - np.timedelta64(7 * weeks, "D")
        table = read_counts(session, network_id, streams=streams, first=first, last=last)
    known = np.flatnonzero(~np.isnan(table.values).all(axis=1))
    if not len(known):
        raise InputError(
            f"network {network_id} has no counts in the {weeks} weeks before {origin.isoformat()}"
        )
    begin = int(known[0])
    return CountTable(
        table.names,
        table.times[begin],
        table.step_min,
        table.values[begin:],
        timezone=table.timezone,
        remarks=table.remarks,
    )


def step_of(store: Store, network_id: int) -> int:
    """Length of the intervals of a network's counts [min].

    Raises
    ------
    InputError
        Where it has none.
    """
    with store.reading() as session:
        step_min = session.scalar(select(Stream.step_min).where(Stream.network_id == network_id).limit(1))
    if step_min is None:
        raise InputError(f"network {network_id} has no counts")
    return step_min


def calendar_of(given: Mapping[str, Any]) -> Calendar | None:
    """The calendar that was asked for; None where none was."""
    own = {date.fromisoformat(day): name for day, name in given["own"].items()}
    if not (given["country"] or own):
        return None
    return Calendar(given["country"], given["subdivision"], own)


def as_minutes(time: datetime) -> np.datetime64:
    """A moment as numpy has it: datetime64[m], UTC."""
    return np.datetime64(time.astimezone(UTC).replace(tzinfo=None), "m")


def moment(time: np.datetime64) -> datetime:
    """The moment of a UTC time of numpy's."""
    return datetime.fromtimestamp(int(time.astype("datetime64[s]").astype(np.int64)), UTC)


# --------------------------------------------------------------------------------------- what comes of it


def _warnings(
    context: Context, network_id: int, made: MadeForecast, threshold: float
) -> tuple[list[EarlyWarning], str]:
    """Warnings for what the network's own programs can pass, or why none can be given."""
    scenario = unpack_upload(context.store, network_id, context.folder / "network").scenario
    network = read_network(scenario)
    if not set(made.forecast.names) & _places(network):
        return [], "no stream is named after a movement or an approach of the network"
    try:
        forecast, capacities = under_programs(made.forecast, made.table, network, schedules_in_force(network))
        return list(warn(forecast, capacities, threshold=threshold, covered_only=True)), ""
    except InputError as reason:
        return [], str(reason)


def _places(network: Network) -> set[str]:
    rows = network.intersections.values()
    return {m.id for i in rows for m in i.movements} | {a.edge for i in rows for a in i.approaches}


def _errors(store: Store, network_id: int, table: CountTable) -> dict[int, float]:
    """WAPE [%] of earlier forecasts without one whose counts have come in."""
    found: dict[int, float] = {}
    column = {name: k for k, name in enumerate(table.names)}
    usable = table.usable
    with store.reading() as session:
        waiting = select(Forecast).where(Forecast.network_id == network_id, Forecast.wape.is_(None))
        for row in session.scalars(waiting.order_by(Forecast.id.desc()).limit(50)):
            if row.step_min != table.step_min:
                continue
            first = int((as_minutes(row.origin_at) - table.start) / np.timedelta64(row.step_min, "m"))
            if first < 0:
                continue
            actual = usable[first : first + row.horizon]
            if len(actual) < LEAST_SCORED * row.horizon:
                continue
            missed = total = 0.0
            of_row = select(ForecastSeries, Stream.name).join(ForecastSeries.stream)
            for series, name in session.execute(of_row.where(ForecastSeries.forecast_id == row.id)):
                if name not in column:
                    continue
                mean = np.frombuffer(series.values, "<f4")[: len(actual)]
                came = actual[:, column[name]]
                missed += float(np.nansum(np.abs(came - mean)))
                total += float(np.nansum(came))
            if total > 0:
                found[row.id] = round(100 * missed / total, 3)
    return found


def _write(
    session: Session,
    context: Context,
    network_id: int,
    origin: datetime,
    made: MadeForecast,
    warnings: Sequence[EarlyWarning],
    errors: Mapping[int, float],
) -> int:
    for earlier, wape in errors.items():
        session.get_one(Forecast, earlier).wape = wape
    row = Forecast(
        network_id=network_id,
        job_id=context.job_id,
        made_at=datetime.now(UTC),
        origin_at=origin,
        step_min=made.forecast.step_min,
        horizon=len(made.forecast.times),
        levels=list(made.forecast.levels),
        inputs_sha256=made.inputs_sha256,
        left_out=made.left_out,
        network=session.get_one(RoadNetwork, network_id),
    )
    session.add(row)
    session.flush()
    streams = {
        name: stream
        for stream, name in session.execute(
            select(Stream.id, Stream.name).where(Stream.network_id == network_id)
        )
    }
    session.add_all(
        ForecastSeries(
            forecast_id=row.id,
            stream_id=streams[name],
            values=np.vstack([made.forecast.mean[:, k], made.forecast.quantiles[:, k].T])
            .astype("<f4")
            .tobytes(),
        )
        for k, name in enumerate(made.forecast.names)
    )
    _write_warnings(session, row, made, warnings)
    return row.id


def _write_warnings(
    session: Session, row: Forecast, made: MadeForecast, warnings: Sequence[EarlyWarning]
) -> None:
    of_approach = {
        approach["edge"]: intersection
        for intersection in session.scalars(
            select(IntersectionRow).where(IntersectionRow.network_id == row.network_id)
        )
        for approach in intersection.facts["approaches"]
    }
    # an hour that comes twice in autumn: the first one stands for both, as in the capacities
    index = {time: k for k, time in reversed(list(enumerate(made.forecast.times)))}
    for warning in warnings:
        intersection = of_approach[warning.approach]
        begins = moment(made.times_utc[index[warning.start]])
        session.add(
            WarningRow(
                forecast_id=row.id,
                area_id=intersection.area_id,
                intersection_id=intersection.id,
                begins_at=begins,
                ends_at=begins + timedelta(minutes=warning.slots * row.step_min),
                facts=warning.to_json(),
            )
        )
