"""Controllers put on record, and deployments: an approval to the street, and back."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session, joinedload

from signals.access import Action, Caller, get_deployment, get_intersection, get_network, get_plan
from signals.errors import Conflict, NotFound
from signals.model.states import (
    ENDED,
    UNDER_WAY,
    Decision,
    DeploymentState,
    JobKind,
    PlanState,
    StepState,
)
from signals.orders.desk import Desk, require_ready
from signals.store.areas import lowest_common
from signals.store.audit import Actor, record
from signals.store.changes import change_row, flush_new
from signals.store.jobs import submit_job
from signals.store.plans import requested_signals, state_of
from signals.store.street import HELD, controllers_of, held_patterns, under_way
from signals.store.tables import (
    Approval,
    ControllerRow,
    CorridorRow,
    Deployment,
    DeploymentStep,
    IntersectionRow,
    Job,
    Plan,
    RoadNetwork,
)
from signals.wire.emergency import NewEmergencyPlan
from signals.wire.street import ControllerChange, NewController, NewDeployment

PILOT, CORRIDOR, REST = 0, 1, 2
"""Waves of a deployment."""
MOST_WAITING = 2**31
"""A way back, and one through, is never refused because others wait."""

# -------------------------------------------------------------------------------------------- controllers


def add_controller(session: Session, desk: Desk, given: NewController) -> ControllerRow:
    """An intersection's unit put on record.

    Raises
    ------
    NotFound, Forbidden
        Where there is no such intersection, or its units aren't the caller's to edit.
    Conflict
        Where it has one already, or another has this address.
    """
    caller = desk.caller
    intersection = get_intersection(session, caller, given.intersection_id, Action.EDIT_CONTROLLER)
    row = ControllerRow(**given.model_dump(), created_at=desk.now)
    taken = (
        f"intersection {intersection.id} has a controller already, or {given.host}:{given.port} is another's; "
        "change that one"
    )
    flush_new(session, row, taken)
    details = given.model_dump(mode="json", exclude={"intersection_id"})
    _record_controller(session, caller, row, "controller.add", after=details)
    return row


def change_controller(session: Session, caller: Caller, row: ControllerRow, given: ControllerChange) -> None:
    """Change a unit's address, credentials or clock.

    Raises
    ------
    Conflict
        Where another has this address, or a deployment to it is under way or in force.
    """
    changes = given.model_dump(exclude_none=True)
    if not changes:
        return
    held = held_patterns(session, [row.intersection_id])
    if held or under_way(session, [row.intersection_id]):
        raise Conflict(f"a deployment keeps controller {row.id} at its pattern; roll it back first")
    before = change_row(session, row, changes, "another controller has this address")
    _record_controller(session, caller, row, "controller.change", before=before, after=changes)


def _record_controller(
    session: Session, caller: Caller, row: ControllerRow, action: str, **details: Any
) -> None:
    area_id = row.intersection.area_id
    record(session, caller.actor, action, f"controllers/{row.id}", area_id=area_id, **details)


# -------------------------------------------------------------------------------------------- deployments


def request_deployment(session: Session, desk: Desk, given: NewDeployment) -> Deployment:
    """A deployment of an approval and, where its window is open, its job.

    Raises
    ------
    NotFound, Forbidden
        Where there is no such approval, or a part of the scope isn't the caller's to deploy to.
    Conflict
        Where the approval doesn't hold (any more), a signal has no controller, another deployment to one of the
        units is under way, or the window makes no sense.
    QueueFull
        Where too many jobs wait.
    """
    plan = _approved_plan(session, desk.caller, given.approval_id)
    rows = _covered(session, plan, given)
    area = lowest_common(session, [row.area for row in rows])
    desk.caller.require(Action.DEPLOY, area, f"approval {given.approval_id}")
    # one deployment after the other, so that two can't take the same unit
    session.execute(select(RoadNetwork.id).where(RoadNetwork.id == plan.network_id).with_for_update())
    _require_units(session, rows)
    _require_window(given, desk)
    deployment = Deployment(
        plan_hash=plan.hash,
        approval_id=given.approval_id,
        network_id=plan.network_id,
        area_id=area.id,
        state=DeploymentState.WAITING,
        terms=given.model_dump(mode="json"),
        created_by=desk.caller.person_id,
        created_at=desk.now,
    )
    session.add(deployment)
    session.flush()
    for wave, row in _waves(session, plan.network_id, rows, given.pilot):
        session.add(
            DeploymentStep(
                deployment_id=deployment.id,
                intersection_id=row.id,
                wave=wave,
                state=StepState.WAITING,
                facts={},
                changed_at=desk.now,
            )
        )
        session.flush()
    record(
        session,
        desk.caller.actor,
        "deployment.request",
        f"deployments/{deployment.id}",
        area_id=area.id,
        plan=plan.hash,
        approval=given.approval_id,
        dry_run=given.dry_run,
        units=len(rows),
        note=given.note,
    )
    if given.opens_at is None or given.opens_at <= desk.now:
        begin_deployment(session, deployment, desk.queue_limit, desk.caller.request_id)
    session.refresh(deployment)
    return deployment


def begin_deployment(
    session: Session, deployment: Deployment, queue_limit: int, request_id: str = ""
) -> None:
    """Submit the job of a deployment whose window is open.

    Raises
    ------
    QueueFull
        Where too many jobs wait.
    """
    _submit(session, deployment, JobKind.DEPLOY, deployment.created_by, queue_limit, request_id)


def _submit(
    session: Session,
    deployment: Deployment,
    kind: JobKind,
    person_id: int,
    queue_limit: int,
    request_id: str,
    **arguments: Any,
) -> None:
    deployment.job_id = submit_job(
        session,
        kind=kind,
        area_id=deployment.area_id,
        subject=f"deployments/{deployment.id}",
        arguments={"deployment_id": deployment.id, **arguments},
        created_by=person_id,
        queue_limit=queue_limit,
        request_id=request_id,
    ).id
    session.flush()


def request_roll_back(session: Session, desk: Desk, deployment_id: int, reason: str) -> Deployment:
    """The job that gives every unit of a deployment back to what it ran before.

    Raises
    ------
    NotFound, Forbidden
        Where there is no such deployment, or it isn't the caller's to roll back.
    Conflict
        Where it isn't in force: what is under way is stopped by cancelling its job.
    """
    get_deployment(session, desk.caller, deployment_id, Action.ROLL_BACK)
    deployment = session.scalars(
        select(Deployment)
        .where(Deployment.id == deployment_id)
        .with_for_update()
        .execution_options(populate_existing=True)
    ).one()
    if deployment.state == DeploymentState.WAITING and deployment.job_id is None:
        deployment.state, deployment.ended_at = DeploymentState.ROLLED_BACK, desk.now
    elif deployment.state == DeploymentState.IN_FORCE:
        asked = reason or f"rolled back by {desk.caller.name}"
        caller = desk.caller
        _submit(
            session,
            deployment,
            JobKind.ROLL_BACK,
            caller.person_id,
            MOST_WAITING,
            caller.request_id,
            reason=asked,
        )
    elif deployment.state in UNDER_WAY:
        raise Conflict(
            f"deployment {deployment.id} is {deployment.state}; cancel job {deployment.job_id}, and it goes back "
            "by itself"
        )
    else:
        raise Conflict(f"deployment {deployment.id} is {deployment.state}, so there is nothing to roll back")
    session.flush()
    record(
        session,
        desk.caller.actor,
        "deployment.roll-back",
        f"deployments/{deployment.id}",
        area_id=deployment.area_id,
        reason=reason,
    )
    return deployment


def settle_deployments(session: Session, now: datetime, queue_limit: int) -> None:
    """Begin what waits for a window that is open now; halt what its job has left behind, and give its units back.

    A job that was cancelled before it began, or whose workers died too often, leaves its deployment under way.
    """
    under_way_now = select(Deployment).where(Deployment.state.in_(UNDER_WAY)).order_by(Deployment.id)
    for deployment in session.scalars(under_way_now.with_for_update()):
        opens_at = deployment.terms["opens_at"]
        if deployment.job_id is None:
            if opens_at is None or datetime.fromisoformat(opens_at) <= now:
                begin_deployment(session, deployment, queue_limit)
            continue
        job = session.get_one(Job, deployment.job_id)
        if job.state not in ENDED:
            continue
        deployment.state, deployment.ended_at = DeploymentState.HALTED, now
        deployment.problem = f"job {job.id} is {job.state}: {job.problem or 'it was cancelled'}"
        record(
            session,
            Actor(None, "jobs"),
            "deployment.halt",
            f"deployments/{deployment.id}",
            area_id=deployment.area_id,
            problem=deployment.problem,
        )
        if any(step.state in HELD for step in deployment.steps):
            reason = deployment.problem
            person = deployment.created_by
            _submit(session, deployment, JobKind.ROLL_BACK, person, MOST_WAITING, "", reason=reason)


# -------------------------------------------------------------------------------------------- emergencies


def request_emergency_plan(session: Session, desk: Desk, network_id: int, given: NewEmergencyPlan) -> Job:
    """The job that plans the way through for an ambulance; it goes before all others, however many wait.

    Raises
    ------
    NotFound, Forbidden
        Where there is no such network, or it isn't the caller's to plan on.
    Conflict
        Where the network isn't ready.
    """
    network = get_network(session, desk.caller, network_id, Action.PLAN_EMERGENCY)
    require_ready(network)
    return submit_job(
        session,
        kind=JobKind.EMERGENCY,
        area_id=network.area_id,
        subject=f"networks/{network.id}",
        arguments={"network_id": network.id, "asked": given.model_dump(mode="json")},
        created_by=desk.caller.person_id,
        queue_limit=MOST_WAITING,
        request_id=desk.caller.request_id,
    )


def _approved_plan(session: Session, caller: Caller, approval_id: int) -> Plan:
    approval = session.get(Approval, approval_id)
    if approval is None:
        raise NotFound(f"there is no approval {approval_id}")
    try:
        plan = get_plan(session, caller, approval.plan_hash)
    except NotFound:
        raise NotFound(f"there is no approval {approval_id}") from None
    session.execute(select(Plan.id).where(Plan.id == plan.id).with_for_update())
    if approval.decision != Decision.APPROVE:
        raise Conflict(f"decision {approval_id} is to {approval.decision}; only an approval can be deployed")
    require_approved(session, plan.hash, approval_id)
    return plan


def require_approved(session: Session, plan_hash: str, approval_id: int) -> None:
    """Nothing where this approval is the one that holds.

    Raises
    ------
    Conflict
        Where a later decision was taken.
    """
    last = session.scalar(
        select(Approval.id).where(Approval.plan_hash == plan_hash).order_by(Approval.id.desc()).limit(1)
    )
    if last != approval_id or state_of(session, plan_hash) is not PlanState.APPROVED:
        raise Conflict(f"approval {approval_id} no longer holds: decision {last} came after it")


def _covered(session: Session, plan: Plan, given: NewDeployment) -> Sequence[IntersectionRow]:
    """The intersections that the plan retimes, or the ones named out of them."""
    retimed = requested_signals(session, plan.hash)
    rows = session.scalars(
        select(IntersectionRow)
        .where(IntersectionRow.network_id == plan.network_id, IntersectionRow.signal.in_(retimed))
        .options(joinedload(IntersectionRow.area))
        .order_by(IntersectionRow.id)
    ).all()
    if given.intersections is not None:
        own = {row.id for row in rows}
        foreign = sorted(set(given.intersections) - own)
        if foreign:
            raise NotFound(f"the plan doesn't retime intersection {foreign[0]}")
        rows = [row for row in rows if row.id in set(given.intersections)]
    if given.pilot is not None and given.pilot not in {row.id for row in rows}:
        raise NotFound(f"the pilot, intersection {given.pilot}, isn't among those to be deployed to")
    if not rows:
        raise Conflict("the plan retimes no signal, so there is nothing to deploy")
    return rows


def _require_units(session: Session, rows: Sequence[IntersectionRow]) -> None:
    ids = [row.id for row in rows]
    units = controllers_of(session, ids)
    without = [row.signal for row in rows if row.id not in units]
    if without:
        shown = ", ".join(without[:8]) + ("…" if len(without) > 8 else "")
        raise Conflict(
            f"{len(without)} signal(s) have no controller on record ({shown}); add them (POST /v1/controllers), or "
            "name the intersections to deploy to"
        )
    other = under_way(session, ids)
    if other is not None:
        raise Conflict(
            f"deployment {other.id} to some of these units is under way; wait for it, or cancel its job"
        )


def _require_window(given: NewDeployment, desk: Desk) -> None:
    if given.closes_at is not None and given.closes_at <= max(given.opens_at or desk.now, desk.now):
        raise Conflict(
            f"the change window closes at {given.closes_at.isoformat()}, before it opens or in the past"
        )


def _waves(
    session: Session, network_id: int, rows: Sequence[IntersectionRow], pilot_id: int | None
) -> list[tuple[int, IntersectionRow]]:
    """The pilot, the others of a corridor that it lies in, the rest."""
    pilot = next(row for row in rows if pilot_id in (None, row.id))
    corridors = session.scalars(
        select(CorridorRow).where(CorridorRow.network_id == network_id).order_by(CorridorRow.id)
    )
    beside = max((c.signals for c in corridors if pilot.signal in c.signals), key=len, default=[])

    def wave_of(row: IntersectionRow) -> int:
        return PILOT if row.id == pilot.id else CORRIDOR if row.signal in beside else REST

    return sorted(((wave_of(row), row) for row in rows), key=lambda pair: (pair[0], pair[1].id))
