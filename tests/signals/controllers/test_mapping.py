"""From SUMO's programs to NEMA controllers and back: cabinets, patterns, and what they show."""

from __future__ import annotations

import importlib.util
import random
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest

from signals.controllers.mapping import cabinet_of, pattern_of, states_of
from signals.controllers.objects import phases_of_groups
from signals.controllers.virtual.database import ROOM, new_values
from signals.controllers.virtual.simulation import load_pattern
from signals.controllers.virtual.unit import Unit
from signals.controllers.virtual.wiring import Heads
from signals.errors import UnmappablePlan
from signals.formats.sumo.config import read_scenario
from signals.formats.sumo.network import read_network
from signals.model.controller import (
    Cabinet,
    Pattern,
    PhaseOption,
    SplitMode,
)
from signals.model.network import Intersection, Network
from signals.model.phasing import Interval, SignalProgram, StagePlan
from signals.model.plan import PlanRequest, TimingPlan
from signals.planning import plan_case, read_case
from signals.safety.check import check_plan
from signals.safety.pattern import check_pattern
from signals.timing.stages import program_of, reordered, stage_plan
from sumo_nets import NETWORKS, find_network

NOBODY: frozenset[int] = frozenset()
FREELY = PlanRequest(ignore_durations=True)
"""Walks make stages of their own in a unit, so that maxDur of the field's aren't theirs."""


@cache
def network(name: str) -> Network:
    """A shipped network."""
    return read_network(read_scenario(find_network(name)))


@cache
def cabinet(name: str, signal: str) -> Cabinet:
    """The cabinet of a shipped network's signal."""
    return cabinet_of(network(name).intersections[signal], network(name))


def signals() -> list[tuple[str, str]]:
    """Every signal of the shipped networks."""
    return [(name, signal) for name in NETWORKS for signal in network(name).intersections]


def field(name: str, signal: str) -> SignalProgram:
    """The program in place."""
    return in_place(network(name).intersections[signal])


def differences(cabinet: Cabinet, program: SignalProgram, shown: SignalProgram) -> list[str]:
    """Where vehicles' letters of two programs differ over a cycle of the clock, tenth by tenth."""
    assert round(shown.cycle_s, 3) == round(program.cycle_s, 3)
    vehicles = [w.link for w in cabinet.links if not w.pedestrian]
    found = []
    for tenth in range(round(10 * program.cycle_s)):
        time_s = (tenth + 0.5) / 10
        a, b = program.state_at(time_s), shown.state_at(time_s)
        found += [f"{time_s:.1f} s, link {i}: {a[i]} {b[i]}" for i in vehicles if a[i] != b[i]]
    return found


def varied(name: str, signal: str, seed: int) -> StagePlan:
    """The field's stages with other durations and another offset, as a plan has them."""
    rng = random.Random(f"{signal} {seed}")
    base = stage_plan(network(name).intersections[signal], PlanRequest())
    plan = replace(
        base,
        stages=tuple(
            replace(s, duration_s=float(min(s.min_s + rng.randint(5, 17), s.max_s))) for s in base.stages
        ),
    )
    return replace(plan, offset_s=float(rng.randrange(round(plan.cycle_s))))


# -------------------------------------------------------------------------------------------------- cabinets


@pytest.mark.parametrize(("name", "signal"), signals())
def test_the_field_s_program_comes_back_letter_by_letter(name: str, signal: str) -> None:
    box = cabinet(name, signal)
    pattern = pattern_of(box, field(name, signal))
    assert differences(box, field(name, signal), states_of(box, pattern)) == []
    assert check_pattern(box.record, pattern, ROOM) == ()


def test_an_arterial_signal_is_a_dual_ring_with_the_field_s_clearances() -> None:
    record = cabinet("arterial", "j1").record
    assert record.sequence == ((1, 2, 3, 4), (5, 6, 7, 8))
    assert record.groups == (frozenset({1, 2, 5, 6}), frozenset({3, 4, 7, 8}))
    clearances = {n: (p.yellow_s, p.red_clear_s) for n, p in record.by_number.items()}
    assert {clearances[n] for n in (1, 2, 5, 6)} == {(4.3, 2.7)}
    assert {clearances[n] for n in (3, 4, 7, 8)} == {(3.6, 3.4)}
    # 8 s is stated for the walk of 2+6, 5 s for the arrows
    assert [p.min_green_s for p in record.phases] == [5, 8, 5, 5, 5, 8, 5, 5]


