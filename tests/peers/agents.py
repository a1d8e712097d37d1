"""Starts and stops SNMP agents that aren't ours, with the objects of a signal controller: see README.md."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from signals.controllers.objects import OBJECTS, Syntax
from signals.controllers.virtual.database import Values, new_values
from signals.model.controller import ControllerPhase, ControllerRecord

HERE = Path(__file__).parent
SNMPD = shutil.which("snmpd", path=os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin")))
STARTS_WITHIN_S = 20.0
READ, WRITE = "watchword", "passphrase"
"""Communities of every agent: of those who may read, and of those who may write too."""
AUTH_KEY, PRIV_KEY = "an-auth-pass-phrase", "a-priv-pass-phrase"
"""Pass phrases of snmpd's users `engineer` (SHA-256), `elder` (SHA) and `visitor` (SHA-256), who may only read."""

EIGHT_PHASES = ControllerRecord(
    tuple(
        ControllerPhase(
            number=n,
            ring=1 if n <= 4 else 2,
            concurrent=frozenset(
                {5, 6} if n in (1, 2) else {7, 8} if n <= 4 else {1, 2} if n <= 6 else {3, 4}
            ),
            min_green_s=5 if n % 2 else 8,
            yellow_s=4.0 if n % 2 == 0 else 3.5,
            red_clear_s=1.5,
            walk_s=0 if n % 2 else 7,
            pedestrian_clear_s=0 if n % 2 else 12,
            passage_s=2.5,
            max_green_1_s=30,
            max_green_2_s=45,
        )
        for n in range(1, 9)
    ),
    ((1, 2, 3, 4), (5, 6, 7, 8)),
)
"""A crossing of two streets with protected left turns, as NEMA numbers its phases."""


def status_values(groups: int = 2, preempts: int = 4) -> Values:
    """Statuses of a unit that runs free, phases 2 and 6 green, and nothing amiss; its clock at 1,000,000."""
    values: Values = {
        ("unitControlStatus", ()): 6,
        ("unitFlashStatus", ()): 2,
        ("unitAlarmStatus1", ()): 64,
        ("unitAlarmStatus2", ()): 0,
        ("shortAlarmStatus", ()): 0,
        ("coordPatternStatus", ()): 254,
        ("localFreeStatus", ()): 3,
        ("coordCycleStatus", ()): 0,
        ("coordSyncStatus", ()): 0,
        ("controllerLocalTime", ()): 1_003_600,
        ("globalTime", ()): 1_000_000,
    }
    for name in (name for name in OBJECTS if name.startswith("phaseStatusGroup")):
        for group in range(1, groups + 1):
            green = name in ("phaseStatusGroupGreens", "phaseStatusGroupWalks") and group == 1
            values[name, (group,)] = 0b0010_0010 if green else 0
    for n in range(1, preempts + 1):
        values["preemptControl", (n,)] = 0
        values["preemptState", (n,)] = 2
    return values


def unit_values(record: ControllerRecord = EIGHT_PHASES) -> Values:
    """Everything that a unit without transactions holds."""
    return new_values(record) | status_values()


@contextmanager
def node_agent(folder: Path, values: Values, verdict: int | None = None) -> Iterator[int]:
    """npm's net-snmp in node on a free port of its own, which is yielded. It refuses a SET as a whole.

    Where `verdict` is given, it plays the states of a transaction, up to this dbVerifyStatus; it has no buffer.
    """
    if shutil.which("node") is None or not (HERE / "node_modules" / "net-snmp").is_dir():
        _absent("node with net-snmp: npm ci --prefix tests/peers")
    if verdict is not None:
        values = values | {
            ("dbCreateTransaction", ()): 1,
            ("dbVerifyStatus", ()): 1,
            ("dbVerifyError", ()): b"pattern 48: splits" if verdict == 2 else b"",
        }
    file, port = _write(folder, values, (), verdict), _free_port()
    with _running(["node", str(HERE / "agent.js"), str(port), str(file)], folder, "ready"):
        yield port


