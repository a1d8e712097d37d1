"""High-resolution event logs of signal controllers (Indiana enumerations), and detector counts from them.

A log has a row an event: when, at which controller (device), which code and its parameter. Codes are in
Sturdevant et al., *Indiana Traffic Signal Hi Resolution Data Logger Enumerations*, Purdue 2012
(doi.org/10.4231/K4RN35SH); a detector's number is the parameter of its events.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from signals.errors import InputError
from signals.formats.counts import (
    MOST_CELLS,
    check_timezone,
    coded_names,
    find_columns,
    has_columns,
    open_sheet,
    read_stamps,
)
from signals.model.counts import MINUTES_A_DAY, CountTable, Times, local_clock

DETECTOR_ON = 82
"""A detector's call begins, after its delay."""

COLUMNS = {
    "time": ("timestamp", "time stamp", "time", "datetime", "event time"),
    "device": (
        *("device id", "device", "signal id", "signal", "intersection id", "intersection", "controller id"),
        *("controller", "location", "location identifier", "device name"),
    ),
    "event code": ("event id", "event code", "event", "code", "event type"),
    "parameter": ("parameter", "event parameter", "event param", "param"),
}
"""Headers by which a log's columns are known; case, spaces, `_` and `-` don't matter."""

STEP_BACK_MIN = 30
"""In an hour that the clock repeats, a log that goes back by so much is in the second pass: events that come
out of order do so by seconds or a few minutes, the clock by an hour (on Lord Howe Island by half of one)."""

CUT_S = 60
"""A log that begins or ends so far inside an interval is taken to have missed a part of it."""


@dataclass(frozen=True, eq=False)
class EventLog:
    """Events by time, each once.

    Fields
    ------
    devices : name of each controller
    device : int64[n_event], position in `devices`
    times : datetime64[ms][n_event], rising: UTC with a timezone, the local clock without
    codes : int64[n_event], what happened
    parameters : int64[n_event], to which detector, phase, ...
    timezone : IANA name, or empty
    remarks : what was odd about the file
    """

    devices: tuple[str, ...]
    device: NDArray[np.int64]
    times: Times
    codes: NDArray[np.int64]
    parameters: NDArray[np.int64]
    timezone: str = ""
    remarks: tuple[str, ...] = ()


def is_event_log(names: tuple[str, ...]) -> bool:
    """Whether a header has a column for each of time, device, event code and parameter."""
    return has_columns(names, COLUMNS)


def read_event_log(path: Path, *, timezone: str = "") -> EventLog:
    """The events of a CSV (also gzipped) or Parquet file, sorted; an event given again is dropped.

    With a timezone, times without UTC offset are on its clock. In the hour that it repeats, what comes after
    a step back of half an hour or more, device by device, is the second pass.

    Raises
    ------
    InputError
        Where the file can't be read, lacks a column, or a row has no time, device, code or parameter.
    """
    path = Path(path)
    check_timezone(timezone)
    sheet = open_sheet(path)
    found = find_columns(sheet, "an event log", COLUMNS)
    time, device_at = found["time"], found["device"]
    numbers = [found["event code"], found["parameter"]]
    columns = sheet.load([time, device_at], numbers)
    whole = []
    for k in numbers:
        values = columns[k].to_numpy()
        odd = ~(values == np.round(values)) | (np.abs(values) > 1e9)
        if odd.any():
            row = int(np.flatnonzero(odd)[0])
            raise InputError(
                f"{sheet.where(row, k)}: {values[row]:g} is no whole number; "
                "every event has a code and a parameter"
            )
        whole.append(values.astype(np.int64))
    codes, parameters = whole
    devices, device = coded_names(sheet, device_at, columns[device_at])
    order = np.argsort(device, kind="stable")
    stamps = read_stamps(sheet, time, columns[time], timezone, order, device, _after_step_back)
    if stamps.skipped.any():
        row = int(np.flatnonzero(stamps.skipped)[0])
        raise InputError(
            f"{sheet.where(row)}: an event at a time that clocks in {timezone} skip, and so are "
            f"{int(stamps.skipped.sum()) - 1} more. The log is on another clock: read it without a timezone"
        )
    keys = (parameters, codes, device, stamps.times)
    by_time = np.lexsort(keys)
    again = np.zeros(len(by_time), dtype=bool)
    again[1:] = np.logical_and.reduce([key[by_time][1:] == key[by_time][:-1] for key in keys])
    remarks = list(stamps.remarks)
    if again.any():
        remarks.append(f"{int(again.sum())} events given again, identically: dropped")
    kept = by_time[~again]
    return EventLog(
        devices,
        device[kept],
        stamps.times[kept],
        codes[kept],
        parameters[kept],
        stamps.timezone,
        tuple(remarks),
    )


