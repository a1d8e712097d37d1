"""A million packets that no manager of ours sends, at a virtual unit's port: nothing may change, and it must live on.

    python -m benchmarks.street_packets [--packets 1000000] [--seed 1] [--secured 0.06]

First a manager works with the unit, over both versions of SNMP, and its packets are recorded. The unit is restarted.
Then come, by the seed: recorded packets of version 3 again, as they were and mangled (the unit's boots have changed, so
they are replays); questions of version 2c, mangled; SETs with the community that may only read, and with unknown ones;
SETs by a user that may only read; garbage of any size, up to the largest datagram; lengths that lie, and nesting
without end. After each batch a sound question must be answered. At the end every object must be as it was, no
transaction open, no command given, no conflict monitor tripped, no error in the unit's loop, and the process no larger
than after the first tenth, within 20 %.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import multiprocessing
import random
import socket
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from typing import Any

import psutil
from rich.console import Console
from rich.progress import Progress

from benchmarks.street_faults import FIELD, OLD, PLAN, RECORD
from signals.controllers.ntcip1202 import Ntcip1202
from signals.controllers.ntcip_database import client_of
from signals.controllers.objects import OBJECTS
from signals.controllers.snmp import Community, V3Engines
from signals.controllers.snmp import User as ManagerUser
from signals.controllers.virtual.agent import AccessRights, Agent
from signals.controllers.virtual.database import new_values
from signals.controllers.virtual.secured import User
from signals.controllers.virtual.simulation import load_pattern, run_always
from signals.controllers.virtual.transactions import Database
from signals.controllers.virtual.unit import TICK_S, Unit
from signals.deployment.push import Order, look, write
from signals.errors import ControllerError
from signals.model.controller import UnitClock

READS, WRITES = "f1c7a0d2e95b4386", "80d3b6e7a1c94f25"
"""Communities: long, so that no mangling makes one of the other."""
BATCH, BATCH_OCTETS = 200, 60_000
LARGEST = 65_507
ANSWER_S, RESEND_S = 30.0, 2.0
GREW = 1.2


# ------------------------------------------------------------------------------------------------ the unit


def live(told: Connection) -> None:
    """The process of the unit: does as it is told over the pipe, until that is closed."""
    asyncio.run(_live(told))


async def _live(told: Connection) -> None:
    values = new_values(RECORD, utc_s=int(time.time()))
    load_pattern(values, OLD, FIELD)
    run_always(values, OLD)
    unit = Unit(RECORD, values)
    users = (
        User("writer", "authpass-1", "privpass-1", writes=True),
        User("reader", "authpass-2", "privpass-2"),
    )
    agent = Agent(Database(values, unit), AccessRights(READS, WRITES, users), name="target")
    told.send(await agent.start("127.0.0.1", 0))
    errors: list[str] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, about: errors.append(repr(about)))
    process, calls = psutil.Process(), frozenset(p.number for p in RECORD.phases)
    begin, ticks = time.monotonic(), 0
    while True:
        while ticks < (time.monotonic() - begin) / TICK_S:
            unit.step(calls, (2, 6))
            ticks += 1
        if told.poll():
            order = told.recv()
            if order == "reboot":
                agent.reboot()
                told.send("done")
            elif order == "look":
                kept = {k: v for k, v in values.items() if k != ("globalTime", ())}
                told.send(
                    {
                        "values": hashlib.sha256(repr(sorted(kept.items())).encode()).hexdigest(),
                        "transaction": agent.database.state,
                        "command": values["systemPatternControl", ()],
                        "tripped": unit.tripped,
                        "errors": errors[:3],
                        "received": agent.answered + agent.dropped,
                        "answered": agent.answered,
                        "mb": process.memory_info().rss / 2**20,
                    }
                )
            else:
                return
        await asyncio.sleep(0.005)


# ------------------------------------------------------------------------------------------- what is recorded


class _Tap(asyncio.DatagramProtocol):
    """Hands datagrams on to the unit and its answers back, and keeps those to the unit."""

    def __init__(self, unit: tuple[str, int]) -> None:
        self.unit, self.kept = unit, []  # type: tuple[str, int], list[bytes]
        self._manager: Any = None

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, address: Any) -> None:
        if address == self.unit:
            self.transport.sendto(data, self._manager)
        else:
            self._manager = address
            self.kept.append(data)
            self.transport.sendto(data, self.unit)


async def record(unit: tuple[str, int]) -> dict[str, list[bytes]]:
    """Packets of managers at work: a push over either version, and what a user that may only read tries."""
    loop = asyncio.get_running_loop()
    recorded: dict[str, list[bytes]] = {}
    credentials = {
        "2c": Community(READS, WRITES),
        "3": ManagerUser("writer", "authpass-1", "privpass-1"),
        "reader": ManagerUser("reader", "authpass-2", "privpass-2"),
    }
    order = Order("target", RECORD, PLAN, UnitClock.SIMULATED)
    engines = V3Engines()
    for name, who in credentials.items():
        transport, tap = await loop.create_datagram_endpoint(lambda: _Tap(unit), local_addr=("127.0.0.1", 0))
        host, port = transport.get_extra_info("sockname")
        async with client_of(host, port, who, engines=engines, timeout_s=3.0) as client:
            controller = Ntcip1202(client)
            found = await look(controller, order, own=(0, 48, 47))
            try:
                await write(controller, order, found)
                await controller.activate(found.slot.pattern)
                await controller.release()
            except ControllerError:
                assert name == "reader"
        recorded[name] = tap.kept
        transport.close()
    engines.close()
    return recorded


# -------------------------------------------------------------------------------------------- what is thrown


class Thrower:
    """Makes packets of recorded ones and of nothing."""

    def __init__(self, recorded: dict[str, list[bytes]], seed: int, secured: float) -> None:
        self.chance = random.Random(seed)
        community = WRITES.encode()
        self.sets = [p for p in recorded["2c"] if community in p]
        self.gets = [p for p in recorded["2c"] if community not in p]
        self.secured = [*recorded["3"], *recorded["reader"]]
        rest = 1 - secured
        self.makers: list[tuple[float, str, Callable[[], bytes]]] = [
            (0.5 * secured, "version 3 again", lambda: self.chance.choice(self.secured)),
            (0.5 * secured, "version 3 mangled", lambda: self.mangled(self.chance.choice(self.secured))),
            (0.35 * rest, "question mangled", lambda: self.mangled(self.chance.choice(self.gets))),
            (0.15 * rest, "SET by who may only read", self.set_by_reader),
            (0.10 * rest, "SET by a stranger", self.set_by_stranger),
            (0.15 * rest, "SET by a stranger, mangled", lambda: self.mangled(self.set_by_stranger())),
            (0.13 * rest, "garbage", lambda: self.chance.randbytes(self.chance.randrange(0, 1500))),
            (0.02 * rest, "oversized", self.oversized),
            (0.10 * rest, "lying lengths and nesting", self.lying),
        ]

    def make(self) -> tuple[str, bytes]:
        """A packet and what it is."""
        pick = self.chance.random()
        for share, name, maker in self.makers:
            if pick < share:
                return name, maker()
            pick -= share
        return self.makers[-1][1], self.makers[-1][2]()

    def set_by_reader(self) -> bytes:
        """A sound SET with the community that may only read."""
        return self.chance.choice(self.sets).replace(WRITES.encode(), READS.encode())

    def set_by_stranger(self) -> bytes:
        """A sound SET with a community that nobody knows."""
        word = "".join(self.chance.choices("0123456789abcdef", k=len(WRITES)))
        return self.chance.choice(self.sets).replace(WRITES.encode(), word.encode())

    def mangled(self, packet: bytes) -> bytes:
        """A packet with bits flipped, parts lost, doubled, exchanged or put in; never the word that may write."""
        data = bytearray(packet)
        for _ in range(self.chance.choice((1, 1, 1, 2, 4, 16))):
            if not data:
                break
            at = self.chance.randrange(len(data))
            match self.chance.randrange(6):
                case 0:
                    data[at] ^= 1 << self.chance.randrange(8)
                case 1:
                    del data[at:]
                case 2:
                    data[at] = self.chance.choice((0, 1, 0x7F, 0x80, 0x81, 0x84, 0xFF, 0x30, 0xA3, 0x02))
                case 3:
                    del data[at : at + self.chance.randrange(1, 8)]
                case 4:
                    data[at:at] = self.chance.randbytes(self.chance.randrange(1, 8))
                case _:
                    data[at:at] = data[at : at + self.chance.randrange(1, 40)]
        return bytes(data).replace(WRITES.encode(), READS.encode())

    def oversized(self) -> bytes:
        """More than the unit takes: a sound beginning, or none."""
        size = self.chance.choice((1473, 2000, 9000, LARGEST))
        begin = self.chance.choice((b"", *self.sets)).replace(WRITES.encode(), READS.encode())
        return begin + b"\x00" * (size - len(begin))

    def lying(self) -> bytes:
        """Nesting without end, lengths of what isn't there, counts too large to hold."""
        match self.chance.randrange(4):
            case 0:
                return b"\x30\x80" * self.chance.randrange(1, 700)
            case 1:
                return b"\x30\x84\xff\xff\xff\xff" + self.chance.choice(self.gets)
            case 2:
                depth = self.chance.randrange(1, 350)
                return b"".join(b"\x30\x82" + (4 * k).to_bytes(2, "big") for k in range(depth, 0, -1))
            case _:
                packet = bytearray(self.chance.choice(self.gets))
                for at in range(1, min(8, len(packet))):
                    packet[at] = self.chance.choice((packet[at], 0x88, 0xFE, 0x00))
                return bytes(packet)


