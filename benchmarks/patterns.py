"""Patterns: random ones for random controllers, half of them made unsafe in one respect; who lets which of them pass.

    python -m benchmarks.patterns [--plans 10000] [--seed 1]

The safety check (`signals.safety.pattern`) must refuse every unsafe one, for that rule alone, and pass every safe one;
the virtual unit's own verification, which shares no code with it, must give the same verdict; and a push must send the
safe ones to the unit, and of the unsafe ones not a single object. Controllers are dual
rings of eight phases, T junctions and other intersections with phases missing, and single rings, with and without
pedestrians. Rows without a verdict of the unit can't be put into its database at all.
"""

from __future__ import annotations

import argparse
import asyncio
import random
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import cast

from benchmarks.pattern_draws import (
    DISABLED,
    ROOM,
    SIDES,
    Trial,
    draw_pattern,
    draw_record,
    draw_safe,
    serves_people,
    sides_of,
    tenths,
)
from signals.controllers.base import Controller, Slot, WriteReport
from signals.controllers.virtual.database import new_values
from signals.controllers.virtual.simulation import load_pattern
from signals.controllers.virtual.verification import first_fault
from signals.deployment.push import Found, Order, write
from signals.errors import UnsafePlan
from signals.model.controller import (
    ControllerPhase,
    ControllerStatus,
    FreeStatus,
    Pattern,
    Split,
    SplitMode,
    SyncPoint,
    UnitClock,
)
from signals.safety.pattern import PatternRule, check_pattern


@dataclass
class Row:
    """How trials of one kind fared. `rule` is None where they are safe."""

    rule: PatternRule | None
    what: str
    number: int = 0
    checked: int = 0
    by_rule: int = 0
    verifiable: int = 0
    verified: int = 0
    agreed: int = 0
    sent: int = 0


# --------------------------------------------------------------------------------------- unsafe in one respect

Spoiler = Callable[[random.Random, Trial], Trial | None]
"""Makes a safe trial unsafe in one respect, or makes a new one; None where that one doesn't allow it."""


def _with(trial: Trial, **changes: object) -> Trial:
    return replace(trial, pattern=replace(trial.pattern, **changes))  # type: ignore[arg-type]


def _with_split(trial: Trial, phase: int, **changes: object) -> Trial:
    splits = [replace(s, **changes) if s.phase == phase else s for s in trial.pattern.splits]  # type: ignore[arg-type]
    return _with(trial, splits=tuple(splits))


def _with_ring(trial: Trial, ring: int, numbers: Sequence[int]) -> Trial:
    rings = list(trial.pattern.sequence)
    rings[ring] = tuple(numbers)
    return _with(trial, sequence=tuple(rings))


def _served(trial: Trial) -> list[int]:
    return [s.phase for s in trial.pattern.splits if s.mode is not SplitMode.OMITTED]


def cycle_too_short(rng: random.Random, _trial: Trial) -> Trial | None:
    """Below 30 s, though every phase has its minimum."""
    record = draw_record(rng, small=True)
    pattern = draw_pattern(rng, record, (1, 29))
    return None if pattern is None else Trial(record, pattern)


def cycle_too_long(rng: random.Random, trial: Trial) -> Trial | None:
    """Above 255 s."""
    pattern = draw_pattern(rng, trial.record, (30, 255))
    extra = 0 if pattern is None else rng.randint(256, 300) - pattern.cycle_s
    if pattern is None or extra <= 0:
        return None
    longest = max(pattern.splits, key=lambda s: s.time_s)
    side = next(s for s in sides_of(trial.record) if longest.phase in s)
    by_ring: dict[int, int] = {}
    for split in pattern.splits:
        if split.phase in side and split.mode is not SplitMode.OMITTED:
            by_ring[trial.record.by_number[split.phase].ring] = split.phase
    spoiled = _with(replace(trial, pattern=pattern), cycle_s=pattern.cycle_s + extra)
    for phase in by_ring.values():
        time_s = next(s.time_s for s in pattern.splits if s.phase == phase) + extra
        if time_s > 255:
            return None
        spoiled = _with_split(spoiled, phase, time_s=time_s)
    return spoiled


def offset_beyond_cycle(rng: random.Random, trial: Trial) -> Trial | None:
    """At or above the cycle."""
    cycle_s = trial.pattern.cycle_s
    return _with(trial, offset_s=rng.randint(cycle_s, 254)) if cycle_s <= 254 else None


