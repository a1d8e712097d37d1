"""Programs as stages and changes: every trick that real programs play is seen, kept, and shown again."""

from __future__ import annotations

import importlib.util
import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from signals.errors import InfeasiblePlan
from signals.formats.sumo.config import read_scenario
from signals.formats.sumo.network import read_network
from signals.model.network import Approach, Connection, Crossing, Intersection, Movement, Network, Turn
from signals.model.phasing import ConflictTable, Interval, SignalProgram, StagePlan
from signals.model.plan import ClearancePolicy, PlanRequest, StagePolicy, TimingPlan
from signals.planning import is_safe_order, safe_drops
from signals.safety.check import Rule, check_plan
from signals.safety.ite import ite_red_clearance_s, ite_yellow_s
from signals.timing.stages import (
    droppable,
    omitted_stages,
    program_of,
    reordered,
    stage_plan,
    without_stages,
)
from sumo_nets import NETWORKS, find_network

Row = tuple[float, str] | tuple[float, str, float | None, float | None]

SPEED_MPS = 50 / 3.6
PATH_M = 20.0
# Links: 0 NB through, 1 SB through, 2 NB left (yields to SB through), 3 EB through, 4 the crossing of the
# east leg, which the NB left and the EB through cut.
TURNS = (
    ("n", "nb", Turn.THROUGH),
    ("s", "sb", Turn.THROUGH),
    ("n", "nl", Turn.LEFT),
    ("e", "eb", Turn.THROUGH),
)
CONFLICTS = frozenset({(1, 2), (0, 3), (1, 3), (2, 3), (2, 4), (3, 4)})
YIELDS = frozenset({(2, 1), (2, 4)})
CROSSING_M = 10.7
"""10 s at 1.07 m/s: walk of 7 s and clearance need 17 s."""


def program(rows: Sequence[Row], *, offset_s: float = 0.0, kind: str = "static") -> SignalProgram:
    intervals = tuple(
        Interval(float(row[0]), row[1], *(row[2:4] if len(row) == 4 else (None, None))) for row in rows
    )
    return SignalProgram("J", "field", kind, offset_s, intervals)


def junction(in_place: SignalProgram | None, *, crossing_m: float | None = CROSSING_M) -> Intersection:
    return Intersection(
        "J",
        ("J",),
        ((0,), (1,), (2,), (3,), ()),
        tuple(
            Approach(edge, bound, 2, SPEED_MPS, 200.0)
            for edge, bound in (("n", "NB"), ("s", "SB"), ("e", "EB"))
        ),
        tuple(Movement(f"{a}{t}", a, to, t, (k,), (0,)) for k, (a, to, t) in enumerate(TURNS)),
        () if crossing_m is None else (Crossing("c", 4, crossing_m, ("x",)),),
        ConflictTable(5, CONFLICTS, YIELDS),
        in_place,
    )


def connections() -> tuple[Connection, ...]:
    return tuple(
        Connection(a, 0, to, 0, t, "J", "J", k, PATH_M, SPEED_MPS, 0.0, True, (), ())
        for k, (a, to, t) in enumerate(TURNS)
    )


def planned(
    rows: Sequence[Row], request: PlanRequest | None = None, *, crossing_m: float | None = CROSSING_M
) -> StagePlan:
    return stage_plan(junction(program(rows), crossing_m=crossing_m), request or PlanRequest(), connections())


def shown(plan: StagePlan) -> tuple[list[tuple[float, str]], list[list[tuple[float, str]]]]:
    """Stages and changes as (seconds, state)."""
    return (
        [(s.duration_s, s.state) for s in plan.stages],
        [[(i.duration_s, i.state) for i in change] for change in plan.changes],
    )


def same_signal(plan: StagePlan, field: SignalProgram) -> bool:
    """Whether a plan shows what the field shows, tenth by tenth over two cycles."""
    again = program_of(plan, "again")
    return all(
        again.state_at(t / 10 + 0.05) == field.state_at(t / 10 + 0.05)
        for t in range(round(20 * field.cycle_s))
    )


