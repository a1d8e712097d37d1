"""AutoETS and AutoARIMA of statsforecast as peers: one model a series, on what the smoothed profile leaves.

Both are fitted once. New counts then move the model's state, not its coefficients, by the filter that belongs to it,
for all series at once; `tests/signals/demand/test_peers.py` holds that to statsforecast's own `forward`.
"""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from signals.demand.peers.profile import BASE, JUDGED_WEEKS, Clock, DayProfile, ErrorQuantiles, spread_of
from signals.errors import InputError
from signals.model.counts import Floats, Times

MOST_SERIES = 300
"""Models that are fitted at the most, evenly over the series; every other series takes its nearest neighbour's."""
MOST_WEEKS = 4
"""A model is fitted to so many weeks at the end of the history."""
LEAST_ROWS = 32
FIRST_VARIANCE = 1e3
"""Variance of a state that nothing is known of, in squared spreads: much."""


@dataclass(frozen=True)
class StateSpace:
    """A linear model: state ← transition · state + gain · surprise, or a gain that follows from the variances.

    transition : float64[n_state, n_state]; reads : float64[n_state], what of the state is seen; mean : of the series
    gain : float64[n_state] where it is fixed (exponential smoothing)
    noise : float64[n_state, n_state], what each step adds to the variance (ARIMA), in units of the surprise's
    """

    transition: Floats
    reads: Floats
    mean: float
    gain: Floats | None = None
    noise: Floats | None = None


class _Filters:
    """The states of many series, each with a model of its own, padded to the same size."""

    def __init__(self, models: Sequence[StateSpace]) -> None:
        n, size = len(models), max(len(m.reads) for m in models)
        self.transition = np.zeros((n, size, size))
        self.reads = np.zeros((n, size))
        self.mean = np.array([m.mean for m in models])
        self.gain = np.zeros((n, size))
        self.noise = np.zeros((n, size, size))
        self.variance = np.zeros((n, size, size))
        self.fixed = models[0].gain is not None
        for k, m in enumerate(models):
            own = len(m.reads)
            self.transition[k, :own, :own] = m.transition
            self.reads[k, :own] = m.reads
            if m.gain is not None:
                self.gain[k, :own] = m.gain
            if m.noise is not None:
                self.noise[k, :own, :own] = m.noise
                self.variance[k, :own, :own] = FIRST_VARIANCE * np.eye(own)
        self.state = np.zeros((n, size))

    def step(self, row: Floats) -> None:
        """Take in one value of each series, NaN where missing: then the state goes on by itself."""
        state = _times(self.transition, self.state)
        seen = ~np.isnan(row)
        surprise = np.where(seen, row - self.mean - (self.reads * state).sum(axis=1), 0.0)
        gain = self.gain
        if not self.fixed:
            before = self.transition @ self.variance @ self.transition.swapaxes(1, 2) + self.noise
            shared = _times(before, self.reads)
            total = (self.reads * shared).sum(axis=1)
            gain = np.where(seen & (total > 0), 1.0 / np.where(total > 0, total, 1.0), 0.0)[:, None] * shared
            self.variance = before - gain[:, :, None] * shared[:, None, :]
        self.state = state + gain * surprise[:, None]

    def ahead(self, horizon: int) -> Floats:
        """The value so many steps on, float64[n_series]."""
        state = self.state
        for _ in range(horizon):
            state = _times(self.transition, state)
        return np.asarray(self.mean + (self.reads * state).sum(axis=1))


