"""A PostgreSQL store whose time is in a test's hands. The one module here that needs psycopg."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final, LiteralString, Self

import psycopg
from psycopg import sql

from taskscheduler.adapters.postgres import migrate
from taskscheduler.adapters.postgres.database import Database
from taskscheduler.adapters.postgres.store import postgres_store as build_postgres_store
from taskscheduler.adapters.system import new_task_id as system_new_task_id
from taskscheduler.domain.values import UNIQUE_FOR_DEFAULT
from taskscheduler.testing.clock import START, ManualClock

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable
    from datetime import datetime, timedelta
    from types import TracebackType

    from taskscheduler.application.store import Store
    from taskscheduler.domain.values import TaskId

MAKE: Final[LiteralString] = "CREATE TABLE IF NOT EXISTS {schema}.manual_clock (now timestamptz)"
CLEAR: Final[LiteralString] = "DELETE FROM {schema}.manual_clock"
START_AT: Final[LiteralString] = "INSERT INTO {schema}.manual_clock VALUES (%s)"
SET: Final[LiteralString] = "UPDATE {schema}.manual_clock SET now = %s"
TAKE_OVER: Final[LiteralString] = """
CREATE OR REPLACE FUNCTION {schema}.clock() RETURNS timestamptz
LANGUAGE sql STABLE PARALLEL SAFE AS {body}"""
TABLES: Final = (
    "live",
    "finished",
    "attempt",
    "task",
    "note",
    "unique_key",
    "idempotency_key",
    "cancellation",
    "worker",
    "paused_queue",
    "lane",
    "kind",
    "api_key",
    "audit",
)
EMPTY: Final[LiteralString] = "DELETE FROM {table}"
BODY: Final[LiteralString] = "SELECT now FROM {schema}.manual_clock"


class PostgresClock(ManualClock):
    """The time of one PostgreSQL schema, and the process's, in step, in the tests' hands.

    Use it as a context manager. It takes the schema over for good: for schemas of tests only.
    """

    def __init__(self, url: str, schema: str, now: datetime = START) -> None:
        """Rule the time of ``schema`` in the database at ``url``, from ``take_over`` on."""
        super().__init__(now)
        self._url = url
        self._schema = sql.Identifier(schema)
        self._connection: psycopg.Connection | None = None

    def __enter__(self) -> Self:
        """Nothing is connected before ``take_over``."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the connection; the schema's time stands still."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def take_over(self) -> None:
        """Replace the schema's clock, which must be there, by this one."""
        if self._connection is None:
            self._connection = _connect(self._url)
        with self._connection.transaction():
            self._run(MAKE)
            self._run(CLEAR)
            self._run(START_AT, self.now())
            body = sql.SQL(BODY).format(schema=self._schema).as_string()
            self._connection.execute(
                sql.SQL(TAKE_OVER).format(schema=self._schema, body=sql.Literal(body))
            )

    def advance(self, step: timedelta | None = None, **units: float) -> datetime:
        """Let time pass, in the database too; return now."""
        super().advance(step, **units)
        return self._tell()

    def jump(self, step: timedelta | None = None, **units: float) -> datetime:
        """Set the database's clock forward or back; return now."""
        super().jump(step, **units)
        return self._tell()

    def _tell(self) -> datetime:
        if self._connection is not None:
            self._run(SET, self.now())
        return self.now()

    def _run(self, statement: LiteralString, *values: object) -> None:
        assert self._connection is not None
        with self._connection.transaction():
            self._connection.execute(sql.SQL(statement).format(schema=self._schema), values or None)


@asynccontextmanager
async def postgres_store(
    url: str,
    schema: str,
    clock: PostgresClock,
    *,
    new_task_id: Callable[[], TaskId] = system_new_task_id,
    pool_size: int = 10,
    unique_for: timedelta = UNIQUE_FOR_DEFAULT,
) -> AsyncGenerator[Store]:
    """Migrate ``schema``, hand its time to ``clock``, and open a store on it."""
    await migrate.migrate(url, schema)
    clock.take_over()
    store = build_postgres_store(
        Database(url, schema=schema, pool_size=pool_size),
        clock,
        new_task_id,
        unique_for=unique_for,
    )
    async with store.opened():
        yield store


def empty(url: str, schema: str) -> None:
    """Delete every row of ``schema``; stores that are open on it must be opened anew."""
    with _connect(url) as connection, connection.transaction():
        for name in TABLES:
            table = sql.Identifier(schema, name)
            connection.execute(sql.SQL(EMPTY).format(table=table))


def _connect(url: str) -> psycopg.Connection:
    """Connect for transactions that may write, whatever the role's defaults are."""
    connection = psycopg.connect(url, autocommit=True, prepare_threshold=None)
    connection.isolation_level = psycopg.IsolationLevel.READ_COMMITTED
    connection.read_only = connection.deferrable = False
    return connection
