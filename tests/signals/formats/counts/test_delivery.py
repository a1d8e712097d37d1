"""Counts over HTTP: lines of JSON, and tables of which nothing is guessed or left out."""

from __future__ import annotations

import gzip
import json
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest

from signals.errors import InputError
from signals.formats.counts import read_counts, write_counts
from signals.formats.counts.delivery import CSV, NDJSON, PARQUET, pushed, read_delivery
from signals.model.counts import CountTable

CITY = "Europe/Amsterdam"


def body(tmp_path: Path, content: str | bytes) -> Path:
    """A body as it lies in the spool folder, under a name that says nothing."""
    path = tmp_path / "tmp1234.part"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def line(
    series: object = "a", time: object = "2026-11-25T07:15:00+01:00", count: object = 17, **more: object
) -> str:
    return json.dumps({"series": series, "time": time, "count": count, **more}) + "\n"


def test_lines_of_json_become_a_table(tmp_path: Path) -> None:
    text = (
        line()
        + "\n"
        + line("b", count=0.5)
        + line("a", "2026-11-25T07:45:00+01:00", None)
        + line("b", "2026-11-25T06:30:00Z", 3)
    )
    table = read_delivery(body(tmp_path, text), NDJSON, timezone=CITY, step_min=15)
    assert (table.names, table.timezone, table.step_min) == (("a", "b"), CITY, 15)
    assert table.start == np.datetime64("2026-11-25T06:15")
    np.testing.assert_array_equal(table.values, [[17, 0.5], [np.nan, 3], [np.nan, np.nan]])


def test_lines_without_offsets_are_on_the_local_clock(tmp_path: Path) -> None:
    text = line(time="2026-11-25T07:15") + line(time="2026-11-25T07:30")
    local = read_delivery(body(tmp_path, text), NDJSON)
    assert (local.timezone, local.start) == ("", np.datetime64("2026-11-25T07:15"))
    there = read_delivery(body(tmp_path, text), NDJSON, timezone=CITY)
    assert there.start == np.datetime64("2026-11-25T06:15")


def test_lines_are_read_in_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("signals.formats.counts.ndjson._AT_ONCE", 3)
    text = "".join(line(f"s{k % 4}", f"2026-11-25T{k // 4:02d}:00", k) for k in range(40))
    table = read_delivery(body(tmp_path, text), NDJSON)
    np.testing.assert_array_equal(table.values, np.arange(40).reshape(10, 4))
    with pytest.raises(InputError, match="line 41: has no 'count'"):
        read_delivery(body(tmp_path, text + '{"series": "a", "time": "2026-11-25T00:00"}\n'), NDJSON)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (line(colour="red"), "line 3: has the field 'colour', which isn't known"),
        ('{"series": "a", "count": 1}\n', "line 3: has no 'time'"),
        ('{"time": "2026-11-25T07:15", "count": 1}\n', "line 3: has no 'series'"),
        (line(count="17"), "line 3: count.*number"),
        (line(count=True), "line 3: count.*number"),
        (line(count=float("nan")), "line 3: count.*finite"),
        (line(count=float("inf")), "line 3: count.*finite"),
        (line(series=5), "line 3: series.*string"),
        (line(series=""), "line 3: series.*at least 1"),
        (line(series="x" * 301), "line 3: series.*at most 300"),
        (line(time="yesterday"), "line 3, column 'time': 'yesterday' is no ISO time"),
        (line(time="2026-11-25T07:15"), "line 3: '2026-11-25T07:15' has no UTC offset"),
        ("null\n", "line 3: object"),
        ("[1]\n", "line 3: object"),
        ("{}\n", "line 3: has no 'series'"),
        ("garbage\n", "line 3: object: Invalid JSON"),
        ('{"series": "a", "ti', "line 3: object: Invalid JSON"),
        ('{"series": "a"\n,"time": "x", "count": 1}\n', "line 3: object: Invalid JSON"),
        ("[" * 100_000 + "\n", "line 3: object: Invalid JSON"),
        (line()[:-1] + "," + line(), "line 3: object: Invalid JSON"),
    ],
)
def test_a_line_that_is_no_count_is_refused_by_its_number(tmp_path: Path, wrong: str, message: str) -> None:
    path = body(tmp_path, line("b") + "\n" + wrong + line("c"))
    with pytest.raises(InputError, match=message) as refused:
        read_delivery(path, NDJSON)
    assert str(path) not in str(refused.value)


def test_text_that_is_not_utf8_is_refused_with_its_line(tmp_path: Path) -> None:
    wrong = line().encode().replace(b'"a"', b'"\xff"')
    with pytest.raises(InputError, match="line 2: object: Invalid JSON"):
        read_delivery(body(tmp_path, line().encode() + wrong), NDJSON)


