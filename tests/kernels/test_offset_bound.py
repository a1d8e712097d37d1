"""Circuits of a graph, and bounds over them: below the true least cost whatever the shares, equal on rings."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

from kernels import link_graph, offset_bound, offset_branch
from kernels._jit import plain
from kernels.link_graph import Circuits, Graph

VERSIONS = ["compiled", "plain"]
Links = list[tuple[int, int]]


def version_of(function: Any, version: str) -> Any:
    return function if version == "compiled" else plain(function)


def ring(size: int) -> Links:
    return [(i, (i + 1) % size) for i in range(size)]


def mesh(rows: int, columns: int) -> Links:
    across = [(i * columns + j, i * columns + j + 1) for i in range(rows) for j in range(columns - 1)]
    down = [(i * columns + j, (i + 1) * columns + j) for i in range(rows - 1) for j in range(columns)]
    return across + down


GRAPHS: dict[str, Links] = {
    "tree": [(0, 1), (1, 2), (3, 1), (3, 4)],
    "triangle": ring(3),
    "ring": ring(6),
    "two ways round": [*ring(5), *((b, a) for a, b in ring(5))],
    "ring with chord": [*ring(5), (0, 2)],
    "all": list(itertools.combinations(range(4), 2)),
    "two parts": [(0, 1), (1, 2), (2, 0), (3, 4), (4, 3)],
    "blocks": mesh(2, 3),
    "ring with tail": [*ring(4), (3, 4), (5, 4)],
}


def size_of(links: Links) -> int:
    return 1 + max(max(link) for link in links)


def graph_of(table: np.ndarray, links: Links, version: str = "compiled") -> tuple[Graph, Circuits]:
    ends = np.array([a for a, _ in links]), np.array([b for _, b in links])
    graph = version_of(link_graph.link_graph, version)(table, *ends, size_of(links))
    return graph, version_of(link_graph.short_circuits, version)(graph)


def random_tables(links: Links, n_bin: int, seed: int, half: int = -1) -> np.ndarray:
    table = np.random.default_rng(seed).random((len(links), n_bin))
    for row, link in zip(table, links, strict=True):
        if half in link:
            row[n_bin // 2 :] = row[: n_bin // 2]
    return table


def brute_force(table: np.ndarray, links: Links) -> float:
    """The least cost over all offsets, the first signal's at 0."""
    n_bin = table.shape[1]
    grid = np.indices([1] + [n_bin] * (size_of(links) - 1), dtype=np.int8)
    cost = np.zeros(grid.shape[1:])
    for row, (a, b) in zip(table, links, strict=True):
        cost += row[(grid[b] - grid[a]) % n_bin]
    return float(cost.min())


def bound_of(graph: Graph, circuits: Circuits, passes: int, version: str = "compiled") -> float:
    costs = offset_bound.pair_costs(graph)
    shares = version_of(offset_bound.no_shares, version)(circuits, costs)
    version_of(offset_bound.improve_shares, version)(circuits, shares, passes)
    return float(version_of(offset_bound.certified, version)(circuits, shares.own, costs))


# --------------------------------------------------------------------------------------------- circuits


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("n_bin", [3, 4, 7, 18])
def test_sums_of_differences_against_every_pair_of_them(n_bin: int, version: str) -> None:
    a, b = np.random.default_rng(n_bin).random((2, n_bin))
    out = np.empty(n_bin)
    version_of(link_graph.min_plus, version)(a, np.concatenate([b, b]), out)
    assert out == pytest.approx([min(a[d] + b[(s - d) % n_bin] for d in range(n_bin)) for s in range(n_bin)])


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", GRAPHS)
def test_differences_around_every_circuit_sum_to_nothing(name: str, version: str) -> None:
    links = GRAPHS[name]
    graph, circuits = graph_of(random_tables(links, 5, 1), links, version)
    place = np.random.default_rng(4).random(size_of(links))
    sums = np.zeros(len(circuits.start) - 1)
    for slot, p in enumerate(circuits.pair):
        e = graph.pair_entry[p]
        difference = place[graph.neighbour[e]] - place[graph.neighbour[graph.back[e]]]
        sums[circuits.circuit[slot]] += -difference if circuits.turned[slot] else difference
    assert sums == pytest.approx(0.0, abs=1e-12)


@pytest.mark.parametrize(
    ("links", "sizes"),
    [
        (GRAPHS["tree"], []),
        (GRAPHS["ring"], [6]),
        (GRAPHS["ring with chord"], [3, 4]),
        (GRAPHS["all"], [3, 3, 3, 3]),
        (GRAPHS["two parts"], [3]),
        (mesh(4, 5), [4] * 12),
        (ring(40), [40]),
        ([*ring(40), (0, 20)], [21, 21]),
        ([*ring(30), (0, 2)], [3, 29]),
    ],
    ids=str,
)
def test_circuits_are_short_and_leave_no_pair_out(links: Links, sizes: list[int]) -> None:
    graph, circuits = graph_of(random_tables(links, 4, 0), links)
    assert sorted(np.diff(circuits.start)) == sizes
    kept = [frozenset(circuits.pair[a:b]) for a, b in itertools.pairwise(circuits.start)]
    assert len(set(kept)) == len(kept)
    assert all(len(pairs) == size for pairs, size in zip(kept, np.diff(circuits.start), strict=True))
    # in order of pairs, and found again from either side
    for a, b in itertools.pairwise(circuits.start):
        assert (np.diff(circuits.pair[a:b]) > 0).all()
    for p in range(len(graph.pair_entry)):
        slots = circuits.pair_slot[circuits.pair_start[p] : circuits.pair_start[p + 1]]
        assert (circuits.pair[slots] == p).all()


