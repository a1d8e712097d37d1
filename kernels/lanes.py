"""Vehicles on lanes: first-in-first-out queues of finite room, kept in rows of two tables each.

What is looked up together lies together: a row of floats is one or two cache lines, and a few tables pass
through a call where twenty arrays did. The constants below name the columns.
"""

from __future__ import annotations

import numpy as np

from kernels._jit import kernel
from kernels.arrays import F8, I8, RoadArrays, TrafficArrays

NEVER = 1e18
BLOCK = 8
"""Lanes whose next looks are skipped together."""

# vehicles : float64[n_vehicle, N_VEHICLE]
ARRIVE = 0
"""When it can reach the end of its lane [s]."""
ENTERED = 1
"""When it was on its lane at its own speed, or would have been [s]."""
PACE = 2
"""Its desired speed on its lane [m/s]."""
FREE = 3
"""Free-flow time of its lane [s]."""
SIZE = 4
HEADWAY = 5
ACCEL = 6
DECEL = 7
FACTOR = 8
MAX_SPEED = 9
N_VEHICLE = 10

# trips : int64[n_vehicle, N_TRIP]
AT = 0
"""Position of its edge in `TrafficArrays.edges`."""
LAST = 1
"""Position where its route ends."""
BEHIND = 2
"""The next one in its queue, -1 if it is the last."""
N_TRIP = 3

# lanes : float64[n_lane, N_LANE]
LENGTH = 0
ROOM = 1
SPEED = 2
USED = 3
"""Room in use, or freed but not yet felt at the tail [m]."""
READY = 4
"""When the next one may pass the line after the one before [s]."""
RUN_UP = 5
"""What the next one of a standing queue has to accelerate [m], NEVER where it comes running."""
ENTRY = 6
"""When the next one may depart on the lane [s]."""
NEXT_WAVE = 7
"""When freed room reaches the tail next [s], NEVER where none is on its way."""
N_LANE = 8

# queues : int64[n_lane, N_QUEUE]
HEAD = 0
TAIL = 1
COUNT = 2
BLOCKED = 3
"""1 where the head could go but finds no room behind the junction."""
STOPPED = 4
"""1 where the head has been held at the line."""
FIRST_LINK = 5
END_LINK = 6
FIRST_SLOT = 7
"""Where the lane's ring of waves begins."""
SLOTS = 8
WAVE = 9
"""Oldest wave of the ring."""
WAVES = 10
N_QUEUE = 11


@kernel
def vehicle_tables(traffic: TrafficArrays) -> tuple[F8, I8]:
    """The tables `vehicles` and `trips`, before anybody departs."""
    n = traffic.depart.shape[0]
    vehicles = np.zeros((n, N_VEHICLE))
    trips = np.zeros((n, N_TRIP), np.int64)
    for v in range(n):
        vehicles[v, SIZE] = traffic.size[v]
        vehicles[v, HEADWAY] = traffic.headway[v]
        vehicles[v, ACCEL] = traffic.accel[v]
        vehicles[v, DECEL] = traffic.decel[v]
        vehicles[v, FACTOR] = traffic.speed_factor[v]
        vehicles[v, MAX_SPEED] = traffic.max_speed[v]
        trips[v, AT] = traffic.route_edge[traffic.route[v]]
        trips[v, LAST] = traffic.route_edge[traffic.route[v] + 1] - 1
        trips[v, BEHIND] = -1
    return vehicles, trips


@kernel
def lane_tables(road: RoadArrays) -> tuple[F8, I8]:
    """The tables `lanes` and `queues`, empty."""
    n = road.lane_length.shape[0]
    lanes = np.zeros((n, N_LANE))
    queues = np.zeros((n, N_QUEUE), np.int64)
    n_slot = 0
    for lane in range(n):
        lanes[lane, LENGTH] = road.lane_length[lane]
        lanes[lane, ROOM] = road.lane_room[lane]
        lanes[lane, SPEED] = road.lane_speed[lane]
        lanes[lane, READY] = -NEVER
        lanes[lane, ENTRY] = -NEVER
        lanes[lane, RUN_UP] = NEVER
        lanes[lane, NEXT_WAVE] = NEVER
        queues[lane, HEAD] = -1
        queues[lane, TAIL] = -1
        queues[lane, FIRST_LINK] = road.lane_link[lane]
        queues[lane, END_LINK] = road.lane_link[lane + 1]
        queues[lane, FIRST_SLOT] = n_slot
        queues[lane, SLOTS] = 4 + int(road.lane_room[lane] / 2.0)
        n_slot += queues[lane, SLOTS]
    return lanes, queues


@kernel
def has_room(lanes: F8, queues: I8, lane: int, size: float) -> bool:
    """Whether a lane takes one more vehicle; an empty lane always does, however short."""
    return bool(queues[lane, COUNT] == 0 or lanes[lane, USED] + size <= lanes[lane, ROOM])


