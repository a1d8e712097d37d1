"""Areas of the city, and who answers for them."""

from __future__ import annotations

from fastapi import APIRouter, Response
from sqlalchemy import select

from api.deps import (
    CallerDep,
    IfMatch,
    IfNoneMatch,
    OnceDep,
    PagingDep,
    StoreDep,
    etag,
    require_version,
    shown,
    unchanged,
)
from api.params import AreaId
from api.problems import responses
from signals.access import Action, get_area
from signals.store import areas
from signals.store.tables import Area, Duty
from signals.wire.areas import AreaChange, AreaShown, DutiesGiven, DutiesShown, DutyShown, NewArea
from signals.wire.base import Page

router = APIRouter(prefix="/areas", tags=["areas"])


@router.get("", responses=responses())
def list_areas(caller: CallerDep, store: StoreDep, paging: PagingDep) -> Page[AreaShown]:
    """The areas that the caller may see."""
    with store.reading() as session:
        return paging.page(session, select(Area).where(caller.sees(Area.path)), Area.id, show_area)


@router.post("", status_code=201, response_model=AreaShown, responses=responses(403, 404, 409))
def create_area(body: NewArea, caller: CallerDep, store: StoreDep, once: OnceDep) -> Response:
    """Make an area inside another one. Takes the role admin there."""
    with store.writing() as session:

        def make() -> Response:
            parent = get_area(session, caller, body.parent_id, Action.EDIT_AREA)
            bounds = [list(corner) for corner in body.bounds] if body.bounds else None
            area = areas.add_area(session, caller.actor, parent, body.name, bounds)
            return shown(show_area(area), status=201, version=area.version, location=f"/v1/areas/{area.id}")

        return once(session, make)


@router.get("/{area_id}", response_model=AreaShown, responses=responses(404))
def read_area(
    area_id: AreaId, caller: CallerDep, store: StoreDep, if_none_match: IfNoneMatch = None
) -> Response:
    """One area."""
    with store.reading() as session:
        area = get_area(session, caller, area_id)
        if unchanged(if_none_match, etag(area.version)):
            return Response(status_code=304, headers={"ETag": etag(area.version)})
        return shown(show_area(area), version=area.version)


@router.patch("/{area_id}", response_model=AreaShown, responses=responses(403, 404, 409, 412, 428))
def change_area(
    area_id: AreaId, body: AreaChange, caller: CallerDep, store: StoreDep, if_match: IfMatch
) -> Response:
    """Change an area's name or bounds; what isn't named stays. Takes the role admin there."""
    with store.writing() as session:
        area = get_area(session, caller, area_id, Action.EDIT_AREA)
        require_version(if_match, area.version)
        changes = body.model_dump(exclude_none=True)
        changed = areas.change_area(session, caller.actor, area, **changes) if changes else area
        return shown(show_area(changed), version=changed.version)


@router.get("/{area_id}/duties", response_model=DutiesShown, responses=responses(404))
def read_duties(area_id: AreaId, caller: CallerDep, store: StoreDep) -> Response:
    """Who answers for the area, and how much waits for them."""
    with store.reading() as session:
        area = get_area(session, caller, area_id)
        duties = areas.list_duties(session, area)
        waiting = areas.open_events(session, [duty.person_id for duty in duties])
        return shown(_show_duties(duties, waiting), version=area.version)


@router.put("/{area_id}/duties", response_model=DutiesShown, responses=responses(403, 404, 409, 412, 428))
def set_duties(
    area_id: AreaId, body: DutiesGiven, caller: CallerDep, store: StoreDep, if_match: IfMatch
) -> Response:
    """Say who answers for the area from now on. Takes the role admin there."""
    with store.writing() as session:
        area = get_area(session, caller, area_id, Action.EDIT_AREA)
        require_version(if_match, area.version)
        wanted = [(duty.person, [kind.value for kind in duty.kinds]) for duty in body.duties]
        duties = areas.set_duties(session, caller.actor, area, wanted)
        waiting = areas.open_events(session, [duty.person_id for duty in duties])
        return shown(_show_duties(duties, waiting), version=area.version)


def show_area(area: Area) -> AreaShown:
    """An area as it goes over the wire."""
    return AreaShown(
        id=area.id,
        name=area.name,
        parent_id=area.parent_id,
        path=area.path,
        bounds=area.bounds,
        created_at=area.created_at,
        version=area.version,
    )


def _show_duties(duties: list[Duty], waiting: dict[int, int]) -> DutiesShown:
    return DutiesShown(
        duties=[
            DutyShown(
                person_id=duty.person_id,
                person=duty.person.name,
                kinds=duty.kinds,
                open_events=waiting[duty.person_id],
            )
            for duty in duties
        ]
    )
