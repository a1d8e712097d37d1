"""Hands waiting jobs to Dask, and takes back those whose workers died.

Dask runs the work; the row of a job is the truth about it. So nothing is lost with Dask: a dispatcher that starts
anew, on another scheduler, finds in the store what waits and whose lease has run out. One dispatcher is active at
a time on a store, others stand by. Should two be active all the same, claims and fences keep them harmless.
"""

from __future__ import annotations

import fcntl
import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

import dask
from distributed import Client, Future, LocalCluster, WorkerPlugin
from sqlalchemy import Connection, text
from sqlalchemy.exc import SQLAlchemyError

from signals.dask_settings import ONE_THREAD, QUIET
from signals.errors import StoreUnavailable
from signals.jobs.running import REGISTRY, clear_folders, run_job
from signals.model.states import JobState
from signals.store.jobs import (
    any_expired,
    end_overdue,
    hand_back,
    list_waiting,
    release_dead,
    release_expired,
)
from signals.store.session import Store
from signals.store.tables import Job

LOG = logging.getLogger("greensplit.jobs")
AHEAD = 2
"""Jobs given to Dask beyond those that its workers can run at once: enough that none idles between two."""
POLL_S = 0.5
STANDBY_S = 1.0
GRACE_S = 10.0
CONNECT_S, ANSWER_S = 3.0, 10.0
"""How long a scheduler may take to open the door, and to answer a question; the dispatcher waits meanwhile."""
LONGEST_PAUSE_S = 30.0
NICENESS = 10
"""Of workers, so that the web, on the same cores, stays quick."""
SEAT = 0x677265656E73
"""The number of the advisory lock that the active dispatcher holds in PostgreSQL: `greens`."""
SETTINGS: dict[str, Any] = {
    **QUIET,
    "distributed.scheduler.allowed-failures": 0,  # whether a job is tried again is for the store to say
    "distributed.scheduler.work-stealing": False,
    "distributed.comm.timeouts.connect": f"{ANSWER_S:g}s",
}
Duty = Callable[[Store], None]


def run_dispatcher(
    store: Store,
    *,
    scheduler: str | None,
    workers: int,
    folder: Path,
    lease_s: float,
    most_attempts: int,
    every: Sequence[tuple[float, Duty]] = (),
    stop: threading.Event | None = None,
    registry: str = REGISTRY,
    simulations: int = 1,
    credentials: Path | None = None,
    grace_s: float = GRACE_S,
    poll_s: float = POLL_S,
    on_worker: Callable[[], None] | None = None,
) -> None:
    """Run jobs until `stop` is set or the process is told to end (SIGTERM, SIGINT).

    To be called in a process of its own: settings of Dask and the loudness of its logs are changed.

    Parameters
    ----------
    scheduler
        Address of a Dask scheduler, `tcp://…`; None to start one here, with `workers` processes on the loopback.
    folder
        For temporary files of jobs and of Dask.
    lease_s
        How long a worker may be silent before its job is given to another.
    most_attempts
        A job has failed after as many deaths of its workers.
    every
        Duties and the seconds from one time to the next. They run between two looks at the queue, so they
        should be short. Their errors are logged.
    simulations
        How many of them one job may run at the same time.
    credentials
        File with the credentials of controllers.
    grace_s
        How long running jobs may go on after the end was asked for. Those on our own workers that aren't done
        by then wait again; those on workers of others go on without us.
    on_worker
        What each of our own workers does when it starts, such as to set up its logs. It is sent there by pickle.
    """
    dask.config.set(SETTINGS)
    logging.getLogger("distributed").setLevel(logging.ERROR)
    settings = _Settings(
        scheduler,
        workers,
        folder.resolve(),
        lease_s,
        most_attempts,
        registry,
        simulations,
        credentials,
        on_worker,
    )
    dispatcher = _Dispatcher(store, settings, [_Duty(period_s, duty) for period_s, duty in every])
    stop = stop or threading.Event()
    with _signals() as received:
        try:
            while not stop.is_set() and not received:
                stop.wait(dispatcher.turn(poll_s))
        finally:
            dispatcher.leave(grace_s)


