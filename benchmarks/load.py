"""The service under load, over HTTP on the loopback: how fast it answers while it does other things.

    python -m benchmarks.load [--seconds 30] [--only gets,planning,bulk,city] [--repeats 3] [--kept DIR]

`gets`      a plan and its JSON document, each at a constant 200 requests/s, on the web process alone
`planning`  the same while two optimisations of the arterial run on the service's own workers
`bulk`      a month of counts of a thousand streams as CSV, then as Parquet, into SQLite, as the client sees it
`city`      eight weeks of 1,000 intersections × 12 movements (64.5 million counts), a week a Parquet file over HTTP;
            then read from the store for a forecast

Requests are made by hey (https://github.com/rakyll/hey), eight of it with a connection each that sends 25/s. They are
started one after another, as several connections of one hey send at the same moment. An error is an answer that
isn't 200. A request that fell due while its connection still waited for the answer before isn't made; these are
`skipped`, and where there are many, the times shown are better than the truth. The load of the machine stands beside
every figure. The arterial is read and planned first, which takes some minutes; with --kept, a folder that stays,
only once.
"""

from __future__ import annotations

import argparse
import csv
import io
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from statistics import median

import numpy as np
import pandas as pd
from rich.console import Console
from rich.table import Table

from benchmarks.service import DATABASE, LocalService, load_average
from signals.client import Client
from signals.formats.sumo.bundle import bundle_of
from signals.formats.sumo.config import read_scenario
from signals.model.states import JobState
from signals.store.counts import read_counts
from signals.store.session import Store
from signals.wire.plans import NewPlanRequest, PlanShown
from sumo_nets import find_network

CONNECTIONS, EACH_PER_S = 8, 25
RATE_PER_S = CONNECTIONS * EACH_PER_S
SHARES = (0.5, 0.95, 0.99, 1.0)
STUDIES = ("gets", "planning", "bulk", "city")
OPTIMISATIONS = 2
STEP_MIN = 15
SLOTS = 1440 // STEP_MIN
LAST_DAY = date(2026, 11, 1)
CSV, PARQUET = "text/csv", "application/vnd.apache.parquet"


@dataclass(frozen=True)
class Answers:
    """How requests were answered: sorted times [ms] of those answered by 200, and how many weren't or weren't made."""

    took_ms: Sequence[float]
    seconds: float
    errors: int
    skipped: int

    def at(self, share: float) -> float:
        """The time within which this share of the answers came [ms]."""
        last = len(self.took_ms) - 1
        return self.took_ms[min(last, round(share * last))] if self.took_ms else float("nan")


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=int, default=30, help="of each measurement of answers")
    parser.add_argument("--only", default=",".join(STUDIES), help="some of the studies, by comma")
    parser.add_argument("--repeats", type=int, default=3, help="of each measurement; medians are shown, too")
    parser.add_argument("--kept", type=Path, help="folder of the planned arterial, made where it is empty")
    parser.add_argument("--folder", type=Path, help="where other data are for the while")
    options = parser.parse_args(arguments)
    chosen = options.only.split(",")
    if not set(chosen) <= set(STUDIES):
        parser.error(f"--only {options.only}: choose from {', '.join(STUDIES)}")
    if {"gets", "planning"} & set(chosen) and shutil.which("hey") is None:
        parser.error("the load tool hey is not installed; on Debian and Ubuntu: apt-get install hey")
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        if {"gets", "planning"} & set(chosen):
            folder = options.kept or Path(name) / "plans"
            _answers(folder.resolve(), chosen, options.seconds, options.repeats)
        if "bulk" in chosen:
            _bulk(Path(name) / "bulk")
        if "city" in chosen:
            _city(Path(name) / "city")


# ------------------------------------------------------------------------------------------------ answers


