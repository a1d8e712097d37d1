"""Link tables against the deterministic queue and against the whole street, and climbing over it."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from kernels import delay
from kernels._jit import JIT_ENABLED, plain
from kernels.street import StreetArrays, climb, link_tables, run_street, stretch_arrivals

VERSIONS = ["compiled", "plain"]
N_BIN = 80


def version_of(function: Any, version: str) -> Any:
    return function if version == "compiled" else plain(function)


# ------------------------------------------------------------------------------------------- link tables


def green_between(begin: int, end: int) -> np.ndarray:
    row = np.zeros(N_BIN)
    row[begin:end] = 1.0
    return row


def one_way_street(
    green: np.ndarray, *, flow: float, upstream: float, saturation: float, smoothing: float, lag: float
) -> StreetArrays:
    """Signal 0 sends `upstream` of `flow` [veh/s] to signal 1, whose green is given; the rest joins evenly."""
    return StreetArrays(
        server_signal=np.array([0, 1]),
        server_green=np.array([green_between(0, 30), green]),
        server_saturation=np.full(2, saturation),
        server_flow=np.array([upstream, flow]),
        server_tap=np.array([0, 0, 1]),
        tap_stretch=np.array([0]),
        tap_flow=np.array([upstream]),
        stretch_link=np.array([0]),
        stretch_smoothing=np.array([smoothing]),
        stretch_lag=np.array([lag]),
        stretch_feed=np.array([0, 1]),
        feed_server=np.array([0]),
        feed_share=np.ones((1, N_BIN)),
        link_from=np.array([0]),
        link_to=np.array([1]),
    )


def tables_of(street: StreetArrays, stop_weight: float, version: str = "compiled") -> np.ndarray:
    departures = np.zeros((2, N_BIN))
    start = np.zeros(2, np.int64)
    version_of(run_street, version)(street, start, 0, stop_weight, departures)
    table: np.ndarray = version_of(link_tables, version)(street, departures, start, stop_weight)
    return table


# At capacity the 30 s of green upstream send a block of 15 vehicles at saturation flow.
BLOCK = {"flow": 15.0 / N_BIN, "upstream": 15.0 / N_BIN, "saturation": 0.5, "smoothing": 1.0, "lag": 20.0}


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("late", [0, 1, 7, 25, 40])
def test_a_block_that_arrives_before_green_waits_for_it(late: int, version: str) -> None:
    # D/D/1: a block that arrives and leaves at the same rate is held up as a whole, each vehicle until green.
    street = one_way_street(green_between(0, 30), **BLOCK)
    waiting = tables_of(street, 0.0, version)[0]
    assert waiting[20 + late] * N_BIN == pytest.approx(15.0 * late)
    stops = tables_of(street, 1.0, version)[0] - waiting
    assert stops[20 + late] * N_BIN == pytest.approx(15.0 if late else 0.0)


def test_the_best_difference_is_the_travel_time() -> None:
    for lag in (0, 13, 79, 100):
        street = one_way_street(green_between(0, 30), **{**BLOCK, "lag": float(lag)})
        assert int(tables_of(street, 2.0)[0].argmin()) == lag % N_BIN


def test_dispersion_blurs_but_does_not_move_the_best_difference_by_more_than_it_spreads() -> None:
    smoothing, lag = 0.25, 20.0
    street = one_way_street(green_between(0, 36), **{**BLOCK, "smoothing": smoothing, "lag": lag})
    best = int(tables_of(street, 0.0)[0].argmin())
    # The recursion delays by a geometric time of mean 1/F - 1 and standard deviation √(1 - F)/F.
    mean, spread = 1.0 / smoothing - 1.0, math.sqrt(1.0 - smoothing) / smoothing
    assert abs(best - (lag + mean)) <= spread + 1.0


def test_even_arrivals_know_no_offset() -> None:
    street = one_way_street(green_between(10, 50), **{**BLOCK, "upstream": 0.0})
    row = tables_of(street, 0.0)[0]
    x = 15.0 / (0.5 * 40)
    expected = delay.uniform_delay_s(40.0, float(N_BIN), x, 1.0) * BLOCK["flow"]
    assert row == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("version", VERSIONS)
def test_a_table_is_the_street_with_one_signal_moved(version: str) -> None:
    street = one_way_street(
        green_between(5, 50), flow=0.2, upstream=0.15, saturation=0.5, smoothing=0.2, lag=17.4
    )
    row = tables_of(street, 3.0, version)[0]
    departures = np.zeros((2, N_BIN))
    costs = [
        version_of(run_street, version)(street, np.array([11, (11 + d) % N_BIN]), 1, 3.0, departures)
        for d in range(N_BIN)
    ]
    first = np.array(costs) - row
    assert first == pytest.approx(first[0], abs=1e-9)  # what the upstream stop line costs, always the same
    assert first[0] > 0.0


def test_every_vehicle_that_comes_goes() -> None:
    street = one_way_street(
        green_between(5, 50), flow=0.2, upstream=0.15, saturation=0.5, smoothing=0.2, lag=17.4
    )
    departures = np.zeros((2, N_BIN))
    for offset in (0, 9, 55):
        there = np.array([3, offset])
        run_street(street, there, 2, 1.0, departures)
        assert departures.sum(axis=1) == pytest.approx(street.server_flow * N_BIN)
        arrivals = stretch_arrivals(street, departures, there)
        assert arrivals.mean(axis=1) == pytest.approx(1.0)
        assert arrivals.min() >= 0.0
        # nobody leaves on red
        green = np.roll(street.server_green[0], 3)
        assert departures[0][green == 0.0] == pytest.approx(0.0, abs=1e-12)


def turning_street() -> StreetArrays:
    """Of what leaves signal 0, all of the first 12 s of green goes to signal 1 and a third of the rest."""
    street = one_way_street(
        green_between(5, 50), flow=0.2, upstream=0.15, saturation=0.5, smoothing=0.2, lag=17.4
    )
    return street._replace(feed_share=np.where(np.arange(N_BIN) < 12, 1.0, 1.0 / 3.0)[None])


@pytest.mark.parametrize("version", VERSIONS)
def test_only_differences_count(version: str) -> None:
    street = turning_street()
    run, tables = version_of(run_street, version), version_of(link_tables, version)
    departures = np.zeros((2, N_BIN))
    cost = run(street, np.array([0, 37]), 1, 3.0, departures)
    row = tables(street, departures, np.array([0, 37]), 3.0)
    arrivals = stretch_arrivals(street, departures, np.array([0, 37]))
    for later in (1, 33, 79):
        moved = np.array([later, (37 + later) % N_BIN])
        assert run(street, moved, 1, 3.0, departures) == pytest.approx(cost)
        assert tables(street, departures, moved, 3.0) == pytest.approx(row)
        rolled = np.roll(arrivals, later, axis=1)
        assert stretch_arrivals(street, departures, moved) == pytest.approx(rolled)


@pytest.mark.parametrize("version", VERSIONS)
def test_climbing_finds_the_valley_of_one_link(version: str) -> None:
    street = one_way_street(
        green_between(5, 50), flow=0.2, upstream=0.15, saturation=0.5, smoothing=0.2, lag=17.4
    )
    row = tables_of(street, 3.0)[0]
    found = np.array([0, 30])
    departures = np.zeros((2, N_BIN))
    before = run_street(street, found.copy(), 1, 3.0, departures)
    steps = np.array([20, -20, 5, -5, 1, -1])
    reached = version_of(climb, version)(street, np.full(2, N_BIN), steps, 40, 1, 3.0, found, departures)
    assert reached == pytest.approx(run_street(street, found, 1, 3.0, departures))
    assert reached - before == pytest.approx(row[(found[1] - found[0]) % N_BIN] - row[30], abs=1e-9)
    assert row[(found[1] - found[0]) % N_BIN] == pytest.approx(row.min(), rel=1e-6)


@pytest.mark.skipif(not JIT_ENABLED, reason="kernels are plain Python in this run")
def test_one_layout_serves_all() -> None:
    tables_of(one_way_street(green_between(0, 30), **BLOCK), 0.0)
    for function in (run_street, link_tables):
        assert len(function.signatures) == 1  # type: ignore[attr-defined]