@contextmanager
def _signals() -> Iterator[list[int]]:
    """The signals to end that have come. (An event set by a handler may wait for its own thread forever.)"""
    received: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield received
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    for number in before:
        signal.signal(number, lambda number, _frame: received.append(number))
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@dataclass(frozen=True)
class _Settings:
    scheduler: str | None
    workers: int
    folder: Path
    lease_s: float
    most_attempts: int
    registry: str
    simulations: int
    credentials: Path | None
    on_worker: Callable[[], None] | None


@dataclass
class _Duty:
    """Something to be done from time to time."""

    period_s: float
    duty: Duty
    due: float = 0.0

    def look(self, store: Store) -> None:
        """Do it if it is due."""
        if time.monotonic() < self.due:
            return
        self.due = time.monotonic() + self.period_s
        try:
            self.duty(store)
        except Exception:
            LOG.exception("a duty failed: %s", getattr(self.duty, "__qualname__", self.duty))


@dataclass(frozen=True)
class _Handed:
    """An attempt at a job that Dask has."""

    job_id: int
    attempt: int
    future: Future[Any]


class _Dispatcher:
    """One turn after another; each part of a turn survives that another can't be done now."""

    def __init__(self, store: Store, settings: _Settings, duties: Sequence[_Duty]) -> None:
        self._store, self._settings, self._duties = store, settings, duties
        self._seat = _SeatBesideFile(store) if store.is_sqlite else _SeatInServer(store)
        self._engine = _Engine(settings)
        self._handed: dict[str, _Handed] = {}
        self._seated: bool | None = None
        self._store_away = False
        self._release_from = 0.0

    def turn(self, poll_s: float) -> float:
        """Look after everything once, and say how long to wait until the next time."""
        if not self._seat.taken():
            if self._seated is None:
                LOG.info("another dispatcher is active; standing by")
            elif self._seated:
                LOG.warning("the place of the active dispatcher was lost; standing by")
                self._store_away = True
            self._seated = False
            return STANDBY_S
        try:
            if not self._seated:
                self._seated = True
                LOG.info("this is the active dispatcher now")
                clear_folders(self._store, self._settings.folder)
            self._take_back()
            for duty in self._duties:
                duty.look(self._store)
            client = self._engine.client()
            if client is None:
                self._handed.clear()
            else:
                self._watch()
                self._hand_out(client)
        except StoreUnavailable as error:
            if not self._store_away:
                LOG.warning("the database is away, jobs wait: %s", error)
            self._store_away = True
            return min(4 * poll_s, STANDBY_S)
        except OSError as error:  # Dask's, and its timeouts
            LOG.warning("the scheduler is lost, connecting again: %s", error)
            self._engine.drop_client()
            self._handed.clear()
        except Exception:
            LOG.exception("a turn of the dispatcher failed; going on")
        return poll_s

    def leave(self, grace_s: float) -> None:
        """Let running jobs end for a while, give back those that don't, and end what was started here."""
        try:
            self._withdraw_waiting()
            until = time.monotonic() + grace_s
            while self._pending() and time.monotonic() < until:
                time.sleep(0.1)
            if self._engine.own:
                self._hand_back()
        except (StoreUnavailable, OSError) as error:
            LOG.warning("jobs could not be given back; their leases will run out: %s", error)
        except Exception:
            LOG.exception("jobs could not be given back; their leases will run out")
        finally:
            self._engine.close()
            self._seat.leave()

    def _take_back(self) -> None:
        """Jobs whose leases have run out; after an outage of the database, workers may renew theirs first."""
        now = datetime.now(UTC)
        with self._store.reading() as session:
            found = any_expired(session, now)
        if self._store_away:
            self._store_away = False
            self._release_from = time.monotonic() + self._settings.lease_s
            LOG.info("the database is back")
        if not found or time.monotonic() < self._release_from:
            return
        with self._store.writing() as session:
            released = release_expired(session, now, self._settings.most_attempts)
            end_overdue(session, now)
        for job in released:
            LOG.warning("job %d: attempt %d fell silent; it is %s now", job.id, job.attempt, job.state)
        if released:
            clear_folders(self._store, self._settings.folder)

    def _watch(self) -> None:
        """Forget what has ended; what Dask gave up is released at once."""
        for key, handed in list(self._handed.items()):
            status = handed.future.status
            if status == "pending":
                continue
            if status == "error":
                self._release(handed)
            handed.future.release()  # type: ignore[no-untyped-call]
            del self._handed[key]

    def _release(self, handed: _Handed) -> None:
        with self._store.writing() as session:
            job = release_dead(session, handed.job_id, handed.attempt, self._settings.most_attempts)
        if job is not None:
            why = handed.future.exception(timeout=ANSWER_S)  # type: ignore[no-untyped-call]
            LOG.warning(
                "job %d: the worker of attempt %d died (%s); it is %s now",
                job.id,
                handed.attempt,
                type(why).__name__,
                job.state,
            )

    def _hand_out(self, client: Any) -> None:
        room = self._engine.slots() + AHEAD - len(self._handed)
        if room <= 0:
            return
        with self._store.reading() as session:
            waiting = [(job.id, job.attempt + 1) for job in list_waiting(session, room + len(self._handed))]
        settings = self._settings
        for job_id, attempt in waiting:
            key = f"job-{job_id}-{attempt}"
            if room <= 0 or key in self._handed:
                continue
            room -= 1
            future = client.submit(
                run_job,
                self._store,
                job_id,
                folder=settings.folder,
                lease_s=settings.lease_s,
                registry=settings.registry,
                simulations=settings.simulations,
                credentials=settings.credentials,
                key=key,
                priority=-job_id,
                pure=False,
                retries=0,
            )
            self._handed[key] = _Handed(job_id, attempt, future)

    def _pending(self) -> list[_Handed]:
        return [handed for handed in self._handed.values() if handed.future.status == "pending"]

    def _withdraw_waiting(self) -> None:
        """Take from Dask what no worker has begun."""
        if not self._handed:
            return
        with self._store.reading() as session:
            rows = [session.get(Job, handed.job_id) for handed in self._handed.values()]
            waiting = {row.id for row in rows if row is not None and row.state == JobState.QUEUED}
        futures = [handed.future for handed in self._handed.values() if handed.job_id in waiting]
        client = self._engine.client()
        if futures and client is not None:
            client.cancel(futures, force=True)

    def _hand_back(self) -> None:
        for handed in self._handed.values():
            with self._store.writing() as session:
                if hand_back(session, handed.job_id, handed.attempt):
                    LOG.info("job %d: attempt %d was stopped; it waits again", handed.job_id, handed.attempt)


