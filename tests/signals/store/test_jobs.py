"""Jobs: one claim wins, only the latest lease writes, and every change leaves a trace."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import select

from signals.errors import Conflict, NotFound, QueueFull
from signals.model.states import JobKind, JobState
from signals.store.audit import Actor, verify
from signals.store.jobs import (
    Renewal,
    any_expired,
    ask_cancel,
    claim_job,
    end_cancelled,
    end_overdue,
    fail_job,
    finish_job,
    hand_back,
    hold_job,
    list_waiting,
    queue_counts,
    release_dead,
    release_expired,
    renew_lease,
    submit_job,
)
from signals.store.people import add_person
from signals.store.session import Store
from signals.store.tables import AuditEntry, Job

LEASE_S = 30.0
CITY = 1


@pytest.fixture(autouse=True)
def somebody(store: Store) -> int:
    """The id of the person who asks for jobs."""
    with store.writing() as session:
        return add_person(session, Actor(None, "test"), "Ada").id


def submitted(store: Store, *, limit: int = 100, deadline_at: datetime | None = None) -> int:
    with store.writing() as session:
        return submit_job(
            session,
            kind=JobKind.PLAN,
            area_id=CITY,
            subject="plan-requests/3",
            arguments={"figure": 7},
            created_by=1,
            deadline_at=deadline_at,
            queue_limit=limit,
            request_id="r1",
        ).id


def claimed(store: Store, job_id: int, lease_s: float = LEASE_S) -> Job | None:
    with store.writing() as session:
        return claim_job(session, job_id, lease_s)


def running(store: Store, lease_s: float = LEASE_S, deadline_at: datetime | None = None) -> int:
    """A job in its first attempt."""
    job_id = submitted(store, deadline_at=deadline_at)
    assert claimed(store, job_id, lease_s) is not None
    return job_id


def row(store: Store, job_id: int) -> Job:
    with store.reading() as session:
        job = session.get_one(Job, job_id)
        session.expunge(job)
        return job


def actions(store: Store, job_id: int) -> list[str]:
    with store.reading() as session:
        verify(session)
        of_job = select(AuditEntry.action).where(AuditEntry.subject == f"jobs/{job_id}")
        return list(session.scalars(of_job.order_by(AuditEntry.id)))


def call(store: Store, function: Any, *arguments: Any) -> Any:
    with store.writing() as session:
        return function(session, *arguments)


def moment(seconds: float) -> datetime:
    return datetime.now(UTC) + timedelta(seconds=seconds)


# --------------------------------------------------------------------------------------------------- queue


def test_a_new_job_waits_and_says_who_asked(store: Store) -> None:
    job = row(store, submitted(store, deadline_at=(due := moment(60))))
    assert (job.state, job.attempt, job.arguments, job.deadline_at) == ("queued", 0, {"figure": 7}, due)
    with store.reading() as session:
        entry = session.scalars(select(AuditEntry).where(AuditEntry.action == "job.submit")).one()
        assert (entry.person_id, entry.request_id, entry.area_id) == (1, "r1", CITY)
        assert entry.details == {"kind": "plan", "subject_of": "plan-requests/3"}


def test_the_queue_is_served_in_its_order(store: Store) -> None:
    ids = [submitted(store) for _ in range(4)]
    claimed(store, ids[0])
    with store.reading() as session:
        assert [job.id for job in list_waiting(session, 2)] == ids[1:3]
        counts = queue_counts(session)
    assert (counts.queued, counts.running) == (3, 1)


def test_a_full_queue_takes_no_more_and_says_when_to_come_back(store: Store) -> None:
    first = submitted(store, limit=2)
    submitted(store, limit=2)
    with pytest.raises(QueueFull, match=r"2 jobs are waiting.* in 30 s") as refused:
        submitted(store, limit=2)
    assert refused.value.retry_after_s == 30
    claimed(store, first)
    third = submitted(store, limit=2)
    with store.writing() as session:
        job = session.get_one(Job, first)
        job.started_at = moment(-80)
        job.finished_at, job.state = moment(0), JobState.DONE
    with pytest.raises(QueueFull) as refused:
        submitted(store, limit=2)
    assert refused.value.retry_after_s in (80, 81)
    assert actions(store, third) == ["job.submit"]


def test_two_who_come_at_once_do_not_both_get_the_last_place(store: Store) -> None:
    submitted(store)
    results = at_once(6, lambda: submitted(store, limit=3))
    assert sorted(isinstance(result, int) for result in results) == [False] * 4 + [True] * 2
    assert all(isinstance(result, int | QueueFull) for result in results)
    with store.reading() as session:
        assert queue_counts(session).queued == 3


def at_once(threads: int, deed: Any) -> list[Any]:
    """What each of some threads that start together got, or the error it ended with."""
    barrier, results = threading.Barrier(threads), []

    def body() -> None:
        barrier.wait(timeout=10)
        try:
            results.append(deed())
        except Exception as error:
            results.append(error)

    bodies = [threading.Thread(target=body) for _ in range(threads)]
    for thread in bodies:
        thread.start()
    for thread in bodies:
        thread.join(timeout=30)
    assert len(results) == threads
    return results


# -------------------------------------------------------------------------------------------------- claims


def test_a_claim_gives_a_lease_and_a_new_attempt(store: Store) -> None:
    job_id = submitted(store)
    job = claimed(store, job_id)
    assert job is not None
    assert (job.state, job.attempt) == ("running", 1)
    assert job.lease_until is not None
    assert moment(LEASE_S - 5) < job.lease_until <= moment(LEASE_S)
    assert claimed(store, job_id) is None
    assert actions(store, job_id) == ["job.submit", "job.claim"]


@pytest.mark.parametrize("threads", [2, 8])
def test_of_those_who_claim_at_once_one_gets_the_job(store: Store, threads: int) -> None:
    for _ in range(5):
        job_id = submitted(store)
        results = at_once(threads, lambda: claimed(store, job_id))  # noqa: B023 (called before the next turn)
        won = [result for result in results if result is not None]
        assert [job.attempt for job in won] == [1], results
        assert row(store, job_id).attempt == 1


def test_what_is_gone_or_late_cannot_be_claimed(store: Store) -> None:
    assert claimed(store, 99) is None
    late = submitted(store, deadline_at=moment(-1))
    assert claimed(store, late) is None
    assert row(store, late).state == "queued"


def test_a_renewal_tells_the_progress_and_hears_wishes(store: Store) -> None:
    job_id = running(store, lease_s=5, deadline_at=moment(60))
    assert call(store, renew_lease, job_id, 1, 90, "step " * 40, 3, 9) == Renewal(True)
    job = row(store, job_id)
    assert (job.step, job.steps_done, job.steps_of) == (("step " * 40)[:100], 3, 9)
    assert job.lease_until is not None
    assert job.lease_until > moment(60)
    call(store, ask_cancel, job)
    assert call(store, renew_lease, job_id, 1, 90, "", 0, 0) == Renewal(True, cancel_asked=True)
    with store.writing() as session:
        session.get_one(Job, job_id).deadline_at = moment(-1)
    assert call(store, renew_lease, job_id, 1, 90, "", 0, 0) == Renewal(True, True, True)
    assert call(store, renew_lease, job_id, 2, 90, "", 0, 0) == Renewal(False)
    assert "job.renew" not in actions(store, job_id)


def test_a_lease_that_ran_out_unnoticed_can_be_renewed(store: Store) -> None:
    job_id = running(store, lease_s=-1)
    assert call(store, renew_lease, job_id, 1, LEASE_S, "", 0, 0).ours
    assert call(store, release_expired, datetime.now(UTC), 3) == []


# ------------------------------------------------------------------------------------------------- endings

ENDINGS = [
    (finish_job, ({"plan": "ab"},), "done", "job.finish"),
    (fail_job, ("no phase fits",), "failed", "job.fail"),
    (end_cancelled, (), "cancelled", "job.cancel"),
]


@pytest.mark.parametrize(("ending", "arguments", "state", "action"), ENDINGS)
def test_the_holder_ends_a_job_once(
    store: Store, ending: Any, arguments: tuple[Any, ...], state: str, action: str
) -> None:
    job_id = running(store)
    assert call(store, ending, job_id, 1, *arguments)
    job = row(store, job_id)
    assert (job.state, job.lease_until) == (state, None)
    assert job.finished_at is not None
    assert (job.result, job.problem) == (
        {"plan": "ab"} if state == "done" else None,
        "no phase fits" if state == "failed" else "",
    )
    assert not call(store, ending, job_id, 1, *arguments)
    assert actions(store, job_id) == ["job.submit", "job.claim", action]


@pytest.mark.parametrize(("ending", "arguments", "state", "action"), ENDINGS)
def test_who_lost_the_lease_writes_nothing(
    store: Store, ending: Any, arguments: tuple[Any, ...], state: str, action: str
) -> None:
    job_id = running(store, lease_s=-1)
    call(store, release_expired, datetime.now(UTC), 3)
    assert not call(store, ending, job_id, 1, *arguments)
    assert row(store, job_id).state == "queued"
    claimed(store, job_id)
    assert not call(store, ending, job_id, 1, *arguments)
    assert call(store, hold_job, job_id, 1) is None
    assert not call(store, renew_lease, job_id, 1, 9, "", 0, 0).ours
    assert call(store, hold_job, job_id, 2).attempt == 2
    assert (row(store, job_id).state, row(store, job_id).attempt) == ("running", 2)
    assert call(store, ending, job_id, 2, *arguments)
    assert row(store, job_id).state == state
    assert actions(store, job_id)[2:] == ["job.release", "job.claim", action]


# ------------------------------------------------------------------------------------------------ cancelling


def test_a_waiting_job_is_cancelled_at_once(store: Store) -> None:
    job_id = submitted(store)
    assert call(store, ask_cancel, row(store, job_id), Actor(1, "r2")) == "cancelled"
    assert claimed(store, job_id) is None
    assert call(store, ask_cancel, row(store, job_id)) == "cancelled"
    assert row(store, job_id).finished_at is not None
    assert actions(store, job_id) == ["job.submit", "job.cancel"]
    with store.reading() as session:
        assert session.scalars(select(AuditEntry.person_id).order_by(AuditEntry.id)).all()[-1] == 1


def test_a_running_job_is_asked_once(store: Store) -> None:
    job_id = running(store)
    for _ in range(2):
        assert call(store, ask_cancel, row(store, job_id)) == "running"
    assert row(store, job_id).cancel_asked
    assert actions(store, job_id) == ["job.submit", "job.claim", "job.ask-cancel"]


@pytest.mark.parametrize(("ending", "arguments"), [(finish_job, ({},)), (fail_job, ("so",))])
def test_what_has_ended_cannot_be_cancelled(store: Store, ending: Any, arguments: tuple[Any, ...]) -> None:
    job_id = running(store)
    call(store, ending, job_id, 1, *arguments)
    with pytest.raises(Conflict, match=f"job {job_id} is (done|failed) already"):
        call(store, ask_cancel, row(store, job_id))


def test_what_is_gone_cannot_be_cancelled(store: Store) -> None:
    with pytest.raises(NotFound, match="no job 77"):
        call(store, ask_cancel, Job(id=77))


# ------------------------------------------------------------------------------------------------- releases


def test_only_what_fell_silent_is_released(store: Store) -> None:
    silent, alive, waiting = running(store, lease_s=10), running(store, lease_s=60), submitted(store)
    with store.reading() as session:
        assert not any_expired(session, datetime.now(UTC))
        assert any_expired(session, moment(30))
    released = call(store, release_expired, moment(30), 3)
    assert [job.id for job in released] == [silent]
    assert [row(store, job_id).state for job_id in (silent, alive, waiting)] == [
        "queued",
        "running",
        "queued",
    ]
    assert row(store, silent).lease_until is None


def test_a_job_that_kills_its_workers_fails_in_the_end(store: Store) -> None:
    job_id = submitted(store)
    for attempt in (1, 2, 3):
        assert row(store, job_id).state == "queued"
        claimed(store, job_id, lease_s=-1)
        assert row(store, job_id).attempt == attempt
        call(store, release_expired, datetime.now(UTC), 3)
    job = row(store, job_id)
    assert job.state == "failed"
    assert "the worker died 3 times" in job.problem
    assert actions(store, job_id).count("job.release") == 2
    assert actions(store, job_id)[-1] == "job.fail"


def test_one_attempt_may_be_all(store: Store) -> None:
    job_id = running(store, lease_s=-1)
    call(store, release_expired, datetime.now(UTC), 1)
    assert "the worker died once" in row(store, job_id).problem


def test_a_job_handed_back_waits_again_and_no_death_is_counted(store: Store) -> None:
    job_id = running(store)
    for attempt in (1, 2, 3, 4):
        assert call(store, hand_back, job_id, attempt)
        assert row(store, job_id).state == "queued"
        assert not call(store, hand_back, job_id, attempt)
        claimed(store, job_id, lease_s=-1)
    call(store, release_expired, datetime.now(UTC), 2)
    assert row(store, job_id).state == "queued"
    assert not call(store, fail_job, job_id, 5, "late")


def test_a_wish_to_cancel_survives_the_worker(store: Store) -> None:
    silent, handed = running(store, lease_s=-1), running(store)
    for job_id in (silent, handed):
        call(store, ask_cancel, row(store, job_id))
    call(store, release_expired, datetime.now(UTC), 3)
    assert call(store, hand_back, handed, 1)
    assert [row(store, job_id).state for job_id in (silent, handed)] == ["cancelled"] * 2


def test_who_is_known_to_be_dead_is_not_waited_for(store: Store) -> None:
    job_id = running(store)
    assert call(store, release_dead, job_id, 2, 3) is None
    assert call(store, release_dead, job_id, 1, 3).state == "queued"
    assert call(store, release_dead, job_id, 1, 3) is None
    # the second worker dies before it could claim
    assert call(store, release_dead, job_id, 2, 3).state == "queued"
    assert call(store, release_dead, job_id, 3, 3).state == "failed"
    assert call(store, release_dead, 99, 1, 3) is None


def test_a_deadline_ends_what_waits_and_what_is_released(store: Store) -> None:
    waiting, died = submitted(store, deadline_at=moment(60)), running(store, 5, deadline_at=moment(60))
    in_time = submitted(store, deadline_at=moment(600))
    with store.reading() as session:
        assert any_expired(session, moment(120))
    assert [job.id for job in call(store, end_overdue, moment(120))] == [waiting]
    call(store, release_expired, moment(120), 3)
    for job_id in (waiting, died):
        assert row(store, job_id).state == "failed"
        assert "its deadline, 20" in row(store, job_id).problem
    assert row(store, in_time).state == "queued"
    assert actions(store, waiting) == ["job.submit", "job.fail"]


def test_who_finishes_while_others_release_is_not_disturbed(store: Store) -> None:
    job_id = running(store, lease_s=-1)
    got: list[Any] = []

    def release() -> None:
        got.append(call(store, release_expired, datetime.now(UTC), 3))

    with store.writing() as session:
        assert hold_job(session, job_id, 1) is not None
        other = threading.Thread(target=release)
        other.start()
        other.join(timeout=0.5)
        assert finish_job(session, job_id, 1, {"kept": True})
    other.join(timeout=30)
    assert got == [[]]
    assert (row(store, job_id).state, row(store, job_id).result) == ("done", {"kept": True})
