"""Events over HTTP: reported, dispatched, responded to, given to others, closed; who may, and what is refused."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import select, update

from signals.events import escalate_overdue
from signals.store.areas import set_duties
from signals.store.audit import verify
from signals.store.tables import Area, AuditEntry, Event, EventEntry, IntersectionRow, RoadNetwork, Upload
from tests.api.conftest import HERE, City

FAULT = {"kind": "signal-fault", "title": "Signal dark"}


def duties(city: City, area_id: int, *names: str) -> None:
    """From now on these people answer for the area."""
    with city.store.writing() as session:
        set_duties(session, HERE, session.get_one(Area, area_id), [(name, []) for name in names])


def reported(city: City, area_id: int, by: str = "operator", **given: Any) -> dict[str, Any]:
    """An event in the area, as it was answered."""
    answer = city.as_(by).post("/v1/events", json={"area_id": area_id, **FAULT, **given})
    assert answer.status_code == 201, answer.text
    shown: dict[str, Any] = answer.json()
    return shown


def step(city: City, by: str, event: dict[str, Any], what: str, **sent: Any) -> Any:
    """One step of an event by somebody who has seen this version of it."""
    body = {"person": sent.pop("person")} if "person" in sent else {"text": sent.pop("text", "on site")}
    headers = {"If-Match": f'"{event["version"]}"', **sent.pop("headers", {})}
    return city.as_(by).post(f"/v1/events/{event['id']}/{what}", json=body, headers=headers)


def intersection(city: City, area_id: int) -> int:
    """A signal in this area."""
    with city.store.writing() as session:
        now = datetime.now(UTC)
        session.add(Upload(sha256="0" * 64, content=b"", created_at=now))
        session.flush()
        network = RoadNetwork(
            area_id=area_id,
            name="grid",
            state="ready",
            upload_sha256="0" * 64,
            facts={},
            created_by=1,
            created_at=now,
        )
        signal = IntersectionRow(
            network=network, area_id=area_id, signal="A0", x_m=0.0, y_m=0.0, facts={}, version=1
        )
        session.add(signal)
        session.flush()
        return signal.id


# ------------------------------------------------------------------------------------------------ courses


def test_an_event_is_reported_responded_to_and_closed(city: City) -> None:
    duties(city, city.north, "engineer")
    answer = city.as_("operator").post(
        "/v1/events",
        json={"area_id": city.harbour, **FAULT, "severity": "high", "text": "All\ndark", "respond_h": 1},
    )
    assert answer.status_code == 201, answer.text
    event = answer.json()
    assert answer.headers["location"] == f"/v1/events/{event['id']}"
    assert answer.headers["etag"] == '"1"'
    assert (event["state"], event["assignee"], event["severity"]) == ("dispatched", "engineer", "high")
    assert city.as_("viewer").get(answer.headers["location"]).json() == event

    responded = step(city, "engineer", event, "responses", text="on the way")
    assert (responded.status_code, responded.headers["etag"]) == (200, '"2"')
    closed = step(city, "engineer", responded.json(), "feedback", text="lamp replaced")
    assert closed.status_code == 200, closed.text
    assert closed.json()["state"] == "closed"
    assert [(s["step"], s["text"]) for s in closed.json()["course"]] == [
        ("reported", ""),
        ("dispatched", "engineer, who answers for area 'north'"),
        ("responded", "on the way"),
        ("closed", "lamp replaced"),
    ]
    with city.store.reading() as session:
        of_event = select(AuditEntry.action).where(AuditEntry.subject == f"events/{event['id']}")
        assert list(session.scalars(of_event.order_by(AuditEntry.id))) == [
            "event.report",
            "event.dispatch",
            "event.respond",
            "event.close",
        ]
        verify(session)


def test_an_event_at_an_intersection_is_in_its_area(city: City) -> None:
    duties(city, city.harbour, "operator")
    where = intersection(city, city.harbour)
    answer = city.as_("engineer").post("/v1/events", json={"intersection_id": where, **FAULT})
    assert answer.status_code == 201, answer.text
    event = answer.json()
    assert (event["intersection_id"], event["area_id"]) == (where, city.harbour)
    assert event["assignee"] == "operator"
    hidden = city.as_("stranger").post("/v1/events", json={"intersection_id": where, **FAULT})
    assert (hidden.status_code, hidden.json()["detail"]) == (404, f"there is no intersection {where}")
    missing = city.as_("everyone").post("/v1/events", json={"intersection_id": 999, **FAULT})
    assert missing.status_code == 404
    assert city.as_("viewer").post("/v1/events", json={"intersection_id": where, **FAULT}).status_code == 403


def test_with_nobody_on_duty_the_answer_says_so_and_it_can_be_assigned(city: City) -> None:
    event = reported(city, city.north)
    assert (event["state"], event["assignee"], event["assignee_id"]) == ("reported", None, None)
    assert "nobody answers for signal-fault in area 'north'" in event["course"][-1]["text"]
    given = step(city, "operator", event, "assignments", person="engineer")
    assert given.status_code == 200, given.text
    assert (given.json()["state"], given.json()["assignee"]) == ("dispatched", "engineer")
    assert given.json()["version"] == 2


@pytest.mark.parametrize(
    ("given", "respond_h", "feedback_h"),
    [
        ({}, 2, 24),
        ({"respond_h": 1}, 1, 24),
        ({"respond_h": 30}, 30, 30),
        ({"feedback_h": 1.5}, 1.5, 1.5),
        ({"feedback_h": 9}, 2, 9),
        ({"respond_h": 0.05, "feedback_h": 2160}, 0.05, 2160),
        ({"respond_h": None, "feedback_h": None}, 2, 24),
    ],
)
def test_deadlines_are_those_given_or_the_agencys(
    city: City, given: dict[str, Any], respond_h: float, feedback_h: float
) -> None:
    event = reported(city, city.north, **given)
    times = [datetime.fromisoformat(event[name]) for name in ("reported_at", "respond_by", "feedback_by")]
    assert times[1] - times[0] == timedelta(hours=respond_h)
    assert times[2] - times[0] == timedelta(hours=feedback_h)


# ----------------------------------------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("body", "status", "says"),
    [
        ({"area_id": 1, "intersection_id": 1, **FAULT}, 422, "area_id is no field"),
        (FAULT, 422, "area_id: Field required"),
        ({"area_id": 1, **FAULT, "kind": "flood"}, 422, "kind"),
        ({"area_id": 1, **FAULT, "severity": "dire"}, 422, "severity"),
        ({"area_id": 1, **FAULT, "title": ""}, 422, "title"),
        ({"area_id": 1, **FAULT, "respond_h": 0}, 422, "respond_h"),
        ({"area_id": 1, **FAULT, "feedback_h": 2161}, 422, "feedback_h"),
        ({"area_id": 1, **FAULT, "colour": "red"}, 422, "colour is no field"),
        ({"area_id": 2**60, **FAULT}, 422, "area_id"),
        ({"area_id": 999, **FAULT}, 404, "no area 999"),
        ({"area_id": 1, **FAULT, "respond_h": 3, "feedback_h": 2}, 409, "feedback follows the response"),
        ([], 422, "body"),
    ],
)
def test_a_report_that_cannot_be_taken_is_told_why(city: City, body: Any, status: int, says: str) -> None:
    answer = city.as_("everyone").post("/v1/events", json=body)
    assert answer.status_code == status, answer.text
    assert says in answer.json()["detail"]
    with city.store.reading() as session:
        assert session.scalar(select(Event.id)) is None


@pytest.mark.parametrize(
    ("who", "where", "status"),
    [
        ("operator", "north", 201),
        ("operator", "harbour", 201),
        ("engineer", "harbour", 201),
        ("approver", "north", 201),
        ("admin", "north", 201),
        ("viewer", "north", 403),
        ("viewer", "harbour", 403),
        ("operator", "south", 404),
        ("stranger", "north", 404),
        ("nobody", "north", 404),
    ],
)
def test_who_may_report_where(city: City, who: str, where: str, status: int) -> None:
    answer = city.as_(who).post("/v1/events", json={"area_id": getattr(city, where), **FAULT})
    assert answer.status_code == status


@pytest.mark.parametrize("what", ["responses", "feedback", "assignments"])
@pytest.mark.parametrize(
    ("who", "status"),
    [
        ("engineer", 200),
        ("operator", 200),
        ("everyone", 200),
        ("viewer", 403),
        ("approver", 403),
        ("admin", 403),
        ("stranger", 404),
        ("nobody", 404),
    ],
)
def test_who_may_take_a_step(city: City, what: str, who: str, status: int) -> None:
    event = reported(city, city.harbour)
    event = step(city, "operator", event, "responses").json()
    sent = {"person": "second"} if what == "assignments" else {}
    answer = step(city, who, event, what, **sent)
    assert answer.status_code == status, answer.text
    if status != 200:
        assert city.as_("operator").get(f"/v1/events/{event['id']}").json() == event


def test_the_assignee_may_see_and_answer_without_a_role(city: City) -> None:
    duties(city, city.north, "nobody")
    other = reported(city, city.south, by="stranger")
    event = reported(city, city.north)
    client = city.as_("nobody")
    assert client.get(f"/v1/events/{other['id']}").status_code == 404
    assert client.get(f"/v1/events/{event['id']}").json() == event
    assert [e["id"] for e in client.get("/v1/events").json()["items"]] == [event["id"]]
    assert step(city, "nobody", event, "responses").status_code == 200


def test_steps_out_of_order_are_refused(city: City) -> None:
    event = reported(city, city.north)
    early = step(city, "operator", event, "feedback")
    assert (early.status_code, "respond first" in early.json()["detail"]) == (409, True)
    event = step(city, "operator", event, "responses").json()
    event = step(city, "operator", event, "responses", text="more").json()
    event = step(city, "operator", event, "feedback").json()
    for what, sent in (("responses", {}), ("feedback", {}), ("assignments", {"person": "engineer"})):
        answer = step(city, "operator", event, what, **sent)
        assert (answer.status_code, "is closed" in answer.json()["detail"]) == (409, True)
    assert city.as_("operator").get(f"/v1/events/{event['id']}").json() == event


@pytest.mark.parametrize(
    ("person", "status", "says"),
    [
        ("Zoe", 404, "no person 'Zoe'"),
        ("viewer", 409, "viewer has no duty"),
        ("stranger", 409, "stranger has no duty"),
        ("operator", 409, "with operator already"),
        (" Ben", 422, "person"),
    ],
)
def test_an_event_cannot_be_given_to_just_anybody(city: City, person: str, status: int, says: str) -> None:
    duties(city, city.north, "operator")
    event = reported(city, city.north)
    answer = step(city, "engineer", event, "assignments", person=person)
    assert answer.status_code == status
    assert says in answer.json()["detail"]


@pytest.mark.parametrize("what", ["responses", "feedback", "assignments"])
def test_a_step_on_an_old_version_or_on_none_is_refused(city: City, what: str) -> None:
    event = reported(city, city.north)
    now = step(city, "operator", event, "responses").json()
    sent = {"person": "engineer"} if what == "assignments" else {}
    stale = step(city, "operator", event, what, **sent)
    assert (stale.status_code, "version 2" in stale.json()["detail"]) == (412, True)
    where = f"/v1/events/{event['id']}/{what}"
    blind = city.as_("operator").post(where, json=sent or {"text": "x"})
    assert blind.status_code == 428
    absent = city.as_("operator").post(
        f"/v1/events/999/{what}", json=sent or {"text": "x"}, headers={"If-Match": '"1"'}
    )
    assert absent.status_code == 404
    empty = city.as_("operator").post(
        where, json={"person": ""} if sent else {"text": ""}, headers={"If-Match": '"2"'}
    )
    assert empty.status_code == 422
    assert city.as_("operator").get(f"/v1/events/{event['id']}").json() == now


def test_two_who_respond_to_the_same_version_at_once_do_not_both_win(city: City) -> None:
    event = reported(city, city.north)
    barrier, statuses = threading.Barrier(2), []

    def respond(who: str) -> None:
        barrier.wait(timeout=10)
        statuses.append(step(city, who, event, "responses").status_code)

    threads = [threading.Thread(target=respond, args=(who,)) for who in ("operator", "engineer")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=30)
    assert sorted(statuses) == [200, 412]


def test_a_repeated_request_is_done_once(city: City) -> None:
    key = {"Idempotency-Key": "a"}
    client = city.as_("operator")
    bodies = [client.post("/v1/events", json={"area_id": city.north, **FAULT}, headers=key) for _ in range(2)]
    assert bodies[0].json() == bodies[1].json()
    assert bodies[1].headers["idempotent-replayed"] == "true"
    event = bodies[0].json()
    for number, (what, sent) in enumerate(
        [("responses", {}), ("assignments", {"person": "engineer"}), ("feedback", {})]
    ):
        headers = {"Idempotency-Key": f"step-{number}"}
        first = step(city, "operator", event, what, headers=headers, **sent)
        again = step(city, "operator", event, what, headers=headers, **sent)
        assert (first.status_code, again.status_code) == (200, 200), again.text
        assert first.json() == again.json()
        assert again.headers["etag"] == first.headers["etag"] == f'"{number + 2}"'
        event = first.json()
    with city.store.reading() as session:
        steps = session.scalars(select(EventEntry.step).order_by(EventEntry.id)).all()
    assert steps == ["reported", "waiting", "responded", "reassigned", "dispatched", "closed"]
    other = step(city, "operator", event, "responses", text="other", headers={"Idempotency-Key": "step-0"})
    assert other.status_code == 409


# -------------------------------------------------------------------------------------------------- lists


def test_events_are_listed_by_area_state_assignee_and_lateness(city: City) -> None:
    duties(city, city.harbour, "engineer")
    in_harbour = reported(city, city.harbour)["id"]
    in_north = reported(city, city.north)["id"]
    in_south = reported(city, city.south, by="stranger")["id"]
    late = reported(city, city.harbour)
    with city.store.writing() as session:
        past = datetime.now(UTC) - timedelta(hours=1)
        session.execute(update(Event).where(Event.id == late["id"]).values(respond_by=past))

    def listed(who: str, **filters: Any) -> list[int]:
        answer = city.as_(who).get("/v1/events", params=filters)
        assert answer.status_code == 200, answer.text
        return [event["id"] for event in answer.json()["items"]]

    assert listed("everyone") == [in_harbour, in_north, in_south, late["id"]]
    assert listed("viewer") == [in_harbour, in_north, late["id"]]
    assert listed("stranger") == [in_south]
    assert listed("nobody") == []
    assert listed("viewer", area_id=city.north) == [in_harbour, in_north, late["id"]]
    assert listed("viewer", area_id=city.harbour) == [in_harbour, late["id"]]
    assert listed("viewer", state="reported") == [in_north]
    assert listed("engineer", assignee="me") == [in_harbour, late["id"]]
    assert listed("viewer", assignee=str(city.person_id("engineer"))) == [in_harbour, late["id"]]
    assert listed("viewer", assignee="me") == []
    assert listed("viewer", overdue=True) == [late["id"]]
    assert listed("viewer", overdue=False) == [in_harbour, in_north]
    step(city, "engineer", late, "responses")
    assert listed("viewer", overdue=True) == []
    assert city.as_("viewer").get("/v1/events", params={"area_id": city.south}).status_code == 404
    for wrong in ({"assignee": "0"}, {"assignee": "you"}, {"state": "lost"}, {"overdue": "late"}):
        assert city.as_("viewer").get("/v1/events", params=wrong).status_code == 422
    page = city.as_("everyone").get("/v1/events", params={"limit": 3}).json()
    assert "course" not in page["items"][0]
    assert [e["id"] for e in page["items"]] == [in_harbour, in_north, in_south]
    rest = city.as_("everyone").get("/v1/events", params={"limit": 3, "cursor": page["next_cursor"]}).json()
    assert [e["id"] for e in rest["items"]] == [late["id"]]


def test_an_event_is_read_by_those_who_may_see_it_and_not_sent_again(city: City) -> None:
    event = reported(city, city.harbour)
    where = f"/v1/events/{event['id']}"
    assert city.as_("everyone").get(where).json() == event
    assert city.as_("stranger").get(where).json()["detail"] == f"there is no event {event['id']}"
    assert city.as_("viewer").get("/v1/events/999").status_code == 404
    tag = city.as_("viewer").get(where).headers["etag"]
    again = city.as_("viewer").get(where, headers={"If-None-Match": tag})
    assert (again.status_code, again.content) == (304, b"")


def test_an_escalation_is_seen_as_a_new_version(city: City) -> None:
    duties(city, city.harbour, "engineer")
    duties(city, city.north, "operator")
    event = reported(city, city.harbour, respond_h=1)
    with city.store.writing() as session:
        escalate_overdue(session, datetime.now(UTC) + timedelta(hours=2))
    now = city.as_("viewer").get(f"/v1/events/{event['id']}").json()
    assert (now["assignee"], now["escalations"], now["version"]) == ("operator", 1, 2)
    assert step(city, "engineer", event, "responses").status_code == 412
