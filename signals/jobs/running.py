"""What a worker does with a job: claim it, do its work under a lease, and write how it ended.

The lease is renewed by a thread of its own, which also writes the progress. It needs the interpreter: work that
keeps the lock of the interpreter for longer than a lease loses the job.

When the database is away, the work goes on. Only the database can say that a job was lost, and its end is written
on the condition that it wasn't, so nothing is risked by being patient.
"""

from __future__ import annotations

import importlib
import logging
import secrets
import shutil
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Any, cast

from sqlalchemy import select
from sqlalchemy.orm import Session

from signals.errors import GreensplitError, InputError, Stopped, StoreUnavailable
from signals.jobs.context import Context, Finish, Work
from signals.model.states import ENDED, JobKind, JobState
from signals.store.jobs import (
    claim_job,
    end_cancelled,
    fail_job,
    finish_job,
    hold_job,
    late_message,
    renew_lease,
)
from signals.store.session import Store
from signals.store.tables import Job

LOG = logging.getLogger("greensplit.jobs")
REGISTRY = "signals.jobs.work:WORKS"
"""Where the work of each kind is listed."""
PROGRESS_EVERY_S = 0.5
"""Progress is written no more often than this."""
PATIENCE_S = 600.0
"""How long an end that can't be written, as the database is away, is kept."""
LONGEST_PAUSE_S = 5.0
MOST_BEGINNINGS = 5
"""How often an attempt begins its work, where the database goes away under it."""


class Outcome(StrEnum):
    """How a worker and a job parted."""

    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"
    LOST = "lost"
    NOT_CLAIMED = "not claimed"


class Reason(StrEnum):
    """Why work is to stop, in the words of `Stopped`."""

    LOST = "another worker has taken over"
    CANCELLED = "it was cancelled"
    LATE = "its deadline has passed"


def run_job(
    store: Store,
    job_id: int,
    *,
    folder: Path,
    lease_s: float,
    registry: str = REGISTRY,
    patience_s: float = PATIENCE_S,
    simulations: int = 1,
    credentials: Path | None = None,
) -> str:
    """Do a job, from claiming it to writing its result, and say how it ended (an `Outcome`).

    Never raises: what went wrong is in the job's row and in the log. `folder` is where work has its temporary
    files; `registry` names a mapping from kinds to work, as `module:NAME`; `simulations` is how many the work may
    run at the same time; `credentials` is the file with those of controllers.
    """
    try:
        return _run(store, job_id, folder, lease_s, patience_s, _Bench(registry, simulations, credentials))
    except Exception:
        LOG.exception("job %d: the worker could not write how it ended", job_id)
        return Outcome.LOST
    finally:
        store.close()


@dataclass(frozen=True)
class _Bench:
    """What a worker offers to work."""

    registry: str
    simulations: int
    credentials: Path | None


def _run(
    store: Store, job_id: int, folder: Path, lease_s: float, patience_s: float, bench: _Bench
) -> Outcome:
    try:
        with store.writing() as session:
            job = claim_job(session, job_id, lease_s)
    except StoreUnavailable as error:
        LOG.warning("job %d: not claimed: %s", job_id, error)
        return Outcome.NOT_CLAIMED
    if job is None:
        return Outcome.NOT_CLAIMED
    own = folder / f"job-{job_id}-{job.attempt}"
    lease = _Lease(store, job, lease_s)
    try:
        ending = _work(store, job, lease, own, patience_s, bench)
        return _settle(store, lease, job, ending, patience_s)
    finally:
        lease.close()
        shutil.rmtree(own, ignore_errors=True)


_Ending = Callable[[Session], Outcome]


