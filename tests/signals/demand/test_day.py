"""A day's demand knows nothing of the day, keeps what was counted, and says what it had to assume."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from datetime import date

import numpy as np
import pytest

from signals.demand.calendar import Calendar
from signals.demand.day import (
    day_type_of,
    forecast_day,
    slot_flows_vph,
    turning_of,
    uncounted,
    windows_of_day,
)
from signals.demand.margins import approaches_of, movements_of
from signals.demand.onward import Onward
from signals.demand.proportions import Proportions, constant_proportions, default_shares
from signals.errors import InputError
from signals.formats.sumo.config import read_scenario
from signals.formats.sumo.network import read_network
from signals.model.counts import CountForecast, CountTable
from signals.model.network import Network
from signals.model.night import DayDemand, DayType
from sumo_nets import find_network
from tests.signals.demand.city import MONDAY, city_counts, city_means

N = 8
WEEKS = 4
NEXT = date(2024, 1, 29)
"""The Monday after four weeks from `MONDAY`."""
HOLIDAY = Calendar(own_days={NEXT: "bridge closed"})


def table_of(days: int = 7 * WEEKS, seed: int = 11, timezone: str = "") -> CountTable:
    return CountTable(
        tuple(f"a{k}" for k in range(N)), MONDAY, 15, city_counts(N, days, seed=seed), timezone=timezone
    )


def shares(names: tuple[str, ...] = table_of().names) -> Proportions:
    of = {f"{name}>{turn}": share for name in names for turn, share in zip("LTR", (0.1, 0.7, 0.2))}
    return constant_proportions(of, {m: m.split(">")[0] for m in of})


def by_approach(forecast: CountForecast) -> dict[str, np.ndarray]:
    sums: dict[str, np.ndarray] = defaultdict(lambda: np.zeros(len(forecast.times)))
    for k, name in enumerate(forecast.names):
        sums[name.split(">")[0]] += forecast.mean[:, k]
    return dict(sums)


@pytest.mark.parametrize(
    ("day", "expected"),
    [
        (date(2024, 1, 26), DayType.WEEKDAY),
        (date(2024, 1, 27), DayType.SATURDAY),
        (date(2024, 1, 28), DayType.SUNDAY),
        (NEXT, DayType.HOLIDAY),
        (date(2024, 1, 30), DayType.EVENT),
    ],
)
def test_days_are_filed_by_what_they_are(day: date, expected: DayType) -> None:
    assert day_type_of(day, HOLIDAY, {date(2024, 1, 30)}) is expected


def test_an_event_on_a_holiday_is_an_event() -> None:
    assert day_type_of(NEXT, HOLIDAY, {NEXT}) is DayType.EVENT


def test_counts_of_the_day_and_after_it_change_nothing() -> None:
    longer = table_of(7 * WEEKS + 2)
    eve = 7 * WEEKS * 96
    changed = longer.values.copy()
    changed[eve:] = 7.0
    known = CountTable(longer.names, longer.start, 15, longer.values[:eve])
    made = [forecast_day(t, NEXT, shares()) for t in (known, longer, replace(longer, values=changed))]
    for other in made[1:]:
        assert np.array_equal(made[0].demand.forecast.mean, other.demand.forecast.mean)
        assert np.array_equal(made[0].demand.forecast.quantiles, other.demand.forecast.quantiles)


def test_a_day_has_its_96_slots_and_is_about_what_is_usual() -> None:
    demand = forecast_day(table_of(), NEXT, shares()).demand
    assert (demand.day, demand.day_type) == (NEXT, DayType.WEEKDAY)
    assert demand.forecast.times[0] == np.datetime64("2024-01-29T00:00")
    assert demand.forecast.mean.shape == (96, 3 * N)
    usual = city_means(N, 1)
    of_day = np.stack(list(by_approach(demand.forecast).values()), axis=1)
    # moods of 10 % and counts' own chance: nothing is as far off as 15 % over a day
    assert of_day.sum(axis=0) == pytest.approx(usual.sum(axis=0), rel=0.15)


def test_movements_sum_to_their_approach_and_quantiles_rise() -> None:
    demand = forecast_day(table_of(), NEXT, shares(), levels=(0.1, 0.5, 0.9)).demand
    whole = constant_proportions(
        {f"{n}>T": 1.0 for n in table_of().names}, {f"{n}>T": n for n in table_of().names}
    )
    approaches = forecast_day(table_of(), NEXT, whole).demand
    divided = by_approach(demand.forecast)
    for name, row in by_approach(approaches.forecast).items():
        assert divided[name] == pytest.approx(row)
    assert np.all(np.diff(demand.forecast.quantiles, axis=2) >= 0.0)


def test_counts_that_end_earlier_still_give_the_whole_day() -> None:
    table = table_of()
    for missing in (1, 9, 96, 150):
        short = CountTable(table.names, table.start, 15, table.values[:-missing])
        demand = forecast_day(short, NEXT, shares()).demand
        assert len(demand.forecast.times) == 96
        assert demand.forecast.mean.sum() == pytest.approx(city_means(N, 1).sum(), rel=0.15)


def test_a_holiday_is_forecast_as_earlier_holidays() -> None:
    # one Monday of the past was a holiday, spent like a Sunday
    past = date(2024, 1, 15)
    values = table_of().values.copy()
    values[14 * 96 : 15 * 96] = values[13 * 96 : 14 * 96]
    table = CountTable(table_of().names, MONDAY, 15, values)
    calendar = Calendar(own_days={past: "a", NEXT: "b"})
    made = forecast_day(table, NEXT, shares(), calendar=calendar).demand
    assert made.day_type is DayType.HOLIDAY
    sunday, monday = city_means(N, 7)[6 * 96 :], city_means(N, 7)[:96]
    of_day = np.stack(list(by_approach(made.forecast).values()), axis=1)
    assert np.abs(of_day - sunday).sum() < 0.5 * np.abs(of_day - monday).sum()


def test_an_event_is_what_earlier_events_were() -> None:
    # a match on two Mondays brought half as many again after 18 h
    events = [date(2024, 1, 8), date(2024, 1, 22)]
    values = table_of().values.copy()
    for first in (7 * 96, 21 * 96):
        values[first + 72 : first + 96] *= 1.5
    table = CountTable(table_of().names, MONDAY, 15, values)
    made = forecast_day(table, NEXT, shares(), events=[*events, NEXT])
    plain = forecast_day(table, NEXT, shares(), events=events)
    assert (made.demand.day_type, plain.demand.day_type) == (DayType.EVENT, DayType.WEEKDAY)
    ratio = made.demand.forecast.mean.sum(axis=1) / plain.demand.forecast.mean.sum(axis=1)
    assert ratio[72:96].mean() == pytest.approx(1.45, abs=0.15)
    assert ratio[:72].mean() == pytest.approx(1.0, abs=0.1)
    assert "2024-01-22" in made.remarks[0]


def test_an_event_without_earlier_ones_is_its_weekday_and_says_so() -> None:
    made = forecast_day(table_of(), NEXT, shares(), events=[NEXT])
    plain = forecast_day(table_of(), NEXT, shares())
    assert made.demand.day_type is DayType.EVENT
    assert np.array_equal(made.demand.forecast.mean, plain.demand.forecast.mean)
    assert "no earlier" in made.remarks[0]


def test_an_approach_without_usable_counts_is_given_the_others_mean_and_told() -> None:
    table = table_of()
    values = table.values.copy()
    values[:, 2] = np.nan
    values[:, 5] = 40.0  # stuck
    made = forecast_day(replace(table, values=values, reasons=np.empty((0, 0), np.uint8)), NEXT, shares())
    told = {problem.stream: problem for problem in made.problems}
    assert sorted(told) == ["a2", "a5"]
    assert all(p.left_out and p.share > 0.9 and "the mean of" in p.instead for p in told.values())
    sums = by_approach(made.demand.forecast)
    others = np.mean([sums[n] for n in table.names if n not in told], axis=0)
    assert sums["a2"] == pytest.approx(others)
    assert sums["a5"] == pytest.approx(others)


def test_an_approach_of_which_much_is_bad_is_told_with_the_reason() -> None:
    table = table_of()
    values = table.values.copy()
    values[:300, 1] = np.nan
    made = forecast_day(replace(table, values=values, reasons=np.empty((0, 0), np.uint8)), NEXT, shares())
    (problem,) = made.problems
    assert (problem.stream, problem.left_out) == ("a1", False)
    assert problem.share == pytest.approx(300 / len(values), abs=0.02)
    assert problem.reason == "no count"


def test_series_that_are_no_approaches_are_left_out_and_told() -> None:
    made = forecast_day(table_of(), NEXT, shares(table_of().names[1:]))
    assert [(p.stream, p.left_out) for p in made.problems] == [("a0", True)]
    assert "no movement" in made.problems[0].reason
    assert not [n for n in made.demand.forecast.names if n.startswith("a0>")]


@pytest.mark.parametrize(
    ("first", "day", "changed"),
    [("2024-02-25", date(2024, 3, 31), 92), ("2024-09-22", date(2024, 10, 27), 100)],
)
def test_days_on_which_the_clock_changes_have_96_slots(first: str, day: date, changed: int) -> None:
    start = np.datetime64(first) + np.timedelta64(0, "m")
    zone = "Europe/Berlin"
    offset = np.timedelta64(60 if changed == 92 else 120, "m")
    table = CountTable(table_of().names, start - offset, 15, city_counts(N, 35), timezone=zone)
    assert str(table.local_times[0]) == f"{first}T00:00"
    demand = forecast_day(table, day, shares()).demand
    mean = demand.forecast.mean.sum(axis=1)
    assert list(demand.forecast.times) == list(np.datetime64(day, "m") + 15 * np.arange(96))
    if changed == 92:
        assert np.all(mean[8:12] == 0.0)
        assert np.all(mean[12:] > 0.0)
    else:
        # an hour that comes twice is no busier by the clock than those around it
        assert mean[8:12].mean() == pytest.approx(0.5 * (mean[4:8].mean() + mean[12:16].mean()), rel=0.4)


def test_counts_that_end_long_before_are_refused() -> None:
    with pytest.raises(InputError, match="days before"):
        forecast_day(table_of(), date(2024, 3, 1), shares())
    with pytest.raises(InputError, match="there are none"):
        forecast_day(table_of(), date(2023, 12, 1), shares())


# ------------------------------------------------------------------------------------------- turning counts


@pytest.fixture(scope="module")
def streets() -> Network:
    return read_network(read_scenario(find_network("grid")))


@pytest.fixture(scope="module")
def demand(streets: Network) -> DayDemand:
    """Any flows of every movement of the grid: some of what leaves one signal can't be what reaches the next."""
    names = tuple(m.id for m in movements_of(streets))
    mean = np.random.default_rng(5).uniform(0.0, 60.0, (96, len(names)))
    times = np.datetime64("2024-01-29T00:00") + 15 * np.arange(96)
    return DayDemand(
        NEXT, DayType.WEEKDAY, CountForecast(names, times, 15, mean, (0.9,), 1.5 * mean[:, :, None])
    )


