"""A unit of eight phases in two rings, its plan, and agents in front of it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import Future

import pytest

from signals.controllers.virtual.agent import Address, Agent
from signals.controllers.virtual.database import new_values
from signals.controllers.virtual.faults import Fault, FaultLine
from signals.controllers.virtual.simulation import load_pattern, run_always
from signals.controllers.virtual.transactions import Database
from signals.model.controller import ControllerRecord, Pattern, Split, SplitMode
from tests.signals.controllers.bench import (
    ACCESS,
    NOW_S,
    RINGS,
    SPLITS_S,
    Bench,
    MakeBench,
    QuietUnit,
    Serve,
    phase,
)


@pytest.fixture(scope="session")
def record() -> ControllerRecord:
    """Eight phases, left turns odd; the shortest split is 12.5 s, with pedestrians 26.5 s."""
    phases = tuple(phase(n, r) for r, ring in enumerate(RINGS, 1) for n in ring)
    return ControllerRecord(phases, RINGS)


@pytest.fixture(scope="session")
def pattern() -> Pattern:
    """A cycle of 100 s, coordinated on 2 and 6."""
    splits = tuple(
        Split(n, s, SplitMode.PEDESTRIAN if n in (4, 8) else SplitMode.NONE, n in (2, 6))
        for n, s in SPLITS_S.items()
    )
    return Pattern(100, 30, splits, RINGS)


@pytest.fixture
def make_bench(record: ControllerRecord, pattern: Pattern) -> MakeBench:
    """A bench whose pattern 1 is the field's and runs always; faults as given."""

    def made(*faults: Fault, seed: int = 0, max_message: int = 1472, **more: object) -> Bench:
        values = new_values(record, utc_s=NOW_S)
        load_pattern(values, 1, pattern)
        run_always(values, 1)
        unit = QuietUnit()
        database = Database(values, unit, **more)  # type: ignore[arg-type]
        agent = Agent(database, ACCESS, name="j3", faults=FaultLine(faults, seed), max_message=max_message)
        return Bench(values, unit, database, agent)

    return made


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Lets agents answer on ports of their own, from a thread of their own."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="agents")
    thread.start()
    agents: list[Agent] = []

    def start(bench: Bench) -> Address:
        started: Future[Address] = asyncio.run_coroutine_threadsafe(bench.agent.start(), loop)
        agents.append(bench.agent)
        return started.result(10)

    async def end() -> None:
        for agent in agents:
            agent.close()
        await asyncio.sleep(0)

    yield start
    asyncio.run_coroutine_threadsafe(end(), loop).result(10)
    loop.call_soon_threadsafe(loop.stop)
    thread.join(10)
    loop.close()
