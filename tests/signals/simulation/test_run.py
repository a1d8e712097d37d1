"""Single SUMO runs: the figures against the raw output, the accounting, who pays, and what goes wrong."""

from __future__ import annotations

import json
import math
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from importlib.util import find_spec
from pathlib import Path

import pytest

from signals.errors import InputError, SimulationError
from signals.formats.sumo.binaries import find_binary, sumo_environment
from signals.formats.sumo.config import Scenario, read_scenario
from signals.formats.sumo.network import read_network
from signals.simulation import run as run_module
from signals.simulation.outputs import count_messages
from signals.simulation.run import RunResult, RunSpec, simulate, simulate_many

from .conftest import BEGIN_S, EAST_WEST, END_S, FAIR, NORTH_SOUTH, STARVED, WINDOW

EVALUATE = Path(__file__).resolve().parents[4] / "shared" / "tools" / "evaluate_plan.py"


@pytest.fixture(scope="module")
def built_in(scenario: Scenario) -> RunResult:
    """The crossing's own plan, seed 7."""
    return simulate(scenario, seed=7)


@pytest.fixture(scope="module")
def raw(scenario: Scenario, tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, str]]:
    """The attributes of each tripinfo of the same run, made and read without any code of ours."""
    folder = tmp_path_factory.mktemp("raw")
    sumo = find_binary("sumo")
    command = f"{sumo} -c {scenario.config} --seed 7 --no-step-log --tripinfo-output {folder / 'trips.xml'}"
    options = "--tripinfo-output.write-unfinished --tripinfo-output.write-undeparted"
    subprocess.run(
        [*command.split(), *options.split()], check=True, capture_output=True, env=sumo_environment(sumo)
    )
    lines = re.findall(r"<tripinfo (.*?)/?>", (folder / "trips.xml").read_text())
    return [dict(re.findall(r'(\w+)="([^"]*)"', line)) for line in lines]


def resco_cologne1() -> Path:
    """RESCO's one-signal network, from the installed sumo-rl package."""
    spec = find_spec("sumo_rl")
    if spec is None or not spec.submodule_search_locations:
        pytest.skip("sumo-rl, which ships RESCO's networks, isn't installed")
    return (
        Path(next(iter(spec.submodule_search_locations))) / "nets" / "RESCO" / "cologne1" / "cologne1.sumocfg"
    )


# ------------------------------------------------------------------------------------------- the figures


def test_mean_delay_counts_everybody_in_the_raw_output(
    built_in: RunResult, raw: list[dict[str, str]]
) -> None:
    delay = sum(float(trip["timeLoss"]) + float(trip["departDelay"]) for trip in raw)
    assert built_in.demand == len(raw)
    assert built_in.mean_delay_s == pytest.approx(delay / len(raw), abs=0.01)
    assert built_in.mean_delay_s == pytest.approx(built_in.mean_time_loss_s + built_in.mean_depart_delay_s)


def test_other_measures_follow_their_definitions(built_in: RunResult, raw: list[dict[str, str]]) -> None:
    def total(key: str, trips: list[dict[str, str]] = raw) -> float:
        return sum(max(float(trip[key]), 0.0) for trip in trips)

    spent = total("duration") + total("departDelay")
    arrived = [trip for trip in raw if float(trip["arrival"]) >= 0]
    assert built_in.mean_speed_mps == pytest.approx(total("routeLength") / spent, rel=1e-4)
    assert built_in.congestion_index == pytest.approx(
        spent / (total("duration") - total("timeLoss")), rel=1e-4
    )
    assert built_in.mean_travel_time_s == pytest.approx(total("duration", arrived) / len(arrived), rel=1e-4)
    assert built_in.stops_per_vehicle == pytest.approx(total("waitingCount") / len(raw))
    assert built_in.mean_waiting_s == pytest.approx(total("waitingTime") / len(raw), rel=1e-4)
    assert built_in.throughput_vph == pytest.approx(len(arrived) * 3600 / (END_S - BEGIN_S))
    assert built_in.queue_max_veh >= built_in.never_inserted
    assert 0 < built_in.queue_mean_veh < built_in.queue_max_veh
    assert math.isnan(built_in.co2_kg)


def test_everybody_is_accounted_for(built_in: RunResult, crossing: Path) -> None:
    routes = (crossing / "cross.rou.xml").read_text()
    due = routes.count("<vehicle") + routes.count("<trip") + math.ceil(600 / 15) + 600
    assert built_in.demand == due == built_in.arrived + built_in.unfinished + built_in.never_inserted
    assert built_in.inserted == built_in.arrived + built_in.unfinished
    assert built_in.never_inserted > 100, "the street with a car a second must overflow"
    assert built_in.discarded == 0


