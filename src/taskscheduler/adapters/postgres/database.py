"""Connections to PostgreSQL: pooled, healed, and with one kind of error."""

from __future__ import annotations

import asyncio
import logging
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final, LiteralString, TypeVar

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg_pool import AsyncConnectionPool, PoolClosed, PoolTimeout

from taskscheduler.adapters.postgres.refusal import Refusals, WatchedConnection, told
from taskscheduler.domain.errors import (
    InvalidConfiguration,
    SchemaMismatch,
    StoreUnavailable,
    TaskSchedulerError,
)

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable

    from taskscheduler.adapters.postgres.prepared import PooledConnection

Connection = psycopg.AsyncConnection[tuple[Any, ...]]
Answer = TypeVar("Answer")

ANSWER_TIMEOUT_S: Final = 30.0
"""A statement that takes longer than this is given up: a half-open socket answers never."""
POOL_TIMEOUT_S: Final = 2.0
KEEPALIVE: Final = {
    "connect_timeout": 10,
    "keepalives": 1,
    "keepalives_idle": 10,
    "keepalives_interval": 3,
    "keepalives_count": 3,
    "tcp_user_timeout": 20_000,
    "target_session_attrs": "read-write",
    "application_name": "taskscheduler",
}
"""So that the kernel notices a vanished server, and a demoted one is not connected to. All of it
is libpq's own business: a pooler in between sees none of it."""

PID: Final = "SELECT pg_backend_pid()"

log = logging.getLogger("taskscheduler.postgres")


class Database:
    """A pool of connections in autocommit mode, and the schema's name in every statement."""

    def __init__(self, url: str, *, schema: str, pool_size: int) -> None:
        """Connect to ``url`` once opened; statements speak of ``schema``.

        Raises:
            InvalidConfiguration: ``url`` or ``schema`` cannot be used.
        """
        self.url = conninfo(url)
        self.schema = checked_schema(schema)
        self.behind_pooler: bool | None = None
        """Whether something stands between: then sessions are not ours to keep state in."""
        self.on_reconnect: list[Callable[[], None]] = []
        """Called for every new connection: what was cached of the database may be stale."""
        self._refusals = Refusals(self.url)
        self._pool: AsyncConnectionPool[PooledConnection] = AsyncConnectionPool(
            self.url,
            open=False,
            min_size=min(2, pool_size),
            max_size=pool_size,
            timeout=POOL_TIMEOUT_S,
            max_idle=300,
            reconnect_timeout=POOL_TIMEOUT_S,
            kwargs={"autocommit": True, "refusals": self._refusals},
            connection_class=WatchedConnection,
            configure=self._configure,
            name="taskscheduler",
        )

    def sql(self, text: LiteralString) -> bytes:
        """Return the statement ``text`` with the schema's name in place of ``{schema}``.

        As bytes, which the driver takes as they are: a composed statement is put together anew at
        every execution.
        """
        return sql.SQL(text).format(schema=sql.Identifier(self.schema)).as_bytes(None)

    @asynccontextmanager
    async def opened(self) -> AsyncGenerator[None]:
        """Keep the pool open; the database may be away, then or later."""
        await self._pool.open(wait=False)
        try:
            yield
        finally:
            await self._pool.close(timeout=2)

    @asynccontextmanager
    async def connection(self) -> AsyncGenerator[PooledConnection]:
        """Borrow a connection.

        Raises:
            StoreUnavailable: there is none, or it broke, or did not answer in time.
        """
        with translated(self._refusals):
            # Not by the pool's own context manager, which commits: these connections commit by
            # themselves, and the pool rolls back what comes back half done.
            async with asyncio.timeout(ANSWER_TIMEOUT_S):
                connection = await self._pool.getconn()
                try:
                    yield connection
                except psycopg.errors.ReadOnlySqlTransaction:
                    # The server was demoted. A closed connection is replaced by one to the new
                    # primary; an open one would stay with the old for ever.
                    await connection.close()
                    raise
                finally:
                    await self._pool.putconn(connection)

    @asynccontextmanager
    async def lent(self) -> AsyncGenerator[PooledConnection]:
        """Lend a connection to a handler, for as long as it likes; its errors stay its own.

        Raises:
            StoreUnavailable: there is none.
        """
        with translated(self._refusals):
            connection = await self._pool.getconn()
        try:
            yield connection
        finally:
            await self._pool.putconn(connection)

    async def run(self, work: Callable[[PooledConnection], Awaitable[Answer]]) -> Answer:
        """Do ``work`` on a connection; if the connection turns out to be broken, once more.

        ``work`` must be safe to repeat: the first time may have been heard.
        """
        try:
            return await self._once(work)
        except StoreUnavailable as error:
            broken = isinstance(error.__cause__, psycopg.OperationalError)
            if not broken or isinstance(error.__cause__, PoolTimeout | PoolClosed):
                raise
            log.info("trying once more on another connection: %s", error)
            # The other pooled connections broke with this one, more often than not.
            with translated(self._refusals):
                await self._pool.check()
            return await self._once(work)

    async def _once(self, work: Callable[[PooledConnection], Awaitable[Answer]]) -> Answer:
        # As ``connection``, spelled out: a generator in between costs every task a microsecond.
        with translated(self._refusals):
            async with asyncio.timeout(ANSWER_TIMEOUT_S):
                connection = await self._pool.getconn()
                try:
                    return await work(connection)
                except psycopg.errors.ReadOnlySqlTransaction:
                    await connection.close()
                    raise
                finally:
                    await self._pool.putconn(connection)

    def connections(self) -> dict[str, int]:
        """Return the pool's state; see ``Gauge.connections``."""
        stats = self._pool.get_stats()
        size, idle = stats.get("pool_size", 0), stats.get("pool_available", 0)
        return {
            "used": size - idle,
            "idle": idle,
            "max": stats.get("pool_max", 0),
            "waiting": stats.get("requests_waiting", 0),
        }

    async def connect(self) -> Connection:
        """Open a connection outside the pool, for listening or beating."""
        with translated():
            connection = await psycopg.AsyncConnection.connect(self.url, autocommit=True)
            try:
                await self._configure(connection)
            except BaseException:
                await connection.close()
                raise
            return connection

    async def _configure(self, connection: Connection) -> None:
        # A pooler hands out process numbers of its own, so the two differ exactly behind one.
        row = await (await connection.execute(PID, prepare=False)).fetchone()
        assert row is not None  # noqa: S101 - a SELECT without FROM has one row
        self.behind_pooler = row[0] != connection.info.backend_pid
        if self.behind_pooler:
            # The next statement may reach another session, which knows nothing of it.
            connection.prepare_threshold = None
        for forget in self.on_reconnect:
            forget()


