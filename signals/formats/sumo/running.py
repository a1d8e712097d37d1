"""Running SUMO: its command, its process, what it says on the way, and how it has ended."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Self

from signals.errors import InputError, SimulationError
from signals.formats.sumo.binaries import ending_with_us, find_binary, sumo_environment
from signals.formats.sumo.config import COMMA, Scenario
from signals.formats.sumo.xml import elements, root_tag

MOST_ERRORS = 3
"""So many of SUMO's errors are passed on: the first ones tell, the others follow from them."""

_OUTPUTS = {
    **{name: name for name in ("log", "message-log", "error-log", "netstate-dump")},
    "l": "log",
    "log-file": "log",
    "ndump": "netstate-dump",
    "netstate": "netstate-dump",
    "netstate-output": "netstate-dump",
    "summary": "summary-output",
    "tripinfo": "tripinfo-output",
    "vehroutes": "vehroute-output",
}
"""Options that write a file though their names do not end in -output, and what SUMO mainly calls each."""


def sumo_command(scenario: Scenario, options: Sequence[str], additional: Sequence[Path] = ()) -> list[str]:
    """What runs a scenario with these options, and with further additional files read after its own.

    Outputs that its .sumocfg asks for are not written, unless `options` say where to: two runs at once must not write
    over each other, nor any over the user's own results. Those of its additional files are.

    Raises
    ------
    InputError
        Where SUMO would take the path of an additional file for two.
    SimulationError
        Where SUMO isn't installed.
    """
    command = [str(find_binary("sumo")), *scenario.arguments()]
    if scenario.config is not None:
        given = {word[2:].partition("=")[0] for word in options if word.startswith("--")}
        for option in sorted(_own_outputs(scenario.config) - {_OUTPUTS.get(name, name) for name in given}):
            command += [f"--{option}", os.devnull]
    for path in additional:
        if "," in str(path):
            raise InputError(f"{path}: {COMMA}")
    # On the command line -a replaces what the .sumocfg names, so those are repeated.
    files = [*scenario.additional, *additional]
    if files:
        command += ["-a", ",".join(map(str, files))]
    return [*command, *options]


def _own_outputs(config: Path) -> set[str]:
    """Options of a .sumocfg that write a file."""
    tags = {option.tag for root in elements(config, root_tag(config)) for option in root.iter()}
    return {_OUTPUTS.get(tag, tag) for tag in tags if tag in _OUTPUTS or tag.endswith("-output")}


class SumoProcess:
    """A SUMO process that is gone when the block is left, however it is left; what it says goes to a file.

    Raises
    ------
    SimulationError
        Where it can't be started.
    """

    def __init__(self, command: Sequence[str], messages: Path) -> None:
        self._messages = messages
        with messages.open("wb") as stderr:
            try:
                self._process = subprocess.Popen(
                    ending_with_us(command),
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=stderr,
                    env=sumo_environment(Path(command[0])),
                )
            except OSError as error:
                raise SimulationError(f"{command[0]}: can't be started: {error}") from None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.kill()
        self._process.wait()

    @property
    def running(self) -> bool:
        """Whether it hasn't ended yet."""
        return self._process.poll() is None

    def kill(self) -> None:
        """End it at once, wherever it is."""
        self._process.kill()

    def wait(self, timeout_s: float) -> int | None:
        """Its exit code; None where it was still running after `timeout_s` of wall-clock time and was ended."""
        # Popen.wait(timeout) polls every 50 ms, an eighth of a short run; a timer costs nothing
        late = threading.Event()

        def give_up() -> None:
            late.set()
            self._process.kill()

        timer = threading.Timer(timeout_s, give_up)
        timer.daemon = True
        timer.start()
        try:
            code = self._process.wait()
        finally:
            timer.cancel()
        return None if code and late.is_set() else code

    def errors(self) -> list[str]:
        """Errors that it has told of so far."""
        return [text for kind, text in read_messages(self._messages) if kind == "Error"]


def read_messages(path: Path) -> Iterator[tuple[str, str]]:
    """What SUMO wrote to stderr: kind and text of each message, its continuation lines joined.

    A kind is "Warning", "Error", or empty for whatever else stands there.
    """
    kind = text = ""
    with path.open(encoding="utf-8", errors="replace") as stream:
        for line in stream:
            said = line.strip()
            if said and kind and line[0].isspace():
                text += f" {said}"
                continue
            if text:
                yield kind, text
            kind = next((k for k in ("Warning", "Error") if said.startswith(f"{k}:")), "")
            text = said.removeprefix(f"{kind}:").strip()
    if text:
        yield kind, text


def how_it_ended(code: int, errors: Sequence[str]) -> str:
    """What to say of a SUMO process that ended with an exit code other than 0, and with these errors."""
    said = " ".join(errors)
    if code < 0:
        name = signal.Signals(-code).name if -code in set(signal.Signals) else str(-code)
        return f"SUMO was killed by {name}" + (f": {said}" if said else "")
    return f"SUMO ended with an error: {said or f'exit code {code}, without a message'}"
