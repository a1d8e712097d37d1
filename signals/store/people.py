"""People, their roles and their keys.

A key is 256 random bits behind a prefix that names what it is. It is shown when it is made; kept are its SHA-256,
which is enough for a random secret of this length, and its first letters, to tell keys apart.
"""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sqlalchemy import bindparam, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session, joinedload, selectinload

from signals.errors import Conflict, InputError, NotFound
from signals.model.states import Role
from signals.store.audit import Actor, record
from signals.store.tables import ApiKey, Area, Grant, Person

KEY_MARK = "gsk_"
SECRET_BYTES = 32
SHOWN_LETTERS = 12
"""Of a key, its mark included: enough to find it, far too few to guess the rest."""
DEFAULT_DAYS = 365
MOST_DAYS = 3650

_HOLDER = (
    select(ApiKey.id.label("key_id"), Person.id.label("person_id"), Person.name, Grant.role, Area.path)
    .join(Person, Person.id == ApiKey.person_id)
    .outerjoin(Grant, Grant.person_id == Person.id)
    .outerjoin(Area, Area.id == Grant.area_id)
    .where(ApiKey.digest == bindparam("digest"))
    .where(ApiKey.revoked_at.is_(None), ApiKey.expires_at > bindparam("now"))
    .order_by(Grant.id)
)
"""One query, as every request begins with it."""


@dataclass(frozen=True, slots=True)
class Holder:
    """The person behind a key, and the roles held: pairs of a role and the path of its area."""

    key_id: int
    person_id: int
    name: str
    roles: tuple[tuple[Role, str], ...]


def digest_of(key: str) -> str:
    """SHA-256 of a key, 64 hex digits."""
    return hashlib.sha256(key.encode()).hexdigest()


def add_person(session: Session, actor: Actor, name: str, contact: str = "") -> Person:
    """Somebody new.

    Raises
    ------
    Conflict
        Where the name is taken.
    """
    name = _clean(name, "a person's name")
    person = Person(name=name, contact=contact.strip(), created_at=datetime.now(UTC))
    try:
        with session.begin_nested():
            session.add(person)
            session.flush()
    except IntegrityError:
        raise Conflict(f"there is a person {name!r} already") from None
    record(session, actor, "person.add", f"people/{person.id}", name=name)
    return person


def find_person(session: Session, name: str) -> Person | None:
    """The person of this name."""
    return session.scalar(select(Person).where(Person.name == name.strip()))


def get_person(session: Session, name: str) -> Person:
    """The person of this name.

    Raises
    ------
    NotFound
        Where there is none.
    """
    person = find_person(session, name)
    if person is None:
        raise NotFound(f"there is no person {name!r}; `greensplit keys people` lists them")
    return person


def grant_role(session: Session, actor: Actor, person: Person, role: Role, area: Area) -> None:
    """Give a role in an area and all below it; nothing happens where it is held already."""
    held = select(Grant).where(Grant.person_id == person.id, Grant.area_id == area.id, Grant.role == role)
    if session.scalar(held) is None:
        session.add(Grant(person_id=person.id, area_id=area.id, role=role))
        session.flush()
        record(session, actor, "role.grant", f"people/{person.id}", area_id=area.id, role=role)


def withdraw_role(session: Session, actor: Actor, person: Person, role: Role, area: Area) -> None:
    """Take a role back.

    Raises
    ------
    NotFound
        Where the person doesn't hold it there.
    """
    held = select(Grant).where(Grant.person_id == person.id, Grant.area_id == area.id, Grant.role == role)
    grant = session.scalar(held)
    if grant is None:
        raise NotFound(f"{person.name} doesn't hold the role {role} in area {area.name!r}")
    session.delete(grant)
    record(session, actor, "role.withdraw", f"people/{person.id}", area_id=area.id, role=role)


def create_key(
    session: Session, actor: Actor, person: Person, *, days: int = DEFAULT_DAYS, label: str = ""
) -> tuple[ApiKey, str]:
    """A new key of a person, and the key itself: this is the only time that it is seen.

    Raises
    ------
    InputError
        Where it is to last less than a day or more than ten years.
    """
    if not 1 <= days <= MOST_DAYS:
        raise InputError(f"a key of {days} days: from 1 to {MOST_DAYS}")
    secret = KEY_MARK + secrets.token_urlsafe(SECRET_BYTES)
    now = datetime.now(UTC)
    key = ApiKey(
        person_id=person.id,
        label=label.strip(),
        prefix=secret[:SHOWN_LETTERS],
        digest=digest_of(secret),
        created_at=now,
        expires_at=now + timedelta(days=days),
    )
    session.add(key)
    session.flush()
    record(session, actor, "key.create", f"keys/{key.id}", person=person.id, prefix=key.prefix, days=days)
    return key, secret


def revoke_key(session: Session, actor: Actor, prefix: str) -> ApiKey:
    """End a key at once, by its first letters.

    Raises
    ------
    NotFound
        Where no key that still works begins so, or several do.
    """
    now = datetime.now(UTC)
    found = session.scalars(
        select(ApiKey).where(ApiKey.prefix.startswith(prefix, autoescape=True), ApiKey.revoked_at.is_(None))
    ).all()
    if len(found) != 1 or len(prefix) < len(KEY_MARK) + 4:
        raise NotFound(
            f"{len(found)} keys begin with {prefix!r}; give more letters, `greensplit keys list` shows them"
        )
    found[0].revoked_at = now
    record(session, actor, "key.revoke", f"keys/{found[0].id}", prefix=found[0].prefix)
    return found[0]


def list_keys(session: Session) -> list[ApiKey]:
    """All keys, the newest last."""
    return list(session.scalars(select(ApiKey).options(joinedload(ApiKey.person)).order_by(ApiKey.id)))


def list_people(session: Session) -> list[Person]:
    """Everybody, by name, with roles."""
    roles = selectinload(Person.grants).joinedload(Grant.area)
    return list(session.scalars(select(Person).options(roles).order_by(Person.name)))


def find_holder(session: Session, key: str) -> Holder | None:
    """Whose a key is; None where it is unknown, expired or revoked."""
    rows = session.execute(_HOLDER, {"digest": digest_of(key), "now": datetime.now(UTC)}).all()
    if not rows:
        return None
    roles = tuple((Role(row.role), row.path) for row in rows if row.role is not None)
    return Holder(rows[0].key_id, rows[0].person_id, rows[0].name, roles)


def _clean(text: str, what: str) -> str:
    text = " ".join(text.split())
    if not 0 < len(text) <= 200 or not text.isprintable():
        raise InputError(f"{what} of {len(text)} letters: from 1 to 200, printable")
    return text
