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
    LONG_RUN_UP_M,
    NEVER,
    Notes,
    blank_notes,
    departure_lane,
    drive,
    feel_waves,
    has_room,
    lane_on,
    lane_rows,
    leave,
    next_awake,
    slowing,
    speed_at_line,
    vehicle_rows,
)
from kernels.lights import Lights, held_for, lay_lights, next_rows, shown, stays_for

STOPPED_AFTER_S = 4.0
"""Who has waited longer than this for the line, or for those before it, has come to a stand [s].

Braking to a standstill and speeding up again costs 4.2 s at 50 km/h, v/2a + v/2b: who loses less only slowed.
"""


class Scene(NamedTuple):
    """All that a simulation reads and writes."""

    road: RoadArrays
    traffic: TrafficArrays
    signals: SignalArrays
    rules: FlowRules
    lights: Lights
    vehicles: Rows
    lanes: Rows
    links: Rows
    notes: Notes
    delay: F8
    link_delay: F8
    link_count: I8
    stops: I8


class Clock(NamedTuple):
    """One second: it lasts from `now` until `later` [s]; waves due `before` have been felt everywhere.

    Lanes are looked at forth in one second and back in the next; `soon` is when the next one begins.
    """

    second: int
    now: float
    later: float
    before: float
    soon: float
    forth: bool


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
    vehicles, lanes, links = vehicle_rows(traffic), lane_rows(road), link_rows(road)
    delay = np.zeros(traffic.depart.shape[0])
    lights, notes = lay_lights(signals), blank_notes(road, lanes)
    scene = Scene(
        road,
        traffic,
        signals,
        rules,
        lights,
        vehicles,
        lanes,
        links,
        notes,
        delay,
        link_delay,
        link_count,
        stops,
    )
    next_due = run(scene, begin, end)
    _charge_the_rest(scene, end, next_due)
    return delay


@part
def run(scene: Scene, begin: float, end: float) -> int:
    """Let it all move from begin to end; the first vehicle that isn't due by then."""
    next_due, n_origin, n_inside, next_cycle = 0, 0, 0, 0
    wake, soonest = scene.notes.wake, scene.notes.soonest
    for second in range(int(np.ceil(end - begin))):
        now = begin + second
        clock = Clock(
            second, now, min(now + 1.0, end), begin + (second - 1), begin + (second + 1), second % 2 == 0
        )
        if next_cycle <= second:
            next_cycle = next_rows(second, now, scene.signals, scene.lights)
        next_due, n_origin = _come_due(scene, clock, next_due, n_origin)
        n_origin = _depart(scene, clock, n_origin)
        if n_inside > 0:
            n_inside -= _clear_junctions(scene, clock)
        lane = -1 if clock.forth else scene.lanes.shape[0]
        while True:
            lane = next_awake(lane, clock.forth, clock.later, wake, soonest)
            if lane < 0:
                break
            n_inside += _look_at(scene, clock, lane)
    return next_due


@part
def _come_due(scene: Scene, clock: Clock, next_due: int, n_origin: int) -> tuple[int, int]:
    """Have those whose departure is due wait for it at their first edge."""
    depart, notes, vehicles = scene.traffic.depart, scene.notes, scene.vehicles
    while next_due < depart.shape[0] and depart[next_due] < clock.later:
        v = next_due
        next_due += 1
        e = scene.traffic.edges[vehicles[v].at]
        if notes.due[e] < 0:
            notes.due[e] = v
            notes.origins[n_origin] = e
            n_origin += 1
        else:
            vehicles[notes.due_last[e]].behind = v
        notes.due_last[e] = v
    return next_due, n_origin


