"""Nights of the service's networks: what they read of the store, and how their plans come to be decided on."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sqlalchemy import func, select
from starlette.testclient import TestClient

from api.app import create_app
from signals.access import Caller
from signals.cli import nightly as cli
from signals.demand.margins import approaches_of
from signals.formats.sumo.bundle import bundle_of, unpack_bundle
from signals.formats.sumo.config import read_scenario
from signals.formats.sumo.network import read_network
from signals.jobs.running import run_job
from signals.model.counts import CountTable
from signals.model.network import Network
from signals.model.states import Role
from signals.nightly import steps
from signals.nightly.steps import Steps, forecast_part
from signals.orders.desk import Desk
from signals.orders.networks import upload_network
from signals.settings import Settings
from signals.store.audit import Actor, verify
from signals.store.counts import store_counts
from signals.store.plans import requested_signals
from signals.store.session import Store
from signals.store.tables import AuditEntry, RoadNetwork
from sumo_nets import find_network
from tests.api.conftest import City
from tests.signals.nightly import fakes

MONDAY, TUESDAY = "2026-11-23", "2026-11-24"
FIRST = np.datetime64("2026-11-02T00:00", "m")
NOW = datetime(2026, 11, 23, tzinfo=UTC)
REAL_STEPS = steps.real_steps
Run = Callable[..., Any]


@pytest.fixture(scope="module")
def packed() -> bytes:
    """The `single` network, ready to be uploaded."""
    return bundle_of(read_scenario(find_network("single")))


@pytest.fixture(scope="module")
def network(packed: bytes, tmp_path_factory: pytest.TempPathFactory) -> Network:
    """The network that is uploaded."""
    return read_network(unpack_bundle(packed, tmp_path_factory.mktemp("network")).scenario)


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where jobs work; recorded traffic is kept there for the next."""
    return tmp_path_factory.mktemp("work")


@dataclass
class Service:
    """A service with a network named `main`, which is read."""

    city: City
    store: Store
    data: Path
    packed: bytes
    work: Path
    run: Run

    def upload(self, name: str, timezone: str = "UTC", read: bool = True) -> int:
        """Another network in the north."""
        id_ = self.city.person_id("engineer")
        caller = Caller(id_, "engineer", 0, ((Role.ENGINEER, "/1/"),))
        with self.store.writing() as session:
            desk = Desk(caller, 100, NOW)
            sha = f"{len(self.packed):064x}"
            network, job = upload_network(session, desk, self.city.north, name, timezone, self.packed, sha)
            number, job_id = network.id, job.id
        if read:
            run_job(self.store, job_id, folder=self.work, lease_s=30, simulations=1)
        return number

    def count(self, network: int, names: list[str], step_min: int = 15, days: int = 21) -> None:
        """Counts with a daily shape."""
        slots = 1440 // step_min
        slot = np.arange(days * slots)
        shape = (60 + 50 * np.sin((slot % slots) / slots * 2 * np.pi - 1.8)) * step_min / 15
        values = np.floor(np.outer(shape, np.linspace(0.6, 1.2, len(names))))
        with self.store.writing() as session:
            row = session.get_one(RoadNetwork, network)
            table = CountTable(tuple(names), FIRST, step_min, values, timezone=row.timezone)
            store_counts(session, row, Actor(1, "t"), table, now=NOW, sha256="0" * 64)

    def night(self, day: str = MONDAY, *more: str, code: int = 0) -> dict[str, Any]:
        """What `greensplit nightly` says."""
        shown = self.run("nightly", "--data", self.data, "--date", day, "--workers", "0", "--json", *more)
        assert shown.code == code, shown.err
        return dict(json.loads(shown.out))

    def as_(self, name: str) -> TestClient:
        """A client with somebody's key."""
        return self.city.as_(name)

    def plans(self) -> list[dict[str, Any]]:
        """The plans as the approver sees them."""
        answer = self.as_("approver").get("/v1/plans")
        assert answer.status_code == 200, answer.text
        return list(answer.json()["items"])

    def decide(self, plan: dict[str, Any], decision: str = "approve", **more: Any) -> Any:
        """The approver's decision on a plan, by its last comparison."""
        if decision == "approve":
            more.setdefault("comparison_id", plan["comparisons"][-1] if plan["comparisons"] else None)
        return self.as_("approver").post(
            f"/v1/plans/{plan['hash']}/approvals", json={"decision": decision, **more}
        )

    def entries(self) -> int:
        """How long the audit is."""
        with self.store.reading() as session:
            verify(session)
            return session.scalar(select(func.count()).select_from(AuditEntry)) or 0


