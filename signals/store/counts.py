"""Counts of a network's streams: taking deliveries, and reading them back fast.

Times are `datetime64[m]`: UTC where the network has a timezone, the local clock where it hasn't. `count_days.py`
says how a day of counts is kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import cast

import numpy as np
import sqlalchemy as sql
from numpy.typing import NDArray
from sqlalchemy import Connection, String, bindparam, func, select
from sqlalchemy.orm import Session

from signals.errors import Conflict, InputError, NotFound
from signals.formats.counts.times import offset_text
from signals.model.counts import MINUTES_A_DAY, CountTable, Floats, Reason, Times, local_clock
from signals.store.audit import Actor, record
from signals.store.count_days import DAYS, decode_days, encode_days, fetch_days, write_days
from signals.store.tables import CountBatch, RoadNetwork, Screening, Stream
from signals.wire.counts import Existing

LONGEST_NAME = 300
EARLIEST = np.datetime64("1900-01-01", "m")
_AHEAD = np.timedelta64(MINUTES_A_DAY, "m")
"""How far clocks may be wrong: counts of later than that haven't happened."""
_EASTERNMOST = np.timedelta64(14 * 60, "m")
"""What a local clock of unknown timezone may show beyond UTC."""

_EPOCH = date(1970, 1, 1).toordinal()

_BLOCK_CELLS = 2_000_000
_BLOCK_STREAMS = 4_000
"""What is worked on at once: small enough for caches and for the parameters of a statement."""

_STREAMS = cast(sql.Table, Stream.__table__)
_LAST_DAY = select(func.max(DAYS.c.day)).where(DAYS.c.stream_id == _STREAMS.c.id).scalar_subquery()
_LAST_DAYS = select(
    _STREAMS.c.id, _STREAMS.c.name, _STREAMS.c.step_min, sql.cast(_LAST_DAY, String).label("last_day")
).where(_STREAMS.c.network_id == bindparam("network"))
_LAST_DAYS_OF_SOME = _LAST_DAYS.where(_STREAMS.c.name.in_(bindparam("names", expanding=True)))
_LOCK = select(RoadNetwork.id).where(RoadNetwork.id == bindparam("network")).with_for_update(key_share=True)
"""One delivery to a network at a time: what is there is read, changed and written back."""

Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Received:
    """What a delivery has changed: `counts` is the sum of `new`, `corrected`, `kept` and `unchanged`.

    Fields
    ------
    streams : streams with at least one count in the delivery
    new : counts where there was none; `late` of them are older than the last count that their stream had
    corrected : counts put in place of other ones
    kept : other counts that were left in place
    first, last : datetime64[m], start of the first and of the last interval with a count
    """

    batch_id: int
    streams: int
    counts: int
    new: int
    corrected: int
    kept: int
    unchanged: int
    late: int
    first: np.datetime64
    last: np.datetime64


@dataclass(frozen=True, slots=True)
class StreamFacts:
    """A stream, and the first, the last and the number of days of which there are counts."""

    id: int
    name: str
    step_min: int
    first_day: date | None
    last_day: date | None
    days: int


@dataclass(frozen=True, eq=False)
class Coverage:
    """How complete counts are.

    Fields
    ------
    streams, names : one a stream
    days : n_day of them, UTC days or, without a timezone, local ones
    share : float64[n_stream, n_day], intervals with a count among all of the day, 0 to 1
    slots : int64[n_stream], intervals of a stream's day
    """

    streams: tuple[int, ...]
    names: tuple[str, ...]
    days: tuple[date, ...]
    share: Floats
    slots: Ints


# ------------------------------------------------------------------------------------------------ writing


