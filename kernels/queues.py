"""A mesoscopic simulator of a road network: vehicles in lane queues, one second at a time.

Each lane is a first-in-first-out queue with finite room. A vehicle reaches the stop line after its
free-flow time; it passes when its signal lets it, when the one before has left a saturation headway ago,
when those it gives way to leave a gap, and when the lane behind the junction has room. Room freed at the
head of a queue reaches its tail at a wave speed (Newell 1993). Yielding vehicles may wait inside the
junction, where it has room, and leave when their foes' green ends.

Vehicles are conserved: each one is waiting to depart, on one lane, inside one junction, or arrived.
"""

from __future__ import annotations

import numpy as np

from kernels._jit import kernel
from kernels.arrays import (
    CLEARED,
    CLEARING,
    F8,
    I8,
    PERMITTED,
    PROTECTED,
    RED,
    STOP_THEN_GO,
    U1,
    FlowRules,
    RoadArrays,
    SignalArrays,
    TrafficArrays,
)

NEVER = 1e18
STOPPED_AFTER_S = 4.0
"""Who has waited longer than this for the line, or for those before it, has come to a stand [s].

Braking to a standstill and speeding up again costs 4.2 s at 50 km/h, v/2a + v/2b: who loses less only slowed.
"""


@kernel
def _headway(headway: float, size: float, speed: float, spacing: float) -> float:
    """Saturation headway [s]: reaction, own length at the speed of discharge, and what neither explains."""
    return headway + size / max(speed, 1.0) + spacing


