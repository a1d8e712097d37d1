"""Free operation, preempts, flash, power, backup time; and whatever comes, no unsafe indication."""

from __future__ import annotations

import pytest

from signals.controllers.virtual.database import new_values
from signals.controllers.virtual.events import Code, Event
from signals.controllers.virtual.unit import Unit
from signals.model.controller import (
    ControllerPhase,
    ControllerRecord,
    FreeStatus,
    PhaseOption,
)
from tests.signals.controllers.virtual.units_at_work import (
    MONDAY,
    Observer,
    command,
    eight_phases,
    new_unit,
    one_ring,
    put_pattern,
    run,
    run_until_in_step,
    t_junction,
)

SPLITS = {1: 15, 2: 35, 3: 15, 4: 35, 5: 20, 6: 30, 7: 25, 8: 25}


def first(events: list[Event], code: Code, parameter: int) -> int:
    """When an event came first, in milliseconds."""
    return next(e.utc_ms for e in events if (e.code, e.parameter) == (code, parameter))


def watch(unit: Unit, record: ControllerRecord, seconds: float, vehicles: tuple[int, ...] = ()) -> Observer:
    """Let time pass with steady calls, watched."""
    observer = Observer(record)
    observer.look(unit, 0)
    for k in range(round(10 * seconds)):
        unit.step(vehicles)
        observer.look(unit, k + 1)
    assert not observer.faults
    return observer


def lengths(observer: Observer, kind: str, phase: int) -> list[int]:
    """Tenths of all that was seen of one kind of one phase."""
    return [b - a for k, n, a, b in observer.spans if (k, n) == (kind, phase)]


def served(observer: Observer) -> list[int]:
    """Phases in the order in which their greens ended, also those that began before one looked."""
    return observer.ended


def test_without_calls_the_unit_rests_in_green() -> None:
    record = eight_phases()
    unit, _ = new_unit(record)
    run(unit, 3.1)
    assert unit.indications.greens == {2, 6}
    assert watch(unit, record, 600).spans == []


def test_a_call_is_served_after_the_minimum_and_the_clearance_of_what_is_green() -> None:
    record = eight_phases()
    unit, _ = new_unit(record)
    run(unit, 2.9)
    observer = watch(unit, record, 40, (4,))
    assert lengths(observer, "greens", 2) == lengths(observer, "greens", 6) == [80]
    assert lengths(observer, "yellows", 2) == [32]
    assert unit.indications.greens == {4}, "no dual entry: the other ring stays red"


def test_a_phase_with_dual_entry_goes_with_the_one_that_is_called() -> None:
    record = eight_phases(options={8: PhaseOption.DUAL_ENTRY})
    unit, _ = new_unit(record)
    run(unit, 60, (4,))
    assert unit.indications.greens == {4, 8}


def test_a_call_that_leaves_in_red_is_remembered_only_where_memory_locks() -> None:
    record = eight_phases(options={4: PhaseOption.NON_LOCK_MEMORY})
    for phase, comes in ((4, False), (8, True)):
        unit, _ = new_unit(record)
        run(unit, 5)
        run(unit, 1, (phase,))
        observer = watch(unit, record, 60)
        assert (phase in served(observer) or phase in unit.indications.greens) is comes


def test_a_green_ends_by_gap_a_passage_time_after_the_last_call() -> None:
    record = eight_phases()
    unit, _ = new_unit(record)
    run(unit, 30, (4,))
    assert unit.indications.greens == {4}
    run(unit, 1, (2, 4))
    unit.drain_events()
    left = unit.utc_ms
    run(unit, 10, (2,))
    events = unit.drain_events()
    assert first(events, Code.GAP_OUT, 4) == left + 2000 + 100
    assert first(events, Code.GREEN_END, 4) == first(events, Code.GAP_OUT, 4)


def test_a_green_ends_by_maximum_counted_from_the_first_conflicting_call() -> None:
    record = eight_phases()
    unit, _ = new_unit(record)
    run(unit, 60, (4,))
    unit.drain_events()
    asked = unit.utc_ms
    run(unit, 40, (2, 4))
    events = unit.drain_events()
    assert first(events, Code.MAX_OUT, 4) == asked + 25_000 + 100
    assert (Code.GAP_OUT, 4) not in {(e.code, e.parameter) for e in events}