def store_counts(
    session: Session,
    network: RoadNetwork,
    actor: Actor,
    table: CountTable,
    *,
    existing: Existing = Existing.REFUSE,
    now: datetime,
    sha256: str,
) -> Received:
    """Take a delivery of counts of any number of streams and days, all of it or, with an error, nothing.

    Streams that aren't known are made. What is NaN in the table is no news and deletes nothing; a count that
    is there already is no news either, so a delivery can be sent twice. Deliveries to one network wait for
    each other. `now` has a timezone; `sha256` is that of what was sent, 64 hex digits.

    Raises
    ------
    InputError
        Where there is no count, one is negative or infinite, lies more than a day ahead or before 1900, or
        off the grid of the day; where a name is empty, too long or not printable; or where one of table and
        network has a timezone and the other hasn't.
    Conflict
        Where a stream has another interval, or, with `refuse`, a count differs from the one that is there.
    """
    if actor.person_id is None:
        raise ValueError("counts come from a person or a machine with a name, not from the service itself")
    delivery = _checked(table, network, now)
    with session.begin_nested():
        connection = session.connection()
        connection.execute(_LOCK, {"network": network.id})
        streams = _streams_for(connection, network.id, table, delivery.series)
        tally = _Tally()
        for at in range(0, len(streams), delivery.block):
            _take(connection, delivery, streams[at : at + delivery.block], at, existing, tally)
        if tally.clash and existing is Existing.REFUSE:
            raise Conflict(_told_clash(delivery, tally))
        return _recorded(session, network, actor, delivery, tally, existing, now, sha256)


