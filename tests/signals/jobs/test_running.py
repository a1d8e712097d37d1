"""What a worker does with a job, run here in the test's own process on SQLite and PostgreSQL."""

from __future__ import annotations

import json
import logging
import re
import threading
import time
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from signals.errors import InputError, StoreUnavailable
from signals.jobs import running
from signals.jobs.context import Context, Finish
from signals.jobs.running import clear_folders, find_work, run_job
from signals.model.states import JobKind
from signals.store.audit import Actor, record, verify
from signals.store.jobs import ask_cancel, claim_job, release_expired, submit_job
from signals.store.people import add_person
from signals.store.session import Store
from signals.store.tables import AuditEntry, Job

LEASE_S = 0.6
Row = dict[str, Any]


class Bench:
    """A store, a folder, and one kind of work that the test brings along."""

    def __init__(self, store: Store, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.store, self.folder = store, folder
        self._patch = monkeypatch
        with store.writing() as session:
            add_person(session, Actor(None, "test"), "Ada")

    def submit(self, deadline_s: float | None = None) -> int:
        due = None if deadline_s is None else datetime.now(UTC) + timedelta(seconds=deadline_s)
        with self.store.writing() as session:
            return submit_job(
                session,
                kind=JobKind.PLAN,
                area_id=1,
                subject="plan-requests/1",
                arguments={"figure": 7},
                created_by=1,
                deadline_at=due,
                queue_limit=10,
            ).id

    def run(self, job_id: int, work: Any, lease_s: float = LEASE_S, patience_s: float = 20) -> str:
        self._patch.setattr(running, "find_work", lambda _registry, _kind: work)
        return run_job(self.store, job_id, folder=self.folder, lease_s=lease_s, patience_s=patience_s)

    def row(self, job_id: int) -> Job:
        with self.store.reading() as session:
            job = session.get_one(Job, job_id)
            session.expunge(job)
            return job

    def written(self) -> int:
        """How many results are there, beside the jobs' rows."""
        with self.store.reading() as session:
            verify(session)
            return len(session.scalars(select(AuditEntry.id).where(AuditEntry.action == "thing.write")).all())

    def release(self) -> None:
        with self.store.writing() as session:
            release_expired(session, datetime.now(UTC) + timedelta(seconds=3600), 5)


@pytest.fixture
def bench(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    return Bench(store, tmp_path / "work", monkeypatch)


def write(session: Session) -> Row:
    record(session, Actor(None, "work"), "thing.write", "things/1")
    return {"written": True}


def easy(_context: Context) -> Finish:
    return write


def until_stopped(context: Context) -> Finish:
    """Works for ten seconds at most."""
    for step in range(200):
        context.progress("going round", step, 200)
        time.sleep(0.05)
    return write


def test_a_job_is_done_once(bench: Bench) -> None:
    job_id = bench.submit()
    seen: list[Context] = []

    def look(context: Context) -> Finish:
        seen.append(context)
        assert list(context.folder.iterdir()) == []
        (context.folder / "draft").touch()
        return write

    assert bench.run(job_id, look) == "done"
    assert (bench.row(job_id).state, bench.row(job_id).result) == ("done", {"written": True})
    assert (seen[0].job_id, seen[0].arguments) == (job_id, {"figure": 7})
    assert bench.run(job_id, look) == "not claimed"
    assert (bench.written(), len(seen)) == (1, 1)
    assert list(bench.folder.iterdir()) == []


def test_the_lease_is_renewed_while_the_work_says_nothing(bench: Bench) -> None:
    job_id = bench.submit()

    def silent(_context: Context) -> Finish:
        time.sleep(3 * LEASE_S)
        with bench.store.writing() as session:
            assert release_expired(session, datetime.now(UTC), 5) == []
        return write

    assert bench.run(job_id, silent) == "done"


def test_progress_is_written_now_and_then(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    job_id = bench.submit()
    renewals: list[tuple[str, int, int]] = []
    real = running.renew_lease

    def counted(session: Session, job: int, attempt: int, lease_s: float, *told: Any) -> Any:
        renewals.append(told)
        return real(session, job, attempt, lease_s, *told)

    def busy(context: Context) -> Finish:
        for step in range(1000):
            context.progress("searching", step, 1000)
            time.sleep(0.0005)
        time.sleep(0.7)
        return write

    monkeypatch.setattr(running, "renew_lease", counted)
    assert bench.run(job_id, busy, lease_s=60) == "done"
    assert 2 <= len(renewals) <= 6
    job = bench.row(job_id)
    assert (job.step, job.steps_done, job.steps_of) == ("searching", 999, 1000)


def later(seconds: float, deed: Any) -> threading.Timer:
    timer = threading.Timer(seconds, deed)
    timer.start()
    return timer


def test_cancelled_work_stops_and_writes_nothing(bench: Bench) -> None:
    job_id = bench.submit()

    def cancel() -> None:
        with bench.store.writing() as session:
            ask_cancel(session, session.get_one(Job, job_id))

    timer = later(0.3, cancel)
    began = time.monotonic()
    assert bench.run(job_id, until_stopped) == "cancelled"
    assert time.monotonic() - began < 5
    timer.join(timeout=10)
    assert (bench.row(job_id).state, bench.written()) == ("cancelled", 0)
    assert list(bench.folder.iterdir()) == []


def test_a_wish_that_comes_at_the_very_end_is_heard(bench: Bench) -> None:
    job_id = bench.submit()

    def cancelled_by_itself(_context: Context) -> Finish:
        with bench.store.writing() as session:
            ask_cancel(session, session.get_one(Job, job_id))
        return write

    assert bench.run(job_id, cancelled_by_itself, lease_s=60) == "cancelled"
    assert bench.written() == 0


def test_work_that_is_late_stops(bench: Bench) -> None:
    job_id = bench.submit(deadline_s=0.5)
    assert bench.run(job_id, until_stopped) == "failed"
    assert "its deadline, 20" in bench.row(job_id).problem
    assert bench.written() == 0


def test_work_that_lost_its_lease_stops_and_writes_nothing(bench: Bench) -> None:
    job_id = bench.submit()
    timer = later(0.3, bench.release)
    began = time.monotonic()
    assert bench.run(job_id, until_stopped) == "lost"
    assert time.monotonic() - began < 5
    timer.join(timeout=10)
    assert (bench.row(job_id).state, bench.written()) == ("queued", 0)


def test_work_that_outlives_its_lease_is_fenced_off(bench: Bench) -> None:
    job_id = bench.submit()

    def outlived(_context: Context) -> Finish:
        bench.release()
        with bench.store.writing() as session:
            assert claim_job(session, job_id, 60) is not None
        return write

    # the lease is so long that its thread learns nothing: only the fence is between the old life and the row
    assert bench.run(job_id, outlived, lease_s=3600) == "lost"
    assert (bench.row(job_id).state, bench.row(job_id).attempt, bench.written()) == ("running", 2, 0)


def test_an_error_of_ours_says_itself(bench: Bench) -> None:
    job_id = bench.submit()

    def fail(_context: Context) -> Finish:
        raise InputError("cross.net.xml has no signals; choose another network")

    assert bench.run(job_id, fail) == "failed"
    assert bench.row(job_id).problem == "cross.net.xml has no signals; choose another network"


@pytest.mark.parametrize("error", [ZeroDivisionError("secret"), SystemExit(2), MemoryError()])
def test_a_fault_is_told_by_a_number_that_the_log_knows(
    bench: Bench, caplog: pytest.LogCaptureFixture, error: BaseException
) -> None:
    job_id = bench.submit()

    def fail(_context: Context) -> Finish:
        raise error

    with caplog.at_level(logging.ERROR, "greensplit.jobs"):
        assert bench.run(job_id, fail) == "failed"
    problem = bench.row(job_id).problem
    number = re.search(r"incident ([0-9a-f]{8})$", problem)
    assert number is not None
    assert "secret" not in problem
    assert f"incident {number[1]}" in caplog.text
    assert type(error).__name__ in caplog.text
    assert "Traceback" in caplog.text


@pytest.mark.parametrize("result", [{"not": "half"}, {"not": object()}])
def test_a_result_that_cannot_be_written_leaves_nothing(bench: Bench, result: Row) -> None:
    job_id = bench.submit()

    def half(session: Session) -> Row:
        write(session)
        if result["not"] == "half":
            raise InputError("the plan is of another network")
        return result

    assert bench.run(job_id, lambda _context: half) == "failed"
    assert bench.written() == 0
    problem = bench.row(job_id).problem
    assert ("another network" in problem) if result["not"] == "half" else ("incident" in problem)


def test_a_database_that_is_away_at_the_end_is_waited_for(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = bench.submit()
    real, away = running.finish_job, []

    def sometimes(session: Session, *arguments: Any) -> bool:
        if len(away) < 2:
            away.append(True)
            raise StoreUnavailable("the server is going down")
        return real(session, *arguments)

    monkeypatch.setattr(running, "finish_job", sometimes)
    assert bench.run(job_id, easy) == "done"
    assert (len(away), bench.written()) == (2, 1)


def test_patience_ends(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(*_arguments: Any) -> bool:
        raise StoreUnavailable("the server is going down")

    job_id = bench.submit()
    monkeypatch.setattr(running, "finish_job", away)
    assert bench.run(job_id, easy, patience_s=0.5) == "lost"
    assert (bench.row(job_id).state, bench.written()) == ("running", 0)


def test_an_end_whose_answer_was_lost_stands(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    job_id = bench.submit()
    real, losses = bench.store.writing, []

    def losing() -> Any:
        @contextmanager
        def block() -> Any:
            with real() as session:
                yield session
                ends = any(
                    isinstance(row, Job) and row.state == "done" for row in session.identity_map.values()
                )
            if ends and not losses:
                losses.append(True)
                raise StoreUnavailable("the connection broke after the commit")

        return block()

    monkeypatch.setattr(bench.store, "writing", losing)
    assert bench.run(job_id, easy) == "done"
    assert (losses, bench.written()) == ([True], 1)


def test_a_database_that_is_away_during_the_work_stops_nothing(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = bench.submit()
    real, away = running.renew_lease, []

    def sometimes(*arguments: Any) -> Any:
        if len(away) < 2:
            away.append(True)
            raise StoreUnavailable("the server is going down")
        return real(*arguments)

    def long(context: Context) -> Finish:
        for step in range(24):
            context.progress("going round", step, 24)
            time.sleep(0.05)
        return write

    monkeypatch.setattr(running, "renew_lease", sometimes)
    assert bench.run(job_id, long) == "done"
    assert len(away) == 2


def test_work_that_finds_no_database_begins_anew_when_it_is_back(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = bench.submit()
    begun: list[list[Path]] = []
    real = bench.store.reading

    @contextmanager
    def away() -> Any:
        raise StoreUnavailable("the server is away")
        yield

    def reads(context: Context) -> Finish:
        begun.append(list(context.folder.iterdir()))
        (context.folder / "draft").touch()
        if len(begun) == 1:
            monkeypatch.setattr(bench.store, "reading", away)
            later(0.5, lambda: monkeypatch.setattr(bench.store, "reading", real))
        with context.store.reading():
            return write

    assert bench.run(job_id, reads) == "done"
    assert begun == [[], []]
    assert (bench.row(job_id).attempt, bench.written()) == (1, 1)


def test_work_that_never_finds_a_database_fails_with_the_reason(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(running, "MOST_BEGINNINGS", 2)
    job_id = bench.submit()

    def unreadable(_context: Context) -> Finish:
        raise StoreUnavailable("some days of counts aren't in a format that this release knows")

    assert bench.run(job_id, unreadable) == "failed"
    assert "some days of counts" in bench.row(job_id).problem


def test_leftovers_of_dead_attempts_are_removed(bench: Bench) -> None:
    job_id, other = bench.submit(), bench.submit()
    for name in (f"job-{job_id}-1", f"job-{other}-1", f"job-{other}-2", "job-99-1"):
        (bench.folder / name).mkdir(parents=True)
    (bench.folder / "dask").mkdir()
    with bench.store.writing() as session:
        claim_job(session, job_id, 60)
        claim_job(session, other, 60)
    assert clear_folders(bench.store, bench.folder) == 2
    assert sorted(path.name for path in bench.folder.iterdir()) == [
        "dask",
        f"job-{job_id}-1",
        f"job-{other}-1",
    ]
    bench.release()
    assert bench.run(job_id, easy) == "done"
    assert sorted(path.name for path in bench.folder.iterdir()) == ["dask", f"job-{other}-1"]


def test_a_kind_without_work_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "few_works.py").write_text("WORKS = {'plan': 'json:dumps'}")
    monkeypatch.syspath_prepend(tmp_path)
    assert find_work("few_works:WORKS", JobKind.PLAN) is json.dumps
    with pytest.raises(
        InputError, match="few_works:WORKS knows no work for jobs of kind screen; it has plan"
    ):
        find_work("few_works:WORKS", JobKind.SCREEN)
