"""An SNMP manager that knows no signals: GET and SET of a few objects of one agent, over UDP.

Version 2c is `snmp_codec` on a socket, version 3 (authPriv) is pysnmp's engine.

No message, nor the answer that is expected to it, is longer than `most_octets`: 484 is what every agent must take. A
request is sent again in the same words where no answer comes, so a SET must mean the same when it comes twice.
"""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import secrets
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from types import TracebackType
from typing import Any, Literal, NamedTuple, Protocol, Self, TypeVar

from pysnmp.entity.rfc3413 import cmdgen
from pysnmp.error import PySnmpError
from pysnmp.hlapi.v3arch.asyncio import (
    USM_AUTH_HMAC96_SHA,
    USM_AUTH_HMAC192_SHA256,
    USM_KEY_TYPE_MASTER,
    USM_PRIV_CFB128_AES,
    SnmpEngine,
    UdpTransportTarget,
    UsmUserData,
)
from pysnmp.hlapi.v3arch.asyncio.lcd import CommandGeneratorLcdConfigurator
from pysnmp.proto.api import v2c

from signals.controllers.snmp_codec import (
    GET,
    RESPONSE,
    SET,
    Message,
    Oid,
    Pair,
    Value,
    decode,
    encode,
    encode_oid,
    encode_value,
)
from signals.errors import ControllerRefused, ControllerUnreachable

_T = TypeVar("_T")
LEAST_PHRASE = 8
LEAST_OCTETS = 484
"""The message size that every agent must take."""
STATUSES = (
    *("noError", "tooBig", "noSuchName", "badValue", "readOnly", "genErr", "noAccess", "wrongType"),
    *("wrongLength", "wrongEncoding", "wrongValue", "noCreation", "inconsistentValue"),
    *("resourceUnavailable", "commitFailed", "undoFailed", "authorizationError", "notWritable"),
    "inconsistentName",
)
"""Names of error-status, from 0."""
NO_ERROR, TOO_BIG, NO_SUCH_NAME = 0, 1, 2


@dataclass(frozen=True, slots=True)
class Community:
    """Credentials of version 2c; `write` is the community of SETs where it is another one."""

    name: str = field(repr=False)
    write: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class User:
    """Credentials of version 3: pass phrases for authentication and for privacy, which is AES with 128 bits."""

    name: str
    auth_key: str = field(repr=False)
    priv_key: str = field(repr=False)
    auth: Literal["SHA-256", "SHA"] = "SHA-256"

    def __post_init__(self) -> None:
        if min(len(self.auth_key), len(self.priv_key)) < LEAST_PHRASE:
            raise ValueError(
                f"user {self.name}: SNMPv3 wants pass phrases of {LEAST_PHRASE} characters or more"
            )


class Reply(NamedTuple):
    """What came back: error-status, the number of the object it is about (from 1, or 0), and the objects."""

    status: int
    about: int
    pairs: Sequence[Pair]


# --------------------------------------------------------------------------------------------------- sessions


class _Session(Protocol):
    """How questions get to an agent and answers back."""

    overhead: int
    """Octets of a message beside its objects, at most."""
    most: int
    """The largest integer that gets through."""
    hint: str
    """What may be wrong where there is no answer."""

    async def open(self, host: str, port: int) -> None: ...

    async def ask(self, kind: int, pairs: Sequence[Pair], tries: int) -> Reply | str:
        """An answer; or in words what is wrong, where there is none of use."""
        ...

    def close(self) -> None: ...


class _Datagrams(asyncio.DatagramProtocol):
    """Hands over what comes in. Reports of ICMP count for nothing: the unit may be back before the timeout."""

    def __init__(self, receive: Callable[[bytes], None]) -> None:
        self._receive = receive

    def datagram_received(self, data: bytes, addr: tuple[str | Any, int]) -> None:
        self._receive(data)


