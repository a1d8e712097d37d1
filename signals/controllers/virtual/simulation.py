"""A street of virtual units: one for each signal of a network, each with an agent on a UDP port of its own.

Its time is the clock's, or goes faster; or a running SUMO drives it, and the units drive SUMO's signals.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from signals.controllers.mapping import cabinet_of, pattern_of
from signals.controllers.objects import OBJECTS, bits_of, phases_of_groups
from signals.controllers.virtual.agent import MAX_MESSAGE, AccessRights, Address, Agent
from signals.controllers.virtual.database import Values, integer, new_values
from signals.controllers.virtual.events import EventLog
from signals.controllers.virtual.faults import Fault, FaultLine
from signals.controllers.virtual.transactions import Database
from signals.controllers.virtual.unit import TICK_S, Unit
from signals.controllers.virtual.wiring import Heads
from signals.errors import InputError, UnmappablePlan
from signals.model.controller import Cabinet, Pattern
from signals.model.network import Intersection, Network

FIELD_PATTERN = 1
"""The pattern that holds the program in place when a unit starts."""
TICKS_A_S = round(1 / TICK_S)
_SLICE = 1000
"""So many steps of units, a few milliseconds, before requests are looked after again."""
_LEAST_PAUSE_S = 0.01
_ALL_FAULTS = "*"


@dataclass(frozen=True, slots=True)
class Calls:
    """Who calls a unit now: vehicles and pedestrians by phase, and detectors that have changed (number, on)."""

    vehicles: frozenset[int] = frozenset()
    pedestrians: frozenset[int] = frozenset()
    detectors: tuple[tuple[int, bool], ...] = ()


@dataclass(frozen=True)
class StreetSignal:
    """A signal of the street: its cabinet, and the unit and the agent in it."""

    cabinet: Cabinet
    pattern: Pattern
    unit: Unit
    database: Database
    agent: Agent
    heads: Heads

    @property
    def name(self) -> str:
        """Its id in the network."""
        return self.cabinet.intersection

    @property
    def always(self) -> Calls:
        """Calls of every phase, as on a busy street without detectors."""
        phases = self.cabinet.record.phases
        walks = frozenset(p.number for p in phases if p.walk_s)
        return Calls(frozenset(p.number for p in phases), walks)

    def state(self) -> str:
        """What the signal shows, a letter a link; in flash every vehicle stops and then gives way."""
        shown = self.unit.indications
        if shown.flash:
            return "".join("o" if link.pedestrian else "s" for link in self.cabinet.links)
        masks = [
            self.unit.status(("phaseStatusGroupPhaseNexts", (group,)))
            for group in range(1, integer(self.database.values, "maxPhaseGroups") + 1)
        ]
        nexts = phases_of_groups(mask for mask in masks if isinstance(mask, int))
        return self.heads.letters(shown.greens, shown.yellows, shown.walks, nexts)


@dataclass
class StreetOptions:
    """How units and agents are made. `faults` go by signal, `*` is all; `log` is a CSV of high-resolution events."""

    access: AccessRights = field(default_factory=AccessRights)
    faults: Mapping[str, Sequence[Fault]] = field(default_factory=dict)
    seed: int = 0
    log: Path | None = None
    max_message: int = MAX_MESSAGE
    verify_s: float = 0.0
    start_utc_s: int | None = None


class SimulatedStreet:
    """The virtual units of a network. `unmapped` says which signals have none, and why.

    ::

        street = SimulatedStreet(network)
        async with street:
            await street.start(port=16100)     # agents answer from here on
            await street.run(duration_s=60, speed=10)

    Raises
    ------
    InputError
        Where a fault is for no signal of the street, or the log can't be written.
    """

    def __init__(self, network: Network, options: StreetOptions | None = None) -> None:
        self.options = options or StreetOptions()
        self.network = network
        self.unmapped: dict[str, str] = {}
        self.signals: dict[str, StreetSignal] = {}
        self.addresses: dict[str, Address] = {}
        start = self.options.start_utc_s
        self._start_utc_s = int(datetime.now(UTC).timestamp()) if start is None else start
        for name, intersection in network.intersections.items():
            try:
                self.signals[name] = self._signal(intersection)
            except UnmappablePlan as error:
                self.unmapped[name] = str(error)
        unknown = set(self.options.faults) - set(self.signals) - {_ALL_FAULTS}
        if unknown:
            raise InputError(
                f"faults for {', '.join(sorted(unknown))}: the street has virtual units for "
                f"{', '.join(self.signals) or 'no signal'} alone"
            )
        self._log = EventLog(self.options.log) if self.options.log else None
        self._since_pause = 0
        self.ticks = 0
        """Steps of 0.1 s that every unit has made."""

    async def __aenter__(self) -> SimulatedStreet:
        return self

    async def __aexit__(self, *_exception: object) -> None:
        self.close()

    async def start(self, host: str = "127.0.0.1", port: int = 0) -> dict[str, Address]:
        """Start the agents on consecutive ports from `port` (0: on whichever are free), and say where they are.

        Raises
        ------
        InputError
            Where a port can't be bound.
        """
        for position, (name, signal) in enumerate(self.signals.items()):
            wanted = port + position if port else 0
            try:
                self.addresses[name] = await signal.agent.start(host, wanted)
            except (OSError, OverflowError) as error:
                self.close()
                raise InputError(
                    f"the agent of signal {name} can't listen at {host}:{wanted}: {error}; free the port or "
                    "give another --port"
                ) from None
        return self.addresses

    def close(self) -> None:
        """Answer no more, and finish the log."""
        for signal in self.signals.values():
            signal.agent.close()
        if self._log is not None:
            self._write_events()
            self._log.close()
            self._log = None

    async def run(self, duration_s: float | None = None, speed: float = 1.0) -> None:
        """Let time pass with a call on every phase; for so long [s of the units' time], or for ever.

        At speed 10 ten seconds of the units pass in one, or as many as the machine can do. At speed 1, and unless
        `start_utc_s` was given, their clocks show the time, however long it took to make them.
        """
        calls = {name: signal.always for name, signal in self.signals.items()}
        between = {name: Calls(called.vehicles) for name, called in calls.items()}
        loop = asyncio.get_running_loop()
        begin, first = loop.time(), self.ticks
        if speed == 1 and self.options.start_utc_s is None:
            begin -= time.time() - self._start_utc_s - first / TICKS_A_S
        last = None if duration_s is None else first + round(duration_s * TICKS_A_S)
        while last is None or self.ticks < last:
            due = first + int((loop.time() - begin) * speed * TICKS_A_S)
            if last is not None:
                due = min(due, last)
            if due > self.ticks:
                await self.advance(1, between if self.ticks % TICKS_A_S else calls)
            else:
                await asyncio.sleep(max(_LEAST_PAUSE_S, TICK_S / speed / 2))

    async def advance(self, ticks: int, calls: Mapping[str, Calls]) -> None:
        """Let every unit make so many steps of 0.1 s; agents answer meanwhile."""
        for done in range(0, ticks, TICKS_A_S):
            await self._advance(min(TICKS_A_S, ticks - done), calls)

    async def _advance(self, ticks: int, calls: Mapping[str, Calls]) -> None:
        for name, signal in self.signals.items():
            called = calls.get(name, Calls())
            signal.unit.step(called.vehicles, called.pedestrians, detectors=called.detectors)
            for _ in range(ticks - 1):
                signal.unit.step(called.vehicles)  # a push-button's call is kept
            self._since_pause += ticks
            if self._since_pause >= _SLICE:
                self._since_pause = 0
                await asyncio.sleep(0)
        self.ticks += ticks
        if self.ticks % TICKS_A_S < ticks:
            self._write_events()

    def _write_events(self) -> None:
        for name, signal in self.signals.items():
            events = signal.unit.drain_events()
            if self._log is not None:
                self._log.write(name, events)

    def _signal(self, intersection: Intersection) -> StreetSignal:
        if intersection.program is None:
            raise UnmappablePlan(f"signal {intersection.id} has no program in the network")
        cabinet = cabinet_of(intersection, self.network)
        pattern = pattern_of(cabinet, intersection.program)
        values = new_values(cabinet.record, utc_s=self._start_utc_s)
        load_pattern(values, FIELD_PATTERN, pattern)
        run_always(values, FIELD_PATTERN)
        unit = Unit(cabinet.record, values)
        options, name = self.options, intersection.id
        database = Database(values, unit, verify_s=options.verify_s)
        faults = (*options.faults.get(_ALL_FAULTS, ()), *options.faults.get(name, ()))
        agent = Agent(
            database,
            options.access,
            name=name,
            faults=FaultLine(faults, f"{options.seed} {name}"),
            max_message=options.max_message,
        )
        return StreetSignal(cabinet, pattern, unit, database, agent, Heads(cabinet))


def load_pattern(values: Values, number: int, pattern: Pattern) -> None:
    """Put a pattern into its row, the split row that it names, and the sequence row of the same number."""
    split_row = values["patternSplitNumber", (number,)]
    assert isinstance(split_row, int)
    values["patternCycleTime", (number,)] = pattern.cycle_s
    values["patternOffsetTime", (number,)] = pattern.offset_s
    values["patternSequenceNumber", (number,)] = number
    values["patternCoordSyncPoint", (number,)] = int(pattern.sync_point)
    for ring, phases in enumerate(pattern.sequence, 1):
        values["sequenceData", (number, ring)] = bytes(phases)
    for split in pattern.splits:
        values["splitTime", (split_row, split.phase)] = split.time_s
        values["splitMode", (split_row, split.phase)] = int(split.mode)
        values["splitCoordPhase", (split_row, split.phase)] = int(split.coordinated)


def run_always(values: Values, pattern: int) -> None:
    """A time base that runs one pattern: an action, a day plan, and a schedule entry for every day of the year."""
    values["timebaseAscPattern", (1,)] = pattern
    values["dayPlanActionNumberOID", (1, 1)] = (*OBJECTS["timebaseAscPattern"].prefix[:-1], 1, 1)
    values["timeBaseScheduleMonth", (1,)] = bits_of(range(1, 13))
    values["timeBaseScheduleDay", (1,)] = bits_of(range(1, 8))
    values["timeBaseScheduleDate", (1,)] = bits_of(range(1, 32))
    values["timeBaseScheduleDayPlan", (1,)] = 1