def offset_out_of_range(rng: random.Random, trial: Trial) -> Trial | None:
    """Below zero, which no unit's object can hold."""
    return replace(_with(trial, offset_s=-rng.randint(1, 60)), verifiable=False)


def too_many_rings(_rng: random.Random, trial: Trial) -> Trial | None:
    """A unit of one ring."""
    room = replace(trial.room, max_rings=1)
    return replace(trial, room=room, verifiable=False) if len(trial.pattern.sequence) > 1 else None


def too_many_phases(rng: random.Random, trial: Trial) -> Trial | None:
    """A unit of fewer phases."""
    most = max(s.phase for s in trial.pattern.splits)
    return replace(trial, room=replace(trial.room, max_phases=rng.randint(1, most - 1)), verifiable=False)


def sync_point_unknown(_rng: random.Random, trial: Trial) -> Trial | None:
    """A unit of version 2, whose sync point isn't to be chosen."""
    if trial.pattern.sync_point is SyncPoint.UNIT:
        return None
    return replace(trial, room=replace(trial.room, sync_points=False), verifiable=False)


def phase_left_out(rng: random.Random, trial: Trial) -> Trial | None:
    """A phase that no ring serves."""
    ring = rng.randrange(len(trial.pattern.sequence))
    numbers = list(trial.pattern.sequence[ring])
    numbers.remove(rng.choice(numbers))
    return _with_ring(trial, ring, numbers)


def phase_twice(rng: random.Random, trial: Trial) -> Trial | None:
    """A phase that a ring serves twice in a row."""
    ring = rng.randrange(len(trial.pattern.sequence))
    numbers = list(trial.pattern.sequence[ring])
    k = rng.randrange(len(numbers))
    return _with_ring(trial, ring, [*numbers[:k], numbers[k], *numbers[k:]])


def phase_in_wrong_ring(rng: random.Random, trial: Trial) -> Trial | None:
    """A phase that the other ring serves."""
    if len(trial.pattern.sequence) == 1:
        return None
    ring = rng.randrange(2)
    phase = rng.choice(trial.pattern.sequence[ring])
    rest = [n for n in trial.pattern.sequence[ring] if n != phase]
    return _with_ring(_with_ring(trial, ring, rest), 1 - ring, [*trial.pattern.sequence[1 - ring], phase])


def disabled_phase(_rng: random.Random, trial: Trial) -> Trial | None:
    """A phase that the unit hasn't enabled."""
    if DISABLED not in trial.record.by_number:
        return None
    return _with_ring(trial, 0, [*trial.pattern.sequence[0], DISABLED])


def across_and_back(rng: random.Random, trial: Trial) -> Trial | None:
    """A ring that crosses a barrier and comes back."""
    ring = rng.randrange(len(trial.pattern.sequence))
    numbers = trial.pattern.sequence[ring]
    first = next(s for s in sides_of(trial.record) if numbers[0] in s)
    if sum(n in first for n in numbers) < 2 or all(n in first for n in numbers):
        return None
    return _with_ring(trial, ring, [*numbers[1:], numbers[0]])


def other_order(rng: random.Random, trial: Trial) -> Trial | None:
    """Rings that pass the barriers in different orders."""
    if len(trial.pattern.sequence) == 1:
        return None
    ring = rng.randrange(2)
    numbers = trial.pattern.sequence[ring]
    first = next(s for s in SIDES if numbers[0] in s)
    if any(all(n in side for n in row) for row in trial.pattern.sequence for side in SIDES):
        return None
    return _with_ring(
        trial, ring, [n for n in numbers if n not in first] + [n for n in numbers if n in first]
    )


def split_left_out(rng: random.Random, trial: Trial) -> Trial | None:
    """A phase without a split."""
    phase = rng.choice([s.phase for s in trial.pattern.splits if not s.coordinated] or [0])
    return _with(trial, splits=tuple(s for s in trial.pattern.splits if s.phase != phase)) if phase else None


def below_minimum(rng: random.Random, trial: Trial) -> Trial | None:
    """Less than min green, yellow and red clearance; often by tenths."""
    phase = trial.record.by_number[rng.choice(_served(trial))]
    longest = (tenths(phase, phase.min_green_s) - 1) // 10
    fixed = {phase.number: max(1, longest - rng.choice((0, 0, 1, 3)))}
    pattern = draw_pattern(rng, trial.record, fixed=fixed)
    if pattern is None or serves_people(phase, _mode(pattern, phase.number)):
        return None
    return replace(trial, pattern=pattern)


