"""Forecasts of a made-up city and of a real one: better than what is simple, honest intervals, and no look ahead."""

from __future__ import annotations

from datetime import date
from functools import lru_cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from signals.demand.calendar import Calendar
from signals.demand.forecast import (
    Forecaster,
    OnlineForecaster,
    forecast_counts,
    leads_up_to,
    smoothing,
)
from signals.demand.peers.profile import LastValue, SmoothedProfile
from signals.demand.scoring import Rolled, roll
from signals.errors import InputError
from signals.model.counts import CountTable, Floats, Reason
from tests.signals.demand.city import (
    MONDAY,
    boroondara,
    city_counts,
    city_means,
    city_moods,
    clock,
    counted,
    wape,
)

DAY = 96
HISTORY = 28 * DAY
N = 24
PEERS = {"forecast": OnlineForecaster, "profile": SmoothedProfile, "last": LastValue}


@lru_cache(maxsize=4)
def _city(n: int, days: int, step_min: int) -> Floats:
    return city_counts(n, days, step_min)


def city(n: int = N, days: int = 42, step_min: int = 15) -> Floats:
    """A copy of the city's counts, made once."""
    return _city(n, days, step_min).copy()


@lru_cache(maxsize=32)
def of_city(who: str, lead: int, days: int = 42, history: int = HISTORY) -> Rolled:
    counts = city(days=days)
    return roll(PEERS[who], clock(len(counts)), counts, history, lead)


def rolled(counts: Floats, first: int, lead: int = 1, step_min: int = 15, who: str = "forecast") -> Floats:
    """Means of the rows from `first` on, float64[n_test, n_series]."""
    return roll(PEERS[who], clock(len(counts), step_min), counts, first, lead, ()).mean


# ----------------------------------------------------------------------------------------------------- errors


@pytest.mark.parametrize("lead", [1, 4, 96])
def test_better_than_the_smoothed_profile_and_the_last_value(lead: int) -> None:
    ours, profile, last = (of_city(who, lead).score() for who in PEERS)
    # A day ahead nothing is left of the city's moods, which are half gone in three hours: the profile is the best.
    assert ours.wape < {1: 0.9, 4: 0.95, 96: 1.005}[lead] * profile.wape
    assert ours.wape < {1: 0.75, 4: 0.5, 96: 0.6}[lead] * last.wape
    assert ours.wql < {1: 0.9, 4: 0.95, 96: 1.01}[lead] * profile.wql
    assert ours.geh5 > profile.geh5 - {1: 0.0, 4: 0.0, 96: 0.5}[lead]


@pytest.mark.parametrize("lead", [1, 4, 96])
def test_long_histories_are_no_worse(lead: int) -> None:
    """From 13 weeks on profiles are made of what came before, as in service."""
    counts = city(8, 105)
    first = 98 * DAY
    ours, profile, last = (roll(PEERS[who], clock(len(counts)), counts, first, lead).score() for who in PEERS)
    assert ours.wape < {1: 0.9, 4: 0.95, 96: 1.005}[lead] * profile.wape
    assert ours.wape < 0.75 * last.wape
    assert abs(ours.cover80 - 80.0) <= 2.0
    assert abs(ours.cover90 - 90.0) <= 2.0


@pytest.mark.parametrize("lead", [1, 4, 96])
def test_intervals_cover_what_they_say(lead: int) -> None:
    """Within 2 points, as issue 3 asks."""
    score = of_city("forecast", lead).score()
    assert abs(score.cover80 - 80.0) <= 2.0
    assert abs(score.cover90 - 90.0) <= 2.0


@pytest.mark.parametrize("lead", [1, 4, 96])
def test_means_are_not_biased(lead: int) -> None:
    """Within 0.5 %, as issue 3 asks, where no common mood makes a whole week busy by chance."""
    means = city_means(N, 42)
    counts = counted(means, np.zeros(len(means)))
    assert abs(roll(OnlineForecaster, clock(len(counts)), counts, HISTORY, lead).score().bias) <= 0.5


