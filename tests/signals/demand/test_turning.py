"""Turning counts: on a hand-made street of two signals, against a plain loop, and against the laws."""

from __future__ import annotations

import importlib.util
import math
import random
from collections import Counter
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from signals.demand.turning import flows_vph, peak_hour_factor, turning_counts
from signals.errors import InputError
from signals.model.demand import Demand, TurningCounts, Vehicle, VehicleType
from signals.model.network import Connection, Edge, Intersection, Lane, Movement, Network, Turn
from signals.model.phasing import ConflictTable

CARS = frozenset(("passenger",))
SLOW = VehicleType(id="slow", max_speed_mps=5.0)
CAR = VehicleType(id="car", max_speed_mps=50.0)
TYPES = {"car": CAR, "slow": SLOW}


def edge(name: str, length_m: float = 100.0, speed_mps: float = 10.0) -> Edge:
    a, b = name[0], name[1]
    lane = Lane(f"{name}_0", length_m, speed_mps, CARS)
    return Edge(name, a, b, (lane,), length_m, speed_mps, 0.0, (0.0, 0.0), (0.0, 0.0))


def path(a: str, b: str, signal: str | None, length_m: float = 0.0) -> Connection:
    return Connection(
        a, 0, b, 0, Turn.THROUGH, a[1], signal, 0, length_m, 10.0, 0.0, priority=True, yields_to=(), foes=()
    )


def intersection(name: str, *turns: tuple[str, str]) -> Intersection:
    movements = tuple(Movement(f"{a}>{b}", a, b, Turn.THROUGH, (0,), (0,)) for a, b in turns)
    return Intersection(
        name, (name,), (), (), movements, (), ConflictTable(1, frozenset(), frozenset()), None
    )


@pytest.fixture
def street() -> Network:
    """W → P → q → R → E: signals at P and R, none at q; P and R have side streets to X and Y."""
    edges = ("WP", "Pq", "qR", "RE", "PX", "XP", "RY", "YR")
    turns = {
        "P": [("WP", "Pq"), ("WP", "PX"), ("XP", "Pq")],
        "R": [("qR", "RE"), ("qR", "RY"), ("YR", "RE")],
    }
    connections = [path("Pq", "qR", None, 20.0)]
    connections += [path(a, b, name, 10.0) for name, pairs in turns.items() for a, b in pairs]
    return Network(
        "street",
        {name: edge(name) for name in edges},
        tuple(connections),
        {name: intersection(name, *pairs) for name, pairs in turns.items()},
    )


def demand_of(*vehicles: Vehicle, begin_s: float = 0.0, end_s: float = 1800.0) -> Demand:
    return Demand(begin_s, end_s, tuple(sorted(vehicles, key=lambda v: v.depart_s)), TYPES)


def car(name: str, depart_s: float, *edges: str, type: str = "car") -> Vehicle:
    return Vehicle(name, depart_s, edges, type)


ALONG = ("WP", "Pq", "qR", "RE")


def test_counts_stand_at_the_time_of_arrival(street: Network) -> None:
    # 100 m at 10 m/s: P after 10 s; junction 1 s, 10 s, junction 2 s, 10 s: R after 33 s
    counts = turning_counts(
        street, demand_of(car("a", 880.0, *ALONG), car("b", 889.0, *ALONG), car("c", 890.0, *ALONG))
    )
    assert counts.counts["P"]["WP>Pq"] == (2.0, 1.0)
    assert counts.counts["R"]["qR>RE"] == (0.0, 3.0)
    assert counts.link_flows == {("P", "R"): (0.0, 3.0)}
    assert (counts.begin_s, counts.interval_s, counts.n_intervals) == (0.0, 900.0, 2)


def test_every_movement_has_a_row_and_nobody_gives_zeros(street: Network) -> None:
    counts = turning_counts(street, demand_of())
    assert set(counts.counts) == {"P", "R"}
    assert counts.counts["P"] == {"WP>Pq": (0.0, 0.0), "WP>PX": (0.0, 0.0), "XP>Pq": (0.0, 0.0)}
    assert counts.link_flows == {}
    assert counts.total("P") == 0.0


