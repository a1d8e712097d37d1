"""Forecasts and screenings of counts."""

from __future__ import annotations

from typing import Annotated

import numpy as np
from fastapi import APIRouter, Query, Response
from sqlalchemy import func, select
from sqlalchemy.orm import Session, joinedload

from api.deps import CallerDep, DeskDep, OnceDep, PagingDep, StoreDep, shown
from api.params import ForecastId, NetworkId
from api.problems import responses
from api.routes.jobs import show_job
from signals.access import Caller
from signals.errors import NotFound
from signals.orders.counts import request_forecast, request_screening
from signals.store.tables import Area, Forecast, ForecastSeries, Job, RoadNetwork
from signals.wire.base import Id, Page
from signals.wire.forecasts import ForecastSeriesShown, ForecastShown, NewForecast, NewScreening
from signals.wire.jobs import JobShown

router = APIRouter(tags=["forecasts"])


@router.post(
    "/networks/{network_id}/forecasts",
    status_code=202,
    response_model=JobShown,
    responses=responses(403, 404, 409),
)
def create_forecast(
    network_id: NetworkId, body: NewForecast, desk: DeskDep, store: StoreDep, once: OnceDep
) -> Response:
    """Ask for a forecast of counts; the job's result names it. Early warnings are written along with it."""
    with store.writing() as session:
        return once(session, lambda: _accepted(request_forecast(session, desk, network_id, body)))


@router.post(
    "/networks/{network_id}/screenings",
    status_code=202,
    response_model=JobShown,
    responses=responses(403, 404, 409),
)
def create_screening(
    network_id: NetworkId, body: NewScreening, desk: DeskDep, store: StoreDep, once: OnceDep
) -> Response:
    """Have a network's counts looked through; what is found is shown as their quality."""
    with store.writing() as session:
        return once(session, lambda: _accepted(request_screening(session, desk, network_id, body)))


@router.get("/forecasts", responses=responses())
def list_forecasts(
    caller: CallerDep, store: StoreDep, paging: PagingDep, network_id: Annotated[Id | None, Query()] = None
) -> Page[ForecastShown]:
    """The forecasts that the caller may see, the oldest first."""
    query = (
        select(Forecast)
        .join(RoadNetwork, RoadNetwork.id == Forecast.network_id)
        .join(Area, Area.id == RoadNetwork.area_id)
        .where(caller.sees(Area.path))
    )
    if network_id is not None:
        query = query.where(Forecast.network_id == network_id)
    with store.reading() as session:
        return paging.page(session, query, Forecast.id, lambda forecast: _show(session, forecast))


@router.get("/forecasts/{forecast_id}", responses=responses(404))
def read_forecast(forecast_id: ForecastId, caller: CallerDep, store: StoreDep) -> ForecastShown:
    """One forecast; its figures are in its series."""
    with store.reading() as session:
        return _show(session, _get(session, caller, forecast_id))


@router.get("/forecasts/{forecast_id}/series", responses=responses(404))
def list_forecast_series(
    forecast_id: ForecastId,
    caller: CallerDep,
    store: StoreDep,
    paging: PagingDep,
    stream_id: Annotated[Id | None, Query()] = None,
) -> Page[ForecastSeriesShown]:
    """The figures of a forecast, stream by stream: means and quantiles, veh per interval."""
    with store.reading() as session:
        forecast = _get(session, caller, forecast_id)
        query = (
            select(ForecastSeries)
            .where(ForecastSeries.forecast_id == forecast_id)
            .options(joinedload(ForecastSeries.stream))
        )
        if stream_id is not None:
            query = query.where(ForecastSeries.stream_id == stream_id)
        return paging.page(
            session, query, ForecastSeries.stream_id, lambda series: _show_series(forecast, series)
        )


def _accepted(job: Job) -> Response:
    return shown(show_job(job), status=202, location=f"/v1/jobs/{job.id}")


def _get(session: Session, caller: Caller, forecast_id: int) -> Forecast:
    forecast = session.get(Forecast, forecast_id, options=[joinedload(Forecast.network)])
    if forecast is None:
        raise NotFound(f"there is no forecast {forecast_id}")
    caller.require_view(forecast.network.area, f"forecast {forecast_id}")
    return forecast


def _show(session: Session, forecast: Forecast) -> ForecastShown:
    streams = select(func.count()).where(ForecastSeries.forecast_id == forecast.id)
    return ForecastShown(
        id=forecast.id,
        network_id=forecast.network_id,
        job_id=forecast.job_id,
        made_at=forecast.made_at,
        origin_at=forecast.origin_at,
        step_min=forecast.step_min,
        horizon=forecast.horizon,
        levels=forecast.levels,
        streams=session.scalar(streams) or 0,
        left_out=forecast.left_out,
        inputs_sha256=forecast.inputs_sha256,
        wape=forecast.wape,
    )


def _show_series(forecast: Forecast, series: ForecastSeries) -> ForecastSeriesShown:
    rows = np.frombuffer(series.values, dtype="<f4").reshape(1 + len(forecast.levels), forecast.horizon)
    mean, *quantiles = (row.astype(float).round(2).tolist() for row in rows)
    return ForecastSeriesShown(
        id=series.stream_id,
        stream=series.stream.name,
        begins_at=forecast.origin_at,
        step_min=forecast.step_min,
        mean=mean,
        quantiles={f"{level:g}": row for level, row in zip(forecast.levels, quantiles, strict=True)},
    )
