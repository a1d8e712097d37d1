"""The SNMP agent of a virtual unit: version 2c by communities, version 3 by users, on one UDP port."""

from __future__ import annotations

import asyncio
import hashlib
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

from signals.controllers.objects import Transaction, find_object, name_of
from signals.controllers.virtual import messages
from signals.controllers.virtual.faults import ON_SETS, Fault, FaultKind, FaultLine, Moment
from signals.controllers.virtual.messages import (
    Answer,
    Bound,
    ErrorStatus,
    Malformed,
    Request,
    decode,
    fitted,
    version_of,
)
from signals.controllers.virtual.secured import SecuredEngine, User
from signals.controllers.virtual.transactions import Database

MAX_MESSAGE = 1472
"""Octets of the largest message: what one Ethernet frame holds. Every unit must take 484."""
LEAST_MESSAGE = 484
_LEAST_BOUND = 20
_EPOCH_S = 1_700_000_000
Address = tuple[str, int]


@dataclass(frozen=True, slots=True)
class AccessRights:
    """Who may ask: a community that reads, one that writes (empty: there is none), and users of version 3."""

    read_community: str = "public"
    write_community: str = "private"
    users: tuple[User, ...] = ()


def engine_id_of(name: str) -> bytes:
    """The engine id of a unit, the same each time: of the format for octets, under NEMA's number."""
    return b"\x80\x00\x04\xb6\x05" + hashlib.sha256(name.encode()).digest()[:12]


