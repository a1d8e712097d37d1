"""Counts into the store and out of it: a city of a thousand intersections, eight weeks of quarter hours.

    python -m benchmarks.counts [--intersections 1000] [--movements 12] [--days 56] [--db URL] [--folder DIR]

Counts are drawn from a Poisson law with a fixed seed. Bulk deliveries are a week each, in one transaction with its
commit; pushes are one quarter hour of 100 streams and of all. Reading is the table that a forecast learns from. Each
figure is one run, but for pushes, of which the median is shown. SQLite in a file unless told otherwise; a database
that is named must be empty, and is left as it is afterwards.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from statistics import median

import numpy as np
from rich.console import Console
from rich.table import Table as Sheet
from sqlalchemy import text

from signals.model.counts import CountTable
from signals.store.audit import Actor
from signals.store.counts import Received, coverage, last_count_at, list_streams, read_counts, store_counts
from signals.store.session import Store
from signals.store.tables import Area, Person, RoadNetwork, Upload

CLOCK = "Europe/Amsterdam"
STEP_MIN = 15
SLOTS = 1440 // STEP_MIN
PUSHES = 9
NOW = datetime(2026, 11, 26, tzinfo=UTC)
LAST_DAY = date(2026, 11, 25)


class City:
    """A network in a store, and how long deliveries to it take."""

    def __init__(self, store: Store) -> None:
        self.store = store
        with store.writing() as session:
            person = Person(name="detectors", created_at=NOW)
            session.add_all([person, Upload(sha256="0" * 64, content=b"", created_at=NOW)])
            session.flush()
            network = RoadNetwork(
                area_id=session.query(Area.id).order_by(Area.id).limit(1).scalar(),
                name="city",
                timezone=CLOCK,
                state="ready",
                upload_sha256="0" * 64,
                facts={},
                created_by=person.id,
                created_at=NOW,
            )
            session.add(network)
            session.flush()
            self.network_id, self.actor = network.id, Actor(person.id)

    def send(self, table: CountTable) -> tuple[Received, float]:
        """What a delivery changed, and seconds with its commit."""
        began = time.perf_counter()
        with self.store.writing() as session:
            network = session.get_one(RoadNetwork, self.network_id)
            received = store_counts(session, network, self.actor, table, now=NOW, sha256="0" * 64)
        return received, time.perf_counter() - began


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--intersections", type=int, default=1000)
    parser.add_argument("--movements", type=int, default=12, help="at each intersection")
    parser.add_argument("--days", type=int, default=56)
    parser.add_argument("--db", help="URL of an empty database; a SQLite file where none is given")
    parser.add_argument("--folder", type=Path, help="where the SQLite file is for the while")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        store = Store(options.db or f"sqlite:///{folder}/counts.db")
        store.upgrade()
        _measure(store, options.intersections, options.movements, options.days)
        store.close()


def _measure(store: Store, intersections: int, movements: int, days: int) -> None:
    names = tuple(f"{k}-{m}" for k in range(intersections) for m in range(movements))
    city = City(store)
    rng = np.random.default_rng(1)
    begin = np.datetime64(LAST_DAY - timedelta(days=days), "m")
    sheet = Sheet("what", "counts", "s", "counts/s")

    def row(what: str, counts: int, seconds: float) -> None:
        sheet.add_row(what, f"{counts:,}", f"{seconds:.4f}", f"{counts / seconds:,.0f}")

    def some(at: np.datetime64, rows: int, columns: int) -> CountTable:
        values = rng.poisson(30.0, (rows, columns)).astype(np.float64)
        return CountTable(names[:columns], at, STEP_MIN, values, timezone=CLOCK)

    written, took, first_week = 0, 0.0, None
    for day in range(0, days, 7):
        week = some(begin + np.timedelta64(day * 1440, "m"), min(7, days - day) * SLOTS, len(names))
        first_week = first_week or week
        received, seconds = city.send(week)
        written, took = written + received.new, took + seconds
    row("bulk, fresh, a week at once", written, took)
    assert first_week is not None
    again, seconds = city.send(first_week)
    row("bulk, the first week again", again.unchanged, seconds)
    del first_week, week
    size = _size(store)
    next_day = begin + np.timedelta64(days * 1440, "m")
    for k, columns in enumerate((min(100, len(names)), len(names))):
        begun = next_day + np.timedelta64(k * (PUSHES + 1) * STEP_MIN, "m")
        pushes = [
            city.send(some(begun + np.timedelta64(n * STEP_MIN, "m"), 1, columns))[1]
            for n in range(PUSHES + 1)
        ]
        row(f"push of {columns:,} streams, the first of its day", columns, pushes[0])
        row(f"push of {columns:,} streams", columns, median(pushes[1:]))
    memory = _memory_mb()
    with store.reading() as session:
        began = time.perf_counter()
        table = read_counts(
            session, city.network_id, first=begin, last=next_day - np.timedelta64(STEP_MIN, "m")
        )
        row(f"read all, {days} days", table.values.size, time.perf_counter() - began)
        grown, held = _memory_mb() - memory, table.values.nbytes / 1e6
        del table
        began = time.perf_counter()
        found = coverage(session, city.network_id, LAST_DAY - timedelta(days=7), LAST_DAY)
        row("coverage of a week", found.share.size * SLOTS, time.perf_counter() - began)
        lists = []
        for ask in (
            lambda: list_streams(session, city.network_id),
            lambda: list_streams(session, city.network_id, limit=100),
            lambda: last_count_at(session, city.network_id),
        ):
            began = time.perf_counter()
            ask()
            lists.append(time.perf_counter() - began)
    console = Console()
    console.print(sheet)
    console.print(
        f"list all streams {lists[0]:.3f} s, a page of 100 {lists[1]:.4f} s, last count {lists[2]:.4f} s"
    )
    console.print(f"on disk {size / 1e6:,.0f} MB, {size / written:.2f} bytes a count; {store.url.drivername}")
    console.print(f"reading took {grown:,.0f} MB beyond what writing had, the counts are {held:,.0f} MB")


def _size(store: Store) -> int:
    """Bytes of the tables of counts, or of the SQLite file."""
    if store.is_sqlite:
        with store.engine.connect() as connection:
            connection.execute(text("PRAGMA wal_checkpoint(TRUNCATE)"))
        return Path(str(store.url.database)).stat().st_size
    with store.reading() as session:
        found = session.scalar(
            text("SELECT pg_total_relation_size('count_days') + pg_total_relation_size('streams')")
        )
    return int(found or 0)


def _memory_mb() -> float:
    """The most memory that the process has had, MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3


if __name__ == "__main__":
    main()
