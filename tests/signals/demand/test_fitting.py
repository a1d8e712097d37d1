"""Fitting one intersection: laws, independent solvers, and a real SUMO demand with its turns hidden."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize

from signals.demand.fitting import estimate_intersections, estimate_movements, reconcile_totals
from signals.demand.margins import approaches_of, margins, movements_of
from signals.demand.proportions import default_shares, turning_proportions
from signals.errors import InputError
from signals.model.counts import CountTable
from signals.planning import Case
from tests.signals.demand.hidden_turns import Floats, by_prior, geh_share, table, wape

FOUR_LEGS = np.array(  # rows N, E, S, W in; columns N, E, S, W out; nobody turns back
    [[0, 0.1, 0.8, 0.1], [0.1, 0, 0.1, 0.8], [0.8, 0.1, 0, 0.1], [0.1, 0.8, 0.1, 0]]
)
T_JUNCTION = np.array([[0, 0.5, 0.5], [0.2, 0, 0.8], [0.2, 0.8, 0]])  # stem, east, west


def odds(flows: Floats, prior: Floats) -> Floats:
    """All odds ratios over prior's, on 2×2 blocks without a structural zero; 1 where fitting kept them."""
    ratio = np.where(prior > 0, flows / np.where(prior > 0, prior, 1.0), np.nan)
    n, m = prior.shape
    found = [
        ratio[i, j] * ratio[k, q] / (ratio[i, q] * ratio[k, j])
        for i in range(n) for k in range(i) for j in range(m) for q in range(j)
    ]  # fmt: skip
    kept = np.array(found)
    return kept[~np.isnan(kept)]


def test_fitting_recovers_what_has_the_priors_odds() -> None:
    # truth = prior with rows and columns scaled, so that its odds ratios are the prior's: recovery is exact
    rng = np.random.default_rng(1)
    truth = FOUR_LEGS * rng.uniform(50, 400, (4, 1)) * rng.uniform(0.3, 3.0, (1, 4))
    found = estimate_movements(truth.sum(axis=1), truth.sum(axis=0), FOUR_LEGS)
    assert found.converged
    np.testing.assert_allclose(found.flows, truth, rtol=1e-4, atol=1e-3)
    assert float(found.imbalance_veh) == pytest.approx(0.0, abs=1e-9)


margin = st.floats(5.0, 500.0)


@settings(max_examples=60, deadline=None)
@given(st.lists(margin, min_size=4, max_size=4), st.lists(margin, min_size=4, max_size=4), st.integers(0, 99))
def test_fitting_keeps_odds_and_meets_margins(rows: list[float], columns: list[float], seed: int) -> None:
    prior = np.random.default_rng(seed).uniform(0.05, 1.0, (4, 4))
    found = estimate_movements(rows, columns, prior)
    assert found.converged
    assert np.all(found.flows >= 0)
    np.testing.assert_allclose(odds(found.flows, prior), 1.0, rtol=1e-6)
    size = max(sum(rows), sum(columns))
    np.testing.assert_allclose(found.flows.sum(axis=1), found.inflow, atol=1e-6 * size)
    np.testing.assert_allclose(found.flows.sum(axis=0), found.outflow, atol=1e-6 * size)
    assert float(found.gap_veh) <= 1e-6 * size
    assert float(found.imbalance_veh) == pytest.approx(sum(rows) - sum(columns))


@pytest.mark.parametrize("prior", [FOUR_LEGS, T_JUNCTION], ids=["four legs", "T junction"])
def test_fitting_is_the_least_divergence(prior: Floats) -> None:
    # an independent route: SLSQP on Kullback-Leibler with the margins as constraints
    rng = np.random.default_rng(5)
    n = len(prior)
    cells = np.nonzero(prior)
    truth = np.zeros_like(prior)
    truth[cells] = rng.uniform(5, 120, len(cells[0]))
    rows, columns = truth.sum(axis=1), truth.sum(axis=0)
    start = prior[cells] * rows.sum() / prior.sum()

    def divergence(x: Floats) -> float:
        return float((x * np.log(x / start) - x + start).sum())

    def gap(x: Floats) -> Floats:
        flows = np.zeros_like(prior)
        flows[cells] = x
        return np.concatenate([flows.sum(axis=1) - rows, (flows.sum(axis=0) - columns)[: n - 1]])

    slow = optimize.minimize(
        divergence,
        start,
        jac=lambda x: np.log(x / start),
        constraints={"type": "eq", "fun": gap},
        bounds=[(1e-6, None)] * len(start),
        method="SLSQP",
        options={"maxiter": 500, "ftol": 1e-12},
    )
    assert slow.success
    found = estimate_movements(rows, columns, prior)
    np.testing.assert_allclose(found.flows[cells], slow.x, rtol=1e-3, atol=0.02)
    assert divergence(found.flows[cells]) <= divergence(slow.x) + 1e-6


