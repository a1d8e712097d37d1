"""Plans that nights made, and which of them are in force."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date

from sqlalchemy import exists, func, select
from sqlalchemy.orm import Session

from signals.model.states import Decision
from signals.store.tables import Approval, NightPlan


def approved_nights(session: Session, network_id: int, before: date, day_type: str) -> list[NightPlan]:
    """The approved plans of nights before a day for days of a type, what holds first.

    The later night comes first, of one night's plans the one that was approved last.
    """
    latest = select(func.max(Approval.id).label("id")).group_by(Approval.plan_hash).subquery()
    query = (
        select(NightPlan)
        .join(Approval, Approval.plan_hash == NightPlan.plan_hash)
        .join(latest, latest.c.id == Approval.id)
        .where(
            NightPlan.network_id == network_id,
            NightPlan.night < before,
            NightPlan.day_type == day_type,
            Approval.decision == Decision.APPROVE,
        )
        .order_by(NightPlan.night.desc(), Approval.id.desc())
    )
    return list(session.scalars(query))


def undecided_nights(session: Session, network_id: int, until: date, day_type: str) -> list[NightPlan]:
    """The plans of nights up to a day, for days of a type, on which nobody has decided."""
    query = (
        select(NightPlan)
        .where(
            NightPlan.network_id == network_id,
            NightPlan.night <= until,
            NightPlan.day_type == day_type,
            ~exists().where(Approval.plan_hash == NightPlan.plan_hash),
        )
        .order_by(NightPlan.night, NightPlan.plan_hash)
    )
    return list(session.scalars(query))


def nights_of(session: Session, hashes: Iterable[str]) -> dict[str, NightPlan]:
    """The night of each of these plans that one made."""
    query = select(NightPlan).where(NightPlan.plan_hash.in_(list(hashes)))
    return {row.plan_hash: row for row in session.scalars(query)}
