"""A day's demand: what every movement of a city is expected to carry in each quarter hour of a day to come.

`forecast_day` makes it of counts by approach up to the eve; `turning_of` gives turning counts of a
part of the city and the day.

A day has its 96 quarter hours of the local clock, as controllers' schedules have, whatever the clock does. Where a
table has a timezone, slots that the clock skips in spring carry nothing, and those that it shows twice in autumn the
mean of both.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import date

import numpy as np

from signals.demand.calendar import Calendar, slots_of
from signals.demand.forecast import Forecaster
from signals.demand.onward import Onward, link_flows
from signals.demand.proportions import Proportions, movement_forecast
from signals.demand.screening import screen
from signals.errors import InputError
from signals.model.counts import (
    MINUTES_A_DAY,
    REASON_TEXT,
    CountForecast,
    CountTable,
    Floats,
    Reason,
    Times,
    local_clock,
)
from signals.model.demand import TurningCounts
from signals.model.network import Network
from signals.model.night import DayDemand, DayType
from signals.model.night_notes import DataProblem

DAY_LEVELS = (0.1, 0.5, 0.9)
LEAST_DAYS = 2.0
"""A series with fewer days of usable counts has no profile of its own yet."""
MOST_DAYS_AHEAD = 14
"""Of counts that end longer before the day no forecast is made."""
BETWEEN_LEAD = 16
"""Intervals ahead, between the first and the last of a day, that a forecast is fitted for as well: four hours."""
EVENT_BAND_H = 3
"""An event's factor is learned for so many hours of the day together."""
EVENT_PRIOR_VEHICLES = 100.0
"""Vehicles that speak for an approach doing as all do on event days, and for these doing as on their weekday."""
MENTIONED_SHARE = 0.02
"""Of a series with more slots that can't be used it is told."""
WINDOW_SLOTS = 4
"""Slots of a window of the day: an hour."""

_DAY = np.timedelta64(1, "D")
Flags = np.ndarray[tuple[int], np.dtype[np.bool_]]


@dataclass(frozen=True, eq=False)
class DayForecast:
    """A day's demand, and what must be known about it: of the table as a whole, and of series that aren't sound."""

    demand: DayDemand
    remarks: tuple[str, ...]
    problems: tuple[DataProblem, ...]


def day_type_of(day: date, calendar: Calendar | None = None, events: Collection[date] = ()) -> DayType:
    """What kind of day it is: an event before a holiday, a holiday before its weekday."""
    if day in events:
        return DayType.EVENT
    if calendar is not None and calendar.is_holiday(day):
        return DayType.HOLIDAY
    return {5: DayType.SATURDAY, 6: DayType.SUNDAY}.get(day.weekday(), DayType.WEEKDAY)


def forecast_day(
    table: CountTable,
    day: date,
    proportions: Proportions,
    *,
    calendar: Calendar | None = None,
    events: Collection[date] = (),
    levels: Sequence[float] = DAY_LEVELS,
) -> DayForecast:
    """What each movement of a table's approaches is expected to carry on a day, from counts up to its eve.

    Counts are screened first, and bad ones left out. Event days teach no ordinary day anything. A day in `events`
    is forecast as its weekday, times what earlier events of the history differed from theirs, and is filed under
    its own type. An approach with fewer than two days of usable counts is given what the table's approaches carry
    on average, with the spread between them as its quantiles.

    Parameters
    ----------
    table
        Veh by approach edge, weeks before the day, as read. Rows of the day itself and later ones aren't looked at.
    proportions
        Of the approaches into movements. Series without are left out, and told.
    events
        Dates with an event, past ones too.

    Raises
    ------
    InputError
        Where nothing is left to forecast from, or the counts end more than two weeks before the day.
    """
    before = _before(table, day)
    past = _known(before, proportions)
    screened = screen(past, calendar).table
    eventful = _on_dates(screened.local_times, events)
    usual = replace(screened, values=np.where(eventful[:, None], np.nan, screened.usable))
    times = _times_ahead(usual, day)
    days_known = np.isfinite(usual.usable).sum(axis=0) / usual.slots_a_day
    own = days_known >= LEAST_DAYS
    if not own.any():
        raise InputError(
            f"counts before {day}: no approach has {LEAST_DAYS:g} days of usable counts; read more weeks, or see "
            "`greensplit counts` for what is wrong with them"
        )
    learned = usual.select([n for n, known in zip(usual.names, own, strict=True) if known])
    forecast = _on_the_clock(_forecast(learned, times, day, tuple(levels), calendar), day)
    remarks: tuple[str, ...] = ()
    if day in events:
        forecast, remark = _with_event(
            forecast, learned, screened.select(learned.names), eventful, day, calendar
        )
        remarks = (remark,)
    demand = movement_forecast(_completed(forecast, usual.names), proportions)
    return DayForecast(
        DayDemand(day, day_type_of(day, calendar, events), demand),
        remarks,
        (*_without_movements(before, past), *_problems(screened, days_known, own)),
    )


