"""Groups, offsets and corridors on streets made here, on the shipped networks and on RESCO's."""

from __future__ import annotations

import functools
import importlib.util
import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from kernels._jit import JIT_ENABLED
from signals.demand.turning import turning_counts
from signals.formats.sumo.config import read_scenario
from signals.formats.sumo.demand import read_demand
from signals.formats.sumo.network import read_network
from signals.model.demand import TurningCounts
from signals.model.network import Approach, Connection, Edge, Intersection, Lane, Movement, Network, Turn
from signals.model.phasing import ConflictTable, Interval, SignalProgram
from signals.timing.coordination import coordinate, modelled_cost, offsets
from signals.timing.corridors import band_s, find_band, find_corridors, progression_speed_mps
from signals.timing.lane_groups import STARTUP_LOSS_S, YELLOW_USED_S
from signals.timing.street_profiles import green_profile
from signals.timing.stretches import (
    coordination_groups,
    coupling,
    coupling_index,
    movement_flows_vph,
    platoon_share,
    stretches,
)
from sumo_nets import find_network
from sumo_nets.arterial.build import JUNCTIONS

SPEED_MPS = 12.5
CARS = frozenset({"passenger"})


# ------------------------------------------------------------------------------------- streets made here


@dataclass
class Street:
    """Signals s0, s1, … in a row, `spacing_m` apart; link 0 of each goes forward, link 1 backward if any."""

    network: Network
    counts: TurningCounts
    programs: dict[str, SignalProgram]


def edge(name: str, length_m: float) -> Edge:
    lane = Lane(f"{name}_0", length_m, SPEED_MPS, CARS)
    return Edge(name, "", "", (lane,), length_m, SPEED_MPS, 90.0, (0.0, 0.0), (length_m, 0.0))


def through(a: str, b: str, signal: str | None, link: int) -> Connection:
    return Connection(
        a, 0, b, 0, Turn.THROUGH, signal or "joint", signal, link, 0.0, SPEED_MPS, 0.0, True, (), ()
    )


def program(
    signal: str, *, cycle_s: float = 80.0, green_s: float = 40.0, offset_s: float = 0.0
) -> SignalProgram:
    """Both directions green, then 4 s of yellow, then red."""
    rows = (Interval(green_s, "GG"), Interval(4.0, "yy"), Interval(cycle_s - green_s - 4.0, "rr"))
    return SignalProgram(signal, "p", "static", offset_s, rows)


def street(
    n_signal: int,
    spacing_m: float,
    *,
    ahead_vph: float,
    back_vph: float = 0.0,
    joints: int = 0,
    joining_vph: float = 0.0,
    cycles_s: Sequence[float] = (),
) -> Street:
    """A street without side streets; `joining_vph` enter between signals, `joints` cut each section up."""
    edges: dict[str, Edge] = {}
    connections: list[Connection] = []
    intersections: dict[str, Intersection] = {}
    names = [f"s{k}" for k in range(n_signal)]
    directions = [("f", 0, names)] + ([("b", 1, names[::-1])] if back_vph else [])
    movements: dict[str, list[Movement]] = {name: [] for name in names}
    for mark, link, order in directions:
        for k in range(n_signal + 1):
            parts = [f"{mark}{k}.{part}" for part in range(joints + 1)]
            for part in parts:
                edges[part] = edge(part, spacing_m / len(parts))
            connections += [through(a, b, None, -1) for a, b in itertools.pairwise(parts)]
        for k, name in enumerate(order):
            a, b = f"{mark}{k}.{joints}", f"{mark}{k + 1}.0"
            connections.append(through(a, b, name, link))
            movements[name].append(Movement(f"{a}->{b}", a, b, Turn.THROUGH, (link,), (0,)))
    for name in names:
        positions = [
            tuple(p for p, c in enumerate(connections) if c.signal == name and c.link_index == link)
            for link in range(2)
        ]
        intersections[name] = Intersection(
            name,
            (name,),
            tuple(positions),
            tuple(Approach(m.approach, "EB", 1, SPEED_MPS, spacing_m) for m in movements[name]),
            tuple(movements[name]),
            (),
            ConflictTable(2, frozenset(), frozenset()),
            None,
        )
    flows = {"f": ahead_vph, "b": back_vph}
    counts: dict[str, dict[str, tuple[float, ...]]] = {}
    link_flows: dict[tuple[str, str], tuple[float, ...]] = {}
    for mark, _, order in directions:
        for k, name in enumerate(order):
            movement = next(m for m in movements[name] if m.id.startswith(mark))
            own = flows[mark] + (joining_vph if k else 0.0)
            counts.setdefault(name, {})[movement.id] = (own / 4.0, own / 4.0)
        for a, b in itertools.pairwise(order):
            link_flows[a, b] = (flows[mark] / 4.0, flows[mark] / 4.0)
    cycles = list(cycles_s) or [80.0] * n_signal
    programs = {n: program(n, cycle_s=c, green_s=c / 2.0) for n, c in zip(names, cycles, strict=True)}
    network = Network("made here", edges, tuple(connections), intersections)
    return Street(network, TurningCounts(0.0, 900.0, 2, counts, link_flows), programs)


