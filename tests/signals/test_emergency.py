"""An ambulance's way through: holds are safe, in time, and back in step; reports change what is still ahead."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from signals.emergency import holds as holds_module
from signals.emergency.answers import answer, shown
from signals.emergency.changes import SignalRules
from signals.emergency.corridor import CorridorPlan, CorridorPlanner, Pace, Position, plan_corridor
from signals.emergency.holds import Hold, Keeper, pieces
from signals.emergency.reds import longest_reds, red_bounds
from signals.emergency.traffic import Streams
from signals.errors import InputError, UnsafePlan
from signals.formats.sumo.config import read_scenario
from signals.formats.sumo.network import read_network
from signals.model.network import Network, Turn
from signals.model.phasing import GREEN
from signals.model.plan import PlanRequest
from signals.safety.check import Finding, Rule, check_timeline
from signals.safety.timeline import unroll_between
from signals.wire.emergency import Departure, NewEmergencyPlan, UnderWay
from sumo_nets import find_network
from sumo_nets.corridor.build import corridor_route

DEPARTS_S = 25200.0
THROUGH_VPH, TURN_VPH = 700.0, 60.0


@pytest.fixture(scope="module")
def network() -> Network:
    return read_network(read_scenario(find_network("corridor")))


@pytest.fixture(scope="module")
def flows(network: Network) -> dict[str, dict[str, float]]:
    return {
        s: {m.id: THROUGH_VPH if m.turn is Turn.THROUGH else TURN_VPH for m in i.movements}
        for s, i in network.intersections.items()
    }


@pytest.fixture(scope="module")
def planner(network: Network, flows: dict[str, dict[str, float]]) -> CorridorPlanner:
    return CorridorPlanner(network, corridor_route(), flows_vph=flows)


@pytest.fixture(scope="module")
def plan(planner: CorridorPlanner) -> CorridorPlan:
    return planner.plan(DEPARTS_S, now_s=DEPARTS_S - 60)


def held(plan: CorridorPlan) -> dict[str, Hold]:
    return {s.passage.signal: s.holds[-1] for s in plan.signals if s.holds}


def judged(keeper: Keeper, holds: tuple[Hold, ...]) -> tuple[Finding, ...]:
    """The check over holds and program, from rows made here second by second."""
    rules = keeper.rules
    cycle = int(rules.program.cycle_s)
    begin, end = int(holds[0].leaves_s) - 2 * cycle, int(holds[-1].back_s) + 2 * cycle
    rows = []
    for second in range(begin, end):
        led = [h.state(second) for h in holds]
        rows.append((1.0, next((s for s in led if s is not None), rules.program.state_at(second))))
    return check_timeline(rules.intersection, rows, float(begin), (begin + cycle, end - cycle), PlanRequest())


# ------------------------------------------------------------------------------------------------- plans


def test_every_signal_of_the_route_is_passed_in_order(plan: CorridorPlan) -> None:
    assert [s.passage.signal for s in plan.signals] == [f"c{n}" for n in range(1, 22)]
    assert [s.eta_early_s for s in plan.signals] == sorted(s.eta_early_s for s in plan.signals)
    assert plan.skipped == {}
    assert len(held(plan)) >= 18


def test_the_route_is_green_throughout_each_hold(plan: CorridorPlan) -> None:
    for part in plan.signals:
        for hold in part.holds:
            for second in range(int(hold.begins_s), int(hold.ends_s)):
                state = hold.state(second)
                assert state is not None
                assert all(state[i] == "G" for i in part.passage.links)
            assert hold.begins_s <= part.eta_early_s <= hold.ends_s


def test_holds_leave_from_the_program_and_come_back_in_step(
    plan: CorridorPlan, planner: CorridorPlanner
) -> None:
    for signal, hold in held(plan).items():
        program = planner.keepers[signal].rules.program
        assert hold.leaves_s <= hold.begins_s <= hold.ends_s <= hold.back_s
        last, after = hold.steps[-1][1], program.state_at(hold.back_s)
        vehicles = planner.keepers[signal].rules.intersection.vehicle_links
        assert [i for i in vehicles if last[i] in GREEN and after[i] not in GREEN] == []
        assert hold.state(hold.back_s) is None
        assert hold.state(hold.leaves_s - 1) is None


def test_all_that_is_shown_passes_the_safety_check(plan: CorridorPlan, planner: CorridorPlanner) -> None:
    for signal, hold in held(plan).items():
        assert judged(planner.keepers[signal], (hold,)) == ()


def test_a_hold_with_less_clearance_does_not_pass(plan: CorridorPlan, planner: CorridorPlanner) -> None:
    broken = 0
    for signal, hold in held(plan).items():
        for k, (at, state) in enumerate(hold.steps[:-1]):
            if "y" not in state or hold.steps[k + 1][0] > hold.begins_s:
                continue
            cut = (*hold.steps[: k + 1], (at + 1.0, hold.steps[k + 1][1]), *hold.steps[k + 2 :])
            found = judged(planner.keepers[signal], (replace(hold, steps=cut),))
            assert Rule.YELLOW in {f.rule for f in found}
            broken += 1
    assert broken >= 3


@pytest.mark.parametrize("signal", ["c1", "c2", "c4", "c10"])
def test_any_movement_at_any_second_gets_a_safe_hold(network: Network, signal: str) -> None:
    chosen = random.Random(signal)
    intersection = network.intersections[signal]
    rules = SignalRules(intersection, intersection.program, network.connections, PlanRequest())
    for movement in intersection.movements:
        keeper = Keeper(rules, movement.links, network.connections, PlanRequest())
        for _ in range(2):
            now = DEPARTS_S + chosen.randrange(120)
            begin = now + chosen.uniform(0, 150)
            hold, findings = keeper.fresh(now, begin, begin + chosen.uniform(5, 100))
            assert hold is not None, findings
            assert hold.leaves_s >= now
            assert judged(keeper, (hold,)) == ()
            sooner = keeper.released(hold, hold.begins_s + chosen.uniform(0, 60))
            assert judged(keeper, (sooner,)) == ()


def test_people_who_walk_are_not_cut_off(network: Network) -> None:
    intersection = network.intersections["c4"]
    rules = SignalRules(intersection, intersection.program, network.connections, PlanRequest())
    over_arterial = next(c for c in intersection.crossings if c.length_m > 15 and c.link == 18)
    through = next(
        m for m in intersection.movements if m.turn is Turn.THROUGH and m.approach == "c3_c4_pocket"
    )
    keeper = Keeper(rules, through.links, network.connections, PlanRequest())
    program = rules.program
    starts = [
        t
        for t in range(25200, 25440)
        if program.state_at(t)[over_arterial.link] == "G"
        and program.state_at(t - 1)[over_arterial.link] == "r"
    ]
    walk_begins = starts[0]
    hold, _ = keeper.fresh(walk_begins + 1, walk_begins + 1, walk_begins + 60)
    assert hold is not None
    # walk 7 s, and 19.2 m at 1.07 m/s, before anybody may drive there
    assert hold.begins_s - walk_begins >= 7 + over_arterial.length_m / 1.07


def test_a_hold_that_fails_the_check_is_refused(network: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    unsafe = Finding("c1", Rule.INTERGREEN, "somewhere", 1.0, 2.0, "signal c1, intergreen: too short")
    monkeypatch.setattr(holds_module, "check_timeline", lambda *_, **__: (unsafe,))
    plan = plan_corridor(network, corridor_route()[:4], departs_s=DEPARTS_S)
    assert held(plan) == {}
    assert "no safe hold was found: signal c1, intergreen: too short" in plan.skipped["c1"]


def test_a_longer_queue_turns_the_signal_green_earlier(network: Network) -> None:
    planner = CorridorPlanner(network, corridor_route())
    short = planner.plan(DEPARTS_S, now_s=DEPARTS_S - 200, queues={"c10": 4})
    long = planner.plan(DEPARTS_S, now_s=DEPARTS_S - 200, queues={"c10": 60})
    assert held(long)["c10"].begins_s <= held(short)["c10"].begins_s - 30


def test_cross_streets_pay_and_the_route_does_not(plan: CorridorPlan) -> None:
    costs = {c.movement: c for s in plan.signals if s.passage.signal == "c7" for c in s.costs}
    assert costs["north7_c7_pocket->c7_south7"].delay_added_s > 0
    assert costs["north7_c7_pocket->c7_south7"].red_added_s > 0
    assert costs["c6_c7_pocket->c7_c8"].delay_added_s <= 0
    assert plan.cross_delay_s > 0
    assert plan.saved_s > 0


def test_nemas_numbers_name_what_is_held(plan: CorridorPlan) -> None:
    assert {s.phases for s in plan.signals if s.holds} == {(2, 6)}


# ------------------------------------------------------------------------------------------ bound on reds


def reds(keeper: Keeper, holds: tuple[Hold, ...]) -> dict[int, int]:
    """The longest red of each link that the program serves, from seconds read here one by one."""
    program = keeper.rules.program
    cycle = int(program.cycle_s)
    last: dict[int, int] = {}
    longest: dict[int, int] = {}
    for second in range(int(holds[0].leaves_s) - 2 * cycle, int(holds[-1].back_s) + 2 * cycle):
        led = next((s for h in holds if (s := h.state(second)) is not None), None)
        for link, letter in enumerate(led or program.state_at(second)):
            if letter in GREEN:
                longest[link] = max(longest.get(link, 0), second - last.get(link, second) - 1)
                last[link] = second
    return longest


def any_keepers(network: Network, chosen: random.Random) -> list[Keeper]:
    """A keeper of a movement of each signal that can be led."""
    keepers = []
    for intersection in network.intersections.values():
        if intersection.program is None or intersection.program.kind not in ("static", ""):
            continue
        rules = SignalRules(intersection, intersection.program, network.connections, PlanRequest())
        movement = chosen.choice(intersection.movements)
        keeper = Keeper(rules, movement.links, network.connections, PlanRequest())
        keepers += [keeper] if keeper.serving else []
    return keepers


@pytest.mark.parametrize("name", ["single", "arterial", "corridor", "grid"])
def test_no_link_is_red_for_longer_than_the_bound_by_any_hold(name: str) -> None:
    chosen = random.Random(name)
    network = read_network(read_scenario(find_network(name)))
    found = 0
    for keeper in any_keepers(network, chosen):
        now = DEPARTS_S + chosen.randrange(120)
        begin = now + chosen.uniform(0, 120)
        hold, findings = keeper.fresh(now, begin, begin + chosen.uniform(20, 250), needed_s=begin + 20)
        assert hold is not None, findings
        later = keeper.released(hold, hold.ends_s + 200)
        for rows in ((hold,), (later,)):
            assert keeper.findings(rows) == ()
            # a second more: programs with tenths are read at whole seconds here
            bounds = red_bounds(keeper.rules.program, 180.0)
            assert all(red <= bounds[link] + 1 for link, red in reds(keeper, rows).items())
        found += 1
    assert found >= 1


def test_the_bound_is_never_below_the_programs_own_red(planner: CorridorPlanner) -> None:
    for keeper in planner.keepers.values():
        program = keeper.rules.program
        own = longest_reds(unroll_between(program, 0.0, 3 * program.cycle_s), program.n_links)
        tight = red_bounds(program, 1.0)
        assert tight == tuple(red + 60.0 for red in own)
        assert max(red_bounds(program, 1e6)) == max(own) + program.cycle_s


def test_a_longer_bound_lets_a_hold_last_longer(network: Network) -> None:
    lengths = []
    for longest_red_s in (170.0, 200.0, 230.0):
        intersection = network.intersections["c2"]
        rules = SignalRules(intersection, intersection.program, network.connections, PlanRequest())
        through = next(
            m for m in intersection.movements if m.approach == "c1_c2_pocket" and m.turn is Turn.THROUGH
        )
        keeper = Keeper(rules, through.links, network.connections, PlanRequest(), longest_red_s=longest_red_s)
        hold, _ = keeper.fresh(DEPARTS_S, DEPARTS_S + 60, DEPARTS_S + 400, needed_s=DEPARTS_S + 80)
        assert hold is not None
        assert keeper.longest_red_s((hold,)) <= longest_red_s
        lengths.append(hold.ends_s - hold.begins_s)
    assert lengths == sorted(lengths)
    assert lengths[0] + 20 < lengths[-1] < 230


def test_a_stage_that_has_waited_is_served_before_the_program_takes_over(planner: CorridorPlanner) -> None:
    keeper = planner.keepers["c9"]
    served = 0
    for begin in range(int(DEPARTS_S), int(DEPARTS_S) + 120, 10):
        hold, _ = keeper.fresh(begin - 60, begin, begin + 300, needed_s=begin + 20)
        assert hold is not None
        after = [(start, state) for start, state in hold.steps if start > hold.ends_s]
        between = [(start, s) for start, s in after if s in keeper.rules.stages and s != hold.stage]
        if not between:
            continue
        start, state = between[0]
        ends = next((at for at, shown in after if at > start and shown != state), hold.back_s)
        fresh = [i for i, letter in enumerate(state) if letter in GREEN and hold.stage[i] not in GREEN]
        assert fresh
        assert all(ends - start >= keeper.rules.least_green_s[i] for i in fresh)
        assert judged(keeper, (hold,)) == ()
        served += 1
    assert served >= 3


@pytest.mark.parametrize("signal", ["c9", "c20"])
def test_a_cross_street_is_not_left_out_after_a_long_hold(planner: CorridorPlanner, signal: str) -> None:
    # straight back into step these cross streets waited 338 s: the hold, and all of the arterial's next green
    keeper = planner.keepers[signal]
    cross = [
        i
        for m in keeper.rules.intersection.movements
        if m.approach.startswith(("north", "south"))
        for i in m.links
    ]
    for begin in range(int(DEPARTS_S), int(DEPARTS_S) + 120, 15):
        hold, _ = keeper.fresh(begin - 60, begin, begin + 150)
        assert hold is not None
        longest = reds(keeper, (hold,))
        assert max(longest[i] for i in cross) <= 180


def test_a_hold_on_its_way_back_returns_for_an_ambulance_still_ahead(planner: CorridorPlanner) -> None:
    keeper = planner.keepers["c9"]
    begin = int(DEPARTS_S)
    resumed = 0
    for shift in range(0, 120, 10):
        hold, _ = keeper.fresh(
            begin + shift - 60, begin + shift, begin + shift + 300, needed_s=begin + shift + 20
        )
        assert hold is not None
        if hold.back_s - hold.ends_s < 15:
            continue
        now = hold.ends_s + 3
        again = keeper.resumed(hold, now, now + 30, now + 60)
        if again == hold:
            continue
        assert again.begins_s > hold.ends_s
        assert again.stage in keeper.serving
        assert [s for s in again.steps if s[0] < now] == [s for s in hold.steps if s[0] < now]
        assert judged(keeper, (again,)) == ()
        assert keeper.within_bounds((again,))
        resumed += 1
    assert resumed >= 2


def test_the_plan_tells_the_longest_red(plan: CorridorPlan, planner: CorridorPlanner) -> None:
    for part in plan.signals:
        if part.holds:
            keeper = planner.keepers[part.passage.signal]
            assert part.longest_red_s == pytest.approx(max(reds(keeper, part.holds).values()), abs=1.0)
            assert part.longest_red_s <= 180
        else:
            assert part.longest_red_s == 0


# ---------------------------------------------------------------------------------------------- reports


def test_a_signal_is_released_as_soon_as_it_has_been_passed(
    plan: CorridorPlan, planner: CorridorPlanner
) -> None:
    signal = next(s for s in plan.signals[2:] if s.holds and s.holds[-1].leaves_s < s.eta_early_s - 5)
    hold = signal.holds[-1]
    passed = Position("c12_c13", 10.0, hold.begins_s + 6)
    after = planner.update(passed, plan.holds)
    now = held(after)[signal.passage.signal]
    assert now.leaves_s == hold.leaves_s
    assert now.ends_s <= max(passed.time_s + 1, hold.begins_s + 5)
    assert now.ends_s < hold.ends_s
    assert judged(planner.keepers[signal.passage.signal], (now,)) == ()


def test_a_signal_in_its_hold_waits_for_an_ambulance_that_is_late(
    plan: CorridorPlan, planner: CorridorPlanner
) -> None:
    third = plan.signals[2]
    hold = third.holds[-1]
    late = Position("c2_c3", 5.0, hold.ends_s - 2)
    after = planner.update(late, plan.holds)
    now = held(after)["c3"]
    assert now.ends_s > hold.ends_s
    assert [s for s in now.steps if s[0] <= hold.begins_s] == [s for s in hold.steps if s[0] <= hold.begins_s]
    assert judged(planner.keepers["c3"], (now,)) == ()


def test_signals_passed_before_their_hold_get_none(plan: CorridorPlan, planner: CorridorPlanner) -> None:
    after = planner.update(Position("c20_c21", 10.0, DEPARTS_S - 50), plan.holds)
    assert all(s.passed and not s.holds for s in after.signals if s.passage.signal in ("c8", "c12", "c18"))
    assert [s.passage.signal for s in after.signals if not s.passed] == ["c21"]


def test_many_reports_never_break_a_rule(planner: CorridorPlanner) -> None:
    chosen = random.Random(7)
    plan = planner.plan(DEPARTS_S, now_s=DEPARTS_S - 60)
    driven, now = 0.0, DEPARTS_S
    while driven < 2500:
        now += 20
        driven += 20 * chosen.uniform(0, 14)
        k = max(i for i, (start, _) in enumerate(planner.route.edge_starts) if start <= driven)
        at = Position(planner.route.edges[k], driven - planner.route.edge_starts[k][0], now)
        plan = planner.update(at, plan.holds, with_costs=False)
    several = [s for s in plan.signals if s.holds and s.holds[0].leaves_s < now]
    assert len(several) >= 6
    for part in several:
        assert judged(planner.keepers[part.passage.signal], part.holds) == ()


# ------------------------------------------------------------------------------------- what can't be used


def test_an_unknown_edge_is_named(network: Network) -> None:
    with pytest.raises(InputError, match="has no edge nowhere"):
        plan_corridor(network, ["west_c1", "nowhere"], departs_s=DEPARTS_S)


def test_a_route_with_a_gap_says_where_one_gets_to(network: Network) -> None:
    with pytest.raises(
        InputError, match="west_c1 doesn't lead to c2_c3; from there one gets to west_c1_pocket"
    ):
        plan_corridor(network, ["west_c1", "c2_c3"], departs_s=DEPARTS_S)


def test_a_route_without_signals_is_refused(network: Network) -> None:
    with pytest.raises(InputError, match="no signal stands on it"):
        plan_corridor(network, ["west_c1"], departs_s=DEPARTS_S)


def test_a_plan_after_departure_is_refused(network: Network) -> None:
    with pytest.raises(InputError, match="plan no later than it departs"):
        plan_corridor(network, corridor_route(), departs_s=DEPARTS_S, now_s=DEPARTS_S + 1)


def test_a_plan_far_ahead_is_refused(network: Network) -> None:
    with pytest.raises(InputError, match="plan at most 3600 s ahead"):
        plan_corridor(network, corridor_route(), departs_s=DEPARTS_S, now_s=0.0)


def test_a_position_off_the_route_is_refused(planner: CorridorPlanner) -> None:
    with pytest.raises(InputError, match="north1_c1_pocket isn't on the route"):
        planner.update(Position("north1_c1_pocket", 0.0, DEPARTS_S), {})


def test_a_signal_without_a_fixed_program_gets_no_priority_and_is_named(network: Network) -> None:
    signals = dict(network.intersections)
    bare = signals["c2"]
    assert bare.program is not None
    signals["c2"] = replace(bare, program=None)
    signals["c3"] = replace(signals["c3"], program=replace(signals["c3"].program, kind="actuated"))
    plan = plan_corridor(replace(network, intersections=signals), corridor_route()[:8], departs_s=DEPARTS_S)
    assert "c2: has no program" in plan.skipped["c2"]
    assert "its program is actuated" in plan.skipped["c3"]
    assert "c1" in held(plan)
    assert {s.passage.signal for s in plan.signals} >= {"c2", "c3"}


def test_a_pace_is_slowest_first() -> None:
    with pytest.raises(ValueError, match="need 0 < late <= early"):
        Pace(early=0.5, late=0.8)


# -------------------------------------------------------------------------------------------- on the wire


LEAVING = Departure(kind="departure", departs_s=DEPARTS_S, known_at_s=DEPARTS_S - 60)


def test_a_plan_goes_over_the_wire_and_comes_back_with_a_position(network: Network) -> None:
    route = corridor_route()[:12]
    first = answer(network, NewEmergencyPlan(route=route, drive=LEAVING))
    there = NewEmergencyPlan.model_validate_json(
        NewEmergencyPlan(
            route=route,
            drive=UnderWay(
                kind="under way",
                edge="c1_c2",
                along_m=20,
                at_s=DEPARTS_S + 40,
                holds={s.signal: s.holds for s in first.signals},
            ),
        ).model_dump_json()
    )
    second = answer(network, there)
    before = {s.signal: s for s in first.signals}
    assert second.driven_m > 300
    assert second.signals[0].passed
    assert second.signals[0].holds[0].leaves_s == before["c1"].holds[0].leaves_s
    assert second.signals[0].holds[0].ends_s <= before["c1"].holds[0].ends_s


def test_holds_of_other_signals_are_refused(network: Network, plan: CorridorPlan) -> None:
    holds = {s.signal: s.holds for s in shown(plan).signals}
    asked = NewEmergencyPlan(
        route=corridor_route()[:4],
        drive=UnderWay(kind="under way", edge="west_c1", along_m=0, at_s=DEPARTS_S, holds=holds),
    )
    with pytest.raises(InputError, match="isn't on the route"):
        answer(network, asked)


def test_holds_that_a_caller_made_unsafe_are_refused(network: Network) -> None:
    route = corridor_route()[:8]
    first = answer(network, NewEmergencyPlan(route=route, drive=LEAVING))
    told = {s.signal: s.holds for s in first.signals if s.holds}
    signal, hold = next((s, h[-1]) for s, h in told.items() if any("y" in step.state for step in h[-1].steps))
    at = UnderWay(kind="under way", edge="west_c1", along_m=0, at_s=DEPARTS_S)
    green = [step.model_copy(update={"state": step.state.replace("y", "G")}) for step in hold.steps]
    unsafe = {signal: [hold.model_copy(update={"steps": green})]}
    with pytest.raises(UnsafePlan, match=f"signal {signal}"):
        answer(network, NewEmergencyPlan(route=route, drive=at.model_copy(update={"holds": unsafe})))
    backwards = {signal: [hold.model_copy(update={"ends_s": hold.begins_s - 5})]}
    with pytest.raises(InputError, match="don't follow each other"):
        answer(network, NewEmergencyPlan(route=route, drive=at.model_copy(update={"holds": backwards})))


# ---------------------------------------------------------------------------------------------- traffic


def test_queues_are_those_of_uniform_arrivals(network: Network) -> None:
    intersection = network.intersections["c7"]
    program = intersection.program
    assert program is not None
    through = next(
        m for m in intersection.movements if m.approach == "north7_c7_pocket" and m.turn is Turn.THROUGH
    )
    streams = Streams(intersection, program, {through.id: 360.0})
    k = streams.movements.index(through)
    red = [t for t in range(25200, 25320) if program.state_at(t)[through.links[0]] not in GREEN]
    end_of_red = next(t for t in range(25320, 25440) if program.state_at(t)[through.links[0]] in GREEN)
    # 0.1 veh/s over a whole red, all of which a green of two lanes has let go before
    assert streams.standing(end_of_red)[k] == pytest.approx(0.1 * len(red), abs=0.11)


def test_a_hold_is_laid_out_with_the_program_around_it(plan: CorridorPlan, planner: CorridorPlanner) -> None:
    signal, hold = next(iter(held(plan).items()))
    rules = planner.keepers[signal].rules
    rows = pieces(rules, (hold,), hold.leaves_s - 30, hold.back_s + 30)
    assert sum(duration for duration, _ in rows) == pytest.approx(hold.back_s - hold.leaves_s + 60)
    assert rows[0][1] == rules.program.state_at(hold.leaves_s - 30)
