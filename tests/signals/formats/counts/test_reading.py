"""Reading tables of counts: real ones, and every layout."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from signals.errors import InputError
from signals.formats.counts import read_counts
from signals.model.counts import Reason
from tests.signals.formats.counts.examples import MELBOURNE, NAN, ROOT, csv_file
from tests.signals.stick import SHARED, measuring_stick


@pytest.mark.parametrize("name", ["boroondara_oct2006.csv.gz", "melbourne5_2007_2010.csv.gz"])
def test_real_counts_are_read_as_the_measuring_stick_reads_them(name: str) -> None:
    path = SHARED / "data" / name
    if not path.exists():
        pytest.skip(f"{path} isn't here")
    times, values, names, step = measuring_stick().load_counts(str(path))
    table = read_counts(path)
    assert table.step_min == step == 15
    assert list(table.names) == names
    assert np.array_equal(table.times, times)
    assert np.array_equal(table.values, values, equal_nan=True)
    assert table.remarks == ()


def test_counts_in_the_hour_that_clocks_skip_are_refused_rather_than_lost() -> None:
    path = SHARED / "data" / "boroondara_oct2006.csv.gz"
    if not path.exists():
        pytest.skip(f"{path} isn't here")
    with pytest.raises(InputError, match=r"line 2698: 2006-10-29T02:00 .* skip.*'2000_2276' has 63 vehicles"):
        read_counts(path, timezone=MELBOURNE)


def test_a_wide_table(tmp_path: Path) -> None:
    table = read_counts(csv_file(tmp_path, "start,A,B 2\n2006-10-01T00:00,1,2.5\n2006-10-01 00:15:00,-3,\n"))
    assert table.names == ("A", "B 2")
    assert table.start == np.datetime64("2006-10-01T00:00")
    assert table.step_min == 15
    assert np.array_equal(table.values, [[1, 2.5], [-3, NAN]], equal_nan=True)
    assert table.reasons.tolist() == [[Reason.NONE, Reason.NONE], [Reason.NONE, Reason.GAP]]
    assert table.remarks == ()


@pytest.mark.parametrize(
    "blank", ["", " ", "NaN", "nan", "NA", "N/A", "null", "NULL", "None", "-", " NA ", '""', "#N/A"]
)
def test_the_usual_words_for_missing(tmp_path: Path, blank: str) -> None:
    text = f"start,A,B\n2006-10-01T00:00,{blank},1\n2006-10-01T00:15,4, 5 \n"
    table = read_counts(csv_file(tmp_path, text))
    assert np.array_equal(table.values, [[NAN, 1], [4, 5]], equal_nan=True)


@pytest.mark.parametrize("delimiter", [";", "\t", "|"])
def test_other_delimiters_line_ends_and_a_byte_order_mark(tmp_path: Path, delimiter: str) -> None:
    text = "start,A,B\r\n2006-10-01T00:00,1,2\r\n2006-10-01T00:15,3,4\r\n".replace(",", delimiter)
    path = tmp_path / "counts.csv"
    path.write_bytes(b"\xef\xbb\xbf" + text.encode())
    table = read_counts(path)
    assert table.names == ("A", "B")
    assert table.values.tolist() == [[1, 2], [3, 4]]


@pytest.mark.parametrize(
    ("header", "extra"),
    [("Time_Stamp,Detector ID,Volume", ""), ("series,extra,start,count", "x"), ("sensor,start,count", "")],
)
def test_a_long_table_says_which_columns_it_used(tmp_path: Path, header: str, extra: str) -> None:
    columns = header.split(",")
    cells = {"time": "2006-10-01T00:00", "series": "7", "count": "3"}
    roles = {
        "Time_Stamp": "time", "start": "time", "Detector ID": "series", "series": "series",
        "sensor": "series", "Volume": "count", "count": "count",
    }  # fmt: skip

    def row(time: str, series: str, count: str) -> str:
        cells.update(time=time, series=series, count=count)
        return ",".join(cells[roles[c]] if c in roles else extra for c in columns)

    rows = [row("2006-10-01T00:00", "7", "3"), row("2006-10-01T00:00", "07", "4")]
    rows += [row("2006-10-01T00:30", "7", "5"), row("2006-10-01T00:15", "07", "NA")]
    table = read_counts(csv_file(tmp_path, "\n".join([header, *rows])))
    assert table.names == ("7", "07")
    assert np.array_equal(table.values, [[3, 4], [NAN, NAN], [5, NAN]], equal_nan=True)
    assert table.remarks[0].startswith("long table: ")
    assert all(repr(c) in table.remarks[0] for c in columns if c in roles)
    assert any("'extra'" in r for r in table.remarks) == bool(extra)


def test_a_long_table_without_its_columns_is_told_what_it_has_and_needs(tmp_path: Path) -> None:
    path = csv_file(tmp_path, "start,lane,count\n2006-10-01T00:00,1,2\n")
    with pytest.raises(InputError, match=r"column for the series, named series, detector.*found .*'lane'"):
        read_counts(path, layout="long")
    path = csv_file(tmp_path, "start,station,detector,count\n2006-10-01T00:00,1,1,2\n")
    with pytest.raises(InputError, match="'station' and 'detector' may all be the series"):
        read_counts(path)


def test_long_and_wide_in_parquet_with_names_and_numbers_as_text(tmp_path: Path) -> None:
    import pandas as pd

    times = pd.to_datetime(["2006-10-01T00:00", "2006-10-01T00:15"])
    frame = pd.DataFrame({"start": times, "id": [3, 3], "count": ["4", "NA"]})
    frame.to_parquet(tmp_path / "long.parquet", index=False)
    table = read_counts(tmp_path / "long.parquet")
    assert table.names == ("3",)
    assert np.array_equal(table.values, [[4], [NAN]], equal_nan=True)
    frame.loc[1, "count"] = "many"
    frame.to_parquet(tmp_path / "long.parquet", index=False)
    with pytest.raises(InputError, match="row 2, column 'count': 'many' is no number"):
        read_counts(tmp_path / "long.parquet")
    wide = pd.DataFrame({"A": [1, 2], "B": [3.0, None]}, index=times)
    wide.to_parquet(tmp_path / "wide.parquet")
    table = read_counts(tmp_path / "wide.parquet")
    assert table.names == ("A", "B")
    assert np.array_equal(table.values, [[1, 3], [2, NAN]], equal_nan=True)
    pd.DataFrame({"start": times, "A": [True, False]}).to_parquet(tmp_path / "flags.parquet")
    with pytest.raises(InputError, match="column 'A' holds bool, counts are numbers"):
        read_counts(tmp_path / "flags.parquet")


def test_importing_the_module_loads_neither_pandas_nor_pyarrow() -> None:
    code = (
        "import sys, signals.formats.counts, signals.formats.sources, signals.demand.merging; "
        "print([m for m in ('pandas', 'pyarrow') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout.strip() == "[]"
