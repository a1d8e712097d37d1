"""Who may do what where: every operation of the API's document, by every role, near and far.

The tables say it as an agency would, without a look at how the service decides. An operation that none of them
names fails the first test.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from httpx2 import Response
from starlette.testclient import TestClient

from api.app import create_app
from signals.settings import Settings
from tests.api.conftest import City
from tests.api.fuzzing import furnish
from tests.conftest import BACKENDS, Databases

ROLES = ("viewer", "engineer", "approver", "operator", "admin")
PLACES = ("north", "harbour", "city", "south")
"""Where the roles are held, below, above, and beside it."""

OPEN = {"healthz", "readyz", "metrics"}
"""Tells nothing about the city: needs no key."""

WHOEVER = {
    "read_me", "list_areas", "list_networks", "list_forecasts", "list_early_warnings", "list_plan_requests",
    "list_plans", "list_comparisons", "list_approvals", "list_jobs", "list_events", "list_deployments",
}  # fmt: skip
"""Takes a key and no role: what isn't the caller's isn't in it."""

SOMEWHERE = {"list_audit": {"admin"}}
"""Takes a role in any area, and shows what was done there."""

WHOLE_CITY = {"verify_audit": {"admin"}}
"""Takes a role in the whole city."""

READING = (
    "read_area", "read_duties", "read_network", "list_intersections", "list_corridors", "read_intersection",
    "list_streams", "read_counts", "list_batches", "read_quality", "read_forecast", "list_forecast_series",
    "read_early_warning", "read_plan_request", "read_plan", "read_document", "read_comparison",
    "list_plan_approvals", "read_job", "watch_job", "read_event",
    "read_deployment",
)  # fmt: skip
THERE = {
    **{operation: set(ROLES) for operation in READING},
    "create_area": {"admin"},
    "change_area": {"admin"},
    "set_duties": {"admin"},
    "create_network": {"engineer", "admin"},
    "change_network": {"engineer", "admin"},
    "change_intersection": {"engineer", "admin"},
    "receive_counts": {"engineer", "operator"},
    "push_counts": {"engineer", "operator"},
    "create_forecast": {"engineer", "operator"},
    "create_screening": {"engineer", "operator"},
    "create_plan_request": {"engineer"},
    "create_comparison": {"engineer", "approver"},
    "create_approval": {"approver"},
    "cancel_job": {"engineer", "operator", "admin"},
    "report_event": {"engineer", "approver", "operator", "admin"},
    "respond_to_event": {"engineer", "operator"},
    "close_event": {"engineer", "operator"},
    "reassign_event": {"engineer", "operator"},
    "list_controllers": {"engineer", "operator", "admin"},
    "read_controller": {"engineer", "operator", "admin"},
    "create_controller": {"operator", "admin"},
    "change_controller": {"operator", "admin"},
    "create_deployment": {"operator"},
    "roll_back_deployment": {"engineer", "approver", "operator"},
    "create_emergency_plan": {"engineer", "operator"},
}
"""The roles that it takes in the area of what it is about, or above."""

Found = dict[str, Any]
STALE = {"headers": {"If-Match": '"999"'}}
CSV = b"time,series,count\n2026-03-02T07:00:00Z,north-through,42\n2026-03-02T07:15:00Z,north-through,42\n"
_number = count(1)