def below_walk(rng: random.Random, trial: Trial) -> Trial | None:
    """Enough for vehicles, and too little for walk and pedestrian clearance."""
    phase = trial.record.by_number[rng.choice(_served(trial))]
    shortest = -(-tenths(phase, phase.min_green_s) // 10)
    longest = (tenths(phase, phase.walk_s + phase.pedestrian_clear_s) - 1) // 10
    if longest < shortest:
        return None
    pattern = draw_pattern(rng, trial.record, fixed={phase.number: rng.randint(shortest, longest)})
    if pattern is None or not serves_people(phase, _mode(pattern, phase.number)):
        return None
    return replace(trial, pattern=pattern)


def _mode(pattern: Pattern, phase: int) -> SplitMode:
    return next(s.mode for s in pattern.splits if s.phase == phase)


def rings_apart(rng: random.Random, trial: Trial) -> Trial | None:
    """A ring that reaches the barrier later than the other, and the cycle as long as it."""
    for side in SIDES:
        served = [s for s in trial.pattern.splits if s.phase in side and s.mode is not SplitMode.OMITTED]
        rings = {trial.record.by_number[s.phase].ring for s in served}
        extra = rng.randint(1, 9)
        if len(rings) == 2 and trial.pattern.cycle_s + extra <= 255:
            split = rng.choice(served)
            longer = _with_split(trial, split.phase, time_s=split.time_s + extra)
            return _with(longer, cycle_s=trial.pattern.cycle_s + extra)
    return None


def other_sum(rng: random.Random, trial: Trial) -> Trial | None:
    """Splits that don't make the cycle."""
    cycle_s = trial.pattern.cycle_s + rng.choice((-3, -1, 1, 2, 10))
    if not max(30, trial.pattern.offset_s + 1) <= cycle_s <= 255:
        return None
    return _with(trial, cycle_s=cycle_s)


def none_coordinated(_rng: random.Random, trial: Trial) -> Trial | None:
    """No coordinated phase."""
    return _with(trial, splits=tuple(replace(s, coordinated=False) for s in trial.pattern.splits))


def _also_coordinated(
    rng: random.Random, trial: Trial, wanted: Callable[[Split, ControllerPhase], bool]
) -> Trial | None:
    phases = trial.record.by_number
    candidates = [s.phase for s in trial.pattern.splits if not s.coordinated and wanted(s, phases[s.phase])]
    return _with_split(trial, rng.choice(candidates), coordinated=True) if candidates else None


def two_in_a_ring(rng: random.Random, trial: Trial) -> Trial | None:
    """Two coordinated phases of one ring, on one side."""
    chosen = {s.phase for s in trial.pattern.splits if s.coordinated}
    side = next(s for s in sides_of(trial.record) if chosen & s)
    rings = {trial.record.by_number[n].ring for n in chosen}
    return _also_coordinated(
        rng, trial, lambda s, p: s.mode is not SplitMode.OMITTED and s.phase in side and p.ring in rings
    )


def across_barrier(rng: random.Random, trial: Trial) -> Trial | None:
    """Coordinated phases on two sides of a barrier."""
    chosen = {s.phase for s in trial.pattern.splits if s.coordinated}
    side = next(s for s in sides_of(trial.record) if chosen & s)
    rings = {trial.record.by_number[n].ring for n in chosen}
    return _also_coordinated(
        rng,
        trial,
        lambda s, p: s.mode is not SplitMode.OMITTED and s.phase not in side and p.ring not in rings,
    )


def omitted_coordinated(rng: random.Random, trial: Trial) -> Trial | None:
    """A coordinated phase that is omitted."""
    chosen = {s.phase for s in trial.pattern.splits if s.coordinated}
    side = next(s for s in sides_of(trial.record) if chosen & s)
    rings = {trial.record.by_number[n].ring for n in chosen}
    return _also_coordinated(
        rng, trial, lambda s, p: s.mode is SplitMode.OMITTED and s.phase in side and p.ring not in rings
    )


SPOILERS: Sequence[tuple[PatternRule, Spoiler]] = (
    (PatternRule.CYCLE, cycle_too_short),
    (PatternRule.CYCLE, cycle_too_long),
    (PatternRule.OFFSET, offset_beyond_cycle),
    (PatternRule.OFFSET, offset_out_of_range),
    (PatternRule.ROOM, too_many_rings),
    (PatternRule.ROOM, too_many_phases),
    (PatternRule.ROOM, sync_point_unknown),
    (PatternRule.SEQUENCE, phase_left_out),
    (PatternRule.SEQUENCE, phase_twice),
    (PatternRule.SEQUENCE, phase_in_wrong_ring),
    (PatternRule.SEQUENCE, disabled_phase),
    (PatternRule.BARRIER, across_and_back),
    (PatternRule.BARRIER, other_order),
    (PatternRule.SPLITS, split_left_out),
    (PatternRule.MINIMUM, below_minimum),
    (PatternRule.PEDESTRIAN, below_walk),
    (PatternRule.SIMULTANEITY, rings_apart),
    (PatternRule.SUM, other_sum),
    (PatternRule.COORDINATION, none_coordinated),
    (PatternRule.COORDINATION, two_in_a_ring),
    (PatternRule.COORDINATION, across_barrier),
    (PatternRule.COORDINATION, omitted_coordinated),
)


def draw_unsafe(rng: random.Random, spoil: Spoiler) -> Trial:
    """A trial that breaks one rule."""
    while True:
        spoiled = spoil(rng, draw_safe(rng))
        if spoiled is not None:
            return spoiled


# -------------------------------------------------------------------------------------------------- verdicts


def is_verified(trial: Trial) -> bool:
    """Whether the virtual unit would commit a database with the pattern."""
    values = new_values(trial.record, ROOM)
    load_pattern(values, 1, trial.pattern)
    return not first_fault(values)


_STANDING = ControllerStatus(
    pattern=1,
    free_status=FreeStatus.NOT_FREE,
    in_step=True,
    alarms=(),
    in_flash=False,
    preempted=False,
    manual=False,
    utc_s=0,
    system_pattern=0,
    operational_mode=0,
)


class _Street:
    """A unit that counts what is sent to it, and does nothing else."""

    def __init__(self) -> None:
        self.sent = 0

    async def read_status(self) -> ControllerStatus:
        """As it stands."""
        return _STANDING

    async def write_plan(self, _slot: Slot, _pattern: Pattern) -> WriteReport:
        """Count it."""
        self.sent += 1
        return WriteReport((), True)


def is_sent(trial: Trial) -> bool:
    """Whether a push would send the pattern to the unit."""
    street = _Street()
    order = Order("drawn", trial.record, trial.pattern, UnitClock.SIMULATED)
    room = replace(trial.room, backup_time_s=900)
    found = Found(room, trial.record, _STANDING, Slot(48, 48, 2), ())
    with suppress(UnsafePlan):
        asyncio.run(write(cast(Controller, street), order, found))
    return street.sent > 0


def study(plans: int, seed: int) -> list[Row]:
    """Half of the plans safe, the others unsafe in turn by each spoiler; a row a kind."""
    rng = random.Random(seed)
    rows = [Row(None, "safe")]
    rows += [Row(rule, (spoil.__doc__ or "").rstrip(".")) for rule, spoil in SPOILERS]
    for k in range(plans):
        kind = 0 if k % 2 == 0 else 1 + k // 2 % len(SPOILERS)
        row = rows[kind]
        trial = draw_unsafe(rng, SPOILERS[kind - 1][1]) if kind else draw_safe(rng)
        findings = check_pattern(trial.record, trial.pattern, trial.room)
        row.number += 1
        row.sent += is_sent(trial)
        row.checked += bool(findings)
        row.by_rule += {f.rule for f in findings} == ({row.rule} if row.rule else set())
        if trial.verifiable:
            refused = not is_verified(trial)
            row.verifiable += 1
            row.verified += refused
            row.agreed += refused == bool(findings)
    return rows


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table; 0 where every verdict is right."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--plans", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args(arguments)
    rows = study(options.plans, options.seed)
    print(
        f"{options.plans} patterns, seed {options.seed}\n\n"
        "| rule | how | patterns | refused by the check | for that rule alone | sent to the unit | refused by the unit "
        "| agree |\n|---|---|---|---|---|---|---|---|"
    )
    for row in rows:
        unit = (f"{row.verified}/{row.verifiable}", str(row.agreed)) if row.verifiable else ("–", "–")
        cells = (
            row.rule or "–",
            row.what,
            str(row.number),
            str(row.checked),
            str(row.by_rule),
            str(row.sent),
            *unit,
        )
        print(f"| {' | '.join(cells)} |")
    return 0 if all(is_right(row) for row in rows) else 1


def is_right(row: Row) -> bool:
    """Whether every verdict on a kind is as it should be, and the unit's the same."""
    refused = row.number if row.rule else 0
    judged = row.checked == refused and row.by_rule == row.number and row.agreed == row.verifiable
    return judged and row.sent == row.number - refused


if __name__ == "__main__":
    raise SystemExit(main())
