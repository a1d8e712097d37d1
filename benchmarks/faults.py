"""Faults: a service under load whose processes are killed at random, round after round, and what is left of its work.

    python -m benchmarks.faults [--rounds 50] [--seed 1] [--plans 6] [--folder DIR]

While clients push counts and ask for plans, screenings and forecasts, a round waits for a random moment and kills
(-9) a random process: the web, a worker, the dispatcher with its scheduler, or the supervisor, which is then started
again as systemd would. Requests that weren't answered are sent again with their Idempotency-Key. After the last
round the queue is let run empty, and then must hold:

* every count that was acknowledged is in the store, with its value;
* every accepted request has one job, which is done; there are no others but the comparisons of plans;
* every plan request has one plan, the same (by its hash) as was made before the first fault, and one comparison;
* every screening and forecast is there once;
* the audit's chain is whole, and no process is left behind.

One service and one folder serve all rounds. Plans are for the first minutes of the network `single`, compared with
two seeds. A job may be begun any number of times here, since we kill more often than things break.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import shutil
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import psutil
from rich.console import Console
from rich.table import Table
from sqlalchemy import select

from benchmarks.service import DATABASE, LocalService, is_alive, load_average, status_of
from signals.client import Client
from signals.formats.sumo.bundle import bundle_of
from signals.formats.sumo.config import read_scenario
from signals.model.states import JobKind, JobState
from signals.store.counts import read_counts
from signals.store.session import Store
from signals.store.tables import ComparisonRow, Forecast, Job, Plan, PlanRequestRow, Screening, Stream
from signals.wire.plans import NewPlanRequest, Validation
from sumo_nets import find_network

TARGETS = ("web", "worker", "dispatcher", "supervisor")
SEEDS = (1, 2)
"""Of the plans: each is made undisturbed first."""
WINDOW_S = 300
PUSHERS, PUSHED = 3, 20
"""Clients that push, and streams that each of them pushes."""
STEP_MIN = 15
FIRST_PUSH = datetime(2020, 1, 1, tzinfo=UTC)
LEASE_S = 4
UP_S, DRAIN_S = 90.0, 1800.0
"""How long the service may take to answer after a kill, and its jobs to end after the last one."""


@dataclass
class Outcome:
    """What was done to the service, and what was found to be wrong afterwards."""

    rounds: int
    kills: Counter[str] = field(default_factory=Counter)
    down_s: list[float] = field(default_factory=list)
    batches: int = 0
    counts: int = 0
    sent_again: int = 0
    lost: int = 0
    jobs: int = 0
    doubled: int = 0
    begun_again: int = 0
    most_attempts: int = 0
    entries: int = 0
    problems: list[str] = field(default_factory=list)


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table; the exit code is 1 where something was lost or doubled."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=50)
    parser.add_argument("--seed", type=int, default=1, help="of the moments and of who is killed")
    parser.add_argument("--plans", type=int, default=6, help="plan requests, spread over the rounds")
    parser.add_argument("--folder", type=Path, help="where the data are for the while")
    options = parser.parse_args(arguments)
    began = time.monotonic()
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        found = study(Path(name), options.rounds, options.seed, options.plans, say=print)
    sheet = Table("what", "figure")
    for what, figure in (
        ("rounds", found.rounds),
        *((f"kills of a {target}", found.kills[target]) for target in TARGETS),
        ("longest time without an answer, s", f"{max(found.down_s, default=0.0):.1f}"),
        ("batches of counts acknowledged", found.batches),
        ("counts in them", found.counts),
        ("requests sent again", found.sent_again),
        ("counts lost or other than sent", found.lost),
        ("jobs", found.jobs),
        ("jobs, plans or comparisons doubled", found.doubled),
        ("jobs begun more than once", found.begun_again),
        ("most attempts at one job", found.most_attempts),
        ("entries of the audit", found.entries),
        ("took, s", f"{time.monotonic() - began:.0f}"),
        ("load 1 5", load_average()),
    ):
        sheet.add_row(what, str(figure))
    Console().print(sheet)
    for problem in found.problems:
        print(f"WRONG: {problem}")
    raise SystemExit(1 if found.problems else 0)


def study(
    folder: Path,
    rounds: int,
    seed: int,
    plans: int,
    say: Any = lambda _line: None,
    seeds: Sequence[int] = SEEDS,
) -> Outcome:
    """What is left of a service's work after so many kills; `problems` is empty where nothing is missing."""
    rng = random.Random(seed)
    outcome = Outcome(rounds)
    environment = {
        "GREENSPLIT_LEASE_S": str(LEASE_S),
        "GREENSPLIT_MOST_ATTEMPTS": "1000",
        "GREENSPLIT_WORKERS": "2",
    }
    service = LocalService(folder / "data", environment=environment)
    with service:
        with service.client() as client:
            network = client.upload_network(short_network(folder / "short"), "single")
            client.wait(network.job_id)
            _history(client, network.id)
            undisturbed = {seed: _made(client, network.id, seed) for seed in seeds}
        say(f"plans undisturbed: {', '.join(h[:8] for h in undisturbed.values())}; load {load_average()}")
        crowd = Crowd(service, network.id)
        crowd.start()
        asked = [round((k + 0.5) * rounds / plans) for k in range(plans)]
        try:
            for number in range(rounds):
                for k in range(asked.count(number)):
                    crowd.ask_plan(seeds[(number + k) % len(seeds)])
                crowd.ask_counts()
                time.sleep(rng.uniform(0.5, 5.0))
                target = rng.choice(TARGETS)
                outcome.down_s.append(_kill(service, target, rng))
                outcome.kills[target] += 1
                if number % 10 == 9:
                    say(
                        f"round {number + 1}: {dict(outcome.kills)}, {len(crowd.sent)} batches, load {load_average()}"
                    )
        except Exception:
            say(service.tail(40))
            raise
        finally:
            crowd.stop()
        _drain(service, say)
        _examine(service, network.id, crowd, undisturbed, outcome)
    outcome.problems += [f"process left behind: {line}" for line in _left_behind(service)]
    return outcome