ASKED: dict[str, tuple[int, Callable[[Found], dict[str, Any]]]] = {
    # what is sent, and the answer where the role allows it: what would change things for the others is refused
    # after the role was looked at, as stale (412) or for the state that it is in (409)
    "create_area": (201, lambda f: {"json": {"name": f"part {next(_number)}", "parent_id": f["area_id"]}}),
    "change_area": (412, lambda f: {"json": {"name": "other"}, **STALE}),
    "set_duties": (412, lambda f: {"json": {"duties": []}, **STALE}),
    "create_network": (
        202,
        lambda f: {
            "params": {"name": f"net {next(_number)}", "area_id": f["area_id"]},
            "content": b"PK",
            "headers": {"Content-Type": "application/zip"},
        },
    ),
    "change_network": (412, lambda f: {"json": {"name": "other"}, **STALE}),
    "change_intersection": (412, lambda f: {"json": {"name": "other"}, **STALE}),
    "receive_counts": (201, lambda f: {"content": CSV, "headers": {"Content-Type": "text/csv"}}),
    "push_counts": (
        201,
        lambda f: {"json": {"time": "2026-03-02T07:00:00Z", "counts": {"north-through": 42}}},
    ),
    "create_forecast": (202, lambda f: {"json": {}}),
    "create_screening": (202, lambda f: {"json": {}}),
    "create_plan_request": (202, lambda f: {"json": {"network_id": f["network_id"]}}),
    "create_comparison": (202, lambda f: {"json": {"plan": f["plan_hash"]}}),
    "create_approval": (409, lambda f: {"json": {"decision": "reject"}}),
    "cancel_job": (409, lambda f: {}),
    "report_event": (
        201,
        lambda f: {"json": {"area_id": f["area_id"], "kind": "other", "title": "Noise"}},
    ),
    "respond_to_event": (409, lambda f: {"json": {"text": "On site"}, **_seen(f)}),
    "close_event": (409, lambda f: {"json": {"text": "Done"}, **_seen(f)}),
    "reassign_event": (409, lambda f: {"json": {"person": "engineer"}, **_seen(f)}),
    "create_controller": (
        409,
        lambda f: {"json": {"intersection_id": f["intersection_id"], "host": "10.0.0.1"}},
    ),
    "change_controller": (412, lambda f: {"json": {"host": "10.0.0.2"}, **STALE}),
    "create_deployment": (409, lambda f: {"json": {"approval_id": f["approval_id"]}}),
    "roll_back_deployment": (409, lambda f: {"json": {}}),
    "create_emergency_plan": (
        202,
        lambda f: {"json": {"route": ["a", "b"], "drive": {"kind": "departure", "departs_s": 60}}},
    ),
    "read_counts": (
        200,
        lambda f: {
            "params": {
                "stream_id": f["stream_id"],
                "from": "2026-03-02T07:00:00Z",
                "to": "2026-03-02T07:00:00Z",
            }
        },
    ),
}


def _seen(found: Found) -> dict[str, Any]:
    return {"headers": {"If-Match": f'"{found["event_version"]}"'}}


def _operations() -> dict[str, tuple[str, str]]:
    document = create_app(Settings(data=Path("unused"))).openapi()
    return {
        operation["operationId"]: (method.upper(), path)
        for path, operations in document["paths"].items()
        for method, operation in operations.items()
    }


OPERATIONS = _operations()


@dataclass
class Town:
    """A city with one of everything in each place, and a client."""

    city: City
    client: TestClient
    found: dict[str, Found]

    def ask(self, operation: str, who: str | None, found: Found) -> Response:
        """What somebody is answered who asks for an operation on what was found in a place."""
        method, path = OPERATIONS[operation]
        sent = ASKED[operation][1](found) if operation in ASKED else {}
        headers = dict(sent.pop("headers", {}))
        if who is not None:
            headers["Authorization"] = f"Bearer {self.city.keys[who]}"
        return self.client.request(method, path.format_map(found), headers=headers, **sent)


@pytest.fixture(scope="module", params=BACKENDS)
def town(
    request: pytest.FixtureRequest, databases: Databases, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Town]:
    """One for all tests here: nothing that they are allowed to do changes what others are."""
    store = databases.fresh(request.param)
    url = store.url.render_as_string(hide_password=False)
    folder = tmp_path_factory.mktemp("town")
    settings = Settings(data=folder, db=url, rate_limit="100000/second", queue_limit=100_000)  # type: ignore[arg-type]
    city = City(store, create_app(settings))
    areas = {"north": city.north, "harbour": city.harbour, "city": 1, "south": city.south}
    found = {place: furnish(city, area) for place, area in areas.items()}
    found["nowhere"] = {name: _absent(value) for name, value in found["north"].items()}
    with TestClient(city.app, raise_server_exceptions=False) as client:
        yield Town(city, client, found)
    store.close()


