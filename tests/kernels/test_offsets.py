"""Offsets and their bound against brute force."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

from kernels import offsets
from kernels._jit import JIT_ENABLED, plain

VERSIONS = ["compiled", "plain"]
NO_LINKS = np.empty(0, np.int64)


def version_of(function: Any, version: str) -> Any:
    return function if version == "compiled" else plain(function)


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
    n_part: int = 1,
) -> tuple[offsets.Best, np.ndarray]:
    n_signal = len(choices)
    rng = np.random.default_rng(7)
    starts = rng.integers(0, table.shape[1], (n_start, n_signal))
    orders = np.array([np.roll(np.arange(n_signal), k) for k in range(n_signal)])
    found = np.zeros(n_signal, np.int64)
    best = version_of(offsets.best_offsets, version)(
        table, *ends(links), np.array(choices), starts, orders, 40, 1000, n_part, found
    )
    assert best.bound <= best.value
    return best, found


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("halves", [set(), {1}, {0, 2}], ids=["one cycle", "one half", "two halves"])
@pytest.mark.parametrize("name", GRAPHS)
def test_small_graphs_against_brute_force(name: str, halves: set[int], version: str) -> None:
    links, n_bin = GRAPHS[name], 10
    n_signal = 1 + max(max(link) for link in links)
    choices = [n_bin // 2 if i in halves else n_bin for i in range(n_signal)]
    for seed in range(3 if version == "plain" else 12):
        table = random_tables(links, n_bin, seed, halves)
        (value, bound), found = solve(table, links, choices, version)
        assert value == pytest.approx(brute_force(table, links, choices), abs=1e-12)
        assert bound == pytest.approx(value, abs=1e-12)
        assert value == pytest.approx(offsets.total_cost(table, *ends(links), found), abs=1e-12)
        assert (found >= 0).all()
        assert (found < choices).all()


def test_a_tree_of_any_size_reaches_the_sum_of_its_minima() -> None:
    rng = np.random.default_rng(3)
    links = [(int(rng.integers(0, i)), i) for i in range(1, 60)]
    table = rng.random((len(links), 70))
    (value, bound), _ = solve(table, links, [70] * 60)
    assert value == pytest.approx(table.min(axis=1).sum(), abs=1e-9)
    assert bound == pytest.approx(value, abs=1e-9)


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
    (value, bound), found = solve(table, links, [n_bin] * 36)
    assert value == pytest.approx(0.0, abs=1e-12)
    assert bound == pytest.approx(0.0, abs=1e-9)
    assert ((found - found[0] - hidden + hidden[0]) % n_bin == 0).all()


def test_a_descent_ends_where_no_signal_alone_can_do_better() -> None:
    links, n_bin = mesh(5), 60
    table = random_tables(links, n_bin, 11, set())
    (value, bound), found = solve(table, links, [n_bin] * 25)
    for signal in range(25):
        for offset in range(n_bin):
            moved = found.copy()
            moved[signal] = offset
            assert offsets.total_cost(table, *ends(links), moved) >= value - 1e-9
    # more starts and more parts never end worse, and the same call ends the same
    assert solve(table, links, [n_bin] * 25, n_start=6)[0].value <= value + 1e-12
    parted, _ = solve(table, links, [n_bin] * 25, n_part=8)
    assert bound <= parted.bound <= parted.value <= value + 1e-12
    again, same = solve(table, links, [n_bin] * 25)
    assert again.value == value
    assert (same == found).all()


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("halves", [set(), {4}, {0, 2, 7}], ids=["one cycle", "one half", "some halves"])
def test_a_bound_is_below_any_offsets_of_a_mesh(halves: set[int], version: str) -> None:
    # 16 signals of 60 bins are too many to try: starts from everywhere come down to the bound, not below.
    links, n_bin = [*mesh(4), (5, 1), (5, 4), (6, 6)], 60
    choices = [n_bin // 2 if i in halves else n_bin for i in range(16)]
    table = random_tables(links, n_bin, 2, halves)
    best, found = solve(table, links, choices, version)
    assert offsets.total_cost(table, *ends(links), found) == best.value
    rng = np.random.default_rng(1)
    for _ in range(200):
        start = rng.integers(0, choices)
        assert best.bound <= best.value <= offsets.total_cost(table, *ends(links), start)
    # better than the sum of what each link can cost at least
    assert best.bound > 1.2 * table.min(axis=1).sum()


def test_signals_without_links_stand_at_zero() -> None:
    found = np.full(3, 9)
    order = np.arange(3)[None]
    none = (np.empty((0, 40)), NO_LINKS, NO_LINKS)
    best = offsets.best_offsets(*none, np.full(3, 40), np.zeros((1, 3), np.int64), order, 40, 40, 1, found)
    assert best.value == 0.0
    assert best.bound == 0.0
    assert (found == 0).all()


@pytest.mark.skipif(not JIT_ENABLED, reason="kernels are plain Python in this run")
def test_one_layout_serves_all() -> None:
    solve(random_tables(GRAPHS["all"], 10, 1, set()), GRAPHS["all"], [10] * 4)
    assert len(offsets.best_offsets.signatures) == 1
