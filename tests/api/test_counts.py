"""Counts over HTTP: delivered, pushed and read back; and a body that doesn't arrive whole leaves no trace."""

from __future__ import annotations

import asyncio
import gzip
import json
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sqlalchemy import func, select
from starlette.types import Message

from api.app import create_app
from signals.formats.counts import write_counts
from signals.model.counts import CountTable
from signals.settings import Settings
from signals.store.tables import AuditEntry, CountBatch, CountDay, Job, RoadNetwork, Screening, Stream, Upload
from tests.api.conftest import City

CSV, PARQUET, NDJSON = "text/csv", "application/vnd.apache.parquet", "application/x-ndjson"
CLOCK = "Europe/Amsterdam"
LONG = "time,series,count\n2026-03-02T07:15,a,1\n2026-03-02T07:30,a,2\n2026-03-02T07:30,b,0.5\n"


def network_of(city: City, timezone: str = CLOCK) -> int:
    """A network in the north, without files."""
    now = datetime(2026, 3, 1, tzinfo=UTC)
    with city.store.writing() as session:
        if session.get(Upload, "0" * 64) is None:
            session.add(Upload(sha256="0" * 64, content=b"", created_at=now))
            session.flush()
        made = RoadNetwork(
            area_id=city.north,
            name=f"network {timezone}",
            timezone=timezone,
            state="ready",
            upload_sha256="0" * 64,
            facts={},
            created_by=city.person_id("engineer"),
            created_at=now,
        )
        session.add(made)
        session.flush()
        return made.id


def deliver(
    city: City, network: int, content: str | bytes, kind: str = CSV, who: str = "engineer", **query: Any
) -> Any:
    """The answer to a delivery."""
    headers = {"Content-Type": kind} | query.pop("headers", {})
    path = f"/v1/networks/{network}/counts"
    return city.as_(who).post(path, content=content, headers=headers, params=query)


def traces(city: City) -> tuple[int, ...]:
    """Streams, days, deliveries and entries of them in the audit."""
    with city.store.reading() as session:
        rows = [
            session.scalar(select(func.count()).select_from(kind)) for kind in (Stream, CountDay, CountBatch)
        ]
        received = select(func.count()).where(AuditEntry.action == "counts.receive")
        return (*(n or 0 for n in rows), session.scalar(received) or 0)


def left_over(settings: Settings) -> list[Path]:
    """Files that are still in the folder of bodies."""
    folder = settings.data / "uploads"
    return list(folder.iterdir()) if folder.exists() else []


@pytest.mark.parametrize("packed", [False, True])
def test_a_file_of_counts_is_taken_and_read_back(city: City, settings: Settings, packed: bool) -> None:
    network = network_of(city)
    content = gzip.compress(LONG.encode(), mtime=0) if packed else LONG.encode()
    got = deliver(city, network, content, headers={"Content-Encoding": "gzip"} if packed else {})
    assert got.status_code == 201, got.text
    answer = got.json()
    assert {k: answer[k] for k in ("streams", "counts", "new", "corrected", "kept", "unchanged", "late")} == {
        "streams": 2, "counts": 3, "new": 3, "corrected": 0, "kept": 0, "unchanged": 0, "late": 0,
    }  # fmt: skip
    assert (answer["first_at"], answer["last_at"]) == ("2026-03-02T06:15:00Z", "2026-03-02T06:30:00Z")
    client = city.as_("viewer")
    streams = client.get(f"/v1/networks/{network}/streams").json()["items"]
    assert [(s["name"], s["step_min"], s["days"], s["first_day"]) for s in streams] == [
        ("a", 15, 1, "2026-03-02"),
        ("b", 15, 1, "2026-03-02"),
    ]
    query = {"stream_id": streams[1]["id"], "from": "2026-03-02T07:15:00+01:00", "to": "2026-03-02T07:30:00"}
    shown = client.get(f"/v1/networks/{network}/counts", params=query).json()
    assert (shown["name"], shown["counts"], shown["first_at"]) == ("b", [None, 0.5], "2026-03-02T06:15:00Z")
    assert left_over(settings) == []