NS, EW = "GGrrr", "rrrGr"


@dataclass(frozen=True)
class Trick:
    """A program, what its stages are (seconds and state), and what lies between them."""

    name: str
    rows: tuple[Row, ...]
    stages: list[tuple[float, str]]
    changes: list[list[tuple[float, str]]]
    offset_s: float = 0.0


TRICKS = (
    Trick(
        "plain, with an all-red of its own",
        ((20, NS), (3, "yyrrr"), (2, "rrrrr"), (15, EW), (3, "rrryr"), (4, "rrrrr")),
        [(20, NS), (15, EW)],
        [[(3, "yyrrr"), (2, "rrrrr")], [(3, "rrryr"), (4, "rrrrr")]],
    ),
    Trick(
        "a stage that wraps around the cycle's end",
        ((8, NS), (3, "yyrrr"), (2, "rrrrr"), (15, EW), (3, "rrryr"), (2, "rrrrr"), (12, NS)),
        [(20, NS), (15, EW)],
        [[(3, "yyrrr"), (2, "rrrrr")], [(3, "rrryr"), (2, "rrrrr")]],
        offset_s=33.0,  # the stage begins 12 s before the cycle of 45 s does
    ),
    Trick(
        "a program that starts within a change",
        ((2, "rrrrr"), (20, NS), (3, "yyrrr"), (2, "rrrrr"), (15, EW), (3, "rrryr")),
        [(20, NS), (15, EW)],
        [[(3, "yyrrr"), (2, "rrrrr")], [(3, "rrryr"), (2, "rrrrr")]],
        offset_s=2.0,
    ),
    Trick(
        "identical sub-phases in a row",
        ((5, NS), (7, NS), (8, NS), (3, "yyrrr"), (15, EW), (1, "rrryr"), (2, "rrryr")),
        [(20, NS), (15, EW)],
        [[(3, "yyrrr")], [(3, "rrryr")]],
    ),
    Trick(
        "an early start: the left turn follows its neighbour after 3 s",
        ((20, EW), (3, "rrryr"), (3, "Grrrr"), (20, "GrGrr"), (3, "yryrr")),
        [(20, EW), (20, "GrGrr")],
        [[(3, "rrryr"), (3, "Grrrr")], [(3, "yryrr")]],
    ),
    Trick(
        "a late release: one direction is held 4 s longer than the other",
        ((20, NS), (4, "Grrrr"), (3, "yrrrr"), (15, EW), (3, "rrryr")),
        [(20, NS), (15, EW)],
        [[(4, "Grrrr"), (3, "yrrrr")], [(3, "rrryr")]],
    ),
    Trick(
        "an overlap: a movement goes on through the change between two stages",
        ((20, NS), (3, "Gyrrr"), (1, "Grrrr"), (10, "GrGrr"), (3, "yryrr"), (15, EW), (3, "rrryr")),
        [(20, NS), (10, "GrGrr"), (15, EW)],
        [[(3, "Gyrrr"), (1, "Grrrr")], [(3, "yryrr")], [(3, "rrryr")]],
    ),
    Trick(
        "a stage under 5 s that serves somebody of its own",
        ((20, NS), (3, "yyrrr"), (4, "rrGrr"), (3, "rryrr"), (15, EW), (3, "rrryr")),
        [(20, NS), (4, "rrGrr"), (15, EW)],
        [[(3, "yyrrr")], [(3, "rryrr")], [(3, "rrryr")]],
    ),
    Trick(
        "stage directly after stage",
        ((20, NS), (10, "GGgrr"), (3, "yyyrr"), (15, EW), (3, "rrryr")),
        [(20, NS), (10, "GGgrr"), (15, EW)],
        [[], [(3, "yyyrr")], [(3, "rrryr")]],
    ),
    Trick(
        "changes without yellow: red at once, right turns on red, red and yellow before green",
        ((20, NS), (2, "ssrrr"), (2, "ssrur"), (15, EW), (3, "rrrrr")),
        [(20, NS), (15, EW)],
        [[(2, "ssrrr"), (2, "ssrur")], [(3, "rrrrr")]],
    ),
    Trick(
        "a link that is always green",
        ((20, "GGrrG"), (3, "yyrrG"), (15, "rrrGG"), (3, "rrryG")),
        [(20, "GGrrG"), (15, "rrrGG")],
        [[(3, "yyrrG")], [(3, "rrryG")]],
    ),
    Trick(
        "needless yellow between two greens",
        ((20, NS), (3, "yyrrr"), (20, "GrGrr"), (3, "yryrr"), (15, EW), (3, "rrryr")),
        [(20, NS), (20, "GrGrr"), (15, EW)],
        [[(3, "yyrrr")], [(3, "yryrr")], [(3, "rrryr")]],
    ),
    Trick(
        "a long change with an all-red of 19 s",
        ((20, NS), (3, "yyrrr"), (19, "rrrrr"), (15, EW), (3, "rrryr")),
        [(20, NS), (15, EW)],
        [[(3, "yyrrr"), (19, "rrrrr")], [(3, "rrryr")]],
    ),
    Trick(
        "intervals of 0 s",
        ((20, NS), (0, "yyyyy"), (3, "yyrrr"), (15, EW), (0, NS), (3, "rrryr")),
        [(20, NS), (15, EW)],
        [[(3, "yyrrr")], [(3, "rrryr")]],
    ),
    Trick(
        "tenths in the changes",
        ((20, NS), (3.6, "yyrrr"), (1.4, "rrrrr"), (15, EW), (4.3, "rrryr"), (0.7, "rrrrr")),
        [(20, NS), (15, EW)],
        [[(3.6, "yyrrr"), (1.4, "rrrrr")], [(4.3, "rrryr"), (0.7, "rrrrr")]],
    ),
)