def throw(
    address: tuple[str, int], thrower: Thrower, sound: bytes, packets: int, on_batch: Callable[[int], None]
) -> Counter[str]:
    """Send so many, and see after each batch that a sound question is answered; how many of which."""
    sent: Counter[str] = Counter()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as line:
        line.connect(address)
        left = packets
        while left > 0:
            octets, batch = 0, 0
            while left > 0 and batch < BATCH and octets < BATCH_OCTETS:
                name, packet = thrower.make()
                line.send(packet)
                sent[name] += 1
                octets += len(packet) + 600
                batch, left = batch + 1, left - 1
            _require_answer(line, sound)
            on_batch(packets - left)
    return sent


def _require_answer(line: socket.socket, sound: bytes) -> None:
    """Wait until a question of our own is answered; answers to the others come first."""
    # of four octets in its shortest form, so that the answer holds the same ones
    number = random.randrange(2**24, 2**31).to_bytes(4, "big")
    question = sound.replace(b"ID__", number)
    begin = time.monotonic()
    line.settimeout(RESEND_S)
    while time.monotonic() - begin < ANSWER_S:
        line.send(question)
        try:
            while number not in line.recv(LARGEST):
                pass
        except TimeoutError:
            continue
        return
    raise SystemExit("a sound question wasn't answered")


