"""The tables of the store, one class each.

Times are UTC. Every resource that people may see belongs to one area; who may do what is decided by the roles
that a person holds there or in an area above. A plan, its documents and the audit are written once and never
changed: the database itself refuses it.
"""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    CheckConstraint,
    Date,
    DateTime,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Text,
    UniqueConstraint,
)
from sqlalchemy.engine import Dialect
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship
from sqlalchemy.types import TypeDecorator


class UtcTime(TypeDecorator[datetime]):
    """A moment, always with its timezone in Python and always UTC in the database."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """UTC; a time without a zone is a mistake of the caller."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"{value}: a time without a timezone can't be stored")
        value = value.astimezone(UTC)
        return value.replace(tzinfo=None) if dialect.name == "sqlite" else value

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """With its timezone."""
        return value.replace(tzinfo=UTC) if value is not None and value.tzinfo is None else value


BigId = BigInteger().with_variant(Integer, "sqlite")
"""64 bits; SQLite counts up by itself only what it calls INTEGER."""


class Table(DeclarativeBase):
    """Base of all tables; constraints have names, so that migrations can drop them."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(column_0_label)s",
            "uq": "uq_%(table_name)s_%(column_0_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map = {  # noqa: RUF012 (SQLAlchemy reads it from the class)
        int: BigId,
        datetime: UtcTime(),
        dict[str, Any]: JSON,
        list[Any]: JSON,
        list[str]: JSON,
        bytes: LargeBinary,
    }


# ------------------------------------------------------------------------------------------------- people


class Area(Table):
    """A part of the city. `path` holds the ids from the whole city down to this area, as in `/1/4/9/`."""

    __tablename__ = "areas"
    id: Mapped[int] = mapped_column(primary_key=True)
    parent_id: Mapped[int | None] = mapped_column(ForeignKey("areas.id"), index=True)
    path: Mapped[str] = mapped_column(String(400), unique=True)
    name: Mapped[str] = mapped_column(String(200))
    bounds: Mapped[list[Any] | None] = mapped_column(JSON(none_as_null=True))
    version: Mapped[int] = mapped_column(default=1)
    created_at: Mapped[datetime]
    __table_args__ = (UniqueConstraint("parent_id", "name"),)


class Person(Table):
    """Somebody, or some machine, who uses the service."""

    __tablename__ = "people"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(200), unique=True)
    contact: Mapped[str] = mapped_column(String(200), default="")
    created_at: Mapped[datetime]
    grants: Mapped[list[Grant]] = relationship(back_populates="person", order_by="Grant.id")


class Grant(Table):
    """A role of a person in an area and all areas below it."""

    __tablename__ = "grants"
    id: Mapped[int] = mapped_column(primary_key=True)
    person_id: Mapped[int] = mapped_column(ForeignKey("people.id"), index=True)
    area_id: Mapped[int] = mapped_column(ForeignKey("areas.id"))
    role: Mapped[str] = mapped_column(String(20))
    person: Mapped[Person] = relationship(back_populates="grants")
    area: Mapped[Area] = relationship()
    __table_args__ = (UniqueConstraint("person_id", "area_id", "role"),)


class ApiKey(Table):
    """A key of a person: its SHA-256 and its first letters, never the key."""

    __tablename__ = "api_keys"
    id: Mapped[int] = mapped_column(primary_key=True)
    person_id: Mapped[int] = mapped_column(ForeignKey("people.id"), index=True)
    label: Mapped[str] = mapped_column(String(200), default="")
    prefix: Mapped[str] = mapped_column(String(16), index=True)
    digest: Mapped[str] = mapped_column(String(64), unique=True)
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime]
    revoked_at: Mapped[datetime | None]
    person: Mapped[Person] = relationship()


class Duty(Table):
    """A person who answers for events of some kinds in an area; an empty list means all kinds."""

    __tablename__ = "duties"
    id: Mapped[int] = mapped_column(primary_key=True)
    area_id: Mapped[int] = mapped_column(ForeignKey("areas.id"), index=True)
    person_id: Mapped[int] = mapped_column(ForeignKey("people.id"))
    kinds: Mapped[list[str]]
    person: Mapped[Person] = relationship()
    __table_args__ = (UniqueConstraint("area_id", "person_id"),)


# ----------------------------------------------------------------------------------------------- networks


class Upload(Table):
    """A network's files as they came, by the SHA-256 of the bytes."""

    __tablename__ = "uploads"
    sha256: Mapped[str] = mapped_column(String(64), primary_key=True)
    content: Mapped[bytes]
    created_at: Mapped[datetime]


