"""Deployments in the store: which pattern of ours each unit is kept at, and which deployments are under way."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session, contains_eager, joinedload

from signals.model.states import UNDER_WAY, DeploymentState, StepState
from signals.store.tables import ControllerRow, Deployment, DeploymentStep, IntersectionRow

HELD = (StepState.COMMANDED, StepState.RUNNING)
"""A unit in one of these may run our pattern."""


@dataclass(frozen=True)
class Held:
    """A unit that runs a pattern of ours, by which deployment."""

    step: DeploymentStep
    controller: ControllerRow

    @property
    def pattern(self) -> int:
        """Number of the pattern in the unit."""
        assert self.step.slot is not None
        return int(self.step.slot[0])


def held_patterns(session: Session, intersections: Iterable[int] | None = None) -> dict[int, DeploymentStep]:
    """The step that holds each intersection's unit at a pattern of ours: the latest one that does."""
    query = (
        select(DeploymentStep)
        .where(DeploymentStep.state.in_(HELD), DeploymentStep.slot.is_not(None))
        .order_by(DeploymentStep.id)
    )
    if intersections is not None:
        query = query.where(DeploymentStep.intersection_id.in_(list(intersections)))
    return {step.intersection_id: step for step in session.scalars(query)}


def units_to_keep(session: Session, intersection_id: int | None = None) -> list[Held]:
    """The units that a settled deployment keeps at its pattern; of one intersection, or of all.

    A rollout under way looks after its own, from the moment on that it writes to them.
    """
    query = (
        select(DeploymentStep)
        .join(DeploymentStep.deployment)
        .where(DeploymentStep.state.in_(HELD), DeploymentStep.slot.is_not(None))
        .options(
            contains_eager(DeploymentStep.deployment),
            joinedload(DeploymentStep.intersection).joinedload(IntersectionRow.area),
        )
        .order_by(DeploymentStep.id)
    )
    being_written = (
        select(DeploymentStep.intersection_id)
        .join(DeploymentStep.deployment)
        .where(
            Deployment.state == DeploymentState.ROLLING_OUT,
            DeploymentStep.state.in_((StepState.WRITING, StepState.WRITTEN)),
        )
    )
    if intersection_id is not None:
        query = query.where(DeploymentStep.intersection_id == intersection_id)
        being_written = being_written.where(DeploymentStep.intersection_id == intersection_id)
    latest = {step.intersection_id: step for step in session.scalars(query)}
    taken = set(session.scalars(being_written))
    kept = [
        s
        for s in latest.values()
        if s.deployment.state == DeploymentState.IN_FORCE and s.intersection_id not in taken
    ]
    rows = session.scalars(
        select(ControllerRow).where(ControllerRow.intersection_id.in_([s.intersection_id for s in kept]))
    )
    controllers = {row.intersection_id: row for row in rows}
    return [Held(s, controllers[s.intersection_id]) for s in kept if s.intersection_id in controllers]


def plans_in_force(session: Session, network_id: int) -> dict[str, str]:
    """The hash of the plan that each signal of a network is kept at by a deployment."""
    query = (
        select(IntersectionRow.signal, Deployment.plan_hash)
        .join(DeploymentStep, DeploymentStep.intersection_id == IntersectionRow.id)
        .join(DeploymentStep.deployment)
        .where(
            IntersectionRow.network_id == network_id,
            Deployment.state == DeploymentState.IN_FORCE,
            DeploymentStep.state.in_(HELD),
        )
        .order_by(DeploymentStep.id)
    )
    return dict(session.execute(query).all())


def under_way(session: Session, intersections: Iterable[int]) -> Deployment | None:
    """A deployment that is yet to end and has a unit at one of these intersections."""
    return session.scalar(
        select(Deployment)
        .join(DeploymentStep, DeploymentStep.deployment_id == Deployment.id)
        .where(Deployment.state.in_(UNDER_WAY), DeploymentStep.intersection_id.in_(list(intersections)))
        .limit(1)
    )


def controllers_of(session: Session, intersections: Iterable[int]) -> dict[int, ControllerRow]:
    """The unit of each of these intersections that has one."""
    query = select(ControllerRow).where(ControllerRow.intersection_id.in_(list(intersections)))
    return {row.intersection_id: row for row in session.scalars(query)}