@kernel
def rouse(lane: int, t: float, wake: F8, soonest: F8) -> None:
    """Have a lane that sleeps looked at from time t."""
    wake[lane] = t
    block = lane // BLOCK
    if t < soonest[block]:
        soonest[block] = t


@kernel
def append(lane: int, v: int, vehicles: F8, trips: I8, lanes: F8, queues: I8, wake: F8, soonest: F8) -> None:
    """Put vehicle v at the tail of a lane, which is looked at again when v can leave it."""
    if queues[lane, HEAD] < 0:
        queues[lane, HEAD] = v
        rouse(lane, max(vehicles[v, ARRIVE], lanes[lane, READY]), wake, soonest)
    else:
        trips[queues[lane, TAIL], BEHIND] = v
    queues[lane, TAIL] = v
    queues[lane, COUNT] += 1
    lanes[lane, USED] += vehicles[v, SIZE]


@kernel
def leave(
    lane: int,
    v: int,
    t: float,
    soon: float,
    wave: float,
    vehicles: F8,
    trips: I8,
    lanes: F8,
    queues: I8,
    wave_time: F8,
    wave_room: F8,
) -> None:
    """Take the head v off a lane at time t.

    Its room reaches the tail when the wave has run along the queue, but not before `soon`, the next second.
    """
    queues[lane, HEAD] = trips[v, BEHIND]
    trips[v, BEHIND] = -1
    if queues[lane, HEAD] < 0:
        queues[lane, TAIL] = -1
    queues[lane, COUNT] -= 1
    if queues[lane, WAVES] >= queues[lane, SLOTS]:
        lanes[lane, USED] -= vehicles[v, SIZE]
        return
    slot = queues[lane, WAVE] + queues[lane, WAVES]
    if slot >= queues[lane, SLOTS]:
        slot -= queues[lane, SLOTS]
    slot += queues[lane, FIRST_SLOT]
    felt = max(t + lanes[lane, USED] / wave, soon)
    wave_time[slot] = felt
    wave_room[slot] = vehicles[v, SIZE]
    if queues[lane, WAVES] == 0:
        lanes[lane, NEXT_WAVE] = felt
    queues[lane, WAVES] += 1


@kernel
def feel_waves(lane: int, until: float, lanes: F8, queues: I8, wave_time: F8, wave_room: F8) -> None:
    """Give back the room that has reached the tail of a lane by a time."""
    while lanes[lane, NEXT_WAVE] <= until:
        first = queues[lane, FIRST_SLOT]
        lanes[lane, USED] -= wave_room[first + queues[lane, WAVE]]
        queues[lane, WAVE] += 1
        if queues[lane, WAVE] == queues[lane, SLOTS]:
            queues[lane, WAVE] = 0
        queues[lane, WAVES] -= 1
        left = queues[lane, WAVES] > 0
        lanes[lane, NEXT_WAVE] = wave_time[first + queues[lane, WAVE]] if left else NEVER


@kernel
def drive(
    lane: int,
    v: int,
    entered: float,
    vehicles: F8,
    trips: I8,
    lanes: F8,
    queues: I8,
    wake: F8,
    soonest: F8,
) -> None:
    """Let vehicle v drive along a lane from time `entered`, behind those before it."""
    pace = min(lanes[lane, SPEED] * vehicles[v, FACTOR], vehicles[v, MAX_SPEED])
    free = lanes[lane, LENGTH] / pace
    vehicles[v, PACE] = pace
    vehicles[v, FREE] = free
    vehicles[v, ENTERED] = entered
    vehicles[v, ARRIVE] = entered + free
    append(lane, v, vehicles, trips, lanes, queues, wake, soonest)


@kernel
def departure_lane(first: int, last: int, wish: int, mask: int, queues: I8) -> int:
    """Lane on which a vehicle departs: the one it asks for, or the emptiest that leads on."""
    if wish >= 0:
        return min(first + wish, last)
    best = first
    fewest = NEVER
    for lane in range(first, last + 1):
        if (mask >> (lane - first)) & 1 and queues[lane, COUNT] < fewest:
            fewest = float(queues[lane, COUNT])
            best = lane
    return best


@kernel
def lane_on(first: int, last: int, mask: int, size: float, entry: int, lanes: F8, queues: I8) -> int:
    """Lane of an edge that a vehicle queues on: leads on along its route, and is the emptiest.

    Staying in the lane of entry wins ties; each lane change costs a little.
    """
    best = entry
    fewest = NEVER
    for lane in range(first, last + 1):
        if not (mask >> (lane - first)) & 1:
            continue
        cost = float(queues[lane, COUNT]) + 0.6 * abs(lane - entry)
        if not has_room(lanes, queues, lane, size):
            cost += 1000.0
        if cost < fewest:
            fewest = cost
            best = lane
    return best
