"""Groups cut out of cities: every signal as it was, nothing of the others, roads long enough, and SUMO takes it."""

from __future__ import annotations

import random
import subprocess
from importlib.util import find_spec
from pathlib import Path

import pytest

from signals.errors import InputError
from signals.formats.sumo.binaries import find_binary, sumo_environment
from signals.formats.sumo.config import Scenario, read_scenario, scenario_of
from signals.formats.sumo.network import read_network
from signals.formats.sumo.programs import read_programs
from signals.formats.sumo.running import sumo_command
from signals.model.network import Network
from signals.simulation.cut import Roads, approaches_of, cut_scenario, exits_of
from sumo_nets import find_network
from sumo_nets.generator import generate_grid

BLOCK = tuple(f"r{row}c{column}" for row in (1, 2, 3) for column in (1, 2, 3))


@pytest.fixture(scope="module")
def grid(tmp_path_factory: pytest.TempPathFactory) -> Scenario:
    """A grid of 5 x 5 signals."""
    return read_scenario(generate_grid(5, 5, seed=2, hours=0.25, directory=tmp_path_factory.mktemp("grid")))


@pytest.fixture(scope="module")
def city(grid: Scenario) -> Network:
    return read_network(grid)


def sumo_takes(cut: Scenario) -> None:
    """SUMO loads the cut and runs two seconds of it without an error."""
    command = sumo_command(cut, ["--end", f"{cut.begin_s + 2}", "--no-step-log"])
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env=sumo_environment(find_binary("sumo"))
    )
    assert done.returncode == 0, done.stderr
    assert "Error" not in done.stderr


def same_signals(city: Network, cut: Network, signals: tuple[str, ...]) -> None:
    assert sorted(cut.intersections) == sorted(signals)
    for signal in signals:
        before, after = city.intersections[signal], cut.intersections[signal]
        assert after.n_links == before.n_links
        assert after.movements == before.movements
        assert after.conflicts == before.conflicts
        assert after.program == before.program
        assert after.crossings == before.crossings
        assert after.junctions == before.junctions
        for mine, own in zip(before.connections, after.connections, strict=True):
            paths = [
                [
                    (c.from_edge, c.from_lane, c.to_edge, c.to_lane, c.length_m, c.waiting_m, c.priority)
                    for c in (network.connections[k] for k in positions)
                ]
                for network, positions in ((city, mine), (cut, own))
            ]
            assert paths[0] == paths[1]


def test_a_block_of_a_grid_keeps_its_signals_and_no_others(
    grid: Scenario, city: Network, tmp_path: Path
) -> None:
    cut = cut_scenario(grid, city, BLOCK, tmp_path)
    network = read_network(cut)
    same_signals(city, network, BLOCK)
    sumo_takes(cut)
    wanted = {*approaches_of(city, BLOCK), *exits_of(city, BLOCK)}
    assert wanted <= set(network.edges)
    assert len(network.edges) < len(city.edges) * 0.6
    assert all(network.edges[edge] == city.edges[edge] for edge in network.edges)
    assert (cut.begin_s, cut.end_s, cut.routes) == (grid.begin_s, grid.end_s, ())


def test_the_road_into_a_pocket_is_kept(grid: Scenario, city: Network, tmp_path: Path) -> None:
    """Where an approach begins with a widening, the road before it belongs to its queue."""
    network = read_network(cut_scenario(grid, city, BLOCK, tmp_path))
    pockets = [a for a in approaches_of(city, BLOCK) if a.endswith("_pocket")]
    assert pockets
    roads = Roads.of(network)
    for pocket in pockets:
        trunk = roads.trunk(pocket, (), 1000.0)
        assert len(trunk) == 2
        assert sum(network.edges[e].length_m for e in trunk) > 150


def test_a_group_in_two_parts_is_cut_as_well(grid: Scenario, city: Network, tmp_path: Path) -> None:
    signals = ("r0c0", "r4c4")
    cut = cut_scenario(grid, city, signals, tmp_path)
    same_signals(city, read_network(cut), signals)
    sumo_takes(cut)


