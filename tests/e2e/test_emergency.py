"""An ambulance at one crossing in SUMO: what is shown there is what was planned, safe, and handed back in step."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from signals.emergency.corridor import CorridorPlanner
from signals.emergency.play import Drive, judge_recording, play_with, play_without, street_approaches
from signals.errors import InputError
from signals.formats.sumo.config import read_scenario
from signals.formats.sumo.network import read_network
from sumo_nets import find_network

ROOT = Path(__file__).resolve().parents[2]
ROUTE = ("west_centre", "west_centre_pocket", "centre_east")
DEPARTS_S, FOLLOWING_S = 400.0, 500.0


def drive(departs_s: float = DEPARTS_S, **changes: object) -> Drive:
    scenario = read_scenario(find_network("single"))
    options = {"following_s": FOLLOWING_S, "report_every_s": 3, "observe_queues": True} | changes
    return Drive(scenario, read_network(scenario), ROUTE, departs_s, **options)  # type: ignore[arg-type]


@pytest.mark.slow
@pytest.mark.parametrize("departs_s", [400.0, 430.0])
def test_priority_is_shown_as_planned_and_breaks_no_rule(departs_s: float) -> None:
    asked = drive(departs_s)
    planner = CorridorPlanner(asked.network, asked.edges)
    without, played = play_without(asked), play_with(asked, planner)
    assert played.findings == ()
    assert played.differing_s == 0
    assert without.travel_s is not None
    assert played.travel_s is not None
    assert played.travel_s <= without.travel_s
    assert played.first_plan is not None
    assert played.everybody.vehicles > 50
    assert 0 < played.cross_streets.vehicles < played.everybody.vehicles


def test_a_recording_with_a_green_cut_short_is_found_out() -> None:
    asked = drive()
    planner = CorridorPlanner(asked.network, asked.edges)
    program = planner.keepers["centre"].rules.program
    whole = [(float(t), program.state_at(t + 0.999)) for t in range(0, 500)]
    assert judge_recording(asked.network, planner, {"centre": whole}, {}) == ((), 0)
    green = next(t for t, state in whole if t > 200 and "G" in state and "y" not in state)
    red = "r" * program.n_links
    cut = [(t, red if green + 2 <= t < green + 8 else state) for t, state in whole]
    _, differing = judge_recording(asked.network, planner, {"centre": cut}, {})
    assert differing >= 4


def test_cross_streets_are_those_at_an_angle() -> None:
    asked = drive()
    across, along = street_approaches(asked.network, ROUTE)
    assert across == {"north_centre_pocket", "south_centre_pocket"}
    assert along == {*ROUTE, "east_centre_pocket"}


def test_reports_come_a_second_apart_at_most() -> None:
    with pytest.raises(ValueError, match="a report every 0 s"):
        drive(report_every_s=0)


def test_the_command_refuses_a_departure_before_the_scenario() -> None:
    done = greensplit(
        "play", find_network("corridor"), "--route", "west_c1,west_c1_pocket,c1_c2", "--depart", "0"
    )
    assert done.returncode == 2
    assert "the scenario begins at 23400 s" in done.stderr


def test_the_command_prints_a_plan() -> None:
    done = greensplit(
        "plan",
        find_network("single"),
        "--route",
        ",".join(ROUTE),
        "--depart",
        "0:06:40",
        "--no-flows",
        "--json",
    )
    assert done.returncode == 0, done.stderr
    facts = json.loads(done.stdout)
    assert [s["signal"] for s in facts["signals"]] == ["centre"]
    assert facts["planned_at_s"] == 340.0


def test_the_command_names_an_unknown_edge() -> None:
    done = greensplit(
        "plan", find_network("single"), "--route", "west_centre,moon", "--depart", "400", "--no-flows"
    )
    assert done.returncode == 2
    assert "has no edge moon" in done.stderr


def test_steps_of_other_than_a_second_are_refused() -> None:
    asked = drive()
    with pytest.raises(InputError, match="give the scenario a step of 1 s"):
        replace(asked, scenario=replace(asked.scenario, step_s=0.5))


def greensplit(command: str, config: Path, *options: str) -> subprocess.CompletedProcess[str]:
    arguments = [sys.executable, "-m", "signals.cli", "emergency", command, str(config), *options]
    return subprocess.run(arguments, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
