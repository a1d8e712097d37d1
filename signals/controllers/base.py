"""What Greensplit asks of a controller, whatever it speaks."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Protocol

from signals.model.controller import (
    Capabilities,
    ControllerRecord,
    ControllerStatus,
    Pattern,
    ScheduleEntry,
)


@dataclass(frozen=True, slots=True)
class Written:
    """One object that a write has set: its name with its index, and its value before and after, as read back."""

    name: str
    before: int | str | None
    after: int | str | None


@dataclass(frozen=True, slots=True)
class WriteReport:
    """What a write did. `transaction` is False where the unit has none, and read-back alone vouches for it."""

    written: tuple[Written, ...]
    transaction: bool


@dataclass(frozen=True, slots=True)
class Slot:
    """Where a pattern goes: pattern, split and sequence row."""

    pattern: int
    split: int
    sequence: int


class Controller(Protocol):
    """One unit on the street.

    Every call may raise `ControllerUnreachable` (no answer, or not in time), `ControllerRefused` (the unit says no, or
    is in a state in which nothing is to be done) or `ReadBackDiffers` (what it holds isn't what was written).
    """

    async def discover(self) -> Capabilities:
        """What the unit can hold."""
        ...

    async def read_record(self) -> ControllerRecord:
        """Its phases and its first sequence, as it holds them now."""
        ...

    async def find_slot(self, capabilities: Capabilities, sequence: Sequence[Sequence[int]]) -> Slot:
        """A pattern row, a split row and a sequence row that nothing refers to, or a sequence row that fits."""
        ...

    async def read_plan(self, pattern: int) -> Pattern | None:
        """The pattern of a row, with the split and sequence rows that it names; None where the row is empty."""
        ...

    async def write_plan(self, slot: Slot, pattern: Pattern) -> WriteReport:
        """Write a pattern to an idle slot, and read every object back. Doing it twice is doing it once."""
        ...

    async def write_schedule(
        self, entries: Sequence[ScheduleEntry], own: Collection[int] = ()
    ) -> WriteReport:
        """Write the time-base schedule: actions, day plans, schedule entries; and read them back.

        `own` are the rows of schedule entries that Greensplit wrote before; no other row that is in use is changed.
        """
        ...

    async def activate(self, pattern: int) -> None:
        """Command a pattern; to be repeated more often than the unit's backup time."""
        ...

    async def read_status(self) -> ControllerStatus:
        """What the unit does now."""
        ...

    async def release(self) -> None:
        """Leave the unit to its own time base."""
        ...
