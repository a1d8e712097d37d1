"""Measured against predicted: what it says of demand, saturation flows and delay, and when a plan has aged.

Corrections are slow and bounded, so that one odd quarter hour changes little and no error of a detector much.

**Ageing.** `drift` watches the logarithm of measured over predicted. What the prediction misses from the start is no
ageing, so the mean and the spread of the past are learned on the way: each value is standardised by those before it,
which makes values of a steady past independent standard normal ones however few they are (the self-starting chart of
Hawkins, J. Quality Technology 19, 1987). A one-sided CUSUM sums what exceeds half a standard deviation, and raises the
alarm beyond a limit. The limit follows from how many values may pass between two false alarms, by Siegmund's
approximation (Sequential Analysis, 1985),

    ARL = (exp(2·k·b) − 2·k·b − 1) / (2·k²),   b = h + 1.166.

It holds for values that are independent of each other: give means of days, not of quarter hours.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

LEAST_FACTOR, MOST_FACTOR = 0.7, 1.2
"""A saturation flow is corrected within these shares of the usual one."""
SATURATION_GAIN = 0.2
DELAY_GAIN = 0.3
"""Part of what a slot says that is taken over."""
ALLOWANCE = 0.5
"""k: a drift of one standard deviation is found soonest."""
FALSE_ALARM_EVERY = 1000.0
"""Values of a steady past between two false alarms, on average."""
FEWEST = 8
"""So many values are learned from before an alarm is raised."""
SATURATED_VEH = 5.0
"""Fewer vehicles than this say nothing about a flow."""


@dataclass
class Correction:
    """A factor that follows measured over predicted, slowly and within bounds."""

    gain: float
    least: float
    most: float
    factor: float = 1.0

    def learn(self, measured: float, predicted: float) -> None:
        """Take in what was measured where the prediction already had the factor in it."""
        if measured > 0.0 and predicted > 0.0:
            wanted = self.factor * (measured / predicted) ** self.gain
            self.factor = min(max(wanted, self.least), self.most)


@dataclass
class Feedback:
    """What slots so far say: `saturation` of queues that discharge, `delay` of everybody."""

    saturation: Correction = field(
        default_factory=lambda: Correction(SATURATION_GAIN, LEAST_FACTOR, MOST_FACTOR)
    )
    delay: Correction = field(default_factory=lambda: Correction(DELAY_GAIN, 0.25, 4.0))

    def learn_flows(
        self, measured: Mapping[str, float], predicted: Mapping[str, float], saturated: Sequence[str]
    ) -> None:
        """Correct saturation flows by vehicles over the stop lines of approaches that had a queue all along."""
        seen = sum(measured.get(edge, 0.0) for edge in saturated)
        expected = sum(predicted.get(edge, 0.0) for edge in saturated)
        if seen >= SATURATED_VEH and expected >= SATURATED_VEH:
            self.saturation.learn(seen, expected)


@dataclass(frozen=True, slots=True)
class Drift:
    """An alarm: at which value it was raised, since when it built up, and by how much more is measured since [%]."""

    at: int
    since: int
    percent: float


def drift(
    predicted: Sequence[float], measured: Sequence[float], *, false_alarm_every: float = FALSE_ALARM_EVERY
) -> Drift | None:
    """The first alarm that what is measured (delay, by day) has come to exceed what was predicted; None without one.

    Pairs in which a figure is missing or not positive are left out; positions count all pairs.

    Raises
    ------
    ValueError
        Where there are more figures of one kind than of the other.
    """
    pairs = [
        (k, math.log(m / p))
        for k, (p, m) in enumerate(zip(predicted, measured, strict=True))
        if p > 0.0 and m > 0.0 and math.isfinite(m / p)
    ]
    limit = alarm_limit(false_alarm_every)
    total, start = 0.0, 0
    for n, score in enumerate(_standardised([x for _, x in pairs])):
        if total == 0.0:
            start = n
        total = max(0.0, total + score - ALLOWANCE)
        if total > limit and n + 1 >= FEWEST:
            before = [x for _, x in pairs[:start]] or [0.0]
            since = [x for _, x in pairs[start : n + 1]]
            rise = sum(since) / len(since) - sum(before) / len(before)
            return Drift(pairs[n][0], pairs[start][0], 100.0 * (math.exp(rise) - 1.0))
    return None


def alarm_limit(false_alarm_every: float) -> float:
    """h of a one-sided CUSUM with so many steady values between two false alarms, by Siegmund's approximation."""
    low, high = 0.0, 50.0
    while high - low > 1e-9:
        middle = (low + high) / 2
        x = 2.0 * ALLOWANCE * (middle + 1.166)
        if (math.exp(x) - x - 1.0) / (2.0 * ALLOWANCE**2) < false_alarm_every:
            low = middle
        else:
            high = middle
    return high


def _standardised(values: Sequence[float]) -> list[float]:
    """Each value against those before it, as a standard normal one; 0 for the first two."""
    from scipy.special import ndtri, stdtr

    scores: list[float] = []
    mean = squares = 0.0
    for n, value in enumerate(values):
        if n >= 2 and squares > 0.0:
            spread = math.sqrt(squares / (n - 1) * (n + 1) / n)
            tail = float(stdtr(n - 1, (mean - value) / spread))
            scores.append(-float(ndtri(min(max(tail, 1e-12), 1.0 - 1e-12))))
        else:
            scores.append(0.0)
        step = value - mean
        mean += step / (n + 1)
        squares += step * (value - mean)
    return scores
