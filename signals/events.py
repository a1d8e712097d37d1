"""Events on the street: sent to whoever answers for the place, watched by deadlines, escalated when one is missed.

    reported ──▶ dispatched ──▶ responded ──▶ closed

Who is sent: the people with a duty for this kind of event in the smallest area around it that has any; of these,
whoever has the fewest open events, then whoever was sent longest ago, then the lower id. A missed deadline sends
the event to the next area above, with as much time as there was at first. Every step is in the event's course
and in the audit, in the transaction of the step itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, and_, func, or_, select
from sqlalchemy.orm import Session, joinedload

from signals.access import ALLOWED, Action, Caller
from signals.errors import Conflict, NotFound
from signals.model.states import EventState, Role
from signals.store.areas import open_events
from signals.store.audit import Actor, record
from signals.store.people import get_person
from signals.store.tables import Area, Duty, Event, EventEntry, Grant, IntersectionRow, Person
from signals.wire.events import EventKind, EventStep, Severity

SERVICE = "dispatch"
"""What the audit names as the request of what nobody asked for."""
_NEVER = datetime.min.replace(tzinfo=UTC)

Level = tuple[Area, Sequence[Person]]
"""An area, and who answers there for the kind of event in question."""


def overdue(now: datetime) -> ColumnElement[bool]:
    """The condition that an open event has missed its deadline to respond or to report back."""
    unanswered = and_(Event.responded_at.is_(None), Event.respond_by < now)
    return and_(Event.state != EventState.CLOSED, or_(unanswered, Event.feedback_by < now))


def visible(caller: Caller) -> ColumnElement[bool]:
    """The condition that the caller may see an event, in queries joined with its area: by a role, or as assignee."""
    return or_(caller.sees(Area.path), Event.assignee_id == caller.person_id)


def get_event(session: Session, caller: Caller, event_id: int, *, to_change: bool = False) -> Event:
    """An event that the caller may see, by a role in its area or because it was sent there.

    With `to_change` nobody else changes it until this transaction ends.

    Raises
    ------
    NotFound
        Where there is none.
    """
    query = select(Event).where(Event.id == event_id)
    if to_change:
        query = query.with_for_update().execution_options(populate_existing=True)
    event = session.scalar(query)
    if event is None:
        raise NotFound(f"there is no event {event_id}")
    if event.assignee_id != caller.person_id:
        caller.require(Action.VIEW, event.area, f"event {event_id}")
    return event


# --------------------------------------------------------------------------------------------------- steps


def report_event(
    session: Session,
    caller: Caller,
    *,
    area: Area,
    intersection: IntersectionRow | None,
    kind: EventKind,
    severity: Severity,
    title: str,
    text: str,
    now: datetime,
    respond_h: float,
    feedback_h: float,
) -> Event:
    """A new event, and somebody sent; where nobody answers for it, it stays `reported` and its course says so.

    Raises
    ------
    NotFound, Forbidden
        As `Caller.require`.
    Conflict
        Where feedback would be due before the response.
    """
    caller.require(Action.REPORT_EVENT, area, f"area {area.id}")
    if not 0 < respond_h <= feedback_h:
        raise Conflict(
            f"a response within {respond_h:g} h and feedback within {feedback_h:g} h: feedback follows the "
            "response, so give it as much time or more"
        )
    event = Event(
        area=area,
        intersection_id=intersection.id if intersection else None,
        kind=kind.value,
        severity=severity.value,
        title=title,
        text=text,
        state=EventState.REPORTED,
        reported_by=caller.person_id,
        reported_at=now,
        respond_by=now + timedelta(hours=respond_h),
        feedback_by=now + timedelta(hours=feedback_h),
        escalations=0,
        version=1,
    )
    session.add(event)
    session.flush()
    # The entry locks the audit's head: from here on no other transaction sends anybody, and loads stay as counted.
    _note(
        session,
        caller.actor,
        event,
        EventStep.REPORTED,
        now,
        kind=kind.value,
        severity=severity.value,
        intersection=event.intersection_id,
    )
    levels = _levels(session, event)
    nearest = next(((place, people) for place, people in levels if people), None)
    service = Actor(None, caller.request_id)
    if nearest is None:
        nobody = f"nobody answers for {kind.value} in area {area.name!r} or above; set duties, or assign it"
        _note(session, service, event, EventStep.WAITING, now, nobody)
    else:
        _send(session, service, event, nearest, now)
    return event


def respond(session: Session, caller: Caller, event: Event, text: str, *, now: datetime) -> Event:
    """The event with a response; a further one adds to its course. One that nobody has is the responder's then.

    Raises
    ------
    NotFound, Forbidden
        Where the caller is neither the assignee nor may respond to events there.
    Conflict
        Where it is closed.
    """
    _require_answer(caller, event)
    _require_open(event)
    if event.assignee_id is None:
        event.assignee = session.get_one(Person, caller.person_id)
    event.state = EventState.RESPONDED
    event.responded_at = event.responded_at or now
    return _stepped(session, caller, event, EventStep.RESPONDED, now, text)


def close_with_feedback(session: Session, caller: Caller, event: Event, text: str, *, now: datetime) -> Event:
    """The event closed, with how it ended.

    Raises
    ------
    NotFound, Forbidden
        Where the caller is neither the assignee nor may respond to events there.
    Conflict
        Where nobody has responded yet, or it is closed already.
    """
    _require_answer(caller, event)
    _require_open(event)
    if event.responded_at is None:
        raise Conflict(f"event {event.id} has no response yet; respond first, then close it with feedback")
    event.state = EventState.CLOSED
    event.closed_at = now
    return _stepped(session, caller, event, EventStep.CLOSED, now, text)


def reassign(session: Session, caller: Caller, event: Event, person: str, *, now: datetime) -> Event:
    """The event given to somebody else, by name; its deadlines stay.

    Raises
    ------
    NotFound, Forbidden
        Where the caller is neither the assignee nor may respond to events there, or there is no such person.
    Conflict
        Where it is closed, is that person's already, or the person has no part in the area.
    """
    _require_answer(caller, event)
    _require_open(event)
    taker = get_person(session, person)
    if taker.id == event.assignee_id:
        raise Conflict(f"event {event.id} is with {taker.name} already")
    if not _has_part(session, taker, event):
        roles = " or ".join(sorted(ALLOWED[Action.ANSWER_EVENT]))
        raise Conflict(
            f"{taker.name} has no duty and no role {roles} in area {event.area.name!r} or above; "
            "name somebody who has"
        )
    before = event.assignee_id
    _stepped(session, caller, event, EventStep.REASSIGNED, now, before=before, after=taker.id)
    _give(session, caller.actor, event, taker, now, f"{taker.name}, by {caller.name}")
    return event


def escalate_overdue(session: Session, now: datetime) -> list[Event]:
    """Every open event that has missed a deadline, sent to the next area above and with a fresh deadline.

    It goes to the nearest area above the assignee's in which somebody else answers for it; where there is none,
    to somebody else of the assignee's area; where there is nobody, it stays where it is. The time to respond,
    if nobody has, and the time to report back begin anew, each as long as it was. So nothing happens the second
    time at the same moment. Events that somebody is changing right now are left for the next time.
    """
    # All rows are locked before the audit's head is: in the other order two transactions could wait for each other.
    late = select(Event).where(overdue(now)).order_by(Event.id).with_for_update(skip_locked=True)
    events = list(session.scalars(late.execution_options(populate_existing=True)))
    for event in events:
        _escalate(session, event, now)
    return events


def _escalate(session: Session, event: Event, now: datetime) -> None:
    missed, due = ("feedback", event.feedback_by)
    began = max((e.at for e in event.course if e.step == EventStep.ESCALATED), default=event.reported_at)
    event.feedback_by = now + (event.feedback_by - began)
    if event.responded_at is None:
        missed, due = "response", event.respond_by
        event.respond_by = now + (event.respond_by - began)
    event.escalations += 1
    event.version += 1
    service = Actor(None, SERVICE)
    text = f"no {missed} by {due:%Y-%m-%d %H:%M:%S} UTC"
    _note(session, service, event, EventStep.ESCALATED, now, text, missed=missed, times=event.escalations)
    above = _next_above(_levels(session, event), event.assignee_id)
    if above is None:
        stays = f"it stays with {event.assignee.name}" if event.assignee else "it waits"
        nobody = f"nobody else answers for {event.kind} here or above: {stays}; set duties, or assign it"
        _note(session, service, event, EventStep.WAITING, now, nobody)
    else:
        _send(session, service, event, above, now)


# ---------------------------------------------------------------------------------------------- who is sent


def _levels(session: Session, event: Event) -> list[Level]:
    """From the event's area up to the whole city: who answers there for events of its kind."""
    path = [int(part) for part in event.area.path.split("/") if part]
    duties = select(Duty).where(Duty.area_id.in_(path)).options(joinedload(Duty.person)).order_by(Duty.id)
    held = [duty for duty in session.scalars(duties) if not duty.kinds or event.kind in duty.kinds]
    return [
        (session.get_one(Area, area_id), [duty.person for duty in held if duty.area_id == area_id])
        for area_id in reversed(path)
    ]


