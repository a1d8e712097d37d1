"""A street of virtual units: on its own clock, and with SUMO."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
import xml.etree.ElementTree as ET
from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest

from signals.cli import main
from signals.controllers.objects import OBJECTS
from signals.controllers.virtual import messages
from signals.controllers.virtual.driving import drive, start_for, zones_of
from signals.controllers.virtual.faults import Fault, FaultKind
from signals.controllers.virtual.messages import INTEGER, Bound, Request
from signals.controllers.virtual.simulation import Calls, SimulatedStreet, StreetOptions
from signals.controllers.virtual.verification import first_fault
from signals.errors import InputError, SimulationError
from signals.formats.hires import read_event_log
from signals.formats.sumo.config import Scenario, read_scenario
from signals.formats.sumo.network import read_network
from signals.model.network import Network
from signals.simulation.run import simulate
from sumo_nets import NETWORKS, find_network
from tests.signals.controllers.virtual.manager import ask, decode_answer, encode_request

DAY = date(2026, 11, 25)


@pytest.fixture(scope="module")
def scenario() -> Scenario:
    return read_scenario(find_network("single"))


@pytest.fixture(scope="module")
def network(scenario: Scenario) -> Network:
    return read_network(scenario)


def value(street: SimulatedStreet, name: str, *index: int) -> object:
    (signal,) = street.signals.values()
    request = Request(messages.GET, 1, (Bound(OBJECTS[name].oid(*index)),))
    return ask(signal.agent, b"public", request).bounds[0].value


def test_a_unit_comes_into_step_with_its_signals_own_program(scenario: Scenario, network: Network) -> None:
    street = SimulatedStreet(network, StreetOptions(start_utc_s=start_for(scenario, DAY)))
    (signal,) = street.signals.values()
    program = network.intersections[signal.name].program
    assert program is not None
    shown: list[str] = []

    async def run() -> None:
        await street.advance(6000, {signal.name: signal.always})
        for _ in range(2 * round(program.cycle_s)):
            shown.append(signal.state())
            await street.advance(10, {signal.name: signal.always})

    asyncio.run(run())
    assert value(street, "coordPatternStatus") == 1
    assert value(street, "localFreeStatus") == 2
    own = [program.state_at(t) for t in range(len(shown))]
    different = sum(a != b for state, other in zip(shown, own) for a, b in zip(state, other))
    assert different <= 0.02 * sum(map(len, own))


def test_time_goes_as_fast_as_it_is_told(network: Network) -> None:
    street = SimulatedStreet(network, StreetOptions(start_utc_s=1_800_000_000))

    async def run() -> float:
        loop = asyncio.get_running_loop()
        begin = loop.time()
        await street.run(20, speed=100)
        return loop.time() - begin

    took = asyncio.run(run())
    assert took >= 0.19
    assert street.ticks == 200
    assert value(street, "globalTime") == 1_800_000_020


def test_clocks_show_the_time_however_long_a_street_takes_to_make(
    network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    street = SimulatedStreet(network)
    (signal,) = street.signals.values()
    assert abs(signal.unit.utc_ms / 1000 - time.time()) < 2
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() + 7.5)
    asyncio.run(street.run(8))
    assert abs(signal.unit.utc_ms / 1000 - time.time()) < 1


def test_agents_answer_while_time_passes(network: Network) -> None:
    street = SimulatedStreet(network)

    async def run() -> list[object]:
        async with street:
            ((host, port),) = (await street.start()).values()
            task = asyncio.create_task(street.run(speed=1000))
            loop = asyncio.get_running_loop()
            answers: asyncio.Queue[bytes] = asyncio.Queue()

            class Manager(asyncio.DatagramProtocol):
                def datagram_received(self, data: bytes, _address: object) -> None:
                    answers.put_nowait(data)

            transport, _ = await loop.create_datagram_endpoint(Manager, remote_addr=(host, port))
            seen = []
            for _ in range(5):
                request = Request(messages.GET, 1, (Bound(OBJECTS["globalTime"].oid()),))
                transport.sendto(encode_request(b"public", request))
                seen.append(decode_answer(await asyncio.wait_for(answers.get(), 5)).bounds[0].value)
                await asyncio.sleep(0.05)
            transport.close()
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        return seen

    seen = asyncio.run(run())
    assert seen == sorted(seen)
    assert seen[0] < seen[-1]  # type: ignore[operator]


def test_the_log_reads_as_an_event_log(network: Network, tmp_path: Path) -> None:
    street = SimulatedStreet(network, StreetOptions(log=tmp_path / "log.csv", start_utc_s=1_800_000_000))

    async def run() -> None:
        async with street:
            name = next(iter(street.signals))
            await street.advance(20, {name: Calls(detectors=((3, True),))})
            await street.run(200, speed=1000)

    asyncio.run(run())
    log = read_event_log(tmp_path / "log.csv")
    assert log.devices == ("centre",)
    seen = set(zip(log.codes.tolist(), log.parameters.tolist()))
    assert (82, 3) in seen
    assert {1, 7, 8, 9, 131} <= {code for code, _ in seen}


def test_ports_follow_one_another_and_a_taken_one_is_named(network: Network) -> None:
    async def run() -> None:
        async with SimulatedStreet(network) as first:
            ((_, port),) = (await first.start()).values()
            async with SimulatedStreet(network) as second:
                with pytest.raises(InputError, match=rf"centre can't listen at 127.0.0.1:{port}"):
                    await second.start(port=port)
        await asyncio.sleep(0)

    asyncio.run(run())


def test_a_fault_for_a_signal_that_isnt_there_is_refused(network: Network) -> None:
    with pytest.raises(InputError, match="faults for j9: the street has virtual units for centre alone"):
        SimulatedStreet(network, StreetOptions(faults={"j9": [Fault(FaultKind.SILENCE)]}))


def test_signals_without_a_controller_are_named(network: Network) -> None:
    (intersection,) = network.intersections.values()
    bare = replace(network, intersections={intersection.id: replace(intersection, program=None)})
    street = SimulatedStreet(bare)
    assert street.signals == {}
    assert "no program" in street.unmapped[intersection.id]


@pytest.mark.parametrize("shipped", NETWORKS)
def test_every_signal_that_ships_gets_a_unit_whose_database_is_sound(shipped: str) -> None:
    street = SimulatedStreet(read_network(read_scenario(find_network(shipped))))
    assert street.unmapped == {}
    assert {name: first_fault(s.database.values) for name, s in street.signals.items()} == dict.fromkeys(
        street.signals, b""
    )


def test_every_lane_of_an_approach_has_a_detector_that_calls_phases(network: Network) -> None:
    street = SimulatedStreet(network)
    (signal,) = street.signals.values()
    zones = zones_of(signal, network)
    intersection = network.intersections[signal.name]
    lanes = {lane.id for a in intersection.approaches for lane in network.edges[a.edge].lanes}
    assert {z.lane for z in zones} <= lanes
    vehicle_phases = {p for link in signal.cabinet.links if not link.pedestrian for p in link.phases[:1]}
    assert {p for z in zones for p in z.phases} == vehicle_phases
    assert [z.number for z in zones] == list(range(1, len(zones) + 1))


# ---- with SUMO -----------------------------------------------------------------------------------------------


def driven(network: Network, scenario: Scenario, folder: Path, end_s: float, *extra: str) -> SimulatedStreet:
    street = SimulatedStreet(network, StreetOptions(start_utc_s=start_for(scenario, DAY)))

    async def run() -> float:
        async with street:
            return await drive(
                street,
                scenario,
                seed=101,
                duration_s=end_s - scenario.begin_s,
                extra=("--tripinfo-output", str(folder / "trips.xml"), *extra),
            )

    assert asyncio.run(run()) == end_s
    return street


def test_units_drive_sumo_as_well_as_the_program_in_place(
    scenario: Scenario, network: Network, tmp_path: Path
) -> None:
    end = scenario.begin_s + 1200
    street = driven(network, scenario, tmp_path, end, "--tripinfo-output.write-unfinished")
    alone = simulate(replace(scenario, end_s=end), seed=101)
    losses = [float(t.get("timeLoss", "nan")) for t in ET.parse(tmp_path / "trips.xml").iter("tripinfo")]
    assert len(losses) > 500
    assert sum(losses) / len(losses) == pytest.approx(alone.mean_delay_s, rel=0.25)
    (signal,) = street.signals.values()
    assert not signal.unit.tripped
    assert signal.unit.utc_ms == 1000 * (start_for(scenario, DAY) + 600 + 1200)


def test_vehicles_call_phases_that_nothing_else_calls(
    scenario: Scenario, network: Network, tmp_path: Path
) -> None:
    street = SimulatedStreet(network, StreetOptions(start_utc_s=start_for(scenario, DAY)))
    (signal,) = street.signals.values()
    called: set[int] = set()
    step = signal.unit.step

    def kept(vehicles: frozenset[int] = frozenset(), *more: object, **named: object) -> None:
        called.update(vehicles)
        step(vehicles, *more, **named)  # type: ignore[arg-type]

    async def run() -> None:
        begin = scenario.begin_s

        def watch(now: float) -> None:
            if now == begin + 1:
                called.clear()

        await drive(street, scenario, seed=101, duration_s=300, on_step=watch)

    signal.unit.step = kept  # type: ignore[method-assign]
    asyncio.run(run())
    assert called == {p for z in zones_of(signal, network) for p in z.phases}


def test_where_sumo_breaks_off_its_reason_is_given(
    scenario: Scenario, network: Network, tmp_path: Path
) -> None:
    with pytest.raises(SimulationError, match="no-such-option"):
        driven(network, scenario, tmp_path, scenario.begin_s + 10, "--no-such-option")


def test_a_cancelled_run_leaves_no_sumo_behind(scenario: Scenario, network: Network) -> None:
    street = SimulatedStreet(network, StreetOptions(start_utc_s=start_for(scenario, DAY)))

    async def run() -> list[int]:
        started = asyncio.Event()
        task = asyncio.create_task(
            drive(street, scenario, seed=1, speed=1, on_step=lambda _now: started.set())
        )
        await asyncio.wait_for(started.wait(), 30)
        before = children()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return before

    before = asyncio.run(run())
    assert before
    assert not set(before) & set(children())


def children() -> list[int]:
    """Processes that this one has started and that haven't ended."""
    listed = Path(f"/proc/self/task/{os.getpid()}/children").read_text(encoding="ascii")
    return [int(pid) for pid in listed.split()]


