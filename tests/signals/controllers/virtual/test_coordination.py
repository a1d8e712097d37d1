"""Coordinated operation: fixed-time equivalence to the tenth, transition, permissives, patterns that can't be run."""

from __future__ import annotations

from itertools import pairwise

import pytest

from signals.controllers.virtual.coordination import CycleTimer, Plan, read_plan
from signals.controllers.virtual.database import Values
from signals.controllers.virtual.events import Code, CoordState
from signals.controllers.virtual.phases import read_phases
from signals.controllers.virtual.unit import Unit
from signals.model.controller import (
    ControllerPhase,
    ControllerRecord,
    CorrectionMode,
    FreeStatus,
    PhaseOption,
    SplitMode,
    SyncPoint,
)
from tests.signals.controllers.virtual.units_at_work import (
    MONDAY,
    Observer,
    command,
    eight_phases,
    four_rings,
    in_step,
    new_unit,
    one_ring,
    put_pattern,
    run,
    run_until_in_step,
    t_junction,
)

EIGHT = {1: 15, 2: 35, 3: 15, 4: 35, 5: 20, 6: 30, 7: 25, 8: 25}
LEAD = ((1, 2, 3, 4), (5, 6, 7, 8))
LAG = ((2, 1, 4, 3), (5, 6, 8, 7))


def greens_of(
    record: ControllerRecord,
    sequence: tuple[tuple[int, ...], ...],
    splits: dict[int, int],
    zero: int,
    offset_s: int,
) -> set[tuple[int, int, int]]:
    """Phase, begin and end of each green in tenths after the clock's zero, by hand from the splits."""
    found = set()
    for ring in sequence:
        at = 0
        for n in ring:
            phase = record.by_number[n]
            end = at + 10 * splits[n] - round(10 * phase.yellow_s) - round(10 * phase.red_clear_s)
            found.add((n, at - zero + 10 * offset_s, end - zero + 10 * offset_s))
            at += 10 * splits[n]
    return found


