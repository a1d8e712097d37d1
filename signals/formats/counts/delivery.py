"""Counts that come over HTTP, read more strictly than files: nothing is guessed, nothing is left out."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import cast

import numpy as np

from signals.errors import InputError
from signals.formats.counts.grid import to_table
from signals.formats.counts.ndjson import ndjson_rows
from signals.formats.counts.reading import check_step, read_counts
from signals.formats.counts.times import check_timezone, to_utc
from signals.formats.files import GZIP_MAGIC
from signals.model.counts import CountTable

CSV, PARQUET, NDJSON = "text/csv", "application/vnd.apache.parquet", "application/x-ndjson"
MOST_DELIVERED = 70_000_000
"""Intervals times series of one delivery, 560 MB in memory: eight weeks of a thousand intersections."""
_PARQUET_MAGIC = b"PAR1"


def read_delivery(
    path: Path, media_type: str, *, timezone: str = "", step_min: int | None = None
) -> CountTable:
    """The counts of a body that was written to `path`, of this media type; times and steps as for `read_counts`.

    Messages don't tell the path: whoever sent the body knows no such file.

    Raises
    ------
    InputError
        Where the body isn't of the type that it should be, holds columns or fields that aren't known, can't be
        understood, or would make a table of more than `MOST_DELIVERED` cells.
    """
    try:
        _check_kind(path, media_type)
        if media_type == NDJSON:
            check_timezone(timezone)
            check_step(step_min)
            return to_table(ndjson_rows(path, timezone), step_min, MOST_DELIVERED)
        return read_counts(path, timezone=timezone, step_min=step_min, strict=True, most_cells=MOST_DELIVERED)
    except InputError as error:
        raise InputError(str(error).replace(f"{path}: ", "").replace(str(path), "the body")) from None


def pushed(
    time: datetime, counts: Mapping[str, float], *, timezone: str = "", step_min: int = 15
) -> CountTable:
    """The counts of one interval as a table of one row, a series each.

    `time` is its start, as `on_clock` takes it.

    Raises
    ------
    InputError
        Where that can't be, or intervals of this length don't divide a day.
    """
    check_step(step_min)
    start = on_clock(time, timezone)
    values = np.array([list(counts.values())], dtype=np.float64)
    return CountTable(tuple(counts), start, step_min, values, timezone=timezone)


def on_clock(time: datetime, timezone: str) -> np.datetime64:
    """A moment as tables of counts have it, datetime64[m]: UTC with a timezone, the local clock without.

    A time without an offset is on the timezone's clock, in a repeated hour on its first pass.

    Raises
    ------
    InputError
        Where it isn't on a whole minute, or the clock skips it.
    """
    check_timezone(timezone)
    if time.second or time.microsecond:
        raise InputError(f"{time.isoformat()} isn't on a whole minute, as intervals are; correct or round it")
    if time.tzinfo is not None and timezone:
        return np.datetime64(time.astimezone(UTC).replace(tzinfo=None), "m")
    shown = np.datetime64(time.replace(tzinfo=None), "m")
    if not timezone:
        return shown
    utc, skipped = to_utc(np.array([shown]).astype("datetime64[ms]"), timezone)
    if skipped[0]:
        raise InputError(f"{time.isoformat()} is a time that clocks in {timezone} skip; correct it")
    return cast(np.datetime64, utc.astype("datetime64[m]")[0])


def _check_kind(path: Path, media_type: str) -> None:
    """The body is what its media type says, and no small one that unpacks to a large one."""
    if media_type not in (CSV, PARQUET, NDJSON):
        raise InputError(f"{media_type} is no media type of counts; send {CSV}, {PARQUET} or {NDJSON}")
    with path.open("rb") as stream:
        start = stream.read(4)
    if start.startswith(GZIP_MAGIC):
        raise InputError("the body is gzipped; say so by Content-Encoding: gzip, or send it unpacked")
    if (start == _PARQUET_MAGIC) != (media_type == PARQUET):
        is_ = "is" if start == _PARQUET_MAGIC else "is no"
        raise InputError(f"the body {is_} Parquet, and its Content-Type {media_type}")
    if media_type == PARQUET:
        _check_parquet_size(path)


def _check_parquet_size(path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        found = pq.ParquetFile(path).metadata
    except (pa.ArrowException, OSError, ValueError) as error:
        raise InputError(
            f"the body is broken or cut off Parquet: {str(error).splitlines()[0][:200]}"
        ) from None
    if found.num_rows * found.num_columns > 3 * MOST_DELIVERED:
        raise InputError(
            f"{found.num_rows} rows of {found.num_columns} columns are too many for one delivery; send it in parts"
        )
