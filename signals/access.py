"""Who may do what where: the roles, what each is for, and the one place that decides.

A role holds in an area and in every area below it. Roles are for kinds of work and don't include each other:
whoever plans and approves holds both, and the two-person rule still keeps the two acts apart.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from sqlalchemy import ColumnElement, bindparam, or_, select
from sqlalchemy.orm import QueryableAttribute, Session, joinedload

from signals.errors import Forbidden, NotFound
from signals.model.states import Role
from signals.store.audit import Actor
from signals.store.tables import Area, ControllerRow, Deployment, IntersectionRow, Plan, RoadNetwork, Table


class Action(StrEnum):
    """What can be done to what belongs to an area."""

    VIEW = "view"
    EDIT_AREA = "edit areas and duties"
    UPLOAD_NETWORK = "upload networks"
    EDIT_NETWORK = "edit networks and intersections"
    SEND_COUNTS = "send counts"
    FORECAST = "ask for forecasts and screenings"
    REQUEST_PLAN = "request plans"
    COMPARE = "ask for comparisons"
    DECIDE = "approve and reject plans"
    CANCEL_JOB = "cancel jobs"
    REPORT_EVENT = "report events"
    ANSWER_EVENT = "respond to events"
    SEE_CONTROLLER = "see controllers"
    EDIT_CONTROLLER = "edit controllers"
    DEPLOY = "deploy plans"
    ROLL_BACK = "roll deployments back"
    PLAN_EMERGENCY = "plan ways through for ambulances"
    READ_AUDIT = "read the audit"


_EDITS = frozenset({Action.EDIT_AREA, Action.EDIT_NETWORK, Action.EDIT_CONTROLLER})
_EVERYBODY = frozenset(Role)
ALLOWED: Mapping[Action, frozenset[Role]] = {
    Action.VIEW: _EVERYBODY,
    Action.EDIT_AREA: frozenset({Role.ADMIN}),
    Action.UPLOAD_NETWORK: frozenset({Role.ENGINEER, Role.ADMIN}),
    Action.EDIT_NETWORK: frozenset({Role.ENGINEER, Role.ADMIN}),
    Action.SEND_COUNTS: frozenset({Role.ENGINEER, Role.OPERATOR}),
    Action.FORECAST: frozenset({Role.ENGINEER, Role.OPERATOR}),
    Action.REQUEST_PLAN: frozenset({Role.ENGINEER}),
    Action.COMPARE: frozenset({Role.ENGINEER, Role.APPROVER}),
    Action.DECIDE: frozenset({Role.APPROVER}),
    Action.CANCEL_JOB: frozenset({Role.ENGINEER, Role.OPERATOR, Role.ADMIN}),
    Action.REPORT_EVENT: _EVERYBODY - {Role.VIEWER},
    Action.ANSWER_EVENT: frozenset({Role.ENGINEER, Role.OPERATOR}),
    Action.SEE_CONTROLLER: frozenset({Role.ENGINEER, Role.OPERATOR, Role.ADMIN}),
    Action.EDIT_CONTROLLER: frozenset({Role.OPERATOR, Role.ADMIN}),
    Action.DEPLOY: frozenset({Role.OPERATOR}),
    Action.ROLL_BACK: frozenset({Role.ENGINEER, Role.APPROVER, Role.OPERATOR}),
    Action.PLAN_EMERGENCY: frozenset({Role.ENGINEER, Role.OPERATOR}),
    Action.READ_AUDIT: frozenset({Role.ADMIN}),
}
"""The roles that allow each action."""
_PLAN_AND_AREA = select(Plan, Area).join(Area, Area.id == Plan.area_id).where(Plan.hash == bindparam("hash"))


@dataclass(frozen=True, slots=True)
class Caller:
    """The person behind a request, and the roles held: pairs of a role and the path of its area."""

    person_id: int
    name: str
    key_id: int
    roles: tuple[tuple[Role, str], ...]
    request_id: str = ""

    @property
    def actor(self) -> Actor:
        """For the audit."""
        return Actor(self.person_id, self.request_id)

    def may(self, action: Action, area_path: str) -> bool:
        """Whether a role held there or above allows it."""
        return any(role in ALLOWED[action] and area_path.startswith(path) for role, path in self.roles)

    def require(self, action: Action, area: Area, what: str) -> None:
        """Nothing where the caller may; `what` names the thing for the message, as in `network 3`.

        Raises
        ------
        NotFound
            Where the caller may not even see it.
        Forbidden
            Where the caller may see it, but not do this.
        """
        if not self.may(Action.VIEW, area.path):
            raise NotFound(f"there is no {what}")
        if not self.may(action, area.path):
            roles = " or ".join(sorted(ALLOWED[action]))
            raise Forbidden(f"to {action} in area {area.name!r} takes the role {roles} there; ask its admin")

    def require_view(self, area: Area, what: str) -> None:
        """Nothing where the caller may see what belongs to this area.

        Raises
        ------
        NotFound
            Where the caller may not.
        """
        self.require(Action.VIEW, area, what)

    def sees(self, path: QueryableAttribute[str], action: Action = Action.VIEW) -> ColumnElement[bool]:
        """The condition that an area's path lies where the caller may do this, for queries that list."""
        prefixes = sorted({p for role, p in self.roles if role in ALLOWED[action]})
        return or_(False, *(path.like(f"{prefix}%") for prefix in prefixes))


