"""pysnmp as a version 3 manager of an agent in the same process, and the datagrams that go between them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, NamedTuple

from pysnmp.hlapi.v3arch.asyncio import (
    ContextData,
    ObjectIdentity,
    ObjectType,
    SnmpEngine,
    UdpTransportTarget,
    UsmUserData,
    bulk_cmd,
    get_cmd,
    set_cmd,
)
from pysnmp.hlapi.v3arch.asyncio import auth as protocols

from signals.controllers.virtual import messages
from signals.controllers.virtual.agent import Agent
from signals.controllers.virtual.messages import Request
from signals.controllers.virtual.secured import User
from tests.signals.controllers.virtual.manager import KINDS


class Outcome(NamedTuple):
    """What came of a request: an error of the line or of security, or a status and values."""

    error: str
    status: int = 0
    index: int = 0
    oids: tuple[tuple[int, ...], ...] = ()
    values: tuple[Any, ...] = ()


class Datagram(NamedTuple):
    """A request as it came, and its answer."""

    request: bytes
    answer: bytes | None


def talk(
    agent: Agent, user: User, requests: Sequence[Request], level: str = "authPriv"
) -> tuple[list[Outcome], list[Datagram]]:
    """Ask an agent as a user; level is that of the messages' security."""
    datagrams: list[Datagram] = []
    answer = agent.answer

    def kept(data: bytes) -> bytes | None:
        datagrams.append(Datagram(data, answer(data)))
        return datagrams[-1].answer

    agent.answer = kept  # type: ignore[method-assign]
    try:
        return asyncio.run(_talk(agent, user, requests, level)), datagrams
    finally:
        del agent.answer


async def _talk(agent: Agent, user: User, requests: Sequence[Request], level: str) -> list[Outcome]:
    host, port = await agent.start()
    engine = SnmpEngine()
    keys: dict[str, Any] = {}
    if level != "noAuthNoPriv":
        keys |= {"authKey": user.auth_key, "authProtocol": protocols.USM_AUTH_HMAC192_SHA256}
    if level == "authPriv":
        keys |= {"privKey": user.priv_key, "privProtocol": protocols.USM_PRIV_CFB128_AES}
    who = UsmUserData(user.name, **keys)
    target = await UdpTransportTarget.create((host, port), timeout=1, retries=0)
    try:
        return [await _ask(engine, who, target, request) for request in requests]
    finally:
        engine.close_dispatcher()
        agent.close()
        await asyncio.sleep(0.01)


async def _ask(engine: Any, who: Any, target: Any, request: Request) -> Outcome:
    bounds = [
        ObjectType(ObjectIdentity(b.oid), KINDS[b.tag](b.value)) if request.kind == messages.SET
        else ObjectType(ObjectIdentity(b.oid))
        for b in request.bounds
    ]  # fmt: skip
    if request.kind == messages.GET_BULK:
        command = bulk_cmd(
            engine, who, target, ContextData(), request.first, request.second, *bounds, lookupMib=False
        )
    else:
        function = set_cmd if request.kind == messages.SET else get_cmd
        command = function(engine, who, target, ContextData(), *bounds, lookupMib=False)
    error, status, index, found = await command
    if error:
        return Outcome(str(error))
    if int(status):
        return Outcome("", int(status), int(index))
    values = tuple(int(v) if hasattr(v, "__int__") else bytes(v) for _, v in found)
    return Outcome("", 0, 0, tuple(tuple(oid) for oid, _ in found), values)
