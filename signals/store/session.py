"""The door to the database: SQLite in WAL mode, or PostgreSQL, by its URL.

    store = Store("sqlite:////var/lib/greensplit/greensplit.db")
    store.upgrade()
    with store.writing() as session:
        ...

One transaction a request or task, committed when the block ends, undone when it ends with an error.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event, inspect, make_url, text
from sqlalchemy.exc import ArgumentError, DatabaseError, DBAPIError, NoSuchModuleError, OperationalError
from sqlalchemy.orm import Session

from signals.errors import InputError, StoreUnavailable

MIGRATIONS = Path(__file__).parent / "migrations"
LOCK_TIMEOUT_S = 20.0
"""How long a writer waits for another one."""
SHORT_TIMEOUT_S = 5.0
"""How long to wait for a database server to answer the door."""


class Store:
    """A database and its transactions. Can be pickled: a worker opens its own connections."""

    def __init__(self, url: str | URL) -> None:
        """Nothing is opened yet.

        Raises
        ------
        InputError
            Where the URL is none, or of a database that isn't supported.
        """
        try:
            self.url = make_url(url)
            self.is_sqlite = self.url.get_backend_name() == "sqlite"
            if self.is_sqlite and not self.url.database:
                raise InputError(
                    "a database in memory is lost with its process; name a file: sqlite:////path/x.db"
                )
            if self.url.drivername not in ("sqlite", "sqlite+pysqlite", "postgresql+psycopg"):
                raise InputError(
                    f"database {self.url.drivername}: use sqlite:////path/file.db or postgresql+psycopg://…"
                )
            self.engine = self._engine()
        except (ArgumentError, NoSuchModuleError) as error:
            raise InputError(f"{url}: is no database URL: {error}") from None

    def __reduce__(self) -> tuple[Any, ...]:
        return Store, (self.url.render_as_string(hide_password=False),)

    def _engine(self) -> Engine:
        if not self.is_sqlite:
            return create_engine(
                self.url,
                pool_pre_ping=True,
                pool_size=10,
                max_overflow=30,
                connect_args={"connect_timeout": int(SHORT_TIMEOUT_S), "options": "-c timezone=UTC"},
            )
        engine = create_engine(
            self.url, connect_args={"timeout": LOCK_TIMEOUT_S}, pool_size=10, max_overflow=30
        )
        event.listen(engine, "connect", _prepare_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
        return engine

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """A transaction that changes nothing: it sees the database as it is at its first question."""
        engine = self.engine
        if not self.is_sqlite:
            engine = engine.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
        with _translated(), Session(engine, expire_on_commit=False) as session:
            yield session

    @contextmanager
    def writing(self) -> Iterator[Session]:
        """A transaction that may change things, committed at the end of the block.

        With SQLite there is one writer at a time, and it is so from the beginning: a reader that turns into a
        writer half-way would be refused.
        """
        engine = self.engine.execution_options(greensplit_writes=True)
        with _translated(), Session(engine, expire_on_commit=False) as session, session.begin():
            yield session

    def upgrade(self, revision: str = "head") -> None:
        """Bring the tables to a revision, the newest one unless told otherwise.

        Raises
        ------
        StoreUnavailable
            Where the database can't be reached or written to.
        """
        from alembic import command

        if self.is_sqlite and self.url.database:
            Path(self.url.database).parent.mkdir(parents=True, exist_ok=True)
        with _translated(), self.engine.execution_options(greensplit_writes=True).begin() as connection:
            command.upgrade(_alembic_config(connection), revision)

    def downgrade(self, revision: str) -> None:
        """Take migrations back, to a revision or to `base`, with the data that later ones brought."""
        from alembic import command

        with _translated(), self.engine.execution_options(greensplit_writes=True).begin() as connection:
            command.downgrade(_alembic_config(connection), revision)

    def revision(self) -> str | None:
        """The revision that the tables are at; None for an empty database."""
        with _translated(), self.engine.connect() as connection:
            if not inspect(connection).has_table("alembic_version"):
                return None
            return connection.execute(text("SELECT version_num FROM alembic_version")).scalar()

    def require_current(self) -> None:
        """Nothing where the tables are those that this release knows.

        Raises
        ------
        StoreUnavailable
            Where they aren't, or the database can't be reached.
        """
        from alembic.script import ScriptDirectory

        newest = ScriptDirectory(str(MIGRATIONS)).get_current_head()
        found = self.revision()
        if found != newest:
            raise StoreUnavailable(
                f"the database is at revision {found or 'none'}, this release needs {newest}: "
                "run `greensplit store upgrade`"
            )

    def close(self) -> None:
        """Give all connections back."""
        self.engine.dispose()


def _alembic_config(connection: Connection) -> Any:
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.attributes["connection"] = connection
    return config


def _prepare_sqlite(connection: sqlite3.Connection, _record: Any) -> None:
    # Transactions are begun by us: the driver would begin them late, and never for reading.
    connection.isolation_level = None
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "temp_store=MEMORY"):
        connection.execute(f"PRAGMA {pragma}")


def _begin_sqlite(connection: Connection) -> None:
    writes = connection.get_execution_options().get("greensplit_writes", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


@contextmanager
def _translated() -> Iterator[None]:
    """What a database says when it can't do its work, as one error of ours."""
    try:
        yield
    except OperationalError as error:
        raise StoreUnavailable(f"the database can't do its work now: {error.orig}") from error
    except DBAPIError as error:
        # other classes say that a disk is full, a server is going down, or a file is no database
        broken = type(error) is DatabaseError and isinstance(error.orig, sqlite3.DatabaseError)
        state = getattr(error.orig, "sqlstate", None) or ""
        if broken or error.connection_invalidated or state[:2] in ("53", "57", "58"):
            raise StoreUnavailable(f"the database can't do its work now: {error.orig}") from error
        raise
