"""The command line: what each command prints, how it ends, and what it says of input that can't be used."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from signals.cli import EXIT_CODES, app
from signals.cli.nightly import SOME_FAILED
from signals.errors import GreensplitError, SimulationError, UnsafePlan
from signals.formats.sumo.config import read_scenario
from signals.formats.sumo.programs import read_plans
from signals.simulation.run import simulate

Run = Callable[..., Any]
ROOT = Path(__file__).resolve().parents[2]
GOOD, USAGE, INFEASIBLE, FAILED, UNSAFE = 0, 2, 3, 4, 5
"""The README's table of exit codes; `test_exit_codes_are_those_of_the_readme` holds the two together."""


def refused(ended: Any, *words: str, code: int = USAGE) -> None:
    """The command ended with a message of one piece that names these words, and without a traceback."""
    assert ended.code == code, ended
    assert "Traceback" not in ended.err
    assert ended.out == ""
    said = ended.err[ended.err.index("greensplit: ") :]
    assert len(said) < 1500
    for word in words:
        assert word in said, said


def plan(signal: str = "A0", links: int = 12, seconds: int = 20) -> str:
    """An additional file with a program for the crossroads."""
    north, east = ("GGgrrr" * 2)[:links], ("rrrGGg" * 2)[:links]
    lines = "".join(
        f'<phase duration="{s}" state="{state}"/>'
        for s, state in (
            (seconds, north),
            (3, north.replace("G", "y").replace("g", "y")),
            (seconds, east),
            (3, east.replace("G", "y").replace("g", "y")),
        )
    )
    return f'<additional><tlLogic id="{signal}" type="static" programID="x" offset="0">{lines}</tlLogic></additional>'


# ------------------------------------------------------------------------------------------ what is printed


def test_inspect_json_holds_every_signal(greensplit: Run, crossroads: Path) -> None:
    ended = greensplit("inspect", crossroads / "cross.sumocfg", "--json")
    assert ended.code == GOOD
    facts = json.loads(ended.out)
    assert set(facts) == {"scenario", "vehicles", "pedestrians", "window_s", "remarks", "signals"}
    assert facts["window_s"] == [0, 600]
    (signal,) = facts["signals"]
    assert signal["id"] == "A0"
    assert signal["links"] == 12
    assert signal["cycle_s"] == 2 * (42 + 3)  # netgenerate's own program
    assert [s["duration_s"] for s in signal["stages"]] == [42, 42]
    assert {m for s in signal["stages"] for m in s["protected"] + s["permitted"]} == {
        f"{bound} {turn}" for bound in ("NB", "EB", "SB", "WB") for turn in "LTR"
    }
    hours = (facts["window_s"][1] - facts["window_s"][0]) / 3600
    # counts stand in whole quarter hours, and whoever is still on the way has reached no stop line
    assert 0 < signal["flow_vph"] <= facts["vehicles"] / hours


@pytest.mark.usefixtures("quick")
def test_optimize_json_and_file_agree(greensplit: Run, crossroads: Path) -> None:
    output = crossroads / "plans.add.xml"
    ended = greensplit("optimize", crossroads / "cross.sumocfg", "-o", output, "--json", "--seed", 3)
    assert ended.code == GOOD, ended.err
    assert ended.err == ""
    facts = json.loads(ended.out)
    assert {
        "output", "scenario", "plan", "version", "seed", "inputs_sha256", "stages", "clearance", "vehicles",
        "model_runs", "sumo_runs", "chosen", "keeps_plan_in_place", "race", "periods", "switch_times_s", "signals",
        "unplanned", "remarks",
    } <= set(facts)  # fmt: skip
    assert facts["seed"] == 3
    assert facts["race"][0]["name"] == "in place"
    assert facts["chosen"] in [r["name"] for r in facts["race"]]
    written = read_plans([output])["A0"]
    (told,) = facts["signals"]
    assert told["intervals"] == [[i.duration_s, i.state] for i in written.intervals]
    assert told["cycle_s"] == written.cycle_s
    assert told["offset_s"] == written.offset_s
    assert facts["plan"] in output.read_text()


