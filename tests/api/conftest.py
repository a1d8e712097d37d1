"""A city to talk to: three areas, somebody for every role in one of them, and an application on a fresh store."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from api.app import create_app
from signals.model.states import Role
from signals.settings import Settings
from signals.store.areas import add_area
from signals.store.audit import Actor
from signals.store.people import add_person, create_key, get_person, grant_role
from signals.store.session import Store
from signals.store.tables import Area

HERE = Actor(None, "test")


class City:
    """An application with people: `city.as_("engineer")` is a client with the key of the engineer of the north.

    The areas are the whole city (1), `north` in it, `harbour` in the north, and `south`, where nobody
    of the north has a role. `everyone` holds all roles everywhere; `stranger` all roles in the south;
    `nobody` has a key and no role.
    """

    def __init__(self, store: Store, app: FastAPI) -> None:
        self.store = store
        self.app = app
        self.keys: dict[str, str] = {}
        with store.writing() as session:
            city = session.get_one(Area, 1)
            north = add_area(session, HERE, city, "north")
            harbour = add_area(session, HERE, north, "harbour")
            south = add_area(session, HERE, city, "south")
            self.north, self.harbour, self.south = north.id, harbour.id, south.id
            held = {role.value: [(role, north)] for role in Role}
            held["everyone"] = [(role, city) for role in Role]
            held["stranger"] = [(role, south) for role in Role]
            held["second"] = [(role, city) for role in Role]
            held["nobody"] = []
            for name, roles in held.items():
                person = add_person(session, HERE, name)
                for role, area in roles:
                    grant_role(session, HERE, person, role, area)
                self.keys[name] = create_key(session, HERE, person)[1]

    def as_(self, name: str) -> TestClient:
        """A client with this person's key."""
        client = TestClient(self.app, raise_server_exceptions=False)
        client.headers["Authorization"] = f"Bearer {self.keys[name]}"
        return client

    def person_id(self, name: str) -> int:
        """The number of a person."""
        with self.store.reading() as session:
            return get_person(session, name).id


@pytest.fixture
def settings(store: Store, tmp_path: Path) -> Settings:
    """Settings on a fresh store; tests may replace some."""
    url = store.url.render_as_string(hide_password=False)
    return Settings(data=tmp_path, db=url, rate_limit="100000/second")  # type: ignore[arg-type]


@pytest.fixture
def city(store: Store, settings: Settings) -> Iterator[City]:
    """A city on a fresh store, on each of the databases."""
    app = create_app(settings)
    yield City(store, app)
    app.state.store.close()
