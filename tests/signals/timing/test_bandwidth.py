"""Offsets for the widest bands of corridors, measured on the programs that have them, and the command."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from signals.demand.turning import turning_counts
from signals.formats.sumo.config import read_scenario
from signals.formats.sumo.demand import read_demand
from signals.formats.sumo.network import read_network
from signals.formats.sumo.programs import read_plans
from signals.model.demand import TurningCounts
from signals.model.network import Corridor, Network
from signals.model.phasing import Interval, SignalProgram
from signals.timing.bandwidth import (
    LEAST_BAND_S,
    CorridorBands,
    at_speeds,
    coordinate,
    left_turn_gain,
    moved,
    widest_bands,
)
from signals.timing.corridors import band_s, find_corridors
from signals.timing.stretches import movement_flows_vph
from sumo_nets import find_network

SPEED_MPS = 12.5
ROUNDED_S = 1.0
"""Half a second at either end of a band is what whole seconds cost at most."""


@dataclass(frozen=True)
class Case:
    """A network and its counts."""

    network: Network
    counts: TurningCounts


@functools.cache
def shipped(name: str) -> Case:
    """A shipped network with its traffic at free flow."""
    scenario = read_scenario(find_network(name))
    network = read_network(scenario)
    return Case(network, turning_counts(network, read_demand(scenario)))


def programs_of(case: Case) -> dict[str, SignalProgram]:
    return {s: i.program for s, i in case.network.intersections.items() if i.program}


def two_phase(signal: str, green_s: float, cycle_s: float = 80.0, offset_s: float = 0.0) -> SignalProgram:
    """Link 0 forward and link 1 backward green together, then 4 s of yellow and the rest red."""
    rows = (Interval(green_s, "GG"), Interval(4.0, "yy"), Interval(cycle_s - green_s - 4.0, "rr"))
    return SignalProgram(signal, "p", "static", offset_s, rows)


def made(n: int, spacing_m: float, *, names: str = "s") -> Corridor:
    """A corridor of n signals, links as in `two_phase`."""
    return Corridor(
        f"{names}0 to {names}{n - 1}",
        tuple(f"{names}{k}" for k in range(n)),
        tuple(spacing_m * k for k in range(n)),
        ("f",) * n,
        ("b",) * n,
        ((0,),) * n,
        ((1,),) * n,
        (SPEED_MPS,) * (n - 1),
        (SPEED_MPS,) * (n - 1),
    )


def require_measured(answer: CorridorBands, programs: dict[str, SignalProgram]) -> None:
    """What is said of the bands is what is measured on the programs with the offsets, close to the model's."""
    new = programs | moved(programs, answer.offsets_s)
    measured = band_s(at_speeds(answer), new)
    assert measured == pytest.approx(answer.after_s)
    for there, promised_s, wide_s in zip((answer.forward, answer.backward), answer.model_s, measured):
        if there:
            assert promised_s - ROUNDED_S - 1e-6 <= wide_s <= promised_s + ROUNDED_S + 1e-6
    for signal, offset_s in answer.offsets_s.items():
        assert offset_s == int(offset_s)
        assert 0.0 <= offset_s < programs[signal].cycle_s
        assert new[signal].intervals == programs[signal].intervals


# --------------------------------------------------------------------------------------- shipped networks


@pytest.mark.parametrize("tolerance", [0.0, 0.1])
@pytest.mark.parametrize("name", ["arterial", "corridor"])
def test_the_model_promises_what_is_measured_on_shipped_streets(name: str, tolerance: float) -> None:
    case = shipped(name)
    programs = programs_of(case)
    (corridor,) = find_corridors(case.network, case.counts)
    answer = widest_bands(corridor, programs, speed_tolerance=tolerance)
    assert answer.found is not None
    assert answer.found.proven
    assert not answer.kept
    require_measured(answer, programs)
    if tolerance == 0.0:
        assert answer.after_s == pytest.approx(band_s(corridor, programs | moved(programs, answer.offsets_s)))
        assert min(answer.after_s) > min(answer.before_s) + LEAST_BAND_S
    else:
        found = at_speeds(answer)
        for free, own in zip(
            corridor.forward_mps + corridor.backward_mps, found.forward_mps + found.backward_mps
        ):
            assert free is not None
            assert own is not None
            assert 0.9 * free - 1e-6 <= own <= 1.1 * free + 1e-6
        assert min(answer.model_s) > min(widest_bands(corridor, programs).model_s)


