"""LightGBM as a peer: one model for all series, on what the smoothed profile leaves, tuned on the history's tail."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from signals.demand.calendar import slots_of, weekdays_of
from signals.demand.peers.profile import BASE, Clock, DayProfile, spread_of
from signals.errors import InputError
from signals.model.counts import Floats, Times

Features = NDArray[np.float32]
Lagged = Callable[[int], Floats]

MOST_ROWS = 1_000_000
"""Counts that it learns from at the most: the newest, and of networks too large for that of some series only."""
LEAST_ROWS = 500
LEARNING_WEEKS = 4
"""The first weeks of a long history teach the profile only."""
JUDGED_SHARE = 0.2
"""The end of the history that the candidates are judged by."""
OBJECTIVES = ("l1", "l2")
SHAPES = ((15, 100), (31, 100), (63, 300))
"""Leaves of a tree, and counts in a leaf at the least."""
MOST_TREES = 1500
PATIENCE = 30
MORE_TREES = 1.1
"""The last fit has the tail as well, and so much more trees."""
N_LAG = 8
SHORT_MEAN, LONG_MEAN = 4, 16
"""Residuals in the means."""
OTHERS = (0, 2, 3, 4, 5)
"""The profiles beside the base."""
CATEGORIES = (0, 2)
"""The columns of weekday and series."""


class LightGBM:
    """Boosted trees on the residuals of the smoothed profile, in spreads of their level (`spread_of`).

    Objective (absolute or squared error), size and number of trees are the ones that do best in the last fifth of the
    history; the model is then fitted to all of it. Each quantile has a model too, of as many trees as suit it. New
    counts are seen in the features; nothing is fitted again. Features: weekday, slot, series, level; what the other
    profiles say; the last eight residuals, and those at this time one, two and seven days ago; their means, and the
    network's.

    times : datetime64[n_interval], local clock; counts : float[n_interval, n_series], veh, NaN where missing.
    threads : of LightGBM; the result doesn't depend on them

    Raises
    ------
    InputError
        Where the history has too few counts to learn from.
    ImportError
        Where lightgbm is not installed.
    """

    def __init__(
        self,
        times: Times,
        counts: ArrayLike,
        horizon: int = 1,
        quantiles: Sequence[float] | None = None,
        *,
        threads: int = 1,
    ) -> None:
        history = np.array(counts, dtype=np.float64)
        self._clock = Clock(times, history, horizon)
        self._profile = DayProfile(self._clock, times, history, all_six=True)
        n, n_series = history.shape
        slots = self._clock.slots_a_day
        self._daily = [_next_lag(days * slots, horizon, slots) for days in (1, 2, 7)]
        base = self._profile.of_history
        residual = (history - base) / spread_of(base)
        most_back = max(*self._daily, horizon + LONG_MEAN - 1)
        self._recent = deque(residual[-most_back:].copy(), maxlen=most_back)

        first = LEARNING_WEEKS * 7 * slots if self._profile.long else slots
        first = min(first, max(0, n - slots))
        taken = max(1, min(n_series, MOST_ROWS // max(1, min(n - first, LEARNING_WEEKS * 7 * slots))))
        series = np.unique(np.linspace(0, n_series - 1, taken).round().astype(np.int64))
        first = max(first, n - MOST_ROWS // taken)
        if taken < n_series:
            residual = residual[:, series]
        profiles = self._profile.all_of_history[:, first:, series]

        def lagged(lag: int) -> Floats:
            rows = np.arange(first, n) - lag
            return np.where((rows >= 0)[:, None], residual[np.maximum(rows, 0)], np.nan)

        late = times[first:]
        table = self._features(
            profiles, lagged, weekdays_of(late), slots_of(late, self._clock.step_min), series
        )
        self._fit(
            table,
            residual[first:].ravel(),
            spread_of(profiles[BASE]).ravel(),
            tuple(quantiles or ()),
            threads,
        )

    def predict(self) -> Floats | tuple[Floats, Floats]:
        """Means float64[n_series], and quantiles float64[n_series, n_level] where levels were asked for."""
        profiles = self._profile.at(self._clock.target)[:, None]
        weekday, slot = self._clock.place_of(self._clock.target)
        nothing = np.full(profiles.shape[1:], np.nan)
        ahead = self._clock.horizon

        def lagged(lag: int) -> Floats:
            # The newest row that is known lies `ahead` before the target.
            back = lag - ahead + 1
            return self._recent[-back][None] if back <= len(self._recent) else nothing

        n_series = profiles.shape[2]
        table = self._features(profiles, lagged, np.array([weekday]), np.array([slot]), np.arange(n_series))
        base = profiles[BASE, 0]
        spread = spread_of(base)
        mean: Floats = np.maximum(base + spread * self._mean.predict(table), 0.0)
        if not self._quantiles:
            return mean
        made = np.stack([model.predict(table) for model in self._quantiles], axis=1)
        # Models that were fitted apart may cross.
        return mean, np.sort(np.maximum(base[:, None] + spread[:, None] * made, 0.0), axis=1)

    def update(self, time: np.datetime64, row: ArrayLike) -> None:
        """Take in the counts of the interval that has just ended."""
        seen = np.asarray(row, dtype=np.float64)
        expected = self._profile.at(time)[BASE]
        self._recent.append((seen - expected) / spread_of(expected))
        self._profile.update(time, seen)
        self._clock.advance(time)

    def _features(
        self,
        profiles: Floats,
        lagged: Lagged,
        weekdays: NDArray[np.int64],
        slots: NDArray[np.int64],
        series: NDArray[np.int64],
    ) -> Features:
        """What is known of each target, float32[n_interval · n_series, n_feature].

        profiles : float64[6, n_interval, n_series], of the targets; lagged(lag) : residuals so many intervals before
        them, float64[n_interval, n_series]; series : the number of each
        """
        base = profiles[BASE]
        spread = spread_of(base)
        shape = base.shape
        network = profiles.sum(axis=2)
        whole = np.maximum(network[4], 1e-9)
        ahead = self._clock.horizon
        lags = [lagged(ahead + k) for k in range(LONG_MEAN)]
        known = [np.nan_to_num(lag) for lag in lags]
        columns = [
            np.broadcast_to(weekdays[:, None], shape),
            np.broadcast_to(slots[:, None], shape),
            np.broadcast_to(series[None, :], shape),
            spread,
            *((profiles[k] - base) / spread for k in OTHERS),
            *((network[k] / whole - 1.0)[:, None] * spread for k in (0, 3)),
            *lags[:N_LAG],
            np.mean(known[:SHORT_MEAN], axis=0),
            np.mean(known, axis=0),
            *(lagged(lag) for lag in self._daily),
            *(np.broadcast_to(_mean_seen(lag), shape) for lag in lags[:2]),
            np.broadcast_to(np.mean(known[:SHORT_MEAN], axis=(0, 2))[:, None], shape),
        ]
        return np.stack(columns, axis=2, dtype=np.float32).reshape(-1, len(columns))

    def _fit(
        self, table: Features, residual: Floats, weight: Floats, levels: tuple[float, ...], threads: int
    ) -> None:
        import lightgbm

        seen = np.isfinite(residual)
        if seen.sum() < LEAST_ROWS:
            raise InputError(
                f"LightGBM: {int(seen.sum())} counts after the first day, needs {LEAST_ROWS}; give a longer history"
            )
        judged = np.arange(len(residual)) >= len(residual) - int(len(residual) * JUDGED_SHARE)

        def data(rows: NDArray[np.bool_], reference: Any = None) -> Any:
            return lightgbm.Dataset(
                table[rows], residual[rows], weight=weight[rows], categorical_feature=list(CATEGORIES),
                free_raw_data=False, reference=reference,
            )  # fmt: skip

        split = (seen & judged).any() and (seen & ~judged).any()
        early: Any = data(seen & ~judged) if split else None
        tail: Any = data(seen & judged, early) if split else None

        def tried(options: dict[str, object]) -> tuple[float, int]:
            """Loss in the tail, and the number of trees that it takes."""
            if not split:
                return 0.0, PATIENCE
            model = lightgbm.train(
                options, early, MOST_TREES, valid_sets=[tail],
                callbacks=[lightgbm.early_stopping(PATIENCE, verbose=False)],
            )  # fmt: skip
            return float(model.best_score["valid_0"][str(options["metric"])]), int(model.best_iteration)

        candidates = [_options(objective, *shape, threads) for objective in OBJECTIVES for shape in SHAPES]
        results = [tried(options) for options in candidates]
        options, (_, trees) = min(zip(candidates, results, strict=True), key=lambda pair: pair[1][0])
        every = data(seen)
        self._mean = lightgbm.train(options, every, int(trees * MORE_TREES) + 1)
        self._quantiles = []
        for level in levels:
            # Its own number of trees: the tails learn less than the middle does.
            own = {**options, "objective": "quantile", "metric": "quantile", "alpha": level}
            self._quantiles.append(lightgbm.train(own, every, int(tried(own)[1] * MORE_TREES) + 1))


def _options(objective: str, leaves: int, least: int, threads: int) -> dict[str, object]:
    return {
        "objective": objective,
        "metric": "l1",
        "num_leaves": leaves,
        "min_child_samples": least,
        "learning_rate": 0.05,
        "feature_fraction": 0.7,
        "bagging_fraction": 0.8,
        "bagging_freq": 1,
        "lambda_l2": 1.0,
        "num_threads": threads,
        "seed": 1,
        "deterministic": True,
        "verbosity": -1,
    }


def _next_lag(lag: int, horizon: int, slots: int) -> int:
    """The lag, or whole days more until its count is known."""
    return lag + max(0, -(-(horizon - lag) // slots)) * slots


def _mean_seen(rows: Floats) -> Floats:
    """The mean of each row's counts, 0 where none were seen: float64[n_interval, 1]."""
    n = np.isfinite(rows).sum(axis=1, keepdims=True)
    return np.asarray(np.nansum(rows, axis=1, keepdims=True) / np.maximum(n, 1))
