"""A plan reaches virtual controllers over SNMP, and SUMO shows it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from signals.formats.sumo.config import read_scenario
from signals.formats.sumo.network import read_network
from signals.formats.sumo.xml import elements
from signals.model.plan import PlanRequest
from signals.operation.unit_street import UnitStreet
from signals.planning.scope import stage_plans
from signals.timing.stages import program_of
from sumo_nets import find_network

END_S = 900.0


def test_a_pushed_plan_is_what_sumo_shows(tmp_path: Path) -> None:
    scenario = replace(read_scenario(find_network("single")), end_s=END_S)
    network = read_network(scenario)
    base, _ = stage_plans(network, PlanRequest())
    ((signal, plan),) = base.items()
    longer = replace(plan.stages[-1], duration_s=plan.stages[-1].duration_s + 6.0)
    program = program_of(replace(plan, stages=(*plan.stages[:-1], longer)), "longer")
    states = tmp_path / "states.xml"
    street = UnitStreet(scenario, network, {}, seed=3, record=states)
    try:
        street.advance(60.0)
        applied = street.apply({signal: program})
        street.advance(END_S)
        seen = street.counts(0.0, END_S)
    finally:
        street.close()
    assert applied[signal].reason == ""
    assert street.in_force()[signal] == program
    assert sum(seen.passed.values()) > 100
    assert street.result is not None
    assert street.result.emergency_stops == 0
    shown = [row.get("state", "") for row in elements(states, "tlsState")]
    new, old = int(program.cycle_s), int(plan.cycle_s)
    assert new == old + 6
    assert shown[-new:] == shown[-2 * new : -new]
    assert shown[-old:] != shown[-2 * old : -old]