@pytest.mark.parametrize("name", ["single", "arterial", "corridor"])
def test_a_whole_network_comes_out_as_it_went_in(name: str, tmp_path: Path) -> None:
    scenario = read_scenario(find_network(name))
    city = read_network(scenario)
    signals = tuple(sorted(city.intersections))
    cut = cut_scenario(scenario, city, signals, tmp_path)
    same_signals(city, read_network(cut), signals)
    sumo_takes(cut)


@pytest.mark.parametrize("name", ["cologne8", "ingolstadt7", "ingolstadt21"])
def test_signals_of_real_cities_stay_as_they_are(name: str, tmp_path: Path) -> None:
    spec = find_spec("sumo_rl")
    if spec is None or not spec.submodule_search_locations:
        pytest.skip("sumo-rl, which ships RESCO's networks, isn't installed")
    folder = Path(next(iter(spec.submodule_search_locations))) / "nets" / "RESCO" / name
    scenario = read_scenario(folder / f"{name}.sumocfg")
    city = read_network(scenario)
    names = sorted(s for s, i in city.intersections.items() if i.movements)
    chosen = random.Random(4)
    for size in (1, len(names) // 2):
        signals = tuple(sorted(chosen.sample(names, size)))
        cut = cut_scenario(scenario, city, signals, tmp_path / str(size))
        same_signals(city, read_network(cut), signals)
        sumo_takes(cut)


def test_programs_of_additional_files_are_kept(grid: Scenario, city: Network, tmp_path: Path) -> None:
    program = city.intersections["r1c1"].program
    other = city.intersections["r0c0"].program
    assert program is not None
    assert other is not None
    rows = "".join(
        f'<tlLogic id="{p.intersection}" type="actuated" programID="field" offset="7">'
        + "".join(f'<phase duration="{i.duration_s + 1}" state="{i.state}"/>' for i in p.intervals)
        + '<param key="max-gap" value="2"/></tlLogic>'
        for p in (program, other)
    )
    (tmp_path / "field.add.xml").write_text(
        f'<additional>{rows}<vType id="odd"/><WAUT id="w" refTime="0" startProg="field"/>'
        '<wautJunction wautID="w" junctionID="r1c1"/><WAUT id="x" refTime="0" startProg="field"/>'
        '<wautJunction wautID="x" junctionID="r0c0"/></additional>'
    )
    scenario = scenario_of(grid.net, [], [tmp_path / "field.add.xml"])
    cut = cut_scenario(scenario, read_network(scenario), BLOCK, tmp_path / "cut")
    kept = read_programs(cut)[0]["r1c1"]
    assert (kept.program, kept.kind, kept.offset_s) == ("field", "actuated", 7.0)
    text = cut.additional[0].read_text()
    assert 'key="max-gap"' in text
    assert text.count("<tlLogic") == text.count("<WAUT") == text.count("<wautJunction") == 1
    assert "r0c0" not in text


def test_the_same_group_gives_the_same_bytes(grid: Scenario, city: Network, tmp_path: Path) -> None:
    first = cut_scenario(grid, city, BLOCK, tmp_path / "a")
    second = cut_scenario(grid, city, BLOCK[::-1], tmp_path / "b")
    assert first.net.read_bytes() == second.net.read_bytes()


def test_a_group_that_cannot_be_cut_is_refused(grid: Scenario, city: Network, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="name at least one"):
        cut_scenario(grid, city, (), tmp_path)
    with pytest.raises(InputError, match="'nowhere' isn't in"):
        cut_scenario(grid, city, ("r1c1", "nowhere"), tmp_path)


def test_a_signal_that_comes_out_different_is_refused(grid: Scenario, city: Network, tmp_path: Path) -> None:
    """The network was read before its file changed: what was planned on isn't what would be simulated."""
    changed = tmp_path / "changed.net.xml"
    text = grid.net.read_text()
    start = text.index('<tlLogic id="r1c1"')
    changed.write_text(text[:start] + text[start:].replace('offset="', 'offset="1', 1))
    assert changed.read_text() != text
    with pytest.raises(InputError, match=r"signal r1c1 isn't the same in the cut.*program differs"):
        cut_scenario(scenario_of(changed, []), city, BLOCK, tmp_path / "cut")