def test_rings_cross_the_barrier_together_and_wait_for_the_one_that_is_still_called() -> None:
    record = eight_phases()
    unit, _ = new_unit(record)
    run(unit, 20, (2, 6))
    unit.drain_events()
    run(unit, 12, (2, 4))
    assert unit.indications.greens == {2, 6}, "6 has gapped out long ago"
    run(unit, 8, (4,))
    events = unit.drain_events()
    ends = [first(events, Code.RED_CLEAR_END, n) for n in (2, 6)]
    assert ends[0] == ends[1] == first(events, Code.GREEN_BEGIN, 4)
    assert [e.parameter for e in events if e.code == Code.BARRIER] == [1]


@pytest.mark.parametrize(
    ("option", "stays"), [(PhaseOption(0), True), (PhaseOption.SIMULTANEOUS_GAP_DISABLE, False)]
)
def test_a_new_call_at_the_barrier_extends_a_gapped_phase_unless_that_is_disabled(
    option: PhaseOption, stays: bool
) -> None:
    record = eight_phases(options={6: option})
    unit, _ = new_unit(record)
    run(unit, 20, (2,))
    run(unit, 5, (2, 4))
    run(unit, 1.9, (4, 6))
    run(unit, 0.2, (4, 6))
    assert (unit.indications.greens == {2, 6}) is stays


def test_an_earlier_phase_between_the_same_barriers_is_served_again_while_the_other_ring_stays() -> None:
    record = eight_phases()
    unit, _ = new_unit(record)
    run(unit, 20)
    observer = watch(unit, record, 20, (1,))
    assert served(observer) == [2]
    assert unit.indications.greens == {1, 6}


@pytest.mark.parametrize("option", [PhaseOption.MIN_VEHICLE_RECALL, PhaseOption.MAX_VEHICLE_RECALL])
def test_a_recalled_phase_is_served_every_turn(option: PhaseOption) -> None:
    record = eight_phases(options={3: option})
    unit, _ = new_unit(record)
    observer = watch(unit, record, 300, (2,))
    least = {PhaseOption.MIN_VEHICLE_RECALL: 50, PhaseOption.MAX_VEHICLE_RECALL: 250}[option]
    assert set(lengths(observer, "greens", 3)) == {least}
    assert set(lengths(observer, "greens", 2)[1:]) == {250}


def test_soft_recall_brings_the_unit_back_when_nobody_else_calls() -> None:
    record = eight_phases(options={2: PhaseOption.SOFT_VEHICLE_RECALL, 6: PhaseOption.SOFT_VEHICLE_RECALL})
    unit, _ = new_unit(record)
    run(unit, 30, (4,))
    assert unit.indications.greens == {4}
    run(unit, 60)
    assert unit.indications.greens == {2, 6}


def test_a_pedestrian_gets_walk_and_clearance_in_full() -> None:
    record = eight_phases()
    unit, _ = new_unit(record)
    run(unit, 10)
    unit.step((), (4,))
    observer = watch(unit, record, 60, (2,))
    assert lengths(observer, "walks", 4) == [70]
    assert lengths(observer, "ped_clears", 4) == [60]
    assert lengths(observer, "greens", 4) == [130]


def test_a_pedestrian_is_served_at_once_in_a_green_that_rests() -> None:
    record = eight_phases()
    unit, _ = new_unit(record)
    run(unit, 30)
    unit.step((), (2,))
    assert unit.indications.walks == {2}


def test_actuated_rest_in_walk_keeps_the_walk_until_somebody_else_calls() -> None:
    record = eight_phases(options={2: PhaseOption.ACTUATED_REST_IN_WALK | PhaseOption.PED_RECALL})
    unit, _ = new_unit(record)
    run(unit, 120)
    assert unit.indications.walks == {2}
    observer = watch(unit, record, 30, (4,))
    assert lengths(observer, "ped_clears", 2) == [60]


def test_a_single_ring_serves_its_phases_in_turn() -> None:
    record = one_ring()
    unit, _ = new_unit(record)
    order = served(watch(unit, record, 300, (1, 2, 3, 4)))
    assert order[:8] == [1, 2, 3, 4, 1, 2, 3, 4]


def test_a_ring_without_phase_behind_the_barrier_does_not_stop_the_other() -> None:
    record = t_junction()
    unit, _ = new_unit(record)
    order = served(watch(unit, record, 400, (1, 2, 4, 6)))
    assert set(order) == {1, 2, 4, 6}