@kernel
def _slowing(speed: float, slow: float, rate: float) -> float:
    """Time lost by braking from `speed` to `slow` at `rate`, or by accelerating back [s]: (v - u)² / 2av."""
    if slow >= speed:
        return 0.0
    return (speed - slow) * (speed - slow) / (2.0 * rate * speed)


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
    # numba counts references at each look into a tuple, which costs more than the look itself
    lane_length, lane_room, lane_speed = road.lane_length, road.lane_room, road.lane_speed
    edge_lane, lane_link = road.edge_lane, road.lane_link
    link_from, link_to, link_to_edge = road.link_from, road.link_to, road.link_to_edge
    link_length, link_speed, link_waiting = road.link_length, road.link_speed, road.link_waiting
    link_signal, link_column, link_minor = road.link_signal, road.link_column, road.link_minor
    link_yield, yield_to = road.link_yield, road.yield_to
    depart, route, route_edge = traffic.depart, traffic.route, traffic.route_edge
    size, headway, accel, decel = traffic.size, traffic.headway, traffic.accel, traffic.decel
    speed_factor, max_speed = traffic.speed_factor, traffic.max_speed
    depart_lane, edges, lane_mask = traffic.depart_lane, traffic.edges, traffic.lanes
    first_program, in_force, cycle = signals.program, signals.start, signals.cycle
    offset, first_row, state_of = signals.offset, signals.row, signals.state
    wave, gap, gap_inside, clear = rules.wave, rules.gap, rules.gap_inside, rules.clear
    spacing, lost_start, dawdle = rules.spacing, rules.lost, rules.dawdle

    n_vehicle = depart.shape[0]
    n_lane = lane_length.shape[0]
    n_link = link_from.shape[0]
    n_signal = first_program.shape[0] - 1
    n_edge = edge_lane.shape[0] - 1

    delay = np.zeros(n_vehicle)
    arrive = np.zeros(n_vehicle)  # when it can reach the end of its lane
    entered = np.zeros(n_vehicle)
    step = np.zeros(n_vehicle, np.int64)  # position on the route
    follower = np.full(n_vehicle, -1, np.int64)

    head = np.full(n_lane, -1, np.int64)
    tail = np.full(n_lane, -1, np.int64)
    count = np.zeros(n_lane, np.int64)
    used = np.zeros(n_lane)  # m of queue room in use
    ready = np.full(n_lane, -NEVER)  # when the next one may pass the line after the one before
    entry = np.full(n_lane, -NEVER)  # when the next one may depart on the lane
    blocked = np.zeros(n_lane, np.uint8)  # head could go but finds no room behind the junction
    stopped = np.zeros(n_lane, np.uint8)  # head has been held at the line
    run_up = np.full(n_lane, NEVER)  # m that the next one of a standing queue has to accelerate

    # room on its way back from the head of each lane to its tail
    capacity = np.empty(n_lane + 1, np.int64)
    capacity[0] = 0
    for lane in range(n_lane):
        capacity[lane + 1] = capacity[lane] + 4 + int(lane_room[lane] / 2.0)
    wave_time = np.empty(capacity[n_lane])
    wave_room = np.empty(capacity[n_lane])
    wave_first = np.zeros(n_lane, np.int64)
    wave_count = np.zeros(n_lane, np.int64)

    waiting = np.full(n_link, -1, np.int64)  # head of those inside the junction
    waiting_tail = np.full(n_link, -1, np.int64)
    waiting_count = np.zeros(n_link, np.int64)
    passed = np.full(n_link, -NEVER)

    due = np.full(n_edge, -1, np.int64)  # vehicles waiting to depart, by edge
    due_tail = np.full(n_edge, -1, np.int64)
    next_due = 0

    origins = np.unique(edges[route_edge[:-1]]) if n_vehicle else np.zeros(0, np.int64)
    roomy = np.flatnonzero(link_waiting > 0)

    row = np.zeros(n_signal, np.int64)
    program = first_program[:n_signal].copy()

    for second in range(int(np.ceil(end - begin))):
        now = begin + second
        later = min(now + 1.0, end)
        for s in range(n_signal):
            while program[s] + 1 < first_program[s + 1] and in_force[program[s] + 1] <= now:
                program[s] += 1
            p = program[s]
            row[s] = first_row[p] + int((now - offset[p]) % cycle[p])

        # departures join the queue of their first edge
        while next_due < n_vehicle and depart[next_due] < later:
            v = next_due
            next_due += 1
            e = edges[route_edge[route[v]]]
            if due[e] < 0:
                due[e] = v
            else:
                follower[due_tail[e]] = v
            due_tail[e] = v
        for index in range(origins.shape[0]):
            e = origins[index]
            while due[e] >= 0:
                v = due[e]
                first = route_edge[route[v]]
                e_first, e_last = edge_lane[e], edge_lane[e + 1] - 1
                lane = _departure_lane(e_first, e_last, depart_lane[v], lane_mask[first], count)
                t = max(depart[v], entry[lane])
                if t >= later or not _room(lane_room, used, count, lane, size[v]):
                    break
                t = max(t, now)
                due[e] = follower[v]
                follower[v] = -1
                entry[lane] = t + rules.entry
                delay[v] += t - depart[v]
                speed = min(lane_speed[lane] * speed_factor[v], max_speed[v])
                started = _slowing(speed, 0.0, accel[v])
                delay[v] += started
                entered[v] = t + started
                arrive[v] = entered[v] + lane_length[lane] / speed
                # a lane change on the first edge is free: what matters is the lane that leads on
                lane = _lane_on(e_first, e_last, lane_mask[first], lane_room, size[v], lane, used, count)
                _append(lane, v, head, tail, count, used, follower, size[v])

        # those inside junctions leave when their foes let them
        for index in range(roomy.shape[0]):
            k = roomy[index]
            while waiting[k] >= 0:
                v = waiting[k]
                if arrive[v] >= later:
                    break
                t = max(arrive[v], now, passed[k] + 1.0)
                if t >= later or _must_wait(
                    k,
                    t,
                    gap_inside,
                    clear,
                    link_yield,
                    yield_to,
                    passed,
                    link_signal,
                    state_of,
                    row,
                    link_column,
                    link_from,
                    head,
                    blocked,
                    route_edge,
                    route,
                    step,
                    edges,
                    link_to_edge,
                    arrive,
                    ready,
                    link_minor,
                ):
                    break
                position = route_edge[route[v]] + step[v] + 1
                e = edges[position]
                lane = _lane_on(
                    edge_lane[e],
                    edge_lane[e + 1] - 1,
                    lane_mask[position],
                    lane_room,
                    size[v],
                    link_to[k],
                    used,
                    count,
                )
                if not _room(lane_room, used, count, lane, size[v]):
                    break
                waiting[k] = follower[v]
                follower[v] = -1
                waiting_count[k] -= 1
                passed[k] = t
                if t - arrive[v] > STOPPED_AFTER_S:
                    stops[v] += 1
                lost, inside_s, after = _passage(
                    t - entered[v],
                    lane_length[link_from[k]],
                    min(lane_speed[link_from[k]] * speed_factor[v], max_speed[v]),
                    0.0,
                    link_length[k],
                    min(link_speed[k] * speed_factor[v], max_speed[v]),
                    min(lane_speed[lane] * speed_factor[v], max_speed[v]),
                    accel[v],
                    decel[v],
                    dawdle,
                )
                delay[v] += lost
                link_delay[k] += lost
                link_count[k] += 1
                entered[v] = t + inside_s + after
                arrive[v] = entered[v] + lane_length[lane] / min(
                    lane_speed[lane] * speed_factor[v], max_speed[v]
                )
                step[v] += 1
                _append(lane, v, head, tail, count, used, follower, size[v])

        for index in range(n_lane):
            lane = index if second % 2 == 0 else n_lane - 1 - index
            while wave_count[lane] > 0:
                slot = capacity[lane] + wave_first[lane]
                if wave_time[slot] > now:
                    break
                used[lane] -= wave_room[slot]
                wave_first[lane] = (wave_first[lane] + 1) % (capacity[lane + 1] - capacity[lane])
                wave_count[lane] -= 1
            while head[lane] >= 0:
                v = head[lane]
                t = max(arrive[v], ready[lane])
                if t >= later:
                    break
                blocked[lane] = 0
                first = route_edge[route[v]]
                last = route_edge[route[v] + 1] - 1
                position = first + step[v]
                if position == last:
                    # arrived at the end of its way
                    t = arrive[v]
                    speed = min(lane_speed[lane] * speed_factor[v], max_speed[v])
                    delay[v] += max(0.0, t - entered[v] - lane_length[lane] / speed)
                    step[v] += 1
                    _leave(
                        lane,
                        v,
                        t,
                        wave,
                        head,
                        tail,
                        count,
                        used,
                        follower,
                        size,
                        capacity,
                        wave_time,
                        wave_room,
                        wave_first,
                        wave_count,
                    )
                    stopped[lane] = 0
                    continue
                held = t < now or stopped[lane] == 1
                t = max(t, now)
                if stopped[lane] == 1:
                    run_up[lane] = 0.0
                elif arrive[v] > ready[lane] + 2.0:
                    run_up[lane] = NEVER
                speed = min(lane_speed[lane] * speed_factor[v], max_speed[v])
                if run_up[lane] < 200.0:
                    speed = min(speed, np.sqrt(2.0 * accel[v] * run_up[lane]))
                next_edge = edges[position + 1]
                next_first, next_last = edge_lane[next_edge], edge_lane[next_edge + 1] - 1
                best = -1
                best_lane = -1
                inside = False
                fewest = NEVER
                full = False
                for k in range(lane_link[lane], lane_link[lane + 1]):
                    if link_to_edge[k] != next_edge:
                        continue
                    s = link_signal[k]
                    state = PROTECTED if link_minor[k] == 0 else PERMITTED
                    if s >= 0:
                        state = state_of[row[s], link_column[k]]
                    if state == RED:
                        continue
                    if state >= CLEARING:
                        # goes on only who is closer to the line than it can brake
                        since = t - now + (1.0 if state == CLEARED else 0.0)
                        if held or since > speed / (2.0 * decel[v]):
                            continue
                    if state == STOP_THEN_GO and not held:
                        continue
                    target = _lane_on(
                        next_first,
                        next_last,
                        lane_mask[position + 1],
                        lane_room,
                        size[v],
                        link_to[k],
                        used,
                        count,
                    )
                    if not _room(lane_room, used, count, target, size[v]):
                        full = True
                        continue
                    waits = False
                    if waiting[k] >= 0:
                        waits = True
                    elif state < PROTECTED:
                        waits = _must_wait(
                            k,
                            t,
                            gap,
                            clear,
                            link_yield,
                            yield_to,
                            passed,
                            link_signal,
                            state_of,
                            row,
                            link_column,
                            link_from,
                            head,
                            blocked,
                            route_edge,
                            route,
                            step,
                            edges,
                            link_to_edge,
                            arrive,
                            ready,
                            link_minor,
                        )
                    if waits and (state == STOP_THEN_GO or waiting_count[k] >= link_waiting[k]):
                        continue
                    if count[target] < fewest:
                        fewest = count[target]
                        best = k
                        best_lane = target
                        inside = waits
                if best < 0:
                    if stopped[lane] == 0:
                        while v >= 0 and now - arrive[v] > STOPPED_AFTER_S:
                            stops[v] += 1
                            v = follower[v]
                    stopped[lane] = 1
                    blocked[lane] = 1 if full else 0
                    break
                speed = min(speed, link_speed[best] * speed_factor[v])
                _leave(
                    lane,
                    v,
                    t,
                    wave,
                    head,
                    tail,
                    count,
                    used,
                    follower,
                    size,
                    capacity,
                    wave_time,
                    wave_room,
                    wave_first,
                    wave_count,
                )
                if run_up[lane] < 200.0:
                    # the next one starts from where it stands
                    late = lost_start if run_up[lane] == 0.0 else 0.0
                    run_up[lane] += size[v]
                    pace = min(
                        np.sqrt(2.0 * accel[v] * run_up[lane]),
                        min(lane_speed[lane], link_speed[best]),
                    )
                    ready[lane] = t + _headway(headway[v], size[v], pace, spacing) + late
                else:
                    ready[lane] = t + _headway(headway[v], size[v], speed, spacing)
                stopped[lane] = 0
                if t - arrive[v] > STOPPED_AFTER_S:
                    stops[v] += 1
                if inside:
                    arrive[v] = t + 1.0
                    if waiting[best] < 0:
                        waiting[best] = v
                    else:
                        follower[waiting_tail[best]] = v
                    waiting_tail[best] = v
                    waiting_count[best] += 1
                    continue
                passed[best] = t
                lost, inside_s, after = _passage(
                    t - entered[v],
                    lane_length[lane],
                    min(lane_speed[lane] * speed_factor[v], max_speed[v]),
                    speed,
                    link_length[best],
                    min(link_speed[best] * speed_factor[v], max_speed[v]),
                    min(lane_speed[best_lane] * speed_factor[v], max_speed[v]),
                    accel[v],
                    decel[v],
                    dawdle,
                )
                delay[v] += lost
                link_delay[best] += lost
                link_count[best] += 1
                entered[v] = t + inside_s + after
                arrive[v] = entered[v] + lane_length[best_lane] / min(
                    lane_speed[best_lane] * speed_factor[v], max_speed[v]
                )
                step[v] += 1
                _append(best_lane, v, head, tail, count, used, follower, size[v])

    _charge_the_rest(
        road, traffic, end, next_due, due, follower, head, waiting, entered, arrive, delay, stops
    )
    return delay