@pytest.mark.parametrize("empty", ["", "\n\n"])
def test_no_lines_are_refused(tmp_path: Path, empty: str) -> None:
    with pytest.raises(InputError, match=r"holds no lines|is empty"):
        read_delivery(body(tmp_path, empty), NDJSON)


LONG = "time,series,count,lane\n2026-11-25T07:15,a,1,2\n2026-11-25T07:30,a,2,2\n"


def test_a_column_that_is_not_known_is_refused_over_http_and_a_remark_in_files(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="leave out 'lane'"):
        read_delivery(body(tmp_path, LONG), CSV)
    file = tmp_path / "counts.csv"
    file.write_text(LONG)
    assert any("'lane'" in remark for remark in read_counts(file).remarks)


def test_csv_and_parquet_of_either_layout_are_read(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    values = rng.poisson(9, (192, 3)).astype(np.float64)
    sent = CountTable(("a", "b", "c"), np.datetime64("2026-11-24T23:00"), 15, values, timezone=CITY)
    for layout in ("wide", "long"):
        for ending, media_type in ((".csv", CSV), (".parquet", PARQUET)):
            path = tmp_path / f"counts{ending}"
            write_counts(sent, path, layout=layout)  # type: ignore[arg-type]
            if media_type == PARQUET and layout == "long":
                continue
            got = read_delivery(body(tmp_path, path.read_bytes()), media_type, timezone=CITY)
            assert (got.names, got.start) == (sent.names, sent.start)
            np.testing.assert_array_equal(got.values, values)


@pytest.mark.parametrize(
    ("content", "media_type", "message"),
    [
        (gzip.compress(LONG.encode(), mtime=0), CSV, "Content-Encoding: gzip"),
        (b"PAR1" + b"\0" * 20, CSV, "is Parquet, and its Content-Type text/csv"),
        (LONG.encode(), PARQUET, "is no Parquet"),
        (b"PAR1" + b"\0" * 20, PARQUET, "broken or cut off Parquet"),
        (LONG.encode(), "text/plain", "text/plain is no media type of counts"),
        (b"\xef\xbb\xbf\n", CSV, "nothing but a mark of UTF-8"),
        (b"time,a\n2026-11-25T07:15,x\n", CSV, "^line 2, column 'a': 'x' is no number"),
        (b"time,a\n1950-01-01T00:00,1\n2026-11-25T07:15,2\n", CSV, "too many; is one of the years wrong"),
    ],
)
def test_a_body_that_is_not_what_it_should_be_is_refused(
    tmp_path: Path, content: bytes, media_type: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("signals.formats.counts.delivery.MOST_DELIVERED", 100_000)
    path = body(tmp_path, content)
    with pytest.raises(InputError, match=message) as refused:
        read_delivery(path, media_type, step_min=15)
    assert str(path) not in str(refused.value)


def test_a_small_parquet_file_that_holds_a_huge_table_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("signals.formats.counts.delivery.MOST_DELIVERED", 1000)
    big = CountTable(("a", "b"), np.datetime64("2026-11-24T00:00"), 1, np.ones((3000, 2)))
    write_counts(big, tmp_path / "counts.parquet")
    with pytest.raises(InputError, match="3000 rows of 3 columns are too many"):
        read_delivery(body(tmp_path, (tmp_path / "counts.parquet").read_bytes()), PARQUET)


@pytest.mark.parametrize(
    ("time", "timezone", "start"),
    [
        ("2026-11-25T07:15:00+01:00", CITY, "2026-11-25T06:15"),
        ("2026-11-25T06:15:00+00:00", CITY, "2026-11-25T06:15"),
        ("2026-11-25T07:15:00", CITY, "2026-11-25T06:15"),
        ("2026-10-25T02:15:00", CITY, "2026-10-25T00:15"),
        ("2026-10-25T02:15:00+01:00", CITY, "2026-10-25T01:15"),
        ("2026-11-25T07:15:00", "", "2026-11-25T07:15"),
        ("2026-11-25T07:15:00+10:00", "", "2026-11-25T07:15"),
    ],
)
def test_a_push_is_a_table_of_one_row(time: str, timezone: str, start: str) -> None:
    table = pushed(datetime.fromisoformat(time), {"a": 1.0, "b": 2.5}, timezone=timezone)
    assert (table.start, table.names, table.timezone) == (np.datetime64(start), ("a", "b"), timezone)
    np.testing.assert_array_equal(table.values, [[1.0, 2.5]])


@pytest.mark.parametrize(
    ("time", "message"),
    [
        ("2026-11-25T07:15:30", "whole minute"),
        ("2026-03-29T02:15:00", "clocks in Europe/Amsterdam skip"),
    ],
)
def test_a_push_at_no_possible_time_is_refused(time: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        pushed(datetime.fromisoformat(time), {"a": 1.0}, timezone=CITY)
