"""Events on the street: reported, dispatched, responded to, closed with feedback."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import Discriminator, Field, StringConstraints, Tag

from signals.model.states import EventState
from signals.wire.base import Given, Id, Moment, Name, Shown, Text, example


class EventKind(StrEnum):
    """What happened."""

    SIGNAL_FAULT = "signal-fault"
    DETECTOR_FAULT = "detector-fault"
    INCIDENT = "incident"
    CONGESTION = "congestion"
    COMPLAINT = "complaint"
    ROADWORKS = "roadworks"
    PUBLIC_EVENT = "public-event"
    OTHER = "other"


class Severity(StrEnum):
    """How bad it is."""

    LOW = "low"
    NORMAL = "normal"
    HIGH = "high"
    CRITICAL = "critical"


class EventStep(StrEnum):
    """What can happen in the course of an event.

    `waiting`: nobody could be sent; the text says why. `dispatched`: somebody was sent, by the rules or by hand.
    """

    REPORTED = "reported"
    WAITING = "waiting"
    DISPATCHED = "dispatched"
    RESPONDED = "responded"
    REASSIGNED = "reassigned"
    ESCALATED = "escalated"
    CLOSED = "closed"


Hours = Annotated[float, Field(ge=0.05, le=2160, allow_inf_nan=False)]
"""From three minutes to ninety days."""
Words = Annotated[str, StringConstraints(min_length=1, max_length=10_000, pattern=r"^[\n\t -~¡-퟿]*$")]
"""A text that isn't empty."""


class _NewEvent(Given):
    kind: EventKind
    severity: Severity = Severity.NORMAL
    title: Name
    text: Text = ""
    respond_h: Hours | None = Field(None, description="hours in which to respond")
    feedback_h: Hours | None = Field(
        None, description="hours in which to report back; not before the response"
    )


class NewEventInArea(_NewEvent):
    """Something that happened somewhere in an area."""

    model_config = example(
        area_id=4, kind="complaint", severity="low", title="Long red for pedestrians at the market"
    )
    area_id: Id


class NewEventAtIntersection(_NewEvent):
    """Something that happened at an intersection; its area is the event's."""

    model_config = example(
        intersection_id=17,
        kind="signal-fault",
        severity="high",
        title="Signal dark",
        text="All heads of the north approach are dark since 07:20.",
        respond_h=1,
        feedback_h=8,
    )
    intersection_id: Id


def _place_given(body: object) -> str:
    return "intersection" if isinstance(body, dict) and "intersection_id" in body else "area"


NewEvent = Annotated[
    Annotated[NewEventInArea, Tag("area")] | Annotated[NewEventAtIntersection, Tag("intersection")],
    Discriminator(_place_given),
]
"""Something that happened in an area or at an intersection: one of the two is named, never both."""


class ResponseGiven(Given):
    """What is being done about an event."""

    model_config = example(text="On site; the lamp driver is being replaced.")
    text: Words


class FeedbackGiven(Given):
    """How an event ended."""

    model_config = example(text="Driver replaced, signal back in coordination at 09:05.")
    text: Words


class AssignmentGiven(Given):
    """Who is to take an event over, by name."""

    model_config = example(person="Ben")
    person: Name


class EventEntryShown(Shown):
    """One step of an event's course. `person_id` did it; of `dispatched` it is who was sent, null is the service."""

    model_config = example(
        at="2026-11-25T07:30:00Z", step="dispatched", person_id=3, text="Ada, who answers for area 'North'"
    )
    at: Moment
    step: EventStep
    person_id: int | None
    text: str


_SUMMARY = {
    "id": 12,
    "area_id": 4,
    "intersection_id": 17,
    "kind": "signal-fault",
    "severity": "high",
    "title": "Signal dark",
    "text": "All heads of the north approach are dark since 07:20.",
    "state": "dispatched",
    "assignee_id": 3,
    "assignee": "Ada",
    "reported_by": 5,
    "reported_at": "2026-11-25T07:30:00Z",
    "respond_by": "2026-11-25T08:30:00Z",
    "feedback_by": "2026-11-25T15:30:00Z",
    "responded_at": None,
    "closed_at": None,
    "escalations": 0,
    "version": 1,
}
_COURSE = [
    {"at": "2026-11-25T07:30:00Z", "step": "reported", "person_id": 5, "text": ""},
    {
        "at": "2026-11-25T07:30:00Z",
        "step": "dispatched",
        "person_id": 3,
        "text": "Ada, who answers for area 'North'",
    },
]


class EventSummary(Shown):
    """An event as it stands. `assignee` is null while there is nobody to send."""

    model_config = example(**_SUMMARY)
    id: int
    area_id: int
    intersection_id: int | None
    kind: EventKind
    severity: Severity
    title: str
    text: str
    state: EventState
    assignee_id: int | None
    assignee: str | None
    reported_by: int
    reported_at: Moment
    respond_by: Moment
    feedback_by: Moment
    responded_at: Moment | None = Field(description="of the first response")
    closed_at: Moment | None
    escalations: int = Field(description="how often a deadline was missed")
    version: int


class EventShown(EventSummary):
    """An event as it stands, and its course from the report on."""

    model_config = example(**_SUMMARY, course=_COURSE)
    course: list[EventEntryShown]