def test_phases_that_are_concurrent_with_a_part_of_a_group_only_are_never_green_with_the_rest() -> None:
    concurrent = {1: {5, 6}, 2: {6}, 5: {1}, 6: {1, 2}}
    record = ControllerRecord(
        tuple(
            ControllerPhase(n, 1 if n < 5 else 2, frozenset(c), 5, 3.0, 1.0) for n, c in concurrent.items()
        ),
        ((1, 2), (5, 6)),
    )
    unit, _ = new_unit(record)
    order = served(watch(unit, record, 400, (1, 2, 5)))
    assert set(order) >= {1, 2, 5}
    assert not unit.tripped


def test_a_phase_starts_over_from_all_red_after_power_comes_back() -> None:
    record = eight_phases()
    unit, _ = new_unit(record)
    run(unit, 60)
    unit.drain_events()
    unit.power_cycle()
    assert unit.indications.flash
    assert unit.status(("unitFlashStatus", ())) == 7
    run(unit, 5.1)
    assert not unit.indications.flash
    assert not unit.indications.greens
    run(unit, 3.1)
    assert unit.indications.greens == {2, 6}
    codes = [e.code for e in unit.drain_events()]
    assert codes[:2] == [Code.POWER_LOST, Code.FLASH]
    assert Code.POWER_BACK in codes


def test_commanded_flash_comes_after_a_proper_end_of_all_greens_and_goes_through_all_red() -> None:
    record = eight_phases()
    unit, values = new_unit(record)
    run(unit, 5)
    command(unit, values, 255)
    observer = watch(unit, record, 30)
    assert unit.indications.flash
    assert sorted(served(observer)) == [2, 6]
    assert lengths(observer, "yellows", 6) == [36]
    assert unit.status(("coordPatternStatus", ())) == 255
    assert unit.status(("unitFlashStatus", ())) == 3
    command(unit, values, 254)
    run(unit, 2)
    assert unit.indications.greens == unit.indications.yellows == frozenset()
    assert not unit.indications.flash
    run(unit, 2)
    assert unit.indications.greens == {2, 6}


def test_a_preempt_ends_greens_properly_dwells_and_goes_back_to_coordination() -> None:
    record = eight_phases()
    unit, values = new_unit(record)
    put_pattern(values, 1, 100, SPLITS)
    command(unit, values, 1)
    run_until_in_step(unit, 400)
    while 2 not in unit.indications.greens:
        unit.step()
    unit.step()
    unit.drain_events()
    unit.preempt(2, True)
    observer = watch(unit, record, 30)
    assert lengths(observer, "yellows", 2) == [32]
    assert unit.indications.greens == {4, 8}
    assert unit.status(("preemptState", (2,))) == 6
    assert unit.status(("preemptState", (1,))) == 2
    assert unit.status(("localFreeStatus", ())) == FreeStatus.INPUT
    run(unit, 200, (2, 6))
    assert unit.indications.greens == {4, 8}
    unit.preempt(2, False)
    run(unit, 0.1)
    assert unit.status(("preemptState", (2,))) == 2
    assert unit.status(("localFreeStatus", ())) == FreeStatus.NOT_FREE
    assert run_until_in_step(unit, 300) < 300
    codes = [e.code for e in unit.drain_events() if 102 <= e.code <= 111]
    assert codes == [
        Code.PREEMPT_CALL_ON,
        Code.PREEMPT_ENTRY,
        Code.PREEMPT_DWELL,
        Code.PREEMPT_CALL_OFF,
        Code.PREEMPT_EXIT,
    ]


def test_the_lower_preempt_goes_first_and_the_other_waits() -> None:
    record = eight_phases()
    unit, _ = new_unit(record)
    unit.preempt(4, True)
    run(unit, 40)
    unit.preempt(1, True)
    run(unit, 40)
    assert unit.indications.greens == {2, 6}
    assert unit.status(("preemptState", (4,))) == 3
    unit.preempt(1, False)
    run(unit, 40)
    assert unit.indications.greens == {4, 8}
    with pytest.raises(ValueError, match="preempt 5"):
        unit.preempt(5, True)


