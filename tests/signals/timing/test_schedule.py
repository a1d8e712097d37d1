"""Time of day: between the bounds, as good as trying everything on small days, and within every limit."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations, product
from typing import Any

import numpy as np
import pytest

from signals.model.night import DaySchedule
from signals.model.plan import Objective
from signals.timing import schedule
from signals.timing.measures import LaneGroup, measure_lane_group
from signals.timing.schedule import ScheduleRequest, schedule_day
from signals.timing.signal_day import SignalDay

SLOTS = 96
CYCLES_S = (60, 80, 100)


def made_up(seed: int = 0, slots: int = SLOTS, n: int = 3, **changes: Any) -> SignalDay:
    """A signal whose lanes peak in the morning or in the evening, with nobody about from 1 to 4 at night."""
    rng = np.random.default_rng(seed)
    m = 2 * n
    hour = (np.arange(slots)[:, None] + 0.5) * 24 / slots
    morning, evening = rng.uniform(0.1, 1.0, m), rng.uniform(0.1, 1.0, m)
    shape = 0.1 + morning * np.exp(-0.5 * (hour - 8) ** 2) + evening * np.exp(-0.5 * ((hour - 17) / 1.3) ** 2)
    shape = np.where((hour > 1) & (hour < 4), 0.0, shape)
    share = np.zeros((slots, n, m))
    for lane in range(m):
        share[:, lane % n, lane] = 1.0
    share[:, 0, 1] = rng.uniform(0.1, 0.5, slots)
    saturation = np.full((slots, m), 0.5)
    fields: dict[str, Any] = {
        "name": f"s{seed}",
        "share": share,
        "fixed_s": np.full((slots, m), -1.0),
        "saturation": saturation,
        "flow": shape * saturation * 0.7 / n,
        "least_s": np.full(n, 6),
        "most_s": np.full(n, 80),
        "change_s": 5 * n,
        "min_cycle_s": 40,
        "max_cycle_s": 120,
    }
    return SignalDay(**{**fields, **changes})


def small_day(seed: int = 0) -> SignalDay:
    """Eight slots of three hours, two stages."""
    return made_up(seed, slots=8, n=2)


SMALL = ScheduleRequest(
    max_plans=3, min_duration_min=180, grid_min=180, slot_min=180, marginal_gain=0.0, switch_delay_s=40.0
)


def hcm_veh_h(signal: SignalDay, slot: int, green: tuple[int, ...], slot_h: float) -> float:
    """Delay of everybody in a slot, lane group by lane group from HCM."""
    cycle = signal.change_s + sum(green)
    total = 0.0
    for lane in range(signal.flow.shape[1]):
        effective = signal.fixed_s[slot, lane] + float(np.dot(signal.share[slot, :, lane], green))
        group = LaneGroup(
            volume_vph=3600 * signal.flow[slot, lane],
            saturation_flow_vph=3600 * signal.saturation[slot, lane],
            effective_green_s=min(max(effective, 0.5), cycle),
            cycle_s=cycle,
            analysis_period_h=slot_h,
        )
        total += 3600 * signal.flow[slot, lane] * slot_h * measure_lane_group(group).control_delay_s / 3600
    return total


def worth(found: DaySchedule, signals: list[SignalDay], slot_min: int = 15) -> float:
    """What HCM says of a schedule, slot by slot, changes aside."""
    total = 0.0
    for period in found.periods:
        for slot in range(period.begin_min // slot_min, period.end_min // slot_min):
            total += sum(hcm_veh_h(s, slot, period.green_s[s.name], slot_min / 60) for s in signals)
    return total


def plans_of(found: DaySchedule) -> set[Any]:
    """The plans of a schedule, each once."""
    return {(p.cycle_s, tuple(sorted(p.green_s.items()))) for p in found.periods}


def cost_of(found: DaySchedule) -> float:
    """Delay and changes."""
    return found.delay_veh_h + found.transition_veh_h


@pytest.fixture(scope="module")
def day() -> DaySchedule:
    """The schedule of a group of two."""
    return schedule_day([made_up(1), made_up(2, n=4)], CYCLES_S, ScheduleRequest())


def test_a_schedule_lies_between_its_bounds(day: DaySchedule) -> None:
    assert day.wait_and_see_veh_h < cost_of(day) < day.one_plan_veh_h
    assert day.one_plan_veh_h == day.by_plans[0]
    assert 1 < len(plans_of(day)) <= 8


def test_a_schedule_is_worth_what_hcm_says_slot_by_slot(day: DaySchedule) -> None:
    assert day.delay_veh_h == pytest.approx(worth(day, [made_up(1), made_up(2, n=4)]))


def test_more_plans_never_cost_more(day: DaySchedule) -> None:
    assert len(day.by_plans) == 8
    assert all(b <= a for a, b in zip(day.by_plans, day.by_plans[1:], strict=False))


def test_as_many_plans_as_are_worth_their_marginal_gain() -> None:
    signals = [made_up(1)]
    greedy = schedule_day(signals, CYCLES_S, ScheduleRequest(marginal_gain=0.0))
    thrifty = schedule_day(signals, CYCLES_S, ScheduleRequest(marginal_gain=0.02))
    none = schedule_day(signals, CYCLES_S, ScheduleRequest(marginal_gain=0.9))
    assert greedy.by_plans == thrifty.by_plans == none.by_plans
    assert cost_of(greedy) == pytest.approx(min(greedy.by_plans))
    assert len(plans_of(none)) == 1 < len(plans_of(thrifty)) < len(plans_of(greedy))
    k, prices = (
        len(plans_of(thrifty)),
        [c + 0.02 * thrifty.by_plans[0] * n for n, c in enumerate(thrifty.by_plans)],
    )
    assert prices[k - 1] == min(prices)


def test_the_price_of_changes_is_half_a_red_for_those_who_arrive_in_two_minutes(day: DaySchedule) -> None:
    signals = [made_up(1), made_up(2, n=4)]
    price = sum(s.flow[p.begin_min // 15].sum() * 120 * 15 / 3600 for s in signals for p in day.periods[1:])
    assert day.transition_veh_h == pytest.approx(price)


def test_dear_changes_leave_one_plan() -> None:
    found = schedule_day([made_up(1)], CYCLES_S, ScheduleRequest(switch_delay_s=1e6))
    assert len(plans_of(found)) == 1
    assert found.transition_veh_h == 0.0
    assert found.delay_veh_h == pytest.approx(found.one_plan_veh_h)


@pytest.mark.parametrize(
    "request_",
    [
        ScheduleRequest(max_plans=2),
        ScheduleRequest(max_plans=1),
        ScheduleRequest(min_duration_min=200),
        ScheduleRequest(most_changes=3),
        ScheduleRequest(grid_min=15, min_duration_min=15),
    ],
)
def test_limits_are_kept(request_: ScheduleRequest) -> None:
    signals = [made_up(1), made_up(3)]
    found = schedule_day(signals, CYCLES_S, request_)
    assert found.periods[-1].end_min == 1440
    assert len(plans_of(found)) <= request_.max_plans
    assert len(found.periods) <= request_.most_changes
    for period in found.periods:
        assert period.end_min - period.begin_min >= request_.min_duration_min
        assert period.begin_min % request_.grid_min == 0
        for signal in signals:
            green = np.array(period.green_s[signal.name])
            assert ((green >= signal.least_s) & (green <= signal.most_s)).all()
            assert signal.change_s + green.sum() in (period.cycle_s, period.cycle_s // 2)


def test_the_same_plan_serves_two_parts_of_the_day(day: DaySchedule) -> None:
    assert len(day.periods) > len(plans_of(day))


@pytest.mark.parametrize("seed", range(4))
def test_periods_are_the_best_of_all_ways_to_cut_a_small_day(
    seed: int,
) -> None:
    """Plans made for all slots of a period at once; cuts are chosen on plans for its mean demand, hence the 0.2 %."""
    signals = [small_day(seed), small_day(seed + 10)]
    found = schedule_day(signals, (40, 50), SMALL)
    group = schedule._Group(signals, (40, 50), SMALL)
    best = np.inf
    for n_cut in range(3):
        for cuts in combinations(range(1, 8), n_cut):
            periods = list(zip((0, *cuts), (*cuts, 8), strict=True))
            plans = [min(group.plan(c, [p]).by_cell[p[0] : p[1]].sum() for c in (40, 50)) for p in periods]
            best = min(best, sum(plans) + sum(group.price_h[c] for c in cuts))
    assert cost_of(found) <= best * 1.002


@pytest.mark.parametrize("seed", range(4))
def test_cuts_are_the_best_on_the_table(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n, shortest = 9, 1 + seed % 3
    cost, price = np.full((n + 1, n + 1, 2), np.inf), rng.uniform(0.0, 0.5, n)
    for a, b in combinations(range(n + 1), 2):
        if b - a >= shortest:
            cost[a, b] = rng.uniform(0.0, 1.0, 2) * (b - a) ** 1.5
    found = schedule._best_periods(cost, price, 4, shortest)
    assert len(found) == min(4, n // shortest)

    def total(cuts: tuple[int, ...]) -> float:
        pieces = zip((0, *cuts), (*cuts, n), strict=True)
        return float(sum(cost[a, b].min() for a, b in pieces) + sum(price[c] for c in cuts))

    for k, cuts in enumerate(found, start=1):
        assert total(cuts) == min(total(c) for c in combinations(range(1, n), k - 1))


@pytest.mark.parametrize("seed", range(3))
def test_a_small_day_is_planned_as_well_as_by_trying_everything(seed: int) -> None:
    """Every plan of whole seconds in every slot, at most two of them in the day."""
    signal = small_day(seed)
    request = replace(SMALL, max_plans=2)
    found = schedule_day([signal], (40,), request)
    free = 40 - signal.change_s
    plans = [(a, free - a) for a in range(6, free - 5)]
    cost = np.array([[hcm_veh_h(signal, t, g, 3.0) for t in range(8)] for g in plans])
    price = signal.flow.sum(axis=1) * 120 * 40 / 3600
    best = cost.sum(axis=1).min()
    for a, b in combinations(range(len(plans)), 2):
        for sequence in product((a, b), repeat=8):
            changes = sum(price[t] for t in range(1, 8) if sequence[t] != sequence[t - 1])
            best = min(best, sum(cost[p, t] for t, p in enumerate(sequence)) + changes)
    assert cost_of(found) == pytest.approx(best, rel=2e-3)
    assert cost_of(found) >= best * (1 - 1e-9)


def likely(signal: SignalDay, factors: tuple[float, ...]) -> SignalDay:
    """The signal with several equally likely demands a slot: multiples of its own."""
    n = len(factors)
    flow = np.repeat(signal.flow, n, axis=0) * np.tile(factors, len(signal.flow))[:, None]
    repeated = {f: np.repeat(getattr(signal, f), n, axis=0) for f in ("share", "fixed_s", "saturation")}
    return replace(signal, flow=flow, demands=n, **repeated)


def test_several_demands_that_are_the_same_count_as_one() -> None:
    signal = made_up(1)
    one = schedule_day([signal], CYCLES_S, ScheduleRequest())
    three = schedule_day([likely(signal, (1.0, 1.0, 1.0))], CYCLES_S, ScheduleRequest())
    assert cost_of(three) == pytest.approx(cost_of(one), rel=1e-4)
    assert three.wait_and_see_veh_h == pytest.approx(one.wait_and_see_veh_h)


def test_plans_for_several_demands_cost_the_mean_of_what_they_cost_in_each() -> None:
    signal, factors = made_up(1), (0.8, 1.2)
    found = schedule_day([likely(signal, factors)], CYCLES_S, ScheduleRequest())
    each = [worth(found, [replace(signal, flow=f * signal.flow)]) for f in factors]
    assert found.delay_veh_h == pytest.approx(np.mean(each))
    assert found.wait_and_see_veh_h < cost_of(found) < found.one_plan_veh_h
    # made for both, they beat plans that are made for their mean
    for_mean = schedule_day([signal], CYCLES_S, ScheduleRequest())
    blind = [worth(for_mean, [replace(signal, flow=f * signal.flow)]) for f in factors]
    assert cost_of(found) < np.mean(blind) + for_mean.transition_veh_h


def test_a_day_without_traffic_has_one_plan_that_costs_nothing() -> None:
    signal = made_up(1)
    empty = replace(signal, flow=np.zeros_like(signal.flow))
    found = schedule_day([empty], CYCLES_S, ScheduleRequest())
    assert len(found.periods) == 1
    assert cost_of(found) == found.wait_and_see_veh_h == found.one_plan_veh_h == 0.0


def test_a_day_in_which_demand_exceeds_all_capacity_is_planned() -> None:
    signal = made_up(1)
    found = schedule_day([replace(signal, flow=4 * signal.flow)], CYCLES_S, ScheduleRequest())
    assert found.wait_and_see_veh_h < cost_of(found) < found.one_plan_veh_h


def test_the_same_question_has_the_same_answer() -> None:
    signals = [made_up(1), made_up(3)]
    assert schedule_day(signals, CYCLES_S, ScheduleRequest()) == schedule_day(
        signals, CYCLES_S, ScheduleRequest()
    )


def test_a_signal_runs_the_cycle_of_its_group_or_half_or_what_its_greens_allow() -> None:
    signal = made_up(1, n=2)
    assert replace(signal, min_cycle_s=40, max_cycle_s=120).own_cycles_s(90) == (90, 45)
    assert replace(signal, min_cycle_s=60, max_cycle_s=120).own_cycles_s(90) == (90,)
    assert replace(signal, min_cycle_s=40, max_cycle_s=60).own_cycles_s(90) == (45,)
    assert replace(signal, min_cycle_s=100, max_cycle_s=170).own_cycles_s(60) == (120,)
    assert replace(signal, min_cycle_s=100, max_cycle_s=110).own_cycles_s(60) == (100,)
    assert replace(signal, least_s=np.array([60, 60]), most_s=np.array([70, 70])).own_cycles_s(60) == (130,)


def test_progress_tells_of_every_signal() -> None:
    told: list[tuple[int, int]] = []
    schedule_day(
        [made_up(1), made_up(2)],
        (80,),
        ScheduleRequest(),
        on_progress=lambda done, of: told.append((done, of)),
    )
    assert told == [(1, 2), (2, 2)]


@pytest.mark.parametrize("objective", list(Objective))
def test_every_objective_is_planned_for(objective: Objective) -> None:
    found = schedule_day([made_up(1)], CYCLES_S, ScheduleRequest(objective=objective))
    assert found.wait_and_see_veh_h <= cost_of(found) <= found.one_plan_veh_h
    assert found.one_plan_veh_h > 0.0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"max_plans": 0}, "at least 1"),
        ({"grid_min": 20}, "whole slots"),
        ({"min_duration_min": 0}, "at least 1 min"),
        ({"switch_delay_s": -1.0}, "a change costs"),
        ({"marginal_gain": 1.0}, "marginal gain"),
        ({"stop_weight_s": -1.0}, "stop weight"),
    ],
)
def test_a_request_out_of_range_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ScheduleRequest(**changes)


@pytest.mark.parametrize(
    ("signals", "cycles", "message"),
    [
        ([], CYCLES_S, "0 signals"),
        ([made_up(1)], (), "cycles of"),
        ([made_up(1), made_up(2, slots=48)], CYCLES_S, r"days of \[48, 96\] slots, \[1, 1\] demands"),
        ([made_up(1, slots=95)], CYCLES_S, "a multiple of 2"),
    ],
)
def test_signals_that_do_not_fit_are_refused(
    signals: list[SignalDay], cycles: tuple[int, ...], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        schedule_day(signals, cycles, ScheduleRequest())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"least_s": np.full(2, 6)}, "shapes"),
        ({"flow": np.full((SLOTS, 6), np.nan)}, "not a number"),
        ({"flow": np.full((SLOTS, 6), -1.0)}, "below 0"),
        ({"share": np.full((SLOTS, 3, 6), 2.0)}, "expected 0 to 1"),
        ({"most_s": np.full(3, 5)}, "min <= max"),
        ({"min_cycle_s": 130}, "cycles of 130 to 120"),
        ({"demands": 5}, "96 rows for slots of 5 demands"),
    ],
)
def test_a_signal_out_of_range_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        made_up(1, **changes)
