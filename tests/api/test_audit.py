"""The audit over HTTP: who reads which entries, what they are found by, and a chain that holds or doesn't."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import text

from signals.store.audit import record, verify
from tests.api.conftest import HERE, City

NOON = datetime(2020, 11, 25, 12, tzinfo=UTC)


@pytest.fixture
def things(city: City) -> dict[str, int]:
    """The numbers of one entry in each area, an hour apart, and of one in none."""
    where = {"city": 1, "north": city.north, "harbour": city.harbour, "south": city.south, "none": None}
    made: dict[str, int] = {}
    with city.store.writing() as session:
        for hours, (name, area_id) in enumerate(where.items()):
            at = NOON + timedelta(hours=hours)
            entry = record(session, HERE, "thing.do", f"things/{name}", area_id=area_id, at=at, figure=7)
            made[name] = entry.id
    return made


def found(city: City, who: str, **filters: Any) -> list[str]:
    """The subjects that somebody finds."""
    answer = city.as_(who).get("/v1/audit", params=filters)
    assert answer.status_code == 200, answer.text
    return [entry["subject"].removeprefix("things/") for entry in answer.json()["items"]]


@pytest.mark.usefixtures("things")
@pytest.mark.parametrize(
    ("who", "sees"),
    [
        ("everyone", ["city", "north", "harbour", "south", "none"]),
        ("admin", ["north", "harbour"]),
        ("stranger", ["south"]),
    ],
)
def test_an_admin_reads_what_was_done_in_the_own_areas(city: City, who: str, sees: list[str]) -> None:
    assert found(city, who, action="thing.do") == sees


@pytest.mark.parametrize("who", ["viewer", "engineer", "approver", "operator", "nobody"])
def test_whoever_is_admin_nowhere_reads_nothing(city: City, who: str) -> None:
    answer = city.as_(who).get("/v1/audit")
    assert (answer.status_code, "role admin" in answer.json()["detail"]) == (403, True)


def test_entries_are_found_by_what_who_and_when(city: City, things: dict[str, int]) -> None:
    made = city.as_("admin").post("/v1/areas", json={"name": "quay", "parent_id": city.north}).json()
    subject = f"areas/{made['id']}"
    assert found(city, "everyone", subject=subject) == [subject]
    assert found(city, "everyone", subject="things/north") == ["north"]
    assert found(city, "everyone", subject="things/north", action="thing.undo") == []
    assert found(city, "everyone", person_id=city.person_id("admin")) == [subject]
    three = {"action": "thing.do", "since": "2020-11-25T13:00:00Z", "until": "2020-11-25T16:00:00+01:00"}
    assert found(city, "everyone", **three) == ["north", "harbour"]
    edges = {"since": "0001-01-01T00:00:00+23:00", "until": "9999-12-31T23:59:59-23:00"}
    assert found(city, "everyone", action="thing.do", **edges) == list(things)


def test_an_entry_shows_all_that_its_hash_covers(city: City, things: dict[str, int]) -> None:
    shown = city.as_("admin").get("/v1/audit", params={"subject": "things/north"}).json()["items"][0]
    assert shown["id"] == things["north"]
    assert (shown["at"], shown["details"]) == ("2020-11-25T13:00:00Z", {"figure": 7})
    assert (shown["person_id"], shown["area_id"], shown["request_id"]) == (None, city.north, "test")
    before = city.as_("everyone").get("/v1/audit", params={"subject": "things/city"}).json()["items"][0]
    assert shown["previous"] == before["hash"]


def test_pages_follow_each_other(city: City, things: dict[str, int]) -> None:
    seen, cursor = [], None
    while True:
        asked = {"action": "thing.do", "limit": 2} | ({"cursor": cursor} if cursor else {})
        page = city.as_("everyone").get("/v1/audit", params=asked).json()
        seen += [entry["id"] for entry in page["items"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert seen == list(things.values())


@pytest.mark.parametrize(
    "wrong",
    [{"subject": ""}, {"subject": "a b"}, {"action": "Thing"}, {"person_id": 0}, {"since": "2020-11-25"}],
)
def test_a_question_that_cannot_be_asked_is_refused(city: City, wrong: dict[str, Any]) -> None:
    assert city.as_("everyone").get("/v1/audit", params=wrong).status_code == 422


@pytest.mark.usefixtures("things")
def test_a_chain_that_holds_is_shown_with_its_head(city: City) -> None:
    answer = city.as_("everyone").get("/v1/audit/verification")
    with city.store.reading() as session:
        entries, head = verify(session)
    assert (answer.status_code, answer.json()) == (200, {"entries": entries, "head": head})


@pytest.mark.parametrize("who", ["admin", "stranger", "viewer", "nobody"])
def test_only_admins_of_the_whole_city_verify(city: City, who: str) -> None:
    answer = city.as_(who).get("/v1/audit/verification")
    assert (answer.status_code, "whole city" in answer.json()["detail"]) == (403, True)


def test_a_broken_chain_is_told_with_the_entry(city: City, things: dict[str, int]) -> None:
    with city.store.writing() as session:
        if city.store.is_sqlite:
            session.execute(text("DROP TRIGGER audit_no_update"))
        else:
            session.execute(text("DROP TRIGGER audit_written_once ON audit"))
        session.execute(text("UPDATE audit SET subject = 'x' WHERE id = :id"), {"id": things["north"]})
    answer = city.as_("everyone").get("/v1/audit/verification")
    assert answer.status_code == 409
    assert answer.json()["type"] == "urn:greensplit:problem:audit-broken"
    assert f"entry {things['north']} was altered" in answer.json()["detail"]
