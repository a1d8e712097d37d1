"""Counts and forecasts as tables in files: CSV (also gzipped) and Parquet, wide or long.

*Wide*: the first column is the start of the interval, every other column a series; blank is missing. *Long*: a
row a count, in columns for time, series and count. What is odd but usable is kept and told in the table's
remarks and reasons; what can't be understood is refused with its line.

    reading.py    `read_counts`: the two layouts
    writing.py    `write_counts`, `write_forecast`
    sheet.py      a CSV or Parquet file as columns of text and numbers: `open_sheet`
    columns.py    which of the columns is what, by its header
    times.py      times of rows, their clock, and the hours that it skips or repeats: `read_stamps`, `to_utc`
    grid.py       from rows to a table of even intervals
    ndjson.py     lines of JSON, a count each
    delivery.py   what comes over HTTP: `read_delivery`, `pushed`, `on_clock`

pandas and pyarrow are loaded when a file is read or written, not before.
"""

from signals.formats.counts.columns import coded_names, find_columns, has_columns, layout_of
from signals.formats.counts.reading import read_counts
from signals.formats.counts.sheet import MOST_CELLS, open_sheet
from signals.formats.counts.times import check_timezone, read_stamps, to_utc
from signals.formats.counts.writing import write_counts, write_forecast

__all__ = [
    "MOST_CELLS",
    "check_timezone",
    "coded_names",
    "find_columns",
    "has_columns",
    "layout_of",
    "open_sheet",
    "read_counts",
    "read_stamps",
    "to_utc",
    "write_counts",
    "write_forecast",
]
