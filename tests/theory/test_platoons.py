"""Platoon dispersion and the deterministic queue against printed examples."""

from __future__ import annotations

import numpy as np
import pytest

from kernels import delay, profile, queue_polygon
from tests.theory.worked import EXAMPLES

ROBERTSON = EXAMPLES["NPTEL-ROBERTSON"]
DD1 = EXAMPLES["WIKIBOOKS-DD1"]


def test_robertson_calibrated_by_the_spread_of_travel_times() -> None:
    inputs, expected = ROBERTSON["inputs"], ROBERTSON["expected"]
    step_s = float(inputs["step_s"])
    beta = profile.calibrated_beta(inputs["Ta"], inputs["sigma"], step_s)
    smoothing = profile.calibrated_smoothing(inputs["sigma"], step_s)
    alpha = (1.0 - beta) / beta
    assert beta == pytest.approx(expected["beta"], abs=0.0005)
    # The page computes alpha from the rounded beta.
    assert alpha == pytest.approx(expected["alpha"], abs=0.001)
    assert smoothing == pytest.approx(expected["F"], abs=0.0005)
    # The two forms of Robertson's factor are one: F = 1 / (1 + α β T / n).
    assert profile.robertson_smoothing(inputs["Ta"], alpha, beta, step_s) == pytest.approx(smoothing)


def test_robertson_on_two_links_in_series() -> None:
    inputs, expected = ROBERTSON["inputs"], ROBERTSON["expected"]
    smoothing = profile.calibrated_smoothing(inputs["sigma"], float(inputs["step_s"]))
    upstream = np.array(inputs["upstream"], dtype=np.float64)
    middle = profile.disperse(upstream, smoothing, inputs["lag_steps_link1"], len(expected["mid"]))
    end = profile.disperse(middle, smoothing, inputs["lag_steps_link2"], len(expected["end"]))
    assert middle == pytest.approx(expected["mid"], abs=ROBERTSON["tolerance"])
    assert end == pytest.approx(expected["end"], abs=ROBERTSON["tolerance"])
    upstream_total, middle_total, _ = expected["totals"]
    assert upstream.sum() == pytest.approx(upstream_total)
    assert middle.sum() == pytest.approx(middle_total, abs=ROBERTSON["tolerance"])
    # The page prints 88.84 for the end; its own figures add up to 88.94.
    assert end.sum() == pytest.approx(sum(expected["end"]), abs=ROBERTSON["tolerance"])


def dd1() -> tuple[float, float, float, float]:
    inputs = DD1["inputs"]
    return inputs["v"] / 3600.0, inputs["s"] / 3600.0, inputs["g"], inputs["C"]


def test_deterministic_queue_as_a_stop_line() -> None:
    arrival_vps, saturation_vps, green_s, cycle_s = dd1()
    green = np.zeros(cycle_s)
    green[cycle_s - green_s :] = 1.0
    found = profile.stopline(np.full(cycle_s, arrival_vps), green, saturation_vps)
    expected, exact = DD1["expected"], DD1["exact"]
    assert found.uniform_delay_veh_s == pytest.approx(exact["total_delay"], abs=0.01)
    # The page rounds the arrival rate to 0.138 veh/s first, hence its 406 and 29.41.
    assert found.uniform_delay_veh_s == pytest.approx(expected["total_delay_veh_s"], rel=0.01)
    vehicles = arrival_vps * cycle_s
    assert found.uniform_delay_veh_s / vehicles == pytest.approx(exact["avg_delay"], abs=0.005)
    # Everybody who comes in red or before the queue has cleared stops.
    red_s = cycle_s - green_s
    assert found.stops_veh / vehicles == pytest.approx(expected["P_queue"], abs=0.005)
    assert found.stops_veh == pytest.approx(arrival_vps * (red_s + exact["t_clear"]))
    assert found.max_back_veh == pytest.approx(found.stops_veh)


def test_deterministic_queue_as_a_polygon_and_as_a_formula() -> None:
    arrival_vps, saturation_vps, green_s, cycle_s = dd1()
    exact = DD1["exact"]
    red_s = cycle_s - green_s
    polygon = queue_polygon.queue_polygon(
        np.array([red_s, green_s], dtype=np.float64),
        np.array([0.0, saturation_vps]),
        np.zeros(2),
        arrival_vps,
        0.0,
    )
    assert polygon.max_queue_veh == pytest.approx(exact["Q_max"], abs=0.0001)
    assert polygon.max_queue_veh == pytest.approx(DD1["expected"]["Q_max"], rel=0.01)
    assert polygon.delay_veh_s == pytest.approx(exact["total_delay"], abs=0.01)
    on_green = green_s / cycle_s
    clear_s = queue_polygon.queue_service_s(
        arrival_vps, saturation_vps, on_green, float(green_s), float(cycle_s)
    )
    assert clear_s == pytest.approx(exact["t_clear"], abs=0.005)
    x = arrival_vps * cycle_s / (saturation_vps * green_s)
    assert delay.uniform_delay_s(float(green_s), float(cycle_s), x, 1.0) == pytest.approx(
        exact["avg_delay"], abs=0.005
    )
    # The first vehicle of red waits longest, all of the red.
    assert polygon.max_queue_veh / arrival_vps == pytest.approx(DD1["expected"]["max_delay"])
