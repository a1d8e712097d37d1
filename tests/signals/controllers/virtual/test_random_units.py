"""Whatever is called, commanded and preempted: no unsafe indication, everybody served, every pattern in step."""

from __future__ import annotations

import random

import pytest

from signals.controllers.virtual.database import Values
from signals.controllers.virtual.monitor import ConflictMonitor
from signals.controllers.virtual.unit import Unit
from signals.model.controller import (
    ControllerPhase,
    ControllerRecord,
    CorrectionMode,
    PhaseOption,
    SplitMode,
    SyncPoint,
)
from tests.signals.controllers.virtual.units_at_work import (
    MONDAY,
    Observer,
    command,
    eight_phases,
    in_step,
    new_unit,
    put_pattern,
)

SEQUENCES = (
    ((1, 2, 3, 4), (5, 6, 7, 8)),
    ((2, 1, 3, 4), (6, 5, 7, 8)),
    ((1, 2, 4, 3), (6, 5, 7, 8)),
    ((2, 1, 4, 3), (5, 6, 8, 7)),
)


def put_random_pattern(rng: random.Random, values: Values, number: int, record: ControllerRecord) -> None:
    """A pattern that can be run, of random splits, modes, coordinated phases, sequence and sync point."""
    need = {
        p.number: int(max(p.min_green_s, p.walk_s + p.pedestrian_clear_s) + p.yellow_s + p.red_clear_s) + 1
        for p in record.phases
    }
    row = rng.randrange(len(SEQUENCES))
    for r, ring in enumerate(SEQUENCES[row]):
        values["sequenceData", (row + 1, r + 1)] = bytes(ring)
    splits: dict[int, int] = {}
    cycle = 0
    for pairs in (((1, 2), (5, 6)), ((3, 4), (7, 8))):
        length = max(need[a] + need[b] for a, b in pairs) + rng.randrange(30)
        for a, b in pairs:
            splits[a] = rng.randint(need[a], length - need[b])
            splits[b] = length - splits[a]
        cycle += length
    put_pattern(
        values,
        number,
        cycle,
        splits,
        offset_s=rng.randrange(cycle),
        coordinated=rng.choice([(2, 6), (4, 8), (2,), (1, 6), (8,)]),
        mode={n: SplitMode(rng.randint(2, 6)) for n in splits},
        sequence=row + 1,
        sync=SyncPoint(rng.randint(2, 8)),
    )


def random_unit(rng: random.Random) -> tuple[ControllerRecord, Unit, Values]:
    """A unit with random options and four random patterns."""
    choices = [PhaseOption(0), *(PhaseOption(1 << bit) for bit in (5, 6, 7, 8, 9, 11, 13))]
    options = {
        n: rng.choice(choices) | rng.choice([PhaseOption(0), PhaseOption.DUAL_ENTRY]) for n in range(1, 9)
    }
    record = eight_phases(peds=rng.random() < 0.7, options=options)
    unit, values = new_unit(
        record, correction=rng.choice(list(CorrectionMode)), utc_s=MONDAY + rng.randrange(80_000)
    )
    values["coordForceMode", ()] = rng.choice([2, 3])
    values["coordMaximumMode", ()] = rng.choice([2, 4])
    for n in range(1, 5):
        put_random_pattern(rng, values, n, record)
    return record, unit, values


def disturb(rng: random.Random, unit: Unit, values: Values, record: ControllerRecord) -> None:
    """Something that a unit on the street may have to take."""
    what = rng.randrange(12)
    if what < 5:
        command(unit, values, rng.choice([0, 1, 2, 3, 4, 9, 254, 255]))
    elif what < 7:
        unit.set_clock(unit.utc_ms / 1000 + rng.choice([-3600, -7, 1, 30, 3000]))
    elif what < 9:
        unit.preempt(rng.randint(1, 4), rng.random() < 0.4)
    elif what == 9:
        put_random_pattern(rng, values, rng.randint(1, 4), record)
        unit.reread()
    elif what == 10:
        unit.set_manual(rng.random() < 0.3)
    else:
        values["coordCorrectionMode", ()] = rng.randint(2, 4)
        unit.reread()