def test_a_light_run_agrees(scenario: Scenario, built_in: RunResult) -> None:
    light = simulate(scenario, seed=7, light=True)
    # The one car that is due half a second before the end is missing: outputs.sums_of says why.
    assert 0 <= built_in.demand - light.demand <= 1
    assert light.mean_delay_s == pytest.approx(built_in.mean_delay_s, rel=2e-3)
    assert light.mean_speed_mps == pytest.approx(built_in.mean_speed_mps, rel=2e-3)
    assert light.congestion_index == pytest.approx(built_in.congestion_index, rel=2e-3)
    assert light.arrived == built_in.arrived
    assert light.unfinished == built_in.unfinished
    assert light.stops_per_vehicle == pytest.approx(built_in.stops_per_vehicle, rel=2e-3)
    assert math.isnan(light.queue_mean_veh)
    with pytest.raises(ValueError, match="light"):
        simulate(scenario, seed=7, light=True, emissions=True)


def test_a_seed_gives_the_same_run_and_another_one_another(scenario: Scenario, built_in: RunResult) -> None:
    assert str(simulate(scenario, seed=7)) == str(built_in)
    assert simulate(scenario, seed=8).mean_delay_s != built_in.mean_delay_s


def test_emissions_are_measured_on_demand_and_change_nothing_else(
    scenario: Scenario, built_in: RunResult
) -> None:
    clean, dirty = asdict(built_in), asdict(simulate(scenario, seed=7, emissions=True))
    co2 = dirty.pop("co2_kg")
    clean.pop("co2_kg")
    # An idling or driving petrol car emits about 0.5-5 g of CO2 a second: HBEFA 4, passenger car.
    vehicle_seconds = built_in.mean_travel_time_s * built_in.inserted
    assert 0.2 < 1000 * co2 / vehicle_seconds < 10
    assert str(clean) == str(dirty)


def test_drain_runs_on_after_the_end(scenario: Scenario, built_in: RunResult) -> None:
    drained = simulate(scenario, seed=7, drain_s=300)
    assert drained.demand == built_in.demand
    assert drained.arrived > built_in.arrived
    assert drained.mean_delay_s > built_in.mean_delay_s


def test_without_an_end_everybody_arrives(crossing: Path) -> None:
    result = simulate(read_scenario(crossing / "endless.sumocfg"), seed=7)
    assert result.arrived == result.demand > 600
    assert result.unfinished == result.never_inserted == 0


@pytest.mark.skipif(not EVALUATE.is_file(), reason=f"{EVALUATE} isn't there to compare with")
@pytest.mark.parametrize("which", ["crossing", "cologne1"])
def test_agrees_with_the_evaluation_tool(
    which: str, crossing: Path, plan_file: Callable[..., Path], tmp_path: Path
) -> None:
    config = crossing / "cross.sumocfg" if which == "crossing" else resco_cologne1()
    plans = (plan_file("fair", *FAIR),) if which == "crossing" else ()
    chosen = ["-a", *map(str, plans)] if plans else []
    command = [sys.executable, str(EVALUATE), str(config), *chosen, "--seeds", "3", "4", "--runs"]
    said = subprocess.run(command, check=True, capture_output=True, text=True, cwd=tmp_path).stdout
    for expected in json.loads(said)["runs"]:
        ours = simulate(read_scenario(config), seed=expected["seed"], plans=plans)
        assert expected["accounting_ok"]
        assert ours.mean_delay_s == pytest.approx(expected["mean_delay"], abs=0.1)
        assert ours.mean_waiting_s == pytest.approx(expected["mean_wait"], abs=0.1)
        assert ours.mean_travel_time_s == pytest.approx(expected["mean_travel_time"], abs=0.1)
        assert (ours.demand, ours.arrived) == (expected["demand"], expected["completed"])
        assert (ours.teleports, ours.emergency_stops) == (expected["teleports"], expected["emergency_stops"])


# ------------------------------------------------------------------------------------ plans and warnings


def test_a_plan_takes_over_and_the_scenarios_own_files_stay(
    scenario: Scenario, built_in: RunResult, plan_file: Callable[..., Path]
) -> None:
    # The vehicle type stands in the scenario's own additional file: without it SUMO would refuse the routes.
    starved = simulate(scenario, seed=7, plans=[plan_file("starved", *STARVED)])
    assert starved.arrived != built_in.arrived


def test_warnings_are_counted_by_kind(scenario: Scenario, plan_file: Callable[..., Path]) -> None:
    hasty = simulate(scenario, seed=7, plans=[plan_file("hasty", (30, NORTH_SOUTH), (30, EAST_WEST))])
    missing = [n for kind, n in hasty.warnings.items() if kind.startswith("Missing yellow phase")]
    assert missing
    assert sum(missing) >= 2, "each change from green to red lacks a yellow"


