"""Delay kernels: compiled, plain Python and a slow obvious reference say the same; laws of traffic hold."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kernels import delay, plan_delay, queue_length, queue_polygon
from kernels._jit import JIT_ENABLED, plain
from signals.timing.measures import LaneGroup, PermittedLeft, measure_lane_group

# A first call may compile, which no deadline allows for.
LAW = settings(max_examples=100, deadline=None)

FLOW_VPH = st.floats(1.0, 4000.0)
CYCLE_S = st.floats(30.0, 180.0)
SHARE = st.floats(0.05, 0.95)

# One call a kernel: enough to see that both versions take the same branch and return the same bits.
CALLS: dict[str, list[tuple[Any, ...]]] = {
    "capacity_vph": [(1800.0, 30.0, 90.0)],
    "vc_ratio": [(500.0, 600.0), (0.0, 0.0), (5.0, 0.0)],
    "progression_factor": [(0.4, 0.8, 0.6), (0.4, 1.2, 0.2), (1.0, 0.5, 1.0), (0.5, 1.0, 1.0)],
    "uniform_delay_s": [(30.0, 90.0, 0.8, 1.0), (90.0, 90.0, 0.8, 1.0), (0.0, 90.0, math.inf, 1.0)],
    "incremental_delay_s": [
        (0.9, 600.0, 0.25, 0.5, 1.0),
        (0.0, 600.0, 0.25, 0.5, 1.0),
        (math.inf, 0.0, 0.25, 0.5, 1.0),
    ],
    "incremental_k": [(2.0, 400.0, 600.0), (4.0, 900.0, 600.0), (2.0, 0.0, 600.0), (2.0, 5.0, 0.0)],
    "upstream_filtering_factor": [(0.5,), (1.3,), (-1.0,)],
    "initial_queue_delay_s": [
        (10.0, 400.0, 600.0, 0.25),
        (10.0, 700.0, 600.0, 0.25),
        (0.0, 1.0, 1.0, 0.25),
        (3.0, 9.0, 0.0, 0.25),
    ],
    "movement_delay": [
        (30.0, 90.0, 0.15, 0.5, 0.25),
        (30.0, 90.0, 0.25, 0.5, 0.25),
        (0.0, 90.0, 0.1, 0.5, 0.25),
    ],
    "queue_service_s": [
        (0.1, 0.5, 0.3, 30.0, 90.0),
        (0.5, 0.5, 0.3, 30.0, 90.0),
        (0.0, 0.5, 0.3, 30.0, 90.0),
    ],
    "full_stop_delay_s": [(35.0,)],
    "first_back_of_queue_veh": [
        (400.0, 600.0, 1800.0, 0.33, 30.0, 90.0, 10.0),
        (400.0, 600.0, 1800.0, 0.90, 30.0, 90.0, 10.0),
        (0.0, 600.0, 1800.0, 0.33, 30.0, 90.0, 10.0),
        (900.0, 900.0, 1800.0, 0.0, 45.0, 90.0, 10.0),
    ],
    "left_of_queue": [(10.0, 400.0, 600.0, 0.25), (10.0, 700.0, 600.0, 0.25), (10.0, 400.0, 420.0, 0.25)],
    "second_back_of_queue_veh": [(600.0, 5.0), (600.0, 0.0)],
    "third_back_of_queue_veh": [
        (10.0, 400.0, 600.0, 1.0, 0.25),
        (10.0, 700.0, 600.0, 2.0, 0.25),
        (0.0, 1.0, 1.0, 1.0, 0.25),
    ],
    "left_turn_area_veh_s": [
        (0.1, 10.0, 20.0, 15.0, 45.0, 0.47, 0.2, 2.0),
        (0.02, 10.0, 20.0, 15.0, 45.0, 0.47, 0.2, 2.0),
        (0.3, 0.0, 20.0, 25.0, 45.0, 0.47, 0.2, 2.0),
        (0.0, 10.0, 20.0, 15.0, 45.0, 0.0, 0.0, 0.0),
    ],
    "divisor": [(2.0,), (0.0,)],
    "uniform_s": [(30.0, 90.0, 0.2), (30.0, 90.0, 0.5), (90.0, 90.0, 1.2)],
    "overflow": [(0.9, 0.02), (1.2, 0.02), (0.0, 0.0)],
    "carried_queue_veh": [(10.0, 50.0), (10.0, 5.0), (10.0, -5.0)],
    "left_turn_s": [(60.0, 8.0, 0.05, 90.0, 0.2, 0.25, 2880.0), (0.0, 0.0, 0.05, 90.0, 0.2, 0.25, 2880.0)],
    "permitted_left_saturation_vph": [(624.0, 4.5, 2.5), (0.0, 4.5, 2.5)],
    "webster_cycle_s": [(0.7, 12.0), (1.1, 12.0)],
    "webster_delay_s": [(30.0, 90.0, 0.1, 0.5), (30.0, 90.0, 0.2, 0.5), (30.0, 90.0, 0.0, 0.5)],
}
ARRAY_KERNELS = {"lane_group_delay", "queue_polygon", "plan_delay", "left_turn_plan_delay"}


MODULES = (delay, plan_delay, queue_length, queue_polygon)


def kernels_of(module: Any) -> dict[str, Callable[..., Any]]:
    return {
        name: function
        for name, function in vars(module).items()
        if name not in ("kernel", "NDArray")
        and (hasattr(function, "py_func") or inspect.isfunction(function))
        and plain(function).__module__ == module.__name__
    }


KERNELS = {name: function for module in MODULES for name, function in kernels_of(module).items()}


def test_every_kernel_is_compared() -> None:
    assert set(KERNELS) == set(CALLS) | ARRAY_KERNELS


@pytest.mark.skipif(not JIT_ENABLED, reason="kernels are plain Python in this run")
@pytest.mark.parametrize("name", CALLS)
def test_compiled_and_plain_agree(name: str) -> None:
    compiled = KERNELS[name]
    for call in CALLS[name]:
        assert compiled(*call) == pytest.approx(plain(compiled)(*call), rel=1e-14)


@pytest.mark.skipif(not JIT_ENABLED, reason="kernels are plain Python in this run")
def test_one_compiled_version_a_kernel() -> None:
    for name, calls in CALLS.items():
        for call in calls:
            KERNELS[name](*call)
        signatures: Any = getattr(KERNELS[name], "signatures")  # noqa: B009
        assert len(signatures) == 1, name


def columns(seed: int, n: int) -> tuple[np.ndarray, ...]:
    """Random lane groups, some over capacity, some without green, flow or arrivals on red."""
    rng = np.random.default_rng(seed)
    cycle = rng.uniform(40.0, 150.0, n)
    green = cycle * rng.uniform(0.05, 0.9, n)
    flow = rng.uniform(0.0, 2000.0, n)
    green[::17] = 0.0
    flow[::13] = 0.0
    initial = np.where(rng.random(n) < 0.3, rng.uniform(0.0, 30.0, n), 0.0)
    return (
        flow,
        rng.uniform(900.0, 3800.0, n),
        green,
        cycle,
        rng.uniform(0.1, 1.0, n),
        initial,
        rng.uniform(0.04, 0.5, n),
        rng.uniform(0.09, 1.0, n),
        np.minimum(1.0, green / cycle * rng.uniform(0.3, 2.0, n)),
    )


def slow_lane_group(
    v: float, s: float, g: float, cyc: float, t: float, q_b: float, k: float, i: float, p: float
) -> tuple[float, float, float, float, float]:
    """HCM Eqs. 19-16 to 19-26 and 19-44 to 19-49, symbol for symbol."""
    c = s * g / cyc
    x = 0.0 if v == 0 else math.inf if c == 0 else v / c
    u = g / cyc
    y = min(1, x) * u
    if g == 0:
        pf = 1.0
    elif p == 1:
        pf = 0.0  # the limit: nobody arrives on red
    else:
        pf = (1 - p) / (1 - u) * (1 - y) / (1 - min(1, x) * p) * (1 + y * (1 - p / u) / (1 - u))
    d1 = pf * 0.5 * cyc * (1 - u) ** 2 / (1 - min(1, x) * u)
    d2 = 0.0
    if v > 0:
        d2 = math.inf if c == 0 else 900 * t * ((x - 1) + math.sqrt((x - 1) ** 2 + 8 * k * i * x / (c * t)))
    d3 = 0.0
    if q_b > 0 and v > 0:
        if c == 0:
            d3 = math.inf
        else:
            t_a, q_eo = (t, t * (v - c)) if v >= c else (min(t, q_b / (c - v)), 0.0)
            q_e = q_b + t_a * (v - c)
            area = t_a * (q_b + q_e - q_eo) / 2 + (q_e**2 - q_eo**2) / (2 * c) - q_b**2 / (2 * c)
            d3 = 3600 / (v * t) * area
    return c, x, d1, d2, d3


@pytest.mark.parametrize("version", ["compiled", "plain"])
@pytest.mark.parametrize("seed", range(3))
def test_lane_groups_against_the_book(seed: int, version: str) -> None:
    function = delay.lane_group_delay if version == "compiled" else plain(delay.lane_group_delay)
    arrays = columns(seed, 120)
    found = function(*arrays)
    for i in range(120):
        c, x, d1, d2, d3 = slow_lane_group(*(float(array[i]) for array in arrays))
        got = [field[i] for field in found]
        assert got == pytest.approx([c, x, d1, d2, d3, d1 + d2 + d3], rel=1e-9, abs=1e-9)


def test_movement_delay_is_the_lane_group_without_extras() -> None:
    flow, saturation, green, cycle, period = columns(7, 60)[:5]
    n = len(flow)
    whole = delay.lane_group_delay(
        flow, saturation, green, cycle, period, np.zeros(n), np.full(n, 0.5), np.ones(n), green / cycle
    )
    for i in range(n):
        seconds = (float(green[i]), float(cycle[i]))
        flows_vps = (float(flow[i]) / 3600.0, float(saturation[i]) / 3600.0)
        single = delay.movement_delay(*seconds, *flows_vps, float(period[i]))
        assert single == pytest.approx(whole.control_s[i], rel=1e-9)


def grid(seed: int, n_group: int, n_plan: int) -> tuple[Any, ...]:
    """Lane groups under plans, as `plan_delay` takes them; some without green, flow, saturation, or all green."""
    flow, saturation, _, _, _, initial, k, filtering, _ = columns(seed, n_group)
    rng = np.random.default_rng(1000 + seed)
    cycle = rng.uniform(40.0, 150.0, n_plan)
    green = cycle * rng.uniform(0.05, 0.9, (n_group, n_plan))
    green[:, ::7] = 0.0
    green[:, 3::11] = cycle[3::11]
    saturation[::5] = 0.0
    return flow, saturation, k, filtering, initial, green, cycle, 0.25


@pytest.mark.parametrize("version", ["compiled", "plain"])
@pytest.mark.parametrize("seed", range(3))
def test_plans_in_bulk_are_lane_groups_one_by_one(seed: int, version: str) -> None:
    function: Callable[..., None] = (
        plan_delay.plan_delay if version == "compiled" else plain(plan_delay.plan_delay)
    )
    lane_groups: Callable[..., delay.LaneGroupDelays] = delay.lane_group_delay
    arguments = grid(seed, 20, 60)
    flow, saturation, k, filtering, initial, green, cycle, period_h = arguments
    found = np.full(green.shape, -1.0)
    function(*arguments, found)
    for i in range(20):
        columns_of_i = [np.full(60, array[i]) for array in (flow, saturation)]
        more = [np.full(60, array[i]) for array in (initial, k, filtering)]
        expected = lane_groups(
            *columns_of_i, green[i].copy(), cycle, np.full(60, period_h), *more, green[i] / cycle
        ).control_s
        assert found[i] == pytest.approx(expected, rel=1e-9), i


def left_turns(seed: int, n_group: int, n_plan: int) -> tuple[Any, ...]:
    """Left turns under plans, as `left_turn_plan_delay` takes them, up to twice their capacity."""
    rng = np.random.default_rng(2000 + seed)
    cycle = rng.uniform(50.0, 150.0, n_plan)
    shares = rng.dirichlet([1.0, 1.0, 1.0, 2.0], (n_group, n_plan))
    shares[:, ::9, 0] = 0.0
    shares[:, 1::9, 2] = 0.0
    flow = rng.uniform(10.0, 700.0, n_group)
    flow[::7] = 0.0
    return (
        flow,
        rng.uniform(1500.0, 1800.0, n_group),
        rng.uniform(0.0, 900.0, n_group),
        rng.choice([0.0, 2.0, 4.0], n_group),
        rng.uniform(0.04, 0.5, n_group),
        rng.uniform(0.09, 1.0, n_group),
        np.where(rng.random(n_group) < 0.3, rng.uniform(0.0, 10.0, n_group), 0.0),
        *(np.ascontiguousarray(cycle * shares[:, :, part]) for part in range(3)),
        cycle,
        0.25,
    )


@pytest.mark.parametrize("version", ["compiled", "plain"])
@pytest.mark.parametrize("seed", range(3))
def test_left_turns_in_bulk_are_measured_ones(seed: int, version: str) -> None:
    """Against the general polygon in `measure_lane_group`."""
    compiled = plan_delay.left_turn_plan_delay
    function: Callable[..., None] = compiled if version == "compiled" else plain(compiled)
    arguments = left_turns(seed, 12, 40)
    flow, protected, permitted, sneakers, k, filtering, initial, green, waiting, open_s, cycle, _ = arguments
    found = np.full(green.shape, -1.0)
    function(*arguments, found)
    over = 0
    for i, j in np.ndindex(*found.shape):
        left = PermittedLeft(permitted[i], waiting[i, j] + open_s[i, j], open_s[i, j], sneakers[i])
        group = LaneGroup(
            flow[i], protected[i], green[i, j], cycle[j], initial_queue_veh=initial[i],
            upstream_filtering=filtering[i], incremental_k=k[i], permitted_left=left,
        )  # fmt: skip
        measured = measure_lane_group(group)
        over += measured.vc_ratio > 1.0
        assert found[i, j] == pytest.approx(measured.control_delay_s, rel=1e-9, abs=1e-9)
    assert over > 20


def test_left_turns_that_nobody_serves_wait_for_ever() -> None:
    one, none = np.ones(1), np.zeros(1)
    found = np.empty((1, 1))
    plan_delay.left_turn_plan_delay(
        100.0 * one, 1700.0 * one, none, none, 0.5 * one, one, 3.0 * one,
        np.zeros((1, 1)), np.zeros((1, 1)), np.zeros((1, 1)), 90.0 * one, 0.25, found,
    )  # fmt: skip
    assert found[0, 0] == math.inf


@LAW
@given(x=st.floats(0.01, 1.5), green=SHARE, cycle_s=CYCLE_S)
def test_even_arrivals_need_no_progression_factor(x: float, green: float, cycle_s: float) -> None:
    assert delay.progression_factor(green, x, green) == pytest.approx(1.0)


@LAW
@given(flow=FLOW_VPH, green=SHARE, cycle_s=CYCLE_S, more=st.floats(1.0, 1.5))
def test_delay_grows_with_flow_and_falls_with_green(
    flow: float, green: float, cycle_s: float, more: float
) -> None:
    def total(flow_vph: float, green_s: float) -> float:
        return delay.movement_delay(green_s, cycle_s, flow_vph / 3600.0, 0.5, 0.25)

    base = total(flow, green * cycle_s)
    assert total(flow * more, green * cycle_s) >= base - 1e-9
    assert total(flow, min(cycle_s, green * more * cycle_s)) <= base + 1e-9


@LAW
@given(x=st.floats(1.0, 3.0), capacity=st.floats(100.0, 4000.0), period_h=st.floats(0.1, 1.0))
def test_overload_costs_at_least_the_deterministic_queue(x: float, capacity: float, period_h: float) -> None:
    """A queue that grows by v − c all period delays the mean arrival by half the last one's wait."""
    found = delay.incremental_delay_s(x, capacity, period_h, 0.5, 1.0)
    assert found >= 1800.0 * period_h * (x - 1.0) - 1e-9