@pytest.fixture
def service(
    store: Store,
    tmp_path: Path,
    packed: bytes,
    work: Path,
    network: Network,
    greensplit: Run,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Service]:
    """A service whose nights forecast its counts, and plan by moments' work."""
    url = store.url.render_as_string(hide_password=False)
    monkeypatch.setenv("GREENSPLIT_DB", url)
    quick = Steps(forecast_part, fakes.subareas, fakes.plan, fakes.validate, fakes.page)
    monkeypatch.setattr(steps, "real_steps", lambda: quick)
    (tmp_path / "work").symlink_to(work)
    app = create_app(Settings(data=tmp_path, db=url, rate_limit="100000/second"))  # type: ignore[arg-type]
    made = Service(City(store, app), store, tmp_path, packed, work, greensplit)
    made.count(made.upload("main"), sorted(set(approaches_of(network).values())))
    yield made
    app.state.store.close()


def test_a_nights_plans_are_approved_through_the_service_and_compared_with_the_next_night(
    service: Service,
) -> None:
    found = service.night(MONDAY, "--validate", "all")
    (facts,) = found["networks"]
    assert facts["queue"] == {"plans": 1, "new": 1, "comparisons": 1, "superseded": 0}
    (plan,) = service.plans()
    signals = plan["night"]["signals"]
    assert plan["night"] == {"day": MONDAY, "day_type": "weekday", "group": signals[0], "signals": signals}
    assert (plan["state"], plan["requests"], plan["area_id"]) == ("compared", [], service.city.north)
    viewer = service.as_("viewer")
    assert [viewer.get(d["href"]).status_code for d in plan["documents"]] == [200, 200]
    comparison = viewer.get(f"/v1/comparisons/{plan['comparisons'][0]}").json()
    assert (comparison["verdict"], comparison["figures"]["reason"]) == ("adopt", "so it was ordered")
    assert viewer.get(f"/v1/jobs/{comparison['job_id']}").json()["state"] == "done"
    done = service.decide(plan)
    assert done.status_code == 201, done.text
    (facts,) = service.night(TUESDAY, "--validate", "all")["networks"]
    assert facts["signals_with_a_plan_in_force"] == 1
    first, second = service.plans()
    assert (first["state"], second["state"]) == ("approved", "compared")
    (timing,) = [d for d in second["documents"] if d["kind"] == "plan"]
    (row, *_) = viewer.get(timing["href"]).json()["found"]["signals"][signals[0]]
    with service.store.reading() as session:
        assert requested_signals(session, second["hash"]) == set(signals)
    assert row["changes"][0]["to_s"] == row["changes"][0]["from_s"] + 1.0
    before = viewer.get(next(d["href"] for d in first["documents"] if d["kind"] == "plan")).json()
    assert row["changes"][0]["from_s"] == before["found"]["signals"][signals[0]][0]["changes"][0]["to_s"]


def test_a_night_that_is_run_again_adds_nothing(service: Service) -> None:
    service.night(MONDAY, "--validate", "all")
    plans, entries = service.plans(), service.entries()
    (facts,) = service.night(MONDAY, "--validate", "all")["networks"]
    assert facts["queue"] == {"plans": 1, "new": 0, "comparisons": 0, "superseded": 0}
    assert (service.plans(), service.entries()) == (plans, entries)
    service.decide(plans[0])
    entries = service.entries()
    (facts,) = service.night(MONDAY, "--validate", "all")["networks"]
    assert facts["signals_with_a_plan_in_force"] == 0
    assert (len(service.plans()), service.entries()) == (1, entries)


def test_a_later_nights_plan_takes_the_place_of_one_that_nobody_has_decided_on(service: Service) -> None:
    service.night("2026-11-22", "--validate", "all")
    service.night(MONDAY, "--validate", "all")
    sunday, monday = service.plans()
    (facts,) = service.night(TUESDAY, "--validate", "all")["networks"]
    assert facts["queue"]["superseded"] == 1, "Monday's, but not the one for Sundays"
    states = {plan["hash"]: plan["state"] for plan in service.plans()}
    (tuesday,) = states.keys() - {sunday["hash"], monday["hash"]}
    assert states == {sunday["hash"]: "compared", monday["hash"]: "rejected", tuesday: "compared"}
    shown = service.as_("viewer").get(f"/v1/plans/{monday['hash']}/approvals").json()["items"]
    assert [(a["decision"], a["person"], tuesday in a["note"]) for a in shown] == [
        ("reject", "nightly", True)
    ]
    entries = service.entries()
    (facts,) = service.night(TUESDAY, "--validate", "all")["networks"]
    assert (facts["queue"]["superseded"], service.entries()) == (0, entries)
    (facts,) = service.night(MONDAY, "--validate", "all")["networks"]
    assert facts["queue"]["superseded"] == 0, "an earlier day's plan doesn't come back over a later one's"
    refused = service.decide(monday)
    assert (refused.status_code, "comparison" in refused.text) == (409, True), (
        "newer evidence is wanted first"
    )


