"""Scores of forecasts: by hand, against the project's measuring stick, and rolled so that nobody looks ahead."""

from __future__ import annotations

import json
import math
from dataclasses import FrozenInstanceError, replace
from types import ModuleType

import numpy as np
import pytest

from signals.demand.scoring import LEVELS, Rolled, Score, geh, roll, score, worst_week
from signals.errors import InputError
from signals.model.counts import Floats, Times
from tests.signals.stick import measuring_stick

NAN = float("nan")
MONDAY = np.datetime64("2006-10-02T00:00", "m")


def quarters(n: int, start: np.datetime64 = MONDAY, step_min: int = 15) -> Times:
    return start + np.arange(n) * np.timedelta64(step_min, "m")


def rolled(counts: Floats, mean: Floats, *, step_min: int = 1440, start: np.datetime64 = MONDAY) -> Rolled:
    nothing = np.empty((*counts.shape, 0))
    times = quarters(len(counts), start, step_min)
    return Rolled(times, step_min, counts, mean, (), nothing, 1, 0.5, 2.0)


class Recorder:
    """Forecasts the sum of what it was shown so far, and keeps it."""

    def __init__(self, times: Times, counts: Floats, horizon: int, quantiles: object) -> None:
        self.times, self.rows, self.horizon, self.quantiles = list(times), list(counts), horizon, quantiles

    def predict(self) -> Floats:
        return np.nansum(self.rows, axis=0)

    def update(self, time: np.datetime64, row: Floats) -> None:
        self.times.append(time)
        self.rows.append(row)


class Quantiles(Recorder):
    """The same, with quantiles that are written over later."""

    def predict(self) -> tuple[Floats, Floats]:
        mean = super().predict()
        self.made = mean[:, None] + np.arange(2.0)
        return mean, self.made

    def update(self, time: np.datetime64, row: Floats) -> None:
        super().update(time, row)
        self.made[:] = -1.0


# ------------------------------------------------------------------------------------------------ by hand


def test_errors_by_hand_and_neither_gap_nor_absent_forecast_is_free() -> None:
    # Errors +2, -4, (gap), and no forecast of 8: that is one of 0, too low by 8.
    made = score(quarters(2), [[10.0, 20.0], [NAN, 8.0]], [[12.0, 16.0], [50.0, NAN]], 15)
    assert (made.n, made.n_series, made.absent) == (3, 2, 1)
    assert made.mean_veh == pytest.approx(38 / 3)
    assert made.mae_veh == pytest.approx((2 + 4 + 8) / 3)
    assert made.rmse_veh == pytest.approx(math.sqrt((4 + 16 + 64) / 3))
    assert made.wape == pytest.approx(100 * 14 / 38)
    assert made.macro_wape == pytest.approx(100 * (2 / 10 + 12 / 28) / 2)
    assert made.bias_veh == pytest.approx(-10 / 3)
    assert made.bias == pytest.approx(100 * -10 / 38)


def test_geh_is_of_hourly_volumes() -> None:
    # 1000 against 1160 veh/h: √(2 · 160² / 2160) = 4.869; 1170: √(2 · 170² / 2170) = 5.161.
    assert geh(np.array([1160.0, 1170.0, -3.0]), np.array([1000.0, 1000.0, 0.0])) == pytest.approx(
        [4.8686, 5.1610, 0.0], abs=1e-4
    )
    made = score(quarters(1), [[250.0, 250.0, 250.0, 250.0]], [[290.0, 292.5, 292.5, 292.5]], 15)
    assert made.geh5 == 25.0
    assert score(quarters(1, step_min=60), [[250.0, 250.0]], [[290.0, 292.5]], 60).geh5 == 100.0


def test_peaks_are_half_open_and_of_working_days() -> None:
    # Monday 06:45, 07:00, 09:00, 16:00, 18:15, 18:30: only 07:00, 16:00 and 18:15 are peak.
    at = np.array([405, 420, 540, 960, 1095, 1110])
    counts, mean = np.full((6, 1), 10.0), np.array([[99.0], [11.0], [99.0], [12.0], [13.0], [99.0]])
    monday = MONDAY + at * np.timedelta64(1, "m")
    assert score(monday, counts, mean, 15).peak_wape == pytest.approx(100 * 6 / 30)
    saturday = score(monday + np.timedelta64(5, "D"), counts, mean, 15)
    assert math.isnan(saturday.peak_wape)
    assert saturday.to_json()["peak_wape"] is None