# ------------------------------------------------------------------------------------------------- engine


class _Begin(WorkerPlugin):
    """Makes a worker and what it starts give way to others, and does what was asked for."""

    def __init__(self, on_worker: Callable[[], None] | None) -> None:
        self._on_worker = on_worker

    def setup(self, worker: Any) -> None:
        os.nice(NICENESS)
        if self._on_worker is not None:
            self._on_worker()


class _Engine:
    """A connection to Dask, made again when it was lost; with a cluster of our own or another's scheduler."""

    def __init__(self, settings: _Settings) -> None:
        self.own = settings.scheduler is None
        self._settings = settings
        self._cluster: Any = None
        self._client: Any = None
        self._pause_s = 0.0
        self._not_before = 0.0

    def client(self) -> Any:
        """A `Client` that is connected; None where there is no scheduler now."""
        if self._client is not None:
            if self._client.status == "running":
                return self._client
            LOG.warning("the scheduler is lost, connecting again")
            self.drop_client()
        if time.monotonic() < self._not_before:
            return None
        try:
            self._client = self._connected()
            self._pause_s = 0.0
        except Exception as error:
            self._pause_s = min(max(0.5, 2 * self._pause_s), LONGEST_PAUSE_S)
            self._not_before = time.monotonic() + self._pause_s
            LOG.warning("no scheduler (%s); trying again in %.1f s", error, self._pause_s)
            self._close_cluster()
        return self._client

    def slots(self) -> int:
        """How many jobs can run at once. Raises OSError where the scheduler doesn't answer."""
        if self._client is None:
            return 0
        threads = self._client.sync(self._client.scheduler.ncores, workers=None, callback_timeout=ANSWER_S)
        return int(sum(threads.values()))

    def drop_client(self) -> None:
        """Forget a connection that is broken."""
        client, self._client = self._client, None
        if client is not None:
            with suppress(Exception):
                client.close(timeout=1)

    def close(self) -> None:
        """End the connection, and the cluster if it is ours."""
        self.drop_client()
        self._close_cluster()

    def _connected(self) -> Any:
        address = self._settings.scheduler
        if address is None:
            if self._cluster is None:
                self._cluster = self._new_cluster()
            address = self._cluster.scheduler_address
        return Client(  # type: ignore[no-untyped-call]
            address, timeout=CONNECT_S, set_as_default=False, name="greensplit-jobs"
        )

    def _new_cluster(self) -> Any:
        folder = self._settings.folder / "dask"
        folder.mkdir(parents=True, exist_ok=True)
        return LocalCluster(  # type: ignore[no-untyped-call]
            n_workers=self._settings.workers,
            threads_per_worker=1,
            processes=True,
            host="127.0.0.1",
            dashboard_address=None,
            memory_limit=None,
            local_directory=str(folder),
            silence_logs=logging.ERROR,
            env=ONE_THREAD,
            plugins=(_Begin(self._settings.on_worker),),
        )

    def _close_cluster(self) -> None:
        cluster, self._cluster = self._cluster, None
        if cluster is not None:
            with suppress(Exception):
                cluster.close(timeout=ANSWER_S)


