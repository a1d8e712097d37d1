"""Plans, the requests that they answer, and how far each is on its way to the street."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable
from typing import Any

from sqlalchemy import BindParameter, bindparam, exists, func, select
from sqlalchemy.orm import Session

from signals.errors import NotFound
from signals.model.states import Decision, PlanState
from signals.store.tables import Approval, ComparisonRow, Plan, PlanDocument, PlanRequestRow

DOCUMENT = "plan"
"""Kind of the document that a plan's hash is over."""


_OF_DECISION = {
    Decision.APPROVE: PlanState.APPROVED,
    Decision.REJECT: PlanState.REJECTED,
    Decision.WITHDRAW: PlanState.WITHDRAWN,
}

_HASHES: BindParameter[Any] = bindparam("hashes", expanding=True)
_DECIDED = select(Approval.plan_hash, Approval.decision).where(
    Approval.id.in_(
        select(func.max(Approval.id)).where(Approval.plan_hash.in_(_HASHES)).group_by(Approval.plan_hash)
    )
)
_COMPARED = select(ComparisonRow.plan_hash).where(
    ComparisonRow.plan_hash.in_(_HASHES), ComparisonRow.verdict.is_not(None)
)


def plan_hash(network_id: int, document: bytes) -> str:
    """What identifies a plan of a network: SHA-256, 64 hex digits."""
    return hashlib.sha256(f"network {network_id}\n".encode() + document).hexdigest()


def add_plan(session: Session, plan: Plan, documents: Iterable[PlanDocument]) -> bool:
    """Keep a plan with its documents; False where the same one is there already, which then stays as it is."""
    if session.scalar(select(Plan.id).where(Plan.hash == plan.hash)) is not None:
        return False
    session.add(plan)
    session.flush()
    session.add_all(documents)
    session.flush()
    return True


def find_plan(session: Session, hash_: str) -> Plan | None:
    """The plan with this hash."""
    return session.scalar(select(Plan).where(Plan.hash == hash_))


def states_of(session: Session, hashes: Iterable[str]) -> dict[str, PlanState]:
    """How far each of these plans is."""
    wanted = list(hashes)
    decided = session.execute(_DECIDED, {"hashes": wanted})
    states = {plan: _OF_DECISION[Decision(decision)] for plan, decision in decided}
    compared = set(session.scalars(_COMPARED, {"hashes": wanted}))
    return {
        plan: states.get(plan, PlanState.COMPARED if plan in compared else PlanState.PROPOSED)
        for plan in wanted
    }


def plan_states(session: Session) -> dict[str, int]:
    """How many plans are in each state."""
    latest = select(func.max(Approval.id)).group_by(Approval.plan_hash)
    counts: Counter[str] = Counter({state.value: 0 for state in PlanState})
    for decision, number in session.execute(
        select(Approval.decision, func.count()).where(Approval.id.in_(latest)).group_by(Approval.decision)
    ):
        counts[_OF_DECISION[Decision(decision)]] += number
    undecided = ~exists().where(Approval.plan_hash == Plan.hash)
    compared = exists().where(ComparisonRow.plan_hash == Plan.hash, ComparisonRow.verdict.is_not(None))
    for state, condition in ((PlanState.COMPARED, compared), (PlanState.PROPOSED, ~compared)):
        counts[state] = (
            session.scalar(select(func.count()).select_from(Plan).where(undecided, condition)) or 0
        )
    return dict(counts)


def requesters_of(session: Session, hash_: str) -> set[int]:
    """Everybody who asked for this plan."""
    return set(session.scalars(select(PlanRequestRow.created_by).where(PlanRequestRow.plan_hash == hash_)))


def find_document(session: Session, hash_: str, kind: str) -> bytes | None:
    """The first document of this kind of a plan."""
    of_kind = select(PlanDocument.content).where(PlanDocument.plan_hash == hash_, PlanDocument.kind == kind)
    return session.scalar(of_kind.order_by(PlanDocument.name).limit(1))


def get_document(session: Session, hash_: str, kind: str) -> bytes:
    """The first document of this kind of a plan.

    Raises
    ------
    NotFound
        Where it has none.
    """
    found = find_document(session, hash_, kind)
    if found is None:
        raise NotFound(f"plan {hash_} has no document of kind {kind}")
    return found