def test_pedestrians_get_seven_seconds_and_clear_into_yellow_and_red() -> None:
    record = cabinet("arterial", "j1").record
    walks = {n: (p.walk_s, p.pedestrian_clear_s) for n, p in record.by_number.items() if p.walk_s}
    # 19.2 m at 1.07 m/s are 17.9 s, 7 s of them in yellow and red clearance
    assert walks == dict.fromkeys((2, 4, 6, 8), (7, 11))
    assert all(PhaseOption.PED_RECALL in record.by_number[n].options for n in walks)


def test_a_short_crossing_still_gets_a_clearance_that_is_noticed() -> None:
    assert cabinet("arterial", "j2").record.by_number[2].pedestrian_clear_s == 3


def test_each_street_has_links_crossings_and_arrows_on_its_own_phases() -> None:
    links = cabinet("arterial", "j4").links
    eastbound, arrow, westbound_arrow, right = links[13], links[15], links[7], links[12]
    assert eastbound.phases == (2,)
    assert arrow.phases == (5, 6)
    assert arrow.permitted == {6}
    # 2+5 lies between its arrow and its permitted green
    assert westbound_arrow.phases == (1, 6)
    assert westbound_arrow.permitted == {2}
    # people walk with 6 alone, since 2 begins before them with a protected right turn
    assert right.phases == (2,)
    assert right.permitted == {6}
    assert right.red == "s"
    assert [w.phases for w in links if w.pedestrian] == [(6,), (6,)]


def test_crossings_lie_beside_the_through_movement_whose_right_turns_cross_them() -> None:
    walks = {w.link: w.phases for w in cabinet("single", "centre").links if w.pedestrian}
    assert sorted(walks.values()) == [(2,), (4,), (6,), (8,)]


def test_an_arrow_that_the_field_clears_is_held_where_it_says_nothing() -> None:
    arrow = cabinet("arterial", "j1").links[7]
    assert arrow.held
    assert arrow.cleared == {(1, 2)}


def in_place(intersection: Intersection) -> SignalProgram:
    """The program of a signal that has one."""
    assert intersection.program is not None
    return intersection.program


def with_program(name: str, signal: str, *rows: tuple[float, str]) -> Intersection:
    """A signal with another program in place."""
    intersection = network(name).intersections[signal]
    intervals = tuple(Interval(duration, state) for duration, state in rows)
    return replace(intersection, program=SignalProgram(signal, "0", "static", 0.0, intervals))


def test_stages_without_rings_are_phases_of_a_single_ring() -> None:
    # each approach of r1c0 by itself: nothing that rings would have
    rows = [(20.0, "GGGrrrrrrrrr"), (3.0, "yyyrrrrrrrrr"), (2.0, "rrrrrrrrrrrr")]
    turned = [(d, s[-k:] + s[:-k] if k else s) for k in (0, 3, 6, 9) for d, s in rows]
    intersection = with_program("grid", "r1c0", *turned)
    box = cabinet_of(intersection, network("grid"))
    assert box.record.sequence == ((1, 2, 3, 4),)
    assert all(p.concurrent == NOBODY for p in box.record.phases)
    assert {(p.yellow_s, p.red_clear_s) for p in box.record.phases} == {(3.0, 2.0)}
    pattern = pattern_of(box, in_place(intersection))
    assert [s.time_s for s in pattern.splits] == [25] * 4
    assert [s.phase for s in pattern.splits if s.coordinated] == [1]


def test_a_link_green_in_two_stages_stays_green_between_them() -> None:
    intersection = with_program(
        "grid",
        "r1c0",
        (20.0, "GGGrrrrrrrrr"),
        (3.0, "yyGrrrrrrrrr"),
        (20.0, "rrGGGrrrrrrr"),
        (3.0, "rryyyrrrrrrr"),
        (20.0, "rrrrrrGGGGGG"),
        (3.0, "rrrrrryyyyyy"),
    )
    box = cabinet_of(intersection, network("grid"))
    assert (box.links[2].phases, box.links[2].held) == ((1, 2), True)
    shown = states_of(box, pattern_of(box, in_place(intersection)))
    assert differences(box, in_place(intersection), shown) == []