def test_parquet_and_lines_of_json_are_taken_too(city: City, tmp_path: Path) -> None:
    network = network_of(city)
    values = np.arange(8, dtype=np.float64).reshape(4, 2)
    sent = CountTable(("a", "b"), np.datetime64("2026-03-02T06:00"), 15, values, timezone=CLOCK)
    write_counts(sent, tmp_path / "counts.parquet")
    assert deliver(city, network, (tmp_path / "counts.parquet").read_bytes(), PARQUET).json()["new"] == 8
    lines = "".join(
        json.dumps({"series": name, "time": str(time) + "Z", "count": int(count)}) + "\n"
        for time, row in zip(sent.times, values, strict=True)
        for name, count in zip(sent.names, row, strict=True)
    )
    assert deliver(city, network, lines, NDJSON).json()["unchanged"] == 8


def test_a_push_is_one_interval_and_can_be_sent_again(city: City) -> None:
    network = network_of(city)
    client = city.as_("operator")
    path = f"/v1/networks/{network}/counts/pushes"
    push = {"time": "2026-03-02T07:15:00+01:00", "counts": {"a": 17, "b": 3.5}}
    first = client.post(path, json=push)
    assert (first.status_code, first.json()["new"]) == (201, 2)
    assert client.post(path, json=push).json()["unchanged"] == 2
    other = push | {"counts": {"a": 18}}
    refused = client.post(path, json=other)
    assert refused.status_code == 409
    assert "17 vehicles at 2026-03-02T07:15+01:00, 18 were sent" in refused.json()["detail"]
    assert client.post(path, json=other | {"existing": "keep"}).json()["kept"] == 1
    assert client.post(path, json=other | {"existing": "replace"}).json()["corrected"] == 1
    late = push | {"time": "2026-03-02T07:00:00+01:00"}
    assert client.post(path, json=late).json()["late"] == 2


def test_a_push_with_one_key_is_done_once(city: City) -> None:
    network = network_of(city)
    client = city.as_("operator")
    path = f"/v1/networks/{network}/counts/pushes"
    push = {"time": "2026-03-02T07:15:00+01:00", "counts": {"a": 17}}
    one, two = (client.post(path, json=push, headers={"Idempotency-Key": "k"}) for _ in range(2))
    assert one.json() == two.json()
    assert traces(city) == (1, 1, 1, 1)


@pytest.mark.parametrize(
    ("push", "status", "where"),
    [
        ({"counts": {"a": 1}, "lane": 2}, 422, "lane"),
        ({"counts": {"a": -1}}, 422, "body.counts.a"),
        ({"counts": {}}, 422, "body.counts"),
        ({"counts": {"a": "many"}}, 422, "body.counts.a"),
        ({"counts": {"a": 1}, "step_min": 7}, 422, "no whole number of intervals of 7 min"),
        ({"counts": {"a": 1}, "time": "2026-03-02T07:15:30+01:00"}, 422, "whole minute"),
        ({"counts": {"a": 1}, "time": 1772432100}, 422, "whole minute"),
        ({"counts": {"a": 1}, "time": "2126-03-02T07:15:00+01:00"}, 409, "more than a day ahead"),
        ({"counts": {"a\n": 1}}, 409, "can't name a stream"),
    ],
)
def test_a_push_that_makes_no_sense_is_refused(
    city: City, push: dict[str, Any], status: int, where: str
) -> None:
    network = network_of(city)
    body = {"time": "2026-03-02T07:15:00+01:00"} | push
    got = city.as_("operator").post(f"/v1/networks/{network}/counts/pushes", json=body)
    assert got.status_code == status
    assert where in got.text
    assert traces(city) == (0, 0, 0, 0)


@pytest.mark.parametrize(
    ("who", "status"), [("viewer", 403), ("approver", 403), ("stranger", 404), ("operator", 201)]
)
def test_sending_takes_a_role_where_the_network_is(city: City, who: str, status: int) -> None:
    network = network_of(city)
    assert deliver(city, network, LONG, who=who).status_code == status
    path = f"/v1/networks/{network}/counts/pushes"
    push = {"time": "2026-03-02T07:45:00+01:00", "counts": {"a": 17}}
    assert city.as_(who).post(path, json=push).status_code == status


READ = "counts?stream_id=1&from=2026-03-02T00:00&to=2026-03-02T01:00"


@pytest.mark.parametrize("what", ["streams", "counts/batches", "quality", READ])
def test_strangers_see_nothing(city: City, what: str) -> None:
    network = network_of(city)
    deliver(city, network, LONG)
    assert city.as_("stranger").get(f"/v1/networks/{network}/{what}").status_code == 404


# ------------------------------------------------------------------------------------- what leaves no trace


