"""Plans, the requests that they answer, and how far each is on its way to the street."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import BindParameter, bindparam, exists, func, literal, select, union_all
from sqlalchemy.orm import Session

from signals.errors import NotFound
from signals.model.states import Decision, PlanState
from signals.store.tables import Approval, ComparisonRow, NightPlan, Plan, PlanDocument, PlanRequestRow

DOCUMENT = "plan"
"""Kind of the document that a plan's hash is over."""


_OF_DECISION = {
    Decision.APPROVE: PlanState.APPROVED,
    Decision.REJECT: PlanState.REJECTED,
    Decision.WITHDRAW: PlanState.WITHDRAWN,
}

_HASHES: BindParameter[Any] = bindparam("hashes", expanding=True)
_COURSES: Any = union_all(
    select(PlanRequestRow.plan_hash, literal("request").label("what"), PlanRequestRow.id, literal("")).where(
        PlanRequestRow.plan_hash.in_(_HASHES)
    ),
    select(
        ComparisonRow.plan_hash,
        literal("comparison"),
        ComparisonRow.id,
        func.coalesce(ComparisonRow.verdict, ""),
    ).where(ComparisonRow.plan_hash.in_(_HASHES)),
    select(Approval.plan_hash, literal("decision"), Approval.id, Approval.decision).where(
        Approval.plan_hash.in_(_HASHES)
    ),
).order_by("what", "id")
"""All that happened to plans in one question: whoever shows a plan asks it."""


@dataclass(frozen=True)
class Course:
    """How far a plan is, and the numbers of its requests and comparisons."""

    state: PlanState
    requests: tuple[int, ...]
    comparisons: tuple[int, ...]


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


def courses_of(session: Session, hashes: Iterable[str]) -> dict[str, Course]:
    """What has happened to each of these plans."""
    requests: defaultdict[str, list[int]] = defaultdict(list)
    comparisons: defaultdict[str, list[int]] = defaultdict(list)
    states: dict[str, PlanState] = {}
    wanted = list(hashes)
    for hash_, what, number, said in session.execute(_COURSES, {"hashes": wanted}):
        if what == "request":
            requests[hash_].append(number)
        elif what == "decision":
            states[hash_] = _OF_DECISION[Decision(said)]
        else:
            comparisons[hash_].append(number)
            if said:
                states[hash_] = PlanState.COMPARED
    return {
        hash_: Course(
            states.get(hash_, PlanState.PROPOSED), tuple(requests[hash_]), tuple(comparisons[hash_])
        )
        for hash_ in wanted
    }


def state_of(session: Session, hash_: str) -> PlanState:
    """How far a plan is."""
    return courses_of(session, [hash_])[hash_].state


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


def requested_signals(session: Session, hash_: str) -> set[str]:
    """The signals that this plan was asked for, or that a night made it for."""
    asked = select(PlanRequestRow.signals).where(PlanRequestRow.plan_hash == hash_)
    of_night = select(NightPlan.signals).where(NightPlan.plan_hash == hash_)
    found = [*session.scalars(asked), *session.scalars(of_night)]
    return {signal for signals in found for signal in signals}


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
