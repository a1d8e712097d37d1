"""Deployments as a worker does them: a store, an approved plan, and virtual units that answer on the loopback."""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from signals.access import Caller
from signals.controllers.virtual.agent import AccessRights
from signals.controllers.virtual.faults import Fault, parse_fault
from signals.controllers.virtual.simulation import SimulatedStreet, StreetOptions
from signals.documents import Document
from signals.formats.sumo.bundle import bundle_of
from signals.formats.sumo.config import read_scenario
from signals.formats.sumo.network import read_network
from signals.formats.sumo.programs import plans_text
from signals.jobs.heartbeat import Heart
from signals.jobs.running import run_job
from signals.jobs.work.plans import keep_plan
from signals.model.network import Network
from signals.model.phasing import SignalProgram
from signals.model.plan import PlanSet, TimingPlan
from signals.model.states import Decision, DeploymentState, JobState, NetworkState, Role, StepState
from signals.orders.desk import Desk
from signals.orders.plans import request_plan
from signals.orders.street import (
    add_controller,
    request_deployment,
    request_emergency_plan,
    request_roll_back,
)
from signals.store.audit import Actor, verify
from signals.store.jobs import release_dead
from signals.store.people import add_person
from signals.store.session import Store
from signals.store.tables import (
    Approval,
    AuditEntry,
    CorridorRow,
    Deployment,
    IntersectionRow,
    Job,
    PlanRequestRow,
    RoadNetwork,
    Upload,
)
from signals.wire.emergency import Departure, NewEmergencyPlan
from signals.wire.plans import NewPlanRequest
from signals.wire.street import NewController, NewDeployment
from sumo_nets import find_network

HERE = Actor(None, "test")
SIGNALS = ("j2", "j3", "j5")
SHIFT_S = 13
"""By which the plan moves every offset: enough for a transition, short enough for one within three cycles."""
SPEED = 200.0


@pytest.fixture(scope="module")
def network() -> Network:
    """The shipped arterial."""
    return read_network(read_scenario(find_network("arterial")))


@contextmanager
def running(network: Network, faults: Sequence[tuple[str, Fault]] = ()) -> Iterator[SimulatedStreet]:
    """Virtual units of the arterial, which live in a thread of their own, two hundred times as fast as we do."""
    by_signal: dict[str, list[Fault]] = {}
    for signal, fault in faults:
        by_signal.setdefault(signal, []).append(fault)
    midnight = datetime.now(UTC).replace(hour=6, minute=0, second=0, microsecond=0)
    options = StreetOptions(AccessRights("reads", "writes"), by_signal, start_utc_s=int(midnight.timestamp()))
    part = replace(network, intersections={s: network.intersections[s] for s in SIGNALS})
    street = SimulatedStreet(part, options)
    begun, loop = threading.Event(), asyncio.new_event_loop()

    async def live() -> None:
        async with street:
            await street.start()
            begun.set()
            await street.run(speed=SPEED)

    task = loop.create_task(live())

    def run() -> None:
        try:
            loop.run_until_complete(task)
        except asyncio.CancelledError:
            pass
        finally:
            loop.close()

    thread = threading.Thread(target=run)
    thread.start()
    assert begun.wait(30)
    try:
        yield street
    finally:
        loop.call_soon_threadsafe(task.cancel)
        thread.join(30)


