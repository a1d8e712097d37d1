"""A crossing of four one-lane streets with more traffic on one of them than it can take."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from signals.formats.sumo.binaries import find_binary, sumo_environment
from signals.formats.sumo.config import Scenario, read_scenario

BEGIN_S, END_S = 100, 700

CONFIG = """<configuration>
    <input>
        <net-file value="cross.net.xml"/>
        <route-files value="cross.rou.xml"/>
        <additional-files value="types.add.xml"/>
    </input>
    {more}
</configuration>
"""
WINDOW = f'<time><begin value="{BEGIN_S}"/><end value="{END_S}"/></time>'

NORTH_SOUTH, EAST_WEST = "GGgrrrGGgrrr", "rrrGGgrrrGGg"
"""The crossing's two stages; its link order is 0-2 top, 3-5 right, 6-8 bottom, 9-11 left."""
FAIR = ((30, NORTH_SOUTH), (3, "yyyrrryyyrrr"), (24, EAST_WEST), (3, "rrryyyrrryyy"))
STARVED = ((110, NORTH_SOUTH), (3, "yyyrrryyyrrr"), (4, EAST_WEST), (3, "rrryyyrrryyy"))
"""Four seconds of green in two minutes for the main street, left to right."""


def program(*phases: tuple[int, str], name: str = "new") -> str:
    """An additional file with one static program for the crossing."""
    lines = "".join(f'<phase duration="{seconds}" state="{state}"/>' for seconds, state in phases)
    opening = f'<tlLogic id="A0" type="static" programID="{name}" offset="0">'
    return f"<additional>{opening}{lines}</tlLogic></additional>"


@pytest.fixture(scope="session")
def crossing(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the crossing: cross.sumocfg over [100, 700) s, and endless.sumocfg without an end.

    Traffic: left → right a car every 5 s; bottom → top one every 15 s; top → bottom one a second, beyond
    any capacity; one car due half a second before the end.
    """
    folder = tmp_path_factory.mktemp("crossing")
    generate = find_binary("netgenerate")
    command = f"{generate} --grid --grid.number 1 --grid.attach-length 200 --tls.set A0 --no-turnarounds true"
    subprocess.run(
        [*command.split(), "-o", "cross.net.xml"],
        cwd=folder,
        check=True,
        capture_output=True,
        env=sumo_environment(generate),
    )
    (folder / "types.add.xml").write_text('<additional><vType id="car" sigma="0.5"/></additional>')
    main = [f'<vehicle id="m{t}" type="car" depart="{t}"><route edges="left0A0 A0right0"/></vehicle>'
            for t in range(BEGIN_S, END_S, 5)]  # fmt: skip
    late = f'<trip id="late" type="car" depart="{END_S - 0.5}" from="right0A0" to="A0left0"/>'
    always = f'begin="{BEGIN_S}" end="{END_S}"'
    flows = (
        '<route id="north" edges="bottom0A0 A0top0"/>'
        f'<flow id="side" type="car" {always} period="15" route="north"/>'
        f'<flow id="over" type="car" {always} period="1" from="top0A0" to="A0bottom0"/>'
    )
    (folder / "cross.rou.xml").write_text(f"<routes>{flows}{''.join(main)}{late}</routes>")
    (folder / "cross.sumocfg").write_text(CONFIG.format(more=WINDOW))
    (folder / "endless.sumocfg").write_text(CONFIG.format(more='<time><begin value="100"/></time>'))
    return folder


@pytest.fixture(scope="session")
def scenario(crossing: Path) -> Scenario:
    """The crossing over its ten minutes."""
    return read_scenario(crossing / "cross.sumocfg")


@pytest.fixture
def plan_file(tmp_path: Path) -> Callable[..., Path]:
    """Writes a plan for the crossing: `plan_file("name", (seconds, state), ...)`."""

    def write(name: str, *phases: tuple[int, str]) -> Path:
        path = tmp_path / f"{name}.add.xml"
        path.write_text(program(*phases, name=name))
        return path

    return write
