"""Jobs on real workers: they end once, whichever of the processes dies on the way.

The dispatcher, its workers and the schedulers are processes of their own, each test's in a group that is ended
with it. Leases are short, so that the dead are missed soon.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psutil
import pytest
from sqlalchemy import select, text

from signals.errors import StoreUnavailable
from signals.jobs import dispatch
from signals.model.states import ENDED, JobKind
from signals.store.audit import Actor, verify
from signals.store.jobs import ask_cancel, claim_job, submit_job
from signals.store.people import add_person
from signals.store.session import Store
from signals.store.tables import AuditEntry, Job

ROOT = Path(__file__).resolve().parents[3]
LEASE_S = 1.5
PATIENCE_S = 40.0
"""For whatever a test waits for: far more than it takes, so that a busy machine is no fault."""
DISPATCHER = """
import json, logging, sys
from functools import partial
from pathlib import Path
from signals.jobs.dispatch import run_dispatcher
from signals.logs import configure_logs
from signals.store.session import Store

def beat(store):
    with (folder / "beats").open("a") as file:
        file.write("x")

def stumble(store):
    raise RuntimeError("a duty with a fault")

terms = json.loads(sys.argv[1])
folder = Path(terms["folder"])
logging.basicConfig(level=logging.INFO)
run_dispatcher(
    Store(terms["url"]), scheduler=terms["scheduler"], workers=2, folder=folder, lease_s=terms["lease_s"],
    most_attempts=3, every=[(0.2, stumble), (0.2, beat)], registry="stand_in_works:WORKS",
    simulations=4, grace_s=terms["grace_s"], poll_s=0.25,
    on_worker=partial(configure_logs, "info"),
)
"""


def wait_for(what: str, found: Callable[[], Any], seconds: float = PATIENCE_S) -> Any:
    """What `found` gives, once it is something."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if result := found():
            return result
        time.sleep(0.05)
    return pytest.fail(f"waited {seconds:.0f} s for {what}")


def is_alive(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


class Works:
    """A store, a folder, and the processes of a test."""

    def __init__(self, store: Store, folder: Path) -> None:
        self.store, self.folder = store, folder
        self._started: list[subprocess.Popen[bytes]] = []
        self._diaries = 0
        with store.writing() as session:
            add_person(session, Actor(None, "test"), "Ada")

    def start(self, *command: str) -> subprocess.Popen[bytes]:
        """A Python process of the test, in a group of its own with all that it starts."""
        paths = os.pathsep.join([str(ROOT), str(Path(__file__).parent)])
        self.folder.mkdir(exist_ok=True)
        with (self.folder / f"log-{len(self._started)}").open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, *command],
                cwd=self.folder,
                env={**os.environ, "PYTHONPATH": paths},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._started.append(process)
        return process

    def dispatcher(
        self, scheduler: str | None = None, grace_s: float = 0.5, lease_s: float = LEASE_S
    ) -> subprocess.Popen[bytes]:
        terms = {
            "url": self.store.url.render_as_string(hide_password=False),
            "folder": str(self.folder),
            "scheduler": scheduler,
            "grace_s": grace_s,
            "lease_s": lease_s,
        }
        return self.start("-c", DISPATCHER, json.dumps(terms))

    def close(self) -> None:
        for process in self._started:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait(timeout=20)

    def submit(self, kind: JobKind, deadline_s: float | None = None, **arguments: Any) -> int:
        self._diaries += 1
        diary = self.folder / f"diary-{self._diaries}"
        due = None if deadline_s is None else datetime.now(UTC) + timedelta(seconds=deadline_s)
        with self.store.writing() as session:
            return submit_job(
                session,
                kind=kind,
                area_id=1,
                subject="tests/1",
                arguments={"diary": str(diary), **arguments},
                created_by=1,
                deadline_at=due,
                queue_limit=100,
            ).id

    def row(self, job_id: int) -> Job:
        with self.store.reading() as session:
            job = session.get_one(Job, job_id)
            session.expunge(job)
            return job

    def begun(self, job_id: int) -> list[list[str]]:
        """Of each time that the work began: process, niceness, threads for numba, simulations."""
        diary = Path(self.row(job_id).arguments["diary"])
        return [line.split() for line in diary.read_text().splitlines()] if diary.exists() else []

    def worker_of(self, job_id: int, times: int = 1) -> int:
        """The process that began the work, once it did so for the `times`th time."""
        wait_for(f"job {job_id} to begin", lambda: len(self.begun(job_id)) >= times)
        return int(self.begun(job_id)[times - 1][0])

    def ended(self, job_id: int, seconds: float = PATIENCE_S) -> Job:
        def look() -> Job | None:
            job = self.row(job_id)
            return job if job.state in ENDED else None

        job: Job = wait_for(f"job {job_id} to end", look, seconds)
        return job

    def actions(self, job_id: int) -> list[str]:
        with self.store.reading() as session:
            verify(session)
            return list(
                session.scalars(
                    select(AuditEntry.action)
                    .where(AuditEntry.subject == f"jobs/{job_id}")
                    .order_by(AuditEntry.id)
                )
            )

    def written(self, job_id: int) -> list[dict[str, Any]]:
        """The results written beside the job's row."""
        with self.store.reading() as session:
            of_job = select(AuditEntry.details).where(AuditEntry.subject == f"things/{job_id}")
            return list(session.scalars(of_job))

    def log(self) -> str:
        return "".join(path.read_text(errors="replace") for path in sorted(self.folder.glob("log-*")))

    def done_once(self, job_id: int, times: int, **result: Any) -> None:
        """The job is done, after it began `times` times, and its result is there once."""
        job = self.ended(job_id)
        assert (job.state, job.problem, job.result) == ("done", "", result), self.log()
        assert len(self.begun(job_id)) == times
        assert self.written(job_id) == [result]
        assert self.actions(job_id).count("job.finish") == 1
        assert self.actions(job_id).count("job.claim") == job.attempt