@dataclass
class Town:
    """A store with an approved plan for three signals of the arterial, and their units on record."""

    store: Store
    folder: Path
    network: Network

    def __post_init__(self) -> None:
        self.credentials = self.folder / "credentials.toml"
        self.credentials.write_text('[street]\ncommunity = "reads"\nwrite = "writes"\n')
        self.credentials.chmod(0o600)
        content = bundle_of(read_scenario(find_network("arterial")))
        now = datetime.now(UTC)
        with self.store.writing() as session:
            person = add_person(session, HERE, "Olga")
            roles = tuple((role, "/1/") for role in Role)
            self.caller = Caller(person.id, person.name, 0, roles)
            session.add(Upload(sha256="1" * 64, content=content, created_at=now))
            session.flush()
            row = RoadNetwork(
                area_id=1, name="arterial", timezone="UTC", state=NetworkState.READY, upload_sha256="1" * 64,
                facts={"signals": len(SIGNALS)}, created_by=person.id, created_at=now,
            )  # fmt: skip
            session.add(row)
            session.flush()
            session.add_all(
                IntersectionRow(network_id=row.id, area_id=1, signal=s, x_m=0.0, y_m=0.0, facts={})
                for s in SIGNALS
            )
            session.add(CorridorRow(network_id=row.id, name="row", signals=["j2", "j3"]))
            session.flush()
            given = NewPlanRequest(network_id=row.id, validation=None)
            request = request_plan(session, self.desk, given)
            made = keep_plan(session, request.id, "0" * 16, False, self.documents())
            session.get_one(PlanRequestRow, request.id).job.state = JobState.DONE
            approval = Approval(
                plan_hash=made["plan"],
                area_id=1,
                decision=Decision.APPROVE,
                person_id=person.id,
                created_at=now,
            )
            session.add(approval)
            session.flush()
            self.network_id, self.approval_id = row.id, approval.id

    @property
    def desk(self) -> Desk:
        """Where Olga asks."""
        return Desk(self.caller, 100, datetime.now(UTC))

    def program(self, signal: str) -> SignalProgram:
        """The plan of a signal: its program in place, some seconds later."""
        field = self.network.intersections[signal].program
        assert field is not None
        return replace(field, offset_s=(field.offset_s + SHIFT_S) % field.cycle_s)

    def documents(self) -> tuple[Document, ...]:
        """The plan's documents, as far as a deployment reads them."""
        plans = PlanSet(({s: TimingPlan(self.program(s)) for s in SIGNALS},), {}, {}, 1, "test", "0" * 64)
        facts = json.dumps({"timings": [{"period": 0}]}).encode()
        return (
            Document("plan", "plan.json", "application/json", facts),
            Document("sumo", "plans.add.xml", "application/xml", plans_text(plans).encode()),
        )

    def register(self, street: SimulatedStreet) -> None:
        """The units' addresses, put on record."""
        with self.store.writing() as session:
            for row in session.scalars(select(IntersectionRow)):
                host, port = street.addresses[row.signal]
                given = {"intersection_id": row.id, "host": host, "port": port, "clock": "simulated"}
                add_controller(session, self.desk, NewController.model_validate(given))

    def deploy(self, **more: Any) -> Deployment:
        """A deployment asked for and done."""
        with self.store.writing() as session:
            given = {"approval_id": self.approval_id, **more}
            made = request_deployment(session, self.desk, NewDeployment.model_validate(given))
            number, job = made.id, made.job_id
        assert job is not None
        self.run(job)
        return self.deployment(number)

    def roll_back(self, number: int) -> Deployment:
        """A deployment taken back."""
        with self.store.writing() as session:
            job = request_roll_back(session, self.desk, number, "enough").job_id
        assert job is not None
        self.run(job)
        return self.deployment(number)

    def plan_way(self, edges: list[str]) -> dict[str, Any]:
        """An ambulance's way through, as its job plans it."""
        with self.store.writing() as session:
            drive = Departure(kind="departure", departs_s=25200, known_at_s=25140)
            given = NewEmergencyPlan(route=edges, drive=drive)
            job = request_emergency_plan(session, self.desk, self.network_id, given).id
        assert self.run(job) == "done"
        with self.store.reading() as session:
            return dict(session.get_one(Job, job).result or {})

    def run(self, job_id: int) -> str:
        """How a worker ended the job."""
        return run_job(self.store, job_id, folder=self.folder, lease_s=30, credentials=self.credentials)

    def deployment(self, number: int) -> Deployment:
        """The row with its steps."""
        with self.store.reading() as session:
            row = session.get_one(Deployment, number)
            assert [step.intersection.signal for step in row.steps]
            return row

    def states(self, number: int) -> dict[str, str]:
        """How far each unit is."""
        with self.store.reading() as session:
            return {s.intersection.signal: s.state for s in session.get_one(Deployment, number).steps}

    def audit(self, number: int) -> list[tuple[str, Any]]:
        """What the audit holds of a deployment."""
        with self.store.reading() as session:
            of = (
                select(AuditEntry)
                .where(AuditEntry.subject == f"deployments/{number}")
                .order_by(AuditEntry.id)
            )
            return [(entry.action, entry.details) for entry in session.scalars(of)]


@pytest.fixture
def town(databases: Any, tmp_path: Path, network: Network) -> Iterator[Town]:
    """A town on SQLite; what the tables do on both databases is tested with the API."""
    store = databases.fresh("sqlite")
    yield Town(store, tmp_path, network)
    store.close()