def test_always_green_and_never_green_links_hang_on_all_phases_and_none() -> None:
    intersection = with_program(
        "grid",
        "r1c0",
        (20.0, "GGGrrrrrrrGr"),
        (3.0, "yyyrrrrrrrGr"),
        (20.0, "rrrGGGrrrrGr"),
        (3.0, "rrryyyrrrrGr"),
    )
    box = cabinet_of(intersection, network("grid"))
    assert (box.links[10].phases, box.links[10].held) == ((1, 2), True)
    assert box.links[11].phases == ()
    shown = states_of(box, pattern_of(box, in_place(intersection)))
    assert differences(box, in_place(intersection), shown) == []


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ([(3.0, "yyyrrrrrrrrr"), (2.0, "rrruuurrrrrr")], "shows u"),
        ([(3.0, "yyyrrrrrrrrr"), (3.0, "rrrGrrrrrrrr")], "link 3"),
        ([(3.0, "yyyrrrrrrrrr"), (2.0, "ryrrrrrrrrrr")], "link [02]"),
    ],
    ids=["red and yellow", "a link that starts early", "two yellows"],
)
def test_changes_that_no_phase_shows_are_refused_with_the_link(
    change: list[tuple[float, str]], reason: str
) -> None:
    intersection = with_program(
        "grid", "r1c0", (20.0, "GGGrrrrrrrrr"), *change, (20.0, "rrrGGGrrrrrr"), (3.0, "rrryyyrrrrrr")
    )
    with pytest.raises(UnmappablePlan, match=reason):
        cabinet_of(intersection, network("grid"))


def test_a_green_too_short_for_people_is_refused() -> None:
    # the crossing of 19.2 m asks for 4 s of walk and 12 s of clearance
    rows = [(i.duration_s, i.state) for i in field("single", "centre").intervals]
    short = [(5.0 if d in (17.0, 18.0) else d, s) for d, s in rows]
    with pytest.raises(UnmappablePlan, match=r"4 s of walk and 12 s of clearance"):
        cabinet_of(with_program("single", "centre", *short), network("single"))


def _resco() -> Mapping[str, Path]:
    spec = importlib.util.find_spec("sumo_rl")
    if spec is None or not spec.submodule_search_locations:
        return {}
    root = Path(next(iter(spec.submodule_search_locations))) / "nets" / "RESCO"
    return {path.stem: path for path in sorted(root.glob("*/*.sumocfg"))}


def test_every_signal_of_resco_maps() -> None:
    configs = _resco()
    if not configs:
        pytest.skip("RESCO's networks come with sumo-rl")
    rings = []
    for config in configs.values():
        streets = read_network(read_scenario(config))
        for intersection in streets.intersections.values():
            box = cabinet_of(intersection, streets)
            assert check_pattern(box.record, pattern_of(box, in_place(intersection))) == ()
            rings.append(len(box.record.sequence))
    assert (len(rings), rings.count(2)) == (73, 37)


# -------------------------------------------------------------------------------------------------- patterns


@pytest.mark.parametrize(("name", "signal"), signals())
def test_plans_with_the_field_s_stages_map_whatever_their_times(name: str, signal: str) -> None:
    box = cabinet(name, signal)
    intersection = network(name).intersections[signal]
    for seed in range(5):
        program = program_of(varied(name, signal, seed), "plan")
        pattern = pattern_of(box, program)
        shown = states_of(box, pattern)
        assert differences(box, program, shown) == []
        assert check_pattern(box.record, pattern, ROOM) == ()
        assert check_plan(intersection, TimingPlan(shown), FREELY) == ()


def test_a_pattern_has_splits_with_their_clearances_and_the_offset_of_the_main_street() -> None:
    pattern = pattern_of(cabinet("arterial", "j4"), field("arterial", "j4"))
    assert (pattern.cycle_s, pattern.sequence) == (110, ((1, 2, 3, 4), (5, 6, 7, 8)))
    # phase 5 is green in 1+5 and 2+5, and in the change between: 8 + 7 + 5 s, and 7 s of its own clearance
    assert {s.phase: s.time_s for s in pattern.splits} == {
        1: 15,
        2: 48,
        3: 16,
        4: 31,
        5: 27,
        6: 36,
        7: 16,
        8: 31,
    }
    assert [s.phase for s in pattern.splits if s.coordinated] == [2, 6]
    # phase 2 begins with 2+5, 15 s into a program that begins at second 60
    assert pattern.offset_s == 75
    modes = {s.phase: s.mode for s in pattern.splits}
    assert modes[6] is SplitMode.MAX_AND_PEDESTRIAN
    assert modes[2] is SplitMode.MAX_VEHICLE


def test_stages_in_another_order_are_another_sequence() -> None:
    base = stage_plan(network("grid").intersections["r0c1"], PlanRequest())
    program = program_of(reordered(base, [0, 1, 3, 2]), "lagging")
    box = cabinet("grid", "r0c1")
    pattern = pattern_of(box, program)
    assert pattern.sequence == ((1, 2, 4, 3), (5, 6, 8, 7))
    assert differences(box, program, states_of(box, pattern)) == []