def test_bands_that_are_there_already_stay() -> None:
    case = shipped("arterial")
    (corridor,) = find_corridors(case.network, case.counts)
    programs = programs_of(case)
    programs |= moved(programs, widest_bands(corridor, programs).offsets_s)
    again = widest_bands(corridor, programs)
    assert again.kept
    assert again.after_s == again.before_s
    assert again.offsets_s == {s: programs[s].offset_s for s in corridor.signals}


def test_corridors_that_share_a_signal_are_set_one_after_the_other() -> None:
    first = made(4, 430.0)
    names = ("t0", "s1", "t2")
    second = replace(made(3, 330.0), name="t0 to t2", signals=names)
    programs = {s: two_phase(s, 36.0, offset_s=11.0) for s in {*first.signals, *names}}
    answers = coordinate([first, second], programs, {})
    assert answers[0].offsets_s.keys() == set(first.signals)
    assert answers[1].offsets_s.keys() == {"t0", "t2"}
    new = programs | moved(programs, answers[0].offsets_s) | moved(programs, answers[1].offsets_s)
    for answer, alone in zip(answers, (widest_bands(first, programs), widest_bands(second, programs))):
        assert answer.before_s == pytest.approx(band_s(answer.corridor, programs))
        assert answer.after_s == pytest.approx(band_s(answer.corridor, new))
        # one signal that is fixed costs nothing: all others turn with it
        assert answer.model_s == pytest.approx(alone.model_s, abs=1e-6)
        assert min(answer.after_s) >= min(answer.model_s) - ROUNDED_S


@pytest.mark.slow
def test_signals_of_an_earlier_corridor_are_fixed_for_later_ones() -> None:
    case = shipped("grid")
    programs = programs_of(case)
    corridors = find_corridors(case.network, case.counts)
    answers = coordinate(corridors, programs, movement_flows_vph(case.counts))
    assert [a.corridor for a in answers] == list(corridors)
    signals = [s for a in answers for s in a.offsets_s]
    assert len(signals) == len(set(signals))
    new = dict(programs)
    for answer in answers:
        new |= moved(new, answer.offsets_s)
    for answer in answers:
        assert answer.before_s == pytest.approx(band_s(answer.corridor, programs))
        assert answer.after_s == pytest.approx(band_s(answer.corridor, new))
        assert (answer.found is None) == bool(answer.reason)
        if answer.found is not None and answer.forward and answer.backward:
            require_measured(answer, programs)
    assert sum(a.after_s[0] + a.after_s[1] for a in answers) > sum(
        a.before_s[0] + a.before_s[1] for a in answers
    )
    assert any(a.reason.endswith("all its signals are fixed") for a in answers)


# --------------------------------------------------------------------------------------- streets made here


def test_signals_half_a_cycle_apart_alternate() -> None:
    corridor = made(5, 500.0)
    programs = {s: two_phase(s, 36.0, offset_s=7.0 * k) for k, s in enumerate(corridor.signals)}
    answer = widest_bands(corridor, programs)
    assert answer.after_s == pytest.approx((36.0, 36.0))
    first_s = answer.offsets_s["s0"]
    assert [(answer.offsets_s[s] - first_s) % 80.0 for s in corridor.signals] == [0.0, 40.0, 0.0, 40.0, 0.0]


