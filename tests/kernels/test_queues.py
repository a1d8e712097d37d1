"""The queue simulator: compiled = plain = by hand; vehicles conserved; it discharges and blocks as SUMO does."""

from __future__ import annotations

import importlib.util
import itertools
import math
import random
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import spearmanr

from kernels import gaps, lanes, queues
from kernels._jit import JIT_ENABLED, plain
from kernels.arrays import (
    CLEARED,
    CLEARING,
    PERMITTED,
    PROTECTED,
    RED,
    STOP_THEN_GO,
    FlowRules,
    RoadArrays,
    SignalArrays,
    TrafficArrays,
)
from kernels.lights import lay_lights
from signals.formats.sumo.binaries import find_binary, sumo_environment
from signals.formats.sumo.config import Scenario, read_scenario
from signals.formats.sumo.demand import read_demand
from signals.formats.sumo.network import read_network
from signals.formats.sumo.programs import write_plans
from signals.formats.sumo.xml import elements
from signals.model.network import Network
from signals.model.phasing import SignalProgram
from signals.model.plan import PlanRequest, PlanSet, TimingPlan
from signals.simulation.run import RunSpec, simulate_many
from signals.timing.pack import FLOW_RULES, pack_road, pack_signals, pack_traffic
from signals.timing.stages import program_of, stage_plan
from sumo_nets import find_network

VERSIONS = ["compiled", "plain"]
SPEED_MPS = 13.89
"""50 km/h, the speed at which SUMO's discharge was measured."""
SIZE_M = 7.5
"""Length and gap of SUMO's default passenger car."""
AT_ONCE = 1e12
"""Acceleration [m/s²] with which speeding up and braking cost nothing that a test could see."""
IDEAL = FlowRules(
    lost=0.0, spacing=0.0, gap=2.75, gap_inside=1.28, clear=1.01, wave=5.25, entry=0.0, dawdle=0.0
)
"""Drivers without any loss, for results by hand."""


@dataclass
class Link:
    """A path from a lane to a lane, both counted over all edges."""

    start: int
    end: int
    speed_mps: float = SPEED_MPS
    length_m: float = 0.0
    waiting: int = 0
    signal: int = -1
    column: int = 0
    yields: tuple[int, ...] = ()


def lay_road(edges: Sequence[tuple[float, int]], links: Sequence[Link]) -> RoadArrays:
    """A road from edges (length [m], lanes); links must be sorted by the lane they start from."""
    lane_edge = [e for e, (_, lanes) in enumerate(edges) for _ in range(lanes)]
    length = np.array([edges[e][0] for e in lane_edge])
    start = np.array([k.start for k in links], np.int64)
    assert list(start) == sorted(start)
    return RoadArrays(
        lane_length=length,
        lane_room=length + 2.0,
        lane_speed=np.full(len(lane_edge), SPEED_MPS),
        lane_edge=np.array(lane_edge, np.int64),
        edge_lane=np.cumsum([0, *(lanes for _, lanes in edges)], dtype=np.int64),
        lane_link=np.searchsorted(start, np.arange(len(lane_edge) + 1)).astype(np.int64),
        link_from=start,
        link_to=np.array([k.end for k in links], np.int64),
        link_to_edge=np.array([lane_edge[k.end] for k in links], np.int64),
        link_length=np.array([k.length_m for k in links]),
        link_speed=np.array([k.speed_mps for k in links]),
        link_waiting=np.array([k.waiting for k in links], np.int64),
        link_signal=np.array([k.signal for k in links], np.int64),
        link_column=np.array([k.column for k in links], np.int64),
        link_minor=np.array([k.signal < 0 and bool(k.yields) for k in links], np.uint8),
        link_yield=np.cumsum([0, *(len(k.yields) for k in links)], dtype=np.int64),
        yield_to=np.array([j for k in links for j in k.yields], np.int64),
    )


def lay_traffic(
    road: RoadArrays,
    trips: Sequence[tuple[float, tuple[int, ...]]],
    *,
    accel: float = 2.6,
    decel: float = 4.5,
) -> TrafficArrays:
    """SUMO's default cars from trips (departure [s], edges)."""
    ordered = sorted(trips)
    routes = sorted({route for _, route in ordered})
    n = len(ordered)
    steps = [e for route in routes for e in route]
    return TrafficArrays(
        depart=np.array([t for t, _ in ordered], np.float64),
        route=np.array([routes.index(route) for _, route in ordered], np.int64),
        size=np.full(n, SIZE_M),
        headway=np.full(n, 1.0),
        accel=np.full(n, accel),
        decel=np.full(n, decel),
        speed_factor=np.full(n, 1.0),
        max_speed=np.full(n, 55.56),
        depart_lane=np.full(n, -1, np.int64),
        route_edge=np.cumsum([0, *(len(route) for route in routes)], dtype=np.int64),
        edges=np.array(steps, np.int64),
        lanes=np.array(
            [leading_on(road, e, onward) for r in routes for e, onward in zip(r, [*r[1:], None])], np.int64
        ),
    )


def leading_on(road: RoadArrays, edge: int, onward: int | None) -> int:
    """Mask of an edge's lanes that have a link to the next edge; all where the route ends."""
    first, end = int(road.edge_lane[edge]), int(road.edge_lane[edge + 1])
    if onward is None:
        return (1 << (end - first)) - 1
    starts = road.link_from[road.link_to_edge == onward]
    return sum(1 << (lane - first) for lane in range(first, end) if lane in starts)


