"""The shipped networks run in SUMO, rebuild byte for byte, and carry safe programs."""

import gzip
import importlib
import itertools
import math
import shutil
import subprocess
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from sumo_nets import NETWORKS, find_counts, find_network, list_networks
from sumo_nets.draft import SUMO_VERSION, Draft, sumo_binary
from sumo_nets.generator import generate_grid
from sumo_nets.programs import Program, clearance_s, list_intervals, read_signal_links, stage, write_programs

WINDOW_S = 240


def run_sumo(cfg: Path) -> subprocess.CompletedProcess[str]:
    """A few minutes of a scenario from its own begin."""
    begin_s = float(setting(cfg, "begin"))
    return subprocess.run(
        [sumo_binary("sumo"), "-c", str(cfg), "--end", str(begin_s + WINDOW_S), "--seed", "1",
         "--no-step-log", "--duration-log.statistics"],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip


def setting(cfg: Path, name: str) -> str:
    """An option of a ``.sumocfg``."""
    found = ET.parse(cfg).getroot().find(f".//{name}")
    assert found is not None, f"{cfg.name} does not set {name}"
    return found.attrib["value"]


def content(file: Path) -> bytes:
    """Bytes of a file; compressed ones unpacked, since zlib builds differ in how they pack."""
    return gzip.decompress(file.read_bytes()) if file.suffix == ".gz" else file.read_bytes()


def sumo_is_the_release_of_the_shipped_files() -> bool:
    done = subprocess.run(
        [sumo_binary("netconvert"), "--version"], capture_output=True, text=True, check=True
    )
    return f" {SUMO_VERSION}." in done.stdout


@dataclass(frozen=True)
class Signal:
    """A signal as the built network has it, read here without the package's own reader."""

    name: str
    durations_s: list[float]
    states: list[str]
    vehicle_links: set[int]
    crossing_m: dict[int, float]
    foes: dict[int, set[int]]


def read_signals(net_file: Path) -> Iterator[Signal]:
    """Programs, links and conflicts of a network; netconvert numbers links as it numbers requests."""
    root = ET.parse(net_file).getroot()
    edges = {edge.attrib["id"]: edge for edge in root.iter("edge")}
    junctions = {junction.attrib["id"]: junction for junction in root.iter("junction")}
    for logic in root.iter("tlLogic"):
        name = logic.attrib["id"]
        vehicle_links, crossing_m = set(), {}
        for connection in root.iter("connection"):
            if connection.get("tl") != name:
                continue
            index = int(connection.attrib["linkIndex"])
            target = edges[connection.attrib["to"]]
            if target.get("function") == "crossing":
                crossing_m[index] = float(target[0].attrib["length"])
            else:
                vehicle_links.add(index)
        foes = {
            int(request.attrib["index"]): {
                n for n, bit in enumerate(reversed(request.attrib["foes"])) if bit == "1"
            }
            for request in junctions[name].iter("request")
        }
        phases = logic.findall("phase")
        yield Signal(
            name,
            [float(phase.attrib["duration"]) for phase in phases],
            [phase.attrib["state"] for phase in phases],
            vehicle_links,
            crossing_m,
            foes,
        )


def seconds_until(signal: Signal, after: int, links: set[int], signs: str) -> float:
    """Time from the end of phase `after` until one of `links` shows one of `signs`."""
    count = len(signal.states)
    elapsed_s = 0.0
    for step in range(1, count + 1):
        phase = (after + step) % count
        if any(signal.states[phase][link] in signs for link in links):
            return elapsed_s
        elapsed_s += signal.durations_s[phase]
    return math.inf


def net_of(name: str) -> Path:
    cfg = find_network(name)
    return cfg.parent / setting(cfg, "net-file")


ALL_SIGNALS = {f"{name}-{signal.name}": signal for name in NETWORKS for signal in read_signals(net_of(name))}
every_signal = pytest.mark.parametrize("signal", ALL_SIGNALS.values(), ids=ALL_SIGNALS.keys())


def test_an_unknown_network_is_refused_with_the_choices() -> None:
    with pytest.raises(ValueError, match="single, arterial, grid"):
        find_network("nowhere")


@pytest.mark.parametrize("name", NETWORKS)
def test_files_of_the_scenario_exist(name: str) -> None:
    cfg = find_network(name)
    assert name in list_networks()
    files = [setting(cfg, "net-file"), *setting(cfg, "route-files").split(",")]
    assert [file for file in [*files, "README.md", "build.py"] if not (cfg.parent / file).is_file()] == []


@pytest.mark.parametrize("name", NETWORKS)
def test_runs_without_a_warning(name: str) -> None:
    done = run_sumo(find_network(name))
    assert done.returncode == 0
    assert done.stderr == ""
    inserted = int(done.stdout.split("Inserted: ")[1].split()[0])
    assert inserted > 50


@pytest.mark.parametrize("name", NETWORKS)
def test_every_route_is_connected(name: str) -> None:
    """Routes written out edge by edge must be drivable, also those after the window that was run."""
    cfg = find_network(name)
    follows: dict[str, set[str]] = {}
    for connection in ET.parse(net_of(name)).getroot().iter("connection"):
        follows.setdefault(connection.attrib["from"], set()).add(connection.attrib["to"])
    routes = 0
    for file in setting(cfg, "route-files").split(","):
        for route in ET.fromstring(content(cfg.parent / file)).iter("route"):
            edges = route.attrib["edges"].split()
            assert all(b in follows[a] for a, b in itertools.pairwise(edges)), edges
            routes += 1
    assert routes or name == "single"  # single's flows name their ends only


@pytest.mark.parametrize("name", NETWORKS)
def test_demand_comes_in_quarters_of_an_hour(name: str) -> None:
    cfg = find_network(name)
    begin_s, end_s = float(setting(cfg, "begin")), float(setting(cfg, "end"))
    assert (end_s - begin_s) % 900 == 0
    departures: dict[int, float] = {}
    for file in setting(cfg, "route-files").split(","):
        for item in ET.fromstring(content(cfg.parent / file)):
            if item.tag in ("vehicle", "trip"):
                slot = int((float(item.attrib["depart"]) - begin_s) // 900)
                departures[slot] = departures.get(slot, 0.0) + 1.0
            elif item.tag == "flow":
                slot = int((float(item.attrib["begin"]) - begin_s) // 900)
                departures[slot] = departures.get(slot, 0.0) + expected_vehicles(item)
    assert sorted(departures) == list(range(int((end_s - begin_s) / 900)))
    assert max(departures.values()) > 1.2 * min(departures.values())


def expected_vehicles(flow: ET.Element) -> float:
    """Mean number of vehicles of a flow over its own time."""
    length_s = float(flow.attrib["end"]) - float(flow.attrib["begin"])
    if "vehsPerHour" in flow.attrib:
        return length_s * float(flow.attrib["vehsPerHour"]) / 3600.0
    if "probability" in flow.attrib:
        return length_s * float(flow.attrib["probability"])
    return length_s * float(flow.attrib["period"].removeprefix("exp(").removesuffix(")"))


@pytest.mark.parametrize("name", NETWORKS)
def test_build_gives_the_shipped_files(name: str, tmp_path: Path) -> None:
    if not sumo_is_the_release_of_the_shipped_files():
        pytest.skip(f"the shipped networks come from netconvert {SUMO_VERSION}")
    importlib.import_module(f"sumo_nets.{name}.build").build(tmp_path)
    built = sorted(file.name for file in tmp_path.iterdir())
    shipped = find_network(name).parent
    networks = sorted(f.name for f in shipped.iterdir() if f.suffix in (".xml", ".gz", ".sumocfg"))
    assert built == [name for name in networks if name != "counts.csv.gz"]
    assert [file for file in built if content(tmp_path / file) != content(shipped / file)] == []


@pytest.mark.slow
def test_counts_are_built_as_shipped(tmp_path: Path) -> None:
    if not sumo_is_the_release_of_the_shipped_files():
        pytest.skip(f"the shipped counts come from SUMO {SUMO_VERSION}")
    shipped = find_network("arterial").parent
    folder = tmp_path / "arterial"
    shutil.copytree(shipped, folder)
    (folder / "counts.csv.gz").unlink()
    built = importlib.import_module("sumo_nets.arterial.build_counts").build_counts(folder)
    assert built.read_bytes() == find_counts("arterial").read_bytes()


@every_signal
def test_every_link_is_served_once_a_cycle(signal: Signal) -> None:
    links = signal.vehicle_links | set(signal.crossing_m)
    assert {len(state) for state in signal.states} == {len(links)}
    served = {link for link in links for state in signal.states if state[link] in "Gg"}
    assert served == links


@every_signal
def test_conflicting_links_are_never_green_together(signal: Signal) -> None:
    for state in signal.states:
        clashes = [(a, b) for a, foes in signal.foes.items() for b in foes if state[a] == state[b] == "G"]
        assert clashes == []


@every_signal
def test_green_ends_in_yellow_of_three_seconds_and_an_all_red(signal: Signal) -> None:
    ends = 0
    for phase, state in enumerate(signal.states):
        following = (phase + 1) % len(signal.states)
        for link in signal.vehicle_links:
            if state[link] in "Gg":
                assert signal.states[following][link] in "Ggy"
            if state[link] == "y":
                ends += 1
                assert signal.durations_s[phase] >= 3.0
                foes = signal.foes[link] & signal.vehicle_links
                assert seconds_until(signal, phase, foes, "G") >= 1.0
    assert ends >= len(signal.vehicle_links)


@every_signal
def test_pedestrians_have_walk_and_clearance(signal: Signal) -> None:
    for crossing, length_m in signal.crossing_m.items():
        walks = [phase for phase, state in enumerate(signal.states) if state[crossing] == "G"]
        assert sum(signal.durations_s[phase] for phase in walks) >= 7.0
        clearance_s = seconds_until(signal, walks[-1], signal.foes[crossing], "G")
        assert clearance_s >= length_m / 1.07


def test_single_and_arterial_have_crossings_and_grid_has_none() -> None:
    crossings = {name: sum(len(s.crossing_m) for s in read_signals(net_of(name))) for name in NETWORKS}
    assert crossings == {"single": 4, "arterial": 20, "grid": 0, "corridor": 19}


def test_arterial_runs_on_one_cycle() -> None:
    cycles = {round(sum(signal.durations_s), 3) for signal in read_signals(net_of("arterial"))}
    assert cycles == {110.0}


def test_clearances_follow_ite() -> None:
    # 50 km/h and a 20 m path, by hand: 1 + 1.1 x 13.89 / 6.1 = 3.505, (20 + 6.1) / 13.89 = 1.879.
    assert clearance_s(13.89, 20.0) == (3.6, 1.9)
    assert clearance_s(5.0, 0.0) == (3.0, 1.3)  # the floor of the yellow


def crossroads(directory: Path) -> Path:
    draft = Draft()
    for node, x_m, y_m in (("c", 0, 0), ("w", -200, 0), ("e", 200, 0), ("s", 0, -200), ("n", 0, 200)):
        draft.add_node(node, x_m, y_m)
    for end in "wesn":
        draft.add_street("c", end, lanes=1, speed_mps=13.89, priority=1, sidewalk=True)
    draft.add_signal("c", crossings_to=("w", "e"))
    net_file = directory / "cross.net.xml"
    draft.build(net_file)
    return net_file


def test_a_stage_too_short_for_its_crossing_is_refused(tmp_path: Path) -> None:
    links = read_signal_links(crossroads(tmp_path))["c"]
    short = Program((stage("2+6", 20), stage("4+8", 10, walks="EW")))
    with pytest.raises(ValueError, match=r"stage 4\+8: green 10 s, needs \d+ s \(walk 7"):
        list_intervals(links, short)


def test_a_movement_without_a_stage_is_refused(tmp_path: Path) -> None:
    net_file = crossroads(tmp_path)
    with pytest.raises(ValueError, match="no stage serves"):
        write_programs(net_file, {"c": Program((stage("2+6", 20), stage("4+8", 20)))})


@pytest.mark.parametrize(("rows", "columns"), [(1, 1), (2, 3), (5, 5)])
def test_generated_grid_runs(rows: int, columns: int, tmp_path: Path) -> None:
    cfg = generate_grid(rows, columns, seed=7, directory=tmp_path)
    signals = list(read_signals(tmp_path / setting(cfg, "net-file")))
    assert len(signals) == rows * columns
    for signal in signals:
        assert {link for link in signal.vehicle_links for s in signal.states if s[link] in "Gg"} == (
            signal.vehicle_links
        )
        assert 90.0 % sum(signal.durations_s) == pytest.approx(0.0)
    done = run_sumo(cfg)
    assert (done.returncode, done.stderr) == (0, "")


def test_generated_grid_depends_on_its_seed_alone(tmp_path: Path) -> None:
    for folder, seed in (("first", 1), ("again", 1), ("other", 2)):
        generate_grid(2, 3, seed=seed, directory=tmp_path / folder, hours=0.25)
    files = sorted(file.name for file in (tmp_path / "first").iterdir())
    same = [f for f in files if content(tmp_path / "first" / f) == content(tmp_path / "again" / f)]
    assert same == files
    for changed in ("grid.net.xml", "vehicles.rou.xml.gz", "trips.rou.xml"):
        assert content(tmp_path / "first" / changed) != content(tmp_path / "other" / changed)


def test_generator_takes_the_length_of_the_scenario(tmp_path: Path) -> None:
    cfg = generate_grid(1, 2, seed=3, directory=tmp_path, hours=1.5)
    assert setting(cfg, "end") == "5400"
    last = ET.fromstring(content(tmp_path / "vehicles.rou.xml.gz"))[-1]
    assert 4500 <= float(last.attrib["depart"]) < 5400


@pytest.mark.parametrize(("rows", "columns", "hours"), [(0, 3, 1.0), (3, 0, 1.0), (1, 1, 0.05)])
def test_generator_refuses_an_empty_scenario(rows: int, columns: int, hours: float, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="at least"):
        generate_grid(rows, columns, seed=1, directory=tmp_path, hours=hours)