@pytest.mark.parametrize(
    ("content", "kind", "encoding", "status", "told"),
    [
        (LONG, "text/plain", None, 415, "text/csv"),
        (b"", CSV, None, 422, "empty"),
        (gzip.compress(LONG.encode(), mtime=0)[:-9], CSV, "gzip", 422, "ends in the middle"),
        (b"\x1f\x8b" + b"broken" * 9, CSV, "gzip", 422, "no whole gzip"),
        (gzip.compress(b"0" * (3 << 20), mtime=0), CSV, "gzip", 413, "above 2 MiB"),
        (b"0" * (3 << 20), CSV, None, 413, "above 2"),
        (gzip.compress(LONG.encode(), mtime=0), CSV, None, 422, "Content-Encoding"),
        (LONG + "2026-03-02T07:45,b,x\n", CSV, None, 422, "line 5, column 'count': 'x' is no number"),
        (LONG.replace("count", "count,lane").replace("\n2", ",1\n2"), CSV, None, 422, "lane"),
        (LONG + "2026-03-02T07:45,b,-4\n", CSV, None, 422, "'b' at 2026-03-02T07:45+01:00: -4 vehicles"),
        ('{"series": "a"}\n', NDJSON, None, 422, "line 1: has no 'time'"),
        ("null\n", NDJSON, None, 422, "line 1"),
    ],
)  # fmt: skip
def test_a_body_that_cannot_be_taken_leaves_no_trace(
    city: City,
    settings: Settings,
    content: bytes | str,
    kind: str,
    encoding: str | None,
    status: int,
    told: str,
) -> None:
    network = network_of(city)
    small = create_app(settings.model_copy(update={"upload_limit_mb": 2}))
    city.app = small
    got = deliver(city, network, content, kind, headers={"Content-Encoding": encoding} if encoding else {})
    small.state.store.close()
    assert got.status_code == status, got.text
    assert told in got.json()["detail"]
    assert str(settings.data) not in got.text
    assert traces(city) == (0, 0, 0, 0)
    assert left_over(settings) == []


def test_a_connection_lost_half_way_leaves_no_trace(city: City, settings: Settings) -> None:
    network = network_of(city)
    sent: list[Message] = []
    inbox: list[Message] = [
        {"type": "http.request", "body": LONG.encode(), "more_body": True},
        {"type": "http.disconnect"},
    ]
    seen_on_disk: list[int] = []

    async def receive() -> Message:
        seen_on_disk.append(len(left_over(settings)))
        return inbox.pop(0) if inbox else {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        sent.append(message)

    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "POST", "scheme": "http",
        "path": f"/v1/networks/{network}/counts", "raw_path": b"", "query_string": b"", "root_path": "",
        "headers": [(b"authorization", f"Bearer {city.keys['engineer']}".encode()), (b"content-type", b"text/csv")],
        "client": ("test", 1), "server": ("test", 80), "state": {},
    }  # fmt: skip
    asyncio.run(city.app(scope, receive, send))
    assert max(seen_on_disk) == 1
    assert sent[0]["status"] == 422
    assert traces(city) == (0, 0, 0, 0)
    assert left_over(settings) == []


# ---------------------------------------------------------------------------------------------- lists


def test_streams_and_batches_come_in_pages(city: City) -> None:
    network = network_of(city)
    client = city.as_("operator")
    for k in range(5):
        push = {"time": f"2026-03-02T07:{k * 5:02d}:00Z", "step_min": 5, "counts": {f"s{k}": 1, "t": 2}}
        assert client.post(f"/v1/networks/{network}/counts/pushes", json=push).status_code == 201
    for what, key, wanted in (
        ("streams", "name", ["s0", "t", "s1", "s2", "s3", "s4"]),
        ("counts/batches", "new", [2, 2, 2, 2, 2]),
    ):
        found, cursor = [], None
        while True:
            query = {"limit": 2} | ({"cursor": cursor} if cursor else {})
            page = client.get(f"/v1/networks/{network}/{what}", params=query).json()
            assert len(page["items"]) <= 2
            found += [item[key] for item in page["items"]]
            cursor = page["next_cursor"]
            if cursor is None:
                break
        assert sorted(found) == sorted(wanted)
    batch = client.get(f"/v1/networks/{network}/counts/batches").json()["items"][0]
    assert (batch["person_id"], batch["first_at"]) == (city.person_id("operator"), "2026-03-02T07:00:00Z")
    assert len(batch["sha256"]) == 64


