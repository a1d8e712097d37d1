"""Kernels with the work fixed: one network hour in the queue simulator, the splits of one signal."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from kernels.lane_cost import Goal
from kernels.queues import simulate
from kernels.split_bound import Scenarios, StageSignal
from kernels.splits import BOX_LIMIT, best_splits
from signals.formats.sumo.config import read_scenario
from signals.planning import read_case
from signals.simulation.run import RunSpec, simulate_many
from signals.timing.pack import FLOW_RULES, pack_road, pack_signals, pack_traffic
from sumo_nets import find_network


@pytest.fixture(scope="module")
def hour() -> tuple[Any, ...]:
    """The shipped grid, its demand and its programs, as arrays."""
    case = read_case(read_scenario(find_network("grid")))
    road = pack_road(case.network, {t.vehicle_class for t in case.demand.types.values()} | {"passenger"})
    traffic = pack_traffic(case.network, road, case.demand, speed_spread=0.1, seed=1)
    programs = {s: [(-1e18, case.network.intersections[s].program)] for s in road.signals}
    return case, road, traffic, pack_signals(road, programs)  # type: ignore[arg-type]


def run(hour: tuple[Any, ...]) -> float:
    """Mean delay of the hour by the queue simulator."""
    case, road, traffic, signals = hour
    n = len(road.connections)
    window = (case.demand.begin_s, case.demand.end_s)
    lost, passed = np.zeros(n), np.zeros(n, np.int64)
    stops = np.zeros(len(traffic.depart), np.int64)
    return float(simulate(road.arrays, traffic, signals, FLOW_RULES, *window, lost, passed, stops).mean())


@pytest.mark.benchmark(group="one hour of the grid")
def bench_queue_simulator(benchmark: Any, hour: tuple[Any, ...]) -> None:
    """Warm: compiled before the first round."""
    run(hour)
    assert benchmark(run, hour) > 0


@pytest.mark.benchmark(group="one hour of the grid")
def bench_sumo(benchmark: Any, hour: tuple[Any, ...]) -> None:
    """The peer: SUMO on the same hour, one process."""
    spec = RunSpec(hour[0].scenario, 1, light=True)
    results = benchmark.pedantic(simulate_many, args=([spec],), kwargs={"jobs_at_once": 1}, rounds=3)
    assert results[0].demand > 0


@pytest.mark.benchmark(group="splits")
def bench_splits(benchmark: Any) -> None:
    """Eight lanes, four stages, a cycle of 90 s."""
    generator = np.random.default_rng(1)
    signal = StageSignal(
        np.ascontiguousarray(np.kron(np.eye(4), np.ones((1, 2)))),
        np.zeros(8),
        np.full(8, 0.5),
        np.full(4, 5, np.int64),
        np.full(4, 60, np.int64),
    )
    demand = Scenarios(generator.uniform(0.03, 0.12, (1, 8)), np.ones(1), 0.0)
    green = np.zeros(4, np.int64)

    def solve() -> int:
        return int(best_splits(signal, demand, Goal(1.0, 0.0, 0.25), 74, 90.0, BOX_LIMIT, green)[0])

    assert solve() == 0
    assert benchmark(solve) == 0
    assert green.sum() == 74