def slot_flows_vph(demand: DayDemand, movements: Sequence[str], level: float | None = None) -> Floats:
    """Flow of each movement in each slot of the day [veh/h], float64[n_movement, n_slot]; mean, or a quantile.

    Movements that aren't forecast have none: see `uncounted`.

    Raises
    ------
    InputError
        Where the forecast doesn't have that level.
    """
    made = demand.forecast
    values = values_at(made, level)
    column = {name: k for k, name in enumerate(made.names)}
    flows = np.zeros((len(movements), len(made.times)))
    known = [(row, column[name]) for row, name in enumerate(movements) if name in column]
    if known:
        rows, columns = (np.array(x) for x in zip(*known, strict=True))
        flows[rows] = values[:, columns].T * (60.0 / made.step_min)
    return flows


def values_at(forecast: CountForecast, level: float | None) -> Floats:
    """Means of a forecast, or its quantiles at a level: float64[n_ahead, n_series], veh per interval.

    Raises
    ------
    InputError
        Where the forecast doesn't have that level.
    """
    if level is None:
        return forecast.mean
    if level not in forecast.levels:
        raise InputError(
            f"quantile {level:g} of a day: its forecast has {', '.join(f'{x:g}' for x in forecast.levels)}; ask for "
            "one of these, or forecast it with this one"
        )
    quantiles: Floats = forecast.quantiles[:, :, forecast.levels.index(level)]
    return quantiles


def turning_of(
    network: Network,
    demand: DayDemand,
    signals: Collection[str] | None,
    first: int,
    last: int,
    level: float | None = None,
    *,
    onward: Onward | None = None,
) -> TurningCounts:
    """Turning counts of some signals (all when None) in the slots `first` to `last - 1` of a day.

    Link flows are those of `onward.link_flows`; both ends of one are among `signals`.

    Parameters
    ----------
    level
        A quantile of the forecast for every movement at once; its means when None.
    onward
        `Onward.of(network)`, where it is at hand.

    Raises
    ------
    InputError
        Where the slots aren't in the day, a signal isn't in the network, or the forecast lacks the level.
    """
    n_slot = len(demand.forecast.times)
    if not 0 <= first < last <= n_slot:
        raise InputError(f"slots {first} to {last} of a day of {n_slot}: need 0 <= first < last <= {n_slot}")
    chosen = sorted(network.intersections) if signals is None else sorted(signals)
    unknown = [s for s in chosen if s not in network.intersections]
    if unknown:
        raise InputError(f"{network.source} has no signal {', '.join(unknown[:8])}; is it another network's?")
    onward = onward or Onward.of(network)
    approaches = {(s, m.approach) for s in chosen for m in network.intersections[s].movements}
    movements = [
        (s, m) for s in onward.around(chosen, approaches) for m in network.intersections[s].movements
    ]
    step_s = demand.forecast.step_min * 60.0
    vehicles = slot_flows_vph(demand, [m.id for _, m in movements], level)[:, first:last] * (step_s / 3600.0)
    counts: dict[str, dict[str, tuple[float, ...]]] = {s: {} for s in chosen}
    leaving: dict[tuple[str, str], Floats] = defaultdict(lambda: np.zeros(last - first))
    arriving: dict[tuple[str, str], Floats] = defaultdict(lambda: np.zeros(last - first))
    for (signal, movement), row in zip(movements, vehicles, strict=True):
        leaving[signal, movement.to_edge] += row
        arriving[signal, movement.approach] += row
        if signal in counts:
            counts[signal][movement.id] = tuple(row.tolist())
    flows = link_flows(onward, leaving, arriving, chosen)
    return TurningCounts(first * step_s, step_s, last - first, counts, flows)


