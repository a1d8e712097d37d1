"""Documents of a plan: what each says agrees with the plan set, and the same plan gives the same bytes."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys
from collections import defaultdict
from dataclasses import replace
from functools import cache
from pathlib import Path
from xml.etree import ElementTree

import pytest

from signals import documents
from signals.documents import REFERENCE_POINT, Document, plan_documents, signal_timings
from signals.formats.sumo.config import read_scenario
from signals.formats.sumo.programs import program_name, read_plans, write_plans
from signals.model.network import Network
from signals.model.phasing import Interval
from signals.model.plan import OmittedStage, PlanRequest, PlanSet, TimingPlan
from signals.planning import Case, Planned, Raced, read_case
from signals.report.plans import measure_plan, planned_facts
from signals.timing.problem import at_cycle, pose
from signals.timing.stages import program_of, stage_plan, without_stages
from signals.timing.stretches import coordination_groups
from sumo_nets import find_network

ROOT = Path(__file__).resolve().parents[2]
WINDOW_S = 900.0


@cache
def case_of(name: str) -> Case:
    """The first minutes of a shipped network."""
    scenario = read_scenario(find_network(name))
    return read_case(replace(scenario, end_s=scenario.begin_s + WINDOW_S))


@cache
def planned(name: str = "single", *cycles_s: int) -> Planned:
    """A plan set as planning gives it, at HCM splits: one period a cycle, found without a search."""
    case, request = case_of(name), PlanRequest()
    network = case.network
    base = {s: stage_plan(i, request, network.connections) for s, i in network.intersections.items()}
    groups = coordination_groups(network, case.counts)
    problem = pose(network, case.demand, case.counts, base, groups, {}, lambda _p, _o: True, request)
    full = {s: tuple(range(len(p.stages))) for s, p in base.items()}
    periods = tuple(
        {s: TimingPlan(problem.program(s, c)) for s, c in at_cycle(problem, full, cycle).items()}
        for cycle in cycles_s or (70,)
    )
    half = case.demand.begin_s + WINDOW_S / 2
    switches = {s: (half,) * (len(periods) - 1) for s in periods[0]} if len(periods) > 1 else {}
    plans = PlanSet(periods, switches, {}, 1, "test", case.scenario.content_hash())
    race = (Raced("in place", 40.0, (40.0,), (1.5,), 0, 0), Raced("candidate 1", 30.0, (30.0,), (1.2,), 0, 0))
    return Planned(case, request, plans, race, "candidate 1", False, 50, 6)


def by_kind(result: Planned) -> dict[str, Document]:
    return {d.kind: d for d in plan_documents(result)}


def sheet_of(result: Planned) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(by_kind(result)["sheet"].content.decode(), newline="")))


@pytest.mark.parametrize("cycles_s", [(70,), (60, 90)])
def test_the_parts_of_each_cycle_add_up_in_the_timing_sheet(cycles_s: tuple[int, ...]) -> None:
    result = planned("single", *cycles_s)
    rows = sheet_of(result)
    assert [int(r["stage"]) for r in rows] == [1, 2, 3, 4, 5] * len(cycles_s), "`single` has five stages"
    sums: dict[tuple[str, str], float] = defaultdict(float)
    for r in rows:
        sums[r["signal"], r["period"]] += float(r["green_s"]) + float(r["yellow_s"]) + float(r["all_red_s"])
        assert float(r["green_s"]) >= float(r["min_green_s"]) > 0
    for (signal, period), total_s in sums.items():
        program = result.plans.periods[int(period) - 1][signal].program
        assert total_s == pytest.approx(program.cycle_s)
        told = next(r for r in rows if (r["signal"], r["period"]) == (signal, period))
        assert float(told["cycle_s"]) == program.cycle_s
        assert float(told["offset_s"]) == program.offset_s
    times = {(r["from_s"], r["to_s"]) for r in rows}
    assert times == ({("", "")} if len(cycles_s) == 1 else {("0", "450"), ("450", "900")})


def test_each_stage_names_whom_it_lets_go_and_how_long_people_walk() -> None:
    result = planned()
    field = stage_plan(result.case.network.intersections["centre"], result.request)
    (timing,) = signal_timings(result)
    for stage, own in zip(timing.stages, field.stages):
        assert stage.min_green_s == own.min_s
        assert bool(stage.protected) == bool(own.protected - own.permitted) or own.permitted
        for name in (*stage.protected, *stage.permitted):
            assert name[-1] in "LTRU"
            assert name[:-1] in {"NB", "EB", "SB", "WB"}
    walked = [s for s in timing.stages if s.pedestrian_clearance_s is not None]
    assert walked, "`single` has crossings"
    lengths = {c.length_m for c in result.case.network.intersections["centre"].crossings}
    for s in walked:
        assert s.pedestrian_clearance_s is not None
        assert s.pedestrian_green_s is not None
        assert min(lengths) / 1.07 <= s.pedestrian_clearance_s <= max(lengths) / 1.07 + 0.1
        assert s.green_s <= s.pedestrian_green_s < timing.cycle_s


def test_the_program_in_place_is_told_by_its_own_stages() -> None:
    """A plan in place may begin in the middle of a stage: the sheet refers to the start of green all the same."""
    result = planned()
    network = result.case.network
    own = network.intersections["centre"].program
    assert own
    first = own.intervals[0]
    cut = (
        replace(first, duration_s=first.duration_s - 4.0),
        *own.intervals[1:],
        replace(first, duration_s=4.0),
    )
    turned = replace(own, intervals=cut)
    intersection = replace(network.intersections["centre"], program=turned)
    case = replace(result.case, network=replace(network, intersections={"centre": intersection}))
    kept = replace(result, case=case, plans=replace(result.plans, periods=({"centre": TimingPlan(turned)},)))
    (told,) = signal_timings(kept)
    (plain,) = signal_timings(
        replace(result, plans=replace(result.plans, periods=({"centre": TimingPlan(own)},)))
    )
    assert [s.green_s for s in told.stages] == [s.green_s for s in plain.stages]
    assert told.offset_s == (plain.offset_s - 4.0) % told.cycle_s
    assert sum(s.green_s + s.yellow_s + s.all_red_s for s in told.stages) == pytest.approx(told.cycle_s)


def test_stages_left_out_are_told_with_what_becomes_permitted() -> None:
    result = planned()
    network = result.case.network
    field = stage_plan(network.intersections["centre"], result.request)
    movement = network.intersections["centre"].movements[0]
    shorter = TimingPlan(
        program_of(without_stages(field, [1]), "x"), (OmittedStage(field.stages[1].state, (movement.id,)),)
    )
    result = replace(result, plans=replace(result.plans, periods=({"centre": shorter},)))
    first, *others = sheet_of(result)
    assert len(others) == 3
    assert field.stages[1].state in first["stages_left_out"]
    assert "permitted from now on" in first["stages_left_out"]
    assert all(not r["stages_left_out"] for r in others)


def renamed(result: Planned, name: str) -> Planned:
    """The same plan with its signal under another id."""
    (old,) = result.case.network.intersections
    network = result.case.network
    intersection = replace(network.intersections[old], id=name)
    assert intersection.program
    intersection = replace(intersection, program=replace(intersection.program, intersection=name))
    counts = replace(result.case.counts, counts={name: result.case.counts.counts[old]})
    net: Network = replace(
        network,
        intersections={name: intersection},
        connections=tuple(
            replace(c, signal=name if c.signal == old else c.signal) for c in network.connections
        ),
    )
    plan = result.plans.periods[0][old]
    plan = replace(plan, program=replace(plan.program, intersection=name))
    return replace(
        result,
        case=replace(result.case, network=net, counts=counts),
        plans=replace(result.plans, periods=({name: plan},)),
    )


@pytest.mark.parametrize("name", ["=cmd|' /C calc'!A0", "+1", "-1", "@SUM(A1)", "\tx", "\x01x"])
def test_no_id_becomes_a_formula(name: str) -> None:
    rows = sheet_of(renamed(planned(), name))
    assert {r["signal"] for r in rows} == {f"'{name}"}


def test_ids_are_text_in_the_report_whatever_they_hold() -> None:
    page = by_kind(renamed(planned(), "<script>alert(1)</script>&amp;"))["hcm"].content.decode()
    assert "<script>" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;&amp;amp;" in page


def test_the_facts_hold_the_plan_and_its_stages() -> None:
    result = planned("single", 60, 90)
    document = by_kind(result)["plan"]
    facts = json.loads(document.content)
    assert facts["plan"] == result.plans.digest
    told = json.loads(json.dumps(planned_facts(result, None)))
    assert {k: facts[k] for k in told} == told
    assert facts["reference_point"] == REFERENCE_POINT
    assert [t["period"] for t in facts["timings"]] == [0, 1]
    assert facts["timings"][0]["to_s"] == facts["timings"][1]["from_s"] == WINDOW_S / 2
    assert document.content.decode() == json.dumps(facts, indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def test_the_sumo_file_is_the_one_that_is_written(tmp_path: Path) -> None:
    result = planned()
    path, again = tmp_path / "document.add.xml", tmp_path / "written.add.xml"
    path.write_bytes(by_kind(result)["sumo"].content)
    write_plans(result.plans, again)
    assert path.read_bytes() == again.read_bytes()
    (program,) = read_plans([path]).values()
    expected = result.plans.periods[0]["centre"].program
    assert program.program == program_name(result.plans, 0)
    assert program.intervals == tuple(Interval(i.duration_s, i.state) for i in expected.intervals)
    assert program.offset_s == expected.offset_s


def test_the_hcm_report_is_well_formed_and_grades_each_signal_before_and_after() -> None:
    result = planned()
    page = by_kind(result)["hcm"].content.decode()
    root = ElementTree.fromstring(page)
    assert "@media print" in page
    assert "chapter 19" in page
    assert "Eq. 19-18" in page
    assert not [e for e in root.iter() if e.get("src") or e.get("href")], "it stands alone"
    (section,) = root.iter("section")
    assert section.findtext("h2") == "Signal centre"
    before, after = section.iter("table")
    for table, measured in (
        (after, measure_plan(result, result.plans.periods[0]["centre"])),
        (before, documents.measure_in_place(result.case, "centre")),
    ):
        assert measured
        totals = list(table.find("tfoot") or ())
        last = [cell.text or "" for cell in totals[-1]]
        assert last[0] == "intersection"
        assert last[-1] == measured.whole.level_of_service
        assert float(last[-3]) == pytest.approx(measured.whole.control_delay_s, abs=0.051)
        assert len(list(table.find("tbody") or ())) == len(measured.lanes)
        assert len(totals) == len(measured.approaches) + 1


def test_a_network_with_corridors_has_a_diagram_of_each_and_one_without_has_none() -> None:
    assert "time-space" not in by_kind(planned())
    drawn = [d for d in plan_documents(planned("arterial")) if d.kind == "time-space"]
    assert drawn
    assert len({d.name for d in drawn}) == len(drawn)
    for document in drawn:
        assert document.name.endswith(".svg")
        assert "/" not in document.name
        assert document.media_type == "image/svg+xml"
        assert ElementTree.fromstring(document.content).tag.endswith("svg")
        assert b"<dc:date>" not in document.content


SCRIPT = """
import hashlib
from tests.signals.test_documents import plan_documents, planned
for name in ("single", "arterial"):
    for d in plan_documents(planned(name)):
        print(d.kind, d.name, hashlib.sha256(d.content).hexdigest())
"""


def test_two_processes_give_the_same_bytes() -> None:
    said = [
        subprocess.run(
            [sys.executable, "-c", SCRIPT],
            cwd=ROOT,
            env={**os.environ, "PYTHONHASHSEED": str(seed)},
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        for seed in (1, 2)
    ]
    assert said[0] == said[1]
    assert said[0].count("time-space") > 0
    assert [d.content for d in plan_documents(planned())] == [d.content for d in plan_documents(planned())]
