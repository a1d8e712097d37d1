"""Counts in the store: what goes in comes out, whatever the order, and a refused delivery leaves nothing behind."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import func, select, text

from signals.errors import Conflict, InputError, NotFound, StoreUnavailable
from signals.model.counts import CountTable, Floats
from signals.store.audit import Actor, verify
from signals.store.count_days import decode_days, encode_days
from signals.store.counts import (
    Received,
    coverage,
    last_count_at,
    list_batches,
    list_streams,
    read_counts,
    store_counts,
)
from signals.store.session import Store
from signals.store.tables import Area, AuditEntry, CountBatch, CountDay, Person, RoadNetwork, Stream, Upload
from signals.wire.counts import Existing

NOW = datetime(2026, 11, 26, 12, tzinfo=UTC)
MONDAY = np.datetime64("2026-11-23T00:00", "m")
CITY = "Europe/Amsterdam"
SHA = "ab" * 32
NAN = float("nan")


def network(store: Store, timezone: str = CITY) -> int:
    """A network without files, and its id."""
    with store.writing() as session:
        city = session.scalar(select(Area).order_by(Area.id))
        if city is None:
            city = Area(path="/1/", name="city", bounds=None, created_at=NOW)
            session.add(city)
        person = Person(name=f"sender {timezone}", created_at=NOW)
        upload = session.get(Upload, SHA) or Upload(sha256=SHA, content=b"", created_at=NOW)
        session.add_all([person, upload])
        session.flush()
        made = RoadNetwork(
            area_id=city.id,
            name=f"network {timezone}",
            timezone=timezone,
            state="ready",
            upload_sha256=SHA,
            facts={},
            created_by=person.id,
            created_at=NOW,
        )
        session.add(made)
        session.flush()
        return made.id


def table(
    columns: Mapping[str, list[float]],
    start: np.datetime64 = MONDAY,
    step_min: int = 15,
    timezone: str = CITY,
) -> CountTable:
    """A table of these series."""
    values = np.array(list(columns.values()), dtype=np.float64).T
    return CountTable(tuple(columns), start, step_min, values, timezone=timezone)


def send(store: Store, network_id: int, sent: CountTable, existing: Existing = Existing.REFUSE) -> Received:
    """A delivery in a transaction of its own."""
    with store.writing() as session:
        found = session.get_one(RoadNetwork, network_id)
        actor = Actor(found.created_by, "test")
        return store_counts(session, found, actor, sent, existing=existing, now=NOW, sha256=SHA)


def stored(
    store: Store, network_id: int, first: np.datetime64, last: np.datetime64, streams: list[int] | None = None
) -> CountTable:
    """What is read back."""
    with store.reading() as session:
        return read_counts(session, network_id, streams=streams, first=first, last=last)


def minutes(k: int) -> np.timedelta64:
    return np.timedelta64(k, "m")


def rows_of(store: Store) -> tuple[int, int, int, int]:
    """Streams, days, deliveries and entries in the audit."""
    with store.reading() as session:
        streams, days, batches, entries = (
            session.scalar(select(func.count()).select_from(kind)) or 0
            for kind in (Stream, CountDay, CountBatch, AuditEntry)
        )
        return streams, days, batches, entries


# ---------------------------------------------------------------------------------------------- the codec


@pytest.mark.parametrize(
    ("day", "size"),
    [
        ([0.0, 1.0, 65534.0, NAN], 1 + 4 * 2),
        ([NAN, NAN, NAN, 7.0], 1 + 4 * 2),
        ([65535.0, 1.0, NAN, 0.0], 1 + 4 * 8),
        ([0.5, NAN, 1e300, 2.0], 1 + 4 * 8),
        ([1 / 3, 5e-324, 2.0**53 + 2, 0.0], 1 + 4 * 8),
    ],
)
def test_a_day_comes_back_exactly_and_whole_counts_take_two_bytes(day: list[float], size: int) -> None:
    coded = encode_days(np.array([day]))
    assert [len(c) for c in coded] == [size]
    np.testing.assert_array_equal(decode_days(coded, 4), [day])


def test_days_of_both_formats_keep_their_order() -> None:
    days = np.array([[1.0, NAN], [0.5, 2.0], [3.0, 4.0], [NAN, 70_000.0], [NAN, 5.0]])
    np.testing.assert_array_equal(decode_days(encode_days(days), 2), days)


@pytest.mark.parametrize("broken", [b"", b"\x01", b"\x03\x00\x00\x00\x00", b"\x01\x00\x00\x00\x00\x00"])
def test_a_day_in_an_unknown_format_is_not_taken_for_counts(broken: bytes) -> None:
    with pytest.raises(StoreUnavailable, match="some days of counts"):
        decode_days([broken, *encode_days(np.array([[1.0, 2.0]]))], 2)


# --------------------------------------------------------------------------------------------- round trips


def test_whole_fractional_and_huge_counts_come_back_as_they_were_sent(store: Store) -> None:
    nid = network(store)
    rng = np.random.default_rng(1)
    whole = rng.poisson(40, 3 * 96).astype(np.float64)
    whole[5:9] = NAN
    sent = table(
        {"whole": list(whole), "half": list(whole / 2), "huge": list(whole * 1e12), "none": [NAN] * 288}
    )
    got = send(store, nid, sent)
    assert (got.streams, got.counts, got.new, got.late) == (3, 3 * 284, 3 * 284, 0)
    assert (got.first, got.last) == (MONDAY, MONDAY + minutes(15 * 287))
    back = stored(store, nid, sent.start, sent.times[-1])
    assert back.names == ("whole", "half", "huge")
    assert (back.start, back.step_min, back.timezone) == (sent.start, 15, CITY)
    np.testing.assert_array_equal(back.values, sent.values[:, :3])
    with store.reading() as session:
        sizes = set(
            session.scalars(select(func.length(CountDay.slots)).join(Stream).where(Stream.name == "whole"))
        )
    assert sizes == {1 + 96 * 2}


def test_part_of_a_day_is_read_as_asked_and_rounded_inwards(store: Store) -> None:
    nid = network(store)
    send(store, nid, table({"a": [float(k) for k in range(192)]}, MONDAY + minutes(60)))
    back = stored(store, nid, MONDAY + minutes(61), MONDAY + minutes(1500))
    assert back.start == MONDAY + minutes(75)
    assert back.times[-1] == MONDAY + minutes(1500)
    np.testing.assert_array_equal(back.values[:, 0], np.arange(1, 97))
    before = stored(store, nid, MONDAY - minutes(1440), MONDAY + minutes(60))
    assert np.isnan(before.values[:-1]).all()
    assert before.values[-1, 0] == 0
    with pytest.raises(InputError, match="no interval of 15 min begins"):
        stored(store, nid, MONDAY + minutes(61), MONDAY + minutes(74))


@pytest.mark.parametrize(
    ("day", "hours"), [(np.datetime64("2026-03-29"), 23), (np.datetime64("2025-10-26"), 25)]
)
def test_days_on_which_clocks_change_are_kept_whole(store: Store, day: np.datetime64, hours: int) -> None:
    nid = network(store)
    # midnight on the wall is 23:00 UTC in winter and 22:00 in summer
    start = (
        (day.astype("datetime64[m]") - minutes(60))
        if hours == 23
        else day.astype("datetime64[m]") - minutes(120)
    )
    sent = table({"a": [float(k) for k in range(4 * hours)]}, start)
    send(store, nid, sent)
    back = stored(store, nid, sent.start, sent.times[-1])
    np.testing.assert_array_equal(back.values, sent.values)
    assert str(back.local_times[0])[11:] == "00:00"
    assert str(back.local_times[-1])[11:] == "23:45"


def test_a_network_without_a_timezone_keeps_its_local_clock(store: Store) -> None:
    nid = network(store, "")
    sent = table({"a": [1.0, NAN, 3.0]}, MONDAY, 60, timezone="")
    send(store, nid, sent)
    back = stored(store, nid, sent.start, sent.times[-1])
    assert back.timezone == ""
    np.testing.assert_array_equal(back.values, sent.values)
    with pytest.raises(InputError, match="no timezone and keeps local times"):
        send(store, nid, table({"a": [1.0]}, step_min=60))


def test_local_times_are_refused_where_the_network_has_a_timezone(store: Store) -> None:
    nid = network(store)
    with pytest.raises(InputError, match=r"local clock, network .* is in Europe/Amsterdam"):
        send(store, nid, table({"a": [1.0]}, timezone=""))


# -------------------------------------------------------------------------------------- what is there already


def test_a_delivery_can_be_sent_twice(store: Store) -> None:
    nid = network(store)
    sent = table({"a": [1.0, 2.0, NAN, 0.5], "b": [0.0, 0.0, 1.0, 1.0]})
    send(store, nid, sent)
    again = send(store, nid, sent)
    assert (again.counts, again.new, again.corrected, again.kept, again.unchanged, again.late) == (
        7,
        0,
        0,
        0,
        7,
        0,
    )
    np.testing.assert_array_equal(stored(store, nid, MONDAY, sent.times[-1]).values, sent.values)


def test_a_count_that_differs_is_refused_with_its_stream_time_and_both_values(store: Store) -> None:
    nid = network(store)
    send(store, nid, table({"a": [1.0, 2.0, 3.0], "b": [4.0, 5.0, 6.0]}))
    before = rows_of(store)
    with pytest.raises(Conflict) as refused:
        send(store, nid, table({"c": [9.0] * 4, "a": [1.0, 2.0, 3.0, 7.0], "b": [4.0, 50.0, 60.0, 8.0]}))
    for part in ("'b'", "5 vehicles", "2026-11-23T01:15+01:00", "50 were sent", "1 more", "existing=replace"):
        assert part in str(refused.value)
    assert rows_of(store) == before
    assert stored(store, nid, MONDAY, MONDAY + minutes(45)).names == ("a", "b")


def test_a_refusal_caught_inside_the_transaction_leaves_nothing_either(store: Store) -> None:
    nid = network(store)
    send(store, nid, table({"a": [1.0]}))
    before = rows_of(store)
    with store.writing() as session:
        found = session.get_one(RoadNetwork, nid)
        actor = Actor(found.created_by)
        with pytest.raises(Conflict):
            store_counts(session, found, actor, table({"new": [3.0], "a": [2.0]}), now=NOW, sha256=SHA)
    assert rows_of(store) == before


def test_replace_corrects_and_keep_leaves(store: Store) -> None:
    nid = network(store)
    send(store, nid, table({"a": [1.0, 2.0, NAN]}))
    other = table({"a": [1.0, 5.5, 9.0]})
    kept = send(store, nid, other, Existing.KEEP)
    assert (kept.new, kept.corrected, kept.kept, kept.unchanged) == (1, 0, 1, 1)
    end = MONDAY + minutes(30)
    np.testing.assert_array_equal(stored(store, nid, MONDAY, end).values[:, 0], [1, 2, 9])
    replaced = send(store, nid, other, Existing.REPLACE)
    assert (replaced.new, replaced.corrected, replaced.kept, replaced.unchanged) == (0, 1, 0, 2)
    np.testing.assert_array_equal(stored(store, nid, MONDAY, end).values[:, 0], [1, 5.5, 9])
    with store.reading() as session:
        batches = list_batches(session, nid)
        assert [(b.new, b.corrected) for b in batches] == [(2, 0), (1, 0), (0, 1)]
        assert batches[1].remarks == ["1 counts differ from those there, which were kept"]
        assert list_batches(session, nid, after=batches[1].id, limit=5) == [batches[2]]


def test_what_is_missing_is_no_news(store: Store) -> None:
    nid = network(store)
    send(store, nid, table({"a": [1.0, 2.0, 3.0]}))
    send(store, nid, table({"a": [NAN, NAN, NAN, 4.0]}), Existing.REPLACE)
    np.testing.assert_array_equal(stored(store, nid, MONDAY, MONDAY + minutes(45)).values[:, 0], [1, 2, 3, 4])


def test_late_counts_are_those_before_the_last_one_known(store: Store) -> None:
    nid = network(store)
    day = 1440
    assert (
        send(store, nid, table({"a": [5.0, NAN, 5.0], "b": [NAN, NAN, NAN]}, MONDAY + minutes(day))).late == 0
    )
    # `a` fills its gap and goes on: one is late; `b` is new and can't be
    assert (
        send(store, nid, table({"a": [NAN, 6.0, NAN, 7.0], "b": [1.0] * 4}, MONDAY + minutes(day))).late == 1
    )
    # all of the day before is late for both, the day after for none
    assert send(store, nid, table({"a": [1.0] * 3, "b": [2.0] * 3})).late == 6
    assert send(store, nid, table({"a": [1.0] * 3}, MONDAY + minutes(2 * day))).late == 0
    # a day on which `a` has nothing yet, but later days it has
    assert send(store, nid, table({"a": [8.0]}, MONDAY - minutes(day))).late == 1


# ------------------------------------------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("sent", "message"),
    [
        (table({"a": [1.0, 2.0], "b": [3.0, -1.0]}), r"'b' at 2026-11-23T01:15\+01:00: -1 vehicles"),
        (table({"a": [1.0, float("inf")]}), "'a' at .*: inf vehicles"),
        (table({"a": [NAN, NAN]}), "no count"),
        (table({"a": [1.0]}, np.datetime64("2026-11-27T12:15", "m")), "'a' has a count at .* a day ahead"),
        (table({"a": [1.0]}, np.datetime64("1899-12-31T23:00", "m")), "before 1900"),
        (table({"a": [1.0]}, MONDAY + minutes(5)), "start 5 min past the grid"),
        (table({"": [1.0]}), r"\(0 letters\) can't name a stream"),
        (table({"x" * 301: [1.0]}), r"\(301 letters\) can't name a stream"),
        (table({"a\nb": [1.0]}), "can't name a stream"),
        (table({" a": [1.0]}), "can't name a stream"),
    ],
)
def test_what_cannot_be_a_count_is_refused(store: Store, sent: CountTable, message: str) -> None:
    nid = network(store)
    with pytest.raises(InputError, match=message):
        send(store, nid, sent)
    assert rows_of(store) == (0, 0, 0, 0)


def test_an_interval_that_has_not_begun_by_more_than_a_day_is_taken(store: Store) -> None:
    nid = network(store)
    assert send(store, nid, table({"a": [1.0]}, np.datetime64("2026-11-27T12:00", "m"))).new == 1


def test_a_stream_keeps_the_interval_of_its_first_delivery(store: Store) -> None:
    nid = network(store)
    send(store, nid, table({"a": [1.0]}))
    before = rows_of(store)
    with pytest.raises(Conflict, match="'a' has intervals of 15 min, these counts are of 5 min"):
        send(store, nid, table({"b": [1.0], "a": [1.0]}, step_min=5))
    assert rows_of(store) == before
    send(store, nid, table({"b": [1.0]}, step_min=5))
    with pytest.raises(InputError, match="'b' of 5 min and 'a' of 15 min"):
        stored(store, nid, MONDAY, MONDAY)
    with store.reading() as session:
        ids = {s.name: s.id for s in list_streams(session, nid)}
    assert stored(store, nid, MONDAY, MONDAY, [ids["b"]]).step_min == 5


def test_nothing_is_left_of_a_delivery_that_breaks_off(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    nid = network(store)
    send(store, nid, table({"a": [1.0]}))
    before = rows_of(store)

    def full(*_: object, **__: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr("signals.store.counts.record", full)
    with pytest.raises(OSError, match="disk full"):
        send(store, nid, table({"a": [2.0, 3.0], "b": [1.0, 1.0]}), Existing.REPLACE)
    assert rows_of(store) == before
    np.testing.assert_array_equal(stored(store, nid, MONDAY, MONDAY).values, [[1.0]])


def test_deliveries_at_the_same_time_lose_nothing(store: Store) -> None:
    nid = network(store)
    with ThreadPoolExecutor(4) as pool:
        pushes = [table({"a": [float(k)], f"b{k % 3}": [1.0]}, MONDAY + minutes(15 * k)) for k in range(24)]
        got = list(pool.map(lambda push: send(store, nid, push), pushes))
    assert [g.new for g in got] == [2] * 24
    back = stored(store, nid, MONDAY, MONDAY + minutes(15 * 23))
    np.testing.assert_array_equal(back.select(["a"]).values[:, 0], np.arange(24))
    with store.reading() as session:
        assert len(list_streams(session, nid)) == 4
        assert verify(session)[0] == 24


# ------------------------------------------------------------------------------------------------- questions


def test_a_delivery_has_its_entry_in_the_audit(store: Store) -> None:
    nid = network(store)
    got = send(store, nid, table({"a": [1.0, 2.0]}))
    with store.reading() as session:
        entry = session.scalars(select(AuditEntry)).one()
        assert (entry.action, entry.subject, entry.area_id) == ("counts.receive", f"networks/{nid}/counts", 1)
        assert entry.details["batch"] == got.batch_id
        assert (entry.details["counts"], entry.details["sha256"]) == (2, SHA)
        assert verify(session)[0] == 1


def test_streams_and_their_days_are_listed_in_pages(store: Store) -> None:
    nid = network(store)
    send(
        store,
        nid,
        table({"a": [1.0] * 97, "b": [1.0] * 96, "c": [NAN] * 96 + [1.0]} | {"b": [1.0] * 96 + [NAN]}),
    )
    with store.reading() as session:
        facts = list_streams(session, nid)
        assert [(f.name, f.first_day, f.last_day, f.days) for f in facts] == [
            ("a", date(2026, 11, 23), date(2026, 11, 24), 2),
            ("b", date(2026, 11, 23), date(2026, 11, 23), 1),
            ("c", date(2026, 11, 24), date(2026, 11, 24), 1),
        ]
        assert list_streams(session, nid, after=facts[0].id, limit=1) == [facts[1]]
        assert list_streams(session, nid + 1) == []


def test_the_last_count_is_known(store: Store) -> None:
    nid = network(store)
    with store.reading() as session:
        assert last_count_at(session, nid) is None
    send(store, nid, table({"a": [1.0, 2.0, NAN]}))
    send(store, nid, table({"a": [3.0]}, MONDAY - minutes(1440)))
    with store.reading() as session:
        assert last_count_at(session, nid) == MONDAY + minutes(15)


def test_coverage_is_the_share_of_intervals_with_a_count(store: Store) -> None:
    nid = network(store)
    send(store, nid, table({"a": [1.0] * 48 + [NAN] * 48 + [0.5] * 24, "b": [NAN] * 96 + [2.0] * 24}))
    send(store, nid, table({"c": [1.0] * 6}, step_min=60))
    with store.reading() as session:
        found = coverage(session, nid, date(2026, 11, 22), date(2026, 11, 24))
        assert found.names == ("a", "b", "c")
        assert [d.day for d in found.days] == [22, 23, 24]
        np.testing.assert_allclose(found.share, [[0, 0.5, 0.25], [0, 0, 0.25], [0, 0.25, 0]])
        one = coverage(session, nid, date(2026, 11, 23), date(2026, 11, 23), streams=[found.streams[0]])
        np.testing.assert_allclose(one.share, [[0.5]])
        with pytest.raises(InputError, match="earlier one first"):
            coverage(session, nid, date(2026, 11, 24), date(2026, 11, 23))


def test_streams_of_other_networks_are_not_found(store: Store) -> None:
    nid, other = network(store), network(store, "UTC")
    send(store, nid, table({"a": [1.0]}))
    send(store, other, table({"a": [2.0]}, timezone="UTC"))
    with store.reading() as session:
        (mine,) = list_streams(session, other)
    with pytest.raises(NotFound, match="no stream"):
        stored(store, nid, MONDAY, MONDAY, [mine.id])
    with pytest.raises(NotFound, match="no network 99"):
        stored(store, 99, MONDAY, MONDAY)
    np.testing.assert_array_equal(stored(store, other, MONDAY, MONDAY).values, [[2.0]])


def test_more_streams_than_one_block_come_back_in_the_order_asked_for(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("signals.store.counts._BLOCK_STREAMS", 7)
    nid = network(store)
    values = np.random.default_rng(3).poisson(9, (200, 40)).astype(np.float64)
    sent = CountTable(tuple(f"s{k}" for k in range(40)), MONDAY, 15, values, timezone=CITY)
    assert send(store, nid, sent).new == 8000
    assert send(store, nid, sent).unchanged == 8000
    with store.reading() as session:
        by_name = {s.name: s.id for s in list_streams(session, nid)}
    order = [f"s{k}" for k in np.random.default_rng(4).permutation(40)]
    back = stored(store, nid, MONDAY, sent.times[-1], [by_name[name] for name in order])
    assert back.names == tuple(order)
    np.testing.assert_array_equal(back.values, sent.select(order).values)


# ------------------------------------------------------------------------------------- beside a plain reference

counts = st.sampled_from([NAN, NAN, 0.0, 1.0, 2.0, 0.5, 65534.0, 65535.0])
deliveries = st.lists(
    st.tuples(
        st.integers(0, 11),
        st.dictionaries(
            st.sampled_from("abc"), st.lists(counts, min_size=5, max_size=5), min_size=1, max_size=3
        ),
        st.sampled_from(list(Existing)),
    ),
    min_size=1,
    max_size=8,
)


class Plain:
    """The same by a dictionary of stream and time, one count at a time."""

    def __init__(self) -> None:
        self.held: dict[tuple[str, int], float] = {}

    def take(
        self, start: int, columns: Mapping[str, list[float]], existing: Existing
    ) -> tuple[int, ...] | None:
        """New, corrected, kept, unchanged and late; None where it is refused."""
        after = dict(self.held)
        new = corrected = kept = unchanged = late = 0
        for name, values in columns.items():
            known = [slot for stream, slot in self.held if stream == name]
            for slot, value in enumerate(values, start):
                if np.isnan(value):
                    continue
                old = self.held.get((name, slot))
                if old is None:
                    new += 1
                    late += bool(known) and slot < max(known)
                    after[name, slot] = value
                elif old == value:
                    unchanged += 1
                elif existing is Existing.REPLACE:
                    corrected += 1
                    after[name, slot] = value
                elif existing is Existing.KEEP:
                    kept += 1
                else:
                    return None
        self.held = after
        return new, corrected, kept, unchanged, late

    def values(self, names: tuple[str, ...], n: int) -> Floats:
        """All of it as a table."""
        return np.array([[self.held.get((name, slot), NAN) for name in names] for slot in range(n)])


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(sent=deliveries)
def test_any_deliveries_leave_what_a_plain_dictionary_holds(
    store: Store, sent: list[tuple[int, dict[str, list[float]], Existing]]
) -> None:
    # intervals of six hours, so that five of them go over midnight
    plain, step = Plain(), 360
    with store.writing() as session:
        for kind in ("count_days", "streams", "count_batches", "networks"):
            session.execute(text(f"DELETE FROM {kind}"))
        session.execute(text("DELETE FROM people"))
    nid = network(store)
    for start, columns, existing in sent:
        delivery = table(columns, MONDAY - minutes(4 * 1440) + minutes(start * step), step)
        if np.isnan(delivery.values).all():
            continue
        wanted = plain.take(start, columns, existing)
        try:
            got = send(store, nid, delivery, existing)
        except Conflict:
            assert wanted is None
        else:
            assert (got.new, got.corrected, got.kept, got.unchanged, got.late) == wanted
    if plain.held:
        first = MONDAY - minutes(4 * 1440)
        back = stored(store, nid, first, first + minutes(15 * step))
        np.testing.assert_array_equal(back.values, plain.values(back.names, 16))
