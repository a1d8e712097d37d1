"""Demand from SUMO files: every form of it, on a crossroads of which all counts are known by hand."""

from __future__ import annotations

import gzip
import importlib.util
import json
import subprocess
import sys
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest

from signals.errors import InputError, SimulationError
from signals.formats.sumo import demand as demand_module
from signals.formats.sumo import recording
from signals.formats.sumo.binaries import find_binary, sumo_environment, sumo_version
from signals.formats.sumo.config import Scenario, read_scenario, scenario_of
from signals.formats.sumo.demand import default_cache, read_demand, record_demand
from signals.formats.sumo.vehicle_types import default_type
from signals.formats.sumo.xml import elements
from signals.model.demand import Demand

NODES = """<nodes>
  <node id="W" x="-200" y="0"/><node id="E" x="200" y="0"/><node id="N" x="0" y="200"/>
  <node id="S" x="0" y="-200"/><node id="C" x="0" y="0" type="traffic_light"/>
</nodes>"""
EDGES = "".join(
    f'<edge id="{a}C" from="{a}" to="C" numLanes="2" speed="13.89"/>'
    f'<edge id="C{a}" from="C" to="{a}" numLanes="2" speed="13.89"/>'
    for a in "WENS"
)
WE = '<route id="we" edges="WC CE"/>'