class translated:  # noqa: N801 - reads as a word: "with translated():"
    """Turns the driver's errors into ``StoreUnavailable``, and leaves faults of data alone."""

    def __init__(self, refusals: Refusals | None = None) -> None:
        """``refusals`` knows why the pool has no connection."""
        self._refusals = refusals

    def __enter__(self) -> None:
        """Watch."""

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        """Translate."""
        match error:
            case None | TaskSchedulerError():
                return
            case psycopg.errors.UndefinedTable() | psycopg.errors.InvalidSchemaName():
                message = "the schema is missing; run: taskscheduler migrate"
                raise SchemaMismatch(message) from error
            case PoolTimeout() | PoolClosed():
                raise (self._refusals or Refusals()).told() from error
            case psycopg.OperationalError():
                raise told(error) from error
            case (
                psycopg.InterfaceError()
                | psycopg.NotSupportedError()  # a cached plan that a migration made stale
            ):
                raise StoreUnavailable(first_line(error)) from error
            case psycopg.errors.ReadOnlySqlTransaction():
                message = "the database takes no writes: it is a standby"
                raise StoreUnavailable(message) from error
            case TimeoutError():
                message = "the database did not answer in time"
                raise StoreUnavailable(message) from error
            case _:
                return


def first_line(error: BaseException) -> str:
    """Return the first line of the error's message, which names no query."""
    return str(error).strip().partition("\n")[0] or type(error).__name__


def conninfo(url: str) -> str:
    """Return ``url`` with what every connection needs; parameters given in ``url`` win.

    Raises:
        InvalidConfiguration: libpq does not understand it.
    """
    try:
        given = conninfo_to_dict(url)
        return make_conninfo(url, **{k: v for k, v in KEEPALIVE.items() if k not in given})
    except psycopg.ProgrammingError as error:
        message = f"the database URL is not understood: {first_line(error)}"
        raise InvalidConfiguration(message) from None


def checked_schema(schema: str) -> str:
    """Return ``schema`` if PostgreSQL can take it as a name.

    Raises:
        InvalidConfiguration: it cannot.
    """
    # The driver would take a percent sign for the beginning of a parameter.
    if (
        not 1 <= len(schema.encode()) <= 63  # noqa: PLR2004 - PostgreSQL cuts longer names
        or not {"\0", "%"}.isdisjoint(schema)
        or schema.startswith("pg_")
    ):
        message = (
            f"{schema!r} cannot name a schema: 1 to 63 bytes, not beginning with pg_, without %"
        )
        raise InvalidConfiguration(message)
    return schema
