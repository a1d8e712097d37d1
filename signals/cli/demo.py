"""`greensplit demo`: the whole path through a service of its own, from upload to the street."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from zoneinfo import ZoneInfo

import typer

from signals.cli.app import app
from signals.cli.console import (
    Json,
    ShowProgress,
    console,
    job_bars,
    print_json,
    progress_bars,
    require_folder,
)
from signals.errors import GreensplitError, InputError
from signals.model.states import Role

if TYPE_CHECKING:
    from signals.cli.demo_street import Communities, Proof, Street
    from signals.client import Client
    from signals.formats.sumo.config import Scenario
    from signals.wire.forecasts import ForecastSeriesShown
    from signals.wire.jobs import JobShown
    from signals.wire.plans import ApprovalShown, ComparisonShown, PlanShown
    from signals.wire.street import DeploymentShown

TIMEZONE = "Europe/Vienna"
"""Of the shipped counts."""
PERIOD_FROM_H, PERIOD_H = 7, 1
"""The period planned for: from seven to eight, on the day after the last count."""
START_S = 60.0
REQUESTER, APPROVER, OPERATOR = "Ada", "Ben", "Olga"
STREET_SEED = 101


@app.command()
def demo(
    network: Annotated[str, typer.Option(help="A shipped network: arterial, grid or single.")] = "arterial",
    seeds: Annotated[int, typer.Option(min=2, max=50, help="Seeds of the comparison.")] = 5,
    jobs: Annotated[int, typer.Option(min=1, help="Simulations at the same time.")] = 2,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Folder to keep the service's data and the plan in.")
    ] = None,
    keep: Annotated[
        bool, typer.Option("--keep", help="Leave the service running until interrupted.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Walk the whole path on a shipped network, through a service: upload, forecast, plan, compare, approve, push.

    Without counts to forecast from (grid, single) the plan is for the network's own traffic. The plan is pushed over
    SNMP to a virtual controller for each signal, which drive the signals of SUMO.
    """
    from signals.cli.demo_street import Communities
    from signals.client import Client
    from sumo_nets import find_counts, find_network

    try:
        config = find_network(network)
    except ValueError as error:
        raise InputError(str(error)) from None
    try:
        counts = find_counts(network)
    except ValueError:
        counts = None
    folder = output or Path(tempfile.mkdtemp(prefix="greensplit-demo-"))
    require_folder(folder)
    keys = _make_keys(folder)
    communities = Communities.drawn()
    credentials = communities.keep(folder / "credentials.toml")
    with progress_bars(as_json) as progress, _service(folder, jobs, credentials, progress) as url:
        with (
            Client(url, keys[REQUESTER]) as engineer,
            Client(url, keys[APPROVER]) as approver,
            Client(url, keys[OPERATOR]) as operator,
        ):
            walk = _Walk(engineer, approver, operator, progress)
            walk.upload(config, network)
            if counts is not None:
                walk.ask_forecast(counts)
            walk.ask_plan(seeds)
            walk.see_forecast()
            walk.see_plan()
            walk.approve()
            files = walk.fetch(folder)
            if walk.decided.decision == "approve":
                walk.push(config, folder, communities)
        if as_json:
            print_json(walk.facts(url, folder, files))
        else:
            walk.show(url, folder)
        if keep:
            console().print(f"{url} serves until you press Ctrl-C; keys: {keys}")
            _until_interrupted()
    if not as_json and not keep:
        console().print(f"to look at it again: greensplit serve --data {folder}")


