"""A real service on the loopback, for studies of load and of faults: started, asked, ended, nothing left behind."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil

from signals.client import Client
from signals.model.states import Role

ROOT = Path(__file__).resolve().parent.parent
READY_S = 60.0
END_S = 40.0
DATABASE = "greensplit.db"
GENEROUS = {"GREENSPLIT_RATE_LIMIT": "100000/second", "GREENSPLIT_QUEUE_LIMIT": "100000"}


class LocalService:
    """`greensplit serve` as processes of its own, with its folder, its port and a key that may do everything.

        with LocalService(folder) as service, service.client() as client:
            client.list_networks()

    `part` is all, web or jobs; `environment` sets further GREENSPLIT_… variables. What it logs is in `log`.
    """

    def __init__(
        self,
        folder: Path,
        *,
        part: str = "all",
        port: int | None = None,
        key: str | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        """Nothing is started yet; the key, and with it the database, is made unless one is given."""
        self.folder, self.part, self.port = folder, part, port or free_port()
        self.log = folder.parent / f"{folder.name}-{part}.log"
        self.url = f"http://127.0.0.1:{self.port}"
        self.process: subprocess.Popen[bytes] | None = None
        self._environment = {
            **os.environ,
            **GENEROUS,
            "GREENSPLIT_DATA": str(folder),
            "GREENSPLIT_PORT": str(self.port),
            **(environment or {}),
        }
        self.key = key or self._new_key()

    def __enter__(self) -> Self:
        self.start()
        self.wait_ready()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def client(self, timeout_s: float = 300.0) -> Client:
        """A client with the key."""
        return Client(self.url, self.key, timeout_s=timeout_s)

    def start(self) -> None:
        """Start the process, without waiting for it to answer."""
        command = [sys.executable, "-m", "signals.cli", "serve", "--part", self.part]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                command,
                cwd=ROOT,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def wait_ready(self) -> None:
        """Return once the service answers that it is ready.

        Raises
        ------
        TimeoutError
            Where it isn't within a minute, or its process has ended.
        """
        until = time.monotonic() + READY_S
        while self.part != "jobs" and status_of(f"{self.url}/readyz") != 200:
            ended = self.process is None or self.process.poll() is not None
            if ended or time.monotonic() > until:
                raise TimeoutError(f"the service isn't ready; its log, {self.log}, ends with: {self.tail()}")
            time.sleep(0.05)

    def running(self) -> list[psutil.Process]:
        """The supervisor and all processes below it that are alive."""
        if self.process is None:
            return []
        with suppress(psutil.NoSuchProcess):
            first = psutil.Process(self.process.pid)
            return [p for p in (first, *first.children(recursive=True)) if is_alive(p)]
        return []

    def stop(self) -> None:
        """End everything: asked to first, killed after a while."""
        running = self.running()
        if self.process is None:
            return
        with suppress(ProcessLookupError):
            self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(timeout=END_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        for process in psutil.wait_procs(running, timeout=5)[1]:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        self.process = None

    def command(self, *arguments: str) -> str:
        """What another `greensplit` command prints about this service's database."""
        done = subprocess.run(
            [sys.executable, "-m", "signals.cli", *arguments],
            cwd=ROOT,
            env=self._environment,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(f"greensplit {' '.join(arguments)}: {done.stderr or done.stdout}")
        return done.stdout

    def tail(self, lines: int = 5) -> str:
        """The last lines of the log."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])

    def _new_key(self) -> str:
        roles = [word for role in Role for word in ("--role", role.value)]
        return str(json.loads(self.command("keys", "create", "bench", *roles, "--json"))["key"])


def status_of(url: str, timeout_s: float = 5.0) -> int:
    """The status that a GET is answered with, 0 where nobody answers."""
    try:
        with urllib.request.urlopen(url, timeout=timeout_s) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return 0


def free_port() -> int:
    """A port of the loopback that nobody listens on."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def is_alive(process: psutil.Process) -> bool:
    """Whether a process runs; one that has ended and waits for its parent doesn't."""
    try:
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def load_average() -> str:
    """The machine's load over the last minute and five minutes, as it is quoted beside figures."""
    one, five, _ = os.getloadavg()
    return f"{one:.1f} {five:.1f}"