def commands(street: SimulatedStreet) -> dict[str, int]:
    """The command that each unit has."""
    values = {
        name: signal.database.values["systemPatternControl", ()] for name, signal in street.signals.items()
    }
    assert all(isinstance(v, int) for v in values.values())
    return values  # type: ignore[return-value]


def cycles(street: SimulatedStreet, signal: str) -> tuple[int, int]:
    """Pattern and offset that a unit runs."""
    unit = street.signals[signal]
    pattern = unit.unit.status(("coordPatternStatus", ()))
    offset = unit.database.values["patternOffsetTime", (pattern,)]  # type: ignore[arg-type]
    return pattern, offset  # type: ignore[return-value]


def test_an_approved_plan_is_deployed_kept_and_rolled_back(town: Town, network: Network) -> None:
    with running(network) as street:
        town.register(street)
        offsets = {s: street.signals[s].pattern.offset_s for s in SIGNALS}
        made = town.deploy()
        assert (made.state, made.problem) == (DeploymentState.IN_FORCE, "")
        assert set(town.states(made.id).values()) == {StepState.RUNNING}
        for signal in SIGNALS:
            pattern, offset = cycles(street, signal)
            assert pattern == commands(street)[signal] != 0
            cycle = int(street.signals[signal].pattern.cycle_s)
            assert offset == (offsets[signal] + SHIFT_S) % cycle
        heart = Heart(town.store, town.credentials)
        before = [street.signals[s].unit.utc_ms for s in SIGNALS]
        heart.beat()
        assert set(town.states(made.id).values()) == {StepState.RUNNING}
        assert [street.signals[s].unit.utc_ms for s in SIGNALS] >= before
        back = town.roll_back(made.id)
        assert back.state == DeploymentState.ROLLED_BACK
        assert set(commands(street).values()) == {0}
        assert not [s for s in street.signals.values() if s.unit.tripped]
    actions = [action for action, _ in town.audit(made.id)]
    assert actions.count("deployment.unit-running") == len(SIGNALS)
    assert actions[-1] == "deployment.rolled-back"
    written = next(details for action, details in town.audit(made.id) if action == "deployment.unit-written")
    assert [v for name, v in written["values"].items() if name.startswith("patternCycleTime")] == [[0, 110]]
    with town.store.reading() as session:
        assert verify(session)[0] > 0


def test_a_dry_run_tells_what_would_change_and_writes_nothing(town: Town, network: Network) -> None:
    with running(network) as street:
        town.register(street)
        before = {s: dict(street.signals[s].database.values) for s in SIGNALS}
        made = town.deploy(dry_run=True)
        assert made.state == DeploymentState.CHECKED
        assert all(street.signals[s].database.values == before[s] for s in SIGNALS)
    with town.store.reading() as session:
        for step in session.get_one(Deployment, made.id).steps:
            assert step.facts["differences"]
            assert step.slot is not None


def test_a_unit_that_refuses_to_verify_stops_its_wave_before_a_command(town: Town, network: Network) -> None:
    with running(network, [parse_fault("j2:refused_verify@verify:1")]) as street:
        town.register(street)
        made = town.deploy()
        assert set(commands(street).values()) == {0}
    assert made.state == DeploymentState.REFUSED
    assert town.states(made.id)["j2"] == StepState.REFUSED
    assert set(town.states(made.id).values()) == {StepState.REFUSED, StepState.WAITING}


def test_a_cancelled_deployment_gives_back_what_it_has_commanded(town: Town, network: Network) -> None:
    with running(network) as street:
        town.register(street)
        with town.store.writing() as session:
            given = NewDeployment(approval_id=town.approval_id, watch_cycles=20)
            made = request_deployment(session, town.desk, given)
            number, job = made.id, made.job_id
        assert job is not None
        worker = threading.Thread(target=town.run, args=(job,))
        worker.start()
        until = time.monotonic() + 60
        while commands(street)["j2"] == 0 and time.monotonic() < until:
            time.sleep(0.05)
        with town.store.writing() as session:
            session.get_one(Job, job).cancel_asked = True
        worker.join(90)
        assert not worker.is_alive()
        assert set(commands(street).values()) == {0}
    assert town.deployment(number).state == DeploymentState.HALTED
    assert town.states(number)["j2"] == StepState.RETURNED


