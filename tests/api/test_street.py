"""Controllers on record and deployments, as people ask for them: what is taken, what is refused, what waits."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from httpx2 import Response

from signals.model.states import DeploymentState, JobState, StepState
from signals.orders.street import settle_deployments
from signals.store.street import units_to_keep
from signals.store.tables import Deployment, Job
from tests.api.conftest import City


@pytest.fixture
def approved(city: City) -> dict[str, Any]:
    """A plan of three signals that is approved, and a unit for each of them."""
    network = city.network(signals=3)
    engineer = city.as_("engineer")
    request = engineer.post("/v1/plan-requests", json={"network_id": network}).json()
    plan = city.made_plan(request["id"])
    comparison = engineer.get(f"/v1/plans/{plan}").json()["comparisons"][0]
    city.made_comparison(comparison)
    decision = {"decision": "approve", "comparison_id": comparison}
    approval = city.as_("approver").post(f"/v1/plans/{plan}/approvals", json=decision).json()
    rows = engineer.get(f"/v1/networks/{network}/intersections").json()["items"]
    operator = city.as_("operator")
    for k, row in enumerate(rows):
        made = operator.post(
            "/v1/controllers", json={"intersection_id": row["id"], "host": "10.1.0.1", "port": 16100 + k}
        )
        assert made.status_code == 201, made.text
    return {
        "network": network,
        "plan": plan,
        "approval": approval["id"],
        "intersections": [row["id"] for row in rows],
    }


def deploy(city: City, approved: dict[str, Any], who: str = "operator", **more: Any) -> Response:
    """Somebody asks for a deployment."""
    return city.as_(who).post("/v1/deployments", json={"approval_id": approved["approval"], **more})


def told(answer: Response, status: int = 409) -> str:
    """The detail of a refusal."""
    assert answer.status_code == status, answer.text
    return str(answer.json()["detail"])


def set_state(city: City, deployment_id: int, state: DeploymentState) -> None:
    """What a job would have left behind; every unit holds pattern 48."""
    with city.store.writing() as session:
        row = session.get_one(Deployment, deployment_id)
        row.state = state
        for step in row.steps:
            step.state, step.slot = StepState.RUNNING, [48, 48, 1]


def test_the_pilot_goes_first_then_its_corridor(city: City, approved: dict[str, Any]) -> None:
    second = approved["intersections"][1]
    made = deploy(city, approved, pilot=second)
    assert made.status_code == 202, made.text
    shown = made.json()
    assert shown["state"] == "waiting"
    assert [(s["signal"], s["wave"]) for s in shown["steps"]] == [("j2", 0), ("j1", 1), ("j3", 1)]
    with city.store.reading() as session:
        job = session.get_one(Job, shown["job_id"])
        assert (job.kind, job.subject) == ("deploy", f"deployments/{shown['id']}")


def test_only_an_approval_that_holds_is_deployed(city: City, approved: dict[str, Any]) -> None:
    withdrawn = city.as_("approver").post(
        f"/v1/plans/{approved['plan']}/approvals", json={"decision": "withdraw"}
    )
    assert withdrawn.status_code == 201
    assert "no longer holds" in told(deploy(city, approved))
    assert "only an approval" in told(deploy(city, {"approval": withdrawn.json()["id"]}))
    assert "there is no approval" in told(deploy(city, {"approval": 999}), 404)


def test_every_signal_needs_a_controller_on_record(city: City, approved: dict[str, Any]) -> None:
    network = city.network(name="bare", signals=2)
    request = city.as_("engineer").post("/v1/plan-requests", json={"network_id": network}).json()
    plan = city.made_plan(request["id"], b'{"other": 1}')
    comparison = city.as_("engineer").get(f"/v1/plans/{plan}").json()["comparisons"][0]
    city.made_comparison(comparison)
    decision = {"decision": "approve", "comparison_id": comparison}
    approval = city.as_("approver").post(f"/v1/plans/{plan}/approvals", json=decision).json()["id"]
    assert "2 signal(s) have no controller on record (j1, j2)" in told(deploy(city, {"approval": approval}))


def test_two_deployments_never_share_a_unit(city: City, approved: dict[str, Any]) -> None:
    first = deploy(city, approved, intersections=approved["intersections"][:2]).json()
    assert f"deployment {first['id']}" in told(deploy(city, approved))
    assert deploy(city, approved, intersections=approved["intersections"][2:]).status_code == 202


def test_a_scope_and_a_pilot_outside_the_plan_are_refused(city: City, approved: dict[str, Any]) -> None:
    assert "doesn't retime intersection 999" in told(deploy(city, approved, intersections=[999]), 404)
    assert "isn't among those" in told(deploy(city, approved, pilot=999), 404)


def test_a_window_that_is_yet_to_open_has_no_job_until_then(city: City, approved: dict[str, Any]) -> None:
    opens = datetime.now(UTC) + timedelta(hours=2)
    closes = opens + timedelta(hours=1)
    made = deploy(city, approved, opens_at=opens.isoformat(), closes_at=closes.isoformat()).json()
    assert made["job_id"] is None
    for now, begun in ((opens - timedelta(seconds=1), False), (opens, True)):
        with city.store.writing() as session:
            settle_deployments(session, now, queue_limit=10)
        shown = city.as_("viewer").get(f"/v1/deployments/{made['id']}").json()
        assert (shown["job_id"] is not None) is begun


def test_a_window_that_makes_no_sense_is_refused(city: City, approved: dict[str, Any]) -> None:
    now = datetime.now(UTC)
    past = (now - timedelta(hours=1)).isoformat()
    assert "before it opens or in the past" in told(deploy(city, approved, closes_at=past))


def test_what_waits_for_its_window_can_be_taken_back(city: City, approved: dict[str, Any]) -> None:
    opens = (datetime.now(UTC) + timedelta(hours=2)).isoformat()
    made = deploy(city, approved, opens_at=opens).json()
    back = city.as_("engineer").post(f"/v1/deployments/{made['id']}/roll-back", json={"reason": "not now"})
    assert (back.status_code, back.json()["state"], back.json()["job_id"]) == (202, "rolled back", None)
    assert deploy(city, approved).status_code == 202


def test_what_is_in_force_is_rolled_back_by_a_job(city: City, approved: dict[str, Any]) -> None:
    made = deploy(city, approved).json()
    where = f"/v1/deployments/{made['id']}/roll-back"
    assert "cancel job" in told(city.as_("operator").post(where, json={}))
    set_state(city, made["id"], DeploymentState.IN_FORCE)
    unit = city.as_("operator").get(f"/v1/networks/{approved['network']}/controllers").json()["items"][0]
    assert unit["held_pattern"] == 48
    back = city.as_("approver").post(where, json={"reason": "queues"}).json()
    with city.store.reading() as session:
        job = session.get_one(Job, back["job_id"])
        assert (job.kind, job.arguments["reason"]) == ("roll-back", "queues")
    set_state(city, made["id"], DeploymentState.ROLLED_BACK)
    assert "nothing to roll back" in told(city.as_("operator").post(where, json={}))


def test_a_unit_is_kept_by_the_latest_deployment_and_left_to_a_rollout(
    city: City, approved: dict[str, Any]
) -> None:
    def kept() -> dict[str, int]:
        with city.store.reading() as session:
            return {h.step.intersection.signal: h.step.deployment_id for h in units_to_keep(session)}

    def set_step(deployment_id: int, state: StepState) -> None:
        with city.store.writing() as session:
            row = session.get_one(Deployment, deployment_id)
            row.state = DeploymentState.ROLLING_OUT
            for step in row.steps:
                step.state = state

    first = deploy(city, approved).json()["id"]
    set_state(city, first, DeploymentState.IN_FORCE)
    assert kept() == {"j1": first, "j2": first, "j3": first}
    second = deploy(city, approved, intersections=approved["intersections"][:1]).json()["id"]
    assert kept() == {"j1": first, "j2": first, "j3": first}
    for state in (StepState.WRITING, StepState.WRITTEN, StepState.COMMANDED):
        set_step(second, state)
        if state is StepState.COMMANDED:
            with city.store.writing() as session:
                (step,) = session.get_one(Deployment, second).steps
                step.slot = [47, 47, 1]
        assert kept() == {"j2": first, "j3": first}
    set_state(city, second, DeploymentState.IN_FORCE)
    assert kept() == {"j1": second, "j2": first, "j3": first}
    set_step(second, StepState.RETURNED)
    assert kept() == {"j1": first, "j2": first, "j3": first}


def test_a_job_that_died_leaves_nothing_under_way(city: City, approved: dict[str, Any]) -> None:
    made = deploy(city, approved).json()
    set_state(city, made["id"], DeploymentState.ROLLING_OUT)
    with city.store.writing() as session:
        job = session.get_one(Job, made["job_id"])
        job.state, job.problem = JobState.FAILED, "the worker died 3 times"
    with city.store.writing() as session:
        settle_deployments(session, datetime.now(UTC), queue_limit=10)
    shown = city.as_("viewer").get(f"/v1/deployments/{made['id']}").json()
    assert (shown["state"], shown["ended_at"] is not None) == ("halted", True)
    assert "died 3 times" in shown["problem"]
    with city.store.reading() as session:
        # its units may run the plan, so they are given back
        assert session.get_one(Job, shown["job_id"]).kind == "roll-back"


def test_a_job_cancelled_before_it_began_sends_nothing(city: City, approved: dict[str, Any]) -> None:
    made = deploy(city, approved).json()
    assert city.as_("operator").post(f"/v1/jobs/{made['job_id']}/cancel").status_code < 300
    with city.store.writing() as session:
        settle_deployments(session, datetime.now(UTC), queue_limit=10)
    shown = city.as_("viewer").get(f"/v1/deployments/{made['id']}").json()
    assert (shown["state"], shown["job_id"]) == ("halted", made["job_id"])


def test_a_unit_that_is_kept_at_a_pattern_stays_where_it_is(city: City, approved: dict[str, Any]) -> None:
    operator = city.as_("operator")
    unit = operator.get(f"/v1/networks/{approved['network']}/controllers").json()["items"][0]
    where, seen = f"/v1/controllers/{unit['id']}", {"If-Match": f'"{unit["version"]}"'}
    changed = operator.patch(where, json={"port": 161}, headers=seen)
    assert (changed.status_code, changed.json()["port"]) == (200, 161)
    assert operator.patch(where, json={"port": 162}, headers=seen).status_code == 412
    deploy(city, approved)
    seen = {"If-Match": changed.headers["etag"]}
    assert "roll it back first" in told(operator.patch(where, json={"port": 162}, headers=seen))


def test_an_address_and_an_intersection_have_one_controller(city: City, approved: dict[str, Any]) -> None:
    given = {"intersection_id": approved["intersections"][0], "host": "10.9.9.9"}
    assert "has a controller already" in told(city.as_("admin").post("/v1/controllers", json=given))
    other = city.network(name="other", signals=1)
    row = city.as_("admin").get(f"/v1/networks/{other}/intersections").json()["items"][0]
    taken = {"intersection_id": row["id"], "host": "10.1.0.1", "port": 16100}
    assert "another's" in told(city.as_("admin").post("/v1/controllers", json=taken))


def test_the_audit_holds_the_order(city: City, approved: dict[str, Any]) -> None:
    made = deploy(city, approved, note="night shift").json()
    entries = city.as_("admin").get("/v1/audit", params={"subject": f"deployments/{made['id']}"}).json()
    (entry,) = entries["items"]
    assert entry["action"] == "deployment.request"
    assert entry["details"]["note"] == "night shift"
    assert entry["details"]["approval"] == approved["approval"]
