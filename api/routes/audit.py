"""The audit: what was done, by whom, and whether the record of it still holds."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query
from sqlalchemy import select
from sqlalchemy.orm import Session

from api.deps import CallerDep, PagingDep, StoreDep
from api.problems import responses
from signals.access import Action, Caller
from signals.errors import Forbidden
from signals.store import audit
from signals.store.areas import CITY
from signals.store.tables import Area, AuditEntry
from signals.wire.audit import AuditEntryShown, AuditVerified
from signals.wire.base import Id, Moment, Page

router = APIRouter(prefix="/audit", tags=["audit"])


@router.get("", responses=responses(403))
def list_audit(
    caller: CallerDep,
    store: StoreDep,
    paging: PagingDep,
    subject: Annotated[
        str | None,
        Query(pattern=r"^[!-~]{1,200}$", description="Path of what it was done to.", examples=["events/12"]),
    ] = None,
    action: Annotated[
        str | None,
        Query(pattern=r"^[a-z.-]{1,60}$", description="What was done.", examples=["event.report"]),
    ] = None,
    person_id: Annotated[Id | None, Query(description="Who did it.")] = None,
    since: Annotated[Moment | None, Query(description="Not before this moment.")] = None,
    until: Annotated[Moment | None, Query(description="Before this moment.")] = None,
) -> Page[AuditEntryShown]:
    """The entries of areas in which the caller is admin; of the whole city's admin those of no area, too."""
    query = select(AuditEntry)
    if subject is not None:
        query = query.where(AuditEntry.subject == subject)
    if action is not None:
        query = query.where(AuditEntry.action == action)
    if person_id is not None:
        query = query.where(AuditEntry.person_id == person_id)
    if since is not None:
        query = query.where(AuditEntry.at >= since)
    if until is not None:
        query = query.where(AuditEntry.at < until)
    with store.reading() as session:
        if not _reads_all(session, caller):
            mine = select(Area.id).where(caller.sees(Area.path, Action.READ_AUDIT))
            if session.scalar(mine.limit(1)) is None:
                raise Forbidden("to read the audit takes the role admin in some area, whose entries it shows")
            query = query.where(AuditEntry.area_id.in_(mine))
        return paging.page(session, query, AuditEntry.id, show_entry)


@router.get("/verification", responses=responses(403, 409))
def verify_audit(caller: CallerDep, store: StoreDep) -> AuditVerified:
    """The length and the head of the chain, after every entry was looked at; 409 names the first that is wrong.

    Takes the role admin of the whole city.
    """
    with store.reading() as session:
        if not _reads_all(session, caller):
            raise Forbidden("to verify the audit takes the role admin of the whole city; ask one of them")
        entries, head = audit.verify(session)
        return AuditVerified(entries=entries, head=head)


def show_entry(entry: AuditEntry) -> AuditEntryShown:
    """An entry as it goes over the wire."""
    return AuditEntryShown(
        id=entry.id,
        at=entry.at,
        person_id=entry.person_id,
        area_id=entry.area_id,
        request_id=entry.request_id,
        action=entry.action,
        subject=entry.subject,
        details=entry.details,
        previous=entry.previous,
        hash=entry.hash,
    )


def _reads_all(session: Session, caller: Caller) -> bool:
    return caller.may(Action.READ_AUDIT, session.get_one(Area, CITY).path)