def _work(store: Store, job: Job, lease: _Lease, folder: Path, patience_s: float, bench: _Bench) -> _Ending:
    """What is to be written at the end, after the work was done or has failed.

    Where the database goes away while the work reads it, the work begins anew once it is back.
    """
    for left in reversed(range(MOST_BEGINNINGS)):
        try:
            _make_folder(folder, job.id)
            work = find_work(bench.registry, JobKind(job.kind))
            finish = work(
                Context(
                    store,
                    job.id,
                    job.arguments,
                    lease.progress,
                    folder,
                    partial(_hold, job),
                    simulations=bench.simulations,
                    credentials=bench.credentials,
                )
            )
            lease.check()
        except (Exception, SystemExit) as error:
            # Stopped may have been wrapped on its way up; the reason is the lease's in any case.
            if lease.reason is not None:
                return _stopping(job, lease.reason)
            if not isinstance(error, StoreUnavailable) or not left:
                return _failing(job, error)
            LOG.warning("job %d: the database went away under the work, which begins anew: %s", job.id, error)
            _await(store, lease, patience_s)
        else:
            return _finishing(job, finish)
    raise AssertionError


def _hold(job: Job, session: Session) -> None:
    if hold_job(session, job.id, job.attempt) is None:
        raise Stopped(f"job {job.id} is to stop: {Reason.LOST}", hands_off=True)


def _await(store: Store, lease: _Lease, patience_s: float) -> None:
    """Return when the database answers again, when the work is to stop, or when patience ends."""
    pause, until = 0.2, time.monotonic() + patience_s
    while lease.reason is None and time.monotonic() < until:
        time.sleep(pause)
        pause = min(2 * pause, LONGEST_PAUSE_S)
        with suppress(StoreUnavailable), store.reading() as session:
            session.execute(select(Job.id).limit(1))
            return


def find_work(registry: str, kind: JobKind) -> Work:
    """The work of a kind, from a mapping that is named as `module:NAME` and names functions the same way.

    Raises
    ------
    InputError
        Where the registry has no such kind.
    """
    works: Mapping[JobKind, str] = _imported(registry)
    if kind not in works:
        raise InputError(f"{registry} knows no work for jobs of kind {kind}; it has {', '.join(works)}")
    return cast(Work, _imported(works[kind]))


def clear_folders(store: Store, folder: Path) -> int:
    """How many folders of dead attempts there were, and are no more.

    Raises
    ------
    StoreUnavailable
        Where the database can't say which attempts are alive.
    """
    found = [path for path in sorted(folder.glob("job-*-*")) if path.is_dir()]
    if not found:
        return 0
    with store.reading() as session:
        running = session.execute(select(Job.id, Job.attempt).where(Job.state == JobState.RUNNING))
        alive = {f"job-{job_id}-{attempt}" for job_id, attempt in running}
    dead = [path for path in found if path.name not in alive]
    for path in dead:
        shutil.rmtree(path, ignore_errors=True)
    return len(dead)


# ---------------------------------------------------------------------------------------------- the lease