def test_links_side_by_side_and_back_are_one_pair() -> None:
    links = [(0, 1), (1, 0), (0, 1), (1, 1)]
    table = random_tables(links, 6, 3)
    graph, circuits = graph_of(table, links)
    assert len(graph.pair_entry) == 1
    assert len(circuits.pair) == 0
    both = table[0] + table[2] + table[1][-np.arange(6) % 6]
    entry = graph.pair_entry[0]
    forward = graph.neighbour[entry] == 1
    assert graph.costs[entry] == pytest.approx(np.tile(both if forward else both[-np.arange(6) % 6], 2))


# ------------------------------------------------------------------------------------------------ bounds


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("half", [-1, 1], ids=["one cycle", "a half"])
@pytest.mark.parametrize("name", GRAPHS)
def test_any_shares_bound_the_least_cost_from_below(name: str, half: int, version: str) -> None:
    links = GRAPHS[name]
    for seed in range(3):
        table = random_tables(links, 6, seed, half)
        least = brute_force(table, links)
        graph, circuits = graph_of(table, links)
        costs = offset_bound.pair_costs(graph)
        rng = np.random.default_rng(seed)
        for scale in (0.0, 0.3, 5.0):
            own = scale * rng.standard_normal((len(circuits.pair), 6))
            assert version_of(offset_bound.certified, version)(circuits, own, costs) <= least
        for passes in (1, 2, 7, 40):
            assert bound_of(graph, circuits, passes, version) <= least


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(
    "name", ["tree", "triangle", "ring", "two ways round", "two parts", "ring with tail"]
)
def test_on_trees_and_rings_the_bound_is_the_least_cost(name: str, version: str) -> None:
    links = GRAPHS[name]
    for seed in range(4):
        table = random_tables(links, 6, seed)
        graph, circuits = graph_of(table, links)
        bound = bound_of(graph, circuits, 2, version)
        assert bound == pytest.approx(brute_force(table, links), abs=1e-9)


@pytest.mark.parametrize("version", VERSIONS)
def test_no_pass_lowers_the_bound(version: str) -> None:
    links = mesh(4, 4)
    graph, circuits = graph_of(random_tables(links, 12, 8), links)
    costs = offset_bound.pair_costs(graph)
    shares = offset_bound.no_shares(circuits, costs)
    before = costs.min(axis=1).sum()
    first = before
    for turn in range(12):
        bound = version_of(offset_bound.pass_along, version)(circuits, shares, turn % 2 == 0)
        assert bound >= before - 1e-9
        # what a pass says is what its shares prove, and nothing of the costs is lost
        assert offset_bound.certified(circuits, shares.own, costs) == pytest.approx(bound, abs=1e-9)
        before = bound
    assert before > first + 0.1
    # from the shares alone everything else follows
    again = offset_bound.no_shares(circuits, costs)
    again.own[:] = shares.own
    version_of(offset_bound.take_up, version)(circuits, again, costs)
    assert again.rest == pytest.approx(shares.rest, abs=1e-9)
    assert offset_bound.pass_along(circuits, again, True) == pytest.approx(
        offset_bound.pass_along(circuits, shares, True), abs=1e-9
    )


# ------------------------------------------------------------------------------------------------- parts


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(
    "links", [mesh(3, 3), GRAPHS["all"], GRAPHS["blocks"]], ids=["mesh", "all", "blocks"]
)
def test_splitting_closes_the_gap(links: Links, version: str) -> None:
    n_bin = 5
    n_signal = size_of(links)
    orders = np.array([np.roll(np.arange(n_signal), k) for k in range(n_signal)])
    for seed in range(2 if version == "plain" else 6):
        table = random_tables(links, n_bin, seed)
        least = brute_force(table, links)
        graph, circuits = graph_of(table, links)
        costs = offset_bound.pair_costs(graph)
        shares = offset_bound.no_shares(circuits, costs)
        offset_bound.improve_shares(circuits, shares, 30)
        before = offset_bound.certified(circuits, shares.own, costs)
        found = np.zeros(n_signal, np.int64)
        bound = version_of(offset_branch.branch, version)(
            graph, circuits, shares, costs, np.full(n_signal, n_bin), orders, 100, 400, found
        )
        reached = sum(row[(found[b] - found[a]) % n_bin] for row, (a, b) in zip(table, links, strict=True))
        assert before <= bound <= least
        assert reached == pytest.approx(least, abs=1e-9)
        assert bound == pytest.approx(least, rel=1e-8)