@kernel
def _room(lane_room: F8, used: F8, count: I8, lane: int, size: float) -> bool:
    """Whether a lane takes one more vehicle; an empty lane always does, however short."""
    return bool(count[lane] == 0 or used[lane] + size <= lane_room[lane])


@kernel
def _append(lane: int, v: int, head: I8, tail: I8, count: I8, used: F8, follower: I8, size: float) -> None:
    if head[lane] < 0:
        head[lane] = v
    else:
        follower[tail[lane]] = v
    tail[lane] = v
    count[lane] += 1
    used[lane] += size


@kernel
def _leave(
    lane: int,
    v: int,
    t: float,
    wave: float,
    head: I8,
    tail: I8,
    count: I8,
    used: F8,
    follower: I8,
    size: F8,
    capacity: I8,
    wave_time: F8,
    wave_room: F8,
    wave_first: I8,
    wave_count: I8,
) -> None:
    """Take the head off a lane; its room reaches the tail when the wave has run along the queue."""
    head[lane] = follower[v]
    follower[v] = -1
    if head[lane] < 0:
        tail[lane] = -1
    count[lane] -= 1
    n = capacity[lane + 1] - capacity[lane]
    if wave_count[lane] >= n:
        used[lane] -= size[v]
        return
    slot = capacity[lane] + (wave_first[lane] + wave_count[lane]) % n
    wave_time[slot] = t + used[lane] / wave
    wave_room[slot] = size[v]
    wave_count[lane] += 1