def get_area(session: Session, caller: Caller, area_id: int, action: Action = Action.VIEW) -> Area:
    """An area in which the caller may do this.

    Raises
    ------
    NotFound, Forbidden
        As `Caller.require`.
    """
    area = session.get(Area, area_id, with_for_update=_lock(action, Area))
    if area is None:
        raise NotFound(f"there is no area {area_id}")
    caller.require(action, area, f"area {area_id}")
    return area


def get_network(
    session: Session, caller: Caller, network_id: int, action: Action = Action.VIEW
) -> RoadNetwork:
    """A network with which the caller may do this.

    Raises
    ------
    NotFound, Forbidden
        As `Caller.require`.
    """
    of_area = [joinedload(RoadNetwork.area)]
    network = session.get(
        RoadNetwork, network_id, options=of_area, with_for_update=_lock(action, RoadNetwork)
    )
    if network is None:
        raise NotFound(f"there is no network {network_id}")
    caller.require(action, network.area, f"network {network_id}")
    return network


def get_plan(session: Session, caller: Caller, hash_: str, action: Action = Action.VIEW) -> Plan:
    """A plan with which the caller may do this.

    Raises
    ------
    NotFound, Forbidden
        As `Caller.require`.
    """
    found = session.execute(_PLAN_AND_AREA, {"hash": hash_}).one_or_none()
    if found is None:
        raise NotFound(f"there is no plan {hash_}")
    plan, area = found
    caller.require(action, area, f"plan {hash_}")
    return plan


def get_intersection(
    session: Session, caller: Caller, intersection_id: int, action: Action = Action.VIEW
) -> IntersectionRow:
    """An intersection with which the caller may do this.

    Raises
    ------
    NotFound, Forbidden
        As `Caller.require`.
    """
    of_area = [joinedload(IntersectionRow.area)]
    row = session.get(
        IntersectionRow, intersection_id, options=of_area, with_for_update=_lock(action, IntersectionRow)
    )
    if row is None:
        raise NotFound(f"there is no intersection {intersection_id}")
    caller.require(action, row.area, f"intersection {intersection_id}")
    return row


def get_controller(
    session: Session, caller: Caller, controller_id: int, action: Action = Action.SEE_CONTROLLER
) -> ControllerRow:
    """A controller with which the caller may do this.

    Raises
    ------
    NotFound, Forbidden
        As `Caller.require`.
    """
    row = session.get(ControllerRow, controller_id, with_for_update=_lock(action, ControllerRow))
    if row is None:
        raise NotFound(f"there is no controller {controller_id}")
    caller.require(action, row.intersection.area, f"controller {controller_id}")
    return row


def get_deployment(
    session: Session, caller: Caller, deployment_id: int, action: Action = Action.VIEW
) -> Deployment:
    """A deployment with which the caller may do this.

    Raises
    ------
    NotFound, Forbidden
        As `Caller.require`.
    """
    row = session.get(Deployment, deployment_id)
    if row is None:
        raise NotFound(f"there is no deployment {deployment_id}")
    caller.require(action, row.area, f"deployment {deployment_id}")
    return row


def _lock(action: Action, table: type[Table]) -> dict[str, Any] | None:
    """What is to be edited is kept from others from the look at its version to the end of the transaction."""
    return {"of": table, "key_share": True} if action in _EDITS else None