class RoadNetwork(Table):
    """A SUMO scenario of an area. `facts` is what reading it found: window, vehicles, remarks."""

    __tablename__ = "networks"
    id: Mapped[int] = mapped_column(primary_key=True)
    area_id: Mapped[int] = mapped_column(ForeignKey("areas.id"), index=True)
    name: Mapped[str] = mapped_column(String(200))
    timezone: Mapped[str] = mapped_column(String(60), default="")
    state: Mapped[str] = mapped_column(String(20))
    upload_sha256: Mapped[str] = mapped_column(ForeignKey("uploads.sha256"))
    facts: Mapped[dict[str, Any]]
    problem: Mapped[str] = mapped_column(Text, default="")
    version: Mapped[int] = mapped_column(default=1)
    created_by: Mapped[int] = mapped_column(ForeignKey("people.id"))
    created_at: Mapped[datetime]
    area: Mapped[Area] = relationship()
    __table_args__ = (UniqueConstraint("area_id", "name"),)


class IntersectionRow(Table):
    """A signal of a network. `facts` is its approaches, movements, stages and program as read."""

    __tablename__ = "intersections"
    id: Mapped[int] = mapped_column(primary_key=True)
    network_id: Mapped[int] = mapped_column(ForeignKey("networks.id"), index=True)
    area_id: Mapped[int] = mapped_column(ForeignKey("areas.id"), index=True)
    signal: Mapped[str] = mapped_column(String(300))
    name: Mapped[str] = mapped_column(String(200), default="")
    x_m: Mapped[float]
    y_m: Mapped[float]
    facts: Mapped[dict[str, Any]]
    version: Mapped[int] = mapped_column(default=1)
    network: Mapped[RoadNetwork] = relationship()
    area: Mapped[Area] = relationship()
    __table_args__ = (UniqueConstraint("network_id", "signal"),)


class DetectorRow(Table):
    """A detector of a network, on a lane."""

    __tablename__ = "detectors"
    id: Mapped[int] = mapped_column(primary_key=True)
    network_id: Mapped[int] = mapped_column(ForeignKey("networks.id"))
    intersection_id: Mapped[int] = mapped_column(ForeignKey("intersections.id"), index=True)
    name: Mapped[str] = mapped_column(String(300))
    kind: Mapped[str] = mapped_column(String(40))
    lane: Mapped[str] = mapped_column(String(300))
    position_m: Mapped[float]
    __table_args__ = (UniqueConstraint("network_id", "name"),)


class CorridorRow(Table):
    """Signals in a row along which traffic flows, as found when the network was read."""

    __tablename__ = "corridors"
    id: Mapped[int] = mapped_column(primary_key=True)
    network_id: Mapped[int] = mapped_column(ForeignKey("networks.id"))
    name: Mapped[str] = mapped_column(String(200))
    signals: Mapped[list[str]]
    __table_args__ = (UniqueConstraint("network_id", "name"),)


# ------------------------------------------------------------------------------------------------- counts


class Stream(Table):
    """A series of counts: a detector, an edge or a movement of a network, and its interval."""

    __tablename__ = "streams"
    id: Mapped[int] = mapped_column(primary_key=True)
    network_id: Mapped[int] = mapped_column(ForeignKey("networks.id"))
    name: Mapped[str] = mapped_column(String(300))
    step_min: Mapped[int] = mapped_column(Integer)
    __table_args__ = (UniqueConstraint("network_id", "name"),)


class CountDay(Table):
    """One day of a stream: `slots` holds every interval of the UTC day (`signals.store.counts` says how)."""

    __tablename__ = "count_days"
    stream_id: Mapped[int] = mapped_column(ForeignKey("streams.id"), primary_key=True)
    day: Mapped[date] = mapped_column(Date, primary_key=True)
    slots: Mapped[bytes]
    __table_args__ = {"sqlite_with_rowid": False}  # noqa: RUF012 (SQLAlchemy reads it from the class)