def test_movements_that_do_not_exist_stay_away() -> None:
    rng = np.random.default_rng(2)
    rows, columns = rng.poisson(80, (40, 3)), rng.poisson(80, (40, 3))
    found = estimate_movements(rows, columns, T_JUNCTION)
    assert np.all(found.flows[:, T_JUNCTION == 0] == 0)
    assert np.all(found.flows >= 0)
    assert found.converged.all()


def test_counts_that_movements_cannot_meet_get_the_nearest() -> None:
    # the stem's exit takes 90, but those who may go there are 30 in all; totals agree
    prior = np.array([[0.0, 1.0], [1.0, 1.0]])  # only approach 1 leads to exit 0
    found = estimate_movements([100.0, 30.0], [90.0, 40.0], prior)
    assert not found.converged
    assert np.all(found.flows >= 0)
    assert found.flows[0, 0] == 0
    assert float(found.gap_veh) > 10

    def loss(x: Floats) -> float:
        flows = np.array([[0.0, x[0]], [x[1], x[2]]])
        by_row = (flows.sum(axis=1) - [100, 30]) ** 2 / [100, 30]
        return float(by_row.sum() + ((flows.sum(axis=0) - [90, 40]) ** 2 / [90, 40]).sum())

    slow = optimize.minimize(loss, [50.0, 20.0, 10.0], bounds=[(0, None)] * 3, options={"ftol": 1e-14})
    ours = [found.flows[0, 1], found.flows[1, 0], found.flows[1, 1]]
    assert loss(np.array(ours)) == pytest.approx(slow.fun, rel=1e-3)


def test_an_unknown_margin_is_left_free() -> None:
    rng = np.random.default_rng(3)
    truth = FOUR_LEGS * rng.uniform(50, 300, (4, 1)) * rng.uniform(0.5, 2.0, (1, 4))
    rows, columns = truth.sum(axis=1), truth.sum(axis=0)
    whole = estimate_movements(rows, columns, FOUR_LEGS)
    rows[2] = np.nan
    found = estimate_movements(rows, columns, FOUR_LEGS)
    assert found.converged
    # the other seven counts settle the eighth: it is what is left over
    assert found.flows[2].sum() == pytest.approx(truth[2].sum(), rel=1e-4)
    np.testing.assert_allclose(found.flows, whole.flows, rtol=1e-3, atol=0.01)
    assert math.isnan(found.inflow[2])
    assert math.isnan(float(found.imbalance_veh))


def test_without_exit_counts_the_prior_divides() -> None:
    found = estimate_movements([100.0, 50.0, 20.0, 10.0], [math.nan] * 4, FOUR_LEGS)
    np.testing.assert_allclose(found.flows, FOUR_LEGS * np.array([[100.0], [50.0], [20.0], [10.0]]))
    nothing = estimate_movements([math.nan] * 4, [math.nan] * 4, FOUR_LEGS)
    assert np.isnan(nothing.flows).all()
    assert not nothing.converged


def test_an_unknown_approach_and_exit_follow_the_known_ones() -> None:
    # one of each unknown: the cell that both share is the prior's, at the scale of the known counts
    rows, columns = [100.0, math.nan], [math.nan, 60.0]
    found = estimate_movements(rows, columns, [[0.5, 0.5], [0.5, 0.5]])
    assert found.flows[0].sum() == pytest.approx(100)
    assert found.flows[:, 1].sum() == pytest.approx(60)
    assert found.flows[1, 0] == pytest.approx(50)  # half of an approach as busy as the known one


