"""The street of `greensplit demo`: SUMO with a virtual unit for each signal, and what they are seen to do."""

from __future__ import annotations

import json
import math
import secrets
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from signals.errors import GreensplitError

if TYPE_CHECKING:
    from signals.formats.sumo.config import Scenario
    from signals.model.network import Network
    from signals.model.phasing import SignalProgram

SPEED = 60.0
"""Seconds of the street in one of ours while a plan is pushed: three cycles are watched in five seconds."""
SETTLED_S = 1200.0
"""Vehicles due in the first minutes meet the old plan or the transition; delay is of those due later."""
PATTERN, CYCLE, OFFSET, COORDINATION = 131, 132, 133, 150
"""Codes of the event log by which a push is proven."""
IN_STEP = 1
COORD_PATTERN_STATUS = "1.3.6.1.4.1.1206.4.2.1.4.10.0"
READY_S = 120.0


@dataclass(frozen=True)
class Communities:
    """Words by which the demo's units and its service know each other."""

    read: str
    write: str

    @classmethod
    def drawn(cls) -> Communities:
        """New ones."""
        return cls(secrets.token_hex(8), secrets.token_hex(8))

    def keep(self, path: Path) -> Path:
        """Write the service's file of credentials."""
        path.touch(mode=0o600)
        path.write_text(f'[street]\ncommunity = "{self.read}"\nwrite = "{self.write}"\n')
        return path


class Street:
    """A running `greensplit controllers simulate --sumo`: where its units are, and where its records go."""

    def __init__(
        self, scenario: Scenario, folder: Path, name: str, communities: Communities, *, speed: float | None
    ) -> None:
        assert scenario.config is not None
        self.begin_s = scenario.begin_s
        self.trips, self.log = folder / f"trips-{name}.xml", folder / f"events-{name}.csv"
        self.states = folder / f"states-{name}.xml"
        self.units: dict[str, tuple[str, int]] = {}
        self.unmapped: dict[str, str] = {}
        self._messages = folder / f"street-{name}.log"
        self._communities = communities
        command = [sys.executable, "-m", "signals.cli", "controllers", "simulate", str(scenario.config)]
        command += ["--port", "0", "--sumo", "--json", "--log", str(self.log)]
        command += ["--states", str(self.states)]
        command += ["--community", communities.read, "--write-community", communities.write]
        command += ["--speed", str(speed)] if speed else []
        for option in (
            f"--tripinfo-output={self.trips}",
            "--tripinfo-output.write-unfinished=true",
            "--tripinfo-output.write-undeparted=true",
            "--device.tripinfo.probability=1",
            "--precision=3",
        ):
            command.append(f"--sumo-option={option}")
        self._stream = self._messages.open("wb")
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=self._stream, text=True)

    def wait_ready(self) -> None:
        """Return when every unit answers.

        Raises
        ------
        GreensplitError
            Where the street doesn't start.
        """
        late = threading.Timer(READY_S, self._process.kill)
        late.start()
        try:
            assert self._process.stdout is not None
            for line in self._process.stdout:
                told = json.loads(line)
                if "port" in told:
                    self.units[told["signal"]] = (told["host"], told["port"])
                elif "signal" in told:
                    self.unmapped[told["signal"]] = told["unmapped"]
                elif "ready" in told:
                    return
        finally:
            late.cancel()
        raise GreensplitError(f"the street didn't start; see {self._messages}")

    def wait_end(self) -> list[str]:
        """Signals whose conflict monitor has tripped, once SUMO is through.

        Raises
        ------
        GreensplitError
            Where it broke off.
        """
        tripped: list[str] | None = None
        assert self._process.stdout is not None
        for line in self._process.stdout:
            tripped = json.loads(line).get("tripped", tripped)
        if self._process.wait(timeout=60) or tripped is None:
            raise GreensplitError(f"the street broke off; see {self._messages}")
        return tripped

    def close(self) -> None:
        """End it, wherever it is."""
        self._process.terminate()
        try:
            self._process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            self._process.kill()
        assert self._process.stdout is not None
        self._process.stdout.close()
        self._stream.close()

    def ask_pattern(self, signal: str) -> int | None:
        """The pattern that Debian's snmpget reads from a unit; None where that program isn't installed."""
        if shutil.which("snmpget") is None:
            return None
        host, port = self.units[signal]
        command = ["snmpget", "-v2c", "-c", self._communities.read, "-Oqv", f"{host}:{port}"]
        done = subprocess.run(
            [*command, COORD_PATTERN_STATUS], capture_output=True, text=True, timeout=30, check=False
        )
        return int(done.stdout) if done.returncode == 0 and done.stdout.strip().isdigit() else -1

    def delay_s(self) -> tuple[float, int]:
        """Mean delay of vehicles due after the street has settled, departure delay included; and their number."""
        from signals.simulation.outputs import read_trips

        sums = read_trips(self.trips, keep=True)
        from_s = self.begin_s + SETTLED_S
        delays = [
            trip.time_loss_s + trip.depart_delay_s
            for trip in sums.trips.values()
            if trip.depart_s - trip.depart_delay_s >= from_s
        ]
        delays += [delay for delay in sums.outside.values() if delay <= self._end_s(sums) - from_s]
        return (math.fsum(delays) / len(delays) if delays else math.nan), len(delays)

    @staticmethod
    def _end_s(sums: Any) -> float:
        return max((t.depart_s + t.duration_s for t in sums.trips.values()), default=0.0)


