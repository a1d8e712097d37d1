"""Many units, one wave after the other: a pilot first, then its corridor, then the rest; back at any doubt.

All units are looked at before anything is written. A wave is written and read back as a whole before any unit of it is
commanded, and watched as a whole before the next one begins. Where one unit gives cause for doubt, every unit that this
rollout has commanded is given back.

A journal is told of each step before the unit is, so that whoever comes after a crash knows what may have been done.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Protocol, TypeVar

from signals.controllers.base import Controller, Slot, WriteReport
from signals.deployment.push import Found, Order, Watch, give_back, look, watch, write
from signals.errors import ControllerError, ControllerUnreachable, GreensplitError, Stopped
from signals.model.controller import AUTOMATIC
from signals.model.states import StepState

AT_ONCE = 32
"""Units that are talked to at the same time."""
Result = TypeVar("Result")


@dataclass(frozen=True)
class Step:
    """How far one unit is. `previous` is the command that it had before; `slot` where the pattern is."""

    state: StepState = StepState.WAITING
    slot: Slot | None = None
    previous: int = AUTOMATIC
    problem: str = ""


class Journal(Protocol):
    """Keeps what is done to each unit, for the audit and for whoever goes on after a crash."""

    def note(self, signal: str, step: Step, **details: Any) -> None:
        """A unit is in this state from now on."""
        ...


@dataclass(frozen=True)
class Target:
    """A unit to be pushed to: what, by which driver, in which wave, and how far it is already.

    `expected` is the command that an earlier deployment of ours keeps there, 0 where none does.
    """

    order: Order
    controller: Controller
    wave: int = 0
    expected: int = AUTOMATIC
    step: Step = Step()


class Halted(GreensplitError):
    """A rollout stopped by itself; every unit that it had commanded was given back, or is `lost`."""

    def __init__(self, message: str, lost: Sequence[str]) -> None:
        self.lost = tuple(lost)
        left = (
            f"; no answer from {', '.join(lost)}: without our heartbeat each goes back to its own plan"
            if lost
            else ""
        )
        super().__init__(message + left)


class Refused(GreensplitError):
    """A rollout was refused before anything was commanded; `problems` has a line for each unit."""

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = tuple(problems)
        lines = "\n  ".join(self.problems[:12])
        more = f"\n  … and {len(problems) - 12} more" if len(problems) > 12 else ""
        super().__init__(
            f"{len(problems)} unit(s) can't take the plan, so none was commanded:\n  {lines}{more}"
        )


async def dry_run(targets: Sequence[Target]) -> dict[str, Found | str]:
    """What each unit is and what would change, or why it can't be pushed to; nothing is written."""
    answers = await _each(list(targets), _look)
    return {
        t.order.signal: str(a) if isinstance(a, Exception) else a
        for t, a in zip(targets, answers, strict=True)
    }


async def roll_out(
    targets: Sequence[Target],
    terms: Watch,
    journal: Journal,
    *,
    go_on: Callable[[], None] = lambda: None,
    on_progress: Callable[[str, int, int], None] = lambda *_: None,
) -> dict[str, Step]:
    """The steps of all units once each runs its pattern.

    `go_on` is asked before each wave and while watching, and raises where the rollout is to stop.

    Raises
    ------
    Refused
        Where a unit can't take its plan, seen before anything was commanded.
    Halted
        Where doubt came up afterwards. Whatever else is raised (by `go_on`, say), the units are given back first.
    """
    rollout = _Rollout(targets, terms, journal, go_on, on_progress)
    await rollout.look()
    try:
        for wave in sorted({t.wave for t in targets}):
            go_on()
            await rollout.wave(wave)
    except (Exception, asyncio.CancelledError) as error:
        if isinstance(error, Stopped) and error.hands_off:
            raise
        untouched = not rollout.commanded
        lost = await rollout.give_back(str(error))
        if isinstance(error, Stopped) or not isinstance(error, GreensplitError):
            raise
        if untouched:
            raise Refused([str(error)]) from error
        raise Halted(str(error), lost) from error
    return rollout.steps


async def give_all_back(targets: Sequence[Target], journal: Journal, reason: str) -> list[str]:
    """Give back every unit that has been commanded; the signals of those that gave no answer."""
    rollout = _Rollout(targets, Watch(), journal, lambda: None, lambda *_: None)
    return await rollout.give_back(reason)


async def _look(target: Target) -> Found:
    own = [target.expected]
    if target.step.slot is not None:
        own.append(target.step.slot.pattern)
    return await look(target.controller, target.order, own=own, slot=target.step.slot)


async def _each(
    items: Sequence[Target], deed: Callable[[Target], Awaitable[Result]]
) -> list[Result | Exception]:
    """The results or errors of a deed on each, so many at a time."""
    gate = asyncio.Semaphore(AT_ONCE)

    async def one(item: Target) -> Result | Exception:
        async with gate:
            try:
                return await deed(item)
            except Exception as error:
                return error

    return await asyncio.gather(*(one(item) for item in items))