def test_turning_counts_are_the_forecast(streets: Network, demand: DayDemand) -> None:
    counts = turning_of(streets, demand, None, 28, 36)
    assert (counts.begin_s, counts.interval_s, counts.n_intervals) == (7 * 3600.0, 900.0, 8)
    assert sorted(counts.counts) == sorted(streets.intersections)
    total = sum(counts.total(s) for s in counts.counts)
    assert total == pytest.approx(demand.forecast.mean[28:36].sum())
    busy = turning_of(streets, demand, None, 28, 36, level=0.9)
    assert sum(busy.total(s) for s in busy.counts) == pytest.approx(1.5 * total)


def test_no_more_drive_on_than_leave_or_arrive(streets: Network, demand: DayDemand) -> None:
    counts = turning_of(streets, demand, None, 0, 96)
    onward = Onward.of(streets)
    into: dict[str, np.ndarray] = defaultdict(lambda: np.zeros(96))
    out: dict[str, np.ndarray] = defaultdict(lambda: np.zeros(96))
    for (a, b), row in counts.link_flows.items():
        into[b] += row
        out[a] += row
        leaving = np.zeros(96)
        arriving = np.zeros(96)
        linked = {
            (e, entry[1])
            for (s, e), entries in onward.entries.items()
            if s == a
            for entry in entries
            if entry[0] == b
        }
        for m in streets.intersections[a].movements:
            if any(m.to_edge == e for e, _ in linked):
                leaving += counts.counts[a][m.id]
        for m in streets.intersections[b].movements:
            if any(m.approach == approach for _, approach in linked):
                arriving += counts.counts[b][m.id]
        assert np.all(np.array(row) <= np.minimum(leaving, arriving) + 1e-9)
        # the grid has one way between neighbours: all that can drive on does
        assert np.array(row) == pytest.approx(np.minimum(leaving, arriving))
    for signal in streets.intersections:
        through = np.sum(list(counts.counts[signal].values()), axis=0)
        assert np.all(into[signal] <= through + 1e-9)
        assert np.all(out[signal] <= through + 1e-9)


