"""Platoon kernels: compiled, plain Python and a slow obvious reference say the same; no vehicle is lost."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from kernels import delay, profile
from kernels._jit import JIT_ENABLED, plain

# A first call may compile, which no deadline allows for.
LAW = settings(max_examples=100, deadline=None)

VERSIONS = ["compiled", "plain"]
PROFILES = hnp.arrays(np.float64, st.integers(20, 120), elements=st.floats(0.0, 0.6))


def version_of(function: Any, version: str) -> Any:
    return function if version == "compiled" else plain(function)


def random_profile(seed: int, n: int) -> np.ndarray:
    """A platoon and a trickle, as an upstream signal lets them go."""
    rng = np.random.default_rng(seed)
    flows = np.full(n, rng.uniform(0.0, 0.1))
    begin = int(rng.integers(n))
    flows[(begin + np.arange(n // 3)) % n] += 0.5
    return flows


def slow_disperse_cyclic(departures: np.ndarray, smoothing: float, lag_s: int) -> np.ndarray:
    """Robertson's recursion, cycle after cycle until it repeats."""
    n = len(departures)
    arrivals = np.zeros(n)
    before = 0.0
    for _ in range(400):
        for j in range(n):
            before = smoothing * departures[(j - lag_s) % n] + (1.0 - smoothing) * before
            arrivals[j] = before
    return arrivals


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(
    ("seed", "smoothing", "lag_s"), [(0, 0.3, 12), (1, 0.05, 95), (2, 1.0, 0), (3, 0.6, 240)]
)
def test_cyclic_dispersion_against_many_cycles(seed: int, smoothing: float, lag_s: int, version: str) -> None:
    departures = random_profile(seed, 90)
    found = version_of(profile.disperse_cyclic, version)(departures, smoothing, float(lag_s))
    assert found == pytest.approx(slow_disperse_cyclic(departures, smoothing, lag_s), abs=1e-12)


@LAW
@given(departures=PROFILES, smoothing=st.floats(0.01, 1.0), lag_s=st.floats(0.0, 300.0))
def test_dispersion_keeps_every_vehicle_and_makes_no_peaks(
    departures: np.ndarray, smoothing: float, lag_s: float
) -> None:
    arrivals = profile.disperse_cyclic(departures, smoothing, lag_s)
    assert arrivals.sum() == pytest.approx(departures.sum(), rel=1e-9, abs=1e-9)
    assert arrivals.max() <= departures.max() + 1e-9
    assert arrivals.min() >= departures.min() - 1e-9


@LAW
@given(smoothing=st.floats(0.3, 1.0), lag_s=st.floats(0.0, 20.0))
def test_mean_travel_time_is_the_lag_and_the_spread(smoothing: float, lag_s: float) -> None:
    departures = np.zeros(400)
    departures[0] = 1.0
    arrivals = profile.disperse_cyclic(departures, smoothing, lag_s)
    assert float(arrivals @ np.arange(400)) == pytest.approx(lag_s + 1.0 / smoothing - 1.0, abs=1e-6)


def test_calibration_reproduces_mean_and_spread() -> None:
    mean_s, sigma_s = 40.0, 7.0
    beta = profile.calibrated_beta(mean_s, sigma_s, 1.0)
    smoothing = profile.calibrated_smoothing(sigma_s, 1.0)
    departures = np.zeros(1000)
    departures[0] = 1.0
    arrivals = profile.disperse_cyclic(departures, smoothing, beta * mean_s)
    times = np.arange(1000)
    mean = float(arrivals @ times)
    assert mean == pytest.approx(mean_s, abs=1e-6)
    whole_lag = profile.disperse_cyclic(departures, smoothing, 30.0)
    mean = float(whole_lag @ times)
    assert math.sqrt(float(whole_lag @ (times - mean) ** 2)) == pytest.approx(sigma_s, rel=1e-6)
    assert profile.calibrated_smoothing(0.0, 1.0) == 1.0


def test_one_platoon_is_the_cyclic_one_while_the_cycle_lasts() -> None:
    upstream = random_profile(5, 20)
    padded = np.zeros(600)
    padded[:20] = upstream
    once = profile.disperse(upstream, 0.3, 8, 600)
    assert profile.disperse_cyclic(padded, 0.3, 8.0) == pytest.approx(once, abs=1e-12)


def slow_stopline(
    arrivals: np.ndarray, green: np.ndarray, saturation: float, parts: int
) -> tuple[np.ndarray, float, float, float]:
    """The queue in fine steps, long after the start: departures, delay, stops, farthest reach."""
    n, step = len(arrivals), 1.0 / parts
    queue = gone = 0.0
    departures, area, stops, reach = np.zeros(n), 0.0, 0.0, 0.0
    for _ in range(3):
        departures, area, stops, reach = np.zeros(n), 0.0, 0.0, 0.0
        for i in range(n):
            for _ in range(parts):
                coming = arrivals[i] * step
                leaving = min(queue + coming, saturation * green[i] * step)
                held = queue > 1e-12 or coming > leaving + 1e-15
                area += (queue + 0.5 * (coming - leaving)) * step
                stops += coming if held else 0.0
                gone = 0.0 if green[i] == 0.0 or not held else gone + leaving
                queue = max(0.0, queue + coming - leaving)
                departures[i] += leaving
                reach = max(reach, queue + gone if held else 0.0)
    return departures, area, stops, reach


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("seed", range(4))
def test_stopline_against_small_steps(seed: int, version: str) -> None:
    rng = np.random.default_rng(seed)
    arrivals = random_profile(seed + 10, 80)
    green = np.zeros(80)
    green[(int(rng.integers(80)) + np.arange(36)) % 80] = 1.0
    saturation = 1.1 * arrivals.sum() / 36.0 + 0.1
    found = version_of(profile.stopline, version)(arrivals, green, saturation)
    departures, area, stops, reach = slow_stopline(arrivals, green, saturation, 200)
    assert found.overflow_veh == 0.0
    assert found.departures_vps == pytest.approx(departures, abs=0.005)
    assert found.uniform_delay_veh_s == pytest.approx(area, rel=0.002, abs=0.02)
    assert found.stops_veh == pytest.approx(stops, abs=0.05)
    assert found.max_back_veh == pytest.approx(reach, abs=0.05)