@LAW
@given(initial=st.floats(0.1, 100.0), flow=FLOW_VPH, capacity=FLOW_VPH, period_h=st.floats(0.1, 1.0))
def test_initial_queue_is_never_a_gain(initial: float, flow: float, capacity: float, period_h: float) -> None:
    single = delay.initial_queue_delay_s(initial, flow, capacity, period_h)
    double = delay.initial_queue_delay_s(2.0 * initial, flow, capacity, period_h)
    assert 0.0 <= single <= double + 1e-9


def test_initial_queue_delay_is_the_area_of_the_extra_queue() -> None:
    """10 vehicles, 400 veh/h against 600: gone after 10/200 h; the extra queue is a triangle."""
    waiting_veh_h = 0.5 * 10.0 * (10.0 / 200.0)
    assert delay.initial_queue_delay_s(10.0, 400.0, 600.0, 0.25) * 400.0 * 0.25 / 3600.0 == pytest.approx(
        # Eq. 19-44 also takes off what the queue itself had before the period: Q_b² / 2c.
        waiting_veh_h - 10.0**2 / 1200.0
    )


@LAW
@given(flow=st.floats(1.0, 1700.0), green=SHARE, cycle_s=CYCLE_S)
def test_a_polygon_with_one_green_is_the_formula(flow: float, green: float, cycle_s: float) -> None:
    saturation_vps, arrival_vps = 0.5, flow / 3600.0
    x = arrival_vps / (saturation_vps * green)
    if x > 0.999:
        return
    polygon = queue_polygon.queue_polygon(
        np.array([cycle_s * (1.0 - green), cycle_s * green]), np.array([0.0, saturation_vps]), np.zeros(2),
        arrival_vps, 8.0,
    )  # fmt: skip
    assert polygon.repeats
    expected = delay.uniform_delay_s(green * cycle_s, cycle_s, x, 1.0)
    assert polygon.delay_veh_s / (arrival_vps * cycle_s) == pytest.approx(expected, rel=1e-9)
    # Full stops and Eq. 31-139 are one as long as somebody waits longer than a stop takes.
    if (1.0 - green) * green * cycle_s * x >= 8.0:
        stops = queue_length.first_back_of_queue_veh(
            flow, 1800.0 * green, 1800.0, green, green * cycle_s, cycle_s, 8.0
        )
        assert polygon.full_stops_veh == pytest.approx(stops, rel=1e-9)


