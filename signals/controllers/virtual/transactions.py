"""The database of a virtual unit as SNMP sees it: objects by OID, and NTCIP 1201's transaction.

While a transaction is open, SETs go to a buffer that only its opener may write, and a GET still answers what is live.
Written by the standard's words, so that what holds here holds for a unit on the street.
"""

from __future__ import annotations

import time
from bisect import bisect_right
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from signals.controllers.objects import OBJECTS, Key, ObjectType, Oid, Syntax, Transaction, find_object
from signals.controllers.virtual.database import Value, Values, integer
from signals.controllers.virtual.messages import COUNTER, GAUGE, INTEGER, TAGS, Bound, ErrorStatus
from signals.controllers.virtual.verification import first_fault

_LARGEST_INTEGER = 2**31 - 1
_OWN = ("dbCreateTransaction", "dbVerifyStatus", "dbVerifyError")
_ROWS_OF = {"ringStatus": "maxRings", "preemptState": "maxPreempts", "preemptControlState": "maxPreempts"}


class Unit(Protocol):
    """What database and agent ask of the unit whose values they hold: that of `signals.controllers.virtual.unit`."""

    @property
    def utc_ms(self) -> int:
        """Its clock, UTC in milliseconds."""
        ...

    def reread(self) -> None:
        """The database has changed."""

    def system_command(self) -> None:
        """The central has written something."""

    def status(self, key: Key) -> Value:
        """The value of an object that the unit works out."""
        ...

    def set_clock(self, utc_s: float) -> None:
        """Set the clock."""

    def preempt(self, number: int, on: bool) -> None:
        """Call or end a preemption."""

    def power_cycle(self) -> None:
        """Power off and on."""


class Refusal(NamedTuple):
    """Why a SET was refused: `varbind` is the one at fault, from 1, or 0 for the whole of it."""

    status: ErrorStatus
    varbind: int


@dataclass(frozen=True, slots=True)
class Layout:
    """Which objects a unit has, in the order of their OIDs. Units with the same room share one."""

    oids: tuple[Oid, ...]
    found: Mapping[Oid, tuple[ObjectType, Key]]
    prefixes: frozenset[Oid]


_LAYOUTS: dict[frozenset[Key], Layout] = {}


def layout_of(values: Values) -> Layout:
    """The objects of a unit with these values, and with the statuses that go with them."""
    keys = frozenset(values)
    layout = _LAYOUTS.get(keys)
    if layout is None:
        found = {OBJECTS[key[0]].oid(*key[1]): (OBJECTS[key[0]], key) for key in (*keys, *_statuses(values))}
        prefixes = frozenset(kind.prefix for kind, _ in found.values())
        layout = _LAYOUTS[keys] = Layout(tuple(sorted(found)), found, prefixes)
    return layout


def _statuses(values: Values) -> Iterable[Key]:
    stored = {name for name, _ in values}
    for name, kind in OBJECTS.items():
        if name in stored or kind.database:
            continue
        if kind.indices == 0:
            yield name, ()
        else:
            rows = integer(values, _ROWS_OF.get(name, "maxPhaseGroups"))
            yield from ((name, (n,)) for n in range(1, rows + 1))