def lay_signals(*tables: Sequence[Sequence[int]]) -> SignalArrays:
    """One program a signal, from what its columns show second by second."""
    width = max((len(row) for table in tables for row in table), default=1)
    rows = [[*row, *[RED] * (width - len(row))] for table in tables for row in table]
    lengths = [len(table) for table in tables]
    n = len(tables)
    return SignalArrays(
        program=np.arange(n + 1, dtype=np.int64),
        start=np.full(n, -1e18),
        cycle=np.array(lengths, np.float64),
        offset=np.zeros(n),
        row=np.cumsum([0, *lengths[:-1]], dtype=np.int64) if n else np.zeros(0, np.int64),
        state=np.array(rows or [[RED]], np.uint8),
    )


@dataclass
class Town:
    """Something to simulate."""

    road: RoadArrays
    traffic: TrafficArrays
    signals: SignalArrays
    rules: FlowRules = FLOW_RULES
    begin_s: float = 0.0
    end_s: float = 3600.0


@dataclass
class Outcome:
    """What a simulation says of it."""

    delay_s: np.ndarray
    lost: np.ndarray
    passed: np.ndarray = field(repr=False)
    stops: np.ndarray = field(repr=False)


def run(town: Town, version: str = "compiled", *, end_s: float | None = None) -> Outcome:
    n = len(town.road.link_from)
    lost, passed = np.zeros(n), np.zeros(n, np.int64)
    stops = np.zeros(len(town.traffic.depart), np.int64)
    simulate: Any = queues.simulate if version == "compiled" else plain(queues.simulate)
    delay = simulate(
        town.road,
        town.traffic,
        town.signals,
        town.rules,
        town.begin_s,
        town.end_s if end_s is None else end_s,
        lost,
        passed,
        stops,
    )
    return Outcome(delay, lost, passed, stops)


def cycle_of(*parts: tuple[int, Sequence[int]]) -> list[Sequence[int]]:
    """Rows of a program from (seconds, what each column shows)."""
    return [row for seconds, row in parts for _ in range(seconds)]


def street(
    departures: Sequence[float] | np.ndarray,
    program: Sequence[Sequence[int]],
    *,
    length_m: float = 400.0,
    turn_mps: float = SPEED_MPS,
    rules: FlowRules = FLOW_RULES,
    accel: float = 2.6,
    decel: float = 4.5,
    **more: float,
) -> Town:
    """One lane up to one signal, and one behind it."""
    road = lay_road([(length_m, 1), (400.0, 1)], [Link(0, 1, speed_mps=turn_mps, signal=0)])
    trips = [(t, (0, 1)) for t in departures]
    return Town(road, lay_traffic(road, trips, accel=accel, decel=decel), lay_signals(program), rules, **more)


GREEN_ALWAYS = ((PROTECTED,),)
RED_ALWAYS = ((RED,),)


# ------------------------------------------------------------------------------------ a queue by hand


def stops_by_hand(
    arrivals: Sequence[float], headway_s: float, passed: Sequence[float | None], end_s: float
) -> list[int]:
    """How often each vehicle of `served_by_hand` came to a stand.

    Once if it waited longer than the threshold; and once for each vehicle before it, or it itself, that the
    light held when the queue had moved up to the line, provided that it had waited so long by then.
    """
    held_at: list[float] = []
    stops = []
    ready = -1e9
    for arrival, out in zip(arrivals, passed):
        at_line = max(arrival, ready)
        until = end_s if out is None else out
        if at_line < until:
            held_at.append(math.floor(at_line))
        again = sum(held - arrival > queues.STOPPED_AFTER_S for held in held_at)
        stops.append(again + int(until - arrival > queues.STOPPED_AFTER_S))
        ready = math.inf if out is None else out + headway_s
    return stops


def served_by_hand(
    arrivals: Sequence[float], headway_s: float, green: Sequence[bool], end_s: float
) -> list[float | None]:
    """When each of a row of vehicles passes the line: after the one before, when it is green, or never."""
    passed: list[float | None] = []
    ready = -1e9
    for arrival in arrivals:
        time = max(arrival, ready)
        while time < end_s and not green[int(time) % len(green)]:
            time = int(time) + 1.0
        if time >= end_s:
            passed.append(None)
            ready = float("inf")
            continue
        passed.append(time)
        ready = time + headway_s
    return passed


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("seed", range(8))
def test_one_lane_at_one_signal_by_hand(seed: int, version: str) -> None:
    """With drivers that lose nothing, a lane is a server of one rate that works while it is green."""
    rng = np.random.default_rng(seed)
    red_s, green_s = int(rng.integers(5, 40)), int(rng.integers(10, 40))
    end_s = float(rng.uniform(400.0, 700.0))
    departures = np.sort(rng.uniform(0.0, end_s, int(rng.integers(40, 130))))
    town = street(
        departures,
        cycle_of((red_s, [RED]), (green_s, [PROTECTED])),
        length_m=5000.0,  # room for everybody
        rules=IDEAL,
        accel=AT_ONCE,
        decel=AT_ONCE,
        end_s=end_s,
    )
    town.road.lane_speed[:] = 50.0
    town.road.link_speed[:] = 50.0
    free_s = 5000.0 / 50.0
    headway_s = 1.0 + SIZE_M / 50.0
    green = [False] * red_s + [True] * green_s
    arrivals = [t + free_s for t in departures]
    passed = served_by_hand(arrivals, headway_s, green, end_s)
    expected = [max(0.0, (end_s if out is None else out) - a) for a, out in zip(arrivals, passed)]
    found = run(town, version)
    assert found.delay_s == pytest.approx(expected, abs=1e-4)
    assert found.passed[0] == sum(out is not None for out in passed)
    assert list(found.stops) == stops_by_hand(arrivals, headway_s, passed, end_s)
    assert found.lost[0] == pytest.approx(
        sum(d for d, out in zip(expected, passed) if out is not None), abs=1e-3
    )


