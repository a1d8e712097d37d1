"""Switches between programs hurt nobody."""

from __future__ import annotations

import itertools
import random
import subprocess
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from signals.errors import InputError
from signals.formats.sumo.binaries import find_binary, sumo_environment
from signals.formats.sumo.config import read_scenario
from signals.formats.sumo.network import read_network
from signals.formats.sumo.programs import write_plans
from signals.model.network import Intersection, Network
from signals.model.phasing import GREEN, Interval, SignalProgram
from signals.model.plan import PlanRequest, PlanSet, TimingPlan
from signals.safety.check import check_plan_set
from signals.timing.stages import program_of, reordered, stage_plan
from signals.timing.switches import safe_switch_time
from sumo_nets import find_network

NS, NS_YELLOW, RED, EW, EW_YELLOW = "GGrr", "yyrr", "rrrr", "rrGG", "rryy"


def program(offset_s: float, *intervals: tuple[float, str], name: str = "p") -> SignalProgram:
    """A program of four links: two of one street, two of the other."""
    return SignalProgram("A", name, "static", offset_s, tuple(Interval(d, s) for d, s in intervals))


def two_stages(offset_s: float, first_s: float, second_s: float, red_s: float = 2.0) -> SignalProgram:
    """North-south and east-west green with 3 s of yellow and a red clearance."""
    return program(
        offset_s, (first_s, NS), (3, NS_YELLOW), (red_s, RED), (second_s, EW), (3, EW_YELLOW), (red_s, RED)
    )


def shown(old: SignalProgram, new: SignalProgram, switch_s: float, begin_s: int, end_s: int) -> list[str]:
    """States by whole second, the old program until the switch and the new one from then on."""
    return [(old if t < switch_s else new).state_at(t) for t in range(begin_s, end_s)]


def shortest_gaps(states: Sequence[str]) -> dict[tuple[int, int], int]:
    """Seconds from the last green of a link to the next green of another, the shortest in a row of states."""
    gaps: dict[tuple[int, int], int] = {}
    links = range(len(states[0]))
    for i, j in itertools.permutations(links, 2):
        last = None
        for t, state in enumerate(states):
            if state[i] in GREEN:
                last = t
            elif state[j] in GREEN and last is not None:
                gaps[i, j] = min(gaps.get((i, j), 10**9), t - last - 1)
                last = None
    return gaps


@pytest.mark.parametrize("seed", range(40))
def test_the_first_safe_second_is_safe_by_a_count_of_seconds(seed: int) -> None:
    chosen = random.Random(seed)
    old, new = (
        two_stages(
            chosen.randrange(60), chosen.randrange(8, 50), chosen.randrange(8, 50), red_s=chosen.randrange(4)
        )
        for _ in range(2)
    )
    t = safe_switch_time(old, new, 5000.3)
    if t is None:
        # only programs of one cycle never meet
        assert old.cycle_s == new.cycle_s
        return
    assert t == int(t) >= 5001
    assert len({p.state_at(s) for p in (old, new) for s in (t - 1, t)}) == 1
    states = shown(old, new, t, int(t - old.cycle_s), int(t + new.cycle_s))
    at = int(old.cycle_s)
    before = next((k for k in range(1, at) if states[at - k] != states[at]), at)
    after = next((k for k in range(1, len(states) - at) if states[at + k] != states[at]), len(states) - at)
    assert states[at] in (NS, EW)
    assert before + after - 1 >= 5
    own = [shortest_gaps([p.state_at(s) for s in range(int(2 * p.cycle_s))]) for p in (old, new)]
    for pair, gap in shortest_gaps(states).items():
        assert gap >= min(g[pair] for g in own if pair in g)


def test_no_earlier_second_was_safe() -> None:
    old, new = two_stages(0, 30, 20), two_stages(0, 30, 33)
    t = safe_switch_time(old, new, 600.0)
    assert t is not None
    for earlier in range(600, int(t)):
        states = {p.state_at(s) for p in (old, new) for s in (earlier - 1, earlier)}
        left = next(k for k in range(100) if new.state_at(earlier + k) != new.state_at(earlier))
        gone = next(k for k in range(100) if old.state_at(earlier - 1 - k) != old.state_at(earlier - 1))
        assert len(states) > 1 or states <= {RED, NS_YELLOW, EW_YELLOW} or left + gone < 5


def test_a_green_is_not_cut_below_its_minimum() -> None:
    # The old green began at 0 s of the cycle; the new one ends then and there, after 1 … 4 s.
    old, new = two_stages(0, 20, 20), two_stages(0, 20, 20)
    for shift in range(20):
        moved = replace(new, offset_s=float(-shift % 50))
        t = safe_switch_time(old, moved, 0.0)
        # the east-west greens, or the north-south ones, overlap by 20 − shift: elapsed and rest add up to it
        assert (t is None) == (20 - shift < 5), shift
        strict = safe_switch_time(old, moved, 0.0, min_green_s={NS: 12.0, EW: 12.0})
        assert (strict is None) == (20 - shift < 12), shift


