"""Random controllers, and random patterns that are safe for them: the material of `benchmarks.patterns`."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from signals.model.controller import (
    Capabilities,
    ControllerPhase,
    ControllerRecord,
    Pattern,
    PhaseOption,
    Rings,
    Split,
    SplitMode,
    SyncPoint,
)

ROOM = Capabilities(
    max_phases=16, max_patterns=1, max_splits=1, max_sequences=1, max_rings=2, sync_points=True
)
SIDES = (frozenset({1, 2, 5, 6}), frozenset({3, 4, 7, 8}))
DISABLED = 16
"""A phase that some units have and don't use."""


@dataclass(frozen=True)
class Trial:
    """A pattern for a unit; `verifiable` where it can be put into the unit's database."""

    record: ControllerRecord
    pattern: Pattern
    room: Capabilities = ROOM
    verifiable: bool = True


def draw_record(rng: random.Random, *, small: bool = False) -> ControllerRecord:
    """A controller: dual ring, dual ring with phases missing, or a single ring. A small one fits cycles below 30 s."""
    kind = "missing" if small else rng.choice(("dual", "missing", "single"))
    if kind == "single":
        rings: Rings = (tuple(range(1, rng.randint(2, 6) + 1)),)
    else:
        lefts = (
            {1, 3, 5, 7}
            if kind == "dual"
            else set()
            if small
            else set(rng.sample((1, 3, 5, 7), rng.randint(0, 3)))
        )
        stems = {4, 8} if kind == "dual" else {rng.choice((4, 8))} if rng.random() < 0.5 else {4, 8}
        numbers = {2, 6} | stems | {n for n in lefts if n in (1, 5) or stems == {4, 8}}
        rings = tuple(tuple(n for n in ring if n in numbers) for ring in ((1, 2, 3, 4), (5, 6, 7, 8)))
    phases = [
        _draw_phase(rng, n, ring, _beside(n, rings), small) for ring, row in enumerate(rings, 1) for n in row
    ]
    if rng.random() < 0.2:
        spare = _draw_phase(rng, DISABLED, 1, frozenset(), small)
        phases.append(replace(spare, options=PhaseOption(0)))
    return ControllerRecord(tuple(sorted(phases, key=lambda p: p.number)), rings)


def _beside(number: int, rings: Rings) -> frozenset[int]:
    if len(rings) == 1:
        return frozenset()
    side = next(s for s in SIDES if number in s)
    return frozenset(n for ring in rings if number not in ring for n in ring if n in side)


def _draw_phase(
    rng: random.Random, number: int, ring: int, concurrent: frozenset[int], small: bool
) -> ControllerPhase:
    people = not small and rng.random() < 0.5
    options = PhaseOption.ENABLED
    if people and rng.random() < 0.3:
        options |= PhaseOption.PED_RECALL
    return ControllerPhase(
        number=number,
        ring=ring,
        concurrent=concurrent,
        min_green_s=4 if small else rng.randint(4, 12),
        yellow_s=3.0 if small else rng.randint(30, 55) / 10,
        red_clear_s=0.5 if small else rng.randint(0, 30) / 10,
        walk_s=rng.randint(4, 10) if people else 0,
        pedestrian_clear_s=rng.randint(5, 20) if people else 0,
        options=options,
    )


