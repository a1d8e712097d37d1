"""From what somebody asks for to a job: what it covers, whose it is, and whether it can be asked for at all.

Nothing here computes a plan or a forecast; the job does, and finds everything that it needs to know in its row.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import numpy as np
from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session, joinedload

from signals.access import Action, Caller, get_area, get_network, get_plan
from signals.errors import Conflict, NotFound
from signals.model.states import JobKind, NetworkState
from signals.store.areas import lowest_common
from signals.store.audit import Actor, record
from signals.store.counts import last_count_at
from signals.store.jobs import submit_job
from signals.store.tables import (
    Area,
    ComparisonRow,
    CorridorRow,
    IntersectionRow,
    Job,
    Plan,
    PlanRequestRow,
    RoadNetwork,
    Stream,
    Upload,
)
from signals.wire.forecasts import NewForecast, NewScreening
from signals.wire.plans import (
    ForecastDemand,
    NewComparison,
    NewPlanRequest,
    OneArea,
    OneCorridor,
    SomeIntersections,
    WholeNetwork,
)

LONGEST_PERIOD = timedelta(hours=6)


@dataclass(frozen=True, slots=True)
class Desk:
    """Where orders are taken: who asks, how many jobs may wait, and the time."""

    caller: Caller
    queue_limit: int
    now: datetime

    def submit(
        self,
        session: Session,
        kind: JobKind,
        area_id: int,
        subject: str,
        deadline_at: datetime | None = None,
        **arguments: Any,
    ) -> Job:
        """A job of the caller's.

        Raises
        ------
        QueueFull
            Where too many jobs wait.
        """
        return submit_job(
            session,
            kind=kind,
            area_id=area_id,
            subject=subject,
            arguments=arguments,
            created_by=self.caller.person_id,
            queue_limit=self.queue_limit,
            deadline_at=deadline_at,
            request_id=self.caller.request_id,
        )


# ----------------------------------------------------------------------------------------------- networks


def upload_network(
    session: Session, desk: Desk, area_id: int, name: str, timezone: str, content: bytes, sha256: str
) -> tuple[RoadNetwork, Job]:
    """A network and the job that reads its files.

    Raises
    ------
    NotFound, Forbidden
        Where the area isn't one that the caller may upload to.
    Conflict
        Where the area has a network of this name, or there is no such timezone.
    QueueFull
        Where too many jobs wait.
    """
    area = get_area(session, desk.caller, area_id, Action.UPLOAD_NETWORK)
    require_timezone(timezone)
    if session.get(Upload, sha256) is None:
        session.add(Upload(sha256=sha256, content=content, created_at=desk.now))
        session.flush()
    network = RoadNetwork(
        area_id=area.id,
        name=name,
        timezone=timezone,
        state=NetworkState.READING,
        upload_sha256=sha256,
        facts={},
        created_by=desk.caller.person_id,
        created_at=desk.now,
    )
    try:
        with session.begin_nested():
            session.add(network)
            session.flush()
    except IntegrityError:
        raise Conflict(f"area {area.name!r} has a network {name!r} already; take another name") from None
    job = desk.submit(session, JobKind.READ_NETWORK, area.id, f"networks/{network.id}", network_id=network.id)
    record(
        session,
        desk.caller.actor,
        "network.upload",
        f"networks/{network.id}",
        area_id=area.id,
        name=name,
        sha256=sha256,
    )
    return network, job


def require_timezone(name: str) -> None:
    """Nothing where there is such a timezone.

    Raises
    ------
    Conflict
        Where there is none.
    """
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise Conflict(f"there is no timezone {name!r}; give an IANA name such as Europe/Vienna") from None


def _require_ready(network: RoadNetwork) -> None:
    if network.state == NetworkState.READING:
        raise Conflict(f"network {network.id} is still being read; watch its job and ask again")
    if network.state == NetworkState.REFUSED:
        raise Conflict(f"network {network.id} can't be used: {network.problem}")


# ------------------------------------------------------------------------------------------------- counts


def request_screening(session: Session, desk: Desk, network_id: int, given: NewScreening) -> Job:
    """The job that looks a network's counts through.

    Raises
    ------
    NotFound, Forbidden, Conflict, QueueFull
        Where there is no such network, it isn't the caller's to ask for, it has no counts, too many jobs wait.
    """
    network = get_network(session, desk.caller, network_id, Action.FORECAST)
    return desk.submit(
        session,
        JobKind.SCREEN,
        network.area_id,
        f"networks/{network.id}",
        network_id=network.id,
        origin_at=_last_count(session, network).isoformat(),
        **given.model_dump(mode="json"),
    )


def request_forecast(session: Session, desk: Desk, network_id: int, given: NewForecast) -> Job:
    """The job that forecasts a network's counts, from the last one on unless another origin is given.

    Raises
    ------
    NotFound, Forbidden, Conflict, QueueFull
        As `request_screening`; NotFound as well where a stream isn't the network's.
    """
    network = get_network(session, desk.caller, network_id, Action.FORECAST)
    origin = given.origin_at or _last_count(session, network)
    if given.streams is not None:
        own = set(session.scalars(select(Stream.id).where(Stream.network_id == network.id)))
        foreign = sorted(set(given.streams) - own)
        if foreign:
            raise NotFound(f"network {network.id} has no stream {foreign[0]}")
    return desk.submit(
        session,
        JobKind.FORECAST,
        network.area_id,
        f"networks/{network.id}",
        network_id=network.id,
        **{
            **given.model_dump(mode="json"),
            "origin_at": origin.astimezone(UTC).isoformat(),
            "levels": sorted(set(given.levels)),
        },
    )


def _last_count(session: Session, network: RoadNetwork) -> datetime:
    """End of the latest interval with a count."""
    last = last_count_at(session, network.id)
    if last is None:
        raise Conflict(f"network {network.id} has no counts yet; send some first")
    step_min = session.scalar(select(Stream.step_min).where(Stream.network_id == network.id).limit(1))
    end = last + np.timedelta64(step_min or 15, "m")
    return datetime.fromtimestamp(int(end.astype("datetime64[s]").astype(np.int64)), UTC)


# -------------------------------------------------------------------------------------------------- plans


def request_plan(session: Session, desk: Desk, given: NewPlanRequest) -> PlanRequestRow:
    """A plan request and its job. It belongs to the smallest area that all its signals lie in.

    What the counts are when it is made is settled here: up to which moment they are used.

    Raises
    ------
    NotFound, Forbidden
        Where the network or a part of the scope isn't the caller's to plan.
    Conflict
        Where the network isn't ready, the scope is empty, the period or the limits make no sense, there are no
        counts, or the deadline has passed.
    QueueFull
        Where too many jobs wait.
    """
    network = get_network(session, desk.caller, given.network_id)
    rows = _covered(session, desk.caller, network, given)
    area = lowest_common(session, [row.area for row in rows])
    desk.caller.require(Action.REQUEST_PLAN, area, f"network {network.id}")
    _require_ready(network)
    _require_sense(given, desk.now)
    terms = given.model_dump(mode="json")
    if isinstance(given.demand, ForecastDemand):
        origin = min(_last_count(session, network), given.demand.begins_at)
        terms["demand"]["origin_at"] = origin.astimezone(UTC).isoformat()
    job = desk.submit(session, JobKind.PLAN, area.id, f"networks/{network.id}", given.deadline_at)
    request = PlanRequestRow(
        network_id=network.id,
        area_id=area.id,
        job_id=job.id,
        terms=terms,
        signals=sorted(row.signal for row in rows),
        created_by=desk.caller.person_id,
        created_at=desk.now,
    )
    session.add(request)
    session.flush()
    job.subject, job.arguments = f"plan-requests/{request.id}", {"plan_request_id": request.id}
    record(
        session,
        desk.caller.actor,
        "plan.request",
        f"plan-requests/{request.id}",
        area_id=area.id,
        signals=len(rows),
        job=job.id,
    )
    return request


def _covered(
    session: Session, caller: Caller, network: RoadNetwork, given: NewPlanRequest
) -> Sequence[IntersectionRow]:
    """The intersections of the scope, at least one."""
    scope = given.scope
    of_network = (
        select(IntersectionRow)
        .where(IntersectionRow.network_id == network.id)
        .options(joinedload(IntersectionRow.area))
        .order_by(IntersectionRow.id)
    )
    match scope:
        case WholeNetwork():
            rows = session.scalars(of_network).all()
        case SomeIntersections():
            rows = session.scalars(of_network.where(IntersectionRow.id.in_(scope.intersections))).all()
            missing = sorted(set(scope.intersections) - {row.id for row in rows})
            if missing:
                raise NotFound(f"network {network.id} has no intersection {missing[0]}")
        case OneCorridor():
            corridor = session.get(CorridorRow, scope.corridor_id)
            if corridor is None or corridor.network_id != network.id:
                raise NotFound(f"network {network.id} has no corridor {scope.corridor_id}")
            rows = session.scalars(of_network.where(IntersectionRow.signal.in_(corridor.signals))).all()
        case OneArea():
            path = get_area(session, caller, scope.area_id).path
            rows = session.scalars(
                of_network.join(IntersectionRow.area).where(Area.path.like(f"{path}%"))
            ).all()
    if not rows:
        _require_ready(network)
        raise Conflict(f"network {network.id} has no signals there, so there is nothing to plan")
    return rows


def _require_sense(given: NewPlanRequest, now: datetime) -> None:
    if given.limits.min_cycle_s > given.limits.max_cycle_s:
        raise Conflict(
            f"limits: the shortest cycle, {given.limits.min_cycle_s:g} s, is above the longest, "
            f"{given.limits.max_cycle_s:g} s"
        )
    if given.deadline_at is not None and given.deadline_at <= now:
        raise Conflict(f"the deadline, {given.deadline_at.isoformat()}, has passed already")
    if isinstance(given.demand, ForecastDemand):
        begins, ends = given.demand.begins_at, given.demand.ends_at
        if ends <= begins:
            raise Conflict(f"the period ends at {ends.isoformat()}, not after its begin")
        if ends - begins > LONGEST_PERIOD:
            raise Conflict(
                f"a period of {ends - begins}: at most {LONGEST_PERIOD}; make a request for each part"
            )
        if any(moment.timestamp() % 300 for moment in (begins, ends)):
            raise Conflict("a period begins and ends with an interval of counting: on whole 5 or 15 minutes")


def request_comparison(session: Session, desk: Desk, given: NewComparison) -> ComparisonRow:
    """A comparison and its job.

    Raises
    ------
    NotFound, Forbidden
        Where one of the plans isn't there or isn't the caller's to compare.
    Conflict
        Where they are of different networks, or the same one.
    QueueFull
        Where too many jobs wait.
    """
    plan = get_plan(session, desk.caller, given.plan, Action.COMPARE)
    if given.against is not None:
        other = get_plan(session, desk.caller, given.against)
        if other.hash == plan.hash:
            raise Conflict(
                "a plan compared with itself tells nothing; leave `against` out for the plan in place"
            )
        if other.network_id != plan.network_id:
            raise Conflict(f"the plans are of networks {plan.network_id} and {other.network_id}")
    return add_comparison(
        session,
        desk.caller.actor,
        plan,
        given.against,
        range(given.first_seed, given.first_seed + given.seeds),
        now=desk.now,
        queue_limit=desk.queue_limit,
    )


def add_comparison(
    session: Session,
    actor: Actor,
    plan: Plan,
    against: str | None,
    seeds: Sequence[int],
    *,
    now: datetime,
    queue_limit: int,
) -> ComparisonRow:
    """A comparison of a plan, with its job, for a person; no questions asked.

    Raises
    ------
    QueueFull
        Where too many jobs wait.
    """
    assert actor.person_id is not None
    job = submit_job(
        session,
        kind=JobKind.COMPARE,
        area_id=plan.area_id,
        subject=f"plans/{plan.hash}",
        arguments={},
        created_by=actor.person_id,
        queue_limit=queue_limit,
        request_id=actor.request_id,
    )
    comparison = ComparisonRow(
        plan_hash=plan.hash,
        against_hash=against,
        area_id=plan.area_id,
        job_id=job.id,
        seeds=list(seeds),
        created_by=actor.person_id,
        created_at=now,
    )
    session.add(comparison)
    session.flush()
    job.subject, job.arguments = f"comparisons/{comparison.id}", {"comparison_id": comparison.id}
    record(
        session,
        actor,
        "plan.compare",
        f"comparisons/{comparison.id}",
        area_id=plan.area_id,
        plan=plan.hash,
        against=against,
        job=job.id,
    )
    return comparison