@pytest.mark.parametrize("step_min", [5, 60])
def test_other_steps(step_min: int) -> None:
    counts = city(8, 28, step_min)
    day = 1440 // step_min
    for lead in (1, day):
        ours, profile, last = (
            roll(PEERS[who], clock(len(counts), step_min), counts, 21 * day, lead) for who in PEERS
        )
        score = ours.score()
        assert score.wape < (0.9 if lead == 1 else 1.01) * profile.score().wape
        assert score.wape < last.score().wape
        assert abs(score.cover80 - 80.0) <= 4.0  # a week has 56 series-days: one stormy day is a point or two


@pytest.mark.parametrize("lead", [1, 4, 96])
@pytest.mark.parametrize("days", [2, 7])
def test_short_histories_are_not_much_worse_than_the_profile(days: int, lead: int) -> None:
    counts = city(days=days + 7)
    ours, profile = (
        wape(counts[days * DAY :], rolled(counts, days * DAY, lead, who=w)) for w in PEERS if w != "last"
    )
    assert ours <= 1.1 * profile


def test_one_series() -> None:
    counts = city(1, 35)
    ours = roll(OnlineForecaster, clock(len(counts)), counts, HISTORY, 1)
    assert ours.score().wape < rolled_wape(counts, "profile")
    assert ours.mean.shape == (7 * DAY, 1)


def rolled_wape(counts: Floats, who: str, lead: int = 1) -> float:
    return wape(counts[HISTORY:], rolled(counts, HISTORY, lead, who=who))


# ------------------------------------------------------------------------------------------------ laws of it


@pytest.mark.parametrize("lead", [1, 4])
def test_no_look_ahead(lead: int) -> None:
    """Rows from `change` on differ: what was forecast before they came is the same to the last bit."""
    counts = city(8, 30)
    change = HISTORY + DAY
    other = counts.copy()
    other[change:] = 3.0 * other[change:] + 50.0
    one, two = rolled(counts, HISTORY, lead), rolled(other, HISTORY, lead)
    known = DAY + lead
    assert (one[:known] == two[:known]).all()
    assert (one[known] != two[known]).all()


def test_a_history_is_not_written_to() -> None:
    counts = city(3, 14)
    before = counts.copy()
    forecaster = Forecaster(clock(len(counts)), counts, [1])
    forecaster.predict(1)
    forecaster.update(forecaster.time_of(1), counts[0])
    assert (counts == before).all()


def test_the_same_input_gives_the_same_bits_with_one_thread_or_two() -> None:
    counts = city(130, 21, 60)  # three blocks of 64 series
    made = []
    for threads in (1, 2, 2):
        forecaster = Forecaster(clock(len(counts), 60), counts, [1, 3], threads=threads)
        forecaster.predict(1)
        forecaster.update(forecaster.time_of(1), counts[0])
        made.append(np.concatenate([a.ravel() for lead in (1, 2, 3) for a in forecaster.predict(lead)]))
    assert (made[0] == made[1]).all()
    assert (made[1] == made[2]).all()


def test_float32_is_enough() -> None:
    counts = city(8, 30)
    counts[5:200:7, 3] *= 0.7  # fractions, which float32 rounds
    wide, narrow = (Forecaster(clock(HISTORY), counts[:HISTORY].astype(kind), [1]) for kind in ("f8", "f4"))
    assert narrow.predict(1)[0] == pytest.approx(wide.predict(1)[0], rel=1e-5)
    for k in range(HISTORY, HISTORY + 20):
        wide.update(wide.time_of(1), counts[k])
        narrow.update(narrow.time_of(1), counts[k].astype("f4"))
    assert narrow.predict(1)[0] == pytest.approx(wide.predict(1)[0], rel=1e-5)


ODD_COUNTS = st.sampled_from([0.0, 0.0, 1.0, 7.0, 300.0, 1e5, -3.0, np.nan, np.inf])