def test_phases_of_a_stage_left_out_are_omitted_and_keep_their_place() -> None:
    base = stage_plan(network("grid").intersections["r0c1"], PlanRequest())
    program = program_of(reordered(base, [1, 2, 3]), "without 1+5")
    box = cabinet("grid", "r0c1")
    pattern = pattern_of(box, program)
    assert [s.phase for s in pattern.splits if s.mode is SplitMode.OMITTED] == [1, 5]
    assert pattern.sequence == box.record.sequence
    assert check_pattern(box.record, pattern, ROOM) == ()
    assert differences(box, program, states_of(box, pattern)) == []


def scaled(program: SignalProgram, extra_s: Mapping[int, float], offset_s: float = 0.0) -> SignalProgram:
    """A program with some intervals longer."""
    intervals = [
        replace(v, duration_s=v.duration_s + extra_s.get(k, 0.0)) for k, v in enumerate(program.intervals)
    ]
    return replace(program, intervals=tuple(intervals), offset_s=offset_s)


@pytest.mark.parametrize(
    ("extra_s", "offset_s", "reason"),
    [
        ({0: 230.0}, 0.0, "cycle of 320 s; units hold 30 to 255 s"),
        ({0: -40.0, 3: -30.0}, 0.0, "cycle of 20 s; units hold 30 to 255 s"),
        ({0: 0.5}, 0.0, "cycle of 90.5 s; units hold whole seconds"),
        ({0: 0.5, 3: 0.5}, 0.0, "phase 2 has 50.5 s with yellow and red clearance"),
        ({}, 12.5, "offset of 12.5 s; units hold whole seconds"),
        ({1: 1.0}, 0.0, "other clearances than the unit's"),
        ({1: 0.04, 0: -0.04}, 0.0, "clearances in tenths"),
    ],
)
def test_times_that_no_unit_holds_are_refused_with_the_figure(
    extra_s: Mapping[int, float], offset_s: float, reason: str
) -> None:
    program = scaled(field("grid", "r0c0"), extra_s, offset_s)
    with pytest.raises(UnmappablePlan, match=reason):
        pattern_of(cabinet("grid", "r0c0"), program)


def test_an_offset_above_254_is_refused() -> None:
    program = scaled(field("grid", "r0c0"), {0: 255.0 - field("grid", "r0c0").cycle_s}, 254.0)
    assert pattern_of(cabinet("grid", "r0c0"), program).offset_s == 254
    beyond = replace(program, intervals=program.intervals[-1:] + program.intervals[:-1], offset_s=252.0)
    # the same program with its last red in front; the red lasts 2.4 s, so the green begins on no whole second
    with pytest.raises(UnmappablePlan, match="units hold whole seconds up to 254"):
        pattern_of(cabinet("grid", "r0c0"), beyond)


def test_a_street_served_twice_is_refused() -> None:
    base = stage_plan(network("grid").intersections["r0c1"], PlanRequest())
    program = program_of(reordered(base, [0, 3, 1, 2]), "mixed")
    with pytest.raises(UnmappablePlan, match="rings pass each barrier once a cycle"):
        pattern_of(cabinet("grid", "r0c1"), program)


def test_a_walk_that_doesn_t_fit_is_refused_with_what_is_missing() -> None:
    # 8 s less of 4+8 leave the vehicles theirs; walk and clearance of the unit need 7 + 12 s
    program = field("single", "centre")
    walk = next(k for k, v in enumerate(program.intervals) if v.name == "4+8 walk")
    short = scaled(program, {walk: -10.0, walk + 1: -8.0})
    with pytest.raises(
        UnmappablePlan, match=r"green for 17 s, walk and clearance .* 7 and 12 s; lengthen it by 2 s"
    ):
        pattern_of(cabinet("single", "centre"), short)


def test_people_never_walk_beside_vehicles_that_the_program_keeps_from_them() -> None:
    # phase 6 rests in walk until 18 s before its end, and phase 1 joins it before that
    box = cabinet("arterial", "j4")
    pattern = pattern_of(box, field("arterial", "j4"))
    splits = [replace(s, time_s={2: 40, 1: 23}.get(s.phase, s.time_s)) for s in pattern.splits]
    lagging = states_of(box, replace(pattern, splits=tuple(splits), sequence=((2, 1, 3, 4), (5, 6, 7, 8))))
    assert any(v.state[7] == "G" and v.state[16:] == "GG" for v in lagging.intervals)
    apart = [replace(v, state=v.state[:16] + "rr") if v.state[7] == "G" else v for v in lagging.intervals]
    with pytest.raises(UnmappablePlan, match="let people walk over link 16 beside"):
        pattern_of(box, replace(lagging, intervals=tuple(apart)))