def test_a_signal_at_half_the_cycle_goes_along() -> None:
    corridor = made(4, 500.0)
    programs = {s: two_phase(s, 36.0) for s in corridor.signals}
    programs["s2"] = two_phase("s2", 18.0, 40.0)
    answer = widest_bands(corridor, programs)
    assert answer.cycle_s == 80.0
    assert answer.after_s == pytest.approx((18.0, 18.0))
    require_measured(answer, programs)


def test_a_signal_that_is_always_green_is_in_nobodys_way() -> None:
    corridor = made(3, 500.0)
    programs = {s: two_phase(s, 36.0) for s in corridor.signals}
    programs["s1"] = SignalProgram("s1", "p", "static", 0.0, (Interval(80.0, "GG"),))
    answer = widest_bands(corridor, programs)
    assert answer.after_s == pytest.approx((36.0, 36.0))


@pytest.mark.parametrize("offset_s", [0.0, 13.0, 71.0])
def test_fixed_signals_keep_their_offsets(offset_s: float) -> None:
    corridor = made(4, 430.0)
    programs = {s: two_phase(s, 36.0) for s in corridor.signals}
    programs["s1"] = two_phase("s1", 36.0, offset_s=offset_s)
    programs["s2"] = two_phase("s2", 36.0, offset_s=(offset_s + 38.0) % 80.0)
    answer = widest_bands(corridor, programs, fixed={"s1", "s2"})
    assert answer.offsets_s.keys() == {"s0", "s3"}
    require_measured(answer, programs)
    # every pair of offsets, 2 s apart: none is better than proven, the best is as good as the steps allow
    best_s = max(
        min(band_s(corridor, programs | moved(programs, {"s0": 2.0 * a, "s3": 2.0 * b})))
        for a in range(40)
        for b in range(40)
    )
    assert min(answer.model_s) - 2.0 <= best_s <= min(answer.model_s) + 1e-6
    # two signals fixed like that are worth no more than when all are free, and the same whatever the clock's zero
    assert min(answer.model_s) <= min(widest_bands(corridor, programs).model_s) + 1e-6
    assert answer.model_s == pytest.approx(
        widest_bands(
            corridor,
            {s: replace(p, offset_s=(p.offset_s + 5.0) % 80.0) for s, p in programs.items()},
            fixed={"s1", "s2"},
        ).model_s,
        abs=1e-6,
    )


@pytest.mark.parametrize("busier", ["f", "b"])
def test_where_both_ways_leave_nothing_the_busier_one_has_the_street(busier: str) -> None:
    corridor = made(4, 250.0)
    programs = {s: two_phase(s, 20.0) for s in corridor.signals}
    flows = {s: {"f": 300.0, "b": 300.0} | {busier: 900.0} for s in corridor.signals}
    answer = widest_bands(corridor, programs, flows_vph=flows)
    assert (answer.forward, answer.backward) == (busier == "f", busier == "b")
    own = answer.after_s[0] if busier == "f" else answer.after_s[1]
    assert own == pytest.approx(20.0)
    require_measured(answer, programs)


def test_a_street_that_is_driven_one_way_is_set_for_that_way() -> None:
    both = made(4, 330.0)
    for corridor, way in (
        (replace(both, forward_mps=(None,) * 3), 1),
        (replace(both, backward_mps=(None,) * 3), 0),
        (replace(both, backward_links=((1,), (), (1,), (1,))), 0),
    ):
        programs = {s: two_phase(s, 30.0 + k) for k, s in enumerate(corridor.signals)}
        answer = widest_bands(corridor, programs)
        assert answer.model_s[way] == pytest.approx(30.0)
        assert answer.after_s[way] >= 29.0
        assert answer.model_s[1 - way] == 0.0


