"""A mesoscopic simulator of a road network: vehicles in lane one second at a time.

Each lane is a first-in-first-out queue with finite room. A vehicle reaches the stop line after its
free-flow time; it passes when its signal lets it, when the one before has left a saturation headway ago,
when those it gives way to leave a gap, and when the lane behind the junction has room. Room freed at the
head of a queue reaches its tail at a wave speed (Newell 1993). Yielding vehicles may wait inside the
junction, where it has room, and leave when their foes' green ends.

Vehicles are conserved: each one is waiting to depart, on one lane, inside one junction, or arrived.

A lane is looked at only when something may happen to it: `wake` says from when. One whose head is held by
red alone sleeps until its signal shows something else.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from kernels._jit import kernel, part
from kernels.arrays import (
    CLEARED,
    CLEARING,
    F8,
    I8,
    PROTECTED,
    RED,
    STOP_THEN_GO,
    FlowRules,
    RoadArrays,
    Rows,
    SignalArrays,
    TrafficArrays,
)
from kernels.gaps import link_rows, must_wait
from kernels.lanes import (
    BLOCK,
    NEVER,
    departure_lane,
    drive,
    feel_waves,
    has_room,
    lane_on,
    lane_rows,
    leave,
    vehicle_rows,
)
from kernels.lights import Lights, held_for, lay_lights, next_rows, shown

STOPPED_AFTER_S = 4.0
"""Who has waited longer than this for the line, or for those before it, has come to a stand [s].

