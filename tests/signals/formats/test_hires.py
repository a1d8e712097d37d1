"""Event logs: detector counts against another package's own on a real log, and what is odd in logs."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from signals.errors import InputError
from signals.formats.hires import detector_counts, read_event_log
from signals.model.counts import CountTable, Reason

HEADER = "TimeStamp,DeviceId,EventId,Parameter"


def log_file(folder: Path, *rows: str, header: str = HEADER) -> Path:
    path = folder / "log.csv"
    path.write_text("\n".join([header, *rows, ""]))
    return path


def counts_of(path: Path, step_min: int = 15, timezone: str = "") -> CountTable:
    return detector_counts(read_event_log(path, timezone=timezone), step_min)


def sample() -> Path:
    spec = importlib.util.find_spec("atspm")
    if spec is None or spec.origin is None:
        pytest.skip("the atspm package isn't installed (extra dev)")
    return Path(spec.origin).parent / "data" / "sample_raw_data.parquet"


def counts_by_atspm(path: Path, step_min: int) -> dict[tuple[np.datetime64, str], int]:
    """What the atspm package counts, by interval and detector.

    Its query is run here rather than by itself: atspm 2.6.1 calls a method that duckdb 2 no longer has.
    It reads each log with SELECT DISTINCT, as here (atspm/data_loader.py).
    """
    atspm = pytest.importorskip("atspm")
    duckdb = pytest.importorskip("duckdb")
    wanted = [{"name": "actuations", "params": {"fill_in_missing": True}}]
    queries = atspm.SignalDataProcessor(
        raw_data=str(path), bin_size=step_min, verbose=0, to_sql=True, aggregations=wanted
    ).run()
    with duckdb.connect() as connection:
        connection.execute(
            f"CREATE TABLE raw_data AS SELECT DISTINCT TimeStamp, DeviceId, EventId, Parameter FROM '{path}'"
        )
        connection.execute(queries["actuations"])
        rows = connection.execute("SELECT TimeStamp, DeviceId, Detector, Total FROM actuations").fetchall()
    return {(np.datetime64(t, "m"), f"{device}:{detector}"): total for t, device, detector, total in rows}


@pytest.mark.parametrize("step_min", [15, 5])
def test_a_real_log_is_counted_as_atspm_counts_it(step_min: int) -> None:
    path = sample()
    theirs = counts_by_atspm(path, step_min)
    table = counts_of(path, step_min)
    ours = {
        (time, name): int(table.values[i, j])
        for i, time in enumerate(table.times)
        for j, name in enumerate(table.names)
    }
    assert ours == theirs
    assert len(table.names) > 20
    assert table.n_intervals == 120 // step_min
    assert sum(ours.values()) > 5000
    assert table.remarks == ("4 events given again, identically: dropped",)


def test_a_log_in_csv_is_counted_like_the_same_in_parquet(tmp_path: Path) -> None:
    import pandas as pd

    frame = pd.read_parquet(sample()).sample(frac=1, random_state=1)
    frame.columns = pd.Index(["time_stamp", "signal_id", "event code", "Event Param"])
    frame.to_csv(tmp_path / "log.csv.gz", index=False)
    a, b = counts_of(tmp_path / "log.csv.gz"), counts_of(sample())
    assert a.names == b.names
    assert np.array_equal(a.values, b.values)
    assert a.start == b.start


def test_silence_of_the_device_is_missing_and_of_a_detector_is_zero(tmp_path: Path) -> None:
    path = log_file(
        tmp_path,
        "2024-04-15 12:00:00.1,7,82,3",
        "2024-04-15 12:14:59.9,7,82,3",
        "2024-04-15 12:20:00.0,8,82,1",
        "2024-04-15 12:40:00.0,7,1,2",  # device 7 lives, its detector counts nobody
        "2024-04-15 12:44:59.0,8,82,1",
    )
    table = counts_of(path)
    assert table.names == ("7:3", "8:1")
    nan = float("nan")
    assert np.array_equal(table.values, [[2, nan], [nan, 1], [0, 1]], equal_nan=True)
    assert table.reasons[1, 0] == Reason.GAP
    assert table.remarks == (
        "device 7: logged nothing in 1 of 3 intervals",
        "device 8: logged nothing in 1 of 3 intervals",
    )


def test_order_does_not_matter_and_identical_events_are_one(tmp_path: Path) -> None:
    rows = [f"2024-04-15T12:00:{k:02d}.5,a,82,{k % 3}" for k in range(30)]
    rows += ["2024-04-15T12:14:30,a,81,0"]
    shuffled = [rows[k] for k in np.random.default_rng(1).permutation(len(rows))]
    table = counts_of(log_file(tmp_path, *shuffled, rows[4], rows[5]))
    assert table.names == ("a:0", "a:1", "a:2")
    assert table.values.tolist() == [[10, 10, 10]]
    assert table.remarks == ("2 events given again, identically: dropped",)


def test_detectors_come_by_device_and_number(tmp_path: Path) -> None:
    events = [("b", 10), ("b", 9), ("a", 1), ("b", 100)]
    table = counts_of(log_file(tmp_path, *(f"2024-04-15 12:00:00,{d},82,{n}" for d, n in events)))
    assert table.names == ("a:1", "b:9", "b:10", "b:100")


def test_a_log_that_covers_intervals_in_part_says_so(tmp_path: Path) -> None:
    table = counts_of(log_file(tmp_path, "2024-04-15 12:07:30,7,82,3", "2024-04-15 12:20:00,7,82,3"))
    assert table.start == np.datetime64("2024-04-15T12:00")
    assert table.values.tolist() == [[1], [1]]
    assert table.remarks == (
        "the log begins 450 s into an interval: its first counts are of the rest",
        "the log ends 600 s before an interval does: its last counts are of a part",
    )


def test_the_repeated_hour_is_two_hours_even_if_events_come_a_little_late(tmp_path: Path) -> None:
    def rows(hour: int, first: int) -> list[str]:
        return [f"2007-03-25 {hour:02d}:{m:02d}:00.{first + m % 9},7,82,1" for m in range(60)]

    passes = [*rows(1, 0), *rows(2, 0), *rows(2, 1), *rows(3, 0)]
    passes[70], passes[75] = passes[75], passes[70]
    table = counts_of(log_file(tmp_path, *passes), 15, "Australia/Melbourne")
    assert table.start == np.datetime64("2007-03-24T14:00")
    assert table.values[:, 0].tolist() == [15] * 16
    hourly = counts_of(log_file(tmp_path, *passes), 60, "Australia/Melbourne")
    assert hourly.values[:, 0].tolist() == [60] * 4
    with pytest.raises(InputError, match=r"line 62: an event at a time that clocks in .* skip"):
        read_event_log(
            log_file(tmp_path, *(r.replace("2007-03-25", "2006-10-29") for r in passes)),
            timezone="Australia/Melbourne",
        )


def test_an_hour_starts_on_the_hour_of_the_local_clock(tmp_path: Path) -> None:
    path = log_file(tmp_path, "2024-04-15 12:10:00,7,82,3", "2024-04-15 13:10:00,7,82,3")
    table = counts_of(path, 60, "Asia/Kolkata")
    assert [str(t) for t in table.local_times] == ["2024-04-15T12:00", "2024-04-15T13:00"]
    assert table.start == np.datetime64("2024-04-15T06:30")


@pytest.mark.parametrize(
    ("header", "rows", "said"),
    [
        (
            "TimeStamp,DeviceId,EventId",
            ["2024-04-15 12:00:00,7,82"],
            "a column for the parameter, named parameter",
        ),
        (HEADER, ["2024-04-15 12:00:00,7,82,"], "line 2, column 'Parameter': nan is no whole number"),
        (HEADER, ["2024-04-15 12:00:00,7,82.5,1"], "column 'EventId': 82.5 is no whole number"),
        (HEADER, ["2024-04-15 12:00:00,7,on,1"], "line 2, column 'EventId': 'on' is no number"),
        (HEADER, ["2024-04-15 12:00:00,,82,1"], "line 2, column 'DeviceId': has no name"),
        (HEADER, ["noon,7,82,1"], "line 2, column 'TimeStamp': 'noon' is no ISO time"),
        (
            HEADER + ",Signal",
            ["2024-04-15 12:00:00,7,82,1,7"],
            "'DeviceId' and 'Signal' may all be the device",
        ),
        (HEADER, ["2024-04-15 12:00:00,7,1,1"], "the log of 1 events has no detector-on event"),
    ],
)
def test_what_is_refused_says_where(tmp_path: Path, header: str, rows: list[str], said: str) -> None:
    with pytest.raises(InputError, match=said):
        counts_of(log_file(tmp_path, *rows, header=header))


def test_a_step_that_does_not_divide_a_day_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="intervals of 7 min"):
        counts_of(log_file(tmp_path, "2024-04-15 12:00:00,7,82,3"), 7)