def test_warnings_of_one_kind_are_counted_together(tmp_path: Path) -> None:
    path = tmp_path / "messages.txt"
    # SUMO 1.28's own words, for two vehicles
    path.write_text(
        "Warning: Vehicle 'a' performs emergency braking on lane 'x_0' with decel=9.00, time=58128.00.\n"
        "pj_obj_create: Cannot find proj.db\n"
        "Warning: Vehicle 'b' performs emergency braking on lane 'y_3' with decel=8.10, time=3.00.\n"
        "Warning: Teleporting vehicle 'a'; waited too long (jam), lane='x_0', time=3.00.\n"
    )
    kinds, errors = count_messages(path)
    assert sorted(kinds.values()) == [1, 2]
    assert not errors


def test_outputs_of_the_config_are_not_written(crossing: Path, tmp_path: Path) -> None:
    for file in crossing.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    config = tmp_path / "cross.sumocfg"
    wishes = (
        '<output><tripinfo-output value="mine.xml"/><fcd-output value="mine_too.xml"/>'
        '<log value="mine.log"/><human-readable-time value="true"/></output>'
    )
    config.write_text(config.read_text().replace(WINDOW, WINDOW + wishes))
    before = sorted(p.name for p in tmp_path.iterdir())
    result = simulate(read_scenario(config), seed=7)
    assert sorted(p.name for p in tmp_path.iterdir()) == before
    assert result.demand > 600


# ------------------------------------------------------------------------------------------- who pays


def test_delay_by_movement_adds_up_and_counts_who_passes(scenario: Scenario, built_in: RunResult) -> None:
    network = read_network(scenario)
    result = simulate(scenario, seed=7, movements=network)
    assert result.mean_delay_s == built_in.mean_delay_s
    charged = {m.approach: m for m in result.movements if m.vehicles}
    # Demand of the fixture: 120 on the main street, 40 on the side street, 600 on the one that overflows. The
    # car on the fourth street is due half a second before the end: nobody shows where its street leads.
    assert charged["left0A0"].vehicles == pytest.approx(120)
    assert charged["bottom0A0"].vehicles == pytest.approx(40)
    assert charged["top0A0"].vehicles == pytest.approx(600)
    assert set(charged) == {"left0A0", "bottom0A0", "top0A0"}
    total = sum(m.delay_s for m in result.movements)
    assert total + result.delay_elsewhere_s == pytest.approx(result.mean_delay_s * result.demand)
    # Behind the stop line cars lose but the seconds to speed up: v/2a, about 3 s from rest.
    assert 0 <= result.delay_elsewhere_s < 6 * result.arrived


def test_a_starved_side_street_shows(scenario: Scenario, plan_file: Callable[..., Path]) -> None:
    network = read_network(scenario)

    def delays(plan: Path) -> dict[str, float]:
        result = simulate(scenario, seed=7, plans=[plan], movements=network)
        return {m.approach: m.mean_delay_s for m in result.movements if m.vehicles}

    fair, starved = delays(plan_file("fair", *FAIR)), delays(plan_file("starved", *STARVED))
    assert starved["left0A0"] > fair["left0A0"] + 20
    assert starved["top0A0"] < fair["top0A0"]


def test_one_car_at_a_red_light_pays_there(
    crossing: Path, tmp_path: Path, plan_file: Callable[..., Path]
) -> None:
    for name in ("cross.net.xml", "types.add.xml"):
        (tmp_path / name).write_bytes((crossing / name).read_bytes())
    (tmp_path / "cross.rou.xml").write_text(
        '<routes><vehicle id="one" depart="0" departSpeed="max">'
        '<route edges="left0A0 A0right0"/></vehicle></routes>'
    )
    config = tmp_path / "cross.sumocfg"
    config.write_text((crossing / "cross.sumocfg").read_text().replace(WINDOW, ""))
    scenario = read_scenario(config)
    red_s = 60
    plan = plan_file("red", (red_s, NORTH_SOUTH), (60, EAST_WEST))
    result = simulate(scenario, seed=1, plans=[plan], movements=read_network(scenario))
    (paid,) = [m for m in result.movements if m.vehicles]
    # 200 m at 13.9 m/s, then it stands until the end of red: 60 s less 14 s, give or take the driver's pace.
    assert paid.movement in {m.id for m in read_network(scenario).intersections["A0"].movements}
    assert paid.delay_s == pytest.approx(red_s - 200 / 13.89, abs=4)
    assert 0 <= result.delay_elsewhere_s < 6