def test_min_greens_by_state() -> None:
    old, new = two_stages(0, 20, 20), two_stages(40, 20, 20)
    assert old.state_at(1) == new.state_at(1) == NS
    # ten seconds of either green are left after any switch
    assert safe_switch_time(old, new, 0.0, min_green_s={NS: 10.0, EW: 11.0}) == 1.0
    assert safe_switch_time(old, new, 0.0, min_green_s={NS: 11.0, EW: 10.0}) == 26.0
    assert safe_switch_time(old, new, 0.0, min_green_s=11.0) is None


def test_a_green_is_not_held_for_longer_than_a_cycle() -> None:
    # The old green ends at 80 s, the new one begins at 76 s: switched in between, it would last for 156 s.
    old, new = two_stages(0, 80, 6), two_stages(76, 80, 6)
    assert {p.state_at(t) for p in (old, new) for t in range(76, 80)} == {NS}
    assert safe_switch_time(old, new, 76.0, horizon_s=4.0) is None
    shorter = two_stages(76, 10, 6)
    assert safe_switch_time(old, shorter, 76.0, horizon_s=4.0) == 77.0


def test_a_clearance_in_one_program_is_no_green_of_the_other() -> None:
    """While link 1 clears for 12 s, link 0 goes on alone; in the new program the same state is a stage."""
    both, clearing, alone, cross = "GGr", "Gyr", "Grr", "rrG"
    old = program(0, (20, both), (3, clearing), (12, alone), (3, "yrr"), (20, cross), (3, "rry"), (2, "rrr"))
    new = program(9, (20, both), (3, clearing), (12, alone), (3, "yrr"), (20, cross), (3, "rry"), (2, "rrr"))
    # at 33 s the old one has cleared link 1 for 10 s, the new one (9 s behind) for 1 s: harmless this way
    assert old.state_at(33) == new.state_at(33) == alone
    for first, second in ((old, new), (new, old)):
        t = safe_switch_time(first, second, 32.0, horizon_s=400.0, min_green_s=2.0)
        assert t is not None
        states = shown(first, second, t, int(t) - 63, int(t) + 63)
        needed = shortest_gaps([old.state_at(s) for s in range(126)])[1, 2]
        assert shortest_gaps(states).get((1, 2), 10**9) >= needed == 18
    # the other way round the same second would leave link 2 waiting for 9 s less than link 1 needs
    cut = shown(new, old, 33.0, -30, 96)
    assert shortest_gaps(cut)[1, 2] == 9
    assert safe_switch_time(new, old, 33.0, horizon_s=1.0, min_green_s=2.0) is None


def test_a_pedestrian_clearance_is_not_cut_short() -> None:
    walk, clear, cross = "GGr", "rGr", "rrG"  # link 0 is a crossing, link 1 the street beside it
    rows = ((7, walk), (18, clear), (3, "ryr"), (20, cross), (3, "rry"))
    old, new = program(0, *rows), program(-10, *rows)  # the new one is 10 s ahead
    assert old.state_at(10) == new.state_at(10) == clear
    # the old clearance began at 7 s, the new one ends at 15 s: 8 s for a crossing that takes 18 s
    assert safe_switch_time(old, new, 8.0, horizon_s=6.0) is None
    # the other way round it is only longer
    assert safe_switch_time(new, old, 8.0, horizon_s=6.0) == 8.0


def test_a_late_release_is_not_shortened() -> None:
    """Link 1 starts at once after link 0, link 2 four seconds later: 7 s after the end of link 0's green."""
    rows = ((20, "Grr"), (3, "yrr"), (4, "rGr"), (20, "rGG"), (3, "ryy"))
    old, new = program(0, *rows), program(-2, *rows)  # the new one is 2 s ahead
    assert old.state_at(24) == new.state_at(24) == "rGr"
    assert shortest_gaps(shown(old, new, 24.0, -50, 100))[0, 2] == 5
    assert safe_switch_time(old, new, 24.0, horizon_s=0.5, min_green_s=2.0) is None
    assert safe_switch_time(new, old, 24.0, horizon_s=0.5, min_green_s=2.0) == 24.0


def test_changes_in_tenths() -> None:
    old = program(0, (20, NS), (3.6, NS_YELLOW), (2.4, RED), (20, EW), (3.6, EW_YELLOW), (2.4, RED))
    new = program(0.5, (30, NS), (3.3, NS_YELLOW), (1.2, RED), (20, EW), (3.3, EW_YELLOW), (1.2, RED))
    t = safe_switch_time(old, new, 0.0)
    # at 1 s the new green is 0.5 s old: the second before isn't the same throughout
    assert t == 2.0


def test_programs_of_two_signals_are_refused() -> None:
    three = SignalProgram("A", "q", "static", 0.0, (Interval(10, "GGr"), Interval(10, "rrG")))
    with pytest.raises(InputError, match="4 and 3 links"):
        safe_switch_time(two_stages(0, 20, 20), three, 0.0)
    with pytest.raises(InputError, match="shows nothing"):
        safe_switch_time(two_stages(0, 20, 20), SignalProgram("A", "q", "static", 0.0, ()), 0.0)


