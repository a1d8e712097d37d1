"""The queue simulator beside a mesoscopic peer, UXsim (C++ engine), and what a thousand links cost.

    python -m benchmarks.meso [NET ...] [--seeds 3] [--engine cpp|python]

Both get the same network, demand, routes and programs in place, and are compared with the mean delay of SUMO over
some seeds; times are CPU seconds of one run, single-threaded, after a first one. UXsim runs vehicle by vehicle
(deltan 1, one second a step) on enforced routes. What it can't do, and gets here instead:

* A signal group belongs to a link and all its turns: an edge is green while any of its movements is.
* No lanes of their own for turns, no permitted turns, no yellow: who leads an edge blocks all behind.
* One car-following for everybody: jam density 1 / 7.5 m a lane, reaction time 1 s, free-flow speed the edge's.

The second table is a grid of about 1,000 edges, generated here, for 15 minutes.
"""

from __future__ import annotations

import argparse
import importlib
import random
import time
from collections.abc import Callable, Sequence
from statistics import fmean
from typing import Any

import numpy as np

from benchmarks.peers import RESCO, resco_configs
from kernels.arrays import PROTECTED, RED, RoadArrays, SignalArrays, TrafficArrays
from kernels.queues import simulate
from signals.formats.sumo.config import read_scenario
from signals.model.network import Edge
from signals.model.phasing import SignalProgram
from signals.planning import Case, read_case
from signals.simulation.run import RunSpec, simulate_many
from signals.timing.pack import FLOW_RULES, pack_road, pack_signals, pack_traffic

JAM_SPACING_M = 7.5
GREEN = "GgOo"
SIDE = 16
"""Crossings a side of the grid: 16² crossings have 4 · 16 · 15 = 960 edges between them, and 64 lead in."""
BLOCK_M = 200.0
SPEED_MPS = 13.89


def uxsim_world() -> Callable[..., Any]:
    """UXsim's World, imported late: it isn't among our dependencies."""
    try:
        found: Callable[..., Any] = importlib.import_module("uxsim").World
    except ImportError:
        raise SystemExit("UXsim isn't installed: pip install uxsim==1.15.1") from None
    return found


def cpu_seconds(run: Callable[[], object], repeats: int = 3) -> float:
    """Least CPU time of some runs [s]."""
    times = []
    for _ in range(repeats):
        start = time.process_time()
        run()
        times.append(time.process_time() - start)
    return min(times)


def ours(case: Case) -> tuple[float, float]:
    """Mean delay [s] and CPU time [s] of the queue simulator."""
    road = pack_road(case.network, {t.vehicle_class for t in case.demand.types.values()} | {"passenger"})
    traffic = pack_traffic(case.network, road, case.demand, speed_spread=0.1, seed=1)
    shown = {}
    for signal in road.signals:
        program = case.network.intersections[signal].program
        assert program is not None
        shown[signal] = [(-1e18, program)]
    signals = pack_signals(road, shown)
    window = case.demand.begin_s, case.demand.end_s
    return timed(road.arrays, traffic, signals, window)


def timed(
    road: RoadArrays, traffic: TrafficArrays, signals: SignalArrays, window: tuple[float, float]
) -> tuple[float, float]:
    """Mean delay [s] and CPU time [s] of the queue simulator on arrays."""

    def run() -> float:
        n = len(road.link_from)
        lost, passed = np.zeros(n), np.zeros(n, np.int64)
        stops = np.zeros(len(traffic.depart), np.int64)
        delay = simulate(road, traffic, signals, FLOW_RULES, *window, lost, passed, stops)
        return float(delay.mean())

    return run(), cpu_seconds(run, 7)


def phases_from(program: SignalProgram, begin_s: float) -> list[tuple[float, str]]:
    """(duration [s], state) of a cycle that starts at `begin_s`, so that no offset is needed."""
    rows: list[tuple[float, str]] = []
    for second in range(round(program.cycle_s)):
        state = program.state_at(begin_s + second + 0.5)
        if rows and rows[-1][1] == state:
            rows[-1] = (rows[-1][0] + 1.0, state)
        else:
            rows.append((1.0, state))
    return rows


