"""One unit: look at it, write a pattern to an idle row, command it, watch it, give it back.

Nothing here writes what isn't checked: `write` runs the safety check against the phases that the unit holds at that
moment, whatever was checked before. Each step may be done again after a crash.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Any

from signals.controllers.base import Controller, Slot, WriteReport
from signals.errors import ControllerError, ControllerRefused, ControllerUnreachable, UnsafePlan
from signals.model.controller import (
    AUTOMATIC,
    MOST_PATTERNS,
    Capabilities,
    ControllerRecord,
    ControllerStatus,
    FreeStatus,
    Pattern,
    UnitClock,
)
from signals.safety.pattern import check_pattern

MOST_SKEW_S = 1
"""A unit whose clock is further off would start its cycles at other moments than its neighbours."""
TRIES_TO_GIVE_BACK = 5
BEATS_A_BACKUP_TIME = 3
"""A command is repeated so often within the unit's backup time."""
_BROKEN = frozenset(
    {
        FreeStatus.INPUT,
        FreeStatus.BAD_PLAN,
        FreeStatus.BAD_CYCLE,
        FreeStatus.SPLIT_OVERRUN,
        FreeStatus.INVALID_OFFSET,
        FreeStatus.FAILED,
    }
)


@dataclass(frozen=True)
class Order:
    """What is to be pushed to a signal's unit. `record` holds the phases that the plan was made for."""

    signal: str
    record: ControllerRecord
    pattern: Pattern
    clock: UnitClock = UnitClock.SYSTEM


@dataclass(frozen=True)
class Found:
    """What a unit was found to be before a push: `differences` are those between what it runs and is to run.

    `own` are the patterns that we may have commanded.
    """

    capabilities: Capabilities
    record: ControllerRecord
    status: ControllerStatus
    slot: Slot
    differences: tuple[str, ...]
    own: tuple[int, ...] = ()


@dataclass(frozen=True)
class Watch:
    """How a unit is watched after the command: for so many cycles of the pattern, looked at every `poll_s`.

    Cycles are counted on the unit's own clock. `wall_s` is the time after which a unit that isn't in step counts as
    failed, however its clock goes; None for twice as long as the cycles take, and half a minute.
    """

    cycles: int = 3
    poll_s: float = 2.0
    wall_s: float | None = None


async def look(
    controller: Controller,
    order: Order,
    *,
    own: Sequence[int],
    slot: Slot | None = None,
    now: Callable[[], float] = time.time,
) -> Found:
    """What the unit is and does, and which rows the plan would go to; nothing is written.

    `own` are the patterns that we may have commanded: another command is somebody else's. `slot` is the one that
    an earlier attempt had chosen.

    Raises
    ------
    ControllerRefused
        Where the unit is in a state in which it must be left alone, or isn't the one that the plan was made for.
    ControllerUnreachable
        Where it gives no answer.
    """
    capabilities = await controller.discover()
    asked = now()
    status = await controller.read_status()
    _require_fit(order, capabilities, status, own, (asked + now()) / 2)
    record = await controller.read_record()
    drift = differences_of(order.record, record)
    if drift:
        raise ControllerRefused(
            f"{order.signal}: the unit's phases aren't those that the plan was made for: {_some(drift)}; "
            "correct the network's program or the unit, and plan again"
        )
    if slot is None:
        slot = await controller.find_slot(capabilities, order.pattern.sequence)
    running = None
    if 1 <= status.pattern <= MOST_PATTERNS:
        running = await controller.read_plan(status.pattern)
    return Found(capabilities, record, status, slot, pattern_changes(running, order.pattern), tuple(own))


