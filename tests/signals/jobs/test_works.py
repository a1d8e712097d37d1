"""What jobs do, done: networks read or refused, counts screened and forecast, plans made and compared."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sqlalchemy import select

from signals.access import Caller
from signals.formats.sumo.bundle import bundle_of, unpack_bundle
from signals.formats.sumo.config import read_scenario
from signals.formats.sumo.network import read_network
from signals.formats.sumo.programs import read_plans
from signals.jobs.running import run_job
from signals.model.counts import CountTable
from signals.model.states import JobState, NetworkState, Role
from signals.orders.counts import request_forecast, request_screening
from signals.orders.desk import Desk
from signals.orders.networks import upload_network
from signals.orders.plans import request_comparison, request_plan
from signals.store.audit import Actor, verify
from signals.store.counts import Existing, store_counts
from signals.store.people import add_person
from signals.store.plans import find_document, get_document, state_of
from signals.store.session import Store
from signals.store.tables import (
    AuditEntry,
    ComparisonRow,
    Forecast,
    ForecastSeries,
    IntersectionRow,
    Job,
    Plan,
    PlanRequestRow,
    RoadNetwork,
    Screening,
    WarningRow,
)
from signals.wire.forecasts import NewForecast, NewScreening
from signals.wire.plans import NewComparison, NewPlanRequest
from sumo_nets import find_network

HERE = Actor(None, "test")
MONDAY = np.datetime64("2026-10-26T00:00", "m")
PERIOD = {"kind": "forecast", "begins_at": "2026-11-23T07:00:00Z", "ends_at": "2026-11-23T07:30:00Z"}
FEW = {"seeds": 2, "first_seed": 11}


class Town:
    """A store with the `single` network, and somebody who asks."""

    def __init__(self, store: Store, folder: Path) -> None:
        self.store = store
        self.folder = folder
        with store.writing() as session:
            person = add_person(session, HERE, "Ada")
            self.caller = Caller(person.id, person.name, 0, ((Role.ENGINEER, "/1/"),))

    @property
    def desk(self) -> Desk:
        """Where Ada asks."""
        return Desk(self.caller, 100, datetime.now(UTC))

    def upload(self, content: bytes, name: str = "single") -> tuple[int, Job]:
        """A network uploaded and read."""
        with self.store.writing() as session:
            network, job = upload_network(
                session, self.desk, 1, name, "UTC", content, f"{hash(content):064x}"[-64:]
            )
            ids = network.id, job.id
        return ids[0], self.run(ids[1])

    def run(self, job_id: int) -> Job:
        """The job, after a worker had it."""
        ended = run_job(self.store, job_id, folder=self.folder, lease_s=30, simulations=2)
        with self.store.reading() as session:
            job = session.get_one(Job, job_id)
            assert ended == job.state, job.problem
            return job


@pytest.fixture(scope="module")
def packed() -> bytes:
    """The `single` network, ready to be uploaded."""
    return bundle_of(read_scenario(find_network("single")))


@pytest.fixture
def town(store: Store, tmp_path: Path) -> Town:
    """A town on an empty store, on each of the databases."""
    return Town(store, tmp_path)


@pytest.fixture(scope="module")
def planned(
    databases: Any, tmp_path_factory: pytest.TempPathFactory, packed: bytes
) -> Iterator[tuple[Town, int]]:
    """A town whose network was read and counted for four weeks, for tests that only add to it."""
    store = databases.fresh("sqlite")
    town = Town(store, tmp_path_factory.mktemp("work"))
    network, _ = town.upload(packed)
    with store.writing() as session:
        row = session.get_one(RoadNetwork, network)
        edges = [a["edge"] for i in session.scalars(select(IntersectionRow)) for a in i.facts["approaches"]]
        now = datetime(2026, 11, 23, tzinfo=UTC)
        store_counts(
            session, row, Actor(1, "t"), counted(edges), existing=Existing.REFUSE, now=now, sha256="0" * 64
        )
    yield town, network
    store.close()


def counted(edges: list[str]) -> CountTable:
    """Four weeks of counts with a daily shape, and a dead afternoon on the first edge."""
    rng = np.random.default_rng(7)
    slot = np.arange(4 * 7 * 96)
    shape = 60 + 50 * np.sin((slot % 96) / 96 * 2 * np.pi - 1.8)
    values = rng.poisson(np.outer(shape, np.linspace(0.6, 1.2, len(edges)))).astype(float)
    values[40:60, 0] = 0
    return CountTable(tuple(edges), MONDAY, 15, values, timezone="UTC")


def test_a_network_is_read_with_its_signals(town: Town, packed: bytes) -> None:
    network, job = town.upload(packed)
    assert (job.state, job.result) == (JobState.DONE, {"network": network, "state": "ready"})
    scenario = read_scenario(find_network("single"))
    known = read_network(scenario).intersections["centre"]
    with town.store.reading() as session:
        row = session.get_one(RoadNetwork, network)
        assert (row.state, row.version, row.facts["signals"]) == (NetworkState.READY, 2, 1)
        assert row.facts["vehicles"] > 100
        (signal,) = session.scalars(select(IntersectionRow))
        assert signal.signal == "centre"
        assert [m["id"] for m in signal.facts["movements"]] == [m.id for m in known.movements]
        assert signal.facts["today"]["cycle_s"] == known.program.cycle_s  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("content", "says"),
    [(b"PK\x03\x04rubbish", "zip"), (b"<net/>", "sumolib can't read"), (b"\x7fELF....", "neither")],
)
def test_a_network_that_cant_be_used_is_refused_with_the_reason(
    town: Town, content: bytes, says: str
) -> None:
    network, job = town.upload(content)
    assert job.state == JobState.DONE
    with town.store.reading() as session:
        row = session.get_one(RoadNetwork, network)
        assert row.state == NetworkState.REFUSED
        assert says in row.problem
        assert str(town.folder) not in row.problem


def test_counts_are_screened(planned: tuple[Town, int]) -> None:
    town, network = planned
    with town.store.writing() as session:
        job = request_screening(session, town.desk, network, NewScreening()).id
    assert town.run(job).state == JobState.DONE
    with town.store.reading() as session:
        row = session.scalars(select(Screening)).one()
        found = row.findings
        assert any(f["reason"] == "zeros" and f["slots"] >= 18 for f in found)
        assert (row.first_at, len(row.series)) == (datetime(2026, 10, 26, tzinfo=UTC), len(row.series))
        assert len(row.series) == 4


def test_a_forecast_is_kept_stream_by_stream_and_judged_by_the_next(planned: tuple[Town, int]) -> None:
    town, network = planned
    early = NewForecast(horizon=8, levels=[0.9, 0.1], origin_at=datetime(2026, 11, 20, 6, tzinfo=UTC))
    with town.store.writing() as session:
        jobs = [request_forecast(session, town.desk, network, given).id for given in (early, NewForecast())]
    first, second = (town.run(job) for job in jobs)
    assert first.result is not None
    assert second.result is not None
    with town.store.reading() as session:
        row = session.get_one(Forecast, first.result["forecast"])
        assert (row.horizon, row.levels, row.step_min) == (8, [0.1, 0.9], 15)
        assert row.left_out >= 18
        # what came later tells how good it was: counts are Poisson, so about 10 % off
        assert row.wape is not None
        assert 5 < row.wape < 20
        series = session.scalars(select(ForecastSeries).where(ForecastSeries.forecast_id == row.id)).all()
        assert len(series) == 4
        for one in series:
            mean, low, high = np.frombuffer(one.values, "<f4").reshape(3, 8)
            assert (low <= mean).all()
            assert (mean <= high).all()
        assert session.get_one(Forecast, second.result["forecast"]).wape is None
        warned = session.scalars(select(WarningRow)).all()
        assert second.result["warnings"] + first.result["warnings"] == len(warned)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """A search and a race of seconds: here it matters that they are done, not how well."""
    monkeypatch.setattr("signals.planning.path.SEARCH_WORK", 1e8)
    monkeypatch.setattr("signals.planning.path.RACE_WORK", 1e5)


@pytest.mark.usefixtures("quick")
def test_a_plan_on_forecast_traffic_is_made_compared_and_the_same_again(planned: tuple[Town, int]) -> None:
    town, network = planned
    given = NewPlanRequest.model_validate({"network_id": network, "demand": PERIOD, "validation": FEW})
    hashes = []
    for _ in range(2):
        with town.store.writing() as session:
            request = request_plan(session, town.desk, given)
            request_id, job_id = request.id, request.job.id
        job = town.run(job_id)
        assert job.result is not None
        hashes.append(job.result["plan"])
        with town.store.reading() as session:
            comparison = session.get_one(ComparisonRow, job.result["comparison"])
            assert session.get_one(PlanRequestRow, request_id).plan_hash == job.result["plan"]
        done = town.run(comparison.job_id)
        assert done.result is not None
    assert hashes[0] == hashes[1]
    with town.store.reading() as session:
        plan = session.scalars(select(Plan).where(Plan.hash == hashes[0])).one()
        facts = json.loads(get_document(session, plan.hash, "plan"))
        assert facts["plan"] == plan.digest
        compared = session.scalars(select(ComparisonRow).where(ComparisonRow.plan_hash == plan.hash)).all()
        first, second = (c.figures for c in compared)
        assert first == second
        assert first is not None
        assert first["seeds"] == [11, 12]
        assert (first["current"]["plan"], first["alternatives"][0]["plan"]) == (None, plan.hash)
        assert str(town.folder) not in json.dumps(first)
        assert state_of(session, plan.hash) == "compared"
        # the traffic is kept with the plan: two vehicles a minute and more at the four approaches for half an hour
        traffic = find_document(session, plan.hash, "scenario")
        assert traffic is not None
    scenario = unpack_bundle(traffic, town.folder / "traffic").scenario
    assert (scenario.begin_s, scenario.end_s) == (0.0, 1800.0)


@pytest.mark.slow
@pytest.mark.usefixtures("quick")
def test_a_plan_on_the_uploaded_traffic_is_what_the_network_can_run(
    planned: tuple[Town, int], tmp_path: Path
) -> None:
    town, network = planned
    given = NewPlanRequest.model_validate(
        {"network_id": network, "validation": None, "limits": {"max_cycle_s": 90}}
    )
    with town.store.writing() as session:
        job_id = request_plan(session, town.desk, given).job_id
    result = town.run(job_id).result
    assert result is not None
    assert result["comparison"] is None
    with town.store.reading() as session:
        (tmp_path / "plan.add.xml").write_bytes(get_document(session, result["plan"], "sumo"))
        assert find_document(session, result["plan"], "scenario") is None
        kinds = {"plan", "sumo", "sheet", "hcm"}
        assert all(get_document(session, result["plan"], kind) for kind in kinds)
    program = read_plans([tmp_path / "plan.add.xml"])["centre"]
    today = read_network(read_scenario(find_network("single"))).intersections["centre"].program
    assert today is not None
    assert program.cycle_s <= max(90, today.cycle_s)
    with town.store.writing() as session:
        comparison = request_comparison(session, town.desk, NewComparison(plan=result["plan"], seeds=2))
    assert town.run(comparison.job_id).state == JobState.DONE


def test_what_a_job_cant_do_is_said_in_its_row(town: Town, packed: bytes) -> None:
    network, _ = town.upload(packed)
    with town.store.writing() as session:
        job_id = request_plan(session, town.desk, NewPlanRequest(network_id=network, validation=None)).job_id
        session.get_one(Job, job_id).arguments = {"plan_request_id": 999}
    job = town.run(job_id)
    assert job.state == JobState.FAILED
    assert "incident" in job.problem
    with town.store.reading() as session:
        verify(session)
        assert "job.fail" in set(session.scalars(select(AuditEntry.action)))


def test_streams_that_name_no_place_say_nothing_about_traffic(town: Town, packed: bytes) -> None:
    network, _ = town.upload(packed)
    now = datetime(2026, 11, 23, tzinfo=UTC)
    with town.store.writing() as session:
        row = session.get_one(RoadNetwork, network)
        table = counted(["rain", "snow"])
        store_counts(session, row, Actor(1, "t"), table, existing=Existing.REFUSE, now=now, sha256="0" * 64)
        given = NewPlanRequest.model_validate({"network_id": network, "demand": PERIOD})
        job_id = request_plan(session, town.desk, given).job_id
    job = town.run(job_id)
    assert job.state == JobState.FAILED
    assert "none of the 2 streams" in job.problem
    assert timedelta(0) < job.finished_at - job.created_at  # type: ignore[operator]
