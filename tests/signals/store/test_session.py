"""Transactions, migrations up and down, and what a database that can't work is answered with."""

from __future__ import annotations

import pickle
import sqlite3
from datetime import UTC, datetime
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import inspect, select, text

from signals.errors import InputError, StoreUnavailable
from signals.store.session import Store
from signals.store.tables import Area, AuditHead, Person, Table


def person(name: str) -> Person:
    return Person(name=name, contact="", created_at=datetime.now(UTC))


def test_the_tables_are_those_of_the_models(store: Store) -> None:
    with store.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, Table.metadata) == []


def test_down_to_nothing_and_up_again(store: Store) -> None:
    store.downgrade("base")
    assert store.revision() is None
    with store.engine.connect() as connection:
        assert set(inspect(connection).get_table_names()) <= {"alembic_version"}
    with pytest.raises(StoreUnavailable, match="at revision none"):
        store.require_current()
    store.upgrade()
    store.require_current()
    with store.reading() as session:
        city = session.get_one(Area, 1)
        assert (city.path, city.parent_id) == ("/1/", None)
        assert session.get_one(AuditHead, 1).entries == 0
    with store.writing() as session:
        session.add(
            area := Area(parent_id=1, path="/1/x/", name="north", version=1, created_at=datetime.now(UTC))
        )
        session.flush()
        assert area.id == 2


def test_an_upgrade_of_what_is_current_changes_nothing(store: Store) -> None:
    with store.writing() as session:
        session.add(person("Ada"))
    store.upgrade()
    with store.reading() as session:
        assert session.scalars(select(Person.name)).all() == ["Ada"]


def test_a_block_that_fails_leaves_nothing(store: Store) -> None:
    def fail() -> None:
        with store.writing() as session:
            session.add(person("Ada"))
            session.flush()
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    with store.reading() as session:
        assert session.scalars(select(Person)).all() == []


def test_times_come_back_with_their_zone(store: Store) -> None:
    moment = datetime(2026, 11, 25, 7, 30, 15, 123456, tzinfo=UTC)
    with store.writing() as session:
        session.add(Person(name="Ada", contact="", created_at=moment))
    with store.reading() as session:
        assert session.scalars(select(Person.created_at)).one() == moment


def test_a_time_without_a_zone_is_refused(store: Store) -> None:
    with pytest.raises(Exception, match="without a timezone"), store.writing() as session:
        session.add(Person(name="Ada", contact="", created_at=datetime(2026, 11, 25)))


def test_a_store_can_be_sent_to_another_process(store: Store) -> None:
    with store.writing() as session:
        session.add(person("Ada"))
    sent: Store = pickle.loads(pickle.dumps(store))
    with sent.reading() as session:
        assert session.scalars(select(Person.name)).all() == ["Ada"]
    sent.close()


def test_sqlite_is_in_wal_mode_and_keeps_what_it_acknowledged(tmp_path: Path) -> None:
    store = Store(f"sqlite:///{tmp_path / 'a' / 'b.db'}")
    store.upgrade()
    with store.engine.connect() as connection:
        said = [connection.exec_driver_sql(f"PRAGMA {p}").scalar() for p in ("journal_mode", "synchronous")]
    assert said == ["wal", 2]
    store.close()


@pytest.mark.parametrize("url", ["sqlite://", "mysql://host/db", "no url", "postgresql://host/db"])
def test_other_databases_are_refused(url: str) -> None:
    with pytest.raises(InputError):
        Store(url)


def test_a_server_that_is_down_is_said_to_be_unavailable(tmp_path: Path) -> None:
    store = Store(f"postgresql+psycopg://postgres@/none?host={tmp_path}")
    with pytest.raises(StoreUnavailable, match="can't do its work"), store.reading() as session:
        session.execute(text("SELECT 1"))


def test_a_file_that_is_no_database_is_said_to_be_unusable(tmp_path: Path) -> None:
    (tmp_path / "x.db").write_bytes(b"not a database" * 100)
    store = Store(f"sqlite:///{tmp_path / 'x.db'}")
    with pytest.raises(StoreUnavailable, match="not a database"):
        store.revision()


def test_a_full_disk_is_said_to_be_one_and_work_goes_on_when_there_is_room(databases: object) -> None:
    store: Store = databases.fresh("sqlite")  # type: ignore[attr-defined]
    path = store.url.database
    assert path
    with sqlite3.connect(path) as raw:
        pages = raw.execute("PRAGMA page_count").fetchone()[0]
    with store.engine.connect() as connection:
        connection.exec_driver_sql(f"PRAGMA max_page_count={pages}")
        # the limit belongs to the connection, and the pool gives the same one back
    with pytest.raises(StoreUnavailable, match="full"), store.writing() as session:
        session.add_all(person("x" * 150 + str(k)) for k in range(2000))
    store.close()
    with store.writing() as session:
        session.add_all(person(str(k)) for k in range(200))
    with store.reading() as session:
        assert len(session.scalars(select(Person)).all()) == 200
    store.close()
