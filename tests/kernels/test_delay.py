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

from kernels import delay
from kernels._jit import JIT_ENABLED, plain

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
    "second_back_of_queue_veh": [(600.0, 5.0), (600.0, 0.0)],
    "third_back_of_queue_veh": [
        (10.0, 400.0, 600.0, 1.0, 0.25),
        (10.0, 700.0, 600.0, 2.0, 0.25),
        (0.0, 1.0, 1.0, 1.0, 0.25),
    ],
    "permitted_left_saturation_vph": [(624.0, 4.5, 2.5), (0.0, 4.5, 2.5)],
    "webster_cycle_s": [(0.7, 12.0), (1.1, 12.0)],
    "webster_delay_s": [(30.0, 90.0, 0.1, 0.5), (30.0, 90.0, 0.2, 0.5), (30.0, 90.0, 0.0, 0.5)],
}
ARRAY_KERNELS = {"lane_group_delay", "queue_polygon"}


def kernels_of(module: Any) -> dict[str, Callable[..., Any]]:
    return {
        name: function
        for name, function in vars(module).items()
        if name not in ("kernel", "NDArray")
        and (hasattr(function, "py_func") or inspect.isfunction(function))
        and plain(function).__module__ == module.__name__
    }


def test_every_kernel_is_compared() -> None:
    assert set(kernels_of(delay)) == set(CALLS) | ARRAY_KERNELS


@pytest.mark.skipif(not JIT_ENABLED, reason="kernels are plain Python in this run")
@pytest.mark.parametrize("name", CALLS)
def test_compiled_and_plain_agree(name: str) -> None:
    compiled = getattr(delay, name)
    for call in CALLS[name]:
        assert compiled(*call) == pytest.approx(plain(compiled)(*call), rel=1e-14)


@pytest.mark.skipif(not JIT_ENABLED, reason="kernels are plain Python in this run")
def test_one_compiled_version_a_kernel() -> None:
    for name, calls in CALLS.items():
        for call in calls:
            getattr(delay, name)(*call)
        assert len(getattr(delay, name).signatures) == 1, name


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
    polygon = delay.queue_polygon(
        np.array([cycle_s * (1.0 - green), cycle_s * green]), np.array([0.0, saturation_vps]), np.zeros(2),
        arrival_vps, 8.0,
    )  # fmt: skip
    assert polygon.repeats
    expected = delay.uniform_delay_s(green * cycle_s, cycle_s, x, 1.0)
    assert polygon.delay_veh_s / (arrival_vps * cycle_s) == pytest.approx(expected, rel=1e-9)
    # Full stops and Eq. 31-139 are one as long as somebody waits longer than a stop takes.
    if (1.0 - green) * green * cycle_s * x >= 8.0:
        stops = delay.first_back_of_queue_veh(
            flow, 1800.0 * green, 1800.0, green, green * cycle_s, cycle_s, 8.0
        )
        assert polygon.full_stops_veh == pytest.approx(stops, rel=1e-9)


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
    function = delay.queue_polygon if version == "compiled" else plain(delay.queue_polygon)
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
    polygon = delay.queue_polygon(np.array([30.0, 30.0]), np.array([0.0, 0.5]), np.zeros(2), 0.3, 8.0)
    assert not polygon.repeats


@LAW
@given(opposing=st.floats(0.0, 2000.0), more=st.floats(1.0, 200.0))
def test_permitted_lefts_lose_to_the_opposing_stream(opposing: float, more: float) -> None:
    free = delay.permitted_left_saturation_vph(0.0, 4.5, 2.5)
    here = delay.permitted_left_saturation_vph(opposing, 4.5, 2.5)
    assert free == pytest.approx(3600.0 / 2.5)
    assert delay.permitted_left_saturation_vph(opposing + more, 4.5, 2.5) < here <= free * (1.0 + 1e-12)
