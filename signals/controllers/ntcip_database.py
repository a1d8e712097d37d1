"""The objects of an NTCIP unit by name: read, written in a transaction where the unit has any, and read back."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache

from signals.controllers.base import WriteReport, Written
from signals.controllers.objects import (
    OBJECTS,
    Key,
    Oid,
    Syntax,
    Transaction,
    find_object,
    may_write,
    name_of,
)
from signals.controllers.snmp import LEAST_OCTETS, Community, SnmpClient, User, V3Engines
from signals.controllers.snmp_codec import Value, encode_value
from signals.errors import ControllerError, ControllerRefused, ControllerUnreachable, ReadBackDiffers

Values = dict[Key, Value | None]
"""What was read; None where the unit has no such object."""

_STATE: Key = ("dbCreateTransaction", ())
_VERIFIED: Key = ("dbVerifyStatus", ())
_ERROR: Key = ("dbVerifyError", ())
_FIRST_PAUSE_S, _LONGEST_PAUSE_S, _DISCARD_STEPS, _MOVES = 0.02, 1.0, 12, 3
_NOT_DONE_COUNTED_FROM_0, _WELL_COUNTED_FROM_0 = 0, 2
_OCTETS = {Syntax.OCTETS: 18, Syntax.OID: 24, Syntax.COUNTER: 7}
_VERIFY_ERROR_OCTETS = 258


@lru_cache(maxsize=1 << 14)
def value_octets(oid: Oid) -> int:
    """Octets that a value takes with its tag and length; of octet strings and identifiers, as a rule."""
    found = find_object(oid)
    if found is None:
        return _OCTETS[Syntax.COUNTER]
    kind = found[0]
    if kind.syntax is Syntax.INTEGER:
        return max(len(encode_value(kind.low)), len(encode_value(kind.high)))
    return _VERIFY_ERROR_OCTETS if kind.name == _ERROR[0] else _OCTETS[kind.syntax]


def client_of(
    host: str,
    port: int,
    credentials: Community | User,
    *,
    engines: V3Engines | None = None,
    timeout_s: float = 1.0,
    retries: int = 3,
    most_octets: int = LEAST_OCTETS,
) -> SnmpClient:
    """A client for a unit: it names its objects, and writes none that isn't on the list of those allowed."""
    return SnmpClient(
        host,
        port,
        credentials,
        may_write=may_write,
        name_of=name_of,
        longest=value_octets,
        engines=engines,
        timeout_s=timeout_s,
        retries=retries,
        most_octets=most_octets,
    )


def oid_of(key: Key) -> Oid:
    """The instance of an object."""
    return OBJECTS[key[0]].oid(*key[1])


def shown(value: Value | None) -> int | str | None:
    """A value as a report holds it: octets as their numbers, identifiers with dots."""
    if isinstance(value, bytes):
        return " ".join(map(str, value))
    return ".".join(map(str, value)) if isinstance(value, tuple) else value


