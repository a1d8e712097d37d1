"""The high-resolution log: what is in it, and that `signals.formats.hires` reads the same back."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from signals.controllers.virtual.events import Code, CoordState, Event, EventLog
from signals.controllers.virtual.unit import MOST_EVENTS, Unit
from signals.formats.hires import detector_counts, read_event_log
from signals.model.controller import SplitMode
from tests.signals.controllers.virtual.units_at_work import (
    MONDAY,
    command,
    eight_phases,
    new_unit,
    put_pattern,
    run,
    run_until_in_step,
)

SPLITS = {1: 15, 2: 35, 3: 15, 4: 35, 5: 20, 6: 30, 7: 25, 8: 25}


def working_unit() -> Unit:
    """In step on pattern 1, a cycle of 100 s and offset 30 s, just past local zero; its log is drained."""
    unit, values = new_unit(eight_phases())
    put_pattern(values, 1, 100, SPLITS, offset_s=30, mode=SplitMode.MAX_AND_PEDESTRIAN)
    command(unit, values, 1)
    run_until_in_step(unit, 400)
    run(unit, (30.1 - unit.utc_ms / 1000) % 100)
    unit.drain_events()
    return unit


def write_log(path: Path, events: Sequence[Event]) -> None:
    log = EventLog(path)
    log.write("A1", events)
    log.close()


def test_a_log_that_is_written_is_read_back_equal(tmp_path: Path) -> None:
    unit = working_unit()
    run(unit, 300, (1, 4), (2,))
    events = unit.drain_events()
    write_log(tmp_path / "log.csv", events)
    log = read_event_log(tmp_path / "log.csv", timezone="UTC")
    assert log.devices == ("A1",)
    read = zip(log.times.astype("datetime64[ms]").astype(np.int64), log.codes, log.parameters)
    assert Counter((int(t), int(c), int(p)) for t, c, p in read) == Counter(
        (e.utc_ms, int(e.code), int(e.parameter)) for e in events
    )
    assert len(events) > 200


def test_detector_counts_of_the_log_are_those_that_were_put_in(tmp_path: Path) -> None:
    unit, _ = new_unit(eight_phases(), utc_s=MONDAY)
    put = {7: [40, 3, 12], 21: [5, 0, 90]}
    for quarter in range(3):
        due = {n: counts[quarter] for n, counts in put.items()}
        for tick in range(9000):
            on = [n for n, left in due.items() if left and tick % 100 == 50]
            off = [n for n in put if tick % 100 == 70]
            for n in on:
                due[n] -= 1
            unit.step(detectors=[*((n, True) for n in on), *((n, False) for n in off)])
    write_log(tmp_path / "log.csv", unit.drain_events())
    table = detector_counts(read_event_log(tmp_path / "log.csv", timezone="UTC"))
    assert table.names == ("A1:7", "A1:21")
    assert table.values.tolist() == [[40.0, 5.0], [3.0, 0.0], [12.0, 90.0]]


def test_the_log_of_a_cycle_tells_each_phase_from_green_to_red() -> None:
    unit = working_unit()
    run(unit, 100)
    events = [e for e in unit.drain_events() if e.parameter == 4 and e.code < 30]
    begin = MONDAY * 1000 + (events[0].utc_ms - MONDAY * 1000)
    expected = [
        (0, Code.PHASE_ON),
        (0, Code.GREEN_BEGIN),
        (0, Code.WALK_BEGIN),
        (7000, Code.PED_CLEAR_BEGIN),
        (8000, Code.MIN_COMPLETE),
        (13000, Code.DONT_WALK_BEGIN),
        (30400, Code.FORCE_OFF),
        (30400, Code.GREEN_END),
        (30400, Code.YELLOW_BEGIN),
        (33800, Code.YELLOW_END),
        (33800, Code.RED_CLEAR_BEGIN),
        (35000, Code.RED_CLEAR_END),
        (35000, Code.PHASE_INACTIVE),
    ]
    assert [(e.utc_ms - begin, e.code) for e in events] == expected


def test_local_zero_and_yield_points_are_logged_every_cycle() -> None:
    unit = working_unit()
    run(unit, 300)
    events = unit.drain_events()
    zeros = [e.utc_ms for e in events if (e.code, e.parameter) == (Code.COORD_STATE, CoordState.LOCAL_ZERO)]
    assert [t // 100 % 1000 for t in zeros] == [300, 300, 300]
    yields = Counter(e.parameter for e in events if e.code == Code.YIELD_POINT)
    assert yields == {2: 3, 6: 3}
    assert Counter(e.parameter for e in events if e.code == Code.BARRIER) == {1: 3, 2: 3}


def test_a_change_of_pattern_logs_cycle_offset_and_splits() -> None:
    unit, values = new_unit(eight_phases())
    put_pattern(
        values, 9, 255, {n: 127 if n in (1, 5) else 128 if n in (2, 6) else 0 for n in SPLITS}, offset_s=254
    )
    put_pattern(values, 1, 100, SPLITS, offset_s=30)
    command(unit, values, 1)
    run(unit, 5)
    logged = [(e.code, e.parameter) for e in unit.drain_events() if 131 <= e.code <= 150]
    assert logged[:3] == [(Code.PATTERN, 1), (Code.CYCLE, 100), (Code.OFFSET, 30)]
    assert logged[3:11] == [(Code.SPLIT_1 + n - 1, split) for n, split in SPLITS.items()]
    assert logged[11] == (Code.COORD_STATE, CoordState.PICK_UP)
    command(unit, values, 9)
    run(unit, 5)
    logged = [(e.code, e.parameter) for e in unit.drain_events()]
    assert {(Code.PATTERN, 9), (Code.CYCLE, 255), (Code.OFFSET, 254)} <= set(logged)
    command(unit, values, 254)
    run(unit, 1)
    logged = [(e.code, e.parameter) for e in unit.drain_events()]
    assert (Code.PATTERN, 254) in logged
    assert (Code.COORD_STATE, CoordState.FREE) in logged


def test_calls_and_the_clock_are_logged() -> None:
    unit, _ = new_unit(eight_phases())
    run(unit, 20)
    unit.drain_events()
    run(unit, 1, (4,), (8,))
    run(unit, 60)
    unit.set_clock(MONDAY + 3600)
    events = [(e.code, e.parameter) for e in unit.drain_events()]
    assert events[0] == (Code.PED_CALL, 8)
    assert events[1] == (Code.CALL_ON, 4)
    assert (Code.CALL_OFF, 4) in events
    assert events[-1] == (Code.CLOCK_SET, 0)
    assert unit.utc_ms == 1000 * (MONDAY + 3600)


def test_a_log_that_nobody_reads_keeps_its_last_events() -> None:
    unit, _ = new_unit(eight_phases())
    for k in range(MOST_EVENTS // 100 + 5):
        unit.step(detectors=[(n, k % 2 == 0) for n in range(100)])
    events = unit.drain_events()
    assert len(events) == MOST_EVENTS
    assert events[-1].utc_ms == unit.utc_ms


def test_draining_empties_the_log() -> None:
    unit, _ = new_unit(eight_phases())
    run(unit, 10)
    assert isinstance(unit.drain_events()[0], Event)
    assert unit.drain_events() == []