class _Rollout:
    """What a rollout knows of its units while it goes on."""

    def __init__(
        self,
        targets: Sequence[Target],
        terms: Watch,
        journal: Journal,
        go_on: Callable[[], None],
        on_progress: Callable[[str, int, int], None],
    ) -> None:
        self.targets = list(targets)
        self.steps = {t.order.signal: t.step for t in targets}
        self.found: dict[str, Found] = {}
        self._terms, self._journal, self._go_on, self._on_progress = terms, journal, go_on, on_progress
        self._done = 0

    @property
    def commanded(self) -> list[Target]:
        """Units that may run our pattern."""
        return [
            t
            for t in self.targets
            if self.steps[t.order.signal].state in (StepState.COMMANDED, StepState.RUNNING)
        ]

    def _note(self, target: Target, step: Step, **details: Any) -> None:
        self._journal.note(target.order.signal, step, **details)
        self.steps[target.order.signal] = step

    def _tell(self, what: str, of: int) -> None:
        self._done += 1
        self._on_progress(what, self._done, of)

    async def look(self) -> None:
        """Look at all units that aren't commanded yet; refuse all where one can't take its plan."""
        waiting = [t for t in self.targets if t not in self.commanded]
        self._done = 0

        async def one(target: Target) -> Found:
            found = await _look(target)
            self._tell("looking at the units", len(waiting))
            return found

        problems = []
        for target, answer in zip(waiting, await _each(waiting, one), strict=True):
            if isinstance(answer, GreensplitError):
                problems.append(str(answer))
                self._note(target, Step(StepState.REFUSED, problem=str(answer)))
            elif isinstance(answer, Exception):
                raise answer
            else:
                self.found[target.order.signal] = answer
        if problems and self.commanded:
            # an earlier attempt has commanded others: they aren't to be left alone with it
            lost = await self.give_back(f"other units refuse: {'; '.join(problems)}")
            raise Halted("; ".join(problems), lost)
        if problems:
            raise Refused(problems)

    async def wave(self, number: int) -> None:
        """Write, command and watch the units of a wave."""
        members = [t for t in self.targets if t.wave == number]
        fresh = [t for t in members if t not in self.commanded]
        await self._all(fresh, self._write, f"wave {number}: writing")
        self._go_on()
        await self._all(fresh, self._command, f"wave {number}: commanding")
        await self._watch_all(members, f"wave {number}: watching")

    async def _all(
        self, members: Sequence[Target], deed: Callable[[Target], Awaitable[None]], what: str
    ) -> None:
        """Do it to all; the first error counts."""
        errors = [e for e in await _each(members, self._counted(deed, what, len(members))) if e is not None]
        if errors:
            raise errors[0]

    async def _watch_all(self, members: Sequence[Target], what: str) -> None:
        """Watch all at the same time; the first error ends it for all."""
        deed = self._counted(self._watch, what, len(members))
        tasks = [asyncio.ensure_future(deed(target)) for target in members]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
        finally:
            for task in tasks:
                task.cancel()
            results = await asyncio.gather(*tasks, return_exceptions=True)
        errors = [r for r in results if isinstance(r, Exception)]
        if errors:
            # that we are to stop comes before what a unit says
            raise next((e for e in errors if isinstance(e, Stopped)), errors[0])

    def _counted(
        self, deed: Callable[[Target], Awaitable[None]], what: str, of: int
    ) -> Callable[[Target], Awaitable[None]]:
        self._done = 0

        async def one(target: Target) -> None:
            await deed(target)
            self._tell(what, of)

        return one

    async def _write(self, target: Target) -> None:
        found = self.found[target.order.signal]
        previous = target.expected if target.expected != found.slot.pattern else AUTOMATIC
        step = Step(StepState.WRITING, found.slot, previous)
        self._note(target, step)
        try:
            report = await write(target.controller, target.order, found)
        except GreensplitError as error:
            self._note(target, replace(step, state=StepState.REFUSED, problem=str(error)))
            raise
        backup_time_s = found.capabilities.backup_time_s
        self._note(
            target, replace(step, state=StepState.WRITTEN), backup_time_s=backup_time_s, **_values(report)
        )

    async def _command(self, target: Target) -> None:
        step = self.steps[target.order.signal]
        assert step.slot is not None
        # the command may take although its answer is lost, so it is noted first
        self._note(
            target, replace(step, state=StepState.COMMANDED), before=step.previous, after=step.slot.pattern
        )
        await target.controller.activate(step.slot.pattern)

    async def _watch(self, target: Target) -> None:
        step = self.steps[target.order.signal]
        assert step.slot is not None
        found = self.found.get(target.order.signal)
        capabilities = found.capabilities if found else await target.controller.discover()
        status = await watch(
            target.controller,
            target.order,
            step.slot.pattern,
            capabilities.backup_time_s,
            self._terms,
            go_on=self._go_on,
        )
        if step.state is not StepState.RUNNING:
            self._note(target, replace(step, state=StepState.RUNNING), status=_shown(status))

    async def give_back(self, reason: str) -> list[str]:
        """Command what was commanded before on every unit that may run our pattern; those that don't answer."""
        lost: list[str] = []

        async def one(target: Target) -> None:
            step = self.steps[target.order.signal]
            assert step.slot is not None
            try:
                status = await give_back(target.controller, step.previous, step.slot.pattern)
            except ControllerError as error:
                lost.append(target.order.signal)
                said = "no answer" if isinstance(error, ControllerUnreachable) else str(error)
                problem = f"{reason}; couldn't be given back: {said}"
                self._note(target, replace(step, state=StepState.LOST, problem=problem))
            else:
                self._note(
                    target,
                    replace(step, state=StepState.RETURNED, problem=reason),
                    before=step.slot.pattern,
                    after=status.system_pattern,
                )

        for error in await _each(self.commanded, one):
            if error is not None:
                raise error
        return sorted(lost)


def _values(report: WriteReport) -> dict[str, Any]:
    return {
        "transaction": report.transaction,
        "values": {w.name: [w.before, w.after] for w in report.written},
    }


def _shown(status: Any) -> dict[str, Any]:
    return {k: v for k, v in asdict(status).items() if k in ("pattern", "free_status", "in_step", "utc_s")}
