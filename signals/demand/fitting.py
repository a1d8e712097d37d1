"""Movements of one intersection that meet its approach and exit counts, by iterative proportional fitting.

Of all movements that meet both, the ones closest to a prior (Kruithof 1937; Deming and Stephan, Ann. Math.
Statist. 11, 1940; for turning flows Hauer, Pagitsas and Shin, Transportation Research Record 795, 1981).

Twelve movements and eight counts, seven of them independent: the rest of what an estimate says is the prior's.
Whoever has counted turns once, even for an hour, should give those as the prior.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import optimize

from signals.demand.margins import UsableCounts, check_margins, table_of
from signals.demand.proportions import default_shares
from signals.errors import InputError
from signals.model.counts import CountTable, Floats
from signals.model.network import Intersection, Network

ITERATIONS = 2000
TOLERANCE = 1e-7
"""A margin is met when it is off by no more than this share of the intersection's vehicles."""
_LEAST_VARIANCE = 1e-3
_MARGIN_WEIGHT = 1e3


@dataclass(frozen=True, eq=False)
class MovementEstimate:
    """Movements that meet the approach and exit counts of an intersection, interval by interval.

    Fields
    ------
    flows : float64[..., n_in, n_out], veh; NaN where an interval has no count at all
    inflow, outflow : float64[..., n_in] and [..., n_out], margins after totals were reconciled, NaN where unknown
    imbalance_veh : float64[...], counted in less counted out; NaN where a count is missing
    gap_veh : float64[...], the most by which a margin of `flows` misses `inflow` or `outflow`
    converged : bool[...], whether fitting met all margins; False where the movements that exist can't meet
        them, and `flows` are then the nearest by least squares
    iterations : rounds of fitting that the slowest interval took
    """

    flows: Floats
    inflow: Floats
    outflow: Floats
    imbalance_veh: Floats
    gap_veh: Floats
    converged: NDArray[np.bool_]
    iterations: int


def reconcile_totals(
    inflow: ArrayLike,
    outflow: ArrayLike,
    inflow_variance: ArrayLike | None = None,
    outflow_variance: ArrayLike | None = None,
) -> tuple[Floats, Floats]:
    """Approach and exit counts [veh] with equal totals, as near as possible to the given ones.

    Least squares weighted by 1/variance, subject to Σ in = Σ out and nothing negative: every count moves in
    proportion to its variance, in = n − v·λ and out = n + w·λ with λ = (Σ in − Σ out)/(Σ v + Σ w), and those
    that would pass zero stay there. Variances are the counts themselves where not given (Poisson), at least 1.

    Unknown counts (NaN) stay so. With an unknown one on a side, that side's total is free upwards, and counts
    change only where the known part alone exceeds the other side's whole.

    >>> a, b = reconcile_totals([60.0, 40.0], [30.0, 50.0])
    >>> [round(float(x), 2) for x in (*a, *b)]
    [53.33, 35.56, 33.33, 55.56]
    """
    a, b = np.array(inflow, dtype=np.float64), np.array(outflow, dtype=np.float64)
    v = np.maximum(a, 1.0) if inflow_variance is None else np.array(inflow_variance, dtype=np.float64)
    w = np.maximum(b, 1.0) if outflow_variance is None else np.array(outflow_variance, dtype=np.float64)
    known_a, known_b = ~np.isnan(a), ~np.isnan(b)
    excess = float(a[known_a].sum() - b[known_b].sum())
    free_in, free_out = not known_a.all(), not known_b.all()
    if (free_in and free_out) or (free_in and excess <= 0) or (free_out and excess >= 0):
        return a, b
    values = np.concatenate([a[known_a], b[known_b]])
    signed = np.concatenate([v[known_a], -w[known_b]])
    moving = np.abs(signed) > 0
    fixed = values.copy()
    sign = np.sign(np.concatenate([np.ones(known_a.sum()), -np.ones(known_b.sum())]))
    for _ in range(len(values) + 1):
        weight = float(np.abs(signed[moving]).sum())
        left = float((sign * fixed)[~moving].sum() + (sign * values)[moving].sum())
        if weight <= 0.0:
            break
        fixed[moving] = (values - signed * left / weight)[moving]
        below = moving & (fixed < 0.0)
        if not below.any():
            break
        fixed[below] = 0.0
        moving &= ~below
    a[known_a], b[known_b] = fixed[: known_a.sum()], fixed[known_a.sum() :]
    return a, b


