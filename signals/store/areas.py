"""Areas, and who answers for them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import delete, func, select, update
from sqlalchemy.orm import Session, joinedload

from signals.errors import Conflict
from signals.model.states import EventState
from signals.store.audit import Actor, record
from signals.store.changes import change_row, flush_new
from signals.store.people import get_person
from signals.store.tables import Area, Duty, Event

CITY = 1
"""The area that all others lie in."""
DEEPEST = 12


def add_area(
    session: Session, actor: Actor, parent: Area, name: str, bounds: list[Any] | None = None
) -> Area:
    """A new area inside another one.

    Raises
    ------
    Conflict
        Where the name is taken there, or areas would lie in each other more than DEEPEST times.
    """
    if parent.path.count("/") > DEEPEST:
        raise Conflict(f"area {parent.name!r} lies {DEEPEST} deep already; make the new one higher up")
    area = Area(
        parent_id=parent.id,
        path=f"{parent.path}?",
        name=name,
        bounds=bounds,
        version=1,
        created_at=datetime.now(UTC),
    )
    flush_new(session, area, f"area {parent.name!r} has an area {name!r} already")
    area.path = f"{parent.path}{area.id}/"
    record(session, actor, "area.add", f"areas/{area.id}", area_id=area.id, name=name, parent=parent.id)
    return area


def change_area(session: Session, actor: Actor, area: Area, **changes: Any) -> Area:
    """Another name or other bounds.

    Raises
    ------
    Conflict
        Where the name is taken.
    """
    taken = f"there is an area {changes.get('name')!r} beside it already"
    before = change_row(session, area, changes, taken)
    record(session, actor, "area.change", f"areas/{area.id}", area_id=area.id, before=before, after=changes)
    return area


def set_duties(
    session: Session, actor: Actor, area: Area, duties: Sequence[tuple[str, Sequence[str]]]
) -> list[Duty]:
    """Who answers for the area from now on: names of people with the kinds of events, all where none is given.

    Raises
    ------
    NotFound
        Where there is no such person.
    Conflict
        Where somebody is named twice.
    """
    people = [get_person(session, name) for name, _ in duties]
    if len({person.id for person in people}) < len(people):
        raise Conflict("a person is named twice; name all kinds of events at once")
    session.execute(delete(Duty).where(Duty.area_id == area.id))
    for person, (_, kinds) in zip(people, duties, strict=True):
        session.add(Duty(area_id=area.id, person_id=person.id, kinds=sorted(set(kinds))))
    session.execute(update(Area).where(Area.id == area.id).values(version=Area.version + 1))
    session.flush()
    session.refresh(area)
    after = [[person.name, list(kinds)] for person, (_, kinds) in zip(people, duties, strict=True)]
    record(session, actor, "area.duties", f"areas/{area.id}", area_id=area.id, after=after)
    return list_duties(session, area)


def list_duties(session: Session, area: Area) -> list[Duty]:
    """Who answers for the area."""
    own = select(Duty).where(Duty.area_id == area.id).options(joinedload(Duty.person)).order_by(Duty.id)
    return list(session.scalars(own))


def open_events(session: Session, people: Sequence[int]) -> dict[int, int]:
    """How many events that aren't closed wait for each of these people."""
    waiting = (
        select(Event.assignee_id, func.count())
        .where(Event.assignee_id.in_(people), Event.state != EventState.CLOSED)
        .group_by(Event.assignee_id)
    )
    found = {person: count for person, count in session.execute(waiting) if person is not None}
    return {person: found.get(person, 0) for person in people}


def lowest_common(session: Session, areas: Sequence[Area]) -> Area:
    """The smallest area that all of these lie in; at least one must be given."""
    parts = [[part for part in area.path.split("/") if part] for area in areas]
    shared = 0
    while all(len(p) > shared and p[shared] == parts[0][shared] for p in parts):
        shared += 1
    return session.get_one(Area, int(parts[0][shared - 1]))
