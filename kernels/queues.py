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
    FlowRules,
    RoadArrays,
    SignalArrays,
    U1,
    TrafficArrays,
)

NEVER = 1e18


@kernel
def _headway(rules: FlowRules, headway: float, size: float, speed: float) -> float:
    """Saturation headway [s]: reaction, own length at the speed of discharge, and what neither explains."""
    return headway + size / max(speed, 1.0) + rules.spacing


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
) -> F8:
    """Delay of every vehicle due [s], with vehicles unfinished or never inserted at `end` charged so far.

    Parameters
    ----------
    road, traffic, signals, rules : see `kernels.arrays`
    begin, end : float, s
    link_delay : float64[n_link], veh-s lost before each link; added to
    link_count : int64[n_link], vehicles that passed each link; added to

    Returns
    -------
    float64[n_vehicle]
    """
    n_vehicle = traffic.depart.shape[0]
    n_lane = road.lane_length.shape[0]
    n_link = road.link_from.shape[0]
    n_signal = signals.program.shape[0] - 1
    n_edge = road.edge_lane.shape[0] - 1

    delay = np.zeros(n_vehicle)
    free = np.zeros(n_vehicle)  # free-flow time of the way behind each vehicle
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
        capacity[lane + 1] = capacity[lane] + 4 + int(road.lane_room[lane] / 2.0)
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

    row = np.zeros(n_signal, np.int64)
    program = signals.program[:n_signal].copy()

    for second in range(int(np.ceil(end - begin))):
        now = begin + second
        later = min(now + 1.0, end)
        for s in range(n_signal):
            while program[s] + 1 < signals.program[s + 1] and signals.start[program[s] + 1] <= now:
                program[s] += 1
            p = program[s]
            row[s] = signals.row[p] + int((now - signals.offset[p]) % signals.cycle[p])

        # departures join the queue of their first edge
        while next_due < n_vehicle and traffic.depart[next_due] < later:
            v = next_due
            next_due += 1
            e = traffic.edges[traffic.route_edge[traffic.route[v]]]
            if due[e] < 0:
                due[e] = v
            else:
                follower[due_tail[e]] = v
            due_tail[e] = v
        for e in range(n_edge):
            while due[e] >= 0:
                v = due[e]
                first = traffic.route_edge[traffic.route[v]]
                lane = _departure_lane(road, traffic, v, first, count)
                t = max(traffic.depart[v], entry[lane])
                if t >= later or not _room(road, used, count, lane, traffic.size[v]):
                    break
                t = max(t, now) if t < now else t
                due[e] = follower[v]
                follower[v] = -1
                entry[lane] = t + rules.entry
                delay[v] += t - traffic.depart[v]
                speed = min(road.lane_speed[lane] * traffic.speed_factor[v], traffic.max_speed[v])
                entered[v] = t
                start = _slowing(speed, 0.0, traffic.accel[v])
                delay[v] += start
                entered[v] += start
                arrive[v] = entered[v] + road.lane_length[lane] / speed
                # a lane change on the first edge is free: what matters is the lane that leads on
                lane = _lane_on(road, traffic, v, first, lane, used, count)
                _append(lane, v, head, tail, count, used, follower, traffic.size[v])

        # those inside junctions leave when their foes let them
        for k in range(n_link):
            while waiting[k] >= 0:
                v = waiting[k]
                if arrive[v] >= later:
                    break
                t = max(arrive[v], now, passed[k] + 1.0)
                if t >= later or _must_wait(
                    road, traffic, signals, rules, k, t, head, arrive, ready, step, passed, blocked, row, True
                ):
                    break
                lane = _lane_on(
                    road, traffic, v, traffic.route_edge[traffic.route[v]] + step[v] + 1, road.link_to[k], used, count
                )
                if not _room(road, used, count, lane, traffic.size[v]):
                    break
                waiting[k] = follower[v]
                follower[v] = -1
                waiting_count[k] -= 1
                passed[k] = t
                _enter(
                    road, traffic, rules, v, k, lane, t, 0.0, arrive, entered, step, free, delay, link_delay, link_count
                )
                _append(lane, v, head, tail, count, used, follower, traffic.size[v])

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
                first = traffic.route_edge[traffic.route[v]]
                last = traffic.route_edge[traffic.route[v] + 1] - 1
                position = first + step[v]
                if position == last:
                    # arrived at the end of its way
                    t = arrive[v]
                    speed = min(road.lane_speed[lane] * traffic.speed_factor[v], traffic.max_speed[v])
                    free[v] += road.lane_length[lane] / speed
                    delay[v] += max(0.0, t - entered[v] - road.lane_length[lane] / speed)
                    step[v] += 1
                    _leave(
                        lane, v, t, rules.wave, head, tail, count, used, follower, traffic.size,
                        capacity, wave_time, wave_room, wave_first, wave_count,
                    )
                    stopped[lane] = 0
                    continue
                held = t < now or stopped[lane] == 1
                t = max(t, now)
                if stopped[lane] == 1:
                    run_up[lane] = 0.0
                elif arrive[v] > ready[lane] + 2.0:
                    run_up[lane] = NEVER
                speed = min(road.lane_speed[lane] * traffic.speed_factor[v], traffic.max_speed[v])
                if run_up[lane] < 200.0:
                    speed = min(speed, np.sqrt(2.0 * traffic.accel[v] * run_up[lane]))
                next_edge = traffic.edges[position + 1]
                best = -1
                best_lane = -1
                inside = False
                fewest = NEVER
                full = False
                for k in range(road.lane_link[lane], road.lane_link[lane + 1]):
                    if road.link_to_edge[k] != next_edge:
                        continue
                    s = road.link_signal[k]
                    state = PROTECTED if road.link_minor[k] == 0 else PERMITTED
                    if s >= 0:
                        state = signals.state[row[s], road.link_column[k]]
                    if state == RED:
                        continue
                    if state >= CLEARING:
                        # goes on only who is closer to the line than it can brake
                        since = t - now + (1.0 if state == CLEARED else 0.0)
                        if held or since > speed / (2.0 * traffic.decel[v]):
                            continue
                    if state == STOP_THEN_GO and not held:
                        continue
                    target = _lane_on(road, traffic, v, position + 1, road.link_to[k], used, count)
                    if not _room(road, used, count, target, traffic.size[v]):
                        full = True
                        continue
                    waits = False
                    if waiting[k] >= 0:
                        waits = True
                    elif state < PROTECTED:
                        waits = _must_wait(
                            road, traffic, signals, rules, k, t, head, arrive, ready, step, passed, blocked, row, False
                        )
                    if waits and (state == STOP_THEN_GO or waiting_count[k] >= road.link_waiting[k]):
                        continue
                    if count[target] < fewest:
                        fewest = count[target]
                        best = k
                        best_lane = target
                        inside = waits
                if best < 0:
                    stopped[lane] = 1
                    blocked[lane] = 1 if full else 0
                    break
                speed = min(speed, road.link_speed[best] * traffic.speed_factor[v])
                _leave(
                    lane, v, t, rules.wave, head, tail, count, used, follower, traffic.size,
                    capacity, wave_time, wave_room, wave_first, wave_count,
                )
                if run_up[lane] < 200.0:
                    # the next one starts from where it stands
                    if run_up[lane] == 0.0:
                        t_lost = rules.lost
                    else:
                        t_lost = 0.0
                    run_up[lane] += traffic.size[v]
                    pace = min(
                        np.sqrt(2.0 * traffic.accel[v] * run_up[lane]),
                        min(road.lane_speed[lane], road.link_speed[best]),
                    )
                    ready[lane] = t + _headway(rules, traffic.headway[v], traffic.size[v], pace) + t_lost
                else:
                    ready[lane] = t + _headway(rules, traffic.headway[v], traffic.size[v], speed)
                stopped[lane] = 0
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
                _enter(
                    road, traffic, rules, v, best, best_lane, t, speed,
                    arrive, entered, step, free, delay, link_delay, link_count,
                )
                _append(best_lane, v, head, tail, count, used, follower, traffic.size[v])

    _charge_the_rest(road, traffic, end, next_due, due, follower, head, waiting, entered, delay)
    return delay