# -------------------------------------------------------------------------------------------- the requests


class Crowd:
    """Clients that push counts all the time and ask for jobs when told to; what they were promised is kept.

    Fields
    ------
    sent : for each batch of counts that was acknowledged, its time and the counts by stream
    jobs : the job of every request that was accepted, by kind
    plans : of every plan request that was accepted, its number and the seed that it has
    """

    def __init__(self, service: LocalService, network_id: int) -> None:
        self.sent: list[tuple[datetime, Mapping[str, int]]] = []
        self.jobs: dict[JobKind, list[int]] = {JobKind.PLAN: [], JobKind.SCREEN: [], JobKind.FORECAST: []}
        self.plans: dict[int, int] = {}
        self.problems: list[str] = []
        self.sent_again = 0
        self._service, self._network_id = service, network_id
        self._path = f"/v1/networks/{network_id}"
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._threads: list[threading.Thread] = []
        self._unique = 0

    def start(self) -> None:
        """Begin to push."""
        for number in range(PUSHERS):
            self._run(self._push, number)

    def stop(self) -> None:
        """Let every request that was begun be answered, then push no more."""
        self._stop.set()
        for thread in self._threads:
            thread.join(timeout=2 * UP_S)

    def ask_plan(self, seed: int) -> None:
        """Ask for a plan, in the background."""
        self._run(self._ask_plan, seed)

    def ask_counts(self) -> None:
        """Ask for a screening and a forecast, in the background."""
        for kind, what in ((JobKind.SCREEN, "screenings"), (JobKind.FORECAST, "forecasts")):
            self._run(self._ask, kind, what)

    def _run(self, deed: Any, *arguments: Any) -> None:
        def run() -> None:
            try:
                deed(*arguments)
            except Exception as error:
                self.problems.append(f"{deed.__name__}{arguments}: {type(error).__name__}: {error}")

        thread = threading.Thread(target=run)
        self._threads.append(thread)
        thread.start()

    def _push(self, number: int) -> None:
        at = FIRST_PUSH
        with self._http() as http:
            while not self._stop.is_set():
                with self._lock:
                    first, self._unique = self._unique, self._unique + PUSHED
                counts = {f"push-{number}-{k}": first + k for k in range(PUSHED)}
                body = {"time": at.isoformat(), "step_min": STEP_MIN, "counts": counts}
                self._post(http, f"{self._path}/counts/pushes", body, f"push-{first}")
                self.sent.append((at, counts))
                at += timedelta(minutes=STEP_MIN)
                time.sleep(0.02)

    def _ask_plan(self, seed: int) -> None:
        wanted = plan_wanted(self._network_id, seed).model_dump(mode="json", exclude_unset=True)
        with self._http() as http:
            shown = self._post(http, "/v1/plan-requests", wanted, self._word("plan"))
        with self._lock:
            self.plans[shown["id"]] = seed
            self.jobs[JobKind.PLAN].append(shown["job"]["id"])

    def _ask(self, kind: JobKind, what: str) -> None:
        with self._http() as http:
            shown = self._post(http, f"{self._path}/{what}", {}, self._word(what))
        with self._lock:
            self.jobs[kind].append(shown["id"])

    def _word(self, what: str) -> str:
        with self._lock:
            self._unique += 1
            return f"{what}-{self._unique}"

    def _http(self) -> httpx2.Client:
        headers = {"Authorization": f"Bearer {self._service.key}"}
        return httpx2.Client(base_url=self._service.url, headers=headers, timeout=30.0)

    def _post(self, http: httpx2.Client, path: str, body: Mapping[str, Any], word: str) -> dict[str, Any]:
        """The answer, however often it takes to ask for it with the same Idempotency-Key."""
        until = time.monotonic() + 2 * UP_S
        while True:
            try:
                answer = http.post(path, json=body, headers={"Idempotency-Key": word})
                if answer.is_success:
                    return dict(answer.json())
                if answer.status_code not in (429, 503):
                    raise RuntimeError(f"{path} was answered with {answer.status_code}: {answer.text}")
            except httpx2.TransportError:
                if time.monotonic() > until:
                    raise
            with self._lock:
                self.sent_again += 1
            time.sleep(0.2)


