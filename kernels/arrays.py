"""The layouts that kernels read: NamedTuples of C-contiguous arrays, one shape, dtype and unit a field.

`signals.timing.pack` is the only maker of the ones here; forecasts keep theirs beside their kernels. Integers are
int64, real numbers float64, states uint8.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

F8 = NDArray[np.float64]
F4 = NDArray[np.float32]
I8 = NDArray[np.int64]
U1 = NDArray[np.uint8]
Rows = NDArray[Any]
"""A table of rows with named fields, `rows[k].field`."""

RED = 0
"""No right of way."""
STOP_THEN_GO = 1
"""Red, but a turn may go after a stop if everybody else lets it (SUMO's ``s``)."""
PERMITTED = 2
"""Green that gives way."""
PROTECTED = 3
"""Green that doesn't."""
CLEARING = 4
"""First second of yellow: who can't stop any more still goes."""
CLEARED = 5
"""Second second of yellow: likewise, but fewer."""


class RoadArrays(NamedTuple):
    """Lanes, and the links between them. Lanes of an edge are contiguous; links are sorted by lane.

    Fields
    ------
    lane_length : float64[n_lane], m
    lane_room : float64[n_lane], m of queue that a lane takes; more than its length where it is very short
    lane_speed : float64[n_lane], m/s
    lane_edge : int64[n_lane]
    edge_lane : int64[n_edge + 1]; lanes of edge e are edge_lane[e] … edge_lane[e + 1] - 1
    lane_link : int64[n_lane + 1]; links out of lane l are lane_link[l] … lane_link[l + 1] - 1
    link_from : int64[n_link], lane
    link_to : int64[n_link], lane
    link_to_edge : int64[n_link]
    link_length : float64[n_link], m inside the junction
    link_speed : float64[n_link], m/s inside the junction
    link_waiting : int64[n_link], vehicles that can wait inside the junction for a gap
    link_signal : int64[n_link], -1 where no signal controls the link
    link_column : int64[n_link], column of the signal's states
    link_minor : uint8[n_link], 1 where an unsignalled link gives way
    link_yield : int64[n_link + 1]; link k gives way to yield_to[link_yield[k] … link_yield[k + 1] - 1]
    yield_to : int64[n_yield]
    """

    lane_length: F8
    lane_room: F8
    lane_speed: F8
    lane_edge: I8
    edge_lane: I8
    lane_link: I8
    link_from: I8
    link_to: I8
    link_to_edge: I8
    link_length: F8
    link_speed: F8
    link_waiting: I8
    link_signal: I8
    link_column: I8
    link_minor: U1
    link_yield: I8
    yield_to: I8


class TrafficArrays(NamedTuple):
    """Who drives, sorted by departure. Routes are shared between vehicles.

    Fields
    ------
    depart : float64[n_vehicle], s
    route : int64[n_vehicle], index of the vehicle's route
    size : float64[n_vehicle], m of queue that the vehicle takes, gap included
    headway : float64[n_vehicle], s that its driver keeps behind the one before
    accel : float64[n_vehicle], m/s²
    decel : float64[n_vehicle], m/s²
    speed_factor : float64[n_vehicle], desired speed over the limit
    max_speed : float64[n_vehicle], m/s
    depart_lane : int64[n_vehicle], index within the edge; -1 for the emptiest that leads on
    route_edge : int64[n_route + 1]; edges of route r are edges[route_edge[r] … route_edge[r + 1] - 1]
    edges : int64[n_step]
    lanes : int64[n_step], bit k set where lane k of that edge leads on along the route
    """

    depart: F8
    route: I8
    size: F8
    headway: F8
    accel: F8
    decel: F8
    speed_factor: F8
    max_speed: F8
    depart_lane: I8
    route_edge: I8
    edges: I8
    lanes: I8


class SignalArrays(NamedTuple):
    """What every signal shows, second by second of its cycle, for each program in turn.

    Fields
    ------
    program : int64[n_signal + 1]; programs of signal s are program[s] … program[s + 1] - 1, in order of time
    start : float64[n_program], s from which the program is in force
    cycle : float64[n_program], s
    offset : float64[n_program], s
    row : int64[n_program], first row of the program in `state`
    state : uint8[n_row, n_column], one of RED … CLEARED for each second of the cycle and link
    """

    program: I8
    start: F8
    cycle: F8
    offset: F8
    row: I8
    state: U1


class FlowRules(NamedTuple):
    """How traffic discharges and accepts gaps, in SUMO's car-following; calibrated once, not per network.

    Fields
    ------
    lost : float, s that the second vehicle of a standing queue takes longer than its run-up explains
    spacing : float, s of every saturation headway that neither reaction nor length explains
    gap : float, s before a vehicle with priority that one that gives way still goes
    gap_inside : float, likewise for one that waits inside the junction already
    clear : float, s after a vehicle with priority before one that gives way goes
    wave : float, m/s at which room freed at the head of a queue reaches its tail
    entry : float, s between two departures on one lane
    dawdle : float, share of free-flow time that drivers lose without any reason
    """

    lost: float
    spacing: float
    gap: float
    gap_inside: float
    clear: float
    wave: float
    entry: float
    dawdle: float