def uncounted(network: Network, demand: DayDemand, signals: Collection[str] | None = None) -> tuple[str, ...]:
    """Approach edges of these signals (all when None) of which no movement is forecast, so that they carry nothing."""
    known = frozenset(demand.forecast.names)
    chosen = network.intersections if signals is None else signals
    counted, every = set(), set()
    for signal in chosen:
        for m in network.intersections[signal].movements:
            every.add(m.approach)
            if m.id in known:
                counted.add(m.approach)
    return tuple(sorted(every - counted))


def windows_of_day(demand: DayDemand) -> tuple[tuple[int, int], ...]:
    """Hours that stand for a day, as slots (first, last exclusive): the quietest, and the busiest of each part.

    Parts are the morning (5 to 10), midday (10 to 15) and the afternoon (15 to 21). The quietest hour is that from 5
    to 21 outside of which plans of any cycle do.
    """
    total = demand.forecast.mean.sum(axis=1)
    hourly = np.convolve(total, np.ones(WINDOW_SLOTS), "valid")
    per_hour = len(total) // 24

    def of(first_h: int, last_h: int, quiet: bool) -> tuple[int, int]:
        first, last = first_h * per_hour, last_h * per_hour - WINDOW_SLOTS + 1
        part = hourly[first:last]
        at = first + int(np.argmin(part) if quiet else np.argmax(part))
        return at, at + WINDOW_SLOTS

    return (of(5, 21, True), of(5, 10, False), of(10, 15, False), of(15, 21, False))


# ------------------------------------------------------------------------------------------- counts before


def _before(table: CountTable, day: date) -> CountTable:
    """The rows that had been counted when the day began."""
    rows = int((table.local_times < np.datetime64(day, "m")).sum())
    if rows < 2:
        raise InputError(f"counts before {day}: there are none; read the weeks before that day")
    return replace(table, values=table.values[:rows], reasons=table.reasons[:rows])


def _known(table: CountTable, proportions: Proportions) -> CountTable:
    """The series that can be divided into movements."""
    approaches = frozenset(proportions.approaches)
    known = [n for n in table.names if n in approaches]
    if not known:
        some = ", ".join(table.names[:3])
        raise InputError(
            f"counts of {len(table.names)} series ({some}): none is an approach with turning proportions; name series "
            "after the edges of approaches"
        )
    return table.select(known)


def _times_ahead(table: CountTable, day: date) -> Times:
    """Local times of the intervals between the table's end and that of the day."""
    midnight = np.datetime64(day, "m")
    days = (midnight - table.local_times[-1]) / _DAY
    if days > MOST_DAYS_AHEAD:
        raise InputError(
            f"counts end at {table.local_times[-1]}, {days:.0f} days before {day}: more than {MOST_DAYS_AHEAD}; "
            "read later counts"
        )
    most = table.slots_a_day * (int(days) + 3)
    times = local_clock(table.times_after(table.n_intervals, most), table.timezone)
    return times[: int(np.flatnonzero(times < midnight + _DAY)[-1]) + 1]


def _on_dates(times: Times, dates: Collection[date]) -> Flags:
    return np.isin(times.astype("datetime64[D]"), np.array(sorted(dates), dtype="datetime64[D]"))


# ------------------------------------------------------------------------------------------- what isn't sound


def _without_movements(table: CountTable, known: CountTable) -> list[DataProblem]:
    """Series that can't be divided into movements."""
    reason = "counted, but no movement of a signal starts there"
    return [DataProblem(n, reason, 0.0, True) for n in sorted(set(table.names) - set(known.names))]


def _problems(screened: CountTable, days_known: Floats, own: Flags) -> list[DataProblem]:
    """Series of which much can't be used, with the most frequent reason, and those that others stand in for."""
    unusable = ~np.isfinite(screened.usable)
    found = []
    for k, name in enumerate(screened.names):
        share = float(unusable[:, k].mean())
        if own[k] and share < MENTIONED_SHARE:
            continue
        reasons = screened.reasons[unusable[:, k], k] if screened.reasons.size else np.empty(0, np.uint8)
        counted = np.bincount(reasons, minlength=1)
        counted[Reason.NONE] = 0
        reason = REASON_TEXT[Reason(int(counted.argmax()))] if counted.any() else "no counts"
        if own[k]:
            found.append(DataProblem(name, reason, share, False))
            continue
        reason = (
            f"{days_known[k]:.1f} days of usable counts ({reason}); repair its detector or count it by hand"
        )
        instead = f"the mean of the {int(own.sum())} approaches counted with it"
        found.append(DataProblem(name, reason, share, True, instead))
    return sorted(found, key=lambda problem: problem.stream)


# ------------------------------------------------------------------------------------------- forecasts of the day