@pytest.mark.parametrize("seed", range(12))
def test_whatever_is_called_commanded_and_preempted_no_indication_is_unsafe(seed: int) -> None:
    rng = random.Random(seed)
    record, unit, values = random_unit(rng)
    monitor, observer = ConflictMonitor(record), Observer(record)
    often = rng.choice([0.002, 0.01, 0.05])
    vehicles: set[int] = set()
    for tick in range(12_000):
        for n in range(1, 9):
            if rng.random() < (0.03 if n in vehicles else 0.008):
                vehicles.symmetric_difference_update({n})
        peds = (rng.randint(1, 8),) if rng.random() < 0.01 else ()
        if rng.random() < often:
            disturb(rng, unit, values, record)
        unit.step(tuple(vehicles), peds)
        assert monitor.feed(unit.indications, tick) == ()
        observer.look(unit, tick)
    assert observer.faults == []
    assert not unit.tripped
    assert len(observer.spans) > 5


@pytest.mark.parametrize("seed", range(6))
def test_every_pattern_gets_into_step_and_nobody_waits_longer_than_three_cycles(seed: int) -> None:
    rng = random.Random(1000 + seed)
    _, unit, values = random_unit(rng)
    pattern = rng.randint(1, 4)
    cycle = values["patternCycleTime", (pattern,)]
    assert isinstance(cycle, int)
    command(unit, values, pattern)
    vehicles: set[int] = set()
    waits: dict[int, int] = {}
    for tick in range(150 * cycle):
        for n in range(1, 9):
            if rng.random() < (0.03 if n in vehicles else 0.003):
                vehicles.symmetric_difference_update({n})
        unit.step(tuple(vehicles))
        for n in range(1, 9):
            if n in unit.indications.greens or not unit.engine.vehicle_calls >> n & 1:
                waits[n] = tick
        if tick > 80 * cycle:
            assert in_step(unit)
            assert max(tick - waits[n] for n in waits) <= 30 * cycle


def random_record(rng: random.Random, *, sparse: bool) -> ControllerRecord:
    """Up to four rings and three groups of up to two phases in each; `sparse`, some pairs of a group conflict."""
    n_ring, n_group = rng.randint(1, 4), rng.randint(1, 2)
    rings: list[list[int]] = [[] for _ in range(n_ring)]
    concurrent: dict[int, set[int]] = {}
    leading: set[int] = set()
    number = 0
    for _ in range(n_group):
        cells = []
        for ring in rings:
            size = rng.randint(0, 2) if ring is not rings[0] else rng.randint(1, 2)
            cells.append(range(number + 1, number + 1 + size))
            ring.extend(cells[-1])
            number += size
        leading.add(cells[0][0])
        for cell in cells:
            for n in cell:
                concurrent[n] = {m for other in cells if other is not cell for m in other}
    # the first phase of the first ring goes with all others, so that the rings agree on the order of the groups
    pairs = [(n, m) for n, others in concurrent.items() for m in sorted(others) if n < m]
    for a, b in pairs:
        if sparse and a not in leading and rng.random() < 0.15:
            concurrent[a].discard(b)
            concurrent[b].discard(a)
    phases = tuple(
        ControllerPhase(
            number=n,
            ring=next(r + 1 for r, ring in enumerate(rings) if n in ring),
            concurrent=frozenset(concurrent[n]),
            min_green_s=rng.randint(3, 10),
            yellow_s=rng.randint(30, 50) / 10,
            red_clear_s=rng.randint(0, 25) / 10,
            max_green_1_s=rng.randint(10, 30),
        )
        for n in sorted(concurrent)
    )
    return ControllerRecord(phases, tuple(tuple(ring) for ring in rings))


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("seed", range(8))
def test_rings_and_groups_of_any_shape_are_safe_and_serve_everybody(seed: int, sparse: bool) -> None:
    rng = random.Random(seed)
    record = random_record(rng, sparse=sparse)
    unit, _ = new_unit(record)
    monitor, observer = ConflictMonitor(record), Observer(record)
    numbers = tuple(record.by_number)
    served: set[int] = set()
    for tick in range(6000):
        unit.step(numbers if tick % 3000 < 2000 else rng.sample(numbers, 1))
        assert monitor.feed(unit.indications, tick) == ()
        observer.look(unit, tick)
        served |= unit.indications.greens
    assert observer.faults == []
    assert served == set(numbers)