# --------------------------------------------------------------------------------------------------- seat


class _SeatBesideFile:
    """The place of the active dispatcher, as a lock on a file beside the database; it ends with the process."""

    def __init__(self, store: Store) -> None:
        self._path = Path(f"{store.url.database}.dispatcher")
        self._file: IO[bytes] | None = None

    def taken(self) -> bool:
        """Whether the place is ours, taken now if it was free."""
        if self._file is not None:
            return True
        file = self._path.open("ab")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
            return False
        self._file = file
        return True

    def leave(self) -> None:
        """Give it up."""
        if self._file is not None:
            self._file.close()
            self._file = None


class _SeatInServer:
    """The place of the active dispatcher, as an advisory lock in PostgreSQL; it ends with its connection."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._connection: Connection | None = None

    def taken(self) -> bool:
        """Whether the place is ours, taken now if it was free; false while the database is away."""
        try:
            if self._connection is not None:
                self._connection.execute(text("SELECT 1"))
                return True
            connection = self._store.engine.connect().execution_options(isolation_level="AUTOCOMMIT")
            asked = text("SELECT pg_try_advisory_lock(:seat)").bindparams(seat=SEAT)
            if connection.execute(asked).scalar():
                self._connection = connection
                return True
            connection.close()
        except SQLAlchemyError as error:
            LOG.warning("the database can't say who the active dispatcher is: %s", error)
            self.leave()
        return False

    def leave(self) -> None:
        """Give it up."""
        if self._connection is not None:
            with suppress(SQLAlchemyError):
                self._connection.invalidate()
                self._connection.close()
            self._connection = None
