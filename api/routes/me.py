"""Who the caller is."""

from __future__ import annotations

from fastapi import APIRouter
from sqlalchemy import select
from sqlalchemy.orm import joinedload

from api.deps import CallerDep, StoreDep
from api.problems import responses
from signals.store.tables import ApiKey, Grant, Person
from signals.wire.people import KeyShown, Me, RoleShown

router = APIRouter(prefix="/me", tags=["people"])


@router.get("", responses=responses())
def read_me(caller: CallerDep, store: StoreDep) -> Me:
    """The person behind the key, the roles with their areas, and until when the key works."""
    held = (
        select(Grant)
        .where(Grant.person_id == caller.person_id)
        .options(joinedload(Grant.area))
        .order_by(Grant.id)
    )
    with store.reading() as session:
        person = session.get_one(Person, caller.person_id)
        key = session.get_one(ApiKey, caller.key_id)
        roles = [
            RoleShown(role=grant.role, area_id=grant.area_id, area=grant.area.name, path=grant.area.path)
            for grant in session.scalars(held)
        ]
        return Me(
            person_id=person.id,
            name=person.name,
            contact=person.contact,
            roles=roles,
            key=KeyShown(prefix=key.prefix, label=key.label, expires_at=key.expires_at),
        )