def test_phases_to_dwell_in_can_be_given_and_have_to_be_concurrent() -> None:
    record = eight_phases()
    values = new_values(record, utc_s=MONDAY)
    unit = Unit(record, values, {3: frozenset({1, 6})})
    unit.preempt(3, True)
    run(unit, 60)
    assert unit.indications.greens == {1, 6}
    for wrong in ({1: frozenset({1, 2})}, {1: frozenset({1, 9})}, {1: frozenset[int]()}):
        with pytest.raises(ValueError, match="preempt 1 can't dwell"):
            Unit(record, values, wrong)


def test_a_sequence_that_cannot_be_served_is_refused() -> None:
    record = eight_phases()
    broken = ControllerRecord(record.phases, ((1, 3, 2, 4), (5, 6, 7, 8)))
    with pytest.raises(ValueError, match="sequence"):
        Unit(broken, new_values(broken))


def test_manual_control_holds_the_greens_and_suspends_coordination() -> None:
    record = eight_phases()
    unit, values = new_unit(record)
    put_pattern(values, 1, 100, SPLITS)
    command(unit, values, 1)
    run_until_in_step(unit, 400)
    unit.set_manual(True)
    run(unit, 10)
    observer = watch(unit, record, 300, (1, 3, 5))
    assert observer.spans == []
    assert unit.status(("localFreeStatus", ())) == FreeStatus.INPUT
    assert unit.status(("shortAlarmStatus", ())) == 1 << 3
    unit.set_manual(False)
    assert run_until_in_step(unit, 400) < 400
    assert [e.parameter for e in unit.drain_events() if e.code == Code.MANUAL] == [1, 0]


def test_a_silent_central_loses_control_after_the_backup_time_and_commands_renew_it() -> None:
    record = eight_phases()
    unit, values = new_unit(record)
    put_pattern(values, 1, 100, SPLITS)
    values["unitBackupTime", ()] = 60
    command(unit, values, 1)
    run(unit, 59)
    unit.system_command()
    run(unit, 59)
    assert unit.status(("unitControlStatus", ())) == 2
    assert unit.status(("coordPatternStatus", ())) == 1
    run(unit, 1.2)
    assert values["systemPatternControl", ()] == 0
    assert unit.status(("unitControlStatus", ())) == 6
    assert unit.status(("coordPatternStatus", ())) == 254


def test_without_a_backup_time_the_unit_never_falls_back() -> None:
    record = eight_phases()
    unit, values = new_unit(record)
    put_pattern(values, 1, 100, SPLITS)
    command(unit, values, 1)
    run(unit, 2000)
    assert unit.status(("unitControlStatus", ())) == 2


def test_system_goes_before_the_operational_mode_which_goes_before_the_time_base() -> None:
    record = eight_phases()
    unit, values = new_unit(record)
    for n in (1, 2):
        put_pattern(values, n, 100, SPLITS)
    for system, mode, pattern, control in ((1, 2, 1, 2), (0, 2, 2, 5), (0, 0, 254, 6)):
        values["coordOperationalMode", ()] = mode
        command(unit, values, system)
        run(unit, 5)
        assert unit.status(("coordPatternStatus", ())) == pattern
        assert unit.status(("unitControlStatus", ())) == control


def test_status_masks_say_what_the_heads_show() -> None:
    record = eight_phases()
    unit, _ = new_unit(record)
    run(unit, 5, (4,))

    def mask(name: str, group: int = 1) -> object:
        return unit.status((f"phaseStatusGroup{name}", (group,)))

    assert mask("Greens") == mask("PhaseOns") == 0b100010
    assert mask("Reds") == 0b11011101
    assert mask("VehCalls") == 0b1000
    assert mask("Greens", 2) == 0
    unit.step((), (2,))
    assert mask("PedCalls") in (0, 0b10)
    with pytest.raises(KeyError):
        mask("Greens", 3)
    assert unit.status(("ringStatus", (1,))) == 0
    assert unit.status(("globalTime", ())) == MONDAY + 5
    assert unit.status(("controllerLocalTime", ())) == MONDAY + 5


def test_timings_in_the_database_take_effect_when_it_is_read_again() -> None:
    record = eight_phases()
    unit, values = new_unit(record)
    run(unit, 10)
    values["phaseMinimumGreen", (4,)] = 20
    unit.reread()
    unit.step((4,))
    observer = watch(unit, record, 90, (2,))
    assert lengths(observer, "greens", 4) == [200]
