"""Jobs: how far they are, live; and an end to them."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from typing import Annotated

from anyio import sleep, to_thread
from fastapi import APIRouter, Depends, Query
from fastapi.sse import EventSourceResponse, ServerSentEvent
from sqlalchemy import select
from sqlalchemy.orm import Session, joinedload

from api.deps import CallerDep, PagingDep, StoreDep
from api.params import JobId
from api.problems import responses
from signals.access import Action, Caller
from signals.errors import NotFound
from signals.model.states import ENDED, JobKind, JobState
from signals.store.jobs import ask_cancel
from signals.store.tables import Area, Job
from signals.wire.base import Id, Page
from signals.wire.jobs import JobShown

router = APIRouter(prefix="/jobs", tags=["jobs"])

LOOK_EVERY_S = 0.4
LONGEST_WATCH_S = 3600.0


@router.get("", responses=responses())
def list_jobs(
    caller: CallerDep,
    store: StoreDep,
    paging: PagingDep,
    state: Annotated[JobState | None, Query()] = None,
    kind: Annotated[JobKind | None, Query()] = None,
    area_id: Annotated[Id | None, Query()] = None,
) -> Page[JobShown]:
    """The jobs of the areas that the caller may see, the oldest first."""
    query = select(Job).join(Job.area).where(caller.sees(Area.path))
    if state is not None:
        query = query.where(Job.state == state)
    if kind is not None:
        query = query.where(Job.kind == kind)
    if area_id is not None:
        query = query.where(Job.area_id == area_id)
    with store.reading() as session:
        return paging.page(session, query, Job.id, show_job)


@router.get("/{job_id}", responses=responses(404))
def read_job(job_id: JobId, caller: CallerDep, store: StoreDep) -> JobShown:
    """One job."""
    with store.reading() as session:
        return show_job(_get(session, caller, job_id))


@router.post("/{job_id}/cancel", status_code=202, responses=responses(403, 404, 409))
def cancel_job(job_id: JobId, caller: CallerDep, store: StoreDep) -> JobShown:
    """Ask for the end of a job: a waiting one ends at once, a running one at its next step."""
    with store.writing() as session:
        job = _get(session, caller, job_id, Action.CANCEL_JOB)
        ask_cancel(session, job, caller.actor)
        session.refresh(job)
        return show_job(job)


def _seen(job_id: JobId, caller: CallerDep, store: StoreDep) -> int:
    with store.reading() as session:
        return _get(session, caller, job_id).id


@router.get("/{job_id}/events", response_class=EventSourceResponse, responses=responses(404))
async def watch_job(job: Annotated[int, Depends(_seen)], store: StoreDep) -> AsyncIterator[ServerSentEvent]:
    """A job as it goes (server-sent events): `job` whenever something changes, the last one when it has ended.

    Each event holds the whole job, so that nothing is lost where a connection is.
    """

    def look() -> JobShown:
        with store.reading() as session:
            return show_job(session.get_one(Job, job))

    shown: JobShown | None = None
    until = time.monotonic() + LONGEST_WATCH_S
    while time.monotonic() < until:
        now = await to_thread.run_sync(look)
        if now != shown:
            shown = now
            yield ServerSentEvent(event="job", data=now)
        if now.state in ENDED:
            return
        await sleep(LOOK_EVERY_S)


def _get(session: Session, caller: Caller, job_id: int, action: Action = Action.VIEW) -> Job:
    job = session.get(Job, job_id, options=[joinedload(Job.area)])
    if job is None:
        raise NotFound(f"there is no job {job_id}")
    caller.require(action, job.area, f"job {job_id}")
    return job


def show_job(job: Job) -> JobShown:
    """A job as it goes over the wire."""
    return JobShown(
        id=job.id,
        kind=JobKind(job.kind),
        state=JobState(job.state),
        subject=job.subject,
        area_id=job.area_id,
        step=job.step,
        steps_done=job.steps_done,
        steps_of=job.steps_of,
        attempt=job.attempt,
        cancel_asked=job.cancel_asked,
        problem=job.problem,
        result=job.result,
        created_by=job.created_by,
        created_at=job.created_at,
        started_at=job.started_at,
        finished_at=job.finished_at,
        deadline_at=job.deadline_at,
    )
