"""Files that are refused, with where and what to do, and files that aren't what they seem."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from signals.errors import InputError
from signals.formats.counts import grid, open_sheet, read_counts, sheet, write_counts
from signals.model.counts import CountTable
from tests.signals.formats.counts.examples import MELBOURNE, TWO, csv_file, equal


def test_opening_a_table_tells_its_columns(tmp_path: Path) -> None:
    assert open_sheet(csv_file(tmp_path, TWO)).names == ("start", "A", "B")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (TWO.replace("4", "four"), r"line 3, column 'B': 'four' is no number"),
        (
            TWO.replace("\n2006-10-01T00:15", "\n\n\n2006-10-01T00:15").replace("4", "1_0"),
            "line 5, column 'B'",
        ),
        (TWO.replace("4", "inf"), "line 3, column 'B': inf is no count"),
        (TWO.replace("3,4", "3"), "line 3 has 2 cells, the header 3; is the file cut off"),
        (TWO.replace("1,2", "1"), "line 2 has 2 cells, the header 3"),
        (TWO.replace("1,2", "1,2,5"), "line 2 has 4 cells, the header 3"),
        (TWO.replace("2\n", "2,\n").replace("4\n", "4,\n"), "line 2 has 4 cells"),
        (TWO.replace("T00:15", "T00:15:30"), "line 3: 2006-10-01T00:15:30 isn't on a whole minute"),
        (
            TWO + "2006-10-01T00:37,5,6\n2006-10-01T00:45,7,8\n",
            "line 4: 2006-10-01T00:37 isn't on the grid of",
        ),
        (
            TWO.replace("2006-10-01T00:15", "01.10.2006 00:15"),
            "line 3, column 'start': '01.10.2006 00:15' is no",
        ),
        (TWO.replace("2006-10-01T00:15", "2006-13-01T00:15"), "is no ISO time"),
        (TWO.replace("2006-10-01T00:15", ""), "line 3, column 'start': '' is no ISO time"),
        (TWO.replace("T00:15", "T00:15Z"), "line 2: '2006-10-01T00:00' has no UTC offset"),
        (TWO.replace("T00:15", "T00:07"), "7 min apart .* doesn't divide a day"),
        (TWO.replace("T00:15", "T00:00"), "all rows are of one time"),
        (TWO.replace("B", "A"), "columns 2 and 3 are both named 'A'"),
        (TWO.replace("A", ""), "column 2 holds counts and has no name"),
        (TWO.replace("2006-10-01T00:00", "0001-10-01T00:00"), "is no ISO time"),
        ("start,A\n", "holds a header and no rows"),
        ("start\n2006-10-01T00:00\n", "has one column, 'start'"),
        ("", "is empty"),
        ("\n\n", "is empty; a header and rows"),
        ('start,"A\n', "opens a quote that never closes"),
        ("start,A\rx,1\r", "carriage returns"),
        ("<html>", "is XML or a web page"),
        ('{"a": 1}', "is JSON"),
        ("PK\x03\x04rest", "zip archive or a workbook"),
        ("start,A\n2006-10-01T00:00,\0\n", "is no text"),
    ],
)
def test_what_is_refused_says_where_and_what_to_do(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(InputError, match=said) as refused:
        read_counts(csv_file(tmp_path, text), layout="wide")
    assert str(tmp_path / "counts.csv") in str(refused.value)


def test_a_wrong_year_is_refused_before_it_fills_the_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (grid, sheet):
        monkeypatch.setattr(module, "MOST_CELLS", 1000)
    path = csv_file(tmp_path, TWO + "2006-10-01T00:30,5,6\n2096-10-01T00:45,5,6\n")
    with pytest.raises(InputError, match=r"goes from 2006.* to 2096.*is one of the years wrong"):
        read_counts(path)
    write_counts(
        CountTable(("A",), np.datetime64("2006-10-01"), 15, np.zeros((600, 1))), tmp_path / "a.parquet"
    )
    with pytest.raises(InputError, match="more than the 1000 cells"):
        read_counts(tmp_path / "a.parquet")
    monkeypatch.setattr(sheet, "MAX_UNPACKED_BYTES", 10)
    with pytest.raises(InputError, match="split it"):
        read_counts(path)


def test_files_that_are_not_what_they_seem(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = CountTable(("A",), np.datetime64("2006-10-01"), 15, np.zeros((3000, 1)))
    write_counts(table, tmp_path / "a.csv.gz")
    write_counts(table, tmp_path / "a.parquet")
    whole = (tmp_path / "a.csv.gz").read_bytes()
    parquet = (tmp_path / "a.parquet").read_bytes()

    def refused(name: str, content: bytes, said: str) -> None:
        path = tmp_path / name
        path.write_bytes(content)
        with pytest.raises(InputError, match=said) as error:
            read_counts(path)
        assert str(path) in str(error.value)

    refused("cut.csv.gz", whole[: len(whole) // 2], "cut off gzip")
    refused("tiny.csv.gz", whole[:12], "cut off gzip")
    refused("odd.csv.gz", whole[:200] + bytes(200) + whole[400:], "gzip|no number|no ISO|no text|cells")
    refused("twice.csv.gz", gzip.compress(whole), "gzipped twice")
    refused("cut.parquet", parquet[: len(parquet) // 2], "broken or cut off Parquet")
    refused("named.csv", parquet, "rename it to end in .parquet")
    refused("named.parquet", b"start,A\n2006-10-01,1\n", "is named as Parquet and isn't")
    refused("latin.csv", "start,Straße\n".encode("latin-1"), "no UTF-8 text")
    latin = "start,series,count\n2006-10-01,Straße,1\n2006-10-02,Straße,1\n".encode("latin-1")
    refused("names.csv", latin, "no UTF-8 text")
    refused("random.bin", bytes(range(1, 256)) * 50, "no UTF-8|quote|carriage|text")
    told = pa.table({"start": ["2006-10-01"], "A": [1.0]}).replace_schema_metadata({"pandas": "{?"})
    pq.write_table(told, tmp_path / "told.parquet")
    refused("told.parquet", (tmp_path / "told.parquet").read_bytes(), "broken or cut off Parquet")
    with pytest.raises(InputError, match="no such file"):
        read_counts(tmp_path / "absent.csv")
    with pytest.raises(InputError, match="is a folder"):
        read_counts(tmp_path)
    with pytest.raises(InputError, match="'Mars/Olympus' isn't known; give an IANA name"):
        read_counts(tmp_path / "a.parquet", timezone="Mars/Olympus")
    with pytest.raises(InputError, match="intervals of 7 min don't divide a day"):
        read_counts(tmp_path / "a.parquet", step_min=7)
    # Plain text under the name of gzip, and gzip under the name of plain text: browsers do either.
    (tmp_path / "plain.csv.gz").write_bytes(gzip.decompress(whole))
    (tmp_path / "packed.csv").write_bytes(whole)
    assert equal(read_counts(tmp_path / "plain.csv.gz"), table)
    assert equal(read_counts(tmp_path / "packed.csv"), table)


def test_a_time_that_no_clock_shows_is_refused(tmp_path: Path) -> None:
    import pandas as pd

    times = np.array(["2006-10-01", "11500-01-01"], dtype="datetime64[s]")
    pd.DataFrame({"start": times, "A": [1, 2]}).to_parquet(tmp_path / "far.parquet", index=False)
    for zone in ("", MELBOURNE):
        with pytest.raises(
            InputError, match=r"row 2, column 'start': 11500-01-01.* can't be the time of a count"
        ):
            read_counts(tmp_path / "far.parquet", timezone=zone)


def test_a_file_that_may_not_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = csv_file(tmp_path, TWO)

    def denied(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", denied)
    with pytest.raises(InputError, match="permission denied"):
        read_counts(path)


@settings(max_examples=150, deadline=None)
@given(
    content=st.one_of(
        st.binary(max_size=400), st.text(alphabet='stareAB,;\n"0123456789-:T .PR', max_size=200)
    )
)
def test_whatever_a_file_holds_it_is_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, content: bytes | str
) -> None:
    path = tmp_path_factory.mktemp("any") / "counts.csv"
    path.write_bytes(content if isinstance(content, bytes) else b"start,A\n" + content.encode())
    said = ""
    try:
        read_counts(path, timezone="Europe/Berlin")
    except InputError as error:
        said = str(error)
    assert not said or said.startswith(str(path))