def _absent(value: Any) -> Any:
    return 999_999 if isinstance(value, int) else "f" * 64 if len(value) == 64 else value


def test_every_operation_has_its_roles() -> None:
    tables = (OPEN, WHOEVER, set(SOMEWHERE), set(WHOLE_CITY), set(THERE))
    named = [operation for table in tables for operation in table]
    assert sorted(named) == sorted(OPERATIONS)
    assert set(ASKED) <= set(OPERATIONS)
    changing = {operation for operation, (method, _) in OPERATIONS.items() if method != "GET"}
    assert changing <= set(ASKED)


@pytest.mark.parametrize("operation", sorted(THERE))
def test_a_role_allows_it_there_and_below_and_nowhere_else(town: Town, operation: str) -> None:
    allowed, _ = ASKED.get(operation, (200, None))
    wrong = []
    for place in PLACES:
        for who in (*ROLES, "nobody"):
            if who == "nobody" or place in ("city", "south"):
                expected = 404
            else:
                expected = allowed if who in THERE[operation] else 403
            answer = town.ask(operation, who, town.found[place])
            if answer.status_code != expected:
                wrong.append(f"{who} in {place}: {answer.status_code}, not {expected}: {answer.text[:200]}")
    assert not wrong, "\n".join(wrong)
    for place in PLACES:
        assert town.ask(operation, "everyone", town.found[place]).status_code == allowed


@pytest.mark.parametrize("operation", sorted(THERE))
def test_what_is_foreign_looks_as_if_it_werent_there(town: Town, operation: str) -> None:
    for who in (*ROLES, "nobody"):
        foreign = town.ask(operation, who, town.found["south"])
        absent = town.ask(operation, who, town.found["nowhere"])
        assert told(foreign) == told(absent), who
        assert foreign.status_code == 404


@pytest.mark.parametrize("operation", sorted(set(OPERATIONS) - OPEN))
def test_without_a_key_nobody_gets_anything(town: Town, operation: str) -> None:
    answers = [told(town.ask(operation, None, town.found[place])) for place in ("north", "nowhere")]
    assert answers[0] == answers[1]
    assert answers[0]["status"] == 401


@pytest.mark.parametrize("operation", sorted(OPEN))
def test_what_is_open_needs_no_key(town: Town, operation: str) -> None:
    assert town.ask(operation, None, town.found["north"]).status_code == 200


@pytest.mark.parametrize("operation", sorted(WHOEVER))
def test_lists_hold_what_is_the_callers(town: Town, operation: str) -> None:
    if operation == "read_me":
        for who in (*ROLES, "nobody", "everyone"):
            assert town.ask(operation, who, {}).json()["name"] == who
        return
    every = listed(town, operation, "everyone")
    mine = [item for item in every if place_of(town, operation, item) in ("north", "harbour", "below")]
    assert 1 < len(mine) < len(every)
    for who in ROLES:
        assert listed(town, operation, who) == mine
    assert listed(town, operation, "nobody") == []