def with_offsets(programs: dict[str, SignalProgram], found: dict[str, float]) -> dict[str, SignalProgram]:
    return {s: replace(p, offset_s=found[s]) for s, p in programs.items()}


def spread_s(time_s: float) -> float:
    """Standard deviation of Robertson's travel times: √(1 − F)/F, F by the HCM (HCM 7, Eq. 30-11), 1 s steps."""
    smoothing = 1.0 / (1.0 + 0.138 * time_s + 0.315)
    return math.sqrt(1.0 - smoothing) / smoothing


# ---------------------------------------------------------------------------------------------- stretches


@pytest.mark.parametrize("joints", [0, 1, 4])
def test_a_stretch_leads_over_edges_between_the_signals(joints: int) -> None:
    made = street(3, 400.0, ahead_vph=600.0, back_vph=300.0, joints=joints)
    found = stretches(made.network, made.counts)
    assert {(s.upstream, s.downstream) for s in found} == {
        ("s0", "s1"),
        ("s1", "s2"),
        ("s2", "s1"),
        ("s1", "s0"),
    }
    for s in found:
        assert s.distance_m == pytest.approx(400.0)
        assert s.time_s == pytest.approx(400.0 / SPEED_MPS)
        assert s.flow_vph == pytest.approx(600.0 if s.upstream < s.downstream else 300.0)


def test_stretches_carry_the_link_flows() -> None:
    for name in ("arterial", "grid"):
        network, counts = shipped(name)
        hours = counts.n_intervals * counts.interval_s / 3600.0
        carried: dict[tuple[str, str], float] = {}
        leaving: dict[tuple[str, str], float] = {}
        for s in stretches(network, counts):
            pair = (s.upstream, s.downstream)
            carried[pair] = carried.get(pair, 0.0) + s.flow_vph
            leaving[s.upstream, s.exit_edge] = leaving.get((s.upstream, s.exit_edge), 0.0) + s.flow_vph
        counted = {pair: sum(row) / hours for pair, row in counts.link_flows.items()}
        assert sum(carried.values()) == pytest.approx(sum(counted.values()), rel=0.02)
        assert all(vph <= counted[pair] + 1e-6 for pair, vph in carried.items())
        flows = movement_flows_vph(counts)
        for (signal, exit_edge), vph in leaving.items():
            out = sum(
                flows[signal][m.id] for m in network.intersections[signal].movements if m.to_edge == exit_edge
            )
            assert vph <= out + 1e-6


# ------------------------------------------------------------------------------------------------- groups


def test_coupling_index_of_the_fhwa() -> None:
    # FHWA-HOP-07-006: volume of both directions in 1000 veh/h over the square of the distance in miles.
    assert coupling_index(1000.0, 1609.344) == pytest.approx(1.0)
    assert coupling_index(1000.0, 1609.344 / 2.0) == pytest.approx(4.0)
    assert coupling_index(2500.0, 1609.344) == pytest.approx(2.5)


def test_platoons_fade_on_the_way() -> None:
    shares = [platoon_share(t) for t in (0.0, 10.0, 30.0, 60.0, 120.0)]
    assert all(0.0 < b < a <= 1.0 for a, b in itertools.pairwise(shares))
    # A slow swing survives better than a fast one.
    assert platoon_share(60.0, 120.0) > platoon_share(60.0, 40.0)