@kernel
def _room(road: RoadArrays, used: F8, count: I8, lane: int, size: float) -> bool:
    """Whether a lane takes one more vehicle; an empty lane always does, however short."""
    return count[lane] == 0 or used[lane] + size <= road.lane_room[lane]


@kernel
def _append(
    lane: int, v: int, head: I8, tail: I8, count: I8, used: F8, follower: I8, size: float
) -> None:
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
def _departure_lane(road: RoadArrays, traffic: TrafficArrays, v: int, position: int, count: I8) -> int:
    e = traffic.edges[position]
    first, last = road.edge_lane[e], road.edge_lane[e + 1] - 1
    wish = traffic.depart_lane[v]
    if wish >= 0:
        return min(first + wish, last)
    lanes = traffic.lanes[position]
    best = first
    fewest = NEVER
    for lane in range(first, last + 1):
        if (lanes >> (lane - first)) & 1 and count[lane] < fewest:
            fewest = count[lane]
            best = lane
    return best


@kernel
def _lane_on(
    road: RoadArrays, traffic: TrafficArrays, v: int, position: int, entry: int, used: F8, count: I8
) -> int:
    """Lane of the next edge that a vehicle queues on: leads on along its route, and is the emptiest.

    Staying in the lane of entry wins ties; each lane change costs a little.
    """
    e = traffic.edges[position]
    first, last = road.edge_lane[e], road.edge_lane[e + 1] - 1
    lanes = traffic.lanes[position]
    best = entry
    fewest = NEVER
    for lane in range(first, last + 1):
        if not (lanes >> (lane - first)) & 1:
            continue
        cost = float(count[lane]) + 0.6 * abs(lane - entry)
        if not _room(road, used, count, lane, traffic.size[v]):
            cost += 1000.0
        if cost < fewest:
            fewest = cost
            best = lane
    return best


