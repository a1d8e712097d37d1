"""From approaches to movements: how an approach's vehicles divide into left, through, right and U-turn.

Three ways, by what is counted:

* **Turning counts**: `turning_proportions` gives each movement's share of its approach by time of day, drawn
  towards the all-day share where a slot has few vehicles.
* **Approach and exit counts**: `fitting` finds the movements of an intersection that meet both.
* **A network of such counts**: `balance` makes what leaves one signal agree with what reaches the next.

`movement_forecast` then turns a forecast of approaches into one of movements. Estimates of the second and third
kind are tables of counts themselves, so that `turning_proportions` takes them as it takes counted ones.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import special

from signals.demand.calendar import slots_of
from signals.demand.margins import check_not_negative
from signals.demand.quantiles import between
from signals.errors import InputError
from signals.model.counts import MINUTES_A_DAY, CountForecast, CountTable, Floats, Times
from signals.model.network import Movement, Turn

TURN_WEIGHTS: Mapping[Turn, float] = {
    Turn.THROUGH: 0.80,
    Turn.LEFT: 0.10,
    Turn.RIGHT: 0.10,
    Turn.U_TURN: 0.005,
}
"""How an approach divides where nothing is known: a default of this project, from no manual. The networks that
ship with it have 68-82 % through, 9-19 % left and 10-15 % right at four-leg signals."""

DAY_PRIOR_VEHICLES = 20.0
"""Vehicles that expected shares weigh against the all-day count."""
EVEN_PRIOR_VEHICLES = 1.0
"""The same where none are expected: an even division is no belief, and only keeps shares off zero."""
LEAST_PRIOR_VEHICLES = 30.0
MOST_PRIOR_VEHICLES = 5000.0
"""Bounds of the weight of the all-day share in a slot, where it is found from the counts."""


@dataclass(frozen=True, eq=False)
class Proportions:
    """Share of an approach's vehicles that takes each movement, by time of day.

    Fields
    ------
    movements : one distinct name a movement
    approaches : the approach of each movement
    step_min : length of a slot of the day in minutes
    day : float64[n_movement], share over the whole day; an approach's shares sum to 1
    by_slot : float64[n_slot, n_movement], share in each slot of the day; sums to 1 as well
    vehicles : float64[n_slot, n_movement], counted vehicles of the approach that speak for each slot
    prior_vehicles : float64[n_movement], vehicles that the all-day share weighs against them

    Raises
    ------
    ValueError
        Where shapes don't fit, a share is negative, or an approach's don't sum to 1.
    """

    movements: tuple[str, ...]
    approaches: tuple[str, ...]
    step_min: int
    day: Floats
    by_slot: Floats
    vehicles: Floats
    prior_vehicles: Floats

    def __post_init__(self) -> None:
        n, slots = len(self.movements), MINUTES_A_DAY // self.step_min
        shapes = (self.day.shape, self.by_slot.shape, self.vehicles.shape, self.prior_vehicles.shape)
        if len(self.approaches) != n or shapes != ((n,), (slots, n), (slots, n), (n,)):
            raise ValueError(f"proportions of {n} movements and {slots} slots have arrays of shapes {shapes}")
        if len(set(self.movements)) != n:
            raise ValueError("proportions name a movement twice")
        for rows in (self.day[None, :], self.by_slot):
            sums = rows @ _membership(self.approaches).T
            if not (np.all(rows >= 0.0) and np.allclose(sums, 1.0, rtol=0.0, atol=1e-9)):
                raise ValueError("shares of an approach must be 0 or more and sum to 1")

    def at(self, times: Times) -> Floats:
        """Shares at these local times, float64[n_time, n_movement]."""
        shares: Floats = self.by_slot[slots_of(times, self.step_min)]
        return shares


def default_shares(movements: Iterable[Movement]) -> dict[str, float]:
    """Share of each movement in its approach by `TURN_WEIGHTS`, among the ones that exist.

    Several movements with the same turn (two exits to the right) halve its weight.
    """
    by_approach: defaultdict[str, list[Movement]] = defaultdict(list)
    for movement in movements:
        by_approach[movement.approach].append(movement)
    shares: dict[str, float] = {}
    for group in by_approach.values():
        weights = {m.id: TURN_WEIGHTS[m.turn] / sum(o.turn is m.turn for o in group) for m in group}
        total = sum(weights.values())
        shares |= {name: weight / total for name, weight in weights.items()}
    return shares


def constant_proportions(
    shares: Mapping[str, float], approach_of: Mapping[str, str], *, step_min: int = 15
) -> Proportions:
    """The same shares all day, by movement; each approach's are scaled to sum to 1.

    Raises
    ------
    InputError
        Where a share is negative, or all of an approach's are zero.
    """
    movements = tuple(shares)
    approaches = tuple(_approach(m, approach_of) for m in movements)
    member = _membership(approaches)
    given = np.array([shares[m] for m in movements], dtype=np.float64)
    totals = member @ given
    if not (np.all(given >= 0.0) and np.all(totals > 0.0)):
        worst = movements[int(np.argmin(given))]
        raise InputError(
            f"shares of movements: the least is {given.min(initial=0.0):g} ({worst}), and each approach needs a "
            "positive one; give shares of 0 or more"
        )
    day = given / (totals @ member)
    slots = MINUTES_A_DAY // step_min
    n = len(movements)
    return Proportions(
        movements,
        approaches,
        step_min,
        day,
        np.tile(day, (slots, 1)),
        np.zeros((slots, n)),
        np.full(n, MOST_PRIOR_VEHICLES),
    )


def turning_proportions(
    counts: CountTable,
    approach_of: Mapping[str, str],
    *,
    expected: Mapping[str, float] | None = None,
    prior_vehicles: float | None = None,
    neighbours: int = 2,
) -> Proportions:
    """Each movement's share of its approach by slot of the day, drawn to the all-day share where counts are few.

    With n_m of n counted vehicles in a slot and the all-day share p_m, the share is

        (n_m + K·p_m) / (n + K),

    the mean of a Dirichlet posterior whose prior weighs K vehicles. Where K isn't given, each approach's follows
    from its own counts: under slots that vary by that Dirichlet law around the day,
    Q = Σ_slots Σ_m (n_m − n·p_m)²/(n·p_m)/(M − 1) has the mean (N + S·K)/(1 + K) for N vehicles in S slots and
    M movements, so that K = (N − Q)/(Q − S): large where slots differ by no more than chance makes them.

    Intervals in which any movement of an approach is bad or missing don't count for it.

    Parameters
    ----------
    counts
        Veh per movement and interval; series are movements.
    approach_of
        The approach of each movement. All movements of an approach have to be counted.
    expected
        Shares that the all-day count of few vehicles is drawn to with the weight of `DAY_PRIOR_VEHICLES`
        (`default_shares`); where not given, an even division with that of `EVEN_PRIOR_VEHICLES`.
    prior_vehicles
        K, vehicles; found from the counts when None.
    neighbours
        Slots on each side that are counted together with a slot, around midnight too.

    Raises
    ------
    InputError
        Where a series has no approach, a movement of an approach isn't counted, or a count is negative.
    """
    approaches = tuple(_approach(name, approach_of) for name in counts.names)
    uncounted = sorted(m for m, a in approach_of.items() if a in set(approaches) and m not in counts.names)
    if uncounted:
        raise InputError(
            f"movement {uncounted[0]!r} of approach {approach_of[uncounted[0]]!r} isn't counted "
            f"({len(uncounted)} in all), so its approach's shares are unknown; count it, or leave the approach out"
        )
    check_not_negative(counts, "turning counts")
    usable = counts.usable
    if neighbours < 0 or (prior_vehicles is not None and not prior_vehicles >= 0):
        raise InputError(
            f"{neighbours} neighbours and a prior of {prior_vehicles} vehicles: both have to be 0 or more"
        )
    member = _membership(approaches)
    incomplete = (np.isnan(usable).astype(np.float64) @ member.T) @ member > 0
    complete = np.where(incomplete, 0.0, usable)

    slot = slots_of(counts.local_times, counts.step_min)
    by_slot = np.zeros((counts.slots_a_day, len(counts.names)))
    np.add.at(by_slot, slot, complete)

    guess = np.array([1.0 if expected is None else expected.get(m, 0.0) for m in counts.names])
    guess_total = (member @ guess) @ member
    even = 1.0 / (member.sum(axis=1) @ member)
    guess = np.where(guess_total > 0.0, guess / np.where(guess_total > 0.0, guess_total, 1.0), even)
    of_approach = (by_slot.sum(axis=0) @ member.T) @ member
    belief = EVEN_PRIOR_VEHICLES if expected is None else DAY_PRIOR_VEHICLES
    day = (by_slot.sum(axis=0) + belief * guess) / (of_approach + belief)

    if prior_vehicles is None:
        weights = np.array([_prior_vehicles(by_slot[:, row > 0], day[row > 0]) for row in member]) @ member
    else:
        weights = np.full(len(counts.names), prior_vehicles)
    reach = min(neighbours, (counts.slots_a_day - 1) // 2)
    pooled = sum((np.roll(by_slot, k, axis=0) for k in range(-reach, reach + 1)), np.zeros_like(by_slot))
    vehicles = (pooled @ member.T) @ member
    seen = vehicles + weights
    shares = np.where(seen > 0.0, (pooled + weights * day) / np.where(seen > 0.0, seen, 1.0), day)
    return Proportions(counts.names, approaches, counts.step_min, day, shares, vehicles, weights)


def _prior_vehicles(by_slot: Floats, day: Floats) -> float:
    """K of `turning_proportions` for one approach: `by_slot` float64[n_slot, n_movement], `day` float64[n_movement]."""
    by_slot, day = by_slot[:, day > 0], day[day > 0]
    n = by_slot.sum(axis=1)
    by_slot, n = by_slot[n > 0], n[n > 0]
    if len(n) < 2 or len(day) < 2:
        return MOST_PRIOR_VEHICLES
    total = float(((by_slot - n[:, None] * day) ** 2 / (n[:, None] * day)).sum()) / (len(day) - 1)
    total *= len(n) / (len(n) - 1)  # the day's share was fitted to these same slots
    if total <= len(n):
        return MOST_PRIOR_VEHICLES
    k = (float(n.sum()) - total) / (total - len(n))
    return float(np.clip(k, LEAST_PRIOR_VEHICLES, MOST_PRIOR_VEHICLES))


def movement_forecast(
    forecast: CountForecast, proportions: Proportions, *, concentration: float = math.inf
) -> CountForecast:
    """A forecast of movements out of one of approaches; the means of an approach's movements sum to its own.

    An approach's N vehicles choose a movement each with chance p, so that the movement's count M has

        E M = p·E N,      Var M = p²·Var N + p(1 − p)·E N,

    the variance of binomial thinning: (law of total variance over Var(M | N) = N·p(1 − p) and E(M | N) = p·N). A
    quantile at level τ keeps the approach's own shape: with z_τ the normal quantile and e_τ the distance of the
    approach's quantile from its median, which stands for σ·z_τ,

        Q_M(τ) = p·Q_N(0.5) ± sqrt(p²·e_τ² + p(1 − p)·E N·z_τ²),

    not below zero. Small movements are skewed more than that: their upper quantiles come out a little low.

    Parameters
    ----------
    forecast
        Of approaches, by the names that `proportions` uses for them.
    proportions
        Shares by time of day. Movements of approaches that aren't forecast are left out.
    concentration
        How much shares vary from day to day beyond chance: Dirichlet weight κ [veh], infinite for not at all.
        The second term then grows to p(1 − p)·(E N + E N(N − 1)/(κ + 1)).

    Raises
    ------
    InputError
        Where an approach has no proportions, or the forecast no quantiles.
    """
    where = {name: k for k, name in enumerate(forecast.names)}
    unknown = sorted(set(forecast.names) - set(proportions.approaches))
    if unknown:
        raise InputError(
            f"approach {unknown[0]!r} is forecast but has no turning proportions ({len(unknown)} in all); count its "
            "turns, or give default shares"
        )
    if not forecast.levels or not concentration > 0:
        raise InputError(
            f"a forecast of {len(forecast.levels)} quantiles, concentration {concentration:g} vehicles: need at "
            "least one level, and a positive concentration"
        )
    columns = [k for k, a in enumerate(proportions.approaches) if a in where]
    source = [where[proportions.approaches[k]] for k in columns]
    p = proportions.at(forecast.times)[:, columns]
    of_approach = forecast.mean[:, source]
    quantiles = np.maximum.accumulate(forecast.quantiles[:, source, :], axis=2)
    z = special.ndtri(np.array(forecast.levels))
    median = _median(quantiles, z, of_approach)
    # A level next to the median may lie on its other side where it was interpolated.
    away = np.maximum(np.where(z >= 0, 1.0, -1.0) * (quantiles - median[..., None]), 0.0)
    chance = p * (1.0 - p) * of_approach
    if math.isfinite(concentration):
        sigma = _sigma(away, z)
        pairs = np.maximum(sigma**2 + of_approach**2 - of_approach, 0.0)
        chance = chance + p * (1.0 - p) * pairs / (concentration + 1.0)
    spread = np.sqrt((p[..., None] * away) ** 2 + np.maximum(chance, 0.0)[..., None] * z**2)
    levels = (p * median)[..., None] + np.sign(z) * spread
    return CountForecast(
        tuple(proportions.movements[k] for k in columns),
        forecast.times,
        forecast.step_min,
        p * of_approach,
        forecast.levels,
        np.maximum(levels, 0.0),
    )


def _median(quantiles: Floats, z: Floats, mean: Floats) -> Floats:
    """The median by interpolation over z [..., n_level]; the mean where all levels lie on one side of it."""
    if z[0] > 0.0:
        return np.minimum(mean, quantiles[..., 0])
    if z[-1] < 0.0:
        return np.maximum(mean, quantiles[..., -1])
    return between(z, quantiles, 0.0)


def _sigma(away: Floats, z: Floats) -> Floats:
    """Standard deviation that the distances of all levels from the median speak for, least squares over z."""
    weight = float((z**2).sum())
    sigma: Floats = away @ np.abs(z) / weight if weight > 0 else np.zeros(away.shape[:-1])
    return sigma


def _approach(movement: str, approach_of: Mapping[str, str]) -> str:
    try:
        return approach_of[movement]
    except KeyError:
        raise InputError(
            f"movement {movement!r} has no approach; name the approach of every movement"
        ) from None


def _membership(approaches: Sequence[str]) -> Floats:
    """float64[n_approach, n_movement], 1 where a movement belongs to an approach."""
    rows = {name: k for k, name in enumerate(dict.fromkeys(approaches))}
    member = np.zeros((len(rows), len(approaches)))
    for column, name in enumerate(approaches):
        member[rows[name], column] = 1.0
    return member