def test_a_signal_that_never_changes_may_switch_at_once() -> None:
    constant = program(0, (60, "GGGG"))
    assert safe_switch_time(constant, program(7, (40, "GGGG")), 100.2) == 101.0


# ------------------------------------------------------------------------ against the safety check and SUMO


END_OF_STEP_S = 0.999
"""A step of SUMO shows what is in force at its end: a yellow of 3.6 s is seen in three steps of 1 s."""


@pytest.fixture(scope="module")
def arterial() -> Network:
    """The shipped arterial: fractional yellows, crossings, leading and lagging left turns."""
    return read_network(read_scenario(find_network("arterial")))


def _random_program(intersection: Intersection, chosen: random.Random) -> SignalProgram:
    plan = stage_plan(intersection, PlanRequest())
    # never shorter than the field's: it is the yardstick for pedestrians
    stages = [replace(s, duration_s=min(s.duration_s + chosen.randrange(14), s.max_s)) for s in plan.stages]
    longer = replace(plan, stages=tuple(stages))
    return program_of(
        replace(reordered(longer, range(len(stages))), offset_s=float(chosen.randrange(100))),
        "p",
    )


@pytest.mark.parametrize("seed", range(6))
def test_the_safety_check_agrees(arterial: Network, seed: int) -> None:
    chosen = random.Random(seed)
    switched = 0
    for signal, intersection in arterial.intersections.items():
        plans = [TimingPlan(_random_program(intersection, chosen)) for _ in range(2)]
        least = {s.state: s.min_s for s in stage_plan(intersection, PlanRequest()).stages}
        t = safe_switch_time(plans[0].program, plans[1].program, 25000.0, min_green_s=least, horizon_s=3600.0)
        if t is None:
            continue
        switched += 1
        others = {s: "not part of this test" for s in arterial.intersections if s != signal}
        both = PlanSet(({signal: plans[0]}, {signal: plans[1]}), {signal: (t,)}, others, 1, "v", "h")
        assert check_plan_set(arterial, both, PlanRequest()) == ()
    assert switched >= 6


def _record(
    folder: Path, net: Path, plans: PlanSet, begin_s: int, end_s: int
) -> dict[float, tuple[str, str]]:
    """Program and state by second, as SUMO shows them with a plan file."""
    write_plans(plans, folder / "plans.add.xml")
    (signal,) = plans.switch_times
    (folder / "states.add.xml").write_text(
        f'<additional><timedEvent type="SaveTLSStates" source="{signal}" dest="states.xml"/></additional>'
    )
    binary = find_binary("sumo")
    command = [
        binary,
        "-n",
        net,
        "-a",
        "plans.add.xml,states.add.xml",
        "-b",
        begin_s,
        "-e",
        end_s,
        "--no-step-log",
    ]
    done = subprocess.run(
        list(map(str, command)),
        cwd=folder,
        capture_output=True,
        text=True,
        env=sumo_environment(binary),
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "Warning" not in done.stderr
    rows = ET.parse(folder / "states.xml").getroot()
    return {float(row.attrib["time"]): (row.attrib["programID"], row.attrib["state"]) for row in rows}


@pytest.mark.parametrize("begin_s", [0, 25200, 25231])
def test_sumo_switches_at_the_second(arterial: Network, begin_s: int, tmp_path: Path) -> None:
    """Three periods: SUMO shows each program until the second of its switch, then the next one."""
    chosen = random.Random(begin_s)
    signal = "j4"
    programs = [_random_program(arterial.intersections[signal], chosen) for _ in range(3)]
    times: list[float] = []
    for old, new in itertools.pairwise(programs):
        t = safe_switch_time(old, new, max([begin_s, *times]) + 150.0, horizon_s=7200.0)
        assert t is not None
        times.append(t)
    plans = PlanSet(tuple({signal: TimingPlan(p)} for p in programs), {signal: tuple(times)}, {}, 1, "v", "h")
    end_s = int(times[-1]) + 200
    seen = _record(tmp_path, Path(arterial.source), plans, begin_s, end_s)
    assert sorted(seen) == [float(t) for t in range(begin_s, end_s)]
    for t, (name, state) in seen.items():
        period = sum(t >= switch for switch in times)
        assert name.endswith(f"-{period}"), t
        assert state == programs[period].state_at(t + END_OF_STEP_S), t


def test_sumo_skips_switches_before_its_begin(arterial: Network, tmp_path: Path) -> None:
    chosen = random.Random(7)
    programs = [_random_program(arterial.intersections["j1"], chosen) for _ in range(3)]
    plans = PlanSet(tuple({"j1": TimingPlan(p)} for p in programs), {"j1": (900.0, 1100.0)}, {}, 1, "v", "h")
    seen = _record(tmp_path, Path(arterial.source), plans, 1000, 1200)
    expected = [programs[1 if t < 1100 else 2].state_at(t + END_OF_STEP_S) for t in range(1000, 1200)]
    assert [seen[t][1] for t in sorted(seen)] == expected
