"""Link tables against the deterministic queue and against the whole street; offsets against brute force."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest

from kernels import delay, offsets
from kernels._jit import JIT_ENABLED, plain

VERSIONS = ["compiled", "plain"]
N_BIN = 80
NO_LINKS = np.empty(0, np.int64)


def version_of(function: Any, version: str) -> Any:
    return function if version == "compiled" else plain(function)


# ------------------------------------------------------------------------------------------- link tables


def green_between(begin: int, end: int) -> np.ndarray:
    row = np.zeros(N_BIN)
    row[begin:end] = 1.0
    return row


def one_way_street(
    green: np.ndarray, *, flow: float, upstream: float, saturation: float, smoothing: float, lag: float
) -> offsets.StreetArrays:
    """Signal 0 sends `upstream` of `flow` [veh/s] to signal 1, whose green is given; the rest joins evenly."""
    return offsets.StreetArrays(
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


def tables_of(street: offsets.StreetArrays, stop_weight: float, version: str = "compiled") -> np.ndarray:
    departures = np.zeros((2, N_BIN))
    start = np.zeros(2, np.int64)
    version_of(offsets.run_street, version)(street, start, 0, stop_weight, departures)
    table: np.ndarray = version_of(offsets.link_tables, version)(street, departures, start, stop_weight)
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
        version_of(offsets.run_street, version)(street, np.array([11, (11 + d) % N_BIN]), 1, 3.0, departures)
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
        offsets.run_street(street, there, 2, 1.0, departures)
        assert departures.sum(axis=1) == pytest.approx(street.server_flow * N_BIN)
        arrivals = offsets.stretch_arrivals(street, departures, there)
        assert arrivals.mean(axis=1) == pytest.approx(1.0)
        assert arrivals.min() >= 0.0
        # nobody leaves on red
        green = np.roll(street.server_green[0], 3)
        assert departures[0][green == 0.0] == pytest.approx(0.0, abs=1e-12)


def turning_street() -> offsets.StreetArrays:
    """Of what leaves signal 0, all of the first 12 s of green goes to signal 1 and a third of the rest."""
    street = one_way_street(
        green_between(5, 50), flow=0.2, upstream=0.15, saturation=0.5, smoothing=0.2, lag=17.4
    )
    return street._replace(feed_share=np.where(np.arange(N_BIN) < 12, 1.0, 1.0 / 3.0)[None])


@pytest.mark.parametrize("version", VERSIONS)
def test_only_differences_count(version: str) -> None:
    street = turning_street()
    run, tables = version_of(offsets.run_street, version), version_of(offsets.link_tables, version)
    departures = np.zeros((2, N_BIN))
    cost = run(street, np.array([0, 37]), 1, 3.0, departures)
    row = tables(street, departures, np.array([0, 37]), 3.0)
    arrivals = offsets.stretch_arrivals(street, departures, np.array([0, 37]))
    for later in (1, 33, 79):
        moved = np.array([later, (37 + later) % N_BIN])
        assert run(street, moved, 1, 3.0, departures) == pytest.approx(cost)
        assert tables(street, departures, moved, 3.0) == pytest.approx(row)
        rolled = np.roll(arrivals, later, axis=1)
        assert offsets.stretch_arrivals(street, departures, moved) == pytest.approx(rolled)


@pytest.mark.parametrize("version", VERSIONS)
def test_climbing_finds_the_valley_of_one_link(version: str) -> None:
    street = one_way_street(
        green_between(5, 50), flow=0.2, upstream=0.15, saturation=0.5, smoothing=0.2, lag=17.4
    )
    row = tables_of(street, 3.0)[0]
    found = np.array([0, 30])
    departures = np.zeros((2, N_BIN))
    before = offsets.run_street(street, found.copy(), 1, 3.0, departures)
    steps = np.array([20, -20, 5, -5, 1, -1])
    reached = version_of(offsets.climb, version)(
        street, np.full(2, N_BIN), steps, 40, 1, 3.0, found, departures
    )
    assert reached == pytest.approx(offsets.run_street(street, found, 1, 3.0, departures))
    assert reached - before == pytest.approx(row[(found[1] - found[0]) % N_BIN] - row[30], abs=1e-9)
    assert row[(found[1] - found[0]) % N_BIN] == pytest.approx(row.min(), rel=1e-6)


# ----------------------------------------------------------------------------------------- best offsets

GRAPHS = {
    "pair": [(0, 1)],
    "two ways": [(0, 1), (1, 0)],
    "parallel": [(0, 1), (0, 1), (1, 0)],
    "row": [(0, 1), (1, 2), (2, 1), (2, 3)],
    "star": [(0, 1), (2, 0), (0, 3)],
    "triangle": [(0, 1), (1, 2), (2, 0)],
    "ring": [(0, 1), (1, 2), (2, 3), (3, 0), (0, 3)],
    "ring with chord": [(0, 1), (1, 2), (2, 3), (3, 0), (0, 2)],
    "all": [(a, b) for a, b in itertools.permutations(range(4), 2)],
    "two parts": [(0, 1), (2, 3), (3, 2)],
}


def random_tables(links: list[tuple[int, int]], n_bin: int, seed: int, halves: set[int]) -> np.ndarray:
    """Unstructured costs, the worst there can be; rows of a signal with half the cycle repeat after half."""
    table = np.random.default_rng(seed).random((len(links), n_bin))
    for row, (a, b) in zip(table, links, strict=True):
        if {a, b} & halves:
            row[n_bin // 2 :] = row[: n_bin // 2]
    return table


def ends(links: list[tuple[int, int]]) -> tuple[np.ndarray, np.ndarray]:
    return np.array([a for a, _ in links]), np.array([b for _, b in links])


def brute_force(table: np.ndarray, links: list[tuple[int, int]], choices: list[int]) -> float:
    n_bin = table.shape[1]
    grid = np.indices(choices)
    return float(sum(row[(grid[b] - grid[a]) % n_bin] for row, (a, b) in zip(table, links)).min())


def solve(
    table: np.ndarray,
    links: list[tuple[int, int]],
    choices: list[int],
    version: str = "compiled",
    n_start: int = 2,
) -> tuple[float, np.ndarray]:
    n_signal = len(choices)
    rng = np.random.default_rng(7)
    starts = rng.integers(0, table.shape[1], (n_start, n_signal))
    orders = np.array([np.roll(np.arange(n_signal), k) for k in range(n_signal)])
    found = np.zeros(n_signal, np.int64)
    value = version_of(offsets.best_offsets, version)(
        table, *ends(links), np.array(choices), starts, orders, found
    )
    return value, found


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("halves", [set(), {1}, {0, 2}], ids=["one cycle", "one half", "two halves"])
@pytest.mark.parametrize("name", GRAPHS)
def test_small_graphs_against_brute_force(name: str, halves: set[int], version: str) -> None:
    links, n_bin = GRAPHS[name], 10
    n_signal = 1 + max(max(link) for link in links)
    choices = [n_bin // 2 if i in halves else n_bin for i in range(n_signal)]
    for seed in range(3 if version == "plain" else 12):
        table = random_tables(links, n_bin, seed, halves)
        value, found = solve(table, links, choices, version)
        assert value == pytest.approx(brute_force(table, links, choices), abs=1e-12)
        assert value == pytest.approx(offsets.total_cost(table, *ends(links), found), abs=1e-12)
        assert (found >= 0).all()
        assert (found < choices).all()


def test_a_tree_of_any_size_reaches_the_sum_of_its_minima() -> None:
    rng = np.random.default_rng(3)
    links = [(int(rng.integers(0, i)), i) for i in range(1, 60)]
    table = rng.random((len(links), 70))
    value, _ = solve(table, links, [70] * 60)
    assert value == pytest.approx(table.min(axis=1).sum(), abs=1e-9)


def mesh(side: int) -> list[tuple[int, int]]:
    across = [(i * side + j, i * side + j + 1) for i in range(side) for j in range(side - 1)]
    return across + [(i * side + j, i * side + j + side) for i in range(side - 1) for j in range(side)]


def test_a_mesh_whose_links_agree_is_solved() -> None:
    # Offsets are hidden that are best for every link at once.
    rng = np.random.default_rng(5)
    links, n_bin = mesh(6), 60
    hidden = rng.integers(0, n_bin, 36)
    table = 0.1 + rng.random((len(links), n_bin))
    for row, (a, b) in zip(table, links, strict=True):
        row[(hidden[b] - hidden[a]) % n_bin] = 0.0
    value, found = solve(table, links, [n_bin] * 36)
    assert value == pytest.approx(0.0, abs=1e-12)
    assert ((found - found[0] - hidden + hidden[0]) % n_bin == 0).all()


def test_a_descent_ends_where_no_signal_alone_can_do_better() -> None:
    links, n_bin = mesh(5), 60
    table = random_tables(links, n_bin, 11, set())
    value, found = solve(table, links, [n_bin] * 25)
    for signal in range(25):
        for offset in range(n_bin):
            moved = found.copy()
            moved[signal] = offset
            assert offsets.total_cost(table, *ends(links), moved) >= value - 1e-9
    # more starts never end worse, and the same call ends the same
    better, _ = solve(table, links, [n_bin] * 25, n_start=6)
    assert better <= value + 1e-12
    again, same = solve(table, links, [n_bin] * 25)
    assert again == value
    assert (same == found).all()


def test_signals_without_links_stand_at_zero() -> None:
    found = np.full(3, 9)
    value = offsets.best_offsets(
        np.empty((0, 40)),
        NO_LINKS,
        NO_LINKS,
        np.full(3, 40),
        np.zeros((1, 3), np.int64),
        np.arange(3)[None],
        found,
    )
    assert value == 0.0
    assert (found == 0).all()


@pytest.mark.skipif(not JIT_ENABLED, reason="kernels are plain Python in this run")
def test_one_layout_serves_all() -> None:
    street = one_way_street(green_between(0, 30), **BLOCK)
    tables_of(street, 0.0)
    solve(random_tables(GRAPHS["all"], 10, 1, set()), GRAPHS["all"], [10] * 4)
    for function in (offsets.run_street, offsets.link_tables, offsets.best_offsets):
        assert len(function.signatures) == 1