class CountBatch(Table):
    """One delivery of counts: who sent it, what it held, what it changed."""

    __tablename__ = "count_batches"
    id: Mapped[int] = mapped_column(primary_key=True)
    network_id: Mapped[int] = mapped_column(ForeignKey("networks.id"), index=True)
    person_id: Mapped[int] = mapped_column(ForeignKey("people.id"))
    received_at: Mapped[datetime]
    sha256: Mapped[str] = mapped_column(String(64))
    streams: Mapped[int]
    counts: Mapped[int]
    new: Mapped[int]
    corrected: Mapped[int]
    late: Mapped[int]
    first_at: Mapped[datetime]
    last_at: Mapped[datetime]
    remarks: Mapped[list[str]]


class Screening(Table):
    """Counts of a network looked through: `series` is a summary for each, `findings` what is wrong."""

    __tablename__ = "screenings"
    id: Mapped[int] = mapped_column(primary_key=True)
    network_id: Mapped[int] = mapped_column(ForeignKey("networks.id"), index=True)
    job_id: Mapped[int] = mapped_column(ForeignKey("jobs.id"), unique=True)
    made_at: Mapped[datetime]
    first_at: Mapped[datetime]
    last_at: Mapped[datetime]
    series: Mapped[list[Any]]
    findings: Mapped[list[Any]]


# ---------------------------------------------------------------------------------------------- forecasts


class Forecast(Table):
    """Counts to come of a network's streams, from `origin_at` on. `wape` is its error, once it is known."""

    __tablename__ = "forecasts"
    id: Mapped[int] = mapped_column(primary_key=True)
    network_id: Mapped[int] = mapped_column(ForeignKey("networks.id"), index=True)
    job_id: Mapped[int] = mapped_column(ForeignKey("jobs.id"), unique=True)
    made_at: Mapped[datetime]
    origin_at: Mapped[datetime]
    step_min: Mapped[int] = mapped_column(Integer)
    horizon: Mapped[int] = mapped_column(Integer)
    levels: Mapped[list[Any]]
    inputs_sha256: Mapped[str] = mapped_column(String(64))
    left_out: Mapped[int]
    wape: Mapped[float | None]
    network: Mapped[RoadNetwork] = relationship()


class ForecastSeries(Table):
    """One stream of a forecast: float32[1 + n_level, horizon], the mean first, little-endian."""

    __tablename__ = "forecast_series"
    forecast_id: Mapped[int] = mapped_column(ForeignKey("forecasts.id"), primary_key=True)
    stream_id: Mapped[int] = mapped_column(ForeignKey("streams.id"), primary_key=True)
    values: Mapped[bytes]
    stream: Mapped[Stream] = relationship()


class WarningRow(Table):
    """An early warning: when and where a forecast is likely to exceed what the plan in force can pass."""

    __tablename__ = "early_warnings"
    id: Mapped[int] = mapped_column(primary_key=True)
    forecast_id: Mapped[int] = mapped_column(ForeignKey("forecasts.id"), index=True)
    area_id: Mapped[int] = mapped_column(ForeignKey("areas.id"), index=True)
    intersection_id: Mapped[int] = mapped_column(ForeignKey("intersections.id"))
    begins_at: Mapped[datetime]
    ends_at: Mapped[datetime]
    facts: Mapped[dict[str, Any]]
    forecast: Mapped[Forecast] = relationship()
    intersection: Mapped[IntersectionRow] = relationship()


# -------------------------------------------------------------------------------------------------- plans


