"""Where a night's tasks are done: in this process, in processes of our own, or on a cluster of others.

A task carries all that it needs, and its result comes back here: workers share no disk with us, and write nothing.
What a task does depends on nothing but its argument, so where it is done makes no difference to what comes out.
"""

from __future__ import annotations

import logging
import os
import pickle
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import count, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from signals.dask_settings import ONE_THREAD, QUIET
from signals.errors import GreensplitError, InputError, Stopped
from signals.nightly.code import code_digest

if TYPE_CHECKING:
    from distributed import Client, Future

AHEAD = 2
"""Tasks that each worker is given beyond the one it does, so that none idles between two."""
DEATHS = 3
"""Workers that may die of a task before it is set aside, to be tried once more with nothing beside it."""
POLL_S = 1.0
CONNECT_S = 20.0
NO_WORKER_S = 120.0
"""How long a cluster of others may be without any worker before the night gives up."""
RENEW_S = 10.0
"""How long processes of our own may be missing before others are started: Dask doesn't where one dies at its start."""
SETTINGS: dict[str, Any] = {
    **QUIET,
    "distributed.scheduler.allowed-failures": DEATHS,
    "distributed.scheduler.work-stealing": True,
    "distributed.admin.large-graph-warning-threshold": "1GB",
    "distributed.comm.timeouts.connect": f"{CONNECT_S:g}s",
}


@dataclass(frozen=True)
class Task:
    """One thing to do: what it is known by, and the argument it is done with."""

    id: str
    given: Any


@dataclass(frozen=True)
class Done:
    """How a task ended: with a value, or with the reason why there is none.

    `passing` says that it may well go better another time: a worker died, memory or a disk was full.
    """

    id: str
    value: Any = None
    failed: str = ""
    passing: bool = False
    seconds: float = 0.0


class Pool(Protocol):
    """Does tasks, and yields them as they end, in any order."""

    def run(self, do: Callable[[Any], Any], tasks: Iterable[Task]) -> Iterator[Done]:
        """Do all tasks; the iterable is drawn from as there is room, so that few wait at a time."""
        ...


class Serial:
    """Everything in this process, one after the other."""

    def run(self, do: Callable[[Any], Any], tasks: Iterable[Task]) -> Iterator[Done]:
        """As `Pool.run`."""
        for task in tasks:
            yield attempt(do, task)


class OnDask:
    """Dask's workers, near or far."""

    def __init__(self, client: Client, address: str, renew: Callable[[], Client] | None = None) -> None:
        self._client, self._address, self._renew = client, address, renew
        self._numbers = count()
        self._alone_since: float | None = None

    def run(self, do: Callable[[Any], Any], tasks: Iterable[Task]) -> Iterator[Done]:
        """As `Pool.run`.

        Raises
        ------
        Stopped
            Where the scheduler is lost, or has had no worker for too long.
        InputError
            Where a worker runs other code than this process.
        """
        killed: list[Task] = []
        yield from self._window(do, iter(tasks), None, killed)
        for task in killed:  # one of them killed the workers that the others were on, too
            again: list[Task] = []
            if self._renew is not None:
                self._client, self._alone_since = self._renew(), None
            yield from self._window(do, iter([task]), 1, again)
            if again:
                yield Done(task.id, failed="its workers died, time and again", passing=True)

    def _window(
        self, do: Callable[[Any], Any], tasks: Iterator[Task], room: int | None, killed: list[Task]
    ) -> Iterator[Done]:
        running: dict[Future[Any], Task] = {}
        try:
            while True:
                most = room or (1 + AHEAD) * max(self._workers(), 1)
                for task in islice(tasks, max(most - len(running), 0)):
                    running[self._submit(do, task)] = task
                if not running:
                    return
                if self._renew is not None and self._alone_s() > RENEW_S:
                    killed.extend(running.values())
                    running.clear()
                    self._client, self._alone_since = self._renew(), None
                    continue
                for future in self._ended(list(running)):
                    task = running.pop(future)
                    done = self._outcome(task, future)
                    future.release()  # type: ignore[no-untyped-call]
                    if done is None:
                        killed.append(task)
                    else:
                        yield done
        finally:
            if running:
                with suppress(Exception):
                    self._client.cancel(list(running), force=True)  # type: ignore[no-untyped-call]

    def _workers(self) -> int:
        """How many tasks can run at once; a cluster without a worker is waited for."""
        try:
            slots = sum(self._client.nthreads().values())  # type: ignore[no-untyped-call]
        except Exception as error:
            raise self._lost(str(error)) from None
        if slots:
            self._alone_since = None
        elif self._alone_since is None:
            self._alone_since = time.monotonic()
        elif self._alone_s() > NO_WORKER_S:
            raise self._lost(f"no worker for {NO_WORKER_S:g} s")
        return slots

    def _alone_s(self) -> float:
        """How long there has been no worker."""
        return 0.0 if self._alone_since is None else time.monotonic() - self._alone_since

    def _submit(self, do: Callable[[Any], Any], task: Task) -> Future[Any]:
        packed = pickle.dumps((do, task), protocol=pickle.HIGHEST_PROTOCOL)
        return self._client.submit(
            unpack_and_attempt,
            packed,
            code_digest(),
            key=f"{getattr(do, '__name__', 'task')}-{task.id}-{os.getpid()}-{next(self._numbers)}",
            pure=False,
            retries=0,
        )

    def _ended(self, futures: list[Future[Any]]) -> list[Future[Any]]:
        from distributed import wait

        with suppress(TimeoutError), self._client.as_current():
            wait(futures, timeout=POLL_S, return_when="FIRST_COMPLETED")  # type: ignore[no-untyped-call]
        if self._client.status != "running":
            raise self._lost("the connection broke")
        return [future for future in futures if future.status != "pending"]

    def _outcome(self, task: Task, future: Future[Any]) -> Done | None:
        """How a task ended; None where workers died of it."""
        from distributed import KilledWorker

        if future.status == "cancelled":
            raise self._lost("it forgot a task")
        try:
            found = future.result(timeout=CONNECT_S)
        except KilledWorker:
            return None
        except Exception as error:
            return Done(task.id, failed=f"{type(error).__name__}: {error}", passing=True)
        if isinstance(found, OtherCode):
            raise InputError(
                f"a worker of {self._address} runs Greensplit {found.theirs}, this is {code_digest()}: "
                "plans would differ; install the same sources and libraries on both"
            )
        assert isinstance(found, Done)
        return found

    def _lost(self, why: str) -> Stopped:
        return Stopped(f"Dask at {self._address} is lost ({why})")


