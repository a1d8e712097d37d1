"""A city to talk to: three areas, somebody for every role in one of them, and an application on a fresh store."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from api.app import create_app
from signals.documents import Document
from signals.jobs.work.plans import keep_comparison, keep_plan
from signals.logs import configure_logs
from signals.model.states import JobState, NetworkState, Role
from signals.settings import Settings
from signals.store.areas import add_area
from signals.store.audit import Actor
from signals.store.people import add_person, create_key, get_person, grant_role
from signals.store.session import Store
from signals.store.tables import (
    Area,
    ComparisonRow,
    CorridorRow,
    IntersectionRow,
    PlanRequestRow,
    RoadNetwork,
    Upload,
)

HERE = Actor(None, "test")

# as the service does it: plain tracebacks, without what variables hold
configure_logs("warning")


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

    def network(self, area_id: int | None = None, name: str = "main", signals: int = 2) -> int:
        """A network of the north that has been read, with intersections in a row, all on one corridor."""
        now = datetime.now(UTC)
        with self.store.writing() as session:
            if session.get(Upload, "0" * 64) is None:
                session.add(Upload(sha256="0" * 64, content=b"", created_at=now))
                session.flush()
            network = RoadNetwork(
                area_id=area_id or self.north,
                name=name,
                timezone="Europe/Vienna",
                state=NetworkState.READY,
                upload_sha256="0" * 64,
                facts={"signals": signals},
                created_by=1,
                created_at=now,
            )
            session.add(network)
            session.flush()
            names = [f"j{number + 1}" for number in range(signals)]
            session.add_all(
                IntersectionRow(
                    network_id=network.id,
                    area_id=network.area_id,
                    signal=signal,
                    x_m=100.0 * number,
                    y_m=0.0,
                    facts={"approaches": [], "movements": []},
                )
                for number, signal in enumerate(names)
            )
            session.add(CorridorRow(network_id=network.id, name="row", signals=names))
            return network.id

    def made_plan(self, request_id: int, content: bytes = b"{}") -> str:
        """What the job of a plan request would have kept, and the plan's hash."""
        documents = (
            Document("plan", "plan.json", "application/json", content),
            Document("sumo", "plans.add.xml", "application/xml", b"<additional/>"),
        )
        with self.store.writing() as session:
            made = keep_plan(session, request_id, "0" * 16, False, documents)
            job = session.get_one(PlanRequestRow, request_id).job
            job.state, job.result = JobState.DONE, made
        return str(made["plan"])

    def made_comparison(self, comparison_id: int, verdict: str = "adopt") -> None:
        """What the job of a comparison would have kept."""
        with self.store.writing() as session:
            made = keep_comparison(session, comparison_id, verdict, {"alternatives": []})
            job = session.get_one(ComparisonRow, comparison_id).job
            job.state, job.result = JobState.DONE, made

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
