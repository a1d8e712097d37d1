"""Events on the street: reported, dispatched, responded to, closed with feedback."""

from __future__ import annotations

from enum import StrEnum


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
