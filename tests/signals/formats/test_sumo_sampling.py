"""Demand made to follow counts: does the traffic that SUMO then drives pass where and when it was counted?"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Mapping
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from signals.demand.turning import turning_counts
from signals.errors import InputError
from signals.formats.sumo.bundle import bundle_of, unpack_bundle
from signals.formats.sumo.config import Scenario, read_scenario, scenario_of
from signals.formats.sumo.demand import record_demand
from signals.formats.sumo.network import read_network
from signals.formats.sumo.sampling import Sampled, sample_demand
from signals.formats.sumo.xml import elements
from signals.model.counts import Floats
from signals.model.demand import Demand
from signals.model.network import Network
from sumo_nets import find_network

Flows = dict[str, Floats]


def counted(
    network: Network, scenario: Scenario, *, by: str, n: int = 4, first: int = 0
) -> tuple[Flows, Demand]:
    """Flows of approaches or movements that the scenario's demand shows in a recorded run."""
    demand, exits = record_demand(scenario)
    counts = turning_counts(network, demand, exit_times=exits)
    flows: Flows = defaultdict(lambda: np.zeros(n))
    for intersection in network.intersections.values():
        for movement in intersection.movements:
            row = np.array(counts.counts[intersection.id][movement.id][first : first + n])
            flows[movement.approach if by == "approach" else movement.id] += row
    return dict(flows), demand


def geh(asked: Mapping[str, Floats], got: Mapping[str, Floats]) -> Floats:
    """Of quarter hours, in hourly volumes."""
    f, c = (4.0 * np.array([flows[name] for name in sorted(asked)]) for flows in (got, asked))
    return np.sqrt(2.0 * (f - c) ** 2 / np.maximum(f + c, 1e-9))


def total(flows: Mapping[str, Floats]) -> float:
    return float(sum(row.sum() for row in flows.values()))


def truck_share(demand: Demand) -> float:
    return sum(vehicle.type == "truck" for vehicle in demand.vehicles) / len(demand.vehicles)


@pytest.fixture(scope="module")
def single() -> tuple[Scenario, Network]:
    scenario = read_scenario(find_network("single"))
    return scenario, read_network(scenario)


Sampler = Callable[..., Sampled]


@pytest.fixture
def sample(single: tuple[Scenario, Network], tmp_path: Path) -> Sampler:
    def run(
        flows: Mapping[str, Floats], *, name: str = "s", seed: int = 1, step_min: float = 15.0
    ) -> Sampled:
        return sample_demand(*single, flows, step_min, seed, tmp_path / name)

    return run


