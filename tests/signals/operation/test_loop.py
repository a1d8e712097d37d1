"""The loop around SUMO: keeps what is good, follows a surge, shows nothing unsafe, and sees nothing ahead."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import pytest

from signals.formats.sumo.config import Scenario, read_scenario
from signals.formats.sumo.demand import read_demand
from signals.formats.sumo.network import read_network
from signals.formats.sumo.xml import elements
from signals.model.network import Network
from signals.model.plan import PlanRequest
from signals.operation import Operated, OperateSettings, operate
from signals.operation.decide import Kind
from signals.safety.check import check_timeline
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


@pytest.fixture(scope="module")
def surge(scenario: Scenario, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twice the traffic of the busiest entry, from 25 minutes on."""
    demand = read_demand(scenario)
    number: defaultdict[str, int] = defaultdict(int)
    for vehicle in demand.vehicles:
        number[vehicle.edges[0]] += 1
    busiest = max(sorted(number), key=lambda edge: number[edge])
    path = tmp_path_factory.mktemp("surge") / "surge.add.xml"
    rows = [
        f'<vehicle id="again-{v.id}" type="{v.type}" depart="{v.depart_s:.2f}" departLane="best">'
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


def test_what_signals_show_is_safe(network: Network, states: Path, usual: Operated) -> None:
    assert usual.changes >= 1
    shown: defaultdict[str, list[tuple[float, str]]] = defaultdict(list)
    for row in elements(states, "tlsState"):
        shown[row.get("id", "")].append((1.0, row.get("state", "")))
    assert set(shown) == set(network.intersections)
    for signal, pieces in shown.items():
        window = (200.0, len(pieces) - 200.0)
        found = check_timeline(
            network.intersections[signal],
            pieces,
            0.0,
            window,
            PlanRequest(),
            connections=network.connections,
        )
        # whole seconds show a yellow of 3.6 s for 3 or 4: field and plans alike
        assert {f.message for f in found} <= {
            f.message for f in _in_field(network, signal, len(pieces), window)
        }


def _in_field(network: Network, signal: str, seconds: int, window: tuple[float, float]) -> tuple[object, ...]:
    program = network.intersections[signal].program
    assert program is not None
    pieces = [(1.0, program.state_at(k + 0.999)) for k in range(seconds)]
    return check_timeline(
        network.intersections[signal], pieces, 0.0, window, PlanRequest(), connections=network.connections
    )


def test_what_comes_later_changes_no_decision_before(
    scenario: Scenario, usual: Operated, surge: Path
) -> None:
    other = operate(scenario, QUICK, seed=7, extra=[surge])
    before = [s.to_json() for s in usual.slots if s.now_s < SURGE_S]
    assert len(before) >= 2
    assert [s.to_json() for s in other.slots if s.now_s < SURGE_S] == before
    assert other.run.demand > usual.run.demand


def test_a_street_in_which_nothing_changes_has_the_figures_of_a_plain_run(scenario: Scenario) -> None:
    short = replace(scenario, end_s=1200.0)
    kept = operate(short, replace(QUICK, margin=10.0), seed=5)
    assert kept.changes == 0
    assert replace(kept.run, warnings={}) == pytest.approx(replace(simulate(short, seed=5), warnings={}))


@pytest.mark.slow  # a second run of the loop, 10 s
def test_a_plan_that_suits_is_kept(scenario: Scenario, usual: Operated, tmp_path: Path) -> None:
    from signals.formats.sumo.programs import write_plans
    from signals.planning import plan_case, read_case
    from signals.model.plan import Refinement

    planned = plan_case(read_case(scenario), PlanRequest(), refinement=Refinement.NONE)
    plan = tmp_path / "plan.add.xml"
    write_plans(planned.plans, plan)
    kept = operate(scenario, QUICK, seed=7, start=plan)
    assert [s.decision.chosen.kind for s in kept.slots] == [Kind.KEEP] * len(kept.slots)
