"""Capacities of movements or approaches over time."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from signals.errors import InputError
from signals.model.counts import MINUTES_A_DAY, Floats, Times


@dataclass(frozen=True, eq=False)
class Capacities:
    """What each movement or approach can pass, by time: rows hold from their start until the next row's.

    Vehicles of other movements on the same lanes stand in `others`: a movement of n vehicles exceeds capacity
    where n + others > veh, and its v/c is (n + others)/veh.

    Fields
    ------
    names : one distinct name a series
    approaches : the approach of each series; its own name where the series is an approach
    starts_min : rising, minute from which each row holds: of every day, or from the start of `day`
    step_min : interval that vehicles refer to, minutes
    veh : float64[n_row, n_series], capacity, veh per interval
    others : float64[n_row, n_series], veh per interval
    day : date whose 0:00 `starts_min` count from; None where rows repeat daily

    Raises
    ------
    ValueError
        Where shapes don't fit, starts don't rise, or a capacity is negative or no number.
    """

    names: tuple[str, ...]
    approaches: tuple[str, ...]
    starts_min: tuple[int, ...]
    step_min: int
    veh: Floats
    others: Floats
    day: np.datetime64 | None = None

    def __post_init__(self) -> None:
        shape = (len(self.starts_min), len(self.names))
        if self.veh.shape != shape or self.others.shape != shape or len(self.approaches) != shape[1]:
            raise ValueError(
                f"capacities of {shape[0]} rows and {shape[1]} series: vehicles have shapes {self.veh.shape} and "
                f"{self.others.shape}, and there are {len(self.approaches)} approaches"
            )
        if len(set(self.names)) != len(self.names):
            raise ValueError("capacities name a series twice")
        if not self.starts_min or any(
            b <= a for a, b in zip(self.starts_min, self.starts_min[1:], strict=False)
        ):
            raise ValueError(
                f"starts of capacities have to rise, and there must be one: {self.starts_min[:8]}"
            )
        if self.day is None and not 0 <= self.starts_min[0] <= self.starts_min[-1] < MINUTES_A_DAY:
            raise ValueError(
                f"starts of daily capacities lie from 0 to {MINUTES_A_DAY - 1} min: {self.starts_min[:8]}"
            )
        if self.step_min < 1 or not (np.all(self.veh >= 0.0) and np.all(np.isfinite(self.veh))):
            raise ValueError("capacities have to be numbers of 0 or more, for intervals of at least a minute")
        if not np.all(self.others >= 0.0):
            raise ValueError("other vehicles on a movement's lanes have to be 0 or more")

    def at(self, times: Times, step_min: int) -> tuple[Floats, Floats]:
        """Capacity and other vehicles in intervals from these local times on, each float64[n_time, n_series].

        In veh per `step_min`; an interval over which rows change has their mean, weighted by time.

        Raises
        ------
        InputError
            Where the rows belong to one day and a time lies before the first of them.
        """
        weights = np.zeros((len(times), len(self.starts_min)))
        starts = np.array(self.starts_min)
        for minute in range(step_min):
            when = times.astype("datetime64[m]") + np.timedelta64(minute, "m")
            since = when.astype("datetime64[D]") if self.day is None else self.day.astype("datetime64[D]")
            row = np.searchsorted(starts, (when - since).astype(np.int64), side="right") - 1
            if self.day is not None and np.any(row < 0):
                raise InputError(
                    f"capacities begin on {self.day} after {self.starts_min[0]} min, but {when.min()} is asked for"
                )
            np.add.at(weights, (np.arange(len(times)), row), 1.0 / self.step_min)
        return weights @ self.veh, weights @ self.others