def total(steps: int) -> int:
    return steps * (steps - 1) // 2


@pytest.fixture
def works(databases: Any, tmp_path: Path) -> Iterator[Works]:
    """Nothing runs yet."""
    made = Works(databases.fresh("sqlite"), tmp_path / "work")
    yield made
    made.close()
    made.store.close()


@pytest.fixture(scope="module")
def serving(databases: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Works]:
    """A dispatcher with two workers that tests share; each leaves it as it was."""
    made = Works(databases.fresh("sqlite"), tmp_path_factory.mktemp("jobs") / "work")
    made.dispatcher()
    yield made
    made.close()
    made.store.close()


# ---------------------------------------------------------------------------------------------- the usual


def test_a_job_is_done_and_its_progress_seen(serving: Works) -> None:
    job_id = serving.submit(JobKind.PLAN, steps=31)
    seen = set()

    def look() -> bool:
        job = serving.row(job_id)
        if job.step:
            seen.add((job.step, job.steps_done, job.steps_of))
        return job.state in ENDED

    wait_for("the job to end", look)
    serving.done_once(job_id, 1, total=total(31))
    assert len(seen) >= 2
    assert {(step, of) for step, _, of in seen} == {("adding", 31)}
    [[_, niceness, threads, simulations]] = serving.begun(job_id)
    assert (int(niceness), threads, simulations) == (os.nice(0) + 10, "1", "4")
    assert list(serving.folder.glob("job-*")) == []


def test_many_jobs_are_each_done_once(serving: Works) -> None:
    ids = [serving.submit(JobKind.PLAN, steps=2 + k) for k in range(8)]
    for k, job_id in enumerate(ids):
        serving.done_once(job_id, 1, total=total(2 + k))


def test_a_running_job_is_cancelled(serving: Works) -> None:
    job_id = serving.submit(JobKind.PLAN, steps=400)
    serving.worker_of(job_id)
    with serving.store.writing() as session:
        ask_cancel(session, session.get_one(Job, job_id))
    assert serving.ended(job_id).state == "cancelled"
    assert serving.written(job_id) == []