def _require_fit(
    order: Order, capabilities: Capabilities, status: ControllerStatus, own: Sequence[int], now_s: float
) -> None:
    what = order.signal
    if status.in_flash:
        raise ControllerRefused(f"{what}: the unit is in flash; somebody must look at it first")
    if status.preempted:
        raise ControllerRefused(f"{what}: the unit serves a preemption; try again when it is over")
    if status.manual:
        raise ControllerRefused(f"{what}: the unit is under manual control; try again when it is released")
    if status.operational_mode != AUTOMATIC:
        raise ControllerRefused(
            f"{what}: coordOperationalMode is {status.operational_mode}, which overrides every command; set it to 0 "
            "(automatic) at the unit"
        )
    if status.system_pattern != AUTOMATIC and status.system_pattern not in own:
        raise ControllerRefused(
            f"{what}: another central commands pattern {status.system_pattern}; two masters would undo each other"
        )
    if capabilities.backup_time_s == 0:
        raise ControllerRefused(
            f"{what}: unitBackupTime is 0, so the unit would never go back to its own plan if we fell silent; "
            "set it at the unit, 300 s or so"
        )
    skew_s = status.utc_s - now_s
    if order.clock is UnitClock.SYSTEM and abs(skew_s) > MOST_SKEW_S + 1:
        # whole seconds are cut off, so that up to one more is none
        raise ControllerRefused(
            f"{what}: the unit's clock is {skew_s:+.0f} s off; set it, or give it a time source"
        )


def differences_of(expected: ControllerRecord, found: ControllerRecord) -> tuple[str, ...]:
    """Where phases differ in what protects people: one line a value. What a unit has beside it doesn't matter."""
    lines = []
    there = found.by_number
    for phase in expected.phases:
        other = there.get(phase.number)
        if other is None:
            lines.append(f"phase {phase.number} isn't enabled")
            continue
        for name in (
            "ring",
            "min_green_s",
            "walk_s",
            "pedestrian_clear_s",
            "yellow_s",
            "red_clear_s",
        ):
            a, b = getattr(phase, name), getattr(other, name)
            if abs(a - b) > 1e-6:
                lines.append(f"phase {phase.number}: {name} {b:g}, expected {a:g}")
        a_with = phase.concurrent & frozenset(expected.by_number)
        b_with = other.concurrent & frozenset(expected.by_number)
        if a_with != b_with:
            lines.append(f"phase {phase.number}: concurrent with {sorted(b_with)}, expected {sorted(a_with)}")
    lines += [
        f"phase {n} is enabled, the plan knows none" for n in sorted(set(there) - set(expected.by_number))
    ]
    return tuple(lines)


def pattern_changes(before: Pattern | None, after: Pattern) -> tuple[str, ...]:
    """What the unit runs and what it is to run, where that differs: one line a value."""
    if before is None:
        return ("runs free now",)
    lines = [
        f"{field.name}: {getattr(before, field.name)} -> {getattr(after, field.name)}"
        for field in fields(Pattern)
        if field.name != "splits" and getattr(before, field.name) != getattr(after, field.name)
    ]
    old = {s.phase: s for s in before.splits}
    for split in after.splits:
        was = old.get(split.phase)
        if was != split:
            lines.append(f"phase {split.phase}: {_split(was)} -> {_split(split)}")
    return tuple(lines)


def _split(split: Any) -> str:
    if split is None:
        return "none"
    return f"{split.time_s} s {split.mode.name.lower()}{', coordinated' if split.coordinated else ''}"


async def write(
    controller: Controller, order: Order, found: Found, *, now: Callable[[], float] = time.time
) -> WriteReport:
    """Write the pattern to its idle rows, and read every object back.

    The unit was found fit some time ago, while other waves were watched; so its state is looked at once more.

    Raises
    ------
    UnsafePlan
        Where the pattern breaks a rule with the phases that the unit holds; nothing is written then.
    ControllerError
        As `Controller.write_plan`; nothing is in force then.
    """
    findings = check_pattern(found.record, order.pattern, found.capabilities)
    if findings:
        raise UnsafePlan([f"signal {order.signal}: {line}" for line in findings])
    asked = now()
    status = await controller.read_status()
    _require_fit(order, found.capabilities, status, found.own, (asked + now()) / 2)
    if found.slot.pattern in (status.pattern, status.system_pattern):
        raise ControllerRefused(
            f"{order.signal}: pattern {found.slot.pattern} is in use now; it isn't written over"
        )
    return await controller.write_plan(found.slot, order.pattern)


