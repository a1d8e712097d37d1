"""At the door: keys, rates, request ids, malformed and oversized requests, outages; and that no answer is a fault."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import text, update
from starlette.testclient import TestClient

from api.app import create_app
from signals.settings import Settings
from signals.store.people import create_key, get_person, revoke_key
from signals.store.tables import ApiKey
from tests.api.conftest import HERE, City


def test_without_a_key_nothing_is_told(city: City) -> None:
    stranger = TestClient(city.app)
    for path in ("/v1/areas", "/v1/areas/1", "/v1/nonsense", "/nonsense"):
        answer = stranger.get(path)
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"] == "Bearer"
        assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize(
    "key", ["Bearer", "Bearer ", "Bearer gsk_x", "Basic abc", "gsk_x", "Bearer " + "x" * 5000]
)
def test_what_is_no_key_is_refused(city: City, key: str) -> None:
    answer = TestClient(city.app).get("/v1/areas", headers={"Authorization": key})
    assert answer.status_code == 401


def test_a_key_ends_when_it_expires_or_is_revoked(city: City) -> None:
    client = city.as_("viewer")
    assert client.get("/v1/areas").status_code == 200
    with city.store.writing() as session:
        revoke_key(session, HERE, city.keys["viewer"][:12])
    assert client.get("/v1/areas").status_code == 401
    with city.store.writing() as session:
        row, key = create_key(session, HERE, get_person(session, "viewer"))
        session.execute(
            update(ApiKey)
            .where(ApiKey.id == row.id)
            .values(expires_at=datetime.now(UTC) - timedelta(seconds=1))
        )
    assert (
        TestClient(city.app).get("/v1/areas", headers={"Authorization": f"Bearer {key}"}).status_code == 401
    )


def test_keys_are_long_and_random_and_kept_as_their_hash_alone(city: City) -> None:
    assert len(set(city.keys.values())) == len(city.keys)
    assert all(len(key) >= 4 + 43 for key in city.keys.values())
    with city.store.reading() as session:
        for row in session.execute(text("SELECT * FROM api_keys")).mappings():
            assert not any(key in str(value) for key in city.keys.values() for value in row.values())


def test_requests_above_the_rate_are_answered_with_when_to_come_back(city: City, settings: Settings) -> None:
    slow = create_app(settings.model_copy(update={"rate_limit": "3/minute"}))
    client = TestClient(slow, headers={"Authorization": f"Bearer {city.keys['viewer']}"})
    answers = [client.get("/v1/areas") for _ in range(4)]
    assert [a.status_code for a in answers] == [200, 200, 200, 429]
    assert 1 <= int(answers[-1].headers["retry-after"]) <= 60
    other = TestClient(slow, headers={"Authorization": f"Bearer {city.keys['admin']}"})
    assert other.get("/v1/areas").status_code == 200
    slow.state.store.close()


def test_a_request_keeps_its_id_or_gets_one(city: City) -> None:
    client = city.as_("viewer")
    assert client.get("/v1/areas", headers={"X-Request-ID": "night-7"}).headers["x-request-id"] == "night-7"
    odd = client.get("/v1/areas/999", headers={"X-Request-ID": "a b\t<script>"})
    assert odd.json()["request_id"] == odd.headers["x-request-id"] != "a b\t<script>"


@pytest.mark.parametrize(
    ("method", "path", "sent", "status", "says"),
    [
        (
            "POST",
            "/v1/areas",
            {"content": b"{", "headers": {"Content-Type": "application/json"}},
            422,
            "JSON",
        ),
        ("POST", "/v1/areas", {"content": b"{}"}, 415, "send application/json"),
        ("POST", "/v1/areas", {"data": {"name": "a"}}, 415, "x-www-form-urlencoded: send application/json"),
        ("POST", "/v1/areas", {"json": {"name": "a", "colour": "red"}}, 422, "colour is no field"),
        ("POST", "/v1/areas", {"json": {}}, 422, "body.name: Field required"),
        ("POST", "/v1/areas", {"json": {"name": " a"}}, 422, "body.name"),
        ("POST", "/v1/areas", {"json": {"name": "x" * 201}}, 422, "body.name"),
        ("POST", "/v1/areas", {"json": {"name": "a\u0000b"}}, 422, "body.name"),
        ("POST", "/v1/areas", {"json": {"name": "a", "parent_id": 999}}, 404, "no area 999"),
        ("POST", "/v1/areas", {"json": {"name": "a", "parent_id": 2**70}}, 422, "parent_id"),
        ("GET", "/v1/areas/0", {}, 422, "area_id"),
        ("GET", "/v1/areas/99999999999999999999", {}, 422, "area_id"),
        ("GET", "/v1/areas/x", {}, 422, "area_id"),
        ("GET", "/v1/areas?colour=red", {}, 422, "colour is no parameter"),
        ("GET", "/v1/areas?limit=501", {}, 422, "limit"),
        ("GET", "/v1/areas?cursor=abc", {}, 422, "cursor"),
        ("DELETE", "/v1/areas/1", {}, 405, "Method Not Allowed"),
        ("GET", "/v1/nonsense", {}, 404, "Not Found"),
        ("POST", "/v1/areas", {"json": {"name": "x" * (2 << 20)}}, 413, "above 1024 KiB"),
    ],
)
def test_bad_requests_are_told_what_is_wrong(
    city: City, method: str, path: str, sent: dict[str, object], status: int, says: str
) -> None:
    answer = city.as_("everyone").request(method, path, **sent)  # type: ignore[arg-type]
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    told = answer.json()
    assert told["status"] == status
    assert says in told["detail"]
    assert told["request_id"] == answer.headers["x-request-id"]


def test_without_a_database_the_answer_is_503_and_afterwards_all_is_well(city: City) -> None:
    client = city.as_("everyone")
    with city.store.writing() as session:
        session.execute(text("ALTER TABLE api_keys RENAME TO away"))
    assert client.get("/v1/areas").status_code in (500, 503)
    assert client.get("/healthz").status_code == 200
    with city.store.writing() as session:
        session.execute(text("ALTER TABLE away RENAME TO api_keys"))
    assert client.get("/v1/areas").status_code == 200


def test_health_readiness_and_metrics_need_no_key(city: City) -> None:
    client = TestClient(city.app)
    assert client.get("/healthz").json()["status"] == "ok"
    assert client.get("/readyz").status_code == 200
    shown = client.get("/metrics").text
    for name in (
        "greensplit_requests_total",
        "greensplit_request_seconds_bucket",
        "greensplit_store_up 1.0",
        'greensplit_plans{state="approved"} 0.0',
        "greensplit_events_overdue 0.0",
    ):
        assert name in shown
    assert not any(key in shown for key in city.keys.values())


def test_an_old_database_is_not_ready(city: City) -> None:
    with city.store.writing() as session:
        session.execute(text("UPDATE alembic_version SET version_num = '0000'"))
    answer = TestClient(city.app).get("/readyz")
    assert answer.status_code == 503
