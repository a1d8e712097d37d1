"""The safety check of patterns: each rule by a pattern that breaks it, and its agreement with the unit's own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from benchmarks.patterns import SPOILERS, is_right, study
from signals.model.controller import (
    Capabilities,
    ControllerPhase,
    ControllerRecord,
    Pattern,
    PhaseOption,
    Split,
    SplitMode,
    SyncPoint,
)
from signals.safety.pattern import PatternRule, check_pattern

SIDES = (frozenset({1, 2, 5, 6}), frozenset({4, 8}))
ROOM = Capabilities(
    max_phases=16, max_patterns=8, max_splits=8, max_sequences=4, max_rings=4, sync_points=True
)


def phase(number: int, **changes: object) -> ControllerPhase:
    """4.3 s of yellow and 1.7 s of red after 5 s of min green at least; walks of 7 + 11 s at phases 2 and 6."""
    ring = 1 if number <= 4 else 2
    side = next(s for s in SIDES if number in s)
    concurrent = frozenset(n for n in side if (n <= 4) != (number <= 4))
    walk = {"walk_s": 7, "pedestrian_clear_s": 11} if number in (2, 6) else {}
    made = ControllerPhase(number, ring, concurrent, 5, 4.3, 1.7, **walk)  # type: ignore[arg-type]
    return replace(made, **changes)  # type: ignore[arg-type]


RECORD = ControllerRecord(tuple(phase(n) for n in (1, 2, 4, 5, 6, 8)), ((1, 2, 4), (5, 6, 8)))
SAFE = Pattern(
    cycle_s=80,
    offset_s=79,
    splits=(
        Split(1, 15, SplitMode.MAX_VEHICLE),
        Split(2, 35, SplitMode.MAX_AND_PEDESTRIAN, coordinated=True),
        Split(4, 30),
        Split(5, 26),
        Split(6, 24, SplitMode.PEDESTRIAN, coordinated=True),
        Split(8, 30),
    ),
    sequence=((1, 2, 4), (5, 6, 8)),
)


def findings(pattern: Pattern, record: ControllerRecord = RECORD) -> list[str]:
    """What the check says."""
    return [str(f) for f in check_pattern(record, pattern, ROOM)]


def with_split(number: int, pattern: Pattern = SAFE, **changes: object) -> Pattern:
    """A pattern with another split."""
    splits = [replace(s, **changes) if s.phase == number else s for s in pattern.splits]  # type: ignore[arg-type]
    return replace(pattern, splits=tuple(splits))


def omitting(*numbers: int) -> Pattern:
    """The safe pattern without some phases."""
    pattern = SAFE
    for number in numbers:
        pattern = with_split(number, pattern, mode=SplitMode.OMITTED, time_s=0)
    return pattern


def test_a_safe_pattern_has_no_findings() -> None:
    assert findings(SAFE) == []


def test_a_split_may_be_as_short_as_walk_and_clearances() -> None:
    # 7 + 11 + 4.3 + 1.7 s: phase 6 has just that
    assert findings(with_split(5, with_split(6, time_s=23), time_s=27)) == [
        "phase 6 has a split of 23 s; walk, pedestrian clearance, yellow and red clearance take 24 s: lengthen it"
    ]


def test_people_count_where_the_unit_recalls_them_whatever_the_mode() -> None:
    short = with_split(5, with_split(6, time_s=20, mode=SplitMode.NONE), time_s=30)
    assert findings(short) == []
    recalled = replace(
        RECORD,
        phases=tuple(
            replace(p, options=p.options | PhaseOption.PED_RECALL) if p.number == 6 else p
            for p in RECORD.phases
        ),
    )
    assert [f.rule for f in check_pattern(recalled, short)] == [PatternRule.PEDESTRIAN]


def test_a_minimum_missed_by_a_tenth_is_missed() -> None:
    slow = replace(
        RECORD, phases=tuple(replace(p, red_clear_s=1.8) if p.number == 1 else p for p in RECORD.phases)
    )
    short = with_split(2, with_split(1, time_s=11), time_s=39)
    assert findings(short) == []
    assert findings(short, slow) == [
        "phase 1 has a split of 11 s; min green, yellow and red clearance take 11.1 s: lengthen it"
    ]


def test_an_omitted_phase_needs_no_time() -> None:
    assert findings(with_split(2, omitting(1), time_s=50)) == []


def test_a_ring_that_serves_nothing_beside_the_other_rests() -> None:
    assert findings(omitting(8)) == []


def test_a_side_may_be_left_out_altogether() -> None:
    assert findings(replace(omitting(4, 8), cycle_s=50, offset_s=0)) == []


def test_rings_that_reach_the_barrier_apart_are_named_with_their_times() -> None:
    assert findings(with_split(5, time_s=28)) == [
        "the side of phase 1 takes ring 1 50 s, ring 2 52 s; rings reach a barrier together: make them equal",
        "splits add up to 82 s in a cycle of 80 s; make them equal",
    ]


def test_a_barrier_is_told_by_concurrency_in_either_direction() -> None:
    one_sided = replace(
        RECORD,
        phases=tuple(
            replace(p, concurrent=frozenset()) if p.number in (5, 6, 8) else p for p in RECORD.phases
        ),
    )
    assert findings(SAFE, one_sided) == []


def test_offset_and_cycle_have_bounds() -> None:
    assert findings(replace(SAFE, offset_s=80)) == [
        "offset of 80 s in a cycle of 80 s; take it modulo the cycle"
    ]
    assert findings(replace(SAFE, offset_s=255))[0] == "offset of 255 s; take 0 to 254 s"
    assert findings(replace(SAFE, cycle_s=256))[0] == "cycle of 256 s; take 30 to 255 s"


@pytest.mark.parametrize(
    ("room", "text"),
    [
        ({"max_phases": 6}, "split of phase 8; the unit has 6 phases"),
        ({"max_rings": 1}, "sequence of 2 rings; the unit has 1"),
        ({"sync_points": False}, "offset refers to FIRST_GREEN"),
    ],
)
def test_what_the_unit_has_no_room_for_is_refused(room: dict[str, int], text: str) -> None:
    (finding,) = check_pattern(RECORD, SAFE, replace(ROOM, **room))  # type: ignore[arg-type]
    assert finding.rule is PatternRule.ROOM
    assert text in finding.message


def test_a_unit_without_sync_points_takes_its_own() -> None:
    room = replace(ROOM, sync_points=False)
    assert check_pattern(RECORD, replace(SAFE, sync_point=SyncPoint.UNIT), room) == ()


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        (lambda p: replace(p, splits=(*p.splits, Split(1, 15))), PatternRule.SPLITS),
        (lambda p: replace(p, splits=(*p.splits, Split(3, 15))), PatternRule.SPLITS),
        (lambda p: with_split(4, p, time_s=256), PatternRule.SPLITS),
        (lambda p: replace(p, sequence=((1, 2, 4, 3), (5, 6, 8))), PatternRule.SEQUENCE),
        (lambda p: replace(p, sequence=((1, 4, 2), (5, 6, 8))), PatternRule.BARRIER),
        (lambda p: replace(p, sequence=((1, 2, 4), (8, 5, 6))), PatternRule.BARRIER),
    ],
)
def test_malformed_patterns_are_refused_before_their_times(
    change: Callable[[Pattern], Pattern], rule: PatternRule
) -> None:
    assert {f.rule for f in check_pattern(RECORD, change(SAFE))} == {rule}


def test_the_check_and_the_unit_agree_on_random_patterns() -> None:
    rows = study(600, seed=7)
    assert [row.what for row in rows if not is_right(row)] == []
    assert min(row.number for row in rows) >= 10
    assert {row.rule for row in rows} == {None, *PatternRule}
    assert len(rows) == 1 + len(SPOILERS)