def test_reconciling_is_weighted_least_squares() -> None:
    rng = np.random.default_rng(4)
    a, b = rng.uniform(20, 200, 4), rng.uniform(20, 200, 4)
    v, w = rng.uniform(10, 300, 4), rng.uniform(10, 300, 4)
    ours = np.concatenate(reconcile_totals(a, b, v, w))
    sign = np.array([1.0] * 4 + [-1.0] * 4)
    slow = optimize.minimize(
        lambda x: float(((x - np.concatenate([a, b])) ** 2 / np.concatenate([v, w])).sum()),
        np.concatenate([a, b]),
        constraints={"type": "eq", "fun": lambda x: float(sign @ x)},
        bounds=[(0, None)] * 8,
        options={"ftol": 1e-14, "maxiter": 500},
    )
    np.testing.assert_allclose(ours, slow.x, atol=0.02)
    assert sign @ ours == pytest.approx(0, abs=1e-9)


@settings(max_examples=80, deadline=None)
@given(
    st.lists(st.floats(0, 300), min_size=1, max_size=5),
    st.lists(st.floats(0, 300), min_size=1, max_size=5),
    st.floats(0.1, 50),
)
def test_reconciled_totals_agree_and_none_is_negative(a: list[float], b: list[float], factor: float) -> None:
    rows, columns = reconcile_totals(a, b, np.full(len(a), 25.0 * factor), np.full(len(b), 25.0))
    assert np.all(rows >= 0)
    assert np.all(columns >= 0)
    assert rows.sum() == pytest.approx(columns.sum(), abs=1e-6)


def test_only_a_contradiction_moves_counts_with_one_unknown() -> None:
    # 100 in and an unknown approach, 120 out: fine, the unknown one brings 20
    rows, columns = reconcile_totals([100.0, math.nan], [120.0])
    assert (rows[0], columns[0]) == (100, 120)
    # 140 in and an unknown approach, 120 out: it brings nothing, and the two totals meet
    rows, columns = reconcile_totals([140.0, math.nan], [120.0])
    assert 120 < rows[0] < 140
    assert rows[0] == pytest.approx(columns[0])


def test_fitting_says_what_is_wrong_with_its_input() -> None:
    with pytest.raises(InputError, match="one row an approach"):
        estimate_movements([1.0, 2.0], [3.0], FOUR_LEGS)
    with pytest.raises(InputError, match="need 0 or more"):
        estimate_movements([-1.0, 2.0], [1.0, 1.0], [[1, 1], [1, 1]])
    with pytest.raises(InputError, match="not 0 throughout"):
        estimate_movements([1.0], [1.0], [[0.0]])


def test_estimated_turns_beat_the_prior_on_the_grid(
    grid: Case, hidden: tuple[CountTable, CountTable, CountTable]
) -> None:
    truth, inflow, outflow = hidden
    naive = by_prior(grid.network, truth, inflow)
    found = estimate_intersections(grid.network, inflow, outflow).select(truth.names)
    # measured: WAPE 16.1 % naive, 7.6 % estimated; GEH < 5: 88.9 %, 98.8 %
    assert wape(truth, found.values) < 0.55 * wape(truth, naive)
    assert wape(truth, found.values) < 0.09
    assert geh_share(truth, found.values) > 0.97 > geh_share(truth, naive)
    again_in, again_out = margins(grid.network, found)
    np.testing.assert_allclose(again_in.values, inflow.values, atol=1e-3)
    np.testing.assert_allclose(again_out.values, outflow.values, atol=1e-3)


def test_half_an_hour_of_counted_turns_is_the_better_prior(
    grid: Case, hidden: tuple[CountTable, CountTable, CountTable]
) -> None:
    truth, inflow, outflow = hidden
    first, later = (
        table(truth.names, rows, start=truth.start) for rows in (truth.values[:2], truth.values[2:])
    )
    expected = default_shares(movements_of(grid.network))
    counted = turning_proportions(first, approaches_of(grid.network), expected=expected)
    shares = dict(zip(counted.movements, counted.day))
    found = (
        estimate_intersections(grid.network, inflow, outflow, shares=shares).select(truth.names).values[2:]
    )
    without = estimate_intersections(grid.network, inflow, outflow).select(truth.names).values[2:]
    assert wape(later, found) < wape(later, without)