@pytest.mark.parametrize("trick", TRICKS, ids=lambda t: t.name.partition(":")[0])
@pytest.mark.parametrize("offset_s", [0.0, 17.0])
def test_stages_and_changes_of_a_program(trick: Trick, offset_s: float) -> None:
    field = program(trick.rows, offset_s=offset_s)
    plan = stage_plan(junction(field, crossing_m=None), PlanRequest())
    assert shown(plan) == (trick.stages, trick.changes)
    assert plan.cycle_s == pytest.approx(field.cycle_s)
    assert plan.offset_s == pytest.approx((trick.offset_s + offset_s) % field.cycle_s)
    assert same_signal(plan, field)


@pytest.mark.parametrize(
    ("in_place", "reason", "advice"),
    [
        (None, "has no program", "give it one"),
        (program(()), "has no program", "give it one"),
        (program(((30, "GGGGG"), (3, "yyyyy"))), "1 stage", "greens of their own"),
        (program(((30, "GGGGG"),)), "1 stage", "greens of their own"),
        (program(((30, "rrrrr"),)), "0 stage", "greens of their own"),
        (program(((30, "ooooo"),)), "0 stage", "greens of their own"),
        (program(((20, NS), (3, "yyrrr"), (15, EW)), kind="NEMA"), "NEMA", "static program"),
        (program(((20, "GGr"), (3, "yyr"), (15, "rrG"))), "3 links where the network needs 5", "repair"),
    ],
)
def test_what_cannot_be_planned_is_refused_with_a_reason_and_advice(
    in_place: SignalProgram | None, reason: str, advice: str
) -> None:
    with pytest.raises(InfeasiblePlan) as refused:
        stage_plan(junction(in_place), PlanRequest())
    assert "signal J" in str(refused.value)
    assert reason in str(refused.value)
    assert advice in str(refused.value)


def test_minimums_that_fit_no_cycle_are_refused_with_the_figures() -> None:
    rows: tuple[Row, ...] = ((20, NS, 20, 60), (3, "yyrrr"), (20, EW, 20, 60), (3, "rrryr"))
    assert planned(rows, PlanRequest(max_cycle_s=46)).cycle_s == 46
    # the field's own cycle is always allowed
    assert planned(rows, PlanRequest(max_cycle_s=40)).cycle_s == 46
    stretched = PlanRequest(max_cycle_s=40, clearance=ClearancePolicy.ITE)
    with pytest.raises(InfeasiblePlan, match=r"need a cycle of .* s, more than the allowed 46 s"):
        planned(rows, stretched)