def test_a_part_of_the_city_has_the_flows_that_it_has_in_the_whole(
    streets: Network, demand: DayDemand
) -> None:
    whole = turning_of(streets, demand, None, 30, 34)
    some = sorted(streets.intersections)[:5]
    part = turning_of(streets, demand, some, 30, 34, onward=Onward.of(streets))
    assert part.counts == {s: whole.counts[s] for s in some}
    inside = {pair: row for pair, row in whole.link_flows.items() if set(pair) <= set(some)}
    assert part.link_flows == inside
    assert inside


def test_slot_flows_are_by_the_hour_and_in_the_order_asked_for(streets: Network, demand: DayDemand) -> None:
    names = [m.id for m in movements_of(streets)][5:2:-1]
    flows = slot_flows_vph(demand, [*names, "no such movement"])
    assert flows.shape == (4, 96)
    assert flows[:3] == pytest.approx(4.0 * demand.forecast.select(names).mean.T)
    assert not flows[3].any()


def test_approaches_that_are_not_counted_are_named(streets: Network, demand: DayDemand) -> None:
    assert uncounted(streets, demand) == ()
    approach_of = approaches_of(streets)
    one = demand.forecast.names[0]
    fewer = replace(
        demand,
        forecast=demand.forecast.select(
            [n for n in demand.forecast.names if approach_of[n] != approach_of[one]]
        ),
    )
    assert uncounted(streets, fewer) == (approach_of[one],)


@pytest.mark.parametrize(
    ("first", "last", "level"), [(4, 4, None), (-1, 4, None), (90, 97, None), (0, 4, 0.5)]
)
def test_slots_and_levels_that_are_not_there_are_refused(
    streets: Network, demand: DayDemand, first: int, last: int, level: float | None
) -> None:
    with pytest.raises(InputError):
        turning_of(streets, demand, None, first, last, level)


def test_windows_are_the_quiet_and_the_busy_hours(streets: Network) -> None:
    names = tuple(default_shares(movements_of(streets)))
    mean = np.tile(city_means(1, 1), (1, len(names)))
    times = np.datetime64("2024-01-29T00:00") + 15 * np.arange(96)
    day = DayDemand(NEXT, DayType.WEEKDAY, CountForecast(names, times, 15, mean, (0.5,), mean[:, :, None]))
    total = mean.sum(axis=1)
    windows = windows_of_day(day)
    assert len(windows) == 4
    sums = [total[first:last].sum() for first, last in windows]
    assert all(last - first == 4 for first, last in windows)
    assert sums[0] == min(sums)
    assert max(sums) == max(total[k : k + 4].sum() for k in range(20, 81))