@part
def _depart(scene: Scene, clock: Clock, n_origin: int) -> int:
    """Let those depart who find room on their first edge; how many edges still have somebody waiting."""
    traffic, notes, vehicles, lanes = scene.traffic, scene.notes, scene.vehicles, scene.lanes
    due = notes.due
    for index in range(n_origin - 1, -1, -1):
        e = notes.origins[index]
        first, last = scene.road.edge_lane[e], scene.road.edge_lane[e + 1] - 1
        for lane in range(first, last + 1):
            feel_waves(lane, clock.before, lanes, notes.wave_time, notes.wave_room)
        while due[e] >= 0:
            v = due[e]
            mask = traffic.lanes[vehicles[v].at]
            lane = departure_lane(first, last, traffic.depart_lane[v], mask, lanes)
            t = max(traffic.depart[v], lanes[lane].entry)
            if t >= clock.later or not has_room(lanes, lane, vehicles[v].space):
                break
            t = max(t, clock.now)
            due[e] = vehicles[v].behind
            vehicles[v].behind = -1
            lanes[lane].entry = t + scene.rules.entry
            scene.delay[v] += t - traffic.depart[v]
            pace = min(lanes[lane].speed * vehicles[v].factor, vehicles[v].max_speed)
            started = slowing(pace, 0.0, vehicles[v].accel)
            scene.delay[v] += started
            # a lane change on the first edge is free: what matters is the lane that leads on
            lane = lane_on(first, last, mask, vehicles[v].space, lane, lanes)
            drive(lane, v, t + started, vehicles, lanes, notes.wake, notes.soonest)
        if due[e] < 0:
            n_origin -= 1
            notes.origins[index] = notes.origins[n_origin]
    return n_origin


@part
def _clear_junctions(scene: Scene, clock: Clock) -> int:
    """Let those inside junctions leave whose foes let them; how many did."""
    notes, vehicles, lanes, links = scene.notes, scene.vehicles, scene.lanes, scene.links
    left = 0
    for index in range(notes.roomy.shape[0]):
        k = notes.roomy[index]
        while links[k].first_waiting >= 0:
            v = links[k].first_waiting
            if vehicles[v].arrive >= clock.later:
                break
            t = max(vehicles[v].arrive, clock.now, links[k].passed + 1.0)
            if t >= clock.later or _must_wait(scene, clock, k, t, scene.rules.gap_inside):
                break
            position = vehicles[v].at + 1
            e = scene.traffic.edges[position]
            first, last = scene.road.edge_lane[e], scene.road.edge_lane[e + 1] - 1
            for lane in range(first, last + 1):
                feel_waves(lane, clock.before, lanes, notes.wave_time, notes.wave_room)
            mask, size = scene.traffic.lanes[position], vehicles[v].space
            lane = lane_on(first, last, mask, size, links[k].to_lane, lanes)
            if not has_room(lanes, lane, size):
                break
            links[k].first_waiting = vehicles[v].behind
            vehicles[v].behind = -1
            links[k].waiting -= 1
            left += 1
            if t - vehicles[v].arrive > STOPPED_AFTER_S:
                scene.stops[v] += 1
            _pass(scene, k, v, t, 0.0, lane)
    return left


@part
def _look_at(scene: Scene, clock: Clock, lane: int) -> int:
    """Let those pass the line of a lane who can this second; how many now wait inside the junction."""
    notes, vehicles, lanes = scene.notes, scene.vehicles, scene.lanes
    feel_waves(lane, clock.now, lanes, notes.wave_time, notes.wave_room)
    notes.wake[lane] = NEVER
    entered = 0
    while lanes[lane].head >= 0:
        v = lanes[lane].head
        t = max(vehicles[v].arrive, lanes[lane].ready)
        if t >= clock.later:
            notes.wake[lane] = t
            break
        lanes[lane].blocked = 0
        if vehicles[v].at == vehicles[v].last_at:
            _arrive(scene, clock, lane, v)
            continue
        held = t < clock.now or lanes[lane].stopped == 1
        t = max(t, clock.now)
        speed = speed_at_line(lane, v, vehicles, lanes)
        link, target, inside, full, again = _choose_link(scene, clock, lane, v, t, speed, held)
        if link < 0:
            _hold(scene, clock, lane, v)
            lanes[lane].blocked = 1 if full else 0
            notes.wake[lane] = again
            break
        _cross_line(scene, clock, lane, v, t, speed, link)
        if inside:
            _wait_inside(link, v, t, vehicles, scene.links)
            entered += 1
        else:
            _pass(scene, link, v, t, min(speed, scene.links[link].inside_speed * vehicles[v].factor), target)
    return entered