@pytest.mark.parametrize(
    ("row", "ignore", "least", "most"),
    [
        ((20, NS, None, None), False, 5, math.inf),
        ((20, NS, 12, 30), False, 12, 30),
        ((20, NS, 12, 30), True, 5, math.inf),
        ((20, NS, None, 30), False, 5, 30),
        ((20, NS, 12, None), False, 12, math.inf),
        ((20, NS, 3, 30), False, 3, 30),  # the field says that it may be shorter than the request's minimum
        ((20, NS, 25, 30), False, 20, 30),  # what runs in the street is allowed, whatever is stated
        ((20, NS, 5, 15), False, 5, 20),
        ((4, "rrGrr", None, None), False, 4, math.inf),  # nor must a short stage grow
    ],
)
def test_stated_durations_bound_stages_unless_they_are_ignored(
    row: Row, ignore: bool, least: float, most: float
) -> None:
    rows = (row, (3, "rrrrr"), (15, EW), (3, "rrryr"))
    stage = planned(rows, PlanRequest(ignore_durations=ignore), crossing_m=None).stages[0]
    assert (stage.min_s, stage.max_s) == (least, most)


def test_bounds_of_sub_phases_add_up() -> None:
    rows: tuple[Row, ...] = ((8, NS, 5, 10), (12, NS), (3, "yyrrr"), (15, EW), (3, "rrryr"))
    # the second part states nothing, so it stays as it is
    stage = planned(rows, crossing_m=None).stages[0]
    assert (stage.min_s, stage.max_s) == (17, 22)


# ----------------------------------------------------------------------------------------- pedestrians


@pytest.mark.parametrize(
    ("rows", "least"),
    [
        # in one stage, long enough for both
        (((30, "GGrrG"), (3, "yyrrr"), (2, "rrrrr"), (20, EW), (3, "rrryr")), [17, 5]),
        # the field gives 15 s in all: no more can be asked for
        (((10, "GGrrG"), (3, "yyrrr"), (2, "rrrrr"), (20, EW), (3, "rrryr")), [10, 5]),
        # a stage of clearance after a walk that is long enough by itself
        (((20, "GGrrG"), (12, NS), (3, "yyrrr"), (20, EW), (3, "rrryr")), [17, 5, 5]),
        # a walk of 9 s, which keeps them; 8 s of clearance are left, 3 of them in the change
        (((9, "GGrrG"), (12, NS), (3, "yyrrr"), (20, EW), (3, "rrryr")), [9, 5, 5]),
        (((8, "GGrrG"), (12, NS), (3, "yyrrr"), (20, EW), (3, "rrryr")), [8, 6, 5]),
        # green in two stages and the change between them, which counts once: 17 - 4 s for the two
        (((20, "GGrrG"), (4, "GyrrG"), (10, "GrrrG"), (3, "yrrrr"), (20, EW), (3, "rrryr")), [8, 5, 5]),
        # no stage needs more than the field gives it
        (((9, "GGrrG"), (2, "GyrrG"), (9, "GrrrG"), (1, "yrrrr"), (20, EW), (3, "rrryr")), [9, 6, 5]),
        # a walk shorter than 7 s in the field
        (((6, "GGrrG"), (20, NS), (3, "yyrrr"), (20, EW), (3, "rrryr")), [6, 7, 5]),
        # the left turn over the crossing starts in the next stage, so that nothing there is clearance
        (((20, "GrrrG"), (2, "Grrrr"), (15, "GrGrr"), (3, "yryrr"), (20, EW), (3, "rrryr")), [17, 5, 5]),
        # a crossing that is always green asks for nothing
        (((30, "GGrrG"), (3, "yyrrG"), (20, "rrrrG"), (3, "rrrrG")), [5, 5]),
    ],
)
def test_pedestrian_minimums(rows: tuple[Row, ...], least: list[float]) -> None:
    """Walk of 7 s and 10 s across (10.7 m at 1.07 m/s), the clearance until a conflicting link starts."""
    plan = planned(rows)
    assert [s.min_s for s in plan.stages] == least
    assert pedestrian_findings(plan, junction(program(rows)), PlanRequest()) == []