def plan_wanted(network_id: int, seed: int) -> NewPlanRequest:
    """The plan request of a seed."""
    return NewPlanRequest(network_id=network_id, seed=seed, validation=Validation(seeds=2))


def short_network(folder: Path) -> bytes:
    """The network `single` with its first minutes of traffic, as it is uploaded: so planning takes seconds."""
    shipped = find_network("single")
    shutil.copytree(shipped.parent, folder)
    config = folder / shipped.name
    config.write_text(re.sub(r'<end value="\d+"', f'<end value="{WINDOW_S}"', config.read_text()))
    return bundle_of(read_scenario(config))


def _history(client: Client, network_id: int) -> None:
    """Two weeks of counts, so that there is something to screen and to forecast."""
    start = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=14)
    rng = np.random.default_rng(1)
    lines = ["time,one,two"]
    for row in range(14 * 96):
        time_of = (start + timedelta(minutes=STEP_MIN * row)).strftime("%Y-%m-%dT%H:%MZ")
        level = 20 + 15 * np.sin(2 * np.pi * row / 96)
        lines.append(f"{time_of},{rng.poisson(level)},{rng.poisson(level)}")
    client.send_counts(network_id, "\n".join(lines).encode())


def _made(client: Client, network_id: int, seed: int) -> str:
    """The hash of the plan of a seed; its comparison is awaited, too."""
    result = client.wait(client.request_plan(plan_wanted(network_id, seed)).job.id).result or {}
    client.wait(client.comparison(int(result["comparison"])).job_id)
    return str(result["plan"])


# ----------------------------------------------------------------------------------------------- the kills


