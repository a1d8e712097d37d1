"""Days of counts as the store keeps them: one day of one stream, with all its intervals, is one value.

So eight weeks of a city are some hundred thousand rows, which numpy decodes together. The day begins at midnight
UTC, or, where the network has no timezone, at midnight on the local clock. A day's bytes are a format and a number
for each interval, there or not, little-endian::

    1   uint16, 65535 where there is no count: all counts are whole and below 65535
    2   float64, NaN where there is no count
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from typing import Any, cast

import numpy as np
import sqlalchemy as sql
from numpy.typing import NDArray
from sqlalchemy import Connection, String, bindparam, select

from signals.errors import StoreUnavailable
from signals.model.counts import Floats
from signals.store.tables import CountDay

_COMPACT, _EXACT = 1, 2
_NONE = 65535
_NUMBERS: Mapping[int, np.dtype[Any]] = {_COMPACT: np.dtype("<u2"), _EXACT: np.dtype("<f8")}

DAYS = cast(sql.Table, CountDay.__table__)
_WANTED = select(
    DAYS.c.stream_id,
    # ISO text, in every database the same: to make dates of it would cost more than the counts
    sql.cast(DAYS.c.day, String),
    DAYS.c.slots,
).where(
    DAYS.c.stream_id.in_(bindparam("streams", expanding=True)),
    DAYS.c.day.between(bindparam("first"), bindparam("last")),
)
_ADD = sql.insert(DAYS)
_CHANGE = (
    sql.update(DAYS)
    .where(DAYS.c.stream_id == bindparam("of"), DAYS.c.day == bindparam("on"))
    .values(slots=bindparam("to"))
)

Ints = NDArray[np.int64]


def encode_days(values: Floats) -> list[bytes]:
    """Bytes of days; `values` float64[n_day, n_slot], veh per interval, finite and not negative, NaN for none."""
    absent = np.isnan(values)
    compact = (absent | ((values < _NONE) & (values == np.floor(values)))).all(axis=1)
    if compact.all():
        return _packed(np.where(absent, _NONE, values), _COMPACT)
    coded = [b""] * len(values)
    for form, rows in ((_COMPACT, np.flatnonzero(compact)), (_EXACT, np.flatnonzero(~compact))):
        numbers = np.where(absent[rows], _NONE, values[rows]) if form == _COMPACT else values[rows]
        for row, day in zip(rows.tolist(), _packed(numbers, form), strict=True):
            coded[row] = day
    return coded


def decode_days(coded: Sequence[bytes], n_slot: int) -> Floats:
    """Counts of days, float64[n_day, n_slot], veh per interval, NaN where there is none.

    Raises
    ------
    StoreUnavailable
        Where a day isn't as this release writes it.
    """
    values = np.empty((len(coded), n_slot))
    for form, rows, numbers in _unpacked(coded, n_slot):
        found = numbers.astype(np.float64)
        if form == _COMPACT:
            found[numbers == _NONE] = np.nan
        values[rows] = found
    return values


def _packed(numbers: Floats, form: int) -> list[bytes]:
    n, n_slot = numbers.shape
    kind = _NUMBERS[form]
    size = 1 + n_slot * kind.itemsize
    rows = np.empty((n, size), dtype=np.uint8)
    rows[:, 0] = form
    rows[:, 1:] = np.ascontiguousarray(numbers.astype(kind)).view(np.uint8).reshape(n, size - 1)
    whole = rows.tobytes()
    return [whole[at : at + size] for at in range(0, len(whole), size)]


def _unpacked(coded: Sequence[bytes], n_slot: int) -> Iterator[tuple[int, slice | Ints, NDArray[Any]]]:
    """By format, which days have it and their numbers as they are stored."""
    sizes = {form: 1 + n_slot * kind.itemsize for form, kind in _NUMBERS.items()}
    lengths = np.fromiter(map(len, coded), dtype=np.int64, count=len(coded))
    left = len(coded)
    for form, size in sizes.items():
        rows = np.flatnonzero(lengths == size)
        if not len(rows):
            continue
        chosen = coded if len(rows) == len(coded) else [coded[row] for row in rows.tolist()]
        raw = np.frombuffer(b"".join(chosen), dtype=np.uint8).reshape(len(rows), size)
        if (raw[:, 0] != form).any():
            break
        left -= len(rows)
        numbers = np.ascontiguousarray(raw[:, 1:]).view(_NUMBERS[form])
        yield form, slice(None) if len(rows) == len(coded) else rows, numbers
    if left:
        raise StoreUnavailable(
            f"some days of counts aren't of {n_slot} intervals in a format that this release knows; "
            "was the database written by a newer one?"
        )


def fetch_days(
    connection: Connection, streams: Sequence[int], first: date, last: date
) -> tuple[Sequence[int], Sequence[str], Sequence[bytes]]:
    """Stream, day (as ISO text) and bytes of all days from `first` to `last` of these few thousand streams."""
    rows = connection.execute(_WANTED, {"streams": list(streams), "first": first, "last": last}).all()
    if not rows:
        return (), (), ()
    found, days, coded = zip(*rows, strict=True)
    return found, days, coded


def write_days(
    connection: Connection, keys: Sequence[tuple[int, date]], coded: Sequence[bytes], known: Sequence[bool]
) -> None:
    """Add days, or change those that are `known`; a key is a stream's id and a day."""
    rows = list(zip(keys, coded, known, strict=True))
    added = [{"stream_id": of, "day": on, "slots": slots} for (of, on), slots, old in rows if not old]
    changed = [{"of": of, "on": on, "to": slots} for (of, on), slots, old in rows if old]
    if added:
        connection.execute(_ADD, added)
    if changed:
        connection.execute(_CHANGE, changed)
