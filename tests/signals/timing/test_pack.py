"""Arrays as kernels expect them: one layout whatever the network, lanes that lead on, states second by second."""

from __future__ import annotations

import importlib.util
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kernels.arrays import CLEARED, CLEARING, PERMITTED, PROTECTED, RED, STOP_THEN_GO
from kernels.queues import simulate
from signals.formats.sumo.config import read_scenario
from signals.model.demand import Demand
from signals.model.network import Network
from signals.model.phasing import Interval, SignalProgram
from signals.planning import Case, read_case
from signals.timing.pack import FLOW_RULES, RoadPack, pack_road, pack_signals, pack_traffic, state_table
from sumo_nets import find_network

NAMES = ("single", "grid", "cologne3")


@cache
def case_of(name: str) -> Case:
    if name == "cologne3":
        spec = importlib.util.find_spec("sumo_rl")
        if spec is None or not spec.submodule_search_locations:
            pytest.skip("cologne3 comes with sumo-rl, which isn't installed: pip install 'sumo-rl>=1.4.5'")
        root = Path(next(iter(spec.submodule_search_locations))) / "nets" / "RESCO"
        return read_case(read_scenario(root / name / f"{name}.sumocfg"))
    return read_case(read_scenario(find_network(name)))


def packed(name: str) -> tuple[Network, Demand, RoadPack]:
    case = case_of(name)
    classes = {t.vehicle_class for t in case.demand.types.values()} | {"passenger"}
    return case.network, case.demand, pack_road(case.network, classes)


def programs(network: Network, road: RoadPack) -> dict[str, list[tuple[float, SignalProgram]]]:
    found = {}
    for signal in road.signals:
        program = network.intersections[signal].program
        assert program is not None
        found[signal] = [(0.0, program)]
    return found


@pytest.mark.parametrize("name", NAMES)
def test_every_array_is_contiguous_and_of_its_type(name: str) -> None:
    network, demand, road = packed(name)
    traffic = pack_traffic(network, road, demand, speed_spread=0.1, seed=1)
    signals = pack_signals(road, programs(network, road))
    bytes_ = {"link_minor", "state"}
    reals = {
        *("lane_length", "lane_room", "lane_speed", "link_length", "link_speed"),
        *("depart", "size", "headway", "accel", "decel", "speed_factor", "max_speed"),
        *("start", "cycle", "offset"),
    }
    tuples: tuple[Any, ...] = (road.arrays, traffic, signals)
    for arrays in tuples:
        for field, array in arrays._asdict().items():
            kind = np.uint8 if field in bytes_ else np.float64 if field in reals else np.int64
            assert array.dtype == kind, field
            assert array.flags.c_contiguous, field
            assert array.ndim == (2 if field == "state" else 1), field


def test_two_networks_share_one_compiled_kernel() -> None:
    """Another layout or type anywhere would compile the simulator a second time: seconds, in silence."""
    if not hasattr(simulate, "signatures"):
        pytest.skip("GREENSPLIT_JIT=0: nothing is compiled")
    before = len(simulate.signatures)
    for name in ("single", "grid"):
        network, demand, road = packed(name)
        n = len(road.connections)
        traffic = pack_traffic(network, road, demand, speed_spread=0.0, seed=1)
        simulate(
            road.arrays,
            traffic,
            pack_signals(road, programs(network, road)),
            FLOW_RULES,
            demand.begin_s,
            demand.begin_s + 60.0,
            np.zeros(n),
            np.zeros(n, np.int64),
            np.zeros(len(traffic.depart), np.int64),
        )
    assert len(simulate.signatures) == max(before, 1) == 1


@pytest.mark.parametrize("name", NAMES)
def test_roads_point_where_the_network_does(name: str) -> None:
    network, _, pack = packed(name)
    road = pack.arrays
    index = {number: edge for edge, number in pack.edges.items()}
    assert road.edge_lane[0] == 0
    assert road.edge_lane[-1] == len(road.lane_edge) == len(road.lane_length)
    assert (np.diff(road.edge_lane) == [len(pack.lane_indices[index[e]]) for e in range(len(index))]).all()
    for k, position in enumerate(pack.connections):
        c = network.connections[position]
        assert index[int(road.lane_edge[road.link_from[k]])] == c.from_edge
        assert index[int(road.lane_edge[road.link_to[k]])] == c.to_edge == index[int(road.link_to_edge[k])]
        within = int(road.link_from[k] - road.edge_lane[pack.edges[c.from_edge]])
        assert pack.lane_indices[c.from_edge][within] == c.from_lane
        assert road.lane_link[road.link_from[k]] <= k < road.lane_link[road.link_from[k] + 1]
        signal = int(road.link_signal[k])
        assert (pack.signals[signal] if signal >= 0 else None) == c.signal
        if signal >= 0:
            assert road.link_column[k] == c.link_index
            assert road.link_minor[k] == 0
        yields = [pack.connections[j] for j in road.yield_to[road.link_yield[k] : road.link_yield[k + 1]]]
        assert yields == [p for p in c.yields_to if p in pack.connections]
    assert (road.lane_room > 0).all()