def work(url: str, job_id: int, folder: Path, credentials: Path) -> None:
    """A worker of its own process, which may be killed."""
    run_job(Store(url), job_id, folder=folder, lease_s=30, credentials=credentials)


def test_after_kill_9_another_worker_brings_the_deployment_to_its_end(town: Town, network: Network) -> None:
    with running(network) as street:
        town.register(street)
        with town.store.writing() as session:
            made = request_deployment(session, town.desk, NewDeployment(approval_id=town.approval_id))
            number, job = made.id, made.job_id
        assert job is not None
        url = town.store.url.render_as_string(hide_password=False)
        worker = multiprocessing.get_context("spawn").Process(
            target=work, args=(url, job, town.folder, town.credentials)
        )
        worker.start()
        until = time.monotonic() + 90
        while commands(street)["j2"] == 0 and time.monotonic() < until:
            time.sleep(0.01)
        worker.kill()
        worker.join()
        assert town.deployment(number).state == DeploymentState.ROLLING_OUT
        held = commands(street)["j2"]
        assert held != 0
        with town.store.writing() as session:
            assert release_dead(session, job, 1, most_attempts=3) is not None
        assert town.run(job) == "done"
        assert town.deployment(number).state == DeploymentState.IN_FORCE
        assert commands(street)["j2"] == held
    actions = [action for action, details in town.audit(number) if details.get("signal") == "j2"]
    assert actions.count("deployment.unit-writing") == 1
    assert actions[-1] == "deployment.unit-running"


def test_units_fall_back_by_themselves_when_the_service_is_gone(town: Town, network: Network) -> None:
    with running(network) as street:
        town.register(street)
        made = town.deploy(intersections=[1])
        assert made.state == DeploymentState.IN_FORCE, made.problem
        unit = street.signals["j2"].unit
        backup_ms = 1000 * int(street.signals["j2"].database.values["unitBackupTime", ()])  # type: ignore[arg-type]
        begun, until = unit.utc_ms, time.monotonic() + 60
        while unit.utc_ms < begun + backup_ms + 60_000 and time.monotonic() < until:
            time.sleep(0.05)
        assert commands(street)["j2"] == 0
        assert cycles(street, "j2")[0] == 1
        # what is found then is written down, and not commanded again
        Heart(town.store, town.credentials).beat()
        assert commands(street)["j2"] == 0
    assert town.states(made.id) == {"j2": StepState.RETURNED}


def test_a_withdrawn_approval_is_refused_when_the_job_begins(town: Town, network: Network) -> None:
    with running(network) as street:
        town.register(street)
        with town.store.writing() as session:
            made = request_deployment(session, town.desk, NewDeployment(approval_id=town.approval_id))
            number, job = made.id, made.job_id
            session.add(
                Approval(
                    plan_hash=made.plan_hash, area_id=1, decision=Decision.WITHDRAW,
                    person_id=town.caller.person_id, created_at=datetime.now(UTC) + timedelta(seconds=1),
                )
            )  # fmt: skip
        assert job is not None
        assert town.run(job) == "failed"
        assert set(commands(street).values()) == {0}
    assert "no longer holds" in town.deployment(number).problem


def test_the_heart_gives_back_a_unit_that_somebody_else_commands(town: Town, network: Network) -> None:
    with running(network) as street:
        town.register(street)
        made = town.deploy(intersections=[1])
        assert made.state == DeploymentState.IN_FORCE, made.problem
        street.signals["j2"].database.values["systemPatternControl", ()] = 1
        street.signals["j2"].unit.reread()
        Heart(town.store, town.credentials).beat()
        assert commands(street)["j2"] == 1
    assert town.states(made.id) == {"j2": StepState.RETURNED}


def test_a_way_through_is_planned_on_the_plans_in_force(town: Town, network: Network) -> None:
    edges = ["j1_j2", "j1_j2_pocket", "j2_j3", "j2_j3_pocket", "j3_j4"]
    with running(network) as street:
        town.register(street)
        before = town.plan_way(edges)
        made = town.deploy()
        assert made.state == DeploymentState.IN_FORCE, made.problem
        after = town.plan_way(edges)
    assert [part["signal"] for part in before["signals"]] == [part["signal"] for part in after["signals"]]
    # offsets moved, so what is held when moves with them
    assert before["signals"] != after["signals"]
    assert after["computed_in_s"] < 60
