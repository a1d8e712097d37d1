"""Networks as they are found: every oddity that breaks tools, each on a network small enough to check by hand."""

from __future__ import annotations

import gzip
import importlib.util
import re
import subprocess
from collections.abc import Callable
from itertools import combinations
from pathlib import Path
from xml.etree import ElementTree

import pytest

from signals.errors import InfeasiblePlan, InputError
from signals.formats.sumo.binaries import find_binary, sumo_environment
from signals.formats.sumo.config import Scenario, read_scenario, scenario_of
from signals.formats.sumo.network import read_network
from signals.model.network import Intersection, Network, Turn
from signals.model.plan import PlanRequest
from signals.timing.stages import stage_plan

Make = Callable[..., Path]
LEGS = {"w": (-1, 0), "e": (1, 0), "n": (0, 1), "s": (0, -1)}


def netconvert(folder: Path, nodes: str, edges: str, *options: str, connections: str = "") -> Path:
    """A network from plain XML."""
    (folder / "x.nod.xml").write_text(f"<nodes>{nodes}</nodes>")
    (folder / "x.edg.xml").write_text(f"<edges>{edges}</edges>")
    files = ["-n", "x.nod.xml", "-e", "x.edg.xml"]
    if connections:
        (folder / "x.con.xml").write_text(f"<connections>{connections}</connections>")
        files += ["-x", "x.con.xml"]
    binary = find_binary("netconvert")
    done = subprocess.run(
        [str(binary), *files, "-o", "x.net.xml", "--no-turnarounds", *options],
        cwd=folder,
        env=sumo_environment(binary),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return folder / "x.net.xml"


def node(name: str, x: float, y: float, kind: str = "priority", tl: str = "") -> str:
    more = f' tl="{tl}"' if tl else ""
    return f'<node id="{name}" x="{x}" y="{y}" type="{kind}"{more}/>'


def edge(start: str, end: str, lanes: int = 1, more: str = "") -> str:
    return (
        f'<edge id="{start}{end}" from="{start}" to="{end}" numLanes="{lanes}" speed="13.89" priority="1" '
        f"{more}/>"
    )


def both(a: str, b: str, lanes: int = 1, more: str = "") -> str:
    return edge(a, b, lanes, more) + edge(b, a, lanes, more)


@pytest.fixture
def cross(tmp_path: Path) -> Make:
    """Four legs of 200 m at signal c; `cross(*netconvert_options, lanes=…)`."""

    def make(*options: str, lanes: int = 1, connections: str = "") -> Path:
        nodes = node("c", 0, 0, "traffic_light")
        nodes += "".join(node(leg, 200 * x, 200 * y) for leg, (x, y) in LEGS.items())
        edges = "".join(both(leg, "c", lanes) for leg in LEGS)
        return netconvert(tmp_path, nodes, edges, *options, connections=connections)

    return make


def logic(signal: str, program: str, *phases: tuple[float, str], more: str = "") -> str:
    lines = "".join(f'<phase duration="{d}" state="{s}"/>' for d, s in phases)
    return f'<tlLogic id="{signal}" type="static" programID="{program}" offset="0" {more}>{lines}</tlLogic>'


def additional(folder: Path, name: str, inner: str) -> Path:
    path = folder / name
    path.write_text(f"<additional>{inner}</additional>")
    return path


def with_program(net: Path, *phases: tuple[float, str]) -> Path:
    """The network with its signals' programs replaced by one of these phases."""
    text = net.read_text()
    new = "".join(f'<phase duration="{d}" state="{s}"/>' for d, s in phases)
    net.write_text(re.sub(r"(<tlLogic[^>]*>).*?(</tlLogic>)", rf"\g<1>{new}\g<2>", text, flags=re.S))
    return net


def read(net: Path, *more: Path) -> Network:
    return read_network(scenario_of(net, [], more))


def the(network: Network) -> Intersection:
    (intersection,) = network.intersections.values()
    return intersection


# ------------------------------------------------------------------------------------------------ geometry


def test_a_plain_crossing(cross: Make) -> None:
    network = read(cross())
    signal = the(network)
    assert signal.id == "c"
    assert signal.junctions == ("c",)
    assert {a.edge: a.bound for a in signal.approaches} == {"wc": "EB", "ec": "WB", "nc": "SB", "sc": "NB"}
    turns = {(m.approach, m.to_edge): m.turn for m in signal.movements}
    assert turns["wc", "ce"] is Turn.THROUGH
    assert turns["wc", "cn"] is Turn.LEFT
    assert turns["wc", "cs"] is Turn.RIGHT
    assert len(turns) == 4 * 3
    assert sorted(i for m in signal.movements for i in m.links) == list(range(12))
    link = {(m.approach, m.to_edge): m.links[0] for m in signal.movements}
    conflicts = signal.conflicts
    assert conflicts.conflict(link["wc", "ce"], link["nc", "cs"])
    assert not conflicts.conflict(link["wc", "ce"], link["ec", "cw"])
    # a left turn lets the oncoming traffic pass, and not the other way round
    assert conflicts.may_yield(link["wc", "cn"], link["ec", "cw"])
    assert not conflicts.may_yield(link["ec", "cw"], link["wc", "cn"])


def test_one_signal_over_two_junctions(tmp_path: Path) -> None:
    nodes = node("a", 0, 0, "traffic_light", "J") + node("b", 60, 0, "traffic_light", "J")
    ends = {"w": (-200, 0), "e": (260, 0), "an": (0, 200), "bs": (60, -200)}
    nodes += "".join(node(n, x, y) for n, (x, y) in ends.items())
    edges = both("w", "a") + both("a", "b") + both("b", "e") + both("an", "a") + both("bs", "b")
    network = read(netconvert(tmp_path, nodes, edges))
    signal = the(network)
    assert signal.id == "J"
    assert set(signal.junctions) == {"a", "b"}
    assert any("2 junctions" in r for r in signal.remarks)
    at = {i: network.connections[p[0]].junction for i, p in enumerate(signal.connections) if p}
    assert set(at.values()) == {"a", "b"}
    # the request tables of two junctions number their rows alike; links of different ones never conflict
    assert signal.conflicts.conflicts
    assert all(at[i] == at[j] for i, j in signal.conflicts.conflicts)
    assert {a.edge for a in signal.approaches} >= {"ab", "ba", "wa", "eb"}
    assert stage_plan(signal, PlanRequest()).stages


def test_shared_and_unused_link_indices(cross: Make) -> None:
    net = cross()
    text = net.read_text()
    # link 1 also lets go what link 0 did, and a thirteenth one controls nothing
    text = text.replace('linkIndex="0"', 'linkIndex="1"')
    net.write_text(re.sub(r'state="([GgyrsuoO]{12})"', r'state="\1r"', text))
    signal = the(read(net))
    assert signal.n_links == 13
    assert len(signal.connections[1]) == 2
    assert signal.connections[0] == signal.connections[12] == ()
    assert any("control nothing: 0, 12" in r for r in signal.remarks)
    assert any("shared by several paths: 1" in r for r in signal.remarks)
    # what both of its paths conflict with is the union; no pair of a link with itself
    plain = {(i, j) for i, j in signal.conflicts.conflicts if 1 in (i, j)}
    assert plain
    assert all(i != j for i, j in signal.conflicts.conflicts)
    assert stage_plan(signal, PlanRequest()).stages


def test_a_shared_link_yields_only_if_all_of_it_does(cross: Make) -> None:
    net = cross()
    signal = the(read(net))
    link = {(m.approach, m.to_edge): m.links[0] for m in signal.movements}
    through, left, oncoming = link["wc", "ce"], link["wc", "cn"], link["nc", "cs"]
    conflicts = signal.conflicts
    assert conflicts.conflict(left, oncoming)
    yields = {f for f in (left, through) if conflicts.may_yield(f, oncoming)}
    net.write_text(net.read_text().replace(f'linkIndex="{left}"', f'linkIndex="{through}"'))
    joined = the(read(net)).conflicts
    assert joined.may_yield(through, oncoming) == (yields == {left, through})


def test_right_turn_on_red_is_no_green(cross: Make) -> None:
    net = cross()
    text = net.read_text()
    right = re.search(r'<connection from="wc" to="cs"[^>]*linkIndex="(\d+)"', text)
    assert right
    k = int(right[1])

    def on_red(match: re.Match[str]) -> str:
        state = match[1]
        return f'state="{state[:k]}{"s" if state[k] == "r" else state[k]}{state[k + 1 :]}"'

    net.write_text(re.sub(r'state="(\w{12})"', on_red, text))
    signal = the(read(net))
    assert signal.program
    assert any(i.state[k] == "s" for i in signal.program.intervals)
    plan = stage_plan(signal, PlanRequest())
    assert [k in s.green for s in plan.stages].count(True) == 1
    # and the letter survives the way through stages and back
    assert {s.state[k] for s in plan.stages} == {"s", "g"} or {s.state[k] for s in plan.stages} == {"s", "G"}


def test_crossings_have_links_and_lengths(cross: Make) -> None:
    # two lanes of 3.2 m each way, netconvert's standard width
    signal = the(read(cross("--sidewalks.guess", "--crossings.guess", lanes=2)))
    assert len(signal.crossings) == 4
    for crossing in signal.crossings:
        assert crossing.length_m == pytest.approx(4 * 3.2, abs=0.5)
        assert len(crossing.crossed_edges) == 2
        assert signal.connections[crossing.link] == ()
        foes = [i for i in signal.vehicle_links if signal.conflicts.conflict(i, crossing.link)]
        assert foes
    links = {c.link for c in signal.crossings}
    assert not any(set(m.links) & links for m in signal.movements)
    assert not any("control nothing" in r for r in signal.remarks)


def test_storage_is_looked_for_upstream_of_a_stub(tmp_path: Path) -> None:
    # the western approach ends in a stub shorter than a car behind 120 m of the same road
    nodes = node("c", 0, 0, "traffic_light") + node("x", -12, 0) + node("w", -132, 0)
    nodes += node("e", 200, 0) + node("n", 0, 200) + node("s", 0, -200)
    edges = both("w", "x") + both("x", "c") + both("e", "c") + both("n", "c") + both("s", "c")
    network = read(netconvert(tmp_path, nodes, edges))
    signal = the(network)
    stub = network.edges["xc"]
    assert stub.length_m < 10
    (west,) = (a for a in signal.approaches if a.edge == "xc")
    assert west.storage_m == pytest.approx(stub.length_m + network.edges["wx"].length_m)
    assert any("shorter than 30 m" in r for r in signal.remarks)
    (east,) = (a for a in signal.approaches if a.edge == "ec")
    assert east.storage_m == pytest.approx(network.edges["ec"].length_m)


def test_storage_ends_where_roads_meet(tmp_path: Path) -> None:
    nodes = node("c", 0, 0, "traffic_light") + node("x", -30, 0) + node("w", -130, 0) + node("v", -30, 90)
    nodes += node("e", 200, 0) + node("n", 0, 200) + node("s", 0, -200)
    edges = (
        edge("w", "x") + edge("v", "x") + edge("x", "c") + both("e", "c") + both("n", "c") + both("s", "c")
    )
    network = read(netconvert(tmp_path, nodes, edges))
    (west,) = (a for a in the(network).approaches if a.edge == "xc")
    assert west.storage_m == pytest.approx(network.edges["xc"].length_m)


def test_bus_lanes_keep_their_permissions(tmp_path: Path) -> None:
    nodes = node("c", 0, 0, "traffic_light")
    nodes += "".join(node(leg, 200 * x, 200 * y) for leg, (x, y) in LEGS.items())
    bus = (
        '<edge id="wc" from="w" to="c" numLanes="2" speed="13.89"><lane index="0" allow="bus"/></edge>'
        + edge("c", "w")
        + "".join(both(leg, "c") for leg in "ens")
    )
    network = read(netconvert(tmp_path, nodes, bus))
    lanes = network.edges["wc"].lanes
    assert lanes[0].allows("bus")
    assert not lanes[0].allows("passenger")
    assert lanes[1].allows("passenger")
    assert the(network).approaches


def test_ids_of_any_length(tmp_path: Path) -> None:
    long = "cluster_" + "_".join(["1234567890"] * 12)
    assert len(long) > 100
    nodes = node(long, 0, 0, "traffic_light")
    nodes += "".join(node(leg, 200 * x, 200 * y) for leg, (x, y) in LEGS.items())
    edges = "".join(
        f'<edge id="{leg}{k}#{long}" from="{a}" to="{b}" numLanes="1" speed="13.89"/>'
        for leg in LEGS
        for k, (a, b) in enumerate([(leg, long), (long, leg)])
    )
    signal = the(read(netconvert(tmp_path, nodes, edges)))
    assert signal.id == long
    assert len(signal.movements) == 12


# ------------------------------------------------------------------------------------------------ programs

TWO = ((30.0, "GGgrrrGGgrrr"), (4.0, "yyyrrryyyrrr"), (20.0, "rrrGGgrrrGGg"), (4.0, "rrryyyrrryyy"))
THREE = tuple((d + 5, s) for d, s in TWO)


def without_programs(net: Path) -> Path:
    net.write_text(re.sub(r"<tlLogic.*?</tlLogic>", "", net.read_text(), flags=re.S))
    return net


def test_programs_in_additional_files_alone_and_the_newest_wins(cross: Make, tmp_path: Path) -> None:
    net = without_programs(cross())
    first = additional(tmp_path, "1.add.xml", logic("c", "night", *TWO))
    second = additional(tmp_path, "2.add.xml", logic("c", "day", *THREE))
    signal = the(read(net, first, second))
    assert signal.program
    assert signal.program.program == "day"
    assert signal.program.cycle_s == sum(d for d, _ in THREE)
    assert any("2 programs" in r for r in signal.remarks)
    swapped = the(read(net, second, first)).program
    assert swapped
    assert swapped.program == "night"


def test_an_entry_without_phases_moves_the_offset(cross: Make, tmp_path: Path) -> None:
    net = cross()
    built_in = the(read(net)).program
    assert built_in
    shifted = additional(tmp_path, "o.add.xml", '<tlLogic id="c" programID="0" offset="17"/>')
    program = the(read(net, shifted)).program
    assert program
    assert program.offset_s == 17
    assert program.intervals == built_in.intervals
    lost = additional(tmp_path, "l.add.xml", '<tlLogic id="c" programID="none" offset="17"/>')
    with pytest.raises(InputError, match=r"l\.add\.xml.*none.*no phases"):
        read(net, lost)


def test_a_waut_puts_its_start_program_in_force(cross: Make, tmp_path: Path) -> None:
    waut = '<WAUT id="w" refTime="0" startProg="night"><wautSwitch time="300" to="day"/></WAUT>'
    more = additional(
        tmp_path,
        "w.add.xml",
        logic("c", "night", *TWO)
        + logic("c", "day", *THREE)
        + waut
        + '<wautJunction wautID="w" junctionID="c"/>',
    )
    signal = the(read(cross(), more))
    assert signal.program
    assert signal.program.program == "night"
    assert any("WAUT" in r for r in signal.remarks)


def test_the_program_is_the_one_that_sumo_runs(cross: Make, tmp_path: Path) -> None:
    """SUMO itself is asked, second by second, through its record of the signal's states."""
    net = cross()
    programs = additional(tmp_path, "p.add.xml", logic("c", "a", *THREE) + logic("c", "b", *TWO))
    offset = additional(tmp_path, "q.add.xml", '<tlLogic id="c" programID="b" offset="7"/>')
    states = additional(
        tmp_path, "s.add.xml", '<timedEvent type="SaveTLSStates" source="c" dest="states.xml"/>'
    )
    binary = find_binary("sumo")
    subprocess.run(
        [str(binary), "-n", str(net), "-a", f"{programs},{offset},{states}", "-e", "150", "--no-step-log"],
        cwd=tmp_path,
        env=sumo_environment(binary),
        check=True,
        capture_output=True,
    )
    program = the(read(net, programs, offset)).program
    assert program
    seen = [
        (float(e.get("time", "")), e.get("programID"), e.get("state"))
        for e in ElementTree.parse(tmp_path / "states.xml").getroot().iter("tlsState")
    ]
    assert len(seen) > 100
    for time_s, name, state in seen:
        assert name == program.program
        assert state == program.state_at(time_s), time_s


def test_too_few_links_and_no_program_are_explained(cross: Make, tmp_path: Path) -> None:
    net = cross()
    short = additional(tmp_path, "s.add.xml", logic("c", "short", *((d, s[:6]) for d, s in TWO)))
    signal = the(read(net, short))
    assert any("6 links" in r and "12" in r for r in signal.remarks)
    with pytest.raises(InfeasiblePlan, match=r"signal c: .*6 links.*12; repair"):
        stage_plan(signal, PlanRequest())
    bare = the(read(without_programs(net)))
    assert bare.program is None
    assert bare.n_links == 12
    assert any("no program" in r for r in bare.remarks)
    with pytest.raises(InfeasiblePlan, match="signal c: has no program"):
        stage_plan(bare, PlanRequest())


@pytest.mark.parametrize(
    ("phases", "remark"),
    [
        (((30.0, "GGgGGgGGgGGg"),), "protected green together"),
        (((30.0, "GGgrrrGGgrrr"), (20.0, "rrrGGgrrrGGg")), "no yellow"),
        (((30.0, "GGgrrrGGgrrG"), (4.0, "yyyrrryyyrrG"), (20.0, "rrrGGgrrrGGG")), "always green: 11"),
        (((30.0, "GGgrrrGGgrrr"), (4.0, "yyyrrryyyrrr"), (20.0, "rrrGGgrrrGGr")), "never green: 11"),
    ],
)
def test_odd_programs_are_remarked(phases: tuple[tuple[float, str], ...], remark: str, cross: Make) -> None:
    signal = the(read(with_program(cross(), *phases)))
    assert any(remark in r for r in signal.remarks), signal.remarks
    if len(phases) == 1:
        with pytest.raises(InfeasiblePlan, match="signal c: 1 stage"):
            stage_plan(signal, PlanRequest())


@pytest.mark.parametrize(
    ("phase", "words"),
    [
        ('<phase duration="x" state="GGGGGGGGGGGG"/>', "no time"),
        ('<phase duration="-3" state="GGGGGGGGGGGG"/>', "0 s or more"),
        ('<phase state="GGGGGGGGGGGG"/>', "no time"),
        ('<phase duration="5" state="GG"/><phase duration="5" state="GGG"/>', "different length"),
    ],
)
def test_broken_programs_name_file_and_signal(phase: str, words: str, cross: Make, tmp_path: Path) -> None:
    more = additional(tmp_path, "b.add.xml", f'<tlLogic id="c" programID="b">{phase}</tlLogic>')
    with pytest.raises(InputError, match=rf"b\.add\.xml: signal c: .*{words}"):
        read(cross(), more)


# ---------------------------------------------------------------------------------------- files and windows


def test_a_config_without_begin_and_end(cross: Make, tmp_path: Path) -> None:
    net = cross()
    (tmp_path / "r.rou.xml").write_text("<routes/>")
    config = tmp_path / "x.sumocfg"
    config.write_text(f'<configuration><input><n v="{net.name}"/><r v="r.rou.xml"/></input></configuration>')
    scenario = read_scenario(config)
    assert (scenario.begin_s, scenario.end_s) == (0, None)
    assert scenario.net == net
    assert scenario.routes == (tmp_path / "r.rou.xml",)
    assert set(read_network(scenario).intersections) == {"c"}


def test_a_packed_network_reads_like_the_plain_one(cross: Make, tmp_path: Path) -> None:
    net = cross()
    packed = tmp_path / "y.net.xml.gz"
    packed.write_bytes(gzip.compress(net.read_bytes()))
    plain, unpacked = read(net), read(packed)
    assert unpacked.intersections == plain.intersections
    assert unpacked.connections == plain.connections


def test_detectors_stand_on_their_lanes(cross: Make, tmp_path: Path) -> None:
    more = additional(
        tmp_path,
        "d.add.xml",
        '<inductionLoop id="l" lane="wc_0" pos="150" period="900" file="o.xml"/>'
        '<e2Detector id="a" lane="ec_0" pos="-50" period="900" file="o.xml"/>'
        '<e1Detector id="elsewhere" lane="cw_0" pos="5" period="900" file="o.xml"/>',
    )
    net = cross()
    signal = the(read(net, more))
    assert {(d.id, d.kind, d.lane) for d in signal.detectors} == {
        ("l", "loop", "wc_0"),
        ("a", "area", "ec_0"),
    }
    length = next(lane.length_m for lane in read(net).edges["ec"].lanes)
    positions = {d.id: d.position_m for d in signal.detectors}
    assert positions["l"] == 150
    # SUMO counts a negative position from the lane's end
    assert positions["a"] == pytest.approx(length - 50)
    wrong = additional(tmp_path, "w.add.xml", '<e1Detector id="q" lane="wc_0" pos="far"/>')
    with pytest.raises(InputError, match=r"w\.add\.xml: detector q"):
        read(net, wrong)


# ------------------------------------------------------------------------------------------------- RESCO

RESCO = (
    "arterial4x4", "cologne1", "cologne3", "cologne8", "grid4x4", "ingolstadt1", "ingolstadt7", "ingolstadt21",
)  # fmt: skip


def resco(name: str) -> Scenario:
    found = importlib.util.find_spec("sumo_rl")
    if found is None or not found.submodule_search_locations:
        pytest.skip("the package sumo-rl, which brings the RESCO networks, is not installed (extra: bench)")
    return read_scenario(
        Path(found.submodule_search_locations[0]) / "nets" / "RESCO" / name / f"{name}.sumocfg"
    )


@pytest.mark.parametrize("name", RESCO)
def test_conflicts_are_those_of_the_networks_own_requests(name: str) -> None:
    """Every pair of links, against the <request> rows of the .net.xml, read here without sumolib."""
    scenario = resco(name)
    network = read_network(scenario)
    root = ElementTree.parse(scenario.net).getroot()
    links = {
        c.get("via"): (c.get("tl"), int(c.get("linkIndex", "-1")))
        for c in root.iter("connection")
        if c.get("tl") and c.get("via")
    }
    for onward in root.iter("connection"):
        # a turn that waits inside its junction goes on over a second lane, and the junction lists that one
        before = f"{onward.get('from')}_{onward.get('fromLane')}"
        if onward.get("via") and before in links:
            links[onward.get("via")] = links[before]
    foes: dict[str, set[tuple[int, int]]] = {}
    gives_way: dict[str, set[tuple[int, int]]] = {}
    holds: dict[str, set[tuple[int, int]]] = {}
    for junction in root.iter("junction"):
        if junction.get("type") == "internal":
            continue  # where a left turn waits inside its junction: no requests of its own
        internal = (junction.get("intLanes") or "").split()
        rows = {int(r.get("index", "")): r for r in junction.iter("request")}
        for a, b in combinations(range(len(internal)), 2):
            for i, j in ((a, b), (b, a)):
                one, other = links.get(internal[i]), links.get(internal[j])
                if one is None or other is None or one[0] != other[0] or one[1] == other[1]:
                    continue
                assert one[0]
                # bit j of a row is counted from its right end (SUMO: right-of-way, "request")
                if rows[i].get("foes", "")[::-1][j] == "1":
                    foes.setdefault(one[0], set()).add((min(one[1], other[1]), max(one[1], other[1])))
                    way = gives_way if rows[i].get("response", "")[::-1][j] == "1" else holds
                    way.setdefault(one[0], set()).add((one[1], other[1]))
    assert foes
    for signal, intersection in network.intersections.items():
        table = intersection.conflicts
        assert table.conflicts == foes.get(signal, set()), signal
        assert table.yields == gives_way.get(signal, set()) - holds.get(signal, set()), signal


@pytest.mark.parametrize("name", RESCO)
def test_every_signal_has_stages_or_a_reason(name: str) -> None:
    scenario = resco(name)
    network = read_network(scenario)
    stated = {t.get("id") for t in ElementTree.parse(scenario.net).getroot().iter("tlLogic")}
    assert set(network.intersections) == stated
    for signal, intersection in network.intersections.items():
        assert intersection.movements, signal
        try:
            plan = stage_plan(intersection, PlanRequest())
        except InfeasiblePlan as infeasible:
            reason = str(infeasible)
        else:
            reason = f"signal {signal}: planned"
            assert intersection.program
            assert plan.cycle_s == pytest.approx(intersection.program.cycle_s)
        assert reason.startswith(f"signal {signal}: ")