@pytest.mark.parametrize(
    ("query", "status", "told"),
    [
        ({"from": "2026-03-02T00:00:00Z", "to": "2026-04-02T00:01:00Z"}, 409, "up to 31 days"),
        ({"from": "2026-03-02T01:00:00Z", "to": "2026-03-02T00:00:00Z"}, 409, "from before to"),
        ({"from": "2026-03-02T01:00:00Z"}, 422, "to"),
        ({"from": "2026-03-02T01:00:30Z", "to": "2026-03-02T02:00:00Z"}, 422, "whole minute"),
        ({"from": "2026-02-29T01:00:00Z", "to": "2026-03-02T02:00:00Z"}, 422, "whole minute"),
        ({"from": "1772432100", "to": "2026-03-02T02:00:00Z"}, 422, "whole minute"),
        ({"from": "2026-03-29T02:30:00", "to": "2026-03-29T04:00:00"}, 409, "skip"),
    ],
)
def test_a_time_that_cannot_be_read_is_refused(
    city: City, query: dict[str, str], status: int, told: str
) -> None:
    network = network_of(city)
    deliver(city, network, LONG)
    got = city.as_("viewer").get(f"/v1/networks/{network}/counts", params={"stream_id": 1} | query)
    assert got.status_code == status
    assert told in got.json()["detail"]


def test_a_network_on_a_local_clock_shows_times_without_an_offset(city: City) -> None:
    network = network_of(city, "")
    got = deliver(city, network, LONG).json()
    assert (got["first_at"], got["last_at"]) == ("2026-03-02T07:15:00", "2026-03-02T07:30:00")
    client = city.as_("viewer")
    query = {"stream_id": 1, "from": "2026-03-02T07:15", "to": "2026-03-02T07:30"}
    shown = client.get(f"/v1/networks/{network}/counts", params=query).json()
    assert (shown["first_at"], shown["timezone"], shown["counts"]) == ("2026-03-02T07:15:00", "", [1, 2])
    assert (
        client.get(f"/v1/networks/{network}/counts/batches").json()["items"][0]["first_at"] == got["first_at"]
    )


def test_quality_is_the_latest_screening_and_the_coverage_now(city: City) -> None:
    network = network_of(city)
    client = city.as_("viewer")
    empty = client.get(f"/v1/networks/{network}/quality")
    assert empty.status_code == 200, empty.text
    assert (empty.json()["screening"], empty.json()["streams"]) == (None, [])
    rows = "".join(f"2026-03-02T{h:02d}:00Z,a,{h}\n" for h in range(12))
    deliver(city, network, "time,series,count\n" + rows + "2026-03-03T00:00Z,b,1\n", step_min=60)
    now = datetime(2026, 3, 4, tzinfo=UTC)
    with city.store.writing() as session:
        for k in (1, 2):
            job = Job(
                kind="screen", area_id=city.north, subject=f"networks/{network}", arguments={}, state="done",
                created_by=city.person_id("engineer"), created_at=now,
            )  # fmt: skip
            session.add(job)
            session.flush()
            session.add(
                Screening(
                    network_id=network,
                    job_id=job.id,
                    made_at=now,
                    first_at=now - timedelta(days=2),
                    last_at=now,
                    series=[{"name": "a", "number": k}],
                    findings=[],
                )
            )
    got = client.get(f"/v1/networks/{network}/quality", params={"limit": 1}).json()
    assert got["screening"]["series"] == [{"name": "a", "number": 2}]
    assert got["days"] == [str(date(2026, 2, 25) + timedelta(days=k)) for k in range(7)]
    assert got["streams"][0]["name"] == "a"
    assert got["streams"][0]["share"] == [0, 0, 0, 0, 0, 0.5, 0]
    np.testing.assert_allclose(got["share"], [0, 0, 0, 0, 0, 0.25, 1 / 48])
    rest = client.get(
        f"/v1/networks/{network}/quality", params={"limit": 1, "cursor": got["next_cursor"]}
    ).json()
    assert [s["name"] for s in rest["streams"]] == ["b"]
    assert (rest["screening"], rest["next_cursor"]) == (None, None)
    one = client.get(
        f"/v1/networks/{network}/quality", params={"from": "2026-03-02", "to": "2026-03-02"}
    ).json()
    assert one["share"] == [0.25]
    wrong = client.get(f"/v1/networks/{network}/quality", params={"from": "2026-03-02", "to": "2026-05-02"})
    assert wrong.status_code == 409
