"""Faults on the street: each kind, at each message of a push, over both versions of SNMP; and where the unit ends.

    python -m benchmarks.street_faults [--runs 560] [--seed 1] [--only KIND] [--json FILE]

A push by the product's own rollout and driver goes to one virtual unit over the loopback, and a fault strikes it at a
message, a step of its transaction or its command; which, by the run's number and the seed. The unit's time goes as fast
as it can, and is let run on beyond its backup time. Then must hold:

* the unit runs the old pattern, with every object of it as it was, or the new one, with every object as ordered;
* the journal says which: `running` means the new one, everything else the old one;
* a conflict monitor that knows nothing but the phases and what the heads show has found nothing, at any tenth of a
  second: no conflicting right of way, no yellow or red clearance shortened; and no green was shorter than its minimum.

A unit that keeps our command because it is silent for ever goes back by itself: that is part of the run.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from itertools import cycle
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import track
from rich.table import Table

from signals.controllers.ntcip1202 import Ntcip1202
from signals.controllers.ntcip_database import client_of
from signals.controllers.snmp import Community, V3Engines
from signals.controllers.snmp import User as ManagerUser
from signals.controllers.virtual.agent import AccessRights, Agent
from signals.controllers.virtual.database import Values, new_values
from signals.controllers.virtual.faults import ON_SETS, Fault, FaultKind, FaultLine, Moment
from signals.controllers.virtual.monitor import ConflictMonitor
from signals.controllers.virtual.secured import User
from signals.controllers.virtual.simulation import load_pattern, run_always
from signals.controllers.virtual.transactions import Database
from signals.controllers.virtual.unit import TICK_S, Unit
from signals.deployment.push import Order, Watch
from signals.deployment.rollout import Halted, Refused, Step, Target, roll_out
from signals.errors import ControllerError
from signals.model.controller import (
    ControllerPhase,
    ControllerRecord,
    Pattern,
    PhaseOption,
    Split,
    SplitMode,
    UnitClock,
)
from signals.model.states import StepState

OLD = 1
"""The pattern that the unit's own time base runs."""
BACKUP_S = 300
BEATS = 5
TIMEOUT_S, RETRIES = 0.06, 2
"""Of the manager: on the loopback an answer takes a millisecond or a few."""
MESSAGES, SETS = 60, 10
"""As many of each kind as a push sends, about: a fault at a later one strikes while the unit is watched, or never."""
STEPS = (
    *((Moment.MESSAGE, n) for n in range(1, MESSAGES + 1)),
    *((Moment.SET, n) for n in range(1, SETS + 1)),
    *((moment, 1) for moment in (Moment.OPEN, Moment.VERIFY, Moment.COMMIT, Moment.ACTIVATE)),
)
AMOUNTS = {
    FaultKind.SLOW: (0.05, 0.2, 0.5),
    FaultKind.CLOCK_SKEW: (-30.0, 30.0, 3600.0),
    FaultKind.REBOOT: (0.0, 0.1),
    FaultKind.HALF_APPLIED: (1.0, 5.0),
    FaultKind.HALF_SILENT: (1.0, 5.0),
}
VERSIONS = ("2c", "3")


def _phase(number: int, ring: int, beside: tuple[int, ...], walk_s: int = 0) -> ControllerPhase:
    options = PhaseOption.ENABLED | (PhaseOption.PED_RECALL if walk_s else PhaseOption(0))
    clear_s = 8 if walk_s else 0
    return ControllerPhase(number, ring, frozenset(beside), 5, 3.5, 1.5, walk_s, clear_s, options=options)


RECORD = ControllerRecord(
    (
        _phase(1, 1, (5, 6)),
        _phase(2, 1, (5, 6), 7),
        _phase(3, 1, (7, 8)),
        _phase(4, 1, (7, 8)),
        _phase(5, 2, (1, 2)),
        _phase(6, 2, (1, 2), 7),
        _phase(7, 2, (3, 4)),
        _phase(8, 2, (3, 4)),
    ),
    ((1, 2, 3, 4), (5, 6, 7, 8)),
)


def _pattern(
    cycle_s: int, offset_s: int, splits: tuple[int, ...], sequence: tuple[tuple[int, ...], ...]
) -> Pattern:
    return Pattern(
        cycle_s,
        offset_s,
        tuple(
            Split(
                number,
                time_s,
                SplitMode.MAX_AND_PEDESTRIAN if number in (2, 6) else SplitMode.MAX_VEHICLE,
                number in (2, 6),
            )
            for number, time_s in enumerate(splits, 1)
        ),
        sequence,
    )


FIELD = _pattern(80, 10, (12, 28, 14, 26, 12, 28, 14, 26), ((1, 2, 3, 4), (5, 6, 7, 8)))
PLAN = _pattern(70, 37, (11, 26, 12, 21, 13, 24, 12, 21), ((2, 1, 3, 4), (5, 6, 8, 7)))


@dataclass
class Notes:
    """The journal of one push."""

    step: Step = field(default_factory=Step)
    states: list[StepState] = field(default_factory=list)

    def note(self, _signal: str, step: Step, **_details: Any) -> None:
        """Keep the last step."""
        self.step = step
        self.states.append(step.state)