def watched_greens(
    record: ControllerRecord, unit: Unit, cycle_s: int, cycles: int
) -> set[tuple[int, int, int]]:
    """Every green of so many cycles, as tenths of local time past multiples of the cycle since midnight."""
    observer = Observer(record)
    for _ in range(10 * cycle_s * (cycles + 1)):
        unit.step()
        observer.look(unit, unit.utc_ms // 100 - 10 * MONDAY)
    assert not observer.faults
    spans = [(n, a, b) for kind, n, a, b in observer.spans if kind == "greens"]
    counts = {m: sum(n == m for n, _, _ in spans) for m in record.by_number}
    assert min(counts.values()) >= cycles
    return {(n, a % (10 * cycle_s), b - a) for n, a, b in spans}


def coordinated_eight(**more: object) -> tuple[ControllerRecord, Unit, Values]:
    """A unit on pattern 1 with `EIGHT`, not yet in step."""
    record = eight_phases()
    correction = more.pop("correction", CorrectionMode.SHORTWAY)
    unit, values = new_unit(record, correction=correction)  # type: ignore[arg-type]
    put_pattern(values, 1, 100, EIGHT, **more)  # type: ignore[arg-type]
    command(unit, values, 1)
    return record, unit, values


@pytest.mark.parametrize("mode", [SplitMode.MAX_VEHICLE, SplitMode.MAX_AND_PEDESTRIAN])
@pytest.mark.parametrize(
    ("sequence", "zero"),
    [(LEAD, 150), (LAG, 0)],
)
def test_a_dual_ring_in_step_repeats_the_fixed_time_schedule_of_its_splits_to_the_tenth(
    mode: SplitMode, sequence: tuple[tuple[int, ...], ...], zero: int
) -> None:
    record = eight_phases()
    unit, values = new_unit(record)
    for r, ring in enumerate(sequence):
        values["sequenceData", (3, r + 1)] = bytes(ring)
    put_pattern(values, 1, 100, EIGHT, offset_s=37, mode=mode, sequence=3)
    command(unit, values, 1)
    run_until_in_step(unit, 400)
    run(unit, 100)
    expected = {(n, a % 1000, b - a) for n, a, b in greens_of(record, sequence, EIGHT, zero, 37)}
    assert watched_greens(record, unit, 100, 5) == expected


def test_walks_of_the_fixed_time_schedule_begin_with_green_and_rest_in_coordinated_phases() -> None:
    record, unit, _ = coordinated_eight(mode=SplitMode.MAX_AND_PEDESTRIAN)
    run_until_in_step(unit, 400)
    run(unit, 100)
    observer = Observer(record)
    for k in range(3000):
        unit.step()
        observer.look(unit, k)
    walks = {
        n: {b - a for kind, m, a, b in observer.spans if kind == "walks" and m == n} for n in (2, 4, 6, 8)
    }
    green = {
        n: 10 * EIGHT[n] - record.by_number[n].yellow_s * 10 - record.by_number[n].red_clear_s * 10
        for n in (2, 6)
    }
    assert walks == {2: {green[2] - 60}, 4: {70}, 6: {green[6] - 60}, 8: {70}}


@pytest.mark.parametrize("offset_s", [0, 71])
def test_a_single_ring_repeats_its_splits_too(offset_s: int) -> None:
    record = one_ring()
    splits = {1: 20, 2: 30, 3: 12, 4: 28}
    unit, values = new_unit(record)
    put_pattern(values, 7, 90, splits, offset_s=offset_s, coordinated=(2,))
    command(unit, values, 7)
    run_until_in_step(unit, 400)
    run(unit, 90)
    expected = {(n, a % 900, b - a) for n, a, b in greens_of(record, ((1, 2, 3, 4),), splits, 200, offset_s)}
    assert watched_greens(record, unit, 90, 4) == expected


def test_four_rings_of_sixteen_phases_repeat_their_splits() -> None:
    record, sequence = four_rings()
    splits = {n: (20, 30, 25, 15)[(n - 1) % 4] for n in range(1, 17)}
    splits |= {9: 28, 10: 22, 15: 18, 16: 22}
    unit, values = new_unit(record)
    put_pattern(values, 1, 90, splits, offset_s=44, coordinated=(2, 6, 10, 14))
    command(unit, values, 1)
    run_until_in_step(unit, 400)
    run(unit, 90)
    expected = {(n, a % 900, b - a) for n, a, b in greens_of(record, sequence, splits, 200, 44)}
    assert watched_greens(record, unit, 90, 3) == expected


def test_a_ring_without_phases_behind_the_barrier_stays_red_there() -> None:
    record = t_junction()
    splits = {1: 15, 2: 25, 4: 20, 6: 40}
    unit, values = new_unit(record)
    put_pattern(values, 1, 60, splits)
    command(unit, values, 1)
    run_until_in_step(unit, 300)
    run(unit, 60)
    expected = greens_of(record, ((1, 2, 4), (6,)), splits, 0, 0)
    assert watched_greens(record, unit, 60, 4) == {(n, a % 600, b - a) for n, a, b in expected}


@pytest.mark.parametrize(
    ("sync", "phase", "past_s"),
    [
        (SyncPoint.UNIT, 2, 0.0),
        (SyncPoint.FIRST_GREEN, 2, 0.0),
        (SyncPoint.LAST_GREEN, 6, 0.0),
        (SyncPoint.FIRST_GREEN_END, 6, 30 - 3.6 - 1.0),
        (SyncPoint.LAST_GREEN_END, 2, 35 - 3.2 - 1.4),
        (SyncPoint.FIRST_YELLOW_END, 2, 35 - 1.4),
        (SyncPoint.LAST_YELLOW_END, 6, 30 - 1.0),
    ],
)
def test_local_zero_is_the_sync_point_of_the_pattern(sync: SyncPoint, phase: int, past_s: float) -> None:
    """Phase 2 begins at 15 s and has 35 s, phase 6 at 20 s and 30 s; both splits end together."""
    record, unit, _ = coordinated_eight(sync=sync)
    run_until_in_step(unit, 400)
    run(unit, 100)
    begins = {(n, a) for n, a, _ in watched_greens(record, unit, 100, 2)}
    # 6 ends its green 25.4 s after 20 s, 2 its own 30.4 s after 15 s: the same moment; and 2 is yellow for less
    assert (phase, -round(10 * past_s) % 1000) in begins


def test_phases_without_a_call_are_skipped_and_their_time_goes_to_the_coordinated_phases() -> None:
    record, unit, _ = coordinated_eight(mode=SplitMode.NONE)
    run_until_in_step(unit, 400)
    run(unit, 200)
    observer = Observer(record)
    for k in range(5000):
        unit.step()
        observer.look(unit, k)
    assert unit.indications.greens == {2, 6}
    assert observer.spans == []


def test_a_called_phase_gaps_out_and_the_coordinated_phases_come_back_early_and_stay_to_their_force_off() -> (
    None
):
    record, unit, _ = coordinated_eight(mode=SplitMode.NONE)
    run_until_in_step(unit, 400)
    run(unit, 100)
    observer = Observer(record)
    unit.drain_events()
    for k in range(4000):
        unit.step((4,) if k % 1000 < 20 else ())
        observer.look(unit, unit.utc_ms // 100 - 10 * MONDAY)
    greens = [(n, a % 1000, b % 1000) for kind, n, a, b in observer.spans if kind == "greens"]
    fours = {(n, b - a) for kind, n, a, b in observer.spans if kind == "greens" and n == 4}
    assert fours == {(4, 80)}, "its min green is longer than the call"
    assert {b for n, _, b in greens if n == 2} == {350 - 32 - 14}
    codes = {e.code for e in unit.drain_events() if e.parameter == 4}
    assert Code.GAP_OUT in codes
    assert Code.FORCE_OFF not in codes


def test_a_phase_that_keeps_being_called_is_forced_off_at_the_end_of_its_split() -> None:
    record, unit, _ = coordinated_eight(mode=SplitMode.NONE)
    run_until_in_step(unit, 400)
    run(unit, 100, tuple(range(1, 9)))
    unit.drain_events()
    observer = Observer(record)
    for _ in range(3000):
        unit.step(tuple(range(1, 9)))
        observer.look(unit, unit.utc_ms // 100 - 10 * MONDAY)
    expected = {(n, a % 1000, b - a) for n, a, b in greens_of(record, LEAD, EIGHT, 150, 0)}
    assert {(n, a % 1000, b - a) for kind, n, a, b in observer.spans if kind == "greens"} == expected
    assert sum(e.code == Code.FORCE_OFF for e in unit.drain_events()) >= 3 * 7


@pytest.mark.parametrize(("force_mode", "green"), [(2, 200 - 44), (3, 350 - 44)])
def test_unused_time_goes_to_the_next_phase_with_fixed_force_offs_only(force_mode: int, green: int) -> None:
    """Phase 3 isn't called: 4 begins 15 s early, and keeps its own split (floating) or goes on to its force-off."""
    record = one_ring(red_clear_s=1.0)
    unit, values = new_unit(record)
    values["coordForceMode", ()] = force_mode
    put_pattern(values, 1, 80, {1: 10, 2: 35, 3: 15, 4: 20}, coordinated=(2,), mode=SplitMode.NONE)
    command(unit, values, 1)
    run_until_in_step(unit, 300)
    observer = Observer(record)
    for k in range(4000):
        unit.step((4,))
        observer.look(unit, k)
    lengths = {b - a for kind, n, a, b in observer.spans if kind == "greens" and n == 4}
    assert lengths == {green}


def test_a_pedestrian_who_needs_more_than_the_split_is_served_in_full_and_throws_the_unit_out_of_step() -> (
    None
):
    record = eight_phases()
    unit, values = new_unit(record)
    put_pattern(values, 1, 100, {**EIGHT, 3: 35, 4: 15, 7: 35, 8: 15}, mode=SplitMode.NONE)
    command(unit, values, 1)
    run_until_in_step(unit, 400)
    run(unit, 200)
    assert in_step(unit)
    observer = Observer(record)
    unit.step((), (4,))
    out = False
    for k in range(3000):
        unit.step()
        observer.look(unit, k)
        out = out or not in_step(unit)
    assert {n for kind, n, _, _ in observer.spans if kind == "ped_clears"} == {4}
    assert not observer.faults
    assert out
    assert in_step(unit)


@pytest.mark.parametrize("correction", list(CorrectionMode))
@pytest.mark.parametrize("jump_s", [3, 27, 50, 73, 97])
def test_each_transition_gets_into_step_and_keeps_to_every_minimum(
    correction: CorrectionMode, jump_s: int
) -> None:
    record, unit, _ = coordinated_eight(correction=correction)
    assert run_until_in_step(unit, 900) < 900
    run(unit, 50)
    unit.set_clock(unit.utc_ms / 1000 + jump_s)
    assert unit.status(("unitAlarmStatus2", ())) == 32
    assert unit.status(("localFreeStatus", ())) == FreeStatus.NOT_FREE
    observer = Observer(record)
    took = 0
    while not in_step(unit) and took < 9000:
        unit.step()
        took += 1
        observer.look(unit, took)
    assert not observer.faults
    most = {CorrectionMode.SHORTWAY: 300, CorrectionMode.DWELL: 200, CorrectionMode.ADD_ONLY: 600}[correction]
    assert took / 10 <= most
    state = {CorrectionMode.DWELL: CoordState.DWELL, CorrectionMode.ADD_ONLY: CoordState.ADD}
    seen = {e.parameter for e in unit.drain_events() if e.code == Code.COORD_STATE}
    if correction in state:
        assert state[correction] in seen


def test_shortway_subtracts_where_that_is_shorter_and_adds_where_it_is_not() -> None:
    for jump_s, expected in ((12, CoordState.SUBTRACT), (-12, CoordState.ADD)):
        _, unit, _ = coordinated_eight()
        run_until_in_step(unit, 400)
        unit.drain_events()
        unit.set_clock(unit.utc_ms / 1000 + jump_s)
        run(unit, 5)
        states = [e.parameter for e in unit.drain_events() if e.code == Code.COORD_STATE]
        assert states == [expected]


def test_the_timer_waits_for_minimums_and_never_runs_ahead_of_them() -> None:
    _, values = new_unit(eight_phases())
    put_pattern(values, 1, 100, EIGHT)
    plan = read_plan(values, read_phases(eight_phases(), values), 1)
    assert isinstance(plan, Plan)
    timer = CycleTimer(plan, 500, 560, CorrectionMode.SHORTWAY)
    moved = []
    for room, steady in ((-3, True), (-1, False), (0, True), (1, True), (50, False)):
        before = timer.position
        timer.advance(1, room, steady, True)
        moved.append(timer.position - before)
    assert moved == [0, 0, 1, 2, 1]
    assert timer.error == (500 + 4 - 565) % 1000


def test_where_no_split_has_time_to_spare_shortway_adds() -> None:
    record = eight_phases(peds=False)
    unit, values = new_unit(record)
    put_pattern(values, 1, 47, {1: 10, 2: 13, 3: 10, 4: 14, 5: 10, 6: 13, 7: 10, 8: 14})
    tight = read_plan(values, read_phases(record, values), 1)
    assert isinstance(tight, Plan)
    assert tight.spare < 20
    command(unit, values, 1)
    run_until_in_step(unit, 400)
    unit.drain_events()
    unit.set_clock(unit.utc_ms / 1000 + 20)
    assert run_until_in_step(unit, 400) <= 5 * 27 + 10
    assert CoordState.SUBTRACT not in {e.parameter for e in unit.drain_events() if e.code == Code.COORD_STATE}


def test_adding_lengthens_no_cycle_by_more_than_a_quarter() -> None:
    _, unit, _ = coordinated_eight(correction=CorrectionMode.ADD_ONLY)
    run_until_in_step(unit, 900)
    unit.set_clock(unit.utc_ms / 1000 - 90)
    unit.drain_events()
    run_until_in_step(unit, 900)
    zeros = [
        e.utc_ms
        for e in unit.drain_events()
        if (e.code, e.parameter) == (Code.COORD_STATE, CoordState.LOCAL_ZERO)
    ]
    lengths = [(b - a) / 1000 for a, b in pairwise(zeros)]
    assert len(lengths) >= 2
    assert 110 < max(lengths) <= 125


def test_a_change_of_pattern_takes_effect_at_once_and_the_greens_shown_run_to_their_proper_end() -> None:
    record, unit, values = coordinated_eight()
    put_pattern(values, 2, 80, {1: 15, 2: 25, 3: 15, 4: 25, 5: 15, 6: 25, 7: 15, 8: 25}, offset_s=11)
    observer = Observer(record)
    for k in range(20):
        command(unit, values, 1 + k % 2)
        for j in range(617):
            unit.step()
            observer.look(unit, 617 * k + j)
            assert unit.status(("coordPatternStatus", ())) == 1 + k % 2
    assert not observer.faults
    assert len(observer.spans) > 100
    assert run_until_in_step(unit, 240) < 240


def test_setting_the_same_pattern_again_disturbs_nothing() -> None:
    _, unit, values = coordinated_eight()
    run_until_in_step(unit, 400)
    unit.drain_events()
    for _ in range(30):
        command(unit, values, 1)
        run(unit, 7)
        assert in_step(unit)
    assert {e.code for e in unit.drain_events()}.isdisjoint({Code.PATTERN, Code.CYCLE})


def test_status_counts_the_cycle_up_and_down() -> None:
    _, unit, _ = coordinated_eight(offset_s=30)
    run_until_in_step(unit, 400)
    run(unit, 100 - (unit.utc_ms / 1000 - 30) % 100 + 12.5)
    assert unit.status(("coordSyncStatus", ())) == 12
    assert unit.status(("coordCycleStatus", ())) == 88


def change(values: Values, **objects: int) -> None:
    """Put values of pattern 1 and its split row: `splitTime_3=9` is the split of phase 3."""
    for name, value in objects.items():
        base, _, phase = name.partition("_")
        values[base, (1, int(phase)) if phase else (1,)] = value


@pytest.mark.parametrize(
    ("objects", "reason"),
    [
        ({"patternCycleTime": 0}, FreeStatus.BAD_CYCLE),
        ({"patternCycleTime": 101}, FreeStatus.BAD_PLAN),
        ({"patternOffsetTime": 100}, FreeStatus.INVALID_OFFSET),
        ({"splitTime_1": 16}, FreeStatus.BAD_PLAN),
        ({"splitTime_3": 40, "splitTime_4": 10}, FreeStatus.BAD_PLAN),
        ({"splitCoordPhase_2": 0, "splitCoordPhase_6": 0}, FreeStatus.BAD_PLAN),
        ({"splitCoordPhase_4": 1}, FreeStatus.BAD_PLAN),
        ({"splitMode_2": 7}, FreeStatus.BAD_PLAN),
        ({"patternSequenceNumber": 9}, FreeStatus.BAD_PLAN),
        ({"patternSplitNumber": 200}, FreeStatus.BAD_PLAN),
    ],
)
def test_a_pattern_that_cannot_be_run_leaves_the_unit_free_with_the_reason(
    objects: dict[str, int], reason: FreeStatus
) -> None:
    record = eight_phases()
    unit, values = new_unit(record)
    put_pattern(values, 1, 100, EIGHT)
    values["sequenceData", (9, 1)] = bytes((1, 3, 2, 4))
    change(values, **objects)
    command(unit, values, 1)
    observer = Observer(record)
    for k in range(2000):
        unit.step((1, 4))
        observer.look(unit, k)
    assert unit.status(("coordPatternStatus", ())) == 254
    assert unit.status(("localFreeStatus", ())) == reason
    assert unit.status(("unitAlarmStatus1", ())) == 1 << 6
    assert unit.status(("shortAlarmStatus", ())) == 1 << 4
    assert not observer.faults
    assert {n for kind, n, _, _ in observer.spans if kind == "greens"} >= {1, 2, 4}


def test_splits_that_would_serve_conflicting_phases_at_once_are_no_plan() -> None:
    """Phase 1 goes with both phases of the other ring, 2 with 6 alone, which therefore has to begin before 2."""
    concurrent = {1: {5, 6}, 2: {6}, 5: {1}, 6: {1, 2}}
    record = ControllerRecord(
        tuple(
            ControllerPhase(n, 1 if n < 5 else 2, frozenset(c), 5, 3.0, 1.0) for n, c in concurrent.items()
        ),
        ((1, 2), (5, 6)),
    )
    _, values = new_unit(record)
    for fifth, expected in ((20, True), (30, False)):
        put_pattern(values, 1, 60, {1: 25, 2: 35, 5: fifth, 6: 60 - fifth})
        assert isinstance(read_plan(values, read_phases(record, values), 1), Plan) is expected


def test_a_pedestrian_recall_needs_a_split_that_holds_walk_and_clearance() -> None:
    record = eight_phases(options={4: PhaseOption.PED_RECALL})
    _, values = new_unit(record)
    short = {**EIGHT, 3: 33, 4: 17, 7: 33, 8: 17}
    put_pattern(values, 1, 100, short, mode=SplitMode.NONE)
    assert read_plan(values, read_phases(record, values), 1) is FreeStatus.BAD_PLAN
    put_pattern(values, 1, 100, {**short, 3: 32, 4: 18}, mode=SplitMode.NONE)
    assert isinstance(read_plan(values, read_phases(record, values), 1), Plan)


def test_an_omitted_phase_is_never_served_and_its_ring_keeps_to_the_others() -> None:
    record = eight_phases()
    unit, values = new_unit(record)
    put_pattern(values, 1, 100, {**EIGHT, 1: 0, 2: 50})
    change(values, splitMode_1=SplitMode.OMITTED)
    command(unit, values, 1)
    run_until_in_step(unit, 400)
    observer = Observer(record)
    for k in range(3000):
        unit.step((1,))
        observer.look(unit, k)
    assert {n for kind, n, _, _ in observer.spans if kind == "greens"} == set(range(2, 9))
    assert in_step(unit)


def test_a_cycle_that_does_not_divide_the_day_is_corrected_after_midnight() -> None:
    record = eight_phases()
    unit, values = new_unit(record, utc_s=MONDAY - 500)
    put_pattern(values, 1, 110, {**EIGHT, 2: 45, 6: 40})
    command(unit, values, 1)
    run(unit, 495)
    assert in_step(unit)
    run(unit, 6)
    assert not in_step(unit)
    assert run_until_in_step(unit, 330) < 330
    run(unit, 110)
    assert {a for n, a, _ in watched_greens(record, unit, 110, 2) if n == 2} == {0}


def test_coordination_refers_to_local_midnight() -> None:
    record = eight_phases()
    unit, values = new_unit(record, time_zone_s=-3630)
    put_pattern(values, 1, 100, EIGHT)
    command(unit, values, 1)
    run_until_in_step(unit, 400)
    run(unit, 100)
    assert {a for n, a, _ in watched_greens(record, unit, 100, 2) if n == 2} == {300}
