"""The driver against agents that aren't ours (npm's net-snmp, Debian's snmpd), and what it makes of a unit's rows."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import pytest

from signals.controllers.base import Controller, Slot
from signals.controllers.ntcip1202 import Ntcip1202, objects_of
from signals.controllers.ntcip_database import client_of
from signals.controllers.snmp import Community, User
from signals.controllers.virtual.database import ROOM, Values
from signals.errors import ControllerRefused, ControllerUnreachable, ReadBackDiffers
from signals.model.controller import (
    FREE,
    DayPlanEvent,
    FreeStatus,
    Pattern,
    PhaseOption,
    ScheduleEntry,
    SplitMode,
    SyncPoint,
)
from tests.peers.agents import (
    AUTH_KEY,
    EIGHT_PHASES,
    PRIV_KEY,
    READ,
    WRITE,
    node_agent,
    snmpd_agent,
    unit_values,
)
from tests.signals.controllers.paper import LAGGING, SEQUENCE, PaperUnit, a_plan

T = TypeVar("T")
WRITER = Community(READ, WRITE)
ENGINEER = User("engineer", AUTH_KEY, PRIV_KEY)


@contextmanager
def verifying_node(folder: Path, values: Values) -> Iterator[int]:
    """net-snmp that plays transactions."""
    with node_agent(folder, values, verdict=3) as port:
        yield port


PEERS = {
    "net-snmp": (node_agent, WRITER),
    "net-snmp with transactions": (verifying_node, WRITER),
    "snmpd": (snmpd_agent, WRITER),
    "snmpd over SNMPv3": (snmpd_agent, ENGINEER),
}


def drive(port: int, credentials: Community | User, what: Callable[[Ntcip1202], Awaitable[T]]) -> T:
    """What comes of a session with a unit on this port."""

    async def run() -> T:
        async with client_of("127.0.0.1", port, credentials, timeout_s=0.5, retries=2) as client:
            return await what(Ntcip1202(client, verify_within_s=5))

    return asyncio.run(run())


# ------------------------------------------------------------------------------------------ independent agents


@pytest.mark.parametrize("peer", PEERS)
def test_a_plan_gets_into_a_unit_that_is_not_ours(peer: str, tmp_path: Path) -> None:
    agent, credentials = PEERS[peer]

    async def push(unit: Controller) -> None:
        limits = await unit.discover()
        assert limits == replace(ROOM, transactions="transactions" in peer)
        assert await unit.read_record() == EIGHT_PHASES
        slot = await unit.find_slot(limits, SEQUENCE)
        assert slot == Slot(48, 48, 1)
        assert await unit.read_plan(slot.pattern) is None
        report = await unit.write_plan(slot, a_plan())
        assert report.transaction is limits.transactions
        assert {w.name: w.after for w in report.written}["splitTime.48.2"] == 35
        assert await unit.read_plan(slot.pattern) == a_plan()
        assert (await unit.read_status()).system_pattern == 0
        await unit.activate(slot.pattern)
        status = await unit.read_status()
        assert (status.system_pattern, status.pattern, status.free_status) == (48, FREE, FreeStatus.COMMAND)
        assert (status.utc_s, status.alarms) == (1_000_000, ())
        await unit.release()
        assert (await unit.read_status()).system_pattern == 0

    with agent(tmp_path, unit_values()) as port:
        drive(port, credentials, push)


@pytest.mark.parametrize("peer", ["net-snmp", "snmpd"])
def test_a_sequence_and_a_schedule_get_into_a_unit_that_is_not_ours(peer: str, tmp_path: Path) -> None:
    agent, credentials = PEERS[peer]
    events = (DayPlanEvent(0, 0, FREE), DayPlanEvent(6, 30, 48))
    # dates to the 30th: neither of the two takes an INTEGER above 2^31, and the 31st is bit 31
    entry = ScheduleEntry(frozenset(range(1, 13)), frozenset(range(2, 7)), frozenset(range(1, 31)), events)

    async def push(unit: Controller) -> None:
        limits = await unit.discover()
        slot = await unit.find_slot(limits, LAGGING)
        assert slot == Slot(48, 48, 16)
        await unit.write_plan(slot, a_plan(sequence=LAGGING))
        assert await unit.read_plan(slot.pattern) == a_plan(sequence=LAGGING)
        first = await unit.write_schedule([entry])
        assert any(w.before != w.after for w in first.written)
        again = await unit.write_schedule([entry])
        assert [w.after for w in again.written if w.name == "timeBaseScheduleDayPlan.1"] == [1]
        assert all(w.before == w.after for w in again.written)
        # an action names it now
        assert (await unit.find_slot(limits, LAGGING)).pattern == 47

    with agent(tmp_path, unit_values()) as port:
        drive(port, credentials, push)


@pytest.mark.parametrize("peer", ["net-snmp", "snmpd"])
def test_a_value_that_the_unit_refuses_is_reported_with_its_object(peer: str, tmp_path: Path) -> None:
    agent, credentials = PEERS[peer]
    wild = replace(a_plan(), sync_point=9)  # type: ignore[arg-type]

    async def push(unit: Ntcip1202) -> None:
        await unit.discover()
        with pytest.raises(ControllerRefused, match=r"patternCoordSyncPoint\.48 = 9: expected 2 to 8"):
            await unit.write_plan(Slot(48, 48, 1), wild)
        with pytest.raises(ControllerRefused, match=r"systemPatternControl\.0 to 300: (badValue|wrongValue)"):
            await unit._unit.command("systemPatternControl", 300)
        assert (await unit.read_status()).system_pattern == 0

    with agent(tmp_path, unit_values()) as port:
        drive(port, credentials, push)


def test_a_half_applied_set_is_reported_and_activates_nothing(tmp_path: Path) -> None:
    # snmpd sets what it can of a message that it refuses
    values = unit_values()

    async def push(unit: Ntcip1202) -> None:
        limits = await unit.discover()
        pairs = [
            ((kind.name, index), value)
            for kind, index, value in objects_of(Slot(47, 47, 1), a_plan(), limits)
        ]
        with pytest.raises(ControllerRefused, match=r"splitTime\.47\.1 to 300: wrongValue"):
            await unit._unit.write(
                {key: 300 if key == ("splitTime", (47, 1)) else value for key, value in pairs},
                keep=("patternSplitNumber", "sequenceData"),
            )
        half = await unit.read_plan(47)
        assert half is not None
        assert half.cycle_s == 100
        assert half.splits[0].time_s == 0
        status = await unit.read_status()
        assert (status.system_pattern, status.pattern) == (0, FREE)
        assert (await unit.write_plan(Slot(47, 47, 1), a_plan())).written
        assert await unit.read_plan(47) == a_plan()

    with snmpd_agent(tmp_path, values) as port:
        drive(port, WRITER, push)


def test_a_set_that_is_ignored_without_a_word_is_found_by_read_back(tmp_path: Path) -> None:
    async def push(unit: Controller) -> None:
        with pytest.raises(ReadBackDiffers, match=r"patternOffsetTime\.48 is 0, not 30") as caught:
            await unit.write_plan(Slot(48, 48, 1), a_plan())
        assert len(caught.value.differences) == 1
        with pytest.raises(ReadBackDiffers, match=r"systemPatternControl\.0 is 0, not 48"):
            await unit.activate(48)

    with snmpd_agent(tmp_path, unit_values(), deaf=("patternOffsetTime", "systemPatternControl")) as port:
        drive(port, WRITER, push)


def test_a_verification_that_fails_is_reported_with_the_units_words(tmp_path: Path) -> None:
    async def push(unit: Controller) -> None:
        with pytest.raises(ControllerRefused, match=r"pattern 48: splits; its transaction is discarded"):
            await unit.write_plan(Slot(48, 48, 1), a_plan())
        assert (await unit.read_status()).system_pattern == 0

    with node_agent(tmp_path, unit_values(), verdict=2) as port:
        drive(port, WRITER, push)


@pytest.mark.parametrize("peer", ["net-snmp", "snmpd"])
def test_who_may_only_read_can_look_and_not_touch(peer: str, tmp_path: Path) -> None:
    agent, _ = PEERS[peer]

    async def push(unit: Controller) -> None:
        assert (await unit.discover()).max_patterns == 48
        with pytest.raises(ControllerRefused, match=r"to set pattern.*: (noAccess|authorizationError)"):
            await unit.write_plan(Slot(48, 48, 1), a_plan())
        assert await unit.read_plan(48) is None

    with agent(tmp_path, unit_values()) as port:
        drive(port, Community(READ), push)


@pytest.mark.parametrize("peer", ["net-snmp", "snmpd"])
def test_a_wrong_community_looks_like_no_unit(peer: str, tmp_path: Path) -> None:
    agent, _ = PEERS[peer]
    with (
        agent(tmp_path, unit_values()) as port,
        pytest.raises(ControllerUnreachable, match="does it know the community"),
    ):
        drive(port, Community("guess"), lambda unit: unit.discover())


# ---------------------------------------------------------------------------------------------- rows of a unit


def run(awaitable: Awaitable[T]) -> T:
    """What comes of it."""

    async def wait() -> T:
        return await awaitable

    return asyncio.run(wait())


def slot_of(unit: PaperUnit, sequence: tuple = SEQUENCE) -> Slot:
    """The slot that the driver finds."""

    async def find() -> Slot:
        driver = unit.driver
        return await driver.find_slot(await driver.discover(), sequence)

    return asyncio.run(find())


@pytest.mark.parametrize(
    "key",
    [
        ("coordPatternStatus", ()),
        ("systemPatternControl", ()),
        ("coordOperationalMode", ()),
        ("timebaseAscPattern", (64,)),
    ],
)
def test_a_pattern_that_something_refers_to_is_not_idle(key: tuple) -> None:
    unit = PaperUnit()
    unit.live[key] = 48
    assert slot_of(unit).pattern == 47


def test_a_pattern_that_shares_its_splits_with_one_in_use_is_not_idle() -> None:
    unit = PaperUnit()
    unit.live["timebaseAscPattern", (3,)] = 5
    unit.live["patternSplitNumber", (5,)] = 48
    assert slot_of(unit) == Slot(47, 47, 1)


@pytest.mark.parametrize("row", [0, 49])
def test_a_pattern_without_a_split_row_is_not_idle(row: int) -> None:
    unit = PaperUnit()
    unit.live["patternSplitNumber", (48,)] = row
    assert slot_of(unit).pattern == 47


def test_an_empty_row_goes_before_a_filled_one() -> None:
    unit = PaperUnit()
    for n in range(20, 49):
        unit.live["patternCycleTime", (n,)] = 90
    assert slot_of(unit).pattern == 19
    for n in range(1, 20):
        unit.live["patternCycleTime", (n,)] = 90
    assert slot_of(unit).pattern == 48


def test_the_split_row_is_the_one_that_the_unit_says() -> None:
    unit = PaperUnit()
    unit.live["patternSplitNumber", (48,)] = 7
    assert slot_of(unit) == Slot(48, 7, 1)


def test_a_unit_without_an_idle_pattern_is_refused() -> None:
    unit = PaperUnit()
    unit.live["maxPatterns", ()] = 2
    unit.live["timebaseAscPattern", (1,)] = 1
    unit.live["timebaseAscPattern", (2,)] = 2
    with pytest.raises(ControllerRefused, match="no pattern row is idle: of 2, 2 run"):
        slot_of(unit)


def test_a_sequence_row_that_holds_the_sequence_is_taken() -> None:
    unit = PaperUnit()
    unit.live["sequenceData", (4, 1)] = bytes(LAGGING[0])
    assert slot_of(unit, LAGGING).sequence == 4


def test_a_sequence_row_of_a_pattern_in_use_is_not_idle() -> None:
    unit = PaperUnit()
    unit.live["timebaseAscPattern", (1,)] = 3
    unit.live["patternSequenceNumber", (3,)] = 16
    assert slot_of(unit, LAGGING).sequence == 15
    unit.live["maxSequences", ()] = 1
    with pytest.raises(ControllerRefused, match="no sequence row is idle: of 1"):
        slot_of(unit, LAGGING)


# ------------------------------------------------------------------------------------------- what a unit says


def test_a_unit_whose_patterns_are_no_rows_is_refused() -> None:
    unit = PaperUnit()
    unit.live["patternTableType", ()] = 3
    with pytest.raises(ControllerRefused, match="patternTableType is 3, expected 2"):
        run(unit.driver.discover())


def test_a_unit_of_an_older_version_has_no_sync_points_and_no_time_base() -> None:
    unit = PaperUnit(transactions=False)
    for key in list(unit.live):
        if key[0] in ("patternCoordSyncPoint", "maxTimebaseAscActions", "maxDayPlans", "unitBackupTime"):
            del unit.live[key]
    limits = run(unit.driver.discover())
    assert (limits.sync_points, limits.transactions) == (False, False)
    assert (limits.max_actions, limits.max_day_plans, limits.backup_time_s) == (0, 0, 0)
    assert "patternCoordSyncPoint" not in [
        kind.name for kind, _, _ in objects_of(Slot(1, 1, 1), a_plan(), limits)
    ]
    run(unit.driver.write_plan(Slot(48, 48, 1), a_plan()))
    held = run(unit.driver.read_plan(48))
    assert held == replace(a_plan(), sync_point=SyncPoint.UNIT)


def test_a_unit_that_lacks_a_limit_is_refused() -> None:
    unit = PaperUnit()
    del unit.live["maxSplits", ()]
    with pytest.raises(ControllerRefused, match=r"has no such object: maxSplits\.0"):
        run(unit.driver.discover())


def test_phases_that_are_not_enabled_are_no_phases() -> None:
    unit = PaperUnit()
    unit.live["phaseOptions", (3,)] = int(PhaseOption.DUAL_ENTRY)
    assert [phase.number for phase in run(unit.driver.read_record()).phases] == [1, 2, 4, 5, 6, 7, 8]
    for n in range(1, 9):
        unit.live["phaseOptions", (n,)] = 0
    with pytest.raises(ControllerRefused, match="none of its phases 1 to 16 is enabled"):
        run(unit.driver.read_record())


def test_tenths_and_octets_of_a_phase_are_read_as_such() -> None:
    unit = PaperUnit()
    unit.live |= {
        ("phaseYellowChange", (2,)): 43,
        ("phaseRedClear", (2,)): 17,
        ("phasePassage", (2,)): 33,
        ("phaseConcurrency", (2,)): b"\x05\x06\x00\x10",
        ("phaseOptions", (2,)): int(PhaseOption.ENABLED | PhaseOption.PED_RECALL),
    }
    phase = run(unit.driver.read_record()).by_number[2]
    assert (phase.yellow_s, phase.red_clear_s, phase.passage_s) == (4.3, 1.7, 3.3)
    assert phase.concurrent == {5, 6, 16}
    assert phase.options == PhaseOption.ENABLED | PhaseOption.PED_RECALL


def test_a_plan_with_every_mode_is_read_as_written() -> None:
    modes = list(SplitMode)
    splits = tuple(replace(split, mode=modes[k % len(modes)]) for k, split in enumerate(a_plan().splits))
    plan = Pattern(255, 254, splits, LAGGING, SyncPoint.LAST_YELLOW_END)
    unit = PaperUnit()
    slot = slot_of(unit, LAGGING)
    run(unit.driver.write_plan(slot, plan))
    assert run(unit.driver.read_plan(slot.pattern)) == plan


def test_a_plan_in_terms_of_no_standard_is_not_guessed_at() -> None:
    unit = PaperUnit()
    run(unit.driver.write_plan(Slot(48, 48, 1), a_plan()))
    unit.live["splitMode", (48, 2)] = 1
    with pytest.raises(ControllerRefused, match="pattern 48 can't be read"):
        run(unit.driver.read_plan(48))


ALARMS = {
    ("unitAlarmStatus1", 5): "local flash",
    ("unitAlarmStatus1", 4): "MMU flash",
    ("unitAlarmStatus1", 3): "cycle fail",
    ("unitAlarmStatus1", 2): "coordination fail",
    ("unitAlarmStatus1", 1): "coordination fault",
    ("unitAlarmStatus1", 0): "cycle fault",
    ("unitAlarmStatus2", 4): "stop time",
    ("shortAlarmStatus", 4): "coordination alarm",
}


@pytest.mark.parametrize("name", ["unitAlarmStatus1", "unitAlarmStatus2", "shortAlarmStatus"])
@pytest.mark.parametrize("bit", range(8))
def test_bits_of_alarms_have_words_where_they_are_alarms(name: str, bit: int) -> None:
    unit = PaperUnit()
    unit.live[name, ()] = 1 << bit
    words = ALARMS.get((name, bit))
    status = run(unit.driver.read_status())
    assert status.alarms == (() if words is None else (words,))
    assert status.in_step is ((name, bit) != ("unitAlarmStatus2", 5))
    assert status.manual is ((name, bit) == ("shortAlarmStatus", 3))


@pytest.mark.parametrize(
    ("key", "value", "field"),
    [
        (("unitFlashStatus", ()), 6, "in_flash"),
        (("coordPatternStatus", ()), 255, "in_flash"),
        (("preemptState", (4,)), 5, "preempted"),
        (("unitControlStatus", ()), 5, "manual"),
    ],
)
def test_a_unit_out_of_its_normal_course_says_so(key: tuple, value: int, field: str) -> None:
    unit = PaperUnit()
    assert getattr(run(unit.driver.read_status()), field) is False
    unit.live[key] = value
    assert getattr(run(unit.driver.read_status()), field) is True


def test_a_unit_in_transition_is_not_in_step() -> None:
    unit = PaperUnit()
    unit.live["localFreeStatus", ()] = 4
    assert run(unit.driver.read_status()).in_step is False


def test_a_status_needs_no_object_that_only_some_units_have() -> None:
    unit = PaperUnit()
    for name in (
        "unitAlarmStatus1",
        "unitAlarmStatus2",
        "shortAlarmStatus",
        "unitFlashStatus",
        "maxPreempts",
    ):
        del unit.live[name, ()]
    status = run(unit.driver.read_status())
    assert (status.alarms, status.in_flash, status.preempted) == ((), False, False)


@pytest.mark.parametrize("pattern", [0, -1, 256])
def test_what_is_no_pattern_is_not_commanded(pattern: int) -> None:
    unit = PaperUnit()
    with pytest.raises(ControllerRefused, match=f"pattern {pattern}: expected 1 to 255"):
        run(unit.driver.activate(pattern))
    assert unit.sets == []


def test_a_whole_push_takes_few_messages(tmp_path: Path) -> None:
    async def push() -> int:
        async with client_of("127.0.0.1", port, WRITER) as client:
            unit = Ntcip1202(client)
            limits = await unit.discover()
            await unit.read_record()
            slot = await unit.find_slot(limits, SEQUENCE)
            await unit.write_plan(slot, a_plan())
            await unit.activate(slot.pattern)
            await unit.read_status()
            return client.questions

    with snmpd_agent(tmp_path, unit_values()) as port:
        assert asyncio.run(push()) <= 24