Braking to a standstill and speeding up again costs 4.2 s at 50 km/h, v/2a + v/2b: who loses less only slowed.
"""
LONG_RUN_UP_M = 200.0
"""Who has so far to accelerate passes at its own speed."""


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


@kernel
def simulate(
    road: RoadArrays,
    traffic: TrafficArrays,
    signals: SignalArrays,
    rules: FlowRules,
    begin: float,
    end: float,
    link_delay: F8,
    link_count: I8,
    stops: I8,
) -> F8:
    """Delay of every vehicle due [s], with vehicles unfinished or never inserted at `end` charged so far.

    Parameters
    ----------
    road, traffic, signals, rules : see `kernels.arrays`
    begin, end : float, s
    link_delay : float64[n_link], veh-s lost before each link; added to
    link_count : int64[n_link], vehicles that passed each link; added to
    stops : int64[n_vehicle], how often each vehicle came to a stand; added to

    A queue has no positions, so a stop is told by time: who waits more than STOPPED_AFTER_S beyond its
    free-flow time for the end of its lane has stood once, and once more each time that the queue which it has
    waited in so long moves up and its head is held again. Waiting inside a junction is another stop. Waiting
    for room to depart, and the start from a standstill, are none.

    Returns
    -------
    float64[n_vehicle]
    """
    n_vehicle = traffic.depart.shape[0]
    vehicles = vehicle_rows(traffic)
    lanes = lane_rows(road)
    links = link_rows(road)
    delay = np.zeros(n_vehicle)
    notes = blank_notes(road, lanes)
    next_due = _run(
        road,
        traffic,
        signals,
        rules,
        begin,
        end,
        lay_lights(signals),
        vehicles,
        lanes,
        links,
        notes,
        delay,
        link_delay,
        link_count,
        stops,
    )
    _charge_the_rest(traffic.depart, end, next_due, notes.due, vehicles, lanes, links, delay, stops)
    return delay


@part
def _run(
    road: RoadArrays,
    traffic: TrafficArrays,
    signals: SignalArrays,
    rules: FlowRules,
    begin: float,
    end: float,
    lights: Lights,
    vehicles: Rows,
    lanes: Rows,
    links: Rows,
    notes: Notes,
    delay: F8,
    link_delay: F8,
    link_count: I8,
    stops: I8,
) -> int:
    """Let it all move from begin to end; the first vehicle that isn't due by then."""
    edge_lane, yield_to = road.edge_lane, road.yield_to
    depart, depart_lane = traffic.depart, traffic.depart_lane
    edges, lane_mask = traffic.edges, traffic.lanes
    first_program, in_force, cycle = signals.program, signals.start, signals.cycle
    offset, first_row, state_of = signals.offset, signals.row, signals.state
    opens, program, row, until = lights.opens, lights.program, lights.row, lights.until
    wave, gap, gap_inside, clear = rules.wave, rules.gap, rules.gap_inside, rules.clear
    spacing, lost_start, dawdle = rules.spacing, rules.lost, rules.dawdle
    entry = rules.entry

    wake, soonest, wave_time, wave_room = notes.wake, notes.soonest, notes.wave_time, notes.wave_room
    due, due_last, origins, roomy = notes.due, notes.due_last, notes.origins, notes.roomy

    n_vehicle, n_lane = depart.shape[0], lanes.shape[0]
    next_due, next_cycle = 0, 0
    n_waiting, n_origin = 0, 0

    for second in range(int(np.ceil(end - begin))):
        now = begin + second
        later = min(now + 1.0, end)
        before, soon = begin + (second - 1), begin + (second + 1)
        if next_cycle <= second:
            next_cycle = next_rows(
                second, now, first_program, in_force, cycle, offset, first_row, program, row, until
            )

        # departures join the queue of their first edge
        while next_due < n_vehicle and depart[next_due] < later:
            v = next_due
            next_due += 1
            e = edges[vehicles[v].at]
            if due[e] < 0:
                due[e] = v
                origins[n_origin] = e
                n_origin += 1
            else:
                vehicles[due_last[e]].behind = v
            due_last[e] = v
        for index in range(n_origin - 1, -1, -1):
            e = origins[index]
            first, last = edge_lane[e], edge_lane[e + 1] - 1
            for lane in range(first, last + 1):
                feel_waves(lane, before, lanes, wave_time, wave_room)
            while due[e] >= 0:
                v = due[e]
                mask = lane_mask[vehicles[v].at]
                lane = departure_lane(first, last, depart_lane[v], mask, lanes)
                t = max(depart[v], lanes[lane].entry)
                if t >= later or not has_room(lanes, lane, vehicles[v].size):
                    break
                t = max(t, now)
                due[e] = vehicles[v].behind
                vehicles[v].behind = -1
                lanes[lane].entry = t + entry
                delay[v] += t - depart[v]
                pace = min(lanes[lane].speed * vehicles[v].factor, vehicles[v].max_speed)
                started = _slowing(pace, 0.0, vehicles[v].accel)
                delay[v] += started
                # a lane change on the first edge is free: what matters is the lane that leads on
                lane = lane_on(first, last, mask, vehicles[v].size, lane, lanes)
                drive(lane, v, t + started, vehicles, lanes, wake, soonest)
            if due[e] < 0:
                n_origin -= 1
                origins[index] = origins[n_origin]

        # those inside junctions leave when their foes let them
        for index in range(roomy.shape[0] if n_waiting > 0 else 0):
            k = roomy[index]
            while links[k].first_waiting >= 0:
                v = links[k].first_waiting
                if vehicles[v].arrive >= later:
                    break
                t = max(vehicles[v].arrive, now, links[k].passed + 1.0)
                if t >= later or must_wait(
                    k,
                    t,
                    gap_inside,
                    clear,
                    second,
                    row,
                    state_of,
                    vehicles,
                    lanes,
                    links,
                    yield_to,
                    edges,
                ):
                    break
                position = vehicles[v].at + 1
                e = edges[position]
                first, last = edge_lane[e], edge_lane[e + 1] - 1
                size = vehicles[v].size
                for lane in range(first, last + 1):
                    feel_waves(lane, before, lanes, wave_time, wave_room)
                lane = lane_on(first, last, lane_mask[position], size, links[k].to_lane, lanes)
                if not has_room(lanes, lane, size):
                    break
                links[k].first_waiting = vehicles[v].behind
                vehicles[v].behind = -1
                links[k].waiting -= 1
                n_waiting -= 1
                if t - vehicles[v].arrive > STOPPED_AFTER_S:
                    stops[v] += 1
                links[k].passed = t
                lost = _pass(k, v, t, 0.0, lane, dawdle, vehicles, lanes, links, wake, soonest)
                delay[v] += lost
                link_delay[k] += lost
                link_count[k] += 1

        forth = second % 2 == 0
        lane = -1 if forth else n_lane
        while True:
            lane = _next_awake(lane, forth, later, wake, soonest)
            if lane < 0:
                break
            feel_waves(lane, now, lanes, wave_time, wave_room)
            wake[lane] = NEVER
            while lanes[lane].head >= 0:
                v = lanes[lane].head
                arrive = vehicles[v].arrive
                t = max(arrive, lanes[lane].ready)
                if t >= later:
                    wake[lane] = t
                    break
                lanes[lane].blocked = 0
                position = vehicles[v].at
                if position == vehicles[v].last_at:
                    # arrived at the end of its way
                    delay[v] += max(0.0, arrive - vehicles[v].entered - vehicles[v].free)
                    vehicles[v].at += 1
                    leave(lane, v, arrive, soon, wave, vehicles, lanes, wave_time, wave_room)
                    lanes[lane].stopped = 0
                    continue
                stopped = lanes[lane].stopped == 1
                held = t < now or stopped
                t = max(t, now)
                if stopped:
                    lanes[lane].run_up = 0.0
                elif arrive > lanes[lane].ready + 2.0:
                    lanes[lane].run_up = NEVER
                speed = vehicles[v].pace
                if lanes[lane].run_up < LONG_RUN_UP_M:
                    speed = min(speed, np.sqrt(2.0 * vehicles[v].accel * lanes[lane].run_up))
                size = vehicles[v].size
                next_edge = edges[position + 1]
                mask = lane_mask[position + 1]
                first, last = edge_lane[next_edge], edge_lane[next_edge + 1] - 1
                best = -1
                best_lane = -1
                inside = False
                fewest = NEVER
                full = False
                only_red = True
                red_for = NEVER
                for k in range(lanes[lane].first_link, lanes[lane].end_link):
                    if links[k].to_edge != next_edge:
                        continue
                    state = shown(k, second, row, state_of, links)
                    if state == RED:
                        red_for = min(red_for, held_for(k, second, row, until, opens, links))
                        continue
                    if state >= CLEARING:
                        # goes on only who is closer to the line than it can brake
                        since = t - now + (1.0 if state == CLEARED else 0.0)
                        if held or since > speed / (2.0 * vehicles[v].decel):
                            red_for = min(red_for, held_for(k, second, row, until, opens, links))
                            continue
                    if only_red:
                        only_red = False
                        for other in range(first, last + 1):
                            moment = now if (other < lane) == forth else before
                            feel_waves(other, moment, lanes, wave_time, wave_room)
                    if state == STOP_THEN_GO and not held:
                        continue
                    target = lane_on(first, last, mask, size, links[k].to_lane, lanes)
                    if not has_room(lanes, target, size):
                        full = True
                        continue
                    waits = False
                    if links[k].first_waiting >= 0:
                        waits = True
                    elif state < PROTECTED:
                        waits = must_wait(
                            k,
                            t,
                            gap,
                            clear,
                            second,
                            row,
                            state_of,
                            vehicles,
                            lanes,
                            links,
                            yield_to,
                            edges,
                        )
                    if waits and (state == STOP_THEN_GO or links[k].waiting >= links[k].waiting_room):
                        continue
                    if lanes[target].count < fewest:
                        fewest = float(lanes[target].count)
                        best = k
                        best_lane = target
                        inside = waits
                if best < 0:
                    if not stopped:
                        while v >= 0 and now - vehicles[v].arrive > STOPPED_AFTER_S:
                            stops[v] += 1
                            v = vehicles[v].behind
                    lanes[lane].stopped = 1
                    lanes[lane].blocked = 1 if full else 0
                    wake[lane] = now + (red_for if only_red else 0.0)
                    break
                inside_speed = links[best].inside_speed
                speed = min(speed, inside_speed * vehicles[v].factor)
                leave(lane, v, t, soon, wave, vehicles, lanes, wave_time, wave_room)
                if lanes[lane].run_up < LONG_RUN_UP_M:
                    # the next one starts from where it stands
                    late = lost_start if lanes[lane].run_up == 0.0 else 0.0
                    lanes[lane].run_up += size
                    pace = min(
                        np.sqrt(2.0 * vehicles[v].accel * lanes[lane].run_up),
                        min(lanes[lane].speed, inside_speed),
                    )
                    lanes[lane].ready = t + _headway(vehicles[v].headway, size, pace, spacing) + late
                else:
                    lanes[lane].ready = t + _headway(vehicles[v].headway, size, speed, spacing)
                lanes[lane].stopped = 0
                if t - arrive > STOPPED_AFTER_S:
                    stops[v] += 1
                if inside:
                    vehicles[v].arrive = t + 1.0
                    if links[best].first_waiting < 0:
                        links[best].first_waiting = v
                    else:
                        vehicles[links[best].last_waiting].behind = v
                    links[best].last_waiting = v
                    links[best].waiting += 1
                    n_waiting += 1
                    continue
                links[best].passed = t
                lost = _pass(best, v, t, speed, best_lane, dawdle, vehicles, lanes, links, wake, soonest)
                delay[v] += lost
                link_delay[best] += lost
                link_count[best] += 1

    return next_due


