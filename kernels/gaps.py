"""Giving way: whether somebody with priority comes too close.

Links are kept in rows of two tables, as lanes are (`kernels.lanes`). A signal's state is looked up by link.
"""

from __future__ import annotations

import numpy as np

from kernels._jit import kernel
from kernels.arrays import F8, I8, PERMITTED, RED, STOP_THEN_GO, U1, RoadArrays
from kernels.lanes import ARRIVE, AT, BLOCKED, HEAD, LAST, NEVER, READY

# links : float64[n_link, N_LINK]
INSIDE_LENGTH = 0
INSIDE_SPEED = 1
PASSED = 2
"""When the last one passed [s]."""
N_LINK = 3

# paths : int64[n_link, N_PATH]
FROM = 0
TO = 1
TO_EDGE = 2
SIGNAL = 3
MINOR = 4
FIRST_YIELD = 5
END_YIELD = 6
WAITING_ROOM = 7
WAITING = 8
"""Vehicles that wait inside the junction: how many, and the first and the last of them."""
FIRST_WAITING = 9
LAST_WAITING = 10
N_PATH = 11


@kernel
def link_tables(road: RoadArrays) -> tuple[F8, I8]:
    """The tables `links` and `paths`, with nobody on them."""
    n = road.link_from.shape[0]
    links = np.zeros((n, N_LINK))
    paths = np.zeros((n, N_PATH), np.int64)
    for k in range(n):
        links[k, INSIDE_LENGTH] = road.link_length[k]
        links[k, INSIDE_SPEED] = road.link_speed[k]
        links[k, PASSED] = -NEVER
        paths[k, FROM] = road.link_from[k]
        paths[k, TO] = road.link_to[k]
        paths[k, TO_EDGE] = road.link_to_edge[k]
        paths[k, SIGNAL] = road.link_signal[k]
        paths[k, MINOR] = road.link_minor[k]
        paths[k, FIRST_YIELD] = road.link_yield[k]
        paths[k, END_YIELD] = road.link_yield[k + 1]
        paths[k, WAITING_ROOM] = road.link_waiting[k]
        paths[k, FIRST_WAITING] = -1
        paths[k, LAST_WAITING] = -1
    return links, paths


@kernel
def must_wait(
    k: int,
    t: float,
    need: float,
    clear: float,
    shown: U1,
    vehicles: F8,
    trips: I8,
    lanes: F8,
    queues: I8,
    links: F8,
    paths: I8,
    yield_to: I8,
    edges: I8,
) -> bool:
    """Whether somebody with priority over link k passes less than `clear` before or `need` after time t."""
    for j in range(paths[k, FIRST_YIELD], paths[k, END_YIELD]):
        foe = yield_to[j]
        if t - links[foe, PASSED] < clear:
            return True
        signal = paths[foe, SIGNAL]
        if signal >= 0:
            state = shown[foe]
            if state == RED or state == STOP_THEN_GO:
                continue
            if state == PERMITTED and signal == paths[k, SIGNAL] and _gives_way(foe, k, paths, yield_to):
                continue
        lane = paths[foe, FROM]
        v = queues[lane, HEAD]
        if v < 0 or queues[lane, BLOCKED] == 1:
            continue
        position = trips[v, AT] + 1
        if position > trips[v, LAST] or edges[position] != paths[foe, TO_EDGE]:
            continue
        p = max(vehicles[v, ARRIVE], lanes[lane, READY])
        if signal < 0 and paths[foe, MINOR] == 1 and p < t - 1.0:
            continue
        if p < t + need:
            return True
    return False


@kernel
def _gives_way(k: int, other: int, paths: I8, yield_to: I8) -> bool:
    for j in range(paths[k, FIRST_YIELD], paths[k, END_YIELD]):
        if yield_to[j] == other:
            return True
    return False
