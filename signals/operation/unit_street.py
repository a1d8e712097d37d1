"""A street of virtual NEMA units around SUMO: plans go to them as to real ones, by the driver, over the loopback.

Each signal's unit sets its lights in SUMO, second by second. A plan is mapped to a pattern, looked at against the unit,
written to idle rows, read back and commanded; the unit goes over to it in its own way, cycle by cycle.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from signals.controllers.mapping import pattern_of
from signals.controllers.snmp import Community
from signals.controllers.units import open_unit
from signals.controllers.virtual.agent import AccessRights
from signals.controllers.virtual.driving import WARM_UP_S, start_for
from signals.controllers.virtual.simulation import TICKS_A_S, SimulatedStreet, StreetOptions
from signals.deployment.push import BEATS_A_BACKUP_TIME, Order, look, write
from signals.errors import ControllerError, InputError, UnmappablePlan
from signals.formats.sumo.config import Scenario
from signals.model.controller import UnitClock
from signals.model.network import Network
from signals.model.phasing import SignalProgram
from signals.operation.street import Taken
from signals.operation.sumo_street import SumoStreet

HOST = "127.0.0.1"
Result = TypeVar("Result")


@dataclass
class _Command:
    """Patterns that a unit was told to run, the last one now; told again every `beat_s`, next at `again_s`."""

    patterns: tuple[int, ...]
    beat_s: float
    again_s: float


class UnitStreet(SumoStreet):
    """A scenario that SUMO runs, with a virtual unit at each signal; every signal must have one.

    Parameters as for `SumoStreet`.

    Raises
    ------
    UnmappablePlan
        Where a signal's program can't be shown by phases.
    """

    def __init__(
        self,
        scenario: Scenario,
        network: Network,
        min_green_s: Mapping[str, Mapping[str, float]],
        *,
        seed: int,
        plans: Sequence[Path] = (),
        extra: Sequence[str] = (),
        record: Path | None = None,
    ) -> None:
        if scenario.step_s != 1.0:
            raise InputError(f"{scenario.name}: units lead signals in whole seconds; give it a step of 1 s")
        access = AccessRights(write_community=secrets.token_hex(8))
        self._credentials = Community(access.read_community, access.write_community)
        self._start_utc_s = start_for(scenario)
        options = StreetOptions(access=access, seed=seed, start_utc_s=self._start_utc_s)
        self._units = SimulatedStreet(network, options)
        if self._units.unmapped:
            raise UnmappablePlan("\n  ".join(self._units.unmapped.values()))
        self._calls = {name: signal.always for name, signal in self._units.signals.items()}
        self._lit: dict[str, str] = {}
        self._commands: dict[str, _Command] = {}
        self._loop = asyncio.new_event_loop()
        try:
            self._wait(self._units.start(HOST))
            self._wait(self._units.advance(WARM_UP_S * TICKS_A_S, self._calls))
            super().__init__(
                scenario, network, min_green_s, seed=seed, plans=plans, extra=extra, record=record
            )
        except BaseException:
            self._end()
            raise

    def advance(self, until_s: float) -> None:
        """Let SUMO and the units run, second by second."""
        while self._now < until_s - 1e-9:
            with self._answering():
                for name, signal in self._units.signals.items():
                    state = signal.state()
                    if self._lit.get(name) != state:
                        self._sumo.trafficlight.setRedYellowGreenState(name, state)
                        self._lit[name] = state
            super().advance(self._now + 1.0)
            self._wait(self._units.advance(TICKS_A_S, self._calls))
            for told, command in self._commands.items():
                if self._now >= command.again_s:
                    self._wait(self._repeat(told, command))

    def apply(self, plans: Mapping[str, SignalProgram]) -> Mapping[str, Taken]:
        """Push programs to the units; each goes over to its pattern by itself, from now on."""
        return {signal: self._pushed(signal, program) for signal, program in plans.items()}

    def close(self) -> None:
        """End SUMO and the units."""
        try:
            super().close()
        finally:
            self._end()

    def _pushed(self, signal: str, program: SignalProgram) -> Taken:
        cabinet = self._units.signals[signal].cabinet
        try:
            pattern = pattern_of(cabinet, program)
            order = Order(signal, cabinet.record, pattern, UnitClock.SYSTEM)
            self._wait(self._push(signal, order))
        except (ControllerError, UnmappablePlan) as error:
            return Taken(None, str(error))
        self._programs[signal] = program
        return Taken(self._now)

    async def _push(self, signal: str, order: Order) -> None:
        """Look, write, command."""
        last = self._commands.get(signal)

        def now() -> float:
            return self._start_utc_s + self._units.ticks / TICKS_A_S

        async with open_unit(*self._units.addresses[signal], self._credentials) as unit:
            found = await look(unit, order, own=last.patterns if last is not None else (), now=now)
            await write(unit, order, found, now=now)
            await unit.activate(found.slot.pattern)
        beat_s = found.capabilities.backup_time_s / BEATS_A_BACKUP_TIME
        patterns = (*(last.patterns if last is not None else ()), found.slot.pattern)
        self._commands[signal] = _Command(patterns, beat_s, self._now + beat_s)

    async def _repeat(self, signal: str, command: _Command) -> None:
        """Command a pattern once more, so that the unit doesn't fall back to its own."""
        async with open_unit(*self._units.addresses[signal], self._credentials) as unit:
            await unit.activate(command.patterns[-1])
        command.again_s = self._now + command.beat_s

    def _wait(self, work: Coroutine[Any, Any, Result]) -> Result:
        return self._loop.run_until_complete(work)

    def _end(self) -> None:
        self._units.close()
        self._loop.run_until_complete(asyncio.sleep(0))
        self._loop.close()