def test_a_late_job_fails(serving: Works) -> None:
    job_id = serving.submit(JobKind.PLAN, deadline_s=1.0, steps=401)
    job = serving.ended(job_id)
    assert job.state == "failed"
    assert "its deadline, 20" in job.problem


def test_failures_say_why_and_faults_give_a_number(serving: Works) -> None:
    infeasible = serving.submit(JobKind.COMPARE)
    broken = serving.submit(JobKind.SCREEN)
    assert "140 s of minimum greens, the cycle is 90 s" in serving.ended(infeasible).problem
    problem = serving.ended(broken).problem
    assert "secret" not in problem
    told = f"job {broken}: {problem[problem.index('incident') :]}"
    # what workers log is a line of JSON an entry, as everywhere in the service
    lines = [json.loads(line) for line in serving.log().splitlines() if line.startswith("{")]
    (entry,) = [line for line in lines if line["event"] == told]
    assert entry["level"] == "error"
    assert "ZeroDivisionError: secret detail" in entry["exception"]


def test_duties_are_done_and_their_faults_stop_nothing(serving: Works) -> None:
    beats = serving.folder / "beats"
    wait_for("the duty", lambda: beats.exists() and len(beats.read_text()) > 3)
    assert "a duty with a fault" in serving.log()


def test_nobody_outside_this_machine_can_reach_the_workers(serving: Works) -> None:
    serving.ended(serving.submit(JobKind.PLAN, steps=1))
    dispatcher = psutil.Process(serving._started[0].pid)
    listening = [
        connection.laddr.ip
        for process in (dispatcher, *dispatcher.children(recursive=True))
        for connection in process.net_connections(kind="inet")
        if connection.status == psutil.CONN_LISTEN
    ]
    assert len(listening) >= 3
    assert set(listening) == {"127.0.0.1"}


# ---------------------------------------------------------------------------------------------- the deaths


def test_a_worker_is_killed_and_the_job_runs_again(serving: Works) -> None:
    job_id = serving.submit(JobKind.PLAN, steps=30)
    os.kill(serving.worker_of(job_id), signal.SIGKILL)
    serving.done_once(job_id, 2, total=total(30))
    assert serving.actions(job_id)[1:] == ["job.claim", "job.release", "job.claim", "job.finish"]


def test_work_that_kills_its_workers_is_given_up(serving: Works) -> None:
    job_id = serving.submit(JobKind.READ_NETWORK)
    job = serving.ended(job_id)
    assert job.state == "failed"
    assert "the worker died 3 times" in job.problem
    assert len(serving.begun(job_id)) == 3
    after = serving.submit(JobKind.PLAN, steps=3)
    serving.done_once(after, 1, total=total(3))


def test_a_worker_thought_dead_comes_back_and_writes_nothing(serving: Works) -> None:
    job_id = serving.submit(JobKind.FORECAST, deaf_s=2.5)
    first = serving.worker_of(job_id)
    os.kill(first, signal.SIGSTOP)
    try:
        assert serving.worker_of(job_id, times=2) != first
    finally:
        os.kill(first, signal.SIGCONT)
    serving.done_once(job_id, 2, deaf=2.5)
    wait_for("the old life to learn it", lambda: f"job {job_id}: attempt 1 was lost" in serving.log())
    assert serving.written(job_id) == [{"deaf": 2.5}]


@pytest.mark.slow
def test_the_dispatcher_is_killed_and_another_takes_over(works: Works) -> None:
    both = [psutil.Process(works.dispatcher().pid) for _ in range(2)]
    wait_for("one to stand by", lambda: "standing by" in works.log())
    job_id = works.submit(JobKind.PLAN, steps=40)
    worker = works.worker_of(job_id)
    [active] = [process for process in both if process.children()]
    children = active.children(recursive=True)
    assert worker in [child.pid for child in children]
    active.kill()
    wait_for("the workers to die with it", lambda: not any(is_alive(child.pid) for child in children), 10)
    works.done_once(job_id, 2, total=total(40))
    assert works.actions(job_id)[1:] == ["job.claim", "job.release", "job.claim", "job.finish"]