def _none_or(most: float) -> st.SearchStrategy[float]:
    """Nothing, or a rate that a street could have: the closed form divides by products of rates."""
    return st.just(0.0) | st.floats(1e-6, most)


@LAW
@given(
    shares=st.lists(st.floats(0.0, 1.0), min_size=4, max_size=4),
    rates=st.tuples(_none_or(1.0), _none_or(0.5), _none_or(5.0)),
    load=st.floats(0.01, 1.0),
    cycle_s=CYCLE_S,
)
def test_the_closed_form_is_the_polygon(
    shares: list[float], rates: tuple[float, float, float], load: float, cycle_s: float
) -> None:
    total = sum(shares)
    if total < 0.01:
        return
    protected_s, waiting_s, unblocked_s, red_s = (cycle_s * share / total for share in shares)
    protected_vps, permitted_vps, sneakers = rates
    served = protected_vps * protected_s + permitted_vps * unblocked_s + sneakers
    arrival_vps = load * served / cycle_s
    polygon = queue_polygon.queue_polygon(
        np.array([protected_s, waiting_s, unblocked_s, red_s]),
        np.array([protected_vps, 0.0, permitted_vps, 0.0]),
        np.array([0.0, 0.0, sneakers, 0.0]),
        arrival_vps,
        8.0,
    )
    found = queue_polygon.left_turn_area_veh_s(
        arrival_vps, protected_s, waiting_s, unblocked_s, red_s, protected_vps, permitted_vps, sneakers
    )
    assert found == pytest.approx(polygon.delay_veh_s, rel=1e-6, abs=1e-6)


