"""Giving way: whether somebody with priority comes too close.

Links are kept in rows as lanes are (`kernels.lanes`).
"""

from __future__ import annotations

import numpy as np

from kernels._jit import kernel, part
from kernels.arrays import I8, PERMITTED, RED, STOP_THEN_GO, RoadArrays, Rows
from kernels.lanes import NEVER
from kernels.lights import Lights, shown

LINK = np.dtype(
    (
        np.record,
        [
            ("from_lane", np.int64),
            ("to_lane", np.int64),
            ("to_edge", np.int64),
            ("signal", np.int64),
            ("column", np.int64),
            ("minor", np.int64),
            ("first_yield", np.int64),
            ("end_yield", np.int64),
            ("passed", np.float64),  # when the last one passed [s]
            ("inside_length", np.float64),
            ("inside_speed", np.float64),
            ("waiting_room", np.int64),
            ("waiting", np.int64),  # how many wait inside the junction, and the first and last of them
            ("first_waiting", np.int64),
            ("last_waiting", np.int64),
        ],
    )
)


@kernel
def link_rows(road: RoadArrays) -> Rows:
    """A row of LINK each, with nobody on them."""
    n = road.link_from.shape[0]
    links = np.zeros(n, LINK)
    for k in range(n):
        links[k].inside_length = road.link_length[k]
        links[k].inside_speed = road.link_speed[k]
        links[k].passed = -NEVER
        links[k].from_lane = road.link_from[k]
        links[k].to_lane = road.link_to[k]
        links[k].to_edge = road.link_to_edge[k]
        links[k].signal = road.link_signal[k]
        links[k].column = road.link_column[k]
        links[k].minor = road.link_minor[k]
        links[k].first_yield = road.link_yield[k]
        links[k].end_yield = road.link_yield[k + 1]
        links[k].waiting_room = road.link_waiting[k]
        links[k].first_waiting = -1
        links[k].last_waiting = -1
    return links


@part
def must_wait(
    k: int,
    t: float,
    need: float,
    clear: float,
    second: int,
    lights: Lights,
    vehicles: Rows,
    lanes: Rows,
    links: Rows,
    yield_to: I8,
    edges: I8,
) -> bool:
    """Whether somebody with priority over link k passes less than `clear` before or `need` after time t."""
    for j in range(links[k].first_yield, links[k].end_yield):
        foe = yield_to[j]
        if t - links[foe].passed < clear:
            return True
        signal = links[foe].signal
        if signal >= 0:
            state = shown(foe, second, lights, links)
            if state == RED or state == STOP_THEN_GO:
                continue
            if state == PERMITTED and signal == links[k].signal and _gives_way(foe, k, links, yield_to):
                continue
        lane = links[foe].from_lane
        v = lanes[lane].head
        if v < 0 or lanes[lane].blocked == 1:
            continue
        position = vehicles[v].at + 1
        if position > vehicles[v].last_at or edges[position] != links[foe].to_edge:
            continue
        p = max(vehicles[v].arrive, lanes[lane].ready)
        if signal < 0 and links[foe].minor == 1 and p < t - 1.0:
            continue
        if p < t + need:
            return True
    return False


@part
def _gives_way(k: int, other: int, links: Rows, yield_to: I8) -> bool:
    for j in range(links[k].first_yield, links[k].end_yield):
        if yield_to[j] == other:
            return True
    return False
