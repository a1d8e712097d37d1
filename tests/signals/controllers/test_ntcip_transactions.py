"""The driver and dbCreateTransaction: what is committed, what is discarded, and whose transaction it is."""

from __future__ import annotations

import asyncio

import pytest

from signals.controllers.base import Slot
from signals.controllers.ntcip1202 import Ntcip1202
from signals.errors import ControllerRefused, ControllerUnreachable, ReadBackDiffers
from tests.signals.controllers.paper import LAGGING, STATE, PaperUnit, a_plan

SLOT = Slot(48, 48, 1)


def push(unit: PaperUnit, slot: Slot = SLOT, **plan: int) -> tuple[str, ...]:
    """Write a plan; the names of the objects whose values have changed."""
    report = asyncio.run(unit.driver.write_plan(slot, a_plan(**plan)))
    return tuple(w.name for w in report.written if w.before != w.after)


def test_a_plan_is_verified_and_committed() -> None:
    unit = PaperUnit()
    assert "splitTime.48.2" in push(unit)
    assert unit.states == [2, 3, 1]
    assert unit.live["patternCycleTime", (48,)] == 100


def test_a_report_says_whether_there_was_a_transaction() -> None:
    for transactions in (True, False):
        unit = PaperUnit(transactions=transactions)
        report = asyncio.run(unit.driver.write_plan(SLOT, a_plan()))
        assert report.transaction is transactions
        assert ("patternCycleTime.48", 0, 100) in [(w.name, w.before, w.after) for w in report.written]


def test_writing_twice_is_writing_once() -> None:
    unit = PaperUnit()
    push(unit)
    unit.live["systemPatternControl", ()] = 48  # it may run by now
    before = list(unit.sets)
    assert push(unit) == ()
    assert unit.sets == before
    assert unit.states == [2, 3, 1]


def test_what_fails_the_verification_is_discarded_for_the_units_reason() -> None:
    unit = PaperUnit()
    unit.verdict, unit.reason = 2, b"splits of ring 1"
    with pytest.raises(
        ControllerRefused, match=r"dbVerifyStatus 2\): splits of ring 1; its transaction is discarded"
    ):
        push(unit)
    assert unit.state == 1
    assert unit.states == [2, 3, 2, 1]
    assert unit.live["patternCycleTime", (48,)] == 0


def test_a_refused_object_leaves_nothing_behind() -> None:
    unit = PaperUnit()
    unit.refuses = "splitMode"
    with pytest.raises(
        ControllerRefused, match=r"splitMode\.48\.1 to 2: badValue; its transaction is discarded"
    ):
        push(unit)
    assert unit.states == [2, 1]
    assert unit.live["patternCycleTime", (48,)] == 0


def test_an_object_that_keeps_its_value_is_found_by_read_back() -> None:
    unit = PaperUnit()
    unit.deaf = {"splitTime"}
    with pytest.raises(ReadBackDiffers, match=r"splitTime\.48\.1 is 0, not 15") as caught:
        push(unit)
    assert len(caught.value.differences) == 8


def test_a_verification_without_end_is_given_up_and_reported() -> None:
    unit = PaperUnit()
    unit.polls = 10_000
    with pytest.raises(ControllerRefused, match=r"hasn't verified within 0\.2 s.* the unit is still in it"):
        push(unit)
    assert unit.live["patternCycleTime", (48,)] == 0


@pytest.mark.parametrize("step", [2, 3, 1])
@pytest.mark.parametrize("fate", ["lost", "unheard"])
def test_a_step_whose_answer_is_lost_is_taken_once(step: int, fate: str) -> None:
    unit = PaperUnit()
    getattr(unit, fate).add(step)
    assert "patternCycleTime.48" in push(unit)
    assert unit.states == [2, 3, 1]


def test_a_verification_that_is_done_before_the_driver_looks_is_not_asked_for_again() -> None:
    unit = PaperUnit()
    unit.lost, unit.polls = {3}, 0
    push(unit)
    assert unit.states == [2, 3, 1]


def test_a_unit_that_goes_silent_for_steps_is_unreachable() -> None:
    class Silent(PaperUnit):
        def _step(self, to: object) -> None:
            raise ControllerUnreachable("paper: no answer")

    with pytest.raises(ControllerUnreachable, match="dbCreateTransaction = 2, asked 3 times"):
        push(Silent())


@pytest.mark.parametrize("state", [2, 3, 6])
def test_someone_elses_transaction_is_left_alone(state: int) -> None:
    unit = PaperUnit()
    unit.live[STATE], unit.polls = state, 100
    with pytest.raises(ControllerRefused, match=rf"is in a transaction \(state {state}\), which isn't ours"):
        push(unit)
    assert unit.state == state
    assert unit.sets == []


