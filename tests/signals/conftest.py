"""A crossing of four one-lane streets, ten minutes of light traffic, and a plan in place that is far too long."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from signals.cli import main
from signals.formats.sumo.binaries import find_binary, sumo_environment
from signals.planning import path

CROSSROADS_END_S = 600
CROSSROADS_CONFIG = """<configuration>
    <net-file value="cross.net.xml"/>
    <route-files value="cross.rou.xml"/>
    <begin value="0"/><end value="600"/>
</configuration>
"""
TRAFFIC = """<routes>
    <flow id="we" begin="0" end="600" probability="0.15" from="left0A0" to="A0right0"/>
    <flow id="ns" begin="0" end="600" probability="0.05" from="top0A0" to="A0bottom0"/>
    <flow id="wn" begin="0" end="600" probability="0.03" from="left0A0" to="A0top0"/>
</routes>
"""


@pytest.fixture(scope="session")
def crossroads_files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files of `crossroads`, made once."""
    folder = tmp_path_factory.mktemp("crossroads")
    generate = find_binary("netgenerate")
    command = f"{generate} --grid --grid.number 1 --grid.attach-length 200 --tls.set A0 --no-turnarounds true"
    subprocess.run(
        [*command.split(), "-o", "cross.net.xml"],
        cwd=folder,
        check=True,
        capture_output=True,
        env=sumo_environment(generate),
    )
    (folder / "cross.rou.xml").write_text(TRAFFIC)
    (folder / "cross.sumocfg").write_text(CROSSROADS_CONFIG)
    return folder


@pytest.fixture
def crossroads(crossroads_files: Path, tmp_path: Path) -> Path:
    """Folder with cross.net.xml, cross.rou.xml and cross.sumocfg, the test's own to change.

    netgenerate's program: 42 s for each street, 3 s of yellow after it. Links 0-2 top, 3-5 right, 6-8 bottom,
    9-11 left.
    """
    for file in crossroads_files.iterdir():
        shutil.copy(file, tmp_path)
    return tmp_path


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Planning with so little search that a test can afford it; the paths through it are the same."""
    monkeypatch.setattr(path, "FEWEST_EVALUATIONS", 30)
    monkeypatch.setattr(path, "MOST_EVALUATIONS", 40)
    monkeypatch.setattr(path, "RACE_SEEDS", 2)


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str


@pytest.fixture
def greensplit(capsys: pytest.CaptureFixture[str]) -> Callable[..., Ended]:
    """Runs a command in this process: `greensplit("inspect", path)`."""

    def run(*arguments: object) -> Ended:
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main([str(a) for a in arguments])
        said = capsys.readouterr()
        code = ended.value.code
        return Ended(code if isinstance(code, int) else 0 if code is None else 1, said.out, said.err)

    return run