@part
def _next_awake(lane: int, forth: bool, later: float, wake: F8, soonest: F8) -> int:
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


@part
def _headway(headway: float, size: float, speed: float, spacing: float) -> float:
    """Saturation headway [s]: reaction, own length at the speed of discharge, and what neither explains."""
    return headway + size / max(speed, 1.0) + spacing


@part
def _slowing(speed: float, slow: float, rate: float) -> float:
    """Time lost by braking from `speed` to `slow` at `rate`, or by accelerating back [s]: (v - u)² / 2av."""
    if slow >= speed:
        return 0.0
    return (speed - slow) * (speed - slow) / (2.0 * rate * speed)


@part
def _pass(
    k: int,
    v: int,
    t: float,
    pace: float,
    lane: int,
    dawdle: float,
    vehicles: Rows,
    lanes: Rows,
    links: Rows,
    wake: F8,
    soonest: F8,
) -> float:
    """Move vehicle v over link k to a lane, at speed `pace` at the line; what it lost up to there and by it [s]."""
    before, expected = vehicles[v].pace, vehicles[v].free
    waited = max(0.0, t - vehicles[v].entered - expected)
    factor, fastest = vehicles[v].factor, vehicles[v].max_speed
    after = _slowing(min(lanes[lane].speed * factor, fastest), pace, vehicles[v].accel)
    lost = waited + after + dawdle * expected
    if waited < 1.0:
        lost += _slowing(before, pace, vehicles[v].decel)
    inside = links[k].inside_length / max(min(links[k].inside_speed * factor, fastest), 0.5)
    vehicles[v].at += 1
    drive(lane, v, t + inside + after, vehicles, lanes, wake, soonest)
    return float(lost)


@kernel
def _charge_the_rest(
    depart: F8,
    end: float,
    next_due: int,
    due: I8,
    vehicles: Rows,
    lanes: Rows,
    links: Rows,
    delay: F8,
    stops: I8,
) -> None:
    """Charge vehicles that are still on their way at the end with what they have lost so far, stops as well."""
    for v in range(next_due, depart.shape[0]):
        delay[v] = max(0.0, end - depart[v])
    for e in range(due.shape[0]):
        v = due[e]
        while v >= 0:
            delay[v] = end - depart[v]
            v = vehicles[v].behind
    for place in range(lanes.shape[0] + links.shape[0]):
        on_lane = place < lanes.shape[0]
        v = lanes[place].head if on_lane else links[place - lanes.shape[0]].first_waiting
        while v >= 0:
            delay[v] += max(0.0, end - vehicles[v].entered - vehicles[v].free)
            if end - vehicles[v].arrive > STOPPED_AFTER_S:
                stops[v] += 1
            v = vehicles[v].behind