def contents(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


# ------------------------------------------------------------------------------------------- single


@pytest.mark.parametrize("by", ["approach", "movement"])
def test_traffic_passes_as_often_as_was_counted(by: str, single, sample: Sampler) -> None:
    asked, own = counted(single[1], single[0], by=by)
    sampled = sample(asked)
    got, demand = counted(single[1], sampled.scenario, by=by)
    assert (demand.begin_s, demand.end_s) == (0.0, 3600.0)
    assert sampled.vehicles == len(demand.vehicles)
    assert sampled.asked_veh == total(asked) == pytest.approx(2350, abs=50)
    assert sampled.got_veh == pytest.approx(total(asked), rel=0.01)
    assert total(got) == pytest.approx(total(asked), rel=0.02)
    assert np.mean(geh(asked, got) < 5) >= 0.95
    assert sampled.geh_below_5_percent >= 95
    assert truck_share(demand) == pytest.approx(truck_share(own), abs=0.01)
    assert demand.pedestrians == own.pedestrians == 240


def test_approach_counts_leave_the_turns_as_they_were(single, sample: Sampler) -> None:
    asked, _ = counted(single[1], single[0], by="approach")
    movements, _ = counted(single[1], single[0], by="movement")
    got, _ = counted(single[1], sample(asked).scenario, by="movement")
    assert np.mean(geh(movements, got) < 5) >= 0.9


def test_a_fifth_more_counted_is_a_fifth_more_vehicles(single, sample: Sampler) -> None:
    asked, _ = counted(single[1], single[0], by="approach")
    before = sample(asked)
    after = sample({name: 1.2 * row for name, row in asked.items()}, name="more")
    assert after.asked_veh == pytest.approx(1.2 * before.asked_veh)
    assert after.vehicles == pytest.approx(1.2 * before.vehicles, rel=0.01)


def test_a_shape_over_time_is_followed(single, sample: Sampler) -> None:
    asked, _ = counted(single[1], single[0], by="approach")
    shape = np.array([0.5, 1.2, 0.2, 0.9, 0.7])
    wanted = {name: row.mean() * shape for name, row in asked.items()}
    sampled = sample(wanted)
    assert sampled.scenario.end_s == 5 * 900
    got, _ = counted(single[1], sampled.scenario, by="approach", n=5)
    by_interval = np.sum(list(got.values()), axis=0) / np.sum(list(wanted.values()), axis=0)
    assert by_interval == pytest.approx(np.ones(5), abs=0.12)


def test_the_network_is_in_use_from_the_first_second(single, sample: Sampler) -> None:
    # Whoever is on the way at 0 s begins there: the first minutes aren't empty at the stop lines.
    asked, _ = counted(single[1], single[0], by="approach", n=1)
    step = {name: np.full(12, row[0] / 3.0) for name, row in asked.items()}
    sampled = sample(step, step_min=5.0)
    demand, exits = record_demand(sampled.scenario)
    counts = turning_counts(single[1], demand, exit_times=exits, interval_s=60.0)
    minutes = np.sum([row for rows in counts.counts.values() for row in rows.values()], axis=0)
    assert minutes[0] > 0.5 * minutes.mean()


def test_same_seed_same_bytes_in_whatever_folder(single, sample: Sampler, tmp_path: Path) -> None:
    asked, _ = counted(single[1], single[0], by="approach", n=2)
    one, other = sample(asked, name="a"), sample(asked, name="b/c")
    assert contents(tmp_path / "a") == contents(tmp_path / "b" / "c")
    assert one.scenario.content_hash() == other.scenario.content_hash()
    assert (one.remarks, one.got_veh) == (other.remarks, other.got_veh)
    assert all(str(tmp_path).encode() not in content for content in contents(tmp_path / "a").values())
    third = sample(asked, name="d", seed=2)
    assert third.scenario.content_hash() != one.scenario.content_hash()


def test_what_was_sampled_can_be_packed_and_unpacked(single, sample: Sampler, tmp_path: Path) -> None:
    asked, _ = counted(single[1], single[0], by="approach", n=1)
    made = sample(asked).scenario
    back = unpack_bundle(bundle_of(made), tmp_path / "back").scenario
    assert back.content_hash() == made.content_hash()


def test_remarks_say_what_was_done(single, sample: Sampler) -> None:
    asked, _ = counted(single[1], single[0], by="approach", n=1)
    remarks = sample({**asked, "centre_east": np.array([50.0])}).remarks
    assert re.match(r"\d+ vehicles on 12 routes of .* follow the counts at 5 places over 15 min", remarks[0])
    assert any("routeSampler met" in remark for remark in remarks)
    assert any(remark.startswith("8 pedestrians and flows of pedestrians were kept") for remark in remarks)


# -------------------------------------------------------------------------------- what scenarios bring


NET = find_network("single").parent / "single.net.xml"
WEST_EAST = "west_centre west_centre_pocket centre_east"
WEST_NORTH = "west_centre west_centre_pocket centre_north"
WALK = '<walk edges="north_centre_pocket centre_south"/>'


@pytest.fixture
def build(tmp_path: Path) -> Callable[..., Scenario]:
    """A scenario on `single` from 1000 s to 2000 s, with these routes and additional elements."""

    def write(routes: str, additional: str = "", options: str = "") -> Scenario:
        folder = tmp_path / "sent"
        folder.mkdir()
        (folder / "r.rou.xml").write_text(f"<routes>{routes}</routes>")
        (folder / "a.add.xml").write_text(f"<additional>{additional}</additional>")
        (folder / "n.net.xml").write_bytes(NET.read_bytes())
        (folder / "s.sumocfg").write_text(
            '<configuration><net-file value="n.net.xml"/><route-files value="r.rou.xml"/>'
            f'<additional-files value="a.add.xml"/><begin value="1000"/><end value="2000"/>{options}'
            "</configuration>"
        )
        return read_scenario(folder / "s.sumocfg")

    return write


def test_types_stay_as_they_are_defined(build, tmp_path: Path) -> None:
    types = (
        '<vType id="van" vClass="delivery" length="6.7"><param key="k" value="v"/></vType>'
        '<vTypeDistribution id="mix"><vType id="fast" maxSpeed="30" probability="0.5"/>'
        '<vType id="slow" maxSpeed="8" probability="0.5"/></vTypeDistribution>'
    )
    scenario = build(
        f'{types}<route id="we" edges="{WEST_EAST}"/>'
        '<flow id="m" type="mix" route="we" begin="1000" end="2000" number="90"/>'
        '<flow id="v" type="van" route="we" begin="1000" end="2000" number="30"/>'
        '<flow id="a" type="car" route="we" begin="1000" end="2000" number="60"/>',
        '<vType id="car"/><flow id="x" type="car" from="west_centre" to="centre_north" begin="0" end="9" number="2"/>',
        '<scale value="1.0"/><lateral-resolution value="0.8"/><summary-output value="x.xml"/>',
    )
    flows = {"west_centre_pocket": np.full(4, 60.0)}
    sampled = sample_demand(scenario, read_network(scenario), flows, 5.0, 3, tmp_path / "x")
    assert [p.name for p in sampled.scenario.additional] == ["a.add.xml", "sampled-types.add.xml"]
    demand, _ = record_demand(sampled.scenario)
    kinds = {kind: sum(v.type == kind for v in demand.vehicles) for kind in demand.types}
    n = len(demand.vehicles)
    assert n == pytest.approx(240, abs=8)
    assert kinds["van"] == pytest.approx(n / 6, abs=2)
    assert kinds["car"] == pytest.approx(n / 3, abs=2)
    assert kinds["fast"] + kinds["slow"] == pytest.approx(n / 2, abs=2)
    assert demand.types["van"].length_m == 6.7
    assert demand.types["slow"].max_speed_mps == 8.0
    text = sampled.scenario.config.read_text()  # type: ignore[union-attr]
    assert "lateral-resolution" in text
    assert "scale" not in text
    assert any("left out: summary-output" in remark for remark in sampled.remarks)
    assert "<flow" not in sampled.scenario.additional[0].read_text()


def test_types_drive_where_they_may(build, tmp_path: Path) -> None:
    # Trucks are half of the traffic from the west, but may not turn to the north.
    net = NET.read_text()
    lane = re.search(r'<lane id="centre_north_1"[^>]*>', net)[0]  # type: ignore[index]
    closed = re.sub(r' (dis)?allow="[^"]*"', "", lane).replace(" index=", ' disallow="truck" index=')
    scenario = build(
        '<vType id="car"/><vType id="lorry" vClass="truck"/>'
        f'<route id="we" edges="{WEST_EAST}"/><route id="wn" edges="{WEST_NORTH}"/>'
        '<flow id="a" type="car" route="wn" begin="1000" end="2000" number="100"/>'
        '<flow id="b" type="lorry" route="we" begin="1000" end="2000" number="100"/>'
    )
    scenario.net.write_text(net.replace(lane, closed))
    flows = {"west_centre_pocket": np.full(2, 100.0)}
    network = read_network(scenario)
    sampled = sample_demand(scenario, network, flows, 10.0, 3, tmp_path / "x")
    demand, _ = record_demand(sampled.scenario)
    north = [v for v in demand.vehicles if v.edges[-1] == "centre_north"]
    east = [v for v in demand.vehicles if v.edges[-1] == "centre_east"]
    assert len(north) > 50
    assert {v.type for v in north} == {"car"}
    assert {v.type for v in east} == {"car", "lorry"}


def test_pedestrians_move_to_the_new_window(build, tmp_path: Path) -> None:
    scenario = build(
        f'<vType id="old" vClass="pedestrian" maxSpeed="0.8"/><route id="w" edges="{WEST_EAST}"/>'
        f'<route id="walk" edges="north_centre_pocket centre_south"/>'
        '<flow id="a" route="w" begin="1000" end="2000" number="50"/>'
        f'<personFlow id="all" type="old" begin="1000" end="2000" period="50">{WALK}</personFlow>'
        f'<personFlow id="half" begin="1200" end="1500" period="50">{WALK}</personFlow>'
        f'<personFlow id="number" begin="1000" end="2000" number="10">{WALK}</personFlow>'
        f'<person id="early" depart="900">{WALK}</person>'
        f'<person id="late" depart="0:31:40"><walk route="walk"/></person>'
        f'<person id="rider" depart="1100"><ride from="west_centre" to="centre_east" lines="w"/></person>',
        f'<personFlow id="b" begin="1000" end="1100" perHour="36">{WALK}</personFlow>',
    )
    flows = {"west_centre": np.full(4, 20.0)}
    sampled = sample_demand(scenario, read_network(scenario), flows, 10.0, 3, tmp_path / "x")
    people = {e.get("id"): e.attrib for e in elements(sampled.scenario.routes[1], "person", "personFlow")}
    assert list(people) == ["b", "all", "number", "half", "late"]
    assert people["all"] == {"id": "all", "type": "old", "begin": "0", "end": "2400", "period": "50"}
    assert people["half"] == {"id": "half", "begin": "200", "end": "500", "period": "50"}
    assert people["number"]["number"] == "24"
    assert people["late"]["depart"] == "900"
    demand, _ = record_demand(sampled.scenario)
    assert demand.pedestrians == pytest.approx(48 + 6 + 24 + 1 + 1, abs=2)
    assert any("1 persons and flows of them ride in vehicles" in r for r in sampled.remarks)
    assert any("1 pedestrians and flows of them lie outside" in r for r in sampled.remarks)


def test_additional_files_stay_without_their_demand(build, tmp_path: Path) -> None:
    scenario = build(
        f'<vehicle id="a" depart="1001"><route edges="{WEST_EAST}"/></vehicle>',
        '<e1Detector id="d" lane="centre_east_0" pos="1" period="60" file="d.xml"/>'
        '<calibrator id="c" edge="centre_east" pos="0"><flow begin="1000" end="2000" vehsPerHour="9" route="q"/>'
        f'</calibrator><route id="q" edges="{WEST_EAST}"/>',
    )
    flows = {"west_centre": np.full(2, 20.0)}
    sampled = sample_demand(scenario, read_network(scenario), flows, 10.0, 3, tmp_path / "x")
    root = ElementTree.parse(sampled.scenario.additional[0]).getroot()
    assert [element.tag for element in root] == ["e1Detector", "route"]
    assert any("1 calibrator elements are left out" in remark for remark in sampled.remarks)
    record_demand(sampled.scenario)


def test_what_counts_do_not_cover_is_said(build, tmp_path: Path) -> None:
    scenario = build(
        f'<vehicle id="a" depart="1001"><route edges="{WEST_EAST}"/></vehicle>'
        '<vehicle id="b" depart="1002"><route edges="east_centre east_centre_pocket centre_west"/></vehicle>'
    )
    flows = {"west_centre": np.full(2, 20.0), "north_centre": np.full(2, 30.0)}
    sampled = sample_demand(scenario, read_network(scenario), flows, 10.0, 3, tmp_path / "x")
    assert any(
        "passes 1 of the places counted (north_centre), with 60 vehicles" in r for r in sampled.remarks
    )
    assert any("1 vehicles of the scenario pass no place counted" in r for r in sampled.remarks)
    assert sampled.geh_below_5_percent == 50.0


# ------------------------------------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("flows", "step_min", "message"),
    [
        ({}, 15, "no counts"),
        ({"nowhere": np.ones(2)}, 15, "no edge or movement of this id"),
        ({"west_centre": np.array([1.0, np.nan])}, 15, "counts of 'west_centre': are not all numbers"),
        ({"west_centre": np.array([1.0, -1.0])}, 15, "are not all numbers from 0 up"),
        ({"west_centre": np.ones(2), "east_centre": np.ones(3)}, 15, r"\[2, 3\] intervals"),
        ({"west_centre": np.ones(0)}, 15, r"\[0\] intervals"),
        ({"west_centre": np.ones(2)}, 0, "above 0"),
        ({"west_centre": np.zeros(2)}, 15, "no vehicle of the scenario passes"),
    ],
)
def test_counts_that_are_none_are_refused(flows, step_min: float, message: str, sample: Sampler) -> None:
    with pytest.raises(InputError, match=message):
        sample(flows, step_min=step_min)