def test_coupling_falls_with_distance_and_inflow_and_rises_with_flow() -> None:
    def index(**kwargs: float) -> float:
        spacing_m = kwargs.pop("spacing_m", 400.0)
        made = street(2, spacing_m, **{"ahead_vph": 600.0, **kwargs})  # type: ignore[arg-type]
        return coupling(made.network, made.counts)["s0", "s1"]

    assert index(spacing_m=800.0) < index() / 4.0
    assert index(joining_vph=300.0) == pytest.approx(index() * 600.0 / 900.0)
    assert index(ahead_vph=900.0) == pytest.approx(1.5 * index())
    assert index(back_vph=600.0) == pytest.approx(2.0 * index())


def test_groups_follow_distance_and_coupling() -> None:
    made = street(4, 400.0, ahead_vph=700.0, back_vph=500.0)
    everyone = ("s0", "s1", "s2", "s3")
    assert coordination_groups(made.network, made.counts) == (everyone,)
    alone = tuple((s,) for s in everyone)
    assert coordination_groups(made.network, made.counts, max_distance_m=399.0) == alone
    assert coordination_groups(made.network, made.counts, min_coupling=math.inf) == alone
    pairs = coordination_groups(made.network, made.counts, max_signals=2)
    assert [len(group) for group in pairs] == [2, 2]
    idle = replace(made.counts, link_flows={})
    assert coordination_groups(made.network, idle) == alone


def test_the_arterials_signals_are_one_group() -> None:
    network, counts = shipped("arterial")
    assert coordination_groups(network, counts) == (tuple(j.name for j in JUNCTIONS),)


@pytest.mark.parametrize("name", ["arterial", "grid"])
def test_every_signal_is_in_one_group_whatever_the_order_of_the_counts(name: str) -> None:
    network, counts = shipped(name)
    for min_coupling in (1.0, 20.0, 50.0, 1e9):
        groups = coordination_groups(network, counts, min_coupling=min_coupling)
        members = [s for group in groups for s in group]
        assert sorted(members) == sorted(network.intersections)
        turned = replace(
            counts,
            counts=dict(reversed(counts.counts.items())),
            link_flows=dict(reversed(counts.link_flows.items())),
        )
        assert coordination_groups(network, turned, min_coupling=min_coupling) == groups


# ------------------------------------------------------------------------------------------------ offsets


@pytest.mark.parametrize("spacing_m", [200.0, 375.0, 700.0])
def test_a_one_way_pair_differs_by_its_travel_time(spacing_m: float) -> None:
    made = street(2, spacing_m, ahead_vph=600.0)
    found = offsets(made.network, made.programs, made.counts)
    time_s = spacing_m / SPEED_MPS
    difference_s = (found["s1"] - found["s0"] - time_s + 40.0) % 80.0 - 40.0
    assert abs(difference_s) <= spread_s(time_s)


def test_moving_one_program_moves_the_others() -> None:
    made = street(3, 375.0, ahead_vph=600.0)
    found = offsets(made.network, made.programs, made.counts)
    moved = made.programs | {"s0": replace(made.programs["s0"], offset_s=17.0)}
    again = offsets(made.network, moved, made.counts)
    for signal, offset_s in found.items():
        assert again[signal] == (offset_s + 17.0) % 80.0


def test_a_one_way_pair_against_every_offset() -> None:
    for cycle_s, other_s in ((80.0, 80.0), (80.0, 40.0), (40.0, 80.0), (91.0, 45.5)):
        made = street(2, 430.0, ahead_vph=450.0, cycles_s=(cycle_s, other_s), joining_vph=100.0)
        found = offsets(made.network, made.programs, made.counts)
        reached = modelled_cost(made.network, with_offsets(made.programs, found), made.counts)
        costs = {
            float(o): modelled_cost(
                made.network, with_offsets(made.programs, found | {"s1": float(o)}), made.counts
            )
            for o in range(math.ceil(other_s))
        }
        # In a cycle of 45.5 s some offsets of a whole second fall between those that were compared.
        assert reached == pytest.approx(min(costs.values()), rel=1e-9 if other_s != 45.5 else 0.005)
        assert min(costs.values()) < 0.98 * max(costs.values())


