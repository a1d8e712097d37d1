"""Movements of a whole network: what leaves one signal agrees with what reaches the next.

Weighted non-negative least squares over all movements of an interval, around each intersection's own estimate
(`fitting`).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import optimize, sparse
from scipy.sparse import linalg as sparse_linalg

from signals.demand.fitting import estimate_intersection
from signals.demand.margins import (
    UsableCounts,
    approaches_of,
    check_margins,
    mean_day,
    movements_of,
    positions_of,
    table_of,
)
from signals.demand.proportions import (
    Proportions,
    constant_proportions,
    default_shares,
    turning_proportions,
)
from signals.errors import InputError
from signals.model.counts import CountTable, Floats
from signals.model.network import Connection, Movement, Network, Turn

PRIOR_DISPERSION = 6.0
"""Variance of a movement around its intersection's own estimate, over its size [veh]: this project's default,
45 % for 30 vehicles. Measured with `TURN_WEIGHTS` on the networks that ship: arterial 6.3, grid 0.7."""
LINK_DELAY_S = 30.0
"""Delay on the way to the next stop line beyond free flow, this project's default: LOS C."""
OPEN_LINK_SHARE = 0.2
"""Standard deviation of what enters or leaves on a link with side streets, as a share of its flow; ours too."""
TIGHT_VEH = 1e-3
"""Standard deviation of a conservation that shall hold exactly."""
PIVOTS = 30
"""Rounds of pivoting before a network's least squares goes to the slower, sure solver."""


@dataclass(frozen=True, slots=True)
class RoadLink:
    """The way from an exit of one signal to the stop line of the next.

    `exit` is the edge on which vehicles leave the one, `approach` the edge on which they reach the other (the
    same where nothing lies between). `closed` says that nobody can enter or leave on the way.
    """

    exit: str
    approach: str
    free_flow_s: float
    closed: bool


@dataclass(frozen=True, eq=False)
class NetworkBalance:
    """Movements of a whole network that agree along its links.

    Fields
    ------
    flows : table of veh per movement and interval; series are movement ids, remarks say what was odd
    links : the links over which flows had to agree
    link_gap : float64[n_interval, n_link], estimated exit flow less approach flow, veh
    counted_gap : the same as counted; NaN where either end isn't
    approach_gap, exit_gap : float64[n_interval, n_series], estimated less counted, in the order of the tables given
    """

    flows: CountTable
    links: tuple[RoadLink, ...]
    link_gap: Floats
    counted_gap: Floats
    approach_gap: Floats
    exit_gap: Floats


def known_proportions(network: Network, counts: CountTable, turns: CountTable | None = None) -> Proportions:
    """Turning proportions of a network from the best that is known of them.

    Turning counts where there are any (series of `turns` are movement ids); otherwise an estimate that balances the
    mean day of approach and exit counts over the whole network (series of `counts` are edges); and where no exit is
    counted, our defaults by turn.

    Raises
    ------
    InputError
        Where no series of the turning counts is a movement, or a count is negative.
    """
    approach_of = approaches_of(network)
    shares = default_shares(movements_of(network))
    if turns is not None:
        return turning_proportions(turns, approach_of, expected=shares)
    exits = {m.to_edge for m in movements_of(network)}
    counted_out = [name for name in counts.names if name in exits]
    approaches = set(approach_of.values())
    counted_in = [name for name in counts.names if name in approaches]
    if not counted_out or not counted_in:
        return constant_proportions(shares, approach_of, step_min=counts.step_min)
    day = mean_day(counts)
    flows = balance_network(network, day.select(counted_in), day.select(counted_out), shares=shares).flows
    return turning_proportions(flows, approach_of, expected=shares)


def network_links(network: Network) -> tuple[RoadLink, ...]:
    """Ways from each exit of a signal to the next signal, in order of exit edges.

    From the exit edge on the walk follows the road, straight on where it forks. It is closed if no edge on it
    has another way in or out than through the two signals.
    """
    onward: defaultdict[str, list[Connection]] = defaultdict(list)
    inward: defaultdict[str, set[str]] = defaultdict(set)
    for path in network.connections:
        onward[path.from_edge].append(path)
        inward[path.to_edge].add(path.from_edge)
    into: defaultdict[str, set[str]] = defaultdict(set)
    out_of: defaultdict[str, set[str]] = defaultdict(set)
    for m in movements_of(network):
        into[m.to_edge].add(m.approach)
        out_of[m.approach].add(m.to_edge)
    links = []
    for exit_edge in sorted(into):
        edge, closed, spent_s = exit_edge, inward[exit_edge] <= into[exit_edge], 0.0
        seen = {edge}
        while True:
            here = network.edges[edge]
            spent_s += here.length_m / max(here.speed_mps, 0.1)
            if edge in out_of:
                closed &= {p.to_edge for p in onward[edge]} <= out_of[edge]
                links.append(RoadLink(exit_edge, edge, spent_s, closed))
                break
            following = {p.to_edge for p in onward[edge]}
            closed &= len(following) == 1
            if len(following) > 1:
                following = {p.to_edge for p in onward[edge] if p.turn is Turn.THROUGH}
            if len(following) != 1 or following & seen:
                break
            (after,) = following
            closed &= inward[after] == {edge}
            seen.add(after)
            edge = after
    return tuple(links)


