"""From a plan request to a decision over HTTP: scope, two persons, evidence, and what is refused on the way."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import update

from signals.settings import Settings
from signals.store.tables import CountBatch, Job, Stream
from tests.api.conftest import City

PERIOD = {
    "kind": "forecast",
    "begins_at": "2026-11-26T07:00:00+01:00",
    "ends_at": "2026-11-26T08:00:00+01:00",
}


def ask(city: City, network: int, who: str = "engineer", **more: Any) -> dict[str, Any]:
    """A plan request, accepted."""
    answer = city.as_(who).post("/v1/plan-requests", json={"network_id": network, **more})
    assert answer.status_code == 202, answer.text
    return dict(answer.json())


def proposed(city: City, **more: Any) -> tuple[str, int]:
    """A plan and its comparison, both made."""
    request = ask(city, city.network(), **more)
    hash_ = city.made_plan(request["id"])
    comparison = city.as_("engineer").get(f"/v1/plans/{hash_}").json()["comparisons"][0]
    city.made_comparison(comparison)
    return hash_, comparison


def test_the_way_from_request_to_approval(city: City) -> None:
    request = ask(city, city.network())
    assert (request["signals"], request["area_id"], request["plan"]) == (["j1", "j2"], city.north, None)
    assert request["job"]["state"] == "queued"
    hash_ = city.made_plan(request["id"])
    engineer, approver = city.as_("engineer"), city.as_("approver")
    assert engineer.get(f"/v1/plan-requests/{request['id']}").json()["plan"] == hash_
    plan = engineer.get(f"/v1/plans/{hash_}").json()
    assert (plan["state"], plan["requests"]) == ("proposed", [request["id"]])
    (comparison,) = plan["comparisons"]
    row = engineer.get(f"/v1/comparisons/{comparison}").json()
    assert (row["seeds"], row["verdict"]) == ([101, 102, 103, 104, 105], None)
    early = approver.post(
        f"/v1/plans/{hash_}/approvals", json={"decision": "approve", "comparison_id": comparison}
    )
    assert early.status_code == 409
    city.made_comparison(comparison)
    assert engineer.get(f"/v1/plans/{hash_}").json()["state"] == "compared"
    done = approver.post(
        f"/v1/plans/{hash_}/approvals", json={"decision": "approve", "comparison_id": comparison}
    )
    assert done.status_code == 201, done.text
    assert (done.json()["person"], done.json()["decision"]) == ("approver", "approve")
    assert engineer.get(f"/v1/plans/{hash_}").json()["state"] == "approved"
    assert len(engineer.get(f"/v1/plans/{hash_}/approvals").json()["items"]) == 1


def test_documents_are_what_the_job_kept_and_never_change(city: City) -> None:
    hash_, _ = proposed(city)
    client = city.as_("viewer")
    for document in client.get(f"/v1/plans/{hash_}").json()["documents"]:
        answer = client.get(document["href"])
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith(document["media_type"])
        assert "immutable" in answer.headers["cache-control"]
        again = client.get(document["href"], headers={"If-None-Match": answer.headers["etag"]})
        assert again.status_code == 304
    assert client.get(f"/v1/plans/{hash_}/documents/sheet/none.csv").status_code == 404


def test_who_asked_cant_approve(city: City) -> None:
    hash_, comparison = proposed(city, who="everyone")
    body = {"decision": "approve", "comparison_id": comparison}
    own = city.as_("everyone").post(f"/v1/plans/{hash_}/approvals", json=body)
    assert own.status_code == 403
    assert "second person" in own.json()["detail"]
    assert city.as_("second").post(f"/v1/plans/{hash_}/approvals", json=body).status_code == 201


def test_who_asked_for_the_same_plan_cant_approve_it_either(city: City) -> None:
    hash_, comparison = proposed(city)
    network = city.as_("engineer").get(f"/v1/plans/{hash_}").json()["network_id"]
    again = ask(city, network, "everyone", validation=None)
    assert city.made_plan(again["id"]) == hash_
    body = {"decision": "approve", "comparison_id": comparison}
    assert city.as_("everyone").post(f"/v1/plans/{hash_}/approvals", json=body).status_code == 403


def test_the_two_person_rule_can_be_set_off(city: City, settings: Settings) -> None:
    city.app.state.settings = settings.model_copy(update={"two_person": False})
    hash_, comparison = proposed(city, who="everyone")
    body = {"decision": "approve", "comparison_id": comparison}
    assert city.as_("everyone").post(f"/v1/plans/{hash_}/approvals", json=body).status_code == 201


def test_against_the_verdict_it_takes_a_reason(city: City) -> None:
    request = ask(city, city.network())
    hash_ = city.made_plan(request["id"])
    comparison = city.as_("engineer").get(f"/v1/plans/{hash_}").json()["comparisons"][0]
    city.made_comparison(comparison, "keep the current plan")
    where, client = f"/v1/plans/{hash_}/approvals", city.as_("approver")
    body = {"decision": "approve", "comparison_id": comparison}
    assert client.post(where, json=body).status_code == 409
    assert client.post(where, json={**body, "against_advice": True}).status_code == 409
    reasoned = {**body, "against_advice": True, "note": "the bus lane opens tomorrow"}
    assert client.post(where, json=reasoned).status_code == 201


def test_a_decision_that_doesnt_fit_the_state_is_refused(city: City) -> None:
    hash_, comparison = proposed(city)
    where, client = f"/v1/plans/{hash_}/approvals", city.as_("approver")
    approve = {"decision": "approve", "comparison_id": comparison}
    assert client.post(where, json={"decision": "withdraw"}).status_code == 409
    assert client.post(where, json={"decision": "approve"}).status_code == 409
    assert client.post(where, json={"decision": "approve", "comparison_id": 999}).status_code == 404
    assert client.post(where, json=approve).status_code == 201
    assert client.post(where, json=approve).status_code == 409
    assert client.post(where, json={"decision": "reject"}).status_code == 409
    assert client.post(where, json={"decision": "withdraw", "note": "roadworks"}).status_code == 201
    stale = client.post(where, json=approve)
    assert stale.status_code == 409
    assert "older than the last decision" in stale.json()["detail"]
    fresh = city.as_("engineer").post("/v1/comparisons", json={"plan": hash_, "first_seed": 7}).json()
    city.made_comparison(fresh["id"])
    assert client.post(where, json={**approve, "comparison_id": fresh["id"]}).status_code == 201


def test_scopes_cover_what_they_say_and_belong_to_the_smallest_area(city: City) -> None:
    network = city.network(signals=3)
    client = city.as_("engineer")
    rows = client.get(f"/v1/networks/{network}/intersections").json()["items"]
    client.patch(
        f"/v1/intersections/{rows[1]['id']}", json={"area_id": city.harbour}, headers={"If-Match": '"1"'}
    )
    corridor = client.get(f"/v1/networks/{network}/corridors").json()["items"][0]["id"]
    for scope, signals, area in (
        ({"kind": "network"}, ["j1", "j2", "j3"], city.north),
        ({"kind": "intersections", "intersections": [rows[1]["id"]]}, ["j2"], city.harbour),
        ({"kind": "intersections", "intersections": [r["id"] for r in rows[:2]]}, ["j1", "j2"], city.north),
        ({"kind": "corridor", "corridor_id": corridor}, ["j1", "j2", "j3"], city.north),
        ({"kind": "area", "area_id": city.harbour}, ["j2"], city.harbour),
        ({"kind": "area", "area_id": city.north}, ["j1", "j2", "j3"], city.north),
    ):
        request = ask(city, network, scope=scope, validation=None)
        assert (request["signals"], request["area_id"]) == (signals, area)


@pytest.mark.parametrize(
    ("more", "status", "says"),
    [
        ({"network_id": 999}, 404, "no network 999"),
        ({"scope": {"kind": "intersections", "intersections": [999]}}, 404, "no intersection 999"),
        ({"scope": {"kind": "corridor", "corridor_id": 999}}, 404, "no corridor 999"),
        ({"scope": {"kind": "area", "area_id": 999}}, 404, "no area 999"),
        ({"scope": {"kind": "area", "area_id": 3}}, 409, "no signals there"),
        ({"scope": {"kind": "area", "area_id": 4}}, 404, "no area 4"),
        ({"scope": {"kind": "moon"}}, 422, "scope"),
        (
            {"limits": {"min_cycle_s": 120, "max_cycle_s": 90}},
            409,
            "shortest cycle, 120 s, is above the longest",
        ),
        ({"limits": {"max_cycle_s": 1e9}}, 422, "max_cycle_s"),
        ({"limits": {"maximum": 90}}, 422, "maximum is no field"),
        ({"deadline_at": "2020-01-01T00:00:00Z"}, 409, "deadline"),
        ({"deadline_at": "2020-01-01T00:00:00"}, 422, "deadline_at"),
        ({"demand": PERIOD}, 409, "no counts yet"),
        ({"demand": {**PERIOD, "ends_at": PERIOD["begins_at"]}}, 409, "not after its begin"),
        ({"demand": {**PERIOD, "ends_at": "2026-11-26T20:00:00+01:00"}}, 409, "at most 6:00:00"),
        ({"demand": {**PERIOD, "ends_at": "2026-11-26T07:31:07+01:00"}}, 409, "whole 5 or 15 minutes"),
        ({"objective": "glory"}, 422, "objective"),
        ({"seed": -1}, 422, "seed"),
    ],
)
def test_requests_that_make_no_sense_are_refused_with_the_reason(
    city: City, more: dict[str, Any], status: int, says: str
) -> None:
    network = city.network()
    answer = city.as_("engineer").post("/v1/plan-requests", json={"network_id": network, **more})
    assert answer.status_code == status, answer.text
    assert says in answer.json()["detail"]
    assert city.as_("engineer").get("/v1/jobs").json()["items"] == []


def test_a_forecast_stops_at_the_last_count_or_at_the_period(city: City) -> None:
    network = city.network()
    from datetime import UTC, datetime

    last = datetime(2026, 11, 25, 5, 45, tzinfo=UTC)
    with city.store.writing() as session:
        session.add(Stream(network_id=network, name="a", step_min=15))
        session.add(
            CountBatch(
                network_id=network,
                person_id=1,
                received_at=last,
                sha256="",
                streams=1,
                counts=1,
                new=1,
                corrected=0,
                late=0,
                first_at=last,
                last_at=last,
                remarks=[],
            )
        )
    later = ask(city, network, demand=PERIOD)
    assert later["terms"]["demand"]["origin_at"] == "2026-11-25T06:00:00+00:00"
    before = {"kind": "forecast", "begins_at": "2026-11-24T07:00:00Z", "ends_at": "2026-11-24T08:00:00Z"}
    assert ask(city, network, demand=before)["terms"]["demand"]["origin_at"] == "2026-11-24T07:00:00+00:00"


def test_plans_of_different_networks_arent_compared(city: City) -> None:
    first = city.made_plan(ask(city, city.network(name="a"))["id"])
    second = city.made_plan(ask(city, city.network(name="b"))["id"])
    assert first != second
    client = city.as_("engineer")
    for against, says in ((second, "networks"), (first, "itself")):
        answer = client.post("/v1/comparisons", json={"plan": first, "against": against})
        assert answer.status_code == 409
        assert says in answer.json()["detail"]
    unknown = client.post("/v1/comparisons", json={"plan": "f" * 64})
    assert unknown.status_code == 404


def test_a_job_is_watched_until_it_ends(city: City) -> None:
    request = ask(city, city.network())
    job = request["job"]["id"]
    cancelled = city.as_("engineer").post(f"/v1/jobs/{job}/cancel")
    assert (cancelled.status_code, cancelled.json()["state"]) == (202, "cancelled")
    with city.as_("viewer").stream("GET", f"/v1/jobs/{job}/events") as stream:
        assert stream.headers["content-type"].startswith("text/event-stream")
        lines = list(stream.iter_lines())
    assert "event: job" in lines
    assert any('"state":"cancelled"' in line for line in lines if line.startswith("data:"))
    assert city.as_("stranger").get(f"/v1/jobs/{job}/events").status_code == 404
    with city.store.writing() as session:
        session.execute(update(Job).values(state="done"))
    assert city.as_("engineer").post(f"/v1/jobs/{job}/cancel").status_code == 409


def test_evidence_is_beside_the_plan_in_place_or_an_approved_one(city: City) -> None:
    network = city.network()
    first = city.made_plan(ask(city, network)["id"])
    second = city.made_plan(ask(city, network, seed=2)["id"], b"{ }")
    beside = (
        city.as_("engineer").post("/v1/comparisons", json={"plan": second, "against": first}).json()["id"]
    )
    city.made_comparison(beside)
    where, body = f"/v1/plans/{second}/approvals", {"decision": "approve", "comparison_id": beside}
    refused = city.as_("approver").post(where, json=body)
    assert refused.status_code == 409
    assert "isn't approved" in refused.json()["detail"]
    own = city.as_("engineer").get(f"/v1/plans/{first}").json()["comparisons"][0]
    city.made_comparison(own)
    approve = {"decision": "approve", "comparison_id": own}
    assert city.as_("approver").post(f"/v1/plans/{first}/approvals", json=approve).status_code == 201
    assert city.as_("approver").post(where, json=body).status_code == 201
