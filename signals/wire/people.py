"""People on the wire: who the caller is, and what the caller's roles and key are."""

from __future__ import annotations

from signals.wire.base import Moment, Shown, example


class RoleShown(Shown):
    """A role, the area that it is held in, and the path of that area: it holds in all areas below, too."""

    role: str
    area_id: int
    area: str
    path: str


class KeyShown(Shown):
    """A key: its first letters, and until when it works."""

    prefix: str
    label: str
    expires_at: Moment


class Me(Shown):
    """Who the caller is."""

    model_config = example(
        person_id=5,
        name="Ada",
        contact="ada@example.org",
        roles=[{"role": "engineer", "area_id": 4, "area": "North", "path": "/1/4/"}],
        key={"prefix": "gsk_4Fz81aQk", "label": "laptop", "expires_at": "2027-11-25T08:00:00Z"},
    )
    person_id: int
    name: str
    contact: str
    roles: list[RoleShown]
    key: KeyShown
