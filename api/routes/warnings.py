"""Early warnings: when and where a forecast is likely to exceed what the plan in force can pass."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Query
from sqlalchemy import func, select
from sqlalchemy.orm import contains_eager, joinedload

from api.deps import CallerDep, PagingDep, StoreDep
from api.problems import responses
from signals.errors import NotFound
from signals.store.tables import Area, Forecast, WarningRow
from signals.wire.base import Id, Moment, Page
from signals.wire.warnings import WarningFacts, WarningShown

router = APIRouter(prefix="/early-warnings", tags=["forecasts"])

WarningId = Annotated[int, Path(ge=1, le=2**53, examples=[1])]


@router.get("", responses=responses())
def list_early_warnings(
    caller: CallerDep,
    store: StoreDep,
    paging: PagingDep,
    network_id: Annotated[Id | None, Query()] = None,
    intersection_id: Annotated[Id | None, Query()] = None,
    forecast_id: Annotated[
        Id | None, Query(description="A forecast; the latest of each network where none is given.")
    ] = None,
    ends_after: Annotated[
        Moment | None, Query(alias="from", description="Only what lasts beyond this moment.")
    ] = None,
    begins_before: Annotated[
        Moment | None, Query(alias="to", description="Only what begins before this moment.")
    ] = None,
) -> Page[WarningShown]:
    """The early warnings that the caller may see."""
    query = (
        select(WarningRow)
        .join(Area, Area.id == WarningRow.area_id)
        .join(WarningRow.forecast)
        .where(caller.sees(Area.path))
        .options(contains_eager(WarningRow.forecast), joinedload(WarningRow.intersection))
    )
    if forecast_id is None:
        latest = select(func.max(Forecast.id)).group_by(Forecast.network_id)
        query = query.where(WarningRow.forecast_id.in_(latest))
    else:
        query = query.where(WarningRow.forecast_id == forecast_id)
    if network_id is not None:
        query = query.where(Forecast.network_id == network_id)
    if intersection_id is not None:
        query = query.where(WarningRow.intersection_id == intersection_id)
    if ends_after is not None:
        query = query.where(WarningRow.ends_at > ends_after)
    if begins_before is not None:
        query = query.where(WarningRow.begins_at < begins_before)
    with store.reading() as session:
        return paging.page(session, query, WarningRow.id, show_warning)


@router.get("/{warning_id}", responses=responses(404))
def read_early_warning(warning_id: WarningId, caller: CallerDep, store: StoreDep) -> WarningShown:
    """One early warning, of whichever forecast."""
    with store.reading() as session:
        seen = select(WarningRow).join(Area, Area.id == WarningRow.area_id).where(caller.sees(Area.path))
        found = session.scalar(seen.where(WarningRow.id == warning_id))
        if found is None:
            raise NotFound(f"there is no early warning {warning_id}")
        return show_warning(found)


def show_warning(row: WarningRow) -> WarningShown:
    """An early warning as it goes over the wire."""
    return WarningShown(
        id=row.id,
        network_id=row.forecast.network_id,
        forecast_id=row.forecast_id,
        area_id=row.area_id,
        intersection_id=row.intersection_id,
        signal=row.intersection.signal,
        begins_at=row.begins_at,
        ends_at=row.ends_at,
        facts=WarningFacts.model_validate(row.facts),
    )