class _Version2c:
    """One connected socket: the kernel lets in nothing that comes from elsewhere."""

    most = 2**63 - 1
    hint = "is it on, and does it know the community?"

    def __init__(self, community: Community, timeout_s: float) -> None:
        self._names = {GET: community.name.encode(), SET: (community.write or community.name).encode()}
        self.overhead = 36 + max(map(len, self._names.values()))
        self._timeout_s = timeout_s
        self._ids = itertools.count(secrets.randbelow(1 << 30))
        self._pending: dict[int, tuple[asyncio.Future[Reply], bytes, Sequence[Oid]]] = {}
        self._transport: asyncio.DatagramTransport | None = None

    async def open(self, host: str, port: int) -> None:
        self._transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(
            lambda: _Datagrams(self._receive), remote_addr=(host, port)
        )

    def _receive(self, data: bytes) -> None:
        try:
            message = decode(data)
        except ValueError:
            return
        answer, community, oids = self._pending.get(message.request_id, (None, b"", ()))
        if answer is None or answer.done() or message.kind != RESPONSE or message.community != community:
            return
        if message.status == NO_ERROR and [oid for oid, _ in message.pairs] != list(oids):
            return
        answer.set_result(Reply(message.status, message.about, message.pairs))

    async def ask(self, kind: int, pairs: Sequence[Pair], tries: int) -> Reply | str:
        transport = self._transport
        assert transport is not None, "ask() before open()"
        request_id = next(self._ids) & 0x7FFFFFFF
        data = encode(Message(self._names[kind], kind, request_id, 0, 0, pairs))
        answer: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        self._pending[request_id] = (answer, self._names[kind], [oid for oid, _ in pairs])
        try:
            for _ in range(tries):
                transport.sendto(data)
                await asyncio.wait((answer,), timeout=self._timeout_s)
                if answer.done():
                    return answer.result()
        finally:
            del self._pending[request_id]
        return f"no answer to {tries} tries of {self._timeout_s:g} s each"

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()


