"""Plan requests, plans in all their forms, comparisons, and decisions."""

from __future__ import annotations

from collections import defaultdict
from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Response
from sqlalchemy import BindParameter, bindparam, select
from sqlalchemy.orm import Session, joinedload

from api.deps import (
    CallerDep,
    DeskDep,
    IfNoneMatch,
    OnceDep,
    PagingDep,
    SettingsDep,
    StoreDep,
    etag,
    shown,
    unchanged,
)
from api.params import ComparisonId, PlanHash, RequestId
from api.problems import responses
from api.routes.jobs import show_job
from signals.access import get_plan
from signals.approval import decide
from signals.errors import NotFound
from signals.model.states import Decision
from signals.orders.plans import request_comparison, request_plan
from signals.store.nights import nights_of
from signals.store.plans import courses_of
from signals.store.tables import (
    Approval,
    Area,
    ComparisonRow,
    NightPlan,
    Plan,
    PlanDocument,
    PlanRequestRow,
)
from signals.wire.base import Id, Page
from signals.wire.plans import (
    ApprovalShown,
    ComparisonShown,
    DocumentShown,
    NewApproval,
    NewComparison,
    NewPlanRequest,
    NightShown,
    PlanRequestShown,
    PlanShown,
)

router = APIRouter(tags=["plans"])

FOREVER = "private, max-age=31536000, immutable"

_HASHES: BindParameter[Any] = bindparam("hashes", expanding=True)
_DOCUMENTS_OF = (
    select(PlanDocument.plan_hash, PlanDocument.kind, PlanDocument.name, PlanDocument.media_type)
    .where(PlanDocument.plan_hash.in_(_HASHES))
    .order_by(PlanDocument.kind, PlanDocument.name)
)
DOCUMENTS = {
    "application/json": {"schema": {"type": "object"}, "example": {"digest": "51c1f5fd03a90b04"}},
    "application/xml": {"schema": {"type": "string"}, "example": "<additional/>"},
    "text/csv": {"schema": {"type": "string"}, "example": "signal,stage,green_s\nj1,1,31\n"},
    "text/html": {"schema": {"type": "string"}, "example": "<html><title>Capacity analysis</title></html>"},
    "image/svg+xml": {"schema": {"type": "string"}, "example": "<svg/>"},
    "application/zip": {"schema": {"type": "string", "format": "binary"}, "example": "PK\x05\x06"},
}
"""The forms of a plan's documents, for the API's document."""


@router.post(
    "/plan-requests", status_code=202, response_model=PlanRequestShown, responses=responses(403, 404, 409)
)
def create_plan_request(body: NewPlanRequest, desk: DeskDep, store: StoreDep, once: OnceDep) -> Response:
    """Ask for a plan. It is made by a job; where `validation` isn't null, a comparison in SUMO follows.

    Takes the role engineer in the smallest area that all signals of the scope lie in.
    """
    with store.writing() as session:

        def make() -> Response:
            request = request_plan(session, desk, body)
            where = f"/v1/plan-requests/{request.id}"
            return shown(_show_request(request), status=202, location=where)

        return once(session, make)


@router.get("/plan-requests", responses=responses())
def list_plan_requests(
    caller: CallerDep, store: StoreDep, paging: PagingDep, network_id: Annotated[Id | None, Query()] = None
) -> Page[PlanRequestShown]:
    """The plan requests that the caller may see."""
    query = (
        select(PlanRequestRow)
        .join(Area, Area.id == PlanRequestRow.area_id)
        .where(caller.sees(Area.path))
        .options(joinedload(PlanRequestRow.job))
    )
    if network_id is not None:
        query = query.where(PlanRequestRow.network_id == network_id)
    with store.reading() as session:
        return paging.page(session, query, PlanRequestRow.id, _show_request)


@router.get("/plan-requests/{request_id}", responses=responses(404))
def read_plan_request(request_id: RequestId, caller: CallerDep, store: StoreDep) -> PlanRequestShown:
    """One plan request, with its job and, once there is one, its plan."""
    with store.reading() as session:
        request = session.get(PlanRequestRow, request_id)
        if request is None:
            raise NotFound(f"there is no plan request {request_id}")
        caller.require_view(session.get_one(Area, request.area_id), f"plan request {request_id}")
        return _show_request(request)


