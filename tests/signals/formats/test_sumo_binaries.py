"""SUMO's programs end when the process that started them is killed."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import psutil
import pytest

from signals.formats.sumo import binaries
from signals.formats.sumo.binaries import ending_with_us

PATIENCE_S = 30.0
SIMULATE = """
from signals.formats.sumo.config import read_scenario
from signals.simulation.run import simulate
from sumo_nets import find_network
simulate(read_scenario(find_network("grid")), seed=1)
"""
RECORD = """
from signals.formats.sumo.config import read_scenario
from signals.formats.sumo.recording import record
from sumo_nets import find_network
record(read_scenario(find_network("grid")), seed=1)
"""
PLAIN = """
import subprocess
from signals.formats.sumo.binaries import ending_with_us
subprocess.run(ending_with_us(["sleep", "60"]))
"""


def wait_for(what: str, found: Callable[[], Any]) -> Any:
    until = time.monotonic() + PATIENCE_S
    while time.monotonic() < until:
        if result := found():
            return result
        time.sleep(0.01)
    return pytest.fail(f"waited {PATIENCE_S:.0f} s for {what}")


@pytest.mark.skipif(binaries._setpriv() is None, reason="needs setpriv of util-linux")
@pytest.mark.parametrize(("code", "name"), [(SIMULATE, "sumo"), (RECORD, "sumo"), (PLAIN, "sleep")])
def test_what_was_started_is_gone_after_a_kill(code: str, name: str) -> None:
    with subprocess.Popen([sys.executable, "-c", code]) as parent:

        def found() -> list[psutil.Process]:
            with suppress(psutil.NoSuchProcess):
                return [p for p in psutil.Process(parent.pid).children() if p.name() == name]
            return []

        (child,) = wait_for(f"{name} to start", found)
        parent.kill()
        with suppress(psutil.NoSuchProcess):
            child.wait(timeout=PATIENCE_S)
        assert not psutil.pid_exists(child.pid) or child.status() == psutil.STATUS_ZOMBIE


def test_without_setpriv_the_command_stays_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(binaries, "_setpriv", lambda: None)
    assert ending_with_us(["sumo", "-c", "x"]) == ["sumo", "-c", "x"]
