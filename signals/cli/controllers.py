"""Commands about signal controllers: virtual ones for the signals of a network."""

from __future__ import annotations

import asyncio
import json
import signal
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from signals.cli.app import app
from signals.cli.console import Json, require_place
from signals.errors import InputError

if TYPE_CHECKING:
    from signals.controllers.virtual.faults import Fault
    from signals.controllers.virtual.secured import User
    from signals.controllers.virtual.simulation import SimulatedStreet
    from signals.formats.sumo.config import Scenario

SEED = 101
"""Of SUMO and of chances, unless told otherwise: the first of `compare`."""

controllers = typer.Typer(name="controllers", help="Signal controllers.", no_args_is_help=True)
app.add_typer(controllers)


@controllers.command()
def simulate(
    network: Annotated[
        str, typer.Argument(help="A .sumocfg, or a shipped network: arterial, grid or single.")
    ],
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="UDP port of the first signal's agent; 0 is free ones.")
    ] = 16100,
    host: Annotated[str, typer.Option(help="Address to listen at; beyond this machine only if need be.")] = (
        "127.0.0.1"
    ),
    sumo: Annotated[
        bool,
        typer.Option("--sumo", help="Run the network's traffic in SUMO: it calls, and units set its lights."),
    ] = False,
    speed: Annotated[
        float | None,
        typer.Option(help="Seconds of the units in one of the clock; 1, or with --sumo as fast as can be."),
    ] = None,
    duration: Annotated[
        float | None,
        typer.Option(help="End after so many seconds of the units' time; with --sumo the scenario's end."),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of SUMO, and of faults with a chance.")] = SEED,
    log: Annotated[Path | None, typer.Option(help="CSV for the high-resolution events of all units.")] = None,
    states: Annotated[
        Path | None, typer.Option(help="XML in which SUMO records what its signals show at each step.")
    ] = None,
    fault: Annotated[
        list[str] | None,
        typer.Option(
            help="Fault to happen, SIGNAL:KIND@MOMENT:NTH such as j3:silence@set:2; may be given several times."
        ),
    ] = None,
    community: Annotated[
        str, typer.Option(envvar="GREENSPLIT_READ_COMMUNITY", help="SNMP v2c community that may read.")
    ] = "public",
    write_community: Annotated[
        str, typer.Option(envvar="GREENSPLIT_WRITE_COMMUNITY", help="Community that may write as well.")
    ] = "private",
    user: Annotated[
        list[str] | None,
        typer.Option(
            envvar="GREENSPLIT_SNMP_USERS",
            help="SNMPv3 user NAME:AUTHPASS:PRIVPASS[:write], SHA-256 and AES; may be given several times.",
        ),
    ] = None,
    sumo_option: Annotated[
        list[str] | None,
        typer.Option(
            help="Further option of SUMO, such as --sumo-option=--tripinfo-output=trips.xml; repeatable."
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Start a virtual NTCIP 1202 controller for each signal of a network, on UDP ports from --port on.

    Each runs its signal's program in place as pattern 1. It goes on until --duration has passed, SUMO's scenario is
    over, or it's interrupted. SUMO's lights get what a unit shows at each of SUMO's steps: its step length is the
    scenario's, so that results compare with those of `compare`.
    """
    from signals.controllers.virtual.agent import AccessRights
    from signals.controllers.virtual.driving import start_for
    from signals.controllers.virtual.simulation import SimulatedStreet, StreetOptions
    from signals.formats.sumo.network import read_network

    if (speed is not None and not 0 < speed <= 1000) or (duration is not None and not duration > 0):
        raise InputError(f"speed {speed} and duration {duration}: give 0 to 1000, and seconds above 0")
    scenario = _scenario(network)
    for place, what in ((log, "the log"), (states, "the record of states")):
        if place is not None:
            require_place(place, what, scenario.files)
    street = SimulatedStreet(
        read_network(scenario),
        StreetOptions(
            AccessRights(community, write_community, tuple(map(_user, user or ()))),
            _faults(fault or ()),
            seed,
            log,
            start_utc_s=start_for(scenario) if sumo else None,
        ),
    )
    if not street.signals:
        reasons = "; ".join(street.unmapped.values()) or "the network has no signals"
        raise InputError(f"{network}: no signal can have a virtual controller: {reasons}")
    say = _say_json if as_json else _say
    with suppress(asyncio.CancelledError):
        asyncio.run(
            _serve(
                street,
                scenario if sumo else None,
                host,
                port,
                speed,
                duration,
                seed,
                sumo_option or [],
                states,
                say,
            )
        )


async def _serve(
    street: SimulatedStreet,
    scenario: Scenario | None,
    host: str,
    port: int,
    speed: float | None,
    duration: float | None,
    seed: int,
    sumo_options: list[str],
    states: Path | None,
    say: Any,
) -> None:
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    async with street:
        for name, (at, number) in (await street.start(host, port)).items():
            pattern = street.signals[name].pattern
            say(
                {
                    "signal": name,
                    "host": at,
                    "port": number,
                    "pattern": 1,
                    "cycle_s": pattern.cycle_s,
                    "offset_s": pattern.offset_s,
                    "phases": [phase.number for phase in street.signals[name].cabinet.record.phases],
                }
            )
        for name, reason in street.unmapped.items():
            say({"signal": name, "unmapped": reason})
        say({"ready": len(street.addresses), "unmapped": len(street.unmapped)})
        if scenario is None:
            await street.run(duration, speed or 1.0)
            return
        from signals.controllers.virtual.driving import drive

        end = await drive(
            street,
            scenario,
            seed=seed,
            speed=speed or 0.0,
            duration_s=duration,
            extra=sumo_options,
            states=states,
        )
        say({"ended_s": end, "tripped": [n for n, s in street.signals.items() if s.unit.tripped]})


def _scenario(network: str) -> Scenario:
    from signals.formats.sumo.config import read_scenario
    from sumo_nets import NETWORKS, find_network

    return read_scenario(find_network(network) if network in NETWORKS else Path(network))


def _faults(orders: list[str] | tuple[()]) -> dict[str, list[Fault]]:
    from signals.controllers.virtual.faults import parse_fault

    found: dict[str, list[Fault]] = {}
    for order in orders:
        name, fault = parse_fault(order)
        found.setdefault(name, []).append(fault)
    return found


def _user(text: str) -> User:
    from signals.controllers.virtual.secured import User

    name, *rest = text.split(":")
    if len(rest) not in (2, 3) or rest[2:] not in ([], ["write"]):
        raise InputError(
            f"--user {name}…: write NAME:AUTHPASS:PRIVPASS, with :write where the user may write"
        )
    try:
        return User(name, rest[0], rest[1], len(rest) == 3)
    except ValueError as error:
        raise InputError(f"--{error}") from None


def _say_json(facts: dict[str, Any]) -> None:
    print(json.dumps(facts), flush=True)


def _say(facts: dict[str, Any]) -> None:
    if "unmapped" in facts and "signal" in facts:
        print(f"{facts['signal']}: no virtual controller: {facts['unmapped']}", flush=True)
    elif "signal" in facts:
        print(
            f"{facts['signal']}: {facts['host']}:{facts['port']}, cycle {facts['cycle_s']} s, "
            f"offset {facts['offset_s']} s, phases {' '.join(map(str, facts['phases']))}",
            flush=True,
        )
    elif "ready" in facts:
        print(f"{facts['ready']} controllers ready, {facts['unmapped']} signals without", flush=True)
    else:
        tripped = ", ".join(facts["tripped"])
        print(f"ended at {facts['ended_s']:g} s" + (f"; tripped: {tripped}" if tripped else ""), flush=True)
