"""The peers: one contract for all, the simple ones by hand, the others against the package they come from."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import warnings
from functools import lru_cache

import numpy as np
import pytest

from signals.demand import peers
from signals.demand.peers import PEERS, LastValue, LastWeek, LightGBM, SmoothedProfile, available_peers
from signals.demand.peers.profile import Clock, DayProfile, ErrorQuantiles, spread_of
from signals.demand.peers.statistical import AutoARIMA, AutoETS
from signals.demand.scoring import Rolled, roll
from signals.errors import InputError
from signals.model.counts import Floats, Times

NAN = float("nan")
MONDAY = np.datetime64("2006-10-02T00:00", "m")
LEVELS = (0.1, 0.5, 0.9)
SLOTS = 12
STEP_MIN = 120
WEEK = 7 * SLOTS
FIRST_TEST = 5 * WEEK
HORIZON = 2


def intervals(n: int, step_min: int = STEP_MIN) -> Times:
    return MONDAY + np.arange(n) * np.timedelta64(step_min, "m")


@lru_cache(maxsize=1)
def street() -> Floats:
    """Six weeks of four series: busier by day and on working days, with days that are busy as a whole, and gaps."""
    rng = np.random.default_rng(7)
    n, n_series = 6 * WEEK, 4
    slot, day = np.arange(n) % SLOTS, np.arange(n) // SLOTS
    shape = 20.0 + 80.0 * np.sin(np.pi * slot / SLOTS) ** 2 * np.where(day % 7 < 5, 1.0, 0.6)
    busy = np.zeros(n)
    for k in range(1, n):
        busy[k] = 0.85 * busy[k - 1] + rng.normal(0.0, 0.08)
    mean = shape[:, None] * np.array([1.0, 0.6, 1.5, 0.3]) * np.exp(busy)[:, None]
    counts = rng.poisson(mean).astype(float)
    counts[rng.random((n, n_series)) < 0.03] = NAN
    counts[FIRST_TEST + 20 : FIRST_TEST + 24] = NAN  # nobody counts for eight hours
    counts[: FIRST_TEST + 5, 3] = NAN  # a detector that begins in the test
    return counts


@lru_cache(maxsize=32)
def run(name: str, *, changed: bool = False) -> Rolled:
    counts = street().copy()
    if changed:
        counts[FIRST_TEST + 40 :] = 3.0 * counts[FIRST_TEST + 40 :] + 50.0
    return roll(PEERS[name], intervals(len(counts)), counts, FIRST_TEST, HORIZON, LEVELS)


def needs(name: str) -> None:
    if name in peers.NEEDS:
        pytest.importorskip(peers.NEEDS[name])


# ------------------------------------------------------------------------------------------ the contract


@pytest.mark.parametrize("name", PEERS)
def test_every_peer_keeps_the_contract(name: str) -> None:
    needs(name)
    made = run(name)
    assert made.mean.shape == (WEEK, 4)
    assert made.levels == LEVELS
    assert np.isfinite(made.mean).all(), "a gap must not silence a forecast"
    assert np.isfinite(made.quantiles).all()
    assert (made.mean >= 0).all()
    assert (np.diff(made.quantiles, axis=2) >= 0).all()
    assert np.unique(made.mean[:, 0]).size > 10
    assert 55 < made.score().cover80 < 97
    assert made.score().wql < made.score().wape


@pytest.mark.parametrize("name", PEERS)
def test_no_forecast_knows_what_comes_later(name: str) -> None:
    needs(name)
    plain, changed = run(name), run(name, changed=True)
    # Row 40 of the test was changed; the forecast of row 41 was made when 39 was the last one known.
    before = slice(0, 40 + HORIZON)
    assert np.array_equal(plain.mean[before], changed.mean[before])
    assert np.array_equal(plain.quantiles[before], changed.quantiles[before])
    assert not np.array_equal(plain.mean[40 + HORIZON :], changed.mean[40 + HORIZON :])


@pytest.mark.parametrize("name", PEERS)
def test_without_levels_there_are_means_alone_and_the_same(name: str) -> None:
    needs(name)
    counts = street()[:FIRST_TEST]
    made = PEERS[name](intervals(FIRST_TEST), counts.copy(), HORIZON, None).predict()
    assert isinstance(made, np.ndarray)
    first = roll(PEERS[name], intervals(FIRST_TEST + 1 + HORIZON - 1), street()[: FIRST_TEST + HORIZON],
                 FIRST_TEST + HORIZON - 1, HORIZON, LEVELS)  # fmt: skip
    assert np.array_equal(made, first.mean[0])


@pytest.mark.parametrize("name", PEERS)
def test_a_history_that_is_too_short_is_refused_in_words(name: str) -> None:
    needs(name)
    with pytest.raises(InputError, match=r"history|give"):
        PEERS[name](intervals(1), np.ones((1, 2)), 1, None)
    with pytest.raises(InputError, match="horizon of 0"):
        PEERS[name](intervals(99), np.ones((99, 2)), 0, None)


@pytest.mark.parametrize("name", ["smoothed-profile", "AutoETS", "AutoARIMA", "LightGBM"])
def test_what_knows_the_weekday_beats_what_does_not(name: str) -> None:
    needs(name)
    assert run(name).score().wape < run("last-week").score().wape < run("last-value").score().wape


@pytest.mark.parametrize("name", ["AutoETS", "AutoARIMA", "LightGBM"])
def test_what_sees_a_busy_day_beats_the_profile(name: str) -> None:
    needs(name)
    assert run(name).score().wape < 0.97 * run("smoothed-profile").score().wape


# ------------------------------------------------------------------------------------------- the registry


def test_a_peer_whose_package_is_missing_says_which_extra_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(peers, "find_spec", lambda name: None if name == "lightgbm" else find(name))
    said = available_peers()
    assert list(said) == list(PEERS)
    assert said["last-week"] == ""
    assert said["LightGBM"].endswith("not installed: pip install greensplit[peers]")


def test_the_registry_loads_no_package_of_others() -> None:
    heavy = "{'lightgbm', 'statsforecast', 'pandas', 'numba'}"
    code = f"import sys, signals.demand.peers; print(*{heavy} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


# --------------------------------------------------------------------------------------- the simple ones


def test_the_last_value_is_carried_over_gaps() -> None:
    made = LastValue(intervals(4), [[1.0, NAN], [2.0, NAN], [NAN, NAN], [NAN, NAN]], 1)
    assert made.predict().tolist() == [2.0, 0.0]
    made.update(intervals(5)[4], [7.0, 4.0])
    made.update(intervals(6)[5], [NAN, 5.0])
    assert made.predict().tolist() == [7.0, 5.0]


@pytest.mark.parametrize("horizon", [1, 5, SLOTS, WEEK, WEEK + 1])
def test_last_week_is_last_week_and_yesterday_where_it_must(horizon: int) -> None:
    counts = np.arange(3.0 * WEEK)[:, None]
    made = LastWeek(intervals(2 * WEEK), counts[: 2 * WEEK], horizon)
    back = WEEK * (1 if horizon <= WEEK else 2)
    for k in range(2 * WEEK, 2 * WEEK + 20):
        assert made.predict().tolist() == [k - 1 + horizon - back]
        made.update(intervals(k + 1)[k], counts[k])
    if horizon <= SLOTS:
        young = LastWeek(intervals(2 * SLOTS), counts[: 2 * SLOTS], horizon)
        assert young.predict().tolist() == [2 * SLOTS - 1 + horizon - SLOTS]


def test_last_week_fills_a_gap_from_yesterday_and_then_from_the_last_count() -> None:
    counts = np.arange(2.0 * WEEK)[:, None]
    counts[WEEK] = NAN
    assert LastWeek(intervals(2 * WEEK), counts, 1).predict().tolist() == [2 * WEEK - SLOTS]
    counts[2 * WEEK - SLOTS] = NAN
    assert LastWeek(intervals(2 * WEEK), counts, 1).predict().tolist() == [2 * WEEK - 1]


def profile_by_hand(times: Times, counts: Floats, weekday: int, slot: int, leave: int | None = None) -> float:
    """The documented profile of one series, as loops over its days."""
    days = (times.astype("datetime64[D]").astype(int) + 3) % 7
    date = np.arange(len(counts)) // SLOTS

    def sums(wanted: set[int]) -> tuple[float, float]:
        total = seen = 0.0
        for near, weight in ((-1, 0.25), (0, 0.5), (1, 0.25)):
            for k, count in enumerate(counts):
                here = k % SLOTS == (slot + near) % SLOTS and days[k] in wanted and date[k] != leave
                if here and not np.isnan(count):
                    total, seen = total + weight * count, seen + weight
        return total, seen

    kept = [c for k, c in enumerate(counts) if date[k] != leave and not np.isnan(c)]
    expected = sum(kept) / len(kept)
    group = set(range(5)) if weekday < 5 else {weekday}
    for wanted, prior in ((set(range(7)), 0.1), (group, 0.1), ({weekday}, 1.0)):
        total, seen = sums(wanted)
        expected = (total + prior * expected) / (seen + prior)
    return expected


def test_the_profile_is_what_its_description_says() -> None:
    times, counts = intervals(3 * WEEK), street()[: 3 * WEEK, :1]
    profile = DayProfile(Clock(times, counts, 1), times, counts)
    for k in (0, 11, 30, 70, 3 * WEEK - 1):
        weekday, slot = k // SLOTS % 7, k % SLOTS
        assert profile.at(times[k])[1, 0] == pytest.approx(
            profile_by_hand(times, counts[:, 0], weekday, slot)
        )
        own = profile_by_hand(times, counts[:, 0], weekday, slot, leave=k // SLOTS)
        assert profile.of_history[k, 0] == pytest.approx(own)


def test_the_profile_learns_a_day_when_it_is_over() -> None:
    times, counts = intervals(4 * WEEK), street()[: 4 * WEEK, :2]
    all_at_once = DayProfile(Clock(times, counts, 1), times, counts)
    bit_by_bit = DayProfile(Clock(times, counts, 1), times[: 3 * WEEK + 5], counts[: 3 * WEEK + 5])
    known = bit_by_bit.at(times[0])
    for k in range(3 * WEEK + 5, 4 * WEEK):
        bit_by_bit.update(times[k], counts[k])
        if k < 3 * WEEK + SLOTS - 1:
            assert np.array_equal(bit_by_bit.at(times[0]), known)
    for k in range(WEEK):
        assert bit_by_bit.at(times[k]) == pytest.approx(all_at_once.at(times[k]), rel=1e-12)


def test_an_old_level_is_forgotten_in_a_long_history() -> None:
    n = 30 * WEEK
    counts = np.where(np.arange(n) < 15 * WEEK, 50.0, 100.0)[:, None]
    times = intervals(n)
    profile = DayProfile(Clock(times, counts, 1), times, counts)
    assert profile.of_history[15 * WEEK, 0] == pytest.approx(50.0)
    # Fifteen weeks of the new level against fifteen of the old, at a half-life of six: 1 - 2^(-15/6).
    assert profile.at(times[0])[1, 0] == pytest.approx(50 + 50 * (1 - 2**-2.5), abs=3.0)


def test_a_weekday_without_data_takes_the_other_days() -> None:
    n = 5 * SLOTS
    counts = np.tile(np.arange(10.0, 10.0 + SLOTS), 5)[:, None]
    made = SmoothedProfile(intervals(n), counts, 1)
    assert made.predict()[0] == pytest.approx(np.average([21.0, 10.0, 11.0], weights=[1, 2, 1]), abs=0.1)


def test_intervals_are_as_wide_as_the_errors_were() -> None:
    rng = np.random.default_rng(3)
    mean = np.tile([20.0, 200.0], (4000, 1))
    seen = mean + rng.normal(0.0, [1.0, 3.0], mean.shape) * spread_of(mean)
    made = ErrorQuantiles(mean, seen, (0.05, 0.5, 0.95), 96).around(mean[0])
    wide = 1.645 * np.array([1.0, 3.0]) * spread_of(mean[0])
    assert made[:, 1] == pytest.approx(mean[0], rel=0.03)
    assert made[1, 2] - made[1, 1] == pytest.approx(wide[1], rel=0.06)
    assert made[0, 2] - made[0, 1] == pytest.approx(wide[0], rel=0.06)


# ---------------------------------------------------------------------------------------- statsforecast


def residuals() -> Floats:
    rng = np.random.default_rng(5)
    z = np.zeros(300)
    for k in range(1, len(z)):
        z[k] = 0.8 * z[k - 1] + rng.normal()
    return z


@pytest.mark.parametrize("kind", ["ANN", "AAN", "AAdN"])
def test_smoothing_goes_on_as_statsforecast_does(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    models = pytest.importorskip("statsforecast.models")
    z = np.cumsum(residuals()) * 0.1 if kind != "ANN" else residuals()
    form, damped = {"ANN": ("ANN", False), "AAN": ("AAN", False), "AAdN": ("AAN", True)}[kind]
    fixed = models.AutoETS(season_length=1, model=form, damped=damped)
    monkeypatch.setattr(models, "AutoETS", lambda **_: fixed)
    agrees(AutoETS, fixed, z)


def test_arima_goes_on_as_statsforecast_does() -> None:
    models = pytest.importorskip("statsforecast.models")
    z = residuals()
    agrees(AutoARIMA, models.AutoARIMA(season_length=1, approximation=True, allowdrift=False), z)


def agrees(peer: type, model: object, z: Floats) -> None:
    """The peer's filter against `forward` of the package, from the first to the third step ahead."""
    from signals.demand.peers.statistical import _Filters

    empty = object.__new__(peer)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # optimisers out of patience; the peer keeps that to itself
        own = _Filters([empty._model_of(z[:200])])
        model.fit(z[:200])
    for k, value in enumerate(z[:280]):
        own.step(np.array([value]))
        if k in (199, 200, 240, 279):
            theirs = model.forward(z[: k + 1], h=3)["mean"]
            assert [own.ahead(h)[0] for h in (1, 2, 3)] == pytest.approx(theirs, abs=0.02)


