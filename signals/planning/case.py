"""A scenario read: network, demand, and what that means at each signal."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from signals.demand.turning import flows_vph, turning_counts
from signals.errors import InputError
from signals.formats.sumo.config import Scenario
from signals.formats.sumo.demand import record_demand
from signals.formats.sumo.network import read_network
from signals.model.demand import Demand, TurningCounts
from signals.model.network import Network

LEAD_IN_S = 600.0
"""Traffic of so long before a period is simulated with it, so that the period doesn't start empty."""


@dataclass(frozen=True)
class Case:
    """A scenario read: its network, who drives in it, and what that means at each signal.

    `vehicle_seconds` is the time that all vehicles together spend on the road under the plan in place.
    """

    scenario: Scenario
    network: Network
    demand: Demand
    counts: TurningCounts
    vehicle_seconds: float

    def flows_vph(self, time_s: float) -> dict[str, dict[str, float]]:
        """The flow of each movement by signal, in the interval of counting that a time lies in, or the nearest."""
        counts = self.counts
        k = min(max(int((time_s - counts.begin_s) // counts.interval_s), 0), counts.n_intervals - 1)
        return {signal: flows_vph(counts, signal, k, k) for signal in self.network.intersections}


def read_case(scenario: Scenario, *, seed: int = 1, cache: Path | None = None) -> Case:
    """Read a scenario's network and demand, and count turning movements at the time vehicles reach them.

    Raises
    ------
    InputError
        Where a file is broken or the network has no signals.
    SimulationError
        Where SUMO can't run the scenario.
    """
    network = read_network(scenario)
    if not network.intersections:
        raise InputError(f"{scenario.net}: has no signals, so there is nothing to time")
    demand, exit_times = record_demand(scenario, seed=seed, cache=cache)
    spent = sum(exit_times[v.id][-1] - v.depart_s for v in demand.vehicles if exit_times.get(v.id))
    return Case(scenario, network, demand, turning_counts(network, demand), spent)


def part_of(case: Case, start_s: float, end_s: float) -> Case:
    """The case as it is from `start_s` to `end_s`, with some traffic from before."""
    begin = max(case.demand.begin_s, start_s - LEAD_IN_S)
    demand = replace(
        case.demand,
        begin_s=begin,
        end_s=end_s,
        vehicles=tuple(v for v in case.demand.vehicles if begin <= v.depart_s < end_s),
    )
    return replace(case, demand=demand, counts=turning_counts(case.network, demand))