def test_a_two_way_pair_against_every_offset() -> None:
    made = street(2, 310.0, ahead_vph=650.0, back_vph=500.0)
    found = offsets(made.network, made.programs, made.counts)
    reached = modelled_cost(made.network, with_offsets(made.programs, found), made.counts)
    costs = [
        modelled_cost(made.network, with_offsets(made.programs, {"s0": 0.0, "s1": float(o)}), made.counts)
        for o in range(80)
    ]
    assert reached == pytest.approx(min(costs), rel=1e-9)


def test_offsets_are_whole_seconds_within_the_cycle() -> None:
    for name in ("arterial", "grid"):
        network, counts = shipped(name)
        programs = programs_of(network)
        found = offsets(network, programs, counts)
        assert found.keys() == programs.keys()
        for signal, offset_s in found.items():
            assert offset_s == int(offset_s)
            assert 0 <= offset_s < programs[signal].cycle_s


@pytest.mark.parametrize("name", ["arterial", "grid"])
def test_the_model_never_prefers_what_was_there(name: str) -> None:
    network, counts = shipped(name)
    for shift in range(3 if JIT_ENABLED else 1):  # plain Python takes its time
        programs = {
            s: replace(p, offset_s=(p.offset_s + 31 * shift * k) % p.cycle_s)
            for k, (s, p) in enumerate(programs_of(network).items())
        }
        found = offsets(network, programs, counts)
        new = with_offsets(programs, found)
        gained = modelled_cost(network, new, counts)
        assert gained < modelled_cost(network, programs, counts)
        assert offsets(network, programs, counts) == found
        # what can't be made better stays as it is, or gets better
        second = with_offsets(new, offsets(network, new, counts))
        assert modelled_cost(network, second, counts) <= gained + 1e-9


@pytest.mark.parametrize("name", ["arterial", "grid"])
def test_a_set_says_what_it_gained_and_what_is_left_to_gain(name: str) -> None:
    network, counts = shipped(name)
    programs = programs_of(network)
    reports: list[tuple[int, int]] = []
    done = coordinate(network, programs, counts, on_progress=lambda k, of: reports.append((k, of)))
    assert reports == [(0, 1), (1, 1)]
    (whole,) = done
    assert whole.offsets_s == offsets(network, programs, counts)
    assert whole.bound <= whole.table_found <= whole.table_given
    assert 0.0 <= whole.gap < 0.001
    assert whole.climbed <= whole.found
    assert whole.climbed < whole.given
    assert not whole.keeps_given
    assert whole.given == pytest.approx(modelled_cost(network, programs, counts))
    reached = modelled_cost(network, with_offsets(programs, dict(whole.offsets_s)), counts)
    assert reached == pytest.approx(whole.climbed, rel=1e-6)


def test_a_row_of_signals_has_no_gap() -> None:
    made = street(4, 310.0, ahead_vph=650.0, back_vph=500.0)
    (whole,) = coordinate(made.network, made.programs, made.counts)
    assert whole.period_s == 80.0
    assert whole.gap < 1e-9
    # what can't be made better is kept, and said to be
    again = coordinate(made.network, with_offsets(made.programs, dict(whole.offsets_s)), made.counts)[0]
    assert again.climbed <= whole.climbed + 1e-9
    if again.keeps_given:
        assert again.offsets_s == whole.offsets_s
    assert coordinate(made.network, {}, made.counts) == ()


def test_other_cycles_keep_their_offset() -> None:
    made = street(4, 375.0, ahead_vph=600.0, cycles_s=(80.0, 80.0, 55.0, 40.0))
    given = made.programs | {"s2": replace(made.programs["s2"], offset_s=60.0)}
    found = offsets(made.network, given, made.counts)
    assert found["s2"] == 5.0  # the same instant in a cycle of 55 s
    assert found["s1"] != 0.0
    # nobody to be set against
    single = offsets(made.network, given, made.counts, groups=[(s,) for s in given])
    assert single == {"s0": 0.0, "s1": 0.0, "s2": 5.0, "s3": 0.0}