class Job(Table):
    """Work for a worker. The row is the truth: whoever runs it holds a lease, and loses it by being silent.

    `arguments` is all that the work needs to know; `subject` is the path of what it is for, as in
    `plan-requests/3`. `attempt` counts the leases given and fences results: only the latest may write.
    """

    __tablename__ = "jobs"
    id: Mapped[int] = mapped_column(primary_key=True)
    kind: Mapped[str] = mapped_column(String(20))
    area_id: Mapped[int] = mapped_column(ForeignKey("areas.id"), index=True)
    subject: Mapped[str] = mapped_column(String(100), index=True)
    arguments: Mapped[dict[str, Any]]
    state: Mapped[str] = mapped_column(String(20))
    step: Mapped[str] = mapped_column(String(100), default="")
    steps_done: Mapped[int] = mapped_column(default=0)
    steps_of: Mapped[int] = mapped_column(default=0)
    attempt: Mapped[int] = mapped_column(default=0)
    lease_until: Mapped[datetime | None]
    cancel_asked: Mapped[bool] = mapped_column(default=False)
    problem: Mapped[str] = mapped_column(Text, default="")
    result: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    created_by: Mapped[int] = mapped_column(ForeignKey("people.id"))
    created_at: Mapped[datetime]
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]
    deadline_at: Mapped[datetime | None]
    area: Mapped[Area] = relationship()
    __table_args__ = (Index("ix_jobs_state", "state", "id"),)


class PlanRequestRow(Table):
    """A plan asked for. `terms` is the request as it came; `signals` are the ones to be retimed."""

    __tablename__ = "plan_requests"
    id: Mapped[int] = mapped_column(primary_key=True)
    network_id: Mapped[int] = mapped_column(ForeignKey("networks.id"), index=True)
    area_id: Mapped[int] = mapped_column(ForeignKey("areas.id"), index=True)
    job_id: Mapped[int] = mapped_column(ForeignKey("jobs.id"), unique=True)
    terms: Mapped[dict[str, Any]]
    signals: Mapped[list[str]]
    plan_hash: Mapped[str | None] = mapped_column(ForeignKey("plans.hash"), index=True)
    created_by: Mapped[int] = mapped_column(ForeignKey("people.id"))
    created_at: Mapped[datetime]
    network: Mapped[RoadNetwork] = relationship()
    job: Mapped[Job] = relationship()
    requester: Mapped[Person] = relationship()


class Plan(Table):
    """A plan, written once: the hash is over the network's id and the document of kind `plan`."""

    __tablename__ = "plans"
    id: Mapped[int] = mapped_column(primary_key=True)
    hash: Mapped[str] = mapped_column(String(64), unique=True)
    network_id: Mapped[int] = mapped_column(ForeignKey("networks.id"), index=True)
    area_id: Mapped[int] = mapped_column(ForeignKey("areas.id"), index=True)
    digest: Mapped[str] = mapped_column(String(16))
    keeps_plan_in_place: Mapped[bool]
    created_at: Mapped[datetime]
    network: Mapped[RoadNetwork] = relationship()


class NightPlan(Table):
    """Of which night and group of signals a plan is. `group` is the group's id, `signals` those that it times."""

    __tablename__ = "night_plans"
    plan_hash: Mapped[str] = mapped_column(ForeignKey("plans.hash"), primary_key=True)
    network_id: Mapped[int] = mapped_column(ForeignKey("networks.id"))
    night: Mapped[date] = mapped_column(Date)
    day_type: Mapped[str] = mapped_column(String(20))
    group: Mapped[str] = mapped_column(Text)
    signals: Mapped[list[str]]
    __table_args__ = (Index("ix_night_plans_network_id", "network_id", "night"),)


class PlanDocument(Table):
    """A plan in one of its forms: `plan` (JSON), `sumo`, `sheet`, `hcm`, `time-space`, `scenario`."""

    __tablename__ = "plan_documents"
    plan_hash: Mapped[str] = mapped_column(ForeignKey("plans.hash"), primary_key=True)
    kind: Mapped[str] = mapped_column(String(20), primary_key=True)
    name: Mapped[str] = mapped_column(String(200), primary_key=True)
    media_type: Mapped[str] = mapped_column(String(60))
    content: Mapped[bytes]


