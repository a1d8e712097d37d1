"""How a unit is reached: its address and credentials, by the driver of what it speaks."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from signals.controllers.base import Controller
from signals.controllers.credentials import Credentials
from signals.controllers.ntcip1202 import Ntcip1202
from signals.controllers.ntcip_database import client_of
from signals.controllers.snmp import V3Engines


@asynccontextmanager
async def open_unit(
    host: str,
    port: int,
    credentials: Credentials,
    engines: V3Engines | None = None,
    *,
    discard_stale: bool = False,
) -> AsyncIterator[Controller]:
    """A connection to a unit, closed with the block. `engines` are shared by the units of one deed.

    `discard_stale` throws away a transaction that the unit is found in: for whoever knows that it is their own.

    Raises
    ------
    ControllerUnreachable
        Where there is no way to it.
    """
    async with client_of(host, port, credentials, engines=engines) as client:
        yield Ntcip1202(client, discard_stale=discard_stale)