@settings(max_examples=40, deadline=None)
@given(
    history=hnp.arrays(np.float64, st.tuples(st.integers(2, 80), st.integers(1, 3)), elements=ODD_COUNTS),
    rows=hnp.arrays(np.float64, (6, 3), elements=ODD_COUNTS),
)
def test_forecasts_are_counts_whatever_came(history: Floats, rows: Floats) -> None:
    """Finite, never negative, quantiles rise: also after counts that can't be."""
    n = history.shape[1]
    forecaster = Forecaster(clock(len(history), 60), history, [1, 24])
    for row in rows:
        for lead in (1, 5, 24):
            mean, quantiles = forecaster.predict(lead)
            assert np.isfinite(mean).all()
            assert np.isfinite(quantiles).all()
            assert (mean >= 0.0).all()
            assert (quantiles >= 0.0).all()
            assert (np.diff(quantiles, axis=1) >= 0.0).all()
        forecaster.update(forecaster.time_of(1), row[:n])


def test_the_order_of_the_series_hardly_matters() -> None:
    """Components are found by iteration from a start that depends on the order, to a tenth of a percent."""
    counts = city(8, 29)
    order = np.random.default_rng(1).permutation(8)
    one, two = rolled(counts, HISTORY), rolled(counts[:, order], HISTORY)
    assert two == pytest.approx(one[:, order], rel=0.005)


# --------------------------------------------------------------------------------------- detectors come and go


def test_hours_without_any_count() -> None:
    counts = city(days=30)
    gap = slice(HISTORY + 30, HISTORY + 50)
    seen = counts.copy()
    seen[gap] = np.nan
    ours, profile = rolled(seen, HISTORY), rolled(counts, HISTORY, who="profile")
    assert np.isfinite(ours).all()
    inside = slice(30, 50)
    assert wape(counts[gap], ours[inside]) < 1.05 * wape(counts[gap], profile[inside])
    later = slice(HISTORY + 58, None)
    assert wape(counts[later], ours[58:]) < 1.01 * wape(counts[later], rolled(counts, HISTORY)[58:])


def test_a_dead_detector_is_carried_by_the_network() -> None:
    """It dies at eight in the morning; from ten to twenty all streets carry a third less."""
    means, moods = city_means(N, 29), city_moods(29 * DAY)
    moods[HISTORY + 40 : HISTORY + 80] -= 0.4
    counts = counted(means, moods)
    seen = counts.copy()
    dead = (2, 12, 20)
    seen[HISTORY + 32 :, dead] = np.nan
    ours, profile = rolled(seen, HISTORY), rolled(seen, HISTORY, who="profile")
    storm = slice(HISTORY + 42, HISTORY + 80)
    for k in dead:
        error = wape(counts[storm, k], ours[42:80, k])
        assert error < 0.6 * wape(counts[storm, k], profile[42:80, k])


def test_a_new_detector_works_from_its_first_day() -> None:
    """It has never counted before the test: the median level first, and the network's shape of the day."""
    counts = city(days=31)
    seen = counts.copy()
    new = 5
    seen[:HISTORY, new] = np.nan
    ours = rolled(seen, HISTORY)
    shape = np.corrcoef(ours[:DAY, new], counts[HISTORY : HISTORY + DAY, new])[0, 1]
    assert shape > 0.9
    second = slice(DAY, 2 * DAY)
    level = ours[second, new].mean() / counts[HISTORY:][second, new].mean()
    assert abs(level - 1.0) < 0.1
    known = rolled(counts, HISTORY)
    assert wape(counts[HISTORY:][second, new], ours[second, new]) < 2.0 * wape(
        counts[HISTORY:][second, new], known[second, new]
    )
    others = np.arange(N) != new
    assert wape(counts[HISTORY:, others], ours[:, others]) < 1.005 * wape(
        counts[HISTORY:, others], known[:, others]
    )


@pytest.mark.parametrize(("lead", "days"), [(1, 1), (96, 2)])
@pytest.mark.parametrize("factor", [2.0, 0.5])
def test_a_jump_of_level_is_followed_within_a_day(factor: float, lead: int, days: int) -> None:
    """A day ahead it takes two: that forecasts are wrong is first seen when the first of them have come true."""
    counts = city(days=35)
    begin = HISTORY + 40
    counts[begin:, 7] *= factor
    ours = rolled(counts, HISTORY, lead)
    made = slice(begin + days * DAY + lead - 1, begin + (days + 1) * DAY + lead - 1)
    level = ours[made.start - HISTORY : made.stop - HISTORY, 7].sum() / counts[made, 7].sum()
    assert abs(level - 1.0) <= 0.15


