"""Faults of a unit or its line that can be ordered: which, and at which message.

Units on the street lose answers, restart and half-apply what they are told. A fault is ordered for a step of a push,
so that a study can put each at each: `j3:silence@set:2` is written by people, `Fault` by programs.
"""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from enum import StrEnum

from signals.errors import InputError


class FaultKind(StrEnum):
    """What goes wrong. The comments say what `amount` means; where none does, nothing."""

    SILENCE = "silence"  # nothing is received any more, for `count` messages
    SLOW = "slow"  # the answer comes after so many seconds
    LOST_ANSWER = "lost_answer"  # done, but the answer is lost
    DUPLICATE = "duplicate"  # the answer comes twice
    HALF_APPLIED = (
        "half_applied"  # the first so many varbinds are applied (half of them by default), then genErr
    )
    HALF_SILENT = "half_silent"  # the same, but noError
    READ_ONLY = "read_only"  # `row` (the first varbind by default) is notWritable
    NOT_APPLIED = "not_applied"  # noError, and nothing is changed
    REBOOT = "reboot"  # power fails instead of an answer, for so many seconds; an open transaction is lost
    CLOCK_SKEW = "clock_skew"  # the clock jumps by so many seconds
    REFUSED_VERIFY = "refused_verify"  # the next verification ends with `text`


class Moment(StrEnum):
    """A kind of message, by what it does: what a fault waits for."""

    MESSAGE = "message"
    GET = "get"
    SET = "set"
    OPEN = "open"  # a transaction is opened
    VERIFY = "verify"  # verification is asked for
    COMMIT = "commit"  # done goes to normal
    DISCARD = "discard"  # an open transaction goes to normal
    ACTIVATE = "activate"  # systemPatternControl is written


DEFAULT_AMOUNT = {FaultKind.SLOW: 5.0, FaultKind.CLOCK_SKEW: 30.0}
ON_SETS = frozenset(
    (FaultKind.HALF_APPLIED, FaultKind.HALF_SILENT, FaultKind.READ_ONLY, FaultKind.NOT_APPLIED)
)
"""Faults that mean nothing but for a SET."""


@dataclass(frozen=True, slots=True)
class Fault:
    """A fault at the `nth` message of a kind and the `count` - 1 of its kind that follow; 0 is all that follow.

    `chance` is the probability with which it strikes each of them.
    """

    kind: FaultKind
    at: Moment = Moment.MESSAGE
    nth: int = 1
    count: int = 1
    amount: float | None = None
    chance: float = 1.0
    row: str = ""
    text: str = "ordered refusal"

    def __post_init__(self) -> None:
        if self.nth < 1 or self.count < 0 or not 0 <= self.chance <= 1:
            raise ValueError(f"{self}: nth from 1, count from 0, chance 0 to 1")
        if self.amount is not None and not math.isfinite(self.amount):
            raise ValueError(f"{self}: the amount must be finite")
        if self.amount is not None and self.amount < 0 and self.kind is not FaultKind.CLOCK_SKEW:
            raise ValueError(f"{self}: the amount must be 0 or more")
        if self.kind in ON_SETS and self.at in (Moment.GET, Moment.MESSAGE):
            raise ValueError(f"{self.kind} happens at a SET: give at set, open, verify, commit, …")

    @property
    def much(self) -> float:
        """The amount, or what it is by default."""
        return DEFAULT_AMOUNT.get(self.kind, 0.0) if self.amount is None else self.amount


def parse_fault(text: str) -> tuple[str, Fault]:
    """The signal (`*` for all) and the fault of an order `SIGNAL:KIND@MOMENT:NTH[,FIELD=VALUE…]`.

    Raises
    ------
    InputError
        Where it is none; the message says what could be.
    """
    what, *fields = text.split(",")
    signal, _, rest = what.rpartition("@")[0].rpartition(":")
    moment, _, nth = what.rpartition("@")[2].partition(":")
    given = {name.strip(): value for name, _, value in (field.partition("=") for field in fields)}
    unknown = set(given) - {"count", "amount", "chance", "row", "text"}
    try:
        if not signal or unknown:
            raise ValueError(
                f"unknown field {', '.join(sorted(unknown))}" if unknown else "no signal is named"
            )
        fault = Fault(FaultKind(rest), Moment(moment), int(nth or 1), int(given.get("count", 1)))
        return signal, replace(
            fault,
            amount=float(given["amount"]) if "amount" in given else None,
            chance=float(given.get("chance", 1)),
            row=given.get("row", ""),
            text=given.get("text", fault.text),
        )
    except ValueError as error:
        raise InputError(
            f"fault {text!r}: {error}. Write SIGNAL:KIND@MOMENT:NTH, such as j3:silence@set:2,count=0, with one of "
            f"{', '.join(FaultKind)}; at one of {', '.join(Moment)}; and of count, amount, chance, row, text"
        ) from None


class FaultLine:
    """The faults ordered for one unit, and how far its messages have come."""

    def __init__(self, faults: Iterable[Fault] = (), seed: int | str = 0) -> None:
        self._faults = list(faults)
        self._chance = random.Random(seed)
        self._seen: Counter[Moment] = Counter()
        self._silent: float = 0

    def order(self, fault: Fault) -> None:
        """One more fault; its `nth` counts from now on."""
        self._faults.append(replace(fault, nth=fault.nth + self._seen[fault.at]))

    def swallows(self) -> bool:
        """Whether the unit is silent, and so doesn't receive the message that has come."""
        if self._silent:
            self._silent -= 1
            return True
        return False

    def strike(self, moments: Collection[Moment]) -> dict[FaultKind, Fault]:
        """The faults that strike a message, of each kind the first."""
        self._seen.update(moments)
        struck: dict[FaultKind, Fault] = {}
        for fault in self._faults:
            since = self._seen[fault.at] - fault.nth
            if fault.at not in moments or since < 0 or (fault.count and since >= fault.count):
                continue
            if self._chance.random() < fault.chance:
                struck.setdefault(fault.kind, fault)
        silence = struck.get(FaultKind.SILENCE)
        if silence is not None:
            self._silent = silence.count - 1 if silence.count else math.inf
        return struck
