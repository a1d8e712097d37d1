"""A closed lane and a surge, in SUMO: who drives where while it lasts, and afterwards."""

from __future__ import annotations

import subprocess
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from signals.errors import InputError
from signals.formats.sumo.binaries import find_binary, sumo_environment
from signals.formats.sumo.config import Scenario, read_scenario, scenario_of
from signals.formats.sumo.demand import read_demand
from signals.formats.sumo.network import read_network
from signals.formats.sumo.xml import elements
from signals.model.demand import Demand
from signals.model.network import Network
from signals.simulation.disturbances import close_lane, surge, with_traffic
from signals.simulation.run import simulate

NODES = """<nodes>
    <node id="west" x="0" y="0"/>
    <node id="middle" x="400" y="0" type="traffic_light"/>
    <node id="east" x="700" y="0"/>
    <node id="south" x="400" y="-300"/>
</nodes>"""
EDGES = """<edges>
    <edge id="in" from="west" to="middle" numLanes="2" speed="13.9"/>
    <edge id="out" from="middle" to="east" numLanes="2" speed="13.9"/>
    <edge id="side" from="south" to="middle" numLanes="1" speed="13.9"/>
</edges>"""
CLOSED_S = (300.0, 600.0)
SLOT_S = 100


@pytest.fixture(scope="module")
def street(tmp_path_factory: pytest.TempPathFactory) -> Scenario:
    """A street of two lanes through a signal, a car every 4 s for 15 minutes, and a side street that joins."""
    folder = tmp_path_factory.mktemp("street")
    (folder / "street.nod.xml").write_text(NODES)
    (folder / "street.edg.xml").write_text(EDGES)
    convert = find_binary("netconvert")
    subprocess.run(
        [str(convert), "-n", "street.nod.xml", "-e", "street.edg.xml", "-o", "street.net.xml"],
        cwd=folder,
        check=True,
        capture_output=True,
        env=sumo_environment(convert),
    )
    (folder / "types.add.xml").write_text('<additional><vType id="car" sigma="0.5"/></additional>')
    cars = "".join(
        f'<vehicle id="c{t}" type="car" depart="{t}" departLane="best"><route edges="in out"/></vehicle>'
        + (f'<vehicle id="s{t}" type="car" depart="{t}"><route edges="side out"/></vehicle>' * (t % 20 == 0))
        for t in range(0, 900, 4)
    )
    (folder / "street.rou.xml").write_text(f"<routes>{cars}</routes>")
    files = '<net-file value="street.net.xml"/><route-files value="street.rou.xml"/>'
    (folder / "street.sumocfg").write_text(
        f'<configuration>{files}<additional-files value="types.add.xml"/><begin value="0"/><end value="1000"/>'
        '<time-to-teleport value="120"/></configuration>'
    )
    return read_scenario(folder / "street.sumocfg")


@pytest.fixture(scope="module")
def network(street: Scenario) -> Network:
    """The street's network."""
    return read_network(street)


@pytest.fixture(scope="module")
def demand(street: Scenario, tmp_path_factory: pytest.TempPathFactory) -> Demand:
    """Everybody due on the street."""
    return read_demand(street, cache=tmp_path_factory.mktemp("cache"))


@pytest.fixture
def left_by_lane(street: Scenario, tmp_path: Path) -> Callable[..., dict[str, list[int]]]:
    """Runs the street and counts, lane by lane, who left it in each slot of 100 s."""

    def run(*plans: Path) -> dict[str, list[int]]:
        out = tmp_path / "lanes.xml"
        ask = tmp_path / "ask.add.xml"
        ask.write_text(
            f'<additional><laneData id="lanes" period="{SLOT_S}" file="{out}" excludeEmpty="false"/></additional>'
        )
        result = simulate(street, seed=3, plans=(ask, *plans))
        assert (result.teleports, result.emergency_braking) == (0, 0)
        found: dict[str, list[int]] = {}
        for interval in elements(out, "interval"):
            for lane in interval.iter("lane"):
                gone = int(lane.get("left", 0)) + int(lane.get("arrived", 0))
                found.setdefault(lane.get("id", ""), []).append(gone)
        return found

    return run