def test_slower_walkers_need_longer_minimums() -> None:
    rows: tuple[Row, ...] = ((40, "GGrrG"), (3, "yyrrr"), (2, "rrrrr"), (20, EW), (3, "rrryr"))
    slow = PlanRequest(walking_speed_mps=0.8)
    assert planned(rows, slow).stages[0].min_s == math.ceil(7 + CROSSING_M / 0.8)
    assert pedestrian_findings(planned(rows, slow), junction(program(rows)), slow) == []


def at_minimum(plan: StagePlan) -> StagePlan:
    return replace(plan, stages=tuple(replace(s, duration_s=s.min_s) for s in plan.stages), offset_s=0.0)


def pedestrian_findings(plan: StagePlan, intersection: Intersection, request: PlanRequest) -> list[str]:
    """What the safety check says of pedestrians when every stage is as short as the plan allows."""
    shortest = TimingPlan(program_of(at_minimum(plan), "shortest"))
    found = check_plan(intersection, shortest, request, connections=connections())
    return [f.message for f in found if f.rule is Rule.PEDESTRIAN]


# ------------------------------------------------------------------------------------- ITE clearances


@pytest.mark.parametrize(
    "rows",
    [
        ((20, NS), (2, "yyrrr"), (1, "rrrrr"), (15, EW), (2, "rrryr")),
        ((20, NS), (5, "yyrrr"), (4, "rrrrr"), (15, EW), (5, "rrryr"), (4, "rrrrr")),
        ((20, NS), (2, "yyrrr"), (8, "rrGrr"), (2, "rryrr"), (15, EW), (2, "rrryr")),
    ],
)
def test_ite_clearances_are_at_least_what_the_formulas_say(rows: tuple[Row, ...]) -> None:
    request = PlanRequest(clearance=ClearancePolicy.ITE)
    intersection = junction(program(rows), crossing_m=None)
    plan = stage_plan(intersection, request, connections())
    kept = stage_plan(intersection, PlanRequest())
    assert [s.state for s in plan.stages] == [s.state for s in kept.stages]
    for k, change in enumerate(plan.changes):
        for link in plan.stages[k].green - plan.stages[(k + 1) % len(plan.stages)].green:
            yellow = sum(i.duration_s for i in change if i.state[link] == "y")
            assert yellow >= ite_yellow_s(intersection, link) - 1e-9
            red = sum(i.duration_s for i in change) - yellow
            starts = plan.stages[(k + 1) % len(plan.stages)].green
            if any(intersection.conflicts.conflict(link, j) for j in starts):
                assert red >= ite_red_clearance_s(intersection, connections(), link) - 1e-9
    assert plan.fixed_s >= kept.fixed_s, "the field's longer clearances stay"
    assert plan.fixed_s == pytest.approx(round(plan.fixed_s)), "stages are whole seconds, so is the cycle"


# ------------------------------------------------------------------------- other orders, stages left out


FOUR: tuple[Row, ...] = (
    (20, "GGgrr"),
    (3, "yygrr"),
    (8, "rrGrr"),
    (3, "rryrr"),
    (1, "rrrrr"),
    (15, EW),
    (3, "rrryr"),
    (2, "rrrrr"),
)
"""Through with permitted left turns, protected left turns, side street."""


def test_the_field_order_keeps_the_fields_changes() -> None:
    plan = planned(FOUR, crossing_m=None)
    assert reordered(plan, range(3)) == plan


