"""A night on Dask's workers: the same files as in one process, whoever is killed on the way.

Nights, schedulers and workers are processes of their own, since Dask changes settings and warns of much; all that a
test starts is ended with it.
"""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from signals.nightly.folder import night_folder
from tests.signals.nightly.fakes import DAY

ROOT = Path(__file__).resolve().parents[3]
PATIENCE_S = 400.0


class Machine:
    """Starts processes, and ends those that are left."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._started: list[subprocess.Popen[bytes]] = []

    def start(self, *arguments: str, **variables: str) -> subprocess.Popen[bytes]:
        """A Python process with these arguments, in a group of its own."""
        log = (self.folder / f"log-{len(self._started)}").open("wb")
        with log:
            process = subprocess.Popen(
                [sys.executable, *arguments],
                cwd=ROOT,
                env={**os.environ, "PYTHONPATH": str(ROOT), **variables},
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._started.append(process)
        return process

    def night(
        self, city: str, workers: int, scheduler: str | None = None, signals: int = 12, **variables: str
    ) -> subprocess.Popen[bytes]:
        """A night of the fakes."""
        words = [str(self.folder / city), str(signals), str(workers), *([scheduler] if scheduler else [])]
        return self.start("-m", "tests.signals.nightly.run_night_of_fakes", *words, **variables)

    def said(self, process: subprocess.Popen[bytes]) -> str:
        """What a process printed."""
        return (self.folder / f"log-{self._started.index(process)}").read_text()

    def ended(self, process: subprocess.Popen[bytes]) -> dict[str, Any]:
        """What a night that ends well says of itself."""
        assert process.wait(timeout=PATIENCE_S) == 0, self.said(process)
        facts: dict[str, Any] = json.loads(self.said(process).splitlines()[-1])
        return facts

    def results(self, city: str) -> dict[str, bytes]:
        """Every file of the night that is the same in every run of it."""
        folder = night_folder(self.folder / city, DAY).path
        return {
            path.relative_to(folder).as_posix(): path.read_bytes()
            for path in sorted(folder.rglob("*"))
            if path.is_file() and path.name not in ("timings.json", ".lock")
        }

    def close(self) -> None:
        """End what was started here, groups and all."""
        for process in self._started:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait(timeout=10)


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    """Processes of the test."""
    made = Machine(tmp_path)
    yield made
    made.close()


def free_port() -> int:
    """A port of the loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def children_of(pid: int) -> list[psutil.Process]:
    """The processes below one, near and far."""
    return psutil.Process(pid).children(recursive=True)


def wait_until(what: str, holds: Any) -> Any:
    """What `holds` gives, once it is something."""
    until = time.monotonic() + PATIENCE_S
    while time.monotonic() < until:
        if found := holds():
            return found
        time.sleep(0.05)
    return pytest.fail(f"waited for {what}")


def groups_made(machine: Machine, city: str) -> int:
    """How many groups are planned."""
    return len(list((night_folder(machine.folder / city, DAY).path / "groups").glob("*.json")))


@pytest.mark.slow
def test_two_workers_of_ones_own_find_the_same_byte_for_byte(machine: Machine) -> None:
    faults = {"CITY_FAULTS": json.dumps({"s02": "fail", "s04": "break", "s06:says": "worse"})}
    machine.ended(machine.night("serial", 0, **faults))
    facts = machine.ended(machine.night("two", 2, **faults))
    assert facts["groups_failed"] == 2
    assert machine.results("two") == machine.results("serial")


@pytest.mark.slow
def test_a_group_that_kills_every_worker_fails_alone(machine: Machine) -> None:
    died = machine.folder / "died"
    faults = json.dumps({"s04": "die", "s06": f"die once {died}"})
    facts = machine.ended(machine.night("city", 2, CITY_FAULTS=faults))
    assert died.exists()
    assert list(facts["failed"]) == ["s04"]
    assert facts["failed"]["s04"].startswith("its workers died")
    assert machine.ended(machine.night("city", 2))["failed"] == {}
    machine.ended(machine.night("serial", 0))
    assert machine.results("city") == machine.results("serial")


@pytest.mark.slow
def test_two_workers_on_two_addresses_find_the_same_though_one_is_killed(machine: Machine) -> None:
    port = free_port()
    address = f"tcp://127.0.0.1:{port}"
    machine.start(
        "-m", "distributed.cli.dask_scheduler", "--host", "127.0.0.1", "--port", str(port), "--no-dashboard"
    )
    workers = [
        machine.start(
            *("-m", "distributed.cli.dask_worker", address, "--host", host, "--nthreads", "1"),
            *("--no-nanny", "--no-dashboard", "--memory-limit", "0"),
            *("--local-directory", str(machine.folder / host)),
            SLOW_S="0.3",
        )
        for host in ("127.0.0.1", "127.0.0.2")
    ]
    machine.ended(machine.night("serial", 0, signals=24))
    machine.ended(machine.night("whole", 0, address, signals=24))
    assert machine.results("whole") == machine.results("serial")
    night = machine.night("halved", 0, address, signals=24)
    wait_until("some groups", lambda: groups_made(machine, "halved") >= 3)
    workers[1].kill()
    assert machine.ended(night)["failed"] == {}
    assert machine.results("halved") == machine.results("serial")


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 2])
def test_a_night_that_is_killed_again_and_again_ends_as_if_it_never_was(
    machine: Machine, workers: int
) -> None:
    machine.ended(machine.night("undisturbed", 0))
    when = random.Random(workers)
    started = 0
    while started < 6:
        night = machine.night("killed", workers, SLOW_S="0.1")
        started += 1
        files = len(machine.results("killed")) if (machine.folder / "killed").exists() else 0
        wait_until(
            "a file more", lambda n=files, p=night: len(machine.results("killed")) > n or p.poll() is not None
        )
        time.sleep(when.uniform(0.0, 0.3))
        if night.poll() is not None:
            break
        below = children_of(night.pid)
        night.kill()
        night.wait(timeout=10)
        wait_until("its workers to end", lambda b=below: not [p for p in b if p.is_running()])
    assert started > 2
    facts = machine.ended(machine.night("killed", workers))
    assert facts["groups_failed"] == 0
    assert machine.results("killed") == machine.results("undisturbed")


def test_a_scheduler_that_is_not_there_is_said(machine: Machine) -> None:
    night = machine.night("city", 0, "tcp://127.0.0.1:9")
    assert night.wait(timeout=PATIENCE_S) == 1
    assert "no scheduler with a worker answers there" in machine.said(night)


def test_a_night_that_is_told_to_end_leaves_no_process_behind(machine: Machine) -> None:
    night = machine.night("city", 2, SLOW_S="0.5", signals=40)
    wait_until("a group", lambda: groups_made(machine, "city") >= 1)
    below = children_of(night.pid)
    assert below
    night.send_signal(signal.SIGINT)
    assert night.wait(timeout=PATIENCE_S) != 0
    assert "KeyboardInterrupt" in machine.said(night)
    wait_until("its workers to end", lambda: not [p for p in below if p.is_running()])
    assert groups_made(machine, "city") < 20
