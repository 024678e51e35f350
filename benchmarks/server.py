"""The PostgreSQL of one run: durable, embedded, thrown away at the end."""

from __future__ import annotations

import re
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import psycopg
from psycopg import sql

from taskscheduler.adapters.embedded import EmbeddedPostgres

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

SETTINGS: Final = {
    "shared_buffers": "1GB",
    "max_wal_size": "8GB",
    "checkpoint_timeout": "30min",  # one that falls into a round would be somebody's bad luck
    "max_connections": "200",
    "shared_preload_libraries": "pg_stat_statements",
    # Everything else as it comes: fsync and synchronous_commit on.
}
COSTS: Final = """
SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')::bigint, xact_commit
FROM pg_stat_database WHERE datname = %s"""


class Costs(NamedTuple):
    """What the server did so far."""

    wal_bytes: int
    transactions: int


class Server:
    """A running server, where everybody gets an empty database for each thing measured."""

    def __init__(self, url: str) -> None:
        """``url`` is that of the database ``postgres``."""
        self.url = url
        self._admin = psycopg.connect(url, autocommit=True)

    def close(self) -> None:
        """Leave."""
        self._admin.close()

    @property
    def version(self) -> str:
        """The server's version."""
        return self._ask("SHOW server_version")[0]

    @contextmanager
    def database(self, name: str) -> Iterator[str]:
        """Make an empty database, yield its URL, and drop it."""
        plain = re.sub(r"\W", "_", name)
        identifier = sql.Identifier(plain)
        drop = sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(identifier)
        self._admin.execute(drop)
        self._admin.execute(sql.SQL("CREATE DATABASE {}").format(identifier))
        try:
            yield self.url.replace("@/postgres?", f"@/{plain}?")
        finally:
            self._admin.execute(drop)

    def costs(self, url: str) -> Costs:
        """Return what was written and committed; exact once whoever did it has disconnected."""
        name = psycopg.conninfo.conninfo_to_dict(url)["dbname"]
        return Costs(*self._ask(COSTS, [name]))

    def _ask(self, query: str, values: Any = None) -> Any:
        row = self._admin.execute(query.encode(), values).fetchone()
        assert row is not None
        return row


def settle(url: str) -> None:
    """Tidy up after a load, for everybody alike: hint bits and statistics are not the measure."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("VACUUM ANALYZE")


def is_true(connection: psycopg.Connection[Any], query: str) -> bool:
    """Ask a question that has one answer."""
    row = connection.execute(query.encode()).fetchone()
    return row is not None and bool(row[0])


@contextmanager
def running(settings: Mapping[str, str] = SETTINGS) -> Iterator[Server]:
    """Run a server."""
    with (
        tempfile.TemporaryDirectory(prefix="taskscheduler-bench-") as folder,
        EmbeddedPostgres(Path(folder) / "postgres", settings=settings) as postgres,
    ):
        server = Server(postgres.url)
        try:
            yield server
        finally:
            server.close()
