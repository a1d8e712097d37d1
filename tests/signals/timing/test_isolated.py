"""Isolated intersections as objects: what may be asked, what comes back, and that many are as one."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from kernels import left_turn_delay, left_turns, plan_delay
from kernels._jit import JIT_ENABLED
from signals.errors import InfeasiblePlan, InputError
from signals.model.plan import Objective
from signals.timing import isolated
from signals.timing.isolated import (
    IsolatedPlan,
    IsolatedRequest,
    pack_intersections,
    plan_all,
    plan_arrays,
    plan_isolated,
    why_no_cycle,
)
from signals.timing.isolated_left_turns import LeftTurnGreen, standing_share
from signals.timing.isolated_phases import AGAINST, BESIDE, IsolatedIntersection, IsolatedPhase, LeftTurn
from signals.timing.measures import (
    LaneGroup,
    PermittedLeft,
    level_of_service,
    measure_lane_group,
    opposing_queue_s,
    permitted_green,
    permitted_left_saturation_flow_vph,
)

RINGS = ((1, 2, 3, 4), (5, 6, 7, 8))


def phase(number: int, *flow_vph: float, **changed: Any) -> IsolatedPhase:
    """A left turn or a through phase."""
    left = number % 2 == 1
    usual = IsolatedPhase(
        number, flow_vph, 1750.0 if left else 3500.0, 5.0 if left else 10.0, 30.0 if left else 70.0, 4.5
    )
    return replace(usual, **changed)


def crossing(name: str = "x", scale: float = 1.0, **changed: Any) -> IsolatedIntersection:
    """All eight phases, busier on the first street."""
    flows = (120, 900, 90, 500, 150, 1000, 110, 450)
    return IsolatedIntersection(
        name, tuple(phase(n + 1, scale * flow, **changed) for n, flow in enumerate(flows))
    )


def tee(name: str = "tee") -> IsolatedIntersection:
    """A street and the stem of a T: ring 2 has nothing to do while the stem is served."""
    return IsolatedIntersection(name, (phase(1, 100.0), phase(2, 800.0), phase(4, 300.0), phase(6, 700.0)))


def forecasts(name: str = "f") -> IsolatedIntersection:
    """Three scenarios of a crossing, one of them turned to the other street."""
    flows = np.array([(120, 900, 90, 500, 150, 1000, 110, 450)]) * np.array([[1.0], [0.8], [1.1]])
    flows[2] = np.roll(flows[2], 2)
    phases = tuple(phase(n + 1, *map(float, flows[:, n])) for n in range(8))
    return IsolatedIntersection(name, phases, (0.5, 0.3, 0.2))


def splits(plan: IsolatedPlan) -> dict[int, int]:
    return {timing.number: timing.split_s for timing in plan.phases}


def test_a_plan_fills_both_rings_and_keeps_every_bound() -> None:
    one = crossing()
    plan = plan_isolated(one)
    split = splits(plan)
    for ring in RINGS:
        assert sum(split[n] for n in ring) == plan.cycle_s
    assert split[1] + split[2] == split[5] + split[6]
    for timing, asked in zip(plan.phases, one.phases, strict=True):
        assert timing.split_s == pytest.approx(timing.green_s + asked.clearance_s)
        assert asked.min_green_s <= timing.green_s <= asked.max_green_s
    assert plan.proven


def test_measures_are_those_of_the_hcm_room() -> None:
    one = crossing()
    plan = plan_isolated(one)
    waited = 0.0
    for timing, asked in zip(plan.phases, one.phases, strict=True):
        group = LaneGroup(
            volume_vph=asked.flow_vph[0],
            saturation_flow_vph=asked.saturation_flow_vph,
            effective_green_s=timing.green_s,  # 2 s of yellow used, 2 s lost at the start
            cycle_s=float(plan.cycle_s),
            incremental_k=0.5,
            analysis_period_h=0.25,
        )
        known = measure_lane_group(group)
        assert timing.vc_ratio == pytest.approx(known.vc_ratio)
        assert timing.delay_s == pytest.approx(known.control_delay_s)
        assert timing.level_of_service == known.level_of_service
        waited += asked.flow_vph[0] * known.control_delay_s
    assert plan.delay_s == pytest.approx(waited / one.mean_flow_vph)
    assert plan.value == pytest.approx(plan.delay_s)
    assert plan.level_of_service == level_of_service(plan.delay_s)


def test_the_curve_has_its_least_at_the_cycle_of_the_plan() -> None:
    request = IsolatedRequest(min_cycle_s=50, max_cycle_s=150)
    plan = plan_isolated(crossing(), request)
    assert len(plan.curve) == 101
    assert plan.curve[plan.cycle_s - plan.first_cycle_s] == plan.value == min(plan.curve)
    at_90 = plan_isolated(crossing(), replace(request, min_cycle_s=90, max_cycle_s=90))
    assert plan.curve[90 - 50] == pytest.approx(at_90.value)


def test_each_objective_is_least_in_its_own_plan() -> None:
    by_objective = {
        objective: plan_isolated(crossing(scale=0.8), IsolatedRequest(objective)) for objective in Objective
    }
    delay, stops, index = (by_objective[o] for o in (Objective.DELAY, Objective.STOPS, Objective.INDEX))
    assert delay.delay_s < stops.delay_s
    assert stops.stops < delay.stops
    assert stops.value == pytest.approx(stops.stops)
    assert index.value == pytest.approx(index.delay_s + 20.0 * index.stops)
    assert index.value <= min(one.delay_s + 20.0 * one.stops for one in (delay, stops)) + 1e-9


def test_a_ring_without_a_phase_waits_beside_the_stem_of_a_tee() -> None:
    plan = plan_isolated(tee())
    split = splits(plan)
    assert set(split) == {1, 2, 4, 6}
    assert split[1] + split[2] == split[6]
    assert split[6] + split[4] == plan.cycle_s


def test_one_street_alone_takes_the_whole_cycle() -> None:
    plan = plan_isolated(IsolatedIntersection("c", (phase(2, 500.0), phase(6, 400.0))))
    assert splits(plan) == {2: plan.cycle_s, 6: plan.cycle_s}


@pytest.mark.parametrize("clearance_s", [4.0, 4.3, 4.5, 5.9])
def test_splits_are_whole_seconds_whatever_the_clearances(clearance_s: float) -> None:
    one = crossing(clearance_s=clearance_s)
    for timing, asked in zip(plan_isolated(one).phases, one.phases, strict=True):
        assert timing.green_s + clearance_s == pytest.approx(timing.split_s)
        assert asked.min_green_s <= timing.green_s <= asked.max_green_s


def test_many_on_threads_are_as_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(isolated, "CHUNK", 3)
    many = [crossing(f"c{k}", 0.5 + 0.05 * k) for k in range(12)] + [tee(), forecasts()]
    request = IsolatedRequest(Objective.INDEX, min_cycle_s=60, max_cycle_s=110)
    told: list[tuple[int, int]] = []
    together = plan_all(many, request, threads=3, on_progress=lambda done, of: told.append((done, of)))
    assert together == [plan_isolated(one, request) for one in many]
    assert told == [(3, 14), (6, 14), (9, 14), (12, 14), (14, 14)]
    assert plan_all([], request) == []


def test_scenarios_are_weighed_by_their_probability() -> None:
    one = forecasts()
    request = IsolatedRequest(min_cycle_s=80, max_cycle_s=120)
    mean, risk = plan_isolated(one, request), plan_isolated(one, replace(request, cvar_alpha=0.8))
    certain = [
        IsolatedIntersection("s", tuple(replace(p, flow_vph=(p.flow_vph[k],)) for p in one.phases))
        for k in range(3)
    ]
    arrays = pack_intersections([one])
    for plan, weigh in ((mean, lambda costs: np.dot(one.probability, costs)), (risk, max)):
        costs = []
        for k in range(3):
            alone = replace(
                arrays, flow_vph=arrays.flow_vph[:, k : k + 1].copy(), probability=np.ones((1, 1))
            )
            green = np.array([[int(t.green_s) for t in plan.phases]])
            costs.append(cost_of(alone, green, plan.cycle_s))
        assert plan.value == pytest.approx(3600.0 * weigh(costs) / one.mean_flow_vph)
    assert mean.delay_s == pytest.approx(mean.value)
    assert risk.delay_s > mean.delay_s
    assert risk.proven
    # nobody who knows the scenario does worse than who doesn't
    known = [plan_isolated(c, request).value * c.mean_flow_vph for c in certain]
    assert np.dot(one.probability, known) <= mean.value * one.mean_flow_vph
    assert max(t.vc_ratio for t in mean.phases) > 1.0


def cost_of(arrays: isolated.IntersectionArrays, green: np.ndarray, cycle: int) -> float:
    """Cost of given greens, by leaving no choice."""
    phases = arrays.phases._replace(least=green, most=green.copy())
    request = IsolatedRequest(min_cycle_s=cycle, max_cycle_s=cycle)
    return float(plan_arrays(replace(arrays, phases=phases), request).cost[0, 0])


def test_an_alpha_of_zero_is_the_mean() -> None:
    mean = plan_isolated(forecasts(), IsolatedRequest(max_cycle_s=90))
    risk = plan_isolated(forecasts(), IsolatedRequest(max_cycle_s=90, cvar_alpha=0.0))
    assert risk.value == pytest.approx(mean.value)
    assert risk.cycle_s == mean.cycle_s


def test_the_order_of_phases_is_of_no_account() -> None:
    one = crossing()
    assert plan_isolated(replace(one, phases=one.phases[::-1])) == plan_isolated(one)


def test_nobody_on_the_road_still_gives_a_plan() -> None:
    plan = plan_isolated(crossing(scale=0.0))
    assert plan.value == plan.delay_s == 0.0
    assert plan.level_of_service == "A"
    assert plan.cycle_s == 60


# ---------------------------------------------------------------------------------------- what can't be asked


def lopsided() -> IsolatedIntersection:
    """The rings take too different a time on one side of the barrier."""
    busy = (phase(n, 1.0, min_green_s=25.0) for n in (3, 4))
    return IsolatedIntersection("x", (*busy, phase(8, 1.0, max_green_s=40.0)))


@pytest.mark.parametrize(
    ("one", "cycles", "words"),
    [
        (
            crossing(min_green_s=30.0, clearance_s=5.0),
            (60, 120),
            "min greens and clearances need a cycle of 140 s, the longest allowed is 120 s; raise it",
        ),
        (
            crossing(max_green_s=10.0, clearance_s=4.0),
            (60, 180),
            "max greens and clearances fill a cycle of 56 s, the shortest allowed is 60 s; lower it",
        ),
        (
            lopsided(),
            (60, 180),
            "phases 3 and 4 take 60 s at least, and 8 beside them 44 s at most; raise max greens of 8",
        ),
    ],
)
def test_what_fits_no_cycle_says_why(one: IsolatedIntersection, cycles: tuple[int, int], words: str) -> None:
    request = IsolatedRequest(min_cycle_s=cycles[0], max_cycle_s=cycles[1])
    with pytest.raises(InfeasiblePlan, match=f"x: {words}"):
        plan_isolated(one, request)
    assert words in why_no_cycle(one, request)
    both = plan_all([crossing(), one], request)
    assert both[0] is not None
    assert both[1] is None


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"number": 9}, "NEMA phases are 1 to 8"),
        ({"flow_vph": (-1.0,)}, "flow -1"),
        ({"flow_vph": (float("nan"),)}, "flow nan"),
        ({"flow_vph": ()}, "no flow"),
        ({"saturation_flow_vph": 0.0}, "saturation flow 0"),
        ({"min_green_s": 0.0}, "passes nobody"),
        ({"min_green_s": 80.0}, "max green 70 s is below min green 80 s"),
        ({"max_green_s": float("inf")}, "max green inf"),
        ({"clearance_s": 1.0}, "shorter than the 2 s"),
        ({"clearance_s": -1.0}, "clearance -1"),
        ({"upstream_filtering": 0.0}, "filtering factor 0"),
        ({"min_green_s": 10.2, "max_green_s": 10.3}, "no split in whole seconds"),
    ],
)
def test_a_phase_refuses_what_makes_no_sense(changed: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        replace(phase(2, 100.0), **changed)


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"min_cycle_s": 0}, "cycles from 0"),
        ({"min_cycle_s": 100, "max_cycle_s": 90}, "cycles from 100 to 90"),
        ({"max_cycle_s": 10_000}, "<= 600"),
        ({"stop_weight_s": 601.0}, "stop weight"),
        ({"stop_weight_s": float("nan")}, "stop weight"),
        ({"period_h": 0.0}, "analysis period"),
        ({"cvar_alpha": 1.0}, "alpha of 1"),
        ({"cvar_alpha": float("nan")}, "alpha of nan"),
    ],
)
def test_a_request_refuses_what_makes_no_sense(changed: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        IsolatedRequest(**changed)


def test_an_intersection_refuses_what_makes_no_sense() -> None:
    with pytest.raises(ValueError, match="each once"):
        IsolatedIntersection("x", (phase(2, 1.0), phase(2, 1.0)))
    with pytest.raises(ValueError, match="at least one"):
        IsolatedIntersection("x", ())
    with pytest.raises(ValueError, match="each of 2 scenarios"):
        IsolatedIntersection("x", (phase(2, 1.0),), (0.5, 0.5))
    with pytest.raises(ValueError, match="sum to 1"):
        IsolatedIntersection("x", (phase(2, 1.0, 2.0),), (0.5, 0.6))


def test_a_plan_that_leaves_a_ring_unfilled_is_refused() -> None:
    plan = plan_isolated(crossing())
    longer = replace(plan.phases[0], split_s=plan.phases[0].split_s + 1)
    with pytest.raises(ValueError, match="don't fill a cycle"):
        replace(plan, phases=(longer, *plan.phases[1:]))


# ------------------------------------------------------------------------- protected-permitted left turns


def through_gaps(one: IsolatedIntersection, *lefts: int) -> IsolatedIntersection:
    """The same with left turns that go through gaps too."""
    phases = tuple(replace(p, left_turn=LeftTurn.PERMITTED) if p.number in lefts else p for p in one.phases)
    return replace(one, phases=phases)


def some_through_gaps(seed: int, clearance_s: float = 4.5) -> IsolatedIntersection:
    """A crossing with few choices, drawn: some left turns go through gaps, some are over capacity."""
    rng = np.random.default_rng(seed)
    flows = rng.uniform(0.0, 1.0, 8) * np.where(np.arange(8) % 2 == 0, 350.0, 1300.0)
    phases = []
    for number, flow in enumerate(flows, 1):
        least = float(rng.integers(5, 9)) if number % 2 else float(rng.integers(18, 22))
        bounds = {"min_green_s": least, "max_green_s": least + 7.0}
        phases.append(phase(number, float(flow), clearance_s=clearance_s, **bounds))
    lefts = [int(left) for left in (1, 3, 5, 7) if rng.random() < 0.6] or [5]
    return through_gaps(IsolatedIntersection("drawn", tuple(phases)), *lefts)


def street_delay(one: IsolatedIntersection, split: dict[int, int], cycle_s: int, clearance_s: float) -> float:
    """Vehicle-hours an hour of phases under given splits, by the functions of `measures`, one by one."""
    own = {p.number: p for p in one.phases if p.number in split}
    groups = {
        n: LaneGroup(p.flow_vph[0], p.saturation_flow_vph, split[n] - clearance_s, cycle_s)
        for n, p in own.items()
    }
    total = 0.0
    for n, group in groups.items():
        if own[n].permitted:
            end_s = split[n] + split[AGAINST[n]] - clearance_s
            green = permitted_green(
                (float(split[BESIDE[n] - 1]), end_s),
                (float(split[n]), end_s),
                opposing_queue_s([groups[AGAINST[n]]]),
                group.effective_green_s,
            )
            # all the time after the arrow counts as permitted green, most of it blocked
            after_s = end_s - group.effective_green_s
            gaps_vph = permitted_left_saturation_flow_vph(groups[AGAINST[n]].volume_vph)
            left = PermittedLeft(gaps_vph, after_s, min(green.unblocked_s, after_s))
            group = replace(group, permitted_left=left)
        total += group.volume_vph * measure_lane_group(group).control_delay_s / 3600.0
    return total


def least_by_length(one: IsolatedIntersection, street: tuple[int, ...], cycle_s: int) -> dict[int, float]:
    """Least delay of a street by its seconds, of every division of them in its two rings."""
    bounds = {p.number: (int(p.min_green_s) + 5, int(p.max_green_s) + 4) for p in one.phases}
    least: dict[int, float] = {}
    for first, second, third in itertools.product(
        *(range(bounds[n][0], bounds[n][1] + 1) for n in street[:3])
    ):
        fourth = first + second - third
        if bounds[street[3]][0] <= fourth <= bounds[street[3]][1]:
            split = dict(zip(street, (first, second, third, fourth), strict=True))
            found = street_delay(one, split, cycle_s, 4.5)
            least[first + second] = min(found, least.get(first + second, found))
    return least


@pytest.mark.parametrize("seed", range(5))
def test_left_turns_through_gaps_are_planned_as_trying_every_split_finds(seed: int) -> None:
    one = some_through_gaps(seed)
    plan = plan_isolated(one, IsolatedRequest(min_cycle_s=82, max_cycle_s=83))
    for row, cycle_s in enumerate((82, 83)):
        a, b = (least_by_length(one, street, cycle_s) for street in ((1, 2, 5, 6), (3, 4, 7, 8)))
        best = min(a[length] + b[cycle_s - length] for length in a if cycle_s - length in b)
        assert plan.curve[row] == pytest.approx(3600.0 * best / one.mean_flow_vph, rel=1e-9)
    own = street_delay(one, splits(plan), plan.cycle_s, 4.5)
    assert plan.value == pytest.approx(3600.0 * own / one.mean_flow_vph, rel=1e-9)


@pytest.mark.parametrize("seed", range(20))
def test_delays_of_phases_are_what_was_made_small(seed: int) -> None:
    one = some_through_gaps(seed, 4.0 + 0.3 * (seed % 4))
    plan = plan_isolated(one, IsolatedRequest(min_cycle_s=78, max_cycle_s=84))
    waited = sum(p.flow_vph[0] * t.delay_s for p, t in zip(one.phases, plan.phases, strict=True))
    assert waited / one.mean_flow_vph == pytest.approx(plan.value, rel=1e-9)
    assert plan.delay_s == pytest.approx(plan.value, rel=1e-9)
    assert plan.proven


def test_a_left_turn_that_turns_at_once_after_its_arrow_is_the_measured_one() -> None:
    """Clearance is all used, and the through of its approach is green already: there is nothing in between."""
    greens = {1: 14.0, 2: 40.0, 3: 10.0, 4: 20.0, 5: 8.0, 6: 46.0, 7: 10.0, 8: 20.0}
    flows = (260, 700, 90, 300, 60, 800, 110, 350)
    phases = (
        phase(n, float(flows[n - 1]), min_green_s=s, max_green_s=s, clearance_s=2.0)
        for n, s in greens.items()
    )
    one = through_gaps(IsolatedIntersection("x", tuple(phases)), 1)
    plan = plan_isolated(one)
    assert plan.cycle_s == 92
    against = LaneGroup(700.0, 3500.0, 40.0, 92.0)
    green = permitted_green((10.0, 56.0), (16.0, 56.0), opposing_queue_s([against]), 14.0)
    assert green.green_s + 16.0 == 56.0 + 2.0
    left = PermittedLeft(permitted_left_saturation_flow_vph(700.0), green.green_s, green.unblocked_s)
    known = measure_lane_group(LaneGroup(260.0, 1750.0, 14.0, 92.0, permitted_left=left))
    found = plan.phases[0]
    assert found.vc_ratio == pytest.approx(known.vc_ratio)
    assert found.delay_s == pytest.approx(known.control_delay_s)
    assert found.level_of_service == known.level_of_service


def test_gaps_help_left_turns_and_the_whole() -> None:
    protected, both = plan_isolated(crossing()), plan_isolated(through_gaps(crossing(), 1, 3, 5, 7))
    assert both.value < protected.value
    assert both.stops < protected.stops
    for n in (0, 2, 4, 6):
        assert both.phases[n].delay_s < protected.phases[n].delay_s
        assert both.phases[n].vc_ratio < protected.phases[n].vc_ratio


def test_a_left_turn_without_gaps_stops_as_a_protected_one() -> None:
    green, arrival_vps = LeftTurnGreen(12.0, 30.0, 0.0, 0.0), 0.05
    u, y = 12.0 / 90.0, arrival_vps / 0.5
    assert standing_share(green, arrival_vps, 0.5, 0.2, 90) == pytest.approx((1 - u) / (1 - y))
    assert standing_share(green, 0.5 * u, 0.5, 0.2, 90) == pytest.approx(1.0)


def test_a_left_turn_stands_while_a_walked_queue_does() -> None:
    """Seconds with a queue or without service, counted in steps of 10 ms."""
    green, arrival_vps, step_s = LeftTurnGreen(8.0, 20.0, 15.0, 2.0), 0.09, 0.01
    queue_veh, standing_s = 0.0, 0.0
    for tick in range(2 * 9000):
        at_s = tick * step_s % 90.0
        service_vps = 0.5 if at_s < 8.0 else 0.25 if 28.0 <= at_s < 43.0 else 0.0
        standing_s += step_s if tick >= 9000 and (queue_veh > 0.0 or service_vps == 0.0) else 0.0
        queue_veh = max(0.0, queue_veh + (arrival_vps - service_vps) * step_s)
        if round(at_s, 2) == 42.99:
            queue_veh = max(0.0, queue_veh - 2.0)
    assert standing_share(green, arrival_vps, 0.5, 0.25, 90) == pytest.approx(standing_s / 90.0, abs=1e-3)


def test_left_turns_of_both_kinds_on_threads_are_as_one_by_one() -> None:
    many = [crossing(f"c{k}", 0.6 + 0.1 * k) for k in range(5)] + [tee(), forecasts()]
    many[1], many[4] = through_gaps(many[1], 1, 5), through_gaps(many[4], 3)
    request = IsolatedRequest(min_cycle_s=70, max_cycle_s=90)
    told: list[tuple[int, int]] = []
    together = plan_all(many * 2, request, threads=2, on_progress=lambda done, of: told.append((done, of)))
    assert together == [plan_isolated(one, request) for one in many] * 2
    assert told == [(8, 14), (14, 14)]


@pytest.mark.skipif(not JIT_ENABLED, reason="GREENSPLIT_JIT=0: nothing is compiled")
def test_kernels_of_left_turns_are_compiled_once() -> None:
    plan_all([crossing(), forecasts(), through_gaps(crossing(), 1, 3)], IsolatedRequest(max_cycle_s=70))
    for function in (
        left_turns.permitted_splits, left_turn_delay.effective_s, left_turn_delay.opposing_queue_s,
        left_turn_delay.own_start_s, left_turn_delay.permitted_startup_s, plan_delay.left_turn_plan_delay,
    ):  # fmt: skip
        assert len(getattr(function, "signatures")) == 1  # noqa: B009


def test_nobody_beside_left_turns_through_gaps_still_gives_a_plan() -> None:
    plan = plan_isolated(through_gaps(crossing(scale=0.0), 1, 3, 5, 7))
    assert (plan.value, plan.delay_s, plan.stops, plan.cycle_s) == (0.0, 0.0, 0.0, 60)


@pytest.mark.parametrize("through_vph", [0.0, 700.0])
def test_left_turns_through_gaps_of_a_street_alone_take_the_whole_cycle(through_vph: float) -> None:
    flows = {1: 80.0, 2: through_vph, 5: 0.0, 6: through_vph}
    street = IsolatedIntersection("street", tuple(phase(n, flow) for n, flow in flows.items()))
    for request in (IsolatedRequest(), IsolatedRequest(min_cycle_s=90, max_cycle_s=109)):
        plan = plan_isolated(through_gaps(street, 1, 5), request)
        split = splits(plan)
        assert split[1] + split[2] == split[5] + split[6] == plan.cycle_s
    assert splits(plan_isolated(through_gaps(replace(street, phases=street.phases[1:]), 5)))[5] >= 10


def test_tenths_that_phases_do_not_share_are_red() -> None:
    one = through_gaps(crossing(), 1)
    odd = replace(one.phases[1], clearance_s=4.2)
    plan = plan_isolated(replace(one, phases=(one.phases[0], odd, *one.phases[2:])))
    for timing in plan.phases:
        assert timing.split_s - timing.green_s == pytest.approx(4.5)


def test_what_fits_no_cycle_beside_a_left_turn_through_gaps_says_why() -> None:
    one = through_gaps(crossing(min_green_s=30.0, clearance_s=5.0), 1)
    with pytest.raises(InfeasiblePlan, match="need a cycle of 140 s, the longest allowed is 120 s"):
        plan_isolated(one, IsolatedRequest(max_cycle_s=120))


@pytest.mark.parametrize("objective", [Objective.STOPS, Objective.INDEX])
def test_left_turns_through_gaps_are_planned_for_delay_alone(objective: Objective) -> None:
    with pytest.raises(
        InputError, match=r"1 of 2 intersections .* ask for the objective delay, or make them"
    ):
        plan_all([crossing(), through_gaps(crossing(), 3)], IsolatedRequest(objective))


@pytest.mark.parametrize(
    ("one", "left", "words"),
    [
        (crossing(), 2, "phase 2: only left turns, 1, 3, 5 and 7, are protected-permitted"),
        (forecasts(), 5, "left turn 5 is .*, which is planned for one scenario, not 3; give one, or make it"),
        (IsolatedIntersection("x", tee().phases[:3]), 1, "gaps in phase 2 while 6 is green; give both, or"),
        (crossing(upstream_filtering=0.9), 1, "filtering factors must be 1"),
        (crossing(min_green_s=10.5, max_green_s=10.5), 0, "phase 1 has no green of 10.5 to 10.5 s with the"),
        (crossing(), -1, "same start-up loss and extension"),
    ],
)
def test_a_left_turn_through_gaps_needs_what_it_needs(
    one: IsolatedIntersection, left: int, words: str
) -> None:
    phases = list(one.phases)
    if left == 0:
        phases[1] = replace(phases[1], clearance_s=5.0, min_green_s=10.0)
    if left == -1:
        phases[1] = replace(phases[1], extension_s=1.0)
    with pytest.raises(ValueError, match=words):
        through_gaps(replace(one, phases=tuple(phases)), max(1, left))