class Agent(asyncio.DatagramProtocol):
    """Answers for one unit on one UDP port, once `start` has bound it.

    Whatever comes in, the agent lives on: octets that are no message, or are asked by a stranger, get no answer.
    `max_message` is the size [octets] beyond which it neither takes nor sends messages.
    """

    def __init__(
        self,
        database: Database,
        access: AccessRights,
        *,
        name: str = "",
        faults: FaultLine | None = None,
        max_message: int = MAX_MESSAGE,
    ) -> None:
        if max_message < LEAST_MESSAGE:
            raise ValueError(f"messages of {max_message} octets: every unit must take {LEAST_MESSAGE}")
        self.database = database
        self.faults = faults or FaultLine()
        self.engine_id = engine_id_of(name)
        self._name = name
        self.answered = 0
        self.dropped = 0
        self._access = access
        self._max_message = max_message
        # later than that of any engine of this name before, without a file to count in
        self._boots = max(1, int(time.time()) - _EPOCH_S)
        self._secured: SecuredEngine | None = None
        self._transport: asyncio.DatagramTransport | None = None
        self._struck: dict[FaultKind, Fault] = {}
        self._down_until = -math.inf

    async def start(self, host: str = "127.0.0.1", port: int = 0) -> Address:
        """Bind the port (0: one that is free), and say which it is.

        Raises
        ------
        OSError
            Where it can't be bound.
        """
        loop = asyncio.get_running_loop()
        transport, _ = await loop.create_datagram_endpoint(lambda: self, local_addr=(host, port))
        address = transport.get_extra_info("sockname")
        if self._secured is None:  # streets of other networks may have a signal of the same name
            self.engine_id = engine_id_of(f"{self._name}:{address[1]}")
        return address[0], address[1]

    def close(self) -> None:
        """Answer no more."""
        if self._transport is not None:
            self._transport.close()
            self._transport = None

    def reboot(self, down_s: float = 0.0) -> None:
        """Power off, and on again after so long: an open transaction is lost, what was captured is of no more use."""
        self._down_until = asyncio.get_running_loop().time() + down_s
        self._boots += 1
        self._secured = None
        self.database.power_cycle()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by asyncio."""
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, address: Address) -> None:
        """Called by asyncio with a datagram."""
        loop = asyncio.get_running_loop()
        if loop.time() < self._down_until or self.faults.swallows():
            return
        self._struck = {}
        answer = self.answer(data)
        if answer is None or FaultKind.LOST_ANSWER in self._struck:
            return
        copies = 2 if FaultKind.DUPLICATE in self._struck else 1
        slow = self._struck.get(FaultKind.SLOW)
        for _ in range(copies):
            if slow is not None:
                loop.call_later(slow.much, self._send, answer, address)
            else:
                self._send(answer, address)

    def error_received(self, _error: Exception) -> None:
        """Called by asyncio where a manager has gone before its answer came: nothing is to be done about it."""

    def answer(self, data: bytes) -> bytes | None:
        """The datagram that answers one; None where there is no answer."""
        answer = self._answer(data) if len(data) <= self._max_message else None
        self.answered += answer is not None
        self.dropped += answer is None
        return answer

    def _answer(self, data: bytes) -> bytes | None:
        try:
            version = version_of(data)
            if version == messages.VERSION_3:
                return self._answer_secured(data)
            community, request = decode(data)
        except Malformed:
            return None
        opener = community.decode("latin-1")
        writes = opener == self._access.write_community
        if not opener or not (writes or opener == self._access.read_community):
            return None
        answer = self._respond(request, opener, writes)
        return None if answer is None else fitted(community, request, answer, self._max_message)[1]

    def _answer_secured(self, data: bytes) -> bytes | None:
        if not self._access.users:
            return None
        if self._secured is None:
            self._secured = SecuredEngine(
                self.engine_id, self._boots, self._access.users, self._respond, self._max_message
            )
        return self._secured.receive(data)

    def _send(self, data: bytes, address: Address) -> None:
        if self._transport is not None:
            self._transport.sendto(data, address)

    def _respond(self, request: Request, opener: str, writes: bool) -> Answer | None:
        """The answer to who may ask; None where a fault swallows request or answer."""
        self._struck = self.faults.strike(self._moments(request))
        if FaultKind.SILENCE in self._struck:
            return None
        if FaultKind.REBOOT in self._struck:
            self.reboot(self._struck[FaultKind.REBOOT].much)
            return None
        if FaultKind.CLOCK_SKEW in self._struck:
            unit = self.database.unit
            unit.set_clock(unit.utc_ms / 1000 + self._struck[FaultKind.CLOCK_SKEW].much)
        if FaultKind.REFUSED_VERIFY in self._struck:
            self.database.refuse_next_verify(self._struck[FaultKind.REFUSED_VERIFY].text)
        if request.kind == messages.SET:
            if not writes:
                return Answer(request.bounds, ErrorStatus.noAccess, 1)
            return self._set(request.bounds, opener)
        return Answer(self._read(request))

    def _moments(self, request: Request) -> list[Moment]:
        if request.kind != messages.SET:
            return [Moment.MESSAGE, Moment.GET]
        moments = [Moment.MESSAGE, Moment.SET]
        for bound in request.bounds:
            found = find_object(bound.oid)
            name = found[0].name if found else ""
            if name == "systemPatternControl":
                moments.append(Moment.ACTIVATE)
            elif name == "dbCreateTransaction":
                step = _STEPS.get((self.database.state, bound.value))
                moments += [step] if step else []
        return list(dict.fromkeys(moments))

    def _set(self, bounds: tuple[Bound, ...], opener: str) -> Answer:
        fault = next((fault for kind, fault in self._struck.items() if kind in ON_SETS), None)
        kind = fault.kind if fault else None
        if kind is FaultKind.NOT_APPLIED:
            return Answer(bounds)
        if fault and kind is FaultKind.READ_ONLY:
            for index, bound in enumerate(bounds, 1):
                if not fault.row or f"{name_of(bound.oid)}.".startswith(f"{fault.row}."):
                    return Answer(bounds, ErrorStatus.notWritable, index)
        applied = bounds
        if fault and kind in (FaultKind.HALF_APPLIED, FaultKind.HALF_SILENT):
            applied = bounds[: len(bounds) // 2 if fault.amount is None else int(fault.amount)]
        refusal = self.database.set(applied, opener)
        if refusal:
            return Answer(bounds, *refusal)
        if kind is FaultKind.HALF_APPLIED:
            return Answer(bounds, ErrorStatus.genErr, min(len(applied) + 1, len(bounds)))
        return Answer(bounds)

    def _read(self, request: Request) -> tuple[Bound, ...]:
        if request.kind == messages.GET:
            return tuple(self._get(bound) for bound in request.bounds)
        if request.kind == messages.GET_NEXT:
            return tuple(self._next(bound) for bound in request.bounds)
        return tuple(self._bulk(request))

    def _get(self, bound: Bound) -> Bound:
        found = self.database.read(bound.oid)
        if found is not None:
            return found
        known = self.database.has_object(bound.oid)
        return Bound(bound.oid, messages.NO_INSTANCE if known else messages.NO_OBJECT)

    def _next(self, bound: Bound) -> Bound:
        return self.database.following(bound.oid) or Bound(bound.oid, messages.END_OF_VIEW)

    def _bulk(self, request: Request) -> list[Bound]:
        """A GETBULK's varbinds, row by row, and no more than a message can hold."""
        once = max(0, min(request.first, len(request.bounds)))
        found = [self._next(bound) for bound in request.bounds[:once]]
        row: Sequence[Bound] = request.bounds[once:]
        most = self._max_message // _LEAST_BOUND
        for _ in range(request.second if row else 0):
            if len(found) > most or all(bound.tag == messages.END_OF_VIEW for bound in row):
                break
            row = [self._next(bound) for bound in row]
            found += row
        return found


_STEPS: dict[tuple[int, object], Moment] = {
    (Transaction.NORMAL, Transaction.TRANSACTION): Moment.OPEN,
    (Transaction.TRANSACTION, Transaction.VERIFY): Moment.VERIFY,
    (Transaction.DONE, Transaction.NORMAL): Moment.COMMIT,
    (Transaction.TRANSACTION, Transaction.NORMAL): Moment.DISCARD,
}
