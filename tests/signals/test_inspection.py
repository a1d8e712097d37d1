"""What inspect says of the shipped crossing `single`, against its README and its build script."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from signals.formats.sumo.config import read_scenario
from signals.inspection import SignalFacts, inspect_signals, mean_flows_vph, typical_vehicle
from signals.model.plan import PlanRequest
from signals.planning import Case, read_case
from signals.tables.plans import inspection_tables
from signals.tables.style import short_names
from sumo_nets import find_network


@pytest.fixture(scope="module")
def single() -> Case:
    return read_case(read_scenario(find_network("single")))


@pytest.fixture(scope="module")
def facts(single: Case) -> SignalFacts:
    (found,) = inspect_signals(single, PlanRequest())
    return found


def test_the_crossing_is_as_its_readme_says(facts: SignalFacts) -> None:
    # "Node centre, cycle 90 s"; four legs, "a crossing over each of the four legs"
    assert facts.id == "centre"
    assert facts.junctions == 1
    assert facts.approaches == ("EB", "NB", "SB", "WB")
    assert facts.cycle_s == 90
    assert facts.crossings == 4
    assert (facts.kind, facts.offset_s, facts.unplanned) == ("static", 0, "")
    assert facts.rings == "NEMA"  # "three stages by NEMA phase: 1+5, 2+6, 4+8"


def test_stages_are_those_of_the_timing_sheet(facts: SignalFacts) -> None:
    from sumo_nets.single.build import PROGRAM

    # walk and clearance share a green, so that the two stages with a walk come in two parts each
    lefts = [s for s in facts.stages if s.protected == ("EB L", "WB L")]
    main = [s for s in facts.stages if s.protected == ("EB T", "WB T")]
    side = [s for s in facts.stages if s.protected == ("NB T", "SB T")]
    assert len(lefts) + len(main) + len(side) == len(facts.stages)
    for parts, sheet in zip((lefts, main, side), PROGRAM.stages):
        assert sum(s.duration_s for s in parts) == sheet.green_s
    assert [len({c for s in parts for c in s.crossings}) for parts in (lefts, main, side)] == [0, 2, 2]
    for stage in facts.stages:
        assert stage.min_s <= stage.duration_s
        assert stage.max_s is None or stage.duration_s <= stage.max_s
    # "lefts permitted" beside the through movements
    assert {"EB L", "WB L"} <= set(main[0].permitted)
    assert {"NB L", "SB L"} <= set(side[0].permitted)
    # a change is yellow 3.6 s and all-red 2.4 s
    assert sum(s.duration_s for s in facts.stages) == pytest.approx(facts.cycle_s - 3 * (3.6 + 2.4))


def test_flows_and_measures_are_plausible(single: Case, facts: SignalFacts) -> None:
    # README: 2374 vehicles over the hour, each through the one signal; some are on the way at the end
    assert 0.98 * 2374 <= facts.flow_vph <= 2375
    assert facts.flow_vph == pytest.approx(sum(mean_flows_vph(single, "centre").values()))
    # README: "it serves all demand (v/c 0.5-0.75)"
    assert 0.5 <= facts.vc_ratio <= 0.75
    # README: 31.6 s/veh in SUMO; HCM and SUMO differ, but not by a level of service
    assert facts.control_delay_s == pytest.approx(31.6, rel=0.25)
    assert facts.level_of_service == "C"  # HCM: 20-35 s/veh


def test_the_protected_lefts_could_go_permitted(facts: SignalFacts) -> None:
    (lefts,) = (d for d in facts.droppable if "EB L" in d)
    assert lefts == "stage 1 (permitted from then on: EB L, WB L)"


def test_facts_are_plain_data(facts: SignalFacts) -> None:
    again = json.loads(json.dumps(facts.to_json(), allow_nan=False))
    assert again["id"] == facts.id
    assert [s["max_s"] for s in again["stages"]] == [s.max_s for s in facts.stages]


def test_without_demand_there_is_nothing_to_measure(single: Case) -> None:
    nobody = replace(
        single,
        demand=replace(single.demand, vehicles=()),
        counts=replace(single.counts, counts={}, link_flows={}),
    )
    (facts,) = inspect_signals(nobody, PlanRequest())
    assert (facts.flow_vph, facts.vc_ratio) == (0, 0)
    assert typical_vehicle(nobody).vehicle_class == "passenger"


def test_a_signal_without_program_is_shown_with_the_reason(single: Case, tmp_path: Path) -> None:
    from rich.console import Console

    centre = replace(single.network.intersections["centre"], program=None)
    case = replace(single, network=replace(single.network, intersections={"centre": centre}))
    (facts,) = inspect_signals(case, PlanRequest())
    assert facts.stages == ()
    assert "has no program" in facts.unplanned
    console = Console(width=120, markup=False)
    with console.capture() as capture:
        for table in inspection_tables(case, [facts]):
            console.print(table)
    said = capture.get()
    assert "not planned" in said
    assert "has no program" in said


def test_tables_fit_a_terminal_whatever_the_ids(single: Case, facts: SignalFacts) -> None:
    from rich.console import Console

    rows = [replace(facts, id=f"cluster_{'0123456789_' * 11}{k}_end_of_it") for k in range(12)]
    console = Console(width=120, markup=False)
    with console.capture() as capture:
        for table in inspection_tables(single, rows):
            console.print(table)
    lines = capture.get().splitlines()
    assert max(map(len, lines)) <= 120
    assert not any("…" in line.replace(name, "") for line in lines for name in [""] if line.endswith("…"))
    assert any(f"{facts.flow_vph:.0f}" in line and " C" in line for line in lines)


def test_short_names_are_short_and_differ() -> None:
    ids = ["a", "b" * 24, *("cluster_" + "x" * 90 + f"_{k}_" + "tail_of_it" for k in range(12))]
    names = short_names(ids)
    assert list(names) == ids
    assert names["a"] == "a"
    assert names["b" * 24] == "b" * 24
    assert len(set(names.values())) == len(ids)
    assert max(map(len, names.values())) <= 24