def balance_network(
    network: Network,
    inflow: CountTable,
    outflow: CountTable,
    *,
    shares: Mapping[str, float] | None = None,
    links: Sequence[RoadLink] | None = None,
    slack_veh: float | None = None,
    count_dispersion: float = 1.0,
    prior_dispersion: float = PRIOR_DISPERSION,
) -> NetworkBalance:
    """Movements of all intersections, interval by interval, that agree with counts, prior and each other.

    The non-negative x with the least

        Σ_counts (Σ x − n)²/(φ·n) + Σ_links (Σ x out − Σ x in)²/s² + Σ_movements (x − x⁰)²/(κ·x⁰)

    where φ is `count_dispersion`, κ `prior_dispersion`, and n and x⁰ are taken for at least one vehicle under
    the line. The prior x⁰ is each intersection's own estimate (`estimate_movements`), in which an uncounted end
    of a link takes the count of the other end. On a closed link of flow q, s² = 2·q·τ/T: the vehicles on their
    way at either end of an interval of length T, each Poisson with mean q·τ/T for a travel time of
    τ = free flow + `LINK_DELAY_S`. On an open one comes (`OPEN_LINK_SHARE`·q)² for those who enter or leave.

    Parameters
    ----------
    inflow, outflow
        Veh per approach edge and per exit edge and interval, on one clock; what has no series is unknown.
    shares
        Share of each movement in its approach, for the prior; `default_shares` for movements without one.
    links
        Links to hold; `network_links` when None.
    slack_veh
        Standard deviation s of closed links instead of the formula's; 0 makes flows agree to a thousandth.

    Raises
    ------
    InputError
        Where clocks differ, nothing is counted, a count is negative, or a link leads over no movement.
    """
    check_margins(inflow, outflow)
    if not count_dispersion > 0 or not prior_dispersion > 0 or (slack_veh is not None and not slack_veh >= 0):
        raise InputError(
            f"dispersions {count_dispersion:g} and {prior_dispersion:g}, slack {slack_veh} veh: dispersions have to "
            "be positive, the slack 0 or more"
        )
    held = network_links(network) if links is None else tuple(links)
    movements = movements_of(network)
    by_approach = positions_of(m.approach for m in movements)
    by_exit = positions_of(m.to_edge for m in movements)
    for link in held:
        if link.exit not in by_exit or link.approach not in by_approach:
            raise InputError(
                f"link from {link.exit!r} to {link.approach!r}: no movement ends or begins there; "
                "take links from network_links"
            )
    table_in, table_out = _carried_over(inflow, outflow, held, network)
    start, remarks = _network_prior(network, movements, table_in, table_out, shares)

    members = [*(by_approach.get(e, []) for e in inflow.names), *(by_exit.get(e, []) for e in outflow.names)]
    of_signals = [k for k, positions in enumerate(members) if positions]
    counted = np.hstack([inflow.usable, outflow.usable])[:, of_signals]
    count_rows = _rows_of([members[k] for k in of_signals], len(movements))
    link_rows = _rows_of([by_exit[k.exit] for k in held], len(movements)) - _rows_of(
        [by_approach[k.approach] for k in held], len(movements)
    )
    slack = _link_variance(held, start, by_exit, inflow.step_min, slack_veh)
    flows = np.empty_like(start)
    for t in range(len(flows)):
        known = ~np.isnan(counted[t])
        flows[t] = _least_squares(
            [
                (count_rows[known], counted[t, known], count_dispersion * np.maximum(counted[t, known], 1.0)),
                (link_rows, np.zeros(len(held)), slack[t]),
                (
                    sparse.identity(len(movements), format="csr"),
                    start[t],
                    prior_dispersion * np.maximum(start[t], 1.0),
                ),
            ]
        )
    flows[np.isnan(counted).all(axis=1)] = np.nan  # nothing known, so nothing is said
    return NetworkBalance(
        table_of(inflow, {m.id: flows[:, k] for k, m in enumerate(movements)}, remarks),
        held,
        flows @ link_rows.T.toarray() if held else np.empty((len(flows), 0)),
        UsableCounts(outflow).of([k.exit for k in held])
        - UsableCounts(inflow).of([k.approach for k in held]),
        _summed(flows, by_approach, inflow.names) - inflow.usable,
        _summed(flows, by_exit, outflow.names) - outflow.usable,
    )


def _carried_over(
    inflow: CountTable, outflow: CountTable, links: Sequence[RoadLink], network: Network
) -> tuple[CountTable, CountTable]:
    """The tables with every edge of the network, where a link's uncounted end has the count of its other end."""
    movements = movements_of(network)
    ins, outs = sorted({m.approach for m in movements}), sorted({m.to_edge for m in movements})
    rows, columns = UsableCounts(inflow).of(ins), UsableCounts(outflow).of(outs)
    counted_in, counted_out = rows.copy(), columns.copy()
    place_in, place_out = ({edge: k for k, edge in enumerate(edges)} for edges in (ins, outs))
    for link in links:
        i, j = place_in[link.approach], place_out[link.exit]
        rows[:, i] = np.where(np.isnan(rows[:, i]), counted_out[:, j], rows[:, i])
        columns[:, j] = np.where(np.isnan(columns[:, j]), counted_in[:, i], columns[:, j])
    return (
        table_of(inflow, dict(zip(ins, rows.T, strict=True))),
        table_of(inflow, dict(zip(outs, columns.T, strict=True))),
    )


