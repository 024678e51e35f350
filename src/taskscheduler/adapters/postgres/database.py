"""Connections to PostgreSQL: pooled, healed, and with one kind of error."""

from __future__ import annotations

import asyncio
import logging
import re
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final, LiteralString, TypeVar

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg_pool import AsyncConnectionPool, PoolClosed, PoolTimeout

from taskscheduler.adapters.postgres.connection_errors import Refusals, WatchedConnection, told
from taskscheduler.adapters.postgres.fast_connection import NEVER, PooledConnection
from taskscheduler.adapters.postgres.lent_connection import LentConnection
from taskscheduler.adapters.postgres.session_settings import ENCODING, FOR_THE_SESSION, look
from taskscheduler.adapters.postgres.sqlstates import READ_ONLY, is_stale, is_unavailable
from taskscheduler.application.worker.uncounted_time import uncounted
from taskscheduler.domain.errors import (
    InvalidConfiguration,
    SchemaMismatch,
    StoreUnavailable,
    TaskSchedulerError,
)
from taskscheduler.domain.redaction import learn_url, redacted

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable


Connection = psycopg.AsyncConnection[tuple[Any, ...]]
Answer = TypeVar("Answer")
Pooled = TypeVar("Pooled", bound="psycopg.AsyncConnection[Any]")

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
    "target_session_attrs": "primary",
    "application_name": "taskscheduler",
}
"""So that the kernel notices a vanished server, and a demoted one is not connected to. All of it
is libpq's own business: a pooler in between sees none of it. A primary is asked for, not a session
that may write: where read-only is the default, our transactions ask for the right to write."""
LENDING_TIMEOUT_S: Final = 10.0
"""How long to wait for a connection to lend that is still to be made."""

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
        kept: dict[str, Any] = {
            "open": False,
            "max_size": pool_size,
            "reconnect_timeout": POOL_TIMEOUT_S,
            "kwargs": {"autocommit": True, "refusals": self._refusals},
            "configure": self._configure,
        }
        self._pool: AsyncConnectionPool[PooledConnection] = AsyncConnectionPool(
            self.url,
            min_size=min(2, pool_size),
            timeout=POOL_TIMEOUT_S,
            max_idle=300,
            connection_class=WatchedConnection,
            name="taskscheduler",
            **kept,
        )
        # Apart, for what a handler holds for as long as it likes must not be missing where leases
        # are claimed and settled. None is made before the first is asked for.
        self._lending: AsyncConnectionPool[LentConnection] = AsyncConnectionPool(
            self.url,
            min_size=0,
            timeout=LENDING_TIMEOUT_S,
            max_idle=60,
            connection_class=LentConnection,
            reset=LentConnection.forget,
            name="taskscheduler-lent",
            **kept,
        )
        self._turns = asyncio.Semaphore(pool_size)

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
        await self._lending.open(wait=False)
        try:
            yield
        finally:
            await self._lending.close(timeout=2)
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
                connection = await taken(self._pool)
                try:
                    yield connection
                except psycopg.Error as error:
                    await self._give_up(connection, error)
                    raise
                finally:
                    await self._pool.putconn(connection)

    @asynccontextmanager
    async def lent(self) -> AsyncGenerator[LentConnection]:
        """Lend a connection to a handler, for as long as it likes; its errors stay its own.

        Where all are out, their return is waited for: that is nobody's failure, however long it
        takes, and does not count against the attempt.

        Raises:
            StoreUnavailable: none can be made.
        """
        with uncounted():
            await self._turns.acquire()
        try:
            with translated(self._refusals):
                connection = await taken(self._lending)
            try:
                yield connection
            finally:
                await self._lending.putconn(connection)
        finally:
            self._turns.release()

    async def run(self, work: Callable[[PooledConnection], Awaitable[Answer]]) -> Answer:
        """Do ``work`` on a connection; if the connection turns out to be broken, once more.

        ``work`` must be safe to repeat: the first time may have been heard.
        """
        try:
            return await self._once(work)
        except StoreUnavailable as error:
            cause = error.__cause__
            if not isinstance(cause, psycopg.Error) or isinstance(cause, PoolTimeout | PoolClosed):
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
                connection = await taken(self._pool)
                try:
                    return await work(connection)
                except psycopg.Error as error:
                    await self._give_up(connection, error)
                    raise
                finally:
                    await self._pool.putconn(connection)

    async def _give_up(self, connection: PooledConnection, error: psycopg.Error) -> None:
        """Close what would refuse the next borrower, too; the pool makes another."""
        if error.sqlstate == READ_ONLY:
            # The server was demoted. An open connection would stay with it for ever; the next one
            # is made to the new primary.
            await connection.close()
        elif is_stale(error):
            # What it prepared is of no use any more, and so is what the others did.
            await connection.close()
            await self._pool.drain()

    def connections(self) -> dict[str, int]:
        """Return the pool's state; see ``BacklogStats.connections``."""
        stats = self._pool.get_stats()
        size, idle = stats.get("pool_size", 0), stats.get("pool_available", 0)
        return {
            "used": size - idle,
            "idle": idle,
            "max": stats.get("pool_max", 0),
            "waiting": stats.get("requests_waiting", 0),
        }

    async def connect(self) -> PooledConnection:
        """Open a connection outside the pool, for listening or beating."""
        with translated():
            connection = await PooledConnection.connect(self.url, autocommit=True)
            try:
                await self._configure(connection)
            except BaseException:
                await connection.close()
                raise
            return connection

    async def _configure(self, connection: PooledConnection) -> None:
        self.behind_pooler, awkward = await look(connection)
        if isinstance(connection, LentConnection):
            connection.behind_pooler = self.behind_pooler
        # Behind a pooler the next statement may reach another session, which knows of nothing.
        connection.prepare_threshold = None if self.behind_pooler else NEVER
        if self.behind_pooler:
            connection.asks = bool(awkward)
        elif awkward:
            await connection.execute(FOR_THE_SESSION)
        for forget in self.on_reconnect:
            forget()