class _Walk:
    """The path, step by step, and what came of each."""

    def __init__(self, engineer: Client, approver: Client, operator: Client, progress: ShowProgress) -> None:
        self.engineer = engineer
        self.approver = approver
        self.operator = operator
        self.pushed: _Pushed | None = None
        self.progress = progress
        self.network_id = 0
        self.forecast_job: int | None = None
        self.series: list[ForecastSeriesShown] = []
        self.demand: dict[str, Any] = {"kind": "scenario"}

    def upload(self, config: Path, name: str) -> None:
        """The network, packed and read."""
        from signals.formats.sumo.bundle import bundle_of
        from signals.formats.sumo.config import read_scenario

        content = bundle_of(read_scenario(config))
        made = self.engineer.upload_network(content, name, timezone=TIMEZONE)
        self._wait("reading the network", made.job_id)
        self.network_id = made.id

    def ask_forecast(self, counts: Path) -> None:
        """Counts sent, and a forecast asked for, up to the end of the period to be planned."""
        from signals.wire.forecasts import NewForecast

        self.progress("sending counts", 0, 1)
        self.received = self.engineer.send_counts(self.network_id, counts)
        self.progress("sending counts", 1, 1)
        zone = ZoneInfo(TIMEZONE)
        day = (self.received.last_at + timedelta(minutes=15)).astimezone(zone)
        begins = day.replace(hour=PERIOD_FROM_H, minute=0)
        ends = begins + timedelta(hours=PERIOD_H)
        ahead = int((ends - day) / timedelta(minutes=15))
        self.forecast_job = self.engineer.request_forecast(self.network_id, NewForecast(horizon=ahead)).id
        self.demand = {"kind": "forecast", "begins_at": begins, "ends_at": ends}

    def see_forecast(self) -> None:
        """The forecast, where one was asked for."""
        if self.forecast_job is not None:
            result = self._wait("forecasting", self.forecast_job).result
            assert result is not None
            self.series = list(self.engineer.list_forecast_series(result["forecast"]))

    def ask_plan(self, seeds: int) -> None:
        """A plan asked for, with its comparison in SUMO; it is made beside the forecast that is to be shown."""
        from signals.wire.plans import NewPlanRequest

        given = NewPlanRequest.model_validate(
            {
                "network_id": self.network_id,
                "demand": self.demand,
                "controllers": "nema",
                "validation": {"seeds": seeds},
            }
        )
        self.plan_job = self.engineer.request_plan(given).job.id

    def see_plan(self) -> None:
        """The plan and its comparison."""
        result = self._wait("planning", self.plan_job).result
        assert result is not None
        comparison = self.engineer.comparison(result["comparison"])
        self._wait("comparing in SUMO", comparison.job_id)
        self.comparison: ComparisonShown = self.engineer.comparison(comparison.id)
        self.hash: str = result["plan"]

    def approve(self) -> None:
        """The second person's decision: what the comparison advises."""
        from signals.wire.plans import NewApproval

        decision = "approve" if self.comparison.verdict == "adopt" else "reject"
        self.decided: ApprovalShown = self.approver.decide(
            self.hash,
            NewApproval.model_validate({"decision": decision, "comparison_id": self.comparison.id}),
        )
        self.made: PlanShown = self.engineer.plan(self.hash)

    def fetch(self, folder: Path) -> dict[str, Path]:
        """The plan's documents as files, by kind; of the diagrams one."""
        from signals.formats.files import write_whole

        files = {}
        for document in self.made.documents:
            path = folder / document.name
            write_whole(path, self.engineer.document(self.hash, document.kind, document.name))
            files[document.kind] = path
        return files

    def push(self, config: Path, folder: Path, communities: Communities) -> None:
        """The plan pushed to the units of a running street, beside the same street on its own plan."""
        from signals.cli.demo_street import SPEED, open_street, read_proofs, shown_since
        from signals.cli.street import CREDENTIALS, put_on_record
        from signals.formats.sumo.network import read_network
        from signals.formats.sumo.programs import read_plans
        from signals.model.controller import UnitClock
        from signals.wire.street import NewDeployment

        scenario = self._traffic(config, folder)
        self.progress("starting the street", 0, 1)
        with (
            open_street(scenario, folder, "own-plan", communities) as before,
            open_street(scenario, folder, "pushed", communities, speed=SPEED) as after,
        ):
            before.wait_ready()
            after.wait_ready()
            put_on_record(self.operator, self.network_id, after.units, CREDENTIALS, UnitClock.SIMULATED)
            self.progress("starting the street", 1, 1)
            made = self.operator.deploy(NewDeployment(approval_id=self.decided.id))
            self._wait("pushing the plan", made.job_id)
            made = self.operator.deployment(made.id)
            asked = {step.signal: after.ask_pattern(step.signal) for step in made.steps}
            self.progress("watching the street", 0, 1)
            tripped = [*before.wait_end(), *after.wait_end()]
            self.progress("watching the street", 1, 1)
        patterns = {step.signal: step.slot[0] for step in made.steps if step.slot}
        plan = folder / next(d.name for d in self.made.documents if d.kind == "sumo")
        since = shown_since(after.states, read_plans([plan]), read_network(scenario))
        proofs = read_proofs(after.log, patterns)
        self.pushed = _Pushed(made, proofs, since, asked, tripped, before, after)

    def _traffic(self, config: Path, folder: Path) -> Scenario:
        """The traffic that the plan was made for: the forecast's, or the network's own."""
        from signals.formats.sumo.bundle import unpack_bundle
        from signals.formats.sumo.config import read_scenario

        own = next((d for d in self.made.documents if d.kind == "scenario"), None)
        if own is None:
            return read_scenario(config)
        content = self.engineer.document(self.hash, own.kind, own.name)
        return unpack_bundle(content, folder / "traffic").scenario

    def show(self, url: str, folder: Path) -> None:
        """Tables of what was found, and where to look."""
        from signals.tables.service import comparison_table, forecast_table

        shown = console()
        if self.series:
            shown.print(forecast_table(self.series, PERIOD_H * 4))
        shown.print(comparison_table(self.comparison))
        shown.print(
            f"plan {self.hash[:16]}… is {self.made.state}: requested by {REQUESTER}, "
            f"decided by {self.decided.person}"
        )
        if self.pushed is not None:
            self.pushed.show()
        shown.print(f"{url}/v1/plans/{self.hash}")
        shown.print(f"timing sheet, HCM report, SUMO file and diagrams: {folder}")

    def facts(self, url: str, folder: Path, files: dict[str, Path]) -> dict[str, Any]:
        """Everything for machines."""
        return {
            "url": f"{url}/v1/plans/{self.hash}",
            "data": str(folder),
            "files": {kind: str(path) for kind, path in files.items()},
            "plan": self.made.model_dump(mode="json"),
            "comparison": self.comparison.model_dump(mode="json"),
            "decision": self.decided.model_dump(mode="json"),
            "forecast": [series.model_dump(mode="json") for series in self.series],
            "street": self.pushed.facts() if self.pushed is not None else None,
        }

    def _wait(self, what: str, job_id: int | None) -> JobShown:
        self.progress(what, 0, 1)
        done = self.engineer.wait(job_id, job_bars(self.progress, indent="  "))
        self.progress(what, 1, 1)
        return done