@pytest.mark.parametrize("name", NAMES)
def test_lanes_lead_on_along_every_route(name: str) -> None:
    """From any lane of a mask a link leads to the next edge; on short edges, to a lane of its mask."""
    network, demand, pack = packed(name)
    traffic = pack_traffic(network, pack, demand, speed_spread=0.1, seed=1)
    road = pack.arrays
    assert (np.diff(traffic.depart) >= 0).all()
    routes = set()
    for r in range(len(traffic.route_edge) - 1):
        steps = range(int(traffic.route_edge[r]), int(traffic.route_edge[r + 1]))
        edges = [int(traffic.edges[s]) for s in steps]
        routes.add(tuple(edges))
        for s, onward in zip(steps, edges[1:]):
            first = int(road.edge_lane[traffic.edges[s]])
            lanes = [k for k in range(MAX_BITS) if int(traffic.lanes[s]) >> k & 1]
            assert lanes
            assert first + max(lanes) < road.edge_lane[traffic.edges[s] + 1]
            for lane in lanes:
                links = range(int(road.lane_link[first + lane]), int(road.lane_link[first + lane + 1]))
                assert any(road.link_to_edge[k] == onward for k in links), (name, edges)
    assert routes == {tuple(pack.edges[e] for e in v.edges) for v in demand.vehicles}
    assert len(traffic.depart) == len(demand.vehicles)


MAX_BITS = 62


def test_seeds_draw_speeds_and_departures_within_the_window() -> None:
    network, demand, road = packed("single")
    first, again, other = (
        pack_traffic(network, road, demand, speed_spread=0.1, departure_spread_s=20.0, seed=s)
        for s in (1, 1, 2)
    )
    for field, array in first._asdict().items():
        assert np.array_equal(array, getattr(again, field)), field
    assert not np.array_equal(first.depart, other.depart)
    assert not np.array_equal(first.speed_factor, other.speed_factor)
    assert first.depart.min() >= demand.begin_s
    assert first.depart.max() < demand.end_s
    assert first.speed_factor.std() == pytest.approx(0.1, rel=0.15)
    still = pack_traffic(network, road, demand, speed_spread=0.0, seed=1)
    assert list(still.depart) == [v.depart_s for v in demand.vehicles]
    assert set(still.speed_factor) == {demand.types[v.type].speed_factor for v in demand.vehicles}


def table(*rows: tuple[float, str]) -> list[list[int]]:
    program = SignalProgram("J", "p", "static", 0.0, tuple(Interval(d, s) for d, s in rows))
    found: list[list[int]] = state_table(program).tolist()
    return found


def test_states_by_second() -> None:
    assert table((2, "Gg"), (1, "rs"), (1, "oO")) == [
        [PROTECTED, PERMITTED],
        [PROTECTED, PERMITTED],
        [RED, STOP_THEN_GO],
        [PERMITTED, PROTECTED],
    ]


def test_only_the_first_two_seconds_of_a_yellow_after_green_let_anybody_go() -> None:
    column = [row[0] for row in table((2, "G"), (4, "y"), (2, "r"))]
    assert column == [PROTECTED, PROTECTED, CLEARING, CLEARED, RED, RED, RED, RED]
    assert [row[0] for row in table((2, "g"), (1, "y"), (2, "r"))] == [
        PERMITTED,
        PERMITTED,
        CLEARING,
        RED,
        RED,
    ]
    # yellow before green, and yellow around the cycle's end
    assert [row[0] for row in table((2, "r"), (2, "y"), (2, "G"))] == [
        RED,
        RED,
        RED,
        RED,
        PROTECTED,
        PROTECTED,
    ]
    assert [row[0] for row in table((1, "y"), (2, "r"), (2, "G"))] == [
        CLEARING,
        RED,
        RED,
        PROTECTED,
        PROTECTED,
    ]


def test_changes_in_tenths_fall_into_whole_seconds() -> None:
    """SUMO's step of second t shows what is due by its end: yellow of 3.6 s is seen for 3, red for 3."""
    rows = table((5, "G"), (3.6, "y"), (2.4, "r"))
    assert len(rows) == 11
    assert [row[0] for row in rows] == [PROTECTED] * 5 + [CLEARING, CLEARED] + [RED] * 4


def test_several_programs_of_a_signal_lie_one_after_another() -> None:
    network, _, road = packed("single")
    (signal,) = road.signals
    program = network.intersections[signal].program
    assert program is not None
    one = pack_signals(road, {signal: [(0.0, program)]})
    two = pack_signals(road, {signal: [(0.0, program), (1800.0, program)]})
    rows = len(one.state)
    assert list(two.program) == [0, 2]
    assert list(two.start) == [0.0, 1800.0]
    assert list(two.row) == [0, rows]
    assert np.array_equal(two.state[rows:], one.state)
    assert rows == round(program.cycle_s)
    for second in range(rows):
        state = program.state_at(program.offset_s + second + 0.999)
        for link, letter in enumerate(state):
            if letter in "Ggs":
                assert one.state[second, link] == {"G": PROTECTED, "g": PERMITTED, "s": STOP_THEN_GO}[letter]