def sound_question() -> bytes:
    """A GET of coordPatternStatus with `ID__` for its number."""

    def framed(tag: int, content: bytes) -> bytes:
        return bytes([tag, len(content)]) + content

    oid = OBJECTS["coordPatternStatus"].oid()
    arcs = bytes([40 * oid[0] + oid[1]])
    for arc in oid[2:]:
        arcs += bytes([0x80 | arc >> 7, arc & 0x7F]) if arc > 127 else bytes([arc])
    bound = framed(0x30, framed(0x06, arcs) + b"\x05\x00")
    pdu = framed(0xA0, b"\x02\x04ID__" + b"\x02\x01\x00" * 2 + framed(0x30, bound))
    return framed(0x30, b"\x02\x01\x01" + framed(0x04, READS.encode()) + pdu)


def main() -> None:
    """Throw, look, and print what there is to say; exit code 1 where anything has changed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--packets", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--secured", type=float, default=0.06, help="share of version 3, which takes its time"
    )
    given = parser.parse_args()
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    unit = context.Process(target=live, args=(theirs,), daemon=True)
    unit.start()
    try:
        address = tuple(ours.recv())
        recorded = asyncio.run(record(address))
        facts = _throw_all(ours, address, Thrower(recorded, given.seed, given.secured), given.packets)
    finally:
        unit.terminate()
        unit.join()
    wrong = facts.pop("wrong")
    Console().print_json(json.dumps(facts))
    for line in wrong:
        Console().print(f"wrong: {line}")
    sys.exit(1 if wrong else 0)


def _look(end: Connection, order: str = "look") -> Any:
    end.send(order)
    return end.recv()


def _throw_all(end: Connection, address: tuple[str, int], thrower: Thrower, packets: int) -> dict[str, Any]:
    _look(end, "reboot")
    before = _look(end)
    tenth: dict[str, Any] = {}
    begin = time.monotonic()
    with Progress(console=Console(stderr=True), disable=not sys.stderr.isatty()) as progress:
        task = progress.add_task("throwing", total=packets)

        def on_batch(done: int) -> None:
            progress.update(task, completed=done)
            if not tenth and done >= packets // 10:
                tenth.update(_look(end))

        sent = throw(address, thrower, sound_question(), packets, on_batch)
    took_s = time.monotonic() - begin
    after = _look(end)
    received = after["received"] - before["received"]
    return {
        "packets": packets,
        "received": received,
        "answered": after["answered"] - before["answered"],
        "packets_per_s": round(packets / took_s),
        "sent": dict(sorted(sent.items())),
        "mb": [round(look["mb"], 1) for look in (before, tenth, after)],
        "wrong": _changes(before, tenth, after, packets, received),
    }


def _changes(
    before: dict[str, Any], tenth: dict[str, Any], after: dict[str, Any], packets: int, received: int
) -> Sequence[str]:
    wrong = [
        f"{key}: {before[key]} became {after[key]}"
        for key in ("values", "transaction", "command", "tripped", "errors")
        if before[key] != after[key]
    ]
    if received < packets:
        wrong.append(f"only {received} of {packets} packets came to the unit")
    if after["mb"] > GREW * tenth["mb"]:
        wrong.append(f"it grew from {tenth['mb']:.0f} to {after['mb']:.0f} MB")
    return wrong


if __name__ == "__main__":
    main()