def test_a_network_without_routes_is_refused(single, tmp_path: Path) -> None:
    alone = scenario_of(NET, ())
    flows = {"west_centre": np.ones(2)}
    with pytest.raises(InputError, match="upload routes"):
        sample_demand(alone, single[1], flows, 15.0, 1, tmp_path / "x")
    assert not (tmp_path / "x").exists()


# ------------------------------------------------------------------------------------------- arterial


@pytest.mark.slow
def test_an_hour_of_the_arterial_is_met_at_its_eight_signals(tmp_path: Path) -> None:
    scenario = read_scenario(find_network("arterial"))
    network = read_network(scenario)
    asked, own = counted(network, scenario, by="approach", first=4)
    turns, _ = counted(network, scenario, by="movement", first=4)
    sampled = sample_demand(scenario, network, asked, 15.0, 1, tmp_path / "a")
    got, demand = counted(network, sampled.scenario, by="approach")
    assert total(got) == pytest.approx(total(asked), rel=0.02)
    assert np.mean(geh(asked, got) < 5) >= 0.85
    assert sampled.geh_below_5_percent >= 85
    assert truck_share(demand) == pytest.approx(truck_share(own), abs=0.02)
    movements, _ = counted(network, sampled.scenario, by="movement")
    assert np.mean(geh(turns, movements) < 5) >= 0.85

    more = sample_demand(
        scenario, network, {name: 1.2 * row for name, row in asked.items()}, 15.0, 1, tmp_path / "b"
    )
    assert more.vehicles == pytest.approx(1.2 * sampled.vehicles, rel=0.03)
    again = sample_demand(scenario, network, asked, 15.0, 1, tmp_path / "c")
    assert again.scenario.content_hash() == sampled.scenario.content_hash()
    assert contents(tmp_path / "a") == contents(tmp_path / "c")