async def watch(
    controller: Controller,
    order: Order,
    pattern: int,
    backup_time_s: int,
    terms: Watch,
    *,
    go_on: Callable[[], None] = lambda: None,
) -> ControllerStatus:
    """The unit's status once it has run the pattern for so many cycles, in step at the end.

    The command is repeated meanwhile, so that the unit doesn't fall back. A preemption isn't held against the unit: the
    count begins anew after it. `go_on` raises where nobody is to wait any longer.

    Raises
    ------
    ControllerRefused
        Where anything looks wrong; the message says what.
    ControllerUnreachable
        Where it stops answering.
    """
    cycle_s = order.pattern.cycle_s
    need_s = terms.cycles * cycle_s
    wall_s = terms.wall_s if terms.wall_s is not None else 2 * need_s + 30
    until = time.monotonic() + wall_s
    beat_s = backup_time_s / BEATS_A_BACKUP_TIME
    status = await controller.read_status()
    begun, beaten = status.utc_s, status.utc_s
    while True:
        go_on()
        doubt = _doubt(status, pattern, ran_s=status.utc_s - begun, cycle_s=cycle_s, need_s=need_s)
        if doubt:
            raise ControllerRefused(f"{order.signal}: {doubt}")
        if status.preempted:
            begun = status.utc_s
        elif status.utc_s - begun >= need_s and _runs(status, pattern):
            return status
        if time.monotonic() > until:
            raise ControllerRefused(
                f"{order.signal}: not in step after {wall_s:.0f} s of ours and {status.utc_s - begun} s of the unit's "
                f"({_told(status)})"
            )
        if status.utc_s - beaten >= beat_s:
            await controller.activate(pattern)
            beaten = status.utc_s
        await asyncio.sleep(terms.poll_s)
        status = await controller.read_status()


def _runs(status: ControllerStatus, pattern: int) -> bool:
    return status.pattern == pattern and status.free_status == FreeStatus.NOT_FREE and status.in_step


def _doubt(status: ControllerStatus, pattern: int, *, ran_s: int, cycle_s: int, need_s: int) -> str:
    """What is wrong with a unit that runs a pattern of ours; empty where nothing is."""
    if status.in_flash:
        return "the unit went to flash"
    if status.alarms:
        return f"the unit raises {', '.join(status.alarms)}"
    if status.system_pattern != pattern:
        return f"the unit's command is {status.system_pattern}, not {pattern}: it was lost or overwritten"
    if status.preempted:
        return ""
    if status.free_status in _BROKEN:
        return f"the unit runs free: localFreeStatus is {status.free_status}"
    if status.pattern != pattern and ran_s > cycle_s:
        return f"coordPatternStatus is {status.pattern} after {ran_s} s, not {pattern}"
    if ran_s > need_s and not _runs(status, pattern):
        return f"not in step after {ran_s} s ({_told(status)})"
    if ran_s < 0:
        return "the unit's clock went back"
    return ""


def health(status: ControllerStatus, pattern: int) -> str:
    """What is wrong with a unit that has run a pattern of ours for long; empty where nothing is."""
    return _doubt(status, pattern, ran_s=2, cycle_s=1, need_s=2**31)


def _told(status: ControllerStatus) -> str:
    return (
        f"coordPatternStatus {status.pattern}, localFreeStatus {status.free_status}, "
        f"{'in step' if status.in_step else 'in transition'}"
    )


async def give_back(controller: Controller, previous: int, ours: int) -> ControllerStatus:
    """Command what was commanded before, and see that it took; nothing where the command isn't ours (any more).

    Raises
    ------
    ControllerError
        Where that can't be seen after several tries.
    """
    last: ControllerError | None = None
    for k in range(TRIES_TO_GIVE_BACK):
        if k:
            await asyncio.sleep(min(2.0**k / 10, 2.0))
        try:
            status = await controller.read_status()
            if status.system_pattern != ours:
                return status
            if previous == AUTOMATIC:
                await controller.release()
            else:
                await controller.activate(previous)
        except ControllerError as error:
            last = error
    try:
        status = await controller.read_status()
        if status.system_pattern != ours:
            return status
    except ControllerError as error:
        last = error
    raise last or ControllerUnreachable("the unit goes on with our command whatever it is told")


def _some(lines: Sequence[str], most: int = 4) -> str:
    return "; ".join(lines[:most]) + (f"; and {len(lines) - most} more" if len(lines) > most else "")