def test_quantile_loss_and_coverage_by_hand() -> None:
    # Levels 0.25 and 0.75 of a count of 10 with quantiles 8 and 12: 0.25 · 2 and 0.25 · 2; of 20 with 8, 12: 3 and 6.
    counts = np.array([[10.0], [20.0]])
    quantiles = np.array([[[8.0, 12.0]], [[8.0, 12.0]]])
    made = score(quarters(2), counts, counts, 15, levels=(0.25, 0.75), quantiles=quantiles)
    assert made.wql == pytest.approx(100 * 2 * ((0.5 + 0.5 + 3.0 + 6.0) / 4) / 15)
    assert made.cover50 == 50.0
    assert math.isnan(made.cover80)
    assert math.isnan(made.cover90)
    turned = score(quarters(2), counts, counts, 15, levels=(0.75, 0.25), quantiles=quantiles)
    assert (turned.wql, turned.cover50) == (made.wql, made.cover50)


def test_a_perfect_forecast_has_no_error_and_its_figures_are_plain_values() -> None:
    counts = np.random.default_rng(1).poisson(30, (96, 4)).astype(float)
    quantiles = np.repeat(counts[:, :, None], len(LEVELS), axis=2)
    made = score(quarters(96), counts, counts, 15, levels=LEVELS, quantiles=quantiles)
    assert (made.mae_veh, made.rmse_veh, made.wape, made.bias, made.wql) == (0, 0, 0, 0, 0)
    assert made.geh5 == made.cover50 == made.cover80 == made.cover90 == 100.0
    assert json.loads(json.dumps(made.to_json()))["n"] == 384
    with pytest.raises(FrozenInstanceError):
        made.n = 3  # type: ignore[misc]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([[NAN]], [[1.0]]), "none of 1 counts of the test was seen"),
        (([[1.0, 2.0]], [[1.0]]), r"forecasts of shape \(1, 1\) for counts of shape \(1, 2\)"),
    ],
)
def test_what_cannot_be_scored_is_said(arguments: tuple[object, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        score(quarters(1), *arguments, 15)
    with pytest.raises(InputError, match="quantiles of shape"):
        score(quarters(1), [[1.0]], [[1.0]], 15, levels=(0.1, 0.9), quantiles=[[[1.0]]])


# --------------------------------------------------------------------------------------------- the stick


@pytest.fixture(scope="module")
def stick() -> ModuleType:
    return measuring_stick()


NAMES = {
    "n": "n", "n_series": "series", "absent": "missing_forecasts", "mean_veh": "mean", "mae_veh": "mae",
    "rmse_veh": "rmse", "wape": "wape", "peak_wape": "wape_peak", "macro_wape": "wape_macro", "bias_veh": "bias",
    "geh5": "geh5", "wql": "wql", "cover50": "cover50", "cover80": "cover80", "cover90": "cover90",
}  # fmt: skip


@pytest.mark.parametrize("step_min", [5, 15, 60])
@pytest.mark.parametrize("absent", [0.0, 0.1])
def test_every_figure_is_the_stick_s(stick: ModuleType, step_min: int, absent: float) -> None:
    rng = np.random.default_rng(step_min)
    times = quarters(9 * 1440 // step_min, MONDAY + np.timedelta64(61, "h"), step_min)
    counts = rng.poisson(rng.gamma(2.0, 20.0, (len(times), 7))).astype(float)
    counts[rng.random(counts.shape) < 0.15] = NAN
    counts[:, 6] = np.where(np.isnan(counts[:, 6]), NAN, 0.0)  # an empty street
    mean = rng.normal(np.nan_to_num(counts, nan=30.0) + 1.0, 8.0)
    mean[rng.random(counts.shape) < absent] = NAN
    quantiles = rng.normal(np.nan_to_num(mean)[:, :, None], 12.0, (*mean.shape, len(LEVELS)))  # not in order
    own = score(times, counts, mean, step_min, levels=LEVELS, quantiles=quantiles)
    theirs = stick.score(times, counts, mean, None, step_min, list(LEVELS), quantiles)
    for name, called in NAMES.items():
        assert getattr(own, name) == pytest.approx(theirs[called], rel=1e-12), name
    assert own.bias == pytest.approx(100 * theirs["bias"] / theirs["mean"])
    assert set(NAMES) | {"bias"} == set(Score.__slots__)


@pytest.mark.parametrize("horizon", [1, 4])
def test_rolling_is_the_stick_s(stick: ModuleType, horizon: int) -> None:
    counts = np.random.default_rng(0).poisson(20.0, (200, 3)).astype(float)
    own = roll(Quantiles, quarters(200), counts, 150, horizon, (0.1, 0.9))
    mean, quantiles, *_ = stick.run_forecaster(
        Quantiles, quarters(200), counts, 150, 200, horizon, [0.1, 0.9]
    )
    assert np.array_equal(own.mean, mean)
    assert np.array_equal(own.quantiles, quantiles)


# ---------------------------------------------------------------------------------------------- rolling


@pytest.mark.parametrize("horizon", [1, 3])
def test_a_forecast_sees_everything_up_to_its_origin_and_nothing_after(horizon: int) -> None:
    counts = np.arange(20.0)[:, None] ** 2
    counts[4] = NAN
    own = roll(Recorder, quarters(20), counts, 12, horizon)
    sums = np.nancumsum(counts)
    assert own.mean[:, 0].tolist() == sums[12 - horizon : 20 - horizon].tolist()
    assert own.counts[:, 0].tolist() == counts[12:, 0].tolist()
    assert own.times[0] == quarters(20)[12]
    assert own.levels == ()
    assert own.quantiles.shape == (8, 1, 0)


def test_a_forecaster_can_spoil_neither_the_counts_nor_its_past_forecasts() -> None:
    class Vandal(Quantiles):
        def update(self, time: np.datetime64, row: Floats) -> None:
            super().update(time, row.copy())
            row[:] = 0.0
            self.rows[0][:] = 0.0

    counts = np.random.default_rng(2).poisson(9.0, (30, 2)).astype(float)
    own = roll(Vandal, quarters(30), counts, 20, 1, (0.1, 0.9))
    assert np.array_equal(own.counts, counts[20:])
    assert np.array_equal(own.quantiles, own.mean[:, :, None] + [0.0, 1.0])


def test_seconds_and_progress_are_kept() -> None:
    seen: list[tuple[int, int]] = []
    counts = np.ones((1300, 2))
    own = roll(Quantiles, quarters(1300), counts, 1000, 1, (0.1, 0.9), on_progress=lambda *a: seen.append(a))
    assert own.fit_s > 0
    assert own.us_per_forecast == pytest.approx(1e6 * own.roll_s / 600)
    assert len(seen) == 100
    assert seen[-1] == (300, 300)
    assert own.score().n == 600


@pytest.mark.parametrize(
    ("first", "horizon", "message"),
    [
        (2, 2, "leaves 1 rows of history"),
        (20, 1, "the counts end with row 19"),
        (10, 0, "horizon of 0 intervals"),
    ],
)
def test_a_test_that_cannot_be_is_refused(first: int, horizon: int, message: str) -> None:
    with pytest.raises(InputError, match=message):
        roll(Recorder, quarters(20), np.ones((20, 1)), first, horizon)


def test_a_forecast_of_another_shape_is_refused() -> None:
    class Short(Recorder):
        def predict(self) -> Floats:
            return np.zeros(1)

    with pytest.raises(ValueError, match=r"forecast of shape \(1,\), expected \(2,\)"):
        roll(Short, quarters(20), np.ones((20, 2)), 10)


# ------------------------------------------------------------------------------------------- worst week


def test_the_worst_week_and_its_worst_series_are_found() -> None:
    counts = np.full((21, 3), 100.0)
    mean = counts.copy()
    mean[4:11] += [10.0, -40.0, 0.0]  # days 4 to 10
    made = worst_week(rolled(counts, mean))
    assert (made.first, made.last, made.series) == (4, 11, 1)
    assert made.wape == pytest.approx(100 * 50 / 300)
    assert made.series_wape == pytest.approx(40.0)


def test_a_week_of_gaps_and_an_empty_street_are_no_worst() -> None:
    counts = np.full((28, 3), 100.0)
    counts[:, 2] = 1.0
    mean = counts * 1.05
    mean[:, 2] = 3.0  # 200 % of next to nothing
    counts[14:21] = NAN
    counts[17, 0], mean[17, 0] = 100.0, 300.0
    mean[2, 0] = 150.0
    made = worst_week(rolled(counts, mean))
    assert made.first <= 2 < made.last
    assert made.series == 0


def test_weeks_begin_at_midnight_and_a_short_test_is_one() -> None:
    start = MONDAY + np.timedelta64(22, "h")
    counts = np.full((24 * 9, 1), 10.0)
    mean = counts.copy()
    mean[24 * 8 :] = 20.0
    made = worst_week(rolled(counts, mean, step_min=60, start=start))
    assert (made.first, made.last) == (
        50,
        216,
    )  # seven days are the last 166 rows: 22 h of the last are there
    short = rolled(counts[:30], mean[:30] + 1.0, step_min=60, start=start)
    assert worst_week(short).first == 0
    assert worst_week(short).last == 30
    with pytest.raises(InputError, match="no vehicle in 30 intervals"):
        worst_week(replace(short, counts=short.counts * 0.0))


def test_absent_forecasts_are_zero_in_the_worst_week_too() -> None:
    counts = np.full((14, 1), 10.0)
    mean = counts.copy()
    mean[9] = NAN
    assert worst_week(rolled(counts, mean)).wape == pytest.approx(100 / 7)


def test_the_clock_set_back_moves_no_week() -> None:
    hours = quarters(24 * 8, MONDAY, 60)
    hours[26:] -= np.timedelta64(3, "h")  # 02:00 of the second day is followed by 23:00 of the first
    counts = np.full((24 * 8, 1), 10.0)
    made = worst_week(replace(rolled(counts, counts + 1.0, step_min=60), times=hours))
    assert made.last - made.first >= 24 * 6
    assert made.wape == pytest.approx(10.0)
