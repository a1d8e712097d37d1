"""The audit on the wire: what was done, by whom, and whether the record of it still holds."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from signals.wire.base import Moment, Shown, example


class AuditEntryShown(Shown):
    """One thing that was done. `person_id` is null for the service itself, `area_id` where it was in no area."""

    model_config = example(
        id=41,
        at="2026-11-25T07:30:00Z",
        person_id=5,
        area_id=4,
        request_id="0d6b4e2c9f1a",
        action="event.report",
        subject="events/12",
        details={"kind": "signal-fault", "severity": "high"},
        previous="0" * 64,
        hash="1" * 64,
    )
    id: int
    at: Moment
    person_id: int | None
    area_id: int | None
    request_id: str
    action: str
    subject: str
    details: dict[str, Any]
    previous: str = Field(description="hash of the entry before")
    hash: str = Field(description="SHA-256 over the entry and the hash before")


class AuditVerified(Shown):
    """The chain holds: how many entries it has, and the last one's hash. Keep it elsewhere, to compare later."""

    model_config = example(entries=41, head="1" * 64)
    entries: int
    head: str