def test_nobody_leaves_a_lane_while_it_is_closed_and_traffic_squeezes_by(
    network: Network, tmp_path: Path, left_by_lane: Callable[..., dict[str, list[int]]]
) -> None:
    free = left_by_lane()
    closed = left_by_lane(close_lane(network, "in_0", *CLOSED_S, tmp_path))
    slots = slice(int(CLOSED_S[0]) // SLOT_S, int(CLOSED_S[1]) // SLOT_S)
    assert all(n > 0 for n in free["in_0"][slots])
    assert closed["in_0"][slots] == [0, 0, 0]
    # 75 cars are due, and a lane with half of the green carries them
    assert sum(closed["in_1"][slots]) >= 60
    assert closed["in_0"][:3] == free["in_0"][:3]


def test_both_lanes_carry_as_many_as_before_once_it_is_open_again(
    network: Network, tmp_path: Path, left_by_lane: Callable[..., dict[str, list[int]]]
) -> None:
    free = left_by_lane()
    closed = left_by_lane(close_lane(network, "in_0", *CLOSED_S, tmp_path))
    assert sum(closed["in_0"][6:]) > 0.7 * sum(free["in_0"][6:])
    assert sum(map(sum, closed.values())) == sum(map(sum, free.values()))


@pytest.mark.parametrize(
    ("lane", "times", "message"),
    [
        ("in_7", CLOSED_S, "edge in has in_0, in_1"),
        ("road_0", CLOSED_S, "no edge 'road'"),
        ("nonsense", CLOSED_S, "no edge ''"),
        ("side_0", CLOSED_S, "the only one to out"),
        ("in_0", (600.0, 600.0), "the end must come later"),
    ],
)
def test_a_lane_that_cannot_be_closed_is_refused_with_the_reason(
    network: Network, tmp_path: Path, lane: str, times: tuple[float, float], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        close_lane(network, lane, *times, tmp_path)


def test_a_surge_adds_the_stated_share_on_routes_of_the_scenario_in_its_time(
    street: Scenario, network: Network, demand: Demand, tmp_path: Path
) -> None:
    path = surge(street, network, demand, "in", 1.5, 200.0, 600.0, 1, tmp_path)
    after = read_demand(with_traffic(street, [path], tmp_path / "with"), cache=tmp_path / "cache")
    before = Counter(v.edges for v in demand.vehicles if 200 <= v.depart_s < 600)
    added = [v for v in after.vehicles if v.id.startswith("surge-")]
    assert before["in", "out"] == 100
    assert len(added) == 50
    assert all(v.edges == ("in", "out") and v.type == "car" for v in added)
    assert all(200 <= v.depart_s < 600 for v in added)
    assert len(after.vehicles) == len(demand.vehicles) + 50


def test_a_surge_runs_as_an_additional_file_where_types_stand_in_one(
    street: Scenario, network: Network, demand: Demand, tmp_path: Path
) -> None:
    path = surge(street, network, demand, "in", 1.2, 0.0, 900.0, 1, tmp_path)
    plain, more = (simulate(street, seed=1, plans=plans, light=True) for plans in ((), (path,)))
    assert more.demand == plain.demand + 45


def test_a_surge_is_the_same_for_the_same_seed_alone(
    street: Scenario, network: Network, demand: Demand, tmp_path: Path
) -> None:
    texts = [
        surge(street, network, demand, "in", 1.5, 200.0, 600.0, seed, tmp_path / str(k)).read_bytes()
        for k, seed in enumerate((1, 1, 2))
    ]
    assert texts[0] == texts[1] != texts[2]


@pytest.mark.parametrize(
    ("edge", "factor", "times", "message"),
    [
        ("road", 1.5, (0.0, 900.0), "no such edge"),
        ("in", 0.5, (0.0, 900.0), "give 1 or more"),
        ("in", float("nan"), (0.0, 900.0), "give 1 or more"),
        ("in", 1.5, (900.0, 0.0), "the end must come later"),
        ("in", 1.5, (5000.0, 6000.0), "nobody who departs"),
    ],
)
def test_a_surge_of_nobody_is_refused_with_the_reason(
    street: Scenario,
    network: Network,
    demand: Demand,
    tmp_path: Path,
    edge: str,
    factor: float,
    times: tuple[float, float],
    message: str,
) -> None:
    with pytest.raises(InputError, match=message):
        surge(street, network, demand, edge, factor, *times, 1, tmp_path)


def test_a_scenario_with_more_traffic_keeps_its_other_options(
    street: Scenario, network: Network, demand: Demand, tmp_path: Path
) -> None:
    path = surge(street, network, demand, "in", 1.5, 200.0, 600.0, 1, tmp_path)
    with_surge = with_traffic(street, [path], tmp_path / "with")
    assert with_surge.routes == (*street.routes, path)
    assert replace(with_surge, config=None, routes=()) == replace(street, config=None, routes=())
    assert with_surge.time_to_teleport_s == 120.0


def test_a_scenario_given_by_its_parts_takes_more_traffic_too(
    street: Scenario, network: Network, demand: Demand, tmp_path: Path
) -> None:
    parts = scenario_of(street.net, street.routes, street.additional, 0.0, None)
    path = surge(street, network, demand, "in", 1.5, 200.0, 600.0, 1, tmp_path)
    found = with_traffic(parts, [path], tmp_path / "with")
    assert found.end_s is None
    assert found.routes == (*parts.routes, path)
