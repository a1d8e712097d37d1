"""Nights: how time and memory grow with the city, what workers gain, what SUMO costs, and what kills change.

    python -m benchmarks.nightly [--sizes 100,300,1000,3000] [--workers 1,2] [--addresses] [--validate] [--kills 30]
        [--folder DIR]

* **Sizes**: a night of each made-up city of eight weeks, SUMO aside, with the last number of workers: seconds of each
  step, signals per hour, and the peak of the resident memory summed over all processes (what they share counts for
  each). Exponents are slopes of log against log.
* **Workers**: the first city's night once with each number, the files compared byte for byte.
* **Addresses**: the first city's night in one process, then by a Dask scheduler and two workers of their own at
  127.0.0.1 and 127.0.0.2, then so with one of them killed (-9) on the way.
* **Validation**: the first city's night tried in SUMO, a sample within ten minutes of CPU time.
* **Kills**: the first city's night is killed (-9) at random moments and begun again until it ends; then the files are
  compared byte for byte with an undisturbed night's, and all begins anew until there were so many kills.

Kernels are compiled before anything is measured. Cities are kept in the folder; their nights are made anew.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from signals.dask_settings import ONE_THREAD

ROOT = Path(__file__).resolve().parents[1]
DAY = "2026-11-23"
WEEKS = 8
LOOK_S = 0.2
WORKERS_START_S = 10.0
STEPS = ("network", "forecast", "subareas", "plans", "report")


@dataclass(frozen=True)
class Ran:
    """A night that ended: what it said of itself, its seconds by our clock, and the peak of memory [MB]."""

    facts: dict[str, Any]
    seconds: float
    peak_mb: float


def city_of(size: int, folder: Path) -> Path:
    """A made-up city, kept from run to run."""
    city = folder / f"city-{size}"
    if not (city / "city.toml").exists():
        words = ["city", "generate", "--intersections", str(size), "--weeks", str(WEEKS), "-o", str(city)]
        subprocess.run(
            [sys.executable, "-m", "signals.cli", *words], cwd=ROOT, check=True, capture_output=True
        )
    return city


def begin(city: Path, workers: int, *options: str) -> subprocess.Popen[str]:
    """A night of a city in a process of its own."""
    words = ["nightly", "--data", str(city), "--date", DAY, "--workers", str(workers), "--json", *options]
    return subprocess.Popen(
        [sys.executable, "-m", "signals.cli", *words],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def night(city: Path, workers: int, *options: str) -> Ran:
    """A whole night, from nothing."""
    shutil.rmtree(city / "nights", ignore_errors=True)
    start = time.perf_counter()
    process = begin(city, workers, *(options or ("--validate", "none")))
    peak = 0.0
    while process.poll() is None:
        peak = max(peak, _resident_mb(process.pid))
        time.sleep(LOOK_S)
    seconds = time.perf_counter() - start
    out, said = process.communicate()
    if process.returncode not in (0, 8):
        raise SystemExit(f"{city}: exit code {process.returncode}: {said}")
    return Ran(json.loads(out), seconds, peak)


def _resident_mb(pid: int) -> float:
    total = 0
    with suppress(psutil.NoSuchProcess):
        above = psutil.Process(pid)
        for process in (above, *above.children(recursive=True)):
            with suppress(psutil.NoSuchProcess):
                total += process.memory_info().rss
    return total / 1e6


def results(city: Path) -> dict[str, bytes]:
    """The files of a night that are the same in every run of it."""
    folder = city / "nights" / DAY
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name not in ("timings.json", ".lock")
    }


def row(*cells: object) -> None:
    """A line of a table in Markdown."""
    print("| " + " | ".join(str(cell) for cell in cells) + " |", flush=True)


def head(*names: str) -> None:
    """The head of a table."""
    print()
    row(*names)
    row(*("---" if k == 0 else "---:" for k in range(len(names))))


def sizes_table(sizes: Sequence[int], workers: int, folder: Path) -> None:
    """Time and memory by size."""
    head("signals", "groups", "planned", *(f"{s} [s]" for s in STEPS), "in all [s]", "signals/h", "peak [MB]")
    found = []
    for size in sizes:
        ran = night(city_of(size, folder), workers)
        found.append(ran)
        facts, stages = ran.facts, ran.facts["timings"]["stages"]
        seconds = [f"{stages[step]['seconds']:.1f}" for step in STEPS]
        per_hour = 3600.0 * facts["signals_planned"] / ran.seconds
        row(
            *(size, facts["groups"], facts["signals_planned"]),
            *seconds,
            *(f"{ran.seconds:.1f}", f"{per_hour:,.0f}", f"{ran.peak_mb:,.0f}"),
        )
    if len(sizes) > 1:
        x = np.log(sizes)
        time_power = np.polyfit(x, np.log([ran.seconds for ran in found]), 1)[0]
        memory_power = np.polyfit(x, np.log([ran.peak_mb for ran in found]), 1)[0]
        print(f"\nTime grows as n^{time_power:.2f}, memory as n^{memory_power:.2f}.")


def workers_table(city: Path, numbers: Sequence[int]) -> None:
    """What workers gain, and whether they find the same."""
    head("workers", "in all [s]", "forecast and plans [s]", "speed-up of these", "same files")
    first: tuple[float, dict[str, bytes]] | None = None
    for number in numbers:
        ran = night(city, number)
        stages = ran.facts["timings"]["stages"]
        work_s = stages["forecast"]["seconds"] + stages["plans"]["seconds"]
        files = results(city)
        first = first or (work_s, files)
        same = "yes" if files == first[1] else "NO"
        row(number, f"{ran.seconds:.1f}", f"{work_s:.1f}", f"{first[0] / work_s:.2f}", same)


def addresses_table(city: Path) -> None:
    """One process beside two workers at two addresses, and beside those with one killed in mid-run."""
    head("done by", "in all [s]", "forecast and plans [s]", "speed-up of these", "same files")

    def tell(what: str, ran: Ran, alone_s: float, same: bool) -> float:
        stages = ran.facts["timings"]["stages"]
        work_s = float(stages["forecast"]["seconds"] + stages["plans"]["seconds"])
        gain = f"{(alone_s or work_s) / work_s:.2f}"
        row(what, f"{ran.seconds:.1f}", f"{work_s:.1f}", gain, "yes" if same else "NO")
        return work_s

    alone = night(city, 0)
    wanted = results(city)
    alone_s = tell("one process", alone, 0.0, True)
    for victim in (False, True):
        with _cluster() as (address, workers):
            if victim:
                threading.Timer(0.3 * alone.seconds, workers[1].kill).start()
            ran = night(city, 2, "--validate", "none", "--scheduler", address)
        what = "two addresses, one killed" if victim else "two workers at two addresses"
        tell(what, ran, alone_s, results(city) == wanted)


@contextmanager
def _cluster() -> Iterator[tuple[str, list[subprocess.Popen[bytes]]]]:
    """A Dask scheduler and two workers, each a process of its own; its address and the workers."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    address = f"tcp://127.0.0.1:{port}"
    environment = {**os.environ, **ONE_THREAD, "PYTHONPATH": str(ROOT)}
    words = [["dask_scheduler", "--host", "127.0.0.1", "--port", str(port), "--no-dashboard"]]
    words += [
        ["dask_worker", address, "--host", host, "--nthreads", "1", "--no-nanny", "--no-dashboard"]
        for host in ("127.0.0.1", "127.0.0.2")
    ]
    with tempfile.TemporaryDirectory() as folder:
        started = [
            subprocess.Popen(
                [sys.executable, "-m", f"distributed.cli.{name}", *rest],
                cwd=folder,
                env=environment,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            for name, *rest in words
        ]
        try:
            time.sleep(WORKERS_START_S)
            yield address, started[1:]
        finally:
            for process in started:
                process.kill()
                process.wait()


def validation_table(city: Path, workers: int) -> None:
    """What SUMO costs on top."""
    facts = night(city, workers, "--validate", "sample", "--validate-budget", "10").facts
    stage = facts["timings"]["stages"]["validation"]
    head("groups tried", "seconds", "seconds of workers", "a group", "outcomes")
    tried = max(stage["made"], 1)
    outcomes = ", ".join(f"{n} {name}" for name, n in facts["validation"].items())
    row(
        *(stage["made"], f"{stage['seconds']:.0f}", f"{stage['worker_s']:.0f}"),
        *(f"{stage['worker_s'] / tried:.0f}", outcomes),
    )


def kills_table(city: Path, workers: int, kills: int, seed: int) -> None:
    """Whether a night that is killed ends as one that isn't."""
    undisturbed = night(city, workers)
    wanted = results(city)
    when = random.Random(seed)
    killed, nights, differ = 0, 0, 0
    while killed < kills:
        shutil.rmtree(city / "nights", ignore_errors=True)
        while True:
            process = begin(city, workers, "--validate", "none")
            try:
                process.communicate(timeout=when.uniform(0.0, undisturbed.seconds))
                break
            except subprocess.TimeoutExpired:
                process.kill()
                process.communicate()
                killed += 1
        if process.returncode not in (0, 8):
            raise SystemExit(f"a night that was begun again ended with {process.returncode}")
        nights += 1
        differ += results(city) != wanted
    head("kills", "nights", "files", "nights that differ")
    row(killed, nights, len(wanted), differ)


def main() -> None:
    """Measure what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--sizes", default="100,300,1000,3000")
    parser.add_argument("--workers", default="1,2")
    parser.add_argument("--addresses", action="store_true")
    parser.add_argument("--validate", action="store_true")
    parser.add_argument("--kills", type=int, default=0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--folder", type=Path)
    given = parser.parse_args()
    sizes = [int(size) for size in given.sizes.split(",")]
    numbers = [int(number) for number in given.workers.split(",")]
    folder = given.folder or Path(tempfile.gettempdir()) / "greensplit-nights"
    folder.mkdir(parents=True, exist_ok=True)
    first = city_of(sizes[0], folder)
    night(first, numbers[-1])  # compiles
    sizes_table(sizes, numbers[-1], folder)
    if len(numbers) > 1:
        workers_table(first, numbers)
    if given.addresses:
        addresses_table(first)
    if given.validate:
        validation_table(first, numbers[-1])
    if given.kills:
        kills_table(first, numbers[-1], given.kills, given.seed)


if __name__ == "__main__":
    main()
