"""From a request to a decision in any order and by anybody, beside a model of what an agency allows.

What the model allows succeeds, what it forbids is refused with the status that it says and changes nothing. The
work of jobs is stood in for by what they would have kept.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, ClassVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    initialize,
    invariant,
    multiple,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import func, select
from starlette.testclient import TestClient

from api.app import create_app
from signals.settings import Settings
from signals.store.audit import verify
from signals.store.tables import Approval, AuditHead, ComparisonRow, Job, Plan, PlanRequestRow
from tests.api.conftest import City
from tests.conftest import Databases

ENGINEERS = {"engineer", "everyone", "second"}
APPROVERS = {"approver", "everyone", "second"}
ELSEWHERE = {"stranger", "nobody"}
PEOPLE = sorted({*ENGINEERS, *APPROVERS, *ELSEWHERE, "viewer", "operator"})
"""`everyone` and `second` hold all roles; `stranger` holds them in another area, `nobody` holds none."""

OPEN_TO = {
    "approve": {"compared", "rejected", "withdrawn"},
    "reject": {"proposed", "compared"},
    "withdraw": {"approved"},
}
BECOMES = {"approve": "approved", "reject": "rejected", "withdraw": "withdrawn"}

who = st.sampled_from(PEOPLE)


@dataclass
class Asked:
    """A request or a comparison with its job."""

    number: int
    job: int
    validated: bool = False
    state: str = "queued"


@dataclass
class Compared(Asked):
    """A comparison: of which plan, made at which step, with what verdict."""

    plan: str = ""
    made_at: int = 0
    verdict: str | None = None


@dataclass
class Proposed:
    """What is known of a plan."""

    requesters: set[str] = field(default_factory=set)
    comparisons: list[int] = field(default_factory=list)
    decision: str | None = None
    decided_at: int = -1


class Deciding(RuleBasedStateMachine):
    """One network of a city that all runs share."""

    city: ClassVar[City]
    client: ClassVar[TestClient]
    taken: ClassVar[list[int]] = [0, 0]
    """Steps that were allowed and that were refused, of all runs."""

    requests = Bundle("requests")
    plans = Bundle("plans")
    comparisons = Bundle("comparisons")

    @initialize(target=comparisons)
    def begin(self) -> int:
        """A network with a plan that was asked for, made and compared."""
        count = self._count(Plan)[0]
        self.network = self.city.network(name=f"{count} {id(self)} {self._audit()[0]}")
        self.clock = 0
        self.asked_by: dict[int, str] = {}
        self.made: dict[str, Proposed] = {}
        self.compared: dict[int, Compared] = {}
        plan = self.work(self.ask("engineer", True), b"first")
        (comparison,) = self.made[plan].comparisons
        self.simulate(comparison, True)
        return comparison

    # ------------------------------------------------------------------------------------------ what is done

    @rule(target=requests, who=who | st.sampled_from(sorted(ENGINEERS)), validated=st.booleans())
    def ask(self, who: str, validated: bool) -> Any:
        """Ask for a plan."""
        body: dict[str, Any] = {"network_id": self.network} | ({} if validated else {"validation": None})
        answer = self._post(who, "/v1/plan-requests", body, 202, forbidden=who not in ENGINEERS)
        if answer is None:
            return multiple()
        self.asked_by[answer["id"]] = who
        return Asked(answer["id"], answer["job"]["id"], validated)

    @rule(target=plans, request=requests, content=st.sampled_from([b"first", b"second"]))
    def work(self, request: Asked, content: bytes) -> Any:
        """A worker makes the plan: two requests may come to the same one."""
        if request.state != "queued":
            return multiple()
        request.state = "done"
        hash_ = self.city.made_plan(request.number, content)
        plan = self.made.setdefault(hash_, Proposed())
        plan.requesters.add(self.asked_by[request.number])
        shown = self._get(f"/v1/plans/{hash_}")
        new = sorted(set(shown["comparisons"]) - set(plan.comparisons))
        assert len(new) == request.validated
        for number in new:
            self._note_comparison(hash_, number)
        return hash_

    @rule(who=who, request=requests)
    def cancel(self, who: str, request: Asked) -> None:
        """Cancel the job of a request."""
        self._cancel(who, request)

    @rule(who=who, comparison=comparisons)
    def cancel_comparison(self, who: str, comparison: int) -> None:
        """Cancel the job of a comparison."""
        self._cancel(who, self.compared[comparison])

    @rule(target=comparisons, who=who, plan=plans)
    def compare(self, who: str, plan: str) -> Any:
        """Ask for a comparison."""
        body = {"plan": plan, "seeds": 2}
        answer = self._post(who, "/v1/comparisons", body, 202, forbidden=who not in ENGINEERS | APPROVERS)
        if answer is None:
            return multiple()
        self._note_comparison(plan, answer["id"])
        return int(answer["id"])

    @rule(target=plans, comparison=comparisons)
    def look(self, comparison: int) -> str:
        """The plan of a comparison."""
        return self.compared[comparison].plan

    @rule(target=comparisons, plan=plans)
    def look_back(self, plan: str) -> Any:
        """The latest comparison of a plan."""
        return multiple(*self.made[plan].comparisons[-1:])

    @rule(comparison=comparisons, adopt=st.booleans())
    def simulate(self, comparison: int, adopt: bool) -> None:
        """A worker makes the comparison."""
        found = self.compared[comparison]
        if found.state == "queued":
            found.state, found.verdict = "done", "adopt" if adopt else "keep the current plan"
            self.city.made_comparison(comparison, found.verdict)

    @rule(
        who=who,
        plan=plans,
        decision=st.sampled_from(["approve", "approve", "reject", "withdraw"]),
        comparison=st.one_of(st.none(), comparisons),
        against_advice=st.booleans(),
        note=st.sampled_from(["", " ", "the bus lane opens tomorrow"]),
    )
    def decide(
        self, who: str, plan: str, decision: str, comparison: int | None, against_advice: bool, note: str
    ) -> None:
        """Decide on a plan."""
        body: dict[str, Any] = {"decision": decision, "against_advice": against_advice, "note": note}
        if comparison is not None:
            body["comparison_id"] = comparison
        self._decide(who, plan, body)

    @rule(
        who=st.sampled_from(sorted(APPROVERS)),
        comparison=comparisons,
        decision=st.sampled_from(["approve", "withdraw"]),
    )
    def decide_soundly(self, who: str, comparison: int, decision: str) -> None:
        """Approve a plan on a comparison of it, or withdraw it."""
        body = {"decision": decision, "comparison_id": comparison}
        self._decide(who, self.compared[comparison].plan, body)

    # ------------------------------------------------------------------------------------ what always holds

    @invariant()
    def plans_are_as_far_as_the_model_says(self) -> None:
        """Every plan is in its state."""
        for hash_ in getattr(self, "made", {}):
            assert self._get(f"/v1/plans/{hash_}")["state"] == self._state(hash_)

    @invariant()
    def approvals_rest_on_evidence(self) -> None:
        """Whatever was approved rests on a finished comparison made since the decision before."""
        with self.city.store.reading() as session:
            for hash_ in getattr(self, "made", {}):
                query = select(Approval).where(Approval.plan_hash == hash_).order_by(Approval.id)
                decisions = session.scalars(query).all()
                for before, decided in zip([None, *decisions], decisions):
                    if decided.decision != "approve":
                        continue
                    evidence = session.get_one(ComparisonRow, decided.comparison_id)
                    assert evidence.plan_hash == hash_
                    assert evidence.verdict is not None
                    assert before is None or before.created_at < evidence.created_at < decided.created_at

    def teardown(self) -> None:
        """The audit holds."""
        with self.city.store.reading() as session:
            verify(session)

    # ------------------------------------------------------------------------------------------- the model

    def _decide(self, who: str, plan: str, body: dict[str, Any]) -> None:
        decision, expected = body["decision"], self._decision(who, plan, body)
        answer = self._post(who, f"/v1/plans/{plan}/approvals", body, expected, who not in APPROVERS)
        if answer is None:
            return
        if decision == "approve":
            assert who not in self.made[plan].requesters
        self.made[plan].decision, self.made[plan].decided_at = BECOMES[decision], self._tick()
        assert (answer["person"], answer["decision"]) == (who, decision)

    def _decision(self, who: str, hash_: str, body: dict[str, Any]) -> int:
        """The status of a decision of somebody who may decide."""
        plan, number = self.made[hash_], body.get("comparison_id")
        if self._state(hash_) not in OPEN_TO[body["decision"]]:
            return 409
        evidence = self.compared[number] if number is not None else None
        if evidence is not None and evidence.plan != hash_:
            return 404
        if body["decision"] != "approve":
            return 201
        if who in plan.requesters:
            return 403
        if evidence is None or evidence.verdict is None or evidence.made_at < plan.decided_at:
            return 409
        reason = body.get("against_advice") and body.get("note", "").strip()
        return 201 if evidence.verdict == "adopt" or reason else 409

    def _state(self, hash_: str) -> str:
        plan = self.made[hash_]
        done = any(self.compared[number].verdict is not None for number in plan.comparisons)
        return plan.decision or ("compared" if done else "proposed")

    def _cancel(self, who: str, asked: Asked) -> None:
        expected = 409 if asked.state == "done" else 202
        allowed = ENGINEERS | {"operator"}
        answer = self._post(who, f"/v1/jobs/{asked.job}/cancel", None, expected, who not in allowed)
        if answer is not None:
            asked.state = "cancelled"
            assert answer["state"] == "cancelled"

    def _note_comparison(self, hash_: str, number: int) -> None:
        job = self._get(f"/v1/comparisons/{number}")["job_id"]
        self.compared[number] = Compared(number, job, plan=hash_, made_at=self._tick())
        self.made[hash_].comparisons.append(number)

    def _tick(self) -> int:
        self.clock += 1
        return self.clock

    # -------------------------------------------------------------------------------------------- asking

    def _post(
        self, who: str, path: str, body: dict[str, Any] | None, expected: int, forbidden: bool
    ) -> dict[str, Any] | None:
        """What was answered, where that is as expected; None where it was refused, and nothing has changed."""
        expected = 404 if who in ELSEWHERE else 403 if forbidden else expected
        before = self._everything()
        answer = self.client.post(path, json=body, headers=self._key(who))
        assert answer.status_code == expected, (who, path, body, answer.text)
        if answer.is_success:
            self.taken[0] += 1
            return dict(answer.json())
        self.taken[1] += 1
        assert self._everything() == before
        return None

    def _get(self, path: str) -> dict[str, Any]:
        answer = self.client.get(path, headers=self._key("viewer"))
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    def _key(self, who: str) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.city.keys[who]}"}

    def _everything(self) -> tuple[object, ...]:
        with self.city.store.reading() as session:
            jobs = session.execute(select(Job.state, func.count()).group_by(Job.state).order_by(Job.state))
            return (
                *self._audit(),
                *self._count(PlanRequestRow, Plan, ComparisonRow, Approval),
                *map(tuple, jobs),
            )

    def _count(self, *tables: Any) -> list[int]:
        with self.city.store.reading() as session:
            return [session.scalar(select(func.count()).select_from(table)) or 0 for table in tables]

    def _audit(self) -> tuple[int, str]:
        with self.city.store.reading() as session:
            head = session.get_one(AuditHead, 1)
            return head.entries, head.hash


@pytest.fixture
def deciding(databases: Databases, tmp_path_factory: pytest.TempPathFactory) -> Iterator[type[Deciding]]:
    """The machine, on a city of its own on SQLite."""
    store = databases.fresh("sqlite")
    url = store.url.render_as_string(hide_password=False)
    folder = tmp_path_factory.mktemp("deciding")
    settings = Settings(data=folder, db=url, rate_limit="100000/second", queue_limit=100_000)  # type: ignore[arg-type]
    city = City(store, create_app(settings))
    with TestClient(city.app, raise_server_exceptions=False) as client:
        Deciding.city, Deciding.client, Deciding.taken = city, client, [0, 0]
        yield Deciding
    store.close()


@pytest.mark.parametrize(
    ("runs", "steps"), [(20, 25), pytest.param(300, 50, marks=pytest.mark.slow)], ids=["short", "long"]
)
def test_every_way_from_request_to_decision_is_as_the_agency_wants_it(
    deciding: type[Deciding], runs: int, steps: int
) -> None:
    run_state_machine_as_test(
        deciding,
        settings=settings(
            max_examples=runs,
            stateful_step_count=steps,
            derandomize=True,
            database=None,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
    allowed, refused = deciding.taken
    assert min(allowed, refused) > 3 * runs
    with deciding.city.store.reading() as session:
        found = session.execute(select(Approval.decision, func.count()).group_by(Approval.decision))
        decisions = {row[0]: row[1] for row in found}
    assert set(decisions) == {"approve", "reject", "withdraw"}