async def taken(pool: AsyncConnectionPool[Pooled]) -> Pooled:
    """Take a connection from ``pool``; whoever is told to stop meanwhile stops.

    The pool waits by ``asyncio.wait_for``, which up to Python 3.11 drops a cancellation that comes
    in the moment of the answer: a loop that goes on for ever would never hear of its end.
    """
    task = asyncio.current_task()
    before = 0 if task is None else task.cancelling()
    connection = await pool.getconn()
    if task is not None and task.cancelling() > before:
        await pool.putconn(connection)
        raise asyncio.CancelledError
    return connection


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
            case psycopg.Error() if error.sqlstate == READ_ONLY:
                message = "the database takes no writes: it is a standby"
                raise StoreUnavailable(message) from error
            case psycopg.Error() if is_unavailable(error):
                raise told(error) from error
            case TimeoutError():
                message = "the database did not answer in time"
                raise StoreUnavailable(message) from error
            case _:
                return


def first_line(error: BaseException) -> str:
    """Return the first line of the error's message, which names no query and no secret."""
    return redacted(str(error).strip().partition("\n")[0]) or type(error).__name__


def conninfo(url: str) -> str:
    """Return ``url`` with what every connection needs; parameters given in ``url`` win.

    All but the encoding: we send and read every text. Its password is not shown anywhere from then
    on.

    Raises:
        InvalidConfiguration: libpq does not understand it.
    """
    learn_url(url)
    try:
        given = conninfo_to_dict(url)
        missing = {name: value for name, value in KEEPALIVE.items() if name not in given}
        return make_conninfo(url, **missing, client_encoding=ENCODING)
    except psycopg.ProgrammingError as error:
        # What it quotes is what it took a part of the URL for: that may be the password.
        reason = re.sub(r'".*"', '"…"', first_line(error))
        message = f"the database URL is not understood: {reason}"
        raise InvalidConfiguration(message) from None


def checked_schema(schema: str) -> str:
    """Return ``schema`` if PostgreSQL can take it as a name.

    Raises:
        InvalidConfiguration: it cannot.
    """
    # The driver would take a percent sign for the beginning of a parameter, and $$ would end the
    # bodies of the schema's functions. What is no text at all has no length in bytes.
    if (
        not 1 <= len(schema.encode(errors="surrogatepass")) <= 63  # noqa: PLR2004 - cut, if longer
        or not {"\0", "%"}.isdisjoint(schema)
        or "$$" in schema
        or schema.startswith("pg_")
        or not schema.isprintable()
    ):
        message = (
            f"{schema!r} cannot name a schema: 1 to 63 bytes of printable text, not beginning "
            "with pg_, without % and $$"
        )
        raise InvalidConfiguration(message)
    return schema