def estimate_movements(
    inflow: ArrayLike,
    outflow: ArrayLike,
    prior: ArrayLike,
    *,
    inflow_variance: ArrayLike | None = None,
    outflow_variance: ArrayLike | None = None,
    iterations: int = ITERATIONS,
    tolerance: float = TOLERANCE,
) -> MovementEstimate:
    """Movements [veh] whose rows sum to the approach counts and columns to the exit counts, closest to a prior.

    Iterative proportional fitting: rows and columns of the prior are scaled in turn until both margins are met.
    The result has the least Kullback-Leibler distance to the prior of all that meet them, keeps its odds ratios
    and its zeros, and is never negative. Totals are reconciled first (`reconcile_totals`).

    An unknown margin (NaN) is left free: its row or column isn't scaled. What then isn't settled by other
    margins follows the prior, scaled as a whole to the counts there are; a prior with equal row sums takes
    an unknown approach for as busy as the mean of the known ones.

    Where the movements that exist can't meet the margins (an exit count that exceeds all approaches which lead
    to it), the answer is the non-negative one with the least squared gaps, weighted by 1/variance, and of those
    the nearest to the prior.

    Parameters
    ----------
    inflow, outflow
        float64[n_in] and [n_out], or with leading intervals [n_interval, n_in] and [n_interval, n_out]; veh.
    prior
        float64[n_in, n_out] shares or vehicles, zero where no movement exists.
    inflow_variance, outflow_variance
        Of the counts, shaped like them; the counts themselves where not given, at least 1.
    iterations, tolerance
        Fitting stops after so many rounds, or when margins are met to this share of all vehicles.

    Raises
    ------
    InputError
        Where shapes don't fit, a count or the prior is negative, or the prior is zero throughout.
    """
    given_in, given_out = np.array(inflow, dtype=np.float64), np.array(outflow, dtype=np.float64)
    start = np.array(prior, dtype=np.float64)
    lead = given_in.shape[:-1]
    if (
        start.ndim != 2
        or (*lead, start.shape[0]) != given_in.shape
        or (*lead, start.shape[1]) != given_out.shape
    ):
        raise InputError(
            f"approach counts of shape {given_in.shape} and exit counts of shape {given_out.shape} need a prior of "
            f"one row an approach and one column an exit, not of shape {start.shape}"
        )
    if not np.all(start >= 0.0) or not start.any():
        raise InputError("the prior of an intersection's movements has to be 0 or more, and not 0 throughout")
    for what, values in (("approach", given_in), ("exit", given_out)):
        if np.any(values < 0.0) or np.any(np.isinf(values)):
            raise InputError(
                f"{what} counts from {np.nanmin(values):g} to {np.nanmax(values):g}: need 0 or more"
            )
    rows = given_in.reshape(-1, start.shape[0])
    columns = given_out.reshape(-1, start.shape[1])
    v = _variances(rows, inflow_variance)
    w = _variances(columns, outflow_variance)
    imbalance = rows.sum(axis=1) - columns.sum(axis=1)
    for t in range(len(rows)):
        rows[t], columns[t] = reconcile_totals(rows[t], columns[t], v[t], w[t])

    known_rows, known_columns = ~np.isnan(rows), ~np.isnan(columns)
    flows = start[None] * _scale(rows, columns, start)[:, None, None]
    size = np.maximum(np.fmax(np.nansum(rows, axis=1), np.nansum(columns, axis=1)), 1.0)
    counted = np.asarray(known_rows.any(axis=1) | known_columns.any(axis=1))
    unmet = counted.copy()
    gap = np.zeros(len(rows))
    rounds = 0
    while unmet.any() and rounds < iterations:
        rounds += 1
        at = np.flatnonzero(unmet)
        part = flows[at]
        part *= _factor(rows[at], part.sum(axis=2))[:, :, None]
        part *= _factor(columns[at], part.sum(axis=1))[:, None, :]
        flows[at] = part
        gap[at] = _gap(part, rows[at], columns[at])
        unmet[at] = gap[at] > tolerance * size[at]
    for t in np.flatnonzero(unmet).tolist():
        flows[t] = _nearest(
            start * _scale(rows[t : t + 1], columns[t : t + 1], start), rows[t], columns[t], v[t], w[t]
        )
    gap = _gap(flows, rows, columns)
    flows[~counted] = gap[~counted] = np.nan
    return MovementEstimate(
        flows.reshape(*lead, *start.shape),
        rows.reshape(given_in.shape),
        columns.reshape(given_out.shape),
        imbalance.reshape(lead),
        gap.reshape(lead),
        np.asarray(counted & ~unmet).reshape(lead),
        rounds,
    )


