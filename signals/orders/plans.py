"""Plans and comparisons."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from sqlalchemy import select
from sqlalchemy.orm import Session, joinedload

from signals.access import Action, Caller, get_area, get_network, get_plan
from signals.errors import Conflict, NotFound
from signals.model.states import JobKind
from signals.orders.desk import Desk, last_count, require_ready
from signals.store.areas import lowest_common
from signals.store.audit import Actor, record
from signals.store.jobs import submit_job
from signals.store.tables import (
    Area,
    ComparisonRow,
    CorridorRow,
    IntersectionRow,
    Plan,
    PlanRequestRow,
    RoadNetwork,
)
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
    require_ready(network)
    _require_sense(given, desk.now)
    terms = given.model_dump(mode="json")
    if isinstance(given.demand, ForecastDemand):
        origin = min(last_count(session, network), given.demand.begins_at)
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
        require_ready(network)
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