def test_signals_that_cannot_be_modelled_are_left_alone() -> None:
    made = street(3, 375.0, ahead_vph=600.0)
    short = SignalProgram("s1", "p", "static", 7.0, (Interval(40.0, "G"), Interval(40.0, "r")))
    found = offsets(made.network, made.programs | {"s1": short}, made.counts)
    assert found["s1"] == 7.0
    stranger = program("elsewhere", offset_s=3.0)
    assert offsets(made.network, {"elsewhere": stranger}, made.counts) == {"elsewhere": 3.0}
    assert offsets(made.network, {}, made.counts) == {}


def test_without_demand_nothing_moves() -> None:
    made = street(3, 375.0, ahead_vph=600.0)
    nobody = TurningCounts(0.0, 900.0, 2, {}, {})
    given = with_offsets(made.programs, {"s0": 1.0, "s1": 22.0, "s2": 33.0})
    assert offsets(made.network, given, nobody, groups=[("s0", "s1", "s2")]) == {
        "s0": 1.0,
        "s1": 22.0,
        "s2": 33.0,
    }


def test_effective_green_is_what_is_shown_less_the_lost_time() -> None:
    # 40 s shown; some of the start is lost and some of the yellow used.
    row = green_profile(program("s"), (1.0, 0.0, 0.0), 80, 1.0)
    used_s = 40.0 - STARTUP_LOSS_S + YELLOW_USED_S
    assert row.sum() == pytest.approx(used_s)
    assert row[: int(STARTUP_LOSS_S)].max() == 0.0
    assert row[int(STARTUP_LOSS_S) : 40].min() == 1.0
    # The same green around the end of the cycle, 15 s later, has no start in the middle.
    parts = (Interval(25.0, "GG"), Interval(4.0, "yy"), Interval(36.0, "rr"), Interval(15.0, "GG"))
    around = SignalProgram("s", "p", "static", 0.0, parts)
    wrapped = green_profile(around, (1.0, 0.0, 0.0, 1.0), 80, 1.0)
    assert wrapped == pytest.approx([*row[15:], *row[:15]])


# ---------------------------------------------------------------------------------------------- corridors


def test_the_arterial_is_a_corridor_in_the_order_of_the_road() -> None:
    network, counts = shipped("arterial")
    corridor = find_corridors(network, counts)[0]
    assert corridor.signals == tuple(j.name for j in JUNCTIONS)
    for position_m, junction in zip(corridor.distance_m, JUNCTIONS, strict=True):
        # Stop lines of one direction are about as far apart as the middles of their junctions.
        assert position_m == pytest.approx(junction.x_m - JUNCTIONS[0].x_m, abs=25.0)
    for movements, links in (
        (corridor.forward, corridor.forward_links),
        (corridor.backward, corridor.backward_links),
    ):
        for signal, movement_id, own in zip(corridor.signals, movements, links, strict=True):
            movement = next(m for m in network.intersections[signal].movements if m.id == movement_id)
            assert movement.turn is Turn.THROUGH
            assert movement.links == own
    limit_mps = max(e.speed_mps for e in network.edges.values())
    for speed_mps in (*corridor.forward_mps, *corridor.backward_mps):
        assert speed_mps == pytest.approx(limit_mps, rel=0.05)


def test_the_grid_has_a_corridor_for_every_row_and_column() -> None:
    network, counts = shipped("grid")
    found = {corridor.signals for corridor in find_corridors(network, counts)}
    assert found == {tuple(f"r{r}c{c}" for c in range(4)) for r in range(4)} | {
        tuple(f"r{r}c{c}" for r in range(4)) for c in range(4)
    }
    assert find_corridors(network, counts, min_signals=5) == ()


def test_a_one_way_street_has_no_way_back() -> None:
    made = street(3, 400.0, ahead_vph=600.0)
    (corridor,) = find_corridors(made.network, made.counts)
    assert corridor.signals == ("s0", "s1", "s2")
    assert corridor.distance_m == (0.0, 400.0, 800.0)
    assert corridor.backward == (None, None, None)
    assert corridor.backward_mps == (None, None)
    assert band_s(corridor, made.programs)[1] == 0.0
    assert progression_speed_mps(corridor, made.programs)[1] is None