@contextmanager
def open_street(
    scenario: Scenario, folder: Path, name: str, communities: Communities, *, speed: float | None = None
) -> Iterator[Street]:
    """A street, ended with the block."""
    street = Street(scenario, folder, name, communities, speed=speed)
    try:
        yield street
    finally:
        street.close()


@dataclass(frozen=True)
class Proof:
    """What the event log says of a unit after the command: pattern, cycle, offset, and how long until in step.

    `begun_s` is the second of the day at which the unit took the pattern.
    """

    pattern: int
    cycle_s: int | None
    offset_s: int | None
    begun_s: float
    in_step_after_s: float | None


def read_proofs(log: Path, patterns: Mapping[str, int]) -> dict[str, Proof | None]:
    """What a log proves of each signal that was to run a pattern; None where it never did."""
    from signals.formats.hires import read_event_log

    events = read_event_log(log)
    proofs: dict[str, Proof | None] = {}
    for signal, pattern in patterns.items():
        own = events.device == events.devices.index(signal) if signal in events.devices else None
        if own is None:
            proofs[signal] = None
            continue
        rows = list(
            zip(
                events.times[own].astype("int64").tolist(),
                events.codes[own].tolist(),
                events.parameters[own].tolist(),
                strict=True,
            )
        )
        begun = next((t for t, code, parameter in rows if (code, parameter) == (PATTERN, pattern)), None)
        if begun is None:
            proofs[signal] = None
            continue
        after = [row for row in rows if row[0] >= begun]
        cycle = next((p for _, code, p in after if code == CYCLE), None)
        offset = next((p for _, code, p in after if code == OFFSET), None)
        steps = (t for t, code, parameter in after if (code, parameter) == (COORDINATION, IN_STEP))
        in_step = next(steps, None)
        waited = (in_step - begun) / 1000 if in_step is not None else None
        proofs[signal] = Proof(pattern, cycle, offset, begun / 1000 % 86_400, waited)
    return proofs


def shown_since(states: Path, programs: Mapping[str, SignalProgram], network: Network) -> dict[str, float]:
    """From which second on SUMO's own record of each signal is the program's until its end, links of vehicles alone."""
    from signals.formats.sumo.xml import elements

    links = {s: network.intersections[s].vehicle_links for s in programs}
    since: dict[str, float] = {}
    for element in elements(states, "tlsState"):
        signal, time_s = element.get("id", ""), float(element.get("time", "nan"))
        if signal not in programs:
            continue
        shown, planned = element.get("state", ""), programs[signal].state_at(time_s)
        if any(shown[k] != planned[k] for k in links[signal]):
            since.pop(signal, None)
        else:
            since.setdefault(signal, time_s)
    return since
