"""A night as an engine: what it writes, what it doesn't do twice, and what goes wrong without stopping it."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from signals.errors import Conflict, InputError
from signals.formats.city import ApprovalBounds
from signals.model.night import DayType
from signals.model.night_notes import ApprovalState
from signals.nightly import night as engine
from signals.nightly.approvals import decide, read_approvals
from signals.nightly.folder import night_folder, read_group
from signals.nightly.in_force import plans_in_force, set_in_place
from signals.nightly.night import run_night
from signals.nightly.pool import open_pool
from tests.signals.nightly.fakes import DAY, OPTIONS, STEPS, WITH_SUMO, City

SERIAL = partial(open_pool, 0, None)
NOW = datetime(2026, 3, 2, 8, 0, tzinfo=UTC)


def ran(city: City, day: date = DAY, **changed: Any) -> dict[str, Any]:
    """A night in this process."""
    given = {"options": OPTIONS, "steps": STEPS, "pool_in": SERIAL, **changed}
    city.folder.mkdir(exist_ok=True)
    return run_night(city, city.folder, day, **given)


def results(city: City, day: date = DAY) -> dict[str, bytes]:
    """Every file of a night that is the same in every run of it."""
    folder = night_folder(city.folder, day).path
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name not in ("timings.json", ".lock")
    }


@pytest.fixture
def order(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Orders faults by group, part or what SUMO says."""
    return lambda **faults: monkeypatch.setenv(
        "CITY_FAULTS", json.dumps({k.replace("__", ":"): v for k, v in faults.items()})
    )


def test_a_night_leaves_its_files_and_says_what_came_of_it(tmp_path: Path) -> None:
    city = City(tmp_path, 5)
    facts = ran(city, options=WITH_SUMO)
    names = set(results(city))
    assert {"demand/000.npz", "demand/001.npz", "subareas.json", "approvals.json", "night.json"} <= names
    assert {"groups/s04.json", "groups/s04.add.xml", "validation/s04.json", "inputs.json"} <= names
    assert facts["signals"] == facts["signals_planned"] == 5
    assert facts["groups"] == facts["groups_planned"] == 3
    assert facts["validation"] == {"better": 3}
    assert facts["approvals"]["waiting"] == 3
    assert facts["delay_veh_h"]["after"] < facts["delay_veh_h"]["before"]
    assert facts["problems"] == ["counts of 000: a remark", "counts of 001: a remark"]
    assert facts["timings"]["signals_per_hour"] > 0
    assert "signals_per_hour" not in json.loads(results(city)["night.json"])


def test_a_night_that_is_through_does_nothing_again(tmp_path: Path) -> None:
    city = City(tmp_path)
    ran(city, options=WITH_SUMO)
    before = results(city)
    again = ran(city, options=WITH_SUMO)
    stages = again["timings"]["stages"]
    made = {name: stage["made"] for name, stage in stages.items() if name not in ("network", "report")}
    assert made == {"forecast": 0, "subareas": 0, "plans": 0, "validation": 0}
    assert stages["plans"]["there"] == 4
    assert again["timings"]["signals_per_hour"] is None
    assert results(city) == before


@pytest.mark.parametrize(
    "lost", ["demand/001.npz", "groups/s02.json", "subareas.json", "validation/s02.json"]
)
def test_what_is_missing_or_broken_is_made_again_and_nothing_else(tmp_path: Path, lost: str) -> None:
    city = City(tmp_path)
    ran(city, options=WITH_SUMO)
    before = results(city)
    path = night_folder(tmp_path, DAY).path / lost
    for harm in (
        path.unlink,
        lambda: path.write_bytes(path.read_bytes()[:-9]),
        lambda: path.write_bytes(b""),
    ):
        harm()
        stages = ran(city, options=WITH_SUMO)["timings"]["stages"]
        assert sum(stage["made"] for name, stage in stages.items() if name not in ("network", "report")) == 1
        assert results(city) == before


def test_changed_counts_renew_what_depends_on_them_and_it_is_said(tmp_path: Path) -> None:
    ran(City(tmp_path, 8))
    told: list[str] = []
    city = City(tmp_path, 8, levels={1: 20.0})
    stages = ran(city, tell=told.append)["timings"]["stages"]
    assert told == ["changed since this night was begun: counts of 001; what depends on it is made anew"]
    assert stages["forecast"]["made"] == 1
    assert (stages["plans"]["there"], stages["plans"]["made"]) == (2, 2)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda city: {"options": replace(OPTIONS, request=replace(OPTIONS.request, seed=2))}, "the options"),
        (lambda city: setattr(city, "signals", 6) or {}, "the network"),
    ],
    ids=["options", "network"],
)
def test_other_inputs_renew_every_plan(
    tmp_path: Path, change: Callable[[City], dict[str, Any]], named: str
) -> None:
    city = City(tmp_path, 8)
    ran(city)
    told: list[str] = []
    stages = ran(city, tell=told.append, **change(city))["timings"]["stages"]
    assert named in told[0]
    assert stages["plans"]["there"] == 0
    assert {path.name for path in (night_folder(tmp_path, DAY).path / "groups").glob("*.json")} == {
        f"s{k:02d}.json" for k in range(0, city.signals, 2)
    }


