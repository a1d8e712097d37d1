"""Events on the street: reported, dispatched, responded to, closed with feedback."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Annotated

from fastapi import APIRouter, Query, Response
from sqlalchemy import not_, select
from sqlalchemy.orm import Session, joinedload

from api.deps import (
    CallerDep,
    IfMatch,
    IfNoneMatch,
    Once,
    OnceDep,
    PagingDep,
    SettingsDep,
    StoreDep,
    etag,
    require_version,
    shown,
    unchanged,
)
from api.params import EventId
from api.problems import responses
from signals import events
from signals.access import Caller, get_area, get_intersection
from signals.model.states import EventState
from signals.store.session import Store
from signals.store.tables import Area, Event, IntersectionRow
from signals.wire.base import Id, Page
from signals.wire.events import (
    AssignmentGiven,
    EventEntryShown,
    EventShown,
    EventSummary,
    FeedbackGiven,
    NewEvent,
    NewEventAtIntersection,
    NewEventInArea,
    ResponseGiven,
)

router = APIRouter(prefix="/events", tags=["events"])

CHANGED = responses(403, 404, 409, 412, 428)


@router.get("", responses=responses(404))
def list_events(
    caller: CallerDep,
    store: StoreDep,
    paging: PagingDep,
    area_id: Annotated[Id | None, Query(description="In this area and all below it.")] = None,
    state: Annotated[EventState | None, Query()] = None,
    assignee: Annotated[
        str | None,
        Query(pattern=r"^(me|[1-9][0-9]{0,14})$", description="`me` or a person's number.", examples=["me"]),
    ] = None,
    overdue: Annotated[
        bool | None, Query(description="Whether a deadline to respond or report back is missed.")
    ] = None,
) -> Page[EventSummary]:
    """The events that the caller may see, without their course."""
    late = events.overdue(datetime.now(UTC))
    query = select(Event).join(Event.area).where(events.visible(caller))
    with store.reading() as session:
        if area_id is not None:
            query = query.where(Area.path.like(f"{get_area(session, caller, area_id).path}%"))
        if state is not None:
            query = query.where(Event.state == state)
        if assignee is not None:
            query = query.where(
                Event.assignee_id == (caller.person_id if assignee == "me" else int(assignee))
            )
        if overdue is not None:
            query = query.where(late if overdue else not_(late))
        return paging.page(session, query.options(joinedload(Event.assignee)), Event.id, _summary)


@router.post("", status_code=201, response_model=EventShown, responses=responses(403, 404, 409))
def report_event(
    body: NewEvent, caller: CallerDep, store: StoreDep, settings: SettingsDep, once: OnceDep
) -> Response:
    """Report an event; whoever answers for the place and has least to do is sent.

    Takes any role but viewer there. Where nobody answers for it, its state stays `reported`, it has no assignee,
    and the last step of its course says why.
    """
    with store.writing() as session:

        def make() -> Response:
            area, intersection = _place(session, caller, body)
            respond_h, feedback_h = _deadlines(body, settings.respond_h, settings.feedback_h)
            event = events.report_event(
                session,
                caller,
                area=area,
                intersection=intersection,
                kind=body.kind,
                severity=body.severity,
                title=body.title,
                text=body.text,
                now=datetime.now(UTC),
                respond_h=respond_h,
                feedback_h=feedback_h,
            )
            where = f"/v1/events/{event.id}"
            return shown(show_event(event), status=201, version=event.version, location=where)

        return once(session, make)


@router.get("/{event_id}", response_model=EventShown, responses=responses(404))
def read_event(
    event_id: EventId, caller: CallerDep, store: StoreDep, if_none_match: IfNoneMatch = None
) -> Response:
    """One event, with its course."""
    with store.reading() as session:
        event = events.get_event(session, caller, event_id)
        if unchanged(if_none_match, etag(event.version)):
            return Response(status_code=304, headers={"ETag": etag(event.version)})
        return shown(show_event(event), version=event.version)


@router.post("/{event_id}/responses", response_model=EventShown, responses=CHANGED)
def respond_to_event(
    event_id: EventId,
    body: ResponseGiven,
    caller: CallerDep,
    store: StoreDep,
    if_match: IfMatch,
    once: OnceDep,
) -> Response:
    """Say what is being done. Takes to be the assignee, or the role engineer or operator there."""

    def respond(session: Session, event: Event) -> Event:
        return events.respond(session, caller, event, body.text, now=datetime.now(UTC))

    return _changed(store, caller, event_id, if_match, once, respond)


@router.post("/{event_id}/feedback", response_model=EventShown, responses=CHANGED)
def close_event(
    event_id: EventId,
    body: FeedbackGiven,
    caller: CallerDep,
    store: StoreDep,
    if_match: IfMatch,
    once: OnceDep,
) -> Response:
    """Close an event that was responded to, and say how it ended. Takes what a response takes."""

    def close(session: Session, event: Event) -> Event:
        return events.close_with_feedback(session, caller, event, body.text, now=datetime.now(UTC))

    return _changed(store, caller, event_id, if_match, once, close)


@router.post("/{event_id}/assignments", response_model=EventShown, responses=CHANGED)
def reassign_event(
    event_id: EventId,
    body: AssignmentGiven,
    caller: CallerDep,
    store: StoreDep,
    if_match: IfMatch,
    once: OnceDep,
) -> Response:
    """Give an event to somebody with a duty, or the role engineer or operator, there. Takes what a response takes."""

    def reassign(session: Session, event: Event) -> Event:
        return events.reassign(session, caller, event, body.person, now=datetime.now(UTC))

    return _changed(store, caller, event_id, if_match, once, reassign)


def show_event(event: Event) -> EventShown:
    """An event as it goes over the wire, with its course."""
    course = [
        EventEntryShown(at=entry.at, step=entry.step, person_id=entry.person_id, text=entry.text)
        for entry in event.course
    ]
    return EventShown(**_summary(event).model_dump(), course=course)


def _summary(event: Event) -> EventSummary:
    return EventSummary(
        id=event.id,
        area_id=event.area_id,
        intersection_id=event.intersection_id,
        kind=event.kind,
        severity=event.severity,
        title=event.title,
        text=event.text,
        state=event.state,
        assignee_id=event.assignee_id,
        assignee=event.assignee.name if event.assignee else None,
        reported_by=event.reported_by,
        reported_at=event.reported_at,
        respond_by=event.respond_by,
        feedback_by=event.feedback_by,
        responded_at=event.responded_at,
        closed_at=event.closed_at,
        escalations=event.escalations,
        version=event.version,
    )


def _changed(
    store: Store,
    caller: Caller,
    event_id: int,
    if_match: str,
    once: Once,
    step: Callable[[Session, Event], Event],
) -> Response:
    """The answer to one step of an event that the caller has seen in its current version."""
    with store.writing() as session:

        def make() -> Response:
            event = events.get_event(session, caller, event_id, to_change=True)
            require_version(if_match, event.version)
            changed = step(session, event)
            return shown(show_event(changed), version=changed.version)

        return once(session, make)


def _place(
    session: Session, caller: Caller, body: NewEventInArea | NewEventAtIntersection
) -> tuple[Area, IntersectionRow | None]:
    if isinstance(body, NewEventInArea):
        return get_area(session, caller, body.area_id), None
    found = get_intersection(session, caller, body.intersection_id)
    return found.area, found


def _deadlines(
    body: NewEventInArea | NewEventAtIntersection, respond_h: float, feedback_h: float
) -> tuple[float, float]:
    """Hours to respond and to report back; what isn't given is the agency's, and gives way to what is."""
    if body.respond_h is None:
        return min(respond_h, body.feedback_h or respond_h), body.feedback_h or feedback_h
    return body.respond_h, body.feedback_h or max(feedback_h, body.respond_h)