@pytest.mark.parametrize("state", [2, 3, 6])
def test_a_stale_transaction_is_discarded_where_a_person_says_so(state: int) -> None:
    unit = PaperUnit()
    unit.live[STATE], unit.buffer = state, {("patternCycleTime", (1,)): 77}
    driver = Ntcip1202(unit, discard_stale=True, verify_within_s=0.2)  # type: ignore[arg-type]
    unit.polls = 1
    asyncio.run(driver.write_plan(SLOT, a_plan()))
    assert unit.live["patternCycleTime", (48,)] == 100
    assert unit.live["patternCycleTime", (1,)] == 0


def test_an_old_build_that_counts_from_0_is_believed_once_it_has_shown_a_0() -> None:
    unit = PaperUnit(counts_from_0=True)
    assert "patternCycleTime.48" in push(unit)


def test_an_old_build_that_gives_a_reason_has_refused() -> None:
    unit = PaperUnit(counts_from_0=True)
    unit.reason = b"overlap"
    with pytest.raises(ControllerRefused, match="overlap"):
        push(unit)
    assert unit.live["patternCycleTime", (48,)] == 0


def test_a_cancelled_push_discards_its_transaction() -> None:
    unit = PaperUnit()
    unit.polls = 3

    async def run() -> None:
        task = asyncio.create_task(unit.driver.write_plan(SLOT, a_plan()))
        while unit.state != 3:
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(run())
    assert unit.state == 1
    assert unit.live["patternCycleTime", (48,)] == 0


# ------------------------------------------------------------------------------------------- what is refused


@pytest.mark.parametrize("name", ["coordPatternStatus", "systemPatternControl", "coordOperationalMode"])
def test_a_pattern_that_runs_or_is_commanded_is_not_written(name: str) -> None:
    unit = PaperUnit()
    unit.live[name, ()] = 48
    with pytest.raises(ControllerRefused, match="pattern 48 runs or is commanded; nothing was sent"):
        push(unit)
    assert unit.sets == []


def test_a_pattern_with_another_split_row_is_not_written() -> None:
    unit = PaperUnit()
    unit.live["patternSplitNumber", (48,)] = 3
    with pytest.raises(ControllerRefused, match="pattern 48 has split row 3, not 48; nothing was sent"):
        push(unit)
    assert unit.sets == []


def test_the_sequence_of_free_operation_is_not_written() -> None:
    unit = PaperUnit()
    with pytest.raises(ControllerRefused, match="sequence 1 is that of free operation"):
        asyncio.run(unit.driver.write_plan(SLOT, a_plan(sequence=LAGGING)))
    assert unit.sets == []


def test_a_sequence_row_that_fits_is_left_as_it_is() -> None:
    unit = PaperUnit()
    push(unit)
    assert {name for keys in unit.sets for name, _ in keys} == {
        *("patternCycleTime", "patternOffsetTime", "patternSequenceNumber", "patternCoordSyncPoint"),
        *("splitTime", "splitMode", "splitCoordPhase"),
    }


def test_a_unit_without_an_object_gets_nothing() -> None:
    unit = PaperUnit()
    del unit.live["splitCoordPhase", (48, 3)]
    with pytest.raises(ControllerRefused, match=r"has no splitCoordPhase\.48\.3: nothing was sent"):
        push(unit)
    assert unit.states == []


@pytest.mark.parametrize(
    ("slot", "plan", "words"),
    [
        (Slot(49, 48, 1), {}, "pattern 49: the unit has patterns 1 to 48"),
        (Slot(48, 0, 1), {}, "split 0: the unit has splits 1 to 48"),
        (Slot(48, 48, 17), {}, "sequence 17: the unit has sequences 1 to 16"),
        (SLOT, {"cycle_s": 256}, r"patternCycleTime\.48 = 256: expected 0 to 255"),
        (SLOT, {"offset_s": 100}, "offset 100 s: expected 0 to below the cycle of 100 s"),
        (SLOT, {"sequence": ((1,), (), (), (), (5,))}, "ring 5: the unit has rings 1 to 4"),
    ],
)
def test_what_is_out_of_range_never_leaves(slot: Slot, plan: dict, words: str) -> None:
    unit = PaperUnit()
    with pytest.raises(ControllerRefused, match=words):
        push(unit, slot, **plan)
    assert unit.sets == []
    assert unit.states == []