def _after_step_back(times: Times) -> NDArray[np.bool_]:
    back = np.maximum.accumulate(times) - times >= np.timedelta64(STEP_BACK_MIN, "m")
    second: NDArray[np.bool_] = np.maximum.accumulate(back)
    return second


def detector_counts(log: EventLog, step_min: int = 15) -> CountTable:
    """Detector-on events (82) per detector and interval; a series a detector, named `device:detector`.

    Which detectors there are, their events say: one without any is no series. An interval in which a device
    has logged nothing at all, no event of whatever code, is missing for its detectors (the controller or its
    connection was down); if it has logged anything, a detector without events has counted zero. Where a log
    begins or ends inside an interval, that interval's counts are what there is, and a remark says so.

    Raises
    ------
    InputError
        Where the step doesn't divide a day, the log has no detector-on event, or its times span more
        intervals than can be held.
    """
    if step_min < 1 or MINUTES_A_DAY % step_min:
        raise InputError(f"intervals of {step_min} min don't divide a day; give 1, 5, 15, 60, …")
    on = log.codes == DETECTOR_ON
    if not on.any():
        raise InputError(
            f"the log of {len(log.codes)} events has no detector-on event (code {DETECTOR_ON}); are detector "
            "events enabled in the controller's logging?"
        )
    # Intervals start at the local clock's midnight, which UTC need not do for an hour's interval.
    first = log.times[:1].astype("datetime64[m]")
    ahead = int((local_clock(first, log.timezone) - first).astype(np.int64)[0])
    ms = log.times.astype("datetime64[ms]").astype(np.int64) + ahead * 60_000
    interval = ms // (step_min * 60_000)
    row = interval - interval[0]
    n_interval = int(row[-1]) + 1
    detectors, column = np.unique(
        np.column_stack([log.device[on], log.parameters[on]]), axis=0, return_inverse=True
    )
    n_series = len(detectors)
    if n_interval * max(n_series, len(log.devices)) > MOST_CELLS:
        raise InputError(
            f"the log goes from {log.times[0]} to {log.times[-1]}, which is {n_interval} intervals of "
            f"{step_min} min for {n_series} detectors, too many; is one of the years wrong?"
        )
    # By name of the device, then by number, as one looks for them.
    ranks = np.argsort(np.argsort(np.array(log.devices)))
    shown = np.lexsort((detectors[:, 1], ranks[detectors[:, 0]]))
    place = np.argsort(shown)
    cells = row[on] * n_series + place[column.ravel()]
    counts = np.bincount(cells, minlength=n_interval * n_series).reshape(n_interval, n_series)
    logged = np.zeros((n_interval, len(log.devices)), dtype=bool)
    logged[row, log.device] = True
    device = detectors[shown, 0]
    values = np.where(logged[:, device], counts.astype(np.float64), np.nan)
    remarks = [*log.remarks, *_cut(log, ms, step_min)]
    silent = (~logged).sum(axis=0)
    for k in np.flatnonzero(silent):
        remarks.append(f"device {log.devices[k]}: logged nothing in {silent[k]} of {n_interval} intervals")
    start = np.datetime64(int(interval[0]) * step_min - ahead, "m")
    names = tuple(f"{log.devices[d]}:{n}" for d, n in detectors[shown])
    return CountTable(names, start, step_min, values, timezone=log.timezone, remarks=tuple(remarks))


def _cut(log: EventLog, local_ms: NDArray[np.int64], step_min: int) -> list[str]:
    """What is said of intervals that the log covers in part."""
    step, slack = step_min * 60_000, CUT_S * 1000
    begins, ends = int(local_ms[0]) % step, step - int(local_ms[-1]) % step
    said = []
    if begins >= slack:
        said.append(f"the log begins {begins // 1000} s into an interval: its first counts are of the rest")
    if ends > slack:
        said.append(f"the log ends {ends // 1000} s before an interval does: its last counts are of a part")
    return said