class ComparisonRow(Table):
    """A plan run in SUMO beside another, or beside the one in place, with the same seeds."""

    __tablename__ = "comparisons"
    id: Mapped[int] = mapped_column(primary_key=True)
    plan_hash: Mapped[str] = mapped_column(ForeignKey("plans.hash"), index=True)
    against_hash: Mapped[str | None] = mapped_column(ForeignKey("plans.hash"))
    area_id: Mapped[int] = mapped_column(ForeignKey("areas.id"), index=True)
    job_id: Mapped[int] = mapped_column(ForeignKey("jobs.id"), unique=True)
    seeds: Mapped[list[Any]]
    verdict: Mapped[str | None] = mapped_column(String(40))
    figures: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    created_by: Mapped[int] = mapped_column(ForeignKey("people.id"))
    created_at: Mapped[datetime]
    job: Mapped[Job] = relationship()


class Approval(Table):
    """A decision on a plan, by whom and on which evidence; the latest one counts."""

    __tablename__ = "approvals"
    id: Mapped[int] = mapped_column(primary_key=True)
    plan_hash: Mapped[str] = mapped_column(ForeignKey("plans.hash"), index=True)
    area_id: Mapped[int] = mapped_column(ForeignKey("areas.id"), index=True)
    comparison_id: Mapped[int | None] = mapped_column(ForeignKey("comparisons.id"))
    decision: Mapped[str] = mapped_column(String(20))
    note: Mapped[str] = mapped_column(Text, default="")
    person_id: Mapped[int] = mapped_column(ForeignKey("people.id"))
    created_at: Mapped[datetime]
    person: Mapped[Person] = relationship()


# ------------------------------------------------------------------------------------------------- street


class ControllerRow(Table):
    """The unit of an intersection: where it is, with which credentials (their name), and what its clock shows."""

    __tablename__ = "controllers"
    id: Mapped[int] = mapped_column(primary_key=True)
    intersection_id: Mapped[int] = mapped_column(ForeignKey("intersections.id"), unique=True)
    host: Mapped[str] = mapped_column(String(253))
    port: Mapped[int] = mapped_column(Integer)
    credentials: Mapped[str] = mapped_column(String(60))
    clock: Mapped[str] = mapped_column(String(20))
    version: Mapped[int] = mapped_column(default=1)
    created_at: Mapped[datetime]
    intersection: Mapped[IntersectionRow] = relationship()
    __table_args__ = (UniqueConstraint("host", "port"),)


class Deployment(Table):
    """An approved plan on its way to the street, there, or back. `terms` is the order as it came."""

    __tablename__ = "deployments"
    id: Mapped[int] = mapped_column(primary_key=True)
    plan_hash: Mapped[str] = mapped_column(ForeignKey("plans.hash"), index=True)
    approval_id: Mapped[int] = mapped_column(ForeignKey("approvals.id"))
    network_id: Mapped[int] = mapped_column(ForeignKey("networks.id"), index=True)
    area_id: Mapped[int] = mapped_column(ForeignKey("areas.id"), index=True)
    job_id: Mapped[int | None] = mapped_column(ForeignKey("jobs.id"))
    state: Mapped[str] = mapped_column(String(20), index=True)
    terms: Mapped[dict[str, Any]]
    problem: Mapped[str] = mapped_column(Text, default="")
    created_by: Mapped[int] = mapped_column(ForeignKey("people.id"))
    created_at: Mapped[datetime]
    ended_at: Mapped[datetime | None]
    area: Mapped[Area] = relationship()
    plan: Mapped[Plan] = relationship()
    steps: Mapped[list[DeploymentStep]] = relationship(order_by="DeploymentStep.id")


class DeploymentStep(Table):
    """One unit of a deployment, in the order of waves. `slot` is the rows that the plan went to.

    `pattern` is what goes there, `previous` the command that the unit had before, `facts` what a dry run found.
    """

    __tablename__ = "deployment_steps"
    id: Mapped[int] = mapped_column(primary_key=True)
    deployment_id: Mapped[int] = mapped_column(ForeignKey("deployments.id"), index=True)
    intersection_id: Mapped[int] = mapped_column(ForeignKey("intersections.id"), index=True)
    wave: Mapped[int] = mapped_column(Integer)
    state: Mapped[str] = mapped_column(String(20), index=True)
    slot: Mapped[list[Any] | None] = mapped_column(JSON(none_as_null=True))
    previous: Mapped[int] = mapped_column(Integer, default=0)
    pattern: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    facts: Mapped[dict[str, Any]]
    problem: Mapped[str] = mapped_column(Text, default="")
    changed_at: Mapped[datetime]
    deployment: Mapped[Deployment] = relationship(back_populates="steps")
    intersection: Mapped[IntersectionRow] = relationship()
    __table_args__ = (UniqueConstraint("deployment_id", "intersection_id"),)