@kernel
def _must_wait(
    road: RoadArrays,
    traffic: TrafficArrays,
    signals: SignalArrays,
    rules: FlowRules,
    k: int,
    t: float,
    head: I8,
    arrive: F8,
    ready: F8,
    step: I8,
    passed: F8,
    blocked: U1,
    row: I8,
    inside: bool,
) -> bool:
    """Whether somebody with priority over link k passes too soon before or after time t."""
    need = rules.gap
    if inside:
        need = rules.gap_inside
    for j in range(road.link_yield[k], road.link_yield[k + 1]):
        foe = road.yield_to[j]
        if t - passed[foe] < rules.clear:
            return True
        s = road.link_signal[foe]
        if s >= 0:
            state = signals.state[row[s], road.link_column[foe]]
            if state == RED or state == STOP_THEN_GO:
                continue
            if state == PERMITTED and s == road.link_signal[k] and _gives_way(road, foe, k):
                continue
        lane = road.link_from[foe]
        v = head[lane]
        if v < 0 or blocked[lane] == 1:
            continue
        position = traffic.route_edge[traffic.route[v]] + step[v] + 1
        if position >= traffic.route_edge[traffic.route[v] + 1]:
            continue
        if traffic.edges[position] != road.link_to_edge[foe]:
            continue
        p = max(arrive[v], ready[lane])
        if s < 0 and road.link_minor[foe] == 1 and p < t - 1.0:
            continue
        if p < t + need:
            return True
    return False


@kernel
def _gives_way(road: RoadArrays, k: int, other: int) -> bool:
    for j in range(road.link_yield[k], road.link_yield[k + 1]):
        if road.yield_to[j] == other:
            return True
    return False


@kernel
def _enter(
    road: RoadArrays,
    traffic: TrafficArrays,
    rules: FlowRules,
    v: int,
    k: int,
    lane: int,
    t: float,
    pace: float,
    arrive: F8,
    entered: F8,
    step: I8,
    free: F8,
    delay: F8,
    link_delay: F8,
    link_count: I8,
) -> None:
    """Pass link k at time t and speed `pace` onto a lane: book what was lost, and when the next line is reached."""
    old = road.link_from[k]
    factor = traffic.speed_factor[v]
    old_speed = min(road.lane_speed[old] * factor, traffic.max_speed[v])
    expected = road.lane_length[old] / old_speed
    waited = max(0.0, t - entered[v] - expected)
    inside_speed = min(road.link_speed[k] * factor, traffic.max_speed[v])
    speed = min(road.lane_speed[lane] * factor, traffic.max_speed[v])
    inside = road.link_length[k] / max(inside_speed, 0.5)
    after = _slowing(speed, pace, traffic.accel[v])
    lost = waited + after + rules.dawdle * expected
    if waited < 1.0:
        lost += _slowing(old_speed, pace, traffic.decel[v])
    delay[v] += lost
    link_delay[k] += lost
    link_count[k] += 1
    free[v] += expected + inside
    entered[v] = t + inside + after
    arrive[v] = entered[v] + road.lane_length[lane] / speed
    step[v] += 1


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
    delay: F8,
) -> None:
    """Charge vehicles that are still on their way at the end with what they have lost so far."""
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
            v = follower[v]
    for k in range(waiting.shape[0]):
        v = waiting[k]
        while v >= 0:
            lane = road.link_from[k]
            speed = min(road.lane_speed[lane] * traffic.speed_factor[v], traffic.max_speed[v])
            delay[v] += max(0.0, end - entered[v] - road.lane_length[lane] / speed)
            v = follower[v]
