"""Scenarios: many possible courses of the same hours, for plans that are to hold in most of them."""

from __future__ import annotations

import numpy as np

from signals.demand.calendar import means_by_place, slots_of, weekdays_of
from signals.demand.quantiles import quantile_at
from signals.errors import InputError
from signals.model.counts import CountForecast, CountTable, Floats

SATURDAY = 5
LEAST_SEEN = 0.5
"""A past day shows how series move together if so many of its counts are there."""


def draw_scenarios(forecast: CountForecast, history: CountTable, n: int, *, seed: int) -> Floats:
    """Joint draws of all series over all intervals of a forecast: float64[n, n_ahead, n_series], veh.

    Each series and interval by itself has the forecast's quantiles at (k + ½)/n; together they move as they did on
    days past: the n values of an interval are handed out in the order that n past courses had there (the Schaake
    shuffle, Clark and others 2004, Journal of Hydrometeorology 5, 243-262). Past courses are the departures from the
    mean of weekday and slot, begun at the same time of day, workdays for a forecast that begins on one, other days
    for others. With fewer past days than n, days come again, in another order of what is equal.

    Raises
    ------
    InputError
        Where n is below 2, the forecast has no two quantiles, series differ, or no past day is seen well enough.
    """
    if n < 2:
        raise InputError(f"{n} scenarios: at least 2 make a choice")
    if len(forecast.levels) < 2:
        raise InputError(
            "scenarios need a forecast with two quantiles or more; ask for some, such as 0.1 and 0.9"
        )
    if forecast.names != history.names or forecast.step_min != history.step_min:
        raise InputError(
            "scenarios need the history that the forecast was made of: other series or another step"
        )
    rng = np.random.default_rng(seed)
    courses = _past_courses(forecast, history)
    order = np.concatenate([rng.permutation(len(courses)) for _ in range(-(-n // len(courses)))])[:n]
    noise = rng.random((n, *forecast.mean.shape))
    # Ties, and what was missing then, fall as chance has it.
    course = np.where(np.isnan(courses[order]), noise - 0.5, courses[order] + 1e-6 * noise)
    rank = course.argsort(axis=0).argsort(axis=0)
    spread = np.stack([quantile_at(forecast.levels, forecast.quantiles, (k + 0.5) / n) for k in range(n)])
    return np.take_along_axis(spread, rank, axis=0)


def _past_courses(forecast: CountForecast, history: CountTable) -> Floats:
    """Departures from the mean of weekday and slot, in √mean: float64[n_course, n_ahead, n_series]."""
    times = history.local_times
    counts = history.usable
    slot = slots_of(times, history.step_min)
    place = weekdays_of(times) * history.slots_a_day + slot
    seen = np.isfinite(counts)
    mean = means_by_place(counts, place, 7 * history.slots_a_day)[place]
    departure = (counts - mean) / np.sqrt(mean + 1.0)

    ahead = len(forecast.times)
    first = forecast.times[:1]
    starts = np.flatnonzero(slot == slots_of(first, history.step_min))
    starts = starts[starts + ahead <= len(times)]
    alike = starts[(weekdays_of(times[starts]) >= SATURDAY) == (weekdays_of(first) >= SATURDAY)]
    chosen = [
        departure[s : s + ahead]
        for s in (alike if len(alike) >= 2 else starts)
        if seen[s : s + ahead].mean() >= LEAST_SEEN
    ]
    if not chosen:
        raise InputError(
            f"no past course of {ahead} intervals from {str(first[0])[11:16]} on is seen well enough: "
            "give a longer history"
        )
    return np.stack(chosen)