def peer(case: Case, engine: str) -> tuple[float, float]:
    """Mean delay [s] and CPU time [s] of UXsim."""
    world_of = uxsim_world()
    network, demand = case.network, case.demand
    phases: dict[str, list[tuple[float, str]]] = {}  # by junction
    groups: dict[str, list[int]] = {}  # by edge
    for intersection in network.intersections.values():
        if intersection.program is None:
            continue
        rows = phases_from(intersection.program, demand.begin_s)
        for junction in intersection.junctions:
            phases[junction] = rows
        for index, paths in enumerate(intersection.connections):
            green = {k for k, (_, state) in enumerate(rows) if state[index] in GREEN}
            for edge in {network.connections[p].from_edge for p in paths}:
                groups[edge] = sorted({*groups.get(edge, ()), *green})
    used = {e for v in demand.vehicles for e in v.edges}

    def run() -> float:
        world = world_of(
            name="",
            deltan=1,
            tmax=demand.end_s - demand.begin_s,
            print_mode=0,
            save_mode=0,
            show_mode=0,
            random_seed=1,
            cpp=engine == "cpp",
        )
        for junction in sorted({j for e in used for j in _ends(network.edges[e])}):
            # its phases last one step longer than told
            signal = [max(s - 1.0, 0.0) for s, _ in phases.get(junction, ())]
            world.addNode(junction, 0, 0, signal=signal or [0])
        for name in sorted(used):
            edge = network.edges[name]
            lanes = sum(lane.allows("passenger") for lane in edge.lanes) or 1
            world.addLink(
                name,
                *_ends(edge),
                length=max(edge.length_m, edge.speed_mps),
                free_flow_speed=edge.speed_mps,
                jam_density_per_lane=1.0 / JAM_SPACING_M,
                number_of_lanes=lanes,
                signal_group=groups.get(name, list(range(len(phases.get(edge.to_junction, "x"))))),
            )
        sent = []
        for v in demand.vehicles:
            start, end = network.edges[v.edges[0]].from_junction, network.edges[v.edges[-1]].to_junction
            vehicle = world.addVehicle(start, end, v.depart_s - demand.begin_s)
            vehicle.enforce_route(list(v.edges))
            sent.append((vehicle, v))
        world.exec_simulation()
        lost = []
        for vehicle, v in sent:
            edges = [network.edges[e] for e in v.edges]
            free_s = sum(max(e.length_m, e.speed_mps) / e.speed_mps for e in edges)
            done = vehicle.state == "end"
            out_s = vehicle.arrival_time if done else demand.end_s - demand.begin_s
            # who is still on the way has driven some of it: charged in full, which errs on the high side
            lost.append(max(0.0, out_s - (v.depart_s - demand.begin_s) - (free_s if done else 0.0)))
        return fmean(lost)

    found = run()
    return found, cpu_seconds(run, 2)


def _ends(edge: Edge) -> tuple[str, str]:
    return edge.from_junction, edge.to_junction