@st.composite
def junctions(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, float]:
    arrivals = draw(PROFILES)
    green = draw(hnp.arrays(np.float64, len(arrivals), elements=st.sampled_from([0.0, 0.5, 1.0])))
    return arrivals, green, draw(st.floats(0.3, 1.5))


@LAW
@given(junctions())
def test_what_comes_goes_up_to_capacity(junction: tuple[np.ndarray, np.ndarray, float]) -> None:
    arrivals, green, saturation = junction
    found = profile.stopline(arrivals, green, saturation)
    served = saturation * green.sum()
    assert found.departures_vps.sum() == pytest.approx(min(arrivals.sum(), served), rel=1e-9, abs=1e-9)
    assert found.overflow_veh == pytest.approx(max(0.0, arrivals.sum() - served), abs=1e-9)
    assert found.departures_vps.max() <= max(saturation * green.max(), 0.0) + 1e-9
    assert (found.departures_vps >= -1e-12).all()
    assert found.departures_vps[green == 0.0] == pytest.approx(0.0, abs=1e-9)
    assert 0.0 <= found.stops_veh <= arrivals.sum() + 1e-9
    assert found.uniform_delay_veh_s >= 0.0


@LAW
@given(junctions(), st.integers(0, 200))
def test_the_reference_time_does_not_matter(
    junction: tuple[np.ndarray, np.ndarray, float], shift: int
) -> None:
    arrivals, green, saturation = junction
    if abs(arrivals.sum() - saturation * green.sum()) < 1e-6:
        return  # at capacity to the last digit, rounding decides whether the queue ever empties
    here = profile.stopline(arrivals, green, saturation)
    there = profile.stopline(np.roll(arrivals, shift), np.roll(green, shift), saturation)
    assert there.uniform_delay_veh_s == pytest.approx(here.uniform_delay_veh_s, rel=1e-6, abs=1e-6)
    assert np.roll(there.departures_vps, -shift) == pytest.approx(here.departures_vps, abs=1e-6)


@LAW
@given(flow=st.floats(0.01, 0.4), green_s=st.integers(10, 70))
def test_even_arrivals_have_the_uniform_delay_of_the_book(flow: float, green_s: int) -> None:
    cycle_s, saturation = 80, 0.5
    x = flow * cycle_s / (saturation * green_s)
    green = np.zeros(cycle_s)
    green[:green_s] = 1.0
    found = profile.stopline(np.full(cycle_s, flow), green, saturation)
    expected = delay.uniform_delay_s(float(green_s), float(cycle_s), x, 1.0)
    # Above capacity the profile is scaled down to it: as many vehicles as the green serves share the delay.
    vehicles = min(flow * cycle_s, saturation * green_s)
    assert found.uniform_delay_veh_s / vehicles == pytest.approx(expected, rel=1e-6)


def test_a_platoon_on_green_waits_for_nobody() -> None:
    arrivals = np.zeros(60)
    arrivals[20:40] = 0.4
    green = np.zeros(60)
    green[20:45] = 1.0
    found = profile.stopline(arrivals, green, 0.5)
    assert found.uniform_delay_veh_s == 0.0
    assert found.stops_veh == 0.0
    assert found.max_back_veh == 0.0
    assert (found.departures_vps == arrivals).all()


def test_no_green_serves_nobody() -> None:
    found = profile.stopline(np.full(60, 0.2), np.zeros(60), 0.5)
    assert found.overflow_veh == pytest.approx(12.0)
    assert found.departures_vps.sum() == 0.0


@pytest.mark.skipif(not JIT_ENABLED, reason="kernels are plain Python in this run")
def test_compiled_and_plain_agree_on_the_factors() -> None:
    calls: dict[Any, tuple[float, ...]] = {
        profile.robertson_smoothing: (30.0, 0.35, 0.8, 1.0),
        profile.calibrated_beta: (22.8, 5.951, 10.0),
        profile.calibrated_smoothing: (5.951, 10.0),
        profile.hcm_smoothing: (33.54, 1.0),
        profile.hcm_lag_steps: (33.54, 1.0),
    }
    for function, call in calls.items():
        assert function(*call) == pytest.approx(plain(function)(*call), rel=1e-14)
        assert len(function.signatures) == 1
    upstream = random_profile(3, 30)
    assert profile.disperse(upstream, 0.4, 3, 50) == pytest.approx(
        plain(profile.disperse)(upstream, 0.4, 3, 50)
    )
