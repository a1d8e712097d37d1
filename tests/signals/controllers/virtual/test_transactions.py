"""The transaction of NTCIP 1201, as a unit keeps it, and the checks at its end."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from signals.controllers.objects import OBJECTS, Oid, name_of
from signals.controllers.virtual.messages import (
    COUNTER,
    GAUGE,
    INTEGER,
    NULL,
    OCTETS,
    TAGS,
    Bound,
    ErrorStatus,
)
from signals.controllers.virtual.transactions import Database, Refusal
from signals.controllers.virtual.verification import first_fault
from signals.model.controller import PhaseOption
from tests.signals.controllers.bench import Bench, MakeBench

STATE = OBJECTS["dbCreateTransaction"].oid()
CENTRAL, OTHER = "central", "other"


def bound(name: str, *index: int, value: int | bytes | Oid) -> Bound:
    kind = OBJECTS[name]
    return Bound(kind.oid(*index), TAGS[kind.syntax], value)


def go(database: Database, state: int, opener: str = CENTRAL) -> Refusal | None:
    return database.set([Bound(STATE, INTEGER, state)], opener)


def value(database: Database, name: str, *index: int) -> object:
    read = database.read(OBJECTS[name].oid(*index))
    assert read is not None
    return read.value


def committed(database: Database, *bounds: Bound) -> object:
    """Push in a transaction; what dbVerifyError says."""
    assert go(database, 2) is None
    assert database.set(bounds, CENTRAL) is None
    assert go(database, 3) is None
    assert value(database, "dbCreateTransaction") == 6
    said = value(database, "dbVerifyError")
    assert go(database, 1) is None
    return said


def test_a_get_answers_what_is_live_until_the_commit(make_bench: MakeBench) -> None:
    bench = make_bench()
    database = bench.database
    assert go(database, 2) is None
    assert database.set([bound("patternOffsetTime", 1, value=44)], CENTRAL) is None
    assert value(database, "patternOffsetTime", 1) == 30
    assert go(database, 3) is None
    assert value(database, "dbVerifyStatus") == 3
    assert value(database, "patternOffsetTime", 1) == 30
    assert "reread" not in bench.unit.told
    assert go(database, 1) is None
    assert value(database, "patternOffsetTime", 1) == 44
    assert bench.values["patternOffsetTime", (1,)] == 44
    assert "reread" in bench.unit.told


def test_a_discarded_transaction_changes_nothing(make_bench: MakeBench) -> None:
    bench = make_bench()
    before = dict(bench.values)
    assert go(bench.database, 2) is None
    assert bench.database.set([bound("patternOffsetTime", 1, value=44)], CENTRAL) is None
    assert go(bench.database, 1) is None
    assert bench.values == before
    assert go(bench.database, 2) is None
    assert committed_after(bench.database) == before["patternOffsetTime", (1,)]


def committed_after(database: Database) -> object:
    """An empty transaction is committed: what of an older buffer comes along."""
    assert go(database, 3) is None
    assert go(database, 1) is None
    return value(database, "patternOffsetTime", 1)


def test_a_database_that_fails_its_verification_is_never_committed(make_bench: MakeBench) -> None:
    database = make_bench().database
    said = committed(database, bound("patternOffsetTime", 1, value=100))
    assert said == b"pattern 1: offset 100 s, not below the cycle of 100 s"
    assert value(database, "dbVerifyStatus") == 2
    assert value(database, "patternOffsetTime", 1) == 30


def test_from_done_one_may_go_back_and_mend_the_buffer(make_bench: MakeBench) -> None:
    database = make_bench().database
    go(database, 2)
    database.set([bound("patternOffsetTime", 1, value=100), bound("patternCycleTime", 2, value=0)], CENTRAL)
    go(database, 3)
    assert value(database, "dbVerifyStatus") == 2
    assert go(database, 2) is None
    assert value(database, "dbVerifyStatus") == 1
    assert database.set([bound("patternOffsetTime", 1, value=99)], CENTRAL) is None
    go(database, 3)
    assert value(database, "dbVerifyStatus") == 3
    go(database, 1)
    assert value(database, "patternOffsetTime", 1) == 99


@pytest.mark.parametrize(
    ("way", "refused"),
    [((), (0, 3, 4, 5, 6)), ((2,), (2, 4, 5, 6)), ((2, 3), (3, 4, 5, 6))],
    ids=["normal", "transaction", "done"],
)
def test_steps_that_the_standard_doesnt_know_are_bad_values(
    make_bench: MakeBench, way: tuple[int, ...], refused: tuple[int, ...]
) -> None:
    database = make_bench().database
    for step in way:
        assert go(database, step) is None
    before = value(database, "dbCreateTransaction")
    for step in refused:
        expected = ErrorStatus.wrongValue if step == 0 else ErrorStatus.badValue
        assert go(database, step) == Refusal(expected, 1)
        assert value(database, "dbCreateTransaction") == before


def test_while_a_unit_verifies_it_takes_no_step_and_no_value(make_bench: MakeBench) -> None:
    now = 0.0
    database = make_bench(verify_s=2.0, clock=lambda: now).database
    go(database, 2)
    go(database, 3)
    assert value(database, "dbCreateTransaction") == 3
    assert value(database, "dbVerifyStatus") == 1
    assert go(database, 1) == Refusal(ErrorStatus.badValue, 1)
    assert database.set([bound("patternOffsetTime", 1, value=4)], CENTRAL) == Refusal(ErrorStatus.genErr, 0)
    now = 2.0
    assert value(database, "dbCreateTransaction") == 6
    assert database.set([bound("patternOffsetTime", 1, value=4)], CENTRAL) == Refusal(ErrorStatus.genErr, 0)


def test_somebody_elses_transaction_is_closed_to_others(make_bench: MakeBench) -> None:
    database = make_bench().database
    go(database, 2)
    refused = Refusal(ErrorStatus.genErr, 0)
    assert database.set([bound("patternOffsetTime", 1, value=4)], OTHER) == refused
    assert go(database, 1, OTHER) == refused
    assert go(database, 3, OTHER) == refused
    assert value(database, "dbCreateTransaction") == 2
    assert database.set([bound("systemPatternControl", value=254)], OTHER) is None


def test_the_command_of_a_pattern_acts_at_once_even_in_a_transaction(make_bench: MakeBench) -> None:
    bench = make_bench()
    go(bench.database, 2)
    bench.unit.told.clear()
    assert bench.database.set([bound("systemPatternControl", value=1)], CENTRAL) is None
    assert value(bench.database, "systemPatternControl") == 1
    assert set(bench.unit.told) == {"reread", "system_command"}


def test_a_step_and_values_in_one_message_are_refused(make_bench: MakeBench) -> None:
    database = make_bench().database
    both = [Bound(STATE, INTEGER, 2), bound("patternOffsetTime", 1, value=4)]
    assert database.set(both, CENTRAL) == Refusal(ErrorStatus.genErr, 1)
    assert value(database, "dbCreateTransaction") == 1
    assert value(database, "patternOffsetTime", 1) == 30


@pytest.mark.parametrize(
    ("wrong", "status"),
    [
        (bound("splitTime", 2, 1, value=256), ErrorStatus.wrongValue),
        (bound("splitMode", 2, 1, value=1), ErrorStatus.wrongValue),
        (Bound(OBJECTS["splitTime"].oid(2, 1), OCTETS, b"7"), ErrorStatus.wrongType),
        (Bound(OBJECTS["splitTime"].oid(2, 1), COUNTER, 7), ErrorStatus.wrongType),
        (Bound(OBJECTS["splitTime"].oid(2, 1), NULL), ErrorStatus.wrongType),
        (bound("sequenceData", 1, 1, value=bytes(256)), ErrorStatus.wrongLength),
        (bound("dayPlanActionNumberOID", 1, 1, value=(1, 3) * 65), ErrorStatus.wrongLength),
        (bound("coordPatternStatus", value=1), ErrorStatus.notWritable),
        (bound("maxPatterns", value=1), ErrorStatus.notWritable),
        (bound("patternSplitNumber", 1, value=2), ErrorStatus.notWritable),
        (bound("splitTime", 49, 1, value=20), ErrorStatus.noCreation),
        (Bound((1, 3, 6, 1, 2, 1, 1, 5, 0), OCTETS, b"name"), ErrorStatus.noCreation),
    ],
    ids=lambda given: name_of(given.oid) if isinstance(given, Bound) else given.name,
)
def test_one_wrong_varbind_refuses_the_whole_message(
    make_bench: MakeBench, wrong: Bound, status: ErrorStatus
) -> None:
    bench = make_bench()
    before = dict(bench.values)
    sound = [bound("splitTime", 2, 1, value=20), bound("systemPatternControl", value=1)]
    assert bench.database.set([*sound, wrong], CENTRAL) == Refusal(status, 3)
    assert bench.values == before
    assert bench.unit.told == []


def test_outside_a_transaction_a_database_object_is_set_at_once(make_bench: MakeBench) -> None:
    bench = make_bench()
    assert bench.database.set([bound("splitTime", 2, 1, value=20)], CENTRAL) is None
    assert bench.values["splitTime", (2, 1)] == 20
    assert bench.unit.told == ["system_command", "reread"]


def test_a_unit_of_version_1_lets_the_split_number_be_written(make_bench: MakeBench) -> None:
    database = make_bench(split_number_writable=True).database
    assert database.set([bound("patternSplitNumber", 1, value=2)], CENTRAL) is None
    assert value(database, "patternSplitNumber", 1) == 2


@pytest.mark.parametrize(("tag", "sent"), [(INTEGER, -2), (INTEGER, 0xFFFFFFFE), (GAUGE, 0xFFFFFFFE)])
def test_a_date_mask_of_32_bits_is_taken_however_it_is_sent(
    make_bench: MakeBench, tag: int, sent: int
) -> None:
    database = make_bench().database
    mask = 0xFFFFFFFE
    oid = OBJECTS["timeBaseScheduleDate"].oid(3)
    assert database.set([Bound(oid, tag, sent)], CENTRAL) is None
    assert database.values["timeBaseScheduleDate", (3,)] == mask
    assert database.read(oid) == Bound(oid, GAUGE, mask)


def test_the_clock_and_preemption_go_to_the_unit(make_bench: MakeBench) -> None:
    bench = make_bench()
    assert bench.database.set([bound("globalTime", value=1_900_000_000)], CENTRAL) is None
    assert bench.unit.clock_s == 1_900_000_000
    assert value(bench.database, "globalTime") == 1_900_000_000
    assert bench.database.set([bound("preemptControlState", 2, value=1)], CENTRAL) is None
    assert bench.unit.preempts == {2: True}
    assert value(bench.database, "preemptControlState", 2) == 1


def test_a_power_failure_loses_the_transaction_and_keeps_what_is_live(make_bench: MakeBench) -> None:
    bench = make_bench()
    before = dict(bench.values)
    go(bench.database, 2)
    bench.database.set([bound("patternOffsetTime", 1, value=44)], CENTRAL)
    bench.database.power_cycle()
    assert value(bench.database, "dbCreateTransaction") == 1
    assert bench.values == before
    assert "power_cycle" in bench.unit.told
    assert go(bench.database, 2, OTHER) is None


def test_every_object_of_the_list_is_there_in_the_order_of_oids(make_bench: MakeBench) -> None:
    database = make_bench().database
    found, at = [], (0,)
    while (following := database.following(at)) is not None:
        found.append(following)
        at = following.oid
    oids = [f.oid for f in found]
    assert oids == sorted(set(oids))
    names = {name_of(oid).partition(".")[0] for oid in oids}
    assert set(OBJECTS) - names == {"preemptControl"}
    assert all(f == database.read(f.oid) for f in found)


def test_units_with_the_same_room_share_the_list_of_their_objects(make_bench: MakeBench) -> None:
    first, second = make_bench().database, make_bench().database
    assert first.layout is second.layout
    first.set([bound("splitTime", 2, 1, value=20)], CENTRAL)
    assert second.values["splitTime", (2, 1)] == 0


# ---- verification --------------------------------------------------------------------------------------------


def verdict(bench: Bench, changes: Mapping[tuple[str, tuple[int, ...]], int | bytes | Oid]) -> str:
    return first_fault({**bench.values, **changes}).decode()


def test_the_database_in_place_is_sound(make_bench: MakeBench) -> None:
    assert verdict(make_bench(), {}) == ""


ACTION = (*OBJECTS["timebaseAscPattern"].prefix[:-1], 1)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({("patternCycleTime", (1,)): 29}, "cycle 29 s, not within 30 to 255 s"),
        ({("patternCycleTime", (1,)): 101}, "add up to 100 s, but the cycle is 101 s"),
        ({("patternOffsetTime", (1,)): 100}, "offset 100 s"),
        ({("patternSequenceNumber", (1,)): 17}, "sequence 17, but the unit has 16"),
        ({("patternSplitNumber", (1,)): 49}, "split 49, but the unit has 48"),
        ({("sequenceData", (1, 1)): bytes((1, 2, 3))}, "ring 1 never serves phase 4"),
        ({("sequenceData", (1, 1)): bytes((1, 2, 3, 4, 2))}, "serves phase 2 more than once"),
        ({("sequenceData", (1, 1)): bytes((1, 2, 3, 5, 4))}, "ring 1 serves phase 5"),
        ({("sequenceData", (1, 1)): bytes((1, 2, 3, 9, 4))}, "ring 1 serves phase 9"),
        ({("sequenceData", (1, 1)): bytes((1, 3, 2, 4))}, "comes back to phase 2 after its barrier"),
        ({("sequenceData", (1, 1)): bytes((3, 4, 1, 2))}, "crosses the barriers in another order"),
        ({("splitTime", (1, 1)): 12, ("splitTime", (1, 2)): 38}, "phase 1 has 12 s and needs 12.5 s"),
        ({("splitTime", (1, 4)): 26, ("splitTime", (1, 3)): 24}, "phase 4 has 26 s and needs 26.5 s"),
        ({("splitTime", (1, 1)): 16}, "aren't reached at once: 51 s in ring 1, 50 s in ring 2"),
        ({("splitMode", (1, 1)): 7}, "aren't reached at once: 35 s in ring 1, 50 s in ring 2"),
        ({("splitMode", (1, 2)): 7}, "phase 2 is coordinated and omitted"),
        ({("splitCoordPhase", (1, n)): 0 for n in (2, 6)}, "no phase is coordinated"),
        ({("splitCoordPhase", (1, 1)): 1}, "two coordinated phases in one ring"),
        (
            {("splitCoordPhase", (1, 6)): 0, ("splitCoordPhase", (1, 8)): 1},
            "on both sides of a barrier",
        ),
        ({("timebaseAscPattern", (4,)): 2}, "action 4: calls pattern 2, which is empty"),
        ({("timebaseAscPattern", (4,)): 99}, "action 4: calls pattern 99, which is empty"),
        ({("dayPlanActionNumberOID", (2, 3)): (*ACTION, 65)}, "day plan 2 event 3"),
        ({("dayPlanActionNumberOID", (2, 3)): (1, 3, 6, 1)}, "day plan 2 event 3"),
        ({("timeBaseScheduleDayPlan", (2,)): 17}, "schedule entry 2: names day plan 17"),
    ],
    ids=lambda given: given if isinstance(given, str) else "",
)
def test_what_a_unit_couldnt_run_is_named_with_its_place(
    make_bench: MakeBench, changes: Mapping[tuple[str, tuple[int, ...]], int | bytes | Oid], said: str
) -> None:
    found = verdict(make_bench(), changes)
    assert said in found
    assert len(found) <= 255


@pytest.mark.parametrize(
    "changes",
    [
        {("splitTime", (1, 1)): 13, ("splitTime", (1, 2)): 37},
        {("splitTime", (1, 2)): 22, ("splitTime", (1, 1)): 28},
        {("sequenceData", (1, 1)): bytes((2, 1, 4, 3))},
        {("sequenceData", (1, 1)): bytes((3, 4, 1, 2)), ("sequenceData", (1, 2)): bytes((7, 8, 5, 6))},
        {("splitMode", (1, 1)): 7, ("splitTime", (1, 1)): 0, ("splitTime", (1, 2)): 50},
        {("patternOffsetTime", (1,)): 99},
        {("splitCoordPhase", (1, 6)): 0},
        {("timebaseAscPattern", (4,)): 254, ("dayPlanActionNumberOID", (2, 3)): (*ACTION, 64)},
        {("splitTime", (2, 1)): 3},
    ],
)
def test_what_a_unit_can_run_passes(
    make_bench: MakeBench, changes: Mapping[tuple[str, tuple[int, ...]], int | bytes | Oid]
) -> None:
    assert verdict(make_bench(), changes) == ""


def test_a_phase_on_pedestrian_recall_needs_time_to_walk(make_bench: MakeBench) -> None:
    bench = make_bench()
    short = {("splitTime", (1, 2)): 22, ("splitTime", (1, 1)): 28}
    recalled = int(PhaseOption.ENABLED | PhaseOption.PED_RECALL)
    assert verdict(bench, short) == ""
    assert "phase 2 has 22 s and needs 26.5 s" in verdict(bench, {**short, ("phaseOptions", (2,)): recalled})


def test_a_phase_that_isnt_enabled_needs_no_service(make_bench: MakeBench) -> None:
    changes: dict[tuple[str, tuple[int, ...]], int | bytes] = {
        ("phaseOptions", (1,)): 0,
        ("sequenceData", (1, 1)): bytes((2, 3, 4)),
        ("splitTime", (1, 2)): 50,
    }
    assert verdict(make_bench(), changes) == ""