def _kill(service: LocalService, target: str, rng: random.Random) -> float:
    """Seconds until the service answered again after the kill of such a process, which is waited for."""
    until = time.monotonic() + UP_S
    while not (found := processes(service)[target]):
        if time.monotonic() > until:
            raise TimeoutError(f"there was no {target} for {UP_S:.0f} s: {service.tail()}")
        time.sleep(0.05)
    web = processes(service)["web"]
    rng.choice(found).kill()
    began = time.monotonic()
    if target == "supervisor":
        assert service.process is not None
        service.process.wait()
        service.start()
        # it was told to end when its supervisor did, and may answer for a moment longer
        if psutil.wait_procs(web, timeout=UP_S)[1]:
            raise TimeoutError(f"the web is still there {UP_S:.0f} s after its supervisor")
    while status_of(f"{service.url}/readyz") != 200:
        if service.process is None or service.process.poll() is not None:
            raise RuntimeError(f"the supervisor has ended: {service.tail()}")
        if time.monotonic() - began > UP_S:
            raise TimeoutError(f"no answer {UP_S:.0f} s after a kill of the {target}: {service.tail()}")
        time.sleep(0.05)
    return time.monotonic() - began


def processes(service: LocalService) -> dict[str, list[psutil.Process]]:
    """The processes of the service that are alive, by what they are."""
    found: dict[str, list[psutil.Process]] = {target: [] for target in TARGETS}
    for process in service.running():
        try:
            words = process.cmdline()
        except psutil.NoSuchProcess:
            continue
        if process.pid == (service.process.pid if service.process else 0):
            found["supervisor"].append(process)
        elif words[-2:] == ["--part", "web"]:
            found["web"].append(process)
        elif words[-2:] == ["--part", "jobs"]:
            found["dispatcher"].append(process)
        elif any("spawn_main" in word for word in words):
            found["worker"].append(process)
    return found


def _left_behind(service: LocalService) -> list[str]:
    """Processes that still have the service's folder in their environment, a moment after its end."""
    time.sleep(1.0)
    mine = f"{service.folder}"
    lines = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("GREENSPLIT_DATA") == mine and is_alive(process):
                lines.append(f"{process.pid} {' '.join(process.cmdline())[:120]}")
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return lines


# ----------------------------------------------------------------------------------------------- the end


def _drain(service: LocalService, say: Any) -> None:
    began = time.monotonic()
    service.wait_ready()
    while left := _unfinished(service):
        if time.monotonic() - began > DRAIN_S:
            raise TimeoutError(f"{len(left)} jobs haven't ended: {'; '.join(left[:5])}")
        time.sleep(1.0)
    say(f"the queue was empty {time.monotonic() - began:.0f} s after the last round; load {load_average()}")


def _unfinished(service: LocalService) -> list[str]:
    with service.client() as client:
        return [
            f"job {job.id}, {job.kind}, is {job.state} ({job.step})"
            for state in (JobState.QUEUED, JobState.RUNNING)
            for job in client.list_jobs(state=state)
        ]


def _examine(
    service: LocalService, network_id: int, crowd: Crowd, undisturbed: Mapping[int, str], outcome: Outcome
) -> None:
    outcome.problems += crowd.problems
    outcome.batches, outcome.sent_again = len(crowd.sent), crowd.sent_again
    outcome.counts = sum(len(counts) for _, counts in crowd.sent)
    store = Store(f"sqlite:///{service.folder / DATABASE}")
    try:
        _examine_counts(store, network_id, crowd, outcome)
        _examine_jobs(store, crowd, undisturbed, outcome)
    finally:
        store.close()
    try:
        outcome.entries = int(json.loads(service.command("audit", "verify", "--json"))["entries"])
    except RuntimeError as error:
        outcome.problems.append(f"the audit is broken: {error}")