def test_another_order_builds_changes_from_the_fields_clearances() -> None:
    plan = planned(FOUR, crossing_m=None)
    other = reordered(plan, [0, 2, 1])
    assert [s.state for s in other.stages] == [plan.stages[k].state for k in (0, 2, 1)]
    assert shown(other)[1] == [
        # all three end: each with its yellow of the field, then the longest red that the field has
        [(3, "yyyrr"), (2, "rrrrr")],
        [(3, "rrryr"), (2, "rrrrr")],
        # the left turn goes on from protected to permitted: nobody ends, so nothing has to be cleared
        [],
    ]


@pytest.mark.parametrize("red_s", [0.0, 1.4])
def test_changes_built_from_tenths_leave_the_cycle_whole(red_s: float) -> None:
    """A controller holds stages in whole seconds: no stage may have to make up for the rest."""
    rows: list[Row] = []
    for state, yellow_s in (("GGrrr", 3.6), ("rrGrr", 3.3), ("rrrGr", 4.2)):
        rest_s = math.ceil(yellow_s + red_s) - yellow_s - red_s
        rows += [(12, state), (yellow_s, state.replace("G", "y")), (round(red_s + rest_s, 3), "rrrrr")]
    plan = planned(rows, crossing_m=None)
    assert plan.fixed_s == pytest.approx(round(plan.fixed_s))
    other = reordered(plan, [0, 2, 1])
    assert other.fixed_s == pytest.approx(round(other.fixed_s))
    for change, stage in zip(other.changes, other.stages):
        yellow_s = {0: 3.6, 2: 3.3, 3: 4.2}[min(stage.green)]
        assert sum(i.duration_s for i in change if "y" in i.state) == pytest.approx(yellow_s)
        assert "y" not in change[-1].state


def test_a_stage_left_out_takes_its_changes_with_it() -> None:
    plan = planned(FOUR, crossing_m=None)
    assert droppable(plan) == (1,)
    shorter = without_stages(plan, [1])
    assert shown(shorter) == (
        [(20, "GGgrr"), (15, EW)],
        [[(3, "yyyrr"), (2, "rrrrr")], [(3, "rrryr"), (2, "rrrrr")]],
    )
    (left_out,) = omitted_stages(junction(program(FOUR)), plan, [1])
    assert left_out.state == "rrGrr"
    assert left_out.becomes_permitted == ("nL",)
    assert omitted_stages(junction(program(FOUR)), plan, []) == ()


def test_a_stage_that_alone_serves_somebody_cannot_be_left_out() -> None:
    rows: tuple[Row, ...] = ((20, NS), (3, "yyrrr"), (8, "rrGrr"), (3, "rryrr"), (15, EW), (3, "rrryr"))
    assert droppable(planned(rows, crossing_m=None)) == ()
    two: tuple[Row, ...] = ((20, "GGGGr"), (3, "yyrrr"), (15, EW), (3, "rrryr"))
    assert droppable(planned(two, crossing_m=None)) == (), "one stage is no plan"


# ------------------------------------------------------------------------------------- real networks

RESCO_NAMES = ("arterial4x4", "cologne1", "cologne3", "cologne8", "grid4x4",
               "ingolstadt1", "ingolstadt21", "ingolstadt7")  # fmt: skip


def real(name: str) -> Network:
    if name in NETWORKS:
        return read_network(read_scenario(find_network(name)))
    spec = importlib.util.find_spec("sumo_rl")
    if spec is None or not spec.submodule_search_locations:
        pytest.skip(f"{name} comes with sumo-rl, which isn't installed: pip install 'sumo-rl>=1.4.5'")
    root = Path(next(iter(spec.submodule_search_locations))) / "nets" / "RESCO"
    return read_network(read_scenario(root / name / f"{name}.sumocfg"))


REAL = pytest.mark.parametrize("name", [*NETWORKS, *RESCO_NAMES])
KEEP = PlanRequest()
DROP = PlanRequest(stages=StagePolicy.DROP_PROTECTED)


def plans_of(network: Network, request: PlanRequest) -> dict[str, StagePlan]:
    return {s: stage_plan(i, request, network.connections) for s, i in network.intersections.items()}


