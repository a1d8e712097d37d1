"""Isolated intersections from a table, and their plans as one."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from signals.errors import InputError
from signals.formats.files import open_unpacked
from signals.timing.isolated import IsolatedPlan
from signals.timing.isolated_phases import IsolatedIntersection, IsolatedPhase, LeftTurn

NUMBERS = ("flow_vph", "saturation_flow_vph", "min_green_s", "max_green_s", "clearance_s")
COLUMNS = ("intersection", "phase", *NUMBERS)
PLAN_COLUMNS = (
    "intersection", "cycle_s", "phase", "split_s", "green_s", "vc_ratio", "delay_s", "level_of_service",
)  # fmt: skip


class Row(NamedTuple):
    """A phase in one scenario."""

    line: int
    numbers: Mapping[str, float]
    left_turn: LeftTurn


def read_intersections(path: Path) -> list[IsolatedIntersection]:
    """Intersections in the order of a CSV file, one row a phase; gzipped if wanted.

    Columns `intersection`, `phase` (1 to 8), `flow_vph`, `saturation_flow_vph`, `min_green_s`, `max_green_s`,
    `clearance_s`; and `left_turn` (protected or protected-permitted), if wanted. With a column `scenario` there is one
    row a phase and scenario: all scenarios of an intersection are equally likely, and have the same phases, which
    differ in their flow alone.

    Raises
    ------
    InputError
        Where the file can't be read, a column is missing, a value is none, or rows contradict each other.
    """
    by_name: dict[str, dict[str, dict[int, Row]]] = {}
    for line, row in _rows(path):
        where = f"{path}:{line}"
        name, phase = _text(row, "intersection", where), _phase(row, where)
        scenarios = by_name.setdefault(name, {})
        own = scenarios.setdefault(_text(row, "scenario", where) if "scenario" in row else "", {})
        if phase in own:
            raise InputError(
                f"{where}: intersection {name!r} has phase {phase} in line {own[phase].line} already; keep one row, "
                "or tell scenarios apart in a column scenario"
            )
        own[phase] = Row(line, _numbers(row, where), _left_turn(row, where))
    if not by_name:
        raise InputError(f"{path}: has no rows; give one for each phase of an intersection")
    return [_intersection(path, name, list(scenarios.items())) for name, scenarios in by_name.items()]


def plans_text(plans: Iterable[IsolatedPlan]) -> str:
    """Plans as CSV, one row a phase."""
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(PLAN_COLUMNS)
    for plan in plans:
        for timing in plan.phases:
            rows.writerow(
                (
                    plan.name, plan.cycle_s, timing.number, timing.split_s, f"{timing.green_s:g}",
                    f"{timing.vc_ratio:.3f}", f"{timing.delay_s:.2f}", timing.level_of_service,
                )
            )  # fmt: skip
    return text.getvalue()


def _rows(path: Path) -> Iterable[tuple[int, Mapping[str, str | None]]]:
    try:
        with open_unpacked(path) as stream, io.TextIOWrapper(stream, "utf-8-sig", newline="") as text:
            reader = csv.DictReader(text, strict=True)
            missing = [column for column in COLUMNS if column not in (reader.fieldnames or ())]
            if missing:
                raise InputError(
                    f"{path}: has no column {', '.join(missing)}; intersections need {', '.join(COLUMNS)}, and may "
                    "have scenario and left_turn"
                )
            for row in reader:
                yield reader.line_num, row
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: can't be read as CSV: {error}") from None


def _intersection(path: Path, name: str, scenarios: list[tuple[str, dict[int, Row]]]) -> IsolatedIntersection:
    first_label, first = scenarios[0]
    for label, own in scenarios[1:]:
        for phase in sorted(first.keys() ^ own.keys()):
            line = (first.get(phase) or own[phase]).line
            absent = label if phase in first else first_label
            raise InputError(
                f"{path}:{line}: intersection {name!r} has no phase {phase} in scenario {absent!r}; give it a row "
                "there, with flow 0 where nobody comes"
            )
        for phase, row in own.items():
            for column in NUMBERS[1:]:
                if row.numbers[column] != first[phase].numbers[column]:
                    raise InputError(
                        f"{path}:{row.line}: {column} of intersection {name!r}, phase {phase} is "
                        f"{row.numbers[column]:g} here and {first[phase].numbers[column]:g} in line "
                        f"{first[phase].line}; scenarios differ in flow alone"
                    )
    phases = []
    for phase, row in sorted(first.items()):
        flows = tuple(own[phase].numbers["flow_vph"] for _, own in scenarios)
        left_turn = max(own[phase].left_turn for _, own in scenarios)  # protected-permitted in any of them
        try:
            phases.append(_isolated_phase(phase, flows, row.numbers, left_turn))
        except ValueError as error:
            raise InputError(f"{path}:{row.line}: intersection {name!r}, {error}") from None
    try:
        return IsolatedIntersection(name, tuple(phases), (1.0 / len(scenarios),) * len(scenarios))
    except ValueError as error:
        line = min(first[phase.number].line for phase in phases if phase.permitted)
        raise InputError(f"{path}:{line}: {error}") from None


def _isolated_phase(
    number: int, flow_vph: tuple[float, ...], numbers: Mapping[str, float], left_turn: LeftTurn
) -> IsolatedPhase:
    return IsolatedPhase(
        number,
        flow_vph,
        saturation_flow_vph=numbers["saturation_flow_vph"],
        min_green_s=numbers["min_green_s"],
        max_green_s=numbers["max_green_s"],
        clearance_s=numbers["clearance_s"],
        left_turn=left_turn,
    )


def _text(row: Mapping[str, str | None], column: str, where: str) -> str:
    text = (row[column] or "").strip()
    if not text:
        raise InputError(f"{where}: {column} is empty; fill it in")
    return text


def _phase(row: Mapping[str, str | None], where: str) -> int:
    text = _text(row, "phase", where)
    if text not in "12345678" or len(text) > 1:
        raise InputError(f"{where}: phase {text!r}: give a NEMA phase, 1 to 8")
    return int(text)


def _numbers(row: Mapping[str, str | None], where: str) -> dict[str, float]:
    try:
        return {column: float(row[column] or "") for column in NUMBERS}
    except ValueError:
        return {column: _number(row, column, where) for column in NUMBERS}  # which says what is wrong


def _number(row: Mapping[str, str | None], column: str, where: str) -> float:
    text = _text(row, column, where)
    try:
        return float(text)
    except ValueError:
        raise InputError(f"{where}: {column} {text!r} is no number") from None


def _left_turn(row: Mapping[str, str | None], where: str) -> LeftTurn:
    text = (row.get("left_turn") or "").strip()
    if not text:
        return LeftTurn.PROTECTED
    try:
        return LeftTurn(text)
    except ValueError:
        raise InputError(
            f"{where}: left_turn {text!r}: give {' or '.join(LeftTurn)}, or nothing for protected"
        ) from None
