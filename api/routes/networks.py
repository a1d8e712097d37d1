"""Networks, their intersections and corridors."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Response
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from api.deps import (
    CallerDep,
    DeskDep,
    IfMatch,
    IfNoneMatch,
    PagingDep,
    StoreDep,
    etag,
    require_version,
    shown,
    unchanged,
)
from api.params import IntersectionId, NetworkId
from api.problems import responses
from api.uploads import NETWORK_TYPES, NetworkUpload, upload_body
from signals.access import Action, Caller, get_area, get_intersection, get_network
from signals.errors import Conflict
from signals.model.states import NetworkState
from signals.orders.desk import require_timezone
from signals.orders.networks import upload_network
from signals.store.audit import record
from signals.store.changes import change_row
from signals.store.tables import Area, CorridorRow, IntersectionRow, Job, RoadNetwork, Stream
from signals.wire.base import Id, Name, Page
from signals.wire.networks import (
    CorridorShown,
    IntersectionChange,
    IntersectionShown,
    NetworkChange,
    NetworkShown,
    Timezone,
)

router = APIRouter(tags=["networks"])


@router.get("/networks", responses=responses())
def list_networks(
    caller: CallerDep,
    store: StoreDep,
    paging: PagingDep,
    area_id: Annotated[Id | None, Query()] = None,
    name: Annotated[Name | None, Query()] = None,
) -> Page[NetworkShown]:
    """The networks that the caller may see."""
    query = select(RoadNetwork).join(RoadNetwork.area).where(caller.sees(Area.path))
    if area_id is not None:
        query = query.where(RoadNetwork.area_id == area_id)
    if name is not None:
        query = query.where(RoadNetwork.name == name)
    with store.reading() as session:
        return paging.page(session, query, RoadNetwork.id, lambda network: show_network(session, network))


@router.post(
    "/networks",
    status_code=202,
    response_model=NetworkShown,
    responses=responses(403, 404, 409, 413, 415),
    openapi_extra=upload_body(NETWORK_TYPES),
)
def create_network(
    desk: DeskDep,
    store: StoreDep,
    upload: NetworkUpload,
    name: Annotated[Name, Query(examples=["Main Street"])],
    area_id: Annotated[Id, Query(examples=[1])] = 1,
    timezone: Annotated[Timezone, Query(examples=["Europe/Vienna"])] = "UTC",
) -> Response:
    """Upload a network: a zip of a .sumocfg with all its files, or a .net.xml, packed or not.

    The files are read by a job; until it is done the network's state is `reading`. What in them could do harm is
    refused, options of the .sumocfg that have nothing to do with traffic are left out, and said so.
    """
    content = upload.path.read_bytes()
    with store.writing() as session:

        def make() -> Response:
            network, _ = upload_network(session, desk, area_id, name, timezone, content, upload.sha256)
            model = show_network(session, network)
            return shown(model, status=202, version=network.version, location=f"/v1/networks/{network.id}")

        return upload.once(session, make)


@router.get("/networks/{network_id}", response_model=NetworkShown, responses=responses(404))
def read_network(
    network_id: NetworkId, caller: CallerDep, store: StoreDep, if_none_match: IfNoneMatch = None
) -> Response:
    """One network."""
    with store.reading() as session:
        network = get_network(session, caller, network_id)
        if unchanged(if_none_match, etag(network.version)):
            return Response(status_code=304, headers={"ETag": etag(network.version)})
        return shown(show_network(session, network), version=network.version)


@router.patch(
    "/networks/{network_id}", response_model=NetworkShown, responses=responses(403, 404, 409, 412, 428)
)
def change_network(
    network_id: NetworkId, body: NetworkChange, caller: CallerDep, store: StoreDep, if_match: IfMatch
) -> Response:
    """Change a network's name, or its timezone while it has no counts."""
    with store.writing() as session:
        network = get_network(session, caller, network_id, Action.EDIT_NETWORK)
        require_version(if_match, network.version)
        changes = body.model_dump(exclude_none=True)
        if "timezone" in changes and changes["timezone"] != network.timezone:
            require_timezone(changes["timezone"])
            if session.scalar(select(Stream.id).where(Stream.network_id == network.id).limit(1)):
                raise Conflict(
                    "the network has counts, and its timezone decides what their days are; it stays"
                )
        _change(session, caller, network, f"networks/{network.id}", changes)
        return shown(show_network(session, network), version=network.version)


