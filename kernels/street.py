"""Traffic over a network of signals: cyclic flow profiles from stop line to stop line, and what they cost.

The model is TRANSYT's (Robertson 1969, TRRL LR 253): a platoon leaves one signal, spreads, and meets the
greens of the next, so that its delay depends on the difference of the two offsets. `run_street` follows
everybody, `link_tables` reduces that to a table by link for the search over offsets (`kernels.offsets`), and
`climb` moves one signal after the other with everybody in view.

Time runs in bins of about a second, `n_bin` of them in a cycle; everything repeats after that. Rates are
vehicles per bin. An offset of o bins delays all that a signal shows by o.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from kernels._jit import kernel
from kernels.arrays import F8, I8
from kernels.link_graph import grouped
from kernels.profile import disperse_cyclic, stopline

BETTER = 1e-9
"""Relative gain below which a move is rounding."""


class StreetArrays(NamedTuple):
    """Stop lines, and the stretches of road by which what leaves one arrives at others.

    A *server* is a set of lanes that go and stop together; a *link* is an ordered pair of signals.

    Fields
    ------
    server_signal : int64[n_server]
    server_green : float64[n_server, n_bin], 0 … 1, part of saturation flow by bin, at offset 0
    server_saturation : float64[n_server], veh per bin
    server_flow : float64[n_server], veh per bin
    server_tap : int64[n_server + 1]; taps of server s are server_tap[s] … server_tap[s + 1] - 1
    tap_stretch : int64[n_tap], the stretch that arrives at the server; those of one link stand together
    tap_flow : float64[n_tap], veh per bin that arrive by it
    stretch_link : int64[n_stretch]
    stretch_smoothing : float64[n_stretch], Robertson's F per bin
    stretch_lag : float64[n_stretch], bins until the head of a platoon arrives
    stretch_feed : int64[n_stretch + 1]; feeds of stretch w are stretch_feed[w] … stretch_feed[w + 1] - 1
    feed_server : int64[n_feed], a server whose departures enter the stretch
    feed_share : float64[n_feed, n_bin], 0 … 1, part of them that does, by bin, at offset 0
    link_from, link_to : int64[n_link], signal
    """

    server_signal: I8
    server_green: F8
    server_saturation: F8
    server_flow: F8
    server_tap: I8
    tap_stretch: I8
    tap_flow: F8
    stretch_link: I8
    stretch_smoothing: F8
    stretch_lag: F8
    stretch_feed: I8
    feed_server: I8
    feed_share: F8
    link_from: I8
    link_to: I8


@kernel
def stretch_arrivals(street: StreetArrays, departures: F8, offsets: I8) -> F8:
    """Arrivals at the end of each stretch, over their mean: float64[n_stretch, n_bin], each of mean 1.

    departures : float64[n_server, n_bin], veh per bin of common time
    offsets : int64[n_signal], bins
    """
    shapes = np.empty((street.stretch_link.shape[0], departures.shape[1]))
    for w in range(shapes.shape[0]):
        _arrive(street, w, departures, offsets, shapes)
    return shapes


@kernel
def _arrive(street: StreetArrays, w: int, departures: F8, offsets: I8, shapes: F8) -> None:
    """Write the arrivals at the end of stretch w, over their mean, to shapes[w]."""
    n = departures.shape[1]
    leaving = np.zeros(n)
    for f in range(street.stretch_feed[w], street.stretch_feed[w + 1]):
        s = street.feed_server[f]
        own = (n - offsets[street.server_signal[s]] % n) % n
        for t in range(n):
            leaving[t] += departures[s, t] * street.feed_share[f, own]
            own += 1
            if own == n:
                own = 0
    total = leaving.sum()
    if total <= 0.0:
        shapes[w] = 1.0
        return
    leaving *= n / total
    shapes[w] = disperse_cyclic(leaving, street.stretch_smoothing[w], street.stretch_lag[w])


@kernel
def _serve(
    street: StreetArrays,
    s: int,
    shapes: F8,
    offsets: I8,
    stop_weight: float,
    arrivals: F8,
    green: F8,
    departures: F8,
) -> float:
    """Let what arrives at server s pass: fill departures[s], return delay and stops in a cycle, veh·bins.

    arrivals, green : float64[n_bin], overwritten
    """
    n = arrivals.shape[0]
    arrivals[:] = street.server_flow[s]
    for p in range(street.server_tap[s], street.server_tap[s + 1]):
        flow = street.tap_flow[p]
        for t in range(n):
            arrivals[t] += flow * (shapes[street.tap_stretch[p], t] - 1.0)
    _shift(street.server_green[s], offsets[street.server_signal[s]], green)
    found = stopline(arrivals, green, street.server_saturation[s])
    departures[s] = found.departures_vps
    return float(found.uniform_delay_veh_s + stop_weight * found.stops_veh)


@kernel
def run_street(street: StreetArrays, offsets: I8, sweeps: int, stop_weight: float, departures: F8) -> float:
    """Let traffic pass all stop lines under given offsets; fill `departures`, return what it costs.

    Arrivals are even at first; each sweep replaces them by what the stretches bring. The cost is in vehicles
    waiting, delay over time; a stop counts as `stop_weight` bins of delay. Delay in excess of capacity
    doesn't depend on offsets and is left out.

    offsets : int64[n_signal], bins
    departures : float64[n_server, n_bin], veh per bin of common time; overwritten
    """
    n_server = street.server_signal.shape[0]
    n = departures.shape[1]
    arrivals = np.empty(n)
    green = np.empty(n)
    cost = 0.0
    shapes = np.ones((street.stretch_link.shape[0], n))
    for sweep in range(sweeps + 1):
        cost = 0.0
        if sweep > 0:
            for w in range(shapes.shape[0]):
                _arrive(street, w, departures, offsets, shapes)
        for s in range(n_server):
            cost += _serve(street, s, shapes, offsets, stop_weight, arrivals, green, departures)
    return float(cost / n)


class _Surroundings(NamedTuple):
    """What belongs to each signal. The entries of signal i are start[i] … start[i + 1] - 1 of the list beside.

    `down` are the servers downstream, each once; `near` the signals at the other ends of its links.
    """

    own_start: I8
    own: I8
    leaving_start: I8
    leaving: I8
    down_start: I8
    down: I8
    near_start: I8
    near: I8


@kernel
def _surroundings(street: StreetArrays, n_signal: int) -> _Surroundings:
    n_server = street.server_signal.shape[0]
    own_start, own = grouped(street.server_signal, n_signal)
    leaving_start, leaving = grouped(street.link_from[street.stretch_link], n_signal)
    tap_server = np.empty(street.tap_stretch.shape[0], np.int64)
    for s in range(n_server):
        tap_server[street.server_tap[s] : street.server_tap[s + 1]] = s
    sink_start, sink = grouped(street.tap_stretch, street.stretch_link.shape[0])
    down = np.empty(tap_server.shape[0], np.int64)
    down_start = np.zeros(n_signal + 1, np.int64)
    seen_by = np.full(n_server, -1, np.int64)
    filled = 0
    for i in range(n_signal):
        for w in leaving[leaving_start[i] : leaving_start[i + 1]]:
            for p in sink[sink_start[w] : sink_start[w + 1]]:
                s = tap_server[p]
                if seen_by[s] != i:
                    seen_by[s] = i
                    down[filled] = s
                    filled += 1
        down_start[i + 1] = filled
    near_start, at = grouped(np.concatenate((street.link_from, street.link_to)), n_signal)
    near = np.concatenate((street.link_to, street.link_from))[at]
    return _Surroundings(own_start, own, leaving_start, leaving, down_start, down[:filled], near_start, near)


@kernel
def climb(
    street: StreetArrays,
    choices: I8,
    steps: I8,
    passes: int,
    sweeps: int,
    stop_weight: float,
    offsets: I8,
    departures: F8,
) -> float:
    """Move one signal's offset after the other, as TRANSYT's hill climb does; return the cost reached.

    A move is judged by the stop lines of the signal and of those downstream of it, with everything that
    arrives there from anywhere, which the tables by link leave out; a pass is kept if the whole street
    agrees.

    choices : int64[n_signal], offsets 0 … choices - 1 are allowed
    steps : int64[n_step], bins, moves to try
    offsets : int64[n_signal]; overwritten
    departures : as `run_street`
    """
    n_signal = choices.shape[0]
    around = _surroundings(street, n_signal)
    lowest = run_street(street, offsets, sweeps, stop_weight, departures)
    best = offsets.copy()
    # only signals with a neighbour that moved since they were looked at can gain by a move
    due = np.ones(n_signal, np.int64)
    for _ in range(passes):
        shapes = stretch_arrivals(street, departures, offsets)
        for i in range(n_signal):
            if due[i] == 0:
                continue
            due[i] = 0
            here = offsets[i]
            chosen = here
            least = _cost_near(street, around, i, shapes, offsets, stop_weight, departures)
            for step in steps:
                offsets[i] = (here + step) % choices[i]
                value = _cost_near(street, around, i, shapes, offsets, stop_weight, departures)
                if value < least - BETTER * max(1.0, abs(value)):
                    least = value
                    chosen = offsets[i]
            # once more, so that departures and shapes are those of the move kept
            offsets[i] = chosen
            _cost_near(street, around, i, shapes, offsets, stop_weight, departures)
            if chosen != here:
                due[around.near[around.near_start[i] : around.near_start[i + 1]]] = 1
        value = run_street(street, offsets, sweeps, stop_weight, departures)
        if value >= lowest - BETTER * max(1.0, abs(lowest)):
            break
        lowest = value
        best[:] = offsets
    offsets[:] = best
    return lowest


@kernel
def _cost_near(
    street: StreetArrays,
    around: _Surroundings,
    i: int,
    shapes: F8,
    offsets: I8,
    stop_weight: float,
    departures: F8,
) -> float:
    """Delay and stops in a cycle at signal i and downstream of it, veh·bins; departures and shapes follow."""
    n = departures.shape[1]
    arrivals = np.empty(n)
    green = np.empty(n)
    cost = 0.0
    for s in around.own[around.own_start[i] : around.own_start[i + 1]]:
        cost += _serve(street, s, shapes, offsets, stop_weight, arrivals, green, departures)
    for w in around.leaving[around.leaving_start[i] : around.leaving_start[i + 1]]:
        _arrive(street, w, departures, offsets, shapes)
    for s in around.down[around.down_start[i] : around.down_start[i + 1]]:
        cost += _serve(street, s, shapes, offsets, stop_weight, arrivals, green, departures)
    return cost


@kernel
def link_tables(street: StreetArrays, departures: F8, offsets: I8, stop_weight: float) -> F8:
    """What each difference of offsets costs on each link: float64[n_link, n_bin], vehicles waiting.

    table[k, d] is the cost at the downstream stop lines when the offset of link_to[k] is that of link_from[k]
    plus d. Departures keep their place in the upstream cycle; arrivals from anywhere else are even.

    departures, offsets : as `run_street` leaves them
    """
    n_server = street.server_signal.shape[0]
    n = departures.shape[1]
    shapes = stretch_arrivals(street, departures, offsets)
    table = np.zeros((street.link_from.shape[0], n))
    arrivals = np.empty(n)
    green = np.empty(n)
    for s in range(n_server):
        p = street.server_tap[s]
        while p < street.server_tap[s + 1]:
            link = street.stretch_link[street.tap_stretch[p]]
            upstream = offsets[street.link_from[link]]
            arrivals[:] = street.server_flow[s]
            while p < street.server_tap[s + 1] and street.stretch_link[street.tap_stretch[p]] == link:
                w = street.tap_stretch[p]
                for t in range(n):
                    arrivals[t] += street.tap_flow[p] * (shapes[w, (t + upstream) % n] - 1.0)
                p += 1
            for d in range(n):
                _shift(street.server_green[s], d, green)
                found = stopline(arrivals, green, street.server_saturation[s])
                table[link, d] += (found.uniform_delay_veh_s + stop_weight * found.stops_veh) / n
    return table


@kernel
def _shift(row: F8, by: int, out: F8) -> None:
    """Write a cyclic row, `by` bins later, to `out`."""
    n = row.shape[0]
    start = by % n
    out[start:] = row[: n - start]
    out[:start] = row[n - start :]
