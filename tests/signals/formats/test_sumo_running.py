"""SUMO's process: what it may write, how it ends, what it says, and how it is led live."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from signals.errors import InputError, SimulationError
from signals.formats.sumo.config import Scenario, read_scenario
from signals.formats.sumo.live import LiveSumo
from signals.formats.sumo.running import SumoProcess, how_it_ended, read_messages, sumo_command
from sumo_nets import find_network

QUIET = ("--no-step-log", "true", "--duration-log.disable", "true", "--xml-validation", "never")


@pytest.fixture
def scenario() -> Scenario:
    return read_scenario(find_network("single"))


def wishing(folder: Path, *outputs: str) -> Scenario:
    """The shipped crossing, with a .sumocfg that asks for these outputs in its own folder."""
    for file in find_network("single").parent.iterdir():
        if file.is_file():
            (folder / file.name).write_bytes(file.read_bytes())
    config = folder / "single.sumocfg"
    wishes = "".join(f'<{name} value="{name}.out"/>' for name in outputs)
    config.write_text(config.read_text().replace("<input>", f"<report>{wishes}</report><input>"))
    return read_scenario(config)


def run(scenario: Scenario, folder: Path, *options: str) -> int | None:
    end = str(scenario.begin_s + 5)
    with SumoProcess(
        sumo_command(scenario, ["--end", end, *QUIET, *options]), folder / "messages.txt"
    ) as sumo:
        return sumo.wait(60)


def test_what_a_config_would_write_is_not_written_whatever_it_is_called(tmp_path: Path) -> None:
    wishes = ("summary", "tripinfo", "vehroutes", "netstate", "log-file", "message-log", "queue-output")
    scenario = wishing(tmp_path, *wishes)
    assert run(scenario, tmp_path) == 0
    assert not list(tmp_path.glob("*.out"))


@pytest.mark.parametrize("wish", ["tripinfo", "tripinfo-output"])
@pytest.mark.parametrize("option", ["--tripinfo={}", "--tripinfo-output={}", "--tripinfo-output {}"])
def test_an_output_of_the_config_may_be_asked_for_elsewhere(tmp_path: Path, wish: str, option: str) -> None:
    scenario = wishing(tmp_path, wish)
    assert run(scenario, tmp_path, *option.format(tmp_path / "trips.xml").split(" ")) == 0
    assert "<tripinfos" in (tmp_path / "trips.xml").read_text()
    assert not list(tmp_path.glob("*.out"))


def test_an_additional_file_whose_path_sumo_would_split_is_refused(scenario: Scenario) -> None:
    with pytest.raises(InputError, match=r"a,b\.xml: SUMO splits its lists of files at commas"):
        sumo_command(scenario, [], [Path("/a,b.xml")])


def test_messages_come_one_by_one_with_their_further_lines(tmp_path: Path) -> None:
    path = tmp_path / "messages.txt"
    path.write_text(
        "pj_obj_create: Cannot find proj.db\n"
        "Warning: The vehicle 'a' waits.\n"
        "Error: A value for the option 'x' was already set.\n Possible synonymes: y\n"
        "\n"
        "Quitting (on error).\n"
    )
    assert list(read_messages(path)) == [
        ("", "pj_obj_create: Cannot find proj.db"),
        ("Warning", "The vehicle 'a' waits."),
        ("Error", "A value for the option 'x' was already set. Possible synonymes: y"),
        ("", "Quitting (on error)."),
    ]


def test_how_a_process_has_ended_is_said() -> None:
    assert how_it_ended(-9, []) == "SUMO was killed by SIGKILL"
    assert (
        how_it_ended(1, ["No network.", "No routes."]) == "SUMO ended with an error: No network. No routes."
    )
    assert how_it_ended(3, []) == "SUMO ended with an error: exit code 3, without a message"


# ---- live ----------------------------------------------------------------------------------------------------


def live(scenario: Scenario, folder: Path, *options: str) -> LiveSumo:
    command = sumo_command(scenario, [*QUIET, "--statistic-output", str(folder / "statistic.xml"), *options])
    return LiveSumo(command, folder / "messages.txt", scenario.name)


def test_a_live_run_goes_step_by_step_and_leaves_its_outputs(scenario: Scenario, tmp_path: Path) -> None:
    with live(scenario, tmp_path) as sumo:
        connection = sumo.connect()
        with sumo.answering():
            connection.simulationStep()
            assert connection.simulation.getTime() == scenario.begin_s + 1
        sumo.finish()
        assert not sumo.running
    assert "<statistics" in (tmp_path / "statistic.xml").read_text()


def test_a_process_that_takes_too_long_is_ended(scenario: Scenario, tmp_path: Path) -> None:
    with live(scenario, tmp_path) as sumo:
        assert sumo.running
        assert sumo.wait(0.2) is None  # it waits for whoever leads it
        assert not sumo.running


def test_a_live_run_that_does_not_start_says_why(scenario: Scenario, tmp_path: Path) -> None:
    with (
        live(scenario, tmp_path, "--no-such-option") as sumo,
        pytest.raises(SimulationError, match=r"single: SUMO doesn't start: .*no-such-option"),
    ):
        sumo.connect()


def test_a_command_that_sumo_refuses_is_named(scenario: Scenario, tmp_path: Path) -> None:
    with live(scenario, tmp_path) as sumo:
        connection = sumo.connect()
        with (
            pytest.raises(SimulationError, match=r"single: SUMO refuses a command \(.*nowhere.*\)"),
            sumo.answering(),
        ):
            connection.trafficlight.getProgram("nowhere")


def test_a_call_ends_when_another_thread_kills_sumo(scenario: Scenario, tmp_path: Path) -> None:
    with live(scenario, tmp_path) as sumo:
        connection = sumo.connect()
        killer = threading.Timer(0.3, sumo.kill)
        killer.start()
        with (
            pytest.raises(SimulationError, match=r"single: SUMO breaks off \(.*\): it gave no reason"),
            sumo.answering(),
        ):
            connection.simulationStep(scenario.begin_s + 1e6)
        killer.join()
        assert not sumo.running