def _answers(folder: Path, chosen: Sequence[str], seconds: int, repeats: int) -> None:
    sheet = Table(
        "what",
        "p50 ms",
        "p95 ms",
        "p99 ms",
        "max ms",
        "requests/s",
        "errors",
        "skipped",
        "bar p99",
        "load 1 5",
    )
    service = LocalService(folder)
    with service, service.client() as client:
        plan = _planned(client)
        for state in (JobState.QUEUED, JobState.RUNNING):
            for job in client.list_jobs(state=state):
                client.cancel(job.id)
    paths = {
        "plan": f"/v1/plans/{plan.hash}",
        "its document": f"/v1/plans/{plan.hash}/documents/plan/plan.json",
    }
    if "gets" in chosen:
        with LocalService(folder, part="web", key=service.key) as web:
            for what, path in paths.items():
                found = [(_hey(web, path, seconds), load_average()) for _ in range(repeats)]
                _rows(sheet, f"{what}, web alone", found, 50)
    if "planning" in chosen:
        with LocalService(folder, key=service.key) as whole, whole.client() as client:
            jobs = [client.request_plan(_request(plan.network_id, seed)).job.id for seed in range(2, 10)]
            _wait_until(lambda: _running(client) >= OPTIMISATIONS)
            time.sleep(10)
            for what, path in paths.items():
                before = _running(client)
                found = [(_hey(whole, path, seconds), load_average()) for _ in range(repeats)]
                busy = min(before, _running(client))
                _rows(sheet, f"{what}, beside {busy} optimisations", found, 200)
            for job_id in jobs:
                if client.job(job_id).state in (JobState.QUEUED, JobState.RUNNING):
                    client.cancel(job_id)
    Console(width=120).print(sheet)


def _planned(client: Client) -> PlanShown:
    """The latest plan; where there is none the arterial is read and planned."""
    plans = list(client.list_plans())
    if not plans:
        network_id = read_network(client, "arterial")
        client.wait(client.request_plan(_request(network_id, 1)).job.id)
        plans = list(client.list_plans())
    return plans[-1]


def _request(network_id: int, seed: int) -> NewPlanRequest:
    return NewPlanRequest(network_id=network_id, seed=seed, validation=None)


def read_network(client: Client, name: str) -> int:
    """The number of a shipped network on the service, uploaded and read."""
    network = client.upload_network(bundle_of(read_scenario(find_network(name))), name)
    client.wait(network.job_id)
    return network.id


def _running(client: Client) -> int:
    return len(list(client.list_jobs(state=JobState.RUNNING)))


def _wait_until(there: Callable[[], bool], seconds: float = 120.0) -> None:
    until = time.monotonic() + seconds
    while not there():
        if time.monotonic() > until:
            raise TimeoutError(f"waited {seconds:.0f} s for jobs to begin")
        time.sleep(0.2)


def _hey(service: LocalService, path: str, seconds: int) -> Answers:
    """Answers at the constant rate; the first requests, which warm the service up, don't count."""
    _hey_rows(service, path, 2)
    began = time.monotonic()
    rows = _hey_rows(service, path, seconds)
    took_s = time.monotonic() - began
    good = [row for row in rows if row["status-code"] == "200"]
    # each connection waits for its first turn
    skipped = max(0, CONNECTIONS * (EACH_PER_S * seconds - 1) - len(rows))
    times = sorted(1e3 * float(row["response-time"]) for row in good)
    return Answers(times, took_s, len(rows) - len(good), skipped)


def _hey_rows(service: LocalService, path: str, seconds: int) -> list[dict[str, str]]:
    command = ["hey", "-z", f"{seconds}s", "-c", "1", "-q", str(EACH_PER_S), "-o", "csv"]
    command += ["-H", f"Authorization: Bearer {service.key}", service.url + path]
    running = []
    for _ in range(CONNECTIONS):
        running.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
        time.sleep(1 / RATE_PER_S)
    return [row for one in running for row in csv.DictReader(io.StringIO(one.communicate()[0]))]


def _rows(sheet: Table, what: str, found: Sequence[tuple[Answers, str]], bar_ms: float) -> None:
    """A row for each repeat, and the medians of several."""
    for answers, load in found:
        figures = [answers.at(share) for share in SHARES]
        rate = len(answers.took_ms) / answers.seconds
        sheet.add_row(
            what,
            *(f"{ms:.1f}" for ms in figures),
            f"{rate:.0f}",
            str(answers.errors),
            str(answers.skipped),
            "",
            load,
        )
    middle = [median(answers.at(share) for answers, _ in found) for share in SHARES]
    rate = median(len(answers.took_ms) / answers.seconds for answers, _ in found)
    verdict = f"{bar_ms:.0f} {'met' if middle[2] <= bar_ms else 'MISSED'}"
    errors, skipped = sum(a.errors for a, _ in found), sum(a.skipped for a, _ in found)
    shown = (*(f"{ms:.1f}" for ms in middle), f"{rate:.0f}", str(errors), str(skipped), verdict)
    sheet.add_row(f"{what}, median", *shown, end_section=True)