@dataclass(frozen=True)
class Run:
    """One push under fire, and what came of it; `wrong` is empty where all is as it must be."""

    version: str
    fault: str
    kind: FaultKind
    step: str
    outcome: str
    state: StepState
    pattern: int
    wrong: tuple[str, ...]


class Watched:
    """A unit with a monitor of its own outside, and a look at every green."""

    def __init__(self) -> None:
        values = new_values(RECORD, utc_s=int(time.time()) // 86_400 * 86_400 + 7 * 3600)
        values["unitBackupTime", ()] = BACKUP_S
        load_pattern(values, OLD, FIELD)
        run_always(values, OLD)
        self.values: Values = values
        self.unit = Unit(RECORD, values)
        self.database = Database(values, self.unit)
        self.monitor = ConflictMonitor(RECORD)
        self.wrong: list[str] = []
        self.ticks = 0
        self._green_since: dict[int, int] = {}
        self._least = {p.number: p.min_green_s / TICK_S for p in RECORD.phases}
        self._calls = frozenset(self._least)
        self.advance(3 * FIELD.cycle_s)
        self.field = self._rows()

    def _rows(self) -> dict[Any, Any]:
        """What the old pattern consists of."""
        of = {"patternCycleTime", "patternOffsetTime", "patternSplitNumber", "patternSequenceNumber"}
        return {
            key: value
            for key, value in self.values.items()
            if (key[0] in of and key[1] == (OLD,))
            or (key[0].startswith("split") and key[1][0] == OLD)
            or (key[0] == "sequenceData" and key[1][0] == OLD)
            or key[0].startswith(("timebase", "dayPlan", "timeBaseSchedule", "phase", "unit"))
        }

    def advance(self, seconds: float) -> None:
        """Let so much of the unit's time pass."""
        for _ in range(round(seconds / TICK_S)):
            self.unit.step(self._calls, (2, 6))
            self.ticks += 1
            shown = self.unit.indications
            self.wrong += self.monitor.feed(shown, self.ticks)
            if shown.flash:
                self._green_since.clear()
                continue
            for number in [n for n in self._green_since if n not in shown.greens]:
                lasted = self.ticks - self._green_since.pop(number)
                if lasted < self._least[number] - 1e-9:
                    self.wrong.append(f"phase {number} was green for {lasted / 10:g} s")
            for number in shown.greens:
                self._green_since.setdefault(number, self.ticks)

    def pattern(self) -> int:
        """What the unit says that it runs."""
        value = self.unit.status(("coordPatternStatus", ()))
        assert isinstance(value, int)
        return value

    def differences(self, number: int, wanted: Pattern) -> list[str]:
        """Where the objects of a pattern aren't as ordered."""
        trial: Values = dict(self.values)
        row = trial["patternSequenceNumber", (number,)]
        load_pattern(trial, number, wanted)
        # a sequence row may be any that holds the order of phases
        held = {ring: self.values["sequenceData", (row, ring)] for ring in (1, 2)}  # type: ignore[dict-item,index]
        found = [
            f"sequence of ring {ring}: {list(held[ring])}"  # type: ignore[arg-type]
            for ring, phases in enumerate(wanted.sequence, 1)
            if held[ring] != bytes(phases)
        ]
        for key, value in trial.items():
            if key[0] in ("sequenceData", "patternSequenceNumber", "patternCoordSyncPoint"):
                continue
            if self.values[key] != value:
                found.append(f"{key}: {self.values[key]!r}, not {value!r}")
        return found


@contextmanager
def _living(watched: Watched) -> Iterator[None]:
    """Let the unit's time pass as fast as it can while the block lasts."""

    async def live() -> None:
        while True:
            watched.advance(1.0)
            await asyncio.sleep(0)

    task = asyncio.ensure_future(live())
    try:
        yield
    finally:
        task.cancel()


async def push(version: str, fault: Fault | None, seed: int) -> Run:
    """One push to a new unit that this fault strikes."""
    watched = Watched()
    users = (User("study", "authpass-1", "privpass-1", writes=True),)
    access = AccessRights("reads", "writes", users if version == "3" else ())
    agent = Agent(
        watched.database, access, name="study", faults=FaultLine((fault,) if fault else (), str(seed))
    )
    host, port = await agent.start("127.0.0.1", 0)
    credentials = (
        ManagerUser("study", "authpass-1", "privpass-1") if version == "3" else Community("reads", "writes")
    )
    notes, engines = Notes(), V3Engines()
    outcome = "in force"
    try:
        with _living(watched):
            async with client_of(
                host, port, credentials, engines=engines, timeout_s=TIMEOUT_S, retries=RETRIES
            ) as client:
                order = Order("study", RECORD, PLAN, UnitClock.SIMULATED)
                watch = Watch(cycles=3, poll_s=0.01, wall_s=20.0)
                unit = Ntcip1202(client)
                try:
                    await roll_out([Target(order, unit)], watch, notes)
                    await _beat(unit, notes)
                except Refused:
                    outcome = "refused"
                except Halted as error:
                    outcome = "halted, lost" if error.lost else "halted"
    finally:
        agent.close()
        engines.close()
    state = notes.step.state
    if state is not StepState.RUNNING:
        # nobody repeats a command now
        watched.advance(BACKUP_S + 60)
    else:
        watched.advance(PLAN.cycle_s)
    return Run(
        version,
        _told(fault),
        fault.kind if fault else FaultKind.DUPLICATE,
        f"{fault.at} {fault.nth}" if fault else "none",
        outcome,
        state,
        watched.pattern(),
        tuple(_judged(watched, notes)),
    )


async def _beat(unit: Ntcip1202, notes: Notes) -> None:
    """What the heartbeat does from then on: the command again, until it is heard."""
    assert notes.step.slot is not None
    for _ in range(BEATS):
        with suppress(ControllerError):
            await unit.activate(notes.step.slot.pattern)
            return


def _told(fault: Fault | None) -> str:
    return (
        "none"
        if fault is None
        else ", ".join(f"{k}={v}" for k, v in asdict(fault).items() if v not in ("", None))
    )


def _judged(watched: Watched, notes: Notes) -> list[str]:
    """What isn't as it must be."""
    wrong = list(dict.fromkeys(watched.wrong))
    if watched.unit.tripped:
        wrong.append("the unit's own conflict monitor tripped")
    rows = {key: watched.values[key] for key in watched.field}
    if rows != watched.field:
        wrong.append("the old pattern, the time base or a phase was written to")
    pattern, step = watched.pattern(), notes.step
    if step.state is StepState.RUNNING:
        assert step.slot is not None
        if pattern != step.slot.pattern:
            wrong.append(f"the journal says running, the unit runs pattern {pattern}")
        wrong += watched.differences(step.slot.pattern, PLAN)
    elif pattern != OLD:
        wrong.append(f"the journal says {step.state}, the unit runs pattern {pattern}")
    return wrong


def draw_faults(runs: int, seed: int, only: FaultKind | None = None) -> list[tuple[str, Fault]]:
    """So many faults with the version of SNMP: every kind at every step before any comes twice."""
    chance = random.Random(seed)
    kinds = [only] if only else list(FaultKind)
    pairs = [
        (version, kind, moment, nth)
        for kind in kinds
        for moment, nth in STEPS
        for version in VERSIONS
        if not (kind in ON_SETS and moment in (Moment.MESSAGE, Moment.GET))
    ]
    chance.shuffle(pairs)
    drawn = []
    for (version, kind, moment, nth), _ in zip(cycle(pairs), range(runs)):
        amount = chance.choice(AMOUNTS[kind]) if kind in AMOUNTS else None
        count = chance.choice((1, 4, 12, 0, 0)) if kind is FaultKind.SILENCE else chance.choice((1, 1, 3))
        drawn.append((version, Fault(kind, moment, nth, count, amount)))
    return drawn


def tables(results: list[Run]) -> list[Table]:
    """Outcomes by kind of fault, and by version."""
    outcomes = sorted({r.outcome for r in results})
    table = Table(title=f"{len(results)} pushes under fire")
    for column in ("fault", "runs", *outcomes, "wrong"):
        table.add_column(column, justify="left" if column == "fault" else "right")
    by_kind: dict[str, list[Run]] = defaultdict(list)
    for result in results:
        by_kind[result.kind].append(result)
        by_kind[f"SNMP {result.version}"].append(result)
    for name, rows in sorted(by_kind.items()):
        counts = Counter(r.outcome for r in rows)
        table.add_row(
            name, str(len(rows)), *(str(counts[o]) for o in outcomes), str(sum(bool(r.wrong) for r in rows))
        )
    return [table]


def main() -> None:
    """Run the study, and print what came of it; exit code 1 where anything was wrong."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--runs", type=int, default=560)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", type=FaultKind, choices=list(FaultKind), default=None)
    parser.add_argument("--json", type=Path, default=None, help="file for every run")
    given = parser.parse_args()
    console = Console()
    clean = [asyncio.run(push(version, None, 0)) for version in VERSIONS]
    bad = [run for run in clean if run.wrong or run.outcome != "in force"]
    drawn = draw_faults(given.runs, given.seed, given.only)
    results = [
        asyncio.run(push(version, fault, given.seed + k))
        for k, (version, fault) in enumerate(
            track(drawn, "pushing", console=console, disable=not sys.stdout.isatty())
        )
    ]
    for table in tables(results):
        console.print(table)
    bad += [run for run in results if run.wrong]
    for run in bad[:20]:
        console.print(f"{run.version}, {run.fault}: {run.outcome}, {run.state}: {'; '.join(run.wrong[:4])}")
    if given.json is not None:
        given.json.write_text(json.dumps([asdict(run) for run in results], indent=1, default=str))
    console.print(f"seed {given.seed}: {len(bad)} runs with something wrong")
    sys.exit(1 if bad else 0)


if __name__ == "__main__":
    main()