@contextmanager
def snmpd_agent(folder: Path, values: Values, deaf: Collection[str] = ()) -> Iterator[int]:
    """Debian's snmpd on a free port of its own, which is yielded. It half-applies a SET that it refuses.

    Objects named in `deaf` keep their values whatever is set, and say nothing of it.
    """
    if SNMPD is None:
        _absent("snmpd: apt-get install snmpd")
    file, port = _write(folder, values, deaf), _free_port()
    script = f"{sys.executable} -S -E {HERE / 'pass_persist.py'} {file}"
    lines = [
        f"agentAddress udp:127.0.0.1:{port}",
        f"rocommunity {READ} 127.0.0.1",
        f"rwcommunity {WRITE} 127.0.0.1",
        *(
            f'createUser {user} {auth} "{AUTH_KEY}" AES "{PRIV_KEY}"'
            for user, auth in (("engineer", "SHA-256"), ("elder", "SHA"), ("visitor", "SHA-256"))
        ),
        "rwuser engineer priv",
        "rwuser elder priv",
        "rouser visitor priv",
        f"[snmp] persistentDir {folder}",
        f"pass_persist .1.3.6.1.4.1.1206 {script}",
    ]
    configuration = folder / "snmpd.conf"
    configuration.write_text("\n".join(lines) + "\n")
    command = [str(SNMPD), "-f", "-Lo", "-C", "-c", str(configuration), "-I", "-smux", "-r"]
    with _running(command, folder, "NET-SNMP version"):
        yield port


def _absent(what: str) -> None:
    """Skip, or fail where the peers must be there."""
    if os.environ.get("GREENSPLIT_PEERS") == "required":
        pytest.fail(f"GREENSPLIT_PEERS=required, and there is no {what}")
    pytest.skip(f"needs {what}")


def _free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _write(folder: Path, values: Values, deaf: Collection[str], verdict: int | None = None) -> Path:
    file = folder / "objects.json"
    things = [_thing(name, index, value, name in deaf) for (name, index), value in values.items()]
    told: dict[str, object] = {"communities": {READ: "read", WRITE: "write"}, "objects": things}
    if verdict is not None:
        state, verified = (_prefix(name) for name in ("dbCreateTransaction", "dbVerifyStatus"))
        told["transaction"] = {"state": state, "verdict": verified, "status": verdict}
    file.write_text(json.dumps(told))
    return file


def _prefix(name: str) -> str:
    return ".".join(map(str, OBJECTS[name].prefix))


def _thing(name: str, index: tuple[int, ...], value: int | bytes | tuple[int, ...], deaf: bool) -> Mapping:
    """An object as the agents read it. patternSplitNumber is read-only, as in most units."""
    kind = OBJECTS[name]
    plain: int | str
    match value:
        case bytes():
            plain = value.hex()
        case tuple():
            plain = ".".join(map(str, value))
        case _:
            plain = value
    return {
        "prefix": _prefix(name),
        "index": index,
        "syntax": Syntax(kind.syntax).value,
        "writable": kind.writable and name != "patternSplitNumber",
        "low": kind.low,
        "high": kind.high,
        "value": plain,
        "deaf": deaf,
    }


@contextmanager
def _running(command: list[str], folder: Path, word: str) -> Iterator[None]:
    """A process that has said `word`, until the block ends."""
    said = folder / "said.txt"
    with said.open("wb") as output:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env=os.environ | {"MIBS": ""},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        until = time.monotonic() + STARTS_WITHIN_S
        while word not in said.read_text(errors="replace"):
            if process.poll() is not None or time.monotonic() > until:
                pytest.fail(f"{command[0]} doesn't start within {STARTS_WITHIN_S:g} s: {said.read_text()}")
            time.sleep(0.02)
        yield
    finally:
        process.terminate()
        try:
            process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