@kernel
def _departure_lane(first: int, last: int, wish: int, mask: int, count: I8) -> int:
    if wish >= 0:
        return min(first + wish, last)
    best = first
    fewest = NEVER
    for lane in range(first, last + 1):
        if (mask >> (lane - first)) & 1 and count[lane] < fewest:
            fewest = float(count[lane])
            best = lane
    return best


@kernel
def _lane_on(
    first: int, last: int, mask: int, lane_room: F8, size: float, entry: int, used: F8, count: I8
) -> int:
    """Lane of an edge that a vehicle queues on: leads on along its route, and is the emptiest.

    Staying in the lane of entry wins ties; each lane change costs a little.
    """
    best = entry
    fewest = NEVER
    for lane in range(first, last + 1):
        if not (mask >> (lane - first)) & 1:
            continue
        cost = float(count[lane]) + 0.6 * abs(lane - entry)
        if not _room(lane_room, used, count, lane, size):
            cost += 1000.0
        if cost < fewest:
            fewest = cost
            best = lane
    return best


@kernel
def _must_wait(
    k: int,
    t: float,
    need: float,
    clear: float,
    link_yield: I8,
    yield_to: I8,
    passed: F8,
    link_signal: I8,
    state_of: U1,
    row: I8,
    link_column: I8,
    link_from: I8,
    head: I8,
    blocked: U1,
    route_edge: I8,
    route: I8,
    step: I8,
    edges: I8,
    link_to_edge: I8,
    arrive: F8,
    ready: F8,
    link_minor: U1,
) -> bool:
    """Whether somebody with priority over link k passes less than `clear` before or `need` after time t."""
    for j in range(link_yield[k], link_yield[k + 1]):
        foe = yield_to[j]
        if t - passed[foe] < clear:
            return True
        s = link_signal[foe]
        if s >= 0:
            state = state_of[row[s], link_column[foe]]
            if state == RED or state == STOP_THEN_GO:
                continue
            if state == PERMITTED and s == link_signal[k] and _gives_way(link_yield, yield_to, foe, k):
                continue
        lane = link_from[foe]
        v = head[lane]
        if v < 0 or blocked[lane] == 1:
            continue
        position = route_edge[route[v]] + step[v] + 1
        if position >= route_edge[route[v] + 1] or edges[position] != link_to_edge[foe]:
            continue
        p = max(arrive[v], ready[lane])
        if s < 0 and link_minor[foe] == 1 and p < t - 1.0:
            continue
        if p < t + need:
            return True
    return False


