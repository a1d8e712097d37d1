"""A SUMO process that is led step by step, over its TraCI interface."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from signals.errors import SimulationError
from signals.formats.sumo.running import MOST_ERRORS, SumoProcess, how_it_ended

CONNECT_S = 60.0
END_S = 60.0
_RETRY_S = 0.05
_LAST_WORDS_S = 5.0
"""A process that hangs up has so long to say why."""


class LiveSumo(SumoProcess):
    """A SUMO process and the TraCI connection to it, both gone when the block is left.

    `name` says whose run it is, in messages. The connection may be used in one thread at a time; `kill` ends a call
    that another one waits in.

    Raises
    ------
    SimulationError
        Where it can't be started.
    """

    def __init__(self, command: Sequence[str], messages: Path, name: str) -> None:
        self._port = free_port()
        self._name = name
        self._connection: Any = None
        super().__init__([*command, "--remote-port", str(self._port)], messages)

    def __exit__(self, *exception: object) -> None:
        super().__exit__(*exception)
        # traci closes its socket with SUMO's consent alone
        if self._connection is not None and self._connection._socket is not None:
            self._connection._socket.close()

    def connect(self) -> Any:
        """The connection, once SUMO listens: reading a large network takes it a while.

        Raises
        ------
        SimulationError
            Where it ends before, or doesn't listen within a minute.
        """
        from traci.connection import Connection

        deadline = time.monotonic() + CONNECT_S
        while self.running and time.monotonic() < deadline:
            try:
                self._connection = Connection("127.0.0.1", self._port, None, None, False)
                return self._connection
            except OSError:
                time.sleep(_RETRY_S)
        raise self._failure(f"doesn't start within {CONNECT_S:g} s" if self.running else "doesn't start")

    @contextmanager
    def answering(self) -> Iterator[None]:
        """A block that talks to SUMO: an error of TraCI in it becomes a SimulationError with SUMO's reason."""
        from traci.exceptions import FatalTraCIError, TraCIException

        try:
            yield
        except TraCIException as error:
            raise self._failure(f"refuses a command ({error})") from None
        except (FatalTraCIError, OSError) as error:
            self.wait(_LAST_WORDS_S)
            raise self._failure(f"breaks off ({error})") from None

    def finish(self) -> None:
        """End the simulation, and wait until SUMO has written its outputs.

        Raises
        ------
        SimulationError
            Where it ends with an error, or not within a minute.
        """
        with self.answering():
            self._connection.close(False)
        code = self.wait(END_S)
        if code is None:
            raise self._failure(f"hadn't ended {END_S:g} s after its last step")
        if code:
            raise SimulationError(f"{self._name}: {how_it_ended(code, self.errors()[:MOST_ERRORS])}")

    def _failure(self, what: str) -> SimulationError:
        said = " ".join(self.errors()[:MOST_ERRORS]) or "it gave no reason"
        return SimulationError(f"{self._name}: SUMO {what}: {said}")


def free_port() -> int:
    """A TCP port of this machine at which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