def _network_prior(
    network: Network,
    movements: Sequence[Movement],
    inflow: CountTable,
    outflow: CountTable,
    shares: Mapping[str, float] | None,
) -> tuple[Floats, tuple[str, ...]]:
    """x⁰, float64[n_interval, n_movement], and remarks; where an intersection knows nothing, the network's mean."""
    estimated: dict[str, Floats] = {}
    remarks: list[str] = []
    counted_in, counted_out = UsableCounts(inflow), UsableCounts(outflow)
    for name, intersection in network.intersections.items():
        found = estimate_intersection(intersection, counted_in, counted_out, shares)
        if found is None:
            remarks.append(
                f"intersection {name}: nothing counted there or next to it; taken for an average one"
            )
        else:
            estimated |= found[0]
            remarks += found[1]
    if not estimated:
        raise InputError(
            "none of the counted series is an approach or exit edge of the network's signals; name series by edge"
        )
    assumed = default_shares(movements) | dict(shares or {})
    size = np.nansum(inflow.usable, axis=1) / np.maximum((~np.isnan(inflow.usable)).sum(axis=1), 1)
    start = np.column_stack(
        [estimated[m.id] if m.id in estimated else np.full(len(size), np.nan) for m in movements]
    )
    average = size[:, None] * np.array([assumed[m.id] for m in movements])
    return np.where(np.isnan(start), average, start), tuple(remarks)


def _link_variance(
    links: Sequence[RoadLink],
    start: Floats,
    by_exit: Mapping[str, list[int]],
    step_min: int,
    slack_veh: float | None,
) -> Floats:
    """s² of every link, float64[n_interval, n_link]."""
    variance = np.empty((len(start), len(links)))
    for k, link in enumerate(links):
        flow = np.maximum(start[:, by_exit[link.exit]].sum(axis=1), 1.0)
        on_the_way = 2.0 * flow * (link.free_flow_s + LINK_DELAY_S) / (60.0 * step_min)
        variance[:, k] = on_the_way if slack_veh is None else slack_veh**2
        if not link.closed:
            variance[:, k] += (OPEN_LINK_SHARE * flow) ** 2
    return np.maximum(variance, TIGHT_VEH**2)


def _least_squares(terms: Sequence[tuple[sparse.csr_matrix, Floats, Floats]]) -> Floats:
    """Non-negative x with the least Σ (A·x − b)²/v over terms (A, b, v), of which one holds every x by itself.

    Block principal pivoting (Portugal, Júdice and Vicente, Math. Comp. 63, 1994): what came out negative is held
    at zero, what pulls away from zero is let go, and the rest is solved again, mostly twice or three times.
    Where that doesn't settle, scipy's bounded least squares does.
    """
    matrix = sparse.vstack([sparse.diags(1.0 / np.sqrt(v)) @ a for a, _, v in terms if len(v)]).tocsr()
    wanted = np.concatenate([b / np.sqrt(v) for _, b, v in terms if len(v)])
    normal = (matrix.T @ matrix).tocsc()
    pull = matrix.T @ wanted
    free = np.ones(matrix.shape[1], dtype=bool)
    for _ in range(PIVOTS):
        x = np.zeros(len(free))
        if free.any():
            part = normal[free][:, free]
            x[free] = np.atleast_1d(sparse_linalg.spsolve(part.tocsc(), pull[free]))
        slope = normal @ x - pull
        negative, released = free & (x < 0.0), ~free & (slope < -1e-9 * np.abs(pull).max(initial=1.0))
        if not (negative | released).any():
            return x
        free = (free & ~negative) | released
    found = optimize.lsq_linear(matrix, wanted, bounds=(0.0, np.inf), tol=1e-10, lsmr_tol="auto")
    return np.maximum(np.asarray(found.x, dtype=np.float64), 0.0)


def _summed(flows: Floats, members: Mapping[str, list[int]], edges: Sequence[str]) -> Floats:
    """Movements summed up by edge, float64[n_interval, n_edge]; NaN for edges without any."""
    sums = np.full((len(flows), len(edges)), np.nan)
    for k, edge in enumerate(edges):
        if edge in members:
            sums[:, k] = flows[:, members[edge]].sum(axis=1)
    return sums


def _rows_of(members: Sequence[Sequence[int]], n: int) -> sparse.csr_matrix:
    """One row a set of positions, 1 at each of them."""
    indices = [k for row in members for k in row]
    pointers = np.cumsum([0, *(len(row) for row in members)])
    return sparse.csr_matrix((np.ones(len(indices)), indices, pointers), shape=(len(members), n))