class _Lease:
    """The hold on a job, renewed until `close`; `reason` says why the work should stop, once it should."""

    def __init__(self, store: Store, job: Job, lease_s: float) -> None:
        self.job_id, self.attempt = job.id, job.attempt
        self.reason: Reason | None = None
        self._store, self._lease_s = store, lease_s
        self._every_s = lease_s / 3
        self._latest = ("", 0, 0)
        self._closed = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._keep, name=f"lease of job {job.id}", daemon=True)
        self._thread.start()

    def progress(self, step: str, done: int, of: int) -> None:
        """Tell how far the work is; raises `Stopped` when it is to end."""
        with self._changed:
            self._latest = (step, done, of)
            self._changed.notify()
        self.check()

    def check(self) -> None:
        """Nothing where the work may go on.

        Raises
        ------
        Stopped
            Where it may not.
        """
        if self.reason is not None:
            lost = self.reason == Reason.LOST
            raise Stopped(f"job {self.job_id} is to stop: {self.reason}", hands_off=lost)

    def close(self) -> None:
        """Renew no more."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join(timeout=self._lease_s)

    def _keep(self) -> None:
        told, written = self._latest, time.monotonic()
        while self._wait(told, written):
            told, written = self._latest, time.monotonic()
            try:
                with self._store.writing() as session:
                    renewal = renew_lease(session, self.job_id, self.attempt, self._lease_s, *told)
            except StoreUnavailable as error:
                LOG.warning("job %d: the lease can't be renewed now: %s", self.job_id, error)
                continue
            except Exception:
                LOG.exception("job %d: the lease can't be renewed now", self.job_id)
                continue
            if not renewal.ours:
                self.reason = Reason.LOST
                return
            if renewal.cancel_asked:
                self.reason = Reason.CANCELLED
            elif renewal.overdue:
                self.reason = self.reason or Reason.LATE

    def _wait(self, told: tuple[str, int, int], written: float) -> bool:
        """True when the next renewal is due, false when there is to be none."""
        with self._changed:
            while not self._closed:
                news = self._latest != told
                due = written + (min(PROGRESS_EVERY_S, self._every_s) if news else self._every_s)
                left = due - time.monotonic()
                if left <= 0:
                    return True
                self._changed.wait(left)
        return False


# --------------------------------------------------------------------------------------------- the ending


def _finishing(job: Job, finish: Finish) -> _Ending:
    def finishing(session: Session) -> Outcome:
        result = finish(session)
        if not finish_job(session, job.id, job.attempt, result):
            raise Stopped(f"job {job.id} was lost while its result was being written")
        return Outcome.DONE

    return finishing


def _failing(job: Job, error: BaseException) -> _Ending:
    """With the message of an error of ours; of any other the log has the details, under a number."""
    if isinstance(error, GreensplitError):
        problem = str(error)
        LOG.info("job %d: failed: %s", job.id, problem)
    else:
        incident = secrets.token_hex(4)
        problem = f"an unexpected error; the log of the workers has the details as incident {incident}"
        LOG.error("job %d: incident %s", job.id, incident, exc_info=error)

    def failing(session: Session) -> Outcome:
        fail_job(session, job.id, job.attempt, problem)
        return Outcome.FAILED

    return failing


def _stopping(job: Job, reason: Reason) -> _Ending:
    def stopping(session: Session) -> Outcome:
        if reason == Reason.CANCELLED:
            end_cancelled(session, job.id, job.attempt)
            return Outcome.CANCELLED
        if reason == Reason.LATE:
            fail_job(session, job.id, job.attempt, late_message(job))
            return Outcome.FAILED
        return Outcome.LOST

    return stopping


def _settle(store: Store, lease: _Lease, job: Job, ending: _Ending, patience_s: float) -> Outcome:
    """How the job ended, once the database has taken it or said that somebody else has the job."""
    pause, until, failing = 0.2, time.monotonic() + patience_s, False
    while True:
        try:
            with store.writing() as session:
                held = hold_job(session, job.id, job.attempt)
                if held is None:
                    return _as_found(session, job)
                if held.cancel_asked:
                    ending = _stopping(job, Reason.CANCELLED)
                return ending(session)
        except StoreUnavailable as error:
            if lease.reason == Reason.LOST or time.monotonic() > until:
                LOG.error("job %d: how it ended could not be written: %s", job.id, error)
                return Outcome.LOST
            LOG.warning("job %d: the database is away, trying again in %.1f s", job.id, pause)
        except Exception as error:
            if failing:
                raise
            ending, failing = _failing(job, error), True
            continue
        time.sleep(pause)
        pause = min(2 * pause, LONGEST_PAUSE_S)


def _as_found(session: Session, job: Job) -> Outcome:
    """A connection may break after the database took the end and before it said so: then it stands there."""
    row = session.get(Job, job.id, populate_existing=True)
    if row is not None and row.attempt == job.attempt and row.state in ENDED:
        return Outcome(row.state)
    LOG.warning("job %d: attempt %d was lost to another worker", job.id, job.attempt)
    return Outcome.LOST


def _make_folder(folder: Path, job_id: int) -> None:
    """An empty folder; what earlier attempts at the job have left is removed."""
    for left in folder.parent.glob(f"job-{job_id}-*"):
        shutil.rmtree(left, ignore_errors=True)
    folder.mkdir(parents=True)


def _imported(path: str) -> Any:
    module, _, name = path.partition(":")
    return getattr(importlib.import_module(module), name)
