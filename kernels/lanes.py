"""Vehicles on lanes: first-in-first-out queues of finite room.

What is looked up together lies together: a vehicle, a lane or a link is one row of named fields, one or two
cache lines, and three tables pass through a call where forty arrays would.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from kernels._jit import kernel, part
from kernels.arrays import F8, I8, RoadArrays, Rows, TrafficArrays

NEVER = 1e18
LONG_RUN_UP_M = 200.0
"""Who has so far to accelerate passes at its own speed."""
BLOCK = 8
"""Lanes whose next looks are skipped together."""

VEHICLE = np.dtype(
    (
        np.record,
        [
            ("arrive", np.float64),  # when it can reach the end of its lane [s]
            ("entered", np.float64),  # when it was on its lane at its own speed, or would have been [s]
            ("pace", np.float64),  # its desired speed on its lane [m/s]
            ("free", np.float64),  # free-flow time of its lane [s]
            ("at", np.int64),  # position of its edge in `TrafficArrays.edges`
            ("last_at", np.int64),  # position where its route ends
            ("behind", np.int64),  # the next one in its queue, -1 if it is the last
            # the rest as in `TrafficArrays`; `space` is its size, which names something else in rows of numpy
            ("space", np.float64),
            ("headway", np.float64),
            ("accel", np.float64),
            ("decel", np.float64),
            ("factor", np.float64),
            ("max_speed", np.float64),
        ],
    )
)

LANE = np.dtype(
    (
        np.record,
        [
            ("head", np.int64),
            ("tail", np.int64),
            ("count", np.int64),
            ("used", np.float64),  # room in use, or freed but not yet felt at the tail [m]
            ("room", np.float64),
            (
                "next_wave",
                np.float64,
            ),  # when freed room reaches the tail next [s], NEVER where none is on its way
            ("ready", np.float64),  # when the next one may pass the line after the one before [s]
            ("run_up", np.float64),  # what the next of a standing queue has to accelerate [m], or NEVER
            ("stopped", np.int64),  # 1 where the head has been held at the line
            ("blocked", np.int64),  # 1 where the head could go but finds no room behind the junction
            ("speed", np.float64),
            ("length", np.float64),
            ("first_link", np.int64),
            ("end_link", np.int64),
            ("first_slot", np.int64),  # where the lane's ring of waves begins
            ("slots", np.int64),
            ("wave", np.int64),  # oldest wave of the ring
            ("waves", np.int64),
            ("entry", np.float64),  # when the next one may depart on the lane [s]
        ],
    )
)


class Notes(NamedTuple):
    """What is kept beside vehicles, lanes and links to find those to look at.

    Fields
    ------
    wake : float64[n_lane, filled up to whole blocks], s from which to look at a lane
    soonest : float64[n_block], s, the least `wake` of each block of lanes, or less
    wave_time, wave_room : float64[n_slot], rings of waves by lane: when each reaches the tail [s], what it brings [m]
    due, due_last : int64[n_edge], first and last of those that wait to depart, -1 if none
    origins : int64[n_edge], edges where somebody waits to depart come first
    roomy : int64[n_roomy], links with room to wait inside the junction
    """

    wake: F8
    soonest: F8
    wave_time: F8
    wave_room: F8
    due: I8
    due_last: I8
    origins: I8
    roomy: I8


@kernel
def vehicle_rows(traffic: TrafficArrays) -> Rows:
    """A row of VEHICLE each, before anybody departs."""
    n = traffic.depart.shape[0]
    vehicles = np.zeros(n, VEHICLE)
    for v in range(n):
        vehicles[v].space = traffic.size[v]
        vehicles[v].headway = traffic.headway[v]
        vehicles[v].accel = traffic.accel[v]
        vehicles[v].decel = traffic.decel[v]
        vehicles[v].factor = traffic.speed_factor[v]
        vehicles[v].max_speed = traffic.max_speed[v]
        vehicles[v].at = traffic.route_edge[traffic.route[v]]
        vehicles[v].last_at = traffic.route_edge[traffic.route[v] + 1] - 1
        vehicles[v].behind = -1
    return vehicles


@kernel
def lane_rows(road: RoadArrays) -> Rows:
    """A row of LANE each, empty."""
    n = road.lane_length.shape[0]
    lanes = np.zeros(n, LANE)
    n_slot = 0
    for lane in range(n):
        lanes[lane].length = road.lane_length[lane]
        lanes[lane].room = road.lane_room[lane]
        lanes[lane].speed = road.lane_speed[lane]
        lanes[lane].ready = -NEVER
        lanes[lane].entry = -NEVER
        lanes[lane].run_up = NEVER
        lanes[lane].next_wave = NEVER
        lanes[lane].head = -1
        lanes[lane].tail = -1
        lanes[lane].first_link = road.lane_link[lane]
        lanes[lane].end_link = road.lane_link[lane + 1]
        lanes[lane].first_slot = n_slot
        lanes[lane].slots = 4 + int(road.lane_room[lane] / 2.0)
        n_slot += lanes[lane].slots
    return lanes


@kernel
def blank_notes(road: RoadArrays, lanes: Rows) -> Notes:
    """Nobody anywhere."""
    n_lane, n_edge = lanes.shape[0], road.edge_lane.shape[0] - 1
    n_slot = lanes[n_lane - 1].first_slot + lanes[n_lane - 1].slots if n_lane else 0
    n_block = n_lane // BLOCK + 1
    return Notes(
        np.full(n_block * BLOCK, NEVER),
        np.full(n_block, NEVER),
        np.empty(n_slot),
        np.empty(n_slot),
        np.full(n_edge, -1, np.int64),
        np.full(n_edge, -1, np.int64),
        np.empty(n_edge, np.int64),
        np.flatnonzero(road.link_waiting > 0),
    )


@part
def has_room(lanes: Rows, lane: int, size: float) -> bool:
    """Whether a lane takes one more vehicle; an empty lane always does, however short."""
    return bool(lanes[lane].count == 0 or lanes[lane].used + size <= lanes[lane].room)


@part
def rouse(lane: int, t: float, wake: F8, soonest: F8) -> None:
    """Have a lane that sleeps looked at from time t."""
    wake[lane] = t
    block = lane // BLOCK
    if t < soonest[block]:
        soonest[block] = t


@part
def append(lane: int, v: int, vehicles: Rows, lanes: Rows, wake: F8, soonest: F8) -> None:
    """Put vehicle v at the tail of a lane, which is looked at again when v can leave it."""
    if lanes[lane].head < 0:
        lanes[lane].head = v
        rouse(lane, max(vehicles[v].arrive, lanes[lane].ready), wake, soonest)
    else:
        vehicles[lanes[lane].tail].behind = v
    lanes[lane].tail = v
    lanes[lane].count += 1
    lanes[lane].used += vehicles[v].space


@part
def leave(
    lane: int,
    v: int,
    t: float,
    soon: float,
    wave: float,
    vehicles: Rows,
    lanes: Rows,
    wave_time: F8,
    wave_room: F8,
) -> None:
    """Take the head v off a lane at time t.

    Its room reaches the tail when the wave has run along the queue, but not before `soon`, the next second.
    """
    lanes[lane].head = vehicles[v].behind
    vehicles[v].behind = -1
    if lanes[lane].head < 0:
        lanes[lane].tail = -1
    lanes[lane].count -= 1
    if lanes[lane].waves >= lanes[lane].slots:
        lanes[lane].used -= vehicles[v].space
        return
    slot = lanes[lane].wave + lanes[lane].waves
    if slot >= lanes[lane].slots:
        slot -= lanes[lane].slots
    slot += lanes[lane].first_slot
    felt = max(t + lanes[lane].used / wave, soon)
    wave_time[slot] = felt
    wave_room[slot] = vehicles[v].space
    if lanes[lane].waves == 0:
        lanes[lane].next_wave = felt
    lanes[lane].waves += 1


@part
def feel_waves(lane: int, until: float, lanes: Rows, wave_time: F8, wave_room: F8) -> None:
    """Give back the room that has reached the tail of a lane by a time."""
    while lanes[lane].next_wave <= until:
        first = lanes[lane].first_slot
        lanes[lane].used -= wave_room[first + lanes[lane].wave]
        lanes[lane].wave += 1
        if lanes[lane].wave == lanes[lane].slots:
            lanes[lane].wave = 0
        lanes[lane].waves -= 1
        left = lanes[lane].waves > 0
        lanes[lane].next_wave = wave_time[first + lanes[lane].wave] if left else NEVER


@part
def drive(
    lane: int,
    v: int,
    entered: float,
    vehicles: Rows,
    lanes: Rows,
    wake: F8,
    soonest: F8,
) -> None:
    """Let vehicle v drive along a lane from time `entered`, behind those before it."""
    pace = min(lanes[lane].speed * vehicles[v].factor, vehicles[v].max_speed)
    free = lanes[lane].length / pace
    vehicles[v].pace = pace
    vehicles[v].free = free
    vehicles[v].entered = entered
    vehicles[v].arrive = entered + free
    append(lane, v, vehicles, lanes, wake, soonest)


@part
def departure_lane(first: int, last: int, wish: int, mask: int, lanes: Rows) -> int:
    """Lane on which a vehicle departs: the one it asks for, or the emptiest that leads on."""
    if wish >= 0:
        return min(first + wish, last)
    best = first
    fewest = NEVER
    for lane in range(first, last + 1):
        if (mask >> (lane - first)) & 1 and lanes[lane].count < fewest:
            fewest = float(lanes[lane].count)
            best = lane
    return best


@part
def lane_on(first: int, last: int, mask: int, size: float, entry: int, lanes: Rows) -> int:
    """Lane of an edge that a vehicle queues on: leads on along its route, and is the emptiest.

    Staying in the lane of entry wins ties; each lane change costs a little.
    """
    best = entry
    fewest = NEVER
    for lane in range(first, last + 1):
        if not (mask >> (lane - first)) & 1:
            continue
        cost = float(lanes[lane].count) + 0.6 * abs(lane - entry)
        if not has_room(lanes, lane, size):
            cost += 1000.0
        if cost < fewest:
            fewest = cost
            best = lane
    return best


@part
def slowing(speed: float, slow: float, rate: float) -> float:
    """Time lost by braking from `speed` to `slow` at `rate`, or by accelerating back [s]: (v - u)² / 2av."""
    if slow >= speed:
        return 0.0
    return (speed - slow) * (speed - slow) / (2.0 * rate * speed)


@part
def speed_at_line(lane: int, v: int, vehicles: Rows, lanes: Rows) -> float:
    """Speed at which the head v passes the line: its own, or what its run-up allows, √2as."""
    if lanes[lane].stopped == 1:
        lanes[lane].run_up = 0.0
    elif vehicles[v].arrive > lanes[lane].ready + 2.0:
        lanes[lane].run_up = NEVER
    speed = vehicles[v].pace
    if lanes[lane].run_up < LONG_RUN_UP_M:
        speed = min(speed, np.sqrt(2.0 * vehicles[v].accel * lanes[lane].run_up))
    return float(speed)


@part
def next_awake(lane: int, forth: bool, later: float, wake: F8, soonest: F8) -> int:
    """The next lane after one, forth or back, to look at before `later`; -1 where there is none."""
    if forth:
        k = lane + 1
        while k < wake.shape[0]:
            block = k // BLOCK
            end = (block + 1) * BLOCK
            if soonest[block] < later:
                for other in range(k, end):
                    if wake[other] < later:
                        return other
                soonest[block] = _least(wake, end - BLOCK)
            k = end
    else:
        k = lane - 1
        while k >= 0:
            block = k // BLOCK
            first = block * BLOCK
            if soonest[block] < later:
                for other in range(k, first - 1, -1):
                    if wake[other] < later:
                        return other
                soonest[block] = _least(wake, first)
            k = first - 1
    return -1


@part
def _least(wake: F8, first: int) -> float:
    """The least of a block."""
    least = NEVER
    for k in range(first, first + BLOCK):
        if wake[k] < least:
            least = wake[k]
    return least