# ---------------------------------------------------------------------------------------- what goes wrong


def test_a_broken_network_is_a_simulation_error(scenario: Scenario, tmp_path: Path) -> None:
    broken = tmp_path / "broken.net.xml"
    broken.write_text(scenario.net.read_text()[:2000] + "</net>")
    with pytest.raises(SimulationError, match=r"broken\.net\.xml.*SUMO ended with an error: .+"):
        simulate(replace(scenario, config=None, net=broken), seed=1)


def test_a_plan_for_another_network_is_a_simulation_error(scenario: Scenario, tmp_path: Path) -> None:
    plan = tmp_path / "other.add.xml"
    plan.write_text(
        '<additional><tlLogic id="elsewhere" type="static" programID="p" offset="0">'
        '<phase duration="30" state="G"/></tlLogic></additional>'
    )
    with pytest.raises(SimulationError, match=r"other\.add\.xml.*elsewhere"):
        simulate(scenario, seed=1, plans=[plan])


def test_an_absent_or_broken_plan_is_an_input_error(scenario: Scenario, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        simulate(scenario, seed=1, plans=[tmp_path / "absent.add.xml"])
    (tmp_path / "half.add.xml").write_text("<additional")
    with pytest.raises(InputError, match="well-formed"):
        simulate(scenario, seed=1, plans=[tmp_path / "half.add.xml"])


def test_a_run_that_takes_too_long_is_ended(crossing: Path) -> None:
    with pytest.raises(SimulationError, match="give it one"):
        simulate(read_scenario(crossing / "endless.sumocfg"), seed=1, timeout_s=0.05)
    assert not children_of_ours()


# -------------------------------------------------------------------------------------------- many at once


def test_many_runs_come_in_the_order_asked_for(scenario: Scenario) -> None:
    done: dict[int, float] = {}
    jobs = [RunSpec(scenario, seed, light=True) for seed in (5, 6, 7, 5)]
    threads: set[int] = set()

    def note(position: int, result: RunResult) -> None:
        done[position] = result.mean_delay_s
        threads.add(threading.get_ident())

    results = simulate_many(jobs, jobs_at_once=3, on_done=note)
    assert [r.seed for r in results] == [5, 6, 7, 5]
    assert results[0].mean_delay_s == results[3].mean_delay_s != results[1].mean_delay_s
    assert done == {i: r.mean_delay_s for i, r in enumerate(results)}
    assert threads == {threading.get_ident()}
    assert simulate_many([]) == []


@pytest.fixture
def ended(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """How SUMO processes ended that did not end well: by themselves, killed, or too late."""
    how: list[str] = []
    original = run_module._failure

    def note(spec: RunSpec, code: int | None, errors: Sequence[str]) -> str:
        how.append("late" if code is None else "killed" if code < 0 else "error")
        return original(spec, code, errors)

    monkeypatch.setattr(run_module, "_failure", note)
    return how


def test_the_first_error_ends_the_others(
    crossing: Path, plan_file: Callable[..., Path], ended: list[str]
) -> None:
    done: list[int] = []
    wrong = plan_file("wrong", (30, "G"))
    jobs = [
        endless_run(crossing),
        replace(endless_run(crossing), plans=(wrong,)),
        *(endless_run(crossing) for _ in range(20)),
    ]
    with pytest.raises(SimulationError, match="wrong"):
        simulate_many(jobs, on_done=lambda i, _: done.append(i))
    assert not done
    assert ended.count("error") == 1
    # the one at its side, and the one that took the failed one's place if it was quick enough
    assert 1 <= ended.count("killed") <= 2
    assert "late" not in ended
    assert not children_of_ours()


def test_an_interrupt_ends_all(scenario: Scenario, crossing: Path, ended: list[str]) -> None:
    def interrupt(_position: int, _result: RunResult) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        simulate_many([endless_run(crossing), RunSpec(scenario, 1, light=True)], on_done=interrupt)
    assert ended == ["killed"]
    assert not children_of_ours()


def endless_run(crossing: Path) -> RunSpec:
    """A run of thirty years of the clock, given up after more time than a test should take."""
    endless = read_scenario(crossing / "endless.sumocfg")
    return RunSpec(replace(endless, end_s=1e9), 1, timeout_s=20)


def children_of_ours() -> list[str]:
    """Processes that this one has started and that are still there."""
    if not Path("/proc/self/task").is_dir():
        pytest.skip("only Linux lists a process's children")
    return [
        child
        for task in Path("/proc/self/task").iterdir()
        for child in (task / "children").read_text().split()
        if "sumo" in Path(f"/proc/{child}/cmdline").read_text()
    ]
