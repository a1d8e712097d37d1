"""Signal programs in SUMO's files: the one that SUMO would run, and ours written for it to load."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from xml.etree.ElementTree import Element, SubElement, indent, tostring

from signals.errors import InputError
from signals.formats.files import write_whole
from signals.formats.sumo.config import Scenario, parse_time
from signals.formats.sumo.xml import elements, root_tag
from signals.model.phasing import Interval, SignalProgram
from signals.model.plan import PlanSet

PROGRAM_ID = "greensplit"


def read_programs(scenario: Scenario) -> tuple[dict[str, SignalProgram], dict[str, tuple[str, ...]]]:
    """The program that SUMO would run at each signal, and remarks where that took a decision.

    The network's programs come first, then those of the additional files in their order: what is loaded
    last runs. An entry without phases only moves the offset of the program it names. A WAUT puts its start
    program in force.

    Raises
    ------
    InputError
        Where a program is broken.
    """
    known: dict[str, dict[str, SignalProgram]] = {}
    active: dict[str, str] = {}
    remarks: dict[str, list[str]] = {}
    for path in (scenario.net, *scenario.additional):
        for element in elements(path, "tlLogic"):
            program = _program(element, path)
            programs = known.setdefault(program.intersection, {})
            if not program.intervals:
                old = programs.get(program.program)
                if old is None:
                    raise InputError(
                        f"{path}: signal {program.intersection}: program {program.program} has no phases "
                        "and no earlier file defines it"
                    )
                program = SignalProgram(
                    old.intersection, old.program, old.kind, program.offset_s, old.intervals
                )
            elif programs:
                remarks.setdefault(program.intersection, []).append(
                    f"{len(programs) + 1} programs; the one loaded last ({program.program}) runs"
                )
            programs[program.program] = program
            if program.program != "off":
                active[program.intersection] = program.program
    for path in scenario.additional:
        starts = {e.get("id", ""): e.get("startProg", "") for e in elements(path, "WAUT")}
        for element in elements(path, "wautJunction"):
            signal, start = element.get("junctionID", ""), starts.get(element.get("wautID", ""), "")
            if start in known.get(signal, {}):
                active[signal] = start
                remarks.setdefault(signal, []).append(f"a WAUT switches programs; {start} runs at the start")
    chosen = {signal: known[signal][program] for signal, program in active.items()}
    return chosen, {signal: tuple(notes[-1:]) for signal, notes in remarks.items()}


def _program(element: Element, path: Path) -> SignalProgram:
    signal = element.get("id", "")
    where = f"{path}: signal {signal}"
    if not signal:
        raise InputError(f"{path}: a tlLogic without id")

    def optional(phase: Element, key: str) -> float | None:
        text = phase.get(key)
        return None if text is None else parse_time(text, f"{where}: {key}")

    try:
        return SignalProgram(
            signal,
            element.get("programID", ""),
            element.get("type", "static"),
            parse_time(element.get("offset", "0"), f"{where}: offset")
            if element.get("offset") != "begin"
            else 0.0,
            tuple(
                Interval(
                    parse_time(phase.get("duration", ""), f"{where}: duration"),
                    phase.get("state", ""),
                    optional(phase, "minDur"),
                    optional(phase, "maxDur"),
                    phase.get("name", ""),
                )
                for phase in element.iter("phase")
            ),
        )
    except ValueError as error:
        raise InputError(f"{where}: {error}") from None


def _seconds(value: float) -> str:
    return f"{value:.3f}".rstrip("0").rstrip(".")


def program_name(plans: PlanSet, period: int) -> str:
    """programID that the plans of a period bear in SUMO: new to every network, so that SUMO loads it."""
    return (
        f"{PROGRAM_ID}-{plans.digest}" if len(plans.periods) == 1 else f"{PROGRAM_ID}-{plans.digest}-{period}"
    )


def plans_text(plans: PlanSet) -> str:
    """A plan set as the text of a SUMO additional file.

    SUMO runs what it loads last, so the first period is written last; a WAUT a signal then switches.
    """
    root = Element("additional")
    for index in reversed(range(len(plans.periods))):
        for signal, plan in sorted(plans.periods[index].items()):
            logic = SubElement(
                root,
                "tlLogic",
                id=signal,
                type="static",
                programID=program_name(plans, index),
                offset=_seconds(plan.program.offset_s),
            )
            for interval in plan.program.intervals:
                SubElement(logic, "phase", duration=_seconds(interval.duration_s), state=interval.state)
    for signal, times in sorted(plans.switch_times.items()):
        waut = SubElement(
            root,
            "WAUT",
            id=f"{PROGRAM_ID}-{signal}",
            refTime="0",
            startProg=program_name(plans, 0),
        )
        for index, time_s in enumerate(times, start=1):
            SubElement(waut, "wautSwitch", time=_seconds(time_s), to=program_name(plans, index))
        SubElement(root, "wautJunction", wautID=f"{PROGRAM_ID}-{signal}", junctionID=signal)
    indent(root, "    ")
    note = (
        f"<!-- Greensplit {plans.version}, plan {plans.digest}, seed {plans.seed}, inputs {plans.inputs_hash[:16]}.\n"
        "     sumo -a REPLACES the additional files of the .sumocfg: name those too, before this one. -->\n"
    )
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + note + tostring(root, encoding="unicode") + "\n"


def write_plans(plans: PlanSet, path: Path) -> None:
    """Write a plan set as a SUMO additional file: written aside first, then renamed.

    Raises
    ------
    InputError
        Where the file can't be written.
    """
    write_whole(path, plans_text(plans))


def read_plans(paths: Iterable[Path]) -> Mapping[str, SignalProgram]:
    """The programs of plan files, by signal; the one that SUMO would run where there are several.

    Raises
    ------
    InputError
        Where a file is broken or holds no program.
    """
    found: dict[str, SignalProgram] = {}
    for path in paths:
        before = len(found)
        if root_tag(path) == "net":
            raise InputError(f"{path}: is a network; a plan file is an additional file with tlLogic alone")
        for element in elements(path, "tlLogic"):
            program = _program(element, path)
            found[program.intersection] = program
        if len(found) == before:
            raise InputError(f"{path}: holds no signal program (no tlLogic)")
    return found
