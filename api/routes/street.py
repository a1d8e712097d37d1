"""Controllers on record, and deployments of approved plans to them."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query, Response
from sqlalchemy import select
from sqlalchemy.orm import Session, joinedload

from api.deps import (
    CallerDep,
    DeskDep,
    IfMatch,
    OnceDep,
    PagingDep,
    StoreDep,
    require_version,
    shown,
)
from api.params import ControllerId, DeploymentId, NetworkId
from api.problems import responses
from api.routes.jobs import show_job
from signals.access import Action, get_controller, get_deployment, get_network
from signals.model.controller import UnitClock
from signals.model.states import DeploymentState, StepState
from signals.orders import street as orders
from signals.store.street import held_patterns
from signals.store.tables import Area, ControllerRow, Deployment, DeploymentStep, IntersectionRow
from signals.wire.base import Id, Page
from signals.wire.emergency import NewEmergencyPlan
from signals.wire.jobs import JobShown
from signals.wire.street import (
    ControllerChange,
    ControllerShown,
    DeploymentShown,
    DeploymentSummary,
    NewController,
    NewDeployment,
    RollBack,
    StepShown,
)

router = APIRouter(tags=["street"])


@router.post(
    "/controllers", status_code=201, response_model=ControllerShown, responses=responses(403, 404, 409)
)
def create_controller(body: NewController, desk: DeskDep, store: StoreDep, once: OnceDep) -> Response:
    """Put the unit of an intersection on record. Nothing is sent to it. Takes the role operator or admin."""
    with store.writing() as session:

        def make() -> Response:
            row = orders.add_controller(session, desk, body)
            where = f"/v1/controllers/{row.id}"
            return shown(_show_controller(session, row), status=201, version=row.version, location=where)

        return once(session, make)


@router.get("/networks/{network_id}/controllers", responses=responses(403, 404))
def list_controllers(
    network_id: NetworkId, caller: CallerDep, store: StoreDep, paging: PagingDep
) -> Page[ControllerShown]:
    """A network's units on record. Takes the role engineer, operator or admin."""
    query = (
        select(ControllerRow)
        .join(ControllerRow.intersection)
        .join(IntersectionRow.area)
        .where(IntersectionRow.network_id == network_id, caller.sees(Area.path, Action.SEE_CONTROLLER))
        .options(joinedload(ControllerRow.intersection))
    )
    with store.reading() as session:
        get_network(session, caller, network_id, Action.SEE_CONTROLLER)
        page = paging.page(session, query, ControllerRow.id, lambda row: row)
        held = held_patterns(session, [row.intersection_id for row in page.items])
        items = [_show_unit(row, held.get(row.intersection_id)) for row in page.items]
        return Page(items=items, next_cursor=page.next_cursor)


@router.get("/controllers/{controller_id}", response_model=ControllerShown, responses=responses(403, 404))
def read_controller(controller_id: ControllerId, caller: CallerDep, store: StoreDep) -> Response:
    """One unit: its address, and the pattern of ours that it is kept at."""
    with store.reading() as session:
        row = get_controller(session, caller, controller_id)
        return shown(_show_controller(session, row), version=row.version)


@router.patch(
    "/controllers/{controller_id}",
    response_model=ControllerShown,
    responses=responses(403, 404, 409, 412, 428),
)
def change_controller(
    controller_id: ControllerId, body: ControllerChange, caller: CallerDep, store: StoreDep, if_match: IfMatch
) -> Response:
    """Change a unit's address, credentials or clock; not while a deployment keeps it at a pattern."""
    with store.writing() as session:
        row = get_controller(session, caller, controller_id, Action.EDIT_CONTROLLER)
        require_version(if_match, row.version)
        orders.change_controller(session, caller, row, body)
        return shown(_show_controller(session, row), version=row.version)


@router.post(
    "/deployments", status_code=202, response_model=DeploymentShown, responses=responses(403, 404, 409)
)
def create_deployment(body: NewDeployment, desk: DeskDep, store: StoreDep, once: OnceDep) -> Response:
    """Bring an approved plan to the street, or see by a dry run what that would change. Takes the role operator.

    The pilot goes first, then its corridor, then the rest; each wave is written, read back, commanded and watched for
    some cycles before the next. At any doubt every unit goes back to what it ran before.
    """
    with store.writing() as session:

        def make() -> Response:
            row = orders.request_deployment(session, desk, body)
            return shown(_show_deployment(row), status=202, location=f"/v1/deployments/{row.id}")

        return once(session, make)


