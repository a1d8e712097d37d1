"""Networks uploaded, to be read."""

from __future__ import annotations

from sqlalchemy.orm import Session

from signals.access import Action, get_area
from signals.model.states import JobKind, NetworkState
from signals.orders.desk import Desk, require_timezone
from signals.store.audit import record
from signals.store.changes import flush_new
from signals.store.tables import (
    Job,
    RoadNetwork,
    Upload,
)


def upload_network(
    session: Session, desk: Desk, area_id: int, name: str, timezone: str, content: bytes, sha256: str
) -> tuple[RoadNetwork, Job]:
    """A network and the job that reads its files.

    Raises
    ------
    NotFound, Forbidden
        Where the area isn't one that the caller may upload to.
    Conflict
        Where the area has a network of this name, or there is no such timezone.
    QueueFull
        Where too many jobs wait.
    """
    area = get_area(session, desk.caller, area_id, Action.UPLOAD_NETWORK)
    require_timezone(timezone)
    if session.get(Upload, sha256) is None:
        session.add(Upload(sha256=sha256, content=content, created_at=desk.now))
        session.flush()
    network = RoadNetwork(
        area_id=area.id,
        name=name,
        timezone=timezone,
        state=NetworkState.READING,
        upload_sha256=sha256,
        facts={},
        created_by=desk.caller.person_id,
        created_at=desk.now,
    )
    taken = f"area {area.name!r} has a network {name!r} already; take another name"
    flush_new(session, network, taken)
    job = desk.submit(session, JobKind.READ_NETWORK, area.id, f"networks/{network.id}", network_id=network.id)
    record(
        session,
        desk.caller.actor,
        "network.upload",
        f"networks/{network.id}",
        area_id=area.id,
        name=name,
        sha256=sha256,
    )
    return network, job
