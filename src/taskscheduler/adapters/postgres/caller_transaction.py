"""Joining a caller's own transaction: never beginning one that nobody else ends, nor ending one."""

from __future__ import annotations

import sys
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import psycopg

from taskscheduler.adapters.postgres.drivers import (
    BEGIN,
    FAILED,
    Asyncpg,
    Joinable,
    PsycopgAwaited,
    PsycopgBlocking,
    State,
)
from taskscheduler.application.client.errands import InCallersThread
from taskscheduler.domain.errors import NotAConnection, NotInTransaction

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable

NONE_OPEN: Final = (
    "the connection is in autocommit mode and no transaction is open on it: "
    "use `with connection.transaction():`, after `async` where it is awaited, or what your "
    "library has for it: `session.begin()`, `transaction.atomic()`"
)
TO_AWAIT: Final = (
    "Scheduler joins psycopg's AsyncConnection, asyncpg's Connection, and SQLAlchemy's "
    "AsyncSession or AsyncConnection over one of them; SyncScheduler takes those that block"
)
TO_BLOCK: Final = (
    "SyncScheduler joins psycopg's Connection, and over it SQLAlchemy's Session or Connection, or "
    "Django's; Scheduler takes those that are awaited"
)
ASK: Final = "SELECT 1"
"""By which SQLAlchemy begins a transaction on a driver that does not begin one by itself."""


class Found(NamedTuple):
    """A driver's connection, and how the caller's library begins its transaction."""

    connection: Joinable
    begin: Callable[[], Awaitable[object]]


@asynccontextmanager
async def joined(given: object) -> AsyncGenerator[Joinable]:
    """Join the transaction of ``given``; what the block raises undoes the block alone.

    Where none is open and the driver, or the caller's library, begins one with the first statement,
    it does so now, and the caller ends it.

    Raises:
        NotAConnection: ``given`` is nothing that can be joined.
        NotInTransaction: it has no transaction that could be joined.
    """
    if isinstance(given, InCallersThread):
        held: InCallersThread[Any] = given  # pyright: ignore[reportUnknownVariableType] - of anything
        connection, begin = await held.call(_blocking, held)
    else:
        connection, begin = await _awaited(given)
    if connection.state is State.NONE:
        await begin()
        if connection.state is State.NONE:
            raise NotInTransaction(NONE_OPEN)
    if connection.state is State.FAILED:
        raise NotInTransaction(FAILED)
    async with connection.savepoint():
        yield connection


async def _awaited(given: object) -> Found:
    """Return what is within ``given``, which belongs to the running loop. Raises NotAConnection."""
    found: Any = given
    if _is(found, "sqlalchemy.ext.asyncio", "AsyncSession", "async_scoped_session"):
        found = await found.connection()
    asking: Any = None
    if _is(found, "sqlalchemy.ext.asyncio", "AsyncConnection"):
        asking = found
        found = (await found.get_raw_connection()).driver_connection
    connection: Joinable
    if isinstance(found, psycopg.AsyncConnection):
        connection = PsycopgAwaited(found)  # pyright: ignore[reportUnknownArgumentType] - rows are ours
    elif _is(found, "asyncpg", "Connection") or _is(found, "asyncpg.pool", "PoolConnectionProxy"):
        connection = Asyncpg(found)
    else:
        raise NotAConnection(type(given), TO_AWAIT)

    async def begin() -> None:
        if asking is not None:
            await asking.exec_driver_sql(ASK)
        elif not connection.autocommits:
            await connection.execute(BEGIN)

    return Found(connection, begin)


def _blocking(held: InCallersThread[Any]) -> Found:
    """Return what is within ``held``; called in its own thread. Raises NotAConnection."""
    found: Any = held.thing
    if _is(found, "django.utils.connection", "ConnectionProxy"):
        found = found._connections[found._alias]  # noqa: SLF001 - it has no other name
    asking: Any = None
    if _is(found, "django.db.backends.base.base", "BaseDatabaseWrapper"):
        if found.needs_rollback:
            raise NotInTransaction(FAILED)
        found.ensure_connection()
        found = found.connection
    elif _is(found, "sqlalchemy.orm", "Session", "scoped_session"):
        found = found.connection()
    if _is(found, "sqlalchemy.engine", "Connection"):
        asking = found
        found = found.connection.driver_connection
    if not isinstance(found, psycopg.Connection):
        raise NotAConnection(held.thing.__class__, TO_BLOCK)
    connection = PsycopgBlocking(found, held)  # pyright: ignore[reportUnknownArgumentType] - rows are ours

    async def begin() -> None:
        if asking is not None:
            await held.call(asking.exec_driver_sql, ASK)
        elif not connection.autocommits:
            await connection.execute(BEGIN)

    return Found(connection, begin)


def _is(found: object, module: str, *names: str) -> bool:
    """Tell whether ``found`` is of a class of a library that need not be there.

    Who has such a thing has imported the library.
    """
    home = sys.modules.get(module)
    return home is not None and isinstance(found, tuple(getattr(home, name) for name in names))
