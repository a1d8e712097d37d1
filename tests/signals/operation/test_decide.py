"""What is decided follows what was counted, and policies bind."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace

import pytest

from signals.formats.sumo.config import read_scenario
from signals.formats.sumo.demand import read_demand
from signals.formats.sumo.network import read_network
from signals.model.demand import Demand
from signals.model.network import Network
from signals.model.plan import PlanRequest
from signals.operation.ahead import look_ahead
from signals.operation.decide import Decision, Kind, decide
from signals.operation.knowledge import Knowledge, OperateSettings, prepare
from signals.operation.street import Observed
from sumo_nets import find_network

SIGNAL = "centre"
NOW_S = 1800.0
PLAIN = OperateSettings(evaluations=120, library_runs=0)


@pytest.fixture(scope="module")
def network() -> Network:
    """One intersection."""
    return read_network(read_scenario(find_network("single")))


@pytest.fixture(scope="module")
def day() -> Demand:
    """Its demand."""
    return read_demand(read_scenario(find_network("single")))


def decided(knowledge: Knowledge, times: dict[str, float], queue: dict[str, float]) -> Decision:
    """The decision after two slots in which entries had so many times their usual vehicles."""
    for begin in (0.0, 900.0):
        usual = knowledge.expectation.typical(begin, begin + 900.0)
        entered = {edge: n * times.get(edge, 1.0) for edge, n in usual.items()}
        knowledge.expectation.learn(entered, begin, begin + 900.0)
    seen = Observed(900.0, NOW_S, {}, {}, queue)
    programs = {s: i.program for s, i in knowledge.problem.network.intersections.items() if i.program}
    outlook = look_ahead(knowledge, programs, seen, NOW_S, 7200.0, {})
    settings = knowledge.settings
    return decide(
        outlook,
        knowledge.current,
        knowledge.library,
        seed=1,
        evaluations=settings.evaluations,
        margin=settings.margin,
    )


def green_s(network: Network, knowledge: Knowledge, decision: Decision, edge: str) -> float:
    """Share of the cycle in which somebody from an approach has green."""
    plan, choice = knowledge.problem.base[SIGNAL], decision.chosen.solution[SIGNAL]
    links = {
        k
        for k, positions in enumerate(network.intersections[SIGNAL].connections)
        if any(network.connections[p].from_edge.startswith(edge) for p in positions)  # pockets are edges
    }
    shown = sum(g for g, s in zip(choice.green_s, plan.stages, strict=True) if s.green & links)
    return shown / knowledge.problem.cycle_s(SIGNAL, choice)


def test_a_surge_on_an_approach_gets_it_more_green(network: Network, day: Demand) -> None:
    number: defaultdict[str, int] = defaultdict(int)
    for vehicle in day.vehicles:
        number[vehicle.edges[0]] += 1
    knowledge = prepare(network, day, PLAIN)
    quiet = min((e for e in knowledge.expectation.entries if number[e]), key=lambda e: (number[e], e))
    usual = decided(knowledge, {}, {})
    surged = decided(prepare(network, day, PLAIN), {quiet: 2.5}, {quiet: 40.0})
    assert surged.chosen.kind is not Kind.KEEP
    assert surged.surely > 0.0
    assert green_s(network, knowledge, surged, quiet) > green_s(network, knowledge, usual, quiet) + 0.03


def test_the_same_counts_lead_to_the_same_decision(network: Network, day: Demand) -> None:
    first, second = (decided(prepare(network, day, PLAIN), {}, {}) for _ in range(2))
    assert first == second


def test_a_plan_that_the_policy_forbids_is_left_whatever_that_costs(network: Network, day: Demand) -> None:
    longest = 70.0
    bound = replace(PLAIN, request=PlanRequest(max_cycle_s=longest), cycle_binds=True)
    knowledge = prepare(network, day, bound)
    assert knowledge.problem.cycle_s(SIGNAL, knowledge.current[SIGNAL]) > longest
    decision = decided(knowledge, {}, {})
    assert decision.chosen.kind is Kind.SWITCH
    assert knowledge.problem.cycle_s(SIGNAL, decision.chosen.solution[SIGNAL]) <= longest


def test_a_change_must_save_more_than_the_margin(network: Network, day: Demand) -> None:
    careful = prepare(network, day, replace(PLAIN, margin=0.9))
    decision = decided(careful, {}, {})
    assert decision.chosen.kind is Kind.KEEP
    assert decision.best is not None
    assert 0.0 < decision.gain < 0.9