@lru_cache(maxsize=1024)
def _master_key(phrase: str, auth: str) -> bytes:
    """A pass phrase's key before it is made that of one agent (RFC 3414, A.2): costly, so once a user."""
    octets = phrase.encode()
    digest = hashlib.sha256 if auth == "SHA-256" else hashlib.sha1
    return digest((octets * (2**20 // len(octets) + 1))[: 2**20]).digest()


class V3Engines:
    """What the SNMPv3 clients of one event loop share: for every user an engine of pysnmp with its socket."""

    def __init__(self) -> None:
        self._engines: dict[User, SnmpEngine] = {}

    def of(self, user: User) -> SnmpEngine:
        """The engine of a user."""
        if user not in self._engines:
            self._engines[user] = SnmpEngine()
        return self._engines[user]

    def close(self) -> None:
        """Close every socket."""
        for engine in self._engines.values():
            engine.close_dispatcher()
        self._engines.clear()


class _Version3:
    """A unit that pysnmp's engine talks to: it finds the unit's engine id and clock, signs, encrypts, asks again."""

    most = 2**31 - 1  # of an INTEGER in pysnmp, as SMIv2 has it
    hint = "is it on, and does it know the user with these pass phrases?"

    def __init__(self, user: User, timeout_s: float, engines: V3Engines | None) -> None:
        self.overhead = 200 + len(user.name.encode())
        self._user, self._timeout_s = user, timeout_s
        shared = engines or V3Engines()
        self._own = shared if engines is None else None
        self._engine = shared.of(user)
        self._senders = {GET: cmdgen.GetCommandGenerator(), SET: cmdgen.SetCommandGenerator()}
        self._targets: dict[int, str] = {}
        self._address: tuple[str, int]

    async def open(self, host: str, port: int) -> None:
        self._address = (host, port)
        await self._target(1)

    async def _target(self, tries: int) -> str:
        """The engine's name for the unit, asked so often."""
        if tries not in self._targets:
            auth = {"SHA-256": USM_AUTH_HMAC192_SHA256, "SHA": USM_AUTH_HMAC96_SHA}[self._user.auth]
            self._targets[tries], _ = CommandGeneratorLcdConfigurator().configure(
                self._engine,
                UsmUserData(
                    self._user.name,
                    _master_key(self._user.auth_key, self._user.auth),
                    _master_key(self._user.priv_key, self._user.auth),
                    auth,
                    USM_PRIV_CFB128_AES,
                    authKeyType=USM_KEY_TYPE_MASTER,
                    privKeyType=USM_KEY_TYPE_MASTER,
                ),
                await UdpTransportTarget.create(self._address, timeout=self._timeout_s, retries=tries - 1),
                "",
            )
        return self._targets[tries]

    async def ask(self, kind: int, pairs: Sequence[Pair], tries: int) -> Reply | str:
        answer: asyncio.Future[Reply | str] = asyncio.get_running_loop().create_future()
        target = await self._target(tries)
        bound = [(oid, _typed(value)) for oid, value in pairs]
        try:
            self._senders[kind].send_varbinds(self._engine, target, None, "", bound, _answered, answer)
            reply = await answer
        except PySnmpError as error:
            return f"SNMPv3 fails: {error}"
        if not isinstance(reply, str) and reply.status == NO_ERROR:
            if [oid for oid, _ in reply.pairs] != [oid for oid, _ in pairs]:
                return "it answers about other objects than were asked for"
        return reply

    def close(self) -> None:
        if self._own is not None:
            self._own.close()


def _answered(
    engine: object, handle: object, wrong: object, status: Any, index: Any, pairs: Any, answer: Any
) -> None:
    """Give pysnmp's answer to the one who waits for it."""
    if answer.done():
        return
    if wrong:
        answer.set_result(f"no answer of use, SNMPv3 says: {wrong}")
    else:
        found = [(tuple(oid), _untyped(value)) for oid, value in pairs]
        answer.set_result(Reply(int(status), int(index), found))


def _typed(value: Value | None) -> Any:
    match value:
        case None:
            return v2c.null
        case int():
            return v2c.Integer(value)
        case bytes():
            return v2c.OctetString(value)
    return v2c.ObjectIdentifier(value)


def _untyped(value: Any) -> Value | None:
    match value:
        case v2c.Null():  # and noSuchObject, noSuchInstance, endOfMibView
            return None
        case v2c.ObjectIdentifier():
            return tuple(value)
        case v2c.OctetString():
            return bytes(value)
    return int(value)


# ----------------------------------------------------------------------------------------------------- client


def dotted(oid: Oid) -> str:
    """An object identifier as people write it."""
    return ".".join(map(str, oid))


class SnmpClient:
    """One agent. Use it as an asynchronous context: it opens a socket, and closes it.

    `may_write` decides on every object of every SET before anything is sent. `name_of` names objects in messages;
    `longest` is how many octets an object's value may take with its tag and length.
    """

    def __init__(
        self,
        host: str,
        port: int,
        credentials: Community | User,
        *,
        may_write: Callable[[Oid], bool],
        name_of: Callable[[Oid], str] = dotted,
        longest: Callable[[Oid], int] = lambda oid: 6,
        engines: V3Engines | None = None,
        timeout_s: float = 1.0,
        retries: int = 3,
        most_octets: int = LEAST_OCTETS,
    ) -> None:
        self.where = f"{host}:{port}"
        self._address = (host, port)
        self._session: _Session = (
            _Version2c(credentials, timeout_s)
            if isinstance(credentials, Community)
            else _Version3(credentials, timeout_s, engines)
        )
        self._may_write, self._name_of, self._longest = may_write, name_of, longest
        self._tries = retries + 1
        self._room = most_octets - self._session.overhead
        self.questions = 0
        """How many questions it has asked, repetitions apart."""

    async def __aenter__(self) -> Self:
        try:
            await self._session.open(*self._address)
        except (OSError, PySnmpError) as error:
            self._session.close()
            raise ControllerUnreachable(f"{self.where}: there is no way to it: {error}") from error
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._session.close()
        await asyncio.sleep(0)  # asyncio closes a socket in its next round

    async def get(self, oids: Iterable[Oid]) -> dict[Oid, Value | None]:
        """The values of objects, None for those that the agent lacks; in as many messages as they need."""
        found: dict[Oid, Value | None] = {}
        sizes = ((oid, _bound_octets(oid, self._longest(oid))) for oid in oids)
        for part in _parts(sizes, self._room):
            found |= await self._get(part)
        return found

    async def set(self, pairs: Sequence[tuple[Oid, Value]], *, tries: int | None = None) -> None:
        """Set objects, in as many messages as they need. An agent may have done half of it when it refuses.

        `tries` is how often a message is sent at most, where it must not come twice: 1.

        Raises
        ------
        ControllerRefused
            Where one of them may not be written, or is too large, and then nothing is sent; or where the agent
            says so.
        """
        for oid, value in pairs:
            wrong = "" if self._may_write(oid) else "is never to be written"
            if isinstance(value, int) and value > self._session.most:
                wrong = (
                    f"can't be {value}: integers go to {self._session.most} here, and further over version 2c"
                )
            if wrong:
                raise ControllerRefused(f"{self.where}: {self._name_of(oid)} {wrong}; nothing was sent")
        sizes = ((pair, _bound_octets(pair[0], len(encode_value(pair[1])))) for pair in pairs)
        for part in _parts(sizes, self._room):
            await self._set(part, tries or self._tries)

    async def _get(self, oids: Sequence[Oid]) -> dict[Oid, Value | None]:
        reply = await self._ask(GET, [(oid, None) for oid in oids], self._tries)
        if reply.status == NO_ERROR:
            return dict(reply.pairs)
        if reply.status == TOO_BIG and len(oids) > 1:
            half = len(oids) // 2
            return await self._get(oids[:half]) | await self._get(oids[half:])
        if reply.status == NO_SUCH_NAME and 1 <= reply.about <= len(oids):  # as version 1 says it
            rest = [*oids[: reply.about - 1], *oids[reply.about :]]
            return {oids[reply.about - 1]: None} | (await self._get(rest) if rest else {})
        raise self._refusal("to read", oids, reply)

    async def _set(self, pairs: Sequence[tuple[Oid, Value]], tries: int) -> None:
        reply = await self._ask(SET, pairs, tries)
        if reply.status == TOO_BIG and len(pairs) > 1:
            half = len(pairs) // 2
            await self._set(pairs[:half], tries)
            await self._set(pairs[half:], tries)
        elif reply.status != NO_ERROR:
            raise self._refusal("to set", [oid for oid, _ in pairs], reply, dict(pairs))

    async def _ask(self, kind: int, pairs: Sequence[Pair], tries: int) -> Reply:
        self.questions += 1
        reply = await self._session.ask(kind, pairs, tries)
        if isinstance(reply, str):
            raise ControllerUnreachable(f"{self.where}: {reply}; {self._session.hint}")
        return reply

    def _refusal(
        self, what: str, oids: Sequence[Oid], reply: Reply, values: dict[Oid, Value] | None = None
    ) -> ControllerRefused:
        """An error-status in words, with the object that it is about."""
        name = STATUSES[reply.status] if 0 <= reply.status < len(STATUSES) else f"status {reply.status}"
        if not 1 <= reply.about <= len(oids):
            about = ", ".join(map(self._name_of, oids[:3])) + (f" and {len(oids) - 3} more" * (len(oids) > 3))
            return ControllerRefused(f"{self.where} refuses {what} {about}: {name}")
        oid = oids[reply.about - 1]
        value = f" to {values[oid]!r}" if values else ""
        return ControllerRefused(f"{self.where} refuses {what} {self._name_of(oid)}{value}: {name}")


def _bound_octets(oid: Oid, value_octets: int) -> int:
    """Octets of an object with a value: 2 to 4 for the frame of both, as long as they are."""
    both = len(encode_oid(oid)) + value_octets
    return both + 2 + (both > 0x7F) + (both > 0xFF)


def _parts(sized: Iterable[tuple[_T, int]], room: int) -> Iterator[list[_T]]:
    """Things in the order in which they come, as many at a time as there is room for; at least one."""
    part: list[_T] = []
    used = 0
    for thing, octets in sized:
        if part and used + octets > room:
            yield part
            part, used = [], 0
        part.append(thing)
        used += octets
    if part:
        yield part