@router.get("/plans", responses=responses())
def list_plans(
    caller: CallerDep, store: StoreDep, paging: PagingDep, network_id: Annotated[Id | None, Query()] = None
) -> Page[PlanShown]:
    """The plans that the caller may see, the oldest first."""
    query = select(Plan).join(Area, Area.id == Plan.area_id).where(caller.sees(Area.path))
    if network_id is not None:
        query = query.where(Plan.network_id == network_id)
    with store.reading() as session:
        page = paging.page(session, query, Plan.id, lambda plan: plan)
        return Page(items=_show_plans(session, page.items), next_cursor=page.next_cursor)


@router.get("/plans/{plan_hash}", responses=responses(404))
def read_plan(plan_hash: PlanHash, caller: CallerDep, store: StoreDep) -> PlanShown:
    """A plan: how far it is, and where its forms are."""
    with store.reading() as session:
        return _show_plans(session, [get_plan(session, caller, plan_hash)])[0]


@router.get(
    "/plans/{plan_hash}/documents/{kind}/{name}",
    response_class=Response,
    responses=responses(404) | {200: {"content": DOCUMENTS}},
)
def read_document(
    plan_hash: PlanHash,
    kind: Annotated[str, Path(pattern="^[a-z-]{1,20}$", examples=["sumo"])],
    name: Annotated[str, Path(pattern=r"^[A-Za-z0-9._-]{1,200}$", examples=["plans.add.xml"])],
    caller: CallerDep,
    store: StoreDep,
    if_none_match: IfNoneMatch = None,
) -> Response:
    """A plan in one of its forms: JSON, SUMO additional file, CSV timing sheet, HCM report, time-space diagram."""
    with store.reading() as session:
        get_plan(session, caller, plan_hash)
        headers = {"ETag": etag(plan_hash), "Cache-Control": FOREVER}
        document = session.get(PlanDocument, (plan_hash, kind, name))
        if document is None:
            raise NotFound(
                f"plan {plan_hash} has no document {kind}/{name}; the plan lists those that it has"
            )
        if unchanged(if_none_match, etag(plan_hash)):
            return Response(status_code=304, headers=headers)
        headers |= {
            "Content-Disposition": f'inline; filename="{name}"',
            # pages are ours, and may still hold names out of uploaded files
            "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; img-src data:",
            "X-Content-Type-Options": "nosniff",
        }
        return Response(document.content, media_type=document.media_type, headers=headers)


@router.post(
    "/comparisons", status_code=202, response_model=ComparisonShown, responses=responses(403, 404, 409)
)
def create_comparison(body: NewComparison, desk: DeskDep, store: StoreDep, once: OnceDep) -> Response:
    """Have a plan run in SUMO with the same seeds as another one, or as the plan in place."""
    with store.writing() as session:

        def make() -> Response:
            comparison = request_comparison(session, desk, body)
            where = f"/v1/comparisons/{comparison.id}"
            return shown(_show_comparison(comparison), status=202, location=where)

        return once(session, make)


@router.get("/comparisons", responses=responses())
def list_comparisons(
    caller: CallerDep,
    store: StoreDep,
    paging: PagingDep,
    plan: Annotated[str | None, Query(pattern="^[0-9a-f]{64}$")] = None,
) -> Page[ComparisonShown]:
    """The comparisons that the caller may see."""
    query = select(ComparisonRow).join(Area, Area.id == ComparisonRow.area_id).where(caller.sees(Area.path))
    if plan is not None:
        query = query.where(ComparisonRow.plan_hash == plan)
    with store.reading() as session:
        return paging.page(session, query, ComparisonRow.id, _show_comparison)


@router.get("/comparisons/{comparison_id}", responses=responses(404))
def read_comparison(comparison_id: ComparisonId, caller: CallerDep, store: StoreDep) -> ComparisonShown:
    """One comparison: every measure with its interval, who pays, and the verdict, once its job is done."""
    with store.reading() as session:
        comparison = session.get(ComparisonRow, comparison_id)
        if comparison is None:
            raise NotFound(f"there is no comparison {comparison_id}")
        caller.require_view(session.get_one(Area, comparison.area_id), f"comparison {comparison_id}")
        return _show_comparison(comparison)


