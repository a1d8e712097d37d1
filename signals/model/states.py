"""States and roles: the words that the store keeps, the API shows and people know."""

from __future__ import annotations

from enum import StrEnum


class Role(StrEnum):
    """What a person may do in an area; each role is for one kind of work, and none includes another but viewing."""

    VIEWER = "viewer"
    ENGINEER = "engineer"
    APPROVER = "approver"
    OPERATOR = "operator"
    ADMIN = "admin"


class NetworkState(StrEnum):
    """Whether a network's files have been read."""

    READING = "reading"
    READY = "ready"
    REFUSED = "refused"


class JobKind(StrEnum):
    """What a job does."""

    READ_NETWORK = "read-network"
    SCREEN = "screen"
    FORECAST = "forecast"
    PLAN = "plan"
    COMPARE = "compare"
    DEPLOY = "deploy"
    ROLL_BACK = "roll-back"
    EMERGENCY = "emergency"


class JobState(StrEnum):
    """How far a job is."""

    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"


class Decision(StrEnum):
    """What was decided on a plan."""

    APPROVE = "approve"
    REJECT = "reject"
    WITHDRAW = "withdraw"


class EventState(StrEnum):
    """How far an event is on its way from report to feedback."""

    REPORTED = "reported"
    DISPATCHED = "dispatched"
    RESPONDED = "responded"
    CLOSED = "closed"


class PlanState(StrEnum):
    """How far a plan is: made, run in simulation beside the one in place, and decided upon."""

    PROPOSED = "proposed"
    COMPARED = "compared"
    APPROVED = "approved"
    REJECTED = "rejected"
    WITHDRAWN = "withdrawn"


class DeploymentState(StrEnum):
    """How far a plan is on the street."""

    WAITING = "waiting"
    ROLLING_OUT = "rolling out"
    IN_FORCE = "in force"
    CHECKED = "checked"
    REFUSED = "refused"
    HALTED = "halted"
    ROLLED_BACK = "rolled back"


class StepState(StrEnum):
    """How far one unit of a deployment is.

    From `commanded` on the unit may run the plan, until it was returned; `lost` gave no answer when it was to be.
    """

    WAITING = "waiting"
    WRITING = "writing"
    WRITTEN = "written"
    COMMANDED = "commanded"
    RUNNING = "running"
    RETURNED = "returned"
    REFUSED = "refused"
    LOST = "lost"


URGENT = (JobKind.EMERGENCY, JobKind.ROLL_BACK)
"""Kinds of jobs that go before all others."""
UNDER_WAY = (DeploymentState.WAITING, DeploymentState.ROLLING_OUT)
"""States of a deployment whose job has yet to end it."""
ENDED = (JobState.DONE, JobState.FAILED, JobState.CANCELLED)
"""States that a job never leaves."""