def slow_polygon(
    durations: np.ndarray,
    service: np.ndarray,
    sneakers: np.ndarray,
    arrival: float,
    stop_s: float,
    step_s: float,
) -> tuple[float, float, float]:
    """The queue in small steps, vehicle by vehicle: delay, longest queue, most full stops of one queue."""
    queue, result = 0.0, (0.0, 0.0, 0.0)
    stopped = 0.0
    for _ in range(5):
        area = longest = queue * 0.0
        most = 0.0
        for length, rate, slip in zip(durations, service, sneakers):
            for _ in range(round(length / step_s)):
                area += queue * step_s
                leaving = min(queue + arrival * step_s, rate * step_s)
                if queue > arrival * stop_s:
                    stopped += leaving
                queue += arrival * step_s - leaving
                longest, most = max(longest, queue), max(most, stopped)
                if queue <= 1e-12:
                    stopped = 0.0
            gone = min(slip, queue)
            stopped += min(gone, max(0.0, queue - arrival * stop_s))
            queue -= gone
            most = max(most, stopped)
            if queue <= 1e-12:
                stopped = 0.0
        result = (area, longest, most)
    return result


@pytest.mark.parametrize("version", ["compiled", "plain"])
@pytest.mark.parametrize("seed", range(4))
def test_polygon_against_small_steps(seed: int, version: str) -> None:
    """A protected-permitted left turn: arrow, blocked, gaps with sneakers, red."""
    function = queue_polygon.queue_polygon if version == "compiled" else plain(queue_polygon.queue_polygon)
    rng = np.random.default_rng(seed)
    durations = np.round(rng.uniform([6, 5, 5, 20], [20, 30, 30, 50]), 1)
    service = np.array([0.45, 0.0, rng.uniform(0.1, 0.25), 0.0])
    sneakers = np.array([0.0, 0.0, 2.0, 0.0])
    served = float(durations @ service) + 2.0
    arrival = 0.8 * served / float(durations.sum())
    found = function(durations, service, sneakers, arrival, 9.0)
    area, longest, most = slow_polygon(durations, service, sneakers, arrival, 9.0, 0.005)
    assert found.repeats
    assert found.delay_veh_s == pytest.approx(area, rel=0.002, abs=0.02)
    assert found.max_queue_veh == pytest.approx(longest, abs=0.01)
    assert found.full_stops_veh == pytest.approx(most, abs=0.02)


def test_a_polygon_over_capacity_says_so() -> None:
    polygon = queue_polygon.queue_polygon(np.array([30.0, 30.0]), np.array([0.0, 0.5]), np.zeros(2), 0.3, 8.0)
    assert not polygon.repeats


@LAW
@given(opposing=st.floats(0.0, 2000.0), more=st.floats(1.0, 200.0))
def test_permitted_lefts_lose_to_the_opposing_stream(opposing: float, more: float) -> None:
    free = delay.permitted_left_saturation_vph(0.0, 4.5, 2.5)
    here = delay.permitted_left_saturation_vph(opposing, 4.5, 2.5)
    assert free == pytest.approx(3600.0 / 2.5)
    assert delay.permitted_left_saturation_vph(opposing + more, 4.5, 2.5) < here <= free * (1.0 + 1e-12)