@router.post(
    "/plans/{plan_hash}/approvals",
    status_code=201,
    response_model=ApprovalShown,
    responses=responses(403, 404, 409),
)
def create_approval(
    plan_hash: PlanHash,
    body: NewApproval,
    caller: CallerDep,
    store: StoreDep,
    settings: SettingsDep,
    once: OnceDep,
) -> Response:
    """Approve, reject or withdraw a plan. Takes the role approver; whoever requested it can't approve it."""
    with store.writing() as session:

        def make() -> Response:
            now = datetime.now(UTC)
            approval = decide(session, caller, plan_hash, body, two_person=settings.two_person, now=now)
            return shown(_show_approval(approval), status=201)

        return once(session, make)


@router.get("/plans/{plan_hash}/approvals", responses=responses(404))
def list_plan_approvals(
    plan_hash: PlanHash, caller: CallerDep, store: StoreDep, paging: PagingDep
) -> Page[ApprovalShown]:
    """What was decided on a plan; the last one holds."""
    with store.reading() as session:
        get_plan(session, caller, plan_hash)
        query = select(Approval).where(Approval.plan_hash == plan_hash).options(joinedload(Approval.person))
        return paging.page(session, query, Approval.id, _show_approval)


@router.get("/approvals", responses=responses())
def list_approvals(
    caller: CallerDep,
    store: StoreDep,
    paging: PagingDep,
    decision: Annotated[Decision | None, Query()] = None,
) -> Page[ApprovalShown]:
    """Decisions on all plans that the caller may see."""
    query = (
        select(Approval)
        .join(Area, Area.id == Approval.area_id)
        .where(caller.sees(Area.path))
        .options(joinedload(Approval.person))
    )
    if decision is not None:
        query = query.where(Approval.decision == decision)
    with store.reading() as session:
        return paging.page(session, query, Approval.id, _show_approval)


def _show_request(request: PlanRequestRow) -> PlanRequestShown:
    return PlanRequestShown(
        id=request.id,
        network_id=request.network_id,
        area_id=request.area_id,
        signals=request.signals,
        terms=request.terms,
        job=show_job(request.job),
        plan=request.plan_hash,
        created_by=request.created_by,
        created_at=request.created_at,
    )


def _show_plans(session: Session, plans: list[Plan]) -> list[PlanShown]:
    hashes = [plan.hash for plan in plans]
    courses, nights = courses_of(session, hashes), nights_of(session, hashes)
    documents: defaultdict[str, list[DocumentShown]] = defaultdict(list)
    for hash_, kind, name, media_type in session.execute(_DOCUMENTS_OF, {"hashes": hashes}):
        href = f"/v1/plans/{hash_}/documents/{kind}/{name}"
        documents[hash_].append(DocumentShown(kind=kind, name=name, media_type=media_type, href=href))
    return [
        PlanShown(
            hash=plan.hash,
            digest=plan.digest,
            state=courses[plan.hash].state,
            network_id=plan.network_id,
            area_id=plan.area_id,
            keeps_plan_in_place=plan.keeps_plan_in_place,
            night=_show_night(nights.get(plan.hash)),
            requests=list(courses[plan.hash].requests),
            comparisons=list(courses[plan.hash].comparisons),
            documents=documents[plan.hash],
            created_at=plan.created_at,
        )
        for plan in plans
    ]


def _show_night(row: NightPlan | None) -> NightShown | None:
    if row is None:
        return None
    return NightShown(day=row.night, day_type=row.day_type, group=row.group, signals=row.signals)


def _show_comparison(comparison: ComparisonRow) -> ComparisonShown:
    return ComparisonShown(
        id=comparison.id,
        plan=comparison.plan_hash,
        against=comparison.against_hash,
        area_id=comparison.area_id,
        seeds=comparison.seeds,
        verdict=comparison.verdict,
        figures=comparison.figures,
        job_id=comparison.job_id,
        created_by=comparison.created_by,
        created_at=comparison.created_at,
    )


def _show_approval(approval: Approval) -> ApprovalShown:
    return ApprovalShown(
        id=approval.id,
        plan=approval.plan_hash,
        area_id=approval.area_id,
        decision=Decision(approval.decision),
        comparison_id=approval.comparison_id,
        note=approval.note,
        person_id=approval.person_id,
        person=approval.person.name,
        created_at=approval.created_at,
    )
