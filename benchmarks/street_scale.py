"""A city's units: a full plan pushed to a thousand virtual controllers over the loopback, read back and activated.

    python -m benchmarks.street_scale [--units 1000] [--version 2c|3] [--agents 1]

The units live in processes of their own, each with its agent on a UDP port and its engine at 10 Hz of the clock.
Timed is the manager: for every unit the look (limits, phases, state, rows), the choice of a row, the write in a
transaction, the read-back of every object, the command, and the status that says that the unit runs it. The watch over
three cycles isn't timed: it takes three cycles, however many units there are.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import resource
import sys
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from multiprocessing.connection import Connection

from rich.console import Console

from benchmarks.street_faults import FIELD, OLD, PLAN, RECORD
from signals.controllers.ntcip1202 import Ntcip1202
from signals.controllers.ntcip_database import client_of
from signals.controllers.snmp import Community, V3Engines
from signals.controllers.snmp import User as ManagerUser
from signals.controllers.virtual.agent import AccessRights, Agent
from signals.controllers.virtual.database import new_values
from signals.controllers.virtual.secured import User
from signals.controllers.virtual.simulation import load_pattern, run_always
from signals.controllers.virtual.transactions import Database
from signals.controllers.virtual.unit import TICK_S, Unit
from signals.deployment.push import Order, look, write
from signals.model.controller import UnitClock

AT_ONCE = 16
"""Units that are talked to at the same time."""
LONGEST_S = 600.0
TIMEOUT_S = 5.0
"""A process of units answers for all of them, one after the other."""
CALLS = frozenset(p.number for p in RECORD.phases)
NAME, AUTH, PRIV = "bench", "authpass-1", "privpass-1"


def live(units: int, version: str, told: Connection) -> None:
    """The process of some units: tells their addresses, and lets them live until the other end is closed."""
    asyncio.run(_live(units, version, told))


async def _live(units: int, version: str, told: Connection) -> None:
    users = (User(NAME, AUTH, PRIV, writes=True),) if version == "3" else ()
    living, addresses = [], []
    for k in range(units):
        values = new_values(RECORD, utc_s=int(time.time()))
        load_pattern(values, OLD, FIELD)
        run_always(values, OLD)
        unit = Unit(RECORD, values)
        agent = Agent(Database(values, unit), AccessRights("reads", "writes", users), name=f"{told} {k}")
        addresses.append(await agent.start("127.0.0.1", 0))
        living.append(unit)
    for unit in living:
        unit.set_clock(time.time())
    told.send(addresses)
    begin, ticks = time.monotonic(), 0
    while not told.poll():
        due = int((time.monotonic() - begin) / TICK_S)
        while ticks < due:
            for k, unit in enumerate(living):
                unit.step(CALLS, (2, 6))
                if k % 50 == 0:
                    await asyncio.sleep(0)
            ticks += 1
        await asyncio.sleep(0.01)
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    used = resource.getrusage(resource.RUSAGE_SELF)
    told.send({"peak_mb": peak_mb, "cpu_s": used.ru_utime + used.ru_stime, "ticks": ticks})


@contextmanager
def street(
    units: int, version: str, processes: int
) -> Iterator[tuple[list[tuple[str, int]], list[Connection]]]:
    """Addresses of units in processes of their own, ended with the block."""
    context = multiprocessing.get_context("spawn")
    ends, workers = [], []
    try:
        for k in range(processes):
            ours, theirs = context.Pipe()
            share = units // processes + (k < units % processes)
            worker = context.Process(target=live, args=(share, version, theirs), daemon=True)
            worker.start()
            ends.append(ours)
            workers.append(worker)
        yield [tuple(address) for end in ends for address in end.recv()], ends
    finally:
        for worker in workers:
            worker.terminate()
            worker.join()


async def push_all(addresses: list[tuple[str, int]], version: str) -> tuple[list[float], int]:
    """Seconds that each unit took, and how many messages all of them took."""
    credentials = ManagerUser(NAME, AUTH, PRIV) if version == "3" else Community("reads", "writes")
    gate, engines = asyncio.Semaphore(AT_ONCE), V3Engines()
    # a process that serves a thousand units may fall behind the clock, which isn't the subject here
    order = Order("bench", RECORD, PLAN, UnitClock.SIMULATED)
    asked = 0

    async def one(host: str, port: int) -> float:
        nonlocal asked
        async with gate, AsyncExitStack() as stack:
            begin = time.monotonic()
            opened = client_of(host, port, credentials, engines=engines, timeout_s=TIMEOUT_S)
            client = await stack.enter_async_context(opened)
            unit = Ntcip1202(client)
            found = await look(unit, order, own=())
            report = await write(unit, order, found)
            assert report.transaction
            assert len(report.written) > 24
            await unit.activate(found.slot.pattern)
            until = time.monotonic() + 10
            while (await unit.read_status()).pattern != found.slot.pattern:
                if time.monotonic() > until:
                    raise SystemExit(f"{host}:{port} doesn't run pattern {found.slot.pattern}")
                await asyncio.sleep(0.1)
            asked += client.questions
            return time.monotonic() - begin

    try:
        took = await asyncio.wait_for(asyncio.gather(*(one(*address) for address in addresses)), LONGEST_S)
    finally:
        engines.close()
    return took, asked


def main() -> None:
    """Push, and print what it took."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--units", type=int, default=1000)
    parser.add_argument("--version", choices=("2c", "3"), default="2c")
    parser.add_argument("--agents", type=int, default=1, help="processes that the units live in")
    given = parser.parse_args()
    with street(given.units, given.version, given.agents) as (addresses, ends):
        begin, before = time.monotonic(), time.process_time()
        took, asked = asyncio.run(push_all(addresses, given.version))
        wall_s, cpu_s = time.monotonic() - begin, time.process_time() - before
        for end in ends:
            end.send("enough")
        used = [end.recv() for end in ends]
    facts = {
        "units": given.units,
        "version": given.version,
        "wall_s": round(wall_s, 1),
        "units_per_s": round(given.units / wall_s, 1),
        "messages_per_unit": round(asked / given.units, 1),
        "manager_cpu_s": round(cpu_s, 1),
        "median_unit_s": round(sorted(took)[len(took) // 2], 2),
        "agents_cpu_s": [round(u["cpu_s"], 1) for u in used],
        "agents_peak_mb": [round(u["peak_mb"]) for u in used],
    }
    Console().print_json(json.dumps(facts))
    sys.exit(0)


if __name__ == "__main__":
    main()
