"""Areas over HTTP: made, read, changed, listed; and what all operations have in common, shown on them."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from tests.api.conftest import City


def test_an_area_is_made_read_changed_and_listed(city: City) -> None:
    admin = city.as_("admin")
    made = admin.post("/v1/areas", json={"name": "quay", "parent_id": city.north})
    assert made.status_code == 201, made.text
    area = made.json()
    assert area["path"] == f"/1/{city.north}/{area['id']}/"
    assert made.headers["location"] == f"/v1/areas/{area['id']}"
    read = admin.get(made.headers["location"])
    assert read.json() == area
    assert read.headers["etag"] == made.headers["etag"] == '"1"'
    changed = admin.patch(f"/v1/areas/{area['id']}", json={"name": "old quay"}, headers={"If-Match": '"1"'})
    assert changed.json() == {**area, "name": "old quay", "version": 2}
    listed = admin.get("/v1/areas").json()
    assert [a["name"] for a in listed["items"]] == ["north", "harbour", "old quay"]
    assert listed["next_cursor"] is None


def test_pages_are_whole_and_in_order(city: City) -> None:
    client = city.as_("everyone")
    for number in range(7):
        client.post("/v1/areas", json={"name": f"part {number}"})
    names, cursor = [], None
    while True:
        page = client.get("/v1/areas", params={"limit": 3} | ({"cursor": cursor} if cursor else {})).json()
        assert len(page["items"]) <= 3
        names += [area["name"] for area in page["items"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert names == ["city", "north", "harbour", "south", *(f"part {n}" for n in range(7))]


def test_a_stale_change_is_refused_and_a_blind_one_too(city: City) -> None:
    client = city.as_("admin")
    where = f"/v1/areas/{city.north}"
    assert client.patch(where, json={"name": "a"}, headers={"If-Match": '"1"'}).status_code == 200
    stale = client.patch(where, json={"name": "b"}, headers={"If-Match": '"1"'})
    assert stale.status_code == 412
    assert "version 2" in stale.json()["detail"]
    blind = client.patch(where, json={"name": "b"})
    assert blind.status_code == 428
    assert client.get(where).json()["name"] == "a"


def test_what_the_caller_has_isnt_sent_again(city: City) -> None:
    client = city.as_("viewer")
    tag = client.get(f"/v1/areas/{city.north}").headers["etag"]
    again = client.get(f"/v1/areas/{city.north}", headers={"If-None-Match": tag})
    assert (again.status_code, again.content) == (304, b"")


def test_the_same_request_twice_with_one_key_is_done_once(city: City) -> None:
    client = city.as_("admin")
    body = {"name": "quay", "parent_id": city.north}
    first = client.post("/v1/areas", json=body, headers={"Idempotency-Key": "a"})
    again = client.post("/v1/areas", json=body, headers={"Idempotency-Key": "a"})
    assert (first.status_code, again.status_code) == (201, 201)
    assert first.json() == again.json()
    assert again.headers["idempotent-replayed"] == "true"
    assert again.headers["etag"] == first.headers["etag"]
    other = client.post("/v1/areas", json={**body, "name": "pier"}, headers={"Idempotency-Key": "a"})
    assert other.status_code == 409
    assert "another request" in other.json()["detail"]
    # the key of somebody else is another one
    theirs = city.as_("everyone").post("/v1/areas", json={"name": "pier"}, headers={"Idempotency-Key": "a"})
    assert theirs.status_code == 201


def test_a_refused_request_leaves_its_key_unused(city: City) -> None:
    client = city.as_("admin")
    taken = {"name": "harbour", "parent_id": city.north}
    assert client.post("/v1/areas", json=taken, headers={"Idempotency-Key": "a"}).status_code == 409
    free = {"name": "pier", "parent_id": city.north}
    assert client.post("/v1/areas", json=free, headers={"Idempotency-Key": "a"}).status_code == 201


def test_duties_are_set_and_show_who_waits_for_what(city: City) -> None:
    client = city.as_("admin")
    where = f"/v1/areas/{city.north}/duties"
    body = {"duties": [{"person": "operator", "kinds": ["signal-fault"]}, {"person": "engineer"}]}
    done = client.put(where, json=body, headers={"If-Match": '"1"'})
    assert done.status_code == 200, done.text
    shown = client.get(where).json()["duties"]
    assert [(d["person"], d["kinds"], d["open_events"]) for d in shown] == [
        ("operator", ["signal-fault"], 0),
        ("engineer", [], 0),
    ]
    unknown = client.put(where, json={"duties": [{"person": "Zoe"}]}, headers={"If-Match": '"2"'})
    assert unknown.status_code == 404
    assert len(client.get(where).json()["duties"]) == 2


def test_of_two_changes_of_one_version_one_is_stale(city: City) -> None:
    def change(number: int) -> int:
        answer = city.as_("admin").patch(
            f"/v1/areas/{city.north}", json={"name": f"north {number}"}, headers={"If-Match": '"1"'}
        )
        return answer.status_code

    with ThreadPoolExecutor(4) as pool:
        statuses = sorted(pool.map(change, range(4)))
    assert statuses == [200, 412, 412, 412]
    assert city.as_("admin").get(f"/v1/areas/{city.north}").json()["version"] == 2