def _variances(counts: Floats, given: ArrayLike | None) -> Floats:
    poisson = np.maximum(counts, 1.0)
    if given is None:
        return poisson
    wanted: Floats = np.broadcast_to(np.array(given, dtype=np.float64), counts.shape).copy()
    if np.any(wanted < 0.0):
        raise InputError(f"a count's variance of {wanted.min():g} veh²: has to be 0 or more")
    return np.where(np.isnan(wanted), poisson, wanted)


def _scale(rows: Floats, columns: Floats, prior: Floats) -> Floats:
    """Vehicles that one unit of the prior stands for in each interval, from the margins that are known."""
    of_rows, of_columns = prior.sum(axis=1), prior.sum(axis=0)
    by_rows = np.where(np.isnan(rows), 0.0, of_rows).sum(axis=1)
    by_columns = np.where(np.isnan(columns), 0.0, of_columns).sum(axis=1)
    counted = np.where(by_rows > 0.0, np.nansum(rows, axis=1), np.nansum(columns, axis=1))
    size = np.where(by_rows > 0.0, by_rows, by_columns)
    scale = np.where(size > 0.0, counted / np.where(size > 0.0, size, 1.0), 1.0)
    # Without vehicles where it was counted, the prior still says who drives where it wasn't.
    return np.where(scale > 0.0, scale, 1.0)


def _factor(margin: Floats, sums: Floats) -> Floats:
    able = ~np.isnan(margin) & (sums > 0.0)
    return np.where(able, np.where(able, margin, 1.0) / np.where(sums > 0.0, sums, 1.0), 1.0)


def _gap(flows: Floats, rows: Floats, columns: Floats) -> Floats:
    off_rows = np.where(np.isnan(rows), 0.0, np.abs(flows.sum(axis=2) - rows))
    off_columns = np.where(np.isnan(columns), 0.0, np.abs(flows.sum(axis=1) - columns))
    worst: Floats = np.maximum(off_rows.max(axis=1, initial=0.0), off_columns.max(axis=1, initial=0.0))
    return worst


def _nearest(prior: Floats, row: Floats, column: Floats, v: Floats, w: Floats) -> Floats:
    """Non-negative movements with the least weighted gaps; χ² distance to the prior decides among them."""
    i, j = np.nonzero(prior)
    lines: list[Floats] = []
    wanted: list[float] = []
    for position, counts, variances in ((i, row, v), (j, column, w)):
        for k in np.flatnonzero(~np.isnan(counts)):
            weight = _MARGIN_WEIGHT / math.sqrt(max(variances[k], _LEAST_VARIANCE))
            lines.append((position == k) * weight)
            wanted.append(counts[k] * weight)
    cells = prior[i, j]
    sd = np.sqrt(np.maximum(cells, _LEAST_VARIANCE))
    found, _ = optimize.nnls(np.vstack([*lines, np.diag(1.0 / sd)]), np.concatenate([wanted, cells / sd]))
    flows = np.zeros_like(prior)
    flows[i, j] = found
    return flows