def test_a_dispatcher_told_to_end_gives_its_jobs_back(works: Works) -> None:
    first = works.dispatcher()
    job_id = works.submit(JobKind.PLAN, steps=100)
    works.worker_of(job_id)
    children = psutil.Process(first.pid).children(recursive=True)
    first.terminate()
    assert first.wait(timeout=30) == 0, works.log()
    wait_for("the workers to end with it", lambda: not any(is_alive(child.pid) for child in children), 10)
    job = works.row(job_id)
    assert (job.state, job.attempt) == ("queued", 1), works.log()
    assert works.actions(job_id)[-1] == "job.hand-back"


@pytest.mark.slow
def test_a_dispatcher_lets_jobs_end_within_its_grace_and_what_was_given_back_runs_again(works: Works) -> None:
    first = works.dispatcher(grace_s=20)
    short = works.submit(JobKind.PLAN, steps=40)
    works.worker_of(short)
    first.terminate()
    assert first.wait(timeout=30) == 0
    works.done_once(short, 1, total=total(40))
    second = works.dispatcher()
    long = works.submit(JobKind.PLAN, steps=60)
    works.worker_of(long)
    second.terminate()
    assert second.wait(timeout=30) == 0
    works.dispatcher()
    works.done_once(long, 2, total=total(60))
    assert "job.release" not in works.actions(long)


@pytest.mark.slow
def test_on_postgresql_too(databases: Any, tmp_path: Path) -> None:
    works = Works(databases.fresh("postgresql"), tmp_path / "work")
    try:
        works.dispatcher()
        jobs = [works.submit(JobKind.PLAN, steps=30), works.submit(JobKind.PLAN, steps=5)]
        os.kill(works.worker_of(jobs[0]), signal.SIGKILL)
        works.done_once(jobs[0], 2, total=total(30))
        works.done_once(jobs[1], len(works.begun(jobs[1])), total=total(5))
        works.dispatcher()
        wait_for("the second to stand by", lambda: "standing by" in works.log())
    finally:
        works.close()
        works.store.close()


# --------------------------------------------------------------------------------- a scheduler of its own


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


def scheduler_of(works: Works, port: int) -> subprocess.Popen[bytes]:
    options = ["--host", "127.0.0.1", "--port", str(port), "--no-dashboard", "--no-show"]
    return works.start("-m", "distributed.cli.dask_scheduler", *options)


def worker_of(works: Works, port: int) -> subprocess.Popen[bytes]:
    options = ["--host", "127.0.0.1", "--nworkers", "1", "--nthreads", "1", "--no-dashboard"]
    options += ["--memory-limit", "0", "--local-directory", str(works.folder / "dask")]
    return works.start("-m", "distributed.cli.dask_worker", f"tcp://127.0.0.1:{port}", *options)


@pytest.mark.slow
@pytest.mark.parametrize("steps", [40, 200])
def test_a_scheduler_is_killed_and_comes_back(works: Works, steps: int) -> None:
    port = free_port()
    scheduler = scheduler_of(works, port)
    worker_of(works, port)
    works.dispatcher(f"tcp://127.0.0.1:{port}")
    job_id = works.submit(JobKind.PLAN, steps=steps)
    works.worker_of(job_id)
    os.kill(scheduler.pid, signal.SIGKILL)
    scheduler.wait(timeout=10)
    waiting = works.submit(JobKind.PLAN, steps=7)
    time.sleep(1)
    scheduler_of(works, port)
    worker_of(works, port)  # as its supervisor would: workers that lose their scheduler end
    works.ended(job_id)
    works.done_once(job_id, len(works.begun(job_id)), total=total(steps))
    assert 1 <= len(works.begun(job_id)) <= 2
    works.done_once(waiting, 1, total=total(7))


@pytest.mark.slow
def test_workers_of_others_go_on_when_the_dispatcher_dies(works: Works) -> None:
    port = free_port()
    scheduler_of(works, port)
    worker_of(works, port)
    first = works.dispatcher(f"tcp://127.0.0.1:{port}")
    job_id = works.submit(JobKind.PLAN, steps=80)
    works.worker_of(job_id)
    os.kill(first.pid, signal.SIGKILL)
    first.wait(timeout=10)
    works.dispatcher(f"tcp://127.0.0.1:{port}")
    works.done_once(job_id, 1, total=total(80))