@dataclass(frozen=True)
class OtherCode:
    """A worker's answer where its sources or libraries are others than the client's."""

    theirs: str


def unpack_and_attempt(packed: bytes, code: str) -> Done | OtherCode:
    """On a worker: do a task if this is the code that it is meant for."""
    if code_digest() != code:
        return OtherCode(code_digest())
    do, task = pickle.loads(packed)
    return attempt(do, task)


def attempt(do: Callable[[Any], Any], task: Task) -> Done:
    """Do a task; what goes wrong with it is its result."""
    start = time.perf_counter()
    value, failed, passing = None, "", False
    try:
        value = do(task.given)
    except GreensplitError as error:
        failed = str(error)
    except (MemoryError, OSError) as error:
        failed, passing = f"{type(error).__name__}: {error}", True
    except Exception as error:
        last = traceback.extract_tb(error.__traceback__)[-1]
        where = f"{Path(last.filename).name}:{last.lineno}"
        failed = f"fault in Greensplit, {type(error).__name__} at {where}: {error}"
    return Done(task.id, value, failed, passing, time.perf_counter() - start)


@contextmanager
def open_pool(workers: int, scheduler: str | None, folder: Path) -> Iterator[Pool]:
    """Workers for a night: those of a scheduler, `workers` processes of our own, or with 0 this process.

    Parameters
    ----------
    scheduler
        Address of a Dask scheduler, `tcp://…`; None for workers of our own.
    folder
        For what Dask's own workers leave behind; it may be removed afterwards.

    Raises
    ------
    InputError
        Where there is no scheduler at the address, or it has no worker.
    """
    if scheduler is None and workers == 0:
        yield Serial()
        return
    import dask

    loud = logging.getLogger("distributed")
    level = loud.level
    opened: list[Any] = []

    def close() -> None:
        while opened:
            with suppress(Exception):
                opened.pop().close(timeout=CONNECT_S)

    def renew() -> Client:
        close()
        opened.append(_own_cluster(workers, folder))
        opened.append(_connected(opened[0].scheduler_address))
        client: Client = opened[1]
        return client

    with dask.config.set(SETTINGS):
        loud.setLevel(logging.CRITICAL)
        try:
            if scheduler is None:
                yield OnDask(renew(), "127.0.0.1", renew)
            else:
                opened.append(_connected(scheduler))
                yield OnDask(opened[0], scheduler)
        finally:
            close()
            loud.setLevel(level)


def _own_cluster(workers: int, folder: Path) -> Any:
    from distributed import LocalCluster

    return LocalCluster(  # type: ignore[no-untyped-call]
        n_workers=workers,
        threads_per_worker=1,
        processes=True,
        host="127.0.0.1",
        dashboard_address=None,
        memory_limit=None,
        local_directory=str(folder),
        silence_logs=logging.CRITICAL,
        env=ONE_THREAD,
    )


def _connected(address: str) -> Client:
    """A client of the scheduler at an address, which has a worker."""
    from distributed import Client

    client = None
    try:
        client = Client(address, timeout=CONNECT_S, set_as_default=False, name="greensplit-nightly")  # type: ignore[no-untyped-call]
        client.wait_for_workers(1, timeout=CONNECT_S)
    except (OSError, TimeoutError, ValueError) as error:
        if client is not None:
            client.close(timeout=CONNECT_S)  # type: ignore[no-untyped-call]
        raise InputError(
            f"--scheduler {address}: no scheduler with a worker answers there ({type(error).__name__}); "
            "start `dask scheduler` and `dask worker`, or leave the option out"
        ) from None
    return client
