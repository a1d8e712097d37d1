"""Tables of what the service keeps: people, keys."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.table import Table

from signals.tables.style import add_columns, new_table, short
from signals.wire.forecasts import ForecastSeriesShown
from signals.wire.plans import ComparisonShown

MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:")


def key_tables(rows: Sequence[Mapping[str, Any]]) -> Iterator[Table]:
    """Keys: whose, from when, until when."""
    table = new_table(f"{len(rows)} keys")
    add_columns(table, "begins with", "person", "label", "made", "until", "revoked")
    for row in rows:
        table.add_row(
            f"{row['prefix']}…",
            short(row["person"]),
            short(row["label"]),
            row["created_at"][:10],
            row["expires_at"][:10],
            (row["revoked_at"] or "")[:10],
        )
    yield table


def people_tables(rows: Sequence[Mapping[str, Any]]) -> Iterator[Table]:
    """People: their roles, area by area."""
    table = new_table(f"{len(rows)} people")
    add_columns(table, "person", "area", "roles")
    for row in rows:
        areas: dict[tuple[int, str], list[str]] = {}
        for held in row["roles"]:
            areas.setdefault((held["area"], held["area_name"]), []).append(held["role"])
        for (number, name), roles in sorted(areas.items()) or [((0, ""), ["none"])]:
            table.add_row(short(row["person"]), f"{number} {name}" if number else "", ", ".join(roles))
    yield table


def rows_table(title: str, columns: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> Table:
    """Some fields of things as they came over the wire."""
    table = new_table(f"{len(rows)} {title}" if rows and "id" in rows[0] else title)
    add_columns(table, *columns)
    for row in rows:
        table.add_row(*(_cell(row[column]) for column in columns))
    return table


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, str) and MOMENT.match(value):
        return value[:16].replace("T", " ")
    if isinstance(value, list):
        return short(", ".join(map(str, value)), 40)
    return short(str(value), 40)


def comparison_table(comparison: ComparisonShown) -> Table:
    """Two plans side by side: the mean over the seeds, the difference with its interval, the verdict."""
    assert comparison.figures is not None
    if "windows" in comparison.figures:
        return _night_table(comparison, comparison.figures)
    current, (other, *_) = comparison.figures["current"], comparison.figures["alternatives"]
    table = new_table(
        f"comparison {comparison.id}: {len(comparison.seeds)} seeds, {comparison.verdict}: {other['reason']}"
    )
    add_columns(table, "measure")
    add_columns(
        table, "in place" if comparison.against is None else comparison.against[:12], "plan", right=True
    )
    for name, said in (
        ("mean_delay_s", "mean delay, s/veh"),
        ("stops_per_vehicle", "stops per vehicle"),
        ("mean_speed_mps", "mean speed, m/s"),
        ("congestion_index", "congestion index"),
        ("co2_kg", "CO2, kg"),
    ):
        pair = [plan["measures"][name]["mean"] for plan in (current, other)]
        table.add_row(said, *("" if value is None else f"{value:.2f}" for value in pair))
    difference = other["difference_s"]
    table.add_row(
        "difference in delay, s/veh",
        "",
        f"{difference['mean']:.1f} [{difference['low']:.1f}, {difference['high']:.1f}]",
    )
    return table


def _night_table(comparison: ComparisonShown, figures: Mapping[str, Any]) -> Table:
    """What a night's runs say of a plan: delay by window of the day, with the interval of the difference."""
    table = new_table(
        f"comparison {comparison.id}: {len(comparison.seeds)} seeds, {comparison.verdict}: {figures['reason']}"
    )
    add_columns(table, "mean delay, s/veh")
    add_columns(table, "in place", "plan", "difference", right=True)
    for row in (*figures["windows"], figures):
        from_to = (row["begin_s"], row["end_s"]) if "begin_s" in row else None
        clock = "-".join(f"{s // 3600:02.0f}:{s % 3600 // 60:02.0f}" for s in from_to) if from_to else "all"
        mean, low, high = (_seconds(row["difference"][key]) for key in ("mean", "low", "high"))
        table.add_row(clock, _seconds(row["before_s"]), _seconds(row["after_s"]), f"{mean} [{low}, {high}]")
    return table


def _seconds(value: float | None) -> str:
    return "" if value is None else f"{value:.1f}"


def forecast_table(series: Sequence[ForecastSeriesShown], last: int, most: int = 6) -> Table:
    """The busiest streams of a forecast in its last intervals: vehicles, and where 80 % of the cases lie."""
    step = series[0].step_min
    table = new_table(f"forecast of the last {last} intervals of {step} min, veh per interval")
    add_columns(table, "stream")
    add_columns(table, *(f"{number + 1}" for number in range(last)), right=True)
    for one in sorted(series, key=lambda s: -sum(s.mean[-last:]))[:most]:
        cells = []
        for k in range(-last, 0):
            low, high = (one.quantiles[level][k] for level in ("0.1", "0.9"))
            cells.append(f"{one.mean[k]:.0f} ({low:.0f}-{high:.0f})")
        table.add_row(short(one.stream), *cells)
    return table