@router.get("/deployments", responses=responses(404))
def list_deployments(
    caller: CallerDep,
    store: StoreDep,
    paging: PagingDep,
    network_id: Annotated[Id | None, Query()] = None,
    state: Annotated[DeploymentState | None, Query()] = None,
) -> Page[DeploymentSummary]:
    """The deployments that the caller may see, the oldest first."""
    query = select(Deployment).join(Deployment.area).where(caller.sees(Area.path))
    if state is not None:
        query = query.where(Deployment.state == state)
    with store.reading() as session:
        if network_id is not None:
            get_network(session, caller, network_id)
            query = query.where(Deployment.network_id == network_id)
        return paging.page(session, query, Deployment.id, lambda row: DeploymentSummary(**_summary(row)))


@router.get("/deployments/{deployment_id}", responses=responses(404))
def read_deployment(deployment_id: DeploymentId, caller: CallerDep, store: StoreDep) -> DeploymentShown:
    """One deployment, and how far each of its units is."""
    with store.reading() as session:
        return _show_deployment(get_deployment(session, caller, deployment_id))


@router.post(
    "/deployments/{deployment_id}/roll-back",
    status_code=202,
    response_model=DeploymentShown,
    responses=responses(403, 404, 409),
)
def roll_back_deployment(
    deployment_id: DeploymentId, body: RollBack, desk: DeskDep, store: StoreDep, once: OnceDep
) -> Response:
    """Take a deployment back: every unit goes to what it ran before. Takes the role operator, engineer or approver."""
    with store.writing() as session:

        def make() -> Response:
            row = orders.request_roll_back(session, desk, deployment_id, body.reason)
            return shown(_show_deployment(row), status=202, location=f"/v1/deployments/{row.id}")

        return once(session, make)


@router.post(
    "/networks/{network_id}/emergency-plans",
    status_code=202,
    response_model=JobShown,
    responses=responses(403, 404, 409),
)
def create_emergency_plan(
    network_id: NetworkId, body: NewEmergencyPlan, desk: DeskDep, store: StoreDep, once: OnceDep
) -> Response:
    """Plan an ambulance's way through: what each signal on the route shows when, what it saves and what it costs.

    The job's result is the plan. To follow the drive, send its position with the holds of the last plan. Nothing is
    sent to controllers. Takes the role engineer or operator.
    """
    with store.writing() as session:

        def make() -> Response:
            job = orders.request_emergency_plan(session, desk, network_id, body)
            return shown(show_job(job), status=202, location=f"/v1/jobs/{job.id}")

        return once(session, make)


def _show_controller(session: Session, row: ControllerRow) -> ControllerShown:
    return _show_unit(row, held_patterns(session, [row.intersection_id]).get(row.intersection_id))


def _show_unit(row: ControllerRow, held: DeploymentStep | None) -> ControllerShown:
    return ControllerShown(
        id=row.id,
        intersection_id=row.intersection_id,
        signal=row.intersection.signal,
        area_id=row.intersection.area_id,
        host=row.host,
        port=row.port,
        credentials=row.credentials,
        clock=UnitClock(row.clock),
        held_pattern=held.slot[0] if held is not None and held.slot else None,
        created_at=row.created_at,
        version=row.version,
    )


def _summary(row: Deployment) -> dict[str, Any]:
    return {
        "id": row.id,
        "approval_id": row.approval_id,
        "plan": row.plan_hash,
        "network_id": row.network_id,
        "area_id": row.area_id,
        "state": DeploymentState(row.state),
        "terms": row.terms,
        "problem": row.problem,
        "job_id": row.job_id,
        "created_by": row.created_by,
        "created_at": row.created_at,
        "ended_at": row.ended_at,
    }


def _show_deployment(row: Deployment) -> DeploymentShown:
    return DeploymentShown(
        **_summary(row),
        steps=[
            StepShown(
                intersection_id=step.intersection_id,
                signal=step.intersection.signal,
                wave=step.wave,
                state=StepState(step.state),
                slot=step.slot,
                previous=step.previous,
                pattern=step.pattern,
                facts=step.facts,
                problem=step.problem,
                changed_at=step.changed_at,
            )
            for step in row.steps
        ],
    )
