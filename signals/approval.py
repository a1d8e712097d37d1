"""Deciding on plans: on which evidence, and by whom. Who asked for a plan doesn't approve it."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from signals.access import Action, Caller, get_plan
from signals.errors import Conflict, Forbidden, NotFound
from signals.model.states import Decision, PlanState
from signals.store.audit import record
from signals.store.plans import requesters_of, state_of
from signals.store.tables import Approval, ComparisonRow, Plan
from signals.wire.plans import NewApproval

ADOPT = "adopt"
"""The verdict of a comparison on which a plan is approved without a reason."""
DECIDABLE = {
    Decision.APPROVE: (PlanState.COMPARED, PlanState.REJECTED, PlanState.WITHDRAWN),
    Decision.REJECT: (PlanState.PROPOSED, PlanState.COMPARED),
    Decision.WITHDRAW: (PlanState.APPROVED,),
}
"""States in which a plan must be for each decision."""


def decide(
    session: Session, caller: Caller, hash_: str, given: NewApproval, *, two_person: bool, now: datetime
) -> Approval:
    """A decision on a plan, kept for good; a later one may change what holds.

    Raises
    ------
    NotFound
        Where there is no such plan, or the comparison named isn't one of it.
    Forbidden
        Where the caller isn't an approver there, or asked for the plan.
    Conflict
        Where the plan is in a state that the decision doesn't fit, or the evidence is missing, older than the
        last decision, or against it without a reason.
    """
    plan = get_plan(session, caller, hash_, Action.DECIDE)
    # one decision after the other: the state must not change between the look and the deed
    session.execute(select(Plan.id).where(Plan.hash == hash_).with_for_update())
    state = state_of(session, hash_)
    if state not in DECIDABLE[given.decision]:
        raise Conflict(
            f"the plan is {state}; to {given.decision} it, it must be {' or '.join(DECIDABLE[given.decision])}"
        )
    comparison = _comparison(session, given, hash_)
    if given.decision is Decision.APPROVE:
        if two_person and caller.person_id in requesters_of(session, hash_):
            raise Forbidden("whoever requested a plan can't approve it; a second person must look at it")
        _require_evidence(session, given, comparison, hash_)
    approval = Approval(
        plan_hash=hash_,
        area_id=plan.area_id,
        comparison_id=comparison.id if comparison else None,
        decision=given.decision,
        note=given.note,
        person_id=caller.person_id,
        created_at=now,
    )
    session.add(approval)
    session.flush()
    record(
        session,
        caller.actor,
        f"plan.{given.decision}",
        f"plans/{hash_}",
        area_id=plan.area_id,
        comparison=approval.comparison_id,
        against_advice=given.against_advice,
        two_person=two_person,
        note=given.note,
    )
    return approval


def _comparison(session: Session, given: NewApproval, hash_: str) -> ComparisonRow | None:
    if given.comparison_id is None:
        return None
    found = session.get(ComparisonRow, given.comparison_id)
    if found is None or found.plan_hash != hash_:
        raise NotFound(f"the plan has no comparison {given.comparison_id}")
    return found


def _require_evidence(
    session: Session, given: NewApproval, comparison: ComparisonRow | None, hash_: str
) -> None:
    if comparison is None:
        raise Conflict("name the comparison that the approval rests on (comparison_id)")
    if comparison.verdict is None:
        raise Conflict(f"comparison {comparison.id} isn't done; watch job {comparison.job_id} and come back")
    against = comparison.against_hash
    if against is not None and state_of(session, against) is not PlanState.APPROVED:
        raise Conflict(
            f"comparison {comparison.id} is with plan {against[:16]}…, which isn't approved; "
            "compare with the plan in place"
        )
    last = session.scalar(
        select(Approval.created_at).where(Approval.plan_hash == hash_).order_by(Approval.id.desc()).limit(1)
    )
    if last is not None and comparison.created_at <= last:
        raise Conflict(
            f"comparison {comparison.id} is older than the last decision on the plan; make a new comparison"
        )
    if comparison.verdict != ADOPT and not (given.against_advice and given.note.strip()):
        raise Conflict(
            f"comparison {comparison.id} says: {comparison.verdict}; to approve all the same, set against_advice "
            "and give the reason as note"
        )