@dataclass(frozen=True)
class _Pushed:
    """A deployment on the demo's street, and what others say of it: the event log, snmpget, SUMO's vehicles."""

    made: DeploymentShown
    proofs: dict[str, Proof | None]
    since: dict[str, float]
    asked: dict[str, int | None]
    tripped: list[str]
    before: Street
    after: Street

    def show(self) -> None:
        """A table of the units, and the delay before and after."""
        from signals.tables.street import proof_table

        shown = console()
        shown.print(proof_table(self.made, self.proofs, self.asked, self.sumo_after_s))
        if None in self.asked.values():
            shown.print(
                "snmpget isn't installed, so no other program was asked; on Debian: apt-get install snmp"
            )
        told = ", ".join(self.tripped) or "none"
        shown.print(f"conflict monitors that tripped: {told}")
        (before, number), (after, _) = self.before.delay_s(), self.after.delay_s()
        shown.print(
            f"on the street, seed {STREET_SEED}, vehicles due after the first 20 minutes ({number}): mean delay "
            f"{before:.1f} s with the units' own plan, {after:.1f} s with the pushed one"
        )

    @property
    def sumo_after_s(self) -> dict[str, float | None]:
        """How long after the command SUMO's own record of a signal became the plan, and stayed so to the end."""
        return {
            signal: max(0.0, self.since[signal] - proof.begun_s) if proof and signal in self.since else None
            for signal, proof in self.proofs.items()
        }

    def facts(self) -> dict[str, Any]:
        """The same for machines."""
        (before, number), (after, _) = self.before.delay_s(), self.after.delay_s()
        return {
            "deployment": self.made.model_dump(mode="json"),
            "events": {s: asdict(p) if p is not None else None for s, p in self.proofs.items()},
            "sumo_shows_it_after_s": self.sumo_after_s,
            "snmpget": self.asked,
            "tripped": self.tripped,
            "vehicles": number,
            "mean_delay_own_plan_s": before,
            "mean_delay_pushed_s": after,
        }


def _make_keys(folder: Path) -> dict[str, str]:
    """Three people: one who asks, one who approves, one who brings it to the street."""
    from contextlib import closing

    from signals.store.areas import CITY
    from signals.store.audit import Actor
    from signals.store.people import add_person, create_key, find_person, grant_role
    from signals.store.session import Store
    from signals.store.tables import Area

    keys = {}
    actor = Actor(None, "demo")
    with closing(Store(_database(folder))) as store:
        store.upgrade()
        with store.writing() as session:
            city = session.get_one(Area, CITY)
            for name, role in (
                (REQUESTER, Role.ENGINEER),
                (APPROVER, Role.APPROVER),
                (OPERATOR, Role.OPERATOR),
            ):
                person = find_person(session, name) or add_person(session, actor, name)
                grant_role(session, actor, person, role, city)
                keys[name] = create_key(session, actor, person, days=1, label="demo")[1]
    return keys


def _database(folder: Path) -> str:
    return f"sqlite:///{folder.resolve() / 'greensplit.db'}"


@contextmanager
def _service(folder: Path, jobs: int, credentials: Path, progress: ShowProgress) -> Iterator[str]:
    """A service on a free port of this machine, ended with the block; gives its URL."""
    import httpx2

    from signals.formats.sumo.live import free_port

    progress("starting the service", 0, 1)
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "signals.cli", "serve", "--data", str(folder.resolve())]
    log = folder / "service.log"
    given = {
        **os.environ,
        "GREENSPLIT_JOBS_AT_ONCE": str(jobs),
        "GREENSPLIT_DB": _database(folder),
        "GREENSPLIT_SNMP_CREDENTIALS": str(credentials.resolve()),
    }
    with (
        log.open("ab") as stream,
        subprocess.Popen(
            [*command, "--port", str(port), "--workers", "2"], env=given, stdout=stream, stderr=stream
        ) as process,
    ):
        try:
            until = time.monotonic() + START_S
            while True:
                try:
                    if httpx2.get(f"{url}/readyz", timeout=5).is_success:
                        break
                except httpx2.TransportError:
                    pass
                if process.poll() is not None or time.monotonic() > until:
                    raise GreensplitError(f"the service didn't start; see {log}")
                time.sleep(0.2)
            progress("starting the service", 1, 1)
            yield url
        finally:
            process.terminate()
            process.wait(timeout=60)


def _until_interrupted() -> None:
    try:
        while True:
            time.sleep(1)
    except KeyboardInterrupt:
        pass
