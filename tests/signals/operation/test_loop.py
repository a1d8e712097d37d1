"""The loop around SUMO: keeps what is good, follows a surge, shows nothing unsafe, and sees nothing ahead."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import asdict, replace
from itertools import pairwise
from pathlib import Path

import pytest

from signals.formats.sumo.config import Scenario, read_scenario
from signals.formats.sumo.demand import read_demand
from signals.formats.sumo.network import read_network
from signals.formats.sumo.xml import elements
from signals.model.network import Network
from signals.model.phasing import SignalProgram
from signals.model.plan import PlanRequest
from signals.operation import Operated, OperateSettings, operate
from signals.operation.decide import Kind
from signals.safety.check import check_timeline
from signals.safety.timeline import unroll_between
from signals.simulation.run import simulate
from sumo_nets import find_network

SURGE_S = 1500.0
QUICK = OperateSettings(evaluations=150, library_runs=150)


@pytest.fixture(scope="module")
def scenario() -> Scenario:
    """One intersection for 40 minutes."""
    return replace(read_scenario(find_network("single")), end_s=2400.0)


@pytest.fixture(scope="module")
def network(scenario: Scenario) -> Network:
    """Its network."""
    return read_network(scenario)


def write_surge(scenario: Scenario, path: Path, later_s: float) -> Path:
    """Twice the traffic of the busiest entry from 25 minutes on, or so much later."""
    demand = read_demand(scenario)
    number: defaultdict[str, int] = defaultdict(int)
    for vehicle in demand.vehicles:
        number[vehicle.edges[0]] += 1
    busiest = max(sorted(number), key=lambda edge: number[edge])
    rows = [
        f'<vehicle id="again-{v.id}" depart="{v.depart_s + later_s:.2f}" departLane="best">'
        f'<route edges="{" ".join(v.edges)}"/></vehicle>'
        for v in demand.vehicles
        if v.depart_s >= SURGE_S and v.edges[0] == busiest
    ]
    path.write_text("\n".join(["<additional>", *rows, "</additional>"]))
    return path


@pytest.fixture(scope="module")
def states(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where SUMO records what the signal shows."""
    return tmp_path_factory.mktemp("states") / "states.xml"


@pytest.fixture(scope="module")
def usual(scenario: Scenario, states: Path) -> Operated:
    """A usual day."""
    return operate(scenario, replace(QUICK, record=states), seed=7)


def test_the_loop_beats_the_plan_that_it_began_with(scenario: Scenario, usual: Operated) -> None:
    plain = simulate(scenario, seed=7)
    assert usual.changes >= 1
    assert usual.run.demand == plain.demand
    assert usual.run.mean_delay_s < plain.mean_delay_s


def test_what_signals_show_is_safe(
    scenario: Scenario, network: Network, states: Path, usual: Operated
) -> None:
    assert usual.changes >= 1
    end = scenario.end_s
    assert end is not None
    for signal, intersection in network.intersections.items():
        programs = _shown(usual, network, signal)
        pieces = [
            piece
            for (start, program), (stop, _) in pairwise([*programs, (end, programs[-1][1])])
            for piece in unroll_between(program, start, stop)
        ]
        window = (200.0, end - 200.0)
        assert not check_timeline(
            intersection, pieces, 0.0, window, PlanRequest(), connections=network.connections
        )
    # SUMO changes a program's state in the step in which its time falls
    for row in elements(states, "tlsState"):
        second = float(row.get("time", "nan"))
        program = next(p for t, p in reversed(_shown(usual, network, row.get("id", ""))) if t <= second)
        assert row.get("state") == program.state_at(second + 0.999)


def _shown(operated: Operated, network: Network, signal: str) -> list[tuple[float, SignalProgram]]:
    """The programs of a signal, each with the second from which it is in force."""
    first = network.intersections[signal].program
    assert first is not None
    changes = [
        (time_s, slot.decision.chosen.programs[signal])
        for slot in operated.slots
        if signal in slot.applied and (time_s := slot.applied[signal].time_s) is not None
    ]
    return [(0.0, first), *changes]


def test_what_comes_later_changes_no_decision_before(scenario: Scenario, tmp_path: Path) -> None:
    # as many vehicles in both: SUMO draws what they are like as it loads them
    days = [
        operate(scenario, QUICK, seed=7, extra=[write_surge(scenario, tmp_path / f"{k}.add.xml", later_s)])
        for k, later_s in enumerate((0.0, 600.0))
    ]
    before, same = ([s.to_json() for s in d.slots if s.now_s < SURGE_S] for d in days)
    assert len(before) >= 2
    assert same == before
    assert days[0].run.demand > days[1].run.demand


def test_a_street_in_which_nothing_changes_has_the_figures_of_a_plain_run(scenario: Scenario) -> None:
    short = replace(scenario, end_s=1200.0)
    kept = operate(short, replace(QUICK, margin=10.0), seed=5)
    assert kept.changes == 0
    plain = asdict(simulate(short, seed=5))
    for measure in (
        "demand",
        "arrived",
        "mean_delay_s",
        "mean_speed_mps",
        "congestion_index",
        "queue_max_veh",
    ):
        assert getattr(kept.run, measure) == plain[measure]
    assert kept.run.stops_per_vehicle == plain["stops_per_vehicle"]


@pytest.mark.slow  # a second run of the loop, 10 s
def test_a_plan_that_suits_is_kept(scenario: Scenario, usual: Operated, tmp_path: Path) -> None:
    from signals.formats.sumo.programs import write_plans
    from signals.model.plan import Refinement
    from signals.planning import plan_case, read_case

    planned = plan_case(read_case(scenario), PlanRequest(), refinement=Refinement.NONE)
    plan = tmp_path / "plan.add.xml"
    write_plans(planned.plans, plan)
    kept = operate(scenario, QUICK, seed=7, start=plan)
    assert [s.decision.chosen.kind for s in kept.slots] == [Kind.KEEP] * len(kept.slots)
