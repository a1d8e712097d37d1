"""Who the caller is: the person, the roles with their areas, and the key in use."""

from __future__ import annotations

import pytest
from starlette.testclient import TestClient

from signals.store.people import create_key, get_person
from tests.api.conftest import HERE, City


def test_the_caller_learns_who_they_are(city: City) -> None:
    answer = city.as_("engineer").get("/v1/me")
    assert answer.status_code == 200, answer.text
    me = answer.json()
    assert (me["person_id"], me["name"], me["contact"]) == (city.person_id("engineer"), "engineer", "")
    assert me["roles"] == [
        {"role": "engineer", "area_id": city.north, "area": "north", "path": f"/1/{city.north}/"}
    ]
    assert me["key"]["prefix"] == city.keys["engineer"][:12]
    assert city.keys["engineer"] not in answer.text


@pytest.mark.parametrize(("who", "roles"), [("everyone", 5), ("stranger", 5), ("nobody", 0)])
def test_all_roles_are_shown_and_none_of_others(city: City, who: str, roles: int) -> None:
    me = city.as_(who).get("/v1/me").json()
    assert (me["name"], len(me["roles"])) == (who, roles)


def test_the_key_shown_is_the_one_in_use(city: City) -> None:
    with city.store.writing() as session:
        row, key = create_key(session, HERE, get_person(session, "viewer"), days=7, label="tablet")
    me = TestClient(city.app, headers={"Authorization": f"Bearer {key}"}).get("/v1/me").json()
    expires_at = row.expires_at.isoformat().replace("+00:00", "Z")
    assert me["key"] == {"prefix": key[:12], "label": "tablet", "expires_at": expires_at}


def test_without_a_key_there_is_nobody(city: City) -> None:
    assert TestClient(city.app).get("/v1/me").status_code == 401