def _forecast(
    table: CountTable, times: Times, day: date, levels: tuple[float, ...], calendar: Calendar | None
) -> CountForecast:
    """Of the intervals of the day, which end the times ahead of the table.

    Fitted for the first and the last of these and for one between, where recent counts still tell something: more
    leads cost more and forecast a day no better (docs/subareas.md).
    """
    first = int(np.flatnonzero(times >= np.datetime64(day, "m"))[0]) + 1
    leads = sorted({first, len(times), *(lead for lead in (BETWEEN_LEAD,) if first < lead < len(times))})
    forecaster = Forecaster(table.local_times, table.usable, leads, levels, calendar=calendar)
    made = [forecaster.predict(lead, times[lead - 1]) for lead in range(first, len(times) + 1)]
    return CountForecast(
        table.names,
        times[first - 1 :],
        table.step_min,
        np.stack([mean for mean, _ in made]),
        levels,
        np.stack([quantiles for _, quantiles in made]),
    )


def _on_the_clock(made: CountForecast, day: date) -> CountForecast:
    """The slots of the day on its local clock, each once."""
    slots = MINUTES_A_DAY // made.step_min
    slot = slots_of(made.times, made.step_min)
    share = 1.0 / np.maximum(np.bincount(slot, minlength=slots), 1)
    mean = np.zeros((slots, len(made.names)))
    quantiles = np.zeros((slots, len(made.names), len(made.levels)))
    np.add.at(mean, slot, made.mean)
    np.add.at(quantiles, slot, made.quantiles)
    clock = np.datetime64(day, "m") + np.arange(slots) * np.timedelta64(made.step_min, "m")
    return CountForecast(
        made.names, clock, made.step_min, mean * share[:, None], made.levels, quantiles * share[:, None, None]
    )


def _completed(forecast: CountForecast, names: Sequence[str]) -> CountForecast:
    """The forecast with a column for each of these; those it lacks are drawn from among the others."""
    column = {name: k for k, name in enumerate(forecast.names)}
    mean = forecast.mean.mean(axis=1)
    spread = np.quantile(forecast.mean, forecast.levels, axis=1).T
    return CountForecast(
        tuple(names),
        forecast.times,
        forecast.step_min,
        np.stack([forecast.mean[:, column[n]] if n in column else mean for n in names], axis=1),
        forecast.levels,
        np.stack([forecast.quantiles[:, column[n]] if n in column else spread for n in names], axis=1),
    )


def _with_event(
    forecast: CountForecast,
    usual: CountTable,
    counted: CountTable,
    eventful: Flags,
    day: date,
    calendar: Calendar | None,
) -> tuple[CountForecast, str]:
    """The forecast of a weekday, times what events of the past differed from their own weekdays; and a remark."""
    times = usual.local_times
    if not eventful.any():
        return forecast, f"{day} is an event, and the counts hold no earlier one: forecast as its weekday"
    kinds = (calendar or Calendar()).day_types(times)
    slots = slots_of(times, usual.step_min)
    values, seen = usual.usable, counted.usable
    bands = 24 // EVENT_BAND_H
    band_of = slots * bands // usual.slots_a_day
    came, due = np.zeros((2, bands, len(usual.names)))
    for row in np.flatnonzero(eventful):
        same = (kinds == kinds[row]) & (slots == slots[row])
        alike = np.where(np.isnan(values[same]), 0.0, values[same]).sum(axis=0)
        number = np.isfinite(values[same]).sum(axis=0)
        both = np.isfinite(seen[row]) & (number > 0)
        came[band_of[row]] += np.where(both, seen[row], 0.0)
        due[band_of[row]] += np.where(both, alike / np.maximum(number, 1), 0.0)
    everywhere = (came.sum(axis=1) + EVENT_PRIOR_VEHICLES) / (due.sum(axis=1) + EVENT_PRIOR_VEHICLES)
    factor = (came + EVENT_PRIOR_VEHICLES * everywhere[:, None]) / (due + EVENT_PRIOR_VEHICLES)
    by_slot = factor[np.arange(len(forecast.times)) * bands // len(forecast.times)]
    dates = {str(d) for d in times[eventful].astype("datetime64[D]")}
    remark = f"{day} is an event: as its weekday, times what was different on {', '.join(sorted(dates))}"
    quantiles = forecast.quantiles * by_slot[:, :, None]
    return replace(forecast, mean=forecast.mean * by_slot, quantiles=quantiles), remark