@kernel
def _gives_way(link_yield: I8, yield_to: I8, k: int, other: int) -> bool:
    for j in range(link_yield[k], link_yield[k + 1]):
        if yield_to[j] == other:
            return True
    return False


@kernel
def _passage(
    spent: float,
    length: float,
    speed_before: float,
    pace: float,
    inside_length: float,
    inside_speed: float,
    speed_after: float,
    accel: float,
    decel: float,
    dawdle: float,
) -> tuple[float, float, float]:
    """What passing a junction costs: time lost up to and behind it, time inside, time to speed up again [s].

    `spent` is the time since the vehicle entered the lane before, `pace` its speed at the line.
    """
    expected = length / speed_before
    waited = max(0.0, spent - expected)
    after = _slowing(speed_after, pace, accel)
    lost = waited + after + dawdle * expected
    if waited < 1.0:
        lost += _slowing(speed_before, pace, decel)
    return lost, inside_length / max(inside_speed, 0.5), after


@kernel
def _charge_the_rest(
    road: RoadArrays,
    traffic: TrafficArrays,
    end: float,
    next_due: int,
    due: I8,
    follower: I8,
    head: I8,
    waiting: I8,
    entered: F8,
    arrive: F8,
    delay: F8,
    stops: I8,
) -> None:
    """Charge vehicles that are still on their way at the end with what they have lost so far, stops as well."""
    for v in range(next_due, traffic.depart.shape[0]):
        delay[v] = max(0.0, end - traffic.depart[v])
    for e in range(due.shape[0]):
        v = due[e]
        while v >= 0:
            delay[v] = end - traffic.depart[v]
            v = follower[v]
    for lane in range(head.shape[0]):
        v = head[lane]
        while v >= 0:
            speed = min(road.lane_speed[lane] * traffic.speed_factor[v], traffic.max_speed[v])
            delay[v] += max(0.0, end - entered[v] - road.lane_length[lane] / speed)
            if end - arrive[v] > STOPPED_AFTER_S:
                stops[v] += 1
            v = follower[v]
    for k in range(waiting.shape[0]):
        v = waiting[k]
        while v >= 0:
            lane = road.link_from[k]
            speed = min(road.lane_speed[lane] * traffic.speed_factor[v], traffic.max_speed[v])
            delay[v] += max(0.0, end - entered[v] - road.lane_length[lane] / speed)
            if end - arrive[v] > STOPPED_AFTER_S:
                stops[v] += 1
            v = follower[v]
