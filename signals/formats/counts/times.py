"""Times of a file's rows: ISO text or timestamps, on which clock, and the hours that it skips or repeats."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from signals.errors import InputError
from signals.formats.counts.columns import coded
from signals.formats.counts.sheet import Sheet
from signals.model.counts import Times, local_clock

Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]

_EARLIEST, _LATEST = np.datetime64("1900-01-01", "ms"), np.datetime64("2200-01-01", "ms")
_MINUTE = np.timedelta64(60_000, "ms")
_ISO = (
    r"^(?P<local>\d{4}-\d{2}-\d{2}(?:[T ]\d{2}:\d{2}(?::\d{2}(?:\.\d+)?)?)?)"
    r" ?(?P<offset>[Zz]|[+-]\d{2}(?::?\d{2})?)?$"
)


@dataclass(frozen=True, eq=False)
class Stamps:
    """The times of a file's rows.

    Fields
    ------
    times : datetime64[ms][n_row], UTC with a timezone, the local clock without
    timezone : IANA name, or empty
    skipped : bool[n_row], rows at local times that the timezone's clock skips
    backwards : the rows come from the newest to the oldest
    remarks : what was odd
    """

    times: Times
    timezone: str
    skipped: Flags
    backwards: bool = False
    remarks: tuple[str, ...] = ()


SecondPass = Callable[[Times], Flags]
"""Which of the times of a repeated hour, in the order in which they came, belong to its second pass."""


def second_pass_of_rows(times: Times) -> Flags:
    """The second pass of a repeated hour among rows: after the one step back, or each time's second row.

    Where each time has one row there is no telling, and all are of the first pass.
    """
    _, first = np.unique(times, return_index=True)
    if len(first) == len(times):
        return np.zeros(len(times), dtype=bool)
    back = np.flatnonzero(times[1:] < times[:-1])
    if len(back) == 1:
        after: Flags = np.arange(len(times)) > back[0]
        return after
    again = np.ones(len(times), dtype=bool)
    again[first] = False
    return again


def check_timezone(timezone: str) -> None:
    """Nothing where the timezone is known, or empty.

    Raises
    ------
    InputError
        Where it isn't.
    """
    try:
        if timezone:
            ZoneInfo(timezone)
    except (KeyError, ValueError, OSError):
        raise InputError(
            f"timezone {timezone!r} isn't known; give an IANA name such as Australia/Melbourne"
        ) from None


def read_stamps(
    sheet: Sheet,
    column: int,
    cells: Any,
    timezone: str,
    order: Ints | None = None,
    series: Ints | None = None,
    second_pass: SecondPass = second_pass_of_rows,
) -> Stamps:
    """Times of a column of ISO text or timestamps (`cells`, as `Sheet.load` gives it).

    With UTC offsets they are instants: in the timezone given if there is one, on the clock that the file
    shows if all offsets are the same, refused otherwise. Without, they are the local clock: of the timezone
    if there is one. Rows of an hour that the clock repeats are sorted into its two passes by `second_pass`,
    each series by itself (`order` and `series` as for `to_utc`).

    Raises
    ------
    InputError
        Where a time is missing, isn't ISO, or some have offsets and some haven't.
    """
    import pyarrow as pa

    if cells.null_count:
        row = int(np.flatnonzero(cells.is_null().to_numpy())[0])
        raise InputError(f"{sheet.where(row, column)}: has no time")
    own, offsets = "", None
    if pa.types.is_timestamp(cells.type) or pa.types.is_date(cells.type):
        own = getattr(cells.type, "tz", None) or ""
        times = cells.cast(pa.timestamp("ms", tz=own or None), safe=False).to_numpy().astype("datetime64[ms]")
        if own[:1] in ("+", "-"):
            own, offsets = "", np.full(len(times), _offset_min(own), dtype=np.int64)
    else:
        times, offsets = _parse(sheet, column, cells)
    odd = np.isnat(times) | (times < _EARLIEST) | (times > _LATEST)
    if odd.any():
        row = int(np.flatnonzero(odd)[0])
        raise InputError(f"{sheet.where(row, column)}: {times[row]} can't be the time of a count; correct it")
    order = np.arange(len(times)) if order is None else order
    backwards = _run_backwards(times[order], None if series is None else series[order])
    if offsets is not None:
        return _stamps_of_offsets(sheet.path, times, offsets, timezone, backwards)
    if not own and timezone:
        utc, skipped = to_utc(times, timezone, order[::-1] if backwards else order, series, second_pass)
        return Stamps(utc, timezone, skipped, backwards)
    check_timezone(own)
    # Instants with a timezone of their own are shown in the one that is wanted.
    return Stamps(times, timezone or own, np.zeros(len(times), dtype=bool), backwards)


def _run_backwards(times: Times, series: Ints | None) -> bool:
    """Whether rows, by series, go back in time but for the odd one."""
    steps = np.diff(times).astype(np.int64)
    if series is not None:
        steps = steps[np.diff(series) == 0]
    steps = steps[steps != 0]
    return len(steps) > 1 and bool((steps < 0).mean() > 0.9)


def _parse(sheet: Sheet, column: int, cells: Any) -> tuple[Times, Ints | None]:
    """Times of ISO text: UTC with the offsets in minutes, or the local clock and None."""
    import pandas as pd
    import pyarrow.compute as pc

    texts, indices = coded(cells)
    codes = indices.to_numpy()
    parts = pc.extract_regex(texts, _ISO)
    local = pc.struct_field(parts, "local").to_pandas()
    # pandas knows nanoseconds until 2262 only; ISO text of other years is refused like other text.
    times = pd.to_datetime(local, format="ISO8601", errors="coerce").to_numpy().astype("datetime64[ms]")
    bad = np.isnat(times)[codes]
    if bad.any():
        row = int(np.flatnonzero(bad)[0])
        raise InputError(
            f"{sheet.where(row, column)}: {texts[int(codes[row])].as_py()!r} is no ISO "
            "time; write it as 2006-10-29T01:45, with +10:00 after it if the offset is known"
        )
    offset = pc.dictionary_encode(pc.struct_field(parts, "offset"))
    shown = [text.as_py() or "" for text in offset.dictionary]
    which = offset.indices.to_numpy()
    bare = np.array([not text for text in shown])[which]
    if bare.all():
        return times[codes], None
    if bare.any():
        row = int(np.flatnonzero(bare[codes])[0])
        raise InputError(
            f"{sheet.where(row)}: {texts[int(codes[row])].as_py()!r} has no UTC offset, other "
            "rows have one; write all or none"
        )
    minutes = np.array([_offset_min(text) for text in shown], dtype=np.int64)[which]
    return (times - minutes * _MINUTE)[codes], minutes[codes]


def _offset_min(text: str) -> int:
    if text in ("Z", "z"):
        return 0
    digits = text[1:].replace(":", "").ljust(4, "0")
    return (-1 if text[0] == "-" else 1) * (int(digits[:2]) * 60 + int(digits[2:]))


def offset_text(minutes: int) -> str:
    """A UTC offset as ISO 8601 writes it, such as +10:00."""
    return f"{'-' if minutes < 0 else '+'}{abs(minutes) // 60:02d}:{abs(minutes) % 60:02d}"


def _stamps_of_offsets(path: Path, utc: Times, offsets: Ints, timezone: str, backwards: bool) -> Stamps:
    none = np.zeros(len(utc), dtype=bool)
    found = np.unique(offsets)
    shown = ", ".join(offset_text(int(o)) for o in found[:4])
    if timezone:
        minutes = utc.astype("datetime64[m]")
        own = (local_clock(minutes, timezone) - minutes).astype(np.int64)
        other = int((own != offsets).sum())
        said = f"{other} rows have UTC offsets ({shown}) other than {timezone}'s; their instants count"
        return Stamps(utc, timezone, none, backwards, (said,) if other else ())
    if len(found) > 1:
        raise InputError(
            f"{path}: its UTC offsets change ({shown}); give the timezone, such as Australia/Melbourne"
        )
    if not found[0]:
        return Stamps(utc, "UTC", none, backwards)
    said = (
        f"all times have the UTC offset {shown} and no timezone was given: kept on the clock that they show"
    )
    return Stamps(utc + offsets * _MINUTE, "", none, backwards, (said,))


def to_utc(
    times: Times,
    timezone: str,
    order: Ints | None = None,
    series: Ints | None = None,
    second_pass: SecondPass = second_pass_of_rows,
) -> tuple[Times, Flags]:
    """UTC of times on a timezone's local clock, and which of them that clock skips (as before the change).

    `order` are the rows by series, and as they came within each; `series` is the series of each row.
    """
    zone = ZoneInfo(timezone)
    day = np.timedelta64(1, "D")

    def offset_min(time: np.datetime64, fold: int) -> int:
        naive = datetime.fromtimestamp(int(time.astype("datetime64[s]").astype(np.int64)), UTC)
        shift = naive.replace(tzinfo=zone, fold=fold).utcoffset()
        assert shift is not None
        return round(shift.total_seconds() / 60)

    days, back = np.unique(times.astype("datetime64[D]"), return_inverse=True)
    begins = np.array([offset_min(d, 0) for d in days], dtype=np.int64)
    ends = np.array([offset_min(d + day, 1) for d in days], dtype=np.int64)
    shift = begins[back]
    skipped = np.zeros(len(times), dtype=bool)
    order = np.arange(len(times)) if order is None else order
    place = np.empty(len(times), dtype=np.int64)
    place[order] = np.arange(len(times))
    for changing in np.flatnonzero(begins != ends):
        rows = order[back[order] == changing]
        minutes, which = np.unique(times[rows].astype("datetime64[m]"), return_inverse=True)
        early = np.array([offset_min(m, 0) for m in minutes], dtype=np.int64)[which]
        late = np.array([offset_min(m, 1) for m in minutes], dtype=np.int64)[which]
        shift[rows] = early
        skipped[rows] = early < late
        twice = np.flatnonzero(early > late)
        # Ints of the hour that other rows part are told apart: a block given again is no second pass.
        at = place[rows[twice]]
        parted = np.diff(at) > 1
        if series is not None:
            parted |= np.diff(series[rows[twice]]) != 0
        for run in np.split(twice, np.flatnonzero(parted) + 1):
            second = run[second_pass(times[rows[run]])]
            shift[rows[second]] = late[second]
    return times - shift * _MINUTE, skipped