@part
def _arrive(scene: Scene, clock: Clock, lane: int, v: int) -> None:
    """Take vehicle v, whose route ends on this lane, off it."""
    vehicles, notes = scene.vehicles, scene.notes
    arrive = vehicles[v].arrive
    scene.delay[v] += max(0.0, arrive - vehicles[v].entered - vehicles[v].free)
    vehicles[v].at += 1
    leave(
        lane, v, arrive, clock.soon, scene.rules.wave, vehicles, scene.lanes, notes.wave_time, notes.wave_room
    )
    scene.lanes[lane].stopped = 0


@part
def _choose_link(
    scene: Scene, clock: Clock, lane: int, v: int, t: float, speed: float, held: bool
) -> tuple[int, int, bool, bool, float]:
    """Link by which the head v passes the line at time t, into the emptiest lane; -1 if none lets it.

    Also the lane that it comes to, whether it waits inside the junction first, whether a link had no room behind
    it, and the time up to which nothing can change if none lets it [s].
    """
    lanes, links, notes, lights = scene.lanes, scene.links, scene.notes, scene.lights
    position, size = scene.vehicles[v].at + 1, scene.vehicles[v].space
    next_edge, mask = scene.traffic.edges[position], scene.traffic.lanes[position]
    first, last = scene.road.edge_lane[next_edge], scene.road.edge_lane[next_edge + 1] - 1
    best, best_lane, inside, full, only_red = -1, -1, False, False, True
    fewest = again = NEVER
    for k in range(lanes[lane].first_link, lanes[lane].end_link):
        if links[k].to_edge != next_edge:
            continue
        state = shown(k, clock.second, lights, links)
        lets_go = state != RED
        if state >= CLEARING:
            # goes on only who is closer to the line than it can brake
            since = t - clock.now + (1.0 if state == CLEARED else 0.0)
            lets_go = not held and since <= speed / (2.0 * scene.vehicles[v].decel)
        if not lets_go:
            again = min(again, clock.now + held_for(k, clock.second, lights, links))
            continue
        if only_red:
            only_red = False
            for other in range(first, last + 1):
                # lanes looked at before this one have felt what was due by now
                felt = clock.now if (other < lane) == clock.forth else clock.before
                feel_waves(other, felt, lanes, notes.wave_time, notes.wave_room)
        if state == STOP_THEN_GO and not held:
            again = clock.now
            continue
        target = lane_on(first, last, mask, size, links[k].to_lane, lanes)
        if not has_room(lanes, target, size):
            full = True
            again = min(again, clock.now + stays_for(k, clock.second, lights, links))
            for other in range(first, last + 1):
                # room comes by a wave that is on its way, or when somebody leaves
                if (mask >> (other - first)) & 1 or other == target:
                    comes = min(lanes[other].next_wave, notes.wake[other])
                    again = min(again, comes if other != lane else clock.now)
            continue
        waits = links[k].first_waiting >= 0
        if not waits and state < PROTECTED:
            waits = _must_wait(scene, clock, k, t, scene.rules.gap)
        if waits and (state == STOP_THEN_GO or links[k].waiting >= links[k].waiting_room):
            again = clock.now
            continue
        if lanes[target].count < fewest:
            fewest = float(lanes[target].count)
            best, best_lane, inside = k, target, waits
    return best, best_lane, inside, full, again


@part
def _must_wait(scene: Scene, clock: Clock, k: int, t: float, need: float) -> bool:
    return must_wait(
        k,
        t,
        need,
        scene.rules.clear,
        clock.second,
        scene.lights,
        scene.vehicles,
        scene.lanes,
        scene.links,
        scene.road.yield_to,
        scene.traffic.edges,
    )