@dataclass(frozen=True, eq=False)
class _Delivery:
    """A table that can be stored: which of its series hold counts, and where its rows lie in whole days."""

    table: CountTable
    series: Ints
    first: np.datetime64
    last: np.datetime64
    begin: int
    end: int

    @property
    def first_day(self) -> date:
        return _date(self.first)

    @property
    def n_day(self) -> int:
        return (_date(self.last) - self.first_day).days + 1

    @property
    def block(self) -> int:
        """Streams that are worked on at once."""
        return max(1, min(_BLOCK_STREAMS, _BLOCK_CELLS // (self.n_day * self.table.slots_a_day)))

    def days_of(self, series: Ints) -> Floats:
        """Counts of these series, float64[n_series, n_day, n_slot], NaN where there is none."""
        slots = self.table.slots_a_day
        past = _minute_of_day(self.first) // self.table.step_min
        days = np.full((len(series), self.n_day * slots), np.nan)
        days[:, past : past + self.end - self.begin] = self.table.values[self.begin : self.end, series].T
        return days.reshape(len(series), self.n_day, slots)

    def shown(self, time: np.datetime64) -> str:
        """A time of the table as people write it."""
        return shown_time(time, self.table.timezone)


@dataclass
class _Tally:
    """What was found so far; `clash` is stream, time, the count there and the one sent of the first."""

    counts: int = 0
    new: int = 0
    differ: int = 0
    late: int = 0
    clash: tuple[str, np.datetime64, float, float] | None = None


@dataclass(frozen=True, slots=True)
class _Target:
    """A stream that counts go to; `last_day` as days since 1970, None where it has no counts."""

    id: int
    name: str
    last_day: int | None


def shown_time(time: np.datetime64, timezone: str) -> str:
    """A time on the clock of its timezone, with its offset from UTC, as people there would write it."""
    if not timezone:
        return str(time)
    utc: Times = np.array([time]).astype("datetime64[m]")
    local = local_clock(utc, timezone)
    return f"{local[0]}{offset_text(int((local - utc).astype(np.int64)[0]))}"


def _checked(table: CountTable, network: RoadNetwork, now: datetime) -> _Delivery:
    if bool(table.timezone) != bool(network.timezone):
        raise InputError(
            f"the counts' times are in {table.timezone}, network {network.id} has no timezone and keeps local times"
            if table.timezone
            else f"the counts' times are on a local clock, network {network.id} is in {network.timezone}: "
            "say so when they are read"
        )
    values = table.values
    held = _held(values)
    if not held[0].any():
        raise InputError("there is no count in it; nothing to store")
    rows, series = (np.flatnonzero(h) for h in held)
    begin, end = int(rows[0]), int(rows[-1]) + 1
    first, last = table.times_after(begin, 1)[0], table.times_after(end - 1, 1)[0]
    delivery = _Delivery(table, series, first, last, begin, end)
    past = int(first.astype(np.int64)) % table.step_min
    if past:
        raise InputError(
            f"its intervals of {table.step_min} min start {past} min past the grid of the day"
            f"{' in UTC' if table.timezone else ''}: {delivery.shown(first)}; send intervals that divide "
            f"{past} min, such as {np.gcd(past, table.step_min)} min"
        )
    if np.fmin.reduce(values, axis=None) < 0 or np.isinf(np.fmax.reduce(values, axis=None)):
        with np.errstate(invalid="ignore"):
            row, k = (int(x) for x in np.argwhere((values < 0) | np.isinf(values))[0])
        raise InputError(
            f"series {table.names[k]!r} at {delivery.shown(table.times_after(row, 1)[0])}: {values[row, k]:g} "
            "vehicles is no count; correct it, or leave it out"
        )
    today = np.datetime64(now.astimezone(UTC).replace(tzinfo=None), "m")
    latest = today + _AHEAD + (np.timedelta64(0, "m") if table.timezone else _EASTERNMOST)
    if last > latest or first < EARLIEST:
        k = int(np.flatnonzero(~np.isnan(values[end - 1 if last > latest else begin]))[0])
        raise InputError(
            f"series {table.names[k]!r} has a count at {delivery.shown(last if last > latest else first)}, "
            f"{'more than a day ahead' if last > latest else 'before 1900'}; correct the time"
        )
    return delivery


def _held(values: Floats) -> tuple[Flags, Flags]:
    """Rows and series with a count."""
    if not values.size:
        return np.zeros(0, dtype=bool), np.zeros(0, dtype=bool)
    # NaN gives way to anything else, so no mask as large as the table is needed.
    return ~np.isnan(np.fmax.reduce(values, axis=1)), ~np.isnan(np.fmax.reduce(values, axis=0))


def _streams_for(connection: Connection, network_id: int, table: CountTable, series: Ints) -> list[_Target]:
    """The streams of these series, in their order; those that aren't known are made."""
    names = [table.names[k] for k in series.tolist()]
    known: dict[str, tuple[int, int, str | None]] = {}
    some = len(names) <= _BLOCK_STREAMS
    given = {"network": network_id, "names": names} if some else {"network": network_id}
    for id_, name, step, day in connection.execute(_LAST_DAYS_OF_SOME if some else _LAST_DAYS, given):
        known[name] = id_, step, day
    for name in names:
        if name in known and known[name][1] != table.step_min:
            raise Conflict(
                f"stream {name!r} has intervals of {known[name][1]} min, these counts are of {table.step_min} "
                "min; send them as they were before, or under another name"
            )
    fresh = [name for name in names if name not in known]
    ids = _made(connection, network_id, table.step_min, fresh) if fresh else {}
    numbers: dict[str, int] = {}
    found = []
    for name in names:
        id_, _, day = known[name] if name in known else (ids[name], table.step_min, None)
        if day is not None and day not in numbers:
            numbers[day] = _day_number(date.fromisoformat(day))
        found.append(_Target(id_, name, None if day is None else numbers[day]))
    return found


def _made(connection: Connection, network_id: int, step_min: int, names: Sequence[str]) -> dict[str, int]:
    for name in names:
        if not 0 < len(name) <= LONGEST_NAME or name != name.strip() or not name.isprintable():
            raise InputError(
                f"{name[:60]!r} ({len(name)} letters) can't name a stream: from 1 to {LONGEST_NAME} printable "
                "letters, no blanks around them"
            )
    rows = [{"network_id": network_id, "name": name, "step_min": step_min} for name in names]
    made = connection.execute(sql.insert(_STREAMS).returning(_STREAMS.c.name, _STREAMS.c.id), rows)
    return {row.name: row.id for row in made}


def _take(
    connection: Connection,
    delivery: _Delivery,
    streams: Sequence[_Target],
    at: int,
    existing: Existing,
    tally: _Tally,
) -> None:
    """Compare a block of series, from place `at` on, with what is there, and write what changes."""
    days = delivery.days_of(delivery.series[at : at + len(streams)])
    there = ~np.isnan(days)
    which, day = np.nonzero(there.any(axis=2))
    sent, has = days[which, day], there[which, day]
    old, known = _days_there(connection, delivery, streams, which, day)
    had = ~np.isnan(old)
    fresh = has & ~had
    differs = has & had & (sent != old)
    tally.counts += int(has.sum())
    tally.new += int(fresh.sum())
    tally.differ += int(differs.sum())
    tally.late += _late(delivery, streams, which, day, fresh, had)
    if tally.clash is None and differs.any():
        row, slot = (int(x) for x in np.argwhere(differs)[0])
        past = (int(day[row]) * delivery.table.slots_a_day + slot) * delivery.table.step_min
        time = np.datetime64(delivery.first_day, "m") + np.timedelta64(past, "m")
        tally.clash = streams[int(which[row])].name, time, float(old[row, slot]), float(sent[row, slot])
    if tally.clash is not None and existing is Existing.REFUSE:
        return
    write = fresh | differs if existing is Existing.REPLACE else fresh
    rows = np.flatnonzero(write.any(axis=1))
    if len(rows):
        coded = encode_days(np.where(write[rows], sent[rows], old[rows]))
        dates = _dates(delivery.first_day, delivery.n_day)
        keys = [
            (streams[k].id, dates[d]) for k, d in zip(which[rows].tolist(), day[rows].tolist(), strict=True)
        ]
        write_days(connection, keys, coded, known[rows].tolist())


def _days_there(
    connection: Connection, delivery: _Delivery, streams: Sequence[_Target], which: Ints, day: Ints
) -> tuple[Floats, Flags]:
    """What is stored of these days of these streams, NaN where nothing is, and whether there is a row."""
    old = np.full((len(which), delivery.table.slots_a_day), np.nan)
    known = np.zeros(len(which), dtype=bool)
    begins = _day_number(delivery.first_day)
    place = {s.id: k for k, s in enumerate(streams) if s.last_day is not None and s.last_day >= begins}
    if not place:
        return old, known
    dates = _dates(delivery.first_day, delivery.n_day)
    ids, texts, coded = fetch_days(connection, list(place), dates[0], dates[-1])
    at = np.full((len(streams), delivery.n_day), -1, dtype=np.int64)
    at[which, day] = np.arange(len(which))
    offsets = {day.isoformat(): k for k, day in enumerate(dates)}
    rows = at[[place[k] for k in ids], [offsets[text] for text in texts]]
    wanted = np.flatnonzero(rows >= 0)
    rows = rows[wanted]
    old[rows] = decode_days([coded[k] for k in wanted.tolist()], delivery.table.slots_a_day)
    known[rows] = True
    return old, known


def _late(
    delivery: _Delivery, streams: Sequence[_Target], which: Ints, day: Ints, fresh: Flags, had: Flags
) -> int:
    """How many new counts are older than the last one that their stream had."""
    begins = _day_number(delivery.first_day)
    lasts = np.array([-1 if s.last_day is None else s.last_day - begins for s in streams], dtype=np.int64)[
        which
    ]
    earlier = int(fresh[day < lasts].sum())
    same = np.flatnonzero((day == lasts) & had.any(axis=1))
    n_slot = had.shape[1]
    last_slot = n_slot - 1 - had[same, ::-1].argmax(axis=1)
    return earlier + int((fresh[same] & (np.arange(n_slot) < last_slot[:, None])).sum())


def _told_clash(delivery: _Delivery, tally: _Tally) -> str:
    assert tally.clash is not None
    name, time, old, new = tally.clash
    more = f", and {tally.differ - 1} more counts differ" if tally.differ > 1 else ""
    return (
        f"stream {name!r} has {old:g} vehicles at {delivery.shown(time)}, {new:g} were sent{more}; nothing was "
        "stored. Send with existing=replace to correct them, or existing=keep to leave them as they are"
    )


def _recorded(
    session: Session,
    network: RoadNetwork,
    actor: Actor,
    delivery: _Delivery,
    tally: _Tally,
    existing: Existing,
    now: datetime,
    sha256: str,
) -> Received:
    """The delivery's row and its entry in the audit."""
    assert actor.person_id is not None
    replaces, keeps = existing is Existing.REPLACE, existing is Existing.KEEP
    kept = tally.differ if keeps else 0
    remarks = list(delivery.table.remarks)
    if kept:
        remarks.append(f"{kept} counts differ from those there, which were kept")
    batch = CountBatch(
        network_id=network.id,
        person_id=actor.person_id,
        received_at=now,
        sha256=sha256,
        streams=len(delivery.series),
        counts=tally.counts,
        new=tally.new,
        corrected=tally.differ if replaces else 0,
        late=tally.late,
        first_at=_moment(delivery.first),
        last_at=_moment(delivery.last),
        remarks=remarks,
    )
    session.add(batch)
    session.flush()
    record(
        session,
        actor,
        "counts.receive",
        f"networks/{network.id}/counts",
        area_id=network.area_id,
        at=now,
        batch=batch.id,
        sha256=sha256,
        existing=existing.value,
        counts=batch.counts,
        new=batch.new,
        corrected=batch.corrected,
        late=batch.late,
    )
    return Received(
        batch_id=batch.id,
        streams=batch.streams,
        counts=batch.counts,
        new=batch.new,
        corrected=batch.corrected,
        kept=kept,
        unchanged=tally.counts - tally.new - tally.differ,
        late=batch.late,
        first=delivery.first,
        last=delivery.last,
    )


# ------------------------------------------------------------------------------------------------ reading


def read_counts(
    session: Session,
    network_id: int,
    *,
    streams: Sequence[int] | None = None,
    first: np.datetime64,
    last: np.datetime64,
) -> CountTable:
    """The counts of a network from one moment to another: a row an interval, a column a stream.

    Parameters
    ----------
    streams
        Ids, in the order of the table's columns; None for all of the network, by id.
    first, last
        datetime64, UTC where the network has a timezone, the local clock where it hasn't: the table holds the
        intervals that begin at `first` or later, up to the one that begins at `last`.

    Raises
    ------
    NotFound
        Where there is no such network, or no such stream in it.
    InputError
        Where the streams' intervals differ in length, so that they fit in no one table, or where no interval
        begins within the time asked for.
    """
    network = session.get(RoadNetwork, network_id)
    if network is None:
        raise NotFound(f"there is no network {network_id}")
    connection = session.connection()
    ids, names, step = _chosen(connection, network_id, streams)
    begin, end = _minute(first), _minute(last)
    start = begin + np.timedelta64(-int(begin.astype(np.int64)) % step, "m")
    rows = int((end - start).astype(np.int64)) // step + 1
    if rows < 1:
        raise InputError(f"no interval of {step} min begins from {first} to {last}; ask for a longer time")
    n_slot = MINUTES_A_DAY // step
    dates = _dates(_date(start), (_date(end) - _date(start)).days + 1)
    offsets = {day.isoformat(): k for k, day in enumerate(dates)}
    past = _minute_of_day(start) // step
    values = np.empty((rows, len(ids)))
    block = max(1, min(_BLOCK_STREAMS, _BLOCK_CELLS // (len(dates) * n_slot)))
    for at in range(0, len(ids), block):
        some = ids[at : at + block]
        place = {id_: k for k, id_ in enumerate(some)}
        found, texts, coded = fetch_days(connection, some, dates[0], dates[-1])
        days = np.full((len(some), len(dates), n_slot), np.nan)
        days[[place[k] for k in found], [offsets[text] for text in texts]] = decode_days(coded, n_slot)
        values[:, at : at + block] = days.reshape(len(some), -1)[:, past : past + rows].T
    reasons = np.isnan(values) * np.uint8(Reason.GAP)
    return CountTable(tuple(names), start, step, values, reasons, network.timezone)


def list_streams(
    session: Session, network_id: int, *, after: int = 0, limit: int | None = None
) -> list[StreamFacts]:
    """A network's streams by id, from the first one after `after` on, with the days of which there are counts."""
    mine = DAYS.c.stream_id == _STREAMS.c.id
    of_day = (func.min(DAYS.c.day), func.max(DAYS.c.day), func.count())
    query = (
        select(
            _STREAMS.c.id,
            _STREAMS.c.name,
            _STREAMS.c.step_min,
            *(select(what).select_from(DAYS).where(mine).scalar_subquery() for what in of_day),
        )
        .where(_STREAMS.c.network_id == network_id, _STREAMS.c.id > after)
        .order_by(_STREAMS.c.id)
        .limit(limit)
    )
    return [StreamFacts(*row) for row in session.connection().execute(query)]


def last_count_at(session: Session, network_id: int) -> np.datetime64 | None:
    """Start of the latest interval with a count, datetime64[m]; None where there is none."""
    # Counts are never deleted, so the deliveries know.
    found = session.scalar(select(func.max(CountBatch.last_at)).where(CountBatch.network_id == network_id))
    return None if found is None else np.datetime64(found.astimezone(UTC).replace(tzinfo=None), "m")


def coverage(
    session: Session,
    network_id: int,
    first: date,
    last: date,
    *,
    streams: Sequence[int] | None = None,
) -> Coverage:
    """How complete the counts of some streams are on each day from `first` to `last`; None for all of them.

    Raises
    ------
    NotFound
        Where a stream isn't of the network.
    InputError
        Where the days run backwards.
    """
    if last < first:
        raise InputError(f"the days run from {first} to {last}: give the earlier one first")
    connection = session.connection()
    facts = _facts(connection, network_id, streams)
    days = _dates(first, (last - first).days + 1)
    offsets = {day.isoformat(): k for k, day in enumerate(days)}
    share = np.zeros((len(facts), len(days)))
    slots = np.array([MINUTES_A_DAY // step for _, _, step in facts], dtype=np.int64)
    for n_slot in np.unique(slots).tolist():
        columns = np.flatnonzero(slots == n_slot).tolist()
        block = max(1, min(_BLOCK_STREAMS, _BLOCK_CELLS // (len(days) * n_slot)))
        for at in range(0, len(columns), block):
            place = {facts[k][0]: k for k in columns[at : at + block]}
            ids, texts, coded = fetch_days(connection, list(place), first, last)
            if ids:
                there = ~np.isnan(decode_days(coded, n_slot))
                share[[place[k] for k in ids], [offsets[t] for t in texts]] = there.mean(axis=1)
    return Coverage(tuple(f[0] for f in facts), tuple(f[1] for f in facts), tuple(days), share, slots)


def latest_screening(session: Session, network_id: int) -> Screening | None:
    """The latest look through a network's counts; None where there was none yet."""
    query = select(Screening).where(Screening.network_id == network_id).order_by(Screening.id.desc())
    return session.scalar(query.limit(1))


def list_batches(session: Session, network_id: int, *, after: int = 0, limit: int = 100) -> list[CountBatch]:
    """Deliveries to a network in the order in which they came, from the first one after `after` on."""
    query = select(CountBatch).where(CountBatch.network_id == network_id, CountBatch.id > after)
    return list(session.scalars(query.order_by(CountBatch.id).limit(limit)))


def _facts(
    connection: Connection, network_id: int, streams: Sequence[int] | None
) -> list[tuple[int, str, int]]:
    """Id, name and interval of these streams of a network in this order, or of all of them by id."""
    query = select(_STREAMS.c.id, _STREAMS.c.name, _STREAMS.c.step_min).where(
        _STREAMS.c.network_id == network_id
    )
    if streams is not None and len(streams) <= _BLOCK_STREAMS:
        query = query.where(_STREAMS.c.id.in_(bindparam("ids", list(streams), expanding=True)))
    found = [(id_, name, step) for id_, name, step in connection.execute(query.order_by(_STREAMS.c.id))]
    if streams is None:
        return found
    by_id = {facts[0]: facts for facts in found}
    missing = next((id_ for id_ in streams if id_ not in by_id), None)
    if missing is not None:
        raise NotFound(f"there is no stream {missing} in network {network_id}")
    return [by_id[id_] for id_ in streams]


def _chosen(
    connection: Connection, network_id: int, streams: Sequence[int] | None
) -> tuple[list[int], list[str], int]:
    facts = _facts(connection, network_id, streams)
    if not facts:
        raise NotFound(f"there are no counts of network {network_id}; send some first")
    steps = {step: name for _, name, step in reversed(facts)}
    if len(steps) > 1:
        shown = " and ".join(f"{name!r} of {step} min" for step, name in sorted(steps.items())[:2])
        raise InputError(f"streams have intervals of different length ({shown}); read them apart")
    return [f[0] for f in facts], [f[1] for f in facts], facts[0][2]


def _minute(time: np.datetime64) -> np.datetime64:
    """A moment in whole minutes, rounded up: no interval begins in between."""
    minute = time.astype("datetime64[m]")
    return cast(np.datetime64, minute if minute == time else minute + np.timedelta64(1, "m"))


def _moment(time: np.datetime64) -> datetime:
    return cast(datetime, time.astype("datetime64[s]").astype(datetime)).replace(tzinfo=UTC)


def _date(time: np.datetime64) -> date:
    return cast(date, time.astype("datetime64[D]").astype(date))


def _dates(first: date, count: int) -> list[date]:
    return [first + timedelta(days=k) for k in range(count)]


def _minute_of_day(time: np.datetime64) -> int:
    return int(time.astype("datetime64[m]").astype(np.int64)) % MINUTES_A_DAY


def _day_number(day: date) -> int:
    return day.toordinal() - _EPOCH