def different_plans_of(network: Network, request: PlanRequest) -> dict[str, StagePlan]:
    """One signal of each kind: many of a grid have the same stages and the same conflicts."""
    kinds: dict[object, tuple[str, StagePlan]] = {}
    for signal, plan in plans_of(network, request).items():
        conflicts = network.intersections[signal].conflicts
        kinds.setdefault((plan.stages, plan.changes, conflicts), (signal, plan))
    return dict(kinds.values())


def unsafe(network: Network, signal: str, plan: StagePlan, drop: Sequence[int], base: StagePlan) -> list[str]:
    """What the safety check finds, but for cycles: those are the search's to choose."""
    intersection = network.intersections[signal]
    timing = TimingPlan(program_of(plan, "trial"), omitted_stages(intersection, base, drop))
    found = check_plan(intersection, timing, DROP, connections=network.connections)
    return [f.message for f in found if f.rule is not Rule.CYCLE]


@REAL
def test_a_stage_plan_shows_the_fields_signal_second_by_second(name: str) -> None:
    network = real(name)
    for signal, plan in plans_of(network, KEEP).items():
        field = network.intersections[signal].program
        assert field is not None
        again = program_of(plan, "again")
        assert again.cycle_s == pytest.approx(field.cycle_s)
        for second in range(math.ceil(2 * field.cycle_s)):
            assert again.state_at(second) == field.state_at(second), (signal, second)


@REAL
def test_stages_at_their_shortest_pass_the_safety_check(name: str) -> None:
    """So every length that a search may give them does."""
    network = real(name)
    for signal, plan in plans_of(network, KEEP).items():
        assert unsafe(network, signal, at_minimum(plan), (), plan) == []


def test_clearance_after_a_walk_is_no_second_too_long() -> None:
    """Where a crossing raises the minimum of a stage in which nobody walks, one second less breaks its rule."""
    network = real("arterial")
    raised = 0
    for signal, plan in plans_of(network, KEEP).items():
        intersection = network.intersections[signal]
        free = stage_plan(replace(intersection, crossings=()), KEEP, network.connections).stages
        crossings = {c.link for c in intersection.crossings}
        for k, stage in enumerate(plan.stages):
            if stage.green & crossings or stage.min_s == free[k].min_s:
                continue
            raised += 1
            shortest = at_minimum(plan)
            less = replace(shortest.stages[k], duration_s=stage.min_s - 1)
            stages = (*shortest.stages[:k], less, *shortest.stages[k + 1 :])
            assert unsafe(network, signal, replace(shortest, stages=stages), (), plan), (signal, k)
    assert raised > 0


@REAL
def test_stages_that_may_be_left_out_leave_safe_plans(name: str) -> None:
    """Each alone, and all of them together as far as everybody keeps a green."""
    network = real(name)
    for signal, plan in different_plans_of(network, DROP).items():
        drops = safe_drops(network, plan, DROP)
        for size in (1, 2):
            for drop in itertools.combinations(drops, size):
                kept = [s for k, s in enumerate(plan.stages) if k not in drop]
                served = frozenset[int]().union(*(s.green for s in kept))
                if len(kept) > 1 and all(plan.stages[k].green <= served for k in drop):
                    assert unsafe(network, signal, without_stages(plan, drop), drop, plan) == []


@REAL
def test_other_orders_are_safe_where_nobody_walks(name: str) -> None:
    """A crossing's clearance may lie in the stage after its walk; then only some orders are."""
    network = real(name)
    for signal, plan in different_plans_of(network, KEEP).items():
        n = len(plan.stages)
        walks = bool(network.intersections[signal].crossings)
        for a, b in itertools.combinations(range(n if n > 2 else 0), 2):
            order = list(range(n))
            order[a], order[b] = order[b], order[a]
            other = reordered(plan, order)
            if not walks or is_safe_order(network, plan, other, tuple(order), KEEP):
                assert unsafe(network, signal, other, (), plan) == [], (signal, order)