def _examine_counts(store: Store, network_id: int, crowd: Crowd, outcome: Outcome) -> None:
    begin = np.datetime64(FIRST_PUSH.replace(tzinfo=None), "m")
    last = max((at for at, _ in crowd.sent), default=FIRST_PUSH)
    with store.reading() as session:
        pushed = list(
            session.scalars(
                select(Stream.id).where(Stream.network_id == network_id, Stream.name.startswith("push-"))
            )
        )
        if not pushed:
            return
        end = np.datetime64(last.replace(tzinfo=None), "m")
        table = read_counts(session, network_id, streams=pushed, first=begin, last=end)
    column = {name: k for k, name in enumerate(table.names)}
    for at, counts in crowd.sent:
        offset = np.datetime64(at.replace(tzinfo=None), "m") - table.start
        row = int(offset / np.timedelta64(STEP_MIN, "m"))
        wrong = [name for name, count in counts.items() if table.values[row, column[name]] != count]
        outcome.lost += len(wrong)
        if wrong:
            outcome.problems.append(
                f"{len(wrong)} counts of {at.isoformat()} aren't there, such as {wrong[0]}"
            )


def _examine_jobs(store: Store, crowd: Crowd, undisturbed: Mapping[int, str], outcome: Outcome) -> None:
    before = len(undisturbed)
    with store.reading() as session:
        jobs = {job.id: job for job in session.scalars(select(Job))}
        requests = {row.id: row for row in session.scalars(select(PlanRequestRow))}
        comparisons = {row.id: row for row in session.scalars(select(ComparisonRow))}
        made = Counter(session.scalars(select(Plan.hash)))
        screened = Counter(session.scalars(select(Screening.job_id)))
        forecast = Counter(session.scalars(select(Forecast.job_id)))
    outcome.jobs = len(jobs)
    outcome.begun_again = sum(job.attempt > 1 for job in jobs.values())
    outcome.most_attempts = max(job.attempt for job in jobs.values())
    wrong = outcome.problems
    wrong += [f"job {j.id} ({j.kind}) is {j.state}: {j.problem}" for j in jobs.values() if j.state != "done"]
    of_kind = Counter(job.kind for job in jobs.values())
    for kind, accepted in crowd.jobs.items():
        extra = before if kind is JobKind.PLAN else 0
        missing = set(accepted) - {job.id for job in jobs.values() if job.kind == kind}
        wrong += [f"{kind} job {number} was accepted and is gone" for number in sorted(missing)]
        surplus = of_kind[kind] - len(set(accepted)) - extra
        if len(set(accepted)) < len(accepted) or surplus:
            outcome.doubled += abs(surplus)
            wrong.append(
                f"{len(accepted)} {kind} requests were accepted, there are {of_kind[kind] - extra} jobs"
            )
    for number, seed in crowd.plans.items():
        row = requests.get(number)
        if row is None or row.plan_hash != undisturbed[seed]:
            wrong.append(
                f"plan request {number}: plan {row and row.plan_hash}, undisturbed {undisturbed[seed]}"
            )
    if set(made) != set(undisturbed.values()) or max(made.values()) > 1:
        outcome.doubled += sum(made.values()) - len(undisturbed)
        wrong.append(f"{sum(made.values())} plans instead of {len(undisturbed)}")
    # each request's own comparison, as its job says, and no other
    named = Counter((jobs[row.job_id].result or {}).get("comparison") for row in requests.values())
    if set(named) != set(comparisons) or len(comparisons) != len(requests):
        outcome.doubled += max(0, len(comparisons) - len(requests))
        wrong.append(f"{len(requests)} plan requests, {len(comparisons)} comparisons")
    wrong += [f"comparison {row.id} has no verdict" for row in comparisons.values() if row.verdict is None]
    if of_kind[JobKind.COMPARE] != len(comparisons):
        wrong.append(f"{len(comparisons)} comparisons, {of_kind[JobKind.COMPARE]} jobs for them")
    for kind, rows in ((JobKind.SCREEN, screened), (JobKind.FORECAST, forecast)):
        if rows != Counter(set(crowd.jobs[kind])):
            outcome.doubled += sum(n - 1 for n in rows.values())
            wrong.append(f"{len(crowd.jobs[kind])} {kind} jobs, {sum(rows.values())} results")


if __name__ == "__main__":
    main()