# ---- the command ---------------------------------------------------------------------------------------------


def test_the_command_says_where_each_agent_is_and_ends(capsys: pytest.CaptureFixture[str]) -> None:
    command = "controllers simulate single --port 0 --duration 2 --speed 50 --json"
    with pytest.raises(SystemExit) as end:
        main(command.split())
    assert not end.value.code
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert lines[0]["signal"] == "centre"
    assert lines[0]["port"] > 1024
    assert lines[0]["pattern"] == 1
    assert lines[-1] == {"ready": 1, "unmapped": 0}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--fault", "j3:silence"], "Write SIGNAL:KIND@MOMENT:NTH"),
        (["--fault", "j3:silence@set:2"], "faults for j3"),
        (["--user", "ada:secret"], "NAME:AUTHPASS:PRIVPASS"),
        (["--user", "ada:secret:longenough"], "8 or more"),
        (["--speed", "0"], "speed"),
        (["--log", "/no/such/folder/log.csv"], "folder doesn't exist"),
    ],
)
def test_what_the_command_cant_do_is_said(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        main(["controllers", "simulate", "single", "--port", "0", "--duration", "1", *arguments])
    assert end.value.code == 2
    assert said in capsys.readouterr().err


def test_the_command_ends_tidily_when_it_is_told_to(tmp_path: Path) -> None:
    log = tmp_path / "log.csv"
    command = [
        sys.executable,
        "-m",
        "signals.cli",
        "controllers",
        "simulate",
        "single",
        "--port",
        "0",
        "--json",
    ]
    with subprocess.Popen(
        [*command, "--log", str(log), "--speed", "100"], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if "ready" in line:
                break
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
    assert log.read_text().startswith("TimeStamp,DeviceId,EventId,Parameter\n")


def test_a_pattern_is_commanded_and_the_unit_goes_to_free_and_back(network: Network) -> None:
    street = SimulatedStreet(network, StreetOptions(start_utc_s=1_800_000_000))
    (signal,) = street.signals.values()

    async def run(command: int) -> object:
        bound = Bound(OBJECTS["systemPatternControl"].oid(), INTEGER, command)
        answer = ask(signal.agent, b"private", Request(messages.SET, 1, (bound,)))
        assert answer.status == 0
        await street.advance(4000, {signal.name: signal.always})
        return value(street, "coordPatternStatus")

    assert asyncio.run(run(254)) == 254
    assert asyncio.run(run(1)) == 1