class Database:
    """A unit's live values, and the buffer of an open transaction.

    `verify_s` is how long a verification takes [s]; `split_number_writable` makes patternSplitNumber writable, as in
    version 1 of NTCIP 1202. `state` and what else SNMP may read comes from `read`.
    """

    def __init__(
        self,
        values: Values,
        unit: Unit,
        *,
        verify_s: float = 0.0,
        split_number_writable: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.values = values
        self.unit = unit
        self.layout = layout_of(values)
        self._share_keys()
        self._verify_s = verify_s
        self._read_only = frozenset(() if split_number_writable else ("patternSplitNumber",))
        self._clock = clock
        self._state = Transaction.NORMAL
        self._opener = ""
        self._buffer: Values = {}
        self._verified_at = 0.0
        self._outcome = Transaction.NOT_DONE
        self._error = b""
        self._ordered_refusal = b""
        self._preempts: dict[int, int] = {}

    @property
    def state(self) -> int:
        """dbCreateTransaction now: verifying ends by itself."""
        if self._state == Transaction.VERIFY and self._clock() >= self._verified_at:
            self._state = Transaction.DONE
            self._error = self._ordered_refusal or first_fault({**self.values, **self._buffer})
            self._ordered_refusal = b""
            self._outcome = Transaction.WITH_ERROR if self._error else Transaction.WITHOUT_ERROR
        return self._state

    def read(self, oid: Oid) -> Bound | None:
        """The live value of an instance; None where there is none."""
        found = self.layout.found.get(oid)
        if found is None:
            return None
        kind, key = found
        value = self._value(key)
        if isinstance(value, int) and kind.syntax is Syntax.INTEGER and value > _LARGEST_INTEGER:
            # the mask of days is an INTEGER of 32 bits; managers take no INTEGER of more than 31
            return Bound(oid, GAUGE, value)
        return Bound(oid, TAGS[kind.syntax], value)

    def has_object(self, oid: Oid) -> bool:
        """Whether an instance belongs to an object that the unit has, be its row there or not."""
        return any(oid[:k] in self.layout.prefixes for k in range(len(oid)))

    def following(self, oid: Oid) -> Bound | None:
        """The first instance after an OID; None at the end."""
        at = bisect_right(self.layout.oids, oid)
        return self.read(self.layout.oids[at]) if at < len(self.layout.oids) else None

    def set(self, bounds: Sequence[Bound], opener: str) -> Refusal | None:
        """Do all of a SET, or none of it and say why not. `opener` is the community or user that asks."""
        changes: list[tuple[ObjectType, Key, Value]] = []
        for index, bound in enumerate(bounds, 1):
            checked = self._checked(bound)
            if isinstance(checked, ErrorStatus):
                return Refusal(checked, index)
            changes.append(checked)
        refusal = self._refused_now(changes, opener)
        if refusal is None:
            self._apply(changes, opener)
        return refusal

    def refuse_next_verify(self, text: str) -> None:
        """Let the next verification end with this error."""
        self._ordered_refusal = text.encode("ascii", "replace")[:255]

    def power_cycle(self) -> None:
        """Power fails and comes back: the live database stays, an open transaction is lost."""
        self._close()
        self._outcome, self._error = Transaction.NOT_DONE, b""
        self.unit.power_cycle()

    def _share_keys(self) -> None:
        """Let units with the same room hold the same key objects: half a megabyte a unit."""
        shared = {key: key for _, key in self.layout.found.values()}
        items = [(shared[key], value) for key, value in self.values.items()]
        self.values.clear()
        self.values.update(items)

    def _value(self, key: Key) -> Value:
        name, index = key
        if name in _OWN:
            state = self.state  # first, since it may end a verification
            return {"dbCreateTransaction": state, "dbVerifyStatus": self._outcome}.get(name, self._error)
        if name == "preemptControlState":
            return self._preempts.get(index[0], 0)
        if name != "globalTime" and key in self.values:
            return self.values[key]
        return self.unit.status(key)

    def _checked(self, bound: Bound) -> tuple[ObjectType, Key, Value] | ErrorStatus:
        """The change that a varbind asks for, in the order of RFC 3416's checks."""
        found = self.layout.found.get(bound.oid)
        if found is None:
            known = find_object(bound.oid)
            return ErrorStatus.notWritable if known and not known[0].writable else ErrorStatus.noCreation
        kind, key = found
        if not kind.writable or kind.name in self._read_only:
            return ErrorStatus.notWritable
        wide = kind.syntax is Syntax.INTEGER and kind.high > _LARGEST_INTEGER
        if bound.tag != TAGS[kind.syntax] and not (wide and bound.tag in (GAUGE, COUNTER)):
            return ErrorStatus.wrongType
        value = bound.value
        assert value is not None
        if isinstance(value, int):
            if wide and bound.tag == INTEGER and value < 0:
                value += 2**32
            return (kind, key, value) if kind.low <= value <= kind.high else ErrorStatus.wrongValue
        return (kind, key, value) if kind.low <= len(value) <= kind.high else ErrorStatus.wrongLength

    def _refused_now(self, changes: Sequence[tuple[ObjectType, Key, Value]], opener: str) -> Refusal | None:
        """What the state of the transaction has against changes that are sound in themselves."""
        steps = [n for n, (kind, _, _) in enumerate(changes, 1) if kind.name == "dbCreateTransaction"]
        guarded = any(kind.database for kind, _, _ in changes)
        if not steps and not guarded:
            return None
        state = self.state
        if state != Transaction.NORMAL and opener != self._opener:
            return Refusal(ErrorStatus.genErr, 0)
        if steps:
            wanted = changes[steps[0] - 1][2]
            if wanted not in _NEXT_STATES[state]:
                return Refusal(ErrorStatus.badValue, steps[0])
            # whether the rest is meant for before or after the step, nobody could say
            return Refusal(ErrorStatus.genErr, steps[-1]) if guarded or len(steps) > 1 else None
        return Refusal(ErrorStatus.genErr, 0) if state in (Transaction.VERIFY, Transaction.DONE) else None

    def _apply(self, changes: Sequence[tuple[ObjectType, Key, Value]], opener: str) -> None:
        reread = False
        for kind, key, value in changes:
            if kind.name == "dbCreateTransaction":
                assert isinstance(value, int)
                reread = self._go_to(value, opener)
            elif kind.name == "globalTime":
                assert isinstance(value, int)
                self.unit.set_clock(value)
            elif kind.name == "preemptControlState":
                self._preempts[key[1][0]] = int(value == 1)
                self.unit.preempt(key[1][0], value == 1)
            elif kind.database and self._state == Transaction.TRANSACTION:
                self._buffer[key] = value
            else:
                self.values[key] = value
                reread = True
        self.unit.system_command()
        if reread:
            self.unit.reread()

    def _go_to(self, wanted: int, opener: str) -> bool:
        """Go to a state of the transaction; whether the live database has changed."""
        was = self.state
        if wanted == Transaction.TRANSACTION:
            self._state, self._opener = Transaction.TRANSACTION, opener
            self._outcome, self._error = Transaction.NOT_DONE, b""
        elif wanted == Transaction.VERIFY:
            self._state, self._verified_at = Transaction.VERIFY, self._clock() + self._verify_s
        elif wanted == Transaction.NORMAL and was != Transaction.NORMAL:
            commits = was == Transaction.DONE and self._outcome == Transaction.WITHOUT_ERROR
            if commits:
                self.values.update(self._buffer)
            self._close()
            return commits
        return False

    def _close(self) -> None:
        self._state, self._opener, self._buffer = Transaction.NORMAL, "", {}


_NEXT_STATES = {
    Transaction.NORMAL: (Transaction.NORMAL, Transaction.TRANSACTION),
    Transaction.TRANSACTION: (Transaction.NORMAL, Transaction.VERIFY),
    Transaction.VERIFY: (),
    Transaction.DONE: (Transaction.NORMAL, Transaction.TRANSACTION),
}
"""To which states one may go from each; anything else is a badValue."""
