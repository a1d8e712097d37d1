"""Forecast kernels: compiled and plain say what slow references say that are made from the words of the docstrings."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from kernels import forecast as service
from kernels import principal, regression, terms, weekly
from kernels._jit import JIT_ENABLED, plain

ROOT = Path(__file__).resolve().parents[2]
LAW = settings(max_examples=100, deadline=None)
VERSIONS = ["compiled", "plain"]
N_SLOT = 24
DAY_GROUPS = {**dict.fromkeys(range(5), weekly.WORKDAYS), 5: 5, 6: weekly.REST_DAYS, 7: weekly.REST_DAYS}
"""Row of the group that each kind of day belongs to: Saturdays are one of their own."""

Event = tuple[int, int, float]
"""One count: kind of day, slot, vehicles."""


def version_of(function: Any, version: str) -> Any:
    return function if version == "compiled" else plain(function)


def smoothing(seed: int = 0, half: int = 3) -> np.ndarray:
    """Four sets of weights that sum to one: none, and three at random that aren't even."""
    weights = np.random.default_rng(seed).uniform(0.1, 1.0, (4, 2 * half + 1))
    weights[0] = np.arange(-half, half + 1) == 0
    return weights / weights.sum(axis=1, keepdims=True)


def rules(*, leave_out: bool = False, keep: tuple[float, float, float] = (0.9, 0.97, 0.98)) -> weekly.Rules:
    smooth = smoothing()
    fine = smooth.copy()
    return weekly.Rules(smooth, fine, np.array(keep), np.array([0.5, 0.8, 0.95, 0.99]), leave_out)