def draw_pattern(
    rng: random.Random,
    record: ControllerRecord,
    cycle_s: tuple[int, int] = (30, 255),
    fixed: Mapping[int, int] | None = None,
) -> Pattern | None:
    """A safe pattern with a cycle in a range; `fixed` splits are as given. None where none was found."""
    enabled = [p for p in record.phases if PhaseOption.ENABLED in p.options]
    sides = sides_of(record)
    omitted = {p.number for p in enabled if rng.random() < 0.15} - set(fixed or ())
    coordinated = _draw_coordinated(rng, enabled, sides, omitted)
    if not coordinated:
        return None
    modes = {p.number: _draw_mode(rng, p, p.number in omitted) for p in enabled}
    needs = {p.number: need_s(p, modes[p.number]) for p in enabled} | dict(fixed or {})
    times: dict[int, int] = dict.fromkeys(omitted, 0)
    total = 0
    spare = rng.randint(0, 25)
    for side in sides:
        rows = [[p.number for p in enabled if p.ring == r and p.number in side - omitted] for r in (1, 2)]
        shortest = max(sum(needs[n] for n in row) for row in rows)
        loose = [row for row in rows if row and set(row) <= set(fixed or ())]
        length = (
            sum(needs[n] for n in loose[0])
            if loose
            else shortest + (rng.randint(0, spare) if shortest else 0)
        )
        if length < shortest:
            return None
        for row in rows:
            times |= _share(
                rng,
                [n for n in row if n not in (fixed or {})],
                needs,
                length - sum((fixed or {}).get(n, 0) for n in row),
            )
        total += length
    if not cycle_s[0] <= total <= cycle_s[1] or max(times.values()) > 255:
        return None
    return Pattern(
        cycle_s=total,
        offset_s=rng.randrange(min(total, 255)),
        splits=tuple(
            Split(
                p.number,
                (fixed or {}).get(p.number, times.get(p.number, 0)),
                modes[p.number],
                p.number in coordinated,
            )
            for p in enabled
        ),
        sequence=_draw_sequence(rng, record, sides),
        sync_point=rng.choice(list(SyncPoint)),
    )


def sides_of(record: ControllerRecord) -> list[frozenset[int]]:
    """Phases between barriers."""
    if len(record.sequence) == 1:
        return [frozenset({n}) for n in record.sequence[0]]
    return list(SIDES)


def _draw_sequence(rng: random.Random, record: ControllerRecord, sides: Sequence[frozenset[int]]) -> Rings:
    order = rng.sample(sides, len(sides))
    rings = []
    for ring in record.sequence:
        halves = [[n for n in ring if n in side] for side in order]
        rings.append(tuple(n for half in halves for n in rng.sample(half, len(half))))
    return tuple(rings)


def _draw_coordinated(
    rng: random.Random, enabled: Sequence[ControllerPhase], sides: Sequence[frozenset[int]], omitted: set[int]
) -> set[int]:
    side = rng.choice(sides)
    found = set()
    for ring in (1, 2):
        row = [p.number for p in enabled if p.ring == ring and p.number in side - omitted]
        if row and (ring == 1 or rng.random() < 0.8):
            found.add(rng.choice(row))
    return found


def _draw_mode(rng: random.Random, phase: ControllerPhase, omitted: bool) -> SplitMode:
    if omitted:
        return SplitMode.OMITTED
    modes = [SplitMode.NONE, SplitMode.MIN_VEHICLE, SplitMode.MAX_VEHICLE]
    return rng.choice([*modes, SplitMode.PEDESTRIAN, SplitMode.MAX_AND_PEDESTRIAN] if phase.walk_s else modes)


def serves_people(phase: ControllerPhase, mode: SplitMode) -> bool:
    """Whether the phase's split must hold walk and pedestrian clearance."""
    return PhaseOption.PED_RECALL in phase.options or mode in (
        SplitMode.PEDESTRIAN,
        SplitMode.MAX_AND_PEDESTRIAN,
    )


def tenths(phase: ControllerPhase, green_s: int) -> int:
    """A green with the phase's yellow and red clearance, in tenths."""
    return 10 * green_s + round(10 * phase.yellow_s) + round(10 * phase.red_clear_s)


def need_s(phase: ControllerPhase, mode: SplitMode) -> int:
    """The shortest split in whole seconds."""
    people = phase.walk_s + phase.pedestrian_clear_s if serves_people(phase, mode) else 0
    return -(-tenths(phase, max(phase.min_green_s, people)) // 10)


def _share(rng: random.Random, row: Sequence[int], needs: Mapping[int, int], length: int) -> dict[int, int]:
    """A ring's time between two barriers over its phases, each with what it needs."""
    left = length - sum(needs[n] for n in row)
    found = {}
    for k, n in enumerate(row):
        extra = left if k == len(row) - 1 else rng.randint(0, left)
        found[n] = needs[n] + extra
        left -= extra
    return found


def draw_safe(rng: random.Random) -> Trial:
    """A unit and a safe pattern for it."""
    while True:
        record = draw_record(rng)
        pattern = draw_pattern(rng, record)
        if pattern is not None:
            return Trial(record, pattern)
