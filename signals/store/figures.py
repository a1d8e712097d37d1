"""The store in figures, for those who watch it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import func, or_, select
from sqlalchemy.orm import Session

from signals.model.states import EventState, JobState
from signals.store.plans import plan_states
from signals.store.tables import CountBatch, Event, Forecast, Job

JOB_BUCKETS_S = (1.0, 3.0, 10.0, 30.0, 60.0, 120.0, 300.0, 900.0, 3600.0)


@dataclass(frozen=True)
class Durations:
    """How many jobs took no longer than each of `JOB_BUCKETS_S`, then how many there are, and their sum [s]."""

    within: tuple[int, ...]
    total_s: float


@dataclass(frozen=True)
class Figures:
    """Counts of jobs by kind and state, durations by kind, plans by state, errors of forecasts by network."""

    jobs: Mapping[tuple[str, str], int]
    durations: Mapping[str, Durations]
    plans: Mapping[str, int]
    forecast_wape: Mapping[int, float]
    counts_received: int
    events_open: int
    events_overdue: int


def figures_of(session: Session) -> Figures:
    """The figures of this moment."""
    now = datetime.now(UTC)
    rows = session.execute(select(Job.kind, Job.state, func.count()).group_by(Job.kind, Job.state))
    jobs = {(kind, state): count for kind, state, count in rows}
    took: defaultdict[str, list[float]] = defaultdict(list)
    done = select(Job.kind, Job.started_at, Job.finished_at).where(Job.state == JobState.DONE)
    for kind, started, finished in session.execute(done):
        if started and finished:
            took[kind].append((finished - started).total_seconds())
    latest = select(func.max(Forecast.id)).where(Forecast.wape.is_not(None)).group_by(Forecast.network_id)
    errors = session.execute(select(Forecast.network_id, Forecast.wape).where(Forecast.id.in_(latest)))
    still_open = Event.state != EventState.CLOSED
    late = or_(Event.feedback_by < now, (Event.respond_by < now) & Event.responded_at.is_(None))
    return Figures(
        jobs,
        {
            kind: Durations(
                (*(sum(t <= bound for t in times) for bound in JOB_BUCKETS_S), len(times)), sum(times)
            )
            for kind, times in took.items()
        },
        plan_states(session),
        {network: wape for network, wape in errors if wape is not None},
        session.scalar(select(func.coalesce(func.sum(CountBatch.counts), 0))) or 0,
        session.scalar(select(func.count()).select_from(Event).where(still_open)) or 0,
        session.scalar(select(func.count()).select_from(Event).where(still_open, late)) or 0,
    )