@part
def _hold(scene: Scene, clock: Clock, lane: int, v: int) -> None:
    """Keep the head v at the line: those who have waited long come to a stand."""
    if scene.lanes[lane].stopped == 0:
        while v >= 0 and clock.now - scene.vehicles[v].arrive > STOPPED_AFTER_S:
            scene.stops[v] += 1
            v = scene.vehicles[v].behind
    scene.lanes[lane].stopped = 1


@part
def _cross_line(scene: Scene, clock: Clock, lane: int, v: int, t: float, speed: float, link: int) -> None:
    """Take the head v off its lane at time t; the next one follows a saturation headway later."""
    vehicles, lanes, notes = scene.vehicles, scene.lanes, scene.notes
    size, inside_speed = vehicles[v].space, scene.links[link].inside_speed
    leave(lane, v, t, clock.soon, scene.rules.wave, vehicles, lanes, notes.wave_time, notes.wave_room)
    pace, late = min(speed, inside_speed * vehicles[v].factor), 0.0
    if lanes[lane].run_up < LONG_RUN_UP_M:
        # the next one starts from where it stands
        late = scene.rules.lost if lanes[lane].run_up == 0.0 else 0.0
        lanes[lane].run_up += size
        run_up = np.sqrt(2.0 * vehicles[v].accel * lanes[lane].run_up)
        pace = min(run_up, min(lanes[lane].speed, inside_speed))
    lanes[lane].ready = t + _headway(vehicles[v].headway, size, pace, scene.rules.spacing) + late
    lanes[lane].stopped = 0
    if t - vehicles[v].arrive > STOPPED_AFTER_S:
        scene.stops[v] += 1


@part
def _wait_inside(k: int, v: int, t: float, vehicles: Rows, links: Rows) -> None:
    """Put vehicle v behind those who wait inside the junction on link k."""
    vehicles[v].arrive = t + 1.0
    if links[k].first_waiting < 0:
        links[k].first_waiting = v
    else:
        vehicles[links[k].last_waiting].behind = v
    links[k].last_waiting = v
    links[k].waiting += 1


@part
def _headway(headway: float, size: float, speed: float, spacing: float) -> float:
    """Saturation headway [s]: reaction, own length at the speed of discharge, and what neither explains."""
    return headway + size / max(speed, 1.0) + spacing


@part
def _pass(scene: Scene, k: int, v: int, t: float, pace: float, lane: int) -> None:
    """Move vehicle v over link k to a lane, at speed `pace` at the line, and charge what it lost up to there."""
    vehicles, lanes, links = scene.vehicles, scene.lanes, scene.links
    links[k].passed = t
    before, expected = vehicles[v].pace, vehicles[v].free
    waited = max(0.0, t - vehicles[v].entered - expected)
    factor, fastest = vehicles[v].factor, vehicles[v].max_speed
    after = slowing(min(lanes[lane].speed * factor, fastest), pace, vehicles[v].accel)
    lost = waited + after + scene.rules.dawdle * expected
    if waited < 1.0:
        lost += slowing(before, pace, vehicles[v].decel)
    inside = links[k].inside_length / max(min(links[k].inside_speed * factor, fastest), 0.5)
    vehicles[v].at += 1
    drive(lane, v, t + inside + after, vehicles, lanes, scene.notes.wake, scene.notes.soonest)
    scene.delay[v] += lost
    scene.link_delay[k] += lost
    scene.link_count[k] += 1


@part
def _charge_the_rest(scene: Scene, end: float, next_due: int) -> None:
    """Charge vehicles that are still on their way at the end with what they have lost so far, stops as well."""
    vehicles, lanes, links, delay, stops = scene.vehicles, scene.lanes, scene.links, scene.delay, scene.stops
    depart, due = scene.traffic.depart, scene.notes.due
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