def test_the_audit_is_for_admins_and_its_chain_for_those_of_the_whole_city(town: Town) -> None:
    for who in (*ROLES, "nobody"):
        expected = 200 if who in SOMEWHERE["list_audit"] else 403
        assert town.ask("list_audit", who, {}).status_code == expected
        assert town.ask("verify_audit", who, {}).status_code == 403
    places = {place_of(town, "list_audit", item) for item in listed(town, "list_audit", "admin")}
    assert places <= {"north", "harbour", "below"}
    assert "admin" in WHOLE_CITY["verify_audit"]
    assert town.ask("verify_audit", "everyone", {}).status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "sent"),
    [
        (
            "PATCH",
            "/v1/intersections/{intersection_id}",
            lambda f: {"json": {"area_id": f["area_id"]}, "headers": {"If-Match": '"1"'}},
        ),
        (
            "POST",
            "/v1/plan-requests",
            lambda f: {"json": {**_of_north(f), "scope": {"kind": "area", "area_id": f["area_id"]}}},
        ),
        (
            "POST",
            "/v1/plan-requests",
            lambda f: {
                "json": {
                    **_of_north(f),
                    "scope": {"kind": "intersections", "intersections": [f["intersection_id"]]},
                }
            },
        ),
        (
            "POST",
            "/v1/plan-requests",
            lambda f: {
                "json": {**_of_north(f), "scope": {"kind": "corridor", "corridor_id": f["network_id"]}}
            },
        ),
        ("POST", "/v1/networks/{network_id}/forecasts", lambda f: {"json": {"streams": [f["stream_id"]]}}),
        (
            "GET",
            "/v1/networks/{network_id}/counts",
            lambda f: {
                "params": {
                    "stream_id": f["stream_id"],
                    "from": "2026-03-02T07:00:00Z",
                    "to": "2026-03-02T07:00:00Z",
                }
            },
        ),
        (
            "POST",
            "/v1/comparisons",
            lambda f: {"json": {"plan": f["north"]["plan_hash"], "against": f["plan_hash"]}},
        ),
        (
            "POST",
            "/v1/events",
            lambda f: {"json": {"intersection_id": f["intersection_id"], "kind": "other", "title": "Noise"}},
        ),
        ("GET", "/v1/events", lambda f: {"params": {"area_id": f["area_id"]}}),
    ],
)
def test_what_is_foreign_cant_be_told_by_naming_it_in_a_request(
    town: Town, method: str, path: str, sent: Callable[[Found], dict[str, Any]]
) -> None:
    answers = []
    for place in ("south", "city", "nowhere"):
        asked = sent({**town.found[place], "north": town.found["north"]})
        headers = {**asked.pop("headers", {}), "Authorization": f"Bearer {town.city.keys['engineer']}"}
        where = path.format_map(town.found["north"])
        answers.append(town.client.request(method, where, headers=headers, **asked))
    assert [answer.status_code for answer in answers] == [404, 404, 404]
    assert told(answers[0]) == told(answers[1]) == told(answers[2])


def _of_north(found: Found) -> dict[str, Any]:
    return {"network_id": found["north"]["network_id"]}


def told(answer: Response) -> dict[str, Any]:
    """What an answer tells, without the numbers that the question held and those of the request."""
    shown: dict[str, Any] = answer.json()
    del shown["request_id"]
    shown["detail"] = re.sub(r"\b([0-9a-f]{64}|[0-9]+)\b", "#", shown["detail"])
    return shown | {"headers": sorted(answer.headers)}


def listed(town: Town, operation: str, who: str) -> list[dict[str, Any]]:
    """All that a list holds for somebody."""
    items: list[dict[str, Any]] = []
    cursor: dict[str, str] = {}
    while True:
        headers = {"Authorization": f"Bearer {town.city.keys[who]}"}
        answer = town.client.get(OPERATIONS[operation][1], params={"limit": 500} | cursor, headers=headers)
        assert answer.status_code == 200, answer.text
        page = answer.json()
        items += page["items"]
        if page["next_cursor"] is None:
            return items
        cursor = {"cursor": page["next_cursor"]}


def place_of(town: Town, operation: str, item: dict[str, Any]) -> str:
    """Where something listed is; `below` where it is in an area that was made inside north or the harbour."""
    areas = {found["area_id"]: place for place, found in town.found.items()}
    if operation == "list_areas":
        return areas.get(item["id"]) or ("below" if f"/{town.city.north}/" in item["path"] else "elsewhere")
    if "area_id" in item:
        return areas.get(item["area_id"]) or below(town, item["area_id"])
    return next(p for p, found in town.found.items() if found["network_id"] == item["network_id"])


def below(town: Town, area_id: int | None) -> str:
    """Whether an area that a test has made lies in north."""
    paths = {area["id"]: area["path"] for area in listed(town, "list_areas", "everyone")}
    return "below" if f"/{town.city.north}/" in paths.get(area_id, "") else "elsewhere"