def test_a_plan_that_sumo_did_not_see_waits_for_evidence_which_another_run_brings(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    service.night(MONDAY, "--validate", "none")
    (plan,) = service.plans()
    assert (plan["state"], plan["comparisons"]) == ("proposed", [])
    assert service.decide(plan).status_code == 409
    signal = plan["night"]["group"]
    monkeypatch.setenv("CITY_FAULTS", json.dumps({f"{signal}:says": "worse"}))
    (facts,) = service.night(MONDAY, "--validate", "all")["networks"]
    assert facts["queue"] == {"plans": 1, "new": 0, "comparisons": 1, "superseded": 0}
    (plan,) = service.plans()
    assert plan["state"] == "compared"
    refused = service.decide(plan)
    assert (refused.status_code, "keep the current plan" in refused.text) == (409, True)
    assert service.decide(plan, against_advice=True, note="a fair").status_code == 201


def test_a_plan_that_does_no_better_is_not_handed_on(
    service: Service, network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    (signal,) = network.intersections
    monkeypatch.setenv("CITY_FAULTS", json.dumps({f"{signal}:says": "no difference"}))
    (facts,) = service.night(MONDAY, "--validate", "all")["networks"]
    assert (facts["approvals"]["kept"], facts["queue"]["plans"]) == (1, 0)
    assert service.plans() == []


def test_what_is_withdrawn_or_of_another_kind_of_day_is_not_in_force(service: Service) -> None:
    service.night("2026-11-22", "--validate", "all")
    (sunday,) = service.plans()
    service.decide(sunday)

    def in_force(day: str, *more: str) -> int:
        (facts,) = service.night(day, *more)["networks"]
        return int(facts["signals_with_a_plan_in_force"])

    assert in_force(MONDAY) == 0
    assert in_force("2026-11-26", "--country", "US") == 1
    assert service.decide(sunday, "withdraw").status_code == 201
    assert in_force("2026-11-29") == 0


def test_networks_that_no_night_can_be_made_of_are_named_and_stop_no_other(service: Service) -> None:
    service.upload("uncounted")
    service.upload("unread", read=False)
    unknown = service.upload("counted elsewhere")
    service.count(unknown, ["somewhere", "else"])
    found = service.night(code=8)
    assert [facts["city"] for facts in found["networks"]] == ["main"]
    assert found["left_out"] == ["2 uncounted: has no counts", "3 unread: hasn't been read yet"]
    (failed,) = found["failed"]
    assert failed.startswith("4 counted elsewhere: none of the 2 streams is named after an approach edge")
    assert service.night(MONDAY, "--network", "uncounted", code=8)["failed"] == ["2 uncounted: has no counts"]
    assert service.night(MONDAY, "--network", "1")["failed"] == []


@pytest.mark.slow
def test_a_real_nights_plan_can_be_compared_on_the_uploaded_traffic_too(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(steps, "real_steps", REAL_STEPS)
    (facts,) = service.night(MONDAY, "--validate", "none")["networks"]
    assert (facts["signals_planned"], facts["queue"]["new"]) == (1, 1)
    (plan,) = service.plans()
    asked = service.as_("engineer").post("/v1/comparisons", json={"plan": plan["hash"], "seeds": 2})
    assert asked.status_code == 202, asked.text
    job = asked.json()["job_id"]
    assert run_job(service.store, job, folder=service.work, lease_s=60, simulations=1) == "done"
    (plan,) = service.plans()
    assert (plan["state"], plan["comparisons"]) == ("compared", [asked.json()["id"]])


def test_decisions_on_the_services_plans_are_not_taken_beside_it(service: Service) -> None:
    service.night(MONDAY, "--validate", "all")
    folder = service.data / "networks" / "1-main"
    where = ("--data", folder, "--date", MONDAY)
    ended = service.run("night", "approve", *where, "--by", "Ada")
    assert (ended.code, "is a night of the service" in ended.err) == (2, True)
    assert service.run("night", "queue", *where).out.count("waiting") == 1
    (plan,) = service.plans()
    facts = json.loads((folder / "nights" / MONDAY / "handed-on.json").read_text())
    assert facts == {"plans": {plan["night"]["group"]: plan["hash"]}}


def test_days_by_the_clock_are_those_of_the_networks_timezone(service: Service) -> None:
    (facts,) = service.night("2026-11-24")["networks"]
    assert facts["day"] == "2026-11-24"
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(cli, "datetime", _Clock)
        (facts,) = service.night("tomorrow")["networks"]
    assert facts["day"] == "2026-11-25"


class _Clock(datetime):
    @classmethod
    def now(cls, tz: tzinfo | None = None) -> _Clock:  # type: ignore[override]
        moment = datetime(2026, 11, 24, 23, 30, tzinfo=UTC).astimezone(tz)
        return cls(moment.year, moment.month, moment.day)


def test_options_of_the_service_are_refused_for_a_citys_folder(greensplit: Run, tmp_path: Path) -> None:
    (tmp_path / "city.toml").write_text("")
    ended = greensplit("nightly", "--data", tmp_path, "--date", MONDAY, "--country", "AT")
    assert (ended.code, "--network and --country are for the service's networks" in ended.err) == (2, True)