def _next_above(levels: Sequence[Level], assignee_id: int | None) -> Level | None:
    """The nearest level above the assignee's with somebody else; then the assignee's own; None without any.

    The assignee's level is the lowest with a duty of theirs, and the event's area where they have none.
    """
    others = [(area, [p for p in people if p.id != assignee_id]) for area, people in levels]
    if assignee_id is None:
        order = others
    else:
        own = next((k for k, (_, people) in enumerate(levels) if assignee_id in {p.id for p in people}), 0)
        order = [*others[own + 1 :], others[own]]
    return next((level for level in order if level[1]), None)


def _least_busy(session: Session, people: Sequence[Person]) -> Person:
    """Who has the fewest open events; then who was sent longest ago; then the lower id."""
    ids = [person.id for person in people]
    waiting = open_events(session, ids)
    sent = (
        select(EventEntry.person_id, func.max(EventEntry.at))
        .where(EventEntry.step == EventStep.DISPATCHED, EventEntry.person_id.in_(ids))
        .group_by(EventEntry.person_id)
    )
    last = dict(session.execute(sent).all())
    return min(people, key=lambda person: (waiting[person.id], last.get(person.id, _NEVER), person.id))


def _send(session: Session, actor: Actor, event: Event, level: Level, now: datetime) -> None:
    area, people = level
    person = _least_busy(session, people)
    _give(session, actor, event, person, now, f"{person.name}, who answers for area {area.name!r}")