def grid(vehicles: int, seconds: float, seed: int) -> tuple[RoadArrays, TrafficArrays, SignalArrays]:
    """Streets that cross every 200 m, one lane a direction, each crossing with a signal of two stages."""
    rng = random.Random(seed)
    steps = ((0, 1), (1, 0), (0, -1), (-1, 0))
    ends = [
        ((x - dx, y - dy), (x, y), d)
        for x in range(SIDE)
        for y in range(SIDE)
        for d, (dx, dy) in enumerate(steps)
    ]  # those that lead in from outside start beyond the border
    number = {(end, d): e for e, (_, end, d) in enumerate(ends)}
    links = []  # (edge, edge, crossing, axis, turn)
    for e, (_, (x, y), d) in enumerate(ends):
        for turn in (0, 1, 3):
            out = (d + turn) % 4
            to = number.get(((x + steps[out][0], y + steps[out][1]), out))
            if to is not None:
                links.append((e, to, x * SIDE + y, d % 2, turn))
    n, n_link = len(ends), len(links)
    start = np.array([k[0] for k in links], np.int64)
    opposite = {k[0]: i for i, k in enumerate(links) if k[4] == 0}
    yields = []
    for e, _, _, _, turn in links:
        _, at, d = ends[e]
        foe = opposite.get(number[at, (d + 2) % 4]) if turn == 3 else None
        yields.append([] if foe is None else [foe])
    road = RoadArrays(
        lane_length=np.full(n, BLOCK_M),
        lane_room=np.full(n, BLOCK_M + 2.0),
        lane_speed=np.full(n, SPEED_MPS),
        lane_edge=np.arange(n),
        edge_lane=np.arange(n + 1),
        lane_link=np.searchsorted(start, np.arange(n + 1)).astype(np.int64),
        link_from=start,
        link_to=np.array([k[1] for k in links], np.int64),
        link_to_edge=np.array([k[1] for k in links], np.int64),
        link_length=np.full(n_link, 15.0),
        link_speed=np.array([SPEED_MPS if k[4] == 0 else 8.0 for k in links]),
        link_waiting=np.array([2 if k[4] == 3 else 0 for k in links], np.int64),
        link_signal=np.array([k[2] for k in links], np.int64),
        link_column=np.array([2 * k[3] + (k[4] == 3) for k in links], np.int64),
        link_minor=np.zeros(n_link, np.uint8),
        link_yield=np.cumsum([0, *map(len, yields)], dtype=np.int64),
        yield_to=np.array([foe for y in yields for foe in y], np.int64),
    )
    inward = [e for e, (a, _, _) in enumerate(ends) if not (0 <= a[0] < SIDE and 0 <= a[1] < SIDE)]
    after: dict[int, list[tuple[int, int]]] = {}
    for e, to, _, _, turn in links:
        after.setdefault(e, []).append((to, turn))
    routes = []
    for _ in range(vehicles):
        route = [rng.choice(inward)]
        while len(route) < 20 and route[-1] in after:
            ways = after[route[-1]]
            route.append(rng.choices([to for to, _ in ways], [6 if t == 0 else 1 for _, t in ways])[0])
        routes.append(route)
    traffic = TrafficArrays(
        depart=np.sort(np.array([rng.uniform(0.0, seconds) for _ in routes])),
        route=np.arange(vehicles),
        size=np.full(vehicles, JAM_SPACING_M),
        headway=np.full(vehicles, 1.0),
        accel=np.full(vehicles, 2.6),
        decel=np.full(vehicles, 4.5),
        speed_factor=np.array([min(max(rng.gauss(1.0, 0.1), 0.6), 1.4) for _ in routes]),
        max_speed=np.full(vehicles, 55.56),
        depart_lane=np.full(vehicles, -1, np.int64),
        route_edge=np.cumsum([0, *map(len, routes)], dtype=np.int64),
        edges=np.array([e for r in routes for e in r], np.int64),
        lanes=np.ones(sum(map(len, routes)), np.int64),
    )
    half = [(27, PROTECTED, 2), (1, 4, 4), (1, 5, 5), (1, RED, RED)]
    one = [row for s, through, left in half for row in [(through, left, RED, RED)] * s]
    state = np.array([*one, *[(c, d, a, b) for a, b, c, d in one]], np.uint8)
    n_signal = SIDE * SIDE
    signals = SignalArrays(
        program=np.arange(n_signal + 1),
        start=np.full(n_signal, -1e18),
        cycle=np.full(n_signal, 60.0),
        offset=np.array([float(rng.randrange(60)) for _ in range(n_signal)]),
        row=np.arange(n_signal) * 60,
        state=np.tile(state, (n_signal, 1)),
    )
    return road, traffic, signals


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("networks", nargs="*", default=RESCO)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--engine", choices=("cpp", "python"), default="cpp")
    options = parser.parse_args(arguments)
    print(
        "| network | SUMO, delay [s] | ours | UXsim | ours, error | UXsim, error | ours [ms] | UXsim [ms] "
        "| times faster |\n|---|---|---|---|---|---|---|---|---|"
    )
    for name in options.networks:
        case = read_case(read_scenario(resco_configs()[name]))
        specs = [RunSpec(case.scenario, 1 + k, light=True) for k in range(options.seeds)]
        sumo = fmean(r.mean_delay_s for r in simulate_many(specs, jobs_at_once=options.jobs))
        mine, mine_s = ours(case)
        other, other_s = peer(case, options.engine)
        print(
            f"| {name} | {sumo:.1f} | {mine:.1f} | {other:.1f} | {100 * (mine / sumo - 1):+.0f} % "
            f"| {100 * (other / sumo - 1):+.0f} % | {1000 * mine_s:.1f} | {1000 * other_s:.0f} "
            f"| {other_s / mine_s:.0f} |",
            flush=True,
        )
    print("\n| edges | links | signals | vehicles | steps on routes | mean delay [s] | 15 minutes [ms] |")
    print("|---|---|---|---|---|---|---|")
    for vehicles in (1000, 3000, 6000):
        road, traffic, signals = grid(vehicles, 900.0, 1)
        mean_s, cost_s = timed(road, traffic, signals, (0.0, 900.0))
        print(
            f"| {len(road.lane_length)} | {len(road.link_from)} | {len(signals.cycle)} | {vehicles} "
            f"| {len(traffic.edges)} | {mean_s:.1f} | {1000 * cost_s:.1f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