def calendar(days: int, *, holidays: tuple[int, ...] = (), fold_days: int = 7) -> weekly.Calendar:
    """Hourly intervals from a Monday on."""
    day, slot = np.divmod(np.arange(days * N_SLOT), N_SLOT)
    kind = day % 7
    kind[np.isin(day, holidays)] = weekly.HOLIDAY
    return weekly.Calendar(day // fold_days, kind, slot, N_SLOT)


def counts_of(days: int, seed: int, gaps: float = 0.05) -> np.ndarray:
    """A street by the hour: busy by day, less at weekends, with chance and gaps."""
    rng = np.random.default_rng(seed)
    day, slot = np.divmod(np.arange(days * N_SLOT), N_SLOT)
    mean = (5.0 + 80.0 * np.sin(np.pi * slot / N_SLOT) ** 2) * np.where(day % 7 < 5, 1.0, 0.6)
    mood = np.exp(0.15 * np.sin(np.arange(len(day)) / 5.0))
    counts = rng.poisson(mean * mood).astype(float)
    counts[rng.random(len(counts)) < gaps] = np.nan
    return counts


def table() -> tuple[np.ndarray, np.ndarray]:
    return tuple(np.zeros((weekly.N_ROW, N_SLOT), dtype=np.float32) for _ in range(2))  # type: ignore[return-value]


# ------------------------------------------------------------------------------------------------ profiles


def slow_tables(events: list[Event], keep: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Sums and weights: each count fades once for every later one of its row and slot."""
    sums, weights = np.zeros((weekly.N_ROW, N_SLOT)), np.zeros((weekly.N_ROW, N_SLOT))
    for row in range(weekly.N_ROW):
        of_row = [
            (slot, count) for kind, slot, count in events if row in (kind, DAY_GROUPS[kind], weekly.ALL_DAYS)
        ]
        # Workdays come five times a week, and any day seven times.
        left = keep[1] if row == weekly.WORKDAYS else keep[2] if row == weekly.ALL_DAYS else keep[0]
        for slot in range(N_SLOT):
            counts = [count for s, count in of_row if s == slot]
            for later, count in enumerate(reversed(counts)):
                sums[row, slot] += count * left**later
                weights[row, slot] += left**later
    return sums, weights


def slow_profile(
    sums: np.ndarray, weights: np.ndarray, kind: int, slot: int, smooth: np.ndarray, prior: float
) -> np.ndarray:
    """Each smoothed mean is a quotient of weighted sums over the neighbours, drawn to what stands behind it."""
    half = smooth.shape[1] // 2
    near = (slot + np.arange(-half, half + 1)) % N_SLOT

    def drawn(row: int, width: int, to: float, by: float) -> float:
        return float((sums[row, near] @ smooth[width] + by * to) / (weights[row, near] @ smooth[width] + by))

    none, fine, wide, flat = range(4)
    group = DAY_GROUPS[kind]
    every = drawn(weekly.ALL_DAYS, fine, prior, weekly.LEVEL_PRIOR)
    base = drawn(kind, fine, drawn(group, fine, every, weekly.ALL_PRIOR), weekly.GROUP_PRIOR)
    more = [drawn(kind, width, base, weekly.SHAPE_PRIOR) for width in (none, wide, flat)]
    more += [drawn(group, width, base, weekly.SHAPE_PRIOR) for width in (none, fine, wide, flat)]
    return np.array([base, *(m - base for m in more)])


def some_events(seed: int, n: int) -> list[Event]:
    rng = np.random.default_rng(seed)
    return [(int(rng.integers(8)), int(rng.integers(N_SLOT)), float(rng.integers(200))) for _ in range(n)]


@pytest.mark.parametrize("version", VERSIONS)
def test_teach_against_the_whole_history(version: str) -> None:
    events, keep = some_events(1, 600), np.array([0.9, 0.97, 0.99])
    sums, weights = table()
    for event in events:
        version_of(weekly.teach, version)(sums, weights, *event, keep)
    expected = slow_tables(events, keep)
    assert sums == pytest.approx(expected[0], rel=1e-5)
    assert weights == pytest.approx(expected[1], rel=1e-5)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("n_event", [0, 3, 40, 900])
def test_profile_at_against_all_rows_and_neighbours(n_event: int, version: str) -> None:
    sums, weights = (a.astype(np.float32) for a in slow_tables(some_events(2, n_event), np.ones(3)))
    out = np.empty(weekly.N_PROFILE)
    for kind in range(8):
        for slot in (0, 2, 11, N_SLOT - 1):
            version_of(weekly.profile_at, version)(sums, weights, kind, slot, smoothing(), 33.0, out)
            expected = slow_profile(sums.astype(float), weights.astype(float), kind, slot, smoothing(), 33.0)
            assert out == pytest.approx(expected, rel=1e-9, abs=1e-9)


@LAW
@given(seed=st.integers(0, 10**6), factor=st.floats(0.01, 100.0), kind=st.integers(0, 7))
def test_profiles_grow_with_the_counts(seed: int, factor: float, kind: int) -> None:
    """All counts and the prior times a factor: so is the profile."""
    sums, weights = (a.astype(np.float32) for a in slow_tables(some_events(seed, 60), np.ones(3)))
    one, other = np.empty(weekly.N_PROFILE), np.empty(weekly.N_PROFILE)
    weekly.profile_at(sums, weights, kind, 5, smoothing(), 20.0, one)
    weekly.profile_at(sums * np.float32(factor), weights, kind, 5, smoothing(), 20.0 * factor, other)
    assert other == pytest.approx(factor * one, rel=1e-4, abs=1e-4 * factor)
    assert one[0] >= 0.0


@pytest.mark.parametrize("version", VERSIONS)
def test_profiles_of_a_history_come_from_what_was_before(version: str) -> None:
    taught, when, rule = counts_of(16, 3), calendar(16, holidays=(9,)), rules()
    prior = np.linspace(20.0, 40.0, len(taught))
    sums, weights = table()
    found = np.empty((len(taught), weekly.N_PROFILE))
    version_of(weekly.profile_history, version)(taught, when, rule, rule.smooth, prior, sums, weights, found)
    events: list[Event] = [(int(when.kind[t]), int(when.slot[t]), taught[t]) for t in range(len(taught))]
    for t in [0, 1, 30, 200, 216, 230, 300, 383]:
        before = slow_tables([e for e in events[:t] if np.isfinite(e[2])], rule.keep)
        expected = slow_profile(*before, *events[t][:2], rule.smooth, prior[t])
        assert found[t] == pytest.approx(expected, rel=1e-4, abs=1e-3)
    assert sums == pytest.approx(
        slow_tables([e for e in events if np.isfinite(e[2])], rule.keep)[0], rel=1e-5
    )


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("fold_days", [1, 7])
def test_profiles_of_a_short_history_leave_their_own_fold_out(fold_days: int, version: str) -> None:
    taught, rule = counts_of(16, 4), rules(leave_out=True, keep=(1.0, 1.0, 1.0))
    when = calendar(16, holidays=(9,), fold_days=fold_days)
    prior = np.full(len(taught), 30.0)
    sums, weights = table()
    found = np.empty((len(taught), weekly.N_PROFILE))
    version_of(weekly.profile_history, version)(taught, when, rule, rule.smooth, prior, sums, weights, found)
    seen = np.isfinite(taught)
    for fold in np.unique(when.fold):
        others = np.flatnonzero(seen & (when.fold != fold))
        without = slow_tables([(int(when.kind[t]), int(when.slot[t]), taught[t]) for t in others], rule.keep)
        for t in np.flatnonzero(when.fold == fold)[::17]:
            expected = slow_profile(*without, int(when.kind[t]), int(when.slot[t]), rule.smooth, 30.0)
            assert found[t] == pytest.approx(expected, rel=1e-4, abs=1e-3)
    assert weights[weekly.ALL_DAYS].sum() == seen.sum()


@pytest.mark.parametrize("version", VERSIONS)
def test_the_spread_is_the_deviation_and_blind_to_outliers(version: str) -> None:
    spread_of = version_of(weekly.spread_of, version)
    rng = np.random.default_rng(5)
    base = rng.uniform(10.0, 200.0, 20000)
    counts = base + 1.7 * np.sqrt(base + 2.0) * rng.standard_normal(len(base))
    assert spread_of(counts, base) == pytest.approx(1.7, rel=0.02)
    counts[::100] += 1e4
    assert spread_of(counts, base) == pytest.approx(1.7, rel=0.12)
    assert spread_of(np.full(9, np.nan), np.ones(9)) == 1.0
    assert spread_of(np.ones(9), np.ones(9)) == 1.0


# -------------------------------------------------------------------------------------------------- network


@pytest.mark.parametrize("version", VERSIONS)
def test_factors_against_least_squares(version: str) -> None:
    rng = np.random.default_rng(6)
    components = np.ascontiguousarray(np.linalg.qr(rng.standard_normal((30, 4)))[0].T)
    out = np.empty(4)
    for missing in (0.0, 0.5, 0.95, 1.0):
        z = rng.standard_normal(30)
        z[rng.random(30) < missing] = np.nan
        version_of(principal.factors_at, version)(z, components, out)
        seen = np.isfinite(z)
        # A ridge is as many more observations of zero.
        left = np.vstack([components[:, seen].T, np.sqrt(principal.FACTOR_RIDGE) * np.eye(4)])
        expected = np.linalg.lstsq(left, np.concatenate([z[seen], np.zeros(4)]), rcond=None)[0]
        assert out == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("version", VERSIONS)
def test_counts_of_the_network_with_gaps(version: str) -> None:
    """Three series of 10, 30 and 60 vehicles on average; under a fifth of them says nothing."""
    level_sums = np.array([[100.0, 10.0], [60.0, 2.0], [60.0, 1.0]])
    nan = np.nan
    counts = np.array([[10, 30, 60], [11, 33, nan], [nan, nan, 30], [20, nan, nan], [nan, nan, nan]])
    out = np.empty(5)
    version_of(weekly.network_counts, version)(counts, level_sums, np.array([100.0]), out)
    assert out == pytest.approx([100.0, 110.0, 50.0, nan, nan], nan_ok=True)


# ------------------------------------------------------------------------------------------------ regression


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("n", [1, 3, 12])
def test_solve_in_place_against_numpy(n: int, version: str) -> None:
    rng = np.random.default_rng(n)
    root = rng.standard_normal((3 * n, n))
    gram, right = root.T @ root, rng.standard_normal(n)
    expected = np.linalg.solve(gram, right)
    lower = np.tril(gram) + np.triu(np.full((n, n), np.nan), 1)  # the upper triangle isn't looked at
    version_of(principal.solve_in_place, version)(lower, right)
    assert right == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("version", VERSIONS)
def test_a_term_that_is_a_sum_of_others_is_left_at_zero(version: str) -> None:
    rng = np.random.default_rng(8)
    terms = rng.integers(-4, 5, (40, 4)).astype(float)
    terms[:, 2] = terms[:, 0] + terms[:, 1]
    wanted = terms @ np.array([1.0, 2.0, 3.0, 4.0])
    gram, right = terms.T @ terms, terms.T @ wanted
    version_of(principal.solve_in_place, version)(gram, right)
    # 3 (a + b) is shared out to a and b.
    assert right == pytest.approx([4.0, 5.0, 0.0, 4.0], abs=1e-9)
    zeros = np.zeros(2)
    version_of(principal.solve_in_place, version)(np.zeros((2, 2)), zeros)
    assert (zeros == 0.0).all()


def digested(
    counts: np.ndarray, when: weekly.Calendar, rule: weekly.Rules, prior: np.ndarray, factors: np.ndarray
) -> tuple[regression.SeriesHistory, np.ndarray]:
    """The history of one series, and its loadings."""
    loading = np.empty(factors.shape[1])
    history = regression.digest_series(
        counts, when, rule, prior, factors, *table(), loading, np.empty((terms.N_RATIO, 2))
    )
    return history, loading


def drivers_of(n: int, lead: int, seed: int = 9, first: int = 0, stride: int = 1) -> regression.Drivers:
    rng = np.random.default_rng(seed)
    slot = np.arange(n) % N_SLOT
    return regression.Drivers(
        network=rng.normal(0.0, 0.1, n),
        factors=rng.standard_normal((n, 2)),
        leads=np.array([lead]),
        first=first,
        stride=stride,
        band=slot * terms.N_BAND // N_SLOT,
        part=np.arange(n) // (N_SLOT * 7),
    )


@pytest.mark.parametrize("version", VERSIONS)
def test_terms_in_vehicles(version: str) -> None:
    """Each as its docstring has it, for a base of 98 vehicles, whose root of level + 2 is 10."""
    row = np.zeros(terms.TERM_FACTOR + 2)
    row[0], row[5] = 98.0, 2.0
    row[terms.TERM_ORIGIN] = 90.0
    row[terms.TERM_LAG : terms.TERM_LAG + 4] = [8.0, -2.0, -20.0, -2.0]  # a mean of -4
    row[terms.TERM_RATIO : terms.TERM_RATIO + 4] = [0.1, 0.2, 0.0, -0.5]
    row[terms.TERM_DAILY] = 7.0
    row[terms.TERM_FACTOR :] = [0.3, -1.0]
    version_of(terms.scale_terms, version)(row, 0.05)
    assert row[terms.TERM_NETWORK_PROFILE] == pytest.approx(5.0)
    assert row[terms.TERM_ORIGIN] == -8.0
    assert row[terms.TERM_LAG : terms.TERM_LAG + 4].tolist() == [8.0, -2.0, -20.0, -2.0]
    assert row[terms.TERM_RATIO : terms.TERM_RATIO + 4] == pytest.approx([9.8, 19.6, 0.0, -49.0])
    assert row[terms.TERM_DAILY] == 7.0
    assert row[terms.TERM_LASTING : terms.TERM_LASTING + 3] == pytest.approx([3.2, -1.6, 8.0 * np.log(100.0)])
    assert row[terms.TERM_FACTOR :] == pytest.approx([3.0, -10.0])


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(("first", "stride"), [(0, 1), (200, 3)])
def test_regression_against_dense_weighted_least_squares(first: int, stride: int, version: str) -> None:
    """Weights of one over the variance, less for outliers (Huber), only where target and origin lie in one part."""
    counts, when, rule, lead = counts_of(28, 10), calendar(28), rules(leave_out=True, keep=(1.0,) * 3), 3
    counts[299] = 900.0  # a row that both strides take
    drivers = drivers_of(len(counts), lead, first=first, stride=stride)
    history, _ = digested(counts, when, rule, np.full(len(counts), 40.0), drivers.factors)
    rows = version_of(regression.gather_history, version)(history, drivers, lead, N_SLOT)
    n_term = rows.shape[1]
    gram, right = np.zeros((1, n_term, n_term)), np.zeros((1, n_term))
    version_of(regression.accumulate, version)(counts, rows, history.spread, drivers, lead, gram, right)
    by_band = np.zeros((terms.N_BAND, n_term, n_term)), np.zeros((terms.N_BAND, n_term))
    version_of(regression.accumulate, version)(counts, rows, history.spread, drivers, lead, *by_band)
    assert by_band[0].sum(axis=0) == pytest.approx(gram[0], rel=1e-9)
    assert by_band[1].sum(axis=0) == pytest.approx(right[0], rel=1e-9)

    base = history.profiles[:, 0]
    taken = np.arange(max(first, lead + terms.N_LAG), len(counts), stride)
    taken = taken[np.isfinite(counts[taken]) & (drivers.part[taken] == drivers.part[taken - lead])]
    variance = base[taken] + 2.0
    residual = counts[taken] - base[taken]
    spreads_off = np.abs(residual) / np.sqrt(variance) / history.spread
    weight = np.minimum(1.0, regression.HUBER / spreads_off) / variance
    assert (spreads_off > regression.HUBER).any()
    ridge = 5.0
    root = np.sqrt(weight)[:, None]
    left = np.vstack([root * rows[taken], np.sqrt(ridge) * np.eye(n_term)])
    wanted = np.concatenate([root[:, 0] * residual, np.zeros(n_term)])
    expected = np.linalg.lstsq(left, wanted, rcond=None)[0]
    gram[0] += ridge * np.eye(n_term)
    solution = right[0]
    version_of(principal.solve_in_place, version)(gram[0], solution)
    assert solution == pytest.approx(expected, rel=1e-6, abs=1e-8)


@pytest.mark.parametrize("version", VERSIONS)
def test_errors_are_counted_by_level(version: str) -> None:
    """Forecasts are the profile here, as all coefficients are zero."""
    counts, when, rule, lead = counts_of(28, 11), calendar(28), rules(leave_out=True, keep=(1.0,) * 3), 2
    drivers = drivers_of(len(counts), lead)
    history, _ = digested(counts, when, rule, np.full(len(counts), 40.0), drivers.factors)
    rows = regression.gather_history(history, drivers, lead, N_SLOT)
    n_term = rows.shape[1]
    cells = np.zeros((regression.N_LEVEL_BIN, regression.N_CELL))
    found = version_of(regression.count_errors, version)(
        counts, rows, history.spread, drivers, lead, np.zeros(n_term), np.zeros((terms.N_BAND, n_term)), cells
    )
    taken = np.arange(lead + terms.N_LAG, len(counts))
    taken = taken[np.isfinite(counts[taken]) & (drivers.part[taken] == drivers.part[taken - lead])]
    base = history.profiles[taken, 0]
    error = (counts[taken] - base) / np.sqrt(base + 2.0)
    spread = weekly.MEAN_TO_SPREAD * np.minimum(np.abs(error), weekly.TEACH_LIMIT * history.spread).mean()
    assert found == pytest.approx(spread, rel=1e-9)
    level = np.digitize(base, [4.0, 12.0, 36.0, 108.0, 324.0])
    edges = np.arange(-regression.N_CELL // 2, regression.N_CELL // 2 + 1) / regression.CELLS_A_SPREAD
    for k in range(regression.N_LEVEL_BIN):
        expected, _ = np.histogram(error[level == k] / spread, edges)
        assert (
            np.abs(np.cumsum(cells[k] - expected)).max() <= 1.0
        )  # an error on an edge may fall to either side


def test_a_series_without_errors_or_without_counts() -> None:
    lead, n = 1, 10 * N_SLOT
    drivers = drivers_of(n, lead)
    rows = np.zeros((n, terms.TERM_FACTOR + 2))
    rows[:, 0] = 30.0
    nothing, none = np.zeros(rows.shape[1]), np.zeros((terms.N_BAND, rows.shape[1]))
    cells = np.zeros((regression.N_LEVEL_BIN, regression.N_CELL))
    assert (
        regression.count_errors(np.full(n, 30.0), rows, 1.0, drivers, lead, nothing, none, cells)
        == regression.LEAST_ERROR
    )
    assert cells.sum() > 0
    cells[:] = 0.0
    assert regression.count_errors(np.full(n, np.nan), rows, 1.0, drivers, lead, nothing, none, cells) == 1.0
    assert cells.sum() == 0


# --------------------------------------------------------------------------------------- history and service


def empty_state(n_series: int, n_recent: int, level_sums: np.ndarray, n_factor: int) -> terms.ForecastState:
    shape = (n_series, weekly.N_ROW, N_SLOT)
    return terms.ForecastState(
        np.zeros(shape, dtype=np.float32),
        np.zeros(shape, dtype=np.float32),
        np.ones(n_series),
        np.zeros((n_series, n_factor)),
        np.zeros((n_series, terms.N_RATIO, 2)),
        np.zeros((n_series, n_recent), dtype=np.float32),
        np.zeros(n_series),
        np.zeros(n_series),
        level_sums,
    )


@pytest.mark.parametrize(
    ("lead", "version"), [(1, "compiled"), (3, "plain"), (24, "compiled"), (30, "plain")]
)
def test_the_service_sees_the_terms_that_the_history_taught(lead: int, version: str) -> None:
    """Row by row through `observe`, every term of `terms_now` is that of `gather_history`.

    The profile of a history knows the counts between origin and target, which in service haven't come yet; so
    nothing is counted there in the intervals that are compared.
    """
    days, n_series, n_factor = 28, 5, 2
    n = days * N_SLOT
    when, rule = calendar(days, holidays=(9, 17)), rules()
    counts = np.array([counts_of(days, 20 + k) for k in range(n_series)])
    targets = np.arange(8 * N_SLOT + lead, n, 7 * lead + 1)
    for t in targets:
        counts[:, t - lead + 1 : t] = np.nan
    # A mean level that stays what it is, so that the prior is the same early and late.
    level = np.nanmean(counts, axis=1)
    level_sums = np.stack([1e12 * level, np.full(n_series, 1e12)], axis=1)
    scale = np.array([level.sum(), 1e9])

    total = np.empty(n)
    weekly.network_counts(np.ascontiguousarray(counts.T), level_sums, scale, total)
    profiles = np.empty((n, weekly.N_PROFILE))
    weekly.profile_history(total, when, rule, rule.smooth, np.full(n, scale[0]), *table(), profiles)
    prior = np.outer(level, profiles[:, 0] / scale[0])
    z = principal.standardised_residuals(counts, when, rule, prior)
    components = np.linalg.qr(np.random.default_rng(3).standard_normal((n_series, n_factor)))[0].T.copy()
    factors = principal.factor_history(z, components)
    drivers = drivers_of(n, lead)._replace(network=weekly.network_excesses(profiles), factors=factors)

    state = empty_state(n_series, terms.daily_lag(lead, N_SLOT) + terms.N_LAG, level_sums.copy(), n_factor)
    network = service.NetworkState(*table(), scale, np.arange(n_series), components, np.zeros(n_factor))
    expected = []
    for k in range(n_series):
        history, loading = digested(counts[k], when, rule, prior[k], factors)
        state.spread[k], state.loading[k] = history.spread, loading
        expected.append(version_of(regression.gather_history, version)(history, drivers, lead, N_SLOT))
    row = np.empty(terms.TERM_FACTOR + n_factor)
    compared = 0
    for t in range(n):
        version_of(service.observe, version)(
            counts[:, t].copy(), when.kind[t], when.slot[t], t, state, network, rule, 1.0
        )
        target = t + lead
        if target in targets:
            for k in range(n_series):
                version_of(service.terms_now, version)(
                    k, lead, when.kind[target], when.slot[target], t, state, network, rule.smooth, row
                )
                assert row == pytest.approx(expected[k][target], rel=1e-4, abs=2e-3)
                compared += 1
    assert compared == n_series * len(targets) > 10


def made_state(
    seed: int, n_series: int = 4, lead: int = 2
) -> tuple[terms.ForecastState, service.NetworkState]:
    """A week of counts taken in."""
    rng = np.random.default_rng(seed)
    level_sums = np.stack([rng.uniform(0.0, 300.0, n_series), np.full(n_series, 3.0)], axis=1)
    state = empty_state(n_series, terms.daily_lag(lead, N_SLOT) + terms.N_LAG, level_sums, 2)
    scale = np.array([float((level_sums[:, 0] / level_sums[:, 1]).sum()), 1.0])
    components = np.linalg.qr(rng.standard_normal((n_series, 2)))[0].T.copy()
    network = service.NetworkState(*table(), scale, np.arange(n_series), components, np.zeros(2))
    when = calendar(7)
    for t in range(7 * N_SLOT):
        row = rng.poisson(level_sums[:, 0] / level_sums[:, 1]).astype(float)
        service.observe(row, when.kind[t], when.slot[t], t, state, network, rules(), 0.999)
    return state, network


@LAW
@given(seed=st.integers(0, 30), size=st.floats(0.0, 20.0))
def test_predictions_are_never_negative_and_quantiles_rise(seed: int, size: float) -> None:
    """Whatever the coefficients, the tables and the misses say."""
    state, network = made_state(seed)
    n, n_term, levels = 4, terms.TERM_FACTOR + 2, 5
    rng = np.random.default_rng(seed + 100)
    candidates, mean, quantiles = np.empty((n, service.N_CANDIDATE)), np.empty(n), np.empty((n, levels))
    own, common = (
        rng.uniform(0.0, 99.0, (n, service.N_CANDIDATE)),
        np.append(rng.uniform(20.0, 30.0, service.N_CANDIDATE), 40.0),
    )
    service.predict(
        2, 0, 3, 7 * N_SLOT - 1, size * rng.standard_normal((n, n_term)), rng.standard_normal((terms.N_BAND, n_term)),
        rng.uniform(0.1, 3.0, n), rng.standard_normal((regression.N_LEVEL_BIN, levels)), rng.standard_normal(levels),
        own, common, np.array([24.0, 6.0]), state, network, smoothing(), candidates, mean, quantiles,
    )  # fmt: skip
    assert (mean >= 0.0).all()
    assert (candidates >= 0.0).all()
    assert (mean <= candidates.max(axis=1) + 1e-9).all()
    assert (mean >= candidates.min(axis=1) - 1e-9).all()
    assert (quantiles >= 0.0).all()
    assert (np.diff(quantiles, axis=1) >= 0.0).all()


# ------------------------------------------------------------------------------------------------ calibration


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("wrong", [0.5, 2.0])
def test_coverage_comes_to_what_was_asked(wrong: float, version: str) -> None:
    """Intervals that start half or twice as wide as they should be."""
    rng = np.random.default_rng(12)
    n, rounds, levels = 50, 4000, np.array([0.1, 0.5, 0.9])
    tables = wrong * np.array([-1.2816, 0.0, 1.2816])  # of the normal distribution
    mean, error = np.full(n, 98.0), np.full(n, 1.5)
    shift, misses, own = np.zeros(3), np.zeros(service.N_CANDIDATE + 1), np.zeros((n, service.N_CANDIDATE))
    candidates = np.repeat(mean[:, None], service.N_CANDIDATE, axis=1)
    below = []
    for _ in range(rounds):
        quantiles = mean[:, None] + error[:, None] * 10.0 * (tables + shift)
        counts = 98.0 + 15.0 * rng.standard_normal(n)
        counts[rng.random(n) < 0.1] = np.nan
        seen = np.isfinite(counts)
        below.append((counts[seen, None] <= quantiles[seen]).mean(axis=0))
        version_of(service.calibrate, version)(
            counts, candidates, mean, quantiles, levels, 0.02, 0.999, error, shift, own, misses, 0.99
        )
    late = np.mean(below[rounds // 2 :], axis=0)
    # A cut at 6 spreads aside, the mean absolute error of a normal variable gives back its deviation.
    assert np.mean(error) == pytest.approx(1.5, rel=0.05)
    assert late == pytest.approx(levels, abs=0.01)


@pytest.mark.parametrize("version", VERSIONS)
def test_misses_are_discounted_and_gaps_teach_nothing(version: str) -> None:
    calibrate = version_of(service.calibrate, version)
    mean, levels = np.array([98.0, 98.0]), np.array([0.5])
    candidates = np.array([[98.0, 108.0, 88.0, 118.0, 998.0], [98.0, 98.0, 128.0, 98.0, 98.0]])
    error, shift, misses = np.ones(2), np.zeros(1), np.array([1.0, 2.0, 3.0, 0.0, 0.0, 4.0])
    own = np.array([[2.0, 2.0, 2.0, 0.0, 0.0], [1.0, 1.0, 1.0, 1.0, 1.0]])
    quantiles = mean[:, None].copy()
    learned = error, shift, own, misses
    before = [a.copy() for a in learned]
    calibrate(np.array([np.nan, -1.0]), candidates, mean, quantiles, levels, 0.1, 0.9, *learned, 0.5)
    for a, b in zip(learned, before):
        assert (a == b).all()
    calibrate(np.array([118.0, np.inf]), candidates, mean, quantiles, levels, 0.1, 0.9, *learned, 0.5)
    # Root of 98 + 2 is 10: misses of 2, 1, 3, 0 and 88 spreads of a count; older ones count half.
    # One series far off doesn't speak for all, nor for ever: 6 spreads is the most.
    assert own[0] == pytest.approx([3.0, 2.0, 4.0, 0.0, weekly.TEACH_LIMIT * error[0]])
    assert (own[1] == 1.0).all()
    assert misses == pytest.approx([2.5, 2.0, 4.5, 0.0, weekly.TEACH_LIMIT, 3.0])
    assert error == pytest.approx([0.9 + 0.1 * weekly.MEAN_TO_SPREAD * 2.0, 1.0])
    assert shift == pytest.approx([0.1 * (1 / 50) * 0.5])  # one of 50 series, all above


def test_shares_of_the_candidates() -> None:
    shares = np.empty(service.N_CANDIDATE)
    own, late = np.zeros(service.N_CANDIDATE), 20.0
    for misses, expected in [
        ([10.0, 12.0, 15.0, 16.0, 16.0, 30.0], [1.0, 0.0, 0.0, 0.0, 0.0]),
        ([10.5, 10.0, 15.0, 16.0, 16.0, 30.0], [0.5, 0.5, 0.0, 0.0, 0.0]),
        ([12.0, 15.0, 10.0, 16.0, 16.0, 30.0], [0.0, 0.0, 1.0, 0.0, 0.0]),
        ([12.0, 15.0, 10.0, 16.0, 16.0, late], [1.0, 0.0, 0.0, 0.0, 0.0]),  # too few to judge
        ([0.0, 0.0, 0.0, 0.0, 0.0, 30.0], [1.0, 0.0, 0.0, 0.0, 0.0]),
    ]:
        service.shares_of(own, np.array(misses), 24.0, 24.0, shares)
        assert shares == pytest.approx(expected)
    # All series are well off with the sum of terms; one whose level has jumped misses five times as much with it.
    common = np.array([24.0, 26.0, 30.0, 25.0, 25.0, 30.0])
    own[:] = 4 * 5.0, 4 * 5.0, 4 * 1.2, 4 * 1.0, 4 * 2.0
    service.shares_of(own, common, 24.0, 24.0, shares)
    assert shares == pytest.approx([0.0, 0.0, 0.0, 1.0, 0.0])


@pytest.mark.parametrize("version", VERSIONS)
def test_where_all_series_miss_none_says_much_about_its_level(version: str) -> None:
    """Ten series, counted at half of what was expected: so far off that it counts a thirty-sixth."""
    n = 10
    mean, error = np.full(n, 98.0), np.ones(n)
    candidates = np.repeat(mean[:, None], service.N_CANDIDATE, axis=1)
    own, misses, shift = np.zeros((n, service.N_CANDIDATE)), np.zeros(service.N_CANDIDATE + 1), np.zeros(1)
    version_of(service.calibrate, version)(
        np.full(n, 48.0), candidates, mean, mean[:, None].copy(), np.array([0.5]), 0.1, 1.0, error, shift, own, misses,
        0.5,
    )  # fmt: skip
    # A mean absolute error of 5 is that of a spread of 1.2533 times as much, cut at 6.
    assert own == pytest.approx(np.full((n, service.N_CANDIDATE), 5.0 / 6.0**2))
    assert misses == pytest.approx([5.0] * service.N_CANDIDATE + [1.0])


@LAW
@given(
    hnp.arrays(np.float64, 5, elements=st.floats(0.0, 1e6)),
    hnp.arrays(np.float64, 6, elements=st.floats(0.0, 1e6)),
)
def test_shares_sum_to_one(own: np.ndarray, common: np.ndarray) -> None:
    shares = np.empty(service.N_CANDIDATE)
    service.shares_of(own, common, 24.0, 24.0, shares)
    assert (shares >= 0.0).all()
    assert shares.sum() == pytest.approx(1.0)


def test_what_a_forecast_is_chosen_from() -> None:
    row, out = np.zeros(terms.TERM_FACTOR), np.empty(service.N_CANDIDATE)
    row[0] = 50.0
    row[terms.TERM_RATIO : terms.TERM_DAILY] = [9.0, 9.0, 40.0, -60.0]
    service.lay_candidates(-3.0, row, 81.0, out)
    assert out.tolist() == [0.0, 50.0, 81.0, 90.0, 0.0]


@LAW
@given(lead=st.integers(1, 700), n_slot=st.sampled_from([24, 96, 288]))
def test_the_daily_lag_is_known_and_no_older_than_it_must(lead: int, n_slot: int) -> None:
    back = terms.daily_lag(lead, n_slot)
    assert back % n_slot == 0
    assert lead <= back < lead + n_slot


def test_bins_of_levels_and_bands_of_the_day() -> None:
    assert [regression.level_bin(x) for x in (0.0, 3.9, 4.0, 12.0, 36.0, 108.0, 324.0, 1e6)] == [
        0,
        0,
        1,
        2,
        3,
        4,
        5,
        5,
    ]
    assert [terms.band_of(slot, 96) for slot in (0, 5, 6, 95)] == [0, 0, 1, terms.N_BAND - 1]


# ------------------------------------------------------------------------------------------------ compilation

WHOLE_RUN = """
import numpy as np
from kernels import forecast, principal, regression, terms, weekly
from signals.demand.forecast import Forecaster
n = 21 * 24
times = np.datetime64("2024-01-01T00:00") + np.arange(n) * np.timedelta64(60, "m")
counts = np.random.default_rng(1).poisson(50.0, (n, 6)).astype(float)
for history in (counts, counts.astype("f4"), np.asfortranarray(counts)):
    forecaster = Forecaster(times, history, [1, 24])
    for row in counts[:3]:
        for lead in (1, 2, 24):
            forecaster.predict(lead)
        forecaster.explain(0, 3)
        forecaster.update(forecaster.time_of(1), row)
for module in (forecast, principal, regression, terms, weekly):
    for name, function in vars(module).items():
        if hasattr(function, "signatures"):
            print(name, len(function.signatures))
"""


@pytest.mark.skipif(not JIT_ENABLED, reason="kernels are plain Python in this run")
def test_one_signature_per_kernel() -> None:
    """After a fit, forecasts and updates in a process of its own, with histories of several layouts."""
    done = subprocess.run(
        [sys.executable, "-c", WHOLE_RUN], cwd=ROOT, capture_output=True, text=True, check=True, timeout=300
    )
    found = {name: int(n) for name, n in (line.split() for line in done.stdout.splitlines())}
    assert {name: n for name, n in found.items() if n > 1} == {}
    # Kernels that others call come out of the cache with their callers, and don't count as compiled.
    called = {"standardised_residuals", "factor_history", "pooled_equations", "fit_series", "network_counts"}
    called |= {
        "clean_profiles",
        "network_excesses",
        "predict",
        "terms_now",
        "calibrate",
        "observe",
        "shares_of",
    }
    assert {name for name, n in found.items() if n == 1} >= called
