"""Where orders are taken, and what several kinds of them require."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import numpy as np
from sqlalchemy import select
from sqlalchemy.orm import Session

from signals.access import Caller
from signals.errors import Conflict
from signals.model.states import JobKind, NetworkState
from signals.store.counts import last_count_at
from signals.store.jobs import submit_job
from signals.store.tables import (
    Job,
    RoadNetwork,
    Stream,
)


@dataclass(frozen=True, slots=True)
class Desk:
    """Where orders are taken: who asks, how many jobs may wait, and the time."""

    caller: Caller
    queue_limit: int
    now: datetime

    def submit(
        self,
        session: Session,
        kind: JobKind,
        area_id: int,
        subject: str,
        deadline_at: datetime | None = None,
        **arguments: Any,
    ) -> Job:
        """A job of the caller's.

        Raises
        ------
        QueueFull
            Where too many jobs wait.
        """
        return submit_job(
            session,
            kind=kind,
            area_id=area_id,
            subject=subject,
            arguments=arguments,
            created_by=self.caller.person_id,
            queue_limit=self.queue_limit,
            deadline_at=deadline_at,
            request_id=self.caller.request_id,
        )


def require_timezone(name: str) -> None:
    """Nothing where there is such a timezone.

    Raises
    ------
    Conflict
        Where there is none.
    """
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise Conflict(f"there is no timezone {name!r}; give an IANA name such as Europe/Vienna") from None


def require_ready(network: RoadNetwork) -> None:
    if network.state == NetworkState.READING:
        raise Conflict(f"network {network.id} is still being read; watch its job and ask again")
    if network.state == NetworkState.REFUSED:
        raise Conflict(f"network {network.id} can't be used: {network.problem}")


def last_count(session: Session, network: RoadNetwork) -> datetime:
    """End of the latest interval with a count."""
    last = last_count_at(session, network.id)
    if last is None:
        raise Conflict(f"network {network.id} has no counts yet; send some first")
    step_min = session.scalar(select(Stream.step_min).where(Stream.network_id == network.id).limit(1))
    end = last + np.timedelta64(step_min or 15, "m")
    return datetime.fromtimestamp(int(end.astype("datetime64[s]").astype(np.int64)), UTC)