def test_a_gap_lets_the_state_go_on() -> None:
    pytest.importorskip("statsforecast")
    from signals.demand.peers.statistical import StateSpace, _Filters

    half = StateSpace(np.array([[0.5]]), np.ones(1), 2.0, noise=np.ones((1, 1)))
    own = _Filters([half, half])
    own.step(np.array([6.0, 6.0]))
    assert own.ahead(1).tolist() == [4.0, 4.0]
    own.step(np.array([NAN, 2.0]))
    assert own.ahead(1).tolist() == [3.0, 2.0]


def test_large_networks_share_models_and_say_so(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("statsforecast")
    monkeypatch.setattr("signals.demand.peers.statistical.MOST_SERIES", 2)
    made = AutoETS(intervals(FIRST_TEST), street()[:FIRST_TEST, :3], 1)
    assert made.remarks == ("3 series: 2 were fitted, the others take a neighbour's model",)
    assert made.predict().shape == (3,)


# --------------------------------------------------------------------------------------------- LightGBM


def test_large_networks_teach_the_trees_with_some_of_their_series(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("lightgbm")
    counts = street()[WEEK:]
    monkeypatch.setattr("signals.demand.peers.gradient_boosting.LEAST_ROWS", 100)
    monkeypatch.setattr("signals.demand.peers.gradient_boosting.MOST_ROWS", 700)
    taught: list[tuple[int, ...]] = []
    fit = LightGBM._fit

    def watched(self: LightGBM, table: Floats, *rest: object) -> None:
        taught.append(table.shape)
        fit(self, table, *rest)

    monkeypatch.setattr(LightGBM, "_fit", watched)
    made = LightGBM(intervals(FIRST_TEST), counts, 1)
    assert 0 < taught[0][0] <= 700
    assert made.predict().shape == (4,)


def test_lags_are_known_when_they_are_used() -> None:
    from signals.demand.peers.gradient_boosting import _next_lag

    assert [_next_lag(96, h, 96) for h in (1, 96, 97, 192, 193)] == [96, 96, 192, 192, 288]


def test_threads_change_nothing() -> None:
    pytest.importorskip("lightgbm")
    counts = street()[:FIRST_TEST, :2]
    one, two = (LightGBM(intervals(FIRST_TEST), counts, 1, threads=k).predict() for k in (1, 2))
    assert np.array_equal(one, two)
