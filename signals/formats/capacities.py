"""Capacities of movements or approaches from a file."""

from __future__ import annotations

import csv
import math
from pathlib import Path

import numpy as np

from signals.errors import InputError
from signals.model.capacity import Capacities


def read_capacities(path: Path, *, step_min: int = 15) -> Capacities:
    """Capacities from a CSV file, the same every day.

    Columns `series` (as the forecast names it) and `capacity_vph`; if wanted `approach` (the series itself where
    empty) and `from`, HH:MM, the time of day from which a row holds (0:00 where empty). Before a series' first
    row its last one holds: night is one with the evening before.

    Raises
    ------
    InputError
        Where the file can't be read, a column is missing, a value is none, or a series has two rows for one time.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.DictReader(stream)
            header = tuple(reader.fieldnames or ())
            rows = [(reader.line_num, row) for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: can't be read as CSV: {error}") from None
    if not {"series", "capacity_vph"} <= set(header):
        raise InputError(
            f"{path}: has columns {', '.join(header) or 'none'}; capacities need series and capacity_vph, and may "
            "have approach and from"
        )
    by_series: dict[str, dict[int, float]] = {}
    approach_of: dict[str, str] = {}
    for line, row in rows:
        where = f"{path}:{line}"
        series = (row["series"] or "").strip()
        if not series:
            raise InputError(f"{where}: a row without series")
        start, vph = _minute(row.get("from") or "", where), _capacity(row["capacity_vph"] or "", where)
        if start in by_series.setdefault(series, {}):
            raise InputError(f"{where}: series {series!r} has a second row from {_clock(start)}; keep one")
        by_series[series][start] = vph
        approach = (row.get("approach") or "").strip() or series
        if approach_of.setdefault(series, approach) != approach:
            raise InputError(
                f"{where}: series {series!r} belongs to approach {approach_of[series]!r} in an earlier row and to "
                f"{approach!r} here; a series has one approach"
            )
    if not by_series:
        raise InputError(f"{path}: has no rows; give a capacity for each series")
    starts = sorted({start for given in by_series.values() for start in given})
    veh = np.empty((len(starts), len(by_series)))
    for column, given in enumerate(by_series.values()):
        own = sorted(given)
        for k, start in enumerate(starts):
            latest = [s for s in own if s <= start] or own
            veh[k, column] = given[latest[-1]] * step_min / 60.0
    return Capacities(
        tuple(by_series),
        tuple(approach_of[s] for s in by_series),
        tuple(starts),
        step_min,
        veh,
        np.zeros_like(veh),
    )


def _minute(text: str, where: str) -> int:
    if not text.strip():
        return 0
    hours, _, minutes = text.strip().partition(":")
    if not (hours.isdecimal() and minutes.isdecimal() and int(hours) < 24 and int(minutes) < 60):
        raise InputError(f"{where}: {text!r} is no time of day; write HH:MM from 00:00 to 23:59")
    return 60 * int(hours) + int(minutes)


def _clock(minute: int) -> str:
    return f"{minute // 60:02d}:{minute % 60:02d}"


def _capacity(text: str, where: str) -> float:
    try:
        vph = float(text)
    except ValueError:
        vph = math.nan
    if not 0.0 <= vph < math.inf:
        raise InputError(f"{where}: capacity {text!r}: give vehicles per hour, 0 or more")
    return vph