@pytest.mark.usefixtures("quick")
def test_optimize_takes_an_objective_and_signals(greensplit: Run, crossroads: Path) -> None:
    output = crossroads / "plans.add.xml"
    ended = greensplit(
        *(
            "optimize",
            crossroads / "cross.sumocfg",
            "-o",
            output,
            "--json",
            "--signal",
            "A0",
            "--signal",
            "A0",
        ),
        *("--objective", "index", "--stop-weight", 12.5),
    )
    assert ended.code == GOOD, ended.err
    facts = json.loads(ended.out)
    assert facts["objective"] == "index"
    assert facts["stop_weight_s"] == 12.5
    assert facts["retimed"] == ["A0"]
    assert all(r["mean_stops"] > 0 for r in facts["race"])
    assert all(r["modelled"] is not None and r["modelled_delay_s"] is None for r in facts["race"])


def test_optimize_refuses_signals_and_weights_that_cannot_be(greensplit: Run, crossroads: Path) -> None:
    command = ("optimize", crossroads / "cross.sumocfg", "-o", crossroads / "p.add.xml", "--json")
    refused(greensplit(*command, "--signal", "nowhere"), "no signal nowhere", "A0")
    refused(greensplit(*command, "--stop-weight", "nan"), "--stop-weight")
    refused(greensplit(*command, "--stop-weight", 601), "601", "0 to 600")


@pytest.mark.usefixtures("quick")
def test_dropping_stages_tells_what_keeping_them_gives(greensplit: Run, crossroads: Path) -> None:
    output = crossroads / "plans.add.xml"
    ended = greensplit(
        "optimize", crossroads / "cross.sumocfg", "-o", output, "--stages", "drop-protected", "--json"
    )
    assert ended.code == GOOD
    assert json.loads(ended.out)["with_every_stage_kept_s"] > 0


@pytest.mark.usefixtures("quick")
def test_the_report_is_a_page_with_diagrams(greensplit: Run, crossroads: Path) -> None:
    report = crossroads / "new" / "report"
    ended = greensplit(
        "optimize", crossroads / "cross.sumocfg", "-o", crossroads / "p.add.xml", "--report", report
    )
    assert ended.code == GOOD
    page = (report / "index.html").read_text()
    for target in re.findall(r'href="([^"]+)"', page):
        assert (report / target).is_file(), target
    assert json.loads((report / "plan.json").read_text())["signals"][0]["id"] == "A0"


def test_compare_json_agrees_with_single_runs(greensplit: Run, crossroads: Path) -> None:
    path = crossroads / "p.add.xml"
    path.write_text(plan())
    ended = greensplit(
        "compare", crossroads / "cross.sumocfg", path, "--seeds", 2, "--first-seed", 7, "--json"
    )
    assert ended.code == GOOD
    facts = json.loads(ended.out)
    assert facts["seeds"] == [7, 8]
    scenario = read_scenario(crossroads / "cross.sumocfg")
    for figures, plans in ((facts["current"], ()), (facts["alternatives"][0], (path,))):
        alone = [simulate(scenario, seed=seed, plans=plans).mean_delay_s for seed in (7, 8)]
        assert figures["measures"]["mean_delay_s"]["by_seed"] == pytest.approx(alone)
    assert facts["alternatives"][0]["verdict"] in ("adopt", "keep the current plan")


def test_diagram_lists_what_it_drew(greensplit: Run, crossroads: Path) -> None:
    folder = crossroads / "a" / "b"
    ended = greensplit("diagram", crossroads / "cross.sumocfg", "-o", folder, "--json")
    assert ended.code == GOOD
    files = [Path(p) for p in json.loads(ended.out)["files"]]
    assert {p.name for p in files} >= {"index.html", "signal-A0.svg"}
    assert all(p.stat().st_size for p in files)


def test_a_network_with_routes_reads_like_its_config(greensplit: Run, crossroads: Path) -> None:
    by_config = greensplit("inspect", crossroads / "cross.sumocfg", "--json")
    net, routes = crossroads / "cross.net.xml", crossroads / "cross.rou.xml"
    by_parts = greensplit(
        "inspect", "--net", net, "--routes", routes, "--begin", "0:00:00", "--end", "0:10:00", "--json"
    )
    assert by_parts.code == GOOD
    assert json.loads(by_parts.out)["signals"] == json.loads(by_config.out)["signals"]


def test_tables_are_whole_in_a_pipe(greensplit: Run, crossroads: Path) -> None:
    text = (crossroads / "cross.net.xml").read_text()
    # as long as OpenStreetMap makes them; brackets must not be taken for markup
    long = "cluster_" + "1234567890_" * 10 + "[/b]"
    (crossroads / "cross.net.xml").write_text(
        text.replace('tlLogic id="A0"', f'tlLogic id="{long}"').replace('tl="A0"', f'tl="{long}"')
    )
    ended = greensplit("inspect", crossroads / "cross.sumocfg")
    assert ended.code == GOOD, ended.err
    assert max(map(len, ended.out.splitlines())) <= 120
    assert "[/b]" in ended.out


