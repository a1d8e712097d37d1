"""Isolated intersections as objects: what may be asked, what comes back, and that many are as one."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from signals.errors import InfeasiblePlan
from signals.model.plan import Objective
from signals.timing import isolated
from signals.timing.isolated import (
    IsolatedIntersection,
    IsolatedPhase,
    IsolatedPlan,
    IsolatedRequest,
    pack_intersections,
    plan_all,
    plan_arrays,
    plan_isolated,
    why_no_cycle,
)
from signals.timing.measures import LaneGroup, level_of_service, measure_lane_group

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
