"""Jobs in the store: who asked for what, how far it is, and who may write its result.

A job is queued, then running under a lease, then done, failed or cancelled. Every lease has a number, the
`attempt`, and whatever a worker writes is written on the condition that its attempt is still the latest and the
job still running. So a worker that was thought dead, and wasn't, can do no harm.

All transactions here lock the job's row before the audit's head; what a caller adds to them should keep to that.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, and_, func, or_, select, update
from sqlalchemy.orm import Session

from signals.errors import Conflict, NotFound, QueueFull
from signals.model.states import URGENT, JobKind, JobState
from signals.store.audit import Actor, record
from signals.store.tables import AuditEntry, Job

SERVICE = Actor(None, "jobs")
"""Who does what no person asked for."""
RECENT = 20
"""Jobs that a guess of the waiting time looks at."""
UNKNOWN_WAIT_S, LONGEST_WAIT_S = 30, 600
RELEASE = "job.release"


@dataclass(frozen=True, slots=True)
class Renewal:
    """What a worker learns when it renews its lease: whether the job is still its own, and should go on."""

    ours: bool
    cancel_asked: bool = False
    overdue: bool = False


@dataclass(frozen=True, slots=True)
class QueueCounts:
    """How many jobs wait and how many run."""

    queued: int
    running: int


def submit_job(
    session: Session,
    *,
    kind: JobKind,
    area_id: int,
    subject: str,
    arguments: Mapping[str, Any],
    created_by: int,
    queue_limit: int,
    deadline_at: datetime | None = None,
    request_id: str = "",
) -> Job:
    """A new job at the end of the queue. `arguments` must be plain values, `subject` a path.

    Raises
    ------
    QueueFull
        Where `queue_limit` jobs or more are waiting.
    """
    _require_room(session, queue_limit - 1)
    with session.begin_nested():
        job = Job(
            kind=kind,
            area_id=area_id,
            subject=subject,
            arguments=dict(arguments),
            state=JobState.QUEUED,
            created_by=created_by,
            created_at=datetime.now(UTC),
            deadline_at=deadline_at,
        )
        session.add(job)
        session.flush()
        actor = Actor(created_by, request_id)
        record(
            session, actor, "job.submit", path_of(job.id), area_id=area_id, kind=str(kind), subject_of=subject
        )
        # The audit's head is ours until the transaction ends: whoever added a job meanwhile is counted now.
        _require_room(session, queue_limit)
    return job


def path_of(job_id: int) -> str:
    """What the audit calls a job: `jobs/7`."""
    return f"jobs/{job_id}"


def claim_job(session: Session, job_id: int, lease_s: float) -> Job | None:
    """The job, running from now on under a lease with a new attempt.

    None where it isn't waiting any more, or its deadline has passed. Of several that claim it, one gets it.
    """
    now = datetime.now(UTC)
    claimed = session.scalar(
        update(Job)
        .where(Job.id == job_id, Job.state == JobState.QUEUED, Job.cancel_asked.is_(False))
        .where(or_(Job.deadline_at.is_(None), Job.deadline_at > now))
        .values(
            state=JobState.RUNNING,
            attempt=Job.attempt + 1,
            lease_until=now + timedelta(seconds=lease_s),
            started_at=now,
            step="",
            steps_done=0,
            steps_of=0,
        )
        .returning(Job.id)
        .execution_options(synchronize_session=False)
    )
    if claimed is None:
        return None
    job = session.get_one(Job, job_id, populate_existing=True)
    _record(session, job, "job.claim")
    return job


def renew_lease(
    session: Session, job_id: int, attempt: int, lease_s: float, step: str, done: int, of: int
) -> Renewal:
    """Hold on to a job for another `lease_s` seconds, and say how far it is.

    A lease that has run out can be renewed as long as nobody has released the job.
    """
    now = datetime.now(UTC)
    row = session.execute(
        update(Job)
        .where(_held(job_id, attempt))
        .values(lease_until=now + timedelta(seconds=lease_s), step=step[:100], steps_done=done, steps_of=of)
        .returning(Job.cancel_asked, Job.deadline_at)
        .execution_options(synchronize_session=False)
    ).first()
    if row is None:
        return Renewal(ours=False)
    return Renewal(True, row.cancel_asked, row.deadline_at is not None and row.deadline_at <= now)


def hold_job(session: Session, job_id: int, attempt: int) -> Job | None:
    """The job, kept from being released or cancelled until this transaction ends; None where it was lost."""
    return session.scalar(
        select(Job).where(_held(job_id, attempt)).with_for_update().execution_options(populate_existing=True)
    )


def finish_job(session: Session, job_id: int, attempt: int, result: Mapping[str, Any]) -> bool:
    """Whether the job is done now, with this result; false where the lease was lost.

    To write what the work found in the same transaction, call `hold_job` first.
    """
    return _end(session, job_id, attempt, JobState.DONE, "job.finish", result=dict(result))


def fail_job(session: Session, job_id: int, attempt: int, problem: str) -> bool:
    """Whether the job has failed now, with this problem; false where the lease was lost."""
    return _end(session, job_id, attempt, JobState.FAILED, "job.fail", problem=problem)


def end_cancelled(session: Session, job_id: int, attempt: int) -> bool:
    """Whether the job, which its worker has stopped, is cancelled now; false where the lease was lost."""
    return _end(session, job_id, attempt, JobState.CANCELLED, "job.cancel")


def ask_cancel(session: Session, job: Job, actor: Actor = SERVICE) -> JobState:
    """The state after a wish to cancel: a waiting job ends at once, a running one is asked to.

    Raises
    ------
    Conflict
        Where it is done or has failed already.
    NotFound
        Where it is gone.
    """
    found = _locked(session, job.id)
    if found is None:
        raise NotFound(f"there is no job {job.id}")
    if found.state in (JobState.DONE, JobState.FAILED):
        raise Conflict(f"job {job.id} is {found.state} already and can't be cancelled")
    if found.state == JobState.QUEUED:
        _close(found, JobState.CANCELLED)
        found.cancel_asked = True
        _record(session, found, "job.cancel", actor)
    elif found.state == JobState.RUNNING and not found.cancel_asked:
        found.cancel_asked = True
        _record(session, found, "job.ask-cancel", actor)
    return JobState(found.state)


def any_expired(session: Session, now: datetime) -> bool:
    """Whether `release_expired` or `end_overdue` would find something; takes no lock."""
    return session.scalar(select(Job.id).where(or_(_expired(now), _overdue(now))).limit(1)) is not None


def release_expired(session: Session, now: datetime, most_attempts: int) -> list[Job]:
    """The jobs whose workers fell silent: queued again, or failed after `most_attempts` such deaths.

    One whose cancelling was asked for is cancelled, one whose deadline has passed has failed.
    """
    # A row that is locked belongs to a worker that is renewing or finishing just now.
    lapsed = select(Job).where(_expired(now)).order_by(Job.id).with_for_update(skip_locked=True)
    jobs = list(session.scalars(lapsed.execution_options(populate_existing=True)))
    for job in jobs:
        _release(session, job, now, most_attempts)
    return jobs


def release_dead(session: Session, job_id: int, attempt: int, most_attempts: int) -> Job | None:
    """A job whose worker is known to have died, released as `release_expired` does, without waiting for its lease.

    A worker may die before it could claim the job: `attempt` is then one more than the job's, and counts too.
    None where the job is no longer in this attempt.
    """
    job = _locked(session, job_id)
    if job is not None and job.state == JobState.QUEUED and job.attempt == attempt - 1:
        job = claim_job(session, job_id, 0)
    if job is None or job.state != JobState.RUNNING or job.attempt != attempt:
        return None
    _release(session, job, datetime.now(UTC), most_attempts)
    return job


def hand_back(session: Session, job_id: int, attempt: int) -> bool:
    """Whether the job was running in this attempt and waits again now; nobody has died, so none is counted."""
    job = hold_job(session, job_id, attempt)
    if job is None:
        return False
    if job.cancel_asked:
        return end_cancelled(session, job_id, attempt)
    job.state, job.lease_until = JobState.QUEUED, None
    _record(session, job, "job.hand-back")
    return True


def end_overdue(session: Session, now: datetime) -> list[Job]:
    """The waiting jobs whose deadline has passed: they have failed now."""
    late = select(Job).where(_overdue(now)).order_by(Job.id).with_for_update(skip_locked=True)
    jobs = list(session.scalars(late.execution_options(populate_existing=True)))
    for job in jobs:
        _close(job, JobState.FAILED, late_message(job))
        _record(session, job, "job.fail", problem=job.problem)
    return jobs


def late_message(job: Job) -> str:
    """What is said of a job that was too late."""
    due = job.deadline_at.astimezone(UTC).isoformat(sep=" ", timespec="seconds") if job.deadline_at else "?"
    return f"its deadline, {due}, passed before it was done; ask for less, or leave it more time"


def list_waiting(session: Session, limit: int) -> list[Job]:
    """The first jobs of the queue, at most `limit` of them; urgent ones go before the others."""
    queue = select(Job).where(Job.state == JobState.QUEUED).order_by(Job.kind.not_in(URGENT), Job.id)
    return list(session.scalars(queue.limit(limit)))


def queue_counts(session: Session) -> QueueCounts:
    """How long the queue is."""
    return QueueCounts(_count(session, JobState.QUEUED), _count(session, JobState.RUNNING))


# ------------------------------------------------------------------------------------------------- inside


def _held(job_id: int, attempt: int) -> ColumnElement[bool]:
    """The fence: only the holder of the latest lease passes."""
    return and_(Job.id == job_id, Job.attempt == attempt, Job.state == JobState.RUNNING)


def _expired(now: datetime) -> ColumnElement[bool]:
    return and_(Job.state == JobState.RUNNING, Job.lease_until < now)


def _overdue(now: datetime) -> ColumnElement[bool]:
    return and_(Job.state == JobState.QUEUED, Job.deadline_at <= now)


def _locked(session: Session, job_id: int) -> Job | None:
    return session.scalar(
        select(Job).where(Job.id == job_id).with_for_update().execution_options(populate_existing=True)
    )


def _end(session: Session, job_id: int, attempt: int, state: JobState, action: str, **values: Any) -> bool:
    ended = session.scalar(
        update(Job)
        .where(_held(job_id, attempt))
        .values(state=state, lease_until=None, finished_at=datetime.now(UTC), **values)
        .returning(Job.id)
        .execution_options(synchronize_session=False)
    )
    if ended is None:
        return False
    job = session.get_one(Job, job_id, populate_existing=True)
    details = {"problem": job.problem} if job.problem else {}
    _record(session, job, action, SERVICE, **details)
    return True


def _close(job: Job, state: JobState, problem: str = "") -> None:
    job.state, job.problem = state, problem
    job.lease_until, job.finished_at = None, datetime.now(UTC)


def _release(session: Session, job: Job, now: datetime, most_attempts: int) -> None:
    if job.cancel_asked:
        _close(job, JobState.CANCELLED)
        _record(session, job, "job.cancel")
        return
    deaths = 1 + _earlier_deaths(session, job.id)
    if job.deadline_at is not None and job.deadline_at <= now:
        _close(job, JobState.FAILED, late_message(job))
    elif deaths >= most_attempts:
        times = "once" if deaths == 1 else f"{deaths} times"
        _close(
            job,
            JobState.FAILED,
            f"the worker died {times} while at it, and it isn't tried again; its memory or a fault of the "
            "work may be why: see the log of the workers",
        )
    else:
        job.state, job.lease_until = JobState.QUEUED, None
        _record(session, job, RELEASE, deaths=deaths)
        return
    _record(session, job, "job.fail", problem=job.problem)


def _earlier_deaths(session: Session, job_id: int) -> int:
    """From the audit: attempts count what was handed back, too."""
    of_job = (AuditEntry.subject == path_of(job_id), AuditEntry.action == RELEASE)
    return session.scalar(select(func.count()).select_from(AuditEntry).where(*of_job)) or 0


def _record(session: Session, job: Job, action: str, actor: Actor = SERVICE, **details: Any) -> None:
    session.flush()
    record(session, actor, action, path_of(job.id), area_id=job.area_id, attempt=job.attempt, **details)


def _count(session: Session, state: JobState) -> int:
    return session.scalar(select(func.count()).select_from(Job).where(Job.state == state)) or 0


def _require_room(session: Session, most: int) -> None:
    queued = _count(session, JobState.QUEUED)
    if queued > most:
        wait_s = _seconds_until_room(session)
        raise QueueFull(f"{queued} jobs are waiting, no more are taken in: try again in {wait_s} s", wait_s)


def _seconds_until_room(session: Session) -> int:
    """What a recent job took, shared among those that run."""
    took = [
        (finished - started).total_seconds()
        for started, finished in session.execute(
            select(Job.started_at, Job.finished_at)
            .where(Job.state == JobState.DONE)
            .order_by(Job.id.desc())
            .limit(RECENT)
        )
        if started is not None and finished is not None
    ]
    if not took:
        return UNKNOWN_WAIT_S
    running = max(1, _count(session, JobState.RUNNING))
    return min(max(1, math.ceil(sum(took) / len(took) / running)), LONGEST_WAIT_S)