# ------------------------------------------------------------------------------------------------- counts


def _bulk(folder: Path, streams: int = 1000, days: int = 28, repeats: int = 3) -> None:
    sheet = Table("what", "body MB", "counts", "s", "counts/s", "bar", "load 1 5")
    with LocalService(folder, part="web") as service, service.client() as client:
        for media_type in (CSV, PARQUET):
            for repeat in range(repeats):
                network_id = _empty_network(service, f"{media_type} {repeat}")
                body = _body(media_type, streams, LAST_DAY - timedelta(days=days), days, seed=repeat)
                _deliver(sheet, client, network_id, body, media_type)
    Console(width=120).print(sheet)


def _deliver(sheet: Table, client: Client, network_id: int, body: bytes, media_type: str) -> float:
    began = time.monotonic()
    received = client.send_counts(network_id, body, media_type=media_type)
    took_s = time.monotonic() - began
    rate = received.new / took_s
    sheet.add_row(
        f"{media_type.rpartition('.')[2]}, {received.streams:,} streams",
        f"{len(body) / 1e6:.1f}",
        f"{received.new:,}",
        f"{took_s:.2f}",
        f"{rate:,.0f}",
        f"200,000 {'met' if rate >= 200_000 else 'MISSED'}",
        load_average(),
    )
    return took_s


def _body(media_type: str, streams: int, first: date, days: int, seed: int) -> bytes:
    rng = np.random.default_rng(seed)
    values = rng.poisson(30.0, (days * SLOTS, streams)).astype(np.uint16)
    frame = pd.DataFrame(values, columns=[f"{k // 12}-{k % 12}" for k in range(streams)])
    times = pd.date_range(str(first), periods=days * SLOTS, freq=f"{STEP_MIN}min", tz="UTC")
    frame.insert(0, "time", times)
    if media_type == CSV:
        return frame.to_csv(index=False, date_format="%Y-%m-%dT%H:%M:%SZ").encode()
    packed = io.BytesIO()
    frame.to_parquet(packed, index=False)
    return packed.getvalue()


def _empty_network(service: LocalService, name: str) -> int:
    """A network without roads: counts need no more, and its reading would take the time of others."""
    with service.client() as client:
        return client.upload_network(b"<net/>" + name.encode(), name).id


def _city(folder: Path, intersections: int = 1000, movements: int = 12, weeks: int = 8) -> None:
    streams, first = intersections * movements, LAST_DAY - timedelta(weeks=weeks)
    sheet = Table("what", "body MB", "counts", "s", "counts/s", "bar", "load 1 5")
    with LocalService(folder, part="web") as service, service.client(timeout_s=600.0) as client:
        network_id = _empty_network(service, "city")
        for week in range(weeks):
            body = _body(PARQUET, streams, first + timedelta(weeks=week), 7, seed=week)
            _deliver(sheet, client, network_id, body, PARQUET)
    Console(width=120).print(sheet)
    store = Store(f"sqlite:///{folder / DATABASE}")
    begin = np.datetime64(first, "m")
    end = begin + np.timedelta64(weeks * 7 * 1440 - STEP_MIN, "m")
    for _ in range(3):
        began, used = time.monotonic(), time.process_time()
        with store.reading() as session:
            table = read_counts(session, network_id, first=begin, last=end)
        took_s, used_s = time.monotonic() - began, time.process_time() - used
        print(
            f"read {table.values.size:,} counts in {took_s:.2f} s, of a processor {used_s:.2f} s (bar 10 s "
            f"{'met' if took_s <= 10 else 'MISSED'}), load {load_average()}"
        )
        del table
    store.close()
    print(f"the database has {(folder / DATABASE).stat().st_size / 1e6:,.0f} MB on disk")


if __name__ == "__main__":
    main()