@pytest.fixture(scope="module")
def net(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four legs of 200 m, sidewalks and crossings; WC leads to CE, CN, CS and back."""
    folder = tmp_path_factory.mktemp("net")
    (folder / "n.nod.xml").write_text(NODES)
    (folder / "n.edg.xml").write_text(f"<edges>{EDGES}</edges>")
    netconvert = find_binary("netconvert")
    made = folder / "n.net.xml"
    files = ["-n", str(folder / "n.nod.xml"), "-e", str(folder / "n.edg.xml"), "-o", str(made)]
    subprocess.run(
        [str(netconvert), *files, "--sidewalks.guess", "--crossings.guess", "--no-warnings"],
        check=True,
        capture_output=True,
        env=sumo_environment(netconvert),
    )
    return made


Build = Callable[..., Scenario]


@pytest.fixture
def build(net: Path, tmp_path: Path) -> Build:
    """Write route files (inner XML each) with a .sumocfg, and read the scenario."""

    def write(
        *routes: str, begin: str = "0", end: str | None = "1000", additional: str = "", options: str = ""
    ) -> Scenario:
        names = []
        for k, inner in enumerate(routes):
            (tmp_path / f"r{k}.rou.xml").write_text(f"<routes>{inner}</routes>")
            names.append(f"r{k}.rou.xml")
        more = ""
        if additional:
            (tmp_path / "a.add.xml").write_text(f"<additional>{additional}</additional>")
            more = '<additional-files value="a.add.xml"/>'
        files = f'<route-files value="{",".join(names)}"/>' if names else ""
        until = f'<end value="{end}"/>' if end is not None else ""
        (tmp_path / "s.sumocfg").write_text(
            f'<configuration><net-file value="{net}"/>{files}{more}<begin value="{begin}"/>{until}{options}'
            "</configuration>"
        )
        return read_scenario(tmp_path / "s.sumocfg")

    return write


@pytest.fixture
def read(build: Build, tmp_path: Path) -> Callable[..., Demand]:
    """As `build`, and the demand of it, recorded afresh."""

    def from_files(*routes: str, **options: str) -> Demand:
        return read_demand(build(*routes, **options), cache=tmp_path / "cache")

    return from_files


def departures(demand: Demand) -> list[tuple[str, float]]:
    return [(v.id, v.depart_s) for v in demand.vehicles]


# ------------------------------------------------------------------------------------- forms of demand


def test_vehicles_with_inline_and_named_routes(read: Callable[..., Demand]) -> None:
    demand = read(
        WE + '<vehicle id="a" depart="5" route="we"/>'
        '<vehicle id="b" depart="7.5" departLane="1"><route edges="NC CS"/></vehicle>'
    )
    assert departures(demand) == [("a", 5.0), ("b", 7.5)]
    assert [v.edges for v in demand.vehicles] == [("WC", "CE"), ("NC", "CS")]
    assert [v.depart_lane for v in demand.vehicles] == ["first", "1"]
    assert "2 vehicles are due in [0, 1000) s; 2 came with a route" in demand.remarks


def test_trips_are_routed_and_remarks_say_by_what(read: Callable[..., Demand]) -> None:
    demand = read(
        '<trip id="a" depart="1" from="WC" to="CN"/><trip id="b" depart="2" from="WC" to="CS" via="WC"/>'
    )
    assert [v.edges for v in demand.vehicles] == [("WC", "CN"), ("WC", "CS")]
    version = sumo_version(find_binary("sumo"))
    assert any(f"2 vehicles without a route were routed by SUMO {version}" in r for r in demand.remarks)


def test_via_is_driven_through(read: Callable[..., Demand]) -> None:
    demand = read('<trip id="a" depart="1" from="WC" to="CN" via="CE"/>')
    assert demand.vehicles[0].edges == ("WC", "CE", "EC", "CN")


@pytest.mark.parametrize(
    ("form", "expected"),
    [
        # 360 veh/h is one in 10 s; over 100 s, ten, the first at the begin
        ('begin="0" end="100" vehsPerHour="360"', [10.0 * k for k in range(10)]),
        ('begin="0" end="100" period="20"', [0.0, 20.0, 40.0, 60.0, 80.0]),
        # number over a span: evenly spread
        ('begin="50" end="90" number="4"', [50.0, 60.0, 70.0, 80.0]),
        # number with a period needs no end
        ('begin="30" number="3" period="7"', [30.0, 37.0, 44.0]),
    ],
)
@pytest.mark.parametrize("way", ['route="we"', 'from="WC" to="CE"', 'fromTaz="w" toTaz="e"'])
def test_flows_of_each_form(read: Callable[..., Demand], form: str, expected: list[float], way: str) -> None:
    zones = '<tazs><taz id="w" edges="WC"/><taz id="e" edges="CE"/></tazs>'
    demand = read(f'{WE}<flow id="f" {form} {way}/>', additional=zones)
    assert [v.depart_s for v in demand.vehicles] == pytest.approx(expected)
    assert {v.edges for v in demand.vehicles} == {("WC", "CE")}
    assert {v.id.rpartition(".")[0] for v in demand.vehicles} == {"f"}


@pytest.mark.parametrize("form", ['probability="0.1"', 'period="exp(0.1)"'])
def test_random_flows_come_at_their_rate_and_by_the_seed(build: Build, tmp_path: Path, form: str) -> None:
    scenario = build(f'{WE}<flow id="f" begin="0" end="2000" {form} route="we"/>', end="2000")
    demands = [read_demand(scenario, seed=s, cache=tmp_path / "cache") for s in (1, 1, 2)]
    # 200 expected of 2000 trials at 0.1: five standard deviations are 5 √(2000·0.1·0.9) = 67 (71 for Poisson)
    assert all(abs(len(d.vehicles) - 200) < 71 for d in demands)
    assert demands[0] == demands[1]
    assert departures(demands[0]) != departures(demands[2])


def test_a_random_flow_begun_before_the_window(read: Callable[..., Demand]) -> None:
    # duarouter 1.28 does not come to an end on this one
    demand = read(f'{WE}<flow id="f" begin="0" end="1000" probability="0.2" route="we"/>', begin="500")
    assert abs(len(demand.vehicles) - 100) < 5 * (500 * 0.2 * 0.8) ** 0.5
    assert all(500 <= v.depart_s < 1000 for v in demand.vehicles)


def test_a_flow_begun_before_the_window_gives_the_rest_of_it(read: Callable[..., Demand]) -> None:
    demand = read(f'{WE}<flow id="f" begin="0" end="100" number="10" route="we"/>', begin="50", end="80")
    assert [v.depart_s for v in demand.vehicles] == [50.0, 60.0, 70.0]


def test_junctions_as_ends(read: Callable[..., Demand]) -> None:
    demand = read(
        '<trip id="a" depart="1" fromJunction="W" toJunction="S"/>', options='<junction-taz value="true"/>'
    )
    assert demand.vehicles[0].edges == ("WC", "CS")


def test_distributions_of_routes_and_types(read: Callable[..., Demand]) -> None:
    demand = read(
        '<vTypeDistribution id="mix"><vType id="car" probability="1"/><vType id="lorry" vClass="truck" '
        'probability="1"/></vTypeDistribution><routeDistribution id="ways"><route edges="WC CE" '
        'probability="1"/><route edges="WC CS" probability="1"/></routeDistribution>'
        '<flow id="f" begin="0" end="900" number="60" type="mix" route="ways"/>'
    )
    assert len(demand.vehicles) == 60
    assert {v.edges for v in demand.vehicles} == {("WC", "CE"), ("WC", "CS")}
    assert {v.type for v in demand.vehicles} == {"car", "lorry"} == set(demand.types)
    assert demand.types["lorry"].vehicle_class == "truck"


def test_everything_may_stand_in_additional_files(read: Callable[..., Demand]) -> None:
    demand = read(
        '<vehicle id="a" depart="5" type="t" route="we"/>',
        additional='<vType id="t" length="6"/>'
        + WE
        + '<flow id="f" begin="0" end="30" number="3" route="we"/>'
        '<vehicle id="late" depart="40" route="we"/>',
    )
    assert departures(demand) == [("f.0", 0.0), ("a", 5.0), ("f.1", 10.0), ("f.2", 20.0), ("late", 40.0)]
    assert demand.types["t"].length_m == 6.0


def test_several_files_packed_and_included(build: Build, tmp_path: Path) -> None:
    scenario = build(
        WE + '<vehicle id="a" depart="1" route="we"/>',
        '<include href="inner.xml"/><vehicle id="b" depart="3" route="we"/>',
    )
    (tmp_path / "inner.xml").write_text('<routes><vehicle id="i" depart="2" type="bus" route="we"/></routes>')
    packed = tmp_path / "p.rou.xml.gz"
    packed.write_bytes(
        gzip.compress(b'<routes><vehicle id="c" depart="2.5"><route edges="EC CW"/></vehicle></routes>')
    )
    config = tmp_path / "s.sumocfg"
    config.write_text(config.read_text().replace("r1.rou.xml", "r1.rou.xml,p.rou.xml.gz"))
    first = tmp_path / "r0.rou.xml"
    first.write_text(first.read_text().replace("<routes>", '<routes><vType id="bus" vClass="bus"/>'))
    assert scenario.config == config
    demand = read_demand(read_scenario(config), cache=tmp_path / "cache")
    assert departures(demand) == [("a", 1.0), ("i", 2.0), ("c", 2.5), ("b", 3.0)]
    assert demand.types["bus"].length_m == 12.0


def test_a_scenario_without_a_config(net: Path, tmp_path: Path) -> None:
    routes = tmp_path / "r.xml"
    routes.write_text(f'<routes>{WE}<vehicle id="a" depart="12" route="we"/></routes>')
    demand = read_demand(scenario_of(net, [routes], begin_s=10.0, end_s=20.0), cache=tmp_path / "cache")
    assert departures(demand) == [("a", 12.0)]


# ------------------------------------------------------------------------------------------ the window


def test_who_departs_outside_the_window_is_not_due(read: Callable[..., Demand]) -> None:
    vehicles = "".join(
        f'<vehicle id="{name}" depart="{depart}" route="we"/>'
        for name, depart in [("a", "99.9"), ("b", "0:01:40"), ("c", "199.4"), ("d", "200"), ("e", "200.5")]
    )
    demand = read(WE + vehicles, begin="100", end="200")
    assert departures(demand) == [("b", 100.0), ("c", 199.4)]
    assert demand.vehicles[1].edges == ("WC", "CE")
    assert "1 vehicles depart before 100 s; SUMO leaves them out" in demand.remarks
    assert "2 vehicles depart at 200 s or later and are not due" in demand.remarks


def test_without_an_end_the_window_closes_on_a_quarter_hour_after_the_last_arrival(
    read: Callable[..., Demand],
) -> None:
    demand = read(WE + '<vehicle id="a" depart="990" route="we"/>', begin="100", end=None)
    # 400 m at 13.89 m/s take 29 s or more: it arrives after 1000 s, where the first quarter hour ends,
    # and well before 1900 s, where the second does
    assert (demand.begin_s, demand.end_s) == (100.0, 1900.0)
    assert any("names no end" in r for r in demand.remarks)


def test_unsorted_files_give_what_sumo_drives_and_a_remark(build: Build, tmp_path: Path) -> None:
    vehicles = WE + "".join(
        f'<vehicle id="{name}" depart="{depart}" route="we"/>'
        for name, depart in [("a", 70), ("b", 45), ("c", 60)]
    )
    demand = read_demand(build(vehicles), cache=tmp_path / "cache")
    assert departures(demand) == [("a", 70.0)]
    assert any("SUMO ignored 2 vehicles" in r and "not sorted" in r for r in demand.remarks)
    loaded_at_once = build(vehicles, options='<route-steps value="0"/>')
    assert departures(read_demand(loaded_at_once, cache=tmp_path / "cache")) == [
        ("b", 45.0),
        ("c", 60.0),
        ("a", 70.0),
    ]


def test_zero_demand_is_a_result(read: Callable[..., Demand]) -> None:
    demand = read("", begin="0", end="900")
    assert demand.vehicles == ()
    assert demand.pedestrians == 0
    assert any("no vehicle is due in [0, 900) s" in r for r in demand.remarks)


def test_no_route_file_at_all(read: Callable[..., Demand]) -> None:
    assert read().vehicles == ()


def test_who_finds_no_room_is_due_with_a_route(read: Callable[..., Demand]) -> None:
    demand = read(
        f'{WE}<flow id="f" begin="0" end="60" number="600" route="we"/>'
        '<flow id="g" begin="1" end="60" number="9" from="WC" to="CN"/>',
        end="60",
    )
    assert len(demand.vehicles) == 609
    outside = next(r for r in demand.remarks if "found no room" in r)
    # two lanes let in one vehicle each per second at most
    assert int(outside.split()[0]) >= 609 - 2 * 60
    assert {v.edges for v in demand.vehicles if v.id.startswith("f.")} == {("WC", "CE")}
    assert {v.edges[-1] for v in demand.vehicles if v.id.startswith("g.")} == {"CN"}
    assert [v.depart_s for v in demand.vehicles if v.id.startswith("f.")] == pytest.approx(
        [0.1 * k for k in range(600)], abs=0.011
    )


def test_max_depart_delay_leaves_nobody_out(read: Callable[..., Demand]) -> None:
    demand = read(
        f'{WE}<flow id="f" begin="0" end="60" number="600" route="we"/>',
        end="120",
        options='<max-depart-delay value="5"/>',
    )
    assert len(demand.vehicles) == 600
    assert any("max-depart-delay" in r for r in demand.remarks)


def test_triggered_and_named_departures(read: Callable[..., Demand]) -> None:
    demand = read(
        WE + '<vehicle id="never" depart="triggered" route="we"/>'
        '<vehicle id="ridden" depart="triggered" route="we"/>'
        '<vehicle id="first" depart="begin" route="we"/><vehicle id="b" depart="12" route="we"/>'
        '<person id="p" depart="14"><ride from="WC" to="CE" lines="ridden"/></person>',
        begin="5",
        end="100",
    )
    assert departures(demand) == [("first", 5.0), ("b", 12.0), ("ridden", 14.0)]
    assert any(
        r.startswith("2 vehicles wait for a person") and "1 of them departed" in r for r in demand.remarks
    )


def test_pedestrians_riders_and_bicycles(read: Callable[..., Demand]) -> None:
    demand = read(
        WE + '<vType id="bike" vClass="bicycle"/>'
        '<vehicle id="v" depart="1" route="we"/><vehicle id="cycle" depart="2" type="bike" route="we"/>'
        '<person id="p" depart="14"><walk from="WC" to="CE"/></person>'
        '<personFlow id="pf" begin="20" end="50" number="3"><walk from="WC" to="CE"/></personFlow>'
        '<person id="rider" depart="60"><ride from="WC" to="CE" lines="nothing"/></person>'
        '<personFlow id="pg" begin="70" end="100" number="3"><walk from="WC" to="CE"/></personFlow>',
        end="80",
    )
    # p, three of pf, and of pg (70, 80, 90) the one before 80
    assert demand.pedestrians == 5
    assert "5 persons walk, 1 ride in a vehicle (some may do both)" in demand.remarks
    assert "1 of the vehicles are of class bicycle" in demand.remarks


def test_stops_add_up(read: Callable[..., Demand]) -> None:
    demand = read(
        '<vehicle id="bus" depart="1"><route edges="WC CE"/><stop lane="WC_1" endPos="100" duration="12"/>'
        '<stop busStop="halt" duration="20"/></vehicle>',
        additional='<busStop id="halt" lane="CE_1" startPos="50" endPos="90"/>',
    )
    assert demand.vehicles[0].stop_s == 32.0


def test_rerouted_on_the_way(read: Callable[..., Demand]) -> None:
    demand = read(
        WE + '<vehicle id="a" depart="1" route="we"/>',
        additional='<rerouter id="r" edges="WC"><interval begin="0" end="1000">'
        '<destProbReroute id="CS" probability="1"/></interval></rerouter>',
    )
    assert demand.vehicles[0].edges == ("WC", "CS")
    assert any(r.startswith("1 vehicles left the route they came with") for r in demand.remarks)


# ------------------------------------------------------------------------------------------------ types


def test_types_take_what_is_given_and_sumos_defaults_for_the_rest(read: Callable[..., Demand]) -> None:
    types = (
        '<vType id="given" vClass="truck" length="9" minGap="3" accel="0.9" decel="3.5" tau="1.7"'
        ' maxSpeed="20" speedFactor="0.9"/><vType id="spread" speedFactor="normc(1.1,0.1,0.2,2)"/>'
        '<vType id="bus" vClass="bus"/>'
        '<vType id="bike" vClass="bicycle"/><vType id="nested"><carFollowing-Krauss tau="2.5"/></vType>'
    )
    names = ("given", "spread", "bus", "bike", "nested")
    vehicles = "".join(f'<vehicle id="{t}" type="{t}" depart="{k}" route="we"/>' for k, t in enumerate(names))
    found = read(WE + types + vehicles + '<vehicle id="plain" depart="9" route="we"/>').types
    given = found["given"]
    assert (given.length_m, given.min_gap_m, given.accel_mps2, given.decel_mps2) == (9.0, 3.0, 0.9, 3.5)
    assert (given.headway_s, given.max_speed_mps, given.speed_factor) == (1.7, 20.0, 0.9)
    assert found["spread"].speed_factor == 1.1
    assert found["nested"].headway_s == 2.5
    assert found["bus"] == default_type("bus", "bus")
    # DEFAULT_BICYCLE_SPEED, 20 km/h: SUMO documentation, Vehicle Type Parameter Defaults, desiredMaxSpeed
    assert found["bike"].max_speed_mps == pytest.approx(20 / 3.6, abs=0.01)
    assert found["DEFAULT_VEHTYPE"] == default_type("DEFAULT_VEHTYPE")


ASK = """
import json, sys, traci
sumo, net, routes, classes = sys.argv[1:]
traci.start([sumo, "-n", net, "-r", routes, "--no-step-log", "--no-warnings"], numRetries=20)
ask = traci.vehicletype
answers = {c: [ask.getLength(c), ask.getMinGap(c), ask.getAccel(c), ask.getDecel(c), ask.getMaxSpeed(c),
               ask.getTau(c), ask.getSpeedFactor(c)] for c in classes.split()}
traci.close()
print("answers" + json.dumps(answers))
"""


def test_class_defaults_are_what_sumo_answers(net: Path, tmp_path: Path) -> None:
    classes = (
        "private emergency authority army vip pedestrian passenger hov taxi bus coach delivery truck trailer "
        "motorcycle moped bicycle scooter wheelchair evehicle tram rail_urban rail rail_electric rail_fast "
        "ship container cable_car subway aircraft drone custom1 custom2"
    )
    routes = tmp_path / "types.rou.xml"
    routes.write_text(
        "<routes>" + "".join(f'<vType id="{c}" vClass="{c}"/>' for c in classes.split()) + "</routes>"
    )
    sumo = find_binary("sumo")
    done = subprocess.run(
        [sys.executable, "-c", ASK, str(sumo), str(net), str(routes), classes],
        env=sumo_environment(sumo),
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    answers = json.loads(done.stdout.rpartition("answers")[2])
    for vehicle_class, (length, gap, accel, decel, top, headway, factor) in answers.items():
        ours = default_type(vehicle_class, vehicle_class)
        assert (ours.length_m, ours.min_gap_m) == pytest.approx((length, gap)), vehicle_class
        assert (ours.accel_mps2, ours.decel_mps2) == pytest.approx((accel, decel)), vehicle_class
        assert (ours.headway_s, ours.speed_factor) == pytest.approx((headway, factor)), vehicle_class
        if vehicle_class in ("bicycle", "pedestrian"):  # they have a speed they like, below what they could
            assert ours.max_speed_mps < top
        else:
            assert ours.max_speed_mps == pytest.approx(top, abs=0.01), vehicle_class


# ------------------------------------------------------------------------------------------------ refused


@pytest.mark.parametrize(
    ("inner", "said"),
    [
        ('<vehicle id="b" depart="4"><route edges="WC SC"/></vehicle>', "Vehicle 'b' has no valid route"),
        ('<vehicle id="b" depart="4"><route edges="WC XX"/></vehicle>', "'XX'"),
        ('<vehicle id="b" depart="4" route="nope"/>', "'nope'"),
        ('<vehicle id="b" depart="4" route="we" type="nope"/>', "'nope'"),
        ('<vehicle id="b" depart="4" route="we" departLane="9"/>', "departLane"),
        ('<vehicle id="b" depart="soon" route="we"/>', "departure time"),
        ('<vehicle id="b" depart="4" route="we"/><vehicle id="b" depart="5" route="we"/>', "'b' exists"),
        ('<trip id="b" depart="4" from="CE" to="XX"/>', "'XX'"),
    ],
)
def test_what_sumo_refuses_is_refused_with_its_words(
    read: Callable[..., Demand], inner: str, said: str
) -> None:
    with pytest.raises(InputError, match="SUMO refuses the scenario") as refused:
        read(WE + inner)
    assert said in str(refused.value)
    assert "s.sumocfg" in str(refused.value)


def test_what_sumo_is_told_to_accept_is_accepted(read: Callable[..., Demand]) -> None:
    demand = read(
        WE + '<vehicle id="a" depart="1" route="we"/>'
        '<vehicle id="b" depart="4"><route edges="WC SC"/></vehicle>',
        options='<ignore-route-errors value="true"/>',
    )
    assert [v.id for v in demand.vehicles] == ["a", "b"]


def test_a_wrong_route_beyond_the_end_is_no_error(read: Callable[..., Demand]) -> None:
    demand = read(
        WE + '<vehicle id="a" depart="1" route="we"/>'
        '<vehicle id="b" depart="90"><route edges="WC SC"/></vehicle>',
        end="60",
    )
    assert [v.id for v in demand.vehicles] == ["a"]


def test_files_absent_broken_or_bombs(build: Build, tmp_path: Path) -> None:
    scenario = build(WE + '<include href="inner.xml"/>')
    with pytest.raises(InputError, match=r"inner\.xml: no such file"):
        read_demand(scenario, cache=tmp_path / "cache")
    bomb = '<!DOCTYPE r [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;">]><routes><vehicle id="&b;"/></routes>'
    (tmp_path / "inner.xml").write_text(bomb)
    with pytest.raises(InputError, match="declares a document type"):
        read_demand(scenario, cache=tmp_path / "cache")
    (tmp_path / "r0.rou.xml").write_text("<routes><vehicle id=")
    with pytest.raises(InputError, match="not well-formed"):
        read_demand(scenario, cache=tmp_path / "cache")
    (tmp_path / "r0.rou.xml").unlink()
    with pytest.raises(InputError, match=r"r0\.rou\.xml: no such file"):
        read_demand(scenario, cache=tmp_path / "cache")
    assert not (tmp_path / "cache").exists()


def test_a_type_with_a_number_that_is_none(read: Callable[..., Demand]) -> None:
    with pytest.raises(InputError, match=r"r0\.rou\.xml: vType 't': length='long' is no number"):
        read('<vType id="t" length="long"/>')


def test_a_run_that_takes_too_long_says_so(build: Build) -> None:
    scenario = build(WE + '<vehicle id="a" depart="1" route="we"/>', end=None)
    with pytest.raises(SimulationError, match="give it one"):
        recording.record(scenario, seed=1, timeout_s=1e-3)


# --------------------------------------------------------------------------------------- files and cache


def test_the_folder_of_the_scenario_stays_as_it_was(build: Build, tmp_path: Path) -> None:
    scenario = build(
        WE + '<vehicle id="a" depart="1" route="we"/>',
        options='<tripinfo-output value="mine.xml"/><summary-output value="sum.xml"/><log value="log.txt"/>'
        '<vehroute-output value="routes.out.xml"/><output-prefix value="run7_"/>'
        '<save-state.period value="10"/>'
        '<human-readable-time value="true"/><device.tripinfo.probability value="0"/>',
    )
    before = sorted(p.name for p in tmp_path.iterdir())
    demand = read_demand(scenario, cache=tmp_path / "cache")
    assert departures(demand) == [("a", 1.0)]
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted([*before, "cache"])


def test_exit_times_belong_to_the_routes(build: Build, tmp_path: Path) -> None:
    scenario = build(f'{WE}<flow id="f" begin="0" end="50" number="5" route="we"/>', end="60")
    demand, exits = record_demand(scenario, cache=tmp_path / "cache")
    assert set(exits) <= {v.id for v in demand.vehicles}
    for vehicle in demand.vehicles:
        times = exits.get(vehicle.id, ())
        assert len(times) <= len(vehicle.edges)
        assert all(a <= b for a, b in pairwise((vehicle.depart_s, *times)))


def test_a_recording_is_made_once(build: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runs: list[int] = []

    def counted(scenario: Scenario, *, seed: int) -> recording.Recording:
        runs.append(seed)
        return recording.record(scenario, seed=seed)

    monkeypatch.setattr(demand_module, "record", counted)
    cache = tmp_path / "cache"
    scenario = build(f'{WE}<flow id="f" begin="0" end="50" probability="0.3" route="we"/>')
    first = record_demand(scenario, cache=cache)
    assert record_demand(scenario, cache=cache) == first
    assert runs == [1]
    (kept,) = cache.iterdir()
    whole = kept.read_bytes()

    for damage in (whole[:-20], b"", b"no gzip", gzip.compress(b'{"routes": 3}'), gzip.compress(b"[]")):
        kept.write_bytes(damage)
        assert record_demand(scenario, cache=cache) == first
        assert kept.read_bytes() == whole
    assert runs == [1] * 6

    read_demand(scenario, seed=2, cache=cache)
    assert runs[-1] == 2
    changed = build(f'{WE}<flow id="f" begin="0" end="50" probability="0.4" route="we"/>')
    read_demand(changed, cache=cache)
    assert len(runs) == 8
    read_demand(
        build(f'{WE}<flow id="f" begin="0" end="50" probability="0.4" route="we"/>', end="900"), cache=cache
    )
    assert len(runs) == 9
    assert all(p.suffixes == [".json", ".gz"] for p in cache.iterdir())


def test_a_cache_that_cannot_be_written_is_done_without(build: Build, tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("in the way")
    scenario = build(WE + '<vehicle id="a" depart="1" route="we"/>')
    assert departures(read_demand(scenario, cache=blocked / "cache")) == [("a", 1.0)]
    assert blocked.read_text() == "in the way"


def test_default_cache_follows_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "x"))
    monkeypatch.delenv("GREENSPLIT_CACHE", raising=False)
    assert default_cache() == tmp_path / "x" / "greensplit" / "demand"
    monkeypatch.setenv("GREENSPLIT_CACHE", str(tmp_path / "g"))
    assert default_cache() == tmp_path / "g" / "demand"


# --------------------------------------------------------------------------------------------- real networks


def _resco(name: str) -> Path:
    spec = importlib.util.find_spec("sumo_rl")
    if spec is None or spec.origin is None:
        pytest.skip("sumo-rl isn't installed: it brings the RESCO networks (pip install 'greensplit[bench]')")
    return Path(spec.origin).parent / "nets" / "RESCO" / name / f"{name}.sumocfg"


@pytest.mark.parametrize(
    ("name", "demand_figure"),
    [
        # 'demand' of the independent evaluate_plan.py, SUMO 1.28: vehicles in tripinfo, undeparted included
        ("cologne1", 2015),
        ("cologne3", 2856),
        ("cologne8", 2046),
        ("grid4x4", 1473),
        ("ingolstadt1", 1716),
        pytest.param("arterial4x4", 2484, marks=pytest.mark.slow),
        pytest.param("ingolstadt7", 3031, marks=pytest.mark.slow),
        pytest.param("ingolstadt21", 4281, marks=pytest.mark.slow),
    ],
)
def test_resco_networks_give_the_demand_that_sumo_accounts_for(
    name: str, demand_figure: int, tmp_path: Path
) -> None:
    scenario = read_scenario(_resco(name))
    demand = read_demand(scenario, cache=tmp_path / "cache")
    assert len(demand.vehicles) == demand_figure
    assert len({v.id for v in demand.vehicles}) == demand_figure
    assert all(scenario.begin_s <= v.depart_s < demand.end_s for v in demand.vehicles)
    assert [v.depart_s for v in demand.vehicles] == sorted(v.depart_s for v in demand.vehicles)
    joined = {(c.get("from"), c.get("to")) for c in elements(scenario.net, "connection")}
    assert all(turn in joined for v in demand.vehicles for turn in pairwise(v.edges))
