"""A unit on paper: what an SNMP client would get from one with transactions, without a wire."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from signals.controllers.ntcip1202 import Ntcip1202
from signals.controllers.ntcip_database import oid_of
from signals.controllers.objects import Key, Oid, find_object, may_write, name_of
from signals.controllers.snmp_codec import Value
from signals.errors import ControllerRefused, ControllerUnreachable
from signals.model.controller import Pattern, Rings, Split
from tests.peers.agents import unit_values

SEQUENCE: Rings = ((1, 2, 3, 4), (5, 6, 7, 8))
LAGGING: Rings = ((2, 1, 3, 4), (5, 6, 7, 8))
SPLITS = {1: 15, 2: 35, 3: 20, 4: 30, 5: 20, 6: 30, 7: 15, 8: 35}
STATE: Key = ("dbCreateTransaction", ())
VERIFIED: Key = ("dbVerifyStatus", ())
ERROR: Key = ("dbVerifyError", ())


def a_plan(cycle_s: int = 100, offset_s: int = 30, sequence: Rings = SEQUENCE) -> Pattern:
    """A plan for eight phases, 2 and 6 coordinated."""
    splits = tuple(Split(phase, time_s, coordinated=phase in (2, 6)) for phase, time_s in SPLITS.items())
    return Pattern(cycle_s, offset_s, splits, sequence)


class PaperUnit:
    """Answers as `SnmpClient` does. It keeps to the rules of dbCreateTransaction in shared/reference.

    `polls` is how often it is asked for its state before a verification is done; `verdict` and `reason` are its
    dbVerifyStatus and dbVerifyError then. It refuses to set the object `refuses`, and is deaf to those in `deaf`.
    `lost` are states whose SET arrives and whose answer doesn't, once each; `unheard`, whose SET doesn't arrive.
    """

    where = "paper"

    def __init__(self, *, transactions: bool = True, counts_from_0: bool = False) -> None:
        self.live: dict[Key, Value] = dict(unit_values())
        if transactions:
            self.live |= {STATE: 1, VERIFIED: 0 if counts_from_0 else 1, ERROR: b""}
        self.good = 2 if counts_from_0 else 3
        self.buffer: dict[Key, Value] = {}
        self.verdict, self.reason, self.polls = self.good, b"", 2
        self.lost, self.unheard, self.deaf = set[int](), set[int](), set[str]()
        self.refuses: str | None = None
        self.states: list[int] = []
        self.sets: list[list[Key]] = []

    @property
    def driver(self) -> Ntcip1202:
        """The driver of this unit."""
        return Ntcip1202(self, verify_within_s=0.2)  # type: ignore[arg-type]

    @property
    def state(self) -> Value | None:
        """Where its transaction is."""
        return self.live.get(STATE)

    async def get(self, oids: Iterable[Oid]) -> dict[Oid, Value | None]:
        keys = {oid: self._key(oid) for oid in oids}
        if self.state == 3 and STATE in keys.values():
            self.polls -= 1
            if self.polls < 0:
                self.live |= {STATE: 6, VERIFIED: self.verdict, ERROR: self.reason}
        return {oid: self.live.get(key) for oid, key in keys.items()}

    async def set(self, pairs: Sequence[tuple[Oid, Value]], *, tries: int | None = None) -> None:
        assert all(may_write(oid) for oid, _ in pairs)
        told = {self._key(oid): value for oid, value in pairs}
        if STATE in told:
            self._step(told[STATE])
            return
        self.sets.append(list(told))
        for key, value in told.items():
            if key[0] == self.refuses:
                raise ControllerRefused(f"paper refuses to set {name_of(oid_of(key))} to {value!r}: badValue")
            if key[0] in self.deaf:
                continue
            if key[0] == "systemPatternControl" or self.state is None:
                self.live[key] = value
            elif self.state == 2:
                self.buffer[key] = value
            else:
                raise ControllerRefused("paper refuses: genErr")

    def _step(self, to: Value) -> None:
        assert isinstance(to, int)
        if to in self.unheard:
            self.unheard.remove(to)
            raise ControllerUnreachable("paper: no answer")
        allowed = {1: (1, 2), 2: (1, 2, 3), 6: (1, 2)}
        at = self.state
        if not isinstance(at, int) or to not in allowed.get(at, ()):
            raise ControllerRefused(f"paper refuses to set dbCreateTransaction.0 to {to}: badValue")
        self.states.append(to)
        if (at, to) == (1, 2):
            self.buffer = {}
        if (at, to) == (6, 1) and self.verdict == self.good:
            self.live |= self.buffer
        self.live[STATE] = to
        if to in self.lost:
            self.lost.remove(to)
            raise ControllerUnreachable("paper: no answer")

    @staticmethod
    def _key(oid: Oid) -> Key:
        found = find_object(oid)
        assert found is not None, oid
        return found[0].name, found[1]
