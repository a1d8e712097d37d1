"""Writing tables of counts and forecasts, so that they can be read back exactly."""

from __future__ import annotations

import csv
import gzip
import io
from pathlib import Path
from typing import Any, Literal
from zoneinfo import ZoneInfo

import numpy as np

from signals.errors import InputError
from signals.formats.counts.times import offset_text
from signals.formats.files import write_whole
from signals.model.counts import CountForecast, CountTable


def write_counts(table: CountTable, path: Path, *, layout: Literal["wide", "long"] = "wide") -> None:
    """Write counts as .csv, .csv.gz or .parquet, whole or not at all; `read_counts` gives the same again.

    With a timezone, CSV has local times with their UTC offsets, and needs the timezone to be read; Parquet
    keeps it. Reasons and remarks are not written.

    Raises
    ------
    InputError
        Where the file can't be written, or its name says none of the three.
    """
    import pandas as pd

    times = pd.DatetimeIndex(table.times.astype("datetime64[s]"), name="start")
    if table.timezone:
        times = times.tz_localize("UTC").tz_convert(ZoneInfo(table.timezone))
    if layout == "wide":
        frame = pd.DataFrame(table.values, columns=list(table.names), copy=False)
    else:
        n, m = table.values.shape
        times = times.repeat(m)
        codes = np.tile(np.arange(m), n).tolist()
        names = pd.Categorical.from_codes(codes, categories=pd.Index(table.names, dtype=object))
        frame = pd.DataFrame({"series": names, "count": table.values.ravel()})
    frame.index = times
    _write(frame, Path(path))


def write_forecast(forecast: CountForecast, path: Path) -> None:
    """Write a forecast as .csv, .csv.gz or .parquet, whole or not at all: wide, as counts are.

    A column a series with the mean, and one a quantile named as `series@0.05`: what evaluate_forecast.py
    takes as --forecasts.

    Raises
    ------
    InputError
        As for `write_counts`.
    """
    import pandas as pd

    n, m = forecast.mean.shape
    names = [*forecast.names, *(f"{name}@{level:g}" for name in forecast.names for level in forecast.levels)]
    values = np.hstack([forecast.mean, forecast.quantiles.reshape(n, m * len(forecast.levels))])
    frame = pd.DataFrame(values, columns=names)
    frame.index = pd.DatetimeIndex(forecast.times.astype("datetime64[s]"), name="start")
    _write(frame, Path(path))


def _write(frame: Any, path: Path) -> None:
    name = path.name.lower()
    if name.endswith((".parquet", ".pq")):
        write_whole(path, frame.to_parquet(engine="pyarrow"))
    elif name.endswith(".csv"):
        write_whole(path, _csv(frame))
    elif name.endswith(".csv.gz"):
        write_whole(path, gzip.compress(_csv(frame), compresslevel=6, mtime=0))
    else:
        raise InputError(f"{path}: counts are written as .csv, .csv.gz or .parquet; name it so")


def _csv(frame: Any) -> bytes:
    """Numbers as short as they can be read back exactly, which pandas' own writer doesn't do for integers."""
    import pyarrow as pa
    import pyarrow.csv as arrow_csv

    header = io.StringIO()
    writer = csv.writer(header, lineterminator="\n")
    if any(set(";\t|") & set(name) for name in frame.columns):
        # another delimiter in a name would look as if it parted cells
        writer = csv.writer(header, lineterminator="\n", quoting=csv.QUOTE_ALL)
    writer.writerow([frame.index.name, *frame.columns])
    index = frame.index
    local = np.datetime_as_string(index.tz_localize(None).to_numpy().astype("datetime64[m]"))
    if index.tz is not None:
        instants = index.tz_convert("UTC").tz_localize(None).to_numpy()
        shift = (index.tz_localize(None).to_numpy() - instants) // np.timedelta64(60, "s")
        kinds, which = np.unique(shift.astype(np.int64), return_inverse=True)
        local = np.char.add(local, np.array([offset_text(int(k)) for k in kinds], dtype=str)[which])
    plain = True
    columns = [pa.array(local)]
    for _, column in frame.items():
        if column.dtype == "category":
            # pyarrow quotes all text or none; times need no quotes, names do if they hold what parts cells.
            plain = not any(set(',"\r\n') & set(name) for name in column.cat.categories)
            column = column.astype(str)
        columns.append(pa.array(column.to_numpy(), from_pandas=True))
    body = io.BytesIO()
    table = pa.Table.from_arrays(columns, names=[str(k) for k in range(len(columns))])
    style = "none" if plain else "needed"
    arrow_csv.write_csv(
        table, body, write_options=arrow_csv.WriteOptions(include_header=False, quoting_style=style)
    )
    return header.getvalue().encode() + body.getvalue()
