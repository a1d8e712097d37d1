"""The audit: a chain of entries, each holding the hash of the one before.

An entry that was altered no longer fits its own hash, one that was removed leaves a gap in the numbers, and the
head, kept apart, tells of a chain that was cut short. Whoever can write to both could forge a chain; to hold
against that, keep the head of every day elsewhere (`greensplit audit verify` prints it).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from signals.errors import GreensplitError
from signals.store.tables import AuditEntry, AuditHead

FIRST = "0" * 64
"""What the first entry names as the one before."""


class AuditBroken(GreensplitError):
    """The chain doesn't hold; the message says at which entry and how."""


@dataclass(frozen=True, slots=True)
class Actor:
    """Who does something: a person, by which request. No person: the service itself."""

    person_id: int | None
    request_id: str = ""


def record(
    session: Session,
    actor: Actor,
    action: str,
    subject: str,
    *,
    area_id: int | None = None,
    at: datetime | None = None,
    **details: Any,
) -> AuditEntry:
    """Add an entry in the caller's transaction: what is done and its trace are kept both or not at all.

    `action` is a verb with its object (`plan.approve`), `subject` the path of what it was done to
    (`plans/ab12…`). `details` must be plain values, and hold no secrets.
    """
    head = _locked_head(session)
    entry = AuditEntry(
        id=head.entries + 1,
        at=at or datetime.now(UTC),
        person_id=actor.person_id,
        area_id=area_id,
        request_id=actor.request_id,
        action=action,
        subject=subject,
        details=details,
        previous=head.hash,
    )
    entry.hash = _hash_of(entry)
    session.add(entry)
    session.flush()
    session.execute(update(AuditHead).values(entries=entry.id, hash=entry.hash))
    return entry


def verify(session: Session) -> tuple[int, str]:
    """How many entries the chain has and the hash of the last one, after all were looked at.

    Raises
    ------
    AuditBroken
        At the first entry that is missing, altered or out of order.
    """
    head = session.get(AuditHead, 1)
    previous, count = FIRST, 0
    in_order = select(AuditEntry).order_by(AuditEntry.id).execution_options(yield_per=1000)
    with closing(session.scalars(in_order)) as entries:
        for entry in entries:
            count += 1
            if entry.id != count:
                raise AuditBroken(f"entry {count} is missing: the next one there is number {entry.id}")
            if entry.previous != previous:
                raise AuditBroken(f"entry {count} doesn't follow from entry {count - 1}: one was exchanged")
            if entry.hash != _hash_of(entry):
                raise AuditBroken(f"entry {count} was altered: its content no longer fits its hash")
            previous = entry.hash
    if head is None or (head.entries, head.hash) != (count, previous):
        known = head.entries if head else 0
        raise AuditBroken(
            f"the chain ends at entry {count}, its head says {known}: entries were cut off or added"
        )
    return count, previous


def _locked_head(session: Session) -> AuditHead:
    """The head, which nobody else can read for writing until this transaction ends."""
    found = session.scalar(
        select(AuditHead).where(AuditHead.id == 1).with_for_update().execution_options(populate_existing=True)
    )
    if found is None:
        raise AuditBroken("the audit has no head: the database was not set up by `greensplit store upgrade`")
    return found


def _hash_of(entry: AuditEntry) -> str:
    content: Mapping[str, Any] = {
        "id": entry.id,
        "at": entry.at.astimezone(UTC).isoformat(timespec="microseconds"),
        "person": entry.person_id,
        "area": entry.area_id,
        "request": entry.request_id,
        "action": entry.action,
        "subject": entry.subject,
        "details": entry.details,
        "previous": entry.previous,
    }
    text_of = json.dumps(content, sort_keys=True, ensure_ascii=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text_of.encode()).hexdigest()