def test_a_slow_vehicle_comes_later(street: Network) -> None:
    # at 5 m/s twice the time: R after 66 s, so 834 s is the first departure that is late for the interval
    counts = turning_counts(
        street,
        demand_of(
            car("a", 833.9, *ALONG, type="slow"),
            car("b", 834.0, *ALONG, type="slow"),
            car("c", 860.0, *ALONG),
        ),
    )
    assert counts.counts["R"]["qR>RE"] == (2.0, 1.0)


def test_a_speed_factor_scales_the_limit(street: Network) -> None:
    hurried = Demand(0.0, 1800.0, (car("a", 875.0, *ALONG),), {"car": VehicleType(speed_factor=1.5)})
    # 33 s become 22 s: 897 s, where the limit would have given 908 s
    assert turning_counts(street, hurried).counts["R"]["qR>RE"] == (1.0, 0.0)


def test_who_arrives_after_the_window_is_not_counted(street: Network) -> None:
    counts = turning_counts(street, demand_of(car("a", 1789.0, *ALONG), car("b", 1795.0, *ALONG)))
    assert counts.total("P") == 1.0
    assert counts.total("R") == 0.0
    assert counts.link_flows == {}


def test_recorded_exits_shift_what_comes_after_them(street: Network) -> None:
    vehicle = car("a", 800.0, *ALONG)
    # it left WP 90 s late (900 s), so it reaches R at 900 + 1 + 10 + 2 + 10 = 923 s
    late = turning_counts(street, demand_of(vehicle), exit_times={"a": (900.0,)})
    assert late.counts["P"]["WP>Pq"] == (1.0, 0.0), "the queue at P itself shifts no arrival there"
    assert late.counts["R"]["qR>RE"] == (0.0, 1.0)
    # a whole record: what happened on qR (left at 1700 s) shifts nothing at R, reached 10 s after 870 + 2
    whole = turning_counts(street, demand_of(vehicle), exit_times={"a": (810.0, 870.0, 1700.0, 1720.0)})
    assert whole.counts["R"]["qR>RE"] == (1.0, 0.0)


def test_recorded_exits_of_another_run_are_refused(street: Network) -> None:
    with pytest.raises(InputError, match="'a': 5 exit times for a route of 4 edges"):
        turning_counts(street, demand_of(car("a", 0.0, *ALONG)), exit_times={"a": (1.0, 2.0, 3.0, 4.0, 5.0)})


def test_unknown_edges_and_turns_are_passed_over(street: Network) -> None:
    counts = turning_counts(
        street,
        demand_of(
            car("a", 0.0, "no", "WP", "Pq"), car("b", 0.0, "WP", "RE"), car("c", 0.0), car("d", 0.0, "WP")
        ),
    )
    assert counts.counts["P"]["WP>Pq"] == (1.0, 0.0)
    assert counts.total("P") + counts.total("R") == 1.0


def test_a_vehicle_counts_at_each_passage(street: Network) -> None:
    around = ("XP", "Pq", "qR", "RY")
    counts = turning_counts(street, demand_of(car("a", 0.0, *around), car("b", 0.0, "YR", "RE")))
    assert (
        counts.counts["P"]["XP>Pq"]
        == counts.counts["R"]["qR>RY"]
        == counts.counts["R"]["YR>RE"]
        == (1.0, 0.0)
    )
    assert counts.link_flows == {("P", "R"): (1.0, 0.0)}


@pytest.mark.parametrize(
    ("window_s", "n", "length_s"),
    [(3600.0, 4, 900.0), (1000.0, 1, 1000.0), (300.0, 1, 300.0), (4000.0, 4, 1000.0)],
)
def test_a_window_of_any_length_is_cut_evenly(
    street: Network, window_s: float, n: int, length_s: float
) -> None:
    counts = turning_counts(street, demand_of(car("a", window_s - 10.5, *ALONG), end_s=window_s))
    assert (counts.n_intervals, counts.interval_s) == (n, length_s)
    assert counts.counts["P"]["WP>Pq"] == (*[0.0] * (n - 1), 1.0)


def test_an_empty_window_is_refused(street: Network) -> None:
    with pytest.raises(InputError, match="nothing to count in"):
        turning_counts(street, demand_of(end_s=0.0))


