"""Time-space diagrams: what is shown when, bands by construction, and sheets for odd corridors."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from signals.diagrams.groups import green_runs
from signals.diagrams.timespace import band_stretches, shown_runs, time_space_diagram
from signals.errors import InputError
from signals.model.network import Corridor, Network
from signals.model.phasing import Interval, SignalProgram

CYCLE_S = 70.0
"""Sum of the rows in conftest."""


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.tuples(st.integers(1, 40), st.sampled_from("Ggyrs")), min_size=1, max_size=8),
    st.integers(-300, 300),
    st.integers(0, 500),
    st.integers(1, 300),
)
def test_what_is_shown_is_the_state_at_that_time(
    rows: list[tuple[int, str]], offset_s: int, begin_s: int, length_s: int
) -> None:
    program = SignalProgram("J", "p", "static", offset_s, tuple(Interval(float(s), c) for s, c in rows))
    runs = shown_runs(program, (0,), begin_s, begin_s + length_s)
    assert runs[0].start_s == begin_s
    assert sum(r.duration_s for r in runs) == pytest.approx(length_s)
    for second in range(begin_s, begin_s + length_s):
        (letter,) = {r.letter for r in runs if r.start_s <= second + 0.5 < r.start_s + r.duration_s}
        assert letter == program.state_at(second + 0.5)


def test_offsets_of_the_travel_time_give_a_band_as_wide_as_the_green(
    corridor_of: Callable[..., Corridor], program_of: Callable[..., SignalProgram]
) -> None:
    corridor = corridor_of("a", "b", "c", distance_m=400.0, speed_mps=12.5)
    # 400 m at 12.5 m/s take 32 s
    programs = {s: program_of(s, offset_s=32.0 * k % CYCLE_S) for k, s in enumerate("abc")}
    (green,) = green_runs(programs["a"], corridor.forward_links[0])
    (stretch,) = band_stretches(corridor, programs)
    assert (stretch.first, stretch.last) == (0, 2)
    assert stretch.band.width_s == pytest.approx(green.duration_s)


def test_where_no_band_leads_through_the_corridor_is_cut(
    corridor_of: Callable[..., Corridor], program_of: Callable[..., SignalProgram]
) -> None:
    corridor = corridor_of("a", "b", "c", "d")
    programs = {s: program_of(s, offset_s=32.0 * k % CYCLE_S) for k, s in enumerate("abcd")}
    # half a cycle late, c is red when those from b arrive; d follows c as before
    for signal in "cd":
        programs[signal] = replace(programs[signal], offset_s=(programs[signal].offset_s + 35.0) % CYCLE_S)
    stretches = band_stretches(corridor, programs)
    assert [(s.first, s.last) for s in stretches] == [(0, 1), (2, 3)]


@pytest.mark.parametrize("backward", [False, True])
def test_bands_meet_green_at_every_stop_line(
    corridor_of: Callable[..., Corridor], program_of: Callable[..., SignalProgram], backward: bool
) -> None:
    corridor = corridor_of("a", "b", "c", distance_m=150.0)
    programs = {s: program_of(s, offset_s=5.0 * k) for k, s in enumerate("abc")}
    stretches = band_stretches(corridor, programs, backward=backward)
    assert stretches
    for stretch in stretches:
        assert (stretch.first > stretch.last) == backward
        step = -1 if backward else 1
        for k in range(stretch.first, stretch.last + step, step):
            passing_s = abs(corridor.distance_m[k] - corridor.distance_m[stretch.first]) / 12.5
            links = (corridor.backward_links if backward else corridor.forward_links)[k]
            for part in (0.01, 0.5, 0.99):
                at = stretch.band.begin_s + part * stretch.band.width_s + passing_s
                assert programs[corridor.signals[k]].state_at(at)[links[0]] in "Gg"


def test_other_cycles_have_no_band(
    corridor_of: Callable[..., Corridor], program_of: Callable[..., SignalProgram]
) -> None:
    other = replace(program_of("b"), intervals=(*program_of("b").intervals, Interval(11.0, "r" * 13)))
    assert band_stretches(corridor_of("a", "b"), {"a": program_of("a"), "b": other}) == ()


def test_a_sheet_is_xml_and_the_same_each_time(
    corridor_of: Callable[..., Corridor],
    network_with: Callable[..., Network],
    program_of: Callable[..., SignalProgram],
    tmp_path: Path,
) -> None:
    corridor, network = corridor_of("a", "b", "c"), network_with("a", "b", "c")
    programs = {s: program_of(s, offset_s=32.0 * k % CYCLE_S) for k, s in enumerate("abc")}
    ways = [[(100.0 + 5 * v + t, 12.0 * t) for t in range(0, 60, 5)] for v in range(4)]
    first, second = (
        time_space_diagram(corridor, programs, network, tmp_path / name, trajectories=ways)
        for name in ("1.svg", "2.svg")
    )
    assert first.read_bytes() == second.read_bytes()
    ElementTree.parse(first)


def test_odd_corridors_are_drawn(
    corridor_of: Callable[..., Corridor],
    network_with: Callable[..., Network],
    program_of: Callable[..., SignalProgram],
    tmp_path: Path,
) -> None:
    ids = ("a", "$b$ <x>", "c" * 120, "d")
    network = network_with(*ids)
    straight = corridor_of(*ids, name="main & side")
    programs = {s: program_of(s) for s in ids}
    one_way = replace(straight, backward=(None,) * 4, backward_links=((),) * 4, backward_mps=(None,) * 3)
    close = replace(straight, distance_m=(0.0, 2.0, 3.0, 900.0))
    at_once = replace(straight, distance_m=(0.0, 0.0, 0.0, 0.0))
    for k, corridor in enumerate((straight, one_way, close, at_once)):
        time_space_diagram(corridor, programs, network, tmp_path / f"{k}.svg")
    # a signal without a program, and one of another cycle
    del programs["a"]
    programs["d"] = replace(programs["d"], intervals=programs["d"].intervals[:-1])
    time_space_diagram(straight, programs, network, tmp_path / "4.png", cycles=1)
    assert len(list(tmp_path.iterdir())) == 5


def test_errors_name_the_corridor(
    corridor_of: Callable[..., Corridor],
    network_with: Callable[..., Network],
    program_of: Callable[..., SignalProgram],
    tmp_path: Path,
) -> None:
    corridor, network = corridor_of("a", "b"), network_with("a")
    with pytest.raises(InputError, match="corridor a to b: none of its 2 signals has a program"):
        time_space_diagram(corridor, {}, network, tmp_path / "a.svg")
    with pytest.raises(InputError, match="signal b isn't in"):
        time_space_diagram(corridor, {"b": program_of("b")}, network, tmp_path / "a.svg")
    with pytest.raises(InputError, match="0 cycles"):
        time_space_diagram(corridor, {"a": program_of("a")}, network, tmp_path / "a.svg", cycles=0)