class _OnResidual(ABC):
    """What AutoETS and AutoARIMA share.

    times : datetime64[n_interval], local clock; counts : float[n_interval, n_series], veh, NaN where missing.
    Residuals of the smoothed profile are taken in spreads of their level (`spread_of`); where a count is missing, a
    fit takes it for the profile, and a forecast goes on without it. Of networks over 300 series, 300 get a
    model of their own (`remarks` says so), each from the last 4 weeks. Quantiles come from the errors of the last
    13 weeks of the history.

    Raises
    ------
    InputError
        Where the history is too short.
    ImportError
        Where statsforecast is not installed.
    """

    def __init__(
        self, times: Times, counts: ArrayLike, horizon: int = 1, quantiles: Sequence[float] | None = None
    ) -> None:
        history = np.array(counts, dtype=np.float64)
        self._clock = Clock(times, history, horizon)
        n, n_series = history.shape
        if n < LEAST_ROWS:
            raise InputError(
                f"{type(self).__name__}: {n} intervals of history, needs {LEAST_ROWS}; give a day or more"
            )
        week = 7 * self._clock.slots_a_day
        self._profile = DayProfile(self._clock, times, history)
        base = self._profile.of_history
        residual = (history - base) / spread_of(base)
        fitted = np.unique(np.linspace(0, n_series - 1, min(n_series, MOST_SERIES)).round().astype(np.int64))
        self.remarks: tuple[str, ...] = ()
        if len(fitted) < n_series:
            self.remarks = (
                f"{n_series} series: {len(fitted)} were fitted, the others take a neighbour's model",
            )
        recent = np.nan_to_num(residual[-MOST_WEEKS * week :])
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter(
                "ignore"
            )  # optimisers that ran out of patience give their best all the same
            models = [self._model_of(recent[:, k]) for k in fitted]
        nearest = np.abs(np.arange(n_series)[:, None] - fitted).argmin(axis=1)
        self._filters = _Filters([models[k] for k in nearest])
        made = self._replay(
            residual[-(JUDGED_WEEKS + 1) * week :], base[-(JUDGED_WEEKS + 1) * week :], horizon
        )
        self._errors = None
        if quantiles:
            seen = history[-len(made) :]
            self._errors = ErrorQuantiles(made, seen, quantiles, self._clock.slots_a_day)

    @abstractmethod
    def _model_of(self, residual: Floats) -> StateSpace:
        """The model that fits one series' residuals best, float64[n_interval]."""

    def _replay(self, residual: Floats, base: Floats, horizon: int) -> Floats:
        """Bring the states up to date; the forecasts that were made on the way, NaN before the first."""
        made = np.full(base.shape, np.nan)
        for row in range(len(residual)):
            self._filters.step(residual[row])
            if row + horizon < len(residual) and row >= self._clock.slots_a_day:
                expected = base[row + horizon]
                made[row + horizon] = expected + spread_of(expected) * self._filters.ahead(horizon)
        return np.asarray(np.maximum(made, 0.0))

    def predict(self) -> Floats | tuple[Floats, Floats]:
        """Means float64[n_series], and quantiles float64[n_series, n_level] where levels were asked for."""
        base = self._profile.at(self._clock.target)[BASE]
        mean = np.maximum(base + spread_of(base) * self._filters.ahead(self._clock.horizon), 0.0)
        return mean if self._errors is None else (mean, self._errors.around(mean))

    def update(self, time: np.datetime64, row: ArrayLike) -> None:
        """Take in the counts of the interval that has just ended."""
        seen = np.asarray(row, dtype=np.float64)
        expected = self._profile.at(time)[BASE]
        self._filters.step((seen - expected) / spread_of(expected))
        self._profile.update(time, seen)
        self._clock.advance(time)


class AutoETS(_OnResidual):
    """Exponential smoothing of the residual, its form chosen by AICc; arguments and limits of `_OnResidual`."""

    def _model_of(self, residual: Floats) -> StateSpace:
        from statsforecast.models import AutoETS as Model

        if not residual.any():
            return _NOTHING
        fitted: dict[str, Any] = Model(season_length=1).fit(residual).model_
        level, trend, _, damping = np.nan_to_num(np.asarray(fitted["par"][:4], dtype=np.float64))
        components: str = fitted["components"]
        if components[1] == "N":
            return StateSpace(np.ones((1, 1)), np.ones(1), 0.0, gain=np.array([level]))
        if components[3] == "N":
            damping = 1.0
        # The state goes on before a count is read, so both parts have been damped by then.
        return StateSpace(
            np.array([[1.0, damping], [0.0, damping]]),
            np.array([1.0, 0.0]),
            0.0,
            gain=np.array([level, trend]),
        )


class AutoARIMA(_OnResidual):
    """ARIMA of the residual, its order chosen by AICc; arguments and limits of `_OnResidual`.

    It has no drift, since what a profile leaves has none.
    """

    def _model_of(self, residual: Floats) -> StateSpace:
        from statsforecast.models import AutoARIMA as Model

        if not residual.any():
            return _QUIET
        model = Model(season_length=1, approximation=True, allowdrift=False).fit(residual)
        fitted: dict[str, Any] = model.model_
        space: dict[str, NDArray[np.float64]] = fitted["model"]
        return StateSpace(
            np.array(space["T"], dtype=np.float64),
            np.array(space["Z"], dtype=np.float64),
            float(fitted["coef"].get("intercept", 0.0)),
            noise=np.array(space["V"], dtype=np.float64),
        )


_NOTHING = StateSpace(np.ones((1, 1)), np.ones(1), 0.0, gain=np.zeros(1))
"""Smoothing of a series that was never seen: its profile."""
_QUIET = StateSpace(np.zeros((1, 1)), np.ones(1), 0.0, noise=np.ones((1, 1)))
"""Noise without a memory, of such a series."""


def _times(matrices: Floats, vectors: Floats) -> Floats:
    """Each matrix times its vector: float64[n, k, k] and [n, k] give [n, k]."""
    return np.asarray((matrices @ vectors[:, :, None])[:, :, 0])