def estimate_intersections(
    network: Network,
    inflow: CountTable,
    outflow: CountTable,
    *,
    shares: Mapping[str, float] | None = None,
) -> CountTable:
    """Movements of every intersection from counts of its approaches and exits, each intersection by itself.

    `estimate_movements` with tables: series of `inflow` are approach edges, series of `outflow` exit edges, on
    one clock; edges without a series, and intervals without a usable count, are unknown. Intersections of
    which nothing is counted are left out. Remarks say by how much totals disagreed and what couldn't be met.

    Parameters
    ----------
    shares
        The prior: share of each movement in its approach; `default_shares` for movements without one.

    Raises
    ------
    InputError
        Where the tables' clocks differ, no edge is known, or a count is negative.
    """
    check_margins(inflow, outflow)
    columns: dict[str, Floats] = {}
    remarks: list[str] = []
    counted_in, counted_out = UsableCounts(inflow), UsableCounts(outflow)
    for intersection in network.intersections.values():
        found = estimate_intersection(intersection, counted_in, counted_out, shares)
        if found is not None:
            columns |= found[0]
            remarks += found[1]
    if not columns:
        raise InputError(
            f"none of the {len(inflow.names) + len(outflow.names)} counted series is an approach or exit edge of the "
            "network's signals; name series by edge"
        )
    return table_of(inflow, columns, tuple(remarks))


def estimate_intersection(
    intersection: Intersection,
    inflow: UsableCounts,
    outflow: UsableCounts,
    shares: Mapping[str, float] | None = None,
) -> tuple[dict[str, Floats], list[str]] | None:
    """Veh per movement and interval of one intersection, and remarks; None where nothing of it is counted.

    Parameters and errors as for `estimate_intersections`.
    """
    movements = intersection.movements
    ins = sorted({m.approach for m in movements})
    outs = sorted({m.to_edge for m in movements})
    rows, columns = inflow.of(ins), outflow.of(outs)
    if np.isnan(rows).all() and np.isnan(columns).all():
        return None
    assumed = default_shares(movements)
    assumed |= {m.id: shares[m.id] for m in movements if shares and m.id in shares}
    place = {m.id: (ins.index(m.approach), outs.index(m.to_edge)) for m in movements}
    prior = np.zeros((len(ins), len(outs)))
    for name, cell in place.items():
        prior[cell] += assumed[name]
    estimate = estimate_movements(rows, columns, prior)
    flows = {name: estimate.flows[:, i, j] for name, (i, j) in place.items()}
    return flows, [f"intersection {intersection.id}: {text}" for text in _remarks(estimate)]


def _remarks(estimate: MovementEstimate) -> list[str]:
    said = []
    both = ~np.isnan(estimate.imbalance_veh)
    if both.any():
        volume = float(np.nansum(estimate.inflow[both]))
        off = float(np.abs(estimate.imbalance_veh[both]).sum())
        net = float(estimate.imbalance_veh[both].sum())
        if off > 0.0:
            said.append(
                f"approach and exit counts disagree by {off:.0f} vehicles over {both.sum()} intervals "
                f"({off / max(volume, 1.0):.1%} of them; {net:+.0f} in all); reconciled"
            )
    unmet = ~estimate.converged & ~np.isnan(estimate.gap_veh)
    if unmet.any():
        said.append(
            f"in {unmet.sum()} of {len(unmet)} intervals its movements can't meet the counts, by up to "
            f"{estimate.gap_veh[unmet].max():.1f} vehicles; the nearest are given"
        )
    return said
