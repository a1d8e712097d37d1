"""The conflict monitor, by itself and in a unit whose engine is broken on purpose."""

from __future__ import annotations

import pytest

from signals.controllers.virtual.events import Code
from signals.controllers.virtual.monitor import ConflictMonitor, Indications
from signals.controllers.virtual.ring import NEVER, Interval, Ring
from signals.controllers.virtual.unit import Unit
from tests.signals.controllers.virtual.units_at_work import command, eight_phases, new_unit, put_pattern, run


def shows(
    greens: tuple[int, ...] = (),
    yellows: tuple[int, ...] = (),
    walks: tuple[int, ...] = (),
    ped_clears: tuple[int, ...] = (),
    flash: bool = False,
) -> Indications:
    """What the heads show."""
    return Indications(*map(frozenset, (greens, yellows, walks, ped_clears)), flash)


def findings(*script: tuple[int, Indications]) -> list[str]:
    """All findings of a monitor of eight phases that is fed a script of ticks and indications."""
    monitor = ConflictMonitor(eight_phases())
    return [f for tick, shown in script for f in monitor.feed(shown, tick)]


def test_proper_changes_are_found_in_order() -> None:
    assert (
        findings(
            (0, shows()),
            (10, shows((2, 6), walks=(2,))),
            (80, shows((2, 6), ped_clears=(2,))),
            (140, shows((2, 6))),
            (150, shows((), (2, 6))),
            (182, shows((), (6,))),
            (186, shows()),
            (196, shows((4, 8))),
        )
        == []
    )


@pytest.mark.parametrize(
    "shown",
    [
        shows((2, 4)),
        shows((2,), (4,)),
        shows((), (2, 8)),
        shows((1, 2)),
        shows((6,), walks=(4,)),
        shows((6,), ped_clears=(4,)),
        shows((9,)),
    ],
)
def test_indications_that_conflict_are_found(shown: Indications) -> None:
    assert len(findings((0, shows()), (5, shown))) == 1


def test_a_green_that_goes_red_without_yellow_is_found() -> None:
    assert findings((0, shows((2,))), (100, shows())) == ["phase 2 goes from green to red without yellow"]


@pytest.mark.parametrize(("yellow", "short"), [(32, False), (31, False), (30, True)])
def test_a_yellow_may_be_a_tenth_short_and_no_more(yellow: int, short: bool) -> None:
    found = findings((0, shows((2,))), (100, shows((), (2,))), (100 + yellow, shows()))
    assert found == (["phase 2: yellow of 3 s, the record has 3.2 s"] if short else [])


@pytest.mark.parametrize(("red", "short"), [(14, False), (13, False), (12, True), (0, True)])
def test_a_red_clearance_before_a_conflicting_green_or_walk_may_be_a_tenth_short_and_no_more(
    red: int, short: bool
) -> None:
    for next_one in (shows((4,)), shows(walks=(4,))):
        found = findings((0, shows((2,))), (100, shows((), (2,))), (132, shows()), (132 + red, next_one))
        assert bool(found) is short


def test_a_concurrent_phase_needs_no_red_clearance() -> None:
    assert findings((0, shows((5,))), (100, shows((), (5,))), (135, shows()), (136, shows((2,)))) == []


def test_flash_ends_what_the_monitor_remembers() -> None:
    assert findings((0, shows((2,))), (5, shows(flash=True)), (9, shows()), (10, shows((4,)))) == []


def break_ring(unit: Unit, ring: int, phase: int) -> Ring:
    """Have a ring show a phase's green, whatever conflicts with it."""
    broken = unit.engine.rings[ring]
    broken.phase, broken.next, broken.interval = unit.phases[phase], None, Interval.GREEN
    broken.min_at, broken.end_at, broken.gap_at = unit.engine.now + 100, NEVER, NEVER
    unit.engine._shown = None
    return broken


def test_a_conflicting_green_puts_the_unit_to_flash_until_power_is_cycled() -> None:
    unit, values = new_unit(eight_phases())
    run(unit, 10)
    break_ring(unit, 1, 8)
    unit.step((1,))
    assert unit.tripped
    assert unit.findings == ("phase 2 shows green with phase 8 at green: they conflict", *unit.findings[1:])
    assert unit.indications == shows(flash=True)
    assert unit.status(("unitFlashStatus", ())) == 6
    assert unit.status(("unitAlarmStatus1", ())) == 1 << 4
    assert unit.status(("coordPatternStatus", ())) == 255
    events = {(e.code, e.parameter) for e in unit.drain_events()}
    assert {(Code.FLASH, 6), (Code.ALARM, 1 << 4)} <= events
    put_pattern(values, 1, 100, {1: 15, 2: 35, 3: 15, 4: 35, 5: 20, 6: 30, 7: 25, 8: 25})
    command(unit, values, 1)
    run(unit, 100, (1, 4))
    assert unit.tripped, "it stays latched"
    unit.power_cycle()
    run(unit, 20)
    assert not unit.tripped
    assert unit.indications.greens


def test_a_shortened_yellow_trips_the_monitor() -> None:
    unit, _ = new_unit(eight_phases())
    run(unit, 20)
    run(unit, 1, (4,))
    assert unit.indications.yellows == {2, 6}
    unit.engine.rings[0].until -= 5
    run(unit, 4)
    assert unit.tripped
    assert unit.findings == ("phase 2: yellow of 2.7 s, the record has 3.2 s",)


def test_a_yellow_that_the_database_shortens_below_the_record_trips_the_monitor() -> None:
    unit, values = new_unit(eight_phases())
    values["phaseYellowChange", (2,)] = 25
    unit.reread()
    run(unit, 40, (4,))
    assert unit.tripped
