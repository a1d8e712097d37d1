"""Networks over HTTP: uploads taken and refused, intersections handed from area to area."""

from __future__ import annotations

import gzip
import hashlib

import pytest
from sqlalchemy import func, select

from signals.settings import Settings
from signals.store.tables import Job, RoadNetwork, Upload
from tests.api.conftest import City

ZIP = {"Content-Type": "application/zip"}


def test_an_upload_is_kept_and_read_by_a_job(city: City) -> None:
    client = city.as_("engineer")
    query = {"name": "Main Street", "area_id": city.north, "timezone": "Europe/Vienna"}
    made = client.post("/v1/networks", params=query, content=b"PK...", headers=ZIP)
    assert made.status_code == 202, made.text
    network = made.json()
    assert (network["state"], network["facts"]) == ("reading", {})
    assert network["upload_sha256"] == hashlib.sha256(b"PK...").hexdigest()
    job = client.get(f"/v1/jobs/{network['job_id']}").json()
    assert (job["kind"], job["state"], job["subject"]) == (
        "read-network",
        "queued",
        f"networks/{network['id']}",
    )
    listed = client.get("/v1/networks", params={"name": "Main Street"}).json()["items"]
    assert [n["id"] for n in listed] == [network["id"]]
    with city.store.reading() as session:
        assert session.scalars(select(Upload.content)).all() == [b"PK..."]


def test_a_packed_upload_is_the_same_upload(city: City) -> None:
    client = city.as_("engineer")
    query = {"name": "a", "area_id": city.north}
    packed = client.post(
        "/v1/networks",
        params=query,
        content=gzip.compress(b"<net/>"),
        headers={"Content-Type": "application/xml", "Content-Encoding": "gzip"},
    )
    assert packed.status_code == 202, packed.text
    assert packed.json()["upload_sha256"] == hashlib.sha256(b"<net/>").hexdigest()


def test_the_same_upload_with_one_key_is_taken_once(city: City) -> None:
    client = city.as_("engineer")
    query = {"name": "a", "area_id": city.north}
    sent = [
        client.post("/v1/networks", params=query, content=b"PK", headers={**ZIP, "Idempotency-Key": "k"})
        for _ in range(2)
    ]
    assert [s.status_code for s in sent] == [202, 202]
    assert sent[0].json()["id"] == sent[1].json()["id"]
    with city.store.reading() as session:
        assert session.scalar(select(func.count()).select_from(Job)) == 1


@pytest.mark.parametrize(
    ("query", "content", "headers", "status", "says"),
    [
        ({}, b"PK", ZIP, 422, "query.name"),
        ({"name": "a", "area_id": 999}, b"PK", ZIP, 404, "no area 999"),
        ({"name": "a", "timezone": "Mars/Base"}, b"PK", ZIP, 409, "no timezone 'Mars/Base'"),
        ({"name": "a"}, b"", ZIP, 422, "empty"),
        ({"name": "a"}, b"PK", {"Content-Type": "text/plain"}, 415, "application/zip"),
        ({"name": "a"}, b"PK", {}, 415, "no Content-Type"),
        ({"name": "a"}, b"PK", {**ZIP, "Content-Encoding": "gzip"}, 422, "gzip"),
        (
            {"name": "a"},
            gzip.compress(b"x" * 99, mtime=0)[:-9],
            {**ZIP, "Content-Encoding": "gzip"},
            422,
            "middle",
        ),
        ({"name": "a"}, b"PK", {**ZIP, "Content-Encoding": "br"}, 422, "content-encoding"),
    ],
)
def test_a_bad_upload_leaves_no_trace(
    city: City,
    settings: Settings,
    query: dict[str, str],
    content: bytes,
    headers: dict[str, str],
    status: int,
    says: str,
) -> None:
    answer = city.as_("everyone").post("/v1/networks", params=query, content=content, headers=headers)
    assert (answer.status_code, says in answer.json()["detail"]) == (status, True), answer.text
    with city.store.reading() as session:
        for table in (RoadNetwork, Upload, Job):
            assert session.scalar(select(func.count()).select_from(table)) == 0
    assert not list((settings.data / "uploads").glob("*"))


def test_a_bomb_is_refused_before_it_is_unpacked(city: City, settings: Settings) -> None:
    small = settings.model_copy(update={"upload_limit_mb": 1})
    city.app.state.settings = small
    bomb = gzip.compress(b"\0" * (64 << 20))
    assert len(bomb) < 1 << 20
    answer = city.as_("everyone").post(
        "/v1/networks", params={"name": "a"}, content=bomb, headers={**ZIP, "Content-Encoding": "gzip"}
    )
    assert answer.status_code == 413
    large = city.as_("everyone").post(
        "/v1/networks", params={"name": "a"}, content=b"x" * (2 << 20), headers=ZIP
    )
    assert large.status_code == 413
    assert not list((settings.data / "uploads").glob("*"))


def test_a_full_queue_is_answered_with_when_to_come_back(city: City, settings: Settings) -> None:
    city.app.state.settings = settings.model_copy(update={"queue_limit": 2})
    client = city.as_("engineer")
    answers = [
        client.post(
            "/v1/networks", params={"name": f"n{k}", "area_id": city.north}, content=b"PK", headers=ZIP
        )
        for k in range(3)
    ]
    assert [a.status_code for a in answers] == [202, 202, 429]
    assert int(answers[-1].headers["retry-after"]) >= 1
    assert answers[-1].json()["type"] == "urn:greensplit:problem:queue-full"
    with city.store.reading() as session:
        assert session.scalar(select(func.count()).select_from(RoadNetwork)) == 2


def test_intersections_go_from_area_to_area_by_whom_both_allow(city: City) -> None:
    network = city.network()
    client = city.as_("engineer")
    first = client.get(f"/v1/networks/{network}/intersections").json()["items"][0]
    where = f"/v1/intersections/{first['id']}"
    moved = client.patch(
        where, json={"area_id": city.harbour, "name": "Main and 1st"}, headers={"If-Match": '"1"'}
    )
    assert moved.status_code == 200, moved.text
    assert (moved.json()["area_id"], moved.json()["version"]) == (city.harbour, 2)
    foreign = client.patch(where, json={"area_id": city.south}, headers={"If-Match": '"2"'})
    assert foreign.status_code == 404
    assert client.get(where).json()["area_id"] == city.harbour
    city.as_("everyone").patch(where, json={"area_id": city.south}, headers={"If-Match": '"2"'})
    assert client.get(where).status_code == 404
    assert len(client.get(f"/v1/networks/{network}/intersections").json()["items"]) == 1


def test_a_name_is_taken_once_in_an_area(city: City) -> None:
    city.network(name="a")
    second = city.network(name="b")
    client = city.as_("engineer")
    answer = client.patch(f"/v1/networks/{second}", json={"name": "a"}, headers={"If-Match": '"1"'})
    assert answer.status_code == 409
    assert "another network" in answer.json()["detail"]
    assert client.get(f"/v1/networks/{second}").json()["name"] == "b"