@pytest.mark.usefixtures("quick")
def test_a_plan_of_the_search_maps(crossroads: Path) -> None:
    case = read_case(read_scenario(crossroads / "cross.sumocfg"), cache=crossroads / "cache")
    planned = plan_case(case, PlanRequest())
    plan = planned.plans.periods[0]["A0"]
    box = cabinet_of(case.network.intersections["A0"], case.network)
    pattern = pattern_of(box, plan.program)
    assert differences(box, plan.program, states_of(box, pattern)) == []
    assert pattern.cycle_s < 90


def mutated(rng: random.Random, program: SignalProgram) -> SignalProgram:
    """A program with something odd about it."""
    intervals = list(program.intervals)
    for _ in range(rng.randint(1, 3)):
        k = rng.randrange(len(intervals))
        spoil = rng.choice(("letter", "drop", "duration", "order", "twice"))
        if spoil == "letter":
            letters = list(intervals[k].state)
            letters[rng.randrange(len(letters))] = rng.choice("Ggyrsuo")
            intervals[k] = replace(intervals[k], state="".join(letters))
        elif spoil == "drop" and len(intervals) > 1:
            del intervals[k]
        elif spoil == "duration":
            intervals[k] = replace(intervals[k], duration_s=rng.choice((0.0, 1.0, 2.3, 5.0, 7.0, 30.0)))
        elif spoil == "order":
            rng.shuffle(intervals)
        else:
            intervals.insert(k, intervals[k])
    return replace(program, intervals=tuple(intervals))


def test_odd_programs_map_exactly_or_are_refused() -> None:
    rng = random.Random(4)
    exact = refused = 0
    for _ in range(400):
        name, signal = rng.choice(signals())
        program = mutated(rng, field(name, signal))
        odd = replace(network(name).intersections[signal], program=program)
        try:
            box = cabinet_of(odd, network(name))
            shown = states_of(box, pattern_of(box, program))
        except UnmappablePlan:
            refused += 1
            continue
        # whoever may turn on red in some stages only is held back
        assert [d for d in differences(box, program, shown) if not d.endswith("s r")] == []
        exact += 1
    assert min(exact, refused) > 20


# ----------------------------------------------------------------------------------------- against the engine


@pytest.mark.parametrize("name", NETWORKS)
def test_a_unit_in_step_shows_what_the_analysis_says(name: str) -> None:
    room = replace(ROOM, max_patterns=1, max_splits=1, max_sequences=1)
    for signal in network(name).intersections:
        box = cabinet(name, signal)
        pattern = pattern_of(box, program_of(varied(name, signal, 1), "plan"))
        shown = states_of(box, pattern)
        unit, heads = _unit(box, pattern, room), Heads(box)
        phases = [p.number for p in box.record.phases]
        vehicles = [w.link for w in box.links if not w.pedestrian]
        cycle = 10 * pattern.cycle_s
        wanted = [_only(vehicles, shown.state_at((tenth + 0.5) / 10)) for tenth in range(cycle)]
        steps = 0
        while steps < 300 or unit.status(("unitAlarmStatus2", ())) != 0:
            unit.step(phases, phases)
            _letters(unit, heads)
            steps += 1
            assert steps < 20_000, f"{signal} never gets into step"
        assert unit.status(("localFreeStatus", ())) == 2
        for _ in range(3 * cycle):
            unit.step(phases, phases)
            tenth = unit.utc_ms % 86_400_000 // 100
            assert _only(vehicles, _letters(unit, heads)) == wanted[tenth % cycle], (signal, tenth)


def _only(links: Sequence[int], state: str) -> str:
    return "".join([state[i] for i in links])


def _unit(box: Cabinet, pattern: Pattern, room: object) -> Unit:
    values = new_values(box.record, room, utc_s=1_792_130_400)  # type: ignore[arg-type]
    load_pattern(values, 1, pattern)
    values["systemPatternControl", ()] = 1
    values["unitBackupTime", ()] = 0
    return Unit(box.record, values)


def _letters(unit: Unit, heads: Heads) -> str:
    shown = unit.indications
    mask = unit.status(("phaseStatusGroupPhaseNexts", (1,)))
    assert isinstance(mask, int)
    return heads.letters(shown.greens, shown.yellows, shown.walks, phases_of_groups([mask]))
