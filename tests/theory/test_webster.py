"""Webster's cycle and splits against printed exercises, and against their own premises."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from signals.errors import InfeasiblePlan
from signals.timing import webster
from tests.theory.worked import EXAMPLES

WIDE = (1.0, 1000.0)


def test_exercise_1() -> None:
    inputs = EXAMPLES["WEBSTER-1"]["inputs"]
    ratios = [webster.flow_ratio(q, s) for q, s in zip(inputs["q"], inputs["s"])]
    cycle_s = webster.webster_cycle_s(sum(ratios), inputs["L"])
    assert cycle_s == pytest.approx(EXAMPLES["WEBSTER-1"]["expected"]["C"])


def test_exercise_2() -> None:
    inputs = EXAMPLES["WEBSTER-2"]["inputs"]
    cycle_s = webster.webster_cycle_s(sum(inputs["y"]), inputs["L"])
    assert round(cycle_s) == EXAMPLES["WEBSTER-2"]["expected"]["C"]


def test_exercise_3() -> None:
    inputs, expected = EXAMPLES["WEBSTER-3"]["inputs"], EXAMPLES["WEBSTER-3"]["expected"]
    ratios = [webster.flow_ratio(q, s) for q, s in zip(inputs["q"], inputs["s"])]
    cycle_s = webster.webster_cycle_s(sum(ratios), inputs["L"])
    assert cycle_s == pytest.approx(expected["C"], abs=0.05)
    # The key takes 67.5 s and rounds the greens to half seconds.
    plan = webster.webster_plan(ratios, inputs["L"], [0.0, 0.0], (expected["C_used"], expected["C_used"]))
    assert plan.green_s == pytest.approx(expected["g"], abs=0.25)


def test_exercise_4() -> None:
    inputs, expected = EXAMPLES["WEBSTER-4"]["inputs"], EXAMPLES["WEBSTER-4"]["expected"]
    cycle_s = webster.webster_cycle_s(sum(inputs["y"]), inputs["L"])
    assert cycle_s == pytest.approx(expected["C"], abs=0.05)
    # The solution shares green out by volume, not by flow ratio.
    greens = webster.proportional_greens_s(inputs["v_alloc"], inputs["C_used"] - inputs["L"], [0.0] * 3)
    assert greens == pytest.approx(expected["g"], abs=0.005)


def test_a_question_whose_published_answers_are_wrong() -> None:
    example = EXAMPLES["TRAP-1"]
    cycle_s = webster.webster_cycle_s(sum(example["inputs"]["y"]), example["inputs"]["L"])
    assert cycle_s == pytest.approx(example["expected"]["C"], abs=0.005)
    assert abs(cycle_s - 60.7) > 0.1
    assert abs(cycle_s - 41.3) > 0.1


def test_the_cycle_is_near_the_least_of_websters_delay() -> None:
    """Webster derived the cycle from the delay: 5 % around its least costs next to nothing."""
    ratios, lost_s, saturation_vph = [0.3, 0.35], 10.0, 1800.0

    def total_delay(cycle_s: float) -> float:
        greens = webster.proportional_greens_s(ratios, cycle_s - lost_s, [0.0, 0.0])
        return sum(
            y * webster.webster_delay_s(g, cycle_s, y * saturation_vph, saturation_vph)
            for y, g in zip(ratios, greens)
        )

    chosen = total_delay(webster.webster_cycle_s(sum(ratios), lost_s))
    least = min(total_delay(float(cycle_s)) for cycle_s in range(30, 200))
    assert least <= chosen <= 1.05 * least


def test_no_cycle_serves_more_than_there_is() -> None:
    assert webster.webster_cycle_s(1.0, 10.0) == math.inf
    plan = webster.webster_plan([0.6, 0.6], 10.0, [5.0, 5.0], (30.0, 120.0))
    assert plan.cycle_s == 120.0
    assert plan.green_s == pytest.approx((55.0, 55.0))
    assert webster.cycle_for_saturation_s([0.5, 0.5], 8.0, 0.95) == math.inf
    assert webster.critical_vc_ratio([0.5], 8.0, 8.0) == math.inf
    assert webster.webster_delay_s(30.0, 60.0, 900.0, 1800.0) == math.inf


def test_minimum_greens_are_kept_at_the_others_expense() -> None:
    plan = webster.webster_plan([0.30, 0.02, 0.20], 12.0, [7.0, 10.0, 7.0], (30.0, 120.0))
    assert plan.green_s[1] == pytest.approx(10.0)
    assert plan.green_s[0] / plan.green_s[2] == pytest.approx(1.5)


def test_a_quiet_junction_shares_alike() -> None:
    assert webster.webster_plan([0.0, 0.0], 8.0, [7.0, 5.0], (30.0, 90.0)).green_s == pytest.approx(
        (11.0, 11.0)
    )


def test_green_that_no_traffic_wants_goes_out_evenly() -> None:
    # The busy stage gets all that the idle ones don't need as a minimum.
    assert webster.proportional_greens_s([0.3, 0.0], 50.0, [5.0, 5.0]) == pytest.approx((45.0, 5.0))
    assert webster.proportional_greens_s([0.0, 0.0], 50.0, [30.0, 5.0]) == pytest.approx((30.0, 20.0))


def test_minimums_that_fit_no_cycle_are_refused() -> None:
    with pytest.raises(InfeasiblePlan, match="need a cycle of 92 s, the longest allowed is 90 s"):
        webster.webster_plan([0.2, 0.2], 12.0, [40.0, 40.0], (30.0, 90.0))
    with pytest.raises(InfeasiblePlan, match=r"minimum greens add up to 60\.0 s"):
        webster.proportional_greens_s([1.0, 1.0], 50.0, [30.0, 30.0])


def test_arguments_that_make_no_sense_are_refused() -> None:
    with pytest.raises(ValueError, match="cycle bounds 90-30 s"):
        webster.webster_plan([0.2], 4.0, [5.0], (90.0, 30.0))
    with pytest.raises(ValueError, match="flow ratios"):
        webster.webster_cycle_s(-0.1, 4.0)
    with pytest.raises(ValueError, match="lost time"):
        webster.webster_cycle_s(0.1, -4.0)
    with pytest.raises(ValueError, match="2 weights and 1 minimum"):
        webster.proportional_greens_s([1.0, 1.0], 50.0, [5.0])
    with pytest.raises(ValueError, match="saturation flow"):
        webster.flow_ratio(100.0, 0.0)
    with pytest.raises(ValueError, match="target v/c"):
        webster.pretimed_green_s(0.4, 60.0, 0.0)
    with pytest.raises(ValueError, match=r"add up to 50\.00 s"):
        webster.WebsterPlan(60.0, (20.0, 20.0), 10.0, 0.5)


@settings(max_examples=200, deadline=None)
@given(
    stages=st.lists(st.tuples(st.floats(0.0, 0.6), st.floats(0.0, 25.0)), min_size=1, max_size=6),
    lost_s=st.floats(0.0, 30.0),
    shortest_s=st.floats(20.0, 60.0),
    span_s=st.floats(0.0, 120.0),
)
def test_any_plan_fills_its_cycle_and_keeps_its_bounds(
    stages: list[tuple[float, float]], lost_s: float, shortest_s: float, span_s: float
) -> None:
    ratios = [ratio for ratio, _ in stages]
    minimums = [minimum for _, minimum in stages]
    bounds = (shortest_s, shortest_s + span_s)
    if lost_s + sum(minimums) > bounds[1]:
        with pytest.raises(InfeasiblePlan):
            webster.webster_plan(ratios, lost_s, minimums, bounds)
        return
    plan = webster.webster_plan(ratios, lost_s, minimums, bounds)
    assert bounds[0] <= plan.cycle_s <= bounds[1]
    assert sum(plan.green_s) + lost_s == pytest.approx(plan.cycle_s)
    assert all(green >= minimum - 1e-9 for green, minimum in zip(plan.green_s, minimums))
    # Stages above their minimum share in proportion to their flow ratios.
    free = [i for i, green in enumerate(plan.green_s) if green > minimums[i] + 1e-6 and ratios[i] > 1e-6]
    if sum(ratios) > 0.0 and len(free) > 1:
        per_ratio = [plan.green_s[i] / ratios[i] for i in free]
        assert max(per_ratio) == pytest.approx(min(per_ratio), rel=1e-6)