def test_bands_by_hand() -> None:
    # 375 m at 12.5 m/s: 30 s. Green 0-40 of 80 s at the first signal.
    made = street(2, 375.0, ahead_vph=600.0, back_vph=300.0)
    (corridor,) = find_corridors(made.network, made.counts)

    def bands(offset_s: float) -> tuple[float, float]:
        return band_s(corridor, with_offsets(made.programs, {"s0": 0.0, "s1": offset_s}))

    # No offset: who passes at 0-10 s comes at 30-40 s, the end of green, in either direction.
    assert bands(0.0) == pytest.approx((10.0, 10.0))
    # Offset 30 s: all of the green forward. Backward: 30-70 s comes at 60-100 s, green from 80 s on.
    assert bands(30.0) == pytest.approx((40.0, 20.0))
    assert bands(50.0) == pytest.approx((20.0, 40.0))
    band = find_band(corridor, with_offsets(made.programs, {"s0": 70.0, "s1": 20.0}))
    assert band is not None
    assert (band.begin_s, band.width_s, band.cycle_s) == pytest.approx((70.0, 40.0, 80.0))


def test_bands_with_half_a_cycle_and_with_another_one() -> None:
    made = street(2, 375.0, ahead_vph=600.0, cycles_s=(80.0, 40.0))
    (corridor,) = find_corridors(made.network, made.counts)
    # 20 s of green in 40 s at the second: half of the first one's green meets it.
    assert band_s(corridor, with_offsets(made.programs, {"s0": 0.0, "s1": 30.0}))[0] == pytest.approx(20.0)
    other = made.programs | {"s1": program("s1", cycle_s=55.0, green_s=30.0)}
    assert band_s(corridor, other) == (0.0, 0.0)
    assert band_s(corridor, {"s0": made.programs["s0"]}) == (0.0, 0.0)


@pytest.mark.parametrize("speed_mps", [8.0, 10.0, 15.0])
def test_progression_speed_is_distance_over_offset(speed_mps: float) -> None:
    made = street(3, 400.0, ahead_vph=600.0)
    (corridor,) = find_corridors(made.network, made.counts)
    given = {f"s{k}": (k * 400.0 / speed_mps) % 80.0 for k in range(3)}
    forward_mps, _ = progression_speed_mps(corridor, with_offsets(made.programs, given))
    assert forward_mps == pytest.approx(speed_mps, abs=0.05)


# ------------------------------------------------------------------------------- shipped and other networks


@functools.cache
def read(config: Path) -> tuple[Network, TurningCounts]:
    """A network with the counts of its first quarter hour."""
    scenario = read_scenario(config)
    scenario = replace(scenario, end_s=scenario.begin_s + 900.0)
    network = read_network(scenario)
    return network, turning_counts(network, read_demand(scenario))


def shipped(name: str) -> tuple[Network, TurningCounts]:
    return read(find_network(name))


def programs_of(network: Network) -> dict[str, SignalProgram]:
    return {s: i.program for s, i in network.intersections.items() if i.program is not None}


@pytest.mark.parametrize("name", ["arterial4x4", "cologne8", "ingolstadt21"])
def test_resco_networks(name: str) -> None:
    spec = importlib.util.find_spec("sumo_rl")
    if spec is None or spec.origin is None:
        pytest.skip("sumo-rl, which brings the RESCO networks, is not installed")
    folder = Path(spec.origin).parent / "nets" / "RESCO" / name
    configs = sorted(folder.glob("*.sumocfg"))
    if not configs:
        pytest.skip(f"this sumo-rl has no {name}")
    network, counts = read(configs[0])
    programs = programs_of(network)
    groups = coordination_groups(network, counts)
    assert sorted(s for group in groups for s in group) == sorted(network.intersections)
    found = offsets(network, programs, counts, groups=groups)
    assert found.keys() == programs.keys()
    new = with_offsets(programs, found)
    before = modelled_cost(network, programs, counts, groups=groups)
    assert modelled_cost(network, new, counts, groups=groups) <= before + 1e-9
    corridors = find_corridors(network, counts)
    assert corridors
    for corridor in corridors:
        assert len(set(corridor.signals)) == len(corridor.signals) >= 2
        assert all(b > a for a, b in itertools.pairwise(corridor.distance_m))
        shortest_s = min(p.cycle_s for s, p in programs.items() if s in corridor.signals)
        assert all(0.0 <= width_s <= max(shortest_s * 2.0, 1.0) for width_s in band_s(corridor, new))