def test_why_there_is_no_band_is_said() -> None:
    corridor = made(3, 400.0)
    programs = {s: two_phase(s, 30.0) for s in corridor.signals}
    for given, reason in (
        (programs | {"s1": two_phase("s1", 30.0, 70.0)}, "signal s1 has a cycle of 70 s, others 80 s"),
        ({s: programs[s] for s in ("s0", "s2")}, "signal s1 has no program"),
        ({s: replace(p, intervals=(Interval(80.0, "rr"),)) for s, p in programs.items()}, "no direction"),
    ):
        answer = widest_bands(corridor, given)
        assert answer.found is None
        assert answer.kept
        assert answer.offsets_s == {}
        assert reason in answer.reason
    apart = programs | {"s1": replace(programs["s1"], offset_s=70.0)}
    assert "(s0, s1 fixed)" in widest_bands(corridor, apart, fixed={"s0", "s1"}).reason


# ---------------------------------------------------------------------------------------------- left turns


def test_another_order_of_left_turns_is_worth_what_the_arterial_says() -> None:
    case = shipped("arterial")
    programs = programs_of(case)
    (corridor,) = find_corridors(case.network, case.counts)
    answer = widest_bands(corridor, programs)
    gain = left_turn_gain(case.network, programs, answer)
    assert gain is not None
    assert min(gain.model_s) > min(answer.model_s) + LEAST_BAND_S
    for signal, (now, better) in gain.orders.items():
        assert signal in corridor.signals
        assert now != better
        assert now == "forward leads, backward leads"  # both lefts come first in the programs in place


def test_without_protected_left_turns_there_is_no_other_order() -> None:
    case = shipped("arterial")
    (corridor,) = find_corridors(case.network, case.counts)
    programs = {
        s: replace(p, intervals=tuple(replace(i, state=i.state.replace("G", "g")) for i in p.intervals))
        for s, p in programs_of(case).items()
    }
    assert left_turn_gain(case.network, programs, widest_bands(corridor, programs)) is None


# --------------------------------------------------------------------------------------------- the command


def test_the_command_writes_offsets_alone(greensplit: Callable[..., Any], tmp_path: Path) -> None:
    case = shipped("arterial")
    output = tmp_path / "plans.add.xml"
    ended = greensplit("bands", find_network("arterial"), "-o", output, "--json")
    assert ended.code == 0, ended.err
    said = json.loads(ended.out)
    (facts,) = said["corridors"]
    assert facts["proven"]
    assert facts["directions"] == ["forward", "backward"]
    programs, plans = programs_of(case), read_plans([output])
    assert {s: p.offset_s for s, p in plans.items()} == facts["offsets_s"]
    for signal, plan in plans.items():
        assert [(i.duration_s, i.state) for i in plan.intervals] == [
            (i.duration_s, i.state) for i in programs[signal].intervals
        ]
    (corridor,) = find_corridors(case.network, case.counts)
    assert band_s(corridor, plans) == pytest.approx(
        (facts["after_s"]["forward"], facts["after_s"]["backward"]), abs=1e-3
    )


def test_the_command_prints_bands_before_and_after(greensplit: Callable[..., Any], tmp_path: Path) -> None:
    ended = greensplit(
        "bands", find_network("arterial"), "-o", tmp_path / "plans.add.xml", "--two-way-ratio", 0.5
    )
    assert ended.code == 0, ended.err
    for words in ("Green bands", "j1 to j8", "proven", "Offsets", "suggested, not in the file", "written to"):
        assert words in ended.out


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        (("--two-way-ratio", "-1"), 2, "--two-way-ratio: -1.0 is no ratio"),
        (("--two-way-ratio", "nan"), 2, "--two-way-ratio: nan is no ratio"),
    ],
)
def test_the_command_refuses_nonsense(
    greensplit: Callable[..., Any], tmp_path: Path, options: tuple[str, ...], code: int, words: str
) -> None:
    ended = greensplit("bands", find_network("arterial"), "-o", tmp_path / "p.add.xml", *options)
    assert ended.code == code
    assert words in ended.err
    assert not (tmp_path / "p.add.xml").exists()


def test_a_single_signal_is_no_corridor(greensplit: Callable[..., Any], tmp_path: Path) -> None:
    ended = greensplit("bands", find_network("single"), "-o", tmp_path / "p.add.xml")
    assert ended.code == 3
    assert "no two signals with traffic between them" in ended.err
