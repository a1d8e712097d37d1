"""Reading tables of counts, wide and long."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np

from signals.errors import InputError
from signals.formats.counts.columns import LONG_TABLE, check_finite, coded_names, find_columns, layout_of
from signals.formats.counts.grid import Rows, to_table
from signals.formats.counts.sheet import Sheet, open_sheet
from signals.formats.counts.times import check_timezone, read_stamps
from signals.model.counts import MINUTES_A_DAY, CountTable

Layout = Literal["auto", "wide", "long"]


def read_counts(
    path: Path,
    *,
    layout: Layout = "auto",
    timezone: str = "",
    step_min: int | None = None,
    strict: bool = False,
    most_cells: int | None = None,
) -> CountTable:
    """The counts of a CSV (also gzipped) or Parquet file.

    Parameters
    ----------
    layout
        `wide`, `long`, or `auto`: long where the header has a time, a series and a count, else wide.
    timezone
        IANA name of the clock that the file is on; the table is then in UTC. In autumn the rows of the
        repeated hour that come first are the earlier pass and the ones after them the later; where there is
        one row a time it is the earlier, and the later is a gap. Rows at times that the clock skips are
        left out where they are blank or zero, which loses nothing, and refused where they hold vehicles.
        Empty: the local clock, whatever it is.
    step_min
        Length of an interval in minutes; None for the median difference of the rows' times.
    strict
        Whether columns of a long table that aren't known are refused, rather than told as a remark.
    most_cells
        A table of more intervals times series is refused; None for `MOST_CELLS`.

    Missing rows become NaN. Of rows given twice the same is dropped; where they disagree the first count is
    kept and gets `Reason.DUPLICATE`. Rows that come after later ones are sorted in and get `Reason.LATE`; a
    file that runs backwards is read from its end. Negative counts are kept, for screening to judge.

    Raises
    ------
    InputError
        Where the file can't be read, a cell is no number, a time is no time or off the grid, the columns
        can't be told, or the table would be too large.
    """
    path = Path(path)
    check_timezone(timezone)
    if layout not in ("auto", "wide", "long"):
        raise InputError(f"layout {layout!r}: auto, wide or long")
    check_step(step_min)
    sheet = open_sheet(path)
    if layout == "auto":
        layout = layout_of(sheet.names)
    rows = _long(sheet, timezone, strict) if layout == "long" else _wide(sheet, timezone)
    return to_table(rows, step_min, most_cells)


def check_step(step_min: int | None) -> None:
    """Nothing where intervals of this length divide a day, or none is given.

    Raises
    ------
    InputError
        Where they don't.
    """
    if step_min is not None and (step_min < 1 or MINUTES_A_DAY % step_min):
        raise InputError(f"intervals of {step_min} min don't divide a day; give 1, 5, 15, 60, …")


def _wide(sheet: Sheet, timezone: str) -> Rows:
    columns = [k for k in range(len(sheet.names)) if k != sheet.index]
    if not columns:
        raise InputError(
            f"{sheet.path}: has one column, {sheet.names[0]!r}; a wide table needs the interval's start and "
            "then a column for each series, parted by commas"
        )
    series = [k for k in columns if sheet.names[k]]
    sheet.check_names(series)
    cells = sheet.load([sheet.index], columns)
    unnamed = [k for k in columns if not sheet.names[k]]
    for k in unnamed:
        if cells[k].null_count < len(cells[k]):
            raise InputError(f"{sheet.path}: column {k + 1} holds counts and has no name; name it")
    remarks = [f"{len(unnamed)} columns without name and content: left out"] if unnamed else []
    values = np.empty((len(series), len(cells[sheet.index])), dtype=np.float64)
    for i, k in enumerate(series):
        values[i] = cells.pop(k).to_numpy()
    check_finite(sheet, values.T, series)
    stamps = read_stamps(sheet, sheet.index, cells[sheet.index], timezone)
    return Rows(sheet, tuple(sheet.names[k] for k in series), values.T, stamps, remarks=remarks)


def _long(sheet: Sheet, timezone: str, strict: bool) -> Rows:
    index = {"time": sheet.index} if sheet.index else {}
    found = find_columns(sheet, "a long table", LONG_TABLE, index)
    other = [name for k, name in enumerate(sheet.names) if k not in found.values()]
    if other and strict:
        raise InputError(
            f"{sheet.path}: a long table has columns for time, series and count; leave out "
            f"{', '.join(map(repr, other[:12]))}"
        )
    cells = sheet.load([found["time"], found["series"]], [found["count"]])
    used = ", ".join(f"{role} {sheet.names[k]!r}" for role, k in found.items())
    remarks = [f"long table: {used}"]
    if other:
        remarks.append(f"columns not used: {', '.join(map(repr, other[:12]))}")
    return long_rows(sheet, found, cells, timezone, remarks)


def long_rows(
    sheet: Sheet, found: Mapping[str, int], cells: Mapping[int, Any], timezone: str, remarks: list[str]
) -> Rows:
    """Rows of a long table: `found` says which columns are time, series and count, `cells` is their content.

    Raises
    ------
    InputError
        Where a row has no name or no time, or a count is infinite.
    """
    time, series, count = found["time"], found["series"], found["count"]
    names, codes = coded_names(sheet, series, cells[series])
    values = cells[count].to_numpy().reshape(-1, 1)
    check_finite(sheet, values, [count])
    order = np.argsort(codes, kind="stable")
    stamps = read_stamps(sheet, time, cells[time], timezone, order, codes)
    return Rows(sheet, names, values, stamps, codes, remarks)