def test_other_code_renews_everything(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    city = City(tmp_path)
    ran(city)
    for module in (engine, sys.modules["signals.nightly.stages"]):
        monkeypatch.setattr(module, "code_digest", lambda: "0.0.0-other")
    told: list[str] = []
    stages = ran(city, tell=told.append)["timings"]["stages"]
    assert "Greensplit" in told[0]
    assert [stages[name]["there"] for name in ("forecast", "subareas", "plans")] == [0, 0, 0]


def test_one_groups_failure_stops_nobody_and_is_not_tried_again(
    tmp_path: Path, order: Callable[..., None]
) -> None:
    city = City(tmp_path)
    order(s02="fail", s04="break")
    facts = ran(city)
    assert facts["groups_planned"] == 2
    assert facts["failed"]["s02"] == "s02: fits no cycle"
    assert facts["failed"]["s04"].startswith("fault in Greensplit, ZeroDivisionError at fakes.py:")
    assert "groups/s02.add.xml" not in results(city)
    assert ran(city)["timings"]["stages"]["plans"]["made"] == 0


def test_what_failed_for_want_of_space_is_tried_again(tmp_path: Path, order: Callable[..., None]) -> None:
    city = City(tmp_path / "city")
    order(s02="full")
    assert ran(city)["failed"] == {"s02": "OSError: no space left on device"}
    order()
    assert ran(city)["failed"] == {}
    undisturbed = City(tmp_path / "other")
    ran(undisturbed)
    assert results(city) == results(undisturbed)


def test_groups_whose_counts_can_not_be_forecast_have_no_plans(tmp_path: Path) -> None:
    facts = ran(City(tmp_path, 8, levels={1: -1.0}))
    assert sorted(facts["failed"]) == ["s04", "s06"]
    assert "no forecast of its demand; counts of 001" in facts["failed"]["s04"]
    with pytest.raises(InputError, match="no forecast of 2026-03-02 can be made"):
        ran(City(tmp_path, 4, levels={0: -1.0}))


def test_a_plan_that_sumo_does_not_find_better_stays_from_the_street(
    tmp_path: Path, order: Callable[..., None]
) -> None:
    bounds = ApprovalBounds(automatic=True, max_split_change_s=2.0, max_offset_change_s=2.0)
    city = City(tmp_path, bounds=bounds)
    order(s02__says="worse", s04__sumo="fail")
    ran(city, options=WITH_SUMO)
    found = read_approvals(night_folder(tmp_path, DAY))
    assert found is not None
    assert {a.group: (a.state, a.by) for a in found[1]} == {
        "s00": (ApprovalState.AUTOMATIC, ""),
        "s02": (ApprovalState.KEPT, ""),
        "s04": (ApprovalState.WAITING, ""),
        "s06": (ApprovalState.AUTOMATIC, ""),
    }


@pytest.mark.parametrize(
    ("bounds", "why"),
    [
        (ApprovalBounds(automatic=True, max_split_change_s=1.0), "a green changes by 2 s, more than 1 s"),
        (ApprovalBounds(automatic=True, max_offset_change_s=1.0), "an offset changes by 2 s, more than 1 s"),
        (ApprovalBounds(), "a person approves each plan here"),
    ],
    ids=["split", "offset", "by hand"],
)
def test_plans_beyond_the_agencys_bounds_wait(tmp_path: Path, bounds: ApprovalBounds, why: str) -> None:
    ran(City(tmp_path, bounds=bounds), options=WITH_SUMO)
    found = read_approvals(night_folder(tmp_path, DAY))
    assert found is not None
    assert {(a.state, a.reason) for a in found[1]} == {(ApprovalState.WAITING, why)}


def test_without_sumo_nothing_is_approved_by_itself(tmp_path: Path) -> None:
    facts = ran(City(tmp_path, bounds=ApprovalBounds(automatic=True)))
    assert facts["approvals"]["waiting"] == 4


# ----------------------------------------------------------------------------------------------- decisions


def test_what_is_approved_is_in_force_the_next_day_of_its_kind(tmp_path: Path) -> None:
    city = City(tmp_path)
    ran(city)
    folder = night_folder(tmp_path, DAY)
    decided = decide(folder, ["s02"], approved=True, by="Ada", at=NOW, note="seen on site")
    assert [(a.state, a.by, a.at) for a in decided] == [("approved", "Ada", "2026-03-02T08:00:00+00:00")]
    plans = read_group(folder.group("s02")).plans  # type: ignore[union-attr]
    assert plans is not None
    force = plans_in_force(tmp_path, date(2026, 3, 3), DayType.WEEKDAY, city.network())
    assert set(force.sets) == {"s02", "s03"}
    assert force.sets["s02"].digest == plans.digest == force.origin["s02"].plan
    assert force.design_vph["s02:m"][0] == 40.0
    for day, kind in ((DAY, DayType.WEEKDAY), (date(2026, 3, 7), DayType.SATURDAY)):
        assert not plans_in_force(tmp_path, day, kind, city.network()).sets
    event = plans_in_force(tmp_path, date(2026, 3, 4), DayType.EVENT, city.network())
    assert set(event.sets) == {"s02", "s03"}
    facts = ran(city, date(2026, 3, 3))
    assert facts["signals_with_a_plan_in_force"] == 2
    found = read_group(night_folder(tmp_path, date(2026, 3, 3)).group("s02"))
    assert found is not None
    assert found.plans is not None
    # one second more than the plan in force, which has one more than the network's program
    assert found.plans.periods[0]["s02"].program.intervals[0].duration_s == 22.0


def test_a_decision_outlives_another_run_but_not_another_plan(tmp_path: Path) -> None:
    city = City(tmp_path)
    ran(city)
    folder = night_folder(tmp_path, DAY)
    decide(folder, [], approved=True, by="Ada", at=NOW)
    decide(folder, ["s04"], approved=False, by="Ben", at=NOW, note="a school is near")
    counts = ran(city)["approvals"]
    assert (counts["approved"], counts["rejected"], counts["waiting"]) == (3, 1, 0)
    city.levels = {1: 30.0}
    counts = ran(city)["approvals"]
    assert (counts["approved"], counts["rejected"], counts["waiting"]) == (2, 0, 2)


def test_nobody_approves_what_has_no_plans(tmp_path: Path, order: Callable[..., None]) -> None:
    city = City(tmp_path)
    order(s02="fail")
    ran(city)
    with pytest.raises(Conflict, match="group s02 is failed"):
        decide(night_folder(tmp_path, DAY), ["s02"], approved=True, by="Ada", at=NOW)
    with pytest.raises(InputError, match="say who decides"):
        decide(night_folder(tmp_path, DAY), ["s00"], approved=True, by=" ", at=NOW)


def test_broken_decisions_are_not_overwritten(tmp_path: Path) -> None:
    city = City(tmp_path)
    ran(city)
    night_folder(tmp_path, DAY).decisions.write_text("{")
    with pytest.raises(InputError, match="mend it"):
        ran(city)


def test_plans_of_two_sets_are_one_with_a_period_for_each_change(tmp_path: Path) -> None:
    city = City(tmp_path, 6)
    ran(city)
    folder = night_folder(tmp_path, DAY)
    sets = {g: read_group(folder.group(g)).plans for g in ("s00", "s02")}  # type: ignore[union-attr]
    merged = set_in_place(city.network(), ["s00", "s02", "s05"], sets)  # type: ignore[arg-type]
    assert merged is not None
    assert len(merged.periods) == 3
    for signal, own in sets.items():
        assert own is not None
        for time_s in (0.0, 43100.0, 43300.0):
            k = sum(time_s >= t for t in merged.switch_times[signal])
            then = sum(time_s >= t for t in own.switch_times[signal])
            assert merged.periods[k][signal] == own.periods[then][signal]
    assert {row["s05"].program.intervals[0].duration_s for row in merged.periods} == {20.0}
    assert set_in_place(city.network(), ["s05"], sets) is None  # type: ignore[arg-type]


# ------------------------------------------------------------------------------------------- one at a time


def test_two_nights_of_one_day_do_not_run_at_once(tmp_path: Path) -> None:
    city = City(tmp_path)
    with night_folder(tmp_path, DAY).locked(), pytest.raises(Conflict, match="another process works"):
        ran(city)
    assert ran(city)["groups_failed"] == 0


def test_half_written_files_of_a_killed_night_are_removed(tmp_path: Path) -> None:
    city = City(tmp_path)
    ran(city)
    left = night_folder(tmp_path, DAY).path / "groups" / ".greensplit-abc"
    left.write_bytes(b"half")
    ran(city)
    assert not left.exists()
