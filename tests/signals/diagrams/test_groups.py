"""Rows and runs say exactly what the program says."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from signals.diagrams.groups import (
    Run,
    approach_names,
    check_program,
    green_runs,
    idle_links,
    movement_runs,
    pieces,
    signal_groups,
    signal_runs,
    stage_times,
)
from signals.errors import InputError
from signals.formats.sumo.config import read_scenario
from signals.formats.sumo.network import read_network
from signals.model.network import Intersection, Network
from signals.model.phasing import Interval, SignalProgram
from signals.model.plan import PlanRequest
from signals.timing.stages import stage_plan
from sumo_nets import NETWORKS, find_network

LETTERS = "Ggyurso"


@st.composite
def programs(draw: st.DrawFn) -> SignalProgram:
    """Any cyclic program of three links: whole and tenth seconds, empty intervals too, at least a second long."""
    rows = draw(
        st.lists(
            st.tuples(st.integers(0, 400), st.text(LETTERS, min_size=3, max_size=3)), min_size=1, max_size=12
        ).filter(lambda rows: sum(tenths for tenths, _ in rows) >= 10)
    )
    offset_s = draw(st.integers(-200, 200))
    return SignalProgram("J", "p", "static", offset_s, tuple(Interval(t / 10, state) for t, state in rows))


def shown(runs: tuple[Run, ...], cycle_s: float, second: float) -> str:
    """The letter of the run that covers a second of the cycle."""
    (letter,) = {r.letter for r in runs if (second - r.start_s) % cycle_s < r.duration_s}
    return letter


@settings(max_examples=150, deadline=None)
@given(programs(), st.integers(0, 2))
def test_runs_add_up_to_the_cycle_and_show_the_program(program: SignalProgram, link: int) -> None:
    runs = signal_runs(program, link)
    cycle_s = program.cycle_s
    assert sum(r.duration_s for r in runs) == pytest.approx(cycle_s)
    assert all(0 <= r.start_s < cycle_s for r in runs)
    assert [r.start_s for r in runs] == sorted(r.start_s for r in runs)
    # around the cycle no two neighbours show the same
    if len(runs) > 1:
        assert all(a.letter != b.letter for a, b in zip(runs, (*runs[1:], runs[0])))
    clock = 0.0
    for interval in program.intervals:
        if interval.duration_s > 0:
            middle = clock + interval.duration_s / 2
            assert shown(runs, cycle_s, middle) == interval.state[link]
        clock += interval.duration_s


@settings(max_examples=100, deadline=None)
@given(programs(), st.sets(st.integers(0, 2), min_size=1))
def test_green_time_is_that_of_the_intervals(program: SignalProgram, links: set[int]) -> None:
    expected = sum(i.duration_s for i in program.intervals if any(i.state[k] in "Gg" for k in links))
    assert sum(r.duration_s for r in green_runs(program, links)) == pytest.approx(expected)
    either = sum(r.duration_s for r in movement_runs(program, links) if r.letter in "Gg")
    assert either == pytest.approx(expected)


def test_a_green_over_the_end_of_the_cycle_is_one_run(program_of: Callable[..., SignalProgram]) -> None:
    # ROWS: link 1 is green for 20 s from second 50 of a 70-s cycle and for 10 s from its start
    (run,) = green_runs(program_of(), [1])
    assert (run.start_s, run.duration_s) == (50.0, 30.0)
    assert pieces(run.start_s, run.duration_s, 70.0) == ((50.0, 70.0), (0.0, 10.0))
    first = signal_runs(program_of(), 1)[0]
    assert (first.start_s, first.letter) == (10.0, "y")


def test_green_all_the_time_is_one_run_from_the_start(program_of: Callable[..., SignalProgram]) -> None:
    always = program_of(rows=((30.0, "Gr"), (30.0, "gG")))
    (run,) = green_runs(always, [0])
    assert (run.start_s, run.duration_s) == (0.0, 60.0)


def test_rows_hold_every_link_once_and_equal_links_together(junction: Intersection, network: Network) -> None:
    program = junction.program
    assert program is not None
    groups = signal_groups(junction, network, [program])
    assert sorted(i for g in groups for i in g.links) == list(range(13))
    columns = [{tuple(i.state[k] for i in program.intervals) for k in g.links} for g in groups]
    assert all(len(column) == 1 for column in columns)
    assert len(set.union(*columns)) == len(groups)


def test_labels_name_approach_and_turns(junction: Intersection, network: Network) -> None:
    # the legs and turns of conftest: north-south in one stage, lefts permitted; east-west in another
    program = junction.program
    assert program is not None
    labels = [g.label for g in signal_groups(junction, network, [program])]
    assert labels == ["NB+SB L", "NB+SB T/R", "EB+WB L/T", "EB+WB R", "Ped N"]


def test_rows_are_fine_enough_for_all_programs(junction: Intersection, network: Network) -> None:
    program = junction.program
    assert program is not None
    # a plan that lets north-bound traffic go first for five seconds
    early = (Interval(5.0, "rGGrrrrrrrrrr"), *program.intervals)
    groups = signal_groups(junction, network, [program, replace(program, intervals=early)])
    assert {"NB T/R", "SB T/R"} <= {g.label for g in groups}


def test_a_movement_of_several_groups_is_named_by_lane(junction: Intersection, network: Network) -> None:
    # the through movement gets a second lane of its own, link 13, green with the pedestrians only
    through = junction.movements[1]
    second = replace(network.connections[1], from_lane=1, to_lane=1, link_index=13)
    wide = replace(network, connections=(*network.connections, second))
    edge = wide.edges[through.approach]
    lanes = (*edge.lanes, replace(edge.lanes[0], id="second", allowed=frozenset({"bus"})))
    wide = replace(wide, edges={**wide.edges, through.approach: replace(edge, lanes=lanes)})
    movements = list(junction.movements)
    movements[1] = replace(through, links=(1, 13), lanes=(0, 1))
    program = junction.program
    assert program is not None
    states = tuple(replace(i, state=i.state + i.state[12]) for i in program.intervals)
    crowded = replace(junction, connections=(*junction.connections, (12,)), movements=tuple(movements))
    labels = [g.label for g in signal_groups(crowded, wide, [replace(program, intervals=states)])]
    assert "NB T/R lane 0, SB T/R" in labels
    assert "NB T lane 1 bus, Ped N" in labels


def test_a_link_that_controls_nothing_has_no_row(junction: Intersection, network: Network) -> None:
    program = junction.program
    assert program is not None
    longer = replace(program, intervals=tuple(replace(i, state=i.state + "r") for i in program.intervals))
    idle = replace(junction, connections=(*junction.connections, ()))
    assert idle_links(idle) == (13,)
    assert all(13 not in g.links for g in signal_groups(idle, network, [longer]))


def test_approaches_of_one_bound_are_numbered(junction: Intersection) -> None:
    same = replace(junction, approaches=tuple(replace(a, bound="NB") for a in junction.approaches))
    assert sorted(approach_names(same).values()) == ["NB1", "NB2", "NB3", "NB4"]


def test_stages_are_those_of_the_optimiser(junction: Intersection) -> None:
    program = junction.program
    assert program is not None
    stages = stage_times(junction, program)
    plan = stage_plan(junction, PlanRequest(ignore_durations=True, max_cycle_s=1e6))
    assert [(s.state, s.duration_s) for s in stages] == [(s.state, s.duration_s) for s in plan.stages]
    for stage in stages:
        middle = stage.start_s + stage.duration_s / 2
        assert replace(program, offset_s=0.0).state_at(middle) == stage.state


def test_a_program_of_one_green_has_one_stage(junction: Intersection) -> None:
    (stage,) = stage_times(junction, SignalProgram("J", "p", "static", 0.0, (Interval(60.0, "G" * 13),)))
    assert (stage.start_s, stage.duration_s) == (0.0, 60.0)


@pytest.mark.parametrize("rows", [(), ((0.0, "G" * 13),), ((30.0, "G" * 12),)])
def test_what_cannot_be_drawn_is_refused_by_name(
    junction: Intersection, program_of: Callable[..., SignalProgram], rows: tuple[tuple[float, str], ...]
) -> None:
    with pytest.raises(InputError, match="signal J: program p"):
        check_program(junction, program_of(rows=rows))


@pytest.mark.parametrize("name", NETWORKS)
def test_every_shipped_signal_has_rows_with_names(name: str) -> None:
    network = read_network(read_scenario(find_network(name)))
    for intersection in network.intersections.values():
        program = intersection.program
        assert program is not None
        groups = signal_groups(intersection, network, [program])
        used = set(range(intersection.n_links)) - set(idle_links(intersection))
        assert {i for g in groups for i in g.links} == used
        labels = [g.label for g in groups]
        assert all(labels)
        assert len(set(labels)) == len(labels)
        assert sum(s.duration_s for s in stage_times(intersection, program)) < program.cycle_s
