"""Rows astray: missing, given twice, late or backwards."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from signals.formats.counts import read_counts
from signals.model.counts import Reason
from tests.signals.formats.counts.examples import NAN, csv_file, day


def test_missing_rows_become_gaps_and_the_step_is_the_median(tmp_path: Path) -> None:
    times = ["00:00", "00:05", "00:10", "00:30"]
    text = "start,A\n" + "".join(f"2006-10-01T{t},{k}\n" for k, t in enumerate(times))
    table = read_counts(csv_file(tmp_path, text))
    assert table.step_min == 5
    assert np.array_equal(table.values[:, 0], [0, 1, 2, NAN, NAN, NAN, 3], equal_nan=True)
    assert table.reasons[3:6].tolist() == [[Reason.GAP]] * 3
    assert table.remarks == ("3 intervals without a row: missing",)


def test_rows_given_twice_and_rows_that_come_late(tmp_path: Path) -> None:
    text = (
        "start,A,B\n2006-10-01T00:00,1,2\n2006-10-01T00:15,3,4\n2006-10-01T00:45,7,8\n"
        "2006-10-01T00:30,5,\n"  # late
        "2006-10-01T00:15,3,4\n"  # the same again
        "2006-10-01T00:00,1,9\n"  # B disagrees
        "2006-10-01T00:30,5,6\n"  # fills a blank
        "2006-10-01T01:00,9,10\n"
    )
    table = read_counts(csv_file(tmp_path, text))
    assert table.values.tolist() == [[1, 2], [3, 4], [5, 6], [7, 8], [9, 10]]
    none, late = Reason.NONE, Reason.LATE
    expected = [[none, Reason.DUPLICATE], [none, none], [late, late], [none, none], [none, none]]
    assert table.reasons.tolist() == expected
    assert any(r.startswith("1 rows given twice with the same counts") for r in table.remarks)
    assert any(
        r.startswith("1 counts given twice, and differently: the first is kept") for r in table.remarks
    )
    assert "1 rows out of order: sorted in" in table.remarks


def test_a_long_table_judges_each_series_by_itself(tmp_path: Path) -> None:
    rows = [
        *("2006-10-01T00:00,A,1", "2006-10-01T00:30,A,3", "2006-10-01T00:15,A,2"),
        *("2006-10-01T00:00,B,4", "2006-10-01T00:15,B,5", "2006-10-01T00:15,B,6", "2006-10-01T00:15,B,5"),
        "2006-10-01T00:00,A,1",
    ]
    table = read_counts(csv_file(tmp_path, "\n".join(["time,id,count", *rows])))
    assert np.array_equal(table.values, [[1, 4], [2, 5], [3, NAN]], equal_nan=True)
    none = Reason.NONE
    expected = [[none, none], [Reason.LATE, Reason.DUPLICATE], [none, Reason.GAP]]
    assert table.reasons.tolist() == expected
    assert any(r.startswith("2 rows given twice with the same") for r in table.remarks)


def test_a_file_that_runs_backwards_is_read_from_its_end(tmp_path: Path) -> None:
    rows = [f"{t},{k}" for k, t in enumerate(day("2006-10-01"))]
    table = read_counts(csv_file(tmp_path, "\n".join(["start,A", *rows[::-1]])))
    assert table.values[:, 0].tolist() == list(range(96))
    assert not (table.reasons != Reason.NONE).any()
    assert table.remarks == ("its rows run backwards: read from the end",)


@settings(max_examples=30, deadline=None)
@given(order=st.permutations(range(12)))
def test_the_order_of_rows_changes_no_count(
    tmp_path_factory: pytest.TempPathFactory, order: list[int]
) -> None:
    times = day("2006-10-01")
    text = "start,A\n" + "".join(f"{times[k]},{k}\n" for k in order)
    table = read_counts(csv_file(tmp_path_factory.mktemp("order"), text), step_min=15)
    assert table.values[:, 0].tolist() == list(range(12))
    late = [any(order.index(later) < order.index(k) for later in range(k + 1, 12)) for k in range(12)]
    if not any("backwards" in r for r in table.remarks):
        assert (table.reasons[:, 0] == Reason.LATE).tolist() == late
