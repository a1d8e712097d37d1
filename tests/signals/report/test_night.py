"""A night's figures: sums that can be done by hand, and what counts as changed."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest

from signals.model.network import Network, Turn
from signals.model.night import Change, Expected, GroupNight
from signals.model.night_notes import AgeingAlarm, ApprovalLine, ApprovalState, DataProblem
from signals.model.phasing import SignalProgram
from signals.model.plan import TimingPlan
from signals.report.night import VehicleHours
from signals.report.night_words import change_text, movements_text
from tests.signals.report.made_up import DAY, failed_group, lengthened, make_group, make_report, read_arterial


@pytest.fixture(scope="module")
def network() -> Network:
    return read_arterial()


@pytest.fixture(scope="module")
def group(network: Network) -> GroupNight:
    return make_group(network, "g", ("j1", "j2"), np.random.default_rng(1))


def with_delays(group: GroupNight, before_s: float, after_s: float, vehicles: float) -> GroupNight:
    def row(mean_s: float) -> Expected:
        return Expected(mean_s, mean_s / 2, 2 * mean_s)

    rows = {
        s: tuple(replace(r, before=row(before_s), after=row(after_s), vehicles=vehicles) for r in of_signal)
        for s, of_signal in (group.signals or {}).items()
    }
    return replace(group, signals=rows)


def test_delays_add_up_to_vehicle_hours(network: Network, group: GroupNight) -> None:
    # 2 signals, 5 periods, 360 vehicles each: 3,600 vehicles, so 36 s are 36 veh·h and 27 s 27
    report = make_report(network, [with_delays(group, 36.0, 27.0, 360.0)])
    assert report.totals.before == VehicleHours(pytest.approx(36.0), pytest.approx(18.0), pytest.approx(72.0))
    assert report.totals.after.mean == pytest.approx(27.0)
    assert report.totals.saved_veh_h == pytest.approx(9.0)
    assert report.totals.waiting_veh_h == pytest.approx(9.0)


@pytest.mark.parametrize("state", [ApprovalState.KEPT, ApprovalState.REJECTED, ApprovalState.REFUSED])
def test_plans_that_stay_in_place_save_nothing(
    network: Network, group: GroupNight, state: ApprovalState
) -> None:
    report = make_report(
        network, [with_delays(group, 36.0, 27.0, 360.0)], approvals={"g": ApprovalLine(state)}
    )
    assert report.totals.after == report.totals.before
    assert report.totals.changed == 0
    assert report.groups[0].saved_veh_h == pytest.approx(9.0)


def test_a_failed_group_saves_nothing_and_is_counted(network: Network, group: GroupNight) -> None:
    refused = replace(
        group, failed="the safety check refuses it", findings=("j1: 0 s between links 2 and 5",)
    )
    report = make_report(network, [refused, failed_group("h", ("j3",), "no counts")])
    assert report.totals.by_state == {"failed": 2}
    assert report.totals.after == report.totals.before
    assert report.totals.signals == 3
    assert report.totals.planned == 0


def test_a_signal_has_changed_where_the_street_shows_something_else(
    network: Network, group: GroupNight
) -> None:
    program = network.intersections["j1"].program
    assert program is not None
    assert group.signals is not None
    assert group.plans is not None
    rows = tuple(replace(r, cycle_s=program.cycle_s, changes=()) for r in group.signals["j1"])

    def why(plan: SignalProgram) -> set[tuple[str, ...]]:
        periods = tuple({"j1": TimingPlan(plan)} for _ in rows)
        one = replace(group, signals={"j1": rows}, plans=replace(group.plans, periods=periods))
        (signal,) = make_report(network, [one]).groups[0].of_signals
        assert signal.changed == any(r.why for r in signal.rows)
        return {r.why for r in signal.rows}

    first, *rest = program.intervals
    assert why(program) == {()}
    assert why(replace(program, offset_s=program.offset_s - program.cycle_s)) == {()}
    turned = replace(program, intervals=(*rest, first), offset_s=program.offset_s + first.duration_s)
    assert why(turned) == {()}
    assert why(replace(program, offset_s=program.offset_s + 1.0)) == {("the offset alone",)}


def test_what_is_in_place_is_the_plan_in_force_at_that_time_of_day(
    network: Network, group: GroupNight
) -> None:
    assert group.plans is not None
    (row, *_) = group.plans.periods
    switches = dict.fromkeys(row, (20 * 3600.0,))
    longer = {s: TimingPlan(lengthened(p.program, 10)) for s, p in row.items()}
    in_force = replace(group.plans, periods=(row, longer), switch_times=switches)
    (told,) = make_report(network, [group], in_place={"g": in_force}).groups
    cycle_s = row["j1"].program.cycle_s
    assert [r.cycle_before_s for r in told.of_signals[0].rows] == [cycle_s] * 4 + [cycle_s + 10]


@pytest.mark.parametrize(
    ("from_s", "to_s", "demand", "cycle", "said"),
    [
        (20.0, 17.0, -12.0, None, "stage 4 (a, b) loses 3 s: its demand fell 12 %"),
        (20.0, 26.0, 12.4, 10.0, "stage 4 (a, b) gains 6 s: its demand rose 12 %"),
        (20.0, 17.0, 5.0, -10.0, "stage 4 (a, b) loses 3 s: the cycle is shorter, though its demand rose 5 %"),
        (
            20.0, 17.0, 0.4, 0.0,
            "stage 4 (a, b) loses 3 s: they save more in other stages, its demand is the same",
        ),
        (20.0, 23.0, None, 5.0, "stage 4 (a, b) gains 3 s: the cycle is longer"),
        (
            20.0, 23.0, -9.0, None,
            "stage 4 (a, b) gains 3 s: they save more here than in other stages, "
            "though its demand fell 9 %",
        ),
        (20.0, 0.0, None, None, "stage 4 (a, b) is left out, 20 s before"),
        (0.0, 8.0, None, None, "stage 4 (a, b) is new, with 8 s"),
        (20.0, 20.2, 50.0, 10.0, ""),
    ],
)  # fmt: skip
def test_a_change_has_its_reason(
    network: Network, from_s: float, to_s: float, demand: float | None, cycle: float | None, said: str
) -> None:
    assert change_text(network, "elsewhere", Change(4, ("a", "b"), from_s, to_s, demand), cycle) == said


def test_movements_are_named_by_approach_and_turn(network: Network) -> None:
    intersection = network.intersections["j1"]
    bound = {a.edge: a.bound for a in intersection.approaches}
    first = intersection.movements[0]
    same = [m.id for m in intersection.movements if m.approach == first.approach]
    assert movements_text(network, "j1", [*same, "stranger"]) == f"{bound[first.approach]}, stranger"
    left = next(m for m in intersection.movements if m.turn is Turn.LEFT)
    through = next(
        m for m in intersection.movements if m.approach == left.approach and m.turn is Turn.THROUGH
    )
    assert movements_text(network, "j1", [through.id, left.id]) == f"{bound[left.approach]} left/through"


def test_the_figures_are_json(network: Network, group: GroupNight) -> None:
    broken = with_delays(group, math.inf, 27.0, 360.0)
    told = json.loads(json.dumps(make_report(network, [broken]).to_json(), allow_nan=False))
    assert told["day"] == DAY.isoformat()
    assert told["groups"][0]["of_signals"][0]["rows"][0]["figures"]["before"]["mean_s"] is None
    assert told["alarms"][0]["drift_percent"] == pytest.approx(30.0)
    assert told["totals"]["by_state"] == {"waiting": 1}


def test_shares_and_predictions_that_cannot_be_are_refused() -> None:
    with pytest.raises(ValueError, match="must be 0 to 1"):
        DataProblem("e", "r", 1.2, False)
    with pytest.raises(ValueError, match="must be positive"):
        AgeingAlarm("g", 0.0, 10.0, DAY, 1)