def test_a_terminal_without_unicode_is_no_reason_to_fail(crossroads: Path) -> None:
    for more in ([], ["--json"]):
        done = subprocess.run(
            [sys.executable, "-m", "signals.cli", "inspect", str(crossroads / "cross.sumocfg"), *more],
            cwd=ROOT,
            env={**os.environ, "PYTHONIOENCODING": "ascii"},
            capture_output=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == GOOD, done.stderr
        assert b"A0" in done.stdout


# ----------------------------------------------------------------------------------------------- exit codes


def test_exit_codes_are_those_of_the_readme() -> None:
    table = dict(re.findall(r"^\| (\d) \| (.+) \|$", (ROOT / "README.md").read_text(), flags=re.M))
    assert set(table) == {"0", "1", *(str(code) for code in EXIT_CODES.values()), str(SOME_FAILED)}
    assert "safety" in table[str(EXIT_CODES[UnsafePlan])]
    assert "SUMO" in table[str(EXIT_CODES[SimulationError])]


@pytest.mark.parametrize("kind", EXIT_CODES)
def test_each_error_has_its_code(
    kind: type[GreensplitError], greensplit: Run, crossroads: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise kind(["one finding"]) if kind is UnsafePlan else kind("what, where, what to do")

    monkeypatch.setattr("signals.planning.read_case", fail)
    ended = greensplit("inspect", crossroads / "cross.sumocfg", "--json")
    refused(ended, "one finding" if kind is UnsafePlan else "what to do", code=EXIT_CODES[kind])


def test_every_command_takes_json() -> None:
    groups = [group.typer_instance for group in app.registered_groups]
    assert len(groups) == 14
    for command in [c for group in (app, *groups) if group for c in group.registered_commands]:
        assert command.callback is not None
        if command.callback.__name__ == "serve":
            continue  # its output is its log, which is JSON where nobody looks on
        assert "as_json" in command.callback.__annotations__, command.callback.__name__


@pytest.mark.parametrize(
    "arguments", [["frobnicate"], ["optimize"], ["compare"], ["inspect", "--seeds", "x"], []]
)
def test_wrong_usage(arguments: list[str], greensplit: Run) -> None:
    ended = greensplit(*arguments)
    assert ended.code == USAGE
    assert "Traceback" not in ended.err


# --------------------------------------------------------------------------------------- files of all sorts

BOMB = '<?xml version="1.0"?><!DOCTYPE l [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;">]><{root}>&b;</{root}>'
UNUSABLE = {
    "broken": ("<configuration><net-file", "not well-formed"),
    "empty": ("", "is empty"),
    "bomb": (BOMB.format(root="configuration"), "entities"),
    "binary": ("\x00\x01\x02\x7fELF", "not well-formed"),
    "network": ('<net version="1.20"/>', "--net"),
    "nothing": ("<configuration/>", "net-file"),
}


@pytest.mark.parametrize("name", UNUSABLE)
def test_a_config_that_is_none(name: str, greensplit: Run, tmp_path: Path) -> None:
    text, reason = UNUSABLE[name]
    path = tmp_path / f"{name}.sumocfg"
    path.write_text(text)
    refused(greensplit("inspect", path), str(path), reason)


def test_a_config_that_is_absent_or_a_folder(greensplit: Run, tmp_path: Path) -> None:
    refused(greensplit("inspect", tmp_path / "none.sumocfg"), str(tmp_path / "none.sumocfg"), "no such file")
    refused(greensplit("inspect", tmp_path), str(tmp_path), "folder")


def test_a_file_without_permission(
    greensplit: Run, crossroads: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # root may read everything, so the refusal is played
    opened = Path.open

    def deny(self: Path, *arguments: Any, **options: Any) -> Any:
        if self.name == "cross.rou.xml":
            raise PermissionError(13, "Permission denied")
        return opened(self, *arguments, **options)

    monkeypatch.setattr(Path, "open", deny)
    refused(greensplit("inspect", crossroads / "cross.sumocfg"), "cross.rou.xml", "permission")


@pytest.mark.parametrize("file", ["cross.net.xml", "cross.rou.xml"])
@pytest.mark.parametrize("what", ["absent", "broken", "empty", "bomb", "cut"])
def test_a_file_of_the_scenario_that_is_spoilt(
    file: str, what: str, greensplit: Run, crossroads: Path
) -> None:
    path = crossroads / file
    text = path.read_text()
    path.unlink()
    if what != "absent":
        root = "net" if "net" in file else "routes"
        path.write_text(
            {"broken": f"<{root}><a></b>", "empty": "", "bomb": BOMB.format(root=root)}.get(
                what, text[: len(text) // 2]
            )
        )
    refused(greensplit("inspect", crossroads / "cross.sumocfg"), str(path))


@pytest.mark.parametrize(
    "damage", [(' shape="[^"]*"', ""), ("<lane ", "<lone "), ('linkIndex="1"', 'linkIndex="x"')]
)
def test_a_network_that_sumolib_stumbles_over(
    damage: tuple[str, str], greensplit: Run, crossroads: Path
) -> None:
    path = crossroads / "cross.net.xml"
    path.write_text(re.sub(*damage, path.read_text()))
    refused(greensplit("inspect", crossroads / "cross.sumocfg"), str(path), "netconvert")


def test_a_network_without_signals(greensplit: Run, crossroads: Path) -> None:
    path = crossroads / "cross.net.xml"
    text = re.sub(r"<tlLogic.*?</tlLogic>", "", path.read_text(), flags=re.S)
    path.write_text(re.sub(r' tl="A0" linkIndex="\d+"', "", text).replace("traffic_light", "priority"))
    refused(greensplit("inspect", crossroads / "cross.sumocfg"), str(path), "no signals")


def test_a_route_that_leads_nowhere_is_sumos_to_refuse(greensplit: Run, crossroads: Path) -> None:
    (crossroads / "cross.rou.xml").write_text(
        '<routes><trip id="t" depart="0" from="nowhere" to="A0top0"/></routes>'
    )
    refused(greensplit("inspect", crossroads / "cross.sumocfg"), "cross.sumocfg", "nowhere")


def test_sumos_refusal_is_told_once(greensplit: Run, crossroads: Path) -> None:
    path = crossroads / "cross.net.xml"
    path.write_text(re.sub(r"<tlLogic.*?</tlLogic>", "", path.read_text(), flags=re.S))
    ended = greensplit("inspect", crossroads / "cross.sumocfg")
    refused(ended, "A0")
    assert ended.err.count("The tls 'A0' is not known") == 1


@pytest.mark.parametrize("where", ["net", "routes", "net in config", "folder"])
def test_a_comma_in_a_name(where: str, greensplit: Run, crossroads: Path) -> None:
    # SUMO takes such a name for two files (--net, --routes and the like are lists)
    net, routes = crossroads / "cross.net.xml", crossroads / "cross.rou.xml"
    if where == "net":
        net = net.rename(crossroads / "a,b.net.xml")
    elif where == "routes":
        routes = routes.rename(crossroads / "a,b.rou.xml")
    elif where == "net in config":
        net.rename(crossroads / "a,b.net.xml")
        config = crossroads / "cross.sumocfg"
        config.write_text(config.read_text().replace("cross.net.xml", "a,b.net.xml"))
        refused(greensplit("inspect", config), "a,b.net.xml", "commas", "rename")
        return
    else:
        (crossroads / "x,y").mkdir()
        net = Path(shutil.copy(net, crossroads / "x,y"))
    refused(greensplit("inspect", "--net", net, "--routes", routes), ",", "commas", "rename")


# ----------------------------------------------------------------------------------------------- options


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--begin", "noon"], ["--begin", "noon", "hh:mm:ss"]),
        (["--end", "1:2:3:4:5"], ["--end", "hh:mm:ss"]),
        (["--end", "inf"], ["--end", "inf"]),
        (["--begin", "nan"], ["--begin", "nan"]),
        (["--begin=-5"], ["-5", "0"]),
        (["--begin", "0:05:00", "--end", "240"], ["240", "300"]),
        (["--begin", "600"], ["600"]),
        (["--routes", "x.rou.xml"], ["--net"]),
    ],
)
def test_odd_windows(options: list[str], words: list[str], greensplit: Run, crossroads: Path) -> None:
    refused(greensplit("inspect", crossroads / "cross.sumocfg", *options), *words)


def test_a_network_alone_has_no_demand(greensplit: Run, crossroads: Path) -> None:
    refused(greensplit("inspect", "--net", crossroads / "cross.net.xml"), "--routes")
    refused(greensplit("inspect"), "CONFIG", "--net")


def test_a_window_of_ones_own_is_counted_and_simulated(greensplit: Run, crossroads: Path) -> None:
    config = crossroads / "cross.sumocfg"
    # one car every 10 s: 60 in the whole window, 18 in [120, 300)
    flow = '<flow id="f" begin="0" end="600" period="10" from="left0A0" to="A0right0"/>'
    (crossroads / "cross.rou.xml").write_text(f"<routes>{flow}</routes>")
    facts = json.loads(greensplit("inspect", config, "--json").out)
    part = json.loads(greensplit("inspect", config, "--begin", "0:02:00", "--end", "0:05:00", "--json").out)
    assert (facts["vehicles"], part["vehicles"]) == (60, 18)
    assert part["window_s"] == [120, 300]
    path = crossroads / "p.add.xml"
    path.write_text(plan())
    compared = json.loads(
        greensplit("compare", config, path, "--seeds", 1, "--begin", 120, "--end", 300, "--json").out
    )
    assert compared["current"]["demand"] == [18]


@pytest.mark.parametrize(
    ("options", "word"),
    [
        (["--min-cycle", "90", "--max-cycle", "60"], "90"),
        (["--max-cycle", "nan"], "--max-cycle"),
        (["--walking-speed", "nan"], "--walking-speed"),
        (["--walking-speed", "0"], "walking speed"),
    ],
)
def test_figures_that_make_no_plan(options: list[str], word: str, greensplit: Run, crossroads: Path) -> None:
    output = crossroads / "p.add.xml"
    refused(greensplit("optimize", crossroads / "cross.sumocfg", "-o", output, *options), word)
    assert not output.exists()


@pytest.mark.usefixtures("quick")
def test_a_budget_is_for_polishing_with_sumo(greensplit: Run, crossroads: Path) -> None:
    config, output = crossroads / "cross.sumocfg", crossroads / "p.add.xml"
    refused(greensplit("optimize", config, "-o", output, "--budget", "3"), "--budget 3", "--refine sumo")
    wrong = ("optimize", config, "-o", output, "--refine", "sumo", "--budget")
    refused(greensplit(*wrong, "0"), "more than 0")
    refused(greensplit(*wrong, "nan"), "more than 0")
    assert not output.exists()
    alone = greensplit("optimize", config, "-o", output, "--refine", "none", "--json")
    assert alone.code == 0
    assert json.loads(alone.out)["sumo_runs"] == 0


# -------------------------------------------------------------------------------------------------- output


@pytest.fixture
def no_planning(monkeypatch: pytest.MonkeyPatch) -> None:
    """A place that can't be written to is found before the work is done."""

    def fail(*_: object, **__: object) -> None:
        raise AssertionError("planned, though the plan can't be written")

    monkeypatch.setattr("signals.planning.plan_case", fail)


@pytest.mark.usefixtures("no_planning")
def test_places_that_no_plan_can_be_written_to(
    greensplit: Run, crossroads: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, net = crossroads / "cross.sumocfg", crossroads / "cross.net.xml"
    before = net.read_bytes()
    refused(greensplit("optimize", config, "-o", crossroads / "no" / "p.xml"), "folder", "no")
    refused(greensplit("optimize", config, "-o", crossroads), "folder")
    refused(greensplit("optimize", config, "-o", net), "cross.net.xml", "another file")
    refused(greensplit("optimize", config, "-o", crossroads / "p.xml", "--report", net), "cross.net.xml")
    # root may write everywhere, so the refusal is played
    monkeypatch.setattr(os, "access", lambda _path, mode, **_: mode != os.W_OK)
    refused(greensplit("optimize", config, "-o", crossroads / "p.xml"), "permission")
    assert net.read_bytes() == before
    assert sorted(p.name for p in crossroads.iterdir()) == ["cross.net.xml", "cross.rou.xml", "cross.sumocfg"]


@pytest.mark.usefixtures("quick")
def test_a_full_disk_leaves_the_old_file_whole(
    greensplit: Run, crossroads: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = crossroads / "p.add.xml"
    output.write_text("<old/>")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    files = sorted(crossroads.iterdir())
    refused(greensplit("optimize", crossroads / "cross.sumocfg", "-o", output), "No space left")
    assert output.read_text() == "<old/>"
    assert sorted(crossroads.iterdir()) == files


def test_folders_that_are_files(greensplit: Run, crossroads: Path) -> None:
    net = crossroads / "cross.net.xml"
    refused(greensplit("diagram", crossroads / "cross.sumocfg", "-o", net), "cross.net.xml", "folder")
    refused(greensplit("demo", "-o", net), "cross.net.xml", "folder")
    refused(greensplit("demo", "--network", "Atlantis"), "Atlantis", "single")


# -------------------------------------------------------------------------------------------- other networks


@pytest.mark.parametrize("command", ["compare", "diagram"])
@pytest.mark.parametrize(
    ("text", "words"),
    [
        (plan(signal="B7"), ["B7", "another network"]),
        (plan(links=6), ["A0", "6", "12"]),
        ("<additional/>", ["no signal program"]),
        ("<net version='1.20'/>", ["network"]),
        ("", ["empty"]),
        (BOMB.format(root="additional"), ["entities"]),
        (None, ["no such file"]),
    ],
)
def test_a_plan_that_is_not_for_this_network(
    command: str, text: str | None, words: list[str], greensplit: Run, crossroads: Path
) -> None:
    path = crossroads / "p.add.xml"
    if text is not None:
        path.write_text(text)
    refused(greensplit(command, crossroads / "cross.sumocfg", path), str(path), *words)


# ------------------------------------------------------------------------------------- demand and constraints


@pytest.mark.usefixtures("quick")
def test_demand_of_zero_keeps_the_plan(greensplit: Run, crossroads: Path) -> None:
    (crossroads / "cross.rou.xml").write_text("<routes/>")
    ended = greensplit("optimize", crossroads / "cross.sumocfg", "-o", crossroads / "p.add.xml", "--json")
    facts = json.loads(ended.out)
    assert facts["keeps_plan_in_place"]
    assert facts["signals"][0]["cycle_s"] == 90


@pytest.mark.usefixtures("quick")
def test_demand_of_zero_is_said_by_each_command(greensplit: Run, crossroads: Path) -> None:
    (crossroads / "cross.rou.xml").write_text("<routes/>")
    config, output = crossroads / "cross.sumocfg", crossroads / "p.add.xml"
    assert "no vehicle is due" in greensplit("inspect", config).out
    ended = greensplit("optimize", config, "-o", output, "--json")
    assert ended.code == GOOD, ended.err
    assert any("no vehicle is due" in r for r in json.loads(ended.out)["remarks"])
    assert "Nobody is due" in greensplit("optimize", config, "-o", output).out
    compared = greensplit("compare", config, output, "--seeds", 2)
    assert "nobody is due" in compared.out
    assert "nan" not in compared.out
    assert "-0.0" not in compared.out


@pytest.mark.usefixtures("quick")
def test_demand_beyond_capacity_is_planned_and_shown(greensplit: Run, crossroads: Path) -> None:
    # a car a second each way: twice what one lane with all of the time could discharge (HCM: 1900 veh/h)
    flows = "".join(
        f'<flow id="{a}" begin="0" end="600" period="1" from="{a}0A0" to="A0{b}0"/>'
        for a, b in (("left", "right"), ("top", "bottom"))
    )
    (crossroads / "cross.rou.xml").write_text(f"<routes>{flows}</routes>")
    config, output = crossroads / "cross.sumocfg", crossroads / "p.add.xml"
    inspected = json.loads(greensplit("inspect", config, "--json").out)
    assert inspected["signals"][0]["vc_ratio"] > 1
    assert inspected["signals"][0]["level_of_service"] == "F"
    assert any("found no room" in r for r in inspected["remarks"])
    ended = greensplit("optimize", config, "-o", output, "--json")
    assert ended.code == GOOD, ended.err
    assert json.loads(ended.out)["vehicles"] == 1200
    assert read_plans([output])["A0"].cycle_s <= 180


def test_constraints_that_fit_no_cycle(greensplit: Run, crossroads: Path) -> None:
    path = crossroads / "cross.net.xml"
    # 87 + 3 twice is the longest cycle already, and ITE wants 3.3 s of yellow at 50 km/h
    text = re.sub(r'duration="42"', 'duration="87" minDur="87"', path.read_text())
    path.write_text(text)
    output = crossroads / "p.add.xml"
    ended = greensplit("optimize", crossroads / "cross.sumocfg", "-o", output, "--clearance", "ite")
    refused(ended, "A0", "180", "longest cycle", code=INFEASIBLE)
    assert not output.exists()
    # inspect shows the signal all the same, with the reason as soon as it has none
    assert greensplit("inspect", crossroads / "cross.sumocfg").code == GOOD