@router.get("/networks/{network_id}/intersections", responses=responses(404))
def list_intersections(
    network_id: NetworkId, caller: CallerDep, store: StoreDep, paging: PagingDep
) -> Page[IntersectionShown]:
    """The intersections of a network that lie where the caller may see them."""
    with store.reading() as session:
        get_network(session, caller, network_id)
        query = (
            select(IntersectionRow)
            .join(IntersectionRow.area)
            .where(IntersectionRow.network_id == network_id, caller.sees(Area.path))
        )
        return paging.page(session, query, IntersectionRow.id, show_intersection)


@router.get("/networks/{network_id}/corridors", responses=responses(404))
def list_corridors(
    network_id: NetworkId, caller: CallerDep, store: StoreDep, paging: PagingDep
) -> Page[CorridorShown]:
    """The corridors of a network: signals in a row along which traffic flows."""
    with store.reading() as session:
        get_network(session, caller, network_id)
        query = select(CorridorRow).where(CorridorRow.network_id == network_id)
        return paging.page(session, query, CorridorRow.id, _show_corridor)


@router.get("/intersections/{intersection_id}", response_model=IntersectionShown, responses=responses(404))
def read_intersection(
    intersection_id: IntersectionId, caller: CallerDep, store: StoreDep, if_none_match: IfNoneMatch = None
) -> Response:
    """One intersection."""
    with store.reading() as session:
        row = get_intersection(session, caller, intersection_id)
        if unchanged(if_none_match, etag(row.version)):
            return Response(status_code=304, headers={"ETag": etag(row.version)})
        return shown(show_intersection(row), version=row.version)


@router.patch(
    "/intersections/{intersection_id}",
    response_model=IntersectionShown,
    responses=responses(403, 404, 409, 412, 428),
)
def change_intersection(
    intersection_id: IntersectionId,
    body: IntersectionChange,
    caller: CallerDep,
    store: StoreDep,
    if_match: IfMatch,
) -> Response:
    """Change an intersection's name, or hand it to another area; takes the role in both."""
    with store.writing() as session:
        row = get_intersection(session, caller, intersection_id, Action.EDIT_NETWORK)
        require_version(if_match, row.version)
        changes = body.model_dump(exclude_none=True)
        if "area_id" in changes:
            get_area(session, caller, changes["area_id"], Action.EDIT_NETWORK)
        _change(session, caller, row, f"intersections/{row.id}", changes)
        return shown(show_intersection(row), version=row.version)


def _change(
    session: Session,
    caller: Caller,
    row: RoadNetwork | IntersectionRow,
    subject: str,
    changes: dict[str, object],
) -> None:
    if not changes:
        return
    taken = f"there is another {subject.partition('/')[0][:-1]} of this name already"
    before = change_row(session, row, changes, taken)
    kind = subject.partition("/")[0].removesuffix("s")
    record(
        session, caller.actor, f"{kind}.change", subject, area_id=row.area_id, before=before, after=changes
    )


def show_network(session: Session, network: RoadNetwork) -> NetworkShown:
    """A network as it goes over the wire."""
    job = session.scalar(
        select(func.min(Job.id)).where(Job.subject == f"networks/{network.id}", Job.kind == "read-network")
    )
    return NetworkShown(
        id=network.id,
        area_id=network.area_id,
        name=network.name,
        timezone=network.timezone,
        state=NetworkState(network.state),
        problem=network.problem,
        upload_sha256=network.upload_sha256,
        facts=network.facts,
        job_id=job,
        created_at=network.created_at,
        version=network.version,
    )


def show_intersection(row: IntersectionRow) -> IntersectionShown:
    """An intersection as it goes over the wire."""
    return IntersectionShown(
        id=row.id,
        network_id=row.network_id,
        area_id=row.area_id,
        signal=row.signal,
        name=row.name,
        x_m=row.x_m,
        y_m=row.y_m,
        facts=row.facts,
        version=row.version,
    )


def _show_corridor(row: CorridorRow) -> CorridorShown:
    return CorridorShown(id=row.id, network_id=row.network_id, name=row.name, signals=row.signals)