# ------------------------------------------------------------------------------------------- days and clocks


def test_holidays_have_their_own_profile() -> None:
    """Wednesdays of the second to fourth week, and of the fifth, in which the test is, are fair days at half flow."""
    counts = city(days=35)
    fair = [7 * week + 2 for week in (1, 2, 3, 4)]
    for day in fair:
        sunday = 7 * (day // 7) + 6
        counts[day * DAY : (day + 1) * DAY] = np.rint(0.5 * counts[sunday * DAY : (sunday + 1) * DAY])
    own_days = {(MONDAY + np.timedelta64(day, "D")).astype("datetime64[D]").item(): "fair" for day in fair}
    assert date(2024, 1, 31) in own_days
    calendar = Calendar(own_days=own_days)
    times = clock(len(counts))
    errors = {}
    for name, of in (("told", calendar), ("untold", None)):
        for lead in (1, 96):
            made = roll(
                lambda t, c, h, q, of=of: OnlineForecaster(t, c, h, q, calendar=of),
                times,
                counts,
                fair[-1] * DAY,
                lead,
                (),
            ).mean
            errors[name, lead] = wape(counts[fair[-1] * DAY :][:DAY], made[:DAY])
    usual = wape(counts[(fair[-1] + 1) * DAY :], rolled(counts, (fair[-1] + 1) * DAY))
    assert errors["told", 1] < 0.85 * errors["untold", 1]
    assert errors["told", 96] < 0.5 * errors["untold", 96]
    # Half the vehicles: chance alone is √2 times as large a share.
    assert errors["told", 1] < 1.7 * usual


@pytest.mark.parametrize(
    ("sunday", "slots"),
    [("2024-04-07", 100), ("2024-10-06", 92)],
    ids=["clocks go back", "clocks go forward"],
)
def test_a_day_on_which_clocks_change(sunday: str, slots: int) -> None:
    """Melbourne put its clocks back on 7 April 2024 at 3:00 and forward on 6 October 2024 at 2:00."""
    days = 28
    # Four weeks of local days up to midnight before that Sunday; UTC is 11 h (10 h) behind.
    behind = 11 if slots == 100 else 10
    start = np.datetime64(sunday, "m") - np.timedelta64(days * 1440 + 60 * behind, "m")
    counts = np.roll(city(4, days), DAY, axis=0)  # the first day is a Sunday too
    table = CountTable(("a", "b", "c", "d"), start, 15, counts, timezone="Australia/Melbourne")
    assert table.local_times[0] == np.datetime64(sunday, "m") - np.timedelta64(days, "D")
    made, _ = forecast_counts(table, slots + 4)
    day = made.times.astype("datetime64[D]") == np.datetime64(sunday)
    assert day.sum() == slots
    assert made.times[slots] == np.datetime64(sunday, "m") + np.timedelta64(1, "D")
    local = (made.times - np.datetime64(sunday, "m")).astype(int) // 15
    if slots == 100:
        assert (local[:12] == np.arange(12)).all()
        assert (local[12:16] == np.arange(8, 12)).all()  # two to three o'clock comes twice
        assert (local[16:100] == np.arange(12, 96)).all()
    else:
        assert (local[:8] == np.arange(8)).all()
        assert (local[8:92] == np.arange(12, 96)).all()  # there is no two to three o'clock
    # Each count is that of its local time, not of the time elapsed since midnight.
    usual = np.mean([counts[k * DAY : (k + 1) * DAY] for k in range(0, days, 7)], axis=0)
    by_clock, by_elapsed = usual[local[:slots] % DAY], usual[np.arange(slots) % DAY]
    assert wape(by_clock, made.mean[:slots]) < 0.6 * wape(by_elapsed, made.mean[:slots])
    assert (made.mean >= 0.0).all()
    assert made.quantiles.shape == (slots + 4, 4, len(made.levels))


# ------------------------------------------------------------------------------------------ explanation, API


def test_parts_sum_to_the_forecast() -> None:
    counts = city(6, 30)
    forecaster = Forecaster(clock(HISTORY), counts[:HISTORY], leads_up_to(96))
    for k in range(HISTORY, HISTORY + 70):
        for lead in (1, 2, 5, 96):
            mean, _ = forecaster.predict(lead)
            for series in (0, 5):
                told = forecaster.explain(series, lead, "north")
                parts = told.profile + told.ratio + told.feedback + told.network + told.guard
                assert parts == pytest.approx(told.mean, rel=1e-12, abs=1e-12)
                assert told.mean == pytest.approx(mean[series], rel=1e-9, abs=1e-9)
        forecaster.update(forecaster.time_of(1), counts[k])
    assert (told.series, told.lead) == ("north", 96)
    assert told.target == MONDAY + np.timedelta64(15 * (HISTORY + 69 - 1 + 96), "m")
    assert told.to_json()["target"] == str(told.target)


def test_parts_sum_where_the_profile_or_the_last_count_has_taken_over() -> None:
    """All streets stand still at a level that neither the profile nor what it was learned with knows."""
    counts = city(6, 30)
    rng = np.random.default_rng(3)
    forecaster = Forecaster(clock(HISTORY), counts[:HISTORY], [4])
    blended = 0
    for k in range(2 * DAY):
        mean, _ = forecaster.predict(4)
        blended += forecaster._shares(forecaster._exact[4], 0)[0] < 1.0
        for series in (0, 5):
            told = forecaster.explain(series, 4)
            parts = told.profile + told.ratio + told.feedback + told.network + told.guard
            assert told.mean == pytest.approx(mean[series], rel=1e-9)
            assert parts == pytest.approx(told.mean, rel=1e-12)
        forecaster.update(forecaster.time_of(1), rng.poisson(70.0, 6).astype(float) if k else counts[HISTORY])
    assert blended > 10


def test_a_forecast_of_a_table() -> None:
    counts = city(3, 28)
    table = CountTable(("a", "b", "c"), MONDAY, 15, counts)
    made, explained = forecast_counts(table, 96, levels=(0.1, 0.9), explain=["c"])
    assert [e.lead for e in explained] == list(range(1, 97))
    assert [e.mean for e in explained] == pytest.approx(made.mean[:, 2].tolist(), rel=1e-9)
    assert made.names == table.names
    assert made.times[0] == MONDAY + np.timedelta64(28, "D")
    assert made.mean.shape == (96, 3)
    assert made.quantiles.shape == (96, 3, 2)
    assert ((made.quantiles[..., 0] <= made.mean) & (made.mean <= made.quantiles[..., 1])).all()
    one = Forecaster(table.times, counts, leads_up_to(96), (0.1, 0.9))
    for lead in (1, 7, 96):  # 7 lies between leads that are fitted
        assert (made.mean[lead - 1] == one.predict(lead)[0]).all()


def test_bad_counts_of_a_table_are_left_out() -> None:
    counts = city(3, 28)
    reasons = np.zeros(counts.shape, dtype=np.uint8)
    reasons[-40:, 1] = Reason.STUCK
    counts[-40:, 1] = 999.0
    made, _ = forecast_counts(CountTable(("a", "b", "c"), MONDAY, 15, counts, reasons), 4)
    counts[-40:, 1] = np.nan
    without, _ = forecast_counts(CountTable(("a", "b", "c"), MONDAY, 15, counts), 4)
    assert (made.mean == without.mean).all()


def test_what_comes_without_quantiles() -> None:
    counts = city(3, 14)
    assert isinstance(OnlineForecaster(clock(len(counts)), counts).predict(), np.ndarray)
    mean, quantiles = OnlineForecaster(clock(len(counts)), counts, 2, [0.5]).predict()
    assert quantiles.shape == (3, 1)
    assert mean.shape == (3,)


@pytest.mark.parametrize("step_min", [1, 5, 15, 30, 60])
def test_smoothing_weights_sum_to_one_and_are_even(step_min: int) -> None:
    weights = smoothing(step_min)
    assert weights.sum(axis=1) == pytest.approx(1.0)
    assert weights == pytest.approx(weights[:, ::-1])
    assert weights.shape[1] % 2 == 1
    assert (np.diff((weights**2).sum(axis=1)) < 0.0).all()  # each smooths more than the one before


def test_leads_up_to_the_horizon() -> None:
    assert leads_up_to(1) == (1,)
    assert leads_up_to(5) == (1, 2, 3, 4, 5)
    assert leads_up_to(96)[-2:] == (72, 96)


def test_errors_say_what_to_do() -> None:
    counts = city(3, 14)
    times = clock(len(counts))
    with pytest.raises(InputError, match=r"history of 0 intervals.*a day is the least"):
        Forecaster(times[:0], counts[:0], [1])
    with pytest.raises(InputError, match=r"counts of shape \(1344, 3\) for 1343 intervals: a row each"):
        Forecaster(times[1:], counts, [1])
    with pytest.raises(InputError, match=r"counts of shape \(1344, 0\)"):
        Forecaster(times, counts[:, :0], [1])
    with pytest.raises(InputError, match=r"intervals of 7 min: must divide a day; count in 5, 15 or 60"):
        Forecaster(clock(len(counts), 7), counts, [1])
    with pytest.raises(InputError, match=r"leads of \(0, 1\) intervals: at least one, each 1 or more"):
        Forecaster(times, counts, [0, 1])
    with pytest.raises(InputError, match=r"leads of \(\) intervals"):
        Forecaster(times, counts, [])
    for level in (0.0, 1.0, 1.2):
        with pytest.raises(InputError, match=r"quantiles \(.*\): each must lie between 0 and 1"):
            Forecaster(times, counts, [1], [0.5, level])
    with pytest.raises(InputError, match=r"quantiles \(0.9, 0.1\).*rise"):
        Forecaster(times, counts, [1], [0.9, 0.1])
    forecaster = Forecaster(times, counts, [2, 4])
    for lead in (1, 5):
        with pytest.raises(
            InputError, match=rf"lead of {lead} intervals: made for 2 to 4; ask for that lead"
        ):
            forecaster.predict(lead)
        with pytest.raises(InputError, match=rf"lead of {lead} intervals"):
            forecaster.explain(0, lead)
    with pytest.raises(InputError, match=r"row of 2024-01-15T00:00: 2 counts for 3 series; give one each"):
        forecaster.update(forecaster.time_of(1), counts[0, :2])


# ------------------------------------------------------------------------------------------------- real counts


def test_real_counts_one_step_ahead() -> None:
    """Boroondara, tested from 22 October 2006 on. Issue 3: 9.50 % at the best, LightGBM 9.60, smoothed profile 9.91."""
    table = boroondara()
    first = int(np.searchsorted(table.times, np.datetime64("2006-10-22")))
    score = roll(OnlineForecaster, table.times, table.values, first, 1).score()
    assert score.wape <= 9.50
    assert abs(score.bias) <= 0.5
    assert abs(score.cover80 - 80.0) <= 2.0
    assert abs(score.cover90 - 90.0) <= 2.0


def test_several_leads_at_a_time_are_each_judged_like_one_alone() -> None:
    """Forecasts made together come due at different times: each lead learns from its own, and none is kept for ever."""
    counts = city(6, 16)
    first = 14 * DAY
    times = clock(len(counts))
    together = Forecaster(times[:first], counts[:first], [1, 4, 96])
    alone = Forecaster(times[:first], counts[:first], [4])
    for row in range(first, len(counts)):
        for lead in (96, 1, 4):
            made = together.predict(lead)
        single = alone.predict(4)
        together.update(times[row], counts[row])
        alone.update(times[row], counts[row])
    # coefficients are the same but for nothing, and so are spreads and shifts learned since
    np.testing.assert_allclose(made[0], single[0], rtol=1e-9)
    np.testing.assert_allclose(made[1], single[1], rtol=1e-9)
    assert sum(map(len, together._pending.values())) <= 1 + 4 + 96
