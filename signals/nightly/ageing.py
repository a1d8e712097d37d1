"""Plans that have aged: what was measured under those in force has come to exceed what was predicted of them.

Measured delay is a file of the agency's, `measured.csv` beside the nights: columns `day`, `signal`, `delay_s` (mean of
the day, s/veh) and `vehicles`, from whatever measures it: probe vehicles, high-resolution logs, or the loop in SUMO.
"""

from __future__ import annotations

import csv
import io
import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from pathlib import Path

from signals.errors import InputError
from signals.feedback import drift
from signals.formats.files import write_whole
from signals.model.night import GroupNight
from signals.model.night_notes import AgeingAlarm
from signals.nightly.folder import night_folder, read_group
from signals.nightly.in_force import PlanOrigin

MEASURED = "measured.csv"
COLUMNS = ("day", "signal", "delay_s", "vehicles")

Measured = Mapping[str, Mapping[date, tuple[float, float]]]
"""By signal and day: mean delay [s/veh] and vehicles."""


def read_measured(data: Path) -> Measured:
    """What was measured, where the file is there.

    Raises
    ------
    InputError
        Where a line can't be read.
    """
    found: dict[str, dict[date, tuple[float, float]]] = defaultdict(dict)
    path = data / MEASURED
    if not path.exists():
        return found
    with path.open(newline="", encoding="utf-8") as stream:
        for number, row in enumerate(csv.DictReader(stream), 2):
            try:
                day = date.fromisoformat(row["day"])
                delay_s, vehicles = float(row["delay_s"]), float(row["vehicles"])
                if not (
                    math.isfinite(delay_s) and delay_s >= 0 and math.isfinite(vehicles) and vehicles >= 0
                ):
                    raise ValueError
                found[row["signal"]][day] = delay_s, vehicles
            except (KeyError, TypeError, ValueError):
                raise InputError(
                    f"{path}, line {number}: expected columns {', '.join(COLUMNS)}, with a date such as 2026-03-02 and "
                    "figures of 0 or more"
                ) from None
    return found


def add_measured(data: Path, day: date, delays: Mapping[str, tuple[float, float]]) -> Path:
    """Add what was measured on a day, by signal mean delay [s/veh] and vehicles; the file.

    Lines that are there stay as they are; where two are of one signal's same day, the later one counts.

    Raises
    ------
    InputError
        Where the folder can't be written to, or the file that is there can't be read.
    """
    path = data / MEASURED
    read_measured(data)
    old = path.read_text(encoding="utf-8") if path.exists() else ",".join(COLUMNS) + "\n"
    columns = next(csv.reader(io.StringIO(old)))
    lines = io.StringIO()
    writer = csv.DictWriter(lines, columns, restval="", lineterminator="\n")
    for signal, (delay_s, vehicles) in sorted(delays.items()):
        writer.writerow(
            {"day": day, "signal": signal, "delay_s": f"{delay_s:.3f}", "vehicles": f"{vehicles:g}"}
        )
    write_whole(path, (old if old.endswith("\n") else old + "\n") + lines.getvalue())
    return path


def find_aged(
    data: Path,
    day: date,
    groups: Mapping[str, Sequence[str]],
    origin: Mapping[str, PlanOrigin],
    measured: Measured,
) -> tuple[AgeingAlarm, ...]:
    """The groups whose plans in force have aged by the eve of a day; `groups` are signals by group."""
    predicted = dict(_predicted(data, {signal: of for signal, of in origin.items() if signal in measured}))
    alarms = []
    for group, signals in groups.items():
        known = [s for s in signals if s in predicted]
        if not known:
            continue
        since = max(origin[s].night for s in known)
        days = sorted({d for s in known for d in measured[s] if since <= d < day})
        pairs = [(d, *_means(known, d, predicted, measured)) for d in days]
        found = drift([p for _, p, _ in pairs], [m for _, _, m in pairs])
        if found is not None:
            late = [(p, m) for _, p, m in pairs[found.since :]]
            alarms.append(
                AgeingAlarm(
                    group,
                    sum(p for p, _ in late) / len(late),
                    sum(m for _, m in late) / len(late),
                    pairs[found.since][0],
                    len(late),
                )
            )
    return tuple(alarms)


def _predicted(data: Path, origin: Mapping[str, PlanOrigin]) -> Iterator[tuple[str, float]]:
    """Mean delay [s/veh] that was expected of each signal under its plan in force."""
    nights: dict[tuple[date, str], GroupNight | None] = {}
    for signal, of in sorted(origin.items()):
        key = of.night, of.group
        if key not in nights:
            nights[key] = read_group(night_folder(data, of.night).group(of.group))
        found = nights[key]
        rows = found.signals.get(signal, ()) if found is not None and found.signals else ()
        vehicles = sum(row.vehicles for row in rows)
        delay = sum(row.after.mean_s * row.vehicles for row in rows)
        if vehicles > 0 and delay > 0:
            yield signal, delay / vehicles


def _means(
    signals: Sequence[str], day: date, predicted: Mapping[str, float], measured: Measured
) -> tuple[float, float]:
    """Means over the vehicles measured on a day: predicted and measured delay [s/veh]."""
    rows = [(predicted[s], *measured[s][day]) for s in signals if day in measured[s]]
    vehicles = sum(n for *_, n in rows)
    if vehicles <= 0:
        return 0.0, 0.0
    return sum(p * n for p, _, n in rows) / vehicles, sum(m * n for _, m, n in rows) / vehicles
