"""Who is sent to an event, what happens when a deadline is missed, and that no step leaves the record behind."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from signals.access import Caller
from signals.errors import Conflict, Forbidden, NotFound
from signals.events import (
    close_with_feedback,
    escalate_overdue,
    get_event,
    reassign,
    report_event,
    respond,
)
from signals.model.states import EventState, Role
from signals.store.areas import add_area, set_duties
from signals.store.audit import Actor, verify
from signals.store.people import add_person, grant_role
from signals.store.session import Store
from signals.store.tables import Area, AuditEntry, Duty, Event, EventEntry, Person
from signals.wire.events import EventKind, Severity

HERE = Actor(None, "test")
NOON = datetime(2026, 11, 25, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
NAMES = ("Ada", "Ben", "Cleo", "Dan", "Eve")
FAULT = EventKind.SIGNAL_FAULT


@contextmanager
def undone(store: Store) -> Iterator[Session]:
    """A transaction that may write, and leaves nothing."""
    with Session(store.engine.execution_options(greensplit_writes=True), expire_on_commit=False) as session:
        yield session


@dataclass
class Street:
    """A session on a city with a north, a harbour in it and a south; five people; and Rita, who reports."""

    session: Session

    @classmethod
    def build(cls, session: Session) -> Street:
        """Put areas and people into an empty store."""
        north = add_area(session, HERE, session.get_one(Area, 1), "north")
        add_area(session, HERE, north, "harbour")
        add_area(session, HERE, session.get_one(Area, 1), "south")
        for name in (*NAMES, "Rita", "Vic", "Sue"):
            add_person(session, HERE, name)
        street = cls(session)
        grant_role(session, HERE, street.person("Rita"), Role.OPERATOR, street.area("city"))
        grant_role(session, HERE, street.person("Vic"), Role.VIEWER, street.area("city"))
        grant_role(session, HERE, street.person("Sue"), Role.OPERATOR, street.area("south"))
        return street

    def area(self, name: str) -> Area:
        return self.session.scalars(select(Area).where(Area.name == name)).one()

    def person(self, name: str) -> Person:
        return self.session.scalars(select(Person).where(Person.name == name)).one()

    def caller(self, name: str) -> Caller:
        person = self.person(name)
        roles = tuple((Role(grant.role), grant.area.path) for grant in person.grants)
        return Caller(person.id, name, 0, roles, "r1")

    def duties(self, **areas: list[str] | list[tuple[str, list[str]]]) -> None:
        """Who answers where: names, or names with kinds."""
        for name, people in areas.items():
            pairs = [(one, []) if isinstance(one, str) else one for one in people]
            set_duties(self.session, HERE, self.area(name), pairs)

    def report(self, area: str = "harbour", now: datetime = NOON, **given: Any) -> Event:
        terms: dict[str, Any] = {
            "intersection": None,
            "kind": FAULT,
            "severity": Severity.NORMAL,
            "title": "Signal dark",
            "text": "",
            "respond_h": 2.0,
            "feedback_h": 24.0,
        }
        return report_event(
            self.session, self.caller("Rita"), area=self.area(area), now=now, **(terms | given)
        )


@pytest.fixture
def street(store: Store) -> Iterator[Street]:
    with store.writing() as session:
        yield Street.build(session)


def assignee(event: Event) -> str | None:
    return event.assignee.name if event.assignee else None


def steps(event: Event) -> list[str]:
    return [entry.step for entry in event.course]


# -------------------------------------------------------------------------------------------- who is sent


@pytest.mark.parametrize(
    ("duties", "sent"),
    [
        ({"harbour": ["Ada"], "north": ["Ben"], "city": ["Cleo"]}, "Ada"),
        ({"north": ["Ben"], "city": ["Cleo"]}, "Ben"),
        ({"city": ["Cleo"]}, "Cleo"),
        ({"harbour": [("Ada", ["complaint"])], "north": ["Ben"]}, "Ben"),
        ({"harbour": [("Ada", ["complaint", "signal-fault"])], "north": ["Ben"]}, "Ada"),
        ({"south": ["Ada"]}, None),
        ({"city": [("Ada", ["roadworks"])]}, None),
        ({}, None),
    ],
)
def test_the_smallest_area_with_somebody_for_the_kind_sends(
    street: Street, duties: dict[str, Any], sent: str | None
) -> None:
    street.duties(**duties)
    event = street.report()
    assert assignee(event) == sent
    assert event.state == ("dispatched" if sent else "reported")
    assert steps(event) == ["reported", "dispatched" if sent else "waiting"]


def test_where_nobody_answers_the_course_says_so(street: Street) -> None:
    event = street.report()
    assert event.course[-1].text == (
        "nobody answers for signal-fault in area 'harbour' or above; set duties, or assign it"
    )


def test_duties_below_the_place_do_not_count(street: Street) -> None:
    street.duties(harbour=["Ada"], city=["Ben"])
    assert assignee(street.report("north")) == "Ben"


def test_a_busy_neighbour_below_still_wins_over_an_idle_one_above(street: Street) -> None:
    street.duties(harbour=["Ada"], north=["Ben"])
    assert [assignee(street.report()) for _ in range(3)] == ["Ada"] * 3


def test_work_goes_round(street: Street) -> None:
    street.duties(harbour=["Cleo", "Ada", "Ben"])
    events = [street.report(now=NOON + k * HOUR) for k in range(4)]
    # nobody was sent before: the lower id first; then whoever has least; then whoever was sent longest ago
    assert [assignee(event) for event in events] == ["Ada", "Ben", "Cleo", "Ada"]
    done = events[2]
    respond(street.session, street.caller("Cleo"), done, "on site", now=NOON + 5 * HOUR)
    close_with_feedback(street.session, street.caller("Cleo"), done, "repaired", now=NOON + 6 * HOUR)
    assert assignee(street.report(now=NOON + 7 * HOUR)) == "Cleo"
    assert assignee(street.report(now=NOON + 8 * HOUR)) == "Ben"


@settings(
    deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], database=None
)
@given(
    duties=st.dictionaries(
        st.tuples(st.sampled_from(("harbour", "north", "city", "south")), st.sampled_from(NAMES)),
        st.lists(st.sampled_from(list(EventKind)), max_size=3, unique=True),
        max_size=12,
    ),
    before=st.lists(
        st.tuples(
            st.sampled_from(NAMES), st.sampled_from(list(EventState)), st.integers(1, 6), st.booleans()
        ),
        max_size=12,
    ),
    kind=st.sampled_from(list(EventKind)),
)
def test_the_assignee_is_always_one_of_the_least_busy_who_answer_nearest(
    settled: Store,
    duties: dict[tuple[str, str], list[EventKind]],
    before: list[tuple[str, EventState, int, bool]],
    kind: EventKind,
) -> None:
    with undone(settled) as session:
        street = Street(session)
        for (area, person), kinds in duties.items():
            session.add(
                Duty(
                    area_id=street.area(area).id,
                    person_id=street.person(person).id,
                    kinds=[k.value for k in kinds],
                )
            )
        for name, state, hours_ago, was_sent in before:
            past_event(street, name, state, NOON - hours_ago * HOUR, was_sent)
        session.flush()
        sent = assignee(street.report(kind=kind))

    eligible: list[str] = []
    for place in ("harbour", "north", "city"):
        eligible = [n for n in NAMES if (place, n) in duties and kind in (duties[place, n] or [kind])]
        if eligible:
            break
    if not eligible:
        assert sent is None
        return
    load = {n: sum(who == n and state != "closed" for who, state, _, _ in before) for n in NAMES}
    since = {n: min((ago for who, _, ago, was in before if who == n and was), default=99) for n in NAMES}
    least = [n for n in eligible if load[n] == min(load[m] for m in eligible)]
    longest = [n for n in least if since[n] == max(since[m] for m in least)]
    assert sent == longest[0]


@pytest.fixture
def settled(store: Store) -> Store:
    """A store with the city and its people; tests undo what they do in it."""
    with store.writing() as session:
        Street.build(session)
    return store


def past_event(street: Street, name: str, state: EventState, at: datetime, was_sent: bool) -> None:
    """An event that waits for somebody, whether sent by the rules or put there otherwise."""
    event = Event(
        area=street.area("south"),
        kind="other",
        severity="low",
        title="Before",
        state=state,
        assignee_id=street.person(name).id,
        reported_by=1,
        reported_at=at,
        respond_by=at + 100 * HOUR,
        feedback_by=at + 100 * HOUR,
    )
    if was_sent:
        event.course.append(EventEntry(at=at, person_id=event.assignee_id, step="dispatched"))
    street.session.add(event)


def test_reports_at_the_same_moment_are_spread_evenly(store: Store) -> None:
    with store.writing() as session:
        Street.build(session).duties(harbour=["Ada", "Ben", "Cleo"])

    def one() -> None:
        with store.writing() as session:
            Street(session).report()

    at_once(one, one, one, one, one, one)
    with store.reading() as session:
        sent = sorted(assignee(event) or "" for event in session.scalars(select(Event)))
    assert sent == ["Ada", "Ada", "Ben", "Ben", "Cleo", "Cleo"]


def at_once(*deeds: Callable[[], None]) -> None:
    """Do these in threads that start together."""
    barrier = threading.Barrier(len(deeds))
    faults: list[Exception] = []

    def body(deed: Callable[[], None]) -> None:
        barrier.wait(timeout=10)
        try:
            deed()
        except Exception as error:
            faults.append(error)

    threads = [threading.Thread(target=body, args=(deed,)) for deed in deeds]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=30)
    assert not faults


# ------------------------------------------------------------------------------------------------- steps


def test_an_event_from_report_to_feedback(street: Street) -> None:
    street.duties(harbour=["Ada"])
    session, ada = street.session, street.caller("Ada")
    event = street.report(respond_h=1, feedback_h=8)
    assert (event.respond_by, event.feedback_by) == (NOON + HOUR, NOON + 8 * HOUR)
    respond(session, ada, event, "on the way", now=NOON + HOUR / 2)
    respond(session, ada, event, "on site", now=NOON + HOUR)
    close_with_feedback(session, ada, event, "lamp replaced", now=NOON + 2 * HOUR)
    assert (event.state, event.version, event.escalations) == ("closed", 4, 0)
    assert (event.responded_at, event.closed_at) == (NOON + HOUR / 2, NOON + 2 * HOUR)
    rita, sent = street.person("Rita").id, street.person("Ada").id
    assert [(e.step, e.person_id, e.text) for e in event.course] == [
        ("reported", rita, ""),
        ("dispatched", sent, "Ada, who answers for area 'harbour'"),
        ("responded", sent, "on the way"),
        ("responded", sent, "on site"),
        ("closed", sent, "lamp replaced"),
    ]
    audit = session.scalars(
        select(AuditEntry).where(AuditEntry.subject == f"events/{event.id}").order_by(AuditEntry.id)
    ).all()
    assert [(a.action, a.person_id, a.request_id) for a in audit] == [
        ("event.report", rita, "r1"),
        ("event.dispatch", None, "r1"),
        ("event.respond", sent, "r1"),
        ("event.respond", sent, "r1"),
        ("event.close", sent, "r1"),
    ]
    assert {a.area_id for a in audit} == {event.area_id}
    verify(session)


def test_whoever_responds_to_what_nobody_has_takes_it(street: Street) -> None:
    event = street.report()
    respond(street.session, street.caller("Rita"), event, "I go", now=NOON)
    assert (assignee(event), event.state) == ("Rita", "responded")


def test_feedback_before_a_response_is_refused(street: Street) -> None:
    street.duties(harbour=["Ada"])
    event = street.report()
    with pytest.raises(Conflict, match="no response yet; respond first"):
        close_with_feedback(street.session, street.caller("Ada"), event, "done", now=NOON)


@pytest.mark.parametrize(("respond_h", "feedback_h"), [(3, 2), (0, 2)])
def test_deadlines_out_of_order_are_refused(street: Street, respond_h: float, feedback_h: float) -> None:
    with pytest.raises(Conflict, match="feedback follows the response"):
        street.report(respond_h=respond_h, feedback_h=feedback_h)
    assert street.session.scalar(select(func.count()).select_from(Event)) == 0


def test_only_the_assignee_or_a_role_for_it_may_take_a_step(street: Street) -> None:
    street.duties(harbour=["Ada", "Ben"])
    event = street.report()
    deeds: list[Callable[[Caller], Event]] = [
        lambda who: respond(street.session, who, event, "x", now=NOON),
        lambda who: close_with_feedback(street.session, who, event, "x", now=NOON),
        lambda who: reassign(street.session, who, event, "Ben", now=NOON),
    ]
    for deed in deeds:
        with pytest.raises(Forbidden, match="engineer or operator"):
            deed(street.caller("Vic"))
        for outsider in ("Sue", "Ben"):
            with pytest.raises(NotFound, match=f"no event {event.id}"):
                deed(street.caller(outsider))
    assert (event.version, assignee(event)) == (1, "Ada")
    assert assignee(deeds[2](street.caller("Ada"))) == "Ben"
    deeds[0](street.caller("Ben"))
    assert deeds[1](street.caller("Rita")).state == "closed"


def test_the_assignee_sees_the_event_without_any_role(street: Street) -> None:
    street.duties(harbour=["Ada", "Ben"])
    event = street.report()
    assert get_event(street.session, street.caller("Ada"), event.id) is event
    with pytest.raises(NotFound):
        get_event(street.session, street.caller("Ben"), event.id)


def test_an_event_is_given_to_whoever_has_a_part_there(street: Street) -> None:
    street.duties(harbour=["Ada"], north=[("Ben", ["roadworks"])])
    session, ada = street.session, street.caller("Ada")
    event = street.report()
    respond_by = event.respond_by
    for name, error in (("Ada", "with Ada already"), ("Sue", "Sue has no duty"), ("Vic", "Vic has no duty")):
        with pytest.raises(Conflict, match=error):
            reassign(session, ada, event, name, now=NOON)
    with pytest.raises(NotFound, match="no person 'Zoe'"):
        reassign(session, ada, event, "Zoe", now=NOON)
    assert event.version == 1
    assert assignee(reassign(session, ada, event, "Ben", now=NOON)) == "Ben"
    assert assignee(reassign(session, street.caller("Ben"), event, "Rita", now=NOON)) == "Rita"
    assert (event.version, event.respond_by) == (3, respond_by)
    assert steps(event)[2:] == ["reassigned", "dispatched"] * 2


def test_an_event_that_waits_is_dispatched_when_it_is_given_to_somebody(street: Street) -> None:
    event = reassign(street.session, street.caller("Rita"), street.report(), "Rita", now=NOON)
    assert (event.state, assignee(event)) == ("dispatched", "Rita")


# -------------------------------------------------------------------------------------------- escalation


def escalated(street: Street, event: Event, now: datetime) -> str | None:
    """Who has the event after its deadline was missed; it must have been."""
    assert escalate_overdue(street.session, now) == [event]
    return assignee(event)


def test_a_missed_response_goes_up_area_by_area_and_each_has_the_full_time(street: Street) -> None:
    street.duties(harbour=["Ada", "Ben"], north=["Cleo"], city=["Dan"])
    event = street.report(respond_h=1, feedback_h=3)
    assert escalate_overdue(street.session, NOON + HOUR) == []
    second = timedelta(seconds=1)
    first_missed = NOON + HOUR + second
    assert escalated(street, event, first_missed) == "Cleo"
    assert (event.respond_by, event.feedback_by) == (first_missed + HOUR, first_missed + 3 * HOUR)
    later = first_missed + 5 * HOUR
    assert escalated(street, event, later) == "Dan"
    assert (event.respond_by, event.feedback_by) == (later + HOUR, later + 3 * HOUR)
    assert (event.escalations, event.version, event.state) == (2, 3, "dispatched")
    assert steps(event) == ["reported", "dispatched"] + ["escalated", "dispatched"] * 2
    assert event.course[2].text == "no response by 2026-11-25 13:00:00 UTC"
    audit = street.session.scalars(select(AuditEntry).where(AuditEntry.action == "event.escalate")).all()
    assert [(a.person_id, a.request_id, a.details["times"]) for a in audit] == [
        (None, "dispatch", 1),
        (None, "dispatch", 2),
    ]


def test_the_second_time_at_the_same_moment_changes_nothing(street: Street) -> None:
    street.duties(harbour=["Ada"], north=["Ben"])
    event = street.report()
    now = NOON + 100 * HOUR
    assert escalated(street, event, now) == "Ben"
    count, head = verify(street.session)
    assert escalate_overdue(street.session, now) == []
    assert verify(street.session) == (count, head)
    assert (event.escalations, event.version, assignee(event)) == (1, 2, "Ben")


def test_missed_feedback_goes_up_too_and_the_response_stays(street: Street) -> None:
    street.duties(harbour=["Ada"], north=["Ben"])
    event = street.report(respond_h=1, feedback_h=4)
    respond(street.session, street.caller("Ada"), event, "on site", now=NOON + HOUR / 2)
    assert escalate_overdue(street.session, NOON + 3 * HOUR) == []
    now = NOON + 5 * HOUR
    assert escalated(street, event, now) == "Ben"
    assert (event.state, event.responded_at) == ("responded", NOON + HOUR / 2)
    assert (event.respond_by, event.feedback_by) == (NOON + HOUR, now + 4 * HOUR)
    assert "no feedback by 2026-11-25 16:00:00 UTC" in [entry.text for entry in event.course]


def test_feedback_has_its_full_time_after_a_late_response(street: Street) -> None:
    street.duties(harbour=["Ada"], north=["Ben"], city=["Cleo"])
    event = street.report(respond_h=1, feedback_h=4)
    first = NOON + 2 * HOUR
    assert escalated(street, event, first) == "Ben"
    respond(street.session, street.caller("Ben"), event, "on site", now=first + HOUR)
    assert event.feedback_by == first + 4 * HOUR
    second = first + 6 * HOUR
    assert escalated(street, event, second) == "Cleo"
    assert event.feedback_by == second + 4 * HOUR


def test_with_nobody_above_it_goes_to_somebody_else_of_the_same_area(street: Street) -> None:
    street.duties(harbour=["Ada", "Ben"])
    event = street.report()
    assert escalated(street, event, NOON + 3 * HOUR) == "Ben"
    assert escalated(street, event, NOON + 6 * HOUR) == "Ada"


def test_with_nobody_else_at_all_it_stays_and_says_so(street: Street) -> None:
    street.duties(harbour=["Ada"], city=["Ada"])
    event = street.report()
    assert escalated(street, event, NOON + 3 * HOUR) == "Ada"
    assert event.respond_by == NOON + 5 * HOUR
    assert steps(event)[2:] == ["escalated", "waiting"]
    assert "it stays with Ada" in event.course[-1].text


def test_what_waits_for_nobody_is_sent_once_somebody_answers(street: Street) -> None:
    event = street.report()
    assert escalated(street, event, NOON + 3 * HOUR) is None
    assert (event.state, event.course[-1].step) == ("reported", "waiting")
    street.duties(harbour=["Ada"])
    assert escalated(street, event, NOON + 6 * HOUR) == "Ada"
    assert (event.state, event.escalations) == ("dispatched", 2)


def test_what_was_given_by_hand_goes_above_the_events_own_area(street: Street) -> None:
    street.duties(harbour=["Ada"], north=["Ben"])
    event = reassign(street.session, street.caller("Ada"), street.report(), "Rita", now=NOON)
    assert escalated(street, event, NOON + 3 * HOUR) == "Ben"


def test_closed_events_and_those_in_time_are_left_alone(street: Street) -> None:
    street.duties(harbour=["Ada"], north=["Ben"])
    ada = street.caller("Ada")
    closed = street.report()
    respond(street.session, ada, closed, "on site", now=NOON)
    close_with_feedback(street.session, ada, closed, "done", now=NOON)
    in_time = street.report(now=NOON + 99 * HOUR)
    late = street.report()
    assert escalate_overdue(street.session, NOON + 100 * HOUR) == [late]
    assert (closed.escalations, in_time.escalations) == (0, 0)


def test_two_who_escalate_at_once_do_it_once(store: Store) -> None:
    with store.writing() as session:
        street = Street.build(session)
        street.duties(harbour=["Ada"], north=["Ben"], city=["Cleo"])
        for _ in range(3):
            street.report()

    def escalate() -> None:
        with store.writing() as session:
            escalate_overdue(session, NOON + 3 * HOUR)

    at_once(escalate, escalate, escalate)
    with store.reading() as session:
        events = session.scalars(select(Event)).all()
        assert [(event.escalations, assignee(event)) for event in events] == [(1, "Ben")] * 3
        verify(session)


def test_an_event_that_is_being_changed_waits_for_the_next_time(store: Store) -> None:
    if store.is_sqlite:
        pytest.skip("one writer at a time: nobody else can be changing it")
    with store.writing() as session:
        street = Street.build(session)
        street.duties(harbour=["Ada"], north=["Ben"])
        event_id = street.report().id
    with store.writing() as session:
        street = Street(session)
        event = get_event(session, street.caller("Ada"), event_id, to_change=True)
        with store.writing() as other:
            assert escalate_overdue(other, NOON + 3 * HOUR) == []
        respond(session, street.caller("Ada"), event, "on site", now=NOON + 3 * HOUR)
    with store.writing() as session:
        assert escalate_overdue(session, NOON + 3 * HOUR) == []


def test_a_step_that_is_undone_leaves_neither_course_nor_audit(settled: Store) -> None:
    with settled.reading() as session:
        before = verify(session)

    def change_my_mind() -> None:
        with settled.writing() as session:
            Street(session).report()
            raise RuntimeError

    with pytest.raises(RuntimeError):
        change_my_mind()
    with settled.reading() as session:
        assert verify(session) == before
        assert session.scalar(select(func.count()).select_from(EventEntry)) == 0


# ----------------------------------------------------------------------------------- courses of any kind


class Course(RuleBasedStateMachine):
    """An event on any course, beside the few facts that should be true of it.

    Ada and Ben answer for the harbour, Cleo for the north. What is refused must leave everything as it was.
    """

    def __init__(self, store: Store) -> None:
        super().__init__()
        self.transaction = undone(store)
        session = self.transaction.__enter__()
        self.street = Street(session)
        self.street.duties(harbour=["Ada", "Ben"], north=["Cleo"])
        self.now = NOON
        self.event = self.street.report(respond_h=2, feedback_h=6)
        self.state, self.who = "dispatched", "Ada"
        self.version, self.escalations = 1, 0
        self.respond_by, self.feedback_by = NOON + 2 * HOUR, NOON + 6 * HOUR

    def teardown(self) -> None:
        self.transaction.__exit__(None, None, None)

    def kept(self) -> tuple[Any, ...]:
        """All that is in the store of the event."""
        self.street.session.expire(self.event)
        subject = AuditEntry.subject == f"events/{self.event.id}"
        columns = tuple(getattr(self.event, column.name) for column in Event.__table__.columns)
        audit = self.street.session.scalars(select(AuditEntry.hash).where(subject).order_by(AuditEntry.id))
        return columns, tuple(steps(self.event)), tuple(audit)

    def attempt(self, deed: Callable[[], Any], allowed: bool) -> bool:
        """Do it where it is allowed; where not, make sure that nothing is left of it."""
        if allowed:
            deed()
            self.version += 1
            return True
        before = self.kept()
        with pytest.raises((Conflict, Forbidden, NotFound)):
            deed()
        assert self.kept() == before
        return False

    def may(self, name: str) -> bool:
        return self.state != "closed" and name in (self.who, "Rita")

    @rule(name=st.sampled_from((*NAMES, "Rita", "Vic", "Sue")))
    def respond(self, name: str) -> None:
        caller = self.street.caller(name)
        session = self.street.session
        if self.attempt(lambda: respond(session, caller, self.event, "text", now=self.now), self.may(name)):
            self.state = "responded"

    @rule(name=st.sampled_from((*NAMES, "Rita", "Vic", "Sue")))
    def close(self, name: str) -> None:
        caller = self.street.caller(name)
        allowed = self.may(name) and self.state == "responded"
        session = self.street.session
        if self.attempt(
            lambda: close_with_feedback(session, caller, self.event, "text", now=self.now), allowed
        ):
            self.state = "closed"

    @rule(
        name=st.sampled_from((*NAMES, "Rita", "Vic", "Sue")),
        to=st.sampled_from((*NAMES, "Rita", "Vic", "Sue", "Zoe")),
    )
    def reassign(self, name: str, to: str) -> None:
        caller = self.street.caller(name)
        allowed = self.may(name) and to in ("Ada", "Ben", "Cleo", "Rita") and to != self.who
        session = self.street.session
        if self.attempt(lambda: reassign(session, caller, self.event, to, now=self.now), allowed):
            self.who = to

    @rule(minutes=st.integers(1, 500))
    def time_goes_by(self, minutes: int) -> None:
        self.now += timedelta(minutes=minutes)

    @rule()
    def escalate(self) -> None:
        unanswered = self.state == "dispatched" and self.respond_by < self.now
        late = self.state != "closed" and (unanswered or self.feedback_by < self.now)
        for expected in ([self.event], []) if late else ([],):
            assert escalate_overdue(self.street.session, self.now) == expected
        if not late:
            return
        self.version += 1
        self.escalations += 1
        self.feedback_by = self.now + 6 * HOUR
        if self.state == "dispatched":
            self.respond_by = self.now + 2 * HOUR
        # above Ada, Ben and whoever has no duty is Cleo; nobody is above Cleo or beside her
        self.who = "Cleo"

    @invariant()
    def all_is_as_it_should_be(self) -> None:
        columns, course, audit = self.kept()
        assert len(columns) == len(Event.__table__.columns)
        event = self.event
        assert (event.state, assignee(event)) == (self.state, self.who)
        assert (event.version, event.escalations) == (self.version, self.escalations)
        assert event.feedback_by == self.feedback_by
        assert (event.responded_at is not None) == ("responded" in course)
        assert (event.closed_at is not None) == (self.state == "closed") == ("closed" in course)
        assert len(course) == len(audit)


def test_illegal_steps_are_refused_and_leave_nothing(settled: Store) -> None:
    run_state_machine_as_test(  # type: ignore[no-untyped-call]
        lambda: Course(settled),
        settings=settings(deadline=None, max_examples=25, stateful_step_count=20, database=None),
    )