class UnitDatabase:
    """What a unit holds, by name.

    `discard_stale` throws away a transaction that the unit is found in: it is someone else's, or the remains of a
    push that died, and the unit can't say which. So it is for a person to decide; by default a write is refused.
    A verification has `verify_within_s` to end.
    """

    def __init__(self, client: SnmpClient, *, discard_stale: bool, verify_within_s: float) -> None:
        self._client = client
        self._discard_stale, self._verify_within_s = discard_stale, verify_within_s

    @property
    def where(self) -> str:
        """The unit, for messages."""
        return self._client.where

    async def read(self, keys: Iterable[Key]) -> Values:
        """Values of objects, each asked for once."""
        oids = {key: oid_of(key) for key in keys}
        found = await self._client.get(oids.values()) if oids else {}
        return {key: found[oid] for key, oid in oids.items()}

    def number(
        self, values: Mapping[Key, Value | None], name: str, *index: int, default: int | None = None
    ) -> int:
        """An integer that was read; `default` where the unit has no such object.

        Raises
        ------
        ControllerRefused
            Where it has none, and there is no default; or where it isn't an integer.
        """
        value = values[name, index]
        if isinstance(value, int):
            return value
        if value is None and default is not None:
            return default
        has = "has no such object" if value is None else f"holds {shown(value)!r}, no integer"
        raise ControllerRefused(f"{self.where} {has}: {name_of(oid_of((name, index)))}")

    async def command(self, name: str, value: int) -> None:
        """Set an object that acts at once, and read it back."""
        key: Key = (name, ())
        await self._client.set([(oid_of(key), value)])
        self.compare({key: value}, await self.read([key]))

    async def write(
        self, wanted: Mapping[Key, Value], before: Values | None = None, *, keep: Iterable[str] = ()
    ) -> WriteReport:
        """Set objects in one transaction, and read every one of them back. Nothing is sent where all hold already.

        `before` is what was read of them; objects named in `keep` aren't set where they hold already: others share
        their row, or they can't be set.

        Raises
        ------
        ControllerRefused
            Where the unit lacks one of them, is in a transaction, or refuses: what it has taken by then may stay in
            the rows where it has no transactions.
        ReadBackDiffers
            Where it holds other values than it was told.
        """
        before = (before or {}) | await self.read(
            [k for k in [*wanted, _STATE, _VERIFIED] if k not in (before or {})]
        )
        lacking = [name_of(oid_of(key)) for key in wanted if before[key] is None]
        if lacking:
            raise ControllerRefused(f"{self.where} has no {', '.join(lacking[:4])}: nothing was sent")
        after = before
        if any(before[key] != value for key, value in wanted.items()):
            kept = {key for key in wanted if key[0] in keep and before[key] == wanted[key]}
            pairs = [(oid_of(key), value) for key, value in wanted.items() if key not in kept]
            await self._set(pairs, before)
            after = await self.read(wanted)
            self.compare(wanted, after)
        return WriteReport(
            tuple(Written(name_of(oid_of(key)), shown(before[key]), shown(after[key])) for key in wanted),
            before[_STATE] is not None,
        )

    def compare(self, wanted: Mapping[Key, Value], found: Mapping[Key, Value | None]) -> None:
        """Raise `ReadBackDiffers` unless everything is as wanted."""
        differences = [
            f"{name_of(oid_of(key))} is {shown(found[key])!r}, not {shown(value)!r}"
            for key, value in wanted.items()
            if found[key] != value
        ]
        if differences:
            raise ReadBackDiffers(self.where, differences)

    # --------------------------------------------------------------------------------------- transactions

    async def _set(self, pairs: Sequence[tuple[Oid, Value]], before: Values) -> None:
        if before[_STATE] is None:
            await self._client.set(pairs)
            return
        await self._open(before[_STATE])
        try:
            await self._client.set(pairs)
            await self._move(Transaction.VERIFY)
            await self._verify(before[_VERIFIED])
            await self._move(Transaction.NORMAL)
        except ControllerError as error:
            left = await self._discard()
            raise type(error)(f"{error}; {left}") from error
        except asyncio.CancelledError:
            await self._discard()
            raise

    async def _open(self, state: Value | None) -> None:
        if state != Transaction.NORMAL:
            if not self._discard_stale:
                raise ControllerRefused(
                    f"{self.where} is in a transaction (state {shown(state)}), which isn't ours: wait for its "
                    "owner, or have it discarded if nobody works on the unit"
                )
            left = await self._discard()
            if left != _DISCARDED:
                raise ControllerRefused(f"{self.where}: {left}")
        await self._move(Transaction.TRANSACTION)

    async def _move(self, state: int) -> None:
        """Set the transaction's state. It is a step, so it isn't sent again before a look at where the unit is."""
        for _ in range(_MOVES):
            try:
                await self._client.set([(oid_of(_STATE), state)], tries=1)
                return
            except ControllerUnreachable:
                now = (await self.read([_STATE]))[_STATE]
                if now == state or (state, now) == (Transaction.VERIFY, Transaction.DONE):
                    return
        raise ControllerUnreachable(
            f"{self.where}: no answer to dbCreateTransaction = {state}, asked {_MOVES} times, though it answers others"
        )

    async def _verify(self, before: Value | None) -> None:
        """Wait for the end of the verification, which must be good.

        Builds of v1 count dbVerifyStatus from 0: there 2 is good, which elsewhere is an error. Only one that has
        shown a 0 is believed to be one of them; and read-back tells at last.
        """
        loop, pause_s = asyncio.get_running_loop(), _FIRST_PAUSE_S
        until, counted_from_0 = loop.time() + self._verify_within_s, before == _NOT_DONE_COUNTED_FROM_0
        while True:
            values = await self.read([_STATE, _VERIFIED, _ERROR])
            counted_from_0 = counted_from_0 or values[_VERIFIED] == _NOT_DONE_COUNTED_FROM_0
            if values[_STATE] != Transaction.VERIFY:
                break
            if loop.time() > until:
                raise ControllerRefused(f"{self.where} hasn't verified within {self._verify_within_s:g} s")
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
        if values[_STATE] != Transaction.DONE:
            raise ControllerRefused(
                f"{self.where} fell out of its verification, to state {shown(values[_STATE])} of its transaction"
            )
        said = values[_ERROR] if isinstance(values[_ERROR], bytes) else b""
        assert isinstance(said, bytes)
        old_build = counted_from_0 and values[_VERIFIED] == _WELL_COUNTED_FROM_0 and not said.strip(b"\0 ")
        if values[_VERIFIED] != Transaction.WITHOUT_ERROR and not old_build:
            raise ControllerRefused(
                f"{self.where} refuses at its verification (dbVerifyStatus {shown(values[_VERIFIED])}): "
                f"{said.decode(errors='replace') or 'it says no reason'}"
            )

    async def _discard(self) -> str:
        """Leave the transaction, and nothing of it; what has come of that, in words.

        From "done" the way leads back through "transaction": straight to "normal" would commit what was verified.
        """
        try:
            for _ in range(_DISCARD_STEPS):
                match (await self.read([_STATE]))[_STATE]:
                    case Transaction.NORMAL | None:
                        return _DISCARDED
                    case Transaction.DONE:
                        await self._client.set([(oid_of(_STATE), Transaction.TRANSACTION)], tries=1)
                    case Transaction.TRANSACTION:
                        await self._client.set([(oid_of(_STATE), Transaction.NORMAL)], tries=1)
                    case _:
                        await asyncio.sleep(_LONGEST_PAUSE_S / 4)
        except ControllerError as error:
            return f"and its transaction couldn't be discarded, so the unit may still be in it: {error}"
        return "and its transaction couldn't be discarded: the unit is still in it"


_DISCARDED = "its transaction is discarded"