@pytest.mark.slow
def test_without_a_scheduler_jobs_wait_and_duties_are_done(works: Works) -> None:
    port = free_port()
    works.dispatcher(f"tcp://127.0.0.1:{port}")
    late = works.submit(JobKind.PLAN, deadline_s=2.0, steps=3)
    job_id = works.submit(JobKind.PLAN, steps=3)
    assert works.ended(late).state == "failed"
    beats = works.folder / "beats"
    wait_for("the duty", lambda: beats.exists() and len(beats.read_text()) > 3)
    assert works.row(job_id).state == "queued"
    scheduler_of(works, port)
    worker_of(works, port)
    works.done_once(job_id, 1, total=total(3))


@pytest.mark.slow
def test_connections_that_break_cost_no_work(databases: Any, tmp_path: Path) -> None:
    works = Works(databases.fresh("postgresql"), tmp_path / "work")
    others = text(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() "
        "AND pid <> pg_backend_pid()"
    )
    try:
        works.dispatcher()
        job_id = works.submit(JobKind.PLAN, steps=80)
        works.worker_of(job_id)
        for _ in range(15):
            with works.store.engine.connect() as connection:
                connection.execute(others)
            time.sleep(0.2)
        works.done_once(job_id, 1, total=total(80))
        after = works.submit(JobKind.PLAN, steps=3)
        works.done_once(after, 1, total=total(3))
    finally:
        works.close()
        works.store.close()


# ---------------------------------------------------------------------------- turns, without any process


class NoEngine:
    """In the place of Dask: there never is a scheduler."""

    own = True

    def client(self) -> None:
        return None

    def close(self) -> None:
        pass


@pytest.fixture
def turns(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dispatch._Dispatcher]:
    """A dispatcher whose turns the test takes."""
    monkeypatch.setattr(dispatch, "_Engine", lambda _settings: NoEngine())
    with store.writing() as session:
        add_person(session, Actor(None, "test"), "Ada")
    settings = dispatch._Settings(None, 1, tmp_path, LEASE_S, 3, "stand_in_works:WORKS", 1, None, None)
    made = dispatch._Dispatcher(store, settings, [])
    yield made
    made.leave(0)


def silent_job(store: Store) -> int:
    with store.writing() as session:
        job_id = submit_job(
            session,
            kind=JobKind.PLAN,
            area_id=1,
            subject="tests/1",
            arguments={},
            created_by=1,
            queue_limit=9,
        ).id
        assert claim_job(session, job_id, -1) is not None
        return job_id


def state_of(store: Store, job_id: int) -> str:
    with store.reading() as session:
        return session.get_one(Job, job_id).state


def test_the_silent_are_missed(store: Store, turns: dispatch._Dispatcher) -> None:
    job_id = silent_job(store)
    turns.turn(0.1)
    assert state_of(store, job_id) == "queued"


def test_after_an_outage_workers_may_speak_before_they_are_missed(
    store: Store, turns: dispatch._Dispatcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    @contextmanager
    def away() -> Iterator[None]:
        raise StoreUnavailable("the server is going down")
        yield

    turns.turn(0.1)
    with monkeypatch.context() as patch:
        patch.setattr(store, "reading", away)
        for _ in range(2):
            assert turns.turn(0.1) > 0
    job_id = silent_job(store)
    turns.turn(0.1)
    assert state_of(store, job_id) == "running"
    time.sleep(LEASE_S)
    turns.turn(0.1)
    assert state_of(store, job_id) == "queued"


def test_one_dispatcher_is_active_at_a_time(store: Store) -> None:
    seat = dispatch._SeatBesideFile if store.is_sqlite else dispatch._SeatInServer
    first, second = seat(store), seat(store)
    assert first.taken()
    assert first.taken()
    assert not second.taken()
    first.leave()
    assert second.taken()
    assert not first.taken()
    second.leave()