@pytest.mark.parametrize("version", VERSIONS)
def test_uniform_arrivals_wait_as_the_triangle_says(version: str) -> None:
    """D/D/1 at a signal: r² / 2C(1 - q/s) a vehicle (HCM 7th ed. Eq. 19-20 without randomness)."""
    red_s, green_s, cycles = 30, 30, 20
    interval_s = 3.0
    headway_s = 1.0 + SIZE_M / SPEED_MPS
    departures = np.arange(0.0, cycles * (red_s + green_s), interval_s)
    town = street(
        departures,
        cycle_of((red_s, [RED]), (green_s, [PROTECTED])),
        length_m=60 * SPEED_MPS,
        rules=IDEAL,
        accel=AT_ONCE,
        decel=AT_ONCE,
        end_s=3600.0,
    )
    mean_s = float(run(town, version).delay_s.mean())
    fluid_s = red_s**2 / (2 * (red_s + green_s) * (1 - headway_s / interval_s))
    # the fluid's first drop waits for the whole red, the first vehicle of a row half an interval less
    assert mean_s == pytest.approx(fluid_s, rel=0.06)


@pytest.mark.parametrize("version", VERSIONS)
def test_a_lone_vehicle_at_green_loses_its_start_and_nothing_else(version: str) -> None:
    town = street(np.arange(0.0, 3000.0, 60.0), GREEN_ALWAYS, rules=FLOW_RULES._replace(dawdle=0.0))
    # v / 2a to reach the speed from a standstill, and not a tenth more
    assert run(town, version).delay_s == pytest.approx(SPEED_MPS / (2 * 2.6), abs=1e-9)
    dawdling = replace(town, rules=FLOW_RULES)
    more_s = FLOW_RULES.dawdle * 400.0 / SPEED_MPS
    assert run(dawdling, version).delay_s == pytest.approx(SPEED_MPS / (2 * 2.6) + more_s, abs=1e-9)


