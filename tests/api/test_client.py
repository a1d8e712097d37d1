"""The typed client against the application itself, and against a service that is away, busy or cut off."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import httpx2
import pytest
from starlette.testclient import TestClient

from signals.client import Client, JobFailed, ServiceError
from signals.model.states import JobState, PlanState
from signals.wire.areas import DutiesGiven, NewArea
from signals.wire.counts import CountPush
from signals.wire.events import FeedbackGiven, NewEventAtIntersection, NewEventInArea, ResponseGiven
from signals.wire.forecasts import NewForecast
from signals.wire.jobs import JobShown
from signals.wire.plans import NewApproval, NewComparison, NewPlanRequest
from tests.api.conftest import City


@pytest.fixture
def service(city: City) -> Iterator[Callable[[str], Client]]:
    """Clients of the application by the name of the person."""
    made: list[Client] = []

    def of(name: str) -> Client:
        made.append(Client("http://testserver", city.keys[name], http=TestClient(city.app)))
        return made[-1]

    yield of
    for client in made:
        client.close()


def answering(*answers: httpx2.Response | Exception) -> tuple[Client, list[httpx2.Request]]:
    """A client of a service that gives these answers one after the other."""
    seen: list[httpx2.Request] = []
    left = list(answers)

    def answer(request: httpx2.Request) -> httpx2.Response:
        seen.append(request)
        given = left.pop(0)
        if isinstance(given, Exception):
            raise given
        return given

    http = httpx2.Client(base_url="http://service", transport=httpx2.MockTransport(answer))
    return Client("http://service", "gsk_x", http=http), seen


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """No real waiting; what would have been waited."""
    waited: list[float] = []
    monkeypatch.setattr("signals.client.time.sleep", waited.append)
    return waited


def test_the_way_of_a_plan_in_types(city: City, service: Callable[[str], Client]) -> None:
    engineer, approver = service("engineer"), service("approver")
    me = engineer.me()
    assert (me.name, [role.role for role in me.roles]) == ("engineer", ["engineer"])
    network = city.network()
    assert [i.signal for i in engineer.list_intersections(network)] == ["j1", "j2"]
    (corridor,) = engineer.list_corridors(network)
    given = NewPlanRequest.model_validate(
        {"network_id": network, "scope": {"kind": "corridor", "corridor_id": corridor.id}}
    )
    request = engineer.request_plan(given)
    hash_ = city.made_plan(request.id)
    assert engineer.wait(request.job.id).result == {
        "plan": hash_,
        "comparison": engineer.plan(hash_).comparisons[0],
    }
    city.made_comparison(engineer.plan(hash_).comparisons[0])
    other = engineer.compare(NewComparison(plan=hash_, first_seed=7))
    city.made_comparison(other.id)
    assert engineer.document(hash_, "plan", "plan.json") == b"{}"
    done = approver.decide(
        hash_, NewApproval.model_validate({"decision": "approve", "comparison_id": other.id})
    )
    assert done.person == "approver"
    assert [p.state for p in engineer.list_plans(network_id=network)] == [PlanState.APPROVED]


def test_counts_events_and_areas_in_types(city: City, service: Callable[[str], Client]) -> None:
    engineer, admin = service("engineer"), service("admin")
    network = city.network()
    got = engineer.send_counts(network, b"time,a,b\n2026-11-25T07:00,1,2\n2026-11-25T07:15,3,4\n")
    assert (got.counts, got.new) == (4, 4)
    push = CountPush.model_validate({"time": "2026-11-25T07:30:00", "counts": {"a": 5}})
    assert engineer.push_counts(network, push).new == 1
    assert [s.name for s in engineer.list_streams(network)] == ["a", "b"]
    assert engineer.request_forecast(network, NewForecast(horizon=2)).state == "queued"
    area = admin.create_area(NewArea(name="quay", parent_id=city.north))
    assert area.id in [a.id for a in admin.list_areas()]
    admin.set_duties(city.north, DutiesGiven.model_validate({"duties": [{"person": "engineer"}]}))
    event = engineer.report_event(
        NewEventInArea.model_validate({"area_id": area.id, "kind": "incident", "title": "Tram derailed"})
    )
    assert event.assignee == "engineer"
    assert engineer.respond(event.id, ResponseGiven(text="on site")).state == "responded"
    assert engineer.close_event(event.id, FeedbackGiven(text="cleared")).state == "closed"
    with pytest.raises(ServiceError, match="no intersection 999") as refused:
        engineer.report_event(
            NewEventAtIntersection.model_validate({"intersection_id": 999, "kind": "other", "title": "x"})
        )
    assert refused.value.status == 404
    assert service("everyone").verify_audit().entries > 10


def test_lists_go_on_over_pages(city: City, service: Callable[[str], Client]) -> None:
    everyone = service("everyone")
    for number in range(120):
        everyone.create_area(NewArea(name=f"part {number}"))
    assert len(list(everyone.list_areas())) == 124


def test_a_job_that_fails_or_is_cancelled_is_an_error(city: City, service: Callable[[str], Client]) -> None:
    engineer = service("engineer")
    request = engineer.request_plan(NewPlanRequest(network_id=city.network()))
    seen: list[JobShown] = []
    engineer.cancel(request.job.id)
    with pytest.raises(JobFailed, match="cancelled"):
        engineer.wait(request.job.id, seen.append)
    assert [job.state for job in seen] == ["cancelled"]


def test_a_busy_service_is_asked_again_with_the_same_key(hasty: list[float]) -> None:
    area = {"id": 2, "name": "a", "parent_id": 1, "path": "/1/2/", "bounds": None, "version": 1}
    client, seen = answering(
        httpx2.Response(429, headers={"Retry-After": "7"}),
        httpx2.ConnectError("refused"),
        httpx2.Response(503, headers={"Retry-After": "5"}),
        httpx2.Response(201, json={**area, "created_at": "2026-11-25T08:00:00Z"}),
    )
    assert client.create_area(NewArea(name="a")).id == 2
    assert len({request.headers["idempotency-key"] for request in seen}) == 1
    assert len(seen) == 4
    assert 7 in hasty
    assert 5 in hasty


def test_what_might_be_done_twice_isnt_asked_again() -> None:
    client, seen = answering(httpx2.ConnectError("gone"))
    with pytest.raises(ServiceError, match="can't be reached"):
        client.cancel(3)
    assert len(seen) == 1


def test_a_service_that_stays_away_is_said_to_be(hasty: list[float]) -> None:
    client, seen = answering(*[httpx2.ConnectError("gone")] * 6)
    with pytest.raises(ServiceError, match="http://service can't be reached"):
        client.me()
    assert len(seen) == 6
    assert sum(hasty) < 60


def test_answers_that_arent_ours_are_told_apart() -> None:
    client, _ = answering(httpx2.Response(502, text="<html>bad gateway</html>"))
    with pytest.raises(ServiceError, match="answered 502"):
        client.cancel(1)
    client, _ = answering(httpx2.Response(200, json={"hello": "world"}))
    with pytest.raises(ServiceError, match="isn't what this release expects"):
        client.me()


def test_a_watch_goes_on_after_the_connection_was_lost() -> None:
    job = JobShown.model_config["json_schema_extra"]["examples"][0]  # type: ignore[index]
    line = "event: job\ndata: {}\n\n"
    running = JobShown.model_validate(job)
    done = running.model_copy(update={"state": JobState.DONE})
    client, seen = answering(
        httpx2.Response(200, text=line.format(running.model_dump_json())),
        httpx2.Response(200, text=running.model_dump_json()),
        httpx2.ReadError("cut"),
        httpx2.Response(200, text=running.model_dump_json()),
        httpx2.Response(200, text=line.format(done.model_dump_json())),
    )
    assert [j.state for j in client.watch(12)] == ["running", "done"]
    assert len(seen) == 5