def _give(session: Session, actor: Actor, event: Event, person: Person, now: datetime, text: str) -> None:
    event.assignee = person
    if event.state == EventState.REPORTED:
        event.state = EventState.DISPATCHED
    _note(session, actor, event, EventStep.DISPATCHED, now, text, person_id=person.id, assignee=person.id)


def _has_part(session: Session, person: Person, event: Event) -> bool:
    """Whether a person has a duty, or a role to respond to events, in the event's area or above."""
    path = [int(part) for part in event.area.path.split("/") if part]
    duty = select(Duty.id).where(Duty.person_id == person.id, Duty.area_id.in_(path)).limit(1)
    roles = select(Grant.role).where(Grant.person_id == person.id, Grant.area_id.in_(path))
    allowed = ALLOWED[Action.ANSWER_EVENT]
    return session.scalar(duty) is not None or any(Role(role) in allowed for role in session.scalars(roles))


# ----------------------------------------------------------------------------------------------- the record


def _require_answer(caller: Caller, event: Event) -> None:
    if event.assignee_id != caller.person_id:
        caller.require(Action.ANSWER_EVENT, event.area, f"event {event.id}")


def _require_open(event: Event) -> None:
    if event.state == EventState.CLOSED:
        raise Conflict(f"event {event.id} is closed; report a new one if it happened again")


def _stepped(
    session: Session,
    caller: Caller,
    event: Event,
    step: EventStep,
    now: datetime,
    text: str = "",
    **details: Any,
) -> Event:
    event.version += 1
    _note(session, caller.actor, event, step, now, text, **details)
    return event


_VERBS = {
    EventStep.REPORTED: "report",
    EventStep.WAITING: "wait",
    EventStep.DISPATCHED: "dispatch",
    EventStep.RESPONDED: "respond",
    EventStep.REASSIGNED: "reassign",
    EventStep.ESCALATED: "escalate",
    EventStep.CLOSED: "close",
}


def _note(
    session: Session,
    actor: Actor,
    event: Event,
    step: EventStep,
    now: datetime,
    text: str = "",
    *,
    person_id: int | None = None,
    **details: Any,
) -> None:
    """Put a step into the event's course and into the audit."""
    who = actor.person_id if person_id is None else person_id
    event.course.append(EventEntry(at=now, person_id=who, step=step.value, text=text))
    session.flush()
    action, subject = f"event.{_VERBS[step]}", f"events/{event.id}"
    record(session, actor, action, subject, area_id=event.area_id, at=now, version=event.version, **details)