# ------------------------------------------------------------------------------------------------- events


class Event(Table):
    """Something that happened on the street, who was sent, and by when an answer is due.

    `escalations` counts how often a deadline was missed; each time it goes to the area above.
    """

    __tablename__ = "events"
    id: Mapped[int] = mapped_column(primary_key=True)
    area_id: Mapped[int] = mapped_column(ForeignKey("areas.id"), index=True)
    intersection_id: Mapped[int | None] = mapped_column(ForeignKey("intersections.id"))
    kind: Mapped[str] = mapped_column(String(40))
    severity: Mapped[str] = mapped_column(String(20))
    title: Mapped[str] = mapped_column(String(200))
    text: Mapped[str] = mapped_column(Text, default="")
    state: Mapped[str] = mapped_column(String(20))
    assignee_id: Mapped[int | None] = mapped_column(ForeignKey("people.id"), index=True)
    reported_by: Mapped[int] = mapped_column(ForeignKey("people.id"))
    reported_at: Mapped[datetime]
    respond_by: Mapped[datetime]
    feedback_by: Mapped[datetime]
    responded_at: Mapped[datetime | None]
    closed_at: Mapped[datetime | None]
    escalations: Mapped[int] = mapped_column(default=0)
    version: Mapped[int] = mapped_column(default=1)
    area: Mapped[Area] = relationship()
    assignee: Mapped[Person | None] = relationship(foreign_keys=[assignee_id])
    course: Mapped[list[EventEntry]] = relationship(order_by="EventEntry.id")


class EventEntry(Table):
    """One step of an event's course."""

    __tablename__ = "event_entries"
    id: Mapped[int] = mapped_column(primary_key=True)
    event_id: Mapped[int] = mapped_column(ForeignKey("events.id"), index=True)
    at: Mapped[datetime]
    person_id: Mapped[int | None] = mapped_column(ForeignKey("people.id"))
    step: Mapped[str] = mapped_column(String(20))
    text: Mapped[str] = mapped_column(Text, default="")


# --------------------------------------------------------------------------------------------- the record


class AuditEntry(Table):
    """One thing that was done. `hash` covers the entry and the hash of the one before."""

    __tablename__ = "audit"
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    at: Mapped[datetime]
    person_id: Mapped[int | None]
    area_id: Mapped[int | None] = mapped_column(index=True)
    request_id: Mapped[str] = mapped_column(String(64))
    action: Mapped[str] = mapped_column(String(60))
    subject: Mapped[str] = mapped_column(String(200), index=True)
    details: Mapped[dict[str, Any]]
    previous: Mapped[str] = mapped_column(String(64))
    hash: Mapped[str] = mapped_column(String(64))


class AuditHead(Table):
    """The end of the chain: how many entries there are and the last one's hash. One row."""

    __tablename__ = "audit_head"
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    entries: Mapped[int]
    hash: Mapped[str] = mapped_column(String(64))
    __table_args__ = (CheckConstraint("id = 1", name="one_row"),)


class Answered(Table):
    """A request that created something, by the Idempotency-Key that came with it, and what was answered."""

    __tablename__ = "answered"
    api_key_id: Mapped[int] = mapped_column(ForeignKey("api_keys.id"), primary_key=True)
    idempotency_key: Mapped[str] = mapped_column(String(200), primary_key=True)
    fingerprint: Mapped[str] = mapped_column(String(64))
    status: Mapped[int] = mapped_column(Integer)
    headers: Mapped[dict[str, Any]]
    body: Mapped[bytes]
    at: Mapped[datetime] = mapped_column(index=True)


WRITTEN_ONCE = (Plan, NightPlan, PlanDocument, AuditEntry, Approval)
"""Tables whose rows the database refuses to change or remove."""