# -------------------------------------------------------------------------------- laws, and a plain loop


def plain_counts(
    network: Network, demand: Demand
) -> tuple[Counter[tuple[str, str, int]], Counter[tuple[str, str]]]:
    """The slow and obvious way: drive each vehicle along its route."""
    owner = {
        (m.approach, m.to_edge): (i.id, m.id) for i in network.intersections.values() for m in i.movements
    }
    inside = {(c.from_edge, c.to_edge): c for c in network.connections}
    found: Counter[tuple[str, str, int]] = Counter()
    links: Counter[tuple[str, str]] = Counter()
    for vehicle in demand.vehicles:
        kind = demand.types[vehicle.type]
        time_s = vehicle.depart_s
        before: str | None = None
        for a, b in pairwise(vehicle.edges):
            limit = network.edges[a].speed_mps * kind.speed_factor
            time_s += network.edges[a].length_m / min(limit, kind.max_speed_mps)
            if time_s >= demand.end_s:
                break
            if (a, b) in owner:
                name, movement = owner[a, b]
                found[name, movement, int((time_s - demand.begin_s) // 900.0)] += 1
                if before not in (None, name):
                    links[str(before), name] += 1
                before = name
            if (a, b) in inside:
                time_s += inside[a, b].length_m / min(
                    inside[a, b].speed_mps * kind.speed_factor, kind.max_speed_mps
                )
    return found, links


def ring_of_signals(n: int) -> Network:
    """n signals in a ring, each two neighbours joined both ways: any walk is a route."""
    generator = random.Random(n)
    edges: dict[str, Edge] = {}
    for i in range(n):
        for j in ((i + 1) % n, (i - 1) % n):
            length = generator.uniform(50.0, 900.0)
            lane = Lane(f"{i}-{j}_0", length, 9.7, CARS)
            edges[f"{i}-{j}"] = Edge(
                f"{i}-{j}", str(i), str(j), (lane,), length, 9.7, 0.0, (0.0, 0.0), (0.0, 0.0)
            )
    turns = {
        str(i): [(f"{a % n}-{i}", f"{i}-{b % n}") for a in (i - 1, i + 1) for b in (i - 1, i + 1)]
        for i in range(n)
    }
    connections = [
        path(a, b, name, generator.uniform(5.0, 30.0)) for name, pairs in turns.items() for a, b in pairs
    ]
    return Network(
        "ring", edges, tuple(connections), {name: intersection(name, *pairs) for name, pairs in turns.items()}
    )


@st.composite
def walks(draw: st.DrawFn) -> tuple[Network, Demand]:
    n = draw(st.integers(4, 6))
    vehicles = []
    for k in range(draw(st.integers(0, 25))):
        at = draw(st.integers(0, n - 1))
        stops = [at]
        for step in draw(st.lists(st.sampled_from((-1, 1)), max_size=12)):
            stops.append((stops[-1] + step) % n)
        depart_s = draw(st.integers(7200, 10799)) + 0.37
        vehicles.append(
            Vehicle(
                str(k),
                depart_s,
                tuple(f"{a}-{b}" for a, b in pairwise(stops)),
                draw(st.sampled_from(("car", "slow"))),
            )
        )
    return ring_of_signals(n), demand_of(*vehicles, begin_s=7200.0, end_s=10800.0)


@settings(max_examples=60, deadline=None)
@given(walks())
def test_counts_equal_those_of_the_plain_loop(case: tuple[Network, Demand]) -> None:
    network, demand = case
    counts = turning_counts(network, demand)
    found, links = plain_counts(network, demand)
    assert {
        (name, movement, k): flow
        for name, rows in counts.counts.items()
        for movement, row in rows.items()
        for k, flow in enumerate(row)
        if flow
    } == dict(found)
    assert {pair: sum(flows) for pair, flows in counts.link_flows.items()} == dict(links)


@settings(max_examples=60, deadline=None)
@given(walks())
def test_what_flows_in_flows_out(case: tuple[Network, Demand]) -> None:
    network, demand = case
    counts = turning_counts(network, demand)
    for name, crossing in network.intersections.items():
        into: Counter[str] = Counter()
        out: Counter[str] = Counter()
        for movement in crossing.movements:
            flow = sum(counts.counts[name][movement.id])
            into[movement.approach] += flow
            out[movement.to_edge] += flow
        assert into.total() == out.total() == counts.total(name)
        # all that comes over links from other signals is among what comes in
        arriving = sum(sum(flows) for (_, to), flows in counts.link_flows.items() if to == name)
        assert arriving <= counts.total(name)


def test_every_passage_is_counted_once_when_time_suffices(street: Network) -> None:
    generator = random.Random(5)
    routes = [ALONG, ("XP", "Pq", "qR", "RY"), ("WP", "PX"), ("YR", "RE"), ("WP", "Pq")]
    vehicles = [car(str(k), generator.uniform(0.0, 3500.0), *generator.choice(routes)) for k in range(500)]
    counts = turning_counts(street, demand_of(*vehicles, end_s=3600.0))
    at_p = sum(v.edges[0] in ("WP", "XP") for v in vehicles)
    at_r = sum("qR" in v.edges[:-1] or "YR" in v.edges[:-1] for v in vehicles)
    assert (counts.total("P"), counts.total("R")) == (at_p, at_r)


# ------------------------------------------------------------------------------- flows and peak hour factor


@pytest.fixture
def two_hours() -> TurningCounts:
    rows = {
        "a": (10.0, 20.0, 30.0, 40.0, 50.0, 20.0, 10.0, 0.0),
        "b": (0.0, 0.0, 10.0, 10.0, 10.0, 10.0, 0.0, 0.0),
    }
    return TurningCounts(0.0, 900.0, 8, {"P": rows, "empty": {"c": (0.0,) * 8}}, {})


def test_flows_are_per_hour(two_hours: TurningCounts) -> None:
    assert flows_vph(two_hours, "P", 0, 3) == {"a": 100.0, "b": 20.0}
    assert flows_vph(two_hours, "P", 4, 4) == {"a": 200.0, "b": 40.0}
    with pytest.raises(InputError, match="intervals 3 to 8 asked for, but the counts hold 0 to 7"):
        flows_vph(two_hours, "P", 3, 8)
    with pytest.raises(InputError, match="'Q' isn't counted"):
        flows_vph(two_hours, "Q", 0, 1)


def test_peak_hour_factor(two_hours: TurningCounts) -> None:
    # quarters 10 20 40 50 60 30 10 0: the busiest hour is 40 + 50 + 60 + 30 = 180, so PHF = 180 / (4 · 60)
    assert peak_hour_factor(two_hours, "P") == pytest.approx(180 / 240)
    assert peak_hour_factor(two_hours, "P", 0, 1) == pytest.approx(30 / (2 * 20))
    assert peak_hour_factor(two_hours, "empty") == 1.0


# --------------------------------------------------------------------------------------------- a real network


def test_cologne_counts_those_whose_route_passes(tmp_path: Path) -> None:
    from signals.formats.sumo.config import read_scenario
    from signals.formats.sumo.demand import record_demand
    from signals.formats.sumo.network import read_network

    spec = importlib.util.find_spec("sumo_rl")
    if spec is None or spec.origin is None:
        pytest.skip("sumo-rl isn't installed: it brings the RESCO networks (pip install 'greensplit[bench]')")
    scenario = read_scenario(Path(spec.origin).parent / "nets/RESCO/cologne3/cologne3.sumocfg")
    network = read_network(scenario)
    demand, exits = record_demand(scenario, cache=tmp_path)
    counts = turning_counts(network, demand, exit_times=exits)
    assert math.isclose(counts.interval_s * counts.n_intervals, 3600.0)
    for name, crossing in network.intersections.items():
        turns = {(m.approach, m.to_edge) for m in crossing.movements}
        passages = sum(pair in turns for v in demand.vehicles for pair in pairwise(v.edges))
        # whoever departs in the last minutes may arrive after the window: at most those under way at its end
        under_way = sum(len(exits.get(v.id, ())) < len(v.edges) for v in demand.vehicles)
        assert passages - under_way <= counts.total(name) <= passages
        assert counts.total(name) > 0