@pytest.mark.parametrize("version", VERSIONS)
def test_a_signal_that_is_never_green_charges_everybody_until_the_end(version: str) -> None:
    departures = np.arange(0.0, 500.0, 5.0)
    town = street(departures, RED_ALWAYS, length_m=73.0, rules=IDEAL, accel=AT_ONCE, end_s=600.0)
    found = run(town, version)
    inside = int((73.0 + 2.0) // SIZE_M)  # lay_road's room
    assert found.passed[0] == 0
    assert found.delay_s[inside:] == pytest.approx(600.0 - departures[inside:])
    # those on the lane have driven its length
    assert found.delay_s[:inside] == pytest.approx(600.0 - departures[:inside] - 73.0 / SPEED_MPS, abs=1e-6)
    empty = replace(town, traffic=lay_traffic(town.road, []))
    assert run(empty, version).delay_s.shape == (0,)


# ----------------------------------------------------------------------------------- laws of traffic


def crossroads(seed: int, *, vehicles: int = 250, end_s: float = 900.0) -> Town:
    """Four approaches of two lanes with through traffic, permitted left turns and right turns on red.

    Edges 0-3 lead in (N, E, S, W), 4-7 lead out; lane 2a of approach a goes through and right, 2a + 1
    through and left.
    """
    rng = np.random.default_rng(seed)
    lengths = [float(x) for x in rng.uniform(40.0, 300.0, 4)]
    links: list[Link] = []
    names: list[tuple[int, str]] = []
    for a in range(4):
        through, left, right = 4 + (a + 2) % 4, 4 + (a + 1) % 4, 4 + (a + 3) % 4
        for lane, turn, out in (
            (0, "right", right),
            (0, "through", through),
            (1, "through", through),
            (1, "left", left),
        ):
            links.append(
                Link(
                    2 * a + lane,
                    2 * out + lane,
                    {"right": 6.5, "left": 8.0, "through": SPEED_MPS}[turn],
                    {"right": 9.0, "left": 18.0, "through": 20.0}[turn],
                    waiting=2 if turn == "left" else 0,
                    signal=0,
                    column=len(links),
                )
            )
            names.append((a, turn))
    for (a, turn), link in zip(names, links):
        opposing = [k for k, (b, other) in enumerate(names) if b == (a + 2) % 4 and other != "left"]
        crossing = [k for k, (b, other) in enumerate(names) if b == (a + 1) % 4 and other == "through"]
        link.yields = tuple(opposing if turn == "left" else crossing if turn == "right" else ())
    green = {"through": PROTECTED, "right": PROTECTED, "left": PERMITTED}

    def stage(axis: int, state: int | None = None) -> list[int]:
        return [
            (green[turn] if state is None else state)
            if a % 2 == axis
            else STOP_THEN_GO
            if turn == "right"
            else RED
            for a, turn in names
        ]

    g = [int(x) for x in rng.integers(8, 30, 2)]
    rows = []
    for axis in (0, 1):
        rows += cycle_of(
            (g[axis], stage(axis)),
            (1, stage(axis, CLEARING)),
            (1, stage(axis, CLEARED)),
            (3, stage(axis, RED)),
        )
    road = lay_road([(x, 2) for x in lengths] + [(150.0, 2)] * 4, links)
    trips = []
    for t in rng.uniform(0.0, 0.8 * end_s, vehicles):
        a = int(rng.integers(4))
        out = 4 + (a + int(rng.choice([1, 2, 2, 2, 3]))) % 4
        trips.append((float(t), (a, out)))
    traffic = lay_traffic(road, trips)
    traffic.speed_factor[:] = np.clip(rng.normal(1.0, 0.1, vehicles), 0.6, 1.4)
    return Town(road, traffic, lay_signals(rows), end_s=end_s)


@pytest.mark.skipif(not JIT_ENABLED, reason="GREENSPLIT_JIT=0: there is no compiled kernel to compare with")
@pytest.mark.parametrize("seed", range(6))
def test_compiled_and_plain_say_the_same_to_the_last_bit(seed: int) -> None:
    town = crossroads(seed)
    compiled, interpreted = run(town, "compiled"), run(town, "plain")
    assert np.array_equal(compiled.delay_s, interpreted.delay_s)
    assert np.array_equal(compiled.lost, interpreted.lost)
    assert np.array_equal(compiled.passed, interpreted.passed)
    assert np.array_equal(compiled.stops, interpreted.stops)
    again = run(town, "compiled")
    assert np.array_equal(compiled.delay_s, again.delay_s), "the same input must give the same bits"


@pytest.mark.parametrize("seed", range(8))
def test_every_vehicle_passes_once_and_its_delay_is_accounted_for(seed: int) -> None:
    town = crossroads(seed)
    due = {
        pair: sum(
            tuple(town.traffic.edges[town.traffic.route_edge[r] : town.traffic.route_edge[r + 1]]) == pair
            for r in town.traffic.route
        )
        for pair in itertools.product(range(4), range(4, 8))
    }
    found = run(town, end_s=town.end_s + 3600.0)
    for (a, out), vehicles in due.items():
        links = (town.road.lane_edge[town.road.link_from] == a) & (town.road.link_to_edge == out)
        assert found.passed[links].sum() == vehicles, (a, out)
    assert (found.delay_s >= 0).all()
    # what isn't lost before a link is lost at the start: waiting for room, then v / 2a
    traffic = town.traffic
    speed = np.minimum(SPEED_MPS * traffic.speed_factor, traffic.max_speed)
    starts = float((speed / (2 * traffic.accel)).sum())
    assert found.delay_s.sum() >= found.lost.sum() + starts - 1e-6


@pytest.mark.parametrize("seed", range(4))
def test_every_vehicle_is_in_exactly_one_place_at_any_time(seed: int) -> None:
    """Not due, waiting to depart, on a lane, inside the junction, or arrived: found by walking the queues."""
    town = crossroads(seed)
    n = len(town.traffic.depart)
    for end_s in np.linspace(1.0, 1200.0, 40):
        n_link = len(town.road.link_from)
        lane_rows = lanes.lane_rows(town.road)
        scene = queues.Scene(
            *(town.road, town.traffic, town.signals, town.rules, lay_lights(town.signals)),
            *(lanes.vehicle_rows(town.traffic), lane_rows, gaps.link_rows(town.road)),
            *(lanes.blank_notes(town.road, lane_rows), np.zeros(n), np.zeros(n_link)),
            *(np.zeros(n_link, np.int64), np.zeros(n, np.int64)),
        )
        next_due = queues.run(scene, 0.0, float(end_s))
        vehicles, links = scene.vehicles, scene.links
        seen = list(range(next_due, n))
        seen += np.flatnonzero(vehicles["at"] > vehicles["last_at"]).tolist()
        for first in (*scene.notes.due, *lane_rows["head"], *links["first_waiting"]):
            v = int(first)
            while v >= 0:
                seen.append(v)
                v = int(vehicles["behind"][v])
        assert sorted(seen) == list(range(n)), end_s
        assert (lane_rows["count"] >= 0).all()
        # room in use is never less than what stands there
        assert (lane_rows["used"] >= lane_rows["count"] * SIZE_M - 1e-9).all()


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("cycle_s", [60.0, 47.3])
def test_programs_that_change_are_the_long_table_that_they_spell(cycle_s: float, version: str) -> None:
    """Two programs with offsets and a cycle in tenths say, second by second, what one long program does."""
    town = crossroads(3)
    tables = [town.signals.state, np.roll(town.signals.state, 7, axis=0)]
    rows = math.ceil(cycle_s)
    tables = [np.resize(t, (rows, t.shape[1])) for t in tables]
    offsets, change_s = (3.4, 21.0), 333.0
    two = SignalArrays(
        program=np.array([0, 2], np.int64),
        start=np.array([0.0, change_s]),
        cycle=np.full(2, cycle_s),
        offset=np.array(offsets),
        row=np.array([0, rows], np.int64),
        state=np.ascontiguousarray(np.concatenate(tables)),
    )
    spelled = [
        tables[int(now >= change_s)][int((now - offsets[int(now >= change_s)]) % cycle_s)]
        for now in np.arange(0.0, town.end_s)
    ]
    long = lay_signals([[int(x) for x in row] for row in spelled])
    found, expected = run(replace(town, signals=two), version), run(replace(town, signals=long), version)
    assert np.array_equal(found.delay_s, expected.delay_s)
    assert np.array_equal(found.passed, expected.passed)


@pytest.mark.parametrize("seed", range(4))
def test_more_comes_through_as_time_goes_on_and_nobody_gets_delay_back(seed: int) -> None:
    town = crossroads(seed)
    before = np.zeros(len(town.road.link_from), np.int64)
    for end_s in range(30, 901, 30):
        found = run(town, end_s=float(end_s))
        assert (found.passed >= before).all(), "what has passed has passed"
        assert found.passed.sum() <= (town.traffic.depart < end_s).sum()
        assert (found.delay_s >= 0).all()
        # nobody loses more than there was, but for speeding up, which is charged before it is done
        ahead_s = 2 * 1.4 * SPEED_MPS / (2 * 2.6)
        assert (found.delay_s <= np.maximum(end_s - town.traffic.depart, 0.0) + ahead_s).all()
        before = found.passed


def test_delay_rises_with_demand() -> None:
    program = cycle_of((30, [RED]), (30, [PROTECTED]))
    means = []
    for interval_s in (20.0, 10.0, 6.0, 5.0, 4.0, 3.0, 2.0):
        town = street(np.arange(0.0, 1800.0, interval_s), program, end_s=1800.0)
        means.append(float(run(town).delay_s.mean()))
    assert all(a < b for a, b in itertools.pairwise(means)), means
    # at 2 s twice as many come as half a cycle can serve: half of them can't get out by the end
    assert means[-1] > 5 * means[0]


def test_delay_falls_with_green() -> None:
    means = []
    for green_s in (15, 20, 25, 30, 40, 50):
        town = street(
            np.arange(0.0, 1800.0, 6.0), cycle_of((60 - green_s, [RED]), (green_s, [PROTECTED])), end_s=1800.0
        )
        means.append(float(run(town).delay_s.mean()))
    assert all(a > b for a, b in itertools.pairwise(means)), means


@pytest.mark.parametrize("version", VERSIONS)
def test_stops_are_counted_each_time_a_vehicle_stands(version: str) -> None:
    """Ten cars meet red; each green lets four go, so the queue moves up twice and stands again."""
    greens = cycle_of((60, [RED]), (6, [PROTECTED]))
    town = street([float(k) for k in range(10)], greens, length_m=200.0, rules=IDEAL, end_s=600.0)
    found = run(town, version)
    per_green = [int(run(town, version, end_s=66.0 * (k + 1)).passed[0]) for k in range(3)]
    assert per_green[0] < per_green[1] < 10 == per_green[2]
    expected = [1 + sum(k >= gone for gone in per_green) for k in range(10)]
    assert list(found.stops) == expected
    assert found.passed[0] == 10
    # cut off in the first red all have stood once, and those who came to no line not at all
    assert list(run(town, version, end_s=50.0).stops) == [1] * 10
    assert not run(town, version, end_s=10.0).stops.any()


@pytest.mark.parametrize("version", VERSIONS)
def test_who_meets_green_or_only_slows_has_not_stopped(version: str) -> None:
    free = run(street(np.arange(0.0, 900.0, 30.0), GREEN_ALWAYS), version)
    assert not free.stops.any()
    # nobody has stopped who waits outside, for room on a full lane
    full = run(street([0.0] * 40, RED_ALWAYS, length_m=58.0, end_s=300.0), version)
    assert list(full.stops) == [1] * 8 + [0] * 32
    # the light turns green while the car still has more than the threshold to go, or a little less than that
    free_s = 400.0 / SPEED_MPS + SPEED_MPS / (2 * 2.6)
    for waits_s, stops in ((queues.STOPPED_AFTER_S - 0.5, 0), (queues.STOPPED_AFTER_S + 0.5, 1)):
        program = cycle_of((60, [RED]), (600, [PROTECTED]))
        found = run(street([60.0 - free_s - waits_s], program, end_s=300.0), version)
        assert list(found.stops) == [stops], waits_s


def test_waiting_inside_the_junction_is_a_stop_of_its_own() -> None:
    town = left_turn(2.0, waiting=2)
    found = run(town)
    turned = int(found.passed[0])
    own = np.array([town.traffic.edges[town.traffic.route_edge[r]] == 0 for r in town.traffic.route])
    # at the back of the queue, moving up once a cycle or oftener, and inside
    assert found.stops[own][5:turned].min() >= 2


def test_stops_fall_with_green_and_rise_with_demand() -> None:
    program = cycle_of((30, [RED]), (30, [PROTECTED]))
    means = [
        float(run(street(np.arange(0.0, 1800.0, s), program, end_s=1800.0)).stops.mean())
        for s in (20.0, 10.0, 6.0, 5.0, 4.0, 3.0)
    ]
    assert means[0] < means[3] < means[-1], means
    assert 0.3 < means[0] < 0.6, "half of those who come at random times meet red"


# ------------------------------------------------------------------------------- discharge of a queue

SUMO_CROSSES_S = (0.0, 2.7, 5.2, 7.3, 9.4, 11.3, 13.4)
"""When the front of the n-th car of a standing queue crosses the line after the start of green: SUMO 1.28,
default vType at 13.89 m/s, mean over 8 seeds. The slow test below measures it anew."""
SUMO_HEADWAY_S = 1.93
SUMO_TURN_HEADWAY_S = 2.58
"""Steady headways, straight on and turning at 6.51 m/s; from the same runs."""
SUMO_TURN_MPS = 6.51
GREEN_FROM_S = 150


def crossing_times(town: Town, n: int) -> np.ndarray:
    """When the first n vehicles pass link 0 [s after the start of green], read off the count by bisection."""
    times = []
    for vehicle in range(n):
        low, high = float(GREEN_FROM_S), town.end_s
        while high - low > 0.005:
            middle = (low + high) / 2
            if run(town, end_s=middle).passed[0] > vehicle:
                high = middle
            else:
                low = middle
        times.append(high - GREEN_FROM_S)
    return np.array(times)


def standing_queue(turn_mps: float) -> Town:
    program = cycle_of((GREEN_FROM_S, [RED]), (80, [PROTECTED]))
    return street(np.linspace(0.0, 120.0, 26), program, turn_mps=turn_mps, end_s=GREEN_FROM_S + 70.0)


def test_a_standing_queue_discharges_as_in_sumo() -> None:
    """Without `lost`, which is set for delay on whole networks and holds every queue up by as much."""
    town = standing_queue(SPEED_MPS)
    times = crossing_times(replace(town, rules=FLOW_RULES._replace(lost=0.0)), 20)
    assert times[0] == pytest.approx(SUMO_CROSSES_S[0], abs=0.1)
    assert times[1:7] == pytest.approx(SUMO_CROSSES_S[1:], rel=0.1)
    assert (times[19] - times[9]) / 10 == pytest.approx(SUMO_HEADWAY_S, rel=0.1)
    late = crossing_times(town, 20)
    assert late[1:] - times[1:] == pytest.approx(FLOW_RULES.lost, abs=0.02)


def test_a_turn_discharges_at_its_own_speed() -> None:
    times = crossing_times(standing_queue(SUMO_TURN_MPS), 20)
    assert (times[19] - times[9]) / 10 == pytest.approx(SUMO_TURN_HEADWAY_S, rel=0.1)


@pytest.mark.slow
def test_sumo_still_discharges_as_quoted(tmp_path: Path) -> None:
    """Build the street in SUMO and measure what the two tests above stand on."""
    straight = np.array([sumo_discharge(tmp_path, "out", seed) for seed in range(8)]).mean(axis=0)
    turning = np.array([sumo_discharge(tmp_path, "right", seed) for seed in range(8)]).mean(axis=0)
    # the first one may stand with its front on the detector already
    assert straight[1:7] == pytest.approx(SUMO_CROSSES_S[1:], abs=0.15)
    assert (straight[19] - straight[9]) / 10 == pytest.approx(SUMO_HEADWAY_S, rel=0.05)
    assert (turning[19] - turning[9]) / 10 == pytest.approx(SUMO_TURN_HEADWAY_S, rel=0.05)


def sumo_discharge(folder: Path, leave_by: str, seed: int) -> list[float]:
    """When each car of a standing queue crosses the stop line in SUMO [s after the start of green]."""
    netconvert, sumo = find_binary("netconvert"), find_binary("sumo")
    net = folder / "street.net.xml"
    if not net.exists():
        (folder / "nodes.nod.xml").write_text(
            '<nodes><node id="a" x="0" y="0"/><node id="b" x="400" y="0" type="traffic_light"/>'
            '<node id="c" x="800" y="0"/><node id="d" x="400" y="-400"/></nodes>'
        )
        (folder / "edges.edg.xml").write_text(
            '<edges><edge id="in" from="a" to="b" numLanes="1" speed="13.89"/>'
            '<edge id="out" from="b" to="c" numLanes="1" speed="13.89"/>'
            '<edge id="right" from="b" to="d" numLanes="1" speed="13.89"/></edges>'
        )
        files = ["-n", "nodes.nod.xml", "-e", "edges.edg.xml", "-o", net.name]
        subprocess.run(
            [str(netconvert), *files],
            cwd=folder,
            check=True,
            capture_output=True,
            env=sumo_environment(netconvert),
        )
    (folder / "light.add.xml").write_text(
        f'<additional><tlLogic id="b" type="static" programID="x" offset="0"><phase duration="{GREEN_FROM_S}" '
        'state="rr"/><phase duration="80" state="GG"/></tlLogic><instantInductionLoop id="line" lane="in_0" '
        'pos="-0.1" file="line.xml"/></additional>'
    )
    (folder / "cars.rou.xml").write_text(
        '<routes><vType id="t"/><flow id="f" type="t" begin="0" end="120" number="26" from="in" '
        f'to="{leave_by}" departSpeed="max"/></routes>'
    )
    command = f"{sumo} -n {net.name} -r cars.rou.xml -a light.add.xml --seed {seed} --no-step-log --end 300"
    subprocess.run(command.split(), cwd=folder, check=True, capture_output=True, env=sumo_environment(sumo))
    times = [
        float(e.get("time", "nan")) - GREEN_FROM_S
        for e in elements(folder / "line.xml", "instantOut")
        if e.get("state") == "enter"
    ]
    return times[:22]


# ----------------------------------------------------------------------------------------- spillback


def two_signals(room_m: float) -> Town:
    """A row of cars through a signal that is always green onto a short edge whose signal opens after 300 s."""
    road = lay_road(
        [(400.0, 1), (room_m, 1), (400.0, 1)],
        [Link(0, 1, signal=0, column=0), Link(1, 2, signal=0, column=1)],
    )
    trips = [(4.0 * k, (0, 1, 2)) for k in range(60)]
    program = cycle_of((300, [PROTECTED, RED]), (3300, [PROTECTED, PROTECTED]))
    return Town(road, lay_traffic(road, trips), lay_signals(program))


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(("room_m", "cars"), [(28.0, 4), (58.0, 8), (118.0, 16)])
def test_a_full_lane_holds_those_behind_the_junction(room_m: float, cars: int, version: str) -> None:
    """A lane takes its length and 2 m (lay_road), 7.5 m a car; green upstream lets no more onto it."""
    town = two_signals(room_m)
    found = run(town, version, end_s=300.0)
    assert list(found.passed) == [cars, 0]
    # those held have lost time before the first signal, though it was green all along
    after = run(town, version)
    assert list(after.passed) == [60, 60]
    assert after.lost[0] > 200.0


def test_room_travels_back_along_the_queue() -> None:
    """The first car held upstream goes when the wave has run along the full lane: 5.25 m/s (Newell 1993)."""
    waits = []
    for room_m in (58.0, 118.0):
        town = two_signals(room_m)
        cars = int(run(town, end_s=300.0).passed[0])
        seconds = next(s for s in range(300, 400) if run(town, end_s=float(s)).passed[0] > cars)
        waits.append(seconds - 300)
    assert waits[1] - waits[0] == pytest.approx(60.0 / FLOW_RULES.wave, abs=2.0)


def test_those_who_find_no_room_to_depart_are_charged_for_waiting() -> None:
    town = street([0.0] * 40, GREEN_ALWAYS, length_m=58.0)
    waits = run(town).delay_s
    # departures share one lane: each waits for the one before, so the waits rise evenly
    assert (np.diff(waits) > 0).all()
    # no faster than they discharge; the wave by which room on so short a lane comes back takes the rest
    assert 39 * 1.9 < waits[-1] < 39 * 2.6


# ------------------------------------------------------------------------------------ permitted turns


def left_turn(
    opposing_interval_s: float, *, waiting: int, opposing: int = PROTECTED, green_s: int = 40
) -> Town:
    """A queue that turns left against traffic from the opposite side, which comes every so many seconds.

    The opposing cars come at random: evenly spaced ones would leave room for whole numbers of turns only.

    Link 0 turns left from edge 0 to edge 2, link 1 goes straight from edge 1 to edge 3 and has priority.
    """
    road = lay_road(
        [(1000.0, 1), (1000.0, 1), (400.0, 1), (400.0, 1)],
        [
            Link(0, 2, 8.0, 20.0, waiting=waiting, signal=0, column=0, yields=(1,)),
            Link(1, 3, SPEED_MPS, 20.0, signal=0, column=1),
        ],
    )
    trips: list[tuple[float, tuple[int, ...]]] = [(2.5 * k, (0, 2)) for k in range(700)]
    if opposing_interval_s < 1000.0:
        times = np.cumsum(np.random.default_rng(3).exponential(opposing_interval_s, 2000))
        trips += [(float(t), (1, 3)) for t in times[times < 1800.0]]
    rest = 60 - green_s - 2
    program = cycle_of(
        (rest, [RED, RED]),
        (green_s, [PERMITTED, opposing]),
        (1, [CLEARING, CLEARING if opposing else RED]),
        (1, [CLEARED, CLEARED if opposing else RED]),
    )
    return Town(road, lay_traffic(road, trips), lay_signals(program), end_s=1800.0)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("waiting", [0, 2])
def test_permitted_capacity_falls_with_opposing_flow(waiting: int, version: str) -> None:
    intervals_s = (1e9, 15.0, 10.0, 7.0, 5.0, 4.0)
    turns = [int(run(left_turn(i, waiting=waiting), version).passed[0]) for i in intervals_s]
    if waiting:
        # room inside the junction lets a few slip into gaps that end soon
        assert all(a >= b for a, b in itertools.pairwise(turns)), turns
    else:
        assert all(a > b for a, b in itertools.pairwise(turns)), turns
    assert turns[-1] < (0.7 if waiting else 0.5) * turns[0]
    # without opposing traffic it discharges like a protected one
    free = left_turn(1e9, waiting=waiting)
    states = np.where(free.signals.state == PERMITTED, PROTECTED, free.signals.state).astype(np.uint8)
    protected = replace(free, signals=free.signals._replace(state=states))
    assert turns[0] == run(protected, version).passed[0]


@pytest.mark.parametrize("version", VERSIONS)
def test_a_left_turner_without_room_inside_holds_those_behind_it_on_a_shared_lane(version: str) -> None:
    """Every fourth car turns left from the only lane, against traffic without a gap."""
    through = []
    for lefts, waiting in ((0, 0), (60, 2), (60, 0)):
        road = lay_road(
            [(1000.0, 1), (1000.0, 1), (400.0, 1), (400.0, 1), (400.0, 1)],
            [
                Link(0, 2, 8.0, 20.0, waiting=waiting, signal=0, column=0, yields=(2,)),
                Link(0, 4, SPEED_MPS, 20.0, signal=0, column=1),
                Link(1, 3, SPEED_MPS, 20.0, signal=0, column=1),
            ],
        )
        trips = [(5.0 * k, (0, 2) if k < 4 * lefts and k % 4 == 2 else (0, 4)) for k in range(240)]
        trips += [(2.0 * k, (1, 3)) for k in range(600)]
        program = cycle_of((28, [RED, RED]), (30, [PERMITTED, PROTECTED]), (2, [RED, RED]))
        town = Town(road, lay_traffic(road, trips), lay_signals(program), end_s=1200.0)
        through.append(int(run(town, version).passed[1]) / sum(route == (0, 4) for _, route in trips))
    free, roomy, shared = through
    assert free > roomy > shared, through
    assert shared < 0.6 * free


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("waiting", [0, 1, 2, 3])
def test_sneakers_leave_at_the_end_of_green(waiting: int, version: str) -> None:
    """Against traffic without a gap, only those waiting inside the junction get away, once a cycle."""
    town = left_turn(2.0, waiting=waiting)

    def turned(begin_s: float, end_s: float) -> int:
        return int(run(town, version, end_s=end_s).passed[0] - run(town, version, end_s=begin_s).passed[0])

    for cycle in (5, 11, 20):
        # green from second 18 to 58; its first seconds, in which the opposing queue gets going, have gaps
        green_from_s, green_until_s = 60.0 * cycle + 18, 60.0 * cycle + 58
        assert turned(green_from_s + 6, green_until_s) == 0
        assert turned(green_until_s, green_from_s + 60) == waiting


def test_opposing_traffic_at_red_takes_nobodys_gap() -> None:
    alone = run(left_turn(1e9, waiting=2)).passed[0]
    held = run(left_turn(2.0, waiting=2, opposing=RED))
    assert held.passed[1] == 0
    assert held.passed[0] == alone


def test_right_turns_on_red_stop_first_and_go_when_nobody_comes() -> None:
    departures = np.arange(0.0, 600.0, 30.0)
    on_red = run(street(departures, ((STOP_THEN_GO,),), end_s=900.0))
    on_green = run(street(departures, GREEN_ALWAYS, end_s=900.0))
    assert on_red.passed[0] == on_green.passed[0] == len(departures)
    assert (on_red.delay_s > on_green.delay_s + 0.5).all()
    assert (on_red.delay_s < on_green.delay_s + 8.0).all()


def test_yellow_lets_go_only_who_is_too_close_to_stop() -> None:
    """A car that reaches the line `late` s into yellow goes if that is less than it needs to brake."""
    free_s = 400.0 / SPEED_MPS + SPEED_MPS / (2 * 2.6)
    brake_s = SPEED_MPS / (2 * 4.5)
    for late_s, state, goes in (
        (0.2, CLEARING, True),
        (0.8, CLEARING, True),
        (1.2, CLEARED, True),
        (1.8, CLEARED, False),
        (0.2, RED, False),
    ):
        yellow_at = 60
        program = cycle_of((yellow_at, [PROTECTED]), (1, [CLEARING]), (1, [CLEARED]), (600, [RED]))
        if state == RED:
            program = cycle_of((yellow_at, [PROTECTED]), (602, [RED]))
        town = street([yellow_at + late_s - free_s], program, end_s=200.0)
        assert run(town).passed[0] == int(goes), (late_s, brake_s)


# ---------------------------------------------------------------------------- real networks, and SUMO


def real(name: str) -> Scenario:
    if name == "single":
        return read_scenario(find_network("single"))
    spec = importlib.util.find_spec("sumo_rl")
    if spec is None or not spec.submodule_search_locations:
        pytest.skip(f"{name} comes with sumo-rl, which isn't installed: pip install 'sumo-rl>=1.4.5'")
    root = Path(next(iter(spec.submodule_search_locations))) / "nets" / "RESCO"
    return read_scenario(root / name / f"{name}.sumocfg")


def town_of(network: Network, scenario: Scenario, programs: dict[str, SignalProgram]) -> Town:
    demand = read_demand(scenario)
    road = pack_road(network, {t.vehicle_class for t in demand.types.values()} | {"passenger"})
    traffic = pack_traffic(network, road, demand, speed_spread=0.1, seed=1)
    signals = pack_signals(road, {s: [(0.0, programs[s])] for s in road.signals})
    return Town(road.arrays, traffic, signals, begin_s=demand.begin_s, end_s=demand.end_s)


def in_place(network: Network) -> dict[str, SignalProgram]:
    return {s: i.program for s, i in network.intersections.items() if i.program is not None}


def test_a_real_network_lets_everybody_through_in_the_end() -> None:
    scenario = real("single")
    network = read_network(scenario)
    town = town_of(network, scenario, in_place(network))
    found = run(town, end_s=town.end_s + 3600.0)
    steps = np.diff(town.traffic.route_edge)[town.traffic.route] - 1
    assert found.passed.sum() == steps.sum()
    assert (found.delay_s >= 0).all()
    now = run(town)
    assert np.array_equal(now.delay_s, run(town).delay_s)
    assert (now.passed <= found.passed).all()


def random_programs(network: Network, chosen: random.Random) -> dict[str, SignalProgram]:
    """Programs as the search may try them: a random cycle, splits around the field's, minimums kept."""
    programs = {}
    cycle_s = chosen.choice((60, 70, 80, 95, 110))
    for signal, intersection in network.intersections.items():
        plan = stage_plan(intersection, PlanRequest())
        wish = [s.duration_s * math.exp(chosen.gauss(0.0, 0.35)) for s in plan.stages]
        greens = [s.min_s for s in plan.stages]
        while sum(greens) + plan.fixed_s < cycle_s:
            growing = [k for k, s in enumerate(plan.stages) if greens[k] < s.max_s]
            greens[max(growing, key=lambda k: wish[k] / greens[k])] += 1
        stages = tuple(replace(s, duration_s=g) for s, g in zip(plan.stages, greens))
        programs[signal] = program_of(replace(plan, stages=stages, offset_s=0.0), "random")
    return programs


@cache
def in_both_simulators(name: str) -> dict[str, tuple[NDArray[np.float64], NDArray[np.float64]]]:
    """Delay and stops of plans, by plan: measured in SUMO, the mean of two seeds, and modelled here.

    `single` is run without its pedestrians, for whom cars don't wait in this simulator.
    """
    scenario = real(name)
    network = read_network(scenario)
    if name == "single":
        cars = tuple(path for path in scenario.routes if "pedestrian" not in path.name)
        assert len(cars) < len(scenario.routes)
        scenario = replace(scenario, config=None, routes=cars)
    chosen = random.Random(7)
    choices = [in_place(network)] + [random_programs(network, chosen) for _ in range(13)]
    specs = []
    with tempfile.TemporaryDirectory() as folder:
        for number, programs in enumerate(choices):
            plans = PlanSet(({s: TimingPlan(p) for s, p in programs.items()},), {}, {}, 1, "test", "0")
            path = Path(folder) / f"{number}.add.xml"
            write_plans(plans, path)
            specs += [RunSpec(scenario, seed, (path,), light=True) for seed in (11, 12)]
        results = simulate_many(specs, jobs_at_once=2)
    found = [run(town_of(network, scenario, p)) for p in choices]
    delay = np.array([r.mean_delay_s for r in results]).reshape(-1, 2).mean(axis=1)
    stops = np.array([r.stops_per_vehicle for r in results]).reshape(-1, 2).mean(axis=1)
    return {
        "delay": (delay, np.array([f.delay_s.mean() for f in found])),
        "stops": (stops, np.array([f.stops.mean() for f in found])),
    }


@pytest.mark.slow
@pytest.mark.parametrize("name", ["single", "cologne1"])
def test_plans_rank_by_delay_as_in_sumo(name: str) -> None:
    """What the search rests on: a plan that is better here is better there."""
    measured, modelled = in_both_simulators(name)["delay"]
    rank = float(spearmanr(measured, modelled).statistic)
    assert rank >= 0.9, np.c_[measured, modelled].round(1).tolist()


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        pytest.param(
            "single",
            marks=pytest.mark.xfail(
                strict=True,
                reason="rank 0.28: all but two plans lie within 4 %, and what those two stop more is missed",
            ),
        ),
        "cologne1",
    ],
)
def test_plans_rank_by_stops_as_in_sumo(name: str) -> None:
    measured, modelled = in_both_simulators(name)["stops"]
    rank = float(spearmanr(measured, modelled).statistic)
    assert rank >= 0.75, np.c_[measured, modelled].round(2).tolist()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["single", "cologne1"])
def test_vehicles_stop_about_as_often_as_in_sumo(name: str) -> None:
    measured, modelled = in_both_simulators(name)["stops"]
    assert np.median(np.abs(modelled / measured - 1.0)) <= 0.15, np.c_[measured, modelled].round(2).tolist()
