"""Rollouts over units that behave as told: waves, doubts, ways back, and going on after a crash."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from signals.controllers.base import Slot, WriteReport, Written
from signals.deployment.push import Order, Watch, differences_of, give_back
from signals.deployment.rollout import Halted, Refused, Step, Target, dry_run, give_all_back, roll_out
from signals.errors import ControllerError, ControllerRefused, ControllerUnreachable, ReadBackDiffers, Stopped
from signals.model.controller import (
    Capabilities,
    ControllerPhase,
    ControllerRecord,
    ControllerStatus,
    FreeStatus,
    Pattern,
    ScheduleEntry,
    Split,
    SplitMode,
    UnitClock,
)
from signals.model.states import StepState

SLOT = Slot(48, 48, 1)
RECORD = ControllerRecord(
    (
        ControllerPhase(2, 1, frozenset(), 5, 4.0, 2.0),
        ControllerPhase(4, 1, frozenset(), 5, 4.0, 2.0),
    ),
    ((2, 4),),
)
PATTERN = Pattern(
    60,
    10,
    (Split(2, 36, SplitMode.MAX_VEHICLE, True), Split(4, 24, SplitMode.MAX_VEHICLE)),
    ((2, 4),),
)
WATCH = Watch(cycles=3, poll_s=0.001, wall_s=5.0)


@dataclass
class Unit:
    """A controller in memory. Its clock goes on by `pace_s` whenever its status is read."""

    signal: str
    diary: list[str]
    backup_time_s: int = 300
    record: ControllerRecord = RECORD
    clock: float = field(default_factory=time.time)
    pace_s: int = 20
    command: int = 0
    silent: bool = False
    answers: dict[str, Any] = field(default_factory=dict)
    on_activate: Callable[[Unit, int], None] | None = None
    write_error: ControllerError | None = None

    def _asked(self, what: str) -> None:
        self.diary.append(f"{self.signal} {what}")
        if self.silent:
            raise ControllerUnreachable(f"{self.signal} gives no answer")

    async def discover(self) -> Capabilities:
        self._asked("discover")
        return Capabilities(16, 48, 48, 16, 4, sync_points=True, backup_time_s=self.backup_time_s)

    async def read_record(self) -> ControllerRecord:
        self._asked("record")
        return self.record

    async def find_slot(self, capabilities: Capabilities, sequence: Sequence[Sequence[int]]) -> Slot:
        self._asked("slot")
        return SLOT

    async def read_plan(self, pattern: int) -> Pattern | None:
        self._asked(f"plan {pattern}")
        return replace(PATTERN, offset_s=25)

    async def write_plan(self, slot: Slot, pattern: Pattern) -> WriteReport:
        self._asked("write")
        if self.write_error is not None:
            raise self.write_error
        return WriteReport((Written("patternCycleTime.48", 0, pattern.cycle_s),), True)

    async def write_schedule(self, entries: Sequence[ScheduleEntry]) -> WriteReport:
        raise NotImplementedError

    async def activate(self, pattern: int) -> None:
        self._asked(f"activate {pattern}")
        self.command = pattern
        if self.on_activate is not None:
            self.on_activate(self, pattern)

    async def release(self) -> None:
        self._asked("release")
        self.command = 0

    async def read_status(self) -> ControllerStatus:
        self._asked("status")
        if self.command:
            self.clock += self.pace_s
        base = ControllerStatus(
            pattern=self.command or 1,
            free_status=FreeStatus.NOT_FREE,
            in_step=True,
            alarms=(),
            in_flash=False,
            preempted=False,
            manual=False,
            utc_s=int(self.clock),
            system_pattern=self.command,
            operational_mode=0,
        )
        return replace(base, **self.answers)


@dataclass
class Notes:
    """A journal in memory."""

    lines: list[tuple[str, StepState]] = field(default_factory=list)
    steps: dict[str, Step] = field(default_factory=dict)
    details: list[dict[str, Any]] = field(default_factory=list)

    def note(self, signal: str, step: Step, **details: Any) -> None:
        self.lines.append((signal, step.state))
        self.steps[signal] = step
        self.details.append(details)


@dataclass
class Street:
    """Three units: the pilot, one of its corridor, one of the rest."""

    diary: list[str] = field(default_factory=list)
    journal: Notes = field(default_factory=Notes)
    units: dict[str, Unit] = field(default_factory=dict)
    steps: dict[str, Step] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.units = {signal: Unit(signal, self.diary) for signal in ("a", "b", "c")}

    def targets(self, pattern: Pattern = PATTERN) -> list[Target]:
        return [
            Target(Order(signal, RECORD, pattern), unit, wave, step=self.steps.get(signal, Step()))
            for wave, (signal, unit) in enumerate(self.units.items())
        ]

    def roll_out(
        self, go_on: Callable[[], None] = lambda: None, pattern: Pattern = PATTERN
    ) -> dict[str, Step]:
        return asyncio.run(roll_out(self.targets(pattern), WATCH, self.journal, go_on=go_on))

    def activations(self) -> list[str]:
        """Commands in their order, repetitions left out."""
        sent = [line for line in self.diary if "activate" in line or "release" in line]
        return [line for k, line in enumerate(sent) if line not in sent[:k]]

    def commands(self) -> list[int]:
        return [unit.command for unit in self.units.values()]


@pytest.fixture
def street() -> Street:
    return Street()


def test_each_wave_is_watched_before_the_next_is_written(street: Street) -> None:
    steps = street.roll_out()
    assert {s.state for s in steps.values()} == {StepState.RUNNING}
    assert street.activations() == ["a activate 48", "b activate 48", "c activate 48"]
    assert street.diary.index("b write") > max(k for k, line in enumerate(street.diary) if line == "a status")
    assert street.commands() == [48, 48, 48]


def test_all_units_are_looked_at_before_anything_is_written(street: Street) -> None:
    street.units["c"].answers = {"in_flash": True}
    with pytest.raises(Refused, match="c: the unit is in flash"):
        street.roll_out()
    assert not [line for line in street.diary if "write" in line or "activate" in line]


@pytest.mark.parametrize(
    ("answers", "said"),
    [
        ({"preempted": True}, "serves a preemption"),
        ({"manual": True}, "manual control"),
        ({"operational_mode": 7}, "coordOperationalMode is 7"),
        ({"system_pattern": 3}, "another central commands pattern 3"),
        ({"utc_s": int(time.time()) + 3600}, "clock is .* off"),
    ],
)
def test_a_unit_in_another_state_is_left_alone(street: Street, answers: dict[str, Any], said: str) -> None:
    street.units["a"].answers = answers
    with pytest.raises(Refused, match=said):
        street.roll_out()
    assert street.activations() == []


def test_a_unit_without_a_backup_time_is_left_alone(street: Street) -> None:
    street.units["b"].backup_time_s = 0
    with pytest.raises(Refused, match="unitBackupTime is 0"):
        street.roll_out()


def test_a_unit_whose_phases_have_drifted_is_left_alone(street: Street) -> None:
    drifted = replace(RECORD.phases[0], yellow_s=3.5)
    street.units["b"].record = replace(RECORD, phases=(drifted, RECORD.phases[1]))
    with pytest.raises(Refused, match=r"phase 2: yellow_s 3\.5, expected 4"):
        street.roll_out()


def test_differences_name_what_is_missing_and_what_is_more() -> None:
    more = ControllerRecord((*RECORD.phases, ControllerPhase(6, 2, frozenset(), 5, 4.0, 2.0)), ((2, 4), (6,)))
    assert differences_of(RECORD, more) == ("phase 6 is enabled, the plan knows none",)
    assert differences_of(more, RECORD) == ("phase 6 isn't enabled",)


def test_an_unsafe_pattern_never_reaches_a_unit(street: Street) -> None:
    short = replace(
        PATTERN, splits=(replace(PATTERN.splits[0], time_s=50), replace(PATTERN.splits[1], time_s=10))
    )
    with pytest.raises(Refused, match="safety finding"):
        street.roll_out(pattern=short)
    assert not [line for line in street.diary if "write" in line or "activate" in line]


def test_what_reads_back_otherwise_is_never_commanded(street: Street) -> None:
    street.units["a"].write_error = ReadBackDiffers("a", ["splitTime.48.2: 36, got 30"])
    with pytest.raises(Refused, match=r"splitTime\.48\.2"):
        street.roll_out()
    assert street.activations() == []
    assert street.journal.steps["a"].state is StepState.REFUSED


@pytest.mark.parametrize(
    ("answers", "said"),
    [
        ({"in_flash": True}, "went to flash"),
        ({"alarms": ("coordination fault",)}, "coordination fault"),
        ({"free_status": FreeStatus.BAD_PLAN}, "runs free"),
        ({"pattern": 1}, "coordPatternStatus is 1"),
        ({"in_step": False}, "not in step"),
        ({"system_pattern": 0}, "lost or overwritten"),
    ],
)
def test_doubt_at_the_pilot_stops_all_and_gives_it_back(
    street: Street, answers: dict[str, Any], said: str
) -> None:
    def misbehave(unit: Unit, pattern: int) -> None:
        unit.answers = answers if pattern else {}

    street.units["a"].on_activate = misbehave
    with pytest.raises(Halted, match=said) as caught:
        street.roll_out()
    assert caught.value.lost == ()
    assert street.journal.steps["a"].state is StepState.RETURNED
    assert not [line for line in street.diary if line in ("b write", "b activate 48")]


def test_doubt_in_a_later_wave_gives_all_back(street: Street) -> None:
    street.units["c"].on_activate = lambda unit, pattern: unit.answers.update(alarms=("cycle fault",))
    with pytest.raises(Halted, match="c: the unit raises cycle fault"):
        street.roll_out()
    assert street.commands() == [0, 0, 0]
    assert {s.state for s in street.journal.steps.values()} == {StepState.RETURNED}


def test_a_unit_that_has_changed_since_it_was_looked_at_isnt_written_to(street: Street) -> None:
    def manual(_unit: Unit, pattern: int) -> None:
        street.units["c"].answers = {"manual": True}

    street.units["a"].on_activate = manual
    with pytest.raises(Halted, match="c: the unit is under manual control"):
        street.roll_out()
    assert "c write" not in street.diary
    assert street.commands() == [0, 0, 0]


def test_a_unit_that_falls_silent_is_told_apart_from_those_given_back(street: Street) -> None:
    def fall_silent(unit: Unit, pattern: int) -> None:
        unit.silent = True

    street.units["b"].on_activate = fall_silent
    with pytest.raises(Halted, match="no answer from b") as caught:
        street.roll_out()
    assert caught.value.lost == ("b",)
    assert [street.journal.steps[s].state for s in "ab"] == [StepState.RETURNED, StepState.LOST]
    assert street.units["a"].command == 0


def test_a_command_whose_answer_is_lost_is_taken_back(street: Street) -> None:
    def answer_lost(unit: Unit, pattern: int) -> None:
        if pattern:
            raise ControllerUnreachable("the answer was lost")

    street.units["a"].on_activate = answer_lost
    with pytest.raises(Halted, match="the answer was lost"):
        street.roll_out()
    assert street.units["a"].command == 0


def test_a_step_is_noted_before_the_unit_is_told(street: Street) -> None:
    seen: list[StepState] = []
    street.units["a"].on_activate = lambda unit, pattern: seen.append(street.journal.steps["a"].state)
    street.roll_out()
    assert seen[0] is StepState.COMMANDED


def test_stopping_gives_all_back_unless_another_worker_goes_on(street: Street) -> None:
    def stop(hands_off: bool) -> Callable[[], None]:
        def go_on() -> None:
            if street.units["b"].command:
                raise Stopped("cancelled", hands_off=hands_off)

        return go_on

    with pytest.raises(Stopped):
        street.roll_out(stop(hands_off=True))
    assert street.commands() == [48, 48, 0]
    # the other worker goes on where this one was, and is told to stop for good
    street.steps = street.journal.steps
    with pytest.raises(Stopped):
        street.roll_out(stop(hands_off=False))
    assert street.commands() == [0, 0, 0]


def test_after_a_crash_what_was_commanded_is_watched_and_not_written_again(street: Street) -> None:
    street.steps = {"a": Step(StepState.COMMANDED, SLOT), "b": Step(StepState.WRITING, SLOT)}
    street.units["a"].command = 48
    steps = street.roll_out()
    assert {s.state for s in steps.values()} == {StepState.RUNNING}
    assert "a write" not in street.diary
    assert "b write" in street.diary


def test_after_a_crash_a_unit_that_refuses_makes_the_others_go_back(street: Street) -> None:
    street.steps = {"a": Step(StepState.RUNNING, SLOT, previous=0)}
    street.units["a"].command = 48
    street.units["c"].answers = {"manual": True}
    with pytest.raises(Halted, match="manual control"):
        street.roll_out()
    assert street.commands() == [0, 0, 0]


def test_the_command_of_an_earlier_deployment_comes_back(street: Street) -> None:
    street.units["a"].command = 40
    targets = [
        replace(
            target,
            order=replace(target.order, clock=UnitClock.SIMULATED),
            expected=40 if target.order.signal == "a" else 0,
        )
        for target in street.targets()
    ]
    asyncio.run(roll_out(targets, WATCH, street.journal))
    assert street.journal.steps["a"].previous == 40
    after = [replace(t, step=street.journal.steps[t.order.signal]) for t in targets]
    assert asyncio.run(give_all_back(after, street.journal, "rolled back")) == []
    assert street.commands() == [40, 0, 0]


def test_a_command_that_isnt_ours_any_more_stays(street: Street) -> None:
    street.units["a"].command = 12
    asyncio.run(give_back(street.units["a"], 0, 48))
    assert street.units["a"].command == 12


def test_a_unit_that_keeps_our_command_whatever_it_is_told_is_reported(
    street: Street, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("signals.deployment.push.TRIES_TO_GIVE_BACK", 2)
    street.units["a"].answers = {"system_pattern": 48}
    with pytest.raises(ControllerError, match="goes on with our command"):
        asyncio.run(give_back(street.units["a"], 0, 48))


def test_the_command_is_repeated_within_the_backup_time(street: Street) -> None:
    street.units["a"].backup_time_s = 60
    street.roll_out()
    assert street.diary.count("a activate 48") > 3 * PATTERN.cycle_s // 60


def test_a_preemption_while_watching_is_waited_for(street: Street) -> None:
    left = 5

    def preempted(unit: Unit, pattern: int) -> None:
        unit.answers = {"preempted": True, "pattern": 254}

    def go_on() -> None:
        nonlocal left
        if street.units["a"].answers:
            left -= 1
            if not left:
                street.units["a"].answers = {}

    street.units["a"].on_activate = preempted
    street.units["a"].backup_time_s = 10**6
    steps = street.roll_out(go_on)
    assert steps["a"].state is StepState.RUNNING


def test_a_dry_run_writes_nothing_and_tells_all(street: Street) -> None:
    street.units["b"].answers = {"manual": True}
    found = asyncio.run(dry_run(street.targets()))
    assert isinstance(found["b"], str)
    assert "manual control" in found["b"]
    assert not isinstance(found["a"], str)
    assert found["a"].differences == ("offset_s: 25 -> 10",)
    assert "a plan 1" in street.diary
    assert not [line for line in street.diary if "write" in line or "activate" in line]


def test_a_unit_whose_row_is_in_use_by_then_isnt_written_over(street: Street) -> None:
    unit = street.units["a"]
    unit.pace_s = 0
    found = asyncio.run(dry_run(street.targets()))["a"]
    assert not isinstance(found, str)
    unit.answers = {"pattern": SLOT.pattern}
    with pytest.raises(Refused, match="is in use now"):
        street.roll_out()
    assert isinstance(ControllerRefused("x"), ControllerError)
